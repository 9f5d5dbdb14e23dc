/*
 * Memory between VMs, as the page tables and the vCPUs see it: nothing is given back while a vCPU that runs has not
 * flushed, whoever gives up first; and which interrupts a doorbell sends. Two VMs; their page tables are a list.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/share.c hv/guest_mem.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/pc_map.h"
#include "hv/vm_share.c"

#define RAM    (4 * PAGE_SIZE)
#define WINDOW ((uint64_t)PC_SHARED_MEMORY)

struct virt_space {
	uint64_t lost, gpa, hpa;
	unsigned rights;
};

static struct vm_config config[2];
static struct vm vms[2], *const a = &vms[0], *const b = &vms[1];
static struct vcpu vcpus[2][2];
static struct virt_space space[2];
static uint8_t ram[2][RAM] __attribute__((aligned(4096)));
static unsigned delivered, live, failing;
static uint8_t last_vector;
static uint32_t last_targets;
static uint64_t generation;

_Noreturn void panic(const char *fmt, ...)
{
	fail_msg("panic: %s", fmt);
	abort();
}
hpa_t phys_alloc(uint64_t pages, uint64_t align_pages)
{
	assert_int_equal(align_pages, 1);
	if (failing && !--failing)
		return HPA_NONE;
	live++;
	return HPA((uint64_t)aligned_alloc(PAGE_SIZE, pages * PAGE_SIZE));
}
void phys_free(hpa_t hpa, uint64_t pages)
{
	(void)pages;
	live--;
	free((void *)hpa.value);
}
int apic_bus_deliver_to(struct apic_bus *bus, uint32_t targets, enum apic_delivery mode, uint8_t vector, bool level)
{
	assert_ptr_equal(bus, &b->apic_bus);
	assert_int_equal(mode, APIC_FIXED);
	assert_false(level);
	delivered++;
	last_vector = vector;
	last_targets = targets;
	return 0;
}
void vcpu_renew(struct vcpu *v)
{
	atomic_fetch_or(&v->requests, REQUEST_RENEW);
}
bool vcpu_has_renewed(const struct vcpu *v, uint64_t lost)
{
	return atomic_load(&v->state) != VCPU_RUNNING || virt_vcpu_renewed(&v->virt) >= lost;
}
int virt_space_map(struct virt_space *s, gpa_t gpa, hpa_t hpa, uint64_t size, unsigned rights)
{
	assert_int_equal(size, PAGE_SIZE);
	if (failing && !--failing)
		return -E_NOMEM;
	assert_int_equal(s->rights, 0);
	*s = (struct virt_space){s->lost, gpa.value, hpa.value, rights};
	return 0;
}
int virt_space_redirect(struct virt_space *s, gpa_t gpa, uint64_t size, hpa_t hpa, unsigned rights)
{
	assert_int_equal(size, PAGE_SIZE);
	if (!s->rights || s->gpa != gpa.value)
		return -E_NOENT;
	*s = (struct virt_space){++generation, gpa.value, hpa.value, rights};
	return 0;
}
uint64_t virt_space_generation(const struct virt_space *s)
{
	return s->lost;
}

hpa_t vm_memory_find(struct vm *vm, gpa_t gpa)
{
	return HPA((uint64_t)ram[vm - vms] + gpa.value);
}

static void make_vm(unsigned n, const char *name, const char *peer)
{
	struct guest_region region = {.size = RAM, .host = ram[n], .ram = true};
	char why[80];

	memset(&vms[n], 0, sizeof(vms[n]));
	memset(vcpus[n], 0, sizeof(vcpus[n]));
	memset(&config[n], 0, sizeof(config[n]));
	memset(&space[n], 0, sizeof(space[n]));
	config[n].hypercalls = true;
	snprintf(config[n].name, sizeof(config[n].name), "%s", name);
	snprintf(config[n].peer[config[n].peer_count++], CONFIG_NAME_MAX, "%s", peer);
	vms[n].config = &config[n];
	vms[n].space = &space[n];
	vms[n].vcpu_count = 2;
	for (unsigned i = 0; i < 2; i++) {
		vms[n].vcpu[i] = &vcpus[n][i];
		vcpus[n][i].vm = &vms[n];
		vcpus[n][i].index = i;
		vcpus[n][i].state = VCPU_RUNNING;
	}
	assert_int_equal(guest_mem_add(&vms[n].mem, &region), 0);
	assert_int_equal(vm_share_create(&vms[n], why, sizeof(why)), 0);
}

static int begin(void **state)
{
	(void)state;
	delivered = failing = live = 0;
	make_vm(0, "a", "b");
	make_vm(1, "b", "a");
	return 0;
}

static int end(void **state)
{
	(void)state;
	vm_share_destroy(a);
	vm_share_destroy(b);
	assert_int_equal(live, 0);
	assert_null(parties);
	return 0;
}

/* As before its next entry. */
static void flush(struct vcpu *v)
{
	atomic_fetch_and(&v->requests, ~(uint32_t)REQUEST_RENEW);
	atomic_store(&v->virt.flushed_generation, v->vm->space->lost);
}

