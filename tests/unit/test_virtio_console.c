/*
 * Unit tests of the virtual consoles behind their PCI transport: what configuration and control messages say, bytes
 * both ways, waiting for buffers and for room, one port and two, drivers without MULTIPORT, and what no driver should
 * send. VIRTIO 1.2, 5.3.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/virtio_console.c hv/dev/virtio_stream.c hv/dev/virtio_pci.c hv/dev/virtqueue.c hv/guest_mem.c */
/* links: hv/dev/pci.c hv/dev/pci_host.c hv/bus.c hv/timer.c hv/lib/heap.c */
#include "tests/unit/virtio_fixture.h"

#include "hv/dev/virtio_console.h"

#define QUEUE_SIZE 8
#define BUDGET	   (64 * KIB)
#define NONE	   0x40000000ULL /* no memory */
#define BUFFER	   (DATA + 0x8000)

#define SIZE	    BIT(0)
#define MULTIPORT   BIT(1)
#define EMERG_WRITE BIT(2)

enum { RX0, TX0, CONTROL_RX, CONTROL_TX, RX1, TX1, QUEUES };
enum { DEVICE_READY, PORT_ADD, PORT_REMOVE, PORT_READY, CONSOLE_PORT, RESIZE, PORT_OPEN, PORT_NAME };

struct control {
	uint32_t id;
	uint16_t event, value;
};

static struct virtio_console con;

/* The outsides of the ports. */
static struct outside {
	size_t room; /* bytes; taken from by what is said */
	unsigned used;
	char said[0x20000];
} outside[VIRTIO_CONSOLE_MAX_PORTS];

static size_t room(void *ctx)
{
	return ((struct outside *)ctx)->room;
}

static void say(void *ctx, const uint8_t *bytes, size_t count)
{
	struct outside *o = ctx;

	assert_true(o->used + count < sizeof(o->said));
	memcpy(o->said + o->used, bytes, count);
	o->used += (unsigned)count;
	o->room -= count < o->room ? count : o->room;
}

static void plug_in(unsigned ports)
{
	struct virtio_console_setup s = {.ports = ports, .cols = 80, .rows = 24, .mem = &mem, .kick = kick};

	memset(outside, 0, sizeof(outside));
	for (unsigned i = 0; i < ports; i++) {
		outside[i].room = SIZE_MAX;
		s.end[i] = (struct virtio_console_end){&outside[i], room, say};
	}
	assert_int_equal(virtio_fixture_reset(), 0);
	assert_int_equal(virtio_console_init(&con, &host, &s), 0);
	find_registers();
	enable_device();
}

static void start(unsigned ports, uint64_t features)
{
	plug_in(ports);
	negotiate(features);
	for (unsigned n = 0; n < 2 * (ports + 1); n++)
		set_up_queue(n, QUEUE_SIZE, NO_VECTOR);
	add_status(DRIVER_OK);
}

static int setup(void **state)
{
	(void)state;
	start(2, SIZE | MULTIPORT | EMERG_WRITE | VIRTIO_F_RING_RESET);
	return 0;
}

static void run(void)
{
	work(&con.transport, BUDGET);
}

static struct virtqueue_part part(uint64_t gpa, uint32_t size)
{
	return (struct virtqueue_part){GPA(gpa), size};
}

/* Buffer number i of a queue that the device writes to. */
static uint64_t buffer(unsigned q, unsigned i)
{
	return DATA + q * 0x1000 + i * 0x100;
}

/* Offers `count` buffers of `size` bytes, in the order of their descriptors. */
static void offer_buffers(unsigned q, unsigned count, uint32_t size)
{
	for (unsigned i = 0; i < count; i++) {
		struct virtqueue_part p = part(buffer(q, drv[q].next), size);

		offer(q, &p, 0, 1);
	}
	notify(q);
}

/* The next buffer that was filled: where, and how far. NULL: none. */
static const char *filled(unsigned q, uint32_t *size)
{
	int head = take_used(q, size);

	return head < 0 ? NULL : at(buffer(q, (unsigned)head));
}

static void expect_typed(unsigned q, const char *what)
{
	uint32_t size;
	const char *bytes = filled(q, &size);

	assert_non_null(bytes);
	assert_int_equal(size, strlen(what));
	assert_memory_equal(bytes, what, size);
}

static void expect_nothing(unsigned q)
{
	uint32_t size;

	assert_null(filled(q, &size));
}

static void type_text(unsigned port, const char *what)
{
	while (*what)
		assert_true(virtio_console_type(&con, port, (uint8_t)*what++));
}

