/*
 * The little of ACPI that Vireo reads: tables by signature, with checksums and lengths checked. Firmware is not
 * trusted further than that. Used by ioapic.c, tsc.c, acpi_power.c and drivers. ACPI 6.4, 5.2.5 to 5.2.12. Pure, given
 * a way to map.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

#define ACPI_MAX_TABLES 256

struct acpi_header {
	char signature[4];
	uint32_t length; /* of the whole table */
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	uint32_t creator_id;
	uint32_t creator_revision;
} __attribute__((packed));

/* Generic address structure, ACPI 5.2.3.2 */
struct acpi_address {
	uint8_t space; /* 0: memory, 1: ports */
	uint8_t bit_width;
	uint8_t bit_offset;
	uint8_t access_size;
	uint64_t address;
} __attribute__((packed));

/* A pointer to `size` readable bytes of physical memory, or NULL. */
typedef const void *acpi_map_fn(hpa_t hpa, uint64_t size);

/* Checks the RSDP and its RSDT or XSDT. 0; -E_NOENT when hpa is 0; -E_FORMAT with *what set to what is wrong. */
int acpi_init(hpa_t rsdp, acpi_map_fn *map, const char **what) MUST_CHECK;

/* The n-th table with that signature, valid in length and checksum; NULL: none. Its `length` bytes are mapped. */
const struct acpi_header *acpi_find(const char signature[4], unsigned n);

/* The table that the FADT points to, valid likewise; the root lists it nowhere. */
const struct acpi_header *acpi_dsdt(void);

/* --- what the tables say; each works without ACPI and then answers "absent" --- */
struct acpi_ioapic {
	uint64_t hpa;
	uint32_t gsi_base;
};
/* The n-th I/O APIC of the MADT. */
bool acpi_ioapic(unsigned n, struct acpi_ioapic *out);

struct acpi_override {
	uint32_t gsi;
	bool active_low;
	bool level;
};
/* Where ISA interrupt `irq` leads: identity, edge, active high unless the MADT overrides it. */
void acpi_isa_override(unsigned irq, struct acpi_override *out);

/* Port of the PM timer (3.579545 MHz); 0: absent or not in port space. *bits is 24 or 32. */
uint16_t acpi_pm_timer(unsigned *bits);
