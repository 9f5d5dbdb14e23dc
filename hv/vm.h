/*
 * A virtual machine: owns its memory, its PC and its vCPUs; made and unmade symmetrically (hv/vm.c). It is started,
 * may restart itself, and ends once, for one of the reasons below.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdatomic.h>

#include "hv/config.h"
#include "hv/console.h"
#include "hv/cpuid.h"
#include "hv/guest_mem.h"
#include "hv/lib/spinlock.h"
#include "hv/pc.h"
#include "hv/vcpu.h"
#include "hv/work.h"

enum vm_end {
	VM_RUNS,
	VM_POWERED_OFF, /* S5 */
	VM_RESTARTS,	/* reset register or i8042 */
	VM_DEBUG_EXIT,	/* port 0xF4 */
	VM_HALTED,	/* every vCPU in HLT with interrupts off: nothing can wake it */
	VM_KILLED,	/* the guest broke the rules */
};

struct vm {
	const struct vm_config *config;
	struct spinlock lock;	  /* protects the PC's devices, their buses and the VM's timers; vlapics need none */
	_Atomic uint32_t end;	  /* enum vm_end; changes from VM_RUNS once */
	_Atomic uint32_t running; /* vCPUs that have not left yet */
	uint32_t end_code;	  /* what port 0xF4 was told */

	struct virt_space *space;
	struct guest_mem mem;
	hpa_t ram;			 /* one block: guest-physical 0 up, RAM above the device hole behind it */
	hpa_t apic_access;		 /* the page at which the processor virtualises the local APIC */
	uint64_t cr4_bits, xcr0_mask;	 /* what the guest may set */
	uint64_t tsc_offset;		 /* the guest's TSC starts at 0 */
	struct timer restart;		 /* the next slice of zeroing memory; none while the VM runs */
	uint64_t zeroed;		 /* bytes of memory cleared so far at this start */
	uint64_t zero_ticks, copy_ticks; /* spent zeroing guest memory and copying images at the last start */
	struct apic_bus apic_bus;
	struct pc pc;
	struct vm_console console;
	struct cpuid_table cpuid;
	struct work finish; /* the end of the VM, on the boot CPU */
	unsigned vcpu_count;
	struct vcpu *vcpu[CONFIG_MAX_VCPUS];
};

/*
 * Creates the VM: memory, page tables, devices, vCPUs, images loaded. NULL with `why` filled (nothing is left behind).
 * Boot CPU only.
 */
struct vm *vm_create(const struct vm_config *config, char *why, size_t size);
void vm_start(struct vm *vm);
/* Gives everything back. No vCPU of it may be running. */
void vm_destroy(struct vm *vm);

/* Ends the VM: the first caller's reason counts. Callable by any vCPU of it and from device handlers. */
void vm_finish(struct vm *vm, enum vm_end end, uint32_t code);
/* The first of the three verbs: the guest broke the rules. Prints the report. Answers OUTCOME_KILL. Owner of v only. */
enum outcome vm_kill(struct vcpu *v, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* A vCPU has left for good. */
void vm_vcpu_left(struct vm *vm);
/* The vCPU is about to be entered for the first time since the VM (re)started: for the boot figures. */
void vm_first_entry(struct vcpu *v);
/* A vCPU is in HLT with interrupts off: if that goes for all, nothing in the VM can move any more. */
void vm_check_halted(struct vm *vm);
/* A write to a read-only page: true when it was the VGA text memory, which is now writable and watched. */
bool vm_vga_touched(struct vm *vm, uint64_t gpa);
/* Number of VMs that have not ended. */
unsigned vm_alive(void);
