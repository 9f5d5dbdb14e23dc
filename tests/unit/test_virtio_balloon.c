/*
 * Unit tests of the balloon behind its PCI transport: what it offers and says, page numbers in every order and form,
 * waiting for room and for memory, statistics, and reports of free memory on every queue that a driver may mean.
 * VIRTIO 1.2, 5.5.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/virtio_balloon.c hv/dev/virtio_stream.c hv/dev/virtio_pci.c hv/dev/virtqueue.c hv/guest_mem.c */
/* links: hv/dev/pci.c hv/dev/pci_host.c hv/bus.c hv/timer.c hv/lib/heap.c */
#include "tests/unit/virtio_fixture.h"

#include "hv/dev/virtio_balloon.h"

#define BUDGET	   (128 * KIB)
#define QUEUE_SIZE 64
#define PFNS	   DATA
#define NONE	   0x40000000ULL /* no memory */
#define PAGE(n)	   ((uint64_t)(n)*VIRTIO_BALLOON_PAGE)
#define MAX_CALLS  600

enum { INFLATE, DEFLATE, STATS, HINTS, REPORTS };
enum { F_MUST_TELL_HOST = 1, F_STATS = 2, F_DEFLATE_ON_OOM = 4, F_HINTS = 8, F_POISON = 16, F_REPORTING = 32 };

struct stat {
	uint16_t tag;
	uint64_t value;
} __attribute__((packed));

static struct virtio_balloon balloon;

/* What the host was told, in order. */
static struct call {
	char what; /* 'g'ive, 'w'ant, 'd'iscard */
	uint64_t gpa, size;
} call[MAX_CALLS];
static unsigned calls, room;
static bool dry, settled;

static void note(char what, uint64_t gpa, uint64_t size)
{
	assert_true(calls < MAX_CALLS);
	assert_true(size && !((gpa | size) % VIRTIO_BALLOON_PAGE));
	call[calls++] = (struct call){what, gpa, size};
}

static bool has_room(void *ctx)
{
	assert_ptr_equal(ctx, &calls);
	return room;
}

static bool is_settled(void *ctx)
{
	assert_ptr_equal(ctx, &calls);
	return settled;
}

static void give(void *ctx, gpa_t gpa, uint64_t size)
{
	assert_ptr_equal(ctx, &calls);
	assert_true(room);
	note('g', gpa.value, size);
}

static int want(void *ctx, gpa_t gpa, uint64_t size)
{
	assert_ptr_equal(ctx, &calls);
	note('w', gpa.value, size);
	return dry ? -E_NOMEM : 0;
}

static void discard(void *ctx, gpa_t gpa)
{
	assert_ptr_equal(ctx, &calls);
	assert_true(room);
	note('d', gpa.value, GUEST_MEM_CHUNK);
}

static void start(uint64_t features)
{
	struct virtio_balloon_setup s = {
	    .host = {&calls, has_room, is_settled, give, want, discard}, .mem = &mem, .kick = kick};

	assert_int_equal(virtio_fixture_reset(), 0);
	assert_int_equal(virtio_balloon_init(&balloon, &host, &s), 0);
	find_registers();
	enable_device();
	negotiate(features);
	for (unsigned n = 0; n < VIRTIO_BALLOON_QUEUES; n++)
		set_up_queue(n, QUEUE_SIZE, (uint16_t)(n + 1));
	add_status(DRIVER_OK);
}

static int setup(void **state)
{
	(void)state;
	calls = 0;
	room = 1000;
	dry = false;
	settled = true;
	start(F_MUST_TELL_HOST | F_STATS | F_DEFLATE_ON_OOM | F_REPORTING);
	return 0;
}

static struct virtqueue_part part(uint64_t gpa, uint32_t size)
{
	return (struct virtqueue_part){GPA(gpa), size};
}

static void run(unsigned n)
{
	notify(n);
	work(&balloon.transport, BUDGET);
}

static void name_pages(unsigned n, const uint32_t *pfn, unsigned count)
{
	struct virtqueue_part p = part(PFNS, count * 4);

	memcpy(at(PFNS), pfn, count * sizeof(*pfn));
	offer(n, &p, 1, 0);
	run(n);
}