/* The driver says it in one part. */
static void say_bytes(unsigned q, const void *bytes, uint32_t size)
{
	struct virtqueue_part p = part(BUFFER, size);

	memcpy(at(BUFFER), bytes, size);
	offer(q, &p, 1, 0);
	notify(q);
}

static void send_control(uint32_t id, uint16_t event, uint16_t value)
{
	struct control c = {id, event, value};

	say_bytes(CONTROL_TX, &c, sizeof(c));
	run();
}

static void expect_control(uint32_t id, uint16_t event, uint16_t value, const void *more, uint32_t more_size)
{
	struct control c = {id, event, value};
	uint32_t size;
	const char *bytes = filled(CONTROL_RX, &size);

	assert_non_null(bytes);
	assert_int_equal(size, sizeof(c) + more_size);
	assert_memory_equal(bytes, &c, sizeof(c));
	if (more_size)
		assert_memory_equal(bytes + sizeof(c), more, more_size);
}

static void expect_said(unsigned port, const char *what)
{
	assert_int_equal(outside[port].used, strlen(what));
	assert_memory_equal(outside[port].said, what, outside[port].used);
	outside[port].used = 0;
}

/* What was given back of a queue that the device only reads. */
static unsigned given(unsigned q)
{
	unsigned n = 0;
	uint32_t written;

	for (; take_used(q, &written) >= 0; n++)
		assert_int_equal(written, 0);
	return n;
}

/* --- what it is --------------------------------------------------------------------------------------------------- */

static void identity_and_configuration(void **state)
{
	(void)state;
	assert_int_equal(config_get(SLOT, 0, 4), 0x10431AF4);
	assert_int_equal(offered() & 0xFFFFFF, SIZE | MULTIPORT | EMERG_WRITE);
	assert_int_equal(reg_get(common, C_NUM_QUEUES, 2), 6);
	assert_int_equal(config.length, 12);
	assert_int_equal(reg_get(config, 0, 2), 80);
	assert_int_equal(reg_get(config, 2, 2), 24);
	assert_int_equal(reg_get(config, 4, 4), 2);
	assert_int_equal(reg_get(config, 8, 4), 0);
	plug_in(1);
	assert_int_equal(reg_get(common, C_NUM_QUEUES, 2), 4);
	assert_int_equal(reg_get(config, 4, 4), 1);
}

/* Also before anything is negotiated, of any width, and whether there is room or not. */
static void emergency_write(void **state)
{
	(void)state;
	reset_device();
	outside[0].room = 0;
	reg_set(config, 8, 1, 'a');
	reg_set(config, 8, 4, 0x7F7F7F00 | 'b');
	reg_set(config, 9, 1, 'x');
	reg_set(config, 0, 4, 'x');
	reg_set(config, 4, 4, 'x');
	reg_set(config, 4, 8, 'x');
	reg_set(config, 12, 4, 'x');
	expect_said(0, "ab");
	expect_said(1, "");
	assert_int_equal(reg_get(config, 0, 2), 80);
}

/* --- control messages --------------------------------------------------------------------------------------------- */

static void ports_are_announced(void **state)
{
	static const uint16_t size[] = {80, 24};

	(void)state;
	offer_buffers(CONTROL_RX, 8, 64);
	run();
	expect_nothing(CONTROL_RX);
	send_control(0xFFFFFFFF, DEVICE_READY, 1);
	expect_control(0, PORT_ADD, 1, NULL, 0);
	expect_control(1, PORT_ADD, 1, NULL, 0);
	expect_nothing(CONTROL_RX);
	send_control(1, PORT_READY, 1);
	expect_control(1, CONSOLE_PORT, 1, NULL, 0);
	expect_control(1, PORT_NAME, 1, "hvc1", 4);
	expect_control(1, RESIZE, 1, size, 4);
	expect_control(1, PORT_OPEN, 1, NULL, 0);
	expect_nothing(CONTROL_RX);
	assert_int_equal(given(CONTROL_TX), 2);
}

static void no_size_no_resize(void **state)
{
	(void)state;
	start(1, MULTIPORT);
	offer_buffers(CONTROL_RX, 8, 64);
	send_control(0, PORT_READY, 1);
	expect_control(0, CONSOLE_PORT, 1, NULL, 0);
	expect_control(0, PORT_NAME, 1, "hvc0", 4);
	expect_control(0, PORT_OPEN, 1, NULL, 0);
	expect_nothing(CONTROL_RX);
}

