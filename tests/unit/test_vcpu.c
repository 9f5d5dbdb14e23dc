/*
 * What vcpu_prepare() does before an entry: requests, INIT and start-up, and the choice of the one event that goes in.
 * No event may be lost: what can't be injected now is asked for by a window. The local APIC and the 8259 are real.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/vcpu.c arch/x86/cpu_state.c hv/dev/vlapic.c hv/dev/vlapic_regs.c hv/dev/vlapic_timer.c */
/* links: hv/dev/vlapic_ipi.c hv/dev/apic_bus.c hv/dev/pic.c hv/bus.c */
#define FAKE_VIRT_WITH_VCPU
#include "tests/unit/fake_virt.h"

#include "hv/exit/msr.h"
#include "hv/guest_timer.h"
#include "hv/sched/sched.h"
#include "hv/trace.h"
#include "tests/fake_window.h"

static struct pcpu home;
static unsigned wakes, kicks, halt_checks, first_entries, left;
static int put_state;

struct cpu *this_cpu(void)
{
	static struct cpu cpu;

	return &cpu;
}
bool trace_on;
void trace_add(enum trace_type type, const struct vcpu *v, uint64_t tsc, uint32_t a, uint64_t b)
{
	(void)type, (void)v, (void)tsc, (void)a, (void)b;
}
hpa_t msr_bitmap(bool x2apic_virtualised, bool timer_direct)
{
	return HPA(x2apic_virtualised + 2 * timer_direct);
}
void sched_wake(struct vcpu *v, enum vcpu_state state)
{
	assert_ptr_equal(v, &vcpu);
	if (v->state != state)
		return;
	v->state = VCPU_RUNNABLE;
	wakes++;
}
unsigned sched_cpu_of(const struct vcpu *v)
{
	assert_ptr_equal(v, &vcpu);
	return 3;
}
void sched_put(struct pcpu *p, struct vcpu *v, enum vcpu_state state)
{
	assert_ptr_equal(p, &home);
	assert_ptr_equal(v, &vcpu);
	put_state = (int)state;
	v->state = state;
}
struct pcpu *pcpu_at(unsigned index)
{
	assert_int_equal(index, 3);
	return &home;
}
void pcpu_notice(struct pcpu *p)
{
	assert_ptr_equal(p, &home);
	kicks++;
}
void vm_first_entry(struct vcpu *v)
{
	v->first_entry = 1;
	first_entries++;
}
void vm_check_halted(struct vm *machine)
{
	assert_ptr_equal(machine, &vm);
	halt_checks++;
}
void vm_vcpu_left(struct vm *machine)
{
	assert_ptr_equal(machine, &vm);
	left++;
}

/* Who has the processor's timer: from when the vCPU is loaded until before it is put away. */
static unsigned timer_updates;
static bool timer_lent;

void guest_timer_update(struct vcpu *v)
{
	assert_ptr_equal(v, &vcpu);
	timer_updates++;
	v->timer_direct = vlapic_timer_can_hand_over(&v->lapic);
}
void guest_timer_lend(struct vcpu *v)
{
	assert_ptr_equal(v, &vcpu);
	timer_lent = true;
}
void guest_timer_take(struct vcpu *v)
{
	assert_ptr_equal(v, &vcpu);
	timer_lent = false;
}

static unsigned pv_looks, pv_resets, pv_runs_count, pv_leaves_count, eois_taken, eois_offered;
static int isr_when_taken, isr_when_offered;

/* What the order of the two must be: before anything looks at ISR, and after the event was chosen. */
void pv_take_eoi(struct vcpu *v)
{
	assert_ptr_equal(v, &vcpu);
	eois_taken++;
	isr_when_taken = vlapic_highest_isr(&v->lapic);
}
void pv_offer_eoi(struct vcpu *v)
{
	assert_ptr_equal(v, &vcpu);
	eois_offered++;
	isr_when_offered = vlapic_highest_isr(&v->lapic);
}
void pv_reset(struct vcpu *v)
{
	assert_ptr_equal(v, &vcpu);
	pv_resets++;
}
void pv_runs(struct vcpu *v)
{
	assert_ptr_equal(v, &vcpu);
	pv_runs_count++;
}
void pv_look_again(struct vcpu *v)
{
	(void)v;
	pv_looks++;
}
void pv_leaves(struct vcpu *v)
{
	assert_ptr_equal(v, &vcpu);
	pv_leaves_count++;
}

