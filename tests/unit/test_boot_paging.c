/* The loader's page tables: addresses and permissions as asked, the largest pages that fit, nothing mapped twice. */
/* SPDX-License-Identifier: MIT */
/* links: boot/paging.c */
#include "boot/paging.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define PAGES 64
#define RW    (PAGING_WRITE | PAGING_NX)
#define HIGH  0xffff800000000000ULL
#define MIB2  0x200000ULL
#define GIB   0x40000000ULL

static struct paging p;
static void *pool;

static int setup(void **state)
{
	(void)state;
	pool = aligned_alloc(4096, PAGES * 4096);
	assert_non_null(pool);
	paging_init(&p, pool, PAGES, true);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(pool);
	return 0;
}

/* What the processor would do. Answers the leaf, 0 when nothing is mapped; *size is that of the page. */
static uint64_t walk(uint64_t virt, uint64_t *size)
{
	const uint64_t *table = pool;

	for (unsigned shift = 39;; shift -= 9) {
		uint64_t e = table[(virt >> shift) & 511];

		*size = 1ULL << shift;
		if (!(e & 1))
			return 0;
		if (shift == 12 || (e & 0x80))
			return e;
		assert_true(e & PAGING_WRITE);
		assert_false(e & PAGING_NX);
		table = (const uint64_t *)(uintptr_t)(e & 0x000ffffffffff000ULL);
	}
}

static void expect(uint64_t virt, uint64_t phys, uint64_t size, uint64_t flags)
{
	uint64_t found, e = walk(virt, &found);

	assert_int_equal(found, size);
	assert_int_equal(e & 0x000ffffffffff000ULL, phys);
	assert_int_equal(e & RW, flags);
}

static void expect_nothing(uint64_t virt)
{
	uint64_t size;

	assert_int_equal(walk(virt, &size), 0);
}

static void test_permissions(void **state)
{
	(void)state;
	assert_true(paging_map(&p, 0xffffffff80000000ULL, 0x1000, 0x1000, 0));
	assert_true(paging_map(&p, 0xffffffff80001000ULL, 0x2000, 0x1000, PAGING_NX));
	assert_true(paging_map(&p, 0xffffffff80002000ULL, 0x3000, 0x1000, RW));
	assert_false(paging_map(&p, 0xffffffff80003000ULL, 0x4000, 0x1000, PAGING_WRITE));
	expect(0xffffffff80000000ULL, 0x1000, 0x1000, 0);
	expect(0xffffffff80001000ULL, 0x2000, 0x1000, PAGING_NX);
	expect(0xffffffff80002000ULL, 0x3000, 0x1000, RW);
	expect_nothing(0xffffffff80003000ULL);
	expect_nothing(0xffffffff7ffff000ULL);
}

static void test_ragged_range(void **state)
{
	uint64_t base = GIB - MIB2 - 0x1000, end = 2 * GIB + MIB2 + 0x1000;

	(void)state;
	assert_true(paging_map(&p, HIGH + base, base, end - base, RW));
	expect_nothing(HIGH + base - 0x1000);
	expect(HIGH + base, base, 0x1000, RW);
	expect(HIGH + GIB - MIB2, GIB - MIB2, MIB2, RW);
	expect(HIGH + GIB, GIB, GIB, RW);
	expect(HIGH + 2 * GIB, 2 * GIB, MIB2, RW);
	expect(HIGH + end - 0x1000, end - 0x1000, 0x1000, RW);
	expect_nothing(HIGH + end);
	assert_true(p.used <= 7);
}

static void test_without_gigabyte_pages(void **state)
{
	(void)state;
	paging_init(&p, pool, PAGES, false);
	assert_true(paging_map(&p, HIGH, 0, 2 * GIB, RW));
	expect(HIGH + GIB, GIB, MIB2, RW);
	assert_int_equal(p.used, 4);
}

static void test_unlike_offsets(void **state)
{
	(void)state;
	assert_true(paging_map(&p, HIGH + MIB2, 0x1000, MIB2, RW));
	expect(HIGH + MIB2, 0x1000, 0x1000, RW);
	expect(HIGH + 2 * MIB2 - 0x1000, MIB2, 0x1000, RW);
}

static void test_twice(void **state)
{
	(void)state;
	assert_true(paging_map(&p, HIGH, 0, GIB, RW));
	assert_false(paging_map(&p, HIGH, 0, GIB, RW));
	assert_false(paging_map(&p, HIGH + 0x1000, 0, 0x1000, RW));
	assert_true(paging_map(&p, HIGH + GIB, 0, 0x1000, RW));
	assert_false(paging_map(&p, HIGH + GIB, GIB, GIB, RW));
}

static void test_pool_empty(void **state)
{
	(void)state;
	paging_init(&p, pool, 3, true);
	assert_false(paging_map(&p, HIGH, 0, 0x1000, RW));
	assert_int_equal(p.used, 3);
	paging_init(&p, pool, 4, true);
	assert_true(paging_map(&p, HIGH, 0, 0x1000, RW));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_permissions),    TEST(test_ragged_range), TEST(test_without_gigabyte_pages),
	    TEST(test_unlike_offsets), TEST(test_twice),	TEST(test_pool_empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
