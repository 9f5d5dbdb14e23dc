/*
 * What firmware's tables say about switching the machine off and resetting it: FADT fields and the \_S5 object. Read by
 * power.c, on the tables that acpi.c finds; pure as that is. ACPI 6.4, 4.8.3 (registers), 5.2.9 (FADT), 7.4.2 (\_Sx),
 * 20.2 (AML's encoding).
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "arch/x86/acpi.h"

struct acpi_reset {
	struct acpi_address reg; /* memory, port or PCI configuration space; 8 bits wide */
	uint8_t value;
};
/* False: no tables, or the FADT has no reset register. */
bool acpi_reset_register(struct acpi_reset *out);

struct acpi_soft_off {
	bool reduced;			/* hardware-reduced ACPI: control[0] is the sleep control register */
	struct acpi_address control[2]; /* PM1a and PM1b control, memory or port; address 0: there is none */
	uint8_t type[2];		/* SLP_TYP of S5 for each, 0 to 7 */
	uint16_t enable_port;		/* gets enable_value when SCI_EN is clear; 0: ACPI mode is always on */
	uint8_t enable_value;
};
/* 0, or -E_NOTSUP with *what naming the part that is missing. */
int acpi_soft_off(struct acpi_soft_off *out, const char **what) MUST_CHECK;

/*
 * SLP_TYPa and SLP_TYPb of \_S5 in `size` bytes of AML. The bytes are searched for the object's definition with literal
 * numbers, which is how firmware writes it; AML is not executed.
 */
bool aml_find_soft_off(const uint8_t *aml, size_t size, uint8_t type[2]);
