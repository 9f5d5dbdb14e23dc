/*
 * VT-x on this machine: is it there, which controls are used, VMXON on every CPU, and the report of features.
 * Called by hv/main at boot. SDM Vol. 3C 24.6 to 24.8 (enabling), Vol. 3D Appendix A (capabilities).
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/cpu.h"
#include "arch/x86/cpuid.h"
#include "arch/x86/insn.h"
#include "arch/x86/memory.h"
#include "arch/x86/msr.h"
#include "arch/x86/registers.h"
#include "arch/x86/trap.h"
#include "arch/x86/vmx/instructions.h"
#include "arch/x86/vmx/vmx.h"
#include "hv/lib/panic.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"

#define EPT_NEEDED (VMX_EPT_WALK_4 | VMX_EPT_WB | VMX_EPT_INVEPT)

RO_AFTER_INIT struct vmx_machine vmx;

/*
 * What no guest can run without, beyond what design asks of the machine (EPT, unrestricted guest). PAT and EFER
 * switches exist on every processor with unrestricted guest. All ports exit: hv/bus.h is the allow-list.
 */
#define MIN_PIN (PIN_EXTERNAL_INTERRUPT | PIN_NMI | PIN_VIRTUAL_NMI)
#define MIN_CPU                                                                                                        \
	(CPU_INTERRUPT_WINDOW | CPU_NMI_WINDOW | CPU_TSC_OFFSETTING | CPU_HLT | CPU_MWAIT | CPU_MONITOR | CPU_RDPMC |  \
	 CPU_UNCONDITIONAL_IO | CPU_MSR_BITMAPS | CPU_SECONDARY)
#define MIN_CPU2 (CPU2_EPT | CPU2_UNRESTRICTED_GUEST)
#define MIN_EXIT                                                                                                       \
	(EXIT_CTL_HOST_64 | EXIT_CTL_SAVE_DEBUG | EXIT_CTL_SAVE_PAT | EXIT_CTL_LOAD_PAT | EXIT_CTL_SAVE_EFER |         \
	 EXIT_CTL_LOAD_EFER | EXIT_CTL_ACK_INTERRUPT)
#define MIN_ENTRY (ENTRY_CTL_LOAD_DEBUG | ENTRY_CTL_LOAD_PAT | ENTRY_CTL_LOAD_EFER)

#define OPT_CPU2 (CPU2_RDTSCP | CPU2_INVPCID | CPU2_WBINVD | CPU2_PAUSE_LOOP | CPU2_ENCLS)
#define APICV	 (CPU2_APIC_ACCESSES | CPU2_APIC_REGISTERS | CPU2_VIRTUAL_INTERRUPTS)

void virt_set_pages(const struct virt_pages *pages)
{
	vmx.pages = *pages;
}
const struct virt_features *virt_features(void)
{
	return &vmx.features;
}

static uint32_t address_sizes(void)
{
	uint32_t regs[4];

	cpuid(0x80000008, 0, regs);
	return regs[CPUID_EAX];
}

/* Sets and locks IA32_FEATURE_CONTROL where firmware left that to us (SDM Vol. 3C 24.7). */
static int unlock_vmx(char *why, size_t size)
{
	uint64_t value;
	enum vmx_lock_state state;

	if (rdmsr_safe(MSR_FEATURE_CONTROL, &value)) {
		snprintf(why, size,
			 "this CPU has no VT-x that can be used: IA32_FEATURE_CONTROL (MSR 0x3a) does not exist");
		return -E_NOTSUP;
	}
	state = vmx_feature_control_state(value);
	if (state == VMX_LOCK_MUST_SET) {
		value |= FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX;
		if (wrmsr_safe(MSR_FEATURE_CONTROL, value) == 0)
			return 0;
		state = VMX_LOCK_OFF;
	}
	if (state == VMX_LOCK_USABLE)
		return 0;
	snprintf(why, size,
		 "VT-x is locked off: IA32_FEATURE_CONTROL is 0x%llx (%s), expected bits 0 and 2 set; turn on "
		 "\"Intel Virtualization Technology\" in the firmware's setup",
		 (unsigned long long)value, vmx_lock_text(state));
	return -E_NOTSUP;
}

