/*
 * From the RSDP over XSDT or RSDT to the MADT's local APIC entries (type 0) and local x2APIC entries (type 9).
 * Tables whose length or checksum is wrong are passed over. ACPI 6.5, 5.2.5 RSDP, 5.2.8 XSDT, 5.2.12 MADT.
 */
/* SPDX-License-Identifier: MIT */
#include "boot/acpi.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define TABLE_MAX	    (1u << 20) /* no root table or MADT comes near; bounds the checksum over a broken length */
#define RSDP_V1_SIZE	    20u
#define RSDP_V2_SIZE	    36u
#define HEADER_SIZE	    36u
#define MADT_ENTRIES	    44u /* offset of the first interrupt controller structure */
#define MADT_LOCAL_APIC	    0
#define MADT_LOCAL_X2APIC   9
#define MADT_ENABLED	    1u
#define MADT_ONLINE_CAPABLE 2u

static uint32_t read32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof v);
	return v;
}

static uint64_t read64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof v);
	return v;
}

static bool same(const uint8_t *a, const char *b, unsigned length)
{
	while (length--)
		if (a[length] != (uint8_t)b[length])
			return false;
	return true;
}

static bool checksum_ok(const uint8_t *p, uint32_t length)
{
	uint8_t sum = 0;

	while (length--)
		sum = (uint8_t)(sum + *p++);
	return sum == 0;
}

static acpi_readable_fn *is_readable;

static const uint8_t *pointer(uint64_t hpa, uint64_t size)
{
	return hpa && is_readable(hpa, size) ? (const uint8_t *)(uintptr_t)hpa : NULL;
}

/* The table at `hpa` if it is one with this signature; its length is then at least a header's. */
static const uint8_t *check_table(uint64_t hpa, const char *signature)
{
	const uint8_t *t = pointer(hpa, HEADER_SIZE);
	uint32_t length;

	if (!t || !same(t, signature, 4))
		return NULL;
	length = read32(t + 4);
	if (length < HEADER_SIZE || length > TABLE_MAX || !pointer(hpa, length) || !checksum_ok(t, length))
		return NULL;
	return t;
}

static const uint8_t *find_in_root(const uint8_t *root, uint32_t entry_size, const char *signature)
{
	uint32_t length = read32(root + 4);

	for (uint32_t at = HEADER_SIZE; length - at >= entry_size; at += entry_size) {
		uint64_t hpa = entry_size == 8 ? read64(root + at) : read32(root + at);
		const uint8_t *t = check_table(hpa, signature);

		if (t)
			return t;
	}
	return NULL;
}

static const uint8_t *find_table(uint64_t rsdp_hpa, const char *signature)
{
	const uint8_t *rsdp = pointer(rsdp_hpa, RSDP_V1_SIZE), *root;

	if (!rsdp || !same(rsdp, "RSD PTR ", 8) || !checksum_ok(rsdp, RSDP_V1_SIZE))
		return NULL;
	if (rsdp[15] >= 2 &&
	    pointer(rsdp_hpa, RSDP_V2_SIZE)) { /* revision: has the extended part with the XSDT's address */
		root = check_table(read64(rsdp + 24), "XSDT");
		if (root)
			return find_in_root(root, 8, signature);
	}
	root = check_table(read32(rsdp + 16), "RSDT");
	return root ? find_in_root(root, 4, signature) : NULL;
}

void acpi_add_cpu(struct boot_info *info, uint32_t apic_id, uint32_t flags)
{
	for (uint32_t i = 0; i < info->cpu_count; i++)
		if (info->cpu[i].apic_id == apic_id)
			return;
	if (info->cpu_count < BOOT_MAX_CPUS)
		info->cpu[info->cpu_count++] = (struct boot_cpu){apic_id, flags};
}

/*
 * "Online capable" without "enabled" is a socket or a virtual CPU that may be plugged in while the system runs; until
 * then it would not answer a SIPI (ACPI 6.5, table 5.22).
 */
static void add_if_enabled(struct boot_info *info, uint32_t apic_id, uint32_t flags, uint32_t *absent)
{
	if (flags & MADT_ENABLED)
		acpi_add_cpu(info, apic_id, 0);
	else if (flags & MADT_ONLINE_CAPABLE)
		(*absent)++;
}

uint32_t acpi_find_cpus(uint64_t rsdp_hpa, acpi_readable_fn *readable, struct boot_info *info, uint32_t *absent)
{
	uint32_t before = info->cpu_count, length;
	const uint8_t *madt;

	*absent = 0;
	is_readable = readable;
	madt = find_table(rsdp_hpa, "APIC");
	if (!madt)
		return 0;
	length = read32(madt + 4);
	for (uint32_t at = MADT_ENTRIES; at + 2 <= length && madt[at + 1] >= 2; at += madt[at + 1]) {
		const uint8_t *e = madt + at;

		if (e[1] > length - at)
			break;
		if (e[0] == MADT_LOCAL_APIC && e[1] >= 8)
			add_if_enabled(info, e[3], read32(e + 4), absent);
		else if (e[0] == MADT_LOCAL_X2APIC && e[1] >= 16)
			add_if_enabled(info, read32(e + 4), read32(e + 8), absent);
	}
	return info->cpu_count - before;
}
