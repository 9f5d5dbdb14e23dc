/* vireo.conf's keys: what is accepted, and the exact words about what is not. */
/* SPDX-License-Identifier: MIT */
/* links: hv/config.c hv/config_disk.c hv/config_net.c hv/config_line.c hv/lib/number.c arch/x86/mitigations.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "hv/config.h"

static struct boot_info info;
static struct config config;
static char text[BOOT_CONFIG_MAX];
static char error[CONFIG_ERROR_MAX];
static uint32_t section;

static uint32_t put(const char *s)
{
	uint32_t at = info.config_size;

	memcpy(text + at, s, strlen(s) + 1);
	info.config_size += (uint32_t)strlen(s) + 1;
	return at;
}

static void file(const char *path, uint32_t status)
{
	struct boot_file *f = &info.file[info.file_count++];

	snprintf(f->path, sizeof(f->path), "%s", path);
	f->status = status;
	f->hpa = status == BOOT_OK ? 0x1000000 : 0;
	f->size = 4096;
}

static int begin(void **state)
{
	(void)state;
	memset(&info, 0, sizeof(info));
	memset(text, 0, sizeof(text));
	file("\\k", BOOT_OK);
	file("\\gone", BOOT_NOT_FOUND);
	file("\\m", BOOT_OK);
	file("\\odd", BOOT_OK);
	info.file[3].size = 1000;
	file("memory", BOOT_OK);
	return 0;
}

/* As the tokenizer does it (boot/ini.c). Each takes a line. */
static void add_line(uint32_t key, uint32_t value)
{
	uint32_t n = info.setting_count++;

	info.setting[n] = (struct boot_setting){n + 1, section, key, value};
}

static void open_section(const char *words)
{
	uint32_t end;

	section = put(words);
	end = section + (uint32_t)strlen(words);
	add_line(end, end);
}

static void set(const char *key, const char *value)
{
	uint32_t at = put(key);

	add_line(at, put(value));
}

static int parse(void)
{
	return config_parse(&config, &info, text, error);
}

static void vm_fails(const char *words)
{
	assert_int_equal(parse(), 0);
	assert_string_equal(config.vm[config.vm_count - 1].error, words);
}

static void linux_with(const char *key, const char *value, const char *words)
{
	begin(NULL);
	open_section("vm linux");
	if (strcmp(key, "kernel"))
		set("kernel", "\\k");
	set(key, value);
	vm_fails(words);
}

static void defaults(void **s)
{
	const struct vm_config *vm = &config.vm[0];

	(void)s;
	open_section("vm a");
	set("kernel", "\\k");
	assert_int_equal(parse(), 0);
	assert_true(config.hv.apicv && config.hv.vpid && config.hv.preemption_timer && config.hv.aslr &&
		    !config.hv.verbose);
	assert_int_equal(config.hv.serial_baud, 115200);
	assert_int_equal(config.hv.mitigations.without, 0);
	assert_false(config.hv.mitigations.all || config.hv.mitigations.smt);
	assert_int_equal(config.vm_count, 1);
	assert_string_equal(vm->error, "");
	assert_string_equal(vm->name, "a");
	assert_int_equal(vm->line, 1);
	assert_int_equal(vm->vcpus, 1);
	assert_int_equal(vm->memory, 64 * MIB);
	assert_int_equal(vm->protocol, PROTOCOL_LINUX);
	assert_ptr_equal(vm->kernel, &info.file[0]);
	assert_null(vm->initrd);
	assert_string_equal(vm->cmdline, "");
	assert_int_equal(vm->entry, 0x7c00);
}

static void everything_set(void **s)
{
	(void)s;
	open_section(" hypervisor ");
	set("apicv", "off");
	set("vpid", "off");
	set("preemption_timer", "off");
	set("aslr", "off");
	set("log", "debug");
	set("serial", "9600");
	set("smt", "on");
	open_section("vm  linux");
	set("kernel", "\\k");
	set("initrd", "\\m");
	set("vcpus", "0x20");
	set("memory", "1G");
	set("cmdline", "quiet a=b");
	set("break", "0x6800  0xffffffffffffffff");
	open_section("vm boot-sector_1.x");
	set("protocol", "flat");
	set("kernel", "\\k");
	set("load", "1M");
	set("mode", "long");
	open_section("vm mb");
	set("protocol", "multiboot");
	set("kernel", "\\k");
	set("module", "\\m  one two");
	set("module", "\\k");
	assert_int_equal(parse(), 0);
	assert_false(config.hv.apicv || config.hv.vpid || config.hv.preemption_timer || config.hv.aslr);
	assert_true(config.hv.verbose && config.hv.mitigations.smt);
	assert_int_equal(config.hv.serial_baud, 9600);
	assert_int_equal(config.vm_count, 3);
	for (int i = 0; i < 3; i++)
		assert_string_equal(config.vm[i].error, "");
	assert_string_equal(config.vm[0].name, "linux");
	assert_int_equal(config.vm[0].vcpus, 32);
	assert_int_equal(config.vm[0].memory, GIB);
	assert_string_equal(config.vm[0].cmdline, "quiet a=b");
	assert_true(config.vm[0].break_entry);
	assert_int_equal(config.vm[0].break_field, 0x6800);
	assert_true(config.vm[0].break_value == ~0ULL);
	assert_int_equal(config.vm[1].load_address, MIB);
	assert_int_equal(config.vm[1].entry, MIB);
	assert_int_equal(config.vm[1].mode, MODE_LONG);
	assert_int_equal(config.vm[2].module_count, 2);
	assert_ptr_equal(config.vm[2].module[0], &info.file[2]);
	assert_string_equal(config.vm[2].module_args[0], "one two");
	assert_string_equal(config.vm[2].module_args[1], "");
}

