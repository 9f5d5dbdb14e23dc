/* Unit tests of the trace's reader: order of time over several CPUs, rings that are written meanwhile, the text. */
/* SPDX-License-Identifier: MIT */
/* links: hv/trace_read.c */
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "hv/trace.h"
#include <cmocka.h>
// clang-format on

#define CPUS 3

static struct trace_ring rings[CPUS];
static struct trace_record *memory;

static int setup(void **state)
{
	(void)state;
	memset(rings, 0, sizeof(rings));
	memory = calloc(CPUS * (size_t)TRACE_RING_RECORDS, sizeof(*memory));
	for (unsigned i = 0; i < CPUS; i++)
		rings[i].records = memory + i * (size_t)TRACE_RING_RECORDS;
	return memory ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	free(memory);
	return 0;
}

static void put(unsigned cpu, uint64_t tsc)
{
	struct trace_record r = {.tsc = tsc, .type = TRACE_EXIT};

	trace_ring_put(&rings[cpu], rings[cpu].records, &r);
}

static void put_many(unsigned cpu, uint64_t from, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		put(cpu, from + i);
}

static void expect_record(struct trace_cursor *c, unsigned cpu, uint64_t tsc)
{
	struct trace_record r = {0};

	assert_true(trace_next(c, &r));
	assert_int_equal(r.tsc, tsc);
	assert_int_equal(c->cpu, cpu);
}

static void expect_nothing(struct trace_cursor *c)
{
	struct trace_record r;

	assert_false(trace_next(c, &r));
}

/* Number of records left, each not earlier than the one before. */
static uint64_t count_rest(struct trace_cursor *c, uint64_t *first)
{
	struct trace_record r;
	uint64_t count = 0, last = 0;

	for (; trace_next(c, &r); count++, last = r.tsc) {
		if (count == 0)
			*first = r.tsc;
		assert_true(r.tsc >= last);
	}
	return count;
}

static void cpus_are_merged_by_time(void **state)
{
	struct trace_cursor c;

	(void)state;
	put(0, 10);
	put(0, 40);
	put(1, 20);
	put(2, 5);
	put(2, 30);
	put(2, 30);
	trace_cursor_init(&c, rings, CPUS, 0);
	expect_record(&c, 2, 5);
	expect_record(&c, 0, 10);
	expect_record(&c, 1, 20);
	expect_record(&c, 2, 30);
	expect_record(&c, 2, 30);
	expect_record(&c, 0, 40);
	expect_nothing(&c);
	expect_nothing(&c);
	assert_int_equal(c.lost, 0);
}

static void nothing_was_recorded(void **state)
{
	struct trace_cursor c;

	(void)state;
	rings[1].records = NULL;
	trace_cursor_init(&c, rings, CPUS, 0);
	expect_nothing(&c);
	trace_cursor_init(&c, rings, CPUS, 5);
	expect_nothing(&c);
}

/* What comes after the cursor was opened is not for it: the dump of a running trace ends. */
static void later_records_are_not_seen(void **state)
{
	struct trace_cursor c;

	(void)state;
	put(0, 1);
	trace_cursor_init(&c, rings, CPUS, 0);
	put(0, 2);
	put(1, 1);
	expect_record(&c, 0, 1);
	expect_nothing(&c);
}

/* A full ring: the slot that the owner may be filling just now is left out. */
static void a_full_ring_gives_its_newest(void **state)
{
	struct trace_cursor c;
	uint64_t first = 0;

	(void)state;
	put_many(0, 0, TRACE_RING_RECORDS);
	trace_cursor_init(&c, rings, CPUS, 0);
	assert_int_equal(count_rest(&c, &first), TRACE_RING_RECORDS - 1);
	assert_int_equal(first, 1);
	put_many(0, TRACE_RING_RECORDS, 100);
	trace_cursor_init(&c, rings, CPUS, 0);
	assert_int_equal(count_rest(&c, &first), TRACE_RING_RECORDS - 1);
	assert_int_equal(first, 101);
	assert_int_equal(c.lost, 0);
}

