/* The memory of a VM: which guest-physical addresses are RAM, and what the guest sees of it; see vm_memory.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/vm_memory.h"

#include "hv/lib/panic.h"
#include "hv/lib/printf.h"
#include "hv/log.h"
#include "hv/pc_map.h"
#include "hv/pcpu.h"
#include "hv/phys.h"

#define LOW_RAM_MAX ((uint64_t)PC_HOLE) /* RAM below the device registers under 4 GiB */
#define BASE_RAM    0xa0000ULL
#define ROM_AREA    0xc0000ULL /* to 1 MiB: tables; what a BIOS would have shadowed */

#define IOAPIC_TABLES 1 /* page tables for its page; the directory is that of the local APIC's */

uint64_t vm_memory_low(const struct vm *vm)
{
	return vm->config->memory < LOW_RAM_MAX ? vm->config->memory : LOW_RAM_MAX;
}

/* Text memory is read-only until it is written to: that is how its mirror knows when to look. */
static unsigned rights_of(const struct guest_region *r)
{
	return r->gpa == PC_VGA_TEXT ? VIRT_READ | VIRT_EXEC : VIRT_RWX;
}

/* RAM is counted without the device registers' hole below 4 GiB, which is a multiple of what is filled at a time. */
static uint64_t ram_offset(uint64_t gpa)
{
	return gpa < 4 * GIB ? gpa : gpa - (4 * GIB - LOW_RAM_MAX);
}

static uint64_t ram_address(uint64_t offset)
{
	return offset < LOW_RAM_MAX ? offset : offset + (4 * GIB - LOW_RAM_MAX);
}

static uint8_t *reach_ram(void *backing, uint64_t gpa, uint64_t *before, uint64_t *left)
{
	return guest_ram_reach(backing, ram_offset(gpa), before, left);
}

static uint8_t *look_at_ram(void *backing, uint64_t gpa, uint64_t *before, uint64_t *left)
{
	return guest_ram_look(backing, ram_offset(gpa), before, left);
}

/* The part of region r that lies in [gpa, gpa + *size): its address, and its size. 0 in *size: none. */
static uint64_t part_of(const struct guest_region *r, uint64_t gpa, uint64_t *size)
{
	uint64_t from = r->gpa > gpa ? r->gpa : gpa;
	uint64_t end = r->gpa + r->size < gpa + *size ? r->gpa + r->size : gpa + *size;

	*size = from < end ? end - from : 0;
	return from;
}

/*
 * RAM that has just been filled becomes visible to the guest where it has addresses for it. All that is filled at a
 * time lies in one region, or reaches over its end at most: this is one range, mapped or not. Page tables have been
 * promised for all of RAM (more_tables); only a chunk of mixed memory types may need one more.
 */
static int show_ram(void *ctx, uint64_t offset, uint64_t size, hpa_t hpa)
{
	struct vm *vm = ctx;
	uint64_t gpa = ram_address(offset);
	int err = 0;

	for (unsigned i = 0; i < vm->mem.count && !err; i++) {
		uint64_t n = size, from = part_of(&vm->mem.region[i], gpa, &n);

		if (n)
			err = virt_space_map(vm->space, GPA(from), HPA(hpa.value + (from - gpa)), n,
					     rights_of(&vm->mem.region[i]));
	}
	if (err)
		log_error("vm %s: no memory for its page tables", vm->config->name);
	return err;
}

static int hide_ram(void *ctx, uint64_t offset, uint64_t size)
{
	struct vm *vm = ctx;
	gpa_t gpa = GPA(ram_address(offset));

	return size == PAGE_SIZE ? virt_space_clear(vm->space, gpa, size) : virt_space_unmap(vm->space, gpa, size);
}

static void settle_ram(void *ctx)
{
	virt_space_settle(((struct vm *)ctx)->space);
}

static const struct guest_ram_view ram_view = {show_ram, hide_ram, settle_ram};

/* The next part of [*gpa, end) that is RAM, which *gpa is put behind. False: there is none. */
static bool next_ram(const struct vm *vm, uint64_t *gpa, uint64_t end, uint64_t *offset, uint64_t *size)
{
	for (unsigned i = 0; i < vm->mem.count; i++) { /* by address */
		uint64_t n = end - *gpa, from = part_of(&vm->mem.region[i], *gpa, &n);

		if (!n || !vm->mem.region[i].ram)
			continue;
		*offset = ram_offset(from);
		*size = n;
		*gpa = from + n;
		return true;
	}
	return false;
}

void vm_memory_give(struct vm *vm, gpa_t gpa, uint64_t size, struct guest_ram_batch *batch)
{
	uint64_t at = gpa.value, end = at + size, offset, n;

	while (next_ram(vm, &at, end, &offset, &n))
		guest_ram_give(&vm->ram, offset, n, batch);
}

int vm_memory_want(struct vm *vm, gpa_t gpa, uint64_t size)
{
	uint64_t at = gpa.value, end = at + size, offset, n;
	int err = 0;

	while (!err && next_ram(vm, &at, end, &offset, &n))
		err = guest_ram_want(&vm->ram, offset, n);
	return err;
}

