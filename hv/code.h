/*
 * The instruction at which a guest stopped, fetched through its page tables and decoded. An exit that needs it comes
 * mostly from the same place again (a driver's one store to a doorbell or to the IOAPIC), so a vCPU remembers the last
 * one with all that it came from: the address, the registers that steer paging, the entries of the page tables on the
 * way, the bytes. It is used again only while each of these is the same. Owner only, vCPU loaded.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "arch/x86/walk.h"
#include "hv/decode.h"

struct vcpu;

#define CODE_LEVELS 5  /* page-table entries on the way */
#define CODE_BYTES  16 /* that are compared: the longest instruction and one more, two words */

/* An entry of the page tables on the way. */
struct code_level {
	const uint64_t *at; /* as guest_map: gone when memory is, hence code_forget() */
	uint64_t value;
};

struct code {
	struct insn insn;
	/*
	 * The rest can be compared. It can't where the bytes go on in another page, or where there are PAE's PDPTEs,
	 * which the processor keeps, or entries of four bytes on the way.
	 */
	bool known;
	uint64_t rip;
	struct segment cs;
	struct walk_mode mode;
	unsigned levels;
	struct code_level level[CODE_LEVELS];
	const uint8_t *there;		/* where the bytes are */
	uint64_t word[CODE_BYTES / 8];	/* what they were */
	uint8_t bytes[INSN_MAX_LENGTH]; /* the same, for decoding and a report: zeros behind `readable` */
	size_t readable;
};

/*
 * v->code.insn is the instruction, or the answer is negative, as insn_decode()'s, and v->code.bytes are what was found
 * there. What the processor has checked, since it fetched it, is not checked again where the way is remembered.
 */
int code_fetch(struct vcpu *v) MUST_CHECK;
/* What is remembered may lead to memory that is no longer the guest's. */
static inline void code_forget(struct code *c)
{
	c->known = false;
}
