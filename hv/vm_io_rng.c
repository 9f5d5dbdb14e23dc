/*
 * What is behind a VM's source of random numbers: a generator of its own (hv/random.h), seeded from the processor's and
 * kept in the device's record, which is the VM's. Called once by hv/vm_io.c as the VM is made.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/entropy.h"
#include "hv/dev/virtio_rng.h"
#include "hv/lib/printf.h"
#include "hv/random.h"
#include "hv/vm_device.h"

struct rng_device {
	struct vm_device device;
	struct virtio_rng rng;
	struct random random;
};

static void fill(void *source, void *to, size_t size)
{
	random_fill(source, to, size);
}

static int create_rng(struct vm *vm)
{
	struct rng_device *d = vm_device_create(vm, sizeof(*d));
	struct virtio_rng_setup setup = {
	    .fill = fill, .source = d ? &d->random : NULL, .mem = &vm->mem, .kick = vm_device_kick, .ctx = d};

	if (!d)
		return -E_NOMEM;
	d->device.transport = &d->rng.transport;
	if (random_init(&d->random, entropy_read))
		return -E_NOTSUP;
	return virtio_rng_init(&d->rng, &vm->pc.pci, &setup);
}

int vm_io_rng_create(struct vm *vm, char *why, size_t size)
{
	int err = vm->config->rng ? create_rng(vm) : 0;

	if (err)
		snprintf(why, size,
			 err == -E_NOTSUP ? "rng: this processor has neither RDSEED nor RDRAND" : "no memory for rng");
	return err;
}
