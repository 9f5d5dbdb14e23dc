/*
 * Unit tests of the guest's ACPI and MP tables: found as a kernel finds them, every checksum, what they say about
 * processors and interrupts, that both say the same, and what happens without the memory for them. Set ACPI_DUMP to a
 * folder to have the tables written there for iasl -d.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/load/acpi.c hv/load/mptable.c hv/guest_mem.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/dev/pci_host.h"
#include "hv/load/acpi.h"
#include "hv/load/mptable.h"
#include "hv/pc_map.h"

#define TABLES	 3    /* that RSDT and XSDT list: FADT, MADT, MCFG */
#define DSDT_MAX 2048 /* a guest interprets it at every boot: a little more than it has with 32 processors */

static uint8_t memory[1 << 20] __attribute__((aligned(4096)));
static struct guest_mem mem;
static gpa_t rsdp;

static int setup(void **state)
{
	struct guest_region low = {0, 0xA0000, memory, true};
	struct guest_region high = {0xE0000, 0x20000, memory + 0xE0000, false};

	(void)state;
	memset(&mem, 0, sizeof(mem));
	memset(memory, 0xCC, sizeof(memory));
	return guest_mem_add(&mem, &low) || guest_mem_add(&mem, &high);
}

static uint64_t get(uint64_t gpa, unsigned size)
{
	uint64_t value = 0;

	assert_true(gpa < sizeof(memory) - size);
	memcpy(&value, memory + gpa, size);
	return value;
}

static uint8_t sum(uint64_t gpa, uint64_t size)
{
	uint8_t total = 0;

	for (uint64_t i = 0; i < size; i++)
		total = (uint8_t)(total + get(gpa + i, 1));
	return total;
}

/* The table of that signature in the XSDT; checks it. */
static uint64_t find(const char *signature)
{
	uint64_t xsdt = get(rsdp.value + 24, 8);

	for (uint64_t at = xsdt + 36; at < xsdt + get(xsdt + 4, 4); at += 8) {
		uint64_t table = get(at, 8);

		assert_int_equal(sum(table, get(table + 4, 4)), 0);
		if (memcmp(memory + table, signature, 4) == 0)
			return table;
	}
	fail_msg("no table %s", signature);
	return 0;
}

static void dump(const char *name, uint64_t table)
{
	const char *folder = getenv("ACPI_DUMP");
	char path[200];
	FILE *f;

	if (!folder)
		return;
	snprintf(path, sizeof(path), "%s/%s.aml", folder, name);
	f = fopen(path, "wb");
	assert_non_null(f);
	fwrite(memory + table, 1, get(table + 4, 4), f);
	fclose(f);
}

static void pointers_and_checksums(void **state)
{
	uint64_t rsdt, xsdt;

	(void)state;
	assert_int_equal(acpi_build(&mem, 4, &rsdp), 0);
	assert_int_equal(rsdp.value % 16, 0);
	assert_in_range(rsdp.value, 0xE0000, 0xFFFFF);
	assert_memory_equal(memory + rsdp.value, "RSD PTR ", 8);
	assert_int_equal(sum(rsdp.value, 20), 0);
	assert_int_equal(sum(rsdp.value, 36), 0);
	rsdt = get(rsdp.value + 16, 4);
	xsdt = get(rsdp.value + 24, 8);
	assert_int_equal(sum(rsdt, get(rsdt + 4, 4)), 0);
	assert_int_equal(sum(xsdt, get(xsdt + 4, 4)), 0);
	assert_int_equal(get(rsdt + 4, 4), 36 + TABLES * 4);
	assert_int_equal(get(xsdt + 4, 4), 36 + TABLES * 8);
	for (unsigned i = 0; i < TABLES; i++)
		assert_int_equal(get(rsdt + 36 + i * 4, 4), get(xsdt + 36 + i * 8, 8));
}

