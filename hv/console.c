/* The console shared by the guests; see console.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/console.h"

#include "hv/clock.h"
#include "hv/lib/string.h"
#include "hv/log.h"
#include "hv/pcpu.h"
#include "hv/vm.h"
#include "hv/work.h"

#define INPUT_SIZE 256	/* power of two */
#define SWITCH_KEY 0x1d /* Ctrl-] */
#define RETRY_US   2000

static struct vm *_Atomic focus;
static struct vm *vms[CONFIG_MAX_VMS]; /* boot CPU only */

/* Written by the UART's interrupt, read by the work item: both on the boot CPU, never at once. */
static uint8_t input[INPUT_SIZE];
static unsigned input_head, input_tail;

static void give_input(struct work *work);
static void retry_input(struct timer *timer);
static struct work input_work = {.run = give_input};
static struct timer input_timer; /* the guest had no room: try again */

static void on_byte(void *ctx, uint8_t byte)
{
	(void)ctx;
	if (input_head - input_tail == INPUT_SIZE)
		return; /* typed faster than any guest reads: lost, as on a real line */
	input[input_head++ % INPUT_SIZE] = byte;
	work_queue(pcpu_at(0), &input_work);
}

/* What the VM has said since its last newline, a prompt most likely, is shown at once. */
static void set_focus(struct vm *vm)
{
	if (vm == atomic_load(&focus))
		return;
	if (!vm) {
		atomic_store(&focus, NULL);
		return;
	}
	log_info("console: vm %s (Ctrl-] for the next)", vm->config->name);
	spin_lock(&vm->lock);
	console_write((const uint8_t *)vm->console.line, vm->console.used);
	vm->console.used = 0;
	atomic_store(&focus, vm);
	spin_unlock(&vm->lock);
}

static void focus_next(void)
{
	struct vm *now = atomic_load(&focus);
	unsigned at = 0;

	for (unsigned i = 0; i < CONFIG_MAX_VMS; i++)
		if (vms[i] == now)
			at = i;
	for (unsigned i = 1; i <= CONFIG_MAX_VMS; i++) {
		struct vm *vm = vms[(at + i) % CONFIG_MAX_VMS];

		if (vm) {
			set_focus(vm);
			return;
		}
	}
	set_focus(NULL);
}

static bool type(struct vm *vm, uint8_t byte)
{
	bool taken;

	spin_lock(&vm->lock);
	taken = pc_type(&vm->pc, byte);
	spin_unlock(&vm->lock);
	return taken;
}

static void give_input(struct work *work)
{
	struct vm *vm;

	(void)work;
	while (input_tail != input_head) {
		uint8_t byte = input[input_tail % INPUT_SIZE];

		vm = atomic_load(&focus);
		if (byte == SWITCH_KEY) {
			focus_next();
		} else if (vm && !type(vm, byte)) {
			timer_set(&input_timer, clock_now() + clock_from_ns(RETRY_US * 1000));
			return;
		}
		input_tail++;
	}
}

static void retry_input(struct timer *timer)
{
	(void)timer;
	work_queue(pcpu_at(0), &input_work);
}

void console_init(void)
{
	timer_init(&input_timer, &pcpu_at(0)->timers, NULL, retry_input);
	log_set_input(on_byte, NULL);
}

void console_add(struct vm *vm)
{
	for (unsigned i = 0; i < CONFIG_MAX_VMS; i++) {
		if (vms[i])
			continue;
		vms[i] = vm;
		break;
	}
	if (!atomic_load(&focus))
		atomic_store(&focus, vm);
}

static void flush_line(struct vm *vm)
{
	struct vm_console *c = &vm->console;

	if (c->used)
		log_info("%s| %.*s", vm->config->name, (int)c->used, c->line);
	c->used = 0;
}

void console_remove(struct vm *vm)
{
	flush_line(vm);
	for (unsigned i = 0; i < CONFIG_MAX_VMS; i++)
		if (vms[i] == vm)
			vms[i] = NULL;
	if (atomic_load(&focus) == vm)
		focus_next();
}

/* Called with the VM's device lock held, which also protects vm->console. */
static void write_text(void *ctx, const uint8_t *bytes, size_t count)
{
	struct vm *vm = ctx;
	struct vm_console *c = &vm->console;

	if (atomic_load(&focus) == vm) {
		flush_line(vm);
		console_write(bytes, count);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		if (bytes[i] == '\n' || c->used == CONSOLE_LINE)
			flush_line(vm);
		if (bytes[i] >= ' ' && bytes[i] < 0x7f) /* no control sequences from the background */
			c->line[c->used++] = (char)bytes[i];
	}
}

struct text_sink console_sink(struct vm *vm)
{
	return (struct text_sink){vm, write_text};
}
