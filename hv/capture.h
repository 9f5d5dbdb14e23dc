/*
 * Frames recorded on their way, for the shell's `capture`: the first bytes of each, in a ring of memory that is there
 * while a capture is on. One capture at a time; whoever records does so only for frames that its switch has marked
 * (struct vswitch_transit), so a network without a capture pays nothing.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/dev/net_packet.h"
#include "hv/lib/types.h"

#define CAPTURE_SNAP   NET_HEAD_SENT /* bytes that are kept of a frame: its headers and some more */
#define CAPTURE_FRAMES 1024	     /* that the ring holds */

struct captured_frame {
	uint64_t ticks; /* clock_now() */
	uint32_t size;	/* of the whole frame */
	uint32_t kept;	/* bytes that follow, CAPTURE_SNAP at most */
	uint8_t bytes[CAPTURE_SNAP];
};

/* -E_NOMEM. None is on. Boot CPU, as all that follows but for capture_frame(). */
int capture_begin(void) MUST_CHECK;
void capture_end(void); /* nothing happens when none is on */
/* The next frame, in the order in which they were recorded. False: there is none yet. */
bool capture_next(struct captured_frame *out);
/* Frames that found the ring full since the capture began. */
uint64_t capture_lost(void);

/* Records a frame as it was sent; nothing happens when no capture is on. Any CPU, any locks: it takes a leaf. */
void capture_frame(const struct net_packet *packet);
