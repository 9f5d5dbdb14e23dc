/*
 * Attacks by ports and interrupts: sweeps of the port space, string I/O to bad addresses, floods of output, resets,
 * interrupts at rates that leave no time for anything else, NMIs whose handler never returns.
 */
/* SPDX-License-Identifier: MIT */
#include "tests/guest/hostile/hostile.h"

#define PORT_DEBUG     0xe9
#define PORT_EXIT      0xf4
#define PORT_RESET     0xcf9
#define COM1	       0x3f8
#define VECTOR_STORM   0x50
#define VECTOR_NOTHING 0x51
#define UNUSED_PORT    0x406
#define ICR_NMI	       (4u << 8)
#define PM1_EVENT      0x600
#define PM1_CONTROL    0x604
#define SLEEP_ENABLE   0x2000u
#define POWER_OFF      (SLEEP_ENABLE | 5u << 10)
#define STORM_MS       1200
#define FLOOD_MS       4000

static void in16(uint16_t port)
{
	uint16_t v;

	__asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
}

/* --- ports ------------------------------------------------------------------------------------------------------- */

static void attack_in(uint64_t arg)
{
	(void)arg;
	for (unsigned port = 0; port < 0x10000; port++) {
		in8((uint16_t)port);
		if (port < 0x1000 || port % 16 == 0 || port > 0xfff0) {
			in16((uint16_t)port);
			in32((uint16_t)port);
		}
	}
}

/* First and last port of what ends this VM or prints. */
static const uint16_t precious[][2] = {{0x60, 0x64},  {0x92, 0x92}, {PORT_DEBUG, PORT_DEBUG},
				       {0xf4, 0xf7},  {COM1, COM1}, {PM1_CONTROL, PM1_CONTROL + 1},
				       {0xcf8, 0xcff}};

static bool is_precious(unsigned port, unsigned width)
{
	for (unsigned i = 0; i < sizeof(precious) / sizeof(precious[0]); i++)
		if (port <= precious[i][1] && port + width > precious[i][0])
			return true;
	return false;
}

static void abuse_port(unsigned port)
{
	if (!is_precious(port, 1))
		out8((uint16_t)port, (uint8_t)random32());
	if (!is_precious(port, 2))
		out16((uint16_t)port, (uint16_t)random32());
	if (!is_precious(port, 4))
		out32((uint16_t)port, random32());
}

static void attack_out(uint64_t arg)
{
	(void)arg;
	for (unsigned port = 0; port < 0x1000; port++)
		abuse_port(port);
	for (unsigned port = 0x1000; port < 0x10000; port += 13)
		abuse_port(port);
	for (unsigned port = 0xfff0; port < 0x10000; port++)
		abuse_port(port);
	for (unsigned i = 0; i < 20000; i++) /* chips in states that only nonsense reaches */
		abuse_port(random32() & 0x3ff);
}

static void do_ins(void *p)
{
	uint64_t count = 1ull << 40;

	__asm__ volatile("rep insl" : "+D"(p), "+c"(count) : "d"(UNUSED_PORT) : "memory");
}
static void do_outs(void *p)
{
	uint64_t count = 1ull << 40;

	__asm__ volatile("rep outsl" : "+S"(p), "+c"(count) : "d"(UNUSED_PORT) : "memory");
}
static void do_outs_backwards(void *p)
{
	uint64_t count = 1ull << 40;

	__asm__ volatile("std; rep outsw; cld" : "+S"(p), "+c"(count) : "d"(UNUSED_PORT) : "memory");
}

/* Counts without end, into pages that are not there: #PF with the right CR2, or #GP where nothing is canonical. */
static void attack_string_io(uint64_t arg)
{
	static uint8_t area[8192] __attribute__((aligned(4096)));
	void *window = map_window((uint64_t)area, 1); /* the pages beside it are absent */
	struct fault fault;
	unsigned vector;

	(void)arg;
	for (unsigned i = 0; i < 20; i++) {
		vector = try_call(i & 1 ? do_outs : do_ins, (uint8_t *)window + 4000 + i, &fault);
		check("string I/O into an absent page", vector == VECTOR_PF, vector);
		check("CR2", fault.cr2 == (uint64_t)window + 4096, fault.cr2);
	}
	vector = try_call(do_outs_backwards, (uint8_t *)window + 100, &fault);
	check("backwards", vector == VECTOR_PF && fault.cr2 >> 12 == ((uint64_t)window - 1) >> 12, fault.cr2);
	vector = try_call(do_ins, (void *)(1ull << 62), &fault);
	check("INS to no canonical address", vector == VECTOR_GP, vector);
	vector = try_call(do_outs, (void *)0x00007ffffffffffc, &fault);
	check("OUTS at the edge of the canonical space", vector == VECTOR_PF || vector == VECTOR_GP, vector);
}

