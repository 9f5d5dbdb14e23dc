/*
 * What the tests of virtio devices have in common: a guest's memory and a small driver, which knows of the device what
 * configuration space says (it finds the registers as Linux's virtio_pci_modern does), negotiates, and has split queues
 * at fixed places. The device's work is done when the test says so.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "tests/unit/pci_fixture.h"

#include "hv/dev/virtio_pci.h"

#define SLOT 1

#define RAM	 0x100000ULL /* where the guest's memory is */
#define RAM_SIZE 0x80000u
#define RAM_END	 (RAM + RAM_SIZE)
#define DATA	 (RAM + 0x20000) /* the queues are before it */

#define ACKNOWLEDGE 1
#define DRIVER	    2
#define DRIVER_OK   4
#define FEATURES_OK 8
#define NEEDS_RESET 64
#define FAILED	    128

#define NEXT  1 /* flags of a descriptor */
#define WRITE 2

#define MSIX_ENABLE 0x8000
#define MSIX_PBA    0x800
#define NO_VECTOR   0xFFFF
#define VECTOR(n)   (0x40 + (n)) /* what vector n's message says; it goes to APIC n */

/* The common structure, as the specification's offsets (4.1.4.3). */
enum {
	C_DEVICE_FEATURE_SELECT = 0,
	C_DEVICE_FEATURE = 4,
	C_DRIVER_FEATURE_SELECT = 8,
	C_DRIVER_FEATURE = 12,
	C_CONFIG_VECTOR = 16,
	C_NUM_QUEUES = 18,
	C_STATUS = 20,
	C_GENERATION = 21,
	C_QUEUE_SELECT = 22,
	C_QUEUE_SIZE = 24,
	C_QUEUE_VECTOR = 26,
	C_QUEUE_ENABLE = 28,
	C_QUEUE_NOTIFY_OFF = 30,
	C_QUEUE_DESC = 32,
	C_QUEUE_DRIVER = 40,
	C_QUEUE_DEVICE = 48,
	C_QUEUE_NOTIFY_DATA = 56,
	C_QUEUE_RESET = 58,
	C_SIZE = 60
};

enum { CAP_COMMON = 1, CAP_NOTIFY, CAP_ISR, CAP_DEVICE, CAP_WINDOW };

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

/* Where registers are, as a capability says it. */
struct place {
	unsigned capability; /* 0: there is no such one */
	unsigned bar;
	uint32_t offset, length;
};

static uint8_t ram[RAM_SIZE] __attribute__((aligned(4096)));
static struct guest_mem mem;
static unsigned kicks;

static struct place common, notify_ports, notify_memory, isr, config;

/* The driver's side of a queue. Descriptors are used in turn: a test has no more in flight than there are. */
static struct {
	unsigned size;
	uint16_t next, available, used;
} drv[VIRTIO_MAX_QUEUES];

static void kick(void *ctx)
{
	(void)ctx;
	kicks++;
}

static int virtio_fixture_reset(void)
{
	struct guest_region region = {RAM, RAM_SIZE, ram, true};

	memset(ram, 0, sizeof(ram));
	memset(&mem, 0, sizeof(mem));
	memset(drv, 0, sizeof(drv));
	kicks = 0;
	return pci_fixture_reset() || guest_mem_add(&mem, &region);
}

static void *at(uint64_t gpa)
{
	assert_in_range(gpa, RAM, RAM_END - 1);
	return ram + (gpa - RAM);
}

/* The guest's memory lies elsewhere from now on, as between two turns; the queues stay where they were found. */
static inline uint8_t *move_memory(void)
{
	static uint8_t elsewhere[RAM_SIZE] __attribute__((aligned(4096)));

	memcpy(elsewhere, ram, RAM_SIZE);
	memset(at(DATA), 0xEE, RAM_END - DATA);
	mem.region[0].host = elsewhere;
	return elsewhere;
}

/* --- finding it --- */

static bool bar_is_io(unsigned bar)
{
	return config_get(SLOT, PCI_BAR + 4 * bar, 4) & 1;
}

static uint32_t bar_base(unsigned bar)
{
	uint32_t value = config_get(SLOT, PCI_BAR + 4 * bar, 4);

	return value & ~(value & 1 ? 3u : 15u);
}

/* What a driver does first: registers answer, and the device may reach memory. */
static void enable_device(void)
{
	command(SLOT, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 0);
}

