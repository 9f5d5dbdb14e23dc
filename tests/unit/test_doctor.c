/*
 * The entry doctor: healthy guests of five kinds pass, and for every rule there is a VMCS that breaks it alone.
 * A case pokes a few fields of a healthy VMCS (clear bits, then set bits), perhaps after a change to the processor.
 */
/* SPDX-License-Identifier: MIT */
/* links: arch/x86/vmx/doctor.c arch/x86/vmx/doctor_controls.c arch/x86/vmx/doctor_host.c */
/* links: arch/x86/vmx/doctor_guest.c arch/x86/vmx/doctor_segments.c arch/x86/vmx/doctor_state.c */
/* links: arch/x86/vmx/doctor_memory.c arch/x86/vmx/caps.c arch/x86/vmx/vmcs.c */
#include "tests/unit/patient.h"

#include "arch/x86/msr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

struct poke {
	uint32_t nr;
	uint64_t clear, set;
};

struct illness {
	const char *rule;
	enum patient_kind kind;
	struct poke poke[5];
	void (*tweak)(struct patient *p);
	const char *implied[2]; /* rules that can't but break with it */
	uint64_t wrong;		/* the bits that the verdict must name; 0: any */
};

#define SET(f, v)                                                                                                      \
	{                                                                                                              \
		VMCS_NR_##f, ~0ULL, (v)                                                                                \
	}
#define OR(f, v)                                                                                                       \
	{                                                                                                              \
		VMCS_NR_##f, 0, (v)                                                                                    \
	}
#define CLR(f, v)                                                                                                      \
	{                                                                                                              \
		VMCS_NR_##f, (v), 0                                                                                    \
	}
#define CPU3_ON		     OR(CPU_CONTROLS, CPU_TERTIARY)
#define INJECT(type, vector) SET(ENTRY_INTR_INFO, INTR_INFO_VALID | (type) | (vector))
#define FAR		     (1ULL << 46)	   /* beyond the physical width */
#define UNCANONICAL	     0x0000800000000000ULL /* bit 47 alone */

static void no_trap_flag(struct patient *p)
{
	p->caps.cpu &= ~((uint64_t)CPU_MONITOR_TRAP << 32);
}
static void no_ept_dirty(struct patient *p)
{
	p->caps.ept_vpid &= ~VMX_EPT_ACCESSED_DIRTY;
}
static void no_ept_shadow(struct patient *p)
{
	p->caps.ept_vpid &= ~VMX_EPT_SHADOW_STACK;
}
static void no_ept_uc(struct patient *p)
{
	p->caps.ept_vpid &= ~VMX_EPT_UC;
}
static void no_walk_5(struct patient *p)
{
	p->caps.ept_vpid &= ~VMX_EPT_WALK_5;
}
static void no_shutdown(struct patient *p)
{
	p->caps.activity_states = 3;
}
static void low_regions(struct patient *p)
{
	p->caps.low_regions = true;
}
static void in_smm(struct patient *p)
{
	p->in.in_smm = true;
}
static void outside_ia32e(struct patient *p)
{
	p->in.outside_ia32e = true;
}
static void no_secondary(struct patient *p)
{
	p->caps.exit2 = 0;
}
static void bad_revision(struct patient *p)
{
	p->ram[LINKED_VMCS - RAM_BASE] ^= 1;
}
static void shadow_linked(struct patient *p)
{
	p->ram[LINKED_VMCS - RAM_BASE + 3] ^= 0x80;
}

static void vtpr_5(struct patient *p)
{
	p->ram[APIC_PAGE - RAM_BASE + 0x80] = 0x50;
}

static void msr_entry(struct patient *p, unsigned n, uint32_t index, uint32_t reserved, uint64_t value)
{
	uint8_t *at = p->ram + (MSR_AREA - RAM_BASE) + 16 * n;

	memcpy(at, &index, 4);
	memcpy(at + 4, &reserved, 4);
	memcpy(at + 8, &value, 8);
	patient_set(p, VMCS_ENTRY_MSR_LOAD_ADDRESS, MSR_AREA);
	patient_set(p, VMCS_ENTRY_MSR_LOAD_COUNT, n + 1);
}

static void msr_fs(struct patient *p)
{
	msr_entry(p, 0, MSR_FS_BASE, 0, 0);
}
static void msr_x2apic(struct patient *p)
{
	msr_entry(p, 0, 0x830, 0, 0);
}
static void msr_smm(struct patient *p)
{
	msr_entry(p, 0, 0x9B, 0, 0);
}
static void msr_smbase(struct patient *p)
{
	msr_entry(p, 0, 0x9E, 0, 0);
}

static void msr_microcode(struct patient *p)
{
	msr_entry(p, 0, 0x79, 0, 0);
}
static void msr_reserved(struct patient *p)
{
	msr_entry(p, 0, MSR_STAR, 1, 0);
}
static void msr_efer(struct patient *p)
{
	msr_entry(p, 0, MSR_EFER, 0, BIT(1));
}
static void msr_pat(struct patient *p)
{
	msr_entry(p, 0, MSR_PAT, 0, 2);
}
static void msr_lstar(struct patient *p)
{
	msr_entry(p, 0, MSR_LSTAR, 0, UNCANONICAL);
}
static void msr_fmask(struct patient *p)
{
	msr_entry(p, 0, MSR_FMASK, 0, BIT(32));
}

static void pdpt_in_memory(struct patient *p)
{
	uint64_t bad = 0x1003;

	memcpy(p->ram + (PDPT - RAM_BASE) + 8, &bad, 8);
	patient_set(p, VMCS_CPU_CONTROLS2, 0);
}

/* A 32-bit host, entering from outside IA-32e mode. */
static void host_32(struct patient *p)
{
	p->in.outside_ia32e = true;
	p->field[VMCS_NR_EXIT_CONTROLS / 2] &= ~(uint64_t)EXIT_CTL_HOST_64;
	patient_set(p, VMCS_HOST_EFER, 0);
	patient_set(p, VMCS_HOST_SS_SELECTOR, 0x10);
	patient_set(p, VMCS_HOST_RIP, 0x80000000);
}

