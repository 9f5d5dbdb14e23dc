/*
 * Round robin, the policy to read first. Each CPU has a ring: its vCPUs run in turn, SCHED_SLICE_MS each. One that
 * blocks keeps the rest of its turn and goes to the end when it wakes, so sleeping in time wins nothing. A vCPU changes
 * its CPU only when it wakes while another one is idle, or when its VM's mask says so. Weights and caps are ignored.
 *
 * The ring is a heap of which all keys are LINE (first come, first served) but for one that goes FIRST.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/sched/policy.h"

enum { FIRST, LINE };

static uint64_t whole_turn(const struct sched *s)
{
	return SCHED_SLICE_MS * s->ticks_per_ms;
}

/* Puts `e` into the ring of `cpu`. Answers `cpu` if it should pick again: it is idle, or has no end to its turn. */
static int line_up(struct sched *s, unsigned cpu, struct sched_entity *e, uint64_t where)
{
	struct sched_cpu *c = &s->cpu[cpu];
	bool pick;

	spin_lock(&c->lock);
	sched_enqueue(s, cpu, e, where);
	pick = !c->current || c->until == SCHED_NEVER;
	spin_unlock(&c->lock);
	return pick ? (int)cpu : -1;
}

static int rr_admit(struct sched *s, struct sched_entity *e)
{
	e->left = whole_turn(s);
	e->cpu = sched_next_allowed(s, e, atomic_fetch_add(&s->admitted, 1) % s->cpu_count);
	return 0;
}

static void rr_leave(struct sched *s, struct sched_entity *e)
{
	(void)s, (void)e;
}

static int rr_wake(struct sched *s, struct sched_entity *e, uint64_t now)
{
	int idle = sched_claim_idle(s, e, e->cpu);

	(void)now;
	atomic_fetch_add(&e->group->active, 1);
	return line_up(s, idle < 0 ? sched_next_allowed(s, e, e->cpu) : (unsigned)idle, e, LINE);
}

/* A turn of `e`, which is off the queue; NULL: idle. The CPU's lock is held. */
static uint64_t begin(struct sched *s, unsigned cpu, struct sched_entity *e, uint64_t now)
{
	struct sched_cpu *c = &s->cpu[cpu];

	c->current = e;
	c->until = SCHED_NEVER;
	if (!e) {
		sched_set_idle(s, cpu);
		return c->until;
	}
	sched_claim(s, cpu);
	e->running_since = now;
	if (sched_first(&c->waiting))
		c->until = now + e->left;
	return c->until;
}

static struct sched_turn rr_pick(struct sched *s, unsigned cpu, uint64_t now)
{
	struct sched_cpu *c = &s->cpu[cpu];
	struct sched_entity *e;
	unsigned to = cpu;
	uint64_t until;

	spin_lock(&c->lock);
	e = sched_first(&c->waiting);
	if (e) {
		sched_dequeue(c, e);
		to = sched_next_allowed(s, e, cpu);
	}
	until = begin(s, cpu, to == cpu ? e : NULL, now);
	spin_unlock(&c->lock);
	if (to == cpu)
		return (struct sched_turn){.entity = e, .until = until, .kick = -1};
	/* It may not run here any more. We have told one CPU of work then, and come back for what else waits here. */
	return (struct sched_turn){.until = now, .kick = line_up(s, to, e, LINE)};
}

static int rr_put(struct sched *s, unsigned cpu, struct sched_entity *e, uint64_t now, bool runnable)
{
	uint64_t ran = now - e->running_since;
	bool over = ran >= e->left;

	spin_lock(&s->cpu[cpu].lock);
	s->cpu[cpu].current = NULL;
	spin_unlock(&s->cpu[cpu].lock);
	e->ran += ran;
	e->left = over ? whole_turn(s) : e->left - ran;
	if (!runnable)
		atomic_fetch_sub(&e->group->active, 1);
	else if (sched_allowed(e, cpu))
		line_up(s, cpu, e, over ? LINE : FIRST);
	else
		return line_up(s, sched_next_allowed(s, e, cpu), e, LINE);
	return -1;
}

/* What is left of the turn is given away, no more: two that yield to each other have one turn together. */
static bool rr_yield_to(struct sched *s, unsigned cpu, struct sched_entity *from, struct sched_entity *to, uint64_t now)
{
	struct sched_cpu *c = &s->cpu[cpu];
	uint64_t ran = now - from->running_since;
	bool waits;

	if (ran >= from->left)
		return false;
	spin_lock(&c->lock);
	waits = sched_waits_on(to, cpu);
	if (waits) {
		sched_dequeue(c, to);
		to->left = from->left - ran;
		sched_enqueue(s, cpu, to, FIRST);
		from->left = 0; /* its turn is over */
	}
	spin_unlock(&c->lock);
	return waits;
}

const struct sched_ops policy_rr = {
    .name = "rr",
    .admit = rr_admit,
    .leave = rr_leave,
    .wake = rr_wake,
    .pick = rr_pick,
    .put = rr_put,
    .yield_to = rr_yield_to,
};
