/*
 * Unit tests of the console that guests and shell share: who has the focus when consoles come and go, where typed bytes
 * go, what is shown and what is kept, and that a device that can wait does so only while its console has the focus and
 * the serial line is behind. The serial line is an array and a number of bytes that wait.
 */
/* SPDX-License-Identifier: MIT */
/* links: */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/console.c"
#include "tests/fake_time.h"

static struct pcpu cpu0;
static struct vm_config config = {.hvc = 2};
static struct vm vm;
static struct vm_console com1, hvc0, hvc1;

static size_t waiting; /* on the serial line */
static char line[65536], background_line[256];
static size_t shown;
static struct work *queued[4];
static unsigned queued_count;
static void (*type_byte)(void *ctx, uint8_t byte);
static char to_pc[64], to_hvc[2][64], to_shell[64];
static unsigned room_calls[2];
static bool hvc_full;

struct pcpu *pcpu_at(unsigned index)
{
	assert_int_equal(index, 0);
	return &cpu0;
}
struct cpu *this_cpu(void)
{
	static struct cpu boot;

	return &boot;
}
static bool is_abroad;
void abroad_begin(struct pcpu *p, const struct vm *v)
{
	assert_ptr_equal(p, &cpu0);
	assert_ptr_equal(v, &vm);
	assert_false(is_abroad);
	is_abroad = true;
}
void abroad_end(struct pcpu *p)
{
	assert_ptr_equal(p, &cpu0);
	assert_true(is_abroad);
	is_abroad = false;
}
void work_queue(struct pcpu *p, struct work *work)
{
	assert_ptr_equal(p, &cpu0);
	if (!atomic_exchange(&work->queued, true))
		queued[queued_count++] = work;
}
void log_info(const char *fmt, ...)
{
	(void)fmt;
}
void log_guest_line(const char *name, const char *said, size_t length)
{
	snprintf(background_line, sizeof(background_line), "%s| %.*s", name, (int)length, said);
}
void log_set_input(void (*input_handler)(void *ctx, uint8_t byte), void *ctx)
{
	(void)ctx;
	type_byte = input_handler;
}
void console_write(const uint8_t *bytes, size_t count)
{
	assert_true(shown + count < sizeof(line));
	memcpy(line + shown, bytes, count);
	shown += count;
	waiting += count;
}
size_t console_room(void)
{
	return waiting < LOG_CONSOLE_MAX ? LOG_CONSOLE_MAX - waiting : 0;
}

static void append(char *to, uint8_t byte)
{
	to[strlen(to)] = (char)byte;
}
bool pc_type(struct pc *pc, uint8_t byte)
{
	assert_ptr_equal(pc, &vm.pc);
	assert_true(is_abroad);
	append(to_pc, byte);
	return true;
}
static void shell_type(uint8_t byte)
{
	append(to_shell, byte);
}
static void shell_nothing(void) {}
static bool hvc_type(void *ctx, uint8_t byte)
{
	if (hvc_full)
		return false;
	append(ctx, byte);
	return true;
}
static void hvc_room(void *ctx)
{
	assert_true(is_abroad);
	room_calls[ctx == to_hvc[1]]++;
}

/* As the loop does, until nothing is queued. */
static void run_work(void)
{
	while (queued_count) {
		struct work *work = queued[--queued_count];

		atomic_store(&work->queued, false);
		work->run(work);
	}
}

static void type_text(const char *what)
{
	while (*what)
		type_byte(NULL, (uint8_t)*what++);
	run_work();
}

static void say(struct vm_console *c, const char *what)
{
	struct byte_sink sink = console_sink(c);

	sink.write(sink.ctx, (const uint8_t *)what, strlen(what));
}

static void expect_shown(const char *what)
{
	assert_int_equal(shown, strlen(what));
	assert_memory_equal(line, what, shown);
	shown = 0;
}

