/*
 * The disk; see virtio_blk.h. A request is a header that the device reads, data, and a status byte that it writes last,
 * in parts as the driver likes. VIRTIO 1.2, 5.2.6.
 *
 * All that is written is on the disk at once, so a flush has nothing to do. A request that asks for what is not there
 * (beyond the end, a write to a read-only disk) ends with a status; one without room for header or status breaks the
 * queue.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/dev/virtio_blk.h"

#include "hv/clock.h"
#include "hv/lib/string.h"

#define KIND_BLOCK 2
#define CLASS_DISK 0x010000 /* mass storage, SCSI: what other hypervisors say */

/* 5.2.3 */
#define F_SEG_MAX      BIT(2)
#define F_GEOMETRY     BIT(4)
#define F_RO	       BIT(5)
#define F_BLK_SIZE     BIT(6)
#define F_FLUSH	       BIT(9)
#define F_MQ	       BIT(12)
#define F_DISCARD      BIT(13)
#define F_WRITE_ZEROES BIT(14)

/* 5.2.6 */
enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };

#define FLAG_UNMAP BIT(0)
#define SEG_MAX	   (VIRTQUEUE_MAX_PARTS - 2)
#define ZERO_MAX   (64 * MIB / BLOCK_SECTOR) /* sectors: what a request discards or zeroes at most */
#define HEADS	   16
#define TRACK	   63
#define STEP	   (64 * KIB) /* bytes that are moved at a time; zeroes: in pieces that a store can free */

struct blk_header {
	uint32_t type, reserved;
	uint64_t sector;
};

struct blk_range {
	uint64_t sector;
	uint32_t sectors, flags;
};

/* 5.2.4; fields of features that none of ours has are zero. */
struct virtio_blk_config {
	uint64_t capacity;
	uint32_t size_max, seg_max;
	uint16_t cylinders;
	uint8_t heads, sectors;
	uint32_t blk_size;
	uint8_t physical_block_exp, alignment_offset;
	uint16_t min_io_size;
	uint32_t opt_io_size;
	uint8_t writeback, unused0;
	uint16_t num_queues;
	uint32_t max_discard_sectors, max_discard_seg, discard_sector_alignment;
	uint32_t max_write_zeroes_sectors, max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap, unused1[3];
} __attribute__((packed));

static uint64_t features(void *dev)
{
	const struct virtio_blk *blk = dev;
	uint64_t f = F_SEG_MAX | F_GEOMETRY | F_BLK_SIZE | F_FLUSH;

	if (blk->queues > 1)
		f |= F_MQ;
	return f | (blk->store.read_only ? F_RO : F_DISCARD | F_WRITE_ZEROES);
}

static void config_read(void *dev, unsigned offset, void *to, unsigned size)
{
	const struct virtio_blk *blk = dev;
	uint64_t capacity = blk->store.size / BLOCK_SECTOR, cylinders = capacity / (HEADS * TRACK);
	struct virtio_blk_config c = {
	    .capacity = capacity,
	    .seg_max = SEG_MAX,
	    .cylinders = (uint16_t)(cylinders < 65535 ? cylinders : 65535),
	    .heads = HEADS,
	    .sectors = TRACK,
	    .blk_size = BLOCK_SECTOR,
	    .num_queues = (uint16_t)blk->queues,
	    .max_discard_sectors = ZERO_MAX,
	    .max_discard_seg = 1,
	    .discard_sector_alignment = 1,
	    .max_write_zeroes_sectors = ZERO_MAX,
	    .max_write_zeroes_seg = 1,
	    .write_zeroes_may_unmap = 1,
	};

	memcpy(to, (const uint8_t *)&c + offset, size);
}

static void queue_reset(void *dev, unsigned queue)
{
	struct virtio_blk *blk = dev;

	blk->request[queue].active = false;
}

/* --- what a request asks for ------------------------------------------------------------------------------------- */

/* These bytes are whole sectors of the disk: *r is about them. If not, it is about none. */
static bool set_range(const struct virtio_blk *blk, struct virtio_blk_request *r, uint64_t sector, uint64_t bytes)
{
	uint64_t end = blk->store.size / BLOCK_SECTOR;

	if (bytes % BLOCK_SECTOR || sector > end || bytes / BLOCK_SECTOR > end - sector)
		return false;
	r->offset = sector * BLOCK_SECTOR;
	r->left = bytes;
	return true;
}

static uint8_t begin_zeroes(const struct virtio_blk *blk, struct virtio_blk_request *r)
{
	uint32_t known = r->type == T_WRITE_ZEROES ? FLAG_UNMAP : 0;
	struct blk_range range;

	if (blk->store.read_only || r->data.left != sizeof(range) ||
	    virtio_stream_read(&r->data, &range, sizeof(range)))
		return S_IOERR;
	if (range.flags & ~known)
		return S_UNSUPP;
	if (range.sectors > ZERO_MAX || !set_range(blk, r, range.sector, (uint64_t)range.sectors * BLOCK_SECTOR))
		return S_IOERR;
	return S_OK;
}

static uint8_t tell_serial(const struct virtio_blk *blk, struct virtio_blk_request *r)
{
	char serial[BLOCK_SERIAL_MAX] = {0};
	uint32_t size = r->data.left < BLOCK_SERIAL_MAX ? (uint32_t)r->data.left : BLOCK_SERIAL_MAX;

	memcpy(serial, blk->store.serial, strnlen(blk->store.serial, BLOCK_SERIAL_MAX));
	if (virtio_stream_write(&r->data, serial, size))
		return S_IOERR;
	r->written = size;
	return S_OK;
}

