/* What a Multiboot 1 loader tells the kernel (Multiboot 0.6.96, 3.3), as far as the guests look at it. */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define MULTIBOOT_LOADER_MAGIC 0x2badb002u
#define MULTIBOOT_HAS_MEMORY   (1u << 0)
#define MULTIBOOT_HAS_CMDLINE  (1u << 2)
#define MULTIBOOT_HAS_MODULES  (1u << 3)
#define MULTIBOOT_HAS_MAP      (1u << 6)
#define MULTIBOOT_HAS_NAME     (1u << 9)

struct multiboot_info {
	uint32_t flags;
	uint32_t mem_lower, mem_upper; /* KiB from 0 and from 1 MiB */
	uint32_t boot_device;
	uint32_t cmdline;
	uint32_t mods_count, mods_addr;
	uint32_t symbols[4];
	uint32_t mmap_length, mmap_addr;
	uint32_t drives_length, drives_addr;
	uint32_t config_table;
	uint32_t boot_loader_name;
};

struct multiboot_module {
	uint32_t start, end; /* end: of the first byte behind */
	uint32_t string;
	uint32_t reserved;
};

struct multiboot_map_entry {
	uint32_t size; /* of what follows */
	uint64_t base, length;
	uint32_t type; /* 1: RAM */
} __attribute__((packed));

static inline const void *multiboot_at(uint32_t address)
{
	return (const void *)(uintptr_t)address;
}

/* Is the word in the command line? check.sh says "emulator" to guests that run in QEMU instead of Vireo. */
static inline bool multiboot_says(const struct multiboot_info *info, const char *word)
{
	const char *at = multiboot_at(info->flags & MULTIBOOT_HAS_CMDLINE ? info->cmdline : 0);

	for (; at && *at; at++) {
		unsigned n = 0;

		while (word[n] && at[n] == word[n])
			n++;
		if (!word[n])
			return true;
	}
	return false;
}
