/*
 * The VGA card as far as text mode 3 needs it: 80x25 characters in 32 KiB of plain guest memory at 0xB8000, and the
 * register files at ports 0x3C0-0x3CF, 0x3D4/0x3D5 and 0x3DA as storage that reads back. What the guest shows is
 * mirrored to a byte_sink as a log: new lines once each, trailing spaces trimmed. No graphics modes, no fonts.
 * IBM VGA/XGA Technical Reference, chapter 2. Owned by the VM's PC.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/bus.h"
#include "hv/dev/platform.h"

#define VGA_COLUMNS 80
#define VGA_ROWS    25

struct vga {
	const volatile uint8_t *text; /* the guest's text memory, PC_VGA_TEXT_SIZE bytes; it changes at any time */
	struct byte_sink out;
	uint8_t misc;
	uint8_t crtc_index, crtc[256];
	uint8_t attr_index, attr[32];
	bool attr_data; /* next write to 0x3C0 is data */
	uint8_t seq_index, seq[8];
	uint8_t gfx_index, gfx[16];
	uint8_t dac_mask, dac_read, dac_write, dac_part; /* dac_part: 0 red, 1 green, 2 blue */
	uint8_t dac_state;				 /* 0x3C7 reads: 0 writing, 3 reading */
	uint8_t dac[256][3];
	uint8_t retrace;		      /* toggles at each read of 0x3DA */
	uint8_t shown[VGA_ROWS][VGA_COLUMNS]; /* characters that were mirrored last */
	bool open;			      /* the last row printed has no line end yet */
	uint8_t open_row, open_length;
	uint8_t open_text[VGA_COLUMNS];
};

/* `text`: host's view of the text memory. 0, or the error of bus_add. */
int vga_init(struct vga *vga, struct bus *pio, const volatile uint8_t *text, struct byte_sink out) MUST_CHECK;

/* Registers of mode 3, as a BIOS leaves them, and an empty screen. Text memory is not touched: it belongs to the VM. */
void vga_reset(struct vga *vga);

/* Compares the screen with what was mirrored last and writes the rows that are new; the last one without a line end, so
 * that it can be continued. Call when the memory was touched,
 * but not at every touch: some ten times a second is right. Device lock held. */
void vga_refresh(struct vga *vga);
