/*
 * Healthy VMCSs for the tests of the entry doctor, and a processor that has every feature. A patient is made by
 * patient_make() and then spoilt by the test. Included by tests/unit/test_doctor.c and tests/fuzz/fuzz_doctor.c.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "arch/x86/cpu_state.h"
#include "arch/x86/registers.h"
#include "arch/x86/vmx/doctor.h"
#include "hv/lib/panic.h"

#include <stdlib.h>
#include <string.h>

/* What vmcs.c wants of the machine. No test here gets as far. */
void panic(const char *fmt, ...)
{
	(void)fmt;
	abort();
}

bool vmcs_try_read(void *ctx, vmcs_field_t field, uint64_t *value)
{
	(void)ctx;
	(void)field;
	(void)value;
	return false;
}

enum patient_kind { LONG_MODE, REAL_MODE, PROTECTED, PAE_PAGING, V86 };
#define PATIENT_KINDS (V86 + 1)

#define RAM_BASE 0x100000ULL
#define RAM_SIZE 0x4000ULL
/* Pages of the little memory: */
#define LINKED_VMCS 0x100000ULL
#define APIC_PAGE   0x101000ULL
#define MSR_AREA    0x102000ULL
#define PDPT	    0x103000ULL
#define THIS_VMCS   0x200000ULL

struct patient {
	struct vmx_caps caps;
	struct doctor_input in;
	uint64_t field[0x8000 / 2]; /* all encodings are even and below 0x8000 */
	uint8_t ram[RAM_SIZE];
};

static inline bool patient_read(void *ctx, vmcs_field_t field, uint64_t *value)
{
	struct patient *p = ctx;

	*value = p->field[(field.encoding & 0x7FFF) / 2];
	return true;
}

static inline bool patient_memory(void *ctx, hpa_t address, void *buf, size_t size)
{
	struct patient *p = ctx;

	if (address.value < RAM_BASE || address.value >= RAM_BASE + RAM_SIZE ||
	    size > RAM_BASE + RAM_SIZE - address.value)
		return false;
	memcpy(buf, p->ram + (address.value - RAM_BASE), size);
	return true;
}

static inline void patient_set(struct patient *p, vmcs_field_t field, uint64_t value)
{
	p->field[field.encoding / 2] = value;
}

static inline void patient_segment(struct patient *p, unsigned seg, uint16_t selector, uint32_t access, uint32_t limit)
{
	patient_set(p, VMCS_SEG_SELECTOR(seg), selector);
	patient_set(p, VMCS_SEG_ACCESS(seg), access);
	patient_set(p, VMCS_SEG_LIMIT(seg), limit);
	patient_set(p, VMCS_SEG_BASE(seg), 0);
}

/* A processor with every control that the SDM defines. */
static inline void patient_caps(struct vmx_caps *caps)
{
	*caps = (struct vmx_caps){
	    .revision = 0x2B,
	    .pin = 0x000000FF00000016,
	    .cpu = 0xFFFBFFFE0401E172,
	    .cpu2 = 0xDFFFFFFF00000000,
	    .cpu3 = 0x9F,
	    .exit = 0xFFFFFFFF00036DFB,
	    .exit2 = 0x8,
	    .entry = 0x007FFFFF000011FB,
	    .activity_states = 0xF,
	    .cr3_targets = 4,
	    .inject_zero_length = false,
	    .cr0_fixed0 = 0x80000021,
	    .cr0_fixed1 = 0xFFFFFFFF,
	    .cr4_fixed0 = 0x2000,
	    .cr4_fixed1 = 0x00F77FFF,
	    .ept_vpid = 0x00000F01067341C1 | VMX_EPT_SHADOW_STACK,
	    .vmfunc = 1,
	    .physical_bits = 46,
	    .linear_bits = 48,
	};
}

static inline void patient_controls(struct patient *p)
{
	patient_set(p, VMCS_PIN_CONTROLS, 0x7F);
	patient_set(p, VMCS_CPU_CONTROLS, 0x0401E172u | CPU_SECONDARY | CPU_HLT | CPU_MSR_BITMAPS | CPU_IO_BITMAPS);
	patient_set(p, VMCS_CPU_CONTROLS2, CPU2_EPT | CPU2_VPID | CPU2_UNRESTRICTED_GUEST);
	patient_set(p, VMCS_EXIT_CONTROLS,
		    0x36DFB | EXIT_CTL_HOST_64 | EXIT_CTL_ACK_INTERRUPT | EXIT_CTL_LOAD_PAT | EXIT_CTL_LOAD_EFER |
			EXIT_CTL_SAVE_PREEMPTION);
	patient_set(p, VMCS_ENTRY_CONTROLS, 0x11FB | ENTRY_CTL_LOAD_PAT | ENTRY_CTL_LOAD_EFER | ENTRY_CTL_LOAD_DEBUG);
	patient_set(p, VMCS_VPID, 1);
	patient_set(p, VMCS_EPTP, 0x300000 | 3 << 3 | 6);
	patient_set(p, VMCS_IO_BITMAP_A, 0x301000);
	patient_set(p, VMCS_IO_BITMAP_B, 0x302000);
	patient_set(p, VMCS_MSR_BITMAP, 0x303000);
	patient_set(p, VMCS_VIRTUAL_APIC_ADDRESS, APIC_PAGE);
	patient_set(p, VMCS_LINK_POINTER, ~0ULL);
}

