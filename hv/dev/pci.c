/*
 * A PCI function; see pci.h. The configuration space is an array of bytes and a mask of what the guest may change of
 * each; three registers have effects: command and BARs move what answers on the buses, MSI-X's control lets out what
 * was kept back. PCI Local Bus Specification 3.0: 6.1 (header), 6.2.5 (BARs), 6.8.2 (MSI-X).
 */
/* SPDX-License-Identifier: MIT */
#include "hv/dev/pci.h"

#include "hv/dev/apic_bus.h"
#include "hv/dev/pci_host.h"
#include "hv/lib/panic.h"
#include "hv/lib/string.h"

#define FIRST_CAPABILITY 0x40

#define MSIX_SIZE	12 /* of the capability */
#define MSIX_CONTROL	2  /* within it: 16 bits */
#define MSIX_ENABLE	BIT(15)
#define MSIX_ALL_MASKED BIT(14)
#define MSIX_TABLE	4
#define MSIX_PENDING	8
#define MSIX_BAR_SIZE	4096
#define MSIX_PENDING_AT 2048
#define MSIX_ENTRY_SIZE 16
#define ENTRY_MASKED	BIT(0)

uint16_t pci_get16(const struct pci_device *p, unsigned offset)
{
	return (uint16_t)(p->config[offset] | p->config[offset + 1] << 8);
}

void pci_put16(struct pci_device *p, unsigned offset, uint16_t value)
{
	p->config[offset] = (uint8_t)value;
	p->config[offset + 1] = (uint8_t)(value >> 8);
}

uint32_t pci_get32(const struct pci_device *p, unsigned offset)
{
	return pci_get16(p, offset) | (uint32_t)pci_get16(p, offset + 2) << 16;
}

void pci_put32(struct pci_device *p, unsigned offset, uint32_t value)
{
	pci_put16(p, offset, (uint16_t)value);
	pci_put16(p, offset + 2, (uint16_t)(value >> 16));
}

static void allow32(struct pci_device *p, unsigned offset, uint32_t bits)
{
	for (unsigned i = 0; i < 4; i++)
		p->writable[offset + i] = (uint8_t)(bits >> (8 * i));
}

void pci_init(struct pci_device *p, const struct pci_identity *id)
{
	memset(p, 0, sizeof(*p));
	pci_put16(p, 0x00, id->vendor);
	pci_put16(p, 0x02, id->device);
	pci_put32(p, 0x08, id->class_code << 8 | id->revision);
	pci_put16(p, 0x2C, id->subsystem_vendor);
	pci_put16(p, 0x2E, id->subsystem);
	p->config[PCI_INTERRUPT_PIN] = 1;
	p->writable[PCI_INTERRUPT_LINE] = 0xFF;
	allow32(p, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_NO_INTX);
	p->writable[0x0C] = 0xFF; /* cache line size: kept, of no effect */
	p->capability_end = FIRST_CAPABILITY;
	p->last_capability = PCI_CAPABILITIES - 1;
}

void pci_add_bar(struct pci_device *p, unsigned index, const struct pci_bar *bar)
{
	p->bar[index] = *bar;
	pci_put32(p, PCI_BAR + 4 * index, bar->io ? 1 : 0);
	allow32(p, PCI_BAR + 4 * index, ~(bar->size - 1));
}

unsigned pci_add_capability(struct pci_device *p, uint8_t id, unsigned size)
{
	unsigned at = p->capability_end;

	if (at + size > PCI_CONFIG_SIZE)
		panic("PCI function %04x:%04x: no room for capability 0x%x", pci_get16(p, 0), pci_get16(p, 2), id);
	p->config[at] = id;
	p->config[p->last_capability + 1] = (uint8_t)at;
	p->last_capability = at;
	p->capability_end = ALIGN_UP(at + size, 4);
	p->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
	return at;
}

/* --- where it answers -------------------------------------------------------------------------------------------- */

