/*
 * A virtual network card: VIRTIO 1.2, 5.1. Frames that the driver sends go to a backend; frames for the driver are put
 * into its buffers by whoever has them, one copy from the sender's memory. Checksums and segmentation that a sender
 * left to the device pass through to a receiver that agreed to it, and are done in software (net_offload.h) for others.
 *
 * Queues: rx0, tx0, rx1, tx1, ..., control. Called with the lock of the VM that owns the card held, each function: the
 * packet of virtio_net_receive() may come from another VM, whose lock the caller holds, too.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/dev/net_packet.h"
#include "hv/dev/virtio_pci.h"

#define VIRTIO_NET_MAX_PAIRS 4
#define VIRTIO_NET_MAX_MACS  64 /* of the filter, and it lets all of a kind in that has more */
#define VIRTIO_NET_MAX_MERGE 64 /* buffers that one frame is spread over */

/* What only the card knows: what it sends and gets in all counts who is behind it (hv/vswitch.h). */
struct virtio_net_counts {
	uint64_t bad;				   /* sent frames that break a rule, dropped */
	uint64_t unwanted;			   /* not for this one, or it has no driver or no link */
	uint64_t too_small;			   /* the driver's buffers were */
	uint64_t software_sums, software_segments; /* done for this receiver */
};

/* The frame that was taken from a tx queue last. */
struct virtio_net_tx {
	bool active;  /* the backend isn't done with it */
	bool dropped; /* it shall not hear of it: without link, or not as it must be */
	struct virtqueue_chain chain;
	struct net_packet packet;
};

/* What the driver let in by the control queue (5.1.6.5). As after power-up it is promiscuous. */
struct virtio_net_filter {
	bool promiscuous, all_multicast;
	bool all_unicast_in_table, all_multicast_in_table; /* the table had no room */
	uint8_t macs;
	uint8_t mac[VIRTIO_NET_MAX_MACS][NET_MAC_SIZE];
};

struct virtio_net {
	struct virtio_pci transport;
	const struct guest_mem *mem;
	enum net_sent (*send)(void *backend, unsigned pair, struct net_packet *packet, uint64_t until);
	void *backend;
	unsigned pairs;	     /* that it has */
	unsigned pairs_used; /* that the driver wants frames on */
	uint8_t mac_at_start[NET_MAC_SIZE], mac[NET_MAC_SIZE];
	bool spoof, link;
	struct virtio_net_filter filter;
	struct virtio_net_counts counts;
	struct virtio_net_tx tx[VIRTIO_NET_MAX_PAIRS];
	struct virtqueue_chain chain; /* of the control queue or an rx queue, while it is looked at */
	struct virtqueue_used merged[VIRTIO_NET_MAX_MERGE]; /* buffers of a frame that is being put into them */
};

struct virtio_net_setup {
	uint8_t mac[NET_MAC_SIZE]; /* unicast, not 0 */
	unsigned pairs;		   /* 1 to VIRTIO_NET_MAX_PAIRS; more than one offers MQ */
	bool spoof;		   /* the driver may change the address (CTRL_MAC_ADDR) */
	bool link;		   /* up at first */
	/*
	 * A frame of tx queue `pair`, to be handled until about clock_now() is `until`. The packet stays where it is
	 * until the answer is NET_SENT, or forever unanswered when the queue is reset: the next one is `fresh`, then.
	 */
	enum net_sent (*send)(void *backend, unsigned pair, struct net_packet *packet, uint64_t until);
	void *backend;
	const struct guest_mem *mem;
	void (*kick)(void *ctx); /* virtio_pci.h */
	void *ctx;
};

/* Plugs it in. 0, or the error of pci_host_plug. */
int virtio_net_init(struct virtio_net *net, struct pci_host *host, const struct virtio_net_setup *setup) MUST_CHECK;
/* The cable is plugged in or pulled: the driver is told. Without link nothing is sent (dropped) or received. */
void virtio_net_set_link(struct virtio_net *net, bool up);
/* After NET_LATER: the backend may be called again for this pair. Nothing happens if the queue was reset since. */
void virtio_net_resume(struct virtio_net *net, unsigned pair);
/*
 * A frame for this card's driver, which is interrupted if it wants to be. `tagged`: it shall carry an 802.1Q tag, whose
 * 16 bits behind 0x8100 are `tci`; otherwise it shall not, and one that the sender put there is taken off.
 * packet->cut and ->work are carried on: after NET_PARTLY call again with the same packet for the rest; cut is 0 after
 * NET_DELIVERED and NET_REFUSED, and has to be made 0 when the rest is dropped.
 */
enum net_verdict virtio_net_receive(struct virtio_net *to, struct net_packet *packet, bool tagged, uint16_t tci);
