/*
 * config_parse and boot_info_check under whatever a file, or a broken loader, leaves behind. The first bytes say how:
 * either the text is cut into settings as the loader would, or raw bytes become boot_info's own fields.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/config.c hv/lib/number.c hv/boot_info.c */
#include <stdlib.h>
#include <string.h>

#include "hv/boot_info.h"
#include "hv/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct boot_info info;
static struct config config;

/* NUL-separated triples: section, key, value. A section that repeats the one before is the same section. */
static void cut(const char *text, uint32_t size)
{
	uint32_t at = 0, part[3], section = 0;

	while (info.setting_count < BOOT_MAX_SETTINGS) {
		for (int i = 0; i < 3; i++) {
			const char *end = at < size ? memchr(text + at, 0, size - at) : NULL;

			if (!end)
				return;
			part[i] = at;
			at = (uint32_t)(end - text) + 1;
		}
		if (!info.setting_count || strcmp(text + section, text + part[0]))
			section = part[0];
		info.setting[info.setting_count++] = (struct boot_setting){1, section, part[1], part[2]};
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char error[CONFIG_ERROR_MAX];
	char *text;

	if (size < 2 || size > 8192)
		return 0;
	memset(&info, 0, sizeof(info));
	info.magic = BOOT_INFO_MAGIC;
	info.version = BOOT_INFO_VERSION;
	info.size = sizeof(info);
	text = malloc(size);
	memcpy(text, data, size);
	info.config_size = (uint32_t)size;
	if (data[0] & 1) {
		memcpy(&info.framebuffer, data, size < 400 ? size : 400);
		memcpy(info.memory, data, size < 256 ? size : 256);
		memcpy(info.file, data, size < 2048 ? size : 2048);
		memcpy(info.setting, data, size);
		(void)!boot_info_check(&info, error, sizeof(error));
		info.config_size = (uint32_t)size;
		info.config_status = 0;
	} else {
		info.file_count = 1;
		strcpy(info.file[0].path, "k");
		cut(text, (uint32_t)size);
	}
	info.setting_count %= BOOT_MAX_SETTINGS + 1;
	(void)!config_parse(&config, &info, text, error);
	free(text);
	return 0;
}
