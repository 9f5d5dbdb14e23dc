/*
 * Soak test of a VM's life: the core's own sources on a simulated machine (sim.h), guests that do anything
 * (processor.h), and an owner who starts, pauses, resets, destroys and redefines VMs at random, while memory runs out
 * now and then. An episode is one seed; it ends with every VM gone and must leave nothing behind. Called by main.c.
 */
/* SPDX-License-Identifier: MIT */
#define _DEFAULT_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <sanitizer/asan_interface.h>

#include "hv/console.h"
#include "hv/exit/msr.h"
#include "hv/log.h"
#include "hv/pcpu.h"
#include "hv/phys.h"
#include "hv/run.h"
#include "hv/sched/sched.h"
#include "hv/trace.h"
#include "hv/vm_balloon.h"
#include "hv/vms.h"
#include "hv/work.h"
#include "tests/soak/guest.h"
#include "tests/soak/lifecycle.h"
#include "tests/soak/processor.h"
#include "tests/soak/sched_peek.h"
#include "tests/soak/sim.h"
#include "tests/soak/walker.h"

#define COMMANDS     1000 /* of an episode, on an average */
#define DEFINITIONS  12
#define SHARING	     4		       /* of them, the first ones, are everybody's peers */
#define ARENA_BASE   0x200000000000ULL /* the same in each run: addresses are part of what is replayed */
#define ARENA	     (48 * MIB)
#define CHUNK	     (2 * MIB)
#define IMAGE_BASE   (ARENA_BASE + ARENA)
#define ROUND_TICKS  (20 * SIM_MS)   /* between looks at what does not move */
#define ASLEEP_WAIT  (100 * SIM_MS)  /* owner's pause when nothing else happens */
#define LEAVE_TICKS  (8000 * SIM_MS) /* in which a VM that is destroyed must be gone, whatever its share is */
#define TYPED_TICKS  (10 * SIM_MS)   /* longer than the console waits before it gives a byte again */
#define ANSWER_TICKS (8000 * SIM_MS) /* in which a vCPU must have done what was asked of it */

/* What is watched of a vCPU: how long it has been owing something. */
struct watch {
	uint64_t owing_since; /* 0: nothing */
	uint64_t snapshot_since;
};

struct definition {
	char name[8];
	struct vms_entry *entry; /* NULL: not defined */
	const struct vm *vm;	 /* the one that the rest is about */
	uint64_t destroyed_at;	 /* 0: not destroyed */
	struct watch watch[CONFIG_MAX_VCPUS];
};

static struct {
	struct boot_info info;
	struct definition def[DEFINITIONS];
	unsigned definitions, commands, most_commands;
	uint64_t free_at_start;
	unsigned started, refused; /* VMs */
	bool draining, drained;
	bool starves, balloon; /* lifecycle_starve(), and its VM has one */
	uint64_t gone_at;      /* since when nothing is left to wait for; 0: not yet */
	uint64_t looked_at;
	char value[64];
} soak;

static struct work owner_work;
static void (*type_byte)(void *ctx, uint8_t byte);
static void *type_ctx;

/* --- memory: the real hv/phys.c, which sometimes has none; freed frames are poisoned, as long as their chunk has
 * others -------------------------------
 */

hpa_t __real_phys_alloc(uint64_t pages, uint64_t align_pages);
void __real_phys_free(hpa_t hpa, uint64_t pages);
hpa_t __wrap_phys_alloc(uint64_t pages, uint64_t align_pages);
void __wrap_phys_free(hpa_t hpa, uint64_t pages);
hpa_t __real_phys_take_frame(void);
hpa_t __wrap_phys_take_frame(void);
void __real_phys_split_chunk(hpa_t hpa);
void __wrap_phys_split_chunk(hpa_t hpa);

