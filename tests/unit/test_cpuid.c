/*
 * The guest's CPUID: what is hidden stays hidden whatever the processor says, the topology is the VM's, the frequency
 * is true. Processors are simulated: one that answers all ones, one that has next to nothing, and one like today's.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/cpuid.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/cpuid.h"
#include "arch/x86/registers.h"
#include "hv/abi.h"
#include "hv/cpuid.h"

static void all_ones(uint32_t leaf, uint32_t subleaf, uint32_t regs[4])
{
	(void)leaf, (void)subleaf;
	memset(regs, 0xff, 4 * sizeof(regs[0]));
}

static void all_zeroes(uint32_t leaf, uint32_t subleaf, uint32_t regs[4])
{
	(void)leaf, (void)subleaf;
	memset(regs, 0, 4 * sizeof(regs[0]));
}

/* One cache level, AVX at 576, PKRU at 2688, a component that guests don't get at 8192. */
static void plain_cpu(uint32_t leaf, uint32_t subleaf, uint32_t regs[4])
{
	all_zeroes(leaf, subleaf, regs);
	if (leaf == 0x80000000)
		regs[CPUID_EAX] = 0x80000004;
	if (leaf == 0x80000005 || leaf == 0x80000006)
		all_ones(leaf, subleaf, regs); /* beyond its last leaf: garbage */
	if (leaf == 0x80000008)
		regs[CPUID_EAX] = 57 << 8 | 39;
	if (leaf == 1)
		regs[CPUID_EBX] = 0xaa550800;
	if (leaf == 4 && subleaf == 0)
		regs[CPUID_EAX] = 3 << 26 | 1 << 14 | 3 << 5 | 1;
	if (leaf == 7 && subleaf == 0)
		regs[CPUID_EAX] = 2;
	if (leaf == 0xd && subleaf == 0)
		regs[CPUID_ECX] = 8192 + 64;
	if (leaf == 0xd && subleaf == 2)
		regs[CPUID_EAX] = 256, regs[CPUID_EBX] = 576;
	if (leaf == 0xd && subleaf == 5)
		regs[CPUID_EAX] = 72, regs[CPUID_EBX] = 1088;
	if (leaf == 0xd && subleaf == 9)
		regs[CPUID_EAX] = 8, regs[CPUID_EBX] = 2688, regs[CPUID_ECX] = 2;
}

static struct cpuid_source source;
static struct cpuid_table table;

static void build(void (*read)(uint32_t, uint32_t, uint32_t *))
{
	source.read = read;
	cpuid_build(&table, &source);
}

static int setup(void **state)
{
	(void)state;
	source = (struct cpuid_source){
	    .tsc_hz = 100000000, .vcpus = 1, .xcr0_mask = 0x2e7, .rdtscp = true, .invpcid = true, .xsavec = true};
	build(all_ones);
	return 0;
}

static uint32_t reg(uint32_t leaf, uint32_t subleaf, unsigned n)
{
	return cpuid_find(&table, leaf, subleaf)->reg[n];
}

static bool has(uint64_t feature)
{
	return reg(CPUID_FEATURE_LEAF(feature), CPUID_FEATURE_SUBLEAF(feature), CPUID_FEATURE_REG(feature)) &
	       CPUID_FEATURE_MASK(feature);
}

static void assert_zero_leaf(uint32_t leaf, uint32_t subleaf)
{
	for (unsigned n = 0; n < 4; n++)
		assert_int_equal(reg(leaf, subleaf, n), 0);
}

