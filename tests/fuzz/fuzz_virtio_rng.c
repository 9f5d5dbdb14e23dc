/*
 * A source of random numbers, driven by anything: accesses of its BARs, writes to the guest's memory, resets, turns of
 * work. Some steps do what a driver would, so that buffers are filled. What must hold: bytes go into guest memory only,
 * a chain gets no more than a few pieces, and a turn that says that there is more has done something.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/virtio_rng.c hv/dev/virtio_stream.c hv/dev/virtio_pci.c hv/dev/virtqueue.c hv/guest_mem.c */
/* links: hv/dev/pci.c hv/dev/pci_host.c hv/bus.c */
#include <stdlib.h>
#include <string.h>

#include "hv/clock.h"
#include "hv/dev/virtio_rng.h"
#include "tests/fuzz/virtio_fuzz.h"

#define NEVER	  UINT64_MAX
#define CHAIN_MAX 4096u /* bytes that it gives at a time: virtio_rng.c */
#define TURNS_MAX 200	/* a run: what keeps it short */
#define BASE	  0x10000u
#define DATA	  (BASE + 2 * PAGE_SIZE) /* the ring is before it */
#define RAM_SIZE  (20 * PAGE_SIZE)

static struct machine machine;
static struct virtio_rng rng;
static uint8_t *ram;
static uint64_t filled; /* in this turn */
static unsigned turns, fills;

uint64_t clock_now(void)
{
	return 0;
}

/* --- what is around the device --- */

static void set_intx(void *ctx, unsigned line, bool level)
{
	(void)ctx, (void)level;
	REQUIRE(line >= PC_GSI_INTX && line < PC_GSI_INTX + PCI_INTX);
}

static void kick(void *ctx)
{
	REQUIRE(ctx == &rng && rng.transport.kicked && (rng.transport.status & 4));
}

static void fill(void *source, void *to, size_t size)
{
	uint8_t *at = to;

	REQUIRE(source == &fills && size && size <= CHAIN_MAX);
	REQUIRE(at >= ram && (size_t)(at - ram) <= RAM_SIZE - size);
	memset(at, 0x5a, size);
	filled += size;
	fills++;
}

static void power_on(void)
{
	struct virtio_rng_setup r = {.fill = fill, .source = &fills, .mem = &machine.mem, .kick = kick, .ctx = &rng};

	machine_power_on(&machine, set_intx);
	ram = machine_add_memory(&machine, BASE, RAM_SIZE, 0);
	turns = fills = 0;
	REQUIRE(!virtio_rng_init(&rng, &machine.host, &r));
}

/* --- what the driver does --- */

static void access_bar(unsigned bar, uint64_t offset, unsigned size, bool write, uint64_t value)
{
	const struct pci_bar *b = &rng.transport.pci.bar[bar];
	uint64_t addr = b->base + offset;
	const struct bus_range *r = bus_find(b->io ? &machine.pio : &machine.mmio, addr, size);

	if (!r)
		return;
	if (write)
		r->write(r->dev, addr, size, value);
	else
		REQUIRE(size == 8 || !(r->read(r->dev, addr, size) >> 8 * size)); /* no wider than asked for */
}

static void access_anything(void)
{
	unsigned how = (unsigned)next(1), size = 1u << how % 4;

	access_bar(how & 16 ? 0 : 2, next(2) & (how & 32 ? 0x3f : 0x3fff), size, how & 0x80, next(size));
}

static void write_anything(void)
{
	put_anything(&machine, BASE + next(2) % RAM_SIZE);
}

/* A chain of up to eight buffers is made available, to be written, most times. */
static void offer(void)
{
	const struct virtqueue *q = &rng.transport.queue[0];
	unsigned how = (unsigned)next(1), parts = 1 + (how & 7);
	uint16_t first = (uint16_t)q->next_take;

	if (!q->enabled)
		return;
	for (unsigned i = parts; i-- > 0;) /* the first one last, as a driver does */
		put_descriptor(&machine, q, (first + i) % q->size, how & 0x80 ? next(3) : DATA + next(2),
			       (uint32_t)next(how & 0x40 ? 3 : 1),
			       (uint16_t)((how & 0x38 ? 2 : 0) | (i + 1 < parts ? 1 : 0)));
	publish(&machine, q, first, 1);
	access_bar(0, 0, 2, true, 0);
}

static void start(void)
{
	unsigned how = (unsigned)next(1);

	start_device(&machine, &rng.transport, how & 2 ? 0x30000000 : 0, 0x101 | (how & 8 ? 4 : 0),
		     some_size[how >> 4 & 7], BASE);
}

static void change_state(void)
{
	unsigned how = (unsigned)next(1);

	if (how & 1)
		virtio_pci_reset(&rng.transport);
	else
		pci_host_reset(&machine.host);
}

static void work(void)
{
	uint64_t budget = 1 + next(3);
	unsigned stand = rng.transport.queue[0].next_give;
	bool packed = rng.transport.queue[0].packed; /* where a place may be the same again */

	if (turns++ >= TURNS_MAX)
		return;
	filled = 0;
	if (virtio_pci_work(&rng.transport, budget, NEVER))
		REQUIRE((packed || rng.transport.queue[0].next_give != stand) && (rng.transport.status & 0x44) == 4);
	REQUIRE(filled <= budget / 16 + CHAIN_MAX); /* a random byte counts as 16 */
}

static void step(void)
{
	static void (*const what[])(void) = {access_anything, write_anything, offer, offer,	  offer,
					     start,	      work,	      work,  change_state};

	what[next(1) % ARRAY_SIZE(what)]();
	REQUIRE(rng.transport.queue[0].enabled || !(rng.transport.kicked & 1));
	REQUIRE(rng.transport.status || !rng.transport.kicked);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	power_on();
	input = data;
	left = size;
	while (left)
		step();
	virtio_pci_reset(&rng.transport);
	REQUIRE(!virtio_pci_work(&rng.transport, 1, NEVER));
	return 0;
}