static void assert_used(unsigned n, bool used)
{
	uint32_t written = 0;

	assert_int_equal(take_used(n, &written) != -1, used);
	assert_int_equal(written, 0);
}

static void assert_call(unsigned i, char what, uint64_t gpa, uint64_t size)
{
	assert_true(i < calls);
	assert_int_equal(call[i].what, what);
	assert_int_equal(call[i].gpa, gpa);
	assert_int_equal(call[i].size, size);
}

static void says_what_it_is(void **state)
{
	(void)state;
	assert_int_equal(config_get(SLOT, 2, 2), 0x1045);
	assert_int_equal(offered() & 0xFFFFFF, F_MUST_TELL_HOST | F_STATS | F_DEFLATE_ON_OOM | F_REPORTING);
	assert_int_equal(reg_get(common, C_NUM_QUEUES, 2), 5);
	assert_int_equal(config.length, 8);
}

static void has_a_target_and_hears_of_it(void **state)
{
	uint64_t generation = reg_get(common, C_GENERATION, 1);

	(void)state;
	assert_int_equal(reg_get(config, 0, 4), 0);
	virtio_balloon_set_target(&balloon, 0x8001);
	assert_int_equal(reg_get(config, 0, 4), 0x8001);
	assert_int_not_equal(reg_get(common, C_GENERATION, 1), generation);
	assert_int_equal(reg_get(isr, 0, 1), 2);
	reg_set(config, 4, 4, 0x1234);
	assert_int_equal(balloon.actual, 0x1234);
	reg_set(config, 5, 1, 0xAB);
	assert_int_equal(reg_get(config, 4, 4), 0xAB34);
	reg_set(config, 0, 4, 77); /* is not the driver's */
	assert_int_equal(reg_get(config, 0, 4), 0x8001);
	reset_device();
	assert_int_equal(reg_get(config, 0, 4), 0x8001);
	assert_int_equal(balloon.actual, 0);
}

static void pages_in_a_row_are_told_as_one(void **state)
{
	static const uint32_t pfn[] = {7, 8, 9, 6, 20, 19, 18, 20, 20, 0xFFFFFFFF, 0, 2};

	(void)state;
	name_pages(INFLATE, pfn, ARRAY_SIZE(pfn));
	assert_call(0, 'g', PAGE(6), PAGE(4));
	assert_call(1, 'g', PAGE(18), PAGE(3));
	assert_call(2, 'g', PAGE(20), PAGE(1));
	assert_call(3, 'g', PAGE(20), PAGE(1));
	assert_call(4, 'g', PAGE(0xFFFFFFFF), PAGE(1));
	assert_call(5, 'g', PAGE(0), PAGE(1));
	assert_call(6, 'g', PAGE(2), PAGE(1));
	assert_int_equal(calls, 7);
	assert_used(INFLATE, true);
	name_pages(DEFLATE, pfn, 3);
	assert_call(7, 'w', PAGE(7), PAGE(3));
	assert_used(DEFLATE, true);
}

/* Numbers that are cut in two by parts, a rest that is none, nothing at all, a buffer to be written. */
static void odd_requests_do_no_harm(void **state)
{
	static const uint32_t pfn[] = {1, 2, 3};
	struct virtqueue_part cut[] = {part(PFNS, 2), part(PFNS + 2, 5), part(PFNS + 7, 6)}, in = part(DATA, 64);

	(void)state;
	memcpy(at(PFNS), pfn, sizeof(pfn));
	offer(INFLATE, cut, 3, 0);
	run(INFLATE);
	assert_call(0, 'g', PAGE(1), PAGE(3));
	assert_used(INFLATE, true);
	offer(INFLATE, cut, 1, 0);
	run(INFLATE);
	assert_used(INFLATE, true);
	offer(INFLATE, &in, 0, 1);
	run(INFLATE);
	assert_used(INFLATE, true);
	assert_int_equal(calls, 1);
	assert_false(status() & NEEDS_RESET);
	cut[0] = part(NONE, 400);
	offer(INFLATE, cut, 1, 0);
	run(INFLATE);
	assert_true(status() & NEEDS_RESET);
}

