/*
 * What the fuzzers of virtio devices have in common: the input as numbers, a condition that must hold, and what is
 * around a device: local APICs that only count messages, and a platform that is asked for nothing.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdlib.h>
#include <string.h>

#include "hv/dev/apic_bus.h"
#include "hv/dev/platform.h"
#include "hv/lib/panic.h"

#define REQUIRE(condition)                                                                                             \
	do {                                                                                                           \
		if (!(condition))                                                                                      \
			abort();                                                                                       \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct apic_bus apics;
static unsigned messages; /* that were sent by MSI-X */
static const uint8_t *input;
static size_t left;

/* The input's next bytes; zeroes behind its end. */
static uint64_t next(unsigned bytes)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < bytes && left; i++, left--)
		value |= (uint64_t)*input++ << (i * 8);
	return value;
}

/*
 * Block number n, of `size` bytes and not one more, zeroed. It is the same in every run: to allocate and free it each
 * time takes longer than most runs.
 */
static void *zeroed_block(unsigned n, size_t size)
{
	static void *block[16];

	REQUIRE(n < ARRAY_SIZE(block));
	if (!block[n])
		block[n] = malloc(size);
	REQUIRE(block[n]);
	return memset(block[n], 0, size);
}

_Noreturn void panic(const char *fmt, ...)
{
	(void)fmt;
	abort();
}

int apic_bus_deliver(struct apic_bus *bus, uint8_t dest, bool logical, enum apic_delivery mode, uint8_t vector,
		     bool level)
{
	(void)dest, (void)logical, (void)mode, (void)vector;
	REQUIRE(bus == &apics && !level);
	messages++;
	return 0;
}

static void request(void *ctx, enum platform_request what, uint32_t code)
{
	(void)ctx, (void)what, (void)code;
}
