/*
 * One ring of output bytes behind everything that is said: log lines and guests' consoles. It is drained to the serial
 * port without waiting, by the transmit interrupt, and shown on the screen when there is time. Any CPU may write.
 * Input takes the same way back: bytes of the serial port and of the keyboard go to one handler. Owns drivers/uart,
 * drivers/screen and drivers/keyboard; one lock, a leaf, protects ring, grid and these drivers.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

#define LOG_RING_SIZE	   262144 /* power of two; crash reports of 64 VMs at once */
#define LOG_SHELL_MAX	   196608 /* bytes that may wait when Vireo's shell adds to them */
#define LOG_CONSOLE_MAX	   131072 /* and when the guest at the console does */
#define LOG_BACKGROUND_MAX 65536  /* and when another guest does: what others say waits six seconds at most */

/* Opens the serial port. Lines before this go to the ring and come out then. `entry_tsc` is time zero. */
void log_init(uint32_t baud, uint64_t entry_tsc);
void log_set_baud(uint32_t baud);   /* waits until what was said is sent */
void log_set_verbose(bool verbose); /* whether log_debug() says anything */

/* A line each: "[   0.012] text\r\n", with "error: " or "debug: " before the text; the time is 0.000 until the clock is
 * known. Longer than 400 characters is cut. */
void log_info(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_error(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_debug(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* The same for a line of a guest that has not the console: "name| text". It is not kept for log_read(), and dropped and
 * counted when LOG_BACKGROUND_MAX bytes wait already: guests can't push out what Vireo or the guest at the console
 * says. */
void log_guest_line(const char *name, const char *text, size_t length);
/*
 * Copies what log_info() and its sisters said, from byte number *at on (moved forward to the oldest that is kept), and
 * advances it. Answers how many bytes, 0: no more. Start with 0.
 */
size_t log_read(uint64_t *at, char *out, size_t size);

/*
 * Somebody types a line at the bottom: a log line erases it first, and calls `redraw` after. That happens once; who
 * draws the line again says so again. NULL: nobody types.
 */
void log_set_prompt(void (*redraw)(void));

/* Raw bytes of who has the console. Never waits: bytes beyond LOG_CONSOLE_MAX are dropped, counted, and reported. */
void console_write(const uint8_t *bytes, size_t count);
/* The same for Vireo's shell, and LOG_SHELL_MAX: it can be read whatever the guest before it has said. */
void console_answer(const uint8_t *bytes, size_t count);
/* Bytes of a guest's that would not be dropped now. */
size_t console_room(void);

/* Gives the UART what its FIFO takes and re-arms its interrupt; takes what was typed. Boot CPU, when idle. */
void log_pump(void);
/*
 * Draws up to `max_rows` changed screen rows while `go_on`, which is asked before each character, says true. One CPU
 * does at a time, and others may log meanwhile. False: there is nothing to draw, or another CPU draws.
 */
bool log_paint(unsigned max_rows, bool (*go_on)(void *ctx), void *ctx);
/* Does the screen show something else than it should? Any CPU, a moment's view. */
bool log_has_to_paint(void);
/* Waits until all is sent and drawn. */
void log_flush(void);

/* Received and typed bytes go here, without the lock held. Called from log_irq(), log_pump() and log_keyboard_irq().
 */
void log_set_input(void (*input)(void *ctx, uint8_t byte), void *ctx);
/* The UART's interrupt handler, for irq_register(VECTOR_UART, log_irq, NULL). */
void log_irq(void *ctx);
/* The keyboard's, for VECTOR_KEYBOARD on the same CPU. Nobody else looks for keys: firmware that imitates a keyboard
 * takes long to answer, so idle loops leave it alone. */
void log_keyboard_irq(void *ctx);

/* For panic(): from now on the lock is ignored and lines go out while they are written. */
void log_enter_panic(void);
