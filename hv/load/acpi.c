/*
 * The guest's ACPI tables, see acpi.h. They are laid down one behind the other in the guest's own memory; nothing is
 * read back but the bytes that a checksum runs over. ACPI 6.4 chapter 5.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/load/acpi.h"

#include "dsdt.h"
#include "hv/lib/string.h"
#include "hv/pc_map.h"

#define TABLES_MAX 8192 /* what all tables need at most, with room to spare; checked in place() */

#define RSDP_SIZE    36
#define RSDP_V1_SIZE 20

/* 5.2.6 */
struct acpi_header {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} __attribute__((packed));

/* 5.2.5.3 */
struct acpi_rsdp {
	char signature[8];
	uint8_t checksum;
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum;
	uint8_t reserved[3];
} __attribute__((packed));

/* Generic address structure, 5.2.3.2. */
struct acpi_gas {
	uint8_t space;
	uint8_t bits;
	uint8_t offset;
	uint8_t access; /* 1 byte, 2 word, 3 dword */
	uint64_t address;
} __attribute__((packed));

#define GAS_PORT(port, size, unit)                                                                                     \
	(struct acpi_gas)                                                                                              \
	{                                                                                                              \
		.space = 1, .bits = (size)*8, .access = (unit), .address = (port)                                      \
	}

/* 5.2.9, revision 6. What is not named in fadt() stays zero: absent. */
struct acpi_fadt {
	struct acpi_header header;
	uint32_t firmware_ctrl, dsdt;
	uint8_t reserved0, preferred_pm_profile;
	uint16_t sci_int;
	uint32_t smi_cmd;
	uint8_t acpi_enable, acpi_disable, s4bios_req, pstate_cnt;
	uint32_t pm1a_evt_blk, pm1b_evt_blk, pm1a_cnt_blk, pm1b_cnt_blk, pm2_cnt_blk, pm_tmr_blk, gpe0_blk, gpe1_blk;
	uint8_t pm1_evt_len, pm1_cnt_len, pm2_cnt_len, pm_tmr_len, gpe0_blk_len, gpe1_blk_len, gpe1_base, cst_cnt;
	uint16_t p_lvl2_lat, p_lvl3_lat, flush_size, flush_stride;
	uint8_t duty_offset, duty_width, day_alrm, mon_alrm, century;
	uint16_t iapc_boot_arch;
	uint8_t reserved1;
	uint32_t flags;
	struct acpi_gas reset_reg;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor_version;
	uint64_t x_firmware_ctrl, x_dsdt;
	struct acpi_gas x_pm1a_evt_blk, x_pm1b_evt_blk, x_pm1a_cnt_blk, x_pm1b_cnt_blk, x_pm2_cnt_blk, x_pm_tmr_blk,
	    x_gpe0_blk, x_gpe1_blk, sleep_control_reg, sleep_status_reg;
	char hypervisor[8];
} __attribute__((packed));

_Static_assert(sizeof(struct acpi_header) == 36, "5.2.6");
_Static_assert(sizeof(struct acpi_rsdp) == RSDP_SIZE, "5.2.5.3");
_Static_assert(sizeof(struct acpi_fadt) == 276, "5.2.9");

#define FADT_WBINVD	   BIT(0)
#define FADT_PROC_C1	   BIT(2)
#define FADT_SLP_BUTTON	   BIT(5) /* set: not in the fixed registers */
#define FADT_FIX_RTC	   BIT(6) /* set: RTC wake is not in the fixed registers */
#define FADT_TMR_VAL_EXT   BIT(8)
#define FADT_RESET_REG_SUP BIT(10)

#define BOOT_LEGACY_DEVICES BIT(0)
#define BOOT_8042	    BIT(1)

#define LATENCY_NONE 0x0FFF /* P_LVLx: more than 100 and 1000 us, so there are no such states */
#define CMOS_CENTURY 0x32

/* 5.2.11.3.1; the SCI's polarity and trigger, 5.2.12.5. */
#define MADT_PCAT_COMPAT 1
#define INT_HIGH_LEVEL	 0x000D

/* Where the next table goes. */
struct place {
	uint8_t *host;
	uint32_t gpa;
	uint32_t used;
};

static uint8_t checksum(const uint8_t *bytes, size_t count)
{
	uint8_t sum = 0;

	while (count--)
		sum += *bytes++;
	return (uint8_t)-sum;
}

/* Takes `size` bytes for a table; they start on a cache line, as the FACS must (5.2.10). */
static uint8_t *place_take(struct place *place, uint32_t size, uint32_t *gpa)
{
	uint32_t at = (place->used + 63) & ~63u;

	if (at > TABLES_MAX || size > TABLES_MAX - at)
		return NULL;
	place->used = at + size;
	*gpa = place->gpa + at;
	memset(place->host + at, 0, size);
	return place->host + at;
}

