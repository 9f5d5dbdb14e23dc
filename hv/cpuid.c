/*
 * The guest's CPUID table; see cpuid.h. Each leaf has a function that says what passes and why. SDM Vol. 2A, CPUID.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/cpuid.h"

#include "arch/x86/cpuid.h"
#include "arch/x86/registers.h"
#include "hv/abi.h"
#include "hv/lib/nospec.h"
#include "hv/lib/string.h"

#define NO_ENTRY	0 /* an entry of zeroes */
#define MAX_BASIC	0x16
#define MAX_EXTENDED	0x80000008u
#define MAX_HYPERVISOR	0x40000010u
#define BITS(high, low) ((uint32_t)(((1ULL << ((high) + 1)) - 1) & ~((1ULL << (low)) - 1)))

/*
 * Leaf 1 ECX: SSE3 PCLMULQDQ SSSE3 FMA CX16 PCID SSE4.1 SSE4.2 MOVBE POPCNT AES XSAVE AVX F16C RDRAND. Not shown:
 * MONITOR (exits as #UD), debug store, VMX, SMX, SpeedStep, thermal monitor, PDCM (no PMU), DCA. x2APIC and the
 * TSC-deadline timer are ours, so shown always; OSXSAVE follows the guest's CR4.
 */
#define LEAF1_ECX_PASS                                                                                                 \
	(BIT(0) | BIT(1) | BIT(9) | BIT(12) | BIT(13) | BIT(17) | BIT(19) | BIT(20) | BIT(22) | BIT(23) | BIT(25) |    \
	 BIT(28) | BIT(29) | BIT(30))
/* Leaf 1 EDX: all that a PC has except PSN (18), debug store (21), ACPI thermal (22), TM (29), PBE (31), and HTT (28),
 * which says that there is more than one logical processor. */
#define LEAF1_EDX_PASS (BITS(17, 0) | BIT(19) | BITS(27, 23))
/*
 * Leaf 7: EBX without SGX (2), HLE and RTM (4, 11: their abort MSRs are not virtualised), PQM and PQE (12, 15),
 * MPX (14), PCOMMIT (22), PT (25). ECX without MAWAU, SGX, PKS, LA57 (16), WAITPKG (5), CET (7), TME, key locker, bus
 * lock. EDX without CET (20), AMX, UINTR; speculation control (26 to 29, 31; all of subleaf 2) as far as its MSRs are
 * there for guests.
 */
#define LEAF7_EBX_PASS (BIT(0) | BIT(1) | BIT(3) | BITS(10, 5) | BIT(13) | BITS(21, 16) | BITS(24, 23) | BITS(31, 26))
#define LEAF7_ECX_PASS (BIT(0) | BIT(1) | BIT(2) | BIT(3) | BIT(6) | BITS(12, 8) | BIT(14) | BIT(22))
#define LEAF7_EDX_PASS (BIT(2) | BIT(3) | BIT(4) | BIT(8) | BIT(10) | BIT(14) | BIT(23))

#define XSAVE_FIXED (512u + 64u) /* legacy region and header (SDM Vol. 1 13.4) */

/* Leaves in which ECX chooses; in the others it is not looked at (SDM Vol. 2A, CPUID). */
static bool is_indexed(uint32_t leaf)
{
	return leaf == 4 || leaf == 7 || leaf == 0xb || leaf == 0xd;
}

static struct cpuid_entry *add(struct cpuid_table *t, uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_entry *e;
	uint8_t *first;

	if (t->count == CPUID_MAX_ENTRIES)
		return &t->entry[CPUID_MAX_ENTRIES - 1]; /* can't be: every leaf below adds a fixed number */
	if (leaf >= 0x80000000)
		first = &t->extended[leaf - 0x80000000];
	else if (leaf >= CPUID_KVM_BASE)
		first = &t->kvm[leaf - CPUID_KVM_BASE];
	else if (leaf >= CPUID_HYPERVISOR_BASE)
		first = &t->hypervisor[leaf - CPUID_HYPERVISOR_BASE];
	else
		first = &t->basic[leaf];
	e = &t->entry[t->count];
	memset(e, 0, sizeof(*e));
	e->subleaf = subleaf;
	e->indexed = is_indexed(leaf);
	if (*first == NO_ENTRY)
		*first = (uint8_t)t->count;
	else
		t->entry[t->count - 1].more = 1;
	t->count++;
	return e;
}

