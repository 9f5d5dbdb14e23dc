/* Unit tests of the real-time clock and CMOS memory. */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/rtc.c hv/bus.c hv/timer.c hv/lib/heap.c */
#include "tests/unit/chip_fixture.h"

#include <time.h>

#include "hv/dev/rtc.h"

static struct rtc rtc;

#define START 1700000000 /* Tue 2023-11-14 22:13:20 UTC */

static int setup(void **state)
{
	(void)state;
	fixture_reset();
	return rtc_init(&rtc, &pio, irq, &queue, &lock, 256 << 20, START);
}

static uint8_t get(uint8_t reg)
{
	outb(0x70, reg);
	return inb(0x71);
}

static void put(uint8_t reg, uint8_t value)
{
	outb(0x70, reg | 0x80); /* with NMI masked: the same */
	outb(0x71, value);
}

static void tells_the_time_in_bcd(void **state)
{
	(void)state;
	assert_int_equal(get(0), 0x20);
	assert_int_equal(get(2), 0x13);
	assert_int_equal(get(4), 0x22);
	assert_int_equal(get(6), 3);
	assert_int_equal(get(7), 0x14);
	assert_int_equal(get(8), 0x11);
	assert_int_equal(get(9), 0x23);
	assert_int_equal(get(0x32), 0x20);
	assert_int_equal(get(0x0D), 0x80);
	pass(45 * HZ);
	assert_int_equal(get(0), 0x05);
	assert_int_equal(get(2), 0x14);
	assert_int_equal(queue.next, TIMER_NEVER);
}

static void binary_and_12_hours(void **state)
{
	(void)state;
	put(0x0B, 0x04);
	assert_int_equal(get(4), 0x80 | 10);
	assert_int_equal(get(2), 13);
	pass(2 * 3600 * HZ);
	assert_int_equal(get(4), 12); /* midnight is 12 AM */
	put(0x0B, 0x00);
	pass(12 * 3600 * HZ);
	assert_int_equal(get(4), 0x92); /* noon is 12 PM */
}

/* Against the C library, across leap years and centuries. */
static void dates_are_right(void **state)
{
	(void)state;
	for (int64_t t = 0; t < 8000000000LL; t += 86400 * 5 + 3607) {
		time_t c = t;
		struct tm tm;

		fixture_reset();
		assert_int_equal(rtc_init(&rtc, &pio, irq, &queue, &lock, 1 << 20, t), 0);
		put(0x0B, 0x06);
		tm = *gmtime(&c);
		assert_int_equal(get(7), tm.tm_mday);
		assert_int_equal(get(8), tm.tm_mon + 1);
		assert_int_equal(get(9) + get(0x32) * 100, tm.tm_year + 1900);
		assert_int_equal(get(6), tm.tm_wday + 1);
		assert_int_equal(get(4), tm.tm_hour);
		put(7, get(7)); /* what is written comes back */
		assert_int_equal(rtc.base_seconds, t);
	}
}

static void time_can_be_set(void **state)
{
	(void)state;
	put(0x0B, 0x82);
	put(0, 0x59);
	put(2, 0x59);
	put(4, 0x23);
	put(7, 0x28);
	put(8, 0x02);
	put(9, 0x24);
	put(0x32, 0x20);
	pass(10 * HZ); /* stands still */
	assert_int_equal(get(0), 0x59);
	put(0x0B, 0x02);
	pass(HZ + HZ / 2);
	assert_int_equal(get(7), 0x29); /* leap day */
	assert_int_equal(get(8), 0x02);
	assert_in_range(get(0), 0, 1);
}

static void rubbish_is_brought_into_range(void **state)
{
	(void)state;
	for (unsigned reg = 0; reg <= 9; reg++)
		put((uint8_t)reg, 0xFF);
	put(0x32, 0xFF);
	assert_in_range(get(8), 1, 0x12);
	assert_in_range(get(7), 1, 0x31);
}

static void update_in_progress_shows(void **state)
{
	(void)state;
	assert_int_equal(get(0x0A), 0x26);
	pass(HZ - 100 * US);
	assert_int_equal(get(0x0A), 0xA6);
	pass(200 * US);
	assert_int_equal(get(0x0A), 0x26);
}

