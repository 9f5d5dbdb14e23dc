/* The guest page-table walker on hand-built tables: each paging mode, each right, each error code. */
/* SPDX-License-Identifier: MIT */
/* links: arch/x86/walk.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/walk.h"

#define P    1u
#define W    2u
#define U    4u
#define PS   0x80u
#define XD   BIT(63)
#define PG   BIT(31)
#define WP   BIT(16)
#define PSE  BIT(4)
#define PAE  BIT(5)
#define LA57 BIT(12)
#define SMEP BIT(20)
#define SMAP BIT(21)
#define PKE  BIT(22)
#define LMA  BIT(10)
#define NXE  BIT(11)

/* Eight pages of tables from 0x1000 on. */
static uint8_t tables[8 * 4096];
static struct walk_mode mode;
static struct walk_result result;

static int read_table(void *ctx, gpa_t from, void *to, size_t size)
{
	(void)ctx;
	if (from.value < 0x1000 || from.value - 0x1000 > sizeof(tables) - size)
		return -E_RANGE;
	memcpy(to, tables + from.value - 0x1000, size);
	return 0;
}

static void set64(uint64_t table, unsigned index, uint64_t entry)
{
	memcpy(tables + table - 0x1000 + 8 * index, &entry, 8);
}
static void set32(uint64_t table, unsigned index, uint32_t entry)
{
	memcpy(tables + table - 0x1000 + 4 * index, &entry, 4);
}

static int walk(uint64_t address, unsigned access)
{
	return walk_guest(&mode, GVA(address), access, read_table, NULL, &result);
}

static void maps(uint64_t address, unsigned access, uint64_t gpa)
{
	assert_int_equal(walk(address, access), 0);
	assert_int_equal(result.gpa.value, gpa);
}

static void faults(uint64_t address, unsigned access, uint32_t error)
{
	assert_int_equal(walk(address, access), -E_FAULT);
	assert_int_equal(result.error, error);
}

/* Four levels; 0x400000 + n * 0x1000 is a 4 KiB page with the n-th set of rights, 0x600000 a 2 MiB, 1 GiB a 1 GiB page.
 */
static int begin_64(void **s)
{
	(void)s;
	memset(tables, 0, sizeof(tables));
	mode = (struct walk_mode){.cr0 = PG | WP, .cr3 = 0x1018, .cr4 = PAE, .efer = LMA | NXE, .phys_bits = 39};
	set64(0x1000, 0, 0x2000 | P | W | U);
	set64(0x1000, 511, 0x2000 | P | W | U);
	set64(0x2000, 0, 0x3000 | P | W | U);
	set64(0x2000, 1, 0x40000000 | P | W | PS);
	set64(0x3000, 2, 0x4000 | P | W | U);
	set64(0x3000, 3, 0xa00000 | P | W | U | PS | BIT(12) | XD);
	set64(0x4000, 0, 0x10000 | P | W | U);
	set64(0x4000, 1, 0x11000 | P | U);
	set64(0x4000, 2, 0x12000 | P | W);
	set64(0x4000, 3, 0x13000 | P);
	set64(0x4000, 4, 0x14000 | P | W | U | XD);
	set64(0x4000, 6, 0x16000 | P | W | U | 3ULL << 59);
	return 0;
}

static void no_paging(void **s)
{
	(void)s;
	mode = (struct walk_mode){0};
	maps(0x12345678, WALK_WRITE | WALK_USER, 0x12345678);
	maps(0x112345678, WALK_EXEC, 0x12345678);
}

