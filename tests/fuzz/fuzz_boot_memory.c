/*
 * boot/memory.c on firmware's memory map: any descriptors, in any order, of any length, in a list that may be too
 * short. Against a plain model, the strictest type of each page: what is listed is sorted, merged and no freer than the
 * model; and exactly it when nothing was lost.
 */
/* SPDX-License-Identifier: MIT */
/* links: boot/memory.c */
#include "boot/memory.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

#define PAGES	   512 /* that the model knows */
#define PAGE	   4096ULL
#define ADDRESSES  (1ULL << 52)
#define RECORD	   6
#define DESCRIPTOR 40
#define RANGES	   1024

static uint8_t model[PAGES];
static struct boot_memory entry[RANGES];

/* UEFI 2.10, 7.2, as the model has it: 0, 8, 14, ... are reserved. */
static uint8_t kind(uint32_t type)
{
	static const uint8_t known[14] = {7, 1, 1, 1, 1, 6, 6, 1, 7, 5, 6, 8, 8, 6};

	return type < 14 ? known[type] : 7;
}

/* What a descriptor says of each page. */
static void tell_model(const struct memory_descriptor *d)
{
	uint8_t type = kind(d->type);
	bool right = d->base % PAGE == 0 && d->base < ADDRESSES && d->pages && d->pages <= (ADDRESSES - d->base) / PAGE;
	unsigned __int128 base = d->base, end = base + (unsigned __int128)d->pages * PAGE;

	if (!right && type == BOOT_MEMORY_FREE)
		return;
	for (unsigned i = 0; i < PAGES; i++)
		if (base < (i + 1) * PAGE && end > i * PAGE && d->pages && type > model[i])
			model[i] = type;
}

/* Small addresses as a rule; where the record says so anything. */
static struct memory_descriptor make(const uint8_t *r)
{
	struct memory_descriptor d = {
	    .type = r[0] % 16, .base = (uint64_t)(r[1] | (r[2] & 1) << 8) * PAGE, .pages = r[3]};

	if (r[4] == 1)
		d.base += r[5];
	if (r[4] == 2)
		d.pages = ~0ULL >> (r[5] & 63);
	if (r[4] == 3)
		d.base = ~0ULL << (r[5] & 63);
	if (r[4] == 4)
		d.type = 0x80000000u + r[5];
	return d;
}

static void check(const struct memory_list *list, bool exact)
{
	uint64_t end = 0;
	uint32_t type = 0;

	for (uint32_t i = 0; i < list->count; i++) {
		const struct boot_memory *m = &entry[i];

		REQUIRE(m->type >= BOOT_MEMORY_FREE && m->type <= BOOT_MEMORY_MMIO);
		REQUIRE(m->base % PAGE == 0 && m->length && m->length % PAGE == 0 && m->length <= ADDRESSES - m->base);
		REQUIRE(m->base >= end && (i == 0 || m->base > end || m->type != type || !exact));
		for (uint64_t p = m->base / PAGE; p < PAGES && p < (m->base + m->length) / PAGE; p++)
			REQUIRE(exact ? m->type == model[p]
				      : m->type != BOOT_MEMORY_FREE || model[p] == BOOT_MEMORY_FREE);
		for (uint64_t p = end / PAGE; exact && p < PAGES && p < m->base / PAGE; p++)
			REQUIRE(!model[p]);
		end = m->base + m->length;
		type = m->type;
	}
	for (uint64_t p = end / PAGE; exact && p < PAGES; p++)
		REQUIRE(!model[p]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct memory_list list = {entry, 0, RANGES};
	size_t count = size ? (size - 1) / RECORD : 0;
	struct memory_faults faults;
	uint8_t *map;

	if (!count)
		return 0;
	if (data[0] & 0x80)
		list.max = 1 + (data[0] & 0xf);
	map = malloc(count * DESCRIPTOR);
	REQUIRE(map);
	memset(model, 0, sizeof(model));
	for (size_t i = 0; i < count; i++) {
		struct memory_descriptor d = make(data + 1 + i * RECORD);

		memcpy(map + i * DESCRIPTOR, &d, sizeof(d));
		tell_model(&d);
	}
	memory_add_map(&list, map, count * DESCRIPTOR, DESCRIPTOR, &faults);
	free(map);
	REQUIRE(list.count <= list.max);
	REQUIRE(faults.wrong <= count && faults.lost <= count);
	check(&list, !faults.lost);
	return 0;
}
