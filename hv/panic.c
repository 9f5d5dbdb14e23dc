/*
 * The third verb: hv/lib/panic.h. Other CPUs are stopped first, so that the report stays in one piece; then message,
 * registers, stack trace, on every console; then nothing ever again.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/lib/panic.h"
#include "arch/x86/cpu.h"
#include "arch/x86/insn.h"
#include "arch/x86/lapic.h"
#include "arch/x86/slide.h"
#include "arch/x86/trap.h"
#include "hv/lib/printf.h"
#include "hv/log.h"
#include "hv/trace.h"
#include "version.h"

#define TRACE_MAX      32
#define EVENTS_MAX     128 /* of the event trace, over all CPUs */
#define EVENTS_PER_CPU 16

extern const uint8_t __text_start[], __text_end[]; /* linker.ld */

static _Atomic uint32_t panics;

static _Noreturn void stop(void)
{
	for (;;) {
		cli();
		hlt();
	}
}

static void print_pair(const char *a, uint64_t va, const char *b, uint64_t vb, const char *c, uint64_t vc)
{
	log_info("  %-4s %016llx  %-4s %016llx  %-4s %016llx", a, (unsigned long long)va, b, (unsigned long long)vb, c,
		 (unsigned long long)vc);
}

static void print_line(const char *text)
{
	log_info("  %s", text);
}

static void print_registers(const struct trap_frame *f)
{
	print_pair("rip", f->rip, "rsp", f->rsp, "rfl", f->rflags);
	print_pair("rax", f->rax, "rbx", f->rbx, "rcx", f->rcx);
	print_pair("rdx", f->rdx, "rsi", f->rsi, "rdi", f->rdi);
	print_pair("rbp", f->rbp, "r8", f->r8, "r9", f->r9);
	print_pair("r10", f->r10, "r11", f->r11, "r12", f->r12);
	print_pair("r13", f->r13, "r14", f->r14, "r15", f->r15);
	print_pair("cs", f->cs, "ss", f->ss, "err", f->error);
}

/*
 * Every frame starts with the caller's RBP and the return address (-fno-omit-frame-pointer). The chain may be damaged:
 * it is followed upwards only, through a read that survives a fault, while return addresses lie in our text.
 */
static void print_trace(uint64_t rbp)
{
	uint64_t next, rip;

	for (unsigned i = 0; i < TRACE_MAX && rbp && !(rbp & 7); i++) {
		if (read_safe((const void *)rbp, &next) || read_safe((const void *)(rbp + 8), &rip))
			break;
		if (rip < (uint64_t)__text_start || rip >= (uint64_t)__text_end)
			break;
		log_info("  called from 0x%llx", (unsigned long long)core_linked(rip));
		if (next <= rbp)
			break;
		rbp = next;
	}
}

/* The last events of each CPU, if there are any. */
static void print_events(void)
{
	static struct trace_cursor cursor;
	char line[TRACE_LINE_MAX];
	unsigned each = EVENTS_MAX / cpu_count();

	if (!trace_on)
		return;
	trace_stop();
	trace_open(&cursor, each < EVENTS_PER_CPU ? each : EVENTS_PER_CPU);
	while (trace_next_line(&cursor, line, sizeof(line)))
		log_info("  %s", line);
}

static void print_report(const char *message, uint64_t rbp)
{
	const struct trap_frame *fault = this_cpu()->fault;

	log_info("PANIC on CPU %u: %s", this_cpu()->index, message);
	log_info("  Vireo %s", VIREO_VERSION);
	log_info("  slide 0x%llx, taken off addresses of the core in the lines above and \"called from\"",
		 (unsigned long long)core_slide());
	print_pair("cr0", read_cr0(), "cr2", read_cr2(), "cr3", read_cr3());
	if (fault)
		print_registers(fault);
	if (fault && fault->vector == VECTOR_MC)
		mce_dump(print_line);
	print_trace(fault ? fault->rbp : rbp);
	print_events();
	log_info("stopped; the machine must be reset");
	log_flush();
}

void panic(const char *fmt, ...)
{
	static char message[400];
	va_list args;

	cli();
	if (panics++) /* another CPU was first, or the report itself failed: what is out is out */
		stop();
	trap_stop_on_nmi();
	lapic_send_nmi_to_others();
	log_enter_panic();
	va_start(args, fmt);
	vsnprintf(message, sizeof(message), fmt, args);
	va_end(args);
	print_report(message, (uint64_t)__builtin_frame_address(0));
	stop();
}
