/*
 * APICv: the processor keeps the guest's local APIC by itself, in xAPIC mode through the APIC-access page, in x2APIC
 * mode through the MSR bitmap. Whoever decides is hv/vcpu.c. SDM Vol. 3C chapter 30.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/vmx/vmx.h"

#define DELIVERY (CPU2_APIC_REGISTERS | CPU2_VIRTUAL_INTERRUPTS)

void virt_apic_set_mode(struct virt_vcpu *v, enum virt_apic_mode mode)
{
	uint32_t cpu2 = v->cpu2_ctl & ~(uint32_t)(DELIVERY | CPU2_APIC_ACCESSES | CPU2_X2APIC_MODE);

	if (mode == VIRT_APIC_XAPIC)
		cpu2 |= DELIVERY | CPU2_APIC_ACCESSES;
	if (mode == VIRT_APIC_X2APIC)
		cpu2 |= DELIVERY | CPU2_X2APIC_MODE;
	if (cpu2 == v->cpu2_ctl)
		return;
	v->cpu2_ctl = cpu2;
	vmcs_write(VMCS_CPU_CONTROLS2, cpu2);
	/* Cached translations of the APIC-access page were made under the other mode (SDM Vol. 3C 29.4.4). */
	virt_space_flush(v->space);
	virt_vcpu_flush(v);
}

/* Guest interrupt status: RVI in the low byte, SVI in the high one (SDM Vol. 3C 25.4.2). */
uint8_t virt_apic_rvi(void)
{
	return (uint8_t)vmcs_read(VMCS_GUEST_INTERRUPT_STATUS);
}

void virt_apic_set_rvi(uint8_t vector)
{
	uint64_t status = vmcs_read(VMCS_GUEST_INTERRUPT_STATUS);

	if ((status & 0xff) != vector)
		vmcs_write(VMCS_GUEST_INTERRUPT_STATUS, (status & 0xff00) | vector);
}

void virt_apic_raise_rvi(uint8_t vector)
{
	uint64_t status = vmcs_read(VMCS_GUEST_INTERRUPT_STATUS);

	if ((status & 0xff) < vector)
		vmcs_write(VMCS_GUEST_INTERRUPT_STATUS, (status & 0xff00) | vector);
}

uint8_t virt_apic_svi(void)
{
	return (uint8_t)(vmcs_read(VMCS_GUEST_INTERRUPT_STATUS) >> 8);
}

void virt_apic_set_svi(uint8_t vector)
{
	uint64_t status = vmcs_read(VMCS_GUEST_INTERRUPT_STATUS);

	vmcs_write(VMCS_GUEST_INTERRUPT_STATUS, (status & 0xff) | (uint64_t)vector << 8);
}

void virt_apic_eoi_exits(const uint64_t bitmap[4])
{
	vmcs_write(VMCS_EOI_EXIT_BITMAP0, bitmap[0]);
	vmcs_write(VMCS_EOI_EXIT_BITMAP1, bitmap[1]);
	vmcs_write(VMCS_EOI_EXIT_BITMAP2, bitmap[2]);
	vmcs_write(VMCS_EOI_EXIT_BITMAP3, bitmap[3]);
}

void virt_apic_set_threshold(uint8_t threshold)
{
	if (vmx.controls.cpu & CPU_TPR_SHADOW)
		vmcs_write(VMCS_TPR_THRESHOLD, threshold);
}
