/* arch/x86/acpi_power.c: reset register, PM1 control, \_S5 as firmware writes it; what is missing is named. */
/* SPDX-License-Identifier: MIT */
/* links: arch/x86/acpi_power.c arch/x86/acpi.c */
#include "arch/x86/acpi_power.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* "Physical memory", a table at each KiB. */
static uint8_t memory[16 * KIB];
static const char *what;
static struct acpi_soft_off off;
static struct acpi_reset reset;

#define RSDP 0x400u
#define XSDT 0x800u
#define FADT 0xc00u
#define DSDT 0x1000u
#define SSDT 0x1400u

#define HEADER	  36u
#define FADT_SIZE 268u

static const void *map(hpa_t hpa, uint64_t size)
{
	return hpa.value < sizeof(memory) && size <= sizeof(memory) - hpa.value ? memory + hpa.value : NULL;
}

static void put(uint64_t at, uint64_t value, size_t bytes)
{
	memcpy(memory + at, &value, bytes);
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
	put(at + 4, length, 4);
	seal(at, length, at + 9);
}

static void put_aml(uint64_t at, const char *signature, const uint8_t *aml, size_t size)
{
	memcpy(memory + at + HEADER, aml, size);
	seal_table(at, signature, (uint32_t)(HEADER + size));
}

static void put_address(uint32_t field, uint8_t space, uint64_t address)
{
	memory[FADT + field] = space;
	put(FADT + field + 4, address, 8);
}

static void seal_fadt(uint32_t length)
{
	seal_table(FADT, "FACP", length);
}

/* Name (\_S5, Package (4) {5, 6, 0, 0}) behind some other bytes */
static const uint8_t s5[] = {0xa0, 0x00, 0x08, '\\', '_', 'S',	'5',  '_',  0x12, 0x08,
			     0x04, 0x0a, 5,    0x0a, 6,	  0x00, 0x00, 0xa4, 0x00};

static int setup(void **state)
{
	(void)state;
	memset(memory, 0, sizeof(memory));
	memcpy(memory + RSDP, "RSD PTR ", 8);
	memory[RSDP + 15] = 2;
	put(RSDP + 20, 36, 4);
	put(RSDP + 24, XSDT, 8);
	seal(RSDP, 20, RSDP + 8);
	seal(RSDP, 36, RSDP + 32);
	put(XSDT + HEADER, FADT, 8);
	put(XSDT + HEADER + 8, SSDT, 8);
	seal_table(XSDT, "XSDT", HEADER + 16);
	put(FADT + 40, DSDT, 4);
	put(FADT + 48, 0xb2, 4);
	put(FADT + 52, 0xf1, 1);
	put(FADT + 64, 0x604, 4);
	memory[FADT + 89] = 2;
	seal_fadt(116);
	put_aml(DSDT, "DSDT", s5, sizeof(s5));
	return acpi_init(HPA(RSDP), map, &what);
}

static void no_tables(void **state)
{
	(void)state;
	assert_int_equal(acpi_init(HPA(0), map, &what), -E_NOENT);
	assert_false(acpi_reset_register(&reset));
	assert_int_equal(acpi_soft_off(&off, &what), -E_NOTSUP);
	assert_string_equal(what, "firmware left no ACPI table FADT");
}

static void acpi_1_fields(void **state)
{
	(void)state;
	assert_int_equal(acpi_soft_off(&off, &what), 0);
	assert_false(off.reduced);
	assert_true(off.control[0].space == 1 && off.control[0].address == 0x604);
	assert_true(off.control[1].address == 0);
	assert_true(off.type[0] == 5 && off.type[1] == 6);
	assert_true(off.enable_port == 0xb2 && off.enable_value == 0xf1);
	assert_false(acpi_reset_register(&reset));
}

static void extended_fields_count(void **state)
{
	(void)state;
	put_address(172, 1, 0x1804);
	put_address(184, 0, 0xfed80804);
	put(FADT + 68, 0x704, 4);
	seal_fadt(244);
	assert_int_equal(acpi_soft_off(&off, &what), 0);
	assert_true(off.control[0].space == 1 && off.control[0].address == 0x1804);
	assert_true(off.control[1].space == 0 && off.control[1].address == 0xfed80804);
	put_address(184, 4, 0x10); /* an embedded controller: the old field holds */
	put_address(172, 1, 0x10000);
	seal_fadt(244);
	assert_int_equal(acpi_soft_off(&off, &what), 0);
	assert_true(off.control[0].space == 1 && off.control[0].address == 0x604);
	assert_true(off.control[1].space == 1 && off.control[1].address == 0x704);
	seal_fadt(190); /* the extended field is cut */
	assert_int_equal(acpi_soft_off(&off, &what), 0);
	assert_true(off.control[1].address == 0x704);
}

