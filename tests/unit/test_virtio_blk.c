/*
 * Unit tests of the virtual disk behind its PCI transport: what its configuration says, every kind of request in parts
 * as odd as a driver may make them, requests that ask for what is not there, long ones that take several turns, and
 * those that are cut off. VIRTIO 1.2, 5.2.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/virtio_blk.c hv/dev/virtio_stream.c hv/dev/virtio_pci.c hv/dev/virtqueue.c hv/guest_mem.c */
/* links: hv/dev/pci.c hv/dev/pci_host.c hv/bus.c hv/timer.c hv/lib/heap.c */
#include "tests/unit/virtio_fixture.h"

#include "hv/dev/virtio_blk.h"

#define QUEUES	   2
#define QUEUE_SIZE 128
#define SECTORS	   1000u
#define DISK_SIZE  (SECTORS * BLOCK_SECTOR)
#define BUDGET	   (64 * KIB)
#define SEGMENTS   128 /* seg_max */
#define ZERO_MAX   131072u

/* Where a test's request is if it does not say. */
#define HEADER DATA
#define STATUS (DATA + 0x100)
#define RANGE  (DATA + 0x200)
#define TABLE  (DATA + 0x1000)
#define BUFFER (DATA + 0x8000)
#define ROOM   (RAM_END - BUFFER)
#define NONE   0x40000000ULL /* no memory */

enum { IN = 0, OUT = 1, FLUSH = 4, GET_ID = 8, DISCARD = 11, WRITE_ZEROES = 13 };
enum { OK = 0, IOERR = 1, UNSUPP = 2, UNTOUCHED = 0xEE };

struct header {
	uint32_t type, reserved;
	uint64_t sector;
};

struct range {
	uint64_t sector;
	uint32_t sectors, flags;
};

static struct virtio_blk blk;
static uint8_t disk[DISK_SIZE], copy[DISK_SIZE];
static const char *serial;

/* What was asked of the store. */
static unsigned reads, writes, zeroes;
static uint64_t moved, zero_at[64], zero_size[64];
static bool broken_store;

static void check_range(uint64_t offset, uint64_t size)
{
	assert_true(size > 0 && offset <= DISK_SIZE && size <= DISK_SIZE - offset);
	moved += size;
}

static int store_read(void *ctx, uint64_t offset, void *to, size_t size)
{
	assert_ptr_equal(ctx, disk);
	check_range(offset, size);
	reads++;
	if (broken_store)
		return -E_NOMEM;
	memcpy(to, disk + offset, size);
	return 0;
}

static int store_write(void *ctx, uint64_t offset, const void *from, size_t size)
{
	assert_ptr_equal(ctx, disk);
	check_range(offset, size);
	writes++;
	if (broken_store)
		return -E_NOMEM;
	memcpy(disk + offset, from, size);
	return 0;
}

static int store_zero(void *ctx, uint64_t offset, uint64_t size)
{
	assert_ptr_equal(ctx, disk);
	check_range(offset, size);
	assert_true(zeroes < ARRAY_SIZE(zero_at));
	zero_at[zeroes] = offset;
	zero_size[zeroes++] = size;
	if (broken_store)
		return -E_NOMEM;
	memset(disk + offset, 0, size);
	return 0;
}

static void plug_in(unsigned queues, bool read_only)
{
	struct virtio_blk_setup s = {.store = {.ctx = disk,
					       .size = DISK_SIZE,
					       .read_only = read_only,
					       .serial = serial,
					       .read = store_read,
					       .write = store_write,
					       .zero = store_zero},
				     .queues = queues,
				     .mem = &mem,
				     .kick = kick};

	assert_int_equal(virtio_fixture_reset(), 0);
	assert_int_equal(virtio_blk_init(&blk, &host, &s), 0);
	find_registers();
	enable_device();
}

static void start(unsigned queues, bool read_only, uint64_t features)
{
	plug_in(queues, read_only);
	negotiate(features);
	for (unsigned n = 0; n < queues; n++)
		set_up_queue(n, QUEUE_SIZE, (uint16_t)(n + 1));
	add_status(DRIVER_OK);
}

static void fill_disk(void)
{
	for (unsigned i = 0; i < DISK_SIZE; i++)
		copy[i] = disk[i] = (uint8_t)(i / BLOCK_SECTOR * 7 + i);
}

