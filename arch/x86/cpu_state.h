/*
 * The architectural state that a vCPU starts with: what a loader fills in and the VMX code puts into the VMCS.
 * General registers are in the hardware's numbering, so that a decoder's register number is an array index.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

enum {
	REG_RAX,
	REG_RCX,
	REG_RDX,
	REG_RBX,
	REG_RSP,
	REG_RBP,
	REG_RSI,
	REG_RDI,
	REG_R8,
	REG_R9,
	REG_R10,
	REG_R11,
	REG_R12,
	REG_R13,
	REG_R14,
	REG_R15,
	REG_COUNT
};

/* Segment registers in the hardware's numbering (SDM Vol. 2A 2.1, Sreg field), then the two system segments. */
enum { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR, SEG_COUNT };

/* Access rights as the VMCS holds them (SDM Vol. 3C 25.4.1): bits 3:0 type, 4 S, 6:5 DPL, 7 P, 12 AVL, 13 L, 14 D/B, 15
 * G, 16 unusable. */
#define SEG_AR_UNUSABLE BIT(16)
#define SEG_AR_L	BIT(13)
#define SEG_AR_DB	BIT(14)

struct segment {
	uint16_t selector;
	uint32_t access;
	uint32_t limit;
	uint64_t base;
};

/* The modes that a vCPU may start in. */
enum cpu_mode { MODE_REAL, MODE_PROTECTED, MODE_LONG };

struct cpu_state {
	uint64_t reg[REG_COUNT];
	uint64_t rip, rflags;
	uint64_t cr0, cr3, cr4, efer;
	struct segment seg[SEG_COUNT];
	uint64_t gdt_base, idt_base;
	uint32_t gdt_limit, idt_limit;
};

/* After RESET or INIT (SDM Vol. 3A Table 10-1): real mode, CS:IP = F000:FFF0, RDX = cpu_signature. */
void cpu_state_reset(struct cpu_state *state, uint32_t cpu_signature);
/* After STARTUP with `vector`: real mode at vector * 0x1000. */
void cpu_state_startup(struct cpu_state *state, uint8_t vector);
/* Flat 32-bit protected mode without paging, and 64-bit mode (the caller builds page tables and sets cr3). */
void cpu_state_protected(struct cpu_state *state);
void cpu_state_long(struct cpu_state *state);
