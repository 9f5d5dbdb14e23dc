/* hv/bus.c: ranges stay sorted, never overlap, and an access is answered only when it lies wholly inside one. */
/* SPDX-License-Identifier: MIT */
/* links: hv/bus.c */
#include "hv/bus.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static int add(struct bus *bus, uint64_t first, uint64_t count, const char *name)
{
	return bus_add(bus, &(struct bus_range){.first = first, .count = count, .name = name});
}

static void finds_by_address(void **state)
{
	struct bus bus = {0};

	(void)state;
	assert_null(bus_find(&bus, 0, 1));
	assert_int_equal(add(&bus, 0x3f8, 8, "uart"), 0);
	assert_int_equal(add(&bus, 0x20, 2, "pic"), 0);
	assert_int_equal(add(&bus, 0x22, 1, "next"), 0);
	assert_string_equal(bus_find(&bus, 0x20, 1)->name, "pic");
	assert_string_equal(bus_find(&bus, 0x21, 1)->name, "pic");
	assert_string_equal(bus_find(&bus, 0x22, 1)->name, "next");
	assert_string_equal(bus_find(&bus, 0x3ff, 1)->name, "uart");
	assert_string_equal(bus_find(&bus, 0x3f8, 8)->name, "uart");
	assert_null(bus_find(&bus, 0x1f, 1));
	assert_null(bus_find(&bus, 0x23, 1));
	assert_null(bus_find(&bus, 0x3f7, 1));
	assert_null(bus_find(&bus, 0x400, 1));
}

static void access_must_fit(void **state)
{
	struct bus bus = {0};

	(void)state;
	assert_int_equal(add(&bus, 0x20, 2, "pic"), 0);
	assert_non_null(bus_find(&bus, 0x20, 2));
	assert_null(bus_find(&bus, 0x21, 2));
	assert_null(bus_find(&bus, 0x1f, 2));
	assert_null(bus_find(&bus, 0x20, 4));
}

static void refuses_overlap_and_nonsense(void **state)
{
	struct bus bus = {0};

	(void)state;
	assert_int_equal(add(&bus, 0x100, 0x10, "a"), 0);
	assert_int_equal(add(&bus, 0xff, 2, "b"), -E_EXIST);
	assert_int_equal(add(&bus, 0x10f, 1, "b"), -E_EXIST);
	assert_int_equal(add(&bus, 0x80, 0x1000, "b"), -E_EXIST);
	assert_int_equal(add(&bus, 0x104, 1, "b"), -E_EXIST);
	assert_int_equal(add(&bus, 0x50, 0, "b"), -E_INVAL);
	assert_int_equal(add(&bus, ~0ULL, 2, "b"), -E_INVAL);
	assert_int_equal(bus.count, 1);
	assert_int_equal(add(&bus, 0x110, 1, "c"), 0);
	assert_int_equal(add(&bus, 0xff, 1, "d"), 0);
}

static void reaches_the_top(void **state)
{
	struct bus bus = {0};

	(void)state;
	assert_int_equal(add(&bus, ~0ULL - 0xfff, 0x1000, "top"), 0);
	assert_non_null(bus_find(&bus, ~0ULL, 1));
	assert_null(bus_find(&bus, ~0ULL, 2));
	assert_non_null(bus_find(&bus, ~0ULL - 7, 8));
}

static void fills_up(void **state)
{
	struct bus bus = {0};

	(void)state;
	for (unsigned i = 0; i < BUS_MAX_RANGES; i++)
		assert_int_equal(add(&bus, (BUS_MAX_RANGES - i) * 16, 8, "x"), 0);
	assert_int_equal(add(&bus, 0, 1, "x"), -E_NOMEM);
	for (unsigned i = 0; i < BUS_MAX_RANGES; i++) {
		assert_int_equal(bus_find(&bus, (i + 1) * 16 + 3, 4)->first, (i + 1) * 16);
		assert_null(bus_find(&bus, (i + 1) * 16 + 8, 1));
	}
}

/* The range that was found last is looked at first, and is nothing any more when the bus is filled anew. */
static void forgets_what_it_found_last(void **state)
{
	struct bus bus = {0};

	(void)state;
	assert_int_equal(add(&bus, 0x100, 0x10, "a"), 0);
	assert_int_equal(add(&bus, 0x200, 0x10, "b"), 0);
	assert_string_equal(bus_find(&bus, 0x208, 1)->name, "b");
	assert_null(bus_find(&bus, 0x20f, 2));
	assert_int_equal(add(&bus, 0x80, 0x10, "c"), 0);
	assert_string_equal(bus_find(&bus, 0x208, 1)->name, "b");
	bus_clear(&bus);
	assert_null(bus_find(&bus, 0x208, 1));
	assert_null(bus_find(&bus, 0x80, 1));
	assert_int_equal(add(&bus, 0x200, 0x10, "d"), 0);
	assert_string_equal(bus_find(&bus, 0x208, 1)->name, "d");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(finds_by_address),
	    cmocka_unit_test(access_must_fit),
	    cmocka_unit_test(refuses_overlap_and_nonsense),
	    cmocka_unit_test(reaches_the_top),
	    cmocka_unit_test(fills_up),
	    cmocka_unit_test(forgets_what_it_found_last),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