/* clang-format off */
static const struct illness illnesses[] = {
	/* 27.2.1.1 */
	{.rule = "PIN_RESERVED", .kind = LONG_MODE, .poke = {CLR(PIN_CONTROLS, 2)}},
	{.rule = "PIN_RESERVED", .kind = LONG_MODE, .poke = {OR(PIN_CONTROLS, BIT(8))}},
	{.rule = "CPU_RESERVED", .kind = LONG_MODE, .poke = {OR(CPU_CONTROLS, 1)}},
	{.rule = "CPU2_RESERVED", .kind = LONG_MODE, .poke = {OR(CPU_CONTROLS2, BIT(29))}},
	{.rule = "CPU3_RESERVED", .kind = LONG_MODE, .poke = {CPU3_ON, SET(CPU_CONTROLS3, BIT(40))}},
	{.rule = "CR3_TARGET_COUNT", .kind = LONG_MODE, .poke = {SET(CR3_TARGET_COUNT, 5)}},
	{.rule = "IO_BITMAPS", .kind = LONG_MODE, .poke = {OR(IO_BITMAP_A, 0x800)}},
	{.rule = "IO_BITMAPS", .kind = LONG_MODE, .poke = {OR(IO_BITMAP_B, FAR)}},
	{.rule = "IO_BITMAPS", .kind = LONG_MODE, .tweak = low_regions, .poke = {OR(IO_BITMAP_B, BIT(32))}},
	{.rule = "MSR_BITMAP", .kind = LONG_MODE, .poke = {OR(MSR_BITMAP, 1)}},
	{.rule = "VIRTUAL_APIC", .kind = LONG_MODE, .poke = {OR(CPU_CONTROLS, CPU_TPR_SHADOW), OR(VIRTUAL_APIC_ADDRESS, 0x10)}},
	{.rule = "TPR_THRESHOLD", .kind = LONG_MODE, .poke = {OR(CPU_CONTROLS, CPU_TPR_SHADOW), SET(TPR_THRESHOLD, 0x10)}},
	{.rule = "TPR_VTPR", .kind = LONG_MODE, .poke = {OR(CPU_CONTROLS, CPU_TPR_SHADOW), SET(TPR_THRESHOLD, 1)}},
	{.rule = "VIRTUAL_NMI", .kind = LONG_MODE, .poke = {CLR(PIN_CONTROLS, PIN_NMI)}, .wrong = PIN_NMI},
	{.rule = "NMI_WINDOW", .kind = LONG_MODE, .poke = {CLR(PIN_CONTROLS, PIN_VIRTUAL_NMI), OR(CPU_CONTROLS, CPU_NMI_WINDOW)}, .wrong = PIN_VIRTUAL_NMI},
	{.rule = "APIC_ACCESS", .kind = LONG_MODE, .poke = {OR(CPU_CONTROLS2, CPU2_APIC_ACCESSES), SET(APIC_ACCESS_ADDRESS, 0x10)}},
	{.rule = "TPR_SHADOW_NEEDED", .kind = LONG_MODE, .poke = {OR(CPU_CONTROLS2, CPU2_X2APIC_MODE)}, .wrong = CPU_TPR_SHADOW},
	{.rule = "TPR_SHADOW_NEEDED", .kind = LONG_MODE, .poke = {OR(CPU_CONTROLS2, CPU2_APIC_REGISTERS)}, .wrong = CPU_TPR_SHADOW},
	{.rule = "TPR_SHADOW_NEEDED", .kind = LONG_MODE, .poke = {OR(CPU_CONTROLS2, CPU2_VIRTUAL_INTERRUPTS)}, .wrong = CPU_TPR_SHADOW},
	{.rule = "TPR_SHADOW_NEEDED", .kind = LONG_MODE, .poke = {CPU3_ON, SET(CPU_CONTROLS3, CPU3_IPI)}, .wrong = CPU_TPR_SHADOW},
	{.rule = "X2APIC_MODE", .kind = LONG_MODE, .poke = {OR(CPU_CONTROLS, CPU_TPR_SHADOW), OR(CPU_CONTROLS2, CPU2_X2APIC_MODE | CPU2_APIC_ACCESSES)}, .wrong = CPU2_X2APIC_MODE | CPU2_APIC_ACCESSES},
	{.rule = "VIRTUAL_INTERRUPTS", .kind = LONG_MODE, .poke = {OR(CPU_CONTROLS, CPU_TPR_SHADOW), OR(CPU_CONTROLS2, CPU2_VIRTUAL_INTERRUPTS), CLR(PIN_CONTROLS, PIN_EXTERNAL_INTERRUPT)}, .wrong = PIN_EXTERNAL_INTERRUPT},
	{.rule = "POSTED_DELIVERY", .kind = LONG_MODE, .poke = {OR(PIN_CONTROLS, PIN_POSTED_INTERRUPTS)}, .wrong = CPU2_VIRTUAL_INTERRUPTS},
	{.rule = "POSTED_ACKNOWLEDGE", .kind = LONG_MODE, .poke = {OR(PIN_CONTROLS, PIN_POSTED_INTERRUPTS), OR(CPU_CONTROLS, CPU_TPR_SHADOW), OR(CPU_CONTROLS2, CPU2_VIRTUAL_INTERRUPTS), CLR(EXIT_CONTROLS, EXIT_CTL_ACK_INTERRUPT)}, .wrong = EXIT_CTL_ACK_INTERRUPT},
	{.rule = "POSTED_VECTOR", .kind = LONG_MODE, .poke = {OR(PIN_CONTROLS, PIN_POSTED_INTERRUPTS), OR(CPU_CONTROLS, CPU_TPR_SHADOW), OR(CPU_CONTROLS2, CPU2_VIRTUAL_INTERRUPTS), SET(POSTED_INTERRUPT_VECTOR, 0x1F2)}},
	{.rule = "POSTED_DESCRIPTOR", .kind = LONG_MODE, .poke = {OR(PIN_CONTROLS, PIN_POSTED_INTERRUPTS), OR(CPU_CONTROLS, CPU_TPR_SHADOW), OR(CPU_CONTROLS2, CPU2_VIRTUAL_INTERRUPTS), SET(POSTED_INTERRUPT_DESCRIPTOR, 0x20)}},
	{.rule = "VPID", .kind = LONG_MODE, .poke = {SET(VPID, 0)}},
	{.rule = "EPTP_TYPE", .kind = LONG_MODE, .poke = {CLR(EPTP, 2)}},
	{.rule = "EPTP_TYPE", .kind = LONG_MODE, .tweak = no_ept_uc, .poke = {CLR(EPTP, 7)}},
	{.rule = "EPTP_WALK", .kind = LONG_MODE, .poke = {CLR(EPTP, 1 << 3)}},
	{.rule = "EPTP_WALK", .kind = LONG_MODE, .tweak = no_walk_5, .poke = {CLR(EPTP, 3 << 3), OR(EPTP, 4 << 3)}},
	{.rule = "EPTP_DIRTY", .kind = LONG_MODE, .tweak = no_ept_dirty, .poke = {OR(EPTP, BIT(6))}},
	{.rule = "EPTP_SHADOW_STACK", .kind = LONG_MODE, .tweak = no_ept_shadow, .poke = {OR(EPTP, BIT(7))}},
	{.rule = "EPTP_RESERVED", .kind = LONG_MODE, .poke = {OR(EPTP, BIT(8))}},
	{.rule = "EPTP_RESERVED", .kind = LONG_MODE, .poke = {OR(EPTP, FAR)}},
	{.rule = "PML_EPT", .kind = PROTECTED, .poke = {CLR(CPU_CONTROLS2, CPU2_EPT), OR(CPU_CONTROLS2, CPU2_PML)}},
	{.rule = "PML_ADDRESS", .kind = LONG_MODE, .poke = {OR(CPU_CONTROLS2, CPU2_PML), SET(PML_ADDRESS, 0x100)}},
	{.rule = "UNRESTRICTED_EPT", .kind = LONG_MODE, .poke = {CLR(CPU_CONTROLS2, CPU2_EPT)}, .wrong = CPU2_EPT},
	{.rule = "EXECUTE_EPT", .kind = PROTECTED, .poke = {CLR(CPU_CONTROLS2, CPU2_EPT), OR(CPU_CONTROLS2, CPU2_MODE_BASED_EXECUTE)}},
	{.rule = "SUBPAGE_EPT", .kind = PROTECTED, .poke = {CLR(CPU_CONTROLS2, CPU2_EPT), OR(CPU_CONTROLS2, CPU2_SUBPAGE_WRITE)}},
	{.rule = "SUBPAGE_TABLE", .kind = LONG_MODE, .poke = {OR(CPU_CONTROLS2, CPU2_SUBPAGE_WRITE), SET(SPP_TABLE_POINTER, 0x100)}},
	{.rule = "VMFUNC_RESERVED", .kind = LONG_MODE, .poke = {OR(CPU_CONTROLS2, CPU2_VMFUNC), SET(VM_FUNCTION_CONTROLS, 2)}},
	{.rule = "EPTP_SWITCHING_EPT", .kind = PROTECTED, .poke = {CLR(CPU_CONTROLS2, CPU2_EPT), OR(CPU_CONTROLS2, CPU2_VMFUNC), SET(VM_FUNCTION_CONTROLS, 1)}, .wrong = CPU2_EPT},
	{.rule = "EPTP_LIST", .kind = LONG_MODE, .poke = {OR(CPU_CONTROLS2, CPU2_VMFUNC), SET(VM_FUNCTION_CONTROLS, 1), SET(EPTP_LIST_ADDRESS, 0x100)}},
	{.rule = "SHADOW_BITMAPS", .kind = LONG_MODE, .poke = {OR(CPU_CONTROLS2, CPU2_VMCS_SHADOWING), SET(VMREAD_BITMAP, 0x100)}},
	{.rule = "SHADOW_BITMAPS", .kind = LONG_MODE, .poke = {OR(CPU_CONTROLS2, CPU2_VMCS_SHADOWING), SET(VMWRITE_BITMAP, 0x100)}},
	{.rule = "VE_INFO", .kind = LONG_MODE, .poke = {OR(CPU_CONTROLS2, CPU2_EPT_VE), SET(VE_INFO_ADDRESS, 0x100)}},
	{.rule = "PT_GUEST_PHYSICAL", .kind = LONG_MODE, .poke = {OR(CPU_CONTROLS2, CPU2_PT_GUEST_PHYSICAL), OR(EXIT_CONTROLS, EXIT_CTL_CLEAR_RTIT)}, .wrong = ENTRY_CTL_LOAD_RTIT},
	{.rule = "PT_GUEST_PHYSICAL", .kind = LONG_MODE, .poke = {OR(CPU_CONTROLS2, CPU2_PT_GUEST_PHYSICAL), OR(ENTRY_CONTROLS, ENTRY_CTL_LOAD_RTIT)}, .wrong = EXIT_CTL_CLEAR_RTIT},
	{.rule = "PASID_DIRECTORIES", .kind = LONG_MODE, .poke = {OR(CPU_CONTROLS2, CPU2_PASID_TRANSLATION), SET(HIGH_PASID_DIRECTORY, 0x100)}},
	{.rule = "TERTIARY_EPT", .kind = PROTECTED, .poke = {CPU3_ON, CLR(CPU_CONTROLS2, CPU2_EPT), SET(CPU_CONTROLS3, CPU3_PAGING_WRITE)}, .wrong = CPU2_EPT},
	{.rule = "HLAT_POINTER", .kind = LONG_MODE, .poke = {CPU3_ON, SET(CPU_CONTROLS3, CPU3_HLAT), SET(HLAT_POINTER, 0x20)}},
	{.rule = "PID_TABLE", .kind = LONG_MODE, .poke = {CPU3_ON, OR(CPU_CONTROLS, CPU_TPR_SHADOW), SET(CPU_CONTROLS3, CPU3_IPI), SET(PID_POINTER_TABLE, 0x304)}},
	{.rule = "PID_TABLE", .kind = LONG_MODE, .poke = {CPU3_ON, OR(CPU_CONTROLS, CPU_TPR_SHADOW), SET(CPU_CONTROLS3, CPU3_IPI), SET(PID_POINTER_TABLE, FAR - 16), SET(LAST_PID_POINTER_INDEX, 2)}},
	/* 27.2.1.2 */
	{.rule = "EXIT_RESERVED", .kind = LONG_MODE, .poke = {CLR(EXIT_CONTROLS, 1)}},
	{.rule = "EXIT2_RESERVED", .kind = LONG_MODE, .tweak = no_secondary, .poke = {OR(EXIT_CONTROLS, EXIT_CTL_SECONDARY), SET(EXIT_CONTROLS2, 8)}},
	{.rule = "PREEMPTION_SAVE", .kind = LONG_MODE, .poke = {CLR(PIN_CONTROLS, PIN_PREEMPTION_TIMER)}},
	{.rule = "EXIT_STORE_AREA", .kind = LONG_MODE, .poke = {SET(EXIT_MSR_STORE_COUNT, 1), SET(EXIT_MSR_STORE_ADDRESS, 0x308)}, .wrong = 8},
	{.rule = "EXIT_STORE_AREA", .kind = LONG_MODE, .poke = {SET(EXIT_MSR_STORE_COUNT, 2), SET(EXIT_MSR_STORE_ADDRESS, FAR - 16)}},
	{.rule = "EXIT_LOAD_AREA", .kind = LONG_MODE, .poke = {SET(EXIT_MSR_LOAD_COUNT, 1), SET(EXIT_MSR_LOAD_ADDRESS, FAR)}},
	/* 27.2.1.3 */
	{.rule = "ENTRY_RESERVED", .kind = LONG_MODE, .poke = {OR(ENTRY_CONTROLS, BIT(30))}},
	{.rule = "INJECT_TYPE", .kind = LONG_MODE, .poke = {INJECT(1u << 8, 0x20)}},
	{.rule = "INJECT_TYPE", .kind = LONG_MODE, .tweak = no_trap_flag, .poke = {INJECT(INTR_INFO_OTHER, 0)}},
	{.rule = "INJECT_VECTOR", .kind = LONG_MODE, .poke = {INJECT(INTR_INFO_NMI, 3)}},
	{.rule = "INJECT_VECTOR", .kind = LONG_MODE, .poke = {INJECT(INTR_INFO_HW_EXCEPTION, 32)}},
	{.rule = "INJECT_VECTOR", .kind = LONG_MODE, .poke = {INJECT(INTR_INFO_OTHER, 1)}},
	{.rule = "INJECT_ERROR_CODE", .kind = LONG_MODE, .poke = {INJECT(INTR_INFO_HW_EXCEPTION, VECTOR_GP)}},
	{.rule = "INJECT_ERROR_CODE", .kind = LONG_MODE, .poke = {INJECT(INTR_INFO_HW_EXCEPTION | INTR_INFO_ERROR_CODE, VECTOR_UD)}},
	{.rule = "INJECT_ERROR_CODE", .kind = LONG_MODE, .poke = {INJECT(INTR_INFO_EXT_INT | INTR_INFO_ERROR_CODE, 0x20)}},
	{.rule = "INJECT_ERROR_CODE", .kind = REAL_MODE, .poke = {INJECT(INTR_INFO_HW_EXCEPTION | INTR_INFO_ERROR_CODE, VECTOR_GP)}},
	{.rule = "INJECT_ERROR_CODE", .kind = LONG_MODE, .poke = {INJECT(INTR_INFO_HW_EXCEPTION, VECTOR_CP)}},
	{.rule = "INJECT_RESERVED", .kind = LONG_MODE, .poke = {INJECT(INTR_INFO_EXT_INT | BIT(12), 0x20)}},
	{.rule = "ERROR_CODE_VALUE", .kind = LONG_MODE, .poke = {INJECT(INTR_INFO_HW_EXCEPTION | INTR_INFO_ERROR_CODE, VECTOR_PF), SET(ENTRY_EXCEPTION_ERROR_CODE, BIT(16))}},
	{.rule = "INJECT_LENGTH", .kind = LONG_MODE, .poke = {INJECT(INTR_INFO_SW_EXCEPTION, VECTOR_BP), SET(ENTRY_INSTRUCTION_LENGTH, 16)}},
	{.rule = "INJECT_LENGTH", .kind = LONG_MODE, .poke = {INJECT(INTR_INFO_SW_INT, 0x80), SET(ENTRY_INSTRUCTION_LENGTH, 0)}},
	{.rule = "INJECT_LENGTH", .kind = LONG_MODE, .poke = {INJECT(INTR_INFO_PRIV_SW_EXC, VECTOR_DB), SET(ENTRY_INSTRUCTION_LENGTH, 0)}},
	{.rule = "ENTRY_LOAD_AREA", .kind = LONG_MODE, .poke = {SET(ENTRY_MSR_LOAD_COUNT, 1), SET(ENTRY_MSR_LOAD_ADDRESS, 0x308)}},
	{.rule = "OUTSIDE_SMM", .kind = LONG_MODE, .poke = {OR(ENTRY_CONTROLS, ENTRY_CTL_DEACTIVATE_DUAL)}},
	{.rule = "SMM_BOTH", .kind = LONG_MODE, .tweak = in_smm, .poke = {OR(ENTRY_CONTROLS, ENTRY_CTL_TO_SMM | ENTRY_CTL_DEACTIVATE_DUAL), SET(GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_SMI)}, .wrong = ENTRY_CTL_TO_SMM | ENTRY_CTL_DEACTIVATE_DUAL},
	/* 27.2.2 */
	{.rule = "HOST_CR0", .kind = LONG_MODE, .poke = {CLR(HOST_CR0, CR0_NE)}},
	{.rule = "HOST_CR0", .kind = LONG_MODE, .poke = {OR(HOST_CR0, BIT(32))}},
	{.rule = "HOST_CR4", .kind = LONG_MODE, .poke = {CLR(HOST_CR4, CR4_VMXE)}},
	{.rule = "HOST_CET_WP", .kind = LONG_MODE, .poke = {OR(HOST_CR4, CR4_CET), CLR(HOST_CR0, CR0_WP)}},
	{.rule = "HOST_CR3", .kind = LONG_MODE, .poke = {OR(HOST_CR3, FAR)}},
	{.rule = "HOST_SYSENTER", .kind = LONG_MODE, .poke = {SET(HOST_SYSENTER_ESP, UNCANONICAL)}},
	{.rule = "HOST_SYSENTER", .kind = LONG_MODE, .poke = {SET(HOST_SYSENTER_EIP, UNCANONICAL)}},
	{.rule = "HOST_PERF_GLOBAL", .kind = LONG_MODE, .poke = {OR(EXIT_CONTROLS, EXIT_CTL_LOAD_PERF_GLOBAL), SET(HOST_PERF_GLOBAL_CTRL, BIT(4))}},
	{.rule = "HOST_PAT", .kind = LONG_MODE, .poke = {SET(HOST_PAT, 0x0007040600070402)}},
	{.rule = "HOST_PAT", .kind = LONG_MODE, .poke = {SET(HOST_PAT, 0x0807040600070406)}},
	{.rule = "HOST_EFER_RESERVED", .kind = LONG_MODE, .poke = {OR(HOST_EFER, BIT(9))}},
	{.rule = "HOST_EFER_MODE", .kind = LONG_MODE, .poke = {CLR(HOST_EFER, EFER_LMA)}},
	{.rule = "HOST_EFER_MODE", .kind = LONG_MODE, .poke = {CLR(HOST_EFER, EFER_LME)}},
	{.rule = "HOST_S_CET", .kind = LONG_MODE, .poke = {OR(EXIT_CONTROLS, EXIT_CTL_LOAD_CET), SET(HOST_S_CET, BIT(6))}},
	{.rule = "HOST_S_CET", .kind = LONG_MODE, .poke = {OR(EXIT_CONTROLS, EXIT_CTL_LOAD_CET), SET(HOST_S_CET, BIT(10) | BIT(11))}},
	{.rule = "HOST_S_CET", .kind = LONG_MODE, .poke = {OR(EXIT_CONTROLS, EXIT_CTL_LOAD_CET), SET(HOST_S_CET, UNCANONICAL)}},
	{.rule = "HOST_SSP", .kind = LONG_MODE, .poke = {OR(EXIT_CONTROLS, EXIT_CTL_LOAD_CET), SET(HOST_SSP, 2)}},
	{.rule = "HOST_SSP", .kind = LONG_MODE, .poke = {OR(EXIT_CONTROLS, EXIT_CTL_LOAD_CET), SET(HOST_SSP_TABLE, UNCANONICAL)}},
	{.rule = "HOST_PKRS", .kind = LONG_MODE, .poke = {OR(EXIT_CONTROLS, EXIT_CTL_LOAD_PKRS), SET(HOST_PKRS, BIT(32))}},
	/* 27.2.3 */
	{.rule = "HOST_SELECTORS", .kind = LONG_MODE, .poke = {OR(HOST_DS_SELECTOR, 3)}},
	{.rule = "HOST_SELECTORS", .kind = LONG_MODE, .poke = {OR(HOST_CS_SELECTOR, 4)}},
	{.rule = "HOST_CS_TR", .kind = LONG_MODE, .poke = {SET(HOST_CS_SELECTOR, 0)}},
	{.rule = "HOST_CS_TR", .kind = LONG_MODE, .poke = {SET(HOST_TR_SELECTOR, 0)}},
	{.rule = "HOST_SS", .kind = PROTECTED, .tweak = host_32, .poke = {SET(HOST_SS_SELECTOR, 0)}},
	{.rule = "HOST_BASES", .kind = LONG_MODE, .poke = {SET(HOST_FS_BASE, UNCANONICAL)}},
	{.rule = "HOST_BASES", .kind = LONG_MODE, .poke = {SET(HOST_GS_BASE, UNCANONICAL)}},
	{.rule = "HOST_BASES", .kind = LONG_MODE, .poke = {SET(HOST_GDTR_BASE, UNCANONICAL)}},
	{.rule = "HOST_BASES", .kind = LONG_MODE, .poke = {SET(HOST_IDTR_BASE, UNCANONICAL)}},
	{.rule = "HOST_BASES", .kind = LONG_MODE, .poke = {SET(HOST_TR_BASE, UNCANONICAL)}},
	/* 27.2.4 */
	{.rule = "OUTSIDE_IA32E", .kind = PROTECTED, .tweak = outside_ia32e},
	{.rule = "INSIDE_IA32E", .kind = PROTECTED, .poke = {CLR(EXIT_CONTROLS, EXIT_CTL_HOST_64), SET(HOST_EFER, 0), SET(HOST_SS_SELECTOR, 0x10), SET(HOST_RIP, 0x8000)}, .wrong = EXIT_CTL_HOST_64},
	{.rule = "HOST_32_GUEST", .kind = LONG_MODE, .poke = {OR(HOST_CR4, 0)}, host_32, {"OUTSIDE_IA32E"}, .wrong = ENTRY_CTL_IA32E},
	{.rule = "HOST_32_PCIDE", .kind = PROTECTED, .tweak = host_32, .poke = {OR(HOST_CR4, CR4_PCIDE)}},
	{.rule = "HOST_32_RIP", .kind = PROTECTED, .tweak = host_32, .poke = {OR(HOST_RIP, BIT(32))}},
	{.rule = "HOST_32_RIP", .kind = PROTECTED, .tweak = host_32, .poke = {OR(EXIT_CONTROLS, EXIT_CTL_LOAD_CET), SET(HOST_SSP, BIT(32))}},
	{.rule = "HOST_64_PAE", .kind = LONG_MODE, .poke = {CLR(HOST_CR4, CR4_PAE)}},
	{.rule = "HOST_64_RIP", .kind = LONG_MODE, .poke = {SET(HOST_RIP, UNCANONICAL)}},
	/* 27.3.1.1 */
	{.rule = "GUEST_CR0", .kind = LONG_MODE, .poke = {CLR(GUEST_CR0, CR0_NE)}},
	{.rule = "GUEST_CR0", .kind = PROTECTED, .poke = {CLR(GUEST_CR0, CR0_PG)}},
	{.rule = "GUEST_PG_PE", .kind = REAL_MODE, .poke = {OR(GUEST_CR0, CR0_PG)}},
	{.rule = "GUEST_CR4", .kind = LONG_MODE, .poke = {CLR(GUEST_CR4, CR4_VMXE)}},
	{.rule = "GUEST_CR4", .kind = LONG_MODE, .poke = {OR(GUEST_CR4, BIT(15))}},
	{.rule = "GUEST_CET_WP", .kind = LONG_MODE, .poke = {OR(GUEST_CR4, CR4_CET)}},
	{.rule = "GUEST_DEBUGCTL", .kind = LONG_MODE, .poke = {SET(GUEST_DEBUGCTL, BIT(3))}},
	{.rule = "GUEST_IA32E_PG", .kind = LONG_MODE, .poke = {CLR(GUEST_CR0, CR0_PG)}},
	{.rule = "GUEST_IA32E_PAE", .kind = LONG_MODE, .poke = {CLR(GUEST_CR4, CR4_PAE)}},
	{.rule = "GUEST_PCIDE", .kind = PROTECTED, .poke = {OR(GUEST_CR4, CR4_PCIDE)}},
	{.rule = "GUEST_CR3", .kind = LONG_MODE, .poke = {OR(GUEST_CR3, FAR)}},
	{.rule = "GUEST_DR7", .kind = LONG_MODE, .poke = {OR(GUEST_DR7, BIT(32))}},
	{.rule = "GUEST_SYSENTER", .kind = LONG_MODE, .poke = {SET(GUEST_SYSENTER_ESP, UNCANONICAL)}},
	{.rule = "GUEST_SYSENTER", .kind = LONG_MODE, .poke = {SET(GUEST_SYSENTER_EIP, UNCANONICAL)}},
	{.rule = "GUEST_S_CET", .kind = LONG_MODE, .poke = {OR(ENTRY_CONTROLS, ENTRY_CTL_LOAD_CET), SET(GUEST_S_CET, BIT(9))}},
	{.rule = "GUEST_SSP_TABLE", .kind = LONG_MODE, .poke = {OR(ENTRY_CONTROLS, ENTRY_CTL_LOAD_CET), SET(GUEST_SSP_TABLE, UNCANONICAL)}},
	{.rule = "GUEST_PERF_GLOBAL", .kind = LONG_MODE, .poke = {OR(ENTRY_CONTROLS, ENTRY_CTL_LOAD_PERF_GLOBAL), SET(GUEST_PERF_GLOBAL_CTRL, BIT(4))}},
	{.rule = "GUEST_PAT", .kind = LONG_MODE, .poke = {SET(GUEST_PAT, 3)}},
	{.rule = "GUEST_EFER_RESERVED", .kind = LONG_MODE, .poke = {OR(GUEST_EFER, BIT(1))}},
	{.rule = "GUEST_EFER_LMA", .kind = REAL_MODE, .poke = {OR(GUEST_EFER, EFER_LMA)}},
	{.rule = "GUEST_EFER_LMA", .kind = LONG_MODE, .poke = {CLR(GUEST_EFER, EFER_LMA)}, NULL, {"GUEST_EFER_LME"}},
	{.rule = "GUEST_EFER_LME", .kind = LONG_MODE, .poke = {CLR(GUEST_EFER, EFER_LME)}},
	{.rule = "GUEST_BNDCFGS_RESERVED", .kind = LONG_MODE, .poke = {OR(ENTRY_CONTROLS, ENTRY_CTL_LOAD_BNDCFGS), SET(GUEST_BNDCFGS, 4)}},
	{.rule = "GUEST_BNDCFGS_CANONICAL", .kind = LONG_MODE, .poke = {OR(ENTRY_CONTROLS, ENTRY_CTL_LOAD_BNDCFGS), SET(GUEST_BNDCFGS, UNCANONICAL)}},
	{.rule = "GUEST_RTIT_CTL", .kind = LONG_MODE, .poke = {OR(ENTRY_CONTROLS, ENTRY_CTL_LOAD_RTIT), SET(GUEST_RTIT_CTL, BIT(18))}},
	{.rule = "GUEST_LBR_CTL", .kind = LONG_MODE, .poke = {OR(ENTRY_CONTROLS, ENTRY_CTL_LOAD_LBR), SET(GUEST_LBR_CTL, BIT(4))}},
	{.rule = "GUEST_PKRS", .kind = LONG_MODE, .poke = {OR(ENTRY_CONTROLS, ENTRY_CTL_LOAD_PKRS), SET(GUEST_PKRS, BIT(32))}},
	{.rule = "GUEST_UINV", .kind = LONG_MODE, .poke = {OR(ENTRY_CONTROLS, ENTRY_CTL_LOAD_UINV), SET(GUEST_UINV, 0x100)}},
	/* 27.3.1.2 */
	{.rule = "TR_TI", .kind = LONG_MODE, .poke = {OR(GUEST_TR_SELECTOR, 4)}},
	{.rule = "LDTR_TI", .kind = LONG_MODE, .poke = {OR(GUEST_LDTR_SELECTOR, 4)}},
	{.rule = "SS_RPL", .kind = PROTECTED, .poke = {OR(GUEST_CS_SELECTOR, 1)}},
	{.rule = "V86_BASE", .kind = V86, .poke = {OR(GUEST_GS_BASE, 1)}},
	{.rule = "BASE_CANONICAL", .kind = LONG_MODE, .poke = {SET(GUEST_TR_BASE, UNCANONICAL)}},
	{.rule = "BASE_CANONICAL", .kind = LONG_MODE, .poke = {SET(GUEST_FS_BASE, UNCANONICAL)}},
	{.rule = "BASE_CANONICAL", .kind = LONG_MODE, .poke = {SET(GUEST_GS_BASE, UNCANONICAL)}},
	{.rule = "BASE_CANONICAL", .kind = LONG_MODE, .poke = {SET(GUEST_LDTR_BASE, UNCANONICAL)}},
	{.rule = "BASE_HIGH", .kind = LONG_MODE, .poke = {OR(GUEST_CS_BASE, BIT(32))}},
	{.rule = "BASE_HIGH", .kind = LONG_MODE, .poke = {OR(GUEST_ES_BASE, BIT(32))}},
	{.rule = "BASE_HIGH", .kind = LONG_MODE, .poke = {OR(GUEST_DS_BASE, BIT(32))}},
	{.rule = "V86_LIMIT", .kind = V86, .poke = {SET(GUEST_SS_LIMIT, 0x1FFFFF)}},
	{.rule = "V86_ACCESS", .kind = V86, .poke = {SET(GUEST_CS_ACCESS, 0xFB)}},
	{.rule = "CS_TYPE", .kind = LONG_MODE, .poke = {SET(GUEST_CS_ACCESS, 0xA09A)}},
	{.rule = "CS_TYPE", .kind = PROTECTED, .poke = {SET(GUEST_CS_ACCESS, 0xC093)}},
	{.rule = "SS_TYPE", .kind = LONG_MODE, .poke = {SET(GUEST_SS_ACCESS, 0xC09B)}},
	{.rule = "DATA_ACCESSED", .kind = LONG_MODE, .poke = {SET(GUEST_FS_ACCESS, 0xC092)}},
	{.rule = "DATA_READABLE", .kind = LONG_MODE, .poke = {SET(GUEST_DS_ACCESS, 0xC099)}},
	{.rule = "SEG_S", .kind = LONG_MODE, .poke = {CLR(GUEST_CS_ACCESS, 0x10)}},
	{.rule = "SEG_S", .kind = LONG_MODE, .poke = {CLR(GUEST_GS_ACCESS, 0x10)}},
	{.rule = "CS_DPL_DATA", .kind = REAL_MODE, .poke = {OR(GUEST_CS_ACCESS, 0x60)}},
	{.rule = "CS_DPL_EQUAL", .kind = LONG_MODE, .poke = {OR(GUEST_CS_ACCESS, 0x60)}},
	{.rule = "CS_DPL_BELOW", .kind = LONG_MODE, .poke = {OR(GUEST_CS_ACCESS, 0x20 | 4)}},
	{.rule = "SS_DPL_RPL", .kind = PROTECTED, .poke = {OR(GUEST_SS_SELECTOR, 1), OR(GUEST_CS_SELECTOR, 1)}},
	{.rule = "SS_DPL_ZERO", .kind = REAL_MODE, .poke = {OR(GUEST_SS_ACCESS, 0x20)}},
	{.rule = "SS_DPL_ZERO", .kind = LONG_MODE, .poke = {OR(GUEST_SS_ACCESS, 0x20), SET(GUEST_CS_ACCESS, 0xC093), SET(GUEST_RIP, 0x1000)}},
	{.rule = "DATA_DPL", .kind = PROTECTED, .poke = {OR(GUEST_ES_SELECTOR, 3)}},
	{.rule = "SEG_PRESENT", .kind = LONG_MODE, .poke = {CLR(GUEST_DS_ACCESS, 0x80)}},
	{.rule = "SEG_RESERVED", .kind = LONG_MODE, .poke = {OR(GUEST_DS_ACCESS, 0x100)}},
	{.rule = "CS_LONG", .kind = LONG_MODE, .poke = {OR(GUEST_CS_ACCESS, SEG_AR_DB)}},
	{.rule = "SEG_G_BYTES", .kind = LONG_MODE, .poke = {SET(GUEST_DS_LIMIT, 0xFFFF0)}},
	{.rule = "SEG_G_PAGES", .kind = LONG_MODE, .poke = {CLR(GUEST_DS_ACCESS, BIT(15))}},
	{.rule = "SEG_RESERVED_HIGH", .kind = LONG_MODE, .poke = {OR(GUEST_SS_ACCESS, BIT(17))}},
	{.rule = "TR_TYPE", .kind = LONG_MODE, .poke = {SET(GUEST_TR_ACCESS, 0x83)}, .wrong = 0xF},
	{.rule = "TR_TYPE", .kind = PROTECTED, .poke = {SET(GUEST_TR_ACCESS, 0x89)}, .wrong = 0xF},
	{.rule = "TR_S", .kind = LONG_MODE, .poke = {OR(GUEST_TR_ACCESS, 0x10)}},
	{.rule = "TR_PRESENT", .kind = LONG_MODE, .poke = {CLR(GUEST_TR_ACCESS, 0x80)}},
	{.rule = "TR_RESERVED", .kind = LONG_MODE, .poke = {OR(GUEST_TR_ACCESS, BIT(11))}},
	{.rule = "TR_RESERVED", .kind = LONG_MODE, .poke = {OR(GUEST_TR_ACCESS, BIT(31))}},
	{.rule = "TR_GRANULARITY", .kind = LONG_MODE, .poke = {OR(GUEST_TR_ACCESS, BIT(15))}},
	{.rule = "TR_GRANULARITY", .kind = LONG_MODE, .poke = {SET(GUEST_TR_LIMIT, 0x100067)}},
	{.rule = "TR_UNUSABLE", .kind = LONG_MODE, .poke = {OR(GUEST_TR_ACCESS, BIT(16))}},
	{.rule = "LDTR_TYPE", .kind = LONG_MODE, .poke = {OR(GUEST_LDTR_ACCESS, 1)}},
	{.rule = "LDTR_S", .kind = LONG_MODE, .poke = {OR(GUEST_LDTR_ACCESS, 0x10)}},
	{.rule = "LDTR_PRESENT", .kind = LONG_MODE, .poke = {CLR(GUEST_LDTR_ACCESS, 0x80)}},
	{.rule = "LDTR_RESERVED", .kind = LONG_MODE, .poke = {OR(GUEST_LDTR_ACCESS, BIT(8))}},
	{.rule = "LDTR_GRANULARITY", .kind = LONG_MODE, .poke = {SET(GUEST_LDTR_LIMIT, 0x1FFFFF)}},
	/* 27.3.1.3 */
	{.rule = "TABLE_BASE", .kind = LONG_MODE, .poke = {SET(GUEST_GDTR_BASE, UNCANONICAL)}},
	{.rule = "TABLE_BASE", .kind = LONG_MODE, .poke = {SET(GUEST_IDTR_BASE, UNCANONICAL)}},
	{.rule = "TABLE_LIMIT", .kind = LONG_MODE, .poke = {SET(GUEST_GDTR_LIMIT, 0x10000)}},
	{.rule = "TABLE_LIMIT", .kind = LONG_MODE, .poke = {SET(GUEST_IDTR_LIMIT, 0xFFFFFFFF)}},
	/* 27.3.1.4 */
	{.rule = "RIP_HIGH", .kind = PROTECTED, .poke = {OR(GUEST_RIP, BIT(32))}},
	{.rule = "RIP_HIGH", .kind = LONG_MODE, .poke = {CLR(GUEST_CS_ACCESS, SEG_AR_L)}},
	{.rule = "RIP_WIDTH", .kind = LONG_MODE, .poke = {SET(GUEST_RIP, BIT(48))}},
	{.rule = "RFLAGS_RESERVED", .kind = LONG_MODE, .poke = {CLR(GUEST_RFLAGS, 2)}},
	{.rule = "RFLAGS_RESERVED", .kind = LONG_MODE, .poke = {OR(GUEST_RFLAGS, BIT(22))}},
	{.rule = "RFLAGS_RESERVED", .kind = LONG_MODE, .poke = {OR(GUEST_RFLAGS, BIT(3))}},
	{.rule = "RFLAGS_VM", .kind = V86, .poke = {SET(GUEST_CR0, CR0_NE)}},
	{.rule = "RFLAGS_VM", .kind = V86, .poke = {OR(ENTRY_CONTROLS, ENTRY_CTL_IA32E), OR(GUEST_CR4, CR4_PAE), SET(GUEST_EFER, EFER_LMA | EFER_LME)}},
	{.rule = "RFLAGS_IF", .kind = LONG_MODE, .poke = {INJECT(INTR_INFO_EXT_INT, 0x20), CLR(GUEST_RFLAGS, RFLAGS_IF)}},
	{.rule = "SSP", .kind = LONG_MODE, .poke = {OR(ENTRY_CONTROLS, ENTRY_CTL_LOAD_CET), SET(GUEST_SSP, 1)}},
	{.rule = "SSP", .kind = LONG_MODE, .poke = {OR(ENTRY_CONTROLS, ENTRY_CTL_LOAD_CET), SET(GUEST_SSP, UNCANONICAL)}},
	{.rule = "SSP", .kind = PROTECTED, .poke = {OR(ENTRY_CONTROLS, ENTRY_CTL_LOAD_CET), SET(GUEST_SSP, BIT(32))}},
	/* 27.3.1.5 */
	{.rule = "ACTIVITY_KNOWN", .kind = LONG_MODE, .poke = {SET(GUEST_ACTIVITY, 4)}},
	{.rule = "ACTIVITY_KNOWN", .kind = LONG_MODE, .tweak = no_shutdown, .poke = {SET(GUEST_ACTIVITY, ACTIVITY_SHUTDOWN)}},
	{.rule = "ACTIVITY_HLT", .kind = LONG_MODE, .poke = {SET(GUEST_ACTIVITY, ACTIVITY_HLT), OR(GUEST_SS_ACCESS, 0x60), OR(GUEST_CS_ACCESS, 0x60)}},
	{.rule = "ACTIVITY_BLOCKING", .kind = LONG_MODE, .poke = {SET(GUEST_ACTIVITY, ACTIVITY_HLT), SET(GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_STI)}},
	{.rule = "ACTIVITY_INJECTION", .kind = LONG_MODE, .poke = {SET(GUEST_ACTIVITY, ACTIVITY_HLT), INJECT(INTR_INFO_HW_EXCEPTION, VECTOR_UD)}},
	{.rule = "ACTIVITY_INJECTION", .kind = LONG_MODE, .poke = {SET(GUEST_ACTIVITY, ACTIVITY_SHUTDOWN), INJECT(INTR_INFO_EXT_INT, 0x20)}},
	{.rule = "ACTIVITY_INJECTION", .kind = LONG_MODE, .poke = {SET(GUEST_ACTIVITY, ACTIVITY_WAIT_FOR_SIPI), INJECT(INTR_INFO_NMI, 2)}},
	{.rule = "ACTIVITY_SMM", .kind = LONG_MODE, .tweak = in_smm, .poke = {SET(GUEST_ACTIVITY, ACTIVITY_WAIT_FOR_SIPI), OR(ENTRY_CONTROLS, ENTRY_CTL_TO_SMM), SET(GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_SMI)}},
	{.rule = "BLOCK_RESERVED", .kind = LONG_MODE, .poke = {SET(GUEST_INTERRUPTIBILITY, BIT(5))}},
	{.rule = "BLOCK_BOTH", .kind = LONG_MODE, .poke = {SET(GUEST_INTERRUPTIBILITY, 3)}},
	{.rule = "BLOCK_STI_IF", .kind = LONG_MODE, .poke = {SET(GUEST_INTERRUPTIBILITY, 1), CLR(GUEST_RFLAGS, RFLAGS_IF)}},
	{.rule = "BLOCK_INTERRUPT", .kind = LONG_MODE, .poke = {SET(GUEST_INTERRUPTIBILITY, 1), INJECT(INTR_INFO_EXT_INT, 0x20)}},
	{.rule = "BLOCK_INTERRUPT", .kind = LONG_MODE, .poke = {SET(GUEST_INTERRUPTIBILITY, 2), INJECT(INTR_INFO_EXT_INT, 0x20)}},
	{.rule = "BLOCK_NMI_MOV_SS", .kind = LONG_MODE, .poke = {SET(GUEST_INTERRUPTIBILITY, 2), INJECT(INTR_INFO_NMI, 2)}},
	{.rule = "BLOCK_SMI", .kind = LONG_MODE, .poke = {SET(GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_SMI)}},
	{.rule = "BLOCK_SMI_SMM", .kind = LONG_MODE, .tweak = in_smm, .poke = {OR(ENTRY_CONTROLS, ENTRY_CTL_TO_SMM)}},
	{.rule = "BLOCK_VIRTUAL_NMI", .kind = LONG_MODE, .poke = {SET(GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_NMI), INJECT(INTR_INFO_NMI, 2)}},
	{.rule = "BLOCK_ENCLAVE", .kind = LONG_MODE, .poke = {SET(GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_ENCLAVE | INTERRUPTIBILITY_MOV_SS)}},
	{.rule = "DEBUG_RESERVED", .kind = LONG_MODE, .poke = {SET(GUEST_PENDING_DEBUG, BIT(4))}},
	{.rule = "DEBUG_RESERVED", .kind = LONG_MODE, .poke = {SET(GUEST_PENDING_DEBUG, BIT(17))}},
	{.rule = "DEBUG_BS_SET", .kind = LONG_MODE, .poke = {SET(GUEST_INTERRUPTIBILITY, 1), OR(GUEST_RFLAGS, RFLAGS_TF)}},
	{.rule = "DEBUG_BS_SET", .kind = LONG_MODE, .poke = {SET(GUEST_ACTIVITY, ACTIVITY_HLT), OR(GUEST_RFLAGS, RFLAGS_TF)}},
	{.rule = "DEBUG_BS_CLEAR", .kind = LONG_MODE, .poke = {SET(GUEST_INTERRUPTIBILITY, 2), SET(GUEST_PENDING_DEBUG, PENDING_DEBUG_BS)}},
	{.rule = "DEBUG_BS_CLEAR", .kind = LONG_MODE, .poke = {SET(GUEST_INTERRUPTIBILITY, 2), SET(GUEST_PENDING_DEBUG, PENDING_DEBUG_BS), OR(GUEST_RFLAGS, RFLAGS_TF), SET(GUEST_DEBUGCTL, 2)}},
	{.rule = "DEBUG_RTM", .kind = LONG_MODE, .poke = {SET(GUEST_PENDING_DEBUG, PENDING_DEBUG_RTM)}},
	{.rule = "DEBUG_RTM", .kind = LONG_MODE, .poke = {SET(GUEST_PENDING_DEBUG, PENDING_DEBUG_RTM | PENDING_DEBUG_ENABLED_BP | 1)}, .wrong = 1},
	{.rule = "DEBUG_RTM", .kind = LONG_MODE, .poke = {SET(GUEST_PENDING_DEBUG, PENDING_DEBUG_RTM | PENDING_DEBUG_ENABLED_BP), SET(GUEST_INTERRUPTIBILITY, 2)}},
	{.rule = "LINK_ADDRESS", .kind = LONG_MODE, .poke = {SET(LINK_POINTER, FAR)}},
	{.rule = "LINK_ADDRESS", .kind = LONG_MODE, .poke = {SET(LINK_POINTER, 0x300800)}},
	{.rule = "LINK_REVISION", .kind = LONG_MODE, .tweak = bad_revision, .poke = {SET(LINK_POINTER, LINKED_VMCS)}},
	{.rule = "LINK_REVISION", .kind = LONG_MODE, .tweak = shadow_linked, .poke = {SET(LINK_POINTER, LINKED_VMCS)}},
	{.rule = "LINK_REVISION", .kind = LONG_MODE, .poke = {SET(LINK_POINTER, LINKED_VMCS), OR(CPU_CONTROLS2, CPU2_VMCS_SHADOWING)}},
	{.rule = "LINK_CURRENT", .kind = LONG_MODE, .poke = {SET(LINK_POINTER, THIS_VMCS)}},
	/* 27.3.1.6 */
	{.rule = "PDPTE", .kind = PAE_PAGING, .poke = {SET(GUEST_PDPTE0, 0x1003)}},
	{.rule = "PDPTE", .kind = PAE_PAGING, .poke = {SET(GUEST_PDPTE3, FAR | 1)}},
	{.rule = "PDPTE", .kind = PAE_PAGING, .tweak = pdpt_in_memory},
	/* 27.4 */
	{.rule = "MSR_LOAD_BASE", .kind = LONG_MODE, .tweak = msr_fs},
	{.rule = "MSR_LOAD_X2APIC", .kind = LONG_MODE, .tweak = msr_x2apic},
	{.rule = "MSR_LOAD_SMM", .kind = LONG_MODE, .tweak = msr_smm},
	{.rule = "MSR_LOAD_MICROCODE", .kind = LONG_MODE, .tweak = msr_microcode},
	{.rule = "MSR_LOAD_RESERVED", .kind = LONG_MODE, .tweak = msr_reserved},
	{.rule = "MSR_LOAD_VALUE", .kind = LONG_MODE, .tweak = msr_efer},
	{.rule = "MSR_LOAD_VALUE", .kind = LONG_MODE, .tweak = msr_pat},
	{.rule = "MSR_LOAD_VALUE", .kind = LONG_MODE, .tweak = msr_lstar},
	{.rule = "MSR_LOAD_VALUE", .kind = LONG_MODE, .tweak = msr_fmask},
	/* more ways to break them */
	{.rule = "TPR_VTPR", .kind = LONG_MODE, .tweak = vtpr_5, .poke = {OR(CPU_CONTROLS, CPU_TPR_SHADOW), SET(TPR_THRESHOLD, 6)}},
	{.rule = "PT_GUEST_PHYSICAL", .kind = PROTECTED, .poke = {CLR(CPU_CONTROLS2, CPU2_EPT), OR(CPU_CONTROLS2, CPU2_PT_GUEST_PHYSICAL), OR(EXIT_CONTROLS, EXIT_CTL_CLEAR_RTIT), OR(ENTRY_CONTROLS, ENTRY_CTL_LOAD_RTIT)}, .wrong = CPU2_EPT},
	{.rule = "TERTIARY_EPT", .kind = PROTECTED, .poke = {CPU3_ON, CLR(CPU_CONTROLS2, CPU2_EPT), SET(CPU_CONTROLS3, CPU3_GUEST_PAGING)}},
	{.rule = "TERTIARY_EPT", .kind = PROTECTED, .poke = {CPU3_ON, CLR(CPU_CONTROLS2, CPU2_EPT), SET(CPU_CONTROLS3, CPU3_HLAT)}},
	{.rule = "OUTSIDE_SMM", .kind = LONG_MODE, .poke = {OR(ENTRY_CONTROLS, ENTRY_CTL_TO_SMM)}, .implied = {"BLOCK_SMI_SMM"}},
	{.rule = "OUTSIDE_IA32E", .kind = LONG_MODE, .tweak = host_32, .implied = {"HOST_32_GUEST"}, .wrong = ENTRY_CTL_IA32E},
	{.rule = "DATA_DPL", .kind = PROTECTED, .poke = {OR(GUEST_ES_SELECTOR, 3), SET(GUEST_ES_ACCESS, 0xC09B)}},
	{.rule = "LDTR_RESERVED", .kind = LONG_MODE, .poke = {OR(GUEST_LDTR_ACCESS, BIT(17))}},
	{.rule = "SSP", .kind = PROTECTED, .poke = {OR(ENTRY_CONTROLS, ENTRY_CTL_LOAD_CET), SET(GUEST_SSP, 1)}},
	{.rule = "ACTIVITY_INJECTION", .kind = LONG_MODE, .poke = {SET(GUEST_ACTIVITY, ACTIVITY_SHUTDOWN), INJECT(INTR_INFO_HW_EXCEPTION, VECTOR_UD)}},
	{.rule = "ACTIVITY_INJECTION", .kind = LONG_MODE, .poke = {SET(GUEST_ACTIVITY, ACTIVITY_HLT), INJECT(INTR_INFO_HW_EXCEPTION, VECTOR_DE)}},
	{.rule = "DEBUG_RTM", .kind = LONG_MODE, .poke = {SET(GUEST_PENDING_DEBUG, PENDING_DEBUG_RTM | PENDING_DEBUG_ENABLED_BP | PENDING_DEBUG_BS)}, .wrong = PENDING_DEBUG_BS},
	{.rule = "MSR_LOAD_SMM", .kind = LONG_MODE, .tweak = msr_smbase},
};

