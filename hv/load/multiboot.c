/*
 * Multiboot 1 (The Multiboot Specification 0.6.96): finds the header, loads by its own addresses or by ELF, and gives
 * command line, modules, memory map and memory sizes. The vCPU starts in flat protected mode, EAX = 2BADB002h. Called
 * by hv/vm; owns the low addresses listed in tables.h.
 *
 * ELF64 is taken too, although the specification speaks of ELF32: a 64-bit kernel with a 32-bit entry stub is the usual
 * teaching kernel, and GRUB starts it. All its addresses must be below 4 GiB. Not handled: drives, APM and ROM tables,
 * VBE and ELF section headers (their flags stay 0, as the specification allows).
 */
/* SPDX-License-Identifier: MIT */
#include "hv/lib/printf.h"
#include "hv/lib/string.h"
#include "hv/load/load.h"
#include "hv/load/tables.h"

#define HEADER_MAGIC	      0x1badb002u
#define LOADER_MAGIC	      0x2badb002u
#define HEADER_SEARCH	      8192
#define HEADER_SIZE	      12
#define HEADER_SIZE_ADDRESSES 32
#define HEADER_REQUIRED	      0xffffu /* bits that a loader must know or refuse */
#define HEADER_KNOWN	      0x7u    /* 0: align modules, 1: memory information, 2: video mode wished for */
#define HEADER_VIDEO	      BIT(2)
#define HEADER_ADDRESSES      BIT(16)

#define INFO_MEMORY	 BIT(0)
#define INFO_CMDLINE	 BIT(2)
#define INFO_MODULES	 BIT(3)
#define INFO_MEMORY_MAP	 BIT(6)
#define INFO_LOADER_NAME BIT(9)
#define INFO_FRAMEBUFFER BIT(12)

#define ELF_MAX_SEGMENTS 32
#define EM_386		 3
#define EM_X86_64	 62
#define ET_EXEC		 2
#define PT_LOAD		 1

struct header {
	uint32_t magic, flags, checksum;
	uint32_t header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr; /* with HEADER_ADDRESSES */
};

/* Specification 3.3. */
struct info {
	uint32_t flags;
	uint32_t mem_lower, mem_upper; /* KiB from 0, KiB from 1 MiB */
	uint32_t boot_device, cmdline, mods_count, mods_addr, syms[4];
	uint32_t mmap_length, mmap_addr, drives_length, drives_addr, config_table, boot_loader_name, apm_table, vbe[4];
	uint64_t framebuffer_addr;
	uint32_t framebuffer_pitch, framebuffer_width, framebuffer_height;
	uint8_t framebuffer_bpp, framebuffer_type, color_info[6];
} __attribute__((packed));

struct info_module {
	uint32_t start, end, string, reserved;
};

struct info_memory {
	uint32_t size; /* of what follows */
	struct e820_entry entry;
} __attribute__((packed));

/* A piece of the file and where it goes. */
struct piece {
	uint64_t offset, file_size;
	uint64_t gpa, memory_size;
	uint64_t virtual;
};

struct kernel {
	const struct load_image *image;
	const struct guest_mem *mem;
	char *error;
	struct header header;
	uint64_t header_offset;
	struct {
		uint64_t gpa, size;
	} loaded[ELF_MAX_SEGMENTS];
	unsigned loaded_count;
	uint64_t entry, end; /* end: first byte behind all pieces */
};

/* The information structure and what hangs on it, growing upward from LOW_INFO. */
struct area {
	const struct guest_mem *mem;
	uint64_t at;
};

static bool is_ram(const struct guest_mem *mem, uint64_t gpa, uint64_t size)
{
	for (unsigned i = 0; i < mem->count; i++) {
		const struct guest_region *r = &mem->region[i];

		if (r->ram && gpa >= r->gpa && gpa - r->gpa < r->size && size <= r->size - (gpa - r->gpa))
			return gpa + size <= 4 * GIB;
	}
	return false;
}

/* --- header (specification 3.1) ---------------------------------------------------------------------------------- */

