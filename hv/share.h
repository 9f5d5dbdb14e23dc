/*
 * Who may ring whom, and whose memory is seen where: the bookkeeping behind hv/vm_share.c, which owns the lock that all
 * of this is under and changes page tables as it says. Pure. The rules of the calls are hv/abi.h's.
 *
 * A grant has one mapping at most. From the moment that either side gives it up until no processor can hold a
 * translation of it, the mapping still `reaches` the grant, and the grant's slot and memory stay taken.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/abi.h"
#include "hv/lib/types.h"

struct vm;
struct share_party;

struct share_grant {
	struct share_party *to; /* NULL: the slot is free */
	hpa_t hpa;		/* contiguous */
	uint32_t pages;
	bool writable;
	bool revoked;		  /* free as soon as nothing reaches it */
	struct share_mapping *at; /* what reaches it; NULL: nothing */
};

enum share_state {
	SHARE_FREE,
	SHARE_MAPPED,
	SHARE_CUT,  /* its grant was revoked: a page of the VM's own is there instead */
	SHARE_GONE, /* nothing is there any more, but translations may be left */
};

struct share_mapping {
	enum share_state state;
	uint32_t pages;
	uint64_t gpa;
	bool writable;
	struct share_grant *reaches; /* NULL: none any more */
	uint64_t due;		     /* what the VM's vCPUs must have flushed for: virt_space_generation() */
};

struct share_party {
	struct share_party *next;
	struct vm *vm;
	const char *name;
	unsigned peers;
	const char (*peer)[VIREO_NAME_MAX];
	struct share_party *with[VIREO_PEERS]; /* NULL: not there, or does not name this one */
	uint8_t back[VIREO_PEERS];	       /* this one's number in with[i]'s list */
	uint32_t rung;			       /* bit n: peer n has */
	uint8_t vector;			       /* 0: nobody listens */
	unsigned listener;		       /* the vCPU */
	struct share_grant grant[VIREO_GRANTS];
	struct share_mapping map[VIREO_GRANTS];
};

/* Those who name each other meet. The party's names and vm are filled in, all else is zero. */
void share_join(struct share_party **parties, struct share_party *p);
/* Nothing reaches its grants any more and it has no mappings. Also for one that has not joined. */
void share_leave(struct share_party **parties, struct share_party *p);

/* True: the peer's listener is to be told. VIREO_ENOENT in *err where there is no such peer, else 0. */
bool share_ring(struct share_party *p, uint64_t peer, int *err);
uint32_t share_take(struct share_party *p);

/* Answers are 0 or hv/abi.h's errors. `hpa` is where the pages are. */
int share_grant(struct share_party *p, uint64_t peer, uint64_t slot, hpa_t hpa, uint64_t pages,
		bool writable) MUST_CHECK;
/* Puts down a mapping of a peer's grant, which shall begin at `gpa` of the window: *out. share_forget() undoes it. */
int share_map(struct share_party *p, uint64_t peer, uint64_t slot, uint64_t gpa, uint64_t pages, bool writable,
	      struct share_mapping **out) MUST_CHECK;
/*
 * The slot's grant shall go. 0: it has. VIREO_EAGAIN: *out reaches it; when that is MAPPED, the caller replaces what is
 * there, marks it CUT and notes when that is due.
 */
int share_revoke(struct share_party *p, uint64_t slot, struct share_mapping **out) MUST_CHECK;
/* The mapping that begins at `gpa` and is to go: the caller takes it away, marks it GONE and notes when that is due. */
int share_find(struct share_party *p, uint64_t gpa, struct share_mapping **out) MUST_CHECK;
/* No processor has a translation left of what the mapping once reached. */
void share_forget(struct share_mapping *m);
