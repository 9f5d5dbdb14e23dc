/*
 * The CPUID table of a VM, made from a processor that answers anything: whatever it has, a guest is shown what is on
 * the list and no more, on top of it what is Vireo's own, and features only together with what they need. Each answer
 * is found again in the table by a plain search, for any leaf and subleaf.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/cpuid.c */
#include <string.h>

#include "arch/x86/cpuid.h"
#include "arch/x86/registers.h"
#include "hv/abi.h"
#include "hv/cpuid.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"

#define ANSWERS	   48 /* of the processor that the input gives one by one */
#define XSAVE_BITS 10

/* --- the processor: all bits of a leaf are the same, or the input's ----------------------------------------------- */

static struct {
	uint32_t leaf, subleaf, reg[4];
} answer[ANSWERS];
static unsigned answers;
static uint32_t otherwise; /* zeroes or ones */

static void processor(uint32_t leaf, uint32_t subleaf, uint32_t regs[4])
{
	for (unsigned i = 0; i < 4; i++)
		regs[i] = otherwise;
	for (unsigned i = 0; i < answers; i++)
		if (answer[i].leaf == leaf && answer[i].subleaf == subleaf)
			memcpy(regs, answer[i].reg, sizeof(answer[i].reg));
	if (leaf == 0xd && subleaf > 1) { /* areas of some pages, as on any processor: the sum has 32 bits */
		regs[CPUID_EAX] %= 16384;
		regs[CPUID_EBX] %= 65536;
	}
}

static void read_processor(void)
{
	static const uint32_t leaves[] = {0, 1, 2, 4, 7, 0xd, 0x80000000, 0x80000001, 0x80000007, 0x80000008, 6, 0xb};

	otherwise = next(1) & 1 ? UINT32_MAX : 0;
	for (answers = 0; answers < ANSWERS && left > 8; answers++) {
		unsigned how = (unsigned)next(1);

		answer[answers].leaf = leaves[how % ARRAY_SIZE(leaves)];
		answer[answers].subleaf = how >= 128 ? how % 10 : 0;
		for (unsigned i = 0; i < 4; i++)
			answer[answers].reg[i] = (uint32_t)next(how & 64 ? 4 : 1);
	}
}

/* --- what may be shown ----------------------------------------------------------------------------------------------
 */

/*
 * Bits that a guest may never see, by their names in SDM Vol. 2A, since nobody virtualises, saves or restores what they
 * stand for. Written from the other end than hv/cpuid.c's lists of what passes.
 */
