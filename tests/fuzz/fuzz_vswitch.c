/*
 * The switch alone, with frames as hostile as they come from ports of every kind, which are plugged in and pulled out
 * on the way: a plain model, without a hash and without sets of bits, says to whom each frame goes, with which tag,
 * what is counted where, and when a port that has a rate may send again. fuzz_virtio_net.c has it behind real cards.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/vswitch.c */
/* flags: -fno-sanitize-coverage=trace-cmp */
#include <string.h>

#include "hv/clock.h"
#include "hv/vswitch.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"

#define PORTS	  8 /* that are used; the highest of all are among them where `many` is set */
#define HZ	  1000000ULL
#define ADDRESSES 16 /* that frames come from and go to, beside the ports' own */

static uint64_t now;
static struct vswitch sw;

uint64_t clock_now(void)
{
	return now;
}

/* --- the model ---------------------------------------------------------------------------------------------------- */

struct learned {
	uint64_t mac;
	unsigned vlan, port;
	uint64_t seen;
	bool used;
};

static struct port {
	bool there, recorded, busy, unready, full, refuses;
	unsigned number;
	struct vswitch_port_config c;
	uint64_t mac, paid_until;
	struct vswitch_counts counts;
} port[PORTS];
static struct learned learned[4096];
static unsigned learned_count;

static uint64_t number_of(const uint8_t *mac)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < NET_MAC_SIZE; i++)
		n = n << 8 | mac[i];
	return n;
}

static bool is_group(uint64_t mac)
{
	return mac >> 40 & 1;
}

static struct port *owner_of(uint64_t mac)
{
	for (unsigned i = 0; i < PORTS; i++)
		if (port[i].there && port[i].mac == mac)
			return &port[i];
	return NULL;
}

/*
 * Where an address was seen last. The switch may have forgotten it, since its table is small: then the frame goes to
 * all. It must never know another place.
 */
static struct learned *place_of(uint64_t mac, unsigned vlan)
{
	for (unsigned i = 0; i < learned_count; i++)
		if (learned[i].used && learned[i].mac == mac && learned[i].vlan == vlan)
			return &learned[i];
	return NULL;
}

static void learn(uint64_t mac, unsigned vlan, unsigned from)
{
	struct learned *l = place_of(mac, vlan);

	if (!l && learned_count == ARRAY_SIZE(learned))
		return;
	if (!l)
		l = &learned[learned_count++];
	*l = (struct learned){mac, vlan, from, now, true};
}

static bool in_vlan(const struct port *p, unsigned vlan)
{
	return p->c.vlan == vlan || (p->c.trunk && vlan != 0);
}

static bool may_reach(const struct port *from, const struct port *to, unsigned vlan)
{
	return to->there && to != from && in_vlan(to, vlan) && !(from->c.isolated && to->c.isolated);
}

/* What the switch must say of a frame. */
struct verdict {
	enum vswitch_drop why;
	bool to[PORTS];
	unsigned vlan, priority;
};

static struct verdict judge(const struct port *from, const struct net_packet *p)
{
	struct verdict v = {.why = VSWITCH_RUNT, .vlan = from->c.vlan};
	uint64_t to = number_of(p->head), sender = number_of(p->head + 6);
	bool tagged = p->head_size >= 14 && p->head[12] == 0x81 && p->head[13] == 0;
	unsigned tci = tagged ? p->head[14] * 256U + p->head[15] : 0;

	if (p->head_size < 14 || (tagged && p->head_size < 18))
		return v;
	v.why = VSWITCH_TAGGED;
	if (tagged && (!from->c.trunk || tci % 4096 == 4095))
		return v;
	if (tci % 4096)
		v.vlan = tci % 4096;
	v.priority = tci & 0xF000;
	v.why = VSWITCH_SPOOFED;
	if (sender != from->mac && (!from->c.spoof || !sender || is_group(sender) || owner_of(sender)))
		return v;
	v.why = VSWITCH_RESERVED;
	if (to >= 0x0180C2000000 && to <= 0x0180C200000F)
		return v;
	for (unsigned i = 0; i < PORTS; i++)
		v.to[i] = may_reach(from, &port[i], v.vlan);
	v.why = VSWITCH_PASSES;
	return v;
}

static unsigned count_of(const struct verdict *v)
{
	unsigned n = 0;

	for (unsigned i = 0; i < PORTS; i++)
		n += v->to[i];
	return n;
}

