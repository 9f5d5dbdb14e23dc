/*
 * Lesson 12: an interrupt that waits while IF is clear goes on waiting, whatever else comes in. The second processor
 * goes on sending IPIs, each of which may stop the first one's guest mode; meanwhile the first has a vector of its own
 * pending with IF clear, once behind a self-IPI, once behind the EOI of a higher one. SDM Vol. 3A 6.8.1, 11.8.4.
 */
/* SPDX-License-Identifier: MIT */
#include "guests/lib/pc.h"
#include "guests/lib/smp.h"

#define VECTOR_NOISE 0x40
#define VECTOR_LOW   0x50
#define VECTOR_HIGH  0x90
#define RFLAGS_IF    0x200
#define RUNS	     1000
#define MASKED_TICKS 9000 /* with IF clear */
#define NOISE_TICKS  5000 /* from IPI to IPI: less, and nothing else gets done */

static bool x2apic;
static volatile bool over;
static volatile unsigned early, late, handled, noise;

/* Without PAUSE: many of those exit. */
static void spin(uint64_t ticks)
{
	uint64_t start = rdtsc();

	while (rdtsc() - start < ticks)
		;
}

/*
 * Where there is x2APIC by the MSRs that need no exit under APICv. Whoever asks lapic_write() for the mode exits, and
 * an entry with IF clear makes Bochs keep back what this is about.
 */
static void eoi(void)
{
	if (x2apic)
		wrmsr(0x800 + LAPIC_EOI / 16, 0);
	else
		lapic_write(LAPIC_EOI, 0);
}

static void send_self(unsigned vector)
{
	if (x2apic)
		wrmsr(0x800 + LAPIC_SELF_IPI / 16, vector);
	else
		lapic_send_self(vector);
}

static void on_noise(struct frame *f)
{
	early += !(f->rflags & RFLAGS_IF);
	noise++;
	eoi();
}

static void on_low(struct frame *f)
{
	early += !(f->rflags & RFLAGS_IF);
	handled++;
	eoi();
}

/* With its EOI done the lower vector could go, were it not for IF, which the gate has cleared. */
static void on_high(struct frame *f)
{
	on_low(f);
	spin(MASKED_TICKS);
}

static void send_noise(unsigned index)
{
	(void)index;
	while (!over) {
		smp_send(0, VECTOR_NOISE);
		spin(NOISE_TICKS);
	}
}

/* Sends itself the vectors with IF clear, stays so for a while, and lets them in. */
static void let_wait(unsigned first, unsigned second)
{
	unsigned expected = handled + 1 + (second != 0);

	cli();
	send_self(first);
	if (second)
		send_self(second);
	spin(MASKED_TICKS);
	sti();
	spin(100);
	late += handled != expected;
}

void guest_main(const struct multiboot_info *info)
{
	(void)info;
	pic_init();
	lapic_enable();
	x2apic = lapic_x2apic();
	interrupt_set(VECTOR_NOISE, on_noise);
	interrupt_set(VECTOR_LOW, on_low);
	interrupt_set(VECTOR_HIGH, on_high);
	if (!expect_equal("processors", smp_start(2, send_noise), 2))
		guest_finish();
	for (unsigned run = 0; run < RUNS; run++) {
		let_wait(VECTOR_LOW, 0);
		let_wait(VECTOR_LOW, VECTOR_HIGH);
	}
	over = true;
	expect(noise > RUNS / 10, "the other processor's IPIs come in between");
	expect_equal("interrupts with IF clear", early, 0);
	expect_equal("interrupts that had not come soon after IF was set", late, 0);
	guest_finish();
}
