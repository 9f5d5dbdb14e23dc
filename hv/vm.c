/*
 * The life of a virtual machine: its parts made in order and unmade in reverse, started, restarted, ended. See vm.h.
 * Creation, restart and destruction run on the boot CPU. What the devices and exits call (on_platform, on_pic, on_eoi,
 * vm_vga_touched, vm_finish, vm_check_halted, vm_first_entry, vm_vcpu_left) runs on any CPU of the VM.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/vm.h"

#include "arch/x86/cpuid.h"
#include "arch/x86/insn.h"
#include "arch/x86/memory.h"
#include "arch/x86/paging.h"
#include "drivers/wallclock.h"
#include "hv/clock.h"
#include "hv/exit/msr.h"
#include "hv/lib/panic.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"
#include "hv/load/acpi.h"
#include "hv/load/load.h"
#include "hv/load/mptable.h"
#include "hv/log.h"
#include "hv/pc_map.h"
#include "hv/phys.h"
#include "hv/report.h"
#include "hv/sched/sched.h"

#define LOW_RAM_MAX	 (3 * GIB) /* RAM below the device registers under 4 GiB */
#define BASE_RAM	 0xa0000ULL
#define ROM_AREA	 0xc0000ULL /* to 1 MiB: tables; what a BIOS would have shadowed */
#define RESTART_SLICE	 (4 * MIB)
#define RESTART_PAUSE_NS 10000000
#define VGA_LOOK_US	 50000

static _Atomic unsigned alive;

unsigned vm_alive(void)
{
	return atomic_load(&alive);
}

/* --- guest memory ------------------------------------------------------------------------------------------------- */

static uint64_t low_ram(const struct vm *vm)
{
	return vm->config->memory < LOW_RAM_MAX ? vm->config->memory : LOW_RAM_MAX;
}

/* One range both for the processor (EPT) and for us (guest_mem); `offset` is its place in the VM's block of RAM. */
static int add_memory(struct vm *vm, uint64_t gpa, uint64_t offset, uint64_t size, bool ram, unsigned rights)
{
	struct guest_region region = {gpa, size, (uint8_t *)phys_to_virt(vm->ram) + offset, ram};
	int err = guest_mem_add(&vm->mem, &region);

	return err ? err : virt_space_map(vm->space, GPA(gpa), HPA(vm->ram.value + offset), size, rights);
}

static int map_memory(struct vm *vm)
{
	uint64_t high = vm->config->memory - low_ram(vm);
	int err;

	/* The text memory is read-only until it is written to: that is how its mirror knows when to look. */
	if ((err = add_memory(vm, 0, 0, BASE_RAM, true, VIRT_RWX)) ||
	    (err = add_memory(vm, PC_VGA_TEXT, PC_VGA_TEXT, PC_VGA_TEXT_SIZE, false, VIRT_READ | VIRT_EXEC)) ||
	    (err = add_memory(vm, ROM_AREA, ROM_AREA, MIB - ROM_AREA, false, VIRT_RWX)))
		return err;
	if (low_ram(vm) > MIB && (err = add_memory(vm, MIB, MIB, low_ram(vm) - MIB, true, VIRT_RWX)))
		return err;
	if (high && (err = add_memory(vm, 4 * GIB, LOW_RAM_MAX, high, true, VIRT_RWX)))
		return err;
	/* The page at which the processor virtualises the local APIC; without APICv accesses there must exit. */
	if (!virt_features()->apicv)
		return 0;
	return virt_space_map(vm->space, GPA(PC_LAPIC_ADDRESS), vm->apic_access, PAGE_SIZE, VIRT_READ | VIRT_WRITE);
}

static uint64_t ram_alignment(uint64_t memory)
{
	return memory >= GIB ? GIB / PAGE_SIZE : 2 * MIB / PAGE_SIZE;
}

static hpa_t alloc_ram(uint64_t memory)
{
	hpa_t ram = phys_alloc(memory / PAGE_SIZE, ram_alignment(memory));

	if (hpa_is_none(ram))
		ram = phys_alloc(memory / PAGE_SIZE, 1);
	return ram;
}

static int create_memory(struct vm *vm, char *why, size_t size)
{
	vm->ram = alloc_ram(vm->config->memory);
	if (hpa_is_none(vm->ram)) {
		snprintf(why, size,
			 "memory: found %llu MiB, expected at most %llu MiB, the largest free block (%llu MiB are free "
			 "in all)",
			 (unsigned long long)(vm->config->memory / MIB),
			 (unsigned long long)(phys_largest_bytes() / MIB),
			 (unsigned long long)(phys_free_bytes() / MIB));
		return -E_NOMEM;
	}
	vm->apic_access = phys_alloc(1, 1);
	vm->space = virt_space_create();
	if (hpa_is_none(vm->apic_access) || !vm->space || map_memory(vm)) {
		snprintf(why, size, "no memory for the VM's page tables");
		return -E_NOMEM;
	}
	return 0;
}

