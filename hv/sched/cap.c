/* The bucket of cap.h. `left` may be filled by one and a half periods, so that looking a little late loses nothing. */
/* SPDX-License-Identifier: MIT */
#include "hv/sched/cap.h"

#include "hv/lib/math.h"

/* Ticks of CPU time that a period brings. */
static int64_t period_brings(uint32_t percent, uint64_t ticks_per_ms)
{
	return (int64_t)(ticks_per_ms * CAP_PERIOD_MS * percent / 100);
}

/* Brings `left` up to `now`. `filled` moves by what was turned into whole ticks, so no fraction is lost. */
static void fill(struct sched_cap *b, uint64_t now, int64_t most)
{
	uint64_t gained;

	if (now <= b->filled)
		return;
	gained = mul_div(now - b->filled, b->percent, 100);
	if (b->left >= most || gained >= (uint64_t)(most - b->left)) {
		b->left = most;
		b->filled = now;
		return;
	}
	b->left += (int64_t)gained;
	b->filled += mul_div(gained, 100, b->percent);
}

/* A new cap starts with a full bucket; old debt is kept as far as a period of the new cap pays it. */
static void change(struct sched_cap *b, uint32_t percent, uint64_t now, int64_t brings)
{
	b->percent = percent;
	b->filled = now;
	b->resume = 0;
	b->left = b->left < 0 ? (b->left < -brings ? -brings : b->left) : brings;
}

/* How long the bucket lasts while `running` vCPUs drain it and the cap fills it. */
static uint64_t lasts(const struct sched_cap *b, uint64_t ticks_per_ms)
{
	uint64_t least = ticks_per_ms * CAP_TURN_US / 1000;
	uint64_t most = ticks_per_ms * CAP_PERIOD_MS;
	uint64_t drain = b->running * 100ULL;
	uint64_t ticks;

	if (drain <= b->percent)
		return most;
	ticks = mul_div((uint64_t)b->left, 100, drain - b->percent);
	return ticks < least ? least : ticks > most ? most : ticks;
}

static uint64_t begin(struct sched_cap *b, uint32_t percent, uint64_t ticks_per_ms, uint64_t now, uint64_t *again)
{
	int64_t brings = period_brings(percent, ticks_per_ms);

	if (b->percent != percent)
		change(b, percent, now, brings);
	fill(b, now, brings + brings / 2);
	if (now >= b->resume && b->left <= 0)
		b->resume = now + mul_div((uint64_t)(brings - b->left), 100, percent);
	if (now < b->resume) {
		/* A period at most, since the cap may be lifted in the meantime. */
		*again =
		    b->resume < now + ticks_per_ms * CAP_PERIOD_MS ? b->resume : now + ticks_per_ms * CAP_PERIOD_MS;
		return 0;
	}
	b->running++;
	return lasts(b, ticks_per_ms);
}

uint64_t cap_begin(struct sched_group *g, uint64_t ticks_per_ms, uint64_t now, uint64_t *again)
{
	uint32_t percent = atomic_load_explicit(&g->cap, memory_order_relaxed);
	uint64_t ticks;

	if (!percent)
		return SCHED_NEVER;
	spin_lock(&g->budget.lock);
	ticks = begin(&g->budget, percent, ticks_per_ms, now, again);
	spin_unlock(&g->budget.lock);
	return ticks;
}

void cap_end(struct sched_group *g, uint64_t ran)
{
	spin_lock(&g->budget.lock);
	g->budget.running--;
	g->budget.left -= (int64_t)ran;
	spin_unlock(&g->budget.lock);
}
