/*
 * Unit tests of the network card behind its PCI transport: what its configuration says, what a driver sends in parts as
 * odd as it may make them, what it must not send, and frames that come into buffers of every size, merged or not, with
 * what the driver agreed to and without. The backend keeps what it gets, or hands it back to the same card. VIRTIO 1.2,
 * 5.1.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/virtio_net.c hv/dev/virtio_net_control.c hv/dev/virtio_net_receive.c hv/dev/net_offload.c */
/* links: hv/dev/net_packet.c hv/dev/virtio_stream.c hv/dev/virtio_pci.c hv/dev/virtqueue.c hv/guest_mem.c */
/* links: hv/dev/pci.c hv/dev/pci_host.c hv/bus.c hv/timer.c hv/lib/heap.c */
#include "tests/unit/virtio_fixture.h"

#include "hv/dev/virtio_net.h"

#define PAIRS	   3
#define QUEUE_SIZE 128
#define BUDGET	   (64 * KIB)
#define RX	   0 /* queues */
#define TX	   1

#define CSUM	   BIT(0)
#define GUEST_CSUM BIT(1)
#define GUEST_TSO4 BIT(7)
#define GUEST_TSO6 BIT(8)
#define GUEST_ECN  BIT(9)
#define HOST_TSO4  BIT(11)
#define HOST_TSO6  BIT(12)
#define HOST_ECN   BIT(13)
#define MRG_RXBUF  BIT(15)
#define CTRL_VQ	   BIT(17)
#define CTRL_RX	   BIT(18)
#define MQ	   BIT(22)
#define CTRL_MAC   BIT(23)

#define SENT	DATA		 /* where frames to be sent are, with their headers */
#define BUFFERS (DATA + 0x20000) /* where frames come to */
#define COMMAND (DATA + 0x1F000)
#define ANSWER	(DATA + 0x1FF00)
#define HEADER	12
#define NOWHERE 0x40000000ULL /* no memory */

struct header {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};

static struct virtio_net net;
static const uint8_t own[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56}, broadcast[6] = {255, 255, 255, 255, 255, 255};
static uint8_t frame[0x11000], came[0x11000]; /* one that is sent, one that came */

/* The backend. */
static unsigned sends, pair_was;
static enum net_sent answer;
static bool loops; /* it hands frames back to the card */
static enum net_verdict verdict;
static bool tagged;
static struct net_packet kept;
static bool was_fresh;

/* Since it was kept: whatever is done for one receiver, the next one has the frame from the sender. */
static void assert_unchanged(const struct net_packet *packet)
{
	assert_memory_equal(packet->head, kept.head, NET_HEAD_MAX);
	assert_int_equal(packet->head_size, kept.head_size);
	assert_int_equal(packet->size, kept.size);
	assert_int_equal(packet->rest.left, kept.rest.left);
	assert_int_equal(packet->needs_csum, kept.needs_csum);
	assert_int_equal(packet->csum_start, kept.csum_start);
	assert_int_equal(packet->gso, kept.gso);
	assert_int_equal(packet->header_size, kept.header_size);
}

static enum net_sent send_frame(void *backend, unsigned pair, struct net_packet *packet, uint64_t until)
{
	assert_ptr_equal(backend, &sends);
	assert_int_equal(until, NEVER);
	sends++;
	pair_was = pair;
	was_fresh = packet->fresh;
	kept = *packet;
	if (!loops)
		return answer;
	verdict = virtio_net_receive(&net, packet, tagged, 0x2005);
	assert_unchanged(packet);
	return answer;
}

static int plug(unsigned pairs, bool spoof)
{
	struct virtio_net_setup s = {.pairs = pairs,
				     .spoof = spoof,
				     .link = true,
				     .send = send_frame,
				     .backend = &sends,
				     .mem = &mem,
				     .kick = kick};

	memcpy(s.mac, own, 6);
	sends = 0;
	answer = NET_SENT;
	loops = tagged = false;
	if (virtio_fixture_reset() || virtio_net_init(&net, &host, &s))
		return -1;
	find_registers();
	enable_device();
	return 0;
}

static int setup(void **state)
{
	(void)state;
	return plug(1, false);
}

/* With several pairs; the driver may change the address. */
static int setup_full(void **state)
{
	(void)state;
	return plug(PAIRS, true);
}

/* A driver with these features and all queues, whose interrupts go to APICs of their number. */
static void start(uint64_t features)
{
	unsigned queues = (unsigned)reg_get(common, C_NUM_QUEUES, 2);

	negotiate(features);
	use_msix();
	for (unsigned n = 0; n < queues; n++)
		set_up_queue(n, QUEUE_SIZE, (uint16_t)n);
	add_status(DRIVER_OK);
	messages = 0;
}

/* --- frames --- */

static void make_frame(const uint8_t *to, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++)
		frame[i] = (uint8_t)(i * 11 + i / 256);
	memcpy(frame, to, 6);
	memcpy(frame + 6, own, 6);
	frame[12] = 0x12;
}

/* IPv4 with TCP, as a driver leaves it to the card. */
static struct header make_bundle(uint32_t size, uint16_t gso_size)
{
	make_frame(own, size);
	memcpy(frame + 12, "\x08\0\x45\0\0\0\0\x07\0\0\x40\x06\0\0\x0A\0\0\x01\x0A\0\0\x02", 22);
	memcpy(frame + 34, "\0\x50\0\x51\0\0\0\x01\0\0\0\0\x50\x18\x12\x34\0\0\0\0", 20);
	return (struct header){
	    .flags = 1, .gso_type = 1, .hdr_len = 54, .gso_size = gso_size, .csum_start = 34, .csum_offset = 16};
}

static void place_frame(struct header h, uint32_t size)
{
	memcpy(at(SENT), &h, HEADER);
	memcpy(at(SENT + HEADER), frame, size);
}

/* Sends what is at `frame`, in pieces of `piece` bytes. */
static void send_in_pieces(struct header h, uint32_t size, uint32_t piece)
{
	struct virtqueue_part part[QUEUE_SIZE];
	unsigned count = 0;
	uint32_t n;

	place_frame(h, size);
	for (uint32_t done = 0; done < HEADER + size; done += n) {
		n = HEADER + size - done < piece ? HEADER + size - done : piece;
		part[count++] = (struct virtqueue_part){GPA(SENT + done), n};
	}
	offer(TX, part, count, 0);
	notify(TX);
	work(&net.transport, BUDGET);
}

