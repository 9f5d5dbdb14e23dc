/*
 * vireo.conf's key `disk` (config_line.h): which file, or how much memory, and who may write where. Four forms:
 *
 *	PATH			the file's copy in memory, written in place
 *	PATH read-only
 *	PATH overlay SIZE	what is written goes elsewhere, SIZE at most
 *	memory SIZE		blank
 *
 * each perhaps with serial=TEXT behind it. A file that is written in place would change under whoever else reads it, so
 * it has no other use. Pure.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/config_line.h"
#include "hv/disk.h"
#include "hv/lib/number.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"

#define WORDS_MAX   4 /* PATH overlay SIZE serial=TEXT */
#define OVERLAY_MIN MIB

struct word {
	const char *text;
	size_t length;
};

static bool word_is(const struct word *w, const char *text)
{
	return w->length == strlen(text) && !memcmp(w->text, text, w->length);
}

/*
 * Answers how many there are; one more than WORDS_MAX stands for all that are too many. Blanks in front are an empty
 * word: the loader reads a file by what stands at the beginning only.
 */
static unsigned split_words(const char *s, struct word word[WORDS_MAX + 1])
{
	unsigned count = 0;

	for (; *s && count <= WORDS_MAX; s = config_skip_blanks(s + word[count++].length))
		word[count] = (struct word){s, config_word_length(s)};
	return count;
}

/* Takes the word serial=TEXT off the end, if it is there. */
static int take_serial(const struct config_line *l, const struct word *word, unsigned *count, char *serial)
{
	static const char key[] = "serial=";
	const struct word *last = *count ? &word[*count - 1] : word;
	size_t skip = sizeof(key) - 1, length;

	if (*count < 2 || last->length < skip || memcmp(last->text, key, skip))
		return 0;
	length = last->length - skip;
	if (!length || length > BLOCK_SERIAL_MAX)
		return config_complain(l, "disk: found a serial of %zu characters, expected 1 to %d", length,
				       BLOCK_SERIAL_MAX);
	for (size_t i = 0; i < length; i++)
		if (last->text[skip + i] <= ' ' || last->text[skip + i] > '~')
			return config_complain(l, "disk: found a character in the serial that can't be printed, "
						  "expected those of ASCII");
	memcpy(serial, last->text + skip, length);
	serial[length] = 0;
	(*count)--;
	return 0;
}

static int parse_size(const struct word *w, uint64_t least, uint64_t *out)
{
	if (number_parse(w->text, w->length, out) || *out < least || *out > DISK_MAX_SIZE)
		return -E_INVAL;
	return 0;
}

/* disk = memory SIZE */
static int take_memory(const struct config_line *l, const struct word *word, unsigned count, struct disk_config *disk)
{
	disk->kind = DISK_MEMORY;
	if (count != 2 || parse_size(&word[1], BLOCK_SECTOR, &disk->size) || disk->size % BLOCK_SECTOR)
		return config_bad_value(l, "memory and a size of 512 to 64G, a multiple of 512");
	disk->overlay = disk->size;
	return 0;
}

/* disk = PATH ... */
static int take_kind(const struct config_line *l, const struct word *word, unsigned count, struct disk_config *disk)
{
	if (count == 1) {
		disk->kind = DISK_IN_PLACE;
	} else if (count == 2 && word_is(&word[1], "read-only")) {
		disk->kind = DISK_READ_ONLY;
	} else if (word_is(&word[1], "overlay")) {
		disk->kind = DISK_OVERLAY;
		if (count != 3 || parse_size(&word[2], OVERLAY_MIN, &disk->overlay))
			return config_bad_value(l, "a path, overlay and a size of 1M to 64G");
	} else {
		return config_bad_value(l, "a path, perhaps read-only or overlay SIZE behind it, or memory SIZE; then "
					   "perhaps serial=TEXT");
	}
	return 0;
}

