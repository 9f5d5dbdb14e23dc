/*
 * Unit tests of checksums and segmentation, against sums that are done word by word as the RFCs say, and segments that
 * a receiver would accept: each a valid packet, all of them together the payload. Also of tags, which move both.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/net_offload.c hv/dev/net_packet.c hv/dev/virtio_stream.c hv/guest_mem.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/dev/net_offload.h"

#define BASE  0x10000ULL
#define SIZE  0x20000u
#define CWR   0x80
#define ACK   0x10
#define PSH   0x08
#define FIN   0x01
#define FIRST 0xFFFFFF00u /* sequence number: it passes 0 */
#define ID    0xFFFE

static uint8_t ram[SIZE];
static struct guest_mem mem;
static struct virtqueue_chain chain;
static struct net_packet packet;

/* How a frame is made. */
struct form {
	bool six, tagged;
	unsigned ip_options, tcp_options; /* bytes; six: of an extension header */
	uint32_t payload;
	uint16_t gso_size;
	uint8_t flags;
};

static uint8_t frame[SIZE]; /* as it was made */
static unsigned ip_at, tcp_at, data_at;
static uint32_t frame_size;

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)net_get16(at) << 16 | net_get16(at + 2);
}

static int setup(void **state)
{
	(void)state;
	memset(&mem, 0, sizeof(mem));
	memset(&packet, 0, sizeof(packet));
	return guest_mem_add(&mem, &(struct guest_region){BASE, SIZE, ram, true});
}

/* RFC 1071, as slowly as it is described: all words are added, an odd byte is the first of its word. */
static uint32_t slow_sum(uint32_t sum, const uint8_t *at, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++) {
		sum += i % 2 ? at[i] : (uint32_t)at[i] << 8;
		sum = (sum & 0xFFFF) + (sum >> 16);
	}
	return sum;
}

static uint32_t slow_pseudo(bool six, const uint8_t *ip, uint32_t length)
{
	uint32_t sum = slow_sum(0, ip + (six ? 8 : 12), six ? 32 : 8) + 6 + (length >> 16) + (length & 0xFFFF);

	return (sum & 0xFFFF) + (sum >> 16);
}

static void make_ip(const struct form *f, uint32_t length)
{
	uint8_t *ip = frame + ip_at;

	net_put16(ip - 2, f->six ? 0x86DD : 0x0800);
	ip[0] = f->six ? 0x60 : (uint8_t)(0x45 + f->ip_options / 4);
	net_put16(ip + (f->six ? 4 : 2), (uint16_t)length);
	if (f->six) {
		ip[6] = f->ip_options ? 60 : 6;
		ip[40] = 6; /* after destination options */
	} else {
		net_put16(ip + 4, ID);
		ip[8] = 64;
		ip[9] = 6;
		net_put16(ip + 10, 0xBEEF); /* the sender may leave anything */
	}
	for (unsigned i = f->six ? 8 : 12; i < (f->six ? 40 : 20); i++)
		ip[i] = (uint8_t)(i * 37);
}

static void make_frame(const struct form *f)
{
	uint8_t *tcp;

	memset(frame, 0, sizeof(frame));
	for (unsigned i = 0; i < 12; i++)
		frame[i] = (uint8_t)(0x40 + i);
	if (f->tagged)
		memcpy(frame + 12, "\x81\0\x20\x07", 4);
	ip_at = f->tagged ? 18 : 14;
	tcp_at = ip_at + (f->six ? 40 : 20) + f->ip_options;
	data_at = tcp_at + 20 + f->tcp_options;
	frame_size = data_at + f->payload;
	tcp = frame + tcp_at;
	make_ip(f, frame_size - ip_at - (f->six ? 40 : 0));
	memcpy(tcp, "\x12\x34\x00\x50\xFF\xFF\xFF\x00\xAA\xBB\xCC\xDD", 12);
	tcp[12] = (uint8_t)((20 + f->tcp_options) * 4);
	tcp[13] = f->flags;
	for (uint32_t i = data_at; i < frame_size; i++)
		frame[i] = (uint8_t)(i * 7 + i / 256);
	net_put16(tcp + 16, (uint16_t)slow_pseudo(f->six, frame + ip_at, frame_size - tcp_at));
}

