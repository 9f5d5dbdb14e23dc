/*
 * What guests do, at random: each act is one exit, with the registers and qualifications that the instruction would
 * have left. See guest.h.
 */
/* SPDX-License-Identifier: MIT */
#include "tests/soak/guest.h"

#include <string.h>

#include "arch/x86/lapic.h"
#include "arch/x86/msr.h"
#include "hv/abi.h"
#include "hv/guest_mem.h"
#include "hv/pc_map.h"
#include "hv/vm_share.h"
#include "tests/soak/sim.h"

#define MAX_GPA_WRITTEN (2 * MIB)

/* mov [ebx],eax; mov eax,[ebx]; mov [ebx],al; mov [ebx],ax; hlt */
const uint8_t guest_image[64] = {0x89, 0x03, 0x8b, 0x03, 0x88, 0x03, 0x66, 0x89, 0x03, 0xf4};
enum {
	CODE_STORE = GUEST_CODE,
	CODE_LOAD = GUEST_CODE + 2,
	CODE_STORE_1 = GUEST_CODE + 4,
	CODE_STORE_2 = GUEST_CODE + 6
};

static bool nmi_guests, sharing_guests;

void guest_init(void)
{
	nmi_guests = sim_chance(300);
	sharing_guests = sim_chance(400);
}

static uint32_t port_access(struct soft *s, uint16_t port, uint64_t value, unsigned size, bool in)
{
	s->v->reg[REG_RAX] = value;
	s->last.qualification = (uint64_t)port << 16 | (in ? BIT(3) : 0) | (size - 1);
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
	s->last.gpa = gpa;
	s->last.qualification = BIT(7) | BIT(8) | (write ? BIT(1) : BIT(0));
	return EXIT_EPT_VIOLATION;
}

/* A write to a register of the local APIC, in the way that fits its mode. */
static uint32_t apic_write(struct soft *s, uint32_t reg, uint32_t value, uint32_t high)
{
	struct vcpu *v = soft_vcpu(s);

	if (vlapic_is_x2apic(&v->lapic))
		return msr_write(s, VLAPIC_MSR_FIRST + reg / 16, (uint64_t)high << 32 | value);
	if (s->mode != VIRT_APIC_XAPIC)
		return memory_access(s, PC_LAPIC_ADDRESS + reg, value, true);
	if (reg == VLAPIC_EOI)
		return EXIT_PAUSE;
	s->apic[reg / 4] = value; /* the processor has done that, and exits behind the instruction */
	s->last.qualification = reg;
	return EXIT_APIC_WRITE;
}

static uint32_t do_apic_timer(struct soft *s)
{
	uint64_t ticks = sim_random(sim_chance(900) ? 500000 : 50 * SIM_MS);

	if (soft_vcpu(s)->timer_direct) { /* what it depends on is looked at before each entry, so this is true here */
		lapic_timer_set(sim_now() + ticks);
		return EXIT_PAUSE;
	}
	if (soft_vcpu(s)->lapic.timer_mode == 2)
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
	int isr = soft_highest(s, VLAPIC_ISR);

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
	soft_flip(s, VLAPIC_ISR, isr);
	s->last.qualification = (uint64_t)isr;
	return s->eoi_exits[isr / 64] & BIT(isr & 63) ? EXIT_EOI_INDUCED : EXIT_CPUID;
}

