/*
 * A virtual processor: its VMCS built, loaded on a CPU, put away, unmade. The part of the processor's state that the
 * VMCS does not switch (FPU, debug registers, SYSCALL MSRs) stays in the hardware while the vCPU is loaded and is
 * exchanged here, so that an exit costs nothing for it; Vireo itself uses none of it, so it is still there when the
 * same vCPU comes back to its CPU. SDM Vol. 3C chapters 25 and 27.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/cpu.h"
#include "arch/x86/insn.h"
#include "arch/x86/memory.h"
#include "arch/x86/msr.h"
#include "arch/x86/shadow.h"
#include "arch/x86/trap.h"
#include "arch/x86/vmx/instructions.h"
#include "arch/x86/vmx/vmx.h"
#include "hv/lib/panic.h"
#include "hv/lib/string.h"

/*
 * Exceptions that must not stay inside the guest: #MC belongs to the machine; #DB and #AC can be made to recur during
 * their own delivery without end (CVE-2015-8104, CVE-2015-5307), which only an exit breaks.
 */
#define EXCEPTIONS (BIT(VECTOR_MC) | BIT(VECTOR_DB) | BIT(VECTOR_AC))

/*
 * A PAUSE-loop exit comes when PAUSEs follow each other within GAP ticks for WINDOW ticks (SDM Vol. 3C 25.6.13): longer
 * than a spinlock is held by a vCPU that runs, much shorter than the turn that its holder waits for when it does not.
 */
#define PAUSE_GAP    128
#define PAUSE_WINDOW 4096

#define MXCSR_OFFSET 24
#define FCW_RESET    0x37f
#define MXCSR_RESET  0x1f80

static void load_vmcs(const hpa_t *vmcs)
{
	if (vmptrld(vmcs))
		panic("VMPTRLD of 0x%llx failed", (unsigned long long)vmcs->value);
}

static void clear_vmcs(const hpa_t *vmcs)
{
	if (vmclear(vmcs))
		panic("VMCLEAR of 0x%llx failed", (unsigned long long)vmcs->value);
}

static void write_controls(struct virt_vcpu *v, const struct virt_vcpu_setup *s)
{
	v->pin_ctl = vmx.controls.pin;
	v->cpu_ctl = vmx.controls.cpu;
	v->cpu2_ctl = vmx.controls.cpu2;
	v->entry_ctl = vmx.controls.entry;
	/* The APIC is virtualised once the guest's APIC has a mode: virt_apic_set_mode(). */
	v->cpu2_ctl &= ~(uint32_t)(CPU2_APIC_REGISTERS | CPU2_VIRTUAL_INTERRUPTS);
	if (!s->pause_exits)
		v->cpu2_ctl &= ~(uint32_t)CPU2_PAUSE_LOOP;
	vmcs_write(VMCS_PIN_CONTROLS, v->pin_ctl);
	vmcs_write(VMCS_CPU_CONTROLS, v->cpu_ctl);
	vmcs_write(VMCS_CPU_CONTROLS2, v->cpu2_ctl);
	vmcs_write(VMCS_EXIT_CONTROLS, vmx.controls.exit);
	vmcs_write(VMCS_ENTRY_CONTROLS, v->entry_ctl);
	vmcs_write(VMCS_EXCEPTION_BITMAP, EXCEPTIONS);
	vmcs_write(VMCS_PAGE_FAULT_ERROR_MASK, 0);
	vmcs_write(VMCS_PAGE_FAULT_ERROR_MATCH, 0);
	vmcs_write(VMCS_CR3_TARGET_COUNT, 0);
	vmcs_write(VMCS_EXIT_MSR_STORE_COUNT, 0);
	vmcs_write(VMCS_ENTRY_INTR_INFO, 0);
	vmcs_write(VMCS_EPTP, ept_pointer(&s->space->ept));
	vmcs_write(VMCS_LINK_POINTER, ~0ULL);
	if (v->cpu2_ctl & CPU2_PAUSE_LOOP) {
		vmcs_write(VMCS_PLE_GAP, PAUSE_GAP);
		vmcs_write(VMCS_PLE_WINDOW, PAUSE_WINDOW);
	}
	if (v->cpu2_ctl & CPU2_ENCLS)
		vmcs_write(VMCS_ENCLS_EXITING_BITMAP, ~0ULL);
	if (vmx.features.vpid)
		vmcs_write(VMCS_VPID, s->vpid);
	if (vmx.features.preemption_timer)
		vmcs_write(VMCS_GUEST_PREEMPTION_TIMER, ~0U);
	if (vmx.features.apicv) {
		vmcs_write(VMCS_VIRTUAL_APIC_ADDRESS, s->virtual_apic.value);
		vmcs_write(VMCS_APIC_ACCESS_ADDRESS, s->apic_access.value);
		vmcs_write(VMCS_TPR_THRESHOLD, 0);
		vmcs_write(VMCS_GUEST_INTERRUPT_STATUS, 0);
	}
	vmcs_write(VMCS_CR0_GUEST_HOST_MASK, VMX_CR0_OWNED);
	/*
	 * The guest toggles CR4 bits freely that change nothing for us. PAE, LA57 and PCIDE decide how CR3 is read,
	 * VMXE and SMXE are not the guest's, MCE stays as the machine needs it, and what the processor has but the
	 * guest must not see would go through unchecked.
	 */
	vmcs_write(VMCS_CR4_GUEST_HOST_MASK,
		   ~(s->cr4_guest & ~(CR4_PAE | CR4_LA57 | CR4_PCIDE | CR4_VMXE | CR4_SMXE | CR4_MCE)));
}

