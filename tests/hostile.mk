# The hostile guest of tests/boot/test_hostile.py: C with the library of the teaching guests.
# SPDX-License-Identifier: MIT
HOSTILE_SRC := tests/guest/hostile
HOSTILE_OUT := $(GUEST_OUT)/hostile
HOSTILE_OBJ := $(patsubst $(HOSTILE_SRC)/%.c,$(HOSTILE_OUT)/%.o,$(sort $(wildcard $(HOSTILE_SRC)/*.c))) \
        $(patsubst $(HOSTILE_SRC)/%.asm,$(HOSTILE_OUT)/%.asm.o,$(sort $(wildcard $(HOSTILE_SRC)/*.asm))) $(HOSTILE_OUT)/console.o

$(HOSTILE_OUT)/%.o: $(HOSTILE_SRC)/%.c $(wildcard $(HOSTILE_SRC)/*.h guests/lib/*.h)
	$(call say,CC,$<)
	$(Q)$(CC) $(GUEST_CFLAGS) -m64 -c $< -o $@

$(HOSTILE_OUT)/console.o: guests/lib/console.c guests/lib/guest.h
	$(call say,CC,$<)
	$(Q)$(CC) $(GUEST_CFLAGS) -m64 -DGUEST_NAME='"hostile"' -c $< -o $@

$(HOSTILE_OUT)/%.asm.o: $(HOSTILE_SRC)/%.asm
	$(call say,AS,$<)
	$(Q)nasm -f elf64 -Werror -o $@ $<

$(GUEST_OUT)/hostile.elf: $(HOSTILE_OBJ) $(GUEST_LIB64) guests/lib/guest.ld
	$(call say,LD,$@)
	$(Q)$(LD) $(GUEST_LDFLAGS) -o $@.64 $(filter %.o,$^)
	$(Q)objcopy -O elf32-i386 $@.64 $@

all: $(GUEST_OUT)/hostile.elf
