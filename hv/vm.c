/*
 * The life of a virtual machine: its parts made in order and unmade in reverse, started, restarted, ended. See vm.h.
 * Creation, restart and destruction run on the boot CPU. What the devices and exits call (on_platform, on_pic, on_eoi,
 * on_vga_timer, vm_vga_touched, vm_finish, vm_check_halted, vm_first_entry, vm_vcpu_left) runs on any CPU of the VM.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/vm.h"

#include "arch/x86/cpuid.h"
#include "arch/x86/insn.h"
#include "arch/x86/memory.h"
#include "arch/x86/paging.h"
#include "drivers/wallclock.h"
#include "hv/abroad.h"
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
#include "hv/trace.h"
#include "hv/vm_io.h"
#include "hv/vm_memory.h"
#include "hv/vm_share.h"

#define RESTART_PAUSE_NS 10000000
#define ASK_AGAIN_NS	 50000
#define RESTART_LONGEST	 1000000000 /* pause before a VM that keeps restarting at once is started again */
#define VGA_LOOK_US	 50000

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

	vm_open_memory(CONTAINER_OF(pc, struct vm, pc));
	vga_refresh(&pc->vga);
	timer_set_here(timer, clock_now() + clock_from_ns(VGA_LOOK_US * 1000));
}

void vm_vga_touched(struct vm *vm, uint64_t gpa)
{
	if (gpa < PC_VGA_TEXT || gpa >= PC_VGA_TEXT + PC_VGA_TEXT_SIZE)
		return;
	spin_lock(&vm->lock);
	if (!vm->pc.vga_open) {
		vm->pc.vga_open = true;
		spin_lock(&vm->ram.lock);
		if (virt_space_protect(vm->space, GPA(PC_VGA_TEXT), PC_VGA_TEXT_SIZE, VIRT_RWX))
			panic("vm %s: text memory can't be made writable", vm->config->name);
		spin_unlock(&vm->ram.lock);
		timer_set_here(&vm->pc.vga_timer, clock_now() + clock_from_ns(VGA_LOOK_US * 1000));
	}
	spin_unlock(&vm->lock);
}

static int create_pc(struct vm *vm, char *why, size_t size)
{
	struct pc_setup setup = {
	    .timers = &pcpu_at(0)->timers,
	    .lock = &vm->lock,
	    .apics = &vm->apic_bus,
	    .vga_text = guest_ram_first(&vm->ram, PC_VGA_TEXT),
	    .ioapic_page = phys_to_virt(vm->ioapic_page),
	    .memory = vm_memory_low(vm),
	    .unix_seconds = vm->unix_seconds,
	    .platform = {vm, on_platform},
	    .console = console_sink(vm->console),
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
	    .speculation = virt_features()->speculation,
	    .speculation_2 = virt_features()->speculation_2,
	    .kvm = vm->config->kvm,
	    .kvm_features = pv_features(),
	    .hypercalls = vm->config->hypercalls,
	};

	cpuid_build(&vm->cpuid, &source);
	vm->xcr0_mask = source.xcr0_mask;
	vm->cr4_bits = cpuid_cr4_bits(&vm->cpuid) & virt_features()->cr4_guest;
	vm->apic_bus.phys_bits = (uint8_t)cpuid_find(&vm->cpuid, 0x80000008, 0)->reg[CPUID_EAX];
}

/* 65535 vCPUs until one repeats; a vCPU's first entry flushes what an earlier one has left under its tag. */
static uint16_t choose_vpid(void)
{
	static uint16_t last;

	if (!++last)
		++last;
	return last;
}

/* The processor's part and the local APIC of a vCPU whose memory is there. */
static int init_vcpu(struct vcpu *v)
{
	struct vm *vm = v->vm;
	struct virt_vcpu_setup setup = {
	    .space = vm->space,
	    .virtual_apic = v->lapic_page,
	    .apic_access = vm->apic_access,
	    .vpid = choose_vpid(),
	    .cr4_guest = vm->cr4_bits,
	    /* Who owns a CPU may spin on it, and who is alone waits for nobody. */
	    .pause_exits = vm->config->vcpus > 1 && sched_policy() != &policy_dedicated,
	};

	if (virt_vcpu_create(&v->virt, &setup))
		return -E_NOMEM;
	v->cpuid_signature = cpuid_find(&vm->cpuid, 1, 0)->reg[CPUID_EAX];
	vlapic_init(&v->lapic, &vm->apic_bus, v->index, phys_to_virt(v->lapic_page), &pcpu_at(0)->timers);
	return 0;
}

static struct vcpu *alloc_vcpu(struct vm *vm, unsigned index)
{
	hpa_t page = phys_alloc(phys_pages(sizeof(struct vcpu)), 1), lapic_page = phys_alloc(1, 1);
	struct vcpu *v;

