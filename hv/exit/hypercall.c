/*
 * VMCALL: how a guest asks for something. RAX holds the number and takes the answer; nothing else changes. The calls
 * are Vireo's own (hv/call.h) and KVM's (hv/pv.h); a number of those that are off answers as an unknown one of the
 * others, and all ones where both are.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/call.h"
#include "hv/exit/table.h"
#include "hv/pv.h"
#include "hv/vm.h"

enum outcome exit_vmcall(struct vcpu *v, const struct exit *exit)
{
	const struct vm_config *c = v->vm->config;
	uint64_t *rax = &v->virt.reg[REG_RAX];

	(void)exit;
	if (c->hypercalls && (call_is_ours(*rax) || !c->kvm))
		*rax = call_handle(v);
	else
		*rax = c->kvm ? pv_hypercall(v) : ~0ULL;
	return OUTCOME_NEXT;
}
