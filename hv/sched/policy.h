/*
 * What a scheduling policy is: which vCPU a CPU runs next and until when. A policy knows times, weights and queues, and
 * nothing of guests or of the processor, so it compiles and is measured on a development host as well
 * (tests/unit/test_sched.c). hv/sched/sched.c ties the one that vireo.conf chose to real vCPUs and real timers.
 *
 * Times are ticks of hv/clock.h and passed in. Every function may be called from any CPU, with no lock of the scheduler
 * held: a policy takes the locks of struct sched_cpu itself, never two at once; a budget's may be taken under one.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdatomic.h>

#include "hv/lib/heap.h"
#include "hv/lib/spinlock.h"
#include "hv/lib/types.h"

#define SCHED_MAX_CPUS	     256
#define SCHED_NEVER	     (~0ULL)
#define SCHED_WEIGHT_MIN     1
#define SCHED_WEIGHT_MAX     10000
#define SCHED_WEIGHT_DEFAULT 256
#define SCHED_SLICE_MS	     5	 /* a turn, while others wait */
#define SCHED_LEAST_US	     100 /* that who wakes leaves to it: else a guest could leave others nothing but switches */
#define SCHED_LONGEST_MS     100 /* and while none does, if its VM has others that what it runs counts for */

/* What a group may still use of its cap: hv/sched/cap.h. All zero at first. */
struct sched_cap {
	struct spinlock lock; /* protects the rest; a leaf */
	uint32_t percent;     /* the cap by which the rest was reckoned */
	uint32_t running;     /* vCPUs that run on this budget now */
	int64_t left;	      /* ticks; negative: debt */
	uint64_t filled;      /* when `left` was right */
	uint64_t resume;      /* used up until then */
};

/* A set of CPUs, a bit each. */
struct sched_mask {
	uint64_t word[SCHED_MAX_CPUS / 64];
};

static inline bool sched_mask_has(const struct sched_mask *m, unsigned cpu)
{
	return __atomic_load_n(&m->word[cpu / 64], __ATOMIC_RELAXED) >> (cpu % 64) & 1;
}

/* The CPUs of a set may change while it is read: a word at a time is consistent, and that is enough. */
static inline uint64_t sched_mask_word(const struct sched_mask *m, unsigned word)
{
	return __atomic_load_n(&m->word[word], __ATOMIC_RELAXED);
}

/*
 * A VM: what its vCPUs have in common. The first three may be changed at any time; the next pick goes by them. Whoever
 * changes them has the CPUs pick again on which its vCPUs run, and adds one to sched.weight_changes for a weight.
 */
struct sched_group {
	_Atomic uint32_t weight;   /* SCHED_WEIGHT_MIN to MAX; shared by those of its vCPUs that want to run */
	_Atomic uint32_t cap;	   /* percent of one CPU that all its vCPUs together get at most; 0: no cap */
	struct sched_mask allowed; /* CPUs it may run on; its words are read and written atomically, not as a whole */
	_Atomic uint32_t active;   /* vCPUs that run or wait to run */
	struct sched_cap budget;
	_Atomic uint64_t vtime; /* share: virtual time of all of them together */
};

/* A vCPU. */
struct sched_entity {
	struct sched_group *group;
	_Atomic uint64_t ran;	/* ticks it has run so far, up to its last put */
	_Atomic uint32_t cpu;	/* where it runs, waits or ran last */
	uint64_t running_since; /* while it runs */

	/* The policy's own. */
	_Atomic uint32_t queue; /* CPU + 1: it is in `waiting` of that one, whose lock protects that; 0: in none */
	struct heap_node node;	/* in `waiting` or `parked` of a CPU */
	uint32_t active;	/* share: of the group, when it was last queued or picked */
	uint32_t weight;	/* share: likewise */
	uint64_t rate;		/* share: virtual time of a tick, by that weight; 2^-64 units */
	uint64_t turn;		/* share: virtual time of a whole turn, by both */
	uint64_t vtime;		/* share: virtual time; while it runs or waits less its CPU's vtime_shift */
	uint64_t load;		/* share: weight / active, as it counts in its CPU's */
	uint64_t vtime_rest;	/* share: fraction of a unit, 2^-64 units */
	uint64_t group_rest;	/* share: likewise, of what it added to its group's virtual time */
	bool capped;		/* share: while it runs: on its group's budget */
	uint64_t left;		/* rr: ticks left of its turn */
};

struct sched_cpu {
	_Alignas(64) struct spinlock lock; /* protects everything in this struct but `parked` */
	struct sched_entity *current;
	uint64_t until;		     /* what the last pick answered */
	struct heap waiting;	     /* what waits to run here */
	_Atomic uint32_t wait_count; /* its count, for a look without the lock */

	struct heap parked; /* share: used up their cap; the key is when to look again. Touched by this CPU only */
	struct sched_entity *next;	     /* share: waiting, and was yielded to; it goes first */
	struct sched_entity *_Atomic handed; /* share: current, though the CPU has not picked it yet */
	uint64_t vtime;			     /* share: how far this CPU's queue is */
	uint64_t vtime_shift;	 /* share: what to add to virtual times here to compare them with other CPUs' */
	uint64_t vtime_step;	 /* share: virtual time of a turn of the lightest vCPU that ran here lately */
	uint32_t weight_changes; /* share: that this queue has seen */
	uint64_t load;		 /* share: of those that run and wait here */
	unsigned partner;	 /* share: distance to the CPU that was compared with last */

	struct sched_entity *owner; /* dedicated */
	bool ready;		    /* dedicated: the owner wants to run */
};

struct sched_ops;

