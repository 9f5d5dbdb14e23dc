/*
 * The decoder and emulator against the processor that runs this test: each instruction is executed natively on random
 * registers, flags and memory, and by insn_execute(); registers, defined flags and memory must agree. What can't run
 * here (16- and 32-bit code, FS) is checked field by field.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/decode.c hv/emulate.c */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "hv/decode.h"

#define CF     0x001u
#define PF     0x004u
#define AF     0x010u
#define SF     0x080u
#define DF     0x400u
#define OF     0x800u
#define STATUS 0x8d5u
#define MEMORY 256
#define MIDDLE 128

void run_native(const void *code, uint64_t *reg, uint64_t *rflags);

/* Loads flags and all registers but RSP, calls the code, stores them again. */
__asm__(".intel_syntax noprefix\n"
	"run_native:\n"
	"	push rbx; push rbp; push r12; push r13; push r14; push r15\n"
	"	push rdx; push rsi; push rdi\n"
	"	push qword ptr [rdx]; popfq\n"
	"	mov rax, rsi\n"
	"	mov rcx, [rax+8]; mov rdx, [rax+16]; mov rbx, [rax+24]; mov rbp, [rax+40]; mov rsi, [rax+48]; mov rdi, "
	"[rax+56]\n"
	"	mov r8, [rax+64]; mov r9, [rax+72]; mov r10, [rax+80]; mov r11, [rax+88]\n"
	"	mov r12, [rax+96]; mov r13, [rax+104]; mov r14, [rax+112]; mov r15, [rax+120]\n"
	"	mov rax, [rax]\n"
	"	call [rsp]\n"
	"	push rax; pushfq\n"
	"	mov rax, [rsp+24]\n"
	"	mov [rax+8], rcx; mov [rax+16], rdx; mov [rax+24], rbx; mov [rax+40], rbp; mov [rax+48], rsi; mov "
	"[rax+56], rdi\n"
	"	mov [rax+64], r8; mov [rax+72], r9; mov [rax+80], r10; mov [rax+88], r11\n"
	"	mov [rax+96], r12; mov [rax+104], r13; mov [rax+112], r14; mov [rax+120], r15\n"
	"	mov rcx, [rsp+8]; mov [rax], rcx\n"
	"	mov rcx, [rsp]; mov rdx, [rsp+32]; mov [rdx], rcx\n"
	"	cld\n"
	"	add rsp, 40\n"
	"	pop r15; pop r14; pop r13; pop r12; pop rbp; pop rbx\n"
	"	ret\n"
	".att_syntax\n");

static uint8_t *memory, *code; /* below 4 GiB, so that 32-bit addresses reach them */
static uint64_t seed = 88172645463325252ULL;
static unsigned long compared;

