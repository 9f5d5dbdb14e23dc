/*
 * Guests without code: each entry ends by a random exit, as if the guest had just done that. Little is kept of a
 * processor: RFLAGS, the event of the next entry, where its registers live. What the core may not do is checked: load
 * a vCPU twice, ask for one that is not loaded, inject two events at once or one that can't be taken.
 */
/* SPDX-License-Identifier: MIT */
#include "tests/soak/processor.h"

#include <stdlib.h>
#include <string.h>

#include "arch/x86/msr.h"
#include "arch/x86/virt.h"
#include "hv/guest_mem.h"
#include "hv/pc_map.h"
#include "tests/soak/sim.h"

#define MAX_GPA_WRITTEN (2 * MIB)
#define HOG_STEP	100000 /* ticks */

struct virt_space {
	uint64_t mapped;
};

/* A vCPU's state in the processor. */
struct soft {
	struct virt_vcpu *v;
	int cpu; /* on which it is loaded, or -1 */
	bool pending, nmi_blocked, interrupt_window, nmi_window;
	struct cpu_state state;
	enum virt_apic_mode mode;
	uint64_t eoi_exits[4];
	uint8_t rvi;
	uint32_t *apic;		/* the virtual APIC's page */
	const uint16_t *script; /* port writes under way: port, value, ..., 0 */
	unsigned booting;	/* steps left until it does anything */
	bool going_to_halt;	/* its timer is set */
	bool hog;		/* hardly ever exits by itself */
};

/* The last exit of a CPU. */
struct last_exit {
	uint64_t qualification, gpa;
	uint32_t length;
};

const uint8_t processor_image[64] = {0x89, 0x03, 0x8b, 0x03, 0xf4}; /* mov [ebx],eax; mov eax,[ebx]; hlt */
enum { CODE_STORE = PROCESSOR_CODE, CODE_LOAD = PROCESSOR_CODE + 2 };

bool processor_short_of_memory;
static struct virt_features features;
static struct soft *loaded[SIM_CPUS];
static struct last_exit last[SIM_CPUS];
static uint64_t bound[SIM_CPUS]; /* time at which the coming entry ends; 0: none */
static unsigned vcpus, spaces;
static bool nmi_guests;
static uint64_t entries;

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

