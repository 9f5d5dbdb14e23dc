/*
 * The only contract between the UEFI application (boot/) and the core: what firmware knew, in fixed-width fields.
 * The loader fills one of these, leaves boot services and enters the core with its physical address in RDI.
 *
 * Everything is addressed physically; strings of vireo.conf are offsets into its text, which the loader has cut into
 * NUL-terminated pieces. The core believes magic, version and size, and checks the rest (boot_info_check).
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdint.h>

#define BOOT_INFO_MAGIC 0x4f464e494f455249ULL /* "IREOINFO" */
#ifndef BOOT_INFO_VERSION		      /* a test builds a loader of another version */
#define BOOT_INFO_VERSION 2
#endif

#define BOOT_MAX_MEMORY	  2048 /* firmware of large machines lists more than a thousand */
#define BOOT_MAX_CPUS	  256
#define BOOT_MAX_FILES	  64
#define BOOT_MAX_SETTINGS 512
#define BOOT_CONFIG_MAX	  65536 /* bytes of vireo.conf */
#define BOOT_PATH_MAX	  128

/* What the core may do with a range of physical memory. */
enum boot_memory_type {
	BOOT_MEMORY_FREE = 1,	  /* ours from now on */
	BOOT_MEMORY_LOADER = 2,	  /* holds what the loader left for the core: boot_info, config, page tables */
	BOOT_MEMORY_FILES = 3,	  /* holds the files of vireo.conf */
	BOOT_MEMORY_CORE = 4,	  /* holds the core's image; reached through its high mapping only */
	BOOT_MEMORY_ACPI = 5,	  /* ACPI tables: read only */
	BOOT_MEMORY_FIRMWARE = 6, /* runtime services, ACPI NVS: RAM that is never ours */
	BOOT_MEMORY_RESERVED = 7, /* everything else; not mapped */
	BOOT_MEMORY_MMIO = 8,	  /* declared as memory-mapped I/O */
};

struct boot_memory {
	uint64_t base;	 /* page-aligned */
	uint64_t length; /* bytes, a multiple of 4096 */
	uint32_t type;	 /* enum boot_memory_type */
	uint32_t reserved;
};

/* Outcome of reading one file. */
enum boot_status {
	BOOT_OK = 0,
	BOOT_NOT_FOUND = 1,
	BOOT_READ_ERROR = 2,
	BOOT_NO_MEMORY = 3,
	BOOT_TOO_LARGE = 4,
	BOOT_EMPTY = 5,
	BOOT_SYNTAX = 6, /* vireo.conf only: config_error says line, found, expected */
};

struct boot_file {
	char path[BOOT_PATH_MAX]; /* as vireo.conf names it, NUL-terminated */
	uint64_t hpa;		  /* page-aligned; 0 unless BOOT_OK */
	uint64_t size;		  /* bytes */
	uint32_t status;	  /* enum boot_status */
	uint32_t reserved;
};

/*
 * A `[section]` of vireo.conf, key and value empty, or a `key = value` of it. Offsets are into the config text, each
 * of a NUL-terminated string.
 */
struct boot_setting {
	uint32_t line;	  /* 1-based */
	uint32_t section; /* offset of the section's words between the brackets: "hypervisor", "vm linux" */
	uint32_t key;
	uint32_t value;
};

struct boot_cpu {
	uint32_t apic_id;
	uint32_t flags; /* BOOT_CPU_* */
};
#define BOOT_CPU_BSP 1u

struct boot_framebuffer {
	uint64_t hpa;	 /* 0: no screen */
	uint64_t size;	 /* bytes */
	uint32_t width;	 /* pixels */
	uint32_t height; /* pixels */
	uint32_t pitch;	 /* bytes from a line to the next */
	uint32_t format; /* 0: blue in the lowest byte (BGRX), 1: red in the lowest byte (RGBX) */
};

/* Where the loader's random numbers come from. */
enum boot_random {
	BOOT_RANDOM_OFF = 0,	  /* aslr = off: there are none, and the core is where it was linked */
	BOOT_RANDOM_FIRMWARE = 1, /* EFI_RNG_PROTOCOL */
	BOOT_RANDOM_RDSEED = 2,
	BOOT_RANDOM_RDRAND = 3,
	BOOT_RANDOM_TSC = 4, /* nothing better than the time */
};

struct boot_info {
	uint64_t magic;
	uint32_t version;
	uint32_t size;			     /* sizeof(struct boot_info) */
	struct boot_framebuffer framebuffer; /* up to here the same in every version: to say that it is another one */

	uint64_t core_hpa;   /* where the core's first segment was put */
	uint64_t core_size;  /* bytes in memory */
	uint64_t entry_tsc;  /* TSC when the loader jumped to the core */
	uint64_t start_tsc;  /* TSC when firmware started the loader */
	uint64_t copy_ticks; /* ticks spent reading files */

	uint64_t random; /* where the core shall put what may lie anywhere; 0 when random_source is BOOT_RANDOM_OFF */
	uint32_t random_source; /* enum boot_random: of this and of where the core itself lies */
	uint32_t reserved;

	uint64_t rsdp_hpa;   /* ACPI root pointer; 0: none */
	uint64_t smbios_hpa; /* SMBIOS entry point; 0: none */

	uint64_t config_hpa;	/* text of vireo.conf, cut into strings */
	uint32_t config_size;	/* bytes, the last NUL included */
	uint32_t config_status; /* enum boot_status */
	char config_error[200]; /* human-readable, when config_status is BOOT_SYNTAX or BOOT_TOO_LARGE */

	uint32_t memory_count;
	uint32_t cpu_count;
	uint32_t file_count;
	uint32_t setting_count;
	struct boot_memory memory[BOOT_MAX_MEMORY]; /* sorted by base, without overlaps */
	struct boot_cpu cpu[BOOT_MAX_CPUS];
	struct boot_file file[BOOT_MAX_FILES];
	struct boot_setting setting[BOOT_MAX_SETTINGS];
};

/*
 * State on entry to the core (arch/x86/start.asm): long mode, interrupts off, RDI = physical address of boot_info,
 * the loader's page tables: the core's segments with their own permissions, relocated to where they are mapped, which
 * is a multiple of 2 MiB above where they were linked; all memory of the map at BOOT_DIRECT_BASE + hpa (writable,
 * no-execute), and the page that switched CR3 identity-mapped.
 */
#define BOOT_DIRECT_BASE 0xffff800000000000ULL
#define BOOT_DIRECT_SIZE (1ULL << 44)	       /* memory ends below it */
#define BOOT_CORE_BASE	 0xffffffff80000000ULL /* linker.ld; the top 2 GiB are what -mcmodel=kernel can reach */
