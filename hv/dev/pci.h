/*
 * One function on the guest's PCI bus: its configuration space, BARs that the guest may move, capabilities, INTx and
 * MSI-X. A device fills it in once (pci_init, pci_add_bar, pci_add_capability, pci_add_msix) and plugs it into the host
 * bridge (pci_host.h). Called with the VM's device lock held, but for doorbells. PCI Local Bus Specification 3.0,
 * chapter 6.
 *
 * Not here: 64-bit BARs, expansion ROMs, MSI without X, power management, PCI Express capabilities.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdatomic.h>

#include "hv/lib/types.h"

struct apic_bus;
struct pci_host;

#define PCI_CONFIG_SIZE 256
#define PCI_BARS	6
#define PCI_MSIX_MAX	32 /* vectors */

/* Configuration registers, and bits of two of them. */
#define PCI_COMMAND	     0x04
#define PCI_STATUS	     0x06
#define PCI_BAR		     0x10 /* six dwords */
#define PCI_CAPABILITIES     0x34
#define PCI_INTERRUPT_LINE   0x3C
#define PCI_INTERRUPT_PIN    0x3D
#define PCI_COMMAND_IO	     BIT(0)
#define PCI_COMMAND_MEMORY   BIT(1)
#define PCI_COMMAND_MASTER   BIT(2)
#define PCI_COMMAND_NO_INTX  BIT(10)
#define PCI_STATUS_INTERRUPT BIT(3)
#define PCI_STATUS_CAP_LIST  BIT(4)

#define PCI_CAP_VENDOR 0x09
#define PCI_CAP_MSIX   0x11

/*
 * A part of a BAR in which a write says no more than where it went: doorbells. `ring` is called on any CPU while a vCPU
 * of the VM runs, without the device lock; what it does must not need it. `offset` is into the bells.
 */
struct pci_bells {
	void (*ring)(void *dev, unsigned offset);
	uint32_t first, size; /* within the BAR, all in one block of it (pci_host.h); size 0: none */
};

/* The registers behind a BAR. `offset` is into the BAR, the access lies inside it; sizes and values as in hv/bus.h. */
struct pci_bar {
	void *dev;
	uint64_t (*read)(void *dev, uint64_t offset, unsigned size);
	void (*write)(void *dev, uint64_t offset, unsigned size, uint64_t value);
	const char *name;
	struct pci_bells bells;
	uint32_t size;	       /* a power of two: 4 to 256 ports, 16 to 64 KiB of memory; 0: no such BAR */
	bool io;	       /* ports; at most one of them a function */
	_Atomic uint32_t base; /* where it answers now; meaningful while it does. Changed under the lock, read by any */
};

struct pci_msix {
	unsigned count;	     /* vectors; 0: no MSI-X */
	unsigned capability; /* where it is in the configuration space */
	uint32_t pending;    /* bit n: vector n was raised and could not be sent yet */
	struct {
		uint64_t address;
		uint32_t data, control; /* control bit 0: masked */
	} entry[PCI_MSIX_MAX];
};

struct pci_device {
	struct pci_host *host; /* NULL: not plugged in */
	unsigned slot;
	uint8_t config[PCI_CONFIG_SIZE];
	uint8_t writable[PCI_CONFIG_SIZE]; /* bits that the guest may change */
	unsigned capability_end;	   /* the next one goes here */
	unsigned last_capability;	   /* its link is what the next one extends */
	struct pci_bar bar[PCI_BARS];
	struct pci_msix msix;
	bool interrupt; /* INTx, before the command register's mask */
};

struct pci_identity {
	uint16_t vendor, device, subsystem_vendor, subsystem;
	uint8_t revision;
	uint32_t class_code; /* 24 bits: class, subclass, interface */
};

/* An empty function with INTA#. */
void pci_init(struct pci_device *p, const struct pci_identity *identity);
/* Before it is plugged in; index below PCI_BARS. */
void pci_add_bar(struct pci_device *p, unsigned index, const struct pci_bar *bar);
/* Appends a capability of `size` bytes, ID and link included, read-only; answers where it is. Panics when full. */
unsigned pci_add_capability(struct pci_device *p, uint8_t id, unsigned size);
/* MSI-X with its table at offset 0 of a BAR of its own, 4 KiB of memory, the pending bits in its upper half. */
void pci_add_msix(struct pci_device *p, unsigned bar, unsigned vectors);

/*
 * As after power-up: it answers in configuration space only (6.2.2). Its BARs are assigned, as a firmware would have
 * done, and answer when the guest's driver switches them on. Keeps its place on the bus.
 */
void pci_reset(struct pci_device *p);

/* Configuration accesses as in struct pci_function (pci_host.h); `dev` is the struct pci_device. */
uint32_t pci_config_read(void *dev, unsigned offset);
void pci_config_write(void *dev, unsigned offset, unsigned size, uint32_t value);

/* Values in its own configuration space, little-endian; for the device itself. */
uint16_t pci_get16(const struct pci_device *p, unsigned offset);
void pci_put16(struct pci_device *p, unsigned offset, uint16_t value);
uint32_t pci_get32(const struct pci_device *p, unsigned offset);
void pci_put32(struct pci_device *p, unsigned offset, uint32_t value);

/* The level of INTA#. */
void pci_set_interrupt(struct pci_device *p, bool level);
/* The guest uses MSI-X, and INTx is silent. */
bool pci_msix_enabled(const struct pci_device *p);
/*
 * Sends vector n, or keeps it pending while it is masked or the function is no bus master. Nothing when n is not a
 * vector or MSI-X is off.
 */
void pci_msix_raise(struct pci_device *p, unsigned n);
/* INTA# is low and no vector pending: a device that is reset interrupts no more. */
void pci_clear_interrupts(struct pci_device *p);
/* May it touch memory and send messages? */
static inline bool pci_is_master(const struct pci_device *p)
{
	return p->config[PCI_COMMAND] & PCI_COMMAND_MASTER;
}
