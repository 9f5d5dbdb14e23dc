/*
 * Network cards of VMs on their switches: who holds which lock while a frame is handed over, what happens when it is
 * taken, when the receiver has ended, and in which order a card takes leave. The cards are simulated, the switch is
 * not.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/vswitch.c hv/network.c hv/capture.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/entropy.h"
#include "arch/x86/memory.h"
#include "hv/phys.h"
#include "hv/vm_io_net.c"
#include "tests/fake_time.h"
#include "tests/fake_window.h"

#define VMS 3

static struct cpu cpus[2];
static struct pcpu pcpus[2];
static struct vm vms[VMS];
static struct vm_config config[VMS];
static unsigned here, synchronized;
static int pages; /* given out */
static char why[CONFIG_ERROR_MAX];

/* What the simulated cards saw. */
static struct {
	struct virtio_net *to;
	unsigned frames, resumed;
	bool tagged;
	uint16_t tci;
	struct vm *held; /* whose lock is to be held meanwhile */
	enum net_verdict verdict;
} seen;

struct cpu *this_cpu(void)
{
	return &cpus[here];
}
struct pcpu *pcpu_at(unsigned index)
{
	return &pcpus[index];
}
hpa_t phys_alloc(uint64_t count, uint64_t align_pages)
{
	(void)align_pages;
	pages += (int)count;
	return virt_to_phys(aligned_alloc(PAGE_SIZE, count * PAGE_SIZE));
}
void phys_free(hpa_t hpa, uint64_t count)
{
	pages -= (int)count;
	free(phys_to_virt(hpa));
}
int entropy_read(uint64_t *value)
{
	(void)value;
	return -E_NOTSUP;
}
void vm_device_kick(void *device)
{
	(void)device;
}

static bool is_held(struct vm *vm)
{
	return atomic_load(&vm->lock.next) != atomic_load(&vm->lock.serving);
}

void *vm_device_create(struct vm *vm, size_t size)
{
	struct vm_device *d = calloc(1, size);

	d->vm = vm;
	vm->device[vm->device_count++] = d;
	return d;
}
int virtio_net_init(struct virtio_net *net, struct pci_host *host, const struct virtio_net_setup *s)
{
	(void)host;
	net->send = s->send;
	net->backend = s->backend;
	net->pairs = s->pairs;
	net->link = s->link;
	memcpy(net->mac, s->mac, NET_MAC_SIZE);
	return 0;
}
void virtio_net_set_link(struct virtio_net *net, bool up)
{
	net->link = up;
}
void virtio_net_resume(struct virtio_net *net, unsigned pair)
{
	(void)net;
	seen.resumed |= 1u << pair;
}
enum net_verdict virtio_net_receive(struct virtio_net *to, struct net_packet *packet, bool tagged, uint16_t tci)
{
	(void)packet;
	seen.to = to;
	seen.frames++;
	seen.tagged = tagged;
	seen.tci = tci;
	assert_true(!seen.held || is_held(seen.held));
	return seen.verdict;
}

static struct net_device *card(unsigned vm, unsigned n)
{
	return find_card(&vms[vm], n);
}

static struct net_device *leaving;

/* Once nobody can find it any more, and no lock is held. */
void pcpu_synchronize(void)
{
	struct vswitch_counts counts;

	if (leaving) {
		assert_false(timer_is_armed(&leaving->again));
		assert_false(vswitch_read(&leaving->network->vswitch, (unsigned)leaving->port, &counts));
	}
	synchronized++;
	for (unsigned i = 0; i < VMS; i++)
		assert_false(is_held(&vms[i]));
}

/* As hv/vm_io.c does. */
static void destroy(unsigned i)
{
	while (vms[i].device_count) {
		struct vm_device *d = vms[i].device[--vms[i].device_count];

		d->destroy(d);
		free(d);
	}
}

static int create(unsigned i)
{
	return vm_io_net_create(&vms[i], why, sizeof(why));
}

