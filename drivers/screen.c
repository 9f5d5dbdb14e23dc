/*
 * Text on the framebuffer: screen.h. Two grids: `grid` is what should be seen, a ring of rows so that scrolling moves
 * one index; `shown` is what the framebuffer holds. Painting compares them, glyph line by glyph line, and writes what
 * differs: most of a scrolled screen is blank, and blank stays blank.
 */
/* SPDX-License-Identifier: MIT */
#include "drivers/screen.h"
#include "font.h"
#include "hv/lib/string.h"

#define FOREGROUND  0x00c0c0c0ULL /* grey is the same in BGRX and RGBX */
#define PIXEL_SIZE  4
#define TAB_WIDTH   8
#define REPLACEMENT '?'

enum escape { ESCAPE_NONE, ESCAPE_START, ESCAPE_CSI, ESCAPE_OSC };

static struct screen_mode mode;
static unsigned columns = SCREEN_MAX_COLUMNS, rows = SCREEN_MAX_ROWS; /* until the geometry is known */
static uint8_t grid[SCREEN_MAX_ROWS][SCREEN_MAX_COLUMNS];
static uint8_t shown[SCREEN_MAX_ROWS][SCREEN_MAX_COLUMNS];
static bool dirty[SCREEN_MAX_ROWS]; /* by row on the screen */
static unsigned top;		    /* row of grid that is at the top of the screen */
static unsigned row, column;	    /* cursor, on the screen */
static unsigned next_paint;	    /* where the last screen_paint() stopped */
static enum escape escape;

/* Two pixels for two bits of a glyph, the left pixel (higher bit) at the lower address. */
static const uint64_t pixel_pairs[4] = {
    0,
    FOREGROUND << 32,
    FOREGROUND,
    FOREGROUND << 32 | FOREGROUND,
};

static uint8_t *grid_row(unsigned r)
{
	return grid[(top + r) % rows];
}

static void clear_row(unsigned r)
{
	memset(grid_row(r), ' ', SCREEN_MAX_COLUMNS);
	dirty[r] = true;
}

static void all_dirty(void)
{
	memset(dirty, true, sizeof(dirty));
}

static void line_feed(void)
{
	if (row + 1 < rows) {
		row++;
		return;
	}
	top = (top + 1) % rows;
	clear_row(row);
	all_dirty();
}

static void put_glyph(uint8_t c)
{
	if (column == columns) {
		column = 0;
		line_feed();
	}
	grid_row(row)[column++] = c;
	dirty[row] = true;
}

/* ECMA-48 5.4: CSI ends at a byte of 0x40 to 0x7e; OSC ends at BEL or ESC. */
static bool swallow_escape(uint8_t c)
{
	if (escape == ESCAPE_START)
		escape = c == '[' ? ESCAPE_CSI : c == ']' ? ESCAPE_OSC : ESCAPE_NONE;
	else if (escape == ESCAPE_CSI && c >= 0x40 && c <= 0x7e)
		escape = ESCAPE_NONE;
	else if (escape == ESCAPE_OSC && c == '\a')
		escape = ESCAPE_NONE;
	else if (escape == ESCAPE_NONE)
		return false;
	return true;
}

static void put_control(uint8_t c)
{
	switch (c) {
	case '\n':
		line_feed();
		break;
	case '\r':
		column = 0;
		break;
	case '\b':
		column -= column ? 1 : 0;
		break;
	case '\t':
		column = ALIGN_UP(column + 1, TAB_WIDTH);
		if (column > columns)
			column = columns;
		break;
	}
}

/* UTF-8: one replacement for a character, its continuation bytes are skipped. */
static void put_byte(uint8_t c)
{
	if (c == 0x1b)
		escape = ESCAPE_START;
	else if (swallow_escape(c))
		return;
	else if (c >= FONT_FIRST && c <= FONT_LAST)
		put_glyph(c);
	else if (c >= 0xc0)
		put_glyph(REPLACEMENT);
	else if (c < FONT_FIRST)
		put_control(c);
}

void screen_write(const uint8_t *bytes, size_t count)
{
	if (!grid[0][0])
		memset(grid, ' ', sizeof(grid));
	for (size_t i = 0; i < count; i++)
		put_byte(bytes[i]);
}

/* Text that was written before the size was known keeps its last lines. */
static void fit_grid(unsigned new_rows)
{
	unsigned first = row >= new_rows ? row - new_rows + 1 : 0;

	/* nothing has scrolled by whole screens yet unless more than SCREEN_MAX_ROWS lines came: `top` rotates them
	 * home */
	for (unsigned r = 0; r < new_rows; r++)
		memcpy(shown[r], grid_row(first + r), SCREEN_MAX_COLUMNS);
	memcpy(grid, shown, sizeof(grid));
	top = 0;
	row -= first;
	rows = new_rows;
}

int screen_init(const struct screen_mode *m)
{
	unsigned new_rows = m->height / FONT_HEIGHT;
	unsigned new_columns = m->width / FONT_WIDTH;

	if (!new_rows || !new_columns || m->width > m->pitch / PIXEL_SIZE || m->pitch % 8 ||
	    (uint64_t)m->height * m->pitch > m->size)
		return -E_INVAL;
	if (!grid[0][0])
		memset(grid, ' ', sizeof(grid));
	fit_grid(new_rows < SCREEN_MAX_ROWS ? new_rows : SCREEN_MAX_ROWS);
	columns = new_columns < SCREEN_MAX_COLUMNS ? new_columns : SCREEN_MAX_COLUMNS;
	if (column > columns)
		column = columns;
	memset(m->pixels, 0, (uint64_t)m->height * m->pitch);
	memset(shown, ' ', sizeof(shown));
	all_dirty();
	mode = *m;
	return 0;
}

static const uint8_t *glyph_of(uint8_t c)
{
	return font[c - FONT_FIRST];
}

static void paint_glyph(uint8_t *pixels, uint8_t old, uint8_t new)
{
	const uint8_t *was = glyph_of(old), *is = glyph_of(new);

	for (unsigned y = 0; y < FONT_HEIGHT; y++, pixels += mode.pitch) {
		volatile uint64_t *line = (volatile uint64_t *)pixels;
		unsigned bits = is[y];

		if (bits == was[y])
			continue;
		line[0] = pixel_pairs[bits >> 6];
		line[1] = pixel_pairs[bits >> 4 & 3];
		line[2] = pixel_pairs[bits >> 2 & 3];
		line[3] = pixel_pairs[bits & 3];
	}
}

static void paint_row(unsigned r)
{
	uint8_t *pixels = (uint8_t *)mode.pixels + (uint64_t)r * FONT_HEIGHT * mode.pitch;
	const uint8_t *wanted = grid_row(r);

	for (unsigned c = 0; c < columns; c++) {
		if (wanted[c] != shown[r][c]) {
			paint_glyph(pixels + c * FONT_WIDTH * PIXEL_SIZE, shown[r][c], wanted[c]);
			shown[r][c] = wanted[c];
		}
	}
	dirty[r] = false;
}

bool screen_paint(unsigned max_rows)
{
	if (!mode.pixels)
		return false;
	for (unsigned i = 0; i < rows; i++) {
		unsigned r = (next_paint + i) % rows;

		if (!dirty[r])
			continue;
		if (!max_rows--) {
			next_paint = r;
			return true;
		}
		paint_row(r);
	}
	return false;
}
