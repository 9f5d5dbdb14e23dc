/*
 * A VM's RAM, by offset: chunks of 2 MiB that are promised when the VM is made and taken when they are first touched,
 * by the guest (EPT violation) or by the hypervisor (guest_mem.h). The first chunk, of which small guests use little,
 * is filled in pieces of 64 KiB. A VM pays for what it touches only. Pure, given hv/phys.h.
 *
 * What the guest has no use for it gives back (its balloon, hv/vm_balloon.h). A chunk of which a page was given away is
 * split: it has a table of pages, each of which is promised, there, or away. An away page is nobody's promise any more;
 * the guest has to ask for it again, or touches it and gets one if one is free. The first chunk is never given back,
 * nor is one while a CPU fills it.
 *
 * The tables in which this is written down are those by which the processor finds the memory, in the VM's window
 * (arch/x86/window.h): there are no others, and nothing has to be kept in step.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdatomic.h>

#include "arch/x86/window.h"
#include "hv/lib/spinlock.h"
#include "hv/lib/types.h"

#define GUEST_RAM_MAX_GIB 512
#define GUEST_RAM_PIECE	  (64 * KIB) /* what is filled at a time of the first chunk */
#define GUEST_RAM_RANGES  128	     /* that are given back together */

/* What the guest sees; called under the lock. */
struct guest_ram_view {
	/* Shows the guest [offset, offset + size), which is zero, or was its own, and lies at hpa. Negative: can't. */
	int (*show)(void *ctx, uint64_t offset, uint64_t size, hpa_t hpa);
	/* Hides a page (negative: can't), or a whole chunk, whatever is shown of it (never fails). */
	int (*hide)(void *ctx, uint64_t offset, uint64_t size);
	/* What was hidden is reached by nobody any more. */
	void (*settle)(void *ctx);
};

struct guest_ram {
	struct spinlock lock; /* one fills, and `show` changes page tables, at a time; what is there is found without */
	const struct guest_ram_view *view;
	void *ctx;
	uint64_t size;		       /* bytes, whole chunks */
	uint64_t whole;		       /* chunks that are promised or taken as a whole */
	uint64_t touched;	       /* of them taken */
	uint64_t split;		       /* chunks that have a table of pages */
	uint64_t old_tables;	       /* list: of chunks that have none any more, until that is settled; 0: none */
	uint64_t spare_tables;	       /* list: used by nobody */
	uint64_t promised_tables;      /* frames that are promised for further ones */
	uint64_t surplus;	       /* tables in use or spare beyond those that were promised */
	uint64_t frames;	       /* pages that are there of split chunks */
	uint64_t away;		       /* pages that were given away */
	uint64_t zero_ticks;	       /* spent zeroing since the last start */
	hpa_t first;		       /* the first chunk, there from creation on */
	uint64_t first_zeroed;	       /* bytes from its start that are zero though nobody filled them */
	_Atomic uint32_t first_filled; /* its pieces, one bit each */
	_Atomic uint32_t shows;	       /* odd: the guest sees something that is not written down here yet */
	uint64_t *leaves;	       /* a page for each GiB, as a PDPT: what its chunks are (guest_ram.c) */
	struct window window;	       /* on which the hypervisor sees all this */
};

/* What is being given back: the guest sees it no more, but who looked it up before may still reach it. */
struct guest_ram_batch {
	unsigned count;
	struct {
		uint64_t offset, size;
	} range[GUEST_RAM_RANGES];
};

/* Bytes of the machine's memory that a VM with `size` bytes of RAM needs for it. */
static inline uint64_t guest_ram_cost(uint64_t size)
{
	return ALIGN_UP(size, 2 * MIB);
}

/*
 * `size`: a multiple of 4 KiB, at most GUEST_RAM_MAX_GIB. `gives`: pages of it may be given back, for which a table for
 * each chunk is promised. -E_NOMEM, or -E_EXIST: there are WINDOWS VMs. Nothing is kept then. `view` must outlive it.
 * Boot CPU.
 */
