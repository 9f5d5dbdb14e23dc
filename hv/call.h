/*
 * Vireo's own hypercalls, as hv/abi.h tells guests of them: from registers to what does it. Off for VMs with
 * `hypercalls = off`. Owner of the vCPU only.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

struct vcpu;

/* A number that is ours, not KVM's. */
static inline bool call_is_ours(uint64_t number)
{
	return number & BIT(31);
}

/* The hypercall in the vCPU's registers; what RAX answers. */
uint64_t call_handle(struct vcpu *v);
