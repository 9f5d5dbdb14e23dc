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

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_sorted_and_merged),	    TEST(test_claim_splits), TEST(test_rounding),
	    TEST(test_wrapping_ranges_are_ignored), TEST(test_full),	     TEST(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
