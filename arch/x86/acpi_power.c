/* FADT and \_S5: acpi_power.h. Firmware's bytes are not trusted: every offset is checked against the table's length. */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/acpi_power.h"
#include "hv/lib/string.h"

#define SPACE_PORT 1
#define SPACE_PCI  2

/* FADT: offsets and flags */
#define FADT_SMI_CMD	   48
#define FADT_ACPI_ENABLE   52
#define FADT_PM1A_CNT	   64
#define FADT_PM1B_CNT	   68
#define FADT_PM1_CNT_LEN   89
#define FADT_FLAGS	   112
#define FADT_RESET_REG	   116
#define FADT_RESET_VALUE   128
#define FADT_X_PM1A_CNT	   172
#define FADT_X_PM1B_CNT	   184
#define FADT_SLEEP_CONTROL 244
#define FLAG_RESET_REG	   BIT(10)
#define FLAG_REDUCED	   BIT(20)
#define PM1_CNT_BYTES	   2
#define SLP_TYP_MAX	   7

/* AML */
#define NAME_OP	     0x08
#define BYTE_PREFIX  0x0a
#define WORD_PREFIX  0x0b
#define DWORD_PREFIX 0x0c
#define PACKAGE_OP   0x12
#define ROOT_PREFIX  '\\'

/* A number of `bytes` bytes in the FADT; 0 where the table is too short for the field. */
static uint32_t fadt_field(const struct acpi_header *fadt, uint32_t offset, size_t bytes)
{
	uint32_t value = 0;

	if (offset + bytes <= fadt->length)
		memcpy(&value, (const uint8_t *)fadt + offset, bytes);
	return value;
}

/* A generic address that we can reach; address 0 otherwise. */
static struct acpi_address fadt_address(const struct acpi_header *fadt, uint32_t offset)
{
	struct acpi_address none = {0}, address;

	if (offset + sizeof(address) > fadt->length)
		return none;
	memcpy(&address, (const uint8_t *)fadt + offset, sizeof(address));
	if (address.space == SPACE_PORT && address.address > 0xfffe)
		return none;
	return address.space <= SPACE_PCI ? address : none;
}

/* The extended field counts; where it is empty, the one of ACPI 1.0 does. */
static struct acpi_address pm1_control(const struct acpi_header *fadt, uint32_t extended, uint32_t old)
{
	struct acpi_address address = fadt_address(fadt, extended);
	uint32_t port = fadt_field(fadt, old, 4);

	if (address.address && address.space != SPACE_PCI)
		return address;
	address = (struct acpi_address){.space = SPACE_PORT, .address = port};
	if (port > 0xfffe || fadt_field(fadt, FADT_PM1_CNT_LEN, 1) < PM1_CNT_BYTES)
		address.address = 0;
	return address;
}

bool acpi_reset_register(struct acpi_reset *out)
{
	const struct acpi_header *fadt = acpi_find("FACP", 0);

	if (!fadt || !(fadt_field(fadt, FADT_FLAGS, 4) & FLAG_RESET_REG))
		return false;
	out->reg = fadt_address(fadt, FADT_RESET_REG);
	out->value = (uint8_t)fadt_field(fadt, FADT_RESET_VALUE, 1);
	return out->reg.address;
}

struct aml {
	const uint8_t *at, *end;
};

/* A little-endian number of `count` bytes, at most 4. */
static bool take(struct aml *aml, unsigned count, uint32_t *value)
{
	if (aml->end - aml->at < (ptrdiff_t)count)
		return false;
	*value = 0;
	memcpy(value, aml->at, count);
	aml->at += count;
	return true;
}

/* ZeroOp and OneOp are their own values. */
static bool take_integer(struct aml *aml, uint32_t *value)
{
	if (!take(aml, 1, value))
		return false;
	switch (*value) {
	case 0:
	case 1:
		return true;
	case BYTE_PREFIX:
		return take(aml, 1, value);
	case WORD_PREFIX:
		return take(aml, 2, value);
	case DWORD_PREFIX:
		return take(aml, 4, value);
	default:
		return false;
	}
}

