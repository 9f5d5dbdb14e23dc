/* The shell's listings: the exact text, and JSON that a strict reader takes. */
/* SPDX-License-Identifier: MIT */
/* links: hv/shell/table.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "hv/shell/table.h"
#include "tests/unit/json.h"

static char text[8192];
static size_t length, writes;

static void keep(void *ctx, const char *bytes, size_t count)
{
	(void)ctx;
	assert_true(length + count < sizeof(text));
	memcpy(text + length, bytes, count);
	length += count;
	text[length] = 0;
	writes++;
}

static const struct sink sink = {.write = keep};
static struct table table;

static const struct column columns[] = {
    {"name", COLUMN_TEXT, 8}, {"id", COLUMN_NUMBER, 4}, {"load", COLUMN_NUMBER, 6}, {"state", COLUMN_TEXT, 8}};

static void start(bool json)
{
	length = writes = 0;
	text[0] = 0;
	table_begin(&table, sink, json, columns, ARRAY_SIZE(columns));
}

static void add(const char *name, uint64_t id, uint64_t load, const char *state)
{
	table_row(&table);
	table_string(&table, name);
	table_u64(&table, id);
	table_fixed(&table, load);
	table_string(&table, state);
}

static void finish(const char *expected)
{
	table_end(&table);
	assert_string_equal(text, expected);
	if (table.json)
		assert_true(json_is_valid(text));
}

static void text_is_aligned(void **state)
{
	(void)state;
	start(false);
	add("linux", 1, 125, "running");
	add("b", 12345, 5, NULL);
	add("a-name-too-long", 2, 0, "off");
	finish("NAME        ID    LOAD  STATE\r\n"
	       "linux        1    12.5  running\r\n"
	       "b         12345     0.5  -\r\n"
	       "a-name-too-long     2     0.0  off\r\n");
	assert_int_equal(writes, 4); /* a row at a time */
	start(false);
	finish("NAME        ID    LOAD  STATE\r\n");
}

static void json_is_one_line(void **state)
{
	(void)state;
	start(true);
	add("linux", 1, 125, "running");
	add("b", UINT64_MAX, UINT64_MAX, NULL);
	finish("[{\"name\":\"linux\",\"id\":1,\"load\":12.5,\"state\":\"running\"},"
	       "{\"name\":\"b\",\"id\":18446744073709551615,\"load\":1844674407370955161.5,\"state\":null}]\r\n");
	start(true);
	finish("[]\r\n");
}

static void strange_strings(void **state)
{
	(void)state;
	start(true);
	add("a\"b\\c", 0, 1, "\x1b[2J\r\n\x7f\xc3\xa9");
	finish("[{\"name\":\"a\\\"b\\\\c\",\"id\":0,\"load\":0.1,"
	       "\"state\":\"\\u001b[2J\\u000d\\u000a\\u007f\\u00c3\\u00a9\"}]\r\n");
	start(false);
	add("", 0, 1, "\x1b[2J\r\n\x7f\xc3\xa9\"\\");
	finish("NAME        ID    LOAD  STATE\r\n             0     0.1  ?[2J?????\"\\\r\n");
}

static void short_and_long_rows(void **state)
{
	(void)state;
	for (int json = 0; json < 2; json++) {
		start(json);
		table_u64(&table, 99); /* before any row */
		table_row(&table);
		table_string(&table, "a");
		table_row(&table);
		table_string(&table, NULL);
		table_u64(&table, UINT64_MAX);
		table_fixed(&table, UINT64_MAX);
		table_string(&table, "b");
		table_u64(&table, 99); /* no such column */
		finish(json ? "[{\"name\":\"a\",\"id\":null,\"load\":null,\"state\":null},"
			      "{\"name\":null,\"id\":18446744073709551615,\"load\":1844674407370955161.5,"
			      "\"state\":\"b\"}]\r\n"
			    : "NAME        ID    LOAD  STATE\r\na            -       -  -\r\n"
			      "-         18446744073709551615  1844674407370955161.5  b\r\n");
	}
}

static void describe(bool json)
{
	length = 0;
	object_begin(&table, sink, json);
	object_string(&table, "name", "linux");
	object_u64(&table, "exits", UINT64_MAX);
	object_string(&table, "error", NULL);
	object_end(&table);
}

static void objects(void **state)
{
	(void)state;
	describe(false);
	assert_string_equal(text, "name: linux\r\nexits: 18446744073709551615\r\nerror: -\r\n");
	describe(true);
	assert_string_equal(text, "{\"name\":\"linux\",\"exits\":18446744073709551615,\"error\":null}\r\n");
	assert_true(json_is_valid(text));
	length = 0;
	object_begin(&table, sink, true);
	object_end(&table);
	assert_string_equal(text, "{}\r\n");
}

static void longer_than_the_buffer(void **state)
{
	char name[1000];

	(void)state;
	memset(name, 'x', sizeof(name));
	name[sizeof(name) - 1] = 0;
	start(true);
	add(name, 1, 2, name);
	table_end(&table);
	assert_int_equal(length, 2 * 999 + strlen("[{\"name\":\"\",\"id\":1,\"load\":0.2,\"state\":\"\"}]\r\n"));
	assert_true(json_is_valid(text));
}

/* The reader of these tests is strict. */
static void reader_refuses(void **state)
{
	static const char *const bad[] = {"",	       "[",	  "[1,]", "{\"a\":1,}", "{a:1}",    "\"\n\"", "\"\\x\"",
					  "\"\\u12\"", "01",	  "1.",	  ".5",		"-",	    "[1 2]",  "nul",
					  "[] x",      "{\"a\"}", "\"",	  "\"\x80\"",	"{\"a\":}", "+1"};
	static const char *const good[] = {"0", "-0.5e+3", " [ ] ", "{\"a\" : [1, {}], \"\\u00e9\":\"\\n\"}", "true"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(json_is_valid(bad[i]));
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_true(json_is_valid(good[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(text_is_aligned), cmocka_unit_test(json_is_one_line),
	    cmocka_unit_test(strange_strings), cmocka_unit_test(short_and_long_rows),
	    cmocka_unit_test(objects),	       cmocka_unit_test(longer_than_the_buffer),
	    cmocka_unit_test(reader_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
