/*
 * What this processor's VT-x can do, read once from the capability MSRs (SDM Vol. 3D Appendix A) through a callback,
 * so that the host tests can be any processor. arch/x86/vmx/enable.c reads every CPU's, compares, negotiates and prints
 * the report.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

/* In pin, cpu, cpu2, exit and entry, bits 31:0 must be 1 in the control, bits 63:32 may be 1 (A.2). */
struct vmx_caps {
	uint64_t basic; /* IA32_VMX_BASIC; its parts below */
	uint32_t revision;
	uint32_t region_size;  /* bytes of a VMXON region or VMCS, at most 4096 */
	uint32_t memory_type;  /* of those regions; 6 is write-back */
	bool true_controls;    /* the TRUE MSRs exist and were used */
	bool ins_outs_info;    /* exits for INS and OUTS tell the segment and address size */
	bool low_regions;      /* regions must lie below 4 GiB */
	bool any_exception_ec; /* hardware exceptions may be injected with or without an error code (BASIC bit 56) */
	uint64_t pin, cpu, cpu2, cpu3, exit, exit2, entry; /* cpu3 and exit2 are plain masks of what may be 1 */
	uint64_t misc;					   /* IA32_VMX_MISC; its parts below */
	uint32_t preemption_shift;			   /* the timer counts at TSC >> shift */
	uint32_t activity_states; /* bit n: activity state n is supported; bit 0 (active) always */
	uint32_t cr3_targets;
	uint32_t max_msr_list; /* recommended most entries in an MSR area */
	bool inject_zero_length;
	bool save_lma;	  /* exits store EFER.LMA into "IA-32e mode guest"; so with unrestricted guest */
	bool vmwrite_any; /* VMWRITE reaches read-only fields too */
	uint64_t cr0_fixed0, cr0_fixed1, cr4_fixed0, cr4_fixed1;
	uint64_t ept_vpid; /* IA32_VMX_EPT_VPID_CAP, 0 if neither can be enabled; bits VMX_EPT_x, VMX_VPID_x */
	uint64_t vmfunc;
	unsigned physical_bits; /* MAXPHYADDR */
	unsigned linear_bits;	/* 48 or 57 */
};

/* IA32_VMX_EPT_VPID_CAP, SDM Vol. 3D A.10 */
#define VMX_EPT_EXECUTE_ONLY	BIT(0)
#define VMX_EPT_WALK_4		BIT(6)
#define VMX_EPT_WALK_5		BIT(7)
#define VMX_EPT_UC		BIT(8)
#define VMX_EPT_WB		BIT(14)
#define VMX_EPT_2M		BIT(16)
#define VMX_EPT_1G		BIT(17)
#define VMX_EPT_INVEPT		BIT(20)
#define VMX_EPT_ACCESSED_DIRTY	BIT(21)
#define VMX_EPT_EXIT_INFO	BIT(22)
#define VMX_EPT_SHADOW_STACK	BIT(23)
#define VMX_EPT_INVEPT_SINGLE	BIT(25)
#define VMX_EPT_INVEPT_ALL	BIT(26)
#define VMX_VPID_INVVPID	BIT(32)
#define VMX_VPID_INDIVIDUAL	BIT(40)
#define VMX_VPID_SINGLE		BIT(41)
#define VMX_VPID_ALL		BIT(42)
#define VMX_VPID_SINGLE_GLOBALS BIT(43)

/*
 * Fills `caps` from the MSRs that `read` reaches (0, or negative when the MSR faults). Physical and linear width come
 * from CPUID 0x80000008, whose EAX the caller passes. Returns 0, -E_FAULT when a required MSR can't be read, or
 * -E_NOTSUP when IA32_VMX_BASIC is not one of a processor with VT-x; *failed_msr then tells which.
 */
int vmx_caps_read(struct vmx_caps *caps, int (*read)(uint32_t msr, uint64_t *value), uint32_t address_sizes,
		  uint32_t *failed_msr) MUST_CHECK;

/*
 * Chooses a control word: the bits that must be 1, all of `minimum`, and what `allowed` permits of `optional`. Returns
 * 0, or -E_NOTSUP with the bits of `minimum` that can't be set in *missing (0 on success). *result is always written.
 */
int vmx_negotiate(uint64_t allowed, uint32_t minimum, uint32_t optional, uint32_t *result,
		  uint32_t *missing) MUST_CHECK;

/* Does `value` obey `allowed`? Answers 0, or the bits that are 0 and must be 1, or are 1 and must be 0. */
uint32_t vmx_control_violations(uint64_t allowed, uint32_t value);

/* The control words, for reports. */
enum vmx_word { VMX_WORD_PIN, VMX_WORD_CPU, VMX_WORD_CPU2, VMX_WORD_CPU3, VMX_WORD_EXIT, VMX_WORD_ENTRY, VMX_WORDS };
const char *vmx_word_name(enum vmx_word word);				 /* "secondary control" */
const char *vmx_bit_name(enum vmx_word word, unsigned bit);		 /* "unrestricted guest", or "reserved" */
uint64_t vmx_caps_word(const struct vmx_caps *caps, enum vmx_word word); /* its allowed-0/allowed-1 pair */

/* "secondary control bit 7: unrestricted guest" for the lowest bit of `missing`; returns the length as snprintf. */
int vmx_missing_format(enum vmx_word word, uint32_t missing, char *buf, size_t size);

/* A line of the feature report. */
enum vmx_feature_state { VMX_FEATURE_MISSING, VMX_FEATURE_PRESENT, VMX_FEATURE_USED };
struct vmx_feature {
	const char *word; /* "secondary control", "EPT/VPID capability" */
	const char *name;
	unsigned bit;
	enum vmx_feature_state state;
};

/* The control words as chosen, to tell "used" from "present". */
struct vmx_controls {
	uint32_t pin, cpu, cpu2, exit, entry;
	uint64_t cpu3;
};

/* Number `index` of the report, counting from 0; false after the last one. `used` may be NULL. */
bool vmx_feature_at(const struct vmx_caps *caps, const struct vmx_controls *used, unsigned index,
		    struct vmx_feature *out);

/* IA32_FEATURE_CONTROL (SDM Vol. 3C 24.7): may VMXON run outside SMX? */
enum vmx_lock_state {
	VMX_LOCK_USABLE,      /* locked with VMX on: nothing to do */
	VMX_LOCK_MUST_SET,    /* unlocked: set FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX */
	VMX_LOCK_OFF,	      /* firmware locked VMX off */
	VMX_LOCK_INSIDE_ONLY, /* locked, and VMX allowed inside SMX only */
};
enum vmx_lock_state vmx_feature_control_state(uint64_t value);
const char *vmx_lock_text(enum vmx_lock_state state);

/*
 * All CPUs must agree. Returns true when they do; otherwise *what names the first word that differs and *first, *second
 * are its two values. What differs but does no harm (the recommended MSR-list length) is not compared.
 */
bool vmx_caps_agree(const struct vmx_caps *a, const struct vmx_caps *b, const char **what, uint64_t *first,
		    uint64_t *second);