/* What is allowed although it looks odd: no verdict at all. */
static const struct illness oddities[] = {
	{.rule = "unused 64-bit host SS", .kind = LONG_MODE, .poke = {SET(HOST_SS_SELECTOR, 0)}},
	{.rule = "secondary controls not activated", .kind = PROTECTED, .poke = {CLR(CPU_CONTROLS, CPU_SECONDARY), OR(CPU_CONTROLS2, BIT(29))}},
	{.rule = "bitmaps not used", .kind = LONG_MODE, .poke = {CLR(CPU_CONTROLS, CPU_IO_BITMAPS), SET(IO_BITMAP_A, 1)}},
	{.rule = "TPR threshold at VTPR", .kind = LONG_MODE, .poke = {OR(CPU_CONTROLS, CPU_TPR_SHADOW), SET(TPR_THRESHOLD, 0)}},
	{.rule = "CR0.CD and NW", .kind = LONG_MODE, .poke = {OR(GUEST_CR0, CR0_CD | CR0_NW)}},
	{.rule = "unusable data segments", .kind = LONG_MODE, .poke = {SET(GUEST_DS_ACCESS, SEG_AR_UNUSABLE), SET(GUEST_DS_LIMIT, 5), SET(GUEST_ES_ACCESS, SEG_AR_UNUSABLE | BIT(20)), SET(GUEST_SS_ACCESS, SEG_AR_UNUSABLE), OR(GUEST_DS_BASE, BIT(40))}},
	{.rule = "unusable LDTR", .kind = LONG_MODE, .poke = {SET(GUEST_LDTR_ACCESS, SEG_AR_UNUSABLE | 0xF1F), SET(GUEST_LDTR_SELECTOR, 4), SET(GUEST_LDTR_BASE, UNCANONICAL)}},
	{.rule = "RIP in the first page of the hole", .kind = LONG_MODE, .poke = {SET(GUEST_RIP, UNCANONICAL)}},
	{.rule = "SS and CS RPL differ", .kind = REAL_MODE, .poke = {SET(GUEST_SS_SELECTOR, 3)}},
	{.rule = "conforming CS above SS", .kind = LONG_MODE, .poke = {OR(GUEST_CS_ACCESS, 4)}},
	{.rule = "CS type 3", .kind = LONG_MODE, .poke = {SET(GUEST_CS_ACCESS, 0xC093), SET(GUEST_RIP, 0x1000)}},
	{.rule = "16-bit TSS", .kind = PROTECTED, .poke = {SET(GUEST_TR_ACCESS, 0x83)}},
	{.rule = "exception without error code in real mode", .kind = REAL_MODE, .poke = {INJECT(INTR_INFO_HW_EXCEPTION, VECTOR_GP)}},
	{.rule = "#PF", .kind = LONG_MODE, .poke = {INJECT(INTR_INFO_HW_EXCEPTION | INTR_INFO_ERROR_CODE, VECTOR_PF), SET(ENTRY_EXCEPTION_ERROR_CODE, 0x8007)}},
	{.rule = "INT3", .kind = LONG_MODE, .poke = {INJECT(INTR_INFO_SW_EXCEPTION, VECTOR_BP), SET(ENTRY_INSTRUCTION_LENGTH, 1)}},
	{.rule = "not valid, so not checked", .kind = LONG_MODE, .poke = {SET(ENTRY_INTR_INFO, 0x7FFFFFFF)}},
	{.rule = "interrupt wakes from HLT", .kind = LONG_MODE, .poke = {SET(GUEST_ACTIVITY, ACTIVITY_HLT), INJECT(INTR_INFO_EXT_INT, 0x20)}},
	{.rule = "machine check in shutdown", .kind = LONG_MODE, .poke = {SET(GUEST_ACTIVITY, ACTIVITY_SHUTDOWN), INJECT(INTR_INFO_HW_EXCEPTION, VECTOR_MC)}},
	{.rule = "MTF in HLT", .kind = LONG_MODE, .poke = {SET(GUEST_ACTIVITY, ACTIVITY_HLT), INJECT(INTR_INFO_OTHER, 0)}},
	{.rule = "NMI after STI", .kind = LONG_MODE, .poke = {SET(GUEST_INTERRUPTIBILITY, 1), INJECT(INTR_INFO_NMI, 2)}},
	{.rule = "single step after STI", .kind = LONG_MODE, .poke = {SET(GUEST_INTERRUPTIBILITY, 1), OR(GUEST_RFLAGS, RFLAGS_TF), SET(GUEST_PENDING_DEBUG, PENDING_DEBUG_BS)}},
	{.rule = "PDPTE that is not present", .kind = PAE_PAGING, .poke = {SET(GUEST_PDPTE1, ~1ULL)}},
	{.rule = "linked VMCS", .kind = LONG_MODE, .poke = {SET(LINK_POINTER, LINKED_VMCS)}},
	{.rule = "linked shadow VMCS", .kind = LONG_MODE, .tweak = shadow_linked, .poke = {SET(LINK_POINTER, LINKED_VMCS), OR(CPU_CONTROLS2, CPU2_VMCS_SHADOWING)}},
	{.rule = "MSR area of no entries", .kind = LONG_MODE, .poke = {SET(ENTRY_MSR_LOAD_ADDRESS, 3)}},
	{.rule = "MSR area up to the last byte", .kind = LONG_MODE, .poke = {SET(EXIT_MSR_STORE_COUNT, 1), SET(EXIT_MSR_STORE_ADDRESS, FAR - 16)}},
	{.rule = "32-bit host", .kind = PROTECTED, .tweak = host_32},
	{.rule = "error code without its bit", .kind = LONG_MODE, .poke = {INJECT(INTR_INFO_EXT_INT, 0x20), SET(ENTRY_EXCEPTION_ERROR_CODE, 0xFFFFFFFF)}},
	{.rule = "TPR threshold as high as VTPR", .kind = LONG_MODE, .tweak = vtpr_5, .poke = {OR(CPU_CONTROLS, CPU_TPR_SHADOW), SET(TPR_THRESHOLD, 5)}},
	{.rule = "TPR threshold unused", .kind = LONG_MODE, .poke = {SET(TPR_THRESHOLD, 1)}},
	{.rule = "TPR threshold with virtual interrupts", .kind = LONG_MODE, .poke = {OR(CPU_CONTROLS, CPU_TPR_SHADOW), OR(CPU_CONTROLS2, CPU2_VIRTUAL_INTERRUPTS), SET(TPR_THRESHOLD, 0x11)}},
	{.rule = "TPR threshold with APIC accesses", .kind = LONG_MODE, .poke = {OR(CPU_CONTROLS, CPU_TPR_SHADOW), OR(CPU_CONTROLS2, CPU2_APIC_ACCESSES), SET(TPR_THRESHOLD, 1)}},
	{.rule = "EPTP unused", .kind = PROTECTED, .tweak = no_ept_dirty, .poke = {CLR(CPU_CONTROLS2, CPU2_EPT), SET(EPTP, ~0ULL)}},
	{.rule = "EPTP unused", .kind = PROTECTED, .tweak = no_ept_shadow, .poke = {CLR(CPU_CONTROLS2, CPU2_EPT), SET(EPTP, ~0ULL)}},
	{.rule = "highest exception", .kind = LONG_MODE, .poke = {INJECT(INTR_INFO_HW_EXCEPTION, 31)}},
	{.rule = "longest instruction", .kind = LONG_MODE, .poke = {INJECT(INTR_INFO_SW_INT, 0x80), SET(ENTRY_INSTRUCTION_LENGTH, 15)}},
	{.rule = "host CR0.CD and NW", .kind = LONG_MODE, .poke = {OR(HOST_CR0, CR0_CD | CR0_NW)}},
	{.rule = "host CR0.WP off without CET", .kind = LONG_MODE, .poke = {CLR(HOST_CR0, CR0_WP)}},
	{.rule = "host CET with CR0.WP", .kind = LONG_MODE, .poke = {OR(HOST_CR4, CR4_CET)}},
	{.rule = "host PCIDE", .kind = LONG_MODE, .poke = {OR(HOST_CR4, CR4_PCIDE)}},
	{.rule = "guest PCIDE", .kind = LONG_MODE, .poke = {OR(GUEST_CR4, CR4_PCIDE)}},
	{.rule = "all of IA32_LBR_CTL", .kind = LONG_MODE, .poke = {OR(ENTRY_CONTROLS, ENTRY_CTL_LOAD_LBR), SET(GUEST_LBR_CTL, 0x7F000F)}},
	{.rule = "all of IA32_RTIT_CTL", .kind = LONG_MODE, .poke = {OR(ENTRY_CONTROLS, ENTRY_CTL_LOAD_RTIT), SET(GUEST_RTIT_CTL, 0x0180FFFF8F7BFFFF)}},
	{.rule = "all of IA32_DEBUGCTL", .kind = LONG_MODE, .poke = {SET(GUEST_DEBUGCTL, 0xFFC7)}},
	{.rule = "readable code in DS", .kind = LONG_MODE, .poke = {SET(GUEST_DS_ACCESS, 0xC09B)}},
	{.rule = "conforming code in ES", .kind = PROTECTED, .poke = {SET(GUEST_ES_ACCESS, 0xC09F), OR(GUEST_ES_SELECTOR, 3)}},
	{.rule = "unusable ES with RPL 3", .kind = PROTECTED, .poke = {SET(GUEST_ES_ACCESS, SEG_AR_UNUSABLE), OR(GUEST_ES_SELECTOR, 3)}},
	{.rule = "ES with RPL 3 in an unrestricted guest", .kind = LONG_MODE, .poke = {OR(GUEST_ES_SELECTOR, 3)}},
	{.rule = "#DB in HLT", .kind = LONG_MODE, .poke = {SET(GUEST_ACTIVITY, ACTIVITY_HLT), INJECT(INTR_INFO_HW_EXCEPTION, VECTOR_DB)}},
	{.rule = "enclave interruption", .kind = LONG_MODE, .poke = {SET(GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_ENCLAVE)}},
	{.rule = "pending bus lock", .kind = LONG_MODE, .poke = {SET(GUEST_PENDING_DEBUG, PENDING_DEBUG_BUS_LOCK)}},
	{.rule = "RTM", .kind = LONG_MODE, .poke = {SET(GUEST_PENDING_DEBUG, PENDING_DEBUG_RTM | PENDING_DEBUG_ENABLED_BP)}},
	{.rule = "PDPTE unused in long mode", .kind = LONG_MODE, .poke = {SET(GUEST_PDPTE0, 0x1003)}},
	{.rule = "PDPTE unused without paging", .kind = REAL_MODE, .poke = {SET(GUEST_PDPTE0, 0x1003), OR(GUEST_CR4, CR4_PAE)}},
	{.rule = "PDPTE unused without PAE", .kind = PROTECTED, .poke = {SET(GUEST_PDPTE0, 0x1003)}},
};
/* clang-format on */

