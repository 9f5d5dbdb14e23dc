/*
 * Lesson 10: what an exit costs, seen by the guest. Each line is "bench ID ticks MIN mean MEAN" over 1000 runs of one
 * instruction between two RDTSC, less what the two RDTSC cost by themselves. The ids are the rows of the benchmark's
 * report. What the processor does in the guest without an exit stays at a few ticks.
 */
/* SPDX-License-Identifier: MIT */
#include "guests/lib/bench.h"
#include "guests/lib/doorbell.h"
#include "guests/lib/multiboot.h"
#include "guests/lib/pc.h"

#define RUNS	     1000
#define CR0_WP	     (1ull << 16)
#define CR0_TS	     (1ull << 3)
#define CR0_CD	     (1ull << 30)
#define CR4_SMEP     (1ull << 20)
#define VECTOR_SELF  0x70
#define VECTOR_TIMER 0x71
#define MSR_DEADLINE 0x6e0
#define TIMER_TICKS  20000	 /* ahead: enough for the way into HLT */
#define FAR_TICKS    10000000000 /* ahead */
#define COM1	     0x3f8
#define COM1_LSR     0x3fd
#define COM1_SCRATCH 0x3ff
#define LSR_EMPTY    0x20
#define SENT	     100 /* bytes of each kind: less than the machine's own line has room for */
#define IOAPIC	     0xfec00000ull
#define ECAM	     0xe0000000ull

static uint64_t overhead;
static volatile uint64_t handled_at;

/* The statement runs between the two readings; inlined each time, so that no call is measured. */
#define MEASURE(out, statement)                                                                                        \
	do {                                                                                                           \
		(out) = NO_RESULT;                                                                                     \
		for (unsigned run = 0; run < RUNS; run++) {                                                            \
			uint64_t before = rdtsc();                                                                     \
                                                                                                                       \
			statement;                                                                                     \
			result_add(&(out), rdtsc() - before);                                                          \
		}                                                                                                      \
	} while (0)
#define BENCH(id, statement)                                                                                           \
	do {                                                                                                           \
		struct result bench_result;                                                                            \
                                                                                                                       \
		MEASURE(bench_result, statement);                                                                      \
		result_report(id, &bench_result, overhead);                                                            \
	} while (0)

static void vmcall(void)
{
	uint64_t rax = 0xffffffff;

	__asm__ volatile("vmcall" : "+a"(rax) : : "memory");
}
static void try_vmcall(void *arg)
{
	(void)arg;
	vmcall();
}
static void do_cpuid(void)
{
	uint32_t eax = 0, ecx = 0;

	__asm__ volatile("cpuid" : "+a"(eax), "+c"(ecx) : : "ebx", "edx", "memory");
}

static void bench_processor(void)
{
	uint64_t cr0 = read_cr0(), cr4 = read_cr4(), pat = rdmsr(0x277);

	BENCH("cpuid", do_cpuid());
	if (try_call(try_vmcall, NULL, NULL) == NO_FAULT)
		BENCH("vmcall", vmcall());
	else
		skip("vmcall", "#UD, no hypervisor");
	BENCH("rdmsr", rdmsr(0x1b));
	BENCH("rdmsr-mtrrcap", rdmsr(0xfe));
	BENCH("rdmsr-misc-enable", rdmsr(0x1a0));
	BENCH("wrmsr", wrmsr(0x277, pat));
	/* CD is the host's own business, so a hypervisor keeps it virtual and every write that changes it exits. */
	BENCH("cr0", write_cr0(run & 1 ? cr0 : cr0 | CR0_CD));
	write_cr0(cr0);
	if (cpuid(0, 0).eax >= 7 && cpuid(7, 0).ebx & 1u << 7)
		BENCH("cr4-smep", write_cr4(run & 1 ? cr4 : cr4 | CR4_SMEP));
	else
		skip("cr4-smep", "CPUID shows no SMEP");
	write_cr4(cr4);
	BENCH("wbinvd", __asm__ volatile("wbinvd" : : : "memory"));
}

static void bench_devices(void)
{
	volatile uint32_t *window = (uint32_t *)(IOAPIC + 0x10), *bridge = (uint32_t *)ECAM;

	ioapic_read(0);
	BENCH("pio-in", in8(0x21));
	BENCH("pio-device", in8(COM1_SCRATCH));
	BENCH("pio-device-out", out8(COM1_SCRATCH, 0x55));
	BENCH("mmio-ioapic", (void)*window); /* under Vireo no exit: the guest reads memory */
	BENCH("mmio-device", (void)*bridge); /* the host bridge's ID: an exit, and a decoded instruction */
}

/*
 * A byte to the serial line, as drivers send it: with a look whether there is room, and of the rest of a FIFO without.
 * The dots are what the line has at its end.
 */
static void bench_console(void)
{
	struct result byte = NO_RESULT, polled = NO_RESULT;

	for (unsigned run = 0; run < SENT; run++) {
		uint64_t before = rdtsc();

		out8(COM1, '.');
		result_add(&byte, rdtsc() - before);
		before = rdtsc();
		while (!(in8(COM1_LSR) & LSR_EMPTY))
			;
		out8(COM1, '.');
		result_add(&polled, rdtsc() - before);
	}
	print("\n");
	result_report("console-byte", &byte, overhead);
	result_report("console-byte-polled", &polled, overhead);
}

