/*
 * Lesson 6: time. Six clocks and what each is good for: the TSC is measured against the 8254, everything else against
 * the TSC, so that a virtual processor that has to wait for its turn does not spoil the comparison: CPUID leaf 0x15,
 * ACPI PM timer, RTC, and the local APIC's timer in its three modes, by MMIO and by MSR. 8254 data sheet; ACPI 4.8.3.3;
 * MC146818 data sheet; SDM Vol. 3A 11.5.4 (APIC timer), Vol. 3B 18.17 (TSC).
 */
/* SPDX-License-Identifier: MIT */
#include "guests/lib/pc.h"

#define PM_TIMER     0x608
#define PM_TIMER_HZ  3579545
#define MSR_DEADLINE 0x6e0
#define VECTOR_TIMER 0x60

static uint64_t tsc_hz, lapic_hz;
static volatile unsigned fired;
static volatile uint64_t fired_at;

static void on_timer(struct frame *f)
{
	(void)f;
	fired_at = rdtsc();
	fired++;
	lapic_write(LAPIC_EOI, 0);
}

/* `got` is within 1/part of `expected`. */
static void expect_near(const char *what, uint64_t got, uint64_t expected, unsigned part)
{
	expect_between(what, got, expected - expected / part, expected + expected / part);
}

static void test_tsc(void)
{
	uint64_t last = rdtsc();
	unsigned back = 0;

	for (unsigned i = 0; i < 10000; i++) {
		uint64_t now = rdtsc();

		back += now < last;
		last = now;
	}
	expect_equal("TSC: steps back in 10000 readings", back, 0);
	tsc_hz = ~0ull;
	for (unsigned i = 0; i < 8; i++) {
		uint64_t hz = wait_ms(20) * 50;

		tsc_hz = hz < tsc_hz ? hz : tsc_hz; /* the end of a countdown can be seen late, but not early */
	}
	print("TSC by the 8254: %llu Hz\n", (unsigned long long)tsc_hz);
}

static void test_leaf_15(void)
{
	struct cpuid r;

	if (cpuid(0, 0).eax < 0x15 || !cpuid(0x15, 0).eax) {
		skip("CPUID leaf 0x15", "not there");
		return;
	}
	r = cpuid(0x15, 0);
	expect_near("CPUID leaf 0x15 says TSC Hz", (uint64_t)r.ecx * r.ebx / r.eax, tsc_hz, 100);
}

/* What a clock of `hz` should count while the TSC counts `ticks`. */
static uint64_t in_ticks(uint64_t ticks, uint64_t hz)
{
	return ticks * hz / tsc_hz;
}

static void test_pit(void)
{
	uint16_t before, after;
	uint64_t start;

	pit_periodic(19); /* 62799 counts */
	wait_ms(1);
	start = rdtsc();
	before = pit_count();
	wait_ms(10);
	start = rdtsc() - start;
	after = pit_count();
	expect_near("8254 channel 0 counts down in some 10 ms by", (before + (before < after ? 62799u : 0u)) - after,
		    in_ticks(start, PIT_HZ), 20);
}

static void test_pm_timer(void)
{
	uint64_t start = rdtsc();
	uint32_t count = in32(PM_TIMER);

	wait_ms(50);
	start = rdtsc() - start;
	expect_near("PM timer counts in some 50 ms", (in32(PM_TIMER) - count) & 0xffffff, in_ticks(start, PM_TIMER_HZ),
		    50);
}

static uint8_t rtc_read(uint8_t reg)
{
	out8(0x70, reg);
	return in8(0x71);
}

/* The moment at which the seconds change; bounded by 3 s of TSC. */
static uint64_t next_second(void)
{
	uint8_t now = rtc_read(0);
	uint64_t start = rdtsc();

	while (rtc_read(0) == now && rdtsc() - start < 3 * tsc_hz)
		;
	return rdtsc();
}

static void test_rtc(void)
{
	uint64_t start = next_second();

	expect_near("RTC: a second in TSC ticks", next_second() - start, tsc_hz, 50);
}

static void calibrate_lapic(void)
{
	uint64_t start;

	lapic_write(LAPIC_TIMER_DIVIDE, 0xb); /* by 1 */
	lapic_write(LAPIC_LVT_TIMER, LAPIC_MASKED | VECTOR_TIMER);
	start = rdtsc();
	lapic_write(LAPIC_TIMER_INITIAL, ~0u);
	wait_ms(50);
	start = rdtsc() - start;
	lapic_hz = (uint64_t)(~0u - lapic_read(LAPIC_TIMER_CURRENT)) * tsc_hz / start;
	lapic_write(LAPIC_TIMER_INITIAL, 0);
	print("APIC timer: %llu Hz\n", (unsigned long long)lapic_hz);
	if (cpuid(0, 0).eax >= 0x15 && cpuid(0x15, 0).ecx)
		expect_near("CPUID leaf 0x15 says crystal Hz", cpuid(0x15, 0).ecx, lapic_hz, 100);
}

