/*
 * A loaded vCPU's registers, where they live: general registers in struct virt_vcpu, the rest in the VMCS. The setters
 * keep what belongs together in step (CR0.PG, EFER.LMA and the IA-32e entry control; what VMX fixes and what the guest
 * sees). SDM Vol. 3C 25.4 (guest state), 25.6.6 (masks and shadows), Vol. 3A 10.8.5 (entering IA-32e mode).
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/insn.h"
#include "arch/x86/msr.h"
#include "arch/x86/vmx/vmx.h"

uint64_t virt_rip(void)
{
	return vmcs_read(VMCS_GUEST_RIP);
}
void virt_set_rip(uint64_t rip)
{
	vmcs_write(VMCS_GUEST_RIP, rip);
}
uint64_t virt_rflags(void)
{
	return vmcs_read(VMCS_GUEST_RFLAGS);
}
void virt_set_rflags(uint64_t rflags)
{
	vmcs_write(VMCS_GUEST_RFLAGS, rflags);
}

#define RARE_FLAGS (RFLAGS_RF | RFLAGS_TF)

/* Outside 64-bit mode EIP wraps at 4 GiB; only an address that crossed bit 32 needs the look at CS. */
static uint64_t wrap_rip(uint64_t from, uint64_t to)
{
	if (!((from ^ to) >> 32) || virt_is_64_bit())
		return to;
	return (uint32_t)to;
}

/* A trap, not a fault: it is pending when the next instruction begins (SDM Vol. 3A 6.9, Vol. 3C 27.3.1.5). */
static void finish_flags(uint64_t rflags)
{
	if (rflags & RFLAGS_RF)
		vmcs_write(VMCS_GUEST_RFLAGS, rflags & ~RFLAGS_RF);
	if (rflags & RFLAGS_TF)
		vmcs_write(VMCS_GUEST_PENDING_DEBUG, vmcs_read(VMCS_GUEST_PENDING_DEBUG) | PENDING_DEBUG_BS);
}

/* RIP past the instruction, and the end of the shadow that covered it. */
static NOINLINE void step_over(uint64_t rip, uint64_t length, uint64_t state)
{
	vmcs_write(VMCS_GUEST_RIP, wrap_rip(rip, rip + length));
	if (state & INTERRUPTIBILITY_SHADOW)
		vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, state & ~(uint64_t)INTERRUPTIBILITY_SHADOW);
}

static NOINLINE void advance_with_care(uint64_t rip, uint64_t length, uint64_t state, uint64_t rflags)
{
	step_over(rip, length, state);
	finish_flags(rflags);
}

/*
 * Nearly always there is nothing to it but another RIP: every exit that emulates goes this way. The low half of the new
 * one is below the length where it has crossed a multiple of 4 GiB.
 */
static inline void advance(uint64_t length)
{
	uint64_t rflags = vmcs_read(VMCS_GUEST_RFLAGS), rip = vmcs_read(VMCS_GUEST_RIP);
	uint64_t state = vmcs_read(VMCS_GUEST_INTERRUPTIBILITY), next = rip + length;

	if ((rflags & RARE_FLAGS) || (state & INTERRUPTIBILITY_SHADOW) || (uint32_t)next < (uint32_t)length)
		advance_with_care(rip, length, state, rflags);
	else
		vmcs_write(VMCS_GUEST_RIP, next);
}

inline void virt_advance(void)
{
	advance(vmcs_read(VMCS_EXIT_INSTRUCTION_LENGTH));
}

void virt_advance_by(uint64_t length)
{
	advance(length);
}

void virt_step_over_int1(void)
{
	step_over(virt_rip(), vmcs_read(VMCS_EXIT_INSTRUCTION_LENGTH), vmcs_read(VMCS_GUEST_INTERRUPTIBILITY));
}

