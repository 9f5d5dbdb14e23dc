/*
 * The way into PCI configuration space, mechanism #1: an address register at port 0xCF8, data at 0xCFC to 0xCFF, and on
 * bus 0 the host bridge as 00:00.0. The reset control register lies among these ports at 0xCF9, so it is here as well.
 * PCI Local Bus Specification 3.0, 3.2.2.3.2; Intel 82441FX (bridge) and 82371SB (reset control) data sheets.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/bus.h"
#include "hv/dev/platform.h"

#define PCI_DEVICES 32

/* Configuration space of function 0 of a device on bus 0. Called with the VM's device lock held. */
struct pci_function {
	void *dev;
	/* The dword at `offset`, a multiple of 4 below 256. Has no side effect. */
	uint32_t (*read)(void *dev, unsigned offset);
	/* 1, 2 or 4 bytes within one dword; `value` has no further bits. */
	void (*write)(void *dev, unsigned offset, unsigned size, uint32_t value);
};

struct pci_host {
	uint32_t address;      /* port 0xCF8 */
	uint8_t reset_control; /* port 0xCF9 */
	const struct platform *platform;
	struct pci_function function[PCI_DEVICES]; /* read == NULL: nobody there, all ones */
};

/* Bus 0 with the host bridge on it. 0, or the error of bus_add. `platform` is kept; it must live as long as the chip.
 */
int pci_host_init(struct pci_host *host, struct bus *pio, const struct platform *platform) MUST_CHECK;
void pci_host_reset(struct pci_host *host);
