/*
 * arch/x86/smp.c with local APICs that answer at once, at the second STARTUP, too late, or never: who answers runs, who
 * does not is named and left alone, and so is all that it could still reach when it answers after all.
 */
/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/insn.h"

static void fake_pause(void);
static void fake_write_cr3(uint64_t cr3);

#define cpu_pause fake_pause
#define write_cr3 fake_write_cr3
#include "arch/x86/smp.c"

const uint8_t trampoline_start[64] = {0xfa};
__asm__(".globl trampoline_end, trampoline_cr3, trampoline_gdt_base, trampoline_far, trampoline_entry\n"
	".set trampoline_gdt_base, trampoline_start + 8\n.set trampoline_far, trampoline_start + 12\n"
	".set trampoline_cr3, trampoline_start + 16\n.set trampoline_entry, trampoline_start + 24\n"
	".set trampoline_end, trampoline_start + 32\n");
void smp_ap_entry(void) {}

#define NEVER	 (~0ULL)
#define LOW_PAGE ((uint8_t *)low_memory)

static uint8_t low_memory[(1 + TRAMPOLINE_TABLE_PAGES) * PAGE_SIZE] __attribute__((aligned(4096)));
static struct boot_info info;
static struct smp_report report;
static struct cpu bsp, *here, *answers, *at[MAX_CPUS];
static unsigned counted, entered, allocations, frees, low_frees, allocations_left, stacks;
static void *record[2 * MAX_CPUS]; /* a record and a PML4 for each */
static uint64_t now;
static bool lapic_refuses, shadow_refuses;
static unsigned thread_bits;

/* What the CPU of an APIC ID does: answers so many microseconds after its n-th STARTUP. */
static struct {
	unsigned inits, startups, answers_to;
	uint64_t delay, due;
} chip[256];

static jmp_buf parked;

struct cpu *this_cpu(void)
{
	return here;
}
void cpu_init_this(struct cpu *cpu)
{
	here = cpu;
}
void cpu_set_at(unsigned index, struct cpu *cpu)
{
	assert_null(at[index]);
	at[index] = cpu;
}
void cpu_set_count(unsigned count)
{
	counted = count;
}
int lapic_init_this(void)
{
	return lapic_refuses ? -E_NOTSUP : 0;
}
struct cpu *cpu_at(unsigned index)
{
	return index ? at[index] : &bsp;
}
static void fake_write_cr3(uint64_t cr3)
{
	assert_int_equal(cr3, (uint64_t)answers->root);
}
/* Who waits to be released stays there. */
static void fake_pause(void)
{
	assert_false(released);
	longjmp(parked, 1);
}
static void entry(void)
{
	entered++;
}

void lapic_send_init(uint32_t apic_id)
{
	chip[apic_id].inits++;
}
void lapic_send_startup(uint32_t apic_id, uint8_t page)
{
	assert_int_equal(page, (uint8_t)((uint64_t)low_memory >> PAGE_SHIFT));
	assert_int_equal(LOW_PAGE[0], 0xfa);
	if (++chip[apic_id].startups == chip[apic_id].answers_to)
		chip[apic_id].due = now + chip[apic_id].delay;
}

/* What trampoline.asm does. */
static const struct smp_slot *find_slot(uint32_t apic_id)
{
	for (unsigned i = 0; i < smp_slot_count; i++)
		if (smp_slots[i].apic_id == apic_id)
			return &smp_slots[i];
	return NULL;
}

static void answer(uint32_t apic_id)
{
	struct cpu *volatile before = here;
	const struct smp_slot *volatile slot = find_slot(apic_id);

	assert_non_null(slot);
	assert_int_equal(slot->stack_top, slot->cpu->stack_top);
	chip[apic_id].due = NEVER;
	answers = slot->cpu;
	if (!setjmp(parked))
		smp_ap_main(slot->cpu);
	here = before;
}

void tsc_delay_us(uint64_t us)
{
	now += us;
	for (unsigned id = 0; id < ARRAY_SIZE(chip); id++)
		if (chip[id].due <= now)
			answer(id);
}

static hpa_t take(uint64_t pages, uint64_t align)
{
	assert_int_equal(pages * align, 1);
	if (!allocations_left)
		return HPA_NONE;
	allocations_left--;
	record[allocations] = aligned_alloc(PAGE_SIZE, PAGE_SIZE);
	return HPA((uint64_t)record[allocations++]);
}
static hpa_t take_low(uint64_t pages)
{
	assert_int_equal(pages, 1 + TRAMPOLINE_TABLE_PAGES);
	return allocations_left ? HPA((uint64_t)low_memory) : HPA_NONE;
}
static void give(hpa_t hpa, uint64_t pages)
{
	(void)pages;
	frees++;
	low_frees += hpa.value == (uint64_t)low_memory;
}
uint64_t stack_map(uint64_t pages)
{
	(void)pages;
	return allocations_left ? ++stacks * 0x10000 : 0;
}
int shadow_create(struct cpu *cpu)
{
	(void)cpu;
	return shadow_refuses ? -E_NOMEM : 0;
}
uint64_t *paging_new_root(void)
{
	hpa_t page = take(1, 1);

	return hpa_is_none(page) ? NULL : (uint64_t *)page.value;
}
void paging_make_trampoline_tables(hpa_t tables, hpa_t page)
{
	assert_int_equal(tables.value, page.value + PAGE_SIZE);
}

static const struct frame_source source = {take, take_low, give};

