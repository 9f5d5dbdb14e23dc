/*
 * The guest's accesses to its local APIC: the xAPIC page, the x2APIC MSRs, and what is left to do after the processor
 * stored a value into the virtual-APIC page. One table says for each register who may do what with it. Called by the
 * exit handlers of the owner CPU. SDM Vol. 3A 11.4.1 (register map), 11.12.1 (MSRs and their #GP rules).
 */
/* SPDX-License-Identifier: MIT */
#include "hv/dev/vlapic_internal.h"

enum {
	MMIO_R = 1,
	MMIO_W = 2,
	MSR_R = 4,
	MSR_W = 8,
	MMIO_RW = MMIO_R | MMIO_W,
	MSR_RW = MSR_R | MSR_W,
	ANY_R = MMIO_R | MSR_R,
	ANY_W = MMIO_W | MSR_W,
	ANY_RW = MMIO_RW | MSR_RW,
};

/* `bits` are those that a write stores; `allowed` besides them may be set in a WRMSR without #GP (read-only bits). */
struct reg_rule {
	uint8_t access; /* 0: no such register */
	uint32_t bits;
	uint32_t allowed;
};

#define LVT_READ_ONLY  0x1000U /* delivery status */
#define LINT_READ_ONLY 0x5000U /* and Remote IRR */

#define EACH_OF_8(reg, ...)                                                                                            \
	[(reg) / 16 + 0] = __VA_ARGS__, [(reg) / 16 + 1] = __VA_ARGS__, [(reg) / 16 + 2] = __VA_ARGS__,                \
		      [(reg) / 16 + 3] = __VA_ARGS__, [(reg) / 16 + 4] = __VA_ARGS__, [(reg) / 16 + 5] = __VA_ARGS__,  \
		      [(reg) / 16 + 6] = __VA_ARGS__, [(reg) / 16 + 7] = __VA_ARGS__

static const struct reg_rule rules[256] = {
    [VLAPIC_ID / 16] = {ANY_R, 0, 0}, /* the ID can't be changed: newer processors don't let it either (11.4.6) */
    [VLAPIC_VERSION / 16] = {ANY_R, 0, 0},
    [VLAPIC_TPR / 16] = {ANY_RW, 0xff, 0},
    [VLAPIC_APR / 16] = {MMIO_R, 0, 0},
    [VLAPIC_PPR / 16] = {ANY_R, 0, 0},
    [VLAPIC_EOI / 16] = {ANY_W, 0, 0},
    [VLAPIC_RRD / 16] = {MMIO_R, 0, 0},
    [VLAPIC_LDR / 16] = {MMIO_RW | MSR_R, 0xff000000, 0},
    [VLAPIC_DFR / 16] = {MMIO_RW, 0xf0000000, 0},
    [VLAPIC_SVR / 16] = {ANY_RW, 0x11ff, 0},
    EACH_OF_8(VLAPIC_ISR, {ANY_R, 0, 0}),
    EACH_OF_8(VLAPIC_TMR, {ANY_R, 0, 0}),
    EACH_OF_8(VLAPIC_IRR, {ANY_R, 0, 0}),
    [VLAPIC_ESR / 16] = {ANY_RW, 0, 0},
    [VLAPIC_ICR / 16] = {ANY_RW, 0xccfff, 0},
    [VLAPIC_ICR_HIGH / 16] = {MMIO_RW, 0xff000000, 0},
    [VLAPIC_LVT_TIMER / 16] = {ANY_RW, 0x700ff, LVT_READ_ONLY},
    [VLAPIC_LVT_THERMAL / 16] = {ANY_RW, 0x107ff, LVT_READ_ONLY},
    [VLAPIC_LVT_PERF / 16] = {ANY_RW, 0x107ff, LVT_READ_ONLY},
    [VLAPIC_LVT_LINT0 / 16] = {ANY_RW, 0x1a7ff, LINT_READ_ONLY},
    [VLAPIC_LVT_LINT1 / 16] = {ANY_RW, 0x1a7ff, LINT_READ_ONLY},
    [VLAPIC_LVT_ERROR / 16] = {ANY_RW, 0x100ff, LVT_READ_ONLY},
    [VLAPIC_INITIAL_COUNT / 16] = {ANY_RW, 0xffffffff, 0},
    [VLAPIC_CURRENT_COUNT / 16] = {ANY_R, 0, 0},
    [VLAPIC_DIVIDE / 16] = {ANY_RW, 0xb, 0},
    [VLAPIC_SELF_IPI / 16] = {MSR_W, 0xff, 0},
};