static void pic_changed(void *ctx, bool intr)
{
	(void)ctx, (void)intr;
}

static void program_pic(uint8_t base)
{
	struct vpic *pic = &vm.pc.pic;

	vpic_init(pic, pic_changed, NULL);
	vpic_reset(pic);
	vpic_write(pic, 0x20, 1, 0x11);
	vpic_write(pic, 0x21, 1, base);
	vpic_write(pic, 0x21, 1, 4);
	vpic_write(pic, 0x21, 1, 1);
	vpic_write(pic, 0x21, 1, 0); /* nothing masked */
}

static int setup(void **state)
{
	(void)state;
	fake_reset();
	memset(&home, 0, sizeof(home));
	vcpu.started = true;
	vcpu.cpuid_signature = 0x50654;
	vm.apic_bus.signal = vcpu_signal;
	vm.apic_bus.ctx = &vm;
	program_pic(0x20);
	vlapic_enter_virtual_wire(&vcpu.lapic);
	vlapic_mmio_write(&vcpu.lapic, VLAPIC_SVR, 4, 0x1ff);
	vcpu_apic_changed(&vcpu);
	vcpu.requests = 0;
	wakes = kicks = halt_checks = first_entries = left = 0;
	put_state = -1;
	return 0;
}

static void pic_line(unsigned irq, bool level)
{
	vpic_set_line(&vm.pc.pic, irq, level);
}
static void post(uint8_t vector)
{
	vlapic_post(&vcpu.lapic, vector, false);
}

/* The guest has been entered with the event, and it was delivered. */
static void enter(void)
{
	fake.pending = false;
}

static void prepare(void)
{
	assert_true(vcpu_prepare(&vcpu));
}

/* --- the choice of an event --------------------------------------------------------------------------------------- */

static void nothing_to_do(void **state)
{
	(void)state;
	prepare();
	assert_false(fake.pending);
	assert_false(fake.interrupt_window);
	assert_false(fake.nmi_window);
	assert_int_equal(first_entries, 1);
	prepare();
	assert_int_equal(first_entries, 1);
}

static void an_interrupt_goes_in_once(void **state)
{
	(void)state;
	post(0x41);
	assert_true(vcpu.requests & REQUEST_EVENT);
	prepare();
	assert_int_equal(fake.vector, 0x41);
	assert_int_equal(fake.interrupts, 1);
	assert_false(fake.interrupt_window);
	assert_int_equal(vlapic_highest_isr(&vcpu.lapic), 0x41);
	enter();
	prepare();
	assert_int_equal(fake.interrupts, 1);
}

static void what_was_cut_short_goes_first(void **state)
{
	(void)state;
	fake.pending = true; /* delivery of an exception was interrupted by an exit */
	fake.vector = 14;
	post(0x41);
	vcpu_signal(&vm, 0, APIC_SIGNAL_NMI, 0);
	prepare();
	assert_int_equal(fake.vector, 14);
	assert_int_equal(fake.nmis + fake.interrupts, 0);
	assert_true(fake.nmi_window);
	assert_true(fake.interrupt_window);
	enter();
	prepare(); /* the NMI window opened */
	assert_int_equal(fake.nmis, 1);
	assert_false(fake.nmi_window);
	assert_true(fake.interrupt_window);
	assert_int_equal(fake.interrupts, 0);
	enter();
	prepare();
	assert_int_equal(fake.nmis, 1);
	assert_int_equal(fake.interrupts, 1);
	assert_false(fake.interrupt_window);
}

static void windows_while_the_guest_blocks(void **state)
{
	(void)state;
	fake.rflags &= ~RFLAGS_IF;
	post(0x41);
	prepare();
	assert_false(fake.pending);
	assert_true(fake.interrupt_window);
	fake.rflags |= RFLAGS_IF;
	fake.blocked = true; /* the shadow of STI */
	prepare();
	assert_false(fake.pending);
	assert_true(fake.interrupt_window);
	fake.blocked = false;
	prepare();
	assert_int_equal(fake.vector, 0x41);
	assert_false(fake.interrupt_window);
}