	if (hpa_is_none(page) || hpa_is_none(lapic_page)) {
		if (!hpa_is_none(page))
			phys_free(page, phys_pages(sizeof(struct vcpu)));
		if (!hpa_is_none(lapic_page))
			phys_free(lapic_page, 1);
		return NULL;
	}
	v = memset(phys_to_virt(page), 0, sizeof(*v));
	memset(phys_to_virt(lapic_page), 0, PAGE_SIZE);
	v->vm = vm;
	v->index = index;
	v->state = VCPU_GONE; /* until vm_start */
	v->lapic_page = lapic_page;
	return v;
}

static void free_vcpu(struct vcpu *v)
{
	phys_free(v->lapic_page, 1);
	phys_free(virt_to_phys(v), phys_pages(sizeof(struct vcpu)));
}

static int create_vcpu(struct vm *vm, unsigned index, char *why, size_t size)
{
	struct vcpu *v = alloc_vcpu(vm, index);

	if (!v) {
		snprintf(why, size, "no memory for vCPU %u", index);
		return -E_NOMEM;
	}
	if (sched_admit(v)) {
		snprintf(why, size, "vcpus: found %u, expected at most %u: no CPU is left for more (scheduler %s)",
			 vm->config->vcpus, index, sched_policy()->name);
		free_vcpu(v);
		return -E_NOMEM;
	}
	if (init_vcpu(v)) {
		snprintf(why, size, "no memory for vCPU %u", index);
		sched_leave(v);
		free_vcpu(v);
		return -E_NOMEM;
	}
	vm->vcpu[index] = v;
	vm->vcpu_count++;
	vm->apic_bus.count = vm->vcpu_count;
	return 0;
}

static void destroy_vcpu(struct vcpu *v)
{
	virt_vcpu_destroy(&v->virt);
	sched_leave(v);
	free_vcpu(v);
}

static int create_vcpus(struct vm *vm, char *why, size_t size)
{
	build_cpuid(vm);
	for (unsigned i = 0; i < vm->config->vcpus; i++)
		if (create_vcpu(vm, i, why, size))
			return -E_NOMEM;
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
		vcpu_make_room(p->current);
	virt_vcpu_power_up(&v->virt);
	virt_load(&v->virt);
	cpu_state_reset(&reset, v->cpuid_signature);
	virt_set_state(&v->virt, state ? state : &reset);
	virt_set_tsc_offset(&v->virt, 0); /* the guest's TSC is the processor's: hv/guest_timer.h */
	vlapic_reset(&v->lapic, false);
	vlapic_set_tsc_offset(&v->lapic, 0);
	pv_reset(v);
	if (v->index == 0)
		vlapic_enter_virtual_wire(&v->lapic);
	v->started = v->index == 0;
	v->halted = false;
	v->halted_forever = false;
	v->nmi_pending = false;
	v->tsc_adjust = 0;
	v->timer_direct = false;
	v->first_entry = 0;
	msr_reset(v);
	atomic_store(&v->requests, 0);
	vcpu_apic_changed(v);
	if (v->index == 0 && v->vm->config->break_entry &&
	    virt_break(v->vm->config->break_field, v->vm->config->break_value))
		log_error("vm %s: break: 0x%x is not a VMCS field that can be written", v->vm->config->name,
			  v->vm->config->break_field);
	virt_put(&v->virt);
	if (p->current)
		vcpu_come_back(p->current);
}

/* Devices and vCPUs as after power-up, images loaded into memory of which nothing is there yet. */
static int power_up(struct vm *vm, char *why)
{
	uint64_t start = clock_now(), from;
	struct cpu_state state;
	int err;

	memset(phys_to_virt(vm->apic_access), 0, PAGE_SIZE); /* a guest whose APIC is off sees the bare page */
	spin_lock(&vm->lock);
	pc_reset(&vm->pc);
	vm_io_reset(vm);
	spin_unlock(&vm->lock);
	from = clock_now();
	err = load_images(vm, &state, why);
	vm->zero_ticks = vm->ram.zero_ticks;
	vm->copy_ticks = clock_now() - from - vm->zero_ticks;
	if (err)
		return err;
	vm->powered_up = clock_now();
	for (unsigned i = 0; i < vm->vcpu_count; i++)
		reset_vcpu(vm->vcpu[i], i == 0 ? &state : NULL);
	vm->start_ticks = clock_now() - start;
	return 0;
}

