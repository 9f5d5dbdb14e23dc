/*
 * Doorbells that mean nothing but themselves: tests/bench/kvm.c offers them to a guest that it tells "doorbells", as
 * ioeventfds of KVM. Writes of 16 bits, as virtio's; KVM takes the fast one without looking at the instruction.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#define DOORBELL_PORT	   0x5200u
#define DOORBELL_MMIO	   0xe8000000ull
#define DOORBELL_MMIO_FAST 0xe8001000ull
