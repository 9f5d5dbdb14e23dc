/*
 * KVM's interface for guests; see pv.h. The structures that are shared with the guest: Linux's
 * Documentation/virt/kvm/x86/msr.rst; the hypercalls: hypercalls.rst; feature bits: cpuid.rst.
 *
 * Not here: asynchronous page faults (no guest memory is ever paged out), the old clock MSRs, poll control.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/pv.h"

#include "hv/clock.h"
#include "hv/lib/nospec.h"
#include "hv/lib/string.h"
#include "hv/sched/sched.h"
#include "hv/vm.h"

#define FEATURE_NOP_IO_DELAY   BIT(1)
#define FEATURE_CLOCK	       BIT(3)
#define FEATURE_STEAL_TIME     BIT(5)
#define FEATURE_PV_EOI	       BIT(6)
#define FEATURE_PV_UNHALT      BIT(7)
#define FEATURE_PV_TLB_FLUSH   BIT(9)
#define FEATURE_PV_SEND_IPI    BIT(11)
#define FEATURE_PV_SCHED_YIELD BIT(13)
#define FEATURE_CLOCK_STABLE   BIT(24)

#define MSR_WALL_CLOCK	0x4b564d00
#define MSR_SYSTEM_TIME 0x4b564d01
#define MSR_STEAL_TIME	0x4b564d03
#define MSR_EOI		0x4b564d04

#define ENABLED	     BIT(0)
#define CLOCK_STABLE BIT(0)
#define STEAL_ALIGN  64
#define PREEMPTED    BIT(0)
#define FLUSH_TLB    BIT(1)
#define EOI_ALIGN    4
#define NO_EOI	     1u

enum { CALL_POLL_IRQ = 1, CALL_KICK_CPU = 5, CALL_SEND_IPI = 10, CALL_SCHED_YIELD = 11 };
enum { ANSWER_PERM = -1, ANSWER_INVAL = -22, ANSWER_NOSYS = -1000 };

/* Nanoseconds = system_time + ((tsc - tsc_timestamp) << tsc_shift) * mul / 2^32. Valid while `version` is even. */
struct pv_clock {
	uint32_t version, pad0;
	uint64_t tsc_timestamp, system_time;
	uint32_t tsc_to_system_mul;
	int8_t tsc_shift;
	uint8_t flags, pad[2];
};

/* The time of day at which system_time was 0. */
struct pv_wall_clock {
	uint32_t version, seconds, nanoseconds;
};

struct pv_steal {
	uint64_t steal; /* ns */
	uint32_t version, flags;
	uint8_t preempted, pad8[3];
	uint32_t pad[11];
};

_Static_assert(sizeof(struct pv_clock) == 32 && sizeof(struct pv_steal) == 64, "as Linux has them");

uint32_t pv_features(void)
{
	return FEATURE_NOP_IO_DELAY | FEATURE_CLOCK | FEATURE_STEAL_TIME | FEATURE_PV_EOI | FEATURE_PV_UNHALT |
	       FEATURE_PV_TLB_FLUSH | FEATURE_PV_SEND_IPI | FEATURE_PV_SCHED_YIELD | FEATURE_CLOCK_STABLE;
}

/* --- the clock --------------------------------------------------------------------------------------------------- */

/*
 * A tick in nanoseconds as mul / 2^32 after a shift that brings the rate between 1 and 2 GHz, so that mul has all of
 * its 32 bits: less than 1 ns off in a second.
 */
static void set_rate(struct pv_clock *c, uint64_t hz)
{
	while (hz > 2000000000) {
		hz >>= 1;
		c->tsc_shift--;
	}
	while (hz <= 1000000000) {
		hz <<= 1;
		c->tsc_shift++;
	}
	c->tsc_to_system_mul = (uint32_t)((1000000000ULL << 32) / hz);
}

/*
 * The TSC never stops and all CPUs agree on it, so the structure is right for ever, on any CPU, through pauses, until
 * the guest moves its TSC. Time began when the VM did.
 */
static int publish_clock(struct vcpu *v, gpa_t at)
{
	uint64_t now = clock_now();
	struct pv_clock c;

	if (guest_read(&v->vm->mem, at, &c, sizeof(c))) /* all of it is there, before any is written */
		return -E_INVAL;
	c = (struct pv_clock){.version = v->pv.clock_version + 1, .flags = CLOCK_STABLE};
	if (guest_write(&v->vm->mem, at, &c.version, sizeof(c.version))) /* odd: wait */
		return -E_INVAL;
	c.tsc_timestamp = now + v->virt.tsc_offset;
	c.system_time = clock_to_ns(now - v->vm->powered_up);
	set_rate(&c, clock_hz());
	if (guest_write(&v->vm->mem, at, &c, sizeof(c)))
		return -E_INVAL;
	v->pv.clock_version = ++c.version;
	__atomic_thread_fence(__ATOMIC_RELEASE);
	return guest_write(&v->vm->mem, at, &c.version, sizeof(c.version));
}

