/*
 * An interrupt line from a device to the VM's interrupt controllers. The VM decides where it leads (8259 and IOAPIC
 * both); the device only says high or low. Called with the VM's device lock held.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

struct irq_line {
	void (*set)(void *ctx, unsigned line, bool level);
	void *ctx;
	unsigned line; /* ISA IRQ number, 0 to 15; 16 to 19: INTA to INTD of the PCI bus */
};

static inline void irq_line_set(const struct irq_line *l, bool level)
{
	l->set(l->ctx, l->line, level);
}