/* Vireo's doorbells are those of its virtual devices: bench_virtio.c. */
static void bench_doorbells(void)
{
	volatile uint16_t *bell = (uint16_t *)DOORBELL_MMIO, *fast = (uint16_t *)DOORBELL_MMIO_FAST;

	BENCH("pio-doorbell", out16(DOORBELL_PORT, 0));
	BENCH("mmio-doorbell", *bell = 0);
	BENCH("mmio-doorbell-fast", *fast = 0);
}

static void on_self(struct frame *f)
{
	(void)f;
	handled_at = rdtsc();
	lapic_write(LAPIC_EOI, 0);
}

/* From the write to the handler's first instructions. */
static void bench_self_ipi(void)
{
	struct result r = NO_RESULT;

	interrupt_set(VECTOR_SELF, on_self);
	sti();
	for (unsigned run = 0; run < RUNS; run++) {
		uint64_t before = rdtsc();

		handled_at = 0;
		wrmsr(0x83f, VECTOR_SELF);
		while (!handled_at)
			;
		result_add(&r, handled_at - before);
	}
	cli();
	result_report("self-ipi", &r, overhead);
}

/*
 * In HLT with a timer running: from its expiry to the handler's first instructions. Where there is no deadline mode the
 * timer counts the TSC down, as CPUID leaf 0x15 says, from the write on.
 */
static uint64_t start_timer(bool deadline)
{
	uint64_t expiry = rdtsc() + TIMER_TICKS;

	if (deadline)
		wrmsr(MSR_DEADLINE, expiry);
	else
		lapic_write(LAPIC_TIMER_INITIAL, TIMER_TICKS);
	return expiry;
}

static void bench_hlt_timer(bool deadline)
{
	struct result r = NO_RESULT;

	for (unsigned run = 0; run < RUNS / 10; run++) {
		uint64_t expiry = start_timer(deadline);

		for (handled_at = 0; !handled_at;)
			sti_hlt_cli();
		result_add(&r, result_less(handled_at, expiry));
	}
	result_report("hlt-timer", &r, 0);
}

/* The same while the guest is busy: it looks at memory until the handler has been there. */
static void bench_running_timer(bool deadline)
{
	struct result r = NO_RESULT;

	sti();
	for (unsigned run = 0; run < RUNS / 10; run++) {
		uint64_t expiry = start_timer(deadline);

		for (handled_at = 0; !handled_at;)
			;
		result_add(&r, result_less(handled_at, expiry));
	}
	cli();
	result_report("timer-running", &r, 0);
}

/* What an operating system does at each of its ticks: another deadline, further away than this takes. */
static void bench_deadline(bool deadline)
{
	uint64_t far = rdtsc() + FAR_TICKS;

	if (!deadline) {
		skip("tsc-deadline", "CPUID shows no deadline mode");
		return;
	}
	BENCH("tsc-deadline", wrmsr(MSR_DEADLINE, far + run));
	wrmsr(MSR_DEADLINE, 0); /* disarmed */
}

static void bench_timer(void)
{
	bool deadline = cpuid(1, 0).ecx & 1u << 24;

	interrupt_set(VECTOR_TIMER, on_self);
	lapic_write(LAPIC_TIMER_DIVIDE, 0xb); /* by 1 */
	lapic_write(LAPIC_LVT_TIMER, (deadline ? LAPIC_DEADLINE : 0) | VECTOR_TIMER);
	bench_hlt_timer(deadline);
	bench_running_timer(deadline);
	bench_deadline(deadline);
	lapic_write(LAPIC_LVT_TIMER, LAPIC_MASKED);
}

static void bench_x2apic(void)
{
	lapic_enable();
	if (!lapic_x2apic()) {
		skip("x2apic-eoi, self-ipi", "CPUID shows no x2APIC");
		return;
	}
	BENCH("x2apic-eoi", wrmsr(0x80b, 0));
	bench_self_ipi();
}

/* Rows of their own, and the dearest as "no-exit". */
static void bench_no_exit(void)
{
	uint64_t cr0 = read_cr0(), cr3 = read_cr3(), worst = 0, ticks;
	struct result r;

#define FREE(id, statement)                                                                                            \
	do {                                                                                                           \
		MEASURE(r, statement);                                                                                 \
		ticks = result_report(id, &r, overhead);                                                               \
		worst = ticks > worst ? ticks : worst;                                                                 \
	} while (0)
	FREE("no-exit-cr3", write_cr3(cr3));
	FREE("no-exit-invlpg", __asm__ volatile("invlpg (%0)" : : "r"(&handled_at) : "memory"));
	FREE("no-exit-tpr", write_cr8(0));
	FREE("no-exit-pause", pause());
	FREE("no-exit-ts", write_cr0(run & 1 ? cr0 : cr0 | CR0_TS));
	write_cr0(cr0);
	FREE("no-exit-wp", write_cr0(run & 1 ? cr0 : cr0 ^ CR0_WP));
	write_cr0(cr0);
	print("bench no-exit ticks %llu\n", (unsigned long long)worst);
}

void guest_main(const struct multiboot_info *info)
{
	struct result empty;

	pic_init();
	MEASURE(empty, (void)0);
	overhead = empty.min;
	bench_processor();
	bench_devices();
	if (multiboot_says(info, "doorbells"))
		bench_doorbells();
	bench_x2apic();
	bench_timer();
	bench_no_exit();
	bench_console(); /* last: what it says goes on to the machine's serial line afterwards, by interrupts */
	guest_finish();
}
