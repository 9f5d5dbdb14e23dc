/*
 * Windows: where guests' memory lies in a CPU's address space, while that CPU has to do with it and no longer. Each VM
 * has one, 512 GiB of addresses of its own, so that a pointer into one VM's memory never reads another's, and faults
 * when it is used while the window is closed. Its page tables are its owner's (hv/guest_ram.c); a CPU opens it by one
 * entry in its own PML4. Called by hv/guest_ram.c, hv/vm.h, hv/vcpu.c, hv/pcpu.c and hv/run.c. SDM Vol. 3A 4.10 (what
 * the TLB may keep).
 *
 * A CPU keeps one window open, that of the vCPU that it ran last: its home. Others, which it opens for a device's work
 * or a loader, it closes when it is done. On the development host a window is the memory itself, always there; what is
 * open is counted all the same.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdatomic.h>

#include "arch/x86/cpu.h"
#include "arch/x86/memory.h"

struct window {
	uint64_t entry;		/* of the PML4: the owner's PDPT; 0: there is no window */
	_Atomic uint64_t stamp; /* another, larger one whenever what it showed is gone: window_lost() */
	unsigned slot;
	uint8_t *base; /* where it is */
};

/* `pdpt` is the owner's, as are all tables below. Closed everywhere. -E_EXIST: there are WINDOWS already. Boot CPU. */
int window_create(struct window *w, hpa_t pdpt) MUST_CHECK;
/* It is open nowhere, and stays so. Boot CPU. */
void window_destroy(struct window *w);

/* Where byte `offset` of the window is, which lies at `hpa`. */
static inline uint8_t *window_at(const struct window *w, uint64_t offset, hpa_t hpa)
{
#ifdef VIREO_HOST
	(void)w;
	(void)offset;
	return phys_to_virt(hpa);
#else
	(void)hpa;
	return w->base + offset;
#endif
}

/*
 * This CPU may use pointers into the window until it closes the others (window_close_others) or makes another its home,
 * and no old translation is in the way: what it has read in the tables before the call is what it finds there.
 */
void window_open(struct window *w);
static inline void window_enter(struct window *w)
{
	uint64_t seen = atomic_load_explicit(&this_cpu()->windows.seen[w->slot], memory_order_relaxed);

	if (seen != atomic_load_explicit(&w->stamp, memory_order_acquire))
		window_open(w);
}

/* The same, and it stays open: a vCPU of its VM comes to this CPU. All others are closed. */
void window_move(struct window *w);
static inline void window_make_home(struct window *w)
{
	if (this_cpu()->windows.home != w)
		window_move(w);
}

/* This CPU closes all but its home: it holds no pointer to them. */
void window_close_foreign(void);
static inline void window_close_others(void)
{
	if (this_cpu()->windows.foreign)
		window_close_foreign();
}
/* This CPU closes all, but for its home where `stays` says so, and forgets all translations. */
void window_close_all(bool stays);

/*
 * Something that the tables showed they show no more, or a table is out of use. Under the lock under which the owner
 * changes them, after the change, and before anything else is shown in its place.
 */
void window_lost(struct window *w);
/* Has the CPU forgotten what was there before the last loss? Then what was lost can be freed, tables included. */
bool window_is_forgotten(const struct window *w, const struct cpu *cpu);
/* Can the CPU walk the window's tables? If not, it won't before it opens it again. */
bool window_is_open(const struct window *w, const struct cpu *cpu);

/*
 * This CPU's place, which all CPUs see (paging.c), for any whole chunk of 2 MiB of RAM, for as long as it takes to copy
 * or zero something there: one chunk at a time, closed before anything else is done. `hpa` lies in it, and the answer
 * is where.
 */
#ifdef VIREO_HOST
static inline void *window_open_chunk(hpa_t hpa)
{
	return phys_to_virt(hpa);
}
static inline void window_close_chunk(void) {}
#else
void *window_open_chunk(hpa_t hpa);
void window_close_chunk(void);
#endif
