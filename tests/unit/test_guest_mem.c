/* Guest memory: regions are kept sorted and apart, and no access leaves them. */
/* SPDX-License-Identifier: MIT */
/* links: hv/guest_mem.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/guest_mem.h"

static uint8_t low[PAGE_SIZE], next[2 * PAGE_SIZE], far_away[PAGE_SIZE];

static int add(struct guest_mem *mem, uint64_t gpa, uint64_t size, uint8_t *host, bool ram)
{
	return guest_mem_add(mem, &(struct guest_region){gpa, size, host, ram});
}

/* Two adjacent regions and one behind a hole, added out of order. */
static struct guest_mem make(void)
{
	struct guest_mem mem = {0};

	assert_int_equal(add(&mem, 0x10000, PAGE_SIZE, far_away, true), 0);
	assert_int_equal(add(&mem, 0, PAGE_SIZE, low, true), 0);
	assert_int_equal(add(&mem, PAGE_SIZE, 2 * PAGE_SIZE, next, true), 0);
	return mem;
}

static void regions_are_sorted(void **s)
{
	struct guest_mem mem = make();

	(void)s;
	assert_int_equal(mem.count, 3);
	assert_int_equal(mem.region[0].gpa, 0);
	assert_int_equal(mem.region[1].gpa, PAGE_SIZE);
	assert_int_equal(mem.region[2].gpa, 0x10000);
}

static void bad_regions_are_refused(void **s)
{
	struct guest_mem mem = make();

	(void)s;
	assert_int_equal(add(&mem, 0x20001, PAGE_SIZE, low, true), -E_INVAL);
	assert_int_equal(add(&mem, 0x20000, PAGE_SIZE + 1, low, true), -E_INVAL);
	assert_int_equal(add(&mem, 0x20000, 0, low, true), -E_INVAL);
	assert_int_equal(add(&mem, 0x20000, PAGE_SIZE, NULL, true), -E_INVAL);
	assert_int_equal(add(&mem, ~0ULL - 4095, PAGE_SIZE, low, true), -E_INVAL);
	assert_int_equal(add(&mem, 0x20000, ~0ULL - 4095, low, true), -E_INVAL);
	assert_int_equal(add(&mem, 0x2000, PAGE_SIZE, low, true), -E_EXIST);
	assert_int_equal(add(&mem, 0x10000, PAGE_SIZE, low, true), -E_EXIST);
	assert_int_equal(add(&mem, 0xf000, 2 * PAGE_SIZE, low, true), -E_EXIST);
	for (unsigned i = 3; i < GUEST_MEM_MAX_REGIONS; i++)
		assert_int_equal(add(&mem, 0x100000 + i * PAGE_SIZE, PAGE_SIZE, low, true), 0);
	assert_int_equal(add(&mem, 0x200000, PAGE_SIZE, low, true), -E_NOMEM);
}

static void copies_cross_adjacent_regions(void **s)
{
	struct guest_mem mem = make();
	uint8_t in[64], out[64] = {0};

	(void)s;
	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)(i + 1);
	assert_int_equal(guest_write(&mem, GPA(PAGE_SIZE - 10), in, sizeof(in)), 0);
	assert_memory_equal(low + PAGE_SIZE - 10, in, 10);
	assert_memory_equal(next, in + 10, 54);
	assert_int_equal(guest_read(&mem, GPA(PAGE_SIZE - 10), out, sizeof(out)), 0);
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(guest_zero(&mem, GPA(PAGE_SIZE - 1), 2), 0);
	assert_int_equal(low[PAGE_SIZE - 1], 0);
	assert_int_equal(next[0], 0);
	assert_int_equal(next[1], 12);
}

