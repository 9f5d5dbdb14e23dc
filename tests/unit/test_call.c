/* Vireo's own hypercalls from registers to what they do: who may call, which half of a register counts, what is
 * refused. */
/* SPDX-License-Identifier: MIT */
/* links: hv/call.c hv/exit/hypercall.c hv/guest_mem.c hv/dev/vlapic.c hv/dev/vlapic_regs.c hv/dev/vlapic_ipi.c */
/* links: hv/dev/vlapic_timer.c hv/dev/apic_bus.c */
#include "tests/unit/fake_virt.h"

#include "hv/exit/table.h"
#include "hv/sched/sched.h"
#include "hv/vm_share.h"

static struct vm_config config = {.name = "anna", .vcpus = 2, .memory = 16 * MIB};
static uint8_t ram[2 * PAGE_SIZE];
static char said[2048];
static size_t said_size;
static unsigned yields, kvm_calls;
static uint32_t end;
static struct {
	char what;
	uint64_t arg[4];
	bool writable;
} shared;

void sched_yield_from(struct vcpu *v)
{
	assert_ptr_equal(v, &vcpu);
	yields++;
}

void vm_finish(struct vm *ended, enum vm_end why, uint32_t code)
{
	assert_ptr_equal(ended, &vm);
	assert_int_equal(code, 0);
	end = why;
}

static void write_said(void *ctx, const uint8_t *bytes, size_t count)
{
	assert_ptr_equal(ctx, said);
	memcpy(said + said_size, bytes, count);
	said_size += count;
}

struct byte_sink console_sink(struct vm_console *console)
{
	assert_ptr_equal(console, vm.console);
	return (struct byte_sink){said, write_said};
}

uint64_t pv_hypercall(struct vcpu *v)
{
	assert_ptr_equal(v, &vcpu);
	kvm_calls++;
	return (uint64_t)-1000;
}

static int note(char what, uint64_t a, uint64_t b, uint64_t c, uint64_t d, bool writable)
{
	shared.what = what;
	shared.arg[0] = a;
	shared.arg[1] = b;
	shared.arg[2] = c;
	shared.arg[3] = d;
	shared.writable = writable;
	return VIREO_EBUSY;
}

int vm_share_peer(struct vm *m, uint64_t peer, struct vireo_peer *out)
{
	(void)m;
	if (peer)
		return VIREO_ENOENT;
	memset(out, 0, sizeof(*out));
	snprintf(out->name, sizeof(out->name), "bert");
	out->present = 1;
	return 0;
}
int vm_share_listen(struct vcpu *v, uint64_t vector)
{
	(void)v;
	return note('l', vector, 0, 0, 0, false);
}
int vm_share_ring(struct vm *m, uint64_t peer)
{
	(void)m;
	return note('r', peer, 0, 0, 0, false);
}
uint32_t vm_share_take(struct vm *m)
{
	(void)m;
	return 0x80;
}
int vm_share_grant(struct vm *m, uint64_t peer, uint64_t slot, uint64_t gpa, uint64_t pages, bool writable)
{
	(void)m;
	return note('g', peer, slot, gpa, pages, writable);
}
int vm_share_revoke(struct vm *m, uint64_t slot)
{
	(void)m;
	return note('v', slot, 0, 0, 0, false);
}
int vm_share_map(struct vm *m, uint64_t peer, uint64_t slot, uint64_t gpa, uint64_t pages, bool writable)
{
	(void)m;
	return note('m', peer, slot, gpa, pages, writable);
}
int vm_share_unmap(struct vm *m, uint64_t gpa)
{
	(void)m;
	return note('u', gpa, 0, 0, 0, false);
}

static int begin(void **state)
{
	struct guest_region region = {.gpa = 0, .size = sizeof(ram), .host = ram, .ram = true};

	(void)state;
	fake_reset();
	memset(&vm.mem, 0, sizeof(vm.mem));
	assert_int_equal(guest_mem_add(&vm.mem, &region), 0);
	memset(ram, 0xee, sizeof(ram));
	config.hypercalls = config.kvm = true;
	config.peer_count = 1;
	vm.config = &config;
	vcpu.vm = &vm;
	vcpu.index = 1;
	said_size = 0;
	yields = kvm_calls = end = 0;
	memset(&shared, 0, sizeof(shared));
	fake.efer = EFER_LMA;
	fake.cs.access = SEG_AR_L;
	return 0;
}