static void lend(void)
{
	assert_int_equal(vm_share_grant(a, 0, 0, PAGE_SIZE, 1, true), 0);
	assert_int_equal(vm_share_map(b, 0, 0, WINDOW, 1, true), 0);
	assert_int_equal(space[1].hpa, (uint64_t)ram[0] + PAGE_SIZE);
	assert_int_equal(space[1].rights, VIRT_READ | VIRT_WRITE);
}

static void a_page_is_back_when_all_have_flushed(void **state)
{
	(void)state;
	lend();
	assert_int_equal(vm_share_revoke(a, 0), VIREO_EAGAIN);
	assert_int_equal(space[1].hpa, b->share->blank.value); /* at once */
	assert_int_equal(space[1].rights, VIRT_READ | VIRT_WRITE);
	assert_true(vcpus[1][0].requests & vcpus[1][1].requests & REQUEST_RENEW);
	assert_int_equal(vcpus[0][0].requests, 0);
	flush(&vcpus[1][0]);
	assert_int_equal(vm_share_revoke(a, 0), VIREO_EAGAIN);
	assert_int_equal(vm_share_grant(a, 0, 0, 0, 1, true), VIREO_EBUSY);
	flush(&vcpus[1][1]);
	assert_int_equal(vm_share_revoke(a, 0), 0);
	assert_int_equal(vm_share_revoke(a, 0), VIREO_ENOENT);
	assert_int_equal(vm_share_unmap(b, WINDOW), 0);
	assert_int_equal(space[1].rights, 0);
}

/* It flushes when it is loaded, so nobody waits for it. */
static void a_vcpu_that_is_off_its_cpu_counts_as_flushed(void **state)
{
	(void)state;
	lend();
	vcpus[1][0].state = VCPU_BLOCKED;
	vcpus[1][1].state = VCPU_PAUSED;
	assert_int_equal(vm_share_revoke(a, 0), 0);
}

static void who_lends_does_not_end_before(void **state)
{
	(void)state;
	lend();
	vcpus[0][0].state = vcpus[0][1].state = VCPU_GONE;
	assert_true(vm_share_stop(a));
	assert_int_equal(space[1].hpa, b->share->blank.value);
	assert_true(vm_share_stop(a));
	flush(&vcpus[1][0]);
	flush(&vcpus[1][1]);
	assert_false(vm_share_stop(a));
	assert_false(vm_share_stop(a));
}

static void who_borrows_may_end(void **state)
{
	(void)state;
	lend();
	vcpus[1][0].state = vcpus[1][1].state = VCPU_GONE;
	assert_false(vm_share_stop(b));
	assert_int_equal(space[1].rights, 0);
	assert_int_equal(vm_share_revoke(a, 0), 0); /* nobody sees it */
}

static void unmapping_waits_for_the_flush_too(void **state)
{
	(void)state;
	lend();
	assert_int_equal(vm_share_unmap(b, WINDOW), 0);
	assert_int_equal(vm_share_unmap(b, WINDOW), VIREO_ENOENT);
	assert_int_equal(vm_share_map(b, 0, 0, WINDOW, 1, true), VIREO_EBUSY);
	assert_int_equal(vm_share_revoke(a, 0), VIREO_EAGAIN);
	assert_true(vm_share_stop(a));
	flush(&vcpus[1][0]);
	flush(&vcpus[1][1]);
	assert_false(vm_share_stop(a));
}

static void a_map_without_memory_leaves_nothing(void **state)
{
	(void)state;
	assert_int_equal(vm_share_grant(a, 0, 0, PAGE_SIZE, 1, false), 0);
	failing = 1;
	assert_int_equal(vm_share_map(b, 0, 0, WINDOW, 1, false), VIREO_ENOMEM);
	assert_int_equal(vm_share_map(b, 0, 0, WINDOW, 1, false), 0);
	assert_int_equal(space[1].rights, VIRT_READ);
}

