/*
 * The guest's ACPI tables: RSDP, XSDT, RSDT, FADT, FACS, MADT and a DSDT that iasl compiled from dsdt.asl. ACPI 6.4
 * chapter 5. They describe the PC of hv/pc_map.h: IRQ 0 is IOAPIC pin 2 (an interrupt source override), IRQ 9 is the
 * SCI and level-triggered, every other ISA IRQ is its own pin; the MP table says the same. Called at VM creation and
 * reset.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/guest_mem.h"
#include "hv/lib/types.h"

/*
 * Writes the tables into guest memory at PC_ACPI_TABLES and answers where the RSDP is. `vcpus` is 1 to PC_MAX_VCPUS;
 * vCPU n has local APIC ID and _UID n. 0, -E_INVAL (vcpus) or -E_RANGE (that memory is not there).
 */
int acpi_build(const struct guest_mem *mem, unsigned vcpus, gpa_t *rsdp) MUST_CHECK;
