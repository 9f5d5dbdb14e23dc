/*
 * What the loaders share: the guest's memory map, a GDT, identity page tables, and the way to complain about an image.
 *
 * Where loaders put their own things in the guest's low memory (the kernel may reuse all of it once it runs):
 *
 *	0x00000  interrupt vectors, BIOS data area            (not touched)
 *	0x07c00  real-mode stack grows down from here; the usual boot sector
 *	0x90000  page tables: PML4, PDPT, 4 page directories  (also: the other modes' stack grows down from here)
 *	0x96000  GDT
 *	0x97000  Linux: boot_params. Multiboot: information structure, module list, memory map, strings, to 0x9f000
 *	0x98000  Linux: command line, to 0x9f000
 *	0x9fc00  where a PC has its extended BIOS data area   (not touched; reserved in the memory map up to 1 MiB)
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/load/load.h"
#include "hv/pc_map.h"

#define LOW_STACK_REAL	0x7c00
#define LOW_PAGE_TABLES 0x90000
#define LOW_STACK	LOW_PAGE_TABLES
#define LOW_GDT		0x96000
#define LOW_INFO	0x97000
#define LOW_CMDLINE	0x98000
#define LOW_END		0x9f000

/* One line of the map that INT 15h AX=E820h answers with (ACPI 6.5, 15.1); Linux and Multiboot take the same. */
struct e820_entry {
	uint64_t base;
	uint64_t length;
	uint32_t type;
} __attribute__((packed));

#define E820_RAM      1
#define E820_RESERVED 2
#define E820_MAX      (2 * GUEST_MEM_MAX_REGIONS + 1)

/* Sorted by base. The PC's window between EBDA and 1 MiB is reserved, whatever lies there. The count of entries. */
unsigned load_memory_map(const struct guest_mem *mem, struct e820_entry map[E820_MAX]);

/* Identity-maps the first 4 GiB at LOW_PAGE_TABLES and points CR3 there. -E_RANGE when the guest has no memory there.
 */
int load_page_tables(const struct guest_mem *mem, struct cpu_state *state) MUST_CHECK;

/* Writes a GDT that agrees with the selectors and access rights that `state` has in CS and DS, and points GDTR at it.
 */
int load_gdt(const struct guest_mem *mem, struct cpu_state *state) MUST_CHECK;

/* "PATH: message" into `error`; -E_FORMAT. */
int load_complain(char error[LOAD_ERROR_MAX], const struct load_image *image, const char *fmt, ...) PRINTF_LIKE(3, 4);

static inline bool ranges_overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a < b ? b - a < a_size : a - b < b_size;
}