static void outside_is_refused_and_nothing_written(void **s)
{
	struct guest_mem mem = make();
	uint8_t in[16], out[16];

	(void)s;
	memset(in, 0xee, sizeof(in));
	memset(next, 0, sizeof(next));
	assert_int_equal(guest_write(&mem, GPA(3 * PAGE_SIZE - 8), in, 16), -E_RANGE);
	assert_int_equal(next[2 * PAGE_SIZE - 8], 0);
	assert_int_equal(guest_zero(&mem, GPA(3 * PAGE_SIZE - 8), 16), -E_RANGE);
	assert_int_equal(guest_read(&mem, GPA(3 * PAGE_SIZE - 8), out, 16), -E_RANGE);
	assert_int_equal(guest_read(&mem, GPA(~0ULL), out, 16), -E_RANGE);
	assert_int_equal(guest_write(&mem, GPA(0xffff), in, 1), -E_RANGE);
	assert_int_equal(guest_write(&mem, GPA(0x11000), in, 1), -E_RANGE);
	assert_int_equal(guest_write(&mem, GPA(0x10fff), in, 1), 0);
	assert_int_equal(guest_write(&mem, GPA(~0ULL), in, 0), 0);
}

static void a_mapping_stays_inside_one_region(void **s)
{
	struct guest_mem mem = make();

	(void)s;
	assert_ptr_equal(guest_map(&mem, GPA(PAGE_SIZE + 4), 2 * PAGE_SIZE - 4), next + 4);
	assert_null(guest_map(&mem, GPA(PAGE_SIZE + 4), 2 * PAGE_SIZE - 3));
	assert_null(guest_map(&mem, GPA(PAGE_SIZE - 4), 8));
	assert_null(guest_map(&mem, GPA(0x8000), 1));
	assert_null(guest_map(&mem, GPA(0), 0));
	assert_null(guest_map(&mem, GPA(0), ~(size_t)0));
}

static unsigned lookups;

/* Pieces of two pages, of which one is nowhere. */
static uint8_t *reach(void *backing, uint64_t gpa, uint64_t *before, uint64_t *left)
{
	static uint8_t piece[2][2 * PAGE_SIZE];
	uint64_t offset = gpa - 0x20000, number = offset / (2 * PAGE_SIZE);

	(void)backing;
	lookups++;
	*before = offset % (2 * PAGE_SIZE);
	*left = 2 * PAGE_SIZE - *before;
	return number < 2 ? piece[1 - number] + offset % (2 * PAGE_SIZE) : NULL;
}

static struct guest_near near;

/* Answers what was found for `want` bytes; `got` of them are in one piece. */
static uint8_t *look_near(const struct guest_mem *mem, uint64_t gpa, size_t want, size_t got)
{
	size_t size = want;
	uint8_t *host = guest_map_near(mem, &near, GPA(gpa), &size);

	assert_true(!host || size == got);
	return host;
}

static void what_lies_near_is_looked_up_once(void **s)
{
	struct guest_mem mem = make();
	uint8_t *first;

	(void)s;
	near = (struct guest_near){0};
	lookups = 0;
	mem.reach = mem.look = reach;
	assert_int_equal(add(&mem, 0x20000, 5 * PAGE_SIZE, NULL, true), 0);
	first = look_near(&mem, 0x20010, 100, 100);
	assert_ptr_equal(look_near(&mem, 0x20000, 16, 16), first - 16);
	assert_ptr_equal(look_near(&mem, 0x21fff, 16, 1), first + 0x1fef);
	assert_int_equal(lookups, 1);
	assert_non_null(look_near(&mem, 0x22000, 16, 16));
	assert_int_equal(lookups, 2);
	/* What lies before it, too, in its second page or its first. */
	assert_ptr_equal(look_near(&mem, 0x21800, 0x1000, 0x800), first + 0x17f0);
	assert_ptr_equal(look_near(&mem, 0x20fff, 0x2000, 0x1001), first + 0xfef);
	assert_ptr_equal(look_near(&mem, 0x20000, 1, 1), first - 16);
	assert_int_equal(lookups, 3);
	assert_null(look_near(&mem, 0x24fff, 1, 0)); /* in the region, and there is no memory */
	assert_null(look_near(&mem, 0x25000, 1, 0));
	assert_null(look_near(&mem, 0x1ffff, 1, 0));
	assert_null(look_near(&mem, UINT64_MAX, 1, 0));
	assert_ptr_equal(look_near(&mem, PAGE_SIZE + 1, SIZE_MAX, 2 * PAGE_SIZE - 1), next + 1);
	assert_ptr_equal(look_near(&mem, 1, SIZE_MAX, PAGE_SIZE - 1), low + 1);
	assert_null(look_near(&mem, 3 * PAGE_SIZE, 1, 0));
	assert_int_equal(lookups, 4);
}

