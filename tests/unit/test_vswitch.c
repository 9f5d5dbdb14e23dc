/*
 * Unit tests of the virtual switch: where frames go, by address, VLAN and isolation; who may send from which address;
 * what a table of fixed size does when somebody fills it; rates; and a frame's way to receivers that have no room, no
 * time, or are gone. The receivers are played by the test.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/vswitch.c hv/dev/net_packet.c hv/dev/virtio_stream.c hv/guest_mem.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/fake_time.h"

#include "hv/vswitch.h"

#define MS     (FAKE_HZ / 1000)
#define MANY   (FAKE_HZ / VSWITCH_PATIENCE_MANY)
#define NEVER  UINT64_MAX
#define GROUP  0x010000000000ULL
#define ALL    0xFFFFFFFFFFFFULL
#define MAC(n) (0x020000000000ULL + (n)) /* port n's in these tests */

static struct vswitch sw;
static struct vswitch_transit transit;
static struct net_packet packet;

/* What a receiver answers, and what it got. The owner of port n is &receiver[n]. */
static struct receiver {
	bool busy;
	enum net_verdict answer;
	unsigned frames, tries;
	bool tagged;
	uint16_t tci;
} receiver[VSWITCH_PORTS];
static struct receiver *held;
static void (*meanwhile)(void); /* while a frame is copied */
static uint64_t takes;		/* ticks, the copying of a frame */

static bool grab(void *from, void *to)
{
	struct receiver *r = to;

	assert_non_null(from);
	assert_null(held);
	r->tries++;
	if (r->busy)
		return false;
	held = r;
	return true;
}

static void release(void *from, void *to)
{
	assert_non_null(from);
	assert_ptr_equal(held, to);
	held = NULL;
}

static enum net_verdict deliver(void *from, void *to, struct net_packet *p, bool tagged, uint16_t tci)
{
	struct receiver *r = to;

	assert_non_null(from);
	assert_ptr_equal(held, to);
	assert_int_equal(sw.lock.next, sw.lock.serving);
	r->frames += r->answer == NET_DELIVERED;
	r->tagged = tagged;
	r->tci = tci;
	if (r->answer == NET_PARTLY)
		p->cut += 1000;
	else if (r->answer != NET_NO_ROOM && r->answer != NET_NOT_YET)
		p->cut = 0;
	fake_now += takes;
	if (meanwhile)
		meanwhile();
	return r->answer;
}

static const struct vswitch_ops ops = {.grab = grab, .release = release, .deliver = deliver};

static int setup(void **state)
{
	(void)state;
	vswitch_init(&sw, &ops, FAKE_HZ, 0x123456789abcdef);
	memset(receiver, 0, sizeof(receiver));
	memset(&transit, 0xEE, sizeof(transit));
	meanwhile = NULL;
	takes = 0;
	held = NULL;
	return 0;
}

static void put_mac(uint8_t *at, uint64_t mac)
{
	for (unsigned i = 0; i < NET_MAC_SIZE; i++)
		at[i] = (uint8_t)(mac >> (40 - 8 * i));
}

static int try_attach(struct vswitch_port_config c, uint64_t mac)
{
	put_mac(c.mac, mac);
	return vswitch_attach(&sw, &c);
}

/* The next port; its address is MAC(its number). */
static void attach(struct vswitch_port_config c)
{
	unsigned n = (unsigned)__builtin_popcountll(sw.attached);

	c.owner = &receiver[n];
	assert_int_equal(try_attach(c, MAC(n)), n);
}

static void attach_some(unsigned count)
{
	while (count--)
		attach((struct vswitch_port_config){0});
}

static void make_frame(uint64_t to, uint64_t from, uint16_t type)
{
	memset(&packet, 0, sizeof(packet));
	packet.fresh = true;
	packet.head_size = packet.size = 60;
	put_mac(packet.head, to);
	put_mac(packet.head + 6, from);
	net_put16(packet.head + 12, type);
}

static void make_tagged(uint64_t to, uint64_t from, uint16_t tci)
{
	make_frame(to, from, 0x8100);
	net_put16(packet.head + 14, tci);
}

/* Where the frame goes that was made. */
static uint64_t route(unsigned port)
{
	assert_int_equal(vswitch_route(&sw, port, &packet, fake_now, &transit), NET_SENT);
	assert_true(transit.routed);
	return transit.to;
}

static uint64_t route_plain(unsigned port, uint64_t to)
{
	make_frame(to, MAC(port), 0x0800);
	return route(port);
}

static enum net_sent forward(unsigned port)
{
	enum net_sent sent = vswitch_forward(&sw, port, &packet, NEVER, &transit);

	packet.fresh = false;
	assert_null(held);
	return sent;
}

static struct vswitch_counts counts(unsigned port)
{
	struct vswitch_counts c;

	assert_true(vswitch_read(&sw, port, &c));
	return c;
}