static uint32_t read_reg(struct vlapic *v, uint32_t reg)
{
	if (reg == VLAPIC_CURRENT_COUNT)
		return vlapic_timer_count(v);
	if (reg == VLAPIC_PPR)
		vlapic_update_ppr(v);
	return vlapic_reg(v, reg);
}

/* 11.4.7.2: software-disabling sets every mask bit and holds it. */
static void write_svr(struct vlapic *v, uint32_t value)
{
	vlapic_set_reg(v, VLAPIC_SVR, value);
	if (value & SVR_ENABLE)
		return;
	for (uint32_t reg = VLAPIC_LVT_TIMER; reg <= VLAPIC_LVT_ERROR; reg += 16)
		vlapic_set_reg(v, reg, vlapic_reg(v, reg) | LVT_MASKED);
	vlapic_timer_set_lvt(v);
}

static void write_lvt(struct vlapic *v, uint32_t reg, uint32_t value)
{
	if (!vlapic_software_enabled(v))
		value |= LVT_MASKED;
	vlapic_set_reg(v, reg, value);
	if (reg == VLAPIC_LVT_TIMER)
		vlapic_timer_set_lvt(v);
}

static void write_xapic_icr(struct vlapic *v, uint32_t value)
{
	uint32_t dest = vlapic_reg(v, VLAPIC_ICR_HIGH) >> 24;

	vlapic_set_reg(v, VLAPIC_ICR, value);
	vlapic_send_ipi(v, value, dest == 0xff ? APIC_DEST_BROADCAST : dest);
}

/* A write that is allowed; under APICv the page may hold the raw value already and is put right here. */
static void write_reg(struct vlapic *v, uint32_t reg, uint32_t value)
{
	value &= rules[reg / 16].bits;
	switch (reg) {
	case VLAPIC_TPR:
		vlapic_set_reg(v, reg, value);
		vlapic_update_ppr(v);
		break;
	case VLAPIC_EOI:
		vlapic_set_reg(v, reg, 0);
		vlapic_eoi(v);
		break;
	case VLAPIC_LDR:
	case VLAPIC_ICR_HIGH:
		vlapic_set_reg(v, reg, value);
		break;
	case VLAPIC_DFR:
		vlapic_set_reg(v, reg, value | 0x0fffffff);
		break;
	case VLAPIC_SVR:
		write_svr(v, value);
		break;
	case VLAPIC_ESR: /* 11.5.3: the write latches what happened since the last one */
		vlapic_set_reg(v, reg, atomic_exchange(&v->errors, 0));
		break;
	case VLAPIC_ICR:
		write_xapic_icr(v, value);
		break;
	case VLAPIC_INITIAL_COUNT:
		vlapic_timer_start(v, value);
		break;
	case VLAPIC_DIVIDE:
		vlapic_set_reg(v, reg, value);
		vlapic_timer_set_divide(v);
		break;
	default: /* the table lets through only LVT entries besides */
		write_lvt(v, reg, value);
		break;
	}
}

uint64_t vlapic_mmio_read(struct vlapic *v, uint32_t offset, unsigned size)
{
	uint32_t reg = offset & 0xff0, first = offset & 15;
	uint32_t value;

	if (!vlapic_has_mmio(v) || offset >= PAGE_SIZE)
		return ~0ULL;
	if (!rules[reg / 16].access || reg == VLAPIC_SELF_IPI) {
		vlapic_error(v, ESR_ILLEGAL_REGISTER);
		return 0;
	}
	if (first > 3 || !(rules[reg / 16].access & MMIO_R))
		return 0;
	value = read_reg(v, reg) >> (first * 8);
	return size >= 4 ? value : value & ((1U << (size * 8)) - 1);
}