/* A chunk that is free as a whole may be used otherwise than through phys_alloc(). */
static void count_frames(uint64_t hpa, uint64_t pages, int by)
{
	static int used[ARENA / CHUNK];

	for (uint64_t i = 0; i < pages; i++) {
		uint64_t chunk = (hpa + i * PAGE_SIZE - ARENA_BASE) / CHUNK;

		used[chunk] += by;
		if (!used[chunk])
			ASAN_UNPOISON_MEMORY_REGION((void *)(ARENA_BASE + chunk * CHUNK), CHUNK);
	}
}

hpa_t __wrap_phys_alloc(uint64_t pages, uint64_t align_pages)
{
	hpa_t hpa = processor_no_memory() ? HPA_NONE : __real_phys_alloc(pages, align_pages);

	if (!hpa_is_none(hpa)) {
		count_frames(hpa.value, pages, 1);
		ASAN_UNPOISON_MEMORY_REGION((void *)hpa.value, pages * PAGE_SIZE);
		memset((void *)hpa.value, 0xa5, pages * PAGE_SIZE < 64 * KIB ? pages * PAGE_SIZE : 64 * KIB);
	}
	return hpa;
}

void __wrap_phys_free(hpa_t hpa, uint64_t pages)
{
	__real_phys_free(hpa, pages);
	ASAN_POISON_MEMORY_REGION((void *)hpa.value, pages * PAGE_SIZE);
	count_frames(hpa.value, pages, -1);
}

hpa_t __wrap_phys_take_frame(void)
{
	hpa_t hpa = __real_phys_take_frame();

	count_frames(hpa.value, 1, 1);
	ASAN_UNPOISON_MEMORY_REGION((void *)hpa.value, PAGE_SIZE);
	memset((void *)hpa.value, 0xa5, PAGE_SIZE);
	return hpa;
}

void __wrap_phys_split_chunk(hpa_t hpa)
{
	__real_phys_split_chunk(hpa);
	count_frames(hpa.value, CHUNK / PAGE_SIZE, 1);
}

int __real_phys_reserve(uint64_t chunks);
int __wrap_phys_reserve(uint64_t chunks);

int __wrap_phys_reserve(uint64_t chunks)
{
	return processor_fails_now() ? -E_NOMEM : __real_phys_reserve(chunks);
}

void __real_phys_give_chunk(hpa_t hpa);
void __wrap_phys_give_chunk(hpa_t hpa);

void __wrap_phys_give_chunk(hpa_t hpa)
{
	processor_check_free(hpa.value, PHYS_CHUNK);
	__real_phys_give_chunk(hpa);
}

