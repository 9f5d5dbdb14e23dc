/* The ChaCha20 block function: RFC 8439, 2.3. Pure. */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdint.h>

#define CHACHA20_KEY_WORDS   8
#define CHACHA20_BLOCK_BYTES 64

void chacha20_block(const uint32_t key[CHACHA20_KEY_WORDS], uint32_t counter, const uint32_t nonce[3],
		    uint8_t out[CHACHA20_BLOCK_BYTES]);