int guest_ram_create(struct guest_ram *ram, uint64_t size, bool gives, const struct guest_ram_view *view,
		     void *ctx) MUST_CHECK;
/*
 * No vCPU runs, and no CPU has the window open. Also for one that was zeroed only, or whose creation failed. Calls
 * nothing of the view. Boot CPU.
 */
void guest_ram_destroy(struct guest_ram *ram);
/*
 * All of it reads as zero again, and is not there until it is touched. What was away is promised again, but for chunks
 * that no memory is free for: those stay away. No vCPU runs, the guest sees none of it, and no CPU has the window open.
 */
void guest_ram_reset(struct guest_ram *ram);

/*
 * The host's view of `offset`, filled if it was not there. In one piece with it are *left bytes from there on, and
 * *before bytes in front of it. NULL: the guest's page tables found no memory, or the page is away and there is no
 * other. Any CPU; takes the lock when it has to fill, and opens the window. What it answers holds until the caller's
 * CPU lets go of everything (hv/pcpu.h); in the first chunk for ever, while the window is open.
 */
uint8_t *guest_ram_reach(struct guest_ram *ram, uint64_t offset, uint64_t *before, uint64_t *left);
/* The same of what is filled; NULL: nobody has written there yet. Takes no lock. */
uint8_t *guest_ram_look(struct guest_ram *ram, uint64_t offset, uint64_t *before, uint64_t *left);
/* Where it lies, if it is there: HPA_NONE otherwise. It may be elsewhere the next moment if the guest has a balloon. */
hpa_t guest_ram_find(struct guest_ram *ram, uint64_t offset);
/* A pointer into the first chunk, whether it is filled there or not: good while the window is open. */
uint8_t *guest_ram_first(const struct guest_ram *ram, uint64_t offset);

/*
 * The guest has no use for [offset, offset + size), multiples of 4 KiB: its pages are away. What is there of them goes
 * into the batch, which must have room for one range. Pages of the first chunk, of one that a CPU fills, those that
 * are away already, and those for whose tables there is no memory stay as they are: that can be where chunks were put
 * together and are split again before that has settled.
 */
void guest_ram_give(struct guest_ram *ram, uint64_t offset, uint64_t size, struct guest_ram_batch *batch);
/* The guest wants them again: away pages of the range are promised. -E_NOMEM: not all of them; ask again. */
int guest_ram_want(struct guest_ram *ram, uint64_t offset, uint64_t size) MUST_CHECK;
/*
 * The guest needs nothing of what the chunk at `offset` holds, but may touch it at any time: it is promised, and zero
 * when it is touched. A chunk that is split stays as it is. The batch must have room for one range.
 */
void guest_ram_discard(struct guest_ram *ram, uint64_t offset, struct guest_ram_batch *batch);
/*
 * What was put into the batch, or wanted, since the last of these calls is reached by nobody any more: the vCPUs have
 * renewed (virt_renew), the CPUs have let go, and have forgotten what the window showed (guest_ram_is_forgotten). Gives
 * it back, but for what the guest has touched again, and empties the batch. Also good after a reset in between. Once
 * may not be enough: guest_ram_is_settled() says whether anything is left, which takes the same wait again.
 */
void guest_ram_settle(struct guest_ram *ram, struct guest_ram_batch *batch);
bool guest_ram_is_settled(const struct guest_ram *ram, const struct guest_ram_batch *batch);
/* Does the CPU walk no table that the next settling frees? */
bool guest_ram_is_forgotten(const struct guest_ram *ram, const struct cpu *cpu);

/* Bytes that are taken, and that were given away. Any CPU, without the lock: a moment's view. */
uint64_t guest_ram_taken(const struct guest_ram *ram);
uint64_t guest_ram_away(const struct guest_ram *ram);