static void fall_ill(struct patient *p, const struct illness *illness)
{
	patient_make(p, illness->kind);
	if (illness->tweak)
		illness->tweak(p);
	for (unsigned i = 0; i < ARRAY_SIZE(illness->poke); i++) {
		const struct poke *poke = &illness->poke[i];

		p->field[poke->nr / 2] = (p->field[poke->nr / 2] & ~poke->clear) | poke->set;
	}
}

static bool expected(const struct illness *illness, const char *rule)
{
	if (!strcmp(rule, illness->rule))
		return true;
	for (unsigned i = 0; i < ARRAY_SIZE(illness->implied); i++)
		if (illness->implied[i] && !strcmp(rule, illness->implied[i]))
			return true;
	return false;
}

static struct patient patient;

static void test_healthy(void **state)
{
	struct doctor_verdict out[4];

	(void)state;
	for (enum patient_kind kind = 0; kind < PATIENT_KINDS; kind++) {
		patient_make(&patient, kind);
		if (doctor_examine(&patient.in, out, 4) != 0)
			fail_msg("healthy kind %d breaks %s", (int)kind, out[0].rule->name);
	}
}

static void test_oddities(void **state)
{
	struct doctor_verdict out[4];
	char line[512];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(oddities); i++) {
		fall_ill(&patient, &oddities[i]);
		if (doctor_examine(&patient.in, out, 4) == 0)
			continue;
		doctor_format(&out[0], line, sizeof(line));
		fail_msg("%s: %s", oddities[i].rule, line);
	}
}

