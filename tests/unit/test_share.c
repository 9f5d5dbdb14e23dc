/* The books of doorbells and shared memory: who meets whom, what is refused, and that nothing is free too early. */
/* SPDX-License-Identifier: MIT */
/* links: hv/share.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "hv/pc_map.h"
#include "hv/share.h"

#define WINDOW ((uint64_t)PC_SHARED_MEMORY)
#define END    (WINDOW + PC_SHARED_MEMORY_SIZE)

/* a names b and c, b names x and a, c names b only: a and b meet. */
static const char names_a[][VIREO_NAME_MAX] = {"b", "c"}, names_b[][VIREO_NAME_MAX] = {"x", "a"},
		  names_c[][VIREO_NAME_MAX] = {"b"};
static struct share_party *parties, a, b, c;
static struct share_mapping *m;

static void fill_in(struct share_party *p, const char *name, const char (*peer)[VIREO_NAME_MAX], unsigned peers)
{
	memset(p, 0, sizeof(*p));
	p->name = name;
	p->peer = peer;
	p->peers = peers;
	share_join(&parties, p);
}

static int begin(void **state)
{
	(void)state;
	parties = NULL;
	m = NULL;
	fill_in(&a, "a", names_a, 2);
	fill_in(&b, "b", names_b, 2);
	fill_in(&c, "c", names_c, 1);
	return 0;
}

static int grant(uint64_t slot, uint64_t pages, bool writable)
{
	return share_grant(&a, 0, slot, HPA(0x200000), pages, writable);
}

static int map(uint64_t slot, uint64_t gpa, uint64_t pages, bool writable)
{
	return share_map(&b, 1, slot, gpa, pages, writable, &m);
}

/* As the caller does when it has taken a mapping out of the page tables. */
static void leave(struct share_mapping *mapping, enum share_state state)
{
	mapping->state = state;
}

static void those_who_name_each_other_meet(void **state)
{
	(void)state;
	assert_ptr_equal(a.with[0], &b);
	assert_ptr_equal(b.with[1], &a);
	assert_int_equal(a.back[0], 1);
	assert_int_equal(b.back[1], 0);
	assert_null(a.with[1]); /* c does not name it */
	assert_null(b.with[0]); /* there is no x */
	assert_null(c.with[0]);
	share_leave(&parties, &a);
	assert_null(b.with[1]);
	fill_in(&a, "a", names_a, 2); /* comes back, last */
	assert_ptr_equal(a.with[0], &b);
	assert_ptr_equal(b.with[1], &a);
	share_leave(&parties, &b);
	share_leave(&parties, &b); /* who is not there can't leave */
	share_leave(&parties, &a);
	share_leave(&parties, &c);
	assert_null(parties);
}

static void a_ring_tells_once(void **state)
{
	int err;

	(void)state;
	assert_true(share_ring(&a, 0, &err));
	assert_int_equal(err, 0);
	assert_false(share_ring(&a, 0, &err)); /* it has been told */
	assert_int_equal(err, 0);
	assert_int_equal(share_take(&b), 2); /* its peer 1 */
	assert_int_equal(share_take(&b), 0);
	assert_true(share_ring(&a, 0, &err));
	assert_int_equal(a.rung, 0);
	assert_false(share_ring(&a, 1, &err)); /* does not name it */
	assert_int_equal(err, VIREO_ENOENT);
	assert_false(share_ring(&a, 2, &err));
	assert_int_equal(err, VIREO_ENOENT);
	assert_false(share_ring(&a, ~0ULL, &err));
	assert_int_equal(err, VIREO_ENOENT);
	assert_int_equal(c.rung, 0);
}

static void grants_are_checked(void **state)
{
	(void)state;
	assert_int_equal(grant(VIREO_GRANTS, 1, false), VIREO_EINVAL);
	assert_int_equal(grant(~0ULL, 1, false), VIREO_EINVAL);
	assert_int_equal(grant(0, 0, false), VIREO_EINVAL);
	assert_int_equal(grant(0, VIREO_GRANT_PAGES + 1, false), VIREO_EINVAL);
	assert_int_equal(share_grant(&a, 1, 0, HPA(0), 1, false), VIREO_ENOENT);
	assert_int_equal(share_grant(&a, 1ULL << 32, 0, HPA(0), 1, false), VIREO_ENOENT);
	assert_int_equal(grant(0, 1, false), 0);
	assert_int_equal(grant(0, 1, false), VIREO_EBUSY);
	assert_int_equal(grant(VIREO_GRANTS - 1, VIREO_GRANT_PAGES, true), 0);
}

