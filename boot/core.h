/* The core inside the EFI file: where it goes in memory, and the page tables under which it starts. */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "boot/boot_info.h"

/* What boot/leave.c needs for the jump. */
struct core_entry {
	uint64_t address;    /* linear address of core_entry */
	uint64_t cr3;	     /* the loader's page tables */
	uint64_t switch_hpa; /* page with the code of boot/switch.asm, identity-mapped by both sets of tables */
};

/*
 * Copies the embedded core into memory, for a random place in the address space unless the settings in `info` forbid
 * it; fills core_hpa, core_size, random, random_source and entry->address. NULL, or what went wrong.
 */
const char *core_load(struct boot_info *info, struct core_entry *entry);

/*
 * Builds the page tables of boot_info.h for the memory that info->memory lists; fills entry->cr3 and switch_hpa.
 * Called after core_load. NULL, or what went wrong.
 */
const char *core_map(const struct boot_info *info, struct core_entry *entry);
