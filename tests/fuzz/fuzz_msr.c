/*
 * A script of RDMSR, WRMSR, CPUID, XSETBV and MOV to control registers against their handlers, under a processor that
 * the input describes. A model says which access is #GP and what a register holds: what is accepted is read again and
 * shows in no other register, a #GP changes nothing, CPUID hides what is not virtualised and agrees with CR4, XCR0 and
 * the APIC's mode.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/exit/msr.c hv/cpuid.c hv/pv.c hv/guest_mem.c hv/dev/vlapic.c hv/dev/vlapic_regs.c hv/dev/vlapic_timer.c */
/* links: hv/dev/vlapic_ipi.c hv/dev/apic_bus.c */
/* flags: -lcmocka */
#include "arch/x86/insn.h"
#include "arch/x86/msr.h"
#include "arch/x86/paging.h"
#include "tests/unit/fake_virt.h"

#include "hv/abi.h"
#include "hv/exit/msr.h"
#include "hv/exit/table.h"
#include "hv/guest_timer.h"
#include "hv/sched/sched.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"

#define MICROCODE 0x2000014ULL << 32
#define KVM_FIRST 0x4b564d00U /* wall clock, system time, (nothing), steal time, EOI */
#define KVM_COUNT 5U
#define MTRRS	  28U
#define HIGH	  (4 * MIB) /* where guest memory goes on */

static uint64_t live_xcr0;
static uint32_t processor; /* all its answers come from this; 0: all zeroes, 1: all ones */
static struct vm_config config;
static uint8_t low[2 * PAGE_SIZE] __attribute__((aligned(4096))), high[PAGE_SIZE] __attribute__((aligned(4096)));
static uint8_t low_before[sizeof(low)], high_before[sizeof(high)];

/* What the registers hold. */
static struct {
	uint64_t base, adjust, misc, efer, spec, mtrr[MTRRS], kvm[KVM_COUNT];
} model;

/* --- what the handlers find around them --------------------------------------------------------------------------- */

static uint64_t fake_xgetbv(uint32_t index)
{
	REQUIRE(index == 0);
	return live_xcr0;
}

#define read_dr(n)	   ((uint64_t)DR6_INIT + (n)-6)
#define write_dr(n, value) ((void)(n), (void)(value))
#define xgetbv		   fake_xgetbv
#define cpu_deliver_nmi()  abort()
#include "hv/exit/cpu.c"

bool trap_guest_machine_check(void)
{
	abort();
}

/* #GP is what the handler has to see to: what comes here is valid. */
int xsetbv_safe(uint32_t index, uint64_t value)
{
	REQUIRE(index == 0 && (value & 1) && !(value & ~vm.xcr0_mask));
	REQUIRE(!(value & XCR0_AVX) || (value & XCR0_SSE));
	REQUIRE(!(value & XCR0_AVX512) || ((value & XCR0_AVX512) == XCR0_AVX512 && (value & XCR0_AVX)));
	live_xcr0 = value;
	return 0;
}
int rdmsr_safe(uint32_t msr, uint64_t *value)
{
	REQUIRE(msr == MSR_BIOS_SIGN_ID); /* no other of the machine's is any guest's business */
	*value = MICROCODE;
	return 0;
}
hpa_t paging_lookup(const void *p)
{
	return HPA((uint64_t)(uintptr_t)p);
}
const char *trap_name(uint64_t vector)
{
	(void)vector;
	return "trap";
}
void sched_yield_from(struct vcpu *v)
{
	(void)v;
}
uint64_t vm_unix_ns(const struct vm *machine)
{
	(void)machine;
	return 1700000000ULL * 1000000000;
}
void guest_timer_take(struct vcpu *v)
{
	(void)v;
}
void guest_timer_update(struct vcpu *v)
{
	REQUIRE(v->lapic.tsc_offset == v->virt.tsc_offset);
}

/* Made of `processor`, but for what real ones agree on: addresses of 36 to 52 bits, XSAVE areas of some pages. */
static void read_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t regs[4])
{
	uint64_t mix = (processor + 1ULL) * 0x9e3779b97f4a7c15ULL ^ leaf * 0xbf58476d1ce4e5b9ULL ^ subleaf << 7;

	for (unsigned i = 0; i < 4; i++) {
		mix = (mix ^ mix >> 29) * 0x94d049bb133111ebULL;
		regs[i] = processor > 1 ? (uint32_t)(mix >> 32) : 0 - processor;
	}
	if (leaf == 0x80000008)
		regs[CPUID_EAX] = 36 + regs[CPUID_EAX] % 17;
	if (leaf == 0xd && subleaf > 1) {
		regs[CPUID_EAX] %= 4096;
		regs[CPUID_EBX] = 576 + regs[CPUID_EBX] % 8192;
	}
}

