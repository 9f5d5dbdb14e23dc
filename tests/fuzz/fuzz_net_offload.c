/*
 * Checksums, segments and tags of frames with hostile headers, in guest memory cut into pieces at odd places. What is
 * accepted is compared with a plain reading of the RFCs: sums that are added byte by byte, segments each of which is a
 * packet that a receiver would take, and which are the bundle's payload when they are put together. A bundle's headers
 * change where they must and nowhere else.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/net_offload.c hv/dev/net_packet.c hv/dev/virtio_stream.c hv/guest_mem.c */
#include <string.h>

#include "hv/dev/net_offload.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"

#define BASE	 0x10000ULL
#define SIZE	 (32 * KIB)
#define PARTS	 12
#define CUTS_MAX 40 /* segments that are looked at, of one bundle */

static uint8_t ram[SIZE];
static struct guest_mem mem;
static struct virtqueue_chain chain;
static uint8_t frame[SIZE + NET_TAG], found[SIZE + NET_TAG]; /* as it was sent; as it was read back */
static bool has_hole;					     /* a part lies where there is no memory */

/* --- RFC 1071, as slowly as it is described ----------------------------------------------------------------------- */

static uint32_t slow_sum(uint32_t sum, const uint8_t *at, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++) {
		sum += i % 2 ? at[i] : (uint32_t)at[i] << 8;
		sum = (sum & 0xFFFF) + (sum >> 16);
	}
	return sum;
}

static uint32_t slow_number(uint32_t sum, uint32_t number)
{
	uint8_t bytes[4] = {(uint8_t)(number >> 24), (uint8_t)(number >> 16), (uint8_t)(number >> 8), (uint8_t)number};

	return slow_sum(sum, bytes, sizeof(bytes));
}

/* --- the frame ---------------------------------------------------------------------------------------------------- */

/* A frame of TCP to begin with, of which the input changes bytes. Answers where the TCP header is. */
static unsigned make_headers(unsigned how)
{
	static const uint8_t ip4[] = {0x45, 0, 0, 0, 0xFF, 0xFE, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2};
	unsigned at = how & 1 ? 18 : 14, options = how >> 4 & 3;

	memset(frame, 0, 256);
	memset(frame, 0x02, 12);
	net_put16(frame + 12, 0x8100);
	net_put16(frame + at - 2, how & 2 ? 0x86DD : 0x0800);
	if (how & 2) {
		frame[at] = 0x60;
		frame[at + 6] = options ? 0 : 6;
		memset(frame + at + 8, 0x33, 32);
		at += 40 + 8 * options;
	} else {
		memcpy(frame + at, ip4, sizeof(ip4));
		frame[at] = (uint8_t)(0x45 + options);
		at += 20 + 4 * options;
	}
	net_put16(frame + at + 4, 0xFFFF);
	net_put16(frame + at + 6, 0xFF00);
	frame[at + 12] = (uint8_t)(how & 8 ? 0x80 : 0x50);
	frame[at + 13] = (uint8_t)next(1);
	return at;
}

/* The frame into guest memory, in parts that lie apart. */
static void put_frame(uint32_t size)
{
	uint32_t at = 0, gpa = 0;

	chain.out = 0;
	has_hole = false;
	while (at < size) {
		uint32_t part = (uint32_t)next(chain.out == 0 ? 1 : 2) + 1, gap = (uint32_t)next(1);

		if (part > size - at || chain.out == PARTS - 1)
			part = size - at;
		gpa += gap % 8 + (gap >= 248 ? PAGE_SIZE : 0);
		chain.part[chain.out].gpa = GPA(BASE + gpa);
		chain.part[chain.out++].size = part;
		if (gpa + part > SIZE)
			has_hole = true;
		for (uint32_t i = 0; i < part && gpa + i < SIZE; i++)
			ram[gpa + i] = frame[at + i];
		at += part;
		gpa += part;
	}
	chain.out_size = size;
}

/* The frame's bytes as a receiver gets them. False: some are not there. */
static bool read_back(const struct net_packet *p)
{
	struct net_reader r = net_packet_read(p, 0);
	uint32_t done = 0, n;

	while (done < p->size) {
		const uint8_t *piece = net_reader_next(&r, p->size - done, &n);

		REQUIRE(!piece || (n && n <= p->size - done));
		if (!piece)
			return false;
		memcpy(found + done, piece, n);
		done += n;
	}
	return true;
}

