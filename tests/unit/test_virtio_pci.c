/*
 * Unit tests of virtio's PCI transport with a device that gives back what it reads, inverted: found, negotiated,
 * notified and interrupted as VIRTIO 1.2 says (2.1, 2.2, 2.4, 2.6.1, 3.1, 4.1), and reset at any moment.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/virtio_pci.c hv/dev/virtqueue.c hv/dev/pci.c hv/dev/pci_host.c hv/guest_mem.c */
/* links: hv/bus.c hv/timer.c hv/lib/heap.c */
#include "tests/unit/virtio_fixture.h"

#define QUEUES	    3
#define QUEUE_SIZE  16
#define CONFIG_SIZE 12
#define FEATURES    (BIT(3) | BIT(7))
#define BUDGET	    4096

static struct virtio_pci v;
static uint8_t config_bytes[CONFIG_SIZE];
static unsigned served[QUEUES], resets[QUEUES];
static uint64_t job;  /* what a chain counts; 0: its bytes */
static unsigned late; /* number that the driver offers when the device has just seen that there is none; 0: nothing */
static unsigned
    other; /* number that is offered on the queue before the one that is being served, which is poked; 0: nothing */
static bool rests;     /* it has no use for chains */
static uint64_t takes; /* ticks that a look at a queue takes */

static void offer_number(unsigned n, unsigned number);

static uint64_t features(void *dev)
{
	assert_ptr_equal(dev, &config_bytes);
	return FEATURES;
}

static void config_read(void *dev, unsigned offset, void *to, unsigned size)
{
	assert_ptr_equal(dev, &config_bytes);
	assert_true(offset + size <= CONFIG_SIZE);
	memcpy(to, config_bytes + offset, size);
}

/* Its first four bytes can be written. */
static void config_write(void *dev, unsigned offset, const void *from, unsigned size)
{
	assert_ptr_equal(dev, &config_bytes);
	assert_true(offset + size <= CONFIG_SIZE);
	if (offset + size <= 4)
		memcpy(config_bytes + offset, from, size);
}

static void queue_reset(void *dev, unsigned n)
{
	assert_ptr_equal(dev, &config_bytes);
	assert_in_range(n, 0, QUEUES - 1);
	resets[n]++;
}

/* One part each way, of the same size. */
static int serve(void *dev, unsigned n, struct virtqueue *q, uint64_t until, uint64_t *done)
{
	struct virtqueue_chain chain;
	uint8_t bytes[256];
	int got = rests ? VIRTIO_RESTS : virtqueue_take(q, &chain);

	assert_ptr_equal(dev, &config_bytes);
	assert_ptr_equal(q, &v.queue[n]);
	assert_true(fake_now < until);
	fake_now += takes;
	if (got == 0 && late) {
		offer_number(n, late);
		late = 0;
	}
	if (got != 1)
		return got;
	if (other) {
		offer_number(n - 1, other);
		virtio_pci_poke(&v, n - 1);
		other = 0;
	}
	assert_in_range(chain.out_size, 1, sizeof(bytes));
	assert_int_equal(guest_read(&mem, chain.part[0].gpa, bytes, chain.out_size), 0);
	for (unsigned i = 0; i < chain.out_size; i++)
		bytes[i] = (uint8_t)~bytes[i];
	assert_int_equal(guest_write(&mem, chain.part[1].gpa, bytes, chain.out_size), 0);
	served[n]++;
	*done = job ? job : chain.out_size + chain.in_size;
	return virtqueue_give(q, &chain, chain.out_size) ? -E_FORMAT : 1;
}

static const struct virtio_kind echo = {
    .name = "echo",
    .id = 42,
    .class_code = 0x0A0B0C,
    .features = features,
    .config_size = CONFIG_SIZE,
    .config_read = config_read,
    .config_write = config_write,
    .queue_reset = queue_reset,
    .serve = serve,
};

static int setup(void **state)
{
	struct virtio_pci_setup s = {
	    .kind = &echo, .dev = &config_bytes, .queues = QUEUES, .mem = &mem, .kick = kick, .ctx = NULL};

	(void)state;
	assert_int_equal(virtio_fixture_reset(), 0);
	memset(served, 0, sizeof(served));
	job = late = other = 0;
	rests = false;
	for (unsigned i = 0; i < CONFIG_SIZE; i++)
		config_bytes[i] = (uint8_t)(0xA0 + i);
	assert_int_equal(virtio_pci_init(&v, &host, &s), 0);
	memset(resets, 0, sizeof(resets));
	find_registers();
	enable_device();
	return 0;
}

/* --- the driver --- */

