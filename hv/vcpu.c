/*
 * What happens to a vCPU between two exits: requests of others, INIT and start-up, and the choice of the one event that
 * goes with the next entry. Order of events: what was cut short, NMI, the 8259's interrupt, the local APIC's.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/vcpu.h"

#include "hv/exit/msr.h"
#include "hv/guest_timer.h"
#include "hv/sched/sched.h"
#include "hv/trace.h"
#include "hv/vm.h"

void vcpu_request(struct vcpu *v, uint32_t requests)
{
	uint32_t state;

	atomic_fetch_or(&v->requests, requests);
	state = atomic_load(&v->state);
	if (state == VCPU_BLOCKED) {
		atomic_fetch_add(&v->vm->wakes, 1);
		sched_wake(v, VCPU_BLOCKED);
	} else if (state == VCPU_RUNNING) {
		/*
		 * On another CPU: end its guest mode so that it looks. (On this one it looks before the next entry, and
		 * so does any CPU that picks it from here on.)
		 */
		pcpu_notice(pcpu_at(sched_cpu_of(v)));
	}
}

void vcpu_signal(void *ctx, unsigned index, enum apic_signal what, uint8_t vector)
{
	static const uint32_t request[] = {
	    [APIC_SIGNAL_KICK] = REQUEST_EVENT,	 [APIC_SIGNAL_NMI] = REQUEST_NMI,
	    [APIC_SIGNAL_INIT] = REQUEST_INIT,	 [APIC_SIGNAL_STARTUP] = REQUEST_STARTUP,
	    [APIC_SIGNAL_TIMER] = REQUEST_TIMER,
	};
	struct vcpu *v = ((struct vm *)ctx)->vcpu[index];

	trace(TRACE_IPI, v, what, vector);
	if (what == APIC_SIGNAL_STARTUP)
		atomic_store(&v->startup_vector, vector);
	if (what == APIC_SIGNAL_INIT) /* a SIPI or NMI that came before is forgotten */
		atomic_fetch_and(&v->requests, ~(uint32_t)(REQUEST_STARTUP | REQUEST_NMI));
	vcpu_request(v, request[what]);
}

enum outcome vcpu_raise(struct vcpu *v, unsigned vector, bool has_error, uint32_t error)
{
	trace(TRACE_INJECT, v, vector, TRACE_INJECT_EXCEPTION);
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
	int irr;

	v->apic_mode = (uint8_t)mode;
	vlapic_set_apicv(&v->lapic, mode != VIRT_APIC_OFF);
	virt_apic_set_mode(&v->virt, mode);
	virt_set_msr_bitmap(msr_bitmap(mode == VIRT_APIC_X2APIC, v->timer_direct));
	if (mode == VIRT_APIC_OFF)
		return;
	irr = vlapic_highest_irr(&v->lapic);
	virt_apic_set_rvi((uint8_t)(irr < 0 ? 0 : irr));
	vcpu_renew_svi(v);
	vlapic_eoi_exit_bitmap(&v->lapic, bitmap);
	virt_apic_eoi_exits(bitmap);
}