/* However often a driver asks before it reads. */
static void messages_do_not_pile_up(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		send_control(0, DEVICE_READY, 1);
		send_control(i & 1, PORT_READY, 1);
		assert_int_equal(given(CONTROL_TX), 2);
	}
	offer_buffers(CONTROL_RX, 8, 64);
	run();
	expect_control(0, PORT_ADD, 1, NULL, 0);
	for (unsigned i = 0; i < 4; i++)
		expect_control(0, (const uint16_t[]){CONSOLE_PORT, PORT_NAME, RESIZE, PORT_OPEN}[i], 1,
			       i == 1 ? "hvc0" : "\x50\0\x18", i == 1 || i == 2 ? 4 : 0);
	expect_control(1, PORT_ADD, 1, NULL, 0);
	expect_control(1, CONSOLE_PORT, 1, NULL, 0);
	expect_control(1, PORT_NAME, 1, "hvc1", 4);
	expect_nothing(CONTROL_RX);
	offer_buffers(CONTROL_RX, 3, 64);
	run();
	expect_control(1, RESIZE, 1, "\x50\0\x18", 4);
	expect_control(1, PORT_OPEN, 1, NULL, 0);
	expect_nothing(CONTROL_RX);
}

static void odd_messages_change_nothing(void **state)
{
	(void)state;
	offer_buffers(CONTROL_RX, 8, 64);
	send_control(0, DEVICE_READY, 0);
	send_control(0, PORT_READY, 0);
	send_control(2, PORT_READY, 1);
	send_control(0xFFFFFFFF, PORT_READY, 1);
	send_control(0, PORT_OPEN, 1);
	send_control(0, PORT_ADD, 1);
	send_control(0, 0xFFFF, 1);
	expect_nothing(CONTROL_RX);
	assert_int_equal(given(CONTROL_TX), 7);
	assert_false(status() & NEEDS_RESET);
}

/* A message in parts as odd as a driver may make them; what stands behind it means nothing. */
static void message_in_pieces(void **state)
{
	struct virtqueue_part p[] = {part(BUFFER, 1), part(BUFFER + 1, 4), part(BUFFER + 5, 27)};

	(void)state;
	*(struct control *)at(BUFFER) = (struct control){0, DEVICE_READY, 1};
	offer(CONTROL_TX, p, 3, 0);
	notify(CONTROL_TX);
	p[0] = part(buffer(CONTROL_RX, 0), 3);
	p[1] = part(buffer(CONTROL_RX, 0) + 3, 5);
	offer(CONTROL_RX, p, 0, 2);
	run();
	expect_control(0, PORT_ADD, 1, NULL, 0);
}

static void a_new_driver_hears_nothing_old(void **state)
{
	(void)state;
	send_control(0, DEVICE_READY, 1);
	negotiate(MULTIPORT);
	for (unsigned n = 0; n < QUEUES; n++)
		set_up_queue(n, QUEUE_SIZE, NO_VECTOR);
	add_status(DRIVER_OK);
	offer_buffers(CONTROL_RX, 4, 64);
	run();
	expect_nothing(CONTROL_RX);
}

/* --- what is typed ------------------------------------------------------------------------------------------------ */

static void typed_bytes_arrive(void **state)
{
	(void)state;
	offer_buffers(RX0, 2, 16);
	offer_buffers(RX1, 2, 2);
	run();
	type_text(0, "ls\r");
	run();
	expect_typed(RX0, "ls\r");
	type_text(1, "abc");
	run();
	expect_typed(RX1, "ab");
	expect_typed(RX1, "c");
	expect_nothing(RX0);
	expect_nothing(RX1);
}

/* Kept until there is a buffer, bounded, and in order around the end of the ring. */
static void typed_bytes_wait(void **state)
{
	char all[VIRTIO_CONSOLE_INPUT + 1] = "";

	(void)state;
	type_text(0, "0123456789");
	offer_buffers(RX0, 1, 10);
	run();
	expect_typed(RX0, "0123456789");
	for (unsigned i = 0; i < VIRTIO_CONSOLE_INPUT; i++)
		all[i] = (char)('!' + i);
	type_text(0, all);
	assert_false(virtio_console_type(&con, 0, 'x'));
	run();
	expect_nothing(RX0);
	offer_buffers(RX0, 1, 128);
	run();
	expect_typed(RX0, all);
	type_text(0, "y");
}

