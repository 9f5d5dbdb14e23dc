/* The run loop; see run.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/run.h"

#include "arch/x86/insn.h"
#include "arch/x86/lapic.h"
#include "arch/x86/virt.h"
#include "hv/clock.h"
#include "hv/exit/table.h"
#include "hv/log.h"
#include "hv/pcpu.h"
#include "hv/phys.h"
#include "hv/sched/sched.h"
#include "hv/trace.h"
#include "hv/vm.h"
#include "hv/work.h"

/* Sets the hardware timer to `deadline` unless it is set so already. */
static void arm(struct pcpu *p, uint64_t deadline)
{
	if (p->armed == deadline)
		return;
	p->armed = deadline;
	lapic_timer_set(deadline);
}

#define LONGEST_ENTRY_NS 100000000

static uint64_t longest_entry; /* in ticks */

/*
 * Makes sure that the coming entry ends by the earliest timer's deadline. With a preemption timer that is one VMWRITE;
 * without, the local APIC's timer ends it by an interrupt. False: the deadline has passed.
 *
 * Who owns its CPU runs without a bound. Others don't, as a belt to the braces: a kick that were lost, as Bochs loses
 * it while the guest's IF is 0, would leave a CPU to a guest that spins there for ever.
 */
static bool bound_entry(struct pcpu *p, uint64_t now)
{
	uint64_t deadline = atomic_load_explicit(&p->timers.next, memory_order_relaxed);

	if (deadline <= now)
		return false;
	if (virt_features()->preemption_timer)
		virt_set_bound(deadline - now < longest_entry ? deadline - now : longest_entry);
	else
		arm(p, deadline);
	return true;
}

/* Timers and work that are due; may set requests of the current vCPU. */
static void run_due(struct pcpu *p, uint64_t now)
{
	uint64_t due = atomic_load_explicit(&p->timers.next, memory_order_relaxed);

	if (due <= now) {
		trace(TRACE_TIMER, p->current, 0, due);
		p->armed = TIMER_NEVER;
		timer_queue_run(&p->timers, now);
	}
	if (atomic_load_explicit(&p->attention, memory_order_relaxed) & ATTENTION_WORK) {
		atomic_fetch_and(&p->attention, ~(uint32_t)ATTENTION_WORK);
		work_run(p);
	}
}

static struct exit_stat *stat_of(struct vcpu *v, uint32_t reason)
{
	return &v->stat[reason < EXIT_REASONS ? reason : EXIT_REASONS - 1];
}

/* Before the handler, so that a report tells of the exit that led to it. */
static void record(struct vcpu *v, const struct exit *exit)
{
	trace_at(TRACE_EXIT, v, exit->tsc, exit->reason, 0);
	stat_of(v, exit->reason)->count++;
	v->history[v->history_next++ % VCPU_HISTORY] = (struct exit_record){exit->reason, exit->tsc};
}

static void account(struct vcpu *v, const struct exit *exit, uint64_t now)
{
	struct exit_stat *stat = stat_of(v, exit->reason);
	uint64_t ticks = now - exit->tsc;

	stat->ticks += ticks;
	if (ticks > stat->max)
		stat->max = ticks;
}

static void refuse_line(void *ctx, const char *text)
{
	struct vcpu *v = ctx;

	log_error("vm %s: entry refused: %s", v->vm->config->name, text);
}

static void dump_line(void *ctx, const char *text)
{
	struct vcpu *v = ctx;

	log_debug("vm %s: VMCS: %s", v->vm->config->name, text);
}

/* The processor refused the entry: the doctor says which rule broke, and the VM is over. */
static void entry_refused(struct vcpu *v)
{
	virt_explain_refusal(&v->virt, refuse_line, v);
	virt_dump(dump_line, v);
	vm_kill(v, "the processor refused to enter the guest");
}

/* What an exit leads to; false: the vCPU leaves the CPU. */
static bool follow(struct vcpu *v, enum outcome outcome)
{
	switch (outcome) {
	case OUTCOME_NEXT:
		virt_advance();
		return true;
	case OUTCOME_RETRY:
		return true;
	case OUTCOME_BLOCK:
		virt_advance();
		v->halted = true;
		vcpu_look_again(v); /* look once whether there is something to wake up for */
		return true;
	case OUTCOME_KILL:
		break;
	}
	return false;
}