static void scheduling_keys(void **s)
{
	(void)s;
	open_section("hypervisor");
	set("scheduler", "rr");
	set("background", "hide");
	open_section("vm a");
	set("kernel", "\\k");
	set("autostart", "off");
	set("weight", "512");
	set("cap", "150");
	set("cpus", "0,2-3,63");
	open_section("vm b");
	set("kernel", "\\k");
	set("cpus", "all");
	assert_int_equal(parse(), 0);
	assert_int_equal(config.hv.scheduler, SCHEDULER_RR);
	assert_false(config.hv.background);
	assert_false(config.vm[0].autostart);
	assert_int_equal(config.vm[0].weight, 512);
	assert_int_equal(config.vm[0].cap, 150);
	assert_true(config.vm[0].cpus == (1ULL << 63 | 0xd));
	assert_true(config.vm[1].cpus == ~0ULL);
	assert_true(config.vm[1].autostart);
	assert_int_equal(config.vm[1].weight, 256);
	assert_int_equal(config.vm[1].cap, 0);
}

/* What the shell's `set` and `create` use. */
static void changes_at_run_time(void **s)
{
	struct vm_config vm, copy;

	(void)s;
	open_section("vm a");
	set("kernel", "\\k");
	assert_int_equal(parse(), 0);
	vm = config.vm[0];
	assert_int_equal(config_set(&vm, &info, "weight", "7", error), 0);
	assert_int_equal(vm.weight, 7);
	assert_int_equal(config_set(&vm, &info, "weight", "0", error), -E_INVAL);
	assert_string_equal(error, "vm a: weight: found '0', expected a number from 1 to 10000");
	assert_int_equal(config_set(&vm, &info, "mode", "real", error), -E_INVAL);
	assert_string_equal(error, "vm a: 'mode' means nothing to the VM's protocol");
	assert_int_equal(config_set(&vm, &info, "module", "\\m", error), -E_INVAL);
	assert_int_equal(config_set(&vm, &info, "kernel", "\\absent", error), -E_INVAL);
	assert_int_equal(vm.weight, 7);
	assert_ptr_equal(vm.kernel, &info.file[0]);
	assert_int_equal(config_copy(&copy, &vm, "b", error), 0);
	assert_string_equal(copy.name, "b");
	assert_int_equal(copy.weight, 7);
	assert_int_equal(copy.line, 0);
	assert_int_equal(config_copy(&copy, &vm, "b c", error), -E_INVAL);
	assert_int_equal(config_copy(&copy, &vm, "b*", error), -E_INVAL);
}

static void bad_values(void **s)
{
	(void)s;
	linux_with("memory", "12Q", "vm linux (line 3): memory: found '12Q', expected a size such as 64M or 1G");
	linux_with("memory", "", "vm linux (line 3): memory: found '', expected a size such as 64M or 1G");
	linux_with("memory", "M", "vm linux (line 3): memory: found 'M', expected a size such as 64M or 1G");
	linux_with("memory", "0x", "vm linux (line 3): memory: found '0x', expected a size such as 64M or 1G");
	linux_with("memory", "-1M", "vm linux (line 3): memory: found '-1M', expected a size such as 64M or 1G");
	linux_with("memory", "18446744073709551616",
		   "vm linux (line 3): memory: found '18446744073709551616', expected a size such as 64M or 1G");
	linux_with("memory", "17179869184G",
		   "vm linux (line 3): memory: found '17179869184G', expected a size such as 64M or 1G");
	linux_with("memory", "512K", "vm linux (line 3): memory: found '512K', expected 1M to 512G");
	linux_with("memory", "513G", "vm linux (line 3): memory: found '513G', expected 1M to 512G");
	linux_with("memory", "1048577", "vm linux (line 3): memory: found '1048577', expected a multiple of 4K");
	linux_with("vcpus", "0", "vm linux (line 3): vcpus: found '0', expected a number from 1 to 32");
	linux_with("vcpus", "33", "vm linux (line 3): vcpus: found '33', expected a number from 1 to 32");
	linux_with("vcpus", "two", "vm linux (line 3): vcpus: found 'two', expected a number from 1 to 32");
	linux_with("protocol", "bios", "vm linux (line 3): protocol: found 'bios', expected linux, multiboot or flat");
	linux_with("mode", "virtual", "vm linux (line 3): mode: found 'virtual', expected real, protected or long");
	linux_with("load", "here", "vm linux (line 3): load: found 'here', expected an address such as 0x7c00 or 1M");
	linux_with(
	    "break", "0x6800",
	    "vm linux (line 3): break: found '0x6800', expected a VMCS field encoding and a value, such as 0x6800 0");
	linux_with("break", "0x10000 1",
		   "vm linux (line 3): break: found '0x10000 1', expected a VMCS field encoding and a value, such as "
		   "0x6800 0");
	linux_with("memroy", "1G",
		   "vm linux (line 3): unknown key 'memroy', expected one of vcpus, memory, kernel, initrd, cmdline, "
		   "protocol, "
		   "module, disk, net, load, entry, mode, break, autostart, kvm, hypercalls, peers, rng, hvc, balloon, "
		   "weight, cap, cpus");
	linux_with("hvc", "3", "vm linux (line 3): hvc: found '3', expected a number of consoles from 0 to 2");
	linux_with("hvc", "on", "vm linux (line 3): hvc: found 'on', expected a number of consoles from 0 to 2");
	linux_with("weight", "0", "vm linux (line 3): weight: found '0', expected a number from 1 to 10000");
	linux_with("cap", "6401",
		   "vm linux (line 3): cap: found '6401', expected percent of one CPU, 0 (no cap) to 6400");
	linux_with("cpus", "3-1",
		   "vm linux (line 3): cpus: found '3-1', expected all, or CPUs from 0 to 63 such as 0,2-3");
	linux_with("cpus", "64",
		   "vm linux (line 3): cpus: found '64', expected all, or CPUs from 0 to 63 such as 0,2-3");
	linux_with("cpus", "1,",
		   "vm linux (line 3): cpus: found '1,', expected all, or CPUs from 0 to 63 such as 0,2-3");
	linux_with("cpus", "", "vm linux (line 3): cpus: found '', expected all, or CPUs from 0 to 63 such as 0,2-3");
}