static void send(struct header h, uint32_t size)
{
	send_in_pieces(h, size, HEADER + size);
}

static void assert_given_back(unsigned n)
{
	uint32_t written;

	assert_int_not_equal(take_used(n, &written), -1);
	assert_int_equal(written, 0);
}

static void assert_not_given_back(unsigned n)
{
	uint32_t written;

	assert_int_equal(take_used(n, &written), -1);
}

/* The bytes of the packet that the backend got. */
static void assert_kept(uint32_t size)
{
	struct net_reader r = net_packet_read(&kept, 0);
	uint32_t done = 0, n;

	assert_int_equal(kept.size, size);
	for (; done < size; done += n) {
		const uint8_t *piece = net_reader_next(&r, size - done, &n);

		assert_non_null(piece);
		assert_memory_equal(piece, frame + done, n);
	}
}

/* Buffer i of a queue: a KiB each; the driver offers it in two parts if it is long enough. */
static uint64_t buffer(unsigned i)
{
	return BUFFERS + i * 0x400;
}

static void offer_buffer(unsigned q, unsigned i, uint32_t size)
{
	struct virtqueue_part part[2] = {{GPA(buffer(i)), size > 16 ? 7 : size}, {GPA(buffer(i) + 7), size - 7}};

	memset(at(buffer(i)), 0xEE, size);
	offer(q, part, 0, size > 16 ? 2 : 1);
}

/* A frame that came on a queue, from its buffers, which are number `first` and so on: its size, without the header. */
static uint32_t receive(unsigned q, unsigned first, struct header *h)
{
	uint32_t written, size = 0;

	assert_int_not_equal(take_used(q, &written), -1);
	memcpy(h, at(buffer(first)), HEADER);
	memcpy(came, at(buffer(first) + HEADER), written - HEADER);
	size = written - HEADER;
	for (unsigned i = 1; i < h->num_buffers; i++) {
		assert_int_not_equal(take_used(q, &written), -1);
		memcpy(came + size, at(buffer(first + i)), written);
		size += written;
	}
	return size;
}

static void loop(struct header h, uint32_t size)
{
	loops = true;
	send(h, size);
}

static uint16_t sum_of(const uint8_t *at, uint32_t size)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < size; i++) {
		sum += i % 2 ? at[i] : (uint32_t)at[i] << 8;
		sum = (sum & 0xFFFF) + (sum >> 16);
	}
	return (uint16_t)sum;
}

/* --- what it says --- */

static void it_is_a_network_card(void **state)
{
	(void)state;
	assert_int_equal(config_get(SLOT, 0, 4), 0x10411AF4);
	assert_int_equal(config_get(SLOT, 8, 4) >> 8, 0x020000);
	assert_int_equal(reg_get(common, C_NUM_QUEUES, 2), 3);
	assert_int_equal(offered() & 0xFFFFFF, 0x7BBA3);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(reg_get(config, i, 1), own[i]);
	assert_int_equal(reg_get(config, 6, 2), 1);
	assert_int_equal(reg_get(config, 8, 2), 1);
	assert_false(try_negotiate(MQ | VIRTIO_F_VERSION_1));
	assert_false(try_negotiate(CTRL_MAC | VIRTIO_F_VERSION_1));
}

static void it_has_more_if_it_is_told(void **state)
{
	(void)state;
	assert_int_equal(reg_get(common, C_NUM_QUEUES, 2), 2 * PAIRS + 1);
	assert_int_equal(offered() & (MQ | CTRL_MAC), MQ | CTRL_MAC);
	assert_int_equal(reg_get(config, 8, 2), PAIRS);
}

static void the_link_goes_down_and_up(void **state)
{
	(void)state;
	start(CTRL_VQ);
	reg_set(common, C_CONFIG_VECTOR, 2, 2);
	offer_buffer(RX, 0, 1000);
	virtio_net_set_link(&net, false);
	assert_message(1, 2, VECTOR(2));
	assert_int_equal(reg_get(config, 6, 2), 0);
	make_frame(own, 100);
	loop((struct header){0}, 100);
	assert_given_back(TX);
	assert_int_equal(sends, 0); /* into the dark */
	virtio_net_set_link(&net, true);
	messages = 0;
	virtio_net_set_link(&net, true);
	assert_int_equal(messages, 0);
	assert_int_equal(reg_get(config, 6, 2), 1);
	loop((struct header){0}, 100);
	assert_int_equal(verdict, NET_DELIVERED);
	net.link = false;
	assert_int_equal(virtio_net_receive(&net, &kept, false, 0), NET_REFUSED);
	assert_int_equal(net.counts.unwanted, 1);
}

/* --- what the driver sends --- */

static void frames_come_in_any_pieces(void **state)
{
	static const uint32_t size[] = {14, 15, 60, 187, 188, 189, 1514, 9000, 65535};

	(void)state;
	start(0);
	for (unsigned i = 0; i < ARRAY_SIZE(size); i++) {
		for (uint32_t piece = 1; piece < 70000; piece = piece * 3 + 1) {
			if ((HEADER + size[i]) / piece + 1 > QUEUE_SIZE)
				continue;
			make_frame(own, size[i]);
			send_in_pieces((struct header){0}, size[i], piece);
			assert_kept(size[i]);
			assert_given_back(TX);
			assert_true(was_fresh);
		}
	}
	assert_int_equal(net.counts.bad, 0);
}

static void assert_bad(struct header h, uint32_t size)
{
	uint64_t bad = net.counts.bad;

	sends = 0;
	send(h, size);
	assert_int_equal(sends, 0);
	assert_int_equal(net.counts.bad, bad + 1);
	assert_given_back(TX);
	assert_false(status() & NEEDS_RESET);
}