static void assert_dropped(unsigned port, enum vswitch_drop why)
{
	uint64_t before = counts(port).drops[why], in = counts(port).in_packets;

	assert_int_equal(route(port), 0);
	assert_int_equal(counts(port).drops[why], before + 1);
	assert_int_equal(counts(port).in_packets, in);
}

/* --- addresses --- */

static void frames_go_where_the_address_is(void **state)
{
	(void)state;
	attach_some(4);
	assert_int_equal(route_plain(0, MAC(2)), 1 << 2);
	assert_true(transit.one);
	assert_int_equal(route_plain(2, ALL), 0xB);
	assert_false(transit.one);
	assert_int_equal(route_plain(1, GROUP | 5), 0xD);
	assert_int_equal(route_plain(1, 0x020000001234), 0xD); /* unknown */
	assert_int_equal(transit.tagged, 0);
	assert_int_equal(counts(1).in_packets, 2);
	assert_int_equal(counts(1).in_bytes, 120);
	make_frame(MAC(3), MAC(3), 0x0800); /* to itself */
	assert_dropped(3, VSWITCH_NOWHERE);
}

static void nobody_sends_from_an_address_not_its_own(void **state)
{
	(void)state;
	attach_some(2);
	attach((struct vswitch_port_config){.spoof = true});
	make_frame(ALL, MAC(0), 0x0800);
	assert_dropped(1, VSWITCH_SPOOFED);
	make_frame(ALL, 0x020000001234, 0x0800);
	assert_dropped(1, VSWITCH_SPOOFED);
	assert_int_equal(route(2), 3); /* it may */
	make_frame(ALL, MAC(0), 0x0800);
	assert_dropped(2, VSWITCH_SPOOFED); /* but not from another's */
	make_frame(ALL, GROUP | MAC(7), 0x0800);
	assert_dropped(2, VSWITCH_SPOOFED);
	make_frame(ALL, 0, 0x0800);
	assert_dropped(2, VSWITCH_SPOOFED);
}

static void what_is_for_the_neighbour_goes_no_further(void **state)
{
	(void)state;
	attach_some(2);
	for (unsigned i = 0; i < 16; i++) {
		make_frame(0x0180C2000000 + i, MAC(0), 0x8809);
		assert_dropped(0, VSWITCH_RESERVED);
	}
	assert_int_equal(route_plain(0, 0x0180C2000010), 2);
}

static void a_frame_has_a_header(void **state)
{
	(void)state;
	attach_some(1);
	attach((struct vswitch_port_config){.trunk = true});
	make_frame(ALL, MAC(0), 0x0800);
	packet.head_size = packet.size = 13;
	assert_dropped(0, VSWITCH_RUNT);
	make_tagged(ALL, MAC(1), 0);
	packet.head_size = packet.size = 17;
	assert_dropped(1, VSWITCH_RUNT);
}

static void addresses_are_learned_move_and_age(void **state)
{
	(void)state;
	attach_some(1);
	attach((struct vswitch_port_config){.spoof = true});
	attach((struct vswitch_port_config){.spoof = true});
	make_frame(ALL, MAC(100), 0x0800);
	route(1);
	assert_int_equal(route_plain(0, MAC(100)), 1 << 1);
	make_frame(ALL, MAC(100), 0x0800);
	route(2);
	assert_int_equal(route_plain(0, MAC(100)), 1 << 2);
	assert_int_equal(sw.port[1].learned, 0);
	assert_int_equal(sw.port[2].learned, 1);
	fake_now += 300 * FAKE_HZ;
	assert_int_equal(route_plain(0, MAC(100)), 1 << 2);
	fake_now++;
	assert_int_equal(route_plain(0, MAC(100)), 6);
	make_frame(ALL, MAC(100), 0x0800);
	route(2);
	fake_now += 299 * FAKE_HZ; /* heard of again, it stays */
	route(2);
	fake_now += 299 * FAKE_HZ;
	assert_int_equal(route_plain(0, MAC(100)), 1 << 2);
	assert_int_equal(sw.port[2].learned, 1);
	vswitch_detach(&sw, 2);
	assert_int_equal(route_plain(0, MAC(100)), 1 << 1);
	assert_int_equal(sw.port[2].learned, 0);
}

static unsigned entries(void)
{
	unsigned count = 0;

	for (unsigned i = 0; i < VSWITCH_SETS * VSWITCH_WAYS; i++)
		count += sw.entry[i / VSWITCH_WAYS][i % VSWITCH_WAYS].key != 0;
	return count;
}