/* --- the model: which accesses are #GP (SDM Vol. 4; Vol. 3A 11.12.1, 12.11) ----------------------------------------
 */

/* x2APIC registers: bits that may be written, and bits of them that are plain; no others exist. */
static const struct apic_rule {
	uint16_t first, last;
	bool read, write;
	uint64_t may, keeps;
} apic_rules[] = {
    {0x802, 0x803, true, false, 0, 0},
    {0x808, 0x808, true, true, 0xff, 0xff},
    {0x80a, 0x80a, true, false, 0, 0},
    {0x80b, 0x80b, false, true, 0, 0},
    {0x80d, 0x80d, true, false, 0, 0},
    {0x80f, 0x80f, true, true, 0x11ff, 0x11ff},
    {0x810, 0x827, true, false, 0, 0},
    {0x828, 0x828, true, true, 0, 0},
    {0x830, 0x830, true, true, 0xffffffff000ccfff, 0xffffffff000ccfff},
    {0x832, 0x832, true, true, 0x710ff, 0x700ff},
    {0x833, 0x834, true, true, 0x117ff, 0x107ff},
    {0x835, 0x836, true, true, 0x1f7ff, 0x1a7ff},
    {0x837, 0x837, true, true, 0x110ff, 0x100ff},
    {0x838, 0x838, true, true, 0xffffffff, 0xffffffff},
    {0x839, 0x839, true, false, 0, 0},
    {0x83e, 0x83e, true, true, 0xb, 0xb},
    {0x83f, 0x83f, false, true, 0xff, 0},
};

/* NULL: #GP, whichever access it is. */
static const struct apic_rule *find_apic_rule(uint32_t msr)
{
	for (unsigned i = 0; i < ARRAY_SIZE(apic_rules); i++)
		if (msr >= apic_rules[i].first && msr <= apic_rules[i].last && (model.base & VLAPIC_BASE_X2APIC))
			return &apic_rules[i];
	return NULL;
}

static bool is_apic(uint32_t msr)
{
	return msr >= 0x800 && msr < 0x900;
}

/* Number of an MTRR that is kept, MTRRS for other registers. The default type is the last one. */
static unsigned mtrr_number(uint32_t msr)
{
	if (msr >= 0x200 && msr < 0x210)
		return msr - 0x200;
	if (msr == 0x250)
		return 16;
	if (msr == 0x258 || msr == 0x259)
		return 17 + (msr - 0x258);
	if (msr >= 0x268 && msr < 0x270)
		return 19 + (msr - 0x268);
	return msr == 0x2ff ? 27 : MTRRS;
}

static bool is_type(uint64_t type)
{
	return type < 7 && type != 2 && type != 3;
}

static bool mtrr_accepts(unsigned number, uint64_t value)
{
	uint64_t above = ~0ULL << vm.apic_bus.phys_bits;

	if (number < 16)
		return number & 1 ? !(value & (above | 0x7ff)) : !(value & (above | 0xf00)) && is_type(value & 0xff);
	if (number == 27)
		return !(value & ~0xcffULL) && is_type(value & 0xff);
	for (unsigned byte = 0; byte < 8; byte++)
		if (!is_type(value >> byte * 8 & 0xff))
			return false;
	return true;
}

static bool base_accepts(uint64_t value)
{
	uint64_t mode = VLAPIC_BASE_ENABLE | VLAPIC_BASE_X2APIC, from = model.base & mode, to = value & mode;

	if (value & (~0ULL << vm.apic_bus.phys_bits | 0x2ff) || to == VLAPIC_BASE_X2APIC)
		return false;
	return from == to || !to || (to == VLAPIC_BASE_ENABLE && !from) || (to == mode && from == VLAPIC_BASE_ENABLE);
}

static bool shows_nx(void)
{
	uint32_t regs[4];

	read_cpuid(0x80000001, 0, regs);
	return regs[CPUID_EDX] & BIT(20);
}

static bool efer_accepts(uint64_t value)
{
	if (value & ~(EFER_SCE | EFER_LME | EFER_LMA | (shows_nx() ? EFER_NXE : 0)))
		return false;
	return !((value ^ model.efer) & EFER_LME) || !(fake.cr0 & CR0_PG);
}