static void bad_files(void **s)
{
	char path[200];

	(void)s;
	linux_with("kernel", "\\gone", "vm linux (line 2): kernel \\gone: file not found");
	linux_with("initrd", "\\gone", "vm linux (line 3): initrd \\gone: file not found");
	linux_with("initrd", "\\other",
		   "vm linux (line 3): initrd \\other: the loader did not load it (at most 64 files)");
	linux_with("initrd", "", "vm linux (line 3): initrd: found nothing, expected a path such as \\vireo\\vmlinuz");
	memset(path, 'p', sizeof(path));
	path[150] = 0;
	linux_with("initrd", path, "vm linux (line 3): initrd: found a path of 150 characters, expected at most 127");
}

static void disks(void **s)
{
	const struct disk_config *d = config.vm[0].disk;

	(void)s;
	open_section("vm a");
	set("kernel", "\\k");
	set("disk", "\\m");
	set("disk", "\\odd  read-only\tserial=0123456789abcdefghi~");
	set("disk", "\\odd overlay 1M");
	set("disk", "memory 64G serial=memory");
	open_section("vm b");
	set("kernel", "\\k");
	set("disk", "memory 512");
	set("disk", "\\odd overlay 64G serial=x");
	set("disk", "\\k read-only");
	assert_int_equal(parse(), 0);
	assert_string_equal(config.vm[0].error, "");
	assert_string_equal(config.vm[1].error, "");
	assert_int_equal(config.vm[0].disk_count, 4);
	assert_int_equal(config.vm[1].disk_count, 3);
	assert_int_equal(d[0].kind, DISK_IN_PLACE);
	assert_ptr_equal(d[0].file, &info.file[2]);
	assert_true(d[0].size == 4096 && d[0].overlay == 0);
	assert_string_equal(d[0].serial, "disk0");
	assert_int_equal(d[1].kind, DISK_READ_ONLY);
	assert_ptr_equal(d[1].file, &info.file[3]);
	assert_true(d[1].size == 1024 && d[1].overlay == 0);
	assert_string_equal(d[1].serial, "0123456789abcdefghi~");
	assert_int_equal(d[2].kind, DISK_OVERLAY);
	assert_ptr_equal(d[2].file, &info.file[3]);
	assert_true(d[2].size == 1024 && d[2].overlay == MIB);
	assert_int_equal(d[3].kind, DISK_MEMORY);
	assert_null(d[3].file);
	assert_true(d[3].size == 64 * GIB && d[3].overlay == 64 * GIB);
	assert_string_equal(d[3].serial, "memory");
	assert_true(config.vm[1].disk[0].size == 512);
	assert_true(config.vm[1].disk[1].overlay == 64 * GIB);
}

#define EXPECTED_DISK                                                                                                  \
	"expected a path, perhaps read-only or overlay SIZE behind it, or memory SIZE; then perhaps serial=TEXT"
#define EXPECTED_OVERLAY "expected a path, overlay and a size of 1M to 64G"
#define EXPECTED_MEMORY	 "expected memory and a size of 512 to 64G, a multiple of 512"

static void bad_disk(const char *value, const char *expected)
{
	char words[CONFIG_ERROR_MAX];

	snprintf(words, sizeof(words), "vm linux (line 3): disk: found '%s', %s", value, expected);
	linux_with("disk", value, words);
	assert_int_equal(config.vm[0].disk_count, 0);
}

