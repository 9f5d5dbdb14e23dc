/*
 * The devices of kvm_virtio.h: their PCI functions and common structure (VIRTIO 1.2, 4.1), split queues (2.7), and what
 * each does with a request (5.1, 5.2, 5.3). Called by kvm.c for accesses that are not its own devices'. Owns the
 * devices' state and the disk. Whatever the guest gives is read once and checked before it is used.
 */
/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE /* fwrite_unlocked */
#include "tests/bench/kvm_virtio.h"

#include <linux/pci_regs.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "tests/bench/kvm.h"

#define VENDOR	      0x1af4u
#define FIRST_ID      0x1040u /* of a device of kind 0 (4.1.2) */
#define CONFIG_PORT   0xcf8u
#define CONFIG_ENABLE (1u << 31)
#define CONFIG_BYTES  256u
#define FIRST_SLOT    1u

/* Device n's BAR 0: ports with doorbells. BAR 2: the common structure, and doorbells a page behind it. */
#define PORT_BAR    0xc000u
#define PORT_BYTES  64u
#define MEM_BAR	    0xc0000000u
#define MEM_BYTES   0x2000u
#define BELLS_AT    0x1000u
#define BELL_STRIDE 4u

#define DEVICES	     4u
#define QUEUES	     2u
#define QUEUE_MAX    64u
#define DISK_BYTES   (1u << 20)
#define SECTOR	     512u
#define AGREED	     (1u << (VIRTIO_F_VERSION_1 - 32)) /* of the features' second word; of the first none */
#define DESC_FLAGS   (VRING_DESC_F_NEXT | VRING_DESC_F_WRITE)
#define STATUS_BYTES 1u

enum { RECEIVE = 0, SEND = 1 }; /* 5.1.2, 5.3.2 */

struct queue {
	uint32_t address[6]; /* of table, available ring, used ring: low and high halves */
	uint16_t size, seen, given;
	bool enabled;
	const volatile struct vring_desc *desc;
	const volatile struct vring_avail *avail;
	volatile struct vring_used *used;
};

struct device {
	const struct kind *kind;
	struct device *peer; /* a card's */
	uint8_t config[CONFIG_BYTES];
	uint32_t feature_select, driver_select, accepted[2];
	uint8_t status;
	uint16_t select;
	struct queue queue[QUEUES];
};

struct kind {
	const char *name;
	uint16_t id, queues;
	void (*serve)(struct device *d, unsigned queue);
};

/* A buffer in guest memory; some of them, in order, of which what was taken is gone. */
struct part {
	uint8_t *at;
	uint32_t bytes;
};
struct span {
	struct part *part, *end;
	uint64_t bytes;
};
struct chain {
	uint16_t head;
	struct span readable, writable;
	struct part part[QUEUE_MAX];
};

static struct device devices[DEVICES];
static uint8_t *memory;
static size_t memory_bytes;
static uint32_t config_address;
static uint8_t disk[DISK_BYTES] __attribute__((aligned(4096)));

static const char *name_of(const struct device *d)
{
	return d->kind->name;
}

/*
 * In words, as the kernel of a host and Vireo do. A REP instruction costs one tick for each iteration on Bochs, so the
 * bytes that libc's memcpy moves would have this pay eight times as much.
 */
static void copy(uint8_t *to, const uint8_t *from, size_t bytes)
{
	size_t words = bytes / 8;

	bytes %= 8;
	__asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
}

/* --- queues --- */

/* Guest memory from `address` on, of which all bytes are there. */
static void *in_memory(const struct device *d, uint64_t address, uint64_t bytes, uint64_t align, const char *what)
{
	if (bytes > memory_bytes || address > memory_bytes - bytes)
		die("%s: %s of %llu bytes at 0x%llx; memory has 0x%zx", name_of(d), what, (unsigned long long)bytes,
		    (unsigned long long)address, memory_bytes);
	if (address % align)
		die("%s: %s at 0x%llx, expected a multiple of %llu", name_of(d), what, (unsigned long long)address,
		    (unsigned long long)align);
	return memory + address;
}

static uint64_t queue_address(const struct queue *q, unsigned n)
{
	return q->address[2 * n] | (uint64_t)q->address[2 * n + 1] << 32;
}

