/*
 * The CPUID that a guest sees: a table made at VM creation from the processor's own leaves through an allow-list, so
 * that a CPUID exit is one look-up. What Vireo does not virtualise, save or restore is not in it. Pure: the caller says
 * what the processor has.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

#define CPUID_MAX_ENTRIES	72
#define CPUID_BASIC_LEAVES	0x18
#define CPUID_EXTENDED_LEAVES	0x9
#define CPUID_HYPERVISOR_BASE	0x40000000u
#define CPUID_HYPERVISOR_LEAVES 0x11
#define CPUID_KVM_BASE		0x40000100u /* guests look for a second interface at multiples of 0x100 */
#define CPUID_KVM_LEAVES	2

enum { CPUID_DYNAMIC_NONE, CPUID_DYNAMIC_FEATURES, CPUID_DYNAMIC_7, CPUID_DYNAMIC_TOPOLOGY, CPUID_DYNAMIC_XSAVE };

struct cpuid_entry {
	uint32_t subleaf;
	uint8_t dynamic; /* CPUID_DYNAMIC_x: part of the answer depends on the vCPU's state */
	uint8_t more;	 /* further subleaves follow in the table */
	uint8_t indexed; /* ECX chooses a subleaf; otherwise the entry answers whatever ECX holds */
	uint32_t reg[4]; /* EAX, EBX, ECX, EDX */
};

struct cpuid_table {
	unsigned count;
	struct cpuid_entry entry[CPUID_MAX_ENTRIES];
	/* First entry of each leaf; 0, the first of all, where the leaf is all zeroes. */
	uint8_t basic[CPUID_BASIC_LEAVES];
	uint8_t extended[CPUID_EXTENDED_LEAVES];
	uint8_t hypervisor[CPUID_HYPERVISOR_LEAVES];
	uint8_t kvm[CPUID_KVM_LEAVES];
};

/* What the table is made from. */
struct cpuid_source {
	void (*read)(uint32_t leaf, uint32_t subleaf, uint32_t regs[4]); /* the processor's CPUID */
	uint64_t tsc_hz;
	unsigned vcpus;
	uint64_t xcr0_mask; /* XCR0 bits a guest may set; 0: XSAVE is not shown */
	bool kvm;	    /* KVM's interface is shown, with these features: hv/pv.h */
	uint32_t kvm_features;
	bool hypercalls; /* our own are on: hv/abi.h */
	bool rdtscp, invpcid, xsavec;
	uint32_t speculation, speculation_2; /* (7,0) and (7,2) EDX: what there is against side channels */
};

void cpuid_build(struct cpuid_table *table, const struct cpuid_source *source);

/*
 * The entry that answers (leaf, subleaf), never NULL. Leaves beyond the last basic one answer as the last basic leaf
 * does, as on Intel's processors (SDM Vol. 2A, CPUID); known leaves without that subleaf answer zeroes.
 */
const struct cpuid_entry *cpuid_find(const struct cpuid_table *table, uint32_t leaf, uint32_t subleaf);

/* Bytes of an XSAVE area for the components in `xcr0`, in the standard or the compacted form. */
uint32_t cpuid_xsave_size(const struct cpuid_table *table, uint64_t xcr0, bool compacted);

/* CR4 bits that go with the features shown: the only ones a guest may set. */
uint64_t cpuid_cr4_bits(const struct cpuid_table *table);
