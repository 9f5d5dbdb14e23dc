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

static void on_over(struct timer *timer)
{
	work_resume(CONTAINER_OF(timer, struct pcpu, abroad.over));
}

void abroad_init(struct pcpu *p)
{
	timer_init(&p->abroad.over, &p->timers, NULL, on_over);
}

static bool is_abroad(const struct pcpu *p, const struct spinlock *lock)
{
	return p->current && lock != &p->current->vm->lock;
}

static bool may_begin(const struct pcpu *p, uint64_t now)
{
	return now + clock_from_ns(SLACK_NS) >= p->abroad.until;
}

static void end(struct pcpu *p)
{
	struct abroad *a = &p->abroad;
	uint64_t took = clock_now() - a->since, from = a->since > a->until ? a->since : a->until;

	sched_excuse(p->current, took);
	a->until = from + 2 * took;
	a->since = 0;
}

bool abroad_waits(struct pcpu *p, const struct vm *vm)
{
	struct abroad *a = &p->abroad;

	if (!is_abroad(p, &vm->lock) || may_begin(p, clock_now()))
		return false;
	if (!timer_is_armed(&a->over))
		timer_set(&a->over, a->until);
	return true;
}

void abroad_begin(struct pcpu *p, const struct vm *vm)
{
	p->abroad.timer_was_last = false;
	if (is_abroad(p, &vm->lock))
		p->abroad.since = clock_now();
}

void abroad_end(struct pcpu *p)
{
	if (p->abroad.since)
		end(p);
}

/*
 * Timers come before work (hv/run.c): where work waits, too, it has the next turn, or timers whose locks are always
 * taken would leave it none.
 */
uint64_t abroad_take_lock(void *ctx, struct spinlock *lock)
{
	struct pcpu *p = ctx;
	struct abroad *a = &p->abroad;
	uint64_t now;

	if (!is_abroad(p, lock)) {
		spin_lock(lock);
		return 0;
	}
	now = clock_now();
	if (!may_begin(p, now))
		return a->until;
	if (a->timer_was_last && (p->waiting || atomic_load(&p->work)))
		return now + clock_from_ns(SLACK_NS);
	a->since = now;
	spin_lock(lock);
	return 0;
}

void abroad_timer_done(void *ctx)
{
	struct pcpu *p = ctx;

	if (!p->abroad.since)
		return;
	p->abroad.timer_was_last = true;
	end(p);
}
