/*
 * A UEFI application for the test bed: Bochs' firmware finds no ACPI tables (OVMF takes them from QEMU), so this
 * program installs a set that describes Bochs' i440FX/PIIX4 machine and then starts \EFI\vireo\BOOTX64.EFI. Where
 * \vireo\loadoptions.txt exists, its text becomes that image's load options: a Linux kernel with its EFI stub in that
 * place boots natively with this command line. Files whose names alone count make this firmware worse: \vireo\lock-vmx
 * has VT-x switched off, \vireo\ghost-cpu lists a processor that is not there, \vireo\shred-memory cuts memory into
 * more than a thousand ranges. Never part of a Vireo installation. ACPI 6.5, chapter 5.2.
 */
/* SPDX-License-Identifier: MIT */
#include "boot/mp.h"
#include "boot/tsc.h"
#include "dsdt.h"

#include <efi.h>
#include <efilib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PM_BASE	    0xb000 /* where OVMF puts the PIIX4's power management block */
#define IOAPIC_BASE 0xfec00000u
#define LAPIC_BASE  0xfee00000u
#define MAX_CPUS    64
#define MAX_OPTIONS 2048

#define GHOST_ID    0xc0
#define SHRED_PAGES 3 /* of which the first is taken */
#define SHREDS	    600

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system_table);

struct __attribute__((packed)) header {
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem[6], oem_table[8];
	uint32_t oem_revision;
	char creator[4];
	uint32_t creator_revision;
};

struct __attribute__((packed)) address { /* generic address structure, 5.2.3.2 */
	uint8_t space, bits, offset, access;
	uint64_t address;
};

struct __attribute__((packed)) fadt { /* 5.2.9, as of ACPI 2.0 */
	struct header h;
	uint32_t facs, dsdt;
	uint8_t int_model, profile;
	uint16_t sci_irq;
	uint32_t smi_port;
	uint8_t acpi_enable, acpi_disable, s4bios, pstate;
	uint32_t pm1a_event, pm1b_event, pm1a_control, pm1b_control, pm2_control, pm_timer, gpe0, gpe1;
	uint8_t pm1_event_length, pm1_control_length, pm2_control_length, pm_timer_length;
	uint8_t gpe0_length, gpe1_length, gpe1_base, cst;
	uint16_t c2_latency, c3_latency, flush_size, flush_stride;
	uint8_t duty_offset, duty_width, day_alarm, month_alarm, century;
	uint16_t boot_flags;
	uint8_t reserved;
	uint32_t flags;
	struct address reset;
	uint8_t reset_value;
	uint16_t arm_flags;
	uint8_t minor;
	uint64_t x_facs, x_dsdt;
	struct address x_pm1a_event, x_pm1b_event, x_pm1a_control, x_pm1b_control, x_pm2_control, x_pm_timer, x_gpe0,
	    x_gpe1;
};

struct __attribute__((packed)) madt { /* 5.2.12 */
	struct header h;
	uint32_t lapic;
	uint32_t flags;
	struct __attribute__((packed)) {
		uint8_t type, length, id, reserved;
		uint32_t address, gsi;
	} ioapic;
	struct __attribute__((packed)) {
		uint8_t type, length, bus, irq;
		uint32_t gsi;
		uint16_t flags;
	} override[2];
	struct __attribute__((packed)) {
		uint8_t type, length, processor;
		uint16_t flags;
		uint8_t lint;
	} nmi;
	struct __attribute__((packed)) {
		uint8_t type, length, processor, apic;
		uint32_t flags;
	} cpu[MAX_CPUS];
};

struct __attribute__((packed)) facs { /* 5.2.10 */
	char signature[4];
	uint32_t length, hardware, waking, lock, flags;
	uint64_t x_waking;
	uint8_t version, reserved[31];
};

struct __attribute__((packed)) rsdp { /* 5.2.5.3 */
	char signature[8];
	uint8_t checksum;
	char oem[6];
	uint8_t revision;
	uint32_t rsdt, length;
	uint64_t xsdt;
	uint8_t checksum_all, reserved[3];
};

