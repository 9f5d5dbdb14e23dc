/*
 * Attacks with two processors: IPIs of every kind at random moments, INIT and start-up in every state of the other one,
 * code that changes while the hypervisor decodes it, APIC modes that change under fire. SDM Vol. 3A 9.4, 11.6.
 */
/* SPDX-License-Identifier: MIT */
#include "tests/guest/hostile/hostile.h"

#define TRAMPOLINE   0x8000
#define VECTOR_IPI   0x50
#define VECTOR_AP    0x51
#define ALL_BUT_SELF (3u << 18)
#define ALL	     (2u << 18)
#define ASSERT	     (1u << 14)
#define LOGICAL	     (1u << 11)
#define DELIVER_NMI  (4u << 8)
#define DELIVER_INIT (5u << 8)
#define DELIVER_SIPI (6u << 8)
#define STORM_MS     1500
#define LOOP_MS	     200
#define START_ROUNDS 36

extern const uint8_t ap_trampoline[], ap_trampoline_end[];
extern uint32_t ap_cr3;
extern uint8_t ap_gdtr[], ap_idtr[];
void ap_main(void);

static void (*volatile ap_work)(void);
static volatile unsigned ap_starts, received, sent;
static volatile bool stop;

/* --- the other processor ----------------------------------------------------------------------------------------- */

void ap_main(void)
{
	ap_starts++;
	ap_work();
	stop = true;
}

static void *in_copy(const void *at)
{
	return (void *)(TRAMPOLINE + (uint64_t)((const uint8_t *)at - ap_trampoline));
}

static void place_trampoline(void)
{
	for (unsigned i = 0; ap_trampoline + i < ap_trampoline_end; i++)
		((volatile uint8_t *)TRAMPOLINE)[i] = ap_trampoline[i];
	*(volatile uint32_t *)in_copy(&ap_cr3) = (uint32_t)read_cr3();
	__asm__ volatile("sgdt (%0)" : : "r"(in_copy(ap_gdtr)) : "memory");
	__asm__ volatile("sidt (%0)" : : "r"(in_copy(ap_idtr)) : "memory");
}

static void send(uint32_t dest, uint32_t icr)
{
	if (rdmsr(MSR_APIC_BASE) & APIC_BASE_EXTD) {
		wrmsr(0x830, (uint64_t)dest << 32 | icr);
		return;
	}
	lapic_write(LAPIC_ICR_HIGH, dest << 24);
	lapic_write(LAPIC_ICR, icr);
}

static void start_ap(void)
{
	send(1, DELIVER_INIT | ASSERT);
	send(1, DELIVER_SIPI | ASSERT | TRAMPOLINE >> 12);
}

static void on_ipi(struct frame *frame)
{
	(void)frame;
	__atomic_fetch_add(&received, 1, __ATOMIC_RELAXED);
	lapic_write(LAPIC_EOI, 0);
}

static void on_nmi(struct frame *frame)
{
	(void)frame;
	__atomic_fetch_add(&received, 1, __ATOMIC_RELAXED);
}

static void delay(unsigned rounds)
{
	for (; rounds; rounds--)
		pause();
}

void smp_prepare(void (*work)(void))
{
	for (unsigned v = 32; v < 256; v++)
		interrupt_set(v, on_ipi);
	interrupt_set(VECTOR_NMI, on_nmi);
	place_trampoline();
	ap_work = work;
	lapic_enable();
}

/* Starts the other one and waits until it runs. */
void smp_begin(void (*work)(void))
{
	smp_prepare(work);
	start_ap();
	while (!ap_starts)
		pause();
}

void smp_again(void)
{
	unsigned before = ap_starts;

	start_ap();
	while (ap_starts == before)
		pause();
}

/* --- IPIs -------------------------------------------------------------------------------------------------------- */

static void ap_answers(void)
{
	lapic_enable();
	sti();
	while (!stop)
		send(0, ASSERT | VECTOR_AP);
}

static void ap_listens(void)
{
	lapic_enable();
	sti();
	while (!stop)
		pause();
}

