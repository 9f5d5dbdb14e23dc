/*
 * The guest's 16550A: eight ports, two 16-byte FIFOs, one interrupt line. What the guest sends goes to a byte_sink at
 * once, so its transmitter is always empty; what it shall receive is put in with vuart_receive(). National
 * Semiconductor PC16550D data sheet, chapter 8. Baud rate and framing are storage only.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/bus.h"
#include "hv/dev/platform.h"
#include "hv/irq.h"

#define VUART_FIFO 16

struct vuart {
	uint16_t base;
	uint8_t ier, lcr, mcr, scr;
	uint8_t fcr;	     /* bits 0, 6, 7 as written */
	uint8_t line_status; /* OE only; the rest of LSR is computed */
	uint8_t msr_delta;   /* bits 0-3 of MSR; they change in loopback only */
	uint16_t divisor;
	bool thre; /* transmitter-empty interrupt pending (set when a byte has left, cleared by reading IIR) */
	bool line; /* level last given to irq */
	uint8_t rx[VUART_FIFO];
	uint8_t rx_first, rx_count;
	struct irq_line irq;
	struct byte_sink out;
};

/* Ports base to base + 7. 0, or the error of bus_add. */
int vuart_init(struct vuart *uart, struct bus *pio, uint16_t base, struct irq_line irq,
	       struct byte_sink out) MUST_CHECK;
void vuart_reset(struct vuart *uart);

/* A byte from outside. False when there is no room for it: offer it again later. Device lock held. */
bool vuart_receive(struct vuart *uart, uint8_t byte);

/* How many bytes vuart_receive() would take now; 0 in loopback, where the outside is cut off. */
unsigned vuart_room(const struct vuart *uart);
