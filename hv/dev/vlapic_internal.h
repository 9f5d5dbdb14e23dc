/*
 * What the files of the virtual local APIC share among themselves: vlapic.c (state and priorities), vlapic_regs.c (the
 * guest's accesses), vlapic_timer.c, vlapic_ipi.c and apic_bus.c. Nobody else includes this.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/dev/vlapic.h"

/* Bits in LVT entries. SDM Vol. 3A figure 11-8. */
#define LVT_MASKED	     (1U << 16)
#define LVT_TIMER_MODE_SHIFT 17

enum { TIMER_ONE_SHOT = 0, TIMER_PERIODIC = 1, TIMER_TSC_DEADLINE = 2 };

#define SVR_ENABLE	 (1U << 8)
#define SVR_SUPPRESS_EOI (1U << 12)

/* SDM Vol. 3A figure 11-9, the bits that we can raise. */
#define ESR_SEND_ILLEGAL     (1U << 5)
#define ESR_RECEIVE_ILLEGAL  (1U << 6)
#define ESR_ILLEGAL_REGISTER (1U << 7)

/* The processor and other CPUs read (and under APICv write) the page beside us, so every access is a single one. */
static inline uint32_t vlapic_reg(const struct vlapic *v, uint32_t offset)
{
	return __atomic_load_n(&v->regs[offset / 4], __ATOMIC_RELAXED);
}

static inline void vlapic_set_reg(struct vlapic *v, uint32_t offset, uint32_t value)
{
	__atomic_store_n(&v->regs[offset / 4], value, __ATOMIC_RELAXED);
}

/* Any CPU: note an error; the first one since ESR was last written raises the LVT error interrupt. */
void vlapic_error(struct vlapic *v, uint32_t bit);
/* Any CPU: what an event at this LVT entry causes, unless masked. */
void vlapic_raise_lvt(struct vlapic *v, uint32_t reg);

/*
 * Owner: the local APIC sends itself a vector, edge-triggered. Without apicv it goes straight into IRR; the exit
 * handler has the vCPU look again before its next entry anyhow.
 */
void vlapic_request(struct vlapic *v, uint8_t vector);

void vlapic_timer_reset(struct vlapic *v);
void vlapic_timer_set_lvt(struct vlapic *v); /* the LVT entry in the page has changed */
void vlapic_timer_start(struct vlapic *v, uint32_t count);
void vlapic_timer_set_divide(struct vlapic *v);
uint32_t vlapic_timer_count(struct vlapic *v);
void vlapic_timer_set_deadline(struct vlapic *v, uint64_t guest_tsc);
uint64_t vlapic_timer_deadline(struct vlapic *v);
void vlapic_timer_fire(struct timer *timer);

void vlapic_send_ipi(struct vlapic *v, uint32_t icr, uint32_t dest);
void vlapic_send_self_ipi(struct vlapic *v, uint8_t vector);
