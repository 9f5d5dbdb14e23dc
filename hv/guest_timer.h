/*
 * The processor's own timer, lent to a vCPU. Vireo needs the timer of the local APIC only while a CPU sleeps: what
 * bounds an entry is VMX's preemption timer. So while a vCPU is loaded whose local APIC is in TSC-deadline mode, the
 * guest sets IA32_TSC_DEADLINE without an exit, and when the timer goes off, the one exit of that interrupt brings the
 * guest its own. Offsetting does not apply to that MSR (SDM Vol. 3C 26.3), hence a guest's TSC is the processor's,
 * until the guest itself moves it. While the vCPU is not loaded its deadline waits in its CPU's queue, as every other
 * timer of a local APIC does (hv/dev/vlapic_timer.c). Without a preemption timer or TSC-deadline mode in the hardware
 * nothing is lent.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/vcpu.h"

/* All for the owner of the vCPU, on its CPU, interrupts off, holding no lock: lending and taking let interrupts in. */

/* Lends, or stops to, as the guest's local APIC and TSC are now: when one of them has changed. vCPU loaded. */
void guest_timer_update(struct vcpu *v);
static inline bool guest_timer_has_changed(const struct vcpu *v)
{
	return v->timer_direct != vlapic_timer_can_hand_over(&v->lapic);
}
/*
 * Lends, if this vCPU sets the timer itself: it was loaded. No effect otherwise, nor when what that depends on has
 * changed, which guest_timer_update() sees to.
 */
void guest_timer_lend(struct vcpu *v);
/* Takes the timer back, if it is this vCPU's, and goes on counting in software: before it is put away. */
void guest_timer_take(struct vcpu *v);
/* The timer that is lent to this vCPU has gone off. From the interrupt's handler. */
void guest_timer_expired(struct vcpu *v);
