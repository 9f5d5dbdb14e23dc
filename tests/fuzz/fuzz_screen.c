/*
 * Arbitrary bytes on a small screen. The first two choose its size; byte 0xFF stands for painting a row, those of
 * UTF-8's continuations for a whole sequence, which chance would seldom make. At the end the cursor is in the grid,
 * what was painted row by row is what a fresh screen shows, and the host's next line is there.
 */
/* SPDX-License-Identifier: MIT */
/* links: drivers/screen.c */
#include <stdio.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tests/unit/picture.h"

#define PROBE '~' /* not among the bytes */

static struct screen_mode mode;
static unsigned rows, columns;

static void write_sequence(uint8_t choice)
{
	static const char *const numbers[] = {"", "0", "1", "2", "7", "3;4", "99;99", ";5"};
	char text[16];
	int length = snprintf(text, sizeof(text), "\x1b[%s%c", numbers[choice / 8 % 8], "ABCDHJKu"[choice % 8]);

	screen_write((const uint8_t *)text, (size_t)length);
}

static void write_byte(uint8_t byte)
{
	if (byte == 0xff)
		picture_paint(1);
	else if (byte >= 0x80 && byte < 0xc0)
		write_sequence(byte);
	else if (byte != PROBE)
		screen_write(&byte, 1);
}

/* The number of the only inverted cell, counted from the top left corner. */
static unsigned find_cursor(void)
{
	unsigned cursor = 0, count = 0;

	picture_paint(SCREEN_MAX_ROWS);
	for (unsigned i = 0; i < rows * columns; i++) {
		int cell = picture_cell(&mode, i / columns, i % columns);

		REQUIRE(cell >= 0);
		if (cell & PICTURE_CURSOR) {
			cursor = i;
			count++;
		}
	}
	REQUIRE(count == 1);
	return cursor;
}

static bool has_probe(unsigned row, unsigned column)
{
	return (picture_cell(&mode, row, column) & ~PICTURE_CURSOR) == PROBE;
}

/* A character goes to the cursor's cell, or from the last column to the next line. */
static void check_next_character(void)
{
	unsigned cursor = find_cursor(), row = cursor / columns, column = cursor % columns;
	unsigned next = row + 1 < rows ? row + 1 : row;

	screen_write((const uint8_t *)"\a~", 2);
	find_cursor();
	REQUIRE(has_probe(row, column) || (column == columns - 1 && has_probe(next, 0)));
}

/* Whatever was left open, and wherever the cursor is. */
static void check_next_line(void)
{
	unsigned cursor;

	screen_write((const uint8_t *)"\r\n~", 3);
	cursor = find_cursor();
	REQUIRE(cursor % columns == (columns > 1 ? 1 : 0));
	REQUIRE(has_probe(cursor / columns, 0));
}

static void check_painting(void)
{
	void *painted = malloc(mode.size);

	picture_paint(SCREEN_MAX_ROWS);
	memcpy(painted, mode.pixels, mode.size);
	REQUIRE(screen_init(&mode) == 0);
	picture_paint(SCREEN_MAX_ROWS);
	REQUIRE(memcmp(painted, mode.pixels, mode.size) == 0);
	free(painted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	rows = data[0] % 5 + 1;
	columns = data[1] % 12 + 1;
	mode = picture_open(rows, columns);
	for (size_t i = 2; i < size; i++)
		write_byte(data[i]);
	if (data[0] & 0x80)
		check_next_line();
	else
		check_next_character();
	check_painting();
	free(mode.pixels);
	return 0;
}
