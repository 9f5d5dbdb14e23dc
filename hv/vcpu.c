/*
 * What happens to a vCPU between two exits: requests of others, INIT and start-up, and the choice of the one event that
 * goes with the next entry. Order of events: what was cut short, NMI, the 8259's interrupt, the local APIC's.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/vcpu.h"

#include "hv/exit/msr.h"
#include "hv/sched/sched.h"
#include "hv/vm.h"

void vcpu_request(struct vcpu *v, uint32_t requests)
{
	atomic_fetch_or(&v->requests, requests);
	sched_wake(v);
	/* Runs on another CPU: end its guest mode so that it looks. (On this one it looks before the next entry.) */
	if (atomic_load(&v->state) == VCPU_RUNNING && atomic_load(&v->home->away))
		pcpu_kick(v->home);
}

void vcpu_signal(void *ctx, unsigned index, enum apic_signal what, uint8_t vector)
{
	static const uint32_t request[] = {
	    [APIC_SIGNAL_KICK] = REQUEST_EVENT,
	    [APIC_SIGNAL_NMI] = REQUEST_NMI,
	    [APIC_SIGNAL_INIT] = REQUEST_INIT,
	    [APIC_SIGNAL_STARTUP] = REQUEST_STARTUP,
	};
	struct vcpu *v = ((struct vm *)ctx)->vcpu[index];

	if (what == APIC_SIGNAL_STARTUP)
		atomic_store(&v->startup_vector, vector);
	if (what == APIC_SIGNAL_INIT) /* a SIPI that came before is forgotten */
		atomic_fetch_and(&v->requests, ~(uint32_t)REQUEST_STARTUP);
	vcpu_request(v, request[what]);
}

enum outcome vcpu_raise(struct vcpu *v, unsigned vector, bool has_error, uint32_t error)
{
	if (virt_inject_exception(&v->virt, vector, has_error, error))
		return OUTCOME_RETRY;
	return vm_kill(v, "triple fault: exception %u while a double fault was being delivered", vector);
}

/* Which kind of APIC virtualisation fits the guest's IA32_APIC_BASE; in software where none does. */
static enum virt_apic_mode choose_apic_mode(const struct vlapic *l)
{
	const struct virt_features *f = virt_features();

	if (f->x2apicv && vlapic_is_x2apic(l))
		return VIRT_APIC_X2APIC;
	/* The APIC-access page is mapped at the default address only. */
	if (f->apicv && vlapic_has_mmio(l) && (l->base & ~0xfffULL) == VLAPIC_DEFAULT_BASE)
		return VIRT_APIC_XAPIC;
	return VIRT_APIC_OFF;
}

void vcpu_apic_changed(struct vcpu *v)
{
	enum virt_apic_mode mode = choose_apic_mode(&v->lapic);
	uint64_t bitmap[4];
	int isr;

	v->apic_mode = (uint8_t)mode;
	vlapic_set_apicv(&v->lapic, mode != VIRT_APIC_OFF);
	virt_apic_set_mode(&v->virt, mode, msr_bitmap(mode == VIRT_APIC_X2APIC));
	if (mode == VIRT_APIC_OFF)
		return;
	isr = vlapic_highest_isr(&v->lapic);
	virt_apic_set_svi((uint8_t)(isr < 0 ? 0 : isr));
	vlapic_eoi_exit_bitmap(&v->lapic, bitmap);
	virt_apic_eoi_exits(bitmap);
}

/* INIT: the boot processor starts again at the reset vector, the others wait for a SIPI (SDM Vol. 3A 9.4.3). */
static void take_init(struct vcpu *v)
{
	struct cpu_state state;

	vlapic_reset(&v->lapic, true);
	cpu_state_reset(&state, v->cpuid_signature);
	virt_set_state(&v->virt, &state);
	vcpu_apic_changed(v);
	v->nmi_pending = false;
	v->halted = false;
	v->started = v->lapic.base & VLAPIC_BASE_BSP;
}

static void take_startup(struct vcpu *v)
{
	struct cpu_state state;

	if (v->started)
		return;
	cpu_state_reset(&state, v->cpuid_signature);
	cpu_state_startup(&state, atomic_load(&v->startup_vector));
	virt_set_state(&v->virt, &state);
	v->started = true;
}

