/*
 * Text on the framebuffer: screen.h. Two grids: `grid` is what should be seen, a ring of rows so that scrolling moves
 * one index; `shown` is what the framebuffer holds. Painting compares them, glyph line by glyph line, and writes what
 * differs: most of a scrolled screen is blank, and blank stays blank.
 * Guests write here. Whatever they send, the cursor leaves the grid by one column at most (see put_glyph), and no
 * escape sequence outlives the line: a control byte ends it, and the host's messages begin on a new line.
 */
/* SPDX-License-Identifier: MIT */
#include "drivers/screen.h"

#include <stdatomic.h>

#include "font.h"
#include "hv/lib/string.h"

#define FOREGROUND  0x00c0c0c0ULL /* grey is the same in BGRX and RGBX */
#define PIXEL_SIZE  4
#define TAB_WIDTH   8
#define REPLACEMENT '?'
#define CURSOR	    0x80 /* beside a character in `shown`: inverted */
#define ESC	    0x1b
#define PARAMETERS  2
#define NUMBER_MAX  999

/* What the next byte belongs to. ECMA-48 5.3 to 5.6; _OTHER: it is swallowed with the rest of its sequence. */
enum state { TEXT, ESCAPE, ESCAPE_OTHER, CSI, CSI_OTHER, STRING };

static struct screen_mode mode;
static unsigned columns = SCREEN_MAX_COLUMNS, rows = SCREEN_MAX_ROWS; /* until the geometry is known */
static uint8_t grid[SCREEN_MAX_ROWS][SCREEN_MAX_COLUMNS];
static uint8_t shown[SCREEN_MAX_ROWS][SCREEN_MAX_COLUMNS];
static bool written[SCREEN_MAX_ROWS]; /* a row of grid: it may not be blank */
static bool dirty[SCREEN_MAX_ROWS];   /* by row on the screen */
static _Atomic bool changed;	      /* one of them is, or may be */
static unsigned top;		      /* row of grid that is at the top of the screen */
static unsigned row, column;	      /* cursor, on the screen; column == columns: the next character wraps */
static unsigned saved_row, saved_column;
static unsigned painted_row, painted_column; /* the cursor when a row was last taken */
static unsigned next_paint;		     /* behind that row */
static enum state state;
static int parameter[PARAMETERS]; /* of the sequence that is coming in; 0: not given */
static unsigned given;		  /* separators so far, no more than PARAMETERS */

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

/* From a column to another; what is blank costs nothing, however often it is erased. */
static void erase_in_row(unsigned r, unsigned from, unsigned end)
{
	bool *is_written = &written[(top + r) % rows];

	if (!*is_written)
		return;
	*is_written = from > 0 || end < columns;
	memset(grid_row(r) + from, ' ', end - from);
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
	erase_in_row(row, 0, SCREEN_MAX_COLUMNS);
	all_dirty();
}

static void put_glyph(uint8_t c)
{
	unsigned at;

	if (column == columns) {
		column = 0;
		line_feed();
	}
	at = (top + row) % rows;
	grid[at][column++] = c;
	written[at] = true;
	dirty[row] = true;
}

/* The column that the cursor is seen in. */
static unsigned cursor_column(void)
{
	return column < columns ? column : columns - 1;
}

static unsigned clamp(int value, unsigned count)
{
	if (value < 0)
		return 0;
	return (unsigned)value < count ? (unsigned)value : count - 1;
}

/* From 0; what is outside of the screen means its edge. */
static void move_to(int new_row, int new_column)
{
	row = clamp(new_row, rows);
	column = clamp(new_column, columns);
}

static void save_cursor(void)
{
	saved_row = row;
	saved_column = column;
}

static void restore_cursor(void)
{
	move_to((int)saved_row, (int)saved_column);
}

/*
 * Of the cells from `first` to before `end`, which are the cursor's line or all, counted from the top left corner:
 * those from the cursor on (part 0), those up to it (1), or all (2).
 */
static void erase(int part, unsigned first, unsigned end)
{
	unsigned count;

	if (part > 2)
		return;
	column = cursor_column();
	if (part == 0)
		first = row * columns + column;
	else if (part == 1)
		end = row * columns + column + 1;
	for (; first < end; first += count) {
		count = columns - first % columns;
		if (count > end - first)
			count = end - first;
		erase_in_row(first / columns, first % columns, first % columns + count);
	}
}

/* ECMA-48 8.3: CUU, CUD, CUF, CUB, CUP, HVP, ED, EL; s and u are SCO's names of ESC 7 and ESC 8. */
static void obey_csi(uint8_t final)
{
	int n = parameter[0] ? parameter[0] : 1;
	int r = (int)row, c = (int)cursor_column();

	switch (final) {
	case 'A':
		move_to(r - n, c);
		break;
	case 'B':
		move_to(r + n, c);
		break;
	case 'C':
		move_to(r, c + n);
		break;
	case 'D':
		move_to(r, c - n);
		break;
	case 'H':
	case 'f':
		move_to(parameter[0] - 1, parameter[1] - 1);
		break;
	case 'J':
		erase(parameter[0], 0, rows * columns);
		break;
	case 'K':
		erase(parameter[0], row * columns, (row + 1) * columns);
		break;
	case 's':
		save_cursor();
		break;
	case 'u':
		restore_cursor();
		break;
	}
}

