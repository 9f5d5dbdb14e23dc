/*
 * The control queue of the network card: which frames the driver wants, and on how many queues. VIRTIO 1.2, 5.1.6.5.
 * A command is a class, a number and data that the device reads, and an answer that it writes. What is not understood,
 * or not whole, is answered with an error and changes nothing.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/dev/virtio_net_internal.h"
#include "hv/lib/string.h"

enum { OK = 0, ERR = 1 };

/* Class and command. */
enum {
	RX_PROMISCUOUS = 0x0000,
	RX_ALL_MULTICAST = 0x0001,
	MAC_TABLE_SET = 0x0100,
	MAC_ADDR_SET = 0x0101,
	MQ_PAIRS_SET = 0x0400
};

static bool read_switch(struct virtio_stream *out, bool *value)
{
	uint8_t byte;

	if (out->left != 1 || virtio_stream_read(out, &byte, 1))
		return false;
	*value = byte;
	return true;
}

/*
 * One of the two lists that a table consists of, of single stations and of groups: a count and addresses. `*all`: they
 * have no room beside those that are there.
 */
static bool read_list(struct virtio_stream *out, struct virtio_net_filter *f, bool *all)
{
	uint32_t count;

	if (virtio_stream_read(out, &count, sizeof(count)) || (uint64_t)count * NET_MAC_SIZE > out->left)
		return false;
	*all = count > VIRTIO_NET_MAX_MACS - (uint32_t)f->macs;
	if (*all) {
		virtio_stream_skip(out, (uint64_t)count * NET_MAC_SIZE);
		return true;
	}
	if (count && virtio_stream_read(out, f->mac[f->macs], count * NET_MAC_SIZE))
		return false;
	f->macs = (uint8_t)(f->macs + count);
	return true;
}

static bool set_table(struct virtio_net *net, struct virtio_stream *out)
{
	struct virtio_net_filter f = {.promiscuous = net->filter.promiscuous,
				      .all_multicast = net->filter.all_multicast};

	if (!read_list(out, &f, &f.all_unicast_in_table) || !read_list(out, &f, &f.all_multicast_in_table) || out->left)
		return false;
	net->filter = f;
	return true;
}

static bool set_address(struct virtio_net *net, struct virtio_stream *out)
{
	uint8_t mac[NET_MAC_SIZE];

	if (!virtio_pci_has(&net->transport, VIRTIO_NET_F_CTRL_MAC_ADDR) || out->left != NET_MAC_SIZE ||
	    virtio_stream_read(out, mac, NET_MAC_SIZE) || net_mac_is_group(mac) || net_mac_is_none(mac))
		return false;
	memcpy(net->mac, mac, NET_MAC_SIZE);
	return true;
}

static bool set_pairs(struct virtio_net *net, struct virtio_stream *out)
{
	uint16_t pairs;

	if (!virtio_pci_has(&net->transport, VIRTIO_NET_F_MQ) || out->left != sizeof(pairs) ||
	    virtio_stream_read(out, &pairs, sizeof(pairs)) || !pairs || pairs > net->pairs)
		return false;
	net->pairs_used = pairs;
	return true;
}

static bool obey(struct virtio_net *net, unsigned command, struct virtio_stream *out)
{
	bool rx = virtio_pci_has(&net->transport, VIRTIO_NET_F_CTRL_RX);

	switch (command) {
	case RX_PROMISCUOUS:
		return rx && read_switch(out, &net->filter.promiscuous);
	case RX_ALL_MULTICAST:
		return rx && read_switch(out, &net->filter.all_multicast);
	case MAC_TABLE_SET:
		return rx && set_table(net, out);
	case MAC_ADDR_SET:
		return set_address(net, out);
	case MQ_PAIRS_SET:
		return set_pairs(net, out);
	default:
		return false;
	}
}

int virtio_net_control(struct virtio_net *net, struct virtqueue *q, uint64_t *work)
{
	struct virtio_stream out, in;
	uint8_t command[2], answer;
	int got = virtqueue_take(q, &net->chain);

	if (got <= 0)
		return got;
	out = virtio_stream_out(net->mem, &net->chain);
	in = virtio_stream_in(net->mem, &net->chain);
	if (virtio_stream_read(&out, command, sizeof(command))) {
		q->broken = "a network card's command has no header";
		return -E_FORMAT;
	}
	answer = obey(net, (unsigned)command[0] << 8 | command[1], &out) ? OK : ERR;
	if (virtio_stream_write(&in, &answer, 1)) {
		q->broken = "a network card's command has no room for the answer";
		return -E_FORMAT;
	}
	*work = VIRTIO_PIECE * (1ULL + net->chain.out + net->chain.in);
	return virtqueue_give(q, &net->chain, 1) ? -E_FORMAT : VIRTIO_SERVED;
}

static bool is_listed(const struct virtio_net_filter *f, const uint8_t mac[NET_MAC_SIZE])
{
	for (unsigned i = 0; i < f->macs; i++) {
		if (net_same_mac(f->mac[i], mac))
			return true;
	}
	return false;
}

bool virtio_net_wants(const struct virtio_net *net, const uint8_t mac[NET_MAC_SIZE])
{
	static const uint8_t broadcast[NET_MAC_SIZE] = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
	const struct virtio_net_filter *f = &net->filter;

	if (f->promiscuous || net_same_mac(mac, net->mac) || net_same_mac(mac, broadcast))
		return true;
	if (net_mac_is_group(mac) ? f->all_multicast || f->all_multicast_in_table : f->all_unicast_in_table)
		return true;
	return is_listed(f, mac);
}