static uint64_t next_random(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* Corner values are where flags go wrong. */
static uint64_t random_value(void)
{
	static const uint64_t corner[] = {0,
					  1,
					  0x7f,
					  0x80,
					  0xff,
					  0x7fff,
					  0x8000,
					  0x7fffffff,
					  0x80000000,
					  0xffffffff,
					  0x7fffffffffffffff,
					  0x8000000000000000,
					  0xffffffffffffffff,
					  15,
					  16};
	uint64_t r = next_random();

	return r & 1 ? corner[(r >> 8) % ARRAY_SIZE(corner)] : next_random();
}

/* Memory for the emulator: any address in the buffer. */
static uint8_t *at(uint64_t address, unsigned size)
{
	uint64_t base = (uint64_t)(uintptr_t)memory;

	assert_true(address >= base && address + size <= base + MEMORY);
	return memory + (address - base);
}

/* BT m, r: the register's upper bits, signed, choose the word beside the operand (SDM Vol. 2A, BT). */
static uint64_t bit_string_offset(const struct insn *insn, const uint64_t *reg)
{
	int64_t number;

	if (insn->op < INSN_BT || insn->op > INSN_BTC || insn->has_imm)
		return 0;
	number = insn->mem_size == 2   ? (int16_t)reg[insn->reg]
		 : insn->mem_size == 4 ? (int32_t)reg[insn->reg]
				       : (int64_t)reg[insn->reg];
	return (uint64_t)((number & ~(8LL * insn->mem_size - 1)) / 8);
}

/* Where an instruction's operand lies: what the processor would say at an exit, and the decoder does not. */
struct operand {
	int64_t disp; /* from RDI on */
	int index;    /* REG_*, or -1 */
	unsigned scale;
	bool absolute; /* from the buffer's beginning on instead */
};
static const struct operand usual = {.disp = 8, .index = -1}; /* [rdi + 8] */

static uint64_t address_of(const struct operand *o, const struct insn *insn, const uint64_t *reg)
{
	uint64_t address = (o->absolute ? (uint64_t)(uintptr_t)memory : reg[REG_RDI]) + (uint64_t)o->disp;

	if (o->index >= 0)
		address += reg[o->index] * o->scale;
	return address + bit_string_offset(insn, reg);
}

static void emulate(const struct insn *insn, const struct operand *operand, uint64_t *reg, uint64_t *rflags)
{
	uint64_t base[6] = {0}, value, new;
	bool string = insn->op >= INSN_MOVS;
	int again = insn_has_work(insn, reg);

	for (int first = 1; again && (first || again == 1); first = 0) {
		uint64_t from = string ? insn_string_source(insn, reg, base) : address_of(operand, insn, reg);
		uint64_t to = string ? insn_string_dest(insn, reg, base) : from;

		value = 0;
		if (insn->kind != INSN_WRITE)
			memcpy(&value, at(from, insn->mem_size), insn->mem_size);
		again = insn_execute(insn, value, reg, rflags, &new);
		assert_true(again == 0 || again == 1);
		if (insn->kind != INSN_READ)
			memcpy(at(to, insn->mem_size), &new, insn->mem_size);
	}
}

static uint64_t undefined_flags(enum insn_op op)
{
	if (op == INSN_AND || op == INSN_OR || op == INSN_XOR || op == INSN_TEST)
		return AF;
	return op >= INSN_BT && op <= INSN_BTC ? OF | SF | AF | PF : 0;
}

static void compare(const struct insn *insn, const struct operand *operand, const uint64_t *start, uint64_t flags)
{
	uint64_t native[REG_COUNT], mine[REG_COUNT], native_flags = flags, my_flags = flags;
	uint8_t before[MEMORY], after[MEMORY];
	uint64_t keep = (STATUS | DF) & ~undefined_flags(insn->op);

	memcpy(native, start, sizeof(native));
	memcpy(mine, start, sizeof(mine));
	memcpy(before, memory, MEMORY);
	run_native(code, native, &native_flags);
	memcpy(after, memory, MEMORY);
	memcpy(memory, before, MEMORY);
	emulate(insn, operand, mine, &my_flags);
	for (int i = 0; i < REG_COUNT; i++)
		if (mine[i] != native[i])
			fail_msg("register %d: %#lx, the processor has %#lx (before: %#lx)", i, mine[i], native[i],
				 start[i]);
	if ((my_flags ^ native_flags) & keep)
		fail_msg("flags %#lx, the processor has %#lx (before: %#lx)", my_flags & keep, native_flags & keep,
			 flags);
	assert_memory_equal(memory, after, MEMORY);
	compared++;
}

/* Random state that keeps addresses inside the buffer: RDI at its middle, RSI and the others as the case wants. */
static void random_state(const struct insn *insn, const struct operand *operand, uint64_t *reg, uint64_t *flags)
{
	for (int i = 0; i < REG_COUNT; i++)
		reg[i] = random_value();
	for (int i = 0; i < MEMORY; i += 8)
		memcpy(memory + i, &(uint64_t){random_value()}, 8);
	*flags = 2 | (next_random() & STATUS);
	reg[REG_RDI] = (uint64_t)(uintptr_t)memory + MIDDLE;
	if (insn->op >= INSN_MOVS) {
		reg[REG_RSI] = (uint64_t)(uintptr_t)memory + MIDDLE - 8;
		reg[REG_RCX] = next_random() % 8;
		*flags |= next_random() & DF;
	}
	if (insn->op >= INSN_BT && insn->op <= INSN_BTC && !insn->has_imm)
		reg[insn->reg] = (reg[insn->reg] % 512) - 256;
	if (insn->op == INSN_CMPXCHG && next_random() & 1)
		memcpy(&reg[REG_RAX], memory + MIDDLE + 8, 8);
	if (operand->index >= 0)
		reg[operand->index] = next_random() % 8;
}

static void check_at(const uint8_t *bytes, size_t size, const struct operand *operand)
{
	uint64_t reg[REG_COUNT], flags;
	struct insn insn;
	char text[64] = "";

	for (size_t i = 0; i < size; i++)
		sprintf(text + 3 * i, "%02x ", bytes[i]);
	if (insn_decode(&insn, INSN_MODE_64, bytes, size) || insn.length != size)
		fail_msg("%s: not decoded to its end", text);
	if (insn_decode(&insn, INSN_MODE_64, bytes, size - 1) != -E_RANGE)
		fail_msg("%s: decoded without its last byte", text);
	assert_int_equal(insn_decode(&insn, INSN_MODE_64, bytes, size), 0);
	memcpy(code, bytes, size);
	code[size] = 0xc3; /* ret */
	for (int i = 0; i < 40; i++) {
		random_state(&insn, operand, reg, &flags);
		compare(&insn, operand, reg, flags);
	}
}

static void check(const uint8_t *bytes, size_t size)
{
	check_at(bytes, size, &usual);
}

struct bytes {
	size_t n;
	uint8_t b[32];
};

static void put(struct bytes *s, uint64_t value, unsigned size)
{
	memcpy(s->b + s->n, &value, size);
	s->n += size;
}

enum { NO_IMM, IMM8, IMMZ };

/* prefix, [0f] opcode, ModRM for [rdi + 8], immediate. */
static void check_modrm(unsigned prefix, unsigned opcode, unsigned field, int imm)
{
	struct bytes s = {0};

	if (prefix)
		put(&s, prefix, 1);
	if (opcode >> 8)
		put(&s, 0x0f, 1);
	put(&s, opcode, 1);
	put(&s, 0x47 | field << 3, 1);
	put(&s, 8, 1);
	if (imm == IMM8)
		put(&s, random_value(), 1);
	if (imm == IMMZ)
		put(&s, random_value(), prefix == 0x66 ? 2 : 4);
	check(s.b, s.n);
}

/* No prefix, 66, REX.W, REX.R (R8 to R15), REX (SPL to DIL). */
static const uint8_t prefixes[] = {0, 0x66, 0x48, 0x44, 0x40};

/* RSP as a register operand can't be tried here, and AH is not encodable with REX. */
static void check_registers(unsigned opcode, bool is_byte, bool bit_string)
{
	for (unsigned p = 0; p < sizeof(prefixes); p++)
		for (unsigned field = 0; field < 8; field++) {
			bool has_rex = prefixes[p] >> 4 == 4;
			bool rsp = field == REG_RSP && prefixes[p] != 0x44 && !(is_byte && !has_rex);
			bool base = field == REG_RDI && prefixes[p] != 0x44;

			if (!rsp && !(bit_string && base))
				check_modrm(prefixes[p], opcode, field, NO_IMM);
		}
}

static void alu_register_forms(void **s)
{
	(void)s;
	for (unsigned op = 0; op < 8; op++)
		for (unsigned form = 0; form < 4; form++)
			check_registers(op << 3 | form, !(form & 1), false);
}

static void moves_tests_exchanges(void **s)
{
	(void)s;
	for (unsigned opcode = 0x84; opcode <= 0x8b; opcode++)
		check_registers(opcode, !(opcode & 1), false);
	check_registers(0x63, false, false);
	check_registers(0xfb0, true, false);
	check_registers(0xfb1, false, false);
	check_registers(0xfc0, true, false);
	check_registers(0xfc1, false, false);
	check_registers(0xfb6, false, false);
	check_registers(0xfb7, false, false);
	check_registers(0xfbe, false, false);
	check_registers(0xfbf, false, false);
}

static void bit_strings(void **s)
{
	(void)s;
	check_registers(0xfa3, false, true);
	check_registers(0xfab, false, true);
	check_registers(0xfb3, false, true);
	check_registers(0xfbb, false, true);
	for (unsigned p = 0; p < 3; p++)
		for (unsigned field = 4; field < 8; field++)
			for (int i = 0; i < 20; i++)
				check_modrm(prefixes[p], 0xfba, field, IMM8);
}

static void immediate_forms(void **s)
{
	(void)s;
	for (unsigned p = 0; p < 3; p++) {
		for (unsigned field = 0; field < 8; field++)
			for (int i = 0; i < 20; i++) {
				check_modrm(prefixes[p], 0x80, field, IMM8);
				check_modrm(prefixes[p], 0x81, field, IMMZ);
				check_modrm(prefixes[p], 0x83, field, IMM8);
			}
		for (int i = 0; i < 20; i++) {
			check_modrm(prefixes[p], 0xc6, 0, IMM8);
			check_modrm(prefixes[p], 0xc7, 0, IMMZ);
			check_modrm(prefixes[p], 0xf6, 0, IMM8);
			check_modrm(prefixes[p], 0xf7, 0, IMMZ);
		}
		for (unsigned opcode = 0xf6; opcode <= 0xf7; opcode++) { /* NOT, NEG */
			check_modrm(prefixes[p], opcode, 2, NO_IMM);
			check_modrm(prefixes[p], opcode, 3, NO_IMM);
		}
		for (unsigned opcode = 0xfe; opcode <= 0xff; opcode++) { /* INC, DEC */
			check_modrm(prefixes[p], opcode, 0, NO_IMM);
			check_modrm(prefixes[p], opcode, 1, NO_IMM);
		}
	}
}

static void lock_prefix(void **s)
{
	(void)s;
	check((uint8_t[]){0xf0, 0x48, 0x0f, 0xc1, 0x47, 0x08}, 6); /* lock xadd [rdi+8], rax */
	check((uint8_t[]){0xf0, 0x0f, 0xb1, 0x4f, 0x08}, 5);	   /* lock cmpxchg [rdi+8], ecx */
	check((uint8_t[]){0xf0, 0x66, 0x83, 0x4f, 0x08, 0x80}, 6); /* lock or word [rdi+8], -128 */
}

/* Displacement from RDI, index and scale of the operand; the instruction. */
#define CHECK_AT(disp, index, scale, ...)                                                                              \
	check_at((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}),                               \
		 &(struct operand){disp, index, scale, false})