static const struct {
	uint32_t leaf, subleaf;
	unsigned reg;
	uint32_t bits;
	const char *name;
} never[] = {
    {1, 0, CPUID_ECX, 1U << 2, "DTES64"},
    {1, 0, CPUID_ECX, 1U << 3, "MONITOR"},
    {1, 0, CPUID_ECX, 1U << 4, "DS_CPL"},
    {1, 0, CPUID_ECX, 1U << 5, "VMX"},
    {1, 0, CPUID_ECX, 1U << 6, "SMX"},
    {1, 0, CPUID_ECX, 1U << 7, "EIST"},
    {1, 0, CPUID_ECX, 1U << 8, "TM2"},
    {1, 0, CPUID_ECX, 1U << 11, "SDBG"},
    {1, 0, CPUID_ECX, 1U << 14, "xTPR"},
    {1, 0, CPUID_ECX, 1U << 15, "PDCM"},
    {1, 0, CPUID_ECX, 1U << 18, "DCA"},
    {1, 0, CPUID_EDX, 1U << 18, "PSN"},
    {1, 0, CPUID_EDX, 1U << 21, "DS"},
    {1, 0, CPUID_EDX, 1U << 22, "ACPI"},
    {1, 0, CPUID_EDX, 1U << 29, "TM"},
    {1, 0, CPUID_EDX, 1U << 31, "PBE"},
    {7, 0, CPUID_EBX, 1U << 2, "SGX"},
    {7, 0, CPUID_EBX, 1U << 4, "HLE"},
    {7, 0, CPUID_EBX, 1U << 11, "RTM"},
    {7, 0, CPUID_EBX, 1U << 12, "RDT-M"},
    {7, 0, CPUID_EBX, 1U << 14, "MPX"},
    {7, 0, CPUID_EBX, 1U << 15, "RDT-A"},
    {7, 0, CPUID_EBX, 1U << 25, "PT"},
    {7, 0, CPUID_ECX, 1U << 5, "WAITPKG"},
    {7, 0, CPUID_ECX, 1U << 7, "CET_SS"},
    {7, 0, CPUID_ECX, 1U << 13, "TME"},
    {7, 0, CPUID_ECX, 1U << 16, "LA57"},
    {7, 0, CPUID_ECX, 1U << 23, "KL"},
    {7, 0, CPUID_ECX, 1U << 24, "BUS_LOCK"},
    {7, 0, CPUID_ECX, 1U << 29, "ENQCMD"},
    {7, 0, CPUID_ECX, 1U << 30, "SGX_LC"},
    {7, 0, CPUID_ECX, 1U << 31, "PKS"},
    {7, 0, CPUID_EDX, 1U << 5, "UINTR"},
    {7, 0, CPUID_EDX, 1U << 18, "PCONFIG"},
    {7, 0, CPUID_EDX, 1U << 19, "LBR"},
    {7, 0, CPUID_EDX, 1U << 20, "CET_IBT"},
    {7, 0, CPUID_EDX, 7U << 22 & ~(1U << 23), "AMX"},
    {7, 0, CPUID_EDX, 1U << 25, "AMX_INT8"},
    {7, 0, CPUID_EDX, 1U << 30, "CORE_CAPABILITIES"},
    {0xd, 1, CPUID_EAX, ~7U, "XSAVES and what follows"},
    {0xd, 1, CPUID_ECX, ~0U, "supervisor states"},
    {0xd, 1, CPUID_EDX, ~0U, "supervisor states"},
    {6, 0, CPUID_EAX, ~4U, "turbo, HWP"},
    {6, 0, CPUID_ECX, ~0U, "APERF and MPERF"},
    {0x80000001, 0, CPUID_ECX, 1U << 2, "SVM"},
    {0x80000007, 0, CPUID_EDX, ~(1U << 8), "power management"},
};

static struct cpuid_table table;
static struct cpuid_source source;

static const uint32_t *leaf(uint32_t number, uint32_t subleaf)
{
	return cpuid_find(&table, number, subleaf)->reg;
}

static bool shows(uint32_t number, unsigned reg, unsigned bit)
{
	return leaf(number, 0)[reg] >> bit & 1;
}

static void check_hidden(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(never); i++) {
		if (!(leaf(never[i].leaf, never[i].subleaf)[never[i].reg] & never[i].bits))
			continue;
		fprintf(stderr, "%s is shown\n", never[i].name);
		abort();
	}
}

/* Nothing that the processor doesn't have, but for what is Vireo's own. */
static void check_invented(void)
{
	static const struct {
		uint32_t leaf;
		unsigned reg;
		uint32_t ours;
	} features[] = {
	    {1, CPUID_ECX, 1U << 21 | 1U << 24 | 1U << 26 | 1U << 31}, /* x2APIC, TSC deadline, XSAVE, hypervisor */
	    {1, CPUID_EDX, 1U << 28},				       /* HTT */
	    {7, CPUID_EBX, 1U << 1},				       /* TSC_ADJUST */
	    {7, CPUID_ECX, 0},
	    {7, CPUID_EDX, 0},
	    {0x80000001, CPUID_ECX, 0},
	    {0x80000001, CPUID_EDX, 0},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(features); i++) {
		uint32_t regs[4];

		processor(features[i].leaf, 0, regs);
		REQUIRE(!(leaf(features[i].leaf, 0)[features[i].reg] & ~(regs[features[i].reg] | features[i].ours)));
	}
}

