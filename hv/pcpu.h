/*
 * What hv/ keeps for each physical CPU: its timers, its work list and the flags by which others ask for its attention.
 * A CPU has one stack and one loop (hv/run.c); there are no hypervisor threads.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdatomic.h>

#include "arch/x86/cpu.h"
#include "arch/x86/window.h"
#include "hv/abroad.h"
#include "hv/timer.h"

struct vcpu;
struct work;

/* Reasons to leave the inner loop before the next entry. */
enum {
	ATTENTION_RESCHEDULE = 1, /* the turn is over: ask the policy again who runs */
	ATTENTION_PREEMPT = 2,	  /* likewise for who woke, when the turn has lasted SCHED_LEAST_US */
	ATTENTION_WORK = 4,	  /* the work list is not empty */
	ATTENTION_WINDOWS = 8,	  /* somebody waits for it to close its windows, or to forget what they showed */
};

struct pcpu {
	_Atomic uint32_t attention; /* ATTENTION_*; set by anyone, cleared by the owner */
	_Atomic bool away; /* in guest mode, between its doorbells (run.c), or in HLT: only an IPI is noticed */
	struct cpu *cpu;
	struct vcpu *current;	 /* being run, or NULL */
	uint64_t armed;		 /* deadline the LAPIC timer is set to; TIMER_NEVER while it is lent */
	struct vcpu *timer_user; /* whom that timer is lent to, or NULL: hv/guest_timer.h */
	struct timer_queue timers;
	struct timer slice;	     /* end of the current turn, when the policy wants to be asked again */
	struct abroad abroad;	     /* what it does for other VMs than its vCPU's */
	struct work *waiting;	     /* work that waits, the last in front: work_resume() */
	uint64_t turn_began;	     /* when the vCPU was picked */
	uint64_t turn_end;	     /* the current turn is looked at then in any case */
	uint64_t started;	     /* clock_now() when its loop began */
	uint64_t idle_ticks;	     /* spent asleep, up to the last time it woke */
	_Atomic uint64_t idle_since; /* 0: awake */
	_Atomic uint64_t rounds;     /* times that this CPU let go of everything: pcpu_synchronize() */

	_Atomic(struct work *) work; /* the work list, what was queued last in front; taken as a whole */
};

void pcpu_init(unsigned count);
struct pcpu *pcpu_at(unsigned index);
static inline struct pcpu *this_pcpu(void)
{
	return pcpu_at(this_cpu()->index);
}

/* Sets attention bits and makes the CPU notice them soon, whatever it is doing. Callable from any CPU. */
void pcpu_attention(struct pcpu *p, uint32_t bits);
/* Makes the CPU look at its flags and at its vCPU's requests again, if it is in guest mode or asleep. Any CPU. */
void pcpu_notice(struct pcpu *p);

/* Another vCPU is to run, or one at last. Owner CPU. */
static inline bool pcpu_is_awaited(const struct pcpu *p)
{
	return atomic_load_explicit(&p->attention, memory_order_relaxed) & (ATTENTION_RESCHEDULE | ATTENTION_PREEMPT);
}

/* This CPU holds no pointer to any VM but that of its current vCPU. Owner CPU, in its loop. */
static inline void pcpu_let_go(struct pcpu *p)
{
	uint64_t rounds = atomic_load_explicit(&p->rounds, memory_order_relaxed);

	atomic_store_explicit(&p->rounds, rounds + 1, memory_order_release);
}
/*
 * Waits until every other CPU has let go once since the call, or is `away`: what nobody could find any
 * more when it was called can be freed after. A CPU's root mode is short, so is this. Holding no lock.
 */
void pcpu_synchronize(void);

/* The same for who can't wait in one piece: it begins, and is over some time; ask now and then, from the loop. */
struct pcpu_wait {
	struct {
		bool over;
		uint64_t rounds; /* when it began */
	} cpu[MAX_CPUS];
};
void pcpu_wait_begin(struct pcpu_wait *wait);
bool pcpu_wait_is_over(struct pcpu_wait *wait);

/*
 * No CPU has the window open any more. Nobody is left who could open it again: its VM's vCPUs, devices and their peers
 * are gone. Holding no lock, and this CPU no pointer into any window but its current vCPU's. Waits as short.
 */
void pcpu_close_window(const struct window *w);
/* Asks the CPUs to forget what the window showed before the last loss: window_is_forgotten() says when they have. */
void pcpu_ask_to_forget(const struct window *w);