void vm_memory_discard(struct vm *vm, gpa_t gpa, struct guest_ram_batch *batch)
{
	uint64_t at = gpa.value, offset, n;

	if (next_ram(vm, &at, at + GUEST_MEM_CHUNK, &offset, &n) && n == GUEST_MEM_CHUNK)
		guest_ram_discard(&vm->ram, offset, batch);
}

hpa_t vm_memory_find(struct vm *vm, gpa_t gpa)
{
	return guest_ram_find(&vm->ram, ram_offset(gpa.value));
}

int vm_memory_allow_code(struct vm *vm, gpa_t gpa)
{
	int err;

	spin_lock(&vm->ram.lock);
	err = virt_space_allow_code(vm->space, gpa);
	spin_unlock(&vm->ram.lock);
	return err;
}

void vm_memory_reset(struct vm *vm)
{
	for (unsigned i = 0; i < vm->mem.count; i++)
		if (virt_space_unmap(vm->space, GPA(vm->mem.region[i].gpa), vm->mem.region[i].size))
			panic("vm %s: memory can't be unmapped", vm->config->name);
	virt_space_settle(vm->space);
	pcpu_close_window(&vm->ram.window);
	guest_ram_reset(&vm->ram);
}

static int add_memory(struct vm *vm, uint64_t gpa, uint64_t size, bool ram)
{
	struct guest_region region = {.gpa = gpa, .size = size, .ram = ram};

	return guest_mem_add(&vm->mem, &region);
}

static int map_memory(struct vm *vm)
{
	uint64_t high = vm->config->memory - vm_memory_low(vm);
	int err;

	vm->mem.reach = reach_ram;
	vm->mem.look = look_at_ram;
	vm->mem.backing = &vm->ram;
	if ((err = add_memory(vm, 0, BASE_RAM, true)) || (err = add_memory(vm, PC_VGA_TEXT, PC_VGA_TEXT_SIZE, false)) ||
	    (err = add_memory(vm, ROM_AREA, MIB - ROM_AREA, false)))
		return err;
	if (vm_memory_low(vm) > MIB && (err = add_memory(vm, MIB, vm_memory_low(vm) - MIB, true)))
		return err;
	return high ? add_memory(vm, 4 * GIB, high, true) : 0;
}

/* The APICs' pages are no RAM: they are in the guest's space, but not in vm->mem, where its devices look for memory. */
static int map_apics(struct vm *vm)
{
	int err = virt_space_map(vm->space, GPA(PC_IOAPIC_ADDRESS), vm->ioapic_page, PAGE_SIZE, VIRT_READ);

	/* The page at which the processor virtualises the local APIC; without APICv accesses there must exit. */
	if (err || !virt_features()->apicv)
		return err;
	return virt_space_map(vm->space, GPA(PC_LAPIC_ADDRESS), vm->apic_access, PAGE_SIZE, VIRT_READ | VIRT_WRITE);
}

/* Page tables for what RAM in large leaves does not take. The first chunk is always shown in pages, and has its own. */
static uint64_t more_tables(const struct vm_config *c)
{
	bool in_pages = c->balloon || virt_features()->code_in_pages;

	return IOAPIC_TABLES + (c->peer_count ? PC_SHARED_TABLES : 0) +
	       (in_pages ? guest_ram_cost(c->memory) / PHYS_CHUNK - 1 : 0);
}

int vm_memory_create(struct vm *vm, char *why, size_t size)
{
	int err = guest_ram_create(&vm->ram, vm->config->memory, vm->config->balloon, &ram_view, vm);

	if (err == -E_EXIST) {
		snprintf(why, size, "there are %d VMs, which is as many as there can be at a time", WINDOWS);
		return -E_EXIST;
	}
	if (err) {
		snprintf(why, size,
			 "memory: found %llu MiB, expected at most %llu MiB, what is free in whole chunks of 2 MiB",
			 (unsigned long long)(vm->config->memory / MIB),
			 (unsigned long long)(phys_free_chunks() * PHYS_CHUNK / MIB));
		return -E_NOMEM;
	}
	vm->apic_access = phys_alloc(1, 1);
	vm->ioapic_page = phys_alloc(1, 1);
	vm->space = virt_space_create(vm->config->memory, more_tables(vm->config));
	if (hpa_is_none(vm->apic_access) || hpa_is_none(vm->ioapic_page) || !vm->space || map_memory(vm) ||
	    map_apics(vm)) {
		snprintf(why, size, "no memory for the VM's page tables");
		return -E_NOMEM;
	}
	return 0;
}

void vm_memory_destroy(struct vm *vm)
{
	if (vm->space)
		virt_space_destroy(vm->space);
	if (!hpa_is_none(vm->apic_access))
		phys_free(vm->apic_access, 1);
	if (!hpa_is_none(vm->ioapic_page))
		phys_free(vm->ioapic_page, 1);
	if (vm->ram.window.entry)
		pcpu_close_window(&vm->ram.window);
	guest_ram_destroy(&vm->ram);
}
