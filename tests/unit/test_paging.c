/*
 * The core's page tables: what each part of the image and each kind of memory may be used for, holes under stacks, what
 * is sealed, and that the walk of every boot finds what it looks for. A physical address is a pointer here.
 */
/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/cpuid.h"
#include "arch/x86/insn.h"

static uint64_t cr3;
static unsigned flushes;

/* What a process must not execute. */
#define read_cr3()	 cr3
#define write_cr3(value) (flushes++, cr3 = (value))
#define invlpg(p)	 ((void)(p), flushes++)
/* Of which tests of other files have a simpler one. */
#include "arch/x86/window.h"
#define window_open_chunk  core_window_open_chunk
#define window_close_chunk core_window_close_chunk
void *window_open_chunk(hpa_t hpa);
void window_close_chunk(void);
#include "arch/x86/paging.c"

#define FRAMES	 512
#define CORE_HPA (6 * MIB)
#define RAM	 (64 * MIB) /* where the machine's memory begins that is neither the core's nor firmware's */

/* An image as linker.ld lays it out, a page of each but for the stacks: a guard and two pages, three guards with one.
 */
__asm__(".pushsection .data.image, \"aw\", @progbits\n"
	".balign 4096\n"
	"__core_start: __text_start: .skip 8192\n"
	"__text_end: __rodata_start: .skip 4096\n"
	"__rodata_end: __data_start: .skip 4096\n"
	"__ro_after_init_start: .skip 4096\n"
	"__ro_after_init_end: .skip 4096\n"
	"boot_stacks: .skip 12288\n"
	"boot_ist_stacks: .skip 24576\n"
	"boot_stacks_end: .skip 4096\n"
	"__bss_end:\n"
	".popsection\n");

static uint8_t pool[FRAMES][PAGE_SIZE] __attribute__((aligned(4096)));
static unsigned used, limit;
static struct boot_info info;
static struct cpu cpu;

struct cpu *this_cpu(void)
{
	return &cpu;
}

void panic(const char *fmt, ...)
{
	(void)fmt;
	abort();
}

static hpa_t take(uint64_t pages, uint64_t align_pages)
{
	hpa_t first = HPA((uint64_t)pool[used]);

	assert_int_equal(align_pages, 1);
	if (used + pages > limit)
		return HPA_NONE;
	used += (unsigned)pages;
	return first;
}

static int start(void)
{
	static const struct frame_source frames = {.alloc = take};

	used = flushes = 0;
	next_mmio = MMIO_BASE;
	next_stack = STACK_BASE;
	return paging_init(&info, &frames);
}

static void add(uint64_t base, uint64_t length, uint32_t type)
{
	info.memory[info.memory_count++] = (struct boot_memory){.base = base, .length = length, .type = type};
}

static int setup(void **state)
{
	(void)state;
	memset(&info, 0, sizeof(info));
	info.core_hpa = CORE_HPA;
	add(0, PAGE_SIZE, BOOT_MEMORY_RESERVED);
	add(PAGE_SIZE, CORE_HPA - PAGE_SIZE, BOOT_MEMORY_FREE);
	add(CORE_HPA, 2 * MIB, BOOT_MEMORY_CORE);
	add(8 * MIB, PAGE_SIZE, BOOT_MEMORY_ACPI);
	add(RAM, 4 * MIB, BOOT_MEMORY_FREE);
	add(RAM + 4 * MIB, 2 * MIB, BOOT_MEMORY_FILES);
	add(RAM + 6 * MIB, 2 * MIB, BOOT_MEMORY_LOADER);
	add(RAM + 8 * MIB, 2 * MIB, BOOT_MEMORY_MMIO);
	limit = FRAMES;
	return start();
}

/* The rights of what is mapped at `va`, PTE_P, PTE_W, PTE_U, PTE_NX; 0: nothing is. *level: of its leaf. */
static uint64_t rights(uint64_t va, unsigned *level)
{
	const uint64_t *table = table_at(cr3);

	for (*level = TOP_LEVEL;; (*level)--) {
		uint64_t entry = table[table_index(va, *level)];

		if (!(entry & PTE_P))
			return 0;
		if (!*level || entry & PTE_PS)
			return entry & (PTE_P | PTE_W | PTE_U | PTE_NX);
		/* The leaf decides, but nothing is a user's. */
		assert_true((entry & (PTE_W | PTE_U | PTE_NX)) == PTE_W);
		table = table_at(entry);
	}
}

