/*
 * What a processor's virtualization extension does for hv/: a virtual processor that is entered, an exit that comes
 * back as a value, events that are injected, guest-physical memory that is mapped. Nothing here says VMCS, so that
 * another vendor's extension can stand beside arch/x86/vmx as a second folder.
 *
 * Unless said otherwise a function works on the vCPU that is *loaded* on this CPU (virt_load), with interrupts off.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdatomic.h>

#include "arch/x86/cpu_state.h"
#include "arch/x86/mitigations.h"
#include "arch/x86/registers.h"
#include "hv/lib/types.h"

/* --- the extension on this machine -------------------------------------------------------------------------------- */

struct virt_features {
	bool vpid;	       /* TLB entries tagged: no flush on entry and exit */
	bool preemption_timer; /* entry can be bounded in TSC ticks */
	unsigned timer_shift;  /* preemption timer counts TSC >> timer_shift */
	bool apicv;   /* APIC-register virtualisation and virtual-interrupt delivery, xAPIC accesses virtualised */
	bool x2apicv; /* the same for x2APIC MSRs */
	bool early_interrupts;	      /* a virtual interrupt may come although IF is 0: hv/exit/early.h */
	bool rdtscp, invpcid, xsavec; /* may be shown to guests */
	uint64_t cr4_guest;	      /* CR4 bits the processor allows in a guest */
	uint64_t xcr0_mask;	      /* XCR0 bits whose state vCPU switches keep; 0: no XSAVE */
	uint64_t spec_ctrl;	      /* bits that guests may set in IA32_SPEC_CTRL; 0: they have none */
	bool spec_ctrl_plain;	      /* while a guest runs it holds what the guest wrote, and no bit of ours */
	uint64_t arch_caps;	      /* what guests read from IA32_ARCH_CAPABILITIES, if they are shown it */
	uint32_t speculation;	      /* CPUID.(7,0):EDX: what of the same guests are shown */
	uint32_t speculation_2;	      /* CPUID.(7,2):EDX, likewise */
	bool code_in_pages;	      /* guests' code is mapped in pages of 4 KiB only: virt_space_allow_code() */
};

/* What of the optional features the user wants (vireo.conf). */
struct virt_wish {
	bool vpid, preemption_timer, apicv;
	struct mitigation_wish mitigations;
};

/*
 * Looks at this CPU and decides which features are used. 0, or -E_NOTSUP with `why` naming what is missing.
 * Called once, on the boot CPU.
 */
int virt_probe(const struct virt_wish *wish, char *why, size_t size) MUST_CHECK;
/* Turns the extension on on this CPU; all CPUs must agree with the one that probed. Allocates one page. */
int virt_cpu_enable(char *why, size_t size) MUST_CHECK;
const struct virt_features *virt_features(void);
/* What is done against side channels, on each CPU from virt_cpu_enable() on. */
const struct mitigation_plan *virt_mitigations(void);
/* Calls `line` with one text line a feature: used, present or missing. `all`: also those that Vireo has no use for. */
void virt_report(void (*line)(const char *text), bool all);

/* Where this folder gets zeroed 4 KiB pages from and gives them back to. */
struct virt_pages {
	hpa_t (*alloc)(void);
	void (*free)(hpa_t page);
	int (*promise)(uint64_t count);	 /* of pages, which nobody else gets then: 0 or -E_NOMEM */
	void (*release)(uint64_t count); /* promised ones */
	hpa_t (*take)(void);		 /* one of the promised, which never fails */
};
void virt_set_pages(const struct virt_pages *pages);

/* --- guest-physical memory ---------------------------------------------------------------------------------------- */

enum { VIRT_READ = 1, VIRT_WRITE = 2, VIRT_EXEC = 4, VIRT_RWX = 7 };

struct cpu;
struct virt_space; /* one guest's second-level page tables */
/* For a guest with `size` bytes of RAM: the page tables to map them are promised here, and `more`. NULL: no memory. */
struct virt_space *virt_space_create(uint64_t size, uint64_t more);
void virt_space_destroy(struct virt_space *space);
/*
 * One change at a time; the caller sees to that. vCPUs may run meanwhile, but for taking rights away. What is unmapped
 * or cleared they may still reach until they have flushed: when they are loaded the next time, or by virt_renew().
 */
/* Maps RAM with the memory types the MTRRs say. -E_EXIST, -E_NOMEM (nothing mapped). */
int virt_space_map(struct virt_space *space, gpa_t gpa, hpa_t hpa, uint64_t size, unsigned rights) MUST_CHECK;
int virt_space_protect(struct virt_space *space, gpa_t gpa, uint64_t size, unsigned rights) MUST_CHECK;
/*
 * A fetch from gpa was refused. Where code is mapped in pages only (virt_features), what was mapped with VIRT_EXEC in a
 * larger leaf is split, and the fetch succeeds from now on. Elsewhere nothing happens. -E_NOMEM.
 */