static void bad_disks(void **s)
{
	(void)s;
	bad_disk("", EXPECTED_DISK);
	bad_disk(" \\m", EXPECTED_DISK);
	bad_disk("\\m readonly", EXPECTED_DISK);
	bad_disk("\\m read-only now", EXPECTED_DISK);
	bad_disk("\\m read-only 1M serial=x", EXPECTED_DISK);
	bad_disk("\\m serial=x read-only", EXPECTED_DISK);
	bad_disk("\\m serial=x serial=y", EXPECTED_DISK);
	bad_disk("\\m 1M overlay", EXPECTED_DISK);
	bad_disk("\\m overlay", EXPECTED_OVERLAY);
	bad_disk("\\m overlay much", EXPECTED_OVERLAY);
	bad_disk("\\m overlay 1023K", EXPECTED_OVERLAY);
	bad_disk("\\m overlay 65G", EXPECTED_OVERLAY);
	bad_disk("\\m overlay 1M 1M", EXPECTED_OVERLAY);
	bad_disk("\\m overlay 1M serial=x more", EXPECTED_OVERLAY);
	bad_disk("\\m overlay 1M 2 3 4 5 6 7 serial=x", EXPECTED_OVERLAY);
	bad_disk("memory", EXPECTED_MEMORY);
	bad_disk("memory serial=x", EXPECTED_MEMORY);
	bad_disk("memory 0", EXPECTED_MEMORY);
	bad_disk("memory 511", EXPECTED_MEMORY);
	bad_disk("memory 513", EXPECTED_MEMORY);
	bad_disk("memory 65G", EXPECTED_MEMORY);
	bad_disk("memory overlay 1M", EXPECTED_MEMORY);
	bad_disk("memory read-only", EXPECTED_MEMORY);
	linux_with("disk", "\\m serial=", "vm linux (line 3): disk: found a serial of 0 characters, expected 1 to 20");
	linux_with("disk", "\\m serial=0123456789abcdefghijk",
		   "vm linux (line 3): disk: found a serial of 21 characters, expected 1 to 20");
	linux_with("disk", "\\m serial=\xc3\xa4",
		   "vm linux (line 3): disk: found a character in the serial that can't be printed, expected those of "
		   "ASCII");
	linux_with("disk", "serial=x",
		   "vm linux (line 3): disk serial=x: the loader did not load it (at most 64 files)");
	linux_with("disk", "\\gone overlay 1M", "vm linux (line 3): disk \\gone: file not found");
	linux_with("disk", "\\odd",
		   "vm linux (line 3): disk \\odd: found a file of 1000 bytes, expected a multiple of 512");
	begin(NULL);
	info.file[2].size = 64 * GIB + 512;
	open_section("vm a");
	set("kernel", "\\k");
	set("disk", "\\m read-only");
	vm_fails("vm a (line 3): disk \\m: found a file of 68719477248 bytes, expected at most 64G");
	begin(NULL);
	open_section("vm x");
	set("kernel", "\\k");
	for (int i = 0; i <= CONFIG_MAX_DISKS; i++)
		set("disk", "memory 1M");
	vm_fails("vm x (line 7): disk: found one more, expected at most 4");
}

/* Two VMs, a line of each, and what is said about the second. */
static void two_vms(const char *key1, const char *value1, const char *key2, const char *value2, const char *words)
{
	begin(NULL);
	file("\\other", BOOT_OK);
	open_section("vm a");
	set("protocol", "multiboot");
	set("kernel", "\\k");
	set(key1, value1);
	open_section("vm b");
	set("protocol", "multiboot");
	set("kernel", "\\other");
	set(key2, value2);
	vm_fails(words);
	assert_string_equal(config.vm[0].error, "");
}

static void a_file_that_is_written_has_one_use(void **s)
{
	(void)s;
	two_vms("disk", "\\m", "disk", "\\other overlay 1M", "");
	two_vms("disk", "\\m", "disk", "\\m", "vm b (line 5): disk \\m: also written by vm a");
	two_vms("disk", "\\m", "disk", "\\m read-only", "vm b (line 5): disk \\m: also written by vm a");
	two_vms("disk", "\\m", "disk", "\\m overlay 1M", "vm b (line 5): disk \\m: also written by vm a");
	two_vms("disk", "\\m", "module", "\\m x", "vm b (line 5): module \\m: also written by vm a");
	two_vms("disk", "\\other", "vcpus", "1", "vm b (line 5): kernel \\other: also written by vm a");
	two_vms("module", "\\m", "disk", "\\m",
		"vm b (line 5): disk \\m: also module of vm a, expected a file of its own, or 'overlay SIZE'");
	two_vms("disk", "\\m overlay 1M", "disk", "\\m",
		"vm b (line 5): disk \\m: also disk of vm a, expected a file of its own, or 'overlay SIZE'");
	two_vms("vcpus", "1", "disk", "\\k",
		"vm b (line 5): disk \\k: also kernel of vm a, expected a file of its own, or 'overlay SIZE'");
	two_vms("vcpus", "1", "disk", "\\other", "vm b (line 5): kernel \\other: also written by vm b");
	two_vms("disk", "\\m read-only", "disk", "\\m overlay 1M", "");
	linux_with("disk", "\\k", "vm linux (line 1): kernel \\k: also written by vm linux");
	begin(NULL);
	open_section("vm a");
	set("kernel", "\\k");
	set("initrd", "\\m");
	set("disk", "memory 1M");
	set("disk", "\\m");
	vm_fails("vm a (line 1): initrd \\m: also written by vm a");
	begin(NULL);
	open_section("vm a");
	set("kernel", "\\k");
	set("disk", "\\m");
	set("disk", "\\m");
	vm_fails("vm a (line 1): disk \\m: also written by vm a");
}