static int setup(void **state)
{
	(void)state;
	serial = "vireo-0";
	broken_store = false;
	reads = writes = zeroes = 0;
	moved = 0;
	fill_disk();
	start(QUEUES, false, VIRTIO_F_INDIRECT_DESC | VIRTIO_F_RING_RESET);
	return 0;
}

/* --- requests --- */

static struct virtqueue_part part(uint64_t gpa, uint32_t size)
{
	return (struct virtqueue_part){GPA(gpa), size};
}

static struct virtqueue_part header(uint32_t type, uint64_t sector)
{
	*(struct header *)at(HEADER) = (struct header){type, 0, sector};
	return part(HEADER, 16);
}

static struct virtqueue_part no_status(void)
{
	*(uint8_t *)at(STATUS) = UNTOUCHED;
	return part(STATUS, 1);
}

static uint8_t ended_with(void)
{
	return *(uint8_t *)at(STATUS);
}

static void run(unsigned n)
{
	notify(n);
	work(&blk.transport, BUDGET);
}

/* The one request of queue n is done, and `expected` bytes were written. */
static void assert_used(unsigned n, uint32_t expected)
{
	uint32_t written;

	assert_int_not_equal(take_used(n, &written), -1);
	assert_int_equal(written, expected);
	assert_int_equal(take_used(n, &written), -1);
}

/* Header, data of one part, status; its status. */
static uint8_t ask(uint32_t type, uint64_t sector, uint32_t size, uint32_t written)
{
	bool reads_data = type == IN || type == GET_ID;
	struct virtqueue_part p[3] = {header(type, sector), part(BUFFER, size), no_status()};

	if (size) {
		offer(0, p, reads_data ? 1 : 2, reads_data ? 2 : 1);
	} else {
		p[1] = p[2];
		offer(0, p, 1, 1);
	}
	run(0);
	assert_used(0, written);
	return ended_with();
}

static uint8_t ask_range(uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags)
{
	*(struct range *)at(BUFFER) = (struct range){sector, sectors, flags};
	return ask(type, 0, sizeof(struct range), 1);
}

static void assert_disk_unchanged(void)
{
	assert_memory_equal(disk, copy, DISK_SIZE);
	assert_int_equal(writes + zeroes, 0);
}

/* --- what it says of itself --- */

static void what_it_is(void **state)
{
	(void)state;
	assert_int_equal(config_get(SLOT, 0, 4), 0x10421AF4);
	assert_int_equal(config_get(SLOT, 8, 4) >> 8, 0x010000);
	assert_int_equal(reg_get(common, C_NUM_QUEUES, 2), QUEUES);
	assert_int_equal(config_get(SLOT, msix_capability() + 2, 2) & 0x7FF, QUEUES);
}

/* 5.2.4, figure of struct virtio_blk_config: offsets by hand. */
static void configuration_at_its_offsets(void **state)
{
	(void)state;
	assert_int_equal(reg_get(config, 0, 8), SECTORS);
	assert_int_equal(reg_get(config, 0, 4), SECTORS); /* as Linux reads it, by halves */
	assert_int_equal(reg_get(config, 4, 4), 0);
	assert_int_equal(reg_get(config, 8, 4), 0); /* size_max */
	assert_int_equal(reg_get(config, 12, 4), SEGMENTS);
	assert_int_equal(reg_get(config, 16, 2), 0); /* cylinders: less than one */
	assert_int_equal(reg_get(config, 18, 1), 16);
	assert_int_equal(reg_get(config, 19, 1), 63);
	assert_int_equal(reg_get(config, 20, 4), 512);
	assert_int_equal(reg_get(config, 24, 8), 0);	  /* topology */
	assert_int_equal(reg_get(config, 32, 2), 0);	  /* writeback */
	assert_int_equal(reg_get(config, 34, 2), QUEUES); /* num_queues */
	assert_int_equal(reg_get(config, 36, 4), ZERO_MAX);
	assert_int_equal(reg_get(config, 40, 4), 1); /* max_discard_seg */
	assert_int_equal(reg_get(config, 44, 4), 1); /* discard_sector_alignment */
	assert_int_equal(reg_get(config, 48, 4), ZERO_MAX);
	assert_int_equal(reg_get(config, 52, 4), 1);
	assert_int_equal(reg_get(config, 56, 1), 1); /* write_zeroes_may_unmap */
	assert_int_equal(reg_get(config, 57, 1), 0);
	assert_int_equal(config.length, 60);
	reg_set(config, 0, 8, 5);
	reg_set(config, 32, 1, 1);
	assert_int_equal(reg_get(config, 0, 8), SECTORS);
	assert_int_equal(reg_get(config, 32, 1), 0);
}

