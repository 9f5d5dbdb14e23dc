/*
 * Every exit reason in one table: its name and the function that deals with it. Handlers are grouped by family, a file
 * each: cpu.c (instructions and exceptions), msr.c, io.c, mem.c, apic.c (interrupts and the local APIC), hypercall.c.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/vcpu.h"

/* Calls the handler. An exit that nobody knows kills the VM. */
enum outcome exit_handle(struct vcpu *v, const struct exit *exit);
/* "CPUID", "EPT violation", ..., "unknown"; `reason` is one of enum exit_reason. */
const char *exit_name(uint32_t reason);

/* The handlers; called with the vCPU loaded and interrupts off. */
typedef enum outcome exit_handler(struct vcpu *v, const struct exit *exit);
exit_handler exit_exception, exit_task_switch, exit_cpuid, exit_hlt, exit_cache, exit_cr, exit_xsetbv, exit_hidden,
    exit_rdpmc, exit_triple_fault, exit_pause;
exit_handler exit_rdmsr, exit_wrmsr;
exit_handler exit_io;
exit_handler exit_ept_violation, exit_apic_access, exit_ept_misconfig;
exit_handler exit_external_interrupt, exit_window, exit_timer, exit_tpr_threshold, exit_eoi, exit_apic_write;
exit_handler exit_vmcall;
