/*
 * The host's I/O APICs and the legacy interrupt controllers. Every entry is masked at start; drivers route the few ISA
 * interrupts they use. Intel 82093AA data sheet; ACPI 5.2.12 (MADT) for where they are and which pins are overridden.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

/* Finds the I/O APICs by MADT, else probes 0xfec00000; masks all entries and the 8259 pair. -E_NOENT: there is none. */
int ioapic_init(void) MUST_CHECK;

/* Leads ISA interrupt `irq` (0 to 15) to `vector` on the CPU `apic_id` (below 256). -E_NOENT: no such pin. */
int ioapic_route_isa(unsigned irq, uint8_t vector, uint32_t apic_id) MUST_CHECK;