static void features_by_kind_of_disk(void **state)
{
	const uint64_t ring = 0x05ULL << 32 | BIT(28) | BIT(29) | BIT(40), all = BIT(2) | BIT(4) | BIT(6) | BIT(9);

	(void)state;
	assert_int_equal(offered(), ring | all | BIT(12) | BIT(13) | BIT(14));
	plug_in(1, false);
	assert_int_equal(offered(), ring | all | BIT(13) | BIT(14));
	plug_in(VIRTIO_BLK_MAX_QUEUES, true);
	assert_int_equal(offered(), ring | all | BIT(12) | BIT(5));
}

static void geometry_has_an_end(void **state)
{
	(void)state;
	blk.store.size = 2 * GIB;
	assert_int_equal(reg_get(config, 16, 2), 2 * GIB / 512 / 16 / 63);
	blk.store.size = 64 * GIB;
	assert_int_equal(reg_get(config, 16, 2), 65535);
	assert_int_equal(reg_get(config, 0, 8), 64 * GIB / 512);
}

/* --- reads and writes --- */

static void reading(void **state)
{
	(void)state;
	assert_int_equal(ask(IN, 3, 1024, 1025), OK);
	assert_memory_equal(at(BUFFER), disk + 3 * 512, 1024);
	assert_int_equal(*(uint8_t *)at(BUFFER + 1024), 0);
	assert_int_equal(ask(IN, SECTORS - 1, 512, 513), OK);
	assert_memory_equal(at(BUFFER), disk + DISK_SIZE - 512, 512);
	assert_int_equal(ask(IN, SECTORS, 0, 1), OK); /* nothing of nothing */
	assert_disk_unchanged();
}

static void writing(void **state)
{
	(void)state;
	memset(at(BUFFER), 0x5A, 1024);
	memset(copy + 5 * 512, 0x5A, 1024);
	assert_int_equal(ask(OUT, 5, 1024, 1), OK);
	assert_memory_equal(disk, copy, DISK_SIZE);
	memset(copy + DISK_SIZE - 512, 0x5A, 512);
	assert_int_equal(ask(OUT, SECTORS - 1, 512, 1), OK);
	assert_memory_equal(disk, copy, DISK_SIZE);
	assert_int_equal(reads, 0);
}

static unsigned random_below(unsigned n)
{
	static uint64_t x = 88172645463325252ULL;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return (unsigned)(x >> 32) % n;
}

/* Cuts [gpa, gpa + size) into parts of random sizes, at most `most` of them; how many. */
static unsigned cut(struct virtqueue_part *p, unsigned most, uint64_t gpa, uint32_t size)
{
	unsigned count = 0;

	while (size) {
		uint32_t n = count + 1 == most ? size : 1 + random_below(size < 700 ? size : 700);

		p[count++] = part(gpa, n);
		gpa += n;
		size -= n;
	}
	return count;
}

/* 2.6.4.1: header, data and status are bytes one behind the other; the parts say nothing. */
static void a_read_in_any_parts(void **state)
{
	struct virtqueue_part p[QUEUE_SIZE];

	(void)state;
	for (unsigned i = 0; i < 300; i++) {
		uint32_t size = 512 * (1 + random_below(8)), before = random_below(5) ? 0 : 9;
		unsigned sector = random_below(SECTORS - 8), parts_out, parts_in;

		header(IN, sector);
		memset(at(BUFFER), UNTOUCHED, size + 2);
		/* what the driver lets the device read behind the header, it does not look at */
		parts_out = cut(p, 1 + random_below(17), HEADER, 16 + before);
		/* the status may be the last byte of a part with data, or have one for itself */
		parts_in = cut(p + parts_out, 1 + random_below(20), BUFFER, size + 1);
		offer(0, p, parts_out, parts_in);
		run(0);
		assert_used(0, size + 1);
		assert_memory_equal(at(BUFFER), disk + sector * 512, size);
		assert_int_equal(*(uint8_t *)at(BUFFER + size), OK);
		assert_int_equal(*(uint8_t *)at(BUFFER + size + 1), UNTOUCHED);
	}
	assert_disk_unchanged();
}

