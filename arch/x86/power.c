/* Power-off and reset: power.h. What the tables say is acpi_power.c's; here are the registers and the order of writes.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/power.h"
#include "arch/x86/acpi_power.h"
#include "arch/x86/insn.h"
#include "arch/x86/paging.h"
#include "arch/x86/tsc.h"

#define SPACE_MEMORY 0
#define SPACE_PCI    2

#define PCI_ADDRESS 0xcf8
#define PCI_DATA    0xcfc
#define PCI_ENABLE  0x80000000u

/* PM1 control, 16 bits */
#define SCI_EN	      0x0001
#define SLP_TYP	      0x1c00
#define SLP_TYP_SHIFT 10
#define SLP_EN	      0x2000
/* sleep control register of hardware-reduced ACPI, 8 bits */
#define SLEEP_TYP_SHIFT 2
#define SLEEP_EN	0x20

#define RESET_CONTROL 0xcf9
#define RESET_SYSTEM  0x02 /* the whole platform, not only the processor */
#define RESET_CPU     0x04 /* its rising edge resets */

#define KBC_PORT	0x64
#define KBC_INPUT_FULL	0x02
#define KBC_PULSE_RESET 0xfe

#define RESET_US    200000 /* long enough for any reset to have begun */
#define OFF_US	    3000000
#define ENABLE_MS   3000 /* firmware switches to ACPI mode in its own time */
#define KBC_POLLS   1000
#define KBC_POLL_US 10

struct reg {
	struct acpi_address address; /* address 0: absent */
	volatile void *mapped;	     /* memory space only */
};

static RO_AFTER_INIT struct acpi_soft_off off;
static const char *off_missing = "its ways were not looked for yet";
static RO_AFTER_INIT struct reg control[2]; /* PM1a and PM1b control, or sleep control */
static RO_AFTER_INIT struct reg reset;
static RO_AFTER_INIT uint8_t reset_value;

static void reg_open(struct reg *r, const struct acpi_address *address)
{
	r->address = *address;
	if (!address->address || address->space != SPACE_MEMORY)
		return;
	r->mapped = mmio_map(HPA(address->address), sizeof(uint16_t), MAP_UC);
	if (!r->mapped)
		r->address.address = 0;
}

static uint16_t reg_read16(const struct reg *r)
{
	if (r->address.space == SPACE_MEMORY)
		return *(volatile uint16_t *)r->mapped;
	return inw((uint16_t)r->address.address);
}

static void reg_write16(const struct reg *r, uint16_t value)
{
	if (r->address.space == SPACE_MEMORY)
		*(volatile uint16_t *)r->mapped = value;
	else
		outw((uint16_t)r->address.address, value);
}

/* Bits 47 to 32 device, 31 to 16 function, 15 to 0 offset, on bus 0 (ACPI 5.2.3.2). */
static void pci_write8(uint64_t address, uint8_t value)
{
	uint32_t device = address >> 32 & 0x1f, function = address >> 16 & 7, offset = address & 0xff;

	outl(PCI_ADDRESS, PCI_ENABLE | device << 11 | function << 8 | (offset & ~3u));
	outb((uint16_t)(PCI_DATA + (offset & 3)), value);
}

static void reg_write8(const struct reg *r, uint8_t value)
{
	if (r->address.space == SPACE_MEMORY)
		*(volatile uint8_t *)r->mapped = value;
	else if (r->address.space == SPACE_PCI)
		pci_write8(r->address.address, value);
	else
		outb((uint16_t)r->address.address, value);
}

void power_init(void)
{
	struct acpi_reset found;

	if (acpi_reset_register(&found)) {
		reg_open(&reset, &found.reg);
		reset_value = found.value;
	}
	if (acpi_soft_off(&off, &off_missing))
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(control); i++)
		reg_open(&control[i], &off.control[i]);
	off_missing = control[0].address.address ? NULL : "the sleep register can't be mapped";
}

/* Without ACPI mode the sleep bits belong to firmware's SMI handler. */
static bool enable_acpi(void)
{
	if (!off.enable_port || reg_read16(&control[0]) & SCI_EN)
		return true;
	outb(off.enable_port, off.enable_value);
	for (unsigned ms = 0; ms < ENABLE_MS; ms++) {
		if (reg_read16(&control[0]) & SCI_EN)
			return true;
		tsc_delay_us(1000);
	}
	return false;
}

/* Types first, then both enables in a row: with two blocks the chips must agree before either acts. */
static void sleep_by_pm1(void)
{
	uint16_t value[ARRAY_SIZE(control)] = {0};

	for (unsigned i = 0; i < ARRAY_SIZE(control) && control[i].address.address; i++) {
		value[i] = reg_read16(&control[i]) & (uint16_t) ~(SLP_TYP | SLP_EN);
		value[i] |= (uint16_t)(off.type[i] << SLP_TYP_SHIFT);
		reg_write16(&control[i], value[i]);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(control) && control[i].address.address; i++)
		reg_write16(&control[i], value[i] | SLP_EN);
}

int power_off(const char **why)
{
	*why = off_missing;
	if (off_missing)
		return -E_NOTSUP;
	*why = "firmware does not switch to ACPI mode";
	if (off.reduced)
		reg_write8(&control[0], (uint8_t)(off.type[0] << SLEEP_TYP_SHIFT | SLEEP_EN));
	else if (enable_acpi())
		sleep_by_pm1();
	else
		return -E_TIMEOUT;
	tsc_delay_us(OFF_US);
	*why = "the machine is still on";
	return -E_TIMEOUT;
}

static void reset_by_chipset(void)
{
	uint8_t value = inb(RESET_CONTROL) & (uint8_t) ~(RESET_SYSTEM | RESET_CPU);

	outb(RESET_CONTROL, value | RESET_SYSTEM);
	tsc_delay_us(50);
	outb(RESET_CONTROL, value | RESET_SYSTEM | RESET_CPU);
	tsc_delay_us(RESET_US);
}

static void reset_by_keyboard_controller(void)
{
	for (unsigned i = 0; i < KBC_POLLS && inb(KBC_PORT) & KBC_INPUT_FULL; i++)
		tsc_delay_us(KBC_POLL_US);
	outb(KBC_PORT, KBC_PULSE_RESET);
	tsc_delay_us(RESET_US);
}

/* No handler for the breakpoint, none for the fault that follows, none for the double fault: the processor shuts down,
 * which the chipset answers with a reset. */
static _Noreturn void reset_by_triple_fault(void)
{
	static const struct table_register empty;

	lidt(&empty);
	for (;;)
		__asm__ volatile("int3");
}

void power_reboot(void)
{
	if (reset.address.address) {
		reg_write8(&reset, reset_value);
		tsc_delay_us(RESET_US);
	}
	reset_by_chipset();
	reset_by_keyboard_controller();
	reset_by_triple_fault();
}