static void what_is_not_virtualised_is_hidden(void **state)
{
	static const uint64_t hidden[] = {
	    CPUID_FEATURE(1, 0, CPUID_ECX, 2), /* DTES64 */
	    CPUID_MONITOR,
	    CPUID_FEATURE(1, 0, CPUID_ECX, 4), /* DS-CPL */
	    CPUID_VMX,
	    CPUID_FEATURE(1, 0, CPUID_ECX, 6),	/* SMX */
	    CPUID_FEATURE(1, 0, CPUID_ECX, 7),	/* SpeedStep */
	    CPUID_FEATURE(1, 0, CPUID_ECX, 8),	/* TM2 */
	    CPUID_FEATURE(1, 0, CPUID_ECX, 11), /* silicon debug */
	    CPUID_FEATURE(1, 0, CPUID_ECX, 14), /* xTPR */
	    CPUID_PDCM,
	    CPUID_FEATURE(1, 0, CPUID_ECX, 18),		/* DCA */
	    CPUID_OSXSAVE,				/* follows CR4 */
	    CPUID_FEATURE(1, 0, CPUID_EDX, 18),		/* PSN */
	    CPUID_FEATURE(1, 0, CPUID_EDX, 21),		/* debug store */
	    CPUID_FEATURE(1, 0, CPUID_EDX, 22),		/* ACPI thermal */
	    CPUID_FEATURE(1, 0, CPUID_EDX, 28),		/* HTT with one processor */
	    CPUID_FEATURE(1, 0, CPUID_EDX, 29),		/* TM */
	    CPUID_FEATURE(1, 0, CPUID_EDX, 31),		/* PBE */
	    CPUID_FEATURE(7, 0, CPUID_EBX, 2),		/* SGX */
	    CPUID_FEATURE(7, 0, CPUID_EBX, 4),		/* HLE */
	    CPUID_FEATURE(7, 0, CPUID_EBX, 11),		/* RTM */
	    CPUID_FEATURE(7, 0, CPUID_EBX, 12),		/* PQM */
	    CPUID_FEATURE(7, 0, CPUID_EBX, 14),		/* MPX */
	    CPUID_FEATURE(7, 0, CPUID_EBX, 15),		/* PQE */
	    CPUID_FEATURE(7, 0, CPUID_EBX, 22),		/* PCOMMIT */
	    CPUID_FEATURE(7, 0, CPUID_EBX, 25),		/* PT */
	    CPUID_FEATURE(7, 0, CPUID_ECX, 4),		/* OSPKE follows CR4 */
	    CPUID_FEATURE(7, 0, CPUID_ECX, 5),		/* WAITPKG */
	    CPUID_FEATURE(7, 0, CPUID_ECX, 7),		/* CET_SS */
	    CPUID_FEATURE(7, 0, CPUID_ECX, 13),		/* TME */
	    CPUID_FEATURE(7, 0, CPUID_ECX, 16),		/* LA57 */
	    CPUID_FEATURE(7, 0, CPUID_ECX, 23),		/* key locker */
	    CPUID_FEATURE(7, 0, CPUID_ECX, 24),		/* bus-lock detection */
	    CPUID_FEATURE(7, 0, CPUID_ECX, 29),		/* ENQCMD */
	    CPUID_FEATURE(7, 0, CPUID_ECX, 30),		/* SGX_LC */
	    CPUID_FEATURE(7, 0, CPUID_ECX, 31),		/* PKS */
	    CPUID_FEATURE(7, 0, CPUID_EDX, 5),		/* UINTR */
	    CPUID_FEATURE(7, 0, CPUID_EDX, 11),		/* RTM_ALWAYS_ABORT */
	    CPUID_FEATURE(7, 0, CPUID_EDX, 13),		/* RTM_FORCE_ABORT */
	    CPUID_FEATURE(7, 0, CPUID_EDX, 18),		/* PCONFIG */
	    CPUID_FEATURE(7, 0, CPUID_EDX, 19),		/* architectural LBR */
	    CPUID_FEATURE(7, 0, CPUID_EDX, 20),		/* CET_IBT */
	    CPUID_FEATURE(7, 0, CPUID_EDX, 22),		/* AMX-BF16 */
	    CPUID_FEATURE(7, 0, CPUID_EDX, 24),		/* AMX-TILE */
	    CPUID_FEATURE(7, 0, CPUID_EDX, 25),		/* AMX-INT8 */
	    CPUID_FEATURE(7, 0, CPUID_EDX, 26),		/* IBRS, IBPB */
	    CPUID_FEATURE(7, 0, CPUID_EDX, 27),		/* STIBP */
	    CPUID_FEATURE(7, 0, CPUID_EDX, 28),		/* L1D_FLUSH */
	    CPUID_FEATURE(7, 0, CPUID_EDX, 29),		/* ARCH_CAPABILITIES */
	    CPUID_FEATURE(7, 0, CPUID_EDX, 30),		/* CORE_CAPABILITIES */
	    CPUID_FEATURE(7, 0, CPUID_EDX, 31),		/* SSBD */
	    CPUID_FEATURE(0xd, 1, CPUID_EAX, 3),	/* XSAVES */
	    CPUID_FEATURE(0xd, 1, CPUID_EAX, 4),	/* XFD */
	    CPUID_FEATURE(0x80000001, 0, CPUID_ECX, 2), /* SVM */
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(hidden); i++)
		if (has(hidden[i]))
			fail_msg("feature %llx is shown", (unsigned long long)hidden[i]);
}