/* Both at each other: fixed, all but self, all, logical, lowest priority. */
static void attack_ipi(uint64_t x2apic)
{
	static const uint32_t kinds[] = {ALL_BUT_SELF, ALL, LOGICAL, 1u << 8, ASSERT};

	smp_begin(ap_answers);
	if (x2apic)
		lapic_x2apic();
	sti();
	for (unsigned i = 0; for_ms(STORM_MS); i++, sent++)
		send(1, ASSERT | kinds[i % 5] | VECTOR_IPI);
	cli();
	stop = true;
	check("IPIs arrived", received > 100, received);
}

static void attack_nmi_storm(uint64_t x2apic)
{
	smp_begin(ap_listens);
	if (x2apic)
		lapic_x2apic();
	for (unsigned i = 0; for_ms(STORM_MS); i++)
		send(1, ASSERT | DELIVER_NMI | (i & 1 ? ALL_BUT_SELF : 0));
	stop = true;
	check("NMIs arrived", received > 100, received);
}

struct message {
	uint32_t dest, icr;
};

static void do_send(void *p)
{
	send(((struct message *)p)->dest, ((struct message *)p)->icr);
}

/* Anything but INIT: it would end the first processor, and leave the second in real mode, where an NMI is fatal. */
static void attack_icr(uint64_t x2apic)
{
	smp_begin(ap_listens);
	if (x2apic)
		lapic_x2apic();
	sti();
	while (for_ms(STORM_MS)) {
		uint32_t icr = random32() & 0xcffff, dest = random32() % 3;
		unsigned vector;

		if ((icr >> 8 & 7) == 5)
			continue;
		if ((icr & 0xff) < 32 && (icr >> 8 & 7) < 2)
			continue; /* an exception's vector is legal from 16 on, and would be one */
		if ((icr >> 8 & 7) == 6)
			icr = (icr & ~0xffu) | TRAMPOLINE >> 12;
		vector = try_call(do_send, &(struct message){dest, icr}, NULL);
		check("ICR", vector == NO_FAULT || (x2apic && vector == VECTOR_GP), icr);
	}
	cli();
	stop = true;
}

/* --- INIT in every state ----------------------------------------------------------------------------------------- */

static void ap_exits(void)
{
	for (;;)
		cpuid(0, 0);
}
static void ap_halts(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}
static void ap_halts_open(void)
{
	lapic_enable();
	for (;;)
		__asm__ volatile("sti; hlt");
}
static void ap_spins(void)
{
	for (;;)
		pause();
}
static void ap_touches_apic(void)
{
	for (;;)
		(void)lapic_read(LAPIC_TIMER_CURRENT);
}
static void ap_writes_screen(void)
{
	for (unsigned i = 0;; i++)
		*(volatile uint16_t *)(0xb8000ull + i % 4000 / 2 * 2) = 0x0720; /* blank: nothing to print */
}
static void on_nmi_forever(struct frame *frame)
{
	(void)frame;
	for (;;)
		pause();
}

/* INIT finds the other one halted, running, in the middle of exits, waiting for a SIPI, or with NMIs held. */
static void attack_init(uint64_t x2apic)
{
	static void (*const states[])(void) = {ap_exits, ap_halts,	  ap_halts_open,
					       ap_spins, ap_touches_apic, ap_writes_screen};

	smp_prepare(ap_spins);
	if (x2apic)
		lapic_x2apic();
	interrupt_set(VECTOR_NMI, on_nmi_forever);
	for (unsigned round = 0; round < START_ROUNDS; round++) {
		unsigned before = ap_starts;

		ap_work = states[round % 6];
		start_ap();
		for (unsigned waits = 0; ap_starts == before && waits < 2000000; waits++)
			pause();
		check("the processor started", ap_starts != before, round);
		delay(random32() % 3000);
		if (round % 3 == 1)
			send(1, ASSERT | DELIVER_NMI);
		if (round % 3 == 2)
			send(1, ASSERT | DELIVER_INIT);
		delay(random32() % 300);
		send(1, ASSERT | DELIVER_SIPI | TRAMPOLINE >> 12); /* ignored by one that runs */
	}
	send(1, ASSERT | DELIVER_INIT);
}

