/*
 * The source of random numbers; see virtio_rng.h. One queue of buffers to fill; of a long one the beginning is filled,
 * as the device may (5.4.6.2).
 */
/* SPDX-License-Identifier: MIT */
#include "hv/dev/virtio_rng.h"

#include "hv/dev/virtio_stream.h"
#include "hv/lib/string.h"

#define KIND_ENTROPY 4
#define CLASS_OTHER  0x00FF00
#define AT_ONCE	     4096 /* bytes: a block of 64 costs some 1,000 instructions */
#define PIECES	     4
#define COST	     16 /* bytes moved for which a random one counts, for who shares out the work */

static uint64_t features(void *dev)
{
	(void)dev;
	return 0;
}

static int serve(void *dev, unsigned queue, struct virtqueue *q, uint64_t until, uint64_t *work)
{
	struct virtio_rng *rng = dev;
	struct virtio_stream in;
	uint32_t filled = 0, n;
	unsigned pieces = 0;
	void *host;
	int got = virtqueue_take(q, &rng->chain);

	(void)queue, (void)until;
	if (got <= 0)
		return got;
	in = virtio_stream_in(rng->mem, &rng->chain);
	while (filled < AT_ONCE && pieces < PIECES &&
	       (host = virtio_stream_next_in(&in, AT_ONCE - filled, &n)) != NULL) {
		rng->fill(rng->source, host, n);
		filled += n;
		pieces++;
	}
	*work = COST * filled + VIRTIO_PIECE * (1ULL + pieces);
	return virtqueue_give(q, &rng->chain, filled) ? -E_FORMAT : VIRTIO_SERVED;
}

static const struct virtio_kind entropy_kind = {
    .name = "virtio-rng",
    .id = KIND_ENTROPY,
    .class_code = CLASS_OTHER,
    .features = features,
    .serve = serve,
};

int virtio_rng_init(struct virtio_rng *rng, struct pci_host *host, const struct virtio_rng_setup *s)
{
	struct virtio_pci_setup transport = {
	    .kind = &entropy_kind, .dev = rng, .queues = 1, .mem = s->mem, .kick = s->kick, .ctx = s->ctx};

	memset(rng, 0, sizeof(*rng));
	rng->mem = s->mem;
	rng->fill = s->fill;
	rng->source = s->source;
	return virtio_pci_init(&rng->transport, host, &transport);
}
