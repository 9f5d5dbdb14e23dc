/* The processor of the soak test, behind arch/x86/virt.h: lifecycle.c sets it up and asks it what must hold. */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/vm.h"

/* What the processor can do, by the run's seed. */
void processor_init(void);
/* Creating something fails now and then while this is set. */
extern bool processor_short_of_memory;
/* Of what is created from now on, the n-th fails, once; and has it? 0: none will. */
void processor_fail_at(unsigned n);
bool processor_has_failed(void);
/* There is no memory for what is created now: asked for each thing. */
bool processor_no_memory(void);
/* The same for who fails when his turn has come, and not now and then. */
bool processor_fails_now(void);
/* vCPUs and spaces that exist. */
unsigned processor_vcpus(void);
unsigned processor_spaces(void);
/* Entries so far, for the report. */
uint64_t processor_entries(void);
uint64_t processor_refusals(void); /* times that there was no memory, on purpose */
/* This memory is given back: no vCPU on a CPU has a translation of it left. */
void processor_check_free(uint64_t hpa, uint64_t size);
/* May the vCPU take interrupts, as far as RFLAGS says. */
bool processor_interruptible(const struct virt_vcpu *v);