/* Never early (but for what calibration errs), late by half at most: whoever shares a processor may have to wait. */
static void expect_fired(const char *what, uint64_t start, uint64_t ticks)
{
	sti();
	wait_for(&fired, 1, 100);
	cli();
	if (expect(fired == 1, what))
		expect_between("after TSC ticks", fired_at - start, ticks - ticks / 50, ticks + ticks / 2);
}

static void test_one_shot(void)
{
	uint64_t start;

	fired = 0;
	lapic_write(LAPIC_LVT_TIMER, VECTOR_TIMER);
	start = rdtsc();
	lapic_write(LAPIC_TIMER_INITIAL, (uint32_t)(lapic_hz / 100));
	expect_fired("one-shot of 10 ms comes", start, tsc_hz / 100);
	sti();
	wait_ms(20);
	cli();
	expect_equal("and comes once", fired, 1);
	expect_equal("the count has stopped at", lapic_read(LAPIC_TIMER_CURRENT), 0);
	fired = 0;
	lapic_write(LAPIC_LVT_TIMER, LAPIC_MASKED | VECTOR_TIMER);
	lapic_write(LAPIC_TIMER_INITIAL, (uint32_t)(lapic_hz / 1000));
	sti();
	wait_ms(5);
	cli();
	expect_equal("masked one-shot: interrupts", fired, 0);
}

static void test_divide(void)
{
	uint64_t start;

	fired = 0;
	lapic_write(LAPIC_TIMER_DIVIDE, 3); /* by 16 */
	lapic_write(LAPIC_LVT_TIMER, VECTOR_TIMER);
	start = rdtsc();
	lapic_write(LAPIC_TIMER_INITIAL, (uint32_t)(lapic_hz / 1600));
	expect_fired("divided by 16, 10 ms: comes", start, tsc_hz / 100);
	lapic_write(LAPIC_TIMER_DIVIDE, 0xb);
}

static void test_periodic(void)
{
	uint64_t start;

	fired = 0;
	lapic_write(LAPIC_LVT_TIMER, LAPIC_PERIODIC | VECTOR_TIMER);
	start = rdtsc();
	lapic_write(LAPIC_TIMER_INITIAL, (uint32_t)(lapic_hz / 500));
	while (fired < 10 && rdtsc() - start < tsc_hz)
		sti_hlt_cli();
	lapic_write(LAPIC_TIMER_INITIAL, 0);
	expect_between("periodic, 10 of 2 ms, with HLT: TSC ticks", fired_at - start, tsc_hz / 51, tsc_hz / 33);
	sti();
	wait_ms(1); /* one may be on its way */
	fired = 0;
	wait_ms(10);
	cli();
	expect_equal("stopped: interrupts", fired, 0);
}

static void test_deadline(void)
{
	uint64_t start;

	if (!(cpuid(1, 0).ecx & 1u << 24)) {
		skip("TSC deadline", "not in CPUID leaf 1");
		return;
	}
	fired = 0;
	lapic_write(LAPIC_LVT_TIMER, LAPIC_DEADLINE | VECTOR_TIMER);
	__asm__ volatile("mfence"); /* SDM: the MMIO write must be seen before the MSR's */
	start = rdtsc();
	wrmsr(MSR_DEADLINE, start + tsc_hz / 100);
	expect_equal("deadline reads back, distance", rdmsr(MSR_DEADLINE) - start, tsc_hz / 100);
	expect_fired("deadline in 10 ms: comes", start, tsc_hz / 100);
	expect_equal("and is disarmed: MSR", rdmsr(MSR_DEADLINE), 0);
	fired = 0;
	wrmsr(MSR_DEADLINE, 1); /* long past */
	sti();
	wait_for(&fired, 1, 10);
	cli();
	expect_equal("deadline in the past: comes at once", fired, 1);
	wrmsr(MSR_DEADLINE, rdtsc() + tsc_hz / 1000);
	wrmsr(MSR_DEADLINE, 0);
	fired = 0;
	sti();
	wait_ms(5);
	cli();
	expect_equal("disarmed deadline: interrupts", fired, 0);
}

static void test_lapic(void)
{
	test_one_shot();
	test_divide();
	test_periodic();
	test_deadline();
	lapic_write(LAPIC_LVT_TIMER, LAPIC_MASKED | VECTOR_TIMER);
}

void guest_main(const struct multiboot_info *info)
{
	(void)info;
	pic_init();
	test_tsc();
	test_leaf_15();
	test_pit();
	test_pm_timer();
	test_rtc();
	interrupt_set(VECTOR_TIMER, on_timer);
	print("local APIC by MMIO\n");
	lapic_enable();
	calibrate_lapic();
	test_lapic();
	if (lapic_x2apic()) {
		print("local APIC by MSR (x2APIC)\n");
		test_lapic();
	} else {
		skip("x2APIC", "not in CPUID leaf 1");
	}
	guest_finish();
}
