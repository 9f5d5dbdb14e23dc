/*
 * Lesson 4: interrupts. The INT instruction, the 8259 and the 8254, what masks do, the shadow of STI, waking from HLT,
 * then the same timer through IOAPIC and local APIC, priorities, and an NMI to oneself.
 * SDM Vol. 3A 6.8 (enabling), chapter 11 (APIC); 8259A data sheet.
 */
/* SPDX-License-Identifier: MIT */
#include "guests/lib/pc.h"

#define VECTOR_SOFTWARE 0x80
#define VECTOR_IOAPIC	0x41
#define VECTOR_LOW	0x50
#define VECTOR_HIGH	0x90
#define PIT_PIN		2 /* where the IOAPIC has IRQ 0 */

static volatile unsigned count, order_count;
static volatile uint64_t last_rip;
static volatile uint64_t order[4];

static void on_software(struct frame *f)
{
	count++;
	last_rip = f->rip;
}

static void on_pic(struct frame *f)
{
	count++;
	last_rip = f->rip;
	pic_eoi((unsigned)f->vector - PIC_VECTOR);
}

static void on_apic(struct frame *f)
{
	count++;
	last_rip = f->rip;
	if (order_count < 4)
		order[order_count++] = f->vector;
	lapic_write(LAPIC_EOI, 0);
}

static void test_software(void)
{
	uint64_t after;

	interrupt_set(VECTOR_SOFTWARE, on_software);
	__asm__ volatile("lea 1f(%%rip), %0; int $0x80; 1:" : "=r"(after) : : "memory");
	expect_equal("INT 0x80 was handled, times", count, 1);
	expect_equal("and came back to the next instruction", last_rip, after);
}

static void test_pic(void)
{
	print("8259 and 8254, 1000 Hz\n");
	pic_init();
	interrupt_set(PIC_VECTOR, on_pic);
	pit_periodic(1000);
	count = 0;
	sti();
	wait_ms(10);
	expect_equal("all lines masked: interrupts in 10 ms", count, 0);
	pic_set_mask(0xfffe);
	expect(wait_for(&count, 20, 500), "IRQ 0 unmasked: 20 interrupts come");
	pic_set_mask(0xffff);
	count = 0;
	wait_ms(10);
	expect_equal("masked again: interrupts in 10 ms", count, 0);
	expect(pic_irr() & 1, "the masked request waits in IRR");
	pic_set_mask(0xfffe);
	expect(wait_for(&count, 1, 10), "and comes when the mask goes");
	cli();
	count = 0;
	wait_ms(10);
	expect_equal("IF clear: interrupts in 10 ms", count, 0);
	sti();
	expect(wait_for(&count, 1, 10), "IF set: the request that waited comes");
	cli();
	pic_set_mask(0xffff);
}

/* A request that is waiting while IF is clear. */
static void raise_pending(void)
{
	cli();
	pic_init();
	pit_one_shot(100);
	wait_ms(1);
	pic_set_mask(0xfffe);
	count = 0;
}

static void test_shadow(void)
{
	uint64_t after;

	print("STI and HLT\n");
	raise_pending();
	__asm__ volatile("lea 1f(%%rip), %0; sti; nop; 1: nop; nop; cli" : "=r"(after) : : "memory");
	expect_equal("interrupts after STI", count, 1);
	expect_equal("STI's shadow: one more instruction ran before", last_rip, after);
	raise_pending();
	__asm__ volatile("sti; cli; nop" : : : "memory");
	expect_equal("STI, CLI: no interrupt between them", count, 0);
	__asm__ volatile("lea 1f(%%rip), %0; sti; hlt; 1: cli" : "=r"(after) : : "memory");
	expect_equal("STI, HLT with a request waiting: it wakes HLT", count, 1);
	expect_equal("and returns behind HLT", last_rip, after);
	pic_set_mask(0xffff);
	pit_one_shot(5000);
	pic_init();
	pic_set_mask(0xfffe);
	count = 0;
	__asm__ volatile("lea 1f(%%rip), %0; sti; hlt; 1: cli" : "=r"(after) : : "memory");
	expect_equal("HLT waits for the interrupt to come", count, 1);
	expect_equal("and returns behind HLT", last_rip, after);
	pic_set_mask(0xffff);
}

static void test_ioapic(void)
{
	print("IOAPIC and local APIC\n");
	lapic_enable();
	interrupt_set(VECTOR_IOAPIC, on_apic);
	expect_between("IOAPIC: last pin", ioapic_read(1) >> 16 & 0xff, 23, 239);
	pit_periodic(1000);
	ioapic_route(PIT_PIN, VECTOR_IOAPIC);
	count = 0;
	sti();
	expect(wait_for(&count, 10, 500), "10 interrupts come through pin 2");
	ioapic_route(PIT_PIN, LAPIC_MASKED | VECTOR_IOAPIC);
	wait_ms(2);
	count = 0;
	wait_ms(10);
	expect_equal("pin masked: interrupts in 10 ms", count, 0);
	cli();
}

static void test_priority(void)
{
	print("priorities\n");
	interrupt_set(VECTOR_LOW, on_apic);
	interrupt_set(VECTOR_HIGH, on_apic);
	order_count = count = 0;
	lapic_send_self(VECTOR_LOW);
	lapic_send_self(VECTOR_HIGH);
	sti();
	wait_for(&count, 2, 10);
	cli();
	expect_equal("sent low, then high: first comes", order[0], VECTOR_HIGH);
	expect_equal("second comes", order[1], VECTOR_LOW);
	count = 0;
	write_cr8(VECTOR_LOW >> 4);
	expect_equal("CR8 is the task priority register's upper half", lapic_read(LAPIC_TPR), VECTOR_LOW & 0xf0);
	sti();
	lapic_send_self(VECTOR_LOW);
	wait_ms(1);
	expect_equal("task priority holds its own class back", count, 0);
	lapic_send_self(VECTOR_HIGH);
	expect(wait_for(&count, 1, 10), "but not a higher one");
	write_cr8(0);
	expect(wait_for(&count, 2, 10), "priority 0 lets the rest in");
	cli();
}

static void test_nmi(void)
{
	interrupt_set(VECTOR_NMI, on_software);
	count = 0;
	lapic_write(LAPIC_ICR_HIGH, lapic_read(LAPIC_ID) & 0xff000000);
	lapic_write(LAPIC_ICR, 4 << 8 | 1 << 14); /* delivery mode NMI, physical destination */
	wait_for(&count, 1, 10);
	expect_equal("NMI to oneself comes with IF clear, times", count, 1);
}

void guest_main(const struct multiboot_info *info)
{
	(void)info;
	test_software();
	test_pic();
	test_shadow();
	test_ioapic();
	test_priority();
	test_nmi();
	guest_finish();
}
