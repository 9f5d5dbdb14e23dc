/*
 * A balloon on a PCI bus, driven by anything: accesses of its registers, writes to the guest's memory, requests as a
 * driver would make them, a host that has no room or no memory now and then, resets, and turns of work between them.
 *
 * What must hold: the host is asked for whole pages, no more at a time than a block of page numbers, and for room only
 * when it has some; a turn does no more than its budget and a little; a device that is cut off asks for nothing.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/virtio_balloon.c hv/dev/virtio_stream.c hv/dev/virtio_pci.c hv/dev/virtqueue.c hv/guest_mem.c */
/* links: hv/dev/pci.c hv/dev/pci_host.c hv/bus.c */
/* flags: -fno-sanitize-coverage=trace-cmp */
#include <stdlib.h>
#include <string.h>

#include "hv/clock.h"
#include "hv/dev/virtio_balloon.h"
#include "tests/fuzz/virtio_fuzz.h"

#define BUDGET	  (64 * KIB)
#define NEVER	  UINT64_MAX
#define TURNS_MAX 200 /* a run: what keeps it short */
#define BASE	  0x10000u
#define RINGS	  (16 * PAGE_SIZE)
#define DATA	  (BASE + RINGS)
#define SIZE	  (RINGS + 4 * PAGE_SIZE)

uint64_t clock_now(void)
{
	return 0;
}

static struct machine machine;
static struct virtio_balloon balloon;
static bool full, dry, works;
static uint64_t asked; /* pages, and chunks, in a turn */
static unsigned turns;

/* --- what is around the device --- */

static void set_intx(void *ctx, unsigned line, bool level)
{
	(void)ctx, (void)line, (void)level;
}

static void kick(void *ctx)
{
	(void)ctx;
	REQUIRE(balloon.transport.kicked && (balloon.transport.status & 4));
}

static void use_host(uint64_t gpa, uint64_t size)
{
	REQUIRE(works && size && !((gpa | size) % VIRTIO_BALLOON_PAGE));
	REQUIRE(size <= VIRTIO_BALLOON_BLOCK * VIRTIO_BALLOON_PAGE && gpa <= UINT64_MAX - size);
	asked += size / VIRTIO_BALLOON_PAGE;
}

static bool has_room(void *ctx)
{
	(void)ctx;
	return !full;
}

static bool is_settled(void *ctx)
{
	(void)ctx;
	return !full;
}

static void give(void *ctx, gpa_t gpa, uint64_t size)
{
	(void)ctx;
	REQUIRE(!full);
	use_host(gpa.value, size);
}

static int want(void *ctx, gpa_t gpa, uint64_t size)
{
	(void)ctx;
	use_host(gpa.value, size);
	return dry ? -E_NOMEM : 0;
}

static void discard(void *ctx, gpa_t gpa)
{
	(void)ctx;
	REQUIRE(works && !full && gpa.value % GUEST_MEM_CHUNK == 0);
	asked++;
}

static void power_on(void)
{
	struct virtio_balloon_setup b = {
	    .host = {NULL, has_room, is_settled, give, want, discard}, .mem = &machine.mem, .kick = kick};

	machine_power_on(&machine, set_intx);
	full = dry = works = false;
	turns = 0;
	(void)machine_add_memory(&machine, BASE, SIZE, 0);
	REQUIRE(virtio_balloon_init(&balloon, &machine.host, &b) == 0);
}

/* --- what the driver does --- */

static void access_register(void)
{
	unsigned how = (unsigned)next(1), offset = (how & 3) << 12 | (unsigned)next(1), size = 1u << (how >> 2 & 3);
	uint64_t at = balloon.transport.pci.bar[2].base + offset;
	const struct bus_range *r = bus_find(&machine.mmio, at, size);

	if (!r)
		return;
	if (how & 0x10)
		r->write(r->dev, at, size, next(size));
	else
		(void)r->read(r->dev, at, size);
}

static void write_anything(void)
{
	put_anything(&machine, BASE + next(3) % SIZE);
}

static void start(void)
{
	unsigned how = (unsigned)next(1);

	start_device(&machine, &balloon.transport, (how & 0x27) | (how & 8 ? 0x30000000 : 0), 1, 16, BASE);
}

/* A chain of up to four parts on a queue, made available. */
static void make_request(void)
{
	unsigned how = (unsigned)next(1), n = how % VIRTIO_BALLOON_QUEUES, parts = 1 + (how >> 4 & 3);
	const struct virtqueue *q = &balloon.transport.queue[n];
	unsigned first = q->next_take;

	if (!q->enabled)
		return;
	for (unsigned i = 0; i < parts; i++) {
		uint64_t gpa = how & 0x40 ? next(1) * (PAGE_SIZE * 128) : DATA + next(2) % 0x4100;
		uint32_t size = how & 0x80 ? (uint32_t)next(4) : (uint32_t)next(2);

		put_descriptor(&machine, q, first + i, gpa, size,
			       (uint16_t)((i + 1 < parts ? 1 : 0) | (how & 0x40 ? 2 : 0)));
	}
	publish(&machine, q, first, 1);
	set_common(&machine, &balloon.transport, 0x3000 + 4 * n, 2, n);
}

/* --- what the machine does --- */

static void work(void)
{
	uint64_t budget = next(1) & 1 ? BUDGET : 1 + next(2);

	if (turns++ >= TURNS_MAX)
		return;
	asked = 0;
	works = true;
	if (virtio_pci_work(&balloon.transport, budget, NEVER))
		REQUIRE(balloon.transport.kicked && (balloon.transport.status & 0x44) == 4);
	works = false;
	REQUIRE(asked <= budget / VIRTIO_PIECE + 3 * VIRTIO_BALLOON_BLOCK);
}

static void change_state(void)
{
	unsigned how = (unsigned)next(1);

	if (how & 1)
		full = !full;
	if (how & 2)
		dry = !dry;
	if (how & 4)
		virtio_balloon_go_on(&balloon);
	if (how & 8)
		virtio_balloon_ask(&balloon);
	if (how & 16)
		virtio_balloon_set_target(&balloon, (uint32_t)next(4));
	if ((how & 0xE0) == 0xE0)
		virtio_pci_reset(&balloon.transport);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const what[])(void) = {access_register, write_anything, make_request, make_request, work, work,
					     start,	      change_state};

	power_on();
	input = data;
	left = size;
	while (left)
		what[next(1) % ARRAY_SIZE(what)]();
	virtio_pci_reset(&balloon.transport);
	for (unsigned n = 0; n < VIRTIO_BALLOON_QUEUES; n++)
		REQUIRE(!balloon.request[n].active);
	REQUIRE(!virtio_pci_work(&balloon.transport, BUDGET, NEVER) && !balloon.wants_memory);
	return 0;
}
