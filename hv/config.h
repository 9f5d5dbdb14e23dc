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
#include "arch/x86/mitigations.h"
#include "boot/boot_info.h"
#include "hv/dev/block.h"
#include "hv/dev/net_packet.h"
#include "hv/lib/types.h"

#define CONFIG_MAX_VMS	      64
#define CONFIG_MAX_MODULES    8
#define CONFIG_MAX_DISKS      4
#define CONFIG_MAX_HVC	      2
#define CONFIG_MAX_NETS	      4
#define CONFIG_MAX_VCPUS      32
#define CONFIG_MEMORY_MAX     (512 * GIB) /* what one page of an EPT's top level spans */
#define CONFIG_NAME_MAX	      32
#define CONFIG_MAX_PEERS      8
#define CONFIG_CAP_MAX	      6400
#define CONFIG_WEIGHT_MIN     1
#define CONFIG_WEIGHT_MAX     10000
#define CONFIG_WEIGHT_DEFAULT 256
#define CONFIG_ERROR_MAX      240

enum sched_choice { SCHEDULER_SHARE, SCHEDULER_RR, SCHEDULER_DEDICATED };

enum boot_protocol { PROTOCOL_LINUX, PROTOCOL_MULTIBOOT, PROTOCOL_FLAT };

enum disk_kind { DISK_IN_PLACE, DISK_READ_ONLY, DISK_OVERLAY, DISK_MEMORY };

struct hv_config {
	bool apicv;	       /* apicv = on|off (on): APIC-register virtualisation and virtual-interrupt delivery */
	bool vpid;	       /* vpid = on|off (on) */
	bool preemption_timer; /* preemption_timer = on|off (on) */
	bool aslr; /* aslr = on|off (on): the core at a random address; the loader obeys it, the core only checks it */
	bool verbose;		     /* log = info|debug (info) */
	bool background;	     /* background = show|hide (show): the output of guests that have not the console */
	enum sched_choice scheduler; /* scheduler = share|rr|dedicated (share) */
	uint64_t serial_baud;	     /* serial = 9600..115200 (115200) */
	/* mitigations = auto|all|off[, no-NAME]... (auto), smt = on|off (off) */
	struct mitigation_wish mitigations;
};

struct disk_config {
	enum disk_kind kind;
	const struct boot_file *file;	   /* NULL: DISK_MEMORY */
	uint64_t size;			   /* of the disk, bytes: the file's rounded up to whole sectors of 512 */
	uint64_t overlay;		   /* bytes that can be changed; 0: DISK_IN_PLACE, DISK_READ_ONLY */
	char serial[BLOCK_SERIAL_MAX + 1]; /* "disk0", "disk1", ... unless it is given */
};

/* A network card, and what the switch's port that it is plugged into lets it do (hv/vswitch.h). */
struct net_config {
	char network[CONFIG_NAME_MAX]; /* all that name the same are on one switch */
	uint8_t mac[NET_MAC_SIZE];     /* all zero: none was given; config_number_nets() */
	uint16_t vlan;		       /* 0: no VLAN was given */
	bool trunk;		       /* frames come and go with tags, but those of `vlan` */
	bool isolated;		       /* exchanges frames with ports only that aren't */
	bool spoof;		       /* may send from any address */
	uint64_t rate;		       /* bytes/s that it may send; 0: any */
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
	/* disk = ..., may be repeated: hv/config_disk.c */
	unsigned disk_count;
	struct disk_config disk[CONFIG_MAX_DISKS];
	/* net = ..., may be repeated: hv/config_net.c */
	unsigned net_count;
	struct net_config net[CONFIG_MAX_NETS];
	uint64_t load_address; /* load = ADDRESS, flat images; default 0x7c00 */
	uint64_t entry;	       /* entry = ADDRESS; default load_address */
	enum cpu_mode mode;    /* mode = real|protected|long, flat images; default real */
	bool autostart;	       /* autostart = on|off (on): starts at boot */
	bool rng;	       /* rng = on|off (off): a virtio source of random numbers */
	uint32_t hvc;	       /* hvc = 0..2 (0): virtio consoles beside COM1 */
	bool balloon;	       /* balloon = on|off (off): memory can be taken from it while it runs (virtio) */
	bool kvm;	       /* kvm = on|off (on): KVM's interface for guests, hv/pv.h */
	bool hypercalls;       /* hypercalls = on|off (on): our own, hv/abi.h */
	uint32_t weight;       /* weight = 1..10000 (256): its part of the CPUs beside others that want them */
	uint32_t cap;	       /* cap = 0..6400 (0): percent of one CPU that it gets at most; 0: no cap */
	uint64_t cpus;	       /* cpus = 0,2-3 or all (all): bit n is CPU n */
	bool break_entry; /* break = FIELD VALUE: write this VMCS field before the first entry, to see the entry doctor
			   */
	uint32_t break_field; /* VMCS field encoding */
	uint64_t break_value;
	/* peers = NAME,... (none): who may ring at its door and share memory with it */
	unsigned peer_count;
	char peer[CONFIG_MAX_PEERS][CONFIG_NAME_MAX];
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

/*
 * The same for one key of one VM at run time (the shell's `set` and `create`). `value` must outlive the VM's config. 0,
 * or negative with `error` filled and the config as it was.
 */
int config_set(struct vm_config *vm, const struct boot_info *info, const char *key, const char *value,
	       char error[CONFIG_ERROR_MAX]) MUST_CHECK;
/*
 * A new VM under `name` that is in all else as `like`, but for its MAC addresses, which are still to be given
 * (config_number_nets); negative with `error` filled when the name is none, or `like` has a disk that is written in
 * place.
 */
int config_copy(struct vm_config *vm, const struct vm_config *like, const char *name,
		char error[CONFIG_ERROR_MAX]) MUST_CHECK;
/*
 * Gives a MAC address to each network card that has none: 52:56, the VM's number and the card's. Locally administered;
 * no two VMs of different numbers, 1 to 0xFFFFFF, get the same.
 */
void config_number_nets(struct vm_config *vm, unsigned number);
/*
 * A file that is a disk written in place has no other use, in its VM or another. -E_INVAL with `error` filled, which is
 * about `vm`: it has such a file in common with `other`, which may be `vm` itself. config_parse and config_set see to
 * what they know of; who changes one of several VMs asks about each other one.
 */
int config_check_files(const struct vm_config *vm, const struct vm_config *other,
		       char error[CONFIG_ERROR_MAX]) MUST_CHECK;
