/*
 * The transport of virtio over PCI; see virtio_pci.h. Registers and capabilities: VIRTIO 1.2, 4.1.4; the life of a
 * device: 3.1 and 2.1.
 *
 * Notifications have two places: a port for each queue, which a vCPU reaches with the cheaper exit and whose
 * capability stands before the other's, and a word of memory for drivers that want no ports. Both are doorbells: most
 * are rung without the lock (ring), those that are not found in that way come as writes to the BARs.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/dev/virtio_pci.h"

#include "hv/clock.h"
#include "hv/lib/nospec.h"
#include "hv/lib/string.h"

/* 4.1.2 */
#define VENDOR 0x1AF4
#define DEVICE 0x1040 /* and the kind's ID */

/* 2.1 */
#define STATUS_DRIVER_OK   BIT(2)
#define STATUS_FEATURES_OK BIT(3)
#define STATUS_NEEDS_RESET BIT(6)
#define STATUS_DRIVERS	   0x8F /* what the driver sets: acknowledge, driver, driver OK, features OK, failed */

/* 4.1.4.5 */
#define ISR_QUEUE  BIT(0)
#define ISR_CONFIG BIT(1)

#define BAR_PORTS     0
#define BAR_MSIX      1
#define BAR_REGISTERS 2

#define NOTIFY_STRIDE 4
#define PORTS_SIZE    (VIRTIO_MAX_QUEUES * NOTIFY_STRIDE)
/* Places in BAR_REGISTERS: a page for each kind of register. */
#define AT_COMMON	0x0000
#define AT_ISR		0x1000
#define AT_CONFIG	0x2000
#define AT_NOTIFY	0x3000
#define REGISTERS_SIZE	0x4000
#define REGISTERS_PLACE 0x1000

/* struct virtio_pci_common_cfg, 4.1.4.3 */
enum {
	DEVICE_FEATURE_SELECT = 0,
	DEVICE_FEATURE = 4,
	DRIVER_FEATURE_SELECT = 8,
	DRIVER_FEATURE = 12,
	CONFIG_VECTOR = 16,
	NUM_QUEUES = 18,
	DEVICE_STATUS = 20,
	CONFIG_GENERATION = 21,
	QUEUE_SELECT = 22,
	QUEUE_SIZE = 24,
	QUEUE_VECTOR = 26,
	QUEUE_ENABLE = 28,
	QUEUE_NOTIFY_OFF = 30,
	QUEUE_DESC = 32,
	QUEUE_DRIVER = 40,
	QUEUE_DEVICE = 48,
	QUEUE_NOTIFY_DATA = 56,
	QUEUE_RESET = 58,
	COMMON_SIZE = 60
};

/* cfg_type, 4.1.4 */
enum { CAP_COMMON = 1, CAP_NOTIFY = 2, CAP_ISR = 3, CAP_DEVICE = 4, CAP_WINDOW = 5 };

/* Within a capability. */
#define CAP_LENGTH     2
#define CAP_TYPE       3
#define CAP_BAR	       4
#define CAP_OFFSET     8
#define CAP_SIZE       12
#define CAP_MULTIPLIER 16 /* notify */
#define CAP_DATA       16 /* window */

static uint64_t offered(const struct virtio_pci *v)
{
	return v->kind->features(v->dev) | VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX |
	       VIRTIO_F_RING_PACKED | VIRTIO_F_RING_RESET;
}

/* Agreed on is what the driver wrote before FEATURES_OK; later writes change nothing while that stands. */
static void set_features(struct virtio_pci *v, uint64_t features)
{
	v->driver_features = features;
	v->agreed = features & offered(v);
}

/* --- interrupts -------------------------------------------------------------------------------------------------- */

/* With MSI-X a vector says it all; without, INTA# is high until the ISR register is read (4.1.4.5). */
static void interrupt(struct virtio_pci *v, uint16_t vector, uint8_t cause)
{
	if (pci_msix_enabled(&v->pci)) {
		pci_msix_raise(&v->pci, vector);
		return;
	}
	v->isr |= cause;
	pci_set_interrupt(&v->pci, true);
}