static void nmi_waits_for_its_window(void **state)
{
	(void)state;
	fake.nmi_blocked = true; /* in an NMI handler */
	vcpu_signal(&vm, 0, APIC_SIGNAL_NMI, 0);
	vcpu_signal(&vm, 0, APIC_SIGNAL_NMI, 0);
	prepare();
	assert_int_equal(fake.nmis, 0);
	assert_true(fake.nmi_window);
	fake.nmi_blocked = false;
	prepare();
	assert_int_equal(fake.nmis, 1);
	assert_false(fake.nmi_window);
	enter();
	prepare();
	assert_int_equal(fake.nmis, 1); /* a processor latches one */
}

static void nmi_needs_no_if(void **state)
{
	(void)state;
	fake.rflags &= ~RFLAGS_IF;
	vcpu_signal(&vm, 0, APIC_SIGNAL_NMI, 0);
	prepare();
	assert_int_equal(fake.nmis, 1);
}

static void the_8259_goes_before_the_local_apic(void **state)
{
	(void)state;
	post(0x41);
	pic_line(3, true);
	prepare();
	assert_int_equal(fake.vector, 0x23);
	assert_true(fake.interrupt_window); /* the other one is not forgotten */
	enter();
	prepare();
	assert_int_equal(fake.vector, 0x41);
	assert_int_equal(fake.interrupts, 2);
}

static void the_8259_reaches_who_listens(void **state)
{
	(void)state;
	pic_line(3, true);
	vlapic_mmio_write(&vcpu.lapic, VLAPIC_LVT_LINT0, 4, 0x10700); /* ExtINT, masked */
	prepare();
	assert_false(fake.pending);
	assert_false(fake.interrupt_window);
	vlapic_mmio_write(&vcpu.lapic, VLAPIC_LVT_LINT0, 4, 0x700);
	vcpu.index = 1; /* the boot processor only */
	prepare();
	assert_false(fake.pending);
	vcpu.index = 0;
	prepare();
	assert_int_equal(fake.vector, 0x23);
}

static void a_line_that_fell_is_spurious(void **state)
{
	(void)state;
	vm.pc.pic.intr = true; /* seen, then gone before the acknowledge */
	prepare();
	assert_int_equal(fake.vector, 0x27);
	assert_int_equal(vlapic_highest_isr(&vcpu.lapic), -1);
}

static void priority_holds_back(void **state)
{
	(void)state;
	vlapic_set_cr8(&vcpu.lapic, 5);
	post(0x41);
	prepare();
	assert_false(fake.pending);
	assert_false(fake.interrupt_window); /* no window, the threshold will tell */
	assert_int_equal(fake.threshold, 4);
	vlapic_set_cr8(&vcpu.lapic, 3);
	prepare();
	assert_int_equal(fake.vector, 0x41);
}

/* --- with APICv -------------------------------------------------------------------------------------------------- */

static void use_apicv(void)
{
	fake.features.apicv = true;
	vcpu_apic_changed(&vcpu);
	assert_int_equal(fake.mode, VIRT_APIC_XAPIC);
}

static void apicv_delivers_by_itself(void **state)
{
	(void)state;
	use_apicv();
	post(0x41);
	post(0x61);
	prepare();
	assert_false(fake.pending);
	assert_false(fake.interrupt_window);
	assert_int_equal(fake.rvi, 0x61);
	pic_line(3, true);
	prepare();
	assert_int_equal(fake.vector, 0x23); /* the 8259's is ours to inject, also now */
	assert_int_equal(fake.rvi, 0x61);
}

static void apicv_hears_of_level_triggered_vectors(void **state)
{
	(void)state;
	use_apicv();
	vlapic_post(&vcpu.lapic, 0x85, true);
	prepare();
	assert_int_equal(fake.eoi_exits[2], BIT(5));
	vlapic_post(&vcpu.lapic, 0x85, false);
	prepare();
	assert_int_equal(fake.eoi_exits[2], 0);
}

