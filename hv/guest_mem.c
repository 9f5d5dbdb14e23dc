/*
 * Guest memory: the only file that turns a guest-physical address into a pointer. Called by loaders, devices and exit
 * handlers; owns nothing (the VM owns the memory). Pure, hence fuzzed on the development host.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/guest_mem.h"

#include "hv/lib/nospec.h"
#include "hv/lib/string.h"

static const struct guest_region *find_region(const struct guest_mem *mem, uint64_t gpa)
{
	for (unsigned i = mem->count; i-- > 0;) /* most of memory is in the last ones */
		if (gpa - mem->region[i].gpa < mem->region[i].size)
			return &mem->region[i];
	return NULL;
}

/* An address is the guest's choice, and what is read there may be the next one. */
static uint64_t offset_in(const struct guest_region *r, uint64_t gpa)
{
	return index_nospec(gpa - r->gpa, r->size);
}

/* Bytes from `gpa` on that lie in one region and in one piece, at most `size`; `host` points at the first. 0: none. */
static size_t find_piece(const struct guest_mem *mem, uint64_t gpa, size_t size, uint8_t **host)
{
	const struct guest_region *r = find_region(mem, gpa);
	uint64_t offset, before, left;

	*host = NULL;
	if (!r)
		return 0;
	offset = offset_in(r, gpa);
	left = r->size - offset;
	if (left < size)
		size = left;
	if (r->host) {
		*host = r->host + offset;
		return size;
	}
	*host = mem->reach(mem->backing, r->gpa + offset, &before, &left);
	if (!*host)
		return 0;
	return left < size ? (size_t)left : size;
}

/* Regions do not wrap, so a `gpa` that did would no longer be inside one: the walk ends after `count` pieces. */
static bool range_is_backed(const struct guest_mem *mem, uint64_t gpa, size_t size)
{
	uint8_t *host;
	size_t n;

	for (; size; gpa += n, size -= n) {
		n = find_piece(mem, gpa, size, &host);
		if (!n)
			return false;
	}
	return true;
}

int guest_mem_add(struct guest_mem *mem, const struct guest_region *region)
{
	unsigned at = 0;

	if ((!region->host && (!mem->reach || !mem->look)) || !region->size ||
	    (region->gpa | region->size) % PAGE_SIZE || region->size > UINT64_MAX - region->gpa)
		return -E_INVAL;
	while (at < mem->count && mem->region[at].gpa < region->gpa)
		at++;
	if (at > 0 && region->gpa - mem->region[at - 1].gpa < mem->region[at - 1].size)
		return -E_EXIST;
	if (at < mem->count && mem->region[at].gpa - region->gpa < region->size)
		return -E_EXIST;
	if (mem->count == GUEST_MEM_MAX_REGIONS)
		return -E_NOMEM;
	memmove(&mem->region[at + 1], &mem->region[at], (mem->count - at) * sizeof(mem->region[0]));
	mem->region[at] = *region;
	mem->count++;
	return 0;
}

int guest_read(const struct guest_mem *mem, gpa_t src, void *dst, size_t size)
{
	uint8_t *out = dst, *host;
	uint64_t gpa = src.value;
	size_t n;

	for (; size; gpa += n, out += n, size -= n) {
		n = find_piece(mem, gpa, size, &host);
		if (!n)
			return -E_RANGE;
		memcpy(out, host, n);
	}
	return 0;
}

int guest_write(const struct guest_mem *mem, gpa_t dst, const void *src, size_t size)
{
	const uint8_t *in = src;
	uint64_t gpa = dst.value;
	uint8_t *host;

	if (!range_is_backed(mem, gpa, size))
		return -E_RANGE;
	for (size_t n; size; gpa += n, in += n, size -= n) {
		n = find_piece(mem, gpa, size, &host);
		if (!n)
			return -E_RANGE;
		memcpy(host, in, n);
	}
	return 0;
}

int guest_zero(const struct guest_mem *mem, gpa_t dst, size_t size)
{
	uint64_t gpa = dst.value;
	uint8_t *host;

	if (!range_is_backed(mem, gpa, size))
		return -E_RANGE;
	for (size_t n; size; gpa += n, size -= n) {
		n = find_piece(mem, gpa, size, &host);
		if (!n)
			return -E_RANGE;
		memset(host, 0, n);
	}
	return 0;
}

