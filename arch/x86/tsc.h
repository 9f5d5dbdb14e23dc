/*
 * How fast the TSC and the LAPIC timer run: measured against the 8254 (or the ACPI PM timer), not believed from CPUID.
 * Called once by hv/main.c on the BSP after lapic_init(). 8254 data sheet; SDM Vol. 3B 18.17.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

#define TSC_WINDOW_US 5000u

/*
 * TSC ticks a second, and lapic_timer_set_rate() called; takes one or two windows, up to nine on a noisy machine. 0: no
 * reference counts, or what it counts can't be, and `why` says for each what was found; that takes seconds.
 */
uint64_t tsc_calibrate(char *why, size_t size);

/* Busy-waits; before calibration it assumes a fast processor and waits longer. */
void tsc_delay_us(uint64_t us);
