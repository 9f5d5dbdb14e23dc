/*
 * What a decoded instruction does: the second half of decode.h. Flags follow the SDM; those that it calls undefined get
 * the value that processors give them (AF = 0 after AND, OR, XOR, TEST; nothing but CF changes in BT and its kin).
 * Pure.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/registers.h"
#include "hv/decode.h"

#define RFLAGS_STATUS (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

static uint64_t mask_of(unsigned size)
{
	return UINT64_MAX >> (64 - 8 * size);
}

static uint64_t merge(uint64_t whole, uint64_t value, unsigned size)
{
	return (whole & ~mask_of(size)) | (value & mask_of(size));
}

/* --- registers --------------------------------------------------------------------------------------------------- */

static uint64_t read_register(const struct insn *insn, const uint64_t *reg)
{
	return (insn->high_byte ? reg[insn->reg] >> 8 : reg[insn->reg]) & mask_of(insn->reg_size);
}

/* 4 bytes clear the upper half, 1 and 2 leave the rest alone (SDM Vol. 1 3.4.1.1). */
static void write_sized(uint64_t *reg, uint64_t value, unsigned size)
{
	*reg = size == 4 ? value & mask_of(4) : merge(*reg, value, size);
}

static void write_register(const struct insn *insn, uint64_t *reg, uint64_t value)
{
	uint64_t *r = &reg[insn->reg];

	if (insn->high_byte)
		*r = (*r & ~0xff00ULL) | (value & 0xff) << 8;
	else
		write_sized(r, value, insn->reg_size);
}

/* --- arithmetic -------------------------------------------------------------------------------------------------- */

static uint64_t result_flags(uint64_t result, unsigned size)
{
	uint64_t flags = 0;

	if (!__builtin_parity((unsigned)result & 0xff))
		flags |= RFLAGS_PF;
	if (!(result & mask_of(size)))
		flags |= RFLAGS_ZF;
	if (result >> (8 * size - 1) & 1)
		flags |= RFLAGS_SF;
	return flags;
}

/* `carries` and `overflow` hold, at the operand's top bit, the carry out of it and the signed overflow. */
static uint64_t sum_flags(uint64_t a, uint64_t b, uint64_t result, uint64_t carries, uint64_t overflow, unsigned size)
{
	unsigned top = 8 * size - 1;
	uint64_t flags = result_flags(result, size) | ((a ^ b ^ result) & RFLAGS_AF);

	if (carries >> top & 1)
		flags |= RFLAGS_CF;
	if (overflow >> top & 1)
		flags |= RFLAGS_OF;
	return flags;
}

static uint64_t add(uint64_t a, uint64_t b, uint64_t carry, unsigned size, uint64_t *flags)
{
	uint64_t r = a + b + carry;

	*flags = sum_flags(a, b, r, (a & b) | ((a | b) & ~r), (a ^ r) & (b ^ r), size);
	return r & mask_of(size);
}

static uint64_t subtract(uint64_t a, uint64_t b, uint64_t borrow, unsigned size, uint64_t *flags)
{
	uint64_t r = a - b - borrow;

	*flags = sum_flags(a, b, r, (~a & b) | ((~a | b) & r), (a ^ b) & (a ^ r), size);
	return r & mask_of(size);
}

/* BT and its kin: only CF. The bit's number is taken modulo the operand size: the address already covers the rest. */
static uint64_t bit_operation(enum insn_op op, uint64_t a, uint64_t number, unsigned size, uint64_t *flags)
{
	uint64_t bit = BIT(number % (8 * size));

	*flags = (*flags & ~RFLAGS_CF) | (a & bit ? RFLAGS_CF : 0);
	switch (op) {
	case INSN_BTS:
		return a | bit;
	case INSN_BTR:
		return a & ~bit;
	case INSN_BTC:
		return a ^ bit;
	default:
		return a;
	}
}

static uint64_t logic(enum insn_op op, uint64_t a, uint64_t b, unsigned size, uint64_t *flags)
{
	uint64_t r = op == INSN_OR ? a | b : op == INSN_XOR ? a ^ b : a & b;

	*flags = result_flags(r, size);
	return r;
}

static uint64_t one_operand(enum insn_op op, uint64_t a, unsigned size, uint64_t *flags)
{
	uint64_t carry = *flags & RFLAGS_CF, r;

	if (op == INSN_NOT)
		return ~a & mask_of(size);
	if (op == INSN_NEG)
		return subtract(0, a, 0, size, flags);
	r = op == INSN_INC ? add(a, 1, 0, size, flags) : subtract(a, 1, 0, size, flags);
	*flags = (*flags & ~RFLAGS_CF) | carry; /* INC and DEC leave CF alone */
	return r;
}

/* a op b; `flags` are the six status flags, in and out. */
static uint64_t compute(enum insn_op op, uint64_t a, uint64_t b, unsigned size, uint64_t *flags)
{
	switch (op) {
	case INSN_ADD:
		return add(a, b, 0, size, flags);
	case INSN_ADC:
		return add(a, b, *flags & RFLAGS_CF, size, flags);
	case INSN_SBB:
		return subtract(a, b, *flags & RFLAGS_CF, size, flags);
	case INSN_SUB:
	case INSN_CMP:
		return subtract(a, b, 0, size, flags);
	case INSN_AND:
	case INSN_OR:
	case INSN_XOR:
	case INSN_TEST:
		return logic(op, a, b, size, flags);
	case INSN_BT:
	case INSN_BTS:
	case INSN_BTR:
	case INSN_BTC:
		return bit_operation(op, a, b, size, flags);
	default:
		return one_operand(op, a, size, flags);
	}
}

