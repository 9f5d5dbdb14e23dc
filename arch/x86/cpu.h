/*
 * The record of one physical CPU, found at GS:0 while the core runs on it, and what every CPU sets up for itself:
 * control registers, GDT, TSS, IDT. Called by hv/main.c on the BSP and by smp.c on the others. SDM Vol. 3A 3.5, 8.7.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "arch/x86/gdt.h"
#include "arch/x86/mce.h"
#include "hv/lib/types.h"

#include <stdatomic.h>

#define MAX_CPUS	   64
#define CPU_STACK_PAGES	   4
#define CPU_IST_STACK_SIZE 4096

enum cpu_online {
	CPU_OFFLINE,  /* not tried */
	CPU_STARTING, /* INIT sent */
	CPU_ONLINE,   /* runs the core */
	CPU_FAILED,   /* did not answer in time; left out for good */
	CPU_PARKED,   /* a further thread of a core; halted for good */
};

struct shadow_stacks;
struct trap_frame;

struct virt_vcpu;
struct window;

#define WINDOWS 208 /* to guests' memory, one for each VM: what there are addresses for (memory.h) */

/* What this CPU sees of guests' memory: window.h. Owner CPU only, but for `seen`, which others read. */
struct cpu_windows {
	_Atomic uint64_t seen[WINDOWS]; /* stamp of each when it was opened or the TLB last emptied; 0: closed */
	struct window *home;		/* stays open: that of the vCPU that was loaded last; NULL: none */
	unsigned foreign;		/* so many are open beside it: */
	uint8_t slot[WINDOWS];		/* these */
};

struct cpu {
	struct cpu *self; /* offset 0: this_cpu() reads it through GS */
	uint32_t index;	  /* 0: BSP; dense */
	uint32_t apic_id;
	uint64_t stack_top;	 /* where the run loop's stack starts; the VMX host RSP may use it */
	_Atomic uint32_t online; /* enum cpu_online */
	/* What came without being asked for (trap.h), written by this CPU. */
	_Atomic uint32_t nmis, strays, spurious;
	_Atomic uint32_t stray_vector;	 /* the last one */
	_Atomic uint32_t machine_checks; /* those that it could go on after, */
	struct mce_bank mce;		 /* and what the last one was about */
	const struct trap_frame *fault;	 /* registers of the trap that led to panic(), for its report */
	struct virt_vcpu *held; /* the vCPU that was loaded last: the registers that Vireo does not use are still its */
	uint64_t *root;		/* its PML4: the core's upper half, and the windows that it has open */
	struct cpu_windows windows;
	uint64_t space;			    /* number of the virt_space whose guest ran here last; 0: none did */
	const struct shadow_stacks *shadow; /* shadow.h; NULL: the machine has none */
	struct gdt gdt;
	struct tss tss;
};

/* The CPU that runs this. Valid from cpu_init_bsp() or the trampoline on. */
#ifdef VIREO_HOST
struct cpu *this_cpu(void); /* a simulated one */
#else
static inline struct cpu *this_cpu(void)
{
	struct cpu *cpu;

	__asm__("mov %%gs:0, %0" : "=r"(cpu)); /* constant on one CPU: the compiler may keep it */
	return cpu;
}
#endif

/* CPUs that run the core, always 1 at least; cpu_at(i) for i below it. The BSP is cpu_at(0). */
unsigned cpu_count(void);
struct cpu *cpu_at(unsigned index);

/* First call of all: GDT, TSS and IDT of the BSP, from static memory, so that any later fault is reported. */
void cpu_init_bsp(void);

/* For smp.c. */
void cpu_set_count(unsigned count);
void cpu_set_at(unsigned index, struct cpu *cpu);
/* Control registers, PAT, descriptor tables of the CPU that runs this; `cpu` has its stacks in tss.ist. */
void cpu_init_this(struct cpu *cpu);