static void a_write_in_any_parts(void **state)
{
	struct virtqueue_part p[QUEUE_SIZE];

	(void)state;
	for (unsigned i = 0; i < 300; i++) {
		uint32_t size = 512 * (1 + random_below(8)), room = random_below(3) ? 1 : 12;
		unsigned sector = random_below(SECTORS - 8), parts_out;
		uint8_t *bytes = at(BUFFER);

		/* header and data adjoin, so that a part may hold the end of one and the beginning of the other */
		*(struct header *)bytes = (struct header){OUT, 0, sector};
		for (unsigned n = 0; n < size; n++)
			copy[sector * 512 + n] = bytes[16 + n] = (uint8_t)random_below(256);
		memset(at(STATUS), UNTOUCHED, 16);
		parts_out = cut(p, 1 + random_below(40), BUFFER, 16 + size);
		offer(0, p, parts_out, cut(p + parts_out, 3, STATUS, room));
		run(0);
		/* the status is the last byte that may be written, and what is before it stays */
		assert_used(0, room == 1);
		assert_int_equal(*(uint8_t *)at(STATUS + room - 1), OK);
		for (unsigned n = 0; n < 16; n++)
			assert_true(n == room - 1 || *(uint8_t *)at(STATUS + n) == UNTOUCHED);
		assert_memory_equal(disk, copy, DISK_SIZE);
	}
}

/* As many as the disk says that it takes, through an indirect table. */
static void the_most_segments(void **state)
{
	struct desc *table = at(TABLE), *desc = at(desc_area(0));
	struct virtqueue_part indirect = part(TABLE, (SEGMENTS + 2) * sizeof(struct desc));

	(void)state;
	header(IN, 7);
	no_status();
	table[0] = (struct desc){HEADER, 16, NEXT, 1};
	for (unsigned i = 0; i < SEGMENTS; i++) /* in reverse order, apart */
		table[i + 1] = (struct desc){BUFFER + (SEGMENTS - 1 - i) * 1024, 512, NEXT | WRITE, (uint16_t)(i + 2)};
	table[SEGMENTS + 1] = (struct desc){STATUS, 1, WRITE, 0};
	desc[offer(0, &indirect, 1, 0)].flags = 4;
	run(0);
	assert_used(0, SEGMENTS * 512 + 1);
	assert_int_equal(ended_with(), OK);
	for (unsigned i = 0; i < SEGMENTS; i++)
		assert_memory_equal(at(BUFFER + (SEGMENTS - 1 - i) * 1024), disk + (7 + i) * 512, 512);
}

static void beyond_the_end(void **state)
{
	static const struct {
		uint64_t sector;
		uint32_t size;
	} bad[] = {
	    {SECTORS, 512},
	    {SECTORS - 1, 1024},
	    {SECTORS + 1, 0},
	    {UINT64_MAX, 512},
	    {UINT64_MAX, 0},
	    {UINT64_MAX - 1, 1024},
	    {UINT64_MAX / 512 + 1, 512}, /* 0, if bytes were counted in 64 bits */
	    {0, 511},			 /* no sectors */
	    {0, 513},
	    {0, 1},
	};

	(void)state;
	memset(at(BUFFER), UNTOUCHED, 2048);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(ask(IN, bad[i].sector, bad[i].size, bad[i].size ? 0 : 1), IOERR);
		assert_int_equal(ask(OUT, bad[i].sector, bad[i].size, 1), IOERR);
	}
	for (unsigned i = 0; i < 2048; i++)
		assert_int_equal(*(uint8_t *)at(BUFFER + i), UNTOUCHED);
	assert_int_equal(reads, 0);
	assert_disk_unchanged();
}

static void a_disk_that_is_read_only(void **state)
{
	(void)state;
	start(1, true, BIT(5));
	assert_int_equal(ask(OUT, 0, 512, 1), IOERR);
	assert_int_equal(ask_range(DISCARD, 0, 8, 0), IOERR);
	assert_int_equal(ask_range(WRITE_ZEROES, 0, 8, 0), IOERR);
	assert_disk_unchanged();
	assert_int_equal(ask(IN, 0, 512, 513), OK);
	assert_int_equal(ask(FLUSH, 0, 0, 1), OK);
}