static struct cpuid_entry *add_from(struct cpuid_table *t, const struct cpuid_source *s, uint32_t leaf,
				    uint32_t subleaf)
{
	struct cpuid_entry *e = add(t, leaf, subleaf);

	s->read(leaf, subleaf, e->reg);
	return e;
}

/* The number of APIC ID bits that tell the VM's processors apart. */
static uint32_t topology_shift(unsigned vcpus)
{
	uint32_t shift = 0;

	while ((1u << shift) < vcpus)
		shift++;
	return shift;
}

static void build_features(struct cpuid_table *t, const struct cpuid_source *s)
{
	struct cpuid_entry *e = add_from(t, s, 1, 0);

	e->dynamic = CPUID_DYNAMIC_FEATURES; /* APIC ID, OSXSAVE, APIC enabled */
	e->reg[CPUID_EBX] = (e->reg[CPUID_EBX] & 0xffff) | 1u << (16 + topology_shift(s->vcpus));
	e->reg[CPUID_ECX] &= (uint32_t)LEAF1_ECX_PASS;
	e->reg[CPUID_ECX] |= CPUID_FEATURE_MASK(CPUID_X2APIC) | CPUID_FEATURE_MASK(CPUID_TSC_DEADLINE) |
			     CPUID_FEATURE_MASK(CPUID_HYPERVISOR);
	if (s->xcr0_mask)
		e->reg[CPUID_ECX] |= CPUID_FEATURE_MASK(CPUID_XSAVE);
	if (!(s->xcr0_mask & XCR0_AVX))
		e->reg[CPUID_ECX] &= ~(uint32_t)(BIT(28) | BIT(29) | BIT(12));
	e->reg[CPUID_EDX] &= (uint32_t)LEAF1_EDX_PASS;
	if (s->vcpus > 1)
		e->reg[CPUID_EDX] |= (uint32_t)BIT(28);
}

/* Deterministic cache parameters: sizes are the processor's, who shares them is the VM's. */
static void build_caches(struct cpuid_table *t, const struct cpuid_source *s)
{
	for (uint32_t i = 0; i < 8; i++) {
		uint32_t regs[4];
		struct cpuid_entry *e;

		s->read(4, i, regs);
		if (!(regs[CPUID_EAX] & 0x1f))
			break;
		e = add(t, 4, i);
		memcpy(e->reg, regs, sizeof(regs));
		e->reg[CPUID_EAX] &= 0x3fff;
		if ((regs[CPUID_EAX] >> 5 & 7) >= 3)
			e->reg[CPUID_EAX] |= (s->vcpus - 1) << 14;
		e->reg[CPUID_EAX] |= ((1u << topology_shift(s->vcpus)) - 1) << 26;
	}
}