static int setup(void **state)
{
	static const struct console_shell the_shell = {shell_type, shell_nothing, shell_nothing};
	struct console_device device[] = {{to_hvc[0], hvc_type, hvc_room}, {to_hvc[1], hvc_type, hvc_room}};

	(void)state;
	memset(&vm, 0, sizeof(vm));
	vm.config = &config;
	memset(to_pc, 0, sizeof(to_pc));
	memset(to_hvc, 0, sizeof(to_hvc));
	memset(to_shell, 0, sizeof(to_shell));
	memset(room_calls, 0, sizeof(room_calls));
	hvc_full = false;
	config.hvc = 2;
	focus = back = NULL;
	shell_focus = had_focus = false;
	input_head = input_tail = 0;
	fake_timer_count = queued_count = 0;
	input_work.queued = room_work.queued = looks_for_room = false;
	waiting = shown = 0;
	background_line[0] = 0;
	console_init(&the_shell, true);
	console_init_vm(&com1, "linux", "com1");
	console_add(&com1, &hvc0, "linux", "hvc0");
	console_add(&com1, &hvc1, "linux", "hvc1");
	console_set_device(&hvc0, &device[0]);
	console_set_device(&hvc1, &device[1]);
	console_vm_starts(&com1, &vm);
	return 0;
}

/* --- tests -------------------------------------------------------------------------------------------------------- */

static void typed_bytes_follow_the_focus(void **state)
{
	(void)state;
	assert_ptr_equal(console_focused(), &com1); /* the first VM's first */
	type_text("a");
	console_focus(&hvc1);
	type_text("b");
	console_focus(&hvc0);
	type_text("c\x1d"
		  "d\x1d"
		  "e");
	assert_string_equal(to_pc, "a");
	assert_string_equal(to_hvc[1], "b");
	assert_string_equal(to_hvc[0], "ce");
	assert_string_equal(to_shell, "d");
}

static void typed_bytes_wait_for_the_device(void **state)
{
	(void)state;
	console_focus(&hvc0);
	hvc_full = true;
	type_text("abc");
	assert_string_equal(to_hvc[0], "");
	fake_time_advance(clock_from_ns(RETRY_US * 1000));
	run_work();
	hvc_full = false;
	fake_time_advance(clock_from_ns(RETRY_US * 1000));
	run_work();
	assert_string_equal(to_hvc[0], "abc");
	hvc_full = true;
	type_text("lost\x1d"
		  "x"); /* the key leads away from who does not read */
	assert_string_equal(to_shell, "x");
}

static void each_keeps_what_it_said(void **state)
{
	uint64_t said, seen, from = 0;
	char kept[64] = "";

	(void)state;
	say(&com1, "seen\n");
	expect_shown("seen\n");
	say(&hvc0, "behind\nhalf");
	expect_shown("");
	assert_string_equal(background_line, "linux:hvc0| behind");
	console_set_background(false);
	say(&hvc1, "unseen\n");
	assert_string_equal(background_line, "linux:hvc0| behind");
	console_count(&hvc1, &said, &seen);
	assert_int_equal(said, 7);
	assert_int_equal(seen, 0);
	assert_int_equal(console_read(&hvc1, &from, kept, sizeof(kept)), 7);
	assert_string_equal(kept, "unseen\n");
	console_focus(&hvc0);
	expect_shown("half");
	console_focus(&hvc1);
	expect_shown("unseen\n");
	console_count(&hvc1, &said, &seen);
	assert_int_equal(seen, 7);
}

/* Nobody waits whose output nobody sees, however far behind the serial line is. */
static void who_is_unseen_never_waits(void **state)
{
	(void)state;
	waiting = LOG_CONSOLE_MAX;
	assert_true(console_room_for(&hvc0) > 0);
	assert_int_equal(queued_count, 0);
	waiting = BACKLOG - 1;
	console_focus(&hvc0);
	assert_int_equal(console_room_for(&hvc0), 1);
}

