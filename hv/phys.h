/*
 * Physical memory by the frame: who owns what is not recorded, only free or not, one bit a frame. Used at start and
 * when VMs come and go; never on the path of an exit. One lock, a leaf, protects it. Pure, given phys_to_virt().
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "boot/boot_info.h"
#include "hv/lib/types.h"

/* Takes every BOOT_MEMORY_FREE range of info; the bitmap lies in the first one that holds it. -E_NOMEM. */
int phys_init(const struct boot_info *info) MUST_CHECK;

/* `pages` contiguous frames at a multiple of align_pages (a power of two), at or above 1 MiB, not zeroed; HPA_NONE. */
hpa_t phys_alloc(uint64_t pages, uint64_t align_pages) MUST_CHECK;
/* The same below 1 MiB, for code that real mode reaches. The frame at 0 is never given out. */
hpa_t phys_alloc_low(uint64_t pages) MUST_CHECK;
/* Either kind. Panics on frames that are free already or lie outside of all free memory. */
void phys_free(hpa_t hpa, uint64_t pages);

uint64_t phys_free_bytes(void);	   /* at or above 1 MiB */
uint64_t phys_total_bytes(void);   /* at start, the bitmap included */
uint64_t phys_largest_bytes(void); /* longest free run, in bytes: walks the bitmap */