/* Its data lie where there is no memory: the disk is not to blame, but the request failed. */
static void data_outside_of_memory(void **state)
{
	struct virtqueue_part in[] = {header(IN, 0), part(BUFFER, 512), part(NONE, 512), part(BUFFER + 512, 512),
				      no_status()};
	struct virtqueue_part all_out[] = {header(OUT, 0), part(NONE, 512), no_status()};

	(void)state;
	header(IN, 0);
	offer(0, in, 1, 4);
	run(0);
	assert_used(0, 512); /* so far it was written */
	assert_int_equal(ended_with(), IOERR);
	assert_memory_equal(at(BUFFER), disk, 512);
	header(OUT, 0);
	offer(0, all_out, 2, 1);
	run(0);
	assert_used(0, 1);
	assert_int_equal(ended_with(), IOERR);
	assert_disk_unchanged();
}

static void a_store_that_fails(void **state)
{
	(void)state;
	broken_store = true;
	assert_int_equal(ask(IN, 0, 1024, 0), IOERR);
	assert_int_equal(ask(OUT, 0, 1024, 1), IOERR);
	assert_int_equal(ask_range(DISCARD, 0, 300, 0), IOERR);
	assert_int_equal(ask_range(WRITE_ZEROES, 0, 300, 0), IOERR);
	assert_int_equal(reads, 1); /* nothing after the first failure */
	assert_int_equal(writes, 1);
	assert_int_equal(zeroes, 2);
	assert_memory_equal(disk, copy, DISK_SIZE);
}

/* --- other requests --- */

static void flush(void **state)
{
	(void)state;
	assert_int_equal(ask(FLUSH, 0, 0, 1), OK);
	assert_int_equal(ask(FLUSH, 0, 512, 1), OK); /* data that nobody needs */
	assert_int_equal(reads, 0);
	assert_disk_unchanged();
}

static void its_serial_number(void **state)
{
	(void)state;
	memset(at(BUFFER), UNTOUCHED, 64);
	assert_int_equal(ask(GET_ID, 0, 20, 21), OK);
	assert_memory_equal(at(BUFFER), "vireo-0\0\0\0\0\0\0\0\0\0\0\0\0\0\xEE", 21);
	assert_int_equal(ask(GET_ID, 99999, 40, 20), OK); /* more room than it needs */
	assert_int_equal(*(uint8_t *)at(BUFFER + 20), UNTOUCHED);
	memset(at(BUFFER), UNTOUCHED, 64);
	assert_int_equal(ask(GET_ID, 0, 5, 6), OK);
	assert_memory_equal(at(BUFFER), "vireo\xEE", 6);
	blk.store.serial = "0123456789abcdefghijKLM"; /* no end within 20 characters: none is needed */
	assert_int_equal(ask(GET_ID, 0, 20, 21), OK);
	assert_memory_equal(at(BUFFER), "0123456789abcdefghij\xEE", 21);
}

static void discarding_and_zeroing(void **state)
{
	static const uint32_t type[] = {DISCARD, WRITE_ZEROES, WRITE_ZEROES}, flags[] = {0, 0, 1};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(type); i++) {
		fill_disk();
		memset(copy + 10 * 512, 0, 20 * 512);
		assert_int_equal(ask_range(type[i], 10, 20, flags[i]), OK);
		assert_memory_equal(disk, copy, DISK_SIZE);
		memset(copy + DISK_SIZE - 512, 0, 512);
		assert_int_equal(ask_range(type[i], SECTORS - 1, 1, flags[i]), OK);
		assert_memory_equal(disk, copy, DISK_SIZE);
		assert_int_equal(ask_range(type[i], SECTORS, 0, flags[i]), OK);
		assert_memory_equal(disk, copy, DISK_SIZE);
	}
	assert_int_equal(reads + writes, 0);
}

/* Cut where a store's clusters end, so that those that are whole can be given back. */
static void zeroes_come_in_whole_clusters(void **state)
{
	(void)state;
	assert_int_equal(ask_range(DISCARD, 8, 700, 0), OK);
	for (unsigned i = 1; i < zeroes; i++) {
		assert_int_equal(zero_at[i], zero_at[i - 1] + zero_size[i - 1]);
		assert_int_equal(zero_at[i] % (64 * KIB), 0);
	}
	assert_int_equal(moved, 700 * 512);
}

