/*
 * Disks in memory: disk.h. Without an overlay a disk is its file's bytes. An overlay is a table with a word for each
 * cluster: where its memory is, or that the cluster is zero, or that what lies below shows through. The table is there
 * from the start, 8 bytes for each 64 KiB; the memory of clusters is cut from the promised chunks, one after the other,
 * and reused when a cluster was zeroed. Chunks go back when the disk does; what they hold is reached by this CPU's
 * window to a chunk, one cluster at a time.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/disk.h"

#include <stdatomic.h>

#include "arch/x86/memory.h"
#include "arch/x86/window.h"
#include "hv/lib/panic.h"
#include "hv/lib/string.h"
#include "hv/phys.h"

#define CLUSTERS_PER_CHUNK (PHYS_CHUNK / DISK_CLUSTER)
#define TABLE_CLUSTERS	   (PHYS_CHUNK / sizeof(uint64_t)) /* of 16 GiB: phys_alloc gives no more than a chunk */
#define TABLES		   (DISK_MAX_SIZE / DISK_CLUSTER / TABLE_CLUSTERS)

/* What a table says of a cluster; anything else is its memory's physical address. */
enum { CLUSTER_BELOW = 0, CLUSTER_ZERO = 1 };

struct disk {
	struct disk_setup setup;
	uint64_t *table[TABLES];
	uint64_t chunks;	/* promised or taken; 0: no overlay */
	uint64_t cut;		/* clusters cut from chunks: cut / CLUSTERS_PER_CHUNK of these, rounded up, are taken */
	uint64_t spare;		/* physical address of a cluster that was given back, which begins with the next's; 0 */
	_Atomic(uint64_t) used; /* clusters with memory */
	hpa_t chunk[];		/* `chunks` of them */
};

/* --- below the overlay -------------------------------------------------------------------------------------------- */

static void check_range(const struct disk *d, uint64_t offset, uint64_t size)
{
	ASSERT(size <= d->setup.size && offset <= d->setup.size - size);
}

/* Any place, also behind the disk's end. */
static void copy_base(const struct disk *d, uint64_t offset, uint8_t *to, uint64_t size)
{
	uint64_t left = offset < d->setup.base_size ? d->setup.base_size - offset : 0;
	uint64_t count = left < size ? left : size;

	if (count)
		memcpy(to, (const uint8_t *)d->setup.base + offset, count);
	memset(to + count, 0, size - count);
}

static int base_read(void *ctx, uint64_t offset, void *to, size_t size)
{
	check_range(ctx, offset, size);
	copy_base(ctx, offset, to, size);
	return 0;
}

static int base_write(void *ctx, uint64_t offset, const void *from, size_t size)
{
	struct disk *d = ctx;

	check_range(d, offset, size);
	memcpy((uint8_t *)d->setup.base + offset, from, size);
	return 0;
}

static int base_zero(void *ctx, uint64_t offset, uint64_t size)
{
	struct disk *d = ctx;

	check_range(d, offset, size);
	memset((uint8_t *)d->setup.base + offset, 0, size);
	return 0;
}

/* --- clusters ----------------------------------------------------------------------------------------------------- */

static uint64_t *entry_of(const struct disk *d, uint64_t offset)
{
	uint64_t cluster = offset / DISK_CLUSTER;

	return &d->table[cluster / TABLE_CLUSTERS][cluster % TABLE_CLUSTERS];
}

static bool has_memory(uint64_t entry)
{
	return entry != CLUSTER_BELOW && entry != CLUSTER_ZERO;
}

/* Of `size` bytes from `offset` on, those that lie in the first one's cluster. */
static uint64_t part_size(uint64_t offset, uint64_t size)
{
	uint64_t left = DISK_CLUSTER - offset % DISK_CLUSTER;

	return left < size ? left : size;
}

/* Of the first word of a cluster that was given back: the next such one, or 0. */
static uint64_t read_link(uint64_t hpa)
{
	uint64_t link = *(uint64_t *)window_open_chunk(HPA(hpa));

	window_close_chunk();
	return link;
}

static void write_link(uint64_t hpa, uint64_t link)
{
	*(uint64_t *)window_open_chunk(HPA(hpa)) = link;
	window_close_chunk();
}

