/*
 * Instruction decoder for memory operands, see decode.h; what instructions do is in emulate.c. Opcodes are in two
 * sparse tables (SDM Vol. 2D appendix A); a table entry says operation, operand form, width and immediate.
 *
 * Not handled, hence -E_NOTSUP: SSE and AVX moves, PUSH, POP, CALL and JMP through memory, CMPXCHG8B and 16B, shifts,
 * MUL, DIV, MOV of segment registers, MOVBE, CMPS and SCAS. No driver reaches devices with those.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/decode.h"

#define REX_W 8
#define REX_R 4

enum form {
	FORM_UNKNOWN,
	FORM_MR,	/* r/m, reg: the result goes to r/m */
	FORM_RM,	/* reg, r/m: the result goes to reg */
	FORM_M,		/* r/m, perhaps an immediate */
	FORM_OFFSET_RM, /* RAX, address in the instruction */
	FORM_OFFSET_MR,
	FORM_STRING,
};

/* MOVZX, MOVSX, MOVSXD: the register is as wide as the operand size says, memory is not. */
enum extend { EXTEND_NO, EXTEND_ZERO, EXTEND_SIGN };

enum imm { IMM_NO, IMM_BYTE, IMM_FULL /* 2 or 4 bytes, by operand size */ };

/* Where the ModRM byte's reg field says the operation, the table entry names one of these instead. */
enum group { GROUP_NO, GROUP_1, GROUP_3, GROUP_4, GROUP_8, GROUP_11 };

struct opcode {
	uint8_t op;	/* enum insn_op */
	uint8_t form;	/* enum form */
	uint8_t width;	/* bytes in memory; 0: the operand size */
	uint8_t imm;	/* enum imm */
	uint8_t group;	/* enum group */
	uint8_t extend; /* enum extend */
};

/* Table entries; `width` as in struct opcode. */
#define MEM_REG(op, width)                                                                                             \
	{                                                                                                              \
		op, FORM_MR, width, IMM_NO, GROUP_NO, EXTEND_NO                                                        \
	}
#define REG_MEM(op, width)                                                                                             \
	{                                                                                                              \
		op, FORM_RM, width, IMM_NO, GROUP_NO, EXTEND_NO                                                        \
	}
#define EXTENDED(width, extend)                                                                                        \
	{                                                                                                              \
		INSN_MOV, FORM_RM, width, IMM_NO, GROUP_NO, extend                                                     \
	}
#define GROUPED(group, width, imm)                                                                                     \
	{                                                                                                              \
		INSN_NONE, FORM_M, width, imm, group, EXTEND_NO                                                        \
	}
#define OFFSET(form, width)                                                                                            \
	{                                                                                                              \
		INSN_MOV, form, width, IMM_NO, GROUP_NO, EXTEND_NO                                                     \
	}
#define STRING(op, width)                                                                                              \
	{                                                                                                              \
		op, FORM_STRING, width, IMM_NO, GROUP_NO, EXTEND_NO                                                    \
	}

/* The eight operations of opcodes 00 to 3F, each in the same four forms. */
#define ALU_ROW(code, op)                                                                                              \
	[(code) + 0] = MEM_REG(op, 1), [(code) + 1] = MEM_REG(op, 0), [(code) + 2] = REG_MEM(op, 1),                   \
		  [(code) + 3] = REG_MEM(op, 0)