/* A turn is bounded, whatever the request's length. */
static void a_long_request_takes_several_turns(void **state)
{
	uint32_t *pfn = at(PFNS);
	struct virtqueue_part p = part(PFNS, 4000 * 4);
	unsigned before;

	(void)state;
	for (unsigned i = 0; i < 4000; i++)
		pfn[i] = 5000 + i;
	offer(INFLATE, &p, 1, 0);
	notify(INFLATE);
	assert_true(virtio_pci_work(&balloon.transport, BUDGET, NEVER));
	assert_in_range(calls, 1, 4);
	assert_used(INFLATE, false);
	before = calls;
	(void)move_memory();
	work(&balloon.transport, BUDGET);
	assert_used(INFLATE, true);
	assert_true(calls > before);
	for (unsigned i = 0; i < calls; i++)
		assert_call(i, 'g', PAGE(5000 + 64 * i), PAGE(i < 62 ? 64 : 32));
}

static void waits_for_room(void **state)
{
	static const uint32_t pfn[] = {5};

	(void)state;
	room = 0;
	name_pages(INFLATE, pfn, 1);
	assert_int_equal(calls, 0);
	assert_used(INFLATE, false);
	name_pages(DEFLATE, pfn, 1); /* needs none */
	assert_used(DEFLATE, true);
	room = 1;
	virtio_balloon_go_on(&balloon);
	work(&balloon.transport, BUDGET);
	assert_call(1, 'g', PAGE(5), PAGE(1));
	assert_used(INFLATE, true);
}

/* The driver may use what it gave when it has its buffer back: not before nobody reaches it by an old way any more. */
static void a_buffer_comes_back_when_all_is_settled(void **state)
{
	struct virtqueue_part free = part(4 * GUEST_MEM_CHUNK, GUEST_MEM_CHUNK);
	static const uint32_t pfn[] = {5};

	(void)state;
	settled = false;
	name_pages(INFLATE, pfn, 1);
	offer(REPORTS, &free, 0, 1);
	run(REPORTS);
	assert_int_equal(calls, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_used(INFLATE, false);
		assert_used(REPORTS, false);
		virtio_balloon_go_on(&balloon); /* too early */
		work(&balloon.transport, BUDGET);
	}
	name_pages(DEFLATE, pfn, 1); /* what is wanted was not reached before */
	assert_used(DEFLATE, true);
	settled = true;
	virtio_balloon_go_on(&balloon);
	work(&balloon.transport, BUDGET);
	assert_used(INFLATE, true);
	assert_used(REPORTS, true);
	assert_int_equal(calls, 3); /* each was told once */
}

static void who_wants_what_is_not_there_waits(void **state)
{
	static const uint32_t pfn[] = {5, 9};

	(void)state;
	dry = true;
	name_pages(DEFLATE, pfn, 2);
	assert_true(balloon.wants_memory);
	assert_used(DEFLATE, false);
	virtio_balloon_go_on(&balloon);
	work(&balloon.transport, BUDGET);
	assert_true(balloon.wants_memory);
	assert_int_equal(calls, 2);
	dry = false;
	virtio_balloon_go_on(&balloon);
	work(&balloon.transport, BUDGET);
	assert_false(balloon.wants_memory);
	assert_call(2, 'w', PAGE(5), PAGE(1));
	assert_call(3, 'w', PAGE(9), PAGE(1));
	assert_used(DEFLATE, true);
	dry = true;
	name_pages(DEFLATE, pfn, 1);
	reset_device();
	assert_false(balloon.wants_memory || balloon.request[DEFLATE].active);
}

static void put_stats(const struct stat *stat, unsigned count)
{
	struct virtqueue_part p = part(DATA, count * (unsigned)sizeof(*stat));

	memcpy(at(DATA), stat, p.size);
	offer(STATS, &p, 1, 0);
	run(STATS);
}

