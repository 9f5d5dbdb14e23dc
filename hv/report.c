/* Reports; see report.h. And vm_kill() (vm.h), which reports before it ends a VM. */
/* SPDX-License-Identifier: MIT */
#include "hv/report.h"

#include <stdarg.h>

#include "hv/clock.h"
#include "hv/exit/table.h"
#include "hv/guest_walk.h"
#include "hv/lib/printf.h"
#include "hv/log.h"
#include "hv/phys.h"
#include "hv/totals.h"

typedef unsigned long long ull;

static RO_AFTER_INIT uint64_t start_tsc;

void report_set_start(uint64_t entry_tsc)
{
	start_tsc = entry_tsc;
}

void report_first_entry(struct vm *vm, uint64_t now)
{
	log_info("vm %s: first instruction %llu ticks after core entry; zeroing memory took %llu, loading images %llu, "
		 "%llu since it was asked for, at TSC %llu",
		 vm->config->name, (ull)(now - start_tsc), (ull)vm->zero_ticks, (ull)vm->copy_ticks,
		 (ull)(now - vm->begun), (ull)now);
}

static void report_exits(const struct vm *vm)
{
	for (unsigned r = 0; r < EXIT_REASONS; r++) {
		struct exit_stat sum = totals_exit(vm, r);

		if (sum.count)
			log_debug("vm %s: exits: %8llu %-24s mean %llu max %llu ticks", vm->config->name,
				  (ull)sum.count, exit_name(r), (ull)(sum.ticks / sum.count), (ull)sum.max);
	}
}

/* By KVM's interface (hv/pv.h): what would have been as many exits more. */
static void report_eois(const struct vm *vm)
{
	uint64_t saved = 0;

	for (unsigned i = 0; i < vm->vcpu_count; i++)
		saved += vm->vcpu[i]->pv.eois;
	if (saved)
		log_debug("vm %s: exits: %8llu were saved: EOI by a bit in memory", vm->config->name, (ull)saved);
}

static void report_memory(const struct vm *vm)
{
	log_info("vm %s: touched %llu of %llu MiB; zeroing memory took %llu ticks in all", vm->config->name,
		 (ull)(guest_ram_taken(&vm->ram) / MIB), (ull)(vm->config->memory / MIB), (ull)vm->ram.zero_ticks);
}

void report_end(struct vm *vm)
{
	const char *name = vm->config->name;
	struct totals sum;
	ull exits;

	totals_of(vm, &sum);
	exits = sum.exits;
	report_exits(vm);
	report_eois(vm);
	report_memory(vm);
	switch (atomic_load(&vm->end)) {
	case VM_POWERED_OFF:
		log_info("vm %s: powered off after %llu exits", name, exits);
		break;
	case VM_RESTARTS:
		log_info("vm %s: restarts after %llu exits", name, exits);
		break;
	case VM_DEBUG_EXIT:
		log_info("vm %s: debug exit with code %u after %llu exits", name, vm->end_code, exits);
		break;
	case VM_HALTED:
		log_info("vm %s: halted for good (HLT with interrupts off) after %llu exits", name, exits);
		break;
	case VM_DESTROYED:
		log_info("vm %s: destroyed after %llu exits", name, exits);
		break;
	default:
		log_info("vm %s: killed after %llu exits", name, exits);
		break;
	}
}

/* --- crash report ------------------------------------------------------------------------------------------------- */

static void print_registers(const char *name, const struct cpu_state *s)
{
	static const char *const reg[] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
					  "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14", "R15"};

	for (unsigned i = 0; i < REG_COUNT; i += 4)
		log_error("vm %s:   %s %016llx  %s %016llx  %s %016llx  %s %016llx", name, reg[i], (ull)s->reg[i],
			  reg[i + 1], (ull)s->reg[i + 1], reg[i + 2], (ull)s->reg[i + 2], reg[i + 3],
			  (ull)s->reg[i + 3]);
	log_error("vm %s:   RIP %016llx  RFLAGS %llx  CR0 %llx  CR3 %llx  CR4 %llx  EFER %llx", name, (ull)s->rip,
		  (ull)s->rflags, (ull)s->cr0, (ull)s->cr3, (ull)s->cr4, (ull)s->efer);
}

static void print_segments(const char *name, const struct cpu_state *s)
{
	static const char *const seg[] = {"ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR"};

	for (unsigned i = 0; i < SEG_COUNT; i += 2)
		log_error("vm %s:   %-4s %04x base %llx limit %x access %x  %-4s %04x base %llx limit %x access %x",
			  name, seg[i], s->seg[i].selector, (ull)s->seg[i].base, s->seg[i].limit, s->seg[i].access,
			  seg[i + 1], s->seg[i + 1].selector, (ull)s->seg[i + 1].base, s->seg[i + 1].limit,
			  s->seg[i + 1].access);
	log_error("vm %s:   GDT base %llx limit %x  IDT base %llx limit %x", name, (ull)s->gdt_base, s->gdt_limit,
		  (ull)s->idt_base, s->idt_limit);
}

static void print_history(const struct vcpu *v)
{
	const char *name = v->vm->config->name;
	uint64_t now = clock_now();
	unsigned count = v->history_next < VCPU_HISTORY ? v->history_next : VCPU_HISTORY;

	for (unsigned i = count; i > 0; i--) {
		const struct exit *r = &v->history[(v->history_next - i) % VCPU_HISTORY];

		log_error("vm %s:   exit -%u: %s, %llu ticks before the report", name, i, exit_name(r->reason),
			  (ull)(now - r->tsc));
	}
}

#define CODE_BYTES 16

static void print_code(struct vcpu *v, const struct cpu_state *s)
{
	uint8_t code[CODE_BYTES];
	char text[3 * CODE_BYTES + 1] = "";
	bool code64 = (s->efer & EFER_LMA) && (s->seg[SEG_CS].access & SEG_AR_L);
	size_t size = guest_fetch(v, GVA(code64 ? s->rip : s->seg[SEG_CS].base + s->rip), code, sizeof(code));

	for (size_t i = 0; i < size; i++)
		snprintf(text + 3 * i, 4, " %02x", code[i]);
	log_error("vm %s:   code at RIP:%s", v->vm->config->name, size ? text : " can't be read");
}

static void report_crash(struct vcpu *v)
{
	struct cpu_state s;

	virt_get_state(&v->virt, &s);
	print_registers(v->vm->config->name, &s);
	print_segments(v->vm->config->name, &s);
	print_code(v, &s);
	print_history(v);
}

enum outcome vm_kill(struct vcpu *v, const char *fmt, ...)
{
	struct vm *vm = v->vm;
	char why[200];
	va_list args;

	va_start(args, fmt);
	vsnprintf(why, sizeof(why), fmt, args);
	va_end(args);
	log_error("vm %s: killed: vCPU %u: %s", vm->config->name, v->index, why);
	report_crash(v);
	vm_finish(vm, VM_KILLED, 0);
	return OUTCOME_KILL;
}