static void who_is_seen_waits_for_the_line(void **state)
{
	(void)state;
	console_focus(&hvc1);
	waiting = BACKLOG;
	assert_int_equal(console_room_for(&hvc1), 0);
	run_work();
	for (unsigned i = 0; i < 3; i++) {
		fake_time_advance(clock_from_ns(ROOM_US * 1000));
		run_work();
		assert_int_equal(room_calls[1], 0);
	}
	waiting = BACKLOG - 100;
	fake_time_advance(clock_from_ns(ROOM_US * 1000));
	run_work();
	assert_int_equal(room_calls[1], 1);
	assert_int_equal(console_room_for(&hvc1), 100);
	fake_time_advance(clock_from_ns(ROOM_US * 10000)); /* once */
	run_work();
	assert_int_equal(room_calls[1], 1);
	assert_int_equal(room_calls[0], 0);
}

/* However often a guest asks, the boot CPU looks each 10 ms, and lets it go on for more than a byte. */
static void who_asks_all_the_time_is_looked_at_now_and_then(void **state)
{
	unsigned looks = 0;

	(void)state;
	console_focus(&hvc1);
	waiting = BACKLOG;
	for (unsigned us = 0; us < 1000000; us += 20) {
		assert_int_equal(console_room_for(&hvc1), 0);
		looks += queued_count;
		run_work();
		fake_time_advance(clock_from_ns(20000));
		looks += queued_count;
		run_work();
	}
	assert_in_range(looks, 90, 101);
	waiting = BACKLOG - 1;
	fake_time_advance(clock_from_ns(ROOM_US * 1000));
	run_work();
	assert_int_equal(room_calls[1], 0);
	waiting = BACKLOG - ROOM_GOOD;
	fake_time_advance(clock_from_ns(ROOM_US * 1000));
	run_work();
	assert_int_equal(room_calls[1], 1);
}

/* Who looks away lets it go on; and who has no VM any more is not called. */
static void waiting_ends_with_the_focus(void **state)
{
	struct vm_console *next[] = {&com1, &hvc0, NULL};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(next); i++) {
		console_focus(&hvc1);
		waiting = BACKLOG;
		assert_int_equal(console_room_for(&hvc1), 0);
		run_work();
		assert_int_equal(room_calls[1], i);
		console_focus(next[i]);
		assert_int_equal(room_calls[1], i + 1);
	}
	console_focus(&hvc1);
	assert_int_equal(console_room_for(&hvc1), 0);
	console_vm_ends(&com1);
	assert_null(console_focused());
	waiting = 0;
	fake_time_advance(clock_from_ns(ROOM_US * 10000));
	run_work();
	assert_int_equal(room_calls[1], 3);
}

static void one_that_the_vm_has_no_more_is_shut_off(void **state)
{
	(void)state;
	console_vm_ends(&com1);
	config.hvc = 1;
	console_vm_starts(&com1, &vm);
	console_focus(&hvc1);
	type_text("x");
	console_focus(&hvc0);
	type_text("y");
	assert_string_equal(to_hvc[1], "");
	assert_string_equal(to_hvc[0], "y");
	console_forget(&hvc0); /* the key leads nowhere then */
	assert_null(console_focused());
	type_text("\x1d");
	assert_null(console_focused());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(typed_bytes_follow_the_focus, setup),
	    cmocka_unit_test_setup(typed_bytes_wait_for_the_device, setup),
	    cmocka_unit_test_setup(each_keeps_what_it_said, setup),
	    cmocka_unit_test_setup(who_is_unseen_never_waits, setup),
	    cmocka_unit_test_setup(who_is_seen_waits_for_the_line, setup),
	    cmocka_unit_test_setup(who_asks_all_the_time_is_looked_at_now_and_then, setup),
	    cmocka_unit_test_setup(waiting_ends_with_the_focus, setup),
	    cmocka_unit_test_setup(one_that_the_vm_has_no_more_is_shut_off, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
