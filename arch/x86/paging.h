/*
 * The core's own page tables, which replace the loader's: segments with the permissions of linker.ld, the direct map
 * without execution and without the core's image, device registers, stacks with guard pages. All CPUs share one set;
 * mappings are only ever added, so no TLB shoot-down exists; only paging_seal() takes a right away, before other CPUs
 * run. Used by hv/main.c at start and by drivers. SDM Vol.
 * 3A 4.5.
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

/* Address space for [hpa, hpa + size), any alignment; never unmapped. NULL: out of memory, or the range wraps. */
void *mmio_map(hpa_t hpa, uint64_t size, enum map_type type) MUST_CHECK;

/* [hpa, hpa + size) for reading: in the direct map if it lies there, else by mmio_map(). An acpi_map_fn. */
const void *paging_map_firmware(hpa_t hpa, uint64_t size) MUST_CHECK;

/* `pages` fresh frames mapped above an unmapped guard page. Returns the address behind the last byte; 0: no memory. */
uint64_t stack_map(uint64_t pages) MUST_CHECK;

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