static void address_forms(void **s)
{
	static const struct operand absolute = {.disp = 24, .index = -1, .absolute = true};
	struct bytes moffs;

	(void)s;
	CHECK_AT(0, -1, 0, 0x8b, 0x07);				     /* mov eax, [rdi] */
	CHECK_AT(-16, -1, 0, 0x8b, 0x87, 0xf0, 0xff, 0xff, 0xff);    /* mov eax, [rdi-16] (disp32) */
	CHECK_AT(0, REG_RCX, 8, 0x8b, 0x04, 0xcf);		     /* mov eax, [rdi+rcx*8] */
	CHECK_AT(16, REG_RCX, 2, 0x8b, 0x44, 0x4f, 0x10);	     /* mov eax, [rdi+rcx*2+16] */
	CHECK_AT(8, REG_R12, 4, 0x4e, 0x8b, 0xb4, 0xa7, 8, 0, 0, 0); /* mov r14, [rdi+r12*4+8] */
	CHECK_AT(0, -1, 0, 0x8b, 0x04, 0x27);			     /* mov eax, [rdi] (SIB, no index) */
	CHECK_AT(4, -1, 0, 0x67, 0x8b, 0x47, 0x04);		     /* mov eax, [edi+4] */
	CHECK_AT(0, -1, 0, 0x3e, 0x8b, 0x07);			     /* DS prefix: nothing */
	CHECK_AT(0, -1, 0, 0x48, 0x66, 0x8b, 0x07);		     /* REX before a prefix: nothing */
	for (unsigned opcode = 0xa0; opcode <= 0xa3; opcode++) {     /* mov accumulator, [moffs64] */
		moffs = (struct bytes){0};
		put(&moffs, opcode, 1);
		put(&moffs, (uint64_t)(uintptr_t)memory + 24, 8);
		check_at(moffs.b, moffs.n, &absolute);
		moffs = (struct bytes){0};
		put(&moffs, 0x48, 1);
		put(&moffs, opcode, 1);
		put(&moffs, (uint64_t)(uintptr_t)memory + 24, 8);
		check_at(moffs.b, moffs.n, &absolute);
		moffs = (struct bytes){0};
		put(&moffs, 0x67, 1);
		put(&moffs, opcode, 1);
		put(&moffs, (uint64_t)(uintptr_t)memory + 24, 4);
		check_at(moffs.b, moffs.n, &absolute);
	}
}

