/*
 * What is behind a VM's balloon: its memory. Pages that the guest gives are hidden from it and put into a batch. They
 * are free when nobody can reach them any more: every vCPU that runs has forgotten its translations (REQUEST_RENEW),
 * and every CPU has let go of what it had looked up (pcpu_wait). Until then the device takes nothing more and the
 * driver does not get its buffer back, upon which it may use the pages again; its work asks again in every turn that it
 * gets, and waits in none.
 *
 * Memory that the guest's queues lie in is not taken: devices know where it is. Nor can be what nobody has: a guest
 * that wants pages back waits until there are some.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/clock.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"
#include "hv/pcpu.h"
#include "hv/vm_balloon.h"
#include "hv/vm_device.h"
#include "hv/vm_memory.h"

#define RETRY_NS 10000000 /* between looks whether there is memory for a guest that wants it */

struct balloon_device {
	struct vm_device device;
	struct virtio_balloon balloon;
	struct guest_ram_batch batch;
	bool settles;	     /* who might reach what was given is waited for */
	uint64_t generation; /* of the space, when that began */
	struct pcpu_wait wait;
	struct timer retry; /* armed: the machine had no memory for what the guest wants back */
};

/* --- what the device asks for ------------------------------------------------------------------------------------- */

/* A block's pages may all lie apart, or beside pages that are not taken. */
static bool has_room(void *ctx)
{
	const struct balloon_device *d = ctx;

	return d->batch.count + 2 * VIRTIO_BALLOON_BLOCK <= GUEST_RAM_RANGES;
}

/* A vCPU with an old translation would write where nobody reads any more. */
static bool is_settled(void *ctx)
{
	const struct balloon_device *d = ctx;

	return guest_ram_is_settled(&d->device.vm->ram, &d->batch);
}

static bool is_in_use(const struct vm *vm, gpa_t gpa, uint64_t size)
{
	for (unsigned i = 0; i < vm->device_count; i++)
		if (virtio_pci_uses(vm->device[i]->transport, gpa, size))
			return true;
	return false;
}

static void give(void *ctx, gpa_t gpa, uint64_t size)
{
	struct balloon_device *d = ctx;
	struct vm *vm = d->device.vm;

	if (!is_in_use(vm, gpa, size)) {
		vm_memory_give(vm, gpa, size, &d->batch);
		return;
	}
	for (uint64_t at = gpa.value; at < gpa.value + size; at += PAGE_SIZE)
		if (!is_in_use(vm, GPA(at), PAGE_SIZE))
			vm_memory_give(vm, GPA(at), PAGE_SIZE, &d->batch);
}

static int want(void *ctx, gpa_t gpa, uint64_t size)
{
	struct balloon_device *d = ctx;

	return vm_memory_want(d->device.vm, gpa, size);
}

static void discard(void *ctx, gpa_t gpa)
{
	struct balloon_device *d = ctx;
	struct vm *vm = d->device.vm;

	if (!is_in_use(vm, gpa, GUEST_MEM_CHUNK))
		vm_memory_discard(vm, gpa, &d->batch);
}

/* --- a turn ------------------------------------------------------------------------------------------------------- */

/* From here on nobody finds what was given; who has found it before is waited for. */
static void begin_to_settle(struct balloon_device *d)
{
	struct vm *vm = d->device.vm;

	d->settles = true;
	d->generation = virt_space_generation(vm->space);
	pcpu_wait_begin(&d->wait);
	vm_renew(vm);
	if (vm->ram.old_tables)
		pcpu_ask_to_forget(&vm->ram.window);
}

/* A processor walks tables without our asking, so what it knows of them is asked of each. */
static bool all_have_forgotten(const struct vm *vm)
{
	for (unsigned i = 0; i < cpu_count(); i++)
		if (!guest_ram_is_forgotten(&vm->ram, cpu_at(i)))
			return false;
	return true;
}

static bool nobody_is_left(struct balloon_device *d)
{
	struct vm *vm = d->device.vm;

	return vm_has_renewed(vm, d->generation) && pcpu_wait_is_over(&d->wait) && all_have_forgotten(vm);
}

static void on_retry(struct timer *timer)
{
	vm_device_kick(&CONTAINER_OF(timer, struct balloon_device, retry)->device);
}

