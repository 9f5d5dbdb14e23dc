/*
 * Fair shares by weight, the default; docs/scheduler.md explains it. Each vCPU has a virtual time (vtime.h), which
 * grows by what it runs, divided by its weight: who has the smallest is owed most and runs next. Each CPU has its own
 * queue; no CPU idles while one that may run there waits anywhere, and a CPU whose queue falls behind gives work to one
 * that is ahead.
 *
 * The commonest case is that a lone vCPU wakes on an idle CPU, runs and sleeps again. Each step of it takes one lock
 * once and looks at no other CPU's queue: wait_count says without a lock whether there is anybody to choose or to move.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/sched/vtime.h"

#include "hv/lib/math.h"
#include "hv/sched/cap.h"

#define MOVE_TURNS	 2  /* turns to win that make a vCPU change its CPU */
#define PREEMPT_PER_TURN 8  /* 1/8 turn behind the current one: preempts it */
#define IDLE_MAX	 4  /* idle CPUs that are tried at a time */
#define SEARCH_MAX	 64 /* of a queue in which masks forbid the first ones */

static uint64_t slice(const struct sched *s)
{
	return SCHED_SLICE_MS * s->ticks_per_ms;
}

/* --- queues --- */

static inline void line_up(struct sched *s, unsigned cpu, struct sched_entity *e)
{
	s->cpu[cpu].load += e->load;
	sched_enqueue(s, cpu, e, e->vtime);
}

/* Does somebody wait on `c`, as seen without its lock? */
static bool anybody(const struct sched_cpu *c)
{
	return atomic_load(&c->wait_count);
}

/* Takes a vCPU that waits here. */
static inline void take_out(struct sched_cpu *c, struct sched_entity *e)
{
	sched_dequeue(c, e);
	c->load -= e->load;
	if (c->next == e)
		c->next = NULL;
}

/* The same for one that goes elsewhere: its virtual time is then comparable. */
static void take(struct sched_cpu *c, struct sched_entity *e)
{
	take_out(c, e);
	e->vtime += c->vtime_shift;
}

static bool should_pick(const struct sched *s, const struct sched_cpu *c, const struct sched_entity *e, uint64_t now)
{
	const struct sched_entity *current = c->current;

	if (!current || c->until > now + slice(s))
		return true;
	return e->vtime + e->turn / PREEMPT_PER_TURN < vtime_at(current, now);
}

/* Queues `e`, which is in no queue, on `cpu`. True: the CPU should pick again. */
static bool arrive(struct sched *s, unsigned cpu, struct sched_entity *e, uint64_t now, bool rested)
{
	struct sched_cpu *c = &s->cpu[cpu];
	bool pick;

	spin_lock(&c->lock);
	vtime_enter(s, c, e, now, rested);
	line_up(s, cpu, e);
	pick = should_pick(s, c, e, now);
	spin_unlock(&c->lock);
	return pick;
}

/*
 * `e` was left waiting on a busy CPU. A CPU that became idle before it could see that gets it now: it marks itself idle
 * before it looks at the queues, we look for idle ones after queueing, so one of both sees the other. Answers as wake.
 */
static int offer(struct sched *s, unsigned cpu, struct sched_entity *e, uint64_t now)
{
	struct sched_cpu *c = &s->cpu[cpu];
	int idle = sched_claim_idle(s, e, cpu);
	bool waits;

	if (idle < 0)
		return -1;
	spin_lock(&c->lock);
	waits = sched_waits_on(e, cpu);
	if (waits)
		take(c, e);
	spin_unlock(&c->lock);
	if (waits)
		arrive(s, (unsigned)idle, e, now, false);
	return idle;
}

/* No CPU is idle for `e`, which is in no queue: it waits on `cpu`. Answers as wake. */
static NOINLINE int place_waiting(struct sched *s, struct sched_entity *e, unsigned cpu, uint64_t now, bool rested)
{
	bool pick = arrive(s, cpu, e, now, rested);
	int idle = offer(s, cpu, e, now);

	if (idle >= 0)
		return idle;
	return pick ? (int)cpu : -1;
}

/* `e`, which is in no queue, is the current one of `c` from now on. The CPU's lock is held. */
static inline void start(struct sched_cpu *c, struct sched_entity *e, uint64_t now)
{
	e->running_since = now;
	c->load += e->load;
	c->current = e;
	c->until = SCHED_NEVER;
}

