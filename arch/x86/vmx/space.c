/* Guest-physical memory for hv/: the EPT builder with this machine's capabilities, MTRRs and pages. */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/insn.h"
#include "arch/x86/memory.h"
#include "arch/x86/vmx/vmx.h"

static hpa_t take_page(void *ctx)
{
	struct virt_space *space = ctx;
	hpa_t page = vmx.pages.alloc();

	if (!hpa_is_none(page))
		space->pages++;
	return page;
}

static void give_page(void *ctx, hpa_t page)
{
	struct virt_space *space = ctx;

	space->pages--;
	vmx.pages.free(page);
}

struct virt_space *virt_space_create(void)
{
	hpa_t page = vmx.pages.alloc();
	struct virt_space *space;
	struct ept_pages pages = {take_page, give_page, NULL};

	if (hpa_is_none(page))
		return NULL;
	space = phys_to_virt(page);
	space->pages = 1;
	pages.ctx = space;
	if (ept_init(&space->ept, &pages, vmx.caps.ept_vpid, vmx.caps.physical_bits, false)) {
		vmx.pages.free(page);
		return NULL;
	}
	return space;
}

void virt_space_destroy(struct virt_space *space)
{
	ept_destroy(&space->ept);
	vmx.pages.free(virt_to_phys(space));
}

int virt_space_map(struct virt_space *space, gpa_t gpa, hpa_t hpa, uint64_t size, unsigned rights)
{
	return ept_map(&space->ept, gpa, hpa, size, rights, &vmx.mtrr);
}

int virt_space_protect(struct virt_space *space, gpa_t gpa, uint64_t size, unsigned rights)
{
	return ept_protect(&space->ept, gpa, size, rights);
}

uint64_t virt_space_overhead(const struct virt_space *space)
{
	return space->pages * PAGE_SIZE;
}

/* Single-context INVEPT where there is one, else all contexts (SDM Vol. 3C 29.4.3.1). */
void virt_space_flush(const struct virt_space *space)
{
	struct {
		uint64_t eptp, zero;
	} descriptor = {ept_pointer(&space->ept), 0};
	uint64_t type = vmx.caps.ept_vpid & VMX_EPT_INVEPT_SINGLE ? 1 : 2;

	if (vmx.caps.ept_vpid & VMX_EPT_INVEPT)
		__asm__ volatile("invept %0, %1" : : "m"(descriptor), "r"(type) : "memory", "cc");
}
