/* The processor's timer as a vCPU's; see guest_timer.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/guest_timer.h"

#include "arch/x86/insn.h"
#include "arch/x86/lapic.h"
#include "hv/clock.h"
#include "hv/exit/msr.h"
#include "hv/pcpu.h"
#include "hv/trace.h"

/*
 * What was set for the CPU's sleep may have gone off unheard: its interrupt comes now, before it could be the guest's.
 * `armed` does not tell: the loop forgets what is due (run_due), and an interrupt that comes late what was set after.
 */
static void stop_own(struct pcpu *p)
{
	p->armed = TIMER_NEVER;
	lapic_timer_set(TIMER_NEVER);
	cpu_take_interrupts();
}

void guest_timer_lend(struct vcpu *v)
{
	struct pcpu *p = this_pcpu();
	uint64_t deadline;

	if (!v->timer_direct || guest_timer_has_changed(v))
		return;
	stop_own(p);
	deadline = vlapic_timer_hand_over(&v->lapic);
	p->timer_user = v;
	lapic_timer_set(deadline ? deadline : TIMER_NEVER);
}

/*
 * One that went off after the last exit left 0 behind and its interrupt pending, which is still this vCPU's; so is that
 * of one that goes off just now. The clock would not tell: the write that stops the timer does not serialise (SDM Vol.
 * 2, WRMSR), so RDTSC may come before it.
 */
void guest_timer_take(struct vcpu *v)
{
	struct pcpu *p = this_pcpu();
	uint64_t deadline;

	if (p->timer_user != v)
		return;
	deadline = lapic_timer_take();
	cpu_take_interrupts();
	p->timer_user = NULL;
	vlapic_timer_take_over(&v->lapic, deadline);
}

void guest_timer_update(struct vcpu *v)
{
	if (!virt_features()->preemption_timer || !lapic_timer_is_deadline())
		return;
	guest_timer_take(v);
	v->timer_direct = vlapic_timer_can_hand_over(&v->lapic);
	virt_set_msr_bitmap(msr_bitmap(v->apic_mode == VIRT_APIC_X2APIC, v->timer_direct));
	guest_timer_lend(v);
}

/* One interrupt is enough for all deadlines that have passed by now: the guest has not run since the last was set. */
void guest_timer_expired(struct vcpu *v)
{
	lapic_timer_went_off();
	trace(TRACE_TIMER, v, 0, clock_now());
	vlapic_timer_raise(&v->lapic);
}
