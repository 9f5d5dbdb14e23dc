/* The list of memory ranges: painting, splitting, merging, rounding, and what happens when it is full. */
/* SPDX-License-Identifier: MIT */
/* links: boot/memory.c */
#include "boot/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX 64

static struct boot_memory entry[MAX];
static struct memory_list list;

static int setup(void **state)
{
	(void)state;
	list = (struct memory_list){entry, 0, MAX};
	return 0;
}

static void expect(unsigned i, uint64_t base, uint64_t length, uint32_t type)
{
	assert_true(i < list.count);
	assert_int_equal(entry[i].base, base);
	assert_int_equal(entry[i].length, length);
	assert_int_equal(entry[i].type, type);
}

static void test_sorted_and_merged(void **state)
{
	(void)state;
	assert_true(memory_paint(&list, 0x5000, 0x1000, BOOT_MEMORY_FREE));
	assert_true(memory_paint(&list, 0x1000, 0x1000, BOOT_MEMORY_FREE));
	assert_true(memory_paint(&list, 0x3000, 0x1000, BOOT_MEMORY_ACPI));
	assert_true(memory_paint(&list, 0x2000, 0x1000, BOOT_MEMORY_FREE));
	assert_int_equal(list.count, 3);
	expect(0, 0x1000, 0x2000, BOOT_MEMORY_FREE);
	expect(1, 0x3000, 0x1000, BOOT_MEMORY_ACPI);
	expect(2, 0x5000, 0x1000, BOOT_MEMORY_FREE);
	assert_true(memory_paint(&list, 0x3000, 0x2000, BOOT_MEMORY_FREE));
	assert_int_equal(list.count, 1);
	expect(0, 0x1000, 0x5000, BOOT_MEMORY_FREE);
}

static void test_claim_splits(void **state)
{
	(void)state;
	assert_true(memory_paint(&list, 0, 0x10000, BOOT_MEMORY_FREE));
	assert_true(memory_paint(&list, 0x4000, 0x2000, BOOT_MEMORY_CORE));
	assert_int_equal(list.count, 3);
	expect(0, 0, 0x4000, BOOT_MEMORY_FREE);
	expect(1, 0x4000, 0x2000, BOOT_MEMORY_CORE);
	expect(2, 0x6000, 0xa000, BOOT_MEMORY_FREE);
}

static void test_rounding(void **state)
{
	(void)state;
	assert_true(memory_paint(&list, 0x1001, 0x2fff, BOOT_MEMORY_FREE));
	expect(0, 0x2000, 0x2000, BOOT_MEMORY_FREE);
	assert_true(memory_paint(&list, 0x2fff, 2, BOOT_MEMORY_FIRMWARE));
	assert_int_equal(list.count, 1);
	expect(0, 0x2000, 0x2000, BOOT_MEMORY_FIRMWARE);
	assert_true(memory_paint(&list, 0x8001, 0x1000, BOOT_MEMORY_FREE)); /* no whole page */
	assert_true(memory_paint(&list, 0x8000, 0, BOOT_MEMORY_ACPI));
	assert_true(memory_paint(&list, 0x8001, 0, BOOT_MEMORY_ACPI));
	assert_int_equal(list.count, 1);
}

static void test_wrapping_ranges_are_ignored(void **state)
{
	(void)state;
	assert_true(memory_paint(&list, ~0ULL - 0xfff, 0x2000, BOOT_MEMORY_RESERVED));
	assert_true(memory_paint(&list, 0x1000, ~0ULL, BOOT_MEMORY_RESERVED));
	assert_true(memory_paint(&list, ~0ULL, 1, BOOT_MEMORY_FREE));
	assert_int_equal(list.count, 0);
}

static void test_full(void **state)
{
	struct boot_memory before[MAX];

	(void)state;
	list.max = 4;
	assert_true(memory_paint(&list, 0x1000, 0x1000, BOOT_MEMORY_FREE));
	assert_true(memory_paint(&list, 0x3000, 0x1000, BOOT_MEMORY_FREE));
	assert_true(memory_paint(&list, 0x5000, 0x1000, BOOT_MEMORY_FREE));
	memcpy(before, entry, sizeof before);
	assert_false(memory_paint(&list, 0x7000, 0x1000, BOOT_MEMORY_FREE));
	assert_int_equal(list.count, 3);
	assert_memory_equal(before, entry, sizeof before);
}

