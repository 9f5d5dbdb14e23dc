/*
 * A frame on its way from one virtual network card to others: its first bytes, which were copied out of the sender's
 * memory once and checked, and where the rest of it lies there. What was checked can't change any more; the rest may
 * change while it is copied, and that is the sender's harm only. Pure.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/dev/virtio_stream.h"

#define NET_MAC_SIZE  6
#define NET_ETHER     14 /* bytes: two MAC addresses and a type */
#define NET_TAG	      4	 /* bytes that an 802.1Q tag adds behind the addresses */
#define NET_FRAME_MAX (NET_ETHER + NET_TAG + 65535)
#define NET_HEAD_MAX  192 /* the headers of Ethernet, IP and TCP with all their options, and a tag that we add */

/* What the frame is a bundle of. */
enum net_gso { NET_GSO_NONE = 0, NET_GSO_TCP4 = 1, NET_GSO_TCP6 = 4 };

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

/* What became of a frame at one receiver. */
enum net_verdict {
	NET_DELIVERED,
	NET_PARTLY,  /* some segments were, and the receiver has no buffer for the rest now: ask again */
	NET_NO_ROOM, /* nothing was, it has no buffer now: ask again, or drop it */
	NET_REFUSED, /* it doesn't want it: filter, link down, no driver, buffers that are too small */
};

/* What a backend answers to a frame that it shall send. */
enum net_sent {
	NET_SENT,    /* it is done with it: delivered or dropped */
	NET_GOES_ON, /* its time is over and there is more to do: it is called again with the same packet, soon */
	NET_LATER,   /* it can't go on now: called again with the same packet after virtio_net_resume() */
};
