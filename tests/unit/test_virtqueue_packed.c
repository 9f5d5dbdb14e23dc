/*
 * Packed virtqueues against a driver that does what Linux does, rule by rule against one that does not, and against one
 * that runs at the same time. The guest's pages lie apart in our memory, in another order than in the guest's.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/virtqueue.c hv/guest_mem.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/dev/virtqueue.h"
#include "tests/unit/virtqueue_race.h"

#define PAGES  GUEST_MEM_MAX_REGIONS
#define BASE   0x40000ULL
#define END    (BASE + PAGES * PAGE_SIZE)
#define RING   BASE /* where the areas are if the test does not say */
#define DRIVER (BASE + PAGE_SIZE)
#define DEVICE (BASE + 2 * PAGE_SIZE)
#define TABLE  (BASE + 3 * PAGE_SIZE) /* indirect tables, up to 4 pages */

#define NEXT	 1
#define WRITE	 2
#define INDIRECT 4
#define AVAIL	 0x80
#define USED	 0x8000

#define ENABLE	0u
#define DISABLE 0x10000u
#define PLACE	0x20000u

struct setup {
	unsigned size;
	bool indirect, event_index;
	uint64_t ring, driver, device;
};

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t id, flags;
};

static _Alignas(4096) uint8_t host[PAGES][PAGE_SIZE];
static struct guest_mem mem;
static struct virtqueue q;
static struct virtqueue_chain chain, held[VIRTQUEUE_MAX_SIZE + 1];

/* The driver: what it knows beside what is in the ring. */
static struct {
	struct setup s;
	unsigned next, last_used, free_count;
	bool wrap, used_wrap;
	unsigned fresh; /* descriptors made available since it last looked whether to notify */
	unsigned free_ids;
	uint16_t free_id[VIRTQUEUE_MAX_SIZE], count[VIRTQUEUE_MAX_SIZE];
} drv;

static void *at(uint64_t gpa)
{
	assert_in_range(gpa, BASE, END - 1);
	return host[PAGES - 1 - (gpa - BASE) / PAGE_SIZE] + gpa % PAGE_SIZE;
}

static uint32_t load(uint64_t gpa)
{
	return __atomic_load_n((uint32_t *)at(gpa), __ATOMIC_ACQUIRE);
}

static void store(uint64_t gpa, uint32_t value)
{
	__atomic_store_n((uint32_t *)at(gpa), value, __ATOMIC_RELEASE);
}

static struct desc *desc(unsigned i)
{
	return at(drv.s.ring + 16 * i);
}

static void put_at(uint64_t table, unsigned i, uint64_t addr, uint32_t len, uint16_t flags)
{
	struct desc d = {addr, len, 0x7777, flags};

	assert_int_equal(guest_write(&mem, GPA(table + 16 * i), &d, sizeof(d)), 0);
}

static void configure(struct setup s)
{
	q.packed = true;
	q.size = (uint16_t)s.size;
	q.indirect = s.indirect;
	q.event_index = s.event_index;
	q.descriptors = GPA(s.ring);
	q.driver = GPA(s.driver);
	q.device = GPA(s.device);
}

static int try_start(struct setup s)
{
	s.ring = s.ring ? s.ring : RING;
	s.driver = s.driver ? s.driver : DRIVER;
	s.device = s.device ? s.device : DEVICE;
	memset(host, 0, sizeof(host));
	memset(&drv, 0, sizeof(drv));
	drv.s = s;
	drv.free_count = s.size;
	drv.wrap = drv.used_wrap = true;
	for (unsigned i = 0; i < s.size && i < VIRTQUEUE_MAX_SIZE; i++)
		drv.free_id[drv.free_ids++] = (uint16_t)i;
	virtqueue_reset(&q, &mem);
	configure(s);
	return virtqueue_enable(&q);
}

static void start(struct setup s)
{
	assert_int_equal(try_start(s), 0);
	assert_true(q.enabled);
}

static int setup(void **state)
{
	(void)state;
	memset(&mem, 0, sizeof(mem));
	for (unsigned i = 0; i < PAGES; i++)
		assert_int_equal(guest_mem_add(&mem, &(struct guest_region){BASE + i * PAGE_SIZE, PAGE_SIZE,
									    host[PAGES - 1 - i], true}),
				 0);
	return 0;
}

/* --- the driver --- */

