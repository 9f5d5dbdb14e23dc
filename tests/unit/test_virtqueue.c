/*
 * Split virtqueues against a driver that does what Linux does, rule by rule against one that does not, and against one
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

#define PAGES GUEST_MEM_MAX_REGIONS
#define BASE  0x40000ULL
#define END   (BASE + PAGES * PAGE_SIZE)
#define DESC  BASE /* where the areas are if the test does not say */
#define AVAIL (BASE + PAGE_SIZE)
#define USED  (BASE + 2 * PAGE_SIZE)
#define TABLE (BASE + 3 * PAGE_SIZE) /* indirect tables, up to 4 pages */

#define NEXT	 1
#define WRITE	 2
#define INDIRECT 4

struct setup {
	unsigned size;
	bool indirect, event_index;
	uint64_t desc, avail, used;
};

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

static _Alignas(4096) uint8_t host[PAGES][PAGE_SIZE];
static struct guest_mem mem;
static struct virtqueue q;
static struct virtqueue_chain chain, held[VIRTQUEUE_MAX_SIZE + 1];

/* The driver: what it knows beside what is in the rings. */
static struct {
	struct setup s;
	uint16_t free_head, free_count, index, last_used;
	uint16_t kicked; /* index at which it last looked whether to notify */
	uint16_t count[VIRTQUEUE_MAX_SIZE];
} drv;

static void *at(uint64_t gpa)
{
	assert_in_range(gpa, BASE, END - 1);
	return host[PAGES - 1 - (gpa - BASE) / PAGE_SIZE] + gpa % PAGE_SIZE;
}

static uint16_t load(uint64_t gpa)
{
	return __atomic_load_n((uint16_t *)at(gpa), __ATOMIC_ACQUIRE);
}

static void store(uint64_t gpa, uint16_t value)
{
	__atomic_store_n((uint16_t *)at(gpa), value, __ATOMIC_RELEASE);
}

static struct desc *desc(unsigned i)
{
	return at(drv.s.desc + 16 * i);
}

static void put(unsigned i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	*desc(i) = (struct desc){addr, len, flags, next};
}

/* An entry of an indirect table, wherever it lies. */
static void put_at(uint64_t table, unsigned i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	struct desc d = {addr, len, flags, next};

	assert_int_equal(guest_write(&mem, GPA(table + 16 * i), &d, sizeof(d)), 0);
}

static void configure(struct setup s)
{
	q.size = (uint16_t)s.size;
	q.indirect = s.indirect;
	q.event_index = s.event_index;
	q.descriptors = GPA(s.desc);
	q.driver = GPA(s.avail);
	q.device = GPA(s.used);
}

static int try_start(struct setup s)
{
	s.desc = s.desc ? s.desc : DESC;
	s.avail = s.avail ? s.avail : AVAIL;
	s.used = s.used ? s.used : USED;
	memset(host, 0, sizeof(host));
	memset(&drv, 0, sizeof(drv));
	memset(&chain, 0xee, sizeof(chain));
	drv.s = s;
	drv.free_count = (uint16_t)s.size;
	virtqueue_reset(&q, &mem);
	configure(s);
	return virtqueue_enable(&q);
}