/* A frame for one: to whom is it told? Itself, if it is one that this frame has just been learned from. */
static void narrow(struct verdict *v, uint64_t to, bool *may_flood)
{
	const struct port *own = owner_of(to);
	const struct learned *l = place_of(to, v->vlan);
	unsigned only = PORTS;

	*may_flood = is_group(to);
	if (is_group(to))
		return;
	if (own && in_vlan(own, v->vlan))
		only = (unsigned)(own - port);
	else if (l && now - l->seen <= VSWITCH_AGE * HZ)
		only = l->port;
	*may_flood = only == PORTS || !own || !in_vlan(own, v->vlan);
	for (unsigned i = 0; i < PORTS && only != PORTS; i++)
		v->to[i] = v->to[i] && i == only;
}

/* --- what the switch calls ---------------------------------------------------------------------------------------- */

static struct {
	struct port *grabbed, *from;
	unsigned delivered[PORTS];
	const struct verdict *all; /* whom it may reach */
	unsigned parts;		   /* that a receiver gets it in */
} way;

static bool grab(void *from, void *to)
{
	struct port *p = to;

	REQUIRE(from == way.from && from != to && p->there && !way.grabbed);
	if (!p->busy)
		way.grabbed = p;
	return !p->busy;
}

static void release(void *from, void *to)
{
	REQUIRE(from == way.from && to == way.grabbed);
	REQUIRE(sw.lock.next == sw.lock.serving);
	way.grabbed = NULL;
}

/* Nobody gets what the switch must not give him, nor twice, nor with a tag that isn't his. */
static enum net_verdict deliver(void *from, void *to, struct net_packet *p, bool tagged, uint16_t tci)
{
	struct port *r = to;
	unsigned i = (unsigned)(r - port);

	REQUIRE(from == way.from && r == way.grabbed && sw.lock.next == sw.lock.serving);
	REQUIRE(way.all->to[i] && !way.delivered[i]);
	REQUIRE(tagged == (r->c.trunk && r->c.vlan != way.all->vlan));
	REQUIRE(tci == (way.all->priority | way.all->vlan) && (!tagged || way.all->vlan));
	now++;
	if (r->unready)
		return NET_NOT_YET;
	if (r->refuses)
		return NET_REFUSED;
	if (r->full)
		return NET_NO_ROOM;
	if (p->cut < way.parts) {
		p->cut++;
		return NET_PARTLY;
	}
	p->cut = 0;
	way.delivered[i]++;
	r->counts.out_packets++;
	r->counts.out_bytes += p->size;
	return NET_DELIVERED;
}

static const struct vswitch_ops ops = {grab, release, deliver};

/* --- steps -------------------------------------------------------------------------------------------------------- */

static uint64_t some_mac(void)
{
	unsigned how = (unsigned)next(1);

	if (how < 96)
		return port[how % PORTS].mac;
	if (how < 200)
		return 0x060000000000 | (how % ADDRESSES) << (how & 64 ? 16 : 0);
	if (how < 216)
		return 0xFFFFFFFFFFFF;
	return how < 232 ? 0x0180C2000000 + how % 24 : how < 240 ? 0 : next(6);
}

static void put_mac(uint8_t *at, uint64_t mac)
{
	for (unsigned i = 0; i < NET_MAC_SIZE; i++)
		at[i] = (uint8_t)(mac >> (40 - 8 * i));
}

static void make_frame(struct net_packet *p, const struct port *from)
{
	unsigned how = (unsigned)next(1);

	memset(p, 0, sizeof(*p));
	put_mac(p->head, some_mac());
	put_mac(p->head + 6, how & 1 ? from->mac : some_mac());
	p->head[12] = how & 2 ? 0x81 : 8;
	net_put16(p->head + 14, (uint16_t)(how & 4 ? next(2) : next(1) % 4));
	p->head_size = how < 240 ? 60 : how % 20;
	p->size = p->head_size + (how & 8 ? (uint32_t)next(2) : 0);
	if (how & 16 && p->size > 60) {
		p->gso = NET_GSO_TCP4;
		p->gso_size = (uint16_t)(1 + next(1) * 8);
		p->header_size = 54;
	}
	p->fresh = true;
}

static uint64_t ticks_of(const struct port *p, uint64_t bytes)
{
	return p->c.rate ? (uint64_t)((__uint128_t)bytes * HZ / p->c.rate) : 0;
}

static uint64_t burst_of(const struct port *p)
{
	return ticks_of(p, p->c.rate / 100 > 131072 ? p->c.rate / 100 : 131072);
}

/* False: the port is ahead of its rate by more than its burst, and has to wait. */
static bool model_may_send(struct port *p)
{
	if (p->c.rate && p->paid_until < now)
		p->paid_until = now;
	return !p->c.rate || p->paid_until - now <= burst_of(p);
}

