/*
 * The virtual switch; see vswitch.h.
 *
 * Every port's own address is known from the configuration and can't be taken by another port, learned or not; the
 * table of learned addresses is for ports behind which there are more. It has a fixed size, a place in it is found by
 * a hash that no guest can foresee, and a port that fills its quota replaces its own.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/vswitch.h"

#include "hv/clock.h"
#include "hv/lib/math.h"
#include "hv/lib/string.h"

#define VLAN_MASK   0x0FFF
#define VLAN_BITS   12
#define GROUP	    (1ULL << 40) /* of an address as a number: the first byte's lowest bit */
#define ENTRY_VALID BIT(63)
#define RESERVED    0x0180C2000000ULL /* and the 15 that follow */
#define BURST_PART  100		      /* of a second */
#define BURST_MIN   (128 * KIB)	      /* more than any frame has */

const char *const vswitch_drop_name[VSWITCH_DROPS] = {
    [VSWITCH_RUNT] = "runt",	     [VSWITCH_SPOOFED] = "spoofed", [VSWITCH_TAGGED] = "tagged",
    [VSWITCH_RESERVED] = "reserved", [VSWITCH_NOWHERE] = "nowhere", [VSWITCH_REFUSED] = "refused",
    [VSWITCH_FULL] = "full",	     [VSWITCH_BUSY] = "busy",
};

/* What the head of a frame says, and the VLAN that it is in. */
struct heading {
	uint64_t to, from; /* addresses */
	uint16_t vlan, priority;
};

static uint64_t mac_number(const uint8_t mac[NET_MAC_SIZE])
{
	return (uint64_t)net_get32(mac) << 16 | net_get16(mac + 4);
}

/* The lowest number in a set of ports that isn't empty. */
static unsigned first_of(uint64_t set)
{
	return (unsigned)__builtin_ctzll(set);
}

/* Another CPU may have said `then` after we looked at the clock. */
static uint64_t elapsed(uint64_t then, uint64_t now)
{
	return now > then ? now - then : 0;
}

/* --- learned addresses -------------------------------------------------------------------------------------------- */

static uint64_t key_of(uint64_t mac, uint16_t vlan)
{
	return ENTRY_VALID | mac << VLAN_BITS | vlan;
}

/*
 * Each bit of the key and of the seed has a part in it. The factors are 2^64 divided by the golden ratio, and by the
 * root of x^4 = x + 1: odd, with bits in no order.
 */
static struct vswitch_entry *set_of(struct vswitch *sw, uint64_t key)
{
	uint64_t h = key ^ sw->seed;

	h = (h ^ h >> 32) * 0x9E3779B97F4A7C15ULL;
	h = (h ^ h >> 29 ^ sw->seed) * 0xD1B54A32D192ED03ULL;
	return sw->entry[(h >> 40) % VSWITCH_SETS];
}

static bool is_aged(const struct vswitch *sw, const struct vswitch_entry *e, uint64_t now)
{
	return elapsed(e->seen, now) > VSWITCH_AGE * sw->hz;
}

static void forget(struct vswitch *sw, struct vswitch_entry *e)
{
	if (e->key)
		sw->port[e->port].learned--;
	e->key = 0;
}

static struct vswitch_entry *find(struct vswitch *sw, uint64_t key, uint64_t now)
{
	struct vswitch_entry *set = set_of(sw, key);

	for (unsigned i = 0; i < VSWITCH_WAYS; i++) {
		if (set[i].key == key && !is_aged(sw, &set[i], now))
			return &set[i];
	}
	return NULL;
}

/* The one of a set that was seen longest ago: of this port, or of any (VSWITCH_PORTS). */
static struct vswitch_entry *oldest(struct vswitch_entry *set, unsigned port)
{
	struct vswitch_entry *found = NULL;

	for (unsigned i = 0; i < VSWITCH_WAYS; i++) {
		if (set[i].key && (port == VSWITCH_PORTS || set[i].port == port) &&
		    (!found || set[i].seen < found->seen))
			found = &set[i];
	}
	return found;
}

/* Where a port's new address may stand, free now. NULL: nowhere, it has its quota and none of those is here. */
static struct vswitch_entry *make_place(struct vswitch *sw, uint64_t key, unsigned port, uint64_t now)
{
	struct vswitch_entry *set = set_of(sw, key), *place = NULL;