uint64_t virt_reg(struct virt_vcpu *v, unsigned n)
{
	return n == REG_RSP ? vmcs_read(VMCS_GUEST_RSP) : v->reg[n];
}

void virt_set_reg(struct virt_vcpu *v, unsigned n, uint64_t value)
{
	v->reg[n] = value;
	if (n == REG_RSP)
		vmcs_write(VMCS_GUEST_RSP, value);
}

static uint64_t through_mask(uint64_t real, uint64_t shadow, uint64_t mask)
{
	return (real & ~mask) | (shadow & mask);
}

uint64_t virt_cr0(void)
{
	return through_mask(vmcs_read(VMCS_GUEST_CR0), vmcs_read(VMCS_CR0_READ_SHADOW), VMX_CR0_OWNED);
}

uint64_t virt_cr3(void)
{
	return vmcs_read(VMCS_GUEST_CR3);
}

uint64_t virt_cr4(void)
{
	return through_mask(vmcs_read(VMCS_GUEST_CR4), vmcs_read(VMCS_CR4_READ_SHADOW),
			    vmcs_read(VMCS_CR4_GUEST_HOST_MASK));
}

uint64_t virt_efer(void)
{
	return vmcs_read(VMCS_GUEST_EFER);
}

/* "IA-32e mode guest" must equal EFER.LMA when the guest pages (SDM Vol. 3C 27.3.1.1). */
static void set_long_mode(struct virt_vcpu *v, bool on)
{
	uint64_t efer = vmcs_read(VMCS_GUEST_EFER);
	uint32_t entry = on ? v->entry_ctl | ENTRY_CTL_IA32E : v->entry_ctl & ~(uint32_t)ENTRY_CTL_IA32E;

	vmcs_write(VMCS_GUEST_EFER, on ? efer | EFER_LMA : efer & ~EFER_LMA);
	if (entry == v->entry_ctl)
		return;
	v->entry_ctl = entry;
	vmcs_write(VMCS_ENTRY_CONTROLS, entry);
}

/*
 * An IA-32e guest's TR must hold a busy 32/64-bit TSS (type 11, SDM Vol. 3C 27.3.1.2). One that enters long mode with a
 * 16-bit TSS loaded is allowed to, and loads a 64-bit one before it can use it: show the processor the type it wants.
 */
static void fix_tr_for_long_mode(void)
{
	uint64_t access = vmcs_read(VMCS_GUEST_TR_ACCESS);

	if ((access & 0xf) != 0xb)
		vmcs_write(VMCS_GUEST_TR_ACCESS, (access & ~0xfULL) | 0xb);
}

void virt_set_cr0(struct virt_vcpu *v, uint64_t cr0)
{
	/* With unrestricted guest PE and PG are free of the fixed bits (SDM Vol. 3D A.7). */
	uint64_t fixed = vmx.caps.cr0_fixed0 & ~(CR0_PE | CR0_PG);
	bool is_long = v->entry_ctl & ENTRY_CTL_IA32E, becomes_long = (cr0 & CR0_PG) && (virt_efer() & EFER_LME);

	if (becomes_long && !is_long)
		fix_tr_for_long_mode();
	if (becomes_long != is_long)
		set_long_mode(v, becomes_long);
	/* Caches belong to the host: CD and NW live in the shadow only. */
	vmcs_write(VMCS_GUEST_CR0, (cr0 | fixed) & ~(CR0_CD | CR0_NW));
	vmcs_write(VMCS_CR0_READ_SHADOW, cr0);
}

/* MCE is the machine's: with the guest's own 0 in it a machine check would shut the processor down (SDM Vol.
 * 3B 16.10.4). */
void virt_set_cr4(struct virt_vcpu *v, uint64_t cr4)
{
	vmcs_write(VMCS_GUEST_CR4, (cr4 & ~CR4_MCE) | (read_cr4() & CR4_MCE) | vmx.caps.cr4_fixed0);
	vmcs_write(VMCS_CR4_READ_SHADOW, cr4);
	virt_vcpu_flush(v);
}