static void four_levels(void **s)
{
	(void)s;
	maps(0x400123, WALK_READ, 0x10123);
	assert_int_equal(result.size, 4096);
	maps(0x6abcde, WALK_WRITE, 0xaabcde);
	assert_int_equal(result.size, 2 * MIB);
	maps(0x40000000 + 0x1234567, WALK_READ, 0x41234567);
	assert_int_equal(result.size, GIB);
	maps(0xffffff8000400123, WALK_READ, 0x10123); /* PML4 entry 511 */
	assert_int_equal(walk(0x800000400123, WALK_READ), -E_INVAL);
	faults(0x405000, WALK_READ, 0);
	faults(0x405000, WALK_WRITE | WALK_USER, WALK_PF_W | WALK_PF_U);
	faults(0x8000000000, WALK_EXEC, WALK_PF_I);
	set64(0x3000, 4, 0x100000 | P);
	assert_int_equal(walk(0x800000, WALK_READ), -E_RANGE); /* a table outside of memory */
}

static void five_levels(void **s)
{
	(void)s;
	mode.cr4 |= LA57;
	mode.cr3 = 0x5000;
	set64(0x5000, 0x101, 0x1000 | P | W | U);
	maps(0xff01000000400123, WALK_READ, 0x10123);
	assert_int_equal(walk(0x0101000000400123, WALK_READ), -E_INVAL);
}

static void rights_of_users(void **s)
{
	const unsigned user = WALK_USER;

	(void)s;
	maps(0x400000, user | WALK_WRITE, 0x10000);
	maps(0x400000, user | WALK_EXEC, 0x10000);
	maps(0x401000, user, 0x11000);
	faults(0x401000, user | WALK_WRITE, WALK_PF_P | WALK_PF_W | WALK_PF_U);
	faults(0x402000, user, WALK_PF_P | WALK_PF_U);
	faults(0x404000, user | WALK_EXEC, WALK_PF_P | WALK_PF_U | WALK_PF_I);
	faults(0x40000000, user, WALK_PF_P | WALK_PF_U);
	set64(0x3000, 2, 0x4000 | P | U); /* a directory entry takes rights from all below */
	faults(0x400000, user | WALK_WRITE, WALK_PF_P | WALK_PF_W | WALK_PF_U);
	set64(0x3000, 2, 0x4000 | P | W);
	faults(0x400000, user, WALK_PF_P | WALK_PF_U);
	set64(0x3000, 2, 0x4000 | P | W | U | XD);
	faults(0x400000, user | WALK_EXEC, WALK_PF_P | WALK_PF_U | WALK_PF_I);
}

static void rights_of_supervisors(void **s)
{
	(void)s;
	faults(0x403000, WALK_WRITE, WALK_PF_P | WALK_PF_W);
	mode.cr0 &= ~WP;
	maps(0x403000, WALK_WRITE, 0x13000);
	faults(0x401000, WALK_WRITE | WALK_USER, WALK_PF_P | WALK_PF_W | WALK_PF_U);
	faults(0x404000, WALK_EXEC, WALK_PF_P | WALK_PF_I);
	maps(0x400000, WALK_EXEC, 0x10000);
	mode.cr4 |= SMEP | SMAP;
	faults(0x400000, WALK_EXEC, WALK_PF_P | WALK_PF_I);
	faults(0x400000, WALK_READ, WALK_PF_P);
	maps(0x402000, WALK_READ, 0x12000);
	mode.alignment_check = true;
	maps(0x400000, WALK_READ, 0x10000);
}

static void protection_keys(void **s)
{
	(void)s;
	mode.cr4 |= PKE;
	mode.pkru = 2u << 6; /* key 3: no writes */
	maps(0x406000, WALK_USER, 0x16000);
	faults(0x406000, WALK_USER | WALK_WRITE, WALK_PF_P | WALK_PF_W | WALK_PF_U | WALK_PF_PK);
	mode.cr0 &= ~WP;
	maps(0x406000, WALK_WRITE, 0x16000);
	mode.pkru = 1u << 6; /* key 3: no access */
	faults(0x406000, WALK_READ, WALK_PF_P | WALK_PF_PK);
	maps(0x406000, WALK_USER | WALK_EXEC, 0x16000);
	maps(0x400000, WALK_READ, 0x10000);
}