static void fadt_describes_the_chips(void **state)
{
	uint64_t fadt, facs, dsdt;

	(void)state;
	assert_int_equal(acpi_build(&mem, 1, &rsdp), 0);
	fadt = find("FACP");
	assert_int_equal(get(fadt + 4, 4), 276);
	facs = get(fadt + 36, 4);
	dsdt = get(fadt + 40, 4);
	assert_int_equal(facs % 64, 0);
	assert_memory_equal(memory + facs, "FACS", 4);
	assert_int_equal(get(facs + 4, 4), 64);
	assert_int_equal(get(fadt + 46, 2), 9);
	assert_int_equal(get(fadt + 48, 4), 0); /* no SMI command */
	assert_int_equal(get(fadt + 56, 4), 0x600);
	assert_int_equal(get(fadt + 64, 4), 0x604);
	assert_int_equal(get(fadt + 76, 4), 0x608);
	assert_int_equal(get(fadt + 108, 1), 0x32);
	assert_int_equal(get(fadt + 109, 2), 3);
	assert_int_equal(get(fadt + 112, 4), 0x565);
	assert_int_equal(get(fadt + 116, 4), 0x01000801);
	assert_int_equal(get(fadt + 120, 8), 0xCF9);
	assert_int_equal(get(fadt + 128, 1), 6);
	assert_int_equal(get(fadt + 132, 8), 0);
	assert_int_equal(get(fadt + 140, 8), dsdt);
	assert_int_equal(get(fadt + 148 + 4, 8), 0x600);
	assert_int_equal(get(fadt + 148 + 24 + 4, 8), 0x604);
	assert_int_equal(get(fadt + 208 + 4, 8), 0x608);
	assert_memory_equal(memory + dsdt, "DSDT", 4);
	assert_int_equal(sum(dsdt, get(dsdt + 4, 4)), 0);
	dump("facp", fadt);
	dump("facs", facs);
}

static unsigned count_string(uint64_t from, uint64_t size, const char *s)
{
	unsigned found = 0;

	for (uint64_t i = 0; i + strlen(s) <= size; i++)
		found += memcmp(memory + from + i, s, strlen(s)) == 0;
	return found;
}

static void dsdt_has_a_device_for_each_cpu(void **state)
{
	static const unsigned counts[] = {1, 2, 10, 32};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(counts); i++) {
		uint64_t dsdt, size;

		assert_int_equal(acpi_build(&mem, counts[i], &rsdp), 0);
		dsdt = get(find("FACP") + 40, 4);
		size = get(dsdt + 4, 4);
		assert_int_equal(count_string(dsdt, size, "ACPI0007"), counts[i]);
		assert_int_equal(count_string(dsdt, size, "_SB_C0"), counts[i]);
		assert_int_equal(get(dsdt + size - 1, 1), counts[i] - 1);
		assert_int_equal(sum(dsdt, size), 0);
		assert_true(size < DSDT_MAX);
		dump("dsdt", dsdt);
	}
}

static unsigned count_bytes(uint64_t from, uint64_t size, const void *bytes, size_t count)
{
	unsigned found = 0;

	for (uint64_t i = 0; i + count <= size; i++)
		found += memcmp(memory + from + i, bytes, count) == 0;
	return found;
}

static void count_words(uint64_t dsdt, const uint16_t *word, size_t count)
{
	assert_int_equal(count_bytes(dsdt, get(dsdt + 4, 4), word, count * sizeof(*word)), 1);
}

/* Minimum, maximum, translation and length of the windows, and ECAM as a fixed range: ACPI 6.4.3. */
static void dsdt_says_where_pci_is(void **state)
{
	static const uint16_t buses[] = {0, 0, 0, 0, 1};
	static const uint16_t ports[] = {0, PC_PCI_IO, PC_PCI_IO + PC_PCI_IO_SIZE - 1, 0, PC_PCI_IO_SIZE};
	static const uint32_t window[] = {0, PC_PCI_MEMORY, PC_PCI_MEMORY + PC_PCI_MEMORY_SIZE - 1, 0,
					  PC_PCI_MEMORY_SIZE};
	static const uint32_t ecam[] = {PC_ECAM, PC_ECAM_SIZE};
	uint64_t dsdt, size;

	(void)state;
	assert_int_equal(acpi_build(&mem, 1, &rsdp), 0);
	dsdt = get(find("FACP") + 40, 4);
	size = get(dsdt + 4, 4);
	count_words(dsdt, buses, ARRAY_SIZE(buses));
	count_words(dsdt, ports, ARRAY_SIZE(ports));
	assert_int_equal(count_bytes(dsdt, size, window, sizeof(window)), 1);
	assert_int_equal(count_bytes(dsdt, size, ecam, sizeof(ecam)), 1);
}

