/*
 * Lesson 15: what memory costs that is touched for the first time. A hypervisor that promises memory and gives it when
 * it is needed hears of the first write to a piece by an EPT violation; later ones don't exit. Rows: the mean of writes
 * to pages of 4 KiB, one after the other; the write that meets the violation, in a piece that is shown in such pages;
 * in a piece of 2 MiB; and in a page of 4 KiB that the balloon had (VIRTIO 1.2, 5.5).
 *
 * Memory has to be zero when it is first seen. "not-ready" in the command line says that the hypervisor had no time to
 * see to that before; the rows are called so then. Needs 16 MiB.
 */
/* SPDX-License-Identifier: MIT */
#include "guests/lib/bench.h"
#include "guests/lib/multiboot.h"
#include "guests/lib/virtio.h"

#define KIB  1024u
#define PAGE (4 * KIB)
#define MIB  (1024 * KIB)

/* Vireo fills the first 2 MiB by 64 KiB, in pages of 4 KiB; this program and what its loader tells lie below. */
#define EACH	   (MIB + 256 * KIB)
#define SMALL	   (MIB + 512 * KIB)
#define SMALL_END  (2 * MIB)
#define SMALL_STEP (64 * KIB)
#define LARGE	   (2 * MIB)
#define LARGE_END  (14 * MIB)
#define LARGE_STEP (2 * MIB)
#define BALLOON	   (14 * MIB)
#define PAGES	   256u	    /* for the balloon: half of the 2 MiB, so that these stay in pages of 4 KiB */
#define SETTLED	   1000000u /* ticks after which pages in the balloon are nobody's */

enum { QUEUE_INFLATE = 0, QUEUE_DEFLATE = 1 };

static struct virtio balloon;
static struct virtio_queue queue[2];
static uint32_t numbers[PAGES];
static uint64_t overhead;

static void write_to(uint64_t address)
{
	*(volatile uint8_t *)address = 1;
}

static void bench_touch(const char *id, uint64_t from, uint64_t end, uint64_t step)
{
	struct result r = NO_RESULT;

	for (uint64_t at = from; at < end; at += step) {
		uint64_t before = rdtsc();

		write_to(at);
		result_add(&r, rdtsc() - before);
	}
	result_report(id, &r, overhead);
}

/* Page after page, whether or not the hypervisor shows more than was asked for: the mean of all. */
static void bench_each_page(const char *id, uint64_t from, uint64_t end)
{
	unsigned pages = (unsigned)((end - from) / PAGE);
	uint64_t before = rdtsc(), ticks;

	for (uint64_t at = from; at < end; at += PAGE)
		write_to(at);
	ticks = (rdtsc() - before) / pages;
	print("bench %s ticks %llu\n", id, (unsigned long long)ticks);
}

/* To a page that is there. */
static uint64_t measure_overhead(void)
{
	struct result r = NO_RESULT;

	for (unsigned run = 0; run < 100; run++) {
		uint64_t before = rdtsc();

		write_to((uintptr_t)numbers);
		result_add(&r, rdtsc() - before);
	}
	return r.min;
}

static bool start_balloon(void)
{
	if (!virtio_find(&balloon, VIRTIO_BALLOON, 0) || !virtio_agree(&balloon))
		return false;
	virtio_add_queue(&balloon, QUEUE_INFLATE, &queue[QUEUE_INFLATE]);
	virtio_add_queue(&balloon, QUEUE_DEFLATE, &queue[QUEUE_DEFLATE]);
	virtio_begin(&balloon);
	return true;
}

/* Tells the device all page numbers, and lets it come to rest. */
static void tell(unsigned n)
{
	uint64_t start;

	virtio_describe(&queue[n], 0, numbers, sizeof(numbers), 0);
	virtio_offer(&queue[n], 0);
	*virtio_bell(&balloon, n) = (uint16_t)n;
	while (!virtio_is_done(&queue[n]))
		;
	for (start = rdtsc(); rdtsc() - start < SETTLED;)
		;
}

/* Pages of 2 MiB that are there are given away and wanted again, as Linux does it. */
static void bench_balloon(void)
{
	if (!start_balloon()) {
		skip("ept-4k-balloon", "no balloon");
		return;
	}
	write_to(BALLOON + PAGES * PAGE);
	for (unsigned i = 0; i < PAGES; i++)
		numbers[i] = BALLOON / PAGE + i;
	tell(QUEUE_INFLATE);
	tell(QUEUE_DEFLATE);
	bench_touch("ept-4k-balloon", BALLOON, BALLOON + PAGES * PAGE, PAGE);
}

void guest_main(const struct multiboot_info *info)
{
	bool ready = !multiboot_says(info, "not-ready");

	if (!expect_between("KiB of memory above 1 MiB", info->mem_upper, 15 * KIB, ~0u))
		return;
	overhead = measure_overhead();
	bench_each_page(ready ? "ept-4k" : "ept-4k-not-ready", EACH, SMALL);
	bench_touch(ready ? "ept-violation" : "ept-violation-not-ready", SMALL, SMALL_END, SMALL_STEP);
	bench_touch(ready ? "ept-2m" : "ept-2m-not-ready", LARGE, LARGE_END, LARGE_STEP);
	if (ready)
		bench_balloon();
}
