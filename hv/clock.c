/* The clock of the running machine: RDTSC and the frequency that arch/x86 measured. */
/* SPDX-License-Identifier: MIT */
#include "hv/clock.h"

static uint64_t tsc_hz;

uint64_t clock_now(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

uint64_t clock_hz(void)
{
	return tsc_hz;
}
void clock_set_hz(uint64_t hz)
{
	tsc_hz = hz;
}