/* The next descriptor, in full but for its flags, which are answered. */
static uint16_t put_next(uint64_t addr, uint32_t len, uint16_t id, uint16_t flags)
{
	struct desc *d = desc(drv.next);

	d->addr = addr;
	d->len = len;
	d->id = id;
	flags |= drv.wrap ? AVAIL : USED;
	if (++drv.next == drv.s.size) {
		drv.next = 0;
		drv.wrap = !drv.wrap;
	}
	drv.fresh++;
	return flags;
}

/* A chain of one descriptor, made available at once. */
static void offer(uint64_t addr, uint32_t len, uint16_t id, uint16_t flags)
{
	unsigned i = drv.next;

	flags = put_next(addr, len, id, flags);
	__atomic_store_n(&desc(i)->flags, flags, __ATOMIC_RELEASE);
}

static uint64_t table_of(unsigned id)
{
	return TABLE + id * 56; /* three entries, some of them across two pages */
}

static void add_direct(const struct virtqueue_part *part, unsigned out, unsigned in, uint16_t id)
{
	unsigned first = drv.next, i;
	uint16_t first_flags = 0, flags;

	for (unsigned n = 0; n < out + in; n++) {
		i = drv.next;
		/* Only the last one's id counts. */
		flags = put_next(part[n].gpa.value, part[n].size, n + 1 == out + in ? id : 0x5555,
				 (uint16_t)((n >= out ? WRITE : 0) | (n + 1 < out + in ? NEXT : 0)));
		if (n == 0)
			first_flags = flags;
		else
			desc(i)->flags = flags;
	}
	__atomic_store_n(&desc(first)->flags, first_flags, __ATOMIC_RELEASE);
}

/* `out` parts to read, then `in` parts to write. False: no room. */
static bool add(const struct virtqueue_part *part, unsigned out, unsigned in)
{
	unsigned count = out + in, taken = drv.s.indirect && count > 1 ? 1 : count;
	uint16_t id;

	if (taken > drv.free_count || !drv.free_ids)
		return false;
	id = drv.free_id[--drv.free_ids];
	drv.free_count -= taken;
	drv.count[id] = (uint16_t)taken;
	if (taken == count) {
		add_direct(part, out, in, id);
		return true;
	}
	for (unsigned n = 0; n < count; n++)
		put_at(table_of(id), n, part[n].gpa.value, part[n].size, n >= out ? WRITE : 0);
	offer(table_of(id), 16 * count, id, INDIRECT);
	return true;
}

static unsigned next_place(unsigned place, bool *wrap)
{
	if (++place < drv.s.size)
		return place;
	*wrap = !*wrap;
	return 0;
}

static uint32_t event_of(unsigned place, bool wrap)
{
	return place | (wrap ? 0x8000 : 0) | PLACE;
}

/* Is the place that `event` names among the `count` before `place`? */
static bool was_passed(uint32_t event, unsigned place, bool wrap, unsigned count)
{
	while (count--) {
		wrap = place ? wrap : !wrap;
		place = (place ? place : drv.s.size) - 1;
		if (event == event_of(place, wrap))
			return true;
	}
	return false;
}

static bool must_kick(void)
{
	unsigned fresh = drv.fresh;
	uint32_t device;

	drv.fresh = 0;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	device = load(drv.s.device);
	if (device >> 16 != PLACE >> 16)
		return device != DISABLE;
	assert_true(drv.s.event_index);
	return was_passed(device, drv.next, drv.wrap, fresh);
}

static bool used_one(uint32_t *id, uint32_t *written)
{
	struct desc *d = desc(drv.last_used);
	uint16_t flags = __atomic_load_n(&d->flags, __ATOMIC_ACQUIRE);

	if (!!(flags & AVAIL) != drv.used_wrap || !!(flags & USED) != drv.used_wrap)
		return false;
	*id = d->id;
	*written = d->len;
	assert_int_equal(!!(flags & WRITE), *written > 0);
	assert_int_equal(flags & ~(AVAIL | USED | WRITE), 0);
	assert_true(*id < drv.s.size && drv.count[*id]);
	for (unsigned n = 0; n < drv.count[*id]; n++)
		drv.last_used = next_place(drv.last_used, &drv.used_wrap);
	drv.free_count += drv.count[*id];
	drv.count[*id] = 0;
	drv.free_id[drv.free_ids++] = (uint16_t)*id;
	return true;
}

