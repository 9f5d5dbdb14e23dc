/*
 * Which means against speculation side channels (and, itlb, against a machine check that a guest could bring about)
 * this processor needs, which of them it has, and which the user wants: chosen once at boot from CPUID and
 * IA32_ARCH_CAPABILITIES. Pure; who applies them is arch/x86/vmx/speculation.c. docs/side-channels.md says what each
 * one does, where and what it costs.
 *
 * Intel, "Speculative Execution Side Channel Mitigations" and the pages per issue that it leads to; SDM Vol. 4 for the
 * bits of the registers.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

/* In the order of the report. Their names, as written in vireo.conf: mitigation_name(). */
enum mitigation {
	MITIGATION_IBRS,  /* indirect branches of Vireo's don't follow what a guest has taught the predictor */
	MITIGATION_BHI,	  /* nor are they chosen by the branch history that a guest leaves */
	MITIGATION_RSB,	  /* nor do Vireo's returns */
	MITIGATION_IBPB,  /* what one VM has taught the predictor is gone when another one runs on the CPU */
	MITIGATION_STIBP, /* and is of no use on the core's other thread */
	MITIGATION_TSX,	  /* no transactions, which guests are not shown: nothing of TAA is left */
	MITIGATION_VERW,  /* buffers of the core hold nothing of Vireo's or of another VM's when a guest is entered */
	MITIGATION_L1D,	  /* nor does the L1 data cache */
	MITIGATION_ITLB,  /* guests' code lies in pages of 4 KiB: one whose size changes could stop the machine */
	MITIGATIONS
};

/* What vireo.conf says: mitigations = auto|all|off[, no-NAME]... and smt = on|off. */
struct mitigation_wish {
	bool all;	  /* also what the processor does not need, as far as it has it: for measuring */
	uint32_t without; /* bit n: not the n-th */
	bool smt;	  /* guests run on all threads of a core, of different VMs as well */
};
#define MITIGATIONS_OFF ((1u << MITIGATIONS) - 1) /* `without` all */

/* What the processor says of itself. */
struct speculation_facts {
	uint32_t signature;   /* CPUID.1:EAX: family, model, stepping */
	uint32_t leaf7_ebx;   /* CPUID.(7,0):EBX */
	uint32_t leaf7_edx;   /* CPUID.(7,0):EDX */
	uint32_t leaf7_2_edx; /* CPUID.(7,2):EDX */
	uint64_t arch_caps;   /* IA32_ARCH_CAPABILITIES; 0 where it does not exist */
	bool threads;	      /* a core has more than one thread */
};

enum mitigation_state {
	MITIGATION_UNNEEDED, /* and off */
	MITIGATION_ON,
	MITIGATION_FORCED,  /* on, though not needed: `all` */
	MITIGATION_REFUSED, /* needed and there, but vireo.conf says no */
	MITIGATION_MISSING, /* needed, but the processor or its microcode can't */
};

/* How the return stack buffer is kept from giving Vireo's returns a guest's addresses. */
enum rsb_fill { RSB_KEEP, RSB_ONE, RSB_ALL };

struct mitigation_plan {
	struct {
		enum mitigation_state state;
		const char *why; /* of what it is, or is not, needed for; a few words */
	} choice[MITIGATIONS];
	uint64_t host_spec_ctrl;  /* IA32_SPEC_CTRL while Vireo runs */
	uint64_t guest_spec_ctrl; /* bits that are set while guests run, whatever they wrote */
	bool ibrs_each_exit;	  /* IBRS must be written again at each exit (no enhanced IBRS) */
	bool clear_history;	  /* the branch history is to be overwritten at each exit */
	enum rsb_fill rsb;	  /* at each exit */
	/* Why two VMs on one core's threads can read each other, which nothing of the above helps against; NULL: they
	 * can't, or don't run so. */
	const char *threads_leak;
};

/* IA32_SPEC_CTRL (SDM Vol. 4, MSR 48H). */
#define SPEC_CTRL_IBRS	    BIT(0)
#define SPEC_CTRL_STIBP	    BIT(1)
#define SPEC_CTRL_SSBD	    BIT(2)
#define SPEC_CTRL_IPRED_DIS (BIT(3) | BIT(4)) /* for user and for supervisor mode */
#define SPEC_CTRL_RRSBA_DIS (BIT(5) | BIT(6))
#define SPEC_CTRL_PSFD	    BIT(7)
#define SPEC_CTRL_DDPD_U    BIT(8)
#define SPEC_CTRL_BHI_DIS_S BIT(10)

void mitigations_choose(struct mitigation_plan *plan, const struct speculation_facts *facts,
			const struct mitigation_wish *wish);
static inline bool mitigation_is_on(const struct mitigation_plan *plan, enum mitigation m)
{
	return plan->choice[m].state == MITIGATION_ON || plan->choice[m].state == MITIGATION_FORCED;
}
const char *mitigation_name(enum mitigation m);
/* Those in this state, each with its reason in brackets, separated by commas; false, and "": none is. */
bool mitigations_format(const struct mitigation_plan *plan, enum mitigation_state state, char *text, size_t size);

/*
 * What a guest is shown of the same registers: its own mitigations work as they would without Vireo.
 */
/* Bits of IA32_SPEC_CTRL that it may set; 0: it has no such register. */
uint64_t speculation_guest_spec_ctrl(const struct speculation_facts *facts);
/* Bits of CPUID.(7,0):EDX that it is shown. */
uint32_t speculation_guest_leaf7(const struct speculation_facts *facts);
/* Bits of CPUID.(7,2):EDX that it is shown. */
uint32_t speculation_guest_leaf7_2(const struct speculation_facts *facts);
/* What it reads from IA32_ARCH_CAPABILITIES: what the processor is not vulnerable to, and what VERW does. */
uint64_t speculation_guest_arch_caps(const struct speculation_facts *facts);