void vlapic_mmio_write(struct vlapic *v, uint32_t offset, unsigned size, uint64_t value)
{
	if (!vlapic_has_mmio(v) || offset >= PAGE_SIZE || offset % 16 || size < 4)
		return;
	if (!rules[offset / 16].access || offset == VLAPIC_SELF_IPI)
		vlapic_error(v, ESR_ILLEGAL_REGISTER);
	else if (rules[offset / 16].access & MMIO_W)
		write_reg(v, offset, (uint32_t)value);
}

void vlapic_apic_write(struct vlapic *v, uint32_t offset)
{
	uint32_t reg = offset & 0xff0;
	uint32_t value = vlapic_reg(v, reg);

	if (reg == VLAPIC_SELF_IPI && vlapic_is_x2apic(v))
		vlapic_send_self_ipi(v, (uint8_t)value);
	else if (reg == VLAPIC_ID)
		vlapic_set_reg(v, reg, vlapic_is_x2apic(v) ? v->id : v->id << 24);
	else if (vlapic_has_mmio(v) && (rules[reg / 16].access & MMIO_W))
		write_reg(v, reg, value);
}

int vlapic_msr_read(struct vlapic *v, uint32_t msr, uint64_t *value)
{
	uint32_t reg = (msr - VLAPIC_MSR_FIRST) * 16;

	if (msr == VLAPIC_MSR_TSC_DEADLINE) {
		*value = vlapic_timer_deadline(v);
		return 0;
	}
	if (msr < VLAPIC_MSR_FIRST || msr > VLAPIC_MSR_LAST || !vlapic_is_x2apic(v) ||
	    !(rules[reg / 16].access & MSR_R))
		return -E_INVAL;
	*value = read_reg(v, reg);
	if (reg == VLAPIC_ICR)
		*value |= (uint64_t)vlapic_reg(v, VLAPIC_ICR + 4) << 32;
	return 0;
}

static void write_x2apic_icr(struct vlapic *v, uint64_t value)
{
	vlapic_set_reg(v, VLAPIC_ICR, (uint32_t)value);
	vlapic_set_reg(v, VLAPIC_ICR + 4, (uint32_t)(value >> 32));
	vlapic_send_ipi(v, (uint32_t)value, (uint32_t)(value >> 32));
}

/* A vector and nothing else. */
int vlapic_write_self_ipi(struct vlapic *v, uint64_t value)
{
	if (!vlapic_is_x2apic(v) || value > 0xff)
		return -E_INVAL;
	vlapic_send_self_ipi(v, (uint8_t)value);
	return 0;
}

int vlapic_msr_write(struct vlapic *v, uint32_t msr, uint64_t value)
{
	uint32_t reg = (msr - VLAPIC_MSR_FIRST) * 16;

	if (msr == VLAPIC_MSR_SELF_IPI) /* the table's rule, in a shorter way */
		return vlapic_write_self_ipi(v, value);
	if (msr == VLAPIC_MSR_TSC_DEADLINE) {
		vlapic_timer_set_deadline(v, value);
		return 0;
	}
	if (msr < VLAPIC_MSR_FIRST || msr > VLAPIC_MSR_LAST || !vlapic_is_x2apic(v))
		return -E_INVAL;

	const struct reg_rule *rule = &rules[reg / 16];
	uint64_t allowed = rule->bits | rule->allowed | (reg == VLAPIC_ICR ? 0xffffffff00000000 : 0);
	if (!(rule->access & MSR_W) || (value & ~allowed))
		return -E_INVAL;
	if (reg == VLAPIC_ICR)
		write_x2apic_icr(v, value);
	else
		write_reg(v, reg, (uint32_t)value);
	return 0;
}