static uint32_t do_apic_mode(struct soft *s)
{
	uint64_t base = soft_vcpu(s)->lapic.base;

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

	if (sim_chance(300) && !vlapic_is_x2apic(&soft_vcpu(s)->lapic))
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

/* Reads do not exit. */
static uint32_t do_ioapic(struct soft *s)
{
	return memory_access(s, PC_IOAPIC_ADDRESS + (sim_chance(500) ? 0 : 0x10),
			     (uint32_t)sim_random(sim_chance(500) ? 0x40 : 1ULL << 17) & ~0x600u, /* no NMI, no INIT */
			     true);
}

static uint32_t do_text(struct soft *s)
{
	return memory_access(s, PC_VGA_TEXT + 2 * sim_random(2000), 0x0741, true);
}

/* Somewhere in the VM's RAM, mostly where a balloon takes it from. */
static uint64_t any_page(const struct vm *vm)
{
	uint64_t pages = vm->config->memory / PAGE_SIZE, page = sim_random(pages);

	return page < 512 && pages > 512 && sim_chance(900) ? 512 + page % (pages - 512) : page;
}

static uint32_t do_memory(struct soft *s)
{
	struct vcpu *v = soft_vcpu(s);
	uint64_t value = sim_now(), gpa = 0x10000 + sim_random(MAX_GPA_WRITTEN);

	if (v->vm->config->balloon && sim_chance(800))
		gpa = any_page(v->vm) * PAGE_SIZE;
	if (guest_write(&v->vm->mem, GPA(gpa), &value, sizeof(value)))
		return EXIT_CPUID;
	return memory_access(s, 0x10000 + 4 * sim_random(0x1000), (uint32_t)value, sim_chance(500));
}

static uint32_t do_msr(struct soft *s)
{
	static const uint32_t msr[] = {MSR_TSC, MSR_TSC_ADJUST, MSR_MISC_ENABLE, MSR_MTRR_DEF_TYPE, 0x12345};

	if (sim_chance(200)) /* what it is already */
		return msr_write(s, MSR_TSC_ADJUST, soft_vcpu(s)->tsc_adjust);
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
		return memory_access(s, 0xf0000000 + sim_random(0x8000000), 0, sim_chance(500)); /* nothing there */
	case 2:
		return EXIT_VMCALL + (uint32_t)sim_random(10);
	default:
		return EXIT_UNKNOWN;
	}
}

/* KVM's interface: shared structures anywhere, and calls to anybody. */
static uint32_t do_pv(struct soft *s)
{
	static const uint8_t call[] = {1, 5, 5, 10, 10, 11, 99};
	uint64_t gpa = 64 * sim_random(MAX_GPA_WRITTEN / 32);

	if (sim_chance(300))
		return msr_write(s, 0x4b564d00 + (uint32_t)sim_random(5), gpa | sim_chance(900));
	for (unsigned reg = 0; reg < 16; reg++)
		s->v->reg[reg] = sim_random(8);
	s->v->reg[REG_RSI] = (sim_chance(100) ? 0x400 : 0) | sim_random(256);
	s->v->reg[REG_RAX] = call[sim_random(ARRAY_SIZE(call))];
	return EXIT_VMCALL;
}

/* A peer that is there, if one is. */
static uint64_t some_peer(struct vm *vm)
{
	struct vireo_peer peer;

	for (unsigned i = 0; i < 8; i++) {
		uint64_t n = sim_random(VIREO_PEERS);

		if (vm_share_peer(vm, n, &peer) == 0 && peer.present)
			return n;
	}
	return sim_random(VIREO_PEERS + 1);
}

/* Our own calls, with peers, slots and places from a few, so that they meet. */
static uint32_t do_call(struct soft *s)
{
	static const uint32_t call[] = {VIREO_CALL_INFO,     VIREO_CALL_PRINT, VIREO_CALL_YIELD,  VIREO_CALL_PEER,
					VIREO_CALL_LISTEN,   VIREO_CALL_RING,  VIREO_CALL_RING,	  VIREO_CALL_TAKE,
					VIREO_CALL_GRANT,    VIREO_CALL_GRANT, VIREO_CALL_REVOKE, VIREO_CALL_REVOKE,
					VIREO_CALL_MAP,	     VIREO_CALL_MAP,   VIREO_CALL_MAP,	  VIREO_CALL_UNMAP,
					VIREO_CALL_UNMAP + 1};
	uint64_t *reg = s->v->reg, place = PC_SHARED_MEMORY + sim_random(GUEST_SHARED_PAGES) * PAGE_SIZE;

	reg[REG_RAX] = call[sim_random(ARRAY_SIZE(call))];
	if (reg[REG_RAX] == VIREO_CALL_UNMAP)
		reg[REG_RBX] = place;
	else
		reg[REG_RBX] = reg[REG_RAX] == VIREO_CALL_REVOKE ? sim_random(2) : some_peer(soft_vcpu(s)->vm);
	reg[REG_RCX] = sim_random(2);
	reg[REG_RDX] = place | sim_random(2);
	if (reg[REG_RAX] == VIREO_CALL_GRANT)
		reg[REG_RDX] = sim_random(MAX_GPA_WRITTEN / PAGE_SIZE / 2) * PAGE_SIZE | sim_random(2);
	reg[REG_RSI] = 1 + sim_random(2);
	if (reg[REG_RAX] == VIREO_CALL_LISTEN)
		reg[REG_RBX] = sim_random(256);
	return EXIT_VMCALL;
}