static void retry_later(struct balloon_device *d)
{
	timer_set_here(&d->retry, clock_now() + clock_from_ns(RETRY_NS));
}

/* True: there is more to do. What was asked of others is answered soon, so that this turn is taken again at once. */
static bool turn(struct vm_device *device, uint64_t budget, uint64_t until)
{
	struct balloon_device *d = CONTAINER_OF(device, struct balloon_device, device);
	struct vm *vm = device->vm;
	bool more;

	if (d->settles) {
		if (!nobody_is_left(d))
			return true;
		guest_ram_settle(&vm->ram, &d->batch);
		d->settles = false;
		virtio_balloon_go_on(&d->balloon);
	} else if (d->balloon.wants_memory) {
		virtio_balloon_go_on(&d->balloon);
	}
	more = virtio_pci_work(device->transport, budget, until);
	if (!guest_ram_is_settled(&vm->ram, &d->batch))
		begin_to_settle(d);
	if (!d->settles && d->balloon.wants_memory)
		retry_later(d);
	return more || d->settles;
}

/* --- creation ----------------------------------------------------------------------------------------------------- */

static void destroy(struct vm_device *device)
{
	struct balloon_device *d = CONTAINER_OF(device, struct balloon_device, device);

	spin_lock(&device->vm->lock);
	timer_cancel(&d->retry);
	spin_unlock(&device->vm->lock);
	pcpu_synchronize(); /* who looks at the timer or that lock has passed its loop */
}

static int create_balloon(struct vm *vm)
{
	struct balloon_device *d = vm_device_create(vm, sizeof(*d));
	struct virtio_balloon_setup setup = {
	    .host = {.ctx = d,
		     .has_room = has_room,
		     .is_settled = is_settled,
		     .give = give,
		     .want = want,
		     .discard = discard},
	    .mem = &vm->mem,
	    .kick = vm_device_kick,
	    .ctx = d,
	};

	if (!d)
		return -E_NOMEM;
	d->device.transport = &d->balloon.transport;
	d->device.turn = turn;
	d->device.destroy = destroy;
	timer_init(&d->retry, &pcpu_at(0)->timers, &vm->lock, on_retry);
	vm->balloon = d;
	return virtio_balloon_init(&d->balloon, &vm->pc.pci, &setup);
}

int vm_io_balloon_create(struct vm *vm, char *why, size_t size)
{
	int err = vm->config->balloon ? create_balloon(vm) : 0;

	if (err)
		snprintf(why, size, "no memory for balloon");
	return err;
}

/* --- what its owner asks for -------------------------------------------------------------------------------------- */

int vm_balloon_set(struct vm *vm, uint64_t bytes)
{
	uint64_t memory = vm->config->memory;

	if (!vm->balloon)
		return -E_NOTSUP;
	spin_lock(&vm->lock);
	virtio_balloon_set_target(&vm->balloon->balloon,
				  (uint32_t)((memory - (bytes < memory ? bytes : memory)) / VIRTIO_BALLOON_PAGE));
	spin_unlock(&vm->lock);
	return 0;
}

int vm_balloon_look(struct vm *vm, struct vm_balloon_state *state)
{
	const struct virtio_balloon *b;

	if (!vm->balloon)
		return -E_NOTSUP;
	b = &vm->balloon->balloon;
	spin_lock(&vm->lock);
	*state = (struct vm_balloon_state){
	    .target = vm->config->memory - (uint64_t)b->target * VIRTIO_BALLOON_PAGE,
	    .away = guest_ram_away(&vm->ram),
	    .taken = guest_ram_taken(&vm->ram),
	    .known = b->stat_known,
	};
	memcpy(state->stat, b->stat, sizeof(state->stat));
	spin_unlock(&vm->lock);
	return 0;
}

void vm_balloon_ask(struct vm *vm)
{
	if (!vm->balloon)
		return;
	spin_lock(&vm->lock);
	virtio_balloon_ask(&vm->balloon->balloon);
	spin_unlock(&vm->lock);
}

bool vm_balloon_asks(struct vm *vm)
{
	bool asks;

	if (!vm->balloon)
		return false;
	spin_lock(&vm->lock);
	asks = vm->balloon->balloon.asks;
	spin_unlock(&vm->lock);
	return asks;
}