static int find_header(struct kernel *k)
{
	const struct load_image *image = k->image;
	uint64_t end = image->size < HEADER_SEARCH ? image->size : HEADER_SEARCH;
	struct header *h = &k->header;
	bool seen = false;

	for (uint64_t at = 0; at + HEADER_SIZE <= end; at += 4) {
		struct header found;

		memcpy(&found, image->data + at, HEADER_SIZE);
		if (found.magic != HEADER_MAGIC)
			continue;
		if (found.magic + found.flags + found.checksum == 0) {
			memcpy(h, &found, HEADER_SIZE);
			k->header_offset = at;
			return 0;
		}
		if (!seen)
			memcpy(h, &found, HEADER_SIZE);
		seen = true;
	}
	if (seen)
		return load_complain(k->error, image, "Multiboot header: checksum: found 0x%08x, expected 0x%08x",
				     h->checksum, 0 - h->magic - h->flags);
	return load_complain(k->error, image, "no Multiboot header: found no 0x%08x in the first %llu bytes",
			     HEADER_MAGIC, (unsigned long long)end);
}

static int read_header(struct kernel *k)
{
	struct header *h = &k->header;
	uint32_t unknown;
	int err = find_header(k);

	if (err)
		return err;
	unknown = h->flags & HEADER_REQUIRED & ~HEADER_KNOWN;
	if (unknown)
		return load_complain(
		    k->error, k->image,
		    "Multiboot header: flags: found 0x%08x, of which 0x%04x is unknown and required, expected "
		    "bits 0 to 2 and 16",
		    h->flags, unknown);
	if (!(h->flags & HEADER_ADDRESSES))
		return 0;
	if (k->image->size - k->header_offset < HEADER_SIZE_ADDRESSES)
		return load_complain(k->error, k->image,
				     "Multiboot header: found %llu bytes, expected %d with flag bit 16",
				     (unsigned long long)(k->image->size - k->header_offset), HEADER_SIZE_ADDRESSES);
	memcpy(h, k->image->data + k->header_offset, HEADER_SIZE_ADDRESSES);
	return 0;
}

/* --- loading ----------------------------------------------------------------------------------------------------- */

/* Where a piece may not go; what it would write over is told. Else a small file could have all memory written often. */
static int check_place(const struct kernel *k, const struct piece *p)
{
	const char *what = "another segment is";
	uint64_t gpa = LOW_GDT, size = LOW_END - LOW_GDT;

	if (ranges_overlap(p->gpa, p->memory_size, gpa, size))
		what = "the Multiboot information is";
	else
		size = 0;
	for (unsigned i = 0; i < k->loaded_count && !size; i++)
		if (ranges_overlap(p->gpa, p->memory_size, k->loaded[i].gpa, k->loaded[i].size)) {
			gpa = k->loaded[i].gpa;
			size = k->loaded[i].size;
		}
	if (!size)
		return 0;
	return load_complain(
	    k->error, k->image,
	    "segment at 0x%llx: found 0x%llx bytes, expected them outside of 0x%llx to 0x%llx, where %s",
	    (unsigned long long)p->gpa, (unsigned long long)p->memory_size, (unsigned long long)gpa,
	    (unsigned long long)gpa + size, what);
}

/* What follows a piece's part of the file: above 1 MiB it is zero (load.h). */
static int zero_rest(const struct kernel *k, const struct piece *p)
{
	uint64_t from = p->gpa + p->file_size, end = p->gpa + p->memory_size;

	if (end > MIB)
		end = MIB;
	return from < end ? guest_zero(k->mem, GPA(from), end - from) : 0;
}