static void start(struct setup s)
{
	assert_int_equal(try_start(s), 0);
	assert_true(q.enabled);
	for (unsigned i = 0; i < s.size; i++)
		desc(i)->next = (uint16_t)(i + 1); /* the free list */
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

static void offer(uint16_t head)
{
	store(drv.s.avail + 4 + 2 * (drv.index % drv.s.size), head);
	store(drv.s.avail + 2, ++drv.index);
}

static uint64_t table_of(unsigned head)
{
	return TABLE + head * 56; /* three entries, some of them across two pages */
}

/* `out` parts to read, then `in` parts to write. False: no room. */
static bool add(const struct virtqueue_part *part, unsigned out, unsigned in)
{
	unsigned count = out + in, taken = drv.s.indirect && count > 1 ? 1 : count, i = drv.free_head;
	uint16_t head = drv.free_head;

	if (taken > drv.free_count)
		return false;
	for (unsigned n = 0; n < count; n++, part++) {
		uint16_t flags = (uint16_t)((n >= out ? WRITE : 0) | (n + 1 < count ? NEXT : 0));

		if (taken < count) {
			put_at(table_of(head), n, part->gpa.value, part->size, flags, (uint16_t)(n + 1));
			continue;
		}
		put(i, part->gpa.value, part->size, flags, desc(i)->next);
		i = desc(i)->next;
	}
	if (taken < count) {
		i = desc(head)->next;
		put(head, table_of(head), 16 * count, INDIRECT, (uint16_t)i);
	}
	drv.free_head = (uint16_t)i;
	drv.free_count = (uint16_t)(drv.free_count - taken);
	drv.count[head] = (uint16_t)taken;
	offer(head);
	return true;
}

/* After the fence: is the device to be notified of what was added since this was last asked? */
static bool must_kick(void)
{
	uint16_t from = drv.kicked, event;

	drv.kicked = drv.index;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!drv.s.event_index)
		return !load(drv.s.used);
	event = load(drv.s.used + 4 + 8 * drv.s.size);
	for (; from != drv.index; from++)
		if (from == event)
			return true;
	return false;
}

static bool used_one(uint32_t *id, uint32_t *written)
{
	uint64_t entry = drv.s.used + 4 + 8 * (drv.last_used % drv.s.size);
	uint16_t last;

	if (load(drv.s.used + 2) == drv.last_used)
		return false;
	*id = *(uint32_t *)at(entry);
	*written = *(uint32_t *)at(entry + 4);
	assert_true(*id < drv.s.size && drv.count[*id]);
	for (last = (uint16_t)*id; desc(last)->flags & NEXT; last = desc(last)->next)
		;
	desc(last)->next = drv.free_head;
	drv.free_head = (uint16_t)*id;
	drv.free_count = (uint16_t)(drv.free_count + drv.count[*id]);
	drv.count[*id] = 0;
	drv.last_used++;
	return true;
}

static void ask_for_interrupt(void)
{
	if (drv.s.event_index)
		store(drv.s.avail + 4 + 2 * drv.s.size, drv.last_used);
	else
		store(drv.s.avail, 0);
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
	assert_int_equal(c->slots, 1);
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
	start((struct setup){.size = 8});
	assert_int_equal(virtqueue_take(&q, &chain), 0);
	assert_true(add(part, 1, 2));
	assert_int_equal(virtqueue_take(&q, &chain), 1);
	assert_int_equal(chain.id, 0);
	assert_int_equal(chain.out, 1);
	assert_int_equal(chain.in, 2);
	assert_int_equal(chain.out_size, 16);
	assert_int_equal(chain.in_size, 513);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(chain.part[i].gpa.value, part[i].gpa.value);
		assert_int_equal(chain.part[i].size, part[i].size);
	}
	assert_int_equal(chain.part[3].size, 0xeeeeeeee); /* the rest is not touched */
	assert_int_equal(virtqueue_take(&q, &chain), 0);
	assert_false(used_one(&id, &written));
	assert_int_equal(virtqueue_take(&q, &held[0]), 0);
	chain.id = 0;
	assert_int_equal(virtqueue_give(&q, &chain, 513), 0);
	assert_true(used_one(&id, &written));
	assert_int_equal(id, 0);
	assert_int_equal(written, 513);
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

/* Entries `from` to `to` of the used ring were written: what the specification says of interrupts (2.7.7.2). */
static bool interrupt_is_due(uint16_t from, uint16_t to)
{
	uint16_t event = load(drv.s.avail + 4 + 2 * drv.s.size);

	if (from == to)
		return false;
	if (!drv.s.event_index)
		return !load(drv.s.avail);
	for (; from != to; from++)
		if (from == event)
			return true;
	return false;
}

static void check_interrupt(uint16_t *asked)
{
	uint16_t now = load(drv.s.used + 2);

	if (drv.s.event_index) /* near what comes next, mostly */
		store(drv.s.avail + 4 + 2 * drv.s.size, (uint16_t)(*asked - 2 + random_below(6)));
	else
		store(drv.s.avail, (uint16_t)random_below(2));
	assert_int_equal(virtqueue_wants_interrupt(&q), interrupt_is_due(*asked, now));
	assert_false(virtqueue_wants_interrupt(&q));
	*asked = now;
}

