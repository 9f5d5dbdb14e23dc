/*
 * A vCPU's local APIC: register page, priorities, timer, IPIs. Used by the run loop and the exit handlers of the CPU
 * that runs the vCPU (its owner); only vlapic_post() and what apic_bus.h offers may be called from other CPUs, and
 * neither takes a lock. SDM Vol. 3A ch. 11 (APIC, x2APIC), Vol. 3C ch. 30 (APIC virtualisation).
 *
 * The register page has the architecture's layout, so it is also the virtual-APIC page of the VMCS. With `apicv` set
 * the processor moves bits in IRR, ISR, TPR and PPR by itself; then the caller uses vlapic_sync + highest_irr/isr for
 * RVI/SVI, and never vlapic_deliver. After an emulated write (mmio, msr, set_base, reset) it reloads RVI and SVI.
 *
 * The bus clock is the TSC: one count is one TSC tick times the divisor; CPUID leaf 0x15 must say so to the guest.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdatomic.h>

#include "hv/dev/apic_bus.h"
#include "hv/pc_map.h"
#include "hv/timer.h"

#define VLAPIC_DEFAULT_BASE ((uint64_t)PC_LAPIC_ADDRESS)
#define VLAPIC_BASE_BSP	    BIT(8)
#define VLAPIC_BASE_X2APIC  BIT(10)
#define VLAPIC_BASE_ENABLE  BIT(11)

/* Byte offsets in the register page; the x2APIC MSR is 0x800 + offset / 16. SDM Vol. 3A tables 11-1 and 11-6. */
enum vlapic_reg {
	VLAPIC_ID = 0x20,
	VLAPIC_VERSION = 0x30,
	VLAPIC_TPR = 0x80,
	VLAPIC_APR = 0x90,
	VLAPIC_PPR = 0xa0,
	VLAPIC_EOI = 0xb0,
	VLAPIC_RRD = 0xc0,
	VLAPIC_LDR = 0xd0,
	VLAPIC_DFR = 0xe0,
	VLAPIC_SVR = 0xf0,
	VLAPIC_ISR = 0x100, /* eight registers each, 16 bytes apart */
	VLAPIC_TMR = 0x180,
	VLAPIC_IRR = 0x200,
	VLAPIC_ESR = 0x280,
	VLAPIC_ICR = 0x300, /* in x2APIC mode 64 bits at this offset, where RDMSR of 0x830 finds them under APICv */
	VLAPIC_ICR_HIGH = 0x310,
	VLAPIC_LVT_TIMER = 0x320,
	VLAPIC_LVT_THERMAL = 0x330,
	VLAPIC_LVT_PERF = 0x340,
	VLAPIC_LVT_LINT0 = 0x350,
	VLAPIC_LVT_LINT1 = 0x360,
	VLAPIC_LVT_ERROR = 0x370,
	VLAPIC_INITIAL_COUNT = 0x380,
	VLAPIC_CURRENT_COUNT = 0x390,
	VLAPIC_DIVIDE = 0x3e0,
	VLAPIC_SELF_IPI = 0x3f0,
};

#define VLAPIC_MSR_FIRST	0x800U
#define VLAPIC_MSR_LAST		0x8ffU
#define VLAPIC_MSR_TSC_DEADLINE 0x6e0U
#define VLAPIC_MSR_TPR		0x808U
#define VLAPIC_MSR_EOI		0x80bU
#define VLAPIC_MSR_SELF_IPI	0x83fU

struct vlapic {
	uint32_t *regs; /* the page, owned by the caller */
	struct apic_bus *bus;
	uint32_t id;	    /* APIC ID = index on the bus */
	bool apicv;	    /* vlapic_set_apicv: the processor maintains IRR/ISR/PPR */
	bool level_changed; /* TMR changed at a sync: rewrite the EOI-exit bitmap, then clear this */
	uint64_t base;	    /* IA32_APIC_BASE; change it through vlapic_set_base */

	/* Highest bit set in IRR and ISR of the page, -1 for none; not maintained with apicv. */
	int irr_top, isr_top;
	uint8_t irr_words, isr_words; /* bit n: word n is not zero; likewise */
	int merged_top;		      /* highest vector of the last merge that found any */

