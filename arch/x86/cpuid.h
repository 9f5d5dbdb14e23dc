/*
 * CPUID features that Vireo asks for, each as one constant that says where its bit is: cpu_has(CPUID_XSAVE).
 * Used by everything above the processor; the guest's CPUID table names its bits with the same constants.
 * SDM Vol. 2A, CPUID.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "arch/x86/insn.h"
#include "hv/lib/types.h"

enum { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX };

/* leaf (bit 31 means extended) | subleaf | register | bit */
#define CPUID_FEATURE(leaf, subleaf, reg, bit) (((uint64_t)(leaf) << 32) | ((subleaf) << 16) | ((reg) << 8) | (bit))
#define CPUID_FEATURE_LEAF(f)		       ((uint32_t)((f) >> 32))
#define CPUID_FEATURE_SUBLEAF(f)	       ((uint32_t)((f) >> 16) & 0xff)
#define CPUID_FEATURE_REG(f)		       ((unsigned)((f) >> 8) & 3)
#define CPUID_FEATURE_BIT(f)		       ((unsigned)(f)&31)
#define CPUID_FEATURE_MASK(f)		       (1u << CPUID_FEATURE_BIT(f)) /* within its register */

#define CPUID_MONITOR	    CPUID_FEATURE(1, 0, CPUID_ECX, 3)
#define CPUID_VMX	    CPUID_FEATURE(1, 0, CPUID_ECX, 5)
#define CPUID_PDCM	    CPUID_FEATURE(1, 0, CPUID_ECX, 15)
#define CPUID_PCID	    CPUID_FEATURE(1, 0, CPUID_ECX, 17)
#define CPUID_X2APIC	    CPUID_FEATURE(1, 0, CPUID_ECX, 21)
#define CPUID_TSC_DEADLINE  CPUID_FEATURE(1, 0, CPUID_ECX, 24)
#define CPUID_XSAVE	    CPUID_FEATURE(1, 0, CPUID_ECX, 26)
#define CPUID_OSXSAVE	    CPUID_FEATURE(1, 0, CPUID_ECX, 27)
#define CPUID_AVX	    CPUID_FEATURE(1, 0, CPUID_ECX, 28)
#define CPUID_RDRAND	    CPUID_FEATURE(1, 0, CPUID_ECX, 30)
#define CPUID_HYPERVISOR    CPUID_FEATURE(1, 0, CPUID_ECX, 31)
#define CPUID_MCE	    CPUID_FEATURE(1, 0, CPUID_EDX, 7)
#define CPUID_MCA	    CPUID_FEATURE(1, 0, CPUID_EDX, 14)
#define CPUID_APIC	    CPUID_FEATURE(1, 0, CPUID_EDX, 9)
#define CPUID_MTRR	    CPUID_FEATURE(1, 0, CPUID_EDX, 12)
#define CPUID_PAT	    CPUID_FEATURE(1, 0, CPUID_EDX, 16)
#define CPUID_TSC_ADJUST    CPUID_FEATURE(7, 0, CPUID_EBX, 1)
#define CPUID_SMEP	    CPUID_FEATURE(7, 0, CPUID_EBX, 7)
#define CPUID_INVPCID	    CPUID_FEATURE(7, 0, CPUID_EBX, 10)
#define CPUID_RTM	    CPUID_FEATURE(7, 0, CPUID_EBX, 11)
#define CPUID_RDSEED	    CPUID_FEATURE(7, 0, CPUID_EBX, 18)
#define CPUID_SMAP	    CPUID_FEATURE(7, 0, CPUID_EBX, 20)
#define CPUID_UMIP	    CPUID_FEATURE(7, 0, CPUID_ECX, 2)
#define CPUID_CET_SS	    CPUID_FEATURE(7, 0, CPUID_ECX, 7)
#define CPUID_MD_CLEAR	    CPUID_FEATURE(7, 0, CPUID_EDX, 10)
#define CPUID_IBRS_IBPB	    CPUID_FEATURE(7, 0, CPUID_EDX, 26) /* IA32_SPEC_CTRL.IBRS and IA32_PRED_CMD.IBPB */
#define CPUID_STIBP	    CPUID_FEATURE(7, 0, CPUID_EDX, 27)
#define CPUID_L1D_FLUSH	    CPUID_FEATURE(7, 0, CPUID_EDX, 28)
#define CPUID_ARCH_CAPS	    CPUID_FEATURE(7, 0, CPUID_EDX, 29)
#define CPUID_SSBD	    CPUID_FEATURE(7, 0, CPUID_EDX, 31)
#define CPUID_PSFD	    CPUID_FEATURE(7, 2, CPUID_EDX, 0)
#define CPUID_IPRED_CTRL    CPUID_FEATURE(7, 2, CPUID_EDX, 1)
#define CPUID_RRSBA_CTRL    CPUID_FEATURE(7, 2, CPUID_EDX, 2)
#define CPUID_DDPD_U	    CPUID_FEATURE(7, 2, CPUID_EDX, 3)
#define CPUID_BHI_CTRL	    CPUID_FEATURE(7, 2, CPUID_EDX, 4)
#define CPUID_MCDT_NO	    CPUID_FEATURE(7, 2, CPUID_EDX, 5)
#define CPUID_CET_SSS	    CPUID_FEATURE(7, 1, CPUID_EDX, 18)
#define CPUID_XSAVEOPT	    CPUID_FEATURE(0xd, 1, CPUID_EAX, 0)
#define CPUID_NX	    CPUID_FEATURE(0x80000001, 0, CPUID_EDX, 20)
#define CPUID_PAGE_1G	    CPUID_FEATURE(0x80000001, 0, CPUID_EDX, 26)
#define CPUID_RDTSCP	    CPUID_FEATURE(0x80000001, 0, CPUID_EDX, 27)
#define CPUID_LONG_MODE	    CPUID_FEATURE(0x80000001, 0, CPUID_EDX, 29)
#define CPUID_INVARIANT_TSC CPUID_FEATURE(0x80000007, 0, CPUID_EDX, 8)

/* Highest basic (leaf 0) or extended (leaf 0x80000000) leaf: one that lies above it reads as garbage, not as zero. */
static inline bool cpuid_leaf_exists(uint32_t leaf)
{
	uint32_t regs[4];

	cpuid(leaf & 0x80000000, 0, regs);
	return regs[CPUID_EAX] >= leaf && (regs[CPUID_EAX] ^ leaf) < 0x80000000;
}

static inline bool cpu_has(uint64_t feature)
{
	uint32_t regs[4];

	if (!cpuid_leaf_exists(CPUID_FEATURE_LEAF(feature)))
		return false;
	cpuid(CPUID_FEATURE_LEAF(feature), CPUID_FEATURE_SUBLEAF(feature), regs);
	return regs[CPUID_FEATURE_REG(feature)] & CPUID_FEATURE_MASK(feature);
}
