/*
 * Vireo's own hypercalls: what a guest that knows Vireo may ask of it. The one header that guests and hypervisor share
 * (docs/hypercalls.md tells the story); it stands alone, for 32-bit and 64-bit code.
 *
 * They are there when CPUID leaf VIREO_CPUID_BASE has the signature in EBX, ECX, EDX and leaf VIREO_CPUID_CALLS has
 * their version in EAX; 0 there: `hypercalls = off`. A call is VMCALL at privilege level 0: number in RAX, arguments in
 * RBX, RCX, RDX, RSI, answer in RAX, all else is kept. Outside of 64-bit code the registers' low halves count.
 * Addresses are guest-physical. A negative answer is one of the errors below.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdint.h>

#define VIREO_CPUID_BASE  0x40000000u
#define VIREO_SIGNATURE	  "VireoVireoVi"
#define VIREO_CPUID_CALLS 0x40000002u
#define VIREO_CALLS	  1u /* the version that this header tells of: later ones add to it and change nothing */

/* Numbers have bit 31, which none of KVM's has: both interfaces may be on. */
#define VIREO_CALL_INFO	     0x80000000u /* address, size: fills a struct vireo_info; answers the bytes filled */
#define VIREO_CALL_PRINT     0x80000001u /* address, length up to VIREO_PRINT_MAX: to the VM's console */
#define VIREO_CALL_YIELD     0x80000002u /* another vCPU of the VM that waits for a CPU may go first */
#define VIREO_CALL_POWER_OFF 0x80000003u /* ends the VM, as ACPI S5 does */
/*
 * Peers: VMs that name this one in their `peers` as this one names them, numbered from 0 in the order of its own.
 */
#define VIREO_CALL_PEER 0x80000004u /* number, address: fills a struct vireo_peer */
/*
 * Doorbells: a ring is noted until it is taken, and one interrupt tells of all that come until then. It comes to the
 * vCPU that asked for it last; without one, rings are seen by taking them.
 */
#define VIREO_CALL_LISTEN 0x80000005u /* vector 16 to 255, for the calling vCPU; 0: no interrupt any more */
#define VIREO_CALL_RING	  0x80000006u /* peer */
#define VIREO_CALL_TAKE	  0x80000007u /* answers who has rung since the last one: bit n is peer n */
/*
 * Shared memory. A grant lets one peer see pages of this VM's RAM under a slot number that both have agreed on; the
 * peer maps it into its window, whole or from its start on. It can be revoked at any time: what is still mapped then
 * becomes a page of the peer's own, one for all, zero at first. The window is not RAM: no device reads or writes it,
 * nothing in it is executed.
 */
#define VIREO_CALL_GRANT  0x80000008u /* peer, slot, address | VIREO_WRITE, pages; all in one 2 MiB of RAM */
#define VIREO_CALL_REVOKE 0x80000009u /* slot. 0: nobody sees it any more; VIREO_EAGAIN: somebody may, ask again */
#define VIREO_CALL_MAP	  0x8000000au /* peer, slot, address in the window | VIREO_WRITE, pages */
#define VIREO_CALL_UNMAP  0x8000000bu /* address that was given to MAP */

#define VIREO_WRITE 1u /* beside an address: the peer may write, too */

#define VIREO_PRINT_MAX	  1024u
#define VIREO_NAME_MAX	  32u /* with the NUL that ends it */
#define VIREO_PEERS	  8u
#define VIREO_GRANTS	  16u /* slots are 0 to 15; as many can be mapped */
#define VIREO_GRANT_PAGES 64u /* of 4 KiB */

#define VIREO_EPERM  -1	   /* not from user mode */
#define VIREO_ENOENT -2	   /* no such peer; it is not there; it grants nothing there; nothing is mapped there */
#define VIREO_EAGAIN -11   /* not over yet: ask again */
#define VIREO_ENOMEM -12   /* Vireo has no memory for it */
#define VIREO_EACCES -13   /* granted, but not for writing, or less of it */
#define VIREO_EFAULT -14   /* the address is not the VM's RAM, or not in its window */
#define VIREO_EBUSY  -16   /* the slot, the grant or the place is in use; or nothing is left */
#define VIREO_EINVAL -22   /* an argument is out of its range */
#define VIREO_ENOSYS -1000 /* no such call */

struct vireo_info {
	uint32_t version;	   /* VIREO_CALLS, or a later one's with more behind what is here */
	uint32_t size;		   /* of the structure that Vireo knows, bytes */
	uint32_t vcpus, vcpu;	   /* how many there are, and the caller's number from 0 */
	uint64_t memory;	   /* bytes of RAM */
	uint64_t tsc_khz;	   /* rate of the TSC */
	uint64_t window;	   /* where grants of others can be mapped */
	uint64_t window_size;	   /* bytes; 0: the VM has no peers */
	uint32_t peers;		   /* named in its settings */
	uint32_t grants;	   /* VIREO_GRANTS */
	uint32_t grant_pages;	   /* VIREO_GRANT_PAGES */
	uint32_t reserved;	   /* 0 */
	char name[VIREO_NAME_MAX]; /* of the VM */
};

struct vireo_peer {
	uint32_t present;  /* 1: it is there and names this VM; 0: not now */
	uint32_t reserved; /* 0 */
	char name[VIREO_NAME_MAX];
};
