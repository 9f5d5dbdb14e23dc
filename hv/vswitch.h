/*
 * A virtual network: a learning switch with up to 64 ports. It knows VLANs, isolated ports, who may use which address,
 * and how much a port may send; it decides where a frame goes and counts what became of it. Different networks are
 * different switches, and nothing passes between them. IEEE 802.1Q-2018. Pure: locks of VMs and copying are the
 * caller's, by struct vswitch_ops.
 *
 * Port numbers are those that vswitch_attach() answered, less than VSWITCH_PORTS. Any CPU; its own lock is held for
 * decisions, never while bytes are copied. The caller holds the lock of the VM that sends, and it must not hold another
 * VM's.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/dev/net_packet.h"
#include "hv/lib/spinlock.h"
#include "hv/lib/types.h"

#define VSWITCH_PORTS 64
#define VSWITCH_SETS  256 /* of learned addresses */
#define VSWITCH_WAYS  4
#define VSWITCH_QUOTA 64  /* addresses learned from one port */
#define VSWITCH_AGE   300 /* seconds after which an address is forgotten (802.1Q, 8.8.3) */
/*
 * Parts of a second: 5 ms that a frame for one port waits at most for the receiver or its lock; 200 us that any frame
 * waits for locks, one for many for all of them together, as long as two turns of a device; and 50 us between tries.
 */
#define VSWITCH_PATIENCE      200
#define VSWITCH_PATIENCE_MANY 5000
#define VSWITCH_RETRY	      20000
/*
 * A frame for one port that waits holds up what its sender has for others. Where it has some, as seen in the last 100
 * ms, all such frames of a port may wait a tenth of the time, and 5 ms at once; who has no more to wait is dropped.
 */
#define VSWITCH_WAIT_SHARE 10
#define VSWITCH_WAIT_BURST 20 /* parts of a second: in which those 5 ms are made good */
#define VSWITCH_MIX	   10 /* parts of a second: for how long a sender is taken to have frames for others */

/* Why a frame wasn't delivered. Up to NOWHERE it counts at the port that it came from, then at the one it was for. */
enum vswitch_drop {
	VSWITCH_RUNT,	  /* shorter than an Ethernet header, or than its tag */
	VSWITCH_SPOOFED,  /* its source is not the port's address, or another port's, or a group's */
	VSWITCH_TAGGED,	  /* a tag at a port that isn't a trunk, or one of VLAN 4095 */
	VSWITCH_RESERVED, /* for the neighbour only, 01:80:C2:00:00:0X: no switch forwards it (802.1Q, 8.6.3) */
	VSWITCH_NOWHERE,  /* nobody it may reach */
	VSWITCH_REFUSED,  /* the receiver doesn't want it */
	VSWITCH_FULL,	  /* it has no buffer, and others waited long enough, or many shall have the frame */
	VSWITCH_BUSY,	  /* its lock was taken by others, or its memory not there, whenever it was tried */
	VSWITCH_DROPS,	  /* how many there are */
	VSWITCH_PASSES	  /* no reason: it goes on */
};

extern const char *const vswitch_drop_name[VSWITCH_DROPS]; /* one word each, for a table */

struct vswitch_counts {
	uint64_t in_packets, in_bytes;	 /* from the guest: all that were not dropped up to NOWHERE; a bundle is one */
	uint64_t out_packets, out_bytes; /* to the guest */
	uint64_t drops[VSWITCH_DROPS];
};

struct vswitch_port_config {
	uint8_t mac[NET_MAC_SIZE]; /* its address: unicast, not 0, no other port's on this switch */
	/*
	 * 0 to NET_VLAN_MAX; 0 is a VLAN as any other, that of ports that say nothing. A port that is no trunk is
	 * in this one: the guest sends and gets untagged frames. A trunk is in all, in 0 only if that is its own,
	 * since no tag says VLAN 0: it sends and gets tagged frames, but those of this VLAN untagged.
	 */
	uint16_t vlan;
	bool trunk;
	bool isolated; /* exchanges frames with ports only that aren't */
	bool spoof;    /* may send from any address that isn't another port's; those are learned */
	/*
	 * Bytes/s that it may send, 0: any; a bundle's are those of its segments. 10 ms' worth, at least 128 KiB, may
	 * be sent at once. Who sends more is held back only.
	 */
	uint64_t rate;
	void *owner; /* who is behind it, for struct vswitch_ops */
};

