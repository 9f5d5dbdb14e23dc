/*
 * Unit tests of the bytes of a chain: pieces that end where a part, a chunk of guest memory or the wish does; copies
 * over odd parts; what is no memory, and what is not there yet.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/virtio_stream.c hv/guest_mem.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/dev/virtio_stream.h"

#define BASE	(16 * MIB)
#define SIZE	(2 * GUEST_MEM_CHUNK) /* two chunks, which lie the other way round for us */
#define END	(BASE + SIZE)
#define BORDER	(BASE + GUEST_MEM_CHUNK)
#define NOWHERE (1 * GIB)

static uint8_t *chunk[2];
static unsigned filled; /* bit n: chunk n is there */
static struct guest_mem mem;

static uint8_t *reach(void *backing, uint64_t gpa, uint64_t *before, uint64_t *left)
{
	uint64_t offset = gpa - BASE;

	(void)backing;
	*before = offset % GUEST_MEM_CHUNK;
	*left = GUEST_MEM_CHUNK - *before;
	filled |= 1U << offset / GUEST_MEM_CHUNK;
	return chunk[offset / GUEST_MEM_CHUNK] + offset % GUEST_MEM_CHUNK;
}

static uint8_t *look(void *backing, uint64_t gpa, uint64_t *before, uint64_t *left)
{
	return filled & 1U << (gpa - BASE) / GUEST_MEM_CHUNK ? reach(backing, gpa, before, left) : NULL;
}

static uint8_t *at(uint64_t gpa)
{
	uint64_t before, left;

	return reach(NULL, gpa, &before, &left);
}

/* The sizes are filled in as virtqueue_take() does it. */
static void measure(struct virtqueue_chain *chain)
{
	chain->out_size = chain->in_size = 0;
	for (unsigned i = 0; i < chain->out; i++)
		chain->out_size += chain->part[i].size;
	for (unsigned i = 0; i < chain->in; i++)
		chain->in_size += chain->part[chain->out + i].size;
}

static struct virtio_stream stream_out(struct virtqueue_chain *chain)
{
	measure(chain);
	return virtio_stream_out(&mem, chain);
}

static struct virtio_stream stream_in(struct virtqueue_chain *chain)
{
	measure(chain);
	return virtio_stream_in(&mem, chain);
}

static int setup(void **state)
{
	struct guest_region region = {.gpa = BASE, .size = SIZE, .ram = true};

	(void)state;
	chunk[0] = calloc(1, GUEST_MEM_CHUNK);
	chunk[1] = calloc(1, GUEST_MEM_CHUNK);
	if (!chunk[0] || !chunk[1])
		return -1;
	filled = 3;
	mem = (struct guest_mem){.reach = reach, .look = look};
	return guest_mem_add(&mem, &region);
}

static int teardown(void **state)
{
	(void)state;
	free(chunk[0]);
	free(chunk[1]);
	return 0;
}

static void next_out_is(struct virtio_stream *s, uint64_t most, uint64_t gpa, uint32_t expected)
{
	uint64_t before = s->left;
	uint32_t size;

	assert_ptr_equal(virtio_stream_next_out(s, most, &size), at(gpa));
	assert_int_equal(size, expected);
	assert_int_equal(s->left, before - expected);
}

static void next_in_is(struct virtio_stream *s, uint64_t most, uint64_t gpa, uint32_t expected)
{
	uint64_t before = s->left;
	uint32_t size;

	assert_ptr_equal(virtio_stream_next_in(s, most, &size), at(gpa));
	assert_int_equal(size, expected);
	assert_int_equal(s->left, before - expected);
}

static void pieces(void **state)
{
	struct virtqueue_chain chain = {.out = 2, .in = 3};
	struct virtio_stream out, in;
	uint32_t size;

	(void)state;
	chain.part[0] = (struct virtqueue_part){GPA(BASE + 100), 10};
	chain.part[1] = (struct virtqueue_part){GPA(BASE + 50), 1};
	chain.part[2] = (struct virtqueue_part){GPA(BORDER - 3), 10};
	chain.part[3] = (struct virtqueue_part){GPA(BASE + 7), 3};
	chain.part[4] = (struct virtqueue_part){GPA(END - 5), 5};
	out = stream_out(&chain);
	in = stream_in(&chain);
	assert_int_equal(out.left, 11);
	assert_int_equal(in.left, 18);
	next_out_is(&out, 4, BASE + 100, 4);
	next_out_is(&out, 1000, BASE + 104, 6);
	next_out_is(&out, UINT64_MAX, BASE + 50, 1);
	assert_null(virtio_stream_next_out(&out, 1, &size));
	next_in_is(&in, 100, BORDER - 3, 3);
	next_in_is(&in, 7, BORDER, 7);
	next_in_is(&in, 2, BASE + 7, 2);
	next_in_is(&in, 100, BASE + 9, 1);
	next_in_is(&in, 100, END - 5, 5);
	assert_null(virtio_stream_next_in(&in, 1, &size));
	assert_int_equal(in.left, 0);
}

