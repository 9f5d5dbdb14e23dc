/*
 * How a guest starts: each loader puts a kernel into guest memory and says in what state the first vCPU begins.
 * Images come from files and are not trusted. Called at VM creation and again at every reset of the VM, when all of its
 * memory from 1 MiB on reads as zero, and below that all but what bda_build, mptable_build and acpi_build have put
 * there.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "arch/x86/cpu_state.h"
#include "hv/guest_mem.h"
#include "hv/lib/types.h"

#define LOAD_ERROR_MAX	 200
#define LOAD_MAX_MODULES 8

/* A file in host memory. The loader for it reads `data[0 .. size)` only. */
struct load_image {
	const char *path; /* for messages */
	const uint8_t *data;
	uint64_t size;
};

struct load_request {
	struct load_image kernel;
	struct load_image initrd; /* data NULL: none */
	const char *cmdline;
	unsigned module_count;
	struct load_image module[LOAD_MAX_MODULES];
	const char *module_args[LOAD_MAX_MODULES];
	uint64_t load_address; /* flat images */
	uint64_t entry;
	enum cpu_mode mode; /* flat images */
	uint64_t rsdp_gpa;  /* where the ACPI root pointer was put; 0: none */
};

/*
 * 0, or negative with `error` naming file, field, what was found and what was expected. On failure guest memory may be
 * partly written; the VM is not started.
 */
int load_linux(const struct load_request *req, const struct guest_mem *mem, struct cpu_state *state,
	       char error[LOAD_ERROR_MAX]) MUST_CHECK;
int load_multiboot(const struct load_request *req, const struct guest_mem *mem, struct cpu_state *state,
		   char error[LOAD_ERROR_MAX]) MUST_CHECK;
int load_flat(const struct load_request *req, const struct guest_mem *mem, struct cpu_state *state,
	      char error[LOAD_ERROR_MAX]) MUST_CHECK;
