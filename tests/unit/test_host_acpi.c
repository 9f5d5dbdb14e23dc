/* arch/x86/acpi.c: good tables are found, damaged ones are as if absent, and no byte outside of them is read. */
/* SPDX-License-Identifier: MIT */
/* links: arch/x86/acpi.c */
#include "arch/x86/acpi.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* "Physical memory": tables at multiples of 1 KiB; whoever maps beyond the end gets NULL. */
static uint8_t memory[16 * KIB];
static const char *what;

#define RSDP  0x400u
#define XSDT  0x800u
#define RSDT  0xc00u
#define MADT  0x1000u
#define FADT  0x1400u
#define SSDT1 0x1800u
#define SSDT2 0x1c00u

static const void *map(hpa_t hpa, uint64_t size)
{
	return hpa.value < sizeof(memory) && size <= sizeof(memory) - hpa.value ? memory + hpa.value : NULL;
}

static void put32(uint64_t at, uint32_t v)
{
	memcpy(memory + at, &v, 4);
}
static void put64(uint64_t at, uint64_t v)
{
	memcpy(memory + at, &v, 8);
}

static void seal(uint64_t at, uint64_t size, uint64_t checksum)
{
	uint8_t sum = 0;

	memory[checksum] = 0;
	for (uint64_t i = 0; i < size; i++)
		sum = (uint8_t)(sum + memory[at + i]);
	memory[checksum] = (uint8_t)-sum;
}

static void seal_table(uint64_t at, const char *signature, uint32_t length)
{
	memcpy(memory + at, signature, 4);
	put32(at + 4, length);
	seal(at, length, at + 9);
}

static void seal_rsdp(void)
{
	seal(RSDP, 20, RSDP + 8);
	seal(RSDP, 36, RSDP + 32);
}

static const uint8_t madt_entries[] = {
    0, 8,  0, 0, 1, 0, 0,    0,			 /* a CPU */
    1, 12, 5, 0, 0, 0, 0xc0, 0xfe, 0,	0, 0, 0, /* I/O APIC, GSI 0 */
    2, 10, 0, 0, 2, 0, 0,    0,	   0,	0,	 /* IRQ 0 is GSI 2 */
    2, 10, 0, 9, 9, 0, 0,    0,	   0xf, 0,	 /* IRQ 9 is level, low */
    1, 12, 6, 0, 0, 0, 0xc1, 0xfe, 24,	0, 0, 0, /* I/O APIC, GSI 24 */
};

static void make_madt(uint32_t length)
{
	memcpy(memory + MADT + 44, madt_entries, sizeof(madt_entries));
	seal_table(MADT, "APIC", length);
}

static int setup(void **state)
{
	(void)state;
	memset(memory, 0, sizeof(memory));
	memcpy(memory + RSDP, "RSD PTR ", 8);
	memory[RSDP + 15] = 2;
	put32(RSDP + 16, RSDT);
	put32(RSDP + 20, 36);
	put64(RSDP + 24, XSDT);
	seal_rsdp();
	put64(XSDT + 36, FADT);
	put64(XSDT + 44, SSDT1);
	put64(XSDT + 52, SSDT2);
	put64(XSDT + 60, MADT);
	seal_table(XSDT, "XSDT", 68);
	put32(RSDT + 36, MADT);
	seal_table(RSDT, "RSDT", 40);
	make_madt(44 + sizeof(madt_entries));
	put32(FADT + 76, 0x608);
	memory[FADT + 91] = 4;
	seal_table(FADT, "FACP", 116);
	seal_table(SSDT1, "SSDT", 40);
	seal_table(SSDT2, "SSDT", 48);
	return acpi_init(HPA(RSDP), map, &what);
}

static void finds_tables(void **state)
{
	(void)state;
	assert_ptr_equal(acpi_find("APIC", 0), memory + MADT);
	assert_ptr_equal(acpi_find("SSDT", 0), memory + SSDT1);
	assert_ptr_equal(acpi_find("SSDT", 1), memory + SSDT2);
	assert_null(acpi_find("SSDT", 2));
	assert_null(acpi_find("DMAR", 0));
}

static void no_acpi_answers_absent(void **state)
{
	struct acpi_ioapic io;
	struct acpi_override o;
	unsigned bits;

	(void)state;
	assert_int_equal(acpi_init(HPA(0), map, &what), -E_NOENT);
	assert_null(acpi_find("APIC", 0));
	assert_false(acpi_ioapic(0, &io));
	acpi_isa_override(0, &o);
	assert_int_equal(o.gsi, 0);
	assert_int_equal(acpi_pm_timer(&bits), 0);
}

static void root_pointer_must_be_right(void **state)
{
	for (unsigned i = 0; i < 36; i++) {
		setup(state);
		memory[RSDP + i] ^= 0x10;
		assert_int_equal(acpi_init(HPA(RSDP), map, &what), -E_FORMAT);
		assert_null(acpi_find("APIC", 0));
	}
	assert_int_equal(acpi_init(HPA(sizeof(memory) - 10), map, &what), -E_FORMAT);
	setup(state);
	put32(RSDP + 20, 20); /* revision 2 with the length of 1 */
	seal_rsdp();
	assert_int_equal(acpi_init(HPA(RSDP), map, &what), -E_FORMAT);
}

static void version_1_uses_rsdt(void **state)
{
	(void)state;
	memory[RSDP + 15] = 0;
	put64(RSDP + 24, 0xdeadbeef00ULL);
	seal(RSDP, 20, RSDP + 8);
	assert_int_equal(acpi_init(HPA(RSDP), map, &what), 0);
	assert_non_null(acpi_find("APIC", 0));
	assert_null(acpi_find("SSDT", 0));
}