static int setup(void **state)
{
	(void)state;
	memset(&info, 0, sizeof(info));
	memset(at, 0, sizeof(at));
	memset(low_memory, 0, sizeof(low_memory));
	for (unsigned i = 0; i < ARRAY_SIZE(chip); i++)
		chip[i] = (__typeof__(chip[0])){.answers_to = 1, .due = NEVER};
	smp_slot_count = thread_bits = 0;
	released = lapic_refuses = shadow_refuses = false;
	counted = entered = allocations = frees = low_frees = stacks = 0;
	allocations_left = 1000;
	now = 0;
	here = &bsp;
	for (unsigned i = 0; i < 4; i++)
		info.cpu[info.cpu_count++].apic_id = 2 * i;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	while (allocations)
		free(record[--allocations]);
	return 0;
}

static void start(void)
{
	smp_start(&info, &source, thread_bits, entry, &report);
}

static void all_answer(void **s)
{
	(void)s;
	start();
	assert_int_equal(report.online, 4);
	assert_int_equal(report.failed + report.ignored, 0);
	assert_int_equal(counted, 4);
	assert_true(released);
	assert_int_equal(low_frees, 1);
	for (unsigned i = 1; i < 4; i++) {
		assert_int_equal(at[i]->index, i);
		assert_int_equal(at[i]->apic_id, 2 * i);
		assert_int_equal(chip[2 * i].startups, 1);
	}
	assert_int_equal(chip[0].inits, 0); /* itself */
}

static void one_needs_the_second_startup(void **s)
{
	(void)s;
	chip[4].answers_to = 2;
	start();
	assert_int_equal(report.online, 4);
	assert_int_equal(chip[4].startups, 2);
	assert_int_equal(chip[2].startups, 1); /* those that run get no more */
}

/* The others run, in a dense order; it is known how long was waited for whom; nothing it could reach is used again. */
static void one_never_answers(void **s)
{
	(void)s;
	chip[4].answers_to = 0;
	start();
	assert_int_equal(report.online, 3);
	assert_int_equal(report.failed, 1);
	assert_int_equal(report.failed_id[0], 4);
	assert_int_equal(report.waited_us, now);
	assert_in_range(now, 100000, 110000);
	assert_int_equal(counted, 3);
	assert_int_equal(at[2]->apic_id, 6);
	assert_null(at[3]);
	assert_int_equal(frees, 0);
	assert_true(released);
}

static void a_late_answer_does_no_harm(void **s)
{
	struct cpu *late;

	(void)s;
	chip[2].delay = 150000;
	start();
	assert_int_equal(report.failed_id[0], 2);
	late = smp_slots[0].cpu;
	assert_int_equal(late->online, CPU_FAILED);
	tsc_delay_us(100000); /* comes back from smp_ap_main(), to the HLT of trampoline.asm */
	assert_int_equal(chip[2].due, NEVER);
	assert_int_equal(late->online, CPU_FAILED);
	assert_int_equal(entered, 0);
	assert_int_equal(frees, 0);
	for (unsigned i = 0; i < MAX_CPUS; i++)
		assert_ptr_not_equal(at[i], late);
}

static void nobody_answers(void **s)
{
	(void)s;
	for (unsigned i = 0; i < ARRAY_SIZE(chip); i++)
		chip[i].answers_to = 0;
	start();
	assert_int_equal(report.online, 1);
	assert_int_equal(report.failed, 3);
	assert_int_equal(report.failed_id[2], 6);
	assert_int_equal(counted, 1);
	assert_true(now < 110000); /* not that long for each */
}

/* One whose local APIC is off or in another mode. */
static void one_that_answers_may_not_fit(void **s)
{
	(void)s;
	lapic_refuses = true;
	start();
	assert_int_equal(report.online, 1);
	assert_int_equal(report.failed, 3);
}

static void without_memory(void **s)
{
	(void)s;
	allocations_left = 0;
	start();
	assert_int_equal(report.online, 1);
	assert_int_equal(report.ignored, 3);
	assert_int_equal(chip[2].inits, 0);
	allocations_left = 2;
	start();
	assert_int_equal(report.online, 1);
	assert_int_equal(report.failed, 0);
	assert_true(report.ignored >= 2);
	allocations_left = 1000;
	shadow_refuses = true; /* nobody runs without */
	start();
	assert_int_equal(report.online, 1);
	assert_int_equal(report.ignored, 3);
}

static void more_than_are_used(void **s)
{
	(void)s;
	for (info.cpu_count = 0; info.cpu_count < 100; info.cpu_count++)
		info.cpu[info.cpu_count].apic_id = info.cpu_count;
	start();
	assert_int_equal(report.online, MAX_CPUS);
	assert_int_equal(report.ignored, 100 - MAX_CPUS);
	assert_int_equal(chip[99].inits, 0);
}

/* APIC IDs 0, 2, 4, 6 of cores with two bits for threads: 0 and 2 are one core, 4 and 6 another. */
static void one_thread_of_each_core(void **s)
{
	(void)s;
	thread_bits = 2;
	start();
	assert_int_equal(report.online, 2);
	assert_int_equal(at[1]->apic_id, 4);
	assert_int_equal(report.parked, 2);
	assert_int_equal(report.parked_id[0], 2);
	assert_int_equal(report.parked_id[1], 6);
	assert_int_equal(low_frees, 1); /* those that are parked have left it as well */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(all_answer),
	    TEST(one_needs_the_second_startup),
	    TEST(one_never_answers),
	    TEST(a_late_answer_does_no_harm),
	    TEST(nobody_answers),
	    TEST(one_that_answers_may_not_fit),
	    TEST(without_memory),
	    TEST(more_than_are_used),
	    TEST(one_thread_of_each_core),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
