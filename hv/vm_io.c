/* The virtio devices of a VM; see vm_io.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/vm_io.h"

#include "arch/x86/memory.h"
#include "hv/abroad.h"
#include "hv/clock.h"
#include "hv/lib/panic.h"
#include "hv/lib/string.h"
#include "hv/pcpu.h"
#include "hv/phys.h"
#include "hv/sched/sched.h"
#include "hv/vm_device.h"

/* Where a turn ends, about, by work and by time: the VM's other vCPUs may wait for the lock, others for the CPU. */
#define TURN_BYTES (128 * KIB)
#define TURN_NS	   100000

static uint64_t turn_ticks; /* TURN_NS: the same for all VMs, worked out when one is made */

/*
 * Who does it: the CPU that asks, but where that runs a vCPU of another VM, whose frames its driver made wait, or who
 * woke while it worked there: then the one that its first vCPU belongs to.
 */
static struct pcpu *worker_of(const struct vm *vm)
{
	struct pcpu *here = this_pcpu();

	return !here->current || here->current->vm == vm ? here : pcpu_at(sched_cpu_of(vm->vcpu[0]));
}

/* Most doorbells find it queued already: to look costs less than work_queue()'s exchange, which takes the line. */
void vm_device_kick(void *ctx)
{
	struct vm_device *d = ctx;

	if (vm_runs(d->vm) && !atomic_load(&d->work.queued))
		work_queue(worker_of(d->vm), &d->work);
}

/* True: there is more to do. */
static bool work_a_turn(struct vm_device *d)
{
	uint64_t from = clock_now(), until = from + turn_ticks;
	bool more;

	vm_open_memory(d->vm);
	more = d->turn ? d->turn(d, TURN_BYTES, until) : virtio_pci_work(d->transport, TURN_BYTES, until);
	d->ticks += clock_now() - from;
	return more;
}

/* A turn for a VM that has ended does nothing, and vm_io_stop() waits for it. */
static bool turn_waits(struct pcpu *p, struct work *work)
{
	const struct vm *vm = CONTAINER_OF(work, struct vm_device, work)->vm;

	return vm_runs(vm) && abroad_waits(p, vm);
}

static void take_turn(struct work *work)
{
	struct vm_device *d = CONTAINER_OF(work, struct vm_device, work);
	struct pcpu *p = this_pcpu();

	abroad_begin(p, d->vm);
	spin_lock(&d->vm->lock);
	if (vm_runs(d->vm) && work_a_turn(d))
		work_queue(worker_of(d->vm), work);
	spin_unlock(&d->vm->lock);
	abroad_end(p);
}

void *vm_device_create(struct vm *vm, size_t size)
{
	struct vm_device *d;
	hpa_t page;

	ASSERT(vm->device_count < VM_MAX_DEVICES);
	page = phys_alloc(phys_pages(size), 1);
	if (hpa_is_none(page))
		return NULL;
	d = memset(phys_to_virt(page), 0, size);
	d->vm = vm;
	d->size = size;
	d->work.run = take_turn;
	d->work.waits = turn_waits;
	vm->device[vm->device_count++] = d;
	return d;
}

int vm_io_create(struct vm *vm, struct disk *const *disks, char *why, size_t size)
{
	int err = vm_io_blk_create(vm, disks, why, size);

	turn_ticks = clock_from_ns(TURN_NS);
	if (!err)
		err = vm_io_rng_create(vm, why, size);
	if (!err)
		err = vm_io_console_create(vm, why, size);
	if (!err)
		err = vm_io_net_create(vm, why, size);
	return err ? err : vm_io_balloon_create(vm, why, size);
}

void vm_io_reset(struct vm *vm)
{
	for (unsigned i = 0; i < vm->device_count; i++)
		virtio_pci_reset(vm->device[i]->transport);
}

/*
 * Turns are queued only while the VM runs, under the lock or by its own vCPUs: who takes it after the end, when those
 * have left, sees the last of them.
 */
bool vm_io_stop(struct vm *vm)
{
	bool pending = false;

	spin_lock(&vm->lock);
	for (unsigned i = 0; i < vm->device_count; i++)
		pending = pending || atomic_load(&vm->device[i]->work.queued);
	spin_unlock(&vm->lock);
	return pending;
}

void vm_io_destroy(struct vm *vm)
{
	while (vm->device_count) {
		struct vm_device *d = vm->device[--vm->device_count];

		if (d->destroy)
			d->destroy(d);
		phys_free(virt_to_phys(d), phys_pages(d->size));
	}
}
