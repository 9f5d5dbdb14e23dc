/* Any bytes as vireo.conf: no access outside of the text, every offset and string inside it, errors terminated. */
/* SPDX-License-Identifier: MIT */
/* links: boot/ini.c */
#include "boot/ini.h"
#include "tests/fuzz/fuzz.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define MAX 16

static void check_string(const char *text, size_t size, uint32_t offset)
{
	REQUIRE(offset <= size && memchr(text + offset, '\0', size + 1 - offset));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct boot_setting setting[MAX];
	char error[INI_ERROR_MAX];
	uint32_t count;
	char *text;
	int result;

	if (size > BOOT_CONFIG_MAX)
		return 0;
	text = malloc(size + 1);
	if (!text)
		return 0;
	memcpy(text, data, size);
	result = ini_parse(text, (uint32_t)size, setting, MAX, &count, error);
	REQUIRE(count <= MAX && memchr(error, '\0', sizeof error));
	REQUIRE((result != 0) == (error[0] != '\0'));
	for (uint32_t i = 0; i < count; i++) {
		check_string(text, size, setting[i].section);
		check_string(text, size, setting[i].key);
		check_string(text, size, setting[i].value);
		REQUIRE(ini_path_length(text + setting[i].key, text + setting[i].value) <=
			strlen(text + setting[i].value));
	}
	free(text);
	return 0;
}