/* --- chips ------------------------------------------------------------------------------------------------------- */

/* Sleep states that the DSDT does not name, status bits, then the one that ends. */
static void attack_power(uint64_t arg)
{
	(void)arg;
	for (unsigned i = 0; i < 20000; i++) {
		uint16_t value = (uint16_t)random32();

		if ((value & 0x1c00) == (5u << 10))
			value &= (uint16_t)~SLEEP_ENABLE;
		out16(PM1_CONTROL, value);
		out32(PM1_EVENT, random32());
		in32(PM1_EVENT + 8);
	}
	out16(PM1_CONTROL, POWER_OFF);
	for (;;)
		__asm__ volatile("cli; hlt");
}

/* Without end: the next start does the same. The argument says by what. */
static void attack_reset(uint64_t how)
{
	if (how == 1) {
		out8(0x64, 0xfe); /* i8042: pulse the reset line */
	} else if (how == 2) {
		out8(0x92, in8(0x92) | 1);
	} else {
		out8(PORT_RESET, 2);
		out8(PORT_RESET, 6);
	}
	for (;;)
		pause();
}

/* Commands and data for the keyboard controller, all but those that reset. */
static void attack_keyboard(uint64_t arg)
{
	(void)arg;
	for (unsigned i = 0; i < 20000; i++) {
		uint8_t value = (uint8_t)random32();

		if (i & 1)
			out8(0x60, value | 3); /* as an output port: no reset, A20 on */
		else if (value < 0xf0)
			out8(0x64, value);
		in8(0x60);
		in8(0x64);
	}
}

static void attack_flood(uint64_t debug_port)
{
	while (for_ms(FLOOD_MS))
		for (char c = ' '; c < 0x7f; c++)
			out8(debug_port ? PORT_DEBUG : COM1, (uint8_t)(c == '~' ? '\n' : c));
}

/* --- interrupts -------------------------------------------------------------------------------------------------- */

static volatile unsigned count;

static void on_pic(struct frame *frame)
{
	count++;
	pic_eoi((unsigned)frame->vector - PIC_VECTOR);
}

static void on_apic(struct frame *frame)
{
	(void)frame;
	count++;
	lapic_write(0xb0, 0);
}

static void idle_for(unsigned ms)
{
	sti();
	while (for_ms(ms))
		pause();
	cli();
}

/* The 8254 as fast as it goes. */
static void attack_pit(uint64_t arg)
{
	(void)arg;
	pic_init();
	interrupt_set(PIC_VECTOR, on_pic);
	out8(0x43, 0x34);
	out8(0x40, 2);
	out8(0x40, 0);
	pic_set_mask(0xfffe);
	idle_for(STORM_MS);
	check("interrupts came", count > 100, count);
}

/* The local APIC's timer with a period of one tick; then deadlines that have passed. */
static void attack_timer(uint64_t x2apic)
{
	if (x2apic)
		lapic_x2apic();
	lapic_enable();
	interrupt_set(VECTOR_STORM, on_apic);
	lapic_write(LAPIC_TIMER_DIVIDE, 0xb);
	lapic_write(LAPIC_LVT_TIMER, LAPIC_PERIODIC | VECTOR_STORM);
	lapic_write(LAPIC_TIMER_INITIAL, 1);
	idle_for(STORM_MS);
	check("interrupts came", count > 100, count);
	lapic_write(LAPIC_LVT_TIMER, LAPIC_DEADLINE | VECTOR_STORM);
	count = 0;
	for (unsigned i = 0; i < 5000; i++) {
		wrmsr(0x6e0, i & 1 ? 1 : rdtsc() + 50);
		__asm__ volatile("sti; nop; cli");
	}
	check("deadlines came", count > 1000, count);
}

/* Every vector to itself, those that are not allowed included. */
static void attack_self_ipi(uint64_t x2apic)
{
	if (x2apic)
		lapic_x2apic();
	lapic_enable();
	for (unsigned v = 32; v < 256; v++)
		interrupt_set(v, on_apic);
	sti();
	for (unsigned i = 0; i < 20000; i++) {
		if ((i & 0xff) >= 16 && (i & 0xff) < 32)
			continue; /* allowed, but the stubs expect an error code behind some of them */
		if (x2apic && i & 1)
			wrmsr(0x83f, i & 0xff);
		else
			lapic_send_self(i & 0xff);
	}
	cli();
	check("interrupts came", count > 15000, count);
}

/* Each EOI brings the next interrupt before one more instruction of what was interrupted: the handler has to stop it.
 */
static void on_level(struct frame *frame)
{
	on_apic(frame);
	if (!for_ms(STORM_MS))
		frame->rflags &= ~0x200ull;
}