static void destroy_memory(struct vm *vm)
{
	if (vm->space)
		virt_space_destroy(vm->space);
	if (!hpa_is_none(vm->apic_access))
		phys_free(vm->apic_access, 1);
	if (!hpa_is_none(vm->ram))
		phys_free(vm->ram, vm->config->memory / PAGE_SIZE);
}

/* --- the PC ------------------------------------------------------------------------------------------------------- */

static void on_platform(void *ctx, enum platform_request what, uint32_t code)
{
	static const enum vm_end end[] = {[PLATFORM_POWER_OFF] = VM_POWERED_OFF,
					  [PLATFORM_RESET] = VM_RESTARTS,
					  [PLATFORM_DEBUG_EXIT] = VM_DEBUG_EXIT};

	vm_finish(ctx, end[what], code);
}

static void on_pic(void *ctx, bool intr)
{
	struct vm *vm = ctx;

	if (intr)
		vcpu_request(vm->vcpu[0], REQUEST_EVENT);
}

static void on_eoi(void *ctx, uint8_t vector)
{
	struct vm *vm = ctx;

	spin_lock(&vm->lock);
	vioapic_eoi(&vm->pc.ioapic, vector);
	spin_unlock(&vm->lock);
}

/* The guest has begun to use its text memory: show what is new, and look again later. */
static void on_vga_timer(struct timer *timer)
{
	struct pc *pc = CONTAINER_OF(timer, struct pc, vga_timer);

	vga_refresh(&pc->vga);
	timer_set(timer, clock_now() + clock_from_ns(VGA_LOOK_US * 1000));
}

bool vm_vga_touched(struct vm *vm, uint64_t gpa)
{
	if (gpa < PC_VGA_TEXT || gpa >= PC_VGA_TEXT + PC_VGA_TEXT_SIZE)
		return false;
	spin_lock(&vm->lock);
	if (!vm->pc.vga_open) {
		vm->pc.vga_open = true;
		if (virt_space_protect(vm->space, GPA(PC_VGA_TEXT), PC_VGA_TEXT_SIZE, VIRT_RWX))
			panic("vm %s: text memory can't be made writable", vm->config->name);
		timer_set(&vm->pc.vga_timer, clock_now() + clock_from_ns(VGA_LOOK_US * 1000));
	}
	spin_unlock(&vm->lock);
	return true;
}

static int create_pc(struct vm *vm, char *why, size_t size)
{
	struct pc_setup setup = {
	    .timers = &pcpu_at(0)->timers,
	    .lock = &vm->lock,
	    .apics = &vm->apic_bus,
	    .vga_text = (uint8_t *)phys_to_virt(vm->ram) + PC_VGA_TEXT,
	    .memory = low_ram(vm),
	    .unix_seconds = wallclock_read(),
	    .platform = {vm, on_platform},
	    .console = console_sink(vm),
	    .pic_changed = on_pic,
	    .pic_ctx = vm,
	    .vga_fired = on_vga_timer,
	};

	if (pc_init(&vm->pc, &setup)) {
		snprintf(why, size, "the PC's devices don't fit on their buses");
		return -E_NOMEM;
	}
	return 0;
}

/* --- vCPUs -------------------------------------------------------------------------------------------------------- */

static void build_cpuid(struct vm *vm)
{
	struct cpuid_source source = {
	    .read = cpuid,
	    .tsc_hz = clock_hz(),
	    .vcpus = vm->config->vcpus,
	    .xcr0_mask = virt_features()->xcr0_mask,
	    .rdtscp = virt_features()->rdtscp,
	    .invpcid = virt_features()->invpcid,
	    .xsavec = virt_features()->xsavec,
	};

	cpuid_build(&vm->cpuid, &source);
	vm->xcr0_mask = source.xcr0_mask;
	vm->cr4_bits = cpuid_cr4_bits(&vm->cpuid) & virt_features()->cr4_guest;
	vm->apic_bus.phys_bits = (uint8_t)cpuid_find(&vm->cpuid, 0x80000008, 0)->reg[CPUID_EAX];
}