static void queue_enable(const struct device *d, struct queue *q)
{
	uint64_t size = q->size;

	if (size == 0 || size > QUEUE_MAX || size & (size - 1))
		die("%s: a queue of %u, expected a power of two up to %u", name_of(d), q->size, QUEUE_MAX);
	q->desc = in_memory(d, queue_address(q, 0), size * sizeof(*q->desc), VRING_DESC_ALIGN_SIZE, "a table");
	q->avail = in_memory(d, queue_address(q, 1), sizeof(*q->avail) + size * sizeof(*q->avail->ring),
			     VRING_AVAIL_ALIGN_SIZE, "an available ring");
	q->used = in_memory(d, queue_address(q, 2), sizeof(*q->used) + size * sizeof(*q->used->ring),
			    VRING_USED_ALIGN_SIZE, "a used ring");
	if (!(q->avail->flags & VRING_AVAIL_F_NO_INTERRUPT))
		die("%s: the driver wants interrupts, of which there are none", name_of(d));
	q->enabled = true;
}

/* The chain's parts: those that the device reads come first (2.7.4.2). */
static void read_chain(const struct device *d, const struct queue *q, struct chain *c)
{
	unsigned next = c->head, flags = VRING_DESC_F_NEXT;

	c->readable = (struct span){c->part, c->part, 0};
	c->writable = c->readable;
	for (unsigned parts = 0; flags & VRING_DESC_F_NEXT; parts++) {
		const volatile struct vring_desc *from = &q->desc[next];
		struct span *span = &c->writable;
		struct part part;

		if (next >= q->size)
			die("%s: descriptor %u in a queue of %u", name_of(d), next, q->size);
		if (parts == q->size)
			die("%s: a chain of more than the queue's %u descriptors", name_of(d), q->size);
		flags = from->flags;
		next = from->next;
		part.bytes = from->len;
		part.at = in_memory(d, from->addr, part.bytes, 1, "a buffer");
		if (flags & ~(unsigned)DESC_FLAGS)
			die("%s: a descriptor's flags are 0x%x, known are 0x%x", name_of(d), flags, DESC_FLAGS);
		if (!(flags & VRING_DESC_F_WRITE)) {
			if (c->writable.bytes)
				die("%s: a buffer to read behind one to write to", name_of(d));
			span = &c->readable;
			c->writable.part = c->writable.end = c->part + parts + 1;
		}
		*span->end++ = part;
		span->bytes += part.bytes;
	}
}

/* The next chain that the driver has offered. */
static bool queue_take(const struct device *d, struct queue *q, struct chain *c)
{
	uint16_t index = q->avail->idx;

	if (index == q->seen)
		return false;
	if ((uint16_t)(index - q->seen) > q->size)
		die("%s: %u chains are offered in a queue of %u", name_of(d), (uint16_t)(index - q->seen), q->size);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	c->head = q->avail->ring[q->seen++ % q->size];
	read_chain(d, q, c);
	return true;
}

/* `written`: bytes from the first buffer to write to on. */
static void queue_give(struct queue *q, const struct chain *c, uint32_t written)
{
	volatile struct vring_used_elem *elem = &q->used->ring[q->given % q->size];

	elem->id = c->head;
	elem->len = written;
	__atomic_thread_fence(__ATOMIC_RELEASE);
	q->used->idx = ++q->given;
}

/* The next bytes of a span, `most` at most; none when it is used up. */
static struct part span_take(struct span *s, uint32_t most)
{
	struct part taken = {NULL, 0};

	for (; s->part < s->end && !taken.bytes; s->part += s->part->bytes == 0) {
		taken = (struct part){s->part->at, s->part->bytes < most ? s->part->bytes : most};
		s->part->at += taken.bytes;
		s->part->bytes -= taken.bytes;
	}
	s->bytes -= taken.bytes;
	return taken;
}

/* The span must have as many. */
static void span_read(struct span *s, uint8_t *to, uint32_t bytes)
{
	while (bytes) {
		struct part part = span_take(s, bytes);

		copy(to, part.at, part.bytes);
		to += part.bytes;
		bytes -= part.bytes;
	}
}

static void span_write(struct span *s, const uint8_t *from, uint32_t bytes)
{
	while (bytes) {
		struct part part = span_take(s, bytes);

		copy(part.at, from, part.bytes);
		from += part.bytes;
		bytes -= part.bytes;
	}
}

/* --- what they do --- */