void virtio_pci_config_changed(struct virtio_pci *v)
{
	v->generation++;
	if (v->status & STATUS_DRIVER_OK)
		interrupt(v, v->config_vector, ISR_CONFIG);
}

/* The driver broke a rule of the rings: it is told so, and nothing moves until it resets the device (2.1.2). */
static void need_reset(struct virtio_pci *v)
{
	if (v->status & STATUS_NEEDS_RESET)
		return;
	v->status |= STATUS_NEEDS_RESET;
	virtio_pci_config_changed(v);
}

/* --- the queues' work -------------------------------------------------------------------------------------------- */

bool virtio_pci_is_live(const struct virtio_pci *v)
{
	return (v->status & STATUS_DRIVER_OK) && !(v->status & STATUS_NEEDS_RESET) && pci_is_master(&v->pci);
}

/*
 * Until nothing is there or to be done (VIRTIO_EMPTY, VIRTIO_RESTS), its share is used up (VIRTIO_SERVED) or it is
 * broken (negative). A driver that only seems to offer something pays, too.
 */
static int drain_queue(struct virtio_pci *v, unsigned n, uint64_t *budget, uint64_t until)
{
	struct virtqueue *q = &v->queue[n];
	uint64_t work;
	int got;

	do {
		work = VIRTIO_PIECE;
		got = v->kind->serve(v->dev, n, q, until, &work);
		if (got < 0 || got == VIRTIO_RESTS || (got == VIRTIO_EMPTY && !virtqueue_listen(q)))
			return got;
		*budget -= work < *budget ? work : *budget;
	} while (*budget && clock_now() < until);
	return VIRTIO_SERVED;
}

/* What was given before the queue broke is used, and the driver is owed word of it as of any other (2.7.7.2). */
void virtio_pci_gave(struct virtio_pci *v, unsigned n)
{
	if (virtqueue_wants_interrupt(&v->queue[n]))
		interrupt(v, v->vector[n], ISR_QUEUE);
	if (v->queue[n].broken)
		need_reset(v);
}

static void serve_queue(struct virtio_pci *v, unsigned n, uint64_t *budget, uint64_t until)
{
	virtqueue_silence(&v->queue[n]);
	if (drain_queue(v, n, budget, until) != VIRTIO_SERVED)
		v->kicked &= ~(1U << n);
	virtio_pci_gave(v, n);
}

/* What was rung since the last turn. `enabled` may be read only with the lock held, so ring() could not ask for it. */
static void take_rung(struct virtio_pci *v)
{
	uint32_t rung = atomic_exchange(&v->rung, 0);

	for (; rung; rung &= rung - 1)
		if (v->queue[__builtin_ctz(rung)].enabled)
			v->kicked |= rung & -rung;
}

/* The first one of a set that isn't empty, from `turn` on and then from 0. */
static unsigned next_queue(uint32_t due, unsigned turn)
{
	uint32_t later = due >> turn << turn;

	return (unsigned)__builtin_ctz(later ? later : due);
}

/* A queue that uses the budget up is followed by the next one at the next call: none waits for another's end. */
bool virtio_pci_work(struct virtio_pci *v, uint64_t budget, uint64_t until)
{
	uint32_t done = 0, due;

	take_rung(v);
	while ((due = v->kicked & ~done) && budget && virtio_pci_is_live(v)) {
		unsigned n = next_queue(due, v->turn);

		done |= 1U << n;
		serve_queue(v, n, &budget, until);
		v->turn = n + 1;
	}
	return v->kicked && virtio_pci_is_live(v);
}

/* Also when it becomes able to: what was notified too early (3.1.1), or without bus mastering, is not forgotten. */
static void go_on(struct virtio_pci *v)
{
	if (v->kicked && virtio_pci_is_live(v))
		v->kick(v->ctx);
}

