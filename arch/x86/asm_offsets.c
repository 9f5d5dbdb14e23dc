/*
 * Offsets of C structures for the assembler. Compiled to assembly only; the Makefile turns the marked lines into
 * build/gen/asm_offsets.inc. A new one costs a line here.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/virt.h"

#define OFFSET(name, type, member) __asm__ volatile("->" #name " %0" : : "i"(offsetof(type, member)))

void asm_offsets(void);
void asm_offsets(void)
{
	OFFSET(VCPU_REG, struct virt_vcpu, reg);
	OFFSET(VCPU_HOST_RSP, struct virt_vcpu, host_rsp);
}
