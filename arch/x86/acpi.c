/*
 * Finding ACPI tables: acpi.h. Every length is checked before the bytes behind it are mapped and read; checksums keep
 * out what is merely damaged.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/acpi.h"
#include "hv/lib/string.h"

#define TABLE_MAX	 (16 * MIB) /* no machine's DSDT comes near; a length beyond is damage */
#define RSDP_V1_SIZE	 20
#define RSDP_V2_SIZE	 36
#define MADT_ENTRIES	 44 /* header, LAPIC address, flags */
#define MADT_IOAPIC	 1
#define MADT_OVERRIDE	 2
#define FADT_DSDT	 40
#define FADT_PM_TMR_BLK	 76
#define FADT_PM_TMR_LEN	 91
#define FADT_FLAGS	 112
#define FADT_TMR_VAL_EXT BIT(8)
#define FADT_X_DSDT	 140
#define FADT_X_PM_TMR	 208

struct rsdp {
	char signature[8];
	uint8_t checksum;
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	/* from revision 2 on */
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum;
	uint8_t reserved[3];
} __attribute__((packed));

static RO_AFTER_INIT acpi_map_fn *map;
static RO_AFTER_INIT const struct acpi_header *root; /* RSDT or XSDT; NULL: no ACPI */
static RO_AFTER_INIT unsigned root_entry_size;	     /* 4 or 8 */

static bool sum_is_zero(const void *p, uint64_t size)
{
	const uint8_t *bytes = p;
	uint8_t sum = 0;

	for (uint64_t i = 0; i < size; i++)
		sum = (uint8_t)(sum + bytes[i]);
	return !sum;
}

/* The whole table when signature, length and checksum are right. */
static const struct acpi_header *table_map(uint64_t hpa, const char signature[4])
{
	const struct acpi_header *table = hpa ? map(HPA(hpa), sizeof(*table)) : NULL;
	uint32_t length;

	if (!table || memcmp(table->signature, signature, 4))
		return NULL;
	length = table->length;
	if (length < sizeof(*table) || length > TABLE_MAX)
		return NULL;
	table = map(HPA(hpa), length);
	return table && sum_is_zero(table, length) ? table : NULL;
}

static int find_root(const struct rsdp *rsdp, const char **what)
{
	if (rsdp->revision >= 2) {
		root_entry_size = 8;
		root = table_map(rsdp->xsdt, "XSDT");
	}
	if (!root) {
		root_entry_size = 4;
		root = table_map(rsdp->rsdt, "RSDT");
	}
	*what = "ACPI: neither XSDT nor RSDT has the right signature, length and checksum";
	return root ? 0 : -E_FORMAT;
}

int acpi_init(hpa_t hpa, acpi_map_fn *map_fn, const char **what)
{
	const struct rsdp *rsdp;

	map = map_fn;
	root = NULL;
	*what = "ACPI: firmware gave no root pointer";
	if (!hpa.value)
		return -E_NOENT;
	rsdp = map(hpa, RSDP_V1_SIZE);
	*what = "ACPI: the root pointer has a wrong signature or checksum";
	if (!rsdp || memcmp(rsdp->signature, "RSD PTR ", 8) || !sum_is_zero(rsdp, RSDP_V1_SIZE))
		return -E_FORMAT;
	if (rsdp->revision >= 2) {
		rsdp = map(hpa, RSDP_V2_SIZE);
		*what = "ACPI: the root pointer has a wrong extended checksum";
		if (!rsdp || rsdp->length < RSDP_V2_SIZE || !sum_is_zero(rsdp, RSDP_V2_SIZE))
			return -E_FORMAT;
	}
	return find_root(rsdp, what);
}

static uint64_t root_entry(unsigned i)
{
	uint64_t hpa = 0;

	memcpy(&hpa, (const uint8_t *)(root + 1) + (uint64_t)i * root_entry_size, root_entry_size);
	return hpa;
}

