/*
 * The host's local APIC, as xAPIC or x2APIC, whichever firmware left on; the enable bit is never touched.
 * Used by smp.c, trap.c, and hv for timers and kicks. SDM Vol. 3A chapter 11.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

/* Maps the registers (xAPIC) and sets up the BSP's. -E_NOTSUP: firmware left it disabled. -E_NOMEM. */
int lapic_init(void) MUST_CHECK;
/* On every CPU: all local vectors masked, spurious vector, task priority 0. -E_NOTSUP when its mode is not the BSP's.
 */
int lapic_init_this(void) MUST_CHECK;
uint32_t lapic_id(void);
void lapic_eoi(void);
/* Is an interrupt of this CPU's with that vector (16 to 255) waiting for its EOI? */
bool lapic_in_service(unsigned vector);

void lapic_send_ipi(uint32_t apic_id, uint8_t vector);
void lapic_send_nmi(uint32_t apic_id);
void lapic_send_nmi_to_others(void); /* all but self */
void lapic_send_init(uint32_t apic_id);
void lapic_send_startup(uint32_t apic_id, uint8_t page); /* real-mode start at page * 4096 */

/*
 * One-shot timer of this CPU, raising VECTOR_TIMER at or shortly after the TSC reaches `tsc_deadline`; one that is past
 * fires at once; ~0 stops it. Replaces the previous deadline. In count mode a far deadline fires early (after 2^32
 * counts): the handler looks at the clock and sets it again.
 */
void lapic_timer_set(uint64_t tsc_deadline);
bool lapic_timer_is_deadline(void); /* TSC-deadline mode in use */
/* Only then: the deadline that the timer is set to, 0 when it has gone off or was set to none. It is stopped. */
uint64_t lapic_timer_take(void);
/* Only then, when the timer's interrupt has come: a deadline that has passed reads 0, also on Bochs, which leaves it.
 */
void lapic_timer_went_off(void);

/* For tsc.c: let the counter run, read how far it went since, then tell its rate and stop it. No-ops in deadline mode.
 */
void lapic_timer_start_count(void);
uint32_t lapic_timer_read_count(void);
void lapic_timer_set_rate(uint64_t counts_hz, uint64_t tsc_hz);