	/* What other CPUs write. `level` holds the trigger mode that came with the vector's latest post. */
	_Atomic uint32_t posted[8];
	_Atomic uint32_t level[8];
	_Atomic uint32_t posted_any; /* bit n: look at posted[n] */
	_Atomic uint32_t errors;     /* errors since the last write to ESR */
	uint64_t received;	     /* vectors that have reached IRR, those that were there already included */

	/* The timer. `expiry` is when the count reaches 0, 0 when it is not counting. */
	struct timer timer;
	uint64_t tsc_offset; /* guest's TSC = clock_now() + tsc_offset; change it through vlapic_set_tsc_offset */
	uint64_t deadline;   /* IA32_TSC_DEADLINE, guest's TSC; 0: none, or handed over */
	uint64_t expiry;
	bool armed;	     /* the host timer is set to `expiry`, or has gone off and was not looked at yet */
	uint8_t timer_mode;  /* LVT bits 18:17 now in effect: 0 one-shot, 1 periodic, 2 TSC-deadline */
	uint8_t timer_shift; /* log2 of the divisor */
};

/*
 * Joins the bus as `index` (also the APIC ID) in the state of power-up: enabled in IA32_APIC_BASE, software-disabled.
 * `regs` is one zeroed, page-aligned page. `queue` is that of the CPU that runs the vCPU. BSP flag for index 0.
 */
void vlapic_init(struct vlapic *v, struct apic_bus *bus, unsigned index, uint32_t *regs, struct timer_queue *queue);
void vlapic_reset(struct vlapic *v, bool init); /* INIT keeps IA32_APIC_BASE, power-up doesn't; SDM 11.4.7 */
void vlapic_enter_virtual_wire(
    struct vlapic *v); /* what firmware leaves on the BSP: LINT0 ExtINT, LINT1 NMI (MP spec 3.6.2.2) */
void vlapic_set_queue(struct vlapic *v, struct timer_queue *queue); /* the vCPU moved; called by the new owner */
void vlapic_set_tsc_offset(struct vlapic *v, uint64_t offset);
/*
 * For who lends the guest the processor's own timer (hv/guest_timer.h); owner. That can be as long as the guest has
 * chosen TSC-deadline mode and its TSC is the processor's. hand_over stops counting here and answers the deadline, 0
 * for none; take_over goes on with what has become of it. In between, raise: it has passed, here is its interrupt,
 * unless the guest has left that mode.
 */
bool vlapic_timer_can_hand_over(const struct vlapic *v);
uint64_t vlapic_timer_hand_over(struct vlapic *v);
void vlapic_timer_take_over(struct vlapic *v, uint64_t deadline);
void vlapic_timer_raise(struct vlapic *v);
void vlapic_timer_expired(struct vlapic *v); /* APIC_SIGNAL_TIMER came: posts the interrupt if the time has come */

/*
 * WRMSR of IA32_APIC_BASE: 0, or -E_INVAL for #GP. An address other than VLAPIC_DEFAULT_BASE is accepted; it is for
 * the caller to compare v->base with what it has mapped.
 */
int vlapic_set_base(struct vlapic *v, uint64_t value) MUST_CHECK;
/* These two may be asked from any CPU. */
static inline bool vlapic_is_enabled(const struct vlapic *v)
{
	return __atomic_load_n(&v->base, __ATOMIC_RELAXED) & VLAPIC_BASE_ENABLE;
}
static inline bool vlapic_is_x2apic(const struct vlapic *v)
{
	return __atomic_load_n(&v->base, __ATOMIC_RELAXED) & VLAPIC_BASE_X2APIC;
}
/* False: the page does not answer, the access goes to whatever lies there. */
static inline bool vlapic_has_mmio(const struct vlapic *v)
{
	return vlapic_is_enabled(v) && !vlapic_is_x2apic(v);
}

/* MSRs 0x800-0x8ff and 0x6e0. 0, or -E_INVAL for #GP (also: not in x2APIC mode, reserved bits, wrong direction). */
int vlapic_msr_read(struct vlapic *v, uint32_t msr, uint64_t *value) MUST_CHECK;
int vlapic_msr_write(struct vlapic *v, uint32_t msr, uint64_t value) MUST_CHECK;
/* The write to VLAPIC_MSR_SELF_IPI alone. */
int vlapic_write_self_ipi(struct vlapic *v, uint64_t value) MUST_CHECK;

/*
 * xAPIC page, offset 0 to 0xfff, size 1 to 8. Only 32-bit accesses to multiples of 16 are architectural (SDM 11.4.1);
 * other reads see the register's bytes and zeroes, other writes are ignored.
 */
