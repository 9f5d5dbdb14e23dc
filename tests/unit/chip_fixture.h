/*
 * What the tests of the chips in hv/dev have in common: a clock that the test moves, one timer, an interrupt line that
 * counts its edges, a sink that keeps its text, a platform that keeps its last request, and port access through a bus.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/bus.h"
#include "hv/clock.h"
#include "hv/dev/platform.h"
#include "hv/irq.h"
#include "hv/lib/panic.h"
#include "hv/timer.h"

#define HZ 100000000ULL /* of the fake clock: 10 ns a tick */
#define US (HZ / 1000000)
#define MS (HZ / 1000)

static uint64_t fake_now = 1000 * HZ;
static struct timer_queue queue;

struct timer_queue *timer_queue_here(void)
{
	return &queue;
}
static struct spinlock lock __attribute__((unused));
static struct bus pio;

static bool irq_level;
static unsigned irq_edges;

static char text[8192];
static size_t text_size;

static unsigned requests;
static enum platform_request request_what;
static uint32_t request_code;

uint64_t clock_now(void)
{
	return fake_now;
}
uint64_t clock_hz(void)
{
	return HZ;
}

_Noreturn void panic(const char *fmt, ...)
{
	fail_msg("panic: %s", fmt);
	abort();
}

static void set_irq(void *ctx, unsigned number, bool level)
{
	(void)ctx, (void)number;
	irq_edges += level && !irq_level;
	irq_level = level;
}

static void write_text(void *ctx, const uint8_t *bytes, size_t count)
{
	(void)ctx;
	assert_true(count < sizeof(text) - text_size);
	memcpy(text + text_size, bytes, count);
	text_size += count;
	text[text_size] = '\0';
}

static void note_request(void *ctx, enum platform_request what, uint32_t code)
{
	(void)ctx;
	requests++;
	request_what = what;
	request_code = code;
}

static const struct irq_line irq __attribute__((unused)) = {.set = set_irq};
static const struct byte_sink sink __attribute__((unused)) = {.write = write_text};
static const struct platform platform __attribute__((unused)) = {.request = note_request};

static void fixture_reset(void)
{
	memset(&pio, 0, sizeof(pio));
	timer_queue_init(&queue, &(struct timer_owner){0});
	irq_level = false;
	irq_edges = requests = 0;
	text_size = 0;
	text[0] = '\0';
}

/* Moves the clock and runs every timer at its own time. */
static void __attribute__((unused)) pass(uint64_t ticks)
{
	uint64_t end = fake_now + ticks;

	while (queue.next <= end) {
		if (queue.next > fake_now)
			fake_now = queue.next;
		timer_queue_run(&queue, fake_now);
	}
	fake_now = end;
}

static uint64_t __attribute__((unused)) in(uint16_t port, unsigned size)
{
	const struct bus_range *r = bus_find(&pio, port, size);

	assert_non_null(r);
	return r->read(r->dev, port, size);
}

static void __attribute__((unused)) out(uint16_t port, unsigned size, uint64_t value)
{
	const struct bus_range *r = bus_find(&pio, port, size);

	assert_non_null(r);
	r->write(r->dev, port, size, value);
}

static uint8_t __attribute__((unused)) inb(uint16_t port)
{
	return (uint8_t)in(port, 1);
}
static void __attribute__((unused)) outb(uint16_t port, uint8_t value)
{
	out(port, 1, value);
}