void processor_init(void)
{
	features.vpid = true;
	features.preemption_timer = sim_chance(700);
	features.apicv = sim_chance(500);
	features.x2apicv = features.apicv && sim_chance(700);
	features.cr4_guest = ~0ULL;
	nmi_guests = sim_chance(300);
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

static bool no_memory(void)
{
	return processor_short_of_memory && sim_chance(30);
}

/* --- the extension, memory -----------------------------------------------------------------------------------------
 */

const struct virt_features *virt_features(void)
{
	return &features;
}

struct virt_space *virt_space_create(uint64_t size)
{
	struct virt_space *space = no_memory() ? NULL : calloc(1, sizeof(*space));

	(void)size;
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
	(void)gpa, (void)hpa, (void)rights;
	space->mapped += size;
	return no_memory() ? -E_NOMEM : 0;
}

int virt_space_unmap(struct virt_space *space, gpa_t gpa, uint64_t size)
{
	(void)gpa;
	space->mapped -= size < space->mapped ? size : space->mapped;
	return 0;
}

int virt_space_protect(struct virt_space *space, gpa_t gpa, uint64_t size, unsigned rights)
{
	(void)gpa, (void)rights;
	(void)space, (void)size;
	return 0;
}

/* --- a vCPU --------------------------------------------------------------------------------------------------------
 */

int virt_vcpu_create(struct virt_vcpu *v, const struct virt_vcpu_setup *setup)
{
	struct soft *s = no_memory() ? NULL : calloc(1, sizeof(*s));

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

void virt_load(struct virt_vcpu *v)
{
	struct soft *s = soft_of(v);

	if (s->cpu >= 0 || loaded[sim_cpu()])
		sim_fail("a vCPU is loaded here that is on CPU %d, %s", s->cpu,
			 loaded[sim_cpu()] ? "where there is one already" : "not here");
	s->cpu = (int)sim_cpu();
	loaded[sim_cpu()] = s;
}

void virt_put(struct virt_vcpu *v)
{
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
	return last[sim_cpu()].qualification;
}
uint64_t virt_exit_gpa(void)
{
	return last[sim_cpu()].gpa;
}
uint64_t virt_exit_gla(void)
{
	return last[sim_cpu()].gpa;
}
uint32_t virt_exit_length(void)
{
	return last[sim_cpu()].length;
}
uint32_t virt_exit_insn_info(void)
{
	return 0;
}
uint32_t virt_exit_interrupt_info(void)
{
	return VECTOR_AC | 3u << 8 | 1u << 31;
}
uint32_t virt_exit_error_code(void)
{
	return 0;
}

/* --- registers -----------------------------------------------------------------------------------------------------
 */

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
	here()->state.rip += last[sim_cpu()].length;
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
unsigned virt_cpl(void)
{
	return 0;
}
void virt_set_tsc_offset(struct virt_vcpu *v, uint64_t offset)
{
	(void)here_of(v);
	v->tsc_offset = offset;
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

/* --- events --------------------------------------------------------------------------------------------------------
 */

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

/* --- the virtual APIC ----------------------------------------------------------------------------------------------
 */

void virt_apic_set_mode(struct virt_vcpu *v, enum virt_apic_mode mode, hpa_t msr_bitmap)
{
	(void)msr_bitmap;
	here_of(v)->mode = mode;
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

/* The highest vector in a 256-bit register of the page, or -1. */
static int highest(const struct soft *s, unsigned reg)
{
	for (int vector = 255; vector >= 0; vector--)
		if (s->apic[reg / 4 + vector / 32 * 4] & 1u << (vector & 31))
			return vector;
	return -1;
}

static void flip(struct soft *s, unsigned reg, int vector)
{
	s->apic[reg / 4 + vector / 32 * 4] ^= 1u << (vector & 31);
}

/* Virtual-interrupt delivery, SDM Vol. 3C 30.2: what is requested and of a higher class than the rest is taken. */
static void deliver_virtually(struct soft *s)
{
	int isr = highest(s, VLAPIC_ISR), irr = highest(s, VLAPIC_IRR);

	if (s->mode == VIRT_APIC_OFF || !(s->state.rflags & RFLAGS_IF) || s->pending || !s->rvi || irr != s->rvi)
		return;
	if (irr >> 4 <= isr >> 4 || irr >> 4 <= (int)(s->apic[VLAPIC_TPR / 4] & 0xff) >> 4)
		return;
	flip(s, VLAPIC_IRR, irr);
	flip(s, VLAPIC_ISR, irr);
	irr = highest(s, VLAPIC_IRR);
	s->rvi = (uint8_t)(irr < 0 ? 0 : irr);
	s->state.rflags &= ~RFLAGS_IF;
}

/* --- what guests do -------------------------------------------------------------------------------------------------
 */

static struct vcpu *vcpu_of(const struct soft *s)
{
	return CONTAINER_OF(s->v, struct vcpu, virt);
}

static uint32_t port_access(struct soft *s, uint16_t port, uint64_t value, unsigned size, bool in)
{
	s->v->reg[REG_RAX] = value;
	last[sim_cpu()].qualification = (uint64_t)port << 16 | (in ? BIT(3) : 0) | (size - 1);
	return EXIT_IO;
}

static uint32_t msr_write(struct soft *s, uint32_t msr, uint64_t value)
{
	s->v->reg[REG_RCX] = msr;
	s->v->reg[REG_RAX] = (uint32_t)value;
	s->v->reg[REG_RDX] = value >> 32;
	return EXIT_WRMSR;
}

/* MOV to or from a device register in flat protected mode. */
static uint32_t memory_access(struct soft *s, uint64_t gpa, uint32_t value, bool write)
{
	uint64_t flags = s->state.rflags;

	cpu_state_protected(&s->state);
	s->state.rflags = flags;
	s->state.rip = write ? CODE_STORE : CODE_LOAD;
	s->v->reg[REG_RAX] = value;
	s->v->reg[REG_RBX] = gpa;
	last[sim_cpu()].gpa = gpa;
	last[sim_cpu()].qualification = BIT(7) | BIT(8) | (write ? BIT(1) : BIT(0));
	return EXIT_EPT_VIOLATION;
}

/* A write to a register of the local APIC, in the way that fits its mode. */
static uint32_t apic_write(struct soft *s, uint32_t reg, uint32_t value, uint32_t high)
{
	struct vcpu *v = vcpu_of(s);

	if (vlapic_is_x2apic(&v->lapic))
		return msr_write(s, VLAPIC_MSR_FIRST + reg / 16, (uint64_t)high << 32 | value);
	if (s->mode != VIRT_APIC_XAPIC)
		return memory_access(s, PC_LAPIC_ADDRESS + reg, value, true);
	if (reg == VLAPIC_EOI)
		return EXIT_PAUSE;
	s->apic[reg / 4] = value; /* the processor has done that, and exits behind the instruction */
	last[sim_cpu()].qualification = reg;
	return EXIT_APIC_WRITE;
}

static uint32_t do_apic_timer(struct soft *s)
{
	uint64_t ticks = sim_random(sim_chance(900) ? 500000 : 50 * SIM_MS);

	if (vcpu_of(s)->lapic.timer_mode == 2)
		return msr_write(s, VLAPIC_MSR_TSC_DEADLINE, sim_now() + s->v->tsc_offset + ticks);
	return apic_write(s, VLAPIC_INITIAL_COUNT, (uint32_t)ticks, 0);
}

/* Mostly with a timer set that will end it. */
static uint32_t do_halt(struct soft *s)
{
	if (!s->going_to_halt && sim_chance(700)) {
		s->going_to_halt = true;
		return do_apic_timer(s);
	}
	s->going_to_halt = false;
	if (sim_chance(980))
		s->state.rflags |= RFLAGS_IF;
	return EXIT_HLT;
}

static uint32_t do_spin(struct soft *s)
{
	(void)s;
	return EXIT_PAUSE;
}

static uint32_t do_toggle_interrupts(struct soft *s)
{
	s->state.rflags ^= RFLAGS_IF;
	return s->interrupt_window && (s->state.rflags & RFLAGS_IF) ? EXIT_INTERRUPT_WINDOW : EXIT_CPUID;
}

/* End of a handler: EOI to whoever, then IRET. */
static uint32_t do_end_interrupt(struct soft *s)
{
	int isr = highest(s, VLAPIC_ISR);

	s->nmi_blocked = false;
	s->state.rflags |= RFLAGS_IF;
	if (s->nmi_window)
		return EXIT_NMI_WINDOW;
	if (sim_chance(300))
		return port_access(s, sim_chance(500) ? 0x20 : 0xa0, 0x20, 1, false);
	if (s->mode == VIRT_APIC_OFF)
		return apic_write(s, VLAPIC_EOI, 0, 0);
	if (isr < 0)
		return EXIT_CPUID;
	flip(s, VLAPIC_ISR, isr);
	last[sim_cpu()].qualification = (uint64_t)isr;
	return s->eoi_exits[isr / 64] & BIT(isr & 63) ? EXIT_EOI_INDUCED : EXIT_CPUID;
}

static uint32_t do_apic_mode(struct soft *s)
{
	uint64_t base = vcpu_of(s)->lapic.base;

	return msr_write(s, MSR_APIC_BASE,
			 sim_chance(800)   ? base | VLAPIC_BASE_ENABLE | VLAPIC_BASE_X2APIC
			 : sim_chance(500) ? base & ~(VLAPIC_BASE_ENABLE | VLAPIC_BASE_X2APIC)
					   : base | VLAPIC_BASE_ENABLE);
}

static uint32_t do_apic_setup(struct soft *s)
{
	switch (sim_random(5)) {
	case 0:
		return apic_write(s, VLAPIC_SVR, 0x1ff, 0);
	case 1:
		return apic_write(s, VLAPIC_LVT_TIMER, 0x40 + (uint32_t)(sim_random(4) << 17), 0);
	case 2:
		return apic_write(s, VLAPIC_TPR, (uint32_t)sim_random(sim_chance(100) ? 256 : 32), 0);
	case 3:
		return apic_write(s, VLAPIC_DIVIDE, (uint32_t)sim_random(16), 0);
	default:
		return apic_write(s, 16 * (uint32_t)sim_random(64), (uint32_t)sim_random(1ULL << 32), 0);
	}
}

static uint32_t do_ipi(struct soft *s)
{
	static const uint32_t mode[] = {0, 0, 0, 1, 4, 5, 6, 6};
	uint32_t icr = mode[sim_random(8)] << 8 | BIT(14) | (uint32_t)sim_random(4) << 18 | (uint32_t)sim_random(256);
	uint32_t dest = (uint32_t)sim_random(8);

	if (sim_chance(300) && !vlapic_is_x2apic(&vcpu_of(s)->lapic))
		return apic_write(s, VLAPIC_ICR_HIGH, dest << 24, 0);
	return apic_write(s, VLAPIC_ICR, icr, dest);
}

/* Chips programmed the way that makes them interrupt: port, value, ..., 0. */
static const uint16_t script[][24] = {
    {0x20, 0x11, 0x21, 0x20, 0x21, 4, 0x21, 1, 0xa0, 0x11, 0xa1, 0x28, 0xa1, 2, 0xa1, 1, 0x21, 0, 0xa1, 0},
    {0x43, 0x34, 0x40, 0x00, 0x40, 0x04},
    {0x70, 0x0a, 0x71, 0x26, 0x70, 0x0b, 0x71, 0x42, 0x70, 0x0c},
    {0x3fc, 0x0b, 0x3f9, 0x0f, 0x3f8, 'x', 0x3f8, '\n'},
    {0x64, 0x60, 0x60, 0x47, 0x60, 0xf4},
    {0x603, 0x01, 0x604, 0x01},
    {0xe9, 'h', 0xe9, 'i', 0xe9, '\n'},
};

static uint32_t do_script(struct soft *s)
{
	uint16_t port;

	if (!s->script || !*s->script)
		s->script = script[sim_random(ARRAY_SIZE(script))];
	port = s->script[0];
	s->script += 2;
	return port_access(s, port, s->script[-1], 1, false);
}

static uint32_t do_port(struct soft *s)
{
	static const uint16_t base[] = {0x20, 0xa0, 0x40, 0x60, 0x70, 0x3f8, 0x3d0, 0x600, 0x608, 0xcf8, 0x80, 0xe8};

	return port_access(s, (uint16_t)(base[sim_random(ARRAY_SIZE(base))] + sim_random(8)), sim_random(0x100),
			   1u << sim_random(3), sim_chance(600));
}

static uint32_t do_ioapic(struct soft *s)
{
	return memory_access(s, PC_IOAPIC_ADDRESS + (sim_chance(500) ? 0 : 0x10),
			     (uint32_t)sim_random(sim_chance(500) ? 0x40 : 1ULL << 17) & ~0x600u, /* no NMI, no INIT */
			     sim_chance(800));
}

static uint32_t do_text(struct soft *s)
{
	return memory_access(s, PC_VGA_TEXT + 2 * sim_random(2000), 0x0741, true);
}

static uint32_t do_memory(struct soft *s)
{
	struct vcpu *v = vcpu_of(s);
	uint64_t value = sim_now();

	if (guest_write(&v->vm->mem, GPA(0x10000 + sim_random(MAX_GPA_WRITTEN)), &value, sizeof(value)))
		return EXIT_CPUID;
	return memory_access(s, 0x10000 + 4 * sim_random(0x1000), (uint32_t)value, sim_chance(500));
}

static uint32_t do_msr(struct soft *s)
{
	static const uint32_t msr[] = {MSR_TSC, MSR_TSC_ADJUST, MSR_MISC_ENABLE, MSR_MTRR_DEF_TYPE, 0x12345};

	if (sim_chance(500))
		return msr_write(s, msr[sim_random(ARRAY_SIZE(msr))], sim_random(1ULL << 33));
	s->v->reg[REG_RCX] = msr[sim_random(ARRAY_SIZE(msr))];
	return EXIT_RDMSR;
}

static uint32_t do_power_off(struct soft *s)
{
	return port_access(s, PC_PORT_PM1_CNT, 1u << 13 | PC_SLP_TYP_S5 << 10, 2, false);
}

static uint32_t do_reset(struct soft *s)
{
	return sim_chance(500) ? port_access(s, PC_PORT_RESET, PC_RESET_VALUE, 1, false)
			       : port_access(s, 0x64, 0xfe, 1, false);
}

static uint32_t do_debug_exit(struct soft *s)
{
	return port_access(s, 0xf4, sim_random(256), 1, false);
}

static uint32_t do_crash(struct soft *s)
{
	switch (sim_random(4)) {
	case 0:
		return EXIT_TRIPLE_FAULT;
	case 1:
		return memory_access(s, 0xd0000000 + sim_random(0x10000000), 0, sim_chance(500)); /* nothing there */
	case 2:
		return EXIT_VMCALL + (uint32_t)sim_random(10);
	default:
		return EXIT_REASONS + 1 + (uint32_t)sim_random(200);
	}
}

static const struct act {
	uint32_t (*act)(struct soft *s);
	unsigned weight;
} acts[] = {
    {do_halt, 300},	     {do_spin, 100},	 {do_toggle_interrupts, 100},
    {do_end_interrupt, 250}, {do_apic_mode, 6},	 {do_apic_setup, 60},
    {do_apic_timer, 100},    {do_ipi, 120},	 {do_script, 150},
    {do_port, 30},	     {do_ioapic, 20},	 {do_text, 20},
    {do_memory, 30},	     {do_msr, 20},	 {do_power_off, 1},
    {do_reset, 3},	     {do_debug_exit, 1}, {do_crash, 1},
};

/* What each processor of an operating system does first: its local APIC, then the other processors. */
static uint32_t boot(struct soft *s)
{
	switch (s->booting--) {
	case 5:
		return sim_chance(700) ? do_apic_mode(s) : EXIT_CPUID;
	case 4:
		return apic_write(s, VLAPIC_SVR, 0x1ff, 0);
	case 3:
		return apic_write(s, VLAPIC_LVT_TIMER, 0x40 + (uint32_t)(sim_random(3) << 17), 0);
	default:
		/* Broadcast INIT, then start-up. */
		return vcpu_of(s)->index ? EXIT_CPUID : apic_write(s, VLAPIC_ICR, s->booting ? 0xc4500 : 0xc4608, 0);
	}
}

/* Guests that live by NMIs alone: whether they have halted for good is hard to tell. */
static bool lives_by_nmis(const struct soft *s)
{
	return nmi_guests && vcpu_of(s)->vm->config->name[2] % 4 == 0;
}

static uint32_t send_or_await_nmi(struct soft *s)
{
	s->nmi_blocked = false;
	s->state.rflags &= ~RFLAGS_IF;
	if (sim_chance(600))
		return apic_write(s, VLAPIC_ICR, 0xc4400, 0); /* to all others */
	return EXIT_HLT;
}

static uint32_t act(struct soft *s)
{
	unsigned all = 0, n;

	if (s->booting && sim_chance(950))
		return boot(s);
	if (lives_by_nmis(s) && sim_chance(990))
		return send_or_await_nmi(s);
	if (s->going_to_halt)
		return do_halt(s);
	for (unsigned i = 0; i < ARRAY_SIZE(acts); i++)
		all += acts[i].weight;
	n = (unsigned)sim_random(all);
	for (unsigned i = 0;; n -= acts[i++].weight)
		if (n < acts[i].weight)
			return acts[i].act(s);
}

/* --- entry ---------------------------------------------------------------------------------------------------------
 */

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
	const struct vcpu *v = vcpu_of(s);

	if (atomic_load(&v->state) != VCPU_RUNNING)
		sim_fail("vm %s: vCPU %u is entered in state %u", v->vm->config->name, v->index, v->state);
	if (!v->started || v->halted)
		sim_fail("vm %s: vCPU %u is entered, started %d, halted %d", v->vm->config->name, v->index, v->started,
			 v->halted);
}

/* What the guest is stopped by; EXIT_REASONS: by nothing yet. */
static uint32_t next_exit(struct soft *s)
{
	unsigned cpu = sim_cpu();

	if (sim_interrupt_waits())
		return EXIT_EXTERNAL_INTERRUPT;
	if (bound[cpu] && sim_now() >= bound[cpu])
		return EXIT_PREEMPTION_TIMER;
	if (sim_chance(s->hog && !s->booting ? 1 : 300))
		return act(s);
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
	last[sim_cpu()] = (struct last_exit){.length = 2};
	if (sim_random(200000) == 0)
		return -E_INVAL;
	take_event(s);
	do {
		sim_yield();
		deliver_virtually(s);
		reason = next_exit(s);
	} while (reason == EXIT_REASONS);
	bound[sim_cpu()] = 0;
	*exit = (struct exit){reason, sim_now()};
	return 0;
}
