/*
 * Recorded frames as lines of text: each is "P " and some bytes of a pcap file in base64 (RFC 4648, 4). All of a
 * capture's lines, decoded one by one and put together, are the file, which tests/capture2pcap.py makes of a log.
 * https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html. Pure.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

#define PCAP_FRAME_MAX 256					       /* bytes of a frame that fit into a line */
#define PCAP_LINE_MAX  (2 + (16 + PCAP_FRAME_MAX + 2) / 3 * 4 + 2 + 1) /* with line end and NUL */

/* The file's beginning: Ethernet frames of which at most `snap` bytes are kept, and nanoseconds. */
void pcap_begin_line(char line[PCAP_LINE_MAX], uint32_t snap);
/* One frame, seen at `unix_ns`; `kept` bytes of its `size` are there, PCAP_FRAME_MAX at most. */
void pcap_frame_line(char line[PCAP_LINE_MAX], uint64_t unix_ns, uint32_t size, const void *bytes, uint32_t kept);
