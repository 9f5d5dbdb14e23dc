/*
 * Lesson 13: what a virtual disk costs, and a driver for one in a screenful (VIRTIO 1.2, 5.2; what it shares with
 * drivers of other devices is in lib/virtio.c). Three buffers in a ring (what to do, the data, room for the answer),
 * one write to the doorbell, and the device has read. Rows: the doorbell by port and by memory when nothing waits in
 * the ring, one after the other and each alone, and, to the answer, when a request of 4 KiB or 1 MiB does. The driver
 * asks for no interrupt and looks into the ring instead. At the end, in the same way, a frame from one network card to
 * another, and a line for a virtual console.
 */
/* SPDX-License-Identifier: MIT */
#include "guests/lib/bench.h"
#include "guests/lib/virtio.h"

#define RUNS	   1000
#define LARGE_RUNS 20
#define ALONE	   10000 /* ticks: Vireo takes doorbells within 20 us for a series */
#define LINE	   256	 /* bytes for the console at once, and how many times: less than waits for a serial line */
#define LINES	   20
#define KIB	   1024u
#define MIB	   (1024 * KIB)

enum { READ = 0, WRITE = 1 };
enum { QUEUE_RECEIVE = 0, QUEUE_SEND = 1 }; /* 5.1.2, 5.3.2 */

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

static uint8_t written_byte(unsigned i)
{
	return (uint8_t)(i * 7 + 1);
}

/* So that there is something to read: memory that was never written to costs less. */
static void write_disk(void)
{
	for (unsigned i = 0; i < MIB; i++)
		data[i] = written_byte(i);
	fill_ring(WRITE, MIB);
	request(ring_port);
	expect_equal("status of the write", status, 0);
}

/* Of what was zero before, the first `bytes` must have been read. */
static void check_data(uint32_t bytes)
{
	unsigned wrong = 0;

	for (unsigned i = 0; i < MIB; i++)
		wrong += data[i] != (i < bytes ? written_byte(i) : 0);
	expect_equal("bytes that are not as they were written", wrong, 0);
}

static void bench_read(const char *id, uint32_t bytes, unsigned runs, void (*ring)(void))
{
	struct result r = NO_RESULT;

	for (unsigned i = 0; i < MIB; i++)
		data[i] = 0;
	fill_ring(READ, bytes);
	for (unsigned run = 0; run < runs; run++)
		result_add(&r, request(ring));
	result_report(id, &r, overhead);
	expect_equal("status of the last read", status, 0);
	check_data(bytes);
}

/* --- a frame and a line of text ----------------------------------------------------------------------------------- */

static struct virtio sender, receiver, console;
static struct virtio_queue sending, receiving, printing;
static char line[LINE];

/* 5.1.6, without what was not agreed on; then Ethernet's addresses and type, of the cards in bench_virtio.conf. */
static struct packet {
	uint8_t header[12], to[6], from[6], type[2], data[46];
} sent = {.to = {0x52, [5] = 2}, .from = {0x52, [5] = 1}, .type = {0x88, 0xb5}}, received;

static bool start(struct virtio *d, unsigned kind, unsigned n, unsigned number, struct virtio_queue *q)
{
	if (!virtio_find(d, kind, n) || !virtio_agree(d))
		return false;
	virtio_add_queue(d, number, q);
	virtio_begin(d);
	return true;
}

/* From the doorbell of a card or a console to the answer in a queue, which may be another's. */
static uint64_t send(const struct virtio *d, struct virtio_queue *q, const struct virtio_queue *answered)
{
	uint16_t port = virtio_bell_port(d, QUEUE_SEND);
	uint64_t before;

	virtio_offer(q, 0);
	before = rdtsc();
	out16(port, QUEUE_SEND);
	while (!virtio_is_done(answered))
		;
	before = rdtsc() - before;
	while (!virtio_is_done(q))
		;
	return before;
}

/* Of the last frame; its header is the device's. */
static unsigned wrong_bytes(void)
{
	const volatile uint8_t *got = (const uint8_t *)&received, *was = (const uint8_t *)&sent;
	unsigned wrong = 0;

	for (unsigned i = sizeof(sent.header); i < sizeof(sent); i++)
		wrong += got[i] != was[i];
	return wrong;
}

/* From one card of this VM to the other, which has a buffer for it. */
static void bench_net(void)
{
	struct result r = NO_RESULT;
	unsigned wrong = 0;

	if (!expect(start(&sender, VIRTIO_NET, 0, QUEUE_SEND, &sending), "a card that sends") ||
	    !expect(start(&receiver, VIRTIO_NET, 1, QUEUE_RECEIVE, &receiving), "a card that receives"))
		return;
	virtio_describe(&sending, 0, &sent, sizeof(sent), 0);
	virtio_describe(&receiving, 0, &received, sizeof(received), VIRTIO_DEVICE_WRITES);
	for (unsigned i = 0; i < sizeof(sent.data); i++)
		sent.data[i] = written_byte(i);
	for (unsigned run = 0; run < RUNS; run++) {
		sent.data[0] = (uint8_t)run;
		virtio_offer(&receiving, 0);
		result_add(&r, send(&sender, &sending, &receiving));
		wrong += *(volatile uint8_t *)received.data != (uint8_t)run;
	}
	result_report("net-request", &r, 0);
	expect_equal("frames that came in as others", wrong, 0);
	expect_equal("bytes of the last frame that did", wrong_bytes(), 0);
}

static void bench_console(void)
{
	struct result r = NO_RESULT;

	if (!expect(start(&console, VIRTIO_CONSOLE, 0, QUEUE_SEND, &printing), "a virtual console"))
		return;
	for (unsigned i = 0; i < LINE; i++)
		line[i] = i < LINE - 1 ? '.' : '\n';
	virtio_describe(&printing, 0, line, LINE, 0);
	for (unsigned run = 0; run < LINES; run++)
		result_add(&r, send(&console, &printing, &printing));
	result_report("console-virtio-256", &r, 0);
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
	bench_read("disk-read-4k", 4 * KIB, RUNS, ring_port);
	bench_read("disk-read-1m", MIB, LARGE_RUNS, ring_port);
	bench_net();
	bench_console();
}
