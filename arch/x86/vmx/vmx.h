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
};
extern struct vmx_machine vmx;

struct virt_space {
	struct ept ept;
	hpa_t spare; /* zeroed pages set aside for tables, linked by their first word; frame 0: none */
	hpa_t lost;  /* tables that were given back, and that processors may still walk. Linked likewise */
	_Atomic uint64_t generation; /* never that of another space, and another after translations were lost */
};

/* CR0 bits of a guest that hardware would change for the host too, or that VMX fixes: ours, shown by the read shadow.
 */
#define VMX_CR0_OWNED (CR0_PE | CR0_NE | CR0_NW | CR0_CD | CR0_PG | ~0xffffffffULL)

void vmx_exit(void); /* entry.asm: HOST_RIP, never called */

void vmx_requeue_vectoring(struct virt_vcpu *v); /* inject.c */