/* Only what the caller has the registers for; the processor's own bits say nothing. */
static void speculation_control_is_shown(void **state)
{
	(void)state;
	source.speculation = (uint32_t)(BIT(26) | BIT(29));
	build(all_ones);
	assert_int_equal(reg(7, 0, CPUID_EDX) & 0xfc000000, BIT(26) | BIT(29));
	assert_int_equal(reg(7, 0, CPUID_EAX), 0);
	assert_zero_leaf(7, 2);
	source.speculation_2 = (uint32_t)BIT(4);
	build(all_zeroes);
	assert_int_equal(reg(7, 0, CPUID_EDX), BIT(26) | BIT(29));
	assert_int_equal(reg(7, 0, CPUID_EAX), 2);
	assert_zero_leaf(7, 1);
	assert_int_equal(reg(7, 2, CPUID_EDX), BIT(4));
}

static void leaves_of_what_is_hidden_are_empty(void **state)
{
	/* serial number, MONITOR, DCA, PMU, RDT (2), SGX, PT; what lies between */
	static const uint32_t empty[] = {3, 5, 8, 9, 0xa, 0xc, 0xe, 0xf, 0x10, 0x11, 0x12, 0x13, 0x14};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(empty); i++)
		for (uint32_t subleaf = 0; subleaf < 3; subleaf++)
			assert_zero_leaf(empty[i], subleaf);
	assert_int_equal(reg(6, 0, CPUID_EAX), 1 << 2); /* only that the APIC timer never stops: no turbo, no HWP */
	assert_int_equal(reg(6, 0, CPUID_ECX), 0);	/* no APERF and MPERF */
}

static void what_is_ours_is_always_shown(void **state)
{
	(void)state;
	build(all_zeroes);
	assert_true(has(CPUID_X2APIC));
	assert_true(has(CPUID_TSC_DEADLINE));
	assert_true(has(CPUID_HYPERVISOR));
	assert_true(has(CPUID_INVARIANT_TSC));
	assert_true(has(CPUID_FEATURE(7, 0, CPUID_EBX, 1))); /* TSC_ADJUST */
	assert_false(has(CPUID_PCID));
	assert_false(has(CPUID_NX));
}

static void what_the_processor_has_passes(void **state)
{
	static const uint64_t shown[] = {
	    CPUID_PCID,	   CPUID_XSAVE,	   CPUID_AVX,	    CPUID_APIC,
	    CPUID_MTRR,	   CPUID_PAT,	   CPUID_SMEP,	    CPUID_SMAP,
	    CPUID_INVPCID, CPUID_UMIP,	   CPUID_NX,	    CPUID_RDTSCP,
	    CPUID_PAGE_1G, CPUID_XSAVEOPT, CPUID_LONG_MODE, CPUID_FEATURE(7, 0, CPUID_EBX, 16)};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(shown); i++)
		if (!has(shown[i]))
			fail_msg("feature %llx is hidden", (unsigned long long)shown[i]);
}

