/*
 * A VM's RAM, by offset: chunks of 2 MiB that are promised when the VM is made and taken when they are first touched,
 * by the guest (EPT violation) or by the hypervisor (guest_mem.h). The first chunk, of which small guests use little,
 * is filled in pieces of 64 KiB. A VM pays for what it touches only. Pure, given hv/phys.h.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdatomic.h>

#include "hv/lib/spinlock.h"
#include "hv/lib/types.h"

#define GUEST_RAM_MAX_GIB 512
#define GUEST_RAM_PIECE	  (64 * KIB) /* what is filled at a time of the first chunk */

/* Shows the guest [offset, offset + size), which is zero and lies at hpa; called under the lock. Negative: it can't. */
typedef int guest_ram_show(void *ctx, uint64_t offset, uint64_t size, hpa_t hpa);

struct guest_ram {
	struct spinlock lock; /* one fills, and `show` changes page tables, at a time; what is there is found without */
	guest_ram_show *show;
	void *ctx;
	uint64_t chunks;			    /* promised or taken */
	uint64_t touched;			    /* of them taken */
	uint64_t zero_ticks;			    /* spent zeroing since the last start */
	hpa_t first;				    /* the first chunk, there from creation on */
	uint64_t first_zeroed;			    /* bytes from its start that are zero though nobody filled them */
	_Atomic uint32_t first_filled;		    /* its pieces, one bit each */
	_Atomic(uint64_t) *leaf[GUEST_RAM_MAX_GIB]; /* a page for each GiB: where its chunks are; 0: not there */
};

/* Bytes of the machine's memory that a VM with `size` bytes of RAM needs for it. */
static inline uint64_t guest_ram_cost(uint64_t size)
{
	return ALIGN_UP(size, 2 * MIB);
}

/* `size`: a multiple of 4 KiB, at most GUEST_RAM_MAX_GIB. -E_NOMEM: nothing is kept. */
int guest_ram_create(struct guest_ram *ram, uint64_t size, guest_ram_show *show, void *ctx) MUST_CHECK;
/* No vCPU runs. Also for one that was zeroed only, or whose creation failed. */
void guest_ram_destroy(struct guest_ram *ram);
/* All of it reads as zero again, and is not there until it is touched. No vCPU runs, and the guest sees none of it. */
void guest_ram_reset(struct guest_ram *ram);

/*
 * The host's view of `offset`, filled if it was not there; *left: bytes from there on that are there, too. NULL: the
 * guest's page tables found no memory. Any CPU; takes the lock when it has to fill.
 */
uint8_t *guest_ram_reach(struct guest_ram *ram, uint64_t offset, uint64_t *left);
