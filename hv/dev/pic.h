/*
 * The guest's two 8259A interrupt controllers, cascaded over IRQ 2 as in every PC, and their edge/level registers
 * (ELCR, ports 0x4d0 and 0x4d1). Called through the port bus, by the VM's interrupt lines and by the run loop (the
 * INTA cycle), with the device lock held. Intel 8259A data sheet; ELCR: Intel 82371SB (PIIX3) data sheet.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/bus.h"

/* What ICW comes next; in PIC_READY the data port is the interrupt mask. */
enum vpic_step { PIC_READY, PIC_ICW2, PIC_ICW3, PIC_ICW4 };

struct vpic_chip {
	uint8_t line;  /* the inputs now */
	uint8_t latch; /* rising edges not yet acknowledged */
	uint8_t imr, isr, elcr;
	uint8_t base;	/* vector of input 0, a multiple of 8 */
	uint8_t bottom; /* the input of lowest priority, 7 unless rotated */
	uint8_t step;	/* enum vpic_step */
	bool single, expect_icw4;
	bool auto_eoi, rotate_auto_eoi, special_mask, fully_nested; /* ICW4 and OCW2/3 modes; nested: "special" */
	bool poll, read_isr;
};

struct vpic {
	struct vpic_chip chip[2]; /* master, slave */
	bool intr;		  /* the master's INT output */
	void (*intr_changed)(void *ctx, bool level);
	void *ctx;
};

/* `intr_changed` is told of every change of the INTR output; it may not call back into the vpic. */
void vpic_init(struct vpic *pic, void (*intr_changed)(void *ctx, bool level), void *ctx);
int vpic_attach(struct vpic *pic, struct bus *ports) MUST_CHECK; /* -E_* of bus_add */
void vpic_reset(struct vpic *pic);				 /* keeps the inputs' levels */
void vpic_set_line(struct vpic *pic, unsigned irq, bool level);	 /* 0 to 15; 2 is the cascade and ignored */
static inline bool vpic_has_interrupt(const struct vpic *pic)
{
	return pic->intr;
}
int vpic_acknowledge(struct vpic *pic); /* INTA: the vector, 0 to 255; spurious: input 7 */

uint64_t vpic_read(void *dev, uint64_t port, unsigned size);
void vpic_write(void *dev, uint64_t port, unsigned size, uint64_t value);
