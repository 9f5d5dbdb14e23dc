/*
 * Virtqueues, the device's side; see virtqueue.h. VIRTIO 1.2: 2.7 split rings, 2.8 packed rings, 2.7.7, 2.7.10 and
 * 2.8.10 when who is notified. Fields are little-endian, as we are.
 *
 * The driver's vCPUs change all of it while we look: a field, or fields that belong together, are one access of their
 * size. What we write is ordered behind what it says by a release; what we read is, by an acquire, ordered before what
 * it speaks of. A full fence stands where one side writes, then looks at what the other writes, and the other does the
 * same: one of the two sees the other's.
 *
 * Rules that are not enforced, as breaking them does no harm here: that flags and reserved bits without meaning are 0,
 * that each descriptor of a packed chain is marked available as its first is, and that an indirect chain is no longer
 * than the ring (Linux may make such a one).
 */
/* SPDX-License-Identifier: MIT */
#include "hv/dev/virtqueue.h"

#include "hv/lib/string.h"

/* 2.7.5; the last two: 2.8.1 */
#define DESC_SIZE     16u
#define DESC_NEXT     BIT(0)
#define DESC_WRITE    BIT(1)
#define DESC_INDIRECT BIT(2)
#define DESC_AVAIL    BIT(7) /* packed */
#define DESC_USED     BIT(15)

#define INDIRECT_MAX 65535u /* descriptors of an indirect table: numbers have 16 bits */

/* Split rings (2.7.6, 2.7.8): 16 bits of flags, 16 of index, the entries, 16 bits of event. */
#define RING_FLAGS	0u
#define RING_INDEX	2u
#define RING_ENTRIES	4u
#define AVAIL_ENTRY(n)	(RING_ENTRIES + 2u * (n)) /* of the ring's size: the event, which follows the entries */
#define USED_ENTRY(n)	(RING_ENTRIES + 8u * (n))
#define EVENT_SIZE	2u
#define NO_INTERRUPT	BIT(0) /* in the available ring */
#define NO_NOTIFICATION 1u     /* in the used ring */

/*
 * Packed rings: event suppression (2.8.10, 2.8.14), read and written as 32 bits: place, its wrap counter in bit 15,
 * flags in 17:16.
 */
#define SUPPRESS_SIZE	 4u
#define SUPPRESS_DISABLE 1u
#define SUPPRESS_PLACE	 2u
#define SUPPRESS_FLAGS	 16

#define MANY 0x10000u /* entries given: more than any window that an event index can have */

_Static_assert(VIRTQUEUE_MAX_SIZE <= PAGE_SIZE / DESC_SIZE, "an area lies in two pages at most");
_Static_assert(USED_ENTRY(VIRTQUEUE_MAX_SIZE) + EVENT_SIZE <= PAGE_SIZE, "an area lies in two pages at most");

struct descriptor {
	uint64_t gpa;
	uint32_t size;
	uint16_t flags;
	uint16_t link; /* split: the next one's number. packed: the buffer's id */
};

/* --- access to the areas ------------------------------------------------------------------------------------------ */

/* Fields are aligned to their sizes, so none lies in two pages. */
static void *field(const struct virtqueue_area *area, unsigned offset)
{
	offset += area->start;
	return area->page[offset / PAGE_SIZE] + offset % PAGE_SIZE;
}

static uint16_t load16(const struct virtqueue_area *area, unsigned offset)
{
	const uint16_t *at = field(area, offset);

	return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}

static void store16(const struct virtqueue_area *area, unsigned offset, uint16_t value)
{
	uint16_t *at = field(area, offset);

	__atomic_store_n(at, value, __ATOMIC_RELEASE);
}

static uint32_t load32(const struct virtqueue_area *area, unsigned offset)
{
	const uint32_t *at = field(area, offset);

	return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}