static void maps_are_checked(void **state)
{
	(void)state;
	assert_int_equal(grant(3, 4, false), 0);
	assert_int_equal(map(VIREO_GRANTS, WINDOW, 1, false), VIREO_EINVAL);
	assert_int_equal(map(3, WINDOW, 0, false), VIREO_EINVAL);
	assert_int_equal(map(3, WINDOW, ~0ULL, false), VIREO_EINVAL);
	assert_int_equal(map(2, WINDOW, 1, false), VIREO_ENOENT);
	assert_int_equal(share_map(&b, 0, 3, WINDOW, 1, false, &m), VIREO_ENOENT);
	assert_int_equal(share_map(&c, 0, 3, WINDOW, 1, false, &m), VIREO_ENOENT); /* not for it */
	assert_int_equal(map(3, WINDOW, 5, false), VIREO_EACCES);
	assert_int_equal(map(3, WINDOW, 4, true), VIREO_EACCES);
	assert_int_equal(map(3, WINDOW + 1, 1, false), VIREO_EFAULT);
	assert_int_equal(map(3, WINDOW - PAGE_SIZE, 1, false), VIREO_EFAULT);
	assert_int_equal(map(3, END, 1, false), VIREO_EFAULT);
	assert_int_equal(map(3, END - PAGE_SIZE, 2, false), VIREO_EFAULT);
	assert_int_equal(map(3, 0, 1, false), VIREO_EFAULT);
	assert_null(m);
	assert_int_equal(map(3, END - 4 * PAGE_SIZE, 4, false), 0);
	assert_int_equal(m->gpa, END - 4 * PAGE_SIZE);
	assert_int_equal(m->reaches->hpa.value, 0x200000);
	assert_int_equal(map(3, WINDOW, 1, false), VIREO_EBUSY); /* a grant is mapped once */
}

static void places_do_not_overlap(void **state)
{
	struct share_mapping *first;

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(grant(i, 2, false), 0);
	assert_int_equal(map(0, WINDOW + 2 * PAGE_SIZE, 2, false), 0);
	first = m;
	assert_int_equal(map(1, WINDOW + PAGE_SIZE, 2, false), VIREO_EBUSY);
	assert_int_equal(map(1, WINDOW + 3 * PAGE_SIZE, 2, false), VIREO_EBUSY);
	assert_int_equal(map(1, WINDOW, 2, false), 0);
	assert_int_equal(map(2, WINDOW + 4 * PAGE_SIZE, 2, false), 0);
	leave(first, SHARE_GONE); /* not free before it is forgotten */
	assert_int_equal(map(3, WINDOW + 2 * PAGE_SIZE, 1, false), VIREO_EBUSY);
	share_forget(first);
	assert_int_equal(map(3, WINDOW + 2 * PAGE_SIZE, 1, false), 0);
}

static void mappings_run_out(void **state)
{
	static const char names_d[][VIREO_NAME_MAX] = {"b"}, names_e[][VIREO_NAME_MAX] = {"d", "a"};
	struct share_party d;

	(void)state;
	share_leave(&parties, &b);
	fill_in(&d, "d", names_d, 1);
	fill_in(&b, "b", names_e, 2);
	for (unsigned i = 0; i < VIREO_GRANTS; i++) {
		assert_int_equal(grant(i, 1, false), 0);
		assert_int_equal(map(i, WINDOW + i * PAGE_SIZE, 1, false), 0);
	}
	assert_int_equal(share_grant(&d, 0, 0, HPA(0), 1, false), 0);
	assert_int_equal(share_map(&b, 0, 0, END - PAGE_SIZE, 1, false, &m), VIREO_EBUSY);
}

