/*
 * The ring behind all output, and its two sinks: log.h. `head` and `tail` count bytes since the start; the ring holds
 * [tail, head). The screen's grid is written at once, since that costs RAM only.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/log.h"
#include "arch/x86/insn.h"
#include "drivers/keyboard.h"
#include "drivers/screen.h"
#include "drivers/uart.h"
#include "hv/clock.h"
#include "hv/lib/printf.h"
#include "hv/lib/spinlock.h"
#include "hv/lib/string.h"

#define LINE_MAX 400
#define KEPT	 16384 /* bytes of log lines for log_read(), a power of two */
#define RESERVE	 64    /* room kept for the note that bytes were lost */
#define ALL	 (LOG_RING_SIZE - RESERVE)
#define RX_BATCH 64
#define IRQ_MAX	 64 /* rounds of one interrupt: a device that never lets go must not hang the core */

static struct spinlock lock; /* everything below, and the drivers */
static uint8_t ring[LOG_RING_SIZE];
static uint64_t head, tail;
static uint64_t dropped, reported;
static uint64_t entry_time;
static uint32_t serial_baud;
static bool serial_open = true; /* until log_init() finds no UART, bytes are kept for it */
static bool started;		/* log_init() was called */
static bool at_line_start = true;
static bool verbose;
static char kept[KEPT];
static uint64_t kept_end; /* bytes ever kept */
static void (*prompt_redraw)(void);
static _Atomic bool in_panic;
static _Atomic bool paints; /* a CPU does, without the lock */

static RO_AFTER_INIT void (*input_handler)(void *ctx, uint8_t byte);
static RO_AFTER_INIT void *input_ctx;

static void log_lock(void)
{
	if (!in_panic)
		spin_lock(&lock);
}

static void log_unlock(void)
{
	if (!in_panic)
		spin_unlock(&lock);
}

static void ring_put(const uint8_t *bytes, size_t count)
{
	size_t at = head % LOG_RING_SIZE;
	size_t first = count < LOG_RING_SIZE - at ? count : LOG_RING_SIZE - at;

	memcpy(ring + at, bytes, first);
	memcpy(ring, bytes + first, count - first);
	head += count;
}

/* The longest piece at the tail that lies in one stretch. */
static size_t ring_peek(const uint8_t **bytes)
{
	size_t at = tail % LOG_RING_SIZE;
	size_t waiting = (size_t)(head - tail);

	*bytes = ring + at;
	return waiting < LOG_RING_SIZE - at ? waiting : LOG_RING_SIZE - at;
}

static void drain(void)
{
	const uint8_t *bytes;
	size_t count, taken;

	if (!started)
		return;
	while ((count = ring_peek(&bytes))) {
		taken = uart_try_put(bytes, count);
		if (!taken)
			break;
		tail += taken;
	}
	uart_set_interrupts(head != tail);
}

static void drain_blocking(void)
{
	const uint8_t *bytes;
	size_t count;

	while (started && (count = ring_peek(&bytes))) {
		uart_put_blocking(bytes, count);
		tail += count;
	}
	uart_set_interrupts(false);
}

static void report_dropped(void)
{
	char note[RESERVE];
	int length;

	if (dropped == reported || head - tail > LOG_BACKGROUND_MAX / 2)
		return;
	length = snprintf(note, sizeof(note), "\r\n[%llu bytes of output lost]\r\n",
			  (unsigned long long)(dropped - reported));
	reported = dropped;
	ring_put((const uint8_t *)note, (size_t)length);
}

/* Bytes to both sinks; what would make more than `limit` bytes wait is lost to the serial port. With the lock held. */
static void emit(const uint8_t *bytes, size_t count, size_t limit)
{
	size_t waiting, room, fits;

	if (!count)
		return;
	screen_write(bytes, count);
	at_line_start = bytes[count - 1] == '\n';
	if (!serial_open)
		return;
	report_dropped();
	waiting = (size_t)(head - tail);
	room = limit > waiting ? limit - waiting : 0;
	fits = count < room ? count : room;
	ring_put(bytes, fits);
	dropped += count - fits;
}