static void store32(const struct virtqueue_area *area, unsigned offset, uint32_t value)
{
	uint32_t *at = field(area, offset);

	__atomic_store_n(at, value, __ATOMIC_RELEASE);
}

static struct descriptor decode(bool packed, uint64_t gpa, uint64_t rest)
{
	uint16_t third = (uint16_t)(rest >> 32), fourth = (uint16_t)(rest >> 48);

	return (struct descriptor){
	    .gpa = gpa, .size = (uint32_t)rest, .flags = packed ? fourth : third, .link = packed ? third : fourth};
}

/*
 * Length, flags and what is between are of one moment, and the address is not older: a packed one that is marked as
 * available is whole.
 */
static struct descriptor read_descriptor(const struct virtqueue *q, bool packed, unsigned index)
{
	const uint64_t *at = field(&q->descriptor_area, index * DESC_SIZE);
	uint64_t rest = __atomic_load_n(&at[1], __ATOMIC_ACQUIRE);

	return decode(packed, __atomic_load_n(&at[0], __ATOMIC_RELAXED), rest);
}

static bool is_available(const struct virtqueue *q, const struct descriptor *d)
{
	return (d->flags & (DESC_AVAIL | DESC_USED)) == (q->take_wrap ? DESC_AVAIL : DESC_USED);
}

/* --- chains: NULL, or the rule that the driver broke -------------------------------------------------------------- */

static const char *check_part(const struct descriptor *d)
{
	if (!d->size)
		return "a buffer has no length";
	if (d->size - 1 > UINT64_MAX - d->gpa)
		return "a buffer reaches beyond the end of the address space";
	return NULL;
}

static void clear(struct virtqueue_chain *chain)
{
	chain->out = chain->in = 0;
	chain->out_size = chain->in_size = 0;
}

/* A chain's only part: what add_part() asks beyond check_part() is about several, so none of it can be wrong. */
static const char *set_part(struct virtqueue_chain *chain, const struct descriptor *d)
{
	bool in = d->flags & DESC_WRITE;

	chain->part[0].gpa = GPA(d->gpa);
	chain->part[0].size = d->size;
	chain->in = in;
	chain->out = !in;
	chain->in_size = in ? d->size : 0;
	chain->out_size = in ? 0 : d->size;
	return check_part(d);
}

static const char *add_part(struct virtqueue_chain *chain, const struct descriptor *d)
{
	unsigned count = chain->out + chain->in;
	const char *problem = check_part(d);

	if (problem)
		return problem;
	if (count == VIRTQUEUE_MAX_PARTS)
		return "a chain has more buffers than the device takes";
	if ((uint64_t)chain->out_size + chain->in_size + d->size > UINT32_MAX)
		return "a chain's buffers are 4 GiB or more in all";
	if (!(d->flags & DESC_WRITE) && chain->in)
		return "a buffer to be read stands behind one to be written"; /* 2.7.4.2 */
	chain->part[count].gpa = GPA(d->gpa);
	chain->part[count].size = d->size;
	if (d->flags & DESC_WRITE) {
		chain->in++;
		chain->in_size += d->size;
	} else {
		chain->out++;
		chain->out_size += d->size;
	}
	return NULL;
}

static const char *check_table(const struct virtqueue *q, const struct descriptor *d)
{
	if (!q->indirect)
		return "an indirect descriptor without the feature";
	if (d->flags & DESC_NEXT)
		return "an indirect descriptor has a next one"; /* 2.7.5.3.1, 2.8.7 */
	if (!d->size || d->size % DESC_SIZE || d->size / DESC_SIZE > INDIRECT_MAX)
		return "an indirect table's length is no number of descriptors";
	if (d->size - 1 > UINT64_MAX - d->gpa)
		return "an indirect table reaches beyond the end of the address space";
	return NULL;
}

