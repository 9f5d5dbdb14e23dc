/* hv/lib/printf.c beside libc's: the same text and the same length for every format that the core may use. */
/* SPDX-License-Identifier: MIT */
/* links: */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* The core's functions under other names, so that both stand side by side. */
#define vsnprintf core_vsnprintf
#define snprintf  core_snprintf
#include "hv/lib/printf.c"
#undef vsnprintf
#undef snprintf

#define SAME(...)                                                                                                      \
	do {                                                                                                           \
		char a[200], b[200];                                                                                   \
		memset(a, '#', sizeof(a));                                                                             \
		memset(b, '#', sizeof(b));                                                                             \
		int n = core_snprintf(a, sizeof(a), __VA_ARGS__);                                                      \
		int m = snprintf(b, sizeof(b), __VA_ARGS__);                                                           \
		assert_string_equal(a, b);                                                                             \
		assert_int_equal(n, m);                                                                                \
	} while (0)

/* What the compiler would warn of is tried on purpose: flags that have no effect, too small a room, an empty text. */
#pragma GCC diagnostic ignored "-Wformat"
#pragma GCC diagnostic ignored "-Wformat-truncation"
#pragma GCC diagnostic ignored "-Wformat-overflow"
#pragma GCC diagnostic ignored "-Wformat-extra-args"
#pragma GCC diagnostic ignored "-Wformat-zero-length"

static void integers(void **state)
{
	static const int values[] = {0, 1, -1, 9, 10, -10, 12345, INT_MAX, INT_MIN};

	(void)state;
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		int v = values[i];

		SAME("%d|%i|%u|%x|%X", v, v, v, v, v);
		SAME("%5d|%-5d|%05d|%+d|% d", v, v, v, v, v);
		SAME("%8.3d|%-8.3d|%08.3d|%.0d", v, v, v, v);
		SAME("%#x|%#X|%#10x|%#010x|%-#10x|", v, v, v, v, v);
		SAME("%*d|%-*d|%.*d", 7, v, 7, v, 4, v);
		SAME("%*d|", -7, v);
	}
}

static void long_integers(void **state)
{
	(void)state;
	SAME("%ld %lu %lx", LONG_MIN, ULONG_MAX, ULONG_MAX);
	SAME("%lld %llu %llx %llX", LLONG_MIN, ULLONG_MAX, ULLONG_MAX, ULLONG_MAX);
	SAME("%zu %zx", (size_t)-1, (size_t)0);
	SAME("%016llx|%16llx|%-16llx|", 0xdeadbeefULL, 0xdeadbeefULL, 0xdeadbeefULL);
	SAME("%30lld|%-30lld|%030lld", LLONG_MIN, LLONG_MIN, LLONG_MIN);
}

static void text(void **state)
{
	(void)state;
	SAME("");
	SAME("plain");
	SAME("%s|%10s|%-10s|%.2s|%10.2s|%.0s|", "word", "word", "word", "word", "word", "word");
	SAME("%c%c|%3c|%-3c|", 'a', '%', 'b', 'c');
	SAME("100%%");
	SAME("%.3s", (const char[]){'a', 'b', 'c'}); /* not terminated */
	SAME("%p", (void *)0x1234abcd);
}

static void cuts_at_the_end(void **state)
{
	char a[32], b[32];

	(void)state;
	for (size_t size = 0; size < sizeof(a); size++) {
		memset(a, '#', sizeof(a));
		memset(b, '#', sizeof(b));
		assert_int_equal(core_snprintf(a, size, "%s %d %016llx", "abc", -42, 0x123ULL),
				 snprintf(b, size, "%s %d %016llx", "abc", -42, 0x123ULL));
		assert_memory_equal(a, b, sizeof(a));
	}
}

static void survives_nonsense(void **state)
{
	char a[40];

	(void)state;
	assert_int_equal(core_snprintf(a, sizeof(a), "x%"), 1);
	assert_string_equal(a, "x");
	core_snprintf(a, sizeof(a), "%q%5", 1);
	assert_string_equal(a, "%q");
	core_snprintf(a, sizeof(a), "%s", (const char *)NULL);
	assert_string_equal(a, "(null)");
	assert_int_equal(core_snprintf(a, sizeof(a), "%99999999999d", 1), 99999);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(integers),	       cmocka_unit_test(long_integers),	    cmocka_unit_test(text),
	    cmocka_unit_test(cuts_at_the_end), cmocka_unit_test(survives_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
