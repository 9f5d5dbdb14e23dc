/*
 * What the fuzzing guest's parts share: where things lie in its memory, and the pieces of code that its second
 * processor runs. fuzz.c leads, fuzz_code.c makes the pieces, fuzz.asm runs them one after the other.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "tests/guest/hostile/hostile.h"

#define FUZZ_PIECES 48

/* The second processor's world in long mode, from 2 MiB on; fuzz.asm has the first ones, too. */
enum {
	FUZZ_CONTROL = 0x200000, /* struct fuzz_control */
	FUZZ_GDT = 0x201000,
	FUZZ_IDT = 0x202000,
	FUZZ_TSS = 0x203000,
	FUZZ_TRAP_STACK = 0x205000, /* its top */
	FUZZ_RECORDS = 0x206000,    /* struct fuzz_piece, FUZZ_PIECES of them */
	FUZZ_CODE = 0x20a000,	    /* FUZZ_CODE_SIZE bytes for each */
	FUZZ_SCRATCH = 0x20c000,
	FUZZ_STACK = 0x20fff0, /* its top */
	FUZZ_TABLES = 0x210000,
	FUZZ_PML4 = FUZZ_TABLES, /* the page tables, a page each */
	FUZZ_PDPT = 0x211000,
	FUZZ_PD_LOW = 0x212000,
	FUZZ_PD_HIGH = 0x213000,
	FUZZ_PT_LOW = 0x214000,
	FUZZ_PT_OWN = 0x215000,
	FUZZ_PT_USER = 0x216000,
	FUZZ_USER = 0x400000, /* so far above FUZZ_CODE to FUZZ_STACK they are seen at privilege level 3 */
	/* And in real and protected mode, below 1 MiB. */
	FUZZ_LOW_CONTROL = 0x9f00,
	FUZZ_LOW_RECORDS = 0xa000, /* struct fuzz_low_piece */
	FUZZ_LOW_IDT = 0x6000,
};
#define FUZZ_CODE_SIZE	  128u
#define FUZZ_SCRATCH_SIZE 0x2000u

enum { /* selectors */
       FUZZ_CODE64 = 0x08,
       FUZZ_DATA = 0x10,
       FUZZ_USER_CODE64 = 0x1b,
       FUZZ_USER_DATA = 0x23,
       FUZZ_CODE32 = 0x28,
       FUZZ_USER_CODE32 = 0x33,
       FUZZ_CODE16 = 0x38,
       FUZZ_USER_CODE16 = 0x43,
       FUZZ_TSS_SELECTOR = 0x48,
       /* of protected mode without paging */
       FUZZ_LOW_CODE32 = 0x08,
       FUZZ_LOW_CODE16 = 0x20,
};

struct fuzz_control {
	uint64_t next, done, count;
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) gdtr, idtr;
	/* Behind them fuzz.asm keeps CR0 and CR4. */
};

/* Registers in the order of struct registers (secrets.c); then what IRETQ takes. */
enum { FUZZ_RAX, FUZZ_RCX, FUZZ_RDX, FUZZ_RBX, FUZZ_RBP, FUZZ_RSI, FUZZ_RDI, FUZZ_R8, FUZZ_REGISTERS = 15 };
struct fuzz_piece {
	uint64_t reg[FUZZ_REGISTERS];
	uint64_t rip, cs, rflags, rsp, ss;
};

struct fuzz_low_control {
	uint16_t next, count, done, address;
};
struct fuzz_low_piece {
	uint32_t reg[7]; /* RAX to RDI as above */
	uint16_t flags, cs;
	uint8_t code[96];
};

enum fuzz_kind {
	FUZZ_KIND_CODE,
	FUZZ_KIND_MSR,
	FUZZ_KIND_PORT,
	FUZZ_KIND_MMIO,
	FUZZ_KIND_CONTROL,
	FUZZ_KIND_PAGES,
	FUZZ_KIND_TABLES,
	FUZZ_KIND_CALLS,
	FUZZ_KIND_IPIS,
	FUZZ_KIND_MIXED,
	FUZZ_KIND_REAL,
	FUZZ_KIND_PROTECTED,
	FUZZ_KINDS
};

/* fuzz_code.c. All numbers of a case follow from its seed, which also chooses the kind. */
enum fuzz_kind fuzz_begin(uint64_t seed);
uint64_t fuzz_random(void);
/* A piece of that kind: its registers and at most FUZZ_CODE_SIZE bytes. `code` is where they will run. */
void fuzz_make(enum fuzz_kind kind, struct fuzz_piece *piece, uint8_t *code, uint64_t address);
/* The same for real and protected mode. */
void fuzz_make_low(enum fuzz_kind kind, struct fuzz_low_piece *piece);