static void features_without_their_control_are_hidden(void **state)
{
	(void)state;
	source.rdtscp = source.invpcid = false;
	build(all_ones);
	assert_false(has(CPUID_RDTSCP));
	assert_false(has(CPUID_FEATURE(7, 0, CPUID_ECX, 22))); /* RDPID */
	assert_false(has(CPUID_INVPCID));
}

/* AVX2, VAES, VPCLMULQDQ; AVX-512 and its kin. */
static void assert_no_avx512(void)
{
	assert_int_equal(reg(7, 0, CPUID_EBX) & 0xdc230000, 0);
	assert_int_equal(reg(7, 0, CPUID_ECX) & 0x5842, 0);
	assert_int_equal(reg(7, 0, CPUID_EDX) & 0x80010c, 0);
}

static void assert_no_avx(void)
{
	assert_int_equal(reg(1, 0, CPUID_ECX) & 0x30001000, 0); /* AVX, F16C, FMA */
	assert_int_equal(reg(7, 0, CPUID_EBX) & 0x20, 0);
	assert_int_equal(reg(7, 0, CPUID_ECX) & 0x600, 0);
	assert_no_avx512();
}

static void without_xsave_there_is_no_avx(void **state)
{
	(void)state;
	source.xcr0_mask = 0;
	build(all_ones);
	assert_false(has(CPUID_XSAVE));
	assert_no_avx();
	assert_int_equal(reg(7, 0, CPUID_ECX) & 1 << 3, 0); /* PKU */
	assert_zero_leaf(0xd, 0);
	assert_zero_leaf(0xd, 1);
	assert_int_equal(cpuid_cr4_bits(&table) & (CR4_OSXSAVE | CR4_PKE), 0);
}

static void features_follow_the_states_that_are_kept(void **state)
{
	(void)state;
	source.xcr0_mask = 3;
	build(all_ones);
	assert_true(has(CPUID_XSAVE));
	assert_no_avx();
	source.xcr0_mask = 7;
	build(all_ones);
	assert_true(has(CPUID_AVX));
	assert_no_avx512();
	assert_int_equal(reg(0xd, 0, CPUID_EAX), 7);
	assert_zero_leaf(0xd, 5);
	assert_int_equal(reg(7, 0, CPUID_ECX) & 1 << 3, 0);
}

static void xsave_area_is_sized_for_what_is_shown(void **state)
{
	(void)state;
	source.xcr0_mask = 0x207;
	build(plain_cpu);
	assert_int_equal(reg(0xd, 0, CPUID_EAX), 0x207);
	assert_int_equal(reg(0xd, 0, CPUID_ECX), 2688 + 8);
	assert_int_equal(reg(0xd, 2, CPUID_EBX), 576);
	assert_zero_leaf(0xd, 3);
	source.xcr0_mask = 3;
	build(plain_cpu);
	assert_int_equal(reg(0xd, 0, CPUID_ECX), 576);
	/* Both sizes depend on the guest's XCR0: the table can't hold them. */
	assert_int_equal(cpuid_find(&table, 0xd, 0)->dynamic, CPUID_DYNAMIC_XSAVE);
	assert_int_equal(cpuid_find(&table, 0xd, 1)->dynamic, CPUID_DYNAMIC_XSAVE);
}

