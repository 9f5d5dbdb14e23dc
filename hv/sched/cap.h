/*
 * A VM's cap: at most so many percent of one CPU for all its vCPUs together, as a bucket that fills at that rate. A
 * vCPU gets a turn no longer than the bucket lasts; what it runs is taken out when the turn ends. Running over makes
 * debt, which later turns pay, so the long-run rate is exact. An empty bucket stays closed until it holds what
 * CAP_PERIOD_MS brings, so that turns don't become ever shorter. Used by hv/sched/share.c.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/sched/policy.h"

#define CAP_PERIOD_MS 10
#define CAP_TURN_US   100 /* the shortest turn: less is not worth the switch */

static inline bool has_cap(const struct sched_group *g)
{
	return atomic_load_explicit(&g->cap, memory_order_relaxed);
}

/*
 * May a vCPU of `g` run from `now` on? Answers for how many ticks (SCHED_NEVER: no cap) and counts it as running on
 * the budget; 0: not before `*again`, when the caller asks anew.
 */
uint64_t cap_begin(struct sched_group *g, uint64_t ticks_per_ms, uint64_t now, uint64_t *again);
/* The turn that cap_begin allowed by a number other than SCHED_NEVER is over after `ran` ticks. */
void cap_end(struct sched_group *g, uint64_t ran);
