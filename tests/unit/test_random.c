/*
 * Random bytes: the block function against RFC 8439's vector; what is given out differs, can't be had again from the
 * state that is left, and takes in new entropy; a source that gives nothing.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/random.c hv/lib/chacha20.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/random.h"

static uint64_t next_seed;
static unsigned asked;
static bool dry;

static int source(uint64_t *value)
{
	asked++;
	*value = next_seed++;
	return dry ? -E_NOTSUP : 0;
}

static int setup(void **state)
{
	(void)state;
	next_seed = asked = 0;
	dry = false;
	return 0;
}

/* 2.3.2 */
static void the_vector_of_the_rfc(void **state)
{
	static const uint8_t expected[] = {0x10, 0xf1, 0xe7, 0xe4, 0xd1, 0x3b, 0x59, 0x15, 0x50, 0x0f, 0xdd, 0x1f, 0xa3,
					   0x20, 0x71, 0xc4, 0xc7, 0xd1, 0xf4, 0xc7, 0x33, 0xc0, 0x68, 0x03, 0x04, 0x22,
					   0xaa, 0x9a, 0xc3, 0xd4, 0x6c, 0x4e, 0xd2, 0x82, 0x64, 0x46, 0x07, 0x9f, 0xaa,
					   0x09, 0x14, 0xc2, 0xd7, 0x05, 0xd9, 0x8b, 0x02, 0xa2, 0xb5, 0x12, 0x9c, 0xd1,
					   0xde, 0x16, 0x4e, 0xb9, 0xcb, 0xd0, 0x83, 0xe8, 0xa2, 0x50, 0x3c, 0x4e};
	static const uint8_t nonce_bytes[] = {0, 0, 0, 9, 0, 0, 0, 0x4a, 0, 0, 0, 0};
	uint8_t key_bytes[32], out[CHACHA20_BLOCK_BYTES];
	uint32_t key[8], nonce[3];

	(void)state;
	for (unsigned i = 0; i < sizeof(key_bytes); i++)
		key_bytes[i] = (uint8_t)i;
	memcpy(key, key_bytes, sizeof(key));
	memcpy(nonce, nonce_bytes, sizeof(nonce));
	chacha20_block(key, 1, nonce, out);
	assert_memory_equal(out, expected, sizeof(expected));
}

/* Every byte of any length is written, and none behind it. */
static void every_length(void **state)
{
	struct random r;
	uint8_t out[300], seen[300] = {0};

	(void)state;
	assert_int_equal(random_init(&r, source), 0);
	for (size_t size = 0; size < sizeof(out); size++) {
		for (unsigned i = 0; i < 8; i++) {
			memset(out, 0, sizeof(out));
			random_fill(&r, out, size);
			for (size_t at = 0; at < sizeof(out); at++)
				seen[at] |= out[at];
			for (size_t at = size; at < sizeof(out); at++)
				assert_int_equal(out[at], 0);
		}
	}
	for (size_t at = 0; at < sizeof(out) - 1; at++)
		assert_int_not_equal(seen[at], 0);
}

static void the_past_is_forgotten(void **state)
{
	struct random r, copy;
	uint8_t first[64], second[64], again[64];

	(void)state;
	assert_int_equal(random_init(&r, source), 0);
	random_fill(&r, first, sizeof(first));
	copy = r;
	random_fill(&r, second, sizeof(second));
	random_fill(&copy, again, sizeof(again));
	assert_memory_equal(second, again, sizeof(again)); /* the state is all there is, */
	assert_memory_not_equal(first, second, sizeof(first));
	assert_memory_not_equal(copy.key, first, sizeof(copy.key)); /* and the key was never given out */
	assert_memory_not_equal(r.key, second, sizeof(r.key));
}

static void entropy_comes_in(void **state)
{
	static uint8_t out[64 * 1024];
	struct random r, copy;
	uint8_t with[32], without[32];

	(void)state;
	assert_int_equal(random_init(&r, source), 0);
	assert_int_equal(asked, 4);
	for (unsigned i = 0; i < 16; i++)
		random_fill(&r, out, sizeof(out));
	assert_int_equal(asked, 4); /* one MiB */
	copy = r;
	random_fill(&r, with, sizeof(with));
	assert_int_equal(asked, 8);
	copy.left = ~0ULL;
	random_fill(&copy, without, sizeof(without));
	assert_memory_not_equal(with, without, sizeof(with));
}

static void a_dry_source(void **state)
{
	struct random r;
	uint8_t one[32], other[32];

	(void)state;
	dry = true;
	assert_int_equal(random_init(&r, source), -E_NOTSUP);
	dry = false;
	assert_int_equal(random_init(&r, source), 0);
	dry = true;
	r.left = 0;
	random_fill(&r, one, sizeof(one)); /* goes on with what it has */
	random_fill(&r, other, sizeof(other));
	assert_memory_not_equal(one, other, sizeof(one));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(the_vector_of_the_rfc, setup), cmocka_unit_test_setup(every_length, setup),
	    cmocka_unit_test_setup(the_past_is_forgotten, setup), cmocka_unit_test_setup(entropy_comes_in, setup),
	    cmocka_unit_test_setup(a_dry_source, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
