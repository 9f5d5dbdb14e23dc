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
#include "hv/pc_map.h"
#include "tests/fuzz/virtio_fuzz.h"

#define NEVER	  UINT64_MAX
#define CHAIN_MAX 4096u /* bytes that it gives at a time: virtio_rng.c */
#define TURNS_MAX 200	/* a run: what keeps it short */
#define BASE	  0x10000u
#define DATA	  (BASE + 2 * PAGE_SIZE) /* the ring is before it */
#define RAM_SIZE  (20 * PAGE_SIZE)

static struct bus pio, mmio;
static struct pci_host host;
static struct guest_mem mem;
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
	static const struct platform platform = {.request = request};
	struct pci_host_setup s = {.pio = &pio, .mmio = &mmio, .platform = &platform, .apics = &apics};
	struct virtio_rng_setup r = {.fill = fill, .source = &fills, .mem = &mem, .kick = kick, .ctx = &rng};

	memset(&pio, 0, sizeof(pio));
	memset(&mmio, 0, sizeof(mmio));
	memset(&mem, 0, sizeof(mem));
	ram = zeroed_block(0, RAM_SIZE);
	turns = fills = 0;
	REQUIRE(!guest_mem_add(&mem, &(struct guest_region){BASE, RAM_SIZE, ram, true}));
	for (unsigned i = 0; i < PCI_INTX; i++)
		s.intx[i] = (struct irq_line){set_intx, NULL, PC_GSI_INTX + i};
	REQUIRE(!pci_host_init(&host, &s));
	REQUIRE(!virtio_rng_init(&rng, &host, &r));
}

/* --- what the driver does --- */

static void access_bar(unsigned bar, uint64_t offset, unsigned size, bool write, uint64_t value)
{
	const struct pci_bar *b = &rng.transport.pci.bar[bar];
	uint64_t addr = b->base + offset;
	const struct bus_range *r = bus_find(b->io ? &pio : &mmio, addr, size);

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

static void put(uint64_t gpa, const void *bytes, size_t size)
{
	(void)!guest_write(&mem, GPA(gpa), bytes, size);
}

static void write_anything(void)
{
	uint64_t gpa = BASE + next(2) % RAM_SIZE;
	unsigned size = (unsigned)next(1) % 64;

	for (unsigned i = 0; i < size && left; i++) {
		uint8_t byte = (uint8_t)next(1);

		put(gpa + i, &byte, 1);
	}
}

/* A chain of up to eight buffers is made available, to be written, most times. */
static void offer(void)
{
	const struct virtqueue *q = &rng.transport.queue[0];
	unsigned how = (unsigned)next(1), parts = 1 + (how & 7);
	uint16_t first = (uint16_t)q->next_take, index = (uint16_t)(first + 1);

	if (!q->enabled)
		return;
	for (unsigned i = parts; i-- > 0;) /* the first one last, as a driver does */
		put_descriptor(&mem, q, (first + i) % q->size, how & 0x80 ? next(3) : DATA + next(2),
			       (uint32_t)next(how & 0x40 ? 3 : 1),
			       (uint16_t)((how & 0x38 ? 2 : 0) | (i + 1 < parts ? 1 : 0)));
	if (!q->packed) {
		uint16_t head = (uint16_t)(first % q->size);

		put(q->driver.value + 4 + 2 * (first % q->size), &head, sizeof(head));
		put(q->driver.value + 2, &index, sizeof(index));
	}
	access_bar(0, 0, 2, true, 0);
}

static void set_common(unsigned offset, unsigned size, uint64_t value)
{
	access_bar(2, offset, size, true, value);
}

/* All that a driver does before its first buffer. */
static void start(void)
{
	static const uint16_t size[] = {1, 2, 3, 8, 16, 64, 128, 256}; /* 3: for packed rings only */
	unsigned how = (unsigned)next(1);

	pci_config_write(&rng.transport.pci, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	set_common(20, 1, 0);
	set_common(20, 1, 3);
	set_common(8, 4, 0);
	set_common(12, 4, how & 2 ? 0x30000000 : 0);
	set_common(8, 4, 1);
	set_common(12, 4, 0x101 | (how & 8 ? 4 : 0));
	set_common(20, 1, 11);
	set_common(22, 2, 0);
	set_common(24, 2, size[(how >> 4) % 8]);
	set_common(32, 8, BASE);
	set_common(40, 8, BASE + 0x1000);
	set_common(48, 8, BASE + 0x1800);
	set_common(28, 2, 1);
	set_common(20, 1, 15);
}

static void change_state(void)
{
	unsigned how = (unsigned)next(1);

	if (how & 1)
		virtio_pci_reset(&rng.transport);
	else
		pci_host_reset(&host);
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
