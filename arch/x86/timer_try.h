/*
 * Does the local APIC's timer go off? Without it no turn would end and no guest's timer fire, so it is tried once, by
 * hv/main.c on the BSP, when the TSC's rate is known and before hv/pcpu.c takes its vector over. SDM Vol. 3A 11.5.4.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

/* Interrupts come in meanwhile. -E_TIMEOUT: none of the timer's came, and `why` says what was found and expected. */
int timer_try(uint64_t tsc_hz, char *why, size_t size) MUST_CHECK;
