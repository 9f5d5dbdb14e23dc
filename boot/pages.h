/*
 * Pages that the loader takes from firmware, and the list of those that the core must not treat as free memory.
 * Used by every part of the loader that allocates; read by boot/leave.c when firmware's map is translated.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "boot/boot_info.h"
#include "boot/memory.h"

#include <stddef.h>
#include <stdint.h>

#define PAGES_SIZE	 4096ULL
#define PAGES_MAX_CLAIMS 96 /* one for each file, and a handful beside */

/* Zeroes nothing. NULL when there is no memory. `type` is BOOT_MEMORY_LOADER or BOOT_MEMORY_FILES. */
void *pages_allocate(uint64_t size, uint32_t type);

/* The same below 4 GiB on a 2 MiB boundary, above the first MiB: for the core's image. */
void *pages_allocate_core(uint64_t size);

/* Gives back what pages_allocate gave last. */
void pages_free_last(void *memory);

/* Paints everything that was allocated into the list. False when the list is full. */
bool pages_paint_claims(struct memory_list *list);