/* 5.2.6.2 */
static void ranges_that_are_refused(void **state)
{
	static const uint32_t type[] = {DISCARD, WRITE_ZEROES};

	(void)state;
	assert_int_equal(ask_range(DISCARD, 0, 8, 1), UNSUPP);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(ask_range(type[i], 0, 8, 2), UNSUPP);
		assert_int_equal(ask_range(type[i], 0, 8, 0x80000000), UNSUPP);
		assert_int_equal(ask_range(type[i], SECTORS, 1, 0), IOERR);
		assert_int_equal(ask_range(type[i], 1, SECTORS, 0), IOERR);
		assert_int_equal(ask_range(type[i], UINT64_MAX, 2, 0), IOERR);
		assert_int_equal(ask_range(type[i], 0, UINT32_MAX, 0), IOERR);
		memset(at(BUFFER), 0, 32);
		assert_int_equal(ask(type[i], 0, 0, 1), IOERR); /* no range */
		assert_int_equal(ask(type[i], 0, 15, 1), IOERR);
		assert_int_equal(ask(type[i], 0, 32, 1), IOERR); /* two */
	}
	blk.store.size = 1 * GIB; /* what lies on the disk, but is more than a request may ask for */
	assert_int_equal(ask_range(WRITE_ZEROES, 0, ZERO_MAX + 1, 0), IOERR);
	assert_disk_unchanged();
}

static void a_range_in_parts(void **state)
{
	struct virtqueue_part p[20];
	unsigned parts;

	(void)state;
	for (unsigned i = 1; i < 18; i++) {
		*(struct header *)at(BUFFER) = (struct header){WRITE_ZEROES, 0, 12345};
		*(struct range *)at(BUFFER + 16) = (struct range){i, 1, 0};
		parts = cut(p, i, BUFFER, 32);
		p[parts] = no_status();
		offer(0, p, parts, 1);
		run(0);
		assert_used(0, 1);
		assert_int_equal(ended_with(), OK);
		memset(copy + i * 512, 0, 512);
	}
	assert_memory_equal(disk, copy, DISK_SIZE);
}

static void what_it_does_not_know(void **state)
{
	static const uint32_t type[] = {2, 3, 5, 7, 9, 10, 12, 14, 15, 24, 0x80000000, 0x80000001, 0xFFFFFFFF};
	struct virtqueue_part in[] = {header(99, 0), part(BUFFER, 512), no_status()};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(type); i++) {
		assert_int_equal(ask(type[i], 0, 512, 1), UNSUPP);
		assert_int_equal(ask(type[i], UINT64_MAX, 0, 1), UNSUPP);
	}
	header(99, 0);
	memset(at(BUFFER), UNTOUCHED, 512);
	offer(0, in, 1, 2);
	run(0);
	assert_used(0, 0); /* the data were not written; the status stands behind them */
	assert_int_equal(ended_with(), UNSUPP);
	assert_int_equal(*(uint8_t *)at(BUFFER), UNTOUCHED);
	assert_int_equal(reads, 0);
	assert_disk_unchanged();
}

/* --- long requests --- */

#define LONG (256 * KIB) /* four turns */

static void offer_long(unsigned n, uint32_t type)
{
	struct virtqueue_part p[] = {header(type, 3), part(BUFFER, LONG), no_status()};

	assert_true(LONG <= ROOM);
	offer(n, p, type == IN ? 1 : 2, type == IN ? 2 : 1);
	notify(n);
}

static void a_long_request_takes_turns(void **state)
{
	unsigned turns = 1;

	(void)state;
	offer_long(0, IN);
	while (virtio_pci_work(&blk.transport, BUDGET, NEVER)) {
		turns++;
		assert_int_equal(used_index(0), 0);
		assert_int_equal(ended_with(), UNTOUCHED);
		assert_false(intx[SLOT]);
		assert_in_range(moved, (turns - 1) * BUDGET / 2, (turns - 1) * BUDGET + 64 * KIB);
	}
	assert_in_range(turns, 3, 6);
	assert_used(0, LONG + 1);
	assert_true(intx[SLOT]);
	assert_memory_equal(at(BUFFER), disk + 3 * 512, LONG);
	for (unsigned i = 0; i < LONG; i++)
		copy[3 * 512 + i] = *(uint8_t *)at(BUFFER + i) = (uint8_t)(i * 13);
	offer_long(0, OUT);
	assert_true(work(&blk.transport, BUDGET) > 2);
	assert_used(0, 1);
	assert_int_equal(ended_with(), OK);
	assert_memory_equal(disk, copy, DISK_SIZE);
}