/* A frame for one may go to all that it may reach where its place was forgotten, but never to others. */
static void check_route(const struct verdict *all, const struct verdict *narrowed, const struct vswitch_transit *t,
			bool may_flood)
{
	unsigned extra = 0;

	for (unsigned i = 0; i < PORTS; i++) {
		bool to = port[i].there && t->to >> port[i].number & 1;

		REQUIRE(!to || all->to[i]);
		REQUIRE(to || !narrowed->to[i]);
		extra += to && !narrowed->to[i];
		REQUIRE((port[i].there && t->tagged >> port[i].number & 1) ==
			(to && port[i].c.trunk && port[i].c.vlan != all->vlan));
	}
	REQUIRE(!extra || (may_flood && count_of(narrowed) + extra == count_of(all)));
	REQUIRE((unsigned)__builtin_popcountll(t->to) == count_of(narrowed) + extra);
}

static void check_capture(const struct port *from, const struct vswitch_transit *t)
{
	for (unsigned i = 0; i < PORTS; i++)
		if (port[i].there)
			REQUIRE((t->capture >> port[i].number & 1) ==
				(port[i].recorded && (&port[i] == from || t->to >> port[i].number & 1)));
}

/* Sends until it is done: as a card does, which is called again when there is more to do. */
static void forward(struct port *from, struct net_packet *p, struct vswitch_transit *t)
{
	uint64_t begin = now, to = t->to;
	enum net_sent sent;
	unsigned turns = 0;

	p->fresh = false;
	do {
		sent = vswitch_forward(&sw, from->number, p, now + next(1) % 8, t);
		REQUIRE(!way.grabbed && !(t->to & ~to) && turns++ < 2000);
		if (sent == NET_LATER) {
			REQUIRE(t->again > now - 2 && t->again - now <= HZ / VSWITCH_RETRY);
			now = t->again;
		}
		now++;
	} while (sent != NET_SENT);
	REQUIRE(!t->to && !p->cut);
	for (unsigned i = 0; i < PORTS; i++) {
		if (!port[i].there || !(to >> port[i].number & 1))
			continue;
		REQUIRE(way.delivered[i] == !(port[i].busy || port[i].unready || port[i].full || port[i].refuses));
		if (port[i].busy || port[i].unready)
			port[i].counts.drops[VSWITCH_BUSY]++;
		else if (port[i].refuses)
			port[i].counts.drops[VSWITCH_REFUSED]++;
		else if (port[i].full)
			port[i].counts.drops[VSWITCH_FULL]++;
	}
	REQUIRE(now - begin <= PORTS * (HZ / VSWITCH_PATIENCE + 100 + 10 * way.parts));
}

static void send_frame(void)
{
	struct port *from = &port[next(1) % PORTS];
	struct vswitch_transit t = {0};
	struct net_packet p;
	struct verdict all, narrowed;
	enum net_sent sent;
	bool may_flood, may_send;

	make_frame(&p, from);
	if (!from->there)
		return;
	may_send = model_may_send(from);
	sent = vswitch_route(&sw, from->number, &p, now, &t);
	REQUIRE((sent == NET_SENT) == may_send && t.routed == may_send && sent != NET_GOES_ON);
	if (!may_send) {
		REQUIRE(!t.to && t.again > now - 1 && t.again == from->paid_until - burst_of(from));
		return;
	}
	from->paid_until += ticks_of(from, net_packet_wire_size(&p));
	all = narrowed = judge(from, &p);
	if (all.why != VSWITCH_PASSES) {
		REQUIRE(!t.to);
		from->counts.drops[all.why]++;
		check_capture(from, &t);
		return;
	}
	if (number_of(p.head + 6) != from->mac)
		learn(number_of(p.head + 6), all.vlan, (unsigned)(from - port));
	narrow(&narrowed, number_of(p.head), &may_flood);
	check_route(&all, &narrowed, &t, may_flood);
	check_capture(from, &t);
	if (t.to) {
		from->counts.in_packets++;
		from->counts.in_bytes += p.size;
	} else {
		from->counts.drops[VSWITCH_NOWHERE]++;
	}
	memset(&way, 0, sizeof(way));
	way.from = from;
	way.all = &all;
	way.parts = (unsigned)next(1) % 3;
	forward(from, &p, &t);
}

/* While a frame is on its way ports come and go: it goes to nobody any more, and locks are given back. */
static void send_in_vain(void)
{
	struct port *from = &port[next(1) % PORTS];
	struct vswitch_transit t = {0};
	struct net_packet p;

	make_frame(&p, from);
	if (!from->there || !model_may_send(from) || judge(from, &p).why != VSWITCH_PASSES)
		return;
	(void)vswitch_route(&sw, from->number, &p, now, &t);
	if (number_of(p.head + 6) != from->mac)
		learn(number_of(p.head + 6), judge(from, &p).vlan, (unsigned)(from - port));
	from->paid_until += ticks_of(from, net_packet_wire_size(&p));
	from->counts.in_packets += t.to != 0;
	from->counts.in_bytes += t.to ? p.size : 0;
	from->counts.drops[VSWITCH_NOWHERE]++;
	sw.changes++; /* as by vswitch_attach() */
	memset(&way, 0, sizeof(way));
	p.fresh = false;
	REQUIRE(vswitch_forward(&sw, from->number, &p, now, &t) == NET_SENT && !t.to);
}

