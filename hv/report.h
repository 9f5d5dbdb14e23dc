/* What a person is told about a VM: how it ended, why it was killed, what its exits cost. */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/vm.h"

/* One line when the guest's first instruction is about to run: where the time since core entry went. */
void report_first_entry(struct vm *vm, uint64_t now);
/* How it ended, and with log = debug its exits by reason. All its vCPUs have left. */
void report_end(struct vm *vm);
/* TSC at which the core was entered; set once. */
void report_set_start(uint64_t entry_tsc);
