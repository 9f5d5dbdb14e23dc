/*
 * The shell's listings under arbitrary calls and strings: JSON is always one valid line, text never holds a control
 * character but its line ends. The first byte chooses form and number of columns; then come calls.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/shell/table.c */
#include <stdlib.h>
#include <string.h>

#include "hv/shell/table.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/json.h"

static char text[1 << 20];
static size_t length;
static struct table table;

static void keep(void *ctx, const char *bytes, size_t count)
{
	(void)ctx;
	REQUIRE(length + count < sizeof(text));
	memcpy(text + length, bytes, count);
	length += count;
}

/* A string of at most 63 of the bytes that are left, in a block of its size. Returns what it used. */
static size_t call_string(const uint8_t *data, size_t size)
{
	size_t n = size ? data[0] % 64 : 0;
	char *string;

	if (n + 1 > size)
		n = size ? size - 1 : 0;
	string = malloc(n + 1);
	memcpy(string, data + 1, size ? n : 0);
	string[n] = 0;
	table_string(&table, string);
	free(string);
	return size ? n + 1 : 0;
}

static size_t call_number(uint8_t kind, const uint8_t *data, size_t size)
{
	size_t n = size < 8 ? size : 8;
	uint64_t value = 0;

	memcpy(&value, data, n);
	if (kind == 0)
		table_u64(&table, value);
	else
		table_fixed(&table, value);
	return n;
}

static size_t call(uint8_t what, const uint8_t *data, size_t size)
{
	switch (what % 8) {
	case 0:
		if (!table.object)
			table_row(&table);
		return 0;
	case 1:
		table_string(&table, NULL);
		return 0;
	case 2:
	case 3:
	case 4:
		return call_string(data, size);
	default:
		return call_number(what % 8 - 5, data, size);
	}
}

static void check_text(bool json)
{
	text[length] = 0;
	REQUIRE(strlen(text) == length);
	REQUIRE(!length || (length >= 2 && strcmp(text + length - 2, "\r\n") == 0));
	if (json)
		REQUIRE(json_is_valid(text) && strchr(text, '\r') == text + length - 2);
	for (size_t i = 0; i < length; i++)
		REQUIRE(text[i] == '\r' || text[i] == '\n' || (text[i] >= ' ' && text[i] <= '~'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct column columns[] = {
	    {"name", COLUMN_TEXT, 10}, {"a \"quoted\" one", COLUMN_NUMBER, 0}, {"n", COLUMN_NUMBER, 9}};
	uint8_t form = size ? data[0] : 0;
	struct sink sink = {.write = keep};

	if (size > 4096)
		return 0;
	length = 0;
	if (form & 2)
		object_begin(&table, sink, form & 1);
	else
		table_begin(&table, sink, form & 1, columns, (form >> 2) % 4);
	table.key = "key";
	for (size_t i = 1; i < size;) {
		uint8_t what = data[i++];

		i += call(what, data + i, size - i);
	}
	if (form & 2)
		object_end(&table);
	else
		table_end(&table);
	check_text(form & 1);
	return 0;
}