static bool is_there(uint64_t gpa, uint64_t size)
{
	return (gpa < sizeof(low) && size <= sizeof(low) - gpa) ||
	       (gpa >= HIGH && gpa - HIGH < sizeof(high) && size <= sizeof(high) - (gpa - HIGH));
}

static bool kvm_accepts(unsigned number, uint64_t value)
{
	bool on = value & 1;

	switch (config.kvm ? number : KVM_COUNT) {
	case 0:
		return is_there(value, 12);
	case 1:
		return !on || is_there(value & ~1ULL, 32);
	case 3:
		return !(value & 0x3e) && (!on || is_there(value & ~1ULL, 64));
	case 4:
		return !(value & 2) && (!on || is_there(value & ~1ULL, 4));
	default:
		return false;
	}
}

static bool accepts(uint32_t msr, uint64_t value)
{
	const struct apic_rule *rule = find_apic_rule(msr);

	if (is_apic(msr))
		return rule && rule->write && !(value & ~rule->may);
	if (mtrr_number(msr) < MTRRS)
		return mtrr_accepts(mtrr_number(msr), value);
	if (msr - KVM_FIRST < KVM_COUNT)
		return kvm_accepts(msr - KVM_FIRST, value);
	switch (msr) {
	case MSR_TSC:
	case MSR_TSC_ADJUST:
	case MSR_TSC_DEADLINE:
	case MSR_BIOS_UPDT_TRIG:
	case MSR_BIOS_SIGN_ID:
		return true;
	case MSR_APIC_BASE:
		return base_accepts(value);
	case MSR_MCG_STATUS:
	case MSR_DEBUGCTL:
		return !value;
	case MSR_MISC_ENABLE:
		return !(value & (BIT(18) | BIT(22) | BIT(34)));
	case MSR_EFER:
		return efer_accepts(value);
	case MSR_SPEC_CTRL:
		return fake.features.spec_ctrl && !(value & ~fake.features.spec_ctrl);
	default:
		return false;
	}
}

/* What a register holds that is no part of the local APIC. False: reading it is #GP. */
static bool holds(uint32_t msr, uint64_t *value)
{
	if (mtrr_number(msr) < MTRRS)
		return *value = model.mtrr[mtrr_number(msr)], true;
	if (msr - KVM_FIRST < KVM_COUNT)
		return *value = model.kvm[msr - KVM_FIRST], config.kvm && msr - KVM_FIRST != 2;
	*value = 0;
	switch (msr) {
	case MSR_TSC:
		return *value = fake_now + model.adjust, true;
	case MSR_TSC_ADJUST:
		return *value = model.adjust, true;
	case MSR_APIC_BASE:
		return *value = model.base, true;
	case MSR_FEATURE_CONTROL:
		return *value = 1, true;
	case MSR_BIOS_SIGN_ID:
		return *value = MICROCODE, true;
	case MSR_MTRRCAP:
		return *value = 0x508, true;
	case MSR_MISC_ENABLE:
		return *value = model.misc, true;
	case MSR_EFER:
		return *value = model.efer, true;
	case MSR_SPEC_CTRL:
		return *value = model.spec, fake.features.spec_ctrl;
	case MSR_ARCH_CAPABILITIES:
		return *value = fake.features.arch_caps, fake.features.speculation & BIT(29);
	default:
		return msr == MSR_PLATFORM_ID || msr == MSR_BIOS_UPDT_TRIG || msr == MSR_MCG_CAP ||
		       msr == MSR_MCG_STATUS || msr == MSR_DEBUGCTL;
	}
}

static void note_write(uint32_t msr, uint64_t value)
{
	if (mtrr_number(msr) < MTRRS)
		model.mtrr[mtrr_number(msr)] = value;
	else if (msr - KVM_FIRST < KVM_COUNT)
		model.kvm[msr - KVM_FIRST] = msr == KVM_FIRST ? 0 : value;
	else if (msr == MSR_TSC)
		model.adjust = value - fake_now;
	else if (msr == MSR_TSC_ADJUST)
		model.adjust = value;
	else if (msr == MSR_APIC_BASE)
		model.base = value;
	else if (msr == MSR_MISC_ENABLE)
		model.misc = (value & 1) | BIT(11) | BIT(12);
	else if (msr == MSR_SPEC_CTRL)
		model.spec = value;
	else if (msr == MSR_EFER)
		model.efer = (value & ~EFER_LMA) | (model.efer & EFER_LMA);
}

