/*
 * What a command answers, described once and printed as text for people or as one line of JSON for scripts (--json). A
 * listing has columns and rows, fields in the columns' order:
 *
 *	table_begin(&t, sink, json, columns, ARRAY_SIZE(columns));
 *	for each VM { table_row(&t); table_string(&t, name); table_u64(&t, id); }
 *	table_end(&t);
 *
 * One thing has named fields: object_begin(), object_u64(&t, "exits", n), ..., object_end(). No heap; text goes to the
 * sink as it comes, a row at a time if it has at most TABLE_BUFFER bytes.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/sink.h"
#include "hv/lib/types.h"

#define TABLE_BUFFER 256

enum column_kind { COLUMN_TEXT, COLUMN_NUMBER }; /* to the left, to the right */

struct column {
	const char *name; /* JSON's key; in the text's header in upper case */
	enum column_kind kind;
	unsigned width; /* what is longer is shown whole and pushes the rest of its row */
};

struct table {
	struct sink sink;
	bool json, object, in_row;
	const struct column *column;
	unsigned columns;
	unsigned rows, field; /* rows begun; fields put into this one */
	size_t blanks;	      /* owed to the column before, once another follows */
	const char *key;      /* the next field's name in an object */
	size_t used;
	char buffer[TABLE_BUFFER];
};

void table_begin(struct table *t, struct sink sink, bool json, const struct column *columns, unsigned count);
/* Begins a row. Columns that the row before it left out are NULL; fields beyond the last column are dropped. */
void table_row(struct table *t);
void table_end(struct table *t);

void table_string(struct table *t, const char *value); /* any bytes; NULL is a dash, null in JSON */
void table_u64(struct table *t, uint64_t value);
void table_fixed(struct table *t, uint64_t tenths); /* 125 is 12.5 */

/* One thing: "key: value" lines, or a JSON object. Keys are the caller's to keep apart. */
void object_begin(struct table *t, struct sink sink, bool json);
void object_end(struct table *t);

static inline void object_string(struct table *t, const char *key, const char *value)
{
	t->key = key;
	table_string(t, value);
}

static inline void object_u64(struct table *t, const char *key, uint64_t value)
{
	t->key = key;
	table_u64(t, value);
}
