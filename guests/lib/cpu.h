/*
 * The processor for 64-bit guests: interrupts, faults that are survived, control registers, MSRs, and the tables that
 * lib/start64.asm made. SDM Vol. 3A chapters 4 to 6.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "guests/lib/guest.h"

/* What an interrupt finds on the stack: registers pushed by start64.asm, then what the processor pushed. */
struct frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rdx, rcx, rbx, rax;
	uint64_t vector, error; /* error: 0 where the processor pushes none */
	uint64_t rip, cs, rflags, rsp, ss;
};

typedef void interrupt_handler(struct frame *frame);
void interrupt_init(void);					 /* IDT with all 256 gates; called before guest_main */
void interrupt_load(void);					 /* the same IDT for another processor */
void interrupt_set(unsigned vector, interrupt_handler *handler); /* NULL: an exception ends the guest with a report */

/* Calls fn(arg). When it raises an exception that nobody handles, it is abandoned there. The vector, or NO_FAULT. */
#define NO_FAULT 0xffu
struct fault {
	uint64_t error, cr2, rip;
};
unsigned try_call(void (*fn)(void *arg), void *arg, struct fault *fault);
/* expect() that fn(arg) ends with that vector. */
bool expect_fault(const char *what, void (*fn)(void *arg), void *arg, unsigned vector);

enum {
	VECTOR_DE = 0,
	VECTOR_DB = 1,
	VECTOR_NMI = 2,
	VECTOR_BP = 3,
	VECTOR_UD = 6,
	VECTOR_DF = 8,
	VECTOR_GP = 13,
	VECTOR_PF = 14
};

/* Identity map of 4 GiB in 2 MiB pages: the four page directories, to be changed by guests (then write CR3). */
extern uint64_t page_directory[4][512];

static inline uint64_t rdtsc(void)
{
	uint32_t low, high;

	__asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}
static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr) : "memory");
	return (uint64_t)high << 32 | low;
}
static inline void wrmsr(uint32_t msr, uint64_t v)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)) : "memory");
}
/* The same for try_call() and expect_fault(): `msr` is a struct msr. */
struct msr {
	uint32_t index;
	uint64_t value;
};
static inline void do_rdmsr(void *msr)
{
	((struct msr *)msr)->value = rdmsr(((struct msr *)msr)->index);
}
static inline void do_wrmsr(void *msr)
{
	wrmsr(((struct msr *)msr)->index, ((struct msr *)msr)->value);
}
struct cpuid {
	uint32_t eax, ebx, ecx, edx;
};
static inline struct cpuid cpuid(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid r;

	__asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
	return r;
}
#define CONTROL_REGISTER(n)                                                                                            \
	static inline uint64_t read_cr##n(void)                                                                        \
	{                                                                                                              \
		uint64_t v;                                                                                            \
                                                                                                                       \
		__asm__ volatile("mov %%cr" #n ", %0" : "=r"(v) : : "memory");                                         \
		return v;                                                                                              \
	}                                                                                                              \
	static inline void write_cr##n(uint64_t v)                                                                     \
	{                                                                                                              \
		__asm__ volatile("mov %0, %%cr" #n : : "r"(v) : "memory");                                             \
	}
CONTROL_REGISTER(0)
CONTROL_REGISTER(2)
CONTROL_REGISTER(3)
CONTROL_REGISTER(4)
CONTROL_REGISTER(8)

static inline void sti(void)
{
	__asm__ volatile("sti" : : : "memory");
}
static inline void cli(void)
{
	__asm__ volatile("cli" : : : "memory");
}
static inline void pause(void)
{
	__asm__ volatile("pause" : : : "memory");
}
/* STI's shadow covers HLT: an interrupt that is already waiting wakes the HLT instead of slipping in before it. */
static inline void sti_hlt_cli(void)
{
	__asm__ volatile("sti; hlt; cli" : : : "memory");
}
