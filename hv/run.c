/*
 * The run loop; see run.h. A CPU that is about to enter a guest says so first (`away`) and looks then whether it is
 * asked for anything (`attention`, its vCPU's requests); who asks says what first and looks then whether the CPU is
 * away, and kicks it if so. One of the two sees the other's.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/run.h"

#include "arch/x86/insn.h"
#include "arch/x86/lapic.h"
#include "arch/x86/trap.h"
#include "arch/x86/virt.h"
#include "hv/clock.h"
#include "hv/exit/doorbell.h"
#include "hv/exit/table.h"
#include "hv/log.h"
#include "hv/pcpu.h"
#include "hv/phys.h"
#include "hv/sched/sched.h"
#include "hv/trace.h"
#include "hv/vm.h"
#include "hv/work.h"

#define RING_PATIENCE_NS 20000 /* how long the work for a series of doorbells may wait: ring_on() */

/* Sets the hardware timer to `deadline` unless it is set so already. */
static void arm(struct pcpu *p, uint64_t deadline)
{
	if (p->armed == deadline)
		return;
	p->armed = deadline;
	lapic_timer_set(deadline);
}

static RO_AFTER_INIT uint64_t longest_turn, least_turn, ring_patience; /* ticks */

void run_init(void)
{
	bool owns_cpu = sched_policy() == &policy_dedicated; /* a vCPU does */

	ring_patience = clock_from_ns(RING_PATIENCE_NS);
	longest_turn = owns_cpu ? VIRT_LONGEST_BOUND : clock_from_ns(SCHED_LONGEST_MS * 1000000ULL);
	least_turn = owns_cpu ? 0 : clock_from_ns(SCHED_LEAST_US * 1000);
}

/*
 * Ends the coming entry by the earliest timer's deadline, and by `until`, the end of the longest turn: a kick that were
 * lost would leave the CPU to its guest for ever, and Bochs, when it enters a guest with IF 0, keeps all interrupts
 * back until that sets IF (hence they are let in whenever an entry's bound has passed). With a preemption timer this is
 * one VMWRITE; without, the local APIC's timer ends it by an interrupt. False: one of both has passed already.
 */
static inline bool bound_entry(struct pcpu *p, uint64_t now, uint64_t until)
{
	uint64_t deadline = atomic_load_explicit(&p->timers.next, memory_order_relaxed);

	if (deadline > until)
		deadline = until;
	if (deadline <= now)
		return false;
	if (virt_features()->preemption_timer)
		virt_set_bound(deadline - now);
	else
		arm(p, deadline);
	return true;
}

static void begin_turn(struct pcpu *p, uint64_t now)
{
	p->turn_end = now + longest_turn;
}

/* What a vCPU runs counts for others of its VM only when its turn is over: policy.h, SCHED_LONGEST_MS. */
static void mind_turn_end(struct pcpu *p, const struct vcpu *v, uint64_t now)
{
	if (p->turn_end > now)
		return;
	if (atomic_load_explicit(&v->vm->sched.active, memory_order_relaxed) > 1)
		atomic_fetch_or(&p->attention, ATTENTION_RESCHEDULE);
	begin_turn(p, now);
}

static NOINLINE void run_timers(struct pcpu *p, uint64_t now, uint64_t due)
{
	trace(TRACE_TIMER, p->current, 0, due);
	p->armed = TIMER_NEVER;
	timer_queue_run(&p->timers, now);
	window_close_others();
}

/* What other CPUs, or this one, have left for it. It holds no pointer into a window that is not its vCPU's. */
static NOINLINE void run_asked(struct pcpu *p)
{
	uint32_t asked = atomic_fetch_and(&p->attention, ~(uint32_t)(ATTENTION_WORK | ATTENTION_WINDOWS));

	if (asked & ATTENTION_WINDOWS)
		window_close_all(p->current);
	if (asked & ATTENTION_WORK) {
		work_run(p);
		cpu_take_interrupts(); /* there may be work without end: what is typed still comes through */
	}
	window_close_others();
}

/* Timers and work that are due; may set requests of the current vCPU. False: there were none. */
static inline bool run_due(struct pcpu *p, uint64_t now)
{
	uint64_t due = atomic_load_explicit(&p->timers.next, memory_order_relaxed);
	bool any = due <= now;

	if (any)
		run_timers(p, now, due);
	if (!(atomic_load_explicit(&p->attention, memory_order_relaxed) & (ATTENTION_WORK | ATTENTION_WINDOWS)))
		return any;
	run_asked(p);
	return true;
}

/* Before the handler, so that a report tells of the exit that led to it. */
static struct exit_stat *record(struct vcpu *v, const struct exit *exit)
{
	struct exit_stat *stat = &v->stat[exit->reason];

