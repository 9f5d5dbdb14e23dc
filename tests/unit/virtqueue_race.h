/*
 * A virtqueue whose driver and device run at the same time, each in a thread of its own: whether a notification or an
 * interrupt that was due did not come. What differs between split and packed queues is in struct race_driver.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "hv/dev/virtqueue.h"

/*
 * Of two threads that share the CPUs with other tests. A fence that is missing in virtqueue_listen() is found by three
 * of four runs with so many, by one of eight with a third of them.
 */
#define RACE_BUFFERS 100000

struct race_driver {
	bool (*add)(unsigned n); /* makes buffer n available; false: no room */
	bool (*must_kick)(void);
	bool (*used_one)(uint32_t *id, uint32_t *written); /* takes back one that was used; false: there is none */
	void (*ask_for_interrupt)(void);
	void (*check)(const struct virtqueue_chain *chain, unsigned n); /* it is buffer n */
};

struct race {
	const struct race_driver *driver;
	struct virtqueue *q;
	struct virtqueue_chain chain;
	unsigned kicks, interrupts; /* how many there were */
	bool lost;		    /* one that was due did not come */
};

static inline bool race_is_lost(const struct race *r)
{
	return __atomic_load_n(&r->lost, __ATOMIC_RELAXED);
}

/* Until there is one more: spinning, so that the two sides meet within the time that a store takes to be seen. */
static inline void race_wait_for(struct race *r, const unsigned *signals, unsigned *seen)
{
	time_t end = time(NULL) + 20;
	unsigned now;

	for (unsigned spins = 1; (now = __atomic_load_n(signals, __ATOMIC_ACQUIRE)) == *seen; spins++) {
		if (spins % 256)
			continue;
		sched_yield();
		if (time(NULL) > end || race_is_lost(r)) {
			__atomic_store_n(&r->lost, true, __ATOMIC_RELAXED);
			return;
		}
	}
	*seen = now;
}

static inline void race_signal(unsigned *signals)
{
	__atomic_add_fetch(signals, 1, __ATOMIC_RELEASE);
}

/* Some time, another each time: so that each step of one side meets each of the other. */
static inline void race_idle(unsigned n)
{
	for (volatile unsigned i = n % 89; i; i--)
		;
}

static inline bool race_reap(const struct race *r, unsigned *done)
{
	uint32_t id, written;
	bool any = false;

	for (; r->driver->used_one(&id, &written); (*done)++)
		any = true;
	return any;
}

static inline void *race_drive(void *arg)
{
	struct race *r = arg;
	unsigned added = 0, done = 0, seen = 0;

	while (done < RACE_BUFFERS && !race_is_lost(r)) {
		while (added < RACE_BUFFERS && r->driver->add(added))
			added++;
		if (r->driver->must_kick())
			race_signal(&r->kicks);
		race_idle(added * 37);
		if (race_reap(r, &done))
			continue;
		r->driver->ask_for_interrupt();
		if (!race_reap(r, &done))
			race_wait_for(r, &r->interrupts, &seen);
	}
	return NULL;
}

static inline void race_serve(struct race *r, unsigned *taken)
{
	do {
		virtqueue_silence(r->q);
		while (virtqueue_take(r->q, &r->chain) == 1) {
			r->driver->check(&r->chain, (*taken)++);
			assert_int_equal(virtqueue_give(r->q, &r->chain, *taken % 2), 0);
			if (*taken % 8 && virtqueue_wants_interrupt(r->q))
				race_signal(&r->interrupts);
		}
		assert_null(r->q->broken);
		race_idle(*taken * 53);
	} while (virtqueue_listen(r->q));
}

/* All buffers through a queue that was just started. */
static inline void race_run(const struct race_driver *driver, struct virtqueue *q)
{
	static struct race r; /* a chain is large */
	unsigned taken = 0, seen = 0;
	pthread_t thread;

	r = (struct race){.driver = driver, .q = q};
	assert_int_equal(pthread_create(&thread, NULL, race_drive, &r), 0);
	while (taken < RACE_BUFFERS && !race_is_lost(&r)) {
		race_serve(&r, &taken);
		if (virtqueue_wants_interrupt(q))
			race_signal(&r.interrupts);
		if (taken < RACE_BUFFERS)
			race_wait_for(&r, &r.kicks, &seen);
	}
	pthread_join(thread, NULL);
	assert_false(r.lost);
}
