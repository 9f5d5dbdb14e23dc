# Vireo. `make help` lists the targets. Everything that is made goes to build/. V=1 shows the commands.
# SPDX-License-Identifier: MIT
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

BUILD := build
PYTHON := /usr/bin/python3
CC := gcc
CLANG := clang
Q := $(if $(filter-out 0,$(V)),,@)
# $(call say,WORD,FILE): the short line in place of a command. Makes the target's folder, too.
say = @mkdir -p $(@D)$(if $(Q),; printf '  %-6s %s\n' $1 '$2')

# --- the core -----------------------------------------------------------------------------------------------------
CORE_C := $(sort $(shell find arch hv drivers -name '*.c' ! -name asm_offsets.c))
CORE_ASM := $(sort $(shell find arch hv -name '*.asm'))
CORE_OBJ := $(CORE_C:%.c=$(BUILD)/core/%.o) $(CORE_ASM:%.asm=$(BUILD)/core/%.asm.o)

WARN := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wundef -Wvla \
        -Wimplicit-fallthrough -Wwrite-strings
CORE_CFLAGS := -std=c17 -O2 -g -ffreestanding -fno-pic -fno-pie -mcmodel=kernel -mno-red-zone -mgeneral-regs-only \
        -fstack-protector-strong -mstack-protector-guard=global -fno-asynchronous-unwind-tables \
        -fno-omit-frame-pointer -fno-strict-aliasing -fcf-protection=none -flto=auto -ffunction-sections -fdata-sections \
        $(WARN) -I. -I$(BUILD)/gen

-include $(CORE_OBJ:.o=.d)

$(BUILD)/core/%.o: %.c | generated
	$(call say,CC,$<)
	$(Q)$(CC) $(CORE_CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/core/%.asm.o: %.asm $(BUILD)/gen/asm_offsets.inc
	$(call say,AS,$<)
	$(Q)nasm -f elf64 -g -F dwarf -Werror -I$(BUILD)/gen/ -MD $(@:.o=.d) -o $@ $<

# GCC makes calls to these by itself, at a time when link-time optimisation no longer looks for their definitions.
$(BUILD)/core/hv/lib/string.o: CORE_CFLAGS += -fno-lto -fno-builtin
$(BUILD)/core/arch/x86/canary.o: CORE_CFLAGS += -fno-lto

# Offsets of C structures for assembly are computed by the compiler, never copied by hand.
$(BUILD)/gen/asm_offsets.inc: arch/x86/vmx/asm_offsets.c $(wildcard arch/x86/*.h arch/x86/vmx/*.h) hv/lib/types.h
	$(call say,GEN,$@)
	$(Q)$(CC) $(CORE_CFLAGS) -fno-lto -S -o - $< | sed -n 's/^.*->\([A-Z0-9_]*\) \$$\?\([-0-9]*\).*/%define \1 \2/p' > $@

# --emit-relocs leaves in the file which words hold addresses (for boot/relocations.py); the code is the same without.
$(BUILD)/core.elf: linker.ld $(CORE_OBJ)
	$(call say,LD,$@ (link-time optimisation: some seconds))
	$(Q)$(CC) $(CORE_CFLAGS) -nostdlib -static -no-pie -Wl,-z,max-page-size=4096,-z,noexecstack,--gc-sections,--fatal-warnings,--build-id=none,--emit-relocs \
	        -T linker.ld -Wl,-Map,$(BUILD)/core.map -o $@ $(CORE_OBJ)

# Which Vireo it is, for its log and a panic's report. Changes when the commit does, or becomes one with changes.
$(BUILD)/gen/version.h: always
	@mkdir -p $(@D)
	@echo "#define VIREO_VERSION \"$$(git describe --always --dirty 2>/dev/null || echo unknown)\"" > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

# What must be made before any C file of the core compiles (version, font, DSDT); folders add to it.
.PHONY: generated
generated: $(BUILD)/gen/version.h

.PHONY: core
core: $(BUILD)/core.elf ## build/core.elf only

# --- unit tests and fuzzers: pure code on this machine, under sanitizers ------------------------------------------
# A test says in a line `/* links: a.c b.c */` which sources it is about.
HOST_CFLAGS := -std=c17 -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer $(WARN) -I. \
        -I$(BUILD)/gen -DVIREO_HOST
UNIT_C := $(sort $(wildcard tests/unit/test_*.c))
UNIT_BIN := $(UNIT_C:tests/unit/%.c=$(BUILD)/unit/%)
FUZZ_C := $(sort $(wildcard tests/fuzz/fuzz_*.c))
FUZZ_BIN := $(FUZZ_C:tests/fuzz/%.c=$(BUILD)/fuzz/%)
links = $(shell sed -n 's|^/\* links: \(.*\) \*/|\1|p' $(1))
# And a fuzzer in `/* flags: -lZydis */` what else the compiler is told.
flags = $(shell sed -n 's|^/\* flags: \(.*\) \*/|\1|p' $(1))
# What a test takes in whole, for its static functions.
takes_in = $(shell sed -n 's|^.include "\(.*\.c\)"|\1|p' $(1))

# Compiled in one go from several sources, so no list of what each includes can be had: all headers count.
HEADERS := $(wildcard tests/*.h tests/*/*.h boot/*.h arch/x86/*.h arch/x86/*/*.h hv/*.h hv/*/*.h drivers/*.h)

.SECONDEXPANSION:
$(BUILD)/unit/%: tests/unit/%.c $$(call links,tests/unit/$$*.c) $$(call takes_in,tests/unit/$$*.c) $(HEADERS) | generated
	$(call say,CC,$@)
	$(Q)$(CC) $(HOST_CFLAGS) $< $(call links,$<) -o $@ -lcmocka

$(BUILD)/fuzz/%: tests/fuzz/%.c $$(call links,tests/fuzz/$$*.c) $$(call takes_in,tests/fuzz/$$*.c) $(HEADERS) | generated
	$(call say,CLANG,$@)
	$(Q)$(CLANG) $(HOST_CFLAGS) -fsanitize=fuzzer $< $(call links,$<) -o $@ $(call flags,$<)

include $(sort $(wildcard boot/*.mk arch/x86/*.mk hv/*/*.mk drivers/*.mk guests/*.mk tests/*.mk))

.PHONY: all clean
all: $(BUILD)/core.elf ## core, EFI file and teaching guests; nothing is installed or downloaded (V=1: show the commands)
clean: ## remove build/
	rm -rf $(BUILD)