void vm_start(struct vm *vm)
{
	atomic_store(&vm->running, vm->vcpu_count);
	atomic_store(&vm->end, VM_RUNS);
	for (unsigned i = 0; i < vm->vcpu_count; i++) /* from here on they can be woken */
		atomic_store(&vm->vcpu[i]->state, VCPU_BLOCKED);
	/* The others wait for a SIPI, but see a snapshot that was asked for before a restart, or during it. */
	for (unsigned i = 1; i < vm->vcpu_count; i++)
		if (atomic_load(&vm->vcpu[i]->snapshot_due))
			vcpu_request(vm->vcpu[i], REQUEST_SNAPSHOT);
	vcpu_request(vm->vcpu[0], REQUEST_EVENT | REQUEST_SNAPSHOT);
}

/* Makes every vCPU look at `end` and `paused`, those that are out as well. */
static void call_vcpus(struct vm *vm)
{
	for (unsigned i = 0; i < vm->vcpu_count; i++) {
		vcpu_request(vm->vcpu[i], REQUEST_LEAVE);
		if (!vm_is_paused(vm))
			vcpu_resume(vm->vcpu[i]);
	}
}

void vm_pause(struct vm *vm)
{
	atomic_store(&vm->paused, true);
	call_vcpus(vm);
}

void vm_resume(struct vm *vm)
{
	atomic_store(&vm->paused, false);
	call_vcpus(vm);
}

void vm_shutdown(struct vm *vm)
{
	spin_lock(&vm->lock);
	acpi_pm_power_button(&vm->pc.acpi_pm);
	spin_unlock(&vm->lock);
}

/* --- the end ------------------------------------------------------------------------------------------------------ */

void vm_finish(struct vm *vm, enum vm_end end, uint32_t code)
{
	uint32_t runs = VM_RUNS;

	if (!atomic_compare_exchange_strong(&vm->end, &runs, end)) {
		if (end == VM_DESTROYED) { /* what ends or restarts already does not come back */
			atomic_store(&vm->end, end);
			if (timer_is_armed(&vm->restart))
				timer_set(&vm->restart, clock_now()); /* which is not waited for */
		}
		return;
	}
	vm->end_code = code; /* read when all vCPUs have left, which they do after the calls below */
	call_vcpus(vm);
}

void vm_vcpu_left(struct vm *vm)
{
	if (atomic_fetch_sub(&vm->running, 1) == 1)
		work_queue(pcpu_at(0), &vm->finish);
}

static void restart(struct vm *vm)
{
	char why[LOAD_ERROR_MAX];

	vm->begun = clock_now();
	vm_memory_reset(vm);
	if (power_up(vm, why) == 0) {
		vm->start_ticks = clock_now() - vm->begun; /* the memory's reset included */
		vm_start(vm);
		return;
	}
	log_error("vm %s: can't restart: %s", vm->config->name, why);
	atomic_store(&vm->end, VM_KILLED);
	work_queue(pcpu_at(0), &vm->finish);
}

/*
 * A restart costs what the guest touched since the last one (some hundred ticks for each 2 MiB) and what its images
 * take to load. Guests that restart themselves without end would still fill the boot CPU with that, however many they
 * are: its other guests keep at least half of it.
 */
static void on_restart(struct timer *timer)
{
	struct vm *vm = CONTAINER_OF(timer, struct vm, restart);
	struct pcpu *p = this_pcpu();
	uint64_t later = abroad_put_off(p, vm);

	if (atomic_load(&vm->end) != VM_RESTARTS) { /* destroyed in the pause */
		work_queue(pcpu_at(0), &vm->finish);
	} else if (later) {
		timer_set(timer, later);
	} else {
		abroad_begin(p, vm);
		restart(vm);
		abroad_timer_done(p);
	}
}

/* Twice as long each time while the VM lives for less than the longest pause: it costs the others time and log lines.
 */
static uint64_t restart_pause(struct vm *vm)
{
	uint64_t longest = clock_from_ns(RESTART_LONGEST), shortest = clock_from_ns(RESTART_PAUSE_NS);
	bool quick = clock_now() - vm->vcpu[0]->first_entry < longest;

	vm->restart_pause = quick && vm->restart_pause ? 2 * vm->restart_pause : shortest;
	if (vm->restart_pause > longest)
		vm->restart_pause = longest;
	return vm->restart_pause;
}

static void on_ask_again(struct timer *timer)
{
	work_queue(pcpu_at(0), &CONTAINER_OF(timer, struct vm, ask_again)->finish);
}

/* All vCPUs have left: restart the VM or take it down. */
static void finish(struct vm *vm)
{
	if (vm_io_stop(vm) || vm_share_stop(vm)) { /* a turn is queued, or waits; a peer leaves its memory */
		timer_set(&vm->ask_again, clock_now() + clock_from_ns(ASK_AGAIN_NS));
		return;
	}
	spin_lock(&vm->lock);
	pc_stop(&vm->pc);
	spin_unlock(&vm->lock);
	pcpu_synchronize(); /* nobody looks at its vCPUs and timers or works for its devices any more */
	spin_lock(&vm->lock);
	if (vm->pc.vga_open) {
		vm_open_memory(vm);
		vga_refresh(&vm->pc.vga);
	}
	spin_unlock(&vm->lock);
	report_end(vm);
	if (atomic_load(&vm->end) == VM_RESTARTS) {
		timer_set(&vm->restart, clock_now() + vm->start_ticks + restart_pause(vm));
		return;
	}
	vm->ended(vm);
}

