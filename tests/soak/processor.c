/*
 * A processor without instructions: each entry ends by an exit that guest.c thinks of. Little is kept of a
 * processor: RFLAGS, the event of the next entry, where its registers live. What the core may not do is checked: load
 * a vCPU twice, ask for one that is not loaded, inject two events at once or one that can't be taken.
 */
/* SPDX-License-Identifier: MIT */
#include "tests/soak/processor.h"

#include <stdlib.h>
#include <string.h>

#include "arch/x86/memory.h"
#include "arch/x86/trap.h"
#include "arch/x86/virt.h"
#include "hv/pc_map.h"
#include "hv/pcpu.h"
#include "hv/phys.h"
#include "hv/vms.h"
#include "tests/soak/guest.h"
#include "tests/soak/sim.h"

#define HOG_STEP 100000 /* ticks */

struct virt_space {
	uint64_t mapped;
	uint64_t generation, unmapped;	   /* when something was lost last, and when it was by unmapping */
	uint64_t blank;			   /* what shared pages were redirected to */
	uint64_t page[GUEST_SHARED_PAGES]; /* of the window: where they are; 0: nowhere */
};

bool processor_short_of_memory;
static unsigned fail_at;	   /* that many things until one can't be created; 0: none */
static bool has_failed, no_tables; /* and that was a page table's */
static struct virt_features features;
static struct soft *loaded[SIM_CPUS];
static uint64_t bound[SIM_CPUS]; /* time at which the coming entry ends; 0: none */
static unsigned vcpus, spaces;
static uint64_t entries, refusals;

unsigned processor_vcpus(void)
{
	return vcpus;
}
unsigned processor_spaces(void)
{
	return spaces;
}
uint64_t processor_entries(void)
{
	return entries;
}
uint64_t processor_refusals(void)
{
	return refusals;
}

void processor_init(void)
{
	features.vpid = true;
	features.preemption_timer = sim_chance(700);
	features.apicv = sim_chance(500);
	features.x2apicv = features.apicv && sim_chance(700);
	features.cr4_guest = ~0ULL;
	guest_init();
	sim_note("processor: preemption timer %d, APICv %d, for x2APIC %d", features.preemption_timer, features.apicv,
		 features.x2apicv);
}

static struct soft *soft_of(const struct virt_vcpu *v)
{
	return (struct soft *)v->vmcs.value;
}

bool processor_interruptible(const struct virt_vcpu *v)
{
	return soft_of(v)->state.rflags & RFLAGS_IF;
}

/* The vCPU that is loaded on this CPU. */
static struct soft *here(void)
{
	struct soft *s = loaded[sim_cpu()];

	if (!s)
		sim_fail("a vCPU's register is asked for, and none is loaded");
	return s;
}

static struct soft *here_of(const struct virt_vcpu *v)
{
	if (here()->v != v)
		sim_fail("a vCPU is asked for that is not loaded here");
	return here();
}

void processor_fail_at(unsigned n)
{
	fail_at = n;
	has_failed = no_tables = false;
}

bool processor_has_failed(void)
{
	return has_failed;
}

bool processor_fails_now(void)
{
	bool now = fail_at && !--fail_at;

	has_failed = has_failed || now;
	return now;
}

bool processor_no_memory(void)
{
	bool none = processor_fails_now() || (processor_short_of_memory && sim_chance(30));

	refusals += none;
	return none;
}

/* --- the extension, memory ---------------------------------------------------------------------------------------- */

const struct virt_features *virt_features(void)
{
	return &features;
}

static void lose(struct virt_space *space)
{
	static uint64_t last;

	space->generation = ++last;
}

/* The pages of the window that guests use, one by one. */
static void set_shared(struct virt_space *space, uint64_t gpa, uint64_t size, uint64_t hpa, uint64_t step)
{
	for (; size && gpa >= PC_SHARED_MEMORY; gpa += PAGE_SIZE, hpa += step, size -= PAGE_SIZE)
		if (gpa - PC_SHARED_MEMORY < GUEST_SHARED_PAGES * PAGE_SIZE)
			space->page[(gpa - PC_SHARED_MEMORY) / PAGE_SIZE] = hpa;
}

