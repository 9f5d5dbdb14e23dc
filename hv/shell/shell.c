/* The shell's loop: bytes to a line, a line to words, words to a command, and the job that may follow; see shell.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/shell/shell.h"

#include <stdarg.h>

#include "hv/clock.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"
#include "hv/log.h"
#include "hv/pcpu.h"
#include "hv/shell/line.h"
#include "hv/shell/table.h"
#include "hv/shell/words.h"
#include "hv/work.h"

#define PROMPT	    "\rvireo> " /* line_init() */
#define WIDTH	    80
#define ROOM_NS	    5000000  /* until another look whether the line has room */
#define REDRAW_NS   10000000 /* between two times that the prompt is drawn again */
#define OUTPUT_SIZE 32768

#define KEY_CTRL_C 0x03

static const struct shell_command *const tables[] = {
    shell_vm_commands,	 shell_show_commands,	 shell_top_commands,   shell_trace_commands, shell_net_commands,
    shell_host_commands, shell_balloon_commands, shell_crash_commands, shell_signal_commands};

static struct line line;
static bool line_ready; /* line_init() was called */

static struct {
	shell_step *step; /* NULL: no job */
	void (*ended)(struct shell_call *call);
	struct shell_call call;
	char *word[WORDS_MAX];
	char text[LINE_SIZE];
	struct timer timer;
} job;

/*
 * What a command answers goes out at once when it is complete, so that a script finds a line of JSON whole: other CPUs
 * may log at any time. Only what is larger than this is cut.
 */
static struct {
	size_t used;
	char bytes[OUTPUT_SIZE];
} answer;

static void flush_answer(void)
{
	console_answer((const uint8_t *)answer.bytes, answer.used);
	answer.used = 0;
}

static void write_answer(void *ctx, const char *bytes, size_t count)
{
	(void)ctx;
	for (size_t i = 0; i < count; i++) {
		if (answer.used == OUTPUT_SIZE)
			flush_answer();
		answer.bytes[answer.used++] = bytes[i];
	}
}

static const struct sink answers = {NULL, write_answer};

/* What the line editor draws goes out as it comes. */
static void write_line(void *ctx, const char *bytes, size_t count)
{
	(void)ctx;
	console_answer((const uint8_t *)bytes, count);
}

static const struct sink terminal = {NULL, write_line};

void shell_print(const struct sink *to, const char *fmt, ...)
{
	char text[256];
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (n > (int)sizeof(text) - 1)
		n = (int)sizeof(text) - 1;
	to->write(to->ctx, text, (size_t)n);
}

void shell_error(const struct shell_call *call, const char *fmt, ...)
{
	char text[CONFIG_ERROR_MAX + 64];
	struct table t;
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (!call->json) {
		shell_print(call->out, "error: ");
		call->out->write(call->out->ctx, text, strlen(text));
		shell_print(call->out, "\r\n");
		return;
	}
	object_begin(&t, *call->out, true);
	object_string(&t, "error", text);
	object_end(&t);
}

struct vms_entry *shell_vm(const struct shell_call *call, unsigned n, bool running)
{
	struct vms_entry *e = vms_find(call->word[n]);

	if (!e) {
		shell_error(call, "there is no vm %s; `list` shows those there are, `dmesg` what vireo.conf got wrong",
			    call->word[n]);
		return NULL;
	}
	if (running && !e->vm) {
		shell_error(call, "vm %s is not running", call->word[n]);
		return NULL;
	}
	return e;
}

struct vm_console *shell_vm_console(const struct shell_call *call)
{
	struct vms_entry *e = shell_vm(call, 1, false);
	struct vm_console *c = e ? &e->console : NULL;

	if (e && call->count > 2 && !(c = vms_console(e, call->word[2])))
		shell_error(call, "vm %s has no console %s; `consoles` shows those there are", call->word[1],
			    call->word[2]);
	return c;
}

void shell_each_command(void (*f)(void *ctx, const struct shell_command *command), void *ctx)
{
	for (unsigned i = 0; i < ARRAY_SIZE(tables); i++)
		for (const struct shell_command *c = tables[i]; c->name; c++)
			f(ctx, c);
}

/* --- completion --------------------------------------------------------------------------------------------------- */

static void offer_command(void *ctx, const struct shell_command *command)
{
	line_offer(ctx, command->name);
}

struct search {
	const char *name;
	size_t length;
	const struct shell_command *found;
};

static void match_command(void *ctx, const struct shell_command *command)
{
	struct search *s = ctx;

	if (strlen(command->name) == s->length && !memcmp(command->name, s->name, s->length))
		s->found = command;
}

static const struct shell_command *find_command(const char *name, size_t length)
{
	struct search s = {name, length, NULL};

	shell_each_command(match_command, &s);
	return s.found;
}

