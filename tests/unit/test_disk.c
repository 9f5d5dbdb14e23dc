/* hv/disk.c: what is written is read, a file below an overlay stays as it is, and all memory comes back. */
/* SPDX-License-Identifier: MIT */
/* links: hv/disk.c hv/phys.c */
#include "hv/disk.h"
#include "hv/lib/panic.h"
#include "hv/phys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ARENA	  (64 * MIB)
#define FILE_SIZE (5 * MIB + 1000) /* ends in the middle of a cluster and of a sector */
#define SIZE	  (8 * MIB + 3 * BLOCK_SECTOR)

static uint8_t *arena;
static uint8_t file[FILE_SIZE], kept[FILE_SIZE];
static uint8_t buffer[SIZE], expected[SIZE];
static bool panics; /* one is expected */
static jmp_buf panicked;

void panic(const char *fmt, ...)
{
	if (panics)
		longjmp(panicked, 1);
	fail_msg("panic: %s", fmt);
	abort();
}

static const struct disk_setup overlay = {
    .base = file, .base_size = FILE_SIZE, .size = SIZE, .writable = 4 * MIB, .serial = "overlay"};
static const struct disk_setup blank = {.size = SIZE, .writable = SIZE, .serial = ""};
static const struct disk_setup in_place = {
    .base = file, .base_size = 5 * MIB, .size = 5 * MIB, .serial = "12345678901234567890"};
static const struct disk_setup read_only = {
    .base = file, .base_size = FILE_SIZE, .size = SIZE, .writable = SIZE, .read_only = true, .serial = "r"};

/* All memory is dirty at start. */
static int setup(void **state)
{
	static struct boot_info info;

	(void)state;
	memset(arena, 0xa5, ARENA);
	memset(&info, 0, sizeof(info));
	panics = false;
	for (size_t i = 0; i < FILE_SIZE; i++)
		file[i] = kept[i] = (uint8_t)(i * 31 + i / 4096 + 1);
	memset(expected, 0, sizeof(expected));
	info.memory_count = 1;
	info.memory[0] = (struct boot_memory){.base = (uint64_t)arena, .length = ARENA, .type = BOOT_MEMORY_FREE};
	return phys_init(&info);
}

static struct disk *create(const struct disk_setup *s)
{
	struct disk *d = disk_create(s);

	assert_non_null(d);
	assert_true(disk_written(d) == 0);
	if (s->base)
		memcpy(expected, s->base, s->base_size);
	return d;
}

/* The whole disk at once, and in pieces that fit to nothing. */
static void is_as_expected(struct disk *d)
{
	struct block_store s = disk_store(d);

	memset(buffer, 0x5a, s.size);
	assert_int_equal(s.read(s.ctx, 0, buffer, s.size), 0);
	assert_memory_equal(buffer, expected, s.size);
	memset(buffer, 0x5a, s.size);
	for (uint64_t at = 0, n; at < s.size; at += n) {
		n = s.size - at < 99991 ? s.size - at : 99991;
		assert_int_equal(s.read(s.ctx, at, buffer + at, n), 0);
	}
	assert_memory_equal(buffer, expected, s.size);
}

static int write(struct disk *d, uint64_t offset, size_t size, int byte)
{
	struct block_store s = disk_store(d);
	int err;

	memset(buffer, byte, size);
	err = s.write(s.ctx, offset, buffer, size);
	if (!err)
		memset(expected + offset, byte, size);
	return err;
}

static int zero(struct disk *d, uint64_t offset, uint64_t size)
{
	struct block_store s = disk_store(d);
	int err = s.zero(s.ctx, offset, size);

	if (!err)
		memset(expected + offset, 0, size);
	return err;
}