const struct acpi_header *acpi_find(const char signature[4], unsigned n)
{
	uint64_t count = root ? (root->length - sizeof(*root)) / root_entry_size : 0;

	if (count > ACPI_MAX_TABLES)
		count = ACPI_MAX_TABLES;
	for (unsigned i = 0; i < count; i++) {
		const struct acpi_header *table = table_map(root_entry(i), signature);

		if (table && n-- == 0)
			return table;
	}
	return NULL;
}

const struct acpi_header *acpi_dsdt(void)
{
	const struct acpi_header *fadt = acpi_find("FACP", 0), *dsdt = NULL;
	uint64_t hpa = 0;

	if (fadt && fadt->length >= FADT_X_DSDT + 8) {
		memcpy(&hpa, (const uint8_t *)fadt + FADT_X_DSDT, 8);
		dsdt = table_map(hpa, "DSDT");
	}
	if (!dsdt && fadt && fadt->length >= FADT_DSDT + 4) {
		hpa = 0;
		memcpy(&hpa, (const uint8_t *)fadt + FADT_DSDT, 4);
		dsdt = table_map(hpa, "DSDT");
	}
	return dsdt;
}

/* The n-th MADT entry of that type with at least `size` bytes. ACPI 5.2.12. */
static const uint8_t *madt_entry(uint8_t type, unsigned size, unsigned n)
{
	const struct acpi_header *madt = acpi_find("APIC", 0);
	const uint8_t *bytes = (const uint8_t *)madt;
	uint32_t at = MADT_ENTRIES;

	while (madt && at + 2 <= madt->length) {
		uint8_t length = bytes[at + 1];

		if (length < 2 || length > madt->length - at)
			return NULL;
		if (bytes[at] == type && length >= size && n-- == 0)
			return bytes + at;
		at += length;
	}
	return NULL;
}

static uint32_t read32(const uint8_t *p)
{
	uint32_t value;

	memcpy(&value, p, sizeof(value));
	return value;
}

bool acpi_ioapic(unsigned n, struct acpi_ioapic *out)
{
	const uint8_t *entry = madt_entry(MADT_IOAPIC, 12, n);

	if (!entry)
		return false;
	*out = (struct acpi_ioapic){.hpa = read32(entry + 4), .gsi_base = read32(entry + 8)};
	return true;
}

/* Flags: bits 1:0 polarity, 3:2 trigger; 3 means low or level, 0 and 1 what ISA has: high, edge. ACPI 5.2.12.5. */
void acpi_isa_override(unsigned irq, struct acpi_override *out)
{
	const uint8_t *entry;

	*out = (struct acpi_override){.gsi = irq};
	for (unsigned n = 0; (entry = madt_entry(MADT_OVERRIDE, 10, n)) != NULL; n++) {
		if (entry[2] != 0 || entry[3] != irq)
			continue;
		out->gsi = read32(entry + 4);
		out->active_low = (entry[8] & 3) == 3;
		out->level = (entry[8] >> 2 & 3) == 3;
		return;
	}
}

uint16_t acpi_pm_timer(unsigned *bits)
{
	const struct acpi_header *fadt = acpi_find("FACP", 0);
	const uint8_t *bytes = (const uint8_t *)fadt;
	struct acpi_address address;

	*bits = 24;
	if (!fadt || fadt->length < FADT_FLAGS + 4)
		return 0;
	if (read32(bytes + FADT_FLAGS) & FADT_TMR_VAL_EXT)
		*bits = 32;
	if (fadt->length >= FADT_X_PM_TMR + sizeof(address)) {
		memcpy(&address, bytes + FADT_X_PM_TMR, sizeof(address));
		if (address.space == 1 && address.address && address.address < 0x10000 - 3)
			return (uint16_t)address.address;
	}
	if (bytes[FADT_PM_TMR_LEN] != 4 || read32(bytes + FADT_PM_TMR_BLK) >= 0x10000 - 3)
		return 0;
	return (uint16_t)read32(bytes + FADT_PM_TMR_BLK);
}
