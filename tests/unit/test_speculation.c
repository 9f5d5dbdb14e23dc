/*
 * That what is chosen against side channels is carried out: registers that each CPU sets, what a vCPU's VMCS has done
 * at its exits and entries, IBPB between VMs. What the entry's and exit's code does then is seen by what it costs
 * (tests/bench), what is chosen by test_mitigations.c.
 */
/* SPDX-License-Identifier: MIT */
/* links: arch/x86/mitigations.c hv/lib/printf.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/insn.h"

static void fake_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t regs[4]);
static void fake_wrmsr(uint32_t msr, uint64_t value);

/* What a process must not execute, and what it would find on this machine. */
#define cpuid fake_cpuid
#define wrmsr fake_wrmsr
#include "arch/x86/vmx/speculation.c"

#define EDX_BITS (BIT(10) | BIT(26) | BIT(27) | BIT(28) | BIT(29) | BIT(31)) /* all of them */
#define IBRS_ALL BIT(1)
#define MODERN                                                                                                         \
	(BIT(0) | IBRS_ALL | BIT(3) | BIT(5) | BIT(6) | BIT(8) | BIT(24) | BIT(27)) /* nothing but BHI is left         \
										     */

static struct {
	uint32_t signature, ebx, edx, edx_2;
	uint64_t caps;
} processor;
static struct {
	uint64_t spec_ctrl, tsx_ctrl;
	unsigned spec_ctrl_writes, ibpb;
	bool refuses;
} msr;
static struct {
	uint64_t host_rip, entry_list, exit_list, entry_count, exit_count;
} vmcs;
static struct virt_vcpu vcpu;
static struct cpu cpu;
static char why[120];

struct vmx_machine vmx;

struct cpu *this_cpu(void)
{
	return &cpu;
}

static void fake_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t regs[4])
{
	memset(regs, 0, 16);
	if (!leaf)
		regs[CPUID_EAX] = 7;
	if (leaf == 1)
		regs[CPUID_EAX] = processor.signature;
	if (leaf == 7 && !subleaf) {
		regs[CPUID_EAX] = processor.edx_2 ? 2 : 0;
		regs[CPUID_EBX] = processor.ebx;
		regs[CPUID_EDX] = processor.edx;
	}
	if (leaf == 7 && subleaf == 2)
		regs[CPUID_EDX] = processor.edx_2;
}

unsigned topology_thread_bits(void (*read)(uint32_t leaf, uint32_t subleaf, uint32_t regs[4]))
{
	(void)read;
	return 1;
}

int rdmsr_safe(uint32_t number, uint64_t *value)
{
	assert_true(number == MSR_ARCH_CAPABILITIES || number == MSR_TSX_CTRL);
	*value = number == MSR_TSX_CTRL ? msr.tsx_ctrl : processor.caps;
	return 0;
}

int wrmsr_safe(uint32_t number, uint64_t value)
{
	if (msr.refuses)
		return -E_FAULT;
	if (number == MSR_TSX_CTRL) {
		msr.tsx_ctrl = value;
		return 0;
	}
	assert_int_equal(number, MSR_SPEC_CTRL);
	msr.spec_ctrl = value;
	msr.spec_ctrl_writes++;
	return 0;
}

static void fake_wrmsr(uint32_t number, uint64_t value)
{
	assert_int_equal(number, MSR_PRED_CMD);
	assert_int_equal(value, 1);
	msr.ibpb++;
}

hpa_t paging_lookup(const void *p)
{
	return HPA((uint64_t)p);
}

void vmcs_write(vmcs_field_t field, uint64_t value)
{
	static const struct {
		vmcs_field_t field;
		uint64_t *value;
	} fields[] = {
	    {VMCS_HOST_RIP, &vmcs.host_rip},
	    {VMCS_ENTRY_MSR_LOAD_ADDRESS, &vmcs.entry_list},
	    {VMCS_EXIT_MSR_LOAD_ADDRESS, &vmcs.exit_list},
	    {VMCS_ENTRY_MSR_LOAD_COUNT, &vmcs.entry_count},
	    {VMCS_EXIT_MSR_LOAD_COUNT, &vmcs.exit_count},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(fields); i++)
		if (fields[i].field.encoding == field.encoding) {
			*fields[i].value = value;
			return;
		}
	fail_msg("another field: 0x%x", field.encoding);
}

