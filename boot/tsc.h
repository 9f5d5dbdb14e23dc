/* The time-stamp counter, as the processor has it: ticks for the figures in boot_info. SDM Vol. 2B, RDTSC. */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdint.h>

static inline uint64_t tsc_read(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}
