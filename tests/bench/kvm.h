/* What the files of tests/bench/kvm.c's program share. */
/* SPDX-License-Identifier: MIT */
#pragma once

/* Prints "kvm: ..." and a line's end, and ends the program: status 255. */
__attribute__((format(printf, 1, 2))) _Noreturn void die(const char *fmt, ...);
