/*
 * Guest memory by linear address: the guest's own page tables, then its memory map. For handlers that fetch an
 * instruction or move a string. Owner only, vCPU loaded.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "arch/x86/walk.h"
#include "hv/vcpu.h"

/* What translation depends on just now. */
void guest_walk_mode(const struct vcpu *v, struct walk_mode *mode);

/* Copies `size` bytes (may cross pages). 0; -E_FAULT: page fault with error code *fault; -E_RANGE: no memory there. */
int guest_linear_read(struct vcpu *v, gva_t address, void *dst, size_t size, uint32_t *fault) MUST_CHECK;
int guest_linear_write(struct vcpu *v, gva_t address, const void *src, size_t size, uint32_t *fault) MUST_CHECK;
/* Up to `size` bytes of code; answers how many could be read, 0 to size. */
size_t guest_fetch(struct vcpu *v, gva_t address, void *dst, size_t size);
/* Where one byte is. 0, -E_FAULT. */
int guest_translate(struct vcpu *v, gva_t address, bool write, gpa_t *gpa, uint32_t *fault) MUST_CHECK;
/*
 * Can all of the `size` bytes, at most a page, be reached? For an operand beside which a device is asked, which may
 * give a byte away only once. *gpa is where the first one is; when it fails, *at is the first that can't be, for CR2:
 * it is on the second page where the operand crosses into one. 0, -E_FAULT or another error of guest_translate().
 */
int guest_probe(struct vcpu *v, gva_t from, size_t size, bool write, gpa_t *gpa, gva_t *at, uint32_t *fault) MUST_CHECK;
/* What to answer when one of these failed: #PF for the guest, or the end of a guest that points at no memory. */
enum outcome guest_linear_fault(struct vcpu *v, gva_t address, int err, uint32_t fault);
