/*
 * Finds the tables that firmware publishes and decides whose list of CPUs counts. Called by boot/main.c.
 * UEFI 2.10, 4.6 EFI Configuration Table; 12.9 Graphics Output Protocol.
 */
/* SPDX-License-Identifier: MIT */
#include "boot/platform.h"

#include "boot/acpi.h"

#include <cpuid.h>
#include <efi.h>
#include <efilib.h>
#include <stdbool.h>

static uint64_t find_configuration_table(const EFI_GUID *id)
{
	for (UINTN i = 0; i < ST->NumberOfTableEntries; i++)
		if (!CompareGuid(&ST->ConfigurationTable[i].VendorGuid, (EFI_GUID *)id))
			return (uintptr_t)ST->ConfigurationTable[i].VendorTable;
	return 0;
}

void platform_find_tables(struct boot_info *info)
{
	static const EFI_GUID acpi2 = ACPI_20_TABLE_GUID, acpi1 = ACPI_TABLE_GUID, smbios3 = SMBIOS3_TABLE_GUID,
			      smbios = SMBIOS_TABLE_GUID;

	info->rsdp_hpa = find_configuration_table(&acpi2);
	if (!info->rsdp_hpa)
		info->rsdp_hpa = find_configuration_table(&acpi1);
	info->smbios_hpa = find_configuration_table(&smbios3);
	if (!info->smbios_hpa)
		info->smbios_hpa = find_configuration_table(&smbios);
}

/* The x2APIC ID where leaf 0xB exists, else the 8-bit one of leaf 1. SDM Vol. 2A, CPUID. */
static uint32_t own_apic_id(void)
{
	uint32_t eax, ebx, ecx, edx;

	if (__get_cpuid_count(0xb, 0, &eax, &ebx, &ecx, &edx) && ebx)
		return edx;
	__cpuid(1, eax, ebx, ecx, edx);
	return ebx >> 24;
}

static void mark_bsp(struct boot_info *info)
{
	uint32_t id = own_apic_id();

	for (uint32_t i = 0; i < info->cpu_count; i++) {
		info->cpu[i].flags &= ~BOOT_CPU_BSP;
		if (info->cpu[i].apic_id == id) {
			info->cpu[i].flags |= BOOT_CPU_BSP;
			return;
		}
	}
	/* firmware forgot the CPU it runs on, or the list is full */
	if (info->cpu_count == BOOT_MAX_CPUS)
		info->cpu_count--;
	info->cpu[info->cpu_count++] = (struct boot_cpu){id, BOOT_CPU_BSP};
}

#define LEGACY_END 0x100000 /* tables of old machines lie below, in ROM that no map lists */

static const uint8_t *memory_map; /* NULL: firmware does not tell */
static UINTN descriptors, descriptor_size;

/* Up to where memory goes on from `hpa`; there itself if it is none. */
static uint64_t memory_end(uint64_t hpa)
{
	for (UINTN i = 0; i < descriptors; i++) {
		const EFI_MEMORY_DESCRIPTOR *d = (const EFI_MEMORY_DESCRIPTOR *)(memory_map + i * descriptor_size);

		if (d->Type != EfiMemoryMappedIO && d->Type != EfiMemoryMappedIOPortSpace && hpa >= d->PhysicalStart &&
		    (hpa - d->PhysicalStart) / EFI_PAGE_SIZE < d->NumberOfPages)
			return d->PhysicalStart + d->NumberOfPages * EFI_PAGE_SIZE;
	}
	return hpa;
}

/* For acpi_find_cpus(): firmware's page tables may not map what is in none of its ranges. */
static bool is_memory(uint64_t hpa, uint64_t size)
{
	uint64_t end = hpa + size;

	if (end < size)
		return false;
	if (!memory_map || end <= LEGACY_END)
		return true;
	while (hpa < end) {
		uint64_t next = memory_end(hpa);

		if (next <= hpa)
			return false;
		hpa = next;
	}
	return true;
}

void platform_find_cpus(struct boot_info *info)
{
	const CHAR16 *source = L"ACPI";
	UINT32 version;
	uint32_t absent;
	UINTN key;

	memory_map = (const uint8_t *)LibMemoryMap(&descriptors, &key, &descriptor_size, &version);
	if (!acpi_find_cpus(info->rsdp_hpa, is_memory, info, &absent))
		source = mp_find_cpus(info) ? L"MP services" : L"no list, this one";
	if (memory_map)
		FreePool((void *)memory_map);
	mark_bsp(info);
	Print(L"  CPUs: %d (%s)", (UINTN)info->cpu_count, source);
	if (absent)
		Print(L", %d more may be plugged in", (UINTN)absent);
	Print(L"\r\n");
}

static bool use_mode(const EFI_GRAPHICS_OUTPUT_PROTOCOL_MODE *mode, struct boot_framebuffer *fb)
{
	const EFI_GRAPHICS_OUTPUT_MODE_INFORMATION *m = mode->Info;
	uint64_t pitch = (uint64_t)m->PixelsPerScanLine * 4;

	if (!mode->FrameBufferBase || m->PixelsPerScanLine < m->HorizontalResolution || pitch > UINT32_MAX)
		return false;
	if (m->PixelFormat != PixelRedGreenBlueReserved8BitPerColor &&
	    m->PixelFormat != PixelBlueGreenRedReserved8BitPerColor)
		return false; /* bit masks, or no linear framebuffer at all */
	if (pitch * m->VerticalResolution > mode->FrameBufferSize)
		return false;
	*fb = (struct boot_framebuffer){
	    .hpa = mode->FrameBufferBase,
	    .size = mode->FrameBufferSize,
	    .width = m->HorizontalResolution,
	    .height = m->VerticalResolution,
	    .pitch = (uint32_t)pitch,
	    .format = m->PixelFormat == PixelRedGreenBlueReserved8BitPerColor,
	};
	return true;
}

/* The console splitter has a protocol instance without a framebuffer: look at all of them. */
void platform_find_framebuffer(struct boot_info *info)
{
	EFI_GRAPHICS_OUTPUT_PROTOCOL *gop;
	EFI_HANDLE *handle = NULL;
	UINTN count = 0;

	if (EFI_ERROR(BS->LocateHandleBuffer(ByProtocol, &GraphicsOutputProtocol, NULL, &count, &handle)))
		return;
	for (UINTN i = 0; i < count; i++)
		if (!EFI_ERROR(BS->HandleProtocol(handle[i], &GraphicsOutputProtocol, (void **)&gop)) && gop->Mode &&
		    gop->Mode->Info && use_mode(gop->Mode, &info->framebuffer))
			break;
	BS->FreePool(handle);
}