static void examine(const struct illness *illness, unsigned index)
{
	struct doctor_verdict out[8];
	unsigned n;
	bool found = false;

	fall_ill(&patient, illness);
	n = doctor_examine(&patient.in, out, 8);
	for (unsigned i = 0; i < n && i < 8; i++) {
		found |=
		    !strcmp(out[i].rule->name, illness->rule) && (!illness->wrong || out[i].wrong == illness->wrong);
		if (!expected(illness, out[i].rule->name))
			fail_msg("case %u for %s also breaks %s", index, illness->rule, out[i].rule->name);
	}
	if (!found)
		fail_msg("case %u does not break %s, or in other bits", index, illness->rule);
}

static void test_illnesses(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(illnesses); i++)
		examine(&illnesses[i], i);
}

static bool has_case(const char *rule)
{
	for (unsigned i = 0; i < ARRAY_SIZE(illnesses); i++)
		if (!strcmp(illnesses[i].rule, rule))
			return true;
	return false;
}

static void test_every_rule_has_a_case(void **state)
{
	const struct doctor_rule *rule;
	unsigned i;

	(void)state;
	for (i = 0; (rule = doctor_rule_at(i)); i++)
		if (!has_case(rule->name))
			fail_msg("no case breaks rule %s", rule->name);
	assert_true(i > 150);
}

