/* Writes to doorbells; see doorbell.h. SDM Vol. 3C Table 28-7 (qualification of EPT violations). */
/* SPDX-License-Identifier: MIT */
#include "hv/exit/doorbell.h"

#include "hv/vm.h"

/* A write by the instruction itself, to an address of its own: neither read nor fetch, nor a page-table entry. */
#define ACCESS	     (BIT(0) | BIT(1) | BIT(2) | BIT(7) | BIT(8))
#define WRITE_LINEAR (BIT(1) | BIT(7) | BIT(8))

static bool ring_port(struct vcpu *v)
{
	uint64_t port = virt_exit_qualification() >> 16 & 0xffff;
	unsigned offset;
	const struct pci_bar *bar = pci_host_port_bell(&v->vm->pc.pci, port, &offset);

	if (!bar)
		return false;
	bar->bells.ring(bar->dev, offset);
	virt_advance();
	return true;
}

/* The length of the instruction is not the exit's to tell (SDM Vol. 3C 28.2.5). Only plain stores are rung in this way.
 */
static NOINLINE bool ring_memory(struct vcpu *v)
{
	const struct insn *insn = &v->code.insn;
	unsigned offset;
	const struct pci_bar *bar = pci_host_memory_bell(&v->vm->pc.pci, virt_exit_gpa(), &offset);

	if (!bar || virt_event_pending(&v->virt) || (virt_exit_qualification() & ACCESS) != WRITE_LINEAR ||
	    code_fetch(v) || insn->op != INSN_MOV || insn->kind != INSN_WRITE)
		return false;
	bar->bells.ring(bar->dev, offset);
	virt_advance_by(insn->length);
	return true;
}

bool exit_doorbell(struct vcpu *v, const struct exit *exit)
{
	return exit->reason == EXIT_IO ? ring_port(v) : ring_memory(v);
}
