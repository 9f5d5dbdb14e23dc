/*
 * The entry doctor: every check that the SDM lists for VM entry (Vol. 3C 27.2 to 27.4), run again in C over a VMCS, so
 * that a failed entry is answered with the name of the rule that broke and the value that broke it. Called when
 * VMLAUNCH or VMRESUME fails or exits with reason 33 or 34. Pure: VMCS and memory are reached through the callbacks.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "arch/x86/vmx/caps.h"
#include "arch/x86/vmx/vmcs.h"

/*
 * Not told by a VMCS and left at 0 when unknown; rules that need it are then skipped. 0 also stands for the usual case:
 * entry from IA-32e mode and outside SMM.
 */
struct doctor_input {
	vmcs_reader read; /* vmcs_try_read, or a test's; a field that is absent reads as 0 */
	void *read_ctx;
	const struct vmx_caps *caps;
	bool outside_ia32e; /* the processor enters with IA32_EFER.LMA = 0 */
	bool in_smm;
	bool has_current;	   /* `current` is the address of the current VMCS */
	hpa_t current;		   /* ... which the link pointer must not be */
	uint64_t perf_global_bits; /* the bits that IA32_PERF_GLOBAL_CTRL has (CPUID 0xA) */
	/* Copies physical memory, for the MSR areas, the virtual-APIC page, the linked VMCS and PDPTEs; may be NULL. */
	bool (*memory)(void *ctx, hpa_t address, void *buf, size_t size);
	void *memory_ctx;
};

struct doctor_rule {
	const char *name;    /* "SEG_CS_TYPE" */
	const char *section; /* "27.3.1.2" */
	const char *text;    /* what must hold */
};

struct doctor_verdict {
	const struct doctor_rule *rule;
	vmcs_field_t field; /* the field found wrong */
	uint64_t value;	    /* what it holds; of an MSR area or a table in memory, the entry */
	uint64_t wrong;	    /* the bits that are wrong; 0: the value as a whole */
	bool has_found;	    /* the field points to memory, where `found` is what is wrong */
	uint64_t found;
	bool has_expected; /* `expected` is the one right value */
	uint64_t expected;
	bool has_other; /* the field that makes it wrong, where one does */
	vmcs_field_t other;
	uint64_t other_value;
	unsigned entry; /* which entry of an MSR area or table, from 1; 0: not of one */
};

/*
 * Runs all rules in the order of the SDM. Writes the first `max` broken ones to `out` and answers how many broke: each
 * field that breaks a rule counts. 0 means that the processor should enter this VMCS.
 */
unsigned doctor_examine(const struct doctor_input *in, struct doctor_verdict *out, unsigned max);

/* One line: section, rule, field, what was found, what should be. Returns the length as snprintf does. */
int doctor_format(const struct doctor_verdict *verdict, char *buf, size_t size);

/* Rule number `index` in the order of the SDM, NULL after the last. */
const struct doctor_rule *doctor_rule_at(unsigned index);

/* What the processor itself says of a failed entry: exit reasons 33, 34, 41 with their qualification (27.8). */
int doctor_failure_format(uint32_t exit_reason, uint64_t qualification, char *buf, size_t size);
