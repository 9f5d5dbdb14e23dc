/*
 * VMCALL: how a guest that knows Vireo asks for something. RAX holds the number and takes the answer. No call is
 * defined yet; an unknown number answers all ones, at any privilege, and changes nothing else.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/exit/table.h"

enum outcome exit_vmcall(struct vcpu *v, const struct exit *exit)
{
	(void)exit;
	v->virt.reg[REG_RAX] = ~0ULL;
	return OUTCOME_NEXT;
}