/* Somebody sends from a million addresses: the table holds his share, and who was there before is still known. */
static void a_flood_of_addresses_takes_a_share(void **state)
{
	unsigned known = 0;

	(void)state;
	attach_some(1);
	attach((struct vswitch_port_config){.spoof = true});
	attach((struct vswitch_port_config){.spoof = true});
	for (unsigned i = 0; i < 32; i++) {
		make_frame(ALL, MAC(100 + i), 0x0800);
		route(1);
	}
	for (unsigned i = 0; i < 1000000; i++) {
		fake_now++;
		make_frame(ALL, MAC(1000 + i), 0x0800);
		route(2);
		assert_in_range(sw.port[2].learned, 1, VSWITCH_QUOTA);
	}
	assert_int_equal(sw.port[2].learned, VSWITCH_QUOTA);
	for (unsigned i = 0; i < 32; i++)
		known += route_plain(0, MAC(100 + i)) == 1 << 1;
	assert_in_range(known, 31, 32); /* more of one set than its places are a rare thing */
	assert_int_equal(route_plain(2, MAC(0)), 1);
	assert_int_equal(entries(), VSWITCH_QUOTA + sw.port[1].learned);
}

/* --- VLANs --- */

/* 0 and 1: VLAN 10. 2: VLAN 20. 3: trunk, own VLAN 10. 4: trunk, own VLAN 30. */
static void attach_vlans(void)
{
	attach((struct vswitch_port_config){.vlan = 10});
	attach((struct vswitch_port_config){.vlan = 10});
	attach((struct vswitch_port_config){.vlan = 20});
	attach((struct vswitch_port_config){.vlan = 10, .trunk = true});
	attach((struct vswitch_port_config){.vlan = 30, .trunk = true});
}

static void frames_stay_in_their_vlan(void **state)
{
	(void)state;
	attach_vlans();
	assert_int_equal(route_plain(0, ALL), 0x1A);
	assert_int_equal(transit.tagged, 0x10);
	assert_int_equal(transit.tci, 10);
	assert_int_equal(route_plain(2, ALL), 0x18);
	assert_int_equal(transit.tagged, 0x18);
	assert_int_equal(transit.tci, 20);
	assert_int_equal(route_plain(0, MAC(1)), 2);
	/* As unknown as any: trunks only have members that we don't know. */
	assert_int_equal(route_plain(0, MAC(2)), 0x1A);
	assert_int_equal(route_plain(2, MAC(0)), 0x18);
	assert_int_equal(route_plain(2, MAC(3)), 0x08);
}

static void a_trunk_says_the_vlan(void **state)
{
	(void)state;
	attach_vlans();
	make_tagged(ALL, MAC(3), 0xA014); /* VLAN 20, priority 5 */
	assert_int_equal(route(3), 0x14);
	assert_int_equal(transit.tagged, 0x10);
	assert_int_equal(transit.tci, 0xA014);
	make_tagged(MAC(1), MAC(4), 10);
	assert_int_equal(route(4), 2);
	assert_int_equal(transit.tagged, 0);
	assert_int_equal(route_plain(4, ALL), 0x08); /* its own VLAN 30 */
	assert_int_equal(transit.tagged, 0x08);
	make_tagged(ALL, MAC(3), 0x6000); /* a priority, no VLAN */
	assert_int_equal(route(3), 0x13);
	assert_int_equal(transit.tci, 0x600A);
	make_tagged(ALL, MAC(3), 4094);
	assert_int_equal(route(3), 0x10);
	make_tagged(ALL, MAC(3), 4095);
	assert_dropped(3, VSWITCH_TAGGED);
	make_tagged(ALL, MAC(0), 20); /* no way into another's VLAN */
	assert_dropped(0, VSWITCH_TAGGED);
	make_tagged(ALL, MAC(0), 10);
	assert_dropped(0, VSWITCH_TAGGED);
}

/* A tag of VLAN 0 would mean the receiver's own VLAN (802.1Q, 9.6): frames of port 0 stay away from a trunk of VLAN 5.
 */
static void ports_that_say_nothing_have_no_tag(void **state)
{
	(void)state;
	attach((struct vswitch_port_config){.spoof = true});
	attach((struct vswitch_port_config){.vlan = 5});
	attach((struct vswitch_port_config){.vlan = 5, .trunk = true, .spoof = true});
	make_frame(ALL, MAC(0), 0x0800);
	assert_dropped(0, VSWITCH_NOWHERE);
	make_frame(MAC(2), MAC(0), 0x0800);
	assert_dropped(0, VSWITCH_NOWHERE);
	make_tagged(ALL, MAC(2), 0xE000); /* a priority: VLAN 5 */
	assert_int_equal(route(2), 2);
	make_tagged(MAC(0), MAC(2), 0);
	assert_int_equal(route(2), 2); /* as unknown as any there */
	make_frame(MAC(100), MAC(2), 0x0800);
	assert_int_equal(route(2), 2);
	make_tagged(ALL, MAC(100), 0); /* learned, in VLAN 5 */
	assert_int_equal(route(2), 2);
	make_frame(MAC(100), MAC(0), 0x0800);
	assert_dropped(0, VSWITCH_NOWHERE);
	assert_int_equal(route_plain(1, MAC(100)), 4);

	attach((struct vswitch_port_config){.trunk = true}); /* its own VLAN is that of port 0 */
	assert_int_equal(route_plain(0, ALL), 8);
	assert_int_equal(route_plain(0, MAC(3)), 8);
	assert_int_equal(transit.tagged, 0);
	assert_int_equal(route_plain(3, ALL), 1);
	assert_int_equal(route_plain(3, MAC(0)), 1);
	assert_int_equal(route_plain(2, ALL), 0xA);
	assert_int_equal(transit.tagged, 8);
}

