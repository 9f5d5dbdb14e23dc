/* Unit tests of ACPI fixed hardware. */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/acpi_pm.c hv/bus.c hv/timer.c hv/lib/heap.c */
#include "tests/unit/chip_fixture.h"

#include "hv/dev/acpi_pm.h"

static struct acpi_pm pm;

static int setup(void **state)
{
	(void)state;
	fixture_reset();
	return acpi_pm_init(&pm, &pio, irq, &queue, &lock, &platform);
}

static void timer_runs_at_its_rate(void **state)
{
	uint64_t start = in(0x608, 4);

	(void)state;
	pass(HZ);
	assert_in_range(in(0x608, 4) - start, 3579544, 3579546);
	pass(1300 * HZ); /* wraps at 32 bits */
	assert_in_range(in(0x608, 4), 0, 3579545ULL * 1301 - (1ULL << 32) + 1);
	assert_int_equal(in(0x60A, 2), in(0x608, 4) >> 16);
	out(0x608, 4, 0);
	assert_int_not_equal(in(0x608, 4), 0);
}

static void acpi_mode_is_always_on(void **state)
{
	(void)state;
	assert_int_equal(in(0x604, 2), 1);
	out(0x604, 2, 0);
	assert_int_equal(in(0x604, 2), 1);
	assert_int_equal(in(0x604, 1), 1);
}

static void s5_powers_off(void **state)
{
	(void)state;
	out(0x604, 2, 5 << 10);
	assert_int_equal(requests, 0);
	assert_int_equal(in(0x604, 2), 5 << 10 | 1); /* SLP_TYP is kept */
	out(0x604, 2, 3 << 10 | 1 << 13);
	assert_int_equal(requests, 0); /* no such state here */
	out(0x604, 2, 5 << 10 | 1 << 13);
	assert_int_equal(requests, 1);
	assert_int_equal(request_what, PLATFORM_POWER_OFF);
	assert_int_equal(in(0x604, 2) & 1 << 13, 0); /* write-only */
	outb(0x605, 5 << 2 | 1 << 5);		     /* by bytes too */
	assert_int_equal(requests, 2);
}

static void power_button_raises_the_sci(void **state)
{
	(void)state;
	acpi_pm_power_button(&pm);
	assert_false(irq_level);
	out(0x602, 2, 0x0100);
	assert_int_equal(in(0x602, 2), 0x0100);
	assert_true(irq_level);
	assert_int_equal(in(0x600, 2), 0x0100);
	out(0x600, 2, 0x0001); /* another bit: stays */
	assert_true(irq_level);
	out(0x600, 2, 0x0100);
	assert_false(irq_level);
	assert_int_equal(in(0x600, 2), 0);
	acpi_pm_power_button(&pm);
	assert_int_equal(irq_edges, 2);
	assert_int_equal(in(0x600, 4), 0x01000100);
}

static void unknown_enables_are_not_kept(void **state)
{
	(void)state;
	out(0x602, 2, 0xFFFF);
	assert_int_equal(in(0x602, 2), 0x0521);
}

static void timer_overflow(void **state)
{
	(void)state;
	pass(601 * HZ); /* bit 31 changes every 599.9 s */
	assert_int_equal(in(0x600, 2), 1);
	out(0x600, 2, 1);
	assert_int_equal(in(0x600, 2), 0);
	assert_int_equal(queue.next, TIMER_NEVER);
	out(0x602, 2, 1);
	pass(590 * HZ);
	assert_false(irq_level);
	pass(10 * HZ);
	assert_true(irq_level);
	assert_int_equal(queue.next, TIMER_NEVER); /* not before it is acknowledged */
	out(0x600, 2, 1);
	pass(600 * HZ);
	assert_int_equal(irq_edges, 2);
}

static void reset_clears(void **state)
{
	(void)state;
	out(0x602, 2, 0x0101);
	acpi_pm_power_button(&pm);
	acpi_pm_reset(&pm);
	assert_false(irq_level);
	assert_int_equal(in(0x600, 4), 0);
	assert_int_equal(queue.next, TIMER_NEVER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(timer_runs_at_its_rate, setup),
	    cmocka_unit_test_setup(acpi_mode_is_always_on, setup),
	    cmocka_unit_test_setup(s5_powers_off, setup),
	    cmocka_unit_test_setup(power_button_raises_the_sci, setup),
	    cmocka_unit_test_setup(unknown_enables_are_not_kept, setup),
	    cmocka_unit_test_setup(timer_overflow, setup),
	    cmocka_unit_test_setup(reset_clears, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
