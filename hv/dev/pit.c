/*
 * The 8254 interval timer, see pit.h. A channel is a start time and a count; what software reads is computed from the
 * clock. The one tick that a real chip takes to load a count is not modelled. Interrupts come no closer than
 * PIT_MIN_NS, and what was missed is not made up for. Intel 8254 data sheet (231164).
 */
/* SPDX-License-Identifier: MIT */
#include "hv/dev/pit.h"

#include "hv/clock.h"
#include "hv/dev/byte_port.h"
#include "hv/lib/string.h"

#define PORT_CHANNEL_0 0x40
#define PORT_CONTROL   0x43
#define PORT_SYSTEM    0x61

#define PIT_MIN_NS 100000 /* between two interrupts: a count of 1 must not take a CPU away */
#define REFRESH_NS 15085  /* DRAM refresh request of the PC/AT, seen in port 0x61 bit 4 */

/* Port 0x61. */
#define SYSTEM_GATE2   0x01
#define SYSTEM_WRITTEN 0x0F /* gate, speaker, and the two parity enables that do nothing here */
#define SYSTEM_REFRESH 0x10
#define SYSTEM_OUT2    0x20

/* Control word. */
#define CONTROL_BCD	   0x01
#define READBACK_NO_COUNT  0x20
#define READBACK_NO_STATUS 0x10

/* Status byte of the read-back command. */
#define STATUS_OUT	  0x80
#define STATUS_NULL_COUNT 0x40

static uint64_t ticks_to_clock(uint64_t ticks)
{
	return mul_div(ticks, clock_hz(), PIT_HZ) + 1; /* up: never early */
}

static bool is_periodic(const struct pit_channel *c)
{
	return c->mode == 2 || c->mode == 3;
}
static bool is_triggered(const struct pit_channel *c)
{
	return c->mode == 1 || c->mode == 5;
}

/* A count of zero stands for the largest one (data sheet, "Programming the 8254"). */
static uint32_t decode_count(const struct pit_channel *c, uint16_t written)
{
	uint32_t count = written;

	if (c->bcd)
		count =
		    (written >> 12) * 1000u + (written >> 8 & 15) * 100u + (written >> 4 & 15) * 10u + (written & 15);
	if (count == 0)
		count = c->bcd ? 10000 : 65536;
	return count;
}

static uint16_t encode_count(const struct pit_channel *c, uint64_t count)
{
	uint32_t digits;

	if (!c->bcd)
		return (uint16_t)count;
	digits = (uint32_t)(count % 10000);
	return (uint16_t)(digits / 1000 << 12 | digits / 100 % 10 << 8 | digits / 10 % 10 << 4 | digits % 10);
}

/* Lets a count that was written during a period take over at its end. */
static void channel_settle(struct pit_channel *c, uint64_t now)
{
	if (!c->pending || !c->running || !is_periodic(c) || !c->gate || now < c->switch_at)
		return;
	c->start = c->switch_at;
	c->reload = c->pending;
	c->pending = 0;
}

static uint64_t channel_elapsed(const struct pit_channel *c, uint64_t now)
{
	if (!c->running)
		return 0;
	if (!c->gate && !is_triggered(c))
		return c->frozen;
	return now < c->start ? 0 : mul_div(now - c->start, PIT_HZ, clock_hz());
}

static bool channel_out(const struct pit_channel *c, uint64_t now)
{
	uint64_t elapsed = channel_elapsed(c, now);

	if (!c->running)
		return c->mode != 0;
	switch (c->mode) {
	case 0:
	case 1:
		return elapsed >= c->reload;
	case 2:
		return !c->gate || elapsed % c->reload != c->reload - 1;
	case 3:
		return !c->gate || elapsed % c->reload < (c->reload + 1) / 2;
	default:
		return elapsed != c->reload;
	}
}

/* Mode 3 counts down by two, twice in each period; an odd count loses its lowest bit when loaded. */
static uint64_t square_count(const struct pit_channel *c, uint64_t elapsed)
{
	uint64_t phase = elapsed % c->reload;
	uint64_t half = (c->reload + 1) / 2;

	if (phase >= half)
		phase -= half;
	return (c->reload & ~1u) - 2 * phase;
}

static uint16_t channel_count(const struct pit_channel *c, uint64_t now)
{
	uint64_t elapsed = channel_elapsed(c, now);
	uint64_t modulus = c->bcd ? 10000 : 65536;

	if (c->reload == 0)
		return 0;
	if (c->mode == 2)
		return encode_count(c, c->reload - elapsed % c->reload);
	if (c->mode == 3)
		return encode_count(c, square_count(c, elapsed));
	return encode_count(c, (c->reload % modulus + modulus - elapsed % modulus) % modulus);
}