static struct acpi_header make_header(const char *signature, uint8_t revision, uint32_t length)
{
	struct acpi_header h = {.length = length, .revision = revision, .oem_revision = 1, .creator_revision = 1};

	memcpy(h.signature, signature, 4);
	memcpy(h.oem_id, "VIREO ", 6);
	memcpy(h.oem_table_id, "VIREO-PC", 8);
	memcpy(h.creator_id, "VIRE", 4);
	return h;
}

/* Copies header and body and makes the sum of all bytes zero. The table's address, or 0: no room. */
static uint32_t put_table(struct place *place, struct acpi_header header, const void *body)
{
	uint32_t gpa = 0;
	uint8_t *table = place_take(place, header.length, &gpa);

	if (!table)
		return 0;
	header.checksum = 0;
	memcpy(table, &header, sizeof(header));
	memcpy(table + sizeof(header), body, header.length - sizeof(header));
	table[offsetof(struct acpi_header, checksum)] = checksum(table, header.length);
	return gpa;
}

/*
 * Device (\_SB.Cxxx) { Name (_HID, "ACPI0007") Name (_UID, n) } in AML (20.2.5.2): one for each vCPU, so that a guest
 * neither reads nor tests more than there are.
 */
static const uint8_t cpu_aml[] = {
    0x5B, 0x82, 33,					 /* DeviceOp, package length from here on */
    '\\', 0x2E, '_', 'S', 'B', '_',  'C', '0', '0', '0', /* DualNamePrefix path */
    0x08, '_',	'H', 'I', 'D', 0x0D, 'A', 'C', 'P', 'I', '0', '0', '0', '7', 0, /* NameOp, string */
    0x08, '_',	'U', 'I', 'D', 0x0A, 0,						/* NameOp, byte */
};
#define CPU_AML_DIGITS 11
#define CPU_AML_UID    (sizeof(cpu_aml) - 1)

_Static_assert(sizeof(cpu_aml) == 2 + 33, "package length");

static uint32_t put_dsdt(struct place *place, unsigned vcpus)
{
	uint32_t gpa = 0, size = (uint32_t)(sizeof(dsdt_aml) + vcpus * sizeof(cpu_aml));
	uint8_t *table = place_take(place, size, &gpa);
	uint8_t *cpu;

	if (!table)
		return 0;
	memcpy(table, dsdt_aml, sizeof(dsdt_aml));
	memcpy(table + offsetof(struct acpi_header, length), &size, sizeof(size));
	for (unsigned n = 0; n < vcpus; n++) {
		cpu = table + sizeof(dsdt_aml) + n * sizeof(cpu_aml);
		memcpy(cpu, cpu_aml, sizeof(cpu_aml));
		cpu[CPU_AML_DIGITS] = (uint8_t)('0' + n / 10);
		cpu[CPU_AML_DIGITS + 1] = (uint8_t)('0' + n % 10);
		cpu[CPU_AML_UID] = (uint8_t)n;
	}
	table[offsetof(struct acpi_header, checksum)] = 0;
	table[offsetof(struct acpi_header, checksum)] = checksum(table, size);
	return gpa;
}

/* 5.2.10; it has no checksum. */
static uint32_t put_facs(struct place *place)
{
	static const uint32_t length = 64;
	uint32_t gpa = 0;
	uint8_t *facs = place_take(place, length, &gpa);

	if (!facs)
		return 0;
	memcpy(facs, "FACS", 4);
	memcpy(facs + 4, &length, sizeof(length));
	facs[32] = 2; /* version */
	return gpa;
}

static uint32_t put_fadt(struct place *place, uint32_t facs, uint32_t dsdt)
{
	struct acpi_fadt f = {
	    .header = make_header("FACP", 6, sizeof(f)),
	    .firmware_ctrl = facs, /* X_FIRMWARE_CTRL must then be zero */
	    .dsdt = dsdt,
	    .x_dsdt = dsdt,
	    .sci_int = PC_IRQ_SCI,
	    .pm1a_evt_blk = PC_PORT_PM1_EVENT,
	    .pm1_evt_len = 4,
	    .x_pm1a_evt_blk = GAS_PORT(PC_PORT_PM1_EVENT, 4, 2),
	    .pm1a_cnt_blk = PC_PORT_PM1_CNT,
	    .pm1_cnt_len = 2,
	    .x_pm1a_cnt_blk = GAS_PORT(PC_PORT_PM1_CNT, 2, 2),
	    .pm_tmr_blk = PC_PORT_PM_TIMER,
	    .pm_tmr_len = 4,
	    .x_pm_tmr_blk = GAS_PORT(PC_PORT_PM_TIMER, 4, 3),
	    .p_lvl2_lat = LATENCY_NONE,
	    .p_lvl3_lat = LATENCY_NONE,
	    .century = CMOS_CENTURY,
	    .iapc_boot_arch = BOOT_LEGACY_DEVICES | BOOT_8042,
	    .flags =
		FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_FIX_RTC | FADT_TMR_VAL_EXT | FADT_RESET_REG_SUP,
	    .reset_reg = GAS_PORT(PC_PORT_RESET, 1, 1),
	    .reset_value = PC_RESET_VALUE,
	    .hypervisor = "Vireo",
	};

	return put_table(place, f.header, (const uint8_t *)&f + sizeof(f.header));
}

