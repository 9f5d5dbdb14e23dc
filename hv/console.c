/* The console shared by the guests and the shell; see console.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/console.h"

#include "hv/abroad.h"
#include "hv/clock.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"
#include "hv/log.h"
#include "hv/pcpu.h"
#include "hv/vm.h"
#include "hv/work.h"

#define INPUT_SIZE 256	/* power of two */
#define SWITCH_KEY 0x1d /* Ctrl-] */
#define RETRY_US   2000
#define REPLAY	   2048	 /* bytes shown of what a VM said while another had the focus */
#define BACKLOG	   16384 /* bytes that wait for the serial line when a device is asked to wait: 1.4 s of it */
#define ROOM_US	   10000 /* and how often it is looked whether they still do */
#define ROOM_GOOD  64	 /* bytes less, for which it is let go on */

static struct vm_console *_Atomic focus; /* the VM that has the console; NULL: the shell, or nobody yet */
static bool shell_focus;
static struct vm_console *back; /* where Ctrl-] in the shell leads; NULL: nowhere */
static RO_AFTER_INIT const struct console_shell *shell;
static _Atomic bool background;
static bool had_focus; /* some VM did */

/*
 * Written by the interrupts of UART and keyboard, read by the work item, both on the boot CPU. A command lets
 * interrupts in when a vCPU makes room for the VM that it starts: they write behind what is being read.
 */
static uint8_t input[INPUT_SIZE];
static unsigned input_head, input_tail;

static void give_input(struct work *work);
static void retry_input(struct timer *timer);
static struct work input_work = {.run = give_input};
static struct timer input_timer; /* the guest had no room: try again */

static void look_for_room(struct work *work);
static struct work room_work = {.run = look_for_room};
static struct timer room_timer; /* somebody waits for the serial line: look again */
/* The work is queued, or the timer will do it: a guest that asks all the time has the boot CPU look no more often. */
static _Atomic bool looks_for_room;

/* --- what guests say ---------------------------------------------------------------------------------------------- */

static void keep(struct vm_console *c, const uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		c->ring[c->said++ % CONSOLE_SCROLLBACK] = (char)bytes[i];
}

static void flush_line(struct vm_console *c)
{
	if (c->used)
		log_guest_line(c->name, c->line, c->used);
	c->used = 0;
}

/*
 * A line at a time; no control sequences from the background: each byte is read once, since it may lie in memory that
 * the guest changes meanwhile. The bytes are kept already.
 */
static void show_behind(struct vm_console *c, const uint8_t *bytes, size_t count)
{
	uint64_t first = c->said - count;

	for (size_t i = 0; i < count; i++) {
		uint8_t byte = *(const volatile uint8_t *)&bytes[i];

		if (byte == '\n' || c->used == CONSOLE_LINE) {
			flush_line(c);
			c->shown = first + i + (byte == '\n');
		}
		if (byte >= ' ' && byte < 0x7f)
			c->line[c->used++] = (char)byte;
	}
}

static void write_text(void *ctx, const uint8_t *bytes, size_t count)
{
	struct vm_console *c = ctx;

	spin_lock(&c->lock);
	keep(c, bytes, count);
	if (atomic_load_explicit(&focus, memory_order_relaxed) == c) {
		console_write(bytes, count);
		c->shown = c->said;
	} else if (atomic_load_explicit(&background, memory_order_relaxed)) {
		show_behind(c, bytes, count);
	}
	spin_unlock(&c->lock);
}

struct byte_sink console_sink(struct vm_console *console)
{
	return (struct byte_sink){console, write_text};
}

/* --- devices that wait until it can be said --------------------------------------------------------------------- */

static size_t free_backlog(void)
{
	size_t waiting = LOG_CONSOLE_MAX - console_room();

	return waiting < BACKLOG ? BACKLOG - waiting : 0;
}

/* What nobody looks at never waits. */
size_t console_room_for(struct vm_console *c)
{
	size_t room = BACKLOG;

	spin_lock(&c->lock);
	if (atomic_load_explicit(&focus, memory_order_relaxed) == c) {
		room = free_backlog();
		c->waits = !room;
	}
	spin_unlock(&c->lock);
	if (!room && !atomic_exchange(&looks_for_room, true))
		work_queue(pcpu_at(0), &room_work);
	return room;
}

