# The UEFI application: gnu-efi's crt0 and library, the loader, and inside it the core's ELF file.
# SPDX-License-Identifier: MIT
BOOT_C := $(sort $(wildcard boot/*.c))
BOOT_OBJ := $(BOOT_C:%.c=$(BUILD)/%.o)
EFI_CFLAGS := -std=c17 -O2 -ffreestanding -fpic -fshort-wchar -mno-red-zone -maccumulate-outgoing-args \
        -DGNU_EFI_USE_MS_ABI -fno-stack-protector -fno-strict-aliasing -fcf-protection=none -fvisibility=hidden \
        -fno-asynchronous-unwind-tables $(WARN) -I. -isystem /usr/include/efi -isystem /usr/include/efi/x86_64
EFI_LDFLAGS := -nostdlib -shared -Bsymbolic -znocombreloc -z noexecstack --no-warn-rwx-segments --no-undefined \
        -T /usr/lib/elf_x86_64_efi.lds
EFI_SECTIONS := $(addprefix -j ,.text .sdata .data .dynamic .dynsym .rel .rela '.rel.*' '.rela.*' .reloc)

# $(call link_efi,OUT,OBJECTS): an ELF shared object, turned into a PE file.
define link_efi
	$(call say,LD,$(1))
	$(Q)$(LD) $(EFI_LDFLAGS) -o $(1:.EFI=.so) /usr/lib/crt0-efi-x86_64.o $(2) -L/usr/lib -lefi -lgnuefi
	$(Q)objcopy $(EFI_SECTIONS) --target=efi-app-x86_64 --subsystem=10 $(1:.EFI=.so) $(1)
endef

-include $(BOOT_OBJ:.o=.d)

$(BUILD)/boot/%.o: boot/%.c
	$(call say,CC,$<)
	$(Q)$(CC) $(EFI_CFLAGS) -MMD -MP -c $< -o $@

# As the loader wants it: without symbols, but with a table of all words that hold addresses.
$(BUILD)/boot/core.stripped.elf: $(BUILD)/core.elf boot/relocations.py
	$(call say,STRIP,$@)
	$(Q)strip --strip-all -o $@ $<
	$(Q)$(PYTHON) boot/relocations.py $< $@

# CORE_ELF may name another file: tests embed damaged ones.
CORE_ELF ?= $(BUILD)/boot/core.stripped.elf
$(BUILD)/boot/switch.o: boot/switch.asm $(CORE_ELF)
	$(call say,AS,$<)
	$(Q)nasm -f elf64 -Werror '-DCORE_ELF="$(CORE_ELF)"' -o $@ $<

$(BUILD)/BOOTX64.EFI: $(BOOT_OBJ) $(BUILD)/boot/switch.o
	$(call link_efi,$@,$^)

# Test bed only: a stand-in for firmware's ACPI tables (tests/boot/acpi/acpi.c says why).
$(BUILD)/tests/acpi/%.o: tests/boot/acpi/%.c
	$(call say,CC,$<)
	$(Q)$(CC) $(EFI_CFLAGS) -I$(BUILD)/tests/acpi -MMD -MP -c $< -o $@

$(BUILD)/tests/acpi/dsdt.h: tests/boot/acpi/dsdt.asl
	$(call say,IASL,$<)
	$(Q)iasl -tc -p $(@:.h=) $< > $(@:.h=.log)
	$(Q)mv $(@:.h=.hex) $@

$(BUILD)/tests/acpi/acpi.o: $(BUILD)/tests/acpi/dsdt.h
-include $(BUILD)/tests/acpi/acpi.d

$(BUILD)/ACPI.EFI: $(BUILD)/tests/acpi/acpi.o
	$(call link_efi,$@,$^)

# The disk image for Bochs, QEMU and a USB stick. IMAGE_CONF and IMAGE_FILES (see boot/mkimage.sh) choose the contents.
IMAGE_CONF ?= boot/vireo.conf
IMAGE_FILES ?=
.PHONY: efi image
efi: $(BUILD)/BOOTX64.EFI $(BUILD)/ACPI.EFI ## the EFI file, and the test bed's stand-in for ACPI tables
image: $(BUILD)/vireo.img ## build/vireo.img from IMAGE_CONF= and IMAGE_FILES=
# Made each time: another IMAGE_CONF may be an older file than the image.
$(BUILD)/vireo.img: always $(BUILD)/BOOTX64.EFI boot/mkimage.sh $(IMAGE_CONF) $(foreach f,$(IMAGE_FILES),$(firstword $(subst =, ,$f)))
	$(call say,IMAGE,$@)
	$(Q)boot/mkimage.sh $@ $(IMAGE_CONF) $(IMAGE_FILES)

all: $(BUILD)/BOOTX64.EFI
