/*
 * What hv/ keeps for each physical CPU: its timers, its run queue, its work list and the flags by which others ask for
 * its attention. A CPU has one stack and one loop (hv/run.c); there are no hypervisor threads.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdatomic.h>

#include "arch/x86/cpu.h"
#include "hv/lib/spinlock.h"
#include "hv/timer.h"

struct vcpu;
struct work;

/* Reasons to leave the inner loop before the next entry. */
enum {
	ATTENTION_RESCHEDULE = 1, /* the current vCPU's turn is over and others wait */
	ATTENTION_QUEUE = 4,	  /* a vCPU joined the run queue */
	ATTENTION_WORK = 2,	  /* the work list is not empty */
};

struct pcpu {
	_Atomic uint32_t attention; /* ATTENTION_*; set by anyone, cleared by the owner */
	_Atomic bool away;	    /* in guest mode or in HLT: an IPI is needed to be noticed */
	struct cpu *cpu;
	struct vcpu *current; /* being run, or NULL */
	uint64_t armed;	      /* deadline the LAPIC timer is set to */
	struct timer_queue timers;
	struct timer slice; /* end of the current vCPU's turn, armed while others wait */

	struct spinlock lock; /* protects the run queue and the work list; a leaf */
	struct vcpu *queue_head, *queue_tail;
	struct work *work_head, *work_tail;
};

void pcpu_init(unsigned count);
struct pcpu *pcpu_at(unsigned index);
static inline struct pcpu *this_pcpu(void)
{
	return pcpu_at(this_cpu()->index);
}

/* Sets attention bits and makes the CPU notice them soon, whatever it is doing. Callable from any CPU. */
void pcpu_attention(struct pcpu *p, uint32_t bits);
/* Only the interrupt: the target looks at its vCPU's requests again. */
void pcpu_kick(struct pcpu *p);