/* Boot CPU, in the turn of another VM's vCPU perhaps. */
static void on_finish(struct work *work)
{
	struct vm *vm = CONTAINER_OF(work, struct vm, finish);
	struct pcpu *p = this_pcpu();

	abroad_begin(p, vm);
	finish(vm); /* and it may be gone */
	abroad_end(p);
}

/* Off the CPU, with nothing asked of it, and waiting for a SIPI or in HLT with interrupts off. */
static bool is_stuck(struct vcpu *v)
{
	return atomic_load(&v->state) == VCPU_BLOCKED && !atomic_load(&v->requests) &&
	       (!v->started || v->halted_forever);
}

/*
 * Each vCPU publishes its state before it looks at the others, so the last one to stop sees them all. While it looks,
 * one that it has not come to yet may wake one that it has passed, by an NMI, and stop then: `wakes` tells, and who was
 * woken looks in its turn. An IOAPIC entry that sends NMIs could still wake one; a guest that relies on that alone is
 * taken for halted.
 */
void vm_check_halted(struct vm *vm)
{
	uint32_t wakes = atomic_load(&vm->wakes);

	for (unsigned i = 0; i < vm->vcpu_count; i++)
		if (!is_stuck(vm->vcpu[i]))
			return;
	if (atomic_load(&vm->wakes) == wakes)
		vm_finish(vm, VM_HALTED, 0);
}

uint64_t vm_unix_ns(const struct vm *vm)
{
	return (uint64_t)vm->unix_seconds * 1000000000 + clock_to_ns(clock_now() - vm->made);
}

void vm_first_entry(struct vcpu *v)
{
	v->first_entry = clock_now();
	if (v->index == 0)
		report_first_entry(v->vm, v->first_entry);
}

/* --- creation ----------------------------------------------------------------------------------------------------- */

struct vm *vm_create(const struct vm_config *config, struct vm_console *console, struct disk *const *disks,
		     void (*ended)(struct vm *vm), char *why, size_t size)
{
	uint64_t begun = clock_now();
	hpa_t page = phys_alloc(phys_pages(sizeof(struct vm)), 1);
	char load_error[LOAD_ERROR_MAX];
	struct vm *vm;

	if (hpa_is_none(page)) {
		snprintf(why, size, "no memory for the VM itself");
		return NULL;
	}
	vm = phys_to_virt(page);
	memset(vm, 0, sizeof(*vm));
	vm->config = config;
	vm->console = console;
	vm->ended = ended;
	sched_group_init(&vm->sched);
	sched_group_set(&vm->sched, config->weight, config->cap, config->cpus);
	vm->trace_id = trace_name_vm(config->name);
	vm->begun = begun;
	vm->made = begun;
	vm->unix_seconds = wallclock_read();
	vm->apic_access = vm->ioapic_page = HPA_NONE;
	vm->apic_bus.ctx = vm;
	vm->apic_bus.signal = vcpu_signal;
	vm->apic_bus.eoi = on_eoi;
	vm->finish.run = on_finish;
	timer_init(&vm->restart, &pcpu_at(0)->timers, NULL, on_restart);
	timer_init(&vm->ask_again, &pcpu_at(0)->timers, NULL, on_ask_again);
	if (vm_memory_create(vm, why, size) || create_vcpus(vm, why, size) || create_pc(vm, why, size) ||
	    vm_io_create(vm, disks, why, size) || vm_share_create(vm, why, size))
		goto fail;
	if (power_up(vm, load_error)) {
		snprintf(why, size, "%s", load_error);
		goto fail;
	}
	return vm;
fail:
	vm_destroy(vm);
	return NULL;
}

void vm_destroy(struct vm *vm)
{
	if (vm->pc.pio.count) { /* the chips exist: their timers leave the queue */
		spin_lock(&vm->lock);
		pc_reset(&vm->pc);
		spin_unlock(&vm->lock);
		pcpu_synchronize(); /* a CPU may have found one that was due, and wait for the lock: hv/timer.h */
	}
	vm_io_destroy(vm);
	vm_share_destroy(vm);
	while (vm->vcpu_count)
		destroy_vcpu(vm->vcpu[--vm->vcpu_count]);
	vm_memory_destroy(vm);
	phys_free(virt_to_phys(vm), phys_pages(sizeof(struct vm)));
}