static void string_instructions(void **s)
{
	static const uint8_t opcodes[] = {0xa4, 0xa5, 0xaa, 0xab, 0xac, 0xad};
	static const uint8_t before[] = {0, 0xf3, 0xf2, 0x67};

	(void)s;
	for (unsigned o = 0; o < sizeof(opcodes); o++)
		for (unsigned b = 0; b < sizeof(before); b++)
			for (unsigned p = 0; p < 3; p++) {
				struct bytes i = {0};

				if (before[b])
					put(&i, before[b], 1);
				if (prefixes[p])
					put(&i, prefixes[p], 1);
				put(&i, opcodes[o], 1);
				check(i.b, i.n);
			}
}

/* --- what this test can't execute -------------------------------------------------------------------------------- */

static struct insn decode(enum insn_mode mode, const uint8_t *bytes, size_t size)
{
	struct insn insn;

	assert_int_equal(insn_decode(&insn, mode, bytes, size), 0);
	assert_int_equal(insn.length, size);
	return insn;
}
#define DECODE(mode, ...) decode(mode, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

/* Of addresses only the length counts (SDM Vol. 2A tables 2-1 to 2-3). */
static void code_of_16_bits(void **s)
{
	uint64_t base[6] = {0x10000, 0x20000, 0x30000, 0xb8000, 0, 0}, reg[REG_COUNT] = {[REG_RDI] = 0xdead0004};
	struct insn i;

	(void)s;
	i = DECODE(INSN_MODE_16, 0x89, 0x00); /* mov [bx+si], ax */
	assert_int_equal(i.kind, INSN_WRITE);
	assert_int_equal(i.mem_size, 2);
	i = DECODE(INSN_MODE_16, 0x66, 0x8b, 0x46, 0x20); /* mov eax, [bp+32] */
	assert_int_equal(i.mem_size, 4);
	DECODE(INSN_MODE_16, 0x8b, 0x86, 0x20, 0x00);		      /* mov ax, [bp+20h] (disp16) */
	DECODE(INSN_MODE_16, 0x26, 0xa1, 0x34, 0x82);		      /* mov ax, es:[8234h] */
	i = DECODE(INSN_MODE_16, 0xc7, 0x06, 0x00, 0x10, 0x20, 0x07); /* mov word [1000h], 720h */
	assert_int_equal(i.imm, 0x720);
	i = DECODE(INSN_MODE_16, 0x67, 0x8a, 0x84, 0x73, 0, 1, 0, 0); /* mov al, [ebx+esi*2+100h] */
	assert_int_equal(i.address_size, 4);
	i = DECODE(INSN_MODE_16, 0xf3, 0xab); /* rep stosw: ES:DI */
	assert_int_equal(i.mem_size, 2);
	assert_int_equal(insn_string_dest(&i, reg, base), 0x10004);
}