/* A level that nobody lowers: UART's transmitter and RTC through the IOAPIC, each EOI brings the next interrupt. */
static void attack_level(uint64_t arg)
{
	(void)arg;
	pic_init();
	lapic_enable();
	interrupt_set(VECTOR_STORM, on_level);
	interrupt_set(VECTOR_STORM + 1, on_level);
	ioapic_route(4, 0x8000 | VECTOR_STORM);
	ioapic_route(8, 0x8000 | (VECTOR_STORM + 1));
	out8(COM1 + 1, 2); /* transmitter empty */
	out8(0x70, 0x0a);
	out8(0x71, 0x21); /* 32768 Hz base, 32 kHz rate */
	out8(0x70, 0x0b);
	out8(0x71, 0x72); /* periodic, alarm and update; register C is never read */
	idle_for(STORM_MS);
	check("interrupts came", count > 100, count);
}

/* --- NMI --------------------------------------------------------------------------------------------------------- */

static void send_nmi(void)
{
	if (rdmsr(MSR_APIC_BASE) & APIC_BASE_EXTD) {
		wrmsr(0x830, ICR_NMI);
		return;
	}
	lapic_write(LAPIC_ICR_HIGH, 0);
	lapic_write(LAPIC_ICR, ICR_NMI); /* to APIC ID 0: the shorthand "self" knows fixed interrupts only */
}

/*
 * An IRET, which ends NMI blocking. No guest should need it outside of a handler, but in Bochs the blocking of one VM
 * is still there when the next one is entered, whatever its VMCS says, and stays until that one executes an IRET.
 */
static void return_from_interrupt(void)
{
	__asm__ volatile("int %0" : : "i"(VECTOR_NOTHING) : "memory");
}

static void on_nothing(struct frame *frame)
{
	(void)frame;
}

static void on_nmi(struct frame *frame)
{
	(void)frame;
	count++;
}

static void on_nmi_again(struct frame *frame)
{
	(void)frame;
	count++;
	if (for_ms(STORM_MS))
		send_nmi();
}

/* The handler does not come back: it halts, spins, sends itself more, and ends the VM. */
static void on_nmi_forever(struct frame *frame)
{
	(void)frame;
	if (count++)
		check("an NMI inside the handler", false, count);
	for (unsigned i = 0; i < 1000; i++) {
		send_nmi();
		cpuid(0, 0);
	}
	guest_exit(count == 1 ? 0 : count);
}

static void attack_nmi(uint64_t how)
{
	if (how == 2)
		lapic_x2apic();
	lapic_enable();
	interrupt_set(VECTOR_NOTHING, on_nothing);
	interrupt_set(VECTOR_NMI, on_nmi);
	for (unsigned i = 0; i < 5000; i++) {
		send_nmi();
		return_from_interrupt();
	}
	check("NMIs came", count > 1000, count);
	interrupt_set(VECTOR_NMI, on_nmi_again);
	send_nmi();
	while (for_ms(STORM_MS))
		return_from_interrupt();
	if (how != 1)
		return;
	count = 0;
	interrupt_set(VECTOR_NMI, on_nmi_forever);
	send_nmi();
	return_from_interrupt();
}

/* HLT inside of an NMI handler, interrupts off: nothing can wake it, NMIs are held. */
static void on_nmi_halt(struct frame *frame)
{
	(void)frame;
	send_nmi();
	for (;;)
		__asm__ volatile("cli; hlt");
}

static void attack_nmi_halt(uint64_t arg)
{
	(void)arg;
	lapic_enable();
	interrupt_set(VECTOR_NMI, on_nmi_halt);
	send_nmi();
	pause();
}

/* INIT to itself: a bootstrap processor starts at the reset vector, where this PC has no memory. */
static void attack_init_self(uint64_t arg)
{
	(void)arg;
	lapic_enable();
	lapic_write(LAPIC_ICR_HIGH, 0);
	lapic_write(LAPIC_ICR, 5u << 8 | 1u << 14);
	for (;;)
		pause();
}

/* No attack: a line four times a second, by which the test reads Vireo's clock. */
static void attack_tick(uint64_t arg)
{
	(void)arg;
	pic_init();
	interrupt_set(PIC_VECTOR, on_pic);
	pic_set_mask(0xfffe);
	for (;;) {
		unsigned before = count;

		for (; count < before + 5; sti_hlt_cli())
			pit_one_shot(50000);
		print("tick\n");
	}
}

const struct attack attacks_io[] = {
    {"tick", attack_tick},
    {"in", attack_in},
    {"out", attack_out},
    {"string-io", attack_string_io},
    {"power", attack_power},
    {"reset", attack_reset},
    {"keyboard", attack_keyboard},
    {"flood", attack_flood},
    {"pit", attack_pit},
    {"timer", attack_timer},
    {"self-ipi", attack_self_ipi},
    {"level", attack_level},
    {"nmi", attack_nmi},
    {"nmi-halt", attack_nmi_halt},
    {"init-self", attack_init_self},
    {0},
};