static void bad_frames_are_dropped(void **state)
{
	struct header h;

	(void)state;
	start(CSUM | HOST_TSO4);
	make_frame(own, 13);
	assert_bad((struct header){0}, 13);
	assert_bad((struct header){0}, 0);
	make_frame(own, 65554);
	assert_bad((struct header){0}, 65554);
	make_frame(own, 300);
	assert_bad((struct header){.gso_type = 3}, 300);
	assert_bad((struct header){.flags = 1, .csum_start = 290, .csum_offset = 9}, 300);
	assert_bad((struct header){.flags = 1, .csum_start = 5, .csum_offset = 100}, 300);
	h = make_bundle(3000, 1000);
	h.gso_type = 4; /* IPv6 wasn't agreed to, nor what follows */
	assert_bad(h, 3000);
	h.gso_type = 0x81;
	assert_bad(h, 3000);
	h.gso_type = 1;
	h.flags = 0;
	assert_bad(h, 3000);
	h.flags = 1;
	send(h, 3000);
	assert_int_equal(sends, 1);
	assert_given_back(TX);
	assert_bad(make_bundle(65549, 1), 65549);
	send(make_bundle(65549, 8), 65549);
	assert_int_equal(sends, 1);
}

static void without_agreement_no_demands(void **state)
{
	(void)state;
	start(0);
	make_frame(own, 300);
	assert_bad((struct header){.flags = 1, .csum_start = 34, .csum_offset = 16}, 300);
	start(CSUM);
	send((struct header){.flags = 1, .csum_start = 34, .csum_offset = 16}, 300);
	assert_int_equal(sends, 1);
	assert_true(kept.needs_csum && kept.csum_start == 34 && kept.csum_offset == 16);
	assert_given_back(TX);
	assert_bad(make_bundle(3000, 1000), 3000);
}

static void a_bundle_has_its_headers_as_head(void **state)
{
	(void)state;
	start(CSUM | HOST_TSO4 | HOST_ECN);
	for (uint32_t piece = 100; piece < 4000; piece += 301) {
		struct header h = make_bundle(4000, 1000);

		h.gso_type = 0x81;
		send_in_pieces(h, 4000, piece);
		assert_given_back(TX);
		assert_int_equal(kept.head_size, 54);
		assert_int_equal(kept.gso, NET_GSO_TCP4);
		assert_int_equal(kept.gso_size, 1000);
		assert_true(kept.ecn);
		assert_kept(4000);
	}
}

static void a_frame_without_memory_is_dropped(void **state)
{
	struct virtqueue_part part[] = {{GPA(SENT), HEADER}, {GPA(NOWHERE), 100}};

	(void)state;
	start(0);
	offer(TX, part, 2, 0);
	notify(TX);
	work(&net.transport, BUDGET);
	assert_given_back(TX);
	assert_int_equal(net.counts.bad, 1);
}

static void a_frame_without_header_breaks_the_queue(void **state)
{
	struct virtqueue_part part[] = {{GPA(SENT), HEADER - 1}};

	(void)state;
	start(0);
	offer(TX, part, 1, 0);
	notify(TX);
	work(&net.transport, BUDGET);
	assert_true(status() & NEEDS_RESET);
}

static void a_frame_waits_until_the_backend_has_it(void **state)
{
	(void)state;
	start(0);
	make_frame(own, 100);
	answer = NET_LATER;
	send((struct header){0}, 100);
	assert_true(was_fresh);
	assert_not_given_back(TX);
	assert_int_equal(sends, 1);
	assert_false(virtio_pci_work(&net.transport, BUDGET, NEVER));
	kicks = 0;
	virtio_net_resume(&net, 0);
	assert_int_equal(kicks, 1);
	work(&net.transport, BUDGET);
	assert_int_equal(sends, 2);
	assert_false(was_fresh);
	assert_not_given_back(TX);
	answer = NET_GOES_ON;
	virtio_net_resume(&net, 0);
	assert_true(virtio_pci_work(&net.transport, 1, NEVER));
	assert_not_given_back(TX);
	answer = NET_SENT;
	assert_kept(100);
	work(&net.transport, BUDGET);
	assert_given_back(TX);
	assert_message(1, TX, VECTOR(TX));
	kicks = 0;
	virtio_net_resume(&net, 0); /* nothing waits */
	assert_int_equal(kicks, 0);
	send((struct header){0}, 100);
	assert_true(was_fresh);
}

static void a_frame_that_waits_is_looked_up_anew(void **state)
{
	(void)state;
	start(0);
	make_frame(own, 1000);
	answer = NET_LATER;
	send((struct header){0}, 1000);
	(void)move_memory();
	answer = NET_SENT;
	virtio_net_resume(&net, 0);
	work(&net.transport, BUDGET);
	assert_kept(1000);
	assert_given_back(TX);
}

static void a_reset_forgets_the_frame(void **state)
{
	(void)state;
	start(VIRTIO_F_RING_RESET);
	make_frame(own, 100);
	answer = NET_LATER;
	send((struct header){0}, 100);
	queue_register(TX, C_QUEUE_RESET, 2, 1);
	kicks = 0;
	virtio_net_resume(&net, 0);
	assert_int_equal(kicks, 0);
	set_up_queue(TX, QUEUE_SIZE, TX);
	answer = NET_SENT;
	send((struct header){0}, 100);
	assert_true(was_fresh);
	assert_given_back(TX);
}

/* --- what comes --- */

static void a_frame_comes_into_a_buffer(void **state)
{
	struct header h = {0};

	(void)state;
	start(0);
	offer_buffer(RX, 0, 1000);
	notify(RX);
	work(&net.transport, BUDGET);
	assert_not_given_back(RX);
	make_frame(own, 600);
	loop((struct header){0}, 600);
	assert_int_equal(verdict, NET_DELIVERED);
	assert_int_equal(receive(RX, 0, &h), 600);
	assert_memory_equal(came, frame, 600);
	assert_int_equal(h.num_buffers, 1);
	assert_int_equal(h.flags + h.gso_type + h.hdr_len + h.gso_size + h.csum_start + h.csum_offset, 0);
	assert_int_equal(messages, 2); /* one for each queue */
	assert_true(net.tx[0].packet.work == VIRTIO_PIECE);
}