/* Features need the state that they live in, and the control that lets them run (SDM Vol. 1 13.2, 14.3, 15.3). */
static void check_needs(void)
{
	static const uint8_t avx_7b[] = {5}, avx_7c[] = {9, 10}, avx_1c[] = {12, 28, 29};
	static const uint8_t avx512_7b[] = {16, 17, 21, 26, 27, 28, 30, 31}, avx512_7c[] = {1, 6, 11, 12, 14};
	bool avx = source.xcr0_mask & XCR0_AVX, avx512 = avx && (source.xcr0_mask & XCR0_AVX512) == XCR0_AVX512;

	for (unsigned i = 0; i < ARRAY_SIZE(avx_1c); i++)
		REQUIRE(avx || !shows(1, CPUID_ECX, avx_1c[i]));
	for (unsigned i = 0; i < ARRAY_SIZE(avx_7b); i++)
		REQUIRE(avx || !shows(7, CPUID_EBX, avx_7b[i]));
	for (unsigned i = 0; i < ARRAY_SIZE(avx_7c); i++)
		REQUIRE(avx || !shows(7, CPUID_ECX, avx_7c[i]));
	for (unsigned i = 0; i < ARRAY_SIZE(avx512_7b); i++)
		REQUIRE(avx512 || !shows(7, CPUID_EBX, avx512_7b[i]));
	for (unsigned i = 0; i < ARRAY_SIZE(avx512_7c); i++)
		REQUIRE(avx512 || !shows(7, CPUID_ECX, avx512_7c[i]));
	REQUIRE(source.xcr0_mask & XCR0_PKRU || !shows(7, CPUID_ECX, 3));
	REQUIRE(source.invpcid || !shows(7, CPUID_EBX, 10));
	REQUIRE(source.rdtscp || !(shows(7, CPUID_ECX, 22) || shows(0x80000001, CPUID_EDX, 27)));
	REQUIRE(shows(1, CPUID_ECX, 26) == (source.xcr0_mask != 0));
	REQUIRE(source.xsavec || !(leaf(0xd, 1)[CPUID_EAX] & 2));
}

static void check_topology(void)
{
	uint32_t shift = leaf(0xb, 1)[CPUID_EAX], count = 1U << shift;

	REQUIRE(count >= source.vcpus && count < 2 * source.vcpus + (source.vcpus == 1));
	REQUIRE(leaf(0xb, 1)[CPUID_EBX] == source.vcpus);
	REQUIRE((leaf(1, 0)[CPUID_EBX] >> 16 & 0xff) == count && shows(1, CPUID_EDX, 28) == (source.vcpus > 1));
	for (unsigned i = 0; i < 8; i++)
		REQUIRE(!(leaf(4, i)[CPUID_EAX] & 31) || leaf(4, i)[CPUID_EAX] >> 26 == count - 1);
}

/* Room for every component in what subleaf 0 says is enough, by the table's own numbers. */
static void check_xsave(void)
{
	uint64_t mask = source.xcr0_mask;
	uint32_t largest = 576;

	if (!mask) {
		for (unsigned i = 0; i < 64; i++)
			REQUIRE(!leaf(0xd, i)[0] && !leaf(0xd, i)[1] && !leaf(0xd, i)[2] && !leaf(0xd, i)[3]);
		return;
	}
	REQUIRE(leaf(0xd, 0)[CPUID_EAX] == (uint32_t)mask && leaf(0xd, 0)[CPUID_EDX] == mask >> 32);
	for (unsigned i = 2; i < 64; i++) {
		const uint32_t *reg = leaf(0xd, i);
		uint32_t end = reg[CPUID_EAX] + reg[CPUID_EBX];

		REQUIRE(mask >> i & 1 || !(reg[0] | reg[1] | reg[2] | reg[3]));
		largest = end > largest ? end : largest;
	}
	REQUIRE(leaf(0xd, 0)[CPUID_ECX] == largest && cpuid_xsave_size(&table, mask, false) == largest);
	REQUIRE(cpuid_xsave_size(&table, 3, false) == 576 && cpuid_xsave_size(&table, 3, true) == 576);
	for (unsigned i = 2; i < XSAVE_BITS; i++) /* more state needs no less room */
		REQUIRE(cpuid_xsave_size(&table, mask & ~BIT(i), true) <= cpuid_xsave_size(&table, mask, true));
}

