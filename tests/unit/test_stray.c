/* hv/stray.c: each kind is said at 1, 2, 4, ..., by the CPU that it came to; all that came before as well. */
/* SPDX-License-Identifier: MIT */
/* links: hv/stray.c hv/work.c arch/x86/mce.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/trap.h"
#include "hv/log.h"
#include "hv/pcpu.h"
#include "hv/stray.h"
#include "hv/work.h"

static struct cpu cpus[2], *here;
static struct pcpu pcpus[2];
static void (*notice)(void);
static unsigned lines;
static char last[400];

struct cpu *this_cpu(void)
{
	return here;
}
struct pcpu *pcpu_at(unsigned index)
{
	return &pcpus[index];
}
void pcpu_attention(struct pcpu *p, uint32_t bits)
{
	assert_ptr_equal(p, &pcpus[here->index]);
	atomic_fetch_or(&p->attention, bits);
}
void trap_set_notice(void (*call)(void))
{
	notice = call;
}
int rdmsr_safe(uint32_t msr, uint64_t *value)
{
	(void)msr;
	*value = 1 << 24;
	return 0;
}
int wrmsr_safe(uint32_t msr, uint64_t value)
{
	(void)msr, (void)value;
	return 0;
}
static void say(const char *fmt, va_list args)
{
	lines++;
	vsnprintf(last, sizeof(last), fmt, args);
}
void log_error(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say(fmt, args);
	va_end(args);
}
void log_info(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say(fmt, args);
	va_end(args);
}

static int setup(void **state)
{
	(void)state;
	memset(pcpus, 0, sizeof(pcpus));
	for (unsigned i = 0; i < 2; i++)
		cpus[i] = (struct cpu){.index = i};
	here = &cpus[0];
	lines = 0;
	return 0;
}

static void run(void)
{
	work_run(&pcpus[here->index]);
}

/* One program, one start: what is said so far stays. */
static void all_kinds(void **s)
{
	(void)s;
	cpus[0].nmis = 1; /* before anybody could hear */
	stray_init();
	run();
	assert_string_equal(last,
			    "cpu 0: found an NMI, expected none: hardware reports what Vireo does not know; 1 so far");
	for (unsigned i = 0; i < 99; i++) {
		cpus[0].nmis++;
		notice();
		notice(); /* queued already */
		run();
	}
	assert_int_equal(lines, 7); /* 1, 2, 4, 8, 16, 32, 64 */
	assert_non_null(strstr(last, "; 64 so far"));

	here = &cpus[1];
	lines = 0;
	cpus[1].strays = 3;
	cpus[1].stray_vector = 0x55;
	notice();
	assert_int_equal(lines, 0); /* not there and then: it may be in the middle of anything */
	assert_true(pcpus[1].attention & ATTENTION_WORK);
	run();
	assert_string_equal(last,
			    "cpu 1: found an interrupt with vector 0x55, expected one that has a handler; 3 so far");
	cpus[1].spurious = 1;
	notice();
	run();
	assert_string_equal(last, "cpu 1: spurious interrupts: 1 so far");
	cpus[1].machine_checks = 1;
	notice();
	run();
	assert_string_equal(last,
			    "cpu 1: found a machine check, expected none, and went on: none of this processor's banks "
			    "holds an error; 1 so far");
	cpus[1].machine_checks = 2;
	cpus[1].mce = (struct mce_bank){.number = 4, .status = 0xbd0000000000009f, .address = 0x1000};
	notice();
	run();
	assert_non_null(
	    strstr(last, "and went on: bank 4: status 0xbd0000000000009f, uncorrected, not used yet: memory"));
	assert_int_equal(lines, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test_setup(all_kinds, setup)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
