/*
 * The keyboard controller at ports 0x60/0x64 with a keyboard behind it (no mouse), IRQ 1, and port 0x92 (fast A20 and
 * reset). Console bytes become key presses with i8042_type(). A20 is remembered and read back, but not acted upon: the
 * line is always open, as on every PC of the last decade. IBM PS/2 Technical Reference, "Keyboard/Auxiliary Device
 * Controller"; the scan codes are those of the 101-key keyboard.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/bus.h"
#include "hv/dev/platform.h"
#include "hv/irq.h"

#define I8042_KEYS	64 /* scan-code bytes that wait */
#define I8042_KEY_BYTES 9  /* of one typed character: Ctrl, Shift and the key, pressed and released */
#define I8042_REPLIES	8

struct i8042 {
	uint8_t ram[32];     /* controller RAM, commands 0x20-0x3f and 0x60-0x7f; byte 0 is the command byte */
	uint8_t pending;     /* controller command that waits for its byte at port 0x60; 0: none */
	uint8_t key_pending; /* keyboard command that waits for its byte; 0: none */
	uint8_t output_port;
	uint8_t scan_set;  /* 1 or 2 */
	uint8_t last_sent; /* the keyboard's last reply, for its RESEND command */
	uint8_t output;	   /* what port 0x60 reads; stays after reading */
	bool full;	   /* output buffer full, status bit 0 */
	bool from_aux;	   /* status bit 5 */
	bool command_last; /* status bit 3: the last write went to 0x64 */
	bool scanning;	   /* the keyboard sends key presses */
	bool breaking;	   /* translation saw the F0 that announces a release */
	uint8_t reply_first, reply_count, key_first, key_count;
	uint8_t reply[I8042_REPLIES]; /* keyboard's answers to commands; they go before key presses */
	uint8_t key[I8042_KEYS];      /* key presses, in scan code set 2 */
	struct irq_line irq;
	const struct platform *platform;
};

/* 0, or the error of bus_add. `platform` is kept; it must live as long as the chip. */
int i8042_init(struct i8042 *kbc, struct bus *pio, struct irq_line irq, const struct platform *platform) MUST_CHECK;
void i8042_reset(struct i8042 *kbc);

/*
 * Presses and releases the keys of a US keyboard that make this ASCII byte (control bytes: Ctrl and a letter; 8 and 127
 * backspace, 9 tab, 10 and 13 enter, 27 escape). True when taken or no key makes it; false when there is no room: offer
 * it again later. Device lock held.
 */
bool i8042_type(struct i8042 *kbc, uint8_t ascii);