static void an_address_is_learned_in_its_vlan(void **state)
{
	(void)state;
	attach((struct vswitch_port_config){.vlan = 10});
	attach((struct vswitch_port_config){.vlan = 20});
	attach((struct vswitch_port_config){.trunk = true, .spoof = true});
	attach((struct vswitch_port_config){.trunk = true, .spoof = true});
	make_tagged(ALL, MAC(100), 10);
	route(2);
	make_tagged(ALL, MAC(100), 20);
	route(3);
	assert_int_equal(route_plain(0, MAC(100)), 1 << 2);
	assert_int_equal(route_plain(1, MAC(100)), 1 << 3);
}

static void isolated_ports_see_the_others_only(void **state)
{
	(void)state;
	attach((struct vswitch_port_config){.isolated = true});
	attach((struct vswitch_port_config){.isolated = true, .spoof = true});
	attach((struct vswitch_port_config){0});
	assert_int_equal(route_plain(0, ALL), 4);
	assert_int_equal(route_plain(2, ALL), 3);
	assert_int_equal(route_plain(0, MAC(2)), 4);
	make_frame(MAC(1), MAC(0), 0x0800);
	assert_dropped(0, VSWITCH_NOWHERE);
	make_frame(ALL, MAC(100), 0x0800);
	route(1);
	make_frame(MAC(100), MAC(0), 0x0800);
	assert_dropped(0, VSWITCH_NOWHERE);
}

/* --- ports --- */

static void ports_come_and_go(void **state)
{
	struct vswitch_counts c;

	(void)state;
	assert_int_equal(try_attach((struct vswitch_port_config){0}, 0), -E_INVAL);
	assert_int_equal(try_attach((struct vswitch_port_config){0}, GROUP | MAC(1)), -E_INVAL);
	assert_int_equal(try_attach((struct vswitch_port_config){.vlan = 4095}, MAC(1)), -E_INVAL);
	attach_some(VSWITCH_PORTS);
	assert_int_equal(try_attach((struct vswitch_port_config){0}, MAC(5)), -E_EXIST);
	assert_int_equal(try_attach((struct vswitch_port_config){0}, MAC(100)), -E_NOMEM);
	assert_int_equal(route_plain(63, ALL), ~0ULL >> 1);
	vswitch_detach(&sw, 5);
	assert_false(vswitch_read(&sw, 5, &c));
	assert_int_equal(route_plain(63, ALL), (~0ULL >> 1) & ~(1ULL << 5));
	make_frame(ALL, MAC(5), 0x0800);
	assert_int_equal(route(5), 0);
	assert_int_equal(try_attach((struct vswitch_port_config){.vlan = 7}, MAC(100)), 5);
	assert_int_equal(sw.port[5].config.vlan, 7);
	assert_int_equal(counts(5).in_packets, 0);
}

static void ports_are_recorded(void **state)
{
	(void)state;
	attach_some(2);
	attach((struct vswitch_port_config){0});
	vswitch_set_capture(&sw, 2, true);
	route_plain(0, MAC(1));
	assert_int_equal(transit.capture, 0);
	route_plain(0, ALL);
	assert_int_equal(transit.capture, 4);
	route_plain(2, MAC(0));
	assert_int_equal(transit.capture, 4);
	vswitch_set_capture(&sw, 2, false);
	vswitch_set_capture(&sw, 0, true);
	vswitch_set_capture(&sw, 9, true); /* nobody's */
	route_plain(2, ALL);
	assert_int_equal(transit.capture, 1);
	vswitch_detach(&sw, 0);
	route_plain(2, ALL);
	assert_int_equal(transit.capture, 0);
	assert_int_equal(sw.capture, 0);
}

#define BURST (128 * KIB) /* the least */

