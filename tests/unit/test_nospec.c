/* An index that speculation can't lead out of its array: what it is where the index is inside, and where not. */
/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hv/lib/nospec.h"

static void test_inside_it_is_the_index(void **state)
{
	(void)state;
	for (size_t size = 1; size < 70; size++)
		for (size_t i = 0; i < size; i++)
			assert_int_equal(index_nospec(i, size), i);
	assert_int_equal(index_nospec(SIZE_MAX - 1, SIZE_MAX), SIZE_MAX - 1);
}

static void test_outside_it_is_the_first(void **state)
{
	static const size_t sizes[] = {0, 1, 2, 0x18, 0x400, 0x80000000, 0x100000000, (size_t)1 << 63, SIZE_MAX};

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		assert_int_equal(index_nospec(sizes[i], sizes[i]), 0);
		assert_int_equal(index_nospec(SIZE_MAX, sizes[i]), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_inside_it_is_the_index),
	    cmocka_unit_test(test_outside_it_is_the_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
