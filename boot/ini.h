/*
 * The syntax of vireo.conf: `[section]`, `key = value`, comment lines that begin with `#` or `;`. Pure; used by the
 * loader once, before it knows which files to load. What keys mean is the core's business (hv/config.h), but for which
 * of them name a file.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "boot/boot_info.h"

#include <stdint.h>

#define INI_ERROR_MAX 200

/*
 * Cuts `text` (size bytes; text[size] must be writable and becomes NUL) in place into NUL-terminated strings and fills
 * setting[0 .. *count). Each section begins with a setting of its own line, whose key and value are empty.
 * Offsets are below size + 1, and so are the ends of all strings.
 * Answers 0, or -1 with `error` saying line, found and expected; *count then covers what came before that line.
 */
int ini_parse(char *text, uint32_t size, struct boot_setting *setting, uint32_t max, uint32_t *count,
	      char error[INI_ERROR_MAX]);

/* How many characters `value` begins with are the path of a file that the core wants loaded; 0: it names none. */
uint32_t ini_path_length(const char *key, const char *value);