int virt_space_allow_code(struct virt_space *space, gpa_t gpa) MUST_CHECK;
/* Takes what is mapped in the range away. -E_NOMEM only when the ends lie inside of what was mapped as one. */
int virt_space_unmap(struct virt_space *space, gpa_t gpa, uint64_t size) MUST_CHECK;
/* The same, but in tables that it keeps: what is mapped there again, page by page, needs no memory. */
int virt_space_clear(struct virt_space *space, gpa_t gpa, uint64_t size) MUST_CHECK;
/* Another one after each loss: who has renewed (virt_vcpu_renewed) for this or a later one can't reach what was lost.
 */
uint64_t virt_space_generation(const struct virt_space *space);
/* Tables that unmap took away may be used again: everybody has renewed since, and nothing was unmapped. */
void virt_space_settle(struct virt_space *space);
/*
 * Every page of the range, which was mapped in pages, is the one page `hpa` from now on; without rights nothing is.
 * vCPUs may run meanwhile; who has renewed since sees it. -E_NOENT: not mapped so, nothing changed.
 */
int virt_space_redirect(struct virt_space *space, gpa_t gpa, uint64_t size, hpa_t hpa, unsigned rights) MUST_CHECK;
/* Drops this CPU's cached translations of the space. */
void virt_space_flush(const struct virt_space *space);

/* --- a virtual processor ------------------------------------------------------------------------------------------ */

/* Why the guest stopped: SDM Vol. 3D Appendix C, basic exit reasons. */
enum exit_reason {
	EXIT_EXCEPTION_NMI = 0,
	EXIT_EXTERNAL_INTERRUPT = 1,
	EXIT_TRIPLE_FAULT = 2,
	EXIT_INIT = 3,
	EXIT_SIPI = 4,
	EXIT_INTERRUPT_WINDOW = 7,
	EXIT_NMI_WINDOW = 8,
	EXIT_TASK_SWITCH = 9,
	EXIT_CPUID = 10,
	EXIT_GETSEC = 11,
	EXIT_HLT = 12,
	EXIT_INVD = 13,
	EXIT_INVLPG = 14,
	EXIT_RDPMC = 15,
	EXIT_RDTSC = 16,
	EXIT_VMCALL = 18,
	EXIT_VMCLEAR = 19,
	EXIT_VMLAUNCH = 20,
	EXIT_VMPTRLD = 21,
	EXIT_VMPTRST = 22,
	EXIT_VMREAD = 23,
	EXIT_VMRESUME = 24,
	EXIT_VMWRITE = 25,
	EXIT_VMXOFF = 26,
	EXIT_VMXON = 27,
	EXIT_CR_ACCESS = 28,
	EXIT_DR_ACCESS = 29,
	EXIT_IO = 30,
	EXIT_RDMSR = 31,
	EXIT_WRMSR = 32,
	EXIT_MWAIT = 36,
	EXIT_MONITOR_TRAP = 37,
	EXIT_MONITOR = 39,
	EXIT_PAUSE = 40,
	EXIT_TPR_BELOW_THRESHOLD = 43,
	EXIT_APIC_ACCESS = 44,
	EXIT_EOI_INDUCED = 45,
	EXIT_GDTR_IDTR = 46,
	EXIT_LDTR_TR = 47,
	EXIT_EPT_VIOLATION = 48,
	EXIT_EPT_MISCONFIG = 49,
	EXIT_INVEPT = 50,
	EXIT_RDTSCP = 51,
	EXIT_PREEMPTION_TIMER = 52,
	EXIT_INVVPID = 53,
	EXIT_WBINVD = 54,
	EXIT_XSETBV = 55,
	EXIT_APIC_WRITE = 56,
	EXIT_RDRAND = 57,
	EXIT_INVPCID = 58,
	EXIT_VMFUNC = 59,
	EXIT_ENCLS = 60,
	EXIT_RDSEED = 61,
	EXIT_XSAVES = 63,
	EXIT_XRSTORS = 64,
	EXIT_UNKNOWN = 80, /* and all above: virt_exit_number() */
	EXIT_REASONS
};

struct exit {
	uint32_t reason; /* enum exit_reason */
	uint64_t tsc;	 /* when it came */
};

/* How the guest's local APIC is virtualised by the processor. */
enum virt_apic_mode { VIRT_APIC_OFF, VIRT_APIC_XAPIC, VIRT_APIC_X2APIC };

