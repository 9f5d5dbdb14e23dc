/*
 * The MP table and the BIOS data area, see mptable.h. Intel MultiProcessor Specification 1.4, chapter 4; the data area
 * as the IBM PS/2 BIOS Interface Technical Reference, section 3, lists it.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/load/mptable.h"

#include "hv/lib/string.h"
#include "hv/pc_map.h"

#define POINTER_SIZE 16
#define TABLE_MAX    2048

/* 4.1 */
struct mp_pointer {
	char signature[4];
	uint32_t table;
	uint8_t length; /* in 16 bytes */
	uint8_t revision;
	uint8_t checksum;
	uint8_t feature[5]; /* all zero: a table follows; virtual-wire mode, no IMCR */
} __attribute__((packed));

/* 4.2 */
struct mp_header {
	char signature[4];
	uint16_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem[8];
	char product[12];
	uint32_t oem_table;
	uint16_t oem_size;
	uint16_t entries;
	uint32_t lapic;
	uint16_t extended_length;
	uint8_t extended_checksum;
	uint8_t reserved;
} __attribute__((packed));

_Static_assert(sizeof(struct mp_pointer) == POINTER_SIZE, "4.1");
_Static_assert(sizeof(struct mp_header) == 44, "4.2");
_Static_assert(sizeof(struct mp_header) + PC_MAX_VCPUS * 20 + (1 + 1 + 16 + 2) * 8 <= TABLE_MAX, "all entries fit");

/* Entry types and what interrupt entries carry, 4.3. */
enum { MP_PROCESSOR, MP_BUS, MP_IOAPIC, MP_INTERRUPT, MP_LOCAL_INTERRUPT };
enum { MP_INT, MP_NMI, MP_SMI, MP_EXTINT };

#define MP_ENABLED    1
#define MP_BOOT_CPU   2
#define MP_CONFORMS   0x00
#define MP_HIGH_LEVEL 0x0D /* active high, level-triggered: the SCI */
#define MP_ALL_LAPICS 0xFF
#define LAPIC_VERSION 0x14
#define ISA_BUS	      0
#define ISA_IRQS      16
#define ISA_CASCADE   2

struct mp_table {
	struct mp_header header;
	uint8_t entry[TABLE_MAX - sizeof(struct mp_header)];
} __attribute__((packed));

static uint8_t checksum(const void *bytes, size_t count)
{
	const uint8_t *p = bytes;
	uint8_t sum = 0;

	while (count--)
		sum += *p++;
	return (uint8_t)-sum;
}

static void put_entry(struct mp_table *t, const void *entry, uint16_t size)
{
	memcpy((uint8_t *)t + t->header.length, entry, size);
	t->header.length = (uint16_t)(t->header.length + size);
	t->header.entries++;
}

static void put_interrupt(struct mp_table *t, uint8_t entry, uint8_t type, uint8_t flags, unsigned irq, uint8_t apic,
			  unsigned pin)
{
	put_entry(t, (const uint8_t[8]){entry, type, flags, 0, ISA_BUS, (uint8_t)irq, apic, (uint8_t)pin}, 8);
}

/* Signature and features are those of the oldest processor with these parts: kernels that use this table ask CPUID. */
static void put_processors(struct mp_table *t, unsigned vcpus)
{
	for (unsigned n = 0; n < vcpus; n++) {
		uint8_t flags = n ? MP_ENABLED : MP_ENABLED | MP_BOOT_CPU;

		put_entry(t,
			  (const uint8_t[20]){MP_PROCESSOR, (uint8_t)n, LAPIC_VERSION, flags, 0x00, 0x06 /* family 6 */,
					      0, 0, 0x01 /* FPU */, 0x02 /* APIC */},
			  20);
	}
}