static void code_of_32_bits(void **s)
{
	uint64_t base[6] = {0, 0, 0, 0xfffff000, 0, 0x5000}, reg[REG_COUNT] = {[REG_RSI] = 0x1100};
	struct insn i;

	(void)s;
	i = DECODE(INSN_MODE_32, 0x8b, 0x88, 0x00, 0x08, 0x00, 0x00); /* mov ecx, [eax+800h] */
	assert_int_equal(i.reg, REG_RCX);
	DECODE(INSN_MODE_32, 0x8b, 0x05, 0x00, 0x00, 0xe0, 0xfe);	/* mov eax, [fee00000h] */
	DECODE(INSN_MODE_32, 0x8b, 0x04, 0x25, 0x00, 0x00, 0xe0, 0xfe); /* the same with a SIB byte */
	i = DECODE(INSN_MODE_32, 0x65, 0x88, 0x64, 0x24, 0x04);		/* mov gs:[esp+4], ah */
	assert_true(i.high_byte);
	DECODE(INSN_MODE_32, 0x67, 0x8b, 0x46, 0xfc);		/* mov eax, [bp-4] */
	i = DECODE(INSN_MODE_32, 0x66, 0xc7, 0x00, 0x34, 0x12); /* mov word [eax], 1234h */
	assert_int_equal(i.mem_size, 2);
	i = DECODE(INSN_MODE_32, 0xac); /* lodsb: wraps at 4 GiB */
	assert_int_equal(insn_string_source(&i, reg, base), 0x100);
	i = DECODE(INSN_MODE_32, 0x65, 0xa4); /* movsb from GS */
	assert_int_equal(insn_string_source(&i, reg, base), 0x6100);
	assert_int_equal(insn_string_dest(&i, reg, base), 0);
}

