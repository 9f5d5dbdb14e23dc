/*
 * A virtual CPU as hv/ sees it: the processor's part (struct virt_vcpu), its local APIC, what others ask of it, and
 * what it did so far. A vCPU is a record, not a thread: whoever has it in RUNNING owns it, and only the owner touches
 * anything but `requests` and `state`. Its owner changes: any CPU may pick it when it is RUNNABLE.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdatomic.h>

#include "arch/x86/virt.h"
#include "hv/code.h"
#include "hv/dev/vlapic.h"
#include "hv/lib/types.h"
#include "hv/pv.h"
#include "hv/sched/policy.h"

struct vm;
struct pcpu;

/* What others ask of a vCPU; looked at before each entry. */
enum {
	REQUEST_EVENT = 1, /* an interrupt may have become deliverable */
	REQUEST_NMI = 2,
	REQUEST_INIT = 4,
	REQUEST_STARTUP = 8,   /* vector in startup_vector */
	REQUEST_LEAVE = 16,    /* the VM ends, restarts or pauses: look at it */
	REQUEST_TIMER = 32,    /* the local APIC's timer may have run out */
	REQUEST_SNAPSHOT = 64, /* its registers into `snapshot` */
	REQUEST_RENEW = 128,   /* memory was taken away from its VM: forget old translations and pointers */
};

enum vcpu_state {
	VCPU_BLOCKED,  /* in HLT, or waits for a SIPI */
	VCPU_RUNNABLE, /* waits for a CPU */
	VCPU_RUNNING,  /* owned by a CPU */
	VCPU_PAUSED,   /* its VM is paused: what is asked of it waits */
	VCPU_GONE,     /* its VM has ended or has not begun; nothing wakes it */
};

/* What a handler answers to the run loop. */
enum outcome {
	OUTCOME_NEXT,  /* done: step over the instruction */
	OUTCOME_RETRY, /* run it again (or it is over already) */
	OUTCOME_BLOCK, /* step over it and wait for an event */
	OUTCOME_KILL,  /* the guest broke the rules; vm_kill has been told why */
};

struct exit_stat {
	uint64_t count;
	uint64_t ticks; /* from exit to the end of the handler, summed */
	uint64_t max;
};

#define VCPU_HISTORY 16

struct vcpu {
	struct virt_vcpu virt;	     /* the processor's part */
	_Atomic uint32_t requests;   /* REQUEST_* */
	_Atomic uint32_t state;	     /* enum vcpu_state */
	_Atomic bool started;	     /* not waiting for a SIPI */
	bool halted;		     /* owner: in HLT until an event is deliverable */
	_Atomic bool halted_forever; /* in HLT with interrupts off: only an NMI or INIT wakes it */
	bool nmi_pending;
	bool timer_direct; /* it sets the processor's own timer, lent to it while it is loaded: guest_timer.h */
	uint8_t apic_mode; /* enum virt_apic_mode in use */
	_Atomic uint8_t startup_vector;
	unsigned index;
	struct vm *vm;
	struct sched_entity sched; /* its place in the scheduler */

	struct pv_vcpu pv;
	struct vlapic lapic;
	hpa_t lapic_page;
	uint32_t cpuid_signature;						       /* what RESET leaves in EDX */
	uint64_t misc_enable, tsc_adjust, mtrr_def_type, mtrr_fixed[11], mtrr_var[16]; /* MSRs that are only kept */

	_Atomic bool snapshot_due; /* somebody waits for a new one */
	struct cpu_state snapshot; /* its registers when it was last asked for them */
	struct code code;	   /* the last instruction that had to be decoded */
	uint64_t ring_end;	   /* clock_now() until when doorbells are only noted: run.c */
	uint64_t first_entry;	   /* clock_now() at the first one; 0: none yet */
	uint64_t interrupts;	   /* of the 8259 that it took; lapic.received counts the others */
	unsigned history_next;
	struct exit history[VCPU_HISTORY];
	struct exit_stat stat[EXIT_REASONS];
};

/* The owner looks at everything again before the next entry: what an exit did may have made an event deliverable. */
static inline void vcpu_look_again(struct vcpu *v)
{
	atomic_fetch_or(&v->requests, REQUEST_EVENT);
}
/* Asks something of a vCPU, wakes it when it is blocked and notifies its CPU when it runs. Callable from any CPU. */
void vcpu_request(struct vcpu *v, uint32_t requests);

/* The processor looks at SVI, not at the page, for what is in service: software has changed that (SDM Vol. 3C 30.1.1).
 */
static inline void vcpu_renew_svi(const struct vcpu *v)
{
	int isr;

	if (v->apic_mode == VIRT_APIC_OFF)
		return;
	isr = vlapic_highest_isr(&v->lapic);
	virt_apic_set_svi((uint8_t)(isr < 0 ? 0 : isr));
}

/* Raises an exception in the guest; the answer is RETRY, or KILL when that made a triple fault. For handlers. */
enum outcome vcpu_raise(struct vcpu *v, unsigned vector, bool has_error, uint32_t error);
static inline enum outcome vcpu_raise_gp(struct vcpu *v)
{
	return vcpu_raise(v, VECTOR_GP, true, 0);
}
static inline enum outcome vcpu_raise_ud(struct vcpu *v)
{
	return vcpu_raise(v, VECTOR_UD, false, 0);
}

/* The local APIC changed mode (IA32_APIC_BASE was written): put the processor's virtualisation of it in step. */
void vcpu_apic_changed(struct vcpu *v);

/*
 * Deals with all requests and chooses the event of the next entry. Owner only, vCPU loaded. False: don't enter (it is
 * halted without an event, stopped or off).
 */
bool vcpu_prepare(struct vcpu *v);
/*
 * Makes the vCPU live on this CPU, wherever it was before, and takes it away again. `runnable`: its turn is over but it
 * wants to go on; otherwise it waits for an event, stays out while its VM is paused, or is gone for good. Owner only.
 */
void vcpu_load(struct vcpu *v, struct pcpu *p);
void vcpu_put(struct vcpu *v, struct pcpu *p, bool runnable);
/* Between an exit and the next entry another vCPU is loaded here for a moment. Owner only. */
void vcpu_make_room(struct vcpu *v);
void vcpu_come_back(struct vcpu *v);
/* Asks for the vCPU's registers, whatever it is doing; v->snapshot holds them when snapshot_due is false again. Any
 * CPU. */
void vcpu_snapshot(struct vcpu *v);
/*
 * After memory was taken away from its VM: a vCPU that runs forgets what it knows of it soon; one that doesn't, before
 * it does. Any CPU.
 */
void vcpu_renew(struct vcpu *v);
/* It did, since the space had this generation (virt_space_generation). Any CPU. */
bool vcpu_has_renewed(const struct vcpu *v, uint64_t generation);
/* After vm->paused was cleared or the VM ended: lets a paused vCPU go on. Any CPU. */
void vcpu_resume(struct vcpu *v);
/* What the local APICs of a VM tell each other: struct apic_bus.signal, ctx is the VM. Any CPU. */
void vcpu_signal(void *vm, unsigned index, enum apic_signal what, uint8_t vector);
