/* `trace`: the event rings of all CPUs switched on and off, emptied, and printed for tests/trace2json.py (hv/trace.h).
 */
/* SPDX-License-Identifier: MIT */
#include "hv/lib/string.h"
#include "hv/shell/shell.h"
#include "hv/trace.h"

static struct trace_cursor cursor;

/* A few lines a step; the job goes on when the serial line has taken them. */
static int64_t dump(struct shell_call *call)
{
	char line[TRACE_LINE_MAX];

	for (size_t used = 0; used + TRACE_LINE_MAX + 2 < SHELL_STEP; used += strlen(line) + 2) {
		if (!trace_next_line(&cursor, line, sizeof(line)))
			return SHELL_DONE;
		call->out->write(call->out->ctx, line, strlen(line));
		call->out->write(call->out->ctx, "\r\n", 2);
	}
	return 0;
}

static void run_trace(struct shell_call *call)
{
	const char *what = call->word[1];

	if (!strcmp(what, "start")) {
		if (trace_start())
			shell_error(call, "no memory for the rings");
	} else if (!strcmp(what, "stop")) {
		trace_stop();
	} else if (!strcmp(what, "clear")) {
		trace_clear();
	} else if (!strcmp(what, "dump")) {
		trace_open(&cursor, 0);
		shell_start_job(call, dump);
	} else {
		shell_error(call, "found '%s', expected start, stop, clear or dump", what);
	}
}

const struct shell_command shell_trace_commands[] = {
    {"trace", "start|stop|clear|dump", "what happens on each CPU; tests/trace2json.py draws a dump", 1, 1,
     SHELL_WORDS_NONE, run_trace},
    {0},
};