/* INIT: the boot processor starts again at the reset vector, the others wait for a SIPI (SDM Vol. 3A 9.4.3). */
static void take_init(struct vcpu *v)
{
	struct cpu_state state;

	vlapic_reset(&v->lapic, true);
	pv_reset(v);
	cpu_state_reset(&state, v->cpuid_signature);
	virt_set_state(&v->virt, &state);
	vcpu_apic_changed(v);
	v->nmi_pending = false;
	v->halted = false;
	atomic_store(&v->halted_forever, false);
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

static inline bool has_extint(const struct vcpu *v)
{
	return v->index == 0 && vpic_has_interrupt(&v->vm->pc.pic) && vlapic_accepts_extint(&v->lapic);
}

/* The local APIC's vector that we have to inject, or -1; with APICv the processor takes those by itself. */
static int apic_vector(const struct vcpu *v)
{
	return v->apic_mode == VIRT_APIC_OFF ? vlapic_pending(&v->lapic) : -1;
}

/*
 * The 8259's INTR may go away at any moment, by what another vCPU or a device does: whether to acknowledge is decided
 * once, and an 8259 that has nothing any more answers with its spurious vector, as on a PC.
 */
static void take_interrupt(struct vcpu *v, bool extint, int vector)
{
	if (extint) {
		spin_lock(&v->vm->lock);
		vector = vpic_acknowledge(&v->vm->pc.pic);
		spin_unlock(&v->vm->lock);
		v->interrupts++;
	} else {
		vlapic_deliver(&v->lapic, (uint8_t)vector);
	}
	trace(TRACE_INJECT, v, (uint32_t)vector, extint ? TRACE_INJECT_8259 : TRACE_INJECT_APIC);
	virt_inject_interrupt(&v->virt, (unsigned)vector);
}

static void offer_nmi(struct vcpu *v)
{
	if (virt_event_pending(&v->virt) || !virt_can_take_nmi())
		return;
	trace(TRACE_INJECT, v, VECTOR_NMI, TRACE_INJECT_NMI);
	virt_inject_nmi(&v->virt);
	v->nmi_pending = false;
}

/* Most entries have nothing to inject, and with APICv hardly any has: that way reads no VMCS field. */
static void choose_event(struct vcpu *v)
{
	bool extint;
	int vector;

	if (v->nmi_pending)
		offer_nmi(v);
	extint = has_extint(v);
	vector = apic_vector(v);
	if ((extint || vector >= 0) && !virt_event_pending(&v->virt) && virt_can_take_interrupt()) {
		take_interrupt(v, extint, vector);
		vector = extint ? apic_vector(v) : -1; /* what is left in IRR waits for this one's EOI */
		extint = extint && has_extint(v);
	}
	virt_want_windows(&v->virt, extint || vector >= 0, v->nmi_pending);
}

/*
 * Takes over what was posted. With APICv the processor takes vectors out of IRR and knows the highest one left (RVI),
 * so only one that is higher has to be told.
 */
static void take_posted(struct vcpu *v)
{
	int top;

	if (!vlapic_sync(&v->lapic) || v->apic_mode == VIRT_APIC_OFF)
		return;
	top = v->lapic.merged_top;
	trace(TRACE_INJECT, v, (uint32_t)top, TRACE_INJECT_OFFER);
	virt_apic_raise_rvi((uint8_t)top);
}

static NOINLINE void update_eoi_exits(struct vcpu *v)
{
	uint64_t bitmap[4];

	v->lapic.level_changed = false;
	vlapic_eoi_exit_bitmap(&v->lapic, bitmap);
	virt_apic_eoi_exits(bitmap);
}

/* What exits on EOI; without APICv, below which priority to exit. */
static void update_apic(struct vcpu *v)
{
	if (v->apic_mode == VIRT_APIC_OFF) {
		virt_apic_set_threshold(vlapic_tpr_threshold(&v->lapic));
		return;
	}
	if (v->lapic.level_changed)
		update_eoi_exits(v);
}

/* Takes the kick of another vCPU with it. */
static bool wakes_up(struct vcpu *v)
{
	if (atomic_load_explicit(&v->pv.kicked, memory_order_relaxed) && atomic_exchange(&v->pv.kicked, false))
		return true;
	/* One that is blocked, by an NMI handler that has not come to its IRET, does not end HLT (SDM Vol. 3A 6.7.1).
	 */
	if (v->nmi_pending && virt_can_take_nmi())
		return true;
	if (!(virt_rflags() & RFLAGS_IF))
		return false;
	if (v->apic_mode == VIRT_APIC_OFF)
		return has_extint(v) || vlapic_pending(&v->lapic) >= 0;
	return virt_apic_rvi() >> 4 > vlapic_ppr(&v->lapic) >> 4 || has_extint(v);
}

/* False: nothing ends its HLT. */
static bool leave_halt(struct vcpu *v)
{
	bool wakes = wakes_up(v);

	v->halted = !wakes;
	atomic_store_explicit(&v->halted_forever, !wakes && !(virt_rflags() & RFLAGS_IF), memory_order_release);
	return wakes;
}

static void take_snapshot(struct vcpu *v)
{
	virt_get_state(&v->virt, &v->snapshot);
	atomic_store(&v->snapshot_due, false);
}

void vcpu_snapshot(struct vcpu *v)
{
	atomic_store(&v->snapshot_due, true);
	vcpu_request(v, REQUEST_SNAPSHOT);
	sched_wake(v, VCPU_PAUSED); /* it looks, and finds itself still paused */
}

/* The state is looked at after the loss: who is about to run has not flushed yet, or flushes for it. */
void vcpu_renew(struct vcpu *v)
{
	if (atomic_load(&v->state) == VCPU_RUNNING)
		vcpu_request(v, REQUEST_RENEW);
}

bool vcpu_has_renewed(const struct vcpu *v, uint64_t generation)
{
	return atomic_load(&v->state) != VCPU_RUNNING || virt_vcpu_renewed(&v->virt) >= generation;
}

/* Its VM is paused: what was asked waits, and when it goes on it looks at everything. */
static void keep_for_later(struct vcpu *v, uint32_t requests)
{
	atomic_fetch_or(&v->requests, (requests & ~(uint32_t)(REQUEST_LEAVE | REQUEST_SNAPSHOT)) | REQUEST_EVENT);
}

static void take_requests(struct vcpu *v, uint32_t requests)
{
	if (requests & REQUEST_TIMER) {
		vlapic_timer_expired(&v->lapic);
		/* The interrupt that it posted is seen below. What else was asked meanwhile is not, and stays. */
		atomic_fetch_and(&v->requests, ~(uint32_t)REQUEST_EVENT);
	}
	if (requests & REQUEST_RENEW) {
		virt_renew(&v->virt);
		pv_look_again(v);
		code_forget(&v->code);
	}
	if (requests & REQUEST_INIT)
		take_init(v);
	if (requests & REQUEST_STARTUP)
		take_startup(v);
	if (requests & REQUEST_NMI)
		v->nmi_pending = true;
	if (guest_timer_has_changed(v))
		guest_timer_update(v);
}

bool vcpu_prepare(struct vcpu *v)
{
	uint32_t requests = atomic_exchange(&v->requests, 0);

	if (requests & REQUEST_SNAPSHOT)
		take_snapshot(v);
	if (vm_is_away(v->vm)) {
		keep_for_later(v, requests);
		return false;
	}
	pv_take_eoi(v);
	if (requests & ~(uint32_t)REQUEST_EVENT)
		take_requests(v, requests);
	if (!v->started)
		return false;
	take_posted(v);
	if (v->halted && !leave_halt(v))
		return false;
	update_apic(v);
	choose_event(v);
	pv_offer_eoi(v);
	if (!v->first_entry)
		vm_first_entry(v);
	return true;
}

/* Memory may have gone while nobody asked it to look, and from now on vcpu_has_renewed() says that it knows none. */
static void load(struct vcpu *v)
{
	virt_load(&v->virt);
	code_forget(&v->code);
	if (v->vm->balloon)
		pv_look_again(v);
	guest_timer_lend(v);
}

void vcpu_make_room(struct vcpu *v)
{
	pv_take_eoi(v); /* where it was offered */
	guest_timer_take(v);
	virt_put(&v->virt);
}

void vcpu_come_back(struct vcpu *v)
{
	load(v);
}

void vcpu_load(struct vcpu *v, struct pcpu *p)
{
	vlapic_set_queue(&v->lapic, &p->timers);
	window_make_home(&v->vm->ram.window); /* what it shares with its guest is there (hv/pv.c, hv/code.c) */
	load(v);
	pv_runs(v);
	vcpu_look_again(v);
}

/* Its VM has ended: nothing of it is left on any CPU but a timer callback under way, for which on_finish waits. */
static void leave_for_good(struct vcpu *v, struct pcpu *p)
{
	vlapic_reset(&v->lapic, false); /* its timer leaves the queue */
	sched_put(p, v, VCPU_GONE);
	vm_vcpu_left(v->vm);
}

/* What came before the state said so has found nobody to wake: hence a second look, after the state has changed. */
void vcpu_put(struct vcpu *v, struct pcpu *p, bool runnable)
{
	pv_leaves(v);
	guest_timer_take(v);
	virt_put(&v->virt);
	if (atomic_load(&v->vm->end) != VM_RUNS) {
		leave_for_good(v, p);
	} else if (atomic_load(&v->vm->paused)) {
		sched_put(p, v, VCPU_PAUSED);
		if (!vm_is_paused(v->vm) || (atomic_load(&v->requests) & REQUEST_SNAPSHOT))
			sched_wake(v, VCPU_PAUSED);
	} else if (runnable) {
		sched_put(p, v, VCPU_RUNNABLE);
	} else {
		sched_put(p, v, VCPU_BLOCKED);
		if (atomic_load(&v->requests))
			sched_wake(v, VCPU_BLOCKED);
		else if (!v->started || v->halted_forever)
			vm_check_halted(v->vm);
	}
}

void vcpu_resume(struct vcpu *v)
{
	sched_wake(v, VCPU_PAUSED);
}