static void take_digit(int digit)
{
	int *number = &parameter[given];

	if (given == PARAMETERS)
		return;
	*number = *number * 10 + digit;
	if (*number > NUMBER_MAX)
		*number = NUMBER_MAX;
}

/* Numbers between semicolons, then the byte that says what to do. With any other byte it is a sequence not known here.
 */
static void take_csi(uint8_t c)
{
	if (c >= '0' && c <= '9') {
		take_digit(c - '0');
	} else if (c == ';') {
		given += given < PARAMETERS;
	} else if (c >= 0x40 && c <= 0x7e) {
		state = TEXT;
		obey_csi(c);
	} else {
		state = CSI_OTHER;
	}
}

/* The byte after ESC. */
static void take_escape(uint8_t c)
{
	state = c < 0x30 ? ESCAPE_OTHER : TEXT;
	switch (c) {
	case '[':
		state = CSI;
		memset(parameter, 0, sizeof(parameter));
		given = 0;
		break;
	case ']': /* OSC */
	case 'P': /* DCS */
	case 'X': /* SOS */
	case '^': /* PM */
	case '_': /* APC */
		state = STRING;
		break;
	case '7':
		save_cursor();
		break;
	case '8':
		restore_cursor();
		break;
	}
}

static void take_sequence(uint8_t c)
{
	switch (state) {
	case ESCAPE:
		take_escape(c);
		break;
	case ESCAPE_OTHER:
		if (c >= 0x30)
			state = TEXT;
		break;
	case CSI:
		take_csi(c);
		break;
	case CSI_OTHER:
		if (c >= 0x40 && c <= 0x7e)
			state = TEXT;
		break;
	case STRING: /* to the BEL or ESC \ at its end */
	case TEXT:
		break;
	}
}

static void put_control(uint8_t c)
{
	state = c == ESC ? ESCAPE : TEXT;
	switch (c) {
	case '\n':
		line_feed();
		break;
	case '\r':
		column = 0;
		break;
	case '\b':
		move_to((int)row, (int)cursor_column() - 1);
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
	if (c < FONT_FIRST)
		put_control(c);
	else if (state != TEXT)
		take_sequence(c);
	else if (c <= FONT_LAST || c >= 0xc0)
		put_glyph(c <= FONT_LAST ? c : REPLACEMENT);
}

void screen_write(const uint8_t *bytes, size_t count)
{
	if (!grid[0][0])
		memset(grid, ' ', sizeof(grid));
	for (size_t i = 0; i < count; i++)
		put_byte(bytes[i]);
	atomic_store_explicit(&changed, true, memory_order_relaxed);
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
	memset(written, true, sizeof(written));
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
	atomic_store_explicit(&changed, true, memory_order_relaxed);
	mode = *m;
	return 0;
}

static unsigned glyph_line(uint8_t c, unsigned y)
{
	return font[(c & ~CURSOR) - FONT_FIRST][y] ^ (c & CURSOR ? 0xff : 0);
}

static void paint_glyph(uint8_t *pixels, uint8_t old, uint8_t new)
{
	for (unsigned y = 0; y < FONT_HEIGHT; y++, pixels += mode.pitch) {
		volatile uint64_t *line = (volatile uint64_t *)pixels;
		unsigned bits = glyph_line(new, y);

		if (bits == glyph_line(old, y))
			continue;
		line[0] = pixel_pairs[bits >> 6];
		line[1] = pixel_pairs[bits >> 4 & 3];
		line[2] = pixel_pairs[bits >> 2 & 3];
		line[3] = pixel_pairs[bits & 3];
	}
}

/* A cursor that moved is taken from the row it was in. */
static void mark_cursor(void)
{
	if (painted_row == row && painted_column == cursor_column())
		return;
	dirty[painted_row] = true;
	dirty[row] = true;
	painted_row = row;
	painted_column = cursor_column();
}

bool screen_has_changed(void)
{
	return mode.pixels && atomic_load_explicit(&changed, memory_order_relaxed);
}

static void copy_row(struct screen_row *out, unsigned r)
{
	out->number = r;
	memcpy(out->cell, grid_row(r), columns);
	if (r == row)
		out->cell[cursor_column()] |= CURSOR;
	dirty[r] = false;
}

bool screen_take_row(struct screen_row *out)
{
	if (!mode.pixels)
		return false;
	mark_cursor();
	for (unsigned i = 0; i < rows; i++) {
		unsigned r = (next_paint + i) % rows;

		if (!dirty[r])
			continue;
		copy_row(out, r);
		next_paint = (r + 1) % rows;
		return true;
	}
	atomic_store_explicit(&changed, false, memory_order_relaxed);
	return false;
}

bool screen_paint_row(const struct screen_row *r, bool (*go_on)(void *ctx), void *ctx)
{
	uint8_t *pixels = (uint8_t *)mode.pixels + (uint64_t)r->number * FONT_HEIGHT * mode.pitch;
	uint8_t *seen = shown[r->number];

	for (unsigned c = 0; c < columns; c++) {
		if (r->cell[c] == seen[c])
			continue;
		if (go_on && !go_on(ctx))
			return false;
		paint_glyph(pixels + c * FONT_WIDTH * PIXEL_SIZE, seen[c], r->cell[c]);
		seen[c] = r->cell[c];
	}
	return true;
}

void screen_give_row_back(const struct screen_row *r)
{
	dirty[r->number] = true;
	atomic_store_explicit(&changed, true, memory_order_relaxed);
}
