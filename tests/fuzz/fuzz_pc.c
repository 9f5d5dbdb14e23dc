/*
 * Fuzzer of all chips of the PC together: port accesses of every width, PCI's memory, time that passes, resets, typed
 * and received bytes, writes to VGA memory. The chips must stay inside their structures and must not flood: a bounded
 * number of timer callbacks for a bounded time.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/pit.c hv/dev/rtc.c hv/dev/vuart.c hv/dev/i8042.c hv/dev/vga.c hv/dev/acpi_pm.c hv/dev/debug_port.c */
/* links: hv/dev/pci_host.c hv/dev/pci.c hv/bus.c hv/timer.c hv/lib/heap.c */
/* flags: -fno-sanitize-coverage=trace-cmp */
#include <stdlib.h>
#include <string.h>

#include "hv/clock.h"
#include "hv/dev/acpi_pm.h"
#include "hv/dev/apic_bus.h"
#include "hv/dev/debug_port.h"
#include "hv/dev/i8042.h"
#include "hv/dev/pci_host.h"
#include "hv/dev/pit.h"
#include "hv/dev/rtc.h"
#include "hv/dev/vga.h"
#include "hv/dev/vuart.h"
#include "hv/lib/panic.h"
#include "hv/pc_map.h"
#include "tests/fuzz/fuzz.h"

#define HZ	 100000000ULL
#define STEP_MAX (HZ / 10)
#define RUNS_MAX 4000 /* a tenth of a second holds 1000 PIT and 820 RTC interrupts at most */

static uint64_t now;
static struct timer_queue queue;

struct timer_queue *timer_queue_here(void)
{
	return &queue;
}
static struct spinlock lock;
static struct bus pio, mmio;
static struct pit pit;
static struct rtc rtc;
static struct vuart uart;
static struct i8042 kbc;
static struct vga vga;
static struct acpi_pm pm;
static struct pci_host pci;
static struct debug_port dbg;
static uint8_t text[PC_VGA_TEXT_SIZE];

uint64_t clock_now(void)
{
	return now;
}
uint64_t clock_hz(void)
{
	return HZ;
}
_Noreturn void panic(const char *fmt, ...)
{
	(void)fmt;
	abort();
}

int apic_bus_deliver(struct apic_bus *bus, uint8_t dest, bool logical, enum apic_delivery mode, uint8_t vector,
		     bool level)
{
	(void)bus, (void)dest, (void)logical, (void)mode, (void)vector, (void)level;
	abort(); /* there is nobody who sends messages */
}

static void set_irq(void *ctx, unsigned line, bool level)
{
	(void)ctx, (void)line, (void)level;
}
static void request(void *ctx, enum platform_request what, uint32_t code)
{
	(void)ctx, (void)what, (void)code;
}

/* Reads all of it, so that a wrong length is seen. */
static void write_text(void *ctx, const uint8_t *bytes, size_t count)
{
	volatile uint8_t sum = 0;

	(void)ctx;
	for (size_t i = 0; i < count; i++)
		sum = (uint8_t)(sum + bytes[i]);
}

static void power_on(void)
{
	static const struct irq_line irq = {.set = set_irq};
	static const struct byte_sink sink = {.write = write_text};
	static const struct platform platform = {.request = request};
	struct pci_host_setup setup = {.pio = &pio, .mmio = &mmio, .platform = &platform, .intx = {irq, irq, irq, irq}};

	now = 1000 * HZ;
	memset(&pio, 0, sizeof(pio));
	memset(&mmio, 0, sizeof(mmio));
	memset(text, 0, sizeof(text));
	timer_queue_init(&queue, &(struct timer_owner){0});
	REQUIRE(!pit_init(&pit, &pio, irq, &queue, &lock));
	REQUIRE(!rtc_init(&rtc, &pio, irq, &queue, &lock, 1 << 28, 1700000000));
	REQUIRE(!vuart_init(&uart, &pio, PC_PORT_COM1, irq, sink));
	REQUIRE(!i8042_init(&kbc, &pio, irq, &platform));
	REQUIRE(!vga_init(&vga, &pio, text, sink));
	REQUIRE(!acpi_pm_init(&pm, &pio, irq, &queue, &lock, &platform));
	REQUIRE(!pci_host_init(&pci, &setup));
	REQUIRE(!debug_port_init(&dbg, &pio, sink, &platform));
}