static void copies_over_parts(void **state)
{
	struct virtqueue_chain chain = {.out = 3, .in = 2};
	uint8_t bytes[] = "0123456789abcdef", back[sizeof(bytes)] = {0};
	struct virtio_stream out, in;

	(void)state;
	chain.part[0] = (struct virtqueue_part){GPA(BORDER - 2), 5};
	chain.part[1] = (struct virtqueue_part){GPA(BASE + 1), 1};
	chain.part[2] = (struct virtqueue_part){GPA(END - 20), 20};
	chain.part[3] = chain.part[0];
	chain.part[4] = chain.part[2];
	in = stream_in(&chain);
	assert_int_equal(virtio_stream_write(&in, bytes, 4), 0);
	assert_int_equal(virtio_stream_write(&in, bytes + 4, 12), 0);
	assert_int_equal(in.left, 9);
	assert_memory_equal(at(BORDER - 2), "01", 2);
	assert_memory_equal(at(BORDER), "234", 3);
	assert_memory_equal(at(END - 20), "56789abcdef\0", 12);
	*at(BASE + 1) = 'x';
	out = stream_out(&chain);
	assert_int_equal(virtio_stream_read(&out, back, 16), 0);
	assert_string_equal((char *)back, "01234x56789abcde");
	assert_int_equal(virtio_stream_read(&out, back, 0), 0);
	assert_int_equal(out.left, 10);
	assert_int_equal(virtio_stream_read(&out, back, 10), 0);
	assert_int_equal(virtio_stream_read(&out, back, 1), -E_RANGE); /* the end */
	assert_int_equal(virtio_stream_read(&out, back, 0), 0);
}

static void more_than_there_is(void **state)
{
	struct virtqueue_chain chain = {.out = 1, .in = 1};
	struct virtio_stream out, in;
	uint8_t bytes[16] = {0};

	(void)state;
	chain.part[0] = (struct virtqueue_part){GPA(BASE), 8};
	chain.part[1] = (struct virtqueue_part){GPA(BASE + 8), 8};
	out = stream_out(&chain);
	in = stream_in(&chain);
	assert_int_equal(virtio_stream_read(&out, bytes, 9), -E_RANGE);
	assert_int_equal(virtio_stream_write(&in, bytes, 9), -E_RANGE);
	assert_int_equal(*at(BASE + 16), 0);
}

static void what_is_no_memory(void **state)
{
	static const struct virtqueue_part bad[] = {
	    {{NOWHERE}, 4},  {{END - 3}, 4},	    {{END}, 1},
	    {{BASE - 1}, 4}, {{UINT64_MAX - 3}, 4}, {{END - 1}, UINT32_MAX - 9},
	};
	uint8_t bytes[16];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct virtqueue_chain chain = {.out = 2};
		struct virtio_stream s;
		uint32_t size;

		chain.part[0] = (struct virtqueue_part){GPA(BASE), 4};
		chain.part[1] = bad[i];
		s = stream_out(&chain);
		assert_int_equal(s.left, 4 + (uint64_t)bad[i].size);
		assert_int_equal(virtio_stream_read(&s, bytes, bad[i].size < 8 ? 4 + bad[i].size : 12), -E_RANGE);
		assert_null(virtio_stream_next_out(&s, UINT64_MAX, &size)); /* and there it stays */
		s = stream_out(&chain);
		assert_int_equal(virtio_stream_read(&s, bytes, 4), 0);
	}
}

/* Where the guest's memory is may change whenever the CPU lets go of everything. */
static void a_stream_that_was_kept(void **state)
{
	struct virtqueue_chain chain = {.out = 1};
	uint8_t *first = chunk[0];
	struct virtio_stream s;

	(void)state;
	chain.part[0] = (struct virtqueue_part){GPA(BASE), 100};
	s = stream_out(&chain);
	next_out_is(&s, 10, BASE, 10);
	chunk[0] = chunk[1];
	chunk[1] = first;
	virtio_stream_forget(&s);
	next_out_is(&s, 10, BASE + 10, 10);
}

/* Skipping touches no memory, so it may lie nowhere. */
static void skipping(void **state)
{
	struct virtqueue_chain chain = {.in = 3};
	struct virtio_stream s;

	(void)state;
	chain.part[0] = (struct virtqueue_part){GPA(NOWHERE + 123), 3000000000};
	chain.part[1] = (struct virtqueue_part){GPA(BASE + 10), 10};
	chain.part[2] = (struct virtqueue_part){GPA(BASE + 30), 1};
	s = stream_in(&chain);
	virtio_stream_skip(&s, 0);
	assert_int_equal(s.left, 3000000011);
	virtio_stream_skip(&s, 3000000004);
	next_in_is(&s, 2, BASE + 14, 2);
	virtio_stream_skip(&s, 4);
	next_in_is(&s, 9, BASE + 30, 1);
	virtio_stream_skip(&s, 1);
	assert_int_equal(s.left, 0);
	s = stream_in(&chain);
	virtio_stream_skip(&s, UINT64_MAX);
	assert_int_equal(s.left, 0);
	assert_int_equal(s.parts, 0);
}