static void says_what_it_is(void **state)
{
	struct disk *d = create(&in_place);
	struct block_store s = disk_store(d);

	(void)state;
	assert_true(s.size == 5 * MIB);
	assert_false(s.read_only);
	assert_string_equal(s.serial, "12345678901234567890");
	disk_destroy(d);
	d = create(&read_only);
	s = disk_store(d);
	assert_true(s.size == SIZE);
	assert_true(s.read_only);
	disk_destroy(d);
	disk_destroy(NULL);
}

static void writes_into_the_file(void **state)
{
	uint64_t before = phys_free_bytes();
	struct disk *d = create(&in_place);

	(void)state;
	is_as_expected(d);
	assert_true(before - phys_free_bytes() == PAGE_SIZE);
	assert_int_equal(write(d, 100, 3 * DISK_CLUSTER, 7), 0);
	assert_int_equal(write(d, 5 * MIB - 1, 1, 9), 0);
	assert_int_equal(zero(d, 200, DISK_CLUSTER), 0);
	is_as_expected(d);
	assert_memory_equal(file, expected, 5 * MIB);
	assert_memory_equal(file + 5 * MIB, kept + 5 * MIB, 1000);
	assert_true(disk_written(d) == 0);
	disk_destroy(d);
	assert_true(phys_free_bytes() == before);
}

static void has_no_way_to_write_what_is_read_only(void **state)
{
	uint64_t before = phys_free_bytes();
	struct disk *d = create(&read_only);

	(void)state;
	assert_true(before - phys_free_bytes() == PAGE_SIZE); /* `writable` means nothing */
	assert_null(disk_store(d).write);
	assert_null(disk_store(d).zero);
	is_as_expected(d);
	assert_memory_equal(file, kept, FILE_SIZE);
	disk_destroy(d);
}

static void overlay_leaves_the_file_alone(void **state)
{
	uint64_t before = phys_free_bytes(), at = 32 * DISK_CLUSTER;
	struct disk *d = create(&overlay);

	(void)state;
	is_as_expected(d);
	assert_int_equal(write(d, at + 1000, 100, 1), 0); /* in the middle of a cluster */
	is_as_expected(d);
	assert_true(disk_written(d) == DISK_CLUSTER);
	assert_int_equal(write(d, at + 1050, 100, 2), 0); /* which is there already */
	assert_true(disk_written(d) == DISK_CLUSTER);
	assert_int_equal(write(d, 5 * DISK_CLUSTER - 1, 2 * DISK_CLUSTER + 2, 3), 0);
	assert_true(disk_written(d) == 5 * DISK_CLUSTER);
	assert_int_equal(write(d, FILE_SIZE - 10, 20, 4), 0); /* across the file's end */
	assert_int_equal(write(d, SIZE - 1, 1, 5), 0);	      /* behind it, at the disk's end */
	is_as_expected(d);
	assert_true(disk_written(d) == 7 * DISK_CLUSTER);
	assert_memory_equal(file, kept, FILE_SIZE);
	disk_destroy(d);
	assert_true(phys_free_bytes() == before);
}

static void zeroes_hide_the_file(void **state)
{
	struct disk *d = create(&overlay);

	(void)state;
	assert_int_equal(zero(d, DISK_CLUSTER, 2 * DISK_CLUSTER), 0); /* whole clusters take no memory */
	assert_true(disk_written(d) == 0);
	is_as_expected(d);
	assert_int_equal(zero(d, 2 * DISK_CLUSTER + 7, 100), 0); /* zero already */
	assert_true(disk_written(d) == 0);
	assert_int_equal(zero(d, 4 * DISK_CLUSTER + 7, 2 * DISK_CLUSTER), 0); /* two parts, one whole */
	assert_true(disk_written(d) == 2 * DISK_CLUSTER);
	is_as_expected(d);
	assert_int_equal(write(d, DISK_CLUSTER + 100, 50, 6), 0); /* the rest of it stays zero */
	is_as_expected(d);
	assert_int_equal(zero(d, DISK_CLUSTER, DISK_CLUSTER), 0);
	assert_true(disk_written(d) == 2 * DISK_CLUSTER);
	is_as_expected(d);
	assert_int_equal(zero(d, FILE_SIZE, SIZE - FILE_SIZE), 0); /* the file's last cluster keeps what it holds */
	assert_true(disk_written(d) == 2 * DISK_CLUSTER);
	is_as_expected(d);
	assert_int_equal(zero(d, FILE_SIZE - 1, 2), 0);
	is_as_expected(d);
	assert_int_equal(write(d, SIZE - 3 * BLOCK_SECTOR, 3 * BLOCK_SECTOR, 8), 0);
	assert_int_equal(zero(d, SIZE - BLOCK_SECTOR, BLOCK_SECTOR), 0); /* not the whole of the disk's last cluster */
	is_as_expected(d);
	assert_int_equal(zero(d, 0, SIZE), 0);
	assert_true(disk_written(d) == 0);
	is_as_expected(d);
	assert_memory_equal(file, kept, FILE_SIZE);
	disk_destroy(d);
}