static void broken_xsdt_falls_back_to_rsdt(void **state)
{
	(void)state;
	memory[XSDT + 40] ^= 1;
	assert_int_equal(acpi_init(HPA(RSDP), map, &what), 0);
	assert_non_null(acpi_find("APIC", 0));
	assert_null(acpi_find("FACP", 0));
	memory[RSDT + 36] ^= 1;
	assert_int_equal(acpi_init(HPA(RSDP), map, &what), -E_FORMAT);
	assert_null(acpi_find("APIC", 0));
}

static void damaged_tables_are_absent(void **state)
{
	static const uint32_t lengths[] = {0, 8, 35, 0x80000000, ~0u, sizeof(memory)};

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		setup(state);
		put32(MADT + 4, lengths[i]);
		assert_null(acpi_find("APIC", 0));
	}
	setup(state);
	memory[MADT + 50] ^= 4;
	assert_null(acpi_find("APIC", 0));
	setup(state);
	put64(XSDT + 44, sizeof(memory) - 20); /* header cut off by the end of memory */
	put64(XSDT + 52, ~0ULL - 3);
	seal_table(XSDT, "XSDT", 68);
	assert_int_equal(acpi_init(HPA(RSDP), map, &what), 0);
	assert_null(acpi_find("SSDT", 0));
	assert_non_null(acpi_find("APIC", 0));
}

static void root_table_length_is_odd(void **state)
{
	(void)state;
	seal_table(XSDT, "XSDT", 67); /* the last entry is cut: not read */
	assert_int_equal(acpi_init(HPA(RSDP), map, &what), 0);
	assert_null(acpi_find("APIC", 0));
	assert_non_null(acpi_find("SSDT", 1));
	seal_table(XSDT, "XSDT", 36);
	assert_int_equal(acpi_init(HPA(RSDP), map, &what), 0);
	assert_null(acpi_find("SSDT", 0));
}

static void madt_lists_ioapics_and_overrides(void **state)
{
	struct acpi_ioapic io;
	struct acpi_override o;

	(void)state;
	assert_true(acpi_ioapic(0, &io));
	assert_true(io.hpa == 0xfec00000 && io.gsi_base == 0);
	assert_true(acpi_ioapic(1, &io));
	assert_true(io.hpa == 0xfec10000 && io.gsi_base == 24);
	assert_false(acpi_ioapic(2, &io));
	acpi_isa_override(0, &o);
	assert_true(o.gsi == 2 && !o.level && !o.active_low);
	acpi_isa_override(9, &o);
	assert_true(o.gsi == 9 && o.level && o.active_low);
	acpi_isa_override(4, &o);
	assert_true(o.gsi == 4 && !o.level && !o.active_low);
}

static void madt_entries_may_be_broken(void **state)
{
	struct acpi_ioapic io;

	make_madt(44 + sizeof(madt_entries) - 1); /* the last I/O APIC is cut */
	assert_true(acpi_ioapic(0, &io));
	assert_false(acpi_ioapic(1, &io));
	setup(state);
	memory[MADT + 44 + 1] = 0; /* an entry of length 0 would never end */
	seal_table(MADT, "APIC", 44 + sizeof(madt_entries));
	assert_false(acpi_ioapic(0, &io));
	setup(state);
	memory[MADT + 44 + 8 + 1] = 8; /* an I/O APIC that is too short */
	seal_table(MADT, "APIC", 44 + sizeof(madt_entries));
	assert_false(acpi_ioapic(0, &io));
	setup(state);
	seal_table(MADT, "APIC", 40); /* not even the fixed part */
	assert_false(acpi_ioapic(0, &io));
}

static void pm_timer(void **state)
{
	unsigned bits;

	(void)state;
	assert_int_equal(acpi_pm_timer(&bits), 0x608);
	assert_int_equal(bits, 24);
	put32(FADT + 112, 1 << 8);
	memory[FADT + 208] = 1;
	put64(FADT + 212, 0x1808);
	seal_table(FADT, "FACP", 244);
	assert_int_equal(acpi_pm_timer(&bits), 0x1808);
	assert_int_equal(bits, 32);
	memory[FADT + 208] = 0; /* in memory: not for us, the old field holds */
	seal_table(FADT, "FACP", 244);
	assert_int_equal(acpi_pm_timer(&bits), 0x608);
	put32(FADT + 76, 0x10000);
	seal_table(FADT, "FACP", 244);
	assert_int_equal(acpi_pm_timer(&bits), 0);
	setup(state);
	memory[FADT + 91] = 0;
	seal_table(FADT, "FACP", 116);
	assert_int_equal(acpi_pm_timer(&bits), 0);
	setup(state);
	seal_table(FADT, "FACP", 100);
	assert_int_equal(acpi_pm_timer(&bits), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(finds_tables, setup),
	    cmocka_unit_test_setup(no_acpi_answers_absent, setup),
	    cmocka_unit_test_setup(root_pointer_must_be_right, setup),
	    cmocka_unit_test_setup(version_1_uses_rsdt, setup),
	    cmocka_unit_test_setup(broken_xsdt_falls_back_to_rsdt, setup),
	    cmocka_unit_test_setup(damaged_tables_are_absent, setup),
	    cmocka_unit_test_setup(root_table_length_is_odd, setup),
	    cmocka_unit_test_setup(madt_lists_ioapics_and_overrides, setup),
	    cmocka_unit_test_setup(madt_entries_may_be_broken, setup),
	    cmocka_unit_test_setup(pm_timer, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
