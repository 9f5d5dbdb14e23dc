/* How far apart two CPUs' time-stamp counters are, from questions and answers. */
/* SPDX-License-Identifier: MIT */
/* links: arch/x86/tsc_sync.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "arch/x86/tsc_sync.h"

static void an_answer_in_between_is_no_skew(void **state)
{
	const struct tsc_sample s[] = {{1000, 1001, 1200}, {2000, 2150, 2160}, {3000, 3000, 3400}};

	(void)state;
	assert_int_equal(tsc_skew(s, 3), 0);
}

static void the_quickest_sample_counts(void **state)
{
	/* 500 ahead; the slow samples hide it */
	const struct tsc_sample s[] = {{1000, 1900, 2400}, {3000, 3550, 3100}, {5000, 6000, 6900}};

	(void)state;
	assert_int_equal(tsc_skew(s, 3), 500);
}

static void behind_is_negative(void **state)
{
	const struct tsc_sample s[] = {{1000000, 900050, 1000100}};

	(void)state;
	assert_int_equal(tsc_skew(s, 1), -100000);
}

static void a_counter_that_began_later(void **state)
{
	const struct tsc_sample s[] = {{1ULL << 40, 77, (1ULL << 40) + 100}};

	(void)state;
	assert_int_equal(tsc_skew(s, 1), 77 - (int64_t)((1ULL << 40) + 50));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_answer_in_between_is_no_skew),
	    cmocka_unit_test(the_quickest_sample_counts),
	    cmocka_unit_test(behind_is_negative),
	    cmocka_unit_test(a_counter_that_began_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
