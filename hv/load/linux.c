/*
 * Linux: the 64-bit boot protocol (Linux, Documentation/arch/x86/boot.rst). Puts a bzImage's protected-mode part, the
 * initrd, the command line and boot_params into guest memory; the first vCPU starts in long mode at payload + 0x200
 * with RSI = boot_params. Called by hv/vm; owns the low addresses listed in tables.h.
 *
 * Not handled: zImage, kernels older than 3.8 (protocol 2.12), loading above 4 GiB, setup_data, video modes.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/lib/printf.h"
#include "hv/lib/string.h"
#include "hv/load/load.h"
#include "hv/load/tables.h"

/* Offsets in the file and in boot_params alike: the setup header stands at the same place in both. */
enum {
	OFF_ACPI_RSDP = 0x070,
	OFF_EXT_RAMDISK_IMAGE = 0x0c0,
	OFF_EXT_RAMDISK_SIZE = 0x0c4,
	OFF_E820_ENTRIES = 0x1e8,
	OFF_SETUP_SECTS = 0x1f1,
	OFF_SYSSIZE = 0x1f4,
	OFF_BOOT_FLAG = 0x1fe,
	OFF_JUMP_LENGTH = 0x201,
	OFF_JUMP_END = 0x202,
	OFF_MAGIC = 0x202,
	OFF_VERSION = 0x206,
	OFF_TYPE_OF_LOADER = 0x210,
	OFF_LOADFLAGS = 0x211,
	OFF_RAMDISK_IMAGE = 0x218,
	OFF_RAMDISK_SIZE = 0x21c,
	OFF_CMD_LINE_PTR = 0x228,
	OFF_INITRD_ADDR_MAX = 0x22c,
	OFF_KERNEL_ALIGNMENT = 0x230,
	OFF_RELOCATABLE = 0x234,
	OFF_XLOADFLAGS = 0x236,
	OFF_CMDLINE_SIZE = 0x238,
	OFF_PREF_ADDRESS = 0x258,
	OFF_INIT_SIZE = 0x260,
	OFF_HEADER_NEEDED = 0x264, /* end of the last field that we read */
	OFF_HEADER_LIMIT = 0x290,  /* where boot_params goes on with other things */
	OFF_E820_TABLE = 0x2d0,
};

#define SECTOR		     512
#define BOOT_FLAG	     0xaa55
#define HEADER_MAGIC	     0x53726448 /* "HdrS" */
#define VERSION_NEEDED	     0x020c
#define LOADFLAG_LOADED_HIGH 0x01
#define XLOADFLAG_KERNEL_64  0x0001
#define LOADER_UNDEFINED     0xff
#define ENTRY_64	     0x200
#define BOOT_CS		     0x10
#define BOOT_DS		     0x18

struct kernel {
	const struct load_image *image;
	uint32_t header_end; /* of the setup header, an offset in the file */
	uint64_t payload, payload_size;
	uint64_t pref_address, alignment;
	uint64_t need; /* bytes of memory from the load address on */
	uint64_t load; /* the load address */
	uint32_t initrd_addr_max, cmdline_size;
	bool relocatable;
};

static uint64_t field(const uint8_t *data, unsigned offset, unsigned size)
{
	uint64_t value = 0;

	memcpy(&value, data + offset, size);
	return value;
}

static void set_field(uint8_t *data, unsigned offset, uint64_t value, unsigned size)
{
	memcpy(data + offset, &value, size);
}

