/*
 * What the tests of PCI have in common, beside that of all chips: a host bridge on a port bus and a memory bus, a
 * recorder in place of the APIC bus, four interrupt lines that count their edges, and configuration space by ECAM.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "tests/unit/chip_fixture.h"

#include "hv/dev/apic_bus.h"
#include "hv/dev/pci_host.h"
#include "hv/pc_map.h"

static struct bus mmio;
static struct pci_host host;
static struct apic_bus apics;

static bool intx[PCI_INTX];
static unsigned intx_changes[PCI_INTX];

static unsigned messages;
static struct {
	uint8_t dest, vector;
	bool logical;
	enum apic_delivery mode;
} message;

int apic_bus_deliver(struct apic_bus *bus, uint8_t dest, bool logical, enum apic_delivery mode, uint8_t vector,
		     bool level)
{
	assert_ptr_equal(bus, &apics);
	assert_false(level);
	message.dest = dest;
	message.logical = logical;
	message.mode = mode;
	message.vector = vector;
	messages++;
	return 0;
}

/* The ctx is the line's place in the array: its number must be right, too. */
static void set_intx(void *ctx, unsigned number, bool level)
{
	unsigned i = (unsigned)((bool *)ctx - intx);

	assert_int_equal(number, PC_GSI_INTX + i);
	assert_int_not_equal(level, intx[i]);
	intx[i] = level;
	intx_changes[i]++;
}

static int pci_fixture_reset(void)
{
	struct pci_host_setup s = {.pio = &pio, .mmio = &mmio, .platform = &platform, .apics = &apics};

	fixture_reset();
	memset(&mmio, 0, sizeof(mmio));
	memset(intx, 0, sizeof(intx));
	memset(intx_changes, 0, sizeof(intx_changes));
	messages = 0;
	for (unsigned i = 0; i < PCI_INTX; i++)
		s.intx[i] = (struct irq_line){set_intx, &intx[i], PC_GSI_INTX + i};
	return pci_host_init(&host, &s);
}

static uint64_t memory_in(uint64_t addr, unsigned size)
{
	const struct bus_range *r = bus_find(&mmio, addr, size);

	assert_non_null(r);
	return r->read(r->dev, addr, size);
}

static void memory_out(uint64_t addr, unsigned size, uint64_t value)
{
	const struct bus_range *r = bus_find(&mmio, addr, size);

	assert_non_null(r);
	r->write(r->dev, addr, size, value);
}

static uint64_t ecam(unsigned slot, unsigned function, unsigned offset)
{
	return PC_ECAM + (slot << 15 | function << 12 | offset);
}

/* Configuration space of function 0 in a slot. */
static uint32_t config_get(unsigned slot, unsigned offset, unsigned size)
{
	return (uint32_t)memory_in(ecam(slot, 0, offset), size);
}

static void config_set(unsigned slot, unsigned offset, unsigned size, uint32_t value)
{
	memory_out(ecam(slot, 0, offset), size, value);
}

/* Sets and clears bits of the command register. */
static void __attribute__((unused)) command(unsigned slot, uint16_t set, uint16_t clear)
{
	config_set(slot, PCI_COMMAND, 2, (config_get(slot, PCI_COMMAND, 2) | set) & ~(uint32_t)clear);
}

static void __attribute__((unused)) assert_message(unsigned count, uint8_t dest, uint8_t vector)
{
	assert_int_equal(messages, count);
	assert_int_equal(message.dest, dest);
	assert_int_equal(message.vector, vector);
}
