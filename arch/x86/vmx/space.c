/* Guest-physical memory for hv/: the EPT builder with this machine's capabilities, MTRRs and pages. */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/insn.h"
#include "arch/x86/memory.h"
#include "arch/x86/vmx/instructions.h"
#include "arch/x86/vmx/vmx.h"

static uint64_t *link_of(hpa_t page)
{
	return phys_to_virt(page);
}

/* Lists end with frame 0, which nobody has: to a processor that still walks a lost table its link is an absent entry.
 */
#define LIST_END HPA(0)

static void list_push(hpa_t *list, hpa_t page)
{
	*link_of(page) = list->value;
	*list = page;
}

/* LIST_END: there is none. */
static hpa_t list_pop(hpa_t *list)
{
	hpa_t page = *list;

	if (page.value) {
		*list = HPA(*link_of(page));
		*link_of(page) = 0;
	}
	return page;
}

static hpa_t take_page(void *ctx)
{
	struct virt_space *space = ctx;
	hpa_t page = list_pop(&space->spare);

	if (page.value)
		return page;
	if (!space->promised)
		return vmx.pages.alloc();
	space->promised--;
	return vmx.pages.take();
}

/* It holds no entry any more, so it is zero. When nobody walks it any more it is kept for the next table. */
static void give_page(void *ctx, hpa_t page)
{
	struct virt_space *space = ctx;

	list_push(&space->lost, page);
}

void virt_space_settle(struct virt_space *space)
{
	while (space->lost.value)
		list_push(&space->spare, list_pop(&space->lost));
}

static void drop_pages(struct virt_space *space)
{
	virt_space_settle(space);
	while (space->spare.value)
		vmx.pages.free(list_pop(&space->spare));
	vmx.pages.release(space->promised);
}

/* The number is never used again, so a vCPU that has flushed for it has flushed for this space and no other. */
static void new_generation(struct virt_space *space)
{
	static _Atomic uint64_t last;

	atomic_store(&space->generation, atomic_fetch_add(&last, 1) + 1);
}

struct virt_space *virt_space_create(uint64_t size, uint64_t more)
{
	uint64_t tables = ept_tables_for(size) + more;
	hpa_t page = vmx.pages.alloc();
	struct virt_space *space;
	struct ept_pages pages = {take_page, give_page, NULL};

	if (hpa_is_none(page))
		return NULL;
	if (vmx.pages.promise(tables)) {
		vmx.pages.free(page);
		return NULL;
	}
	space = phys_to_virt(page);
	space->spare = space->lost = LIST_END;
	space->promised = tables;
	new_generation(space);
	space->number = atomic_load(&space->generation);
	pages.ctx = space;
	if (ept_init(&space->ept, &pages, vmx.caps.ept_vpid, vmx.caps.physical_bits, false)) {
		drop_pages(space);
		vmx.pages.free(page);
		return NULL;
	}
	space->ept.code_in_pages = vmx.features.code_in_pages;
	return space;
}

void virt_space_destroy(struct virt_space *space)
{
	ept_destroy(&space->ept);
	drop_pages(space);
	vmx.pages.free(virt_to_phys(space));
}

int virt_space_map(struct virt_space *space, gpa_t gpa, hpa_t hpa, uint64_t size, unsigned rights)
{
	return ept_map(&space->ept, gpa, hpa, size, rights, &vmx.mtrr);
}

int virt_space_unmap(struct virt_space *space, gpa_t gpa, uint64_t size)
{
	int err = ept_unmap(&space->ept, gpa, size);

	new_generation(space);
	return err;
}

int virt_space_clear(struct virt_space *space, gpa_t gpa, uint64_t size)
{
	int err = ept_clear(&space->ept, gpa, size);

	new_generation(space);
	return err;
}

uint64_t virt_space_generation(const struct virt_space *space)
{
	return atomic_load(&space->generation);
}

int virt_space_protect(struct virt_space *space, gpa_t gpa, uint64_t size, unsigned rights)
{
	int err = ept_protect(&space->ept, gpa, size, rights);

	new_generation(space);
	return err;
}

int virt_space_allow_code(struct virt_space *space, gpa_t gpa)
{
	return ept_allow_code(&space->ept, gpa);
}

int virt_space_redirect(struct virt_space *space, gpa_t gpa, uint64_t size, hpa_t hpa, unsigned rights)
{
	int err = ept_redirect(&space->ept, gpa, size, hpa, rights, &vmx.mtrr);

	new_generation(space);
	return err;
}

/* Single-context INVEPT where there is one, else all contexts (SDM Vol. 3C 29.4.3.1). */
NOINLINE void virt_space_flush(const struct virt_space *space)
{
	uint64_t type = vmx.caps.ept_vpid & VMX_EPT_INVEPT_SINGLE ? INVEPT_SINGLE : INVEPT_ALL;

	if (vmx.caps.ept_vpid & VMX_EPT_INVEPT)
		invept(type, ept_pointer(&space->ept));
}