static void code_of_64_bits(void **s)
{
	uint64_t base[6] = {1, 2, 3, 4, 0x100000, 0x200000}, reg[REG_COUNT] = {[REG_RSI] = 0xffff800000001100};
	struct insn i;

	(void)s;
	i = DECODE(INSN_MODE_64, 0xc7, 0x05, 0xf6, 0xff, 0xff, 0xff, 1, 0, 0, 0); /* mov dword [rip-10], 1 */
	assert_int_equal(i.imm, 1);
	DECODE(INSN_MODE_64, 0x64, 0x2e, 0x8b, 0x04, 0x25, 0x10, 0, 0, 0); /* mov eax, fs:[16] */
	DECODE(INSN_MODE_64, 0x67, 0x8b, 0x05, 0, 0, 0, 0);		   /* mov eax, [eip] */
	i = DECODE(INSN_MODE_64, 0x64, 0x2e, 0xa4);			   /* movsb from FS: the CS prefix is void */
	assert_int_equal(insn_string_source(&i, reg, base), 0xffff800000101100);
	i = DECODE(INSN_MODE_64, 0x2e, 0xa4);
	assert_int_equal(insn_string_source(&i, reg, base), 0xffff800000001100);
	i = DECODE(INSN_MODE_64, 0x67, 0xa4); /* ESI */
	assert_int_equal(insn_string_source(&i, reg, base), 0x1100);
}

static void expect(enum insn_mode mode, int err, const uint8_t *bytes, size_t size)
{
	struct insn insn;

	assert_int_equal(insn_decode(&insn, mode, bytes, size), err);
}
#define EXPECT(mode, err, ...) expect(mode, err, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void refused(void **s)
{
	struct insn i;
	uint64_t reg[REG_COUNT] = {0}, flags = 2, new;

	(void)s;
	EXPECT(INSN_MODE_64, -E_NOTSUP, 0x0f, 0x28, 0x07);	       /* movaps xmm0, [rdi] */
	EXPECT(INSN_MODE_64, -E_NOTSUP, 0xf3, 0x6c);		       /* rep insb: an I/O exit */
	EXPECT(INSN_MODE_64, -E_NOTSUP, 0xff, 0x37);		       /* push [rdi] */
	EXPECT(INSN_MODE_64, -E_NOTSUP, 0x0f, 0xc7, 0x0f);	       /* cmpxchg8b [rdi] */
	EXPECT(INSN_MODE_64, -E_NOTSUP, 0x0f, 0xba, 0x07, 0x00);       /* 0F BA /0 */
	EXPECT(INSN_MODE_32, -E_NOTSUP, 0x63, 0x07);		       /* arpl */
	EXPECT(INSN_MODE_64, -E_NOTSUP, 0xc4, 0xe2, 0x79, 0x18, 0x07); /* VEX */
	EXPECT(INSN_MODE_32, -E_NOTSUP, 0x48, 0x8b, 0x07);	       /* dec eax */
	EXPECT(INSN_MODE_64, -E_RANGE, 0x66);
	EXPECT(INSN_MODE_64, -E_RANGE, 0x0f);
	expect(INSN_MODE_64, -E_RANGE, NULL, 0);
	EXPECT(INSN_MODE_64, -E_FORMAT, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
	       0x66, 0x8b, 0x07);
	i = DECODE(INSN_MODE_64, 0x89, 0xc8); /* mov eax, ecx */
	assert_int_equal(i.kind, INSN_NO_MEMORY);
	assert_int_equal(insn_execute(&i, 0, reg, &flags, &new), -E_INVAL);
}

static void modes(void **s)
{
	struct segment code16 = {.access = 0x9b}, code32 = {.access = 0xc09b}, code64 = {.access = 0xa09b};

	(void)s;
	assert_int_equal(insn_mode_of(&code16, false), INSN_MODE_16);
	assert_int_equal(insn_mode_of(&code32, true), INSN_MODE_32);
	assert_int_equal(insn_mode_of(&code64, true), INSN_MODE_64);
	assert_int_equal(insn_mode_of(&code64, false), INSN_MODE_16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(alu_register_forms),
	    cmocka_unit_test(moves_tests_exchanges),
	    cmocka_unit_test(bit_strings),
	    cmocka_unit_test(immediate_forms),
	    cmocka_unit_test(lock_prefix),
	    cmocka_unit_test(address_forms),
	    cmocka_unit_test(string_instructions),
	    cmocka_unit_test(code_of_16_bits),
	    cmocka_unit_test(code_of_32_bits),
	    cmocka_unit_test(code_of_64_bits),
	    cmocka_unit_test(refused),
	    cmocka_unit_test(modes),
	};
	int failed;

	code = mmap(NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	if (code == MAP_FAILED)
		return 1;
	memory = code + 4096;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	printf("%lu executions compared with the processor\n", compared);
	return failed;
}