/* While nothing is typed the driver's buffers are no news. */
static void buffers_alone_are_no_work(void **state)
{
	(void)state;
	offer_buffers(RX0, 4, 16);
	assert_false(virtio_pci_work(&con.transport, BUDGET, NEVER));
	assert_int_equal(con.transport.queue[RX0].in_flight, 0);
	assert_int_equal(*(uint16_t *)at(used_area(RX0)), 1); /* no notifications */
	kicks = 0;
	type_text(0, "a");
	assert_int_equal(kicks, 1);
	run();
	expect_typed(RX0, "a");
	type_text(0, "bcde");
	run();
	expect_typed(RX0, "bcde");
}

static void a_new_driver_gets_nothing_old(void **state)
{
	(void)state;
	type_text(0, "old");
	queue_register(RX0, C_QUEUE_RESET, 2, 1);
	set_up_queue(RX0, QUEUE_SIZE, NO_VECTOR);
	offer_buffers(RX0, 1, 16);
	run();
	expect_nothing(RX0);
	type_text(0, "new");
	run();
	expect_typed(RX0, "new");
}

/* --- what the driver says ----------------------------------------------------------------------------------------- */

static void output_in_pieces(void **state)
{
	struct virtqueue_part p[] = {part(BUFFER, 1), part(BUFFER + 1, 6), part(BUFFER + 7, 5)};

	(void)state;
	memcpy(at(BUFFER), "hello, world", 12);
	offer(TX0, p, 3, 0);
	notify(TX0);
	run();
	expect_said(0, "hello, world");
	assert_int_equal(given(TX0), 1);
	say_bytes(TX1, "other", 5);
	run();
	expect_said(0, "");
	expect_said(1, "other");
	assert_int_equal(given(TX1), 1);
}

/* The chain is the driver's again when its last byte has gone; meanwhile nothing is to be done. */
static void output_waits_for_room(void **state)
{
	(void)state;
	outside[0].room = 5;
	say_bytes(TX0, "0123456789ab", 12);
	run();
	expect_said(0, "01234");
	assert_int_equal(given(TX0), 0);
	assert_false(con.transport.kicked);
	say_bytes(TX1, "other", 5); /* waits for nobody */
	run();
	expect_said(1, "other");
	outside[0].room = 3;
	kicks = 0;
	virtio_console_go_on(&con, 0);
	assert_int_equal(kicks, 1);
	run();
	expect_said(0, "567");
	assert_int_equal(given(TX0), 0);
	outside[0].room = 100;
	virtio_console_go_on(&con, 0);
	run();
	expect_said(0, "89ab");
	assert_int_equal(given(TX0), 1);
}

static void waiting_output_is_looked_up_anew(void **state)
{
	(void)state;
	outside[0].room = 2;
	say_bytes(TX0, "0123", 4);
	run();
	expect_said(0, "01");
	(void)move_memory();
	outside[0].room = 100;
	virtio_console_go_on(&con, 0);
	run();
	expect_said(0, "23");
}

static void waiting_output_is_void_after_a_reset(void **state)
{
	(void)state;
	outside[0].room = 2;
	say_bytes(TX0, "0123", 4);
	run();
	expect_said(0, "01");
	queue_register(TX0, C_QUEUE_RESET, 2, 1);
	outside[0].room = 100;
	virtio_console_go_on(&con, 0); /* of a queue that is not there */
	run();
	expect_said(0, "");
	set_up_queue(TX0, QUEUE_SIZE, NO_VECTOR);
	say_bytes(TX0, "new", 3);
	run();
	expect_said(0, "new");
	assert_int_equal(given(TX0), 1);
}

/* A long one takes turns with others: no turn moves much more than its budget, and all of it arrives. */
static void long_output_takes_turns(void **state)
{
	struct virtqueue_part p[] = {part(DATA, 0x10000), part(DATA, 0x8000)};

	(void)state;
	for (unsigned i = 0; i < 0x10000; i++)
		*(uint8_t *)at(DATA + i) = (uint8_t)(i * 7 + i / 256);
	offer(TX0, p, 2, 0);
	notify(TX0);
	for (unsigned before = 0; virtio_pci_work(&con.transport, 4096, NEVER); before = outside[0].used)
		assert_in_range(outside[0].used - before, 1, 4096 + 16384);
	assert_int_equal(outside[0].used, 0x18000);
	assert_memory_equal(outside[0].said, at(DATA), 0x10000);
	assert_memory_equal(outside[0].said + 0x10000, at(DATA), 0x8000);
	assert_int_equal(given(TX0), 1);
}

/* --- other drivers ------------------------------------------------------------------------------------------------ */

