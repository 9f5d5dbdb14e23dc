/*
 * The wire between a VM's local APICs, its IOAPIC and whatever sends MSIs: who is addressed by a destination, and the
 * few things that reach a vCPU otherwise than as a vector (NMI, INIT, start-up). Filled in once at VM creation, read
 * without a lock from then on; every function here may be called from any CPU.
 * SDM Vol. 3A ch. 11 "Advanced Programmable Interrupt Controller", 11.6 and 11.12.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

#define APIC_BUS_MAX	    32		/* one bit of a 32-bit mask for each local APIC */
#define APIC_DEST_BROADCAST 0xffffffffU /* 8-bit senders say 0xff */

/* SDM Vol. 3A 11.6.1, figure 11-12; the same codes are used by LVT entries, IOAPIC entries and MSI data. */
enum apic_delivery {
	APIC_FIXED = 0,
	APIC_LOWEST = 1,
	APIC_SMI = 2,
	APIC_NMI = 4,
	APIC_INIT = 5,
	APIC_STARTUP = 6,
	APIC_EXTINT = 7,
};

enum apic_signal {
	APIC_SIGNAL_KICK,    /* something was posted: wake the vCPU or make it exit, so that it runs vlapic_sync() */
	APIC_SIGNAL_NMI,     /* pend an NMI */
	APIC_SIGNAL_INIT,    /* the vCPU calls vlapic_reset(v, true) and waits for a start-up */
	APIC_SIGNAL_STARTUP, /* start at vector << 12 if waiting; otherwise nothing */
	APIC_SIGNAL_TIMER,   /* the vCPU calls vlapic_timer_expired() */
};

struct vlapic;

struct apic_bus {
	unsigned count;
	struct vlapic *lapic[APIC_BUS_MAX]; /* the index is the APIC ID */
	uint8_t phys_bits;		    /* the guest's MAXPHYADDR, 32 to 52: what IA32_APIC_BASE may hold */
	_Atomic uint32_t turn;		    /* who is asked first at the next lowest-priority delivery */
	void *ctx;
	/* Called from any CPU, possibly with the device lock held, possibly for the caller's own vCPU. */
	void (*signal)(void *ctx, unsigned index, enum apic_signal what, uint8_t vector);
	/* A level-triggered vector was completed: for vioapic_eoi(). Called on the vCPU's CPU without locks. */
	void (*eoi)(void *ctx, uint8_t vector);
};

/*
 * Deliver a message with an 8-bit destination (IOAPIC, MSI address bits 19:12), where 0xff addresses all. `level` says
 * that the vector's EOI is to be broadcast. 0; -E_NOENT when nobody accepts it; -E_INVAL for a vector below 16, which
 * the receivers note in their ESR; -E_NOTSUP for modes that such senders don't have here (SMI, start-up, ExtINT).
 */
int apic_bus_deliver(struct apic_bus *bus, uint8_t dest, bool logical, enum apic_delivery mode, uint8_t vector,
		     bool level);

/* The same for a set of local APICs already chosen; start-up is allowed. Bit n of `targets` is APIC ID n. */
int apic_bus_deliver_to(struct apic_bus *bus, uint32_t targets, enum apic_delivery mode, uint8_t vector, bool level);

/* The local APICs that a destination addresses; broadcast is APIC_DEST_BROADCAST only. SDM Vol. 3A 11.6.2, 11.12.10. */
uint32_t apic_bus_targets(const struct apic_bus *bus, uint32_t dest, bool logical);
