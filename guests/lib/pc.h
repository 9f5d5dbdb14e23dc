/*
 * The PC around a 64-bit guest: interrupt controllers and timers. 8259A and 8254 data sheets, 82093AA (IOAPIC), SDM
 * Vol. 3A chapter 11 (local APIC).
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "guests/lib/cpu.h"

#define PIC_VECTOR 0x20 /* IRQ n comes as vector 0x20 + n */
#define PIT_HZ	   1193182u

void pic_init(void);		  /* both 8259, all lines masked */
void pic_set_mask(uint16_t mask); /* a set bit: no interrupts */
void pic_eoi(unsigned irq);
uint8_t pic_irr(void); /* of the first 8259: what is requested */

void pit_periodic(unsigned hz); /* channel 0, mode 2 */
void pit_one_shot(unsigned us); /* channel 0, mode 0; at most 54000 */
uint16_t pit_count(void);	/* channel 0 */

/* Waits by counting channel 2 down, without interrupts; answers the TSC ticks that it took. At most 54 ms. */
uint64_t wait_ms(unsigned ms);
/* Waits until *counter is at least n, for at most ms (a multiple of 10). */
bool wait_for(const volatile unsigned *counter, unsigned n, unsigned ms);

#define LAPIC_BASE 0xfee00000u
enum {
	LAPIC_ID = 0x20,
	LAPIC_VERSION = 0x30,
	LAPIC_TPR = 0x80,
	LAPIC_EOI = 0xb0,
	LAPIC_SPURIOUS = 0xf0,
	LAPIC_ICR = 0x300,
	LAPIC_ICR_HIGH = 0x310,
	LAPIC_LVT_TIMER = 0x320,
	LAPIC_TIMER_INITIAL = 0x380,
	LAPIC_TIMER_CURRENT = 0x390,
	LAPIC_TIMER_DIVIDE = 0x3e0,
	LAPIC_SELF_IPI = 0x3f0, /* x2APIC mode only */
};
#define MSR_APIC_BASE  0x1b
#define APIC_BASE_EXTD (1u << 10)
#define APIC_BASE_EN   (1u << 11)
#define LAPIC_MASKED   (1u << 16)
#define LAPIC_PERIODIC (1u << 17)
#define LAPIC_DEADLINE (2u << 17)
#define ICR_SELF       (1u << 18)

/* Registers by their xAPIC offset, in whichever mode the APIC is. */
uint32_t lapic_read(unsigned reg);
void lapic_write(unsigned reg, uint32_t value);
void lapic_enable(void); /* software enable, spurious vector 0xff */
bool lapic_is_x2apic(void);
bool lapic_x2apic(void); /* switches; false: there is no x2APIC mode */
void lapic_send_self(unsigned vector);

uint32_t ioapic_read(unsigned reg);
void ioapic_write(unsigned reg, uint32_t value);
void ioapic_route(unsigned pin, uint32_t low); /* redirection entry to APIC 0; `low` holds vector, mode, mask */
