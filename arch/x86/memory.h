/*
 * Where memory lies in the core's address space, and how to get from a physical address to a pointer and back.
 *
 *   ffff8000_00000000  direct map: RAM that is Vireo's own, that is files, what the loader left, low memory and, of the
 *                      chunks of hv/phys.c, those that are cut into frames (paging.c). No chunk that is a guest's or
 *                      free as a whole, and not the core's image
 *   ffff9000_00000000  windows to guests' memory, 512 GiB for each VM; what is open differs from CPU to CPU (window.h)
 *   fffff800_00000000  mmio_map(): device registers, framebuffer, firmware tables; from a random offset on
 *   fffffa00_00000000  a window of each CPU to one chunk that it zeroes or copies (window.h)
 *   fffffc00_00000000  stacks and pages of shadow stacks, each with an unmapped page below; from a random offset on
 *   ffffffff_80000000  the core's image (linker.ld), a random multiple of 2 MiB higher
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "boot/boot_info.h"
#include "hv/lib/types.h"

#ifdef VIREO_HOST
#define DIRECT_BASE 0ULL /* in unit tests a "physical" address is a pointer */
#else
#define DIRECT_BASE BOOT_DIRECT_BASE
#endif
#define WINDOW_BASE (BOOT_DIRECT_BASE + BOOT_DIRECT_SIZE)
#define WINDOW_SIZE (512 * GIB) /* what an entry of the PML4 spans */
#define MMIO_BASE   0xfffff80000000000ULL
#define CHUNK_BASE  0xfffffa0000000000ULL
#define STACK_BASE  0xfffffc0000000000ULL

/*
 * A pointer into the direct map. The address must be RAM of the boot map: loader, files, ACPI (read only), or a frame
 * of phys_alloc(). Whole chunks are not there.
 */
static inline void *phys_to_virt(hpa_t hpa)
{
	return (void *)(DIRECT_BASE + hpa.value);
}
/* The way back. Not for pointers into the core's image or to stacks: paging_lookup() knows those. */
static inline hpa_t virt_to_phys(const void *p)
{
	return HPA((uint64_t)p - DIRECT_BASE);
}

/* Where arch/x86 gets frames from; hv/phys.c stands behind it. Frames are not zeroed. */
struct frame_source {
	hpa_t (*alloc)(uint64_t pages, uint64_t align_pages); /* HPA_NONE: out of memory */
	hpa_t (*alloc_low)(uint64_t pages);		      /* below 1 MiB, for the AP trampoline */
	void (*free)(hpa_t hpa, uint64_t pages);	      /* either kind */
};