/* Package (4) { slot << 16 | 0xFFFF, 0, 0, interrupt }, once with the IOAPIC's pin and once with the 8259s' input. */
static void dsdt_routes_all_slots(void **state)
{
	uint64_t dsdt, size;

	(void)state;
	assert_int_equal(acpi_build(&mem, 1, &rsdp), 0);
	dsdt = get(find("FACP") + 40, 4);
	size = get(dsdt + 4, 4);
	for (uint8_t slot = 1; slot < PCI_DEVICES; slot++) {
		uint8_t route[] = {4, 0x0C, 0xFF, 0xFF, slot, 0, 0, 0, 0x0A, 0};

		assert_int_equal(count_bytes(dsdt, size, route, sizeof(route) - 1), 2);
		route[sizeof(route) - 1] = (uint8_t)(PC_GSI_INTX + slot % PCI_INTX);
		assert_int_equal(count_bytes(dsdt, size, route, sizeof(route)), 1);
		route[sizeof(route) - 1] = slot % 2 ? PC_PCI_PIC_IRQ_ODD : PC_PCI_PIC_IRQ_EVEN;
		assert_int_equal(count_bytes(dsdt, size, route, sizeof(route)), 1);
	}
}

/* PCI Firmware Specification 3.3, table 4-2 and 4-3: one range, of segment 0 and bus 0. */
static void mcfg_says_where_configuration_space_is(void **state)
{
	uint64_t mcfg;

	(void)state;
	assert_int_equal(acpi_build(&mem, 1, &rsdp), 0);
	mcfg = find("MCFG");
	assert_int_equal(get(mcfg + 4, 4), 60);
	assert_int_equal(get(mcfg + 8, 1), 1);
	assert_int_equal(get(mcfg + 36, 8), 0);
	assert_int_equal(get(mcfg + 44, 8), 0xE0000000);
	assert_int_equal(get(mcfg + 52, 8), 0);
	assert_int_equal((get(mcfg + 55, 1) + 1) << 20, PC_ECAM_SIZE); /* 1 MiB a bus */
	dump("mcfg", mcfg);
}

static void madt_lists_processors_and_wiring(void **state)
{
	unsigned lapics = 0, ioapics = 0, overrides = 0, nmis = 0;
	uint64_t madt, at, end;

	(void)state;
	assert_int_equal(acpi_build(&mem, 32, &rsdp), 0);
	madt = find("APIC");
	end = madt + get(madt + 4, 4);
	assert_int_equal(get(madt + 36, 4), 0xFEE00000);
	assert_int_equal(get(madt + 40, 4), 1);
	for (at = madt + 44; at < end; at += get(at + 1, 1)) {
		assert_true(get(at + 1, 1) >= 6);
		switch (get(at, 1)) {
		case 0:
			assert_int_equal(get(at + 2, 1), lapics);
			assert_int_equal(get(at + 3, 1), lapics);
			assert_int_equal(get(at + 4, 4), 1);
			lapics++;
			break;
		case 1:
			assert_int_equal(get(at + 4, 4), 0xFEC00000);
			assert_int_equal(get(at + 8, 4), 0);
			ioapics++;
			break;
		case 2:
			assert_int_equal(get(at + 4, 4), get(at + 3, 1) == 0 ? 2 : 9);
			assert_int_equal(get(at + 8, 2), get(at + 3, 1) == 0 ? 0 : 0x0D);
			overrides++;
			break;
		default:
			assert_memory_equal(memory + at, "\x04\x06\xFF\0\0\x01", 6);
			nmis++;
		}
	}
	assert_int_equal(at, end);
	assert_int_equal(lapics, 32);
	assert_int_equal(ioapics, 1);
	assert_int_equal(overrides, 2);
	assert_int_equal(nmis, 1);
	dump("apic", madt);
}

/* As a kernel does: on 16-byte boundaries of 0xF0000-0xFFFFF. */
static uint64_t find_mp(void)
{
	for (uint64_t at = 0xF0000; at < 0xFFFF0; at += 16)
		if (memcmp(memory + at, "_MP_", 4) == 0 && sum(at, 16) == 0)
			return get(at + 4, 4);
	fail_msg("no MP pointer");
	return 0;
}

