/*
 * The same time on every CPU: a vCPU moves between them, and its time-stamp counter must never be seen to go back. Each
 * CPU's counter is compared with the BSP's at start and, where firmware left it off, set right. SDM Vol. 3B 18.17.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

/* One question and its answer: the BSP's counter before, the other's, the BSP's after. */
struct tsc_sample {
	uint64_t before, other, after;
};

/*
 * How far the other's counter is ahead, as the quickest of the samples tells; an answer may have been given at any
 * moment between `before` and `after`, so what lies in between is no difference: 0. Pure.
 */
int64_t tsc_skew(const struct tsc_sample *samples, unsigned count);

/* The BSP asks CPU `index`, which is in tsc_sync_answer(). Answers the skew that was found (and has been corrected). */
int64_t tsc_sync_ask(unsigned index);
/* Every other CPU, once, before it runs anything that looks at the time. */
void tsc_sync_answer(void);