/* The status that it has before any data are moved; `left` is what is to be moved. */
static uint8_t begin(const struct virtio_blk *blk, struct virtio_blk_request *r, uint64_t sector)
{
	r->left = 0;
	switch (r->type) {
	case T_IN:
		return set_range(blk, r, sector, r->data.left) ? S_OK : S_IOERR;
	case T_OUT:
		return !blk->store.read_only && set_range(blk, r, sector, r->data.left) ? S_OK : S_IOERR;
	case T_FLUSH:
		return S_OK;
	case T_GET_ID:
		return tell_serial(blk, r);
	case T_DISCARD:
	case T_WRITE_ZEROES:
		return begin_zeroes(blk, r);
	default:
		return S_UNSUPP;
	}
}

/* 1: *r is a new request; 0: none; negative: the queue is broken. */
static int next_request(const struct virtio_blk *blk, struct virtqueue *q, struct virtio_blk_request *r)
{
	struct blk_header header;
	int got = virtqueue_take(q, &r->chain);

	if (got <= 0)
		return got;
	r->data = virtio_stream_out(blk->mem, &r->chain);
	if (!r->chain.in_size || virtio_stream_read(&r->data, &header, sizeof(header))) {
		q->broken = "a disk request without a header to read or a status to write";
		return -E_FORMAT;
	}
	r->type = header.type;
	r->written = 0;
	if (header.type == T_IN || header.type == T_GET_ID) {
		virtio_stream_go_on_in(&r->data, &r->chain);
		r->data.left--; /* the status */
	}
	r->status = begin(blk, r, header.sector);
	r->active = true;
	return 1;
}

/* --- carrying it out --------------------------------------------------------------------------------------------- */

static int move(const struct virtio_blk *blk, struct virtio_blk_request *r, uint64_t most, uint32_t *size)
{
	const struct block_store *s = &blk->store;
	const void *from;
	void *to;

	if (r->type == T_IN) {
		to = virtio_stream_next_in(&r->data, most, size);
		return to ? s->read(s->ctx, r->offset, to, *size) : -E_RANGE;
	}
	from = virtio_stream_next_out(&r->data, most, size);
	return from ? s->write(s->ctx, r->offset, from, *size) : -E_RANGE;
}

/* The next bytes that lie in one piece, or a step of zeroes. Answers how many. */
static uint64_t step(const struct virtio_blk *blk, struct virtio_blk_request *r)
{
	uint64_t room = STEP - r->offset % STEP, most = r->left < room ? r->left : room;
	uint32_t size = (uint32_t)most;
	int err;

	if (r->type == T_IN || r->type == T_OUT)
		err = move(blk, r, most, &size);
	else
		err = blk->store.zero(blk->store.ctx, r->offset, most);
	if (err) {
		r->status = S_IOERR;
		r->left = 0;
		return most;
	}
	r->offset += size;
	r->left -= size;
	r->written += r->type == T_IN ? size : 0;
	return size;
}

/* The status stands behind all data, and counts when there is no gap before it (2.7.8.2). */
static int finish(struct virtqueue *q, struct virtio_blk_request *r)
{
	r->active = false;
	virtio_stream_go_on_in(&r->data, &r->chain);
	virtio_stream_skip(&r->data, r->data.left - 1);
	if (virtio_stream_write(&r->data, &r->status, 1)) {
		q->broken = "a disk request's status lies where there is no memory";
		return -E_FORMAT;
	}
	return virtqueue_give(q, &r->chain, r->written + (r->written == r->chain.in_size - 1));
}

static int serve(void *dev, unsigned queue, struct virtqueue *q, uint64_t until, uint64_t *work)
{
	struct virtio_blk *blk = dev;
	struct virtio_blk_request *r = &blk->request[queue];
	int got = 1;

	if (r->active)
		virtio_stream_forget(&r->data);
	else
		got = next_request(blk, q, r);
	if (got <= 0)
		return got;
	*work = 2 * VIRTIO_PIECE; /* header and status */
	while (r->left) {
		*work += VIRTIO_PIECE + step(blk, r);
		if (r->left && (*work >= STEP || clock_now() >= until))
			return VIRTIO_SERVED;
	}
	got = finish(q, r);
	return got < 0 ? got : VIRTIO_SERVED;
}

static const struct virtio_kind disk_kind = {
    .name = "virtio-blk",
    .id = KIND_BLOCK,
    .class_code = CLASS_DISK,
    .features = features,
    .config_size = sizeof(struct virtio_blk_config),
    .config_read = config_read,
    .queue_reset = queue_reset,
    .serve = serve,
};

int virtio_blk_init(struct virtio_blk *blk, struct pci_host *host, const struct virtio_blk_setup *s)
{
	struct virtio_pci_setup transport = {
	    .kind = &disk_kind, .dev = blk, .queues = s->queues, .mem = s->mem, .kick = s->kick, .ctx = s->ctx};

	memset(blk, 0, sizeof(*blk));
	blk->store = s->store;
	blk->mem = s->mem;
	blk->queues = s->queues;
	return virtio_pci_init(&blk->transport, host, &transport);
}