static int write_system_time(struct vcpu *v, uint64_t value)
{
	if ((value & ENABLED) && publish_clock(v, GPA(value & ~ENABLED)))
		return -E_INVAL;
	v->pv.clock_msr = value;
	return 0;
}

void pv_tsc_moved(struct vcpu *v)
{
	if (v->pv.clock_msr & ENABLED) /* the memory was there when it was asked for */
		(void)!publish_clock(v, GPA(v->pv.clock_msr & ~ENABLED));
}

static int write_wall_clock(struct vcpu *v, uint64_t value)
{
	uint64_t since_start = clock_to_ns(clock_now() - v->vm->powered_up), wall = vm_unix_ns(v->vm) - since_start;
	struct pv_wall_clock w = {2, (uint32_t)(wall / 1000000000), (uint32_t)(wall % 1000000000)};

	return guest_write(&v->vm->mem, GPA(value), &w, sizeof(w)) ? -E_INVAL : 0;
}

/* --- time that others took, and who is away ---------------------------------------------------------------------- */

/* What the register's value names, if it is there. */
static struct pv_steal *steal_of(const struct vcpu *v, uint64_t value)
{
	gpa_t at = GPA(ALIGN_DOWN(value, STEAL_ALIGN));

	return value & ENABLED ? guest_map(&v->vm->mem, at, sizeof(struct pv_steal)) : NULL;
}

static int write_steal_time(struct vcpu *v, uint64_t value)
{
	struct pv_steal *steal = steal_of(v, value);

	if ((value % STEAL_ALIGN & ~ENABLED) || (!steal && (value & ENABLED)))
		return -E_INVAL;
	v->pv.steal_msr = value;
	v->pv.steal = steal;
	if (!steal)
		return 0;
	/* What it waited before was nobody's business. */
	atomic_store_explicit(&v->pv.wait_from, 0, memory_order_relaxed);
	pv_runs(v);
	return 0;
}

void pv_waits(struct vcpu *v, uint64_t now)
{
	atomic_store_explicit(&v->pv.wait_from, now, memory_order_relaxed);
}

/* While `preempted` says that it is away, other vCPUs leave a flag there in place of an IPI for a TLB flush. */
void pv_runs(struct vcpu *v)
{
	struct pv_steal *s = v->pv.steal;
	uint64_t from, now;

	if (!s)
		return;
	from = atomic_exchange_explicit(&v->pv.wait_from, 0, memory_order_relaxed);
	now = clock_now();
	if (from && now > from)
		v->pv.waited += now - from;
	if (__atomic_exchange_n(&s->preempted, 0, __ATOMIC_SEQ_CST) & FLUSH_TLB)
		virt_vcpu_flush(&v->virt);
	__atomic_store_n(&s->version, s->version + 1, __ATOMIC_RELEASE); /* even before, odd now: wait */
	__atomic_store_n(&s->steal, clock_to_ns(v->pv.waited), __ATOMIC_RELEASE);
	__atomic_store_n(&s->version, (s->version | 1) + 1, __ATOMIC_RELEASE);
}

void pv_leaves(struct vcpu *v)
{
	if (v->pv.steal)
		__atomic_store_n(&v->pv.steal->preempted, PREEMPTED, __ATOMIC_SEQ_CST);
}

/* --- end of interrupt --------------------------------------------------------------------------------------------- */

/* As steal_of(). */
static uint32_t *eoi_word(const struct vcpu *v, uint64_t value)
{
	return value & ENABLED ? guest_map(&v->vm->mem, GPA(value & ~ENABLED), sizeof(uint32_t)) : NULL;
}

static int write_eoi(struct vcpu *v, uint64_t value)
{
	uint32_t *word = eoi_word(v, value);

	pv_take_eoi(v);
	if ((value % EOI_ALIGN & ~ENABLED) || (!word && (value & ENABLED)))
		return -E_INVAL;
	v->pv.eoi_msr = value;
	v->pv.eoi = word;
	return 0;
}

void pv_offer_eoi(struct vcpu *v)
{
	const struct vlapic *l = &v->lapic;

	if (!v->pv.eoi || l->apicv || !vlapic_eoi_is_plain(l))
		return;
	__atomic_fetch_or(v->pv.eoi, NO_EOI, __ATOMIC_RELAXED); /* the vCPU is not in guest mode: nobody else looks */
	v->pv.eoi_offered = true;
}