/* Time since the core's entry in milliseconds, shown as seconds; 0 until the clock's rate is known. */
static size_t write_stamp(char *line, size_t size)
{
	uint64_t hz = clock_hz();
	uint64_t ms = hz ? mul_div(clock_now() - entry_time, 1000, hz) : 0;

	return (size_t)snprintf(line, size, "[%4llu.%03llu] ", (unsigned long long)(ms / 1000),
				(unsigned long long)(ms % 1000));
}

static void keep(const char *line, size_t length)
{
	for (size_t i = 0; i < length; i++)
		kept[kept_end++ % KEPT] = line[i];
}

/* A whole line with its end, on a line of its own; or nothing, when it would make more than `limit` bytes wait. */
static void put_line(const char *line, size_t length, size_t limit)
{
	void (*redraw)(void);

	log_lock();
	if (head - tail + length + 4 > limit) {
		dropped += length;
		log_unlock();
		return;
	}
	redraw = prompt_redraw;
	prompt_redraw = NULL;
	if (redraw)
		emit((const uint8_t *)"\r\033[K", 4, limit);
	else if (!at_line_start) /* a guest is in the middle of a line */
		emit((const uint8_t *)"\r\n", 2, limit);
	emit((const uint8_t *)line, length, limit);
	if (limit == ALL)
		keep(line, length);
	if (in_panic)
		drain_blocking();
	else
		drain();
	log_unlock();
	if (redraw && !in_panic)
		redraw();
}

static void log_line(const char *level, const char *fmt, va_list args)
{
	char line[LINE_MAX + 3];
	size_t length = write_stamp(line, LINE_MAX);

	length += (size_t)snprintf(line + length, LINE_MAX - length, "%s", level);
	length += (size_t)vsnprintf(line + length, LINE_MAX - length, fmt, args);
	if (length > LINE_MAX - 1)
		length = LINE_MAX - 1;
	memcpy(line + length, "\r\n", 2);
	put_line(line, length + 2, ALL);
}

void log_guest_line(const char *name, const char *text, size_t length)
{
	char line[LINE_MAX + 3];
	size_t n = write_stamp(line, LINE_MAX);

	n += (size_t)snprintf(line + n, LINE_MAX - n, "%s| %.*s", name, (int)length, text);
	if (n > LINE_MAX - 1)
		n = LINE_MAX - 1;
	memcpy(line + n, "\r\n", 2);
	put_line(line, n + 2, LOG_BACKGROUND_MAX);
}

size_t log_read(uint64_t *at, char *out, size_t size)
{
	size_t n = 0;

	log_lock();
	if (kept_end - *at > KEPT) {
		*at = kept_end - KEPT;
		while (*at < kept_end && kept[(*at)++ % KEPT] != '\n') /* to where a line begins */
			;
	}
	while (n < size && *at < kept_end)
		out[n++] = kept[(*at)++ % KEPT];
	log_unlock();
	return n;
}

void log_set_prompt(void (*redraw)(void))
{
	log_lock();
	prompt_redraw = redraw;
	log_unlock();
}

void log_info(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	log_line("", fmt, args);
	va_end(args);
}

void log_error(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	log_line("error: ", fmt, args);
	va_end(args);
}

void log_debug(const char *fmt, ...)
{
	va_list args;

	if (!verbose)
		return;
	va_start(args, fmt);
	log_line("debug: ", fmt, args);
	va_end(args);
}

void log_init(uint32_t baud, uint64_t entry_tsc)
{
	log_lock();
	entry_time = entry_tsc;
	started = true;
	serial_baud = baud;
	serial_open = uart_init(baud);
	if (!serial_open)
		tail = head;
	drain();
	log_unlock();
}

void log_set_verbose(bool on)
{
	verbose = on;
}

void console_write(const uint8_t *bytes, size_t count)
{
	log_lock();
	emit(bytes, count, LOG_CONSOLE_MAX);
	drain();
	log_unlock();
}