/* In a second as much goes as the rate says, and the burst; a frame that was held back goes when it was said. */
static void a_rate_is_kept(void **state)
{
	uint64_t bytes = 0, end;

	(void)state;
	attach((struct vswitch_port_config){.rate = 1000000});
	attach_some(1);
	end = fake_now + FAKE_HZ;
	for (unsigned tries = 0; fake_now < end; tries++) {
		assert_in_range(tries, 0, 3000);
		make_frame(MAC(1), MAC(0), 0x0800);
		packet.size = 1000;
		if (forward(0) == NET_SENT) {
			bytes += 1000;
			continue;
		}
		assert_false(transit.routed);
		assert_true(transit.again > fake_now);
		fake_now = transit.again;
	}
	assert_in_range(bytes, 1000000 + BURST, 1000000 + BURST + 2000);
	assert_int_equal(counts(0).in_bytes, bytes);
	assert_int_equal(receiver[1].frames, bytes / 1000);
	fake_now += 10 * FAKE_HZ; /* what wasn't used is not saved up */
	for (bytes = 0; forward(0) == NET_SENT; bytes += 1000)
		packet.fresh = true;
	assert_in_range(bytes, BURST, BURST + 2000);
	fake_now = transit.again;
	assert_int_equal(forward(0), NET_SENT); /* the same packet, no longer fresh */
}

/* Frames that are dropped are paid for as well: a false sender's, and to nobody. */
static void a_rate_is_for_frames_to_nowhere_too(void **state)
{
	(void)state;
	attach((struct vswitch_port_config){.rate = 1000000});
	for (unsigned i = 0; i < 2; i++) {
		unsigned sent = 0;

		fake_now += 10 * FAKE_HZ;
		do {
			make_frame(MAC(1), MAC(i ? 0 : 7), 0x0800);
			packet.size = 1000;
		} while (forward(0) == NET_SENT && ++sent < 1000);
		assert_in_range(sent, BURST / 1000, BURST / 1000 + 2);
		assert_int_equal(counts(0).drops[i ? VSWITCH_NOWHERE : VSWITCH_SPOOFED], sent);
	}
	assert_int_equal(counts(0).in_packets, 0);
}

/* However small the segments are that a sender asks for, their bytes are what its rate allows. */
static void a_bundle_costs_what_it_is_cut_into(void **state)
{
	uint64_t bytes = 0, wire = 0, end;

	(void)state;
	attach((struct vswitch_port_config){.rate = 1000000});
	attach_some(1);
	end = fake_now + FAKE_HZ;
	while (fake_now < end) {
		make_frame(MAC(1), MAC(0), 0x0800);
		packet.gso = NET_GSO_TCP4;
		packet.gso_size = 10;
		packet.header_size = packet.head_size = 54;
		packet.size = 54 + 1001;
		if (forward(0) == NET_SENT) {
			bytes += packet.size;
			wire += 100 * (54 + 10) + 54 + 1;
		} else {
			assert_true(transit.again > fake_now);
			fake_now = transit.again;
		}
	}
	assert_in_range(wire, 1000000, 1000000 + BURST + 2 * 6455);
	assert_int_equal(counts(0).in_bytes, bytes);
}

static void a_rate_has_a_burst_of_its_own(void **state)
{
	uint64_t bytes = 0;

	(void)state;
	attach((struct vswitch_port_config){.rate = 1});
	attach((struct vswitch_port_config){.rate = 1000000000});
	for (unsigned port = 0; port < 2; port++) {
		make_frame(MAC(!port), MAC(port), 0x0800);
		packet.size = 1000;
		for (bytes = 0; forward(port) == NET_SENT; bytes += 1000)
			packet.fresh = true;
		assert_in_range(bytes, port ? 10000000 : BURST, (port ? 10000000 : BURST) + 2000);
	}
}

/* --- on the way --- */

static void a_frame_is_delivered(void **state)
{
	(void)state;
	attach_vlans();
	make_frame(ALL, MAC(0), 0x0800);
	receiver[3].answer = NET_REFUSED;
	assert_int_equal(forward(0), NET_SENT);
	assert_int_equal(receiver[1].frames, 1);
	assert_false(receiver[1].tagged);
	assert_true(receiver[4].tagged);
	assert_int_equal(receiver[4].tci, 10);
	assert_int_equal(receiver[2].tries, 0);
	assert_int_equal(counts(1).out_packets, 1);
	assert_int_equal(counts(1).out_bytes, 60);
	assert_int_equal(counts(3).out_packets, 0);
	assert_int_equal(counts(3).drops[VSWITCH_REFUSED], 1);
}

static void one_receiver_without_room_is_waited_for(void **state)
{
	(void)state;
	attach_some(3);
	make_frame(MAC(1), MAC(0), 0x0800);
	receiver[1].answer = NET_NO_ROOM;
	assert_int_equal(forward(0), NET_LATER);
	assert_int_equal(transit.again, fake_now + FAKE_HZ / VSWITCH_RETRY);
	fake_now += 5 * MS - 10;
	assert_int_equal(forward(0), NET_LATER);
	receiver[1].answer = NET_DELIVERED;
	assert_int_equal(forward(0), NET_SENT);
	assert_int_equal(receiver[1].frames, 1);

	receiver[1].answer = NET_NO_ROOM;
	make_frame(MAC(1), MAC(0), 0x0800);
	assert_int_equal(forward(0), NET_LATER);
	fake_now += 5 * MS + 10;
	assert_int_equal(forward(0), NET_SENT);
	assert_int_equal(counts(1).drops[VSWITCH_FULL], 1);
	make_frame(MAC(1), MAC(0), 0x0800); /* nobody waits for it any more */
	assert_int_equal(forward(0), NET_SENT);
	assert_int_equal(counts(1).drops[VSWITCH_FULL], 2);
	receiver[1].answer = NET_DELIVERED;
	make_frame(MAC(1), MAC(0), 0x0800);
	assert_int_equal(forward(0), NET_SENT);
	receiver[1].answer = NET_NO_ROOM; /* it has had room */
	make_frame(MAC(1), MAC(0), 0x0800);
	assert_int_equal(forward(0), NET_LATER);
}

