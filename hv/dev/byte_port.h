/*
 * For chips whose registers are bytes: the ISA bus splits a wider access into one for each port, low address first
 * (software uses that: a 16-bit write to 0x3D4 sets index and data). Read by the chips in this folder.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

static inline uint64_t byte_port_read(void *dev, uint64_t addr, unsigned size,
				      uint8_t (*read)(void *dev, uint16_t port))
{
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)read(dev, (uint16_t)(addr + i)) << (8 * i);
	return value;
}

static inline void byte_port_write(void *dev, uint64_t addr, unsigned size, uint64_t value,
				   void (*write)(void *dev, uint16_t port, uint8_t value))
{
	for (unsigned i = 0; i < size; i++)
		write(dev, (uint16_t)(addr + i), (uint8_t)(value >> (8 * i)));
}