/* --- what must hold ----------------------------------------------------------------------------------------------- */

static unsigned type_at(void)
{
	return frame[12] == 0x81 && frame[13] == 0 ? 16 : 12;
}

/* The frame's sum as its sender demanded it: of all bytes from a place on, into the head. */
static void check_sum(struct net_packet *p)
{
	uint32_t place = (uint32_t)p->csum_start + p->csum_offset, sum, start = p->csum_start;

	REQUIRE(start >= type_at() + 2 && place + 2 <= p->head_size);
	sum = slow_sum(0, frame + start, p->size - start);
	if (!net_offload_sum(p)) {
		REQUIRE(has_hole);
		return;
	}
	REQUIRE(!p->needs_csum && read_back(p));
	net_put16(frame + place, (uint16_t)(sum == 0xFFFF ? 0xFFFF : ~sum));
	REQUIRE(!memcmp(found, frame, p->size));
}

/* What of a segment's headers differs from the bundle's, and how; the rest is compared as it is. */
static void expect_headers(uint8_t *h, const struct net_packet *b, uint32_t cut, uint32_t payload, bool last)
{
	unsigned ip = type_at() + 2, tcp = b->csum_start;
	uint32_t sequence = net_get32(frame + tcp + 4) + cut;

	memcpy(h, frame, b->header_size);
	if (b->gso == NET_GSO_TCP4) {
		net_put16(h + ip + 2, (uint16_t)(b->header_size - ip + payload));
		net_put16(h + ip + 4, (uint16_t)(net_get16(frame + ip + 4) + cut / b->gso_size));
		memcpy(h + ip + 10, found + ip + 10, 2); /* the sum: checked by itself */
		REQUIRE(slow_sum(0, found + ip, (frame[ip] & 15) * 4U) == 0xFFFF);
	} else {
		net_put16(h + ip + 4, (uint16_t)(b->header_size - ip - 40 + payload));
	}
	net_put16(h + tcp + 4, (uint16_t)(sequence >> 16));
	net_put16(h + tcp + 6, (uint16_t)sequence);
	h[tcp + 13] &= (uint8_t)(cut ? ~0x80 : ~0);
	h[tcp + 13] &= (uint8_t)(last ? ~0 : ~0x09);
	memcpy(h + tcp + 16, found + tcp + 16, 2);
}

/* RFC 9293, 3.1: with the pseudo-header all is ones. */
static void check_tcp_sum(const struct net_packet *b, uint32_t payload)
{
	unsigned ip = type_at() + 2, tcp = b->csum_start;
	uint32_t size = b->header_size - tcp + payload, sum;

	sum = b->gso == NET_GSO_TCP4 ? slow_sum(0, found + ip + 12, 8) : slow_sum(0, found + ip + 8, 32);
	sum = slow_number(slow_number(sum, size), 6);
	REQUIRE(slow_sum(sum, found + tcp, size) == 0xFFFF);
}

static void check_segment(const struct net_packet *b, struct net_packet *s, uint32_t payload)
{
	uint32_t rest = b->size - b->header_size - b->cut;
	uint8_t expected[NET_HEAD_MAX];

	REQUIRE(payload == (rest < b->gso_size ? rest : b->gso_size) && payload);
	REQUIRE(s->size == b->header_size + payload && s->gso == NET_GSO_NONE && s->needs_csum && !s->cut);
	if (!net_offload_sum(s) || !read_back(s)) {
		REQUIRE(has_hole);
		return;
	}
	expect_headers(expected, b, b->cut, payload, payload == rest);
	REQUIRE(!memcmp(found, expected, b->header_size));
	REQUIRE(!memcmp(found + b->header_size, frame + b->header_size + b->cut, payload));
	check_tcp_sum(b, payload);
}

