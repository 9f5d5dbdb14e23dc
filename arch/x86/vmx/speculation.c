/*
 * Side channels, the part that touches the processor: what it says of itself, registers that each CPU sets once, what
 * every vCPU's VMCS has done at its entries and exits. Which of it is needed is decided by arch/x86/mitigations.c.
 *
 * IA32_SPEC_CTRL is switched by the processor itself: the VMCS has it load the guest's value at the entry and ours at
 * the exit, before any instruction of ours runs (SDM Vol. 3C 27.4, 28.6), where the two differ; where not, nothing is
 * done and nothing costs. Guests' writes exit, so their value is always known. IBRS that is not enhanced must be
 * written at every exit, the same value as well.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/cpu.h"
#include "arch/x86/cpuid.h"
#include "arch/x86/insn.h"
#include "arch/x86/memory.h"
#include "arch/x86/msr.h"
#include "arch/x86/paging.h"
#include "arch/x86/topology.h"
#include "arch/x86/trap.h"
#include "arch/x86/vmx/vmx.h"
#include "hv/lib/printf.h"

#define TSX_CTRL_RTM_DISABLE BIT(0)
#define TSX_CTRL_CPUID_CLEAR BIT(1)
#define PRED_CMD_IBPB	     1

/* Bits of CPUID.(7,0):EDX that are of any matter here. */
#define LEAF7_EDX_USED                                                                                                 \
	(CPUID_FEATURE_MASK(CPUID_MD_CLEAR) | CPUID_FEATURE_MASK(CPUID_IBRS_IBPB) | CPUID_FEATURE_MASK(CPUID_STIBP) |  \
	 CPUID_FEATURE_MASK(CPUID_L1D_FLUSH) | CPUID_FEATURE_MASK(CPUID_ARCH_CAPS) | CPUID_FEATURE_MASK(CPUID_SSBD))

/* What every exit loads: index, value (SDM Vol. 3C 25.7.2). */
static RO_AFTER_INIT uint64_t exit_msr[2] __attribute__((aligned(16)));

static void read_facts(struct speculation_facts *f)
{
	uint32_t regs[4];

	*f = (struct speculation_facts){.threads = topology_thread_bits(cpuid)};
	cpuid(1, 0, regs);
	f->signature = regs[CPUID_EAX];
	if (!cpuid_leaf_exists(7))
		return;
	cpuid(7, 0, regs);
	f->leaf7_ebx = regs[CPUID_EBX];
	f->leaf7_edx = regs[CPUID_EDX] & LEAF7_EDX_USED;
	if (regs[CPUID_EAX] >= 2) {
		cpuid(7, 2, regs);
		f->leaf7_2_edx = regs[CPUID_EDX];
	}
	if (f->leaf7_edx & CPUID_FEATURE_MASK(CPUID_ARCH_CAPS) && rdmsr_safe(MSR_ARCH_CAPABILITIES, &f->arch_caps))
		f->leaf7_edx &= ~CPUID_FEATURE_MASK(CPUID_ARCH_CAPS);
}

void vmx_speculation_probe(const struct mitigation_wish *wish)
{
	const struct speculation_facts *f = &vmx.speculation;

	read_facts(&vmx.speculation);
	mitigations_choose(&vmx.mitigations, f, wish);
	vmx.features.spec_ctrl = speculation_guest_spec_ctrl(f);
	vmx.features.spec_ctrl_plain = vmx.features.spec_ctrl && !vmx.mitigations.guest_spec_ctrl;
	vmx.features.arch_caps = speculation_guest_arch_caps(f);
	vmx.features.speculation = speculation_guest_leaf7(f);
	vmx.features.speculation_2 = speculation_guest_leaf7_2(f);
	vmx.features.code_in_pages = mitigation_is_on(&vmx.mitigations, MITIGATION_ITLB);
	exit_msr[0] = MSR_SPEC_CTRL;
	exit_msr[1] = vmx.mitigations.host_spec_ctrl;
}

const struct mitigation_plan *virt_mitigations(void)
{
	return &vmx.mitigations;
}

/* What is chosen is chosen for all CPUs, and what guests were told must hold on each. */
static bool facts_agree(const struct speculation_facts *own, const char **what)
{
	if (own->leaf7_edx != vmx.speculation.leaf7_edx)
		*what = "CPUID.7:EDX";
	else if (own->leaf7_2_edx != vmx.speculation.leaf7_2_edx)
		*what = "CPUID.7.2:EDX";
	else if (own->arch_caps != vmx.speculation.arch_caps)
		*what = "IA32_ARCH_CAPABILITIES";
	else
		return true;
	return false;
}

