/*
 * A virtqueue whose rings hold anything: the input says which kind of queue, then writes to the guest's memory between
 * calls of the device. Some steps write what a driver would, so that chains are found; areas may lie in each other. The
 * guest's memory is of three regions, two of which adjoin, each a block of its size.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/virtqueue.c hv/guest_mem.c */
/* flags: -fno-sanitize-coverage=trace-cmp */
#include <stdlib.h>
#include <string.h>

#include "hv/dev/virtqueue.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"

#define REGIONS 3
#define BASE	0x1000u
#define RING	BASE
#define DRIVER	(BASE + 0x1000u)
#define DEVICE	(BASE + 0x1800u)
#define TABLE	0x10000u

static const struct {
	uint64_t gpa, size;
} region[REGIONS] = {{BASE, 2 * PAGE_SIZE}, {BASE + 2 * PAGE_SIZE, PAGE_SIZE}, {TABLE, PAGE_SIZE}};

static struct guest_mem mem;
static struct virtqueue q;
static struct virtqueue_chain held[VIRTQUEUE_MAX_SIZE + 1]; /* taken and not given; the last is never full */
static unsigned held_count;

static void write16(uint64_t gpa, uint16_t value)
{
	(void)!guest_write(&mem, GPA(gpa), &value, sizeof(value));
}

/* --- what changes the guest's memory --- */

static void write_anything(void)
{
	uint64_t gpa = next(2);
	unsigned size = next(1) % 64;

	for (unsigned i = 0; i < size && left; i++) {
		uint8_t byte = (uint8_t)next(1);

		(void)!guest_write(&mem, GPA(gpa + i), &byte, 1);
	}
}

static void write_descriptor(void)
{
	struct {
		uint64_t gpa;
		uint32_t size;
		uint16_t third, fourth;
	} d;
	unsigned place = next(1), shape = next(1);
	uint64_t at = (shape & 1 ? TABLE : q.descriptors.value) + 16 * (place % 32);

	d.gpa = shape & 2 ? TABLE : next(4);
	if (place & 0x80) /* near the end of the address space */
		d.gpa = UINT64_MAX - d.gpa % 512;
	d.size = shape & 4 ? 16 * (shape >> 3) : next(shape & 8 ? 4 : 1);
	d.third = (uint16_t)next(1);
	d.fourth = (uint16_t)next(1);
	if (q.packed && q.take_wrap)
		d.fourth |= 0x80;
	else if (q.packed)
		d.fourth |= 0x8000;
	(void)!guest_write(&mem, GPA(at), &d, sizeof(d));
}

/* Some more heads are in the available ring; or the next descriptor is marked as the driver does it. */
static void make_available(void)
{
	unsigned count = next(1);
	uint16_t flags;
	uint64_t at;

	if (q.packed) {
		at = q.descriptors.value + 16 * q.next_take + 14;
		flags = (uint16_t)(count & 7) | (q.take_wrap ? 0x80 : 0x8000);
		write16(at, flags);
		return;
	}
	count %= 4;
	for (unsigned i = 0; i < count && q.size; i++)
		write16(q.driver.value + 4 + 2 * ((q.next_take + i) % q.size), (uint16_t)next(1) % q.size);
	write16(q.driver.value + 2, (uint16_t)(q.next_take + count));
}

static void write_event(void)
{
	unsigned choice = next(1);

	if (!q.packed) {
		write16(q.driver.value + 4 + 2 * q.size, (uint16_t)(q.next_give - 2 + choice % 4));
		return;
	}
	write16(q.driver.value, (uint16_t)((q.next_give + choice % 8) % (q.size + 1) | (choice & 8) << 12));
	write16(q.driver.value + 2, (uint16_t)(choice >> 4));
}

/* --- what the device does --- */

static void check_queue(void)
{
	unsigned slots = 0;

	for (unsigned i = 0; i < held_count; i++)
		slots += held[i].slots;
	REQUIRE(q.in_flight == slots && q.in_flight <= q.size);
	REQUIRE(!q.enabled || (q.size && q.size <= VIRTQUEUE_MAX_SIZE));
	REQUIRE(!q.enabled || !q.packed || (q.next_take < q.size && q.next_give < q.size));
	REQUIRE(q.packed || (uint16_t)(q.next_take - q.next_give) == q.in_flight);
}

static void check_chain(const struct virtqueue_chain *c)
{
	uint64_t size[2] = {0, 0};

	REQUIRE(c->slots >= 1 && c->slots <= q.size && (q.packed || c->slots == 1));
	REQUIRE(q.packed || c->id < q.size);
	REQUIRE(c->out + c->in >= 1 && c->out + c->in <= VIRTQUEUE_MAX_PARTS);
	for (unsigned i = 0; i < (unsigned)c->out + c->in; i++) {
		REQUIRE(c->part[i].size && c->part[i].size - 1 <= UINT64_MAX - c->part[i].gpa.value);
		size[i >= c->out] += c->part[i].size;
	}
	REQUIRE(c->out_size == size[0] && c->in_size == size[1] && size[0] + size[1] <= UINT32_MAX);
}