/* --- exits -------------------------------------------------------------------------------------------------------- */

/* True: the instruction is over. Otherwise it was #GP, which has left all registers alone. */
static bool run(exit_handler *handler)
{
	static const struct exit exit;
	uint64_t before[16];
	enum outcome outcome;

	memcpy(before, vcpu.virt.reg, sizeof(before));
	fake.exceptions = 0;
	outcome = handler(&vcpu, &exit);
	REQUIRE(!kills && !atomic_load(&vcpu.state));
	if (outcome == OUTCOME_NEXT) {
		REQUIRE(!fake.exceptions);
		return true;
	}
	REQUIRE(outcome == (fake.triple ? OUTCOME_KILL : OUTCOME_RETRY));
	REQUIRE(fake.triple || (fake.exceptions == 1 && fake.vector == VECTOR_GP && fake.has_error && !fake.error));
	REQUIRE(!memcmp(before, vcpu.virt.reg, sizeof(before)));
	fake.pending = false;
	return false;
}

/* Garbage everywhere, so that what should not change is seen to, and high halves do not count. */
static void set_registers(uint64_t rax, uint64_t rcx, uint64_t rdx)
{
	for (unsigned i = 0; i < 16; i++)
		vcpu.virt.reg[i] = 0xdead0000beef0000 + i;
	vcpu.virt.reg[REG_RAX] = 0xfeed000000000000 | (uint32_t)rax;
	vcpu.virt.reg[REG_RCX] = 0xfeed000000000000 | (uint32_t)rcx;
	vcpu.virt.reg[REG_RDX] = 0xfeed000000000000 | (uint32_t)rdx;
}

/* Registers that the instruction writes are 32 bits wide, and it writes no others. */
static void check_registers(bool cpuid)
{
	const uint64_t *reg = vcpu.virt.reg;

	REQUIRE(!(reg[REG_RAX] >> 32) && !(reg[REG_RDX] >> 32));
	REQUIRE(!cpuid || (!(reg[REG_RBX] >> 32) && !(reg[REG_RCX] >> 32)));
	REQUIRE(cpuid || reg[REG_RCX] >> 32 == 0xfeed0000);
	for (unsigned i = 0; i < 16; i++)
		if (i > REG_RDX && (i != REG_RBX || !cpuid))
			REQUIRE(reg[i] == 0xdead0000beef0000 + i);
}

static bool read_msr(uint32_t msr, uint64_t *value)
{
	set_registers(0, msr, 0);
	if (!run(exit_rdmsr))
		return false;
	check_registers(false);
	*value = vcpu.virt.reg[REG_RDX] << 32 | vcpu.virt.reg[REG_RAX];
	return true;
}

static void check_read(uint32_t msr)
{
	const struct apic_rule *rule = find_apic_rule(msr);
	uint64_t value = 0, expected = 0;
	bool read = read_msr(msr, &value);

	if (is_apic(msr))
		REQUIRE(read == (rule && rule->read));
	else if (msr == MSR_TSC_DEADLINE)
		REQUIRE(read);
	else
		REQUIRE(read == holds(msr, &expected) && (!read || value == expected));
}

static unsigned timer_mode(void)
{
	return lapic_page[VLAPIC_LVT_TIMER / 4] >> 17 & 3;
}

/* A register of the local APIC right after `value` was written. */
static void check_kept(uint32_t msr, uint64_t value)
{
	const struct apic_rule *rule = find_apic_rule(msr);
	uint64_t found = 0, expected = rule ? value & rule->keeps : value;

	if (msr == MSR_TSC_DEADLINE && (timer_mode() != 2 || value <= fake_now + model.adjust))
		expected = 0; /* ignored, or over already */
	if (msr == 0x838 && timer_mode() == 2)
		expected = 0;
	if (msr >= 0x832 && msr <= 0x837 && !(lapic_page[VLAPIC_SVR / 4] & 0x100))
		expected |= 0x10000;
	if (msr == MSR_TSC_DEADLINE || (rule && rule->keeps))
		REQUIRE(read_msr(msr, &found) && found == expected);
}

static bool is_kvm(uint32_t msr)
{
	return msr - KVM_FIRST < KVM_COUNT;
}

/* A refused value leaves the register as it was, and the guest's memory, into which KVM's ones point. */
static void check_refused(uint32_t msr)
{
	check_read(msr);
	if (is_kvm(msr))
		REQUIRE(!memcmp(low, low_before, sizeof(low)) && !memcmp(high, high_before, sizeof(high)));
}