/* The frame in the guest's memory, in pieces of some bytes, as a packet whose head is `head` bytes. */
static void make_packet(uint32_t head, uint32_t piece)
{
	uint32_t left = frame_size - head, n;

	memset(&packet, 0, sizeof(packet));
	memset(&chain, 0, sizeof(chain));
	memcpy(ram + 3, frame, frame_size);
	memcpy(packet.head, frame, head);
	packet.head_size = head;
	packet.size = frame_size;
	for (uint32_t at = head; left; at += n, left -= n) {
		n = left < piece || chain.out == VIRTQUEUE_MAX_PARTS - 1 ? left : piece;
		chain.part[chain.out++] = (struct virtqueue_part){GPA(BASE + 3 + at), n};
	}
	chain.out_size = frame_size - head;
	packet.rest = virtio_stream_out(&mem, &chain);
	packet.needs_csum = true;
	packet.csum_start = (uint16_t)tcp_at;
	packet.csum_offset = 16;
}

static void make_bundle(const struct form *f, uint32_t piece)
{
	make_frame(f);
	make_packet(data_at, piece);
	packet.gso = f->six ? NET_GSO_TCP6 : NET_GSO_TCP4;
	packet.gso_size = f->gso_size;
	assert_true(net_offload_check(&packet));
	assert_int_equal(packet.header_size, data_at);
}

/* All bytes of a packet. */
static void flatten(const struct net_packet *p, uint8_t *to)
{
	struct net_reader r = net_packet_read(p, 0);
	uint32_t n;

	for (uint32_t left = p->size; left; left -= n, to += n) {
		const uint8_t *piece = net_reader_next(&r, left, &n);

		assert_non_null(piece);
		memcpy(to, piece, n);
	}
}

/* --- sums --- */

static void a_sum_is_done(uint32_t payload, uint32_t piece)
{
	static uint8_t flat[SIZE];
	struct form f = {.payload = payload, .tcp_options = 12};
	uint32_t sum;

	make_frame(&f);
	make_packet(data_at, piece);
	assert_true(net_offload_check(&packet));
	assert_true(net_offload_sum(&packet));
	assert_false(packet.needs_csum);
	flatten(&packet, flat);
	sum = slow_sum(slow_pseudo(false, flat + ip_at, frame_size - tcp_at), flat + tcp_at, frame_size - tcp_at);
	assert_int_equal(sum, 0xFFFF);
	net_put16(flat + tcp_at + 16, net_get16(frame + tcp_at + 16));
	assert_memory_equal(flat, frame, frame_size);
}

static void sums_are_right(void **state)
{
	(void)state;
	for (uint32_t payload = 0; payload < 70; payload++)
		for (uint32_t piece = 1; piece < 10; piece++)
			a_sum_is_done(payload, piece);
	a_sum_is_done(65000, 1501);
	a_sum_is_done(65001, 3);
}

/* A sum of zero is put as all ones: in UDP zeroes say that there is none. */
static void a_sum_is_never_zero(void **state)
{
	(void)state;
	make_frame(&(struct form){.payload = 2});
	net_put16(frame + data_at, 0);
	net_put16(frame + data_at, (uint16_t)(0xFFFF - slow_sum(0, frame + tcp_at, frame_size - tcp_at)));
	make_packet(frame_size, 1);
	assert_true(net_offload_sum(&packet));
	assert_int_equal(net_get16(packet.head + tcp_at + 16), 0xFFFF);
}

static void a_sum_of_what_is_not_there(void **state)
{
	(void)state;
	make_frame(&(struct form){.payload = 500});
	make_packet(data_at, 100);
	chain.part[3].gpa = GPA(BASE + SIZE);
	assert_false(net_offload_sum(&packet));
}

/* --- segments --- */

/* Segment number n of a bundle, whose payload begins at `cut`; answers how much it has. */
static uint32_t check_segment(const struct form *f, unsigned n, uint32_t cut)
{
	static uint8_t flat[SIZE];
	struct net_packet s;
	uint32_t payload, left = f->payload - cut, due = left < f->gso_size ? left : f->gso_size, length;
	const uint8_t *ip = flat + ip_at, *tcp = flat + tcp_at;
	uint8_t flags = f->flags;

	packet.cut = cut;
	payload = net_offload_segment(&packet, &s);
	assert_int_equal(payload, due);
	assert_true(s.needs_csum && s.gso == NET_GSO_NONE);
	assert_true(net_offload_check(&s) && net_offload_sum(&s));
	assert_int_equal(s.size, data_at + due);
	flatten(&s, flat);
	length = s.size - tcp_at;
	assert_memory_equal(flat, frame, ip_at);
	assert_memory_equal(flat + data_at, frame + data_at + cut, due);
	assert_int_equal(slow_sum(slow_pseudo(f->six, ip, length), tcp, length), 0xFFFF);
	if (f->six) {
		assert_int_equal(net_get16(ip + 4), s.size - ip_at - 40);
		assert_memory_equal(ip + 6, frame + ip_at + 6, tcp_at - ip_at - 6);
	} else {
		assert_int_equal(net_get16(ip + 2), s.size - ip_at);
		assert_int_equal(slow_sum(0, ip, tcp_at - ip_at), 0xFFFF);
		assert_int_equal(net_get16(ip + 4), (uint16_t)(ID + n));
	}
	assert_int_equal(get32(tcp + 4), (uint32_t)(FIRST + cut));
	assert_memory_equal(tcp + 8, frame + tcp_at + 8, 5);
	if (n)
		flags &= (uint8_t)~CWR;
	if (due < left)
		flags &= (uint8_t) ~(PSH | FIN);
	assert_int_equal(tcp[13], flags);
	return payload;
}