static void one_of_many_is_not_waited_for(void **state)
{
	(void)state;
	attach_some(4);
	make_frame(ALL, MAC(0), 0x0800);
	receiver[1].answer = NET_NO_ROOM;
	assert_int_equal(forward(0), NET_SENT);
	assert_int_equal(counts(1).drops[VSWITCH_FULL], 1);
	assert_int_equal(receiver[2].frames + receiver[3].frames, 2);
}

/* Its lock is taken, or its buffers' memory is not there. */
static void make_busy(unsigned port, bool by_its_lock)
{
	if (by_its_lock)
		receiver[port].busy = true;
	else
		receiver[port].answer = NET_NOT_YET;
}

static void wait_for_one(bool by_its_lock)
{
	attach_some(3);
	make_frame(MAC(1), MAC(0), 0x0800);
	make_busy(1, by_its_lock);
	assert_int_equal(forward(0), NET_LATER);
	assert_int_equal(transit.again, fake_now + FAKE_HZ / VSWITCH_RETRY);
	fake_now += 5 * MS - 1;
	assert_int_equal(forward(0), NET_LATER);
	fake_now++;
	assert_int_equal(forward(0), NET_SENT);
	assert_int_equal(counts(1).drops[VSWITCH_BUSY], 1);
	assert_int_equal(receiver[1].frames, 0);
}

static void one_busy_receiver_is_waited_for(void **state)
{
	wait_for_one(true);
	assert_int_equal(setup(state), 0);
	wait_for_one(false);
}

static void send_to_many(bool by_its_lock)
{
	attach_some(4);
	make_frame(ALL, MAC(0), 0x0800);
	make_busy(1, by_its_lock);
	make_busy(2, by_its_lock);
	assert_int_equal(forward(0), NET_LATER);
	assert_int_equal(transit.to, 6);
	assert_int_equal(receiver[3].frames, 1);
	receiver[2] = (struct receiver){0};
	fake_now += MANY - 10;
	assert_int_equal(forward(0), NET_LATER);
	assert_int_equal(receiver[2].frames, 1);
	fake_now += 10; /* that it got on meanwhile gives it no more time */
	assert_int_equal(forward(0), NET_SENT);
	assert_int_equal(counts(1).drops[VSWITCH_BUSY], 1);
	assert_int_equal(receiver[1].frames, 0);
	assert_int_equal(receiver[3].frames, 1);
}

static void a_busy_receiver_holds_up_no_other(void **state)
{
	send_to_many(true);
	assert_int_equal(setup(state), 0);
	send_to_many(false);
}

/* The time in which the frame that was made is over, tried again whenever it is worth to; `change` comes before. */
static uint64_t held_up(unsigned port, void (*change)(void))
{
	uint64_t start = fake_now;

	while (forward(port) == NET_LATER) {
		assert_true(transit.again > fake_now);
		fake_now = transit.again;
		change();
	}
	return fake_now - start;
}

static void no_change(void) {}

/* Whoever was free is busy: half of the ports at a time. */
static void take_turns(void)
{
	for (unsigned i = 0; i < VSWITCH_PORTS; i++)
		receiver[i].busy = !receiver[i].busy;
}

static void one_is_free(void)
{
	static unsigned next;

	for (unsigned i = 0; i < VSWITCH_PORTS; i++)
		receiver[i].busy = i != next % VSWITCH_PORTS;
	next++;
}

/* VMs whose locks are taken whenever somebody looks don't keep another one from sending. */
static void a_sender_to_many_is_held_up_briefly(void **state)
{
	static const uint64_t to[] = {ALL, GROUP | 5, 0x020000001234};

	(void)state;
	attach_some(VSWITCH_PORTS);
	for (unsigned i = 0; i < ARRAY_SIZE(to); i++) {
		make_frame(to[i], MAC(0), 0x0800);
		receiver[63].busy = true;
		assert_in_range(held_up(0, no_change), 1, MANY);
		assert_int_equal(counts(63).drops[VSWITCH_BUSY], 1);
		make_frame(to[i], MAC(0), 0x0800);
		for (unsigned j = 0; j < VSWITCH_PORTS; j++)
			receiver[j].busy = true;
		assert_in_range(held_up(0, one_is_free), 1, MANY);
		assert_int_equal(counts(63).drops[VSWITCH_BUSY], 2);
		setup(NULL);
		attach_some(VSWITCH_PORTS);
	}
	for (unsigned i = 0; i < VSWITCH_PORTS; i += 2)
		receiver[i].busy = true;
	make_frame(ALL, MAC(0), 0x0800);
	assert_int_equal(held_up(0, take_turns), FAKE_HZ / VSWITCH_RETRY); /* all have it after one more try */
	for (unsigned i = 1; i < VSWITCH_PORTS; i++)
		assert_int_equal(receiver[i].frames, 1);
}