static const struct opcode one_byte[256] = {
    ALU_ROW(0x00, INSN_ADD),
    ALU_ROW(0x08, INSN_OR),
    ALU_ROW(0x10, INSN_ADC),
    ALU_ROW(0x18, INSN_SBB),
    ALU_ROW(0x20, INSN_AND),
    ALU_ROW(0x28, INSN_SUB),
    ALU_ROW(0x30, INSN_XOR),
    ALU_ROW(0x38, INSN_CMP),
    [0x80] = GROUPED(GROUP_1, 1, IMM_BYTE),
    [0x81] = GROUPED(GROUP_1, 0, IMM_FULL),
    [0x83] = GROUPED(GROUP_1, 0, IMM_BYTE),
    [0x84] = MEM_REG(INSN_TEST, 1),
    [0x85] = MEM_REG(INSN_TEST, 0),
    [0x86] = MEM_REG(INSN_XCHG, 1),
    [0x87] = MEM_REG(INSN_XCHG, 0),
    [0x88] = MEM_REG(INSN_MOV, 1),
    [0x89] = MEM_REG(INSN_MOV, 0),
    [0x8a] = REG_MEM(INSN_MOV, 1),
    [0x8b] = REG_MEM(INSN_MOV, 0),
    [0xa0] = OFFSET(FORM_OFFSET_RM, 1),
    [0xa1] = OFFSET(FORM_OFFSET_RM, 0),
    [0xa2] = OFFSET(FORM_OFFSET_MR, 1),
    [0xa3] = OFFSET(FORM_OFFSET_MR, 0),
    [0xa4] = STRING(INSN_MOVS, 1),
    [0xa5] = STRING(INSN_MOVS, 0),
    [0xaa] = STRING(INSN_STOS, 1),
    [0xab] = STRING(INSN_STOS, 0),
    [0xac] = STRING(INSN_LODS, 1),
    [0xad] = STRING(INSN_LODS, 0),
    [0xc6] = GROUPED(GROUP_11, 1, IMM_BYTE),
    [0xc7] = GROUPED(GROUP_11, 0, IMM_FULL),
    [0xf6] = GROUPED(GROUP_3, 1, IMM_BYTE),
    [0xf7] = GROUPED(GROUP_3, 0, IMM_FULL),
    [0xfe] = GROUPED(GROUP_4, 1, IMM_NO),
    [0xff] = GROUPED(GROUP_4, 0, IMM_NO),
};

/* MOVSXD: ARPL or nothing outside of 64-bit mode, so it is not in the table. */
static const struct opcode movsxd = EXTENDED(4, EXTEND_SIGN);

static const struct opcode two_byte[256] = {
    [0xa3] = MEM_REG(INSN_BT, 0),      [0xab] = MEM_REG(INSN_BTS, 0),	       [0xb0] = MEM_REG(INSN_CMPXCHG, 1),
    [0xb1] = MEM_REG(INSN_CMPXCHG, 0), [0xb3] = MEM_REG(INSN_BTR, 0),	       [0xb6] = EXTENDED(1, EXTEND_ZERO),
    [0xb7] = EXTENDED(2, EXTEND_ZERO), [0xba] = GROUPED(GROUP_8, 0, IMM_BYTE), [0xbb] = MEM_REG(INSN_BTC, 0),
    [0xbe] = EXTENDED(1, EXTEND_SIGN), [0xbf] = EXTENDED(2, EXTEND_SIGN),      [0xc0] = MEM_REG(INSN_XADD, 1),
    [0xc1] = MEM_REG(INSN_XADD, 0),
};

static const uint8_t group_op[][8] = {
    [GROUP_1] = {INSN_ADD, INSN_OR, INSN_ADC, INSN_SBB, INSN_AND, INSN_SUB, INSN_XOR, INSN_CMP},
    [GROUP_3] = {INSN_TEST, INSN_TEST, INSN_NOT, INSN_NEG},
    [GROUP_4] = {INSN_INC, INSN_DEC},
    [GROUP_8] = {[4] = INSN_BT, INSN_BTS, INSN_BTR, INSN_BTC},
    [GROUP_11] = {INSN_MOV},
};

/* What the prefixes said, and how far we are. Running out of bytes is noted and asked about once, at the end. */
struct cursor {
	const uint8_t *bytes;
	size_t size, at;
	bool ran_out;
	uint8_t rex;
	bool operand_prefix, address_prefix;
};

/* --- bytes ------------------------------------------------------------------------------------------------------- */

static uint8_t next_byte(struct cursor *c)
{
	if (c->at >= c->size) {
		c->ran_out = true;
		return 0;
	}
	return c->bytes[c->at++];
}

static uint64_t sign_extend(uint64_t value, unsigned size)
{
	unsigned shift = 64 - 8 * size;

	return (uint64_t)((int64_t)(value << shift) >> shift);
}