static void ask_for_interrupt(void)
{
	store(drv.s.driver, drv.s.event_index ? event_of(drv.last_used, drv.used_wrap) : ENABLE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* --- buffers that say which they are: number n has 1 to 3 parts --- */

static unsigned parts_of(unsigned n)
{
	unsigned count = 1 + n % 3;

	return drv.s.indirect || count <= drv.s.size ? count : drv.s.size;
}

static struct virtqueue_part part_of(unsigned n, unsigned i)
{
	return (struct virtqueue_part){GPA((uint64_t)n << 20 | i), 1 + (n + i) % 5000};
}

static unsigned out_of(unsigned n)
{
	return n / 3 % (parts_of(n) + 1);
}

static bool add_number(unsigned n)
{
	struct virtqueue_part part[3];

	for (unsigned i = 0; i < parts_of(n); i++)
		part[i] = part_of(n, i);
	return add(part, out_of(n), parts_of(n) - out_of(n));
}

static void check_number(const struct virtqueue_chain *c, unsigned n)
{
	uint32_t size[2] = {0, 0};

	assert_int_equal(c->out, out_of(n));
	assert_int_equal(c->out + c->in, parts_of(n));
	assert_int_equal(c->slots, drv.s.indirect ? 1 : parts_of(n));
	for (unsigned i = 0; i < parts_of(n); i++) {
		assert_int_equal(c->part[i].gpa.value, part_of(n, i).gpa.value);
		assert_int_equal(c->part[i].size, part_of(n, i).size);
		size[i >= c->out] += c->part[i].size;
	}
	assert_int_equal(c->out_size, size[0]);
	assert_int_equal(c->in_size, size[1]);
}

/* --- what works --- */

static void a_chain_is_taken_and_given(void **state)
{
	struct virtqueue_part part[] = {{GPA(0x1000), 16}, {GPA(0x123456789a), 512}, {GPA(7), 1}};
	uint32_t id, written;

	(void)state;
	start((struct setup){.size = 5});
	assert_int_equal(virtqueue_take(&q, &chain), 0);
	assert_true(add(part, 1, 2));
	assert_int_equal(virtqueue_take(&q, &chain), 1);
	assert_int_equal(chain.id, 4);
	assert_int_equal(chain.slots, 3);
	assert_int_equal(chain.out, 1);
	assert_int_equal(chain.in, 2);
	assert_int_equal(chain.out_size, 16);
	assert_int_equal(chain.in_size, 513);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(chain.part[i].gpa.value, part[i].gpa.value);
		assert_int_equal(chain.part[i].size, part[i].size);
	}
	assert_int_equal(virtqueue_take(&q, &held[0]), 0);
	assert_false(used_one(&id, &written));
	assert_int_equal(virtqueue_give(&q, &chain, 513), 0);
	assert_int_equal(desc(0)->flags, AVAIL | USED | WRITE);
	assert_true(used_one(&id, &written));
	assert_int_equal(id, 4);
	assert_int_equal(written, 513);
	assert_int_equal(desc(1)->flags, NEXT | WRITE | AVAIL); /* the rest of the chain is left alone */
	assert_null(q.broken);
}

static unsigned random_below(unsigned n)
{
	static uint64_t x = 88172645463325252ULL;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return (unsigned)(x >> 32) % n;
}

/* The driver asks in some way, mostly for a place not far away; `given` descriptors were given since the last time. */
static void check_interrupt(unsigned given)
{
	uint32_t flags = random_below(4) << 16, event = event_of(q.next_give, q.give_wrap);
	bool due = given;

	if (flags == PLACE && drv.s.event_index) {
		bool wrap = q.give_wrap;
		unsigned place = q.next_give;

		for (unsigned n = random_below(2 * drv.s.size); n; n--)
			place = next_place(place, &wrap);
		event = event_of(place, wrap);
		due = was_passed(event, q.next_give, q.give_wrap, given);
	} else if (flags == DISABLE) {
		due = false;
	}
	store(drv.s.driver, (event & 0xffff) | flags);
	assert_int_equal(virtqueue_wants_interrupt(&q), due);
	assert_false(virtqueue_wants_interrupt(&q));
}

/* `total` numbered buffers, some at a time, taken in their order and given back in any. */
static void run(struct setup s, unsigned total)
{
	unsigned added = 0, taken = 0, in_hand = 0, done = 0, slots = 0, asked = 0;
	uint32_t given[VIRTQUEUE_MAX_SIZE][2], gifts = 0, id, written;

	start(s);
	while (done < total) {
		for (unsigned n = random_below(s.size + 1); n && add_number(added); n--)
			added++;
		for (unsigned n = random_below(s.size + 1); n && virtqueue_take(&q, &held[in_hand]) == 1; n--) {
			slots += held[in_hand].slots;
			check_number(&held[in_hand++], taken++);
		}
		assert_int_equal(q.in_flight, slots);
		for (unsigned n = random_below(s.size + 1), i; n && in_hand; n--) {
			i = random_below(in_hand);
			given[gifts][0] = held[i].id;
			given[gifts][1] = random_below(3) * 100;
			assert_int_equal(virtqueue_give(&q, &held[i], given[gifts++][1]), 0);
			slots -= held[i].slots;
			asked += held[i].slots;
			held[i] = held[--in_hand];
		}
		if (!random_below(3) || asked >= s.size) {
			check_interrupt(asked);
			asked = 0;
		}
		for (unsigned n = 0; n < gifts; n++, done++) {
			assert_true(used_one(&id, &written));
			assert_int_equal(id, given[n][0]);
			assert_int_equal(written, given[n][1]);
		}
		gifts = 0;
		assert_false(used_one(&id, &written));
		assert_null(q.broken);
	}
}

/* Numbered buffers again: of those that were taken some are put back and taken once more, the others given together. */
static void run_together(struct setup s, unsigned total)
{
	struct virtqueue_used used[VIRTQUEUE_MAX_SIZE];
	unsigned added = 0, taken = 0, done = 0, rounds = 0, count, back;
	uint32_t id, written;

	start(s);
	while (done < total) {
		assert_in_range(rounds++, 0, 10 * total); /* it gets on */
		for (unsigned n = random_below(s.size + 1); n && add_number(added); n--)
			added++;
		for (count = 0; count < s.size && virtqueue_take(&q, &chain) == 1; taken++) {
			check_number(&chain, taken);
			used[count++] = (struct virtqueue_used){chain.id, chain.slots, random_below(3) * 100};
		}
		for (back = random_below(count + 1); back; back--, taken--)
			virtqueue_untake(&q, used[--count].slots);
		assert_int_equal(virtqueue_give_all(&q, used, count), 0);
		for (unsigned n = 0; n < count; n++, done++) {
			assert_true(used_one(&id, &written));
			assert_int_equal(id, used[n].id);
			assert_int_equal(written, used[n].written);
		}
		assert_false(used_one(&id, &written));
		assert_int_equal(q.in_flight, 0);
		assert_null(q.broken);
	}
}

static void buffers_are_put_back_and_given_together(void **state)
{
	static const unsigned size[] = {1, 2, 3, 7, 100, 256};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(size); i++) {
		run_together((struct setup){.size = size[i]}, 5000);
		run_together((struct setup){.size = size[i], .indirect = true, .event_index = true}, 5000);
	}
	virtqueue_untake(&q, 1); /* nothing is in flight: the queue was reset since */
	assert_int_equal(q.in_flight, 0);
}