/* Not by guest_read(), which fills what is not there: the time may be another guest's (virtio_net_receive.c). */
NOINLINE static int read_in_pieces(const struct virtqueue *q, struct guest_near *near, uint64_t gpa, void *to,
				   size_t size)
{
	uint8_t *out = to;

	for (size_t n; size; gpa += n, out += n, size -= n) {
		const void *at;

		n = size;
		at = guest_read_near(q->mem, near, GPA(gpa), &n);
		if (!at)
			return -E_RANGE;
		memcpy(out, at, n);
	}
	return 0;
}

/* An entry of an indirect table: read once, whatever the compiler knows of memory. */
static int read_entry(const struct virtqueue *q, struct guest_near *near, uint64_t gpa, struct descriptor *d)
{
	uint64_t word[2];
	size_t size = sizeof(word);
	const void *at = guest_read_near(q->mem, near, GPA(gpa), &size);

	if (at && size == sizeof(word))
		memcpy(word, at, sizeof(word));
	else if (read_in_pieces(q, near, gpa, word, sizeof(word)))
		return -E_RANGE;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	*d = decode(q->packed, word[0], word[1]);
	return 0;
}

/*
 * An indirect table need not be aligned, nor lie in one piece. Split: linked from its first entry on (2.7.5.3). Packed:
 * all of it, in order (2.8.7).
 */
static const char *follow_table(const struct virtqueue *q, struct virtqueue_chain *chain,
				const struct descriptor *table)
{
	unsigned count = table->size / DESC_SIZE, index = 0;
	const char *problem = check_table(q, table);
	struct guest_near near = {0};
	struct descriptor d;

	if (problem)
		return problem;
	for (unsigned followed = 0; followed < count; followed++) {
		if (index >= count)
			return "a descriptor's number lies outside of its indirect table";
		if (read_entry(q, &near, table->gpa + index * DESC_SIZE, &d))
			return "an indirect table lies outside of memory";
		if (!q->packed && (d.flags & DESC_INDIRECT))
			return "an indirect table within an indirect table"; /* 2.7.5.3.1; packed: ignored (2.8.7) */
		problem = add_part(chain, &d);
		if (problem || (!q->packed && !(d.flags & DESC_NEXT)))
			return problem;
		index = q->packed ? index + 1 : d.link;
	}
	return q->packed ? NULL : "a chain is longer than its indirect table";
}

/* From descriptor chain->id on. Direct ones may be followed by one that is indirect (2.7.5.3.2). */
static const char *follow_split(const struct virtqueue *q, struct virtqueue_chain *chain)
{
	uint16_t index = chain->id;
	const char *problem;
	struct descriptor d;

	clear(chain);
	for (unsigned followed = 0; followed < q->size; followed++, index = d.link) {
		if (index >= q->size)
			return "a descriptor's number lies outside of the ring";
		d = read_descriptor(q, false, index);
		if (d.flags & DESC_INDIRECT)
			return follow_table(q, chain, &d);
		problem = add_part(chain, &d);
		if (problem || !(d.flags & DESC_NEXT))
			return problem;
	}
	return "a chain is longer than the ring";
}

/* From *first on, which is at next_take. An indirect one stands alone (2.8.7). */
FLATTEN NOINLINE static const char *follow_packed(const struct virtqueue *q, struct virtqueue_chain *chain,
						  const struct descriptor *first)
{
	unsigned room = q->size - q->in_flight, next;
	struct descriptor d = *first;
	const char *problem;

	clear(chain);
	for (chain->slots = 1; chain->slots <= room; chain->slots++) {
		chain->id = d.link; /* the last one's counts (2.8.6) */
		if (d.flags & DESC_INDIRECT)
			return chain->slots > 1 ? "an indirect descriptor in a chain" : follow_table(q, chain, &d);
		problem = add_part(chain, &d);
		if (problem || !(d.flags & DESC_NEXT))
			return problem;
		next = q->next_take + chain->slots;
		d = read_descriptor(q, true, next < q->size ? next : next - q->size);
	}
	return "a chain takes up descriptors that are not free";
}

