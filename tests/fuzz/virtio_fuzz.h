/*
 * What the fuzzers of virtio devices have in common: the input as numbers, descriptors, and what is around a device:
 * local APICs that only count messages, and a platform that is asked for nothing.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdlib.h>
#include <string.h>

#include "hv/dev/apic_bus.h"
#include "hv/dev/platform.h"
#include "hv/dev/virtqueue.h"
#include "hv/guest_mem.h"
#include "hv/lib/panic.h"
#include "tests/fuzz/fuzz.h"

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

/*
 * Descriptor i of a split ring, which names the one behind it, or of a packed ring, whose first is in the lap of what
 * is taken next; from the ring's size on it is of the lap after.
 */
static inline void put_descriptor(struct guest_mem *mem, const struct virtqueue *q, unsigned i, uint64_t gpa,
				  uint32_t size, uint16_t flags)
{
	struct {
		uint64_t gpa;
		uint32_t size;
		uint16_t flags, next;
	} d = {gpa, size, flags, (uint16_t)((i + 1) % q->size)};
	bool wrap = q->take_wrap == (i < q->size);

	if (q->packed) {
		d.next = (uint16_t)(flags | (wrap ? 0x80 : 0x8000));
		d.flags = (uint16_t)(i % q->size);
	}
	(void)!guest_write(mem, GPA(q->descriptors.value + 16 * (i % q->size)), &d, sizeof(d));
}
