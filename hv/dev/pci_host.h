/*
 * The root of the guest's PCI: bus 0 with the host bridge as 00:00.0, and the three ways into it. Configuration space
 * by mechanism #1 (an address register at port 0xCF8, data at 0xCFC to 0xCFF) and by ECAM, where a dword is a place in
 * memory; and two windows, one of ports and one of memory, in which the functions' BARs answer where the guest has put
 * them. The reset control register lies at port 0xCF9 among the others, so it is here as well.
 * PCI Local Bus Specification 3.0, 3.2.2.3.2; PCI Express 7.2.2 (ECAM); Intel 82441FX and 82371SB data sheets.
 *
 * Called with the VM's device lock held, but for the two that find a doorbell.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/bus.h"
#include "hv/dev/pci.h"
#include "hv/dev/platform.h"
#include "hv/irq.h"

#define PCI_DEVICES 16 /* slots that can be used: what the DSDT's _PRT knows */
#define PCI_INTX    4  /* interrupt lines, shared by all functions */

/*
 * Where doorbells are found without a lock: the window, by blocks of an address, is folded into so many places. Where
 * the firmware puts BARs (pci_host_assign) no two fall together; of two that do, one is found the long way only.
 */
#define PCI_BELL_PLACES 64
#define PCI_BELL_PORTS	64 /* a block */
#define PCI_BELL_MEMORY (64 * KIB)

/* Configuration space of function 0 of a device on bus 0. */
struct pci_function {
	void *dev;
	/* The dword at `offset`, a multiple of 4 below 256. */
	uint32_t (*read)(void *dev, unsigned offset);
	/* 1, 2 or 4 bytes within one dword; `value` has no further bits. */
	void (*write)(void *dev, unsigned offset, unsigned size, uint32_t value);
};

struct pci_host {
	uint32_t address;      /* port 0xCF8 */
	uint8_t reset_control; /* port 0xCF9 */
	const struct platform *platform;
	struct apic_bus *apics;		/* where MSIs go */
	struct irq_line intx[PCI_INTX]; /* INTA to INTD of the bridge */
	uint32_t asserted[PCI_INTX];	/* bit n: the function in slot n asserts it */
	struct bus io, memory;		/* BARs that answer now; range.dev is the struct pci_bar */
	_Atomic(struct pci_bar *) bell_ports[PCI_BELL_PLACES], bell_memory[PCI_BELL_PLACES];
	struct pci_device *device[PCI_DEVICES];	   /* NULL: has no BARs, or nobody is there */
	struct pci_function function[PCI_DEVICES]; /* read == NULL: nobody there, all ones */
};

struct pci_host_setup {
	struct bus *pio, *mmio;
	const struct platform *platform; /* kept; must live as long as the chip */
	struct apic_bus *apics;
	struct irq_line intx[PCI_INTX];
};

/* Bus 0 with the host bridge on it. 0, or the error of bus_add. */
int pci_host_init(struct pci_host *host, const struct pci_host_setup *setup) MUST_CHECK;
void pci_host_reset(struct pci_host *host);
/*
 * Puts a function into the next free slot; `read` and `write` as in struct pci_function, called with `p`
 * (pci_config_read and pci_config_write, or what calls them). -E_NOMEM: the bus is full. `p` must live as long as the
 * bus.
 */
int pci_host_plug(struct pci_host *host, struct pci_device *p, uint32_t (*read)(void *, unsigned),
		  void (*write)(void *, unsigned, unsigned, uint32_t)) MUST_CHECK;

/*
 * The BAR on whose doorbell a write to a port or a guest-physical address falls, or NULL: none, or one that moves just
 * now. *offset is into its bells. Lock-free, for a vCPU of the VM.
 */
static inline const struct pci_bar *pci_bell_at(const struct pci_bar *bar, uint64_t addr, unsigned *offset)
{
	uint64_t at;

	if (!bar)
		return NULL;
	at = addr - atomic_load_explicit(&bar->base, memory_order_relaxed) - bar->bells.first;
	*offset = (unsigned)at;
	return at < bar->bells.size ? bar : NULL;
}
static inline const struct pci_bar *pci_host_port_bell(const struct pci_host *host, uint64_t port, unsigned *offset)
{
	return pci_bell_at(
	    atomic_load_explicit(&host->bell_ports[port / PCI_BELL_PORTS % PCI_BELL_PLACES], memory_order_acquire),
	    port, offset);
}
static inline const struct pci_bar *pci_host_memory_bell(const struct pci_host *host, uint64_t gpa, unsigned *offset)
{
	return pci_bell_at(
	    atomic_load_explicit(&host->bell_memory[gpa / PCI_BELL_MEMORY % PCI_BELL_PLACES], memory_order_acquire),
	    gpa, offset);
}

/* For pci.c: a command register or BAR has changed; INTA# of a slot; where a firmware puts a BAR; its PIC interrupt. */
void pci_host_moved(struct pci_host *host);
void pci_host_set_interrupt(struct pci_host *host, unsigned slot, bool level);
uint32_t pci_host_assign(const struct pci_host *host, unsigned slot, unsigned bar);
uint8_t pci_host_pic_line(unsigned slot);