static void acpi_mode_may_be_for_good(void **state)
{
	(void)state;
	memory[FADT + 52] = 0;
	seal_fadt(116);
	assert_int_equal(acpi_soft_off(&off, &what), 0);
	assert_int_equal(off.enable_port, 0);
	memory[FADT + 52] = 1;
	put(FADT + 48, 0x100b2, 4);
	seal_fadt(116);
	assert_int_equal(acpi_soft_off(&off, &what), 0);
	assert_int_equal(off.enable_port, 0);
}

static void expect_no_register(const char *text)
{
	seal_fadt(FADT_SIZE);
	assert_int_equal(acpi_soft_off(&off, &what), -E_NOTSUP);
	assert_string_equal(what, text);
}

static void no_control_register(void **state)
{
	(void)state;
	memory[FADT + 89] = 1;
	expect_no_register("the FADT names no PM1a control register");
	memory[FADT + 89] = 2;
	put(FADT + 64, 0x10000, 4);
	expect_no_register("the FADT names no PM1a control register");
	put(FADT + 64, 0, 4);
	expect_no_register("the FADT names no PM1a control register");
	seal_fadt(60);
	assert_int_equal(acpi_soft_off(&off, &what), -E_NOTSUP);
}

static void hardware_reduced(void **state)
{
	(void)state;
	put(FADT + 112, 1 << 20, 4);
	expect_no_register("the FADT names no sleep control register");
	put_address(244, 2, 0x40);
	expect_no_register("the FADT names no sleep control register");
	put_address(244, 0, 0xfea00000);
	seal_fadt(FADT_SIZE);
	assert_int_equal(acpi_soft_off(&off, &what), 0);
	assert_true(off.reduced && off.control[0].space == 0 && off.control[0].address == 0xfea00000);
	assert_true(off.control[1].address == 0 && off.enable_port == 0 && off.type[0] == 5);
}

static void reset_register(void **state)
{
	(void)state;
	put_address(116, 1, 0xcf9);
	memory[FADT + 128] = 0x0e;
	seal_fadt(132);
	assert_false(acpi_reset_register(&reset)); /* the flag is clear */
	put(FADT + 112, 1 << 10, 4);
	seal_fadt(132);
	assert_true(acpi_reset_register(&reset));
	assert_true(reset.reg.space == 1 && reset.reg.address == 0xcf9 && reset.value == 0x0e);
	put_address(116, 2, 0x0000001f00000044);
	seal_fadt(132);
	assert_true(acpi_reset_register(&reset));
	put_address(116, 3, 0xcf9);
	seal_fadt(132);
	assert_false(acpi_reset_register(&reset));
	put_address(116, 1, 0);
	seal_fadt(132);
	assert_false(acpi_reset_register(&reset));
	put_address(116, 1, 0xcf9);
	seal_fadt(120);
	assert_false(acpi_reset_register(&reset));
}

static void s5_is_looked_for_in_every_table(void **state)
{
	static const uint8_t nothing[] = {0xa4, 0x00};

	(void)state;
	put_aml(DSDT, "DSDT", nothing, sizeof(nothing));
	assert_int_equal(acpi_soft_off(&off, &what), -E_NOTSUP);
	assert_string_equal(what, "neither DSDT nor SSDT defines \\_S5, the sleep type of power-off");
	put_aml(SSDT, "SSDT", s5, sizeof(s5));
	assert_int_equal(acpi_soft_off(&off, &what), 0);
	assert_int_equal(off.type[1], 6);
}

static void dsdt_by_either_pointer(void **state)
{
	(void)state;
	put(FADT + 140, DSDT, 8);
	put(FADT + 40, 0, 4);
	seal_fadt(FADT_SIZE);
	assert_ptr_equal(acpi_dsdt(), memory + DSDT);
	put(FADT + 140, 0x100000000ULL + DSDT, 8);
	put(FADT + 40, DSDT, 4);
	seal_fadt(FADT_SIZE);
	assert_ptr_equal(acpi_dsdt(), memory + DSDT);
	put(FADT + 40, SSDT, 4);
	seal_fadt(FADT_SIZE);
	assert_null(acpi_dsdt());
	memory[DSDT + 40] ^= 1;
	put(FADT + 40, DSDT, 4);
	seal_fadt(FADT_SIZE);
	assert_null(acpi_dsdt());
	seal_fadt(43);
	assert_null(acpi_dsdt());
}

/* A block of exactly its size, so that the sanitizer sees a read beyond it. */
static bool find(const uint8_t *aml, size_t size, uint8_t type[2])
{
	uint8_t *copy = malloc(size ? size : 1);
	bool found;

	assert_non_null(copy);
	memcpy(copy, aml, size);
	found = aml_find_soft_off(copy, size, type);
	free(copy);
	return found;
}

#define expect_types(a, b, ...)                                                                                        \
	do {                                                                                                           \
		const uint8_t aml[] = {__VA_ARGS__};                                                                   \
		uint8_t type[2] = {0xee, 0xee};                                                                        \
		assert_true(find(aml, sizeof(aml), type));                                                             \
		assert_true(type[0] == (a) && type[1] == (b));                                                         \
	} while (0)