static void update_interrupt(void **state)
{
	(void)state;
	put(0x0B, 0x12);
	pass(HZ + US);
	assert_int_equal(irq_edges, 1);
	pass(5 * HZ);
	assert_int_equal(irq_edges, 1); /* not acknowledged yet */
	assert_int_equal(queue.next, TIMER_NEVER);
	assert_int_equal(get(0x0C) & 0x90, 0x90);
	assert_false(irq_level);
	assert_int_equal(get(0x0C), 0);
	pass(HZ);
	assert_int_equal(irq_edges, 2);
}

static void periodic_interrupt(void **state)
{
	unsigned seen = 0;

	(void)state;
	put(0x0B, 0x42); /* 1024 Hz */
	for (unsigned i = 0; i < 10000; i++) {
		pass(100 * US);
		if (irq_level)
			seen += (get(0x0C) & 0xC0) == 0xC0;
	}
	assert_in_range(seen, 1023, 1024);
	put(0x0A, 0x20); /* rate 0: off */
	assert_int_equal(queue.next, TIMER_NEVER);
}

static void alarm_interrupt(void **state)
{
	(void)state;
	put(1, 0x25);
	put(3, 0x13);
	put(5, 0x22);
	put(0x0B, 0x22);
	pass(4 * HZ);
	assert_int_equal(irq_edges, 0);
	pass(HZ + US);
	assert_int_equal(irq_edges, 1);
	assert_int_equal(get(0x0C) & 0xA0, 0xA0);
	pass(86399 * HZ);
	assert_int_equal(irq_edges, 1);
	pass(HZ);
	assert_int_equal(irq_edges, 2); /* next day */
	get(0x0C);
	put(3, 0xFF);
	put(5, 0xFF); /* every minute at :25 */
	pass(60 * HZ);
	assert_int_equal(irq_edges, 3);
}

static void impossible_alarm_never_comes(void **state)
{
	(void)state;
	put(1, 0x75);
	put(0x0B, 0x22);
	assert_int_equal(queue.next, TIMER_NEVER);
}

static void alarm_flag_without_interrupt(void **state)
{
	(void)state;
	put(1, 0xFF);
	put(3, 0xFF);
	put(5, 0xFF);
	pass(2 * HZ);
	assert_int_equal(get(0x0C), 0x30 | 0x40);
	assert_int_equal(irq_edges, 0);
}

static void memory_size_is_told(void **state)
{
	unsigned sum = 0;

	(void)state;
	assert_int_equal(get(0x15) | get(0x16) << 8, 639);
	assert_int_equal(get(0x17) | get(0x18) << 8, 65535);
	assert_int_equal(get(0x30) | get(0x31) << 8, 65535);
	assert_int_equal(get(0x34) | get(0x35) << 8, 240 * 16);
	for (uint8_t i = 0x10; i < 0x2E; i++)
		sum += get(i);
	assert_int_equal(get(0x2E) << 8 | get(0x2F), sum);
}

static void cmos_keeps_bytes(void **state)
{
	(void)state;
	out(0x70, 2, 0x5A40); /* index and data in one access */
	assert_int_equal(get(0x40), 0x5A);
	put(0x0D, 0x00);
	put(0x0C, 0xFF);
	assert_int_equal(get(0x0D), 0x80);
	rtc_reset(&rtc);
	assert_int_equal(get(0x40), 0x5A);
}

static void reset_disarms(void **state)
{
	(void)state;
	put(0x0B, 0x72);
	pass(HZ);
	rtc_reset(&rtc);
	assert_false(irq_level);
	assert_int_equal(get(0x0B), 0x02);
	assert_int_equal(queue.next, TIMER_NEVER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(tells_the_time_in_bcd, setup),
	    cmocka_unit_test_setup(binary_and_12_hours, setup),
	    cmocka_unit_test_setup(dates_are_right, setup),
	    cmocka_unit_test_setup(time_can_be_set, setup),
	    cmocka_unit_test_setup(rubbish_is_brought_into_range, setup),
	    cmocka_unit_test_setup(update_in_progress_shows, setup),
	    cmocka_unit_test_setup(update_interrupt, setup),
	    cmocka_unit_test_setup(periodic_interrupt, setup),
	    cmocka_unit_test_setup(alarm_interrupt, setup),
	    cmocka_unit_test_setup(impossible_alarm_never_comes, setup),
	    cmocka_unit_test_setup(alarm_flag_without_interrupt, setup),
	    cmocka_unit_test_setup(memory_size_is_told, setup),
	    cmocka_unit_test_setup(cmos_keeps_bytes, setup),
	    cmocka_unit_test_setup(reset_disarms, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