struct virt_space *virt_space_create(uint64_t size, uint64_t more)
{
	struct virt_space *space = processor_no_memory() ? NULL : calloc(1, sizeof(*space));

	(void)size, (void)more;
	spaces += space != NULL;
	return space;
}

void virt_space_destroy(struct virt_space *space)
{
	spaces--;
	free(space);
}

int virt_space_map(struct virt_space *space, gpa_t gpa, hpa_t hpa, uint64_t size, unsigned rights)
{
	(void)rights;
	if (no_tables)
		return -E_NOMEM;
	if (processor_no_memory()) {
		no_tables = has_failed; /* guest_map() tries twice, and there are not more of them then */
		return -E_NOMEM;
	}
	space->mapped += size;
	if (gpa.value < PC_SHARED_MEMORY + PC_SHARED_MEMORY_SIZE)
		set_shared(space, gpa.value, size, hpa.value, PAGE_SIZE);
	return 0;
}

int virt_space_redirect(struct virt_space *space, gpa_t gpa, uint64_t size, hpa_t hpa, unsigned rights)
{
	space->blank = hpa.value;
	set_shared(space, gpa.value, size, rights ? hpa.value : 0, 0);
	lose(space);
	return 0;
}

int virt_space_unmap(struct virt_space *space, gpa_t gpa, uint64_t size)
{
	(void)gpa;
	lose(space);
	space->unmapped = space->generation;
	space->mapped -= size < space->mapped ? size : space->mapped;
	return 0;
}

int virt_space_clear(struct virt_space *space, gpa_t gpa, uint64_t size)
{
	return processor_no_memory() ? -E_NOMEM : virt_space_unmap(space, gpa, size);
}

uint64_t virt_space_generation(const struct virt_space *space)
{
	return space->generation;
}

/* Nobody is in guest mode who has not renewed since something was last unmapped; what was redirected is not given back.
 */
void virt_space_settle(struct virt_space *space)
{
	for (unsigned i = 0; i < ARRAY_SIZE(loaded); i++)
		if (loaded[i] && loaded[i]->v->space == space && virt_vcpu_renewed(loaded[i]->v) < space->unmapped)
			sim_fail("memory is given back that a vCPU on CPU %u can still reach", i);
}

int virt_space_allow_code(struct virt_space *space, gpa_t gpa)
{
	(void)space, (void)gpa;
	return 0;
}

int virt_space_protect(struct virt_space *space, gpa_t gpa, uint64_t size, unsigned rights)
{
	(void)gpa, (void)rights;
	(void)space, (void)size;
	return 0;
}

/* --- a vCPU ------------------------------------------------------------------------------------------------------- */

int virt_vcpu_create(struct virt_vcpu *v, const struct virt_vcpu_setup *setup)
{
	struct soft *s = processor_no_memory() ? NULL : calloc(1, sizeof(*s));

	if (!s)
		return -E_NOMEM;
	s->v = v;
	s->cpu = -1;
	s->apic = (uint32_t *)setup->virtual_apic.value;
	v->vmcs = HPA((uint64_t)s);
	v->space = setup->space;
	v->vpid = setup->vpid;
	vcpus++;
	return 0;
}

void virt_vcpu_destroy(struct virt_vcpu *v)
{
	struct soft *s = soft_of(v);

	if (s->cpu >= 0)
		sim_fail("a vCPU is destroyed that is loaded on CPU %d", s->cpu);
	free(s);
	vcpus--;
}

void virt_vcpu_power_up(struct virt_vcpu *v)
{
	struct soft *s = soft_of(v);

	if (s->cpu >= 0)
		sim_fail("a vCPU is powered up that is loaded on CPU %d", s->cpu);
	s->pending = s->nmi_blocked = false;
	s->script = NULL;
}

