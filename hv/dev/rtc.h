/*
 * The MC146818 real-time clock and the CMOS memory behind it, ports 0x70/0x71, IRQ 8. The time of day is a base plus
 * the clock; nothing ticks unless the guest enabled an interrupt. MC146818A data sheet; Intel ICH RTC chapter for
 * what PCs made of it. Bytes 0x15-0x18, 0x30/31, 0x34/35 tell the memory size, 0x32 is the century.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/bus.h"
#include "hv/irq.h"
#include "hv/timer.h"

#define RTC_CMOS_SIZE 128

struct rtc {
	uint8_t index; /* what was written to port 0x70; bit 7 masks NMI on a real PC and does nothing here */
	uint8_t cmos[RTC_CMOS_SIZE];
	uint64_t base_clock;	/* clock_now() at which the second `base_seconds` began */
	int64_t base_seconds;	/* since 1970-01-01 00:00:00, as the guest's clock shows it */
	uint64_t checked;	/* clock_now() up to which flags in register C are up to date */
	uint64_t periodic_base; /* clock_now() at which the periodic divider was started */
	struct irq_line irq;
	struct timer timer; /* the next enabled event */
};

/*
 * `memory`: guest RAM in bytes below 4 GiB, for the CMOS size bytes. `unix_seconds`: the time of day now, UTC.
 * 0, or the error of bus_add.
 */
int rtc_init(struct rtc *rtc, struct bus *pio, struct irq_line irq, struct timer_queue *queue, struct spinlock *lock,
	     uint64_t memory, int64_t unix_seconds) MUST_CHECK;

/* RESET pin: interrupts off, time and CMOS kept (battery). No timer is armed afterwards. */
void rtc_reset(struct rtc *rtc);
