/*
 * The virtual times of the policy share: what a vCPU owes for what it ran, how far a CPU's queue is, and where one that
 * comes goes in line. docs/scheduler.md explains the arithmetic. Used by hv/sched/share.c only, which holds the lock of
 * the CPU that is passed. "Comparable" is a virtual time with its CPU's vtime_shift added.
 *
 * Nothing here divides as long as a VM's weight stays what it was: a vCPU's rate, which is below one unit per tick as
 * any clock is faster than 66 MHz, is kept as a fraction of 2^64.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/sched/policy.h"

static inline uint64_t less(uint64_t a, uint64_t b)
{
	uint64_t difference;

	return __builtin_sub_overflow(a, b, &difference) ? 0 : difference;
}

static inline uint64_t min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* By what the virtual time of `e` grows in `ticks`. */
static inline uint64_t vtime_of(const struct sched_entity *e, uint64_t ticks)
{
	return (uint64_t)((unsigned __int128)(ticks * e->active) * e->rate >> 64);
}

/* The virtual time of `e`, which runs, at `now`. */
static inline uint64_t vtime_at(const struct sched_entity *e, uint64_t now)
{
	return e->vtime + vtime_of(e, less(now, e->running_since));
}

/* The smallest virtual time on a CPU, of the current vCPU and those that wait. False: there is none. */
bool vtime_position(const struct sched_cpu *c, uint64_t now, uint64_t *vtime);
/* What `e`, on `c` and not counted in its load, runs from now on is charged by its VM's present weight and vCPUs. */
void vtime_refresh(const struct sched *s, const struct sched_cpu *c, struct sched_entity *e);

/* `e` comes to `c` with a comparable virtual time. `rested`: it slept or was parked. */
void vtime_enter(const struct sched *s, struct sched_cpu *c, struct sched_entity *e, uint64_t now, bool rested);
/* `e`, which waited on `c` until now, runs there. */
void vtime_begin(struct sched *s, struct sched_cpu *c, struct sched_entity *e);
/* `e`, which has just entered `c`, runs there at once, as nobody else is there: where that brings the CPU is seen when
 * the turn ends. */
static inline void vtime_begin_alone(struct sched_cpu *c, const struct sched_entity *e)
{
	c->vtime_step = e->turn;
}
/* The current one of `c` has run for `ticks`. */
void vtime_end(struct sched *s, struct sched_cpu *c, uint64_t ticks);