static unsigned tries;

static void busy_at_each_third(void)
{
	receiver[1].busy = ++tries % 3 == 0;
}

/* A frame for port 1 and one for port 2 behind it, tried as a card does; 10 us pass. */
static void send_to_both(void (*change)(void))
{
	make_frame(MAC(1), MAC(0), 0x0800);
	change();
	(void)held_up(0, change);
	make_frame(MAC(2), MAC(0), 0x0800);
	(void)held_up(0, no_change);
	fake_now += FAKE_HZ / 100000;
}

/* It has room again once in 4.9 ms. */
static void slow_reader(void)
{
	static uint64_t room;

	if (receiver[1].answer == NET_DELIVERED)
		room = fake_now + 49 * MS / 10;
	receiver[1].answer = fake_now >= room ? NET_DELIVERED : NET_NO_ROOM;
}

/* What gets to port 2 in a second, where 100,000 frames would. */
static unsigned frames_for_the_other(void (*change)(void))
{
	uint64_t end = fake_now + FAKE_HZ;
	unsigned before = receiver[2].frames;

	while (fake_now < end)
		send_to_both(change);
	return receiver[2].frames - before;
}

/* A guest that reads slowly slows those who also send to others by a tenth, and no more. */
static void a_slow_receiver_holds_up_little(void **state)
{
	uint64_t start;

	(void)state;
	attach_some(4);
	assert_in_range(frames_for_the_other(slow_reader), 80000, 100000);
	/* However many do so: what waits is the sender's. */
	fake_now += FAKE_HZ;
	receiver[3].answer = NET_NO_ROOM;
	make_frame(MAC(3), MAC(0), 0x0800);
	(void)held_up(0, no_change);
	assert_in_range(frames_for_the_other(slow_reader), 80000, 100000);
	/* When it has read, after a while it is waited for again. */
	receiver[1].answer = NET_DELIVERED;
	send_to_both(no_change);
	fake_now += FAKE_HZ;
	receiver[1].answer = NET_NO_ROOM;
	start = fake_now;
	send_to_both(no_change);
	assert_in_range(fake_now - start, 5 * MS, 6 * MS);
}

/* One that keeps its lock taken as much as a broadcast is held up; one that is merely at work loses nothing. */
static void a_taken_lock_holds_up_little(void **state)
{
	uint64_t dropped;

	(void)state;
	attach_some(3);
	receiver[1].busy = true;
	assert_in_range(frames_for_the_other(no_change), 4500, 100000);
	receiver[1].busy = false;
	fake_now += FAKE_HZ;
	dropped = counts(1).drops[VSWITCH_BUSY];
	assert_in_range(frames_for_the_other(busy_at_each_third), 10000, 100000);
	assert_int_equal(counts(1).drops[VSWITCH_BUSY], dropped);
}

/* Where nobody else waits its buffers set the pace, however long. */
static void a_lone_receiver_is_waited_for_always(void **state)
{
	(void)state;
	attach_some(3);
	for (unsigned i = 0; i < 1000; i++) {
		make_frame(MAC(1), MAC(0), 0x0800);
		receiver[1].answer = NET_NO_ROOM;
		assert_int_equal(forward(0), NET_LATER);
		fake_now += 4 * MS;
		receiver[1].answer = NET_DELIVERED;
		assert_int_equal(forward(0), NET_SENT);
	}
	assert_int_equal(receiver[1].frames, 1000);
}

/* A port that has a part of a bundle gets the rest before anybody else gets the beginning. */
static void a_bundle_stays_with_its_receiver(void **state)
{
	(void)state;
	attach_some(4);
	make_frame(ALL, MAC(0), 0x0800);
	receiver[1].busy = true;
	receiver[2].answer = NET_PARTLY;
	takes = 100;
	assert_int_equal(vswitch_forward(&sw, 0, &packet, fake_now + 100, &transit), NET_GOES_ON);
	packet.fresh = false;
	receiver[1].busy = false; /* it waits for its turn */
	assert_int_equal(vswitch_forward(&sw, 0, &packet, fake_now + 100, &transit), NET_GOES_ON);
	assert_int_equal(packet.cut, 2000);
	assert_int_equal(receiver[1].frames, 0);
	receiver[2].busy = true;
	assert_int_equal(forward(0), NET_LATER);
	assert_int_equal(receiver[3].tries, 0);
	receiver[2].busy = false;
	receiver[2].answer = NET_NO_ROOM;
	assert_int_equal(forward(0), NET_SENT); /* many shall have it: the rest is dropped */
	assert_int_equal(packet.cut, 0);
	assert_int_equal(counts(2).drops[VSWITCH_FULL], 1);
	assert_int_equal(receiver[3].frames, 1);
	assert_int_equal(receiver[1].frames, 1);
}

