/*
 * What a device asks of the VM it sits in, beyond bus, irq and timer: to end or restart the machine, and where a
 * device's text goes. Called with the VM's device lock held; the request is carried out after the current exit.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

enum platform_request {
	PLATFORM_POWER_OFF, /* ACPI S5 */
	PLATFORM_RESET,	    /* reset register, i8042 pulse, port 0xCF9 */
	PLATFORM_DEBUG_EXIT /* port 0xF4; code is what was written */
};

struct platform {
	void *ctx;
	void (*request)(void *ctx, enum platform_request what, uint32_t code);
};

/* Where a character device's output goes: what a guest sends, which need not be text (that is hv/lib/sink.h's). */
struct byte_sink {
	void *ctx;
	void (*write)(void *ctx, const uint8_t *bytes, size_t count);
};
