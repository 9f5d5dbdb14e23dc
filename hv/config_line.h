/*
 * One setting of vireo.conf, or of the shell, while it is read: its words, where to complain, and what its readers
 * (hv/config.c, config_disk.c, config_net.c) share. Nobody else needs it. Pure.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/config.h"

struct config_line {
	uint32_t number; /* 0: it is not of vireo.conf */
	const char *section, *key, *value;
	const char *who; /* "vm linux", "vireo.conf: hypervisor" */
	char *error;	 /* CONFIG_ERROR_MAX bytes */
	const struct boot_info *info;
};

/* "who (line 3): " and the rest into l->error; -E_INVAL. */
int config_complain(const struct config_line *l, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The usual complaint: the value is not of the kind that the key takes. */
int config_bad_value(const struct config_line *l, const char *expected);

const char *config_skip_blanks(const char *s);
size_t config_word_length(const char *s);
/* A letter, a digit, '-', '_' or '.': what names are made of. */
bool config_is_name_char(char c);
/* What a person reads about an enum boot_status that is not BOOT_OK. */
const char *config_status_text(uint32_t status);
/* The loaded file whose path is the first `n` characters of `path`; or a complaint. */
int config_find_file(const struct config_line *l, const char *path, size_t n, const struct boot_file **out) MUST_CHECK;

/* hv/config_net.c: a line `net = ...` becomes one more network card of the VM. */
int config_add_net(const struct config_line *l, struct vm_config *vm) MUST_CHECK;
/* hv/config_disk.c: a line `disk = ...` becomes one more disk of the VM. */
int config_add_disk(const struct config_line *l, struct vm_config *vm) MUST_CHECK;
/* The disk that has its file changed; NULL: there is none. */
const struct disk_config *config_in_place_disk(const struct vm_config *vm);
/* config_check_files() with a line to complain about. */
int config_refuse_shared(const struct config_line *l, const struct vm_config *vm,
			 const struct vm_config *other) MUST_CHECK;
