/*
 * Two virtual disks on a PCI bus, driven by anything: accesses of ports, configuration space and BARs, writes to the
 * guest's memory, resets, and turns of work between them. Some steps do what a driver would, so that requests come
 * through. The guest's memory is of three regions, two of which adjoin, each a block of its size, and so is the store.
 *
 * What must hold: the store is asked for what it has; a turn moves no more than its budget and a little, and makes
 * progress; the interrupt lines are what the functions say; what is cut off stays cut off.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/virtio_blk.c hv/dev/virtio_stream.c hv/dev/virtio_pci.c hv/dev/virtqueue.c hv/guest_mem.c */
/* links: hv/dev/pci.c hv/dev/pci_host.c hv/bus.c */
/* flags: -fno-sanitize-coverage=trace-cmp */
#include <stdlib.h>
#include <string.h>

#include "hv/clock.h"
#include "hv/dev/virtio_blk.h"
#include "hv/pc_map.h"
#include "tests/fuzz/virtio_fuzz.h"

#define DISKS	  2
#define DISK_SIZE (300 * BLOCK_SECTOR) /* some turns long */
#define BUDGET	  (64 * KIB)
#define NEVER	  UINT64_MAX
#define EXCESS	  (128 * KIB) /* by which a turn may exceed its budget: the last request's step */
#define TURNS_MAX 200	      /* a run: what keeps it short */
#define REGIONS	  3
#define BASE	  0x10000u
#define RINGS	  (8 * PAGE_SIZE) /* the first region: the queues */
#define DATA	  (BASE + RINGS)
#define FAR	  0x100000u

uint64_t clock_now(void)
{
	return 0;
}

static const struct {
	uint64_t gpa, size;
} region[REGIONS] = {{BASE, RINGS}, {DATA, 20 * PAGE_SIZE}, {FAR, PAGE_SIZE}};

static struct machine machine;
static struct virtio_blk blk[DISKS];
static uint8_t *store[DISKS];
static bool intx[PCI_INTX];
static uint64_t moved;
static unsigned turns;
static bool store_fails;

/* --- what is around the devices --- */

static void set_intx(void *ctx, unsigned line, bool level)
{
	(void)ctx;
	REQUIRE(line >= PC_GSI_INTX && line < PC_GSI_INTX + PCI_INTX && intx[line - PC_GSI_INTX] != level);
	intx[line - PC_GSI_INTX] = level;
}

static void kick(void *ctx)
{
	const struct virtio_pci *v = &((struct virtio_blk *)ctx)->transport;

	REQUIRE(v->rung || (v->kicked && (v->status & 4)));
}

static void use_store(uint64_t offset, uint64_t size)
{
	REQUIRE(size && offset <= DISK_SIZE && size <= DISK_SIZE - offset);
	moved += size;
}

static int store_read(void *ctx, uint64_t offset, void *to, size_t size)
{
	use_store(offset, size);
	memcpy(to, (uint8_t *)ctx + offset, size);
	return store_fails ? -E_NOMEM : 0;
}

static int store_write(void *ctx, uint64_t offset, const void *from, size_t size)
{
	REQUIRE(ctx != store[1]); /* which is read-only */
	use_store(offset, size);
	memcpy((uint8_t *)ctx + offset, from, size);
	return store_fails ? -E_NOMEM : 0;
}

static int store_zero(void *ctx, uint64_t offset, uint64_t size)
{
	REQUIRE(ctx != store[1]);
	use_store(offset, size);
	memset((uint8_t *)ctx + offset, 0, size);
	return store_fails ? -E_NOMEM : 0;
}

static void plug(unsigned i)
{
	struct virtio_blk_setup s = {.store = {.size = DISK_SIZE,
					       .read_only = i == 1,
					       .serial = "fuzz",
					       .read = store_read,
					       .write = store_write,
					       .zero = store_zero},
				     .queues = i ? 1 : 2,
				     .mem = &machine.mem,
				     .kick = kick,
				     .ctx = &blk[i]};

	store[i] = zeroed_block(REGIONS + i, DISK_SIZE);
	s.store.ctx = store[i];
	REQUIRE(virtio_blk_init(&blk[i], &machine.host, &s) == 0);
}

static void power_on(void)
{

	machine_power_on(&machine, set_intx);
	memset(intx, 0, sizeof(intx));
	moved = messages = turns = 0;
	store_fails = false;
	for (unsigned i = 0; i < REGIONS; i++)
		(void)machine_add_memory(&machine, region[i].gpa, region[i].size, i);
	for (unsigned i = 0; i < DISKS; i++)
		plug(i);
}

/* --- accesses --- */

