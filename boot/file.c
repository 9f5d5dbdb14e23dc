/*
 * The loader's disk access: EFI_SIMPLE_FILE_SYSTEM_PROTOCOL and EFI_FILE_PROTOCOL of the volume that the EFI file
 * came from (UEFI 2.10, 13.4 and 13.5). The files stay where they were read: the core gets their addresses.
 *
 * Not handled on purpose: names that are not ASCII (they count as not found), files on other volumes, compression.
 */
/* SPDX-License-Identifier: MIT */
#include "boot/file.h"

#include "boot/ini.h"
#include "boot/pages.h"
#include "boot/tsc.h"

#include <efilib.h>
#include <stdbool.h>
#include <string.h>

#define CONFIG_PATH   "\\vireo\\vireo.conf"
#define CONFIG_FOLDER L"\\vireo\\"
#define CHUNK_MIN     (4ULL << 20) /* large requests: small ones are slow on USB and in emulators */
#define PROGRESS_MIN  (1ULL << 20) /* files from here on show a percentage */

static const CHAR16 *status_word(uint32_t status)
{
	static const CHAR16 *const word[] = {
	    [BOOT_OK] = L"ok",
	    [BOOT_NOT_FOUND] = L"not found",
	    [BOOT_READ_ERROR] = L"read error",
	    [BOOT_NO_MEMORY] = L"no memory",
	    [BOOT_TOO_LARGE] = L"too large",
	    [BOOT_EMPTY] = L"empty",
	    [BOOT_SYNTAX] = L"syntax error",
	};

	return word[status];
}

/* Opens `path` for reading; a path without a leading slash is relative to \vireo. */
static EFI_FILE_PROTOCOL *open_path(EFI_FILE_PROTOCOL *root, const char *path, uint32_t *status)
{
	CHAR16 wide[BOOT_PATH_MAX + 8] = CONFIG_FOLDER;
	unsigned length = path[0] == '/' || path[0] == '\\' ? 0 : 7;
	EFI_FILE_PROTOCOL *file = NULL;
	EFI_STATUS result;

	for (; *path; path++)
		wide[length++] = *path == '/' ? L'\\' : (CHAR16)(uint8_t)*path;
	wide[length] = 0;
	result = root->Open(root, &file, wide, EFI_FILE_MODE_READ, 0);
	*status = BOOT_OK;
	if (!EFI_ERROR(result))
		return file;
	*status = result == EFI_NOT_FOUND ? BOOT_NOT_FOUND : BOOT_READ_ERROR;
	return NULL;
}

/* Bytes in the file; BOOT_NOT_FOUND for a folder. */
static uint32_t get_size(EFI_FILE_PROTOCOL *file, uint64_t *size)
{
	static uint64_t buffer[(sizeof(EFI_FILE_INFO) + 512) / 8 + 1]; /* up to 255 characters of the name follow */
	EFI_FILE_INFO *file_info = (EFI_FILE_INFO *)buffer;
	EFI_GUID id = EFI_FILE_INFO_ID;
	UINTN length = sizeof buffer;

	if (EFI_ERROR(file->GetInfo(file, &id, &length, file_info)))
		return BOOT_READ_ERROR;
	if (file_info->Attribute & EFI_FILE_DIRECTORY)
		return BOOT_NOT_FOUND;
	*size = file_info->FileSize;
	return BOOT_OK;
}

static uint32_t read_bytes(EFI_FILE_PROTOCOL *file, uint8_t *to, uint64_t size)
{
	UINTN length = size;

	if (EFI_ERROR(file->Read(file, &length, to)) || length != size)
		return BOOT_READ_ERROR;
	return BOOT_OK;
}

/* At most ten updates a file: console output often goes over a serial line. */
static uint32_t read_with_progress(EFI_FILE_PROTOCOL *file, const char *path, uint8_t *to, uint64_t size)
{
	uint64_t chunk = size / 10 > CHUNK_MIN ? size / 10 : CHUNK_MIN, done = 0;

	while (done < size) {
		uint64_t next = size - done < chunk ? size - done : chunk;

		if (size >= PROGRESS_MIN)
			Print(L"\r  %a  %d %%", path, (UINTN)(done * 100 / size));
		if (read_bytes(file, to + done, next))
			return BOOT_READ_ERROR;
		done += next;
	}
	return BOOT_OK;
}

static uint32_t read_open_file(EFI_FILE_PROTOCOL *file, struct boot_file *f)
{
	uint64_t rounded;
	uint8_t *memory;
	uint32_t status = get_size(file, &f->size);

	if (status)
		return status;
	if (!f->size)
		return BOOT_EMPTY;
	if (f->size > 1ULL << 46)
		return BOOT_TOO_LARGE;
	memory = pages_allocate(f->size, BOOT_MEMORY_FILES);
	if (!memory)
		return BOOT_NO_MEMORY;
	status = read_with_progress(file, f->path, memory, f->size);
	if (status) {
		pages_free_last(memory);
		return status;
	}
	rounded = (f->size + PAGES_SIZE - 1) & ~(PAGES_SIZE - 1);
	memset(memory + f->size, 0, rounded - f->size);
	f->hpa = (uintptr_t)memory;
	return BOOT_OK;
}