static void apic_mode_follows_the_base(void **state)
{
	struct vlapic *l = &vcpu.lapic;

	(void)state;
	use_apicv();
	assert_true(l->apicv);
	assert_int_equal(vlapic_set_base(l, l->base | VLAPIC_BASE_X2APIC), 0);
	vcpu_apic_changed(&vcpu);
	assert_int_equal(fake.mode, VIRT_APIC_OFF); /* without x2APIC virtualisation in software */
	assert_false(l->apicv);
	fake.features.x2apicv = true;
	vcpu_apic_changed(&vcpu);
	assert_int_equal(fake.mode, VIRT_APIC_X2APIC);
	assert_int_equal(vlapic_set_base(l, VLAPIC_DEFAULT_BASE | VLAPIC_BASE_BSP), 0);
	vcpu_apic_changed(&vcpu);
	assert_int_equal(fake.mode, VIRT_APIC_OFF);
	assert_int_equal(vlapic_set_base(l, 0xfed00000 | VLAPIC_BASE_BSP | VLAPIC_BASE_ENABLE), 0);
	vcpu_apic_changed(&vcpu);
	assert_int_equal(fake.mode, VIRT_APIC_OFF); /* the access page is at the default address */
}

/* In software what was requested before the switch is still there after it, and the other way round. */
static void interrupts_survive_a_mode_change(void **state)
{
	(void)state;
	fake.rflags &= ~RFLAGS_IF;
	post(0x41);
	prepare();
	use_apicv();
	prepare();
	assert_int_equal(fake.rvi, 0x41);
	fake.features.apicv = false;
	vcpu_apic_changed(&vcpu);
	fake.rflags |= RFLAGS_IF;
	prepare();
	assert_int_equal(fake.vector, 0x41);
}

/* --- HLT ---------------------------------------------------------------------------------------------------------- */

static void halted_until_an_event(void **state)
{
	(void)state;
	vcpu.halted = true;
	assert_false(vcpu_prepare(&vcpu));
	assert_true(vcpu.halted);
	assert_int_equal(halt_checks, 0);
	post(0x41);
	prepare();
	assert_false(vcpu.halted);
	assert_int_equal(fake.vector, 0x41);
}

static void halted_with_interrupts_off(void **state)
{
	(void)state;
	fake.rflags &= ~RFLAGS_IF;
	vcpu.halted = true;
	post(0x41);
	assert_false(vcpu_prepare(&vcpu));
	assert_int_equal(halt_checks, 0); /* it still counts as running */
	vcpu_put(&vcpu, &home, false);
	assert_int_equal(halt_checks, 1);
	vcpu_signal(&vm, 0, APIC_SIGNAL_NMI, 0);
	prepare();
	assert_int_equal(fake.nmis, 1);
}

/* A spinlock's waiter halts with interrupts off as well; a kick that comes before it halts counts. */
static void a_kick_ends_one_hlt(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		fake.rflags = RFLAGS_FIXED | (i ? RFLAGS_IF : 0);
		vcpu.pv.kicked = true;
		vcpu.halted = true;
		assert_true(vcpu_prepare(&vcpu));
		assert_false(vcpu.halted || vcpu.halted_forever || vcpu.pv.kicked);
		vcpu.halted = true;
		assert_false(vcpu_prepare(&vcpu));
	}
}

static void a_blocked_nmi_does_not_end_hlt(void **state)
{
	(void)state;
	vcpu.halted = true;
	fake.nmi_blocked = true;
	vcpu_signal(&vm, 0, APIC_SIGNAL_NMI, 0);
	assert_false(vcpu_prepare(&vcpu));
	post(0x41); /* an interrupt does, and the NMI is still waiting */
	prepare();
	assert_int_equal(fake.vector, 0x41);
	assert_true(fake.nmi_window);
}

static void a_masked_interrupt_does_not_end_hlt(void **state)
{
	(void)state;
	vcpu.halted = true;
	vlapic_set_cr8(&vcpu.lapic, 5);
	post(0x41);
	assert_false(vcpu_prepare(&vcpu));
	pic_line(3, true);
	prepare();
	assert_int_equal(fake.vector, 0x23);
}

/* --- INIT, start-up, requests ------------------------------------------------------------------------------------- */

static void startup_begins_at_its_vector(void **state)
{
	(void)state;
	vcpu.started = false;
	assert_false(vcpu_prepare(&vcpu));
	vcpu_signal(&vm, 0, APIC_SIGNAL_STARTUP, 0x9a);
	prepare();
	assert_int_equal(fake.state.seg[SEG_CS].base, 0x9a000);
	assert_int_equal(fake.state.rip, 0);
	fake.state.seg[SEG_CS].base = 1;
	vcpu_signal(&vm, 0, APIC_SIGNAL_STARTUP, 0x10);
	prepare(); /* runs already: ignored */
	assert_int_equal(fake.state.seg[SEG_CS].base, 1);
}

