/*
 * config_parse and boot_info_check under whatever a file, or a broken loader, leaves behind. The first byte says how:
 * the text is cut into settings as the loader would, or raw bytes become boot_info's own fields, or lines are made of
 * words that the keys `disk` and `net` and their like know. What is accepted must make sense in the end.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/config.c hv/config_disk.c hv/config_net.c hv/config_line.c hv/lib/number.c hv/boot_info.c */
/* links: arch/x86/mitigations.c */
#include <stdlib.h>
#include <string.h>

#include "hv/boot_info.h"
#include "hv/config.h"
#include "hv/disk.h"
#include "tests/fuzz/fuzz.h"

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

/* Lines of two VMs: a byte for the VM and the key, then words by their number or characters, up to a zero. */
static char *compose(const uint8_t *data, size_t size)
{
	static const char *const key[] = {"disk", "disk", "net", "kernel", "initrd", "module", "protocol", "vcpus"};
	static const char *const word[] = {
	    "",		  "k",	   "m",	    "odd",   "none",	 "memory",    "overlay",     "read-only",
	    "512B",	  "1M",	   "64G",   "512",   "serial=x", "multiboot", " ",	     "\t",
	    "mac=52:56:", "vlan=", "rate=", "trunk", "isolated", "spoof",     "00:00:00:01", "4094"};
	static const char start[] = "vm a\0vm b\0kernel\0k\0odd";
	char *text = malloc(sizeof(start) + size * 20 + 32); /* words and keys are shorter than 20 */
	uint32_t at = sizeof(start), n;

	memcpy(text, start, sizeof(start));
	for (n = 0; n < 2; n++)
		info.setting[n] = (struct boot_setting){1, 5 * n, 10, 17 + 2 * n};
	while (size && n < BOOT_MAX_SETTINGS) {
		struct boot_setting *s = &info.setting[n++];

		*s = (struct boot_setting){n, *data & 1 ? 5 : 0, at, 0};
		strcpy(text + at, key[*data >> 1 & 7]);
		at += (uint32_t)strlen(text + at) + 1;
		s->value = at;
		for (data++, size--; size && *data; data++, size--) {
			if (*data >= 2 * sizeof(word) / sizeof(word[0]))
				text[at++] = (char)*data;
			else
				at += (uint32_t)strlen(strcpy(text + at, word[*data / 2]));
			if (*data < 2 * sizeof(word) / sizeof(word[0]) && *data & 1)
				text[at++] = ' ';
		}
		text[at++] = 0;
		data += size != 0;
		size -= size != 0;
	}
	info.setting_count = n;
	info.config_size = at;
	return text;
}

static void check_disk(const struct disk_config *d)
{
	REQUIRE(memchr(d->serial, 0, sizeof(d->serial)) != NULL);
	REQUIRE(d->size % 512 == 0 && d->size <= DISK_MAX_SIZE && d->overlay <= DISK_MAX_SIZE);
	REQUIRE((d->file == NULL) == (d->kind == DISK_MEMORY));
	REQUIRE((d->overlay != 0) == (d->kind == DISK_MEMORY || d->kind == DISK_OVERLAY));
	REQUIRE(d->kind == DISK_MEMORY || (d->size >= d->file->size && d->size - d->file->size < 512));
	REQUIRE(d->kind != DISK_IN_PLACE || d->size == d->file->size);
}

static void check_net(const struct net_config *n)
{
	REQUIRE(memchr(n->network, 0, sizeof(n->network)) != NULL && n->network[0]);
	REQUIRE(n->vlan <= NET_VLAN_MAX && n->rate <= 64 * GIB && !net_mac_is_group(n->mac));
}

/* How often a VM that is accepted uses a file. */
static unsigned uses(const struct vm_config *vm, const struct boot_file *f)
{
	unsigned count = vm->error[0] ? 0 : (vm->kernel == f) + (vm->initrd == f);

	for (unsigned i = 0; i < vm->module_count && !vm->error[0]; i++)
		count += vm->module[i] == f;
	for (unsigned i = 0; i < vm->disk_count && !vm->error[0]; i++)
		count += vm->disk[i].file == f;
	return count;
}

static void check_vm(const struct vm_config *vm)
{
	for (unsigned i = 0; i < vm->net_count; i++)
		check_net(&vm->net[i]);
	for (unsigned i = 0; i < vm->disk_count; i++) {
		unsigned all = 0;

		check_disk(&vm->disk[i]);
		for (unsigned n = 0; n < config.vm_count; n++)
			all += uses(&config.vm[n], vm->disk[i].file);
		REQUIRE(all == 1 || vm->disk[i].kind != DISK_IN_PLACE);
	}
}

/* The bytes as they are, as text and as parts of boot_info. */
static char *take_raw(const uint8_t *data, size_t size)
{
	char error[CONFIG_ERROR_MAX];
	char *text = malloc(size);

	memcpy(text, data, size);
	memcpy(&info.framebuffer, data, size < 400 ? size : 400);
	memcpy(info.memory, data, size < 256 ? size : 256);
	memcpy(info.file, data, size < 2048 ? size : 2048);
	memcpy(info.setting, data, size);
	(void)!boot_info_check(&info, error, sizeof(error));
	info.setting_count %= BOOT_MAX_SETTINGS + 1;
	info.config_size = (uint32_t)size;
	info.config_status = 0;
	return text;
}

static char *take_text(const uint8_t *data, size_t size)
{
	char *text = malloc(size);

	memcpy(text, data, size);
	info.config_size = (uint32_t)size;
	cut(text, (uint32_t)size);
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct boot_file files[] = {{"k", 4096, 4096, BOOT_OK, 0},
						 {"m", 8192, MIB, BOOT_OK, 0},
						 {"odd", 4096, 1000, BOOT_OK, 0},
						 {"none", 0, 0, BOOT_NOT_FOUND, 0}};
	char error[CONFIG_ERROR_MAX];
	char *text;

	if (size < 2 || size > 8192)
		return 0;
	memset(&info, 0, sizeof(info));
	info.magic = BOOT_INFO_MAGIC;
	info.version = BOOT_INFO_VERSION;
	info.size = sizeof(info);
	memcpy(info.file, files, sizeof(files));
	info.file_count = 4;
	if (data[0] & 1)
		text = take_raw(data, size);
	else if (data[0] & 2)
		text = compose(data + 1, size - 1);
	else
		text = take_text(data, size);
	if (!config_parse(&config, &info, text, error))
		for (unsigned i = 0; i < config.vm_count; i++)
			if (!config.vm[i].error[0])
				check_vm(&config.vm[i]);
	free(text);
	return 0;
}
