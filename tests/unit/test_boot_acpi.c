/* The loader's reading of ACPI: root tables, MADT entries, and that broken tables are passed over. */
/* SPDX-License-Identifier: MIT */
/* links: boot/acpi.c */
#define _GNU_SOURCE /* MAP_32BIT */
#include "boot/acpi.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

static uint8_t *low; /* below 4 GiB: the RSDT holds 32-bit addresses */
static struct boot_info info;
static uint32_t absent;

#define RSDP  0
#define ROOT  0x100
#define OTHER 0x200
#define MADT  0x400

static uint64_t address(unsigned offset)
{
	return (uintptr_t)low + offset;
}

static void put(unsigned offset, uint64_t value, unsigned bytes)
{
	memcpy(low + offset, &value, bytes);
}

static void seal(unsigned table, unsigned length, unsigned checksum_at)
{
	uint8_t sum = 0;

	low[table + checksum_at] = 0;
	for (unsigned i = 0; i < length; i++)
		sum = (uint8_t)(sum + low[table + i]);
	low[table + checksum_at] = (uint8_t)-sum;
}

static void table(unsigned at, const char *signature, uint32_t length)
{
	memcpy(low + at, signature, 4);
	put(at + 4, length, 4);
	seal(at, length, 9);
}

static void make_rsdp(uint8_t revision)
{
	memcpy(low + RSDP, "RSD PTR ", 8);
	low[RSDP + 15] = revision;
	put(RSDP + 16, revision < 2 ? address(ROOT) : 0, 4);
	put(RSDP + 24, revision < 2 ? 0 : address(ROOT), 8);
	seal(RSDP, 20, 8);
}

static void make_xsdt(void)
{
	put(ROOT + 36, address(OTHER), 8);
	put(ROOT + 44, address(MADT), 8);
	table(ROOT, "XSDT", 52);
	table(OTHER, "FACP", 36);
}

static uint32_t madt_length;

static void lapic(uint8_t id, uint32_t flags)
{
	unsigned at = MADT + madt_length;

	put(at, 8 << 8, 2);
	low[at + 3] = id;
	put(at + 4, flags, 4);
	madt_length += 8;
}

static void x2apic(uint32_t id, uint32_t flags)
{
	unsigned at = MADT + madt_length;

	put(at, 16 << 8 | 9, 2);
	put(at + 4, id, 4);
	put(at + 8, flags, 4);
	madt_length += 16;
}

/* The page that there is. */
static bool readable(uint64_t hpa, uint64_t size)
{
	return hpa >= address(0) && size <= 4096 && hpa - address(0) <= 4096 - size;
}

static int setup(void **state)
{
	(void)state;
	low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	assert_true(low != MAP_FAILED);
	memset(&info, 0, sizeof info);
	madt_length = 44;
	make_rsdp(2);
	make_xsdt();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return munmap(low, 4096);
}

static uint32_t find(void)
{
	table(MADT, "APIC", madt_length);
	return acpi_find_cpus(address(RSDP), readable, &info, &absent);
}

static void test_both_kinds_of_entry(void **state)
{
	(void)state;
	lapic(0, 1);
	lapic(4, 1);
	put(MADT + madt_length, 12 << 8 | 1, 2); /* an IOAPIC */
	madt_length += 12;
	x2apic(0x1234, 1);
	x2apic(4, 1); /* named twice */
	assert_int_equal(find(), 3);
	assert_int_equal(info.cpu[0].apic_id, 0);
	assert_int_equal(info.cpu[1].apic_id, 4);
	assert_int_equal(info.cpu[2].apic_id, 0x1234);
	assert_int_equal(absent, 0);
}

static void test_disabled_cpus(void **state)
{
	(void)state;
	lapic(0, 1);
	lapic(1, 0);
	lapic(2, 2); /* online capable: may be plugged in later */
	lapic(3, 3);
	assert_int_equal(find(), 2);
	assert_int_equal(info.cpu[1].apic_id, 3);
	assert_int_equal(absent, 1);
}

