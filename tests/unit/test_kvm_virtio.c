/*
 * Unit tests of the virtio devices that the benchmark's user of KVM offers: they are found as guests/lib/virtio.c looks
 * for them, move what they are asked for and nothing else, and refuse by name what breaks a rule.
 * VIRTIO 1.2, 2.7, 4.1, 5.
 */
/* SPDX-License-Identifier: MIT */
/* links: tests/bench/kvm_virtio.c */
#define _GNU_SOURCE /* open_memstream */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

#include "tests/bench/kvm.h"
#include "tests/bench/kvm_virtio.h"

#define RAM	0x40000u
#define SIZE	4u
#define TABLE	0x1000u /* of a queue, and its rings behind it: queue q of device d has a page of its own */
#define AVAIL	0x100u
#define USED	0x200u
#define HEADER	0x10000u
#define STATUS	0x10100u
#define DATA	0x11000u
#define OTHER	0x20000u
#define BAR	0xc0000000u
#define BAR_AT	0x2000u
#define PORTS	0xc000u
#define DISK	0u
#define CARD	1u
#define CONSOLE 3u
#define IN	0u
#define OUT	1u
#define NEXT	VRING_DESC_F_NEXT
#define WRITES	VRING_DESC_F_WRITE

static uint8_t ram[RAM] __attribute__((aligned(4096)));
static jmp_buf died;
static char last_words[256];

void die(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(last_words, sizeof(last_words), fmt, args);
	va_end(args);
	longjmp(died, 1);
}

/* The action ends the program with these words. */
#define assert_dies(action, words)                                                                                     \
	do {                                                                                                           \
		last_words[0] = 0;                                                                                     \
		if (!setjmp(died))                                                                                     \
			action;                                                                                        \
		assert_string_equal(last_words, words);                                                                \
	} while (0)

/* --- a driver --- */

static uint32_t config(unsigned slot, unsigned offset)
{
	virtio_write_port(0xcf8, 4, 1u << 31 | slot << 11 | offset);
	return virtio_read_port(0xcfc, 4);
}

static void common(unsigned device, unsigned offset, unsigned bytes, uint32_t value)
{
	virtio_write_memory(BAR + device * BAR_AT + offset, bytes, value);
}

static unsigned common_is(unsigned device, unsigned offset, unsigned bytes)
{
	return (unsigned)virtio_read_memory(BAR + device * BAR_AT + offset, bytes);
}

static uint32_t table_of(unsigned device, unsigned queue)
{
	return TABLE * (1 + 2 * device + queue);
}

static struct vring_desc *desc(unsigned device, unsigned queue, unsigned n)
{
	return (struct vring_desc *)(void *)(ram + table_of(device, queue)) + n;
}

static struct vring_avail *avail(unsigned device, unsigned queue)
{
	return (struct vring_avail *)(void *)(ram + table_of(device, queue) + AVAIL);
}

static const struct vring_used *used(unsigned device, unsigned queue)
{
	return (const struct vring_used *)(void *)(ram + table_of(device, queue) + USED);
}

