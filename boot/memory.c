/*
 * Keeps the list of memory ranges sorted and merged while ranges are painted over each other. Firmware's own maps may
 * come unsorted and even overlap; the loader's claims split what firmware called free. UEFI 2.10, 7.2 GetMemoryMap.
 */
/* SPDX-License-Identifier: MIT */
#include "boot/memory.h"

#include <string.h>

#define PAGE	    4096ULL
#define ADDRESS_END (1ULL << 52) /* SDM Vol. 3A 4.1.4: no physical address is wider */

/* EFI_MEMORY_TYPE; those not named here are never ours. leave.c compares them with firmware's header. */
enum {
	LOADER_CODE = 1,
	LOADER_DATA = 2,
	BOOT_SERVICES_CODE = 3,
	BOOT_SERVICES_DATA = 4,
	RUNTIME_CODE = 5,
	RUNTIME_DATA = 6,
	CONVENTIONAL = 7,
	ACPI_RECLAIM = 9,
	ACPI_NVS = 10,
	MMIO = 11,
	MMIO_PORTS = 12,
	PAL_CODE = 13,
};

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

static void keep_larger(struct boot_memory *m, uint64_t base, uint64_t end)
{
	uint64_t m_end = end_of(m);

	if (base - m->base >= m_end - end) {
		m->length = base - m->base;
	} else {
		m->base = end;
		m->length = m_end - end;
	}
}

/*
 * Takes [base, end) out of all ranges. The middle of one leaves two; the larger of both where there is no entry for the
 * other.
 */
static void cut(struct memory_list *list, uint64_t base, uint64_t end)
{
	for (uint32_t i = 0; i < list->count;) {
		struct boot_memory *m = &list->entry[i];
		uint64_t m_end = end_of(m);

		if (m_end <= base || m->base >= end) {
			i++;
		} else if (m->base < base && m_end > end && list->count == list->max) {
			keep_larger(m, base, end);
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

	if (!length || length > ~0ULL - PAGE - base)
		return true; /* empty, or wraps around: no such memory */
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

/* --- firmware's map ----------------------------------------------------------------------------------------------- */

static uint32_t translate(uint32_t efi_type)
{
	switch (efi_type) {
	case LOADER_CODE:
	case LOADER_DATA:
	case BOOT_SERVICES_CODE:
	case BOOT_SERVICES_DATA:
	case CONVENTIONAL:
		return BOOT_MEMORY_FREE;
	case ACPI_RECLAIM:
		return BOOT_MEMORY_ACPI;
	case ACPI_NVS:
	case RUNTIME_CODE:
	case RUNTIME_DATA:
	case PAL_CODE:
		return BOOT_MEMORY_FIRMWARE;
	case MMIO:
	case MMIO_PORTS:
		return BOOT_MEMORY_MMIO;
	default:
		return BOOT_MEMORY_RESERVED; /* unusable, persistent, unaccepted, or of a later specification */
	}
}

static bool is_right(const struct memory_descriptor *d)
{
	return !(d->base % PAGE) && d->base < ADDRESS_END && d->pages && d->pages <= (ADDRESS_END - d->base) / PAGE;
}

/* Where it ends, at the end of all addresses if it goes on beyond that. */
static uint64_t descriptor_end(const struct memory_descriptor *d)
{
	if (d->pages > (ADDRESS_END - d->base) / PAGE)
		return ADDRESS_END;
	return d->base + d->pages * PAGE;
}

static void add(struct memory_list *list, const struct memory_descriptor *d, uint32_t type,
		struct memory_faults *faults)
{
	uint64_t end;

	if (!is_right(d)) {
		if (!faults->wrong++)
			faults->first = *d;
		if (type == BOOT_MEMORY_FREE || d->base >= ADDRESS_END)
			return;
	}
	end = descriptor_end(d);
	if (memory_paint(list, d->base, end - d->base, type))
		return;
	faults->lost++;
	if (type != BOOT_MEMORY_FREE)
		cut(list, d->base & ~(PAGE - 1), (end + PAGE - 1) & ~(PAGE - 1));
}

void memory_add_map(struct memory_list *list, const void *map, uint64_t size, uint64_t descriptor_size,
		    struct memory_faults *faults)
{
	struct memory_descriptor d;

	*faults = (struct memory_faults){0};
	if (descriptor_size < sizeof(d))
		return;
	for (uint32_t type = BOOT_MEMORY_FREE; type <= BOOT_MEMORY_MMIO; type++) {
		for (uint64_t at = 0; size - at >= descriptor_size; at += descriptor_size) {
			memcpy(&d, (const uint8_t *)map + at, sizeof(d));
			if (translate(d.type) == type)
				add(list, &d, type, faults);
		}
	}
}