static int64_t call(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	struct exit exit = {.reason = EXIT_VMCALL};

	vcpu.virt.reg[REG_RAX] = number;
	vcpu.virt.reg[REG_RBX] = a;
	vcpu.virt.reg[REG_RCX] = b;
	vcpu.virt.reg[REG_RDX] = c;
	vcpu.virt.reg[REG_RSI] = d;
	assert_int_equal(exit_vmcall(&vcpu, &exit), OUTCOME_NEXT);
	return (int64_t)vcpu.virt.reg[REG_RAX];
}

static void numbers_find_their_interface(void **state)
{
	(void)state;
	assert_int_equal(call(VIREO_CALL_YIELD, 0, 0, 0, 0), 0);
	assert_int_equal(call(VIREO_CALL_YIELD | 0xff00000000, 0, 0, 0, 0), 0); /* RAX's low half counts */
	assert_int_equal(yields, 2);
	assert_int_equal(call(VIREO_CALL_UNMAP + 1, 0, 0, 0, 0), VIREO_ENOSYS);
	assert_int_equal(call(0xffffffff, 0, 0, 0, 0), VIREO_ENOSYS);
	assert_int_equal(kvm_calls, 0);
	assert_int_equal(call(11, 0, 0, 0, 0), -1000);
	assert_int_equal(kvm_calls, 1);
	config.kvm = false;
	assert_int_equal(call(11, 0, 0, 0, 0), VIREO_ENOSYS);
	assert_int_equal(kvm_calls, 1);
	config.kvm = true;
	config.hypercalls = false;
	assert_int_equal(call(VIREO_CALL_POWER_OFF, 0, 0, 0, 0), -1000);
	assert_int_equal(kvm_calls, 2);
	config.kvm = false;
	assert_int_equal(call(VIREO_CALL_POWER_OFF, 0, 0, 0, 0), -1);
	assert_int_equal(kvm_calls, 2);
	assert_int_equal(end, VM_RUNS);
}

static void user_mode_may_not(void **state)
{
	(void)state;
	fake.cpl = 3;
	assert_int_equal(call(VIREO_CALL_POWER_OFF, 0, 0, 0, 0), VIREO_EPERM);
	assert_int_equal(call(0xffffffff, 0, 0, 0, 0), VIREO_EPERM);
	assert_int_equal(end, VM_RUNS);
	fake.cpl = 0;
	assert_int_equal(call(VIREO_CALL_POWER_OFF, 0, 0, 0, 0), 0);
	assert_int_equal(end, VM_POWERED_OFF);
}

static void info_is_as_long_as_asked(void **state)
{
	struct vireo_info info;

	(void)state;
	assert_int_equal(call(VIREO_CALL_INFO, 8, ~0ULL, 0, 0), sizeof(info));
	memcpy(&info, ram + 8, sizeof(info));
	assert_int_equal(info.version, VIREO_CALLS);
	assert_int_equal(info.size, sizeof(info));
	assert_int_equal(info.vcpus, 2);
	assert_int_equal(info.vcpu, 1);
	assert_int_equal(info.memory, 16 * MIB);
	assert_int_equal(info.peers, 1);
	assert_string_equal(info.name, "anna");
	assert_int_equal(ram[8 + sizeof(info)], 0xee);
	memset(ram, 0xee, sizeof(ram));
	assert_int_equal(call(VIREO_CALL_INFO, 0, 8, 0, 0), 8);
	assert_int_equal(ram[7], 0);
	assert_int_equal(ram[8], 0xee);
	assert_int_equal(call(VIREO_CALL_INFO, sizeof(ram), 8, 0, 0), VIREO_EFAULT);
	assert_int_equal(call(VIREO_CALL_INFO, sizeof(ram) - 8, sizeof(info), 0, 0), VIREO_EFAULT);
	assert_int_equal(ram[sizeof(ram) - 8], 0xee); /* all or nothing */
	assert_int_equal(call(VIREO_CALL_INFO, ~0ULL, 8, 0, 0), VIREO_EFAULT);
}