/*
 * `e` comes to an idle CPU that was claimed for it. Its turn begins at once, so that the CPU has nothing to look for
 * when it picks; only if somebody else has come there meanwhile, or its VM has a cap, it waits like any other.
 */
static inline void hand_over(struct sched *s, unsigned cpu, struct sched_entity *e, uint64_t now, bool rested)
{
	struct sched_cpu *c = &s->cpu[cpu];

	spin_lock(&c->lock);
	vtime_enter(s, c, e, now, rested);
	if (c->current || c->waiting.count || has_cap(e->group)) {
		line_up(s, cpu, e);
	} else {
		atomic_store_explicit(&e->cpu, cpu, memory_order_relaxed);
		e->capped = false;
		vtime_begin_alone(c, e);
		start(c, e, now);
		atomic_store_explicit(&c->handed, e, memory_order_release);
	}
	spin_unlock(&c->lock);
}

/* The one that was handed over to `c`, whose CPU asks; NULL: none. It does not pay for what the CPU did till now. */
static inline struct sched_entity *take_handed(struct sched_cpu *c, uint64_t now)
{
	struct sched_entity *e = atomic_load_explicit(&c->handed, memory_order_acquire);

	if (e) {
		__atomic_store_n(&e->running_since, now, __ATOMIC_RELAXED);
		atomic_store_explicit(&c->handed, NULL, memory_order_relaxed);
	}
	return e;
}

/* Finds a CPU for `e`, which is in no queue: its last one if idle, another idle one, the last one. Answers as wake. */
static inline int place(struct sched *s, struct sched_entity *e, unsigned last, uint64_t now, bool rested)
{
	int idle = sched_claim_idle(s, e, last);

	if (idle < 0)
		return place_waiting(s, e, sched_next_allowed(s, e, last), now, rested);
	hand_over(s, (unsigned)idle, e, now, rested);
	return idle;
}

/* The node that comes after `n` and all below it when a heap is walked from its root, left before right. */
static const struct heap_node *skip(const struct heap_node *n)
{
	while (n->parent && (n == n->parent->right || !n->parent->right))
		n = n->parent;
	return n->parent ? n->parent->right : NULL;
}

/* The one that goes first among those that may run on `cpu`. Below one that may, or that is later, nobody is better. */
static NOINLINE struct sched_entity *search_allowed(const struct heap *queue, unsigned cpu)
{
	const struct heap_node *n = heap_first(queue);
	struct sched_entity *best = NULL;

	for (unsigned i = 0; n && i < SEARCH_MAX; i++) {
		struct sched_entity *e = CONTAINER_OF(n, struct sched_entity, node);
		bool later = best && best->node.key <= n->key;

		if (!later && sched_allowed(e, cpu)) {
			best = e;
			later = true;
		}
		n = !later && n->left ? n->left : skip(n);
	}
	return best;
}

static inline struct sched_entity *first_allowed(const struct heap *queue, unsigned cpu)
{
	struct sched_entity *first = sched_first(queue);

	return !first || sched_allowed(first, cpu) ? first : search_allowed(queue, cpu);
}

/* Somebody's weight was changed: all that wait here are queued anew. Rare, so it may take its time. */
static NOINLINE void reweigh(struct sched *s, unsigned cpu, uint32_t changes)
{
	struct sched_cpu *c = &s->cpu[cpu];
	struct sched_entity *e;
	struct heap old;

	c->weight_changes = changes;
	old = c->waiting;
	c->waiting = (struct heap){0};
	while ((e = sched_first(&old))) {
		heap_remove(&old, &e->node);
		c->load -= e->load;
		vtime_refresh(s, c, e);
		line_up(s, cpu, e);
	}
}

/* Takes the vCPU that goes first here: the one yielded to, unless that would pass others by more than a turn. */
static struct sched_entity *take_first(struct sched_cpu *c, unsigned cpu)
{
	struct sched_entity *e = first_allowed(&c->waiting, cpu);
	struct sched_entity *next = c->next;

	if (next && e && sched_allowed(next, cpu) && next->vtime <= e->vtime + next->turn)
		e = next;
	c->next = NULL;
	if (e)
		take_out(c, e);
	return e;
}

