/* RDMSR and WRMSR; see msr.h. SDM Vol. 4 for each register, Vol. 3C 25.6.9 for the bitmap. */
/* SPDX-License-Identifier: MIT */
#include "hv/exit/msr.h"

#include "arch/x86/cpuid.h"
#include "arch/x86/insn.h"
#include "arch/x86/msr.h"
#include "arch/x86/paging.h"
#include "arch/x86/trap.h"
#include "hv/clock.h"
#include "hv/exit/table.h"
#include "hv/guest_timer.h"
#include "hv/lib/nospec.h"
#include "hv/lib/string.h"
#include "hv/pv.h"
#include "hv/vm.h"

#define MTRR_VARIABLE 8

/* Readers always succeed; a writer answers -E_INVAL for #GP. NULL writer: read-only, #GP. */
typedef uint64_t msr_reader(struct vcpu *v, uint32_t msr);
typedef int msr_writer(struct vcpu *v, uint32_t msr, uint64_t value);

static uint64_t read_zero(struct vcpu *v, uint32_t msr)
{
	(void)v;
	(void)msr;
	return 0;
}

static int write_ignored(struct vcpu *v, uint32_t msr, uint64_t value)
{
	(void)v;
	(void)msr;
	(void)value;
	return 0;
}

static int write_zero_only(struct vcpu *v, uint32_t msr, uint64_t value)
{
	(void)v;
	(void)msr;
	return value ? -E_INVAL : 0;
}

static uint64_t read_tsc(struct vcpu *v, uint32_t msr)
{
	(void)msr;
	return clock_now() + v->virt.tsc_offset;
}

static void set_tsc_offset(struct vcpu *v, uint64_t offset)
{
	guest_timer_take(v); /* a deadline is a value of the guest's TSC, the processor's timer goes by its own */
	virt_set_tsc_offset(&v->virt, offset);
	vlapic_set_tsc_offset(&v->lapic, offset);
	guest_timer_update(v); /* also where nothing has changed: it was taken */
	vcpu_look_again(v);    /* a deadline may have passed by that */
	pv_tsc_moved(v);
}

/* Writing the TSC moves TSC_ADJUST by the same amount and the other way round (SDM Vol. 3B 18.17.3). */
static int write_tsc(struct vcpu *v, uint32_t msr, uint64_t value)
{
	uint64_t offset = value - clock_now();

	(void)msr;
	v->tsc_adjust += offset - v->virt.tsc_offset;
	set_tsc_offset(v, offset);
	return 0;
}

static uint64_t read_tsc_adjust(struct vcpu *v, uint32_t msr)
{
	(void)msr;
	return v->tsc_adjust;
}

static int write_tsc_adjust(struct vcpu *v, uint32_t msr, uint64_t value)
{
	(void)msr;
	set_tsc_offset(v, v->virt.tsc_offset + value - v->tsc_adjust);
	v->tsc_adjust = value;
	return 0;
}

static uint64_t read_apic_base(struct vcpu *v, uint32_t msr)
{
	(void)msr;
	return v->lapic.base;
}

/* Never reaches the hardware's own: the guest's local APIC is ours altogether. */
static int write_apic_base(struct vcpu *v, uint32_t msr, uint64_t value)
{
	(void)msr;
	pv_take_eoi(v);
	if (vlapic_set_base(&v->lapic, value))
		return -E_INVAL;
	vcpu_apic_changed(v);
	vcpu_look_again(v);
	return 0;
}

/* Locked by "firmware" with VMX off, which is what a processor without VMX that still has the register would say. */
static uint64_t read_feature_control(struct vcpu *v, uint32_t msr)
{
	(void)v;
	(void)msr;
	return FEATURE_CONTROL_LOCK;
}

/* The microcode revision is in the high half; guests may ask for it, updating is refused silently as in KVM. */
static uint64_t read_microcode(struct vcpu *v, uint32_t msr)
{
	uint64_t value = 0;

	(void)v;
	return rdmsr_safe(msr, &value) ? 0 : value;
}

/* IA32_MISC_ENABLE (SDM Vol. 4 Table 2-2) */
#define MISC_FAST_STRINGS BIT(0)
#define MISC_NO_BTS	  BIT(11) /* branch trace storage is not available, nor is */
#define MISC_NO_PEBS	  BIT(12) /* processor event based sampling */
#define MISC_MONITOR	  BIT(18)
#define MISC_LIMIT_CPUID  BIT(22)
#define MISC_XD_DISABLE	  BIT(34)
#define MISC_FIXED	  (MISC_NO_BTS | MISC_NO_PEBS)