/* Nothing is ever dropped from a TLB that need not be. */
static void flush_if_stale(struct soft *s)
{
	if (atomic_load(&s->v->flushed_generation) == s->v->space->generation)
		return;
	memset(s->tlb, 0, sizeof(s->tlb));
	s->old_pointers = soft_vcpu(s)->vm->balloon;
	atomic_store(&s->v->flushed_generation, s->v->space->generation);
}

/* --- who has flushed, so that memory may go, uses no pointer that is older -----------------------------------------
 */

void __real_pv_look_again(struct vcpu *v);
void __wrap_pv_look_again(struct vcpu *v);
void __real_pv_leaves(struct vcpu *v);
void __wrap_pv_leaves(struct vcpu *v);
void __real_pv_take_eoi(struct vcpu *v);
void __wrap_pv_take_eoi(struct vcpu *v);

void __wrap_pv_look_again(struct vcpu *v)
{
	here_of(&v->virt)->old_pointers = false;
	__real_pv_look_again(v);
}

void __wrap_pv_leaves(struct vcpu *v)
{
	if (v->pv.steal && here_of(&v->virt)->old_pointers)
		sim_fail("a vCPU says that it leaves in memory that may be another VM's");
	__real_pv_leaves(v);
}

void __wrap_pv_take_eoi(struct vcpu *v)
{
	if (v->pv.eoi && v->pv.eoi_offered && here_of(&v->virt)->old_pointers)
		sim_fail("an EOI is looked for in memory that may be another VM's");
	__real_pv_take_eoi(v);
}

/* ------------------------------------------------------------------------------------------------------------------ */

void virt_load(struct virt_vcpu *v)
{
	struct soft *s = soft_of(v);

	if (s->cpu >= 0 || loaded[sim_cpu()])
		sim_fail("a vCPU is loaded here that is on CPU %d, %s", s->cpu,
			 loaded[sim_cpu()] ? "where there is one already" : "not here");
	s->cpu = (int)sim_cpu();
	loaded[sim_cpu()] = s;
	virt_renew(v);
}

void virt_renew(struct virt_vcpu *v)
{
	flush_if_stale(here_of(v));
}

void virt_put(struct virt_vcpu *v)
{
	if (this_pcpu()->current == soft_vcpu(soft_of(v)) && sim_chance(200)) /* meanwhile memory goes elsewhere */
		lose(v->space);
	here_of(v)->cpu = -1;
	loaded[sim_cpu()] = NULL;
}

void virt_vcpu_flush(const struct virt_vcpu *v)
{
	(void)here_of(v);
}

void virt_explain_refusal(struct virt_vcpu *v, void (*line)(void *ctx, const char *text), void *ctx)
{
	(void)here_of(v);
	line(ctx, "as the soak test wanted");
}

/* A machine check among them: the rest is the same. */
bool virt_refused_by_machine_check(const struct virt_vcpu *v)
{
	(void)here_of(v);
	return sim_chance(100);
}

bool trap_guest_machine_check(void)
{
	return !sim_chance(500);
}

void virt_dump(void (*line)(void *ctx, const char *text), void *ctx)
{
	line(ctx, "a field");
}

int virt_break(uint32_t field, uint64_t value)
{
	(void)value;
	return field & 1 ? -E_INVAL : 0;
}

void virt_set_bound(uint64_t ticks)
{
	bound[sim_cpu()] = sim_now() + ticks;
}

uint64_t virt_exit_qualification(void)
{
	return here()->last.qualification;
}
uint64_t virt_exit_gpa(void)
{
	return here()->last.gpa;
}
uint32_t virt_exit_insn_info(void)
{
	return 0;
}
uint32_t virt_exit_number(void)
{
	(void)here();
	return EXIT_UNKNOWN;
}
uint32_t virt_exit_interrupt_info(void)
{
	return (sim_chance(50) ? VECTOR_MC : VECTOR_AC) | 3u << 8 | 1u << 31;
}

