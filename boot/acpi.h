/*
 * The one ACPI table that the loader reads itself: the MADT, for the list of CPUs. Pure but for taking physical
 * addresses for pointers (UEFI's identity mapping). ACPI 6.5, 5.2.5 to 5.2.12.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "boot/boot_info.h"

#include <stdbool.h>
#include <stdint.h>

/* Whether [hpa, hpa + size) may be read: where tables are damaged they point anywhere. */
typedef bool acpi_readable_fn(uint64_t hpa, uint64_t size);

/*
 * Adds the enabled CPUs of the MADT to info->cpu. Answers how many were added: 0 when there is no valid RSDP,
 * XSDT/RSDT or MADT. `*absent` counts CPUs that could be plugged in later; those are not added.
 */
uint32_t acpi_find_cpus(uint64_t rsdp_hpa, acpi_readable_fn *readable, struct boot_info *info, uint32_t *absent);

/* Adds one CPU, unless it is known or the list is full. */
void acpi_add_cpu(struct boot_info *info, uint32_t apic_id, uint32_t flags);