static void a_frame_is_spread_over_buffers(void **state)
{
	struct header h = {0};

	(void)state;
	start(MRG_RXBUF);
	for (unsigned i = 0; i < 5; i++)
		offer_buffer(RX, i, i ? 1000 : 12 + i);
	make_frame(own, 2500);
	loop((struct header){0}, 2500);
	assert_int_equal(verdict, NET_DELIVERED);
	assert_int_equal(receive(RX, 0, &h), 2500);
	assert_int_equal(h.num_buffers, 4);
	assert_memory_equal(came, frame, 2500);
	assert_not_given_back(RX);
	make_frame(own, 988);
	loop((struct header){0}, 988);
	assert_int_equal(receive(RX, 4, &h), 988);
	assert_memory_equal(came, frame, 988);
}

/* Nothing is seen of a frame for which there aren't enough; when there are, they are used from the first on. */
static void too_few_buffers_stay_the_drivers(void **state)
{
	struct header h = {0};

	(void)state;
	start(MRG_RXBUF);
	make_frame(own, 2500);
	loop((struct header){0}, 2500);
	assert_int_equal(verdict, NET_NO_ROOM);
	offer_buffer(RX, 0, 1000);
	offer_buffer(RX, 1, 1000);
	loop((struct header){0}, 2500);
	assert_int_equal(verdict, NET_NO_ROOM);
	assert_not_given_back(RX);
	assert_int_equal(net.transport.queue[RX].in_flight, 0);
	offer_buffer(RX, 2, 1000);
	loop((struct header){0}, 2500);
	assert_int_equal(verdict, NET_DELIVERED);
	assert_int_equal(receive(RX, 0, &h), 2500);
	assert_int_equal(h.num_buffers, 3);
	assert_memory_equal(came, frame, 2500);
}

static void a_buffer_that_is_too_small_stays(void **state)
{
	struct header h = {0};

	(void)state;
	start(0);
	offer_buffer(RX, 0, 100);
	make_frame(own, 89);
	loop((struct header){0}, 89);
	assert_int_equal(verdict, NET_REFUSED);
	assert_int_equal(net.counts.too_small, 1);
	make_frame(own, 88);
	loop((struct header){0}, 88);
	assert_int_equal(verdict, NET_DELIVERED);
	assert_int_equal(receive(RX, 0, &h), 88);
	assert_memory_equal(came, frame, 88);
}

static void a_frame_has_64_buffers_at_most(void **state)
{
	struct header h;

	(void)state;
	start(MRG_RXBUF);
	for (unsigned i = 0; i < 64; i++)
		offer_buffer(RX, i, 16);
	make_frame(own, 64 * 16 - 11);
	loop((struct header){0}, 64 * 16 - 11);
	assert_int_equal(verdict, NET_REFUSED);
	assert_int_equal(net.counts.too_small, 1);
	loop((struct header){0}, 64 * 16 - 12);
	assert_int_equal(verdict, NET_DELIVERED);
	assert_int_equal(receive(RX, 0, &h), 64 * 16 - 12);
	assert_int_equal(h.num_buffers, 64);
	assert_memory_equal(came, frame, 64 * 16 - 12);
}

static void assert_rx_breaks(const struct virtqueue_part *part, unsigned out, unsigned in)
{
	start(MRG_RXBUF);
	offer(RX, part, out, in);
	make_frame(own, 500);
	loop((struct header){0}, 500);
	assert_int_equal(verdict, NET_REFUSED);
	assert_true(status() & NEEDS_RESET);
}

static void bad_buffers_break_the_queue(void **state)
{
	struct virtqueue_part part[] = {{GPA(BUFFERS), HEADER - 1}, {GPA(NOWHERE), 1000}};

	(void)state;
	assert_rx_breaks(part, 0, 1);
	part[0].size = HEADER;
	assert_rx_breaks(part, 0, 2);
	assert_rx_breaks(part + 1, 0, 1);
	assert_rx_breaks(part, 1, 0);
	part[1] = (struct virtqueue_part){GPA(BUFFERS + 100), 1000};
	assert_rx_breaks(part, 1, 1);
}

/* A buffer that is described in a table elsewhere. */
static void offer_indirect(unsigned q, uint64_t table, const struct virtqueue_part *part, unsigned count)
{
	struct virtqueue_part whole = {GPA(table), count * (uint32_t)sizeof(struct desc)};
	struct desc *d = at(table), *head = (struct desc *)at(desc_area(q)) + offer(q, &whole, 1, 0);

	for (unsigned i = 0; i < count; i++)
		d[i] = (struct desc){part[i].gpa.value, part[i].size, i + 1 < count ? WRITE | NEXT : WRITE,
				     (uint16_t)(i + 1)};
	head->flags = 4;
}

static void buffers_in_too_many_parts_break_the_queue(void **state)
{
	struct virtqueue_part part[65] = {{GPA(BUFFERS), HEADER}};
	struct header h;

	(void)state;
	for (unsigned i = 1; i < 65; i++)
		part[i] = (struct virtqueue_part){GPA(BUFFERS + 64 + i), 1};
	start(MRG_RXBUF | VIRTIO_F_INDIRECT_DESC);
	for (unsigned i = 0; i < 4; i++)
		offer_indirect(RX, BUFFERS + 0x4000 + i * 0x1000, part + (i > 0), 64);
	make_frame(own, 63 + 3 * 64);
	loop((struct header){0}, 63 + 3 * 64);
	assert_int_equal(verdict, NET_DELIVERED);
	memcpy(&h, at(BUFFERS), HEADER);
	assert_int_equal(h.num_buffers, 4);
	start(MRG_RXBUF | VIRTIO_F_INDIRECT_DESC);
	for (unsigned i = 0; i < 5; i++)
		offer_indirect(RX, BUFFERS + 0x4000 + i * 0x1000, part + (i > 0), 64);
	make_frame(own, 63 + 3 * 64 + 1);
	loop((struct header){0}, 63 + 3 * 64 + 1);
	assert_int_equal(verdict, NET_REFUSED);
	assert_true(status() & NEEDS_RESET);
}

/* --- memory that is not there yet --- */

#define FAR	  (4 * GIB)
#define FAR_PAGES 8