static bool turn_is_over(struct pcpu *p)
{
	return atomic_load_explicit(&p->attention, memory_order_relaxed) & ATTENTION_RESCHEDULE;
}

/* One vCPU until it blocks, ends, or another one's turn comes. Answers whether it could go on. */
static bool run_vcpu(struct pcpu *p, struct vcpu *v)
{
	struct exit exit;
	uint64_t now = clock_now();

	for (;;) {
		pcpu_let_go(p);
		atomic_store(&p->away, true); /* whoever sets a flag from here on also sends an interrupt */
		while (atomic_load(&p->attention) | atomic_load(&v->requests)) {
			atomic_store(&p->away, false);
			run_due(p, now);
			if (turn_is_over(p))
				return true;
			if (!vcpu_prepare(v))
				return false;
			now = clock_now();
			pcpu_let_go(p);
			atomic_store(&p->away, true);
		}
		if (!bound_entry(p, now)) {
			atomic_store(&p->away, false); /* a callback may deal with another VM: pcpu_synchronize() */
			run_due(p, now);
			now = clock_now();
			continue;
		}
		trace(TRACE_ENTRY, v, 0, 0);
		if (virt_enter(&v->virt, &exit)) {
			entry_refused(v);
			return false;
		}
		atomic_store_explicit(&p->away, false, memory_order_relaxed);
		record(v, &exit);
		if (!follow(v, exit_handle(v, &exit)))
			return false;
		now = clock_now();
		account(v, &exit, now);
	}
}

#define PAGES_AT_ONCE 16

/* Nothing asks for the CPU. It may be told so by memory alone, since it is not `away`. */
static bool is_left_alone(struct pcpu *p)
{
	return !atomic_load(&p->attention) && atomic_load(&p->timers.next) > clock_now();
}

/* A page at a time, so that who needs the CPU waits for one at most; interrupts come in now and then. */
static bool zero_pages(struct pcpu *p)
{
	unsigned pages = 0;

	while (pages < PAGES_AT_ONCE && is_left_alone(p) && phys_zero_page())
		pages++;
	if (pages)
		cpu_take_interrupts();
	return pages;
}

/*
 * Nothing to run: a short step of what can wait until now (the screen, zeroing memory), or, when all of that is done,
 * sleep until an interrupt, the next timer included.
 */
static void idle(struct pcpu *p)
{
	uint64_t from;

	if (p == pcpu_at(0)) /* whose interrupt the UART's is: what is typed has one reader */
		log_pump();
	if (log_paint(4) || zero_pages(p))
		return;
	atomic_store(&p->away, true); /* first: who sets an earlier timer from here on sends an interrupt */
	arm(p, atomic_load(&p->timers.next));
	from = clock_now();
	atomic_store_explicit(&p->idle_since, from, memory_order_relaxed);
	if (!atomic_load(&p->attention) && p->armed > from)
		cpu_wait_for_interrupt();
	atomic_store(&p->away, false);
	p->idle_ticks += clock_now() - from;
	atomic_store_explicit(&p->idle_since, 0, memory_order_relaxed);
}

_Noreturn void run_loop(void)
{
	struct pcpu *p = this_pcpu();

	p->started = clock_now();
	longest_entry = sched_policy() == &policy_dedicated ? TIMER_NEVER : clock_from_ns(LONGEST_ENTRY_NS);
	for (;;) {
		struct vcpu *v;
		bool runnable;

		pcpu_let_go(p);
		cpu_take_interrupts(); /* see exit_timer() */
		run_due(p, clock_now());
		atomic_fetch_and(&p->attention, ~(uint32_t)ATTENTION_RESCHEDULE);
		v = sched_pick(p);
		if (!v) {
			idle(p);
			continue;
		}
		p->current = v;
		vcpu_load(v, p);
		runnable = run_vcpu(p, v);
		atomic_store(&p->away, false);
		p->current = NULL;
		vcpu_put(v, p, runnable);
	}
}