#define expect_none(...)                                                                                               \
	do {                                                                                                           \
		const uint8_t aml[] = {__VA_ARGS__};                                                                   \
		uint8_t type[2];                                                                                       \
		assert_false(find(aml, sizeof(aml), type));                                                            \
	} while (0)
#define S5 '_', 'S', '5', '_'

static void spellings_of_s5(void **state)
{
	(void)state;
	expect_types(0, 0, 8, S5, 0x12, 6, 4, 0, 0, 0, 0);		     /* QEMU, Bochs' test program */
	expect_types(1, 0, 8, S5, 0x12, 6, 4, 1, 0, 0, 0);		     /* OneOp */
	expect_types(7, 7, 8, S5, 0x12, 8, 4, 0x0a, 7, 0x0a, 7, 0, 0);	     /* many boards */
	expect_types(5, 4, 8, '\\', S5, 0x12, 8, 2, 0x0b, 5, 0, 0x0b, 4, 0); /* words */
	expect_types(5, 0, 8, S5, 0x12, 8, 2, 0x0c, 5, 0, 0, 0, 0);	     /* a double word */
	expect_types(5, 6, 8, S5, 0x12, 5, 1, 0x0b, 5, 6);		     /* both in one number */
	expect_types(7, 0, 8, S5, 0x12, 0x46, 0, 4, 0x0a, 7, 0, 0);	     /* PkgLength of two bytes */
	expect_types(7, 0, 8, S5, 0x12, 0x87, 0, 0, 4, 0x0a, 7, 0, 0);	     /* of three */
	expect_types(7, 0, 8, S5, 0x12, 0xc8, 0, 0, 0, 4, 0x0a, 7, 0, 0);    /* of four */
	expect_types(3, 3, S5, 8, S5, 0x12, 4, 2, 0x0a, 9, 8, S5, 0x12, 6, 2, 0x0a, 3, 0x0a, 3); /* not the first */
}

static void what_is_no_s5(void **state)
{
	(void)state;
	expect_none(S5, 0x12, 6, 4, 0, 0, 0, 0); /* a mention, no definition */
	expect_none('\\', S5, 0x12, 6, 4, 0, 0, 0, 0);
	expect_none(8, '_', 'S', '4', '_', 0x12, 6, 4, 0, 0, 0, 0);
	expect_none(8, S5, 0x11, 6, 4, 0, 0, 0, 0);    /* a buffer */
	expect_none(8, S5, 0x12, 6, 4, 0x0a, 8, 0, 0); /* beyond three bits */
	expect_none(8, S5, 0x12, 6, 4, 0, 0x0a, 8, 0);
	expect_none(8, S5, 0x12, 6, 0, 0, 0, 0, 0);	    /* no elements */
	expect_none(8, S5, 0x12, 6, 4, 'A', 'B', 'C', 'D'); /* a name */
	expect_none(8, S5, 0x12, 3, 4, 0, 0, 0, 0);	    /* the second is outside */
	expect_none(8, S5, 0x12, 1, 4, 0, 0, 0, 0);
	expect_none(8, S5, 0x12, 0, 4, 0, 0, 0, 0);
	expect_none(8, S5, 0x12, 0x41, 0, 4, 0, 0, 0, 0); /* shorter than itself */
	expect_none(8, S5, 0x12, 7, 4, 0, 0, 0, 0);	  /* longer than the table */
	expect_none(8, S5, 0x12, 0xcf, 0xff, 0xff, 0xff, 4, 0, 0, 0, 0);
	expect_none(0);
}

static void every_cut_is_bounded(void **state)
{
	static const uint8_t aml[] = {8, S5, 0x12, 0xca, 0, 0, 0, 2, 0x0c, 5, 0, 0, 0, 0x0a, 6};
	uint8_t type[2];

	(void)state;
	for (size_t size = 0; size < sizeof(aml); size++)
		assert_false(find(aml, size, type));
	assert_false(find(aml, sizeof(aml), type)); /* PkgLength ends before the second number */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(no_tables, setup),
	    cmocka_unit_test_setup(acpi_1_fields, setup),
	    cmocka_unit_test_setup(extended_fields_count, setup),
	    cmocka_unit_test_setup(acpi_mode_may_be_for_good, setup),
	    cmocka_unit_test_setup(no_control_register, setup),
	    cmocka_unit_test_setup(hardware_reduced, setup),
	    cmocka_unit_test_setup(reset_register, setup),
	    cmocka_unit_test_setup(s5_is_looked_for_in_every_table, setup),
	    cmocka_unit_test_setup(dsdt_by_either_pointer, setup),
	    cmocka_unit_test(spellings_of_s5),
	    cmocka_unit_test(what_is_no_s5),
	    cmocka_unit_test(every_cut_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