/* The wait for the lock, which the VM may hold for long, is not the time of whose vCPU has this CPU. */
static void enter(struct vm *vm)
{
	abroad_begin(this_pcpu(), vm);
	spin_lock(&vm->lock);
}

static void leave(struct vm *vm)
{
	spin_unlock(&vm->lock);
	abroad_end(this_pcpu());
}

/* It need not wait any more. */
static void let_go_on(struct vm_console *c)
{
	struct vm *vm = c->vm;
	bool waits;

	spin_lock(&c->lock);
	waits = c->waits;
	c->waits = false;
	spin_unlock(&c->lock);
	if (!waits || !vm)
		return;
	enter(vm);
	c->device.room(c->device.ctx);
	leave(vm);
}

static void look_for_room(struct work *work)
{
	struct vm_console *c = atomic_load(&focus);

	(void)work;
	if (c && free_backlog() < ROOM_GOOD) {
		timer_set(&room_timer, clock_now() + clock_from_ns(ROOM_US * 1000));
		return;
	}
	atomic_store(&looks_for_room, false); /* first: who waits from here on asks for a look of its own */
	if (c)
		let_go_on(c);
}

static void on_room_timer(struct timer *timer)
{
	(void)timer;
	work_queue(pcpu_at(0), &room_work);
}

/* --- what was said ------------------------------------------------------------------------------------------------ */

void console_count(struct vm_console *console, uint64_t *said, uint64_t *shown)
{
	spin_lock(&console->lock);
	*said = console->said;
	*shown = console->shown;
	spin_unlock(&console->lock);
}

size_t console_read(struct vm_console *console, uint64_t *at, char *out, size_t size)
{
	size_t n = 0;

	spin_lock(&console->lock);
	if (console->said - *at > CONSOLE_SCROLLBACK)
		*at = console->said - CONSOLE_SCROLLBACK;
	while (n < size && *at < console->said)
		out[n++] = console->ring[(*at)++ % CONSOLE_SCROLLBACK];
	spin_unlock(&console->lock);
	return n;
}

/* --- who has the focus -------------------------------------------------------------------------------------------- */

/* In pieces out of the ring, with the console's lock held. */
static void replay(struct vm_console *c)
{
	uint64_t from = c->said - c->shown > REPLAY ? c->said - REPLAY : c->shown;

	while (from < c->said) {
		size_t at = from % CONSOLE_SCROLLBACK;
		size_t n = (size_t)(c->said - from);

		if (n > CONSOLE_SCROLLBACK - at)
			n = CONSOLE_SCROLLBACK - at;
		console_write((const uint8_t *)c->ring + at, n);
		from += n;
	}
	c->shown = c->said;
}

static void leave_shell(void)
{
	if (shell_focus && shell)
		shell->leave();
	shell_focus = false;
}

/* Why nobody will answer what is typed. */
static const char *silence(const struct vm_console *c)
{
	if (!c->vm)
		return ", shut off";
	return vm_is_paused(c->vm) ? ", paused" : "";
}

/* Who had the focus before says what it has to say unseen. */
static void set_focus(struct vm_console *c)
{
	struct vm_console *before = atomic_exchange(&focus, c);

	if (before)
		let_go_on(before);
}

static void focus_vm(struct vm_console *c)
{
	set_focus(NULL);
	leave_shell();
	log_info("console: vm %s%s (Ctrl-] for Vireo's shell)", c->name, silence(c));
	spin_lock(&c->lock);
	if (!c->vm)
		c->shown = 0; /* who looks at a dead guest wants its last words, shown before or not */
	replay(c);
	c->used = 0;
	atomic_store(&focus, c);
	spin_unlock(&c->lock);
	back = c;
	had_focus = true;
}

static void focus_shell(void)
{
	set_focus(NULL);
	if (shell_focus || !shell)
		return;
	shell_focus = true;
	shell->enter();
}

void console_focus(struct vm_console *console)
{
	if (!console)
		focus_shell();
	else if (console != atomic_load(&focus))
		focus_vm(console);
}

