/* Unit tests of the debug ports. */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/debug_port.c hv/bus.c hv/timer.c hv/lib/heap.c */
#include "tests/unit/chip_fixture.h"

#include "hv/dev/debug_port.h"

static struct debug_port dbg;

static int setup(void **state)
{
	(void)state;
	fixture_reset();
	return debug_port_init(&dbg, &pio, sink, &platform);
}

static void console_prints(void **state)
{
	(void)state;
	assert_int_equal(inb(0xE9), 0xE9);
	outb(0xE9, 'o');
	outb(0xE9, 'k');
	assert_string_equal(text, "ok");
}

static void exit_takes_all_widths(void **state)
{
	(void)state;
	out(0xF4, 1, 0x12);
	assert_int_equal(request_code, 0x12);
	out(0xF4, 2, 0x1234);
	assert_int_equal(request_code, 0x1234);
	out(0xF4, 4, 0x12345678);
	assert_int_equal(request_code, 0x12345678);
	assert_int_equal(request_what, PLATFORM_DEBUG_EXIT);
	assert_int_equal(requests, 3);
	out(0xF5, 1, 1);
	assert_int_equal(requests, 3);
	assert_int_equal(in(0xF4, 4), 0);
}

static void post_port_swallows(void **state)
{
	(void)state;
	outb(0x80, 0x55);
	assert_int_equal(inb(0x80), 0x55);
	debug_port_reset(&dbg);
	assert_int_equal(inb(0x80), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(console_prints, setup),
	    cmocka_unit_test_setup(exit_takes_all_widths, setup),
	    cmocka_unit_test_setup(post_port_swallows, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