static uint8_t far[FAR_PAGES][PAGE_SIZE];
static unsigned fills, there; /* how often, and bit n: page n is filled */

static uint8_t *look_far(void *backing, uint64_t gpa, uint64_t *before, uint64_t *left)
{
	(void)backing;
	*before = gpa % PAGE_SIZE;
	*left = PAGE_SIZE - *before;
	return there & 1U << (gpa - FAR) / PAGE_SIZE ? far[(gpa - FAR) / PAGE_SIZE] + *before : NULL;
}

/* To fill takes a tick. */
static uint8_t *reach_far(void *backing, uint64_t gpa, uint64_t *before, uint64_t *left)
{
	if (!look_far(backing, gpa, before, left)) {
		fills++;
		fake_now++;
		there |= 1U << (gpa - FAR) / PAGE_SIZE;
	}
	return look_far(backing, gpa, before, left);
}

static int setup_far(void **state)
{
	fills = there = 0;
	if (setup(state))
		return -1;
	mem.reach = reach_far;
	mem.look = look_far;
	return guest_mem_add(&mem, &(struct guest_region){FAR, FAR_PAGES * PAGE_SIZE, NULL, true});
}

/* A byte of each page. */
static void make_far_parts(struct virtqueue_part *part, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		part[i] = (struct virtqueue_part){GPA(FAR + i * PAGE_SIZE), 1};
}

static void what_is_sent_is_not_filled(void **state)
{
	struct virtqueue_part part[1 + FAR_PAGES] = {{GPA(SENT), HEADER + 200}};
	struct header h;

	(void)state;
	start(CSUM);
	make_frame(own, 200);
	place_frame((struct header){.flags = 1, .csum_start = 14, .csum_offset = 0}, 200);
	make_far_parts(part + 1, FAR_PAGES);
	offer_buffer(RX, 0, 1000);
	offer(TX, part, 1 + FAR_PAGES, 0);
	notify(TX);
	loops = true;
	work(&net.transport, BUDGET);
	assert_int_equal(verdict, NET_DELIVERED);
	assert_int_equal(receive(RX, 0, &h), 200 + FAR_PAGES);
	for (unsigned i = 0; i < FAR_PAGES; i++)
		assert_int_equal(came[200 + i], 0);
	assert_int_equal(fills, 0);
}

static void buffers_are_filled_in_the_receivers_turn(void **state)
{
	struct virtqueue_part part[1 + FAR_PAGES] = {{GPA(BUFFERS), HEADER}};

	(void)state;
	start(0);
	make_far_parts(part + 1, FAR_PAGES);
	part[FAR_PAGES].size = 100;
	offer(RX, part, 0, 1 + FAR_PAGES);
	make_frame(own, 60);
	loop((struct header){0}, 60); /* the card has a turn behind it */
	assert_int_equal(verdict, NET_NOT_YET);
	assert_int_equal(fills, FAR_PAGES);
	assert_not_given_back(RX);
	assert_int_equal(net.transport.queue[RX].in_flight, 0);
	loop((struct header){0}, 60);
	assert_int_equal(verdict, NET_DELIVERED);
	assert_int_equal(fills, FAR_PAGES);
	for (unsigned i = 0; i < FAR_PAGES; i++)
		assert_int_equal(far[i][0], frame[i]);
	assert_memory_equal(far[FAR_PAGES - 1], frame + FAR_PAGES - 1, 60 - FAR_PAGES + 1);
}

/* The last byte of a table's only entry lies where nothing was touched: it is zero, and stays so. */
static void a_table_is_not_filled(void **state)
{
	struct desc entry = {BUFFERS, 1000, WRITE, 0};
	struct virtqueue_part table = {GPA(FAR + PAGE_SIZE - 15), sizeof(entry)};

	(void)state;
	start(VIRTIO_F_INDIRECT_DESC);
	there = 1;
	memcpy(far[0] + PAGE_SIZE - 15, &entry, 15);
	((struct desc *)at(desc_area(RX)))[offer(RX, &table, 1, 0)].flags = 4;
	make_frame(own, 60);
	loop((struct header){0}, 60);
	assert_int_equal(verdict, NET_DELIVERED);
	assert_int_equal(fills, 0);
}

static void to_fill_takes_several_turns(void **state)
{
	struct virtqueue_part part[FAR_PAGES];

	(void)state;
	start(MRG_RXBUF);
	make_far_parts(part, FAR_PAGES);
	part[0].size = HEADER;
	offer(RX, part, 0, 4);
	offer(RX, part + 4, 0, 4);
	notify(RX);
	assert_true(virtio_pci_work(&net.transport, BUDGET, fake_now + 3));
	assert_int_equal(fills, 3);
	assert_true(virtio_pci_work(&net.transport, BUDGET, fake_now + 3));
	assert_int_equal(fills, 6);
	assert_false(virtio_pci_work(&net.transport, BUDGET, fake_now + 3));
	assert_int_equal(fills, 8);
	notify(RX); /* all of it is there: however late it is, that is seen */
	assert_false(virtio_pci_work(&net.transport, BUDGET, fake_now));
	assert_int_equal(net.transport.queue[RX].in_flight, 0);
}

/* The memory of a guest that has given much away may be gone for good. */
static uint8_t *reach_nothing(void *backing, uint64_t gpa, uint64_t *before, uint64_t *left)
{
	(void)backing, (void)gpa, (void)before, (void)left;
	return NULL;
}

static void what_cant_be_filled_breaks_the_queue(void **state)
{
	struct virtqueue_part part = {GPA(FAR), 1000};

	(void)state;
	start(0);
	mem.reach = reach_nothing;
	offer(RX, &part, 0, 1);
	make_frame(own, 60);
	loop((struct header){0}, 60);
	assert_int_equal(verdict, NET_NOT_YET);
	assert_true(status() & NEEDS_RESET);
}