/* Header, data, status (5.2.6). */
static uint32_t disk_request(const struct device *d, struct chain *c)
{
	struct virtio_blk_outhdr header = {0};
	static const uint8_t ok = VIRTIO_BLK_S_OK;
	uint64_t bytes;

	if (c->readable.bytes < sizeof(header) || c->writable.bytes < STATUS_BYTES)
		die("%s: a request of %llu bytes to read and %llu to write", name_of(d),
		    (unsigned long long)c->readable.bytes, (unsigned long long)c->writable.bytes);
	span_read(&c->readable, (uint8_t *)&header, sizeof(header));
	bytes = header.type == VIRTIO_BLK_T_IN ? c->writable.bytes - STATUS_BYTES : c->readable.bytes;
	if (header.type != VIRTIO_BLK_T_IN && header.type != VIRTIO_BLK_T_OUT)
		die("%s: a request of type %u, which is not handled", name_of(d), header.type);
	if (bytes % SECTOR || bytes > DISK_BYTES || header.sector > (DISK_BYTES - bytes) / SECTOR)
		die("%s: a request for %llu bytes at sector %llu; it has %u of %u", name_of(d),
		    (unsigned long long)bytes, (unsigned long long)header.sector, DISK_BYTES / SECTOR, SECTOR);
	if (header.type == VIRTIO_BLK_T_OUT) {
		span_read(&c->readable, disk + header.sector * SECTOR, (uint32_t)bytes);
		if (c->writable.bytes != STATUS_BYTES)
			die("%s: %llu bytes for the status of a write", name_of(d),
			    (unsigned long long)c->writable.bytes);
		bytes = 0;
	} else {
		span_write(&c->writable, disk + header.sector * SECTOR, (uint32_t)bytes);
	}
	span_write(&c->writable, &ok, sizeof(ok));
	return (uint32_t)bytes + STATUS_BYTES;
}

static void disk_serve(struct device *d, unsigned queue)
{
	struct chain c;

	while (queue_take(d, &d->queue[queue], &c))
		queue_give(&d->queue[queue], &c, disk_request(d, &c));
}

/* Into the other card's next buffer; if it has none, the frame is lost, as on a wire. */
static void card_deliver(const struct device *d, struct chain *sent)
{
	struct queue *q = &d->peer->queue[RECEIVE];
	struct virtio_net_hdr_v1 header = {0};
	struct chain c;
	uint32_t written;

	if (!(d->peer->status & VIRTIO_CONFIG_S_DRIVER_OK) || !q->enabled || !queue_take(d->peer, q, &c))
		return;
	if (sent->readable.bytes < sizeof(header) || sent->readable.bytes > c.writable.bytes)
		die("%s: a header and frame of %llu bytes, for a buffer of %llu", name_of(d),
		    (unsigned long long)sent->readable.bytes, (unsigned long long)c.writable.bytes);
	written = (uint32_t)sent->readable.bytes;
	span_read(&sent->readable, (uint8_t *)&header, sizeof(header));
	if (header.flags || header.gso_type)
		die("%s: a frame with flags 0x%x, GSO 0x%x, which nobody agreed on", name_of(d), header.flags,
		    header.gso_type);
	header.num_buffers = 1;
	span_write(&c.writable, (const uint8_t *)&header, sizeof(header));
	while (sent->readable.bytes) {
		struct part part = span_take(&sent->readable, ~0u);

		span_write(&c.writable, part.at, part.bytes);
	}
	queue_give(q, &c, written);
}

static void card_serve(struct device *d, unsigned queue)
{
	struct chain c;

	if (queue != SEND)
		return;
	while (queue_take(d, &d->queue[queue], &c)) {
		card_deliver(d, &c);
		queue_give(&d->queue[queue], &c, 0);
	}
}

static void console_serve(struct device *d, unsigned queue)
{
	struct chain c;

	if (queue != SEND)
		return;
	while (queue_take(d, &d->queue[queue], &c)) {
		while (c.readable.bytes) {
			struct part part = span_take(&c.readable, ~0u);

			fwrite_unlocked(part.at, 1, part.bytes, stdout);
		}
		queue_give(&d->queue[queue], &c, 0);
	}
}

static const struct kind kinds[DEVICES] = {
    {"disk", VIRTIO_ID_BLOCK, 1, disk_serve},
    {"first card", VIRTIO_ID_NET, 2, card_serve},
    {"second card", VIRTIO_ID_NET, 2, card_serve},
    {"console", VIRTIO_ID_CONSOLE, 2, console_serve},
};

/* A doorbell names its queue by where it is, not by what is written. */
static void ring(struct device *d, unsigned offset)
{
	unsigned queue = offset / BELL_STRIDE;

	if (queue >= d->kind->queues || !d->queue[queue].enabled || !(d->status & VIRTIO_CONFIG_S_DRIVER_OK))
		die("%s: a doorbell of queue %u, which is not in use", name_of(d), queue);
	d->kind->serve(d, queue);
}

