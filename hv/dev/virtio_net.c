/*
 * The network card; see virtio_net.h: what it is, and what its driver sends. The control queue is in
 * virtio_net_control.c, what comes for the driver in virtio_net_receive.c.
 *
 * A frame that breaks a rule is dropped and counted; a chain without a header breaks the queue.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/dev/net_offload.h"
#include "hv/dev/virtio_net_internal.h"
#include "hv/lib/string.h"

#define KIND_NETWORK   1
#define CLASS_ETHERNET 0x020000
#define LINK_UP	       BIT(0) /* of the status */

/* 5.1.4, as far as our features go. */
struct virtio_net_config {
	uint8_t mac[NET_MAC_SIZE];
	uint16_t status, max_virtqueue_pairs;
} __attribute__((packed));

static uint64_t features(void *dev)
{
	const struct virtio_net *net = dev;

	return VIRTIO_NET_F_CSUM | VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_MAC | VIRTIO_NET_F_GUEST_TSO4 |
	       VIRTIO_NET_F_GUEST_TSO6 | VIRTIO_NET_F_GUEST_ECN | VIRTIO_NET_F_HOST_TSO4 | VIRTIO_NET_F_HOST_TSO6 |
	       VIRTIO_NET_F_HOST_ECN | VIRTIO_NET_F_MRG_RXBUF | VIRTIO_NET_F_STATUS | VIRTIO_NET_F_CTRL_VQ |
	       VIRTIO_NET_F_CTRL_RX | (net->pairs > 1 ? VIRTIO_NET_F_MQ : 0) |
	       (net->spoof ? VIRTIO_NET_F_CTRL_MAC_ADDR : 0);
}

static void config_read(void *dev, unsigned offset, void *to, unsigned size)
{
	const struct virtio_net *net = dev;
	struct virtio_net_config c = {.status = net->link ? LINK_UP : 0, .max_virtqueue_pairs = (uint16_t)net->pairs};

	memcpy(c.mac, net->mac, NET_MAC_SIZE);
	memcpy(to, (const uint8_t *)&c + offset, size);
}

static bool is_tx(const struct virtio_net *net, unsigned queue)
{
	return queue < 2 * net->pairs && queue % 2;
}

/* It follows the pairs, of which there is one for a driver that doesn't know of more (5.1.2). */
static bool is_control(const struct virtio_net *net, unsigned queue)
{
	unsigned pairs = virtio_pci_has(&net->transport, VIRTIO_NET_F_MQ) ? net->pairs : 1;

	return queue == 2 * pairs && virtio_pci_has(&net->transport, VIRTIO_NET_F_CTRL_VQ);
}

static void reset(void *dev)
{
	struct virtio_net *net = dev;

	memset(&net->filter, 0, sizeof(net->filter));
	net->filter.promiscuous = true;
	net->pairs_used = 1;
	memcpy(net->mac, net->mac_at_start, NET_MAC_SIZE);
}

static void queue_reset(void *dev, unsigned queue)
{
	struct virtio_net *net = dev;

	if (is_tx(net, queue))
		net->tx[queue / 2].active = false;
}

/* --- what the driver sends ---------------------------------------------------------------------------------------- */

/* False: it wants what it hasn't agreed to, or what there isn't. */
static bool read_demands(const struct virtio_net *net, struct net_packet *p, const struct virtio_net_header *h)
{
	uint64_t needs = 0;

	p->needs_csum = h->flags & VIRTIO_NET_HDR_NEEDS_CSUM;
	p->csum_start = h->csum_start;
	p->csum_offset = h->csum_offset;
	p->gso = h->gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;
	p->ecn = h->gso_type & VIRTIO_NET_HDR_GSO_ECN;
	p->gso_size = h->gso_size;
	if (p->gso != NET_GSO_NONE && p->gso != NET_GSO_TCP4 && p->gso != NET_GSO_TCP6)
		return false;
	if (p->needs_csum)
		needs |= VIRTIO_NET_F_CSUM;
	if (p->gso != NET_GSO_NONE)
		needs |= p->gso == NET_GSO_TCP4 ? VIRTIO_NET_F_HOST_TSO4 : VIRTIO_NET_F_HOST_TSO6;
	if (p->gso != NET_GSO_NONE && p->ecn)
		needs |= VIRTIO_NET_F_HOST_ECN;
	return virtio_pci_has(&net->transport, needs);
}

