/*
 * The instructions of VT-x, as arch/x86/insn.h has the others; VMREAD and VMWRITE are in vmcs.h, VMLAUNCH and VMRESUME
 * in entry.asm. True: it failed. SDM Vol. 3C chapter 31.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

static inline bool vmxon(hpa_t region)
{
	bool failed;

	__asm__ volatile("vmxon %1" : "=@ccbe"(failed) : "m"(region.value) : "memory");
	return failed;
}

static inline bool vmptrld(const hpa_t *vmcs)
{
	bool failed;

	__asm__ volatile("vmptrld %1" : "=@ccbe"(failed) : "m"(vmcs->value) : "memory");
	return failed;
}

static inline bool vmclear(const hpa_t *vmcs)
{
	bool failed;

	__asm__ volatile("vmclear %1" : "=@ccbe"(failed) : "m"(vmcs->value) : "memory");
	return failed;
}

/* The VMCS that is loaded on this CPU; all ones when there is none. */
static inline hpa_t vmptrst(void)
{
	hpa_t vmcs;

	__asm__ volatile("vmptrst %0" : "=m"(vmcs.value) : : "memory", "cc");
	return vmcs;
}

/* What a TLB is asked to drop: of one EPT or of all; of one VPID, with its global translations. */
enum { INVEPT_SINGLE = 1, INVEPT_ALL = 2 };
enum { INVVPID_SINGLE = 1 };

static inline void invept(uint64_t type, uint64_t eptp)
{
	const struct {
		uint64_t eptp, zero;
	} descriptor = {eptp, 0};

	__asm__ volatile("invept %0, %1" : : "m"(descriptor), "r"(type) : "memory", "cc");
}

static inline void invvpid(uint64_t type, uint64_t vpid)
{
	const struct {
		uint64_t vpid, address;
	} descriptor = {vpid, 0};

	__asm__ volatile("invvpid %0, %1" : : "m"(descriptor), "r"(type) : "memory", "cc");
}
