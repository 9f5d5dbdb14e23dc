/*
 * What is behind a VM's network cards: a port each at the switch of a network (hv/network.h), from the VM's creation to
 * its destruction. The sender's turn carries a frame all the way into the receivers' memory.
 *
 * Locks: a sender holds its own VM's, and tries the receiver's while it looks at the switch (net_grab); two VMs that
 * send to each other can't wait for each other. A receiver is touched while it runs only, as by turns of its own: once
 * vm_io_stop() has had its lock nobody writes to its memory, and once it is detached nobody takes its lock any more.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/capture.h"
#include "hv/clock.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"
#include "hv/network.h"
#include "hv/pcpu.h"
#include "hv/vm_device.h"
#include "hv/vm_net.h"

#define GRAB_TRIES 16 /* some hundred ticks */

struct net_device {
	struct vm_device device;
	struct virtio_net net;
	struct network *network;
	int port;	    /* of its switch; negative: none */
	struct timer again; /* armed: a pair waits to go on */
	uint32_t waiting;   /* bit n: pair n is to be resumed then */
	struct vswitch_transit transit[VIRTIO_NET_MAX_PAIRS];
};

/* --- a frame to others -------------------------------------------------------------------------------------------- */

static struct vm *vm_of(void *owner)
{
	struct net_device *d = owner;

	return d->device.vm;
}

static bool net_grab(void *from, void *to)
{
	struct vm *vm = vm_of(to);

	if (vm_of(from) == vm)
		return true;
	for (unsigned i = 0; i < GRAB_TRIES; i++) {
		if (spin_trylock(&vm->lock))
			return true;
		__builtin_ia32_pause();
	}
	return false;
}

static void net_release(void *from, void *to)
{
	if (vm_of(from) != vm_of(to))
		spin_unlock(&vm_of(to)->lock);
}

static enum net_verdict net_deliver(void *from, void *to, struct net_packet *packet, bool tagged, uint16_t tci)
{
	struct net_device *d = to;

	(void)from;
	if (!vm_runs(d->device.vm))
		return NET_REFUSED;
	vm_open_memory(d->device.vm);
	return virtio_net_receive(&d->net, packet, tagged, tci);
}

static const struct vswitch_ops switch_ops = {.grab = net_grab, .release = net_release, .deliver = net_deliver};

/* One timer for all pairs: a pair that is resumed too early answers when it wants to be asked again. */
static void resume_later(struct net_device *d, unsigned pair, uint64_t again)
{
	uint64_t at = d->again.deadline < again ? d->again.deadline : again;

	d->waiting |= 1u << pair;
	timer_set_here(&d->again, at);
}

static void on_again(struct timer *timer)
{
	struct net_device *d = CONTAINER_OF(timer, struct net_device, again);
	uint32_t waiting = d->waiting;

	d->waiting = 0;
	for (; waiting; waiting &= waiting - 1)
		virtio_net_resume(&d->net, (unsigned)__builtin_ctz(waiting));
}

static enum net_sent net_send(void *backend, unsigned pair, struct net_packet *packet, uint64_t until)
{
	struct net_device *d = backend;
	struct vswitch_transit *t = &d->transit[pair];
	bool recorded = !packet->fresh && t->routed;
	enum net_sent sent = vswitch_forward(&d->network->vswitch, (unsigned)d->port, packet, until, t);

	if (t->capture && t->routed && !recorded)
		capture_frame(packet);
	if (sent == NET_LATER)
		resume_later(d, pair, t->again);
	return sent;
}

/* --- creation and end --------------------------------------------------------------------------------------------- */

/*
 * In this order: the switch grabs it for no further frame; who has it grabbed lets go of its lock; who looks at its
 * timer or that lock has passed its loop.
 */
static void net_destroy(struct vm_device *device)
{
	struct net_device *d = CONTAINER_OF(device, struct net_device, device);

	if (d->port >= 0)
		vswitch_detach(&d->network->vswitch, (unsigned)d->port);
	spin_lock(&device->vm->lock);
	timer_cancel(&d->again);
	spin_unlock(&device->vm->lock);
	pcpu_synchronize();
	if (d->network)
		network_leave(d->network);
}