static void *map_at(uint64_t address, uint64_t size)
{
	void *p = mmap((void *)address, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

	if (p != (void *)address)
		sim_fail("no memory at %#" PRIx64, address);
	return p;
}

static void add_file(const char *path, const void *data, uint64_t size)
{
	struct boot_file *f = &soak.info.file[soak.info.file_count];

	snprintf(f->path, sizeof(f->path), "%s", path);
	f->hpa = IMAGE_BASE + soak.info.file_count++ * PAGE_SIZE;
	f->size = size;
	memcpy((void *)f->hpa, data, size);
}

static void make_memory(void)
{
	static const uint8_t junk[100] = {0xeb, 0x20, 'j', 'u', 'n', 'k'};

	map_at(ARENA_BASE, ARENA + 4 * PAGE_SIZE);
	soak.info.memory[soak.info.memory_count++] =
	    (struct boot_memory){.base = ARENA_BASE, .length = ARENA, .type = BOOT_MEMORY_FREE};
	add_file("guest.bin", guest_image, sizeof(guest_image));
	add_file("junk.bin", junk, sizeof(junk));
	if (phys_init(&soak.info))
		sim_fail("phys_init");
}

/* --- definitions -------------------------------------------------------------------------------------------------- */

static void forget(struct definition *d)
{
	const char *name = d->name;
	char kept[sizeof(d->name)];

	memcpy(kept, name, sizeof(kept));
	memset(d, 0, sizeof(*d));
	memcpy(d->name, kept, sizeof(kept));
}

static void define(struct definition *d)
{
	struct vm_config c = {
	    .protocol = PROTOCOL_FLAT, .kernel = &soak.info.file[0], .cmdline = "", .autostart = true};
	char why[CONFIG_ERROR_MAX] = "";

	snprintf(c.name, sizeof(c.name), "%s", d->name);
	c.vcpus = 1 + (uint32_t)sim_random(sim_chance(500) ? 3 : 8);
	c.memory = (1 + sim_random(sim_chance(900) ? 3 : 12)) * MIB;
	c.load_address = c.entry = GUEST_CODE;
	c.mode = (enum cpu_mode)sim_random(3);
	c.weight = CONFIG_WEIGHT_DEFAULT;
	c.cap = sim_chance(200) ? (uint32_t)sim_random(150) : 0;
	c.cpus = ~0ULL;
	c.kvm = sim_chance(800);
	c.rng = sim_chance(200);
	c.hvc = (uint32_t)sim_random(CONFIG_MAX_HVC + 1);
	c.balloon = sim_chance(500);
	if (c.balloon && sim_chance(500))
		c.memory += 4 * MIB;
	c.hypercalls = sim_chance(900);
	for (unsigned i = 0; i < SHARING && !c.balloon && sim_chance(950); i++)
		snprintf(c.peer[c.peer_count++], CONFIG_NAME_MAX, "vm%u", i);
	while (c.disk_count < CONFIG_MAX_DISKS && sim_chance(400))
		c.disk[c.disk_count++] = (struct disk_config){.kind = DISK_MEMORY, .size = MIB, .overlay = MIB};
	while (c.net_count < 2 && sim_chance(600)) {
		struct net_config *net = &c.net[c.net_count++];

		snprintf(net->network, sizeof(net->network), "lan%u", (unsigned)sim_random(2));
		net->spoof = sim_chance(200);
		net->isolated = sim_chance(100);
		net->rate = sim_chance(100) ? MIB : 0;
	}
	processor_short_of_memory = sim_chance(200);
	d->entry = vms_define(&c, why);
	processor_short_of_memory = false;
	sim_note("define %s, %u vCPUs, %" PRIu64 " MiB: %s", c.name, c.vcpus, (uint64_t)(c.memory / MIB),
		 d->entry ? "done" : why);
	if (!d->entry && !why[0])
		sim_fail("define %s: no reason is given", c.name);
}

static void undefine(struct definition *d)
{
	struct vms_entry *e = d->entry;
	bool runs = e->vm;
	int err;

	d->entry = NULL; /* look() must not see it while it goes */
	err = vms_undefine(e);
	sim_note("undefine %s: %d", d->name, err);
	if ((err == 0) == runs)
		sim_fail("undefine %s: %d, and it %s", d->name, err, runs ? "runs" : "is shut off");
	if (err)
		d->entry = e;
	else
		forget(d);
}

/* Free memory changes by itself: that is a balloon's purpose. What is lost shows at the end of the episode. */
static bool has_balloons(void)
{
	for (unsigned i = 0; i < soak.definitions; i++)
		if (soak.def[i].entry && soak.def[i].entry->vm && soak.def[i].entry->vm->config->balloon)
			return true;
	return false;
}

static void start(struct definition *d)
{
	bool moves = has_balloons();
	uint64_t before = phys_free_bytes();
	unsigned vcpus = processor_vcpus(), spaces = processor_spaces(), alive = vms_alive();
	char why[CONFIG_ERROR_MAX] = "";
	int err;

	processor_short_of_memory = sim_chance(300);
	err = vms_start(d->entry, why);
	processor_short_of_memory = false;
	sim_note("start %s: %s", d->name, err ? why : "done");
	soak.started += !err;
	soak.refused += err != 0;
	d->destroyed_at = 0;
	if (!err)
		return;
	if (!why[0])
		sim_fail("start %s: no reason is given", d->name);
	if ((!moves && phys_free_bytes() != before) || processor_vcpus() != vcpus || processor_spaces() != spaces)
		sim_fail("start %s: failed and left %" PRId64 " bytes, %u vCPUs, %u spaces behind", d->name,
			 (int64_t)(before - phys_free_bytes()), processor_vcpus() - vcpus, processor_spaces() - spaces);
	if (d->entry->vm || vms_alive() != alive)
		sim_fail("start %s: failed, and the VM is there", d->name);
}

static const char *const settings[][2] = {
    {"vcpus", "%u"},	    {"memory", "%uM"},	    {"kernel", "guest.bin"},
    {"kernel", "junk.bin"}, {"initrd", "junk.bin"}, {"cmdline", "quiet %u"},
    {"protocol", "linux"},  {"protocol", "flat"},   {"protocol", "multiboot"},
    {"module", "junk.bin"}, {"load", "0x7c00"},	    {"load", "0x100000"},
    {"entry", "0x7c00"},    {"mode", "real"},	    {"mode", "protected"},
    {"mode", "long"},	    {"break", "0x681%u 1"}, {"autostart", "on"},
    {"weight", "%u"},	    {"weight", "1000"},	    {"cap", "%u"},
    {"cap", "0"},	    {"cpus", "0"},	    {"cpus", "all"},
    {"cpus", "%u"},	    {"cpus", "1-3"},	    {"colour", "red"},
    {"hvc", "%u"},
};

static void set(struct definition *d)
{
	const char *const *s = settings[sim_random(ARRAY_SIZE(settings))];
	char why[CONFIG_ERROR_MAX] = "";
	int err;

	/* The texts of `settings` have one number each, or none. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(soak.value, sizeof(soak.value), s[1], (unsigned)sim_random(9));
#pragma GCC diagnostic pop
	err = vms_set(d->entry, s[0], soak.value, why);
	sim_note("set %s %s=%s: %s", d->name, s[0], soak.value, err ? why : "done");
	if (err && !why[0])
		sim_fail("set %s %s=%s: no reason is given", d->name, s[0], soak.value);
}

/* --- what the owner does ------------------------------------------------------------------------------------------ */

static void destroy(struct definition *d)
{
	sim_note("destroy %s (%s)", d->name, vms_state(d->entry));
	if (!d->destroyed_at)
		d->destroyed_at = sim_now();
	vm_finish(d->entry->vm, VM_DESTROYED, 0);
}

static void snapshot(struct definition *d)
{
	struct vm *vm = d->entry->vm;
	unsigned index = (unsigned)sim_random(vm->vcpu_count);

	sim_note("snapshot of %s, vCPU %u (%s)", d->name, index, vms_state(d->entry));
	if (atomic_load(&vm->vcpu[index]->snapshot_due))
		return;
	d->watch[index].snapshot_since = sim_now();
	vcpu_snapshot(vm->vcpu[index]);
}

static void set_memory(struct definition *d)
{
	struct vm *vm = d->entry->vm;
	struct vm_balloon_state state = {0};
	bool balloon = vm->config->balloon;

	if ((vm_balloon_set(vm, sim_random(16) * MIB) == 0) != balloon || (vm_balloon_look(vm, &state) == 0) != balloon)
		sim_fail("the balloon of %s is not what was wanted", d->name);
	vm_balloon_ask(vm);
	sim_note("memory of %s: shall keep %" PRIu64 " KiB, %" PRIu64 " are away", d->name,
		 (uint64_t)(state.target / KIB), (uint64_t)(state.away / KIB));
	if (state.away > guest_ram_cost(vm->config->memory))
		sim_fail("%s gave more away than it has", d->name);
}

static void command_vm(struct definition *d)
{
	struct vm *vm = d->entry->vm;
	unsigned what = (unsigned)sim_random(100);

	if (what < 8) {
		destroy(d);
	} else if (what < 18) {
		sim_note("reset %s (%s)", d->name, vms_state(d->entry));
		vm_finish(vm, VM_RESTARTS, 0);
	} else if (what < 45) {
		sim_note("pause %s (%s)", d->name, vms_state(d->entry));
		vm_pause(vm);
	} else if (what < 75) {
		sim_note("resume %s (%s)", d->name, vms_state(d->entry));
		vm_resume(vm);
	} else if (what < 78) {
		set_memory(d);
	} else if (what < 80) {
		sim_note("shutdown %s", d->name);
		vm_shutdown(vm);
	} else {
		snapshot(d);
	}
}

static struct vm_console *some_console(struct vms_entry *e)
{
	struct vm_console *c = &e->console;

	while (c->next && sim_chance(500))
		c = c->next;
	return c;
}

static void command(void)
{
	struct definition *d = &soak.def[sim_random(soak.definitions)];
	unsigned what = (unsigned)sim_random(100);

	soak.commands++;
	if (!d->entry)
		define(d);
	else if (what < 15)
		set(d);
	else if (what < 19)
		console_focus(sim_chance(800) ? some_console(d->entry) : NULL);
	else if (what < 20)
		console_set_background(sim_chance(2));
	else if (d->entry->vm)
		command_vm(d);
	else if (what < 90)
		start(d);
	else
		undefine(d);
}

static void destroy_all(void)
{
	bool drained = true;

	for (unsigned i = 0; i < soak.definitions; i++) {
		struct definition *d = &soak.def[i];

		if (d->entry && d->entry->vm) {
			drained = false;
			if (!d->destroyed_at)
				destroy(d);
		} else if (d->entry) {
			undefine(d);
		}
	}
	soak.drained = drained; /* now only: others look on while this goes on */
}

/* --- every allocation fails once ---------------------------------------------------------------------------------- */

/* A VM with all that a VM can have; what is lent stays where it is, hence peers or a balloon. */
static void configure_all(struct vm_config *c, bool balloon)
{
	const struct boot_file *file = &soak.info.file[1];
	const struct disk_config disks[] = {{.kind = DISK_MEMORY, .size = MIB, .overlay = MIB},
					    {.kind = DISK_OVERLAY, .file = file, .size = 512, .overlay = MIB},
					    {.kind = DISK_READ_ONLY, .file = file, .size = 512}};

	*c = (struct vm_config){.name = "vm0", .protocol = PROTOCOL_FLAT, .kernel = &soak.info.file[0], .cmdline = ""};
	c->vcpus = sched_policy() == &policy_dedicated && cpu_count() < 3 ? cpu_count() : 3;
	c->memory = 5 * MIB;
	c->load_address = c->entry = GUEST_CODE;
	c->weight = CONFIG_WEIGHT_DEFAULT;
	c->cpus = ~0ULL;
	c->kvm = c->rng = c->hypercalls = true;
	c->hvc = CONFIG_MAX_HVC;
	c->balloon = balloon;
	if (!balloon)
		snprintf(c->peer[c->peer_count++], CONFIG_NAME_MAX, "vm1");
	for (unsigned i = 0; i < ARRAY_SIZE(disks); i++)
		c->disk[c->disk_count++] = disks[i];
	while (c->net_count < 2) {
		snprintf(c->net[c->net_count].network, sizeof(c->net->network), "lan%u", c->net_count);
		c->net_count++;
	}
}

/* What must be as it was. */
struct state {
	uint64_t bytes, chunks, vcpus, spaces, alive, timers, waiting;
	const struct vms_entry *first;
};

static struct state state_now(void)
{
	return (struct state){phys_free_bytes(),    phys_free_chunks(), processor_vcpus(),
			      processor_spaces(),   vms_alive(),	pcpu_at(0)->timers.heap.count,
			      sched_peek_waiting(), vms_first()};
}

/* One that failed has said why, and left nothing behind. */
static void check_failed(const char *what, unsigned n, const struct state *before, const char *why)
{
	struct state now = state_now();

	if (!why[0])
		sim_fail("%s without allocation %u: no reason is given", what, n);
	if (memcmp(&now, before, sizeof(now)))
		sim_fail("%s without allocation %u (%s): left %" PRId64 " bytes, %" PRId64 " chunks, %" PRId64
			 " vCPUs, %" PRId64 " spaces, %" PRId64 " VMs, %" PRId64 " timers, %" PRId64 " that wait",
			 what, n, why, before->bytes - now.bytes, before->chunks - now.chunks,
			 now.vcpus - before->vcpus, now.spaces - before->spaces, now.alive - before->alive,
			 now.timers - before->timers, now.waiting - before->waiting);
}

/* Without its first allocation, without its second, ..., until all are there. How many there are. */
static unsigned starve(const char *what, bool (*make)(char *why))
{
	for (unsigned n = 1;; n++) {
		struct state before = state_now();
		char why[CONFIG_ERROR_MAX] = "";
		bool made, failed;

		processor_fail_at(n);
		made = make(why);
		failed = processor_has_failed();
		processor_fail_at(0);
		sim_note("%s without allocation %u: %s", what, n, made ? "done" : why);
		if (made == failed)
			sim_fail("%s without allocation %u: %s", what, n,
				 made ? "it is done all the same" : "that was not all it needs");
		if (made)
			return n - 1;
		check_failed(what, n, &before, why);
	}
}

static bool make_definition(char *why)
{
	struct vm_config c;

	configure_all(&c, soak.balloon);
	soak.def[0].entry = vms_define(&c, why);
	return soak.def[0].entry;
}

static bool make_vm(char *why)
{
	return vms_start(soak.def[0].entry, why) == 0;
}

/* On CPU 0, as the owner's commands. The VM that comes of it is destroyed as any other. */
static void starve_a_vm(void)
{
	unsigned defined = starve("define", make_definition), started = starve("start", make_vm);

	printf("a VM with %s on %u CPUs, %s, APICv %s: %u allocations, each failed once\n",
	       soak.balloon ? "a balloon" : "peers", cpu_count(), sched_policy()->name,
	       virt_features()->apicv ? "on" : "off", defined + started);
	fflush(stdout);
	soak.draining = true;
}

/* CPU 0 is between two guests, or between two entries of one. */
static void check_alive(void)
{
	unsigned count = 0;

	for (unsigned i = 0; i < soak.definitions; i++)
		count += soak.def[i].entry && soak.def[i].entry->vm;
	if (count != vms_alive())
		sim_fail("%u VMs are there, vms_alive says %u", count, vms_alive());
}

static void own(struct work *work)
{
	(void)work;
	check_alive();
	if (soak.draining)
		destroy_all();
	else if (soak.starves)
		starve_a_vm();
	else
		for (uint64_t n = 1 + sim_random(sim_chance(800) ? 1 : 4); n; n--)
			command();
}

static void on_interrupt(void)
{
	if (sim_chance(150) && !soak.draining)
		type_byte(type_ctx, sim_chance(50) ? 0x1d : (uint8_t)sim_random(128));
	else
		work_queue(pcpu_at(0), &owner_work);
}

void log_set_input(void (*input)(void *ctx, uint8_t byte), void *ctx)
{
	type_byte = input;
	type_ctx = ctx;
}

/* --- what must hold ----------------------------------------------------------------------------------------------- */

static unsigned cpus_that_run(const struct vcpu *v)
{
	unsigned count = 0;

	for (unsigned i = 0; i < cpu_count(); i++)
		count += pcpu_at(i)->current == v;
	return count;
}

/* What keeps a vCPU from resting in the state that it is in; NULL: nothing. */
static const char *owes(const struct vm *vm, struct vcpu *v)
{
	uint32_t requests = atomic_load(&v->requests);

	switch (atomic_load(&v->state)) {
	case VCPU_BLOCKED:
		/* One that waits for its SIPI stays as it is when its VM, paused before it began, is paused still. */
		if (!vm_runs(vm) || (vm_is_paused(vm) && v->started))
			return "sleeps, and its VM is paused or ends";
		if (requests)
			return "sleeps, and something is asked of it";
		if (v->started && atomic_load(&v->lapic.posted_any) && vlapic_is_enabled(&v->lapic))
			return "sleeps, and an interrupt has been posted";
		if (v->started && v->lapic.armed && !timer_is_armed(&v->lapic.timer))
			return "sleeps, and its timer went off";
		return NULL;
	case VCPU_PAUSED:
		if (!vm_is_paused(vm))
			return "is paused, and its VM is not";
		return requests & REQUEST_SNAPSHOT ? "is paused, and a snapshot is asked for" : NULL;
	case VCPU_RUNNABLE:
		return "waits for a CPU";
	case VCPU_RUNNING:
		if (sched_policy() != &policy_dedicated && !sched_allowed(&v->sched, sched_cpu_of(v)))
			return "runs where it may not";
		return vm_is_away(vm) ? "runs, and its VM is paused or ends" : NULL;
	case VCPU_GONE:
		return vm_runs(vm) ? "is gone, and its VM runs" : NULL;
	default:
		sim_fail("vm %s: vCPU %u is in state %u", vm->config->name, v->index, v->state);
	}
}

static void check_vcpu(const struct vm *vm, struct vcpu *v, struct watch *w)
{
	const char *what = owes(vm, v);
	unsigned running = cpus_that_run(v);

	if (v->vm != vm || running > 1 || (running && atomic_load(&v->state) != VCPU_RUNNING))
		sim_fail("vm %s: vCPU %u is current on %u CPUs, in state %u", vm->config->name, v->index, running,
			 v->state);
	if (!what)
		w->owing_since = 0;
	else if (!w->owing_since)
		w->owing_since = sim_now();
	else if (sim_now() - w->owing_since > ANSWER_TICKS)
		sim_fail("vm %s: vCPU %u is stuck: it %s, for %" PRIu64 " ms (state %u, requests %#x)",
			 vm->config->name, v->index, what, (sim_now() - w->owing_since) / SIM_MS, v->state,
			 v->requests);
	if (!atomic_load(&v->snapshot_due) || !vm_runs(vm))
		w->snapshot_since = 0;
	else if (w->snapshot_since && sim_now() - w->snapshot_since > ANSWER_TICKS)
		sim_fail("vm %s: vCPU %u did not answer for its snapshot (state %u, requests %#x)", vm->config->name,
			 v->index, v->state, v->requests);
}

/* A VM that has halted for good has no vCPU that an NMI is on its way to. (One that waits for a SIPI keeps it.) */
static void check_halted(const struct vm *vm)
{
	for (unsigned i = 0; atomic_load(&vm->end) == VM_HALTED && i < vm->vcpu_count; i++) {
		const struct vcpu *v = vm->vcpu[i];

		if (v->started && atomic_load(&v->requests) & REQUEST_NMI)
			sim_fail("vm %s: halted for good, and vCPU %u has an NMI to take", vm->config->name, i);
	}
}

static void check_definition(struct definition *d)
{
	struct vm *vm = d->entry->vm;

	if (vm != d->vm) {
		memset(d->watch, 0, sizeof(d->watch));
		d->vm = vm;
	}
	if (!vm) {
		d->destroyed_at = 0;
		return;
	}
	if (d->destroyed_at && sim_now() - d->destroyed_at > LEAVE_TICKS)
		sim_fail("vm %s is stuck: it was destroyed %" PRIu64 " ms ago (%s, %u vCPUs not left)", d->name,
			 (sim_now() - d->destroyed_at) / SIM_MS, vms_state(d->entry), vm->running);
	check_halted(vm);
	for (unsigned i = 0; i < vm->vcpu_count; i++)
		check_vcpu(vm, vm->vcpu[i], &d->watch[i]);
}

static void look(void)
{
	for (unsigned i = 0; i < soak.definitions; i++)
		if (soak.def[i].entry)
			check_definition(&soak.def[i]);
	walker_look();
	if (sim_chance(soak.draining ? 20 : 80))
		sim_interrupt();
	if (!soak.draining && soak.commands >= soak.most_commands) {
		sim_note("the end: all are destroyed and forgotten");
		soak.draining = true;
		sim_interrupt();
	}
}

/* What was typed for a VM that is gone is thrown away when the console tries again, which takes its timer. */
static bool over(void)
{
	if (!soak.drained || vms_alive())
		soak.gone_at = 0;
	else if (!soak.gone_at)
		soak.gone_at = sim_now();
	return soak.gone_at && sim_now() - soak.gone_at > TYPED_TICKS;
}

static void asleep(void)
{
	sim_interrupt();
}

/* --- an episode --------------------------------------------------------------------------------------------------- */

static void check_nothing_is_left(void)
{
	if (phys_free_bytes() != soak.free_at_start)
		sim_fail("%" PRId64 " bytes of memory are missing", (int64_t)(soak.free_at_start - phys_free_bytes()));
	if (processor_vcpus() || processor_spaces())
		sim_fail("%u vCPUs and %u spaces are left", processor_vcpus(), processor_spaces());
	if (vms_first())
		sim_fail("vm %s is still defined", vms_first()->config.name);
	if (sched_peek_waiting())
		sim_fail("%u vCPUs are left in the scheduler's queues", sched_peek_waiting());
	for (unsigned i = 0; i < cpu_count(); i++) {
		const struct pcpu *p = pcpu_at(i);

		if (p->timers.heap.count > timer_is_armed(&p->slice))
			sim_fail("CPU %u: %u timers are left", i, p->timers.heap.count);
		if (atomic_load(&p->work) && atomic_load(&p->work) != &owner_work)
			sim_fail("CPU %u: work is left", i);
	}
}

static void no_shell(void) {}
static void no_shell_type(uint8_t byte)
{
	(void)byte;
}

static void prepare(uint64_t seed)
{
	static const struct sim_owner owner = {on_interrupt, look, over, asleep};
	static const struct console_shell shell = {no_shell_type, no_shell, no_shell};
	static const struct sched_ops *const policy[] = {&policy_share, &policy_rr, &policy_dedicated};
	unsigned cpus, which;

	sim_init(seed, 1, &owner); /* for the first draws */
	cpus = 1 + (unsigned)sim_random(SIM_CPUS);
	which = (unsigned)sim_random(4) % 3;
	sim_init(seed, cpus, &owner);
	sim_note("seed %" PRIu64 ": %u CPUs, scheduler %s", seed, cpus, policy[which]->name);
	make_memory();
	processor_init();
	msr_init();
	pcpu_init(cpus);
	sched_init(policy[which], cpus, SIM_MS);
	run_init();
	console_init(&shell, true);
	vms_init(&soak.info, true);
	if (sim_chance(200) && trace_start())
		sim_fail("no memory for traces");
	soak.definitions = 1 + (unsigned)sim_random(DEFINITIONS);
	soak.most_commands = COMMANDS / 10 + (unsigned)sim_random(COMMANDS * 19 / 10);
	owner_work.run = own;
	for (unsigned i = 0; i < DEFINITIONS; i++)
		snprintf(soak.def[i].name, sizeof(soak.def[i].name), "vm%u", i);
	soak.free_at_start = phys_free_bytes();
}

void lifecycle_starve(uint64_t seed)
{
	prepare(seed);
	soak.definitions = 1;
	soak.starves = true;
	soak.balloon = seed & 1;
	sim_run();
	check_nothing_is_left();
}

void lifecycle_run(uint64_t seed, struct lifecycle_totals *totals)
{
	prepare(seed);
	sim_run();
	check_nothing_is_left();
	printf("seed %" PRIu64 ": %u CPUs, %s, %u commands, %u VMs started, %u refused, %" PRIu64 " entries, %" PRIu64
	       " ms\n",
	       seed, cpu_count(), sched_policy()->name, soak.commands, soak.started, soak.refused, processor_entries(),
	       sim_now() / SIM_MS);
	fflush(stdout);
	totals->commands += soak.commands;
	totals->started += soak.started;
	totals->refused += soak.refused;
	totals->killed += sim_killed();
	totals->without_memory += processor_refusals();
	totals->entries += processor_entries();
}