static int create_vcpu(struct vm *vm, unsigned index)
{
	static uint8_t all_ports[2 * PAGE_SIZE] __attribute__((aligned(4096)));
	static _Atomic unsigned next_home;
	static uint16_t next_vpid;
	hpa_t page = phys_alloc(ALIGN_UP(sizeof(struct vcpu), PAGE_SIZE) / PAGE_SIZE, 1);
	hpa_t lapic_page = phys_alloc(1, 1);
	struct virt_vcpu_setup setup = {
	    .space = vm->space,
	    .virtual_apic = lapic_page,
	    .apic_access = vm->apic_access,
	    .msr_bitmap = msr_bitmap(false),
	    .io_bitmap = paging_lookup(all_ports),
	    .vpid = ++next_vpid, /* 65535 vCPUs until one repeats; virt_load flushes */
	    .cr4_guest = vm->cr4_bits,
	};
	struct vcpu *v;

	memset(all_ports, 0xff, sizeof(all_ports)); /* every port exits: the bus is the allow-list */
	if (!setup.vpid)
		setup.vpid = ++next_vpid;
	if (!hpa_is_none(page) && !hpa_is_none(lapic_page)) {
		v = phys_to_virt(page);
		memset(v, 0, sizeof(*v));
		memset(phys_to_virt(lapic_page), 0, PAGE_SIZE);
		if (virt_vcpu_create(&v->virt, &setup) == 0) {
			v->vm = vm;
			v->state = VCPU_GONE; /* until vm_start */
			v->index = index;
			v->lapic_page = lapic_page;
			v->home = pcpu_at(next_home++ % cpu_count());
			v->cpuid_signature = cpuid_find(&vm->cpuid, 1, 0)->reg[CPUID_EAX];
			vm->vcpu[index] = v;
			vm->vcpu_count++;
			vm->apic_bus.count = vm->vcpu_count;
			vlapic_init(&v->lapic, &vm->apic_bus, index, phys_to_virt(lapic_page), &v->home->timers);
			return 0;
		}
	}
	if (!hpa_is_none(page))
		phys_free(page, ALIGN_UP(sizeof(struct vcpu), PAGE_SIZE) / PAGE_SIZE);
	if (!hpa_is_none(lapic_page))
		phys_free(lapic_page, 1);
	return -E_NOMEM;
}

static void destroy_vcpu(struct vcpu *v)
{
	virt_vcpu_destroy(&v->virt);
	phys_free(v->lapic_page, 1);
	phys_free(virt_to_phys(v), ALIGN_UP(sizeof(*v), PAGE_SIZE) / PAGE_SIZE);
}

static int create_vcpus(struct vm *vm, char *why, size_t size)
{
	build_cpuid(vm);
	for (unsigned i = 0; i < vm->config->vcpus; i++) {
		if (create_vcpu(vm, i)) {
			snprintf(why, size, "no memory for vCPU %u", i);
			return -E_NOMEM;
		}
	}
	return 0;
}

/* --- start -------------------------------------------------------------------------------------------------------- */

static struct load_image image_of(const struct boot_file *file)
{
	struct load_image image = {NULL, NULL, 0};

	if (file)
		image = (struct load_image){file->path, phys_to_virt(HPA(file->hpa)), file->size};
	return image;
}

static int load_images(struct vm *vm, struct cpu_state *state, char *why)
{
	const struct vm_config *c = vm->config;
	struct load_request req = {
	    .kernel = image_of(c->kernel),
	    .initrd = image_of(c->initrd),
	    .cmdline = c->cmdline,
	    .module_count = c->module_count,
	    .load_address = c->load_address,
	    .entry = c->entry,
	    .mode = c->mode,
	};
	gpa_t rsdp = GPA(0);

	for (unsigned i = 0; i < c->module_count; i++) {
		req.module[i] = image_of(c->module[i]);
		req.module_args[i] = c->module_args[i];
	}
	if (bda_build(&vm->mem) || mptable_build(&vm->mem, c->vcpus) || acpi_build(&vm->mem, c->vcpus, &rsdp)) {
		snprintf(why, LOAD_ERROR_MAX, "the firmware tables don't fit");
		return -E_NOMEM;
	}
	req.rsdp_gpa = rsdp.value;
	switch (c->protocol) {
	case PROTOCOL_LINUX:
		return load_linux(&req, &vm->mem, state, why);
	case PROTOCOL_MULTIBOOT:
		return load_multiboot(&req, &vm->mem, state, why);
	case PROTOCOL_FLAT:
		return load_flat(&req, &vm->mem, state, why);
	}
	return -E_INVAL;
}

