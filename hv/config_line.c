/* What readers of settings share; see config_line.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/config_line.h"

#include "hv/lib/printf.h"
#include "hv/lib/string.h"

int config_complain(const struct config_line *l, const char *fmt, ...)
{
	va_list args;
	size_t n =
	    (size_t)snprintf(l->error, CONFIG_ERROR_MAX, l->number ? "%s (line %u): " : "%s: ", l->who, l->number);

	if (n < CONFIG_ERROR_MAX) {
		va_start(args, fmt);
		vsnprintf(l->error + n, CONFIG_ERROR_MAX - n, fmt, args);
		va_end(args);
	}
	return -E_INVAL;
}

int config_bad_value(const struct config_line *l, const char *expected)
{
	return config_complain(l, "%s: found '%.40s', expected %s", l->key, l->value, expected);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

const char *config_skip_blanks(const char *s)
{
	while (is_blank(*s))
		s++;
	return s;
}

size_t config_word_length(const char *s)
{
	size_t n = 0;

	while (s[n] && !is_blank(s[n]))
		n++;
	return n;
}

bool config_is_name_char(char c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '-' || c == '_' || c == '.';
}

const char *config_status_text(uint32_t status)
{
	switch (status) {
	case BOOT_NOT_FOUND:
		return "file not found";
	case BOOT_READ_ERROR:
		return "read error";
	case BOOT_NO_MEMORY:
		return "not enough memory to load it";
	case BOOT_TOO_LARGE:
		return "file too large";
	case BOOT_EMPTY:
		return "file is empty";
	default:
		return "not loaded";
	}
}

int config_find_file(const struct config_line *l, const char *path, size_t n, const struct boot_file **out)
{
	if (!n)
		return config_complain(l, "%s: found nothing, expected a path such as \\vireo\\vmlinuz", l->key);
	if (n >= BOOT_PATH_MAX)
		return config_complain(l, "%s: found a path of %zu characters, expected at most %d", l->key, n,
				       BOOT_PATH_MAX - 1);
	for (uint32_t i = 0; i < l->info->file_count && i < BOOT_MAX_FILES; i++) {
		const struct boot_file *f = &l->info->file[i];

		if (strnlen(f->path, BOOT_PATH_MAX) != n || memcmp(f->path, path, n))
			continue;
		if (f->status != BOOT_OK)
			return config_complain(l, "%s %s: %s", l->key, f->path, config_status_text(f->status));
		*out = f;
		return 0;
	}
	return config_complain(l, "%s %.*s: the loader did not load it (at most %d files)", l->key, (int)n, path,
			       BOOT_MAX_FILES);
}
