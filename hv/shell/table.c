/*
 * Listings and objects as text or JSON (RFC 8259); see table.h. Every value becomes a short text first (a number, a
 * word) or is a string; put_field() puts it into the place that the form gives it. Pure.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/shell/table.h"

#include "hv/lib/printf.h"

#define GAP	   2  /* blanks between two columns */
#define NUMBER_MAX 24 /* of a 64-bit number's text: 20 digits, point, NUL */

/* --- bytes ------------------------------------------------------------------------------------------------------- */

static void flush(struct table *t)
{
	sink_write(&t->sink, t->buffer, t->used);
	t->used = 0;
}

static void put(struct table *t, char c)
{
	if (t->used == sizeof(t->buffer))
		flush(t);
	t->buffer[t->used++] = c;
}

static void put_text(struct table *t, const char *text)
{
	while (*text)
		put(t, *text++);
}

static void put_blanks(struct table *t, size_t count)
{
	while (count--)
		put(t, ' ');
}

/* All but printable ASCII as \u00XX: valid whatever the bytes are, and no control sequence reaches a terminal. */
static void put_json_string(struct table *t, const char *value)
{
	static const char digits[] = "0123456789abcdef";

	put(t, '"');
	for (; *value; value++) {
		uint8_t c = (uint8_t)*value;

		if (c < ' ' || c > '~') {
			put_text(t, "\\u00");
			put(t, digits[c >> 4]);
			put(t, digits[c & 15]);
			continue;
		}
		if (c == '"' || c == '\\')
			put(t, '\\');
		put(t, (char)c);
	}
	put(t, '"');
}

static void put_plain_string(struct table *t, const char *value)
{
	for (; *value; value++)
		put(t, *value < ' ' || *value > '~' ? '?' : *value);
}

static void put_upper(struct table *t, const char *name)
{
	for (; *name; name++)
		put(t, *name >= 'a' && *name <= 'z' ? (char)(*name - 'a' + 'A') : *name);
}

/* --- cells ------------------------------------------------------------------------------------------------------- */

typedef void put_function(struct table *t, const char *text);

/* Blanks after a cell are owed, not put: the last one of a row has none. */
static void put_cell(struct table *t, const struct column *c, const char *text, put_function *write)
{
	size_t length = strlen(text), pad = c->width > length ? c->width - length : 0;

	put_blanks(t, t->blanks + (c->kind == COLUMN_NUMBER ? pad : 0));
	write(t, text);
	t->blanks = GAP + (c->kind == COLUMN_NUMBER ? 0 : pad);
}

static void end_line(struct table *t)
{
	put_text(t, "\r\n");
	flush(t);
	t->blanks = 0;
}

static void put_json_key(struct table *t, const char *name)
{
	if (t->field)
		put(t, ',');
	put_json_string(t, name);
	put(t, ':');
}

static void put_table_field(struct table *t, const char *text, put_function *write)
{
	const struct column *c = &t->column[t->field];

	if (!t->in_row || t->field == t->columns)
		return;
	if (t->json) {
		put_json_key(t, c->name);
		write(t, text);
	} else {
		put_cell(t, c, text, write);
	}
	t->field++;
}

static void put_object_field(struct table *t, const char *text, put_function *write)
{
	if (t->json) {
		put_json_key(t, t->key);
		write(t, text);
	} else {
		put_text(t, t->key);
		put_text(t, ": ");
		write(t, text);
		end_line(t);
	}
	t->field++;
}

static void put_field(struct table *t, const char *text, put_function *write)
{
	if (t->object)
		put_object_field(t, text, write);
	else
		put_table_field(t, text, write);
}

/* --- fields ------------------------------------------------------------------------------------------------------ */

static void put_null(struct table *t)
{
	put_field(t, t->json ? "null" : "-", put_text);
}

void table_string(struct table *t, const char *value)
{
	if (value)
		put_field(t, value, t->json ? put_json_string : put_plain_string);
	else
		put_null(t);
}

void table_u64(struct table *t, uint64_t value)
{
	char text[NUMBER_MAX];

	snprintf(text, sizeof(text), "%lu", value);
	put_field(t, text, put_text);
}

void table_fixed(struct table *t, uint64_t tenths)
{
	char text[NUMBER_MAX];

	snprintf(text, sizeof(text), "%lu.%lu", tenths / 10, tenths % 10);
	put_field(t, text, put_text);
}

/* --- rows -------------------------------------------------------------------------------------------------------- */

static void put_header(struct table *t)
{
	for (unsigned i = 0; i < t->columns; i++)
		put_cell(t, &t->column[i], t->column[i].name, put_upper);
	end_line(t);
}

static void end_row(struct table *t)
{
	if (!t->in_row)
		return;
	while (t->field < t->columns)
		put_null(t);
	if (t->json)
		put(t, '}');
	else
		end_line(t);
	t->in_row = false;
}

void table_begin(struct table *t, struct sink sink, bool json, const struct column *columns, unsigned count)
{
	*t = (struct table){.sink = sink, .json = json, .column = columns, .columns = count};
	if (json)
		put(t, '[');
	else
		put_header(t);
}

void table_row(struct table *t)
{
	end_row(t);
	if (t->json)
		put_text(t, t->rows ? ",{" : "{");
	t->rows++;
	t->field = 0;
	t->in_row = true;
}

void table_end(struct table *t)
{
	end_row(t);
	if (!t->json)
		return;
	put(t, ']');
	end_line(t);
}

void object_begin(struct table *t, struct sink sink, bool json)
{
	*t = (struct table){.sink = sink, .json = json, .object = true};
	if (json)
		put(t, '{');
}

void object_end(struct table *t)
{
	if (!t->json)
		return;
	put(t, '}');
	end_line(t);
}
