/*
 * The decoder beside one that knows all instructions, Zydis: what ours takes, that one takes, too, with the same
 * length and the same operand in memory.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/decode.c */
/* flags: -lZydis */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <Zydis/Zydis.h>

#include "hv/decode.h"
#include "tests/fuzz/fuzz.h"

struct reference {
	ZydisDecodedInstruction insn;
	ZydisDecodedOperand operand[ZYDIS_MAX_OPERAND_COUNT];
};

static ZyanStatus decode(struct reference *z, enum insn_mode mode, const uint8_t *bytes, size_t size)
{
	ZydisMachineMode machine = mode == INSN_MODE_64	  ? ZYDIS_MACHINE_MODE_LONG_64
				   : mode == INSN_MODE_32 ? ZYDIS_MACHINE_MODE_LEGACY_32
							  : ZYDIS_MACHINE_MODE_LEGACY_16;
	ZydisStackWidth stack = mode == INSN_MODE_64   ? ZYDIS_STACK_WIDTH_64
				: mode == INSN_MODE_32 ? ZYDIS_STACK_WIDTH_32
						       : ZYDIS_STACK_WIDTH_16;
	ZydisDecoder decoder;

	REQUIRE(ZYAN_SUCCESS(ZydisDecoderInit(&decoder, machine, stack)));
	return ZydisDecoderDecodeFull(&decoder, bytes, size, &z->insn, z->operand);
}

/* The operand in memory that is written (or the one there is), and for MOVS the one that is read. */
static const ZydisDecodedOperand *memory_operand(const struct reference *z, bool written)
{
	const ZydisDecodedOperand *found = NULL;

	for (unsigned i = 0; i < z->insn.operand_count; i++) {
		const ZydisDecodedOperand *o = &z->operand[i];

		if (o->type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    (!found || !(o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != written))
			found = o;
	}
	return found;
}

/* In 64-bit mode only FS and GS have a base. */
static bool same_segment(const struct insn *insn, ZydisRegister theirs)
{
	uint8_t segment = (uint8_t)ZydisRegisterGetId(theirs);

	return insn->segment == segment || (insn->mode == INSN_MODE_64 && insn->segment < SEG_FS && segment < SEG_FS);
}

static bool is_string(const struct insn *insn)
{
	return insn->op >= INSN_MOVS;
}

static void compare(const struct insn *insn, const struct reference *z)
{
	bool written = insn->kind == INSN_WRITE || insn->kind == INSN_RMW || insn->kind == INSN_COPY;
	const ZydisDecodedOperand *o = memory_operand(z, written);

	REQUIRE(z->insn.length == insn->length);
	REQUIRE((insn->kind != INSN_NO_MEMORY) == (o != NULL));
	if (!o)
		return;
	REQUIRE(z->insn.address_width == 8 * insn->address_size);
	/* Zydis gives MOVSXD 4 bytes with an operand size of 2, too; the SDM says 2 (Vol. 2B, MOVSXD r16, r/m16). */
	REQUIRE(o->size == 8 * insn->mem_size || (z->insn.mnemonic == ZYDIS_MNEMONIC_MOVSXD && insn->mem_size == 2));
	REQUIRE(!(o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) == !written);
	REQUIRE(!(o->actions & ZYDIS_OPERAND_ACTION_MASK_READ) ==
		(insn->kind == INSN_WRITE || insn->kind == INSN_COPY));
	if (is_string(insn) && insn->kind != INSN_WRITE)
		REQUIRE(same_segment(insn, memory_operand(z, false)->mem.segment));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum insn_mode modes[] = {INSN_MODE_16, INSN_MODE_32, INSN_MODE_64};
	enum insn_mode mode;
	struct reference z;
	struct insn insn;
	ZyanStatus status;

	if (size < 2)
		return 0;
	mode = modes[data[0] % 3];
	if (!insn_decode(&insn, mode, data + 1, size - 1)) {
		status = decode(&z, mode, data + 1, size - 1);
		if (status == ZYDIS_STATUS_ILLEGAL_LOCK)
			return 0; /* #UD, and so never what an exit is about: ours has not to know which may be locked
				   */
		REQUIRE(ZYAN_SUCCESS(status));
		compare(&insn, &z);
	}
	return 0;
}
