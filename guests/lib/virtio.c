/* Virtio devices on the PCI bus; see virtio.h. */
/* SPDX-License-Identifier: MIT */
#include "guests/lib/virtio.h"

#define CONFIG_PORT 0xcf8
#define SLOTS	    32
#define VIRTIO_ID   0x10401af4u /* device and vendor, of kind 0 */

enum { PCI_ID = 0, PCI_COMMAND = 4, PCI_BAR = 0x10, PCI_CAPABILITIES = 0x34 };
enum { CAP_VENDOR = 9, CAP_COMMON = 1, CAP_NOTIFY = 2 };
enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8 };
enum { NO_INTERRUPT = 1 };

struct virtio_common {
	uint32_t device_feature_select, device_feature, driver_feature_select, driver_feature;
	uint16_t config_vector, queues;
	uint8_t status, generation;
	uint16_t queue_select, queue_size, queue_vector, queue_enable, queue_notify_off;
	uint32_t desc[2], driver[2], device[2];
};

static uint32_t config_read(unsigned slot, unsigned offset)
{
	out32(CONFIG_PORT, 1u << 31 | slot << 11 | (offset & ~3u));
	return in32(CONFIG_PORT + 4);
}

static void config_write(unsigned slot, unsigned offset, uint32_t value)
{
	out32(CONFIG_PORT, 1u << 31 | slot << 11 | offset);
	out32(CONFIG_PORT + 4, value);
}

/* A structure of the device, as a capability tells: in which BAR, and where in it. */
static void take_capability(struct virtio *d, unsigned slot, unsigned at)
{
	unsigned kind = config_read(slot, at) >> 24, bar = config_read(slot, at + 4) & 0xff;
	uint32_t base = config_read(slot, PCI_BAR + 4 * bar), offset = config_read(slot, at + 8);

	if (kind == CAP_NOTIFY)
		d->stride = config_read(slot, at + 16);
	if (kind == CAP_NOTIFY && base & 1)
		d->bell_ports = (uint16_t)((base & ~3u) + offset);
	else if (kind == CAP_NOTIFY)
		d->bells = (volatile uint8_t *)(uintptr_t)((base & ~15u) + offset);
	else if (kind == CAP_COMMON)
		d->common = (volatile struct virtio_common *)(uintptr_t)((base & ~15u) + offset);
}

bool virtio_find(struct virtio *d, unsigned kind, unsigned n)
{
	unsigned slot = 0, at;

	for (; slot < SLOTS; slot++)
		if (config_read(slot, PCI_ID) == VIRTIO_ID + (kind << 16) && !n--)
			break;
	if (slot == SLOTS)
		return false;
	*d = (struct virtio){0};
	config_write(slot, PCI_COMMAND, 7); /* ports, memory, bus master */
	for (at = config_read(slot, PCI_CAPABILITIES) & 0xfc; at; at = config_read(slot, at) >> 8 & 0xfc)
		if ((config_read(slot, at) & 0xff) == CAP_VENDOR)
			take_capability(d, slot, at);
	return d->common && d->bells && d->bell_ports;
}

/* 3.1.1 and 4.1.5.1.3. VERSION_1 is bit 32. */
bool virtio_agree(const struct virtio *d)
{
	d->common->status = 0;
	d->common->status = ACKNOWLEDGE | DRIVER;
	d->common->driver_feature_select = 0;
	d->common->driver_feature = 0;
	d->common->driver_feature_select = 1;
	d->common->driver_feature = 1;
	d->common->status = ACKNOWLEDGE | DRIVER | FEATURES_OK;
	return d->common->status & FEATURES_OK;
}

void virtio_add_queue(const struct virtio *d, unsigned n, struct virtio_queue *q)
{
	q->avail.flags = NO_INTERRUPT;
	d->common->queue_select = (uint16_t)n;
	d->common->queue_size = VIRTIO_QUEUE_SIZE;
	d->common->desc[0] = (uint32_t)(uintptr_t)q->desc;
	d->common->driver[0] = (uint32_t)(uintptr_t)&q->avail;
	d->common->device[0] = (uint32_t)(uintptr_t)&q->used;
	d->common->queue_enable = 1;
}

void virtio_begin(const struct virtio *d)
{
	d->common->status = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK;
}

void virtio_describe(struct virtio_queue *q, unsigned n, const volatile void *data, uint32_t length, unsigned flags)
{
	q->desc[n].address = (uintptr_t)data;
	q->desc[n].length = length;
	q->desc[n].flags = (uint16_t)flags;
	q->desc[n].next = (uint16_t)(n + 1);
}
