/* The time that a CPU spends on other VMs than its vCPU's; see abroad.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/abroad.h"

#include "hv/clock.h"
#include "hv/pcpu.h"
#include "hv/sched/sched.h"
#include "hv/vm.h"
#include "hv/work.h"

/* What may be spent in advance, twice: short callbacks need not wait for each other, and nothing waits for less. */
#define SLACK_NS 20000

static uint64_t slack; /* in ticks */

static void on_over(struct timer *timer)
{
	work_resume(CONTAINER_OF(timer, struct pcpu, abroad.over));
}

void abroad_init(struct pcpu *p)
{
	slack = clock_from_ns(SLACK_NS);
	timer_init(&p->abroad.over, &p->timers, NULL, on_over);
}

static bool is_abroad(const struct pcpu *p, const struct spinlock *lock)
{
	return p->current && lock != &p->current->vm->lock;
}

/* Nothing may begin before that; 0: nor was there anything. */
static uint64_t next_begin(const struct pcpu *p)
{
	return p->abroad.until > slack ? p->abroad.until - slack : 0;
}

/* Answers what it took. */
static uint64_t end(struct pcpu *p)
{
	struct abroad *a = &p->abroad;
	uint64_t took = clock_now() - a->since, from = a->since > a->until ? a->since : a->until;

	sched_excuse(p->current, took);
	a->until = from + 2 * took;
	a->since = 0;
	return took;
}

/*
 * Who is put off comes to the very moment at which the next may begin: a later one would find that others had gone
 * first, each time. Timers come before work (hv/run.c), so they leave a turn to work that waits, when they had theirs.
 */
static uint64_t timer_waits_until(const struct pcpu *p)
{
	const struct abroad *a = &p->abroad;
	uint64_t now = clock_now();

	if (now < next_begin(p))
		return next_begin(p);
	return a->work_waits && a->timers_took >= slack ? now + 1 : 0; /* it is resumed already, or by a timer */
}

uint64_t abroad_put_off(const struct pcpu *p, const struct vm *vm)
{
	return is_abroad(p, &vm->lock) ? timer_waits_until(p) : 0;
}

/* False: its turn comes at once. */
bool abroad_waits(struct pcpu *p, const struct vm *vm)
{
	struct abroad *a = &p->abroad;

	if (!is_abroad(p, &vm->lock))
		return false;
	a->work_waits = clock_now() < next_begin(p);
	if (!a->work_waits)
		a->timers_took = 0;
	else if (!timer_is_armed(&a->over))
		timer_set(&a->over, next_begin(p));
	return a->work_waits;
}

void abroad_resume(struct pcpu *p)
{
	p->abroad.work_waits = false;
	if (p->waiting)
		work_resume(p);
}

void abroad_begin(struct pcpu *p, const struct vm *vm)
{
	if (is_abroad(p, &vm->lock))
		p->abroad.since = clock_now();
}

void abroad_end(struct pcpu *p)
{
	if (p->abroad.since)
		(void)end(p);
}

uint64_t abroad_take_lock(void *ctx, struct spinlock *lock)
{
	struct pcpu *p = ctx;
	uint64_t later;

	if (!is_abroad(p, lock)) {
		spin_lock(lock);
		return 0;
	}
	later = timer_waits_until(p);
	if (later)
		return later;
	p->abroad.since = clock_now();
	spin_lock(lock);
	return 0;
}

void abroad_timer_done(void *ctx)
{
	struct pcpu *p = ctx;

	if (p->abroad.since)
		p->abroad.timers_took += end(p);
}