static void start(uint64_t wanted)
{
	negotiate(wanted);
	for (unsigned n = 0; n < QUEUES; n++)
		set_up_queue(n, QUEUE_SIZE, (uint16_t)(n + 1));
	add_status(DRIVER_OK);
	assert_int_equal(status(), ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
}

/* Eight bytes and room for eight, a place of its own for each number. */
static void offer_number(unsigned n, unsigned number)
{
	struct virtqueue_part part[] = {{GPA(DATA + number * 32), 8}, {GPA(DATA + number * 32 + 16), 8}};

	memset(at(DATA + number * 32), (int)(number + 1), 8);
	memset(at(DATA + number * 32 + 16), 0, 8);
	offer(n, part, 1, 1);
}

static void check_number(unsigned n, unsigned number)
{
	const uint8_t *answer = at(DATA + number * 32 + 16);
	uint32_t written;

	assert_in_range(take_used(n, &written), 0, QUEUE_SIZE - 1);
	assert_int_equal(written, 8);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(answer[i], (uint8_t) ~(number + 1));
}

static void assert_nothing_used(unsigned n)
{
	uint32_t written;

	assert_int_equal(take_used(n, &written), -1);
}

static void round_trip(unsigned n, unsigned number)
{
	offer_number(n, number);
	notify(n);
	work(&v, BUDGET);
	check_number(n, number);
}

static void read_common(uint8_t bytes[C_SIZE])
{
	for (unsigned i = 0; i < C_SIZE; i++)
		bytes[i] = (uint8_t)reg_get(common, i, 1);
}

static uint8_t generation(void)
{
	return (uint8_t)reg_get(common, C_GENERATION, 1);
}

/* --- finding it --- */

static void check_place(struct place p, unsigned least, unsigned alignment)
{
	assert_int_not_equal(p.capability, 0);
	assert_true(p.length >= least);
	assert_int_equal(p.offset % alignment, 0);
	assert_true(p.offset + p.length <= v.pci.bar[p.bar].size);
	assert_int_equal(config_get(SLOT, p.capability + 5, 1), 0); /* id */
	assert_in_range(config_get(SLOT, p.capability + 2, 1), 16, 20);
}

/* What Linux's vp_modern_probe checks, and 4.1.2. */
static void it_is_found(void **state)
{
	unsigned window_at = next_capability(0, CAP_WINDOW);

	(void)state;
	assert_int_equal(config_get(SLOT, 0, 4), (0x1040 + 42) << 16 | 0x1AF4);
	assert_true(config_get(SLOT, 8, 1) >= 1);
	assert_int_equal(config_get(SLOT, 8, 4) >> 8, 0x0A0B0C);
	assert_int_equal(config_get(SLOT, 0x2C, 2), 0x1AF4);
	assert_true(config_get(SLOT, 0x2E, 2) >= 0x40);
	check_place(common, C_SIZE, 4);
	check_place(isr, 1, 1);
	check_place(config, CONFIG_SIZE, 4);
	assert_int_equal(config.length, CONFIG_SIZE);
	check_place(notify_ports, 2, 2);
	check_place(notify_memory, 2, 2);
	assert_true(notify_ports.capability < notify_memory.capability); /* who takes the first takes the ports */
	assert_int_equal(config_get(SLOT, notify_ports.capability + 2, 1), 20);
	assert_int_equal(config_get(SLOT, notify_memory.capability + 2, 1), 20);
	assert_int_equal(msix_capability(), config_get(SLOT, PCI_CAPABILITIES, 1)); /* looked for often: the first */
	assert_int_equal(config_get(SLOT, msix_capability() + 2, 2), QUEUES);	    /* one more vector than queues */
	assert_int_equal(config_get(SLOT, window_at + 2, 1), 20);
	assert_int_equal(config_get(SLOT, window_at + 8, 4) | config_get(SLOT, window_at + 12, 4), 0);
}

/* Every queue has a place of its own within both notify structures. */
static void queues_have_places_to_notify(void **state)
{
	uint32_t ports = config_get(SLOT, notify_ports.capability + 16, 4);
	uint32_t memory = config_get(SLOT, notify_memory.capability + 16, 4);

	(void)state;
	assert_true(ports >= 2 && memory >= 2);
	for (unsigned n = 0; n < QUEUES; n++) {
		uint64_t off = queue_value(n, C_QUEUE_NOTIFY_OFF, 2);

		assert_int_equal(off, n);
		assert_true(off * ports + 2 <= notify_ports.length);
		assert_true(off * memory + 2 <= notify_memory.length);
	}
}

static void registers_after_power_up(void **state)
{
	(void)state;
	assert_int_equal(status(), 0);
	assert_int_equal(generation(), 0);
	assert_int_equal(reg_get(common, C_NUM_QUEUES, 2), QUEUES);
	assert_int_equal(reg_get(common, C_CONFIG_VECTOR, 2), NO_VECTOR);
	for (unsigned n = 0; n < QUEUES; n++) {
		assert_int_equal(queue_value(n, C_QUEUE_SIZE, 2), VIRTQUEUE_MAX_SIZE);
		assert_int_equal(queue_value(n, C_QUEUE_VECTOR, 2), NO_VECTOR);
		assert_int_equal(queue_value(n, C_QUEUE_ENABLE, 2), 0);
		assert_int_equal(queue_value(n, C_QUEUE_RESET, 2), 0);
		for (unsigned offset = C_QUEUE_DESC; offset < C_QUEUE_NOTIFY_DATA; offset += 8)
			assert_int_equal(queue_value(n, offset, 8), 0);
	}
	for (unsigned n = QUEUES; n <= 0xFFFF; n = 2 * n + 1) { /* not there: of size 0 */
		assert_int_equal(queue_value(n, C_QUEUE_SIZE, 2), 0);
		assert_int_equal(queue_value(n, C_QUEUE_ENABLE, 2), 0);
	}
}

static void a_full_bus_has_no_place(void **state)
{
	struct virtio_pci_setup s = {.kind = &echo, .dev = &config_bytes, .queues = QUEUES, .mem = &mem, .kick = kick};
	static struct virtio_pci more[PCI_DEVICES];

	(void)state;
	for (unsigned slot = 2; slot < PCI_DEVICES; slot++)
		assert_int_equal(virtio_pci_init(&more[slot], &host, &s), 0);
	assert_int_equal(virtio_pci_init(&more[0], &host, &s), -E_NOMEM);
	for (unsigned slot = 2; slot < PCI_DEVICES; slot++) { /* all that are there answer at once, when switched on */
		uint32_t bar = config_get(slot, PCI_BAR + 8, 4);

		command(slot, PCI_COMMAND_MEMORY, 0);
		assert_int_equal(memory_in(bar + C_NUM_QUEUES, 2), QUEUES);
	}
}

/* --- negotiation --- */

static void features_are_offered_by_halves(void **state)
{
	(void)state;
	assert_int_equal(offered(), FEATURES | VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX |
					VIRTIO_F_RING_PACKED | VIRTIO_F_RING_RESET);
	for (uint64_t select = 2; select < BIT(32); select = select * 2 + 1) {
		reg_set(common, C_DEVICE_FEATURE_SELECT, 4, select);
		assert_int_equal(reg_get(common, C_DEVICE_FEATURE, 4), 0);
		reg_set(common, C_DRIVER_FEATURE_SELECT, 4, select);
		reg_set(common, C_DRIVER_FEATURE, 4, 0xFFFFFFFF);
		assert_int_equal(reg_get(common, C_DRIVER_FEATURE, 4), 0);
	}
	set_features(0xFEDCBA9876543210);
	reg_set(common, C_DRIVER_FEATURE_SELECT, 4, 0);
	assert_int_equal(reg_get(common, C_DRIVER_FEATURE, 4), 0x76543210);
	reg_set(common, C_DRIVER_FEATURE_SELECT, 4, 1);
	assert_int_equal(reg_get(common, C_DRIVER_FEATURE, 4), 0xFEDCBA98);
}

static void what_is_not_offered_is_refused(void **state)
{
	(void)state;
	assert_true(try_negotiate(VIRTIO_F_VERSION_1));
	assert_true(try_negotiate(offered()));
	assert_false(try_negotiate(FEATURES)); /* a driver of the time before version 1 */
	assert_false(try_negotiate(0));
	for (unsigned bit = 0; bit < 64; bit++)
		assert_int_equal(try_negotiate(VIRTIO_F_VERSION_1 | BIT(bit)), (offered() & BIT(bit)) != 0);
	assert_false(try_negotiate(VIRTIO_F_VERSION_1 | BIT(4)));
	assert_int_equal(status(), ACKNOWLEDGE | DRIVER);
	add_status(FEATURES_OK | DRIVER_OK); /* insists */
	assert_int_equal(status() & FEATURES_OK, 0);
	set_features(VIRTIO_F_VERSION_1);
	add_status(FEATURES_OK); /* thinks better of it */
	assert_true(status() & FEATURES_OK);
}

static void features_are_settled_by_features_ok(void **state)
{
	(void)state;
	negotiate(BIT(3));
	set_features(offered());
	reg_set(common, C_DRIVER_FEATURE_SELECT, 4, 0);
	assert_int_equal(reg_get(common, C_DRIVER_FEATURE, 4), BIT(3));
	reg_set(common, C_DRIVER_FEATURE_SELECT, 4, 1);
	assert_int_equal(reg_get(common, C_DRIVER_FEATURE, 4), 1);
}

/* Bits that have no meaning do not stand, and NEEDS_RESET is the device's to set. */
static void status_keeps_the_drivers_bits(void **state)
{
	(void)state;
	reg_set(common, C_STATUS, 1, 0x10 | 0x20 | NEEDS_RESET | ACKNOWLEDGE);
	assert_int_equal(status(), ACKNOWLEDGE);
	add_status(FAILED);
	assert_int_equal(status(), ACKNOWLEDGE | FAILED);
	reset_device();
	start(0);
	add_status(NEEDS_RESET);
	round_trip(0, 0);
	reg_set(common, C_STATUS, 1, 0x10 | NEEDS_RESET); /* what reads as 0 after is a reset */
	assert_int_equal(status(), 0);
	assert_int_equal(queue_value(0, C_QUEUE_ENABLE, 2), 0);
	assert_false(intx[SLOT]);
}

/* --- queues and notifications --- */

static void notified_by_port(void **state)
{
	(void)state;
	start(0);
	offer_number(1, 0);
	assert_int_equal(kicks, 0);
	notify(1);
	assert_int_equal(kicks, 1);
	assert_nothing_used(1); /* nothing is done in the notification itself */
	assert_false(virtio_pci_work(&v, BUDGET, NEVER));
	check_number(1, 0);
	assert_int_equal(served[0] + served[2], 0);
	assert_int_equal(reg_get(notify_ports, 0, 4), 0);
}

static void notified_by_memory(void **state)
{
	unsigned multiplier = config_get(SLOT, notify_memory.capability + 16, 4);

	(void)state;
	start(0);
	for (unsigned n = 0; n < QUEUES; n++) {
		offer_number(n, n);
		reg_set(notify_memory, n * multiplier, 2, n);
		assert_int_equal(kicks, n + 1);
		work(&v, BUDGET);
		check_number(n, n);
	}
	for (unsigned n = QUEUES; n < 0x1000 / multiplier; n++)
		memory_out(bar_base(notify_memory.bar) + notify_memory.offset + n * multiplier, 2, n);
	assert_int_equal(kicks, QUEUES);
}

/* As a vCPU does it that has no lock. False: no doorbell is there. */
static bool ring_at(bool io, uint64_t addr)
{
	unsigned offset = 0;
	const struct pci_bar *bar =
	    io ? pci_host_port_bell(&host, addr, &offset) : pci_host_memory_bell(&host, addr, &offset);

	if (bar)
		bar->bells.ring(bar->dev, offset);
	return bar;
}

static uint64_t bell(struct place p, unsigned n)
{
	return bar_base(p.bar) + p.offset + n * config_get(SLOT, p.capability + 16, 4);
}

static void rung_without_the_lock(void **state)
{
	(void)state;
	start(0);
	for (unsigned n = 0; n < QUEUES; n++) {
		offer_number(n, n);
		assert_true(ring_at(n % 2, bell(n % 2 ? notify_ports : notify_memory, n)));
		assert_int_equal(kicks, n + 1);
		assert_nothing_used(n);
	}
	work(&v, BUDGET);
	for (unsigned n = 0; n < QUEUES; n++)
		check_number(n, n);
}

/* The bells end where the last queue's that can be does; other registers are none. */
static void what_is_no_bell_is_not_rung(void **state)
{
	(void)state;
	start(0);
	assert_true(ring_at(true, bell(notify_ports, QUEUES))); /* of a queue that is not there */
	assert_true(ring_at(false, bell(notify_memory, VIRTIO_MAX_QUEUES) - 1));
	assert_int_equal(kicks, 0);
	assert_false(ring_at(true, bell(notify_ports, VIRTIO_MAX_QUEUES)));
	assert_false(ring_at(false, bell(notify_memory, VIRTIO_MAX_QUEUES)));
	assert_false(ring_at(false, bell(notify_memory, 0) - 1));
	assert_false(ring_at(false, bar_base(common.bar) + common.offset));
	assert_false(ring_at(true, 0));
	assert_false(ring_at(false, 0));
	assert_false(virtio_pci_work(&v, BUDGET, NEVER));
}

static void bells_move_with_the_bar(void **state)
{
	uint64_t before = bell(notify_ports, 1);

	(void)state;
	start(0);
	config_set(SLOT, PCI_BAR + 4 * notify_ports.bar, 4, 0xCF00);
	assert_false(ring_at(true, before));
	offer_number(1, 0);
	assert_true(ring_at(true, bell(notify_ports, 1)));
	work(&v, BUDGET);
	check_number(1, 0);
	command(SLOT, 0, PCI_COMMAND_IO);
	assert_false(ring_at(true, bell(notify_ports, 1)));
	assert_true(ring_at(false, bell(notify_memory, 1)));
	command(SLOT, 0, PCI_COMMAND_MEMORY);
	assert_false(ring_at(false, bell(notify_memory, 1)));
}

/* As for other notifications that come too early. */
static void rung_before_it_runs(void **state)
{
	(void)state;
	negotiate(0);
	set_up_queue(0, QUEUE_SIZE, NO_VECTOR);
	offer_number(0, 0);
	assert_true(ring_at(true, bell(notify_ports, 0)));
	assert_true(ring_at(true, bell(notify_ports, 1))); /* not enabled: forgotten */
	assert_false(virtio_pci_work(&v, BUDGET, NEVER));
	assert_nothing_used(0);
	kicks = 0;
	add_status(DRIVER_OK);
	assert_int_equal(kicks, 1);
	work(&v, BUDGET);
	check_number(0, 0);
	set_up_queue(1, QUEUE_SIZE, NO_VECTOR);
	assert_false(virtio_pci_work(&v, BUDGET, NEVER));
	assert_int_equal(served[1], 0);
}

static void a_reset_forgets_what_was_rung(void **state)
{
	(void)state;
	start(0);
	offer_number(0, 0);
	assert_true(ring_at(true, bell(notify_ports, 0)));
	reg_set(common, C_STATUS, 1, 0);
	start(0);
	offer_number(0, 0);
	assert_false(virtio_pci_work(&v, BUDGET, NEVER));
	assert_nothing_used(0);
}

static void queues_that_do_not_run_are_not_notified(void **state)
{
	(void)state;
	negotiate(0);
	set_up_queue(0, QUEUE_SIZE, NO_VECTOR);
	add_status(DRIVER_OK);
	notify(1);
	assert_int_equal(kicks, 0);
	assert_false(virtio_pci_work(&v, BUDGET, NEVER));
	set_up_queue(1, QUEUE_SIZE, NO_VECTOR);
	offer_number(1, 1);
	assert_false(virtio_pci_work(&v, BUDGET, NEVER));
	assert_nothing_used(1);
	round_trip(0, 0);
}

/* 3.1.1: nothing is taken before DRIVER_OK. 6.2.2 of PCI: nor by a function that is no bus master. */
static void early_notifications_are_kept(void **state)
{
	(void)state;
	negotiate(0);
	for (unsigned n = 0; n < QUEUES; n++)
		set_up_queue(n, QUEUE_SIZE, NO_VECTOR);
	offer_number(2, 0);
	notify(2);
	assert_false(virtio_pci_work(&v, BUDGET, NEVER));
	assert_int_equal(kicks, 0);
	assert_nothing_used(2);
	command(SLOT, 0, PCI_COMMAND_MASTER);
	add_status(DRIVER_OK);
	assert_false(virtio_pci_work(&v, BUDGET, NEVER));
	assert_int_equal(kicks, 0);
	assert_nothing_used(2);
	command(SLOT, PCI_COMMAND_MASTER, 0);
	assert_int_equal(kicks, 1);
	work(&v, BUDGET);
	check_number(2, 0);
}

static void driver_ok_starts_what_waits(void **state)
{
	(void)state;
	negotiate(0);
	set_up_queue(0, QUEUE_SIZE, NO_VECTOR);
	offer_number(0, 0);
	notify(0);
	assert_int_equal(kicks, 0);
	add_status(DRIVER_OK);
	assert_int_equal(kicks, 1);
	work(&v, BUDGET);
	check_number(0, 0);
}

/* With its features: those of the ring reach the queue. */
static void rings_are_as_negotiated(void **state)
{
	static const uint64_t wanted[] = {0, VIRTIO_F_RING_PACKED, VIRTIO_F_INDIRECT_DESC, VIRTIO_F_EVENT_IDX};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(wanted); i++) {
		start(wanted[i]);
		assert_int_equal(v.queue[1].packed, i == 1);
		assert_int_equal(v.queue[1].indirect, i == 2);
		assert_int_equal(v.queue[1].event_index, i == 3);
	}
}

