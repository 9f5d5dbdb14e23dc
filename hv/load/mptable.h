/*
 * The Intel MultiProcessor table (MP Specification 1.4, chapter 4) for kernels that know no ACPI, and the few words of
 * the BIOS data area that such kernels read. Says the same as the ACPI tables (hv/load/acpi.h). Called at VM creation
 * and reset.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/guest_mem.h"
#include "hv/lib/types.h"

/* Writes floating pointer and table at PC_MP_TABLE. 0, -E_INVAL (vcpus not 1 to PC_MAX_VCPUS) or -E_RANGE. */
int mptable_build(const struct guest_mem *mem, unsigned vcpus) MUST_CHECK;

/* COM1's port, EBDA segment, base memory size, video mode 3 into the BIOS data area. Before the kernel is loaded. */
int bda_build(const struct guest_mem *mem) MUST_CHECK;