void virtio_pci_poke(struct virtio_pci *v, unsigned n)
{
	if (n >= v->queues || !v->queue[n].enabled)
		return;
	v->kicked |= 1U << n;
	go_on(v);
}

/* Of queues that are there: a bit in memory, and word to who takes the turn. */
static void ring(void *dev, unsigned offset)
{
	struct virtio_pci *v = dev;
	unsigned n = offset / NOTIFY_STRIDE;

	if (n >= v->queues)
		return;
	atomic_fetch_or(&v->rung, 1U << n);
	v->kick(v->ctx);
}

bool virtio_pci_uses(const struct virtio_pci *v, gpa_t gpa, uint64_t size)
{
	for (unsigned n = 0; n < v->queues; n++)
		if (virtqueue_uses(&v->queue[n], gpa, size))
			return true;
	return false;
}

/* --- the common structure ---------------------------------------------------------------------------------------- */

static void reset_queue(struct virtio_pci *v, unsigned n)
{
	virtqueue_reset(&v->queue[n], v->mem);
	v->queue[n].size = VIRTQUEUE_MAX_SIZE;
	v->vector[n] = VIRTIO_NO_VECTOR;
	v->kicked &= ~(1U << n);
	atomic_fetch_and(&v->rung, ~(1U << n));
	if (v->kind->queue_reset)
		v->kind->queue_reset(v->dev, n);
}

/* What a driver asks for by writing 0 to the status (2.4, 4.1.4.3.1): nothing of it is left at once. */
static void reset_device(struct virtio_pci *v)
{
	v->device_feature_select = v->driver_feature_select = 0;
	set_features(v, 0);
	v->status = 0;
	v->config_vector = VIRTIO_NO_VECTOR;
	v->queue_select = 0;
	v->isr = 0;
	if (v->kind->reset)
		v->kind->reset(v->dev);
	for (unsigned n = 0; n < v->queues; n++)
		reset_queue(v, n);
	pci_clear_interrupts(&v->pci);
}

void virtio_pci_reset(struct virtio_pci *v)
{
	reset_device(v);
	v->generation = 0;
	pci_reset(&v->pci);
}

/*
 * Features are settled when FEATURES_OK is set: it stays clear when the driver wants what it was not offered, or is of
 * the time before version 1 (2.2.2, 6.2). What leaves none of the driver's bits is a reset, whatever else it has.
 */
static void write_status(struct virtio_pci *v, uint8_t status)
{
	uint8_t added = status & (uint8_t)~v->status;

	status &= STATUS_DRIVERS;
	if ((added & STATUS_FEATURES_OK) &&
	    ((v->driver_features & ~offered(v)) || !(v->driver_features & VIRTIO_F_VERSION_1)))
		status &= (uint8_t)~STATUS_FEATURES_OK;
	if (!status) {
		reset_device(v);
		return;
	}
	v->status = (uint8_t)(status | (v->status & STATUS_NEEDS_RESET));
	go_on(v);
}

static void enable_queue(struct virtio_pci *v, struct virtqueue *q)
{
	if (q->enabled || !(v->status & STATUS_FEATURES_OK))
		return;
	q->packed = v->driver_features & VIRTIO_F_RING_PACKED;
	q->indirect = v->driver_features & VIRTIO_F_INDIRECT_DESC;
	q->event_index = v->driver_features & VIRTIO_F_EVENT_IDX;
	if (virtqueue_enable(q))
		need_reset(v);
}

static uint16_t valid_vector(const struct virtio_pci *v, uint16_t vector)
{
	return vector < v->pci.msix.count ? vector : VIRTIO_NO_VECTOR;
}

