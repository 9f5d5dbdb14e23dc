/*
 * A clock and timers for tests of devices: time stands still until fake_time_advance() moves it, which runs what is
 * due, in order of deadline. Stands in for hv/clock.c and hv/timer.c; included once per test program.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/clock.h"
#include "hv/timer.h"

#define FAKE_HZ	    100000000ULL
#define FAKE_TIMERS 64

static uint64_t fake_now = 1000000;
static struct timer *fake_timers[FAKE_TIMERS];
static unsigned fake_timer_count;
static unsigned fake_fired;

uint64_t clock_now(void)
{
	return fake_now;
}
uint64_t clock_hz(void)
{
	return FAKE_HZ;
}

void timer_init(struct timer *timer, struct timer_queue *queue, struct spinlock *lock,
		void (*fire)(struct timer *timer))
{
	timer->deadline = TIMER_NEVER;
	timer->queue = queue;
	timer->lock = lock;
	timer->fire = fire;
	for (unsigned i = 0; i < fake_timer_count; i++)
		if (fake_timers[i] == timer)
			return;
	if (fake_timer_count < FAKE_TIMERS)
		fake_timers[fake_timer_count++] = timer;
}

void timer_set(struct timer *timer, uint64_t deadline)
{
	timer->deadline = deadline;
}
void timer_cancel(struct timer *timer)
{
	timer->deadline = TIMER_NEVER;
}
void timer_set_here(struct timer *timer, uint64_t deadline)
{
	timer_set(timer, deadline);
}

static inline struct timer *fake_next_timer(uint64_t until)
{
	struct timer *next = NULL;

	for (unsigned i = 0; i < fake_timer_count; i++)
		if (fake_timers[i]->deadline != TIMER_NEVER && fake_timers[i]->deadline <= until &&
		    (!next || fake_timers[i]->deadline < next->deadline))
			next = fake_timers[i];
	return next;
}

static inline void fake_run_timers(void)
{
	struct timer *timer;

	while ((timer = fake_next_timer(fake_now))) {
		timer->deadline = TIMER_NEVER;
		fake_fired++;
		timer->fire(timer);
	}
}

/* Every callback runs exactly on time. */
static inline void fake_time_advance(uint64_t ticks)
{
	uint64_t until = fake_now + ticks;
	struct timer *timer;

	while ((timer = fake_next_timer(until))) {
		if (timer->deadline > fake_now)
			fake_now = timer->deadline;
		fake_run_timers();
	}
	fake_now = until;
}

/* The host was away: everything due runs at the end. */
static inline void fake_time_jump(uint64_t ticks)
{
	fake_now += ticks;
	fake_run_timers();
}
