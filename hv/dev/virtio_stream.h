/*
 * The bytes of a chain's parts, one after another, whatever pieces the driver cut them into: devices may not care where
 * one part ends and the next begins (VIRTIO 1.2, 2.7.4.1). Each piece is checked against guest memory when it is
 * reached. Pure.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/dev/virtqueue.h"

struct virtio_stream {
	const struct guest_mem *mem;
	const struct virtqueue_part *part;
	unsigned parts; /* left, the current one included */
	uint32_t at;	/* within the current one */
	uint64_t left;	/* bytes in all */
	struct guest_near near;
	bool finds; /* in memory that is there only: see virtio_stream_is_ahead() */
};

/* What the device reads, and what it writes. The chain must stay where it is. */
struct virtio_stream virtio_stream_out(const struct guest_mem *mem, const struct virtqueue_chain *chain);
struct virtio_stream virtio_stream_in(const struct guest_mem *mem, const struct virtqueue_chain *chain);
/* From here on what the device writes of a chain of the same guest; which piece was found last is kept. */
static inline void virtio_stream_go_on_in(struct virtio_stream *s, const struct virtqueue_chain *chain)
{
	s->part = chain->part + chain->out;
	s->parts = chain->in;
	s->at = 0;
	s->left = chain->in_size;
}
/*
 * The next bytes that lie in one piece, *size of them, at most `most` (not 0); they are passed. NULL: at the end, or
 * the guest has no memory there. What the device reads gets no memory for that: it is zero.
 */
const void *virtio_stream_next_out(struct virtio_stream *s, uint64_t most, uint32_t *size);
void *virtio_stream_next_in(struct virtio_stream *s, uint64_t most, uint32_t *size);
/* One that finds only got NULL, since memory of the guest's is not filled there yet. */
bool virtio_stream_is_ahead(const struct virtio_stream *s);
/* Exactly `size` bytes; -E_RANGE: there are no more, or no memory. */
int virtio_stream_read(struct virtio_stream *s, void *to, uint32_t size) MUST_CHECK;
int virtio_stream_write(struct virtio_stream *s, const void *from, uint32_t size) MUST_CHECK;
/* One that was kept while the CPU let go of everything (hv/pcpu.h): pieces are looked up anew. */
static inline void virtio_stream_forget(struct virtio_stream *s)
{
	s->near = (struct guest_near){0};
}
/* Passes over bytes, at most what is left. */
void virtio_stream_skip(struct virtio_stream *s, uint64_t size);
