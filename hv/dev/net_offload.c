/* Checksums and segmentation; see net_offload.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/dev/net_offload.h"

#include "hv/dev/ip.h"
#include "hv/lib/string.h"

/* --- sums (RFC 1071) ---------------------------------------------------------------------------------------------- */

static uint16_t fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xFFFF) + (sum >> 16);
	return (uint16_t)sum;
}

/*
 * The sum of some bytes as 16-bit words of the processor's order: which order it is does not matter as long as the
 * result is stored in the same. Less than 2 GiB.
 */
static uint16_t sum_of(const uint8_t *at, uint32_t size)
{
	uint64_t sum = 0;
	uint32_t word;

	for (; size >= sizeof(word); size -= (uint32_t)sizeof(word), at += sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		sum += word;
	}
	word = 0;
	memcpy(&word, at, size);
	return fold(sum + word);
}

/* A piece that begins at an odd place has its bytes in the other halves. */
static uint16_t add_piece(uint16_t sum, uint16_t piece, bool odd)
{
	return fold((uint64_t)sum + (odd ? (uint16_t)(piece << 8 | piece >> 8) : piece));
}

static void put_sum(uint8_t *at, uint16_t sum)
{
	memcpy(at, &sum, sizeof(sum));
}

bool net_offload_sum(struct net_packet *p)
{
	struct net_reader r = net_packet_read(p, p->csum_start);
	uint32_t left = p->size - p->csum_start, done = 0, n;
	uint16_t sum = 0;

	while (done < left) {
		const uint8_t *piece = net_reader_next(&r, left - done, &n);

		if (!piece)
			return false;
		sum = add_piece(sum, sum_of(piece, n), done & 1);
		done += n;
		p->work += VIRTIO_PIECE + n;
	}
	/* All zeroes would say that there is none (RFC 768), and mean the same. */
	put_sum(p->head + p->csum_start + p->csum_offset, sum == 0xFFFF ? 0xFFFF : (uint16_t)~sum);
	p->needs_csum = false;
	return true;
}

/* --- what a sender demands ---------------------------------------------------------------------------------------- */

static unsigned ip_at(const struct net_packet *p)
{
	return net_packet_type_at(p) + 2;
}

static bool is_tcp4(const struct net_packet *p, unsigned ip)
{
	const uint8_t *h = p->head + ip;

	return net_get16(h - 2) == NET_TYPE_IPV4 && p->head_size >= ip + IP4_HEADER && h[0] >> 4 == 4 &&
	       p->csum_start >= ip + IP4_HEADER && p->csum_start == ip + (h[0] & 0xFU) * 4 && h[IP4_PROTOCOL] == IP_TCP;
}

/* What stands between a header with options and TCP is the sender's business: it says where TCP begins. */
static bool is_tcp6(const struct net_packet *p, unsigned ip)
{
	const uint8_t *h = p->head + ip;

	return net_get16(h - 2) == NET_TYPE_IPV6 && p->head_size >= ip + IP6_HEADER && h[0] >> 4 == 6 &&
	       p->csum_start >= ip + IP6_HEADER && (p->csum_start > ip + IP6_HEADER || h[IP6_NEXT] == IP_TCP);
}

static bool check_bundle(struct net_packet *p)
{
	unsigned ip = ip_at(p), offset;

	if (!p->needs_csum || p->csum_offset != TCP_SUM || !p->gso_size || p->head_size < p->csum_start + TCP_HEADER)
		return false;
	if (!(p->gso == NET_GSO_TCP4 ? is_tcp4(p, ip) : p->gso == NET_GSO_TCP6 && is_tcp6(p, ip)))
		return false;
	offset = (p->head[p->csum_start + TCP_OFFSET] >> 4) * 4U;
	p->header_size = (uint16_t)(p->csum_start + offset);
	return offset >= TCP_HEADER && p->header_size <= p->head_size && p->header_size < p->size &&
	       p->header_size - ip + p->gso_size <= IP_MAX && net_packet_segments(p) <= NET_CUTS_MAX;
}