static void a_long_request_is_looked_up_anew(void **state)
{
	uint8_t *elsewhere;

	(void)state;
	offer_long(0, IN);
	assert_true(virtio_pci_work(&blk.transport, BUDGET, NEVER));
	elsewhere = move_memory();
	work(&blk.transport, BUDGET);
	assert_used(0, LONG + 1);
	assert_memory_equal(elsewhere + (BUFFER - RAM), disk + 3 * 512, LONG);
	assert_int_equal(elsewhere[STATUS - RAM], OK);
}

static void a_short_one_overtakes_in_another_queue(void **state)
{
	struct virtqueue_part p[] = {part(HEADER + 32, 16), part(RANGE, 512), part(STATUS + 1, 1)};

	(void)state;
	offer_long(0, IN);
	assert_true(virtio_pci_work(&blk.transport, BUDGET, NEVER));
	*(struct header *)at(HEADER + 32) = (struct header){IN, 0, 500};
	offer(1, p, 1, 2);
	notify(1);
	assert_true(virtio_pci_work(&blk.transport, BUDGET, NEVER));
	assert_used(1, 513);
	assert_memory_equal(at(RANGE), disk + 500 * 512, 512);
	assert_int_equal(used_index(0), 0);
	work(&blk.transport, BUDGET);
	assert_used(0, LONG + 1);
}

/* Nothing of the guest's memory is touched after a reset, which the driver may use for something else. */
static void cut_off(void (*reset)(void), bool again)
{
	uint64_t before;

	offer_long(0, IN);
	assert_true(virtio_pci_work(&blk.transport, BUDGET, NEVER));
	assert_true(virtio_pci_work(&blk.transport, BUDGET, NEVER));
	reset();
	memset(ram, 0x77, RAM_SIZE);
	before = moved;
	assert_false(virtio_pci_work(&blk.transport, BUDGET, NEVER));
	assert_int_equal(moved, before);
	for (unsigned i = 0; i < RAM_SIZE; i++)
		assert_int_equal(ram[i], 0x77);
	if (!again) {
		negotiate(VIRTIO_F_RING_RESET);
		set_up_queue(1, QUEUE_SIZE, NO_VECTOR);
	}
	set_up_queue(0, QUEUE_SIZE, NO_VECTOR);
	add_status(DRIVER_OK);
	assert_false(virtio_pci_work(&blk.transport, BUDGET, NEVER));
	assert_int_equal(moved, before);
	assert_int_equal(ask(FLUSH, 0, 0, 1), OK);
	assert_int_equal(moved, before);
	assert_int_equal(ask(IN, 9, 512, 513), OK);
	assert_memory_equal(at(BUFFER), disk + 9 * 512, 512);
	assert_int_equal(moved, before + 512);
}

static void reset_queue(void)
{
	queue_register(0, C_QUEUE_RESET, 2, 1);
}

static void power_up(void)
{
	virtio_pci_reset(&blk.transport);
	enable_device();
}

static void resets_cut_a_request_off(void **state)
{
	(void)state;
	cut_off(reset_device, false);
	cut_off(power_up, false);
	cut_off(reset_queue, true);
}

/* --- more than one at a time --- */

static void many_requests(void **state)
{
	struct virtqueue_part p[3];
	uint32_t written;

	(void)state;
	for (unsigned round = 0; round < 4; round++) { /* the rings go round */
		for (unsigned i = 0; i < 30; i++) {
			*(struct header *)at(TABLE + 32 * i) = (struct header){IN, 0, 11 * i + round};
			p[0] = part(TABLE + 32 * i, 16);
			p[1] = part(BUFFER + 1024 * i, 1024);
			p[2] = part(TABLE + 32 * i + 16, 1);
			offer(round % 2, p, 1, 2);
		}
		run(round % 2);
		for (unsigned i = 0; i < 30; i++) {
			assert_int_not_equal(take_used(round % 2, &written), -1);
			assert_int_equal(written, 1025);
			assert_memory_equal(at(BUFFER + 1024 * i), disk + 512 * (11 * i + round), 1024);
		}
	}
}

static void each_queue_has_its_interrupt(void **state)
{
	(void)state;
	use_msix();
	for (unsigned n = 0; n < QUEUES; n++) {
		struct virtqueue_part p[] = {header(IN, n), part(BUFFER, 512), no_status()};

		offer(n, p, 1, 2);
		run(n);
		assert_message(n + 1, (uint8_t)(n + 1), (uint8_t)VECTOR(n + 1));
		assert_used(n, 513);
	}
}