/* --- the common structure (4.1.4.3) --- */

static void reset(struct device *d)
{
	d->feature_select = d->driver_select = d->accepted[0] = d->accepted[1] = 0;
	d->status = 0;
	d->select = 0;
	for (unsigned i = 0; i < QUEUES; i++)
		d->queue[i] = (struct queue){.size = QUEUE_MAX};
}

static void set_status(struct device *d, uint8_t status)
{
	if (status == 0)
		reset(d);
	else if (status & VIRTIO_CONFIG_S_FEATURES_OK && (d->accepted[0] || d->accepted[1] != AGREED))
		d->status = (uint8_t)(status & ~VIRTIO_CONFIG_S_FEATURES_OK);
	else
		d->status = status;
}

static uint64_t common_read(const struct device *d, unsigned offset, unsigned bytes)
{
	const struct queue *q = &d->queue[d->select];
	struct virtio_pci_common_cfg common = {
	    .device_feature_select = d->feature_select,
	    .device_feature = d->feature_select == 1 ? AGREED : 0,
	    .guest_feature_select = d->driver_select,
	    .guest_feature = d->accepted[d->driver_select],
	    .msix_config = VIRTIO_MSI_NO_VECTOR,
	    .num_queues = d->kind->queues,
	    .device_status = d->status,
	    .queue_select = d->select,
	    .queue_size = q->size,
	    .queue_msix_vector = VIRTIO_MSI_NO_VECTOR,
	    .queue_enable = q->enabled,
	    .queue_notify_off = d->select,
	};
	uint64_t value = 0;

	memcpy(&common.queue_desc_lo, q->address, sizeof(q->address));
	if (offset > sizeof(common) - bytes)
		return ~0ull;
	memcpy(&value, (const uint8_t *)&common + offset, bytes);
	return value;
}

static void common_write(struct device *d, unsigned offset, uint32_t value)
{
	struct queue *q = &d->queue[d->select];

	if (q->enabled && offset >= VIRTIO_PCI_COMMON_Q_SIZE)
		die("%s: queue %u is changed while it is enabled", name_of(d), d->select);
	switch (offset) {
	case VIRTIO_PCI_COMMON_DFSELECT:
		d->feature_select = value;
		break;
	case VIRTIO_PCI_COMMON_GFSELECT:
		if (value > 1)
			die("%s: there is no word %u of features", name_of(d), value);
		d->driver_select = value;
		break;
	case VIRTIO_PCI_COMMON_GF:
		d->accepted[d->driver_select] = value;
		break;
	case VIRTIO_PCI_COMMON_STATUS:
		set_status(d, (uint8_t)value);
		break;
	case VIRTIO_PCI_COMMON_Q_SELECT:
		if (value >= d->kind->queues)
			die("%s: there is no queue %u", name_of(d), value);
		d->select = (uint16_t)value;
		break;
	case VIRTIO_PCI_COMMON_Q_SIZE:
		q->size = (uint16_t)value;
		break;
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		queue_enable(d, q);
		break;
	default:
		if (offset < VIRTIO_PCI_COMMON_Q_DESCLO || offset > VIRTIO_PCI_COMMON_Q_USEDHI || offset % 4)
			die("%s: offset 0x%x of the common structure can't be written to", name_of(d), offset);
		q->address[(offset - VIRTIO_PCI_COMMON_Q_DESCLO) / 4] = value;
	}
}

/* --- the PCI functions --- */

static void put16(struct device *d, unsigned offset, uint16_t value)
{
	memcpy(d->config + offset, &value, sizeof(value));
}

static void put32(struct device *d, unsigned offset, uint32_t value)
{
	memcpy(d->config + offset, &value, sizeof(value));
}

/* Where a structure is (4.1.4); the next capability's place. */
static unsigned put_capability(struct device *d, unsigned at, const struct virtio_pci_cap *where)
{
	struct virtio_pci_notify_cap cap = {.cap = *where, .notify_off_multiplier = BELL_STRIDE};
	bool notify = where->cfg_type == VIRTIO_PCI_CAP_NOTIFY_CFG;

	cap.cap.cap_vndr = PCI_CAP_ID_VNDR;
	cap.cap.cap_len = notify ? sizeof(cap) : sizeof(cap.cap);
	cap.cap.cap_next = d->config[PCI_CAPABILITY_LIST];
	memcpy(d->config + at, &cap, cap.cap.cap_len);
	d->config[PCI_CAPABILITY_LIST] = (uint8_t)at;
	return at + cap.cap.cap_len;
}

