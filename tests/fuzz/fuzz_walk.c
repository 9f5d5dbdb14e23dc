/* The walker on any tables in any mode: it ends, and what it answers lies in the page and below the physical limit. */
/* SPDX-License-Identifier: MIT */
/* links: arch/x86/walk.c */
#include <string.h>

#include "arch/x86/walk.h"
#include "tests/fuzz/fuzz.h"

struct input {
	struct walk_mode mode;
	uint64_t address;
	uint8_t access;
};

struct memory {
	const uint8_t *data;
	size_t size;
	unsigned reads;
};

/* Tables repeat through the whole of physical memory, so that most walks get somewhere. */
static int read_table(void *ctx, gpa_t from, void *to, size_t size)
{
	struct memory *m = ctx;

	REQUIRE(++m->reads <= 5);
	REQUIRE((size == 4 || size == 8) && from.value % size == 0);
	if (m->size < size)
		return -E_RANGE;
	memcpy(to, m->data + from.value % (m->size - size + 1), size);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct walk_result result;
	struct memory m = {0};
	struct input in;
	int err;

	if (size < sizeof(in))
		return 0;
	memset(&in, 0, sizeof(in));
	memcpy(&in.mode.cr0, data, offsetof(struct walk_mode, alignment_check));
	in.mode.alignment_check = data[33] & 1;
	memcpy(&in.mode.pkru, data + offsetof(struct walk_mode, pkru), sizeof(in.mode.pkru));
	in.mode.phys_bits = (uint8_t)(32 + data[34] % 21);
	memcpy(in.mode.pdpte, data + offsetof(struct walk_mode, pdpte), sizeof(in.mode.pdpte));
	memcpy(&in.address, data + offsetof(struct input, address), sizeof(in.address));
	in.access = data[offsetof(struct input, access)] & 7;
	m.data = data + sizeof(in);
	m.size = size - sizeof(in);
	err = walk_guest(&in.mode, GVA(in.address), in.access, read_table, &m, &result);
	if (err == 0) {
		REQUIRE(((result.gpa.value ^ in.address) & (result.size - 1) & 0xffffffff) == 0);
		REQUIRE(result.gpa.value >> 52 == 0);
	}
	if (err == -E_FAULT && result.error & WALK_PF_RSVD)
		REQUIRE(result.error & WALK_PF_P);
	return 0;
}
