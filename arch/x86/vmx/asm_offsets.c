/*
 * Offsets of C structures and numbers of VMCS fields for the assembler. Compiled to assembly only; the Makefile turns
 * the marked lines into build/gen/asm_offsets.inc. A new one costs a line here.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/gdt.h"
#include "arch/x86/msr.h"
#include "arch/x86/shadow.h"
#include "arch/x86/trap.h"
#include "arch/x86/virt.h"
#include "arch/x86/vmx/vmx.h"

#define NUMBER(name, value)	   __asm__ volatile("->" #name " %0" : : "i"(value))
#define OFFSET(name, type, member) NUMBER(name, offsetof(type, member))

void asm_offsets(void);
void asm_offsets(void)
{
	OFFSET(VCPU_REG, struct virt_vcpu, reg);
	OFFSET(VCPU_HOST_RSP, struct virt_vcpu, host_rsp);
	OFFSET(VCPU_PLAIN, struct virt_vcpu, plain);
	OFFSET(VCPU_LAUNCHED, struct virt_vcpu, launched);
	OFFSET(VCPU_ENTRY_WORK, struct virt_vcpu, entry_work);
	NUMBER(ENTRY_FLUSH_L1D, VMX_ENTRY_FLUSH_L1D);
	NUMBER(ENTRY_VERW, VMX_ENTRY_VERW);
	NUMBER(FLUSH_CMD, MSR_FLUSH_CMD);
	NUMBER(DATA_SELECTOR, SELECTOR_DATA);
	OFFSET(CPU_SHADOW, struct cpu, shadow);
	OFFSET(SHADOW_TABLE, struct shadow_stacks, table);
	NUMBER(VMCS_NR_HOST_RSP, VMCS_NR_HOST_RSP);
	NUMBER(VMCS_NR_HOST_SSP, VMCS_NR_HOST_SSP);
	NUMBER(VMCS_NR_HOST_SSP_TABLE, VMCS_NR_HOST_SSP_TABLE);
	NUMBER(BOOT_STACK_SIZE, CPU_STACK_PAGES * PAGE_SIZE);
	NUMBER(IST_STACK_SIZE, CPU_IST_STACK_SIZE);
	NUMBER(PUSHES_ERROR, TRAP_PUSHES_ERROR);
	NUMBER(FAULTED, -E_FAULT);
}