/* Names are unique, and sections rise: the verdicts come in the order of the SDM. */
static void test_rules_in_order(void **state)
{
	const struct doctor_rule *rule, *other;

	(void)state;
	for (unsigned i = 0; (rule = doctor_rule_at(i)); i++) {
		for (unsigned k = 0; k < i; k++) {
			other = doctor_rule_at(k);
			assert_string_not_equal(rule->name, other->name);
			assert_true(strcmp(other->section, rule->section) <= 0);
		}
	}
}

static void test_verdict_tells_field_and_value(void **state)
{
	struct doctor_verdict v;
	char line[512];

	(void)state;
	patient_make(&patient, LONG_MODE);
	patient_set(&patient, VMCS_GUEST_CS_ACCESS, 0xA09A);
	assert_int_equal(doctor_examine(&patient.in, &v, 1), 1);
	assert_int_equal(v.field.encoding, VMCS_NR_GUEST_CS_ACCESS);
	assert_int_equal(v.value, 0xA09A);
	assert_int_equal(v.wrong, 0xF);
	assert_true(doctor_format(&v, line, sizeof(line)) < (int)sizeof(line));
	assert_string_equal(line, "SDM 27.3.1.2 CS_TYPE: GUEST_CS_ACCESS = 0xa09a (wrong in 0xf); rule: CS is accessed "
				  "code (9, 11, 13, 15), or 3 with unrestricted guest");
}