static void check_bundle(struct form f, uint32_t piece)
{
	uint32_t cut = 0;
	unsigned n;

	make_bundle(&f, piece);
	for (n = 0; cut < f.payload; n++) {
		assert_int_equal(cut, n * f.gso_size);
		cut += check_segment(&f, n, cut);
	}
	assert_int_equal(cut, f.payload);
	assert_int_equal(net_packet_segments(&packet), n);
	assert_int_equal(net_packet_wire_size(&packet), f.payload + n * data_at);
}

static void bundles_are_cut(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < 16; kind++) {
		struct form f = {.six = kind & 1,
				 .tagged = kind & 2,
				 .ip_options = kind & 4 ? 8 : 0,
				 .tcp_options = kind & 8 ? 40 : 0,
				 .gso_size = 1448,
				 .flags = ACK | PSH | FIN | CWR};

		f.payload = 10 * 1448;
		check_bundle(f, 4096);
		f.payload = 10 * 1448 + 1;
		check_bundle(f, 333);
		f.payload = 65535 - 140;
		check_bundle(f, 1500);
		f.payload = 1448;
		check_bundle(f, 1);
		f.payload = 7;
		f.gso_size = 1;
		check_bundle(f, 2);
	}
}

/* --- what may be demanded --- */

static bool may(const struct net_packet *p)
{
	struct net_packet copy = *p;

	return net_offload_check(&copy);
}

/* A bundle with a byte of its head changed. */
static bool may_with(unsigned at, uint8_t value)
{
	struct net_packet copy = packet;

	copy.head[at] = value;
	return net_offload_check(&copy);
}

static void demands_fit_the_frame(void **state)
{
	struct net_packet p;

	(void)state;
	make_bundle(&(struct form){.payload = 3000, .gso_size = 1000}, 4096);
	assert_true(may(&packet));
	p = packet, p.needs_csum = false;
	assert_false(may(&p));
	p = packet, p.gso_size = 0;
	assert_false(may(&p));
	p = packet, p.gso_size = 65535 - 40;
	assert_true(may(&p));
	p.gso_size++; /* more than a length says */
	assert_false(may(&p));
	p = packet, p.csum_offset = 6; /* UDP */
	assert_false(may(&p));
	p = packet, p.gso = NET_GSO_TCP6;
	assert_false(may(&p));
	p = packet, p.gso = (enum net_gso)3;
	assert_false(may(&p));
	p = packet, p.csum_start += 4;
	assert_false(may(&p));
	p = packet, p.size = p.header_size; /* nothing to cut */
	assert_false(may(&p));
	p = packet, p.head_size = p.csum_start + 19u;
	assert_false(may(&p));
	assert_false(may_with(ip_at, 0x55));
	assert_false(may_with(ip_at, 0x44));
	assert_false(may_with(ip_at, 0x46));
	assert_false(may_with(ip_at + 9, 17));
	assert_false(may_with(ip_at - 1, 6)); /* ARP */
	assert_false(may_with(tcp_at + 12, 0x40));
	assert_false(may_with(tcp_at + 12, 0x60)); /* beyond the head */
	make_bundle(&(struct form){.six = true, .payload = 3000, .gso_size = 1000}, 4096);
	assert_false(may_with(ip_at + 6, 17));
	assert_false(may_with(ip_at, 0x40));
	p = packet, p.gso = NET_GSO_TCP4;
	assert_false(may(&p));
	p = packet, p.csum_start = (uint16_t)(ip_at + 36);
	assert_false(may(&p));
}