/* Everything but the FACS, in one block of ACPI reclaim memory. */
struct tables {
	struct rsdp rsdp __attribute__((aligned(16)));
	struct {
		struct header h;
		uint64_t table[2];
	} __attribute__((packed)) xsdt __attribute__((aligned(16)));
	struct fadt fadt __attribute__((aligned(16)));
	struct madt madt __attribute__((aligned(16)));
	uint8_t dsdt[sizeof dsdt_aml_code] __attribute__((aligned(16)));
};

static uint8_t checksum(const void *table, uint32_t length)
{
	const uint8_t *p = table;
	uint8_t sum = 0;

	while (length--)
		sum = (uint8_t)(sum + *p++);
	return (uint8_t)-sum;
}

static void seal(struct header *h, const char *signature, uint32_t length, uint8_t revision)
{
	memcpy(h->signature, signature, 4);
	h->length = length;
	h->revision = revision;
	memcpy(h->oem, "VIREO ", 6);
	memcpy(h->oem_table, "TESTBED ", 8);
	h->oem_revision = 1;
	memcpy(h->creator, "VIRE", 4);
	h->creator_revision = 1;
	h->checksum = 0;
	h->checksum = checksum(h, length);
}

static void *allocate(uint64_t size, EFI_MEMORY_TYPE type)
{
	EFI_PHYSICAL_ADDRESS base = 0xffffffff;

	if (EFI_ERROR(BS->AllocatePages(AllocateMaxAddress, type, (size + 4095) / 4096, &base)))
		return NULL;
	memset((void *)base, 0, (size + 4095) & ~4095ULL);
	return (void *)base;
}

static struct address io_port(uint32_t port, uint8_t bits)
{
	return (struct address){1, bits, 0, bits == 8 ? 1 : bits == 16 ? 2 : 3, port};
}

static void make_fadt(struct tables *t, const struct facs *facs)
{
	struct fadt *f = &t->fadt;

	f->facs = (uint32_t)(uintptr_t)facs;
	f->dsdt = (uint32_t)(uintptr_t)t->dsdt;
	f->x_dsdt = (uintptr_t)t->dsdt;
	f->sci_irq = 9;
	f->smi_port = 0xb2;    /* APM control: Bochs sets SCI_EN when it sees this */
	f->acpi_enable = 0xf1; /* value */
	f->acpi_disable = 0xf0;
	f->pm1a_event = PM_BASE;
	f->pm1a_control = PM_BASE + 4;
	f->pm_timer = PM_BASE + 8;
	f->pm1_event_length = 4;
	f->pm1_control_length = 2;
	f->pm_timer_length = 4;
	f->x_pm1a_event = io_port(PM_BASE, 32);
	f->x_pm1a_control = io_port(PM_BASE + 4, 16);
	f->x_pm_timer = io_port(PM_BASE + 8, 32);
	f->c2_latency = 101; /* above 100 and 1000: no C2, no C3 */
	f->c3_latency = 1001;
	f->century = 0x32;
	f->boot_flags = 3; /* legacy devices, 8042 */
	/* WBINVD works, no fixed power or sleep button, reset register */
	f->flags = 1u << 0 | 1u << 4 | 1u << 5 | 1u << 10;
	f->reset = io_port(0xcf9, 8);
	f->reset_value = 6;
	seal(&f->h, "FACP", sizeof *f, 3);
}

static EFI_HANDLE boot_device;

static EFI_FILE_HANDLE open_file(EFI_HANDLE device, CHAR16 *path)
{
	EFI_FILE_HANDLE root = LibOpenRoot(device), file;

	if (!root || EFI_ERROR(root->Open(root, &file, path, EFI_FILE_MODE_READ, 0)))
		return NULL;
	return file;
}

static bool file_exists(const CHAR16 *path)
{
	return open_file(boot_device, (CHAR16 *)path);
}

static unsigned add_cpu(struct madt *m, unsigned count, uint8_t apic_id, uint32_t flags)
{
	m->cpu[count].type = 0;
	m->cpu[count].length = 8;
	m->cpu[count].processor = (uint8_t)count;
	m->cpu[count].apic = apic_id;
	m->cpu[count].flags = flags;
	return count + 1;
}

