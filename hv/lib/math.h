/* Arithmetic that C leaves to a runtime library we do not link. */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdint.h>

/*
 * a * b / c with a 128-bit product, rounded down: the way to convert between clock rates. The quotient must fit in
 * 64 bits (a < c or b < c is enough); one that does not is answered with all ones, since DIV would fault.
 */
static inline uint64_t mul_div(uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t low, high, quotient, remainder;

	__asm__("mulq %3" : "=a"(low), "=d"(high) : "a"(a), "rm"(b) : "cc");
	if (high >= c)
		return ~0ULL;
	__asm__("divq %4" : "=a"(quotient), "=d"(remainder) : "a"(low), "d"(high), "rm"(c) : "cc");
	return quotient;
}
