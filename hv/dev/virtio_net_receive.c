/*
 * Frames for the driver of a network card; see virtio_net.h. What the receiver hasn't agreed to take is done first: a
 * tag, sums, segments (net_offload.h). Then the frame is copied, from the sender's pieces of memory into the
 * receiver's, with a header before it (VIRTIO 1.2, 5.1.6.4).
 *
 * The driver sees nothing of a frame before all of it is there: buffers are taken one by one as they fill, and given
 * back together, or made available again when there are too few.
 *
 * All that is the sender's time, and both VMs' locks are held: memory that is not there is not filled for a frame,
 * which takes as long as thousands of frames. What the sender has not touched is zero; buffers that the receiver has
 * not touched are filled in its own turn (virtio_net_prepare).
 */
/* SPDX-License-Identifier: MIT */
#include "hv/clock.h"
#include "hv/dev/ip.h"
#include "hv/dev/net_offload.h"
#include "hv/dev/virtio_net_internal.h"
#include "hv/lib/string.h"

#define SEGMENTS   64  /* of a bundle that are cut at a time: locks are held */
#define PARTS	   256 /* of all the buffers that a frame is in: they are looked up in the sender's time */
#define BUFFERS_AT ((uint32_t)offsetof(struct virtio_net_header, num_buffers))
#define PORTS	   4 /* bytes, at the beginning of TCP and of UDP */

/* --- one frame, into buffers -------------------------------------------------------------------------------------- */

/* A frame on its way into buffers. */
struct filling {
	struct net_reader from;
	uint32_t left;		 /* bytes of it */
	unsigned buffers, parts; /* in net->merged; of them */
	uint8_t *buffers_at[2];	 /* where the header has their number */
	struct virtio_stream in; /* the last buffer */
};

/* At most what the buffer holds. Negative: one of both sides has no memory there: the sender, -E_FAULT, or we. */
static int copy(struct filling *f, uint64_t *work)
{
	const uint8_t *src;
	uint32_t room, n;
	uint8_t *dst;

	while (f->left && f->in.left) {
		dst = virtio_stream_next_in(&f->in, f->left, &room);
		if (!dst)
			return -E_RANGE;
		*work += VIRTIO_PIECE + room;
		for (f->left -= room; room; room -= n, dst += n) {
			src = net_reader_next(&f->from, room, &n);
			if (!src)
				return -E_FAULT;
			memcpy(dst, src, n);
		}
	}
	return 0;
}

/* With how many buffers there are left open: each byte of it may be in a piece of its own. */
static int put_header(struct filling *f, const struct net_packet *p)
{
	struct virtio_net_header h = {.flags = p->needs_csum ? VIRTIO_NET_HDR_NEEDS_CSUM : 0,
				      .gso_type = (uint8_t)(p->gso | (p->ecn ? VIRTIO_NET_HDR_GSO_ECN : 0)),
				      .hdr_len = p->gso == NET_GSO_NONE ? 0 : p->header_size,
				      .gso_size = p->gso_size,
				      .csum_start = p->needs_csum ? p->csum_start : 0,
				      .csum_offset = p->needs_csum ? p->csum_offset : 0};
	uint8_t *at;
	uint32_t n;

	for (uint32_t done = 0; done < sizeof(h); done += n) {
		at = virtio_stream_next_in(&f->in, sizeof(h) - done, &n);
		if (!at)
			return -E_RANGE;
		memcpy(at, (const uint8_t *)&h + done, n);
		for (uint32_t i = 0; i < 2; i++)
			if (BUFFERS_AT + i - done < n)
				f->buffers_at[i] = at + (BUFFERS_AT + i - done);
	}
	return 0;
}

/* The rules for the buffer that was just taken; NULL: it keeps them. */
static const char *check_buffer(const struct virtio_net *net, const struct filling *f)
{
	if (net->chain.out)
		return "a buffer for frames that can't be written to";
	if (f->buffers == 1 && net->chain.in_size < sizeof(struct virtio_net_header))
		return "a buffer for frames has no room for a header";
	return NULL;
}

/* The buffer that was just taken becomes the frame's next. */
static int add_buffer(struct virtio_net *net, struct virtqueue *q, struct filling *f)
{
	const char *problem;

	virtio_stream_go_on_in(&f->in, &net->chain);
	net->merged[f->buffers++] = (struct virtqueue_used){net->chain.id, net->chain.slots, 0};
	f->parts += net->chain.out + net->chain.in;
	problem = check_buffer(net, f);
	if (problem) {
		q->broken = problem;
		return -E_FORMAT;
	}
	return 0;
}

/*
 * The buffer that was just taken. Negative: the frame can't be put into buffers, as copy(), or the queue is broken;
 * -E_AGAIN: not yet.
 */
static int fill_buffer(struct virtio_net *net, struct virtqueue *q, struct filling *f, struct net_packet *p)
{
	int err = add_buffer(net, q, f);

	if (!err && f->parts > PARTS) {
		q->broken = "the buffers for a frame are in more parts than the device takes";
		return -E_FORMAT;
	}
	if (!err && f->buffers == 1)
		err = put_header(f, p);
	if (!err)
		err = copy(f, &p->work);
	if (err == -E_RANGE && virtio_stream_is_ahead(&f->in))
		return -E_AGAIN;
	if (err == -E_RANGE)
		q->broken = "a buffer for frames lies where there is no memory";
	net->merged[f->buffers - 1].written = (uint32_t)(net->chain.in_size - f->in.left);
	return err;
}