const struct vm_console *console_focused(void)
{
	return atomic_load(&focus);
}

static void press_switch_key(void)
{
	if (shell_focus && back)
		focus_vm(back);
	else
		focus_shell();
}

/* --- what is typed ------------------------------------------------------------------------------------------------ */

static void on_byte(void *ctx, uint8_t byte)
{
	(void)ctx;
	if (input_head - input_tail == INPUT_SIZE) { /* typed faster than anybody reads: lost, as on a real line */
		if (byte != SWITCH_KEY)
			return;
		input_head--; /* but for this one, which leads away from who does not read */
	}
	input[input_head++ % INPUT_SIZE] = byte;
	work_queue(pcpu_at(0), &input_work);
}

static bool type(struct vm_console *c, uint8_t byte)
{
	const struct console_device *device = &c->device;
	struct vm *vm = c->vm;
	bool taken;

	enter(vm);
	taken = device->type ? device->type(device->ctx, byte) : pc_type(&vm->pc, byte);
	leave(vm);
	return taken;
}

/* False: not now. Bytes for a VM that is shut off are lost. */
static bool give_byte(uint8_t byte)
{
	struct vm_console *c = atomic_load(&focus);

	if (byte == SWITCH_KEY)
		press_switch_key();
	else if (shell_focus)
		shell->type(byte);
	else if (c && c->vm)
		return type(c, byte);
	return true;
}

/* A guest that does not read must not hold its user: what was typed before the key is lost. */
static bool skip_to_switch_key(void)
{
	for (unsigned at = input_tail; at != input_head; at++) {
		if (input[at % INPUT_SIZE] != SWITCH_KEY)
			continue;
		input_tail = at;
		return true;
	}
	return false;
}

static void give_input(struct work *work)
{
	(void)work;
	while (input_tail != input_head) {
		if (give_byte(input[input_tail % INPUT_SIZE])) {
			input_tail++;
		} else if (!skip_to_switch_key()) {
			timer_set(&input_timer, clock_now() + clock_from_ns(RETRY_US * 1000));
			return;
		}
	}
}

static void retry_input(struct timer *timer)
{
	(void)timer;
	work_queue(pcpu_at(0), &input_work);
}

/* --- who is there ------------------------------------------------------------------------------------------------- */

void console_init(const struct console_shell *the_shell, bool show)
{
	shell = the_shell;
	atomic_store(&background, show);
	timer_init(&input_timer, &pcpu_at(0)->timers, NULL, retry_input);
	timer_init(&room_timer, &pcpu_at(0)->timers, NULL, on_room_timer);
	log_set_input(on_byte, NULL);
}

void console_set_background(bool show)
{
	atomic_store(&background, show);
}

void console_init_vm(struct vm_console *console, const char *vm, const char *label)
{
	memset(console, 0, sizeof(*console));
	console->label = label;
	snprintf(console->name, sizeof(console->name), "%s", vm);
}

void console_add(struct vm_console *first, struct vm_console *console, const char *vm, const char *label)
{
	while (first->next)
		first = first->next;
	console_init_vm(console, vm, label);
	snprintf(console->name, sizeof(console->name), "%s:%s", vm, label);
	first->next = console;
}

void console_set_device(struct vm_console *console, const struct console_device *device)
{
	console->device = *device;
}

void console_forget(struct vm_console *console)
{
	if (atomic_load(&focus) == console)
		focus_shell();
	if (back == console)
		back = NULL;
}

/* One that its configuration has no more is left without. */
void console_vm_starts(struct vm_console *console, struct vm *vm)
{
	unsigned n = 0;

	for (struct vm_console *c = console; c; c = c->next)
		c->vm = n++ <= vm->config->hvc ? vm : NULL;
	if (!had_focus && !shell_focus) {
		atomic_store(&focus, console);
		back = console;
		had_focus = true;
	}
}

void console_vm_ends(struct vm_console *console)
{
	for (struct vm_console *c = console; c; c = c->next) {
		spin_lock(&c->lock);
		flush_line(c);
		spin_unlock(&c->lock);
		c->vm = NULL;
		if (atomic_load(&focus) == c)
			focus_shell();
	}
}