static void xsave_size_follows_xcr0(void **state)
{
	(void)state;
	source.xcr0_mask = 0x227;
	build(plain_cpu);
	for (unsigned compacted = 0; compacted < 2; compacted++) {
		assert_int_equal(cpuid_xsave_size(&table, 1, compacted), 576);
		assert_int_equal(cpuid_xsave_size(&table, 3, compacted), 576);
		assert_int_equal(cpuid_xsave_size(&table, 7, compacted), 832);
	}
	assert_int_equal(cpuid_xsave_size(&table, 0x27, false), 1160);
	assert_int_equal(cpuid_xsave_size(&table, 0x27, true), 904);
	assert_int_equal(cpuid_xsave_size(&table, 0x207, false), 2696);
	assert_int_equal(cpuid_xsave_size(&table, 0x207, true), 840);
	assert_int_equal(cpuid_xsave_size(&table, 0x227, true), 960 + 8); /* component 9 wants to be aligned */
}

static void topology_is_the_vms(void **state)
{
	(void)state;
	for (unsigned vcpus = 1; vcpus <= 32; vcpus++) {
		uint32_t shift;

		source.vcpus = vcpus;
		build(all_ones);
		shift = reg(0xb, 1, CPUID_EAX);
		assert_true(1u << shift >= vcpus);
		assert_true(vcpus == 1 || 1u << (shift - 1) < vcpus); /* not wider than it needs to be */
		assert_int_equal(reg(1, 0, CPUID_EBX) >> 16 & 0xff, 1u << shift);
		assert_int_equal(reg(1, 0, CPUID_EBX) >> 24, 0); /* APIC ID: the vCPU's */
		assert_int_equal(reg(1, 0, CPUID_EDX) >> 28 & 1, vcpus > 1);
		assert_int_equal(reg(0xb, 0, CPUID_EAX), 0);
		assert_int_equal(reg(0xb, 0, CPUID_EBX), 1);
		assert_int_equal(reg(0xb, 0, CPUID_ECX), 0x100);
		assert_int_equal(reg(0xb, 1, CPUID_EBX), vcpus);
		assert_int_equal(reg(0xb, 1, CPUID_ECX), 0x201);
		assert_int_equal(reg(0xb, 2, CPUID_ECX) >> 8, 0); /* the end */
		assert_int_equal(reg(0xb, 77, CPUID_EBX), 0);
		assert_int_equal(cpuid_find(&table, 0xb, 77)->dynamic, CPUID_DYNAMIC_TOPOLOGY);
		assert_int_equal(reg(4, 0, CPUID_EAX) >> 14 & 0xfff, vcpus - 1); /* level 7: shared by all */
		assert_int_equal(reg(4, 0, CPUID_EAX) >> 26, (1u << shift) - 1);
	}
}

static void the_processors_topology_does_not_show(void **state)
{
	(void)state;
	build(plain_cpu);
	assert_int_equal(reg(1, 0, CPUID_EBX), 0x00010800);
	assert_int_equal(reg(4, 0, CPUID_EAX), 3 << 5 | 1);
}

/* A guest counts caches until the type is 0: one that never is would be counted for ever. */
static void subleaves_end(void **state)
{
	(void)state;
	build(plain_cpu);
	assert_zero_leaf(4, 1);
	assert_zero_leaf(7, 1);
	assert_int_equal(reg(7, 0, CPUID_EAX), 0); /* and it says so */
	build(all_ones);
	assert_int_not_equal(reg(4, 7, CPUID_EAX), 0);
	assert_zero_leaf(4, 8);
	assert_zero_leaf(0xd, 3);
	assert_zero_leaf(0xd, 64);
}

static void ecx_is_not_looked_at_elsewhere(void **state)
{
	(void)state;
	assert_ptr_equal(cpuid_find(&table, 1, 0xffffffff), cpuid_find(&table, 1, 0));
	assert_ptr_equal(cpuid_find(&table, 0x15, 5), cpuid_find(&table, 0x15, 0));
	assert_ptr_equal(cpuid_find(&table, 0x80000001, 1), cpuid_find(&table, 0x80000001, 0));
}