static int load_piece(struct kernel *k, const struct piece *p)
{
	const struct load_image *image = k->image;
	unsigned long long gpa = p->gpa, size = p->memory_size;

	if (p->offset > image->size || p->file_size > image->size - p->offset)
		return load_complain(k->error, image,
				     "truncated: found %llu bytes, segment at 0x%llx wants 0x%llx from offset 0x%llx",
				     (unsigned long long)image->size, gpa, (unsigned long long)p->file_size,
				     (unsigned long long)p->offset);
	if (p->file_size > p->memory_size)
		return load_complain(k->error, image,
				     "segment at 0x%llx: found 0x%llx bytes in the file, expected at most 0x%llx", gpa,
				     (unsigned long long)p->file_size, size);
	if (!size)
		return 0;
	if (!is_ram(k->mem, p->gpa, p->memory_size))
		return load_complain(k->error, image,
				     "segment at 0x%llx: found 0x%llx bytes, expected them inside the VM's RAM", gpa,
				     size);
	if (check_place(k, p))
		return -E_FORMAT;
	k->loaded[k->loaded_count].gpa = p->gpa;
	k->loaded[k->loaded_count++].size = p->memory_size;
	if (p->gpa + p->memory_size > k->end)
		k->end = p->gpa + p->memory_size;
	if (guest_write(k->mem, GPA(p->gpa), image->data + p->offset, p->file_size) || zero_rest(k, p))
		return load_complain(k->error, image, "segment at 0x%llx: found no memory", gpa);
	return 0;
}

/* The header's own addresses: one piece, its place in the file follows from the header's. */
static int load_by_addresses(struct kernel *k)
{
	const struct header *h = &k->header;
	struct piece p = {.gpa = h->load_addr, .virtual = h->load_addr};
	uint64_t before = (uint64_t)h->header_addr - h->load_addr;

	if (h->load_addr > h->header_addr || before > k->header_offset)
		return load_complain(
		    k->error, k->image,
		    "Multiboot header: load_addr: found 0x%x, expected 0x%x to 0x%x (header_addr and its offset)",
		    h->load_addr, (uint32_t)(h->header_addr - k->header_offset), h->header_addr);
	p.offset = k->header_offset - before;
	p.file_size = h->load_end_addr ? (uint64_t)h->load_end_addr - h->load_addr : k->image->size - p.offset;
	p.memory_size = h->bss_end_addr ? (uint64_t)h->bss_end_addr - h->load_addr : p.file_size;
	if ((h->load_end_addr && h->load_end_addr < h->load_addr) ||
	    (h->bss_end_addr && h->bss_end_addr < h->load_addr))
		return load_complain(
		    k->error, k->image,
		    "Multiboot header: load_end_addr, bss_end_addr: found 0x%x, 0x%x, expected at least 0x%x",
		    h->load_end_addr, h->bss_end_addr, h->load_addr);
	k->entry = h->entry_addr;
	return load_piece(k, &p);
}

/* --- ELF (System V ABI, chapters 4 and 5) ------------------------------------------------------------------------ */

/* What differs between ELF32 and ELF64: offsets of fields, and the width of an address. */
struct elf_class {
	unsigned wide, machine, header_size, segment_size;
	unsigned e_entry, e_phoff, e_phentsize, e_phnum;
	unsigned p_offset, p_vaddr, p_paddr, p_filesz, p_memsz;
};

static const struct elf_class elf32 = {4, EM_386, 52, 32, 24, 28, 42, 44, 4, 8, 12, 16, 20};
static const struct elf_class elf64 = {8, EM_X86_64, 64, 56, 24, 32, 54, 56, 8, 16, 24, 32, 40};

static uint64_t field(const uint8_t *data, unsigned offset, unsigned size)
{
	uint64_t value = 0;

	memcpy(&value, data + offset, size);
	return value;
}

static const struct elf_class *find_elf_class(const struct kernel *k)
{
	const struct load_image *image = k->image;
	const struct elf_class *c;
	bool elf = image->size >= elf32.header_size && !memcmp(image->data, "\177ELF", 4);

	if (!elf || image->data[5] != 1 || (image->data[4] != 1 && image->data[4] != 2)) {
		(void)!load_complain(k->error, image,
				     "found neither addresses in the Multiboot header nor a little-endian ELF file");
		return NULL;
	}
	c = image->data[4] == 1 ? &elf32 : &elf64;
	if (image->size < c->header_size) {
		(void)!load_complain(k->error, image,
				     "truncated: found %llu bytes, expected at least %u, an ELF header",
				     (unsigned long long)image->size, c->header_size);
		return NULL;
	}
	return c;
}

