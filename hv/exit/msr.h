/*
 * The MSRs that a guest has: one sorted table (index, read, write, why). What is neither in it nor one of KVM's for its
 * guests (hv/pv.h) is #GP. From the table come the bitmaps that tell the processor which accesses need no exit.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

struct vcpu;

/* Makes the four bitmaps (4 KiB each, shared by all VMs). Once, after virt_probe. */
void msr_init(void);
/* A vCPU's own, at RESET: memory is write-back. The loaded vCPU's or one that is not running. */
void msr_reset(struct vcpu *v);
/*
 * The bitmap for a vCPU whose x2APIC MSRs the processor virtualises or not, and which sets the processor's own timer or
 * not (hv/guest_timer.h).
 */
hpa_t msr_bitmap(bool x2apic_virtualised, bool timer_direct);
