/* Writes to doorbells; see doorbell.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/exit/doorbell.h"

#include "hv/exit/qualification.h"
#include "hv/vm.h"

#define ACCESS (EPT_READ | EPT_WRITE | EPT_FETCH | EPT_LINEAR)

static bool ring_port(struct vcpu *v)
{
	uint16_t port = io_port(virt_exit_qualification());
	unsigned offset;
	const struct pci_bar *bar = pci_host_port_bell(&v->vm->pc.pci, port, &offset);

	if (!bar)
		return false;
	bar->bells.ring(bar->dev, offset);
	virt_advance();
	return true;
}

/* Plain stores only: any other instruction does more than ring. Its length is the decoder's (SDM Vol. 3C 28.2.5). */
static NOINLINE bool ring_memory(struct vcpu *v)
{
	const struct insn *insn = &v->code.insn;
	unsigned offset;
	const struct pci_bar *bar = pci_host_memory_bell(&v->vm->pc.pci, virt_exit_gpa(), &offset);

	if (!bar || virt_event_pending(&v->virt) || (virt_exit_qualification() & ACCESS) != (EPT_WRITE | EPT_LINEAR) ||
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