static void many_buffers_pass(void **state)
{
	static const unsigned size[] = {1, 2, 3, 4, 5, 7, 12, 100, 255, 256};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(size); i++)
		run((struct setup){.size = size[i]}, size[i] == 7 ? 140000 : 20000);
}

static void many_buffers_pass_with_every_feature(void **state)
{
	static const unsigned size[] = {1, 2, 3, 13, 64, 255, 256};

	(void)state;
	run((struct setup){.size = 9, .event_index = true}, 20000);
	run((struct setup){.size = 9, .indirect = true}, 20000);
	for (unsigned i = 0; i < ARRAY_SIZE(size); i++)
		run((struct setup){.size = size[i], .indirect = true, .event_index = true}, 20000);
}

/* The ring lies in two pages, which are not neighbours in our memory. */
static void areas_lie_across_pages(void **state)
{
	(void)state;
	run((struct setup){.size = 11, .event_index = true, .ring = DRIVER - 48, .driver = TABLE - 4, .device = TABLE},
	    3000);
}

static void a_chain_has_up_to_130_parts(void **state)
{
	struct virtqueue_part part[130];

	(void)state;
	start((struct setup){.size = 200, .indirect = true});
	for (unsigned i = 0; i < 130; i++) {
		part[i] = (struct virtqueue_part){GPA(1000 + i), 1 + i};
		put_at(TABLE, i, 1000 + i, 1 + i, i >= 70 ? WRITE : 0);
	}
	add_direct(part, 70, 60, 9);
	offer(TABLE, 130 * 16, 10, INDIRECT);
	for (unsigned n = 0; n < 2; n++) {
		assert_int_equal(virtqueue_take(&q, &chain), 1);
		assert_int_equal(chain.id, 9 + n);
		assert_int_equal(chain.slots, n ? 1 : 130);
		assert_int_equal(chain.out, 70);
		assert_int_equal(chain.in, 60);
		for (unsigned i = 0; i < 130; i++)
			assert_true(chain.part[i].gpa.value == 1000 + i && chain.part[i].size == 1 + i);
		assert_int_equal(chain.out_size + chain.in_size, 131 * 65);
	}
}