/* --- moves and exchanges ----------------------------------------------------------------------------------------- */

uint64_t insn_move(const struct insn *insn, uint64_t old, uint64_t reg[REG_COUNT])
{
	unsigned shift = 64 - 8 * insn->mem_size;

	if (!insn->to_register)
		return (insn->has_imm ? insn->imm : read_register(insn, reg)) & mask_of(insn->mem_size);
	if (insn->sign_extend)
		old = (uint64_t)((int64_t)(old << shift) >> shift);
	write_register(insn, reg, old);
	return old;
}

static uint64_t compare_exchange(const struct insn *insn, uint64_t old, uint64_t source, uint64_t *reg, uint64_t *flags)
{
	subtract(reg[REG_RAX] & mask_of(insn->mem_size), old, 0, insn->mem_size, flags);
	if (*flags & RFLAGS_ZF)
		return source;
	write_sized(&reg[REG_RAX], old, insn->mem_size);
	return old;
}

/* --- string instructions: one iteration -------------------------------------------------------------------------- */

/* A register as wide as an address, moved by `delta`. */
static void advance(const struct insn *insn, uint64_t *reg, uint64_t delta)
{
	write_sized(reg, *reg + delta, insn->address_size);
}

static int step_string(const struct insn *insn, uint64_t old, uint64_t *reg, uint64_t rflags, uint64_t *new)
{
	uint64_t delta = rflags & RFLAGS_DF ? 0 - (uint64_t)insn->mem_size : insn->mem_size;

	if (!insn_has_work(insn, reg))
		return 0;
	*new = insn->op == INSN_STOS ? reg[REG_RAX] & mask_of(insn->mem_size) : old;
	if (insn->op == INSN_LODS)
		write_register(insn, reg, old);
	if (insn->op == INSN_MOVS || insn->op == INSN_LODS)
		advance(insn, &reg[REG_RSI], delta);
	if (insn->op == INSN_MOVS || insn->op == INSN_STOS)
		advance(insn, &reg[REG_RDI], delta);
	if (!insn->rep)
		return 0;
	advance(insn, &reg[REG_RCX], UINT64_MAX);
	return insn_has_work(insn, reg);
}

static bool is_string(const struct insn *insn)
{
	return insn->op >= INSN_MOVS;
}

bool insn_has_work(const struct insn *insn, const uint64_t reg[REG_COUNT])
{
	return !is_string(insn) || !insn->rep || (reg[REG_RCX] & mask_of(insn->address_size)) != 0;
}

/* --- the whole --------------------------------------------------------------------------------------------------- */

static uint64_t arithmetic(const struct insn *insn, uint64_t old, uint64_t source, uint64_t *reg, uint64_t *flags)
{
	uint64_t a = insn->to_register ? source : old, b = insn->to_register ? old : source;
	uint64_t result = compute(insn->op, a, b, insn->mem_size, flags);

	if (insn->to_register && insn->op != INSN_CMP)
		write_register(insn, reg, result);
	return result;
}

int insn_execute(const struct insn *insn, uint64_t old, uint64_t reg[REG_COUNT], uint64_t *rflags, uint64_t *new)
{
	uint64_t source, flags = *rflags & RFLAGS_STATUS;

	*new = old &= mask_of(insn->mem_size);
	if (insn->kind == INSN_NO_MEMORY)
		return -E_INVAL;
	if (is_string(insn))
		return step_string(insn, old, reg, *rflags, new);
	if (insn->op == INSN_MOV) {
		*new = insn_move(insn, old, reg);
		return 0;
	}
	source = (insn->has_imm ? insn->imm : read_register(insn, reg)) & mask_of(insn->mem_size);
	switch (insn->op) {
	case INSN_XCHG:
		write_register(insn, reg, old);
		*new = source;
		return 0;
	case INSN_XADD:
		*new = add(old, source, 0, insn->mem_size, &flags);
		write_register(insn, reg, old);
		break;
	case INSN_CMPXCHG:
		*new = compare_exchange(insn, old, source, reg, &flags);
		break;
	default:
		*new = arithmetic(insn, old, source, reg, &flags);
	}
	*rflags = (*rflags & ~RFLAGS_STATUS) | flags;
	return 0;
}

/* --- addresses --------------------------------------------------------------------------------------------------- */

/* In 64-bit mode only FS and GS have a base; elsewhere linear addresses have 32 bits (SDM Vol. 3A 3.2.4, 3.3). */
static uint64_t linear(const struct insn *insn, unsigned segment, uint64_t offset, const uint64_t *seg_base)
{
	offset &= mask_of(insn->address_size);
	if (insn->mode != INSN_MODE_64)
		return (offset + seg_base[segment]) & mask_of(4);
	return segment >= SEG_FS ? offset + seg_base[segment] : offset;
}

uint64_t insn_string_source(const struct insn *insn, const uint64_t reg[REG_COUNT], const uint64_t *seg_base)
{
	return linear(insn, insn->segment, reg[REG_RSI], seg_base);
}

/* The destination is ES:RDI, which no prefix overrides. */
uint64_t insn_string_dest(const struct insn *insn, const uint64_t reg[REG_COUNT], const uint64_t *seg_base)
{
	return linear(insn, SEG_ES, reg[REG_RDI], seg_base);
}
