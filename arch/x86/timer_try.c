/* One interrupt of the local APIC's timer, waited for: timer_try.h. */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/timer_try.h"

#include "arch/x86/insn.h"
#include "arch/x86/lapic.h"
#include "arch/x86/trap.h"
#include "hv/lib/printf.h"

#define TRY_US	    100u
#define PATIENCE_US 1000000u /* an emulator on a busy host may be late */

static volatile bool went_off;

static void note(void *ctx)
{
	(void)ctx;
	went_off = true;
}

int timer_try(uint64_t tsc_hz, char *why, size_t size)
{
	uint64_t due = rdtsc() + tsc_hz / (1000000 / TRY_US);
	uint64_t end = due + tsc_hz / (1000000 / PATIENCE_US);

	went_off = false;
	irq_register(VECTOR_TIMER, note, NULL);
	lapic_timer_set(due);
	while (!went_off && rdtsc() < end)
		cpu_take_interrupts();
	lapic_timer_set(~0ULL);
	if (went_off)
		return 0;
	snprintf(why, size, "the local APIC's timer, in %s mode: found no interrupt in %u us, expected one after %u",
		 lapic_timer_is_deadline() ? "TSC-deadline" : "count", PATIENCE_US, TRY_US);
	return -E_TIMEOUT;
}
