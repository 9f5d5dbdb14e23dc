/* Which logical processors are threads of one core, by their APIC IDs. Pure. SDM Vol. 3A 9.9. */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

/*
 * How many low bits of an APIC ID tell the threads of a core apart: two that agree in the others share one. 0: a core
 * has one thread. `read`: the processor's CPUID.
 */
unsigned topology_thread_bits(void (*read)(uint32_t leaf, uint32_t subleaf, uint32_t regs[4]));
