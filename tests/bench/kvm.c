/*
 * What `make bench` runs on a Linux host: a user-space program that runs a measuring guest of guests/ under KVM.
 *
 *     kvm FILE [VCPUS [WORDS]]    FILE is a Multiboot 1 ELF file, WORDS are the guest's command line
 *
 * KVM emulates the interrupt controllers and the PIT. What is here are the debug ports, the UART, the host bridge's ID
 * in ECAM, and virtio devices (kvm_virtio.h); anywhere else reads give ones. The doorbells of guests/lib/doorbell.h are
 * ioeventfds that nobody waits for. A vCPU is a thread on a CPU of its own, as far as there are so many. Of the words
 * it knows itself "not-ready": the guest's memory is not taken from Linux before the guest touches it.
 *
 * What the guest prints is kept until it ends, so that the console's interrupts do not fall into what it measures.
 * The exit status is the low byte of what the guest writes to its exit port, 0 for success; 255 when something is
 * wrong.
 */
/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guests/lib/doorbell.h"
#include "guests/lib/multiboot.h"
#include "tests/bench/kvm.h"
#include "tests/bench/kvm_virtio.h"

#define MEMORY	       (16u << 20)
#define LARGE_PAGE     (2u << 20)
#define MAX_VCPUS      8
#define LOWEST_IMAGE   0x100000u
#define INFO	       0x1000u /* struct multiboot_info, and the command line behind it */
#define CMDLINE	       0x1100u
#define CMDLINE_BYTES  256u
#define TSS	       0xfffbd000u /* three pages that KVM may want where the guest has nothing (KVM_SET_TSS_ADDR) */
#define CPUID_ENTRIES  256u
#define HEADER_MAGIC   0x1badb002u /* Multiboot 0.6.96, 3.1: in the first 8 KiB, a multiple of 4 */
#define HEADER_WITHIN  8192u
#define HEADER_KNOWN   0x3u /* of the flags that a loader must understand: modules on page boundaries, memory size */
#define HEADER_MUST    0xffffu
#define PORT_DEBUG     0xe9
#define PORT_EXIT      0xf4
#define COM1	       0x3f8
#define UART_LSR       5
#define UART_SCRATCH   7
#define LSR_IDLE       0x60
#define ECAM	       0xe0000000ull
#define HOST_BRIDGE_ID 0x29c08086u
#define OUTPUT_BYTES   65536
#define EXIT_WRONG     255

struct vcpu {
	unsigned id;
	int fd;
	struct kvm_run *run;
};

static int kvm, vm;
static uint8_t *memory;
static size_t run_bytes;
static uint8_t uart_scratch;
static struct vcpu vcpus[MAX_VCPUS];

void die(const char *fmt, ...)
{
	va_list args;

	printf("kvm: ");
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	exit(EXIT_WRONG);
}

/* An ioctl that must succeed. */
static int request(int fd, unsigned long number, uintptr_t argument, const char *name)
{
	int answer = ioctl(fd, number, argument);

	if (answer < 0)
		die("%s: %s", name, strerror(errno));
	return answer;
}

/* --- the image: ELF for i386 with a Multiboot header --- */

struct image {
	const char *name;
	const uint8_t *bytes;
	size_t size;
};

static struct image image_open(const char *name)
{
	struct image image = {.name = name};
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	struct stat status;

	if (fd < 0 || fstat(fd, &status) < 0)
		die("%s: %s", name, strerror(errno));
	image.size = (size_t)status.st_size;
	if (image.size < sizeof(Elf32_Ehdr))
		die("%s: %zu bytes, an ELF header has %zu", name, image.size, sizeof(Elf32_Ehdr));
	image.bytes = mmap(NULL, image.size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (image.bytes == MAP_FAILED)
		die("%s: mmap: %s", name, strerror(errno));
	close(fd);
	return image;
}

static Elf32_Ehdr image_header(const struct image *image)
{
	static const uint8_t ident[] = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS32, ELFDATA2LSB, EV_CURRENT};
	Elf32_Ehdr header;

	memcpy(&header, image->bytes, sizeof(header));
	if (memcmp(header.e_ident, ident, sizeof(ident)) != 0)
		die("%s: no ELF file of 32 bits, little-endian", image->name);
	if (header.e_type != ET_EXEC || header.e_machine != EM_386)
		die("%s: e_type %u, e_machine %u; expected %u, %u", image->name, header.e_type, header.e_machine,
		    ET_EXEC, EM_386);
	if (header.e_phentsize != sizeof(Elf32_Phdr))
		die("%s: e_phentsize %u, expected %zu", image->name, header.e_phentsize, sizeof(Elf32_Phdr));
	if (header.e_phoff > image->size || header.e_phnum * sizeof(Elf32_Phdr) > image->size - header.e_phoff)
		die("%s: %u program headers at %u reach past the file's %zu bytes", image->name, header.e_phnum,
		    header.e_phoff, image->size);
	return header;
}