void virt_set_efer(struct virt_vcpu *v, uint64_t efer)
{
	vmcs_write(VMCS_GUEST_EFER, efer);
	set_long_mode(v, (virt_cr0() & CR0_PG) && (efer & EFER_LME));
}

void virt_set_pdptes(const uint64_t pdpte[4])
{
	vmcs_write(VMCS_GUEST_PDPTE0, pdpte[0]);
	vmcs_write(VMCS_GUEST_PDPTE1, pdpte[1]);
	vmcs_write(VMCS_GUEST_PDPTE2, pdpte[2]);
	vmcs_write(VMCS_GUEST_PDPTE3, pdpte[3]);
}

void virt_get_pdptes(uint64_t pdpte[4])
{
	pdpte[0] = vmcs_read(VMCS_GUEST_PDPTE0);
	pdpte[1] = vmcs_read(VMCS_GUEST_PDPTE1);
	pdpte[2] = vmcs_read(VMCS_GUEST_PDPTE2);
	pdpte[3] = vmcs_read(VMCS_GUEST_PDPTE3);
}

/* The guest's value is live in the hardware; RDPKRU wants the host's CR4.PKE for the moment. */
uint32_t virt_pkru(void)
{
	uint64_t cr4 = read_cr4();
	uint32_t pkru;

	write_cr4(cr4 | CR4_PKE);
	__asm__ volatile("rdpkru" : "=a"(pkru) : "c"(0) : "edx");
	write_cr4(cr4);
	return pkru;
}

struct segment virt_segment(unsigned seg)
{
	return (struct segment){(uint16_t)vmcs_read(VMCS_SEG_SELECTOR(seg)), (uint32_t)vmcs_read(VMCS_SEG_ACCESS(seg)),
				(uint32_t)vmcs_read(VMCS_SEG_LIMIT(seg)), vmcs_read(VMCS_SEG_BASE(seg))};
}

uint32_t virt_code_access(void)
{
	return (uint32_t)vmcs_read(VMCS_SEG_ACCESS(SEG_CS));
}

uint64_t virt_code_base(void)
{
	return vmcs_read(VMCS_SEG_BASE(SEG_CS));
}

/* SS.DPL is the CPL in every mode (SDM Vol. 3C 25.4.1). */
unsigned virt_cpl(void)
{
	return vmcs_read(VMCS_GUEST_SS_ACCESS) >> 5 & 3;
}

/* SDM Vol. 3C 27.3.1.5, pending debug exceptions. */
void virt_note_single_step(void)
{
	if ((vmcs_read(VMCS_GUEST_INTERRUPTIBILITY) & INTERRUPTIBILITY_SHADOW) &&
	    (vmcs_read(VMCS_GUEST_RFLAGS) & RFLAGS_TF))
		vmcs_write(VMCS_GUEST_PENDING_DEBUG, vmcs_read(VMCS_GUEST_PENDING_DEBUG) | PENDING_DEBUG_BS);
}

bool virt_debug_trap_follows(void)
{
	return (vmcs_read(VMCS_GUEST_RFLAGS) & RFLAGS_TF) ||
	       (vmcs_read(VMCS_GUEST_PENDING_DEBUG) & (PENDING_DEBUG_BS | PENDING_DEBUG_ENABLED_BP));
}

void virt_clear_general_detect(void)
{
	uint64_t dr7 = vmcs_read(VMCS_GUEST_DR7);

	if (dr7 & BIT(13))
		vmcs_write(VMCS_GUEST_DR7, dr7 & ~BIT(13));
}

void virt_set_tsc_offset(struct virt_vcpu *v, uint64_t offset)
{
	v->tsc_offset = offset;
	vmcs_write(VMCS_TSC_OFFSET, offset);
}

void virt_set_msr_bitmap(hpa_t bitmap)
{
	vmcs_write(VMCS_MSR_BITMAP, bitmap.value);
}