/* e_type, e_machine, and that the table of segments lies in the file. */
static int check_elf(const struct kernel *k, const struct elf_class *c)
{
	const uint8_t *d = k->image->data;
	unsigned type = (unsigned)field(d, 16, 2), machine = (unsigned)field(d, 18, 2);
	unsigned size = (unsigned)field(d, c->e_phentsize, 2), count = (unsigned)field(d, c->e_phnum, 2);
	uint64_t at = field(d, c->e_phoff, c->wide);

	if (type != ET_EXEC || machine != c->machine)
		return load_complain(k->error, k->image, "ELF header: e_type, e_machine: found %u, %u, expected %u, %u",
				     type, machine, ET_EXEC, c->machine);
	if (size != c->segment_size || !count || count > ELF_MAX_SEGMENTS)
		return load_complain(k->error, k->image,
				     "ELF header: e_phentsize, e_phnum: found %u, %u, expected %u, 1 to %u", size,
				     count, c->segment_size, ELF_MAX_SEGMENTS);
	if (at > k->image->size || (uint64_t)size * count > k->image->size - at)
		return load_complain(k->error, k->image,
				     "truncated: found %llu bytes, expected %u program headers from 0x%llx on",
				     (unsigned long long)k->image->size, count, (unsigned long long)at);
	return 0;
}

static struct piece read_segment(const struct elf_class *c, const uint8_t *s)
{
	return (struct piece){
	    .offset = field(s, c->p_offset, c->wide),
	    .file_size = field(s, c->p_filesz, c->wide),
	    .gpa = field(s, c->p_paddr, c->wide),
	    .memory_size = field(s, c->p_memsz, c->wide),
	    .virtual = field(s, c->p_vaddr, c->wide),
	};
}

/* Segments go to their physical addresses; an entry that lies in a segment's virtual range is translated with it. */
static int load_elf(struct kernel *k)
{
	const struct elf_class *c = find_elf_class(k);
	const uint8_t *segment;
	uint64_t entry;
	int err = c ? check_elf(k, c) : -E_FORMAT;

	if (err)
		return err;
	segment = k->image->data + field(k->image->data, c->e_phoff, c->wide);
	k->entry = entry = field(k->image->data, c->e_entry, c->wide);
	for (unsigned n = (unsigned)field(k->image->data, c->e_phnum, 2); n && !err; n--, segment += c->segment_size) {
		struct piece p = read_segment(c, segment);

		if (field(segment, 0, 4) != PT_LOAD)
			continue;
		err = load_piece(k, &p);
		if (entry >= p.virtual && entry - p.virtual < p.memory_size)
			k->entry = p.gpa + (entry - p.virtual);
	}
	return err;
}

static int load_kernel(struct kernel *k)
{
	int err = read_header(k);

	if (!err)
		err = k->header.flags & HEADER_ADDRESSES ? load_by_addresses(k) : load_elf(k);
	if (!err && !is_ram(k->mem, k->entry, 1))
		err = load_complain(k->error, k->image,
				    "entry: found 0x%llx, expected an address in the VM's RAM below 4 GiB",
				    (unsigned long long)k->entry);
	return err;
}

/* --- information (specification 3.3) ----------------------------------------------------------------------------- */

/* Appends to the area, 4-byte aligned; answers the address, or 0 when it is full. */
static uint32_t append(struct area *a, const void *data, size_t size)
{
	uint64_t at = ALIGN_UP(a->at, 4);

	if (at > LOW_END || size > LOW_END - at || guest_write(a->mem, GPA(at), data, size))
		return 0;
	a->at = at + size;
	return (uint32_t)at;
}

static uint32_t append_string(struct area *a, const char *s)
{
	return append(a, s, strlen(s) + 1);
}

/* A page-aligned place in RAM for a module at or above `from`, or 0. */
static uint64_t place_module(const struct guest_mem *mem, uint64_t from, uint64_t size)
{
	from = ALIGN_UP(from > MIB ? from : MIB, PAGE_SIZE);
	for (unsigned i = 0; i < mem->count; i++) {
		uint64_t at = mem->region[i].gpa > from ? mem->region[i].gpa : from;

		if (is_ram(mem, at, size))
			return at;
	}
	return 0;
}

static int load_module(struct kernel *k, const struct load_image *module, const char *args, struct area *area,
		       struct info_module *m)
{
	uint64_t at = place_module(k->mem, k->end, module->size);

