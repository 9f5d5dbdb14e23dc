/* The look at the local APIC's timer: one that goes off, late as well, and one that never does. */
/* SPDX-License-Identifier: MIT */
/* links: hv/lib/printf.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/insn.h"

static uint64_t fake_rdtsc(void);
#define rdtsc fake_rdtsc
#include "arch/x86/timer_try.c"

#define HZ    2000000000ULL
#define NEVER (~0ULL)

static uint64_t now, set_to, late; /* late: ticks behind its time; NEVER: it does not tick */
static bool deadline_mode;
static char why[200];
static void (*handler)(void *ctx);
static void *handler_ctx;

static uint64_t fake_rdtsc(void)
{
	now += 20;
	return now;
}

void irq_register(unsigned vector, void (*call)(void *ctx), void *ctx)
{
	assert_int_equal(vector, VECTOR_TIMER);
	handler = call;
	handler_ctx = ctx;
}

void lapic_timer_set(uint64_t tsc_deadline)
{
	set_to = tsc_deadline;
}

bool lapic_timer_is_deadline(void)
{
	return deadline_mode;
}

void cpu_take_interrupts(void)
{
	now += 1000;
	if (late != NEVER && set_to != NEVER && now >= set_to + late) {
		set_to = NEVER;
		handler(handler_ctx);
	}
}

static int setup(void **state)
{
	(void)state;
	now = 1000000;
	set_to = NEVER;
	late = 0;
	why[0] = 0;
	return 0;
}

static void it_goes_off(void **state)
{
	(void)state;
	assert_int_equal(timer_try(HZ, why, sizeof(why)), 0);
	assert_in_range(now, 1000000 + HZ / 10000, 1000000 + HZ / 10000 + 3000);
	late = HZ * 9 / 10;
	assert_int_equal(timer_try(HZ, why, sizeof(why)), 0);
	assert_string_equal(why, "");
}

static void it_stands_still(void **state)
{
	(void)state;
	late = NEVER;
	deadline_mode = true;
	assert_int_equal(timer_try(HZ, why, sizeof(why)), -E_TIMEOUT);
	assert_string_equal(why, "the local APIC's timer, in TSC-deadline mode: found no interrupt in 1000000 us, "
				 "expected one after 100");
	assert_in_range(now, 1000000 + HZ, 1000000 + HZ + HZ / 100); /* a second, and not for ever */
	assert_int_equal(set_to, NEVER);
	deadline_mode = false;
	assert_int_equal(timer_try(HZ, why, sizeof(why)), -E_TIMEOUT);
	assert_non_null(strstr(why, "in count mode"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(it_goes_off, setup),
	    cmocka_unit_test_setup(it_stands_still, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
