/* Sums over a VM's vCPUs, for listings and reports. The vCPUs run on meanwhile: sums are as exact as a glance. */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/vm.h"

struct totals {
	uint64_t ticks; /* of CPU time */
	uint64_t exits, interrupts;
};

void totals_add(struct totals *t, const struct vcpu *v);
/* All zero for NULL. */
void totals_of(const struct vm *vm, struct totals *t);
/* One exit reason. */
struct exit_stat totals_exit(const struct vm *vm, unsigned reason);