	trace_at(TRACE_EXIT, v, exit->tsc, exit->reason, 0);
	stat->count++;
	v->history[v->history_next++ % VCPU_HISTORY] = *exit;
	return stat;
}

static void account(struct exit_stat *stat, uint64_t ticks)
{
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
static NOINLINE void entry_refused(struct vcpu *v)
{
	if (virt_refused_by_machine_check(&v->virt)) {
		vm_kill(v, "a machine check came while it was entered%s",
			trap_guest_machine_check() ? "" : ", and data is lost");
		return;
	}
	virt_explain_refusal(&v->virt, refuse_line, v);
	virt_dump(dump_line, v);
	vm_kill(v, "the processor refused to enter the guest");
}

/* HLT: over it; vcpu_prepare() looks once whether there is something to wake up for, and has it leave the CPU if not.
 */
static void halt(struct vcpu *v)
{
	virt_advance();
	v->halted = true;
	vcpu_look_again(v);
}

/* What an exit leads to; false: the vCPU leaves the CPU. */
static inline bool follow(struct vcpu *v, enum outcome outcome)
{
	if (outcome == OUTCOME_NEXT) { /* the most frequent, so it is asked first */
		virt_advance();
		return true;
	}
	if (outcome == OUTCOME_BLOCK)
		halt(v);
	return outcome != OUTCOME_KILL;
}

enum rung {
	RUNG_NONE, /* it was no doorbell: nothing has happened */
	RUNG_ON,   /* the guest may be entered again at once */
	RUNG_DUE,  /* what it asked for, or something else, is due */
};

/*
 * After an exit that may be a doorbell. They come in series: behind one that is followed by its work, since its vCPU is
 * likely to wait for the answer, lies a while in which what further ones ask for waits, for the next other exit or for
 * the end of the while. So the vCPU pays no more than the doorbells, and the device finds all of it together.
 *
 * This CPU stays `away`: what others want meanwhile comes as an interrupt, and nobody who frees something waits for it
 * (pcpu_synchronize). So all that is touched here is the vCPU's own VM, which can't end as long as the vCPU runs, and
 * of its memory what can't be given away before the vCPU has renewed (vcpu_renew).
 */
static NOINLINE enum rung ring_on(struct pcpu *p, struct vcpu *v, const struct exit *exit)
{
	if (!exit_doorbell(v, exit))
		return RUNG_NONE;
	if (exit->tsc >= v->ring_end)
		v->ring_end = exit->tsc + ring_patience;
	else if (bound_entry(p, exit->tsc, v->ring_end < p->turn_end ? v->ring_end : p->turn_end))
		return RUNG_ON;
	return RUNG_DUE;
}

static inline bool is_asked(struct pcpu *p, struct vcpu *v)
{
	return atomic_load(&p->attention) | atomic_load(&v->requests);
}

enum answer { ANSWER_ENTER, ANSWER_TURN_IS_OVER, ANSWER_WAIT };

/*
 * Somebody woke who goes before the vCPU that runs here, but each turn has its least: a guest that does nothing but
 * sleep for a moment and wake would leave its neighbours hardly more than the switches, which count as theirs.
 */
static NOINLINE bool keeps_turn(struct pcpu *p, uint64_t now)
{
	uint64_t least = p->turn_began + least_turn;

	if (now >= least)
		return false;
	atomic_fetch_and(&p->attention, ~(uint32_t)ATTENTION_PREEMPT);
	if (p->slice.deadline > least)
		timer_set(&p->slice, least);
	return true;
}

/* Does all that this CPU and its vCPU are asked for. Comes and, where it may enter, goes `away`. */
static enum answer answer(struct pcpu *p, struct vcpu *v, uint64_t now)
{
	uint32_t asked;

	atomic_store(&p->away, false);
	pcpu_let_go(p);
	(void)run_due(p, now);
	asked = atomic_load_explicit(&p->attention, memory_order_relaxed);
	if (asked & ATTENTION_RESCHEDULE || (asked & ATTENTION_PREEMPT && !keeps_turn(p, now)))
		return ANSWER_TURN_IS_OVER;
	if (!vcpu_prepare(v))
		return ANSWER_WAIT;
	atomic_store(&p->away, true);
	return ANSWER_ENTER;
}

/* A timer's deadline or the end of the longest turn has passed. */
static NOINLINE void end_bound(struct pcpu *p, struct vcpu *v, uint64_t now)
{
	atomic_store(&p->away, false); /* a callback may deal with another VM: pcpu_synchronize() */
	cpu_take_interrupts();
	(void)run_due(p, now);
	mind_turn_end(p, v, now);
}

/* One vCPU until it blocks, ends, or another one's turn comes. Answers whether it could go on. */
static bool run_vcpu(struct pcpu *p, struct vcpu *v, uint64_t now)
{
	struct exit exit;
	struct exit_stat *stat;
	enum answer answered;
	enum rung rung;

	p->turn_began = now;
	begin_turn(p, now);
	for (;;) {
		pcpu_let_go(p);
		atomic_store(&p->away, true); /* whoever sets a flag from here on also sends an interrupt */
		while (is_asked(p, v)) {
			answered = answer(p, v, now);
			if (answered != ANSWER_ENTER)
				return answered == ANSWER_TURN_IS_OVER;
			now = clock_now();
		}
		if (!bound_entry(p, now, p->turn_end)) {
			end_bound(p, v, now);
			now = clock_now();
			continue;
		}
		do {
			trace(TRACE_ENTRY, v, 0, 0);
			if (virt_enter(&v->virt, &exit)) {
				entry_refused(v);
				return false;
			}
			stat = record(v, &exit);
			rung = exit_may_be_doorbell(&exit) ? ring_on(p, v, &exit) : RUNG_NONE;
		} while (rung == RUNG_ON);
		atomic_store_explicit(&p->away, false, memory_order_relaxed);
		if (rung == RUNG_NONE && !follow(v, exit_handle(v, &exit)))
			return false;
		now = clock_now();
		account(stat, now - exit.tsc);
	}
}

#define PAGES_AT_ONCE 16
#define PAINT_AT_ONCE 4 /* rows: what is typed comes in between */

/* Nothing asks for the CPU. It may be told so by memory alone, since it is not `away`. */
static bool is_left_alone(void *ctx)
{
	struct pcpu *p = ctx;

	return !atomic_load(&p->attention) && atomic_load(&p->timers.next) > clock_now();
}

/* Interrupts come in now and then. */
static bool zero_memory(struct pcpu *p)
{
	unsigned pages = 0;

	while (pages < PAGES_AT_ONCE && is_left_alone(p) && phys_zero_page(is_left_alone, p))
		pages++;
	if (pages)
		cpu_take_interrupts();
	return pages;
}

/* Until an interrupt comes, the next timer's included. Answers the time. */
static uint64_t sleep(struct pcpu *p)
{
	uint64_t from, now;

	atomic_store(&p->away, true); /* first: who sets an earlier timer from here on sends an interrupt */
	arm(p, atomic_load(&p->timers.next));
	from = clock_now();
	atomic_store_explicit(&p->idle_since, from, memory_order_relaxed);
	if (!atomic_load(&p->attention) && p->armed > from)
		cpu_wait_for_interrupt();
	atomic_store(&p->away, false);
	now = clock_now();
	p->idle_ticks += now - from;
	atomic_store_explicit(&p->idle_since, 0, memory_order_relaxed);
	return now;
}

/*
 * Nothing to run: a short step of what can wait until now (the screen, zeroing memory), or, when that is done, sleep.
 * Answers the time.
 */
static uint64_t idle(struct pcpu *p)
{
	bool painted;

	if (p == pcpu_at(0)) /* whose interrupt the UART's is: what is typed has one reader */
		log_pump();
	painted = log_paint(PAINT_AT_ONCE, is_left_alone, p);
	if (!painted && zero_memory(p))
		return clock_now();
	if (painted || log_has_to_paint()) { /* or another one does, and may be called away */
		cpu_take_interrupts();
		return clock_now();
	}
	return sleep(p);
}

/*
 * While no vCPU can run: timers and work, and where there are none, idleness. Elsewhere they are done in the turn of a
 * vCPU, which bounds what they take for other VMs than its own (hv/abroad.h). Answers the time.
 */
static uint64_t serve(struct pcpu *p, uint64_t now)
{
	if (run_due(p, now))
		return clock_now();
	now = idle(p);
	return run_due(p, now) ? clock_now() : now;
}

_Noreturn void run_loop(void)
{
	struct pcpu *p = this_pcpu();
	uint64_t now = clock_now();

	p->started = now;
	window_close_others(); /* of the loaders that ran before */
	for (;;) {
		struct vcpu *v;
		bool runnable;

		pcpu_let_go(p);
		atomic_fetch_and(&p->attention, ~(uint32_t)(ATTENTION_RESCHEDULE | ATTENTION_PREEMPT));
		v = sched_pick(p, now);
		abroad_resume(p);
		if (!v) {
			now = serve(p, now);
			continue;
		}
		p->current = v;
		vcpu_load(v, p);
		runnable = run_vcpu(p, v, now);
		atomic_store(&p->away, false);
		p->current = NULL;
		vcpu_put(v, p, runnable);
		now = clock_now();
	}
}
