/*
 * Moves the core's image to another address than it was linked for: adds the distance to every word that holds an
 * address of the core. Pure; used by boot/core.c. The code stays what it was, absolute addresses and all.
 *
 * Which words these are, boot/relocations.py takes from the linker and appends to the core's file; a program header of
 * type ELF_RELOCATIONS says where. The table is of little-endian 32-bit words: how many 8-byte words, how many 4-byte
 * words (sign-extended when used, R_X86_64_32S), then their offsets from the start of the image, each kind ascending.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "boot/elf.h"

#include <stdint.h>

/*
 * Large pages map the core at either address alike. An address in the image may also lie up to one step behind its
 * end, where the compiler has put part of an index into it; boot/relocations.py sees to it that none lies farther.
 */
#define RELOCATE_STEP (2ULL << 20)

/* How many places there are for the image in the top 2 GiB: slides of 0 to one less, in steps. At least 1. */
uint32_t relocate_positions(const struct elf_image *image);

/*
 * Moves the image by `slide` bytes, which is RELOCATE_STEP times a number below relocate_positions(). `memory` is as
 * elf_load left it; the addresses in `image`, which comes from elf_parse of `file`, are moved as well.
 * NULL, or what is wrong with the table; image and memory are of no use then.
 */
const char *relocate(const uint8_t *file, struct elf_image *image, uint8_t *memory, uint64_t slide);