/* Somebody waits on `from`: if he may run on `cpu`, which has nobody, he waits there from now on. */
static NOINLINE bool steal(struct sched *s, unsigned cpu, unsigned from, uint64_t now)
{
	struct sched_cpu *c = &s->cpu[from];
	struct sched_entity *e;

	spin_lock(&c->lock);
	e = first_allowed(&c->waiting, cpu);
	if (e && from != cpu)
		take(c, e);
	spin_unlock(&c->lock);
	if (!e)
		return false;
	sched_claim(s, cpu);
	if (from != cpu)
		arrive(s, cpu, e, now, false);
	return true;
}

/* Marks `cpu` as idle unless there is anybody to steal. `*others`: there are some who may not run here. */
static bool steal_or_idle(struct sched *s, unsigned cpu, uint64_t now, bool *others)
{
	unsigned from = cpu;

	sched_set_idle(s, cpu);
	do {
		if (anybody(&s->cpu[from])) {
			if (steal(s, cpu, from, now))
				return true;
			*others = true;
		}
		from = sched_cpu_after(s, from);
	} while (from != cpu);
	return false;
}

/* --- caps --- */

static struct sched_entity *take_parked(struct sched_cpu *c, uint64_t now)
{
	struct sched_entity *e = sched_first(&c->parked);

	if (!e || e->node.key > now)
		return NULL;
	heap_remove(&c->parked, &e->node);
	return e;
}

/* Those that may run again wait here, or on an idle CPU. Stops at the first that another CPU must be told of. */
static NOINLINE int unpark(struct sched *s, unsigned cpu, uint64_t now)
{
	struct sched_cpu *c = &s->cpu[cpu];
	struct sched_entity *e;

	while ((e = take_parked(c, now))) {
		unsigned to = sched_next_allowed(s, e, cpu);
		int idle = to == cpu && !anybody(c) ? -1 : sched_claim_idle(s, e, to);

		if (idle >= 0)
			to = (unsigned)idle;
		arrive(s, to, e, now, true);
		if (to != cpu)
			return (int)to;
	}
	return -1;
}

/* --- balance --- */

/* Someone who waits here and may run on an idle CPU, which is claimed for him. The CPU's lock is held. */
static struct sched_entity *for_idle(struct sched *s, unsigned cpu, unsigned *idle)
{
	const struct sched_cpu *c = &s->cpu[cpu];
	int first = sched_find_idle(s, (cpu + c->partner) % s->cpu_count);

	for (int i = 0, at = first; i < IDLE_MAX && at >= 0; i++) {
		struct sched_entity *e = first_allowed(&c->waiting, (unsigned)at);

		if (e && sched_claim(s, (unsigned)at)) {
			*idle = (unsigned)at;
			return e;
		}
		at = sched_find_idle(s, ((unsigned)at + 1) % s->cpu_count);
		if (at == first)
			break;
	}
	return NULL;
}

/* Someone who waits here and must go, as he may not run here any more, or can run at once elsewhere. Lock held. */
static struct sched_entity *misplaced(struct sched *s, unsigned cpu, unsigned *to)
{
	const struct sched_cpu *c = &s->cpu[cpu];
	struct sched_entity *e = sched_first(&c->waiting);

	if (!e)
		return NULL;
	*to = sched_next_allowed(s, e, cpu);
	return *to == cpu ? for_idle(s, cpu, to) : e;
}

/*
 * Is `other` so far ahead that one of virtual time `vtime` (comparable) gains by going there? Not when it has more load
 * than we: we are catching up then, and else all who are behind would give to the same one at once.
 */
static bool is_ahead(struct sched *s, unsigned other, uint64_t vtime, uint64_t load, uint64_t now)
{
	struct sched_cpu *c = &s->cpu[other];
	uint64_t at;
	bool ahead;

	spin_lock(&c->lock);
	ahead = c->load <= load && vtime_position(c, now, &at) && at + c->vtime_shift > vtime;
	spin_unlock(&c->lock);
	return ahead;
}

/* Each CPU goes round all others; they start at different ones, so no two ask the same at a time. */
static unsigned next_partner(struct sched *s, unsigned cpu)
{
	struct sched_cpu *c = &s->cpu[cpu];

	c->partner = c->partner % (s->cpu_count - 1) + 1;
	return (cpu + c->partner) % s->cpu_count;
}