static void mp_table_says_the_same(void **state)
{
	unsigned count[5] = {0}, boot = 0, entries = 0;
	uint64_t table, at, end;

	(void)state;
	assert_int_equal(mptable_build(&mem, 32), 0);
	table = find_mp();
	assert_memory_equal(memory + table, "PCMP", 4);
	end = table + get(table + 4, 2);
	assert_int_equal(sum(table, end - table), 0);
	assert_int_equal(get(table + 36, 4), 0xFEE00000);
	for (at = table + 44; at < end; at += get(at, 1) ? 8 : 20, entries++) {
		uint64_t type = get(at, 1);

		assert_in_range(type, 0, 4);
		if (type == 0) {
			assert_int_equal(get(at + 1, 1), count[0]);
			assert_int_equal(get(at + 3, 1) & 1, 1);
			boot += get(at + 3, 1) >> 1;
		} else if (type == 2) {
			assert_int_equal(get(at + 1, 1), PC_IOAPIC_ID);
			assert_int_equal(get(at + 4, 4), 0xFEC00000);
		} else if (type == 3) {
			uint64_t irq = get(at + 5, 1);

			assert_int_equal(get(at + 7, 1), irq ? irq : 2);
			assert_int_equal(get(at + 2, 2), irq == 9 ? 0x0D : 0);
			assert_int_equal(get(at + 6, 1), PC_IOAPIC_ID);
			assert_int_not_equal(irq, 2);
		} else if (type == 4) {
			assert_int_equal(get(at + 1, 1), get(at + 7, 1) ? 1 : 3); /* LINT0 ExtINT, LINT1 NMI */
			assert_int_equal(get(at + 6, 1), 0xFF);
		}
		count[type]++;
	}
	assert_int_equal(at, end);
	assert_int_equal(get(table + 34, 2), entries);
	assert_int_equal(count[0], 32);
	assert_int_equal(boot, 1);
	assert_int_equal(count[1], 1);
	assert_int_equal(count[2], 1);
	assert_int_equal(count[3], 15);
	assert_int_equal(count[4], 2);
}

static void bios_data_area_is_sane(void **state)
{
	(void)state;
	assert_int_equal(bda_build(&mem), 0);
	assert_int_equal(get(0x400, 2), 0x3F8);
	assert_int_equal(get(0x402, 2), 0);
	assert_int_equal(get(0x40E, 2), 0x9FC0);
	assert_int_equal(get(0x413, 2), 639);
	assert_int_equal(get(0x449, 1), 3);
	assert_int_equal(get(0x44A, 2), 80);
	assert_int_equal(get(0x463, 2), 0x3D4);
	assert_int_equal(get(0x484, 1), 24);
	assert_int_equal(get(0x485, 2), 16);
	assert_int_equal(get(0x9FC00, 1), 1);
	assert_int_equal(get(0x3FF, 1), 0xCC);
	assert_int_equal(get(0x500, 1), 0xCC);
}

static void bad_requests_are_refused(void **state)
{
	struct guest_mem none = {0};

	(void)state;
	assert_int_equal(acpi_build(&mem, 0, &rsdp), -E_INVAL);
	assert_int_equal(acpi_build(&mem, 33, &rsdp), -E_INVAL);
	assert_int_equal(mptable_build(&mem, 0), -E_INVAL);
	assert_int_equal(mptable_build(&mem, 33), -E_INVAL);
	assert_int_equal(acpi_build(&none, 1, &rsdp), -E_RANGE);
	assert_int_equal(mptable_build(&none, 1), -E_RANGE);
	assert_int_equal(bda_build(&none), -E_RANGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(pointers_and_checksums, setup),
	    cmocka_unit_test_setup(fadt_describes_the_chips, setup),
	    cmocka_unit_test_setup(dsdt_has_a_device_for_each_cpu, setup),
	    cmocka_unit_test_setup(dsdt_says_where_pci_is, setup),
	    cmocka_unit_test_setup(dsdt_routes_all_slots, setup),
	    cmocka_unit_test_setup(mcfg_says_where_configuration_space_is, setup),
	    cmocka_unit_test_setup(madt_lists_processors_and_wiring, setup),
	    cmocka_unit_test_setup(mp_table_says_the_same, setup),
	    cmocka_unit_test_setup(bios_data_area_is_sane, setup),
	    cmocka_unit_test_setup(bad_requests_are_refused, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