/* 2.8.7: all of the table counts, in order, and of its flags only WRITE; of the one that refers to it, not even that.
 */
static void an_indirect_table_is_a_list(void **state)
{
	(void)state;
	start((struct setup){.size = 1, .indirect = true});
	put_at(TABLE + 1, 0, 0xa0, 1, 0);
	put_at(TABLE + 1, 1, 0xa1, 2, NEXT | INDIRECT);
	put_at(TABLE + 1, 2, 0xa2, 3, WRITE | AVAIL | NEXT | INDIRECT);
	offer(TABLE + 1, 3 * 16, 0xfedc, INDIRECT | WRITE);
	assert_int_equal(virtqueue_take(&q, &chain), 1);
	assert_int_equal(chain.id, 0xfedc);
	assert_int_equal(chain.slots, 1);
	assert_int_equal(chain.out, 2);
	assert_int_equal(chain.in, 1);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(chain.part[i].gpa.value, 0xa0 + i);
}

static void the_last_addresses_and_lengths(void **state)
{
	struct virtqueue_part part[] = {{GPA(UINT64_MAX - 0x7fffffff), 0x80000000}, {GPA(UINT64_MAX), 1}, {GPA(0), 1}};

	(void)state;
	start((struct setup){.size = 3});
	part[2].size = 0x7ffffffe;
	assert_true(add(part, 1, 2));
	assert_int_equal(virtqueue_take(&q, &chain), 1);
	assert_int_equal(chain.out_size, 0x80000000);
	assert_int_equal(chain.in_size, 0x7fffffff);
}

/* Both flags alike, or the ones of another lap: not available, and nothing wrong. */
static void what_is_not_available_is_not_taken(void **state)
{
	uint32_t id, written;

	(void)state;
	start((struct setup){.size = 2});
	for (unsigned lap = 0; lap < 4; lap++) {
		uint16_t right = lap % 2 ? USED : AVAIL;

		for (unsigned i = 0; i < 2; i++) {
			*desc(i) = (struct desc){0x1000, 1, (uint16_t)i, right ^ AVAIL};
			assert_int_equal(virtqueue_take(&q, &chain), 0);
			desc(i)->flags = right ^ USED;
			assert_int_equal(virtqueue_take(&q, &chain), 0);
			desc(i)->flags = right ^ (AVAIL | USED);
			assert_int_equal(virtqueue_take(&q, &chain), 0);
			assert_false(virtqueue_listen(&q));
			desc(i)->flags = right;
			assert_true(virtqueue_listen(&q));
			assert_int_equal(virtqueue_take(&q, &chain), 1);
			assert_int_equal(chain.id, i);
			drv.count[i] = 1;
			assert_int_equal(virtqueue_give(&q, &chain, 0), 0);
			assert_true(used_one(&id, &written));
		}
	}
}

/* --- rules, each broken --- */

/* A broken queue stays so, whatever the driver does then, and works again after a reset. */
static void refused(const char *rule)
{
	uint8_t before[PAGE_SIZE];

	assert_int_equal(virtqueue_take(&q, &chain), -E_FORMAT);
	assert_string_equal(q.broken, rule);
	*desc(q.next_take) = (struct desc){0x1000, 1, 0, q.take_wrap ? AVAIL : USED};
	memcpy(before, at(RING), sizeof(before));
	assert_int_equal(virtqueue_take(&q, &chain), -E_FORMAT);
	chain.slots = 1;
	assert_int_equal(virtqueue_give(&q, &chain, 1), -E_FORMAT);
	assert_memory_equal(at(RING), before, sizeof(before));
	assert_false(virtqueue_listen(&q));
	virtqueue_silence(&q);
	assert_int_equal(load(drv.s.device), ENABLE);
	assert_string_equal(q.broken, rule);
	start((struct setup){.size = 5, .indirect = true});
	assert_true(add_number(0));
	assert_int_equal(virtqueue_take(&q, &chain), 1);
	start((struct setup){.size = 5, .indirect = true});
}

static void add_forever(unsigned parts)
{
	for (unsigned i = 0, place; i < parts; i++) {
		place = drv.next;
		desc(place)->flags = put_next(0x1000, 1, 0, NEXT);
	}
}

