/*
 * drivers/keymap.c on arbitrary scan codes. What is typed stays within its bounds; and whatever came before, a user can
 * get back to a plain character by releasing the modifiers and pressing the locks.
 */
/* SPDX-License-Identifier: MIT */
/* links: drivers/keymap.c */
#include "drivers/keymap.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

/* One code, with an answer of exactly the promised size. */
static size_t feed(struct keymap *k, uint8_t code, uint8_t *first)
{
	uint8_t *bytes = malloc(KEYMAP_MAX);
	size_t count;

	REQUIRE(bytes);
	bytes[0] = 0;
	count = keymap_decode(k, code, bytes);
	REQUIRE(count <= KEYMAP_MAX);
	*first = bytes[0];
	free(bytes);
	return count;
}

static void feed_all(struct keymap *k, const uint8_t *codes, size_t count)
{
	uint8_t first;

	for (size_t i = 0; i < count; i++)
		feed(k, codes[i], &first);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* two that end any prefix; both Shift, Ctrl, Alt and the locks are released */
	static const uint8_t calm[] = {0xd4, 0xd4, 0xaa, 0xb6, 0x9d, 0xe0, 0x9d, 0xb8, 0xe0, 0xb8, 0xba, 0xc5};
	static const uint8_t caps[] = {0x3a, 0xba};
	struct keymap k = {0};
	uint8_t first;

	feed_all(&k, data, size);
	feed_all(&k, calm, sizeof(calm));
	REQUIRE(!k.held && !k.skip && !k.extended);
	if (k.caps_lock)
		feed_all(&k, caps, sizeof(caps));
	REQUIRE(feed(&k, 0x1e, &first) == 1 && first == 'a');
	return 0;
}