/* Is this a bzImage that can be entered in 64-bit mode? */
static int check_identity(const struct load_image *image, char *error)
{
	const uint8_t *d = image->data;
	unsigned found;

	if (image->size < 2 * SECTOR)
		return load_complain(error, image, "not a bzImage: found %llu bytes, expected at least %d",
				     (unsigned long long)image->size, 2 * SECTOR);
	found = (unsigned)field(d, OFF_BOOT_FLAG, 2);
	if (found != BOOT_FLAG)
		return load_complain(error, image, "not a bzImage: boot_flag: found 0x%04x, expected 0x%04x", found,
				     BOOT_FLAG);
	found = (unsigned)field(d, OFF_MAGIC, 4);
	if (found != HEADER_MAGIC)
		return load_complain(error, image, "not a bzImage: header: found 0x%08x, expected 0x%08x (HdrS)", found,
				     HEADER_MAGIC);
	found = (unsigned)field(d, OFF_VERSION, 2);
	if (found < VERSION_NEEDED)
		return load_complain(error, image, "too old a protocol: found 0x%04x, expected at least 0x%04x", found,
				     VERSION_NEEDED);
	if (!(d[OFF_LOADFLAGS] & LOADFLAG_LOADED_HIGH))
		return load_complain(error, image,
				     "loadflags: found 0x%02x, expected LOADED_HIGH (0x01): a bzImage, not a zImage",
				     d[OFF_LOADFLAGS]);
	found = (unsigned)field(d, OFF_XLOADFLAGS, 2);
	if (!(found & XLOADFLAG_KERNEL_64))
		return load_complain(
		    error, image, "xloadflags: found 0x%04x, expected XLF_KERNEL_64 (0x0001): a 64-bit kernel", found);
	return 0;
}

/* Where the parts are in the file; setup_sects and syssize are believed only as far as the file goes. */
static int find_payload(struct kernel *k, char *error)
{
	const struct load_image *image = k->image;
	unsigned sectors = image->data[OFF_SETUP_SECTS] ? image->data[OFF_SETUP_SECTS] : 4;
	uint64_t expected;

	k->header_end = OFF_JUMP_END + image->data[OFF_JUMP_LENGTH];
	if (k->header_end < OFF_HEADER_NEEDED)
		return load_complain(error, image, "setup header: found its end at 0x%x, expected at least 0x%x",
				     k->header_end, OFF_HEADER_NEEDED);
	if (k->header_end > OFF_HEADER_LIMIT)
		k->header_end = OFF_HEADER_LIMIT;
	k->payload = (uint64_t)(sectors + 1) * SECTOR;
	k->payload_size = field(image->data, OFF_SYSSIZE, 4) * 16;
	if (k->payload_size <= ENTRY_64)
		return load_complain(error, image, "syssize: found 0x%llx bytes of code, expected more than 0x%x",
				     (unsigned long long)k->payload_size, ENTRY_64);
	expected = k->payload + k->payload_size;
	if (image->size < expected)
		return load_complain(error, image,
				     "truncated: found %llu bytes, expected %llu (setup_sects %u, syssize 0x%llx)",
				     (unsigned long long)image->size, (unsigned long long)expected, sectors,
				     (unsigned long long)k->payload_size / 16);
	return 0;
}

static int read_header(struct kernel *k, char *error)
{
	const uint8_t *d = k->image->data;
	uint64_t init_size = field(d, OFF_INIT_SIZE, 4);

	k->pref_address = field(d, OFF_PREF_ADDRESS, 8);
	k->alignment = field(d, OFF_KERNEL_ALIGNMENT, 4);
	k->initrd_addr_max = (uint32_t)field(d, OFF_INITRD_ADDR_MAX, 4);
	k->cmdline_size = (uint32_t)field(d, OFF_CMDLINE_SIZE, 4);
	k->relocatable = d[OFF_RELOCATABLE] != 0;
	k->need = init_size > k->payload_size ? init_size : k->payload_size;
	if (k->alignment & (k->alignment - 1) || k->alignment < PAGE_SIZE)
		return load_complain(error, k->image,
				     "kernel_alignment: found 0x%llx, expected a power of two, at least 0x1000",
				     (unsigned long long)k->alignment);
	if (k->pref_address < MIB || k->pref_address >= 4 * GIB)
		return load_complain(error, k->image,
				     "pref_address: found 0x%llx, expected an address from 1 MiB to 4 GiB",
				     (unsigned long long)k->pref_address);
	return 0;
}

