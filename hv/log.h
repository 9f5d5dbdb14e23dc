/*
 * One ring of output bytes behind everything that is said: log lines and guests' consoles. It is drained to the serial
 * port without waiting, by the transmit interrupt, and shown on the screen when there is time. Any CPU may write.
 * Owns drivers/uart and drivers/screen; one lock, a leaf, protects ring, grid and both drivers.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

#define LOG_RING_SIZE 65536 /* power of two */

/* Opens the serial port. Lines before this go to the ring and come out then. `entry_tsc` is time zero. */
void log_init(uint32_t baud, uint64_t entry_tsc);
void log_set_baud(uint32_t baud);   /* waits until what was said is sent */
void log_set_verbose(bool verbose); /* whether log_debug() says anything */

/* A line each: "[   0.012] text\r\n", with "error: " or "debug: " before the text; the time is 0.000 until the clock is
 * known. Longer than 400 characters is cut. */
void log_info(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_error(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_debug(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* Raw bytes (a guest's console). Never waits: bytes that find the ring full are dropped, counted, and reported. */
void console_write(const uint8_t *bytes, size_t count);

/* Gives the UART what its FIFO takes and re-arms its interrupt. For idle loops and after bursts; cheap when empty. */
void log_pump(void);
/* Draws up to `max_rows` changed screen rows. True: there are more. */
bool log_paint(unsigned max_rows);
/* Waits until all is sent and drawn. */
void log_flush(void);

/* Received bytes go here (without the lock held). Called from log_irq() and log_pump(). */
void log_set_input(void (*input)(void *ctx, uint8_t byte), void *ctx);
/* The UART's interrupt handler, for irq_register(VECTOR_UART, log_irq, NULL). */
void log_irq(void *ctx);

/* For panic(): from now on the lock is ignored and lines go out while they are written. */
void log_enter_panic(void);