static uint64_t read_misc_enable(struct vcpu *v, uint32_t msr)
{
	(void)msr;
	return v->misc_enable;
}

/* Bits that change what CPUID says (limit, XD disable) or turn on what is not shown may not be set. */
static int write_misc_enable(struct vcpu *v, uint32_t msr, uint64_t value)
{
	(void)msr;
	if (value & (MISC_MONITOR | MISC_LIMIT_CPUID | MISC_XD_DISABLE))
		return -E_INVAL;
	v->misc_enable = (value & MISC_FAST_STRINGS) | MISC_FIXED;
	return 0;
}

/*
 * MTRRs are kept, not obeyed: the guest's memory has the type that the machine's give it (arch/x86/vmx/ept.c), since no
 * device behind it is real. Values are checked as the processor checks them (12.11).
 */
#define MTRR_FIXED_ENABLE BIT(10) /* IA32_MTRR_DEF_TYPE, 12.11.2.1 */
#define MTRR_ENABLE	  BIT(11)
#define MTRR_WB		  6

static uint64_t read_mtrr_cap(struct vcpu *v, uint32_t msr)
{
	(void)v;
	(void)msr;
	return MTRR_VARIABLE | BIT(8) | BIT(10); /* IA32_MTRRCAP: fixed ranges, write-combining */
}

static bool is_memory_type(uint64_t type)
{
	return type == 0 || type == 1 || (type >= 4 && type <= 6);
}

static uint64_t *mtrr_slot(struct vcpu *v, uint32_t msr)
{
	if (msr < MSR_MTRR_PHYSBASE0 + 2 * MTRR_VARIABLE)
		return &v->mtrr_var[msr - MSR_MTRR_PHYSBASE0];
	if (msr == MSR_MTRR_DEF_TYPE)
		return &v->mtrr_def_type;
	if (msr == MSR_MTRR_FIX64K_00000)
		return &v->mtrr_fixed[0];
	if (msr <= MSR_MTRR_FIX16K_A0000)
		return &v->mtrr_fixed[1 + msr - MSR_MTRR_FIX16K_80000];
	return &v->mtrr_fixed[3 + msr - MSR_MTRR_FIX4K_C0000];
}

static uint64_t read_mtrr(struct vcpu *v, uint32_t msr)
{
	return *mtrr_slot(v, msr);
}

static bool mtrr_value_is_valid(struct vcpu *v, uint32_t msr, uint64_t value)
{
	uint64_t above = ~((1ULL << v->vm->apic_bus.phys_bits) - 1);

	if (msr == MSR_MTRR_DEF_TYPE)
		return !(value & ~0xcffULL) && is_memory_type(value & 0xff);
	if (msr < MSR_MTRR_PHYSBASE0 + 2 * MTRR_VARIABLE) {
		if (msr & 1)
			return !(value & (above | 0x7ff));
		return !(value & (above | 0xf00)) && is_memory_type(value & 0xff);
	}
	for (unsigned i = 0; i < 8; i++)
		if (!is_memory_type(value >> (8 * i) & 0xff))
			return false;
	return true;
}

static int write_mtrr(struct vcpu *v, uint32_t msr, uint64_t value)
{
	if (!mtrr_value_is_valid(v, msr, value))
		return -E_INVAL;
	*mtrr_slot(v, msr) = value;
	return 0;
}

/* NXE is reserved where CPUID does not show it (SDM Vol. 3A 4.1.4), the others belong to every 64-bit processor. */
static uint64_t efer_bits(const struct vcpu *v)
{
	uint32_t features = cpuid_find(&v->vm->cpuid, 0x80000001, 0)->reg[CPUID_EDX];

	return EFER_SCE | EFER_LME | EFER_LMA | (features & CPUID_FEATURE_MASK(CPUID_NX) ? EFER_NXE : 0);
}

/* SDM Vol. 3A 2.2.1; MOV CR0 sets and clears LMA, writing it here is ignored. */
static int write_efer(struct vcpu *v, uint32_t msr, uint64_t value)
{
	uint64_t old = virt_efer();

	(void)msr;
	if (value & ~efer_bits(v))
		return -E_INVAL;
	if (((value ^ old) & EFER_LME) && (virt_cr0() & CR0_PG))
		return -E_INVAL;
	virt_set_efer(&v->virt, (value & ~EFER_LMA) | (old & EFER_LMA));
	virt_vcpu_flush(&v->virt);
	return 0;
}

