/*
 * Flat images: bytes copied to one address and entered in the mode that vireo.conf asks for. A boot sector is the usual
 * one: 0x7C00 in real mode, DL = 0x80 as a BIOS has it for the first disk. Called by hv/vm; low addresses are in
 * tables.h.
 *
 * Not handled: BIOS services. INT 10h and friends lead through an empty vector table unless the VM provides one.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/load/load.h"
#include "hv/load/tables.h"

#define BIOS_FIRST_DISK 0x80
#define CR0_CD_NW	(BIT(30) | BIT(29))

/* Protected and long mode begin with tables of ours in low memory; the image must not lie on them. */
static int check_tables(const struct load_request *req, char *error)
{
	if (req->mode == MODE_REAL)
		return 0;
	if (ranges_overlap(req->load_address, req->kernel.size, LOW_PAGE_TABLES, LOW_GDT + PAGE_SIZE - LOW_PAGE_TABLES))
		return load_complain(
		    error, &req->kernel,
		    "load: found 0x%llx, %llu bytes, expected them outside of 0x%x to 0x%llx, where page tables and "
		    "GDT are",
		    (unsigned long long)req->load_address, (unsigned long long)req->kernel.size, LOW_PAGE_TABLES,
		    LOW_GDT + PAGE_SIZE);
	return 0;
}

static int check_addresses(const struct load_request *req, char *error)
{
	uint64_t limit = req->mode == MODE_REAL ? MIB : 4 * GIB;

	if (!req->kernel.size)
		return load_complain(error, &req->kernel, "found 0 bytes, expected an image");
	if (req->entry >= limit)
		return load_complain(error, &req->kernel,
				     "entry: found 0x%llx, expected an address below 0x%llx in this mode",
				     (unsigned long long)req->entry, (unsigned long long)limit);
	if (req->entry < req->load_address || req->entry - req->load_address >= req->kernel.size)
		return load_complain(error, &req->kernel,
				     "entry: found 0x%llx, expected one of the image's %llu bytes from 0x%llx on",
				     (unsigned long long)req->entry, (unsigned long long)req->kernel.size,
				     (unsigned long long)req->load_address);
	return check_tables(req, error);
}

/* CS is 0 as far as IP reaches: boot sectors expect 0000:7C00. Caches are on, as a BIOS leaves them. */
static void set_real(const struct load_request *req, struct cpu_state *state)
{
	cpu_state_reset(state, 0);
	state->cr0 &= ~CR0_CD_NW;
	state->rip = req->entry & 0xffff;
	state->seg[SEG_CS].base = req->entry & 0xf0000;
	state->seg[SEG_CS].selector = (uint16_t)(state->seg[SEG_CS].base >> 4);
	state->reg[REG_RDX] = BIOS_FIRST_DISK;
	state->reg[REG_RSP] = LOW_STACK_REAL;
}

static int set_protected_or_long(const struct load_request *req, const struct guest_mem *mem, struct cpu_state *state,
				 char *error)
{
	if (req->mode == MODE_LONG)
		cpu_state_long(state);
	else
		cpu_state_protected(state);
	state->rip = req->entry;
	state->reg[REG_RSP] = LOW_STACK;
	if ((req->mode == MODE_LONG && load_page_tables(mem, state)) || load_gdt(mem, state))
		return load_complain(error, &req->kernel, "page tables, GDT: found no memory at 0x%x", LOW_PAGE_TABLES);
	return 0;
}

int load_flat(const struct load_request *req, const struct guest_mem *mem, struct cpu_state *state,
	      char error[LOAD_ERROR_MAX])
{
	int err = check_addresses(req, error);

	if (err)
		return err;
	if (guest_write(mem, GPA(req->load_address), req->kernel.data, req->kernel.size))
		return load_complain(error, &req->kernel,
				     "load: found %llu bytes for 0x%llx, expected them inside the VM's memory",
				     (unsigned long long)req->kernel.size, (unsigned long long)req->load_address);
	if (req->mode != MODE_REAL)
		return set_protected_or_long(req, mem, state, error);
	set_real(req, state);
	return 0;
}