/* When channel 0's output rises next after `now`; TIMER_NEVER when it does not. */
static uint64_t next_edge(const struct pit_channel *c, uint64_t now)
{
	uint64_t earliest = now + clock_from_ns(PIT_MIN_NS);
	uint64_t deadline, ticks;

	if (!c->running || c->mode == 1 || c->mode == 5)
		return TIMER_NEVER;
	if (!is_periodic(c)) {
		ticks = c->mode == 0 ? c->reload : c->reload + 1u; /* mode 4 rises after its strobe */
		deadline = c->start + ticks_to_clock(ticks);
		return deadline > now ? deadline : TIMER_NEVER;
	}
	if (c->pending)
		return c->switch_at > earliest ? c->switch_at : earliest;
	ticks = channel_elapsed(c, now) / c->reload + 1;
	deadline = c->start + ticks_to_clock(ticks * c->reload);
	if (deadline >= earliest)
		return deadline;
	ticks = channel_elapsed(c, earliest) / c->reload + 1;
	return c->start + ticks_to_clock(ticks * c->reload);
}

static void arm(struct pit *pit, uint64_t now)
{
	uint64_t deadline = next_edge(&pit->channel[0], now);

	if (deadline == TIMER_NEVER)
		timer_cancel(&pit->timer);
	else
		timer_set_here(&pit->timer, deadline);
}

/* The line stays high until the next edge needs it low: an 8259 may look at the level when it is acknowledged. */
static void fire(struct timer *timer)
{
	struct pit *pit = CONTAINER_OF(timer, struct pit, timer);
	uint64_t now = clock_now();

	channel_settle(&pit->channel[0], now);
	irq_line_set(&pit->irq, false);
	irq_line_set(&pit->irq, true);
	arm(pit, now);
}

static void channel_start(struct pit_channel *c, uint64_t now)
{
	c->reload = c->pending;
	c->pending = 0;
	c->start = now;
	c->frozen = 0;
	c->running = true;
}

/* A whole count arrived. Data sheet, "Mode definitions": what it does to a count that is running. */
static void channel_load(struct pit_channel *c, uint16_t written, uint64_t now)
{
	c->pending = decode_count(c, written);
	if (is_triggered(c))
		return; /* waits for the gate */
	if (!is_periodic(c) || !c->running) {
		channel_start(c, now);
		return;
	}
	c->switch_at = c->start + ticks_to_clock((channel_elapsed(c, now) / c->reload + 1) * c->reload);
}

static void write_count(struct pit *pit, unsigned n, uint8_t value, uint64_t now)
{
	struct pit_channel *c = &pit->channel[n];

	if (c->access == 3 && !c->write_high) {
		c->write_low = value;
		c->write_high = true;
		if (c->mode == 0)
			c->running = false; /* the first byte stops the count, output low */
	} else {
		uint16_t low = c->access == 3 ? c->write_low : c->access == 1 ? value : 0;
		uint16_t high = c->access == 1 ? 0 : value;

		c->write_high = false;
		channel_load(c, (uint16_t)(high << 8 | low), now);
	}
	if (n != 0)
		return;
	if (c->mode == 0)
		irq_line_set(&pit->irq, false);
	arm(pit, now);
}

static void latch_count(struct pit_channel *c, uint64_t now)
{
	if (c->latched)
		return; /* the first of several latch commands counts */
	c->latch = channel_count(c, now);
	c->latched = c->access == 3 ? 2 : 1;
	c->read_high = false;
}

static void latch_status(struct pit_channel *c, uint64_t now)
{
	if (c->status_latched)
		return;
	c->status = (uint8_t)(c->access << 4 | c->mode << 1 | (c->bcd ? CONTROL_BCD : 0));
	if (channel_out(c, now))
		c->status |= STATUS_OUT;
	if (c->pending || c->reload == 0)
		c->status |= STATUS_NULL_COUNT;
	c->status_latched = true;
}

static void read_back(struct pit *pit, uint8_t command, uint64_t now)
{
	for (unsigned n = 0; n < PIT_CHANNELS; n++) {
		if (!(command & 2u << n))
			continue;
		if (!(command & READBACK_NO_COUNT))
			latch_count(&pit->channel[n], now);
		if (!(command & READBACK_NO_STATUS))
			latch_status(&pit->channel[n], now);
	}
}