static void keeps_statistics_until_it_asks_again(void **state)
{
	static const struct stat first[] = {{4, 1000}, {5, 2000}, {99, 5}}, second[] = {{4, 1500}};

	(void)state;
	put_stats(first, 3);
	assert_used(STATS, false);
	assert_int_equal(balloon.stat_known, BIT(4) | BIT(5));
	assert_int_equal(balloon.stat[VIRTIO_BALLOON_FREE], 1000);
	assert_int_equal(balloon.stat[VIRTIO_BALLOON_TOTAL], 2000);
	virtio_balloon_ask(&balloon);
	work(&balloon.transport, BUDGET);
	assert_used(STATS, true);
	assert_true(balloon.asks);
	put_stats(second, 1);
	assert_false(balloon.asks);
	assert_int_equal(balloon.stat[VIRTIO_BALLOON_FREE], 1500);
	assert_used(STATS, false);
	run(STATS);
	assert_used(STATS, false);
}

/* Two chunks and what is around them, of which nothing can be said. */
static void report(unsigned n)
{
	struct virtqueue_part p[] = {part(4 * MIB - 4096, (uint32_t)(4 * MIB + 8192)), part(16 * MIB, 2 * MIB)};
	unsigned before = calls;

	offer(n, p, 0, 2);
	run(n);
	assert_call(before, 'd', 4 * MIB, 2 * MIB);
	assert_call(before + 1, 'd', 6 * MIB, 2 * MIB);
	assert_call(before + 2, 'd', 16 * MIB, 2 * MIB);
	assert_int_equal(calls, before + 3);
	assert_used(n, true);
}

static void hears_reports(void **state)
{
	(void)state;
	report(REPORTS); /* as the specification numbers */
	report(HINTS);	 /* as Linux does: free page hints are not offered */
	start(F_MUST_TELL_HOST | F_REPORTING);
	report(STATS); /* without statistics */
	report(REPORTS);
	room = 0;
	offer(REPORTS, &(struct virtqueue_part){GPA(2 * MIB), 2 * MIB}, 0, 1);
	run(REPORTS);
	assert_used(REPORTS, false);
}

static void a_report_without_end_takes_several_turns(void **state)
{
	struct virtqueue_part p = part(0, 0x3FF00000u);

	(void)state;
	offer(REPORTS, &p, 0, 1);
	notify(REPORTS);
	assert_true(virtio_pci_work(&balloon.transport, BUDGET, NEVER));
	assert_in_range(calls, 64, 256);
	work(&balloon.transport, BUDGET);
	assert_int_equal(calls, 0x3FF00000u / (2 * MIB));
	assert_used(REPORTS, true);
}

static void knows_where_its_queues_are(void **state)
{
	(void)state;
	assert_true(virtio_pci_uses(&balloon.transport, GPA(desc_area(2)), PAGE_SIZE));
	assert_true(virtio_pci_uses(&balloon.transport, GPA(avail_area(4)), 1));
	assert_true(virtio_pci_uses(&balloon.transport, GPA(used_area(0) + PAGE_SIZE - 1), 1));
	assert_true(virtio_pci_uses(&balloon.transport, GPA(0), RAM + 1));
	assert_false(virtio_pci_uses(&balloon.transport, GPA(RAM - PAGE_SIZE), PAGE_SIZE));
	assert_false(virtio_pci_uses(&balloon.transport, GPA(desc_area(5)), MIB));
	reset_device();
	assert_false(virtio_pci_uses(&balloon.transport, GPA(0), GIB));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(says_what_it_is, setup),
	    cmocka_unit_test_setup(has_a_target_and_hears_of_it, setup),
	    cmocka_unit_test_setup(pages_in_a_row_are_told_as_one, setup),
	    cmocka_unit_test_setup(odd_requests_do_no_harm, setup),
	    cmocka_unit_test_setup(a_long_request_takes_several_turns, setup),
	    cmocka_unit_test_setup(waits_for_room, setup),
	    cmocka_unit_test_setup(a_buffer_comes_back_when_all_is_settled, setup),
	    cmocka_unit_test_setup(who_wants_what_is_not_there_waits, setup),
	    cmocka_unit_test_setup(keeps_statistics_until_it_asks_again, setup),
	    cmocka_unit_test_setup(hears_reports, setup),
	    cmocka_unit_test_setup(a_report_without_end_takes_several_turns, setup),
	    cmocka_unit_test_setup(knows_where_its_queues_are, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
