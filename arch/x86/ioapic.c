/* The host's I/O APICs and 8259 pair: ioapic.h. Only hv/main.c calls this, from one CPU at a time: no lock. */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/ioapic.h"
#include "arch/x86/acpi.h"
#include "arch/x86/insn.h"
#include "arch/x86/paging.h"
#include "arch/x86/trap.h"

#define IOAPIC_MAX     8
#define IOAPIC_DEFAULT 0xfec00000ULL /* where every PC has its first one */
#define IOAPIC_SIZE    0x20
#define PINS_MAX       240

/* 82093AA 3.1, 3.2: an index and a data window; in 32-bit words */
#define IOREGSEL (0x00 / 4)
#define IOWIN	 (0x10 / 4)

#define REG_VERSION    0x01
#define REG_ENTRY(pin) (0x10 + 2 * (pin)) /* low half; the high half follows */
#define ENTRY_LOW      BIT(13)
#define ENTRY_LEVEL    BIT(15)
#define ENTRY_MASKED   BIT(16)

#define PIC1 0x20
#define PIC2 0xa0

static RO_AFTER_INIT struct ioapic {
	volatile uint32_t *regs;
	uint32_t gsi_base;
	unsigned pins;
} ioapics[IOAPIC_MAX];
static RO_AFTER_INIT unsigned count;

static uint32_t ioapic_read(const struct ioapic *io, unsigned reg)
{
	io->regs[IOREGSEL] = reg;
	return io->regs[IOWIN];
}

static void ioapic_write(const struct ioapic *io, unsigned reg, uint32_t value)
{
	io->regs[IOREGSEL] = reg;
	io->regs[IOWIN] = value;
}

/* Maps one and masks it. What does not look like an I/O APIC is left out: an empty bus reads all ones. */
static bool ioapic_add(uint64_t hpa, uint32_t gsi_base)
{
	struct ioapic *io = &ioapics[count];
	uint32_t version;

	if (count == IOAPIC_MAX)
		return false;
	io->regs = mmio_map(HPA(hpa), IOAPIC_SIZE, MAP_UC);
	if (!io->regs)
		return false;
	version = ioapic_read(io, REG_VERSION);
	io->pins = (version >> 16 & 0xff) + 1;
	io->gsi_base = gsi_base;
	if (version == ~0u || !(version & 0xff) || io->pins < 16 || io->pins > PINS_MAX)
		return false;
	for (unsigned pin = 0; pin < io->pins; pin++)
		ioapic_write(io, REG_ENTRY(pin), ENTRY_MASKED);
	count++;
	return true;
}

/*
 * Both 8259s: ICW1 to ICW4 (data sheet), which moves their vectors away from the exceptions', then all lines masked.
 * Port 0x80 gives an old chip time between writes.
 */
static void pic_mask_all(void)
{
	static const uint8_t init[][2] = {{0x11, 0x11}, {VECTOR_LEGACY, VECTOR_LEGACY + 8}, {1 << 2, 2}, {1, 1}};

	for (unsigned i = 0; i < ARRAY_SIZE(init); i++) {
		outb(PIC1 + (i ? 1 : 0), init[i][0]);
		outb(0x80, 0);
		outb(PIC2 + (i ? 1 : 0), init[i][1]);
		outb(0x80, 0);
	}
	outb(PIC1 + 1, 0xff);
	outb(PIC2 + 1, 0xff);
}

int ioapic_init(void)
{
	struct acpi_ioapic found;
	unsigned n;

	pic_mask_all();
	for (n = 0; n < IOAPIC_MAX && acpi_ioapic(n, &found); n++)
		ioapic_add(found.hpa, found.gsi_base);
	if (n == 0)
		ioapic_add(IOAPIC_DEFAULT, 0);
	return count ? 0 : -E_NOENT;
}

static const struct ioapic *ioapic_of(uint32_t gsi)
{
	for (unsigned i = 0; i < count; i++)
		if (gsi >= ioapics[i].gsi_base && gsi - ioapics[i].gsi_base < ioapics[i].pins)
			return &ioapics[i];
	return NULL;
}

/* The high half first, while the entry is still masked. Fixed delivery, physical destination. */
int ioapic_route_isa(unsigned irq, uint8_t vector, uint32_t apic_id)
{
	struct acpi_override o;
	const struct ioapic *io;
	uint32_t entry = vector;
	unsigned pin;

	acpi_isa_override(irq, &o);
	io = ioapic_of(o.gsi);
	if (!io || apic_id > 0xff)
		return -E_NOENT;
	pin = o.gsi - io->gsi_base;
	entry |= o.active_low ? ENTRY_LOW : 0;
	entry |= o.level ? ENTRY_LEVEL : 0;
	ioapic_write(io, REG_ENTRY(pin), ENTRY_MASKED);
	ioapic_write(io, REG_ENTRY(pin) + 1, apic_id << 24);
	ioapic_write(io, REG_ENTRY(pin), entry);
	return 0;
}