static void rules_of_the_ring(void **state)
{
	static const char rule[] = "a chain takes up descriptors that are not free";

	(void)state;
	start((struct setup){.size = 5});
	add_forever(5);
	refused(rule);
	offer(0x1000, 1, 1, 0);
	offer(0x1000, 1, 2, 0);
	assert_int_equal(virtqueue_take(&q, &held[0]), 1);
	assert_int_equal(virtqueue_take(&q, &held[1]), 1);
	add_forever(4); /* three are free */
	refused(rule);
	for (unsigned i = 0; i < 5; i++) {
		offer(0x1000, 1, 1, 0);
		assert_int_equal(virtqueue_take(&q, &held[i]), 1);
	}
	offer(0x1000, 1, 1, 0); /* over one that is in flight */
	refused(rule);
	start((struct setup){.size = 1});
	offer(0x1000, 1, 1, NEXT);
	refused(rule);
	start((struct setup){.size = 256});
	add_forever(131);
	refused("a chain has more buffers than the device takes");
}

static void refused_pair(struct virtqueue_part first, struct virtqueue_part second, unsigned out, const char *rule)
{
	struct virtqueue_part part[] = {first, second};

	add_direct(part, out, 2 - out, 0);
	refused(rule);
	put_at(TABLE, 0, first.gpa.value, first.size, out > 0 ? 0 : WRITE);
	put_at(TABLE, 1, second.gpa.value, second.size, out > 1 ? 0 : WRITE);
	offer(TABLE, 32, 0, INDIRECT);
	refused(rule);
}

static void rules_of_the_buffers(void **state)
{
	struct virtqueue_part good = {GPA(0x1000), 1}, empty = {GPA(0x1000), 0}, half = {GPA(0), 0x80000000};
	struct virtqueue_part last = {GPA(UINT64_MAX - 1), 3};

	(void)state;
	start((struct setup){.size = 5, .indirect = true});
	offer(0x1000, 0, 1, 0); /* alone */
	refused("a buffer has no length");
	offer(UINT64_MAX - 1, 3, 1, WRITE);
	refused("a buffer reaches beyond the end of the address space");
	refused_pair(empty, good, 2, "a buffer has no length");
	refused_pair(good, empty, 1, "a buffer has no length");
	refused_pair(good, last, 0, "a buffer reaches beyond the end of the address space");
	refused_pair(half, half, 1, "a chain's buffers are 4 GiB or more in all");
	put_at(TABLE, 0, 0x1000, 1, WRITE);
	put_at(TABLE, 1, 0x1000, 1, 0);
	offer(TABLE, 32, 0, INDIRECT);
	refused("a buffer to be read stands behind one to be written");
	desc(0)->flags = put_next(0x1000, 1, 0, WRITE | NEXT);
	offer(0x1000, 1, 0, 0);
	refused("a buffer to be read stands behind one to be written");
}

static void refused_table(uint64_t gpa, uint32_t len, uint16_t flags, const char *rule)
{
	offer(gpa, len, 1, INDIRECT | flags);
	refused(rule);
}

static void rules_of_indirect_tables(void **state)
{
	static const char length[] = "an indirect table's length is no number of descriptors";

	(void)state;
	start((struct setup){.size = 5});
	refused_table(TABLE, 16, 0, "an indirect descriptor without the feature");
	refused_table(TABLE, 16, NEXT, "an indirect descriptor has a next one");
	refused_table(TABLE, 0, 0, length);
	refused_table(TABLE, 8, 0, length);
	refused_table(TABLE, 33, 0, length);
	refused_table(TABLE, 65536 * 16, 0, length);
	refused_table(UINT64_MAX - 30, 32, 0, "an indirect table reaches beyond the end of the address space");
	refused_table(UINT64_MAX - 31, 32, 0, "an indirect table lies outside of memory");
	put_at(END - 16, 0, 0x1000, 1, 0);
	refused_table(END - 16, 32, 0, "an indirect table lies outside of memory");
	for (unsigned i = 0; i < 131; i++)
		put_at(TABLE, i, 0x1000, 1, 0);
	refused_table(TABLE, 131 * 16, 0, "a chain has more buffers than the device takes");
	desc(0)->flags = put_next(0x1000, 1, 0, NEXT);
	refused_table(TABLE, 16, 0, "an indirect descriptor in a chain");
}

/* --- enabling --- */

static void not_enabled(struct setup s, const char *rule)
{
	assert_int_equal(try_start(s), -E_INVAL);
	assert_string_equal(q.broken, rule);
	assert_false(q.enabled);
	assert_int_equal(virtqueue_take(&q, &chain), -E_FORMAT);
}

