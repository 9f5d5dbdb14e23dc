/*
 * Guest memory under random regions and accesses: the sanitizer sees any byte outside of a region. Some regions are
 * filled when they are touched, in pieces that lie apart; a piece answers for an address in a region only.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/guest_mem.c */
#include <stdlib.h>
#include <string.h>

#include "hv/guest_mem.h"
#include "tests/fuzz/fuzz.h"

struct step {
	uint8_t what;
	uint8_t host;
	uint16_t size;
	uint64_t gpa;
} __attribute__((packed));

#define PIECE  8192
#define PIECES 64

/* Host memory of its own for each piece of a region without a host pointer; none when too many are touched. */
static struct {
	uint64_t number;
	uint8_t *host;
} piece[PIECES];
static unsigned piece_count;

static uint8_t *reach(void *backing, uint64_t gpa, uint64_t *before, uint64_t *left)
{
	const struct guest_mem *mem = backing;
	unsigned i = 0;

	for (unsigned r = 0;; r++) {
		REQUIRE(r < mem->count);
		if (gpa >= mem->region[r].gpa && gpa - mem->region[r].gpa < mem->region[r].size)
			break;
	}
	*before = gpa % PIECE;
	*left = PIECE - gpa % PIECE;
	while (i < piece_count && piece[i].number != gpa / PIECE)
		i++;
	if (i == PIECES)
		return NULL;
	if (i == piece_count) {
		piece[i].number = gpa / PIECE;
		piece[i].host = calloc(1, PIECE);
		piece_count++;
	}
	return piece[i].host + gpa % PIECE;
}

/* Nothing is there that was not touched. */
static uint8_t *look(void *backing, uint64_t gpa, uint64_t *before, uint64_t *left)
{
	for (unsigned i = 0; i < piece_count; i++)
		if (piece[i].number == gpa / PIECE)
			return reach(backing, gpa, before, left);
	return NULL;
}

/* What is read is what is found, or zeroes where there is memory to be. */
static void look_near(const struct guest_mem *mem, struct guest_near *near, gpa_t gpa, size_t size)
{
	size_t found = size, read = size;
	const void *to_write = guest_find_near(mem, near, gpa, &found),
		   *to_read = guest_read_near(mem, near, gpa, &read);
	unsigned pieces = piece_count;

	REQUIRE(!to_read == !guest_has(mem, gpa) && piece_count == pieces);
	if (to_write)
		REQUIRE(to_write == to_read && found == read);
	else if (to_read)
		REQUIRE(read <= PAGE_SIZE - gpa.value % PAGE_SIZE);
	for (size_t i = 0; to_read && !to_write && i < read; i++)
		REQUIRE(((const uint8_t *)to_read)[i] == 0);
}

static void check_order(const struct guest_mem *mem)
{
	for (unsigned i = 1; i < mem->count; i++)
		REQUIRE(mem->region[i].gpa >= mem->region[i - 1].gpa + mem->region[i - 1].size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t buffer[65536];
	struct guest_mem mem = {.reach = reach, .look = look, .backing = &mem};
	uint8_t *host[GUEST_MEM_MAX_REGIONS] = {0};
	struct guest_near near = {0};
	struct step s;
	size_t some;
	void *p;

	for (; size >= sizeof(s); data += sizeof(s), size -= sizeof(s)) {
		memcpy(&s, data, sizeof(s));
		if (s.what % 7 == 0 && mem.count < GUEST_MEM_MAX_REGIONS) {
			uint64_t bytes = (s.size % 4) * PAGE_SIZE;
			unsigned i = mem.count;

			host[i] = s.host % 2 ? NULL : calloc(1, bytes ? bytes : 1);
			if (guest_mem_add(&mem, &(struct guest_region){s.gpa & ~0xfffULL, bytes, host[i], true}))
				free(host[i]);
			check_order(&mem);
		} else if (s.what % 7 == 1) {
			(void)!guest_read(&mem, GPA(s.gpa), buffer, s.size);
		} else if (s.what % 7 == 2) {
			(void)!guest_write(&mem, GPA(s.gpa), buffer, s.size);
		} else if (s.what % 7 == 3) {
			(void)!guest_zero(&mem, GPA(s.gpa), s.size);
		} else if (s.what % 7 == 4) {
			some = s.size;
			p = guest_map_near(&mem, &near, GPA(s.gpa), &some);
			if (p)
				memset(p, 1, some);
		} else if (s.what % 7 == 5) {
			look_near(&mem, &near, GPA(s.gpa), s.size);
		} else if (s.size <= PIECE - s.gpa % PIECE && (p = guest_map(&mem, GPA(s.gpa), s.size)) != NULL) {
			memset(p, 1, s.size);
		}
	}
	for (unsigned i = 0; i < mem.count; i++)
		free(mem.region[i].host);
	while (piece_count)
		free(piece[--piece_count].host);
	return 0;
}