static int take_file(const struct config_line *l, const struct word *path, struct disk_config *disk)
{
	int err = config_find_file(l, path->text, path->length, &disk->file);
	uint64_t size;

	if (err)
		return err;
	size = disk->file->size;
	if (size > DISK_MAX_SIZE)
		return config_complain(l, "disk %s: found a file of %llu bytes, expected at most 64G", disk->file->path,
				       (unsigned long long)size);
	if (disk->kind == DISK_IN_PLACE && size % BLOCK_SECTOR)
		return config_complain(l, "disk %s: found a file of %llu bytes, expected a multiple of 512",
				       disk->file->path, (unsigned long long)size);
	disk->size = ALIGN_UP(size, (uint64_t)BLOCK_SECTOR);
	return 0;
}

int config_add_disk(const struct config_line *l, struct vm_config *vm)
{
	struct word word[WORDS_MAX + 1] = {{.text = ""}};
	unsigned count = split_words(l->value, word);
	struct disk_config disk = {.kind = DISK_IN_PLACE};
	int err;

	if (vm->disk_count == CONFIG_MAX_DISKS)
		return config_complain(l, "disk: found one more, expected at most %d", CONFIG_MAX_DISKS);
	err = take_serial(l, word, &count, disk.serial);
	if (!err && word_is(&word[0], "memory")) {
		err = take_memory(l, word, count, &disk);
	} else if (!err) {
		err = take_kind(l, word, count, &disk);
		if (!err)
			err = take_file(l, &word[0], &disk);
	}
	if (err)
		return err;
	if (!disk.serial[0])
		snprintf(disk.serial, sizeof(disk.serial), "disk%u", vm->disk_count);
	vm->disk[vm->disk_count++] = disk;
	return 0;
}

/* --- one file, one writer, no reader ------------------------------------------------------------------------------ */

/* The n-th use that a VM makes of a file. */
struct use {
	const char *key;
	const struct boot_file *file; /* NULL: none */
	bool written;
};

#define USES (2 + CONFIG_MAX_MODULES + CONFIG_MAX_DISKS)

static struct use use_of(const struct vm_config *vm, unsigned n)
{
	const struct disk_config *disk;

	if (n == 0)
		return (struct use){"kernel", vm->kernel, false};
	if (n == 1)
		return (struct use){"initrd", vm->initrd, false};
	n -= 2;
	if (n < CONFIG_MAX_MODULES)
		return (struct use){"module", n < vm->module_count ? vm->module[n] : NULL, false};
	n -= CONFIG_MAX_MODULES;
	disk = &vm->disk[n];
	return (struct use){"disk", n < vm->disk_count ? disk->file : NULL, disk->kind == DISK_IN_PLACE};
}

const struct disk_config *config_in_place_disk(const struct vm_config *vm)
{
	for (unsigned i = 0; i < vm->disk_count; i++)
		if (vm->disk[i].kind == DISK_IN_PLACE)
			return &vm->disk[i];
	return NULL;
}

/* Does any other use of `vm`'s file, by `other`, rule out this one? */
static int refuse_use(const struct config_line *l, const struct vm_config *vm, unsigned n,
		      const struct vm_config *other)
{
	struct use mine = use_of(vm, n);

	for (unsigned i = 0; mine.file && i < USES; i++) {
		struct use theirs = use_of(other, i);

		if (theirs.file != mine.file || (vm == other && i == n))
			continue;
		if (theirs.written)
			return config_complain(l, "%s %s: also written by vm %s", mine.key, mine.file->path,
					       other->name);
		if (mine.written)
			return config_complain(
			    l, "disk %s: also %s of vm %s, expected a file of its own, or 'overlay SIZE'",
			    mine.file->path, theirs.key, other->name);
	}
	return 0;
}

int config_refuse_shared(const struct config_line *l, const struct vm_config *vm, const struct vm_config *other)
{
	if (!config_in_place_disk(vm) && !config_in_place_disk(other))
		return 0;
	for (unsigned n = 0; n < USES; n++)
		if (refuse_use(l, vm, n, other))
			return -E_INVAL;
	return 0;
}

int config_check_files(const struct vm_config *vm, const struct vm_config *other, char error[CONFIG_ERROR_MAX])
{
	char who[CONFIG_NAME_MAX + 8];
	struct config_line l = {.who = who, .error = error};

	snprintf(who, sizeof(who), "vm %s", vm->name);
	return config_refuse_shared(&l, vm, other);
}
