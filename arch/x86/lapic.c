/* The host's local APIC: lapic.h. Registers by their xAPIC offsets; in x2APIC mode the same number / 16 is an MSR. */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/lapic.h"
#include "arch/x86/cpuid.h"
#include "arch/x86/insn.h"
#include "arch/x86/msr.h"
#include "arch/x86/paging.h"
#include "arch/x86/trap.h"
#include "hv/lib/math.h"

/* SDM Vol. 3A Table 11-1 */
enum {
	REG_ID = 0x20,
	REG_VERSION = 0x30,
	REG_TPR = 0x80,
	REG_EOI = 0xb0,
	REG_SVR = 0xf0,
	REG_ISR = 0x100, /* eight, 16 bytes apart, with 32 vectors each */
	REG_ESR = 0x280,
	REG_LVT_CMCI = 0x2f0,
	REG_ICR = 0x300,
	REG_ICR_HIGH = 0x310, /* xAPIC only */
	REG_LVT_TIMER = 0x320,
	REG_LVT_THERMAL = 0x330,
	REG_LVT_PERF = 0x340,
	REG_LVT_LINT0 = 0x350,
	REG_LVT_LINT1 = 0x360,
	REG_LVT_ERROR = 0x370,
	REG_TIMER_INITIAL = 0x380,
	REG_TIMER_CURRENT = 0x390,
	REG_TIMER_DIVIDE = 0x3e0,
};

#define SVR_ENABLE	   BIT(8)
#define LVT_MASKED	   BIT(16)
#define LVT_TIMER_DEADLINE BIT(18)
#define DIVIDE_BY_1	   0xb
#define ICR_NMI		   0x400
#define ICR_INIT	   0x500
#define ICR_STARTUP	   0x600
#define ICR_ASSERT	   BIT(14)
#define ICR_PENDING	   BIT(12)
#define ICR_ALL_BUT_SELF   (3ULL << 18)
#define ICR_WAIT	   100000 /* polls; an IPI leaves within microseconds */
#define APIC_BASE_ADDRESS  0x000ffffffffff000ULL
#define TIMER_MAX	   0xffffffffULL

static RO_AFTER_INIT bool x2apic, deadline_mode, ready;
static RO_AFTER_INIT volatile uint32_t *regs; /* xAPIC */
static RO_AFTER_INIT uint64_t timer_hz, timer_tsc_hz;

static uint32_t lapic_read(unsigned reg)
{
	return x2apic ? (uint32_t)rdmsr(MSR_X2APIC_BASE + reg / 16) : regs[reg / 4];
}

static void lapic_write(unsigned reg, uint32_t value)
{
	if (x2apic)
		wrmsr(MSR_X2APIC_BASE + reg / 16, value);
	else
		regs[reg / 4] = value;
}

/* Number of local vector table entries decides which of the newer ones exist. SDM Vol. 3A 11.5.1. */
static void mask_local_vectors(void)
{
	unsigned last = lapic_read(REG_VERSION) >> 16 & 0xff;

	lapic_write(REG_LVT_TIMER, LVT_MASKED);
	lapic_write(REG_LVT_LINT0, LVT_MASKED);
	lapic_write(REG_LVT_LINT1, LVT_MASKED);
	lapic_write(REG_LVT_ERROR, LVT_MASKED);
	if (last >= 4)
		lapic_write(REG_LVT_PERF, LVT_MASKED);
	if (last >= 5)
		lapic_write(REG_LVT_THERMAL, LVT_MASKED);
	if (last >= 6)
		lapic_write(REG_LVT_CMCI, LVT_MASKED);
}

/* The timer raises VECTOR_TIMER from now on, but does not run. */
static void timer_prepare(void)
{
	lapic_write(REG_TIMER_DIVIDE, DIVIDE_BY_1);
	lapic_write(REG_LVT_TIMER, VECTOR_TIMER | (deadline_mode ? LVT_TIMER_DEADLINE : 0));
	mfence(); /* the mode must be in place before the deadline is written. SDM Vol. 3A 11.5.4.1 */
	lapic_timer_set(~0ULL);
}

/* Puts this CPU's APIC into the BSP's mode: from xAPIC to x2APIC is one step, back would need a reset. */
static int match_mode(void)
{
	uint64_t base = rdmsr(MSR_APIC_BASE);

	if (!(base & APIC_BASE_ENABLE))
		return -E_NOTSUP;
	if (x2apic && !(base & APIC_BASE_X2APIC))
		wrmsr(MSR_APIC_BASE, base | APIC_BASE_X2APIC);
	else if (!x2apic && (base & APIC_BASE_X2APIC))
		return -E_NOTSUP;
	return 0;
}

int lapic_init_this(void)
{
	int err = match_mode();

	if (err)
		return err;
	mask_local_vectors();
	lapic_write(REG_TPR, 0);
	lapic_write(REG_SVR, SVR_ENABLE | VECTOR_SPURIOUS);
	lapic_write(REG_ESR, 0);
	timer_prepare();
	return 0;
}