/* Is there a Multiboot header that asks for nothing that this can't do? */
static void image_check_multiboot(const struct image *image)
{
	size_t end = image->size < HEADER_WITHIN ? image->size : HEADER_WITHIN;

	for (size_t at = 0; at + 12 <= end; at += 4) {
		uint32_t word[3];

		memcpy(word, image->bytes + at, sizeof(word));
		if (word[0] != HEADER_MAGIC || word[0] + word[1] + word[2] != 0)
			continue;
		if (word[1] & HEADER_MUST & ~HEADER_KNOWN)
			die("%s: Multiboot flags 0x%x; known are 0x%x", image->name, word[1], HEADER_KNOWN);
		return;
	}
	die("%s: no Multiboot header in the first %u bytes", image->name, HEADER_WITHIN);
}

/* Is the entry in it? */
static bool image_load_segment(const struct image *image, const Elf32_Phdr *part, uint32_t entry)
{
	if (part->p_offset > image->size || part->p_filesz > image->size - part->p_offset)
		die("%s: a segment of %u bytes at %u reaches past the file's %zu", image->name, part->p_filesz,
		    part->p_offset, image->size);
	if (part->p_filesz > part->p_memsz)
		die("%s: a segment's p_filesz %u is more than its p_memsz %u", image->name, part->p_filesz,
		    part->p_memsz);
	if (part->p_paddr < LOWEST_IMAGE || part->p_paddr > MEMORY || part->p_memsz > MEMORY - part->p_paddr)
		die("%s: a segment of %u bytes at 0x%x; expected from 0x%x to 0x%x", image->name, part->p_memsz,
		    part->p_paddr, LOWEST_IMAGE, MEMORY);
	memcpy(memory + part->p_paddr, image->bytes + part->p_offset, part->p_filesz);
	return entry >= part->p_paddr && entry - part->p_paddr < part->p_filesz;
}

/* The entry's address. */
static uint32_t image_load(const char *name)
{
	struct image image = image_open(name);
	Elf32_Ehdr header = image_header(&image);
	bool entry_found = false;

	image_check_multiboot(&image);
	for (unsigned i = 0; i < header.e_phnum; i++) {
		Elf32_Phdr part;

		memcpy(&part, image.bytes + header.e_phoff + i * sizeof(part), sizeof(part));
		if (part.p_type == PT_LOAD)
			entry_found |= image_load_segment(&image, &part, header.e_entry);
	}
	if (!entry_found)
		die("%s: e_entry 0x%x is in no segment", name, header.e_entry);
	return header.e_entry;
}

static void advise(uint8_t *from, size_t bytes, int advice, const char *name)
{
	if (madvise(from, bytes, advice) < 0)
		die("madvise, %s: %s", name, strerror(errno));
}

/*
 * At a multiple of 2 MiB and in pages of that size, as QEMU has it, but for the first: a guest that measures memory has
 * both sizes. `ready`: all pages are there, and zero, before the guest wants them.
 */
static void make_memory(bool ready)
{
	uint8_t *room = mmap(NULL, MEMORY + LARGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (room == MAP_FAILED)
		die("no memory for the guest: %s", strerror(errno));
	memory = room + (-(uintptr_t)room & (LARGE_PAGE - 1));
	advise(memory, LARGE_PAGE, MADV_NOHUGEPAGE, "small pages");
	advise(memory + LARGE_PAGE, MEMORY - LARGE_PAGE, MADV_HUGEPAGE, "large pages");
	if (ready)
		advise(memory, MEMORY, MADV_POPULATE_WRITE, "pages that are there");
}

static void tell_guest(const char *words)
{
	struct multiboot_info info = {
	    .flags = MULTIBOOT_HAS_MEMORY | MULTIBOOT_HAS_CMDLINE,
	    .mem_lower = 640,
	    .mem_upper = (MEMORY - (1u << 20)) / 1024,
	    .cmdline = CMDLINE,
	};

	if (strlen(words) >= CMDLINE_BYTES)
		die("a command line of %zu characters; %u fit", strlen(words), CMDLINE_BYTES - 1);
	memcpy(memory + INFO, &info, sizeof(info));
	strcpy((char *)memory + CMDLINE, words);
}

/* --- devices --- */

static void write_port(unsigned port, unsigned bytes, uint32_t value)
{
	switch (port) {
	case PORT_DEBUG:
	case COM1:
		putchar((int)(value & 0xff));
		break;
	case COM1 + UART_SCRATCH:
		uart_scratch = (uint8_t)value;
		break;
	case PORT_EXIT:
		exit((int)(value & 0xff ? value & 0xff : value != 0));
	default:
		virtio_write_port(port, bytes, value);
	}
}

static uint32_t read_port(unsigned port, unsigned bytes)
{
	switch (port) {
	case PORT_DEBUG:
		return PORT_DEBUG;
	case COM1 + UART_LSR:
		return LSR_IDLE;
	case COM1 + UART_SCRATCH:
		return uart_scratch;
	default:
		return virtio_read_port(port, bytes);
	}
}

/* One access or, with REP, several. */
static void handle_port(struct kvm_run *run)
{
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		uint32_t value = 0;

		if (run->io.direction == KVM_EXIT_IO_IN) {
			value = read_port(run->io.port, run->io.size);
			memcpy(data, &value, run->io.size);
		} else {
			memcpy(&value, data, run->io.size);
			write_port(run->io.port, run->io.size, value);
		}
	}
}

