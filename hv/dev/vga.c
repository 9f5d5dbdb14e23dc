/*
 * VGA text mode, see vga.h. The registers are storage: nothing here looks at the mode the guest sets, only at the start
 * address of the screen. Mirroring: of all ways to see the new screen as the old one moved up by n lines, the one is
 * taken that leaves the fewest rows to print. The last row printed stays open (no line end), so that a row which only
 * grows, such as a prompt, is continued instead of repeated. IBM VGA/XGA Technical Reference, chapter 2.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/dev/vga.h"

#include "hv/dev/byte_port.h"
#include "hv/lib/string.h"
#include "hv/pc_map.h"

#define PORT_ATTR	0x3C0
#define PORT_ATTR_READ	0x3C1
#define PORT_MISC	0x3C2 /* written; read: input status 0 */
#define PORT_SEQ_INDEX	0x3C4
#define PORT_SEQ	0x3C5
#define PORT_DAC_MASK	0x3C6
#define PORT_DAC_READ	0x3C7 /* written: index to read from; read: state */
#define PORT_DAC_WRITE	0x3C8
#define PORT_DAC	0x3C9
#define PORT_MISC_READ	0x3CC
#define PORT_GFX_INDEX	0x3CE
#define PORT_GFX	0x3CF
#define PORT_CRTC_INDEX 0x3D4
#define PORT_CRTC	0x3D5
#define PORT_STATUS	0x3DA

#define CRTC_START_HIGH	  0x0C
#define CRTC_START_LOW	  0x0D
#define STATUS_NO_DISPLAY 0x01
#define STATUS_RETRACE	  0x08
#define STATUS0_SENSE	  0x10 /* a monitor is connected */

/* Mode 3 as the BIOS sets it: 80x25, 9x16 characters, cursor in lines 13 and 14, colour at 0x3D4. */
static const uint8_t crtc_mode3[] = {0x5F, 0x4F, 0x50, 0x82, 0x55, 0x81, 0xBF, 0x1F, 0x00, 0x4F, 0x0D, 0x0E, 0x00,
				     0x00, 0x00, 0x00, 0x9C, 0x8E, 0x8F, 0x28, 0x1F, 0x96, 0xB9, 0xA3, 0xFF};
static const uint8_t attr_mode3[] = {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3A,
				     0x3B, 0x3C, 0x3D, 0x3E, 0x3F, 0x0C, 0x00, 0x0F, 0x08, 0x00};
static const uint8_t seq_mode3[] = {0x03, 0x00, 0x03, 0x00, 0x02};
static const uint8_t gfx_mode3[] = {0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0E, 0x00, 0xFF};
#define MISC_MODE3 0x67

/* --- registers --- */

/* 0x3C0 takes index and data in turn; reading 0x3DA makes the next write an index. Bit 5 of the index is kept: it turns
 * the palette on and is read back. */
static void write_attr(struct vga *vga, uint8_t value)
{
	if (vga->attr_data)
		vga->attr[vga->attr_index & 0x1F] = value;
	else
		vga->attr_index = value & 0x3F;
	vga->attr_data = !vga->attr_data;
}

static uint8_t read_dac(struct vga *vga)
{
	uint8_t value = vga->dac[vga->dac_read][vga->dac_part];

	vga->dac_part = (vga->dac_part + 1) % 3;
	if (vga->dac_part == 0)
		vga->dac_read++;
	return value;
}

static void write_dac(struct vga *vga, uint8_t value)
{
	vga->dac[vga->dac_write][vga->dac_part] = value & 0x3F;
	vga->dac_part = (vga->dac_part + 1) % 3;
	if (vga->dac_part == 0)
		vga->dac_write++;
}

static void select_dac(struct vga *vga, uint8_t index, bool read)
{
	vga->dac_part = 0;
	vga->dac_state = read ? 3 : 0;
	if (read)
		vga->dac_read = index;
	else
		vga->dac_write = index;
}

/* Software waits for both edges of both bits, so they change from read to read. */
static uint8_t read_status(struct vga *vga)
{
	vga->attr_data = false;
	vga->retrace ^= STATUS_NO_DISPLAY | STATUS_RETRACE;
	return vga->retrace;
}

