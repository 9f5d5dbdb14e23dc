/* The instruction at which a guest stopped; see code.h. SDM Vol. 3A 4.5 (page-table entries), 3.4.5 (CS.L, CS.D). */
/* SPDX-License-Identifier: MIT */
#include "hv/code.h"

#include "hv/guest_walk.h"
#include "hv/lib/string.h"
#include "hv/vm.h"

static uint64_t look(const uint64_t *at)
{
	return __atomic_load_n(at, __ATOMIC_RELAXED);
}

/* Of the words of the code; they lie within one page, at any place of it. */
static uint64_t word_at(const uint8_t *there, unsigned n)
{
	uint64_t word;

	memcpy(&word, there + 8 * n, sizeof(word));
	return word;
}

static bool is_unchanged(const struct code *c)
{
	for (const struct code_level *level = c->level, *end = level + c->levels; level < end; level++)
		if (look(level->at) != level->value)
			return false;
	return word_at(c->there, 0) == c->word[0] && word_at(c->there, 1) == c->word[1];
}

/*
 * All that the linear address, its translation and the decoding depend on. CR4 is not: whether it is PAE can't change
 * in long mode, nor is it remembered elsewhere, and LA57 no guest can set (hv/cpuid.c).
 */
static bool is_same_place(const struct code *c)
{
	return virt_rip() == c->rip && virt_cr3() == c->mode.cr3 && virt_cr0() == c->mode.cr0 &&
	       virt_efer() == c->mode.efer && virt_code_access() == c->cs.access && virt_code_base() == c->cs.base;
}

/* --- a new one ---------------------------------------------------------------------------------------------------- */

/* For walk_guest(): notes each entry in v->code. One of four bytes can't be. */
static int read_entry(void *ctx, gpa_t from, void *to, size_t size)
{
	struct vcpu *v = ctx;
	struct code *c = &v->code;
	const uint64_t *at = size == sizeof(*at) ? guest_map(&v->vm->mem, from, size) : NULL;
	uint64_t value;

	if (!at || c->levels == CODE_LEVELS)
		return -E_RANGE;
	value = look(at);
	c->level[c->levels].at = at;
	c->level[c->levels++].value = value;
	memcpy(to, &value, size);
	return 0;
}

/* The way to `address`, and the bytes there. False: there is none, or it can't be compared later; see code.h. */
static bool follow_way(struct vcpu *v, uint64_t address)
{
	struct code *c = &v->code;
	struct walk_result at;

	c->levels = 0;
	if (address % PAGE_SIZE > PAGE_SIZE - CODE_BYTES || ((c->mode.cr4 & CR4_PAE) && !(c->mode.efer & EFER_LMA)))
		return false;
	if (walk_guest(&c->mode, GVA(address), WALK_EXEC | (virt_cpl() == 3 ? WALK_USER : 0), read_entry, v, &at))
		return false;
	c->there = guest_map(&v->vm->mem, at.gpa, CODE_BYTES);
	if (!c->there)
		return false;
	c->word[0] = word_at(c->there, 0);
	c->word[1] = word_at(c->there, 1);
	return true;
}

static NOINLINE int fetch(struct vcpu *v)
{
	struct code *c = &v->code;
	enum insn_mode mode;
	uint64_t address;
	int err;

	c->rip = virt_rip();
	c->cs = virt_segment(SEG_CS);
	guest_walk_mode(v, &c->mode);
	mode = insn_mode_of(&c->cs, c->mode.efer & EFER_LMA);
	address = mode == INSN_MODE_64 ? c->rip : (uint32_t)(c->cs.base + c->rip);
	c->known = follow_way(v, address);
	if (c->known) {
		memcpy(c->bytes, c->word, sizeof(c->bytes));
		c->readable = sizeof(c->bytes);
	} else {
		memset(c->bytes, 0, sizeof(c->bytes));
		c->readable = guest_fetch(v, GVA(address), c->bytes, sizeof(c->bytes));
	}
	err = insn_decode(&c->insn, mode, c->bytes, c->readable);
	c->known = c->known && !err;
	return err;
}

int code_fetch(struct vcpu *v)
{
	const struct code *c = &v->code;

	return c->known && is_same_place(c) && is_unchanged(c) ? 0 : fetch(v);
}