static void init_waits_for_a_startup(void **state)
{
	(void)state;
	pv_resets = 0;
	vcpu.lapic.base &= ~VLAPIC_BASE_BSP;
	vcpu.halted = vcpu.nmi_pending = true;
	post(0x41);
	vcpu_signal(&vm, 0, APIC_SIGNAL_INIT, 0);
	assert_false(vcpu_prepare(&vcpu));
	assert_false(vcpu.started);
	assert_false(vcpu.nmi_pending);
	assert_int_equal(fake.state.reg[REG_RDX], 0x50654);
	assert_int_equal(pv_resets, 1);
	vcpu_signal(&vm, 0, APIC_SIGNAL_INIT, 0);
	vcpu_signal(&vm, 0, APIC_SIGNAL_STARTUP, 2);
	prepare(); /* both at once: in this order */
	assert_int_equal(fake.state.seg[SEG_CS].base, 0x2000);
	assert_false(fake.pending);
}

/* It must not be taken by the real-mode code of the start-up that follows. */
static void init_forgets_an_nmi(void **state)
{
	(void)state;
	vcpu.lapic.base &= ~VLAPIC_BASE_BSP;
	vcpu_signal(&vm, 0, APIC_SIGNAL_NMI, 0);
	vcpu_signal(&vm, 0, APIC_SIGNAL_INIT, 0);
	vcpu_signal(&vm, 0, APIC_SIGNAL_STARTUP, 2);
	prepare();
	assert_false(vcpu.nmi_pending);
	assert_false(fake.pending);
}

static void init_restarts_the_boot_processor(void **state)
{
	(void)state;
	fake.pending = true;
	vcpu_signal(&vm, 0, APIC_SIGNAL_INIT, 0);
	prepare();
	assert_int_equal(fake.rip, 0xfff0);
	assert_false(fake.pending);
}

static void requests_wake_and_kick(void **state)
{
	(void)state;
	vcpu.state = VCPU_BLOCKED;
	vcpu_request(&vcpu, REQUEST_EVENT);
	assert_int_equal(wakes, 1);
	assert_int_equal(kicks, 0);	    /* it looks before it enters */
	vcpu_request(&vcpu, REQUEST_EVENT); /* RUNNABLE now */
	assert_int_equal(wakes, 1);
	assert_int_equal(kicks, 0);
	vcpu.state = VCPU_RUNNING;
	vcpu_request(&vcpu, REQUEST_NMI);
	assert_int_equal(kicks, 1);
	assert_int_equal(vcpu.requests, REQUEST_EVENT | REQUEST_NMI);
	prepare();
	assert_int_equal(vcpu.requests, 0);
}

/* One that runs is told, and has done it before it enters; of another it is true as it is. */
static void memory_that_went_is_forgotten(void **state)
{
	(void)state;
	vcpu.requests = 0;
	vcpu.state = VCPU_BLOCKED;
	vcpu_renew(&vcpu);
	assert_int_equal(vcpu.requests, 0);
	assert_true(vcpu_has_renewed(&vcpu, 5));
	vcpu.state = VCPU_RUNNING;
	vcpu.virt.flushed_generation = 4;
	assert_false(vcpu_has_renewed(&vcpu, 5));
	vcpu_renew(&vcpu);
	assert_int_equal(vcpu.requests, REQUEST_RENEW);
	assert_int_equal(kicks, 1);
	pv_looks = fake.renewals = 0;
	prepare();
	assert_int_equal(fake.renewals, 1);
	assert_int_equal(pv_looks, 1);
	vcpu.virt.flushed_generation = 6;
	assert_true(vcpu_has_renewed(&vcpu, 5));
}

/* Nothing but a balloon takes memory away from a VM that goes on. */
static void with_a_balloon_it_looks_again_when_it_gets_a_cpu(void **state)
{
	uint64_t balloon;

	(void)state;
	pv_looks = 0;
	vcpu_load(&vcpu, &home);
	assert_int_equal(pv_looks, 0);
	vm.balloon = (struct balloon_device *)&balloon;
	vcpu_load(&vcpu, &home);
	assert_int_equal(pv_looks, 1);
	vm.balloon = NULL;
}