static uint8_t *put_bytes(uint8_t *at, const void *bytes, size_t count)
{
	memcpy(at, bytes, count);
	return at + count;
}

/* 5.2.12: processors, one IOAPIC, the two ISA interrupts that are not edge-triggered on their own pin, NMI at LINT1. */
static uint32_t put_madt(struct place *place, unsigned vcpus)
{
	static const struct {
		uint32_t lapic, flags;
	} head = {PC_LAPIC_ADDRESS, MADT_PCAT_COMPAT};
	static const uint32_t ioapic[] = {PC_IOAPIC_ADDRESS, 0 /* first GSI */};
	uint8_t body[sizeof(head) + PC_MAX_VCPUS * 8 + 12 + 2 * 10 + 6];
	uint8_t *at = put_bytes(body, &head, sizeof(head));

	for (unsigned n = 0; n < vcpus; n++)
		at = put_bytes(at, (const uint8_t[8]){0, 8, (uint8_t)n, (uint8_t)n, 1 /* enabled */}, 8);
	at = put_bytes(at, (const uint8_t[4]){1, 12, PC_IOAPIC_ID}, 4);
	at = put_bytes(at, ioapic, sizeof(ioapic));
	at = put_bytes(at, (const uint8_t[10]){2, 10, 0, PC_IRQ_PIT, PC_PIT_IOAPIC_PIN}, 10);
	at = put_bytes(at, (const uint8_t[10]){2, 10, 0, PC_IRQ_SCI, PC_IRQ_SCI, 0, 0, 0, INT_HIGH_LEVEL}, 10);
	at = put_bytes(at, (const uint8_t[6]){4, 6, 0xFF /* all processors */, 0, 0, 1}, 6);
	return put_table(place, make_header("APIC", 4, (uint32_t)(sizeof(struct acpi_header) + (size_t)(at - body))),
			 body);
}

/* PCI Firmware Specification 3.3, 4.1.2: where configuration space is in memory. */
static uint32_t put_mcfg(struct place *place)
{
	static const struct {
		uint64_t reserved, base;
		uint16_t segment;
		uint8_t first_bus, last_bus;
		uint32_t reserved2;
	} __attribute__((packed)) body = {.base = PC_ECAM};

	return put_table(place, make_header("MCFG", 1, sizeof(struct acpi_header) + sizeof(body)), &body);
}

static int put_rsdp(struct place *place, uint32_t rsdt, uint32_t xsdt)
{
	struct acpi_rsdp r = {.revision = 2, .rsdt = rsdt, .length = RSDP_SIZE, .xsdt = xsdt};

	memcpy(r.signature, "RSD PTR ", 8);
	memcpy(r.oem_id, "VIREO ", 6);
	r.checksum = checksum((const uint8_t *)&r, RSDP_V1_SIZE);
	r.extended_checksum = checksum((const uint8_t *)&r, sizeof(r));
	memcpy(place->host, &r, sizeof(r));
	return 0;
}

int acpi_build(const struct guest_mem *mem, unsigned vcpus, gpa_t *rsdp)
{
	struct place place = {.gpa = PC_ACPI_TABLES, .used = RSDP_SIZE};
	uint32_t fadt, madt, mcfg, facs, dsdt, rsdt, xsdt;

	if (vcpus == 0 || vcpus > PC_MAX_VCPUS)
		return -E_INVAL;
	place.host = guest_map(mem, GPA(PC_ACPI_TABLES), TABLES_MAX);
	if (!place.host)
		return -E_RANGE;
	facs = put_facs(&place);
	dsdt = put_dsdt(&place, vcpus);
	fadt = put_fadt(&place, facs, dsdt);
	madt = put_madt(&place, vcpus);
	mcfg = put_mcfg(&place);
	rsdt = put_table(&place, make_header("RSDT", 1, sizeof(struct acpi_header) + 12),
			 (const uint32_t[]){fadt, madt, mcfg});
	xsdt = put_table(&place, make_header("XSDT", 1, sizeof(struct acpi_header) + 24),
			 (const uint64_t[]){fadt, madt, mcfg});
	if (!facs || !dsdt || !fadt || !madt || !mcfg || !rsdt || !xsdt)
		return -E_RANGE;
	*rsdp = GPA(PC_ACPI_TABLES);
	return put_rsdp(&place, rsdt, xsdt);
}