/* --- registers ---------------------------------------------------------------------------------------------------- */

uint64_t virt_rip(void)
{
	return here()->state.rip;
}
void virt_set_rip(uint64_t rip)
{
	here()->state.rip = rip;
}
uint64_t virt_rflags(void)
{
	return here()->state.rflags;
}
void virt_set_rflags(uint64_t rflags)
{
	here()->state.rflags = rflags;
}
void virt_advance(void)
{
	here()->state.rip += here()->last.length;
}
void virt_advance_by(uint64_t length)
{
	here()->state.rip += length;
}
void virt_step_over_int1(void)
{
	here()->state.rip += 1;
}
void virt_note_single_step(void) {}
bool virt_debug_trap_follows(void)
{
	return false;
}
void virt_clear_general_detect(void) {}
uint64_t virt_reg(struct virt_vcpu *v, unsigned n)
{
	return here_of(v)->v->reg[n];
}
void virt_set_reg(struct virt_vcpu *v, unsigned n, uint64_t value)
{
	here_of(v)->v->reg[n] = value;
}
uint64_t virt_cr0(void)
{
	return here()->state.cr0;
}
uint64_t virt_cr3(void)
{
	return here()->state.cr3;
}
uint64_t virt_cr4(void)
{
	return here()->state.cr4;
}
uint64_t virt_efer(void)
{
	return here()->state.efer;
}
void virt_set_cr0(struct virt_vcpu *v, uint64_t cr0)
{
	here_of(v)->state.cr0 = cr0;
}
void virt_set_cr4(struct virt_vcpu *v, uint64_t cr4)
{
	here_of(v)->state.cr4 = cr4;
}
void virt_set_efer(struct virt_vcpu *v, uint64_t efer)
{
	here_of(v)->state.efer = efer;
}
void virt_set_pdptes(const uint64_t pdpte[4])
{
	(void)pdpte, (void)here();
}
void virt_get_pdptes(uint64_t pdpte[4])
{
	memset(pdpte, 0, 4 * sizeof(*pdpte));
	(void)here();
}
uint32_t virt_pkru(void)
{
	return 0;
}
struct segment virt_segment(unsigned seg)
{
	return here()->state.seg[seg];
}
uint32_t virt_code_access(void)
{
	return here()->state.seg[SEG_CS].access;
}
uint64_t virt_code_base(void)
{
	return here()->state.seg[SEG_CS].base;
}
unsigned virt_cpl(void)
{
	return 0;
}
void virt_set_tsc_offset(struct virt_vcpu *v, uint64_t offset)
{
	(void)here_of(v);
	v->tsc_offset = offset;
}

void virt_set_spec_ctrl(struct virt_vcpu *v, uint64_t value)
{
	(void)here_of(v);
	v->spec_ctrl = value;
}

void virt_set_state(struct virt_vcpu *v, const struct cpu_state *state)
{
	struct soft *s = here_of(v);

	s->state = *state;
	memcpy(v->reg, state->reg, sizeof(v->reg));
	s->pending = s->nmi_blocked = s->going_to_halt = false;
	s->booting = 5;
	s->hog = sim_chance(100);
}

void virt_get_state(struct virt_vcpu *v, struct cpu_state *state)
{
	*state = here_of(v)->state;
	memcpy(state->reg, v->reg, sizeof(state->reg));
}

/* --- events ------------------------------------------------------------------------------------------------------- */

bool virt_event_pending(const struct virt_vcpu *v)
{
	return here_of(v)->pending;
}

static void inject(struct virt_vcpu *v)
{
	struct soft *s = here_of(v);

	if (s->pending)
		sim_fail("two events are injected at once");
	s->pending = true;
}

