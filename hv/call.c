/*
 * Vireo's own hypercalls; see call.h. One table: a row a call. Every argument is a number or a guest-physical address,
 * checked by who uses it; nothing that a guest wrote is read twice.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/call.h"

#include "hv/abi.h"
#include "hv/clock.h"
#include "hv/lib/nospec.h"
#include "hv/lib/string.h"
#include "hv/pc_map.h"
#include "hv/sched/sched.h"
#include "hv/vm_share.h"

#define PRINT_PIECE 128

_Static_assert(sizeof(struct vireo_info) == 96 && sizeof(struct vireo_peer) == 40, "the same for 32-bit guests");
_Static_assert(VIREO_NAME_MAX == CONFIG_NAME_MAX && VIREO_PEERS == CONFIG_MAX_PEERS, "names and peers fit");

/* RBX, RCX, RDX, RSI */
typedef int64_t call_function(struct vcpu *v, const uint64_t arg[4]);

static int64_t fill(struct vcpu *v, uint64_t gpa, const void *what, size_t size)
{
	return guest_write(&v->vm->mem, GPA(gpa), what, size) ? VIREO_EFAULT : (int64_t)size;
}

static int64_t info(struct vcpu *v, const uint64_t arg[4])
{
	const struct vm_config *c = v->vm->config;
	struct vireo_info out = {
	    .version = VIREO_CALLS,
	    .size = sizeof(out),
	    .vcpus = c->vcpus,
	    .vcpu = v->index,
	    .memory = c->memory,
	    .tsc_khz = clock_hz() / 1000,
	    .window = PC_SHARED_MEMORY,
	    .window_size = c->peer_count ? PC_SHARED_MEMORY_SIZE : 0,
	    .peers = c->peer_count,
	    .grants = VIREO_GRANTS,
	    .grant_pages = VIREO_GRANT_PAGES,
	};

	memcpy(out.name, c->name, sizeof(out.name));
	return fill(v, arg[0], &out, arg[1] < sizeof(out) ? arg[1] : sizeof(out));
}

static int64_t print(struct vcpu *v, const uint64_t arg[4])
{
	struct byte_sink sink = console_sink(v->vm->console);
	uint64_t gpa = arg[0], left = arg[1];
	uint8_t text[PRINT_PIECE];

	if (left > VIREO_PRINT_MAX)
		return VIREO_EINVAL;
	for (size_t n; left; gpa += n, left -= n) {
		n = left < sizeof(text) ? left : sizeof(text);
		if (guest_read(&v->vm->mem, GPA(gpa), text, n))
			return VIREO_EFAULT;
		sink.write(sink.ctx, text, n);
	}
	return 0;
}

static int64_t yield(struct vcpu *v, const uint64_t arg[4])
{
	(void)arg;
	sched_yield_from(v);
	return 0;
}

static int64_t power_off(struct vcpu *v, const uint64_t arg[4])
{
	(void)arg;
	vm_finish(v->vm, VM_POWERED_OFF, 0);
	return 0;
}

static int64_t peer(struct vcpu *v, const uint64_t arg[4])
{
	struct vireo_peer out;
	int err = vm_share_peer(v->vm, arg[0], &out);

	if (err)
		return err;
	return fill(v, arg[1], &out, sizeof(out)) < 0 ? VIREO_EFAULT : 0;
}

static int64_t listen(struct vcpu *v, const uint64_t arg[4])
{
	return vm_share_listen(v, arg[0]);
}

static int64_t ring(struct vcpu *v, const uint64_t arg[4])
{
	return vm_share_ring(v->vm, arg[0]);
}

static int64_t take(struct vcpu *v, const uint64_t arg[4])
{
	(void)arg;
	return vm_share_take(v->vm);
}

static int64_t grant(struct vcpu *v, const uint64_t arg[4])
{
	return vm_share_grant(v->vm, arg[0], arg[1], arg[2] & ~(uint64_t)VIREO_WRITE, arg[3], arg[2] & VIREO_WRITE);
}

static int64_t revoke(struct vcpu *v, const uint64_t arg[4])
{
	return vm_share_revoke(v->vm, arg[0]);
}

static int64_t map(struct vcpu *v, const uint64_t arg[4])
{
	return vm_share_map(v->vm, arg[0], arg[1], arg[2] & ~(uint64_t)VIREO_WRITE, arg[3], arg[2] & VIREO_WRITE);
}

static int64_t unmap(struct vcpu *v, const uint64_t arg[4])
{
	return vm_share_unmap(v->vm, arg[0]);
}

#define NUMBER(call) ((call)-VIREO_CALL_INFO)

static call_function *const calls[] = {
    [NUMBER(VIREO_CALL_INFO)] = info,	[NUMBER(VIREO_CALL_PRINT)] = print,
    [NUMBER(VIREO_CALL_YIELD)] = yield, [NUMBER(VIREO_CALL_POWER_OFF)] = power_off,
    [NUMBER(VIREO_CALL_PEER)] = peer,	[NUMBER(VIREO_CALL_LISTEN)] = listen,
    [NUMBER(VIREO_CALL_RING)] = ring,	[NUMBER(VIREO_CALL_TAKE)] = take,
    [NUMBER(VIREO_CALL_GRANT)] = grant, [NUMBER(VIREO_CALL_REVOKE)] = revoke,
    [NUMBER(VIREO_CALL_MAP)] = map,	[NUMBER(VIREO_CALL_UNMAP)] = unmap,
};

NOINLINE uint64_t call_handle(struct vcpu *v)
{
	static const unsigned from[4] = {REG_RBX, REG_RCX, REG_RDX, REG_RSI};
	uint64_t mask = virt_is_64_bit() ? ~0ULL : 0xffffffff, arg[4];
	uint32_t number = NUMBER((uint32_t)v->virt.reg[REG_RAX]);

	if (virt_cpl() != 0)
		return (uint64_t)VIREO_EPERM;
	if (number >= ARRAY_SIZE(calls))
		return (uint64_t)VIREO_ENOSYS;
	for (unsigned i = 0; i < 4; i++)
		arg[i] = v->virt.reg[from[i]] & mask;
	return (uint64_t)calls[index_nospec(number, ARRAY_SIZE(calls))](v, arg);
}