static uint64_t read_efer(struct vcpu *v, uint32_t msr)
{
	(void)v;
	(void)msr;
	return virt_efer();
}

static uint64_t read_spec_ctrl(struct vcpu *v, uint32_t msr)
{
	(void)msr;
	return v->virt.spec_ctrl;
}

static int write_spec_ctrl(struct vcpu *v, uint32_t msr, uint64_t value)
{
	(void)msr;
	if (value & ~virt_features()->spec_ctrl)
		return -E_INVAL;
	virt_set_spec_ctrl(&v->virt, value);
	return 0;
}

static uint64_t read_arch_caps(struct vcpu *v, uint32_t msr)
{
	(void)v;
	(void)msr;
	return virt_features()->arch_caps;
}

enum { PASS_READ = 1, PASS_WRITE = 2, PASS = 3 };

struct msr_row {
	uint32_t first, last;
	uint8_t pass; /* needs no exit: the VMCS or the vCPU switch keeps the guest's value in the hardware */
	msr_reader *read;
	msr_writer *write;
	const char *why;
};

/* Sorted by index. */
static const struct msr_row table[] = {
    {MSR_TSC, MSR_TSC, PASS_READ, read_tsc, write_tsc, "offset by the VMCS; a write changes the offset"},
    {MSR_PLATFORM_ID, MSR_PLATFORM_ID, 0, read_zero, NULL, "microcode loaders ask"},
    {MSR_APIC_BASE, MSR_APIC_BASE, 0, read_apic_base, write_apic_base, "the virtual local APIC's"},
    {MSR_FEATURE_CONTROL, MSR_FEATURE_CONTROL, 0, read_feature_control, NULL, "says that there is no VMX"},
    {MSR_TSC_ADJUST, MSR_TSC_ADJUST, 0, read_tsc_adjust, write_tsc_adjust, "moves the TSC's offset"},
    {MSR_SPEC_CTRL, MSR_SPEC_CTRL, 0, read_spec_ctrl, write_spec_ctrl, "loaded at each entry that needs it"},
    {MSR_BIOS_UPDT_TRIG, MSR_BIOS_UPDT_TRIG, 0, read_zero, write_ignored, "the microcode is the host's"},
    {MSR_BIOS_SIGN_ID, MSR_BIOS_SIGN_ID, 0, read_microcode, write_ignored, "guests look for errata by it"},
    {MSR_MTRRCAP, MSR_MTRRCAP, 0, read_mtrr_cap, NULL, "MTRRs are kept, not obeyed"},
    {MSR_ARCH_CAPABILITIES, MSR_ARCH_CAPABILITIES, 0, read_arch_caps, NULL, "what the processor is safe from"},
    {MSR_SYSENTER_CS, MSR_SYSENTER_EIP, PASS, NULL, NULL, "in the VMCS"},
    {MSR_MCG_CAP, MSR_MCG_CAP, 0, read_zero, NULL, "no machine-check banks"},
    {MSR_MCG_STATUS, MSR_MCG_STATUS, 0, read_zero, write_zero_only, "no machine check in progress"},
    {MSR_MISC_ENABLE, MSR_MISC_ENABLE, 0, read_misc_enable, write_misc_enable, "kept"},
    {MSR_DEBUGCTL, MSR_DEBUGCTL, 0, read_zero, write_zero_only, "no LBR, no BTF"},
    {MSR_MTRR_PHYSBASE0, MSR_MTRR_PHYSBASE0 + 2 * MTRR_VARIABLE - 1, 0, read_mtrr, write_mtrr, "kept"},
    {MSR_MTRR_FIX64K_00000, MSR_MTRR_FIX64K_00000, 0, read_mtrr, write_mtrr, "kept"},
    {MSR_MTRR_FIX16K_80000, MSR_MTRR_FIX16K_A0000, 0, read_mtrr, write_mtrr, "kept"},
    {MSR_MTRR_FIX4K_C0000, MSR_MTRR_FIX4K_C0000 + 7, 0, read_mtrr, write_mtrr, "kept"},
    {MSR_PAT, MSR_PAT, PASS, NULL, NULL, "in the VMCS"},
    {MSR_MTRR_DEF_TYPE, MSR_MTRR_DEF_TYPE, 0, read_mtrr, write_mtrr, "kept"},
    {MSR_EFER, MSR_EFER, PASS_READ, read_efer, write_efer, "in the VMCS; LME has rules"},
    {MSR_STAR, MSR_FMASK, PASS, NULL, NULL, "exchanged when the vCPU is switched"},
    {MSR_FS_BASE, MSR_GS_BASE, PASS, NULL, NULL, "in the VMCS"},
    {MSR_KERNEL_GS_BASE, MSR_KERNEL_GS_BASE, PASS, NULL, NULL, "exchanged when the vCPU is switched"},
    {~0u, ~0u, 0, NULL, NULL, "not on this processor"},
};
#define ROW_ABSENT (ARRAY_SIZE(table) - 1)

