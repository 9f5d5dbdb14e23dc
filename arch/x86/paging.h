/*
 * The core's own page tables, which replace the loader's: segments with the permissions of linker.ld, the direct map
 * without execution and without the core's image, device registers, stacks with guard pages. Each CPU has a PML4 of its
 * own, for its windows to guests' memory (window.h); all below is one set that they share. Of that, mappings are only
 * added, so that no TLB shoot-down exists, with three exceptions: paging_seal() takes a right away before other CPUs
 * run, chunks of RAM leave the direct map, and each CPU's window to a chunk closes. Of the last two other CPUs may keep
 * translations until they load CR3; nothing goes by them. Used by hv/main.c at start, by arch/x86 for stacks and device
 * registers, by hv for memory and what a VMCS points to. SDM Vol. 3A 4.5.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "arch/x86/memory.h"
#include "boot/boot_info.h"

enum map_type {
	MAP_UC,	      /* device registers */
	MAP_WC,	      /* framebuffer */
	MAP_READONLY, /* firmware tables: write-back, not writable */
};

/* Builds the tables from info->memory and switches to them. `frames` lives on. -E_NOMEM. Once, on the BSP. */
int paging_init(const struct boot_info *info, const struct frame_source *frames) MUST_CHECK;

/* A PML4 for another CPU: the upper half of the BSP's as it is now, no window open. NULL: no memory. */
uint64_t *paging_new_root(void) MUST_CHECK;

/*
 * The whole chunk of 2 MiB at `hpa`, all of it BOOT_MEMORY_FREE, comes into the direct map, where all is at first, or
 * leaves it. Another CPU may keep the translation of one that left until it loads CR3 the next time: nothing but
 * speculation, or a mistake, goes by it, and it leads where it always led. Whoever calls sees to the order.
 */
void paging_show_chunk(hpa_t hpa);
void paging_hide_chunk(hpa_t hpa);

/* For window.c: what opens a window by its PDPT; puts that, or 0, into the PML4 of the CPU that runs this. */
uint64_t paging_window_entry(hpa_t pdpt);
void paging_set_window(unsigned slot, uint64_t entry);

/* Address space for [hpa, hpa + size), any alignment; never unmapped. NULL: out of memory, or the range wraps. */
void *mmio_map(hpa_t hpa, uint64_t size, enum map_type type) MUST_CHECK;

/* `pages` fresh frames mapped above an unmapped guard page. Returns the address behind the last byte; 0: no memory. */
uint64_t stack_map(uint64_t pages) MUST_CHECK;

/*
 * The same for one page of shadow stacks (shadow.h). It can be filled through the direct map, where *frame is as
 * writable as any other.
 */
uint64_t stack_map_shadow(hpa_t *frame) MUST_CHECK;

/* Physical address of any mapped pointer, by walking the live tables; HPA_NONE when unmapped. */
hpa_t paging_lookup(const void *p);

/* Variables marked RO_AFTER_INIT can't be written any more: by this CPU at once, by others after paging_flush(). Once.
 */
void paging_seal(void);
/* This CPU forgets all translations. */
void paging_flush(void);
/* What lies at an address, in words: for the report of a fault. */
const char *paging_describe(uint64_t va);

/* Walks the live tables; number of leaf entries that are writable and executable at once. 0 is the promise. */
uint64_t paging_check_wx(void);

/*
 * For smp.c: fills TRAMPOLINE_TABLE_PAGES frames at `tables` with the core's upper half and the frame `page` mapped to
 * itself, readable and executable. Both lie below 1 MiB. `tables` is then the value for CR3.
 */
#define TRAMPOLINE_TABLE_PAGES 4
void paging_make_trampoline_tables(hpa_t tables, hpa_t page);