static void assert_range(const void *from, const void *to, uint64_t expected)
{
	unsigned level;

	assert_true((uint64_t)from < (uint64_t)to);
	for (uint64_t va = (uint64_t)from; va < (uint64_t)to; va += PAGE_SIZE)
		assert_int_equal(rights(va, &level), expected);
}

static void the_image_has_the_rights_of_its_segments(void **state)
{
	(void)state;
	assert_range(__text_start, __text_end, PTE_P);
	assert_range(__rodata_start, __rodata_end, PTE_P | PTE_NX);
	assert_range(__data_start, boot_stacks, PTE_P | PTE_W | PTE_NX);
	assert_range(boot_stacks_end, __bss_end, PTE_P | PTE_W | PTE_NX);
	for (const uint8_t *p = __text_start; p < __bss_end; p += PAGE_SIZE)
		if (!hpa_is_none(paging_lookup(p)))
			assert_int_equal(paging_lookup(p + 5).value, CORE_HPA + (uint64_t)(p - __core_start) + 5);
}

/* Also those that NMI, #DF and #MC run on. */
static void under_each_of_the_first_stacks_is_a_hole(void **state)
{
	(void)state;
	assert_range(boot_stacks, boot_stacks + PAGE_SIZE, 0);
	assert_range(boot_stacks + PAGE_SIZE, boot_ist_stacks, PTE_P | PTE_W | PTE_NX);
	for (const uint8_t *p = boot_ist_stacks; p < boot_stacks_end; p += 2 * PAGE_SIZE) {
		assert_range(p, p + PAGE_SIZE, 0);
		assert_range(p + PAGE_SIZE, p + 2 * PAGE_SIZE, PTE_P | PTE_W | PTE_NX);
		assert_string_equal(paging_describe((uint64_t)p), "the guard page under a stack");
	}
}

static void each_stack_has_a_hole_on_either_side(void **state)
{
	unsigned level;
	hpa_t frame;
	uint64_t first = stack_map(4), second = stack_map(1), shadow = stack_map_shadow(&frame);

	(void)state;
	assert_range((void *)(first - 4 * PAGE_SIZE), (void *)first, PTE_P | PTE_W | PTE_NX);
	assert_int_equal(rights(first - 5 * PAGE_SIZE, &level), 0);
	assert_int_equal(rights(first, &level), 0);
	assert_string_equal(paging_describe(first), "the guard page under a stack");
	assert_int_equal(rights(second - PAGE_SIZE, &level), PTE_P | PTE_W | PTE_NX);
	assert_int_equal(rights(second, &level), 0);
	/* No store reaches a shadow stack; what makes it one is that it is dirty. */
	assert_int_equal(rights(shadow - PAGE_SIZE, &level), PTE_P | PTE_NX);
	assert_true(*leaf_of(shadow - PAGE_SIZE) & PTE_D);
	assert_int_equal(paging_lookup((void *)(shadow - PAGE_SIZE)).value, frame.value);
	assert_string_equal(paging_describe(shadow - 8), "a shadow stack");
	assert_int_equal(rights(shadow, &level), 0);
	limit = used;
	assert_int_equal(stack_map(1), 0);
	assert_int_equal(stack_map_shadow(&frame), 0);
}

static void memory_is_there_as_what_it_is(void **state)
{
	unsigned level;

	(void)state;
	assert_int_equal(rights(0, &level), 0); /* of NULL nothing but its page, since it is reserved */
	assert_int_equal(rights(PAGE_SIZE, &level), PTE_P | PTE_W | PTE_NX);
	assert_range((void *)CORE_HPA, (void *)(CORE_HPA + 2 * MIB), 0);
	assert_int_equal(rights(8 * MIB, &level), PTE_P | PTE_NX);
	assert_int_equal(rights(8 * MIB + PAGE_SIZE, &level), 0);
	for (uint64_t at = RAM; at < RAM + 8 * MIB; at += PAGE_SIZE) {
		assert_int_equal(rights(at, &level), PTE_P | PTE_W | PTE_NX);
		assert_int_equal(level, 1); /* chunks come and go one by one */
	}
	assert_int_equal(rights(RAM + 8 * MIB, &level), 0);
}