static int disable_tsx(void)
{
	uint64_t value;

	return rdmsr_safe(MSR_TSX_CTRL, &value) ||
	       wrmsr_safe(MSR_TSX_CTRL, value | TSX_CTRL_RTM_DISABLE | TSX_CTRL_CPUID_CLEAR);
}

int vmx_speculation_enable(char *why, size_t size)
{
	const struct mitigation_plan *plan = &vmx.mitigations;
	struct speculation_facts own;
	const char *what;

	read_facts(&own);
	if (!facts_agree(&own, &what)) {
		snprintf(why, size, "CPU %u differs from the boot CPU in %s (side channels): is its microcode another?",
			 this_cpu()->index, what);
		return -E_NOTSUP;
	}
	/* Also when it is 0: firmware may have left something, and exits rely on it. */
	if (vmx.features.spec_ctrl && wrmsr_safe(MSR_SPEC_CTRL, plan->host_spec_ctrl)) {
		snprintf(why, size, "IA32_SPEC_CTRL of CPU %u does not take 0x%llx", this_cpu()->index,
			 (unsigned long long)plan->host_spec_ctrl);
		return -E_NOTSUP;
	}
	if (mitigation_is_on(plan, MITIGATION_TSX) && disable_tsx()) {
		snprintf(why, size, "IA32_TSX_CTRL of CPU %u can't be written", this_cpu()->index);
		return -E_NOTSUP;
	}
	return 0;
}

/* Where an exit lands. */
static uint64_t choose_landing(const struct mitigation_plan *plan)
{
	/* By the history, whether all of the return stack is filled, and shadow stacks. */
	static void (*const landings[2][2][2])(void) = {
	    {{vmx_exit_rsb_one, vmx_exit_rsb_one_shadow}, {vmx_exit_rsb_all, vmx_exit_rsb_all_shadow}},
	    {{vmx_exit_history, vmx_exit_history_shadow}, {vmx_exit_history_rsb_all, vmx_exit_history_rsb_all_shadow}},
	};
	bool shadow = vmx.controls.exit & EXIT_CTL_LOAD_CET;

	if (!plan->clear_history && plan->rsb == RSB_KEEP)
		return (uint64_t)vmx_exit;
	return (uint64_t)landings[plan->clear_history][plan->rsb == RSB_ALL][shadow];
}

void vmx_speculation_create(struct virt_vcpu *v)
{
	const struct mitigation_plan *plan = &vmx.mitigations;

	vmcs_write(VMCS_HOST_RIP, choose_landing(plan));
	v->entry_work = 0;
	if (mitigation_is_on(plan, MITIGATION_L1D))
		v->entry_work |= VMX_ENTRY_FLUSH_L1D;
	if (mitigation_is_on(plan, MITIGATION_VERW))
		v->entry_work |= VMX_ENTRY_VERW;
	v->entry_msr.index = MSR_SPEC_CTRL;
	vmcs_write(VMCS_ENTRY_MSR_LOAD_ADDRESS, virt_to_phys(&v->entry_msr).value);
	vmcs_write(VMCS_EXIT_MSR_LOAD_ADDRESS, paging_lookup(exit_msr).value);
	vmcs_write(VMCS_ENTRY_MSR_LOAD_COUNT, 0);
	vmcs_write(VMCS_EXIT_MSR_LOAD_COUNT, 0);
	virt_set_spec_ctrl(v, 0);
}

void virt_set_spec_ctrl(struct virt_vcpu *v, uint64_t value)
{
	const struct mitigation_plan *plan = &vmx.mitigations;
	bool switched;

	v->spec_ctrl = value;
	v->entry_msr.value = value | plan->guest_spec_ctrl;
	if (!vmx.features.spec_ctrl)
		return;
	switched = plan->ibrs_each_exit || v->entry_msr.value != plan->host_spec_ctrl;
	vmcs_write(VMCS_ENTRY_MSR_LOAD_COUNT, switched);
	vmcs_write(VMCS_EXIT_MSR_LOAD_COUNT, switched);
}

/* vCPUs of one VM share what they have taught the predictor, as the CPUs of a machine with one kernel do. */
void vmx_speculation_switch(struct cpu *cpu, uint64_t number)
{
	if (cpu->space == number)
		return;
	cpu->space = number;
	if (mitigation_is_on(&vmx.mitigations, MITIGATION_IBPB))
		wrmsr(MSR_PRED_CMD, PRED_CMD_IBPB);
}
