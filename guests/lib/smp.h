/*
 * The guest's other processors: started with INIT and start-up IPIs, one after the other, into 64-bit C. They share
 * everything with the first (page tables, IDT, memory) but the stack. SDM Vol. 3A 9.4 (multiple-processor start-up).
 *
 * Faults that are survived (try_call) are the first processor's alone.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "guests/lib/pc.h"

#define SMP_MAX 8

/* What another processor does; its index is its APIC ID. Interrupts are off, its local APIC is on. It may return. */
typedef void smp_function(unsigned index);

/*
 * Starts the processors with APIC IDs 1, 2, ... until there are `wanted` (SMP_MAX at most) or one does not answer
 * within 100 ms. They run `run`, and sleep for good when it returns; their APICs are in the mode in which the caller's
 * is. The number of processors, the caller included. The caller has enabled its local APIC. Once.
 */
unsigned smp_start(unsigned wanted, smp_function *run);

/* Local APIC of processor `index`; x2APIC or not, whichever mode the caller's is in. `low`: ICR bits 31:0. */
void smp_send(unsigned index, uint32_t low);
