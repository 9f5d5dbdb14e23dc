/*
 * The balloon; see virtio_balloon.h. VIRTIO 1.2, 5.5.
 *
 * Queues: 0 inflates, 1 deflates, 2 is for statistics, 3 for hints about free pages (not offered), 4 for reports of
 * free pages (5.5.2). Drivers, Linux's among them for many years, leave no gaps for those whose feature was not
 * negotiated, and number what follows accordingly. No number can be meant for anything but reports from the first gap
 * on, so both ways are understood: whatever comes behind the queues that were negotiated is about reports.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/dev/virtio_balloon.h"

#include "hv/clock.h"
#include "hv/lib/string.h"

#define KIND_BALLOON 5
#define CLASS_OTHER  0x00FF00

/* 5.5.3 */
#define F_MUST_TELL_HOST BIT(0)
#define F_STATS		 BIT(1)
#define F_DEFLATE_ON_OOM BIT(2)
#define F_REPORTING	 BIT(5)

enum { QUEUE_INFLATE = 0, QUEUE_DEFLATE = 1, QUEUE_STATS = 2 };

#define STATS_MOST 32 /* entries that are looked at: more than there are tags */

/* 5.5.4, as far as our features go. */
struct virtio_balloon_config {
	uint32_t num_pages, actual;
};

/* 5.5.6.3 */
struct balloon_stat {
	uint16_t tag;
	uint64_t value;
} __attribute__((packed));

static uint64_t features(void *dev)
{
	(void)dev;
	return F_MUST_TELL_HOST | F_STATS | F_DEFLATE_ON_OOM | F_REPORTING;
}

static void config_read(void *dev, unsigned offset, void *to, unsigned size)
{
	const struct virtio_balloon *b = dev;
	struct virtio_balloon_config c = {b->target, b->actual};

	memcpy(to, (const uint8_t *)&c + offset, size);
}

/* The driver says what it has given; the rest stays ours. */
static void config_write(void *dev, unsigned offset, const void *from, unsigned size)
{
	struct virtio_balloon *b = dev;
	struct virtio_balloon_config c = {b->target, b->actual};

	memcpy((uint8_t *)&c + offset, from, size);
	b->actual = c.actual;
}

static void queue_reset(void *dev, unsigned queue)
{
	struct virtio_balloon *b = dev;

	b->request[queue].active = false;
	if (queue == QUEUE_DEFLATE)
		b->wants_memory = false;
	if (queue == QUEUE_INFLATE) /* of the device, or of what a balloon is for */
		b->actual = 0;
	if (queue == QUEUE_STATS) {
		b->stat_known = 0;
		b->asks = b->asked = false;
	}
}

/* --- page numbers ------------------------------------------------------------------------------------------------- */

/* Consecutive pages, up or down, are told to the host as one. */
struct run {
	uint64_t first, count; /* pages */
};

static bool extend(struct run *run, uint32_t pfn)
{
	if (run->count && pfn != run->first + run->count && pfn + 1ULL != run->first)
		return false;
	if (!run->count || pfn < run->first)
		run->first = pfn;
	run->count++;
	return true;
}

static int tell(const struct virtio_balloon *b, unsigned queue, const struct run *run)
{
	gpa_t gpa = GPA(run->first * VIRTIO_BALLOON_PAGE);
	uint64_t size = run->count * VIRTIO_BALLOON_PAGE;

	if (queue == QUEUE_DEFLATE)
		return b->host.want(b->host.ctx, gpa, size);
	b->host.give(b->host.ctx, gpa, size);
	return 0;
}

static int tell_pages(const struct virtio_balloon *b, unsigned queue, const uint32_t *pfn, unsigned count)
{
	struct run run = {0};
	int err = 0;

	for (unsigned i = 0; i < count && !err; i++) {
		if (extend(&run, pfn[i]))
			continue;
		err = tell(b, queue, &run);
		run = (struct run){pfn[i], 1};
	}
	return err || !run.count ? err : tell(b, queue, &run);
}

/* The next block of page numbers. What of a number is left over at the end is none. */
static int serve_pages(struct virtio_balloon *b, unsigned queue, struct virtqueue *q, uint64_t *work)
{
	struct virtio_balloon_request *r = &b->request[queue];
	struct virtio_stream before = r->data;
	uint32_t pfn[VIRTIO_BALLOON_BLOCK], count = VIRTIO_BALLOON_BLOCK;

	if (r->data.left / sizeof(pfn[0]) < count)
		count = (uint32_t)(r->data.left / sizeof(pfn[0]));
	if (virtio_stream_read(&r->data, pfn, count * sizeof(pfn[0]))) {
		q->broken = "a balloon's page numbers lie where there is no memory";
		return -E_FORMAT;
	}
	*work += VIRTIO_PIECE * (1ULL + count);
	if (tell_pages(b, queue, pfn, count)) {
		b->wants_memory = true;
		r->data = before; /* all of the block again, which does no harm */
		return VIRTIO_RESTS;
	}
	if (r->data.left < sizeof(pfn[0]))
		virtio_stream_skip(&r->data, r->data.left);
	return VIRTIO_SERVED;
}

/* --- reports of free memory --------------------------------------------------------------------------------------- */