/* --- taking and giving -------------------------------------------------------------------------------------------- */

static int broke(struct virtqueue *q, const char *rule)
{
	q->broken = rule;
	return -E_FORMAT;
}

/* Packed: on by some places of the ring; a wrap counter changes with every lap. */
static void advance(const struct virtqueue *q, uint16_t *place, bool *wrap, unsigned slots)
{
	unsigned next = *place + slots;

	if (next >= q->size) {
		next -= q->size;
		*wrap = !*wrap;
	}
	*place = (uint16_t)next;
}

/* What is in flight can't be offered again: the driver is ahead by the other entries of the ring at most. */
FLATTEN NOINLINE static int take_split(struct virtqueue *q, struct virtqueue_chain *chain)
{
	uint16_t ahead = (uint16_t)(load16(&q->driver_area, RING_INDEX) - q->next_take);
	const char *problem;

	if (!ahead)
		return 0;
	if (ahead > q->size - q->in_flight)
		return broke(q, "available index is further ahead than the ring has entries");
	chain->id = load16(&q->driver_area, AVAIL_ENTRY(q->next_take & (q->size - 1u)));
	chain->slots = 1;
	problem = follow_split(q, chain);
	if (problem)
		return broke(q, problem);
	q->next_take++;
	return 1;
}

/* With all of the ring in flight nothing can be available: follow_packed(), which has no room, says so. */
static int take_packed(struct virtqueue *q, struct virtqueue_chain *chain)
{
	struct descriptor d = read_descriptor(q, true, q->next_take);
	const char *problem;

	if (!is_available(q, &d))
		return 0;
	if ((d.flags & (DESC_NEXT | DESC_INDIRECT)) || q->in_flight == q->size) {
		problem = follow_packed(q, chain, &d);
	} else { /* a buffer for a frame: most of all chains */
		chain->id = d.link;
		chain->slots = 1;
		problem = set_part(chain, &d);
	}
	if (problem)
		return broke(q, problem);
	advance(q, &q->next_take, &q->take_wrap, chain->slots);
	return 1;
}

FLATTEN int virtqueue_take(struct virtqueue *q, struct virtqueue_chain *chain)
{
	int got;

	if (q->broken)
		return -E_FORMAT;
	if (!q->enabled)
		return 0;
	got = q->packed ? take_packed(q, chain) : take_split(q, chain);
	if (got == 1)
		q->in_flight = (uint16_t)(q->in_flight + chain->slots);
	return got;
}

static void write_split(const struct virtqueue *q, uint16_t place, const struct virtqueue_used *used)
{
	unsigned entry = USED_ENTRY(place & (q->size - 1u));

	store32(&q->device_area, entry, used->id);
	store32(&q->device_area, entry + 4, used->written);
}

/* The driver looks at the index: one store gives them all. */
static void give_split(struct virtqueue *q, const struct virtqueue_used *used, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		write_split(q, (uint16_t)(q->next_give + i), &used[i]);
	q->next_give = (uint16_t)(q->next_give + count);
	store16(&q->device_area, RING_INDEX, q->next_give);
}

/* The used descriptor says all in its second half, which is one store. */
static void write_packed(const struct virtqueue *q, uint16_t place, bool wrap, const struct virtqueue_used *used)
{
	uint64_t *at = field(&q->descriptor_area, place * DESC_SIZE);
	uint64_t flags = (wrap ? DESC_AVAIL | DESC_USED : 0) | (used->written ? DESC_WRITE : 0);

	__atomic_store_n(&at[1], flags << 48 | (uint64_t)used->id << 32 | used->written, __ATOMIC_RELEASE);
}