/* Of the selected queue; addresses by halves. A driver changes them before it enables the queue only (4.1.4.3.2). */
static void write_queue(struct virtio_pci *v, struct virtqueue *q, unsigned offset, uint32_t value)
{
	gpa_t *area[] = {&q->descriptors, &q->driver, &q->device};

	if (offset == QUEUE_VECTOR) {
		v->vector[v->queue_select] = valid_vector(v, (uint16_t)value);
	} else if (offset == QUEUE_ENABLE && value == 1) {
		enable_queue(v, q);
	} else if (offset == QUEUE_RESET && value == 1 && (v->driver_features & VIRTIO_F_RING_RESET)) {
		reset_queue(v, v->queue_select);
	} else if (offset == QUEUE_SIZE && !q->enabled) {
		q->size = (uint16_t)value;
	} else if (offset >= QUEUE_DESC && offset < QUEUE_NOTIFY_DATA && !q->enabled) {
		gpa_t *a = area[(offset - QUEUE_DESC) / 8];

		if (offset % 8)
			a->value = (a->value & 0xFFFFFFFF) | (uint64_t)value << 32;
		else
			a->value = (a->value & ~0xFFFFFFFFULL) | value;
	}
}

/* Of a field at its natural width, and of the halves of those of 64 bits; what else comes changes nothing. */
static void write_common(struct virtio_pci *v, unsigned offset, unsigned size, uint32_t value)
{
	if (offset == DEVICE_FEATURE_SELECT && size == 4) {
		v->device_feature_select = value;
	} else if (offset == DRIVER_FEATURE_SELECT && size == 4) {
		v->driver_feature_select = value;
	} else if (offset == DRIVER_FEATURE && size == 4 && !(v->status & STATUS_FEATURES_OK)) {
		if (v->driver_feature_select == 0)
			set_features(v, (v->driver_features & ~0xFFFFFFFFULL) | value);
		else if (v->driver_feature_select == 1)
			set_features(v, (v->driver_features & 0xFFFFFFFF) | (uint64_t)value << 32);
	} else if (offset == CONFIG_VECTOR && size == 2) {
		v->config_vector = valid_vector(v, (uint16_t)value);
	} else if (offset == DEVICE_STATUS && size == 1) {
		write_status(v, (uint8_t)value);
	} else if (offset == QUEUE_SELECT && size == 2) {
		v->queue_select = (uint16_t)value;
	} else if (offset >= QUEUE_SIZE && size == (offset < QUEUE_DESC || offset >= QUEUE_NOTIFY_DATA ? 2 : 4) &&
		   offset % size == 0) {
		if (v->queue_select < v->queues)
			write_queue(v, &v->queue[index_nospec(v->queue_select, v->queues)], offset, value);
	}
}

/* The whole structure as it reads now. */
static void show_common(const struct virtio_pci *v, uint8_t out[COMMON_SIZE])
{
	bool there = v->queue_select < v->queues;
	const struct virtqueue *q = &v->queue[index_nospec(v->queue_select, v->queues)];
	uint64_t features = offered(v);
	struct {
		uint32_t device_feature_select, device_feature, driver_feature_select, driver_feature;
		uint16_t config_vector, num_queues;
		uint8_t status, generation;
		uint16_t queue_select, queue_size, queue_vector, queue_enable, queue_notify_off;
		uint64_t queue_desc, queue_driver, queue_device;
		uint16_t queue_notify_data, queue_reset;
	} __attribute__((packed)) c = {
	    .device_feature_select = v->device_feature_select,
	    .device_feature = v->device_feature_select > 1 ? 0 : (uint32_t)(features >> 32 * v->device_feature_select),
	    .driver_feature_select = v->driver_feature_select,
	    .driver_feature =
		v->driver_feature_select > 1 ? 0 : (uint32_t)(v->driver_features >> 32 * v->driver_feature_select),
	    .config_vector = v->config_vector,
	    .num_queues = (uint16_t)v->queues,
	    .status = v->status,
	    .generation = v->generation,
	    .queue_select = v->queue_select,
	};

	_Static_assert(sizeof(c) == COMMON_SIZE, "the structure of the specification");
	if (there) {
		c.queue_size = q->size;
		c.queue_vector = v->vector[v->queue_select];
		c.queue_enable = q->enabled;
		c.queue_notify_off = v->queue_select;
		c.queue_desc = q->descriptors.value;
		c.queue_driver = q->driver.value;
		c.queue_device = q->device.value;
	}
	memcpy(out, &c, sizeof(c));
}