/* One chain of two descriptors through a packed ring (2.8). */
static void a_packed_ring(void **state)
{
	struct desc *desc;

	(void)state;
	negotiate(VIRTIO_F_RING_PACKED);
	prepare_queue(0, 3, NO_VECTOR); /* no power of two is needed */
	queue_register(0, C_QUEUE_ENABLE, 2, 1);
	add_status(DRIVER_OK);
	desc = at(desc_area(0));
	memset(at(DATA), 0x5A, 8);
	desc[1] = (struct desc){DATA + 16, 8, 77 /* the id */, WRITE | 0x80};
	desc[0] = (struct desc){DATA, 8, 0, NEXT | 0x80};
	notify(0);
	work(&v, BUDGET);
	assert_int_equal(desc[0].flags, 77);
	assert_int_equal(desc[0].next, WRITE | 0x8080); /* used, in the first lap */
	assert_int_equal(desc[0].len, 8);
	assert_int_equal(*(uint8_t *)at(DATA + 16), 0xA5);
}

static void addresses_by_halves_or_at_once(void **state)
{
	(void)state;
	for (unsigned offset = C_QUEUE_DESC; offset < C_QUEUE_NOTIFY_DATA; offset += 8) {
		queue_register(1, offset, 4, 0x89ABCDEF);
		assert_int_equal(queue_value(1, offset, 8), 0x89ABCDEF);
		queue_register(1, offset + 4, 4, 0x01234567);
		assert_int_equal(queue_value(1, offset, 8), 0x0123456789ABCDEF);
		queue_register(1, offset, 4, 0x11111111);
		assert_int_equal(queue_value(1, offset + 4, 4), 0x01234567);
		queue_register(1, offset, 8, 0xFEDCBA9876543210);
		assert_int_equal(queue_value(1, offset, 4), 0x76543210);
		assert_int_equal(queue_value(1, offset + 4, 4), 0xFEDCBA98);
		assert_int_equal(queue_value(0, offset, 8), 0);
		assert_int_equal(queue_value(2, offset, 8), 0);
	}
	assert_int_equal(queue_value(1, C_QUEUE_DRIVER, 8), 0xFEDCBA9876543210);
}