/* The parts are the memory itself, which is not looked at. */
static int serve_report(struct virtio_balloon *b, unsigned queue, uint64_t *work)
{
	struct virtio_stream *s = &b->request[queue].data;

	for (unsigned i = 0; i < VIRTIO_BALLOON_BLOCK && s->left; i++) {
		uint64_t gpa = s->part->gpa.value + s->at, left = s->part->size - s->at;
		uint64_t chunk = GUEST_MEM_CHUNK - gpa % GUEST_MEM_CHUNK;

		if (chunk == GUEST_MEM_CHUNK && left >= chunk)
			b->host.discard(b->host.ctx, GPA(gpa));
		virtio_stream_skip(s, chunk < left ? chunk : left);
		*work += VIRTIO_PIECE;
	}
	return VIRTIO_SERVED;
}

/* --- statistics --------------------------------------------------------------------------------------------------- */

static void note_stat(struct virtio_balloon *b, const struct balloon_stat *stat)
{
	if (stat->tag >= VIRTIO_BALLOON_STATS)
		return;
	b->stat[stat->tag] = stat->value;
	b->stat_known |= BIT(stat->tag);
}

/* One buffer, which the device keeps until it wants to know again: it goes back to be filled anew (5.5.6.3). */
static int serve_stats(struct virtio_balloon *b, struct virtqueue *q, uint64_t *work)
{
	struct virtio_balloon_request *r = &b->request[QUEUE_STATS];
	struct balloon_stat stat;
	int got;

	if (r->active && (!b->asks || b->asked))
		return VIRTIO_RESTS;
	if (r->active) {
		r->active = false;
		b->asked = true;
		return virtqueue_give(q, &r->chain, 0) ? -E_FORMAT : VIRTIO_SERVED;
	}
	got = virtqueue_take(q, &r->chain);
	if (got <= 0)
		return got;
	r->active = true;
	r->data = virtio_stream_out(b->mem, &r->chain);
	for (unsigned i = 0; i < STATS_MOST && r->data.left >= sizeof(stat); i++) {
		if (virtio_stream_read(&r->data, &stat, sizeof(stat)))
			break;
		note_stat(b, &stat);
		*work += VIRTIO_PIECE;
	}
	if (b->asked)
		b->asks = b->asked = false;
	return VIRTIO_SERVED;
}

/* --- queues ------------------------------------------------------------------------------------------------------- */

static bool is_report(const struct virtio_balloon *b, unsigned queue)
{
	return queue > QUEUE_STATS || (queue == QUEUE_STATS && !virtio_pci_has(&b->transport, F_STATS));
}

/* 1: there is a request; else as virtqueue_take. */
static int next_request(struct virtio_balloon *b, unsigned queue, struct virtqueue *q)
{
	struct virtio_balloon_request *r = &b->request[queue];
	int got = r->active ? 1 : virtqueue_take(q, &r->chain);

	if (got != 1 || r->active)
		return got;
	r->active = true;
	r->data = is_report(b, queue) ? virtio_stream_in(b->mem, &r->chain) : virtio_stream_out(b->mem, &r->chain);
	return 1;
}

static int serve(void *dev, unsigned queue, struct virtqueue *q, uint64_t until, uint64_t *work)
{
	struct virtio_balloon *b = dev;
	struct virtio_balloon_request *r = &b->request[queue];
	int got;

	(void)until; /* a block is short */
	if (queue == QUEUE_STATS && !is_report(b, queue))
		return serve_stats(b, q, work);
	if (queue != QUEUE_DEFLATE && !b->host.has_room(b->host.ctx))
		return VIRTIO_RESTS;
	got = next_request(b, queue, q);
	if (got != 1)
		return got;
	virtio_stream_forget(&r->data);
	if (r->data.left)
		got = is_report(b, queue) ? serve_report(b, queue, work) : serve_pages(b, queue, q, work);
	if (got != VIRTIO_SERVED || r->data.left)
		return got;
	if (queue != QUEUE_DEFLATE && !b->host.is_settled(b->host.ctx))
		return VIRTIO_RESTS;
	r->active = false;
	return virtqueue_give(q, &r->chain, 0) ? -E_FORMAT : VIRTIO_SERVED;
}

static const struct virtio_kind balloon_kind = {
    .name = "virtio-balloon",
    .id = KIND_BALLOON,
    .class_code = CLASS_OTHER,
    .features = features,
    .config_size = sizeof(struct virtio_balloon_config),
    .config_read = config_read,
    .config_write = config_write,
    .queue_reset = queue_reset,
    .serve = serve,
};

int virtio_balloon_init(struct virtio_balloon *b, struct pci_host *host, const struct virtio_balloon_setup *s)
{
	struct virtio_pci_setup transport = {.kind = &balloon_kind,
					     .dev = b,
					     .queues = VIRTIO_BALLOON_QUEUES,
					     .mem = s->mem,
					     .kick = s->kick,
					     .ctx = s->ctx};

	memset(b, 0, sizeof(*b));
	b->host = s->host;
	b->mem = s->mem;
	return virtio_pci_init(&b->transport, host, &transport);
}

void virtio_balloon_set_target(struct virtio_balloon *b, uint32_t pages)
{
	b->target = pages;
	virtio_pci_config_changed(&b->transport);
}

void virtio_balloon_ask(struct virtio_balloon *b)
{
	b->asks = true;
	virtio_pci_poke(&b->transport, QUEUE_STATS);
}

void virtio_balloon_go_on(struct virtio_balloon *b)
{
	b->wants_memory = false;
	for (unsigned n = 0; n < VIRTIO_BALLOON_QUEUES; n++)
		if (n != QUEUE_STATS || is_report(b, n))
			virtio_pci_poke(&b->transport, n);
}
