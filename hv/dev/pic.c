/*
 * The guest's 8259A pair. Called with the device lock held; owns nothing but its registers. Where PC chipsets differ
 * from the 8259A they are followed: ELCR takes the place of ICW1's level bit, ICW1 clears the in-service bits too, and
 * a rising edge stays latched until acknowledged even if the line falls. Not here: the 8080 mode (ICW4 bit 0 clear),
 * other cascade wirings than slave on IRQ 2 (ICW3 is accepted and ignored). Intel 8259A data sheet.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/dev/pic.h"
#include "hv/lib/string.h"

#define CASCADE	    2
#define CASCADE_BIT (1U << CASCADE)

/* IRQ 0, 1, 2, 8 and 13 are edge-triggered always (82371SB, ELCR1 and ELCR2). */
static const uint8_t elcr_writable[2] = {0xf8, 0xde};

static uint8_t requests(const struct vpic_chip *c)
{
	return (uint8_t)((c->latch & ~c->elcr) | (c->line & c->elcr));
}

/* How far input `n` is from the top: 0 is the highest priority. */
static unsigned rank(const struct vpic_chip *c, unsigned n)
{
	return (n - c->bottom - 1U) & 7;
}

/* The set bit of highest priority, or -1. */
static int highest(const struct vpic_chip *c, uint8_t bits)
{
	for (unsigned i = 1; i <= 8; i++) {
		unsigned n = (c->bottom + i) & 7;
		if (bits & 1U << n)
			return (int)n;
	}
	return -1;
}

/* The input that a chip asks its interrupt for, or -1. */
static int pick(const struct vpic_chip *c, bool is_master)
{
	int request = highest(c, (uint8_t)(requests(c) & ~c->imr));
	int serving = highest(c, (uint8_t)(c->special_mask ? c->isr & ~c->imr : c->isr));

	if (request < 0 || c->step != PIC_READY)
		return -1;
	if (serving < 0 || rank(c, (unsigned)request) < rank(c, (unsigned)serving))
		return request;
	/* Special fully nested mode: a more urgent input of the slave may come through while one is in service. */
	if (is_master && c->fully_nested && request == CASCADE && serving == CASCADE)
		return request;
	return -1;
}

/* The slave's output is the master's input 2, a level by its nature: the chip drops it only when it has no request. */
static void update(struct vpic *pic)
{
	struct vpic_chip *master = &pic->chip[0];
	bool slave = pick(&pic->chip[1], false) >= 0;

	master->latch = (uint8_t)(slave ? master->latch | CASCADE_BIT : master->latch & ~CASCADE_BIT);
	bool intr = pick(master, true) >= 0;
	if (intr == pic->intr)
		return;
	pic->intr = intr;
	if (pic->intr_changed)
		pic->intr_changed(pic->ctx, intr);
}

void vpic_set_line(struct vpic *pic, unsigned irq, bool level)
{
	struct vpic_chip *c = &pic->chip[irq >> 3 & 1];
	uint8_t bit = (uint8_t)(1U << (irq & 7));

	if (irq > 15 || irq == CASCADE || level == !!(c->line & bit))
		return;
	c->line ^= bit;
	if (level)
		c->latch |= bit;
	update(pic);
}

/* The second INTA pulse: into service, or done already with automatic EOI. */
static void accept(struct vpic_chip *c, unsigned n)
{
	c->latch &= (uint8_t) ~(1U << n);
	if (!c->auto_eoi)
		c->isr |= (uint8_t)(1U << n);
	else if (c->rotate_auto_eoi)
		c->bottom = (uint8_t)n;
}

/* Without a request a chip answers as if for its input 7, and nothing comes into service. */
static int acknowledge_chip(struct vpic_chip *c, bool is_master)
{
	int n = pick(c, is_master);

	if (n < 0)
		return 7;
	accept(c, (unsigned)n);
	return n;
}

int vpic_acknowledge(struct vpic *pic)
{
	int from_slave = pick(&pic->chip[0], true) == CASCADE;
	int n = acknowledge_chip(&pic->chip[0], true);
	int vector = pic->chip[0].base + n;

	if (from_slave)
		vector = pic->chip[1].base + acknowledge_chip(&pic->chip[1], false);
	update(pic);
	return vector;
}

/* ICW1 to ICW4: data sheet, "Initialization Command Words". */
static void begin_init(struct vpic_chip *c, uint8_t icw1)
{
	c->latch = c->imr = c->isr = 0;
	c->bottom = 7;
	c->auto_eoi = c->rotate_auto_eoi = c->special_mask = c->fully_nested = false;
	c->poll = c->read_isr = false;
	c->single = icw1 & 2;
	c->expect_icw4 = icw1 & 1;
	c->step = PIC_ICW2;
}