bool virt_inject_exception(struct virt_vcpu *v, unsigned vector, bool has_error, uint32_t error)
{
	struct soft *s = here_of(v);
	bool first = !s->pending;

	(void)vector, (void)has_error, (void)error;
	s->pending = true;
	return first || sim_chance(500);
}

void virt_inject_interrupt(struct virt_vcpu *v, unsigned vector)
{
	if (vector > 255 || !virt_can_take_interrupt())
		sim_fail("vector %u is injected, RFLAGS.IF is %d", vector, virt_can_take_interrupt());
	inject(v);
}

void virt_inject_nmi(struct virt_vcpu *v)
{
	if (!virt_can_take_nmi())
		sim_fail("an NMI is injected while NMIs are blocked");
	inject(v);
	here()->nmi_blocked = true;
}

void virt_block_nmi(void)
{
	here()->nmi_blocked = true;
}
bool virt_can_take_interrupt(void)
{
	return here()->state.rflags & RFLAGS_IF;
}
bool virt_can_take_nmi(void)
{
	return !here()->nmi_blocked;
}
void virt_want_windows(struct virt_vcpu *v, bool interrupt, bool nmi)
{
	here_of(v)->interrupt_window = interrupt;
	here_of(v)->nmi_window = nmi;
}

/* --- the virtual APIC --------------------------------------------------------------------------------------------- */

void virt_apic_set_mode(struct virt_vcpu *v, enum virt_apic_mode mode)
{
	here_of(v)->mode = mode;
}
/* Whether the guest sets the timer itself is looked up where it does: guest.c. */
void virt_set_msr_bitmap(hpa_t bitmap)
{
	(void)bitmap;
}
uint8_t virt_apic_rvi(void)
{
	return here()->rvi;
}
void virt_apic_set_rvi(uint8_t vector)
{
	here()->rvi = vector;
}
void virt_apic_raise_rvi(uint8_t vector)
{
	if (vector > here()->rvi)
		here()->rvi = vector;
}
uint8_t virt_apic_svi(void)
{
	return 0;
}
void virt_apic_set_svi(uint8_t vector)
{
	(void)vector, (void)here();
}
void virt_apic_eoi_exits(const uint64_t bitmap[4])
{
	memcpy(here()->eoi_exits, bitmap, sizeof(here()->eoi_exits));
}
void virt_apic_set_threshold(uint8_t threshold)
{
	(void)threshold, (void)here();
}

/* Virtual-interrupt delivery, SDM Vol. 3C 30.2: what is requested and of a higher class than the rest is taken. */
static void deliver_virtually(struct soft *s)
{
	int isr = soft_highest(s, VLAPIC_ISR), irr = soft_highest(s, VLAPIC_IRR);

	if (s->mode == VIRT_APIC_OFF || !(s->state.rflags & RFLAGS_IF) || s->pending || !s->rvi || irr != s->rvi)
		return;
	if (irr >> 4 <= isr >> 4 || irr >> 4 <= (int)(s->apic[VLAPIC_TPR / 4] & 0xff) >> 4)
		return;
	soft_flip(s, VLAPIC_IRR, irr);
	soft_flip(s, VLAPIC_ISR, irr);
	irr = soft_highest(s, VLAPIC_IRR);
	s->rvi = (uint8_t)(irr < 0 ? 0 : irr);
	s->state.rflags &= ~RFLAGS_IF;
}

/* --- entry -------------------------------------------------------------------------------------------------------- */

/* What was injected is being handled. */
static void take_event(struct soft *s)
{
	if (!s->pending)
		return;
	s->pending = false;
	s->state.rflags &= ~RFLAGS_IF;
}

