/*
 * Entropy from the processor; see entropy.h. RDSEED may have nothing for some time when others draw on it, and RDRAND
 * hardly ever: the manual says how often to try.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/entropy.h"

#include "arch/x86/cpuid.h"
#include "arch/x86/insn.h"

#define RDSEED_TRIES 1000
#define RDRAND_TRIES 10

int entropy_read(uint64_t *value)
{
	for (unsigned i = 0; cpu_has(CPUID_RDSEED) && i < RDSEED_TRIES; i++) {
		if (rdseed(value))
			return 0;
		cpu_pause();
	}
	for (unsigned i = 0; cpu_has(CPUID_RDRAND) && i < RDRAND_TRIES; i++)
		if (rdrand(value))
			return 0;
	return -E_NOTSUP;
}
