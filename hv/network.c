/* Networks by their names; see network.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/network.h"

#include "arch/x86/entropy.h"
#include "arch/x86/memory.h"
#include "hv/clock.h"
#include "hv/lib/string.h"
#include "hv/phys.h"

static struct network *first;

/* Guests see the clock, too: where the processor gives no random number, they could foresee collisions at worst. */
static uint64_t make_seed(void)
{
	uint64_t seed;

	return entropy_read(&seed) ? clock_now() : seed;
}

static struct network *create(const char *name, const struct vswitch_ops *ops)
{
	hpa_t page = phys_alloc(phys_pages(sizeof(struct network)), 1);
	struct network *n;

	if (hpa_is_none(page))
		return NULL;
	n = memset(phys_to_virt(page), 0, sizeof(*n));
	memcpy(n->name, name, strlen(name) + 1);
	vswitch_init(&n->vswitch, ops, clock_hz(), make_seed());
	n->next = first;
	first = n;
	return n;
}

struct network *network_join(const char *name, const struct vswitch_ops *ops)
{
	struct network *n = first;

	while (n && strcmp(n->name, name))
		n = n->next;
	if (!n)
		n = create(name, ops);
	if (n)
		n->users++;
	return n;
}

void network_leave(struct network *network)
{
	struct network **link = &first;

	if (--network->users)
		return;
	while (*link != network)
		link = &(*link)->next;
	*link = network->next;
	phys_free(virt_to_phys(network), phys_pages(sizeof(struct network)));
}