static void continue_init(struct vpic_chip *c, uint8_t value)
{
	uint8_t after = c->expect_icw4 ? PIC_ICW4 : PIC_READY;

	switch (c->step) {
	case PIC_ICW2:
		c->base = value & 0xf8;
		c->step = c->single ? after : PIC_ICW3;
		break;
	case PIC_ICW3:
		c->step = after;
		break;
	default:
		c->auto_eoi = value & 2;
		c->fully_nested = value & 0x10;
		c->step = PIC_READY;
		break;
	}
}

static void end_interrupt(struct vpic_chip *c, int n, bool rotate)
{
	if (n < 0)
		return;
	c->isr &= (uint8_t) ~(1U << n);
	if (rotate)
		c->bottom = (uint8_t)n;
}

/* OCW2: bits 7 to 5 are R, SL and EOI. In special mask mode a masked level isn't reached by the non-specific EOI. */
static void write_ocw2(struct vpic_chip *c, uint8_t value)
{
	int n = value & 7;
	int top = highest(c, (uint8_t)(c->special_mask ? c->isr & ~c->imr : c->isr));

	switch (value >> 5) {
	case 0:
	case 4:
		c->rotate_auto_eoi = value & 0x80;
		break;
	case 1:
	case 5:
		end_interrupt(c, top, value & 0x80);
		break;
	case 3:
	case 7:
		end_interrupt(c, n, value & 0x80);
		break;
	case 6:
		c->bottom = (uint8_t)n;
		break;
	default: /* 2: no operation */
		break;
	}
}

static void write_ocw3(struct vpic_chip *c, uint8_t value)
{
	if (value & 0x40)
		c->special_mask = value & 0x20;
	if (value & 4)
		c->poll = true;
	if (value & 2)
		c->read_isr = value & 1;
}

static void write_command(struct vpic_chip *c, uint8_t value)
{
	if (value & 0x10)
		begin_init(c, value);
	else if (value & 8)
		write_ocw3(c, value);
	else
		write_ocw2(c, value);
}

/* A read after the poll command stands for the INTA cycle of this chip alone. */
static uint8_t read_poll(struct vpic *pic, unsigned which)
{
	struct vpic_chip *c = &pic->chip[which];
	int n = pick(c, which == 0);

	c->poll = false;
	if (n < 0)
		return 0;
	accept(c, (unsigned)n);
	update(pic);
	return (uint8_t)(0x80 | n);
}

static uint8_t read_byte(struct vpic *pic, uint64_t port)
{
	unsigned which = port == 0x4d0 || port == 0x4d1 ? port & 1 : port >> 7 & 1;
	struct vpic_chip *c = &pic->chip[which];

	if (port >= 0x4d0)
		return c->elcr;
	if (c->poll)
		return read_poll(pic, which);
	if (port & 1)
		return c->imr;
	return c->read_isr ? c->isr : requests(c);
}

static void write_byte(struct vpic *pic, uint64_t port, uint8_t value)
{
	unsigned which = port >= 0x4d0 ? port & 1 : port >> 7 & 1;
	struct vpic_chip *c = &pic->chip[which];

	if (port >= 0x4d0)
		c->elcr = value & elcr_writable[which];
	else if (!(port & 1))
		write_command(c, value);
	else if (c->step != PIC_READY)
		continue_init(c, value);
	else
		c->imr = value;
	update(pic);
}

/* The chips are 8 bits wide; the chipset splits wider accesses. */
uint64_t vpic_read(void *dev, uint64_t port, unsigned size)
{
	uint64_t value = 0;

	if (size == 1) /* nearly always */
		return read_byte(dev, port);
	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)read_byte(dev, port + i) << (i * 8);
	return value;
}

void vpic_write(void *dev, uint64_t port, unsigned size, uint64_t value)
{
	for (unsigned i = 0; i < size; i++)
		write_byte(dev, port + i, (uint8_t)(value >> (i * 8)));
}

/* Masked until the guest initialises them, as firmware leaves the chips. */
void vpic_reset(struct vpic *pic)
{
	for (unsigned i = 0; i < 2; i++) {
		struct vpic_chip *c = &pic->chip[i];
		uint8_t line = c->line;

		memset(c, 0, sizeof(*c));
		c->line = line;
		c->imr = 0xff;
		c->bottom = 7;
		c->base = i ? 0x70 : 0x08; /* where a PC's firmware puts them */
	}
	update(pic);
}

void vpic_init(struct vpic *pic, void (*intr_changed)(void *ctx, bool level), void *ctx)
{
	memset(pic, 0, sizeof(*pic));
	pic->intr_changed = intr_changed;
	pic->ctx = ctx;
	vpic_reset(pic);
}

int vpic_attach(struct vpic *pic, struct bus *ports)
{
	static const uint16_t first[] = {0x20, 0xa0, 0x4d0};

	for (unsigned i = 0; i < ARRAY_SIZE(first); i++) {
		struct bus_range range = {.first = first[i],
					  .count = 2,
					  .name = i < 2 ? "pic" : "elcr",
					  .dev = pic,
					  .read = vpic_read,
					  .write = vpic_write};
		int error = bus_add(ports, &range);
		if (error)
			return error;
	}
	return 0;
}
