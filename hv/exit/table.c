/* The exit table; see table.h. Reasons: SDM Vol. 3D Appendix C. */
/* SPDX-License-Identifier: MIT */
#include "hv/exit/table.h"

#include "hv/vm.h"

struct row {
	const char *name;
	exit_handler *handle; /* NULL: we never ask for this exit */
};

static const struct row table[EXIT_REASONS] = {
    [EXIT_EXCEPTION_NMI] = {"exception or NMI", exit_exception},
    [EXIT_EXTERNAL_INTERRUPT] = {"external interrupt", exit_external_interrupt},
    [EXIT_TRIPLE_FAULT] = {"triple fault", exit_triple_fault},
    [EXIT_INIT] = {"INIT signal", NULL},
    [EXIT_SIPI] = {"start-up IPI", NULL},
    [EXIT_INTERRUPT_WINDOW] = {"interrupt window", exit_window},
    [EXIT_NMI_WINDOW] = {"NMI window", exit_window},
    [EXIT_TASK_SWITCH] = {"task switch", exit_task_switch},
    [EXIT_CPUID] = {"CPUID", exit_cpuid},
    [EXIT_GETSEC] = {"GETSEC", exit_hidden},
    [EXIT_HLT] = {"HLT", exit_hlt},
    [EXIT_INVD] = {"INVD", exit_cache},
    [EXIT_INVLPG] = {"INVLPG", NULL},
    [EXIT_RDPMC] = {"RDPMC", exit_rdpmc},
    [EXIT_RDTSC] = {"RDTSC", NULL},
    [EXIT_VMCALL] = {"VMCALL", exit_vmcall},
    [EXIT_VMCLEAR] = {"VMCLEAR", exit_hidden},
    [EXIT_VMLAUNCH] = {"VMLAUNCH", exit_hidden},
    [EXIT_VMPTRLD] = {"VMPTRLD", exit_hidden},
    [EXIT_VMPTRST] = {"VMPTRST", exit_hidden},
    [EXIT_VMREAD] = {"VMREAD", exit_hidden},
    [EXIT_VMRESUME] = {"VMRESUME", exit_hidden},
    [EXIT_VMWRITE] = {"VMWRITE", exit_hidden},
    [EXIT_VMXOFF] = {"VMXOFF", exit_hidden},
    [EXIT_VMXON] = {"VMXON", exit_hidden},
    [EXIT_CR_ACCESS] = {"control register access", exit_cr},
    [EXIT_DR_ACCESS] = {"debug register access", NULL},
    [EXIT_IO] = {"I/O instruction", exit_io},
    [EXIT_RDMSR] = {"RDMSR", exit_rdmsr},
    [EXIT_WRMSR] = {"WRMSR", exit_wrmsr},
    [EXIT_MWAIT] = {"MWAIT", exit_hidden},
    [EXIT_MONITOR_TRAP] = {"monitor trap flag", NULL},
    [EXIT_MONITOR] = {"MONITOR", exit_hidden},
    [EXIT_PAUSE] = {"PAUSE loop", exit_pause},
    [EXIT_TPR_BELOW_THRESHOLD] = {"TPR below threshold", exit_tpr_threshold},
    [EXIT_APIC_ACCESS] = {"APIC access", exit_apic_access},
    [EXIT_EOI_INDUCED] = {"EOI", exit_eoi},
    [EXIT_GDTR_IDTR] = {"GDTR or IDTR access", NULL},
    [EXIT_LDTR_TR] = {"LDTR or TR access", NULL},
    [EXIT_EPT_VIOLATION] = {"EPT violation", exit_ept_violation},
    [EXIT_EPT_MISCONFIG] = {"EPT misconfiguration", exit_ept_misconfig},
    [EXIT_INVEPT] = {"INVEPT", exit_hidden},
    [EXIT_RDTSCP] = {"RDTSCP", NULL},
    [EXIT_PREEMPTION_TIMER] = {"preemption timer", exit_timer},
    [EXIT_INVVPID] = {"INVVPID", exit_hidden},
    [EXIT_WBINVD] = {"WBINVD", exit_cache},
    [EXIT_XSETBV] = {"XSETBV", exit_xsetbv},
    [EXIT_APIC_WRITE] = {"APIC write", exit_apic_write},
    [EXIT_RDRAND] = {"RDRAND", NULL},
    [EXIT_INVPCID] = {"INVPCID", NULL},
    [EXIT_VMFUNC] = {"VMFUNC", exit_hidden},
    [EXIT_ENCLS] = {"ENCLS", exit_hidden},
    [EXIT_RDSEED] = {"RDSEED", NULL},
    [EXIT_XSAVES] = {"XSAVES", NULL},
    [EXIT_XRSTORS] = {"XRSTORS", NULL},
};

const char *exit_name(uint32_t reason)
{
	return table[reason].name ? table[reason].name : "unknown";
}

enum outcome exit_handle(struct vcpu *v, const struct exit *exit)
{
	if (table[exit->reason].handle)
		return table[exit->reason].handle(v, exit);
	return vm_kill(v, "exit reason %u (%s), which Vireo does not ask for or does not know", virt_exit_number(),
		       exit_name(exit->reason));
}
