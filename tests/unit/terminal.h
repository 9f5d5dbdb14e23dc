/*
 * The smallest terminal: what is on its bottom row and where the cursor is, for what the shell's line editor sends.
 * Anything else that it is sent, and a character in the last column or beyond it, is an error.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define TERMINAL_MAX 1024

struct terminal {
	size_t width;
	char row[TERMINAL_MAX];
	size_t column;
	char escape[8]; /* the sequence that is coming in */
	size_t escape_length;
	size_t rows, received;
	const char *error;
};

static void terminal_init(struct terminal *t, size_t width)
{
	memset(t, 0, sizeof(*t));
	t->width = width;
	memset(t->row, ' ', sizeof(t->row));
}

static void terminal_erase(struct terminal *t)
{
	memset(t->row + t->column, ' ', sizeof(t->row) - t->column);
}

static void terminal_escape(struct terminal *t, char c)
{
	t->escape[t->escape_length++] = c;
	if (!strcmp(t->escape, "\x1b[K")) {
		terminal_erase(t);
	} else if (!strcmp(t->escape, "\x1b[H")) {
		t->column = 0;
	} else if (!strcmp(t->escape, "\x1b[2J")) {
		memset(t->row, ' ', sizeof(t->row));
	} else {
		if (t->escape_length > 4)
			t->error = "unknown escape sequence";
		return;
	}
	memset(t->escape, 0, sizeof(t->escape));
	t->escape_length = 0;
}

static void terminal_byte(struct terminal *t, char c)
{
	t->received++;
	if (t->escape_length || c == 0x1b) {
		terminal_escape(t, c);
	} else if (c == '\r') {
		t->column = 0;
	} else if (c == '\n') {
		t->rows++;
		memset(t->row, ' ', sizeof(t->row));
	} else if (c == '\b') {
		if (!t->column)
			t->error = "backspace in column 0";
		t->column -= t->column > 0;
	} else if (c < ' ' || c > '~') {
		t->error = "unprintable character";
	} else if (t->column + 1 >= t->width) {
		t->error = "a character in the last column";
	} else {
		t->row[t->column++] = c;
	}
}

static void terminal_write(void *ctx, const char *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		terminal_byte(ctx, bytes[i]);
}

/* Is the row `before`, then `count` characters of `text`, then blanks? */
static bool terminal_shows(const struct terminal *t, const char *before, const char *text, size_t count)
{
	size_t n = strlen(before);

	if (memcmp(t->row, before, n) || memcmp(t->row + n, text, count))
		return false;
	for (n += count; n < sizeof(t->row); n++)
		if (t->row[n] != ' ')
			return false;
	return true;
}
