/*
 * A machine for the soak test, in one thread: every CPU is a coroutine that runs the real run loop (hv/run.c). Which
 * one goes on, after how many of the core's basic blocks it is stopped, and how the clock moves is drawn from one seed,
 * so that a run can be had again. Used by the files of this folder only; sim.c owns the machine.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

#define SIM_CPUS 4
#define SIM_HZ	 1000000000ULL /* a tick is a nanosecond */
#define SIM_MS	 UINT64_C(1000000)

/* What the machine is to do when it is not simulating CPUs. */
struct sim_owner {
	void (*interrupt)(void); /* CPU 0 takes the interrupt that sim_interrupt() raised */
	void (*look)(void);	 /* now and then, from outside of all CPUs: what must always hold */
	bool (*over)(void);	 /* asked at each step: the run ends */
	void (*asleep)(void);	 /* all CPUs sleep, no timer is set, no interrupt waits */
};

/* Sets up `cpus` CPUs; with pcpu_init() behind it. */
void sim_init(uint64_t seed, unsigned cpus, const struct sim_owner *owner);
/* Runs until owner->over(). */
void sim_run(void);

/* A number below `below`, and true so many times in a thousand. */
uint64_t sim_random(uint64_t below);
bool sim_chance(unsigned per_mille);

uint64_t sim_now(void);
uint64_t sim_killed(void); /* VMs of which Vireo said so */
void sim_pass(uint64_t ticks);
unsigned sim_cpu(void); /* that runs this */
/* The CPU that runs this lets others go on. */
void sim_yield(void);
/* An interrupt waits for this CPU. */
bool sim_interrupt_waits(void);
/* Raises CPU 0's interrupt from outside; the interrupt handler is owner->interrupt. */
void sim_interrupt(void);
/* Notes an action; the last ones are printed when the run fails. */
void sim_note(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* Prints seed, actions and why, and ends the program. */
_Noreturn void sim_fail(const char *fmt, ...) PRINTF_LIKE(1, 2);