static void test_format_other_expected_entry(void **state)
{
	struct doctor_verdict v;
	char line[512];

	(void)state;
	patient_make(&patient, V86);
	patient_set(&patient, VMCS_GUEST_GS_LIMIT, 5);
	assert_int_equal(doctor_examine(&patient.in, &v, 1), 1);
	doctor_format(&v, line, sizeof(line));
	assert_string_equal(line,
			    "SDM 27.3.1.2 V86_LIMIT: GUEST_GS_LIMIT = 0x5; expected 0xffff; rule: in virtual-8086 "
			    "mode limits are 0xFFFF");

	patient_make(&patient, LONG_MODE);
	patient_set(&patient, VMCS_GUEST_INTERRUPTIBILITY, 1);
	patient_set(&patient, VMCS_GUEST_RFLAGS, 2);
	assert_int_equal(doctor_examine(&patient.in, &v, 1), 1);
	doctor_format(&v, line, sizeof(line));
	assert_string_equal(line, "SDM 27.3.1.5 BLOCK_STI_IF: GUEST_INTERRUPTIBILITY = 0x1 (wrong in 0x1) while "
				  "GUEST_RFLAGS = 0x2; rule: blocking by STI needs RFLAGS.IF 1");

	patient_make(&patient, LONG_MODE);
	msr_entry(&patient, 0, MSR_STAR, 0, 0);
	msr_entry(&patient, 1, MSR_GS_BASE, 0, 0);
	assert_int_equal(doctor_examine(&patient.in, &v, 1), 1);
	assert_int_equal(v.entry, 2);
	doctor_format(&v, line, sizeof(line));
	assert_non_null(strstr(line, "entry 2 of ENTRY_MSR_LOAD_ADDRESS = 0xc0000101"));

	patient_make(&patient, LONG_MODE);
	patient_set(&patient, VMCS_LINK_POINTER, LINKED_VMCS);
	memset(patient.ram + (LINKED_VMCS - RAM_BASE), 0x55, 4);
	patient.caps.revision = 0x2b;
	assert_int_equal(doctor_examine(&patient.in, &v, 1), 1);
	doctor_format(&v, line, sizeof(line));
	assert_non_null(
	    strstr(line, "LINK_REVISION: LINK_POINTER = 0x100000; found 0x55555555 there; expected 0x2b; "));
}

