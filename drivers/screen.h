/*
 * A text console on the framebuffer that firmware left. screen_write() changes a grid of characters in RAM only; rows
 * that changed are drawn when there is time, which takes long: each is copied under the lock of hv/log.c, as all else
 * here, and drawn without it. The framebuffer is never read. UEFI 12.9 (Graphics Output Protocol).
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

#define SCREEN_MAX_COLUMNS 160
#define SCREEN_MAX_ROWS	   64

struct screen_mode {
	void *pixels; /* mapped, write-combining */
	uint64_t size;
	uint32_t width, height; /* pixels */
	uint32_t pitch;		/* bytes */
};

/* Checks the geometry and clears the grid. What was written before (screen_write works from the start) is kept. */
int screen_init(const struct screen_mode *mode) MUST_CHECK;

/*
 * Text with CR, LF, BS, TAB, and of ECMA-48's escape sequences those that move the cursor (CUU, CUD, CUF, CUB, CUP,
 * HVP), erase (ED, EL) or save and restore the cursor (ESC 7 and 8, CSI s and u). Other sequences and control bytes are
 * swallowed. Any bytes will do: what points outside of the screen means its edge. Costs no pixel.
 */
void screen_write(const uint8_t *bytes, size_t count);

/* How a row should look: the cursor is an inverted cell. */
struct screen_row {
	unsigned number;
	uint8_t cell[SCREEN_MAX_COLUMNS];
};

/* Is there anything to draw? Without the lock: a moment's view. */
bool screen_has_changed(void);
/* Copies the next row that changed, which from then on counts as drawn. False: there is none. */
bool screen_take_row(struct screen_row *row);
/*
 * Draws it. Without the lock, one caller at a time. `go_on` is asked before each character (NULL: it always does).
 * False: it said no, and the row is to be given back.
 */
bool screen_paint_row(const struct screen_row *row, bool (*go_on)(void *ctx), void *ctx);
void screen_give_row_back(const struct screen_row *row);