/*
 * All of the piece in which an address lies, as `mem` reaches or looks at it: as much of it as is in the region. False:
 * none, and `near` is as it was.
 */
static inline bool find_near(const struct guest_mem *mem, uint64_t gpa, struct guest_near *near, bool fill)
{
	const struct guest_region *r = find_region(mem, gpa);
	uint64_t offset, before, left;
	uint8_t *host;

	if (!r)
		return false;
	offset = offset_in(r, gpa);
	if (r->host) {
		*near = (struct guest_near){r->gpa, r->size, r->host};
		return true;
	}
	host = (fill ? mem->reach : mem->look)(mem->backing, r->gpa + offset, &before, &left);
	if (!host)
		return false;
	before = before < offset ? before : offset;
	left = left < r->size - offset ? left : r->size - offset;
	*near = (struct guest_near){gpa - before, before + left, host - before};
	return true;
}

static bool is_near(const struct guest_near *near, uint64_t gpa)
{
	return gpa - near->gpa < near->size;
}

static uint8_t *within(const struct guest_near *near, uint64_t gpa, size_t *size)
{
	uint64_t offset = index_nospec(gpa - near->gpa, near->size), left = near->size - offset;

	if (left < *size)
		*size = left;
	return near->host + offset;
}

void *guest_map_near(const struct guest_mem *mem, struct guest_near *near, gpa_t gpa, size_t *size)
{
	if (!is_near(near, gpa.value) && !find_near(mem, gpa.value, near, true))
		return NULL;
	return within(near, gpa.value, size);
}

void *guest_find_near(const struct guest_mem *mem, struct guest_near *near, gpa_t gpa, size_t *size)
{
	if (!is_near(near, gpa.value) && !find_near(mem, gpa.value, near, false))
		return NULL;
	return within(near, gpa.value, size);
}

/* Regions are whole pages. */
static const void *read_nothing(const struct guest_mem *mem, gpa_t gpa, size_t *size)
{
	static const uint8_t zeroes[PAGE_SIZE];
	uint64_t left = PAGE_SIZE - gpa.value % PAGE_SIZE;

	if (!guest_has(mem, gpa))
		return NULL;
	if (left < *size)
		*size = left;
	return zeroes;
}

const void *guest_read_near(const struct guest_mem *mem, struct guest_near *near, gpa_t gpa, size_t *size)
{
	const void *host = guest_find_near(mem, near, gpa, size);

	return host ? host : read_nothing(mem, gpa, size);
}

/* In more pieces than one, which lie behind each other in one chunk, or in a region that the host has as a whole. */
static void *map_pieces(const struct guest_mem *mem, gpa_t gpa, size_t size)
{
	const struct guest_region *r = find_region(mem, gpa.value);
	uint8_t *first, *host;
	size_t done, n;

	if (!r || !size || size > r->size - (gpa.value - r->gpa))
		return NULL;
	if (!r->host && gpa.value / GUEST_MEM_CHUNK != (gpa.value + size - 1) / GUEST_MEM_CHUNK)
		return NULL;
	done = find_piece(mem, gpa.value, size, &first);
	for (; done && done < size; done += n) {
		n = find_piece(mem, gpa.value + done, size - done, &host);
		if (!n || host != first + done)
			return NULL;
	}
	return done ? first : NULL;
}

bool guest_has(const struct guest_mem *mem, gpa_t gpa)
{
	return find_region(mem, gpa.value);
}

void *guest_map(const struct guest_mem *mem, gpa_t gpa, size_t size)
{
	uint8_t *host;

	if (size && find_piece(mem, gpa.value, size, &host) == size) /* nearly always */
		return host;
	return map_pieces(mem, gpa, size);
}

bool guest_is_ram(const struct guest_mem *mem, gpa_t gpa, size_t size)
{
	const struct guest_region *r = find_region(mem, gpa.value);

	return r && r->ram && size <= r->size - (gpa.value - r->gpa);
}

uint64_t guest_mem_below_4g(const struct guest_mem *mem)
{
	uint64_t top = 0;

	for (unsigned i = 0; i < mem->count; i++) {
		const struct guest_region *r = &mem->region[i];

		if (!r->ram)
			continue;
		if (r->gpa > (top > MIB ? top : MIB))
			break;
		top = r->gpa + r->size;
	}
	return top < 4 * GIB ? top : 4 * GIB;
}
