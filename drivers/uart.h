/*
 * The host's serial port: a 16550A at 0x3f8, ISA interrupt 4. Never waits, except to flush in panic(). Owned by
 * hv/log.c, under its lock. National Semiconductor PC16550D data sheet, chapter 8.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

#define UART_IRQ 4

/* 8N1 at `baud` (divides 115200), FIFOs on, interrupts off. False: nothing answers at that port; all else is a no-op.
 */
bool uart_init(uint32_t baud);

/* Puts into the transmit FIFO what has room there for sure. Returns how many of `count` bytes it took, 0 to 16. */
size_t uart_try_put(const uint8_t *bytes, size_t count);
/* A received byte, or -1. */
int uart_get(void);
/* Raise the interrupt on received bytes (always) and, while `transmit`, when the transmit FIFO is empty. */
void uart_set_interrupts(bool transmit);
/* Reads the cause, which takes back a transmit interrupt. True: there was an interrupt pending. */
bool uart_acknowledge(void);
/* Sends all bytes and waits for the last to leave, with a bound. */
void uart_put_blocking(const uint8_t *bytes, size_t count);