static void make_function(struct device *d, unsigned n)
{
	struct virtio_pci_cap places[] = {
	    {.cfg_type = VIRTIO_PCI_CAP_NOTIFY_CFG, .bar = 2, .offset = BELLS_AT, .length = QUEUES * BELL_STRIDE},
	    {.cfg_type = VIRTIO_PCI_CAP_NOTIFY_CFG, .bar = 0, .length = QUEUES * BELL_STRIDE},
	    {.cfg_type = VIRTIO_PCI_CAP_COMMON_CFG, .bar = 2, .length = sizeof(struct virtio_pci_common_cfg)},
	};
	unsigned at = PCI_STD_HEADER_SIZEOF;

	put16(d, PCI_VENDOR_ID, VENDOR);
	put16(d, PCI_DEVICE_ID, (uint16_t)(FIRST_ID + d->kind->id));
	put16(d, PCI_STATUS, PCI_STATUS_CAP_LIST);
	put32(d, PCI_BASE_ADDRESS_0, (PORT_BAR + n * PORT_BYTES) | PCI_BASE_ADDRESS_SPACE_IO);
	put32(d, PCI_BASE_ADDRESS_2, MEM_BAR + n * MEM_BYTES);
	for (unsigned i = 0; i < sizeof(places) / sizeof(*places); i++)
		at = put_capability(d, at, &places[i]);
}

/* The function that the address register names; NULL where none is. */
static struct device *addressed(void)
{
	unsigned slot = config_address >> 11 & 31, n = slot - FIRST_SLOT;
	bool bus0_function0 = (config_address & 0xff0700) == 0;

	return config_address & CONFIG_ENABLE && bus0_function0 && n < DEVICES ? &devices[n] : NULL;
}

static uint32_t config_read(void)
{
	const struct device *d = addressed();
	uint32_t value = ~0u;

	if (d)
		memcpy(&value, d->config + (config_address & 0xfc), sizeof(value));
	return value;
}

static void config_write(uint32_t value)
{
	struct device *d = addressed();
	unsigned offset = config_address & 0xfc;

	if (d && offset != PCI_COMMAND)
		die("%s: configuration register 0x%x can't be written to", name_of(d), offset);
	if (d)
		put16(d, PCI_COMMAND, (uint16_t)value);
}

/* --- accesses --- */

void virtio_init(uint8_t *guest_memory, size_t bytes)
{
	memory = guest_memory;
	memory_bytes = bytes;
	for (unsigned n = 0; n < DEVICES; n++) {
		devices[n] = (struct device){.kind = &kinds[n]};
		reset(&devices[n]);
		make_function(&devices[n], n);
	}
	devices[1].peer = &devices[2];
	devices[2].peer = &devices[1];
}

uint32_t virtio_read_port(unsigned port, unsigned bytes)
{
	if (port == CONFIG_PORT && bytes == 4)
		return config_address;
	return port == CONFIG_PORT + 4 && bytes == 4 ? config_read() : ~0u;
}

void virtio_write_port(unsigned port, unsigned bytes, uint32_t value)
{
	unsigned offset = port - PORT_BAR;

	if (offset < DEVICES * PORT_BYTES)
		ring(&devices[offset / PORT_BYTES], offset % PORT_BYTES);
	else if (port == CONFIG_PORT && bytes == 4)
		config_address = value;
	else if (port == CONFIG_PORT + 4 && bytes == 4)
		config_write(value);
}

uint64_t virtio_read_memory(uint64_t address, unsigned bytes)
{
	uint64_t offset = address - MEM_BAR;

	return offset < DEVICES * MEM_BYTES
		   ? common_read(&devices[offset / MEM_BYTES], (unsigned)(offset % MEM_BYTES), bytes)
		   : ~0ull;
}

void virtio_write_memory(uint64_t address, unsigned bytes, uint64_t value)
{
	uint64_t offset = address - MEM_BAR;
	unsigned at = (unsigned)(offset % MEM_BYTES);

	if (offset >= DEVICES * MEM_BYTES)
		return;
	if (at >= BELLS_AT)
		ring(&devices[offset / MEM_BYTES], at - BELLS_AT);
	else if (bytes <= sizeof(uint32_t))
		common_write(&devices[offset / MEM_BYTES], at, (uint32_t)value);
}