static void build_structured(struct cpuid_table *t, const struct cpuid_source *s)
{
	struct cpuid_entry *e = add_from(t, s, 7, 0);
	const uint64_t xcr0_avx512 = XCR0_AVX | XCR0_AVX512;
	const uint32_t avx512 = (uint32_t)(BIT(16) | BIT(17) | BIT(21) | BITS(28, 26) | BIT(30) | BIT(31));

	e->dynamic = CPUID_DYNAMIC_7;		      /* OSPKE */
	e->reg[CPUID_EAX] = s->speculation_2 ? 2 : 0; /* the last subleaf */
	e->reg[CPUID_EBX] &= (uint32_t)LEAF7_EBX_PASS;
	e->reg[CPUID_ECX] &= (uint32_t)LEAF7_ECX_PASS;
	e->reg[CPUID_EDX] &= (uint32_t)LEAF7_EDX_PASS;
	e->reg[CPUID_EDX] |= s->speculation;
	e->reg[CPUID_EBX] |= CPUID_FEATURE_MASK(CPUID_TSC_ADJUST); /* ours */
	if (!s->invpcid)
		e->reg[CPUID_EBX] &= ~(uint32_t)BIT(10);
	if (!s->rdtscp)
		e->reg[CPUID_ECX] &= ~(uint32_t)BIT(22); /* RDPID reads the same MSR */
	if (!(s->xcr0_mask & XCR0_AVX)) {
		e->reg[CPUID_EBX] &= ~(uint32_t)BIT(5);
		e->reg[CPUID_ECX] &= ~(uint32_t)(BIT(9) | BIT(10)); /* VAES, VPCLMULQDQ */
	}
	if ((s->xcr0_mask & xcr0_avx512) != xcr0_avx512) {
		e->reg[CPUID_EBX] &= ~avx512;
		e->reg[CPUID_ECX] &= ~(uint32_t)(BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14));
		e->reg[CPUID_EDX] &= ~(uint32_t)(BIT(2) | BIT(3) | BIT(8) | BIT(23));
	}
	if (!(s->xcr0_mask & XCR0_PKRU))
		e->reg[CPUID_ECX] &= ~(uint32_t)BIT(3);
	add(t, 7, 2)->reg[CPUID_EDX] = s->speculation_2;
}

/* Extended topology: one thread a core, all cores in one package (SDM Vol. 3A 9.9). */
static void build_topology(struct cpuid_table *t, const struct cpuid_source *s)
{
	struct cpuid_entry *e = add(t, 0xb, 0);

	e->dynamic = CPUID_DYNAMIC_TOPOLOGY;
	e->reg[CPUID_EBX] = 1;
	e->reg[CPUID_ECX] = 1 << 8; /* SMT level */
	e = add(t, 0xb, 1);
	e->dynamic = CPUID_DYNAMIC_TOPOLOGY;
	e->reg[CPUID_EAX] = topology_shift(s->vcpus);
	e->reg[CPUID_EBX] = s->vcpus;
	e->reg[CPUID_ECX] = 2 << 8 | 1; /* core level */
	e = add(t, 0xb, 2);
	e->dynamic = CPUID_DYNAMIC_TOPOLOGY;
	e->reg[CPUID_ECX] = 2; /* no further level */
}