/* The driver looks at the first one's place, and further from there: the first is written last (2.8.9). */
static void give_packed(struct virtqueue *q, const struct virtqueue_used *used, unsigned count)
{
	uint16_t place = q->next_give;
	bool wrap = q->give_wrap;

	advance(q, &place, &wrap, used[0].slots);
	for (unsigned i = 1; i < count; i++) {
		write_packed(q, place, wrap, &used[i]);
		advance(q, &place, &wrap, used[i].slots);
	}
	write_packed(q, q->next_give, q->give_wrap, &used[0]);
	q->next_give = place;
	q->give_wrap = wrap;
}

FLATTEN int virtqueue_give_all(struct virtqueue *q, const struct virtqueue_used *used, unsigned count)
{
	uint32_t slots = 0;

	if (q->broken)
		return -E_FORMAT;
	for (unsigned i = 0; i < count; i++)
		slots += used[i].slots;
	if (!slots || slots > q->in_flight)
		return 0;
	if (q->packed)
		give_packed(q, used, count);
	else
		give_split(q, used, count);
	q->in_flight = (uint16_t)(q->in_flight - slots);
	if (q->given < MANY)
		q->given += slots;
	return 0;
}

int virtqueue_give(struct virtqueue *q, const struct virtqueue_chain *chain, uint32_t written)
{
	struct virtqueue_used used = {chain->id, chain->slots, written};

	return virtqueue_give_all(q, &used, 1);
}

void virtqueue_untake(struct virtqueue *q, uint16_t slots)
{
	if (slots > q->in_flight) /* the queue was reset since */
		return;
	q->in_flight = (uint16_t)(q->in_flight - slots);
	if (q->packed && q->next_take < slots) {
		q->next_take = (uint16_t)(q->next_take + q->size);
		q->take_wrap = !q->take_wrap;
	}
	q->next_take = (uint16_t)(q->next_take - slots);
}

/* --- who is notified ---------------------------------------------------------------------------------------------- */

/* With event index: is the entry that the driver names among those given? Its number is that of a used entry. */
static bool split_wants_interrupt(const struct virtqueue *q, uint32_t given)
{
	uint16_t event;

	if (!q->event_index)
		return !(load16(&q->driver_area, RING_FLAGS) & NO_INTERRUPT);
	event = load16(&q->driver_area, AVAIL_ENTRY(q->size));
	return (uint16_t)(q->next_give - 1 - event) < given;
}

/*
 * A place and a wrap counter tell two laps apart: how far behind the last place given is the driver's, modulo two laps?
 * What has no meaning (reserved flags, a place outside of the ring) is answered with an interrupt, which never harms.
 */
static bool packed_wants_interrupt(const struct virtqueue *q, uint32_t given)
{
	uint32_t driver = load32(&q->driver_area, 0), flags = driver >> SUPPRESS_FLAGS & 3;
	int place = driver & 0x7FFF, size = q->size, behind = q->next_give - 1 - place;

	if (flags == SUPPRESS_DISABLE)
		return false;
	if (flags != SUPPRESS_PLACE || !q->event_index || place >= size)
		return true;
	if (!!(driver & BIT(15)) != q->give_wrap)
		behind += size;
	return (unsigned)(behind < 0 ? behind + 2 * size : behind) < given;
}

bool virtqueue_wants_interrupt(struct virtqueue *q)
{
	uint32_t given = q->given;

	if (!given)
		return false;
	q->given = 0;
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* the driver: asks for interrupts, then looks for used buffers */
	return q->packed ? packed_wants_interrupt(q, given) : split_wants_interrupt(q, given);
}

void virtqueue_silence(struct virtqueue *q)
{
	if (!q->enabled || q->broken || q->silent)
		return;
	q->silent = true;
	if (q->packed)
		store32(&q->device_area, 0, SUPPRESS_DISABLE << SUPPRESS_FLAGS);
	else if (!q->event_index)
		store16(&q->device_area, RING_FLAGS, NO_NOTIFICATION);
}