static int read_caps(struct vmx_caps *caps, char *why, size_t size)
{
	uint32_t regs[4], failed;

	cpuid(1, 0, regs);
	if (!(regs[CPUID_ECX] & CPUID_FEATURE_MASK(CPUID_VMX))) {
		snprintf(why, size, "this CPU has no VT-x: CPUID.1:ECX is 0x%x, expected bit 5 (VMX) set",
			 regs[CPUID_ECX]);
		return -E_NOTSUP;
	}
	if (unlock_vmx(why, size))
		return -E_NOTSUP;
	if (vmx_caps_read(caps, rdmsr_safe, address_sizes(), &failed)) {
		snprintf(why, size, "VT-x capability MSR 0x%x can't be used", failed);
		return -E_NOTSUP;
	}
	return 0;
}

static int negotiate(enum vmx_word word, uint32_t minimum, uint32_t optional, uint32_t *result, char *why, size_t size)
{
	char name[80];
	uint32_t missing;

	if (vmx_negotiate(vmx_caps_word(&vmx.caps, word), minimum, optional, result, &missing) == 0)
		return 0;
	vmx_missing_format(word, missing, name, sizeof(name));
	snprintf(why, size, "VT-x lacks a feature that Vireo needs: %s", name);
	return -E_NOTSUP;
}

static bool allowed(enum vmx_word word, uint32_t bits)
{
	return ((vmx_caps_word(&vmx.caps, word) >> 32) & bits) == bits;
}

/*
 * Of processors with APICv. Bochs 2.7, whichever it plays, is the only one known to deliver virtual interrupts and not
 * to process posted ones. A real one like it would pay a look, and find what looks like an early interrupt only where a
 * guest has made that up.
 */
static bool is_bochs(void)
{
	return !allowed(VMX_WORD_PIN, PIN_POSTED_INTERRUPTS) && !cpu_has(CPUID_HYPERVISOR);
}

/*
 * "VMX-preemption timer does not count down at the rate specified" (AAT59, AAU65, AAX65 of Intel's specification
 * updates; the last is known from other hypervisors): a turn would end too early or too late. Family, model and
 * stepping.
 */
static bool is_timer_sound(void)
{
	static const uint32_t unsound[] = {0x20652, 0x20655, 0x306A8};
	uint32_t regs[4];

	cpuid(1, 0, regs);
	for (unsigned i = 0; i < ARRAY_SIZE(unsound); i++)
		if ((regs[CPUID_EAX] & 0x0FFF3FFF) == unsound[i])
			return false;
	return true;
}

/* Optional features: what the processor has and the user did not turn off. */
static void choose_features(const struct virt_wish *wish)
{
	struct virt_features *f = &vmx.features;
	uint64_t flushes = VMX_VPID_INVVPID | VMX_VPID_SINGLE;

	f->vpid = wish->vpid && allowed(VMX_WORD_CPU2, CPU2_VPID) && (vmx.caps.ept_vpid & flushes) == flushes;
	f->preemption_timer = wish->preemption_timer && allowed(VMX_WORD_PIN, PIN_PREEMPTION_TIMER) && is_timer_sound();
	f->timer_shift = vmx.caps.preemption_shift;
	f->apicv = wish->apicv && allowed(VMX_WORD_CPU, CPU_TPR_SHADOW) && allowed(VMX_WORD_CPU2, APICV);
	f->x2apicv = f->apicv && allowed(VMX_WORD_CPU2, CPU2_X2APIC_MODE);
	f->early_interrupts = f->apicv && is_bochs();
	f->rdtscp = vmx.rdtscp && allowed(VMX_WORD_CPU2, CPU2_RDTSCP);
	f->invpcid = allowed(VMX_WORD_CPU2, CPU2_INVPCID);
	f->xcr0_mask = vmx.xcr0_mask;
	f->cr4_guest = vmx.caps.cr4_fixed1 & ~CR4_VMXE;
}

