/*
 * Doorbells of the VM's devices: writes to ports or memory that say no more than where they went (hv/dev/pci.h). What
 * is to be done for them waits for the work list, so nothing of the machine that the exit is otherwise followed by is
 * needed: the run loop asks here first, and may enter the guest again at once.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/exit/qualification.h"
#include "hv/pc_map.h"
#include "hv/vcpu.h"

/* An OUT to a port of PCI's window, by these bits of the qualification. */
#define EXIT_IO_PCI_MASK ((0xffffULL & ~(PC_PCI_IO_SIZE - 1ULL)) << 16 | IO_STRING | IO_IN)
#define EXIT_IO_PCI	 ((uint64_t)PC_PCI_IO << 16)

/* The vCPU, which is loaded, has touched a place where doorbells may be. Any other exit pays next to nothing for it. */
static inline bool exit_may_be_doorbell(const struct exit *exit)
{
	if (exit->reason == EXIT_IO)
		return (virt_exit_qualification() & EXIT_IO_PCI_MASK) == EXIT_IO_PCI;
	return exit->reason == EXIT_EPT_VIOLATION && virt_exit_gpa() - PC_PCI_MEMORY < PC_PCI_MEMORY_SIZE;
}
/*
 * After such an exit. True: it was one and is rung, and the instruction is done. False: nothing has happened. Takes no
 * lock. Owner only, vCPU loaded.
 */
bool exit_doorbell(struct vcpu *v, const struct exit *exit);