/*
 * A vCPU as after power-up; `state` for the first one, the others wait for a SIPI. It is GONE, so nobody runs it. This
 * CPU may be in the middle of running another guest's vCPU, which makes room for the moment.
 */
static void reset_vcpu(struct vcpu *v, const struct cpu_state *state)
{
	struct pcpu *p = this_pcpu();
	struct cpu_state reset;

	if (p->current)
		virt_put(&p->current->virt);
	virt_vcpu_power_up(&v->virt);
	virt_load(&v->virt);
	cpu_state_reset(&reset, v->cpuid_signature);
	virt_set_state(&v->virt, state ? state : &reset);
	virt_set_tsc_offset(&v->virt, v->vm->tsc_offset);
	vlapic_reset(&v->lapic, false);
	vlapic_set_tsc_offset(&v->lapic, v->vm->tsc_offset);
	if (v->index == 0)
		vlapic_enter_virtual_wire(&v->lapic);
	v->started = v->index == 0;
	v->halted = false;
	v->halted_forever = false;
	v->nmi_pending = false;
	v->tsc_adjust = 0;
	v->first_entry = 0;
	v->misc_enable = BIT(0) | BIT(11) | BIT(12); /* fast strings; no branch trace, no PEBS */
	v->mtrr_def_type = BIT(11) | BIT(10) | 6;
	memset(v->mtrr_fixed, 6, sizeof(v->mtrr_fixed));
	memset(v->mtrr_var, 0, sizeof(v->mtrr_var));
	atomic_store(&v->requests, 0);
	vcpu_apic_changed(v);
	if (v->index == 0 && v->vm->config->break_entry &&
	    virt_break(v->vm->config->break_field, v->vm->config->break_value))
		log_error("vm %s: break: 0x%x is not a VMCS field that can be written", v->vm->config->name,
			  v->vm->config->break_field);
	virt_put(&v->virt);
	if (p->current)
		virt_load(&p->current->virt);
}

/* Zeroes up to `limit` bytes of the guest's memory; true when all of it is done. */
static bool zero_memory(struct vm *vm, uint64_t limit)
{
	uint64_t left = vm->config->memory - vm->zeroed, part = left < limit ? left : limit;
	uint64_t from = clock_now();

	memset((uint8_t *)phys_to_virt(vm->ram) + vm->zeroed, 0, part);
	vm->zeroed += part;
	vm->zero_ticks += clock_now() - from;
	return vm->zeroed == vm->config->memory;
}

/* Devices and vCPUs as after power-up, images loaded. The memory has been zeroed. */
static int power_up(struct vm *vm, char *why)
{
	struct cpu_state state;
	uint64_t from;
	int err;

	memset(phys_to_virt(vm->apic_access), 0, PAGE_SIZE); /* a guest whose APIC is off sees the bare page */
	spin_lock(&vm->lock);
	pc_reset(&vm->pc);
	if (virt_space_protect(vm->space, GPA(PC_VGA_TEXT), PC_VGA_TEXT_SIZE, VIRT_READ | VIRT_EXEC))
		panic("vm %s: text memory can't be protected", vm->config->name);
	spin_unlock(&vm->lock);
	from = clock_now();
	err = load_images(vm, &state, why);
	vm->copy_ticks = clock_now() - from;
	if (err)
		return err;
	vm->tsc_offset = 0 - clock_now();
	for (unsigned i = 0; i < vm->vcpu_count; i++)
		reset_vcpu(vm->vcpu[i], i == 0 ? &state : NULL);
	return 0;
}

void vm_start(struct vm *vm)
{
	atomic_store(&vm->running, vm->vcpu_count);
	atomic_store(&vm->end, VM_RUNS);
	for (unsigned i = 0; i < vm->vcpu_count; i++) /* from here on their CPUs may take them */
		atomic_store(&vm->vcpu[i]->state, VCPU_OFF);
	vcpu_request(vm->vcpu[0], REQUEST_EVENT);
}

/* --- the end ------------------------------------------------------------------------------------------------------ */

void vm_finish(struct vm *vm, enum vm_end end, uint32_t code)
{
	uint32_t runs = VM_RUNS;

	if (!atomic_compare_exchange_strong(&vm->end, &runs, end))
		return;
	vm->end_code = code; /* read when all vCPUs have left, which they do after the requests below */
	for (unsigned i = 0; i < vm->vcpu_count; i++)
		vcpu_request(vm->vcpu[i], REQUEST_STOP);
}

void vm_vcpu_left(struct vm *vm)
{
	if (atomic_fetch_sub(&vm->running, 1) == 1)
		work_queue(pcpu_at(0), &vm->finish);
}