/* --- a driver for the VM's virtio devices, which are in the first slots
 * ----------------------------------------------- */

enum { QUEUE_SELECT = 22 };
enum { RING = 0x20000, AVAIL = 0x21000, USED = 0x22000, HEADER = 0x23000, STATUS = 0x23800, DATA = 0x24000 };

struct split_descriptor {
	uint64_t gpa;
	uint32_t size;
	uint16_t flags, next;
};

/* A byte, word or dword of the device's register BAR: where a firmware leaves it (pci_host_assign). */
static uint32_t register_write(struct soft *s, unsigned at, unsigned size, uint32_t value)
{
	uint32_t reason = memory_access(s, PC_PCI_MEMORY + (s->virtio_slot * 6 + 2) * 0x10000 + at, value, true);

	s->state.rip = size == 1 ? CODE_STORE_1 : size == 2 ? CODE_STORE_2 : CODE_STORE;
	return reason;
}

/* As the driver of an operating system does it; VIRTIO 1.2, 3.1.1. */
static const struct {
	uint8_t at, size;
	uint32_t value;
} setup[] = {
    {20, 1, 0}, {20, 1, 3},	{8, 4, 1},  {12, 4, 1},	   {20, 1, 11}, {22, 2, 0}, {24, 2, 8},	 {32, 4, RING},
    {36, 4, 0}, {40, 4, AVAIL}, {44, 4, 0}, {48, 4, USED}, {52, 4, 0},	{28, 2, 1}, {20, 1, 15},
};

/* Page numbers for a balloon in one part; or memory that is reported free. */
static void put_pages(const struct vm *vm, struct split_descriptor d[3])
{
	uint32_t pfn[256], first = (uint32_t)any_page(vm), count = 1 + (uint32_t)sim_random(ARRAY_SIZE(pfn));

	for (unsigned i = 0; i < count; i++)
		pfn[i] = sim_chance(950) ? first + i : (uint32_t)any_page(vm);
	d[0] = (struct split_descriptor){DATA, count * 4, 0, 0};
	if (guest_write(&vm->mem, GPA(DATA), pfn, count * sizeof(pfn[0])) || sim_chance(800))
		return;
	d[0] = (struct split_descriptor){ALIGN_DOWN(first * PAGE_SIZE, 2 * MIB), (uint32_t)(4 * MIB), 2, 0};
}

/* A request in the ring: for a disk a header, data and a status; something else makes of it what it can. */
static void put_request(const struct vm *vm)
{
	const struct guest_mem *mem = &vm->mem;
	static const uint32_t types[] = {0, 0, 0, 1, 1, 1, 4, 8, 11, 13, 99};
	uint32_t header[4] = {types[sim_random(ARRAY_SIZE(types))], 0, (uint32_t)sim_random(2100), 0};
	struct split_descriptor d[] = {
	    {HEADER, 16, 1, 1},
	    {DATA, (uint32_t)(512 * (1 + sim_random(512))), 1 | (header[0] == 0 ? 2 : 0), 2},
	    {STATUS, 1, 2, 0},
	};
	uint16_t index, head = 0;

	if (sim_chance(vm->config->balloon ? 800 : 200))
		put_pages(vm, d);
	if (sim_chance(20))
		d[sim_random(3)].gpa = sim_random(MAX_GPA_WRITTEN * 4);
	if (guest_read(mem, GPA(AVAIL + 2), &index, 2) || guest_write(mem, GPA(HEADER), header, sizeof(header)) ||
	    guest_write(mem, GPA(RING), d, sizeof(d)) || guest_write(mem, GPA(AVAIL + 4 + index % 8 * 2U), &head, 2))
		return;
	index++;
	(void)!guest_write(mem, GPA(AVAIL + 2), &index, 2);
}

