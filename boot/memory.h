/*
 * The list of memory ranges that becomes boot_info.memory: sorted, merged, without overlaps. Pure: it runs after the
 * firmware is gone, too. Used by boot/leave.c (ranges of the UEFI memory map, then what the loader keeps).
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

/*
 * Says that [base, base + length) is of `type`, whatever was said of parts of it before. Rounded to whole pages:
 * free memory inwards, all else outwards. False, and nothing is changed, when the list has no room left.
 */
bool memory_paint(struct memory_list *list, uint64_t base, uint64_t length, uint32_t type);