static void give_up(struct virtio_net *net, struct virtqueue *q, const struct filling *f)
{
	for (unsigned i = f->buffers; i > 0; i--)
		virtqueue_untake(q, net->merged[i - 1].slots);
}

/* The sender pays for the buffers that were looked at. */
static enum net_verdict refuse(struct virtio_net *net, struct virtqueue *q, const struct filling *f,
			       struct net_packet *p, enum net_verdict verdict)
{
	give_up(net, q, f);
	p->work += VIRTIO_PIECE * (uint64_t)f->parts;
	return verdict;
}

/* How many buffers a frame may be in. */
static unsigned buffers_max(const struct virtio_net *net)
{
	return virtio_pci_has(&net->transport, VIRTIO_NET_F_MRG_RXBUF) ? VIRTIO_NET_MAX_MERGE : 1;
}

/* The frame as it is. It is whole in its buffers, or nothing was done. */
FLATTEN static enum net_verdict put_frame(struct virtio_net *net, struct virtqueue *q, struct net_packet *p)
{
	struct filling f = {.from = net_packet_read(p, 0), .left = p->size, .in = {.mem = net->mem, .finds = true}};
	unsigned most = buffers_max(net);
	int got, err;

	do {
		if (f.buffers == most) {
			net->counts.too_small++;
			return refuse(net, q, &f, p, NET_REFUSED);
		}
		got = virtqueue_take(q, &net->chain);
		if (got == 0)
			return refuse(net, q, &f, p, NET_NO_ROOM);
		err = got < 0 ? got : fill_buffer(net, q, &f, p);
		if (err)
			return refuse(net, q, &f, p, err == -E_AGAIN ? NET_NOT_YET : NET_REFUSED);
	} while (f.left);
	*f.buffers_at[0] = (uint8_t)f.buffers;
	*f.buffers_at[1] = (uint8_t)(f.buffers >> 8);
	return virtqueue_give_all(q, net->merged, f.buffers) ? NET_REFUSED : NET_DELIVERED;
}

/* --- in the receiver's own turn ----------------------------------------------------------------------------------- */

/* Fills the memory of the buffer's next piece. 1: it was not there; 0: it was; negative: there is none. */
static int touch_piece(struct filling *f)
{
	uint32_t n;

	f->in.finds = true;
	if (virtio_stream_next_in(&f->in, UINT32_MAX, &n))
		return 0;
	f->in.finds = false;
	return virtio_stream_next_in(&f->in, UINT32_MAX, &n) ? 1 : -E_RANGE;
}

/* Of the buffer that was just taken: all pieces, or up to one that is filled after `until`. As touch_piece. */
static int touch(struct virtqueue *q, struct filling *f, uint64_t until, uint64_t *work)
{
	int filled = 0, got;

	while (f->in.left) {
		got = touch_piece(f);
		if (got < 0) {
			q->broken = "a buffer for frames lies where there is no memory";
			return got;
		}
		filled |= got;
		*work += VIRTIO_PIECE;
		if (got && clock_now() >= until)
			break;
	}
	return filled;
}

/*
 * Where a frame would begin, and as many buffers as it may be in. To look whether they are there takes no longer than
 * one frame does; what takes time is to fill them, so each turn that says there is more to do has filled something.
 */
int virtio_net_prepare(struct virtio_net *net, struct virtqueue *q, uint64_t until, uint64_t *work)
{
	struct filling f = {.in = {.mem = net->mem}};
	bool late = false;
	int got;

	do {
		got = virtqueue_take(q, &net->chain);
		if (got <= 0)
			break;
		got = add_buffer(net, q, &f);
		if (!got)
			got = touch(q, &f, until, work);
		late = got > 0 && clock_now() >= until;
	} while (got >= 0 && !late && f.buffers < VIRTIO_NET_MAX_MERGE && f.parts < PARTS);
	give_up(net, q, &f);
	if (got < 0)
		return got;
	return late ? VIRTIO_SERVED : VIRTIO_RESTS;
}

/* --- what the driver agreed to ------------------------------------------------------------------------------------ */

static enum net_verdict put_summed(struct virtio_net *net, struct virtqueue *q, struct net_packet *p)
{
	if (p->needs_csum && !virtio_pci_has(&net->transport, VIRTIO_NET_F_GUEST_CSUM)) {
		if (!net_offload_sum(p))
			return NET_REFUSED;
		net->counts.software_sums++;
	}
	return put_frame(net, q, p);
}

/* Some of the segments that are left. */
static enum net_verdict put_segments(struct virtio_net *net, struct virtqueue *q, struct net_packet *p)
{
	enum net_verdict verdict = NET_PARTLY;
	struct net_packet segment;
	uint32_t payload;