	for (unsigned i = 0; i < VSWITCH_WAYS; i++) {
		if (set[i].key == key || is_aged(sw, &set[i], now))
			forget(sw, &set[i]);
		if (!set[i].key)
			place = &set[i];
	}
	if (place && sw->port[port].learned < VSWITCH_QUOTA)
		return place;
	place = oldest(set, port);
	if (!place && sw->port[port].learned < VSWITCH_QUOTA)
		place = oldest(set, VSWITCH_PORTS);
	if (place)
		forget(sw, place);
	return place;
}

static void learn(struct vswitch *sw, uint64_t key, unsigned port, uint64_t now)
{
	struct vswitch_entry *e = find(sw, key, now);

	if (!e || e->port != port) {
		e = make_place(sw, key, port, now);
		if (!e)
			return;
		sw->port[port].learned++;
		e->key = key;
		e->port = (uint8_t)port;
	}
	e->seen = now;
}

/* --- ports -------------------------------------------------------------------------------------------------------- */

void vswitch_init(struct vswitch *sw, const struct vswitch_ops *ops, uint64_t hz, uint64_t seed)
{
	memset(sw, 0, sizeof(*sw));
	sw->ops = ops;
	sw->hz = hz;
	sw->seed = seed;
}

/* The port whose own address it is, among those of a set; VSWITCH_PORTS: none. */
static unsigned port_of(const struct vswitch *sw, uint64_t mac, uint64_t among)
{
	for (; among; among &= among - 1) {
		if (sw->port[first_of(among)].mac == mac)
			return first_of(among);
	}
	return VSWITCH_PORTS;
}

static uint64_t ticks_for(const struct vswitch *sw, uint64_t bytes, uint64_t rate)
{
	return mul_div(bytes, sw->hz, rate);
}

static uint64_t burst_of(const struct vswitch *sw, uint64_t rate)
{
	uint64_t bytes = rate / BURST_PART > BURST_MIN ? rate / BURST_PART : BURST_MIN;

	return rate ? ticks_for(sw, bytes, rate) : 0;
}

static int attach(struct vswitch *sw, const struct vswitch_port_config *c, uint64_t mac)
{
	unsigned n;

	if (port_of(sw, mac, sw->attached) != VSWITCH_PORTS)
		return -E_EXIST;
	if (!~sw->attached)
		return -E_NOMEM;
	n = first_of(~sw->attached);
	sw->port[n] = (struct vswitch_port){
	    .attached = true, .config = *c, .mac = mac, .burst = burst_of(sw, c->rate), .last_to = VSWITCH_PORTS};
	sw->attached |= BIT(n);
	sw->changes++;
	return (int)n;
}

/* The address may have been learned elsewhere until now: a port's own is looked up first. */
int vswitch_attach(struct vswitch *sw, const struct vswitch_port_config *config)
{
	uint64_t mac = mac_number(config->mac);
	int n;

	if (!mac || (mac & GROUP) || config->vlan > NET_VLAN_MAX)
		return -E_INVAL;
	spin_lock(&sw->lock);
	n = attach(sw, config, mac);
	spin_unlock(&sw->lock);
	return n;
}

void vswitch_detach(struct vswitch *sw, unsigned port)
{
	struct vswitch_entry *all = sw->entry[0];

	spin_lock(&sw->lock);
	for (unsigned i = 0; i < VSWITCH_SETS * VSWITCH_WAYS; i++) {
		if (all[i].key && all[i].port == port)
			forget(sw, &all[i]);
	}
	sw->port[port].attached = false;
	sw->attached &= ~BIT(port);
	sw->capture &= ~BIT(port);
	sw->changes++;
	spin_unlock(&sw->lock);
}

void vswitch_set_capture(struct vswitch *sw, unsigned port, bool on)
{
	spin_lock(&sw->lock);
	if (sw->port[port].attached)
		sw->capture = on ? sw->capture | BIT(port) : sw->capture & ~BIT(port);
	spin_unlock(&sw->lock);
}

bool vswitch_read(struct vswitch *sw, unsigned port, struct vswitch_counts *counts)
{
	const struct vswitch_port *p = &sw->port[port];
	bool there;

	spin_lock(&sw->lock);
	there = p->attached;
	if (there)
		*counts = p->counts;
	spin_unlock(&sw->lock);
	return there;
}

/* --- the route ---------------------------------------------------------------------------------------------------- */

/* VSWITCH_PASSES: it is well-formed and may be in a VLAN, which *h says. */
static enum vswitch_drop read_heading(const struct vswitch_port *p, const struct net_packet *packet, struct heading *h)
{
	uint16_t tci = 0;

