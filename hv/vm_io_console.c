/*
 * What is behind a VM's virtio consoles: a console each (hv/console.h), which outlives the VM. Called once by
 * hv/vm_io.c as the VM is made, then by hv/console.c when somebody types or there is room again. Owns the device's
 * record, which is the VM's; the console knows it until it is shut off at the VM's end.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/dev/virtio_console.h"
#include "hv/lib/panic.h"
#include "hv/lib/printf.h"
#include "hv/vm_device.h"

_Static_assert(CONFIG_MAX_HVC == VIRTIO_CONSOLE_MAX_PORTS, "a port for each");

/* What a VT100 shows: nobody tells how large the terminal at the other end of the serial line is. */
#define COLS 80
#define ROWS 24

struct console_io {
	struct vm_device device;
	struct virtio_console con;
	struct port {
		struct console_io *io;
		unsigned index;
	} port[VIRTIO_CONSOLE_MAX_PORTS];
};

static bool type(void *ctx, uint8_t byte)
{
	const struct port *p = ctx;

	return virtio_console_type(&p->io->con, p->index, byte);
}

static void room(void *ctx)
{
	const struct port *p = ctx;

	virtio_console_go_on(&p->io->con, p->index);
}

static size_t room_for(void *ctx)
{
	return console_room_for(ctx);
}

/* The ports' outsides; what is typed comes to them once the VM has started. */
static void connect(struct console_io *io, struct virtio_console_end end[VIRTIO_CONSOLE_MAX_PORTS])
{
	struct vm *vm = io->device.vm;
	struct vm_console *c = vm->console->next;

	for (unsigned i = 0; i < vm->config->hvc; i++, c = c->next) {
		struct console_device device = {&io->port[i], type, room};
		struct byte_sink sink = console_sink(c);

		io->port[i] = (struct port){io, i};
		console_set_device(c, &device);
		end[i] = (struct virtio_console_end){sink.ctx, room_for, sink.write};
	}
}

static int create_console(struct vm *vm)
{
	struct console_io *io = vm_device_create(vm, sizeof(*io));
	struct virtio_console_setup setup = {
	    .ports = vm->config->hvc, .cols = COLS, .rows = ROWS, .mem = &vm->mem, .kick = vm_device_kick, .ctx = io};

	if (!io)
		return -E_NOMEM;
	io->device.transport = &io->con.transport;
	connect(io, setup.end);
	return virtio_console_init(&io->con, &vm->pc.pci, &setup);
}

int vm_io_console_create(struct vm *vm, char *why, size_t size)
{
	int err = vm->config->hvc ? create_console(vm) : 0;

	if (err)
		snprintf(why, size, "no memory for hvc");
	return err;
}
