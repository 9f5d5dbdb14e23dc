/*
 * Reads back what drivers/screen.c drew: a framebuffer in a block of exactly its size, so that AddressSanitizer sees a
 * pixel beside it, looked up cell by cell in the font. tests/screen.py does the same with QEMU's pictures.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdint.h>
#include <stdlib.h>

#include "drivers/screen.h"
#include "font.h"

#define PICTURE_CURSOR 0x80 /* beside the character: the cell is inverted */

/* The screen becomes one of so many cells, blank, with the cursor in the corner. What is not a whole cell stays over.
 */
static struct screen_mode picture_open(unsigned rows, unsigned columns)
{
	struct screen_mode mode = {.width = columns * FONT_WIDTH + FONT_WIDTH - 1, .height = rows * FONT_HEIGHT + 3};

	mode.pitch = mode.width * 4 + 12;
	mode.size = (uint64_t)mode.pitch * mode.height;
	mode.pixels = malloc(mode.size);
	if (!mode.pixels || screen_init(&mode))
		abort();
	screen_write((const uint8_t *)"\n\x1b[2J\x1b[H\x1b\x37", 10);
	return mode;
}

/* Draws up to `max_rows` of the rows that changed. Answers how many. */
static unsigned picture_paint(unsigned max_rows)
{
	struct screen_row row;
	unsigned n = 0;

	for (; n < max_rows && screen_take_row(&row); n++)
		if (!screen_paint_row(&row, NULL, NULL))
			abort();
	return n;
}

/* The eight pixels of a line of a cell, as the font has them; other colours than the two make it 0x100. */
static unsigned picture_line(const uint32_t *pixels)
{
	unsigned bits = 0;

	for (unsigned x = 0; x < FONT_WIDTH; x++) {
		if (pixels[x] && pixels[x] != 0xc0c0c0)
			return 0x100;
		bits = bits << 1 | (pixels[x] != 0);
	}
	return bits;
}

static bool picture_is(const unsigned *lines, const uint8_t *glyph, unsigned inverted)
{
	for (unsigned y = 0; y < FONT_HEIGHT; y++)
		if (lines[y] != (glyph[y] ^ inverted))
			return false;
	return true;
}

/* The character in a cell, and PICTURE_CURSOR; -1: none. */
static int picture_cell(const struct screen_mode *mode, unsigned row, unsigned column)
{
	unsigned stride = mode->pitch / 4, lines[FONT_HEIGHT];
	const uint32_t *pixels = (const uint32_t *)mode->pixels + row * FONT_HEIGHT * stride + column * FONT_WIDTH;

	for (unsigned y = 0; y < FONT_HEIGHT; y++)
		lines[y] = picture_line(pixels + y * stride);
	for (int c = FONT_FIRST; c <= FONT_LAST; c++) {
		if (picture_is(lines, font[c - FONT_FIRST], 0))
			return c;
		if (picture_is(lines, font[c - FONT_FIRST], 0xff))
			return c | PICTURE_CURSOR;
	}
	return -1;
}