static void set_segment(unsigned seg, const struct segment *s)
{
	vmcs_write(VMCS_SEG_SELECTOR(seg), s->selector);
	vmcs_write(VMCS_SEG_BASE(seg), s->base);
	vmcs_write(VMCS_SEG_LIMIT(seg), s->limit);
	vmcs_write(VMCS_SEG_ACCESS(seg), s->access);
}

/* Of what is live in the processor and not in the VMCS: INIT clears it as RESET does (SDM Vol. 3A Table 10-1). */
static void reset_live_state(void)
{
	write_cr2(0);
	write_dr(0, 0);
	write_dr(1, 0);
	write_dr(2, 0);
	write_dr(3, 0);
	write_dr(6, DR6_INIT);
}

/* Everything that RESET sets and struct cpu_state does not name. */
static void reset_other_state(void)
{
	vmcs_write(VMCS_GUEST_DR7, DR7_INIT);
	vmcs_write(VMCS_GUEST_DEBUGCTL, 0);
	vmcs_write(VMCS_GUEST_SYSENTER_CS, 0);
	vmcs_write(VMCS_GUEST_SYSENTER_ESP, 0);
	vmcs_write(VMCS_GUEST_SYSENTER_EIP, 0);
	vmcs_write(VMCS_GUEST_PAT, PAT_RESET);
	vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, 0);
	vmcs_write(VMCS_GUEST_ACTIVITY, ACTIVITY_ACTIVE);
	vmcs_write(VMCS_GUEST_PENDING_DEBUG, 0);
	vmcs_write(VMCS_ENTRY_INTR_INFO, 0);
}

void virt_set_state(struct virt_vcpu *v, const struct cpu_state *s)
{
	for (unsigned i = 0; i < REG_COUNT; i++)
		virt_set_reg(v, i, s->reg[i]);
	for (unsigned i = 0; i < SEG_COUNT; i++)
		set_segment(i, &s->seg[i]);
	vmcs_write(VMCS_GUEST_GDTR_BASE, s->gdt_base);
	vmcs_write(VMCS_GUEST_GDTR_LIMIT, s->gdt_limit);
	vmcs_write(VMCS_GUEST_IDTR_BASE, s->idt_base);
	vmcs_write(VMCS_GUEST_IDTR_LIMIT, s->idt_limit);
	virt_set_rip(s->rip);
	virt_set_rflags(s->rflags);
	vmcs_write(VMCS_GUEST_EFER, s->efer);
	virt_set_cr4(v, s->cr4);
	vmcs_write(VMCS_GUEST_CR3, s->cr3);
	virt_set_cr0(v, s->cr0);
	reset_other_state();
	reset_live_state();
	virt_set_spec_ctrl(v, 0);
	virt_vcpu_flush(v); /* as INIT does (SDM Vol. 3A Table 10-1) */
	v->vectoring = 0;
}

void virt_get_state(struct virt_vcpu *v, struct cpu_state *s)
{
	for (unsigned i = 0; i < REG_COUNT; i++)
		s->reg[i] = virt_reg(v, i);
	for (unsigned i = 0; i < SEG_COUNT; i++)
		s->seg[i] = virt_segment(i);
	s->gdt_base = vmcs_read(VMCS_GUEST_GDTR_BASE);
	s->gdt_limit = (uint32_t)vmcs_read(VMCS_GUEST_GDTR_LIMIT);
	s->idt_base = vmcs_read(VMCS_GUEST_IDTR_BASE);
	s->idt_limit = (uint32_t)vmcs_read(VMCS_GUEST_IDTR_LIMIT);
	s->rip = virt_rip();
	s->rflags = virt_rflags();
	s->cr0 = virt_cr0();
	s->cr3 = virt_cr3();
	s->cr4 = virt_cr4();
	s->efer = virt_efer();
}
