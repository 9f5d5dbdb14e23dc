/* The ring of recorded frames; see capture.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/capture.h"

#include "arch/x86/memory.h"
#include "hv/clock.h"
#include "hv/lib/spinlock.h"
#include "hv/lib/string.h"
#include "hv/phys.h"

#define RING_SIZE (CAPTURE_FRAMES * sizeof(struct captured_frame))

static struct {
	struct spinlock lock;	     /* all that follows; a leaf */
	struct captured_frame *ring; /* CAPTURE_FRAMES; NULL: no capture is on */
	uint64_t recorded, read, lost;
} capture;

int capture_begin(void)
{
	hpa_t page = phys_alloc(phys_pages(RING_SIZE), 1);

	if (hpa_is_none(page))
		return -E_NOMEM;
	spin_lock(&capture.lock);
	capture.ring = phys_to_virt(page);
	capture.recorded = capture.read = capture.lost = 0;
	spin_unlock(&capture.lock);
	return 0;
}

/* Others touch the ring under the lock only. */
void capture_end(void)
{
	struct captured_frame *ring;

	spin_lock(&capture.lock);
	ring = capture.ring;
	capture.ring = NULL;
	spin_unlock(&capture.lock);
	if (ring)
		phys_free(virt_to_phys(ring), phys_pages(RING_SIZE));
}

bool capture_next(struct captured_frame *out)
{
	bool there;

	spin_lock(&capture.lock);
	there = capture.ring && capture.read < capture.recorded;
	if (there)
		*out = capture.ring[capture.read++ % CAPTURE_FRAMES];
	spin_unlock(&capture.lock);
	return there;
}

uint64_t capture_lost(void)
{
	uint64_t lost;

	spin_lock(&capture.lock);
	lost = capture.lost;
	spin_unlock(&capture.lock);
	return lost;
}

static void record(struct captured_frame *to, const struct net_packet *packet)
{
	to->ticks = clock_now();
	to->size = packet->size;
	to->kept = packet->head_size < CAPTURE_SNAP ? packet->head_size : CAPTURE_SNAP;
	memcpy(to->bytes, packet->head, to->kept);
}

void capture_frame(const struct net_packet *packet)
{
	spin_lock(&capture.lock);
	if (capture.ring && capture.recorded - capture.read == CAPTURE_FRAMES)
		capture.lost++;
	else if (capture.ring)
		record(&capture.ring[capture.recorded++ % CAPTURE_FRAMES], packet);
	spin_unlock(&capture.lock);
}
