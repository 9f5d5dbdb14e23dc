/*
 * Random bytes: a generator that is seeded from a source of entropy and forgets its past. The state after a request
 * can't be computed back to what was given out before (its key is replaced by output that nobody sees), and new entropy
 * comes in now and then. Each user has its own; no lock. Pure, given the source.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/chacha20.h"
#include "hv/lib/types.h"

struct random {
	int (*source)(uint64_t *value); /* 64 bits of entropy; negative: not now */
	uint32_t key[CHACHA20_KEY_WORDS];
	uint64_t left; /* bytes to give out before new entropy is asked for */
};

/* -E_NOTSUP: the source gives nothing. */
int random_init(struct random *r, int (*source)(uint64_t *value)) MUST_CHECK;
void random_fill(struct random *r, void *to, size_t size);