/* `total` numbered buffers, some at a time, taken in their order and given back in any. */
static void run(struct setup s, unsigned total)
{
	unsigned added = 0, taken = 0, in_hand = 0, done = 0;
	uint32_t given[VIRTQUEUE_MAX_SIZE][2], gifts = 0, id, written;
	uint16_t asked = 0;

	start(s);
	while (done < total) {
		for (unsigned n = random_below(s.size + 1); n && add_number(added); n--)
			added++;
		for (unsigned n = random_below(s.size + 1); n && virtqueue_take(&q, &held[in_hand]) == 1; n--)
			check_number(&held[in_hand++], taken++);
		assert_int_equal(q.in_flight, in_hand);
		for (unsigned n = random_below(s.size + 1), i; n && in_hand; n--) {
			i = random_below(in_hand);
			given[gifts][0] = held[i].id;
			given[gifts][1] = random_below(1000);
			assert_int_equal(virtqueue_give(&q, &held[i], given[gifts++][1]), 0);
			held[i] = held[--in_hand];
		}
		if (!random_below(3))
			check_interrupt(&asked);
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
	static const unsigned size[] = {1, 2, 4, 64, 256};

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
	(void)state;
	for (unsigned size = 1; size <= VIRTQUEUE_MAX_SIZE; size *= 2)
		run((struct setup){.size = size}, size == 1 || size == 8 || size == 256 ? 70000 : 3000);
}

static void many_buffers_pass_with_every_feature(void **state)
{
	(void)state;
	run((struct setup){.size = 8, .indirect = true}, 3000);
	for (unsigned size = 1; size <= VIRTQUEUE_MAX_SIZE; size *= 4)
		run((struct setup){.size = size, .indirect = true, .event_index = true}, size == 16 ? 140000 : 70000);
}

/* Each area lies in two pages, which are not neighbours in our memory. */
static void areas_lie_across_pages(void **state)
{
	(void)state;
	run((struct setup){.size = 16, .event_index = true, .desc = AVAIL - 48, .avail = USED - 10, .used = TABLE - 8},
	    3000);
	run((struct setup){.size = 16, .desc = AVAIL - 48, .avail = USED - 2, .used = TABLE - 4}, 3000);
	run((struct setup){.size = 16, .event_index = true, .avail = USED - 36, .used = TABLE - 132}, 3000);
}

static void a_chain_has_up_to_130_parts(void **state)
{
	(void)state;
	start((struct setup){.size = 256, .indirect = true});
	for (uint16_t i = 0; i < 130; i++) {
		put(i, 1000 + i, 1 + i, (i >= 70 ? WRITE : 0) | (i < 129 ? NEXT : 0), i + 1);
		put_at(TABLE, i, 1000 + i, 1 + i, (i >= 70 ? WRITE : 0) | (i < 129 ? NEXT : 0), i + 1);
	}
	put(200, TABLE, 130 * 16, INDIRECT, 0);
	offer(0);
	offer(200);
	for (unsigned n = 0; n < 2; n++) {
		assert_int_equal(virtqueue_take(&q, &chain), 1);
		assert_int_equal(chain.id, n * 200);
		assert_int_equal(chain.out, 70);
		assert_int_equal(chain.in, 60);
		for (unsigned i = 0; i < 130; i++)
			assert_true(chain.part[i].gpa.value == 1000 + i && chain.part[i].size == 1 + i);
		assert_int_equal(chain.out_size + chain.in_size, 131 * 65);
	}
}

/* The table is followed by its links, and may be longer than what is linked; its WRITE flag does not count. */
static void an_indirect_table_is_linked(void **state)
{
	(void)state;
	start((struct setup){.size = 2, .indirect = true});
	put_at(TABLE + 1, 0, 0xa0, 1, NEXT, 4);
	put_at(TABLE + 1, 4, 0xa4, 2, NEXT, 1);
	put_at(TABLE + 1, 1, 0xa1, 3, WRITE, 99);
	put(1, TABLE + 1, 5 * 16, INDIRECT | WRITE, 99);
	offer(1);
	assert_int_equal(virtqueue_take(&q, &chain), 1);
	assert_int_equal(chain.out, 2);
	assert_int_equal(chain.in, 1);
	assert_int_equal(chain.part[1].gpa.value, 0xa4);
	assert_int_equal(chain.part[2].gpa.value, 0xa1);
	assert_int_equal(chain.id, 1);
}

static void direct_ones_may_precede_an_indirect_one(void **state)
{
	(void)state;
	start((struct setup){.size = 4, .indirect = true});
	put(3, 0xd0, 10, NEXT, 0);
	put(0, TABLE, 32, INDIRECT, 0);
	put_at(TABLE, 0, 0xa0, 1, NEXT, 1);
	put_at(TABLE, 1, 0xa1, 2, WRITE, 0);
	offer(3);
	assert_int_equal(virtqueue_take(&q, &chain), 1);
	assert_int_equal(chain.id, 3);
	assert_int_equal(chain.out, 2);
	assert_int_equal(chain.out_size, 11);
	assert_int_equal(chain.in_size, 2);
}

static void the_largest_table_and_the_last_addresses(void **state)
{
	(void)state;
	start((struct setup){.size = 4, .indirect = true});
	put(0, TABLE, 65535 * 16, INDIRECT, 0); /* goes on beyond memory, where no link leads */
	put_at(TABLE, 0, UINT64_MAX - 15, 16, NEXT, 1);
	put_at(TABLE, 1, UINT64_MAX, 1, WRITE, 0);
	put(1, UINT64_MAX - 0xfffffffe, 0xffffffff, 0, 0);
	put(2, 0, 0x80000000, NEXT, 3);
	put(3, 0, 0x7fffffff, WRITE, 0);
	for (uint16_t head = 0; head < 3; head++) {
		offer(head);
		assert_int_equal(virtqueue_take(&q, &chain), 1);
		assert_int_equal(chain.id, head);
	}
	assert_int_equal(chain.out_size, 0x80000000);
	assert_int_equal(chain.in_size, 0x7fffffff);
}

/* --- rules, each broken --- */

/* A broken queue stays so, whatever the driver does then, and works again after a reset. */
static void refused(const char *rule)
{
	uint16_t used = load(drv.s.used + 2);

	assert_int_equal(virtqueue_take(&q, &chain), -E_FORMAT);
	assert_string_equal(q.broken, rule);
	put(0, 0, 1, 0, 0);
	store(drv.s.avail + 2, q.next_take);
	assert_int_equal(virtqueue_take(&q, &chain), -E_FORMAT);
	chain.slots = 1;
	assert_int_equal(virtqueue_give(&q, &chain, 1), -E_FORMAT);
	assert_int_equal(load(drv.s.used + 2), used);
	store(drv.s.avail + 2, (uint16_t)(q.next_take + 1));
	assert_false(virtqueue_listen(&q));
	virtqueue_silence(&q);
	assert_int_equal(load(drv.s.used), 0);
	assert_string_equal(q.broken, rule);
	start((struct setup){.size = 4, .indirect = true});
	assert_true(add_number(0));
	assert_int_equal(virtqueue_take(&q, &chain), 1);
	start((struct setup){.size = 4, .indirect = true});
}

static void rules_of_the_index(void **state)
{
	static const char rule[] = "available index is further ahead than the ring has entries";

	(void)state;
	start((struct setup){.size = 4, .indirect = true});
	store(AVAIL + 2, 5);
	refused(rule);
	store(AVAIL + 2, 0xffff);
	refused(rule);
	for (unsigned i = 0; i < 4; i++) { /* all in flight: there is nothing to offer */
		put(i, 0x1000, 1, 0, 0);
		offer((uint16_t)i);
		assert_int_equal(virtqueue_take(&q, &chain), 1);
	}
	offer(0);
	refused(rule);
	put(0, 0x1000, 1, 0, 0);
	offer(0);
	assert_int_equal(virtqueue_take(&q, &chain), 1);
	assert_int_equal(virtqueue_give(&q, &chain, 0), 0);
	store(AVAIL + 2, 0); /* backwards */
	refused(rule);
}

static void rules_of_the_links(void **state)
{
	(void)state;
	start((struct setup){.size = 4, .indirect = true});
	offer(4);
	refused("a descriptor's number lies outside of the ring");
	offer(0xffff);
	refused("a descriptor's number lies outside of the ring");
	put(0, 0x1000, 1, NEXT, 4);
	offer(0);
	refused("a descriptor's number lies outside of the ring");
	put(3, 0x1000, 1, NEXT, 3);
	offer(3);
	refused("a chain is longer than the ring");
	for (unsigned i = 0; i < 4; i++)
		put(i, 0x1000, 1, NEXT, (uint16_t)((i + 1) % 4));
	offer(2);
	refused("a chain is longer than the ring");
}

static void too_many_parts(void **state)
{
	(void)state;
	start((struct setup){.size = 256});
	for (uint16_t i = 0; i < 131; i++)
		put(i, 0x1000, 1, i < 130 ? NEXT : 0, i + 1);
	offer(0);
	refused("a chain has more buffers than the device takes");
	for (uint16_t i = 0; i < 131; i++)
		put_at(TABLE, i, 0x1000, 1, i < 130 ? NEXT : 0, i + 1);
	put(0, TABLE, 131 * 16, INDIRECT, 0);
	offer(0);
	refused("a chain has more buffers than the device takes");
}

static void refused_pair(struct desc first, struct desc second, const char *rule)
{
	put(0, first.addr, first.len, first.flags | NEXT, 1);
	put(1, second.addr, second.len, second.flags, 0);
	offer(0);
	refused(rule);
	put_at(TABLE, 0, first.addr, first.len, first.flags | NEXT, 1);
	put_at(TABLE, 1, second.addr, second.len, second.flags, 0);
	put(2, TABLE, 32, INDIRECT, 0);
	offer(2);
	refused(rule);
}

static void rules_of_the_buffers(void **state)
{
	(void)state;
	start((struct setup){.size = 4, .indirect = true});
	refused_pair((struct desc){0x1000, 0, 0, 0}, (struct desc){0x1000, 1, 0, 0}, "a buffer has no length");
	refused_pair((struct desc){0x1000, 1, 0, 0}, (struct desc){0x1000, 0, WRITE, 0}, "a buffer has no length");
	refused_pair((struct desc){0x1000, 1, 0, 0}, (struct desc){UINT64_MAX, 2, 0, 0},
		     "a buffer reaches beyond the end of the address space");
	refused_pair((struct desc){0x1000, 1, WRITE, 0}, (struct desc){0x1000, 1, 0, 0},
		     "a buffer to be read stands behind one to be written");
	refused_pair((struct desc){0, 0x80000000, 0, 0}, (struct desc){0, 0x80000000, 0, 0},
		     "a chain's buffers are 4 GiB or more in all");
	refused_pair((struct desc){0, 0xffffffff, 0, 0}, (struct desc){0, 1, WRITE, 0},
		     "a chain's buffers are 4 GiB or more in all");
}

static void refused_table(uint64_t gpa, uint32_t len, uint16_t flags, const char *rule)
{
	put(1, gpa, len, INDIRECT | flags, 0);
	offer(1);
	refused(rule);
}

static void rules_of_indirect_tables(void **state)
{
	static const char length[] = "an indirect table's length is no number of descriptors";

	(void)state;
	start((struct setup){.size = 4});
	refused_table(TABLE, 16, 0, "an indirect descriptor without the feature");
	refused_table(TABLE, 16, NEXT, "an indirect descriptor has a next one");
	refused_table(TABLE, 0, 0, length);
	refused_table(TABLE, 8, 0, length);
	refused_table(TABLE, 33, 0, length);
	refused_table(TABLE, 65536 * 16, 0, length);
	refused_table(UINT64_MAX - 30, 32, 0, "an indirect table reaches beyond the end of the address space");
	refused_table(UINT64_MAX - 31, 32, 0, "an indirect table lies outside of memory");
	refused_table(END - 15, 16, 0, "an indirect table lies outside of memory");
	put_at(END - 16, 0, 0x1000, 1, NEXT, 1);
	refused_table(END - 16, 32, 0, "an indirect table lies outside of memory");
	put_at(TABLE, 0, 0x1000, 1, INDIRECT, 0);
	refused_table(TABLE, 16, 0, "an indirect table within an indirect table");
	put_at(TABLE, 0, 0x1000, 1, NEXT, 2);
	refused_table(TABLE, 32, 0, "a descriptor's number lies outside of its indirect table");
	put_at(TABLE, 0, 0x1000, 1, NEXT, 1);
	put_at(TABLE, 1, 0x1000, 1, NEXT, 0);
	refused_table(TABLE, 32, 0, "a chain is longer than its indirect table");
}

/* --- enabling --- */

static void not_enabled(struct setup s, const char *rule)
{
	assert_int_equal(try_start(s), -E_INVAL);
	assert_string_equal(q.broken, rule);
	assert_false(q.enabled);
	assert_int_equal(virtqueue_take(&q, &chain), -E_FORMAT);
	configure((struct setup){.size = 4, .desc = DESC, .avail = AVAIL, .used = USED});
	assert_int_equal(virtqueue_enable(&q), -E_INVAL); /* not before it is reset */
	assert_string_equal(q.broken, rule);
	virtqueue_reset(&q, &mem);
	assert_null(q.broken);
	configure((struct setup){.size = 4, .desc = DESC, .avail = AVAIL, .used = USED});
	assert_int_equal(virtqueue_enable(&q), 0);
}

static void sizes_and_alignments(void **state)
{
	(void)state;
	not_enabled((struct setup){.size = 0}, "the queue's size is 0 or more than the device has");
	not_enabled((struct setup){.size = 512}, "the queue's size is 0 or more than the device has");
	not_enabled((struct setup){.size = 3}, "the size of a split queue is not a power of two");
	not_enabled((struct setup){.size = 255}, "the size of a split queue is not a power of two");
	not_enabled((struct setup){.size = 4, .desc = DESC + 8}, "an area of the queue is not aligned");
	not_enabled((struct setup){.size = 4, .avail = AVAIL + 1}, "an area of the queue is not aligned");
	not_enabled((struct setup){.size = 4, .used = USED + 2}, "an area of the queue is not aligned");
	start((struct setup){.size = 4, .desc = DESC + 16, .avail = AVAIL + 2, .used = USED + 4});
}

static void areas_end_with_memory(void **state)
{
	static const char rule[] = "an area of the queue lies outside of memory";

	(void)state;
	for (unsigned size = 1; size <= VIRTQUEUE_MAX_SIZE; size *= 16) {
		run((struct setup){.size = size, .desc = END - 16 * size}, 100);
		run((struct setup){.size = size, .event_index = true, .avail = END - 6 - 2 * size}, 100);
		run((struct setup){.size = size, .event_index = true, .used = (END - 6 - 8 * size) & ~3ULL}, 100);
		not_enabled((struct setup){.size = size, .desc = END - 16 * size + 16}, rule);
		not_enabled((struct setup){.size = size, .avail = END - 4 - 2 * size}, rule);
		not_enabled((struct setup){.size = size, .used = END - 4 - 8 * size}, rule);
		not_enabled((struct setup){.size = size, .desc = BASE - 16}, rule);
		not_enabled((struct setup){.size = size, .avail = UINT64_MAX - 1}, rule);
		not_enabled((struct setup){.size = size, .used = UINT64_MAX - 3}, rule);
		not_enabled((struct setup){.size = size, .desc = ~15ULL}, rule);
	}
}

static void nothing_happens_while_it_is_not_enabled(void **state)
{
	(void)state;
	start((struct setup){.size = 4});
	assert_true(add_number(0));
	assert_int_equal(virtqueue_take(&q, &held[0]), 1);
	assert_int_equal(virtqueue_enable(&q), 0); /* a second time: it goes on where it was */
	assert_int_equal(virtqueue_take(&q, &chain), 0);
	virtqueue_reset(&q, &mem);
	assert_false(q.enabled || q.packed || q.indirect || q.event_index || q.size);
	assert_ptr_equal(q.mem, &mem);
	assert_int_equal(virtqueue_take(&q, &chain), 0);
	assert_int_equal(virtqueue_give(&q, &held[0], 1), 0); /* of before the reset */
	assert_false(virtqueue_wants_interrupt(&q));
	virtqueue_silence(&q);
	assert_false(virtqueue_listen(&q));
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(((uint8_t *)at(USED))[i], 0);
}

static void more_is_not_given_than_was_taken(void **state)
{
	(void)state;
	start((struct setup){.size = 4});
	assert_true(add_number(0));
	assert_int_equal(virtqueue_take(&q, &chain), 1);
	assert_int_equal(virtqueue_give(&q, &chain, 1), 0);
	assert_int_equal(virtqueue_give(&q, &chain, 1), 0);
	assert_int_equal(load(USED + 2), 1);
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
	store(AVAIL, 1);
	pass(2);
	assert_false(virtqueue_wants_interrupt(&q));
	store(AVAIL, 0); /* the driver looks for itself after this */
	assert_false(virtqueue_wants_interrupt(&q));
	pass(1);
	offer(17); /* breaks it */
	assert_int_equal(virtqueue_take(&q, &chain), -E_FORMAT);
	assert_true(virtqueue_wants_interrupt(&q));
	assert_false(virtqueue_wants_interrupt(&q));
}

/* Flags do not count with event index, nor the event index without. */
static void flags_or_event_index(void **state)
{
	(void)state;
	start((struct setup){.size = 4, .event_index = true});
	store(AVAIL, 1);
	pass(1);
	assert_true(virtqueue_wants_interrupt(&q));
	start((struct setup){.size = 4});
	store(AVAIL + 4 + 8, 1000);
	pass(1);
	assert_true(virtqueue_wants_interrupt(&q));
}

static bool lies_between(uint16_t event, uint16_t from, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if ((uint16_t)(from + i) == event)
			return true;
	return false;
}

/* Every event index for some numbers of buffers, with the index about to wrap. */
static void every_event_index(void **state)
{
	(void)state;
	start((struct setup){.size = 16, .event_index = true});
	for (unsigned given = 0; given <= 16; given++) {
		for (unsigned event = 0; event < 0x10000; event++) {
			q.next_give = (uint16_t)(0xfff8 + given);
			q.given = given;
			store(AVAIL + 4 + 32, (uint16_t)event);
			assert_int_equal(virtqueue_wants_interrupt(&q), lies_between((uint16_t)event, 0xfff8, given));
		}
	}
}

/* A device that does not ask for long has passed whatever index the driver named. */
static void a_lap_of_the_index_is_not_nothing(void **state)
{
	(void)state;
	start((struct setup){.size = 4, .event_index = true});
	for (unsigned more = 0; more < 2; more++) {
		pass(0x10000 + more);
		store(AVAIL + 4 + 8, (uint16_t)(q.next_give + 7));
		assert_true(virtqueue_wants_interrupt(&q));
	}
	pass(0xffff);
	store(AVAIL + 4 + 8, q.next_give); /* the one of all that is still to come */
	assert_false(virtqueue_wants_interrupt(&q));
	pass(200000);
	assert_true(virtqueue_wants_interrupt(&q));
}

static void silence_is_a_flag(void **state)
{
	(void)state;
	start((struct setup){.size = 4});
	assert_true(add_number(0));
	assert_true(must_kick());
	virtqueue_silence(&q);
	assert_int_equal(load(USED), 1);
	assert_true(q.silent);
	assert_true(add_number(3));
	assert_false(must_kick());
	assert_int_equal(virtqueue_take(&q, &chain), 1);
	assert_true(virtqueue_listen(&q)); /* the second is there, unannounced */
	assert_int_equal(load(USED), 0);
	virtqueue_silence(&q);
	assert_int_equal(virtqueue_take(&q, &chain), 1);
	assert_false(virtqueue_listen(&q));
	assert_false(q.silent);
	assert_true(add_number(0));
	assert_true(must_kick());
	assert_true(virtqueue_listen(&q));
}

static void silence_with_event_index(void **state)
{
	uint64_t event = USED + 4 + 32;

	(void)state;
	start((struct setup){.size = 4, .event_index = true});
	assert_true(add_number(0));
	assert_true(must_kick());
	virtqueue_silence(&q);
	assert_int_equal(load(USED), 0); /* flags stay 0, and the event where it is: behind */
	assert_int_equal(load(event), 0);
	assert_true(add_number(3));
	assert_false(must_kick());
	assert_int_equal(virtqueue_take(&q, &chain), 1);
	assert_int_equal(load(event), 0);
	assert_true(virtqueue_listen(&q));
	assert_int_equal(load(event), 1);
	assert_int_equal(virtqueue_take(&q, &chain), 1);
	assert_false(virtqueue_listen(&q));
	assert_int_equal(load(event), 2);
	assert_int_equal(load(USED), 0);
	assert_true(add_number(0));
	assert_true(must_kick());
	assert_true(add_number(0));
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
	run_concurrently((struct setup){.size = 4, .event_index = true});
	run_concurrently((struct setup){.size = 1, .event_index = true});
}

static bool stop;

/* Descriptors that are right at one moment and wrong at the next. */
static void *spoil(void *unused)
{
	struct desc *d = desc(0);

	for (unsigned n = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); n++) {
		__atomic_store_n(&d[n % 3].len, n % 5 ? 8 : 0, __ATOMIC_RELAXED);
		__atomic_store_n(&d[n % 3].flags, n % 7 & (NEXT | WRITE), __ATOMIC_RELAXED);
		__atomic_store_n(&d[n % 3].next, n % 11 ? n % 3 : 0xfff0, __ATOMIC_RELAXED);
		__atomic_store_n(&d[n % 3].addr, n % 13 ? 0 : UINT64_MAX - 7, __ATOMIC_RELAXED);
		store(AVAIL + 4, n % 17 ? 0 : 0xfff0);
		store(AVAIL + 2, n % 19 ? 1 : 0xfff0);
	}
	return unused;
}

