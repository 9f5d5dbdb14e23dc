/*
 * ACPI fixed hardware: PM1a event and control registers and the PM timer (the reset register is in pci_host.c). There
 * is no SMI command port: SCI_EN is always 1, so the guest never has to ask for ACPI mode. ACPI 6.4 section 4.8. Ports
 * and the S5 value are in hv/pc_map.h, shared with the tables (hv/load/acpi.c).
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/bus.h"
#include "hv/dev/platform.h"
#include "hv/irq.h"
#include "hv/timer.h"

#define ACPI_PM_TIMER_HZ 3579545u

struct acpi_pm {
	uint16_t status;  /* PM1_STS as latched; TMR_STS is brought up to date when looked at */
	uint16_t enable;  /* PM1_EN */
	uint16_t control; /* PM1_CNT: SLP_TYP, BM_RLD; SCI_EN is added when read */
	uint64_t start;	  /* clock_now() at which the PM timer was 0 */
	uint64_t halves;  /* how many times the timer's top bit had changed when TMR_STS was brought up to date */
	struct irq_line sci;
	struct timer timer; /* next change of the top bit, armed while TMR_EN is on */
	const struct platform *platform;
};

/* 0, or the error of bus_add. `platform` is kept; it must live as long as the chip. */
int acpi_pm_init(struct acpi_pm *pm, struct bus *pio, struct irq_line sci, struct timer_queue *queue,
		 struct spinlock *lock, const struct platform *platform) MUST_CHECK;

/* No timer is armed afterwards. */
void acpi_pm_reset(struct acpi_pm *pm);

/* The power button was pressed: the guest is told by an SCI when it asked to be. Device lock held. */
void acpi_pm_power_button(struct acpi_pm *pm);
