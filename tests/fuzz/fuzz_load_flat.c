/*
 * Flat images of any size for any address and mode, and what a PC's firmware leaves beside them (ACPI and MP tables,
 * the BIOS data area), in guest memory of any regions: an image that is accepted lies where it was asked for and has
 * hurt nothing that its start needs; tables that are accepted hold together: lengths, sums, pointers.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/load/flat.c hv/load/tables.c hv/load/acpi.c hv/load/mptable.c hv/guest_mem.c arch/x86/cpu_state.c */
/* links: arch/x86/walk.c */
#include <string.h>

#include "arch/x86/registers.h"
#include "arch/x86/walk.h"
#include "hv/load/acpi.h"
#include "hv/load/mptable.h"
#include "hv/load/tables.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"

#define IMAGE_MAX (128 * KIB)

static struct guest_mem mem;
static uint8_t *host;
static uint8_t image[IMAGE_MAX];

/* Regions of any size; those of a run are freed behind it. */
static void make_memory(void)
{
	unsigned count = 1 + (unsigned)next(1) % 4;
	uint64_t at = 0;

	memset(&mem, 0, sizeof(mem));
	for (unsigned i = 0; i < count; i++) {
		uint64_t size = next(1) % 4 ? next(1) * 8 * KIB : 1 * MIB;
		struct guest_region r = {at, ALIGN_UP(size, PAGE_SIZE), NULL, next(1) % 8 != 0};

		r.host = calloc(1, r.size + 1);
		if (guest_mem_add(&mem, &r))
			free(r.host);
		at += r.size + next(1) % 4 * PAGE_SIZE;
	}
}

static void free_memory(void)
{
	for (unsigned i = 0; i < mem.count; i++)
		free(mem.region[i].host);
	free(host);
	host = NULL;
}

/* --- flat images -------------------------------------------------------------------------------------------------- */

static uint64_t some_address(void)
{
	static const uint64_t places[] = {0,	   0x7C00,	    LOW_PAGE_TABLES, LOW_GDT,	LOW_GDT + PAGE_SIZE,
					  0x9FC00, MIB - PAGE_SIZE, 4 * GIB,	     UINT64_MAX};
	unsigned how = (unsigned)next(1);

	return how < 144 ? places[how % ARRAY_SIZE(places)] + how / 16 - 4 : how < 224 ? next(3) : next(8);
}

static int read_table(void *ctx, gpa_t from, void *to, size_t size)
{
	(void)ctx;
	return guest_read(&mem, from, to, size);
}

/* Long mode: the first 4 GiB are where they are, for data and for code. */
static void check_paging(const struct cpu_state *s)
{
	struct walk_mode mode = {.cr0 = s->cr0, .cr3 = s->cr3, .cr4 = s->cr4, .efer = s->efer, .phys_bits = 40};
	struct walk_result result;
	uint64_t at = next(4);

	mode.efer |= EFER_LMA;
	REQUIRE(walk_guest(&mode, GVA(at), WALK_WRITE, read_table, NULL, &result) == 0 && result.gpa.value == at);
	REQUIRE(walk_guest(&mode, GVA(s->rip), WALK_EXEC, read_table, NULL, &result) == 0);
	REQUIRE(walk_guest(&mode, GVA(4 * GIB + at), WALK_READ, read_table, NULL, &result) == -E_FAULT);
}

/* What the selectors say stands in the table: present, and of code and data. */
static void check_gdt(const struct cpu_state *s)
{
	static const unsigned segments[] = {SEG_CS, SEG_DS};

	for (unsigned i = 0; i < ARRAY_SIZE(segments); i++) {
		const struct segment *seg = &s->seg[segments[i]];
		uint64_t entry;

		REQUIRE(seg->selector && seg->selector + 7U <= s->gdt_limit);
		REQUIRE(guest_read(&mem, GPA(s->gdt_base + seg->selector), &entry, 8) == 0);
		REQUIRE((entry >> 40 & 0xf0ff) == (seg->access & 0xf0ff) && entry >> 47 & 1);
	}
}

static void check_started(const struct load_request *r, const struct cpu_state *s)
{
	uint64_t linear = r->mode == MODE_REAL ? s->seg[SEG_CS].base + s->rip : s->rip;
	uint8_t *copy = malloc(r->kernel.size);

	REQUIRE(copy && guest_read(&mem, GPA(r->load_address), copy, r->kernel.size) == 0);
	REQUIRE(!memcmp(copy, r->kernel.data, r->kernel.size));
	free(copy);
	REQUIRE(linear == r->entry && linear >= r->load_address && linear - r->load_address < r->kernel.size);
	REQUIRE((s->cr0 & CR0_PE) == (r->mode == MODE_REAL ? 0 : CR0_PE));
	REQUIRE(!(s->cr0 & CR0_PG) == (r->mode != MODE_LONG));
	if (r->mode == MODE_LONG)
		check_paging(s);
	if (r->mode != MODE_REAL)
		check_gdt(s);
}

