/* The bytes of a chain; see virtio_stream.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/dev/virtio_stream.h"

#include "hv/lib/string.h"

struct virtio_stream virtio_stream_out(const struct guest_mem *mem, const struct virtqueue_chain *chain)
{
	return (struct virtio_stream){.mem = mem, .part = chain->part, .parts = chain->out, .left = chain->out_size};
}

struct virtio_stream virtio_stream_in(const struct guest_mem *mem, const struct virtqueue_chain *chain)
{
	struct virtio_stream s = {.mem = mem};

	virtio_stream_go_on_in(&s, chain);
	return s;
}

static void pass(struct virtio_stream *s, uint32_t size)
{
	s->at += size;
	s->left -= size;
	if (s->at == s->part->size) {
		s->part++;
		s->parts--;
		s->at = 0;
	}
}

static gpa_t here(const struct virtio_stream *s)
{
	return GPA(s->part->gpa.value + s->at);
}

/* Bytes left of the current part, at most `most`. */
static size_t part_left(const struct virtio_stream *s, uint64_t most)
{
	uint32_t left = s->part->size - s->at;

	return left < most ? left : most;
}

const void *virtio_stream_next_out(struct virtio_stream *s, uint64_t most, uint32_t *size)
{
	const void *host;
	size_t piece;

	if (!s->parts)
		return NULL;
	piece = part_left(s, most);
	host = guest_read_near(s->mem, &s->near, here(s), &piece);
	*size = (uint32_t)piece;
	if (host)
		pass(s, *size);
	return host;
}

void *virtio_stream_next_in(struct virtio_stream *s, uint64_t most, uint32_t *size)
{
	size_t piece;
	void *host;

	if (!s->parts)
		return NULL;
	piece = part_left(s, most);
	host = s->finds ? guest_find_near(s->mem, &s->near, here(s), &piece)
			: guest_map_near(s->mem, &s->near, here(s), &piece);
	*size = (uint32_t)piece;
	if (host)
		pass(s, *size);
	return host;
}

bool virtio_stream_is_ahead(const struct virtio_stream *s)
{
	return s->finds && s->parts && guest_has(s->mem, here(s));
}

int virtio_stream_read(struct virtio_stream *s, void *to, uint32_t size)
{
	const uint8_t *host;
	uint8_t *out = to;
	uint32_t n;

	for (; size; size -= n, out += n) {
		host = virtio_stream_next_out(s, size, &n);
		if (!host)
			return -E_RANGE;
		memcpy(out, host, n);
	}
	return 0;
}

int virtio_stream_write(struct virtio_stream *s, const void *from, uint32_t size)
{
	const uint8_t *in = from;
	uint8_t *host;
	uint32_t n;

	for (; size; size -= n, in += n) {
		host = virtio_stream_next_in(s, size, &n);
		if (!host)
			return -E_RANGE;
		memcpy(host, in, n);
	}
	return 0;
}

void virtio_stream_skip(struct virtio_stream *s, uint64_t size)
{
	while (size && s->parts) {
		uint32_t rest = s->part->size - s->at, n = size < rest ? (uint32_t)size : rest;

		pass(s, n);
		size -= n;
	}
}