/* The first word is a command; what may follow is the command's to say. */
static void complete(void *ctx, const char *text, size_t start, struct line_candidates *candidates)
{
	const struct shell_command *command;
	size_t from = 0, length = 0;

	(void)ctx;
	while (from < start && text[from] == ' ')
		from++;
	while (from + length < start && text[from + length] != ' ')
		length++;
	if (!length) {
		shell_each_command(offer_command, candidates);
		return;
	}
	command = find_command(text + from, length);
	if (command && command->words == SHELL_WORDS_COMMAND)
		shell_each_command(offer_command, candidates);
	if (command && command->words == SHELL_WORDS_VM)
		for (struct vms_entry *e = vms_first(); e; e = e->next)
			line_offer(candidates, e->config.name);
}

/* --- the prompt --------------------------------------------------------------------------------------------------- */

static void redraw_line(struct work *work);
static struct work redraw_work = {.run = redraw_line};
static struct timer redraw_timer;
static uint64_t redrawn;    /* ticks: when it was last */
static _Atomic bool erased; /* the log has erased the row by itself */

/* A log line came in between; from any CPU. */
static void on_interrupted(void)
{
	atomic_store(&erased, true);
	work_queue(pcpu_at(0), &redraw_work);
}

static void on_redraw_timer(struct timer *timer)
{
	(void)timer;
	work_queue(pcpu_at(0), &redraw_work);
}

/* From here on the log may do it again: before the row is drawn, since it may at once. */
static void begin_row(void)
{
	atomic_store(&erased, false);
	log_set_prompt(on_interrupted);
}

/* What is left is to forget that anything was there. */
static void draw_again(void)
{
	redrawn = clock_now();
	begin_row();
	line_hide(&line);
	line_show(&line);
}

/* Guests' lines may come as fast as they like: the boot CPU draws the row now and then, or when somebody types. */
static void redraw_line(struct work *work)
{
	uint64_t again = redrawn + clock_from_ns(REDRAW_NS);

	(void)work;
	if (!atomic_load(&erased) || job.step || console_focused())
		return;
	if (clock_now() < again)
		timer_set(&redraw_timer, again);
	else
		draw_again();
}

static void prompt(void)
{
	begin_row();
	line_begin(&line);
}

/* --- commands ----------------------------------------------------------------------------------------------------- */

static void run_words(struct shell_call *call)
{
	const struct shell_command *command;

	if (!call->count)
		return;
	command = find_command(call->word[0], strlen(call->word[0]));
	if (!command)
		shell_error(call, "there is no command %.40s; `help` lists those there are", call->word[0]);
	else if (call->count - 1 < command->least || call->count - 1 > command->most)
		shell_error(call, "usage: %s %s", command->name, command->arguments);
	else
		command->run(call);
}

static void run_line(char *text)
{
	struct shell_call call = {.word = job.word, .out = &answers};
	struct words words;

	memcpy(job.text, text, LINE_SIZE);
	if (words_cut(&words, job.text)) {
		shell_error(&call, "%s", words.error);
		return;
	}
	call.json = words_take_flag(&words, "--json");
	memcpy(job.word, words.word, sizeof(words.word));
	call.count = words.count;
	run_words(&call);
}

static void put_job_away(void)
{
	timer_cancel(&job.timer);
	if (job.step && job.ended)
		job.ended(&job.call);
	job.step = NULL;
	flush_answer();
}

static void end_job(void)
{
	put_job_away();
	if (!console_focused())
		prompt();
}

static void on_job_timer(struct timer *timer)
{
	int64_t wait = ROOM_NS;

	if (!job.step)
		return;
	if (console_room() >= SHELL_STEP) {
		wait = job.step(&job.call);
		flush_answer();
	}
	if (wait < 0)
		end_job();
	else if (job.step)
		timer_set(timer, clock_now() + clock_from_ns((uint64_t)wait));
}

void shell_start_job(struct shell_call *call, shell_step *step)
{
	job.call = *call;
	job.step = step;
	job.ended = NULL;
	timer_set(&job.timer, clock_now());
}

void shell_job_ends(void (*ended)(struct shell_call *call))
{
	job.ended = ended;
}

/* --- the console's side ------------------------------------------------------------------------------------------- */

static void type(uint8_t byte)
{
	enum line_result result;

	if (job.step) {
		if (byte == KEY_CTRL_C || byte == 'q') {
			sink_text(&terminal, "\r\n");
			end_job();
		}
		return;
	}
	if (atomic_load(&erased))
		draw_again();
	result = line_byte(&line, byte);
	if (result == LINE_MORE)
		return;
	log_set_prompt(NULL);
	if (result == LINE_DONE)
		run_line(line.text);
	flush_answer();
	if (!job.step && !console_focused())
		prompt();
}

static void enter(void)
{
	if (!line_ready) {
		line_init(&line, terminal, PROMPT, WIDTH, complete, NULL);
		timer_init(&job.timer, &pcpu_at(0)->timers, NULL, on_job_timer);
		timer_init(&redraw_timer, &pcpu_at(0)->timers, NULL, on_redraw_timer);
		line_ready = true;
	}
	log_info("console: Vireo's shell; `help` lists the commands, Ctrl-] leads back to the guest");
	prompt();
}

static void leave(void)
{
	put_job_away();
	log_set_prompt(NULL);
	sink_text(&terminal, "\r\n");
}

const struct console_shell shell_console = {type, enter, leave};
