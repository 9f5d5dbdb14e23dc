/*
 * What instructions do to registers, flags and memory, against the processor that this runs on: each operation at each
 * width is one instruction here, with operands and flags from the input. SDM Vol. 2 calls some flags undefined after
 * some of them; those are not compared.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/decode.c hv/emulate.c */
#include <string.h>

#include "arch/x86/registers.h"
#include "hv/decode.h"
#include "tests/fuzz/fuzz.h"

#define STATUS (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

/* Operands of an instruction `op memory, source`; what it leaves there. */
struct operands {
	uint64_t memory, source, rax, flags;
};

/* The stack is not touched below the red zone: PUSHF and POPF would. */
#define RUN(insn, type)                                                                                                \
	do {                                                                                                           \
		type memory = (type)o->memory, source = (type)o->source;                                               \
		uint64_t rax = o->rax, flags = o->flags;                                                               \
                                                                                                                       \
		__asm__ volatile("lea -128(%%rsp), %%rsp\n\tpush %[f]\n\tpopf\n\t" insn                                \
				 "\n\tpushf\n\tpop %[f]\n\tlea 128(%%rsp), %%rsp"                                      \
				 : [f] "+b"(flags), [m] "+r"(memory), [s] "+r"(source), "+a"(rax)                      \
				 :                                                                                     \
				 : "cc", "memory");                                                                    \
		o->memory = memory;                                                                                    \
		o->source = source;                                                                                    \
		o->rax = rax;                                                                                          \
		o->flags = flags & STATUS;                                                                             \
	} while (0)

/* A function for an operation, and what a semicolon may follow: `two` takes memory and source, `one` memory only. */
#define SIZES(name, b, w, l, q)                                                                                        \
	static void run_##name(struct operands *o, unsigned size)                                                      \
	{                                                                                                              \
		if (size == 1)                                                                                         \
			RUN(b, uint8_t);                                                                               \
		else if (size == 2)                                                                                    \
			RUN(w, uint16_t);                                                                              \
		else if (size == 4)                                                                                    \
			RUN(l, uint32_t);                                                                              \
		else                                                                                                   \
			RUN(q, uint64_t);                                                                              \
	}                                                                                                              \
	struct operands
#define TWO(name)                                                                                                      \
	SIZES(name, #name "b %b[s], %b[m]", #name "w %w[s], %w[m]", #name "l %k[s], %k[m]", #name "q %q[s], %q[m]")
#define ONE(name) SIZES(name, #name "b %b[m]", #name "w %w[m]", #name "l %k[m]", #name "q %q[m]")
/* There are none of bytes. */
#define BITS(name) SIZES(name, "", #name "w %w[s], %w[m]", #name "l %k[s], %k[m]", #name "q %q[s], %q[m]")

TWO(add);
TWO(or);
TWO(adc);
TWO(sbb);
TWO(and);
TWO(sub);
TWO(xor);
TWO(cmp);
TWO(test);
TWO(xchg);
TWO(xadd);
TWO(cmpxchg);
ONE(not );
ONE(neg);
ONE(inc);
ONE(dec);
BITS(bt);
BITS(bts);
BITS(btr);
BITS(btc);

static void (*const run[])(struct operands *o, unsigned size) = {
    [INSN_ADD] = run_add,   [INSN_OR] = run_or,	    [INSN_ADC] = run_adc,   [INSN_SBB] = run_sbb,
    [INSN_AND] = run_and,   [INSN_SUB] = run_sub,   [INSN_XOR] = run_xor,   [INSN_CMP] = run_cmp,
    [INSN_TEST] = run_test, [INSN_NOT] = run_not,   [INSN_NEG] = run_neg,   [INSN_INC] = run_inc,
    [INSN_DEC] = run_dec,   [INSN_XCHG] = run_xchg, [INSN_XADD] = run_xadd, [INSN_CMPXCHG] = run_cmpxchg,
    [INSN_BT] = run_bt,	    [INSN_BTS] = run_bts,   [INSN_BTR] = run_btr,   [INSN_BTC] = run_btc,
};

struct state {
	uint64_t reg[REG_COUNT], flags, old;
};

static uint64_t mask_of(unsigned size)
{
	return UINT64_MAX >> (64 - 8 * size);
}

/* 4 bytes clear the upper half (SDM Vol. 1 3.4.1.1). */
static void put_register(uint64_t *reg, unsigned size, bool high, uint64_t value)
{
	if (high)
		*reg = (*reg & ~0xff00ULL) | (value & 0xff) << 8;
	else if (size == 4)
		*reg = (uint32_t)value;
	else
		*reg = (*reg & ~mask_of(size)) | (value & mask_of(size));
}

static uint64_t get_register(const struct insn *insn, const struct state *s)
{
	return insn->high_byte ? s->reg[insn->reg] >> 8 : s->reg[insn->reg];
}

/* AF is undefined after AND, OR, XOR and TEST; all but CF after BT and its kin, which leave ZF alone. */
static uint64_t defined(enum insn_op op)
{
	if (op == INSN_AND || op == INSN_OR || op == INSN_XOR || op == INSN_TEST)
		return STATUS & ~RFLAGS_AF;
	return op >= INSN_BT && op <= INSN_BTC ? RFLAGS_CF | RFLAGS_ZF : STATUS;
}

/*
 * What the processor makes of the same. Where the result is the register's (op reg, mem) the operands change places.
 */
static void expect(const struct insn *insn, struct state *s, uint64_t *stored)
{
	uint64_t source = insn->has_imm ? insn->imm : get_register(insn, s);
	struct operands o = {s->old, source, s->reg[REG_RAX], s->flags & STATUS};
	bool writes_register = insn->op == INSN_XCHG || insn->op == INSN_XADD;

	if (insn->to_register)
		o.memory = source, o.source = s->old;
	run[insn->op](&o, insn->mem_size);
	*stored = insn->to_register ? s->old & mask_of(insn->mem_size) : o.memory & mask_of(insn->mem_size);
	s->flags = (s->flags & ~STATUS) | o.flags;
	if (insn->op == INSN_CMPXCHG)
		s->reg[REG_RAX] = o.rax;
	if (writes_register)
		put_register(&s->reg[insn->reg], insn->mem_size, insn->high_byte, o.source);
	if (insn->to_register && insn->op != INSN_CMP)
		put_register(&s->reg[insn->reg], insn->mem_size, insn->high_byte, o.memory);
}

static void check(const struct insn *insn, const struct state *before)
{
	struct state is = *before, should = *before;
	uint64_t stored = 0, new;

	expect(insn, &should, &stored);
	REQUIRE(insn_execute(insn, before->old, is.reg, &is.flags, &new) == 0);
	REQUIRE(!memcmp(is.reg, should.reg, sizeof(is.reg)));
	REQUIRE(!((is.flags ^ should.flags) & (defined(insn->op) | ~STATUS)));
	REQUIRE(insn->kind != INSN_RMW || new == stored);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum insn_mode modes[] = {INSN_MODE_16, INSN_MODE_32, INSN_MODE_64};
	struct state s = {.flags = 0};
	struct insn insn;
	size_t n = size > 16 ? 16 : size;

	if (!n || insn_decode(&insn, modes[data[0] % 3], data + 1, n - 1))
		return 0;
	if (size > n)
		memcpy(&s, data + n, size - n < sizeof(s) ? size - n : sizeof(s));
	if (insn.kind != INSN_NO_MEMORY && insn.op < ARRAY_SIZE(run) && run[insn.op])
		check(&insn, &s);
	return 0;
}