	if (packet->head_size < NET_ETHER)
		return VSWITCH_RUNT;
	h->to = mac_number(packet->head);
	h->from = mac_number(packet->head + NET_MAC_SIZE);
	if (net_get16(packet->head + NET_TYPE_AT) == NET_TYPE_TAG) {
		if (packet->head_size < NET_ETHER + NET_TAG)
			return VSWITCH_RUNT;
		tci = (uint16_t)net_get16(packet->head + NET_ETHER);
		if (!p->config.trunk || (tci & VLAN_MASK) > NET_VLAN_MAX)
			return VSWITCH_TAGGED;
	}
	h->priority = (uint16_t)(tci & ~VLAN_MASK);
	h->vlan = tci & VLAN_MASK ? tci & VLAN_MASK : p->config.vlan; /* VLAN 0: a priority only (802.1Q, 9.6) */
	return VSWITCH_PASSES;
}

static enum vswitch_drop check_source(const struct vswitch *sw, unsigned port, const struct heading *h)
{
	const struct vswitch_port *p = &sw->port[port];
	bool own = h->from == p->mac;

	if (!own &&
	    (!p->config.spoof || !h->from || (h->from & GROUP) || port_of(sw, h->from, sw->attached) != VSWITCH_PORTS))
		return VSWITCH_SPOOFED;
	return (h->to & ~0xFULL) == RESERVED ? VSWITCH_RESERVED : VSWITCH_PASSES;
}

/*
 * Trunks are in all VLANs that a tag can name. VLAN 0 is none of them: such a tag would say a priority only, and mean
 * the trunk's own VLAN to who gets it (802.1Q, 9.6).
 */
static uint64_t members(const struct vswitch *sw, uint16_t vlan)
{
	uint64_t set = 0;

	for (uint64_t left = sw->attached; left; left &= left - 1) {
		const struct vswitch_port_config *c = &sw->port[first_of(left)].config;

		if (c->vlan == vlan || (c->trunk && vlan))
			set |= left & -left;
	}
	return set;
}

/* Those of a set that a port may send to. */
static uint64_t reachable(const struct vswitch *sw, unsigned port, uint64_t set)
{
	set &= ~BIT(port);
	for (uint64_t left = sw->port[port].config.isolated ? set : 0; left; left &= left - 1) {
		if (sw->port[first_of(left)].config.isolated)
			set &= ~(left & -left);
	}
	return set;
}

static uint64_t destinations(struct vswitch *sw, unsigned port, const struct heading *h, uint64_t now)
{
	uint64_t set = members(sw, h->vlan);
	const struct vswitch_entry *e;
	unsigned own;

	if (!(h->to & GROUP)) {
		own = port_of(sw, h->to, set);
		e = own == VSWITCH_PORTS ? find(sw, key_of(h->to, h->vlan), now) : NULL;
		if (own != VSWITCH_PORTS)
			set = BIT(own);
		else if (e)
			set &= BIT(e->port);
	}
	return reachable(sw, port, set);
}

/* A trunk's own VLAN has no tags there (802.1Q, 8.6.2 calls it the untagged set). */
static uint64_t tagged_of(const struct vswitch *sw, uint64_t set, uint16_t vlan)
{
	uint64_t tagged = 0;

	for (; set; set &= set - 1) {
		const struct vswitch_port_config *c = &sw->port[first_of(set)].config;

		if (c->trunk && c->vlan != vlan)
			tagged |= set & -set;
	}
	return tagged;
}

/* Who sends to more than one, or to many, has frames that those which wait hold up. */
static void note_receiver(const struct vswitch *sw, struct vswitch_port *p, const struct vswitch_transit *t,
			  uint64_t now)
{
	uint8_t to = (uint8_t)first_of(t->to);

	if (!t->one || (p->last_to != to && p->last_to != VSWITCH_PORTS))
		p->mixed_until = now + sw->hz / VSWITCH_MIX;
	if (t->one)
		p->last_to = to;
}

static enum vswitch_drop route(struct vswitch *sw, unsigned port, const struct net_packet *packet, uint64_t now,
			       struct vswitch_transit *t)
{
	struct vswitch_port *p = &sw->port[port];
	struct heading h;
	enum vswitch_drop why = read_heading(p, packet, &h);

	if (why == VSWITCH_PASSES)
		why = check_source(sw, port, &h);
	if (why != VSWITCH_PASSES)
		return why;
	if (h.from != p->mac)
		learn(sw, key_of(h.from, h.vlan), port, now);
	t->to = destinations(sw, port, &h, now);
	t->tagged = tagged_of(sw, t->to, h.vlan);
	t->tci = h.priority | h.vlan;
	t->one = !(t->to & (t->to - 1));
	if (!t->to)
		return VSWITCH_NOWHERE;
	note_receiver(sw, p, t, now);
	return VSWITCH_PASSES;
}

