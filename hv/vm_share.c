/* Doorbells and shared memory between VMs; see vm_share.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/vm_share.h"

#include "arch/x86/memory.h"
#include "hv/lib/panic.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"
#include "hv/phys.h"
#include "hv/share.h"
#include "hv/vm_memory.h"

/* A VM's part in it. */
struct vm_share {
	struct share_party party;
	hpa_t blank; /* a page of its own, behind all that it mapped and that was revoked */
};

/*
 * Protects all that follows, and the parties. Taken by hypercalls and by the end of a VM, holding no other; under it
 * come guest_ram.lock, by which page tables change, and what waking a vCPU takes.
 */
static struct spinlock lock;
static struct share_party *parties;

int vm_share_create(struct vm *vm, char *why, size_t size)
{
	struct vm_share *s;
	hpa_t page, blank;

	if (!vm->config->hypercalls || !vm->config->peer_count)
		return 0;
	if (vm->config->balloon) { /* what is lent stays where it is */
		snprintf(why, size, "peers: found balloon = on as well, expected one of both");
		return -E_INVAL;
	}
	page = phys_alloc(phys_pages(sizeof(struct vm_share)), 1);
	blank = phys_alloc(1, 1);
	if (hpa_is_none(page) || hpa_is_none(blank)) {
		if (!hpa_is_none(page))
			phys_free(page, phys_pages(sizeof(struct vm_share)));
		if (!hpa_is_none(blank))
			phys_free(blank, 1);
		snprintf(why, size, "no memory for what it shares with its peers");
		return -E_NOMEM;
	}
	s = memset(phys_to_virt(page), 0, sizeof(*s));
	memset(phys_to_virt(blank), 0, PAGE_SIZE);
	s->blank = blank;
	s->party.vm = vm;
	s->party.name = vm->config->name;
	s->party.peer = vm->config->peer;
	s->party.peers = vm->config->peer_count;
	vm->share = s;
	spin_lock(&lock);
	share_join(&parties, &s->party);
	spin_unlock(&lock);
	return 0;
}

void vm_share_destroy(struct vm *vm)
{
	struct vm_share *s = vm->share;

	if (!s)
		return;
	spin_lock(&lock);
	share_leave(&parties, &s->party);
	spin_unlock(&lock);
	vm->share = NULL;
	phys_free(s->blank, 1);
	phys_free(virt_to_phys(s), phys_pages(sizeof(struct vm_share)));
}

/* --- translations ------------------------------------------------------------------------------------------------- */

/* What the mapping is in from now on; its vCPUs flush before they run on, and the mapping says when all have. */
static void redirect(struct share_party *p, struct share_mapping *m, enum share_state state)
{
	unsigned rights = state == SHARE_GONE ? 0 : VIRT_READ | (m->writable ? VIRT_WRITE : 0);
	struct vm *vm = p->vm;

	spin_lock(&vm->ram.lock);
	if (virt_space_redirect(vm->space, GPA(m->gpa), m->pages * PAGE_SIZE, vm->share->blank, rights))
		panic("vm %s: what it mapped at 0x%llx is not there", p->name, (unsigned long long)m->gpa);
	m->due = virt_space_generation(vm->space);
	spin_unlock(&vm->ram.lock);
	m->state = state;
	vm_renew(vm);
}

/* Closes the books on one that is on its way out, if it can be. */
static void settle(struct share_party *p, struct share_mapping *m)
{
	bool leaves = m->state == SHARE_GONE || (m->state == SHARE_CUT && m->reaches);

	if (leaves && vm_has_renewed(p->vm, m->due))
		share_forget(m);
}

static void settle_all(struct share_party *p)
{
	for (unsigned i = 0; i < VIREO_GRANTS; i++)
		settle(p, &p->map[i]);
}

static int revoke(struct share_party *p, uint64_t slot)
{
	struct share_mapping *m = NULL;
	struct share_party *to;
	int err = share_revoke(p, slot, &m);

	if (err != VIREO_EAGAIN)
		return err;
	to = p->grant[slot].to;
	if (m->state == SHARE_MAPPED)
		redirect(to, m, SHARE_CUT);
	settle(to, m);
	return p->grant[slot].to ? VIREO_EAGAIN : 0;
}

/* --- the end of a VM ---------------------------------------------------------------------------------------------- */

/* Its vCPUs have left, so none holds a translation that it will use again. */
static void drop_mappings(struct share_party *p)
{
	for (unsigned i = 0; i < VIREO_GRANTS; i++) {
		struct share_mapping *m = &p->map[i];

		if (m->state == SHARE_MAPPED || m->state == SHARE_CUT)
			redirect(p, m, SHARE_GONE);
	}
	settle_all(p);
}

bool vm_share_stop(struct vm *vm)
{
	struct vm_share *s = vm->share;
	bool seen = false;

	if (!s)
		return false;
	spin_lock(&lock);
	drop_mappings(&s->party);
	for (unsigned slot = 0; slot < VIREO_GRANTS; slot++)
		seen = revoke(&s->party, slot) == VIREO_EAGAIN || seen;
	s->party.vector = 0;
	s->party.rung = 0;
	memset(phys_to_virt(s->blank), 0, PAGE_SIZE);
	spin_unlock(&lock);
	return seen;
}

