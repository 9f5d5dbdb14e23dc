/*
 * What a sender leaves to its network card: the checksum of a TCP or UDP packet, and cutting a large TCP packet, a
 * bundle, into segments that fit the network. A receiver that agreed to get such frames gets them as they are; for
 * another the work is done here. VIRTIO 1.2, 5.1.6.2; RFC 791, 8200, 9293, 1071. Pure.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/dev/net_packet.h"

/*
 * Does what the sender demands (needs_csum and gso with what belongs to them) fit the frame? All offsets lie in the
 * head, and a bundle is TCP, of the IP version it says it is, with some payload, for NET_CUTS_MAX segments at most; its
 * header_size is filled in. What is not demanded is set to 0.
 */
bool net_offload_check(struct net_packet *packet);
/*
 * *segment becomes the part of a bundle that begins at bundle->cut, which lies in its payload. Its checksum is still
 * to be done. The bundle's head is its headers and no more. Answers the bytes of payload in it.
 */
uint32_t net_offload_segment(const struct net_packet *bundle, struct net_packet *segment);
/* Does the checksum that is demanded, in the head. False: the sender has no memory where the frame is. */
bool net_offload_sum(struct net_packet *packet);
