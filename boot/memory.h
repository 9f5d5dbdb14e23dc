/*
 * The list of memory ranges that becomes boot_info.memory: sorted, merged, without overlaps. Pure: it runs after the
 * firmware is gone, too. Used by boot/leave.c (firmware's memory map, then what the loader keeps). UEFI 2.10, 7.2.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "boot/boot_info.h"

#include <stdbool.h>
#include <stdint.h>

struct memory_list {
	struct boot_memory *entry;
	uint32_t count;
	uint32_t max;
};

/* EFI_MEMORY_DESCRIPTOR, as far as it is of use; firmware's own may be longer. */
struct memory_descriptor {
	uint32_t type; /* EFI_MEMORY_TYPE */
	uint32_t reserved;
	uint64_t base;
	uint64_t virtual_base;
	uint64_t pages; /* of 4096 bytes */
};

/* What firmware's memory map had that it should not. */
struct memory_faults {
	uint32_t wrong;			/* descriptors: misaligned, empty, or beyond the 52 bits that an address has */
	uint32_t lost;			/* ranges for which the list had no room: not used */
	struct memory_descriptor first; /* that is wrong */
};

/*
 * Adds firmware's map. Where descriptors overlap, the one that lets us do less counts: free, ACPI tables, firmware's,
 * reserved, MMIO. Of a wrong one nothing is believed but that memory is not free. With no room left in the list free
 * memory is left out; it never lists as free what a descriptor says is not.
 */
void memory_add_map(struct memory_list *list, const void *map, uint64_t size, uint64_t descriptor_size,
		    struct memory_faults *faults);

/*
 * Says that [base, base + length) is of `type`, whatever was said of parts of it before. Rounded to whole pages:
 * free memory inwards, all else outwards. False, and nothing is changed, when the list has no room left.
 */
bool memory_paint(struct memory_list *list, uint64_t base, uint64_t length, uint32_t type);
