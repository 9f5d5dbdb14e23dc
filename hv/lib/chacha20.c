/* The ChaCha20 block function; see chacha20.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/lib/chacha20.h"

#include "hv/lib/string.h"

#define WORDS	      16
#define DOUBLE_ROUNDS 10

static uint32_t rotate(uint32_t x, unsigned by)
{
	return x << by | x >> (32 - by);
}

static void quarter_round(uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d)
{
	*a += *b;
	*d = rotate(*d ^ *a, 16);
	*c += *d;
	*b = rotate(*b ^ *c, 12);
	*a += *b;
	*d = rotate(*d ^ *a, 8);
	*c += *d;
	*b = rotate(*b ^ *c, 7);
}

/* Columns, then diagonals. */
static void double_round(uint32_t x[WORDS])
{
	for (unsigned i = 0; i < 4; i++)
		quarter_round(&x[i], &x[4 + i], &x[8 + i], &x[12 + i]);
	for (unsigned i = 0; i < 4; i++)
		quarter_round(&x[i], &x[4 + (i + 1) % 4], &x[8 + (i + 2) % 4], &x[12 + (i + 3) % 4]);
}

void chacha20_block(const uint32_t key[CHACHA20_KEY_WORDS], uint32_t counter, const uint32_t nonce[3],
		    uint8_t out[CHACHA20_BLOCK_BYTES])
{
	uint32_t start[WORDS] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}, x[WORDS];

	memcpy(start + 4, key, CHACHA20_KEY_WORDS * sizeof(uint32_t));
	start[12] = counter;
	memcpy(start + 13, nonce, 3 * sizeof(uint32_t));
	memcpy(x, start, sizeof(x));
	for (unsigned i = 0; i < DOUBLE_ROUNDS; i++)
		double_round(x);
	for (unsigned i = 0; i < WORDS; i++)
		x[i] += start[i];
	memcpy(out, x, sizeof(x));
}
