/*
 * arch/x86/tsc.c against timers that count as they should, stand still, run absurdly or jump about: the rate is right,
 * or nobody is believed and it is said what each was found to do; and it never takes for ever.
 */
/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/insn.h"

static uint8_t fake_inb(uint16_t port);
static uint32_t fake_inl(uint16_t port);
static void fake_outb(uint16_t port, uint8_t value);
static uint64_t fake_rdtsc(void);

#define inb   fake_inb
#define inl   fake_inl
#define outb  fake_outb
#define rdtsc fake_rdtsc
#include "arch/x86/tsc.c"

#define TSC_HZ	 2500000000ULL
#define LAPIC_HZ 25000000ULL
#define PM_PORT	 0xb008
#define LOOK	 1000 /* ticks that one IN takes */

static struct {
	double pit, pm; /* how fast, beside what it should be; 0: stands still */
	bool pm_jumps, no_pm, tsc_stands;
	unsigned steals; /* every so many looks the processor is away for 20 ms; 0: never */
} machine;
static uint64_t now, looks, rate, rate_tsc;
static char why[300];

static uint64_t clocks(double speed, uint64_t hz)
{
	return (uint64_t)((double)now * speed * (double)hz / (double)TSC_HZ);
}

static void look(void)
{
	looks++;
	now += LOOK;
	if (machine.steals && looks % machine.steals == 0)
		now += TSC_HZ / 50;
}

static uint64_t fake_rdtsc(void)
{
	now += 20;
	return machine.tsc_stands ? 77 : now;
}
static uint8_t fake_inb(uint16_t port)
{
	assert_int_equal(port, PORT_B);
	look();
	return clocks(machine.pit, PIT_HZ) / (PIT_CLOCKS / 2) & 1 ? PORT_B_OUT_2 : 0;
}
static uint32_t fake_inl(uint16_t port)
{
	assert_int_equal(port, PM_PORT);
	look();
	if (machine.pm_jumps)
		return (uint32_t)rand();
	return (uint32_t)(clocks(machine.pm, PM_HZ) + 0xfff000) & 0xffffff;
}
static void fake_outb(uint16_t port, uint8_t value)
{
	(void)value;
	assert_true(port == PORT_B || port == PIT_COMMAND || port == PIT_CHANNEL_2);
}

uint16_t acpi_pm_timer(unsigned *bits)
{
	*bits = 24;
	return machine.no_pm ? 0 : PM_PORT;
}
void lapic_timer_start_count(void) {}
uint32_t lapic_timer_read_count(void)
{
	return (uint32_t)clocks(1, LAPIC_HZ);
}
void lapic_timer_set_rate(uint64_t counts_hz, uint64_t tsc_hz)
{
	rate = counts_hz;
	rate_tsc = tsc_hz;
}

static int setup(void **state)
{
	(void)state;
	memset(&machine, 0, sizeof(machine));
	machine.pit = machine.pm = 1;
	now = 1000000;
	looks = rate = rate_tsc = 0;
	memset(why, 0, sizeof(why));
	srand(1);
	return 0;
}

/* Within a thousandth. */
static void right(void)
{
	uint64_t hz = tsc_calibrate(why, sizeof(why));

	assert_in_range(hz, TSC_HZ - TSC_HZ / 1000, TSC_HZ + TSC_HZ / 1000);
	assert_in_range(rate, LAPIC_HZ - LAPIC_HZ / 500, LAPIC_HZ + LAPIC_HZ / 500);
	assert_int_equal(rate_tsc, hz);
	assert_string_equal(why, "");
}

static void wrong(const char *expected)
{
	assert_int_equal(tsc_calibrate(why, sizeof(why)), 0);
	assert_int_equal(rate, 0);
	assert_string_equal(why, expected);
	assert_true(looks <= 3ULL * POLL_MAX); /* some seconds where each takes a microsecond */
}

static void both_count(void **s)
{
	(void)s;
	right();
}

static void only_one_counts(void **s)
{
	(void)s;
	machine.pit = 0;
	right();
	setup(NULL);
	machine.pm = 0;
	right();
	setup(NULL);
	machine.no_pm = true;
	right();
}

/* The PM timer alone is exact where the processor is taken away at every edge. */
static void a_noisy_machine(void **s)
{
	(void)s;
	machine.steals = 50;
	right();
}

static void none_counts(void **s)
{
	(void)s;
	machine.pit = machine.pm = 0;
	wrong("the 8254: found no step in 4000000 looks, expected one in 5000 us; the ACPI PM timer: found no step in "
	      "4000000 looks, expected one in 5000 us");
	setup(NULL);
	machine.pit = 0;
	machine.no_pm = true;
	wrong("the 8254: found no step in 4000000 looks, expected one in 5000 us; found no ACPI PM timer");
}

static void the_8254_is_absurd(void **s)
{
	(void)s;
	machine.pit = 300; /* a TSC of 8 MHz */
	right();
	setup(NULL);
	machine.pit = 0.1; /* of 25 GHz */
	right();
}

static void both_are_absurd(void **s)
{
	(void)s;
	machine.pit = machine.pm = 0.1;
	assert_int_equal(tsc_calibrate(why, sizeof(why)), 0);
	assert_memory_equal(why, "the 8254: found a TSC of 2", 26);
	assert_non_null(strstr(why, " Hz, expected 10000000 to 20000000000; the ACPI PM timer: found a TSC of 2"));
	assert_int_equal(rate, 0);
}

/* Whatever it reads: no division by zero, no endless wait, nothing out of range is believed. */
static void the_pm_timer_jumps(void **s)
{
	(void)s;
	for (unsigned i = 0; i < 300; i++) {
		uint64_t hz;

		setup(NULL);
		machine.pit = 0;
		machine.pm_jumps = true;
		srand(i);
		hz = tsc_calibrate(why, sizeof(why));
		assert_true(!hz || (hz >= HZ_MIN && hz <= HZ_MAX));
		assert_true(!hz == !rate_tsc && !hz == !!why[0]);
		if (i == 2) /* waiting for the 8254 takes most of the time */
			break;
	}
}

static void the_pm_timer_goes_nowhere(void **s)
{
	struct window w = {.ticks = 5, .clocks = 0};

	(void)s;
	assert_int_equal(window_hz(&w, PM_HZ), 0);
	assert_false(use(&w, PM_HZ));
}

static void the_tsc_stands_still(void **s)
{
	(void)s;
	machine.tsc_stands = true;
	wrong(
	    "the 8254: found a TSC of 0 Hz, expected 10000000 to 20000000000; the ACPI PM timer: found a TSC of 0 Hz, "
	    "expected 10000000 to 20000000000");
}

static void a_short_text_is_cut(void **s)
{
	char text[20];

	(void)s;
	machine.pit = machine.pm = 0;
	assert_int_equal(tsc_calibrate(text, sizeof(text)), 0);
	assert_string_equal(text, "the 8254: found no ");
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(both_count),	       TEST(only_one_counts),		TEST(a_noisy_machine),
	    TEST(none_counts),	       TEST(the_8254_is_absurd),	TEST(both_are_absurd),
	    TEST(the_pm_timer_jumps),  TEST(the_pm_timer_goes_nowhere), TEST(the_tsc_stands_still),
	    TEST(a_short_text_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
