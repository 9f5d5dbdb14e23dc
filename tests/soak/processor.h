/*
 * The processor of the soak test, behind arch/x86/virt.h: guests that do at random what makes a hypervisor work. Owned
 * by processor.c; lifecycle.c sets it up and asks it what must hold.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/vm.h"

/* What the processor can do, by the run's seed. */
void processor_init(void);
/* What the guests of this run execute: a flat image for address PROCESSOR_CODE, which is where device accesses are. */
#define PROCESSOR_CODE 0x7c00
extern const uint8_t processor_image[64];
/* Creating something fails now and then while this is set. */
extern bool processor_short_of_memory;
/* vCPUs and spaces that exist. */
unsigned processor_vcpus(void);
unsigned processor_spaces(void);
/* Entries so far, for the report. */
uint64_t processor_entries(void);
/* May the vCPU take interrupts, as far as RFLAGS says. */
bool processor_interruptible(const struct virt_vcpu *v);