static void pass(uint64_t ticks)
{
	uint64_t end = now + ticks;
	unsigned runs = 0;

	while (queue.next <= end) {
		if (queue.next > now)
			now = queue.next;
		timer_queue_run(&queue, now);
		REQUIRE(++runs <= RUNS_MAX);
	}
	now = end;
}

static void reset_all(void)
{
	pit_reset(&pit);
	rtc_reset(&rtc);
	vuart_reset(&uart);
	i8042_reset(&kbc);
	vga_reset(&vga);
	acpi_pm_reset(&pm);
	pci_host_reset(&pci);
	debug_port_reset(&dbg);
	REQUIRE(!queue.heap.count); /* a reset leaves no timer armed */
}

/* Port and value from five bytes; the range is picked by number, so that most accesses hit something. */
static void access_port(const uint8_t *op, bool write)
{
	const struct bus_range *r = &pio.range[op[0] % pio.count];
	unsigned size = 1u << (op[1] >> 6);
	uint64_t port = r->first + (op[1] & 0x3F) % r->count;
	uint64_t value = (uint64_t)op[2] | (uint64_t)op[3] << 8 | (uint64_t)op[4] << 16 | (uint64_t)op[2] << 24;

	if (size > 4 || size > r->first + r->count - port)
		size = 1;
	value &= BIT(size * 8) - 1;
	if (write)
		r->write(r->dev, port, size, value);
	else
		REQUIRE(r->read(r->dev, port, size) >> (size * 8) == 0); /* no wider than asked for */
}

/* PCI's window and configuration space: place, width and direction from the same bytes, the low slots mostly. */
static void access_memory(const uint8_t *op)
{
	const struct bus_range *r = &mmio.range[op[1] & 1];
	unsigned size = 1u << (op[1] >> 1 & 3);
	uint64_t ones = size < 8 ? BIT(size * 8) - 1 : UINT64_MAX;
	uint64_t at = ((uint64_t)op[2] | (uint64_t)op[3] << 8 | (uint64_t)(op[4] & op[1]) << 16) % (r->count - 7);

	if (op[1] & 8)
		r->write(r->dev, r->first + at, size, op[4] * 0x0101010101010101ULL & ones);
	else
		REQUIRE((r->read(r->dev, r->first + at, size) & ~ones) == 0); /* no wider than asked for */
}

static void step(const uint8_t *op)
{
	switch (op[0] >> 5) {
	case 0:
	case 1:
	case 2:
		access_port(op, true);
		return;
	case 3:
		access_port(op, false);
		return;
	case 4:
		pass(((uint64_t)op[1] << 16 | (uint64_t)op[2] << 8 | op[3]) % STEP_MAX);
		return;
	case 5:
		i8042_type(&kbc, op[1]);
		if (vuart_receive(&uart, op[2]))
			REQUIRE(uart.rx_count <= VUART_FIFO);
		return;
	case 6:
		text[(op[1] << 8 | op[2]) % sizeof(text)] = op[3];
		memset(text + op[4] * 80, op[3], 40);
		vga_refresh(&vga);
		return;
	default:
		if (op[0] & 16)
			access_memory(op);
		else if (op[1] < 16)
			reset_all();
		else if (op[1] < 32)
			acpi_pm_power_button(&pm);
		else if (op[1] < 48)
			pass((uint64_t)op[2] * 3600 * HZ % STEP_MAX);
		else
			now += op[1] * HZ; /* nobody ran the queue for a while */
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	power_on();
	for (size_t i = 0; i + 5 <= size; i += 5)
		step(data + i);
	reset_all();
	return 0;
}