static uint32_t larger(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

/*
 * EBX of subleaves 0 and 1 depends on the guest's XCR0 and is computed at the exit, by cpuid_xsave_size: some
 * processors (Bochs's Skylake) tell another compacted size than their components make, and Linux then does without AVX.
 */
static void build_xsave(struct cpuid_table *t, const struct cpuid_source *s)
{
	uint32_t size = XSAVE_FIXED;
	struct cpuid_entry *whole, *e;

	if (!s->xcr0_mask)
		return;
	whole = add_from(t, s, 0xd, 0);
	whole->dynamic = CPUID_DYNAMIC_XSAVE;
	whole->reg[CPUID_EAX] = (uint32_t)s->xcr0_mask;
	whole->reg[CPUID_EDX] = (uint32_t)(s->xcr0_mask >> 32);
	e = add_from(t, s, 0xd, 1);
	e->dynamic = CPUID_DYNAMIC_XSAVE;
	/* XSAVEOPT, XGETBV with ECX = 1; XSAVEC where it can be trusted; not XSAVES: no supervisor state is kept. */
	e->reg[CPUID_EAX] &= s->xsavec ? 0x7 : 0x5;
	e->reg[CPUID_ECX] = 0;
	e->reg[CPUID_EDX] = 0;
	for (uint32_t i = 2; i < 32; i++) {
		if (!(s->xcr0_mask & BIT(i)))
			continue;
		e = add_from(t, s, 0xd, i);
		size = larger(size, e->reg[CPUID_EBX] + e->reg[CPUID_EAX]);
	}
	whole->reg[CPUID_ECX] = size; /* of what the guest may have, not of all that the processor has */
}

/*
 * Leaf 0x15 tells the true rate of the TSC, and by the crystal's rate that of the local APIC timer: both are one tick
 * of the measured TSC. ECX has 32 bits, so a TSC above 4.29 GHz is told as a multiple.
 */
static void build_frequencies(struct cpuid_table *t, const struct cpuid_source *s)
{
	struct cpuid_entry *e = add(t, 0x15, 0);
	uint32_t ratio = s->tsc_hz >> 32 ? 4 : 1;

	e->reg[CPUID_EAX] = 1;
	e->reg[CPUID_EBX] = ratio;
	e->reg[CPUID_ECX] = (uint32_t)(s->tsc_hz / ratio);
	e = add(t, 0x16, 0);
	e->reg[CPUID_EAX] = (uint32_t)((s->tsc_hz + 500000) / 1000000);
	e->reg[CPUID_EBX] = e->reg[CPUID_EAX];
	e->reg[CPUID_ECX] = 100;
}

static void build_basic(struct cpuid_table *t, const struct cpuid_source *s)
{
	add_from(t, s, 0, 0)->reg[CPUID_EAX] = MAX_BASIC;
	build_features(t, s);
	add_from(t, s, 2, 0);
	build_caches(t, s);
	add(t, 6, 0)->reg[CPUID_EAX] = 1 << 2; /* ARAT: the APIC timer never stops */
	build_structured(t, s);
	build_topology(t, s);
	build_xsave(t, s);
	build_frequencies(t, s);
}

/* Our own leaves: a signature, a version, and the frequencies where VMware put them and guests look for them. */
static void build_hypervisor(struct cpuid_table *t, const struct cpuid_source *s)
{
	struct cpuid_entry *e = add(t, CPUID_HYPERVISOR_BASE, 0);

	e->reg[CPUID_EAX] = MAX_HYPERVISOR;
	memcpy(&e->reg[CPUID_EBX], VIREO_SIGNATURE, 12);
	add(t, CPUID_HYPERVISOR_BASE + 1, 0)->reg[CPUID_EAX] = 1; /* version of these leaves */
	if (s->hypercalls)
		add(t, VIREO_CPUID_CALLS, 0)->reg[CPUID_EAX] = VIREO_CALLS;
	e = add(t, MAX_HYPERVISOR, 0);
	e->reg[CPUID_EAX] = (uint32_t)(s->tsc_hz / 1000); /* TSC, kHz */
	e->reg[CPUID_EBX] = (uint32_t)(s->tsc_hz / 1000); /* APIC timer, kHz */
}

/* KVM's signature, so that Linux finds what it knows (hv/pv.h). */
static void build_kvm(struct cpuid_table *t, const struct cpuid_source *s)
{
	struct cpuid_entry *e;

	if (!s->kvm)
		return;
	e = add(t, CPUID_KVM_BASE, 0);
	e->reg[CPUID_EAX] = CPUID_KVM_BASE + 1;
	memcpy(&e->reg[CPUID_EBX], "KVMKVMKVM\0\0\0", 12);
	add(t, CPUID_KVM_BASE + 1, 0)->reg[CPUID_EAX] = s->kvm_features;
}

static void build_extended(struct cpuid_table *t, const struct cpuid_source *s)
{
	struct cpuid_entry *e = add_from(t, s, 0x80000000, 0);
	uint32_t host_max = e->reg[CPUID_EAX], phys_bits;

	*e = (struct cpuid_entry){.reg = {MAX_EXTENDED}};
	e = add_from(t, s, 0x80000001, 0);
	e->reg[CPUID_ECX] &= (uint32_t)(BIT(0) | BIT(5) | BIT(8)); /* LAHF in 64-bit mode, LZCNT, PREFETCHW */
	e->reg[CPUID_EDX] &= (uint32_t)(BIT(11) | BIT(20) | BIT(26) | BIT(27) | BIT(29));
	if (!s->rdtscp)
		e->reg[CPUID_EDX] &= ~(uint32_t)BIT(27);
	for (uint32_t leaf = 0x80000002; leaf <= 0x80000006 && leaf <= host_max; leaf++)
		add_from(t, s, leaf, 0);
	add(t, 0x80000007, 0)->reg[CPUID_EDX] = 1 << 8; /* the TSC never stops or changes its rate */
	e = add_from(t, s, 0x80000008, 0);
	phys_bits = e->reg[CPUID_EAX] & 0xff;
	e->reg[CPUID_EAX] = (phys_bits > 52 ? 52 : phys_bits) | 48 << 8; /* LA57 is not shown */
	e->reg[CPUID_EBX] = 0;
	e->reg[CPUID_ECX] = 0;
	e->reg[CPUID_EDX] = 0;
}

void cpuid_build(struct cpuid_table *table, const struct cpuid_source *source)
{
	memset(table, 0, sizeof(*table));
	table->count = NO_ENTRY + 1;
	build_basic(table, source);
	build_hypervisor(table, source);
	build_kvm(table, source);
	build_extended(table, source);
}

const struct cpuid_entry *cpuid_find(const struct cpuid_table *t, uint32_t leaf, uint32_t subleaf)
{
	const struct cpuid_entry *e;
	uint8_t first;

	if (leaf <= MAX_BASIC)
		first = t->basic[index_nospec(leaf, CPUID_BASIC_LEAVES)];
	else if (leaf - 0x80000000 < CPUID_EXTENDED_LEAVES)
		first = t->extended[index_nospec(leaf - 0x80000000, CPUID_EXTENDED_LEAVES)];
	else if (leaf - CPUID_HYPERVISOR_BASE < CPUID_HYPERVISOR_LEAVES)
		first = t->hypervisor[index_nospec(leaf - CPUID_HYPERVISOR_BASE, CPUID_HYPERVISOR_LEAVES)];
	else if (leaf - CPUID_KVM_BASE < CPUID_KVM_LEAVES)
		first = t->kvm[index_nospec(leaf - CPUID_KVM_BASE, CPUID_KVM_LEAVES)];
	else
		first = t->basic[MAX_BASIC];
	e = &t->entry[first];
	if (!e->indexed)
		return e;
	for (;; e++) {
		if (e->subleaf == subleaf)
			return e;
		if (!e->more)
			return leaf == 0xb ? e : &t->entry[NO_ENTRY];
	}
}

uint32_t cpuid_xsave_size(const struct cpuid_table *t, uint64_t xcr0, bool compacted)
{
	uint32_t end = XSAVE_FIXED;

	for (uint32_t i = 2; i < 32; i++) {
		const struct cpuid_entry *e;
		uint32_t start;

		if (!(xcr0 & BIT(i)))
			continue;
		e = cpuid_find(t, 0xd, i);
		start = e->reg[CPUID_EBX];
		if (compacted)
			start = e->reg[CPUID_ECX] & 2 ? ALIGN_UP(end, 64) : end; /* 13.4.3 */
		end = larger(end, start + e->reg[CPUID_EAX]);
	}
	return end;
}

uint64_t cpuid_cr4_bits(const struct cpuid_table *t)
{
	const struct cpuid_entry *f = cpuid_find(t, 1, 0), *s = cpuid_find(t, 7, 0);
	uint64_t bits = CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE |
			CR4_OSFXSR | CR4_OSXMMEXCPT;

	if (f->reg[CPUID_ECX] & CPUID_FEATURE_MASK(CPUID_PCID))
		bits |= CR4_PCIDE;
	if (f->reg[CPUID_ECX] & CPUID_FEATURE_MASK(CPUID_XSAVE))
		bits |= CR4_OSXSAVE;
	if (s->reg[CPUID_EBX] & BIT(0))
		bits |= CR4_FSGSBASE;
	if (s->reg[CPUID_EBX] & BIT(7))
		bits |= CR4_SMEP;
	if (s->reg[CPUID_EBX] & BIT(20))
		bits |= CR4_SMAP;
	if (s->reg[CPUID_ECX] & BIT(2))
		bits |= CR4_UMIP;
	if (s->reg[CPUID_ECX] & BIT(3))
		bits |= CR4_PKE;
	return bits;
}