/* With event index the driver is to notify when it makes the next one available, and then not again. */
static void ask_for_notification(struct virtqueue *q)
{
	uint32_t place = q->next_take | (q->take_wrap ? BIT(15) : 0) | SUPPRESS_PLACE << SUPPRESS_FLAGS;

	q->silent = false;
	if (q->packed)
		store32(&q->device_area, 0, q->event_index ? place : 0);
	else if (q->event_index)
		store16(&q->device_area, USED_ENTRY(q->size), q->next_take);
	else
		store16(&q->device_area, RING_FLAGS, 0);
}

bool virtqueue_listen(struct virtqueue *q)
{
	struct descriptor d;

	if (!q->enabled || q->broken)
		return false;
	ask_for_notification(q);
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* the driver: makes available, then looks whether to notify */
	if (!q->packed)
		return load16(&q->driver_area, RING_INDEX) != q->next_take;
	d = read_descriptor(q, true, q->next_take);
	return is_available(q, &d);
}

/* --- beginning and end -------------------------------------------------------------------------------------------- */

static const char *map_area(const struct virtqueue *q, struct virtqueue_area *area, gpa_t gpa, unsigned size,
			    unsigned alignment)
{
	uint64_t first = ALIGN_DOWN(gpa.value, PAGE_SIZE);

	if (gpa.value % alignment)
		return "an area of the queue is not aligned";
	area->start = gpa.value % PAGE_SIZE;
	for (unsigned i = 0; i * PAGE_SIZE < area->start + size; i++) {
		area->page[i] = guest_map(q->mem, GPA(first + i * PAGE_SIZE), PAGE_SIZE);
		if (!area->page[i])
			return "an area of the queue lies outside of memory";
	}
	return NULL;
}

/* To whole pages. */
static bool area_uses(const struct virtqueue_area *area, gpa_t at, gpa_t gpa, uint64_t size)
{
	uint64_t first = ALIGN_DOWN(at.value, PAGE_SIZE), end = first + (area->page[1] ? 2 : 1) * PAGE_SIZE;

	return gpa.value < end && first < gpa.value + size;
}

bool virtqueue_uses(const struct virtqueue *q, gpa_t gpa, uint64_t size)
{
	return q->enabled &&
	       (area_uses(&q->descriptor_area, q->descriptors, gpa, size) ||
		area_uses(&q->driver_area, q->driver, gpa, size) || area_uses(&q->device_area, q->device, gpa, size));
}

/* Sizes and alignments: the tables of 2.7 and 2.8.10.1. A split ring has its event fields whether they count or not. */
static const char *map_areas(struct virtqueue *q)
{
	unsigned driver = q->packed ? SUPPRESS_SIZE : AVAIL_ENTRY(q->size) + EVENT_SIZE;
	unsigned device = q->packed ? SUPPRESS_SIZE : USED_ENTRY(q->size) + EVENT_SIZE;
	const char *problem;

	if (!q->size || q->size > VIRTQUEUE_MAX_SIZE)
		return "the queue's size is 0 or more than the device has";
	if (!q->packed && q->size & (q->size - 1))
		return "the size of a split queue is not a power of two";
	problem = map_area(q, &q->descriptor_area, q->descriptors, DESC_SIZE * q->size, 16);
	if (!problem)
		problem = map_area(q, &q->driver_area, q->driver, driver, q->packed ? 4 : 2);
	if (!problem)
		problem = map_area(q, &q->device_area, q->device, device, 4);
	return problem;
}

int virtqueue_enable(struct virtqueue *q)
{
	if (q->enabled)
		return 0;
	if (!q->broken)
		q->broken = map_areas(q);
	if (q->broken)
		return -E_INVAL;
	q->take_wrap = q->give_wrap = true;
	q->enabled = true;
	return 0;
}

void virtqueue_reset(struct virtqueue *q, const struct guest_mem *mem)
{
	memset(q, 0, sizeof(*q));
	q->mem = mem;
}
