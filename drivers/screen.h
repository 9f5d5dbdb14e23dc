/*
 * A text console on the framebuffer that firmware left. screen_write() changes a grid of characters in RAM only;
 * screen_paint() draws the rows that changed, when there is time. The framebuffer is never read. Owned by hv/log.c,
 * under its lock. UEFI 12.9 (Graphics Output Protocol).
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
/* Draws at most `max_rows` changed rows, the cursor as an inverted cell. True: there are more. */
bool screen_paint(unsigned max_rows);