static uint8_t read_port(void *dev, uint16_t port)
{
	struct vga *vga = dev;

	switch (port) {
	case PORT_ATTR:
		return vga->attr_index;
	case PORT_ATTR_READ:
		return vga->attr[vga->attr_index & 0x1F];
	case PORT_MISC:
		return STATUS0_SENSE;
	case PORT_SEQ_INDEX:
		return vga->seq_index;
	case PORT_SEQ:
		return vga->seq[vga->seq_index];
	case PORT_DAC_MASK:
		return vga->dac_mask;
	case PORT_DAC_READ:
		return vga->dac_state;
	case PORT_DAC_WRITE:
		return vga->dac_write;
	case PORT_DAC:
		return read_dac(vga);
	case PORT_MISC_READ:
		return vga->misc;
	case PORT_GFX_INDEX:
		return vga->gfx_index;
	case PORT_GFX:
		return vga->gfx[vga->gfx_index];
	case PORT_CRTC_INDEX:
		return vga->crtc_index;
	case PORT_CRTC:
		return vga->crtc[vga->crtc_index];
	case PORT_STATUS:
		return read_status(vga);
	default:
		return 0;
	}
}

static void write_port(void *dev, uint16_t port, uint8_t value)
{
	struct vga *vga = dev;

	switch (port) {
	case PORT_ATTR:
		write_attr(vga, value);
		return;
	case PORT_MISC:
		vga->misc = value;
		return;
	case PORT_SEQ_INDEX:
		vga->seq_index = value % sizeof(vga->seq);
		return;
	case PORT_SEQ:
		vga->seq[vga->seq_index] = value;
		return;
	case PORT_DAC_MASK:
		vga->dac_mask = value;
		return;
	case PORT_DAC_READ:
	case PORT_DAC_WRITE:
		select_dac(vga, value, port == PORT_DAC_READ);
		return;
	case PORT_DAC:
		write_dac(vga, value);
		return;
	case PORT_GFX_INDEX:
		vga->gfx_index = value % sizeof(vga->gfx);
		return;
	case PORT_GFX:
		vga->gfx[vga->gfx_index] = value;
		return;
	case PORT_CRTC_INDEX:
		vga->crtc_index = value;
		return;
	case PORT_CRTC:
		vga->crtc[vga->crtc_index] = value;
		return;
	default:
		return; /* read-only or not there */
	}
}

static uint64_t vga_read(void *dev, uint64_t addr, unsigned size)
{
	return byte_port_read(dev, addr, size, read_port);
}

static void vga_write(void *dev, uint64_t addr, unsigned size, uint64_t value)
{
	byte_port_write(dev, addr, size, value, write_port);
}

int vga_init(struct vga *vga, struct bus *pio, const volatile uint8_t *text, struct byte_sink out)
{
	static const struct {
		uint16_t first, count;
	} ports[] = {{PORT_ATTR, 16}, {PORT_CRTC_INDEX, 2}, {PORT_STATUS, 1}};
	struct bus_range range = {.name = "VGA", .dev = vga, .read = vga_read, .write = vga_write};
	int err = 0;

	memset(vga, 0, sizeof(*vga));
	vga->text = text;
	vga->out = out;
	vga_reset(vga);
	for (unsigned i = 0; i < ARRAY_SIZE(ports) && !err; i++) {
		range.first = ports[i].first;
		range.count = ports[i].count;
		err = bus_add(pio, &range);
	}
	return err;
}

/* --- the mirror --- */

static void emit(struct vga *vga, const void *bytes, size_t count)
{
	if (count)
		vga->out.write(vga->out.ctx, bytes, count);
}

static void close_row(struct vga *vga)
{
	if (vga->open)
		emit(vga, "\n", 1);
	vga->open = false;
}

void vga_reset(struct vga *vga)
{
	const volatile uint8_t *text = vga->text;
	struct byte_sink out = vga->out;

	close_row(vga);
	memset(vga, 0, sizeof(*vga));
	vga->text = text;
	vga->out = out;
	vga->misc = MISC_MODE3;
	vga->dac_mask = 0xFF;
	memcpy(vga->crtc, crtc_mode3, sizeof(crtc_mode3));
	memcpy(vga->attr, attr_mode3, sizeof(attr_mode3));
	vga->attr_index = 0x20;
	memcpy(vga->seq, seq_mode3, sizeof(seq_mode3));
	memcpy(vga->gfx, gfx_mode3, sizeof(gfx_mode3));
	memset(vga->shown, ' ', sizeof(vga->shown));
}

