/*
 * PCI configuration access, the BARs' windows and the four interrupt lines; see pci_host.h. The host bridge is there
 * because guests believe in mechanism #1 only after they have seen one (Linux: pci_sanity_check); all of it is
 * read-only.
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

#define PCI_MEMORY_STRIDE 0x10000u
#define PCI_IO_STRIDE	  0x100u

#define RESET_CPU 0x04 /* setting it starts the reset that bits 1 and 3 describe */

static const struct pci_function *function_in(const struct pci_host *host, unsigned slot)
{
	return slot < PCI_DEVICES && host->function[slot].read ? &host->function[slot] : NULL;
}

/* The function that the address register points at, or NULL: another bus, another function, an empty slot. */
static const struct pci_function *find(const struct pci_host *host)
{
	bool here = (host->address & ADDRESS_ENABLE) && !(host->address & 0x00FF0700);

	return here ? function_in(host, host->address >> 11 & 0x1F) : NULL;
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
		return data_read(host, addr - DATA) & bus_ones(size);
	if (addr == ADDRESS && size == 4)
		return host->address;
	if (addr == PC_PORT_RESET && size == 1)
		return host->reset_control;
	return bus_ones(size);
}

static void port_write(void *dev, uint64_t addr, unsigned size, uint64_t value)
{
	struct pci_host *host = dev;
	const struct pci_function *f;

	if (addr >= DATA) {
		f = find(host);
		if (f)
			f->write(f->dev, (host->address & 0xFC) + (unsigned)(addr - DATA), size,
				 (uint32_t)(value & bus_ones(size)));
	} else if (addr == ADDRESS && size == 4) {
		host->address = (uint32_t)value & ADDRESS_KEPT;
	} else if (addr == PC_PORT_RESET && size == 1) {
		reset_write(host, (uint8_t)value);
	}
}

/* --- 00:00.0, an 82441FX as far as software looks: vendor, device, command, status, revision, class --------------- */

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

/* --- ECAM: bus 0, eight functions of 4 KiB each for every device -------------------------------------------------- */

static const struct pci_function *find_ecam(const struct pci_host *host, uint64_t offset)
{
	return offset & 0x7000 ? NULL : function_in(host, offset >> 15 & 0x1F);
}

/*
 * Behind the first 256 bytes a conventional function does not answer (PCI Express Base 7.2.2, PCI Express to PCI
 * bridge): system software sees all ones there and looks for no extended capabilities.
 */
static uint64_t ecam_read(void *dev, uint64_t addr, unsigned size)
{
	const struct pci_host *host = dev;
	const struct pci_function *f = find_ecam(host, addr - PC_ECAM);
	unsigned offset = addr & 0xFFF;

	if (!f || size > 4 || offset % 4 + size > 4 || offset >= PCI_CONFIG_SIZE)
		return bus_ones(size);
	return f->read(f->dev, offset & 0xFC) >> (8 * (offset % 4)) & bus_ones(size);
}

static void ecam_write(void *dev, uint64_t addr, unsigned size, uint64_t value)
{
	struct pci_host *host = dev;
	const struct pci_function *f = find_ecam(host, addr - PC_ECAM);
	unsigned offset = addr & 0xFFF;

	if (f && size <= 4 && offset % 4 + size <= 4 && offset < PCI_CONFIG_SIZE)
		f->write(f->dev, offset, size, (uint32_t)(value & bus_ones(size)));
}

/* --- the windows: where nobody answers is all ones, as a master abort is ------------------------------------------ */

/* A window's `dev` is the bus of the BARs that answer in it. */
static const struct pci_bar *find_bar(struct bus *bus, uint64_t addr, unsigned size)
{
	const struct bus_range *range = bus_find(bus, addr, size);

	return range ? range->dev : NULL;
}

static uint64_t window_read(void *dev, uint64_t addr, unsigned size)
{
	const struct pci_bar *bar = find_bar(dev, addr, size);

	return bar ? bar->read(bar->dev, addr - bar->base, size) : bus_ones(size);
}

static void window_write(void *dev, uint64_t addr, unsigned size, uint64_t value)
{
	const struct pci_bar *bar = find_bar(dev, addr, size);

	if (bar)
		bar->write(bar->dev, addr - bar->base, size, value);
}

static void clear_bells(struct pci_host *host)
{
	for (unsigned i = 0; i < PCI_BELL_PLACES; i++) {
		atomic_store_explicit(&host->bell_ports[i], NULL, memory_order_relaxed);
		atomic_store_explicit(&host->bell_memory[i], NULL, memory_order_relaxed);
	}
}

static void add_bells(struct pci_host *host, struct pci_bar *bar)
{
	uint64_t first = bar->base + bar->bells.first;

	if (!bar->bells.size)
		return;
	if (bar->io)
		atomic_store_explicit(&host->bell_ports[first / PCI_BELL_PORTS % PCI_BELL_PLACES], bar,
				      memory_order_release);
	else
		atomic_store_explicit(&host->bell_memory[first / PCI_BELL_MEMORY % PCI_BELL_PLACES], bar,
				      memory_order_release);
}

