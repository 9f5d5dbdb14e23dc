/*
 * The VMs of this machine: what is defined, what runs, and how each ended last. A definition comes from vireo.conf or
 * from the shell's `create`, and outlives the VM that is started from it; so does its console, so that the last words
 * of a dead guest can be read. Boot CPU only, hence without a lock.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/config.h"
#include "hv/console.h"
#include "hv/disk.h"
#include "hv/vm.h"

#define VMS_CMDLINE_MAX 512

struct vms_entry {
	struct vms_entry *next;
	unsigned id;		 /* from 1, in the order of definition */
	struct vm_config config; /* what its next start goes by */
	struct vm *vm;		 /* NULL: shut off */
	bool ran;		 /* was started once: the next two say how it ended */
	enum vm_end end;
	uint32_t end_code;
	uint64_t ticks_before, exits_before; /* CPU time and exits of its former lives */
	struct vm_console console; /* the PC's; behind it hvc0 and hvc1, made at the first start that asks for them */
	char cmdline[VMS_CMDLINE_MAX]; /* where config.cmdline points to when it was typed */
	/* What the present VM was made by and restarts by: it must not change under it. */
	struct vm_config made_by;
	char made_cmdline[VMS_CMDLINE_MAX];
	struct disk
	    *disk[CONFIG_MAX_DISKS]; /* made at its first start, kept with all that was written until it is undefined */
};

/* `runnable`: this machine can run guests; if not, they can be looked at but not started. */
void vms_init(const struct boot_info *info, bool runnable);

/* Defines a VM; config->cmdline is vireo.conf's or copied. NULL: no memory, or the name is taken (`why` says which). */
struct vms_entry *vms_define(const struct vm_config *config, char why[CONFIG_ERROR_MAX]);
/* Forgets a definition. -E_EXIST: its VM runs. */
int vms_undefine(struct vms_entry *entry) MUST_CHECK;
/* Changes one setting; weight, cap and cpus at once, the others at the next start. */
int vms_set(struct vms_entry *entry, const char *key, const char *value, char why[CONFIG_ERROR_MAX]) MUST_CHECK;

/* In the order of definition; NULL: none. */
struct vms_entry *vms_first(void);
struct vms_entry *vms_find(const char *name);

/* Creates the VM and lets it run; negative with `why` filled. It must be shut off. */
int vms_start(struct vms_entry *entry, char why[CONFIG_ERROR_MAX]) MUST_CHECK;

/* One of its consoles by its label, or NULL. */
struct vm_console *vms_console(struct vms_entry *entry, const char *label);

/* VMs that run, or are paused, or on their way out. */
unsigned vms_alive(void);
/* What a person reads: "running", "paused", "shut off", "crashed", ... */
const char *vms_state(const struct vms_entry *entry);
/* Bytes set aside for the memory of guests that run. */
uint64_t vms_guest_bytes(void);
