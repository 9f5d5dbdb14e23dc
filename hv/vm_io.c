/* The virtio devices of a VM; see vm_io.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/vm_io.h"

#include "arch/x86/entropy.h"
#include "arch/x86/memory.h"
#include "hv/clock.h"
#include "hv/dev/virtio_blk.h"
#include "hv/dev/virtio_rng.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"
#include "hv/pcpu.h"
#include "hv/phys.h"
#include "hv/random.h"
#include "hv/sched/sched.h"

/* Where a turn ends, about, by work and by time: other vCPUs of the VM may wait for the lock, and the CPU for the turn.
 */
#define TURN_BYTES (128 * KIB)
#define TURN_NS	   100000

struct vm_device {
	struct vm *vm;
	struct work work;
	struct timer rest;	      /* armed: the next turn begins when it goes off */
	struct virtio_pci *transport; /* of what is below */
	union {
		struct virtio_blk blk;
		struct {
			struct virtio_rng rng;
			struct random random;
		};
	};
};

/* It has something to do. Lock held, any CPU. */
static void on_kick(void *ctx)
{
	struct vm_device *d = ctx;

	if (vm_runs(d->vm) && !timer_is_armed(&d->rest))
		work_queue(this_pcpu(), &d->work);
}

static void on_rest_over(struct timer *timer)
{
	on_kick(CONTAINER_OF(timer, struct vm_device, rest));
}

/* True: there is more to do. */
static bool work_a_turn(struct vm_device *d, uint64_t from)
{
	return virtio_pci_work(d->transport, TURN_BYTES, from + clock_from_ns(TURN_NS));
}

/* This CPU has nothing better to do than to go on for this VM. */
static bool may_go_on(const struct pcpu *p, const struct vm *vm)
{
	return !p->current || p->current->vm == vm;
}

/*
 * A turn while another VM's vCPU waits for the CPU. As long a time follows in which none is taken here, for whichever
 * VM: however many devices have work, that vCPU keeps half of its turn, and the other half does not count as its own.
 * Nor does anybody else pay for it: what a VM's devices cost is its own only while a vCPU of it has the CPU.
 */
static void take_turn_abroad(struct vm_device *d, struct pcpu *p, uint64_t from)
{
	uint64_t took;
	bool more = true;

	if (from >= p->io_rest_until) {
		more = work_a_turn(d, from);
		took = clock_now() - from;
		sched_excuse(p->current, took);
		p->io_rest_until = from + 2 * took;
	}
	if (more) {
		timer_cancel(&d->rest); /* by a turn that was queued on another CPU meanwhile */
		d->rest.queue = &p->timers;
		timer_set(&d->rest, p->io_rest_until);
	}
}

static void take_turn(struct work *work)
{
	struct vm_device *d = CONTAINER_OF(work, struct vm_device, work);
	struct pcpu *p = this_pcpu();
	uint64_t from = clock_now();
	bool more = false;

	spin_lock(&d->vm->lock);
	if (vm_runs(d->vm) && may_go_on(p, d->vm))
		more = work_a_turn(d, from);
	else if (vm_runs(d->vm))
		take_turn_abroad(d, p, from);
	if (more)
		work_queue(p, work);
	spin_unlock(&d->vm->lock);
}

static uint64_t device_pages(void)
{
	return ALIGN_UP(sizeof(struct vm_device), PAGE_SIZE) / PAGE_SIZE;
}

static struct vm_device *create_device(struct vm *vm)
{
	hpa_t page = phys_alloc(device_pages(), 1);
	struct vm_device *d;

	if (hpa_is_none(page))
		return NULL;
	d = memset(phys_to_virt(page), 0, sizeof(*d));
	d->vm = vm;
	d->work.run = take_turn;
	timer_init(&d->rest, &pcpu_at(0)->timers, &vm->lock, on_rest_over);
	vm->device[vm->device_count++] = d;
	return d;
}

/* A queue for each vCPU, so that none waits for another's. */
static int create_disk(struct vm *vm, struct disk *disk)
{
	struct vm_device *d = create_device(vm);
	struct virtio_blk_setup setup = {
	    .store = disk_store(disk),
	    .queues = vm->config->vcpus < VIRTIO_BLK_MAX_QUEUES ? vm->config->vcpus : VIRTIO_BLK_MAX_QUEUES,
	    .mem = &vm->mem,
	    .kick = on_kick,
	    .ctx = d,
	};

	if (!d)
		return -E_NOMEM;
	d->transport = &d->blk.transport;
	return virtio_blk_init(&d->blk, &vm->pc.pci, &setup);
}

static void fill(void *source, void *to, size_t size)
{
	random_fill(source, to, size);
}

static int create_rng(struct vm *vm)
{
	struct vm_device *d = create_device(vm);
	struct virtio_rng_setup setup = {
	    .fill = fill, .source = d ? &d->random : NULL, .mem = &vm->mem, .kick = on_kick, .ctx = d};

	if (!d)
		return -E_NOMEM;
	d->transport = &d->rng.transport;
	if (random_init(&d->random, entropy_read))
		return -E_NOTSUP;
	return virtio_rng_init(&d->rng, &vm->pc.pci, &setup);
}

int vm_io_create(struct vm *vm, struct disk *const *disks, char *why, size_t size)
{
	int err;

	for (unsigned i = 0; i < vm->config->disk_count; i++) {
		if (create_disk(vm, disks[i])) {
			snprintf(why, size, "no memory for disk %u", i);
			return -E_NOMEM;
		}
	}
	err = vm->config->rng ? create_rng(vm) : 0;
	if (err)
		snprintf(why, size,
			 err == -E_NOTSUP ? "rng: this processor has neither RDSEED nor RDRAND" : "no memory for rng");
	return err;
}

void vm_io_reset(struct vm *vm)
{
	for (unsigned i = 0; i < vm->device_count; i++) {
		timer_cancel(&vm->device[i]->rest);
		virtio_pci_reset(vm->device[i]->transport);
	}
}

/* Turns are queued under the lock and only while the VM runs: who takes it after the end sees the last of them. */
bool vm_io_stop(struct vm *vm)
{
	bool pending = false;

	spin_lock(&vm->lock);
	for (unsigned i = 0; i < vm->device_count; i++) {
		timer_cancel(&vm->device[i]->rest);
		pending = pending || atomic_load(&vm->device[i]->work.queued);
	}
	spin_unlock(&vm->lock);
	return pending;
}

void vm_io_destroy(struct vm *vm)
{
	while (vm->device_count)
		phys_free(virt_to_phys(vm->device[--vm->device_count]), device_pages());
}