static void handle_memory(struct kvm_run *run)
{
	uint64_t value = HOST_BRIDGE_ID | ~0ull << 32;

	if (run->mmio.is_write) {
		memcpy(&value, run->mmio.data, sizeof(value));
		virtio_write_memory(run->mmio.phys_addr, run->mmio.len, value);
		return;
	}
	if (run->mmio.phys_addr != ECAM)
		value = virtio_read_memory(run->mmio.phys_addr, run->mmio.len);
	memcpy(run->mmio.data, &value, sizeof(value));
}

/* --- the machine --- */

static void check_capabilities(void)
{
	static const struct {
		int number;
		const char *name;
	} needed[] = {
	    {KVM_CAP_USER_MEMORY, "user memory"},
	    {KVM_CAP_IRQCHIP, "interrupt controllers"},
	    {KVM_CAP_PIT2, "the PIT"},
	    {KVM_CAP_EXT_CPUID, "CPUID"},
	    {KVM_CAP_TSC_DEADLINE_TIMER, "TSC deadlines"},
	    {KVM_CAP_IOEVENTFD, "ioeventfds"},
	    {KVM_CAP_IOEVENTFD_ANY_LENGTH, "ioeventfds of any length"},
	};
	int version = request(kvm, KVM_GET_API_VERSION, 0, "KVM_GET_API_VERSION");

	if (version != KVM_API_VERSION)
		die("KVM_GET_API_VERSION: %d, expected %d", version, KVM_API_VERSION);
	for (unsigned i = 0; i < sizeof(needed) / sizeof(*needed); i++)
		if (request(kvm, KVM_CHECK_EXTENSION, (uintptr_t)needed[i].number, needed[i].name) == 0)
			die("KVM lacks %s", needed[i].name);
}

static void make_doorbell(uint64_t address, uint32_t bytes, uint32_t flags)
{
	struct kvm_ioeventfd bell = {.addr = address, .len = bytes, .fd = eventfd(0, EFD_CLOEXEC), .flags = flags};

	if (bell.fd < 0)
		die("eventfd: %s", strerror(errno));
	request(vm, KVM_IOEVENTFD, (uintptr_t)&bell, "KVM_IOEVENTFD");
}

static void make_vm(void)
{
	struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY}; /* port 0x61, channel 2's gate, as well */
	struct kvm_userspace_memory_region region = {.memory_size = MEMORY, .userspace_addr = (uintptr_t)memory};

	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		die("/dev/kvm: %s", strerror(errno));
	check_capabilities();
	vm = request(kvm, KVM_CREATE_VM, 0, "KVM_CREATE_VM");
	request(vm, KVM_SET_TSS_ADDR, TSS, "KVM_SET_TSS_ADDR");
	request(vm, KVM_CREATE_IRQCHIP, 0, "KVM_CREATE_IRQCHIP");
	request(vm, KVM_CREATE_PIT2, (uintptr_t)&pit, "KVM_CREATE_PIT2");
	request(vm, KVM_SET_USER_MEMORY_REGION, (uintptr_t)&region, "KVM_SET_USER_MEMORY_REGION");
	make_doorbell(DOORBELL_PORT, 2, KVM_IOEVENTFD_FLAG_PIO);
	make_doorbell(DOORBELL_MMIO, 2, 0);
	make_doorbell(DOORBELL_MMIO_FAST, 0, 0); /* of any length: KVM need not decode the instruction */
	run_bytes = (size_t)request(kvm, KVM_GET_VCPU_MMAP_SIZE, 0, "KVM_GET_VCPU_MMAP_SIZE");
}