static void write_msr_of(uint32_t msr, uint64_t value)
{
	bool expected = accepts(msr, value), done;

	if (is_kvm(msr)) {
		memcpy(low_before, low, sizeof(low));
		memcpy(high_before, high, sizeof(high));
	}
	set_registers(value, msr, value >> 32);
	done = run(exit_wrmsr);
	REQUIRE(done == expected);
	REQUIRE(vcpu.virt.reg[REG_RAX] >> 32 == 0xfeed0000 && vcpu.virt.reg[REG_RDX] >> 32 == 0xfeed0000);
	if (!done) {
		check_refused(msr);
		return;
	}
	note_write(msr, value);
	check_kept(msr, value);
}

/* --- CPUID -------------------------------------------------------------------------------------------------------- */

/* Features whose registers or state are not the guest's (SDM Vol. 2A, CPUID), by leaf and register. */
static const struct {
	uint32_t leaf, subleaf;
	unsigned reg;
	uint32_t bits;
} hidden[] = {
    {1, 0, CPUID_ECX, 0x0004c9fc},   /* DTES64 to TM2, SDBG, xTPR, PDCM, DCA */
    {1, 0, CPUID_EDX, 0xa0640000},   /* PSN, DS, ACPI, TM, PBE */
    {7, 0, CPUID_EBX, 0x0240d814},   /* SGX, HLE, RTM, PQM, MPX, PQE, PCOMMIT, PT */
    {7, 0, CPUID_ECX, 0xe18120a0},   /* WAITPKG, CET, TME, LA57, key locker, bus lock, ENQCMD, SGX_LC, PKS */
    {7, 0, CPUID_EDX, 0x435c2820},   /* UINTR, RTM aborts, PCONFIG, LBR, CET, AMX, CORE_CAPABILITIES */
    {0xd, 1, CPUID_EAX, 0xfffffff8}, /* XSAVES, XFD */
    {0xd, 1, CPUID_ECX, 0xffffffff}, /* supervisor states */
    {6, 0, CPUID_EAX, 0xfffffffb},   /* turbo, HWP, hardware feedback */
    {6, 0, CPUID_ECX, 0xffffffff},   /* APERF, MPERF */
    {0x80000001, 0, CPUID_ECX, 0x4}, /* SVM */
    {0x80000008, 0, CPUID_EBX, ~0u}, /* AMD's IBPB, IBRS, STIBP, SSBD */
};

static void check_hidden(uint32_t leaf, uint32_t subleaf, const uint32_t regs[4])
{
	for (unsigned i = 0; i < ARRAY_SIZE(hidden); i++)
		if (hidden[i].leaf == leaf && (hidden[i].subleaf == subleaf || (leaf != 7 && leaf != 0xd)))
			REQUIRE(!(regs[hidden[i].reg] & hidden[i].bits));
}

static void check_features(const uint32_t regs[4])
{
	REQUIRE(regs[CPUID_EBX] >> 24 == vcpu.index);
	REQUIRE(!(regs[CPUID_ECX] & BIT(27)) == !(fake.cr4 & CR4_OSXSAVE));
	REQUIRE(!(regs[CPUID_ECX] & BIT(27)) || (regs[CPUID_ECX] & BIT(26)));
	REQUIRE(!(regs[CPUID_ECX] & BIT(26)) == !vm.xcr0_mask);
	REQUIRE(!(regs[CPUID_ECX] & (BIT(12) | BIT(28) | BIT(29))) || (vm.xcr0_mask & XCR0_AVX));
	REQUIRE((regs[CPUID_ECX] & (BIT(21) | BIT(24) | BIT(31))) == (BIT(21) | BIT(24) | BIT(31)));
	REQUIRE(!(regs[CPUID_EDX] & BIT(9)) || (model.base & VLAPIC_BASE_ENABLE));
	REQUIRE(!(regs[CPUID_EDX] & BIT(28)) == (config.vcpus == 1));
}

/* The area for what is on now is no larger than that for all that may be. */
static void check_xsave(uint32_t subleaf, const uint32_t regs[4])
{
	if (!vm.xcr0_mask || (subleaf > 1 && !(subleaf < 64 && vm.xcr0_mask >> subleaf & 1)))
		REQUIRE(!(regs[0] | regs[1] | regs[2] | regs[3]));
	else if (subleaf == 0)
		REQUIRE(regs[CPUID_EAX] == (uint32_t)vm.xcr0_mask && regs[CPUID_EBX] >= 576 &&
			regs[CPUID_EBX] <= regs[CPUID_ECX]);
	else if (subleaf == 1)
		REQUIRE(regs[CPUID_EBX] >= 576 && !regs[CPUID_EDX]);
}

