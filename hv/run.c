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
#include "hv/sched/sched.h"
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

/*
 * Makes sure that the coming entry ends by the earliest timer's deadline. With a preemption timer that is one VMWRITE;
 * without, the local APIC's timer ends it by an interrupt. False: the deadline has passed.
 */
static bool bound_entry(struct pcpu *p, uint64_t now)
{
	uint64_t deadline = atomic_load_explicit(&p->timers.next, memory_order_relaxed);

	if (deadline <= now)
		return false;
	if (virt_features()->preemption_timer)
		virt_set_bound(deadline - now);
	else
		arm(p, deadline);
	return true;
}

/* Timers and work that are due; may set requests of the current vCPU. */
static void run_due(struct pcpu *p)
{
	uint64_t now = clock_now();

	if (atomic_load_explicit(&p->timers.next, memory_order_relaxed) <= now) {
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

/* The processor refused the entry: the doctor says which rule broke, and the VM is over. */
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
		vcpu_request(v, REQUEST_EVENT); /* look once whether there is something to wake up for */
		return true;
	case OUTCOME_KILL:
		break;
	}
	return false;
}

static bool turn_is_over(struct pcpu *p, struct vcpu *v)
{
	const uint32_t ours = ATTENTION_RESCHEDULE | ATTENTION_QUEUE;
	uint32_t attention = atomic_fetch_and(&p->attention, ~ours);

	if (attention & ATTENTION_QUEUE)
		sched_share(p, v);
	return attention & ATTENTION_RESCHEDULE;
}

/* One vCPU until it blocks, ends, or another one's turn comes. Answers the state to leave it in. */
static enum vcpu_state run_vcpu(struct pcpu *p, struct vcpu *v)
{
	struct exit exit;
	uint64_t now = clock_now();

	for (;;) {
		atomic_store(&p->away, true); /* whoever sets a flag from here on also sends an interrupt */
		while (atomic_load(&p->attention) | atomic_load(&v->requests)) {
			atomic_store(&p->away, false);
			run_due(p);
			if (!vcpu_prepare(v))
				return v->halted ? VCPU_BLOCKED : VCPU_OFF;
			if (turn_is_over(p, v))
				return VCPU_RUNNABLE;
			now = clock_now();
			atomic_store(&p->away, true);
		}
		if (!bound_entry(p, now)) {
			run_due(p);
			now = clock_now();
			continue;
		}
		if (virt_enter(&v->virt, &exit)) {
			entry_refused(v);
			return VCPU_OFF;
		}
		atomic_store_explicit(&p->away, false, memory_order_relaxed);
		record(v, &exit);
		if (!follow(v, exit_handle(v, &exit)))
			return VCPU_OFF;
		now = clock_now();
		account(v, &exit, now);
	}
}

/* Nothing to run: sleep until an interrupt, the next timer included. */
static void idle(struct pcpu *p)
{
	log_pump();
	if (log_paint(4))
		return;
	arm(p, atomic_load(&p->timers.next));
	atomic_store(&p->away, true);
	if (!atomic_load(&p->attention) && p->armed > clock_now())
		cpu_wait_for_interrupt();
	atomic_store(&p->away, false);
}

_Noreturn void run_loop(void)
{
	struct pcpu *p = this_pcpu();

	for (;;) {
		struct vcpu *v;

		atomic_fetch_and(&p->attention, ~(uint32_t)(ATTENTION_RESCHEDULE | ATTENTION_QUEUE));
		run_due(p);
		v = sched_pick(p);
		if (!v) {
			idle(p);
			continue;
		}
		p->current = v;
		virt_load(&v->virt);
		vcpu_request(v, REQUEST_EVENT);
		enum vcpu_state state = run_vcpu(p, v);
		atomic_store(&p->away, false);
		virt_put(&v->virt);
		p->current = NULL;
		vcpu_leave(v, state);
	}
}
