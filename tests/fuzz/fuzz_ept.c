/*
 * The EPT builder against a model: the list of what succeeded, asked backwards. Operations, addresses and the
 * allocation that fails come from the input; after each, the places where anything could change are looked up in both.
 */
/* SPDX-License-Identifier: MIT */
/* links: arch/x86/vmx/ept.c arch/x86/mtrr.c */
#include <string.h>

#include "arch/x86/vmx/caps.h"
#include "arch/x86/vmx/ept.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"
#include "tests/unit/ept_lookup.h"

#define MAX_OPS 24
enum { MAP, UNMAP, CLEAR, PROTECT, REDIRECT, ALLOW, KINDS };

struct op {
	uint8_t kind, rights;
	uint64_t gpa, hpa, size;
};

static unsigned live, frames;
static struct ept ept;
static struct mtrr_state mtrr;
static struct op done[MAX_OPS];
static unsigned done_count;
static uint64_t edge[2 * MAX_OPS];
static unsigned edges;

static hpa_t take(void *ctx)
{
	void *page;

	(void)ctx;
	if (!frames)
		return HPA_NONE;
	frames--;
	live++;
	page = aligned_alloc(4096, 4096);
	memset(page, 0, 4096);
	return HPA((uint64_t)page);
}

static void give(void *ctx, hpa_t page)
{
	(void)ctx;
	live--;
	free((void *)page.value);
}

/* Near the boundaries of 4 KiB, 2 MiB, 1 GiB and 512 GiB. */
static uint64_t address(void)
{
	uint8_t b = (uint8_t)next(1);

	return (511 + (b & 1)) * GIB + (b >> 1 & 1) * 256 * 2 * MIB + (b >> 2 & 1) * 255 * 2 * MIB +
	       (b >> 3 & 3) * 2 * MIB + (b >> 5 & 1) * 511 * 4096 + (b >> 6) * 4096;
}

static bool model(uint64_t gpa, uint64_t *hpa, unsigned *rights)
{
	*rights = 0;
	for (unsigned i = done_count; i-- > 0;) {
		const struct op *o = &done[i];

		if (gpa < o->gpa || gpa - o->gpa >= o->size)
			continue;
		if (o->kind == UNMAP || o->kind == CLEAR || !o->rights)
			return false;
		if (!*rights)
			*rights = o->rights;
		*hpa = o->kind == REDIRECT ? o->hpa + gpa % PAGE_SIZE : o->hpa + (gpa - o->gpa);
		if (o->kind != PROTECT)
			return true;
	}
	return false;
}

static void compare_at(uint64_t gpa)
{
	uint64_t hpa = 0, end;
	unsigned rights;
	struct ept_leaf leaf;
	uint8_t type;
	bool mapped = gpa < ept.gpa_limit && model(gpa, &hpa, &rights);

	REQUIRE(mapped == !ept_lookup(&ept, GPA(gpa), &leaf));
	if (!mapped)
		return;
	if (ept.code_in_pages && leaf.size > 4096)
		rights &= ~(unsigned)EPT_EXEC;
	REQUIRE(leaf.hpa.value + (gpa - leaf.gpa.value) == hpa && leaf.rights == rights);
	REQUIRE(leaf.hpa.value % leaf.size == 0 && leaf.gpa.value % leaf.size == 0);
	end = mtrr_uniform_size(&mtrr, leaf.hpa, leaf.size, &type);
	REQUIRE(end == leaf.size && type == leaf.type && leaf.ignores_pat);
	REQUIRE(leaf.size == 4096 || (leaf.size == 2 * MIB && ept.caps & VMX_EPT_2M) ||
		(leaf.size == GIB && ept.caps & VMX_EPT_1G));
}

static void compare(void)
{
	for (unsigned i = 0; i < edges; i++) {
		compare_at(edge[i]);
		compare_at(edge[i] - 4096);
	}
}

/* What it changes is the size of leaves alone. */
static void allow_code(void)
{
	uint64_t gpa = address(), hpa;
	struct ept_leaf leaf;
	unsigned rights;
	int err;

	frames = next(1) & 64 ? next(1) % 3 : 100000;
	err = ept_allow_code(&ept, GPA(gpa));
	REQUIRE(!err || (err == -E_NOMEM && ept.code_in_pages));
	if (!err && model(gpa, &hpa, &rights) && rights & EPT_EXEC)
		REQUIRE(!ept_lookup(&ept, GPA(gpa), &leaf) && leaf.rights == rights);
	compare_at(gpa);
	compare();
}

