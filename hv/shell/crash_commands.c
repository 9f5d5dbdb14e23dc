/*
 * `crash WALL`: does what no code of Vireo's may do, to see that the machine stops with a report instead of going on.
 * For tests/boot/test_walls.py, and for who wants to know whether a new machine's report can be read.
 */
/* SPDX-License-Identifier: MIT */
#include "arch/x86/insn.h"
#include "arch/x86/memory.h"
#include "hv/lib/panic.h"
#include "hv/lib/string.h"
#include "hv/shell/shell.h"
#include "hv/vms.h"

extern uint8_t __text_start[], __rodata_start[], __ro_after_init_start[]; /* linker.ld */

struct wall {
	const char *name;
	void (*run_into)(void);
};

/* The compiler shall believe that these may be anything. */
static volatile size_t too_many = 64;
static volatile uint64_t null;

static NOINLINE void fill(volatile uint8_t *array, size_t size)
{
	for (size_t i = 0; i < size; i++)
		array[i] = 0xcc;
}

static NOINLINE void smash_stack(void)
{
	uint8_t array[16];

	fill(array, too_many);
}

static NOINLINE uint64_t descend(const volatile uint64_t *above)
{
	volatile uint64_t here = *above + 1;

	return here ? descend(&here) + here : 0;
}

static void exhaust_stack(void)
{
	null = descend(&null);
}

static void read_null(void)
{
	null = *(volatile uint64_t *)null;
}

/* As an overwritten pointer to a function would. */
static void run_data(void)
{
	static uint8_t ret[] = {0xc3};

	((void (*)(void))ret)();
}

static void write_text(void)
{
	*(volatile uint8_t *)__text_start = 0xcc;
}

static void write_constant(void)
{
	*(volatile uint8_t *)__rodata_start = 0xcc;
}

static void write_sealed(void)
{
	*(volatile uint8_t *)__ro_after_init_start = 0xcc;
}

static _Noreturn void arrive(void)
{
	panic("there is no wall: crash return went elsewhere than to its caller");
}

/* As a write past an array would that misses the canary, but to a known address. RBP is lost, too. */
static NOINLINE void write_return(void)
{
	volatile uint64_t *frame = __builtin_frame_address(0);

	frame[0] = PAGE_SIZE;
	frame[1] = (uint64_t)arrive;
}

static void write_shadow(void)
{
	volatile uint64_t *ssp = (volatile uint64_t *)rdssp();

	if (ssp)
		*ssp = (uint64_t)arrive;
}

/* Not a wall, but the same kind of end. */
static void raise_machine_check(void)
{
	cpu_raise_machine_check();
}

/* The first that is not shut off; NULL: none, and there is nothing to break. */
static struct vm *any_vm(void)
{
	struct vms_entry *e = vms_first();

	while (e && !e->vm)
		e = e->next;
	return e ? e->vm : NULL;
}

/* By its physical address, where the direct map has Vireo's own. */
static void read_guest(void)
{
	struct vm *vm = any_vm();

	if (vm)
		null = *(volatile uint64_t *)phys_to_virt(vm->ram.first);
}

/* Where devices find it, but no device works on this CPU, and no vCPU of the VM has run here last. */
static void read_window(void)
{
	struct vm *vm = any_vm();

	if (vm)
		null = *(volatile uint64_t *)guest_ram_first(&vm->ram, 0);
}

#define WALL_NAMES "smash, depth, null, data, text, constant, sealed, return, shadow, guest, window, mce"

static const struct wall walls[] = {
    {"smash", smash_stack},   {"depth", exhaust_stack},	    {"null", read_null},      {"data", run_data},
    {"text", write_text},     {"constant", write_constant}, {"sealed", write_sealed}, {"return", write_return},
    {"shadow", write_shadow}, {"guest", read_guest},	    {"window", read_window},  {"mce", raise_machine_check},
};

static void run_crash(struct shell_call *call)
{
	for (size_t i = 0; i < ARRAY_SIZE(walls); i++) {
		if (strcmp(call->word[1], walls[i].name))
			continue;
		walls[i].run_into();
		panic("there is no wall: crash %s did no harm", walls[i].name);
	}
	shell_error(call, "found %.40s, expected a wall: one of " WALL_NAMES, call->word[1]);
}

const struct shell_command shell_crash_commands[] = {
    {"crash", "WALL", "Vireo breaks a rule of its own and panics: " WALL_NAMES, 1, 1, SHELL_WORDS_NONE, run_crash},
    {0},
};
