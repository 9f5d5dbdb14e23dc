/*
 * A typed line cut into words, in place, and flags taken out of them. Called by the shell before each command. Words
 * point into the line.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

#define WORDS_MAX 32

struct words {
	unsigned count;
	char *word[WORDS_MAX];
	const char *error; /* what words_cut() found wrong */
};

/*
 * Blanks (space, tab) separate. '...' and "..." group as they stand, key="a value" is one word, "" an empty one.
 * Outside of quotes a backslash takes the meaning from a blank, a quote or a backslash after it; before anything else
 * it is a character like others, so that \vireo\vmlinuz can be typed as it is. No words at all are no error. -E_INVAL:
 * w->error says why, and w has no words.
 */
int words_cut(struct words *w, char *line) MUST_CHECK;

/* Takes the word `flag` ("--json") out; says whether it was there. */
bool words_take_flag(struct words *w, const char *flag);