bool net_offload_check(struct net_packet *p)
{
	p->header_size = 0;
	if (!p->needs_csum)
		p->csum_start = p->csum_offset = 0;
	else if (p->csum_start < ip_at(p) || (uint32_t)p->csum_start + p->csum_offset + 2 > p->head_size)
		return false;
	if (p->gso != NET_GSO_NONE)
		return check_bundle(p);
	p->gso_size = 0;
	p->ecn = false;
	return true;
}

/* --- segments ----------------------------------------------------------------------------------------------------- */

/* The sum of what TCP's covers beside itself: addresses, protocol, length (RFC 9293, 3.1; RFC 8200, 8.1). */
static uint16_t pseudo_sum(const uint8_t *addresses, unsigned size, uint32_t length)
{
	uint8_t tail[8] = {
	    (uint8_t)(length >> 24), (uint8_t)(length >> 16), (uint8_t)(length >> 8), (uint8_t)length, 0, 0, 0, IP_TCP};

	return add_piece(sum_of(addresses, size), sum_of(tail, sizeof(tail)), false);
}

/* Answers the pseudo-header's sum. */
static uint16_t set_ip4(uint8_t *h, uint32_t length, uint32_t tcp_length, uint32_t number)
{
	net_put16(h + IP4_TOTAL_LENGTH, (uint16_t)length);
	net_put16(h + IP4_ID, (uint16_t)(net_get16(h + IP4_ID) + number));
	put_sum(h + IP4_SUM, 0);
	put_sum(h + IP4_SUM, (uint16_t)~sum_of(h, (h[0] & 0xFU) * 4));
	return pseudo_sum(h + IP4_ADDRESSES, IP4_ADDRESSES_SIZE, tcp_length);
}

static uint16_t set_ip6(uint8_t *h, uint32_t length, uint32_t tcp_length)
{
	net_put16(h + IP6_LENGTH, (uint16_t)(length - IP6_HEADER));
	return pseudo_sum(h + IP6_ADDRESSES, IP6_ADDRESSES_SIZE, tcp_length);
}

/* "I reduced my window" is said once, the end and the push come with the last byte (RFC 3168, 6.1.2). */
static void set_tcp(uint8_t *h, uint32_t cut, bool last)
{
	uint32_t sequence = (uint32_t)net_get16(h + TCP_SEQUENCE) << 16 | net_get16(h + TCP_SEQUENCE + 2);

	sequence += cut;
	net_put16(h + TCP_SEQUENCE, (uint16_t)(sequence >> 16));
	net_put16(h + TCP_SEQUENCE + 2, (uint16_t)sequence);
	if (cut)
		h[TCP_FLAGS] &= (uint8_t)~TCP_CWR;
	if (!last)
		h[TCP_FLAGS] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
}

uint32_t net_offload_segment(const struct net_packet *b, struct net_packet *s)
{
	uint32_t left = b->size - b->header_size - b->cut, payload = left < b->gso_size ? left : b->gso_size;
	unsigned ip = ip_at(b);
	uint32_t length = b->header_size - ip + payload, tcp_length = b->header_size - b->csum_start + payload;
	uint8_t *tcp;

	*s = *b;
	s->gso = NET_GSO_NONE;
	s->gso_size = 0;
	s->ecn = false;
	s->cut = 0;
	s->work = 0;
	s->size = b->header_size + payload;
	virtio_stream_skip(&s->rest, b->cut);
	tcp = s->head + b->csum_start;
	set_tcp(tcp, b->cut, payload == left);
	put_sum(tcp + TCP_SUM, b->gso == NET_GSO_TCP4 ? set_ip4(s->head + ip, length, tcp_length, b->cut / b->gso_size)
						      : set_ip6(s->head + ip, length, tcp_length));
	return payload;
}