struct virt_vcpu {
	uint64_t reg[REG_COUNT]; /* the guest's registers between exit and entry; RSP through virt_reg */
	uint64_t host_rsp;	 /* last value written to the host-state area */
	bool plain;		 /* the coming entry is a VMRESUME and nothing else */
	bool launched;
	uint8_t entry_work; /* what else is to be done at each entry: VMX_ENTRY_x of vmx.h */
	hpa_t vmcs;
	struct virt_space *space;
	uint16_t vpid;	       /* 0: none */
	struct cpu *loaded_on; /* the CPU it was loaded on last; NULL: none, or its state was changed since */
	_Atomic uint64_t flushed_generation; /* and the space's generation then. Any CPU reads it */
	bool refused_early; /* the last entry failed before guest state was looked at: no exit reason was written */
	uint32_t cpu_ctl;   /* copy of the primary controls: changing one bit costs no VMREAD */
	uint32_t cpu2_ctl;  /* and of the secondary ones */
	uint32_t pin_ctl;
	uint32_t entry_ctl;
	uint32_t vectoring; /* event whose delivery the last exit cut short; 0: none */
	uint8_t *fpu;	    /* XSAVE area while not loaded */
	uint64_t xcr0;
	uint64_t tsc_offset;
	uint64_t cr2, dr[4], dr6;				/* while not loaded */
	uint64_t star, lstar, cstar, fmask, kernel_gs, tsc_aux; /* while not loaded */
	uint64_t spec_ctrl;					/* as the guest wrote it */
	/* The same as the processor loads it at each entry (SDM Vol. 3C 25.8.2), with bits of ours. */
	struct {
		uint64_t index, value;
	} entry_msr __attribute__((aligned(16)));
};

struct virt_vcpu_setup {
	struct virt_space *space;
	hpa_t virtual_apic; /* the virtual APIC's register page; HPA_NONE: none */
	hpa_t apic_access;  /* the page that the space maps at 0xfee00000; HPA_NONE: none */
	uint16_t vpid;
	uint64_t cr4_guest; /* CR4 bits that guests may set (the others #GP) */
	bool pause_exits;   /* exit when the guest spins with PAUSE for long, where the processor can tell */
};

int virt_vcpu_create(struct virt_vcpu *v, const struct virt_vcpu_setup *setup) MUST_CHECK; /* -E_NOMEM */
void virt_vcpu_destroy(struct virt_vcpu *v);
/* What RESET does to the state that is kept here while the vCPU is not loaded: FPU, XCR0, debug registers, MSRs. */
void virt_vcpu_power_up(struct virt_vcpu *v);

/* Makes the vCPU's state live on this CPU; from put to the next load it may be loaded on any CPU. */
void virt_load(struct virt_vcpu *v);
void virt_put(struct virt_vcpu *v);
/* Drops this CPU's cached translations of the vCPU's space if any were lost since that was done last. */
void virt_renew(struct virt_vcpu *v);
/* The generation of the space up to which that is done; also loading the vCPU does it. Any CPU. */
static inline uint64_t virt_vcpu_renewed(const struct virt_vcpu *v)
{
	return atomic_load(&v->flushed_generation);
}
/* Drops this CPU's cached translations of the vCPU's own page tables. */
void virt_vcpu_flush(const struct virt_vcpu *v);

/*
 * Runs the guest until something happens that is ours to do. 0 with *exit filled. Negative: the processor refused the
 * entry, which is not an exit; ask virt_explain_refusal.
 */
int virt_enter(struct virt_vcpu *v, struct exit *exit) MUST_CHECK;
/* Did it fail because a machine check came? */
bool virt_refused_by_machine_check(const struct virt_vcpu *v);
/* The entry doctor's verdict after virt_enter failed: one line for each broken rule. */
void virt_explain_refusal(struct virt_vcpu *v, void (*line)(void *ctx, const char *text), void *ctx);
/* Bounds the next entry to `ticks` TSC ticks, at most VIRT_LONGEST_BOUND, which a timer of 32 bits can count. */
#define VIRT_LONGEST_BOUND 0x80000000ULL
void virt_set_bound(uint64_t ticks); /* features.preemption_timer */

/* --- what the last exit was about: each costs a VMREAD, so ask only for what is needed ---------------------------- */
uint32_t virt_exit_number(void); /* the basic exit reason, also where it is EXIT_UNKNOWN */
uint64_t virt_exit_qualification(void);
uint64_t virt_exit_gpa(void);
uint32_t virt_exit_insn_info(void);
uint32_t virt_exit_interrupt_info(void); /* exceptions: vector, type, error code valid */