/* Against the plain model: one byte a page. */
static void test_random(void **state)
{
	uint8_t model[256] = {0};

	(void)state;
	srand(1);
	for (int i = 0; i < 5000; i++) {
		unsigned from = (unsigned)rand() % 256,
			 pages = (unsigned)rand() % (257 - from) / (1 + (unsigned)rand() % 32);
		uint32_t type = 1 + (uint32_t)rand() % 8, previous = 0;
		uint64_t end = 0;

		if (!memory_paint(&list, from * 4096ULL, pages * 4096ULL, type))
			continue;
		memset(model + from, (int)type, pages);
		for (unsigned k = 0; k < list.count; k++) {
			assert_true(entry[k].base >= end && entry[k].length);
			assert_false(entry[k].base == end && entry[k].type == previous); /* merged */
			for (uint64_t p = end >> 12; p < entry[k].base >> 12; p++)
				assert_int_equal(model[p], 0);
			for (uint64_t p = 0; p < entry[k].length >> 12; p++)
				assert_int_equal(model[(entry[k].base >> 12) + p], entry[k].type);
			end = entry[k].base + entry[k].length;
			previous = entry[k].type;
		}
	}
}

/* --- firmware's map ----------------------------------------------------------------------------------------------- */

/* UEFI's numbers. */
enum { RESERVED = 0, LOADER = 2, SERVICES = 4, RUNTIME = 6, FREE = 7, UNUSABLE = 8, ACPI = 9, NVS = 10, MMIO = 11 };

#define DESCRIPTOR 48 /* what firmware has in use: longer than what is read of it */

static uint8_t map[2100 * DESCRIPTOR];
static unsigned mapped;
static struct memory_faults faults;

static void describe(uint32_t type, uint64_t base, uint64_t pages)
{
	struct memory_descriptor d = {type, 0xffffffff, base, ~0ULL, pages};

	memset(map + mapped * DESCRIPTOR, 0xee, DESCRIPTOR);
	memcpy(map + mapped++ * DESCRIPTOR, &d, sizeof d);
}

static void add_map(void)
{
	memory_add_map(&list, map, mapped * DESCRIPTOR, DESCRIPTOR, &faults);
	mapped = 0;
}

static void test_map(void **state)
{
	(void)state;
	describe(FREE, 0x100000, 16);
	describe(RUNTIME, 0x110000, 2);
	describe(0x70000000, 0x120000, 1); /* an OEM's */
	describe(LOADER, 0, 2);
	describe(SERVICES, 0x2000, 1);
	describe(MMIO, 0xe0000000, 4);
	describe(ACPI, 0x130000, 1);
	add_map();
	assert_int_equal(faults.wrong + faults.lost, 0);
	assert_int_equal(list.count, 6);
	expect(0, 0, 0x3000, BOOT_MEMORY_FREE);
	expect(1, 0x100000, 0x10000, BOOT_MEMORY_FREE);
	expect(2, 0x110000, 0x2000, BOOT_MEMORY_FIRMWARE);
	expect(3, 0x120000, 0x1000, BOOT_MEMORY_RESERVED);
	expect(4, 0x130000, 0x1000, BOOT_MEMORY_ACPI);
	expect(5, 0xe0000000, 0x4000, BOOT_MEMORY_MMIO);
}

/* In whatever order: the one that lets us do less. */
static void test_overlaps(void **state)
{
	static const uint32_t types[] = {FREE, ACPI, NVS, UNUSABLE, MMIO};

	(void)state;
	for (unsigned a = 0; a < 5; a++) {
		for (unsigned b = 0; b < 5; b++) {
			uint32_t strict = (uint32_t[]){1, 5, 6, 7, 8}[a > b ? a : b];

			list.count = 0;
			describe(types[a], 0x10000, 8);
			describe(types[b], 0x14000, 8);
			add_map();
			assert_int_equal(faults.wrong, 0);
			for (unsigned i = 0; i < list.count; i++)
				if (entry[i].base <= 0x14000 && entry[i].base + entry[i].length >= 0x18000)
					assert_int_equal(entry[i].type, strict);
			assert_in_range(list.count, 1, 2);
		}
	}
}