static void who_has_no_driver_gets_nothing(void **state)
{
	(void)state;
	start(0);
	make_frame(own, 100);
	send((struct header){0}, 100);
	offer_buffer(RX, 0, 1000);
	command(SLOT, 0, PCI_COMMAND_MASTER);
	assert_int_equal(virtio_net_receive(&net, &kept, false, 0), NET_REFUSED);
	command(SLOT, PCI_COMMAND_MASTER, 0);
	assert_int_equal(virtio_net_receive(&net, &kept, false, 0), NET_DELIVERED);
	reset_device();
	assert_int_equal(virtio_net_receive(&net, &kept, false, 0), NET_REFUSED);
	start(0);
	reset_device();
	negotiate(0);
	add_status(DRIVER_OK);
	assert_int_equal(virtio_net_receive(&net, &kept, false, 0), NET_REFUSED);
	assert_int_equal(net.counts.unwanted, 3);
}

/* --- sums and bundles --- */

static void a_sum_is_left_to_who_agreed(void **state)
{
	struct header left, h = {0};

	(void)state;
	for (unsigned agreed = 0; agreed < 2; agreed++) {
		start(CSUM | (agreed ? GUEST_CSUM : 0));
		left = make_bundle(400, 0);
		left.gso_type = 0;
		offer_buffer(RX, 0, 1000);
		loop(left, 400);
		assert_int_equal(receive(RX, 0, &h), 400);
		assert_int_equal(h.flags, agreed);
		assert_int_equal(h.csum_start, agreed ? 34 : 0);
		assert_int_equal(h.csum_offset, agreed ? 16 : 0);
		if (agreed)
			assert_memory_equal(came, frame, 400);
		else
			assert_int_equal(sum_of(came + 34, 366), 0xFFFF);
	}
	assert_int_equal(net.counts.software_sums, 1);
}

static void a_bundle_is_passed_to_who_agreed(void **state)
{
	struct header h = {0};

	(void)state;
	start(CSUM | HOST_TSO4 | HOST_ECN | GUEST_CSUM | GUEST_TSO4 | GUEST_ECN | MRG_RXBUF);
	for (unsigned i = 0; i < 8; i++)
		offer_buffer(RX, i, 1000);
	h = make_bundle(6000, 1400);
	h.gso_type = 0x81;
	loop(h, 6000);
	assert_int_equal(receive(RX, 0, &h), 6000);
	assert_memory_equal(came, frame, 6000);
	assert_int_equal(h.num_buffers, 7);
	assert_true(h.flags == 1 && h.gso_type == 0x81 && h.hdr_len == 54 && h.gso_size == 1400);
	assert_true(h.csum_start == 34 && h.csum_offset == 16);
}

/* Segments of a bundle of 6000 bytes in buffers of a KiB; `flags` is what their headers say. */
static void assert_cut(uint64_t features, uint8_t gso_type, uint8_t flags)
{
	struct header h;

	start(CSUM | HOST_TSO4 | HOST_ECN | features);
	net.counts.software_segments = 0;
	for (unsigned i = 0; i < 8; i++)
		offer_buffer(RX, i, 1000);
	h = make_bundle(6000, 900);
	h.gso_type = gso_type;
	loop(h, 6000);
	assert_int_equal(verdict, NET_DELIVERED);
	for (unsigned i = 0; i < 7; i++) {
		assert_int_equal(receive(RX, i, &h), i < 6 ? 954 : 54 + 5946 - 6 * 900);
		assert_true(h.flags == flags && !h.gso_type && !h.gso_size && h.num_buffers == 1);
		assert_memory_equal(came + 54, frame + 54 + i * 900, i < 6 ? 900 : 546);
		assert_int_equal(came[39] << 16 | came[40] << 8 | came[41], 1 + i * 900);
	}
	assert_not_given_back(RX);
	assert_int_equal(net.counts.software_segments, 7);
}

static void a_bundle_is_cut_for_others(void **state)
{
	(void)state;
	assert_cut(0, 1, 0);
	assert_cut(GUEST_TSO4, 1, 0); /* which needs GUEST_CSUM */
	assert_cut(GUEST_CSUM, 1, 1);
	assert_cut(GUEST_CSUM | GUEST_TSO6, 1, 1);
	assert_cut(GUEST_CSUM | GUEST_TSO4, 0x81, 1); /* not with ECN */
}

static void a_bundle_goes_on_where_it_was(void **state)
{
	struct header h = make_bundle(6000, 900);

	(void)state;
	start(CSUM | HOST_TSO4);
	for (unsigned i = 0; i < 3; i++)
		offer_buffer(RX, i, 1000);
	answer = NET_LATER;
	loop(h, 6000);
	assert_int_equal(verdict, NET_PARTLY);
	assert_int_equal(net.tx[0].packet.cut, 2700);
	virtio_net_resume(&net, 0);
	work(&net.transport, BUDGET);
	assert_int_equal(verdict, NET_NO_ROOM);
	assert_int_equal(net.tx[0].packet.cut, 2700);
	for (unsigned i = 3; i < 7; i++)
		offer_buffer(RX, i, 1000);
	answer = NET_SENT;
	virtio_net_resume(&net, 0);
	work(&net.transport, BUDGET);
	assert_int_equal(verdict, NET_DELIVERED);
	assert_int_equal(net.tx[0].packet.cut, 0);
	for (unsigned i = 0; i < 7; i++) {
		receive(RX, i, &h);
		assert_memory_equal(came + 54, frame + 54 + i * 900, i < 6 ? 900 : 546);
	}
}

/* However small the segments are that a sender asks for, a turn is not long. */
static void a_turn_cuts_some_segments(void **state)
{
	(void)state;
	start(CSUM | HOST_TSO4);
	answer = NET_LATER;
	for (unsigned i = 0; i < 100; i++)
		offer_buffer(RX, i % 4, 1000);
	loop(make_bundle(200, 1), 200);
	assert_int_equal(verdict, NET_PARTLY);
	assert_int_equal(net.tx[0].packet.cut, 64);
	virtio_net_resume(&net, 0);
	work(&net.transport, BUDGET);
	assert_int_equal(verdict, NET_PARTLY);
	assert_int_equal(net.tx[0].packet.cut, 100);
}

