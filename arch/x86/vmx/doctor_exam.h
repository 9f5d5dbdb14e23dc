/*
 * Inside the entry doctor: one examination, and the words in which the rules of doctor_controls.c, doctor_host.c,
 * doctor_guest.c, doctor_segments.c, doctor_state.c and doctor_memory.c are written. Included by those files only.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "arch/x86/cpu_state.h"
#include "arch/x86/msr.h"
#include "arch/x86/registers.h"
#include "arch/x86/vmx/doctor.h"

/* The control words are read once; a word that is not activated counts as 0 (SDM Vol. 3C 25.6.2). */
struct exam {
	const struct doctor_input *in;
	const struct vmx_caps *caps;
	uint32_t pin, cpu, cpu2, exit, entry;
	uint64_t cpu3;
	uint32_t inject; /* VM-entry interruption information */
	const struct doctor_rule *rule;
	struct doctor_verdict *out;
	unsigned max, count;
	struct doctor_verdict spill; /* verdicts beyond `max` are counted, not kept */
};

struct doctor_row {
	struct doctor_rule rule;
	void (*check)(struct exam *e);
};

/* The rows of each file, in the order in which they are examined. */
extern const struct doctor_row doctor_control_rows[], doctor_host_rows[], doctor_guest_rows[], doctor_segment_rows[],
    doctor_state_rows[], doctor_memory_rows[];
extern const unsigned doctor_control_count, doctor_host_count, doctor_guest_count, doctor_segment_count,
    doctor_state_count, doctor_memory_count;

uint64_t exam_read(const struct exam *e, vmcs_field_t field);

/* A rule is broken by `field`: reports it with the bits that are wrong (0: all of it). The verdict may be refined. */
struct doctor_verdict *exam_fault(struct exam *e, vmcs_field_t field, uint64_t wrong);
/* ... because of what `other` holds. */
struct doctor_verdict *exam_fault_with(struct exam *e, vmcs_field_t field, uint64_t wrong, vmcs_field_t other);
/* ... where `expected` would be right. */
struct doctor_verdict *exam_fault_expected(struct exam *e, vmcs_field_t field, uint64_t expected);

/* The commonest check of all: these bits of the field must be 0. */
void exam_zero(struct exam *e, vmcs_field_t field, uint64_t bits);
/* An address that VMX structures hold: `low` bits clear, and none beyond what the processor can address. */
void exam_address(struct exam *e, vmcs_field_t field, uint64_t low);
void exam_canonical(struct exam *e, vmcs_field_t field);
/* The field's bits outside fixed1, and those of fixed0 that are missing, but for `exempt`. */
void exam_fixed(struct exam *e, vmcs_field_t field, uint64_t fixed0, uint64_t fixed1, uint64_t exempt);
void exam_pat(struct exam *e, vmcs_field_t field);
void exam_s_cet(struct exam *e, vmcs_field_t field);

bool exam_is_canonical(const struct exam *e, uint64_t address);
bool exam_is_pat(uint64_t pat);
uint64_t exam_beyond_physical(const struct exam *e);  /* bits at and above MAXPHYADDR */
uint64_t exam_beyond_structure(const struct exam *e); /* the same, or above 4 GiB where BASIC bit 48 says so */

/* Injection, as the VM-entry interruption-information field asks for it. */
static inline bool exam_injects(const struct exam *e, uint32_t type)
{
	return (e->inject & INTR_INFO_VALID) && (e->inject & INTR_INFO_TYPE_MASK) == type;
}

#define EFER_VALID (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)
