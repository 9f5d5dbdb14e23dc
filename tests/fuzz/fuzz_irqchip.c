/*
 * Random port and register accesses, line changes, acknowledgements and EOIs on the 8259 pair and the IOAPIC. The page
 * that the guest reads shows the IOAPIC's selected register at any time.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/pic.c hv/dev/vioapic.c hv/bus.c */
/* flags: -fno-sanitize-coverage=trace-cmp */
#include <stdlib.h>

#include "hv/dev/pic.h"
#include "hv/dev/vioapic.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"

static struct vpic pic;
static struct vioapic io;
static struct apic_bus bus;
static uint32_t page[VIOAPIC_SIZE / 4];
static bool intr;
static unsigned depth;

static void on_intr(void *ctx, bool level)
{
	(void)ctx;
	REQUIRE(level != intr);
	intr = level;
}

/* Vector 0xee is nobody's. */
int apic_bus_deliver(struct apic_bus *b, uint8_t dest, bool logical, enum apic_delivery mode, uint8_t vector,
		     bool level)
{
	(void)b;
	(void)dest;
	(void)logical;
	(void)mode;
	(void)level;
	REQUIRE(++depth <= 2 * VIOAPIC_PINS);
	return vector == 0xee ? -E_NOENT : 0;
}

static void check_pic(void)
{
	REQUIRE(pic.intr == intr);
	for (unsigned i = 0; i < 2; i++) {
		REQUIRE(pic.chip[i].bottom < 8);
		REQUIRE(!(pic.chip[i].base & 7));
	}
	REQUIRE(!(pic.chip[0].elcr & 7) && !(pic.chip[1].elcr & 0x21));
}

static void check_ioapic(void)
{
	for (unsigned pin = 0; pin < VIOAPIC_PINS; pin++) {
		uint64_t entry = io.entry[pin];
		bool high = io.line >> pin & 1, waiting = io.remote_irr >> pin & 1, level = entry & 0x8000;

		REQUIRE(!waiting || level);
		if (level && high && !(entry & 0x10000) && (uint8_t)entry != 0xee)
			REQUIRE(waiting);
	}
	REQUIRE(!(io.line >> VIOAPIC_PINS) && !(io.remote_irr >> VIOAPIC_PINS));
}

static void check_page(void)
{
	unsigned pin = (io.select - 0x10u) / 2;
	uint64_t value = io.select == 1 ? 0x170020 : io.select == 0 || io.select == 2 ? (uint32_t)io.id << 24 : 0;

	if (pin < VIOAPIC_PINS)
		value = (io.entry[pin] | (io.remote_irr >> pin & 1) << 14) >> (io.select & 1 ? 32 : 0);
	REQUIRE(page[0] == io.select);
	REQUIRE(page[4] == (uint32_t)value);
}

/* A raised INTR leads to a real vector of one chip, in service unless that chip ends it itself. */
static void acknowledge(void)
{
	bool was = intr;
	int vector = vpic_acknowledge(&pic);
	unsigned n = (unsigned)vector & 7;

	REQUIRE(vector >= 0 && vector <= 255);
	REQUIRE((vector & 0xf8) == pic.chip[0].base || (vector & 0xf8) == pic.chip[1].base);
	if (!was)
		return;
	REQUIRE(((vector & 0xf8) == pic.chip[0].base && (pic.chip[0].auto_eoi || pic.chip[0].isr >> n & 1)) ||
		((vector & 0xf8) == pic.chip[1].base && (pic.chip[1].auto_eoi || pic.chip[1].isr >> n & 1)));
}

static void step(void)
{
	static const uint16_t ports[] = {0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1};
	uint8_t what = (uint8_t)next(1);
	uint16_t port = ports[what / 8U % ARRAY_SIZE(ports)];
	unsigned size = port & 1 ? 1 : 1U + (what >> 7);

	depth = 0;
	switch (what % 8) {
	case 0:
		vpic_write(&pic, port, size, next(size));
		break;
	case 1:
		(void)vpic_read(&pic, port, size);
		break;
	case 2:
		vpic_set_line(&pic, what >> 3 & 15, what >> 7);
		break;
	case 3:
		acknowledge();
		break;
	case 4:
		vioapic_write(&io, VIOAPIC_BASE, 1, next(1) & 0x3f);
		vioapic_write(&io, VIOAPIC_BASE + 0x10, 4, next(4));
		break;
	case 5:
		vioapic_set_line(&io, what >> 3 & 31, next(1) & 1);
		break;
	case 6:
		vioapic_eoi(&io, (uint8_t)next(1));
		break;
	default:
		if (what & 8)
			vioapic_write(&io, VIOAPIC_BASE + next(1), 1U << (what >> 4 & 3), next(8));
		else
			(void)vioapic_read(&io, VIOAPIC_BASE + next(1), 1U << (what >> 4 & 3));
		break;
	}
	check_pic();
	check_ioapic();
	check_page();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	input_begin(data, size);
	intr = false;
	vpic_init(&pic, on_intr, NULL);
	vioapic_init(&io, &bus, page, 0);
	for (unsigned i = 0; i < 2; i++) {
		static const uint8_t icw[2][4] = {{0x11, 0x20, 4, 1}, {0x11, 0x28, 2, 1}};
		uint64_t port = i ? 0xa0 : 0x20;
		vpic_write(&pic, port, 1, icw[i][0]);
		for (unsigned n = 1; n < 4; n++)
			vpic_write(&pic, port + 1, 1, icw[i][n]);
	}
	while (left)
		step();
	return 0;
}