int lapic_init(void)
{
	uint64_t base = rdmsr(MSR_APIC_BASE);

	if (!(base & APIC_BASE_ENABLE))
		return -E_NOTSUP;
	x2apic = base & APIC_BASE_X2APIC;
	deadline_mode = cpu_has(CPUID_TSC_DEADLINE);
	if (!x2apic) {
		regs = mmio_map(HPA(base & APIC_BASE_ADDRESS), PAGE_SIZE, MAP_UC);
		if (!regs)
			return -E_NOMEM;
	}
	ready = true;
	return lapic_init_this();
}

uint32_t lapic_id(void)
{
	return x2apic ? lapic_read(REG_ID) : lapic_read(REG_ID) >> 24;
}
void lapic_eoi(void)
{
	lapic_write(REG_EOI, 0);
}

bool lapic_in_service(unsigned vector)
{
	return ready && (lapic_read(REG_ISR + vector / 32 * 0x10) >> vector % 32 & 1);
}

/*
 * x2APIC: one MSR, and a fence since WRMSR there does not order earlier stores (SDM Vol. 3A 11.12.3). xAPIC: the
 * previous IPI has to be gone, then the low half sends; it can't reach IDs above 255.
 */
static void send(uint32_t apic_id, uint32_t command)
{
	if (!ready || (!x2apic && apic_id > 0xff))
		return;
	if (x2apic) {
		mfence();
		wrmsr(MSR_X2APIC_BASE + REG_ICR / 16, (uint64_t)apic_id << 32 | command);
		return;
	}
	for (unsigned i = 0; i < ICR_WAIT && (lapic_read(REG_ICR) & ICR_PENDING); i++)
		cpu_pause();
	lapic_write(REG_ICR_HIGH, apic_id << 24);
	lapic_write(REG_ICR, command);
}

void lapic_send_ipi(uint32_t apic_id, uint8_t vector)
{
	send(apic_id, ICR_ASSERT | vector);
}
void lapic_send_nmi(uint32_t apic_id)
{
	send(apic_id, ICR_ASSERT | ICR_NMI);
}
void lapic_send_nmi_to_others(void)
{
	send(0, ICR_ASSERT | ICR_NMI | ICR_ALL_BUT_SELF);
}
void lapic_send_init(uint32_t apic_id)
{
	send(apic_id, ICR_ASSERT | ICR_INIT);
}
void lapic_send_startup(uint32_t apic_id, uint8_t page)
{
	send(apic_id, ICR_ASSERT | ICR_STARTUP | page);
}

bool lapic_timer_is_deadline(void)
{
	return deadline_mode;
}

static void timer_set_count(uint64_t tsc_deadline)
{
	uint64_t now = rdtsc();
	uint64_t count;

	if (tsc_deadline == ~0ULL || !timer_tsc_hz) {
		lapic_write(REG_TIMER_INITIAL, 0);
		return;
	}
	count = tsc_deadline > now ? mul_div(tsc_deadline - now, timer_hz, timer_tsc_hz) + 1 : 1;
	lapic_write(REG_TIMER_INITIAL, (uint32_t)(count < TIMER_MAX ? count : TIMER_MAX));
}

/* A deadline of 0 would disarm. SDM Vol. 3A 11.5.4.1. */
void lapic_timer_set(uint64_t tsc_deadline)
{
	if (!deadline_mode)
		timer_set_count(tsc_deadline);
	else if (tsc_deadline == ~0ULL)
		wrmsr(MSR_TSC_DEADLINE, 0);
	else
		wrmsr(MSR_TSC_DEADLINE, tsc_deadline ? tsc_deadline : 1);
}

uint64_t lapic_timer_take(void)
{
	uint64_t deadline = rdmsr(MSR_TSC_DEADLINE);

	wrmsr(MSR_TSC_DEADLINE, 0);
	return deadline;
}

/* The processor has cleared it by itself (SDM Vol. 3A 11.5.4.1). */
void lapic_timer_went_off(void)
{
	if (rdmsr(MSR_TSC_DEADLINE) <= rdtsc())
		wrmsr(MSR_TSC_DEADLINE, 0);
}

void lapic_timer_start_count(void)
{
	if (!deadline_mode)
		lapic_write(REG_TIMER_INITIAL, TIMER_MAX);
}

uint32_t lapic_timer_read_count(void)
{
	return deadline_mode ? 0 : (uint32_t)TIMER_MAX - lapic_read(REG_TIMER_CURRENT);
}

void lapic_timer_set_rate(uint64_t counts_hz, uint64_t tsc_hz)
{
	timer_hz = counts_hz;
	timer_tsc_hz = tsc_hz;
	lapic_timer_set(~0ULL);
}