/* One port, and the control queues are none. */
static void without_multiport(void **state)
{
	(void)state;
	start(2, 0);
	offer_buffers(CONTROL_RX, 1, 64);
	offer_buffers(RX0, 1, 64);
	send_control(0, DEVICE_READY, 1);
	say_bytes(TX1, "x", 1);
	run();
	expect_said(1, "");
	expect_nothing(CONTROL_RX);
	assert_int_equal(given(CONTROL_TX), 0);
	say_bytes(TX0, "hello", 5);
	type_text(0, "a");
	run();
	expect_said(0, "hello");
	expect_typed(RX0, "a");
}

/* --- what no driver should send ----------------------------------------------------------------------------------- */

static void expect_broken(unsigned q)
{
	notify(q);
	run();
	assert_true(status() & NEEDS_RESET);
	assert_non_null(con.transport.queue[q].broken);
	type_text(0, "x"); /* harmless */
	virtio_console_go_on(&con, 0);
	run();
	setup(NULL);
}

static void wrong_direction_breaks(void **state)
{
	struct virtqueue_part p[] = {part(BUFFER, 16), part(BUFFER + 16, 16)};

	(void)state;
	offer(TX0, p, 1, 1);
	expect_broken(TX0);
	offer(CONTROL_TX, p, 1, 1);
	expect_broken(CONTROL_TX);
	type_text(0, "a");
	offer(RX0, p, 1, 1);
	expect_broken(RX0);
	send_control(0, DEVICE_READY, 1);
	offer(CONTROL_RX, p, 1, 1);
	expect_broken(CONTROL_RX);
}

static void short_control_breaks(void **state)
{
	struct virtqueue_part p = part(BUFFER, 7), none = part(NONE, 64);

	(void)state;
	offer(CONTROL_TX, &p, 1, 0);
	expect_broken(CONTROL_TX);
	offer(CONTROL_TX, &none, 1, 0);
	expect_broken(CONTROL_TX);
	send_control(0, DEVICE_READY, 1);
	offer(CONTROL_RX, &p, 0, 1);
	expect_broken(CONTROL_RX);
	send_control(0, DEVICE_READY, 1);
	offer(CONTROL_RX, &none, 0, 1);
	expect_broken(CONTROL_RX);
}

/* Bytes lose themselves where there is no memory; those typed are kept for a buffer that has some. */
static void no_memory(void **state)
{
	struct virtqueue_part p[] = {part(BUFFER, 3), part(NONE, 64)};

	(void)state;
	memcpy(at(BUFFER), "abc", 3);
	offer(TX0, p, 2, 0);
	notify(TX0);
	type_text(0, "typed");
	offer(RX0, p + 1, 0, 1);
	notify(RX0);
	run();
	expect_said(0, "abc");
	assert_int_equal(given(TX0), 1);
	assert_int_equal(given(RX0), 1);
	offer_buffers(RX0, 1, 16);
	run();
	expect_typed(RX0, "typed");
	assert_false(status() & NEEDS_RESET);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(identity_and_configuration, setup),
	    cmocka_unit_test_setup(emergency_write, setup),
	    cmocka_unit_test_setup(ports_are_announced, setup),
	    cmocka_unit_test_setup(no_size_no_resize, setup),
	    cmocka_unit_test_setup(messages_do_not_pile_up, setup),
	    cmocka_unit_test_setup(odd_messages_change_nothing, setup),
	    cmocka_unit_test_setup(message_in_pieces, setup),
	    cmocka_unit_test_setup(a_new_driver_hears_nothing_old, setup),
	    cmocka_unit_test_setup(typed_bytes_arrive, setup),
	    cmocka_unit_test_setup(typed_bytes_wait, setup),
	    cmocka_unit_test_setup(buffers_alone_are_no_work, setup),
	    cmocka_unit_test_setup(a_new_driver_gets_nothing_old, setup),
	    cmocka_unit_test_setup(output_in_pieces, setup),
	    cmocka_unit_test_setup(output_waits_for_room, setup),
	    cmocka_unit_test_setup(waiting_output_is_looked_up_anew, setup),
	    cmocka_unit_test_setup(waiting_output_is_void_after_a_reset, setup),
	    cmocka_unit_test_setup(long_output_takes_turns, setup),
	    cmocka_unit_test_setup(without_multiport, setup),
	    cmocka_unit_test_setup(wrong_direction_breaks, setup),
	    cmocka_unit_test_setup(short_control_breaks, setup),
	    cmocka_unit_test_setup(no_memory, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