static void skip(struct cursor *c, unsigned size)
{
	while (size--)
		next_byte(c);
}

/* 1, 2 or 4 bytes, little-endian. */
static uint64_t next_signed(struct cursor *c, unsigned size)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)next_byte(c) << (8 * i);
	return sign_extend(value, size);
}

/* --- prefixes ---------------------------------------------------------------------------------------------------- */

static int segment_prefix(uint8_t byte)
{
	switch (byte) {
	case 0x26:
		return SEG_ES;
	case 0x2e:
		return SEG_CS;
	case 0x36:
		return SEG_SS;
	case 0x3e:
		return SEG_DS;
	case 0x64:
		return SEG_FS;
	case 0x65:
		return SEG_GS;
	default:
		return -1;
	}
}

static bool take_legacy_prefix(struct cursor *c, struct insn *insn, uint8_t byte)
{
	int segment = segment_prefix(byte);

	if (segment >= SEG_FS || (segment >= 0 && insn->mode != INSN_MODE_64))
		insn->segment = (uint8_t)segment; /* the other four mean nothing in 64-bit mode */
	else if (segment >= 0)
		return true;
	else if (byte == 0x66)
		c->operand_prefix = true;
	else if (byte == 0x67)
		c->address_prefix = true;
	else if (byte == 0xf2 || byte == 0xf3)
		insn->rep = true;
	else
		return byte == 0xf0; /* LOCK: a device's access is one step among a VM's vCPUs anyway */
	return true;
}

/* Answers the opcode's first byte. A REX counts only directly before it (SDM Vol. 2A 2.2.1). */
static uint8_t take_prefixes(struct cursor *c, struct insn *insn)
{
	uint8_t byte;

	for (;;) {
		byte = next_byte(c);
		if (insn->mode == INSN_MODE_64 && (byte & 0xf0) == 0x40)
			c->rex = byte;
		else if (take_legacy_prefix(c, insn, byte))
			c->rex = 0;
		else
			return byte;
	}
}

/* SDM Vol. 1 table 3-4: operand-size attribute. */
static uint8_t operand_size(const struct cursor *c, enum insn_mode mode)
{
	if (mode == INSN_MODE_64 && c->rex & REX_W)
		return 8;
	return (mode == INSN_MODE_16) == c->operand_prefix ? 4 : 2;
}

static uint8_t address_size(const struct cursor *c, enum insn_mode mode)
{
	if (!c->address_prefix)
		return (uint8_t)mode;
	return mode == INSN_MODE_32 ? 2 : 4;
}

/* --- ModRM and SIB (SDM Vol. 2A 2.1.5, tables 2-1 to 2-3) -------------------------------------------------------- */

/* Bytes of the displacement. */
static unsigned displacement_16(uint8_t mod, uint8_t rm)
{
	return mod == 0 && rm == 6 ? 2 : mod;
}

static unsigned displacement_32(struct cursor *c, uint8_t mod, uint8_t rm)
{
	uint8_t base = rm == 4 ? next_byte(c) & 7 : rm; /* 4: of the SIB byte, which REX does not change in this */

	if (mod == 0)
		return base == 5 ? 4 : 0;
	return mod == 1 ? 1 : 4;
}

/*
 * Passes ModRM and what belongs to it; answers its reg field, without REX.R. False in *memory for a register form.
 * Where an operand in memory lies is not asked: the exit says it.
 */
static uint8_t take_modrm(struct cursor *c, struct insn *insn, bool *memory)
{
	uint8_t modrm = next_byte(c), mod = modrm >> 6;

	*memory = mod != 3;
	if (*memory)
		skip(c, insn->address_size == 2 ? displacement_16(mod, modrm & 7) : displacement_32(c, mod, modrm & 7));
	return modrm >> 3 & 7;
}

/* Without REX, byte registers 4 to 7 are AH, CH, DH, BH (SDM Vol. 2A table 3-1). */
static void set_register(const struct cursor *c, struct insn *insn, uint8_t field)
{
	insn->reg = field | (c->rex & REX_R ? 8 : 0);
	if (insn->reg_size == 1 && !c->rex && field >= 4) {
		insn->reg = field - 4;
		insn->high_byte = true;
	}
}

