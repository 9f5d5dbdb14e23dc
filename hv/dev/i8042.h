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

#define I8042_KEYS 64 /* scan-code bytes that wait; one typed character needs up to eight */

struct i8042 {
	uint8_t command_byte;
	uint8_t pending;     /* controller command that waits for its byte at port 0x60; 0: none */
	uint8_t key_pending; /* keyboard command that waits for its byte; 0: none */
	uint8_t output_port;
	uint8_t scan_set; /* 1 to 3 as the guest chose; we send 1 and 2 */
	uint8_t leds;
	uint8_t rate;
	bool scanning;	       /* keyboard sends key presses */
	bool last_was_command; /* status bit 3: last write went to 0x64 */
	bool full;	       /* output buffer full, status bit 0 */
	bool from_aux;	       /* status bit 5 */
	uint8_t output;	       /* what port 0x60 reads; stays after reading */
	uint8_t last_sent;     /* keyboard's last byte, for RESEND */
	uint8_t ram[32];       /* controller RAM, commands 0x20-0x3f and 0x60-0x7f; byte 0 is command_byte */
	uint8_t reply[4];      /* answers to keyboard commands; they go before key presses */
	uint8_t reply_first, reply_count;
	uint8_t key[I8042_KEYS]; /* set-2 bytes from the keyboard */
	uint8_t key_first, key_count;
	bool break_prefix; /* translation saw F0 */
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
