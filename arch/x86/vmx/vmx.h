/*
 * Shared inside arch/x86/vmx: what virt_probe decided, and the parts of a virtual processor that several files need.
 * hv/ sees arch/x86/virt.h only.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdatomic.h>

#include "arch/x86/mtrr.h"
#include "arch/x86/virt.h"
#include "arch/x86/vmx/caps.h"
#include "arch/x86/vmx/controls.h"
#include "arch/x86/vmx/ept.h"
#include "arch/x86/vmx/vmcs.h"

struct vmx_machine {
	struct vmx_caps caps;
	struct vmx_controls controls; /* that every vCPU starts with: negotiated once, all CPUs agree */
	struct vmx_controls used;     /* the same with what vCPUs turn on later, for the report */
	struct virt_features features;
	struct virt_pages pages;
	struct mtrr_state mtrr;
	uint64_t xcr0_mask;  /* XCR0 bits whose state we save; 0: the processor has no XSAVE */
	uint32_t xsave_size; /* bytes of the save area */
	bool rdtscp;	     /* IA32_TSC_AUX exists */
	struct speculation_facts speculation;
	struct mitigation_plan mitigations;
};
extern struct vmx_machine vmx;

struct virt_space {
	struct ept ept;
	uint64_t promised; /* pages for tables */
	hpa_t spare;	   /* zeroed pages that were tables, linked by their first word; frame 0: none */
	hpa_t lost;	   /* tables that were given back, and that processors may still walk. Linked likewise */
	_Atomic uint64_t generation; /* never that of another space, and another after translations were lost */
	uint64_t number;	     /* never that of another space */
};

/* CR0 bits of a guest that hardware would change for the host too, or that VMX fixes: ours, shown by the read shadow.
 */
#define VMX_CR0_OWNED (CR0_PE | CR0_NE | CR0_NW | CR0_CD | CR0_PG | ~0xffffffffULL)

/* entry.asm: HOST_RIP, never called. The others do something about the branch predictor first. */
void vmx_exit(void);
void vmx_exit_rsb_one(void);
void vmx_exit_rsb_all(void);
void vmx_exit_history(void);
void vmx_exit_history_rsb_all(void);
void vmx_exit_rsb_one_shadow(void); /* these where the host has shadow stacks */
void vmx_exit_rsb_all_shadow(void);
void vmx_exit_history_shadow(void);
void vmx_exit_history_rsb_all_shadow(void);

/* Bits of virt_vcpu.entry_work, and entry.asm's. */
#define VMX_ENTRY_FLUSH_L1D 1
#define VMX_ENTRY_VERW	    2

/* speculation.c: learns what this processor needs; what each CPU turns on, or says why it can't; a new vCPU's part. */
void vmx_speculation_probe(const struct mitigation_wish *wish);
int vmx_speculation_enable(char *why, size_t size) MUST_CHECK;
void vmx_speculation_create(struct virt_vcpu *v); /* its VMCS is loaded */
/* The coming guest is of the space `number`. */
void vmx_speculation_switch(struct cpu *cpu, uint64_t number);

void vmx_requeue_vectoring(struct virt_vcpu *v); /* inject.c */