static void update_interrupt(struct pci_device *p)
{
	bool silent = (pci_get16(p, PCI_COMMAND) & PCI_COMMAND_NO_INTX) || pci_msix_enabled(p);

	if (p->interrupt)
		p->config[PCI_STATUS] |= PCI_STATUS_INTERRUPT;
	else
		p->config[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTERRUPT;
	if (p->host)
		pci_host_set_interrupt(p->host, p->slot, p->interrupt && !silent);
}

void pci_set_interrupt(struct pci_device *p, bool level)
{
	if (p->interrupt == level)
		return;
	p->interrupt = level;
	update_interrupt(p);
}

void pci_clear_interrupts(struct pci_device *p)
{
	p->msix.pending = 0;
	pci_set_interrupt(p, false);
}

void pci_reset(struct pci_device *p)
{
	for (unsigned i = 0; i < PCI_CONFIG_SIZE; i++)
		p->config[i] &= (uint8_t)~p->writable[i];
	for (unsigned i = 0; i < PCI_BARS; i++)
		if (p->bar[i].size && p->host)
			pci_put32(p, PCI_BAR + 4 * i, pci_host_assign(p->host, p->slot, i) | (p->bar[i].io ? 1 : 0));
	p->config[PCI_INTERRUPT_LINE] = p->host ? pci_host_pic_line(p->slot) : 0xFF;
	for (unsigned n = 0; n < p->msix.count; n++) {
		p->msix.entry[n].address = p->msix.entry[n].data = 0;
		p->msix.entry[n].control = ENTRY_MASKED;
	}
	pci_clear_interrupts(p);
	if (p->host)
		pci_host_moved(p->host);
}

/* --- MSI-X ------------------------------------------------------------------------------------------------------- */

static uint16_t msix_control(const struct pci_device *p)
{
	return p->msix.count ? pci_get16(p, p->msix.capability + MSIX_CONTROL) : 0;
}

bool pci_msix_enabled(const struct pci_device *p)
{
	return msix_control(p) & MSIX_ENABLE;
}

/*
 * An MSI is a write to 0xFEExxxxx: destination in bits 19:12, logical in bit 2; vector and mode in the data. Always
 * taken as an edge, as the local APICs do with messages. Any other address would be a write to memory: nobody programs
 * that, and it is dropped. SDM Vol. 3A 11.11.
 */
static void send(struct pci_device *p, unsigned n)
{
	uint64_t address = p->msix.entry[n].address;
	uint32_t data = p->msix.entry[n].data;

	if (address >> 20 != 0xFEE)
		return;
	(void)!apic_bus_deliver(p->host->apics, (uint8_t)(address >> 12), address & BIT(2),
				(enum apic_delivery)(data >> 8 & 7), (uint8_t)data, false);
}

/* May messages be sent, those of entries that aren't masked? */
static bool lets_out(const struct pci_device *p)
{
	return (msix_control(p) & (MSIX_ENABLE | MSIX_ALL_MASKED)) == MSIX_ENABLE && pci_is_master(p) && p->host;
}

static bool is_masked(const struct pci_device *p, unsigned n)
{
	return p->msix.entry[n].control & ENTRY_MASKED;
}

static void let_out_pending(struct pci_device *p)
{
	if (!lets_out(p))
		return;
	for (uint32_t rest = p->msix.pending; rest; rest &= rest - 1) {
		unsigned n = (unsigned)__builtin_ctz(rest);

		if (is_masked(p, n))
			continue;
		p->msix.pending &= ~(1U << n);
		send(p, n);
	}
}

/* What is pending is what could not be let out when it came: this one does not wait for others. */
void pci_msix_raise(struct pci_device *p, unsigned n)
{
	if (n >= p->msix.count)
		return;
	if (lets_out(p) && !is_masked(p, n))
		send(p, n);
	else if (pci_msix_enabled(p))
		p->msix.pending |= 1U << n;
}

/* The table by dwords: address low and high, data, control. */
static uint32_t table_read(const struct pci_msix *m, unsigned offset)
{
	unsigned n = offset / MSIX_ENTRY_SIZE;

	if (offset == MSIX_PENDING_AT)
		return m->pending;
	if (n >= m->count)
		return 0;
	switch (offset % MSIX_ENTRY_SIZE) {
	case 0:
		return (uint32_t)m->entry[n].address;
	case 4:
		return (uint32_t)(m->entry[n].address >> 32);
	case 8:
		return m->entry[n].data;
	default:
		return m->entry[n].control;
	}
}

static void table_write(struct pci_msix *m, unsigned offset, uint32_t value)
{
	unsigned n = offset / MSIX_ENTRY_SIZE;

	if (n >= m->count)
		return;
	switch (offset % MSIX_ENTRY_SIZE) {
	case 0:
		m->entry[n].address = (m->entry[n].address & ~0xFFFFFFFFULL) | (value & ~3U);
		break;
	case 4:
		m->entry[n].address = (m->entry[n].address & 0xFFFFFFFF) | (uint64_t)value << 32;
		break;
	case 8:
		m->entry[n].data = value;
		break;
	default:
		m->entry[n].control = value & ENTRY_MASKED;
	}
}

/* Dwords and quadwords only, aligned (6.8.2): what else comes reads as zero and changes nothing. */
static uint64_t msix_read(void *dev, uint64_t offset, unsigned size)
{
	const struct pci_device *p = dev;
	uint64_t value;

	if (size < 4 || offset % size)
		return 0;
	value = table_read(&p->msix, (unsigned)offset);
	return size == 8 ? value | (uint64_t)table_read(&p->msix, (unsigned)offset + 4) << 32 : value;
}

static void msix_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct pci_device *p = dev;

	if (size < 4 || offset % size)
		return;
	table_write(&p->msix, (unsigned)offset, (uint32_t)value);
	if (size == 8)
		table_write(&p->msix, (unsigned)offset + 4, (uint32_t)(value >> 32));
	let_out_pending(p);
}

