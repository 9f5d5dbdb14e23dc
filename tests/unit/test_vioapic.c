/*
 * The IOAPIC on a development host, with a recorder in place of the APIC bus.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/vioapic.c hv/bus.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "hv/dev/vioapic.h"

static struct vioapic io;
static struct apic_bus bus;
static uint32_t page[VIOAPIC_SIZE / 4];

static unsigned sent;
static int answer;
static struct {
	uint8_t dest, vector;
	bool logical, level;
	enum apic_delivery mode;
} last;

int apic_bus_deliver(struct apic_bus *b, uint8_t dest, bool logical, enum apic_delivery mode, uint8_t vector,
		     bool level)
{
	assert_ptr_equal(b, &bus);
	last.dest = dest;
	last.logical = logical;
	last.mode = mode;
	last.vector = vector;
	last.level = level;
	sent++;
	return answer;
}

static int set_up(void **state)
{
	(void)state;
	memset(page, 0x5a, sizeof(page));
	vioapic_init(&io, &bus, page, 9);
	sent = 0;
	answer = 0;
	return 0;
}

/* 82093AA 3.2, and what vioapic.h says of the version. */
static uint32_t selected_register(void)
{
	unsigned pin = (io.select - 0x10u) / 2;

	if (io.select == 0 || io.select == 2)
		return (uint32_t)io.id << 24;
	if (io.select == 1)
		return 0x00170020;
	if (pin >= VIOAPIC_PINS)
		return 0;
	return io.select & 1 ? (uint32_t)(io.entry[pin] >> 32)
			     : (uint32_t)io.entry[pin] | (io.remote_irr >> pin & 1 ? 0x4000 : 0);
}

/* What the guest sees without an exit is what the registers hold; so is what an exit would answer. */
static void page_agrees(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(page); i++) {
		assert_int_equal(page[i], i == 0 ? io.select : i == 4 ? selected_register() : 0);
		assert_int_equal(vioapic_read(&io, VIOAPIC_BASE + 4 * i, 4), page[i]);
	}
}

static uint32_t get(uint8_t index)
{
	vioapic_write(&io, VIOAPIC_BASE, 4, index);
	page_agrees();
	return (uint32_t)vioapic_read(&io, VIOAPIC_BASE + 0x10, 4);
}

static void set(uint8_t index, uint32_t value)
{
	vioapic_write(&io, VIOAPIC_BASE, 4, index);
	vioapic_write(&io, VIOAPIC_BASE + 0x10, 4, value);
}

static void set_entry(unsigned pin, uint64_t entry)
{
	set((uint8_t)(0x11 + 2 * pin), (uint32_t)(entry >> 32));
	set((uint8_t)(0x10 + 2 * pin), (uint32_t)entry);
}

static void registers(void **state)
{
	(void)state;
	assert_int_equal(get(0), 9 << 24);
	assert_int_equal(get(1), 0x00170020);
	set(0, 0xffffffff);
	assert_int_equal(get(0), 0x0f000000);
	assert_int_equal(get(2), 0x0f000000);
	set(1, 0xffffffff);
	assert_int_equal(get(1), 0x00170020);
	assert_int_equal(get(0x10), 0x10000);
	assert_int_equal(get(0x3f), 0);
	set(0x12, 0xffffffff);
	set(0x13, 0xffffffff);
	assert_int_equal(get(0x12), 0x1afff);
	assert_int_equal(get(0x13), 0xff000000);
	set(0x0f, 0xffffffff); /* below the table */
	assert_int_equal(get(0x0f), 0);
	assert_int_equal(get(0x11), 0);
	set(0x40, 0xffffffff); /* beyond it */
	set(0xff, 0xffffffff);
	assert_int_equal(get(0x40), 0);
	assert_int_equal(get(5), 0);
}

static void widths(void **state)
{
	(void)state;
	vioapic_write(&io, VIOAPIC_BASE, 1, 1);
	assert_int_equal(vioapic_read(&io, VIOAPIC_BASE, 4), 1);
	assert_int_equal(vioapic_read(&io, VIOAPIC_BASE + 0x10, 1), 0x20);
	assert_int_equal(vioapic_read(&io, VIOAPIC_BASE + 0x10, 2), 0x20);
	assert_int_equal(vioapic_read(&io, VIOAPIC_BASE + 0x10, 8), 0x170020);
	assert_int_equal(vioapic_read(&io, VIOAPIC_BASE + 0x12, 2), 0x17);
	assert_int_equal(vioapic_read(&io, VIOAPIC_BASE + 0x0e, 4), 0x200000);
	assert_int_equal(vioapic_read(&io, VIOAPIC_BASE + 0xff8, 8), 0);
	vioapic_write(&io, VIOAPIC_BASE, 1, 0x10);
	vioapic_write(&io, VIOAPIC_BASE + 0x10, 2, 0x30);
	assert_int_equal(get(0x10), 0x10000);
}

static void edge(void **state)
{
	(void)state;
	set_entry(4, 0x0200000000000934); /* lowest priority, logical, dest 2 */
	vioapic_set_line(&io, 4, true);
	assert_int_equal(sent, 1);
	assert_int_equal(last.dest, 2);
	assert_int_equal(last.vector, 0x34);
	assert_int_equal(last.mode, APIC_LOWEST);
	assert_true(last.logical);
	assert_false(last.level);
	vioapic_set_line(&io, 4, true);
	assert_int_equal(sent, 1);
	vioapic_set_line(&io, 4, false);
	vioapic_set_line(&io, 4, true);
	assert_int_equal(sent, 2);
	assert_int_equal(get(0x18) & 0x4000, 0);
}