static void test_rsdt(void **state)
{
	(void)state;
	make_rsdp(0);
	put(ROOT + 36, address(OTHER), 4);
	put(ROOT + 40, address(MADT), 4);
	table(ROOT, "RSDT", 44);
	lapic(7, 1);
	assert_int_equal(find(), 1);
	assert_int_equal(info.cpu[0].apic_id, 7);
}

static void test_nothing_there(void **state)
{
	(void)state;
	assert_int_equal(acpi_find_cpus(0, readable, &info, &absent), 0);
	lapic(0, 1);
	low[RSDP + 8]++; /* checksum */
	assert_int_equal(find(), 0);
	low[RSDP + 8]--;
	low[ROOT + 9]++;
	assert_int_equal(find(), 0);
	low[ROOT + 9]--;
	table(MADT, "APIC", madt_length);
	low[MADT + 9]++;
	assert_int_equal(acpi_find_cpus(address(RSDP), readable, &info, &absent), 0);
	low[MADT + 9]--;
	assert_int_equal(acpi_find_cpus(address(RSDP), readable, &info, &absent), 1);
}

static void test_lengths(void **state)
{
	(void)state;
	lapic(0, 1);
	lapic(1, 1);
	low[MADT + 53] = 0; /* an entry of no length must not hold us up */
	assert_int_equal(find(), 1);
	info.cpu_count = 0;
	low[MADT + 53] = 9; /* longer than the table */
	assert_int_equal(find(), 1);
	info.cpu_count = 0;
	low[MADT + 53] = 2; /* too short for its type; what follows is a type 1 of length 0 */
	assert_int_equal(find(), 1);
	info.cpu_count = 0;
	madt_length = 0xffffffff;
	put(MADT + 4, madt_length, 4);
	assert_int_equal(acpi_find_cpus(address(RSDP), readable, &info, &absent), 0);
	put(MADT + 4, 35, 4);
	assert_int_equal(acpi_find_cpus(address(RSDP), readable, &info, &absent), 0);
}

/* A root that lists itself and pointers to nowhere, beside the right one. */
static void test_wild_pointers(void **state)
{
	(void)state;
	lapic(5, 1);
	put(ROOT + 36, address(ROOT), 8);
	put(ROOT + 44, 0xfffffffffffffff0, 8);
	put(ROOT + 52, 0x1000, 8);
	put(ROOT + 60, address(4095), 8);
	put(ROOT + 68, address(MADT), 8);
	table(ROOT, "XSDT", 76);
	assert_int_equal(find(), 1);
	assert_int_equal(info.cpu[0].apic_id, 5);
	info.cpu_count = 0;
	put(ROOT + 68, 0, 8);
	table(ROOT, "XSDT", 76);
	assert_int_equal(find(), 0);
	put(RSDP + 24, 0xdead000, 8);
	assert_int_equal(find(), 0);
	assert_int_equal(acpi_find_cpus(0xdead000, readable, &info, &absent), 0);
	assert_int_equal(acpi_find_cpus(address(4080), readable, &info, &absent), 0);
}

static void test_list_is_full(void **state)
{
	(void)state;
	info.cpu_count = BOOT_MAX_CPUS - 1;
	for (unsigned i = 0; i < BOOT_MAX_CPUS - 1; i++)
		info.cpu[i].apic_id = 1000 + i;
	lapic(1, 1);
	lapic(2, 1);
	assert_int_equal(find(), 1);
	assert_int_equal(info.cpu_count, BOOT_MAX_CPUS);
	assert_int_equal(info.cpu[BOOT_MAX_CPUS - 1].apic_id, 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_both_kinds_of_entry), TEST(test_disabled_cpus), TEST(test_rsdt),
	    TEST(test_nothing_there),	    TEST(test_lengths),	      TEST(test_list_is_full),
	    TEST(test_wild_pointers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
