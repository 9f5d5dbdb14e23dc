/*
 * Builds the page tables with which the core is entered (boot_info.h says what they map). Pure but for taking
 * physical addresses for pointers, which is what UEFI's identity mapping makes them. SDM Vol. 3A, 4.5.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define PAGING_WRITE (1ULL << 1)
#define PAGING_NX    (1ULL << 63)

struct paging {
	uint8_t *pool; /* page-aligned, identity-mapped memory for tables; the first one is the root */
	uint32_t pages;
	uint32_t used;
	bool gigabyte_pages; /* CPUID 80000001h, EDX bit 26 */
};

/* Takes the first page of the pool for the root. */
void paging_init(struct paging *p, void *pool, uint32_t pages, bool gigabyte_pages);

/*
 * Maps [virt, virt + length) to phys with the largest pages that fit; all three page-aligned. Without PAGING_NX the
 * range is executable. False when the pool is empty, part of the range is mapped already, or it is W and X at once.
 */
bool paging_map(struct paging *p, uint64_t virt, uint64_t phys, uint64_t length, uint64_t flags);