struct sched {
	const struct sched_ops *ops;
	unsigned cpu_count;
	uint64_t ticks_per_ms;
	struct sched_cpu cpu[SCHED_MAX_CPUS];
	_Alignas(64) _Atomic uint64_t idle[SCHED_MAX_CPUS / 64]; /* CPUs that found nothing to run, a bit each */
	_Alignas(64) _Atomic uint64_t clock;			 /* share: virtual time of the CPU that is furthest */
	_Atomic uint32_t weight_changes;
	_Atomic uint32_t admitted; /* so far; spreads new vCPUs over the CPUs */
};

/* The CPU that comes after `cpu` when all are gone round. */
static inline unsigned sched_cpu_after(const struct sched *s, unsigned cpu)
{
	return cpu + 1 == s->cpu_count ? 0 : cpu + 1;
}

static inline bool sched_allowed(const struct sched_entity *e, unsigned cpu)
{
	return sched_mask_has(&e->group->allowed, cpu);
}

static inline void sched_set_idle(struct sched *s, unsigned cpu)
{
	atomic_fetch_or(&s->idle[cpu / 64], BIT(cpu % 64));
}

/* Takes `cpu` out of the idle ones. False: it was not among them. Whoever takes one makes it pick again. */
static inline bool sched_claim(struct sched *s, unsigned cpu)
{
	uint64_t bit = BIT(cpu % 64);

	return (atomic_load(&s->idle[cpu / 64]) & bit) && (atomic_fetch_and(&s->idle[cpu / 64], ~bit) & bit);
}

/* `e` waits on `cpu` from now on; the smallest key goes first. The CPU's lock is held. */
static inline void sched_enqueue(struct sched *s, unsigned cpu, struct sched_entity *e, uint64_t key)
{
	struct sched_cpu *c = &s->cpu[cpu];

	atomic_store_explicit(&e->cpu, cpu, memory_order_relaxed);
	atomic_store_explicit(&e->queue, cpu + 1, memory_order_relaxed);
	heap_push(&c->waiting, &e->node, key);
	atomic_store(&c->wait_count, c->waiting.count);
}

/* Takes `e`, which waits here, out of the queue. The CPU's lock is held. */
static inline void sched_dequeue(struct sched_cpu *c, struct sched_entity *e)
{
	heap_remove(&c->waiting, &e->node);
	atomic_store_explicit(&e->queue, 0, memory_order_relaxed);
	atomic_store_explicit(&c->wait_count, c->waiting.count, memory_order_relaxed);
}

/* Certain while the lock of `cpu` is held. */
static inline bool sched_waits_on(const struct sched_entity *e, unsigned cpu)
{
	return atomic_load_explicit(&e->queue, memory_order_relaxed) == cpu + 1;
}

static inline struct sched_entity *sched_first(const struct heap *queue)
{
	struct heap_node *first = heap_first(queue);

	return first ? CONTAINER_OF(first, struct sched_entity, node) : NULL;
}

/* Claims an idle CPU on which `e` may run; -1: there is none. */
int sched_claim_any(struct sched *s, const struct sched_entity *e);
/* Likewise, `first` if it can be. */
static inline int sched_claim_idle(struct sched *s, const struct sched_entity *e, unsigned first)
{
	return sched_allowed(e, first) && sched_claim(s, first) ? (int)first : sched_claim_any(s, e);
}

/* The first idle CPU from `from` on, and round; -1: there is none. */
int sched_find_idle(const struct sched *s, unsigned from);
/* A CPU on which `e` may run: `from` or the next one that will do. `from` as well if there is none at all. */
unsigned sched_next_allowed(const struct sched *s, const struct sched_entity *e, unsigned from);

/*
 * What pick answers: run `entity` (NULL: be idle) until `until` at the latest. SCHED_NEVER: until somebody asks, or
 * for SCHED_LONGEST_MS if more vCPUs of the group are active and the policy is not `dedicated`.
 */
struct sched_turn {
	struct sched_entity *entity;
	uint64_t until;
	int kick; /* a CPU that should pick again now, because work was moved to it; -1: none */
};

struct sched_ops {
	const char *name;
	/* A vCPU comes; it is asleep. -E_NOMEM: there is no room for it (dedicated: no CPU left). */
	int (*admit)(struct sched *s, struct sched_entity *e);
	/* It goes; it is asleep. */
	void (*leave)(struct sched *s, struct sched_entity *e);
	/* It wants to run. Answers the CPU that should pick again (it may be the caller's): now, or when its turn has
	 * lasted SCHED_LEAST_US; or -1. */
	int (*wake)(struct sched *s, struct sched_entity *e, uint64_t now);
	/* What `cpu` runs from now on. Its own former turn has been put. */
	struct sched_turn (*pick)(struct sched *s, unsigned cpu, uint64_t now);
	/* Its turn on `cpu` is over: what it ran is charged. `runnable`: it wants to go on, and waits.
	 * Answers the CPU that should pick again now, or -1.
	 */
	int (*put)(struct sched *s, unsigned cpu, struct sched_entity *e, uint64_t now, bool runnable);
	/*
	 * `from`, which runs on `cpu`, spins for something that `to` of the same group holds. True: `to` waits to run
	 * and goes first at the next pick of `cpu`, which should come now. False: nothing to win.
	 */
	bool (*yield_to)(struct sched *s, unsigned cpu, struct sched_entity *from, struct sched_entity *to,
			 uint64_t now);
};

extern const struct sched_ops policy_share;	/* weighted fair, work-conserving (the default) */
extern const struct sched_ops policy_rr;	/* the teaching one: a ring for each CPU */
extern const struct sched_ops policy_dedicated; /* a vCPU owns its CPU: no tick, no queue */