/* Is any part, or every part, of the range mapped? What is mapped changes at edges only. */
static void ask(uint64_t gpa, uint64_t size, bool *any, bool *all)
{
	uint64_t hpa;
	unsigned rights;

	*any = *all = model(gpa, &hpa, &rights);
	for (unsigned i = 0; i < edges; i++) {
		if (edge[i] <= gpa || edge[i] - gpa >= size)
			continue;
		if (model(edge[i], &hpa, &rights))
			*any = true;
		else
			*all = false;
	}
}

/* Only where all is mapped in pages, which the model does not know. */
static bool is_in_pages(const struct op *o)
{
	struct ept_leaf leaf;

	for (uint64_t at = 0; at < o->size; at += PAGE_SIZE)
		if (ept_lookup(&ept, GPA(o->gpa + at), &leaf) || leaf.size > PAGE_SIZE)
			return false;
	return true;
}

static int carry_out(const struct op *o)
{
	switch (o->kind) {
	case MAP:
		return ept_map(&ept, GPA(o->gpa), HPA(o->hpa), o->size, o->rights, &mtrr);
	case UNMAP:
		return ept_unmap(&ept, GPA(o->gpa), o->size);
	case CLEAR:
		return ept_clear(&ept, GPA(o->gpa), o->size);
	case PROTECT:
		return ept_protect(&ept, GPA(o->gpa), o->size, o->rights);
	default:
		return ept_redirect(&ept, GPA(o->gpa), o->size, HPA(o->hpa), o->rights, &mtrr);
	}
}

/* What it may and must say. */
static void check_result(const struct op *o, int err, unsigned live_before, bool any, bool all)
{
	REQUIRE((err == -E_INVAL) == !o->size);
	if (!o->size)
		return;
	REQUIRE((err == -E_EXIST) == (o->kind == MAP && any));
	if (o->kind != REDIRECT)
		REQUIRE((err == -E_NOENT) == (o->kind == PROTECT && !all));
	REQUIRE(o->kind == UNMAP || live >= live_before); /* what it has made it keeps */
	REQUIRE(o->kind != REDIRECT || (err != -E_NOMEM && live == live_before));
	REQUIRE(err != -E_RANGE);
}

static void step(void)
{
	uint8_t kind = (uint8_t)next(1) % KINDS, b = (uint8_t)next(1);
	uint64_t a = address(), z = address();
	struct op o = {kind, b & 4 ? EPT_RWX : EPT_READ, a < z ? a : z, 0, a < z ? z - a : a - z};
	unsigned before = live;
	bool any = false, all = false, in_pages;
	int err;

	if (o.kind == ALLOW) {
		allow_code();
		return;
	}
	if (o.kind == REDIRECT && o.size > 4 * MIB)
		o.size = PAGE_SIZE; /* for speed */
	if (o.kind == REDIRECT && b & 32)
		o.rights = 0;
	/* An odd distance (of little memory, for speed), 2 MiB, or none. */
	o.hpa = o.gpa + (b & 16 && o.size < 16 * MIB ? 4096 : b & 8 ? 2 * MIB : 0);
	frames = b & 64 ? next(1) % 16 : 100000;
	ask(o.gpa, o.size, &any, &all);
	in_pages = o.kind != REDIRECT || is_in_pages(&o);
	err = carry_out(&o);
	check_result(&o, err, before, any, all);
	REQUIRE(in_pages || err == -E_NOENT);
	REQUIRE(!err || err == -E_INVAL || o.kind != REDIRECT || !in_pages);
	if (!err) {
		done[done_count++] = o;
		edge[edges++] = o.gpa;
		edge[edges++] = o.gpa + o.size;
	}
	compare();
}

static void choose_types(void)
{
	mtrr = (struct mtrr_state){.enabled = true, .default_type = MEMORY_WB, .count = next(1) % 3};
	for (unsigned i = 0; i < mtrr.count; i++) {
		uint64_t mask = ((1ULL << 46) - 1) & ~((4096ULL << next(1) % 24) - 1);

		mtrr.range[i] = (struct mtrr_range){address() & mask, mask, next(1) & 1 ? MEMORY_UC : MEMORY_WT};
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct ept_pages pages = {take, give, NULL};
	uint8_t how;

	input_begin(data, size);
	live = done_count = edges = 0;
	frames = 1;
	choose_types();
	how = next(1);
	REQUIRE(
	    !ept_init(&ept, &pages, VMX_EPT_WALK_4 | VMX_EPT_WB | VMX_EPT_2M | (how & 1 ? VMX_EPT_1G : 0), 46, false));
	ept.code_in_pages = how & 2;
	while (left && done_count < MAX_OPS)
		step();
	ept_destroy(&ept);
	REQUIRE(!live);
	return 0;
}