/* Where exits land, each an address of its own. */
void vmx_exit(void) {}
void vmx_exit_rsb_one(void) {}
void vmx_exit_rsb_all(void) {}
void vmx_exit_history(void) {}
void vmx_exit_history_rsb_all(void) {}
void vmx_exit_rsb_one_shadow(void) {}
void vmx_exit_rsb_all_shadow(void) {}
void vmx_exit_history_shadow(void) {}
void vmx_exit_history_rsb_all_shadow(void) {}

static int setup(void **state)
{
	(void)state;
	memset(&vmx, 0, sizeof(vmx));
	memset(&msr, 0, sizeof(msr));
	memset(&vcpu, 0, sizeof(vcpu));
	cpu = (struct cpu){.index = 3};
	processor.signature = 0x806f8;
	processor.ebx = 0;
	processor.edx = (uint32_t)EDX_BITS;
	processor.edx_2 = 0;
	processor.caps = MODERN;
	return 0;
}

static void start(const struct mitigation_wish *wish)
{
	vmx_speculation_probe(wish);
	assert_int_equal(vmx_speculation_enable(why, sizeof(why)), 0);
	vmx_speculation_create(&vcpu);
}

static void each_cpu_sets_its_register(void **state)
{
	const struct mitigation_wish wish = {0}, off = {.without = MITIGATIONS_OFF};

	(void)state;
	start(&wish);
	assert_int_equal(msr.spec_ctrl, SPEC_CTRL_IBRS);
	assert_int_equal(vmx_speculation_enable(why, sizeof(why)), 0);
	assert_int_equal(msr.spec_ctrl_writes, 2);
	processor.edx_2 = (uint32_t)BIT(4);
	start(&wish);
	assert_int_equal(msr.spec_ctrl, SPEC_CTRL_IBRS | SPEC_CTRL_BHI_DIS_S);
	msr.spec_ctrl = ~0ULL; /* firmware's */
	start(&off);
	assert_int_equal(msr.spec_ctrl, 0);
	assert_int_equal(msr.tsx_ctrl, 0);
	processor.ebx = (uint32_t)BIT(11);
	processor.caps = (MODERN & ~BIT(8)) | BIT(7); /* TAA, and the register against it */
	start(&wish);
	assert_int_equal(msr.tsx_ctrl, 3);
	processor.edx = processor.edx_2 = 0;
	msr.spec_ctrl_writes = 0;
	start(&wish);
	assert_int_equal(msr.spec_ctrl_writes, 0);
}

static void cpus_must_agree(void **state)
{
	const struct mitigation_wish wish = {0};

	(void)state;
	start(&wish);
	processor.caps &= ~BIT(24);
	assert_int_equal(vmx_speculation_enable(why, sizeof(why)), -E_NOTSUP);
	assert_string_equal(why, "CPU 3 differs from the boot CPU in IA32_ARCH_CAPABILITIES (side channels): is its "
				 "microcode another?");
	processor.caps |= BIT(24);
	processor.edx_2 = (uint32_t)BIT(4);
	assert_int_equal(vmx_speculation_enable(why, sizeof(why)), -E_NOTSUP);
	assert_non_null(strstr(why, "CPUID.7.2:EDX"));
	processor.edx_2 = 0;
	msr.refuses = true;
	assert_int_equal(vmx_speculation_enable(why, sizeof(why)), -E_NOTSUP);
	assert_string_equal(why, "IA32_SPEC_CTRL of CPU 3 does not take 0x1");
}

/* The code behind an exit: what the plan says, and the one for a host with shadow stacks where it has them. */
static void exits_land_where_the_plan_says(void **state)
{
	static void (*const expected[2][3][2])(void) = {
	    {{vmx_exit, vmx_exit},
	     {vmx_exit_rsb_one, vmx_exit_rsb_one_shadow},
	     {vmx_exit_rsb_all, vmx_exit_rsb_all_shadow}},
	    {{vmx_exit_history, vmx_exit_history_shadow},
	     {vmx_exit_history, vmx_exit_history_shadow},
	     {vmx_exit_history_rsb_all, vmx_exit_history_rsb_all_shadow}},
	};

	(void)state;
	for (unsigned history = 0; history < 2; history++)
		for (unsigned rsb = RSB_KEEP; rsb <= RSB_ALL; rsb++)
			for (unsigned shadow = 0; shadow < 2; shadow++) {
				vmx.mitigations.clear_history = history;
				vmx.mitigations.rsb = (enum rsb_fill)rsb;
				vmx.controls.exit = shadow ? EXIT_CTL_LOAD_CET : 0;
				vmx_speculation_create(&vcpu);
				assert_int_equal(vmcs.host_rip, (uint64_t)expected[history][rsb][shadow]);
			}
}

