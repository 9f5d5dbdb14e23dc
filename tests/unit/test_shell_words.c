/* Command lines cut into words, and numbers that people type. */
/* SPDX-License-Identifier: MIT */
/* links: hv/shell/words.c hv/lib/number.c */
#define _POSIX_C_SOURCE 200809L /* strdup */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/lib/number.h"
#include "hv/shell/words.h"

static struct words words;
static char *line;

static int forget(void **state)
{
	(void)state;
	free(line);
	line = NULL;
	return 0;
}

/* In a block of exactly its size, so that a step beyond is seen. */
static int cut(const char *text)
{
	free(line);
	line = strdup(text);
	return words_cut(&words, line);
}

/* The words with '|' between them. */
static void expect(const char *text, const char *joined)
{
	char all[512] = "";

	assert_int_equal(cut(text), 0);
	assert_null(words.error);
	for (unsigned i = 0; i < words.count; i++) {
		strcat(all, i ? "|" : "");
		strcat(all, words.word[i]);
	}
	assert_string_equal(all, joined);
}

static void fails(const char *text, const char *error)
{
	assert_int_equal(cut(text), -E_INVAL);
	assert_int_equal(words.count, 0);
	assert_string_equal(words.error, error);
}

static void blanks_separate(void **state)
{
	(void)state;
	expect("", "");
	expect(" \t ", "");
	assert_int_equal(words.count, 0);
	expect("help", "help");
	expect("  vm \t start linux  ", "vm|start|linux");
}

static void quotes_group(void **state)
{
	(void)state;
	expect("a 'b c' \"d  e\"", "a|b c|d  e");
	expect("cmdline=\"console=ttyS0 quiet\" x", "cmdline=console=ttyS0 quiet|x");
	expect("a'b'\"c\"d", "abcd");
	expect("'say \"no\"' \"don't\" '\\' \"\\\"", "say \"no\"|don't|\\|\\");
	expect("'' \"\"x \"\"", "|x|");
	assert_int_equal(words.count, 3);
}

static void backslash_escapes(void **state)
{
	(void)state;
	expect("a\\ b \\'c \\\"d \\\\ \\\te", "a b|'c|\"d|\\|\te");
	expect("kernel=\\vireo\\vmlinuz \\a", "kernel=\\vireo\\vmlinuz|\\a");
	expect("end\\", "end\\");
	expect("end\\ ", "end ");
}

static void errors_are_named(void **state)
{
	char many[200] = "";

	(void)state;
	fails("a 'b", "a quote is not closed");
	fails("a b\"", "a quote is not closed");
	fails("'a\\'b'", "a quote is not closed"); /* no escapes inside */
	for (int i = 0; i < WORDS_MAX; i++)
		strcat(many, "w ");
	assert_int_equal(cut(many), 0);
	assert_int_equal(words.count, WORDS_MAX);
	strcat(many, "w");
	fails(many, "more than 32 words");
}

static void flags_are_taken(void **state)
{
	(void)state;
	assert_int_equal(cut("create --json memory=64M"), 0);
	assert_true(words_take_flag(&words, "--json"));
	assert_false(words_take_flag(&words, "--json"));
	assert_int_equal(words.count, 2);
	assert_string_equal(words.word[0], "create");
	assert_string_equal(words.word[1], "memory=64M");
}

static void parses(const char *text, uint64_t expected)
{
	uint64_t value = 0;

	assert_int_equal(number_parse(text, strlen(text), &value), 0);
	assert_true(value == expected);
}

static void numbers(void **state)
{
	static const char *const bad[] = {"",
					  "K",
					  "0x",
					  "-1",
					  "+1",
					  " 1",
					  "1 ",
					  "1T",
					  "0xg",
					  "1a",
					  "1KK",
					  "1.5G",
					  "18446744073709551616",
					  "17179869184G"};
	uint64_t value = 7;

	(void)state;
	parses("0", 0);
	parses("42", 42);
	parses("0x10", 16);
	parses("64M", 64 * MIB);
	parses("0x2g", 2 * GIB);
	parses("1k", 1024);
	parses("18446744073709551615", UINT64_MAX);
	parses("0xFFFFFFFFFFFFFFFF", UINT64_MAX);
	parses("17179869183G", 17179869183 * GIB);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(number_parse(bad[i], strlen(bad[i]), &value), -E_INVAL);
	assert_int_equal(value, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_teardown(blanks_separate, forget),	  cmocka_unit_test_teardown(quotes_group, forget),
	    cmocka_unit_test_teardown(backslash_escapes, forget), cmocka_unit_test_teardown(errors_are_named, forget),
	    cmocka_unit_test_teardown(flags_are_taken, forget),	  cmocka_unit_test(numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