/* --- what breaks the queue --- */

static void assert_broken(const struct virtqueue_part *p, unsigned parts_out, unsigned parts_in)
{
	negotiate(0);
	for (unsigned n = 0; n < QUEUES; n++)
		set_up_queue(n, QUEUE_SIZE, NO_VECTOR);
	add_status(DRIVER_OK);
	assert_int_equal(ask(IN, 0, 512, 513), OK);
	reads = 0;
	header(IN, 0);
	offer(1, p, parts_out, parts_in);
	notify(1);
	assert_false(virtio_pci_work(&blk.transport, BUDGET, NEVER));
	assert_true(status() & NEEDS_RESET);
	assert_non_null(blk.transport.queue[1].broken);
	assert_int_equal(used_index(1), 0);
	assert_int_equal(reg_get(isr, 0, 1), 3); /* the first request, and that it needs a reset */
}

static void requests_that_are_none(void **state)
{
	struct virtqueue_part head = header(IN, 0), data = part(BUFFER, 512), end = no_status();

	(void)state;
	assert_broken((struct virtqueue_part[]){head, data}, 2, 0); /* no status */
	assert_broken((struct virtqueue_part[]){head}, 1, 0);
	*(struct header *)at(HEADER + 32) = (struct header){OUT, 0, 0};
	assert_broken((struct virtqueue_part[]){part(HEADER + 32, 16), data}, 2, 0);
	assert_broken((struct virtqueue_part[]){data, end}, 0, 2); /* no header */
	assert_broken((struct virtqueue_part[]){part(HEADER, 15), end}, 1, 1);
	assert_broken((struct virtqueue_part[]){part(HEADER, 8), part(HEADER, 7), data, end}, 2, 2);
	assert_broken((struct virtqueue_part[]){part(NONE, 16), end}, 1, 1); /* no memory */
	assert_broken((struct virtqueue_part[]){part(HEADER, 8), part(NONE, 8), end}, 2, 1);
	assert_int_equal(reads, 0);
	assert_broken((struct virtqueue_part[]){head, data, part(NONE, 1)}, 1, 2);
	assert_broken((struct virtqueue_part[]){head, part(RAM_END - 512, 513)}, 1, 1);
	assert_disk_unchanged();
	start(QUEUES, false, 0);
	assert_int_equal(ask(IN, 0, 512, 513), OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(what_it_is, setup),
	    cmocka_unit_test_setup(configuration_at_its_offsets, setup),
	    cmocka_unit_test_setup(features_by_kind_of_disk, setup),
	    cmocka_unit_test_setup(geometry_has_an_end, setup),
	    cmocka_unit_test_setup(reading, setup),
	    cmocka_unit_test_setup(writing, setup),
	    cmocka_unit_test_setup(a_read_in_any_parts, setup),
	    cmocka_unit_test_setup(a_write_in_any_parts, setup),
	    cmocka_unit_test_setup(the_most_segments, setup),
	    cmocka_unit_test_setup(beyond_the_end, setup),
	    cmocka_unit_test_setup(a_disk_that_is_read_only, setup),
	    cmocka_unit_test_setup(data_outside_of_memory, setup),
	    cmocka_unit_test_setup(a_store_that_fails, setup),
	    cmocka_unit_test_setup(flush, setup),
	    cmocka_unit_test_setup(its_serial_number, setup),
	    cmocka_unit_test_setup(discarding_and_zeroing, setup),
	    cmocka_unit_test_setup(zeroes_come_in_whole_clusters, setup),
	    cmocka_unit_test_setup(ranges_that_are_refused, setup),
	    cmocka_unit_test_setup(a_range_in_parts, setup),
	    cmocka_unit_test_setup(what_it_does_not_know, setup),
	    cmocka_unit_test_setup(a_long_request_takes_turns, setup),
	    cmocka_unit_test_setup(a_long_request_is_looked_up_anew, setup),
	    cmocka_unit_test_setup(a_short_one_overtakes_in_another_queue, setup),
	    cmocka_unit_test_setup(resets_cut_a_request_off, setup),
	    cmocka_unit_test_setup(many_requests, setup),
	    cmocka_unit_test_setup(each_queue_has_its_interrupt, setup),
	    cmocka_unit_test_setup(requests_that_are_none, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