static void entries_do_what_the_plan_says(void **state)
{
	const struct mitigation_wish all = {.all = true}, no_l1d = {.all = true, .without = 1u << MITIGATION_L1D},
				     no_verw = {.all = true, .without = 1u << MITIGATION_VERW}, automatic = {0};

	(void)state;
	start(&all);
	assert_int_equal(vcpu.entry_work, VMX_ENTRY_FLUSH_L1D | VMX_ENTRY_VERW);
	start(&no_l1d);
	assert_int_equal(vcpu.entry_work, VMX_ENTRY_VERW);
	start(&no_verw);
	assert_int_equal(vcpu.entry_work, VMX_ENTRY_FLUSH_L1D);
	start(&automatic);
	assert_int_equal(vcpu.entry_work, 0);
}

/* By the lists of the VMCS, and only where both sides' values differ. */
static void spec_ctrl_is_switched_where_it_differs(void **state)
{
	const struct mitigation_wish automatic = {0}, smt = {.smt = true};
	const uint64_t *exit_list;

	(void)state;
	start(&automatic);
	exit_list = (const uint64_t *)vmcs.exit_list;
	assert_int_equal(exit_list[0], MSR_SPEC_CTRL);
	assert_int_equal(exit_list[1], SPEC_CTRL_IBRS);
	assert_int_equal(vmcs.entry_list, (uint64_t)&vcpu.entry_msr);
	assert_int_equal(vcpu.entry_msr.index, MSR_SPEC_CTRL);
	assert_int_equal(vcpu.entry_msr.value, 0); /* after RESET */
	assert_true(vmcs.entry_count == 1 && vmcs.exit_count == 1);
	virt_set_spec_ctrl(&vcpu, SPEC_CTRL_IBRS);
	assert_true(vmcs.entry_count == 0 && vmcs.exit_count == 0);
	virt_set_spec_ctrl(&vcpu, SPEC_CTRL_IBRS | SPEC_CTRL_SSBD);
	assert_true(vmcs.entry_count == 1 && vmcs.exit_count == 1);
	assert_int_equal(vcpu.entry_msr.value, SPEC_CTRL_IBRS | SPEC_CTRL_SSBD);
	/* STIBP holds in guests, too, which are not told. */
	start(&smt);
	virt_set_spec_ctrl(&vcpu, SPEC_CTRL_IBRS);
	assert_int_equal(vcpu.spec_ctrl, SPEC_CTRL_IBRS);
	assert_int_equal(vcpu.entry_msr.value, SPEC_CTRL_IBRS | SPEC_CTRL_STIBP);
	assert_true(vmcs.entry_count == 0 && vmcs.exit_count == 0);
	/* IBRS that is not enhanced counts from when it is written. */
	processor.caps = MODERN & ~IBRS_ALL;
	start(&automatic);
	virt_set_spec_ctrl(&vcpu, SPEC_CTRL_IBRS);
	assert_true(vmcs.entry_count == 1 && vmcs.exit_count == 1);
	processor.edx = 0;
	start(&automatic);
	assert_true(vmcs.entry_count == 0 && vmcs.exit_count == 0);
}

static void the_predictor_is_flushed_between_vms(void **state)
{
	const struct mitigation_wish automatic = {0}, without = {.without = 1u << MITIGATION_IBPB};

	(void)state;
	start(&automatic);
	vmx_speculation_switch(&cpu, 7);
	assert_int_equal(msr.ibpb, 1);
	vmx_speculation_switch(&cpu, 7); /* another vCPU of the same */
	assert_int_equal(msr.ibpb, 1);
	vmx_speculation_switch(&cpu, 8);
	vmx_speculation_switch(&cpu, 7);
	assert_int_equal(msr.ibpb, 3);
	start(&without);
	vmx_speculation_switch(&cpu, 9);
	assert_int_equal(msr.ibpb, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(each_cpu_sets_its_register, setup),
	    cmocka_unit_test_setup(cpus_must_agree, setup),
	    cmocka_unit_test_setup(exits_land_where_the_plan_says, setup),
	    cmocka_unit_test_setup(entries_do_what_the_plan_says, setup),
	    cmocka_unit_test_setup(spec_ctrl_is_switched_where_it_differs, setup),
	    cmocka_unit_test_setup(the_predictor_is_flushed_between_vms, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