/* Memory for a cluster, holding anything; 0: the promise is used up. */
static uint64_t take_memory(struct disk *d)
{
	uint64_t hpa = d->spare, index = d->cut / CLUSTERS_PER_CHUNK, zeroed;

	if (hpa) {
		d->spare = read_link(hpa);
	} else {
		if (index == d->chunks)
			return 0;
		if (d->cut % CLUSTERS_PER_CHUNK == 0)
			d->chunk[index] = phys_take_chunk(&zeroed);
		hpa = d->chunk[index].value + d->cut % CLUSTERS_PER_CHUNK * DISK_CLUSTER;
		d->cut++;
	}
	d->used++;
	return hpa;
}

static void give_memory(struct disk *d, uint64_t hpa)
{
	write_link(hpa, d->spare);
	d->spare = hpa;
	d->used--;
}

/* What the disk holds at `offset` while `entry` says that there is no memory of its own. */
static void copy_below(const struct disk *d, uint64_t entry, uint64_t offset, uint8_t *to, uint64_t size)
{
	if (entry == CLUSTER_ZERO)
		memset(to, 0, size);
	else
		copy_base(d, offset, to, size);
}

/*
 * Where `offset` lies in memory of its own, of which the caller overwrites `size` bytes within the cluster: all but
 * these hold what they should. NULL: the promise is used up, nothing has changed. Otherwise the caller
 * calls window_close_chunk() when it has written.
 */
static uint8_t *open_cluster(struct disk *d, uint64_t offset, uint64_t size)
{
	uint64_t *entry = entry_of(d, offset), was = *entry;
	uint64_t start = ALIGN_DOWN(offset, DISK_CLUSTER), end = offset + size;
	uint8_t *host;

	if (has_memory(was))
		return (uint8_t *)window_open_chunk(HPA(was)) + (offset - start);
	*entry = take_memory(d);
	if (!*entry) {
		*entry = was;
		return NULL;
	}
	host = window_open_chunk(HPA(*entry));
	copy_below(d, was, start, host, offset - start);
	copy_below(d, was, end, host + (end - start), start + DISK_CLUSTER - end);
	return host + (offset - start);
}

/* The whole cluster becomes zero, and its memory free. */
static void drop_cluster(struct disk *d, uint64_t start)
{
	uint64_t *entry = entry_of(d, start);

	if (has_memory(*entry))
		give_memory(d, *entry);
	*entry = CLUSTER_ZERO;
}

static int zero_part(struct disk *d, uint64_t offset, uint64_t size)
{
	uint64_t entry = *entry_of(d, offset);
	uint8_t *host;

	if (entry == CLUSTER_ZERO || (entry == CLUSTER_BELOW && offset >= d->setup.base_size))
		return 0;
	host = open_cluster(d, offset, size);
	if (!host)
		return -E_NOMEM;
	memset(host, 0, size);
	window_close_chunk();
	return 0;
}

static void read_cluster(uint64_t entry, uint64_t offset, uint8_t *to, uint64_t count)
{
	memcpy(to, (uint8_t *)window_open_chunk(HPA(entry)) + offset % DISK_CLUSTER, count);
	window_close_chunk();
}

/* --- the overlay -------------------------------------------------------------------------------------------------- */

static int overlay_read(void *ctx, uint64_t offset, void *to, size_t size)
{
	struct disk *d = ctx;
	uint8_t *at = to;

	check_range(d, offset, size);
	while (size) {
		uint64_t count = part_size(offset, size), entry = *entry_of(d, offset);

		if (has_memory(entry))
			read_cluster(entry, offset, at, count);
		else
			copy_below(d, entry, offset, at, count);
		offset += count;
		at += count;
		size -= count;
	}
	return 0;
}

static int overlay_write(void *ctx, uint64_t offset, const void *from, size_t size)
{
	struct disk *d = ctx;
	const uint8_t *at = from;

	check_range(d, offset, size);
	while (size) {
		uint64_t count = part_size(offset, size);
		uint8_t *host = open_cluster(d, offset, count);

		if (!host)
			return -E_NOMEM;
		memcpy(host, at, count);
		window_close_chunk();
		offset += count;
		at += count;
		size -= count;
	}
	return 0;
}