static int choose_controls(char *why, size_t size)
{
	const struct virt_features *f = &vmx.features;
	struct vmx_controls *c = &vmx.controls;
	uint32_t pin = f->preemption_timer ? PIN_PREEMPTION_TIMER : 0;
	uint32_t cpu2 =
	    OPT_CPU2 | (f->vpid ? CPU2_VPID : 0) | (f->apicv ? CPU2_APIC_REGISTERS | CPU2_VIRTUAL_INTERRUPTS : 0);
	uint32_t cpu = f->apicv ? CPU_TPR_SHADOW : CPU_CR8_LOAD | CPU_CR8_STORE;
	bool cet = read_cr4() & CR4_CET; /* on only where both are there: shadow.c */
	uint32_t exit = cet ? EXIT_CTL_LOAD_CET : 0, entry = cet ? ENTRY_CTL_LOAD_CET : 0;

	if (negotiate(VMX_WORD_PIN, MIN_PIN, pin, &c->pin, why, size) ||
	    negotiate(VMX_WORD_CPU, MIN_CPU | cpu, 0, &c->cpu, why, size) ||
	    negotiate(VMX_WORD_CPU2, MIN_CPU2, cpu2, &c->cpu2, why, size) ||
	    negotiate(VMX_WORD_EXIT, MIN_EXIT | exit, 0, &c->exit, why, size) ||
	    negotiate(VMX_WORD_ENTRY, MIN_ENTRY | entry, 0, &c->entry, why, size))
		return -E_NOTSUP;
	vmx.used = *c;
	if (f->apicv)
		vmx.used.cpu2 |= CPU2_APIC_ACCESSES | (f->x2apicv ? CPU2_X2APIC_MODE : 0);
	vmx.used.entry |= ENTRY_CTL_IA32E;
	/* Old processors can't run without these; a hypervisor with EPT has no use for them (SDM Vol. 3D A.3.2). */
	if (c->cpu & (CPU_CR3_LOAD | CPU_CR3_STORE | CPU_INVLPG)) {
		snprintf(why, size,
			 "VT-x forces CR3 or INVLPG exits (primary controls 0x%x): the TRUE controls are missing",
			 c->cpu);
		return -E_NOTSUP;
	}
	return 0;
}

/* Which extended state guests may have and how large its save area is (SDM Vol. 1 13.2). Without XSAVE: FXSAVE's. */
static void learn_xsave(void)
{
	uint32_t regs[4];
	/* Architectural state that XSAVE covers wholly and no XSS bit governs. Not MPX's. */
	const uint64_t known = XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512 | XCR0_PKRU;
	const uint64_t avx512 = XCR0_AVX | XCR0_AVX512;

	vmx.xcr0_mask = 0;
	vmx.xsave_size = 512;
	if (!cpu_has(CPUID_XSAVE))
		return;
	cpuid(0xd, 0, regs);
	vmx.xcr0_mask = ((uint64_t)regs[CPUID_EDX] << 32 | regs[CPUID_EAX]) & known;
	vmx.xsave_size = regs[CPUID_ECX];
	/* The sum of the components is believed over ECX: some processors report ECX for a smaller XCR0. */
	for (unsigned i = 2; i < 63; i++) {
		if (!(vmx.xcr0_mask & BIT(i)))
			continue;
		cpuid(0xd, i, regs);
		/* Named without a size (PKRU of Bochs's Ice Lake): nothing that could be kept, and Linux warns of it.
		 */
		if (!regs[CPUID_EAX])
			vmx.xcr0_mask &= ~BIT(i);
		if (regs[CPUID_EAX] + regs[CPUID_EBX] > vmx.xsave_size)
			vmx.xsave_size = regs[CPUID_EAX] + regs[CPUID_EBX];
	}
	if ((vmx.xcr0_mask & avx512) != avx512)
		vmx.xcr0_mask &= ~XCR0_AVX512; /* its three go together, and with AVX (SDM Vol. 1 13.3) */
}

/*
 * Does the processor's compacted XSAVE area have the size that its components add up to (SDM Vol. 1 13.4.3)? Where it
 * does not (Bochs 2.7 with AVX-512), what XSAVEC writes can't be trusted either, and guests are not shown it. Needs
 * CR4.OSXSAVE.
 */
static bool is_compaction_sound(void)
{
	uint32_t regs[4], size = 512 + 64;

	if (!vmx.xcr0_mask)
		return false;
	for (unsigned i = 2; i < 32; i++) {
		if (!(vmx.xcr0_mask & BIT(i)))
			continue;
		cpuid(0xd, i, regs);
		size = (regs[CPUID_ECX] & 2 ? ALIGN_UP(size, 64) : size) + regs[CPUID_EAX];
	}
	xsetbv(0, vmx.xcr0_mask);
	cpuid(0xd, 1, regs);
	return regs[CPUID_EBX] == size;
}