/* What KVM supports, which has no APIC IDs; that there is a hypervisor, and deadlines, it leaves to its user to say. */
static void set_cpuid(const struct vcpu *vcpu)
{
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + CPUID_ENTRIES * sizeof(*cpuid->entries));

	if (!cpuid)
		die("no memory");
	cpuid->nent = CPUID_ENTRIES;
	request(kvm, KVM_GET_SUPPORTED_CPUID, (uintptr_t)cpuid, "KVM_GET_SUPPORTED_CPUID");
	for (uint32_t i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *leaf = &cpuid->entries[i];

		if (leaf->function == 1) {
			leaf->ebx = (leaf->ebx & 0xffffff) | vcpu->id << 24;
			leaf->ecx |= 1u << 31 | 1u << 24;
		} else if (leaf->function == 0xb) {
			leaf->edx = vcpu->id;
		}
	}
	request(vcpu->fd, KVM_SET_CPUID2, (uintptr_t)cpuid, "KVM_SET_CPUID2");
	free(cpuid);
}

static void make_vcpu(struct vcpu *vcpu, unsigned id)
{
	vcpu->id = id;
	vcpu->fd = request(vm, KVM_CREATE_VCPU, id, "KVM_CREATE_VCPU");
	vcpu->run = mmap(NULL, run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED)
		die("mmap of vCPU %u: %s", id, strerror(errno));
	set_cpuid(vcpu);
}

/* Flat 32-bit protected mode, as Multiboot's 3.2 has it. The other vCPUs wait for INIT and start-up IPIs. */
static void set_entry(const struct vcpu *vcpu, uint32_t entry)
{
	struct kvm_regs regs = {.rip = entry, .rax = MULTIBOOT_LOADER_MAGIC, .rbx = INFO, .rflags = 2};
	struct kvm_segment data = {.limit = ~0u, .selector = 16, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1};
	struct kvm_sregs sregs;

	request(vcpu->fd, KVM_GET_SREGS, (uintptr_t)&sregs, "KVM_GET_SREGS");
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = sregs.cs = data;
	sregs.cs.selector = 8;
	sregs.cs.type = 11;
	sregs.cr0 = 0x11; /* ET, PE */
	request(vcpu->fd, KVM_SET_SREGS, (uintptr_t)&sregs, "KVM_SET_SREGS");
	request(vcpu->fd, KVM_SET_REGS, (uintptr_t)&regs, "KVM_SET_REGS");
}

static void handle(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		handle_port(run);
		break;
	case KVM_EXIT_MMIO:
		handle_memory(run);
		break;
	case KVM_EXIT_SHUTDOWN:
		die("vCPU %u: triple fault", vcpu->id);
	case KVM_EXIT_FAIL_ENTRY:
		die("vCPU %u: no entry, reason 0x%llx", vcpu->id,
		    (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
	case KVM_EXIT_INTERNAL_ERROR:
		die("vCPU %u: KVM's internal error %u", vcpu->id, run->internal.suberror);
	default:
		die("vCPU %u: exit %u, which is not handled", vcpu->id, run->exit_reason);
	}
}

/* A vCPU that waited for its start-up IPI comes back with EAGAIN. */
static void *run_vcpu(void *arg)
{
	struct vcpu *vcpu = arg;
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(vcpu->id % (unsigned)sysconf(_SC_NPROCESSORS_ONLN), &one);
	if (sched_setaffinity(0, sizeof(one), &one) < 0)
		die("sched_setaffinity: %s", strerror(errno));
	for (;;) {
		if (ioctl(vcpu->fd, KVM_RUN, 0) == 0)
			handle(vcpu);
		else if (errno != EAGAIN && errno != EINTR)
			die("KVM_RUN of vCPU %u: %s", vcpu->id, strerror(errno));
	}
	return NULL;
}

static unsigned parse_vcpus(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end || n < 1 || n > MAX_VCPUS)
		die("VCPUS is \"%s\", expected 1 to %u", text, MAX_VCPUS);
	return (unsigned)n;
}

int main(int argc, char **argv)
{
	const char *words;
	unsigned count;
	uint32_t entry;

	setvbuf(stdout, NULL, _IOFBF, OUTPUT_BYTES);
	if (argc < 2 || argc > 4)
		die("usage: kvm FILE [VCPUS [WORDS]]");
	count = argc > 2 ? parse_vcpus(argv[2]) : 1;
	words = argc > 3 ? argv[3] : "";
	make_memory(!strstr(words, "not-ready"));
	virtio_init(memory, MEMORY);
	entry = image_load(argv[1]);
	tell_guest(words);
	make_vm();
	for (unsigned id = 0; id < count; id++)
		make_vcpu(&vcpus[id], id);
	set_entry(&vcpus[0], entry);
	for (unsigned id = 1; id < count; id++) {
		pthread_t thread;
		int error = pthread_create(&thread, NULL, run_vcpu, &vcpus[id]);

		if (error)
			die("pthread_create: %s", strerror(error));
	}
	run_vcpu(&vcpus[0]);
}