static uint32_t do_virtio(struct soft *s)
{
	unsigned step = s->virtio_step++, slot;

	if (step == 0) {
		s->virtio_slot = 1 + (unsigned)sim_random(3);
		s->virtio_queue = sim_chance(500) ? 0 : (unsigned)sim_random(5);
		return port_access(s, 0xcf8, 0x80000004 | s->virtio_slot << 11, 4, false);
	}
	slot = s->virtio_slot;
	if (step == 1)
		return port_access(s, 0xcfc, 7, 2, false);
	if (step - 2 < ARRAY_SIZE(setup))
		return register_write(s, setup[step - 2].at, setup[step - 2].size,
				      setup[step - 2].at == QUEUE_SELECT ? s->virtio_queue : setup[step - 2].value);
	if (sim_chance(50))
		s->virtio_step = sim_chance(500) ? 0 : 2;
	if (sim_chance(20))
		return register_write(s, 4 * (unsigned)sim_random(0x1000), 4, (uint32_t)sim_random(1ULL << 32));
	put_request(soft_vcpu(s)->vm);
	return port_access(s, (uint16_t)(PC_PCI_IO + slot * 0x100 + 4 * s->virtio_queue), 0, 2, false);
}

/* --- a driver for the VM's network cards, which are in the slots behind the others
 * ----------------------------------------------- */

enum { NET_RINGS = 0x60000, NET_RING_SIZE = 0x4000, NET_FRAMES = 0x68000, NET_BUFFERS = 0x70000, NET_BUFFER = 0x800 };

/* Both queues have eight slots; descriptors, the driver's ring and the device's lie 0x1000 apart. */
static const struct {
	uint8_t at, size;
	uint32_t value;
} net_setup[] = {
    {20, 1, 0},
    {20, 1, 3},
    {8, 4, 1},
    {12, 4, 1},
    {20, 1, 11},
    {22, 2, 0},
    {24, 2, 8},
    {32, 4, NET_RINGS},
    {40, 4, NET_RINGS + 0x1000},
    {48, 4, NET_RINGS + 0x2000},
    {28, 2, 1},
    {22, 2, 1},
    {24, 2, 8},
    {32, 4, NET_RINGS + NET_RING_SIZE},
    {40, 4, NET_RINGS + NET_RING_SIZE + 0x1000},
    {48, 4, NET_RINGS + NET_RING_SIZE + 0x2000},
    {28, 2, 1},
    {20, 1, 15},
};

/* All that is in slot `n` of a queue's ring from now on is one buffer; it becomes the next one for the device. */
static void offer(const struct guest_mem *mem, unsigned queue, unsigned n, uint64_t gpa, uint32_t size)
{
	uint64_t rings = NET_RINGS + queue * NET_RING_SIZE;
	struct split_descriptor d = {sim_chance(10) ? sim_random(MAX_GPA_WRITTEN * 4) : gpa, size, queue ? 0 : 2, 0};
	uint16_t index, head = (uint16_t)n;

	if (guest_read(mem, GPA(rings + 0x1002), &index, 2) || guest_write(mem, GPA(rings + 16 * n), &d, sizeof(d)) ||
	    guest_write(mem, GPA(rings + 0x1004 + index % 8 * 2U), &head, 2))
		return;
	index++;
	(void)!guest_write(mem, GPA(rings + 0x1002), &index, 2);
}

/* To all, or to a card that there may be; from its own address, or not. */
static void put_frame(struct soft *s, unsigned slot)
{
	const struct vm *vm = soft_vcpu(s)->vm;
	const struct net_config *own = &vm->config->net[sim_random(vm->config->net_count)];
	uint8_t frame[12 + 14] = {0};
	uint32_t size = sim_chance(500) ? 72 : 12 + (uint32_t)sim_random(1600);

	memset(frame + 12, 0xff, 6);
	if (sim_chance(600))
		memcpy(frame + 12, (uint8_t[]){0x52, 0x56, 0, 0, (uint8_t)sim_random(12), (uint8_t)sim_random(2)}, 6);
	memcpy(frame + 18, own->mac, 6);
	if (!guest_write(&vm->mem, GPA(NET_FRAMES + slot * NET_BUFFER), frame, sizeof(frame)))
		offer(&vm->mem, 1, slot, NET_FRAMES + slot * NET_BUFFER, size);
}

