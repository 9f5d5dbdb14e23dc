/* Checks of struct boot_info, see boot_info.h. One function for each table in it; the first broken rule is reported. */
/* SPDX-License-Identifier: MIT */
#include "hv/boot_info.h"

#include "hv/lib/printf.h"
#include "hv/lib/string.h"

struct report {
	char *text;
	size_t size;
};

static int PRINTF_LIKE(2, 3) broken(const struct report *r, const char *fmt, ...)
{
	va_list args;
	size_t n = (size_t)snprintf(r->text, r->size, "boot_info: ");

	if (n < r->size) {
		va_start(args, fmt);
		vsnprintf(r->text + n, r->size - n, fmt, args);
		va_end(args);
	}
	return -E_FORMAT;
}

/* Another version may be laid out differently, so nothing behind `size` is looked at unless these three agree. */
static int check_identity(const struct boot_info *info, const struct report *r)
{
	if (info->magic != BOOT_INFO_MAGIC)
		return broken(r, "magic: found 0x%016llx, expected 0x%016llx", (unsigned long long)info->magic,
			      (unsigned long long)BOOT_INFO_MAGIC);
	if (info->version != BOOT_INFO_VERSION)
		return broken(r, "version: found %u, expected %u; loader and core are not of one build", info->version,
			      BOOT_INFO_VERSION);
	if (info->size != sizeof(*info))
		return broken(r, "size: found %u, expected %zu", info->size, sizeof(*info));
	return 0;
}

static int check_count(const struct report *r, const char *field, uint32_t found, uint32_t least, uint32_t most)
{
	if (found < least || found > most)
		return broken(r, "%s: found %u, expected %u to %u", field, found, least, most);
	return 0;
}

static int check_counts(const struct boot_info *info, const struct report *r)
{
	int err = check_count(r, "memory_count", info->memory_count, 1, BOOT_MAX_MEMORY);

	if (!err)
		err = check_count(r, "cpu_count", info->cpu_count, 1, BOOT_MAX_CPUS);
	if (!err)
		err = check_count(r, "file_count", info->file_count, 0, BOOT_MAX_FILES);
	if (!err)
		err = check_count(r, "setting_count", info->setting_count, 0, BOOT_MAX_SETTINGS);
	return err;
}

static int check_memory(const struct boot_info *info, const struct report *r)
{
	uint64_t end = 0;

	for (uint32_t i = 0; i < info->memory_count; i++) {
		const struct boot_memory *m = &info->memory[i];
		unsigned long long base = m->base, length = m->length;

		if (m->type < BOOT_MEMORY_FREE || m->type > BOOT_MEMORY_MMIO)
			return broken(r, "memory[%u].type: found %u, expected %u to %u", i, m->type, BOOT_MEMORY_FREE,
				      BOOT_MEMORY_MMIO);
		if (base % PAGE_SIZE)
			return broken(r, "memory[%u].base: found 0x%llx, expected a multiple of 4096", i, base);
		if (!length || length % PAGE_SIZE || length > UINT64_MAX - base)
			return broken(
			    r,
			    "memory[%u].length: found 0x%llx at 0x%llx, expected a multiple of 4096 that does not wrap",
			    i, length, base);
		if (base < end)
			return broken(
			    r, "memory[%u].base: found 0x%llx, expected at least 0x%llx, where the range before ends",
			    i, base, (unsigned long long)end);
		end = base + length;
	}
	return 0;
}

/* Is [hpa, hpa + size) covered by ranges of type `a` or `b`? The map is sorted by now; neighbours may share a file. */
static bool is_covered(const struct boot_info *info, uint64_t hpa, uint64_t size, uint32_t a, uint32_t b)
{
	uint64_t end = hpa + size;

	for (uint32_t i = 0; i < info->memory_count && hpa < end; i++) {
		const struct boot_memory *m = &info->memory[i];

		if (hpa < m->base || hpa - m->base >= m->length)
			continue;
		if (m->type != a && m->type != b)
			return false;
		hpa = m->base + m->length;
	}
	return hpa >= end;
}

static int check_cpus(const struct boot_info *info, const struct report *r)
{
	unsigned bsp = 0;

	for (uint32_t i = 0; i < info->cpu_count; i++) {
		bsp += info->cpu[i].flags & BOOT_CPU_BSP;
		for (uint32_t j = 0; j < i; j++)
			if (info->cpu[j].apic_id == info->cpu[i].apic_id)
				return broken(r,
					      "cpu[%u].apic_id: found %u, which is cpu[%u]'s; expected one of its own",
					      i, info->cpu[i].apic_id, j);
	}
	if (bsp != 1)
		return broken(r, "cpu: found %u entries with the BSP flag, expected 1", bsp);
	return 0;
}