/* The same wiring as in the MADT; the 8259s come in at LINT0 of every processor, NMI at LINT1. */
static void put_interrupts(struct mp_table *t)
{
	for (unsigned irq = 0; irq < ISA_IRQS; irq++) {
		if (irq == ISA_CASCADE)
			continue;
		put_interrupt(t, MP_INTERRUPT, MP_INT, irq == PC_IRQ_SCI ? MP_HIGH_LEVEL : MP_CONFORMS, irq,
			      PC_IOAPIC_ID, irq == PC_IRQ_PIT ? PC_PIT_IOAPIC_PIN : irq);
	}
	put_interrupt(t, MP_LOCAL_INTERRUPT, MP_EXTINT, MP_CONFORMS, 0, MP_ALL_LAPICS, 0);
	put_interrupt(t, MP_LOCAL_INTERRUPT, MP_NMI, MP_CONFORMS, 0, MP_ALL_LAPICS, 1);
}

static void fill_table(struct mp_table *t, unsigned vcpus)
{
	static const uint32_t ioapic = PC_IOAPIC_ADDRESS;
	uint8_t entry[8] = {MP_IOAPIC, PC_IOAPIC_ID, PC_IOAPIC_VERSION, MP_ENABLED};

	memset(t, 0, sizeof(*t));
	memcpy(t->header.signature, "PCMP", 4);
	memcpy(t->header.oem, "VIREO   ", 8);
	memcpy(t->header.product, "VIREO-PC    ", 12);
	t->header.revision = 4;
	t->header.lapic = PC_LAPIC_ADDRESS;
	t->header.length = sizeof(t->header);
	put_processors(t, vcpus);
	put_entry(t, (const uint8_t[8]){MP_BUS, ISA_BUS, 'I', 'S', 'A', ' ', ' ', ' '}, 8);
	memcpy(entry + 4, &ioapic, sizeof(ioapic));
	put_entry(t, entry, sizeof(entry));
	put_interrupts(t);
	t->header.checksum = checksum(t, t->header.length);
}

int mptable_build(const struct guest_mem *mem, unsigned vcpus)
{
	struct mp_pointer pointer = {.table = PC_MP_TABLE + POINTER_SIZE, .length = 1, .revision = 4};
	struct mp_table table;
	int err;

	if (vcpus == 0 || vcpus > PC_MAX_VCPUS)
		return -E_INVAL;
	memcpy(pointer.signature, "_MP_", 4);
	pointer.checksum = checksum(&pointer, sizeof(pointer));
	fill_table(&table, vcpus);
	err = guest_write(mem, GPA(PC_MP_TABLE), &pointer, sizeof(pointer));
	if (err)
		return err;
	return guest_write(mem, GPA(PC_MP_TABLE + POINTER_SIZE), &table, table.header.length);
}

int bda_build(const struct guest_mem *mem)
{
	static const struct {
		uint16_t offset, value;
	} word[] = {
	    {0x00, PC_PORT_COM1},
	    {0x0E, PC_EBDA >> 4}, /* segment */
	    {0x10, 0x0222},	  /* equipment: coprocessor, 80x25 colour, one serial port */
	    {0x13, PC_BASE_MEMORY_KIB},
	    {0x1A, 0x001E},
	    {0x1C, 0x001E},	 /* keyboard buffer: empty */
	    {0x49, 80 << 8 | 3}, /* video mode 3; 80 columns, low byte */
	    {0x4C, 0x1000},	 /* bytes of a screen page */
	    {0x60, 0x0D0E},	 /* cursor lines */
	    {0x63, 0x03D4},	 /* CRTC */
	    {0x80, 0x001E},
	    {0x82, 0x003E},	  /* where the keyboard buffer is */
	    {0x84, 16 << 8 | 24}, /* last row; character height, low byte */
	};
	static const uint8_t ebda_kib = 1;
	int err = guest_zero(mem, GPA(PC_BDA), 256);

	for (unsigned i = 0; i < ARRAY_SIZE(word) && !err; i++)
		err = guest_write(mem, GPA(PC_BDA + word[i].offset), &word[i].value, 2);
	return err ? err : guest_write(mem, GPA(PC_EBDA), &ebda_kib, 1);
}