/*
 * Shadow stacks are ours alone: the guest has none, so that its fields stay 0. HOST_SSP and HOST_SSP_TABLE belong to
 * the CPU: vmx_enter() writes them.
 */
static void write_shadow_stacks(void)
{
	vmcs_write(VMCS_HOST_S_CET, S_CET_SHADOW_STACK);
	vmcs_write(VMCS_GUEST_S_CET, 0);
	vmcs_write(VMCS_GUEST_SSP, 0);
	vmcs_write(VMCS_GUEST_SSP_TABLE, 0);
}

/* What is the same on every CPU; the rest is virt_load's. */
static void write_host_state(void)
{
	vmcs_write(VMCS_HOST_CR0, read_cr0());
	vmcs_write(VMCS_HOST_CR4, read_cr4());
	vmcs_write(VMCS_HOST_CS_SELECTOR, SELECTOR_CODE);
	vmcs_write(VMCS_HOST_SS_SELECTOR, SELECTOR_DATA);
	vmcs_write(VMCS_HOST_DS_SELECTOR, 0);
	vmcs_write(VMCS_HOST_ES_SELECTOR, 0);
	vmcs_write(VMCS_HOST_FS_SELECTOR, 0);
	vmcs_write(VMCS_HOST_GS_SELECTOR, 0);
	vmcs_write(VMCS_HOST_TR_SELECTOR, SELECTOR_TSS);
	vmcs_write(VMCS_HOST_FS_BASE, 0);
	vmcs_write(VMCS_HOST_IDTR_BASE, idt_base());
	vmcs_write(VMCS_HOST_SYSENTER_CS, 0);
	vmcs_write(VMCS_HOST_SYSENTER_ESP, 0);
	vmcs_write(VMCS_HOST_SYSENTER_EIP, 0);
	vmcs_write(VMCS_HOST_PAT, PAT_HOST);
	vmcs_write(VMCS_HOST_EFER, rdmsr(MSR_EFER));
	if (vmx.controls.exit & EXIT_CTL_LOAD_CET)
		write_shadow_stacks();
}

static void reset_fpu(struct virt_vcpu *v)
{
	const uint16_t fcw = FCW_RESET;
	const uint32_t mxcsr = MXCSR_RESET;

	memset(v->fpu, 0, PAGE_SIZE);
	memcpy(v->fpu, &fcw, sizeof(fcw));
	memcpy(v->fpu + MXCSR_OFFSET, &mxcsr, sizeof(mxcsr));
}

void virt_vcpu_power_up(struct virt_vcpu *v)
{
	v->xcr0 = XCR0_X87;
	v->cr2 = 0;
	v->loaded_on = NULL;
	memset(v->dr, 0, sizeof(v->dr));
	v->dr6 = DR6_INIT;
	v->star = v->lstar = v->cstar = v->fmask = v->kernel_gs = v->tsc_aux = 0;
	reset_fpu(v);
}

int virt_vcpu_create(struct virt_vcpu *v, const struct virt_vcpu_setup *setup)
{
	hpa_t fpu, loaded;

	memset(v, 0, sizeof(*v));
	v->vmcs = vmx.pages.alloc();
	fpu = vmx.pages.alloc();
	if (hpa_is_none(v->vmcs) || hpa_is_none(fpu)) {
		if (!hpa_is_none(v->vmcs))
			vmx.pages.free(v->vmcs);
		if (!hpa_is_none(fpu))
			vmx.pages.free(fpu);
		return -E_NOMEM;
	}
	v->fpu = phys_to_virt(fpu);
	v->space = setup->space;
	v->vpid = vmx.features.vpid ? setup->vpid : 0;
	virt_vcpu_power_up(v);
	*(uint32_t *)phys_to_virt(v->vmcs) = vmx.caps.revision;
	loaded = vmptrst();
	clear_vmcs(&v->vmcs);
	load_vmcs(&v->vmcs);
	write_controls(v, setup);
	write_host_state();
	vmx_speculation_create(v);
	clear_vmcs(&v->vmcs);
	if (loaded.value != ~0ULL)
		load_vmcs(&loaded);
	return 0;
}

