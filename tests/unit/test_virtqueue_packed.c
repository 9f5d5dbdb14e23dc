/*
 * Packed virtqueues against a driver that does what Linux does, rule by rule against one that does not, and against one
 * that runs at the same time.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/virtqueue.c hv/guest_mem.c */
#define PACKED true
#include "tests/unit/virtqueue_fixture.h"

#define AVAIL 0x80
#define USED  0x8000

#define ENABLE	0u
#define DISABLE 0x10000u
#define PLACE	0x20000u

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t id, flags;
};

/* The driver: what it knows beside what is in the ring. */
static struct {
	unsigned next, last_used, free_count;
	bool wrap, used_wrap;
	unsigned fresh; /* descriptors made available since it last looked whether to notify */
	unsigned free_ids;
	uint16_t free_id[VIRTQUEUE_MAX_SIZE], count[VIRTQUEUE_MAX_SIZE];
} drv;

static uint32_t load(uint64_t gpa)
{
	return __atomic_load_n((uint32_t *)at(gpa), __ATOMIC_ACQUIRE);
}

static void store(uint64_t gpa, uint32_t value)
{
	__atomic_store_n((uint32_t *)at(gpa), value, __ATOMIC_RELEASE);
}

static void put_at(uint64_t table, unsigned i, uint64_t addr, uint32_t len, uint16_t flags)
{
	struct desc d = {addr, len, 0x7777, flags};

	assert_int_equal(guest_write(&mem, GPA(table + 16 * i), &d, sizeof(d)), 0);
}

/* --- the driver --- */

static void begin(void)
{
	memset(&drv, 0, sizeof(drv));
	drv.free_count = agreed.size;
	drv.wrap = drv.used_wrap = true;
	for (unsigned i = 0; i < agreed.size; i++)
		drv.free_id[drv.free_ids++] = (uint16_t)i;
}

