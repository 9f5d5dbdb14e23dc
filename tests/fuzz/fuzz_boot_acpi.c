/*
 * boot/acpi.c, the loader's reading of ACPI tables, on arbitrary memory: one page below 4 GiB, which firmware's root
 * pointer is in, and nothing else that may be read. Half of the inputs get signatures and checksums where a table may
 * be, since a fuzzer can't guess them. Lists of tables that lead in circles are among what comes up.
 */
/* SPDX-License-Identifier: MIT */
/* links: boot/acpi.c */
#define _GNU_SOURCE /* MAP_32BIT */
#include "boot/acpi.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>
#include <sys/mman.h>

#define SIZE	4096
#define SLOT	256 /* tables that are made plausible begin at these */
#define ENTRIES 36

static uint8_t *memory;
static struct boot_info info;

/* Between two pages that are not there: a look beyond is seen. */
static void make_memory(void)
{
	uint8_t *all = mmap(NULL, 3 * SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	REQUIRE(all != MAP_FAILED && !mprotect(all + SIZE, SIZE, PROT_READ | PROT_WRITE));
	memory = all + SIZE;
}

static uint64_t address(uint64_t offset)
{
	return (uintptr_t)memory + offset;
}

static bool readable(uint64_t hpa, uint64_t size)
{
	REQUIRE(size);
	return hpa >= address(0) && size <= SIZE && hpa - address(0) <= SIZE - size;
}

static void seal(unsigned at, uint32_t length, unsigned checksum)
{
	uint8_t sum = 0;

	if (length > SIZE - at || checksum >= length)
		return;
	memory[at + checksum] = 0;
	for (uint32_t i = 0; i < length; i++)
		sum = (uint8_t)(sum + memory[at + i]);
	memory[at + checksum] = (uint8_t)-sum;
}

/* Pointers become those of slots: to each other, and to itself. */
static void point(unsigned at, unsigned width)
{
	uint64_t to = address((memory[at] & 15) * SLOT);

	memcpy(memory + at, &to, width);
}

static void make_table(unsigned slot, const char *signature)
{
	uint32_t length = memory[slot + 4] | (memory[slot + 5] & 1u) << 8;
	unsigned width = signature[0] == 'X' ? 8 : 4;

	memcpy(memory + slot, signature, 4);
	memset(memory + slot + 6, 0, 2);
	if (memory[slot + 10] & 1)
		memory[slot + 5] &= 1;
	for (unsigned at = slot + ENTRIES; signature[0] != 'A' && at + width <= slot + length && at + 8 <= SIZE;
	     at += width)
		point(at, width);
	seal(slot, length, 9);
}

/* The RSDP in slot 0; in the others a root or a MADT, as a byte of each says. */
static void make_plausible(void)
{
	static const char *const names[] = {"APIC", "XSDT", "RSDT", "APIC"};

	for (unsigned slot = SLOT; slot < SIZE; slot += SLOT)
		make_table(slot, names[memory[slot] & 3]);
	memcpy(memory, "RSD PTR ", 8);
	point(16, 4);
	point(24, 8);
	seal(0, 20, 8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t added, absent;

	if (!memory)
		make_memory();
	memset(memory, 0, SIZE);
	memcpy(memory, data, size < SIZE ? size : SIZE);
	memset(&info, 0, sizeof(info));
	if (size && data[size - 1] & 1)
		make_plausible();
	info.cpu_count = size > 100 ? data[100] : 0;
	for (unsigned i = 0; i < info.cpu_count; i++)
		info.cpu[i].apic_id = 0x1000 + i;
	added = info.cpu_count;
	added +=
	    acpi_find_cpus(address(size > 101 ? data[101] & 0xf0 & -(data[101] & 1) : 0), readable, &info, &absent);
	REQUIRE(added == info.cpu_count && added <= BOOT_MAX_CPUS);
	REQUIRE(absent <= SIZE / 8);
	for (unsigned i = 0; i < info.cpu_count; i++)
		for (unsigned j = 0; j < i; j++)
			REQUIRE(info.cpu[i].apic_id != info.cpu[j].apic_id);
	return 0;
}
