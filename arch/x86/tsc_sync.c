/* Comparing and correcting the CPUs' time-stamp counters; see tsc_sync.h. */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/tsc_sync.h"

#ifndef VIREO_HOST
#include "arch/x86/cpu.h"
#include "arch/x86/cpuid.h"
#include "arch/x86/insn.h"
#include "arch/x86/msr.h"
#endif

#define ROUNDS 16

int64_t tsc_skew(const struct tsc_sample *samples, unsigned count)
{
	const struct tsc_sample *best = &samples[0];

	for (unsigned i = 1; i < count; i++)
		if (samples[i].after - samples[i].before < best->after - best->before)
			best = &samples[i];
	if ((int64_t)(best->other - best->before) >= 0 && (int64_t)(best->after - best->other) >= 0)
		return 0;
	return (int64_t)(best->other - (best->before + (best->after - best->before) / 2));
}

#ifndef VIREO_HOST

/* One CPU at a time is asked. What is written before `state` changes is read after. */
static struct {
	_Atomic unsigned asked; /* index of the CPU; 0: nobody */
	_Atomic unsigned state;
	uint64_t answer;
	int64_t correction;
} talk;

enum { QUIET, QUESTION, ANSWER, CORRECT };

static void wait_for(unsigned state)
{
	while (atomic_load(&talk.state) != state)
		cpu_pause();
}

int64_t tsc_sync_ask(unsigned index)
{
	struct tsc_sample samples[ROUNDS];

	atomic_store(&talk.asked, index);
	for (unsigned i = 0; i < ROUNDS; i++) {
		samples[i].before = rdtsc();
		atomic_store(&talk.state, QUESTION);
		wait_for(ANSWER);
		samples[i].after = rdtsc();
		samples[i].other = talk.answer;
	}
	talk.correction = tsc_skew(samples, ROUNDS);
	atomic_store(&talk.state, CORRECT);
	wait_for(QUIET);
	return talk.correction;
}

/* TSC_ADJUST moves the counter by an exact distance; a write to the counter itself loses the time that it takes. */
static void turn_back(int64_t by)
{
	if (!by)
		return;
	if (cpu_has(CPUID_TSC_ADJUST))
		wrmsr(MSR_TSC_ADJUST, rdmsr(MSR_TSC_ADJUST) - (uint64_t)by);
	else
		wrmsr(MSR_TSC, rdtsc() - (uint64_t)by);
}

void tsc_sync_answer(void)
{
	while (atomic_load(&talk.asked) != this_cpu()->index)
		cpu_pause();
	for (;;) {
		unsigned state = atomic_load(&talk.state);

		if (state == QUESTION) {
			talk.answer = rdtsc();
			atomic_store(&talk.state, ANSWER);
		} else if (state == CORRECT) {
			turn_back(talk.correction);
			atomic_store(&talk.state, QUIET);
			return;
		}
		cpu_pause();
	}
}

#endif