/* A BAR that the guest put outside of its window, or onto another one, does not answer until it is moved again. */
static void add_bar(struct pci_host *host, struct pci_device *p, unsigned index)
{
	struct pci_bar *bar = &p->bar[index];
	uint32_t base = pci_get32(p, PCI_BAR + 4 * index) & ~(bar->size - 1);
	uint64_t first = bar->io ? PC_PCI_IO : PC_PCI_MEMORY, size = bar->io ? PC_PCI_IO_SIZE : PC_PCI_MEMORY_SIZE;
	struct bus_range range = {.first = base, .count = bar->size, .name = bar->name, .dev = bar};

	if (base < first || base - first > size - bar->size)
		return;
	if (bus_add(bar->io ? &host->io : &host->memory, &range))
		return;
	bar->base = base;
	add_bells(host, bar);
}

void pci_host_moved(struct pci_host *host)
{
	bus_clear(&host->io);
	bus_clear(&host->memory);
	clear_bells(host);
	for (unsigned slot = 0; slot < PCI_DEVICES; slot++) {
		struct pci_device *p = host->device[slot];

		for (unsigned i = 0; p && i < PCI_BARS; i++)
			if (p->bar[i].size &&
			    (p->config[PCI_COMMAND] & (p->bar[i].io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY)))
				add_bar(host, p, i);
	}
}

/* What a firmware does: 64 KiB of memory for each BAR, and 256 ports for a function's one BAR of that kind. */
uint32_t pci_host_assign(const struct pci_host *host, unsigned slot, unsigned bar)
{
	if (host->device[slot]->bar[bar].io)
		return PC_PCI_IO + slot * PCI_IO_STRIDE;
	return PC_PCI_MEMORY + (slot * PCI_BARS + bar) * PCI_MEMORY_STRIDE;
}

/* --- interrupts: INTA# of slot n leads to line n modulo 4 --------------------------------------------------------- */

uint8_t pci_host_pic_line(unsigned slot)
{
	return slot % 2 ? PC_PCI_PIC_IRQ_ODD : PC_PCI_PIC_IRQ_EVEN;
}

void pci_host_set_interrupt(struct pci_host *host, unsigned slot, bool level)
{
	uint32_t *asserted = &host->asserted[slot % PCI_INTX], old = *asserted;

	*asserted = level ? old | 1U << slot : old & ~(1U << slot);
	if (!old != !*asserted)
		irq_line_set(&host->intx[slot % PCI_INTX], *asserted);
}

/* ------------------------------------------------------------------------------------------------------------------ */

int pci_host_plug(struct pci_host *host, struct pci_device *p, uint32_t (*read)(void *, unsigned),
		  void (*write)(void *, unsigned, unsigned, uint32_t))
{
	for (unsigned slot = 1; slot < PCI_DEVICES; slot++) {
		if (host->function[slot].read)
			continue;
		host->function[slot] = (struct pci_function){p, read, write};
		host->device[slot] = p;
		p->host = host;
		p->slot = slot;
		return 0;
	}
	return -E_NOMEM;
}

int pci_host_init(struct pci_host *host, const struct pci_host_setup *s)
{
	struct bus_range ports = {.first = ADDRESS,
				  .count = PORTS,
				  .name = "PCI configuration",
				  .dev = host,
				  .read = port_read,
				  .write = port_write};
	struct bus_range ecam = {.first = PC_ECAM,
				 .count = PC_ECAM_SIZE,
				 .name = "PCI configuration",
				 .dev = host,
				 .read = ecam_read,
				 .write = ecam_write};
	struct bus_range io = {.first = PC_PCI_IO,
			       .count = PC_PCI_IO_SIZE,
			       .name = "PCI ports",
			       .dev = &host->io,
			       .read = window_read,
			       .write = window_write};
	struct bus_range memory = {.first = PC_PCI_MEMORY,
				   .count = PC_PCI_MEMORY_SIZE,
				   .name = "PCI memory",
				   .dev = &host->memory,
				   .read = window_read,
				   .write = window_write};
	int err;

	memset(host, 0, sizeof(*host));
	host->platform = s->platform;
	host->apics = s->apics;
	memcpy(host->intx, s->intx, sizeof(host->intx));
	host->function[0] = (struct pci_function){.read = bridge_read, .write = bridge_write};
	if ((err = bus_add(s->pio, &ports)) || (err = bus_add(s->pio, &io)) || (err = bus_add(s->mmio, &ecam)))
		return err;
	return bus_add(s->mmio, &memory);
}

/* The functions are reset by those who own them: what they are goes beyond PCI. */
void pci_host_reset(struct pci_host *host)
{
	host->address = 0;
	host->reset_control = 0;
}
