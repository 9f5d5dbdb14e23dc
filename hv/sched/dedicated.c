/*
 * A CPU of one's own: from admit to leave a vCPU owns the CPU it was given, and nobody else ever runs there. No queue,
 * no tick, nothing to share; a VM that is so run loses no time to others, and what it does not use is lost. The mask is
 * read when the vCPU comes. Weights and caps are ignored.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/sched/policy.h"

static bool take(struct sched *s, unsigned cpu, struct sched_entity *e)
{
	struct sched_cpu *c = &s->cpu[cpu];
	bool taken;

	if (!sched_allowed(e, cpu))
		return false;
	spin_lock(&c->lock);
	taken = !c->owner;
	if (taken)
		c->owner = e;
	spin_unlock(&c->lock);
	return taken;
}

/* CPU 0 goes last: it does the hypervisor's own work. */
static int dedicated_admit(struct sched *s, struct sched_entity *e)
{
	for (unsigned i = 1; i <= s->cpu_count; i++) {
		unsigned cpu = i % s->cpu_count;

		if (take(s, cpu, e)) {
			e->cpu = cpu;
			return 0;
		}
	}
	return -E_NOMEM;
}

static void dedicated_leave(struct sched *s, struct sched_entity *e)
{
	struct sched_cpu *c = &s->cpu[e->cpu];

	spin_lock(&c->lock);
	c->owner = NULL;
	spin_unlock(&c->lock);
}

static int dedicated_wake(struct sched *s, struct sched_entity *e, uint64_t now)
{
	struct sched_cpu *c = &s->cpu[e->cpu];

	(void)now;
	atomic_fetch_add(&e->group->active, 1);
	spin_lock(&c->lock);
	c->ready = true;
	spin_unlock(&c->lock);
	return (int)e->cpu;
}

static struct sched_turn dedicated_pick(struct sched *s, unsigned cpu, uint64_t now)
{
	struct sched_cpu *c = &s->cpu[cpu];
	struct sched_turn turn = {.until = SCHED_NEVER, .kick = -1};

	spin_lock(&c->lock);
	c->current = turn.entity = c->ready ? c->owner : NULL;
	c->ready = false;
	spin_unlock(&c->lock);
	if (turn.entity)
		turn.entity->running_since = now;
	return turn;
}

static int dedicated_put(struct sched *s, unsigned cpu, struct sched_entity *e, uint64_t now, bool runnable)
{
	struct sched_cpu *c = &s->cpu[cpu];

	e->ran += now - e->running_since;
	if (!runnable)
		atomic_fetch_sub(&e->group->active, 1);
	spin_lock(&c->lock);
	c->current = NULL;
	c->ready = runnable;
	spin_unlock(&c->lock);
	return -1;
}

/* Who holds what `from` waits for has a CPU of its own and runs already. */
static bool dedicated_yield_to(struct sched *s, unsigned cpu, struct sched_entity *from, struct sched_entity *to,
			       uint64_t now)
{
	(void)s, (void)cpu, (void)from, (void)to, (void)now;
	return false;
}

const struct sched_ops policy_dedicated = {
    .name = "dedicated",
    .admit = dedicated_admit,
    .leave = dedicated_leave,
    .wake = dedicated_wake,
    .pick = dedicated_pick,
    .put = dedicated_put,
    .yield_to = dedicated_yield_to,
};