static void an_enabled_queue_stays_as_it_is(void **state)
{
	(void)state;
	start(0);
	queue_register(0, C_QUEUE_SIZE, 2, 4);
	set_address(0, C_QUEUE_DESC, 0x1234560);
	set_address(0, C_QUEUE_DRIVER, 0x1234560);
	set_address(0, C_QUEUE_DEVICE, 0x1234560);
	queue_register(0, C_QUEUE_ENABLE, 2, 0);
	queue_register(0, C_QUEUE_ENABLE, 2, 1);
	queue_register(0, C_QUEUE_RESET, 2, 1); /* was not negotiated */
	assert_int_equal(queue_value(0, C_QUEUE_SIZE, 2), QUEUE_SIZE);
	assert_int_equal(queue_value(0, C_QUEUE_ENABLE, 2), 1);
	assert_int_equal(queue_value(0, C_QUEUE_DESC, 8), desc_area(0));
	assert_int_equal(queue_value(0, C_QUEUE_DRIVER, 8), avail_area(0));
	assert_int_equal(queue_value(0, C_QUEUE_DEVICE, 8), used_area(0));
	round_trip(0, 0);
}

/* Its features are not known before FEATURES_OK; and only the value 1 enables. */
static void a_queue_is_enabled_in_its_time(void **state)
{
	(void)state;
	reset_device();
	add_status(ACKNOWLEDGE);
	add_status(DRIVER);
	prepare_queue(0, QUEUE_SIZE, NO_VECTOR);
	queue_register(0, C_QUEUE_ENABLE, 2, 1);
	assert_int_equal(queue_value(0, C_QUEUE_ENABLE, 2), 0);
	set_features(VIRTIO_F_VERSION_1);
	add_status(FEATURES_OK);
	queue_register(0, C_QUEUE_ENABLE, 2, 2);
	queue_register(0, C_QUEUE_ENABLE, 2, 0x101);
	queue_register(QUEUES, C_QUEUE_ENABLE, 2, 1);
	queue_register(0xFFFF, C_QUEUE_ENABLE, 2, 1);
	for (unsigned n = 0; n < QUEUES; n++)
		assert_int_equal(queue_value(n, C_QUEUE_ENABLE, 2), 0);
	queue_register(0, C_QUEUE_ENABLE, 2, 1);
	assert_int_equal(queue_value(0, C_QUEUE_ENABLE, 2), 1);
	assert_false(status() & NEEDS_RESET);
}

/* --- interrupts --- */

static void intx_until_the_isr_is_read(void **state)
{
	(void)state;
	start(0);
	assert_int_equal(reg_get(isr, 0, 1), 0);
	round_trip(0, 0);
	assert_true(intx[SLOT]);
	assert_int_equal(reg_get(isr, 1, 1), 0); /* not the register */
	assert_true(intx[SLOT]);
	assert_int_equal(reg_get(isr, 0, 1), 1);
	assert_false(intx[SLOT]);
	assert_int_equal(reg_get(isr, 0, 1), 0);
	virtio_pci_config_changed(&v);
	assert_true(intx[SLOT]);
	round_trip(0, 1);
	assert_int_equal(reg_get(isr, 0, 4), 3);
	assert_false(intx[SLOT]);
	assert_int_equal(messages, 0);
}

static void vectors_of_queues_and_configuration(void **state)
{
	(void)state;
	use_msix();
	start(0);
	reg_set(common, C_CONFIG_VECTOR, 2, 0);
	assert_int_equal(reg_get(common, C_CONFIG_VECTOR, 2), 0);
	for (unsigned n = 0; n < QUEUES; n++) {
		assert_int_equal(queue_value(n, C_QUEUE_VECTOR, 2), n + 1);
		round_trip(n, n);
		assert_message(n + 1, (uint8_t)(n + 1), (uint8_t)VECTOR(n + 1));
	}
	virtio_pci_config_changed(&v);
	assert_message(QUEUES + 1, 0, VECTOR(0));
	queue_register(0, C_QUEUE_VECTOR, 2, 2); /* shared with the second; changed while it runs */
	round_trip(0, 3);
	assert_message(QUEUES + 2, 2, VECTOR(2));
	assert_int_equal(reg_get(isr, 0, 1), 0); /* 4.1.4.5: not used with MSI-X */
	assert_false(intx[SLOT]);
}