/* The owner comes round while the cursor stands: what it has overwritten is skipped and counted, with some way ahead.
 */
static void overtaken_records_are_counted(void **state)
{
	struct trace_cursor c;
	uint64_t first = 0;

	(void)state;
	put_many(0, 0, TRACE_RING_RECORDS / 2);
	put_many(1, 0, 4);
	trace_cursor_init(&c, rings, CPUS, 0);
	expect_record(&c, 0, 0);
	put_many(0, TRACE_RING_RECORDS / 2, TRACE_RING_RECORDS / 2 + 100);
	uint64_t lost = 101 + TRACE_RING_RECORDS / 8 - 1;
	assert_int_equal(count_rest(&c, &first), 4 + TRACE_RING_RECORDS / 2 - 1 - lost);
	assert_int_equal(first, 0); /* of CPU 1 */
	assert_int_equal(c.lost, lost);
}

static void all_is_overwritten(void **state)
{
	struct trace_cursor c;

	(void)state;
	put_many(0, 0, 50);
	trace_cursor_init(&c, rings, CPUS, 0);
	put_many(0, 50, 3 * TRACE_RING_RECORDS);
	expect_nothing(&c);
	assert_int_equal(c.lost, 50);
}

static void cleared_records_are_gone(void **state)
{
	struct trace_cursor c;

	(void)state;
	put_many(0, 0, 10);
	rings[0].start = 10;
	put(0, 77);
	trace_cursor_init(&c, rings, CPUS, 0);
	expect_record(&c, 0, 77);
	expect_nothing(&c);
	trace_cursor_init(&c, rings, CPUS, 5); /* fewer than asked for */
	expect_record(&c, 0, 77);
	expect_nothing(&c);
}

static void only_the_newest(void **state)
{
	struct trace_cursor c;

	(void)state;
	put_many(0, 100, 10);
	put_many(1, 200, 2);
	trace_cursor_init(&c, rings, CPUS, 3);
	assert_true(c.brief);
	expect_record(&c, 0, 107);
	expect_record(&c, 0, 108);
	expect_record(&c, 0, 109);
	expect_record(&c, 1, 200);
	expect_record(&c, 1, 201);
	expect_nothing(&c);
}

static void lines(void **state)
{
	struct trace_record r = {0x1a2b3c, TRACE_EXIT, 1, 2, 0x1e, 0xdeadbeef};
	char line[TRACE_LINE_MAX];

	(void)state;
	trace_format(line, sizeof(line), 3, &r);
	assert_string_equal(line, "T 3 1a2b3c exit 2 1 1e deadbeef");
	r = (struct trace_record){5, TRACE_TIMER, 0, TRACE_NO_VM, 0, 4};
	trace_format(line, sizeof(line), 0, &r);
	assert_string_equal(line, "T 0 5 timer - - 0 4");
	r.type = TRACE_TYPES;
	trace_format(line, sizeof(line), 0, &r);
	assert_string_equal(line, "T 0 5 unknown - - 0 4");
}

static void the_longest_line_fits(void **state)
{
	struct trace_record r = {~0ULL, TRACE_INJECT, 255, 0xfffe, ~0U, ~0ULL};
	char line[TRACE_LINE_MAX];

	(void)state;
	trace_format(line, sizeof(line), 255, &r);
	assert_string_equal(line, "T 255 ffffffffffffffff inject 65534 255 ffffffff ffffffffffffffff");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(cpus_are_merged_by_time),
	    TEST(nothing_was_recorded),
	    TEST(later_records_are_not_seen),
	    TEST(a_full_ring_gives_its_newest),
	    TEST(overtaken_records_are_counted),
	    TEST(all_is_overwritten),
	    TEST(cleared_records_are_gone),
	    TEST(only_the_newest),
	    TEST(lines),
	    TEST(the_longest_line_fits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
