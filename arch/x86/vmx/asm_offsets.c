/*
 * Offsets of C structures and numbers of VMCS fields for the assembler. Compiled to assembly only; the Makefile turns
 * the marked lines into build/gen/asm_offsets.inc. A new one costs a line here.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/virt.h"
#include "arch/x86/vmx/vmcs.h"

#define NUMBER(name, value)	   __asm__ volatile("->" #name " %0" : : "i"(value))
#define OFFSET(name, type, member) NUMBER(name, offsetof(type, member))

void asm_offsets(void);
void asm_offsets(void)
{
	OFFSET(VCPU_REG, struct virt_vcpu, reg);
	OFFSET(VCPU_HOST_RSP, struct virt_vcpu, host_rsp);
	OFFSET(VCPU_LAUNCHED, struct virt_vcpu, launched);
	NUMBER(VMCS_NR_HOST_RSP, VMCS_NR_HOST_RSP);
}
