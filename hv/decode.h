/*
 * The instructions that touch emulated memory: decoding their bytes, and carrying out what they do to registers, flags
 * and the memory operand. Where that lies the exit says; of MOVS, which has two, the addresses are found here. Called
 * by hv/code.c (decoding) and hv/exit/mem.c. Pure (SDM Vol. 2A chapter 2, Vol. 2B-2D).
 *
 * Three steps: insn_decode(), then the caller reads the operand (insn->kind says whether), then insn_execute() gives
 * the value to store. The guest can change its code between exit and decoding: what comes here is not trusted to match.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "arch/x86/cpu_state.h"
#include "hv/lib/types.h"

#define INSN_MAX_LENGTH 15

/* Width of code: CS.L and CS.D (SDM Vol. 3A 3.4.5); the values are bytes of an address. */
enum insn_mode { INSN_MODE_16 = 2, INSN_MODE_32 = 4, INSN_MODE_64 = 8 };

enum insn_op {
	INSN_NONE,
	INSN_MOV, /* also MOVZX, MOVSX, MOVSXD */
	INSN_ADD,
	INSN_OR,
	INSN_ADC,
	INSN_SBB,
	INSN_AND,
	INSN_SUB,
	INSN_XOR,
	INSN_CMP, /* in the order of opcodes */
	INSN_TEST,
	INSN_NOT,
	INSN_NEG,
	INSN_INC,
	INSN_DEC,
	INSN_XCHG,
	INSN_XADD,
	INSN_CMPXCHG,
	INSN_BT,
	INSN_BTS,
	INSN_BTR,
	INSN_BTC, /* in the order of opcodes */
	INSN_MOVS,
	INSN_STOS,
	INSN_LODS,
};

enum insn_kind {
	INSN_NO_MEMORY, /* register form: not what an EPT violation can come from */
	INSN_READ,
	INSN_WRITE,
	INSN_RMW,
	INSN_COPY, /* MOVS: reads one operand, writes another */
};

struct insn {
	enum insn_op op;
	enum insn_kind kind;
	enum insn_mode mode;
	uint8_t length;	      /* bytes */
	uint8_t mem_size;     /* bytes of the memory operand: 1, 2, 4, 8 */
	uint8_t reg_size;     /* bytes of the register operand; differs for MOVZX and MOVSX */
	uint8_t address_size; /* bytes: 2, 4, 8 */
	uint8_t segment;      /* SEG_* of a string instruction's source */
	uint8_t reg;	      /* REG_* of the register operand */
	bool high_byte;	      /* `reg` means AH, CH, DH, BH of RAX to RBX */
	bool to_register;     /* the result goes to `reg`, not to memory */
	bool has_imm;	      /* `imm` stands in for `reg` as the source */
	bool sign_extend;
	bool rep;     /* F2 or F3 on a string instruction */
	uint64_t imm; /* sign-extended */
};

/*
 * Decodes one instruction from `size` bytes. 0, -E_RANGE when it goes on behind them, -E_FORMAT when it is longer than
 * 15 bytes (#GP on a real processor), -E_NOTSUP when it is none of ours.
 */
int insn_decode(struct insn *insn, enum insn_mode mode, const uint8_t *bytes, size_t size) MUST_CHECK;

enum insn_mode insn_mode_of(const struct segment *cs, bool long_mode_active);

/* --- emulate.c --- */

/* False for a REP whose count is already 0: step over it without any access. */
bool insn_has_work(const struct insn *insn, const uint64_t reg[REG_COUNT]);

/*
 * One iteration. `old` is what the memory operand held (READ, RMW, COPY), `*new` becomes
 * what it holds from now on (WRITE, RMW, COPY). Registers and RFLAGS are updated. 0: done, step over the instruction;
 * 1: a REP with iterations left, run it again; -E_INVAL for INSN_NO_MEMORY.
 */
int insn_execute(const struct insn *insn, uint64_t old, uint64_t reg[REG_COUNT], uint64_t *rflags,
		 uint64_t *new) MUST_CHECK;

/*
 * The same of INSN_MOV alone, whose `old` lies within the operand's size: the value to store, or the register's that
 * was loaded.
 */
uint64_t insn_move(const struct insn *insn, uint64_t old, uint64_t reg[REG_COUNT]);

/* Linear addresses of MOVS, LODS and STOS. `seg_base` has SEG_ES to SEG_GS. Limits are not checked here: the processor
 * did so before it exited. */
uint64_t insn_string_source(const struct insn *insn, const uint64_t reg[REG_COUNT], const uint64_t *seg_base);
uint64_t insn_string_dest(const struct insn *insn, const uint64_t reg[REG_COUNT], const uint64_t *seg_base);