static void without_a_vector_no_message(void **state)
{
	(void)state;
	use_msix();
	start(0);
	queue_register(0, C_QUEUE_VECTOR, 2, QUEUES + 1); /* there is no such one: the driver sees it refused */
	assert_int_equal(queue_value(0, C_QUEUE_VECTOR, 2), NO_VECTOR);
	reg_set(common, C_CONFIG_VECTOR, 2, 0x8000);
	assert_int_equal(reg_get(common, C_CONFIG_VECTOR, 2), NO_VECTOR);
	round_trip(0, 0);
	virtio_pci_config_changed(&v);
	assert_int_equal(messages, 0);
	assert_int_equal(memory_in(msix_table() + MSIX_PBA, 8), 0);
	assert_false(intx[SLOT]);
}

static void interrupts_that_nobody_wants(void **state)
{
	(void)state;
	start(0);
	*(uint16_t *)at(avail_area(0)) = 1; /* 2.7.7 */
	round_trip(0, 0);
	assert_false(intx[SLOT]);
	*(uint16_t *)at(avail_area(0)) = 0;
	notify(0); /* for nothing: no buffers */
	work(&v, BUDGET);
	assert_false(intx[SLOT]);
	round_trip(0, 1);
	assert_true(intx[SLOT]);
}

/* One interrupt for all that was served in a turn. */
static void interrupts_come_by_turns(void **state)
{
	(void)state;
	use_msix();
	start(0);
	for (unsigned i = 0; i < 5; i++)
		offer_number(0, i);
	notify(0);
	assert_int_equal(work(&v, BUDGET), 1);
	assert_int_equal(messages, 1);
	for (unsigned i = 0; i < 5; i++)
		check_number(0, i);
}

/* --- the configuration structure --- */

static void the_devices_configuration(void **state)
{
	(void)state;
	assert_int_equal(reg_get(config, 0, 8), 0xA7A6A5A4A3A2A1A0);
	assert_int_equal(reg_get(config, 6, 2), 0xA7A6);
	assert_int_equal(reg_get(config, 11, 1), 0xAB);
	reg_set(config, 4, 4, 0x44332211); /* a driver can't write to it */
	reg_set(config, 11, 1, 0x55);
	assert_int_equal(reg_get(config, 11, 2), 0); /* part of it lies behind the end */
	assert_int_equal(reg_get(config, 8, 8), 0);
	assert_int_equal(reg_get(config, CONFIG_SIZE, 1), 0);
	reg_set(config, 8, 8, 0);
	reg_set(config, 11, 2, 0);
	assert_memory_equal(config_bytes + 4, "\xA4\xA5\xA6\xA7\xA8\xA9\xAA\xAB", 8);
}

static void changes_are_told(void **state)
{
	uint8_t before = generation();

	(void)state;
	virtio_pci_config_changed(&v);
	assert_int_not_equal(generation(), before);
	assert_false(intx[SLOT]); /* nobody there to be told */
	start(0);
	assert_int_equal(generation(), (uint8_t)(before + 1)); /* a reset of the device changes nothing of it */
	virtio_pci_config_changed(&v);
	assert_int_equal(generation(), (uint8_t)(before + 2));
	assert_int_equal(reg_get(isr, 0, 1), 2);
}

/* --- what is broken --- */

static void a_broken_queue_needs_a_reset(void **state)
{
	uint8_t before;

	(void)state;
	start(0);
	before = generation();
	*avail_index(0) = QUEUE_SIZE + 1;
	notify(0);
	assert_false(virtio_pci_work(&v, BUDGET, NEVER));
	assert_int_equal(status(), ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK | NEEDS_RESET);
	assert_int_equal(reg_get(isr, 0, 1), 2); /* 2.1.2: told as a change of the configuration */
	assert_int_not_equal(generation(), before);
	kicks = 0;
	offer_number(1, 1);
	notify(1);
	notify(0);
	assert_int_equal(kicks, 0);
	assert_false(virtio_pci_work(&v, BUDGET, NEVER));
	assert_nothing_used(1);
	assert_false(intx[SLOT]); /* told once */
	add_status(DRIVER_OK);
	reg_set(common, C_STATUS, 1, ACKNOWLEDGE); /* only a reset takes it away */
	assert_int_equal(status(), ACKNOWLEDGE | NEEDS_RESET);
	start(0);
	round_trip(0, 0);
	round_trip(1, 1);
}

/* What was used before it broke is there and told; the configuration's vector says the rest. */
static void a_break_is_a_message(void **state)
{
	unsigned before;

	(void)state;
	use_msix();
	start(0);
	reg_set(common, C_CONFIG_VECTOR, 2, 0);
	offer_number(0, 0);
	offer_number(0, 1);
	((struct desc *)at(desc_area(0)))[2].len = 0;
	before = messages;
	notify(0);
	work(&v, BUDGET);
	check_number(0, 0);
	assert_nothing_used(0);
	assert_true(status() & NEEDS_RESET);
	assert_message(before + 2, 0, VECTOR(0));
}

static void a_break_does_not_hide_what_was_used(void **state)
{
	(void)state;
	start(0);
	offer_number(0, 0);
	offer_number(0, 1);
	((struct desc *)at(desc_area(0)))[2].len = 0;
	notify(0);
	work(&v, BUDGET);
	check_number(0, 0);
	assert_int_equal(reg_get(isr, 0, 1), 1 | 2);
}

static void queues_that_can_not_be_enabled(void **state)
{
	static const struct {
		unsigned offset, size;
		uint64_t value;
	} bad[] = {
	    {C_QUEUE_SIZE, 2, 0},
	    {C_QUEUE_SIZE, 2, 3},
	    {C_QUEUE_SIZE, 2, 2 * VIRTQUEUE_MAX_SIZE},
	    {C_QUEUE_SIZE, 2, 0x8000},
	    {C_QUEUE_DESC, 8, RAM + 8},
	    {C_QUEUE_DRIVER, 8, RAM + 1},
	    {C_QUEUE_DEVICE, 8, RAM + 2},
	    {C_QUEUE_DESC, 8, 0},
	    {C_QUEUE_DRIVER, 8, RAM_END - 2},
	    {C_QUEUE_DEVICE, 8, UINT64_MAX - 3},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		negotiate(0);
		prepare_queue(0, QUEUE_SIZE, NO_VECTOR);
		queue_register(0, bad[i].offset, bad[i].size, bad[i].value);
		assert_false(status() & NEEDS_RESET);
		queue_register(0, C_QUEUE_ENABLE, 2, 1);
		assert_true(status() & NEEDS_RESET);
		assert_int_equal(queue_value(0, C_QUEUE_ENABLE, 2), 0);
		add_status(DRIVER_OK);
		queue_register(0, C_QUEUE_ENABLE, 2, 1);
		assert_false(intx[SLOT]); /* it has been said */
		notify(0);
		assert_false(virtio_pci_work(&v, BUDGET, NEVER));
		assert_int_equal(kicks, 0);
	}
	start(0);
	round_trip(0, 0);
}

/* --- resets --- */