static void a_chunk_leaves_and_comes_back(void **state)
{
	unsigned level;

	(void)state;
	paging_hide_chunk(HPA(RAM + 2 * MIB));
	assert_int_equal(rights(RAM + 2 * MIB, &level), 0);
	assert_int_equal(rights(RAM + 2 * MIB - 1, &level), PTE_P | PTE_W | PTE_NX);
	assert_int_equal(rights(RAM + 4 * MIB, &level), PTE_P | PTE_W | PTE_NX);
	assert_int_equal(flushes, 2); /* and by paging_init */
	paging_show_chunk(HPA(RAM + 2 * MIB));
	assert_int_equal(paging_lookup((void *)(RAM + 3 * MIB)).value, RAM + 3 * MIB);
}

static void what_is_sealed_can_be_read(void **state)
{
	(void)state;
	*leaf_of((uint64_t)__ro_after_init_start) |= PTE_D;
	paging_seal();
	assert_range(__ro_after_init_start, __ro_after_init_end, PTE_P | PTE_NX);
	assert_false(*leaf_of((uint64_t)__ro_after_init_start) & PTE_D); /* or it were a shadow stack */
	assert_range(__data_start, __ro_after_init_start, PTE_P | PTE_W | PTE_NX);
	assert_range(__ro_after_init_end, boot_stacks, PTE_P | PTE_W | PTE_NX);
	assert_string_equal(paging_describe((uint64_t)__ro_after_init_start), "read-only since start-up");
	assert_string_equal(paging_describe((uint64_t)__text_start), "code");
	assert_string_equal(paging_describe((uint64_t)__rodata_start), "constants");
}

static void the_walk_finds_what_is_writable_and_executable(void **state)
{
	(void)state;
	assert_true(stack_map(1) && mmio_map(HPA(0xfee00000), PAGE_SIZE, MAP_UC) &&
		    mmio_map(HPA(0x80000000), 4 * MIB, MAP_WC));
	assert_int_equal(paging_check_wx(), 0);
	*leaf_of((uint64_t)__text_start) |= PTE_W;
	assert_int_equal(paging_check_wx(), 1);
	*leaf_of((uint64_t)__data_start) &= ~PTE_NX;
	assert_int_equal(paging_check_wx(), 2);
	*leaf_of(RAM) &= ~PTE_NX; /* a large page */
	assert_int_equal(paging_check_wx(), 3);
	*leaf_of(STACK_BASE + PAGE_SIZE) &= ~PTE_NX;
	assert_int_equal(paging_check_wx(), 4);
	root[table_index(STACK_BASE, TOP_LEVEL)] |= PTE_NX; /* nothing below is executable then */
	assert_int_equal(paging_check_wx(), 3);
	root[table_index((uint64_t)__text_start, TOP_LEVEL)] &= ~PTE_W;
	assert_int_equal(paging_check_wx(), 1);
}

static void places_are_random(void **state)
{
	uint64_t stack, device;

	(void)state;
	stack = stack_map(1);
	device = (uint64_t)mmio_map(HPA(0xfee00000), PAGE_SIZE, MAP_UC);
	assert_int_equal(device, MMIO_BASE);
	assert_int_equal(stack, STACK_BASE + 2 * PAGE_SIZE);
	info.random = 1;
	start();
	assert_int_equal(stack_map(1), stack);
	assert_int_equal((uint64_t)mmio_map(HPA(0xfee00000), PAGE_SIZE, MAP_UC), device + PAGE_SIZE);
	info.random = 1ULL << 32;
	start();
	assert_int_equal(stack_map(1), stack + PAGE_SIZE);
	assert_int_equal((uint64_t)mmio_map(HPA(0xfee00000), PAGE_SIZE, MAP_UC), device);
	info.random = UINT64_MAX;
	start();
	assert_int_equal(stack_map(1), stack + (GIB * 256 - 2 * MIB) + 127 * PAGE_SIZE);
}

