/*
 * A virtual CPU as hv/ sees it: the processor's part (struct virt_vcpu), its local APIC, what others ask of it, and
 * what it did so far. A vCPU is a record, not a thread: whoever has it in RUNNING owns it, and only the owner touches
 * anything but `requests` and `state`.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdatomic.h>

#include "arch/x86/virt.h"
#include "hv/dev/vlapic.h"
#include "hv/lib/types.h"

struct vm;
struct pcpu;

/* What others ask of a vCPU; looked at before each entry. */
enum {
	REQUEST_EVENT = 1, /* an interrupt may have become deliverable */
	REQUEST_NMI = 2,
	REQUEST_INIT = 4,
	REQUEST_STARTUP = 8, /* vector in startup_vector */
	REQUEST_STOP = 16,   /* the VM ends or restarts: leave and don't come back */
};

enum vcpu_state {
	VCPU_OFF,      /* waits for a SIPI */
	VCPU_BLOCKED,  /* in HLT */
	VCPU_RUNNABLE, /* in its CPU's queue */
	VCPU_RUNNING,  /* owned by its CPU */
	VCPU_GONE,     /* its VM has ended; nothing wakes it */
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
struct exit_record {
	uint32_t reason;
	uint64_t tsc;
};

struct vcpu {
	struct virt_vcpu virt;	     /* the processor's part */
	_Atomic uint32_t requests;   /* REQUEST_* */
	_Atomic uint32_t state;	     /* enum vcpu_state */
	_Atomic bool started;	     /* not waiting for a SIPI */
	bool halted;		     /* owner: in HLT until an event is deliverable */
	_Atomic bool halted_forever; /* in HLT with interrupts off: only an NMI or INIT wakes it */
	bool nmi_pending;
	uint8_t apic_mode; /* enum virt_apic_mode in use */
	_Atomic uint8_t startup_vector;
	unsigned index;
	struct vm *vm;
	struct pcpu *home;		/* the CPU it is placed on */
	uint64_t slice_end, slice_left; /* end of its turn while it runs; what is left of it while it does not */
	struct vcpu *queue_next;	/* run queue of home */

	struct vlapic lapic;
	hpa_t lapic_page;
	uint32_t cpuid_signature;						       /* what RESET leaves in EDX */
	uint64_t misc_enable, tsc_adjust, mtrr_def_type, mtrr_fixed[11], mtrr_var[16]; /* MSRs that are only kept */

	uint64_t first_entry; /* clock_now() at the first one; 0: none yet */
	unsigned history_next;
	struct exit_record history[VCPU_HISTORY];
	struct exit_stat stat[EXIT_REASONS];
};

/* Asks something of a vCPU, wakes it when it is blocked and notifies its CPU when it runs. Callable from any CPU. */
void vcpu_request(struct vcpu *v, uint32_t requests);

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
/* After virt_put: leaves the CPU in `state`, or for good when its VM has ended. Owner only. */
void vcpu_leave(struct vcpu *v, enum vcpu_state state);
/* What the local APICs of a VM tell each other: struct apic_bus.signal, ctx is the VM. Any CPU. */
void vcpu_signal(void *vm, unsigned index, enum apic_signal what, uint8_t vector);