static void check_entry(const struct soft *s)
{
	const struct vcpu *v = soft_vcpu(s);

	if (atomic_load(&v->state) != VCPU_RUNNING)
		sim_fail("vm %s: vCPU %u is entered in state %u", v->vm->config->name, v->index, v->state);
	if (!v->started || v->halted)
		sim_fail("vm %s: vCPU %u is entered, started %d, halted %d", v->vm->config->name, v->index, v->started,
			 v->halted);
	if (v->timer_direct != (this_pcpu()->timer_user == v))
		sim_fail("vm %s: vCPU %u sets the processor's timer: %d, and it is lent to %s", v->vm->config->name,
			 v->index, v->timer_direct, this_pcpu()->timer_user ? "somebody" : "nobody");
	if (v->timer_direct && !vlapic_timer_can_hand_over(&v->lapic))
		sim_fail("vm %s: vCPU %u sets the processor's timer in another mode or time", v->vm->config->name,
			 v->index);
}

/* VMs that lend memory have no balloon: their chunks are whole. */
static bool is_in(const struct guest_ram *ram, uint64_t hpa)
{
	const uint64_t frame = 0x000ffffffffff000ULL, *leaf = phys_to_virt(HPA(ram->leaves[0] & frame));

	for (uint64_t i = 0; i < ram->size / PHYS_CHUNK && i < 512; i++)
		if ((leaf[i] & frame) == ALIGN_DOWN(hpa, PHYS_CHUNK))
			return true;
	return false;
}

/* The guest uses a page that others have lent it: that must be the RAM of a VM that has not ended, or its own page. */
static void touch_shared(struct soft *s)
{
	unsigned i = (unsigned)sim_random(GUEST_SHARED_PAGES);

	if (!s->tlb[i])
		s->tlb[i] = s->v->space->page[i];
	if (!s->tlb[i] || s->tlb[i] == s->v->space->blank)
		return;
	for (struct vms_entry *e = vms_first(); e; e = e->next)
		if (e->vm && is_in(&e->vm->ram, s->tlb[i]) && !timer_is_armed(&e->vm->restart))
			return;
	sim_fail("vm %s: vCPU %u reaches %#llx, which was taken back", soft_vcpu(s)->vm->config->name,
		 soft_vcpu(s)->index, (unsigned long long)s->tlb[i]);
}

void processor_check_free(uint64_t hpa, uint64_t size)
{
	for (unsigned cpu = 0; cpu < SIM_CPUS; cpu++)
		for (unsigned i = 0; loaded[cpu] && i < GUEST_SHARED_PAGES; i++)
			if (loaded[cpu]->tlb[i] >= hpa && loaded[cpu]->tlb[i] < hpa + size)
				sim_fail("vm %s: vCPU %u may still reach %#llx, which is given back",
					 soft_vcpu(loaded[cpu])->vm->config->name, soft_vcpu(loaded[cpu])->index,
					 (unsigned long long)loaded[cpu]->tlb[i]);
}

/* What the guest is stopped by; EXIT_REASONS: by nothing yet. */
static uint32_t next_exit(struct soft *s)
{
	unsigned cpu = sim_cpu();

	if (sim_interrupt_waits() && sim_chance(300)) /* it takes a while to come */
		return EXIT_EXTERNAL_INTERRUPT;
	if (bound[cpu] && sim_now() >= bound[cpu])
		return EXIT_PREEMPTION_TIMER;
	if (sim_chance(s->hog && !s->booting ? 1 : 300))
		return guest_act(s);
	if (s->hog)
		sim_pass(sim_random(HOG_STEP));
	return EXIT_REASONS;
}

int virt_enter(struct virt_vcpu *v, struct exit *exit)
{
	struct soft *s = here_of(v);
	uint32_t reason;

	entries++;
	check_entry(s);
	s->last = (struct last_exit){.length = 2};
	if (sim_random(200000) == 0)
		return -E_INVAL;
	take_event(s);
	do {
		sim_yield();
		deliver_virtually(s);
		if (soft_vcpu(s)->vm->share)
			touch_shared(s);
		reason = next_exit(s);
	} while (reason == EXIT_REASONS);
	bound[sim_cpu()] = 0;
	*exit = (struct exit){reason, sim_now()};
	return 0;
}