/* Leaves that show nothing of the processor: there, or the last basic one's beyond all limits. */
static bool is_empty(uint32_t leaf)
{
	static const uint32_t empty = 0x1fd728; /* 3, 5, 8 to 0xa, 0xc, 0xe to 0x14 but 0xb and 0xd */

	if (leaf < 0x15)
		return empty >> leaf & 1;
	if (leaf - VIREO_CPUID_CALLS <= 0xd)
		return leaf != VIREO_CPUID_CALLS || !config.hypercalls;
	return leaf - CPUID_KVM_BASE < CPUID_KVM_LEAVES && !config.kvm;
}

static bool is_beyond(uint32_t leaf)
{
	return (leaf > 0x16 && leaf < CPUID_HYPERVISOR_BASE) || leaf > 0x80000008 ||
	       (leaf > CPUID_KVM_BASE + 1 && leaf < 0x80000000) ||
	       (leaf > CPUID_HYPERVISOR_BASE + 0x10 && leaf < CPUID_KVM_BASE);
}

static void ask(uint32_t leaf, uint32_t subleaf, uint32_t regs[4])
{
	set_registers(leaf, subleaf, 0x5555);
	REQUIRE(run(exit_cpuid));
	check_registers(true);
	regs[CPUID_EAX] = (uint32_t)vcpu.virt.reg[REG_RAX];
	regs[CPUID_EBX] = (uint32_t)vcpu.virt.reg[REG_RBX];
	regs[CPUID_ECX] = (uint32_t)vcpu.virt.reg[REG_RCX];
	regs[CPUID_EDX] = (uint32_t)vcpu.virt.reg[REG_RDX];
}

static void check_cpuid(uint32_t leaf, uint32_t subleaf)
{
	uint32_t regs[4], last[4];

	ask(leaf, subleaf, regs);
	check_hidden(leaf, subleaf, regs);
	if (leaf == 1)
		check_features(regs);
	if (leaf == 7 && subleaf == 0)
		REQUIRE(!(regs[CPUID_ECX] & BIT(4)) == !(fake.cr4 & CR4_PKE) &&
			regs[CPUID_EAX] == (fake.features.speculation_2 ? 2 : 0));
	if (leaf == 7 && subleaf == 0)
		REQUIRE((regs[CPUID_EDX] & 0xfc000000) == fake.features.speculation);
	if (leaf == 7 && subleaf == 2)
		REQUIRE(regs[CPUID_EDX] == fake.features.speculation_2);
	if (leaf == 7 && (subleaf || !(vm.xcr0_mask & XCR0_PKRU)))
		REQUIRE(!(regs[CPUID_ECX] & BIT(3)));
	if (leaf == 0xb)
		REQUIRE(regs[CPUID_EDX] == vcpu.index && (regs[CPUID_ECX] & 0xff) == (subleaf & 0xff));
	if (leaf == 0xd)
		check_xsave(subleaf, regs);
	if (is_empty(leaf))
		REQUIRE(!(regs[0] | regs[1] | regs[2] | regs[3]));
	if (!is_beyond(leaf))
		return;
	ask(0x16, 0, last);
	REQUIRE(!memcmp(regs, last, sizeof(last)));
}

/* --- the script --------------------------------------------------------------------------------------------------- */

/* What must hold between any two instructions. */
static void check_state(void)
{
	REQUIRE(vcpu.virt.tsc_offset == model.adjust && vcpu.lapic.tsc_offset == model.adjust);
	REQUIRE(!(fake.cr4 & ~vm.cr4_bits) && !(live_xcr0 & ~vm.xcr0_mask & ~1ULL));
	REQUIRE(!(fake.cr0 & CR0_PG) || (fake.cr0 & CR0_PE));
	REQUIRE(!(fake.efer & EFER_LMA) == !((fake.cr0 & CR0_PG) && (fake.efer & EFER_LME)));
	REQUIRE(!(fake.efer & EFER_LMA) || (fake.cr4 & CR4_PAE));
}

