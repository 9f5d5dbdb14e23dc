/* A frame on its way; see net_packet.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/dev/net_packet.h"

#include "hv/lib/string.h"

static bool has_tag(const struct net_packet *p)
{
	return p->head_size >= NET_ETHER + NET_TAG && net_get16(p->head + NET_TYPE_AT) == NET_TYPE_TAG;
}

/* All behind the addresses moves by a tag's size, and what is said by offset with it. */
static void move(struct net_packet *p, unsigned from, unsigned to)
{
	memmove(p->head + to, p->head + from, p->head_size - from);
	p->head_size += to - from;
	p->size += to - from;
	if (p->needs_csum)
		p->csum_start = (uint16_t)(p->csum_start + to - from);
	if (p->gso != NET_GSO_NONE)
		p->header_size = (uint16_t)(p->header_size + to - from);
}

void net_packet_tag(struct net_packet *p, bool tagged, uint16_t tci)
{
	if (has_tag(p) && !tagged)
		move(p, NET_TYPE_AT + NET_TAG, NET_TYPE_AT);
	if (!has_tag(p) && tagged)
		move(p, NET_TYPE_AT, NET_TYPE_AT + NET_TAG);
	if (tagged) {
		net_put16(p->head + NET_TYPE_AT, NET_TYPE_TAG);
		net_put16(p->head + NET_ETHER, tci);
	}
}

unsigned net_packet_type_at(const struct net_packet *p)
{
	if (p->head_size < NET_ETHER)
		return 0;
	return has_tag(p) ? NET_TYPE_AT + NET_TAG : NET_TYPE_AT;
}

struct net_reader net_packet_read(const struct net_packet *p, uint32_t from)
{
	struct net_reader r = {.rest = p->rest};

	if (from < p->head_size) {
		r.piece = p->head + from;
		r.piece_left = p->head_size - from;
	} else {
		virtio_stream_skip(&r.rest, from - p->head_size);
	}
	return r;
}

const uint8_t *net_reader_next(struct net_reader *r, uint32_t most, uint32_t *size)
{
	const uint8_t *at;

	if (!r->piece_left)
		r->piece = virtio_stream_next_out(&r->rest, UINT32_MAX, &r->piece_left);
	at = r->piece;
	if (!at)
		return NULL;
	*size = r->piece_left < most ? r->piece_left : most;
	r->piece += *size;
	r->piece_left -= *size;
	return at;
}