static bool is_apic_msr(uint32_t msr)
{
	return msr == VLAPIC_MSR_TSC_DEADLINE || (msr >= VLAPIC_MSR_FIRST && msr <= VLAPIC_MSR_LAST);
}

/* Of the lowest MSRs the row's number and one more, which saves the search; 0: search. */
static RO_AFTER_INIT uint8_t row_of[0x400];

static NOINLINE const struct msr_row *search(uint32_t msr)
{
	unsigned low = 0, high = ROW_ABSENT;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (msr > table[middle].last)
			low = middle + 1;
		else if (msr < table[middle].first)
			high = middle;
		else
			return &table[middle];
	}
	return NULL;
}

static const struct msr_row *find(uint32_t msr)
{
	unsigned row = msr < ARRAY_SIZE(row_of) ? row_of[index_nospec(msr, ARRAY_SIZE(row_of))] : 0;

	return row ? &table[row - 1] : search(msr);
}

enum outcome exit_rdmsr(struct vcpu *v, const struct exit *exit)
{
	uint32_t msr = (uint32_t)v->virt.reg[REG_RCX];
	const struct msr_row *row;
	uint64_t value;

	(void)exit;
	if (is_apic_msr(msr)) {
		pv_take_eoi(v);
		if (vlapic_msr_read(&v->lapic, msr, &value))
			return vcpu_raise_gp(v);
	} else {
		row = find(msr);
		if (row && row->read)
			value = row->read(v, msr);
		else if (row || pv_msr_read(v, msr, &value))
			return vcpu_raise_gp(v);
	}
	v->virt.reg[REG_RAX] = (uint32_t)value;
	v->virt.reg[REG_RDX] = value >> 32;
	return OUTCOME_NEXT;
}

/* IPIs and timers: the MSR accesses that count, so nobody looks for them in the table. */
static enum outcome write_apic_msr(struct vcpu *v, uint32_t msr, uint64_t value)
{
	if (msr == VLAPIC_MSR_TPR) /* it looks at ISR; others wait for the entry */
		pv_take_eoi(v);
	if (vlapic_msr_write(&v->lapic, msr, value))
		return vcpu_raise_gp(v);
	if (msr != VLAPIC_MSR_TSC_DEADLINE)
		vcpu_look_again(v); /* TPR and an IPI to itself may have made something deliverable */
	return OUTCOME_NEXT;
}

static NOINLINE enum outcome write_msr(struct vcpu *v, uint32_t msr, uint64_t value)
{
	const struct msr_row *row;

	if (is_apic_msr(msr))
		return write_apic_msr(v, msr, value);
	row = find(msr);
	if (!row)
		return pv_msr_write(v, msr, value) ? vcpu_raise_gp(v) : OUTCOME_NEXT;
	return row->write && row->write(v, msr, value) == 0 ? OUTCOME_NEXT : vcpu_raise_gp(v);
}

/* What it makes deliverable, if anything, has been requested already. */
static enum outcome write_eoi(struct vcpu *v, uint64_t value)
{
	if (!vlapic_is_x2apic(&v->lapic) || value) /* SDM Vol. 3A Table 11-6 */
		return vcpu_raise_gp(v);
	pv_take_eoi(v);
	vlapic_eoi(&v->lapic);
	if (vlapic_pending(&v->lapic) >= 0)
		vcpu_look_again(v);
	return OUTCOME_NEXT;
}

static enum outcome write_self_ipi(struct vcpu *v, uint64_t value)
{
	if (vlapic_write_self_ipi(&v->lapic, value))
		return vcpu_raise_gp(v);
	vcpu_look_again(v);
	return OUTCOME_NEXT;
}

/* The two that are as frequent as interrupts, where they exit at all, come first. */
enum outcome exit_wrmsr(struct vcpu *v, const struct exit *exit)
{
	uint32_t msr = (uint32_t)v->virt.reg[REG_RCX];
	uint64_t value = v->virt.reg[REG_RDX] << 32 | (uint32_t)v->virt.reg[REG_RAX];

