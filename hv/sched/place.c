/* Which CPUs a vCPU may go to, by its VM's mask and by who is idle; declared in policy.h. For all policies. */
/* SPDX-License-Identifier: MIT */
#include "hv/sched/policy.h"

int sched_claim_any(struct sched *s, const struct sched_entity *e)
{
	for (unsigned word = 0; word * 64 < s->cpu_count; word++) {
		uint64_t idle = atomic_load(&s->idle[word]) & sched_mask_word(&e->group->allowed, word);

		for (; idle; idle &= idle - 1) {
			unsigned cpu = word * 64 + (unsigned)__builtin_ctzll(idle);

			if (sched_claim(s, cpu))
				return (int)cpu;
		}
	}
	return -1;
}

unsigned sched_next_allowed(const struct sched *s, const struct sched_entity *e, unsigned from)
{
	unsigned cpu = from;

	while (!sched_allowed(e, cpu)) {
		cpu = sched_cpu_after(s, cpu);
		if (cpu == from)
			break;
	}
	return cpu;
}

int sched_find_idle(const struct sched *s, unsigned from)
{
	unsigned words = (s->cpu_count + 63) / 64;
	uint64_t later = ~0ULL << (from % 64);

	/* The word of `from` is looked at twice: its later CPUs first, its earlier ones last. */
	for (unsigned i = 0; i <= words; i++) {
		unsigned word = (from / 64 + i) % words;
		uint64_t idle = atomic_load_explicit(&s->idle[word], memory_order_relaxed);

		if (i == 0)
			idle &= later;
		else if (i == words)
			idle &= ~later;
		if (idle)
			return (int)(word * 64 + (unsigned)__builtin_ctzll(idle));
	}
	return -1;
}