/* RAM of a region below 4 GiB, the end exclusive; empty when start >= end. */
static uint64_t region_end(const struct guest_region *r)
{
	uint64_t end = r->gpa + r->size;

	if (!r->ram)
		return 0;
	return end < 4 * GIB ? end : 4 * GIB;
}

/*
 * At pref_address, or else at the next aligned place above it that is free. Never below: the kernel would move itself
 * up to pref_address (its LOAD_PHYSICAL_ADDR), so a lower place does not save memory.
 */
static int place_kernel(struct kernel *k, const struct guest_mem *mem, char *error)
{
	for (unsigned i = 0; i < mem->count; i++) {
		const struct guest_region *r = &mem->region[i];
		uint64_t end = region_end(r), at = k->pref_address;

		if (at < r->gpa) {
			if (!k->relocatable || r->gpa >= 4 * GIB)
				continue;
			at = ALIGN_UP(r->gpa, k->alignment);
		}
		if (at < end && end - at >= k->need) {
			k->load = at;
			return 0;
		}
	}
	return load_complain(error, k->image,
			     "kernel larger than memory: init_size is 0x%llx bytes at 0x%llx, found RAM up to 0x%llx%s",
			     (unsigned long long)k->need, (unsigned long long)k->pref_address,
			     (unsigned long long)guest_mem_below_4g(mem), k->relocatable ? "" : " (not relocatable)");
}

/* Free RAM [low, high) for the initrd: the highest page-aligned place for `size` bytes, or 0. Keeps the largest in
 * `most`. */
static uint64_t place_between(uint64_t low, uint64_t high, uint64_t size, uint64_t *most)
{
	if (low < MIB)
		low = MIB;
	high = ALIGN_DOWN(high, PAGE_SIZE);
	if (high <= low)
		return 0;
	if (high - low > *most)
		*most = high - low;
	if (size > high - low)
		return 0;
	return ALIGN_DOWN(high - size, PAGE_SIZE);
}

/* As high as initrd_addr_max and 4 GiB allow, so that the kernel has room to unpack below. */
static int place_initrd(const struct kernel *k, const struct load_image *initrd, const struct guest_mem *mem,
			uint64_t *at, char *error)
{
	uint64_t limit = (uint64_t)k->initrd_addr_max + 1, most = 0;

	*at = 0;
	for (unsigned i = mem->count; i-- > 0 && !*at;) {
		const struct guest_region *r = &mem->region[i];
		uint64_t end = region_end(r);

		if (end > limit)
			end = limit;
		if (k->load >= r->gpa && k->load < r->gpa + r->size) {
			*at = place_between(k->load + k->need, end, initrd->size, &most);
			end = end < k->load ? end : k->load;
		}
		if (!*at)
			*at = place_between(r->gpa, end, initrd->size, &most);
	}
	if (!*at)
		return load_complain(
		    error, initrd,
		    "initrd larger than memory: found %llu bytes, expected at most %llu beside the kernel and below "
		    "0x%llx",
		    (unsigned long long)initrd->size, (unsigned long long)most, (unsigned long long)limit);
	return 0;
}

static int load_initrd(const struct kernel *k, const struct load_request *req, const struct guest_mem *mem,
		       uint8_t *params, char *error)
{
	uint64_t at;
	int err;

	if (!req->initrd.data)
		return 0;
	err = place_initrd(k, &req->initrd, mem, &at, error);
	if (err)
		return err;
	set_field(params, OFF_RAMDISK_IMAGE, at, 4);
	set_field(params, OFF_EXT_RAMDISK_IMAGE, at >> 32, 4);
	set_field(params, OFF_RAMDISK_SIZE, req->initrd.size, 4);
	set_field(params, OFF_EXT_RAMDISK_SIZE, req->initrd.size >> 32, 4);
	if (guest_write(mem, GPA(at), req->initrd.data, req->initrd.size))
		return load_complain(error, &req->initrd, "found no memory at 0x%llx", (unsigned long long)at);
	return 0;
}