/* The next descriptor, in full but for its flags, which are answered. */
static uint16_t put_next(uint64_t addr, uint32_t len, uint16_t id, uint16_t flags)
{
	struct desc *d = desc(drv.next);

	d->addr = addr;
	d->len = len;
	d->id = id;
	flags |= drv.wrap ? AVAIL : USED;
	if (++drv.next == agreed.size) {
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

static bool add(const struct virtqueue_part *part, unsigned out, unsigned in)
{
	unsigned count = out + in, taken = agreed.indirect && count > 1 ? 1 : count;
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
	if (++place < agreed.size)
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
		place = (place ? place : agreed.size) - 1;
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
	device = load(agreed.device);
	if (device >> 16 != PLACE >> 16)
		return device != DISABLE;
	assert_true(agreed.event_index);
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
	assert_true(*id < agreed.size && drv.count[*id]);
	for (unsigned n = 0; n < drv.count[*id]; n++)
		drv.last_used = next_place(drv.last_used, &drv.used_wrap);
	drv.free_count += drv.count[*id];
	drv.count[*id] = 0;
	drv.free_id[drv.free_ids++] = (uint16_t)*id;
	return true;
}

static void ask_for_interrupt(void)
{
	store(agreed.driver, agreed.event_index ? event_of(drv.last_used, drv.used_wrap) : ENABLE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void refuse_interrupts(void)
{
	store(agreed.driver, DISABLE);
}

static bool device_is_silent(void)
{
	uint32_t device = load(agreed.device);

	assert_true(device == DISABLE || device == ENABLE);
	return device == DISABLE;
}

/* --- what works --- */

static void a_chain_is_taken_and_given(void **state)
{
	(void)state;
	pass_three_parts(5, 4, 3);
	assert_int_equal(desc(0)->flags, AVAIL | USED | WRITE);
	assert_int_equal(desc(1)->flags, NEXT | WRITE | AVAIL); /* the rest of the chain is left alone */
}

/* Mostly for a place not far away. */
static void check_interrupt(unsigned given)
{
	uint32_t flags = random_below(4) << 16, event = event_of(q.next_give, q.give_wrap);
	bool due = given;

	if (flags == PLACE && agreed.event_index) {
		bool wrap = q.give_wrap;
		unsigned place = q.next_give;

		for (unsigned n = random_below(2 * agreed.size); n; n--)
			place = next_place(place, &wrap);
		event = event_of(place, wrap);
		due = was_passed(event, q.next_give, q.give_wrap, given);
	} else if (flags == DISABLE) {
		due = false;
	}
	store(agreed.driver, (event & 0xffff) | flags);
	assert_int_equal(virtqueue_wants_interrupt(&q), due);
	assert_false(virtqueue_wants_interrupt(&q));
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
	struct setup s = {.size = 11, .event_index = true, .descriptors = DRIVER - 48, .driver = TABLE - 4};

	(void)state;
	s.device = TABLE;
	run(s, 3000);
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
	take_130_parts(9, 130);
	take_130_parts(10, 1);
}

/* All of the table counts, in order, and of its flags only WRITE; WRITE of the one that refers to it does not. */
static void an_indirect_table_is_a_list(void **state)
{
	(void)state;
	start((struct setup){.size = 1, .indirect = true});
	put_at(TABLE + 1, 0, 0xa0, 1, 0);
	put_at(TABLE + 1, 1, 0xa1, 2, NEXT);
	put_at(TABLE + 1, 2, 0xa2, 3, WRITE | AVAIL | NEXT);
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

static void make_right(bool available)
{
	*desc(q.next_take) = (struct desc){0x1000, 1, 0, available == q.take_wrap ? AVAIL : USED};
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

static void refused_pair(struct virtqueue_part first, uint16_t first_flags, struct virtqueue_part second,
			 uint16_t second_flags, const char *rule)
{
	uint16_t flags = put_next(first.gpa.value, first.size, 0x5555, first_flags | NEXT);

	offer(second.gpa.value, second.size, 0, second_flags);
	desc(0)->flags = flags;
	refused(rule);
	put_at(TABLE, 0, first.gpa.value, first.size, first_flags);
	put_at(TABLE, 1, second.gpa.value, second.size, second_flags);
	offer(TABLE, 32, 0, INDIRECT);
	refused(rule);
}

static void refused_table(uint64_t gpa, uint32_t len, uint16_t flags, const char *rule)
{
	offer(gpa, len, 1, INDIRECT | flags);
	refused(rule);
}

static void rules_of_indirect_tables(void **state)
{
	(void)state;
	rules_of_tables();
	put_at(END - 16, 0, 0x1000, 1, 0);
	refused_table(END - 16, 32, 0, "an indirect table lies outside of memory");
	put_at(TABLE, 0, 0x1000, 1, INDIRECT);
	refused_table(TABLE, 16, 0, "an indirect table within an indirect table");
	for (unsigned i = 0; i < 131; i++)
		put_at(TABLE, i, 0x1000, 1, 0);
	refused_table(TABLE, 131 * 16, 0, "a chain has more buffers than the device takes");
	desc(0)->flags = put_next(0x1000, 1, 0, NEXT);
	refused_table(TABLE, 16, 0, "an indirect descriptor in a chain");
}

/* --- enabling --- */

static void sizes_and_alignments(void **state)
{
	(void)state;
	not_enabled((struct setup){.size = 0}, "the queue's size is 0 or more than the device has");
	not_enabled((struct setup){.size = 257}, "the queue's size is 0 or more than the device has");
	not_enabled((struct setup){.size = 3, .descriptors = DESCRIPTORS + 8}, "an area of the queue is not aligned");
	not_enabled((struct setup){.size = 3, .driver = DRIVER + 2}, "an area of the queue is not aligned");
	not_enabled((struct setup){.size = 3, .device = DEVICE + 2}, "an area of the queue is not aligned");
	start((struct setup){.size = 3, .descriptors = DESCRIPTORS + 16, .driver = DRIVER + 4, .device = DEVICE + 4});
}

static void areas_end_with_memory(void **state)
{
	static const char rule[] = "an area of the queue lies outside of memory";

	(void)state;
	for (unsigned size = 1; size <= 255; size += 127) {
		descriptors_end_with_memory(size);
		run((struct setup){.size = size, .driver = END - 4}, 100);
		run((struct setup){.size = size, .device = END - 4}, 100);
		not_enabled((struct setup){.size = size, .driver = END}, rule);
		not_enabled((struct setup){.size = size, .device = END}, rule);
		not_enabled((struct setup){.size = size, .device = UINT64_MAX - 3}, rule);
	}
}

/* --- interrupts and notifications --- */

static void one_interrupt_for_what_was_given(void **state)
{
	(void)state;
	want_one_interrupt();
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