/* Code page 437 as plain ASCII. */
static uint8_t to_ascii(uint8_t c)
{
	if (c == 0 || c == 0xFF)
		return ' ';
	if (c >= 0x20 && c < 0x7F)
		return c;
	if (c >= 0xB0 && c <= 0xDF) { /* shades, boxes, blocks */
		if (c == 0xB3 || c == 0xBA)
			return '|';
		if (c == 0xC4 || c == 0xCD)
			return '-';
		return c <= 0xB2 || c >= 0xDB ? '#' : '+';
	}
	return '?';
}

static void take_screen(const struct vga *vga, uint8_t screen[VGA_ROWS][VGA_COLUMNS])
{
	unsigned cell = vga->crtc[CRTC_START_HIGH] << 8 | vga->crtc[CRTC_START_LOW];

	for (unsigned row = 0; row < VGA_ROWS; row++)
		for (unsigned column = 0; column < VGA_COLUMNS; column++, cell++)
			screen[row][column] = to_ascii(vga->text[cell * 2 % PC_VGA_TEXT_SIZE]);
}

/* Length of a row without the spaces at its end. */
static unsigned row_length(const uint8_t *row)
{
	unsigned length = VGA_COLUMNS;

	while (length && row[length - 1] == ' ')
		length--;
	return length;
}

static bool row_is_new(const struct vga *vga, const uint8_t *row, unsigned r, unsigned scroll)
{
	unsigned old = r + scroll;

	if (row_length(row) == 0)
		return false; /* nothing to print */
	return old >= VGA_ROWS || memcmp(row, vga->shown[old], VGA_COLUMNS) != 0;
}

/* By how many lines the screen moved up: what leaves the fewest rows to print; the smaller of equals. */
static unsigned find_scroll(const struct vga *vga, uint8_t screen[VGA_ROWS][VGA_COLUMNS])
{
	unsigned best = 0, best_rows = VGA_ROWS + 1;

	for (unsigned scroll = 0; scroll < VGA_ROWS; scroll++) {
		unsigned rows = 0;

		for (unsigned r = 0; r < VGA_ROWS && rows < best_rows; r++)
			rows += row_is_new(vga, screen[r], r, scroll);
		if (rows < best_rows) {
			best = scroll;
			best_rows = rows;
		}
	}
	return best;
}

/* Does the row only continue the one that is open? */
static bool continues(const struct vga *vga, const uint8_t *row, unsigned r)
{
	return vga->open && vga->open_row == r && row_length(row) >= vga->open_length &&
	       memcmp(row, vga->open_text, vga->open_length) == 0;
}

static void print_row(struct vga *vga, const uint8_t *row, unsigned r)
{
	unsigned length = row_length(row);

	if (continues(vga, row, r)) {
		emit(vga, row + vga->open_length, length - vga->open_length);
	} else {
		close_row(vga);
		emit(vga, row, length);
	}
	vga->open = true;
	vga->open_row = (uint8_t)r;
	vga->open_length = (uint8_t)length;
	memcpy(vga->open_text, row, length);
}

/* Empty rows between the last row printed and this one become one empty line. */
static void print_gap(struct vga *vga, uint8_t screen[VGA_ROWS][VGA_COLUMNS], unsigned r)
{
	unsigned first = vga->open_row + 1u;

	if (!vga->open || first >= r)
		return;
	for (unsigned gap = first; gap < r; gap++)
		if (row_length(screen[gap]))
			return;
	print_row(vga, screen[r - 1], r - 1);
}

/* The open row moved up with the screen, perhaps out of it. */
static void scroll_open_row(struct vga *vga, unsigned scroll)
{
	if (vga->open_row < scroll)
		close_row(vga);
	else
		vga->open_row -= (uint8_t)scroll;
}

void vga_refresh(struct vga *vga)
{
	uint8_t screen[VGA_ROWS][VGA_COLUMNS];
	unsigned scroll;

	take_screen(vga, screen);
	if (memcmp(screen, vga->shown, sizeof(screen)) == 0)
		return;
	scroll = find_scroll(vga, screen);
	scroll_open_row(vga, scroll);
	for (unsigned r = 0; r < VGA_ROWS; r++) {
		if (!row_is_new(vga, screen[r], r, scroll))
			continue;
		print_gap(vga, screen, r);
		print_row(vga, screen[r], r);
	}
	memcpy(vga->shown, screen, sizeof(screen));
}
