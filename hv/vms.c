/* Definitions of VMs and what became of them; see vms.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/vms.h"

#include "arch/x86/cpu.h"
#include "arch/x86/memory.h"
#include "hv/clock.h"
#include "hv/guest_ram.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"
#include "hv/log.h"
#include "hv/phys.h"
#include "hv/report.h"
#include "hv/sched/sched.h"
#include "hv/totals.h"

typedef unsigned long long ull;

static RO_AFTER_INIT const struct boot_info *boot_info;
static struct vms_entry *first, *last;
static unsigned alive, next_id = 1;
static RO_AFTER_INIT bool can_run;

void vms_init(const struct boot_info *info, bool runnable)
{
	boot_info = info;
	can_run = runnable;
}

struct vms_entry *vms_first(void)
{
	return first;
}

struct vms_entry *vms_find(const char *name)
{
	for (struct vms_entry *e = first; e; e = e->next)
		if (!strcmp(e->config.name, name))
			return e;
	return NULL;
}

/* A command line that is somebody else's becomes the entry's own. */
static int keep_cmdline(struct vms_entry *e, struct vm_config *config, char why[CONFIG_ERROR_MAX])
{
	size_t size = strlen(config->cmdline) + 1;

	if (size > VMS_CMDLINE_MAX) {
		snprintf(why, CONFIG_ERROR_MAX, "vm %s: cmdline: found %zu characters, expected at most %d",
			 config->name, size - 1, VMS_CMDLINE_MAX - 1);
		return -E_NOMEM;
	}
	memmove(e->cmdline, config->cmdline, size);
	config->cmdline = e->cmdline;
	return 0;
}

struct vms_entry *vms_define(const struct vm_config *config, char why[CONFIG_ERROR_MAX])
{
	struct vms_entry *e;
	hpa_t page;

	if (vms_find(config->name)) {
		snprintf(why, CONFIG_ERROR_MAX, "vm %s: found a VM of that name, expected another name", config->name);
		return NULL;
	}
	page = phys_alloc(phys_pages(sizeof(struct vms_entry)), 1);
	if (hpa_is_none(page)) {
		snprintf(why, CONFIG_ERROR_MAX, "vm %s: no memory for its definition", config->name);
		return NULL;
	}
	e = memset(phys_to_virt(page), 0, sizeof(*e));
	e->id = next_id++;
	e->config = *config;
	config_number_nets(&e->config, e->id);
	if (!config->line && keep_cmdline(e, &e->config, why)) { /* not out of vireo.conf */
		phys_free(page, phys_pages(sizeof(struct vms_entry)));
		return NULL;
	}
	console_init_vm(&e->console, e->config.name, "com1");
	if (last)
		last->next = e;
	else
		first = e;
	last = e;
	return e;
}

static void destroy_disks(struct vms_entry *e)
{
	for (unsigned i = 0; i < CONFIG_MAX_DISKS; i++)
		disk_destroy(e->disk[i]);
	memset(e->disk, 0, sizeof(e->disk));
}

/* Those beside the PC's that are not there yet. */
static int create_consoles(struct vms_entry *e, char why[CONFIG_ERROR_MAX])
{
	static const char *const label[CONFIG_MAX_HVC] = {"hvc0", "hvc1"};

	for (unsigned i = 0; i < ARRAY_SIZE(label) && i < e->config.hvc; i++) {
		hpa_t page;

		if (vms_console(e, label[i]))
			continue;
		page = phys_alloc(phys_pages(sizeof(struct vm_console)), 1);
		if (hpa_is_none(page)) {
			snprintf(why, CONFIG_ERROR_MAX, "no memory for console %s", label[i]);
			return -E_NOMEM;
		}
		console_add(&e->console, phys_to_virt(page), e->config.name, label[i]);
	}
	return 0;
}

static struct vm_console *last_console(struct vms_entry *e)
{
	struct vm_console *c = &e->console;

	while (c->next)
		c = c->next;
	return c;
}

/* Those behind one that stays. */
static void destroy_consoles(struct vm_console *stays)
{
	struct vm_console *c;

	while ((c = stays->next) != NULL) {
		stays->next = c->next;
		console_forget(c);
		phys_free(virt_to_phys(c), phys_pages(sizeof(struct vm_console)));
	}
}

struct vm_console *vms_console(struct vms_entry *entry, const char *label)
{
	for (struct vm_console *c = &entry->console; c; c = c->next)
		if (!strcmp(c->label, label))
			return c;
	return NULL;
}

int vms_undefine(struct vms_entry *entry)
{
	struct vms_entry **link = &first, *before = NULL;

	if (entry->vm)
		return -E_EXIST;
	for (; *link != entry; link = &(*link)->next)
		before = *link;
	*link = entry->next;
	if (last == entry)
		last = before;
	destroy_consoles(&entry->console);
	console_forget(&entry->console);
	destroy_disks(entry);
	phys_free(virt_to_phys(entry), phys_pages(sizeof(struct vms_entry)));
	return 0;
}

static bool has_cpus(const struct vm_config *c, char why[CONFIG_ERROR_MAX])
{
	unsigned count = cpu_count();
	uint64_t present = count >= 64 ? ~0ULL : BIT(count) - 1;

	if (c->cpus & present)
		return true;
	snprintf(why, CONFIG_ERROR_MAX, "cpus: found none of this machine's, expected some of 0 to %u", count - 1);
	return false;
}

/* A disk that is written in place is nobody else's. */
static bool files_are_free(const struct vms_entry *entry, const struct vm_config *changed, char why[CONFIG_ERROR_MAX])
{
	for (struct vms_entry *e = first; e; e = e->next)
		if (e != entry && config_check_files(changed, &e->config, why))
			return false;
	return true;
}

