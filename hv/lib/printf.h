/*
 * snprintf for the core: %d %i %u %x %X %p %c %s %%, with l/ll/z, width, precision, '0' and '-'.
 * Always terminates (size > 0); answers the length that the whole text would have had, as C says.
 * On the development host libc provides the same functions.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdarg.h>
#include <stddef.h>

int vsnprintf(char *buf, size_t size, const char *fmt, va_list args);
int snprintf(char *buf, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
