/*
 * Three network cards of three guests on one switch, driven by anything: writes to each guest's memory, notifications,
 * resets, locks that are taken by others, time that passes, and turns of work between them. Some steps do what a driver
 * would, so that frames come through. How the registers are reached is fuzz_virtio_blk.c's; here they are set directly.
 *
 * What must hold: a frame gets to nobody whom the switch must not give it, with an address that isn't its sender's or
 * in another VLAN; no memory is filled for it on the way; locks are given back; a buffer that was taken for a frame is
 * given back or still the driver's; a turn that says that there is more to do has done something; the switch's table
 * counts what it holds.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/vswitch.c hv/dev/virtio_net.c hv/dev/virtio_net_control.c hv/dev/virtio_net_receive.c */
/* links: hv/dev/net_offload.c hv/dev/net_packet.c hv/dev/virtio_stream.c hv/dev/virtio_pci.c hv/dev/virtqueue.c */
/* links: hv/guest_mem.c hv/dev/pci.c hv/dev/pci_host.c hv/bus.c */
/* flags: -fno-sanitize-coverage=trace-cmp */
#include <stdlib.h>
#include <string.h>

#include "hv/clock.h"
#include "hv/dev/virtio_net.h"
#include "hv/pc_map.h"
#include "hv/vswitch.h"
#include "tests/fuzz/virtio_fuzz.h"

#define CARDS	  3
#define CLOCK_HZ  1000000 /* of a clock that each frame moves by a tick */
#define BUDGET	  (256 * KIB)
#define TURNS_MAX 300 /* a run: what keeps it short */
#define QUEUES	  5   /* two pairs and control, at most */
#define BASE	  0x10000u
#define RINGS	  (QUEUES * 2 * PAGE_SIZE) /* the first region: the queues */
#define DATA	  (BASE + RINGS)
#define DATA_SIZE (40 * PAGE_SIZE)
#define REGIONS	  2

static uint64_t now;

uint64_t clock_now(void)
{
	return now;
}

/* A guest. Card 0 is on an access port, isolated; 1 on a trunk; 2 may send from any address. */
static struct guest {
	struct machine m;
	struct virtio_net net;
	struct vswitch_transit transit[VIRTIO_NET_MAX_PAIRS];
	bool waits[VIRTIO_NET_MAX_PAIRS];
	int port;
	bool held, busy;
} guest[CARDS];

static const struct vswitch_port_config config[CARDS] = {
    {.mac = {2, 0, 0, 0, 0, 0}, .vlan = 5, .isolated = true, .rate = 50000000},
    {.mac = {2, 0, 0, 0, 0, 1}, .vlan = 5, .trunk = true},
    {.mac = {2, 0, 0, 0, 0, 2}, .vlan = 5, .spoof = true, .isolated = true},
};

static struct vswitch sw;
static unsigned turns;
static uint64_t events; /* sends, deliveries: what is progress */

/* --- what is around the cards --- */

static void set_intx(void *ctx, unsigned line, bool level)
{
	(void)ctx, (void)line, (void)level;
}

static void kick(void *ctx)
{
	REQUIRE(((struct guest *)ctx)->net.transport.kicked);
}

static bool grab(void *from, void *to)
{
	struct guest *g = to;

	REQUIRE(from != to && !g->held);
	g->held = !g->busy;
	return g->held;
}

static void release(void *from, void *to)
{
	struct guest *g = to;

	REQUIRE(from != to && g->held);
	g->held = false;
}

/* Who may get what: card 0 and 2 are isolated, so one side is card 1, a trunk whose own VLAN is theirs. */
static void check_route(const struct guest *from, const struct guest *to, const struct net_packet *p, bool tagged)
{
	const struct vswitch_port_config *c = &config[from - guest];

	REQUIRE(from == &guest[1] || to == &guest[1]);
	REQUIRE(!tagged);
	REQUIRE(c->spoof || !memcmp(p->head + 6, c->mac, 6));
	REQUIRE(!(p->head[6] & 1));
	if (from == &guest[1] && net_get16(p->head + 12) == NET_TYPE_TAG)
		REQUIRE((net_get16(p->head + 14) & 0xFFF) == 5 || !(net_get16(p->head + 14) & 0xFFF));
}

