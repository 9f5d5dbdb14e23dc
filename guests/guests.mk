# Small guests: flat images in NASM and Multiboot 1 ELF files in C. `make guests` builds them into build/guests/.
# SPDX-License-Identifier: MIT
GUEST_FLAT := real protected long triple badmem hang-hlt badexit
GUEST_C64 := interrupts faults timer cpuid_msr devices bench bench_smp bench_virtio bench_memory masked neighbours speculation
GUEST_C32 := mb
GUEST_OUT := $(BUILD)/guests
GUEST_FILES := $(GUEST_FLAT:%=$(GUEST_OUT)/%.bin) $(GUEST_C64:%=$(GUEST_OUT)/%.elf) $(GUEST_C32:%=$(GUEST_OUT)/%.elf)

GUEST_CFLAGS := -std=c17 -O2 -ffreestanding -fno-pic -fno-pie -mno-red-zone -mgeneral-regs-only -fno-stack-protector \
        -fno-asynchronous-unwind-tables -fcf-protection=none $(WARN) -I.
GUEST_LIB64 := $(GUEST_OUT)/64/lib/start64.o $(GUEST_OUT)/64/lib/interrupt.o $(GUEST_OUT)/64/lib/pc.o \
        $(GUEST_OUT)/64/lib/smp.o $(GUEST_OUT)/64/lib/smp_start.o $(GUEST_OUT)/64/lib/virtio.o
GUEST_LDFLAGS := -nostdlib -static -z noexecstack -z max-page-size=4096 --build-id=none -T guests/lib/guest.ld

$(GUEST_OUT)/%.bin: guests/%.asm $(wildcard guests/lib/*.inc)
	$(call say,AS,$<)
	$(Q)nasm -f bin -Werror -Iguests/lib/ -o $@ $<

# lib/console.c says the guest's name, so it is compiled for each.
define guest_c
$(GUEST_OUT)/$1/%.o: guests/%.c $$(wildcard guests/lib/*.h) hv/abi.h
	$$(call say,CC,$$<)
	$$(Q)$(CC) $(GUEST_CFLAGS) -m$1 -c $$< -o $$@
$(GUEST_OUT)/$1/%.console.o: guests/lib/console.c guests/lib/guest.h
	$$(call say,CC,$$<)
	$$(Q)$(CC) $(GUEST_CFLAGS) -m$1 -DGUEST_NAME='"$$*"' -c $$< -o $$@
$(GUEST_OUT)/$1/%.o: guests/%.asm
	$$(call say,AS,$$<)
	$$(Q)nasm -f elf$1 -Werror -o $$@ $$<
endef
$(eval $(call guest_c,64))
$(eval $(call guest_c,32))

# 64-bit code in a 32-bit ELF file: Multiboot loaders take no other, and the entry is 32-bit code anyway.
$(GUEST_C64:%=$(GUEST_OUT)/%.elf): $(GUEST_OUT)/%.elf: $(GUEST_OUT)/64/%.o $(GUEST_OUT)/64/%.console.o $(GUEST_LIB64) \
                guests/lib/guest.ld
	$(call say,LD,$@)
	$(Q)$(LD) $(GUEST_LDFLAGS) -o $@.64 $(filter %.o,$^)
	$(Q)objcopy -O elf32-i386 $@.64 $@

$(GUEST_C32:%=$(GUEST_OUT)/%.elf): $(GUEST_OUT)/%.elf: $(GUEST_OUT)/32/%.o $(GUEST_OUT)/32/%.console.o \
                $(GUEST_OUT)/32/lib/start32.o guests/lib/guest.ld
	$(call say,LD,$@)
	$(Q)$(LD) -m elf_i386 $(GUEST_LDFLAGS) -o $@ $(filter %.o,$^)

# Boot disk for QEMU and other PCs: a first sector that reads the flat image to where it belongs.
$(GUEST_OUT)/%.disk: guests/lib/disk.asm $(GUEST_OUT)/%.bin
	$(call say,AS,$@)
	$(Q)nasm -f bin -Werror -DIMAGE='"$(GUEST_OUT)/$*.bin"' -o $@ $<

.PHONY: guests guests-check
guests: $(GUEST_FILES) ## build the teaching guests into build/guests/
all: guests
# In QEMU's emulated PC, without Vireo: shows that a guest's expectations are a PC's and not ours.
guests-check: $(GUEST_FILES) $(GUEST_OUT)/real.disk $(GUEST_OUT)/protected.disk $(GUEST_OUT)/long.disk ## run them in QEMU's emulated PC, without Vireo
	$(Q)guests/check.sh $(GUEST_OUT)