static void attach(unsigned i)
{
	static const uint64_t rates[] = {0, 1, 4000, 1000000, 20000000, 10000000000, UINT64_MAX, 50000000};
	unsigned how = (unsigned)next(1), more = (unsigned)next(1);
	struct port *p = &port[i];
	uint64_t mac = more < 240 ? 0x020000000000 + i : some_mac();
	struct vswitch_port_config c = {.vlan = (uint16_t)(how % 4),
					.trunk = how & 4,
					.isolated = how & 8,
					.spoof = how & 16,
					.rate = rates[how >> 5],
					.owner = p};
	bool valid = mac && !is_group(mac);
	int answer;

	if (more % 16 == 0)
		c.vlan = (uint16_t)next(2);
	valid = valid && c.vlan <= NET_VLAN_MAX;
	put_mac(c.mac, mac);
	answer = vswitch_attach(&sw, &c);
	if (!valid || owner_of(mac)) {
		REQUIRE(answer == (valid ? -E_EXIST : -E_INVAL));
		return;
	}
	REQUIRE(answer >= 0 && answer < VSWITCH_PORTS);
	for (unsigned j = 0; j < PORTS; j++)
		REQUIRE(!port[j].there || port[j].number != (unsigned)answer);
	*p = (struct port){.there = true, .number = (unsigned)answer, .c = c, .mac = mac};
}

static void check_counts(const struct port *p)
{
	struct vswitch_counts counts;

	REQUIRE(vswitch_read(&sw, p->number, &counts));
	REQUIRE(!memcmp(&counts, &p->counts, sizeof(counts)));
}

static void plug_or_pull(void)
{
	unsigned i = (unsigned)next(1) % PORTS;
	struct vswitch_counts counts;

	if (!port[i].there) {
		attach(i);
		return;
	}
	check_counts(&port[i]);
	vswitch_detach(&sw, port[i].number);
	REQUIRE(!vswitch_read(&sw, port[i].number, &counts));
	port[i].there = port[i].recorded = false;
	for (unsigned n = 0; n < learned_count; n++)
		if (learned[n].port == i)
			learned[n].used = false;
}

static void change(void)
{
	unsigned how = (unsigned)next(1), what = how / PORTS % 8;
	struct port *p = &port[how % PORTS];

	if (what == 0 && next(1) % 2)
		p->unready = !p->unready;
	else if (what == 0)
		p->busy = !p->busy;
	else if (what == 1)
		p->full = !p->full;
	else if (what == 2)
		p->refuses = !p->refuses;
	else if (what == 3)
		now += next(2);
	else if (what == 4)
		now += next(4);
	else if (what == 5)
		now += VSWITCH_AGE * HZ + next(1) % 2;
	else if (p->there) {
		p->recorded = what & 1;
		vswitch_set_capture(&sw, p->number, what & 1);
	}
}

/* The table counts what it holds, holds no more of a port than its quota, and nothing of one that is away. */
static void check_table(void)
{
	unsigned held[VSWITCH_PORTS] = {0};
	const struct vswitch_entry *all = sw.entry[0];

	for (unsigned i = 0; i < VSWITCH_SETS * VSWITCH_WAYS; i++)
		held[all[i].port] += all[i].key != 0;
	for (unsigned n = 0; n < VSWITCH_PORTS; n++)
		REQUIRE(held[n] <= VSWITCH_QUOTA && (sw.port[n].attached ? held[n] == sw.port[n].learned : !held[n]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const what[])(void) = {send_frame, send_frame, send_frame,   send_frame,
					     send_frame, change,     plug_or_pull, send_in_vain};

	input_begin(data, size);
	now = 1000000;
	memset(port, 0, sizeof(port));
	learned_count = 0;
	vswitch_init(&sw, &ops, HZ, next(1));
	for (unsigned i = 0; i < PORTS; i++) {
		port[i].mac = 0x020000000000 + i;
		attach(i);
	}
	while (left) {
		what[next(1) % ARRAY_SIZE(what)]();
		REQUIRE(sw.lock.next == sw.lock.serving);
	}
	check_table();
	for (unsigned i = 0; i < PORTS; i++)
		if (port[i].there)
			check_counts(&port[i]);
	return 0;
}