/* --- the BARs ---------------------------------------------------------------------------------------------------- */

static uint64_t read_isr(struct virtio_pci *v)
{
	uint8_t isr = v->isr;

	v->isr = 0;
	pci_set_interrupt(&v->pci, false);
	return isr;
}

static uint64_t registers_read(void *dev, uint64_t offset, unsigned size)
{
	struct virtio_pci *v = dev;
	unsigned at = (unsigned)offset % REGISTERS_PLACE;
	uint8_t common[COMMON_SIZE];
	uint64_t value = 0;

	switch (ALIGN_DOWN(offset, REGISTERS_PLACE)) {
	case AT_COMMON:
		if (at + size <= COMMON_SIZE) {
			show_common(v, common);
			memcpy(&value, common + at, size);
		}
		return value;
	case AT_ISR:
		return at ? 0 : read_isr(v);
	case AT_CONFIG:
		if (at + size <= v->kind->config_size)
			v->kind->config_read(v->dev, at, &value, size);
		return value;
	default:
		return 0;
	}
}

static void registers_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct virtio_pci *v = dev;
	unsigned at = (unsigned)offset % REGISTERS_PLACE;

	switch (ALIGN_DOWN(offset, REGISTERS_PLACE)) {
	case AT_COMMON:
		write_common(v, at, size < 8 ? size : 4, (uint32_t)value);
		if (size == 8)
			write_common(v, at + 4, 4, (uint32_t)(value >> 32));
		return;
	case AT_CONFIG:
		if (v->kind->config_write && at + size <= v->kind->config_size)
			v->kind->config_write(v->dev, at, &value, size);
		return;
	case AT_NOTIFY:
		virtio_pci_poke(v, at / NOTIFY_STRIDE);
		return;
	default:
		return;
	}
}

static uint64_t ports_read(void *dev, uint64_t offset, unsigned size)
{
	(void)dev, (void)offset, (void)size;
	return 0;
}

/* Which port says which queue; what is written, the queue's number, is not needed for it. */
static void ports_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	(void)size, (void)value;
	virtio_pci_poke(dev, (unsigned)offset / NOTIFY_STRIDE);
}

/* --- configuration space ----------------------------------------------------------------------------------------- */

/*
 * A driver that can't reach the BARs names a place in one of them in the window capability, and its data register is
 * that place (4.1.4.9). Answers the BAR, or NULL when what it names is no such place.
 */
static const struct pci_bar *window_bar(const struct virtio_pci *v, uint32_t *offset, uint32_t *size)
{
	const struct pci_device *p = &v->pci;
	unsigned index = p->config[v->window + CAP_BAR];

	*offset = pci_get32(p, v->window + CAP_OFFSET);
	*size = pci_get32(p, v->window + CAP_SIZE);
	if (index >= PCI_BARS || index == BAR_MSIX || (*size != 1 && *size != 2 && *size != 4) || *offset % *size)
		return NULL;
	return *offset < p->bar[index].size && p->bar[index].size - *offset >= *size ? &p->bar[index] : NULL;
}

static uint32_t pci_space_read(void *dev, unsigned offset)
{
	struct virtio_pci *v = CONTAINER_OF(dev, struct virtio_pci, pci);
	uint32_t at, size;
	const struct pci_bar *bar;

	if (offset != v->window + CAP_DATA)
		return pci_config_read(dev, offset);
	bar = window_bar(v, &at, &size);
	return bar ? (uint32_t)bar->read(bar->dev, at, size) : 0;
}

