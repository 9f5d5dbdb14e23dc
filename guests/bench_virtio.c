/*
 * Lesson 13: what a virtual disk costs, and a driver for one in a screenful (VIRTIO 1.2, 5.2; what it shares with
 * drivers of other devices is in lib/virtio.c). Three buffers in a ring (what to do, the data, room for the answer),
 * one write to the doorbell, and the device has read. Rows: the doorbell by port and by memory when nothing waits in
 * the ring, one after the other and each alone, and, to the answer, when a request of 4 KiB or 1 MiB does. The driver
 * asks for no interrupt and looks into the ring instead.
 */
/* SPDX-License-Identifier: MIT */
#include "guests/lib/bench.h"
#include "guests/lib/virtio.h"

#define RUNS	   1000
#define LARGE_RUNS 20
#define ALONE	   10000 /* ticks: Vireo takes doorbells within 20 us for a series */
#define KIB	   1024u
#define MIB	   (1024 * KIB)

enum { READ = 0, WRITE = 1 };

/* 5.2.6 */
static struct {
	uint32_t type, reserved;
	uint64_t sector;
} header; /* of sector 0 */
static uint8_t data[MIB];
static volatile uint8_t status;

static struct virtio disk;
static struct virtio_queue queue;
static uint16_t doorbell_port;
static volatile uint16_t *doorbell;
static uint64_t overhead;

static void ring_port(void)
{
	__asm__ volatile("outw %0, %1" : : "a"((uint16_t)0), "Nd"(doorbell_port) : "memory");
}

static void ring_memory(void)
{
	*doorbell = 0;
}

static bool start_disk(void)
{
	if (!virtio_agree(&disk))
		return false;
	virtio_add_queue(&disk, 0, &queue);
	virtio_begin(&disk);
	doorbell_port = virtio_bell_port(&disk, 0);
	doorbell = virtio_bell(&disk, 0);
	return true;
}

/* The same chain of three each time: descriptors 0, 1, 2. */
static void fill_ring(uint32_t type, uint32_t bytes)
{
	header.type = type;
	virtio_describe(&queue, 0, &header, sizeof(header), VIRTIO_NEXT);
	virtio_describe(&queue, 1, data, bytes, VIRTIO_NEXT | (type == READ ? VIRTIO_DEVICE_WRITES : 0));
	virtio_describe(&queue, 2, &status, 1, VIRTIO_DEVICE_WRITES);
}

static void wait_for(uint64_t ticks)
{
	uint64_t until = rdtsc() + ticks;

	while (rdtsc() < until)
		;
}

/* `pause`: ticks before each. One that comes alone is followed by the device's look into the ring. */
static void bench_empty(const char *id, void (*ring)(void), uint64_t pause)
{
	struct result r = NO_RESULT;

	for (unsigned run = 0; run < RUNS; run++) {
		uint64_t before;

		wait_for(pause);
		before = rdtsc();
		ring();
		result_add(&r, rdtsc() - before);
	}
	result_report(id, &r, overhead);
}

/* Ticks from the doorbell to the answer in the ring. */
static uint64_t request(void (*ring)(void))
{
	uint64_t before;

	status = 0xff;
	virtio_offer(&queue, 0);
	before = rdtsc();
	ring();
	while (!virtio_is_done(&queue))
		;
	return rdtsc() - before;
}

static void bench_read(const char *id, uint32_t bytes, unsigned runs, void (*ring)(void))
{
	struct result r = NO_RESULT;

	fill_ring(READ, bytes);
	for (unsigned run = 0; run < runs; run++)
		result_add(&r, request(ring));
	result_report(id, &r, overhead);
	expect_equal("status of the last read", status, 0);
}

/* So that there is something to read: memory that was never written to costs less. */
static void write_disk(void)
{
	for (unsigned i = 0; i < MIB; i++)
		data[i] = (uint8_t)(i * 7 + 1);
	fill_ring(WRITE, MIB);
	request(ring_port);
	expect_equal("status of the write", status, 0);
}

static void check_data(void)
{
	unsigned wrong = 0;

	for (unsigned i = 0; i < MIB; i++)
		wrong += data[i] != (uint8_t)(i * 7 + 1);
	expect_equal("bytes that are not as they were written", wrong, 0);
}

static void do_nothing(void) {}

void guest_main(const struct multiboot_info *info)
{
	struct result nothing = NO_RESULT;
	void (*volatile call)(void) = do_nothing; /* what is measured is called in this way, too */

	(void)info;
	if (!expect(virtio_find(&disk, VIRTIO_BLOCK, 0), "a virtual disk with both kinds of doorbell") ||
	    !expect(start_disk(), "it starts"))
		return;
	for (unsigned run = 0; run < RUNS; run++) {
		uint64_t before = rdtsc();

		call();
		result_add(&nothing, rdtsc() - before);
	}
	overhead = nothing.min;
	bench_empty("pio-doorbell", ring_port, 0);
	bench_empty("mmio-doorbell", ring_memory, 0);
	bench_empty("pio-doorbell-alone", ring_port, ALONE);
	bench_empty("mmio-doorbell-alone", ring_memory, ALONE);
	write_disk();
	for (unsigned i = 0; i < MIB; i++)
		data[i] = 0;
	bench_read("disk-read-4k", 4 * KIB, RUNS, ring_port);
	bench_read("disk-read-1m", MIB, LARGE_RUNS, ring_port);
	check_data();
}