/* While another vCPU is reset here, others may learn that this one has forgotten all: so it has. */
static void after_making_room_it_looks_again(void **state)
{
	uint64_t balloon;

	(void)state;
	pv_looks = eois_taken = 0;
	vcpu.code.known = true;
	vm.balloon = (struct balloon_device *)&balloon;
	vcpu_make_room(&vcpu);
	assert_int_equal(eois_taken, 1);
	assert_int_equal(pv_looks, 0);
	vcpu_come_back(&vcpu);
	assert_int_equal(pv_looks, 1);
	assert_false(vcpu.code.known);
	vm.balloon = NULL;
}

static void a_vm_that_ended_is_not_entered(void **state)
{
	(void)state;
	post(0x41);
	vm.end = VM_POWERED_OFF;
	assert_false(vcpu_prepare(&vcpu));
	assert_false(fake.pending);
	vcpu_put(&vcpu, &home, false);
	assert_int_equal(put_state, VCPU_GONE);
	assert_int_equal(left, 1);
}

static void leaving_misses_no_request(void **state)
{
	(void)state;
	pv_leaves_count = pv_runs_count = 0;
	vcpu_put(&vcpu, &home, false);
	assert_int_equal(put_state, VCPU_BLOCKED);
	assert_int_equal(wakes, 0);
	assert_int_equal(pv_leaves_count, 1);
	vcpu_load(&vcpu, &home);
	assert_int_equal(pv_runs_count, 1);
	vcpu.requests = 0;
	vcpu.requests = REQUEST_EVENT; /* came while the state was still RUNNING */
	vcpu_put(&vcpu, &home, false);
	assert_int_equal(wakes, 1);
	vcpu_put(&vcpu, &home, true);
	assert_int_equal(put_state, VCPU_RUNNABLE);
	assert_int_equal(wakes, 1);
}

/* --- pause -------------------------------------------------------------------------------------------------------- */

/* What is asked of a paused vCPU waits for it, and it looks at everything when it goes on. */
static void a_paused_vcpu_stays_out_and_forgets_nothing(void **state)
{
	(void)state;
	vcpu.state = VCPU_RUNNING;
	vm.paused = true;
	vcpu_request(&vcpu, REQUEST_LEAVE);
	vcpu_signal(&vm, 0, APIC_SIGNAL_NMI, 0);
	assert_false(vcpu_prepare(&vcpu));
	vcpu_put(&vcpu, &home, false);
	assert_int_equal(put_state, VCPU_PAUSED);
	assert_int_equal(wakes, 0);
	vcpu_request(&vcpu, REQUEST_EVENT); /* does not wake it */
	assert_int_equal(wakes, 0);
	vm.paused = false;
	vcpu_resume(&vcpu);
	assert_int_equal(wakes, 1);
	prepare();
	assert_int_equal(fake.nmis, 1);
}

/* The VM resumes between the vCPU's look at `paused` and its change of state. */
static void a_resume_in_between_is_not_missed(void **state)
{
	(void)state;
	vcpu.state = VCPU_RUNNING;
	vm.paused = true;
	vcpu_request(&vcpu, REQUEST_LEAVE);
	assert_false(vcpu_prepare(&vcpu));
	vm.paused = false;
	vcpu_resume(&vcpu); /* it is not PAUSED yet: no effect */
	vcpu_put(&vcpu, &home, false);
	assert_int_equal(wakes, 1);
	prepare();
}

/* --- snapshots and the timer -------------------------------------------------------------------------------------- */

static void a_paused_vcpu_gives_its_registers(void **state)
{
	(void)state;
	vm.paused = true;
	vcpu.state = VCPU_PAUSED;
	fake.rip = 0x1234;
	vcpu_snapshot(&vcpu);
	assert_int_equal(wakes, 1);
	assert_true(vcpu.snapshot_due);
	assert_false(vcpu_prepare(&vcpu));
	assert_false(vcpu.snapshot_due);
	assert_int_equal(vcpu.snapshot.rip, 0x1234);
}

/* Asked for when the vCPU is on its way out: nobody could wake it then, so it looks once more itself. */
static void a_snapshot_is_not_missed_while_it_pauses(void **state)
{
	(void)state;
	vcpu.state = VCPU_RUNNING;
	vm.paused = true;
	vcpu_request(&vcpu, REQUEST_LEAVE);
	assert_false(vcpu_prepare(&vcpu));
	vcpu_snapshot(&vcpu);
	assert_int_equal(wakes, 0);
	vcpu_put(&vcpu, &home, false);
	assert_int_equal(wakes, 1);
}

