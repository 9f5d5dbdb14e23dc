/*
 * The guest's IOAPIC. Called with the device lock held; see vioapic.h for why it is version 0x20. Polarity is kept for
 * reading back only: a line is "asserted" or not, whatever its voltage would be. Not here: ExtINT and SMI entries
 * (the 8259 is wired to LINT0 directly). Intel 82093AA data sheet ch. 3.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/dev/vioapic.h"
#include "hv/lib/string.h"

#define REG_SELECT 0x00
#define REG_WINDOW 0x10
#define REG_EOI	   0x40

#define INDEX_ID	  0
#define INDEX_VERSION	  1
#define INDEX_ARBITRATION 2
#define INDEX_TABLE	  0x10U /* unsigned: an index below it is far above the table */

#define VERSION_VALUE ((VIOAPIC_PINS - 1) << 16 | PC_IOAPIC_VERSION)

#define ENTRY_LOGICAL	 BIT(11)
#define ENTRY_REMOTE_IRR BIT(14)
#define ENTRY_LEVEL	 BIT(15)
#define ENTRY_MASKED	 BIT(16)
#define ENTRY_WRITABLE	 0xff0000000001afffULL

static bool is_level(uint64_t entry)
{
	return entry & ENTRY_LEVEL;
}

static uint64_t entry_value(const struct vioapic *io, unsigned pin)
{
	return io->entry[pin] | (io->remote_irr & 1U << pin ? ENTRY_REMOTE_IRR : 0);
}

static uint32_t read_indexed(const struct vioapic *io)
{
	unsigned pin = (io->select - INDEX_TABLE) / 2;

	switch (io->select) {
	case INDEX_ID:
	case INDEX_ARBITRATION:
		return (uint32_t)io->id << 24;
	case INDEX_VERSION:
		return VERSION_VALUE;
	default:
		if (pin >= VIOAPIC_PINS)
			return 0;
		return (uint32_t)(entry_value(io, pin) >> (io->select & 1 ? 32 : 0));
	}
}

/*
 * What the guest reads from now on. Its vCPUs may read meanwhile: each register is one store, and that one vCPU must
 * not select while another reads is its driver's business, as on the chip.
 */
static void show(struct vioapic *io)
{
	__atomic_store_n(&io->page[REG_WINDOW / 4], read_indexed(io), __ATOMIC_RELAXED);
	__atomic_store_n(&io->page[REG_SELECT / 4], io->select, __ATOMIC_RELAXED);
}

static void send(struct vioapic *io, unsigned pin)
{
	uint64_t entry = io->entry[pin];
	int error = apic_bus_deliver(io->bus, (uint8_t)(entry >> 56), entry & ENTRY_LOGICAL,
				     (enum apic_delivery)(entry >> 8 & 7), (uint8_t)entry, is_level(entry));

	/* Nobody took it: no EOI will come, so the pin is not held for one. */
	if (error || !is_level(entry))
		return;
	io->remote_irr |= 1U << pin;
	show(io);
}

/* A level pin sends when it is high, unmasked and not waiting for an EOI. */
static void check_level(struct vioapic *io, unsigned pin)
{
	uint64_t entry = io->entry[pin];

	if (is_level(entry) && !(entry & ENTRY_MASKED) && (io->line & ~io->remote_irr & 1U << pin))
		send(io, pin);
}

/* Edges at a masked pin are lost, as the data sheet says (3.2.4, interrupt mask). */
void vioapic_set_line(struct vioapic *io, unsigned pin, bool level)
{
	uint32_t old = io->line;

	if (pin >= VIOAPIC_PINS)
		return;
	io->line = level ? old | 1U << pin : old & ~(1U << pin);
	if (is_level(io->entry[pin]))
		check_level(io, pin);
	else if ((io->line & ~old) && !(io->entry[pin] & ENTRY_MASKED))
		send(io, pin);
}

void vioapic_eoi(struct vioapic *io, uint8_t vector)
{
	for (uint32_t rest = io->remote_irr; rest; rest &= rest - 1) {
		unsigned pin = (unsigned)__builtin_ctz(rest);

		if ((uint8_t)io->entry[pin] != vector)
			continue;
		io->remote_irr &= ~(1U << pin);
		check_level(io, pin);
	}
	show(io);
}

static void write_entry(struct vioapic *io, unsigned pin, bool high, uint32_t value)
{
	uint64_t old = io->entry[pin];
	uint64_t entry = high ? (old & 0xffffffff) | (uint64_t)value << 32 : (old & ~0xffffffffULL) | value;

	io->entry[pin] = entry & ENTRY_WRITABLE;
	if (!is_level(entry))
		io->remote_irr &= ~(1U << pin);
	check_level(io, pin);
}

static void write_indexed(struct vioapic *io, uint32_t value)
{
	unsigned pin = (io->select - INDEX_TABLE) / 2;

	if (io->select == INDEX_ID)
		io->id = value >> 24 & 15;
	else if (pin < VIOAPIC_PINS)
		write_entry(io, pin, io->select & 1, value);
}

/*
 * For instructions that exit since they write as well, or write elsewhere: what any other finds in the page. Registers
 * are 32 bits at multiples of 16; the data sheet knows no other width or place (3.1), where the bytes of the page are
 * read as those of memory.
 */
uint64_t vioapic_read(void *dev, uint64_t addr, unsigned size)
{
	const struct vioapic *io = dev;
	uint64_t value = 0;

	memcpy(&value, (const uint8_t *)io->page + addr % VIOAPIC_SIZE, size);
	return value;
}

/* A narrow write may select and complete, but not change an entry: half of one would be nonsense. */
void vioapic_write(void *dev, uint64_t addr, unsigned size, uint64_t value)
{
	struct vioapic *io = dev;

	if (addr % VIOAPIC_SIZE == REG_SELECT)
		io->select = (uint8_t)value;
	else if (addr % VIOAPIC_SIZE == REG_EOI)
		vioapic_eoi(io, (uint8_t)value);
	else if (addr % VIOAPIC_SIZE == REG_WINDOW && size >= 4)
		write_indexed(io, (uint32_t)value);
	show(io);
}

void vioapic_reset(struct vioapic *io)
{
	io->select = 0;
	io->remote_irr = 0;
	for (unsigned pin = 0; pin < VIOAPIC_PINS; pin++)
		io->entry[pin] = ENTRY_MASKED;
	show(io);
}

void vioapic_init(struct vioapic *io, struct apic_bus *bus, uint32_t *page, uint8_t id)
{
	memset(io, 0, sizeof(*io));
	memset(page, 0, VIOAPIC_SIZE);
	io->bus = bus;
	io->page = page;
	io->id = id & 15;
	vioapic_reset(io);
}

int vioapic_attach(struct vioapic *io, struct bus *mmio)
{
	struct bus_range range = {.first = VIOAPIC_BASE,
				  .count = VIOAPIC_SIZE,
				  .name = "ioapic",
				  .dev = io,
				  .read = vioapic_read,
				  .write = vioapic_write};

	return bus_add(mmio, &range);
}
