/* Interrupt controllers and timers of the PC; see pc.h. */
/* SPDX-License-Identifier: MIT */
#include "guests/lib/pc.h"

#define IOAPIC_BASE 0xfec00000u

/* ICW1 to ICW4: edge-triggered, cascaded at line 2, 8086 mode, no automatic EOI. */
void pic_init(void)
{
	out8(0x20, 0x11);
	out8(0x21, PIC_VECTOR);
	out8(0x21, 4);
	out8(0x21, 1);
	out8(0xa0, 0x11);
	out8(0xa1, PIC_VECTOR + 8);
	out8(0xa1, 2);
	out8(0xa1, 1);
	pic_set_mask(0xffff);
}

void pic_set_mask(uint16_t mask)
{
	out8(0x21, (uint8_t)mask);
	out8(0xa1, (uint8_t)(mask >> 8));
}

void pic_eoi(unsigned irq)
{
	if (irq >= 8)
		out8(0xa0, 0x20);
	out8(0x20, 0x20);
}

uint8_t pic_irr(void)
{
	out8(0x20, 0x0a);
	return in8(0x20);
}

static void pit_set(uint8_t command, uint16_t port, uint32_t count)
{
	out8(0x43, command);
	out8(port, (uint8_t)count);
	out8(port, (uint8_t)(count >> 8));
}

void pit_periodic(unsigned hz)
{
	pit_set(0x34, 0x40, PIT_HZ / hz);
}

void pit_one_shot(unsigned us)
{
	pit_set(0x30, 0x40, (uint32_t)((uint64_t)us * PIT_HZ / 1000000));
}

uint16_t pit_count(void)
{
	uint8_t low;

	out8(0x43, 0x00); /* latch channel 0 */
	low = in8(0x40);
	return (uint16_t)(low | in8(0x40) << 8);
}

/* Port 0x61: bit 0 is channel 2's gate, bit 1 the loudspeaker, bit 5 the channel's output. */
static void countdown_start(unsigned ms)
{
	out8(0x61, in8(0x61) & 0xfc);
	pit_set(0xb0, 0x42, ms * PIT_HZ / 1000);
	out8(0x61, (in8(0x61) & 0xfc) | 1);
}

static bool countdown_over(void)
{
	return in8(0x61) & 0x20;
}

uint64_t wait_ms(unsigned ms)
{
	uint64_t start;

	countdown_start(ms);
	start = rdtsc();
	while (!countdown_over())
		pause();
	return rdtsc() - start;
}

bool wait_for(const volatile unsigned *counter, unsigned n, unsigned ms)
{
	for (; ms; ms -= 10) {
		countdown_start(10);
		while (!countdown_over())
			if (*counter >= n)
				return true;
	}
	return *counter >= n;
}

bool lapic_is_x2apic(void)
{
	return rdmsr(MSR_APIC_BASE) & APIC_BASE_EXTD;
}

uint32_t lapic_read(unsigned reg)
{
	if (lapic_is_x2apic())
		return (uint32_t)rdmsr(0x800 + reg / 16);
	return *(volatile uint32_t *)(uint64_t)(LAPIC_BASE + reg);
}

void lapic_write(unsigned reg, uint32_t value)
{
	if (lapic_is_x2apic())
		wrmsr(0x800 + reg / 16, value);
	else
		*(volatile uint32_t *)(uint64_t)(LAPIC_BASE + reg) = value;
}

void lapic_enable(void)
{
	lapic_write(LAPIC_SPURIOUS, 0x1ff);
	lapic_write(LAPIC_TPR, 0);
}

bool lapic_x2apic(void)
{
	if (!(cpuid(1, 0).ecx & 1u << 21))
		return false;
	wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_BASE_EXTD);
	return true;
}

void lapic_send_self(unsigned vector)
{
	lapic_write(LAPIC_ICR, ICR_SELF | vector);
}

uint32_t ioapic_read(unsigned reg)
{
	*(volatile uint32_t *)(uint64_t)IOAPIC_BASE = reg;
	return *(volatile uint32_t *)(uint64_t)(IOAPIC_BASE + 0x10);
}

void ioapic_write(unsigned reg, uint32_t value)
{
	*(volatile uint32_t *)(uint64_t)IOAPIC_BASE = reg;
	*(volatile uint32_t *)(uint64_t)(IOAPIC_BASE + 0x10) = value;
}

void ioapic_route(unsigned pin, uint32_t low)
{
	ioapic_write(0x10 + 2 * pin, LAPIC_MASKED);
	ioapic_write(0x11 + 2 * pin, 0);
	ioapic_write(0x10 + 2 * pin, low);
}
