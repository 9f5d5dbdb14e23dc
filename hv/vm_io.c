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

struct vm_io {
	struct vm *vm;
	struct work work;
	struct timer rest;	      /* armed: the next turn begins when it goes off */
	struct virtio_pci *transport; /* of the device below */
	union {
		struct virtio_blk blk;
		struct {
			struct virtio_rng rng;
			struct random random;
		};
	};
};

/* A device has something to do. Lock held, any CPU. */
static void on_kick(void *ctx)
{
	struct vm_io *io = ctx;

	if (vm_runs(io->vm) && !timer_is_armed(&io->rest))
		work_queue(this_pcpu(), &io->work);
}

static void on_rest_over(struct timer *timer)
{
	on_kick(CONTAINER_OF(timer, struct vm_io, rest));
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
static void take_turn_abroad(struct vm_io *io, struct pcpu *p, uint64_t from)
{
	uint64_t took;
	bool more = true;

	if (from >= p->io_rest_until) {
		more = virtio_pci_work(io->transport, TURN_BYTES, from + clock_from_ns(TURN_NS));
		took = clock_now() - from;
		sched_excuse(p->current, took);
		p->io_rest_until = from + 2 * took;
	}
	if (more) {
		timer_cancel(&io->rest); /* by a turn that was queued on another CPU meanwhile */
		io->rest.queue = &p->timers;
		timer_set(&io->rest, p->io_rest_until);
	}
}

static void take_turn(struct work *work)
{
	struct vm_io *io = CONTAINER_OF(work, struct vm_io, work);
	struct pcpu *p = this_pcpu();
	uint64_t from = clock_now();
	bool more = false;

	spin_lock(&io->vm->lock);
	if (vm_runs(io->vm) && may_go_on(p, io->vm))
		more = virtio_pci_work(io->transport, TURN_BYTES, from + clock_from_ns(TURN_NS));
	else if (vm_runs(io->vm))
		take_turn_abroad(io, p, from);
	if (more)
		work_queue(p, work);
	spin_unlock(&io->vm->lock);
}

static uint64_t io_pages(void)
{
	return ALIGN_UP(sizeof(struct vm_io), PAGE_SIZE) / PAGE_SIZE;
}

static struct vm_io *create_io(struct vm *vm)
{
	hpa_t page = phys_alloc(io_pages(), 1);
	struct vm_io *io;

	if (hpa_is_none(page))
		return NULL;
	io = memset(phys_to_virt(page), 0, sizeof(*io));
	io->vm = vm;
	io->work.run = take_turn;
	timer_init(&io->rest, &pcpu_at(0)->timers, &vm->lock, on_rest_over);
	vm->io[vm->io_count++] = io;
	return io;
}

/* A queue for each vCPU, so that none waits for another's. */
static int create_disk(struct vm *vm, struct disk *disk)
{
	struct vm_io *io = create_io(vm);
	struct virtio_blk_setup setup = {
	    .store = disk_store(disk),
	    .queues = vm->config->vcpus < VIRTIO_BLK_MAX_QUEUES ? vm->config->vcpus : VIRTIO_BLK_MAX_QUEUES,
	    .mem = &vm->mem,
	    .kick = on_kick,
	    .ctx = io,
	};

	if (!io)
		return -E_NOMEM;
	io->transport = &io->blk.transport;
	return virtio_blk_init(&io->blk, &vm->pc.pci, &setup);
}

static void fill(void *source, void *to, size_t size)
{
	random_fill(source, to, size);
}

static int create_rng(struct vm *vm)
{
	struct vm_io *io = create_io(vm);
	struct virtio_rng_setup setup = {
	    .fill = fill, .source = io ? &io->random : NULL, .mem = &vm->mem, .kick = on_kick, .ctx = io};

	if (!io)
		return -E_NOMEM;
	io->transport = &io->rng.transport;
	if (random_init(&io->random, entropy_read))
		return -E_NOTSUP;
	return virtio_rng_init(&io->rng, &vm->pc.pci, &setup);
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
	for (unsigned i = 0; i < vm->io_count; i++) {
		timer_cancel(&vm->io[i]->rest);
		virtio_pci_reset(vm->io[i]->transport);
	}
}

/* Turns are queued under the lock and only while the VM runs: who takes it after the end sees the last of them. */
bool vm_io_pending(struct vm *vm)
{
	bool pending = false;

	spin_lock(&vm->lock);
	for (unsigned i = 0; i < vm->io_count; i++) {
		timer_cancel(&vm->io[i]->rest);
		pending = pending || atomic_load(&vm->io[i]->work.queued);
	}
	spin_unlock(&vm->lock);
	return pending;
}

void vm_io_destroy(struct vm *vm)
{
	while (vm->io_count)
		phys_free(virt_to_phys(vm->io[--vm->io_count]), io_pages());
}
