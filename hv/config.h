/*
 * What vireo.conf means: struct boot_setting in, struct hv_config and one struct vm_config per guest out. The syntax
 * (sections, keys, lines) was dealt with by boot/ini.c; here keys get types, ranges and defaults. Pure.
 *
 * A bad [hypervisor] line stops the machine; a bad line in [vm NAME] costs that VM only (vm_config.error says what was
 * found, what was expected and in which line).
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "arch/x86/cpu_state.h"
#include "boot/boot_info.h"
#include "hv/lib/types.h"

#define CONFIG_MAX_VMS	   64
#define CONFIG_MAX_MODULES 8
#define CONFIG_MAX_VCPUS   32
#define CONFIG_MEMORY_MAX  (512 * GIB) /* what one page of an EPT's top level spans */
#define CONFIG_NAME_MAX	   32
#define CONFIG_ERROR_MAX   240

enum boot_protocol { PROTOCOL_LINUX, PROTOCOL_MULTIBOOT, PROTOCOL_FLAT };

struct hv_config {
	bool apicv;	       /* apicv = on|off (on): APIC-register virtualisation and virtual-interrupt delivery */
	bool vpid;	       /* vpid = on|off (on) */
	bool preemption_timer; /* preemption_timer = on|off (on) */
	bool verbose;	       /* log = info|debug (info) */
	uint64_t serial_baud;  /* serial = 9600..115200 (115200) */
};

struct vm_config {
	char name[CONFIG_NAME_MAX];
	uint32_t line;		     /* of its first setting */
	uint32_t vcpus;		     /* vcpus = 1..32 (1) */
	uint64_t memory;	     /* memory = 64M (the default): bytes, a multiple of 4 KiB, 1 MiB to 512 GiB */
	enum boot_protocol protocol; /* protocol = linux|multiboot|flat (linux) */
	const struct boot_file *kernel;
	const struct boot_file *initrd; /* NULL: none */
	const char *cmdline;		/* "" when absent */
	unsigned module_count;
	const struct boot_file *module[CONFIG_MAX_MODULES]; /* module = PATH [args], may be repeated; Multiboot */
	const char *module_args[CONFIG_MAX_MODULES];
	uint64_t load_address; /* load = ADDRESS, flat images; default 0x7c00 */
	uint64_t entry;	       /* entry = ADDRESS; default load_address */
	enum cpu_mode mode;    /* mode = real|protected|long, flat images; default real */
	bool break_entry; /* break = FIELD VALUE: write this VMCS field before the first entry, to see the entry doctor
			   */
	uint32_t break_field; /* VMCS field encoding */
	uint64_t break_value;
	char error[CONFIG_ERROR_MAX]; /* "": good */
};

struct config {
	struct hv_config hv;
	unsigned vm_count;
	struct vm_config vm[CONFIG_MAX_VMS];
};

/*
 * `text` is the config text that boot_info's offsets refer to (info->config_size bytes). Checks every offset.
 * 0, or negative with `error` filled when nothing can be started at all.
 */
int config_parse(struct config *config, const struct boot_info *info, const char *text,
		 char error[CONFIG_ERROR_MAX]) MUST_CHECK;