static void write_control(struct pit *pit, uint8_t value, uint64_t now)
{
	unsigned n = value >> 6;
	struct pit_channel *c;
	bool gate;

	if (n == 3) {
		read_back(pit, value, now);
		return;
	}
	c = &pit->channel[n];
	if ((value >> 4 & 3) == 0) {
		latch_count(c, now);
		return;
	}
	gate = c->gate;
	memset(c, 0, sizeof(*c));
	c->gate = gate;
	c->access = value >> 4 & 3;
	c->mode = value >> 1 & 7;
	if (c->mode > 5)
		c->mode -= 4; /* bit 2 is "don't care" in modes 2 and 3 */
	c->bcd = value & CONTROL_BCD;
	if (n == 0) {
		irq_line_set(&pit->irq, false);
		arm(pit, now);
	}
}

static uint8_t read_count(struct pit_channel *c, uint64_t now)
{
	uint16_t count = c->latched ? c->latch : channel_count(c, now);
	bool high = c->access == 2 || (c->access == 3 && c->read_high);

	if (c->status_latched) {
		c->status_latched = false;
		return c->status;
	}
	if (c->latched)
		c->latched--;
	if (c->access == 3)
		c->read_high = !c->read_high;
	return (uint8_t)(high ? count >> 8 : count);
}

static void set_gate(struct pit_channel *c, bool gate, uint64_t now)
{
	if (c->gate == gate)
		return;
	c->frozen = channel_elapsed(c, now);
	c->gate = gate;
	if (!gate)
		return;
	if (is_triggered(c)) {
		if (c->reload == 0 && c->pending == 0)
			return;
		if (c->pending == 0)
			c->pending = c->reload; /* triggered again with the same count */
		channel_start(c, now);
	} else if (c->running && is_periodic(c)) {
		if (c->pending == 0)
			c->pending = c->reload;
		channel_start(c, now);
	} else if (c->running) {
		c->start = now - mul_div(c->frozen, clock_hz(), PIT_HZ);
	}
}

static uint8_t read_system(struct pit *pit, uint64_t now)
{
	uint8_t value = pit->port61;

	if (clock_to_ns(now) / REFRESH_NS & 1)
		value |= SYSTEM_REFRESH;
	if (channel_out(&pit->channel[2], now))
		value |= SYSTEM_OUT2;
	return value;
}

static void settle(struct pit *pit, uint64_t now)
{
	for (unsigned n = 0; n < PIT_CHANNELS; n++)
		channel_settle(&pit->channel[n], now);
}

static uint8_t read_port(void *dev, uint16_t port)
{
	struct pit *pit = dev;
	uint64_t now = clock_now();

	settle(pit, now);
	if (port == PORT_SYSTEM)
		return read_system(pit, now);
	if (port == PORT_CONTROL)
		return 0xFF; /* write-only */
	return read_count(&pit->channel[port - PORT_CHANNEL_0], now);
}

static void write_port(void *dev, uint16_t port, uint8_t value)
{
	struct pit *pit = dev;
	uint64_t now = clock_now();

	settle(pit, now);
	if (port == PORT_SYSTEM) {
		pit->port61 = value & SYSTEM_WRITTEN;
		set_gate(&pit->channel[2], value & SYSTEM_GATE2, now);
	} else if (port == PORT_CONTROL) {
		write_control(pit, value, now);
	} else {
		write_count(pit, port - PORT_CHANNEL_0, value, now);
	}
}

static uint64_t pit_read(void *dev, uint64_t addr, unsigned size)
{
	return byte_port_read(dev, addr, size, read_port);
}

static void pit_write(void *dev, uint64_t addr, unsigned size, uint64_t value)
{
	byte_port_write(dev, addr, size, value, write_port);
}

int pit_init(struct pit *pit, struct bus *pio, struct irq_line irq, struct timer_queue *queue, struct spinlock *lock)
{
	struct bus_range counters = {
	    .first = PORT_CHANNEL_0, .count = 4, .name = "8254", .dev = pit, .read = pit_read, .write = pit_write};
	struct bus_range system = counters;
	int err;

	system.first = PORT_SYSTEM;
	system.count = 1;
	system.name = "port 0x61";
	memset(pit, 0, sizeof(*pit));
	pit->irq = irq;
	timer_init(&pit->timer, queue, lock, fire);
	pit_reset(pit);
	err = bus_add(pio, &counters);
	if (err)
		return err;
	return bus_add(pio, &system);
}

void pit_reset(struct pit *pit)
{
	timer_cancel(&pit->timer);
	memset(pit->channel, 0, sizeof(pit->channel));
	for (unsigned n = 0; n < PIT_CHANNELS; n++)
		pit->channel[n].access = 3;
	pit->channel[0].gate = true;
	pit->channel[1].gate = true;
	pit->port61 = 0;
	irq_line_set(&pit->irq, false);
}