/* --- bad ends by the second processor ---------------------------------------------------------------------------- */

static void ap_sends_init(void)
{
	send(0, ASSERT | DELIVER_INIT);
	ap_spins();
}
static void ap_triple_faults(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) none = {0, 0};

	delay(1000);
	__asm__ volatile("lidt %0; int3" : : "m"(none));
}
static void ap_resets(void)
{
	delay(20000);
	out8(0xcf9, 6);
	ap_spins();
}

static void attack_init_first(uint64_t arg)
{
	(void)arg;
	smp_begin(ap_sends_init);
	ap_spins();
}
static void attack_ap_triple(uint64_t arg)
{
	(void)arg;
	smp_begin(ap_triple_faults);
	ap_touches_apic();
}
/* Without end: restarts by the second processor while the first is busy with a device. */
static void attack_ap_reset(uint64_t arg)
{
	(void)arg;
	smp_begin(ap_resets);
	ap_touches_apic();
}

static void ap_ends_soon(void)
{
	while (for_ms(LOOP_MS))
		pause();
	guest_exit(0);
}

static void attack_debug_loop(uint64_t arg)
{
	(void)arg;
	smp_begin(ap_ends_soon);
	debug_loop();
}

/* --- code that changes ------------------------------------------------------------------------------------------- */

/* Four instructions of three bytes that read, write and change the TPR at [RDI + 0x10]; ECX counts. */
static const uint8_t variants[][3] = {{0x8b, 0x47, 0x10}, {0x89, 0x47, 0x10}, {0x31, 0x47, 0x10}, {0x03, 0x47, 0x10}};

static void ap_patches(void)
{
	while (!stop) {
		const uint8_t *code = variants[random32() % 4];

		((volatile uint8_t *)code_page)[0] = code[0];
		((volatile uint8_t *)code_page)[1] = code[1];
		delay(random32() % 8);
	}
}

/* The second processor rewrites the instruction between its exit and its decoding. */
static void attack_patch(uint64_t arg)
{
	static const uint8_t code[] = {0x8b, 0x47, 0x10};
	struct code_registers regs = {0};

	(void)arg;
	run_code(code, sizeof(code), &(struct code_registers){.rdi = 0xfee00070}, NULL);
	smp_begin(ap_patches);
	while (for_ms(STORM_MS)) {
		unsigned vector;

		regs.rdi = 0xfee00070;
		vector = try_call(call_code, &regs, NULL);
		check("no exception", vector == NO_FAULT, vector);
	}
	stop = true;
}

/* --- APIC modes under fire --------------------------------------------------------------------------------------- */

static void ap_changes_modes(void)
{
	uint64_t xapic = rdmsr(MSR_APIC_BASE);

	while (!stop) {
		wrmsr(MSR_APIC_BASE, xapic & ~(uint64_t)APIC_BASE_EN);
		delay(random32() % 50);
		wrmsr(MSR_APIC_BASE, xapic);
		lapic_enable();
		__asm__ volatile("sti; nop; nop; cli");
		if (random32() & 1)
			lapic_x2apic();
		lapic_write(LAPIC_TPR, 0);
		__asm__ volatile("sti; nop; nop; cli");
	}
}

static void attack_modes(uint64_t arg)
{
	(void)arg;
	smp_begin(ap_changes_modes);
	sti();
	for (unsigned i = 0; for_ms(STORM_MS); i++)
		send(1, ASSERT | (i % 7 ? ALL_BUT_SELF : i % 3 ? LOGICAL : DELIVER_NMI) | VECTOR_IPI);
	cli();
	stop = true;
}

const struct attack attacks_smp[] = {
    {"ipi", attack_ipi},
    {"nmi-storm", attack_nmi_storm},
    {"icr", attack_icr},
    {"init", attack_init},
    {"init-first", attack_init_first},
    {"ap-triple", attack_ap_triple},
    {"ap-reset", attack_ap_reset},
    {"debug-loop", attack_debug_loop},
    {"patch", attack_patch},
    {"modes", attack_modes},
    {0},
};
