/*
 * Vireo's hypercalls for 64-bit guests: hv/abi.h says what they are, this is how they are made.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "guests/lib/cpu.h"
#include "hv/abi.h"

/* Number in RAX, arguments in RBX, RCX, RDX, RSI, answer in RAX. */
static inline int64_t vireo_call(uint32_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	uint64_t answer = number;

	__asm__ volatile("vmcall" : "+a"(answer) : "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
	return (int64_t)answer;
}

static inline uint32_t vireo_word(const char *s)
{
	return (uint32_t)(s[0] | s[1] << 8 | s[2] << 16 | s[3] << 24);
}

/* The version of the calls; 0: there are none. */
static inline uint32_t vireo_calls(void)
{
	static const char name[] = VIREO_SIGNATURE;
	struct cpuid r = cpuid(VIREO_CPUID_BASE, 0);

	if (r.ebx != vireo_word(name) || r.ecx != vireo_word(name + 4) || r.edx != vireo_word(name + 8))
		return 0;
	return r.eax >= VIREO_CPUID_CALLS ? cpuid(VIREO_CPUID_CALLS, 0).eax : 0;
}
