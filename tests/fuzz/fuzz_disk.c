/*
 * Two disks of the same memory under random reads, writes and zeroes, against plain arrays. Their kinds, sizes and how
 * much can be changed come from the input's first bytes. The model counts clusters, so it knows which request finds no
 * memory, and how far it came.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/disk.c hv/phys.c */
/* flags: -fno-sanitize-coverage=trace-cmp */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "hv/disk.h"
#include "hv/lib/panic.h"
#include "hv/phys.h"
#include "tests/fuzz/fuzz.h"

#define ARENA	 (16 * MIB)
#define MAX_SIZE (40 * DISK_CLUSTER)
#define MAX_OPS	 60

enum { OVERLAY, BLANK, IN_PLACE, READ_ONLY };

struct step {
	uint8_t what;	  /* bit 7: which disk */
	uint8_t cluster;  /* where */
	int8_t near_end;  /* sectors or bytes from there */
	uint8_t clusters; /* how much */
	int8_t more;
} __attribute__((packed));

struct model {
	unsigned kind;
	struct disk_setup setup;
	struct disk *disk;
	struct block_store store;
	uint64_t limit, used; /* clusters */
	bool own[MAX_SIZE / DISK_CLUSTER + 1], hidden[MAX_SIZE / DISK_CLUSTER + 1];
	uint8_t bytes[MAX_SIZE];
};

static uint8_t *arena;
static uint8_t file[2][MAX_SIZE], pristine[MAX_SIZE + 32 * KIB], buffer[MAX_SIZE];
static struct model model[2];

void panic(const char *fmt, ...)
{
	(void)fmt;
	abort();
}

static void begin(void)
{
	static struct boot_info info;

	if (!arena) {
		arena = aligned_alloc(PHYS_CHUNK, ARENA);
		REQUIRE(arena);
		memset(arena, 0xa5, ARENA);
		for (size_t i = 0; i < sizeof(pristine); i++)
			pristine[i] = (uint8_t)(i * 31 + i / 4096 + 1);
		memcpy(file[0], pristine, MAX_SIZE);
		memcpy(file[1], pristine, MAX_SIZE);
	}
	info.memory_count = 1;
	info.memory[0] = (struct boot_memory){.base = (uint64_t)arena, .length = ARENA, .type = BOOT_MEMORY_FREE};
	REQUIRE(phys_init(&info) == 0);
}

/* Four bytes: kind and whether it is large, clusters, sectors to that, how much of it is file or can be changed. */
static void create(struct model *m, const uint8_t *in, uint8_t *base)
{
	struct disk_setup *s = &m->setup;

	memset(m, 0, offsetof(struct model, bytes));
	m->kind = in[0] % 4;
	s->size = in[1] % (in[0] & 4 ? 39 : 4) * DISK_CLUSTER + (1 + in[2] % 128) * BLOCK_SECTOR;
	memset(m->bytes, 0, s->size);
	s->serial = "s";
	s->read_only = m->kind == READ_ONLY;
	if (m->kind == OVERLAY || m->kind == BLANK)
		s->writable = 1 + in[3] % 2 * 2 * MIB;
	if (m->kind != BLANK) {
		s->base = base;
		s->base_size = m->kind == IN_PLACE ? s->size : s->size * in[3] / 255;
		memcpy(m->bytes, base, s->base_size);
	}
	m->limit = ALIGN_UP(s->writable < s->size ? s->writable : s->size, PHYS_CHUNK) / DISK_CLUSTER;
	m->disk = disk_create(s);
	REQUIRE(m->disk);
	m->store = disk_store(m->disk);
	REQUIRE(m->store.size == s->size && m->store.read_only == s->read_only);
	REQUIRE(!m->store.write == s->read_only && !m->store.zero == s->read_only);
}

/* A cluster of an overlay gets memory of its own, if it has none. */
static bool own(struct model *m, uint64_t cluster)
{
	if (m->kind == IN_PLACE || m->own[cluster])
		return true;
	if (m->used == m->limit)
		return false;
	m->own[cluster] = true;
	m->used++;
	return true;
}

