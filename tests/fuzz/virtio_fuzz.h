/*
 * What the fuzzers of virtio devices have in common: the input as numbers; what is around a device: buses, memory,
 * local APICs that only count messages, and a platform that is asked for nothing; and what any driver does:
 * descriptors, queues, features.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdlib.h>
#include <string.h>

#include "hv/dev/apic_bus.h"
#include "hv/dev/pci_host.h"
#include "hv/dev/platform.h"
#include "hv/dev/virtio_pci.h"
#include "hv/guest_mem.h"
#include "hv/lib/panic.h"
#include "hv/pc_map.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"

static struct apic_bus apics;
static unsigned messages; /* that were sent by MSI-X */
/* The input's next bytes; zeroes behind its end. */
/*
 * Block number n, of `size` bytes and not one more, zeroed. It is the same in every run: to allocate and free it each
 * time takes longer than most runs.
 */
static void *zeroed_block(unsigned n, size_t size)
{
	static void *block[16];

	REQUIRE(n < ARRAY_SIZE(block));
	if (!block[n])
		block[n] = malloc(size);
	REQUIRE(block[n]);
	return memset(block[n], 0, size);
}

_Noreturn void panic(const char *fmt, ...)
{
	(void)fmt;
	abort();
}

int apic_bus_deliver(struct apic_bus *bus, uint8_t dest, bool logical, enum apic_delivery mode, uint8_t vector,
		     bool level)
{
	(void)dest, (void)logical, (void)mode, (void)vector;
	REQUIRE(bus == &apics && !level);
	messages++;
	return 0;
}

static void request(void *ctx, enum platform_request what, uint32_t code)
{
	(void)ctx, (void)what, (void)code;
}

/* --- a guest: what its devices have around them --- */

struct machine {
	struct bus pio, mmio;
	struct pci_host host;
	struct guest_mem mem;
	/* Memory that is filled when it is touched, a page at a time. */
	uint8_t *block;
	uint64_t block_gpa;
	uint64_t there; /* bit n: page n is; its others are, too, modulo 64 */
	unsigned fills;
};

/* An empty PCI bus and no memory. */
static void machine_power_on(struct machine *m, void (*set_intx)(void *ctx, unsigned line, bool level))
{
	static const struct platform platform = {.request = request};
	struct pci_host_setup s = {.pio = &m->pio, .mmio = &m->mmio, .platform = &platform, .apics = &apics};

	memset(m, 0, sizeof(*m));
	for (unsigned i = 0; i < PCI_INTX; i++)
		s.intx[i] = (struct irq_line){set_intx, NULL, PC_GSI_INTX + i};
	REQUIRE(pci_host_init(&m->host, &s) == 0);
}

/* Memory of its own size at gpa: block n. */
static uint8_t *machine_add_memory(struct machine *m, uint64_t gpa, uint64_t size, unsigned n)
{
	struct guest_region r = {gpa, size, zeroed_block(n, size), true};

	REQUIRE(guest_mem_add(&m->mem, &r) == 0);
	return r.host;
}

static uint8_t *machine_look(void *backing, uint64_t gpa, uint64_t *before, uint64_t *behind)
{
	const struct machine *m = backing;
	uint64_t offset = gpa - m->block_gpa;

	*before = offset % PAGE_SIZE;
	*behind = PAGE_SIZE - *before;
	return m->there & BIT(offset / PAGE_SIZE % 64) ? m->block + offset : NULL;
}

static uint8_t *machine_reach(void *backing, uint64_t gpa, uint64_t *before, uint64_t *behind)
{
	struct machine *m = backing;
	uint64_t bit = BIT((gpa - m->block_gpa) / PAGE_SIZE % 64);

	m->fills += !(m->there & bit);
	m->there |= bit;
	return machine_look(backing, gpa, before, behind);
}

/* The same, of which nothing is there at first. */
static inline void machine_add_empty_memory(struct machine *m, uint64_t gpa, uint64_t size, unsigned n)
{
	struct guest_region r = {.gpa = gpa, .size = size, .ram = true};

	m->block = zeroed_block(n, size);
	m->block_gpa = gpa;
	m->mem.reach = machine_reach;
	m->mem.look = machine_look;
	m->mem.backing = m;
	REQUIRE(guest_mem_add(&m->mem, &r) == 0);
}