static void device_registers_are_uncached(void **state)
{
	const uint8_t *lapic = mmio_map(HPA(0xfee00010), 8, MAP_UC),
		      *pixels = mmio_map(HPA(0x80100000), 4 * MIB, MAP_WC);
	const uint8_t *tables = mmio_map(HPA(0x7ff00ff0), 32, MAP_READONLY);
	const uint64_t cache = PTE_PCD | PTE_PWT;

	(void)state;
	assert_int_equal((uint64_t)lapic & 0xfff, 0x10);
	assert_int_equal(*leaf_of((uint64_t)lapic) & (PTE_ADDR | PTE_W | PTE_NX | cache),
			 0xfee00000 | PTE_W | PTE_NX | cache);
	assert_int_equal(*leaf_of((uint64_t)pixels) & (PTE_W | PTE_NX | cache), PTE_W | PTE_NX | PTE_PWT);
	assert_int_equal((uint64_t)pixels & (2 * MIB - 1), MIB);
	assert_int_equal(paging_lookup(pixels + 3 * MIB).value, 0x80400000);
	assert_int_equal(*leaf_of((uint64_t)tables) & (PTE_W | PTE_NX | cache), PTE_NX);
	assert_int_equal(paging_lookup(tables + 16).value, 0x7ff01000); /* both pages */
	assert_null(mmio_map(HPA(0x1000), 0, MAP_UC));
	assert_null(mmio_map(HPA(~0xfffULL), 0x2000, MAP_UC));
	assert_null(mmio_map(HPA(0), 512 * GIB, MAP_UC));
	assert_non_null(mmio_map(HPA(0x1000), 1, MAP_UC)); /* which took nothing */
}

/* What other CPUs get: all that is shared, no window. */
static void a_new_root_has_no_window(void **state)
{
	uint64_t *copy;

	(void)state;
	paging_set_window(0, paging_window_entry(HPA(0x5000)));
	paging_set_window(WINDOWS - 1, paging_window_entry(HPA(0x6000)));
	assert_int_equal(root[table_index(WINDOW_BASE, TOP_LEVEL)], 0x5000 | PAGE_RW | PTE_A);
	copy = paging_new_root();
	for (unsigned i = 0; i < ENTRIES; i++) {
		bool shared = i == table_index(MMIO_BASE, TOP_LEVEL) || i == table_index(CHUNK_BASE, TOP_LEVEL) ||
			      i == table_index(STACK_BASE, TOP_LEVEL);

		assert_int_equal(copy[i], shared ? root[i] : 0);
		assert_true(!shared || copy[i]);
	}
}

static void no_memory(void **state)
{
	unsigned needed = used;

	(void)state;
	assert_true(needed > 10);
	for (limit = 0; limit < needed; limit++)
		assert_int_equal(start(), -E_NOMEM);
	assert_int_equal(start(), 0);
	assert_null(paging_new_root());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(the_image_has_the_rights_of_its_segments, setup),
	    cmocka_unit_test_setup(under_each_of_the_first_stacks_is_a_hole, setup),
	    cmocka_unit_test_setup(each_stack_has_a_hole_on_either_side, setup),
	    cmocka_unit_test_setup(memory_is_there_as_what_it_is, setup),
	    cmocka_unit_test_setup(a_chunk_leaves_and_comes_back, setup),
	    cmocka_unit_test_setup(what_is_sealed_can_be_read, setup),
	    cmocka_unit_test_setup(the_walk_finds_what_is_writable_and_executable, setup),
	    cmocka_unit_test_setup(places_are_random, setup),
	    cmocka_unit_test_setup(device_registers_are_uncached, setup),
	    cmocka_unit_test_setup(a_new_root_has_no_window, setup),
	    cmocka_unit_test_setup(no_memory, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