/* The MP services protocol knows the CPUs even where ACPI does not. Answers the number entered. */
static unsigned list_cpus(struct madt *m)
{
	static EFI_GUID guid = MP_SERVICES_GUID;
	struct mp_services *mp;
	UINTN all = 0, enabled;
	unsigned count = 0;

	if (EFI_ERROR(BS->LocateProtocol(&guid, NULL, (void **)&mp)) ||
	    EFI_ERROR(mp->get_number_of_processors(mp, &all, &enabled)))
		all = 0;
	for (UINTN i = 0; i < all && count < MAX_CPUS - 1; i++) {
		struct mp_processor_info cpu = {0};

		if (EFI_ERROR(mp->get_processor_info(mp, i, &cpu)))
			continue;
		count = add_cpu(m, count, (uint8_t)cpu.processor_id, cpu.status & MP_CPU_ENABLED ? 1 : 0);
	}
	return file_exists(L"\\vireo\\ghost-cpu") ? add_cpu(m, count, GHOST_ID, 1) : count;
}

static uint8_t ioapic_id(void)
{
	volatile uint32_t *ioapic = (volatile uint32_t *)(uintptr_t)IOAPIC_BASE;

	ioapic[0] = 0; /* index register: IOAPICID */
	return (ioapic[4] >> 24) & 15;
}

static void make_madt(struct tables *t)
{
	struct madt *m = &t->madt;
	unsigned cpus = list_cpus(m);

	m->lapic = LAPIC_BASE;
	m->flags = 1; /* there is an 8259 pair */
	m->ioapic.type = 1;
	m->ioapic.length = sizeof m->ioapic;
	m->ioapic.id = ioapic_id();
	m->ioapic.address = IOAPIC_BASE;
	m->override[0].type = m->override[1].type = 2;
	m->override[0].length = m->override[1].length = sizeof m->override[0];
	m->override[0].gsi = 2; /* Bochs, like real boards, has the PIT at pin 2 */
	m->override[1].irq = 9;
	m->override[1].gsi = 9;
	m->override[1].flags = 0xd; /* the SCI: level, active high */
	m->nmi.type = 4;
	m->nmi.length = sizeof m->nmi;
	m->nmi.processor = 0xff;
	m->nmi.lint = 1;
	seal(&m->h, "APIC", (uint32_t)(offsetof(struct madt, cpu) + cpus * sizeof m->cpu[0]), 1);
}

static void make_root(struct tables *t)
{
	t->xsdt.table[0] = (uintptr_t)&t->fadt;
	t->xsdt.table[1] = (uintptr_t)&t->madt;
	seal(&t->xsdt.h, "XSDT", sizeof t->xsdt, 1);
	memcpy(t->rsdp.signature, "RSD PTR ", 8);
	memcpy(t->rsdp.oem, "VIREO ", 6);
	t->rsdp.revision = 2;
	t->rsdp.length = sizeof t->rsdp;
	t->rsdp.xsdt = (uintptr_t)&t->xsdt;
	t->rsdp.checksum = checksum(&t->rsdp, 20);
	t->rsdp.checksum_all = checksum(&t->rsdp, sizeof t->rsdp);
}

static EFI_STATUS install_tables(void)
{
	static EFI_GUID guid = ACPI_20_TABLE_GUID;
	struct tables *t = allocate(sizeof *t, EfiACPIReclaimMemory);
	struct facs *facs = allocate(sizeof *facs, EfiACPIMemoryNVS);

	if (!t || !facs)
		return EFI_OUT_OF_RESOURCES;
	memcpy(facs->signature, "FACS", 4);
	facs->length = sizeof *facs;
	facs->version = 1;
	memcpy(t->dsdt, dsdt_aml_code, sizeof dsdt_aml_code);
	make_fadt(t, facs);
	make_madt(t);
	make_root(t);
	return BS->InstallConfigurationTable(&guid, &t->rsdp);
}

