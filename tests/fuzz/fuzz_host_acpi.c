/*
 * arch/x86/acpi.c and acpi_power.c on arbitrary memory. The input is physical memory with the root pointer at 16;
 * checksums are made right for the tables that the input points to, since a fuzzer can't guess them. Every mapping is a
 * copy of its own size, so that the sanitizer sees a read beyond what was asked for.
 */
/* SPDX-License-Identifier: MIT */
/* links: arch/x86/acpi.c arch/x86/acpi_power.c */
#include "arch/x86/acpi.h"
#include "arch/x86/acpi_power.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#define MEMORY 4096
#define MAPS   4096
#define RSDP   16

static uint8_t memory[MEMORY];
static void *maps[MAPS];
static unsigned map_count;

static const void *map(hpa_t hpa, uint64_t size)
{
	void *copy;

	if (hpa.value >= MEMORY || size > MEMORY - hpa.value || map_count == MAPS)
		return NULL;
	copy = malloc(size);
	memcpy(copy, memory + hpa.value, size);
	maps[map_count++] = copy;
	return copy;
}

static void seal(uint64_t at, uint64_t size, uint64_t checksum)
{
	uint8_t sum = 0;

	if (at >= MEMORY || size > MEMORY - at || checksum >= MEMORY)
		return;
	for (uint64_t i = 0; i < size; i++)
		sum = (uint8_t)(sum + memory[at + i]);
	memory[checksum] = (uint8_t)(memory[checksum] - sum);
}

static void seal_table(uint64_t at, const char *signature);

/* The DSDT hangs on the FADT; it must have its checksum before that gets its own. */
static void seal_dsdt(uint64_t fadt)
{
	uint32_t dsdt;

	if (fadt > MEMORY - 44)
		return;
	memcpy(&dsdt, memory + fadt + 40, 4);
	seal_table(dsdt, "DSDT");
}

/* The table at `at` gets a signature and a right checksum. */
static void seal_table(uint64_t at, const char *signature)
{
	uint32_t length;

	if (at < RSDP + 36 || at > MEMORY - sizeof(struct acpi_header))
		return;
	memcpy(memory + at, signature, 4);
	memcpy(&length, memory + at + 4, 4);
	seal(at, length, at + 9);
}

static void make_plausible(void)
{
	static const char *const names[] = {"APIC", "FACP", "SSDT"};
	uint64_t xsdt;
	uint32_t rsdt;

	memcpy(memory + RSDP, "RSD PTR ", 8);
	memcpy(&rsdt, memory + RSDP + 16, 4);
	memcpy(&xsdt, memory + RSDP + 24, 8);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t entry = 0;

		if (xsdt < MEMORY - 64)
			memcpy(&entry, memory + xsdt + 36 + 8 * i, 8);
		if (entry >= MEMORY)
			continue;
		if (i == 1)
			seal_dsdt(entry);
		seal_table(entry, names[i]);
	}
	seal_table(rsdt, "RSDT");
	seal_table(xsdt, "XSDT");
	seal(RSDP, 20, RSDP + 8);
	seal(RSDP, 36, RSDP + 32);
}

static void ask_for_power(void)
{
	struct acpi_soft_off off;
	struct acpi_reset reset;
	const char *what = "";

	if (acpi_reset_register(&reset))
		REQUIRE(reset.reg.address && reset.reg.space <= 2);
	if (acpi_soft_off(&off, &what)) {
		REQUIRE(strlen(what));
		return;
	}
	REQUIRE(off.control[0].address && off.control[0].space <= 1 && off.control[1].space <= 1);
	REQUIRE(off.type[0] <= 7 && off.type[1] <= 7);
}

/* The input itself as AML, behind the beginning of a definition. */
static void search_aml(const uint8_t *data, size_t size)
{
	static const uint8_t start[] = {0x08, '_', 'S', '5', '_', 0x12};
	uint8_t *aml = malloc(sizeof(start) + size);
	uint8_t type[2] = {0, 0};

	REQUIRE(aml);
	memcpy(aml, start, sizeof(start));
	if (size)
		memcpy(aml + sizeof(start), data, size);
	aml_find_soft_off(aml, sizeof(start) + size, type);
	REQUIRE(type[0] <= 7 && type[1] <= 7);
	free(aml);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct acpi_override override;
	struct acpi_ioapic ioapic;
	const char *what;
	unsigned bits;

	memset(memory, 0, sizeof(memory));
	memcpy(memory, data, size < MEMORY ? size : MEMORY);
	if (memory[0] & 1)
		make_plausible();
	if (acpi_init(HPA(RSDP), map, &what))
		REQUIRE(strlen(what));
	for (unsigned n = 0; n < 4 && acpi_ioapic(n, &ioapic); n++)
		;
	for (unsigned irq = 0; irq < 16; irq += 5)
		acpi_isa_override(irq, &override);
	acpi_pm_timer(&bits);
	acpi_find("SSDT", 1);
	ask_for_power();
	search_aml(data, size);
	while (map_count)
		free(maps[--map_count]);
	return 0;
}