/* --- registers ---------------------------------------------------------------------------------------------------- */
uint64_t virt_rip(void);
void virt_set_rip(uint64_t rip);
uint64_t virt_rflags(void);
void virt_set_rflags(uint64_t rflags);
/* Over the instruction that exited: adds its length, clears RF and the STI/MOV-SS shadow, raises #DB when TF is set. */
void virt_advance(void);
/* The same over an instruction whose length the exit does not tell (EPT violations). */
void virt_advance_by(uint64_t length);
/* INT1 raises #DB behind itself: over it without a single-step trap of its own. */
void virt_step_over_int1(void);
/* Before #DB is injected: with TF set under a STI or MOV-SS shadow the entry is refused unless BS is noted. */
void virt_note_single_step(void);
/* Will a debug trap (single step, watchpoint) follow the instruction that has just exited? It ends HLT. */
bool virt_debug_trap_follows(void);
/* DR7.GD off, as the processor does when it delivers #DB. */
void virt_clear_general_detect(void);
uint64_t virt_reg(struct virt_vcpu *v, unsigned n); /* any register, RSP included */
void virt_set_reg(struct virt_vcpu *v, unsigned n, uint64_t value);
uint64_t virt_cr0(void); /* as the guest sees it */
uint64_t virt_cr3(void);
uint64_t virt_cr4(void);
uint64_t virt_efer(void);
/* The caller has checked the value against the SDM's rules; these keep EFER.LMA and the entry controls in step. */
void virt_set_cr0(struct virt_vcpu *v, uint64_t cr0);
void virt_set_cr4(struct virt_vcpu *v, uint64_t cr4);
void virt_set_efer(struct virt_vcpu *v, uint64_t efer);
void virt_set_pdptes(const uint64_t pdpte[4]);
void virt_get_pdptes(uint64_t pdpte[4]);
uint32_t virt_pkru(void); /* only while the guest's CR4.PKE is set */
struct segment virt_segment(unsigned seg);
/* Of CS what says how wide code is, and where it lies. */
uint32_t virt_code_access(void);
uint64_t virt_code_base(void);
/* In 64-bit mode, not in compatibility mode (SDM Vol. 3A 3.4.5, CS.L). */
static inline bool virt_is_64_bit(void)
{
	return (virt_efer() & EFER_LMA) && (virt_code_access() & SEG_AR_L);
}
unsigned virt_cpl(void);
/* These two once before the first entry, and whenever they change. The guest's TSC is the processor's plus `offset`. */
void virt_set_tsc_offset(struct virt_vcpu *v, uint64_t offset);
void virt_set_msr_bitmap(hpa_t bitmap); /* 4 KiB: which MSRs exit; SDM Vol. 3C 25.6.9 */
/* The caller has checked the value against features.spec_ctrl. v->spec_ctrl is what the guest reads. */
void virt_set_spec_ctrl(struct virt_vcpu *v, uint64_t value);
/* Whole states, for start-up and reports.  */
void virt_set_state(struct virt_vcpu *v, const struct cpu_state *state);
void virt_get_state(struct virt_vcpu *v, struct cpu_state *state);
/* Writes a raw control-structure field: the `break` key of vireo.conf. -E_INVAL: no such field. */
int virt_break(uint32_t field, uint64_t value) MUST_CHECK;
/* Every field with its name, for reports. */
void virt_dump(void (*line)(void *ctx, const char *text), void *ctx);

/* --- events: at most one is injected an entry; the run loop decides which ----------------------------------------- */
/* An event for the next entry is already there (an exception, or one whose delivery was cut short). */
bool virt_event_pending(const struct virt_vcpu *v);
/* Queues an exception of the guest's own doing, merged with one already pending as SDM Vol. 3A Table 6-5 says.
 * False: that is a triple fault. */
bool virt_inject_exception(struct virt_vcpu *v, unsigned vector, bool has_error, uint32_t error);
void virt_inject_interrupt(struct virt_vcpu *v, unsigned vector);
void virt_inject_nmi(struct virt_vcpu *v);
bool virt_can_take_interrupt(void); /* RFLAGS.IF and no shadow */
bool virt_can_take_nmi(void);
/* The exit cut an IRET short that had unblocked NMIs; it will run again, and until then they are blocked. */
void virt_block_nmi(void);
/* Exit as soon as the guest can take an interrupt, an NMI. */
void virt_want_windows(struct virt_vcpu *v, bool interrupt, bool nmi);
/* --- the virtual APIC's hardware side ----------------------------------------------------------------------------- */
void virt_apic_set_mode(struct virt_vcpu *v, enum virt_apic_mode mode);
/* Virtual-interrupt delivery: the highest requested and in-service vectors (0: none). */
uint8_t virt_apic_rvi(void);
void virt_apic_set_rvi(uint8_t vector);
void virt_apic_raise_rvi(uint8_t vector); /* unless it is as high already */
uint8_t virt_apic_svi(void);
void virt_apic_set_svi(uint8_t vector);
/* Vectors whose EOI exits (level-triggered ones). */
void virt_apic_eoi_exits(const uint64_t bitmap[4]);
/* Without virtual-interrupt delivery: exit when the guest lowers its task priority below this (0: never). */
void virt_apic_set_threshold(uint8_t threshold);