void pci_add_msix(struct pci_device *p, unsigned bar, unsigned vectors)
{
	struct pci_bar table = {
	    .dev = p, .read = msix_read, .write = msix_write, .name = "MSI-X", .size = MSIX_BAR_SIZE};
	unsigned at = pci_add_capability(p, PCI_CAP_MSIX, MSIX_SIZE);

	pci_add_bar(p, bar, &table);
	p->msix.count = vectors < PCI_MSIX_MAX ? vectors : PCI_MSIX_MAX;
	p->msix.capability = at;
	pci_put16(p, at + MSIX_CONTROL, (uint16_t)(p->msix.count - 1));
	p->writable[at + MSIX_CONTROL + 1] = (MSIX_ENABLE | MSIX_ALL_MASKED) >> 8;
	pci_put32(p, at + MSIX_TABLE, bar);
	pci_put32(p, at + MSIX_PENDING, MSIX_PENDING_AT | bar);
}

/* --- configuration space ----------------------------------------------------------------------------------------- */

uint32_t pci_config_read(void *dev, unsigned offset)
{
	return pci_get32(dev, offset);
}

static bool touches(unsigned offset, unsigned size, unsigned first, unsigned count)
{
	return offset < first + count && first < offset + size;
}

void pci_config_write(void *dev, unsigned offset, unsigned size, uint32_t value)
{
	struct pci_device *p = dev;

	for (unsigned i = 0; i < size; i++) {
		uint8_t mask = p->writable[offset + i], byte = (uint8_t)(value >> (8 * i));

		p->config[offset + i] = (uint8_t)((p->config[offset + i] & ~mask) | (byte & mask));
	}
	if (touches(offset, size, PCI_COMMAND, 2) || touches(offset, size, PCI_BAR, 4 * PCI_BARS))
		pci_host_moved(p->host);
	if (touches(offset, size, PCI_COMMAND, 2) || touches(offset, size, p->msix.capability + MSIX_CONTROL, 2)) {
		update_interrupt(p);
		let_out_pending(p);
	}
}