void pv_take_eoi(struct vcpu *v)
{
	if (!v->pv.eoi_offered)
		return;
	v->pv.eoi_offered = false;
	if (!v->pv.eoi || __atomic_fetch_and(v->pv.eoi, ~NO_EOI, __ATOMIC_RELAXED) & NO_EOI)
		return;
	v->pv.eois++;
	vlapic_eoi(&v->lapic);
}

/* A word that has no memory any more has taken no EOI: the guest gave it away between the offer and the look. */
void pv_look_again(struct vcpu *v)
{
	v->pv.steal = steal_of(v, v->pv.steal_msr);
	v->pv.eoi = eoi_word(v, v->pv.eoi_msr);
}

/* --- MSRs -------------------------------------------------------------------------------------------------------- */

void pv_reset(struct vcpu *v)
{
	v->pv.clock_msr = v->pv.steal_msr = v->pv.eoi_msr = 0;
	v->pv.steal = NULL;
	v->pv.eoi = NULL;
	v->pv.eoi_offered = false;
	atomic_store(&v->pv.kicked, false);
}

int pv_msr_read(struct vcpu *v, uint32_t msr, uint64_t *value)
{
	if (!v->vm->config->kvm)
		return -E_INVAL;
	switch (msr) {
	case MSR_SYSTEM_TIME:
		*value = v->pv.clock_msr;
		return 0;
	case MSR_STEAL_TIME:
		*value = v->pv.steal_msr;
		return 0;
	case MSR_EOI:
		*value = v->pv.eoi_msr;
		return 0;
	case MSR_WALL_CLOCK:
		*value = 0;
		return 0;
	default:
		return -E_INVAL;
	}
}

int pv_msr_write(struct vcpu *v, uint32_t msr, uint64_t value)
{
	if (!v->vm->config->kvm)
		return -E_INVAL;
	switch (msr) {
	case MSR_SYSTEM_TIME:
		return write_system_time(v, value);
	case MSR_STEAL_TIME:
		return write_steal_time(v, value);
	case MSR_EOI:
		return write_eoi(v, value);
	case MSR_WALL_CLOCK:
		return write_wall_clock(v, value);
	default:
		return -E_INVAL;
	}
}

/* --- hypercalls -------------------------------------------------------------------------------------------------- */

/* That vCPU waits in HLT for what the caller has just given back: its present or next HLT ends. */
static uint64_t kick(struct vcpu *v, uint32_t apic_id)
{
	struct vm *vm = v->vm;
	struct vcpu *to;

	if (apic_id >= vm->vcpu_count)
		return 0;
	to = vm->vcpu[index_nospec(apic_id, vm->vcpu_count)];
	atomic_store(&to->pv.kicked, true);
	vcpu_request(to, REQUEST_EVENT);
	return 0;
}

/*
 * Two words of bits, of 64 or of 32 as the caller's mode is: bit n stands for the local APIC with ID `first` + n.
 * Answers how many of them there are.
 */
static NOINLINE uint64_t send_ipi(struct vcpu *v)
{
	const uint64_t *reg = v->virt.reg;
	const uint64_t bits[2] = {reg[REG_RBX], reg[REG_RCX]};
	uint32_t first = (uint32_t)reg[REG_RDX], icr = (uint32_t)reg[REG_RSI];
	enum apic_delivery mode = (enum apic_delivery)(icr >> 8 & 7);
	unsigned width = virt_is_64_bit() ? 64 : 32;
	uint32_t targets = 0, count = 0;

	if ((icr & ~0x7ffU) || (mode != APIC_FIXED && mode != APIC_NMI))
		return (uint64_t)ANSWER_INVAL;
	for (unsigned id = first; id < v->vm->vcpu_count && id - first < 2 * width; id++)
		if (bits[(id - first) / width] & BIT((id - first) % width)) {
			targets |= (uint32_t)BIT(id);
			count++;
		}
	(void)!apic_bus_deliver_to(&v->vm->apic_bus, targets, mode, (uint8_t)icr, false);
	return count;
}

uint64_t pv_hypercall(struct vcpu *v)
{
	const uint64_t *reg = v->virt.reg;

	if (virt_cpl() != 0)
		return (uint64_t)ANSWER_PERM;
	switch ((uint32_t)reg[REG_RAX]) {
	case CALL_POLL_IRQ:
		return 0;
	case CALL_KICK_CPU:
		return kick(v, (uint32_t)reg[REG_RCX]);
	case CALL_SEND_IPI:
		return send_ipi(v);
	case CALL_SCHED_YIELD:
		sched_yield_from(v);
		return 0;
	default:
		return (uint64_t)ANSWER_NOSYS;
	}
}