/* A buffer that is too small holds the beginning, terminated; the answer is the whole length. */
static void test_format_small_buffer(void **state)
{
	struct doctor_verdict v;
	char line[512], small[20];
	int whole;

	(void)state;
	patient_make(&patient, LONG_MODE);
	patient_set(&patient, VMCS_VPID, 0);
	assert_int_equal(doctor_examine(&patient.in, &v, 1), 1);
	whole = doctor_format(&v, line, sizeof(line));
	assert_int_equal(whole, strlen(line));
	assert_int_equal(doctor_format(&v, small, sizeof(small)), whole);
	assert_int_equal(strlen(small), sizeof(small) - 1);
	assert_memory_equal(small, line, sizeof(small) - 1);
}

/* All broken rules are counted, though only `max` are kept. */
static void test_more_than_room(void **state)
{
	struct doctor_verdict out[2];

	(void)state;
	patient_make(&patient, LONG_MODE);
	patient_set(&patient, VMCS_VPID, 0);
	patient_set(&patient, VMCS_HOST_CS_SELECTOR, 0);
	patient_set(&patient, VMCS_GUEST_RFLAGS, 0);
	assert_int_equal(doctor_examine(&patient.in, out, 2), 3);
	assert_string_equal(out[0].rule->name, "VPID");
	assert_string_equal(out[1].rule->name, "HOST_CS_TR");
	assert_int_equal(doctor_examine(&patient.in, NULL, 0), 3);
}

static void test_any_exception_error_code(void **state)
{
	(void)state;
	patient_make(&patient, LONG_MODE);
	patient.caps.any_exception_ec = true;
	patient_set(&patient, VMCS_ENTRY_INTR_INFO, INTR_INFO_VALID | INTR_INFO_HW_EXCEPTION | VECTOR_GP);
	assert_int_equal(doctor_examine(&patient.in, NULL, 0), 0);
	patient_set(&patient, VMCS_ENTRY_INTR_INFO, INTR_INFO_VALID | INTR_INFO_EXT_INT | INTR_INFO_ERROR_CODE | 0x20);
	assert_int_equal(doctor_examine(&patient.in, NULL, 0), 1);
}

/* Without a memory reader and performance-counter mask, the rules that need them are left out. */
static void test_unknown_is_skipped(void **state)
{
	(void)state;
	patient_make(&patient, LONG_MODE);
	patient.in.memory = NULL;
	patient.in.perf_global_bits = 0;
	patient.in.has_current = false;
	msr_fs(&patient);
	patient.field[VMCS_NR_ENTRY_CONTROLS / 2] |= ENTRY_CTL_LOAD_PERF_GLOBAL;
	patient_set(&patient, VMCS_GUEST_PERF_GLOBAL_CTRL, ~0ULL);
	patient_set(&patient, VMCS_LINK_POINTER, THIS_VMCS);
	assert_int_equal(doctor_examine(&patient.in, NULL, 0), 0);
}

/* Of a table in memory, the entry is told and its value. */
static void test_pdpte_in_memory(void **state)
{
	struct doctor_verdict v;

	(void)state;
	patient_make(&patient, PAE_PAGING);
	pdpt_in_memory(&patient);
	assert_int_equal(doctor_examine(&patient.in, &v, 1), 1);
	assert_int_equal(v.entry, 2);
	assert_int_equal(v.value, 0x1003);
	assert_int_equal(v.wrong, 2);
}

static void test_failure_texts(void **state)
{
	char line[128];

	(void)state;
	doctor_failure_format(0x80000021, 4, line, sizeof(line));
	assert_string_equal(line, "VM entry failed: invalid guest state (VMCS link pointer)");
	doctor_failure_format(0x80000021, 0, line, sizeof(line));
	assert_string_equal(line, "VM entry failed: invalid guest state (no further hint from the processor)");
	doctor_failure_format(0x80000022, 2, line, sizeof(line));
	assert_string_equal(line, "VM entry failed: entry 2 of the MSR-load area can't be loaded");
	doctor_failure_format(0x80000029, 0, line, sizeof(line));
	assert_string_equal(line, "VM entry failed: machine check during the entry");
	doctor_failure_format(12, 0, line, sizeof(line));
	assert_string_equal(line, "exit reason 0xc is not a failed VM entry");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_healthy),
	    cmocka_unit_test(test_oddities),
	    cmocka_unit_test(test_illnesses),
	    cmocka_unit_test(test_every_rule_has_a_case),
	    cmocka_unit_test(test_rules_in_order),
	    cmocka_unit_test(test_verdict_tells_field_and_value),
	    cmocka_unit_test(test_format_other_expected_entry),
	    cmocka_unit_test(test_format_small_buffer),
	    cmocka_unit_test(test_more_than_room),
	    cmocka_unit_test(test_any_exception_error_code),
	    cmocka_unit_test(test_unknown_is_skipped),
	    cmocka_unit_test(test_pdpte_in_memory),
	    cmocka_unit_test(test_failure_texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
