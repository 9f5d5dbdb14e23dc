/*
 * A device with two virtual consoles, driven by anything: accesses of its BARs, writes to the guest's memory, resets,
 * bytes typed, room outside that comes and goes, and turns of work between them. Some steps do what a driver would, so
 * that bytes and control messages come through.
 *
 * What must hold: a port says no more than there is room for; what is kept is bounded; a turn moves no more than its
 * budget and a little, and makes progress; a turn that waits for room or for typed bytes is no work.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/virtio_console.c hv/dev/virtio_stream.c hv/dev/virtio_pci.c hv/dev/virtqueue.c hv/guest_mem.c */
/* links: hv/dev/pci.c hv/dev/pci_host.c hv/bus.c */
/* flags: -fno-sanitize-coverage=trace-cmp */
#include <stdlib.h>
#include <string.h>

#include "hv/clock.h"
#include "hv/dev/virtio_console.h"
#include "tests/fuzz/virtio_fuzz.h"

#define PORTS	  2
#define QUEUES	  (2 * (PORTS + 1))
#define BUDGET	  (64 * KIB)
#define NEVER	  UINT64_MAX
#define EXCESS	  (32 * KIB) /* by which a turn may exceed its budget: the last chain's step */
#define TURNS_MAX 200	     /* a run: what keeps it short */
#define BASE	  0x10000u
#define DATA	  (BASE + 2 * QUEUES * PAGE_SIZE) /* the rings are before it */
#define RAM_SIZE  (40 * PAGE_SIZE)

uint64_t clock_now(void)
{
	return 0;
}

static struct machine machine;
static struct virtio_console con;
static uint64_t said;
static size_t room[PORTS];
static unsigned turns;
static bool emergency;

/* --- what is around the device --- */

static void set_intx(void *ctx, unsigned line, bool level)
{
	(void)ctx, (void)level;
	REQUIRE(line >= PC_GSI_INTX && line < PC_GSI_INTX + PCI_INTX);
}

static void kick(void *ctx)
{
	REQUIRE(ctx == &con && con.transport.kicked && (con.transport.status & 4));
}

static size_t room_of(void *ctx)
{
	return *(size_t *)ctx;
}

static void say(void *ctx, const uint8_t *bytes, size_t count)
{
	static volatile uint8_t sum; /* each byte must be there */
	size_t *free = ctx;

	for (size_t i = 0; i < count; i++)
		sum = (uint8_t)(sum + bytes[i]);
	said += count;
	if (emergency) {
		REQUIRE(count == 1 && free == &room[0]);
		return;
	}
	REQUIRE(count && count <= *free);
	*free -= count;
}

static void power_on(void)
{
	struct virtio_console_setup c = {
	    .ports = PORTS, .cols = 80, .rows = 24, .mem = &machine.mem, .kick = kick, .ctx = &con};

	machine_power_on(&machine, set_intx);
	said = turns = 0;
	emergency = false;
	(void)machine_add_memory(&machine, BASE, RAM_SIZE, 0);
	for (unsigned i = 0; i < PORTS; i++) {
		room[i] = 100;
		c.end[i] = (struct virtio_console_end){&room[i], room_of, say};
	}
	REQUIRE(virtio_console_init(&con, &machine.host, &c) == 0);
}

/* --- what the driver does --- */

static void access_bar(unsigned bar, uint64_t offset, unsigned size, bool write, uint64_t value)
{
	const struct pci_bar *b = &con.transport.pci.bar[bar];
	uint64_t addr = b->base + offset;
	const struct bus_range *r = bus_find(b->io ? &machine.pio : &machine.mmio, addr, size);

	if (!r)
		return;
	if (write)
		r->write(r->dev, addr, size, value);
	else
		REQUIRE(size == 8 || !(r->read(r->dev, addr, size) >> 8 * size)); /* no wider than asked for */
}

/* A register of the common structure at its width. */
static void write_common(void)
{
	static const uint8_t place[] = {0, 8, 12, 16, 20, 22, 24, 26, 28, 32, 36, 40, 44, 48, 52, 58};
	static const uint8_t width[] = {4, 4, 4, 2, 1, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 2};
	unsigned how = (unsigned)next(1) % 16;

	set_common(&machine, &con.transport, place[how], width[how], next(width[how]));
}

static void access_config(void)
{
	unsigned how = (unsigned)next(1);

	emergency = true;
	access_bar(2, 0x2000 + (how >> 3 & 15), 1u << how % 4, how & 0x80, next(1));
	emergency = false;
}

static void write_anything(void)
{
	put_anything(&machine, BASE + next(3) % RAM_SIZE);
}