static void print_is_bounded(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(ram); i++)
		ram[i] = (uint8_t)i;
	assert_int_equal(call(VIREO_CALL_PRINT, 5, VIREO_PRINT_MAX, 0, 0), 0);
	assert_int_equal(said_size, VIREO_PRINT_MAX);
	assert_memory_equal(said, ram + 5, VIREO_PRINT_MAX);
	said_size = 0;
	assert_int_equal(call(VIREO_CALL_PRINT, 0, 0, 0, 0), 0);
	assert_int_equal(call(VIREO_CALL_PRINT, 5, VIREO_PRINT_MAX + 1, 0, 0), VIREO_EINVAL);
	assert_int_equal(call(VIREO_CALL_PRINT, 5, ~0ULL, 0, 0), VIREO_EINVAL);
	assert_int_equal(call(VIREO_CALL_PRINT, sizeof(ram) - 1, 2, 0, 0), VIREO_EFAULT);
	assert_int_equal(call(VIREO_CALL_PRINT, ~0ULL - 1, 4, 0, 0), VIREO_EFAULT);
	assert_int_equal(said_size, 0);
}

/* In 32-bit code the high halves are whatever they were. */
static void low_halves_count_in_32_bits(void **state)
{
	(void)state;
	fake.cs.access = 0;
	assert_int_equal(call(VIREO_CALL_GRANT, 1 | BIT(40), 2 | BIT(41), 0x3001 | BIT(42), 4 | BIT(43)), VIREO_EBUSY);
	assert_int_equal(shared.what, 'g');
	assert_int_equal(shared.arg[0], 1);
	assert_int_equal(shared.arg[1], 2);
	assert_int_equal(shared.arg[2], 0x3000);
	assert_int_equal(shared.arg[3], 4);
	assert_true(shared.writable);
	fake.cs.access = SEG_AR_L;
	call(VIREO_CALL_MAP, 1 | BIT(40), 2, 0x3000, 4);
	assert_int_equal(shared.what, 'm');
	assert_int_equal(shared.arg[0], 1 | BIT(40));
	assert_false(shared.writable);
}

static void the_others_are_passed_on(void **state)
{
	struct vireo_peer peer;

	(void)state;
	call(VIREO_CALL_LISTEN, 0x50, 0, 0, 0);
	assert_true(shared.what == 'l' && shared.arg[0] == 0x50);
	call(VIREO_CALL_RING, 3, 0, 0, 0);
	assert_true(shared.what == 'r' && shared.arg[0] == 3);
	call(VIREO_CALL_REVOKE, 4, 0, 0, 0);
	assert_true(shared.what == 'v' && shared.arg[0] == 4);
	call(VIREO_CALL_UNMAP, 5, 0, 0, 0);
	assert_true(shared.what == 'u' && shared.arg[0] == 5);
	assert_int_equal(call(VIREO_CALL_TAKE, 0, 0, 0, 0), 0x80);
	assert_int_equal(call(VIREO_CALL_PEER, 1, 0, 0, 0), VIREO_ENOENT);
	assert_int_equal(call(VIREO_CALL_PEER, 0, sizeof(ram), 0, 0), VIREO_EFAULT);
	assert_int_equal(call(VIREO_CALL_PEER, 0, 16, 0, 0), 0);
	memcpy(&peer, ram + 16, sizeof(peer));
	assert_string_equal(peer.name, "bert");
	assert_int_equal(peer.present, 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, begin)
	static const struct CMUnitTest tests[] = {
	    T(numbers_find_their_interface), T(user_mode_may_not),
	    T(info_is_as_long_as_asked),     T(print_is_bounded),
	    T(low_halves_count_in_32_bits),  T(the_others_are_passed_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