/* As a vCPU rings that has no lock: of writes to doorbells only those through the window take the way of registers. */
static bool ring(const struct bus *bus, uint64_t addr)
{
	unsigned offset = 0;
	const struct pci_bar *bar = bus == &machine.pio ? pci_host_port_bell(&machine.host, addr, &offset)
							: pci_host_memory_bell(&machine.host, addr, &offset);

	if (bar)
		bar->bells.ring(bar->dev, offset);
	return bar;
}

static void access_bus(struct bus *bus, uint64_t addr, unsigned size, bool write)
{
	const struct bus_range *r = bus_find(bus, addr, size);
	uint64_t ones = size < 8 ? BIT(8 * size) - 1 : UINT64_MAX;

	if (!r)
		return;
	if (write && !ring(bus, addr))
		r->write(r->dev, addr, size, next(size));
	else if (!write)
		REQUIRE(!(r->read(r->dev, addr, size) & ~ones)); /* no wider than asked for */
}

static void access_port(void)
{
	unsigned how = (unsigned)next(1);
	uint64_t port = how & 0x80 ? PC_PCI_IO + next(2) % PC_PCI_IO_SIZE : 0xCF8 + (how >> 2) % 8;

	access_bus(&machine.pio, port, 1u << how % 3, how & 0x40);
}

/* Of one of the disks, most times. */
static void access_ecam(void)
{
	unsigned how = (unsigned)next(1);
	uint64_t place = how & 0x80 ? next(3) : (1 + (how >> 2) % 2) << 15 | next(1);

	access_bus(&machine.mmio, PC_ECAM + place % PC_ECAM_SIZE, 1u << how % 4, how & 0x40);
}

/* At a BAR of a disk, where it is now. */
static void access_bar(void)
{
	unsigned how = (unsigned)next(1);
	const struct pci_bar *bar = &blk[how >> 2 & 1].transport.pci.bar[(how >> 3) % 3];
	uint64_t offset = next(how & 0x20 ? 2 : 1) << (how & 0x10 ? 4 : 0);

	access_bus(bar->io ? &machine.pio : &machine.mmio, bar->base + offset, 1u << how % (bar->io ? 3 : 4),
		   how & 0x40);
}

/* A register of the common structure at its width. */
static void write_common(void)
{
	static const uint8_t place[] = {0, 8, 12, 16, 20, 22, 24, 26, 28, 32, 36, 40, 44, 48, 52, 58};
	static const uint8_t width[] = {4, 4, 4, 2, 1, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 2};
	unsigned how = (unsigned)next(1);

	access_bus(&machine.mmio, blk[how >> 4 & 1].transport.pci.bar[2].base + place[how % 16], width[how % 16], true);
}

/* Through the window in configuration space, which is put onto some register before. */
static void access_window(void)
{
	unsigned how = (unsigned)next(1);
	const struct virtio_pci *v = &blk[how & 1].transport;
	uint64_t at = PC_ECAM + (v->pci.slot << 15) + v->window;
	const struct bus_range *r = bus_find(&machine.mmio, at, 1);

	r->write(r->dev, at + 4, 1, how & 2 ? 2 : next(1));
	r->write(r->dev, at + 8, 4, how & 4 ? next(1) % 64 : next(4));
	r->write(r->dev, at + 12, 4, how & 8 ? 1u << (how >> 4 & 3) : next(1));
	access_bus(&machine.mmio, at + 16, 1u << (how >> 4 & 3), how & 0x40);
}

/* --- what changes the guest's memory --- */

static void write_anything(void)
{
	put_anything(&machine, BASE + next(3) % (FAR + PAGE_SIZE - BASE));
}

/* Part number i of a chain: a piece of the data region, or somewhere. Its size is often whole sectors. */
static void put_part(const struct virtqueue *q, unsigned i, uint16_t flags)
{
	unsigned how = (unsigned)next(1);
	uint64_t gpa = how & 0x80 ? next(3) : DATA + 0x200 + (how & 0x3F) * 0x140;
	uint32_t size = how & 0x40 ? (uint32_t)next(how & 1 ? 3 : 1) : (uint32_t)(next(1) & 0x7F) * BLOCK_SECTOR;

	put_descriptor(&machine, q, i, gpa, size, flags);
}