static void zeroes_give_memory_back(void **state)
{
	uint64_t before = phys_free_bytes();
	struct disk *d = create(&blank);

	(void)state;
	is_as_expected(d);
	for (unsigned round = 1; round <= 3; round++) { /* all of it can be written, again and again */
		assert_int_equal(write(d, 0, SIZE, (int)round), 0);
		assert_true(disk_written(d) == ALIGN_UP(SIZE, DISK_CLUSTER));
		is_as_expected(d);
		assert_int_equal(zero(d, DISK_CLUSTER, SIZE - DISK_CLUSTER), 0); /* the last cluster is not full */
		assert_true(disk_written(d) == DISK_CLUSTER);
		is_as_expected(d);
		for (uint64_t at = 2 * DISK_CLUSTER + 5; at + 9 < SIZE; at += DISK_CLUSTER)
			assert_int_equal(write(d, at, 9, 0x77), 0); /* on memory that was used before */
		is_as_expected(d);
	}
	disk_destroy(d);
	assert_true(phys_free_bytes() == before);
}

/* 64 clusters can be changed of an overlay. What found no memory is as it was, and nothing is lost. */
static void ends_when_the_promise_is_used_up(void **state)
{
	struct disk *d = create(&overlay);
	struct block_store s = disk_store(d);

	(void)state;
	for (uint64_t i = 0; i < 63; i++)
		assert_int_equal(write(d, i * DISK_CLUSTER + i, 1, 0xee), 0);
	assert_int_equal(write(d, 64 * DISK_CLUSTER - 5, 10, 0xdd), -E_NOMEM); /* the first half fits */
	memset(expected + 64 * DISK_CLUSTER - 5, 0xdd, 5);
	assert_true(disk_written(d) == 4 * MIB);
	is_as_expected(d);
	assert_int_equal(write(d, SIZE - DISK_CLUSTER, DISK_CLUSTER, 1), -E_NOMEM);
	assert_int_equal(zero(d, 70 * DISK_CLUSTER + 1, 1), -E_NOMEM);
	assert_int_equal(write(d, 10, 64 * DISK_CLUSTER - 10, 2), 0); /* what is there can be written */
	is_as_expected(d);
	assert_int_equal(zero(d, 70 * DISK_CLUSTER, 5 * DISK_CLUSTER), 0); /* needs no memory */
	assert_int_equal(write(d, 72 * DISK_CLUSTER, 1, 3), -E_NOMEM);	   /* stays zero: the file is not seen again */
	is_as_expected(d);
	assert_int_equal(zero(d, 3 * DISK_CLUSTER, DISK_CLUSTER), 0);
	assert_int_equal(write(d, SIZE - 2 * DISK_CLUSTER, 1, 3), 0); /* in the place of that one */
	assert_int_equal(write(d, 75 * DISK_CLUSTER, 1, 3), -E_NOMEM);
	is_as_expected(d);
	assert_int_equal(s.read(s.ctx, 0, buffer, 0), 0);
	assert_memory_equal(file, kept, FILE_SIZE);
	disk_destroy(d);
}