static void test_wrong_descriptors(void **state)
{
	(void)state;
	describe(FREE, 0x100000, 0x100);
	describe(FREE, 0x100000, 0);		  /* empty */
	describe(RESERVED, 0x110000, 0);	  /* empty */
	describe(RESERVED, 0x120800, 1);	  /* misaligned: both pages */
	describe(FREE, 0x200000, 1ULL << 60);	  /* wraps: nothing of it is believed */
	describe(RESERVED, 0x180000, ~0ULL >> 1); /* wraps: all behind it is */
	describe(RESERVED, 1ULL << 52, 4);	  /* there is no such address */
	describe(FREE, ~0xfffULL, 2);
	add_map();
	assert_int_equal(faults.wrong, 7);
	assert_int_equal(faults.lost, 0);
	assert_int_equal(faults.first.type, FREE);
	assert_int_equal(faults.first.pages, 0);
	assert_int_equal(list.count, 4);
	expect(0, 0x100000, 0x20000, BOOT_MEMORY_FREE);
	expect(1, 0x120000, 0x2000, BOOT_MEMORY_RESERVED);
	expect(2, 0x122000, 0x5e000, BOOT_MEMORY_FREE);
	expect(3, 0x180000, (1ULL << 52) - 0x180000, BOOT_MEMORY_RESERVED);
}

static void test_map_that_ends_early(void **state)
{
	(void)state;
	describe(FREE, 0x1000, 1);
	describe(FREE, 0x3000, 1);
	memory_add_map(&list, map, 2 * DESCRIPTOR - 1, DESCRIPTOR, &faults);
	assert_int_equal(list.count, 1);
	memory_add_map(&list, map, 2 * DESCRIPTOR, 31, &faults); /* shorter than UEFI's */
	memory_add_map(&list, map, 0, DESCRIPTOR, &faults);
	assert_int_equal(list.count, 1);
	mapped = 0;
}

/* As many as a loader has room for, none lost; holes between all of them, in no order. */
static void test_a_thousand_entries(void **state)
{
	static struct boot_memory many[BOOT_MAX_MEMORY];

	(void)state;
	list = (struct memory_list){many, 0, BOOT_MAX_MEMORY};
	for (unsigned i = 0; i < 1000; i++) {
		unsigned k = i * 7 % 1000;

		describe(k % 2 ? RESERVED : FREE, 0x100000 + k * 0x3000, 1 + k % 2);
	}
	add_map();
	assert_int_equal(faults.wrong + faults.lost, 0);
	assert_int_equal(list.count, 1000);
	for (unsigned k = 0; k < 1000; k++) {
		assert_int_equal(many[k].base, 0x100000 + k * 0x3000);
		assert_int_equal(many[k].type, k % 2 ? BOOT_MEMORY_RESERVED : BOOT_MEMORY_FREE);
	}
	for (unsigned k = 0; k < 1000; k++) /* neighbours merge */
		describe(FREE, 0x40000000 + k * 0x1000, 1);
	add_map();
	assert_int_equal(list.count, 1001);
}

/* What is not free must not stay so for want of room. */
static void test_no_room_for_what_is_reserved(void **state)
{
	(void)state;
	list.max = 4;
	describe(FREE, 0, 0x100);
	for (unsigned i = 0; i < 8; i++)
		describe(RESERVED, 0x10000 + i * 0x10000, 1);
	describe(RESERVED, 0xf0000, 0x20);
	add_map();
	assert_true(faults.lost > 0 && list.count <= 4);
	for (unsigned i = 0; i < list.count; i++) {
		uint64_t end = entry[i].base + entry[i].length;

		if (entry[i].type != BOOT_MEMORY_FREE)
			continue;
		assert_true(end <= 0xf0000);
		for (unsigned k = 0; k < 8; k++)
			assert_true(end <= 0x10000 + k * 0x10000 || entry[i].base >= 0x11000 + k * 0x10000);
	}
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_sorted_and_merged),
	    TEST(test_claim_splits),
	    TEST(test_rounding),
	    TEST(test_wrapping_ranges_are_ignored),
	    TEST(test_full),
	    TEST(test_random),
	    TEST(test_map),
	    TEST(test_overlaps),
	    TEST(test_wrong_descriptors),
	    TEST(test_map_that_ends_early),
	    TEST(test_a_thousand_entries),
	    TEST(test_no_room_for_what_is_reserved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