/* A VM that is refused for anything else has no files that the others could miss. */
static void a_refused_vm_writes_nothing(void **s)
{
	(void)s;
	open_section("vm bad");
	set("kernel", "\\k");
	set("disk", "\\m");
	set("vcpus", "none");
	open_section("vm good");
	set("kernel", "\\k");
	set("disk", "\\m");
	assert_int_equal(parse(), 0);
	assert_string_equal(config.vm[0].error, "vm bad (line 4): vcpus: found 'none', expected a number from 1 to 32");
	assert_string_equal(config.vm[1].error, "");
}

static void disks_at_run_time(void **s)
{
	struct vm_config a, b, copy;

	(void)s;
	open_section("vm a");
	set("kernel", "\\k");
	set("disk", "\\m");
	open_section("vm b");
	set("kernel", "\\k");
	set("disk", "\\odd overlay 1M");
	assert_int_equal(parse(), 0);
	a = config.vm[0];
	b = config.vm[1];
	assert_int_equal(config_set(&b, &info, "disk", "memory 1M", error), -E_INVAL);
	assert_string_equal(error, "vm b: disk: is given in vireo.conf only, and taken over by a copy");
	assert_int_equal(config_set(&a, &info, "initrd", "\\m", error), -E_INVAL);
	assert_string_equal(error, "vm a: initrd \\m: also written by vm a");
	assert_null(a.initrd);
	assert_int_equal(config_check_files(&a, &a, error), 0);
	assert_int_equal(config_check_files(&a, &b, error), 0);
	assert_int_equal(config_check_files(&b, &a, error), 0);
	assert_int_equal(config_set(&b, &info, "initrd", "\\m", error), 0);
	assert_int_equal(config_check_files(&b, &a, error), -E_INVAL);
	assert_string_equal(error, "vm b: initrd \\m: also written by vm a");
	assert_int_equal(config_check_files(&a, &b, error), -E_INVAL);
	assert_string_equal(error,
			    "vm a: disk \\m: also initrd of vm b, expected a file of its own, or 'overlay SIZE'");
	assert_int_equal(config_copy(&copy, &a, "c", error), -E_INVAL);
	assert_string_equal(error, "create: disk \\m: written by vm a, expected it as 'overlay SIZE' to have a copy");
	assert_int_equal(config_copy(&copy, &b, "c", error), 0);
	assert_int_equal(copy.disk_count, 1);
	assert_int_equal(copy.disk[0].kind, DISK_OVERLAY);
}

static void nets(void **s)
{
	const struct net_config *n = config.vm[0].net;

	(void)s;
	open_section("vm a");
	set("kernel", "\\k");
	set("net", "lan");
	set("net", "0123456789012345678901234567890 spoof\ttrunk  isolated vlan=1 rate=1K mac=52:56:0A:fF:90:01");
	set("net", "a.b-c_D rate=64G");
	set("net", "lan vlan=4094");
	open_section("vm b");
	set("kernel", "\\k");
	set("net", "lan mac=02:00:00:00:00:00");
	set("net", "lan");
	assert_int_equal(parse(), 0);
	assert_string_equal(config.vm[0].error, "");
	assert_string_equal(config.vm[1].error, "");
	assert_int_equal(config.vm[0].net_count, 4);
	assert_int_equal(config.vm[1].net_count, 2);
	assert_string_equal(n[0].network, "lan");
	assert_false(n[0].trunk || n[0].isolated || n[0].spoof || n[0].vlan || n[0].rate);
	assert_memory_equal(n[0].mac, "\0\0\0\0\0\0", 6);
	assert_string_equal(n[1].network, "0123456789012345678901234567890");
	assert_true(n[1].trunk && n[1].isolated && n[1].spoof && n[1].vlan == 1 && n[1].rate == KIB);
	assert_memory_equal(n[1].mac, "\x52\x56\x0a\xff\x90\x01", 6);
	assert_string_equal(n[2].network, "a.b-c_D");
	assert_true(n[2].rate == 64 * GIB);
	assert_true(n[3].vlan == 4094);
	assert_memory_equal(config.vm[1].net[0].mac, "\x02\0\0\0\0\0", 6);
}

#define EXPECTED_OPTION "expected mac=ADDRESS, vlan=NUMBER, trunk, isolated, rate=SIZE or spoof"
#define EXPECTED_MAC	"expected six bytes of a unicast address, such as mac=52:56:00:00:01:00"
#define EXPECTED_VLAN	"expected a number from 1 to 4094"
#define EXPECTED_RATE	"expected 1K to 64G bytes a second"

/* One word behind a network's name. */
static void bad_option(const char *word, const char *expected)
{
	char value[80], words[CONFIG_ERROR_MAX];

	snprintf(value, sizeof(value), "lan %s", word);
	snprintf(words, sizeof(words), "vm linux (line 3): net: found '%.40s', %s", word, expected);
	linux_with("net", value, words);
	assert_int_equal(config.vm[0].net_count, 0);
}

