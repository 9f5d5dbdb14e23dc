/*
 * Keeps the list of memory ranges sorted and merged while ranges are painted over each other. Firmware's own maps may
 * come unsorted and even overlap; the loader's claims split what firmware called free. UEFI 2.10, 7.2 GetMemoryMap.
 */
/* SPDX-License-Identifier: MIT */
#include "boot/memory.h"

#define PAGE 4096ULL

static uint64_t end_of(const struct boot_memory *m)
{
	return m->base + m->length;
}

static void insert(struct memory_list *list, uint32_t at, uint64_t base, uint64_t end, uint32_t type)
{
	for (uint32_t i = list->count; i > at; i--)
		list->entry[i] = list->entry[i - 1];
	list->entry[at] = (struct boot_memory){base, end - base, type, 0};
	list->count++;
}

static void erase(struct memory_list *list, uint32_t at)
{
	list->count--;
	for (uint32_t i = at; i < list->count; i++)
		list->entry[i] = list->entry[i + 1];
}

/* Takes [base, end) out of all ranges; the middle of one leaves two. The caller made sure of one free entry. */
static void cut(struct memory_list *list, uint64_t base, uint64_t end)
{
	for (uint32_t i = 0; i < list->count;) {
		struct boot_memory *m = &list->entry[i];
		uint64_t m_end = end_of(m);

		if (m_end <= base || m->base >= end) {
			i++;
		} else if (m->base < base) {
			m->length = base - m->base;
			i++;
			if (m_end > end)
				insert(list, i, end, m_end, m->type);
		} else if (m_end > end) {
			m->base = end;
			m->length = m_end - end;
			i++;
		} else {
			erase(list, i);
		}
	}
}

static void merge_with_next(struct memory_list *list, uint32_t i)
{
	struct boot_memory *a = &list->entry[i];

	if (i + 1 >= list->count || end_of(a) != a[1].base || a->type != a[1].type)
		return;
	a->length += a[1].length;
	erase(list, i + 1);
}

bool memory_paint(struct memory_list *list, uint64_t base, uint64_t length, uint32_t type)
{
	uint64_t end;
	uint32_t at = 0;

	if (length > ~0ULL - PAGE - base)
		return true; /* wraps around: no such memory */
	end = base + length;
	if (type == BOOT_MEMORY_FREE) {
		base = (base + PAGE - 1) & ~(PAGE - 1);
		end &= ~(PAGE - 1);
	} else {
		base &= ~(PAGE - 1);
		end = (end + PAGE - 1) & ~(PAGE - 1);
	}
	if (base >= end)
		return true;
	if (list->count + 2 > list->max)
		return false;

	cut(list, base, end);
	while (at < list->count && list->entry[at].base < base)
		at++;
	insert(list, at, base, end, type);
	merge_with_next(list, at);
	if (at)
		merge_with_next(list, at - 1);
	return true;
}