static void read_file(EFI_FILE_PROTOCOL *root, struct boot_file *f)
{
	EFI_FILE_PROTOCOL *file = open_path(root, f->path, &f->status);

	if (file) {
		f->status = read_open_file(file, f);
		file->Close(file);
	}
	if (f->status)
		Print(L"\r  %a: %s\r\n", f->path, status_word(f->status));
	else
		Print(L"\r  %a  %ld KiB  \r\n", f->path, (f->size + 1023) / 1024);
}

static bool is_one_of_files(const struct boot_info *info, const char *path)
{
	for (uint32_t i = 0; i < info->file_count; i++)
		if (!strcmpa((const CHAR8 *)info->file[i].path, (const CHAR8 *)path))
			return true;
	return false;
}

/*
 * Enters a path into the list of files, once. What does not fit (path or list too long) is left out; the core then
 * finds no file of this name and says so.
 */
static void add_path(struct boot_info *info, const char *path, uint32_t length)
{
	char name[BOOT_PATH_MAX];

	if (!length || length >= sizeof name)
		return;
	memcpy(name, path, length);
	name[length] = '\0';
	if (is_one_of_files(info, name) || info->file_count == BOOT_MAX_FILES)
		return;
	memcpy(info->file[info->file_count++].path, name, length + 1);
}

static void collect_paths(struct boot_info *info, const char *text)
{
	for (uint32_t i = 0; i < info->setting_count; i++) {
		const char *key = text + info->setting[i].key, *value = text + info->setting[i].value;

		add_path(info, value, ini_path_length(key, value));
	}
}

static void describe_too_large(struct boot_info *info, uint64_t size)
{
	CHAR16 wide[100];
	unsigned i;

	UnicodeSPrint(wide, sizeof wide, L"found %ld bytes, expected at most %d", size, (UINTN)BOOT_CONFIG_MAX);
	for (i = 0; wide[i]; i++)
		info->config_error[i] = (char)wide[i];
	info->config_error[i] = '\0';
}

/* Reads the text and one byte more for the NUL that ends it. NULL with a status when there is none. */
static char *read_config_text(EFI_FILE_PROTOCOL *root, struct boot_info *info, uint64_t *size)
{
	EFI_FILE_PROTOCOL *file = open_path(root, CONFIG_PATH, &info->config_status);
	char *text = NULL;

	if (!file)
		return NULL;
	info->config_status = get_size(file, size);
	if (!info->config_status && !*size)
		info->config_status = BOOT_EMPTY;
	if (!info->config_status && *size > BOOT_CONFIG_MAX) {
		info->config_status = BOOT_TOO_LARGE;
		describe_too_large(info, *size);
	}
	if (!info->config_status) {
		text = pages_allocate(*size + 1, BOOT_MEMORY_LOADER);
		info->config_status = text ? read_bytes(file, (uint8_t *)text, *size) : BOOT_NO_MEMORY;
	}
	file->Close(file);
	return info->config_status ? NULL : text;
}

static char *read_config(EFI_FILE_PROTOCOL *root, struct boot_info *info)
{
	uint64_t size = 0;
	char *text = read_config_text(root, info, &size);

	if (!text)
		return NULL;
	if (ini_parse(text, (uint32_t)size, info->setting, BOOT_MAX_SETTINGS, &info->setting_count,
		      info->config_error)) {
		info->config_status = BOOT_SYNTAX;
		info->setting_count = 0; /* half a configuration is none */
	}
	info->config_hpa = (uintptr_t)text;
	info->config_size = (uint32_t)size + 1; /* with the final NUL */
	return text;
}

static EFI_FILE_PROTOCOL *open_volume(EFI_HANDLE image)
{
	EFI_SIMPLE_FILE_SYSTEM_PROTOCOL *volume;
	EFI_LOADED_IMAGE_PROTOCOL *loaded;
	EFI_FILE_PROTOCOL *root;

	if (EFI_ERROR(BS->HandleProtocol(image, &LoadedImageProtocol, (void **)&loaded)))
		return NULL;
	if (EFI_ERROR(BS->HandleProtocol(loaded->DeviceHandle, &FileSystemProtocol, (void **)&volume)))
		return NULL;
	return EFI_ERROR(volume->OpenVolume(volume, &root)) ? NULL : root;
}

void file_read_all(EFI_HANDLE image, struct boot_info *info)
{
	uint64_t start = tsc_read();
	EFI_FILE_PROTOCOL *root = open_volume(image);
	char *text = NULL;

	info->config_status = BOOT_NOT_FOUND; /* no file system: started over the network */
	if (root)
		text = read_config(root, info);
	if (info->config_status)
		Print(L"  %a: %s %a\r\n", CONFIG_PATH, status_word(info->config_status), info->config_error);
	else
		collect_paths(info, text);
	for (uint32_t i = 0; root && i < info->file_count; i++)
		read_file(root, &info->file[i]);
	if (root)
		root->Close(root);
	info->copy_ticks = tsc_read() - start;
}