static void pci_space_write(void *dev, unsigned offset, unsigned size, uint32_t value)
{
	struct virtio_pci *v = CONTAINER_OF(dev, struct virtio_pci, pci);
	bool master = pci_is_master(&v->pci);
	const struct pci_bar *bar;
	uint32_t at, width;

	if (offset != v->window + CAP_DATA) {
		pci_config_write(dev, offset, size, value);
		if (!master)
			go_on(v);
		return;
	}
	bar = window_bar(v, &at, &width);
	if (bar && size >= width)
		bar->write(bar->dev, at, width, width == 4 ? value : value & ((1U << 8 * width) - 1));
}

static unsigned add_capability(struct virtio_pci *v, uint8_t type, unsigned bar, uint32_t offset, uint32_t size)
{
	unsigned length = type == CAP_NOTIFY || type == CAP_WINDOW ? 20 : 16;
	unsigned at = pci_add_capability(&v->pci, PCI_CAP_VENDOR, length);

	v->pci.config[at + CAP_LENGTH] = (uint8_t)length;
	v->pci.config[at + CAP_TYPE] = type;
	v->pci.config[at + CAP_BAR] = (uint8_t)bar;
	pci_put32(&v->pci, at + CAP_OFFSET, offset);
	pci_put32(&v->pci, at + CAP_SIZE, size);
	if (type == CAP_NOTIFY)
		pci_put32(&v->pci, at + CAP_MULTIPLIER, NOTIFY_STRIDE);
	return at;
}

/* MSI-X first: that is what systems look for most often, by a walk from the head of the list, two exits a step. */
static void add_capabilities(struct virtio_pci *v)
{
	unsigned at;

	pci_add_msix(&v->pci, BAR_MSIX, v->queues + 1);
	add_capability(v, CAP_COMMON, BAR_REGISTERS, AT_COMMON, COMMON_SIZE);
	add_capability(v, CAP_NOTIFY, BAR_PORTS, 0, PORTS_SIZE);
	add_capability(v, CAP_NOTIFY, BAR_REGISTERS, AT_NOTIFY, PORTS_SIZE);
	add_capability(v, CAP_ISR, BAR_REGISTERS, AT_ISR, 1);
	if (v->kind->config_size)
		add_capability(v, CAP_DEVICE, BAR_REGISTERS, AT_CONFIG, v->kind->config_size);
	at = v->window = add_capability(v, CAP_WINDOW, 0, 0, 0);
	memset(v->pci.writable + at + CAP_BAR, 0xFF, 1);
	memset(v->pci.writable + at + CAP_OFFSET, 0xFF, 8);
}

int virtio_pci_init(struct virtio_pci *v, struct pci_host *host, const struct virtio_pci_setup *s)
{
	struct pci_identity id = {.vendor = VENDOR,
				  .device = (uint16_t)(DEVICE + s->kind->id),
				  .subsystem_vendor = VENDOR,
				  .subsystem = (uint16_t)(DEVICE + s->kind->id),
				  .revision = 1,
				  .class_code = s->kind->class_code};
	struct pci_bar ports = {.dev = v,
				.read = ports_read,
				.write = ports_write,
				.name = s->kind->name,
				.bells = {.ring = ring, .first = 0, .size = PORTS_SIZE},
				.size = PORTS_SIZE,
				.io = true};
	struct pci_bar registers = {.dev = v,
				    .read = registers_read,
				    .write = registers_write,
				    .name = s->kind->name,
				    .bells = {.ring = ring, .first = AT_NOTIFY, .size = PORTS_SIZE},
				    .size = REGISTERS_SIZE};
	int err;

	memset(v, 0, sizeof(*v));
	v->kind = s->kind;
	v->dev = s->dev;
	v->mem = s->mem;
	v->kick = s->kick;
	v->ctx = s->ctx;
	v->queues = s->queues;
	pci_init(&v->pci, &id);
	pci_add_bar(&v->pci, BAR_PORTS, &ports);
	pci_add_bar(&v->pci, BAR_REGISTERS, &registers);
	add_capabilities(v);
	err = pci_host_plug(host, &v->pci, pci_space_read, pci_space_write);
	if (!err)
		virtio_pci_reset(v);
	return err;
}