static int take(void)
{
	const char *before = q.broken;
	int got = virtqueue_take(&q, &held[held_count]);

	REQUIRE(!before || (got == -E_FORMAT && q.broken == before));
	REQUIRE(got == -E_FORMAT ? q.broken != NULL : !q.broken);
	REQUIRE(got <= 0 || (got == 1 && q.enabled));
	if (got == 1) {
		check_chain(&held[held_count++]);
		REQUIRE(held_count <= q.size);
	}
	return got;
}

/* What the driver reads then. */
static void check_gift(const struct virtqueue_chain *c, uint16_t place, bool wrap, uint32_t written)
{
	uint64_t entry = q.packed ? q.descriptors.value + 16 * place + 8 : q.device.value + 4 + 8 * (place % q.size);
	uint16_t index;
	uint64_t word;

	REQUIRE(guest_read(&mem, GPA(entry), &word, sizeof(word)) == 0);
	if (q.packed) {
		REQUIRE((uint32_t)word == written && (uint16_t)(word >> 32) == c->id);
		REQUIRE(word >> 48 == ((wrap ? 0x8080u : 0) | (written ? 2 : 0)));
		return;
	}
	REQUIRE(word == ((uint64_t)written << 32 | c->id));
	REQUIRE(guest_read(&mem, GPA(q.device.value + 2), &index, sizeof(index)) == 0);
	REQUIRE(index == q.next_give && index == (uint16_t)(place + 1));
}

static void give(void)
{
	unsigned i = next(1);
	uint32_t written = next(1);
	uint16_t place = q.next_give;
	bool wrap = q.give_wrap;

	if (!held_count)
		return;
	i %= held_count;
	if (q.broken) {
		REQUIRE(virtqueue_give(&q, &held[i], written) == -E_FORMAT && q.next_give == place);
		return;
	}
	REQUIRE(virtqueue_give(&q, &held[i], written) == 0);
	REQUIRE(q.given);
	check_gift(&held[i], place, wrap, written);
	held[i] = held[--held_count];
}

static void listen(void)
{
	bool more = virtqueue_listen(&q);

	if (q.enabled && !q.broken)
		REQUIRE(!q.silent && more == (take() != 0));
	else
		REQUIRE(!more);
}

static void ask(void)
{
	uint32_t given = q.given;

	REQUIRE(!virtqueue_wants_interrupt(&q) || given);
	REQUIRE(!virtqueue_wants_interrupt(&q) && !q.given);
}

static void reset(void)
{
	unsigned features = next(1);

	virtqueue_reset(&q, &mem);
	for (; held_count; held_count--) /* too late */
		REQUIRE(virtqueue_give(&q, &held[held_count - 1], 1) == 0);
	check_queue();
	q.packed = features & 1;
	q.indirect = features & 2;
	q.event_index = features & 4;
	q.size = (uint16_t)(features & 8 ? next(2) : 1u << (features >> 4) % 9);
	q.descriptors = GPA(features & 16 ? next(2) : RING);
	q.driver = GPA(features & 32 ? next(2) : DRIVER);
	q.device = GPA(features & 64 ? next(2) : DEVICE);
	REQUIRE(virtqueue_take(&q, &held[0]) == 0);
	REQUIRE((virtqueue_enable(&q) == 0) == (q.enabled && !q.broken));
	REQUIRE(q.enabled || virtqueue_take(&q, &held[0]) == -E_FORMAT);
}

static void step(void)
{
	static void (*const what[])(void) = {
	    write_anything, write_descriptor, make_available, write_event, give, listen, ask};
	unsigned n = next(1) % 16;

	if (n < ARRAY_SIZE(what))
		what[n]();
	else if (n == 7)
		virtqueue_silence(&q);
	else if (n == 8)
		reset();
	else if (n == 9)
		REQUIRE((virtqueue_enable(&q) == 0) == q.enabled);
	else if (n < 13)
		make_available();
	else
		take();
	check_queue();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	memset(&mem, 0, sizeof(mem));
	for (unsigned i = 0; i < REGIONS; i++)
		REQUIRE(guest_mem_add(&mem, &(struct guest_region){region[i].gpa, region[i].size,
								   calloc(1, region[i].size), true}) == 0);
	input_begin(data, size);
	held_count = 0;
	memset(&q, 0, sizeof(q));
	reset();
	while (left)
		step();
	for (unsigned i = 0; i < REGIONS; i++)
		free(mem.region[i].host);
	return 0;
}