/* IA32_FEATURE_CONTROL: locked until reset, VMX off (SDM Vol. 3C 24.7). The boot CPU only. */
static void lock_vmx(void)
{
	if (!file_exists(L"\\vireo\\lock-vmx"))
		return;
	__asm__ volatile("wrmsr" : : "c"(0x3a), "a"(1), "d"(0));
	Print(L"VMX is locked off\r\n");
}

/* Of a run of pages that are not free every third one is kept: as many ranges, and as many between them. */
static void shred_memory(void)
{
	EFI_PHYSICAL_ADDRESS run;
	UINTN descriptors, key, size;
	UINT32 version;

	if (!file_exists(L"\\vireo\\shred-memory") ||
	    EFI_ERROR(BS->AllocatePages(AllocateAnyPages, EfiReservedMemoryType, SHREDS * SHRED_PAGES, &run)))
		return;
	for (unsigned i = 0; i < SHREDS; i++)
		BS->FreePages(run + (i * SHRED_PAGES + 1) * EFI_PAGE_SIZE, SHRED_PAGES - 1);
	if (LibMemoryMap(&descriptors, &key, &size, &version))
		Print(L"memory is shred: %d descriptors\r\n", descriptors);
}

/* ASCII to UTF-16, up to the first line end. Answers the number of bytes with the final zero; 0: no such file. */
static UINT32 read_options(EFI_HANDLE device, CHAR16 *wide)
{
	static CHAR16 path[] = L"\\vireo\\loadoptions.txt";
	EFI_FILE_HANDLE file = open_file(device, path);
	static char text[MAX_OPTIONS];
	UINTN length = sizeof text - 1, i;

	if (!file)
		return 0;
	if (EFI_ERROR(file->Read(file, &length, text)))
		return 0;
	for (i = 0; i < length && text[i] != '\r' && text[i] != '\n'; i++)
		wide[i] = (uint8_t)text[i];
	wide[i] = 0;
	return (UINT32)(2 * (i + 1));
}

/*
 * Says when the next image's first instruction runs, for `make bench`. Printing takes ticks of its own: the first line
 * measures how many, the second, which counts, is ahead by as much.
 */
static void announce_start(void)
{
	uint64_t before = tsc_read(), after;

	Print(L"chain: tsc %ld\r\n", before);
	after = tsc_read();
	Print(L"chain: tsc %ld\r\n", after + (after - before));
}

static EFI_STATUS start_next(EFI_HANDLE image)
{
	static CHAR16 options[MAX_OPTIONS], path[] = L"\\EFI\\vireo\\BOOTX64.EFI";
	EFI_LOADED_IMAGE *self, *next;
	EFI_HANDLE handle;
	EFI_STATUS status = BS->HandleProtocol(image, &LoadedImageProtocol, (void **)&self);

	if (EFI_ERROR(status))
		return status;
	status = BS->LoadImage(FALSE, image, FileDevicePath(self->DeviceHandle, path), NULL, 0, &handle);
	if (EFI_ERROR(status))
		return status;
	status = BS->HandleProtocol(handle, &LoadedImageProtocol, (void **)&next);
	if (EFI_ERROR(status))
		return status;
	next->LoadOptionsSize = read_options(self->DeviceHandle, options);
	next->LoadOptions = next->LoadOptionsSize ? options : NULL;
	lock_vmx();
	shred_memory();
	announce_start();
	return BS->StartImage(handle, NULL, NULL);
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system_table)
{
	EFI_LOADED_IMAGE *self;
	EFI_STATUS status;

	InitializeLib(image, system_table);
	status = BS->HandleProtocol(image, &LoadedImageProtocol, (void **)&self);
	if (EFI_ERROR(status))
		return status;
	boot_device = self->DeviceHandle;
	status = install_tables();
	Print(L"ACPI tables for the test bed: %r\r\n", status);
	if (!EFI_ERROR(status))
		status = start_next(image);
	Print(L"\\EFI\\vireo\\BOOTX64.EFI: %r\r\n", status);
	return status;
}