uint64_t vlapic_mmio_read(struct vlapic *v, uint32_t offset, unsigned size);
void vlapic_mmio_write(struct vlapic *v, uint32_t offset, unsigned size, uint64_t value);
/* APIC-write exit (SDM Vol. 3C 30.4.3.3): the page already holds what the guest wrote at `offset`. */
void vlapic_apic_write(struct vlapic *v, uint32_t offset);

/* From any CPU: request `vector`; KICK follows unless an earlier post still waits for its sync. */
void vlapic_post(struct vlapic *v, uint8_t vector, bool level);
/* From any CPU: a rising edge at LINT0 or LINT1, handled as the LVT says (fixed, NMI, INIT; ExtINT only kicks). */
void vlapic_lint(struct vlapic *v, unsigned n);

/* The rest is the owner's, around each entry. */
bool vlapic_merge(struct vlapic *v);
/* Moves posted vectors into IRR and TMR. True when there were any (with apicv: set RVI to vlapic_highest_irr). */
static inline bool vlapic_sync(struct vlapic *v)
{
	return atomic_load_explicit(&v->posted_any, memory_order_acquire) && vlapic_merge(v);
}

/* Who keeps IRR and ISR from now on: the processor, or this file, which then finds its place in the page. */
void vlapic_set_apicv(struct vlapic *v, bool on);
int vlapic_highest_irr(const struct vlapic *v); /* -1: none */
int vlapic_highest_isr(const struct vlapic *v);

static inline uint8_t vlapic_tpr(const struct vlapic *v)
{
	return (uint8_t)__atomic_load_n(&v->regs[VLAPIC_TPR / 4], __ATOMIC_RELAXED);
}

/* With apicv the processor's; without, as of the last change that goes by here. */
static inline uint8_t vlapic_ppr(const struct vlapic *v)
{
	return (uint8_t)__atomic_load_n(&v->regs[VLAPIC_PPR / 4], __ATOMIC_RELAXED);
}

/* The vector to inject now, or -1: highest in IRR if its class is above the processor priority. Call after sync. */
static inline int vlapic_pending(const struct vlapic *v)
{
	int irr = v->apicv ? vlapic_highest_irr(v) : v->irr_top;
	if (irr < 0)
		return -1;
	int isr = v->apicv ? vlapic_highest_isr(v) : v->isr_top;
	if (irr >> 4 <= vlapic_tpr(v) >> 4 || (isr >= 0 && irr >> 4 <= isr >> 4))
		return -1;
	return irr;
}

/* Without apicv: the value for the VMCS field "TPR threshold"; 0 when TPR holds nothing back. */
static inline uint8_t vlapic_tpr_threshold(const struct vlapic *v)
{
	int irr = v->irr_top;
	if (irr < 0 || irr >> 4 > vlapic_tpr(v) >> 4)
		return 0;
	return (uint8_t)(irr >> 4);
}

/* What vlapic_pending() answered is injected: IRR -> ISR. Nothing else that waits can go before its EOI. */
void vlapic_deliver(struct vlapic *v, uint8_t vector);
/* The contrary, with apicv: the delivery of `vector` has not been. The caller sets RVI and SVI. */
void vlapic_take_back(struct vlapic *v, uint8_t vector);
void vlapic_eoi(struct vlapic *v);
/* Without apicv: a vector is in service whose EOI would do nothing but end it: it is an edge, and none is requested. */
bool vlapic_eoi_is_plain(const struct vlapic *v);
void vlapic_eoi_vector(struct vlapic *v, uint8_t vector); /* EOI-induced exit: only the broadcast is left to do */
void vlapic_update_ppr(struct vlapic *v);		  /* after TPR changed behind our back (TPR shadow) */
static inline uint8_t vlapic_cr8(const struct vlapic *v)
{
	return vlapic_tpr(v) >> 4;
}
void vlapic_set_cr8(struct vlapic *v, uint8_t cr8); /* 0 to 15 */

/* Bit n: the EOI of vector n must exit (it is level-triggered). For the four EOI-exit bitmap fields. */
void vlapic_eoi_exit_bitmap(const struct vlapic *v, uint64_t bitmap[4]);

bool vlapic_software_enabled(const struct vlapic *v); /* SVR bit 8 */
bool vlapic_accepts_extint(const struct vlapic *v);   /* the 8259's INTR reaches this vCPU */
