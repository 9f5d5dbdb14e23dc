/*
 * Ports for tests and small guests, with the numbers that QEMU and Bochs gave them: 0xE9 prints a byte (and reads 0xE9,
 * so that a guest can tell it is there), 0xF4 ends the VM with a code of 1, 2 or 4 bytes, 0x80 is the POST port that
 * software writes to pass time. Holds no state that a reset would change.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/bus.h"
#include "hv/dev/platform.h"

struct debug_port {
	struct byte_sink out;
	const struct platform *platform;
	uint8_t post; /* last byte written to port 0x80 */
};

/* 0, or the error of bus_add. `platform` is kept; it must live as long as the ports. */
int debug_port_init(struct debug_port *dbg, struct bus *pio, struct byte_sink out,
		    const struct platform *platform) MUST_CHECK;
void debug_port_reset(struct debug_port *dbg);