/* A chain of up to three parts is made available; its direction is that of the queue, most times. */
static void offer(unsigned n, uint64_t gpa, uint32_t size)
{
	unsigned how = (unsigned)next(1), parts = how >> 3 & 3;
	const struct virtqueue *q = &con.transport.queue[n];
	uint16_t write = (how & 7) == 7 || n % 2 == 0 ? 2 : 0;
	unsigned first = q->next_take;

	for (unsigned i = 0; i < parts; i++)
		put_descriptor(&machine, q, (first + 1 + i) % q->size, how & 0x80 ? next(3) : DATA + next(2) % 0x8000,
			       (uint32_t)next(how & 0x40 ? 3 : 1), (uint16_t)(write | (i + 1 < parts)));
	put_descriptor(&machine, q, first, gpa, size, (uint16_t)(write | (parts != 0)));
	publish(&machine, q, first, 1);
	access_bar(0, 4 * n, 2, true, n);
}

static void use_queue(void)
{
	unsigned n = (unsigned)next(1) % QUEUES;

	if (con.transport.queue[n].enabled)
		offer(n, DATA + next(1) * 16, (uint32_t)next(1));
}

static void send_control(void)
{
	static const uint8_t event[] = {0, 3, 6, 3};
	unsigned how = (unsigned)next(1);
	struct {
		uint32_t id;
		uint16_t event, value;
	} c = {how & 4 ? (uint32_t)next(4) : how >> 3 & 1, event[how & 3], (how & 0x70) != 0};

	if (!con.transport.queue[3].enabled)
		return;
	put(&machine, DATA, &c, sizeof(c));
	offer(3, DATA, sizeof(c));
}

static void start(void)
{
	unsigned how = (unsigned)next(1);

	if (how & 4)
		virtio_pci_reset(&con.transport);
	start_device(&machine, &con.transport, (how & 2 ? 0x30000000 : 0) | (how & 1 ? 1 : 7),
		     0x101 | (how & 8 ? 4 : 0), some_size[how >> 4 & 7], BASE);
}

/* --- what the outside does --- */

static void type(void)
{
	unsigned how = (unsigned)next(1);

	for (unsigned i = 0; i < how >> 1; i++)
		if (!virtio_console_type(&con, how & 1, (uint8_t)i))
			REQUIRE(con.port[how & 1].typed - con.port[how & 1].taken == VIRTIO_CONSOLE_INPUT);
}

static void make_room(void)
{
	unsigned how = (unsigned)next(1);

	room[how & 1] = how >> 1 & 3 ? (size_t)next(2) : 0;
	if (room[how & 1])
		virtio_console_go_on(&con, how & 1);
}

static void change_state(void)
{
	unsigned how = (unsigned)next(1);

	if (how & 1)
		virtio_pci_reset(&con.transport);
	else if (how & 2)
		pci_host_reset(&machine.host);
	else
		set_common(&machine, &con.transport, 20, 1, 0);
}

/* What every turn increases that leaves something to do. In a packed ring of few places it can't be told. */
static uint64_t progress(void)
{
	uint64_t sum = said;

	for (unsigned n = 0; n < QUEUES; n++)
		sum += con.transport.queue[n].packed ? turns : con.transport.queue[n].next_give;
	return sum;
}

static void work(void)
{
	unsigned how = (unsigned)next(1);
	uint64_t budget = how & 1 ? BUDGET : 1 + next(2), before = said, stand = progress();

	if (turns++ >= TURNS_MAX)
		return;
	if (virtio_pci_work(&con.transport, budget, NEVER))
		REQUIRE(progress() != stand && (con.transport.status & 0x44) == 4 && con.transport.kicked);
	REQUIRE(said - before <= budget + EXCESS);
}

/* --- what always holds --- */

static void check(void)
{
	const struct virtio_pci *v = &con.transport;

	for (unsigned i = 0; i < PORTS; i++) {
		const struct virtio_console_port *p = &con.port[i];

		REQUIRE(p->typed - p->taken <= VIRTIO_CONSOLE_INPUT && p->untold < 32);
		REQUIRE(!p->sending || v->queue[i ? 5 : 1].enabled);
	}
	for (unsigned n = 0; n < QUEUES; n++)
		REQUIRE(v->queue[n].enabled || !(v->kicked & 1U << n));
	REQUIRE(v->status || !v->kicked);
}

static void step(void)
{
	static void (*const what[])(void) = {write_common, access_config, write_anything, use_queue, use_queue,
					     use_queue,	   send_control,  send_control,	  start,     type,
					     make_room,	   work,	  work,		  work,	     change_state};

	what[next(1) % ARRAY_SIZE(what)]();
	check();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	power_on();
	input = data;
	left = size;
	while (left)
		step();
	virtio_pci_reset(&con.transport);
	check();
	REQUIRE(!virtio_pci_work(&con.transport, BUDGET, NEVER));
	return 0;
}