/* Some of what a driver does, up to `stage`; leaves requests unserved and interrupts unread. */
static void live_until(unsigned stage, bool msix)
{
	if (msix)
		use_msix();
	if (stage > 0)
		add_status(ACKNOWLEDGE | DRIVER);
	if (stage > 1)
		set_features(VIRTIO_F_VERSION_1 | VIRTIO_F_RING_RESET);
	if (stage > 2)
		add_status(FEATURES_OK);
	if (stage > 3)
		prepare_queue(0, QUEUE_SIZE, 1);
	if (stage > 4)
		queue_register(0, C_QUEUE_ENABLE, 2, 1);
	if (stage > 5)
		reg_set(common, C_CONFIG_VECTOR, 2, 0);
	if (stage > 6)
		add_status(DRIVER_OK);
	if (stage > 7)
		round_trip(0, 0);
	if (stage > 8)
		virtio_pci_config_changed(&v);
	if (stage > 9)
		offer_number(0, 1);
	if (stage > 10)
		notify(0);
	if (stage > 11)
		*avail_index(0) = 0x8000;
	if (stage > 12)
		work(&v, BUDGET);
}

static void a_reset_at_any_moment(void **state)
{
	uint8_t fresh[C_SIZE], now[C_SIZE];

	(void)state;
	read_common(fresh);
	for (unsigned i = 0; i < 28; i++) {
		live_until(i / 2, i % 2);
		memset(resets, 0, sizeof(resets));
		reset_device();
		read_common(now);
		now[C_GENERATION] = fresh[C_GENERATION]; /* goes on */
		assert_memory_equal(now, fresh, C_SIZE);
		assert_int_equal(reg_get(isr, 0, 1), 0);
		assert_false(intx[SLOT]);
		assert_false(virtio_pci_work(&v, BUDGET, NEVER));
		for (unsigned n = 0; n < QUEUES; n++)
			assert_int_equal(resets[n], 1);
		start(0);
		assert_false(virtio_pci_work(&v, BUDGET, NEVER));
		round_trip(0, 2);
		round_trip(2, 3);
		virtio_pci_reset(&v); /* MSI-X off */
		enable_device();
	}
}

/* 2.4.1: no notifications after a reset, also none that a mask has kept back. */
static void a_reset_drops_pending_messages(void **state)
{
	(void)state;
	use_msix();
	start(0);
	memory_out(msix_table() + 16 + 12, 4, 1);
	round_trip(0, 0);
	assert_int_equal(memory_in(msix_table() + MSIX_PBA, 4), 1 << 1);
	reset_device();
	memory_out(msix_table() + 16 + 12, 4, 0);
	assert_int_equal(messages, 0);
}

static void power_up_again(void **state)
{
	uint8_t fresh[C_SIZE], now[C_SIZE];
	uint32_t place = bar_base(common.bar);

	(void)state;
	read_common(fresh);
	use_msix();
	start(0);
	virtio_pci_config_changed(&v);
	offer_number(0, 0);
	notify(0);
	config_set(SLOT, PCI_BAR + 4 * common.bar, 4, 0xC8000000);
	assert_int_equal(reg_get(common, C_NUM_QUEUES, 2), QUEUES); /* it was moved */
	virtio_pci_reset(&v);
	assert_int_equal(bar_base(common.bar), place);
	assert_int_equal(reg_get(common, C_NUM_QUEUES, 2), 0xFFFF); /* nobody answers, nor is anything to be rung */
	assert_false(ring_at(true, bell(notify_ports, 0)));
	assert_false(ring_at(false, bell(notify_memory, 0)));
	command(SLOT, PCI_COMMAND_IO | PCI_COMMAND_MEMORY, 0);
	read_common(now);
	assert_memory_equal(now, fresh, C_SIZE);
	assert_false(pci_is_master(&v.pci));
	assert_false(pci_msix_enabled(&v.pci));
	assert_false(virtio_pci_work(&v, BUDGET, NEVER));
	command(SLOT, PCI_COMMAND_MASTER, 0);
	assert_int_equal(kicks, 1); /* the one before */
}