/* From here on frames may come. */
static int join_network(struct net_device *d, const struct net_config *c, char *why, size_t size)
{
	struct vswitch_port_config port = {
	    .vlan = c->vlan,
	    .trunk = c->trunk,
	    .isolated = c->isolated,
	    .spoof = c->spoof,
	    .rate = c->rate,
	    .owner = d,
	};

	memcpy(port.mac, c->mac, NET_MAC_SIZE);
	d->network = network_join(c->network, &switch_ops);
	if (!d->network) {
		snprintf(why, size, "no memory for network %s", c->network);
		return -E_NOMEM;
	}
	d->port = vswitch_attach(&d->network->vswitch, &port);
	if (d->port == -E_EXIST)
		snprintf(why, size, "net: another card on network %s has the address %02x:%02x:%02x:%02x:%02x:%02x",
			 c->network, c->mac[0], c->mac[1], c->mac[2], c->mac[3], c->mac[4], c->mac[5]);
	else if (d->port < 0)
		snprintf(why, size, "net: network %s has %d cards, expected at most so many", c->network,
			 VSWITCH_PORTS);
	return d->port < 0 ? d->port : 0;
}

static struct net_device *create_card(struct vm *vm, const struct net_config *c)
{
	struct net_device *d = vm_device_create(vm, sizeof(*d));
	struct virtio_net_setup setup = {
	    .pairs = vm->config->vcpus < VIRTIO_NET_MAX_PAIRS ? vm->config->vcpus : VIRTIO_NET_MAX_PAIRS,
	    .spoof = c->spoof,
	    .link = true,
	    .send = net_send,
	    .backend = d,
	    .mem = &vm->mem,
	    .kick = vm_device_kick,
	    .ctx = d,
	};

	if (!d)
		return NULL;
	d->device.transport = &d->net.transport;
	d->device.destroy = net_destroy;
	d->port = -1;
	timer_init(&d->again, &pcpu_at(0)->timers, &vm->lock, on_again);
	memcpy(setup.mac, c->mac, NET_MAC_SIZE);
	return virtio_net_init(&d->net, &vm->pc.pci, &setup) ? NULL : d;
}

int vm_io_net_create(struct vm *vm, char *why, size_t size)
{
	for (unsigned i = 0; i < vm->config->net_count; i++) {
		struct net_device *d = create_card(vm, &vm->config->net[i]);

		if (!d) {
			snprintf(why, size, "no memory for net %u", i);
			return -E_NOMEM;
		}
		if (join_network(d, &vm->config->net[i], why, size))
			return -E_INVAL;
	}
	return 0;
}

/* --- for who owns the machine ------------------------------------------------------------------------------------- */

static struct net_device *find_card(struct vm *vm, unsigned n)
{
	for (unsigned i = 0; i < vm->device_count; i++)
		if (vm->device[i]->destroy == net_destroy && !n--)
			return CONTAINER_OF(vm->device[i], struct net_device, device);
	return NULL;
}

bool vm_net_read(struct vm *vm, unsigned n, struct vm_net_status *status)
{
	struct net_device *d = find_card(vm, n);

	if (!d)
		return false;
	spin_lock(&vm->lock);
	status->link = d->net.link;
	memcpy(status->mac, d->net.mac, NET_MAC_SIZE);
	status->ticks = d->device.ticks;
	status->card = d->net.counts;
	spin_unlock(&vm->lock);
	return vswitch_read(&d->network->vswitch, (unsigned)d->port, &status->port);
}

bool vm_net_set_link(struct vm *vm, unsigned n, bool up)
{
	struct net_device *d = find_card(vm, n);

	if (!d)
		return false;
	spin_lock(&vm->lock);
	virtio_net_set_link(&d->net, up);
	spin_unlock(&vm->lock);
	return true;
}

bool vm_net_set_capture(struct vm *vm, unsigned n, bool on)
{
	struct net_device *d = find_card(vm, n);

	if (d)
		vswitch_set_capture(&d->network->vswitch, (unsigned)d->port, on);
	return d;
}
