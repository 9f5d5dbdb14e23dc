/*
 * Lesson 13: what a virtual disk costs, and a driver for one in a screenful (VIRTIO 1.2, 2.7, 4.1 and 5.2; PCI Local
 * Bus 3.0). Three buffers in a ring (what to do, the data, room for the answer), one write to the doorbell, and the
 * device has read. Rows: the doorbell by port and by memory when nothing waits in the ring, one after the other and
 * each alone, and, to the answer, when a
 * request of 4 KiB or 1 MiB does. The driver asks for no interrupt and looks into the ring instead.
 */
/* SPDX-License-Identifier: MIT */
#include "guests/lib/bench.h"

#define RUNS	    1000
#define LARGE_RUNS  20
#define ALONE	    10000 /* ticks: Vireo takes doorbells within 20 us for a series */
#define QUEUE_SIZE  4
#define KIB	    1024u
#define MIB	    (1024 * KIB)
#define CONFIG_PORT 0xcf8
#define DISK_ID	    0x10421af4u /* device and vendor */

enum { PCI_ID = 0, PCI_COMMAND = 4, PCI_BAR = 0x10, PCI_CAPABILITIES = 0x34 };
enum { CAP_VENDOR = 9, CAP_COMMON = 1, CAP_NOTIFY = 2 };
enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8 };
enum { READ = 0, WRITE = 1 };
enum { DESC_NEXT = 1, DESC_DEVICE_WRITES = 2, AVAIL_NO_INTERRUPT = 1 };

/* 4.1.4.3 */
struct common {
	uint32_t device_feature_select, device_feature, driver_feature_select, driver_feature;
	uint16_t config_vector, queues;
	uint8_t status, generation;
	uint16_t queue_select, queue_size, queue_vector, queue_enable, queue_notify_off;
	uint32_t desc[2], driver[2], device[2];
};

/* 2.7 */
static struct {
	uint64_t address;
	uint32_t length;
	uint16_t flags, next;
} desc[QUEUE_SIZE] __attribute__((aligned(16)));
static volatile struct {
	uint16_t flags, index, ring[QUEUE_SIZE];
} avail __attribute__((aligned(2)));
static volatile struct {
	uint16_t flags, index;
	struct {
		uint32_t id, length;
	} ring[QUEUE_SIZE];
} used __attribute__((aligned(4)));

/* 5.2.6 */
static struct {
	uint32_t type, reserved;
	uint64_t sector;
} header; /* of sector 0 */
static uint8_t data[MIB];
static volatile uint8_t status;

static volatile struct common *common;
static uint16_t doorbell_port;
static volatile uint16_t *doorbell;
static uint64_t overhead;

static uint32_t config_read(unsigned slot, unsigned offset)
{
	out32(CONFIG_PORT, 1u << 31 | slot << 11 | (offset & ~3u));
	return in32(CONFIG_PORT + 4);
}

static void config_write(unsigned slot, unsigned offset, uint32_t value)
{
	out32(CONFIG_PORT, 1u << 31 | slot << 11 | offset);
	out32(CONFIG_PORT + 4, value);
}

static void ring_port(void)
{
	__asm__ volatile("outw %0, %1" : : "a"((uint16_t)0), "Nd"(doorbell_port) : "memory");
}

static void ring_memory(void)
{
	*doorbell = 0;
}

/* A structure of the device, as a capability tells: in which BAR, and where in it. */
static void take_capability(unsigned slot, unsigned at)
{
	unsigned kind = config_read(slot, at) >> 24, bar = config_read(slot, at + 4) & 0xff;
	uint32_t base = config_read(slot, PCI_BAR + 4 * bar), offset = config_read(slot, at + 8);

	if (kind == CAP_NOTIFY && base & 1)
		doorbell_port = (uint16_t)((base & ~3u) + offset);
	else if (kind == CAP_NOTIFY)
		doorbell = (volatile uint16_t *)(uintptr_t)((base & ~15u) + offset);
	else if (kind == CAP_COMMON)
		common = (volatile struct common *)(uintptr_t)((base & ~15u) + offset);
}

static bool find_disk(void)
{
	unsigned slot = 0, at;

	while (slot < 32 && config_read(slot, PCI_ID) != DISK_ID)
		slot++;
	if (slot == 32)
		return false;
	config_write(slot, PCI_COMMAND, 7); /* ports, memory, bus master */
	for (at = config_read(slot, PCI_CAPABILITIES) & 0xfc; at; at = config_read(slot, at) >> 8 & 0xfc)
		if ((config_read(slot, at) & 0xff) == CAP_VENDOR)
			take_capability(slot, at);
	return common && doorbell && doorbell_port;
}

/* 3.1.1 and 4.1.5.1.3. Of the features only VERSION_1, bit 32, is taken. The ring of queue 0 lies below 4 GiB. */
static bool start_disk(void)
{
	common->status = 0;
	common->status = ACKNOWLEDGE | DRIVER;
	common->driver_feature_select = 0;
	common->driver_feature = 0;
	common->driver_feature_select = 1;
	common->driver_feature = 1;
	common->status = ACKNOWLEDGE | DRIVER | FEATURES_OK;
	if (!(common->status & FEATURES_OK))
		return false;
	common->queue_select = 0;
	common->queue_size = QUEUE_SIZE;
	common->desc[0] = (uint32_t)(uintptr_t)desc;
	common->driver[0] = (uint32_t)(uintptr_t)&avail;
	common->device[0] = (uint32_t)(uintptr_t)&used;
	common->queue_enable = 1;
	common->status = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK;
	return true;
}

/* The same chain of three each time: descriptors 0, 1, 2. */
static void fill_ring(uint32_t type, uint32_t bytes)
{
	header.type = type;
	desc[0].address = (uintptr_t)&header;
	desc[0].length = sizeof(header);
	desc[0].flags = DESC_NEXT;
	desc[0].next = 1;
	desc[1].address = (uintptr_t)data;
	desc[1].length = bytes;
	desc[1].flags = type == READ ? DESC_NEXT | DESC_DEVICE_WRITES : DESC_NEXT;
	desc[1].next = 2;
	desc[2].address = (uintptr_t)&status;
	desc[2].length = 1;
	desc[2].flags = DESC_DEVICE_WRITES;
	avail.flags = AVAIL_NO_INTERRUPT;
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
	uint16_t next = (uint16_t)(used.index + 1);
	uint64_t before;

	avail.ring[avail.index % QUEUE_SIZE] = 0;
	status = 0xff;
	avail.index++;
	before = rdtsc();
	ring();
	while (used.index != next)
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
	if (!expect(find_disk(), "a virtual disk with both kinds of doorbell") || !expect(start_disk(), "it starts"))
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
