/* Where text goes: a console, a log, a test's buffer. Whoever writes text takes one and need not know which. */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/string.h"

#include <stddef.h>

struct sink {
	void *ctx;
	void (*write)(void *ctx, const char *bytes, size_t count);
};

static inline void sink_write(const struct sink *sink, const char *bytes, size_t count)
{
	if (count)
		sink->write(sink->ctx, bytes, count);
}

static inline void sink_text(const struct sink *sink, const char *text)
{
	sink_write(sink, text, strlen(text));
}