	(void)exit;
	if (msr == VLAPIC_MSR_EOI)
		return write_eoi(v, value);
	if (msr == VLAPIC_MSR_SELF_IPI)
		return write_self_ipi(v, value);
	return write_msr(v, msr, value);
}

/* --- the bitmaps: a set bit exits; 1 KiB each: read low, read high (0xc0000000), write low, write high ------------ */

static RO_AFTER_INIT uint8_t bitmaps[2][2][PAGE_SIZE] __attribute__((aligned(4096))); /* as msr_bitmap() is asked */

static void pass(uint8_t *bitmap, uint32_t msr, unsigned what)
{
	uint32_t byte = (msr & 0x1fff) / 8 + (msr >= 0xc0000000 ? 1024 : 0);

	if (what & PASS_READ)
		bitmap[byte] &= (uint8_t) ~(1u << (msr & 7));
	if (what & PASS_WRITE)
		bitmap[2048 + byte] &= (uint8_t) ~(1u << (msr & 7));
}

/* Registers that the processor answers from the virtual-APIC page (SDM Vol. 3C 30.5). The current count is computed. */
static void pass_x2apic(uint8_t *bitmap)
{
	static const uint16_t reads[] = {0x802, 0x803, 0x808, 0x80a, 0x80d, 0x80f, 0x828, 0x82f, 0x830,
					 0x832, 0x833, 0x834, 0x835, 0x836, 0x837, 0x838, 0x83e};

	for (unsigned i = 0; i < ARRAY_SIZE(reads); i++)
		pass(bitmap, reads[i], PASS_READ);
	for (uint32_t msr = 0x810; msr <= 0x827; msr++) /* ISR, TMR, IRR */
		pass(bitmap, msr, PASS_READ);
	pass(bitmap, 0x808, PASS_WRITE); /* TPR */
	pass(bitmap, 0x80b, PASS_WRITE); /* EOI */
	pass(bitmap, 0x83f, PASS_WRITE); /* self-IPI */
}

/* Registers against side channels: there, and free to use, where CPUID shows them. These two only take commands. */
static void init_speculation(uint8_t *plain)
{
	const struct virt_features *f = virt_features();

	if (!f->spec_ctrl)
		row_of[MSR_SPEC_CTRL] = ROW_ABSENT + 1;
	else
		pass(plain, MSR_PRED_CMD, PASS_WRITE);
	if (f->spec_ctrl_plain)
		pass(plain, MSR_SPEC_CTRL, PASS_READ);
	if (!(f->speculation & CPUID_FEATURE_MASK(CPUID_ARCH_CAPS)))
		row_of[MSR_ARCH_CAPABILITIES] = ROW_ABSENT + 1;
	if (f->speculation & CPUID_FEATURE_MASK(CPUID_L1D_FLUSH))
		pass(plain, MSR_FLUSH_CMD, PASS_WRITE);
}

/* As firmware leaves them. */
void msr_reset(struct vcpu *v)
{
	v->misc_enable = MISC_FAST_STRINGS | MISC_FIXED;
	v->mtrr_def_type = MTRR_ENABLE | MTRR_FIXED_ENABLE | MTRR_WB;
	memset(v->mtrr_fixed, MTRR_WB, sizeof(v->mtrr_fixed));
	memset(v->mtrr_var, 0, sizeof(v->mtrr_var));
}

void msr_init(void)
{
	uint8_t *plain = bitmaps[false][false];

	memset(bitmaps, 0xff, sizeof(bitmaps));
	for (unsigned i = 0; i < ROW_ABSENT; i++)
		for (uint32_t msr = table[i].first; msr <= table[i].last; msr++) {
			pass(plain, msr, table[i].pass);
			if (msr < ARRAY_SIZE(row_of))
				row_of[msr] = (uint8_t)(i + 1);
		}
	if (virt_features()->rdtscp)
		pass(plain, MSR_TSC_AUX, PASS);
	init_speculation(plain);
	memcpy(bitmaps[true][false], plain, PAGE_SIZE);
	pass_x2apic(bitmaps[true][false]);
	for (unsigned x2apic = 0; x2apic < 2; x2apic++) {
		memcpy(bitmaps[x2apic][true], bitmaps[x2apic][false], PAGE_SIZE);
		pass(bitmaps[x2apic][true], VLAPIC_MSR_TSC_DEADLINE, PASS);
	}
}

hpa_t msr_bitmap(bool x2apic_virtualised, bool timer_direct)
{
	return paging_lookup(bitmaps[x2apic_virtualised][timer_direct]);
}