static void put(struct machine *m, uint64_t gpa, const void *bytes, size_t size)
{
	(void)!guest_write(&m->mem, GPA(gpa), bytes, size);
}

static void put16(struct machine *m, uint64_t gpa, uint16_t value)
{
	put(m, gpa, &value, sizeof(value));
}

/* Up to 63 bytes of the input. */
static void put_anything(struct machine *m, uint64_t gpa)
{
	unsigned size = (unsigned)next(1) % 64;

	for (unsigned i = 0; i < size && left; i++) {
		uint8_t byte = (uint8_t)next(1);

		put(m, gpa + i, &byte, 1);
	}
}

/* --- what a driver does --- */

/* A register of the common structure (VIRTIO 1.2, 4.1.4.3), which is at the beginning of BAR 2. */
static void set_common(struct machine *m, const struct virtio_pci *v, unsigned offset, unsigned size, uint64_t value)
{
	uint64_t at = v->pci.bar[2].base + offset;
	const struct bus_range *r = bus_find(&m->mmio, at, size);

	if (r)
		r->write(r->dev, at, size, value);
}

/* Two pages for each: descriptors, then what the driver writes, then what the device does. */
static void set_up_queue(struct machine *m, const struct virtio_pci *v, unsigned n, unsigned size, uint64_t area)
{
	set_common(m, v, 22, 2, n);
	set_common(m, v, 24, 2, size);
	set_common(m, v, 26, 2, n + 1);
	set_common(m, v, 32, 8, area);
	set_common(m, v, 40, 8, area + 0x1000);
	set_common(m, v, 48, 8, area + 0x1800);
	set_common(m, v, 28, 2, 1);
}

/* All of it before the first buffer (VIRTIO 1.2, 3.1.1); the queues are from `base` on. Features: 0 to 31, 32 to 63. */
static void start_device(struct machine *m, struct virtio_pci *v, uint32_t low, uint32_t high, unsigned size,
			 uint64_t base)
{
	pci_config_write(&v->pci, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	set_common(m, v, 20, 1, 0);
	set_common(m, v, 20, 1, 3);
	set_common(m, v, 8, 4, 0);
	set_common(m, v, 12, 4, low);
	set_common(m, v, 8, 4, 1);
	set_common(m, v, 12, 4, high);
	set_common(m, v, 20, 1, 11);
	for (unsigned n = 0; n < v->queues; n++)
		set_up_queue(m, v, n, size, base + 2 * n * PAGE_SIZE);
	set_common(m, v, 20, 1, 15);
}

/* Sizes of queues; 3 is for packed rings only. */
static const uint16_t some_size[] = {1, 2, 3, 8, 16, 64, 128, 256};

/* Of a split ring: chains that begin at the descriptors from `first` on are available. A packed one needs no more. */
static void publish(struct machine *m, const struct virtqueue *q, unsigned first, unsigned chains)
{
	if (q->packed)
		return;
	for (unsigned i = 0; i < chains; i++)
		put16(m, q->driver.value + 4 + 2 * ((first + i) % q->size), (uint16_t)((first + i) % q->size));
	put16(m, q->driver.value + 2, (uint16_t)(first + chains));
}

/*
 * Descriptor i of a split ring, which names the one behind it, or of a packed ring, whose first is in the lap of what
 * is taken next; from the ring's size on it is of the lap after.
 */
static void put_descriptor(struct machine *m, const struct virtqueue *q, unsigned i, uint64_t gpa, uint32_t size,
			   uint16_t flags)
{
	struct {
		uint64_t gpa;
		uint32_t size;
		uint16_t flags, next;
	} d = {gpa, size, flags, (uint16_t)((i + 1) % q->size)};
	bool wrap = q->take_wrap == (i < q->size);

	if (q->packed) {
		d.next = (uint16_t)(flags | (wrap ? 0x80 : 0x8000));
		d.flags = (uint16_t)(i % q->size);
	}
	put(m, q->descriptors.value + 16 * (i % q->size), &d, sizeof(d));
}