static void a_turn_ends_in_time(void **state)
{
	unsigned turns = 1;

	(void)state;
	attach_some(VSWITCH_PORTS);
	takes = 100;
	make_frame(ALL, MAC(0), 0x0800);
	while (vswitch_forward(&sw, 0, &packet, fake_now + 1000, &transit) == NET_GOES_ON) {
		packet.fresh = false;
		turns++;
	}
	assert_int_equal(turns, 7); /* 63 copies, 10 at a time */
	for (unsigned i = 1; i < VSWITCH_PORTS; i++)
		assert_int_equal(receiver[i].frames, 1);
}

static void detach_one(void)
{
	vswitch_detach(&sw, 1);
}

static void detach_three(void)
{
	vswitch_detach(&sw, 3);
	meanwhile = NULL;
}

/* A port's number is somebody else's now: what is on the way to the old owner is not for him. */
static void a_frame_for_who_is_gone_goes_nowhere(void **state)
{
	(void)state;
	attach_some(4);
	make_frame(MAC(1), MAC(0), 0x0800);
	receiver[1].busy = true;
	assert_int_equal(forward(0), NET_LATER);
	detach_one();
	receiver[1].busy = false;
	assert_int_equal(try_attach((struct vswitch_port_config){.owner = &receiver[1]}, MAC(100)), 1);
	assert_int_equal(forward(0), NET_SENT);
	assert_int_equal(receiver[1].frames, 0);
	assert_int_equal(counts(0).drops[VSWITCH_NOWHERE], 1);

	make_frame(ALL, MAC(0), 0x0800);
	meanwhile = detach_three;
	assert_int_equal(forward(0), NET_SENT);
	assert_int_equal(receiver[1].frames, 1);
	assert_int_equal(receiver[2].frames + receiver[3].frames, 0);
	assert_int_equal(counts(0).drops[VSWITCH_NOWHERE], 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(frames_go_where_the_address_is, setup),
	    cmocka_unit_test_setup(nobody_sends_from_an_address_not_its_own, setup),
	    cmocka_unit_test_setup(what_is_for_the_neighbour_goes_no_further, setup),
	    cmocka_unit_test_setup(a_frame_has_a_header, setup),
	    cmocka_unit_test_setup(addresses_are_learned_move_and_age, setup),
	    cmocka_unit_test_setup(a_flood_of_addresses_takes_a_share, setup),
	    cmocka_unit_test_setup(frames_stay_in_their_vlan, setup),
	    cmocka_unit_test_setup(a_trunk_says_the_vlan, setup),
	    cmocka_unit_test_setup(ports_that_say_nothing_have_no_tag, setup),
	    cmocka_unit_test_setup(an_address_is_learned_in_its_vlan, setup),
	    cmocka_unit_test_setup(isolated_ports_see_the_others_only, setup),
	    cmocka_unit_test_setup(ports_come_and_go, setup),
	    cmocka_unit_test_setup(ports_are_recorded, setup),
	    cmocka_unit_test_setup(a_rate_is_kept, setup),
	    cmocka_unit_test_setup(a_rate_is_for_frames_to_nowhere_too, setup),
	    cmocka_unit_test_setup(a_bundle_costs_what_it_is_cut_into, setup),
	    cmocka_unit_test_setup(a_rate_has_a_burst_of_its_own, setup),
	    cmocka_unit_test_setup(a_frame_is_delivered, setup),
	    cmocka_unit_test_setup(one_receiver_without_room_is_waited_for, setup),
	    cmocka_unit_test_setup(one_of_many_is_not_waited_for, setup),
	    cmocka_unit_test_setup(one_busy_receiver_is_waited_for, setup),
	    cmocka_unit_test_setup(a_busy_receiver_holds_up_no_other, setup),
	    cmocka_unit_test_setup(a_sender_to_many_is_held_up_briefly, setup),
	    cmocka_unit_test_setup(a_slow_receiver_holds_up_little, setup),
	    cmocka_unit_test_setup(a_taken_lock_holds_up_little, setup),
	    cmocka_unit_test_setup(a_lone_receiver_is_waited_for_always, setup),
	    cmocka_unit_test_setup(a_bundle_stays_with_its_receiver, setup),
	    cmocka_unit_test_setup(a_turn_ends_in_time, setup),
	    cmocka_unit_test_setup(a_frame_for_who_is_gone_goes_nowhere, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
