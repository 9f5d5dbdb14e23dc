/*
 * The PC around a guest's processors: the chips, the two buses, and how interrupt lines lead to the interrupt
 * controllers. Owned by struct vm; every function is called with the VM's device lock held unless it says otherwise.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/bus.h"
#include "hv/dev/acpi_pm.h"
#include "hv/dev/debug_port.h"
#include "hv/dev/i8042.h"
#include "hv/dev/pci_host.h"
#include "hv/dev/pic.h"
#include "hv/dev/pit.h"
#include "hv/dev/platform.h"
#include "hv/dev/rtc.h"
#include "hv/dev/vga.h"
#include "hv/dev/vioapic.h"
#include "hv/dev/vuart.h"
#include "hv/timer.h"

struct pc {
	struct bus pio, mmio;
	struct platform platform;
	struct vpic pic;
	struct vioapic ioapic;
	struct pit pit;
	struct rtc rtc;
	struct vuart com1;
	struct i8042 i8042;
	struct vga vga;
	struct acpi_pm acpi_pm;
	struct pci_host pci;
	uint8_t intx; /* bit n: INTA + n is asserted */
	struct debug_port debug;
	struct timer vga_timer; /* next look at the text memory while it is being written */
	bool vga_open;		/* text memory is writable; a write may have come since the last look */
};

struct pc_setup {
	struct timer_queue *timers; /* for chips' timers until they are set: timer_set_here() */
	struct spinlock *lock;
	struct apic_bus *apics;
	const volatile uint8_t *vga_text;
	uint32_t *ioapic_page; /* 4 KiB: what the guest reads at the IOAPIC's place */
	uint64_t memory;       /* bytes of RAM below 4 GiB */
	int64_t unix_seconds;  /* time of day now */
	struct platform platform;
	struct byte_sink console;
	void (*pic_changed)(void *ctx, bool intr);
	void *pic_ctx;
	void (*vga_fired)(struct timer *timer);
};

/* Puts the chips on the buses. 0 or the error of bus_add. */
int pc_init(struct pc *pc, const struct pc_setup *setup) MUST_CHECK;
void pc_reset(struct pc *pc);
/* No timer of the chips goes off any more, until one is set again. */
void pc_stop(struct pc *pc);
/* A byte from the console. False: no room yet, offer it again. */
bool pc_type(struct pc *pc, uint8_t byte);