/* One stream for chain after chain: what was found stays found, what was left of the last one is forgotten. */
static void goes_on_in_another_chain(void **state)
{
	struct virtqueue_chain chain = {.in = 1}, next = {.out = 1, .in = 2};
	struct virtio_stream s;
	uint64_t size;
	uint32_t n;

	(void)state;
	chain.part[0] = (struct virtqueue_part){GPA(BASE + 1000), 100};
	next.part[0] = (struct virtqueue_part){GPA(NOWHERE), 7};
	next.part[1] = (struct virtqueue_part){GPA(BASE + 10), 10};
	next.part[2] = (struct virtqueue_part){GPA(BORDER), 4};
	s = stream_in(&chain);
	assert_ptr_equal(virtio_stream_next_in(&s, 30, &n), at(BASE + 1000));
	size = s.near.size;
	measure(&next);
	virtio_stream_go_on_in(&s, &next);
	assert_int_equal(s.left, 14);
	assert_int_equal(s.near.size, size);
	assert_ptr_equal(virtio_stream_next_in(&s, 100, &n), at(BASE + 10));
	assert_int_equal(n, 10);
	assert_ptr_equal(virtio_stream_next_in(&s, 100, &n), at(BORDER));
	assert_int_equal(n, 4);
	assert_null(virtio_stream_next_in(&s, 100, &n));
}

/* What the device reads is zero there, and gets no memory: as little as a page at a time. */
static void what_is_not_there_reads_as_zeroes(void **state)
{
	struct virtqueue_chain chain = {.out = 2};
	static uint8_t bytes[3 * PAGE_SIZE];
	struct virtio_stream s;
	uint32_t size;

	(void)state;
	filled = 1;
	memset(chunk[0], 7, GUEST_MEM_CHUNK);
	memset(chunk[1], 7, GUEST_MEM_CHUNK);
	chain.part[0] = (struct virtqueue_part){GPA(BORDER + 10), 2 * PAGE_SIZE};
	chain.part[1] = (struct virtqueue_part){GPA(BASE), 1};
	s = stream_out(&chain);
	assert_non_null(virtio_stream_next_out(&s, UINT64_MAX, &size));
	assert_int_equal(size, PAGE_SIZE - 10);
	s = stream_out(&chain);
	memset(bytes, 7, sizeof(bytes));
	assert_int_equal(virtio_stream_read(&s, bytes, 2 * PAGE_SIZE + 1), 0);
	for (unsigned i = 0; i < 2 * PAGE_SIZE; i++)
		assert_int_equal(bytes[i], 0);
	assert_int_equal(bytes[2 * PAGE_SIZE], 7);
	assert_int_equal(filled, 1);
}

static void what_finds_only_fills_nothing(void **state)
{
	struct virtqueue_chain chain = {.in = 3};
	struct virtio_stream s;
	uint32_t size;

	(void)state;
	filled = 1;
	chain.part[0] = (struct virtqueue_part){GPA(BORDER - 1), 2};
	chain.part[1] = (struct virtqueue_part){GPA(NOWHERE), 1};
	chain.part[2] = (struct virtqueue_part){GPA(BASE), 1};
	s = stream_in(&chain);
	s.finds = true;
	next_in_is(&s, 100, BORDER - 1, 1);
	assert_null(virtio_stream_next_in(&s, 100, &size));
	assert_true(virtio_stream_is_ahead(&s));
	assert_int_equal(s.left, 3);
	assert_int_equal(filled, 1);
	s.finds = false;
	next_in_is(&s, 100, BORDER, 1);
	s.finds = true;
	assert_null(virtio_stream_next_in(&s, 100, &size)); /* no memory, now or later */
	assert_false(virtio_stream_is_ahead(&s));
	virtio_stream_skip(&s, 2);
	assert_null(virtio_stream_next_in(&s, 100, &size));
	assert_false(virtio_stream_is_ahead(&s));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(pieces, setup, teardown),
	    cmocka_unit_test_setup_teardown(copies_over_parts, setup, teardown),
	    cmocka_unit_test_setup_teardown(more_than_there_is, setup, teardown),
	    cmocka_unit_test_setup_teardown(what_is_no_memory, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_stream_that_was_kept, setup, teardown),
	    cmocka_unit_test_setup_teardown(skipping, setup, teardown),
	    cmocka_unit_test_setup_teardown(goes_on_in_another_chain, setup, teardown),
	    cmocka_unit_test_setup_teardown(what_is_not_there_reads_as_zeroes, setup, teardown),
	    cmocka_unit_test_setup_teardown(what_finds_only_fills_nothing, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
