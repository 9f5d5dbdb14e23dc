/*
 * Starts the other CPUs by INIT-SIPI-SIPI. Called once by hv/main.c on the BSP, after paging_init(), lapic_init() and
 * tsc_calibrate(). SDM Vol. 3A 9.4.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "arch/x86/cpu.h"
#include "arch/x86/memory.h"
#include "boot/boot_info.h"
#include "hv/lib/types.h"

struct smp_report {
	unsigned online;	      /* CPUs that run, the BSP included */
	unsigned ignored;	      /* beyond MAX_CPUS, or no memory for them */
	unsigned failed;	      /* did not answer */
	uint32_t failed_id[MAX_CPUS]; /* their APIC IDs */
	uint64_t waited_us;	      /* for an answer, when failed > 0 */
	unsigned parked;	      /* run no guests: another thread of their core does */
	uint32_t parked_id[MAX_CPUS];
};

/*
 * Every CPU of info->cpu that answers calls `entry` on a stack of its own, with interrupts off, GDT, IDT, LAPIC and
 * this_cpu() ready, once all have answered or their deadline (100 ms) has passed: cpu_count() is right then.
 * Returns at the same moment. What was set aside for a CPU that did not answer (stacks, record, the page that it would
 * start in) is never used again: should it answer later, it finds itself given up, and stops for good.
 *
 * `thread_bits`: of CPUs whose APIC IDs differ in so many low bits only (topology.h), the first one is used. The others
 * halt for good, ready for NMIs and machine checks, which come to all threads. 0: all are used.
 */
void smp_start(const struct boot_info *info, const struct frame_source *frames, unsigned thread_bits,
	       void (*entry)(void), struct smp_report *report);