/* The frame is what follows in `out`. Of a bundle the head is the headers, so that segments are cut from the rest. */
static bool read_frame(struct net_packet *p, struct virtio_stream out)
{
	if (out.left < NET_ETHER || out.left > NET_FRAME_MAX)
		return false;
	p->size = (uint32_t)out.left;
	p->head_size = p->size < NET_HEAD_SENT ? p->size : NET_HEAD_SENT;
	p->rest = out;
	if (virtio_stream_read(&p->rest, p->head, p->head_size) || !net_offload_check(p))
		return false;
	if (p->gso == NET_GSO_NONE)
		return true;
	p->head_size = p->header_size;
	p->rest = out;
	virtio_stream_skip(&p->rest, p->head_size);
	return true;
}

/* The chain that was just taken. 1: it is a frame, and tx->dropped says what becomes of it; or the queue is broken. */
static int begin(struct virtio_net *net, struct virtqueue *q, struct virtio_net_tx *tx)
{
	struct virtio_stream out = virtio_stream_out(net->mem, &tx->chain);
	struct net_packet *p = &tx->packet;
	struct virtio_net_header header;

	if (virtio_stream_read(&out, &header, sizeof(header))) {
		q->broken = "a frame to be sent has no header";
		return -E_FORMAT;
	}
	p->fresh = true;
	p->cut = 0;
	p->work = 2 * VIRTIO_PIECE;
	tx->dropped = true;
	if (!net->link)
		return 1;
	if (!read_demands(net, p, &header) || !read_frame(p, out)) {
		net->counts.bad++;
		return 1;
	}
	tx->dropped = false;
	return 1;
}

/* As virtqueue_take. */
FLATTEN static int next_frame(struct virtio_net *net, struct virtqueue *q, struct virtio_net_tx *tx)
{
	int got = virtqueue_take(q, &tx->chain);

	return got == 1 ? begin(net, q, tx) : got;
}

static int serve_tx(struct virtio_net *net, unsigned pair, struct virtqueue *q, uint64_t until, uint64_t *work)
{
	struct virtio_net_tx *tx = &net->tx[pair];
	enum net_sent sent = NET_SENT;
	int got = 1;

	if (tx->active)
		virtio_stream_forget(&tx->packet.rest);
	else
		got = next_frame(net, q, tx);
	if (got <= 0)
		return got;
	if (!tx->dropped)
		sent = net->send(net->backend, pair, &tx->packet, until);
	*work = tx->packet.work;
	tx->packet.work = VIRTIO_PIECE;
	tx->packet.fresh = false;
	tx->active = sent != NET_SENT;
	if (tx->active)
		return sent == NET_LATER ? VIRTIO_RESTS : VIRTIO_SERVED;
	return virtqueue_give(q, &tx->chain, 0) ? -E_FORMAT : VIRTIO_SERVED;
}

void virtio_net_resume(struct virtio_net *net, unsigned pair)
{
	if (net->tx[pair].active)
		virtio_pci_poke(&net->transport, 2 * pair + 1);
}

/* --- the device --------------------------------------------------------------------------------------------------- */

/* On the others the driver's buffers wait for frames: virtio_net_receive() takes them as these come. */
static int serve(void *dev, unsigned queue, struct virtqueue *q, uint64_t until, uint64_t *work)
{
	struct virtio_net *net = dev;

	if (is_tx(net, queue))
		return serve_tx(net, queue / 2, q, until, work);
	if (is_control(net, queue))
		return virtio_net_control(net, q, work);
	return queue % 2 == 0 && queue < 2 * net->pairs ? virtio_net_prepare(net, q, until, work) : VIRTIO_RESTS;
}

static const struct virtio_kind network_kind = {
    .name = "virtio-net",
    .id = KIND_NETWORK,
    .class_code = CLASS_ETHERNET,
    .features = features,
    .config_size = sizeof(struct virtio_net_config),
    .config_read = config_read,
    .reset = reset,
    .queue_reset = queue_reset,
    .serve = serve,
};

void virtio_net_set_link(struct virtio_net *net, bool up)
{
	if (net->link == up)
		return;
	net->link = up;
	virtio_pci_config_changed(&net->transport);
}

int virtio_net_init(struct virtio_net *net, struct pci_host *host, const struct virtio_net_setup *s)
{
	struct virtio_pci_setup transport = {.kind = &network_kind,
					     .dev = net,
					     .queues = 2 * s->pairs + 1,
					     .mem = s->mem,
					     .kick = s->kick,
					     .ctx = s->ctx};

	memset(net, 0, sizeof(*net));
	net->mem = s->mem;
	net->send = s->send;
	net->backend = s->backend;
	net->pairs = s->pairs;
	memcpy(net->mac_at_start, s->mac, NET_MAC_SIZE);
	net->spoof = s->spoof;
	net->link = s->link;
	return virtio_pci_init(&net->transport, host, &transport);
}