static void the_timer_is_looked_at_by_its_owner(void **state)
{
	(void)state;
	vlapic_mmio_write(&vcpu.lapic, VLAPIC_SVR, 4, 0x1ff);
	vlapic_mmio_write(&vcpu.lapic, VLAPIC_DIVIDE, 4, 0xb);
	vlapic_mmio_write(&vcpu.lapic, VLAPIC_LVT_TIMER, 4, 0x51);
	vlapic_mmio_write(&vcpu.lapic, VLAPIC_INITIAL_COUNT, 4, 1000);
	vcpu.requests = 0;
	fake_now += 1001;
	vcpu_signal(&vm, 0, APIC_SIGNAL_TIMER, 0);
	assert_int_equal(vlapic_highest_irr(&vcpu.lapic), -1);
	prepare();
	assert_int_equal(fake.vector, 0x51);
	assert_int_equal(vcpu.requests, 0); /* not a second time round the loop */
}

/* A vCPU that is not loaded must not have it, whatever takes it off its CPU. */
static void the_processors_timer_is_lent_while_it_is_loaded(void **state)
{
	(void)state;
	timer_updates = 0;
	vcpu_load(&vcpu, &home);
	assert_true(timer_lent);
	prepare();
	assert_int_equal(timer_updates, 0);
	vlapic_mmio_write(&vcpu.lapic, VLAPIC_LVT_TIMER, 4, 2U << 17 | 0x51);
	prepare();
	assert_int_equal(timer_updates, 1);
	vcpu_request(&vcpu, REQUEST_TIMER);
	prepare();
	vcpu_look_again(&vcpu);
	prepare();
	assert_int_equal(timer_updates, 1);
	vcpu_apic_changed(&vcpu);
	assert_int_equal(fake.msr_bitmap.value, 2);
	vcpu.requests = 0;
	assert_int_equal(vlapic_set_base(&vcpu.lapic, VLAPIC_DEFAULT_BASE), 0); /* switched off: the mode is lost */
	prepare();
	assert_int_equal(timer_updates, 2);
	vcpu_make_room(&vcpu);
	assert_false(timer_lent);
	vcpu_come_back(&vcpu);
	assert_true(timer_lent);
	vcpu_put(&vcpu, &home, true);
	assert_false(timer_lent);
}

/* The VM ends at the moment in which the timer's interrupt is posted. */
static void signal_and_end(void *ctx, unsigned index, enum apic_signal what, uint8_t vector)
{
	vcpu_signal(ctx, index, what, vector);
	vcpu_request(&vcpu, REQUEST_LEAVE);
}

static void what_is_asked_while_the_timer_is_served_stays(void **state)
{
	(void)state;
	vlapic_mmio_write(&vcpu.lapic, VLAPIC_DIVIDE, 4, 0xb);
	vlapic_mmio_write(&vcpu.lapic, VLAPIC_LVT_TIMER, 4, 0x51);
	vlapic_mmio_write(&vcpu.lapic, VLAPIC_INITIAL_COUNT, 4, 1000);
	fake_now += 1001;
	vcpu.requests = REQUEST_TIMER;
	vm.apic_bus.signal = signal_and_end;
	assert_true(vcpu_prepare(&vcpu));
	assert_int_equal(vcpu.requests, REQUEST_LEAVE);
}

static void exceptions(void **state)
{
	(void)state;
	assert_int_equal(vcpu_raise_gp(&vcpu), OUTCOME_RETRY);
	assert_int_equal(fake.vector, VECTOR_GP);
	fake.triple = true;
	assert_int_equal(vcpu_raise_ud(&vcpu), OUTCOME_KILL);
	assert_int_equal(kills, 1);
}

/* An EOI that the guest did by a bit comes before the next choice, and the offer behind it. */
static void the_offer_of_an_eoi_ends_first_and_begins_last(void **state)
{
	(void)state;
	eois_taken = eois_offered = 0;
	post(0x41);
	prepare();
	assert_int_equal(isr_when_taken, -1);
	assert_int_equal(isr_when_offered, 0x41);
	assert_int_equal(eois_taken, 1);
	assert_int_equal(eois_offered, 1);
	vcpu_request(&vcpu, REQUEST_INIT); /* which clears ISR */
	prepare();
	assert_int_equal(isr_when_taken, 0x41);
	assert_int_equal(isr_when_offered, -1);
}

