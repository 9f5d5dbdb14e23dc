/*
 * Four-level page tables from a pool that is allocated in one piece beforehand. Called by boot/core.c and boot/leave.c.
 * SDM Vol. 3A, 4.5 "4-level paging". Memory types are left to the MTRRs (PWT = PCD = PAT = 0: write-back of the PAT).
 */
/* SPDX-License-Identifier: MIT */
#include "boot/paging.h"

#include <stddef.h>
#include <string.h>

#define PRESENT 1ULL
#define LARGE	(1ULL << 7)
#define ADDRESS 0x000ffffffffff000ULL
#define PAGE	4096ULL

static uint64_t *take_page(struct paging *p)
{
	uint8_t *page;

	if (p->used == p->pages)
		return NULL;
	page = p->pool + p->used++ * PAGE;
	memset(page, 0, PAGE);
	return (uint64_t *)page;
}

void paging_init(struct paging *p, void *pool, uint32_t pages, bool gigabyte_pages)
{
	*p = (struct paging){pool, pages, 0, gigabyte_pages};
	(void)take_page(p);
}

/* Bytes that one entry of a table covers; level 1 is the page table. */
static uint64_t entry_size(unsigned level)
{
	return PAGE << (9 * (level - 1));
}

static bool fits(const struct paging *p, unsigned level, uint64_t virt, uint64_t phys, uint64_t length)
{
	uint64_t size = entry_size(level);

	if (level > 3 || (level == 3 && !p->gigabyte_pages))
		return false;
	return !((virt | phys) & (size - 1)) && length >= size;
}

/* Maps the largest page possible at `virt`. Answers its size, or 0. */
static uint64_t map_one(struct paging *p, uint64_t virt, uint64_t phys, uint64_t length, uint64_t flags)
{
	uint64_t *table = (uint64_t *)p->pool, *entry;
	unsigned level;

	for (level = 4;; level--) {
		entry = &table[(virt >> (12 + 9 * (level - 1))) & 511];
		if (fits(p, level, virt, phys, length))
			break;
		if (!*entry) {
			table = take_page(p);
			if (!table)
				return 0;
			/* permissions are decided by the leaf: allow all above it */
			*entry = (uint64_t)(uintptr_t)table | PRESENT | PAGING_WRITE;
		} else if (*entry & LARGE) {
			return 0;
		}
		table = (uint64_t *)(uintptr_t)(*entry & ADDRESS);
	}
	if (*entry)
		return 0;
	*entry = phys | flags | PRESENT | (level > 1 ? LARGE : 0);
	return entry_size(level);
}

bool paging_map(struct paging *p, uint64_t virt, uint64_t phys, uint64_t length, uint64_t flags)
{
	if ((flags & PAGING_WRITE) && !(flags & PAGING_NX))
		return false;
	while (length) {
		uint64_t done = map_one(p, virt, phys, length, flags);

		if (!done)
			return false;
		virt += done;
		phys += done;
		length -= done;
	}
	return true;
}