static void bad_nets(void **s)
{
	static const char *const options[] = {
	    "truncated", "vlan", "mac", "spoof=", "isolated=1", "=", "MAC=52:56:00:00:00:01"};
	static const char *const macs[] = {"mac=",
					   "mac=52:56:00:00:00",
					   "mac=52:56:00:00:00:0",
					   "mac=52:56:00:00:00:001",
					   "mac=52-56-00-00-00-01",
					   "mac=52:56:00:00:00:0g",
					   "mac=53:56:00:00:00:01",
					   "mac=ff:ff:ff:ff:ff:ff",
					   "mac=00:00:00:00:00:00"};
	static const char *const vlans[] = {"vlan=", "vlan=0", "vlan=4095", "vlan=one", "vlan=-1"};
	static const char *const rates[] = {"rate=", "rate=0", "rate=1023", "rate=65G", "rate=fast"};

	(void)s;
	for (unsigned i = 0; i < ARRAY_SIZE(options); i++)
		bad_option(options[i], EXPECTED_OPTION);
	bad_option("0123456789012345678901234567890123456789x", EXPECTED_OPTION);
	for (unsigned i = 0; i < ARRAY_SIZE(macs); i++)
		bad_option(macs[i], EXPECTED_MAC);
	for (unsigned i = 0; i < ARRAY_SIZE(vlans); i++)
		bad_option(vlans[i], EXPECTED_VLAN);
	for (unsigned i = 0; i < ARRAY_SIZE(rates); i++)
		bad_option(rates[i], EXPECTED_RATE);
	linux_with("net", "", "vm linux (line 3): net: found nothing, expected the name of a network");
	linux_with("net", " lan", "vm linux (line 3): net: found nothing, expected the name of a network");
	linux_with("net", "01234567890123456789012345678901",
		   "vm linux (line 3): net: found a network's name of 32 characters, expected at most 31");
	linux_with("net", "vlan=1",
		   "vm linux (line 3): net: found 'vlan=1', expected letters, digits, '-', '_', '.' in a network's "
		   "name");
	linux_with("net", "lan trunk trunk", "vm linux (line 3): net: found trunk a second time, expected it once");
	linux_with("net", "lan vlan=1 isolated vlan=1",
		   "vm linux (line 3): net: found vlan= a second time, expected it once");
	begin(NULL);
	open_section("vm x");
	set("kernel", "\\k");
	for (int i = 0; i <= CONFIG_MAX_NETS; i++)
		set("net", "lan");
	vm_fails("vm x (line 7): net: found one more, expected at most 4");
}

/* Addresses come from the VM's number, and a copy's are its own. */
static void nets_at_run_time(void **s)
{
	struct vm_config a, copy;

	(void)s;
	open_section("vm a");
	set("kernel", "\\k");
	set("net", "lan mac=02:00:00:00:00:01 vlan=7");
	set("net", "lan");
	assert_int_equal(parse(), 0);
	a = config.vm[0];
	config_number_nets(&a, 0x10203);
	assert_memory_equal(a.net[0].mac, "\x02\0\0\0\0\x01", 6);
	assert_memory_equal(a.net[1].mac, "\x52\x56\x01\x02\x03\x01", 6);
	assert_int_equal(config_set(&a, &info, "net", "lan", error), -E_INVAL);
	assert_string_equal(error, "vm a: net: is given in vireo.conf only, and taken over by a copy");
	assert_int_equal(config_copy(&copy, &a, "c", error), 0);
	assert_int_equal(copy.net_count, 2);
	assert_int_equal(copy.net[0].vlan, 7);
	config_number_nets(&copy, 9);
	assert_memory_equal(copy.net[0].mac, "\x52\x56\0\0\x09\0", 6);
	assert_memory_equal(copy.net[1].mac, "\x52\x56\0\0\x09\x01", 6);
}

static void bad_combinations(void **s)
{
	(void)s;
	linux_with("mode", "long", "vm linux (line 1): found 'mode' with protocol linux, expected it with flat only");
	linux_with("module", "\\m",
		   "vm linux (line 1): found 'module' with protocol linux, expected it with multiboot only");
	begin(NULL);
	open_section("vm x");
	set("vcpus", "2");
	vm_fails("vm x (line 1): found no kernel, expected a line 'kernel = PATH'");
	begin(NULL);
	open_section("hypervisor");
	open_section("vm x");
	vm_fails("vm x (line 2): found no kernel, expected a line 'kernel = PATH'");
	begin(NULL);
	open_section("vm x");
	set("vcpus", "2");
	set("vcpus", "2");
	vm_fails("vm x (line 3): vcpus: found a second time, expected once");
	begin(NULL);
	open_section("vm x");
	set("protocol", "multiboot");
	set("kernel", "\\k");
	for (int i = 0; i <= CONFIG_MAX_MODULES; i++)
		set("module", "\\m");
	vm_fails("vm x (line 12): module: found one more, expected at most 8");
}

static void bad_names(void **s)
{
	(void)s;
	open_section("vm x");
	set("kernel", "\\k");
	open_section("vm x");
	set("kernel", "\\k");
	vm_fails("vm x (line 3): found a second VM of that name (the first: line 1), expected another name");
	assert_string_equal(config.vm[0].error, "");
	begin(NULL);
	open_section("vm");
	set("kernel", "\\k");
	vm_fails("vm  (line 1): found section [vm], expected [vm NAME] with one word for NAME");
	begin(NULL);
	open_section("vm two words");
	set("kernel", "\\k");
	vm_fails("vm two (line 1): found section [vm two words], expected [vm NAME] with one word for NAME");
	begin(NULL);
	open_section("vm 0123456789012345678901234567890123456789");
	set("kernel", "\\k");
	vm_fails("vm 0123456789012345678901234567890 (line 1): found a name of 40 characters, expected at most 31");
	begin(NULL);
	open_section("vm a/b");
	set("kernel", "\\k");
	vm_fails("vm a/b (line 1): found section [vm a/b], expected letters, digits, '-', '_', '.' in the name");
}

