/*
 * AllocatePages with bookkeeping: UEFI's own types can't tell a page table of ours from a pool page of the firmware, so
 * the loader remembers what it keeps. UEFI 2.10, 7.2 Memory Allocation Services.
 */
/* SPDX-License-Identifier: MIT */
#include "boot/pages.h"

#include <efi.h>
#include <efilib.h>

#define CORE_ALIGN (2ULL << 20)
#define BELOW_4G   0xffffffffULL

static struct boot_memory claim[PAGES_MAX_CLAIMS];
static uint32_t claims;

static uint64_t pages_of(uint64_t size)
{
	return (size + PAGES_SIZE - 1) / PAGES_SIZE;
}

static void *remember(uint64_t base, uint64_t pages, uint32_t type)
{
	claim[claims++] = (struct boot_memory){base, pages * PAGES_SIZE, type, 0};
	return (void *)(uintptr_t)base;
}

void *pages_allocate(uint64_t size, uint32_t type)
{
	EFI_PHYSICAL_ADDRESS base = 0;
	EFI_STATUS status;

	if (claims == PAGES_MAX_CLAIMS || !size || size > ~0ULL - PAGES_SIZE)
		return NULL;
	status = BS->AllocatePages(AllocateAnyPages, EfiLoaderData, pages_of(size), &base);
	if (EFI_ERROR(status))
		return NULL;
	return remember(base, pages_of(size), type);
}

void pages_free_last(void *memory)
{
	claims--;
	BS->FreePages((uintptr_t)memory, claim[claims].length / PAGES_SIZE);
}

/* UEFI aligns to 4 KiB only: take enough for an aligned block inside, and give back what sticks out on both sides. */
void *pages_allocate_core(uint64_t size)
{
	EFI_PHYSICAL_ADDRESS base = BELOW_4G;
	uint64_t pages = pages_of(size), spare = CORE_ALIGN / PAGES_SIZE, head, aligned;

	if (claims == PAGES_MAX_CLAIMS)
		return NULL;
	if (EFI_ERROR(BS->AllocatePages(AllocateMaxAddress, EfiLoaderData, pages + spare, &base)))
		return NULL;
	aligned = (base + CORE_ALIGN - 1) & ~(CORE_ALIGN - 1);
	if (!aligned)
		aligned = CORE_ALIGN;
	head = (aligned - base) / PAGES_SIZE;
	if (head > spare)
		return NULL; /* starts at 0 and would end past the block */
	if (head)
		BS->FreePages(base, head);
	if (spare - head)
		BS->FreePages(aligned + pages * PAGES_SIZE, spare - head);
	return remember(aligned, pages, BOOT_MEMORY_CORE);
}

bool pages_paint_claims(struct memory_list *list)
{
	for (uint32_t i = 0; i < claims; i++)
		if (!memory_paint(list, claim[i].base, claim[i].length, claim[i].type))
			return false;
	return true;
}
