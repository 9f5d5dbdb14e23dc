/*
 * The stack protector's canary, and what becomes of a function that finds it changed. The compiler puts it between a
 * function's arrays and its return address (-fstack-protector-strong); GCC makes the uses of both names by itself,
 * after link-time optimisation has looked for their definitions, so this file is compiled without it.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/entropy.h"
#include "arch/x86/insn.h"
#include "arch/x86/slide.h"
#include "hv/lib/panic.h"

#define ODD_MIX 0x9e3779b97f4a7c15ULL /* 2^64 over the golden ratio, made odd: spreads low bits over the high ones */

extern uint64_t __stack_chk_guard;
RO_AFTER_INIT uint64_t __stack_chk_guard;

void canary_init(void);
_Noreturn void __stack_chk_fail(void);

/*
 * Called by start.asm before anything else. No function that has begun with the old value may end with the new one:
 * this one is not protected, and what it calls has ended before. Without RDSEED and RDRAND there is the time alone,
 * which is guessed more easily. The lowest byte is 0, so that no copied string can bring the canary along.
 */
__attribute__((no_stack_protector)) void canary_init(void)
{
	uint64_t value;

	if (entropy_read(&value))
		value = 0;
	value ^= rdtsc() * ODD_MIX;
	__stack_chk_guard = value & ~0xffULL;
}

/* The return address that was written over can't be told: this is where the function ends that found it. */
void __stack_chk_fail(void)
{
	panic("stack smashed: something wrote past an array of the function that ends at 0x%llx",
	      (unsigned long long)core_linked((uint64_t)__builtin_return_address(0)));
}