static void a_queue_is_reset(void **state)
{
	(void)state;
	start(VIRTIO_F_RING_RESET);
	offer_number(0, 0);
	offer_number(1, 1);
	notify(0);
	notify(1);
	memset(resets, 0, sizeof(resets));
	queue_register(0, C_QUEUE_RESET, 2, 2);
	assert_int_equal(resets[0], 0);
	queue_register(0, C_QUEUE_RESET, 2, 1);
	assert_int_equal(resets[0], 1);
	assert_int_equal(resets[1] + resets[2], 0);
	assert_int_equal(queue_value(0, C_QUEUE_RESET, 2), 0);
	assert_int_equal(queue_value(0, C_QUEUE_ENABLE, 2), 0);
	assert_int_equal(queue_value(0, C_QUEUE_SIZE, 2), VIRTQUEUE_MAX_SIZE);
	assert_int_equal(queue_value(0, C_QUEUE_VECTOR, 2), NO_VECTOR);
	assert_int_equal(queue_value(0, C_QUEUE_DESC, 8), 0);
	work(&v, BUDGET);
	assert_int_equal(used_index(0), 0);
	check_number(1, 1);
	assert_int_equal(queue_value(1, C_QUEUE_ENABLE, 2), 1);
	set_up_queue(0, 8, 1);
	round_trip(0, 2);
	assert_int_equal(status(), ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
	queue_register(QUEUES, C_QUEUE_RESET, 2, 1); /* there is none */
	assert_int_equal(resets[0], 1);
}

/* --- whose turn it is --- */

static void a_turn_ends_with_its_budget(void **state)
{
	(void)state;
	start(0);
	job = 1000;
	for (unsigned i = 0; i < 8; i++)
		offer_number(0, i);
	notify(0);
	assert_true(virtio_pci_work(&v, 3000, NEVER));
	assert_int_equal(served[0], 3);
	assert_true(intx[SLOT]);			    /* what is done is told at once */
	assert_int_equal(*(uint16_t *)at(used_area(0)), 1); /* no notifications while it is at it anyway */
	assert_true(virtio_pci_work(&v, 1, NEVER));
	assert_int_equal(served[0], 4);
	assert_true(virtio_pci_work(&v, 0, NEVER));
	assert_int_equal(served[0], 4);
	assert_false(virtio_pci_work(&v, 1000000, NEVER));
	assert_int_equal(served[0], 8);
	assert_int_equal(*(uint16_t *)at(used_area(0)), 0);
}

static void a_turn_ends_in_time(void **state)
{
	(void)state;
	start(0);
	takes = 10;
	for (unsigned i = 0; i < 8; i++)
		offer_number(0, i);
	notify(0);
	assert_true(virtio_pci_work(&v, BUDGET, fake_now + 25));
	assert_int_equal(served[0], 3);
	assert_true(intx[SLOT]);
	assert_false(virtio_pci_work(&v, BUDGET, NEVER));
	assert_int_equal(served[0], 8);
	takes = 0;
}

/* A device without use for what is there asks for silence, and goes on when it says so, or the driver does. */
static void a_device_may_rest(void **state)
{
	(void)state;
	start(0);
	rests = true;
	offer_number(1, 1);
	notify(1);
	assert_false(virtio_pci_work(&v, BUDGET, NEVER));
	assert_int_equal(*(uint16_t *)at(used_area(1)), 1); /* no notifications */
	offer_number(1, 2);
	rests = false;
	kicks = 0;
	assert_false(virtio_pci_work(&v, BUDGET, NEVER)); /* nobody asked */
	assert_int_equal(served[1], 0);
	virtio_pci_poke(&v, 1);
	assert_int_equal(kicks, 1);
	assert_false(virtio_pci_work(&v, BUDGET, NEVER));
	check_number(1, 1);
	check_number(1, 2);
	assert_int_equal(*(uint16_t *)at(used_area(1)), 0);
}

static void who_is_not_there_is_not_poked(void **state)
{
	(void)state;
	kicks = 0;
	virtio_pci_poke(&v, 1); /* not enabled */
	virtio_pci_poke(&v, QUEUES);
	assert_int_equal(kicks, 0);
	assert_false(virtio_pci_work(&v, BUDGET, NEVER));
}

static void configuration_is_written_inside_only(void **state)
{
	(void)state;
	reg_set(config, 0, 4, 0x44332211);
	assert_int_equal(reg_get(config, 0, 4), 0x44332211);
	reg_set(config, 2, 1, 0x99);
	assert_int_equal(reg_get(config, 0, 4), 0x44992211);
	reg_set(config, 4, 4, 0); /* the kind's decision */
	assert_int_equal(reg_get(config, 4, 4), 0xA7A6A5A4);
	reg_set(config, CONFIG_SIZE - 1, 2, 0);
	reg_set(config, CONFIG_SIZE, 4, 0);
	assert_int_equal(config_bytes[CONFIG_SIZE - 1], 0xA0 + CONFIG_SIZE - 1);
}

/* A driver that pretends, at each look, that something has just come pays for it. */
static void looks_cost_as_well(void **state)
{
	(void)state;
	start(0);
	job = 1;
	for (unsigned i = 0; i < 3; i++) {
		late = 5 + i;
		notify(0);
		assert_true(virtio_pci_work(&v, 1, NEVER)); /* it saw nothing, listened, and saw something */
		assert_int_equal(served[0], i);
		assert_false(virtio_pci_work(&v, BUDGET, NEVER));
		assert_int_equal(served[0], i + 1);
	}
	job = 0;
}

/* Between the last look and the listening, when the driver saw that it need not notify. */
static void what_comes_late_is_seen(void **state)
{
	(void)state;
	start(0);
	late = 5;
	round_trip(0, 1);
	check_number(0, 5);
	assert_int_equal(kicks, 1);
}

/* A queue that has always more to do does not keep the others waiting. */
static void queues_take_turns(void **state)
{
	(void)state;
	start(0);
	job = 1000;
	for (unsigned n = 0; n < QUEUES; n++) {
		for (unsigned i = 0; i < 6; i++)
			offer_number(n, 6 * n + i);
		notify(n);
	}
	for (unsigned turn = 1; turn <= 3; turn++) {
		for (unsigned n = 0; n < QUEUES; n++)
			assert_true(virtio_pci_work(&v, 2000, NEVER) || turn == 3);
		for (unsigned n = 0; n < QUEUES; n++)
			assert_int_equal(served[n], 2 * turn);
	}
	work(&v, BUDGET);
	for (unsigned i = 0; i < 6 * QUEUES; i++)
		check_number(i / 6, i);
}

/* Each once: one that was served has its next turn with the others, one that wasn't need not wait for that. */
static void a_queue_that_is_poked_in_a_turn_is_in_it(void **state)
{
	(void)state;
	start(0);
	offer_number(1, 5);
	notify(1);
	other = 6;
	assert_false(virtio_pci_work(&v, BUDGET, NEVER));
	assert_int_equal(served[0], 1);
	check_number(1, 5);
	check_number(0, 6);
}

/* --- odd accesses --- */

/* Is something written by an access of that size there? */
static bool is_natural(unsigned offset, unsigned size)
{
	static const uint8_t two[] = {C_CONFIG_VECTOR, C_QUEUE_SELECT, C_QUEUE_SIZE,
				      C_QUEUE_VECTOR,  C_QUEUE_ENABLE, C_QUEUE_RESET};

	if (size == 8)
		return is_natural(offset, 4) || is_natural(offset + 4, 4);
	if (size == 4)
		return offset == C_DEVICE_FEATURE_SELECT || offset == C_DRIVER_FEATURE_SELECT ||
		       offset == C_DRIVER_FEATURE ||
		       (offset >= C_QUEUE_DESC && offset < C_QUEUE_NOTIFY_DATA && offset % 4 == 0);
	return size == 1 ? offset == C_STATUS : memchr(two, (int)offset, sizeof(two)) != NULL;
}

static void odd_widths_change_nothing(void **state)
{
	uint8_t before[C_SIZE], after[C_SIZE];

	(void)state;
	negotiate(0);
	prepare_queue(0, QUEUE_SIZE, 1);
	read_common(before);
	for (unsigned size = 1; size <= 8; size *= 2)
		for (unsigned offset = 0; offset < 0x80; offset++) {
			if (is_natural(offset, size))
				continue;
			reg_set(common, offset, size, 0x0101010101010101 & (size < 8 ? BIT(8 * size) - 1 : UINT64_MAX));
			read_common(after);
			assert_memory_equal(after, before, C_SIZE);
		}
	assert_int_equal(reg_get(common, C_SIZE, 4), 0);
	assert_int_equal(reg_get(common, C_SIZE - 4, 8), 0); /* across the end */
	reg_set(isr, 0, 1, 0xFF);
	assert_int_equal(reg_get(isr, 0, 1), 0);
}

static void registers_read_at_any_width(void **state)
{
	uint8_t bytes[C_SIZE];

	(void)state;
	start(0);
	reg_set(common, C_QUEUE_SELECT, 2, 1);
	read_common(bytes);
	for (unsigned size = 1; size <= 8; size *= 2)
		for (unsigned offset = 0; offset + size <= C_SIZE; offset++) {
			uint64_t value = reg_get(common, offset, size);

			assert_memory_equal(&value, bytes + offset, size);
			assert_int_equal(size < 8 ? value >> (8 * size) : 0, 0);
		}
}

/* --- the window through configuration space (4.1.4.9) --- */

static unsigned window(unsigned bar, uint32_t offset, uint32_t size)
{
	unsigned c = next_capability(0, CAP_WINDOW);

	config_set(SLOT, c + 4, 1, bar);
	config_set(SLOT, c + 8, 4, offset);
	config_set(SLOT, c + 12, 4, size);
	return c + 16;
}

static void registers_through_the_window(void **state)
{
	unsigned data;

	(void)state;
	data = window(common.bar, common.offset + C_NUM_QUEUES, 2);
	assert_int_equal(config_get(SLOT, data, 4), QUEUES);
	assert_int_equal(config_get(SLOT, data, 2), QUEUES);
	assert_int_equal(config_get(SLOT, data, 1), QUEUES);
	out(0xCF8, 4, 0x80000000 | SLOT << 11 | data);
	assert_int_equal(in(0xCFC, 2), QUEUES);
	window(config.bar, config.offset + 4, 4);
	assert_int_equal(config_get(SLOT, data, 4), 0xA7A6A5A4);
	window(common.bar, common.offset + C_STATUS, 1);
	config_set(SLOT, data, 1, ACKNOWLEDGE);
	assert_int_equal(status(), ACKNOWLEDGE);
	config_set(SLOT, data, 4, 0xFFFFFF00 | ACKNOWLEDGE | DRIVER); /* the length counts */
	assert_int_equal(status(), ACKNOWLEDGE | DRIVER);
	window(common.bar, common.offset + C_QUEUE_SELECT, 2);
	config_set(SLOT, data, 1, 1); /* not all of it */
	assert_int_equal(reg_get(common, C_QUEUE_SELECT, 2), 0);
	config_set(SLOT, data + 1, 1, 1); /* not the register */
	config_set(SLOT, data + 2, 2, 1);
	assert_int_equal(reg_get(common, C_QUEUE_SELECT, 2), 0);
	config_set(SLOT, data, 2, 2);
	assert_int_equal(reg_get(common, C_QUEUE_SELECT, 2), 2);
}

/* Without memory decoding a firmware has no other way. */
static void a_request_through_the_window(void **state)
{
	unsigned data;

	(void)state;
	start(0);
	offer_number(1, 0);
	data = window(notify_ports.bar, notify_ports.offset + 4, 2);
	config_set(SLOT, data, 2, 1);
	assert_int_equal(kicks, 1);
	offer_number(2, 1);
	window(notify_memory.bar, notify_memory.offset + 8, 2);
	config_set(SLOT, data, 2, 2);
	assert_int_equal(kicks, 2);
	work(&v, BUDGET);
	check_number(1, 0);
	check_number(2, 1);
	command(SLOT, 0, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
	window(isr.bar, isr.offset, 1);
	assert_true(intx[SLOT]);
	assert_int_equal(config_get(SLOT, data, 4), 1);
	assert_false(intx[SLOT]);
	assert_int_equal(config_get(SLOT, data, 4), 0);
}

static void windows_onto_nothing(void **state)
{
	static const struct {
		unsigned bar;
		uint32_t offset, size;
	} bad[] = {
	    {2, C_STATUS, 0},
	    {2, C_STATUS, 3},
	    {2, C_STATUS, 8},
	    {2, C_STATUS, 0x10001},
	    {2, C_STATUS + 1, 2},
	    {2, 0x4000, 4},
	    {2, 0xFFFFFFFC, 4},
	    {2, 0xFFFFFFFF, 1},
	    {0, 32, 1},
	    {0, 32, 4},
	    {1, 0, 4},
	    {1, 12, 4} /* MSI-X */,
	    {3, 0, 1},
	    {5, 0, 4},
	    {6, 0, 4},
	    {255, 0, 4},
	};
	uint8_t before[C_SIZE], after[C_SIZE];

	(void)state;
	start(0);
	read_common(before);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		unsigned data = window(bad[i].bar, bad[i].offset, bad[i].size);

		assert_int_equal(config_get(SLOT, data, 4), 0);
		config_set(SLOT, data, 4, 0);
		assert_int_equal(memory_in(msix_table() + 12, 4), 1);
		read_common(after);
		assert_memory_equal(after, before, C_SIZE);
	}
	assert_int_equal(kicks, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(it_is_found, setup),
	    cmocka_unit_test_setup(queues_have_places_to_notify, setup),
	    cmocka_unit_test_setup(registers_after_power_up, setup),
	    cmocka_unit_test_setup(a_full_bus_has_no_place, setup),
	    cmocka_unit_test_setup(features_are_offered_by_halves, setup),
	    cmocka_unit_test_setup(what_is_not_offered_is_refused, setup),
	    cmocka_unit_test_setup(features_are_settled_by_features_ok, setup),
	    cmocka_unit_test_setup(status_keeps_the_drivers_bits, setup),
	    cmocka_unit_test_setup(notified_by_port, setup),
	    cmocka_unit_test_setup(notified_by_memory, setup),
	    cmocka_unit_test_setup(rung_without_the_lock, setup),
	    cmocka_unit_test_setup(what_is_no_bell_is_not_rung, setup),
	    cmocka_unit_test_setup(bells_move_with_the_bar, setup),
	    cmocka_unit_test_setup(rung_before_it_runs, setup),
	    cmocka_unit_test_setup(a_reset_forgets_what_was_rung, setup),
	    cmocka_unit_test_setup(queues_that_do_not_run_are_not_notified, setup),
	    cmocka_unit_test_setup(early_notifications_are_kept, setup),
	    cmocka_unit_test_setup(driver_ok_starts_what_waits, setup),
	    cmocka_unit_test_setup(rings_are_as_negotiated, setup),
	    cmocka_unit_test_setup(a_packed_ring, setup),
	    cmocka_unit_test_setup(addresses_by_halves_or_at_once, setup),
	    cmocka_unit_test_setup(an_enabled_queue_stays_as_it_is, setup),
	    cmocka_unit_test_setup(a_queue_is_enabled_in_its_time, setup),
	    cmocka_unit_test_setup(intx_until_the_isr_is_read, setup),
	    cmocka_unit_test_setup(vectors_of_queues_and_configuration, setup),
	    cmocka_unit_test_setup(without_a_vector_no_message, setup),
	    cmocka_unit_test_setup(interrupts_that_nobody_wants, setup),
	    cmocka_unit_test_setup(interrupts_come_by_turns, setup),
	    cmocka_unit_test_setup(the_devices_configuration, setup),
	    cmocka_unit_test_setup(changes_are_told, setup),
	    cmocka_unit_test_setup(a_broken_queue_needs_a_reset, setup),
	    cmocka_unit_test_setup(a_break_is_a_message, setup),
	    cmocka_unit_test_setup(a_break_does_not_hide_what_was_used, setup),
	    cmocka_unit_test_setup(queues_that_can_not_be_enabled, setup),
	    cmocka_unit_test_setup(a_reset_at_any_moment, setup),
	    cmocka_unit_test_setup(a_reset_drops_pending_messages, setup),
	    cmocka_unit_test_setup(power_up_again, setup),
	    cmocka_unit_test_setup(a_queue_is_reset, setup),
	    cmocka_unit_test_setup(a_turn_ends_with_its_budget, setup),
	    cmocka_unit_test_setup(a_turn_ends_in_time, setup),
	    cmocka_unit_test_setup(a_device_may_rest, setup),
	    cmocka_unit_test_setup(who_is_not_there_is_not_poked, setup),
	    cmocka_unit_test_setup(configuration_is_written_inside_only, setup),
	    cmocka_unit_test_setup(looks_cost_as_well, setup),
	    cmocka_unit_test_setup(what_comes_late_is_seen, setup),
	    cmocka_unit_test_setup(queues_take_turns, setup),
	    cmocka_unit_test_setup(a_queue_that_is_poked_in_a_turn_is_in_it, setup),
	    cmocka_unit_test_setup(odd_widths_change_nothing, setup),
	    cmocka_unit_test_setup(registers_read_at_any_width, setup),
	    cmocka_unit_test_setup(registers_through_the_window, setup),
	    cmocka_unit_test_setup(a_request_through_the_window, setup),
	    cmocka_unit_test_setup(windows_onto_nothing, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