static uint32_t do_net(struct soft *s)
{
	const struct vm *vm = soft_vcpu(s)->vm;
	unsigned step = s->net_step, queue = sim_random(2);

	if (!vm->config->net_count)
		return EXIT_CPUID;
	s->net_step++;
	if (step == 0) {
		s->virtio_slot =
		    1 + vm->config->disk_count + vm->config->rng + (unsigned)sim_random(vm->config->net_count);
		return port_access(s, 0xcf8, 0x80000004 | s->virtio_slot << 11, 4, false);
	}
	if (step == 1)
		return port_access(s, 0xcfc, 7, 2, false);
	if (step - 2 < ARRAY_SIZE(net_setup))
		return register_write(s, net_setup[step - 2].at, net_setup[step - 2].size, net_setup[step - 2].value);
	if (sim_chance(30))
		s->net_step = 0;
	for (uint64_t i = queue ? sim_random(4) : 0; i < 8; i++) {
		if (queue)
			put_frame(s, (unsigned)sim_random(8));
		else
			offer(&vm->mem, 0, (unsigned)sim_random(8), NET_BUFFERS + sim_random(8) * NET_BUFFER,
			      NET_BUFFER);
	}
	return port_access(s, (uint16_t)(PC_PCI_IO + s->virtio_slot * 0x100 + 4 * queue), 0, 2, false);
}

static const struct act {
	uint32_t (*act)(struct soft *s);
	unsigned weight;
} acts[] = {
    {do_halt, 300},
    {do_spin, 100},
    {do_toggle_interrupts, 100},
    {do_end_interrupt, 250},
    {do_apic_mode, 6},
    {do_apic_setup, 60},
    {do_apic_timer, 100},
    {do_ipi, 120},
    {do_script, 150},
    {do_port, 30},
    {do_ioapic, 20},
    {do_text, 20},
    {do_memory, 100},
    {do_msr, 20},
    {do_power_off, 1},
    {do_reset, 3},
    {do_debug_exit, 1},
    {do_crash, 1},
    {do_pv, 20},
    {do_call, 60},
    {do_virtio, 150},
    {do_net, 300},
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
		return soft_vcpu(s)->index ? EXIT_CPUID : apic_write(s, VLAPIC_ICR, s->booting ? 0xc4500 : 0xc4608, 0);
	}
}

/* Guests that live by NMIs alone: whether they have halted for good is hard to tell. */
static bool lives_by_nmis(const struct soft *s)
{
	return nmi_guests && soft_vcpu(s)->vm->config->name[2] % 4 == 0;
}

static uint32_t send_or_await_nmi(struct soft *s)
{
	s->nmi_blocked = false;
	s->state.rflags &= ~RFLAGS_IF;
	if (sim_chance(600))
		return apic_write(s, VLAPIC_ICR, 0xc4400, 0); /* to all others */
	return EXIT_HLT;
}

uint32_t guest_act(struct soft *s)
{
	unsigned all = 0, n;

	if (s->booting && sim_chance(950))
		return boot(s);
	if (lives_by_nmis(s) && sim_chance(990))
		return send_or_await_nmi(s);
	if (s->going_to_halt)
		return do_halt(s);
	if (sharing_guests && soft_vcpu(s)->vm->share && sim_chance(600))
		return do_call(s);
	if (s->virtio_step && s->virtio_step < 2 + ARRAY_SIZE(setup) && sim_chance(970))
		return do_virtio(s);
	if (s->net_step && s->net_step < 2 + ARRAY_SIZE(net_setup) && sim_chance(970))
		return do_net(s);
	for (unsigned i = 0; i < ARRAY_SIZE(acts); i++)
		all += acts[i].weight;
	n = (unsigned)sim_random(all);
	for (unsigned i = 0;; n -= acts[i++].weight)
		if (n < acts[i].weight)
			return acts[i].act(s);
}
