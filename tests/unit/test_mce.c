/* arch/x86/mce.c: what the banks' registers mean, in words and in what may go on; which bank is the worst. */
/* SPDX-License-Identifier: MIT */
/* links: arch/x86/mce.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/cpu.h"
#include "arch/x86/mce.h"
#include "arch/x86/msr.h"
#include "arch/x86/trap.h"

#define VALID (1ULL << 63)
#define OVER  (1ULL << 62)
#define UC    (1ULL << 61)
#define MISCV (1ULL << 59)
#define ADDRV (1ULL << 58)
#define PCC   (1ULL << 57)
#define S     (1ULL << 56)
#define AR    (1ULL << 55)
#define SER   (1ULL << 24)
#define CTL   (1ULL << 8)
#define RIPV  1
#define EIPV  2
#define MCIP  4
#define BANKS 40

static struct cpu cpu;
static uint64_t cap, mcg_status, bank[BANKS][4];
static bool absent; /* no machine check architecture: #GP */
static unsigned faults, ctl_written;

struct cpu *this_cpu(void)
{
	return &cpu;
}

static uint64_t *find(uint32_t msr)
{
	if (msr == MSR_MCG_CAP)
		return &cap;
	if (msr == MSR_MCG_STATUS)
		return &mcg_status;
	if (msr >= MSR_MC0_CTL && msr < MSR_MC0_CTL + 4 * (cap & 0xff) && (msr - MSR_MC0_CTL) / 4 < BANKS)
		return &bank[(msr - MSR_MC0_CTL) / 4][msr % 4];
	return NULL;
}

int rdmsr_safe(uint32_t msr, uint64_t *value)
{
	const uint64_t *at = absent ? NULL : find(msr);

	if (!at) {
		faults++;
		return -E_FAULT;
	}
	*value = *at;
	return 0;
}

int wrmsr_safe(uint32_t msr, uint64_t value)
{
	uint64_t *at = find(msr);

	if (msr == MSR_MCG_CTL) {
		assert_int_equal(value, ~0ULL);
		ctl_written++;
		return 0;
	}
	if (!at)
		return -E_FAULT;
	*at = value;
	return 0;
}

static int setup(void **state)
{
	(void)state;
	memset(&cpu, 0, sizeof(cpu));
	memset(bank, 0, sizeof(bank));
	cap = SER | CTL | 10;
	mcg_status = RIPV | EIPV;
	absent = false;
	faults = ctl_written = 0;
	return 0;
}

static void severity(void **s)
{
	(void)s;
	assert_int_equal(mce_judge(~VALID, SER), MCE_NONE);
	assert_int_equal(mce_judge(VALID | OVER | ADDRV, SER), MCE_CORRECTED);
	assert_int_equal(mce_judge(VALID | UC, SER), MCE_UNUSED);     /* UCNA */
	assert_int_equal(mce_judge(VALID | UC | S, SER), MCE_UNUSED); /* SRAO */
	assert_int_equal(mce_judge(VALID | UC | S | OVER, SER), MCE_UNUSED);
	assert_int_equal(mce_judge(VALID | UC | S | AR, SER), MCE_USED); /* SRAR */
	assert_int_equal(mce_judge(VALID | UC | S | AR | OVER, SER), MCE_FATAL);
	assert_int_equal(mce_judge(VALID | UC | AR, SER), MCE_FATAL); /* reserved */
	assert_int_equal(mce_judge(VALID | UC | PCC, SER), MCE_FATAL);
	assert_int_equal(mce_judge(VALID | UC | S | AR, 0), MCE_FATAL); /* does not know S and AR */
	assert_int_equal(mce_judge(VALID | UC, 0), MCE_FATAL);
}

static void says(uint64_t status, const char *expected)
{
	struct mce_bank b = {.number = 7, .status = status, .address = 0x1000, .misc = 0x86};
	char text[MCE_TEXT_MAX];

	mce_describe(&b, SER, text);
	assert_non_null(strstr(text, expected));
}

static void words(void **s)
{
	struct mce_bank b = {.number = 7, .status = VALID | UC | S | ADDRV | 0x00c2, .address = 0x12340};
	char text[MCE_TEXT_MAX];

	(void)s;
	mce_describe(&b, SER, text);
	assert_string_equal(text, "bank 7: status 0xa5000000000000c2, uncorrected, not used yet: memory controller, "
				  "scrubbing, channel 2; address 0x12340, misc 0x0");
	says(VALID | 0x009f, ", corrected: memory controller, read, channel 15; address 0x1000, misc 0x86");
	says(VALID | UC | PCC | OVER | 0x0e0b, ", uncorrected, fatal, and more than one: bus or interconnect, error, ");
	says(VALID | 0x0135, ": cache, data read, data, level 1;");
	says(VALID | 0x1150, ": cache, instruction fetch, instructions, level 0;"); /* bit 12: the same */
	says(VALID | 0x019e, ": cache, reserved, reserved, level 2;");
	says(VALID | 0x0016, ": TLB, data, level 2;");
	says(VALID | 0x000e, ": cache, level 2;");
	says(VALID | 0x0400, ": internal timer;");
	says(VALID | 0x0405, ": internal, unclassified;");
	says(VALID | 0x0005, ": internal parity;");
	says(VALID | 0x0007, ": reserved;");
	says(0, ", no error: no error code;");
}