static void promises_what_can_be_written(void **state)
{
	uint64_t chunks = phys_free_chunks(), before = phys_free_bytes();
	struct disk_setup s = blank;
	struct disk *d = create(&s);

	(void)state;
	assert_true(before - phys_free_bytes() == 10 * MIB + 2 * PAGE_SIZE); /* itself and its table */
	assert_int_equal(write(d, 0, SIZE, 1), 0);
	assert_true(before - phys_free_bytes() == 10 * MIB + 2 * PAGE_SIZE);
	disk_destroy(d);
	assert_true(phys_free_chunks() == chunks);
	s.size = (chunks + 1) * PHYS_CHUNK; /* more than there is */
	s.writable = s.size;
	assert_null(disk_create(&s));
	s.writable = chunks * PHYS_CHUNK; /* the last one is needed for its table when nothing else is split */
	d = disk_create(&s);
	disk_destroy(d);
	assert_true(phys_free_chunks() == chunks && phys_free_bytes() == before);
	s.writable = 1; /* rounded up */
	d = create(&s);
	assert_int_equal(write(d, 0, PHYS_CHUNK, 1), 0);
	assert_int_equal(write(d, PHYS_CHUNK, 1, 1), -E_NOMEM);
	disk_destroy(d);
	s.size = 512; /* no more than the disk holds */
	s.writable = GIB;
	d = create(&s);
	assert_true(before - phys_free_bytes() == PHYS_CHUNK + 2 * PAGE_SIZE);
	disk_destroy(d);
	assert_true(phys_free_chunks() == chunks && phys_free_bytes() == before);
}

/* Whatever is missing, nothing is kept: from a machine without a free chunk to one with all that the tables take. */
static void needs_memory(void **state)
{
	struct disk_setup s = {.size = DISK_MAX_SIZE, .writable = 2 * MIB, .serial = ""};
	hpa_t taken[ARENA / PHYS_CHUNK];
	unsigned count = 0, made = 0;
	struct disk *d;

	(void)state;
	while (!hpa_is_none(taken[count] = phys_alloc(512, 512)))
		count++;
	assert_true(count > 5);
	while (count) {
		uint64_t before = phys_free_bytes();

		d = disk_create(&s);
		made += d != NULL;
		disk_destroy(d);
		assert_true(phys_free_bytes() == before);
		phys_free(taken[--count], 512);
	}
	assert_true(made > 0);
}

/* A chunk can be promised, but there is no page beside it. */
static void needs_a_page(void **state)
{
	struct disk_setup s = {.size = 2 * MIB, .writable = 2 * MIB, .serial = ""};
	hpa_t chunk = phys_alloc(512, 512);

	(void)state;
	assert_false(hpa_is_none(chunk));
	while (!hpa_is_none(phys_alloc(1, 1)))
		;
	phys_free(chunk, 512);
	assert_null(disk_create(&s));
	assert_true(phys_free_chunks() == 1);
}

static void reaches_64_gib(void **state)
{
	struct disk_setup s = {.size = DISK_MAX_SIZE, .writable = 2 * MIB, .serial = ""};
	uint64_t before = phys_free_bytes();
	struct disk *d = create(&s);
	struct block_store store = disk_store(d);
	uint8_t byte;

	(void)state;
	for (uint64_t at = 0; at < s.size; at += 4 * GIB) {
		byte = (uint8_t)(at / GIB + 1);
		assert_int_equal(store.write(d, at ? at - 1 : at, &byte, 1), 0);
	}
	byte = 99;
	assert_int_equal(store.write(d, s.size - 1, &byte, 1), 0);
	for (uint64_t at = 0; at < s.size; at += 4 * GIB) {
		assert_int_equal(store.read(d, at ? at - 1 : at, &byte, 1), 0);
		assert_int_equal(byte, at / GIB + 1);
	}
	assert_int_equal(store.read(d, s.size - 1, &byte, 1), 0);
	assert_int_equal(byte, 99);
	assert_int_equal(store.zero(d, 0, s.size), 0);
	assert_true(disk_written(d) == 0);
	disk_destroy(d);
	assert_true(phys_free_bytes() == before);
}