static bool may_be_cut(uint32_t payload, uint16_t gso_size)
{
	make_frame(&(struct form){.payload = payload});
	make_packet(data_at, 4096);
	packet.gso = NET_GSO_TCP4;
	packet.gso_size = gso_size;
	return net_offload_check(&packet);
}

/* A sender's one frame is not tens of thousands for a receiver. Linux cuts into 8 bytes where it has to. */
static void segments_are_not_too_many(void **state)
{
	(void)state;
	assert_true(may_be_cut(65535 - 40, 8));
	assert_int_equal(net_packet_segments(&packet), 8187);
	assert_false(may_be_cut(65535 - 40, 7));
	assert_false(may_be_cut(65535 - 40, 1));
	assert_true(may_be_cut(8192, 1));
	assert_false(may_be_cut(8193, 1));
	assert_true(may_be_cut(1, 1));
	assert_true(may_be_cut(1, 1448));
	assert_int_equal(net_packet_wire_size(&packet), data_at + 1);
	packet.gso = NET_GSO_NONE;
	assert_int_equal(net_packet_wire_size(&packet), data_at + 1);
}

/* Not into addresses and types: what was checked of them stays. */
static void sums_stay_out_of_the_header(void **state)
{
	(void)state;
	for (unsigned tagged = 0; tagged < 2; tagged++) {
		make_frame(&(struct form){.payload = 100, .tagged = tagged});
		make_packet(80, 100);
		for (unsigned start = 0; start < 90; start++) {
			packet.csum_start = (uint16_t)start;
			packet.csum_offset = 0;
			assert_int_equal(may(&packet), start >= ip_at && start <= 78);
			packet.csum_offset = (uint16_t)(78 - start);
			assert_int_equal(may(&packet), start >= ip_at && start <= 78);
			packet.csum_offset++;
			assert_false(may(&packet));
		}
		packet.csum_start = packet.csum_offset = 0xFFFF;
		assert_false(may(&packet));
		packet.needs_csum = false;
		assert_true(net_offload_check(&packet));
		assert_int_equal(packet.csum_start + packet.csum_offset, 0);
	}
}

/* --- tags --- */

static void tags_come_and_go(void **state)
{
	static uint8_t flat[SIZE];
	struct form plain = {.payload = 3000, .gso_size = 1000}, tagged = plain;
	struct net_packet p;

	(void)state;
	tagged.tagged = true;
	make_bundle(&tagged, 100);
	p = packet;
	net_packet_tag(&p, true, 0x2007); /* the same */
	assert_memory_equal(&p, &packet, sizeof(p));
	net_packet_tag(&p, false, 0);
	make_bundle(&plain, 100);
	assert_int_equal(p.csum_start, tcp_at);
	assert_int_equal(p.header_size, data_at);
	assert_int_equal(p.size, frame_size);
	flatten(&packet, flat);
	assert_memory_equal(flat, frame, frame_size);
	assert_memory_equal(p.head, packet.head, p.head_size);
	net_packet_tag(&p, false, 0);
	assert_int_equal(p.size, frame_size);
	net_packet_tag(&p, true, 0x2007);
	make_bundle(&tagged, 100);
	assert_memory_equal(p.head, packet.head, packet.head_size);
	assert_int_equal(p.head_size, packet.head_size);
	assert_int_equal(p.size, packet.size);
	net_packet_tag(&p, true, 0xB123);
	assert_int_equal(net_get16(p.head + 14), 0xB123);
	assert_int_equal(p.size, packet.size);
	check_segment(&tagged, 1, 1000);

	make_frame(&plain); /* a head as full as may be */
	make_packet(NET_HEAD_SENT, 100);
	packet.needs_csum = false;
	packet.csum_start = 0;
	net_packet_tag(&packet, true, 5);
	flatten(&packet, flat);
	assert_memory_equal(flat + 16, frame + 12, frame_size - 12);
	assert_int_equal(packet.csum_start, 0);
	assert_int_equal(packet.header_size, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(sums_are_right, setup),
	    cmocka_unit_test_setup(a_sum_is_never_zero, setup),
	    cmocka_unit_test_setup(a_sum_of_what_is_not_there, setup),
	    cmocka_unit_test_setup(bundles_are_cut, setup),
	    cmocka_unit_test_setup(demands_fit_the_frame, setup),
	    cmocka_unit_test_setup(segments_are_not_too_many, setup),
	    cmocka_unit_test_setup(sums_stay_out_of_the_header, setup),
	    cmocka_unit_test_setup(tags_come_and_go, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
