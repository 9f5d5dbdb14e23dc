/*
 * One-shot timers. Each CPU has a timer_queue, a heap ordered by deadline (hv/lib/heap.h): arming and cancelling cost
 * O(log n), asking for the next deadline costs one load, and there is no limit to their number. Devices embed a struct
 * timer.
 *
 * A timer's callback runs from the run loop of the CPU that owns the queue, with the timer's lock (the VM's device
 * lock; NULL: none) held; where that CPU does not wait for the lock (hv/abroad.h), it is put off. timer_set,
 * timer_set_here and timer_cancel are called with that same lock held, from any CPU; after timer_cancel returns, the
 * callback will not run. The other CPU may still be looking at the timer and its lock then: whoever frees their memory
 * calls pcpu_synchronize (hv/pcpu.h) first.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/heap.h"
#include "hv/lib/spinlock.h"
#include "hv/lib/types.h"

#define TIMER_NEVER (~0ULL)

struct timer {
	uint64_t deadline; /* clock_now() value; TIMER_NEVER: not armed */
	void (*fire)(struct timer *timer);
	struct timer_queue *queue;
	struct spinlock *lock;
	struct heap_node node; /* in the queue while armed */
};

/* The CPU that runs a queue. Each may be NULL. */
struct timer_owner {
	void (*earlier)(void *ctx); /* `next` moved to an earlier time: e.g. to kick the CPU */
	/* A timer is due: takes its lock and answers 0, or until when it is put off. NULL: the lock is waited for. */
	uint64_t (*take_lock)(void *ctx, struct spinlock *lock);
	void (*done)(void *ctx);   /* its callback has run, and the lock is free again */
	bool (*leaves)(void *ctx); /* asked between two: true, the others wait until the queue is run again */
	void *ctx;
};

struct timer_queue {
	struct spinlock lock;  /* protects the heap; a leaf: nothing is taken under it */
	_Atomic uint64_t next; /* when to look at the earliest one, TIMER_NEVER when empty */
	struct timer_owner owner;
	struct heap heap; /* its key is the deadline, or later where that was put off */
};

void timer_queue_init(struct timer_queue *queue, const struct timer_owner *owner);
void timer_init(struct timer *timer, struct timer_queue *queue, struct spinlock *lock,
		void (*fire)(struct timer *timer));
void timer_set(struct timer *timer, uint64_t deadline); /* arms or moves */
void timer_cancel(struct timer *timer);
/* The same, in the queue of the CPU that calls, wherever it was. Only timers with a lock. */
void timer_set_here(struct timer *timer, uint64_t deadline);
struct timer_queue *timer_queue_here(void); /* this CPU's: hv/pcpu.c */
static inline bool timer_is_armed(const struct timer *timer)
{
	return timer->deadline != TIMER_NEVER;
}

/*
 * Runs every callback whose deadline is at or before `now`, or the first of them until the owner leaves. Called by the
 * owner CPU without locks.
 */
void timer_queue_run(struct timer_queue *queue, uint64_t now);
