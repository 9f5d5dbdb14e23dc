/* Random bytes; see random.h. ChaCha20 with fast key erasure: each request's first 32 bytes are the next key. */
/* SPDX-License-Identifier: MIT */
#include "hv/random.h"

#include "hv/lib/string.h"

#define RESEED_BYTES (1 * MIB)

/* Entropy is added to the key, so a source that gives nothing or nonsense makes nothing worse. */
static int reseed(struct random *r)
{
	uint64_t seed = 0;

	r->left = RESEED_BYTES;
	for (unsigned i = 0; i < CHACHA20_KEY_WORDS; i += 2) {
		if (r->source(&seed))
			return -E_NOTSUP;
		r->key[i] ^= (uint32_t)seed;
		r->key[i + 1] ^= (uint32_t)(seed >> 32);
	}
	return 0;
}

int random_init(struct random *r, int (*source)(uint64_t *value))
{
	memset(r, 0, sizeof(*r));
	r->source = source;
	return reseed(r);
}

void random_fill(struct random *r, void *to, size_t size)
{
	static const uint32_t nonce[3];
	uint32_t key[CHACHA20_KEY_WORDS];
	uint8_t block[CHACHA20_BLOCK_BYTES], *out = to;
	size_t n;

	if (r->left < size)
		(void)!reseed(r);
	r->left -= size < r->left ? size : r->left;
	memcpy(key, r->key, sizeof(key));
	chacha20_block(key, 0, nonce, block);
	memcpy(r->key, block, sizeof(r->key)); /* before anything is given out */
	for (uint32_t counter = 1; size; counter++, size -= n, out += n) {
		n = size < sizeof(block) ? size : sizeof(block);
		chacha20_block(key, counter, nonce, block);
		memcpy(out, block, n);
	}
	memset(key, 0, sizeof(key));
	memset(block, 0, sizeof(block));
}