/* PackageOp, PkgLength (which counts itself), NumElements: leaves `aml` at the elements, ending where they end. */
static bool enter_package(struct aml *aml, uint32_t *elements)
{
	const uint8_t *start;
	uint32_t op, lead, more, length;

	if (!take(aml, 1, &op) || op != PACKAGE_OP)
		return false;
	start = aml->at;
	if (!take(aml, 1, &lead) || !take(aml, lead >> 6, &more))
		return false;
	length = lead >> 6 ? (lead & 0xf) | more << 4 : lead & 0x3f;
	if (length > (size_t)(aml->end - start) || length < (size_t)(aml->at - start))
		return false;
	aml->end = start + length;
	return take(aml, 1, elements);
}

/* Two numbers, or, from the days before ACPI 1.0b, one with two bytes. */
static bool take_types(struct aml *aml, uint8_t type[2])
{
	uint32_t elements, a, b;

	if (!enter_package(aml, &elements) || !elements || !take_integer(aml, &a))
		return false;
	if (elements == 1) {
		b = a >> 8;
		a &= 0xff;
	} else if (!take_integer(aml, &b)) {
		return false;
	}
	if (a > SLP_TYP_MAX || b > SLP_TYP_MAX)
		return false;
	type[0] = (uint8_t)a;
	type[1] = (uint8_t)b;
	return true;
}

static bool is_definition(const uint8_t *aml, size_t name)
{
	if (memcmp(aml + name, "_S5_", 4))
		return false;
	return (name >= 1 && aml[name - 1] == NAME_OP) ||
	       (name >= 2 && aml[name - 1] == ROOT_PREFIX && aml[name - 2] == NAME_OP);
}

bool aml_find_soft_off(const uint8_t *aml, size_t size, uint8_t type[2])
{
	for (size_t at = 0; at + 4 <= size; at++) {
		struct aml rest = {aml + at + 4, aml + size};

		if (is_definition(aml, at) && take_types(&rest, type))
			return true;
	}
	return false;
}

static bool table_find_soft_off(const struct acpi_header *table, uint8_t type[2])
{
	return aml_find_soft_off((const uint8_t *)(table + 1), table->length - sizeof(*table), type);
}

static bool find_soft_off(uint8_t type[2])
{
	const struct acpi_header *table = acpi_dsdt();

	if (table && table_find_soft_off(table, type))
		return true;
	for (unsigned n = 0; (table = acpi_find("SSDT", n)) != NULL; n++)
		if (table_find_soft_off(table, type))
			return true;
	return false;
}

static void find_registers(struct acpi_soft_off *out, const struct acpi_header *fadt)
{
	uint32_t port = fadt_field(fadt, FADT_SMI_CMD, 4);

	out->reduced = fadt_field(fadt, FADT_FLAGS, 4) & FLAG_REDUCED;
	if (out->reduced) {
		out->control[0] = fadt_address(fadt, FADT_SLEEP_CONTROL);
		if (out->control[0].space == SPACE_PCI)
			out->control[0].address = 0;
		return;
	}
	out->control[0] = pm1_control(fadt, FADT_X_PM1A_CNT, FADT_PM1A_CNT);
	out->control[1] = pm1_control(fadt, FADT_X_PM1B_CNT, FADT_PM1B_CNT);
	out->enable_value = (uint8_t)fadt_field(fadt, FADT_ACPI_ENABLE, 1);
	out->enable_port = out->enable_value && port <= 0xffff ? (uint16_t)port : 0;
}

int acpi_soft_off(struct acpi_soft_off *out, const char **what)
{
	const struct acpi_header *fadt = acpi_find("FACP", 0);

	*out = (struct acpi_soft_off){0};
	*what = "firmware left no ACPI table FADT";
	if (!fadt)
		return -E_NOTSUP;
	find_registers(out, fadt);
	*what = out->reduced ? "the FADT names no sleep control register" : "the FADT names no PM1a control register";
	if (!out->control[0].address)
		return -E_NOTSUP;
	*what = "neither DSDT nor SSDT defines \\_S5, the sleep type of power-off";
	return find_soft_off(out->type) ? 0 : -E_NOTSUP;
}