/*
 * Each frame is paid for from when the one before it was. A port may be ahead by its burst: one that is further ahead
 * waits until it isn't.
 */
static bool may_send(struct vswitch_port *p, uint64_t now, struct vswitch_transit *t)
{
	if (!p->config.rate)
		return true;
	if (p->paid_until < now)
		p->paid_until = now;
	t->again = p->paid_until - p->burst;
	return p->paid_until - now <= p->burst;
}

/*
 * Paid is for what a bundle becomes when it is cut, whether a receiver takes it whole or not: a sender can't know. And
 * for frames that lead nowhere: to find that out takes the lock as long.
 */
static void pay(const struct vswitch *sw, struct vswitch_port *p, const struct net_packet *packet)
{
	if (p->config.rate)
		p->paid_until += ticks_for(sw, net_packet_wire_size(packet), p->config.rate);
}

static void count_in(struct vswitch_port *p, const struct net_packet *packet)
{
	p->counts.in_packets++;
	p->counts.in_bytes += packet->size;
}

static enum net_sent try_route(struct vswitch *sw, unsigned port, const struct net_packet *packet, uint64_t now,
			       struct vswitch_transit *t)
{
	struct vswitch_port *p = &sw->port[port];
	enum vswitch_drop why;

	if (!p->attached)
		return NET_SENT;
	if (!may_send(p, now, t))
		return NET_LATER;
	pay(sw, p, packet);
	why = route(sw, port, packet, now, t);
	if (why == VSWITCH_PASSES)
		count_in(p, packet);
	else
		p->counts.drops[why]++;
	t->capture = (t->to | BIT(port)) & sw->capture;
	return NET_SENT;
}

enum net_sent vswitch_route(struct vswitch *sw, unsigned port, const struct net_packet *packet, uint64_t now,
			    struct vswitch_transit *t)
{
	enum net_sent sent;

	*t = (struct vswitch_transit){.since = now};
	spin_lock(&sw->lock);
	sent = try_route(sw, port, packet, now, t);
	t->changes = sw->changes;
	t->routed = sent == NET_SENT;
	spin_unlock(&sw->lock);
	return sent;
}

/* --- on the way --------------------------------------------------------------------------------------------------- */

static void drop(struct vswitch *sw, unsigned to, struct net_packet *packet, struct vswitch_transit *t,
		 enum vswitch_drop why)
{
	sw->port[to].counts.drops[why]++;
	packet->cut = 0;
	t->to &= ~BIT(to);
}

static bool holds_up_others(const struct vswitch_port *from, uint64_t now)
{
	return now < from->mixed_until;
}

/* A frame for one port can't get on. May it wait? */
static bool may_wait(const struct vswitch *sw, const struct vswitch_port *from, struct vswitch_transit *t, uint64_t now)
{
	if (!t->one)
		return false;
	if (!t->waits_since)
		t->waits_since = now | 1; /* not 0 */
	return !holds_up_others(from, now) || elapsed(now, from->waited_until) <= sw->hz / VSWITCH_WAIT_BURST;
}

/* It waits no more, whatever became of it. Who came back late, for reasons of his own, is not charged without end. */
static void end_wait(const struct vswitch *sw, struct vswitch_port *from, struct vswitch_transit *t, uint64_t now)
{
	uint64_t most = now + 2 * (sw->hz / VSWITCH_WAIT_BURST);

	if (!t->waits_since)
		return;
	if (holds_up_others(from, now)) {
		if (from->waited_until < now)
			from->waited_until = now;
		from->waited_until += VSWITCH_WAIT_SHARE * elapsed(t->waits_since, now);
		if (from->waited_until > most)
			from->waited_until = most;
	}
	t->waits_since = 0;
}

/* It has no buffer: a frame that nobody else waits for stays, but not for long after the receiver stood still. */
static void lack_room(struct vswitch *sw, unsigned port, unsigned to, struct net_packet *packet,
		      struct vswitch_transit *t, uint64_t now)
{
	struct vswitch_port *p = &sw->port[to];

	if (!p->full_since)
		p->full_since = now | 1; /* not 0 */
	if (may_wait(sw, &sw->port[port], t, now) && elapsed(p->full_since, now) < sw->hz / VSWITCH_PATIENCE)
		return;
	end_wait(sw, &sw->port[port], t, now);
	drop(sw, to, packet, t, VSWITCH_FULL);
}