/* The model is the state. Takes some time: now and then. */
static void check_all_registers(void)
{
	static const uint16_t plain[] = {0x10, 0x17, 0x1b,  0x3a,  0x3b,  0x79,	 0x8b, 0xfe,
					 0x48, 0x49, 0x10a, 0x179, 0x17a, 0x1a0, 0x1d9};

	for (unsigned i = 0; i < ARRAY_SIZE(plain); i++)
		check_read(plain[i]);
	for (uint32_t msr = 0x200; msr < 0x300; msr++)
		if (mtrr_number(msr) < MTRRS)
			check_read(msr);
	for (uint32_t i = 0; i < KVM_COUNT; i++)
		check_read(KVM_FIRST + i);
	check_read(MSR_EFER);
}

static uint32_t some_msr(void)
{
	static const uint32_t known[] = {MSR_TSC,	  MSR_APIC_BASE,      MSR_APIC_BASE,	MSR_TSC_ADJUST,
					 MSR_MISC_ENABLE, MSR_EFER,	      MSR_TSC_DEADLINE, MSR_MTRR_DEF_TYPE,
					 MSR_DEBUGCTL,	  MSR_BIOS_UPDT_TRIG, MSR_SPEC_CTRL,	MSR_ARCH_CAPABILITIES};
	unsigned how = (unsigned)next(1);

	if (how < 64)
		return known[how % ARRAY_SIZE(known)];
	if (how < 128)
		return 0x800 + (uint32_t)next(1) % (how < 120 ? 64 : 256);
	if (how < 168)
		return 0x200 + (uint32_t)next(1);
	if (how < 200)
		return KVM_FIRST + how % 8;
	return how < 240 ? (uint32_t)next(2) : (uint32_t)next(4);
}

/* Mostly a bit away from what is there, since few others are accepted. */
static uint64_t some_value(uint32_t msr)
{
	unsigned how = (unsigned)next(1);
	uint64_t value = 0;

	if (how < 96)
		return read_msr(msr, &value) ? value ^ 1ULL << how % 64 : 1ULL << how % 64;
	if (how < 128)
		return (how & 1 ? HIGH : 0) + next(2);
	if (how < 144)
		return (how & 7) * 0x0101010101010101ULL;
	if (how < 160)
		return VLAPIC_DEFAULT_BASE | (how & 3) << 10 | (how & 4) << 6;
	return how < 200 ? next(4) : how < 216 ? fake_now + model.adjust + next(2) : next(8);
}

static uint32_t some_leaf(void)
{
	unsigned how = (unsigned)next(1);

	if (how < 96)
		return how % 0x18;
	if (how < 128)
		return CPUID_HYPERVISOR_BASE + how % 0x12;
	if (how < 144)
		return CPUID_KVM_BASE + how % 3;
	return how < 200 ? 0x80000000 + how % 0xa : (uint32_t)next(4);
}

/* CR0, CR4 or CR8; a bit away from what it is, or anything. */
static void move_to_cr(void)
{
	unsigned how = (unsigned)next(1), cr = how % 3 * 4;
	uint64_t old = cr == 0 ? fake.cr0 : cr == 4 ? fake.cr4 : vlapic_cr8(&vcpu.lapic);

	set_registers(0, 0, 0);
	vcpu.virt.reg[REG_RDX] = how < 200 ? old ^ 1ULL << next(1) % 64 : next(8);
	fake.qualification = cr | (uint64_t)REG_RDX << 8;
	(void)run(exit_cr);
	model.efer = fake.efer; /* LMA follows CR0.PG: check_state() */
}

static void set_xcr0(void)
{
	uint64_t value = live_xcr0 ^ (next(1) & 1 ? 1ULL << next(1) % 64 : next(2));

	set_registers(value, next(1) == 7, value >> 32);
	(void)run(exit_xsetbv);
}

/* Each bit of a register in turn: a reserved one that is let through is seldom hit by chance. */
static void flip_bits(uint32_t msr)
{
	uint64_t value = 0;

	for (unsigned bit = 0; bit < 64; bit++)
		write_msr_of(msr, (read_msr(msr, &value) ? value : 0) ^ 1ULL << bit);
}

static void step(void)
{
	unsigned what = (unsigned)next(1);
	uint32_t number;

	fake.triple = what >= 248;
	switch (what % 8) {
	case 0:
		check_read(some_msr());
		break;
	case 1:
	case 2:
	case 3:
		number = some_msr();
		write_msr_of(number, some_value(number));
		break;
	case 4:
		number = some_leaf();
		check_cpuid(number, (uint32_t)(what & 32 ? next(1) : what >> 6));
		break;
	case 5:
		what & 32 ? move_to_cr() : set_xcr0();
		break;
	case 6: /* the same registers, in xAPIC mode */
		vlapic_mmio_write(&vcpu.lapic, (uint32_t)next(1) * 16, 4, next(4));
		break;
	default:
		if (what & 64)
			flip_bits(some_msr());
		else
			fake_time_advance(next(2));
		break;
	}
	fake.triple = false;
}