struct vswitch_port {
	bool attached;
	struct vswitch_port_config config;
	uint64_t mac;	       /* the address as a number */
	uint64_t burst;	       /* ticks */
	uint64_t paid_until;   /* ticks: what it sent is paid for by then, at its rate */
	uint64_t full_since;   /* ticks; 0: has room as far as we know */
	uint64_t waited_until; /* ticks: by then it is made good what frames from it that held up others have waited */
	uint64_t mixed_until;  /* ticks: it sent to different ones lately */
	uint8_t last_to;       /* whom it sent to; VSWITCH_PORTS: nobody yet */
	unsigned learned;
	struct vswitch_counts counts;
};

/* A learned address. */
struct vswitch_entry {
	uint64_t key;  /* address and VLAN; 0: unused */
	uint64_t seen; /* ticks */
	uint8_t port;
};

struct vswitch_ops {
	/*
	 * Tries to take the lock that `to` needs; the switch's lock is held: it may not wait, or only some hundred
	 * ticks, and calls nothing of the switch. True: taken, or it is held already (both of one VM).
	 */
	bool (*grab)(void *from, void *to);
	void (*release)(void *from, void *to); /* what grab took; no lock of the switch is held */
	/* Hands the frame over (virtio_net_receive), between grab and release. */
	enum net_verdict (*deliver)(void *from, void *to, struct net_packet *packet, bool tagged, uint16_t tci);
};

struct vswitch {
	struct spinlock lock; /* all that follows; the last lock to be taken, but `grab` tries others under it */
	const struct vswitch_ops *ops;
	uint64_t hz, seed;
	uint64_t attached; /* bit n: port n is */
	uint64_t capture;  /* ports whose frames are to be recorded */
	uint32_t changes;  /* of ports: a frame that was routed before is routed no more */
	struct vswitch_port port[VSWITCH_PORTS];
	struct vswitch_entry entry[VSWITCH_SETS][VSWITCH_WAYS];
};

/* A frame between its route and its last receiver. Kept by who sends, one for each queue that it sends from. */
struct vswitch_transit {
	uint64_t to;	      /* ports that have it still to come */
	uint64_t tagged;      /* those of `to` that get it with a tag */
	uint64_t capture;     /* ports that it touches, the sender's too, whose frames are to be recorded */
	uint64_t since;	      /* ticks: when it was routed, or got on */
	uint64_t held_since;  /* ticks: when a receiver couldn't be got at for the first time; 0: each could */
	uint64_t waits_since; /* ticks: it is for one port, and waits; 0: it does not */
	uint64_t again;	      /* ticks: when it is worth to go on, after NET_LATER */
	uint32_t changes;
	uint16_t tci; /* priority and VLAN, for those that get a tag */
	uint8_t at;   /* the port that is tried */
	bool routed;  /* false: the port has to wait until it may send so much */
	bool one;     /* is for one port only: it waits for room, and longer for access */
};

/* `hz` ticks are a second; `seed` is a random number that no guest knows. */
void vswitch_init(struct vswitch *sw, const struct vswitch_ops *ops, uint64_t hz, uint64_t seed);
/* The port's number; -E_INVAL: the address or VLAN is none; -E_EXIST: another port's address; -E_NOMEM: no port left.
 */
int vswitch_attach(struct vswitch *sw, const struct vswitch_port_config *config) MUST_CHECK;
/*
 * What was learned from the port is forgotten; its owner is not grabbed any more once this returns. But somebody may
 * have it grabbed still: who takes the same lock after this is alone.
 */
void vswitch_detach(struct vswitch *sw, unsigned port);
/* Whether the frames that it sends and gets are to be recorded (vswitch_transit.capture); they are not at first. */
void vswitch_set_capture(struct vswitch *sw, unsigned port, bool on);
/* What the port counted so far. False: none is attached. */
bool vswitch_read(struct vswitch *sw, unsigned port, struct vswitch_counts *counts);

/*
 * Where does a frame from this port go? Learns, counts it, and fills *t: t->to is 0 when it is dropped. The two halves
 * of vswitch_forward: NET_SENT: routed, or dropped. NET_LATER: the port is held back until t->again.
 */
enum net_sent vswitch_route(struct vswitch *sw, unsigned port, const struct net_packet *packet, uint64_t now,
			    struct vswitch_transit *t);
/*
 * Sends a frame from a port to where it goes, by the switch's ops: routes it when packet->fresh, and goes on with it
 * otherwise. Stops when clock_now() has come to `until`, but not before one receiver was tried. This is what the `send`
 * of a network card does; it answers for it.
 */
enum net_sent vswitch_forward(struct vswitch *sw, unsigned port, struct net_packet *packet, uint64_t until,
			      struct vswitch_transit *t);