/*
 * Clearing a large guest's memory takes long, and a guest may restart itself without end: it is done a slice at a time,
 * with pauses, so that the boot CPU's other guests keep at least half of it.
 */
static void on_restart(struct timer *timer)
{
	struct vm *vm = CONTAINER_OF(timer, struct vm, restart);
	char why[LOAD_ERROR_MAX];

	if (!zero_memory(vm, RESTART_SLICE)) {
		timer_set(timer, clock_now() + clock_from_ns(RESTART_PAUSE_NS));
		return;
	}
	if (power_up(vm, why) == 0) {
		vm_start(vm);
		return;
	}
	log_error("vm %s: can't restart: %s", vm->config->name, why);
	atomic_store(&vm->end, VM_KILLED);
	work_queue(pcpu_at(0), &vm->finish);
}

/* All vCPUs have left: restart the VM or take it down. Boot CPU. */
static void on_finish(struct work *work)
{
	struct vm *vm = CONTAINER_OF(work, struct vm, finish);

	spin_lock(&vm->lock);
	if (vm->pc.vga_open)
		vga_refresh(&vm->pc.vga);
	spin_unlock(&vm->lock);
	report_end(vm);
	if (atomic_load(&vm->end) == VM_RESTARTS) {
		vm->zeroed = vm->zero_ticks = 0;
		timer_set(&vm->restart, clock_now() + clock_from_ns(RESTART_PAUSE_NS));
		return;
	}
	vm_destroy(vm);
	if (atomic_fetch_sub(&alive, 1) == 1)
		log_info("vireo: all guests have ended");
}

/* Off the CPU, with nothing asked of it, and waiting for a SIPI or in HLT with interrupts off. */
static bool is_stuck(struct vcpu *v)
{
	uint32_t state = atomic_load(&v->state);

	return (state == VCPU_OFF || state == VCPU_BLOCKED) && !atomic_load(&v->requests) &&
	       (!v->started || v->halted_forever);
}

/*
 * Each vCPU publishes its state before it looks at the others, so the last one to stop sees them all. An IOAPIC entry
 * that sends NMIs could still wake one; a guest that relies on that alone is taken for halted.
 */
void vm_check_halted(struct vm *vm)
{
	for (unsigned i = 0; i < vm->vcpu_count; i++)
		if (!is_stuck(vm->vcpu[i]))
			return;
	vm_finish(vm, VM_HALTED, 0);
}

void vm_first_entry(struct vcpu *v)
{
	v->first_entry = clock_now();
	if (v->index == 0)
		report_first_entry(v->vm, v->first_entry);
}

/* --- creation ----------------------------------------------------------------------------------------------------- */

static uint64_t vm_pages(void)
{
	return ALIGN_UP(sizeof(struct vm), PAGE_SIZE) / PAGE_SIZE;
}

struct vm *vm_create(const struct vm_config *config, char *why, size_t size)
{
	hpa_t page = phys_alloc(vm_pages(), 1);
	char load_error[LOAD_ERROR_MAX];
	struct vm *vm;

	if (hpa_is_none(page)) {
		snprintf(why, size, "no memory for the VM itself");
		return NULL;
	}
	vm = phys_to_virt(page);
	memset(vm, 0, sizeof(*vm));
	vm->config = config;
	vm->ram = vm->apic_access = HPA_NONE;
	vm->apic_bus.ctx = vm;
	vm->apic_bus.signal = vcpu_signal;
	vm->apic_bus.eoi = on_eoi;
	vm->finish.run = on_finish;
	timer_init(&vm->restart, &pcpu_at(0)->timers, NULL, on_restart);
	console_add(vm);
	atomic_fetch_add(&alive, 1);
	if (create_memory(vm, why, size) || create_vcpus(vm, why, size) || create_pc(vm, why, size))
		goto fail;
	zero_memory(vm, config->memory);
	if (power_up(vm, load_error)) {
		snprintf(why, size, "%s", load_error);
		goto fail;
	}
	return vm;
fail:
	vm_destroy(vm);
	atomic_fetch_sub(&alive, 1);
	return NULL;
}

void vm_destroy(struct vm *vm)
{
	console_remove(vm);
	if (vm->pc.pio.count) { /* the chips exist: their timers leave the queue */
		spin_lock(&vm->lock);
		pc_reset(&vm->pc);
		spin_unlock(&vm->lock);
	}
	while (vm->vcpu_count)
		destroy_vcpu(vm->vcpu[--vm->vcpu_count]);
	destroy_memory(vm);
	phys_free(virt_to_phys(vm), vm_pages());
}
