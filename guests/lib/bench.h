/* What the measuring guests share: the least and the mean of many runs, and the line that `make bench` reads. */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "guests/lib/cpu.h"

struct result {
	uint64_t min, sum;
	unsigned runs;
};
#define NO_RESULT ((struct result){.min = ~0ull})

static inline void result_add(struct result *r, uint64_t ticks)
{
	if (ticks < r->min)
		r->min = ticks;
	r->sum += ticks;
	r->runs++;
}

static inline uint64_t result_less(uint64_t ticks, uint64_t overhead)
{
	return ticks > overhead ? ticks - overhead : 0;
}

/* "bench ID ticks MIN mean MEAN", both without what the measuring itself costs. The minimum. */
static inline uint64_t result_report(const char *id, const struct result *r, uint64_t overhead)
{
	uint64_t min = result_less(r->min, overhead);
	uint64_t mean = result_less(r->runs ? r->sum / r->runs : 0, overhead);

	print("bench %s ticks %llu mean %llu\n", id, (unsigned long long)min, (unsigned long long)mean);
	return min;
}
