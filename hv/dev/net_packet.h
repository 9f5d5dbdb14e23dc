/*
 * A frame on its way from one virtual network card to others: its first bytes, which were copied out of the sender's
 * memory once and checked, and where the rest of it lies there. What was checked can't change any more; the rest may
 * change while it is copied, and that is the sender's harm only. Pure.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/dev/virtio.h"
#include "hv/dev/virtio_stream.h"

#define NET_MAC_SIZE  6
#define NET_ETHER     14   /* bytes: two MAC addresses and a type */
#define NET_TAG	      4	   /* bytes that an 802.1Q tag adds behind the addresses */
#define NET_VLAN_MAX  4094 /* 4095 is reserved (802.1Q, 9.6) */
#define NET_FRAME_MAX (NET_ETHER + NET_TAG + 65535)
#define NET_CUTS_MAX  8192 /* segments of a bundle: 64 KiB, 8 bytes each, the least that Linux's TCP cuts into */
#define NET_HEAD_MAX  192  /* the headers of Ethernet, IP and TCP with all their options, and a tag that we add */
#define NET_HEAD_SENT (NET_HEAD_MAX - NET_TAG) /* what of a frame comes from its sender */
#define NET_TYPE_TAG  0x8100
#define NET_TYPE_IPV4 0x0800
#define NET_TYPE_IPV6 0x86DD
#define NET_TYPE_AT   12 /* of the frame: the type, or a tag's beginning */

/* What the frame is a bundle of. */
enum net_gso { NET_GSO_NONE = 0, NET_GSO_TCP4 = 1, NET_GSO_TCP6 = 4 };

/* Fields of frames, which are big-endian. */
static inline uint16_t net_get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}
static inline uint32_t net_get32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}
static inline bool net_same_mac(const uint8_t *a, const uint8_t *b)
{
	return net_get32(a) == net_get32(b) && net_get16(a + 4) == net_get16(b + 4);
}
/* A group's, broadcast among them: no station's own. */
static inline bool net_mac_is_group(const uint8_t mac[NET_MAC_SIZE])
{
	return mac[0] & 1;
}
/* All zero: no address. */
static inline bool net_mac_is_none(const uint8_t mac[NET_MAC_SIZE])
{
	return !net_get32(mac) && !net_get16(mac + 4);
}
static inline void net_put16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

struct net_packet {
	uint8_t head[NET_HEAD_MAX];
	uint32_t head_size;	   /* bytes of the frame in `head`: all of them, or enough for every header */
	uint32_t size;		   /* bytes of the frame, head included: NET_ETHER to NET_FRAME_MAX */
	struct virtio_stream rest; /* those behind the head; copy it before it is read */

	/* What the sender left to us (VIRTIO 1.2, 5.1.6.2). Offsets from the frame's begin; they lie in the head. */
	bool needs_csum;
	uint16_t csum_start, csum_offset; /* where the sum begins; where it is put, from there */
	enum net_gso gso;
	bool ecn;	      /* the bundle's first segment has CWR */
	uint16_t gso_size;    /* bytes of payload of each segment, not 0 */
	uint16_t header_size; /* what each segment begins with: Ethernet, IP, TCP */

	bool fresh;    /* the backend sees it for the first time; the device clears it after the first `send` */
	uint32_t cut;  /* bytes of payload of which segments went to the receiver that is being served now */
	uint64_t work; /* bytes copied and pieces of memory looked up on its behalf, see VIRTIO_PIECE */
};

/* Frames that it becomes where it is cut: those of a bundle, or itself. */
static inline uint32_t net_packet_segments(const struct net_packet *p)
{
	return p->gso == NET_GSO_NONE ? 1 : (p->size - p->header_size - 1) / p->gso_size + 1;
}
/* Bytes of all of them: each has the headers. */
static inline uint32_t net_packet_wire_size(const struct net_packet *p)
{
	return p->size + (net_packet_segments(p) - 1) * p->header_size;
}

/*
 * For a copy of the packet: the frame gets an 802.1Q tag, whose 16 bits behind 0x8100 are `tci`, or has none any more.
 * The head has room for a tag more than it was filled with.
 */
void net_packet_tag(struct net_packet *packet, bool tagged, uint16_t tci);
/* Where the Ethernet type is that says what the frame carries, behind a tag if there is one; 0: not in the head. */
unsigned net_packet_type_at(const struct net_packet *packet);

/* The frame's bytes from `from` on, one piece after another; the packet must stay where it is. */
struct net_reader {
	const uint8_t *piece; /* found: the head, or of the rest */
	uint32_t piece_left;
	struct virtio_stream rest; /* behind the piece */
};
struct net_reader net_packet_read(const struct net_packet *packet, uint32_t from);
/* The next piece, *size bytes, at most `most` (not 0). NULL: the sender has no memory there. */
const uint8_t *net_reader_next(struct net_reader *reader, uint32_t most, uint32_t *size);

/* What became of a frame at one receiver. */
enum net_verdict {
	NET_DELIVERED,
	NET_PARTLY,  /* some segments were: ask again */
	NET_NO_ROOM, /* it has no buffer for it, or for the next segment, now: ask again, or drop it */
	NET_NOT_YET, /* its next buffers lie in memory that isn't there yet, and that it will fill: ask again soon */
	NET_REFUSED, /* it doesn't want it: filter, link down, no driver, buffers that are too small */
};

/* What a backend answers to a frame that it shall send. */
enum net_sent {
	NET_SENT,    /* it is done with it: delivered or dropped */
	NET_GOES_ON, /* its time is over and there is more to do: it is called again with the same packet, soon */
	NET_LATER,   /* it can't go on now: called again with the same packet after virtio_net_resume() */
};
