/*
 * Where memory lies in the core's address space, and how to get from a physical address to a pointer and back.
 *
 *   ffff8000_00000000  direct map: all RAM of the boot map except the core's own image (paging.c)
 *   ffffc000_00000000  mmio_map(): device registers, framebuffer, firmware tables } from a random offset
 *   ffffe000_00000000  stacks, each with an unmapped page below                   } below 256 GiB on
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
#define MMIO_BASE  0xffffc00000000000ULL
#define STACK_BASE 0xffffe00000000000ULL

/* A pointer into the direct map. The address must be RAM of the boot map: free, loader, files or ACPI (read only). */
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
