/*
 * Split virtqueues against a driver that does what Linux does, rule by rule against one that does not, and against one
 * that runs at the same time.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/virtqueue.c hv/guest_mem.c */
#define PACKED false
#include "tests/unit/virtqueue_fixture.h"

#define AVAIL DRIVER
#define USED  DEVICE

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

/* The driver: what it knows beside what is in the rings. */
static struct {
	uint16_t free_head, free_count, index, last_used;
	uint16_t kicked; /* index at which it last looked whether to notify */
	uint16_t count[VIRTQUEUE_MAX_SIZE];
} drv;

static uint16_t load(uint64_t gpa)
{
	return __atomic_load_n((uint16_t *)at(gpa), __ATOMIC_ACQUIRE);
}

static void store(uint64_t gpa, uint16_t value)
{
	__atomic_store_n((uint16_t *)at(gpa), value, __ATOMIC_RELEASE);
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

/* --- the driver --- */

static void begin(void)
{
	memset(&drv, 0, sizeof(drv));
	drv.free_count = (uint16_t)agreed.size;
	for (unsigned i = 0; i < agreed.size; i++)
		desc(i)->next = (uint16_t)(i + 1); /* the free list */
}

static void offer(uint16_t head)
{
	store(agreed.driver + 4 + 2 * (drv.index % agreed.size), head);
	store(agreed.driver + 2, ++drv.index);
}

static bool add(const struct virtqueue_part *part, unsigned out, unsigned in)
{
	unsigned count = out + in, taken = agreed.indirect && count > 1 ? 1 : count, i = drv.free_head;
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

static bool must_kick(void)
{
	uint16_t from = drv.kicked, event;

	drv.kicked = drv.index;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!agreed.event_index)
		return !load(agreed.device);
	event = load(agreed.device + 4 + 8 * agreed.size);
	for (; from != drv.index; from++)
		if (from == event)
			return true;
	return false;
}

static bool used_one(uint32_t *id, uint32_t *written)
{
	uint64_t entry = agreed.device + 4 + 8 * (drv.last_used % agreed.size);
	uint16_t last;

	if (load(agreed.device + 2) == drv.last_used)
		return false;
	*id = *(uint32_t *)at(entry);
	*written = *(uint32_t *)at(entry + 4);
	assert_true(*id < agreed.size && drv.count[*id]);
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
	if (agreed.event_index)
		store(agreed.driver + 4 + 2 * agreed.size, drv.last_used);
	else
		store(agreed.driver, 0);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void refuse_interrupts(void)
{
	store(agreed.driver, 1);
}

static bool device_is_silent(void)
{
	assert_in_range(load(agreed.device), 0, 1);
	return load(agreed.device);
}

/* --- what works --- */

static void a_chain_is_taken_and_given(void **state)
{
	(void)state;
	pass_three_parts(8, 0, 1);
}

/* Entries `from` to `to` of the used ring were written: what the specification says of interrupts (2.7.7.2). */
static bool interrupt_is_due(uint16_t from, uint16_t to)
{
	uint16_t event = load(agreed.driver + 4 + 2 * agreed.size);

	if (from == to)
		return false;
	if (!agreed.event_index)
		return !load(agreed.driver);
	for (; from != to; from++)
		if (from == event)
			return true;
	return false;
}

static void check_interrupt(unsigned given)
{
	uint16_t now = load(agreed.device + 2), from = (uint16_t)(now - given);

	if (agreed.event_index) /* near what comes next, mostly */
		store(agreed.driver + 4 + 2 * agreed.size, (uint16_t)(from - 2 + random_below(6)));
	else
		store(agreed.driver, (uint16_t)random_below(2));
	assert_int_equal(virtqueue_wants_interrupt(&q), interrupt_is_due(from, now));
	assert_false(virtqueue_wants_interrupt(&q));
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
	struct setup s = {.size = 16, .event_index = true, .descriptors = AVAIL - 48};

	(void)state;
	s.driver = USED - 10;
	s.device = TABLE - 8;
	run(s, 3000);
	run((struct setup){.size = 16, .descriptors = AVAIL - 48, .driver = USED - 2, .device = TABLE - 4}, 3000);
	run((struct setup){.size = 16, .event_index = true, .driver = USED - 36, .device = TABLE - 132}, 3000);
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
	take_130_parts(0, 1);
	take_130_parts(200, 1);
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

static void make_right(bool available)
{
	put(0, 0, 1, 0, 0);
	store(agreed.driver + 4 + 2 * (q.next_take % agreed.size), 0);
	store(agreed.driver + 2, (uint16_t)(q.next_take + available));
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

static void refused_pair(struct virtqueue_part first, uint16_t first_flags, struct virtqueue_part second,
			 uint16_t second_flags, const char *rule)
{
	put(0, first.gpa.value, first.size, first_flags | NEXT, 1);
	put(1, second.gpa.value, second.size, second_flags, 0);
	offer(0);
	refused(rule);
	put_at(TABLE, 0, first.gpa.value, first.size, first_flags | NEXT, 1);
	put_at(TABLE, 1, second.gpa.value, second.size, second_flags, 0);
	put(2, TABLE, 32, INDIRECT, 0);
	offer(2);
	refused(rule);
}

static void refused_table(uint64_t gpa, uint32_t len, uint16_t flags, const char *rule)
{
	put(1, gpa, len, INDIRECT | flags, 0);
	offer(1);
	refused(rule);
}

static void rules_of_indirect_tables(void **state)
{
	(void)state;
	rules_of_tables();
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

static void sizes_and_alignments(void **state)
{
	(void)state;
	not_enabled((struct setup){.size = 0}, "the queue's size is 0 or more than the device has");
	not_enabled((struct setup){.size = 512}, "the queue's size is 0 or more than the device has");
	not_enabled((struct setup){.size = 3}, "the size of a split queue is not a power of two");
	not_enabled((struct setup){.size = 255}, "the size of a split queue is not a power of two");
	not_enabled((struct setup){.size = 4, .descriptors = DESCRIPTORS + 8}, "an area of the queue is not aligned");
	not_enabled((struct setup){.size = 4, .driver = AVAIL + 1}, "an area of the queue is not aligned");
	not_enabled((struct setup){.size = 4, .device = USED + 2}, "an area of the queue is not aligned");
	start((struct setup){.size = 4, .descriptors = DESCRIPTORS + 16, .driver = AVAIL + 2, .device = USED + 4});
}

static void areas_end_with_memory(void **state)
{
	static const char rule[] = "an area of the queue lies outside of memory";

	(void)state;
	for (unsigned size = 1; size <= VIRTQUEUE_MAX_SIZE; size *= 16) {
		descriptors_end_with_memory(size);
		run((struct setup){.size = size, .event_index = true, .driver = END - 6 - 2 * size}, 100);
		run((struct setup){.size = size, .event_index = true, .device = (END - 6 - 8 * size) & ~3ULL}, 100);
		not_enabled((struct setup){.size = size, .driver = END - 4 - 2 * size}, rule);
		not_enabled((struct setup){.size = size, .device = END - 4 - 8 * size}, rule);
		not_enabled((struct setup){.size = size, .driver = UINT64_MAX - 1}, rule);
		not_enabled((struct setup){.size = size, .device = UINT64_MAX - 3}, rule);
	}
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

static void one_interrupt_for_what_was_given(void **state)
{
	(void)state;
	want_one_interrupt();
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
	struct setup s = {.size = 4, .descriptors = DESCRIPTORS, .driver = AVAIL, .device = USED};
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
