/*
 * The fuzzer's input as a script that is read from its beginning: what it says next, and how much of it is left. For a
 * fuzzer that asks step by step what to do; one that looks at a file takes the bytes as they are.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stddef.h>
#include <stdint.h>

static const uint8_t *input;
static size_t left;

static inline void input_begin(const uint8_t *data, size_t size)
{
	input = data;
	left = size;
}

/* The next 1 to 8 bytes, the lowest first; those behind the end are zero. */
static inline uint64_t next(unsigned bytes)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < bytes && left; i++, left--)
		value |= (uint64_t)*input++ << (i * 8);
	return value;
}
