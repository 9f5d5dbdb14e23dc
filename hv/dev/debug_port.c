/* Debug console, debug exit and POST port, see debug_port.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/dev/debug_port.h"

#include "hv/lib/string.h"

#define PORT_POST    0x80
#define PORT_CONSOLE 0xE9
#define PORT_EXIT    0xF4
#define EXIT_PORTS   4 /* a code of four bytes covers that many */

static uint64_t post_read(void *dev, uint64_t addr, unsigned size)
{
	const struct debug_port *dbg = dev;

	(void)addr, (void)size;
	return dbg->post;
}

static void post_write(void *dev, uint64_t addr, unsigned size, uint64_t value)
{
	struct debug_port *dbg = dev;

	(void)addr, (void)size;
	dbg->post = (uint8_t)value;
}

static uint64_t console_read(void *dev, uint64_t addr, unsigned size)
{
	(void)dev, (void)addr, (void)size;
	return PORT_CONSOLE;
}

static void console_write(void *dev, uint64_t addr, unsigned size, uint64_t value)
{
	struct debug_port *dbg = dev;
	uint8_t byte = (uint8_t)value;

	(void)addr, (void)size;
	dbg->out.write(dbg->out.ctx, &byte, 1);
}

static uint64_t exit_read(void *dev, uint64_t addr, unsigned size)
{
	(void)dev, (void)addr, (void)size;
	return 0;
}

static void exit_write(void *dev, uint64_t addr, unsigned size, uint64_t value)
{
	struct debug_port *dbg = dev;

	(void)size;
	if (addr == PORT_EXIT)
		dbg->platform->request(dbg->platform->ctx, PLATFORM_DEBUG_EXIT, (uint32_t)value);
}

int debug_port_init(struct debug_port *dbg, struct bus *pio, struct byte_sink out, const struct platform *platform)
{
	const struct bus_range range[] = {
	    {PORT_POST, 1, "POST port", dbg, post_read, post_write},
	    {PORT_CONSOLE, 1, "debug console", dbg, console_read, console_write},
	    {PORT_EXIT, EXIT_PORTS, "debug exit", dbg, exit_read, exit_write},
	};
	int err = 0;

	memset(dbg, 0, sizeof(*dbg));
	dbg->out = out;
	dbg->platform = platform;
	for (unsigned i = 0; i < ARRAY_SIZE(range) && !err; i++)
		err = bus_add(pio, &range[i]);
	return err;
}

void debug_port_reset(struct debug_port *dbg)
{
	dbg->post = 0;
}
