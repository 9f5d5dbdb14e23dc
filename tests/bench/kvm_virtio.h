/*
 * Virtio devices for the guest of tests/bench/kvm.c, as guests/bench_virtio.c wants them (VIRTIO 1.2 over PCI, modern
 * layout, split queues): a disk of 1 MiB in memory, two network cards with a wire between them, a console whose text
 * goes to stdout. Each has its doorbells twice, by port and by memory.
 *
 * The peer that this stands for is as lean as user space can be. The vCPU's thread serves a doorbell before the guest
 * goes on; no other thread is woken, and no lock taken. There are no interrupts, so a driver that wants some is
 * refused, as are accesses and requests that break a rule: die() says which. Features: VERSION_1 alone. Of a PCI
 * function there is what finding it takes; its BARs are assigned and answer always, ISR and device configuration are
 * left out.
 *
 * All is for one vCPU: nothing here may be called from two threads at once.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Makes the devices, once: they reach these bytes, which are the guest's memory from its address 0 on. */
void virtio_init(uint8_t *memory, size_t bytes);

/* One access of 1, 2, 4 or, to memory, 8 bytes. Where no device is, reads give ones and writes do nothing. */
uint32_t virtio_read_port(unsigned port, unsigned bytes);
void virtio_write_port(unsigned port, unsigned bytes, uint32_t value);
uint64_t virtio_read_memory(uint64_t address, unsigned bytes);
void virtio_write_memory(uint64_t address, unsigned bytes, uint64_t value);