static void build_cpuid(void)
{
	static const uint16_t masks[] = {0, 3, 7, 0xe7, 0x207, 0x2e7};
	unsigned how = (unsigned)next(1);
	struct cpuid_source source = {
	    .read = read_cpuid,
	    .tsc_hz = FAKE_HZ,
	    .vcpus = config.vcpus,
	    .xcr0_mask = masks[how % ARRAY_SIZE(masks)],
	    .kvm = config.kvm,
	    .kvm_features = pv_features(),
	    .hypercalls = config.hypercalls,
	    .rdtscp = how & 64,
	    .invpcid = how & 128,
	    .xsavec = how & 32,
	    .speculation = fake.features.speculation,
	    .speculation_2 = fake.features.speculation_2,
	};

	cpuid_build(&vm.cpuid, &source);
	vm.xcr0_mask = source.xcr0_mask;
	vm.cr4_bits = cpuid_cr4_bits(&vm.cpuid);
	vm.apic_bus.phys_bits = (uint8_t)cpuid_find(&vm.cpuid, 0x80000008, 0)->reg[CPUID_EAX];
}

/* Registers against side channels go with each other and with CPUID: arch/x86/mitigations.c. */
static void choose_speculation(void)
{
	unsigned how = (unsigned)next(1);

	if (how & 1)
		fake.features.spec_ctrl = how & 2 ? 7 : 3;
	if (how & 1 && how & 16)
		fake.features.spec_ctrl |= BIT(10);
	if (how & 1 && how & 16)
		fake.features.speculation_2 = (uint32_t)BIT(4);
	if (how & 1)
		fake.features.speculation = (uint32_t)(BIT(26) | BIT(27) | (how & 2 ? BIT(31) : 0));
	if (how & 4)
		fake.features.speculation |= (uint32_t)BIT(28);
	if (how & 8)
		fake.features.speculation |= (uint32_t)BIT(29);
	fake.features.arch_caps = how & 8 ? how * 0x1234567ULL : 0;
	msr_init();
}

static void power_up(void)
{
	unsigned how = (unsigned)next(1);

	fake_reset();
	fake_now = 1000000;
	fake_timer_count = 0;
	processor = (uint32_t)next(1);
	config = (struct vm_config){.vcpus = 1 + how % 32, .kvm = how & 64, .hypercalls = how & 128};
	vm.config = &config;
	vm.powered_up = fake_now;
	vcpu.index = (unsigned)next(1) % config.vcpus;
	memset(low, 0, sizeof(low));
	memset(high, 0, sizeof(high));
	REQUIRE(!guest_mem_add(&vm.mem, &(struct guest_region){0, sizeof(low), low, true}));
	REQUIRE(!guest_mem_add(&vm.mem, &(struct guest_region){HIGH, sizeof(high), high, true}));
	choose_speculation();
	build_cpuid();
	vlapic_init(&vcpu.lapic, &vm.apic_bus, vcpu.index, lapic_page, &timers);
	vlapic_set_apicv(&vcpu.lapic, how & 32);
	msr_reset(&vcpu);
	live_xcr0 = 1;
	memset(&model, 0, sizeof(model));
	model.base = VLAPIC_DEFAULT_BASE | VLAPIC_BASE_ENABLE | (vcpu.index ? 0 : VLAPIC_BASE_BSP);
	model.misc = 0x1801;
	for (uint32_t msr = 0x200; msr < 0x300; msr++)
		if (mtrr_number(msr) < MTRRS)
			model.mtrr[mtrr_number(msr)] = msr == 0x2FF ? 0xC06 : msr >= 0x250 ? 0x0606060606060606 : 0;
	fake.efer &= shows_nx() ? ~0ULL : ~EFER_NXE;
	model.efer = fake.efer;
	if (how & 32 || processor & 1)
		write_msr_of(MSR_APIC_BASE, model.base | VLAPIC_BASE_X2APIC);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	input_begin(data, size);
	power_up();
	for (unsigned steps = 0; left; steps++) {
		step();
		check_state();
		if (steps % 16 == 0)
			check_all_registers();
	}
	check_all_registers();
	return 0;
}