static int overlay_zero(void *ctx, uint64_t offset, uint64_t size)
{
	struct disk *d = ctx;

	check_range(d, offset, size);
	while (size) {
		uint64_t count = part_size(offset, size);

		if (count == DISK_CLUSTER || (offset % DISK_CLUSTER == 0 && offset + count == d->setup.size))
			drop_cluster(d, offset);
		else if (zero_part(d, offset, count))
			return -E_NOMEM;
		offset += count;
		size -= count;
	}
	return 0;
}

/* --- life --------------------------------------------------------------------------------------------------------- */

static bool is_sound(const struct disk_setup *s)
{
	if (!s->size || s->size % BLOCK_SECTOR || s->size > DISK_MAX_SIZE)
		return false;
	if (s->base_size > s->size || (s->base_size && !s->base))
		return false;
	if (!s->writable && !s->read_only && s->base_size != s->size)
		return false;
	return s->serial && strnlen(s->serial, BLOCK_SERIAL_MAX + 1) <= BLOCK_SERIAL_MAX;
}

/* That its overlay may need. */
static uint64_t chunks_of(const struct disk_setup *s)
{
	uint64_t bytes = s->writable < s->size ? s->writable : s->size;

	return s->read_only ? 0 : ALIGN_UP(bytes, PHYS_CHUNK) / PHYS_CHUNK;
}

static uint64_t disk_pages(uint64_t chunks)
{
	return phys_pages(sizeof(struct disk) + chunks * sizeof(hpa_t));
}

/* Of table `i`; 0: the disk ends before it. */
static uint64_t table_pages(const struct disk *d, uint64_t i)
{
	uint64_t clusters = ALIGN_UP(d->setup.size, DISK_CLUSTER) / DISK_CLUSTER, first = i * TABLE_CLUSTERS;
	uint64_t count = clusters > first ? clusters - first : 0;

	if (count > TABLE_CLUSTERS)
		count = TABLE_CLUSTERS;
	return phys_pages(count * sizeof(uint64_t));
}

static int create_tables(struct disk *d)
{
	for (uint64_t i = 0; i < TABLES && table_pages(d, i); i++) {
		hpa_t hpa = phys_alloc(table_pages(d, i), 1);

		if (hpa_is_none(hpa))
			return -E_NOMEM;
		d->table[i] = memset(phys_to_virt(hpa), CLUSTER_BELOW, table_pages(d, i) * PAGE_SIZE);
	}
	return 0;
}

struct disk *disk_create(const struct disk_setup *setup)
{
	uint64_t chunks;
	struct disk *d;
	hpa_t hpa;

	if (!is_sound(setup))
		return NULL;
	chunks = chunks_of(setup);
	if (phys_reserve(chunks))
		return NULL;
	hpa = phys_alloc(disk_pages(chunks), 1);
	if (hpa_is_none(hpa)) {
		phys_unreserve(chunks);
		return NULL;
	}
	d = phys_to_virt(hpa);
	memset(d, 0, sizeof(*d));
	d->setup = *setup;
	d->chunks = chunks;
	if (chunks && create_tables(d)) {
		disk_destroy(d);
		return NULL;
	}
	return d;
}

void disk_destroy(struct disk *disk)
{
	if (!disk)
		return;
	for (uint64_t i = 0; i * CLUSTERS_PER_CHUNK < disk->cut; i++)
		phys_give_chunk(disk->chunk[i]);
	phys_unreserve(disk->chunks);
	for (uint64_t i = 0; i < TABLES && disk->table[i]; i++)
		phys_free(virt_to_phys(disk->table[i]), table_pages(disk, i));
	phys_free(virt_to_phys(disk), disk_pages(disk->chunks));
}

struct block_store disk_store(struct disk *disk)
{
	const struct disk_setup *s = &disk->setup;
	struct block_store store = {.ctx = disk, .size = s->size, .read_only = s->read_only, .serial = s->serial};

	if (disk->chunks) {
		store.read = overlay_read;
		store.write = overlay_write;
		store.zero = overlay_zero;
	} else {
		store.read = base_read;
		store.write = s->read_only ? NULL : base_write;
		store.zero = s->read_only ? NULL : base_zero;
	}
	return store;
}

uint64_t disk_written(const struct disk *disk)
{
	return atomic_load_explicit(&disk->used, memory_order_relaxed) * DISK_CLUSTER;
}