/* The next vendor capability of a type behind the one at `c`, or the first (c == 0). 0: none. */
static unsigned next_capability(unsigned c, unsigned type)
{
	assert_true(config_get(SLOT, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST);
	for (c = config_get(SLOT, c ? c + 1 : PCI_CAPABILITIES, 1); c; c = config_get(SLOT, c + 1, 1)) {
		assert_int_equal(c % 4, 0);
		if (config_get(SLOT, c, 1) == PCI_CAP_VENDOR && config_get(SLOT, c + 3, 1) == type)
			break;
	}
	return c;
}

/* The first of that type in a BAR of that kind. */
static struct place find_capability(unsigned type, bool io)
{
	for (unsigned c = next_capability(0, type); c; c = next_capability(c, type)) {
		struct place p = {.capability = c,
				  .bar = config_get(SLOT, c + 4, 1),
				  .offset = config_get(SLOT, c + 8, 4),
				  .length = config_get(SLOT, c + 12, 4)};

		if (p.bar < PCI_BARS && bar_is_io(p.bar) == io)
			return p;
	}
	return (struct place){0};
}

static void find_registers(void)
{
	common = find_capability(CAP_COMMON, false);
	notify_ports = find_capability(CAP_NOTIFY, true);
	notify_memory = find_capability(CAP_NOTIFY, false);
	isr = find_capability(CAP_ISR, false);
	config = find_capability(CAP_DEVICE, false);
}

static uint64_t reg_get(struct place p, unsigned offset, unsigned size)
{
	uint32_t addr = bar_base(p.bar) + p.offset + offset;

	return bar_is_io(p.bar) ? in((uint16_t)addr, size) : memory_in(addr, size);
}

static void reg_set(struct place p, unsigned offset, unsigned size, uint64_t value)
{
	uint32_t addr = bar_base(p.bar) + p.offset + offset;

	if (bar_is_io(p.bar))
		out((uint16_t)addr, size, value);
	else
		memory_out(addr, size, value);
}

/* --- the common structure --- */

static uint8_t status(void)
{
	return (uint8_t)reg_get(common, C_STATUS, 1);
}

static void add_status(uint8_t bits)
{
	reg_set(common, C_STATUS, 1, status() | bits);
}

static void reset_device(void)
{
	reg_set(common, C_STATUS, 1, 0);
	assert_int_equal(status(), 0);
}

static uint64_t offered(void)
{
	uint64_t features;

	reg_set(common, C_DEVICE_FEATURE_SELECT, 4, 1);
	features = reg_get(common, C_DEVICE_FEATURE, 4) << 32;
	reg_set(common, C_DEVICE_FEATURE_SELECT, 4, 0);
	return features | reg_get(common, C_DEVICE_FEATURE, 4);
}

static void set_features(uint64_t features)
{
	for (unsigned i = 0; i < 2; i++) {
		reg_set(common, C_DRIVER_FEATURE_SELECT, 4, i);
		reg_set(common, C_DRIVER_FEATURE, 4, (uint32_t)(features >> (32 * i)));
	}
}

/* From the beginning to FEATURES_OK: did the device let it stand? */
static bool try_negotiate(uint64_t features)
{
	reset_device();
	add_status(ACKNOWLEDGE);
	add_status(DRIVER);
	set_features(features);
	add_status(FEATURES_OK);
	return status() & FEATURES_OK;
}

static void negotiate(uint64_t features)
{
	assert_true(try_negotiate(features | VIRTIO_F_VERSION_1));
}

/* --- queues --- */

static uint64_t desc_area(unsigned n)
{
	return RAM + n * 0x3000;
}

static uint64_t avail_area(unsigned n)
{
	return desc_area(n) + 0x1000;
}

static uint64_t used_area(unsigned n)
{
	return desc_area(n) + 0x2000;
}

static void queue_register(unsigned n, unsigned offset, unsigned size, uint64_t value)
{
	reg_set(common, C_QUEUE_SELECT, 2, n);
	reg_set(common, offset, size, value);
}

static uint64_t queue_value(unsigned n, unsigned offset, unsigned size)
{
	reg_set(common, C_QUEUE_SELECT, 2, n);
	return reg_get(common, offset, size);
}

static void set_address(unsigned n, unsigned offset, uint64_t addr)
{
	queue_register(n, offset, 4, (uint32_t)addr);
	queue_register(n, offset + 4, 4, addr >> 32);
}

/* All but the enabling. */
static void prepare_queue(unsigned n, unsigned size, uint16_t vector)
{
	memset(at(desc_area(n)), 0, 0x3000);
	drv[n].size = size;
	drv[n].next = drv[n].available = drv[n].used = 0;
	queue_register(n, C_QUEUE_SIZE, 2, size);
	queue_register(n, C_QUEUE_VECTOR, 2, vector);
	set_address(n, C_QUEUE_DESC, desc_area(n));
	set_address(n, C_QUEUE_DRIVER, avail_area(n));
	set_address(n, C_QUEUE_DEVICE, used_area(n));
}

static void set_up_queue(unsigned n, unsigned size, uint16_t vector)
{
	prepare_queue(n, size, vector);
	queue_register(n, C_QUEUE_ENABLE, 2, 1);
	assert_int_equal(queue_value(n, C_QUEUE_ENABLE, 2), 1);
}

static uint16_t *avail_index(unsigned n)
{
	return at(avail_area(n) + 2);
}

static uint16_t used_index(unsigned n)
{
	return *(uint16_t *)at(used_area(n) + 2);
}

/* Makes a chain available: `out` parts, then `in` parts. Answers its head. */
static uint16_t offer(unsigned n, const struct virtqueue_part *part, unsigned parts_out, unsigned parts_in)
{
	unsigned count = parts_out + parts_in, size = drv[n].size;
	struct desc *desc = at(desc_area(n));
	uint16_t head = drv[n].next;

	assert_in_range(count, 1, size);
	for (unsigned i = 0; i < count; i++) {
		uint16_t next = (uint16_t)((drv[n].next + 1) % size);
		uint16_t flags = (uint16_t)((i >= parts_out ? WRITE : 0) | (i + 1 < count ? NEXT : 0));

		desc[drv[n].next] = (struct desc){part[i].gpa.value, part[i].size, flags, next};
		drv[n].next = next;
	}
	*(uint16_t *)at(avail_area(n) + 4 + 2 * (drv[n].available % size)) = head;
	*avail_index(n) = ++drv[n].available;
	return head;
}

/* The next chain that was given back: its head, or -1; *written bytes of it. */
static int take_used(unsigned n, uint32_t *written)
{
	const uint32_t *entry = at(used_area(n) + 4 + 8 * (drv[n].used % drv[n].size));

	if (drv[n].used == used_index(n))
		return -1;
	drv[n].used++;
	*written = entry[1];
	return (int)entry[0];
}

static void notify(unsigned n)
{
	unsigned multiplier = config_get(SLOT, notify_ports.capability + 16, 4);

	reg_set(notify_ports, (unsigned)queue_value(n, C_QUEUE_NOTIFY_OFF, 2) * multiplier, 2, n);
}

#define NEVER UINT64_MAX /* the time at which a turn ends: its budget ends it */

/* Turns until it has nothing to do. */
static unsigned work(struct virtio_pci *v, uint64_t budget)
{
	unsigned turns = 1;

	while (virtio_pci_work(v, budget, NEVER)) {
		turns++;
		assert_true(turns < 100000);
	}
	return turns;
}

/* --- interrupts --- */

static unsigned msix_capability(void)
{
	unsigned c = config_get(SLOT, PCI_CAPABILITIES, 1);

	while (c && config_get(SLOT, c, 1) != PCI_CAP_MSIX)
		c = config_get(SLOT, c + 1, 1);
	assert_int_not_equal(c, 0);
	return c;
}

static uint32_t msix_table(void)
{
	uint32_t where = config_get(SLOT, msix_capability() + 4, 4);

	return bar_base(where & 7) + (where & ~7u);
}

/* All vectors unmasked, vector n to APIC n. */
static void __attribute__((unused)) use_msix(void)
{
	unsigned c = msix_capability(), count = (config_get(SLOT, c + 2, 2) & 0x7FF) + 1;

	config_set(SLOT, c + 2, 2, MSIX_ENABLE);
	for (unsigned i = 0; i < count; i++) {
		memory_out(msix_table() + 16 * i, 8, 0xFEE00000 | i << 12);
		memory_out(msix_table() + 16 * i + 8, 8, VECTOR(i));
	}
}