static void a_flush_that_is_asked_for_comes_before_the_entry(void **state)
{
	(void)state;
	prepare();
	assert_int_equal(fake.renewals, 0);
	vcpu_request(&vcpu, REQUEST_RENEW);
	prepare();
	assert_int_equal(fake.renewals, 1);
	vcpu_request(&vcpu, REQUEST_RENEW); /* while it is paused it waits */
	atomic_store(&vm.paused, true);
	assert_false(vcpu_prepare(&vcpu));
	atomic_store(&vm.paused, false);
	assert_int_equal(fake.renewals, 1);
	prepare();
	assert_int_equal(fake.renewals, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(nothing_to_do, setup),
	    cmocka_unit_test_setup(an_interrupt_goes_in_once, setup),
	    cmocka_unit_test_setup(what_was_cut_short_goes_first, setup),
	    cmocka_unit_test_setup(windows_while_the_guest_blocks, setup),
	    cmocka_unit_test_setup(nmi_waits_for_its_window, setup),
	    cmocka_unit_test_setup(nmi_needs_no_if, setup),
	    cmocka_unit_test_setup(the_8259_goes_before_the_local_apic, setup),
	    cmocka_unit_test_setup(the_8259_reaches_who_listens, setup),
	    cmocka_unit_test_setup(a_line_that_fell_is_spurious, setup),
	    cmocka_unit_test_setup(priority_holds_back, setup),
	    cmocka_unit_test_setup(apicv_delivers_by_itself, setup),
	    cmocka_unit_test_setup(apicv_hears_of_level_triggered_vectors, setup),
	    cmocka_unit_test_setup(apic_mode_follows_the_base, setup),
	    cmocka_unit_test_setup(interrupts_survive_a_mode_change, setup),
	    cmocka_unit_test_setup(halted_until_an_event, setup),
	    cmocka_unit_test_setup(halted_with_interrupts_off, setup),
	    cmocka_unit_test_setup(a_kick_ends_one_hlt, setup),
	    cmocka_unit_test_setup(a_blocked_nmi_does_not_end_hlt, setup),
	    cmocka_unit_test_setup(a_masked_interrupt_does_not_end_hlt, setup),
	    cmocka_unit_test_setup(startup_begins_at_its_vector, setup),
	    cmocka_unit_test_setup(init_waits_for_a_startup, setup),
	    cmocka_unit_test_setup(init_forgets_an_nmi, setup),
	    cmocka_unit_test_setup(init_restarts_the_boot_processor, setup),
	    cmocka_unit_test_setup(requests_wake_and_kick, setup),
	    cmocka_unit_test_setup(memory_that_went_is_forgotten, setup),
	    cmocka_unit_test_setup(with_a_balloon_it_looks_again_when_it_gets_a_cpu, setup),
	    cmocka_unit_test_setup(after_making_room_it_looks_again, setup),
	    cmocka_unit_test_setup(a_vm_that_ended_is_not_entered, setup),
	    cmocka_unit_test_setup(leaving_misses_no_request, setup),
	    cmocka_unit_test_setup(a_paused_vcpu_stays_out_and_forgets_nothing, setup),
	    cmocka_unit_test_setup(a_resume_in_between_is_not_missed, setup),
	    cmocka_unit_test_setup(a_paused_vcpu_gives_its_registers, setup),
	    cmocka_unit_test_setup(a_snapshot_is_not_missed_while_it_pauses, setup),
	    cmocka_unit_test_setup(the_timer_is_looked_at_by_its_owner, setup),
	    cmocka_unit_test_setup(the_processors_timer_is_lent_while_it_is_loaded, setup),
	    cmocka_unit_test_setup(what_is_asked_while_the_timer_is_served_stays, setup),
	    cmocka_unit_test_setup(exceptions, setup),
	    cmocka_unit_test_setup(the_offer_of_an_eoi_ends_first_and_begins_last, setup),
	    cmocka_unit_test_setup(a_flush_that_is_asked_for_comes_before_the_entry, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