/* Where the device is in an rx queue: changes with each frame that the driver gets, also if these fill the ring. */
static uint32_t place(const struct virtqueue *q)
{
	return q->next_give | (uint32_t)q->give_wrap << 16;
}

/* One frame goes to one of them. */
static uint32_t given(const struct guest *g)
{
	return place(&g->net.transport.queue[0]) + place(&g->net.transport.queue[2]);
}

static enum net_verdict deliver(void *from, void *to, struct net_packet *p, bool tagged, uint16_t tci)
{
	struct guest *g = to;
	struct guest *sender = from;
	enum net_verdict verdict;
	uint32_t before = given(g);
	unsigned fills = g->m.fills, fills_of_sender = sender->m.fills;

	REQUIRE(g->held && sw.lock.next == sw.lock.serving);
	check_route(from, to, p, tagged);
	verdict = virtio_net_receive(&g->net, p, tagged, tci);
	REQUIRE(!p->cut == (verdict == NET_DELIVERED || verdict == NET_REFUSED || !p->cut));
	REQUIRE(given(g) == before || (verdict != NET_NO_ROOM && verdict != NET_NOT_YET));
	REQUIRE(g->m.fills == fills && sender->m.fills == fills_of_sender); /* nobody pays for that here */
	events += given(g) != before;
	now++;
	return verdict;
}

static const struct vswitch_ops ops = {.grab = grab, .release = release, .deliver = deliver};

/* What the sender left to the cards lies in the head, behind what was checked of it. */
static void check_demands(const struct net_packet *p)
{
	unsigned from = net_packet_type_at(p) + 2;

	if (p->needs_csum)
		REQUIRE(p->csum_start >= from && (uint32_t)p->csum_start + p->csum_offset + 2 <= p->head_size);
	if (p->gso != NET_GSO_NONE)
		REQUIRE(p->needs_csum && p->gso_size && p->header_size == p->head_size && p->size > p->head_size &&
			p->size - p->head_size <= NET_CUTS_MAX * (uint32_t)p->gso_size);
}

static enum net_sent send(void *backend, unsigned pair, struct net_packet *p, uint64_t until)
{
	struct guest *g = backend;
	enum net_sent sent;

	REQUIRE(pair < g->net.pairs && p->head_size >= NET_ETHER && p->head_size <= NET_HEAD_SENT);
	REQUIRE(p->size >= p->head_size && p->size <= NET_FRAME_MAX && p->rest.left >= p->size - p->head_size);
	REQUIRE(p->fresh || g->net.tx[pair].active);
	check_demands(p);
	sent = vswitch_forward(&sw, (unsigned)g->port, p, until, &g->transit[pair]);
	g->waits[pair] = sent == NET_LATER;
	REQUIRE(sent != NET_LATER || g->transit[pair].again >= now);
	events += sent != NET_GOES_ON;
	return sent;
}

