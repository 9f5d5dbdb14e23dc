/*
 * The books of shared memory under calls of three hostile VMs, in any order and with any arguments, and VMs that come
 * and go. A model holds what may not be given away yet: a grant that a processor may still reach.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/share.c */
/* flags: -fno-sanitize-coverage=trace-cmp */
#include <string.h>

#include "hv/pc_map.h"
#include "hv/share.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"

#define PARTIES 3

static const char names[PARTIES][2] = {"a", "b", "c"};
static const char peer_names[PARTIES][2][VIREO_NAME_MAX] = {{"b", "c"}, {"c", "a"}, {"a", "b"}};
static struct share_party party[PARTIES], *parties;

/* Small numbers mostly, now and then one that is out of all bounds. */
static uint64_t number(void)
{
	uint8_t b = (uint8_t)next(1);

	return b < 0xf0 ? b % 20 : ~0ULL >> (b & 0xf) * 4;
}

static uint64_t place(void)
{
	uint8_t b = (uint8_t)next(1);

	return PC_SHARED_MEMORY + (b & 7) * PAGE_SIZE + (b & 0x80 ? PC_SHARED_MEMORY_SIZE - 4 * PAGE_SIZE : 0) +
	       (b & 0x40 && b & 8 ? 1 : 0);
}

static void join(struct share_party *p)
{
	unsigned n = (unsigned)(p - party);

	memset(p, 0, sizeof(*p));
	p->name = names[n];
	p->peer = peer_names[n];
	p->peers = 2;
	share_join(&parties, p);
}

/* As the end of a VM does: its mappings go, its grants are flushed out of the others. */
static void leave(struct share_party *p)
{
	struct share_mapping *m;

	for (unsigned i = 0; i < VIREO_GRANTS; i++) {
		if (p->map[i].state == SHARE_FREE)
			continue;
		p->map[i].state = SHARE_GONE;
		share_forget(&p->map[i]);
	}
	for (unsigned i = 0; i < VIREO_GRANTS; i++) {
		m = NULL;
		if (share_revoke(p, i, &m) != VIREO_EAGAIN)
			continue;
		if (m->state == SHARE_MAPPED)
			m->state = SHARE_CUT;
		share_forget(m);
		REQUIRE(!p->grant[i].to);
	}
	share_leave(&parties, p);
}

static void flush(struct share_party *p)
{
	for (unsigned i = 0; i < VIREO_GRANTS; i++)
		if (p->map[i].state == SHARE_GONE || (p->map[i].state == SHARE_CUT && p->map[i].reaches))
			share_forget(&p->map[i]);
}

static bool is_grant_of_somebody(const struct share_grant *g)
{
	for (unsigned n = 0; n < PARTIES; n++)
		for (unsigned i = 0; i < VIREO_GRANTS; i++)
			if (&party[n].grant[i] == g)
				return true;
	return false;
}

static void check_mapping(const struct share_party *p, const struct share_mapping *m)
{
	const struct share_grant *g = m->reaches;

	if (m->state == SHARE_FREE) {
		REQUIRE(!g);
		return;
	}
	REQUIRE(m->gpa % PAGE_SIZE == 0 && m->gpa >= PC_SHARED_MEMORY);
	REQUIRE(m->gpa + m->pages * PAGE_SIZE <= (uint64_t)PC_SHARED_MEMORY + PC_SHARED_MEMORY_SIZE);
	REQUIRE(m->state != SHARE_MAPPED || g);
	if (g)
		REQUIRE(is_grant_of_somebody(g) && g->to == p && g->at == m && m->pages <= g->pages &&
			(g->writable || !m->writable));
	for (unsigned i = 0; i < VIREO_GRANTS; i++) {
		const struct share_mapping *o = &p->map[i];

		REQUIRE(o == m || o->state == SHARE_FREE || o->gpa + o->pages * PAGE_SIZE <= m->gpa ||
			m->gpa + m->pages * PAGE_SIZE <= o->gpa);
	}
}

static void check_all(void)
{
	for (unsigned n = 0; n < PARTIES; n++)
		for (unsigned i = 0; i < VIREO_GRANTS; i++) {
			const struct share_grant *g = &party[n].grant[i];

			check_mapping(&party[n], &party[n].map[i]);
			REQUIRE(g->to || (!g->at && !g->revoked));
			REQUIRE(!g->revoked || g->at);
			REQUIRE(!g->at || g->at->reaches == g);
		}
}

static void step(void)
{
	struct share_party *p = &party[next(1) % PARTIES];
	uint64_t peer = number(), slot = number(), pages = number(), gpa = place();
	struct share_mapping *m = NULL;
	uint8_t b = (uint8_t)next(1);
	int err;

	switch (b % 8) {
	case 0:
	case 1:
		(void)!share_grant(p, peer, slot, HPA(gpa), pages, b & 64);
		break;
	case 2:
	case 3:
		err = share_map(p, peer, slot, gpa, pages, b & 64, &m);
		REQUIRE((err == 0) == (m != NULL));
		break;
	case 4:
		err = share_revoke(p, slot, &m);
		REQUIRE((err == VIREO_EAGAIN) == (m != NULL));
		if (m && m->state == SHARE_MAPPED)
			m->state = SHARE_CUT;
		break;
	case 5:
		if (share_find(p, gpa, &m) == 0)
			m->state = SHARE_GONE;
		break;
	case 6:
		flush(p);
		break;
	case 7:
		(void)share_ring(p, peer, &err);
		if (b < 64) {
			leave(p);
			join(p);
		}
		break;
	}
	check_all();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	input_begin(data, size);
	parties = NULL;
	for (unsigned n = 0; n < PARTIES; n++)
		join(&party[n]);
	while (left)
		step();
	for (unsigned n = 0; n < PARTIES; n++)
		leave(&party[n]);
	REQUIRE(!parties);
	return 0;
}