static void an_unmapped_grant_goes_at_once(void **state)
{
	(void)state;
	assert_int_equal(share_revoke(&a, VIREO_GRANTS, &m), VIREO_EINVAL);
	assert_int_equal(share_revoke(&a, 0, &m), VIREO_ENOENT);
	assert_int_equal(grant(0, 1, false), 0);
	assert_int_equal(share_revoke(&a, 0, &m), 0);
	assert_int_equal(share_revoke(&a, 0, &m), VIREO_ENOENT);
	assert_int_equal(map(0, WINDOW, 1, false), VIREO_ENOENT);
}

static void a_mapped_grant_waits_for_the_flush(void **state)
{
	struct share_mapping *first, *found = NULL;

	(void)state;
	assert_int_equal(grant(0, 1, true), 0);
	assert_int_equal(map(0, WINDOW, 1, true), 0);
	first = m;
	assert_int_equal(share_revoke(&a, 0, &found), VIREO_EAGAIN);
	assert_ptr_equal(found, first);
	leave(first, SHARE_CUT);
	assert_int_equal(share_revoke(&a, 0, &found), VIREO_EAGAIN); /* and still */
	assert_int_equal(grant(0, 1, true), VIREO_EBUSY);
	share_forget(first);
	assert_int_equal(share_revoke(&a, 0, &found), VIREO_ENOENT);
	assert_int_equal(first->state, SHARE_CUT); /* the place is the mapper's until it unmaps it */
	assert_int_equal(grant(0, 1, true), 0);
	assert_int_equal(map(0, WINDOW, 1, true), VIREO_EBUSY);
	assert_int_equal(share_find(&b, WINDOW, &found), 0);
	assert_ptr_equal(found, first);
	leave(first, SHARE_GONE);
	assert_int_equal(share_find(&b, WINDOW, &found), VIREO_ENOENT);
	share_forget(first);
	assert_int_equal(map(0, WINDOW, 1, true), 0);
}

/* The mapper unmaps; until that is flushed, neither is the grant free for the owner, nor to be mapped again. */
static void an_unmapped_mapping_waits_for_the_flush(void **state)
{
	struct share_mapping *first, *found = NULL;

	(void)state;
	assert_int_equal(grant(0, 1, true), 0);
	assert_int_equal(map(0, WINDOW, 1, true), 0);
	first = m;
	leave(first, SHARE_GONE);
	assert_int_equal(map(0, WINDOW + PAGE_SIZE, 1, true), VIREO_EBUSY);
	assert_int_equal(share_revoke(&a, 0, &found), VIREO_EAGAIN);
	assert_ptr_equal(found, first);
	share_forget(first);
	assert_int_equal(first->state, SHARE_FREE);
	assert_null(a.grant[0].to);
}

static void who_unmaps_leaves_the_grant(void **state)
{
	(void)state;
	assert_int_equal(grant(0, 1, true), 0);
	assert_int_equal(map(0, WINDOW, 1, true), 0);
	leave(m, SHARE_GONE);
	share_forget(m);
	assert_int_equal(map(0, WINDOW, 1, false), 0);
}

/* Whoever comes later, at the same place in memory even, has been granted nothing. */
static void a_grant_ends_with_its_peer(void **state)
{
	(void)state;
	assert_int_equal(grant(0, 1, true), 0);
	share_leave(&parties, &b);
	fill_in(&b, "b", names_b, 2);
	assert_int_equal(map(0, WINDOW, 1, true), VIREO_ENOENT);
	assert_int_equal(share_revoke(&a, 0, &m), VIREO_ENOENT);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, begin)
	static const struct CMUnitTest tests[] = {
	    T(those_who_name_each_other_meet),
	    T(a_ring_tells_once),
	    T(grants_are_checked),
	    T(maps_are_checked),
	    T(places_do_not_overlap),
	    T(mappings_run_out),
	    T(an_unmapped_grant_goes_at_once),
	    T(a_mapped_grant_waits_for_the_flush),
	    T(an_unmapped_mapping_waits_for_the_flush),
	    T(who_unmaps_leaves_the_grant),
	    T(a_grant_ends_with_its_peer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