/* The frame with another tag, or without: only that changes. */
static void change_tag(struct net_packet *p, unsigned how)
{
	bool tagged = how & 1, was = type_at() == 16 && p->head_size >= 18;
	uint16_t tci = (uint16_t)next(2);

	net_packet_tag(p, tagged, tci);
	if (was && !tagged)
		memmove(frame + 12, frame + 16, p->size);
	if (!was && tagged)
		memmove(frame + 16, frame + 12, p->size);
	if (tagged) {
		net_put16(frame + 12, 0x8100);
		net_put16(frame + 14, tci);
	}
	REQUIRE(net_packet_type_at(p) == type_at() || p->head_size < 18);
	REQUIRE(p->head_size <= NET_HEAD_MAX && p->head_size <= p->size);
	if (read_back(p))
		REQUIRE(!memcmp(found, frame, p->size));
	else
		REQUIRE(has_hole);
}

static void check_bundle(struct net_packet *p, struct virtio_stream out, unsigned how)
{
	uint32_t segments = net_packet_segments(p), number = 0, wire = 0;
	struct net_packet segment;

	REQUIRE(p->needs_csum && p->gso_size && p->header_size <= p->head_size && p->header_size < p->size);
	REQUIRE(p->csum_start + 20U <= p->header_size && segments <= NET_CUTS_MAX);
	REQUIRE(p->header_size - type_at() - 2 + p->gso_size <= 65535);
	p->head_size = p->header_size;
	p->rest = out;
	virtio_stream_skip(&p->rest, p->head_size);
	if (how & 2)
		change_tag(p, how);
	for (; p->cut < p->size - p->header_size && number < CUTS_MAX; number++) {
		uint32_t payload = net_offload_segment(p, &segment);

		check_segment(p, &segment, payload);
		wire += p->header_size + payload;
		p->cut += payload;
	}
	REQUIRE(number == (segments < CUTS_MAX ? segments : CUTS_MAX));
	REQUIRE(number < segments || wire == net_packet_wire_size(p));
}

static void demand(struct net_packet *p, unsigned tcp)
{
	unsigned how = (unsigned)next(1);

	p->needs_csum = how & 1;
	p->csum_start = (uint16_t)(how & 2 ? next(2) : tcp);
	p->csum_offset = (uint16_t)(how & 4 ? next(2) : 16);
	p->gso = how & 8 ? NET_GSO_NONE : how & 16 ? NET_GSO_TCP6 : NET_GSO_TCP4;
	p->gso_size = (uint16_t)(how & 32 ? next(2) : 1 + next(1) * 8);
	p->ecn = how & 64;
}

static void make_frame(struct net_packet *p)
{
	unsigned how = (unsigned)next(1), changes = (unsigned)next(1) % 8, tcp = make_headers(how);
	uint32_t size = (uint32_t)next(2);

	size %= size >= 0xF000 ? SIZE / 2 : 1536;
	p->size = size < NET_ETHER ? NET_ETHER : size;
	for (uint32_t i = tcp + 20; i < p->size; i++)
		frame[i] = (uint8_t)(i * 7 + (i >> 8) + how);
	while (changes--) {
		unsigned at = (unsigned)next(1);

		frame[at] = (uint8_t)next(1);
	}
	put_frame(p->size);
	demand(p, tcp);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct net_packet p = {.fresh = true};
	struct virtio_stream out;
	unsigned how;

	input_begin(data, size);
	memset(&mem, 0, sizeof(mem));
	REQUIRE(guest_mem_add(&mem, &(struct guest_region){BASE, SIZE, ram, true}) == 0);
	make_frame(&p);
	out = virtio_stream_out(&mem, &chain);
	p.head_size = p.size < NET_HEAD_SENT ? p.size : NET_HEAD_SENT;
	p.rest = out;
	if (virtio_stream_read(&p.rest, p.head, p.head_size)) {
		REQUIRE(has_hole);
		return 0;
	}
	if (!net_offload_check(&p))
		return 0;
	how = (unsigned)next(1);
	REQUIRE(p.gso != NET_GSO_NONE || (!p.gso_size && !p.ecn && !p.header_size));
	REQUIRE(p.needs_csum || (!p.csum_start && !p.csum_offset));
	if (p.gso != NET_GSO_NONE) {
		check_bundle(&p, out, how);
		return 0;
	}
	if (how & 2)
		change_tag(&p, how);
	if (p.needs_csum)
		check_sum(&p);
	return 0;
}