/* Each code has words, and they fit. */
static void all_codes(void **s)
{
	char text[MCE_TEXT_MAX];

	(void)s;
	for (unsigned code = 0; code < 0x10000; code++) {
		struct mce_bank b = {~0u, ~0ULL << 16 | code, ~0ULL, ~0ULL};

		mce_describe(&b, ~0ULL, text);
		assert_non_null(strstr(text, "misc 0xffffffffffffffff"));
	}
}

static void the_worst_counts(void **s)
{
	struct mce_bank worst;

	(void)s;
	assert_int_equal(mce_scan(rdmsr_safe, &worst), MCE_NONE);
	assert_int_equal(worst.status, 0);
	bank[1][1] = VALID;
	bank[4][1] = VALID | UC | S | AR | ADDRV;
	bank[4][2] = 0xabc000;
	bank[4][3] = 0x77; /* MISCV is not set: not read */
	bank[9][1] = VALID | UC;
	bank[12][1] = VALID | UC | PCC; /* there are only ten */
	assert_int_equal(mce_scan(rdmsr_safe, &worst), MCE_USED);
	assert_int_equal(worst.number, 4);
	assert_int_equal(worst.address, 0xabc000);
	assert_int_equal(worst.misc, 0);
	assert_int_equal(faults, 0);
	cap = SER | 255; /* more than we look at, and than there are */
	assert_int_equal(mce_scan(rdmsr_safe, &worst), MCE_FATAL);
	assert_int_equal(worst.number, 12);
}

/* Nothing says that the code may go on. */
static void without_ripv(void **s)
{
	struct mce_bank worst;

	(void)s;
	mcg_status = 4;
	assert_int_equal(mce_scan(rdmsr_safe, &worst), MCE_FATAL);
	bank[2][1] = VALID | UC | S | AR;
	assert_int_equal(mce_scan(rdmsr_safe, &worst), MCE_USED);
	absent = true;
	assert_int_equal(mce_scan(rdmsr_safe, &worst), MCE_FATAL);
}

static void taking_one_clears_it(void **s)
{
	struct mce_bank worst;

	(void)s;
	mcg_status = RIPV | 4;
	bank[3][1] = VALID | UC | S | MISCV;
	bank[3][3] = 0x85;
	assert_int_equal(mce_take(&worst), MCE_UNUSED);
	assert_int_equal(cpu.machine_checks, 1);
	assert_int_equal(cpu.mce.number, 3);
	assert_int_equal(cpu.mce.misc, 0x85);
	assert_int_equal(mcg_status, 0);
	assert_int_equal(bank[3][1], 0);
}

/* Threads of a core see the same banks: who has not used what is lost goes on, and leaves it to who has. */
static void the_other_thread_goes_on(void **s)
{
	struct mce_bank worst;

	(void)s;
	mcg_status = RIPV | MCIP;
	bank[1][1] = VALID | UC | S | AR | ADDRV;
	bank[2][1] = VALID | UC | S;
	assert_int_equal(mce_take(&worst), MCE_UNUSED);
	assert_int_equal(worst.number, 1);
	assert_int_equal(bank[1][1], VALID | UC | S | AR | ADDRV);
	assert_int_equal(bank[2][1] | mcg_status, 0);
	mcg_status = EIPV | MCIP;
	assert_int_equal(mce_take(&worst), MCE_USED);
	assert_int_equal(bank[1][1] | mcg_status, 0);
	mcg_status = RIPV | MCIP; /* and the other way round */
	assert_int_equal(mce_take(&worst), MCE_NONE);
	bank[1][1] = VALID | UC | S | AR | OVER;
	mcg_status = RIPV | MCIP;
	assert_int_equal(mce_take(&worst), MCE_FATAL);
}

/* What is fatal stays where it is, for the report. */
static unsigned lines;
static void count_line(const char *text)
{
	assert_non_null(strstr(text, lines ? "bank 5: status 0xa200000000000000" : "IA32_MCG_STATUS 0x5, "));
	lines++;
}

static void a_fatal_one_is_reported(void **s)
{
	struct mce_bank worst;

	(void)s;
	mcg_status = RIPV | 4;
	bank[5][1] = VALID | UC | PCC;
	assert_int_equal(mce_take(&worst), MCE_FATAL);
	assert_int_equal(cpu.machine_checks, 0);
	assert_int_equal(mcg_status, RIPV | 4);
	lines = 0;
	mce_dump(count_line);
	assert_int_equal(lines, 2);
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(severity),
	    TEST(words),
	    TEST(all_codes),
	    TEST(the_worst_counts),
	    TEST(without_ripv),
	    TEST(taking_one_clears_it),
	    TEST(the_other_thread_goes_on),
	    TEST(a_fatal_one_is_reported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
