/*
 * PCI configuration access; see pci_host.h. Nothing but the host bridge is on the bus yet; it is there because guests
 * believe in mechanism #1 only after they have seen one (Linux: pci_sanity_check), and all of it is read-only.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/dev/pci_host.h"

#include "hv/lib/string.h"
#include "hv/pc_map.h"

#define ADDRESS 0xCF8u
#define DATA	0xCFCu
#define PORTS	8

#define ADDRESS_ENABLE 0x80000000u
#define ADDRESS_KEPT   0x80FFFFFCu /* enable, bus, device, function, register */

#define RESET_CPU 0x04 /* setting it starts the reset that bits 1 and 3 describe */

static uint32_t ones(unsigned size)
{
	return size == 4 ? UINT32_MAX : (1u << (8 * size)) - 1;
}

/* The function that the address register points at, or NULL: another bus, another function, an empty slot. */
static const struct pci_function *find(const struct pci_host *host)
{
	const struct pci_function *f = &host->function[host->address >> 11 & 0x1F];
	bool here = (host->address & ADDRESS_ENABLE) && !(host->address & 0x00FF0700);

	return here && f->read ? f : NULL;
}

static uint32_t data_read(const struct pci_host *host, unsigned byte)
{
	const struct pci_function *f = find(host);

	return f ? f->read(f->dev, host->address & 0xFC) >> (8 * byte) : UINT32_MAX;
}

static void reset_write(struct pci_host *host, uint8_t value)
{
	host->reset_control = value & (uint8_t)~RESET_CPU;
	if (value & RESET_CPU)
		host->platform->request(host->platform->ctx, PLATFORM_RESET, 0);
}

/*
 * Only a dword reaches the address register, only a byte the reset register (82441FX CONFADD, 82371SB RC). Data go by
 * bytes, words and dwords at any place within the four ports. What matches none of these finds nobody.
 */
static uint64_t port_read(void *dev, uint64_t addr, unsigned size)
{
	const struct pci_host *host = dev;

	if (addr >= DATA)
		return data_read(host, addr - DATA) & ones(size);
	if (addr == ADDRESS && size == 4)
		return host->address;
	if (addr == PC_PORT_RESET && size == 1)
		return host->reset_control;
	return ones(size);
}

static void port_write(void *dev, uint64_t addr, unsigned size, uint64_t value)
{
	struct pci_host *host = dev;
	const struct pci_function *f;

	if (addr >= DATA) {
		f = find(host);
		if (f)
			f->write(f->dev, (host->address & 0xFC) + (unsigned)(addr - DATA), size,
				 (uint32_t)value & ones(size));
	} else if (addr == ADDRESS && size == 4) {
		host->address = (uint32_t)value & ADDRESS_KEPT;
	} else if (addr == PC_PORT_RESET && size == 1) {
		reset_write(host, (uint8_t)value);
	}
}

/* --- 00:00.0, an 82441FX as far as software looks: vendor, device, command, status, revision, class ------------------
 */

static uint32_t bridge_read(void *dev, unsigned offset)
{
	static const uint32_t config[] = {
	    0x12378086,
	    0x02800006, /* memory and bus mastering are always on; medium DEVSEL timing, fast back-to-back */
	    0x06000002, /* host bridge, revision 2 */
	};

	(void)dev;
	return offset / 4 < ARRAY_SIZE(config) ? config[offset / 4] : 0;
}

static void bridge_write(void *dev, unsigned offset, unsigned size, uint32_t value)
{
	(void)dev, (void)offset, (void)size, (void)value;
}

int pci_host_init(struct pci_host *host, struct bus *pio, const struct platform *platform)
{
	struct bus_range ports = {.first = ADDRESS,
				  .count = PORTS,
				  .name = "PCI configuration",
				  .dev = host,
				  .read = port_read,
				  .write = port_write};

	memset(host, 0, sizeof(*host));
	host->platform = platform;
	host->function[0] = (struct pci_function){.read = bridge_read, .write = bridge_write};
	return bus_add(pio, &ports);
}

void pci_host_reset(struct pci_host *host)
{
	host->address = 0;
	host->reset_control = 0;
}