void virt_vcpu_destroy(struct virt_vcpu *v)
{
	clear_vmcs(&v->vmcs);
	vmx.pages.free(v->vmcs);
	vmx.pages.free(virt_to_phys(v->fpu));
}

/* Extended state: the host has none of its own, so only the guest's is moved. All components go, whatever its XCR0. */
static void load_fpu(struct virt_vcpu *v)
{
	if (!vmx.xcr0_mask) {
		fxrstor(v->fpu);
		return;
	}
	xsetbv(0, vmx.xcr0_mask);
	xrstor(v->fpu, vmx.xcr0_mask);
}

static void save_fpu(struct virt_vcpu *v)
{
	if (!vmx.xcr0_mask) {
		fxsave(v->fpu);
		return;
	}
	v->xcr0 = xgetbv(0);
	xsetbv(0, vmx.xcr0_mask);
	xsave(v->fpu, vmx.xcr0_mask);
}

static void load_registers(const struct virt_vcpu *v)
{
	write_cr2(v->cr2);
	write_dr(0, v->dr[0]);
	write_dr(1, v->dr[1]);
	write_dr(2, v->dr[2]);
	write_dr(3, v->dr[3]);
	write_dr(6, v->dr6);
	wrmsr(MSR_STAR, v->star);
	wrmsr(MSR_LSTAR, v->lstar);
	wrmsr(MSR_CSTAR, v->cstar);
	wrmsr(MSR_FMASK, v->fmask);
	wrmsr(MSR_KERNEL_GS_BASE, v->kernel_gs);
	if (vmx.rdtscp)
		wrmsr(MSR_TSC_AUX, v->tsc_aux);
}

static void save_registers(struct virt_vcpu *v)
{
	v->cr2 = read_cr2();
	v->dr[0] = read_dr(0);
	v->dr[1] = read_dr(1);
	v->dr[2] = read_dr(2);
	v->dr[3] = read_dr(3);
	v->dr6 = read_dr(6);
	v->star = rdmsr(MSR_STAR);
	v->lstar = rdmsr(MSR_LSTAR);
	v->cstar = rdmsr(MSR_CSTAR);
	v->fmask = rdmsr(MSR_FMASK);
	v->kernel_gs = rdmsr(MSR_KERNEL_GS_BASE);
	if (vmx.rdtscp)
		v->tsc_aux = rdmsr(MSR_TSC_AUX);
}

/*
 * What this CPU's TLB may hold for the vCPU is right if it was loaded here last and no translation of its space was
 * lost since: entries carry its VPID and its space's root (SDM Vol. 3C 29.4.1). In every other case they may be old,
 * or of a VM that had the same root or VPID before.
 */
static void flush_if_stale(struct virt_vcpu *v, const struct cpu *cpu)
{
	uint64_t generation = atomic_load(&v->space->generation);

	if (v->loaded_on == cpu && atomic_load_explicit(&v->flushed_generation, memory_order_relaxed) == generation)
		return;
	virt_space_flush(v->space);
	virt_vcpu_flush(v);
	atomic_store(&v->flushed_generation, generation); /* last: who waits for it frees what was lost */
}

void virt_renew(struct virt_vcpu *v)
{
	flush_if_stale(v, this_cpu());
}

static void load_all(struct virt_vcpu *v, struct cpu *cpu)
{
	vmcs_write(VMCS_HOST_GS_BASE, (uint64_t)cpu);
	vmcs_write(VMCS_HOST_TR_BASE, (uint64_t)&cpu->tss);
	vmcs_write(VMCS_HOST_GDTR_BASE, (uint64_t)&cpu->gdt);
	vmcs_write(VMCS_HOST_CR3, read_cr3());
	vmx_speculation_switch(cpu, v->space->number);
	load_fpu(v);
	load_registers(v);
	cpu->held = v;
}

/* A vCPU that comes back to the CPU where it ran last, before any other did, finds everything as it left it. */
void virt_load(struct virt_vcpu *v)
{
	struct cpu *cpu = this_cpu();

	load_vmcs(&v->vmcs);
	if (cpu->held != v || v->loaded_on != cpu)
		load_all(v, cpu);
	if (vmx.xcr0_mask)
		xsetbv(0, v->xcr0);
	flush_if_stale(v, cpu);
	v->loaded_on = cpu;
}

void virt_put(struct virt_vcpu *v)
{
	save_registers(v);
	save_fpu(v);
	/* VMCLEAR writes the processor's cached copy back, so that another CPU may load it; the next entry is a launch.
	 */
	clear_vmcs(&v->vmcs);
	v->launched = v->plain = false;
}

/* Drops what this CPU's TLB holds under the vCPU's tag. Without VPID every entry and exit does that. */
NOINLINE void virt_vcpu_flush(const struct virt_vcpu *v)
{
	if (v->vpid)
		invvpid(INVVPID_SINGLE, v->vpid);
}
