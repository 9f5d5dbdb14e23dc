/*
 * A guest with many ways to misbehave: each is a row of a table, and the first word of the command line that names a
 * row chooses it. tests/boot/test_hostile.py starts a VM for each and knows how each must end; docs/errors.md lists
 * them. An attack that returns ends the guest with the number of its failed expectations (port 0xF4).
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "guests/lib/pc.h"

struct attack {
	const char *name;
	void (*run)(uint64_t arg); /* arg: the number behind the name, in hexadecimal, or 0 */
};

/* Each ends with a row without a name. */
extern const struct attack attacks_cpu[], attacks_memory[], attacks_io[], attacks_smp[], attacks_secrets[],
    attacks_fuzz[];

/* A failed expectation is printed, a good one is not: there are tens of thousands. */
void check(const char *what, bool ok, uint64_t detail);

/* The same numbers each time. */
uint32_t random32(void);
uint64_t random64(void);

/* The processor's own ticks. */
uint64_t ticks_of_ms(unsigned ms);
/* True until the guest's clock shows `ms` more than at the first call; for attacks that last. */
bool for_ms(unsigned ms);

/* Runs machine code of at most 60 bytes, with RAX, RCX, RDX, RBX, RSI, RDI and R8 as given. The vector, or NO_FAULT. */
struct code_registers {
	uint64_t rax, rcx, rdx, rbx, rsi, rdi, r8;
};
unsigned run_code(const void *code, unsigned size, struct code_registers *regs, struct fault *fault);
void call_code(void *regs); /* entry.asm; for try_call */
extern uint8_t code_page[4096];

/* Linear pages, with absent ones on both sides, that show the guest-physical ones from `gpa` on. */
void *map_window(uint64_t gpa, unsigned pages);

/* cpu.c: a processor that delivers #DB without end. Only another one can end the VM. */
void debug_loop(void);

/*
 * smp.c: everything for a start of the second processor, which will call work(): its first code at 0x8000, a handler
 * for every interrupt, the local APIC on.
 */
void smp_prepare(void (*work)(void));
/* smp.c: starts the second processor, which calls work() on its stack, and waits until it runs; again after INIT. */
void smp_begin(void (*work)(void));
void smp_again(void);
/* What it had at its first instruction, in secrets.asm's order: low halves but of R8 to R15. */
extern uint64_t ap_registers[15];
