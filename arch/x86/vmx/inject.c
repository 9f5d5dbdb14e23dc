/*
 * Events for the next entry: what was being delivered when an exit cut in goes again first; exceptions merge as the
 * processor would merge them. SDM Vol. 3C 27.6 (injection), 28.2.4 (vectoring information), Vol. 3A 6.15 (double
 * fault).
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/insn.h"
#include "arch/x86/vmx/vmx.h"

/* The event is in the VMCS; v->vectoring remembers what, until the guest has been entered with it. */
static void inject(struct virt_vcpu *v, uint32_t info, uint32_t error)
{
	if (info & INTR_INFO_ERROR_CODE)
		vmcs_write(VMCS_ENTRY_EXCEPTION_ERROR_CODE, error);
	vmcs_write(VMCS_ENTRY_INTR_INFO, info);
	v->vectoring = info;
}

static bool is_software(uint32_t info)
{
	uint32_t type = info & INTR_INFO_TYPE_MASK;

	return type == INTR_INFO_SW_INT || type == INTR_INFO_PRIV_SW_EXC || type == INTR_INFO_SW_EXCEPTION;
}

void vmx_requeue_vectoring(struct virt_vcpu *v)
{
	uint32_t info = (uint32_t)vmcs_read(VMCS_IDT_VECTORING_INFO);
	uint64_t state;

	if (!(info & INTR_INFO_VALID))
		return;
	if (is_software(info))
		vmcs_write(VMCS_ENTRY_INSTRUCTION_LENGTH, vmcs_read(VMCS_EXIT_INSTRUCTION_LENGTH));
	if ((info & INTR_INFO_TYPE_MASK) == INTR_INFO_NMI) {
		/* Its first delivery blocked NMIs; an entry that injects an NMI must find them unblocked (27.3.1.5). */
		state = vmcs_read(VMCS_GUEST_INTERRUPTIBILITY);
		vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, state & ~(uint64_t)INTERRUPTIBILITY_NMI);
	}
	inject(v, info & ~INTR_INFO_NMI_UNBLOCKED, (uint32_t)vmcs_read(VMCS_IDT_VECTORING_ERROR_CODE));
}

bool virt_event_pending(const struct virt_vcpu *v)
{
	return v->vectoring;
}

/* SDM Vol. 3A Table 6-4. */
static bool is_contributory(unsigned vector)
{
	return vector == VECTOR_DE || (vector >= VECTOR_TS && vector <= VECTOR_GP) || vector == VECTOR_CP;
}

/* SDM Vol. 3A Table 6-5: does `second`, raised while `first` was delivered, make a double fault? */
static bool makes_double_fault(unsigned first, unsigned second)
{
	if (first == VECTOR_PF)
		return second == VECTOR_PF || is_contributory(second);
	return is_contributory(first) && is_contributory(second);
}

bool virt_inject_exception(struct virt_vcpu *v, unsigned vector, bool has_error, uint32_t error)
{
	/* Interrupts and software events under delivery are benign: the exception goes first and they are over. */
	if ((v->vectoring & INTR_INFO_TYPE_MASK) == INTR_INFO_HW_EXCEPTION && v->vectoring) {
		unsigned first = v->vectoring & INTR_INFO_VECTOR_MASK;

		if (first == VECTOR_DF && (is_contributory(vector) || vector == VECTOR_PF))
			return false;
		if (makes_double_fault(first, vector)) {
			vector = VECTOR_DF;
			has_error = true;
			error = 0;
		}
	}
	/* In real mode exceptions push no error code, and an entry that says otherwise is refused (27.2.1.3). */
	if (!(virt_cr0() & CR0_PE))
		has_error = false;
	inject(v, INTR_INFO_VALID | INTR_INFO_HW_EXCEPTION | (has_error ? INTR_INFO_ERROR_CODE : 0) | vector, error);
	return true;
}

void virt_inject_interrupt(struct virt_vcpu *v, unsigned vector)
{
	inject(v, INTR_INFO_VALID | INTR_INFO_EXT_INT | vector, 0);
}

void virt_inject_nmi(struct virt_vcpu *v)
{
	inject(v, INTR_INFO_VALID | INTR_INFO_NMI | VECTOR_NMI, 0);
}

bool virt_can_take_interrupt(void)
{
	return (vmcs_read(VMCS_GUEST_RFLAGS) & RFLAGS_IF) &&
	       !(vmcs_read(VMCS_GUEST_INTERRUPTIBILITY) & INTERRUPTIBILITY_SHADOW);
}

/* Whether STI blocks an NMI is up to the processor (SDM Vol. 3C 27.3.1.5); waiting one instruction suits them all. */
bool virt_can_take_nmi(void)
{
	return !(vmcs_read(VMCS_GUEST_INTERRUPTIBILITY) & (INTERRUPTIBILITY_SHADOW | INTERRUPTIBILITY_NMI));
}

void virt_block_nmi(void)
{
	vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, vmcs_read(VMCS_GUEST_INTERRUPTIBILITY) | INTERRUPTIBILITY_NMI);
}

/*
 * In the shadow of STI the window for NMIs may be open (SDM Vol. 3C 26.2), where none may be injected: a vCPU would
 * exit for ever. The one for interrupts opens behind the shadow, since IF is set in it; where the instruction in the
 * shadow clears IF again, the NMI waits until it is set. Bochs keeps both closed.
 */
void virt_want_windows(struct virt_vcpu *v, bool interrupt, bool nmi)
{
	uint32_t value = v->cpu_ctl & ~(uint32_t)(CPU_INTERRUPT_WINDOW | CPU_NMI_WINDOW);

	if (nmi && vmcs_read(VMCS_GUEST_INTERRUPTIBILITY) & INTERRUPTIBILITY_STI) {
		interrupt = true;
		nmi = false;
	}
	value |= (interrupt ? CPU_INTERRUPT_WINDOW : 0) | (nmi ? CPU_NMI_WINDOW : 0);
	if (value == v->cpu_ctl)
		return;
	v->cpu_ctl = value;
	vmcs_write(VMCS_CPU_CONTROLS, value);
}
