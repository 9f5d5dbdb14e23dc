/* The threads of a core; see topology.h. */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/topology.h"

#include "arch/x86/cpuid.h"

#define LEVEL_SMT     1
#define MAX_LEVELS    8
#define LEAF1_EDX_HTT BIT(28)
#define EXTENDED_V1   0xb
#define EXTENDED_V2   0x1f /* the same with levels between core and package */

/* Bits that number `count` things from 0. */
static unsigned bits_for(uint32_t count)
{
	unsigned bits = 0;

	while (bits < 31 && 1u << bits < count)
		bits++;
	return bits;
}

/* False: the leaf is not there (SDM Vol. 2A, CPUID: EBX of its first subleaf is 0 then). */
static bool ask_extended(void (*read)(uint32_t leaf, uint32_t subleaf, uint32_t regs[4]), uint32_t leaf, unsigned *bits)
{
	uint32_t regs[4];

	*bits = 0;
	for (uint32_t level = 0; level < MAX_LEVELS; level++) {
		read(leaf, level, regs);
		if (!level && !(regs[CPUID_EBX] & 0xffff))
			return false;
		if ((regs[CPUID_ECX] >> 8 & 0xff) == LEVEL_SMT)
			*bits = regs[CPUID_EAX] & 0x1f;
		if (!(regs[CPUID_ECX] >> 8 & 0xff))
			break;
	}
	return true;
}

/* Older processors: IDs of a package, less those of its cores. */
static unsigned ask_legacy(void (*read)(uint32_t leaf, uint32_t subleaf, uint32_t regs[4]), uint32_t last)
{
	uint32_t regs[4], logical, cores = 1;

	read(1, 0, regs);
	if (!(regs[CPUID_EDX] & LEAF1_EDX_HTT))
		return 0;
	logical = regs[CPUID_EBX] >> 16 & 0xff;
	if (last >= 4) {
		read(4, 0, regs);
		cores = (regs[CPUID_EAX] >> 26) + 1;
	}
	return bits_for(logical) > bits_for(cores) ? bits_for(logical) - bits_for(cores) : 0;
}

unsigned topology_thread_bits(void (*read)(uint32_t leaf, uint32_t subleaf, uint32_t regs[4]))
{
	uint32_t regs[4], last;
	unsigned bits;

	read(0, 0, regs);
	last = regs[CPUID_EAX];
	if (last >= EXTENDED_V2 && ask_extended(read, EXTENDED_V2, &bits))
		return bits;
	if (last >= EXTENDED_V1 && ask_extended(read, EXTENDED_V1, &bits))
		return bits;
	return ask_legacy(read, last);
}