	if (!at || guest_write(k->mem, GPA(at), module->data, module->size))
		return load_complain(k->error, module,
				     "module larger than memory: found %llu bytes, expected them in RAM from 0x%llx on",
				     (unsigned long long)module->size, (unsigned long long)k->end);
	k->end = at + module->size;
	*m = (struct info_module){.start = (uint32_t)at, .end = (uint32_t)(at + module->size)};
	m->string = append_string(area, args ? args : "");
	if (!m->string)
		return load_complain(k->error, module,
				     "arguments: found %zu characters, expected less: all strings share 32 KiB",
				     strlen(args ? args : ""));
	return 0;
}

static int load_modules(struct kernel *k, const struct load_request *req, struct area *area, struct info *info)
{
	struct info_module list[LOAD_MAX_MODULES];
	unsigned count = req->module_count < LOAD_MAX_MODULES ? req->module_count : LOAD_MAX_MODULES;
	int err = 0;

	for (unsigned i = 0; i < count && !err; i++)
		err = load_module(k, &req->module[i], req->module_args[i], area, &list[i]);
	if (err)
		return err;
	info->flags |= INFO_MODULES;
	info->mods_count = count;
	info->mods_addr = append(area, list, count * sizeof(list[0]));
	return 0;
}

static void add_memory(const struct guest_mem *mem, struct area *area, struct info *info)
{
	struct e820_entry map[E820_MAX];
	struct info_memory list[E820_MAX];
	unsigned count = load_memory_map(mem, map);
	uint64_t top = guest_mem_below_4g(mem);

	for (unsigned i = 0; i < count; i++)
		list[i] = (struct info_memory){sizeof(list[i].entry), map[i]};
	info->flags |= INFO_MEMORY | INFO_MEMORY_MAP;
	info->mem_lower = PC_EBDA / KIB;
	info->mem_upper = top > MIB ? (uint32_t)((top - MIB) / KIB) : 0;
	info->mmap_length = count * (uint32_t)sizeof(list[0]);
	info->mmap_addr = append(area, list, info->mmap_length);
}

/* The wish for a video mode is only a wish; what there is, is VGA text. */
static void add_text_screen(struct info *info)
{
	info->flags |= INFO_FRAMEBUFFER;
	info->framebuffer_addr = 0xb8000;
	info->framebuffer_pitch = 160;
	info->framebuffer_width = 80;
	info->framebuffer_height = 25;
	info->framebuffer_bpp = 16;
	info->framebuffer_type = 2;
}

static int write_info(struct kernel *k, const struct load_request *req)
{
	struct info info = {.flags = INFO_CMDLINE | INFO_LOADER_NAME};
	struct area area = {k->mem, LOW_INFO + sizeof(info)};
	int err;

	add_memory(k->mem, &area, &info);
	if (k->header.flags & HEADER_VIDEO)
		add_text_screen(&info);
	info.boot_loader_name = append_string(&area, "Vireo");
	err = load_modules(k, req, &area, &info);
	if (err)
		return err;
	info.cmdline = append_string(&area, req->cmdline);
	if (!info.cmdline || !info.mods_addr)
		return load_complain(k->error, k->image,
				     "cmdline: found %zu characters, expected less: all strings share 32 KiB",
				     strlen(req->cmdline));
	if (!info.mmap_addr || guest_write(k->mem, GPA(LOW_INFO), &info, sizeof(info)))
		return load_complain(k->error, k->image, "Multiboot information: found no memory at 0x%x", LOW_INFO);
	return 0;
}

int load_multiboot(const struct load_request *req, const struct guest_mem *mem, struct cpu_state *state,
		   char error[LOAD_ERROR_MAX])
{
	struct kernel k = {.image = &req->kernel, .mem = mem, .error = error};
	int err = load_kernel(&k);

	if (!err)
		err = write_info(&k, req);
	if (err)
		return err;
	cpu_state_protected(state);
	state->rip = k.entry;
	state->reg[REG_RAX] = LOADER_MAGIC;
	state->reg[REG_RBX] = LOW_INFO;
	state->reg[REG_RSP] = LOW_STACK;
	if (load_gdt(mem, state))
		return load_complain(error, &req->kernel, "GDT: found no memory at 0x%x", LOW_GDT);
	return 0;
}
