/* What the parts of the virtual network card share: features, the header before each frame. VIRTIO 1.2, 5.1. */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/dev/virtio_net.h"

/* 5.1.3 */
#define VIRTIO_NET_F_CSUM	   BIT(0) /* the device may be left with sums, ... */
#define VIRTIO_NET_F_GUEST_CSUM	   BIT(1) /* the driver may */
#define VIRTIO_NET_F_MAC	   BIT(5)
#define VIRTIO_NET_F_GUEST_TSO4	   BIT(7) /* and with bundles */
#define VIRTIO_NET_F_GUEST_TSO6	   BIT(8)
#define VIRTIO_NET_F_GUEST_ECN	   BIT(9)
#define VIRTIO_NET_F_HOST_TSO4	   BIT(11)
#define VIRTIO_NET_F_HOST_TSO6	   BIT(12)
#define VIRTIO_NET_F_HOST_ECN	   BIT(13)
#define VIRTIO_NET_F_MRG_RXBUF	   BIT(15)
#define VIRTIO_NET_F_STATUS	   BIT(16)
#define VIRTIO_NET_F_CTRL_VQ	   BIT(17)
#define VIRTIO_NET_F_CTRL_RX	   BIT(18)
#define VIRTIO_NET_F_MQ		   BIT(22)
#define VIRTIO_NET_F_CTRL_MAC_ADDR BIT(23)

/* 5.1.6, before each frame in both directions; with VERSION_1 always of this size. */
struct virtio_net_header {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
} __attribute__((packed));

#define VIRTIO_NET_HDR_NEEDS_CSUM BIT(0)
#define VIRTIO_NET_HDR_GSO_ECN	  0x80 /* of gso_type, whose rest is enum net_gso */

/* The control queue's next command (virtio_net_control.c); as a kind's serve(). */
int virtio_net_control(struct virtio_net *net, struct virtqueue *q, uint64_t *work);
/*
 * Fills the memory of the buffers that frames are put into next (virtio_net_receive.c): no frame is kept waiting for
 * that at the cost of who sends it. As a kind's serve().
 */
int virtio_net_prepare(struct virtio_net *net, struct virtqueue *q, uint64_t until, uint64_t *work);
/* Does the driver want frames for this address? */
bool virtio_net_wants(const struct virtio_net *net, const uint8_t mac[NET_MAC_SIZE]);