static void one_bad_vm_leaves_the_other(void **s)
{
	(void)s;
	open_section("vm bad");
	set("kernel", "\\gone");
	set("memory", "nonsense");
	open_section("vm good");
	set("kernel", "\\k");
	assert_int_equal(parse(), 0);
	assert_string_equal(config.vm[0].error, "vm bad (line 2): kernel \\gone: file not found");
	assert_string_equal(config.vm[1].error, "");
}

static void hypervisor_fails(const char *key, const char *value, const char *words)
{
	begin(NULL);
	open_section("hypervisor");
	set(key, value);
	open_section("vm a");
	set("kernel", "\\k");
	assert_int_equal(parse(), -E_INVAL);
	assert_string_equal(error, words);
}

static const struct mitigation_wish *wish(const char *value)
{
	begin(NULL);
	open_section("hypervisor");
	set("mitigations", value);
	open_section("vm a");
	set("kernel", "\\k");
	assert_int_equal(parse(), 0);
	return &config.hv.mitigations;
}

#define MITIGATION_WORDS                                                                                               \
	"', expected off, or auto or all, perhaps with no-ibrs, no-bhi, no-rsb, no-ibpb, no-stibp, no-tsx, no-verw, "  \
	"no-l1d, no-itlb behind it, such as auto, no-l1d"

static void mitigations(void **s)
{
	const uint32_t l1d = 1u << MITIGATION_L1D, rsb = 1u << MITIGATION_RSB;

	(void)s;
	assert_false(wish("auto")->all);
	assert_int_equal(wish("auto")->without, 0);
	assert_int_equal(wish("off")->without, MITIGATIONS_OFF);
	assert_true(wish("all")->all);
	assert_int_equal(wish("all,no-l1d")->without, l1d);
	assert_true(config.hv.mitigations.all);
	assert_int_equal(wish("auto, no-l1d,\tno-rsb, no-l1d")->without, l1d | rsb);
	assert_false(config.hv.mitigations.all || config.hv.mitigations.smt);
	for (unsigned m = 0; m < MITIGATIONS; m++) {
		char value[40];

		snprintf(value, sizeof(value), "auto, no-%s", mitigation_name(m));
		assert_int_equal(wish(value)->without, 1u << m);
	}
}

static void bad_mitigations(void **s)
{
	static const char *const bad[] = {"",	       "on",	   "no-l1d",	  "auto,",     "auto no-l1d",
					  "auto,l1d",  "auto,no-", "off, no-l1d", "auto, all", "auto, no-l1dx",
					  "automatic", ",auto",	   "auto,no-l1d,"};
	char words[CONFIG_ERROR_MAX * 2];

	(void)s;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		begin(NULL);
		open_section("hypervisor");
		set("mitigations", bad[i]);
		snprintf(words, sizeof(words), "vireo.conf: hypervisor (line 2): mitigations: found '%s%s", bad[i],
			 MITIGATION_WORDS);
		assert_int_equal(parse(), -E_INVAL);
		if (strcmp(error, words))
			fail_msg("%s\n%s", error, words);
	}
}

static void bad_hypervisor_lines(void **s)
{
	(void)s;
	hypervisor_fails("apicv", "yes", "vireo.conf: hypervisor (line 2): apicv: found 'yes', expected on or off");
	hypervisor_fails("log", "loud", "vireo.conf: hypervisor (line 2): log: found 'loud', expected info or debug");
	hypervisor_fails(
	    "serial", "115201",
	    "vireo.conf: hypervisor (line 2): serial: found '115201', expected 9600, 19200, 38400, 57600 or 115200");
	hypervisor_fails(
	    "colour", "red",
	    "vireo.conf: hypervisor (line 2): unknown key 'colour', expected one of apicv, vpid, preemption_timer, "
	    "aslr, log, serial, background, scheduler, mitigations, smt");
	begin(NULL);
	open_section("guest a");
	set("kernel", "\\k");
	assert_int_equal(parse(), -E_INVAL);
	assert_string_equal(error, "vireo.conf (line 1): found section [guest a], expected [hypervisor] or [vm NAME]");
}

static void status_fails(uint32_t status, const char *detail, const char *words)
{
	begin(NULL);
	info.config_status = status;
	snprintf(info.config_error, sizeof(info.config_error), "%s", detail);
	assert_int_equal(parse(), -E_INVAL);
	assert_string_equal(error, words);
}

