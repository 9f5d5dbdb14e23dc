/* Guest memory by linear address; see guest_walk.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/guest_walk.h"

#include "arch/x86/insn.h"
#include "hv/vm.h"

static int read_table(void *ctx, gpa_t from, void *to, size_t size)
{
	const struct vm *vm = ctx;

	return guest_read(&vm->mem, from, to, size);
}

void guest_walk_mode(const struct vcpu *v, struct walk_mode *mode)
{
	*mode = (struct walk_mode){
	    .cr0 = virt_cr0(),
	    .cr3 = virt_cr3(),
	    .cr4 = virt_cr4(),
	    .efer = virt_efer(),
	    .alignment_check = virt_rflags() & RFLAGS_AC,
	    .phys_bits = v->vm->apic_bus.phys_bits,
	};
	if (mode->cr4 & CR4_PKE)
		mode->pkru = virt_pkru();
	if ((mode->cr4 & CR4_PAE) && !(mode->efer & EFER_LMA))
		virt_get_pdptes(mode->pdpte);
}

static int translate(struct vcpu *v, gva_t address, unsigned access, gpa_t *gpa, uint32_t *fault)
{
	struct walk_mode mode;
	struct walk_result result;
	int err;

	guest_walk_mode(v, &mode);
	if (virt_cpl() == 3)
		access |= WALK_USER;
	err = walk_guest(&mode, address, access, read_table, v->vm, &result);
	*fault = err == -E_FAULT ? result.error : 0;
	*gpa = result.gpa;
	return err;
}

int guest_translate(struct vcpu *v, gva_t address, bool write, gpa_t *gpa, uint32_t *fault)
{
	return translate(v, address, write ? WALK_WRITE : WALK_READ, gpa, fault);
}

/* Bytes from `address` to the end of its 4 KiB page, at most `size`. */
static size_t in_page(gva_t address, size_t size)
{
	size_t left = PAGE_SIZE - (address.value & (PAGE_SIZE - 1));

	return left < size ? left : size;
}

int guest_linear_read(struct vcpu *v, gva_t address, void *dst, size_t size, uint32_t *fault)
{
	uint8_t *to = dst;

	while (size) {
		size_t part = in_page(address, size);
		gpa_t gpa;
		int err = translate(v, address, WALK_READ, &gpa, fault);

		if (err || (err = guest_read(&v->vm->mem, gpa, to, part)))
			return err;
		address.value += part;
		to += part;
		size -= part;
	}
	return 0;
}

int guest_linear_write(struct vcpu *v, gva_t address, const void *src, size_t size, uint32_t *fault)
{
	size_t first = in_page(address, size);
	gpa_t gpa, next = GPA(0);
	int err = translate(v, address, WALK_WRITE, &gpa, fault);

	/* Both pages are known before the first byte is written: a fault leaves memory as it was. */
	if (!err && first < size)
		err = translate(v, GVA(address.value + first), WALK_WRITE, &next, fault);
	if (err || (err = guest_write(&v->vm->mem, gpa, src, first)))
		return err;
	return first < size ? guest_write(&v->vm->mem, next, (const uint8_t *)src + first, size - first) : 0;
}

int guest_probe(struct vcpu *v, gva_t from, size_t size, bool write, gpa_t *gpa, gva_t *at, uint32_t *fault)
{
	gpa_t second;
	int err;

	*at = from;
	err = guest_translate(v, from, write, gpa, fault);
	if (err || in_page(from, size) == size)
		return err;
	*at = GVA(from.value + in_page(from, size));
	return guest_translate(v, *at, write, &second, fault);
}

size_t guest_fetch(struct vcpu *v, gva_t address, void *dst, size_t size)
{
	size_t done = 0;

	while (done < size) {
		gva_t from = GVA(address.value + done);
		size_t part = in_page(from, size - done);
		uint32_t fault;
		gpa_t gpa;

		if (translate(v, from, WALK_EXEC, &gpa, &fault) ||
		    guest_read(&v->vm->mem, gpa, (uint8_t *)dst + done, part))
			break;
		done += part;
	}
	return done;
}

enum outcome guest_linear_fault(struct vcpu *v, gva_t address, int err, uint32_t fault)
{
	if (err == -E_FAULT) {
		write_cr2(address.value); /* the guest's CR2 is live in the hardware */
		return vcpu_raise(v, VECTOR_PF, true, fault);
	}
	if (err == -E_INVAL)
		return vcpu_raise_gp(v);
	return vm_kill(v, "linear address 0x%llx leads to no memory", (unsigned long long)address.value);
}