/* CR4 lets a guest set what it sees, of what there is to see. */
static void check_cr4(void)
{
	static const struct {
		uint64_t bit;
		uint32_t leaf;
		unsigned reg, feature;
	} pairs[] = {
	    {CR4_PCIDE, 1, CPUID_ECX, 17}, {CR4_OSXSAVE, 1, CPUID_ECX, 26}, {CR4_FSGSBASE, 7, CPUID_EBX, 0},
	    {CR4_SMEP, 7, CPUID_EBX, 7},   {CR4_SMAP, 7, CPUID_EBX, 20},    {CR4_UMIP, 7, CPUID_ECX, 2},
	    {CR4_PKE, 7, CPUID_ECX, 3},
	};
	uint64_t bits = cpuid_cr4_bits(&table);

	for (unsigned i = 0; i < ARRAY_SIZE(pairs); i++)
		REQUIRE(!(bits & pairs[i].bit) == !shows(pairs[i].leaf, pairs[i].reg, pairs[i].feature));
	REQUIRE(!(bits & (BIT(12) | BIT(13) | BIT(14) | BIT(23) | BIT(24) | BIT(25)))); /* LA57, VMXE, SMXE, CET, PKS */
	REQUIRE(!(bits >> 32));
}

/* Any question has an answer, which lies in the table; what is beyond all leaves answers as the last basic one. */
static void ask_anything(uint32_t number, uint32_t subleaf)
{
	const struct cpuid_entry *e = cpuid_find(&table, number, subleaf);
	bool known = number <= 0x16 || number - 0x80000000 < CPUID_EXTENDED_LEAVES ||
		     number - CPUID_HYPERVISOR_BASE < CPUID_HYPERVISOR_LEAVES ||
		     number - CPUID_KVM_BASE < CPUID_KVM_LEAVES;

	REQUIRE(e >= table.entry && e < table.entry + table.count && table.count <= CPUID_MAX_ENTRIES - 1);
	if (!known)
		REQUIRE(e == cpuid_find(&table, 0x16, 0));
	if (known && !e->indexed && e != table.entry) /* which answers for what is not there, other subleaves or not */
		REQUIRE(e == cpuid_find(&table, number, subleaf + 1));
	if (e->indexed && number != 0xb)
		REQUIRE(e->subleaf == subleaf);
}

static void check_fixed(void)
{
	REQUIRE(leaf(0, 0)[CPUID_EAX] == 0x16 && leaf(0x80000000, 0)[CPUID_EAX] == 0x80000008);
	REQUIRE(!memcmp(&leaf(CPUID_HYPERVISOR_BASE, 0)[CPUID_EBX], VIREO_SIGNATURE, 12));
	REQUIRE((leaf(0x80000008, 0)[CPUID_EAX] & 0xff) <= 52 && leaf(0x80000008, 0)[CPUID_EAX] >> 8 == 48);
	REQUIRE(!leaf(0xa, 0)[0] && !leaf(0x12, 0)[0] && !leaf(0x14, 0)[0]); /* no PMU, SGX, PT */
	REQUIRE(source.kvm || !leaf(CPUID_KVM_BASE, 0)[CPUID_EAX]);
	REQUIRE(source.hypercalls || !leaf(VIREO_CPUID_CALLS, 0)[CPUID_EAX]);
	REQUIRE(leaf(CPUID_KVM_BASE + 1, 0)[CPUID_EAX] == (source.kvm ? source.kvm_features : 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint16_t masks[] = {0, 3, 7, 0xe7, 0x207, 0x2e7, 0x203, 0xe7};
	unsigned how;

	input_begin(data, size);
	how = (unsigned)next(1);
	source = (struct cpuid_source){.read = processor,
				       .vcpus = 1 + (unsigned)next(1) % 32,
				       .xcr0_mask = masks[how % ARRAY_SIZE(masks)],
				       .kvm = how & 8,
				       .kvm_features = (uint32_t)next(2),
				       .hypercalls = how & 16,
				       .rdtscp = how & 32,
				       .invpcid = how & 64,
				       .xsavec = how & 128,
				       .tsc_hz = next(5)};
	read_processor();
	cpuid_build(&table, &source);
	check_hidden();
	check_invented();
	check_needs();
	check_topology();
	check_xsave();
	check_cr4();
	check_fixed();
	for (uint32_t i = 0; i < 0x20; i++) {
		ask_anything(i, (uint32_t)next(1));
		ask_anything(0x40000000 + i, 0);
		ask_anything(0x80000000 + i, i);
	}
	while (left)
		ask_anything((uint32_t)next(4), (uint32_t)next(4));
	return 0;
}