/* A piece of two pages reaches over both ends of a region of one: what is remembered does not. */
static void what_lies_near_ends_with_the_region(void **s)
{
	struct guest_mem mem = {.reach = reach, .look = reach};

	(void)s;
	near = (struct guest_near){0};
	assert_int_equal(add(&mem, 0x21000, PAGE_SIZE, NULL, true), 0);
	assert_non_null(look_near(&mem, 0x21800, SIZE_MAX, 0x800));
	assert_null(look_near(&mem, 0x20fff, 1, 0));
	assert_null(look_near(&mem, 0x22000, 1, 0));
	mem.count = 0;
	near = (struct guest_near){0};
	assert_int_equal(add(&mem, 0x22000, PAGE_SIZE, NULL, true), 0);
	assert_non_null(look_near(&mem, 0x22000, SIZE_MAX, PAGE_SIZE));
	assert_null(look_near(&mem, 0x21fff, 1, 0));
	assert_null(look_near(&mem, 0x23000, 1, 0));
}

static void what_is_ram(void **s)
{
	struct guest_mem mem = {0};

	(void)s;
	assert_int_equal(add(&mem, 0, 0xa0000, low, true), 0);
	assert_int_equal(add(&mem, 0xa0000, 0x8000, low, false), 0);
	assert_true(guest_is_ram(&mem, GPA(0), 0xa0000));
	assert_true(guest_is_ram(&mem, GPA(0x9f000), 0x1000));
	assert_false(guest_is_ram(&mem, GPA(0x9f000), 0x1001));
	assert_false(guest_is_ram(&mem, GPA(0x9f000), ~(size_t)0));
	assert_false(guest_is_ram(&mem, GPA(0xa0000), 1));
	assert_false(guest_is_ram(&mem, GPA(0xa8000), 1));
}

static void top_of_low_memory(void **s)
{
	struct guest_mem mem = {0};

	(void)s;
	assert_int_equal(guest_mem_below_4g(&mem), 0);
	assert_int_equal(add(&mem, 0, 0xa0000, low, true), 0);
	assert_int_equal(guest_mem_below_4g(&mem), 0xa0000);
	assert_int_equal(add(&mem, 0xb8000, 0x8000, low, false), 0);
	assert_int_equal(add(&mem, MIB, 63 * MIB, low, true), 0);
	assert_int_equal(guest_mem_below_4g(&mem), 64 * MIB);
	assert_int_equal(add(&mem, 64 * MIB, MIB, low, false), 0);
	assert_int_equal(add(&mem, 65 * MIB, MIB, low, true), 0);
	assert_int_equal(guest_mem_below_4g(&mem), 64 * MIB);
	mem.region[2].size = 8 * GIB; /* one region to beyond 4 GiB */
	mem.count = 3;
	assert_int_equal(guest_mem_below_4g(&mem), 4 * GIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(regions_are_sorted),
	    cmocka_unit_test(bad_regions_are_refused),
	    cmocka_unit_test(copies_cross_adjacent_regions),
	    cmocka_unit_test(outside_is_refused_and_nothing_written),
	    cmocka_unit_test(a_mapping_stays_inside_one_region),
	    cmocka_unit_test(what_lies_near_is_looked_up_once),
	    cmocka_unit_test(what_lies_near_ends_with_the_region),
	    cmocka_unit_test(what_is_ram),
	    cmocka_unit_test(top_of_low_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