/* Gives the first one that waits here to the CPU whose turn it is to be compared with, if that helps. */
static int push_ahead(struct sched *s, unsigned cpu, uint64_t now)
{
	struct sched_cpu *c = &s->cpu[cpu];
	unsigned partner = next_partner(s, cpu);
	const struct sched_entity *first;
	struct sched_entity *e = NULL;
	uint64_t vtime = 0, load;

	spin_lock(&c->lock);
	load = c->load;
	first = sched_first(&c->waiting);
	if (first && !sched_allowed(first, partner))
		first = NULL;
	if (first)
		vtime = first->vtime + c->vtime_shift + MOVE_TURNS * first->turn;
	spin_unlock(&c->lock);
	if (!first || !is_ahead(s, partner, vtime, load, now))
		return -1;
	spin_lock(&c->lock);
	if (sched_first(&c->waiting) == first) { /* it may have gone meanwhile */
		e = sched_first(&c->waiting);
		take(c, e);
	}
	spin_unlock(&c->lock);
	return e && arrive(s, partner, e, now, false) ? (int)partner : -1;
}

/* Moves one that waits here, if it is better off elsewhere. Answers the CPU that should pick for it, else -1. */
static int push(struct sched *s, unsigned cpu, uint64_t now)
{
	struct sched_cpu *c = &s->cpu[cpu];
	struct sched_entity *e;
	unsigned to;

	if (s->cpu_count == 1)
		return -1;
	spin_lock(&c->lock);
	e = misplaced(s, cpu, &to);
	if (e)
		take(c, e);
	spin_unlock(&c->lock);
	if (!e)
		return push_ahead(s, cpu, now);
	arrive(s, to, e, now, false);
	return (int)to;
}

/* --- the operations --- */

static int share_admit(struct sched *s, struct sched_entity *e)
{
	e->cpu = sched_next_allowed(s, e, atomic_fetch_add(&s->admitted, 1) % s->cpu_count);
	return 0;
}

static void share_leave(struct sched *s, struct sched_entity *e)
{
	(void)s, (void)e;
}

static int share_wake(struct sched *s, struct sched_entity *e, uint64_t now)
{
	atomic_fetch_add(&e->group->active, 1);
	return place(s, e, e->cpu, now, true);
}

/*
 * `e`, just taken out of the queue of `c`, is its current one from now on, `*until` its cap is used up. False: it
 * already is, and `e` is parked. The CPU's lock is held.
 */
static bool begin(struct sched *s, struct sched_cpu *c, struct sched_entity *e, uint64_t now, uint64_t *until)
{
	uint64_t again = now;
	uint64_t ticks = cap_begin(e->group, s->ticks_per_ms, now, &again);

	if (!ticks) {
		e->vtime += c->vtime_shift;
		heap_push(&c->parked, &e->node, again);
		return false;
	}
	vtime_begin(s, c, e);
	start(c, e, now);
	e->capped = ticks != SCHED_NEVER;
	if (e->capped)
		c->until = *until = now + ticks;
	return true;
}

/* Begins with the first that waits here, or the one that was handed over just now. NULL: there is none that may run
 * here, or its cap is used up. */
static NOINLINE struct sched_entity *begin_first(struct sched *s, struct sched_cpu *c, unsigned cpu, uint64_t now,
						 uint64_t *until)
{
	struct sched_entity *e;
	uint32_t changes;

	spin_lock(&c->lock);
	changes = atomic_load_explicit(&s->weight_changes, memory_order_acquire);
	if (c->weight_changes != changes)
		reweigh(s, cpu, changes);
	e = take_handed(c, now);
	if (!e) {
		e = take_first(c, cpu);
		if (e && !begin(s, c, e, now, until))
			e = NULL;
	}
	spin_unlock(&c->lock);
	return e;
}

/*
 * How long `e` runs while others wait: until it is half a turn ahead of the first of them, so that it is half a turn
 * behind or ahead at most, rather than a turn ahead; between half a turn and a turn.
 */
static uint64_t turn_length(const struct sched *s, const struct sched_entity *e, const struct sched_entity *first)
{
	uint64_t behind = less(first->vtime, e->vtime);

	return behind >= e->turn / 2 ? slice(s) : slice(s) / 2 + mul_div(behind, slice(s), e->turn);
}

