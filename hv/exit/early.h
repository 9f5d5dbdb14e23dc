/*
 * A virtual interrupt that came too early. Bochs (2.7, with virtual-interrupt delivery), when one of the machine's own
 * interrupts comes in while a virtual one is pending, hands the guest the virtual one first without looking at its IF:
 * Linux is then interrupted inside of spin_lock_irqsave() or between SWAPGS and IRET. The machine's interrupt exits
 * right behind that, before the handler's first instruction, so the delivery can be taken back here. A processor that
 * does what SDM Vol. 3C 30.2.2 says never pays more for this than a look at virt_features()->early_interrupts.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/vcpu.h"

/* early_interrupt_check() where virt_features()->early_interrupts is set. */
void early_interrupt_look(struct vcpu *v);

/*
 * After an exit that may have come right behind a delivery: takes it back if the frame on the stack says that IF was
 * clear. Only in 64-bit mode at privilege level 0, where kernels clear IF; others live with what Bochs does. Not seen
 * if the delivery itself exits, on a stack without memory behind it. An NMI may exit before the interrupt does, and
 * must look, too: the next entry is one with IF 0, from which Bochs lets no interrupt exit. Owner only, vCPU loaded.
 */
static inline void early_interrupt_check(struct vcpu *v)
{
	if (virt_features()->early_interrupts)
		early_interrupt_look(v);
}