static void what_is_no_ram_is_not_granted(void **state)
{
	(void)state;
	assert_int_equal(vm_share_grant(a, 0, 0, RAM, 1, false), VIREO_EFAULT);
	assert_int_equal(vm_share_grant(a, 0, 0, RAM - PAGE_SIZE, 2, false), VIREO_EFAULT);
	assert_int_equal(vm_share_grant(a, 0, 0, 12, 1, false), VIREO_EFAULT);
	assert_int_equal(vm_share_grant(a, 0, 0, ~0ULL - 4095, 1, false), VIREO_EFAULT);
	assert_int_equal(vm_share_grant(a, 0, 0, 0, ~0ULL, false), VIREO_EINVAL);
	assert_int_equal(vm_share_grant(a, 0, 0, 0, 0, false), VIREO_EINVAL);
	assert_int_equal(vm_share_grant(a, 0, 0, 0, 4, false), 0);
}

static void a_bell_rings_once_until_it_is_taken(void **state)
{
	(void)state;
	assert_int_equal(vm_share_ring(a, 0), 0);
	assert_int_equal(delivered, 0); /* nobody listens */
	assert_int_equal(vm_share_listen(&vcpus[1][1], 15), VIREO_EINVAL);
	assert_int_equal(vm_share_listen(&vcpus[1][1], 256), VIREO_EINVAL);
	assert_int_equal(vm_share_listen(&vcpus[1][1], 0x50), 0); /* it has rung already */
	assert_int_equal(delivered, 1);
	assert_int_equal(last_vector, 0x50);
	assert_int_equal(last_targets, 2);
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(vm_share_ring(a, 0), 0);
	assert_int_equal(delivered, 1);
	assert_int_equal(vm_share_take(b), 1);
	assert_int_equal(vm_share_take(b), 0);
	assert_int_equal(vm_share_ring(a, 0), 0);
	assert_int_equal(delivered, 2);
	assert_int_equal(vm_share_listen(&vcpus[1][0], 0), 0);
	assert_int_equal(vm_share_take(b), 1);
	assert_int_equal(vm_share_ring(a, 0), 0);
	assert_int_equal(delivered, 2);
	assert_int_equal(vm_share_ring(a, 1), VIREO_ENOENT);
}

static void a_reset_forgets_bells_and_listener(void **state)
{
	(void)state;
	assert_int_equal(vm_share_listen(&vcpus[1][1], 0x50), 0);
	assert_int_equal(vm_share_ring(a, 0), 0);
	assert_false(vm_share_stop(b));
	assert_int_equal(vm_share_take(b), 0);
	assert_int_equal(vm_share_ring(a, 0), 0);
	assert_int_equal(delivered, 1);
}

static void without_memory_nothing_is_left(void **state)
{
	unsigned before;
	char why[80];

	(void)state;
	vm_share_destroy(b);
	before = live;
	for (unsigned i = 1; i <= 2; i++) {
		failing = i;
		assert_int_equal(vm_share_create(b, why, sizeof(why)), -E_NOMEM);
		assert_int_equal(live, before);
	}
	assert_int_equal(vm_share_create(b, why, sizeof(why)), 0);
}

static void a_balloon_moves_what_would_be_lent(void **state)
{
	char why[80];

	(void)state;
	vm_share_destroy(b);
	config[1].balloon = true;
	assert_int_equal(vm_share_create(b, why, sizeof(why)), -E_INVAL);
	assert_string_equal(why, "peers: found balloon = on as well, expected one of both");
	assert_null(b->share);
	config[1].balloon = false;
	assert_int_equal(vm_share_create(b, why, sizeof(why)), 0);
}

/* Off, or without peers: nothing is made, and every call says so. */
static void a_vm_alone_has_none_of_it(void **state)
{
	char why[80];

	(void)state;
	vm_share_destroy(b);
	config[1].hypercalls = false;
	assert_int_equal(vm_share_create(b, why, sizeof(why)), 0);
	config[1].hypercalls = true;
	config[1].peer_count = 0;
	assert_int_equal(vm_share_create(b, why, sizeof(why)), 0);
	assert_null(b->share);
	assert_int_equal(vm_share_ring(b, 0), VIREO_ENOENT);
	assert_int_equal(vm_share_take(b), 0);
	assert_int_equal(vm_share_map(b, 0, 0, WINDOW, 1, false), VIREO_ENOENT);
	assert_false(vm_share_stop(b));
	assert_int_equal(vm_share_ring(a, 0), VIREO_ENOENT);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
	static const struct CMUnitTest tests[] = {
	    T(a_page_is_back_when_all_have_flushed), T(a_vcpu_that_is_off_its_cpu_counts_as_flushed),
	    T(who_lends_does_not_end_before),	     T(who_borrows_may_end),
	    T(unmapping_waits_for_the_flush_too),    T(a_map_without_memory_leaves_nothing),
	    T(what_is_no_ram_is_not_granted),	     T(a_bell_rings_once_until_it_is_taken),
	    T(a_reset_forgets_bells_and_listener),   T(without_memory_nothing_is_left),
	    T(a_balloon_moves_what_would_be_lent),   T(a_vm_alone_has_none_of_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