static void sizes_and_alignments(void **state)
{
	(void)state;
	not_enabled((struct setup){.size = 0}, "the queue's size is 0 or more than the device has");
	not_enabled((struct setup){.size = 257}, "the queue's size is 0 or more than the device has");
	not_enabled((struct setup){.size = 3, .ring = RING + 8}, "an area of the queue is not aligned");
	not_enabled((struct setup){.size = 3, .driver = DRIVER + 2}, "an area of the queue is not aligned");
	not_enabled((struct setup){.size = 3, .device = DEVICE + 2}, "an area of the queue is not aligned");
	start((struct setup){.size = 3, .ring = RING + 16, .driver = DRIVER + 4, .device = DEVICE + 4});
}

static void areas_end_with_memory(void **state)
{
	static const char rule[] = "an area of the queue lies outside of memory";

	(void)state;
	for (unsigned size = 1; size <= 255; size += 127) {
		run((struct setup){.size = size, .ring = END - 16 * size}, 100);
		run((struct setup){.size = size, .driver = END - 4}, 100);
		run((struct setup){.size = size, .device = END - 4}, 100);
		not_enabled((struct setup){.size = size, .ring = END - 16 * size + 16}, rule);
		not_enabled((struct setup){.size = size, .ring = BASE - 16}, rule);
		not_enabled((struct setup){.size = size, .driver = END}, rule);
		not_enabled((struct setup){.size = size, .device = END}, rule);
		not_enabled((struct setup){.size = size, .device = UINT64_MAX - 3}, rule);
	}
}

static void nothing_happens_while_it_is_not_enabled(void **state)
{
	(void)state;
	start((struct setup){.size = 3});
	assert_true(add_number(0));
	assert_int_equal(virtqueue_take(&q, &held[0]), 1);
	assert_int_equal(virtqueue_enable(&q), 0); /* a second time: it goes on where it was */
	assert_int_equal(virtqueue_take(&q, &chain), 0);
	virtqueue_reset(&q, &mem);
	assert_false(q.enabled || q.packed || q.indirect || q.event_index || q.size);
	assert_int_equal(virtqueue_take(&q, &chain), 0);
	assert_int_equal(virtqueue_give(&q, &held[0], 1), 0); /* of before the reset */
	assert_int_equal(desc(0)->flags, WRITE | AVAIL);
	assert_false(virtqueue_wants_interrupt(&q));
	virtqueue_silence(&q);
	assert_false(virtqueue_listen(&q));
	assert_int_equal(load(DEVICE), 0);
}

/* --- interrupts and notifications --- */

static void pass(unsigned count)
{
	uint32_t id, written;

	while (count--) {
		assert_true(add_number(0));
		assert_int_equal(virtqueue_take(&q, &chain), 1);
		assert_int_equal(virtqueue_give(&q, &chain, 1), 0);
		assert_true(used_one(&id, &written));
	}
}

static void one_interrupt_for_what_was_given(void **state)
{
	(void)state;
	start((struct setup){.size = 4});
	assert_false(virtqueue_wants_interrupt(&q));
	assert_true(add_number(0));
	assert_int_equal(virtqueue_take(&q, &chain), 1);
	assert_false(virtqueue_wants_interrupt(&q));
	assert_int_equal(virtqueue_give(&q, &chain, 1), 0);
	assert_true(virtqueue_wants_interrupt(&q));
	assert_false(virtqueue_wants_interrupt(&q));
	store(DRIVER, DISABLE);
	pass(2);
	assert_false(virtqueue_wants_interrupt(&q));
	store(DRIVER, ENABLE); /* the driver looks for itself after this */
	assert_false(virtqueue_wants_interrupt(&q));
	pass(8); /* two laps: the same place again, but not nothing */
	assert_true(virtqueue_wants_interrupt(&q));
	assert_false(virtqueue_wants_interrupt(&q));
}

static void what_has_no_meaning_is_answered(void **state)
{
	(void)state;
	start((struct setup){.size = 4});
	store(DRIVER, event_of(3, false)); /* without the feature */
	pass(1);
	assert_true(virtqueue_wants_interrupt(&q));
	start((struct setup){.size = 4, .event_index = true});
	store(DRIVER, event_of(4, true)); /* no such place */
	pass(1);
	assert_true(virtqueue_wants_interrupt(&q));
	store(DRIVER, 0x30000 | event_of(3, false)); /* reserved */
	pass(1);
	assert_true(virtqueue_wants_interrupt(&q));
	store(DRIVER, 0xfffc0000 | DISABLE); /* reserved bits beside the flags */
	pass(1);
	assert_false(virtqueue_wants_interrupt(&q));
}

