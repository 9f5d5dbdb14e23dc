/*
 * VMCALL: how a guest asks for something. RAX holds the number and takes the answer; nothing else changes. The calls
 * are KVM's (hv/pv.h); where they are off, every number answers all ones.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/exit/table.h"
#include "hv/pv.h"
#include "hv/vm.h"

enum outcome exit_vmcall(struct vcpu *v, const struct exit *exit)
{
	(void)exit;
	v->virt.reg[REG_RAX] = v->vm->config->kvm ? pv_hypercall(v) : ~0ULL;
	return OUTCOME_NEXT;
}