static void reserved_bits(void **s)
{
	const uint32_t rsvd = WALK_PF_P | WALK_PF_RSVD;

	(void)s;
	set64(0x4000, 0, BIT(39) | P | W);
	faults(0x400000, WALK_READ, rsvd);
	mode.phys_bits = 40;
	maps(0x400000, WALK_READ, BIT(39));
	set64(0x3000, 3, 0xa00000 | P | PS | BIT(13));
	faults(0x600000, WALK_READ, rsvd);
	set64(0x2000, 1, 0x40000000 | P | PS | BIT(29));
	faults(0x40000000, WALK_READ, rsvd);
	set64(0x1000, 1, 0x2000 | P | PS);
	faults(0x8000000000, WALK_READ, rsvd);
	mode.efer &= ~NXE;
	faults(0x404000, WALK_EXEC, rsvd); /* XD is reserved, and the I bit needs NXE or SMEP */
	mode.cr4 |= SMEP;
	faults(0x404000, WALK_EXEC, rsvd | WALK_PF_I);
}

static void pae(void **s)
{
	(void)s;
	mode.efer = NXE;
	mode.pdpte[0] = 0x3000 | P;
	mode.pdpte[3] = 0x5000 | P;
	set64(0x5000, 511, 0xa00000 | P | W | PS);
	maps(0x400123, WALK_WRITE | WALK_USER, 0x10123);
	maps(0x6abcde, WALK_WRITE, 0xaabcde);
	maps(0xffe12345, WALK_READ, 0xa12345);
	faults(0x40000000, WALK_READ, 0);
	assert_int_equal(walk(0x100000000, WALK_READ), -E_INVAL);
	set64(0x4000, 0, 0x10000 | P | W | BIT(52)); /* ignored with four levels, reserved here */
	faults(0x400000, WALK_READ, WALK_PF_P | WALK_PF_RSVD);
}

static void thirty_two_bits(void **s)
{
	(void)s;
	memset(tables, 0, sizeof(tables));
	mode = (struct walk_mode){.cr0 = PG, .cr3 = 0x1fff, .cr4 = PSE, .efer = NXE, .phys_bits = 36};
	set32(0x1000, 1, 0x2000 | P | W | U);
	set32(0x1000, 0x3ff, 0xc00000 | P | W | PS);
	set32(0x1000, 0x3fe, 0xc00000 | P | PS | 3 << 13 | BIT(12));
	set32(0x2000, 0x3ff, 0x80000000 | P | U);
	maps(0x7fffff, WALK_READ, 0x80000fff);
	maps(0xffc12345, WALK_WRITE, 0xc12345);
	assert_int_equal(result.size, 4 * MIB);
	maps(0xff800001, WALK_READ, 0x300c00001);
	faults(0x7fffff, WALK_USER | WALK_WRITE, WALK_PF_P | WALK_PF_W | WALK_PF_U);
	faults(0x400000, WALK_EXEC, 0); /* no NX with 4-byte entries */
	set32(0x1000, 0x3fe, 0xc00000 | P | PS | BIT(17));
	faults(0xff800001, WALK_READ, WALK_PF_P | WALK_PF_RSVD);
	set32(0x1000, 0x3fe, 0xc00000 | P | PS | BIT(21));
	faults(0xff800001, WALK_READ, WALK_PF_P | WALK_PF_RSVD);
	mode.cr4 = 0; /* PS means nothing without CR4.PSE */
	set32(0x1000, 0x3ff, 0x2000 | P | W | PS);
	maps(0xffffffff, WALK_READ, 0x80000fff);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(no_paging),
	    cmocka_unit_test_setup(four_levels, begin_64),
	    cmocka_unit_test_setup(five_levels, begin_64),
	    cmocka_unit_test_setup(rights_of_users, begin_64),
	    cmocka_unit_test_setup(rights_of_supervisors, begin_64),
	    cmocka_unit_test_setup(protection_keys, begin_64),
	    cmocka_unit_test_setup(reserved_bits, begin_64),
	    cmocka_unit_test_setup(pae, begin_64),
	    cmocka_unit_test(thirty_two_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
