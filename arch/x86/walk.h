/*
 * A guest's own paging: from a linear address to a guest-physical one, as the processor would walk (SDM Vol. 3A chapter
 * 4). Used to fetch the code bytes of an exit and the operands of string instructions. Pure; memory comes by callback.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

/* The guest's registers on which translation depends. */
struct walk_mode {
	uint64_t cr0, cr3, cr4, efer;
	bool alignment_check; /* RFLAGS.AC: with SMAP, supervisor may touch user pages while it is set */
	uint32_t pkru;	      /* used when CR4.PKE is set */
	uint8_t phys_bits;    /* MAXPHYADDR that the guest's CPUID says; entry bits at and above it are reserved */
	/* PAE: the four PDPTEs as the processor holds them (in the VMCS), loaded at the last MOV to CR3; not from
	 * memory. */
	uint64_t pdpte[4];
};

enum { WALK_READ = 0, WALK_WRITE = 1, WALK_EXEC = 2, WALK_USER = 4 }; /* the access, or-ed */

/* Reads guest-physical memory; 0 or negative. */
typedef int (*walk_read_t)(void *ctx, gpa_t from, void *to, size_t size);

/* Page-fault error code (SDM Vol. 3A 4.7). */
#define WALK_PF_P    BIT(0)
#define WALK_PF_W    BIT(1)
#define WALK_PF_U    BIT(2)
#define WALK_PF_RSVD BIT(3)
#define WALK_PF_I    BIT(4)
#define WALK_PF_PK   BIT(5)

struct walk_result {
	gpa_t gpa;	/* of the address itself, not of its page */
	uint64_t size;	/* bytes of the page: 4 KiB, 2 MiB, 4 MiB, 1 GiB; without paging 4 GiB */
	uint32_t error; /* -E_FAULT: the error code for #PF; CR2 is the linear address */
};

/*
 * 0; -E_FAULT when the access would fault with #PF; -E_INVAL for an address that is not canonical (#GP or #SS, not
 * #PF); otherwise what `read` answered: a table lies outside of guest memory. Sets no accessed or dirty bits: the
 * caller acts after the processor has done that, or will run the instruction again, and a hypervisor that writes to
 * guest tables would race with the guest's other vCPUs for no gain.
 */
int walk_guest(const struct walk_mode *mode, gva_t address, unsigned access, walk_read_t read, void *ctx,
	       struct walk_result *result) MUST_CHECK;