/* VMs 0 and 1 are on "lan", VM 2 is on it twice. */
static int setup(void **state)
{
	(void)state;
	memset(vms, 0, sizeof(vms));
	memset(pcpus, 0, sizeof(pcpus));
	memset(config, 0, sizeof(config));
	memset(&seen, 0, sizeof(seen));
	cpus[1].index = 1;
	here = synchronized = fake_timer_count = 0;
	for (unsigned i = 0; i < VMS; i++) {
		vms[i].config = &config[i];
		config[i].vcpus = 8;
		config[i].net_count = i == 2 ? 2 : 1;
		strcpy(config[i].net[0].network, "lan");
		strcpy(config[i].net[1].network, "lan");
		config_number_nets(&config[i], i + 1);
		assert_int_equal(create(i), 0);
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	capture_end();
	for (unsigned i = 0; i < VMS; i++)
		destroy(i);
	assert_int_equal(pages, 0);
	return 0;
}

/* The number alone, as hv/config_net.c gives it. */
void config_number_nets(struct vm_config *vm, unsigned number)
{
	for (unsigned i = 0; i < vm->net_count; i++)
		memcpy(vm->net[i].mac, (uint8_t[]){0x52, 0x56, 0, 0, (uint8_t)number, (uint8_t)i}, NET_MAC_SIZE);
}

static struct net_packet packet;

static struct net_packet *frame(struct net_device *from, const uint8_t *to)
{
	memset(&packet, 0, sizeof(packet));
	memcpy(packet.head, to, NET_MAC_SIZE);
	memcpy(packet.head + NET_MAC_SIZE, from->net.mac, NET_MAC_SIZE);
	packet.head_size = packet.size = 60;
	packet.fresh = true;
	return &packet;
}

/* A turn of the sender's: its lock is held. */
static enum net_sent send(struct net_device *from, struct net_packet *p)
{
	enum net_sent sent;

	spin_lock(&from->device.vm->lock);
	sent = from->net.send(from->net.backend, 1, p, fake_now + 1000);
	p->fresh = false;
	spin_unlock(&from->device.vm->lock);
	return sent;
}

static void the_receivers_lock_is_held(void **state)
{
	(void)state;
	seen.held = &vms[1];
	assert_int_equal(send(card(0, 0), frame(card(0, 0), card(1, 0)->net.mac)), NET_SENT);
	assert_ptr_equal(seen.to, &card(1, 0)->net);
	assert_int_equal(seen.frames, 1);
	assert_false(is_held(&vms[1]));
	assert_int_equal(card(0, 0)->net.pairs, VIRTIO_NET_MAX_PAIRS);
}

/* Its lock is held already, and once only; it is let go by who took it. */
static void two_cards_of_one_vm(void **state)
{
	(void)state;
	seen.held = &vms[2];
	assert_int_equal(send(card(2, 0), frame(card(2, 0), card(2, 1)->net.mac)), NET_SENT);
	assert_ptr_equal(seen.to, &card(2, 1)->net);
	assert_int_equal(atomic_load(&vms[2].lock.next), 1);
	assert_int_equal(atomic_load(&vms[2].lock.serving), 1);
}

/* The pair waits; nobody spins. */
static void a_lock_that_is_taken_is_tried_again(void **state)
{
	struct net_device *a = card(0, 0);

	(void)state;
	here = 1;
	spin_lock(&vms[1].lock);
	assert_int_equal(send(a, frame(a, card(1, 0)->net.mac)), NET_LATER);
	assert_int_equal(seen.frames, 0);
	assert_true(timer_is_armed(&a->again));
	assert_true(a->again.deadline <= fake_now + FAKE_HZ / 1000);
	spin_unlock(&vms[1].lock);
	fake_time_advance(FAKE_HZ / 1000);
	assert_int_equal(seen.resumed, 1u << 1);
	assert_int_equal(send(a, &packet), NET_SENT);
	assert_int_equal(seen.frames, 1);
	assert_false(timer_is_armed(&a->again));
}

/* One timer: the pair that is due first decides, and both are asked again. */
static void pairs_share_a_timer(void **state)
{
	struct net_device *a = card(0, 0);

	(void)state;
	resume_later(a, 0, fake_now + 500);
	resume_later(a, 3, fake_now + 200);
	resume_later(a, 2, fake_now + 900);
	assert_int_equal(a->again.deadline, fake_now + 200);
	fake_time_advance(200);
	assert_int_equal(seen.resumed, 1u << 0 | 1u << 2 | 1u << 3);
	assert_int_equal(a->waiting, 0);
}

/* Its memory may be taken away as soon as vm_io_stop() has had the lock. */
static void who_has_ended_receives_nothing(void **state)
{
	struct vm_net_status status;

	(void)state;
	atomic_store(&vms[1].end, VM_RESTARTS);
	assert_int_equal(send(card(0, 0), frame(card(0, 0), card(1, 0)->net.mac)), NET_SENT);
	assert_int_equal(seen.frames, 0);
	assert_true(vm_net_read(&vms[1], 0, &status));
	assert_int_equal(status.port.drops[VSWITCH_REFUSED], 1);
	atomic_store(&vms[1].end, VM_RUNS);
	assert_int_equal(send(card(0, 0), frame(card(0, 0), card(1, 0)->net.mac)), NET_SENT);
	assert_int_equal(seen.frames, 1);
}

static void a_card_takes_leave(void **state)
{
	struct net_device *a = card(0, 0), *b = card(1, 0);
	uint8_t mac[NET_MAC_SIZE];

	(void)state;
	memcpy(mac, b->net.mac, NET_MAC_SIZE);
	resume_later(b, 0, fake_now + 100);
	leaving = b;
	destroy(1);
	leaving = NULL;
	assert_int_equal(synchronized, 1);
	fake_timer_count = 0; /* it has gone with its card */
	assert_int_equal(send(a, frame(a, mac)), NET_SENT);
	assert_int_equal(seen.frames, 2); /* nobody's address now: flooded to the others, two cards of one VM */
	assert_int_equal(create(1), 0);
	assert_int_equal(send(a, frame(a, mac)), NET_SENT);
	assert_int_equal(seen.frames, 3);
	assert_ptr_equal(seen.to, &card(1, 0)->net);
}

static void an_address_is_one_cards(void **state)
{
	(void)state;
	destroy(1);
	memcpy(config[1].net[0].mac, config[0].net[0].mac, NET_MAC_SIZE);
	assert_int_equal(create(1), -E_INVAL);
	assert_string_equal(why, "net: another card on network lan has the address 52:56:00:00:01:00");
	destroy(1); /* as who gives it up does */
	strcpy(config[1].net[0].network, "other");
	assert_int_equal(create(1), 0);
	assert_ptr_not_equal(card(1, 0)->network, card(0, 0)->network);
	assert_int_equal(send(card(0, 0), frame(card(0, 0), (const uint8_t *)"\xff\xff\xff\xff\xff\xff")), NET_SENT);
	assert_int_equal(seen.frames, 2);
}

static void what_the_configuration_says(void **state)
{
	struct net_config *c = &config[1].net[0];
	const struct vswitch_port_config *port;

	(void)state;
	destroy(1);
	c->vlan = 7;
	c->trunk = c->isolated = c->spoof = true;
	c->rate = 5000;
	assert_int_equal(create(1), 0);
	port = &card(1, 0)->network->vswitch.port[card(1, 0)->port].config;
	assert_true(port->vlan == 7 && port->trunk && port->isolated && port->spoof && port->rate == 5000);
	assert_memory_equal(port->mac, c->mac, NET_MAC_SIZE);
}

static void a_capture_sees_each_frame_once(void **state)
{
	struct net_device *a = card(0, 0);
	struct captured_frame f;

	(void)state;
	assert_true(vm_net_set_capture(&vms[1], 0, true));
	assert_int_equal(send(a, frame(a, card(1, 0)->net.mac)), NET_SENT); /* no ring: nowhere to put it */
	assert_int_equal(capture_begin(), 0);
	assert_false(capture_next(&f));
	spin_lock(&vms[1].lock);
	assert_int_equal(send(a, frame(a, card(1, 0)->net.mac)), NET_LATER);
	spin_unlock(&vms[1].lock);
	assert_int_equal(send(a, &packet), NET_SENT);
	assert_int_equal(send(a, frame(a, card(2, 0)->net.mac)), NET_SENT); /* another's */
	assert_true(capture_next(&f));
	assert_int_equal(f.size, 60);
	assert_int_equal(f.kept, 60);
	assert_memory_equal(f.bytes, card(1, 0)->net.mac, NET_MAC_SIZE);
	assert_false(capture_next(&f));
	assert_true(vm_net_set_capture(&vms[1], 0, false));
	assert_int_equal(send(a, frame(a, card(1, 0)->net.mac)), NET_SENT);
	assert_false(capture_next(&f));
}

static void a_full_ring_loses_the_new(void **state)
{
	struct net_device *a = card(0, 0);
	struct captured_frame f;

	(void)state;
	assert_int_equal(capture_begin(), 0);
	assert_true(vm_net_set_capture(&vms[0], 0, true));
	for (unsigned i = 0; i < CAPTURE_FRAMES + 3; i++, fake_now++)
		assert_int_equal(send(a, frame(a, card(1, 0)->net.mac)), NET_SENT);
	assert_int_equal(capture_lost(), 3);
	for (unsigned i = 0; i < CAPTURE_FRAMES; i++) {
		assert_true(capture_next(&f));
		assert_int_equal(f.ticks, fake_now - CAPTURE_FRAMES - 3 + i);
	}
	assert_false(capture_next(&f));
	assert_int_equal(send(a, frame(a, card(1, 0)->net.mac)), NET_SENT);
	assert_true(capture_next(&f));
}

static void cards_by_number(void **state)
{
	struct vm_net_status status;

	(void)state;
	assert_true(vm_net_set_link(&vms[2], 1, false));
	assert_true(vm_net_read(&vms[2], 0, &status) && status.link);
	assert_true(vm_net_read(&vms[2], 1, &status) && !status.link);
	assert_memory_equal(status.mac, "\x52\x56\0\0\x03\x01", NET_MAC_SIZE);
	assert_false(vm_net_read(&vms[2], 2, &status));
	assert_false(vm_net_set_link(&vms[0], 1, true));
	assert_false(vm_net_set_capture(&vms[0], 1, true));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(the_receivers_lock_is_held, setup, teardown),
	    cmocka_unit_test_setup_teardown(two_cards_of_one_vm, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_lock_that_is_taken_is_tried_again, setup, teardown),
	    cmocka_unit_test_setup_teardown(pairs_share_a_timer, setup, teardown),
	    cmocka_unit_test_setup_teardown(who_has_ended_receives_nothing, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_card_takes_leave, setup, teardown),
	    cmocka_unit_test_setup_teardown(an_address_is_one_cards, setup, teardown),
	    cmocka_unit_test_setup_teardown(what_the_configuration_says, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_capture_sees_each_frame_once, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_full_ring_loses_the_new, setup, teardown),
	    cmocka_unit_test_setup_teardown(cards_by_number, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