static void agree(unsigned device)
{
	common(device, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	common(device, VIRTIO_PCI_COMMON_STATUS, 1, 3);
	common(device, VIRTIO_PCI_COMMON_GFSELECT, 4, 1);
	common(device, VIRTIO_PCI_COMMON_GF, 4, 1);
	common(device, VIRTIO_PCI_COMMON_STATUS, 1, 11);
}

static void add_queue(unsigned device, unsigned queue)
{
	uint32_t table = table_of(device, queue);

	avail(device, queue)->flags = VRING_AVAIL_F_NO_INTERRUPT;
	common(device, VIRTIO_PCI_COMMON_Q_SELECT, 2, queue);
	common(device, VIRTIO_PCI_COMMON_Q_SIZE, 2, SIZE);
	common(device, VIRTIO_PCI_COMMON_Q_DESCLO, 4, table);
	common(device, VIRTIO_PCI_COMMON_Q_AVAILLO, 4, table + AVAIL);
	common(device, VIRTIO_PCI_COMMON_Q_USEDLO, 4, table + USED);
	common(device, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
}

static void start(unsigned device, unsigned queue)
{
	agree(device);
	add_queue(device, queue);
	common(device, VIRTIO_PCI_COMMON_STATUS, 1, 15);
}

static void describe(unsigned device, unsigned queue, unsigned n, uint64_t address, uint32_t bytes, unsigned flags)
{
	*desc(device, queue, n) = (struct vring_desc){address, bytes, (uint16_t)flags, (uint16_t)(n + 1)};
}

static void offer(unsigned device, unsigned queue, unsigned head)
{
	struct vring_avail *ring = avail(device, queue);

	ring->ring[ring->idx++ % SIZE] = (uint16_t)head;
}

static void bell(unsigned device, unsigned queue)
{
	virtio_write_port(PORTS + device * 64 + queue * 4, 2, queue);
}

static void request(uint32_t type, uint64_t sector, uint32_t bytes)
{
	struct {
		uint32_t type, reserved;
		uint64_t sector;
	} header = {type, 0, sector};

	memcpy(ram + HEADER, &header, sizeof(header));
	ram[STATUS] = 0xff;
	describe(DISK, 0, 0, HEADER, sizeof(header), NEXT);
	describe(DISK, 0, 1, DATA, bytes, NEXT | (type == IN ? WRITES : 0u));
	describe(DISK, 0, 2, STATUS, 1, WRITES);
	offer(DISK, 0, 0);
}

static int set_up(void **state)
{
	(void)state;
	memset(ram, 0, sizeof(ram));
	virtio_init(ram, sizeof(ram));
	return 0;
}

/* --- tests --- */

static void test_functions(void **state)
{
	static const uint32_t ids[] = {0x10421af4, 0x10411af4, 0x10411af4, 0x10431af4};

	(void)state;
	for (unsigned n = 0; n < 4; n++) {
		unsigned kinds = 0, stride = 0;

		assert_int_equal(config(n + 1, 0), ids[n]);
		assert_int_equal(config(n + 1, 0x10), (PORTS + 64 * n) | 1);
		assert_int_equal(config(n + 1, 0x18), BAR + BAR_AT * n);
		for (unsigned at = config(n + 1, 0x34) & 0xfc; at; at = config(n + 1, at) >> 8 & 0xfc) {
			assert_int_equal(config(n + 1, at) & 0xff, 9);
			kinds = kinds * 10 + (config(n + 1, at) >> 24);
			stride += config(n + 1, at) >> 24 == 2 ? config(n + 1, at + 16) : 0;
		}
		assert_int_equal(kinds, 122);
		assert_int_equal(stride, 8);
		virtio_write_port(0xcf8, 4, 1u << 31 | (n + 1) << 11 | 4);
		virtio_write_port(0xcfc, 4, 7);
		assert_int_equal(virtio_read_port(0xcfc, 4), 0x100007);
	}
	assert_int_equal(config(0, 0), ~0u);
	assert_int_equal(config(5, 0), ~0u);
	assert_int_equal(config(31, 0), ~0u);
	assert_int_equal(config(1 | 1 << 5, 0), ~0u); /* of another bus */
	virtio_write_port(0xcf8, 4, 1 << 11);	      /* without the enable bit */
	assert_int_equal(virtio_read_port(0xcfc, 4), ~0u);
	assert_int_equal(virtio_read_port(0x1234, 1), ~0u);
	assert_true(virtio_read_memory(BAR - 8, 8) == ~0ull && virtio_read_memory(BAR + 4 * BAR_AT, 4) == ~0ull);
	assert_true(virtio_read_memory(BAR + 0x34, 8) == ~0ull && virtio_read_memory(BAR + BAR_AT - 1, 8) == ~0ull);
	virtio_write_memory(BAR + 4 * BAR_AT, 4, 1);
	config(1, 0x10);
	assert_dies(virtio_write_port(0xcfc, 4, ~0u), "disk: configuration register 0x10 can't be written to");
}

static void test_features(void **state)
{
	(void)state;
	common(DISK, VIRTIO_PCI_COMMON_DFSELECT, 4, 0);
	assert_int_equal(common_is(DISK, VIRTIO_PCI_COMMON_DF, 4), 0);
	common(DISK, VIRTIO_PCI_COMMON_DFSELECT, 4, 1);
	assert_int_equal(common_is(DISK, VIRTIO_PCI_COMMON_DF, 4), 1);
	common(DISK, VIRTIO_PCI_COMMON_DFSELECT, 4, 2);
	assert_int_equal(common_is(DISK, VIRTIO_PCI_COMMON_DF, 4), 0);
	agree(DISK);
	assert_int_equal(common_is(DISK, VIRTIO_PCI_COMMON_STATUS, 1), 11);
	common(DISK, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	common(DISK, VIRTIO_PCI_COMMON_STATUS, 1, 11); /* without VERSION_1 */
	assert_int_equal(common_is(DISK, VIRTIO_PCI_COMMON_STATUS, 1), 3);
	common(DISK, VIRTIO_PCI_COMMON_GF, 4, 1); /* something of the first word */
	common(DISK, VIRTIO_PCI_COMMON_GFSELECT, 4, 1);
	common(DISK, VIRTIO_PCI_COMMON_GF, 4, 1);
	common(DISK, VIRTIO_PCI_COMMON_STATUS, 1, 11);
	assert_int_equal(common_is(DISK, VIRTIO_PCI_COMMON_STATUS, 1), 3);
	assert_dies(common(DISK, VIRTIO_PCI_COMMON_GFSELECT, 4, 2), "disk: there is no word 2 of features");
	assert_dies(common(DISK, VIRTIO_PCI_COMMON_NUMQ, 2, 2),
		    "disk: offset 0x12 of the common structure can't be written to");
	assert_dies(common(DISK, 0x800, 2, 2), "disk: offset 0x800 of the common structure can't be written to");
}

/* What a queue is refused for. */
static void enable(uint64_t table, uint64_t ring, unsigned size, unsigned flags)
{
	set_up(NULL);
	agree(DISK);
	ram[ring] = (uint8_t)flags;
	common(DISK, VIRTIO_PCI_COMMON_Q_SIZE, 2, size);
	common(DISK, VIRTIO_PCI_COMMON_Q_DESCLO, 4, (uint32_t)table);
	common(DISK, VIRTIO_PCI_COMMON_Q_DESCHI, 4, (uint32_t)(table >> 32));
	common(DISK, VIRTIO_PCI_COMMON_Q_AVAILLO, 4, (uint32_t)ring);
	common(DISK, VIRTIO_PCI_COMMON_Q_USEDLO, 4, (uint32_t)ring + USED - AVAIL);
	common(DISK, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
}

static void test_queues(void **state)
{
	(void)state;
	enable(TABLE, TABLE + AVAIL, SIZE, 1);
	assert_int_equal(common_is(DISK, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	assert_int_equal(common_is(DISK, VIRTIO_PCI_COMMON_Q_DESCLO, 4), TABLE);
	enable(TABLE, RAM - 36 - (USED - AVAIL), SIZE, 1); /* to the last byte of memory */
	assert_dies(common(DISK, VIRTIO_PCI_COMMON_Q_SIZE, 2, 8), "disk: queue 0 is changed while it is enabled");
	assert_dies(enable(TABLE, TABLE + AVAIL, SIZE, 0),
		    "disk: the driver wants interrupts, of which there are none");
	assert_dies(enable(TABLE, TABLE + AVAIL, 3, 1), "disk: a queue of 3, expected a power of two up to 64");
	assert_dies(enable(TABLE, TABLE + AVAIL, 0, 1), "disk: a queue of 0, expected a power of two up to 64");
	assert_dies(enable(TABLE, TABLE + AVAIL, 128, 1), "disk: a queue of 128, expected a power of two up to 64");
	assert_dies(enable(TABLE + 8, TABLE + AVAIL, SIZE, 1), "disk: a table at 0x1008, expected a multiple of 16");
	assert_dies(enable(TABLE, TABLE + AVAIL + 2, SIZE, 1), "disk: a used ring at 0x1202, expected a multiple of 4");
	assert_dies(enable(TABLE, RAM - 8, SIZE, 1),
		    "disk: an available ring of 12 bytes at 0x3fff8; memory has 0x40000");
	assert_dies(enable(1ull << 32, TABLE, SIZE, 1), "disk: a table of 64 bytes at 0x100000000; memory has 0x40000");
	assert_dies(enable(~0ull, TABLE, SIZE, 1),
		    "disk: a table of 64 bytes at 0xffffffffffffffff; memory has 0x40000");
	assert_dies(common(DISK, VIRTIO_PCI_COMMON_Q_SELECT, 2, 1), "disk: there is no queue 1");
}

static void test_doorbells(void **state)
{
	(void)state;
	assert_dies(bell(DISK, 0), "disk: a doorbell of queue 0, which is not in use");
	agree(DISK);
	add_queue(DISK, 0);
	assert_dies(bell(DISK, 0), "disk: a doorbell of queue 0, which is not in use"); /* before DRIVER_OK */
	common(DISK, VIRTIO_PCI_COMMON_STATUS, 1, 15);
	bell(DISK, 0);
	assert_int_equal(used(DISK, 0)->idx, 0);
	assert_dies(bell(DISK, 15), "disk: a doorbell of queue 15, which is not in use");
	request(OUT, 0, 512);
	virtio_write_memory(BAR + 0x1000, 2, 0); /* by memory */
	assert_int_equal(used(DISK, 0)->idx, 1);
	assert_dies(virtio_write_memory(BAR + 0x1ffc, 2, 0), "disk: a doorbell of queue 1023, which is not in use");
	common(DISK, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	assert_dies(bell(DISK, 0), "disk: a doorbell of queue 0, which is not in use");
}

static void test_disk(void **state)
{
	(void)state;
	start(DISK, 0);
	for (unsigned i = 0; i < 2048; i++)
		ram[DATA + i] = (uint8_t)(i * 7 + 1);
	request(OUT, 2044, 2048); /* the last of the disk */
	bell(DISK, 0);
	assert_int_equal(ram[STATUS], 0);
	assert_int_equal(used(DISK, 0)->ring[0].len, 1);
	memset(ram + DATA, 0xee, 4096);
	request(IN, 2045, 1024);
	describe(DISK, 0, 1, DATA, 13, NEXT | WRITES); /* in odd pieces, an empty one and the status' among them */
	describe(DISK, 0, 2, DATA + 13, 0, NEXT | WRITES);
	describe(DISK, 0, 3, DATA + 20, 1012, WRITES);
	bell(DISK, 0);
	assert_int_equal(used(DISK, 0)->idx, 2);
	assert_int_equal(used(DISK, 0)->ring[1].id, 0);
	assert_int_equal(used(DISK, 0)->ring[1].len, 1025);
	for (unsigned i = 0; i < 1024; i++)
		assert_int_equal(ram[DATA + i + (i < 13 ? 0 : 7)], (uint8_t)((i + 512) * 7 + 1));
	assert_int_equal(ram[DATA + 13], 0xee);
	assert_int_equal(ram[DATA + 20 + 1011], 0);
	assert_int_equal(ram[DATA + 20 + 1012], 0xee);
	for (unsigned i = 0; i < 10; i++) { /* round the rings */
		request(IN, 0, 512);
		bell(DISK, 0);
	}
	assert_int_equal(used(DISK, 0)->idx, 12);
}

/* A request, changed in one place. */
static void wrong(uint32_t type, uint64_t sector, uint32_t bytes)
{
	set_up(NULL);
	start(DISK, 0);
	request(type, sector, bytes);
}

static void test_wrong_requests(void **state)
{
	(void)state;
	wrong(IN, 2044, 2560);
	assert_dies(bell(DISK, 0), "disk: a request for 2560 bytes at sector 2044; it has 2048 of 512");
	wrong(OUT, ~0ull, 512);
	assert_dies(bell(DISK, 0), "disk: a request for 512 bytes at sector 18446744073709551615; it has 2048 of 512");
	wrong(IN, 1ull << 55, 512); /* times 512 is 0 */
	assert_dies(bell(DISK, 0), "disk: a request for 512 bytes at sector 36028797018963968; it has 2048 of 512");
	wrong(IN, 0, 511);
	assert_dies(bell(DISK, 0), "disk: a request for 511 bytes at sector 0; it has 2048 of 512");
	wrong(4, 0, 512);
	assert_dies(bell(DISK, 0), "disk: a request of type 4, which is not handled");
	wrong(OUT, 0, 512);
	describe(DISK, 0, 2, STATUS, 2, WRITES);
	assert_dies(bell(DISK, 0), "disk: 2 bytes for the status of a write");
	wrong(OUT, 0, 512);
	describe(DISK, 0, 1, DATA, 512, 0);
	assert_dies(bell(DISK, 0), "disk: a request of 528 bytes to read and 0 to write");
	wrong(IN, 0, 512);
	describe(DISK, 0, 0, HEADER, 15, NEXT);
	assert_dies(bell(DISK, 0), "disk: a request of 15 bytes to read and 513 to write");
}

static void test_wrong_chains(void **state)
{
	(void)state;
	wrong(IN, 0, 512);
	describe(DISK, 0, 2, STATUS, 1, NEXT | WRITES);
	describe(DISK, 0, 3, DATA, 1, NEXT | WRITES); /* the next is number 4 */
	assert_dies(bell(DISK, 0), "disk: descriptor 4 in a queue of 4");
	wrong(IN, 0, 512);
	describe(DISK, 0, 2, STATUS, 1, NEXT | WRITES);
	describe(DISK, 0, 3, DATA, 1, NEXT | WRITES);
	desc(DISK, 0, 3)->next = 2;
	assert_dies(bell(DISK, 0), "disk: a chain of more than the queue's 4 descriptors");
	wrong(IN, 0, 512);
	describe(DISK, 0, 2, STATUS, 1, 4);
	assert_dies(bell(DISK, 0), "disk: a descriptor's flags are 0x4, known are 0x3");
	wrong(IN, 0, 512);
	describe(DISK, 0, 2, STATUS, 1, 0);
	assert_dies(bell(DISK, 0), "disk: a buffer to read behind one to write to");
	wrong(IN, 0, RAM);
	assert_dies(bell(DISK, 0), "disk: a buffer of 262144 bytes at 0x11000; memory has 0x40000");
	wrong(IN, 0, 512);
	desc(DISK, 0, 1)->addr = ~0ull - 100;
	assert_dies(bell(DISK, 0), "disk: a buffer of 512 bytes at 0xffffffffffffff9b; memory has 0x40000");
	wrong(IN, 0, 512);
	avail(DISK, 0)->idx = 5;
	assert_dies(bell(DISK, 0), "disk: 5 chains are offered in a queue of 4");
	wrong(IN, 0, 512);
	avail(DISK, 0)->ring[0] = 4;
	assert_dies(bell(DISK, 0), "disk: descriptor 4 in a queue of 4");
}

/* A header of 12 bytes and a frame, both ways of the wire. */
static void test_cards(void **state)
{
	static const uint8_t header[12] = {[10] = 1};

	(void)state;
	for (unsigned from = CARD; from <= CARD + 1; from++) {
		unsigned to = 2 * CARD + 1 - from;

		set_up(NULL);
		start(from, 1);
		for (unsigned i = 12; i < 72; i++)
			ram[DATA + i] = (uint8_t)(i + from);
		describe(from, 1, 0, DATA, 30, NEXT);
		describe(from, 1, 1, DATA + 30, 42, 0);
		offer(from, 1, 0);
		bell(from, 1); /* nobody is there: the frame is lost */
		assert_int_equal(used(from, 1)->idx, 1);
		start(to, 0);
		bell(to, 0);
		offer(from, 1, 0);
		bell(from, 1); /* nor is a buffer */
		assert_int_equal(used(from, 1)->idx, 2);
		memset(ram + OTHER, 0xee, 128);
		describe(to, 0, 2, OTHER, 5, NEXT | WRITES);
		describe(to, 0, 3, OTHER + 5, 100, WRITES);
		offer(to, 0, 2);
		bell(to, 0);
		assert_int_equal(used(to, 0)->idx, 0);
		offer(from, 1, 0);
		bell(from, 1);
		assert_int_equal(used(to, 0)->idx, 1);
		assert_int_equal(used(to, 0)->ring[0].id, 2);
		assert_int_equal(used(to, 0)->ring[0].len, 72);
		assert_int_equal(used(from, 1)->idx, 3);
		assert_memory_equal(ram + OTHER, header, sizeof(header));
		assert_memory_equal(ram + OTHER + 12, ram + DATA + 12, 60);
		assert_int_equal(ram[OTHER + 72], 0xee);
	}
}

static void test_wrong_frames(void **state)
{
	(void)state;
	start(CARD, 1);
	start(CARD + 1, 0);
	describe(CARD + 1, 0, 0, OTHER, 71, WRITES);
	describe(CARD, 1, 0, DATA, 72, 0);
	offer(CARD + 1, 0, 0);
	offer(CARD, 1, 0);
	assert_dies(bell(CARD, 1), "first card: a header and frame of 72 bytes, for a buffer of 71");
	describe(CARD, 1, 0, DATA, 11, 0);
	offer(CARD + 1, 0, 0);
	offer(CARD, 1, 0);
	assert_dies(bell(CARD, 1), "first card: a header and frame of 11 bytes, for a buffer of 71");
	describe(CARD, 1, 0, DATA, 60, 0);
	ram[DATA + 1] = 3;
	offer(CARD + 1, 0, 0);
	offer(CARD, 1, 0);
	assert_dies(bell(CARD, 1), "first card: a frame with flags 0x0, GSO 0x3, which nobody agreed on");
}

static void test_console(void **state)
{
	FILE *screen = stdout;
	char *text;
	size_t size;

	(void)state;
	start(CONSOLE, 1);
	memcpy(ram + DATA, "a line of text\n", 15);
	describe(CONSOLE, 1, 0, DATA, 7, NEXT);
	describe(CONSOLE, 1, 1, DATA + 7, 8, 0);
	offer(CONSOLE, 1, 0);
	offer(CONSOLE, 1, 1);
	stdout = open_memstream(&text, &size);
	bell(CONSOLE, 1);
	fclose(stdout);
	stdout = screen;
	assert_int_equal(size, 23);
	assert_memory_equal(text, "a line of text\nof text\n", 23);
	assert_int_equal(used(CONSOLE, 1)->idx, 2);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(test_functions, set_up),    cmocka_unit_test_setup(test_features, set_up),
	    cmocka_unit_test_setup(test_queues, set_up),       cmocka_unit_test_setup(test_doorbells, set_up),
	    cmocka_unit_test_setup(test_disk, set_up),	       cmocka_unit_test_setup(test_wrong_requests, set_up),
	    cmocka_unit_test_setup(test_wrong_chains, set_up), cmocka_unit_test_setup(test_cards, set_up),
	    cmocka_unit_test_setup(test_wrong_frames, set_up), cmocka_unit_test_setup(test_console, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