/* Every place to be and every place to ask for, with either wrap counter, for every number given. */
static void every_event_place(void **state)
{
	(void)state;
	start((struct setup){.size = 7, .event_index = true});
	for (unsigned n = 0; n < 14 * 14 * 16; n++) {
		unsigned give = n % 14, event = n / 14 % 14, given = n / 14 / 14;
		uint32_t asked = event_of(event % 7, event < 7);

		q.next_give = (uint16_t)(give % 7);
		q.give_wrap = give < 7;
		q.given = given;
		store(DRIVER, asked);
		assert_int_equal(virtqueue_wants_interrupt(&q), was_passed(asked, give % 7, give < 7, given));
	}
}

static void silence_is_a_flag(void **state)
{
	(void)state;
	start((struct setup){.size = 5});
	assert_true(add_number(0));
	assert_true(must_kick());
	virtqueue_silence(&q);
	assert_int_equal(load(DEVICE), DISABLE);
	assert_true(q.silent);
	assert_true(add_number(1));
	assert_false(must_kick());
	assert_int_equal(virtqueue_take(&q, &chain), 1);
	assert_true(virtqueue_listen(&q)); /* the second is there, unannounced */
	assert_int_equal(load(DEVICE), ENABLE);
	assert_false(q.silent);
	virtqueue_silence(&q);
	assert_int_equal(virtqueue_take(&q, &chain), 1);
	assert_false(virtqueue_listen(&q));
	assert_true(add_number(0));
	assert_true(must_kick());
	assert_true(virtqueue_listen(&q));
}

static void silence_with_event_index(void **state)
{
	(void)state;
	start((struct setup){.size = 3, .event_index = true});
	assert_true(add_number(0));
	assert_true(must_kick());
	virtqueue_silence(&q);
	assert_int_equal(load(DEVICE), DISABLE);
	assert_true(add_number(3));
	assert_false(must_kick());
	assert_int_equal(virtqueue_take(&q, &chain), 1);
	assert_true(virtqueue_listen(&q));
	assert_int_equal(load(DEVICE), event_of(1, true));
	assert_int_equal(virtqueue_take(&q, &chain), 1);
	assert_int_equal(virtqueue_give(&q, &chain, 0), 0);
	assert_int_equal(virtqueue_take(&q, &held[0]), 0);
	assert_false(virtqueue_listen(&q));
	assert_int_equal(load(DEVICE), event_of(2, true));
	assert_true(add_number(0));
	assert_true(must_kick());
	assert_int_equal(virtqueue_take(&q, &held[0]), 1);
	assert_false(virtqueue_listen(&q));
	assert_int_equal(load(DEVICE), event_of(0, false)); /* the next lap */
	offer(0x1000, 1, 0, 0);
	assert_true(must_kick());
	offer(0x1000, 1, 0, 0);
	assert_false(must_kick()); /* once is enough */
}

/* --- at the same time --- */

static const struct race_driver racer = {add_number, must_kick, used_one, ask_for_interrupt, check_number};

static void run_concurrently(struct setup s)
{
	start(s);
	race_run(&racer, &q);
}

static void nothing_is_lost_at_the_same_time(void **state)
{
	(void)state;
	run_concurrently((struct setup){.size = 1});
	run_concurrently((struct setup){.size = 3, .event_index = true});
	run_concurrently((struct setup){.size = 1, .event_index = true});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_chain_is_taken_and_given),
	    cmocka_unit_test(many_buffers_pass),
	    cmocka_unit_test(buffers_are_put_back_and_given_together),
	    cmocka_unit_test(many_buffers_pass_with_every_feature),
	    cmocka_unit_test(areas_lie_across_pages),
	    cmocka_unit_test(a_chain_has_up_to_130_parts),
	    cmocka_unit_test(an_indirect_table_is_a_list),
	    cmocka_unit_test(the_last_addresses_and_lengths),
	    cmocka_unit_test(what_is_not_available_is_not_taken),
	    cmocka_unit_test(rules_of_the_ring),
	    cmocka_unit_test(rules_of_the_buffers),
	    cmocka_unit_test(rules_of_indirect_tables),
	    cmocka_unit_test(sizes_and_alignments),
	    cmocka_unit_test(areas_end_with_memory),
	    cmocka_unit_test(nothing_happens_while_it_is_not_enabled),
	    cmocka_unit_test(one_interrupt_for_what_was_given),
	    cmocka_unit_test(what_has_no_meaning_is_answered),
	    cmocka_unit_test(every_event_place),
	    cmocka_unit_test(silence_is_a_flag),
	    cmocka_unit_test(silence_with_event_index),
	    cmocka_unit_test(nothing_is_lost_at_the_same_time),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