/* A chain that looks like a request: header, some parts, status. It is made available. */
static void make_request(void)
{
	static const uint8_t type[] = {0, 0, 1, 1, 4, 8, 11, 13};
	unsigned how = (unsigned)next(1), parts = how >> 3 & 3;
	struct virtio_pci *v = &blk[how >> 5 & 1].transport;
	struct virtqueue *q = &v->queue[(how >> 6) % v->queues];
	struct {
		uint32_t type, reserved;
		uint64_t sector, range_sector;
		uint32_t sectors, flags;
	} h = {.type = type[how & 7], .sector = next(1) * 2, .range_sector = next(1), .sectors = (uint32_t)next(1)};
	unsigned first = q->next_take, write = how & 1 || h.type == 0 || h.type == 8 ? 2 : 0;

	if (!q->enabled)
		return;
	put(&machine, DATA, &h, sizeof(h));
	put_descriptor(&machine, q, first, DATA, h.type >= 11 ? 32 : 16, 1);
	for (unsigned i = 1; i <= parts; i++)
		put_part(q, (first + i) % q->size, (uint16_t)(1 | write));
	put_descriptor(&machine, q, (first + parts + 1) % q->size, DATA + 0x100, 1, 2);
	publish(&machine, q, first, 1);
	access_bus(&machine.pio, v->pci.bar[0].base + 4 * (unsigned)(q - v->queue), 2, true);
}

/* --- what the driver and the machine do --- */

static void start(void)
{
	unsigned how = (unsigned)next(1);
	struct virtio_pci *v = &blk[how & 1].transport;

	if (how & 4)
		virtio_pci_reset(v);
	start_device(&machine, v, how & 2 ? 0x30000000 : 0, 0x101 | (how & 8 ? 4 : 0), some_size[how >> 4 & 7], BASE);
}

static void use_msix(void)
{
	unsigned how = (unsigned)next(1);
	struct pci_device *p = &blk[how & 1].transport.pci;

	for (unsigned n = 0; n < p->msix.count; n++) {
		p->msix.entry[n].address = 0xFEE00000 | n << 12;
		p->msix.entry[n].control = how >> 2 & 1;
	}
	pci_config_write(p, p->msix.capability + 2, 2, how & 2 ? 0x8000 : 0);
}

/* What every turn increases that leaves something to do. In a packed ring of few places it can't be told. */
static uint64_t progress(const struct virtio_pci *v)
{
	uint64_t sum = moved;

	for (unsigned n = 0; n < v->queues; n++)
		sum += v->queue[n].packed ? turns : v->queue[n].next_give;
	return sum;
}

static void work(void)
{
	unsigned how = (unsigned)next(1);
	struct virtio_pci *v = &blk[how & 1].transport;
	uint64_t budget = how & 2 ? BUDGET : 1 + next(2), before = moved, stand = progress(v);
	unsigned sent = messages;

	if (turns++ >= TURNS_MAX)
		return;
	if (virtio_pci_work(v, budget, NEVER))
		REQUIRE(progress(v) != stand && (v->status & 0x44) == 4 && v->kicked);
	REQUIRE(moved - before <= budget + EXCESS && messages - sent <= v->queues + 1);
}

static void change_state(void)
{
	unsigned how = (unsigned)next(1);
	struct virtio_pci *v = &blk[how & 1].transport;

	if (how & 2)
		virtio_pci_config_changed(v);
	else if (how & 4)
		store_fails = !store_fails;
	else if (how & 8)
		virtio_pci_reset(v);
	else if (how & 16)
		pci_host_reset(&machine.host);
	else
		set_common(&machine, v, 20, 1, 0);
}

/* --- what always holds --- */

static bool asserts_intx(const struct pci_device *p)
{
	return p->interrupt && !(pci_get16(p, PCI_COMMAND) & PCI_COMMAND_NO_INTX) && !pci_msix_enabled(p);
}

static void check_disk(const struct virtio_blk *b)
{
	const struct virtio_pci *v = &b->transport;

	for (unsigned n = 0; n < v->queues; n++) {
		REQUIRE(v->queue[n].enabled || (!(v->kicked & 1U << n) && !b->request[n].active));
		REQUIRE(v->vector[n] == VIRTIO_NO_VECTOR || v->vector[n] < v->pci.msix.count);
	}
	REQUIRE(!(v->kicked >> v->queues) && v->turn <= v->queues);
	REQUIRE(!(v->status & 0x30) && (v->status || (!v->kicked && !v->isr && !v->pci.interrupt)));
	REQUIRE(intx[v->pci.slot % PCI_INTX] == asserts_intx(&v->pci));
	REQUIRE(!(v->pci.msix.pending >> v->pci.msix.count));
}

static void step(void)
{
	static void (*const what[])(void) = {access_port,  access_ecam,	 access_bar,   write_common, write_anything,
					     make_request, make_request, make_request, work,	     work,
					     work,	   start,	 use_msix,     change_state, access_window};

	what[next(1) % ARRAY_SIZE(what)]();
	for (unsigned i = 0; i < DISKS; i++)
		check_disk(&blk[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	power_on();
	input = data;
	left = size;
	while (left)
		step();
	for (unsigned i = 0; i < DISKS; i++) {
		virtio_pci_reset(&blk[i].transport);
		check_disk(&blk[i]);
		REQUIRE(!virtio_pci_work(&blk[i].transport, BUDGET, NEVER));
	}
	return 0;
}
