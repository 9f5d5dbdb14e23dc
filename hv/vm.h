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
#include "hv/guest_ram.h"
#include "hv/lib/spinlock.h"
#include "hv/pc.h"
#include "hv/vcpu.h"
#include "hv/work.h"

#define VM_MAX_DEVICES 16 /* of virtio: more than the configuration of a VM can ask for */

struct disk;
struct vm_device;
struct balloon_device;
struct vm_share;

enum vm_end {
	VM_RUNS,
	VM_POWERED_OFF, /* S5 */
	VM_RESTARTS,	/* reset register or i8042 */
	VM_DEBUG_EXIT,	/* port 0xF4 */
	VM_HALTED,	/* every vCPU in HLT with interrupts off: nothing can wake it */
	VM_KILLED,	/* the guest broke the rules */
	VM_DESTROYED,	/* by who owns the machine */
};

struct vm {
	const struct vm_config *config;
	struct spinlock lock;	  /* protects the PC's devices, their buses and the VM's timers; vlapics need none */
	_Atomic uint32_t end;	  /* enum vm_end; changes from VM_RUNS once, after that only to VM_DESTROYED */
	_Atomic bool paused;	  /* its vCPUs stay out, after a reset as well; its devices and its time go on */
	_Atomic uint32_t running; /* vCPUs that have not left yet */
	_Atomic uint32_t wakes;	  /* times that a blocked vCPU was asked for something: vm_check_halted() */
	uint32_t end_code;	  /* what port 0xF4 was told */
	uint16_t trace_id;	  /* trace_name_vm() */

	struct virt_space *space;
	struct guest_mem mem;
	struct guest_ram ram;		 /* guest-physical 0 up, RAM above the device hole behind it */
	hpa_t apic_access;		 /* the page at which the processor virtualises the local APIC */
	hpa_t ioapic_page;		 /* what the guest reads of the IOAPIC: hv/dev/vioapic.h */
	uint64_t cr4_bits, xcr0_mask;	 /* what the guest may set */
	uint64_t powered_up;		 /* clock_now() then, or at its last reset: its time begins */
	struct timer ask_again;		 /* whether its devices have come to an end */
	struct timer restart;		 /* the pause before a restart */
	uint64_t restart_pause;		 /* ticks; the last one's, 0 before the first restart */
	uint64_t begun;			 /* when its creation or restart began */
	uint64_t made;			 /* when its creation began, and */
	int64_t unix_seconds;		 /* the time of day then */
	uint64_t start_ticks;		 /* what the last start took: memory, images, reset states */
	uint64_t zero_ticks, copy_ticks; /* of them zeroing memory, and loading images into it */
	struct apic_bus apic_bus;
	struct pc pc;
	unsigned device_count;
	struct vm_device *device[VM_MAX_DEVICES]; /* virtio, beside the PC: hv/vm_io.h */
	struct balloon_device *balloon;		  /* one of them: hv/vm_balloon.h; NULL: it has none */
	struct vm_share *share;			  /* with its peers: hv/vm_share.h; NULL: it has none */
	struct vm_console *console;		  /* outlives the VM */
	void (*ended)(struct vm *vm);		  /* all vCPUs have left for good: destroy it. Boot CPU */
	struct cpuid_table cpuid;
	struct work finish; /* the end of the VM, on the boot CPU */
	struct sched_group sched;
	_Atomic uint32_t yield_turn; /* the vCPU that sched_yield_from helped last */
	unsigned vcpu_count;
	struct vcpu *vcpu[CONFIG_MAX_VCPUS];
};

/*
 * Creates the VM: memory, page tables, devices, vCPUs, images loaded. NULL with `why` filled (nothing is left behind).
 * `config`, `console` and the disks, one for each that `config` has, must outlive it; `ended` is called once after
 * vm_start, and calls vm_destroy. Boot CPU only.
 */
struct vm *vm_create(const struct vm_config *config, struct vm_console *console, struct disk *const *disks,
		     void (*ended)(struct vm *vm), char *why, size_t size);
void vm_start(struct vm *vm);
/* Gives everything back. No vCPU of it may be running. Holding no lock. */
void vm_destroy(struct vm *vm);

static inline bool vm_runs(const struct vm *vm)
{
	return atomic_load(&vm->end) == VM_RUNS;
}
static inline bool vm_is_paused(const struct vm *vm)
{
	return atomic_load(&vm->paused) && vm_runs(vm);
}
/* Its vCPUs shall not enter: it has ended, restarts or is paused. */
static inline bool vm_is_away(const struct vm *vm)
{
	return atomic_load(&vm->paused) || !vm_runs(vm);
}

/*
 * What its owner asks of a VM, while it runs; the boot CPU calls. Pause: its vCPUs stop at their next exit. Its time
 * goes on: a timer that runs out meanwhile goes off when it resumes, and its clocks are right. Shutdown: the ACPI power
 * button is pressed, what follows is up to the guest.
 */
void vm_pause(struct vm *vm);
void vm_resume(struct vm *vm);
void vm_shutdown(struct vm *vm);

/* Ends the VM: the first caller's reason counts, but for VM_DESTROYED, which always does. Callable by any vCPU of it
 * and from device handlers. */
void vm_finish(struct vm *vm, enum vm_end end, uint32_t code);
/* The first of the three verbs: the guest broke the rules. Prints the report. Answers OUTCOME_KILL. Owner of v only. */
enum outcome vm_kill(struct vcpu *v, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* A vCPU has left for good. */
void vm_vcpu_left(struct vm *vm);
/* The time of day, in nanoseconds since 1970-01-01. */
uint64_t vm_unix_ns(const struct vm *vm);
/* The vCPU is about to be entered for the first time since the VM (re)started: for the boot figures. */
void vm_first_entry(struct vcpu *v);
/* A vCPU is in HLT with interrupts off: if that goes for all, nothing in the VM can move any more. */
void vm_check_halted(struct vm *vm);
/*
 * From here on, until it lets go (hv/pcpu.h), this CPU may use what a device or a chip of the VM remembers of its
 * memory. A vCPU of the VM has it open anyway; who works for it beside that, calls this first. Any CPU.
 */
static inline void vm_open_memory(struct vm *vm)
{
	window_enter(&vm->ram.window);
}
/*
 * After memory was taken away from the VM: asks its vCPUs to forget what they know of it; and have all of them, since
 * the space had this generation (virt_space_generation)? Any CPU.
 */
static inline void vm_renew(struct vm *vm)
{
	for (unsigned i = 0; i < vm->vcpu_count; i++)
		vcpu_renew(vm->vcpu[i]);
}
static inline bool vm_has_renewed(const struct vm *vm, uint64_t generation)
{
	for (unsigned i = 0; i < vm->vcpu_count; i++)
		if (!vcpu_has_renewed(vm->vcpu[i], generation))
			return false;
	return true;
}
/* A write that an EPT violation stopped: if it went to the VGA text memory, that is now writable and watched. */
void vm_vga_touched(struct vm *vm, uint64_t gpa);