/* --- decoding ---------------------------------------------------------------------------------------------------- */

static enum insn_kind kind_of(const struct insn *insn)
{
	switch (insn->op) {
	case INSN_MOV:
		return insn->to_register ? INSN_READ : INSN_WRITE;
	case INSN_STOS:
		return INSN_WRITE;
	case INSN_MOVS:
		return INSN_COPY;
	case INSN_CMP:
	case INSN_TEST:
	case INSN_BT:
	case INSN_LODS:
		return INSN_READ;
	default:
		return insn->to_register ? INSN_READ : INSN_RMW;
	}
}

/* LODS and STOS keep the accumulator in `reg`. */
static void take_string(struct insn *insn)
{
	insn->reg = REG_RAX;
	insn->to_register = insn->op == INSN_LODS;
	insn->kind = kind_of(insn);
}

static void take_imm(struct cursor *c, struct insn *insn, uint8_t imm)
{
	if (imm == IMM_NO)
		return;
	insn->has_imm = true;
	insn->imm = next_signed(c, imm == IMM_BYTE ? 1 : insn->mem_size == 2 ? 2 : 4);
}

static void take_modrm_operands(struct cursor *c, struct insn *insn, const struct opcode *o)
{
	bool memory;
	uint8_t field = take_modrm(c, insn, &memory), imm = o->imm;

	insn->to_register = o->form == FORM_RM;
	if (o->group) {
		insn->op = group_op[o->group][field];
		if (o->group == GROUP_3 && insn->op != INSN_TEST)
			imm = IMM_NO;
	} else {
		set_register(c, insn, field);
	}
	insn->kind = memory ? kind_of(insn) : INSN_NO_MEMORY;
	take_imm(c, insn, imm);
}

static void take_operands(struct cursor *c, struct insn *insn, const struct opcode *o)
{
	insn->reg_size = operand_size(c, insn->mode);
	insn->mem_size = o->width ? o->width : insn->reg_size;
	if (o->width == 4 && insn->reg_size == 2) /* MOVSXD r16, r/m16 */
		insn->mem_size = 2;
	if (!o->extend)
		insn->reg_size = insn->mem_size;
	switch (o->form) {
	case FORM_OFFSET_RM:
	case FORM_OFFSET_MR:
		insn->reg = REG_RAX;
		insn->to_register = o->form == FORM_OFFSET_RM;
		skip(c, insn->address_size);
		insn->kind = kind_of(insn);
		return;
	case FORM_STRING:
		take_string(insn);
		return;
	default:
		take_modrm_operands(c, insn, o);
	}
}

static const struct opcode *take_opcode(struct cursor *c, struct insn *insn)
{
	uint8_t byte = take_prefixes(c, insn);

	if (byte == 0x0f)
		return &two_byte[next_byte(c)];
	return byte == 0x63 && insn->mode == INSN_MODE_64 ? &movsxd : &one_byte[byte];
}

int insn_decode(struct insn *insn, enum insn_mode mode, const uint8_t *bytes, size_t size)
{
	struct cursor c = {.bytes = bytes, .size = size < INSN_MAX_LENGTH ? size : INSN_MAX_LENGTH};
	const struct opcode *o;

	*insn = (struct insn){.mode = mode, .segment = SEG_DS};
	o = take_opcode(&c, insn);
	insn->op = o->op;
	insn->sign_extend = o->extend == EXTEND_SIGN;
	insn->address_size = address_size(&c, mode);
	if (o->form != FORM_UNKNOWN)
		take_operands(&c, insn, o);
	if (c.ran_out)
		return size < INSN_MAX_LENGTH ? -E_RANGE : -E_FORMAT;
	if (insn->op == INSN_NONE)
		return -E_NOTSUP;
	insn->length = (uint8_t)c.at;
	return 0;
}

enum insn_mode insn_mode_of(const struct segment *cs, bool long_mode_active)
{
	if (long_mode_active && cs->access & SEG_AR_L)
		return INSN_MODE_64;
	return cs->access & SEG_AR_DB ? INSN_MODE_32 : INSN_MODE_16;
}