static inline void patient_host(struct patient *p)
{
	patient_set(p, VMCS_HOST_CR0, 0x80050033);
	patient_set(p, VMCS_HOST_CR3, 0x304000);
	patient_set(p, VMCS_HOST_CR4, CR4_PAE | CR4_VMXE | CR4_OSFXSR);
	patient_set(p, VMCS_HOST_CS_SELECTOR, 0x08);
	patient_set(p, VMCS_HOST_TR_SELECTOR, 0x18);
	patient_set(p, VMCS_HOST_TR_BASE, 0xFFFFFFFF80010000);
	patient_set(p, VMCS_HOST_GDTR_BASE, 0xFFFFFFFF80020000);
	patient_set(p, VMCS_HOST_RIP, 0xFFFFFFFF80000000);
	patient_set(p, VMCS_HOST_EFER, EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);
	patient_set(p, VMCS_HOST_PAT, 0x0007040600070406);
}

/* Flat 32-bit protected mode with paging, under an unrestricted guest. */
static inline void patient_guest(struct patient *p)
{
	for (unsigned seg = SEG_ES; seg <= SEG_GS; seg++)
		patient_segment(p, seg, 0x10, 0xC093, 0xFFFFFFFF);
	patient_segment(p, SEG_CS, 0x08, 0xC09B, 0xFFFFFFFF);
	patient_segment(p, SEG_TR, 0x18, 0x8B, 0x67);
	patient_segment(p, SEG_LDTR, 0x20, 0x82, 0xFFFF);
	patient_set(p, VMCS_GUEST_CR0, CR0_PE | CR0_ET | CR0_NE | CR0_PG);
	patient_set(p, VMCS_GUEST_CR4, CR4_VMXE);
	patient_set(p, VMCS_GUEST_CR3, PDPT);
	patient_set(p, VMCS_GUEST_DR7, 0x400);
	patient_set(p, VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF);
	patient_set(p, VMCS_GUEST_RIP, 0x100000);
	patient_set(p, VMCS_GUEST_PAT, 0x0007040600070406);
	patient_set(p, VMCS_GUEST_GDTR_LIMIT, 0xFFFF);
	patient_set(p, VMCS_GUEST_IDTR_LIMIT, 0xFFFF);
}

static inline void patient_long_mode(struct patient *p)
{
	p->field[VMCS_NR_ENTRY_CONTROLS / 2] |= ENTRY_CTL_IA32E;
	p->field[VMCS_NR_GUEST_CR4 / 2] |= CR4_PAE;
	patient_set(p, VMCS_GUEST_CS_ACCESS, 0xA09B);
	patient_set(p, VMCS_GUEST_EFER, EFER_LME | EFER_LMA);
	patient_set(p, VMCS_GUEST_RIP, 0xFFFFFFFF81000000);
}

static inline void patient_real_mode(struct patient *p)
{
	for (unsigned seg = SEG_ES; seg <= SEG_GS; seg++)
		patient_segment(p, seg, 0, 0x93, 0xFFFF);
	patient_set(p, VMCS_GUEST_CR0, CR0_ET | CR0_NE);
	patient_set(p, VMCS_GUEST_RIP, 0xFFF0);
	patient_set(p, VMCS_GUEST_CS_SELECTOR, 0xF000);
	patient_set(p, VMCS_GUEST_CS_BASE, 0xFFFF0000);
}

static inline void patient_v86(struct patient *p)
{
	for (unsigned seg = SEG_ES; seg <= SEG_GS; seg++) {
		patient_segment(p, seg, (uint16_t)(0x1000 + seg), 0xF3, 0xFFFF);
		patient_set(p, VMCS_SEG_BASE(seg), (0x1000 + seg) << 4);
	}
	p->field[VMCS_NR_GUEST_RFLAGS / 2] |= RFLAGS_VM;
	patient_set(p, VMCS_GUEST_RIP, 0x100);
}

/* PROTECTED and PAE_PAGING do without unrestricted guest, so that the stricter rules hold. */
static inline void patient_make(struct patient *p, enum patient_kind kind)
{
	memset(p, 0, sizeof(*p));
	patient_caps(&p->caps);
	p->in = (struct doctor_input){.read = patient_read,
				      .read_ctx = p,
				      .caps = &p->caps,
				      .has_current = true,
				      .current = HPA(THIS_VMCS),
				      .perf_global_bits = 0x70000000F,
				      .memory = patient_memory,
				      .memory_ctx = p};
	memcpy(p->ram + (LINKED_VMCS - RAM_BASE), &p->caps.revision, 4);
	patient_controls(p);
	patient_host(p);
	patient_guest(p);
	if (kind == LONG_MODE)
		patient_long_mode(p);
	if (kind == REAL_MODE)
		patient_real_mode(p);
	if (kind == V86)
		patient_v86(p);
	if (kind == PAE_PAGING) {
		p->field[VMCS_NR_GUEST_CR4 / 2] |= CR4_PAE;
		patient_set(p, VMCS_GUEST_PDPTE0, 0x1001);
	}
	if (kind == PROTECTED || kind == PAE_PAGING)
		p->field[VMCS_NR_CPU_CONTROLS2 / 2] &= ~(uint64_t)CPU2_UNRESTRICTED_GUEST;
}
