/*
 * The 8254 interval timer at ports 0x40-0x43 and the port 0x61 that goes with it (gate and output of channel 2,
 * speaker enable, refresh toggle). Channel 0 is wired to IRQ 0. The count is never kept: it is computed from the
 * clock when read. Intel 8254 data sheet (231164), "Mode definitions" and "Read operations". Owned by the VM's PC.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/bus.h"
#include "hv/irq.h"
#include "hv/timer.h"

#define PIT_HZ	     1193182u
#define PIT_CHANNELS 3

struct pit_channel {
	uint64_t start;	    /* clock_now() when the running count was `reload` */
	uint64_t frozen;    /* ticks since `start`, while the gate holds the count */
	uint64_t switch_at; /* clock_now() at which `pending` takes over; modes 2 and 3 */
	uint32_t reload;    /* what is counted down from, 1 .. 65536; 0: none yet */
	uint32_t pending;   /* count written that is not loaded yet; 0: none */
	uint8_t mode;	    /* 0 to 5 */
	uint8_t access;	    /* 1 low byte, 2 high byte, 3 low then high */
	bool bcd;
	bool gate;
	bool running;	     /* false: waits for a count or a gate edge */
	bool write_high;     /* next byte written is the high one */
	bool read_high;	     /* next byte read is the high one */
	uint8_t write_low;   /* low byte that waits for its high one */
	uint8_t latched;     /* bytes of `latch` not read yet: 0, 1, 2 */
	bool status_latched; /* `status` is read before the count */
	uint8_t status;
	uint16_t latch;
};

struct pit {
	struct pit_channel channel[PIT_CHANNELS];
	uint8_t port61; /* bits 0 to 3 as written */
	struct irq_line irq;
	struct timer timer; /* the next rising edge of channel 0's output */
};

/* Adds its ports to `pio`. `queue` and `lock` as in hv/timer.h. 0, or the error of bus_add. Ends with pit_reset(). */
int pit_init(struct pit *pit, struct bus *pio, struct irq_line irq, struct timer_queue *queue,
	     struct spinlock *lock) MUST_CHECK;

/* Power-on state; no timer is armed afterwards, so this is also how the VM stops the chip before it goes away. */
void pit_reset(struct pit *pit);