int vms_set(struct vms_entry *entry, const char *key, const char *value, char why[CONFIG_ERROR_MAX])
{
	struct vm_config changed = entry->config;
	int err = config_set(&changed, boot_info, key, value, why);

	if (err)
		return err;
	if (!has_cpus(&changed, why) ||
	    !files_are_free(entry, &changed, why)) /* without CPUs a VM could not even end */
		return -E_INVAL;
	if (changed.cmdline == value && keep_cmdline(entry, &changed, why))
		return -E_NOMEM;
	entry->config = changed;
	if (entry->vm) {
		sched_group_set(&entry->vm->sched, changed.weight, changed.cap, changed.cpus);
		sched_vm_changed(entry->vm);
	}
	return 0;
}

static struct vms_entry *entry_of(const struct vm *vm)
{
	return CONTAINER_OF(vm->config, struct vms_entry, made_by);
}

/* vm->ended: all its vCPUs have left for good. */
static void on_ended(struct vm *vm)
{
	struct vms_entry *e = entry_of(vm);
	struct totals sum;

	e->end = (enum vm_end)atomic_load(&vm->end);
	e->end_code = vm->end_code;
	totals_of(vm, &sum);
	e->ticks_before += sum.ticks;
	e->exits_before += sum.exits;
	e->vm = NULL;
	console_vm_ends(&e->console);
	vm_destroy(vm);
	alive--;
	if (!alive && e->end != VM_DESTROYED)
		log_info("vireo: all guests have ended");
}

/* The settings as they are now, for a VM to keep. */
static const struct vm_config *freeze_settings(struct vms_entry *e)
{
	e->made_by = e->config;
	if (e->config.cmdline == e->cmdline) {
		memcpy(e->made_cmdline, e->cmdline, sizeof(e->made_cmdline));
		e->made_by.cmdline = e->made_cmdline;
	}
	return &e->made_by;
}

static struct disk *create_disk(const struct disk_config *c)
{
	struct disk_setup setup = {
	    .base = c->file ? phys_to_virt(HPA(c->file->hpa)) : NULL,
	    .base_size = c->file ? c->file->size : 0,
	    .size = c->size,
	    .writable = c->overlay,
	    .read_only = c->kind == DISK_READ_ONLY,
	    .serial = c->serial,
	};

	return disk_create(&setup);
}

/* Those that are not there yet. */
static int create_disks(struct vms_entry *e, char why[CONFIG_ERROR_MAX])
{
	for (unsigned i = 0; i < e->config.disk_count; i++) {
		if (!e->disk[i])
			e->disk[i] = create_disk(&e->config.disk[i]);
		if (!e->disk[i]) {
			snprintf(why, CONFIG_ERROR_MAX,
				 "disk %u: no memory for what can be changed of it; %llu MiB are free in whole chunks",
				 i, (ull)(phys_free_chunks() * PHYS_CHUNK / MIB));
			return -E_NOMEM;
		}
	}
	return 0;
}

static struct vm *create_vm(struct vms_entry *e, const struct vm_config *c, char why[CONFIG_ERROR_MAX])
{
	uint64_t free = phys_free_bytes(), from = clock_now();
	struct vm *vm = vm_create(c, &e->console, e->disk, on_ended, why, CONFIG_ERROR_MAX);

	if (vm)
		log_info("vm %s: created in %llu ticks; %llu KiB beside its %llu MiB of memory", c->name,
			 (ull)(clock_now() - from), (ull)((free - phys_free_bytes() - guest_ram_cost(c->memory)) / KIB),
			 (ull)(c->memory / MIB));
	return vm;
}

int vms_start(struct vms_entry *entry, char why[CONFIG_ERROR_MAX])
{
	const struct vm_config *c = freeze_settings(entry);
	struct vm_console *kept = last_console(entry);
	struct vm *vm = NULL;

	if (!can_run) {
		snprintf(why, CONFIG_ERROR_MAX, "this machine can't run guests; `dmesg` says why");
		return -E_NOTSUP;
	}
	if (!has_cpus(c, why))
		return -E_INVAL;
	if (create_consoles(entry, why) == 0 && create_disks(entry, why) == 0)
		vm = create_vm(entry, c, why);
	if (!vm) {
		destroy_consoles(kept);
		if (!entry->ran) /* disks that it never ran with are not kept */
			destroy_disks(entry);
		return -E_INVAL;
	}
	entry->vm = vm;
	entry->ran = true;
	alive++;
	console_vm_starts(&entry->console, vm);
	vm_start(vm);
	return 0;
}

unsigned vms_alive(void)
{
	return alive;
}

const char *vms_state(const struct vms_entry *entry)
{
	static const char *const ended[] = {
	    [VM_POWERED_OFF] = "shut off", [VM_RESTARTS] = "crashed", [VM_DEBUG_EXIT] = "exited",
	    [VM_HALTED] = "halted",	   [VM_KILLED] = "crashed",   [VM_DESTROYED] = "destroyed",
	};

	if (!entry->vm)
		return entry->ran ? ended[entry->end] : "shut off";
	if (atomic_load(&entry->vm->end) == VM_RESTARTS)
		return "restarting";
	if (!vm_runs(entry->vm))
		return "ending";
	return vm_is_paused(entry->vm) ? "paused" : "running";
}

uint64_t vms_guest_bytes(void)
{
	uint64_t bytes = 0;

	for (struct vms_entry *e = first; e; e = e->next)
		if (e->vm)
			bytes += guest_ram_cost(e->made_by.memory) - guest_ram_away(&e->vm->ram);
	return bytes;
}
