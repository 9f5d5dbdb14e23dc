/* The books of doorbells, grants and mappings; see share.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/share.h"

#include "hv/lib/nospec.h"
#include "hv/lib/string.h"
#include "hv/pc_map.h"

_Static_assert(VIREO_GRANTS *VIREO_GRANT_PAGES *PAGE_SIZE <= PC_SHARED_MEMORY_SIZE, "all of it fits");

static int number_of(const struct share_party *p, const char *name)
{
	for (unsigned i = 0; i < p->peers; i++)
		if (!strcmp(p->peer[i], name))
			return (int)i;
	return -1;
}

static void meet(struct share_party *p, struct share_party *other)
{
	int there = number_of(p, other->name), back = number_of(other, p->name);

	if (there < 0 || back < 0)
		return;
	p->with[there] = other;
	p->back[there] = (uint8_t)back;
	other->with[back] = p;
	other->back[back] = (uint8_t)there;
}

void share_join(struct share_party **parties, struct share_party *p)
{
	for (struct share_party *other = *parties; other; other = other->next)
		meet(p, other);
	p->next = *parties;
	*parties = p;
}

/* What was granted to one who leaves is granted to nobody who comes later. */
static void drop_grants(struct share_party *p, const struct share_party *to)
{
	for (unsigned i = 0; i < VIREO_GRANTS; i++)
		if (p->grant[i].to == to)
			memset(&p->grant[i], 0, sizeof(p->grant[i]));
}

void share_leave(struct share_party **parties, struct share_party *p)
{
	struct share_party **link = parties;

	while (*link && *link != p)
		link = &(*link)->next;
	if (!*link)
		return;
	*link = p->next;
	for (unsigned i = 0; i < p->peers; i++) {
		if (!p->with[i])
			continue;
		p->with[i]->with[p->back[i]] = NULL;
		drop_grants(p->with[i], p);
	}
}

static struct share_party *peer_at(const struct share_party *p, uint64_t peer)
{
	return peer < p->peers ? p->with[index_nospec(peer, p->peers)] : NULL;
}

bool share_ring(struct share_party *p, uint64_t peer, int *err)
{
	struct share_party *to = peer_at(p, peer);
	uint32_t before;

	*err = to ? 0 : VIREO_ENOENT;
	if (!to)
		return false;
	before = to->rung;
	to->rung |= 1U << p->back[peer];
	return !before;
}

uint32_t share_take(struct share_party *p)
{
	uint32_t rung = p->rung;

	p->rung = 0;
	return rung;
}

static int check_pages(uint64_t pages)
{
	return pages && pages <= VIREO_GRANT_PAGES ? 0 : VIREO_EINVAL;
}

int share_grant(struct share_party *p, uint64_t peer, uint64_t slot, hpa_t hpa, uint64_t pages, bool writable)
{
	struct share_party *to = peer_at(p, peer);

	if (slot >= VIREO_GRANTS || check_pages(pages))
		return VIREO_EINVAL;
	if (!to)
		return VIREO_ENOENT;
	if (p->grant[slot].to)
		return VIREO_EBUSY;
	p->grant[slot] = (struct share_grant){.to = to, .hpa = hpa, .pages = (uint32_t)pages, .writable = writable};
	return 0;
}

/* A mapping that is left half-way counts: its place is not free yet. */
static bool overlaps(const struct share_party *p, uint64_t gpa, uint64_t pages)
{
	for (unsigned i = 0; i < VIREO_GRANTS; i++) {
		const struct share_mapping *m = &p->map[i];

		if (m->state != SHARE_FREE && gpa < m->gpa + m->pages * PAGE_SIZE && m->gpa < gpa + pages * PAGE_SIZE)
			return true;
	}
	return false;
}

static bool is_in_window(uint64_t gpa, uint64_t pages)
{
	return gpa % PAGE_SIZE == 0 && gpa >= PC_SHARED_MEMORY && gpa - PC_SHARED_MEMORY < PC_SHARED_MEMORY_SIZE &&
	       pages * PAGE_SIZE <= PC_SHARED_MEMORY_SIZE - (gpa - PC_SHARED_MEMORY);
}

static struct share_mapping *free_mapping(struct share_party *p)
{
	for (unsigned i = 0; i < VIREO_GRANTS; i++)
		if (p->map[i].state == SHARE_FREE)
			return &p->map[i];
	return NULL;
}

/* The grant of peer `peer` in its slot, if it is for `p` and as large and as writable as that. */
static int find_grant(const struct share_party *p, uint64_t peer, uint64_t slot, uint64_t pages, bool writable,
		      struct share_grant **out)
{
	struct share_party *from = peer_at(p, peer);
	struct share_grant *g;

	if (slot >= VIREO_GRANTS || check_pages(pages))
		return VIREO_EINVAL;
	if (!from)
		return VIREO_ENOENT;
	g = &from->grant[index_nospec(slot, VIREO_GRANTS)];
	if (g->to != p || g->revoked)
		return VIREO_ENOENT;
	if (pages > g->pages || (writable && !g->writable))
		return VIREO_EACCES;
	*out = g;
	return g->at ? VIREO_EBUSY : 0;
}

int share_map(struct share_party *p, uint64_t peer, uint64_t slot, uint64_t gpa, uint64_t pages, bool writable,
	      struct share_mapping **out)
{
	struct share_mapping *m = free_mapping(p);
	struct share_grant *g = NULL;
	int err = find_grant(p, peer, slot, pages, writable, &g);

	if (err)
		return err;
	if (!is_in_window(gpa, pages))
		return VIREO_EFAULT;
	if (!m || overlaps(p, gpa, pages))
		return VIREO_EBUSY;
	*m = (struct share_mapping){
	    .state = SHARE_MAPPED, .gpa = gpa, .pages = (uint32_t)pages, .writable = writable, .reaches = g};
	g->at = m;
	*out = m;
	return 0;
}

int share_revoke(struct share_party *p, uint64_t slot, struct share_mapping **out)
{
	struct share_grant *g;

	if (slot >= VIREO_GRANTS)
		return VIREO_EINVAL;
	g = &p->grant[index_nospec(slot, VIREO_GRANTS)];
	if (!g->to)
		return VIREO_ENOENT;
	*out = g->at;
	g->revoked = true;
	if (g->at)
		return VIREO_EAGAIN;
	memset(g, 0, sizeof(*g));
	return 0;
}

int share_find(struct share_party *p, uint64_t gpa, struct share_mapping **out)
{
	for (unsigned i = 0; i < VIREO_GRANTS; i++) {
		struct share_mapping *m = &p->map[i];

		if (m->gpa != gpa || (m->state != SHARE_MAPPED && m->state != SHARE_CUT))
			continue;
		*out = m;
		return 0;
	}
	return VIREO_ENOENT;
}

void share_forget(struct share_mapping *m)
{
	struct share_grant *g = m->reaches;

	if (g) {
		g->at = NULL;
		if (g->revoked)
			memset(g, 0, sizeof(*g));
	}
	m->reaches = NULL;
	if (m->state == SHARE_GONE)
		m->state = SHARE_FREE;
}