static void no_config_text(void **s)
{
	(void)s;
	status_fails(BOOT_NOT_FOUND, "", "vireo.conf: file not found");
	status_fails(BOOT_READ_ERROR, "", "vireo.conf: read error");
	status_fails(BOOT_EMPTY, "", "vireo.conf: file is empty, expected at least one [vm NAME] section");
	status_fails(BOOT_TOO_LARGE, "", "vireo.conf: file too large, expected at most 65536 bytes");
	status_fails(BOOT_SYNTAX, "line 4: found 'abc', expected key = value",
		     "vireo.conf: line 4: found 'abc', expected key = value");
	begin(NULL);
	open_section("hypervisor");
	set("apicv", "on");
	assert_int_equal(parse(), -E_INVAL);
	assert_string_equal(error, "vireo.conf: found no [vm NAME] section, expected at least one");
}

static void offsets_are_checked(void **s)
{
	(void)s;
	open_section("vm a");
	set("kernel", "\\k");
	info.setting[0].value = info.config_size;
	assert_int_equal(parse(), -E_INVAL);
	begin(NULL);
	open_section("vm a");
	set("kernel", "\\k");
	info.config_size--; /* the last string's NUL is now outside */
	assert_int_equal(parse(), -E_INVAL);
	assert_string_equal(error,
			    "boot_info: setting (line 2): found offsets 0, 5, 12, expected strings that end within the "
			    "text's 14 bytes");
}

static void at_most_64_vms(void **s)
{
	char words[16];

	(void)s;
	for (int i = 0; i <= CONFIG_MAX_VMS; i++) {
		snprintf(words, sizeof(words), "vm v%d", i);
		open_section(words);
		set("kernel", "\\k");
	}
	assert_int_equal(parse(), -E_INVAL);
	assert_string_equal(error, "vm v64 (line 129): found one more VM, expected at most 64");
}

static void peers(void **s)
{
	const struct vm_config *vm = &config.vm[0];

	(void)s;
	open_section("vm a");
	set("kernel", "\\k");
	set("peers", "bert,c-1.x");
	open_section("vm b");
	set("kernel", "\\k");
	set("hypercalls", "off");
	assert_int_equal(parse(), 0);
	assert_string_equal(vm->error, "");
	assert_true(vm->hypercalls);
	assert_false(config.vm[1].hypercalls);
	assert_int_equal(config.vm[1].peer_count, 0);
	assert_int_equal(vm->peer_count, 2);
	assert_string_equal(vm->peer[0], "bert");
	assert_string_equal(vm->peer[1], "c-1.x");
	assert_int_equal(config_set(&config.vm[0], &info, "peers", "d", error), 0); /* in place of them */
	assert_int_equal(vm->peer_count, 1);
	assert_string_equal(vm->peer[0], "d");
	assert_int_equal(config_set(&config.vm[0], &info, "peers", "e,", error), -E_INVAL);
	assert_int_equal(config_set(&config.vm[0], &info, "peers", "a", error), -E_INVAL);
	assert_string_equal(vm->peer[0], "d");
	assert_int_equal(config_set(&config.vm[0], &info, "peers", "", error), 0);
	assert_int_equal(vm->peer_count, 0);
}

static void bad_peers(void **s)
{
	static const char *const bad[] = {",", "a,", ",a", "a b", "a,,b", "a/b", "12345678901234567890123456789012"};
	char words[CONFIG_ERROR_MAX];

	(void)s;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		snprintf(words, sizeof(words),
			 "vm linux (line 3): peers: found '%s', expected names of VMs such as a,b", bad[i]);
		linux_with("peers", bad[i], words);
	}
	linux_with("peers", "linux", "vm linux (line 3): peers: found the VM's own name, expected others");
	linux_with("peers", "a,b,a", "vm linux (line 3): peers: found 'a' twice, expected it once");
	linux_with("peers", "1,2,3,4,5,6,7,8,9", "vm linux (line 3): peers: found one more, expected at most 8");
	linux_with("hypercalls", "yes", "vm linux (line 3): hypercalls: found 'yes', expected on or off");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(defaults, begin),
	    cmocka_unit_test_setup(everything_set, begin),
	    cmocka_unit_test_setup(scheduling_keys, begin),
	    cmocka_unit_test_setup(changes_at_run_time, begin),
	    cmocka_unit_test_setup(bad_values, begin),
	    cmocka_unit_test_setup(bad_files, begin),
	    cmocka_unit_test_setup(disks, begin),
	    cmocka_unit_test_setup(bad_disks, begin),
	    cmocka_unit_test_setup(a_file_that_is_written_has_one_use, begin),
	    cmocka_unit_test_setup(a_refused_vm_writes_nothing, begin),
	    cmocka_unit_test_setup(disks_at_run_time, begin),
	    cmocka_unit_test_setup(nets, begin),
	    cmocka_unit_test_setup(bad_nets, begin),
	    cmocka_unit_test_setup(nets_at_run_time, begin),
	    cmocka_unit_test_setup(bad_combinations, begin),
	    cmocka_unit_test_setup(bad_names, begin),
	    cmocka_unit_test_setup(one_bad_vm_leaves_the_other, begin),
	    cmocka_unit_test(mitigations),
	    cmocka_unit_test(bad_mitigations),
	    cmocka_unit_test_setup(bad_hypervisor_lines, begin),
	    cmocka_unit_test_setup(no_config_text, begin),
	    cmocka_unit_test_setup(offsets_are_checked, begin),
	    cmocka_unit_test_setup(at_most_64_vms, begin),
	    cmocka_unit_test_setup(peers, begin),
	    cmocka_unit_test_setup(bad_peers, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
