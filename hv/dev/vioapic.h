/*
 * The guest's IOAPIC: 24 pins at 0xfec00000, version 0x20. Called through the memory bus and by the VM's interrupt
 * lines, with the device lock held; messages go to the apic_bus. Intel 82093AA data sheet, and for the EOI register
 * the "I/O APIC" chapter of Intel's chipset data sheets.
 *
 * Version 0x20 and not 0x11, since it has the EOI register: a guest clears Remote IRR with one write where it would
 * otherwise need three (mask + edge, level, unmask), and EOI-broadcast suppression, which our local APIC has, needs it.
 *
 * Reads cause no exit: the guest has a page of memory at these addresses, read-only, in which IOREGSEL and the register
 * that it selects are kept up to date with every change. Writes exit and come here.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/bus.h"
#include "hv/dev/apic_bus.h"
#include "hv/pc_map.h"

#define VIOAPIC_BASE PC_IOAPIC_ADDRESS
#define VIOAPIC_SIZE 0x1000ULL
#define VIOAPIC_PINS PC_IOAPIC_PINS

struct vioapic {
	struct apic_bus *bus;
	uint32_t *page;		      /* what the guest reads */
	uint8_t select;		      /* IOREGSEL */
	uint8_t id;		      /* 4 bits */
	uint32_t line;		      /* bit n: pin n is high */
	uint32_t remote_irr;	      /* bit n: pin n's level interrupt was sent and its EOI is outstanding */
	uint64_t entry[VIOAPIC_PINS]; /* redirection table without the read-only bits */
};

/* All pins masked and low. `page`, VIOAPIC_SIZE bytes, is the caller's and outlives the IOAPIC. */
void vioapic_init(struct vioapic *io, struct apic_bus *bus, uint32_t *page, uint8_t id);
int vioapic_attach(struct vioapic *io, struct bus *mmio) MUST_CHECK; /* -E_* of bus_add */
void vioapic_reset(struct vioapic *io);				     /* keeps the lines' levels */
void vioapic_set_line(struct vioapic *io, unsigned pin, bool level); /* pins above 23 are ignored */
void vioapic_eoi(struct vioapic *io, uint8_t vector);		     /* EOI broadcast of a local APIC */

uint64_t vioapic_read(void *dev, uint64_t addr, unsigned size);
void vioapic_write(void *dev, uint64_t addr, unsigned size, uint64_t value);