static int check_files(const struct boot_info *info, const struct report *r)
{
	for (uint32_t i = 0; i < info->file_count; i++) {
		const struct boot_file *f = &info->file[i];

		if (!memchr(f->path, 0, sizeof(f->path)))
			return broken(r, "file[%u].path: found no end, expected at most %d characters", i,
				      BOOT_PATH_MAX - 1);
		if (f->status > BOOT_SYNTAX)
			return broken(r, "file[%u].status: found %u, expected 0 to %u", i, f->status, BOOT_SYNTAX);
		if (f->status != BOOT_OK)
			continue;
		if (!f->hpa || f->hpa % PAGE_SIZE)
			return broken(r, "file[%u].hpa: found 0x%llx, expected a multiple of 4096 above 0", i,
				      (unsigned long long)f->hpa);
		if (!f->size || f->size > UINT64_MAX - f->hpa ||
		    !is_covered(info, f->hpa, f->size, BOOT_MEMORY_FILES, BOOT_MEMORY_FILES))
			return broken(
			    r, "file[%u].size: found 0x%llx bytes at 0x%llx, expected a range inside memory of type %u",
			    i, (unsigned long long)f->size, (unsigned long long)f->hpa, BOOT_MEMORY_FILES);
	}
	return 0;
}

static int check_config(const struct boot_info *info, const struct report *r)
{
	if (!memchr(info->config_error, 0, sizeof(info->config_error)))
		return broken(r, "config_error: found no end, expected at most %zu characters",
			      sizeof(info->config_error) - 1);
	if (info->config_status > BOOT_SYNTAX)
		return broken(r, "config_status: found %u, expected 0 to %u", info->config_status, BOOT_SYNTAX);
	if (info->config_status != BOOT_OK)
		return 0;
	if (!info->config_size || info->config_size > BOOT_CONFIG_MAX + 1) /* the last NUL is counted */
		return broken(r, "config_size: found %u, expected 1 to %u", info->config_size, BOOT_CONFIG_MAX + 1);
	if (!info->config_hpa || info->config_hpa > UINT64_MAX - BOOT_CONFIG_MAX ||
	    !is_covered(info, info->config_hpa, info->config_size, BOOT_MEMORY_LOADER, BOOT_MEMORY_FILES))
		return broken(r, "config_hpa: found 0x%llx, expected an address in memory of type %u or %u",
			      (unsigned long long)info->config_hpa, BOOT_MEMORY_LOADER, BOOT_MEMORY_FILES);
	return 0;
}

static int check_random(const struct boot_info *info, const struct report *r)
{
	if (info->random_source > BOOT_RANDOM_TSC)
		return broken(r, "random_source: found %u, expected 0 to %u", info->random_source, BOOT_RANDOM_TSC);
	return 0;
}

/* A 32-bit pixel each; hpa 0 says that there is no screen, and the rest is not looked at. */
static int check_framebuffer(const struct boot_info *info, const struct report *r)
{
	const struct boot_framebuffer *f = &info->framebuffer;

	if (!f->hpa)
		return 0;
	if (!f->width || (uint64_t)f->width * 4 > f->pitch)
		return broken(r, "framebuffer.pitch: found %u bytes, expected at least 4 for each of %u pixels",
			      f->pitch, f->width);
	if (!f->height || (uint64_t)f->height * f->pitch > f->size)
		return broken(r, "framebuffer.size: found 0x%llx, expected at least %u lines of %u bytes",
			      (unsigned long long)f->size, f->height, f->pitch);
	if (f->size > UINT64_MAX - f->hpa)
		return broken(r, "framebuffer.hpa: found 0x%llx, expected a range that does not wrap",
			      (unsigned long long)f->hpa);
	if (f->format > 1)
		return broken(r, "framebuffer.format: found %u, expected 0 or 1", f->format);
	return 0;
}

const struct boot_framebuffer *boot_info_screen(const struct boot_info *info)
{
	char text[1];
	struct report r = {text, sizeof(text)};

	if (info->magic != BOOT_INFO_MAGIC || !info->framebuffer.hpa || check_framebuffer(info, &r))
		return NULL;
	return &info->framebuffer;
}

int boot_info_check(const struct boot_info *info, char *error, size_t error_size)
{
	static int (*const check[])(const struct boot_info *, const struct report *) = {
	    check_identity, check_counts, check_memory, check_cpus,
	    check_files,    check_config, check_random, check_framebuffer,
	};
	struct report r = {error, error_size};
	int err = 0;

	for (size_t i = 0; i < ARRAY_SIZE(check) && !err; i++)
		err = check[i](info, &r);
	return err;
}