static void load_one(void)
{
	unsigned how = (unsigned)next(1);
	uint64_t size = how & 8 ? next(3) % IMAGE_MAX : next(1);
	struct load_request r = {.kernel = {"image", NULL, size}, .mode = (enum cpu_mode)(how % 3)};
	char error[LOAD_ERROR_MAX];
	struct cpu_state s;

	r.load_address = some_address();
	r.entry = how & 16 ? some_address() : r.load_address + next(1) % (size ? size : 1);
	for (unsigned i = 0; i < 64; i++)
		image[i] = (uint8_t)(i + how);
	host = malloc(size ? size : 1);
	REQUIRE(host);
	memcpy(host, image, size);
	r.kernel.data = host;
	memset(error, 0xff, sizeof(error));
	memset(&s, 0, sizeof(s));
	if (load_flat(&r, &mem, &s, error) == 0)
		check_started(&r, &s);
	else
		REQUIRE(memchr(error, 0, sizeof(error)) && !strncmp(error, "image: ", 7) && strlen(error) > 10);
}

/* --- tables ------------------------------------------------------------------------------------------------------- */

static uint8_t sum_of(uint64_t gpa, uint32_t size)
{
	uint8_t sum = 0, byte;

	for (uint32_t i = 0; i < size; i++) {
		REQUIRE(guest_read(&mem, GPA(gpa + i), &byte, 1) == 0);
		sum = (uint8_t)(sum + byte);
	}
	return sum;
}

static uint64_t number(uint64_t gpa, unsigned size)
{
	uint64_t value = 0;

	REQUIRE(guest_read(&mem, GPA(gpa), &value, size) == 0);
	return value;
}

/* A table with the header of all (ACPI 6.4, 5.2.6), within the place of tables. Its length. */
static uint32_t check_sdt(uint64_t gpa, const char *signature)
{
	uint32_t size = (uint32_t)number(gpa + 4, 4);

	REQUIRE(gpa >= PC_ACPI_TABLES && size >= 36 && gpa + size <= PC_MP_TABLE);
	REQUIRE(number(gpa, 4) == *(const uint32_t *)(const void *)signature && !sum_of(gpa, size));
	return size;
}

static void check_madt(uint64_t gpa, unsigned vcpus)
{
	uint32_t size = check_sdt(gpa, "APIC"), at = 44;
	unsigned processors = 0;

	while (at < size) {
		uint8_t type = (uint8_t)number(gpa + at, 1), length = (uint8_t)number(gpa + at + 1, 1);

		REQUIRE(length >= 2 && length <= size - at);
		if (type == 0)
			REQUIRE(number(gpa + at + 3, 1) == processors++ && number(gpa + at + 4, 4) & 1);
		at += length;
	}
	REQUIRE(processors == vcpus);
}

static void check_acpi(uint64_t rsdp, unsigned vcpus)
{
	uint64_t xsdt = number(rsdp + 24, 8), dsdt = 0;
	uint32_t size = check_sdt(xsdt, "XSDT");

	REQUIRE(!sum_of(rsdp, 20) && !sum_of(rsdp, 36) && number(rsdp, 8) == 0x2052545020445352);
	(void)check_sdt(number(rsdp + 16, 4), "RSDT");
	for (uint32_t at = 36; at < size; at += 8) {
		uint64_t table = number(xsdt + at, 8);

		(void)check_sdt(table, (const char *)&(uint32_t){(uint32_t)number(table, 4)});
		if (number(table, 4) == 0x43495041)
			check_madt(table, vcpus);
		if (number(table, 4) == 0x50434146)
			dsdt = number(table + 40, 4);
	}
	REQUIRE(dsdt);
	(void)check_sdt(dsdt, "DSDT");
}

static void check_mp(unsigned vcpus)
{
	uint64_t table = number(PC_MP_TABLE + 4, 4);
	uint32_t size = (uint32_t)number(table + 4, 2), at = 44;
	unsigned processors = 0, entries = 0;

	REQUIRE(number(PC_MP_TABLE, 4) == 0x5f504d5f && !sum_of(PC_MP_TABLE, 16));
	REQUIRE(number(table, 4) == 0x504d4350 && table + size <= MIB && !sum_of(table, size));
	for (; at < size; entries++) {
		uint8_t type = (uint8_t)number(table + at, 1);

		REQUIRE(type <= 4);
		processors += type == 0;
		at += type == 0 ? 20 : 8;
	}
	REQUIRE(at == size && processors == vcpus && number(table + 34, 2) == entries);
}

static void build_tables(void)
{
	unsigned vcpus = (unsigned)next(1) % (PC_MAX_VCPUS + 3);
	bool valid = vcpus >= 1 && vcpus <= PC_MAX_VCPUS;
	gpa_t rsdp = GPA(0);
	int err = acpi_build(&mem, vcpus, &rsdp), mp = mptable_build(&mem, vcpus);

	REQUIRE(valid || (err == -E_INVAL && mp == -E_INVAL));
	REQUIRE(!valid || ((err == 0 || err == -E_RANGE) && (mp == 0 || mp == -E_RANGE)));
	if (!err)
		check_acpi(rsdp.value, vcpus);
	if (!mp)
		check_mp(vcpus);
	if (bda_build(&mem) == 0)
		REQUIRE(number(PC_BDA, 2) == PC_PORT_COM1);
}

/* Sorted, nothing twice, no RAM in the PC's window. */
static void check_map(void)
{
	struct e820_entry map[E820_MAX];
	unsigned n = load_memory_map(&mem, map);

	REQUIRE(n <= E820_MAX);
	for (unsigned i = 0; i < n; i++) {
		REQUIRE(map[i].length && (!i || map[i].base >= map[i - 1].base + map[i - 1].length));
		REQUIRE(map[i].type != E820_RAM || map[i].base + map[i].length <= PC_EBDA || map[i].base >= MIB);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	input_begin(data, size);
	make_memory();
	check_map();
	build_tables();
	load_one();
	free_memory();
	return 0;
}
