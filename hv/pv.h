/*
 * What a guest that knows Linux's KVM interface is offered beside the plain machine: a clock that is read without an
 * exit, the time that other guests took from it, one hypercall for many IPIs, waking and yielding for spinlocks, TLB
 * flushes that wait for the vCPU that is away anyway. The interface is described in Linux's Documentation/virt/kvm/x86
 * (cpuid, msr, hypercalls). Off for VMs with `kvm = off`.
 *
 * Owner of the vCPU only, unless it says otherwise. The structures are the guest's memory: they are written, and of
 * what the guest makes of them only the flag of the TLB flush and the bit of the EOI count.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

struct vcpu;
struct vm;
struct pv_steal;

struct pv_vcpu {
	uint64_t clock_msr, steal_msr;
	uint32_t clock_version;	    /* of what was published last: even, and never the same again */
	struct pv_steal *steal;	    /* where it says how long it waited; NULL: nobody asked */
	_Atomic uint64_t wait_from; /* clock_now() since when it has been waiting for a CPU; 0: it is not. Any CPU */
	uint64_t waited;	    /* ticks since somebody asked */
	_Atomic bool kicked;	    /* its next HLT ends at once. Any CPU */
	uint64_t eoi_msr;
	uint32_t *eoi;	  /* where it looks before it writes EOI: bit 0 says that it need not; NULL: nowhere */
	bool eoi_offered; /* bit 0 was set there, and nobody has looked since */
	uint64_t eois;	  /* that it has saved */
};

/* The bits of leaf 0x40000101 EAX. */
uint32_t pv_features(void);

/* As after power-up or INIT: nothing is shared any more. */
void pv_reset(struct vcpu *v);
/* -E_INVAL: there is no such register, or the value is not allowed (#GP); then what was shared is, and as it was. */
int pv_msr_read(struct vcpu *v, uint32_t msr, uint64_t *value) MUST_CHECK;
int pv_msr_write(struct vcpu *v, uint32_t msr, uint64_t value) MUST_CHECK;
/* The guest's TSC was moved: its clock is told. */
void pv_tsc_moved(struct vcpu *v);

/* Memory may have been taken away from the guest: finds again what is shared. */
void pv_look_again(struct vcpu *v);

/* It begins to wait for a CPU (called by who wakes it, or takes the CPU from it); gets one; loses it. */
void pv_waits(struct vcpu *v, uint64_t now);
void pv_runs(struct vcpu *v);
void pv_leaves(struct vcpu *v);

/*
 * End of interrupt without an exit, where the processor does not see to that (virt_apic_mode OFF). The offer: the
 * vector in service is over when bit 0 of the word is cleared, which the guest does in place of writing EOI. It is made
 * before an entry, when the EOI would have no other effect: the vector is an edge, and none waits for it. pv_take_eoi()
 * takes it back, and does the EOI if the guest did; call it before anything that looks at or changes the local APIC's
 * ISR.
 */
void pv_offer_eoi(struct vcpu *v);
void pv_take_eoi(struct vcpu *v);

/* The hypercall in its registers: number in RAX, arguments in RBX, RCX, RDX and RSI. What RAX answers. */
uint64_t pv_hypercall(struct vcpu *v);