static void frequency_is_true(void **state)
{
	static const uint64_t hz[] = {100000000, 2394454545, 3500000000, 4294967295, 4294967296, 5000000000};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(hz); i++) {
		uint64_t told;

		source.tsc_hz = hz[i];
		build(all_ones);
		told = (uint64_t)reg(0x15, 0, CPUID_ECX) * reg(0x15, 0, CPUID_EBX) / reg(0x15, 0, CPUID_EAX);
		assert_in_range(told, hz[i] - 3, hz[i]);
		assert_int_equal(reg(0x16, 0, CPUID_EAX), (hz[i] + 500000) / 1000000);
		assert_int_equal(reg(CPUID_HYPERVISOR_BASE + 0x10, 0, CPUID_EAX), hz[i] / 1000);
		assert_int_equal(reg(CPUID_HYPERVISOR_BASE + 0x10, 0, CPUID_EBX), hz[i] / 1000);
	}
}

static void leaves_out_of_range(void **state)
{
	static const uint32_t beyond[] = {0x17, 0x1000, 0x3fffffff, 0x40000011, 0x7fffffff, 0x80000009, 0xffffffff};

	(void)state;
	assert_int_equal(reg(0, 0, CPUID_EAX), 0x16);
	assert_int_equal(reg(0x80000000, 0, CPUID_EAX), 0x80000008);
	assert_int_equal(reg(0x80000000, 0, CPUID_EBX), 0);
	assert_int_equal(reg(CPUID_HYPERVISOR_BASE, 0, CPUID_EAX), 0x40000010);
	assert_memory_equal(&cpuid_find(&table, CPUID_HYPERVISOR_BASE, 0)->reg[CPUID_EBX], "VireoVireoVi", 12);
	for (unsigned i = 0; i < ARRAY_SIZE(beyond); i++)
		assert_ptr_equal(cpuid_find(&table, beyond[i], 3), cpuid_find(&table, 0x16, 0));
	for (uint32_t leaf = 0x40000002; leaf < 0x40000010; leaf++)
		assert_zero_leaf(leaf, 0);
}

static void kvms_leaves_when_they_are_wanted(void **state)
{
	(void)state;
	assert_zero_leaf(CPUID_KVM_BASE, 0);
	source.kvm = true;
	source.kvm_features = 0x1002a;
	build(all_ones);
	assert_int_equal(reg(CPUID_KVM_BASE, 0, CPUID_EAX), CPUID_KVM_BASE + 1);
	assert_memory_equal(&cpuid_find(&table, CPUID_KVM_BASE, 0)->reg[CPUID_EBX], "KVMKVMKVM\0\0\0", 12);
	assert_int_equal(reg(CPUID_KVM_BASE + 1, 0, CPUID_EAX), 0x1002a);
	assert_int_equal(reg(CPUID_HYPERVISOR_BASE, 0, CPUID_EAX), 0x40000010); /* ours stay */
	assert_ptr_equal(cpuid_find(&table, CPUID_KVM_BASE + 2, 0), cpuid_find(&table, 0x16, 0));
	source.kvm = false;
}

static void our_calls_leaf_when_it_is_wanted(void **state)
{
	(void)state;
	build(all_ones);
	assert_zero_leaf(VIREO_CPUID_CALLS, 0);
	source.hypercalls = true;
	build(all_ones);
	source.hypercalls = false;
	assert_int_equal(reg(VIREO_CPUID_CALLS, 0, CPUID_EAX), VIREO_CALLS);
	assert_int_equal(reg(VIREO_CPUID_CALLS, 0, CPUID_EBX), 0);
	assert_zero_leaf(VIREO_CPUID_CALLS + 1, 0);
}