static int load_cmdline(const struct kernel *k, const struct load_request *req, const struct guest_mem *mem,
			uint8_t *params, char *error)
{
	const uint32_t room = LOW_END - LOW_CMDLINE - 1;
	uint32_t most = k->cmdline_size < room ? k->cmdline_size : room;
	size_t length = strlen(req->cmdline);

	if (length > most)
		return load_complain(error, k->image, "cmdline: found %zu characters, expected at most %u", length,
				     most);
	set_field(params, OFF_CMD_LINE_PTR, LOW_CMDLINE, 4);
	if (guest_write(mem, GPA(LOW_CMDLINE), req->cmdline, length + 1))
		return load_complain(error, k->image, "cmdline: found no memory at 0x%x", LOW_CMDLINE);
	return 0;
}

/* screen_info stays zero: no VGA, the console is serial. So do heap and real-mode fields, which 64-bit entry ignores.
 */
static void fill_params(const struct kernel *k, const struct load_request *req, const struct guest_mem *mem,
			uint8_t *params)
{
	struct e820_entry map[E820_MAX];
	unsigned count = load_memory_map(mem, map);

	memset(params, 0, PAGE_SIZE);
	memcpy(params + OFF_SETUP_SECTS, k->image->data + OFF_SETUP_SECTS, k->header_end - OFF_SETUP_SECTS);
	params[OFF_TYPE_OF_LOADER] = LOADER_UNDEFINED;
	params[OFF_LOADFLAGS] = LOADFLAG_LOADED_HIGH;
	params[OFF_E820_ENTRIES] = (uint8_t)count;
	memcpy(params + OFF_E820_TABLE, map, count * sizeof(map[0]));
	set_field(params, OFF_ACPI_RSDP, req->rsdp_gpa, 8);
	set_field(params, OFF_RAMDISK_IMAGE, 0, 4);
	set_field(params, OFF_RAMDISK_SIZE, 0, 4);
}

/* What the protocol wants on entry: flat segments that agree with a GDT, identity mapping, interrupts off. */
static int set_state(const struct kernel *k, const struct guest_mem *mem, struct cpu_state *state, char *error)
{
	cpu_state_long(state);
	state->rip = k->load + ENTRY_64;
	state->reg[REG_RSI] = LOW_INFO;
	state->reg[REG_RSP] = LOW_STACK;
	for (int i = SEG_ES; i <= SEG_GS; i++)
		state->seg[i].selector = i == SEG_CS ? BOOT_CS : BOOT_DS;
	if (load_page_tables(mem, state) || load_gdt(mem, state))
		return load_complain(error, k->image, "page tables, GDT: found no memory at 0x%x", LOW_PAGE_TABLES);
	return 0;
}

static int find_kernel(struct kernel *k, const struct guest_mem *mem, char *error)
{
	int err = check_identity(k->image, error);

	if (!err)
		err = find_payload(k, error);
	if (!err)
		err = read_header(k, error);
	if (!err)
		err = place_kernel(k, mem, error);
	return err;
}

int load_linux(const struct load_request *req, const struct guest_mem *mem, struct cpu_state *state,
	       char error[LOAD_ERROR_MAX])
{
	struct kernel k = {.image = &req->kernel};
	uint8_t *params = guest_map(mem, GPA(LOW_INFO), PAGE_SIZE); /* no vCPU runs yet: nobody else writes there */
	int err = find_kernel(&k, mem, error);

	if (err)
		return err;
	if (!params)
		return load_complain(error, k.image, "boot_params: found no memory at 0x%x", LOW_INFO);
	fill_params(&k, req, mem, params);
	err = load_cmdline(&k, req, mem, params, error);
	if (!err)
		err = load_initrd(&k, req, mem, params, error);
	if (err)
		return err;
	if (guest_write(mem, GPA(k.load), k.image->data + k.payload, k.payload_size))
		return load_complain(error, k.image, "found no memory at 0x%llx", (unsigned long long)k.load);
	return set_state(&k, mem, state, error);
}