static bool has_extint(const struct vcpu *v)
{
	return v->index == 0 && vpic_has_interrupt(&v->vm->pc.pic) && vlapic_accepts_extint(&v->lapic);
}

/* The local APIC's vector that we have to inject, or -1; with APICv the processor takes those by itself. */
static int apic_vector(const struct vcpu *v)
{
	return v->apic_mode == VIRT_APIC_OFF ? vlapic_pending(&v->lapic) : -1;
}

static bool has_interrupt(const struct vcpu *v)
{
	return has_extint(v) || apic_vector(v) >= 0;
}

/*
 * The 8259's INTR may go away at any moment, by what another vCPU or a device does: whether to acknowledge is decided
 * once, and an 8259 that has nothing any more answers with its spurious vector, as on a PC.
 */
static void offer_interrupt(struct vcpu *v)
{
	bool extint = has_extint(v);
	int vector = apic_vector(v);

	if (!extint && vector < 0)
		return;
	if (extint) {
		spin_lock(&v->vm->lock);
		vector = vpic_acknowledge(&v->vm->pc.pic);
		spin_unlock(&v->vm->lock);
	} else {
		vlapic_deliver(&v->lapic, (uint8_t)vector);
	}
	virt_inject_interrupt(&v->virt, (unsigned)vector);
}

static void choose_event(struct vcpu *v)
{
	if (v->nmi_pending && !virt_event_pending(&v->virt) && virt_can_take_nmi()) {
		virt_inject_nmi(&v->virt);
		v->nmi_pending = false;
	}
	virt_want_nmi_window(&v->virt, v->nmi_pending);
	if (!virt_event_pending(&v->virt) && virt_can_take_interrupt())
		offer_interrupt(v);
	virt_want_interrupt_window(&v->virt, has_interrupt(v));
}

/* The local APIC's side of the processor: what is requested, what exits on EOI, below which priority to exit. */
static void update_apic(struct vcpu *v)
{
	uint64_t bitmap[4];
	int irr;

	if (v->apic_mode == VIRT_APIC_OFF) {
		virt_apic_set_threshold(vlapic_tpr_threshold(&v->lapic));
		return;
	}
	irr = vlapic_highest_irr(&v->lapic);
	virt_apic_set_rvi((uint8_t)(irr < 0 ? 0 : irr));
	if (v->lapic.level_changed) {
		v->lapic.level_changed = false;
		vlapic_eoi_exit_bitmap(&v->lapic, bitmap);
		virt_apic_eoi_exits(bitmap);
	}
}

static bool wakes_up(const struct vcpu *v)
{
	/* One that is blocked, by an NMI handler that has not come to its IRET, does not end HLT (SDM Vol. 3A 6.7.1).
	 */
	if (v->nmi_pending && virt_can_take_nmi())
		return true;
	return (virt_rflags() & RFLAGS_IF) && (has_extint(v) || vlapic_pending(&v->lapic) >= 0);
}

bool vcpu_prepare(struct vcpu *v)
{
	uint32_t requests = atomic_exchange(&v->requests, 0);

	if (atomic_load(&v->vm->end) != VM_RUNS)
		return false;
	if (requests & REQUEST_INIT)
		take_init(v);
	if (requests & REQUEST_STARTUP)
		take_startup(v);
	if (requests & REQUEST_NMI)
		v->nmi_pending = true;
	if (!v->started)
		return false;
	vlapic_sync(&v->lapic);
	if (v->halted && !wakes_up(v)) {
		atomic_store(&v->halted_forever, !(virt_rflags() & RFLAGS_IF));
		return false;
	}
	v->halted = false;
	atomic_store(&v->halted_forever, false);
	update_apic(v);
	choose_event(v);
	if (!v->first_entry)
		vm_first_entry(v);
	return true;
}

void vcpu_leave(struct vcpu *v, enum vcpu_state state)
{
	if (atomic_load(&v->vm->end) != VM_RUNS) {
		vlapic_reset(&v->lapic, false); /* its timer is this CPU's */
		sched_put(v->home, v, VCPU_GONE);
		vm_vcpu_left(v->vm);
		return;
	}
	sched_put(v->home, v, state);
	if (state == VCPU_RUNNABLE)
		return;
	/* A request that came before the state changed has found nobody to wake. */
	if (atomic_load(&v->requests))
		sched_wake(v);
	else if (!v->started || v->halted_forever)
		vm_check_halted(v->vm);
}