	for (unsigned i = 0; i < SEGMENTS && verdict == NET_PARTLY; i++) {
		payload = net_offload_segment(p, &segment);
		verdict = put_summed(net, q, &segment);
		p->work += segment.work;
		if (verdict != NET_DELIVERED)
			return (verdict == NET_NO_ROOM || verdict == NET_NOT_YET) && i ? NET_PARTLY : verdict;
		net->counts.software_segments++;
		p->cut += payload;
		if (p->cut < p->size - p->header_size)
			verdict = NET_PARTLY;
	}
	return verdict;
}

static bool takes_bundle(const struct virtio_net *net, const struct net_packet *p)
{
	uint64_t needs = VIRTIO_NET_F_GUEST_CSUM;

	needs |= p->gso == NET_GSO_TCP4 ? VIRTIO_NET_F_GUEST_TSO4 : VIRTIO_NET_F_GUEST_TSO6;
	return virtio_pci_has(&net->transport, needs | (p->ecn ? VIRTIO_NET_F_GUEST_ECN : 0));
}

/* --- on which queue ----------------------------------------------------------------------------------------------- */

/* FNV-1a, from where it was: the number is its prime for 32 bits. */
static uint32_t mix(uint32_t hash, const uint8_t *at, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		hash = (hash ^ at[i]) * 0x01000193;
	return hash;
}

/* Packets of one connection have the same, so that none overtakes another. */
static uint32_t flow_of(const struct net_packet *p)
{
	unsigned at = net_packet_type_at(p), ip = at + 2, next = 0;
	const uint8_t *h = p->head + ip;
	uint32_t hash = 0;
	uint8_t protocol = 0;

	if (net_get16(h - 2) == NET_TYPE_IPV4 && p->head_size >= ip + IP4_HEADER) {
		hash = mix(hash, h + IP4_ADDRESSES, IP4_ADDRESSES_SIZE);
		protocol = net_get16(h + IP4_FRAGMENT) & IP4_FRAGMENT_MASK ? 0 : h[IP4_PROTOCOL];
		next = ip + (h[0] & 0xFU) * 4;
	} else if (net_get16(h - 2) == NET_TYPE_IPV6 && p->head_size >= ip + IP6_HEADER) {
		hash = mix(hash, h + IP6_ADDRESSES, IP6_ADDRESSES_SIZE);
		protocol = h[IP6_NEXT];
		next = ip + IP6_HEADER;
	}
	if ((protocol == IP_TCP || protocol == IP_UDP) && p->head_size >= next + PORTS)
		hash = mix(hash, p->head + next, PORTS);
	return hash ^ hash >> 16;
}

static unsigned choose_queue(const struct virtio_net *net, const struct net_packet *p)
{
	unsigned queue = net->pairs_used > 1 ? 2 * (flow_of(p) % net->pairs_used) : 0;

	return net->transport.queue[queue].enabled ? queue : 0;
}

/* --- a frame comes ------------------------------------------------------------------------------------------------ */

static bool is_for(const struct virtio_net *net, const struct net_packet *p)
{
	return net->link && virtio_pci_is_live(&net->transport) && net->transport.queue[0].enabled &&
	       (!virtio_pci_has(&net->transport, VIRTIO_NET_F_CTRL_RX) || virtio_net_wants(net, p->head));
}

/* In it nothing changes on the way: it needs no copy. What is done for segments is done in copies of their own. */
static bool goes_as_it_is(const struct virtio_net *net, const struct net_packet *p, bool tagged)
{
	return !tagged && net_packet_type_at(p) == NET_TYPE_AT &&
	       (!p->needs_csum || virtio_pci_has(&net->transport, VIRTIO_NET_F_GUEST_CSUM));
}

static enum net_verdict put(struct virtio_net *net, struct virtqueue *q, struct net_packet *p)
{
	if (p->gso != NET_GSO_NONE && !takes_bundle(net, p))
		return put_segments(net, q, p);
	return put_summed(net, q, p);
}

NOINLINE static enum net_verdict put_changed(struct virtio_net *net, struct virtqueue *q, struct net_packet *packet,
					     bool tagged, uint16_t tci)
{
	struct net_packet p = *packet;
	enum net_verdict verdict;

	net_packet_tag(&p, tagged, tci);
	verdict = put(net, q, &p);
	packet->work = p.work;
	packet->cut = p.cut;
	return verdict;
}

enum net_verdict virtio_net_receive(struct virtio_net *net, struct net_packet *packet, bool tagged, uint16_t tci)
{
	enum net_verdict verdict = NET_REFUSED;
	unsigned queue;

	if (is_for(net, packet)) {
		queue = choose_queue(net, packet);
		if (goes_as_it_is(net, packet, tagged))
			verdict = put(net, &net->transport.queue[queue], packet);
		else
			verdict = put_changed(net, &net->transport.queue[queue], packet, tagged, tci);
		virtio_pci_gave(&net->transport, queue);
		if (verdict == NET_NOT_YET)
			virtio_pci_poke(&net->transport, queue);
	} else {
		net->counts.unwanted++;
	}
	if (verdict == NET_DELIVERED || verdict == NET_REFUSED)
		packet->cut = 0;
	return verdict;
}
