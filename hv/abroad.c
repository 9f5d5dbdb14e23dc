/* The time that a CPU spends on other VMs than its vCPU's; see abroad.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/abroad.h"

#include "hv/clock.h"
#include "hv/sched/sched.h"
#include "hv/vm.h"

static void on_may_begin(struct timer *timer)
{
	work_resume(CONTAINER_OF(timer, struct pcpu, abroad));
}

void abroad_init(struct pcpu *p)
{
	timer_init(&p->abroad, &p->timers, NULL, on_may_begin);
}

bool abroad_is(const struct pcpu *p, const struct vm *vm)
{
	return p->current && p->current->vm != vm;
}

void abroad_end(struct pcpu *p, uint64_t from)
{
	uint64_t took = clock_now() - from;

	sched_excuse(p->current, took);
	p->abroad_until = from + 2 * took;
}

void abroad_put_off(struct pcpu *p, struct work *work)
{
	work_put_off(p, work);
	if (!timer_is_armed(&p->abroad))
		timer_set(&p->abroad, p->abroad_until);
}

uint64_t abroad_take(void *ctx, struct spinlock *lock)
{
	struct pcpu *p = ctx;
	uint64_t now;

	if (!p->current || lock == &p->current->vm->lock) {
		spin_lock(lock);
		return 0;
	}
	if (spin_trylock(lock))
		return 0;
	now = clock_now();
	if (!abroad_may_begin(p, now))
		return p->abroad_until;
	spin_lock(lock);
	abroad_end(p, now);
	return 0;
}