static void what_was_checked_is_what_is_used(void **state)
{
	struct setup s = {.size = 4, .desc = DESC, .avail = AVAIL, .used = USED};
	unsigned good = 0, bad = 0;
	pthread_t driver;

	(void)state;
	start(s);
	stop = false;
	assert_int_equal(pthread_create(&driver, NULL, spoil, NULL), 0);
	while (good < 20000 || bad < 20000) {
		virtqueue_reset(&q, &mem);
		configure(s);
		assert_int_equal(virtqueue_enable(&q), 0);
		if (virtqueue_take(&q, &chain) != 1) {
			bad++;
			continue;
		}
		good++;
		assert_in_range(chain.out + chain.in, 1, 4);
		assert_int_equal(chain.out_size, 8 * chain.out);
		assert_int_equal(chain.in_size, 8 * chain.in);
		for (unsigned i = 0; i < chain.out + chain.in; i++)
			assert_int_equal(chain.part[i].size, 8);
	}
	stop = true;
	pthread_join(driver, NULL);
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
	    cmocka_unit_test(an_indirect_table_is_linked),
	    cmocka_unit_test(direct_ones_may_precede_an_indirect_one),
	    cmocka_unit_test(the_largest_table_and_the_last_addresses),
	    cmocka_unit_test(rules_of_the_index),
	    cmocka_unit_test(rules_of_the_links),
	    cmocka_unit_test(too_many_parts),
	    cmocka_unit_test(rules_of_the_buffers),
	    cmocka_unit_test(rules_of_indirect_tables),
	    cmocka_unit_test(sizes_and_alignments),
	    cmocka_unit_test(areas_end_with_memory),
	    cmocka_unit_test(nothing_happens_while_it_is_not_enabled),
	    cmocka_unit_test(more_is_not_given_than_was_taken),
	    cmocka_unit_test(one_interrupt_for_what_was_given),
	    cmocka_unit_test(flags_or_event_index),
	    cmocka_unit_test(every_event_index),
	    cmocka_unit_test(a_lap_of_the_index_is_not_nothing),
	    cmocka_unit_test(silence_is_a_flag),
	    cmocka_unit_test(silence_with_event_index),
	    cmocka_unit_test(nothing_is_lost_at_the_same_time),
	    cmocka_unit_test(what_was_checked_is_what_is_used),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