static bool drop(struct model *m, uint64_t cluster)
{
	if (m->kind == IN_PLACE)
		return true;
	m->used -= m->own[cluster];
	m->own[cluster] = false;
	m->hidden[cluster] = true;
	return true;
}

/* Zeroes one cluster's part. */
static bool model_zero(struct model *m, uint64_t at, uint64_t size)
{
	uint64_t cluster = at / DISK_CLUSTER;
	bool starts = at % DISK_CLUSTER == 0, ends = (at + size) % DISK_CLUSTER == 0 || at + size == m->setup.size;

	if (starts && ends)
		return drop(m, cluster);
	if (!m->own[cluster] && (m->hidden[cluster] || at >= m->setup.base_size))
		return true;
	return own(m, cluster);
}

/* `from` NULL: zeroes. What the disk should answer. */
static int model_change(struct model *m, uint64_t at, const uint8_t *from, uint64_t size)
{
	uint64_t count;

	for (; size; at += count, size -= count) {
		count = DISK_CLUSTER - at % DISK_CLUSTER;
		if (count > size)
			count = size;
		if (from ? !own(m, at / DISK_CLUSTER) : !model_zero(m, at, count))
			return -E_NOMEM;
		if (from) {
			memcpy(m->bytes + at, from, count);
			from += count;
		} else {
			memset(m->bytes + at, 0, count);
		}
	}
	return 0;
}

static void compare(struct model *m, uint64_t at, uint64_t size)
{
	memset(buffer, 0x5a, size);
	REQUIRE(m->store.read(m->store.ctx, at, buffer, size) == 0);
	REQUIRE(!memcmp(buffer, m->bytes + at, size));
}

static void take_step(struct model *m, const struct step *s)
{
	uint64_t end = m->setup.size, unit = s->what & 0x40 ? BLOCK_SECTOR : 1;
	uint64_t clusters = end / DISK_CLUSTER + 2;
	int64_t at = (int64_t)(s->cluster % clusters * DISK_CLUSTER) + s->near_end * (int64_t)unit;
	int64_t size = (int64_t)(s->clusters % clusters * DISK_CLUSTER) + s->more * (int64_t)unit;
	uint64_t offset = at < 0 ? 0 : (uint64_t)at > end ? end : (uint64_t)at;
	uint64_t count = size < 0 ? 0 : (uint64_t)size > end - offset ? end - offset : (uint64_t)size;
	int want;

	switch (m->kind == READ_ONLY ? 0 : s->what % 4) {
	case 0:
		compare(m, offset, count);
		break;
	case 1:
	case 2:
		memcpy(buffer, pristine + s->what * 97 + 13, count);
		want = model_change(m, offset, buffer, count);
		REQUIRE(m->store.write(m->store.ctx, offset, buffer, count) == want);
		break;
	default:
		want = model_change(m, offset, NULL, count);
		REQUIRE(m->store.zero(m->store.ctx, offset, count) == want);
	}
	REQUIRE(disk_written(m->disk) == (m->kind == IN_PLACE ? 0 : m->used * DISK_CLUSTER));
}

static void finish(struct model *m, uint8_t *base)
{
	compare(m, 0, m->setup.size);
	disk_destroy(m->disk);
	if (m->kind == IN_PLACE) {
		REQUIRE(!memcmp(base, m->bytes, m->setup.size));
		memcpy(base, pristine, m->setup.size);
	}
	REQUIRE(!memcmp(base, pristine, m->setup.size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t before;
	struct step s;

	if (size < 8)
		return 0;
	begin();
	before = phys_free_bytes();
	for (unsigned i = 0; i < 2; i++)
		create(&model[i], data + 4 * i, file[i]);
	data += 8;
	size -= 8;
	for (unsigned n = 0; n < MAX_OPS && size >= sizeof(s); n++, data += sizeof(s), size -= sizeof(s)) {
		memcpy(&s, data, sizeof(s));
		take_step(&model[s.what >> 7], &s);
	}
	for (unsigned i = 0; i < 2; i++)
		finish(&model[i], file[i]);
	REQUIRE(phys_free_bytes() == before);
	return 0;
}
