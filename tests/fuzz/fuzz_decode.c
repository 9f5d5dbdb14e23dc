/* Any bytes in any mode: decoding stays inside them, answers the same on exactly its length, and never faults later. */
/* SPDX-License-Identifier: MIT */
/* links: hv/decode.c hv/emulate.c */
#include <stdlib.h>
#include <string.h>

#include "hv/decode.h"
#include "tests/fuzz/fuzz.h"

struct state {
	uint64_t reg[REG_COUNT], base[6], rflags, rip, old;
};

static void check_length(const struct insn *insn, enum insn_mode mode, const uint8_t *bytes, size_t size)
{
	struct insn other;

	REQUIRE(insn->length && insn->length <= INSN_MAX_LENGTH && insn->length <= size);
	REQUIRE(insn_decode(&other, mode, bytes, insn->length) == 0);
	REQUIRE(other.length == insn->length && other.op == insn->op);
	REQUIRE(insn_decode(&other, mode, bytes, insn->length - 1) == -E_RANGE);
	REQUIRE(insn->mem_size == 1 || insn->mem_size == 2 || insn->mem_size == 4 || insn->mem_size == 8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum insn_mode modes[] = {INSN_MODE_16, INSN_MODE_32, INSN_MODE_64};
	struct state s = {0};
	struct insn insn;
	uint8_t *bytes;
	uint64_t new;
	size_t n;
	int err;

	if (size < 2)
		return 0;
	n = size - 1 < 20 ? size - 1 : 20;
	bytes = malloc(n);
	memcpy(bytes, data + 1, n);
	if (size > 21)
		memcpy(&s, data + 21, size - 21 < sizeof(s) ? size - 21 : sizeof(s));
	if (insn_decode(&insn, modes[data[0] % 3], bytes, n) == 0) {
		check_length(&insn, modes[data[0] % 3], bytes, n);
		(void)insn_string_source(&insn, s.reg, s.base);
		(void)insn_string_dest(&insn, s.reg, s.base);
		err = insn_execute(&insn, s.old, s.reg, &s.rflags, &new);
		REQUIRE((err < 0) == (insn.kind == INSN_NO_MEMORY));
		if (insn.kind > INSN_READ && insn.mem_size < 8)
			REQUIRE(new >> (8 * insn.mem_size) == 0);
	}
	free(bytes);
	return 0;
}
