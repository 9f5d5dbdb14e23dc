/* Segment descriptors and task state: gdt.h. A 64-bit core needs one code segment, one data segment and one TSS. */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/gdt.h"
#include "arch/x86/insn.h"

/* SDM Vol. 3A Figure 3-8: present, code or data, accessed already, so that the GDT is never written by the processor.
 */
#define DESCRIPTOR_CODE64 0x00209b0000000000ULL
#define DESCRIPTOR_DATA	  0x0000930000000000ULL
#define TYPE_TSS_PRESENT  0x89ULL /* available 64-bit TSS, DPL 0 */

static void gdt_set_tss(struct gdt *gdt, const struct tss *tss)
{
	uint64_t base = (uint64_t)tss;
	uint64_t limit = sizeof(*tss) - 1;

	gdt->entry[3] = limit | (base & 0xffffff) << 16 | TYPE_TSS_PRESENT << 40 | (base >> 24 & 0xff) << 56;
	gdt->entry[4] = base >> 32;
}

/* A far return is the only way to load CS in 64-bit mode from C. FS and GS keep their bases: they are not touched. */
static void gdt_load_segments(void)
{
	__asm__ volatile("pushq %0\n\t"
			 "leaq 1f(%%rip), %%rax\n\t"
			 "pushq %%rax\n\t"
			 "lretq\n"
			 "1:\n\t"
			 "movl %1, %%eax\n\t"
			 "movl %%eax, %%ds\n\t"
			 "movl %%eax, %%es\n\t"
			 "movl %%eax, %%ss\n\t"
			 :
			 : "i"(SELECTOR_CODE), "i"(SELECTOR_DATA)
			 : "rax", "memory");
}

void gdt_load(struct gdt *gdt, struct tss *tss)
{
	struct table_register gdtr = {.limit = sizeof(*gdt) - 1, .base = (uint64_t)gdt};

	gdt->entry[0] = 0;
	gdt->entry[SELECTOR_CODE / 8] = DESCRIPTOR_CODE64;
	gdt->entry[SELECTOR_DATA / 8] = DESCRIPTOR_DATA;
	gdt_set_tss(gdt, tss);
	tss->io_map = sizeof(*tss);

	lgdt(&gdtr);
	gdt_load_segments();
	lldt(0);
	ltr(SELECTOR_TSS);
}