void console_answer(const uint8_t *bytes, size_t count)
{
	log_lock();
	emit(bytes, count, LOG_SHELL_MAX);
	drain();
	log_unlock();
}

size_t console_room(void)
{
	size_t room;

	log_lock();
	room = serial_open && head - tail < LOG_CONSOLE_MAX ? LOG_CONSOLE_MAX - (size_t)(head - tail) : 0;
	log_unlock();
	return serial_open ? room : LOG_CONSOLE_MAX;
}

void log_set_input(void (*input)(void *ctx, uint8_t byte), void *ctx)
{
	log_lock();
	input_handler = input;
	input_ctx = ctx;
	log_unlock();
}

/* What a driver has received. With the lock held. */
static size_t collect(int (*get)(void), uint8_t received[RX_BATCH])
{
	size_t count = 0;
	int byte;

	while (count < RX_BATCH && (byte = get()) >= 0)
		received[count++] = (uint8_t)byte;
	return count;
}

/* To the handler, which may have something to log: without the lock held. */
static void give(const uint8_t *received, size_t count)
{
	void (*input)(void *ctx, uint8_t byte);
	void *ctx;

	if (!count)
		return;
	log_lock();
	input = input_handler;
	ctx = input_ctx;
	log_unlock();
	for (size_t i = 0; i < count && input; i++)
		input(ctx, received[i]);
}

/* Everything the UART wants at once. Returns whether it still asked for attention at the start. */
static bool service(void)
{
	uint8_t received[RX_BATCH];
	size_t count;
	bool asked;

	log_lock();
	asked = uart_acknowledge();
	count = collect(uart_get, received);
	drain();
	log_unlock();
	give(received, count);
	return asked;
}

void log_pump(void)
{
	service();
}

/* The line is edge-triggered: it must have been low once before we return, or no further interrupt comes. */
void log_irq(void *ctx)
{
	(void)ctx;
	for (unsigned i = 0; i < IRQ_MAX && service(); i++)
		;
}

/* Edge-triggered, too: the controller's buffer must have been empty once. */
void log_keyboard_irq(void *ctx)
{
	uint8_t received[RX_BATCH];
	size_t count = RX_BATCH;

	(void)ctx;
	for (unsigned i = 0; i < IRQ_MAX && count == RX_BATCH; i++) {
		log_lock();
		count = collect(keyboard_get, received);
		log_unlock();
		give(received, count);
	}
}

static bool take_row(struct screen_row *row)
{
	bool taken;

	log_lock();
	taken = screen_take_row(row);
	log_unlock();
	return taken;
}

static void give_row_back(const struct screen_row *row)
{
	log_lock();
	screen_give_row_back(row);
	log_unlock();
}

bool log_has_to_paint(void)
{
	return screen_has_changed();
}

bool log_paint(unsigned max_rows, bool (*go_on)(void *ctx), void *ctx)
{
	struct screen_row row;
	bool painted = false;

	if (!screen_has_changed() || atomic_exchange(&paints, true))
		return false;
	for (unsigned i = 0; i < max_rows && go_on(ctx) && take_row(&row); i++) {
		painted = true;
		if (!screen_paint_row(&row, go_on, ctx))
			give_row_back(&row);
	}
	atomic_store(&paints, false);
	return painted;
}

void log_flush(void)
{
	struct screen_row row;

	log_lock();
	drain_blocking();
	log_unlock();
	while (!in_panic && atomic_exchange(&paints, true))
		__builtin_ia32_pause();
	for (unsigned i = 0; i < SCREEN_MAX_ROWS && take_row(&row); i++)
		(void)screen_paint_row(&row, NULL, NULL);
	atomic_store(&paints, false);
}

void log_set_baud(uint32_t baud)
{
	log_lock();
	if (serial_open && baud != serial_baud) {
		drain_blocking(); /* what is on its way goes at the old rate */
		serial_baud = baud;
		serial_open = uart_init(baud);
	}
	log_unlock();
}

void log_enter_panic(void)
{
	in_panic = true;
}
