/* Array indices that a guest chooses (Spectre variant 1, bounds check bypass); docs/side-channels.md. */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stddef.h>

/*
 * `index` where it is below `size`, 0 elsewhere, by arithmetic and not by a branch: also while the processor guesses
 * that the caller's check, which is needed all the same, went well. For an index of a guest's choice into an array
 * whose element leads to another address: what is read behind the array would be seen in the caches.
 */
static inline size_t index_nospec(size_t index, size_t size)
{
	size_t mask;

	__asm__ volatile("cmpq %2, %1; sbbq %0, %0" : "=r"(mask) : "r"(index), "r"(size) : "cc");
	return index & mask;
}
