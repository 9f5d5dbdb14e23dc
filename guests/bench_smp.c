/*
 * Lesson 11: what processors cost each other. With two of them side by side: an IPI from the sender's write to the
 * target's handler, which runs or is halted. With "one-processor" in the command line, two vCPUs on one processor: from
 * the last instruction of one, HLT, to the first of the other, which was waiting for its turn. All vCPUs of a VM read
 * the same time-stamp counter, so a time of one can be taken from a time of the other.
 */
/* SPDX-License-Identifier: MIT */
#include "guests/lib/bench.h"
#include "guests/lib/multiboot.h"
#include "guests/lib/smp.h"

#define RUNS	   300
#define SWITCHES   50	  /* each may wait for the end of a turn */
#define SETTLE	   20000u /* ticks after which the target has come to rest in its HLT */
#define SOON	   8000u /* ticks after which it is in its HLT, and a hypervisor that polls first, as KVM, still polls */
#define VECTOR_IPI 0x70

enum { TARGET_SPINS, TARGET_HALTS, TARGET_SWITCHES, TARGET_STOPS };

static volatile unsigned target_does;
static volatile uint64_t handled_at, halted_at;
static struct result switches;

static void on_ipi(struct frame *f)
{
	(void)f;
	handled_at = rdtsc();
	lapic_write(LAPIC_EOI, 0);
}

/* The other vCPU has been waiting for its turn: whenever the first halts, this goes on and sees it. */
static void watch_halts(void)
{
	while (switches.runs < SWITCHES) {
		uint64_t from;

		while (!(from = halted_at))
			;
		result_add(&switches, rdtsc() - from);
		halted_at = 0;
		smp_send(0, VECTOR_IPI);
	}
}

static void target(unsigned index)
{
	(void)index;
	while (target_does == TARGET_SPINS) {
		sti();
		pause();
	}
	while (target_does == TARGET_HALTS)
		sti_hlt_cli();
	if (target_does == TARGET_SWITCHES)
		watch_halts();
}

/*
 * A little longer each time: an emulator that runs one piece of each processor in turn has a clock that moves in steps,
 * and always the same phase of it would measure the phase.
 */
static void settle(unsigned ticks)
{
	uint64_t start = rdtsc();

	while (rdtsc() - start < ticks)
		pause();
}

/* One write and nothing else: in xAPIC mode the upper half stays as an IPI before has left it. */
static inline void send_again(bool x2apic)
{
	if (x2apic)
		wrmsr(0x800 + LAPIC_ICR / 16, 1ull << 32 | VECTOR_IPI);
	else
		*(volatile uint32_t *)(uint64_t)(LAPIC_BASE + LAPIC_ICR) = VECTOR_IPI;
}

static struct result measure_ipi(unsigned rest)
{
	bool x2apic = lapic_is_x2apic();
	struct result r = NO_RESULT;

	for (unsigned run = 0; run < RUNS; run++) {
		uint64_t before;

		settle(rest + run);
		handled_at = 0;
		before = rdtsc();
		send_again(x2apic);
		while (!handled_at)
			pause();
		result_add(&r, handled_at - before);
	}
	return r;
}

static void bench_ipi(void)
{
	struct result r = measure_ipi(SETTLE);

	result_report("ipi-running", &r, 0);
	target_does = TARGET_HALTS;
	smp_send(1, VECTOR_IPI);
	r = measure_ipi(SETTLE);
	result_report("ipi-halted", &r, 0);
	r = measure_ipi(SOON);
	result_report("ipi-halted-soon", &r, 0);
	target_does = TARGET_STOPS;
	smp_send(1, VECTOR_IPI);
}

/* The IPI that ends HLT can come only when this halts: interrupts are off until then. */
static void bench_switch(void)
{
	target_does = TARGET_SWITCHES;
	for (unsigned run = 0; run < SWITCHES; run++) {
		halted_at = rdtsc();
		sti_hlt_cli();
	}
	result_report("vcpu-switch", &switches, 0);
}

void guest_main(const struct multiboot_info *info)
{
	pic_init();
	lapic_enable();
	lapic_x2apic();
	switches = NO_RESULT;
	interrupt_set(VECTOR_IPI, on_ipi);
	if (!expect_equal("processors", smp_start(2, target), 2))
		guest_finish();
	if (multiboot_says(info, "one-processor"))
		bench_switch();
	else
		bench_ipi();
	guest_finish();
}
