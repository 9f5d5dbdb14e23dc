/* Arbitrary command lines cut into words: words lie in the line, one after the other, and end in it. */
/* SPDX-License-Identifier: MIT */
/* links: hv/shell/words.c hv/lib/number.c */
#include <stdlib.h>
#include <string.h>

#include "hv/lib/number.h"
#include "hv/shell/words.h"
#include "tests/fuzz/fuzz.h"

static void check(const struct words *w, const char *line, size_t size)
{
	const char *free_from = line; /* no word may begin before this */
	uint64_t number;

	REQUIRE(w->count <= WORDS_MAX && !(w->error && w->count));
	for (unsigned i = 0; i < w->count; i++) {
		const char *end = w->word[i] < free_from || w->word[i] > line + size
				      ? NULL
				      : memchr(w->word[i], 0, (size_t)(line + size + 1 - w->word[i]));

		REQUIRE(end);
		free_from = end + 1;
		(void)!number_parse(w->word[i], (size_t)(end - w->word[i]), &number);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *line = malloc(size + 1);
	struct words words;
	unsigned count;

	memcpy(line, data, size);
	line[size] = 0;
	REQUIRE((words_cut(&words, line) != 0) == (words.error != NULL));
	check(&words, line, size);
	count = words.count;
	REQUIRE(words_take_flag(&words, "-j") == (words.count != count));
	check(&words, line, size);
	free(line);
	return 0;
}