/* --- calls -------------------------------------------------------------------------------------------------------- */

int vm_share_peer(struct vm *vm, uint64_t peer, struct vireo_peer *out)
{
	if (!vm->share || peer >= vm->share->party.peers)
		return VIREO_ENOENT;
	memset(out, 0, sizeof(*out));
	memcpy(out->name, vm->config->peer[peer], sizeof(out->name));
	spin_lock(&lock);
	out->present = vm->share->party.with[peer] != NULL;
	spin_unlock(&lock);
	return 0;
}

/* Once until the rings are taken: more of them cost the VM nothing. */
static void tell(const struct share_party *p)
{
	if (p->vector)
		(void)!apic_bus_deliver_to(&p->vm->apic_bus, (uint32_t)BIT(p->listener), APIC_FIXED, p->vector, false);
}

int vm_share_listen(struct vcpu *v, uint64_t vector)
{
	struct vm_share *s = v->vm->share;

	if (vector > 255 || (vector && vector < 16))
		return VIREO_EINVAL;
	if (!s)
		return VIREO_ENOENT;
	spin_lock(&lock);
	s->party.vector = (uint8_t)vector;
	s->party.listener = v->index;
	if (s->party.rung)
		tell(&s->party);
	spin_unlock(&lock);
	return 0;
}

int vm_share_ring(struct vm *vm, uint64_t peer)
{
	struct vm_share *s = vm->share;
	int err;

	if (!s)
		return VIREO_ENOENT;
	spin_lock(&lock);
	if (share_ring(&s->party, peer, &err))
		tell(s->party.with[peer]);
	spin_unlock(&lock);
	return err;
}

uint32_t vm_share_take(struct vm *vm)
{
	uint32_t rung = 0;

	if (!vm->share)
		return 0;
	spin_lock(&lock);
	rung = share_take(&vm->share->party);
	spin_unlock(&lock);
	return rung;
}

/* Where pages of the VM's RAM are, which stay there as long as it does; HPA_NONE: some of them are not. */
static hpa_t find_ram(struct vm *vm, uint64_t gpa, uint64_t pages)
{
	if (gpa % PAGE_SIZE || !guest_is_ram(&vm->mem, GPA(gpa), pages * PAGE_SIZE) ||
	    !guest_map(&vm->mem, GPA(gpa), pages * PAGE_SIZE))
		return HPA_NONE;
	return vm_memory_find(vm, GPA(gpa)); /* in one chunk, which is never split: without a balloon */
}

int vm_share_grant(struct vm *vm, uint64_t peer, uint64_t slot, uint64_t gpa, uint64_t pages, bool writable)
{
	struct vm_share *s = vm->share;
	hpa_t hpa;
	int err;

	if (!s)
		return VIREO_ENOENT;
	if (!pages || pages > VIREO_GRANT_PAGES)
		return VIREO_EINVAL;
	hpa = find_ram(vm, gpa, pages);
	if (hpa_is_none(hpa))
		return VIREO_EFAULT;
	spin_lock(&lock);
	err = share_grant(&s->party, peer, slot, hpa, pages, writable);
	spin_unlock(&lock);
	return err;
}

int vm_share_revoke(struct vm *vm, uint64_t slot)
{
	int err;

	if (!vm->share)
		return VIREO_ENOENT;
	spin_lock(&lock);
	err = revoke(&vm->share->party, slot);
	spin_unlock(&lock);
	return err;
}

static int map(struct share_party *p, struct share_mapping *m)
{
	unsigned rights = VIRT_READ | (m->writable ? VIRT_WRITE : 0);
	struct vm *vm = p->vm;
	int err;

	spin_lock(&vm->ram.lock);
	err = virt_space_map(vm->space, GPA(m->gpa), m->reaches->hpa, m->pages * PAGE_SIZE, rights);
	spin_unlock(&vm->ram.lock);
	if (!err)
		return 0;
	m->state = SHARE_GONE; /* it never was anywhere */
	share_forget(m);
	return VIREO_ENOMEM;
}

int vm_share_map(struct vm *vm, uint64_t peer, uint64_t slot, uint64_t gpa, uint64_t pages, bool writable)
{
	struct vm_share *s = vm->share;
	struct share_mapping *m = NULL;
	int err;

	if (!s)
		return VIREO_ENOENT;
	spin_lock(&lock);
	settle_all(&s->party);
	err = share_map(&s->party, peer, slot, gpa, pages, writable, &m);
	if (!err)
		err = map(&s->party, m);
	spin_unlock(&lock);
	return err;
}

int vm_share_unmap(struct vm *vm, uint64_t gpa)
{
	struct vm_share *s = vm->share;
	struct share_mapping *m = NULL;
	int err;

	if (!s)
		return VIREO_ENOENT;
	spin_lock(&lock);
	err = share_find(&s->party, gpa, &m);
	if (!err)
		redirect(&s->party, m, SHARE_GONE);
	spin_unlock(&lock);
	return err;
}