static void refuses(struct disk_setup s)
{
	assert_null(disk_create(&s));
}

static void refuses_bad_setups(void **state)
{
	uint64_t before = phys_free_bytes();

	(void)state;
	refuses((struct disk_setup){.size = 0, .writable = MIB, .serial = ""});
	refuses((struct disk_setup){.size = 513, .writable = MIB, .serial = ""});
	refuses((struct disk_setup){.size = DISK_MAX_SIZE + 512, .writable = MIB, .serial = ""});
	refuses((struct disk_setup){.size = 512, .serial = ""}); /* nothing to write to */
	refuses((struct disk_setup){.base = file, .base_size = 513, .size = 512, .read_only = true, .serial = ""});
	refuses((struct disk_setup){.base = file, .base_size = 511, .size = 512, .serial = ""});
	refuses((struct disk_setup){.base_size = 512, .size = 512, .read_only = true, .serial = ""});
	refuses((struct disk_setup){.size = 512, .writable = MIB});
	refuses((struct disk_setup){.size = 512, .writable = MIB, .serial = "123456789012345678901"});
	assert_true(phys_free_bytes() == before);
}

static bool read_stops(const struct block_store *s, uint64_t offset, size_t size)
{
	if (setjmp(panicked))
		return true;
	s->read(s->ctx, offset, buffer, size);
	return false;
}

static bool write_stops(const struct block_store *s, uint64_t offset, size_t size)
{
	if (setjmp(panicked))
		return true;
	s->write(s->ctx, offset, buffer, size);
	return false;
}

static bool zero_stops(const struct block_store *s, uint64_t offset, uint64_t size)
{
	if (setjmp(panicked))
		return true;
	s->zero(s->ctx, offset, size);
	return false;
}

/* Its devices check what a guest asks for; a request that lies outside is a mistake of ours. */
static void stops_at_requests_outside(void **state)
{
	static const struct disk_setup *const each[] = {&overlay, &in_place};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(each); i++) {
		struct disk *d = create(each[i]);
		struct block_store s = disk_store(d);

		panics = true;
		assert_true(read_stops(&s, s.size - 1, 2));
		assert_true(write_stops(&s, s.size + 1, 1));
		assert_true(zero_stops(&s, ~0ULL, 2));
		assert_true(zero_stops(&s, 0, s.size + 1));
		panics = false;
		disk_destroy(d);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(says_what_it_is, setup),
	    cmocka_unit_test_setup(writes_into_the_file, setup),
	    cmocka_unit_test_setup(has_no_way_to_write_what_is_read_only, setup),
	    cmocka_unit_test_setup(overlay_leaves_the_file_alone, setup),
	    cmocka_unit_test_setup(zeroes_hide_the_file, setup),
	    cmocka_unit_test_setup(zeroes_give_memory_back, setup),
	    cmocka_unit_test_setup(ends_when_the_promise_is_used_up, setup),
	    cmocka_unit_test_setup(promises_what_can_be_written, setup),
	    cmocka_unit_test_setup(needs_memory, setup),
	    cmocka_unit_test_setup(needs_a_page, setup),
	    cmocka_unit_test_setup(reaches_64_gib, setup),
	    cmocka_unit_test_setup(refuses_bad_setups, setup),
	    cmocka_unit_test_setup(stops_at_requests_outside, setup),
	};
	int failed;

	arena = aligned_alloc(2 * MIB, ARENA);
	if (!arena)
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(arena);
	return failed;
}
