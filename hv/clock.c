/* The clock of the running machine: RDTSC and the frequency that arch/x86 measured. */
/* SPDX-License-Identifier: MIT */
#include "hv/clock.h"

#include "arch/x86/insn.h"

static RO_AFTER_INIT uint64_t tsc_hz;

uint64_t clock_now(void)
{
	return rdtsc();
}

uint64_t clock_hz(void)
{
	return tsc_hz;
}

void clock_set_hz(uint64_t hz)
{
	tsc_hz = hz;
}