static void extended_leaves(void **state)
{
	(void)state;
	build(plain_cpu);
	assert_zero_leaf(0x80000005, 0); /* beyond the processor's last one */
	assert_int_equal(reg(0x80000008, 0, CPUID_EAX), 48 << 8 | 39);
	build(all_ones);
	assert_int_equal(reg(0x80000008, 0, CPUID_EAX), 48 << 8 | 52); /* no address is wider */
	assert_int_equal(reg(0x80000008, 0, CPUID_EBX), 0);
	assert_int_equal(reg(0x80000007, 0, CPUID_EDX), 1 << 8);
	assert_int_equal(reg(0x80000001, 0, CPUID_EDX), 0x2c100800);
	assert_int_equal(reg(0x80000001, 0, CPUID_ECX), 0x121);
}

/* Every leaf's entries are there and lie side by side, even when the processor has everything. */
static void the_table_is_large_enough(void **state)
{
	(void)state;
	source.vcpus = 32;
	source.xcr0_mask = ~0ULL;
	build(all_ones);
	assert_in_range(table.count, 60, CPUID_MAX_ENTRIES);
	assert_int_equal(reg(0x80000008, 0, CPUID_EAX) & 0xff, 52); /* the last one added */
	assert_ptr_equal(cpuid_find(&table, 0x80000008, 0), &table.entry[table.count - 1]);
	for (uint32_t i = 0; i < 32; i++)
		assert_int_equal(cpuid_find(&table, 0xd, i)->subleaf, i);
	for (uint32_t i = 0; i < 8; i++)
		assert_int_equal(cpuid_find(&table, 4, i)->subleaf, i);
}

static void cr4_bits_follow_the_features(void **state)
{
	const uint64_t never = CR4_VMXE | CR4_SMXE | CR4_LA57 | CR4_CET | ~0xffffffffULL;
	const uint64_t optional = CR4_PCIDE | CR4_OSXSAVE | CR4_FSGSBASE | CR4_SMEP | CR4_SMAP | CR4_UMIP | CR4_PKE;

	(void)state;
	assert_int_equal(cpuid_cr4_bits(&table) & never, 0);
	assert_int_equal(cpuid_cr4_bits(&table) & optional, optional);
	source.xcr0_mask = 0;
	build(all_zeroes);
	assert_int_equal(cpuid_cr4_bits(&table) & (never | optional), 0);
	assert_int_not_equal(cpuid_cr4_bits(&table) & CR4_PAE, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(what_is_not_virtualised_is_hidden, setup),
	    cmocka_unit_test_setup(speculation_control_is_shown, setup),
	    cmocka_unit_test_setup(leaves_of_what_is_hidden_are_empty, setup),
	    cmocka_unit_test_setup(what_is_ours_is_always_shown, setup),
	    cmocka_unit_test_setup(what_the_processor_has_passes, setup),
	    cmocka_unit_test_setup(features_without_their_control_are_hidden, setup),
	    cmocka_unit_test_setup(without_xsave_there_is_no_avx, setup),
	    cmocka_unit_test_setup(features_follow_the_states_that_are_kept, setup),
	    cmocka_unit_test_setup(xsave_area_is_sized_for_what_is_shown, setup),
	    cmocka_unit_test_setup(xsave_size_follows_xcr0, setup),
	    cmocka_unit_test_setup(topology_is_the_vms, setup),
	    cmocka_unit_test_setup(the_processors_topology_does_not_show, setup),
	    cmocka_unit_test_setup(subleaves_end, setup),
	    cmocka_unit_test_setup(ecx_is_not_looked_at_elsewhere, setup),
	    cmocka_unit_test_setup(frequency_is_true, setup),
	    cmocka_unit_test_setup(leaves_out_of_range, setup),
	    cmocka_unit_test_setup(kvms_leaves_when_they_are_wanted, setup),
	    cmocka_unit_test_setup(our_calls_leaf_when_it_is_wanted, setup),
	    cmocka_unit_test_setup(extended_leaves, setup),
	    cmocka_unit_test_setup(the_table_is_large_enough, setup),
	    cmocka_unit_test_setup(cr4_bits_follow_the_features, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