static void tags_are_put_on_and_taken_off(void **state)
{
	struct header h = make_bundle(400, 0);

	(void)state;
	start(CSUM | GUEST_CSUM);
	h.gso_type = 0;
	offer_buffer(RX, 0, 1000);
	tagged = true;
	loop(h, 400);
	assert_int_equal(receive(RX, 0, &h), 404);
	assert_memory_equal(came, frame, 12);
	assert_memory_equal(came + 12, "\x81\0\x20\x05", 4);
	assert_memory_equal(came + 16, frame + 12, 388);
	assert_int_equal(h.csum_start, 38);

	tagged = false;
	memcpy(frame, came, 404);
	h = (struct header){.flags = 1, .csum_start = 38, .csum_offset = 16};
	offer_buffer(RX, 1, 1000);
	loop(h, 404);
	assert_int_equal(receive(RX, 1, &h), 400);
	assert_memory_equal(came, frame, 12);
	assert_memory_equal(came + 12, frame + 16, 388);
	assert_int_equal(h.csum_start, 34);
}

/* --- the control queue --- */

static uint8_t order(unsigned n, const void *bytes, uint32_t size)
{
	struct virtqueue_part part[] = {{GPA(COMMAND), 1}, {GPA(COMMAND + 1), size - 1}, {GPA(ANSWER), 1}};
	uint32_t written;

	memcpy(at(COMMAND), bytes, size);
	*(uint8_t *)at(ANSWER) = 0xEE;
	offer(n, part, 2, 1);
	notify(n);
	work(&net.transport, BUDGET);
	assert_int_not_equal(take_used(n, &written), -1);
	assert_int_equal(written, 1);
	return *(uint8_t *)at(ANSWER);
}

static bool gets(const uint8_t *mac)
{
	uint64_t unwanted = net.counts.unwanted;

	memcpy(kept.head, mac, 6);
	if (virtio_net_receive(&net, &kept, false, 0) == NET_NO_ROOM)
		return true;
	assert_int_equal(net.counts.unwanted, unwanted + 1);
	return false;
}

static void the_driver_chooses_what_comes(void **state)
{
	static const uint8_t group[6] = {1, 0, 0x5E, 0, 0, 1}, other[6] = {2, 1}, third[6] = {2, 2}, group2[6] = {3, 3};
	uint8_t table[2 + 4 + 65 * 6 + 4 + 6] = {1, 0, 1, 0, 0, 0, 2, 1, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0x5E, 0, 0, 1};

	(void)state;
	start(CTRL_VQ | CTRL_RX);
	make_frame(own, 100);
	send((struct header){0}, 100);
	assert_true(gets(other) && gets(group) && gets(own)); /* as after power-up */
	assert_int_equal(order(2, "\0\0\0", 3), 0);
	assert_true(gets(own) && gets(broadcast));
	assert_false(gets(other) || gets(group));
	for (unsigned i = 0; i < 6; i++) { /* all of an address counts */
		uint8_t near[6];

		memcpy(near, own, 6);
		near[i] ^= 2;
		assert_false(gets(near));
	}
	assert_int_equal(order(2, "\0\1\1", 3), 0);
	assert_true(gets(group));
	assert_false(gets(other));
	assert_int_equal(order(2, "\0\1\0", 3), 0);
	assert_int_equal(order(2, table, 22), 0);
	assert_true(gets(group) && gets(other));
	assert_false(gets(third) || gets(group2));
	table[12] = 2; /* more groups than there are bytes: all stays as it was */
	assert_int_equal(order(2, table, 22), 1);
	table[12] = 200;
	assert_int_equal(order(2, table, 22), 1);
	table[12] = 0;
	assert_int_equal(order(2, table, 22), 1);
	table[2] = 9;
	assert_int_equal(order(2, table, 22), 1);
	table[5] = 0x80;
	assert_int_equal(order(2, table, 22), 1);
	assert_true(gets(group) && gets(other));
	assert_false(gets(third) || gets(group2));
	memset(table, 0, sizeof(table));
	table[0] = 1;
	table[2] = 65; /* more than the filter has room for */
	assert_int_equal(order(2, table, 2 + 4 + 65 * 6 + 4), 0);
	assert_true(gets(third));
	assert_false(gets(group));
	table[2] = 64; /* as many as it has */
	assert_int_equal(order(2, table, 2 + 4 + 64 * 6 + 4), 0);
	assert_false(gets(third) || gets(group));
	assert_int_equal(order(2, "\0\0\1", 3), 0);
	assert_true(gets(group2));
	start(CTRL_VQ); /* a reset, and nothing agreed on */
	assert_true(gets(third));
	assert_int_equal(order(2, "\0\0\0", 3), 1);
	assert_true(gets(third));
}

static void what_is_not_understood_is_refused(void **state)
{
	struct virtqueue_part part[] = {{GPA(COMMAND), 1}, {GPA(ANSWER), 1}};

	(void)state;
	start(CTRL_VQ | CTRL_RX);
	assert_int_equal(order(2, "\0\0\0\0", 4), 1);
	assert_int_equal(order(2, "\0\0", 2), 1);
	assert_int_equal(order(2, "\0\2\1", 3), 1);
	assert_int_equal(order(2, "\4\0\1\0", 4), 1); /* MQ */
	assert_int_equal(order(2, "\1\1\2\0\0\0\0\1", 8), 1);
	assert_int_equal(order(2, "\7\7", 2), 1);
	assert_memory_equal(net.mac, own, 6);
	assert_true(net.filter.promiscuous);
	offer(2, part, 1, 1);
	notify(2);
	work(&net.transport, BUDGET);
	assert_true(status() & NEEDS_RESET);
	start(CTRL_VQ | CTRL_RX);
	part[0].size = 3;
	offer(2, part, 1, 0);
	notify(2);
	work(&net.transport, BUDGET);
	assert_true(status() & NEEDS_RESET);
}

static void the_address_may_be_changed(void **state)
{
	(void)state;
	start(CTRL_VQ | CTRL_RX | CTRL_MAC);
	assert_int_equal(order(2, "\1\1\2\0\0\0\0\1", 8), 0);
	assert_int_equal(reg_get(config, 0, 4), 2);
	assert_int_equal(order(2, "\1\1\3\0\0\0\0\1", 8), 1);
	assert_int_equal(order(2, "\1\1\0\0\0\0\0\0", 8), 1);
	assert_int_equal(order(2, "\1\1\2\0\0\0\0", 7), 1);
	assert_int_equal(reg_get(config, 0, 4), 2);
	reset_device();
	assert_int_equal(reg_get(config, 0, 4), 0x12005452);
}

