/*
 * The arithmetic of vtime.h. Virtual times are comparable between all CPUs. Masks and weights that can't be had (more
 * than one CPU for a vCPU) make some CPUs fall behind without end; vtime_shift then moves a CPU's whole queue forward,
 * which keeps the order within.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/sched/vtime.h"

#include "hv/lib/math.h"

#define VTIME_PER_MS	65536ULL /* of a lone vCPU of weight 1; 34 years fit if 256 such run as one VM */
#define LAG_TURNS	8	 /* turns by which a CPU may be behind the furthest one */
#define CREDIT_TURNS	1	 /* turns by which one that slept may be ahead of the others in line */
#define GROUP_TURNS	3	 /* turns by which it may be behind the virtual time of its VM */
#define LOAD_PER_WEIGHT 1024U

/* --- one vCPU --- */

/* Another weight: what `e` is behind or ahead in time remains. */
static void keep_lag(const struct sched_cpu *c, struct sched_entity *e, uint32_t old)
{
	if (e->vtime > c->vtime)
		e->vtime = c->vtime + mul_div(e->vtime - c->vtime, old, e->weight);
	else
		e->vtime = less(c->vtime, mul_div(c->vtime - e->vtime, old, e->weight));
	e->vtime = min(max(e->vtime, less(c->vtime, LAG_TURNS * e->turn)), c->vtime + LAG_TURNS * e->turn);
	atomic_store_explicit(&e->group->vtime, e->vtime + c->vtime_shift, memory_order_relaxed);
}

/* The VM of `e` got another weight or number of vCPUs that want to run. */
static NOINLINE void change(const struct sched *s, const struct sched_cpu *c, struct sched_entity *e)
{
	uint32_t weight = (uint32_t)max(atomic_load_explicit(&e->group->weight, memory_order_relaxed), 1);
	uint32_t old = e->weight;

	e->active = (uint32_t)max(atomic_load_explicit(&e->group->active, memory_order_relaxed), 1);
	e->weight = weight;
	if (old != weight)
		e->rate = mul_div(VTIME_PER_MS, ~0ULL, weight * s->ticks_per_ms);
	e->turn = vtime_of(e, SCHED_SLICE_MS * s->ticks_per_ms);
	e->load = LOAD_PER_WEIGHT * weight / e->active;
	if (old && old != weight)
		keep_lag(c, e, old);
}

static inline void refresh(const struct sched *s, const struct sched_cpu *c, struct sched_entity *e)
{
	if (e->weight != atomic_load_explicit(&e->group->weight, memory_order_relaxed) ||
	    e->active != atomic_load_explicit(&e->group->active, memory_order_relaxed))
		change(s, c, e);
}

void vtime_refresh(const struct sched *s, const struct sched_cpu *c, struct sched_entity *e)
{
	refresh(s, c, e);
}

/* ticks * rate; the fraction of a unit is kept in `rest`, so that short turns are not free. */
static uint64_t grow(uint64_t ticks, uint64_t rate, uint64_t *rest)
{
	unsigned __int128 by = (unsigned __int128)ticks * rate + *rest;

	*rest = (uint64_t)by;
	return (uint64_t)(by >> 64);
}

/*
 * What a vCPU has run counts for its VM as well. Behind the VM's virtual time, `group`, it is by GROUP_TURNS at most:
 * where other vCPUs slept and were put to the front for it, those that did not sleep give back what the VM had too
 * much.
 */
static void follow_group(const struct sched_cpu *c, struct sched_entity *e, uint64_t group)
{
	e->vtime = max(e->vtime, less(group, c->vtime_shift + GROUP_TURNS * e->turn));
}

static void charge(const struct sched_cpu *c, struct sched_entity *e, uint64_t ticks)
{
	uint64_t by = grow(ticks, e->rate, &e->group_rest);

	e->vtime += grow(ticks * e->active, e->rate, &e->vtime_rest);
	follow_group(c, e, atomic_fetch_add_explicit(&e->group->vtime, by, memory_order_relaxed) + by);
}

/* Answers what is there then. */
static inline uint64_t raise_to(_Atomic uint64_t *to, uint64_t vtime)
{
	uint64_t seen = atomic_load_explicit(to, memory_order_relaxed);

	while (seen < vtime)
		if (atomic_compare_exchange_weak_explicit(to, &seen, vtime, memory_order_relaxed, memory_order_relaxed))
			return vtime;
	return seen;
}

/* --- a CPU --- */

static inline bool position(const struct sched_cpu *c, uint64_t now, uint64_t *vtime)
{
	const struct sched_entity *first = sched_first(&c->waiting);

	if (c->current)
		*vtime = vtime_at(c->current, now);
	if (first && (!c->current || first->vtime < *vtime))
		*vtime = first->vtime;
	return c->current || first;
}

bool vtime_position(const struct sched_cpu *c, uint64_t now, uint64_t *vtime)
{
	return position(c, now, vtime);
}

/* Notes that `c` is at `at`; moves its queue forward if that is too far behind the other CPUs. */
static inline void advance(const struct sched *s, struct sched_cpu *c, uint64_t at)
{
	uint64_t clock = atomic_load_explicit(&s->clock, memory_order_relaxed);
	const struct sched_entity *first = sched_first(&c->waiting);
	uint64_t window = LAG_TURNS * max(c->vtime_step, first ? first->turn : 0);

	if (at + c->vtime_shift + window < clock)
		c->vtime_shift = clock - window - at;
	c->vtime = max(c->vtime, at);
}

static inline void catch_up(const struct sched *s, struct sched_cpu *c, uint64_t now)
{
	uint64_t at;

	if (position(c, now, &at))
		advance(s, c, at);
	else /* who comes next is neither behind nor ahead of the other CPUs */
		c->vtime = max(c->vtime, less(atomic_load_explicit(&s->clock, memory_order_relaxed), c->vtime_shift));
}

/* `e`, in no queue, begins or ends a turn on `c`: how far does that bring the CPU, and all of them? */
static inline void pass(struct sched *s, struct sched_cpu *c, const struct sched_entity *e)
{
	const struct sched_entity *first = sched_first(&c->waiting);
	uint64_t at = first ? min(first->vtime, e->vtime) : e->vtime;

	advance(s, c, at);
	raise_to(&s->clock, less(at + c->vtime_shift, e->turn));
}

/* --- what happens to a vCPU on a CPU --- */

void vtime_enter(const struct sched *s, struct sched_cpu *c, struct sched_entity *e, uint64_t now, bool rested)
{
	uint64_t most, front;

	catch_up(s, c, now); /* before it counts here itself */
	e->vtime = less(e->vtime, c->vtime_shift);
	refresh(s, c, e);
	most = LAG_TURNS * max(e->turn, c->vtime_step);
	front = less(c->vtime, rested ? CREDIT_TURNS * e->turn : most);
	e->vtime = min(max(e->vtime, front), c->vtime + most);
	if (rested)
		follow_group(c, e, raise_to(&e->group->vtime, front + c->vtime_shift));
}

void vtime_begin(struct sched *s, struct sched_cpu *c, struct sched_entity *e)
{
	refresh(s, c, e);
	c->vtime_step = c->waiting.count ? max(e->turn, c->vtime_step - c->vtime_step / 16) : e->turn;
	pass(s, c, e);
}

void vtime_end(struct sched *s, struct sched_cpu *c, uint64_t ticks)
{
	charge(c, c->current, ticks);
	pass(s, c, c->current);
}