int virt_probe(const struct virt_wish *wish, char *why, size_t size)
{
	if (read_caps(&vmx.caps, why, size))
		return -E_NOTSUP;
	vmx.rdtscp = cpu_has(CPUID_RDTSCP);
	learn_xsave();
	if (vmx.xsave_size > PAGE_SIZE) {
		/* More than known components need; XCR0 keeps to what fits. */
		vmx.xcr0_mask &= XCR0_X87 | XCR0_SSE | XCR0_AVX;
		vmx.xsave_size = PAGE_SIZE;
	}
	mtrr_read(&vmx.mtrr, rdmsr_safe, vmx.caps.physical_bits);
	choose_features(wish);
	vmx_speculation_probe(&wish->mitigations);
	if (choose_controls(why, size))
		return -E_NOTSUP;
	if ((vmx.caps.ept_vpid & EPT_NEEDED) != EPT_NEEDED ||
	    !(vmx.caps.ept_vpid & (VMX_EPT_INVEPT_SINGLE | VMX_EPT_INVEPT_ALL))) {
		snprintf(why, size,
			 "EPT with 4 levels, write-back tables and INVEPT is missing: EPT/VPID capability 0x%llx",
			 (unsigned long long)vmx.caps.ept_vpid);
		return -E_NOTSUP;
	}
	if (!vmx.caps.ins_outs_info) {
		snprintf(
		    why, size,
		    "VT-x does not tell which segment INS and OUTS use: IA32_VMX_BASIC is 0x%llx, expected bit 54 set",
		    (unsigned long long)vmx.caps.basic);
		return -E_NOTSUP;
	}
	return 0;
}

static void flush_all_ept(void)
{
	if (vmx.caps.ept_vpid & VMX_EPT_INVEPT_ALL)
		invept(INVEPT_ALL, 0);
}

/* What VMX fixes in CR0 and CR4 must hold before VMXON (SDM Vol. 3C 24.8). */
static void fix_control_registers(void)
{
	uint64_t cr0 = (read_cr0() | vmx.caps.cr0_fixed0) & vmx.caps.cr0_fixed1;
	uint64_t cr4 = (read_cr4() | CR4_VMXE | (vmx.xcr0_mask ? CR4_OSXSAVE : 0) | CR4_OSFXSR | CR4_OSXMMEXCPT |
			vmx.caps.cr4_fixed0) &
		       vmx.caps.cr4_fixed1;

	write_cr0(cr0);
	write_cr4(cr4);
}

int virt_cpu_enable(char *why, size_t size)
{
	struct vmx_caps own;
	const char *what;
	uint64_t first, second;
	hpa_t region;

	if (read_caps(&own, why, size))
		return -E_NOTSUP;
	if (!vmx_caps_agree(&vmx.caps, &own, &what, &first, &second)) {
		snprintf(why, size, "CPU %u differs from the boot CPU in %s: 0x%llx, expected 0x%llx",
			 this_cpu()->index, what, (unsigned long long)second, (unsigned long long)first);
		return -E_NOTSUP;
	}
	region = vmx.pages.alloc();
	if (hpa_is_none(region)) {
		snprintf(why, size, "no memory for CPU %u's VMXON region", this_cpu()->index);
		return -E_NOMEM;
	}
	*(uint32_t *)phys_to_virt(region) = vmx.caps.revision;
	fix_control_registers();
	if (vmxon(region)) {
		vmx.pages.free(region);
		snprintf(why, size, "VMXON failed on CPU %u", this_cpu()->index);
		return -E_FAULT;
	}
	flush_all_ept();
	if (this_cpu()->index == 0)
		vmx.features.xsavec = is_compaction_sound();
	return vmx_speculation_enable(why, size);
}

/* What a reader of the log wants to know of a machine; the rest of the controls are told on request only. */
static bool is_notable(const struct vmx_feature *f)
{
	static const char *const names[] = {
	    "activate VMX-preemption timer",
	    "process posted interrupts",
	    "use TPR shadow",
	    "virtualize APIC accesses",
	    "enable EPT",
	    "enable RDTSCP",
	    "virtualize x2APIC mode",
	    "enable VPID",
	    "unrestricted guest",
	    "APIC-register virtualization",
	    "virtual-interrupt delivery",
	    "PAUSE-loop exiting",
	    "enable INVPCID",
	    "VMCS shadowing",
	    "enable PML",
	    "use TSC scaling",
	    "1 GiB pages",
	    "accessed and dirty flags",
	};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(f->name, names[i]) == 0)
			return true;
	return false;
}

void virt_report(void (*line)(const char *text), bool all)
{
	static const char *const state[] = {"missing", "present", "used"};
	struct vmx_feature f;
	char text[120];

	for (unsigned i = 0; vmx_feature_at(&vmx.caps, &vmx.used, i, &f); i++) {
		if (!all && !is_notable(&f))
			continue;
		snprintf(text, sizeof(text), "%-8s %s bit %u: %s", state[f.state], f.word, f.bit, f.name);
		line(text);
	}
}