static void flows_have_their_queues(void **state)
{
	unsigned seen[PAIRS] = {0}, before = 0;
	uint32_t written;

	(void)state;
	start(MQ | CTRL_VQ);
	assert_int_equal(order(2 * PAIRS, "\4\0\0\0", 4), 1);
	assert_int_equal(order(2 * PAIRS, "\4\0\4\0", 4), 1);
	for (unsigned used = 1; used <= PAIRS; used += PAIRS - 1) {
		uint8_t pairs[4] = {4, 0, (uint8_t)used, 0};

		assert_int_equal(order(2 * PAIRS, pairs, 4), 0);
		memset(seen, 0, sizeof(seen));
		for (unsigned i = 0; i < 64; i++) {
			unsigned on = PAIRS, twice = i / 2; /* each flow has two packets */

			for (unsigned n = 0; n < PAIRS; n++)
				offer_buffer(2 * n, n, 1000);
			make_bundle(200, 0);
			frame[34] = (uint8_t)twice;
			frame[100] = (uint8_t)i;
			loop((struct header){0}, 200);
			for (unsigned n = 0; n < PAIRS; n++) {
				if (take_used(2 * n, &written) != -1)
					on = n;
			}
			assert_in_range(on, 0, used - 1);
			if (i % 2)
				assert_int_equal(on, before);
			before = on;
			seen[on]++;
			start(MQ | CTRL_VQ);
			assert_int_equal(order(2 * PAIRS, pairs, 4), 0);
		}
		for (unsigned n = 0; n < used; n++)
			assert_in_range(seen[n], used == 1 ? 64 : 4, 64);
	}
}

/* Without MQ the third queue is the control queue, and the others are nobody's. */
static void the_control_queue_is_where_the_driver_thinks(void **state)
{
	(void)state;
	start(CTRL_VQ | CTRL_RX);
	assert_int_equal(order(2, "\0\0\0", 3), 0);
	start(MQ | CTRL_VQ | CTRL_RX);
	assert_int_equal(order(2 * PAIRS, "\0\0\0", 3), 0);
	offer_buffer(2, 0, 100);
	notify(2);
	work(&net.transport, BUDGET);
	assert_not_given_back(2);
	assert_false(status() & NEEDS_RESET);
}

static void every_pair_sends(void **state)
{
	(void)state;
	start(MQ | CTRL_VQ);
	for (unsigned n = 0; n < PAIRS; n++) {
		struct virtqueue_part part = {GPA(SENT), HEADER + 100};

		make_frame(own, 100);
		place_frame((struct header){0}, 100);
		offer(2 * n + 1, &part, 1, 0);
		notify(2 * n + 1);
		work(&net.transport, BUDGET);
		assert_given_back(2 * n + 1);
		assert_int_equal(pair_was, n);
		assert_kept(100);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(it_is_a_network_card, setup),
	    cmocka_unit_test_setup(it_has_more_if_it_is_told, setup_full),
	    cmocka_unit_test_setup(the_link_goes_down_and_up, setup),
	    cmocka_unit_test_setup(frames_come_in_any_pieces, setup),
	    cmocka_unit_test_setup(bad_frames_are_dropped, setup),
	    cmocka_unit_test_setup(without_agreement_no_demands, setup),
	    cmocka_unit_test_setup(a_bundle_has_its_headers_as_head, setup),
	    cmocka_unit_test_setup(a_frame_without_memory_is_dropped, setup),
	    cmocka_unit_test_setup(a_frame_without_header_breaks_the_queue, setup),
	    cmocka_unit_test_setup(a_frame_waits_until_the_backend_has_it, setup),
	    cmocka_unit_test_setup(a_frame_that_waits_is_looked_up_anew, setup),
	    cmocka_unit_test_setup(a_reset_forgets_the_frame, setup),
	    cmocka_unit_test_setup(a_frame_comes_into_a_buffer, setup),
	    cmocka_unit_test_setup(a_frame_is_spread_over_buffers, setup),
	    cmocka_unit_test_setup(too_few_buffers_stay_the_drivers, setup),
	    cmocka_unit_test_setup(a_buffer_that_is_too_small_stays, setup),
	    cmocka_unit_test_setup(a_frame_has_64_buffers_at_most, setup),
	    cmocka_unit_test_setup(bad_buffers_break_the_queue, setup),
	    cmocka_unit_test_setup(buffers_in_too_many_parts_break_the_queue, setup),
	    cmocka_unit_test_setup(what_is_sent_is_not_filled, setup_far),
	    cmocka_unit_test_setup(buffers_are_filled_in_the_receivers_turn, setup_far),
	    cmocka_unit_test_setup(a_table_is_not_filled, setup_far),
	    cmocka_unit_test_setup(to_fill_takes_several_turns, setup_far),
	    cmocka_unit_test_setup(what_cant_be_filled_breaks_the_queue, setup_far),
	    cmocka_unit_test_setup(who_has_no_driver_gets_nothing, setup),
	    cmocka_unit_test_setup(a_sum_is_left_to_who_agreed, setup),
	    cmocka_unit_test_setup(a_bundle_is_passed_to_who_agreed, setup),
	    cmocka_unit_test_setup(a_bundle_is_cut_for_others, setup),
	    cmocka_unit_test_setup(a_bundle_goes_on_where_it_was, setup),
	    cmocka_unit_test_setup(a_turn_cuts_some_segments, setup),
	    cmocka_unit_test_setup(tags_are_put_on_and_taken_off, setup),
	    cmocka_unit_test_setup(the_driver_chooses_what_comes, setup),
	    cmocka_unit_test_setup(what_is_not_understood_is_refused, setup),
	    cmocka_unit_test_setup(the_address_may_be_changed, setup_full),
	    cmocka_unit_test_setup(flows_have_their_queues, setup_full),
	    cmocka_unit_test_setup(the_control_queue_is_where_the_driver_thinks, setup_full),
	    cmocka_unit_test_setup(every_pair_sends, setup_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