/*
 * Its lock is taken, as a guest with two busy cards can see to it that it nearly always is, or its buffers' memory is
 * not there yet. A frame for many waits for a short time in all: what others send to everybody must not stand still for
 * such a guest.
 */
static void lack_access(struct vswitch *sw, unsigned port, unsigned to, struct net_packet *packet,
			struct vswitch_transit *t, uint64_t now)
{
	bool waits = false;

	if (!t->held_since)
		t->held_since = now | 1; /* not 0 */
	if (t->one)
		waits = may_wait(sw, &sw->port[port], t, now) && elapsed(t->since, now) < sw->hz / VSWITCH_PATIENCE;
	if (waits || elapsed(t->held_since, now) < sw->hz / VSWITCH_PATIENCE_MANY)
		return;
	end_wait(sw, &sw->port[port], t, now);
	drop(sw, to, packet, t, VSWITCH_BUSY);
}

static void settle(struct vswitch *sw, unsigned port, unsigned to, struct net_packet *packet, struct vswitch_transit *t,
		   enum net_verdict verdict, uint64_t now)
{
	struct vswitch_port *p = &sw->port[to];

	if (verdict == NET_NO_ROOM) {
		lack_room(sw, port, to, packet, t, now);
		return;
	}
	if (verdict == NET_NOT_YET) {
		lack_access(sw, port, to, packet, t, now);
		return;
	}
	end_wait(sw, &sw->port[port], t, now);
	if (verdict == NET_REFUSED) {
		drop(sw, to, packet, t, VSWITCH_REFUSED);
		return;
	}
	p->full_since = 0;
	t->since = now;
	if (verdict == NET_PARTLY)
		return;
	p->counts.out_packets++;
	p->counts.out_bytes += packet->size;
	t->to &= ~BIT(to);
}

/*
 * A port that was detached, or is somebody else's by now, may not get what was meant for its old owner: whatever
 * changed, the frame goes to nobody any more.
 */
static bool is_void(struct vswitch *sw, unsigned port, struct net_packet *packet, struct vswitch_transit *t)
{
	if (t->changes == sw->changes)
		return false;
	sw->port[port].counts.drops[VSWITCH_NOWHERE]++;
	packet->cut = 0;
	t->to = 0;
	return true;
}

/* One receiver of the frame. True: it has it still to come and can't get it now. */
static bool serve(struct vswitch *sw, unsigned port, unsigned to, struct net_packet *packet, struct vswitch_transit *t)
{
	void *from = sw->port[port].config.owner, *target;
	enum net_verdict verdict;
	uint64_t now = clock_now();
	bool grabbed = false;

	spin_lock(&sw->lock);
	target = sw->port[to].config.owner;
	if (!is_void(sw, port, packet, t)) {
		grabbed = sw->ops->grab(from, target);
		if (!grabbed)
			lack_access(sw, port, to, packet, t, now);
	}
	spin_unlock(&sw->lock);
	if (!grabbed)
		return t->to & BIT(to);
	verdict = sw->ops->deliver(from, target, packet, t->tagged & BIT(to), t->tci);
	sw->ops->release(from, target);
	spin_lock(&sw->lock);
	if (!is_void(sw, port, packet, t))
		settle(sw, port, to, packet, t, verdict, now);
	spin_unlock(&sw->lock);
	return (verdict == NET_NO_ROOM || verdict == NET_NOT_YET) && (t->to & BIT(to));
}

/* A receiver that has to wait holds up no other, but for one that has a part of the bundle already. */
static enum net_sent serve_all(struct vswitch *sw, unsigned port, struct net_packet *packet, uint64_t until,
			       struct vswitch_transit *t)
{
	uint64_t left = t->to;

	while (left) {
		if (!packet->cut)
			t->at = (uint8_t)first_of(left);
		if (serve(sw, port, t->at, packet, t)) {
			if (packet->cut)
				break;
			left &= ~BIT(t->at);
		}
		left &= t->to;
		if (left && clock_now() >= until)
			return NET_GOES_ON;
	}
	if (!t->to)
		return NET_SENT;
	t->again = clock_now() + sw->hz / VSWITCH_RETRY;
	return NET_LATER;
}

enum net_sent vswitch_forward(struct vswitch *sw, unsigned port, struct net_packet *packet, uint64_t until,
			      struct vswitch_transit *t)
{
	if ((packet->fresh || !t->routed) && vswitch_route(sw, port, packet, clock_now(), t) != NET_SENT)
		return NET_LATER;
	return serve_all(sw, port, packet, until, t);
}
