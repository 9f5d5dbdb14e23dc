/*
 * Exits that are about interrupts: the host's own, windows that opened, timers that ran out, and the parts of APICv
 * that the processor leaves to software. SDM Vol. 3C chapter 30.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/insn.h"
#include "arch/x86/trap.h"
#include "hv/exit/early.h"
#include "hv/exit/table.h"
#include "hv/vm.h"

/* The exit has acknowledged it, as the IDT's gate would have: only the handler is left to be called. */
enum outcome exit_external_interrupt(struct vcpu *v, const struct exit *exit)
{
	(void)exit;
	irq_handle(virt_exit_interrupt_info() & 0xff);
	early_interrupt_check(v);
	return OUTCOME_RETRY;
}

/* The guest can take an interrupt or NMI now: choose again. */
enum outcome exit_window(struct vcpu *v, const struct exit *exit)
{
	(void)exit;
	vcpu_look_again(v);
	return OUTCOME_RETRY;
}

/* The run loop looks at the clock before each entry. */
enum outcome exit_timer(struct vcpu *v, const struct exit *exit)
{
	(void)exit;
	early_interrupt_check(v);
	return OUTCOME_RETRY;
}

/* A trap after MOV to CR8 or a write to the TPR: the instruction is over. */
enum outcome exit_tpr_threshold(struct vcpu *v, const struct exit *exit)
{
	(void)exit;
	pv_take_eoi(v);
	vlapic_update_ppr(&v->lapic);
	vcpu_look_again(v);
	return OUTCOME_RETRY;
}

/* A trap: the processor has completed the EOI of a level-triggered vector; the IOAPIC must hear of it. */
enum outcome exit_eoi(struct vcpu *v, const struct exit *exit)
{
	(void)exit;
	vlapic_eoi_vector(&v->lapic, (uint8_t)virt_exit_qualification());
	return OUTCOME_RETRY;
}

/* A trap: the value is in the register page, the side effects are ours (SDM Vol. 3C 30.4.3.3). */
enum outcome exit_apic_write(struct vcpu *v, const struct exit *exit)
{
	(void)exit;
	vlapic_apic_write(&v->lapic, (uint32_t)virt_exit_qualification() & 0xfff);
	vcpu_look_again(v);
	return OUTCOME_RETRY;
}