static void masked_edge_is_lost(void **state)
{
	(void)state;
	set_entry(4, 0x10034);
	vioapic_set_line(&io, 4, true);
	set_entry(4, 0x34);
	assert_int_equal(sent, 0);
}

static void level_until_eoi(void **state)
{
	(void)state;
	set_entry(10, 0x8051);
	vioapic_set_line(&io, 10, true);
	assert_int_equal(sent, 1);
	assert_true(last.level);
	assert_int_equal(get(0x24), 0xc051); /* Remote IRR */
	vioapic_set_line(&io, 10, false);
	vioapic_set_line(&io, 10, true);
	assert_int_equal(sent, 1);
	vioapic_eoi(&io, 0x52); /* another's */
	assert_int_equal(sent, 1);
	vioapic_eoi(&io, 0x51); /* still high: again */
	assert_int_equal(sent, 2);
	vioapic_set_line(&io, 10, false);
	vioapic_eoi(&io, 0x51);
	assert_int_equal(sent, 2);
	assert_int_equal(get(0x24), 0x8051);
}

static void masked_level_waits(void **state)
{
	(void)state;
	set_entry(10, 0x18051);
	vioapic_set_line(&io, 10, true);
	assert_int_equal(sent, 0);
	set_entry(10, 0x8051);
	assert_int_equal(sent, 1);
	set_entry(10, 0x18051);
	vioapic_eoi(&io, 0x51);
	assert_int_equal(sent, 1);
	set_entry(10, 0x8051);
	assert_int_equal(sent, 2);
}

static void eoi_register(void **state)
{
	(void)state;
	set_entry(10, 0x8051);
	set_entry(11, 0x8051); /* shares the vector */
	vioapic_set_line(&io, 10, true);
	vioapic_set_line(&io, 11, true);
	vioapic_set_line(&io, 10, false);
	assert_int_equal(sent, 2);
	vioapic_write(&io, VIOAPIC_BASE + 0x40, 4, 0x51);
	assert_int_equal(sent, 3); /* 11 again */
	assert_int_equal(get(0x24) & 0x4000, 0);
	assert_int_equal(get(0x26) & 0x4000, 0x4000);
}

static void edge_mode_clears_remote_irr(void **state)
{
	(void)state;
	set_entry(10, 0x8051);
	vioapic_set_line(&io, 10, true);
	vioapic_set_line(&io, 10, false);
	set(0x24, 0x10051);
	set(0x24, 0x18051);
	assert_int_equal(get(0x24), 0x18051);
}

static void refused_level_is_not_held(void **state)
{
	(void)state;
	answer = -E_NOENT;
	set_entry(10, 0x8051);
	vioapic_set_line(&io, 10, true);
	assert_int_equal(get(0x24), 0x8051);
}

static void bad_pin_and_attach(void **state)
{
	static struct bus mmio;

	(void)state;
	vioapic_set_line(&io, 24, true);
	vioapic_set_line(&io, ~0U, true);
	assert_int_equal(io.line, 0);
	memset(&mmio, 0, sizeof(mmio));
	assert_int_equal(vioapic_attach(&io, &mmio), 0);
	assert_int_equal(vioapic_attach(&io, &mmio), -E_EXIST);
	assert_ptr_equal(bus_find(&mmio, 0xfec00010, 4)->dev, &io);
}

static void reset(void **state)
{
	(void)state;
	set_entry(10, 0x8051);
	vioapic_set_line(&io, 10, true);
	vioapic_reset(&io);
	assert_int_equal(get(0x24), 0x10000);
	set_entry(10, 0x8051); /* the line is still high */
	assert_int_equal(sent, 2);
}

/* Each kind of change, while any of the registers is the selected one. */
static void page_follows(void **state)
{
	for (unsigned select = 0; select < 0x100; select++) {
		set_up(state);
		page_agrees();
		set_entry(10, 0x0200000000008051);
		vioapic_write(&io, VIOAPIC_BASE, 1, select);
		page_agrees();
		vioapic_set_line(&io, 10, true); /* Remote IRR */
		page_agrees();
		vioapic_eoi(&io, 0x51); /* and again, since the line is high */
		page_agrees();
		vioapic_set_line(&io, 10, false);
		vioapic_eoi(&io, 0x51);
		page_agrees();
		vioapic_set_line(&io, 10, true);
		vioapic_set_line(&io, 10, false);
		vioapic_write(&io, VIOAPIC_BASE + 0x40, 4, 0x51);
		page_agrees();
		vioapic_set_line(&io, 10, true);
		vioapic_write(&io, VIOAPIC_BASE + 0x10, 2, 0); /* ignored */
		page_agrees();
		vioapic_write(&io, VIOAPIC_BASE + 0x10, 4, 0x05010051); /* an edge: no Remote IRR */
		page_agrees();
		vioapic_write(&io, VIOAPIC_BASE + 0x10, 4, 0x00008051); /* a level, and it is high */
		page_agrees();
		vioapic_reset(&io);
		page_agrees();
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, set_up)
	const struct CMUnitTest tests[] = {
	    T(registers),
	    T(widths),
	    T(edge),
	    T(masked_edge_is_lost),
	    T(level_until_eoi),
	    T(masked_level_waits),
	    T(eoi_register),
	    T(edge_mode_clears_remote_irr),
	    T(refused_level_is_not_held),
	    T(bad_pin_and_attach),
	    T(reset),
	    T(page_follows),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
