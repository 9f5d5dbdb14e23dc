/*
 * The one clock: the processor's TSC, in ticks, at a rate that was measured at boot. Every deadline in Vireo is a value
 * of clock_now(). Unit tests put a clock of their own in place of hv/clock.c.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/math.h"
#include "hv/lib/types.h"

uint64_t clock_now(void); /* ticks since the processor's reset */
uint64_t clock_hz(void);  /* ticks a second, measured */
void clock_set_hz(uint64_t hz);

/* Duration conversions, rounded down. */
static inline uint64_t clock_from_ns(uint64_t ns)
{
	return mul_div(ns, clock_hz(), 1000000000);
}
static inline uint64_t clock_to_ns(uint64_t ticks)
{
	return mul_div(ticks, 1000000000, clock_hz());
}