/* Others wait here: one may go elsewhere, and the turn ends in time for those that stay. */
static NOINLINE void mind_others(struct sched *s, unsigned cpu, uint64_t now, struct sched_turn *turn)
{
	struct sched_cpu *c = &s->cpu[cpu];
	const struct sched_entity *first;

	if (turn->kick < 0)
		turn->kick = push(s, cpu, now);
	spin_lock(&c->lock);
	first = sched_first(&c->waiting);
	if (first && turn->kick >= 0)
		turn->until = now; /* perhaps there is more to move */
	else if (first && turn->entity)
		turn->until = min(turn->until, now + turn_length(s, turn->entity, first));
	else if (first)
		turn->until = now + slice(s);
	if (c->current == turn->entity) /* not so if one was handed over just now: the next pick is for that one */
		c->until = turn->until;
	spin_unlock(&c->lock);
}

static NO_CANARY struct sched_turn share_pick(struct sched *s, unsigned cpu, uint64_t now)
{
	struct sched_cpu *c = &s->cpu[cpu];
	struct sched_turn turn;
	bool others = false;

	turn.until = SCHED_NEVER;
	turn.kick = -1;
	sched_claim(s, cpu);
	if (heap_first(&c->parked))
		turn.kick = unpark(s, cpu, now);
	turn.entity = take_handed(c, now);
	while (!turn.entity) {
		if (anybody(c))
			turn.entity = begin_first(s, c, cpu, now, &turn.until);
		if (turn.entity || !steal_or_idle(s, cpu, now, &others))
			break;
	}
	if (others)
		turn.until = min(turn.until, now + slice(s));
	if (anybody(c))
		mind_others(s, cpu, now, &turn);
	if (heap_first(&c->parked))
		turn.until = min(turn.until, heap_first(&c->parked)->key);
	return turn;
}

static int share_put(struct sched *s, unsigned cpu, struct sched_entity *e, uint64_t now, bool runnable)
{
	struct sched_cpu *c = &s->cpu[cpu];
	uint64_t ran = less(now, e->running_since);
	bool stays = runnable && sched_allowed(e, cpu);
	bool others;

	/* Nobody else writes it, so this needs no locked addition. */
	atomic_store_explicit(&e->ran, atomic_load_explicit(&e->ran, memory_order_relaxed) + ran, memory_order_relaxed);
	if (e->capped)
		cap_end(e->group, ran);
	spin_lock(&c->lock);
	vtime_end(s, c, ran);
	others = c->waiting.count;
	c->current = NULL;
	c->load -= e->load;
	if (stays)
		line_up(s, cpu, e);
	else
		e->vtime += c->vtime_shift;
	spin_unlock(&c->lock);
	if (!runnable)
		atomic_fetch_sub(&e->group->active, 1);
	else if (!stays)
		return place(s, e, cpu, now, false);
	else if (others)
		return offer(s, cpu, e, now);
	return -1;
}

/* Fetches `to`, which waits on another CPU, if it may run here. */
static void fetch(struct sched *s, unsigned cpu, struct sched_entity *to, uint64_t now)
{
	uint32_t queue = atomic_load_explicit(&to->queue, memory_order_relaxed);
	bool waits;

	if (!queue || queue == cpu + 1 || !sched_allowed(to, cpu))
		return;
	spin_lock(&s->cpu[queue - 1].lock);
	waits = sched_waits_on(to, queue - 1);
	if (waits)
		take(&s->cpu[queue - 1], to);
	spin_unlock(&s->cpu[queue - 1].lock);
	if (waits)
		arrive(s, cpu, to, now, false);
}

/* They swap places in line if that helps `to`. Both count the same, so their VM neither wins nor loses time. */
static bool share_yield_to(struct sched *s, unsigned cpu, struct sched_entity *from, struct sched_entity *to,
			   uint64_t now)
{
	struct sched_cpu *c = &s->cpu[cpu];
	const struct sched_entity *first;
	uint64_t at;
	bool waits;

	fetch(s, cpu, to, now);
	spin_lock(&c->lock);
	waits = sched_waits_on(to, cpu);
	if (waits) {
		at = vtime_at(from, now);
		if (at < to->vtime) {
			from->vtime += to->vtime - at;
			sched_dequeue(c, to);
			to->vtime = at;
			sched_enqueue(s, cpu, to, at);
		}
		c->next = to;
		first = sched_first(&c->waiting);
		waits = first && to->vtime <= first->vtime + to->turn;
	}
	spin_unlock(&c->lock);
	return waits;
}

const struct sched_ops policy_share = {
    .name = "share",
    .admit = share_admit,
    .leave = share_leave,
    .wake = share_wake,
    .pick = share_pick,
    .put = share_put,
    .yield_to = share_yield_to,
};