static void enable(struct guest *g)
{
	pci_config_write(&g->net.transport.pci, PCI_COMMAND, 2,
			 PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static void plug(unsigned i)
{
	struct guest *g = &guest[i];
	struct virtio_net_setup s = {.pairs = i == 1 ? 2 : 1,
				     .spoof = config[i].spoof,
				     .link = true,
				     .send = send,
				     .backend = g,
				     .mem = &g->m.mem,
				     .kick = kick,
				     .ctx = g};
	struct vswitch_port_config port = config[i];

	memcpy(s.mac, port.mac, NET_MAC_SIZE);
	machine_power_on(&g->m, set_intx);
	(void)machine_add_memory(&g->m, BASE, RINGS, i * REGIONS);
	machine_add_empty_memory(&g->m, DATA, DATA_SIZE, i * REGIONS + 1);
	g->m.there = UINT64_MAX;
	REQUIRE(virtio_net_init(&g->net, &g->m.host, &s) == 0);
	enable(g);
	port.owner = g;
	g->port = vswitch_attach(&sw, &port);
	REQUIRE(g->port == (int)i);
}

static void power_on(void)
{
	memset(guest, 0, sizeof(guest));
	vswitch_init(&sw, &ops, CLOCK_HZ, 0x1234567);
	now = 1;
	turns = 0;
	events = 0;
	for (unsigned i = 0; i < CARDS; i++)
		plug(i);
}

/* --- what changes a guest's memory --- */

static struct guest *some_guest(unsigned how)
{
	return &guest[how % CARDS];
}

static void write_anything(void)
{
	struct guest *g = some_guest((unsigned)next(1));

	put_anything(&g->m, BASE + next(3) % (RINGS + DATA_SIZE));
}

/* Pages are not there any more, and will be zero again. */
static void give_memory_away(void)
{
	unsigned how = (unsigned)next(1);
	struct guest *g = some_guest(how);
	uint64_t gone = how & 0x80 ? UINT64_MAX : next(5);

	for (unsigned i = 0; i < DATA_SIZE / PAGE_SIZE; i++)
		if (gone & BIT(i))
			memset(g->m.block + i * PAGE_SIZE, 0, PAGE_SIZE);
	g->m.there &= ~gone;
}

static void notify(struct guest *g, unsigned n)
{
	virtio_pci_poke(&g->net.transport, n);
}

/* Buffers for frames, each one descriptor. */
static void put_buffers(struct guest *g, struct virtqueue *q, unsigned count, uint32_t size)
{
	if (!q->enabled || q->in_flight)
		return;
	count = count < q->size ? count : q->size;
	for (unsigned i = 0; i < count; i++)
		put_descriptor(&g->m, q, q->next_take + i, DATA + i * 0x600, size, 2);
	publish(&g->m, q, q->next_take, count);
}

static void offer_buffers(void)
{
	unsigned how = (unsigned)next(1), count = 1 + (unsigned)next(1) % 40;
	struct guest *g = some_guest(how);

	put_buffers(g, &g->net.transport.queue[how & 0x40 ? 2 : 0], count, how & 0x80 ? (uint32_t)next(2) : 1526);
}

struct header {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};

/* A frame with its header, of TCP if it is one of the kinds that are left to the card. */
static void make_frame(struct guest *g, unsigned how, uint64_t gpa, uint32_t size)
{
	static const uint8_t tcp[] = "\x45\0\0\0\0\x07\0\0\x40\x06\0\0\x0A\0\0\x01\x0A\0\0\x02"
				     "\0\x50\0\x51\0\0\0\x01\0\0\0\0\x50\x18\x12\x34\0\0\0";
	struct header h = {0};
	uint8_t frame[14 + 4 + sizeof(tcp)] = {2, 0, 0, 0, 0, (uint8_t)(how % 3), 2, 0, 0, 0, 0, (uint8_t)(g - guest)};
	unsigned at = 12;

	if (how & 4)
		memset(frame, 0xFF, 6);
	if (how & 8)
		frame[11] = (uint8_t)next(1);
	if (how & 16) {
		net_put16(frame + 12, NET_TYPE_TAG);
		net_put16(frame + 14, (uint16_t)next(2));
		at = 16;
	}
	net_put16(frame + at, how & 32 ? (uint16_t)next(2) : NET_TYPE_IPV4);
	memcpy(frame + at + 2, tcp, sizeof(tcp));
	if (how & 64)
		h = (struct header){1, 1, 54, (uint16_t)(how & 128 ? next(2) : 1000), (uint16_t)(at + 22), 16, 0};
	else if (how & 128)
		h = (struct header){.flags = 1, .csum_start = (uint16_t)next(1), .csum_offset = (uint16_t)next(1)};
	put(&g->m, gpa, &h, sizeof(h));
	put(&g->m, gpa + sizeof(h), frame, size < sizeof(frame) ? size : sizeof(frame));
}

static void send_frame(void)
{
	unsigned who = (unsigned)next(1), how = (unsigned)next(1);
	uint32_t size = (uint32_t)next(2), first = 12 + (uint32_t)next(1);
	struct guest *g = some_guest(who);
	unsigned n = who & 0x40 && g->net.pairs > 1 ? 3 : 1;
	struct virtqueue *q = &g->net.transport.queue[n];
	uint64_t gpa = DATA + 0x10000 + (who & 0x20 ? 0xFF7 : 0);

	if (!q->enabled || q->in_flight || q->size < 2)
		return;
	make_frame(g, how, gpa, size);
	put_descriptor(&g->m, q, q->next_take + 1u, gpa + first, size > first ? size - first + 12 : 1, 0);
	put_descriptor(&g->m, q, q->next_take, gpa, first, 1);
	publish(&g->m, q, q->next_take, 1);
	notify(g, n);
	if (who < 0x80)
		(void)virtio_pci_work(&g->net.transport, BUDGET, now + 1000);
}

static void send_command(void)
{
	static const uint16_t command[] = {0x0000, 0x0100, 0x0001, 0x0101, 0x0004};
	unsigned how = (unsigned)next(1);
	struct guest *g = some_guest(how);
	unsigned n = g->net.pairs > 1 && how & 0x40 ? 4 : 2;
	struct virtqueue *q = &g->net.transport.queue[n];
	uint8_t data[32];

	if (!q->enabled || q->in_flight || q->size < 2)
		return;
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)next(1);
	put(&g->m, DATA, data, sizeof(data));
	put16(&g->m, DATA, command[how / 3 % ARRAY_SIZE(command)]);
	put_descriptor(&g->m, q, q->next_take + 1u, DATA + 0x100, 1, 2);
	put_descriptor(&g->m, q, q->next_take, DATA, 2 + (uint32_t)next(1) % 30, 1);
	publish(&g->m, q, q->next_take, 1);
	notify(g, n);
}

/* --- what the driver and the machine do --- */

/* All that a driver does before its first frame, with features as they come, of those that are offered. */
static void start_card(struct guest *g, unsigned how)
{
	static const uint16_t size[] = {64, 8, 3, 2}; /* 3: for packed rings only */
	uint64_t wanted = how & 0x80 ? next(3) : 0xFFFFFF, offered = g->net.transport.kind->features(&g->net);

	start_device(&g->m, &g->net.transport, (uint32_t)(wanted & offered) | (how & 0x40 ? 0x30000000 : 0),
		     0x101 | (how & 0x20 ? 4 : 0), size[how % ARRAY_SIZE(size)], BASE);
	put_buffers(g, &g->net.transport.queue[0], how & 0x10 ? 4 : 40, 1526);
}

static void start(void)
{
	struct guest *g = some_guest((unsigned)next(1));

	start_card(g, (unsigned)next(1));
}

static void access_config(void)
{
	unsigned how = (unsigned)next(1);
	struct guest *g = some_guest(how);
	uint64_t at = g->net.transport.pci.bar[2].base + 0x2000 + next(1) % 16;
	const struct bus_range *r = bus_find(&g->m.mmio, at, 1);

	if (how & 0x80)
		r->write(r->dev, at, 1u << how % 4, next(1));
	else
		r->read(r->dev, at, 1u << how % 4);
}

static void work(void)
{
	unsigned how = (unsigned)next(1);
	struct guest *g = some_guest(how);
	uint64_t before = events, until = now + (how & 0x80 ? 3 : 1000);

	if (turns++ >= TURNS_MAX)
		return;
	for (unsigned n = 0; n < g->net.pairs; n++) {
		if (g->waits[n] && now >= g->transit[n].again)
			virtio_net_resume(&g->net, n);
	}
	if (virtio_pci_work(&g->net.transport, how & 0x40 ? BUDGET : 1 + next(2), until))
		REQUIRE(events != before || g->net.transport.kicked);
}

static void change_state(void)
{
	unsigned how = (unsigned)next(1), what = how / 3 % 8;
	struct guest *g = some_guest(how);

	if (what < 3)
		g->busy = !g->busy;
	else if (what == 3)
		virtio_net_set_link(&g->net, !g->net.link);
	else if (what == 4)
		now += next(2);
	else if (what == 5)
		now += next(4);
	else if (what == 6)
		vswitch_set_capture(&sw, (unsigned)g->port, how & 0x80);
	else
		virtio_pci_reset(&g->net.transport), enable(g);
}

static void reset_queue(void)
{
	unsigned how = (unsigned)next(1);
	struct guest *g = some_guest(how);

	set_common(&g->m, &g->net.transport, 22, 2, how / 3 % g->net.transport.queues);
	set_common(&g->m, &g->net.transport, 58, 2, 1);
}

/* A port goes and comes back: what is on the way to it is lost. */
static void pull_port(void)
{
	struct guest *g = &guest[CARDS - 1];
	struct vswitch_port_config port = config[CARDS - 1];

	vswitch_detach(&sw, (unsigned)g->port);
	port.owner = g;
	g->port = vswitch_attach(&sw, &port);
	REQUIRE(g->port == CARDS - 1);
}

/* --- what always holds --- */

static void check_card(const struct guest *g)
{
	const struct virtio_pci *v = &g->net.transport;

	REQUIRE(!g->held && !(v->kicked >> v->queues) && g->net.pairs_used >= 1 && g->net.pairs_used <= g->net.pairs);
	REQUIRE(g->net.filter.macs <= VIRTIO_NET_MAX_MACS);
	for (unsigned n = 0; n < v->queues; n++) {
		const struct virtqueue *q = &v->queue[n];
		bool tx = n % 2 && n < 2 * g->net.pairs;

		REQUIRE(q->enabled || !(v->kicked & 1U << n));
		REQUIRE(!tx || q->enabled || !g->net.tx[n / 2].active);
		if (q->enabled && !q->broken)
			REQUIRE(tx && g->net.tx[n / 2].active ? q->in_flight > 0 : q->in_flight == 0);
	}
}

static void check_switch(void)
{
	unsigned learned[VSWITCH_PORTS] = {0};
	const struct vswitch_entry *all = sw.entry[0];

	for (unsigned i = 0; i < VSWITCH_SETS * VSWITCH_WAYS; i++) {
		if (all[i].key)
			learned[all[i].port]++;
	}
	for (unsigned n = 0; n < CARDS; n++)
		REQUIRE(sw.port[n].learned == learned[n] && learned[n] <= VSWITCH_QUOTA);
	REQUIRE(sw.lock.next == sw.lock.serving);
}

static void step(void)
{
	static void (*const what[])(void) = {write_anything, offer_buffers, offer_buffers, send_frame,
					     send_frame,     send_frame,    send_command,  start,
					     work,	     work,	    work,	   change_state,
					     reset_queue,    pull_port,	    access_config, give_memory_away};

	what[next(1) % ARRAY_SIZE(what)]();
	for (unsigned i = 0; i < CARDS; i++)
		check_card(&guest[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	power_on();
	input = data;
	left = size;
	for (unsigned i = 0; i < CARDS; i++)
		start_card(&guest[i], (unsigned)next(1));
	while (left)
		step();
	check_switch();
	for (unsigned i = 0; i < CARDS; i++) {
		virtio_pci_reset(&guest[i].net.transport);
		check_card(&guest[i]);
		REQUIRE(!virtio_pci_work(&guest[i].net.transport, BUDGET, now));
	}
	return 0;
}
