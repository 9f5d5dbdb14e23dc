/*
 * Hypercalls of three hostile VMs that are each other's peers, Vireo's and KVM's, with any number and arguments, over
 * the real books of shared memory. Around them page tables, TLBs of vCPUs that come and go, VMs that end and come back.
 * What holds: an answer is what hv/abi.h promises, a call changes RAX and what it was asked to fill and nothing else,
 * no window shows a page that its owner does not lend at that time, and none whose owner was told that it is its own.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/call.c hv/exit/hypercall.c hv/pv.c hv/share.c hv/vm_share.c hv/guest_mem.c hv/dev/vlapic.c */
/* links: hv/dev/vlapic_regs.c hv/dev/vlapic_ipi.c hv/dev/vlapic_timer.c hv/dev/apic_bus.c */
/* flags: -lcmocka */
#define FAKE_VIRT_WITH_VCPU
#include "tests/unit/fake_virt.h"

#include "hv/abi.h"
#include "hv/exit/table.h"
#include "hv/pc_map.h"
#include "hv/phys.h"
#include "hv/sched/sched.h"
#include "hv/vm_memory.h"
#include "hv/vm_share.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"

#define VMS	     3
#define VCPUS	     2
#define RAM	     (4 * PAGE_SIZE)
#define WINDOW	     ((uint64_t)PC_SHARED_MEMORY)
#define WINDOW_PAGES (PC_SHARED_MEMORY_SIZE / PAGE_SIZE)
#define KVM_MSRS     0x4b564d00U

/* The page tables of a VM's window. */
struct virt_space {
	uint64_t generation;
	uint64_t page[WINDOW_PAGES]; /* 0: nothing */
	uint8_t rights[WINDOW_PAGES];
	uint64_t used[WINDOW_PAGES / 64]; /* a bit for each page that was ever there */
};

/* A grant, as its owner's calls and their answers have it. ENDS: revoked, but somebody may see it still. */
struct lent {
	enum { NOT_LENT, LENT, ENDS } state;
	unsigned to;
	uint64_t first, pages; /* addresses */
	bool writable;
};

static struct machine {
	struct vm vm;
	struct vm_config config;
	struct vcpu vcpu[VCPUS];
	struct virt_space space;
	struct lent lent[VIREO_GRANTS];
	uint64_t tlb[VCPUS][WINDOW_PAGES];
	bool ends;
} machine[VMS];

static _Alignas(4096) uint8_t ram[VMS][RAM], ram_before[VMS][RAM];
static _Alignas(4096) uint32_t pages[VMS][VCPUS][1024];
static uint64_t generation;
static unsigned blocks; /* of memory that are in use */
static bool no_tables;	/* the next mapping finds no memory */
static struct {
	unsigned yields, ends;
	size_t said;
} seen;

static struct machine *machine_of(const struct vm *m)
{
	return CONTAINER_OF(m, struct machine, vm);
}

/* --- what the calls find around them ------------------------------------------------------------------------------ */

void sched_yield_from(struct vcpu *v)
{
	REQUIRE(v->vm);
	seen.yields++;
}
void vm_finish(struct vm *m, enum vm_end why, uint32_t code)
{
	REQUIRE(machine_of(m)->config.hypercalls && why == VM_POWERED_OFF && !code);
	seen.ends++;
}
static void write_said(void *ctx, const uint8_t *bytes, size_t count)
{
	volatile uint8_t sum = 0;

	REQUIRE(!ctx);
	for (size_t i = 0; i < count; i++)
		sum = (uint8_t)(sum + bytes[i]);
	seen.said += count;
}
struct byte_sink console_sink(struct vm_console *console)
{
	REQUIRE(!console);
	return (struct byte_sink){NULL, write_said};
}
uint64_t vm_unix_ns(const struct vm *m)
{
	(void)m;
	return 1700000000ULL * 1000000000;
}
void vcpu_request(struct vcpu *v, uint32_t requests)
{
	atomic_fetch_or(&v->requests, requests);
}
void vcpu_renew(struct vcpu *v)
{
	atomic_fetch_or(&v->requests, REQUEST_RENEW);
}
bool vcpu_has_renewed(const struct vcpu *v, uint64_t lost)
{
	return atomic_load(&v->state) != VCPU_RUNNING || virt_vcpu_renewed(&v->virt) >= lost;
}

hpa_t phys_alloc(uint64_t count, uint64_t align_pages)
{
	REQUIRE(align_pages == 1);
	blocks++;
	return HPA((uint64_t)aligned_alloc(PAGE_SIZE, count * PAGE_SIZE));
}
hpa_t vm_memory_find(struct vm *m, gpa_t gpa)
{
	return HPA((uint64_t)m->mem.region[0].host + gpa.value); /* it begins at 0 */
}
void phys_free(hpa_t hpa, uint64_t count)
{
	(void)count;
	blocks--;
	free((void *)hpa.value);
}

int virt_space_map(struct virt_space *s, gpa_t gpa, hpa_t hpa, uint64_t size, unsigned rights)
{
	uint64_t first = (gpa.value - WINDOW) / PAGE_SIZE;

	REQUIRE(gpa.value >= WINDOW && size && size % PAGE_SIZE == 0 && first + size / PAGE_SIZE <= WINDOW_PAGES);
	if (no_tables)
		return -E_NOMEM;
	for (uint64_t i = 0; i < size / PAGE_SIZE; i++) {
		REQUIRE(!s->rights[first + i]); /* nothing is there yet */
		s->page[first + i] = hpa.value + i * PAGE_SIZE;
		s->rights[first + i] = (uint8_t)rights;
		s->used[(first + i) / 64] |= 1ULL << (first + i) % 64;
	}
	return 0;
}
int virt_space_redirect(struct virt_space *s, gpa_t gpa, uint64_t size, hpa_t hpa, unsigned rights)
{
	uint64_t first = (gpa.value - WINDOW) / PAGE_SIZE;

	for (uint64_t i = 0; i < size / PAGE_SIZE; i++) {
		REQUIRE(s->rights[first + i]);
		s->page[first + i] = rights ? hpa.value : 0;
		s->rights[first + i] = (uint8_t)rights;
	}
	s->generation = ++generation;
	return 0;
}
uint64_t virt_space_generation(const struct virt_space *s)
{
	return s->generation;
}

/* --- what must hold ----------------------------------------------------------------------------------------------- */

/* The VM whose RAM it is; VMS: none's. */
static unsigned owner_of(uint64_t hpa)
{
	uint64_t base = (uint64_t)ram;

	return hpa >= base && hpa - base < sizeof(ram) ? (unsigned)((hpa - base) / RAM) : VMS;
}

/* The page is lent to VM n, or its owner was not told yet that it is no longer. */
static bool may_see(unsigned n, uint64_t hpa, bool writes, bool ends)
{
	const struct machine *from = &machine[owner_of(hpa)];

	for (unsigned slot = 0; slot < VIREO_GRANTS; slot++) {
		const struct lent *l = &from->lent[slot];

		if ((l->state == LENT || (ends && l->state == ENDS)) && l->to == n &&
		    hpa - l->first < l->pages * PAGE_SIZE && (l->writable || !writes))
			return true;
	}
	return false;
}

static void check_window(unsigned n, uint64_t page)
{
	const struct virt_space *s = &machine[n].space;

	REQUIRE(!s->rights[page] == !s->page[page] && !(s->rights[page] & VIRT_EXEC));
	REQUIRE(!s->rights[page] || !machine[n].ends);
	if (s->rights[page] && owner_of(s->page[page]) < VMS)
		REQUIRE(may_see(n, s->page[page], s->rights[page] & VIRT_WRITE, false));
}

/* A vCPU that is on a CPU uses what it has translated, whatever has become of the page tables. */
static void check_tlb(unsigned n, unsigned i, uint64_t page)
{
	uint64_t hpa = machine[n].tlb[i][page];

	if (hpa && machine[n].vcpu[i].state == VCPU_RUNNING && owner_of(hpa) < VMS)
		REQUIRE(may_see(n, hpa, false, true));
}

static void check_sharing(void)
{
	for (unsigned n = 0; n < VMS; n++)
		for (unsigned word = 0; word < WINDOW_PAGES / 64; word++)
			for (uint64_t bits = machine[n].space.used[word]; bits; bits &= bits - 1) {
				uint64_t page = word * 64 + (unsigned)__builtin_ctzll(bits);

				check_window(n, page);
				for (unsigned i = 0; i < VCPUS; i++)
					check_tlb(n, i, page);
			}
}

static bool is_there(uint64_t gpa, uint64_t size)
{
	return gpa < RAM && size <= RAM - gpa;
}

static bool is_error(int64_t answer)
{
	return answer == VIREO_EPERM || answer == VIREO_ENOENT || answer == VIREO_EAGAIN || answer == VIREO_ENOMEM ||
	       answer == VIREO_EACCES || answer == VIREO_EFAULT || answer == VIREO_EBUSY || answer == VIREO_EINVAL;
}

/* --- Vireo's calls ------------------------------------------------------------------------------------------------ */

static void check_info(const struct vcpu *v, const uint64_t arg[4], int64_t answer)
{
	uint64_t size = arg[1] < sizeof(struct vireo_info) ? arg[1] : sizeof(struct vireo_info);
	struct vireo_info info;

	REQUIRE(answer == (!size || is_there(arg[0], size) ? (int64_t)size : VIREO_EFAULT));
	if (answer != sizeof(info))
		return;
	memcpy(&info, ram[machine_of(v->vm) - machine] + arg[0], sizeof(info));
	REQUIRE(info.version == VIREO_CALLS && info.size == sizeof(info) && info.vcpu == v->index && !info.reserved);
	REQUIRE(!strcmp(info.name, v->vm->config->name));
}

static void check_print(const uint64_t arg[4], int64_t answer)
{
	if (arg[1] > VIREO_PRINT_MAX)
		REQUIRE(answer == VIREO_EINVAL && !seen.said);
	else if (!arg[1] || is_there(arg[0], arg[1]))
		REQUIRE(!answer && seen.said == arg[1]);
	else
		REQUIRE(answer == VIREO_EFAULT && seen.said < arg[1]);
}

/* Number in the caller's list of peers to the VM; VMS: there is no such peer, or it is not there. */
static unsigned peer_of(const struct machine *m, uint64_t peer)
{
	const struct machine *other;

	if (peer >= VMS - 1)
		return VMS;
	other = &machine[((unsigned)(m - machine) + 1 + peer) % VMS];
	return other->vm.share && m->vm.share ? (unsigned)(other - machine) : VMS;
}

/* A slot that a revoked grant was in can be used again once nobody sees that any more, asked for or not. */
static void note_grant(struct machine *m, const uint64_t arg[4])
{
	uint64_t gpa = arg[2] & ~1ULL;

	REQUIRE(arg[1] < VIREO_GRANTS && m->lent[arg[1]].state != LENT && peer_of(m, arg[0]) < VMS);
	REQUIRE(arg[3] && arg[3] <= VIREO_GRANT_PAGES && gpa % PAGE_SIZE == 0 && is_there(gpa, arg[3] * PAGE_SIZE));
	m->lent[arg[1]].state = NOT_LENT;
	check_sharing();
	m->lent[arg[1]] = (struct lent){.state = LENT,
					.to = peer_of(m, arg[0]),
					.first = (uint64_t)ram[m - machine] + gpa,
					.pages = arg[3],
					.writable = arg[2] & 1};
}

static void note_revoke(struct machine *m, uint64_t slot, int64_t answer)
{
	REQUIRE(slot < VIREO_GRANTS ? answer != VIREO_EINVAL : answer == VIREO_EINVAL);
	if (slot >= VIREO_GRANTS)
		return;
	REQUIRE(answer == VIREO_ENOENT ? m->lent[slot].state != LENT : m->lent[slot].state != NOT_LENT);
	m->lent[slot].state = answer == VIREO_EAGAIN ? ENDS : NOT_LENT;
}

static void note_map(struct machine *m, const uint64_t arg[4])
{
	uint64_t page = ((arg[2] & ~1ULL) - WINDOW) / PAGE_SIZE;

	REQUIRE(peer_of(m, arg[0]) < VMS && arg[3] && arg[3] <= VIREO_GRANT_PAGES && page < WINDOW_PAGES);
	REQUIRE(machine[peer_of(m, arg[0])].lent[arg[1]].pages >= arg[3]);
	for (uint64_t i = 0; i < arg[3]; i++)
		REQUIRE(m->space.rights[page + i] == (VIRT_READ | (arg[2] & 1 ? VIRT_WRITE : 0)));
}

/* What comes of calls about peers: mostly errors, so what is no error is looked at. */
static void check_sharing_call(struct vcpu *v, uint32_t number, const uint64_t arg[4], int64_t answer)
{
	struct machine *m = machine_of(v->vm);

	REQUIRE(is_error(answer) || !answer || (number == VIREO_CALL_TAKE && answer < 1 << (VMS - 1)));
	REQUIRE(answer != VIREO_EPERM && (m->vm.share || answer || number == VIREO_CALL_TAKE));
	if (number == VIREO_CALL_REVOKE && m->vm.share)
		note_revoke(m, arg[0], answer);
	else if (answer)
		return;
	else if (number == VIREO_CALL_GRANT)
		note_grant(m, arg);
	else if (number == VIREO_CALL_MAP)
		note_map(m, arg);
	else if (number == VIREO_CALL_UNMAP)
		REQUIRE(arg[0] - WINDOW < PC_SHARED_MEMORY_SIZE && !m->space.rights[(arg[0] - WINDOW) / PAGE_SIZE]);
	else if (number == VIREO_CALL_LISTEN)
		REQUIRE(!arg[0] || (arg[0] >= 16 && arg[0] < 256));
	else if (number == VIREO_CALL_RING)
		REQUIRE(peer_of(m, arg[0]) < VMS);
}

static void check_ours(struct vcpu *v, uint32_t number, const uint64_t arg[4], int64_t answer)
{
	switch (number) {
	case VIREO_CALL_INFO:
		check_info(v, arg, answer);
		break;
	case VIREO_CALL_PRINT:
		check_print(arg, answer);
		break;
	case VIREO_CALL_YIELD:
		REQUIRE(!answer && seen.yields == 1);
		break;
	case VIREO_CALL_POWER_OFF:
		REQUIRE(!answer && seen.ends == 1);
		break;
	case VIREO_CALL_PEER:
		if (arg[0] >= VMS - 1 || !v->vm->share)
			REQUIRE(answer == VIREO_ENOENT);
		else
			REQUIRE(answer == (is_there(arg[1], sizeof(struct vireo_peer)) ? 0 : VIREO_EFAULT));
		break;
	default:
		if (number > VIREO_CALL_UNMAP || number < VIREO_CALL_INFO)
			REQUIRE(answer == VIREO_ENOSYS);
		else
			check_sharing_call(v, number, arg, answer);
	}
}

/* --- KVM's calls -------------------------------------------------------------------------------------------------- */

/* How many of the VM's local APICs the two words of bits name. */
static int64_t named(const uint64_t reg[16])
{
	unsigned width = fake.cs.access & SEG_AR_L ? 64 : 32;
	uint32_t first = (uint32_t)reg[REG_RDX];
	int64_t count = 0;

	for (unsigned bit = 0; bit < 2 * width; bit++)
		if ((reg[bit < width ? REG_RBX : REG_RCX] >> bit % width & 1) && (uint64_t)first + bit < VCPUS)
			count++;
	return count;
}

static void check_kvms(const struct vm *m, const uint64_t reg[16], int64_t answer)
{
	uint32_t icr = (uint32_t)reg[REG_RSI], to = (uint32_t)reg[REG_RCX];

	switch ((uint32_t)reg[REG_RAX]) {
	case 1:
		REQUIRE(!answer);
		break;
	case 5:
		REQUIRE(!answer && (to >= VCPUS || m->vcpu[to]->pv.kicked));
		break;
	case 10:
		REQUIRE(answer == ((icr & ~0x7ffU) || (icr >> 8 != 0 && icr >> 8 != 4) ? -22 : named(reg)));
		break;
	case 11:
		REQUIRE(!answer && seen.yields == 1);
		break;
	default:
		REQUIRE(answer == -1000);
	}
}

/* --- a call ------------------------------------------------------------------------------------------------------- */

/* Memory of the caller that the call was to fill, and did. */
static uint64_t filled(const struct vcpu *v, uint32_t number, const uint64_t arg[4], int64_t answer, uint64_t *at)
{
	bool ours = fake.cpl == 0 && v->vm->config->hypercalls;

	*at = number == VIREO_CALL_PEER ? arg[1] : arg[0];
	if (!ours || answer < 0)
		return 0;
	return number == VIREO_CALL_INFO ? (uint64_t)answer : number == VIREO_CALL_PEER ? sizeof(struct vireo_peer) : 0;
}

static void check_memory(const struct vcpu *v, uint64_t at, uint64_t size)
{
	unsigned caller = (unsigned)(machine_of(v->vm) - machine);

	if (size)
		memcpy(ram_before[caller] + at, ram[caller] + at, size);
	REQUIRE(!memcmp(ram, ram_before, sizeof(ram)));
}

static void check_answer(struct vcpu *v, const uint64_t before[16], int64_t answer)
{
	const struct vm_config *c = v->vm->config;
	uint64_t mask = fake.cs.access & SEG_AR_L ? ~0ULL : 0xffffffff, at, size;
	uint64_t arg[4] = {before[REG_RBX] & mask, before[REG_RCX] & mask, before[REG_RDX] & mask,
			   before[REG_RSI] & mask};
	uint32_t number = (uint32_t)before[REG_RAX];

	if (!c->hypercalls && !c->kvm)
		REQUIRE(answer == -1);
	else if (fake.cpl)
		REQUIRE(answer == VIREO_EPERM && !seen.yields && !seen.ends && !seen.said);
	else if (c->hypercalls && (number >> 31 || !c->kvm))
		check_ours(v, number, arg, answer);
	else
		check_kvms(v->vm, before, answer);
	size = filled(v, number, arg, answer, &at);
	check_memory(v, at, size);
	if (number >= VIREO_CALL_GRANT)
		check_sharing();
}

static void call(struct vcpu *v)
{
	struct exit exit = {.reason = EXIT_VMCALL};
	uint64_t before[16], *reg = v->virt.reg;

	memcpy(before, reg, sizeof(before));
	memcpy(ram_before, ram, sizeof(ram));
	memset(&seen, 0, sizeof(seen));
	REQUIRE(exit_vmcall(v, &exit) == OUTCOME_NEXT);
	check_answer(v, before, (int64_t)reg[REG_RAX]);
	before[REG_RAX] = reg[REG_RAX];
	REQUIRE(!memcmp(before, reg, sizeof(before)) && !kills && !fake.exceptions);
}

/* Small numbers mostly; places in RAM and in the window; now and then anything. */
static uint64_t some_number(void)
{
	unsigned how = (unsigned)next(1);

	if (how < 128)
		return how % 20;
	if (how < 176)
		return (how & 7) * PAGE_SIZE / 2 + (how & 8 ? next(1) : how & 1);
	if (how < 232)
		return WINDOW + (how & 7) * PAGE_SIZE + (how & 8 ? PC_SHARED_MEMORY_SIZE - 4 * PAGE_SIZE : 0) +
		       (how & 16 ? 1 : 0);
	return how < 240 ? RAM - next(1) : how < 244 ? 1ULL << next(1) % 64 : how < 248 ? 0x400 + next(1) : next(8);
}

/* Arguments of a call about peers that may well be granted: few slots, whole pages. */
static void set_likely_arguments(uint64_t *reg)
{
	unsigned how = (unsigned)next(1), where = (unsigned)next(1);
	bool window = (uint32_t)reg[REG_RAX] == VIREO_CALL_MAP;
	uint64_t place = window ? WINDOW + (where & 7) * PAGE_SIZE : (where & 3) * PAGE_SIZE;

	reg[REG_RBX] = how & 1;
	reg[REG_RCX] = how >> 1 & 3;
	reg[REG_RDX] = place | how >> 7;
	reg[REG_RSI] = 1 + (how >> 3 & 1);
	if ((uint32_t)reg[REG_RAX] == VIREO_CALL_REVOKE)
		reg[REG_RBX] = reg[REG_RCX];
	if ((uint32_t)reg[REG_RAX] == VIREO_CALL_UNMAP)
		reg[REG_RBX] = WINDOW + (where & 7) * PAGE_SIZE;
}

static void some_call(struct vcpu *v, unsigned how)
{
	unsigned number = (unsigned)next(1);
	uint64_t *reg = v->virt.reg;

	fake.cpl = how == 7 ? 3 : 0;
	fake.cs.access = how & 4 ? 0 : SEG_AR_L;
	for (unsigned i = 0; i < 16; i++)
		reg[i] = 0xdead0000beef0000 + i;
	if (number < 128) {
		reg[REG_RAX] = VIREO_CALL_LISTEN + number % 7;
		set_likely_arguments(reg);
	} else {
		reg[REG_RAX] = number < 192 ? VIREO_CALL_INFO + number % 14 : number < 240 ? number % 13 : next(8);
		reg[REG_RBX] = some_number();
		reg[REG_RCX] = some_number();
		reg[REG_RDX] = some_number();
		reg[REG_RSI] = some_number();
	}
	no_tables = how == 3;
	call(v);
	no_tables = false;
}

/* --- KVM's registers, and what they share --------------------------------------------------------------------------
 */

static unsigned in_service(const struct vcpu *v)
{
	unsigned count = 0;

	for (unsigned i = 0; i < 8; i++)
		count += (unsigned)__builtin_popcount(v->lapic.regs[(VLAPIC_ISR + i * 16) / 4]);
	return count;
}

/* It ends one interrupt if the guest has taken the offer, and none if not. */
static void take_eoi(struct vcpu *v)
{
	unsigned before = in_service(v);
	uint64_t eois = v->pv.eois;
	bool taken = v->pv.eoi_offered && v->pv.eoi && !(*v->pv.eoi & 1);

	pv_take_eoi(v);
	REQUIRE(!v->pv.eoi_offered && in_service(v) == before - taken && v->pv.eois == eois + taken);
}

static void enter(struct vcpu *v, uint8_t vector)
{
	int pending;

	take_eoi(v);
	vlapic_post(&v->lapic, vector, vector & 1);
	vlapic_sync(&v->lapic);
	pending = vlapic_pending(&v->lapic);
	if (pending >= 0)
		vlapic_deliver(&v->lapic, (uint8_t)pending);
	pv_offer_eoi(v);
}

static void write_kvm_msr(struct vcpu *v)
{
	uint32_t msr = KVM_MSRS + (uint32_t)next(1) % 6;
	uint64_t value = some_number() | (next(1) & 1), found = 0;
	int err = pv_msr_write(v, msr, value);

	REQUIRE(v->vm->config->kvm || err);
	if (!err && msr != KVM_MSRS)
		REQUIRE(!pv_msr_read(v, msr, &found) && found == value);
	REQUIRE(!v->pv.steal || owner_of((uint64_t)v->pv.steal) == (unsigned)(machine_of(v->vm) - machine));
	REQUIRE(!v->pv.eoi || owner_of((uint64_t)v->pv.eoi) == (unsigned)(machine_of(v->vm) - machine));
}

/* The guest is away for a time, and what it shares may not be there any more when it is back. */
static void leave_and_return(struct vcpu *v, unsigned how)
{
	struct guest_mem *mem = &v->vm->mem;

	pv_leaves(v);
	if (how & 1)
		pv_waits(v, fake_now);
	fake_time_advance(next(2));
	if (how & 2) {
		mem->region[0].size = how & 4 ? RAM / 2 : RAM;
		pv_look_again(v);
		REQUIRE(!v->pv.steal || (uint8_t *)v->pv.steal - mem->region[0].host < (long)mem->region[0].size);
		mem->region[0].size = RAM;
		if (how & 8) /* else it stays without until it asks again */
			pv_look_again(v);
	}
	pv_runs(v);
	pv_tsc_moved(v);
}

/* --- vCPUs, and lives of VMs -------------------------------------------------------------------------------------- */

static void flush(struct vcpu *v)
{
	struct machine *m = machine_of(v->vm);

	atomic_fetch_and(&v->requests, ~(uint32_t)REQUEST_RENEW);
	memset(m->tlb[v->index], 0, sizeof(m->tlb[v->index]));
	atomic_store(&v->virt.flushed_generation, m->space.generation);
	pv_look_again(v);
}

/* As hv/vcpu.c does when it is loaded. */
static void load(struct vcpu *v)
{
	if (virt_vcpu_renewed(&v->virt) < machine_of(v->vm)->space.generation)
		flush(v);
	v->state = VCPU_RUNNING;
}

/* Reads its window: the first pages, which are there most often, and another one. */
static void touch(struct vcpu *v)
{
	struct machine *m = machine_of(v->vm);
	uint64_t other = WINDOW_PAGES - 1 - next(1) % 4;

	for (uint64_t page = 0; page < WINDOW_PAGES; page = page == 11 ? other : page + 1)
		if (m->space.rights[page] && !m->tlb[v->index][page])
			m->tlb[v->index][page] = m->space.page[page];
}

static void begin(unsigned n)
{
	struct guest_region region = {.size = RAM, .host = ram[n], .ram = true};
	struct machine *m = &machine[n];
	char why[80] = "";

	REQUIRE(!vm_share_create(&m->vm, why, sizeof(why)));
	m->vm.mem.count = 0;
	REQUIRE(!guest_mem_add(&m->vm.mem, &region));
	for (unsigned i = 0; i < VCPUS; i++) {
		vlapic_init(&m->vcpu[i].lapic, &m->vm.apic_bus, i, pages[n][i], &timers);
		vlapic_mmio_write(&m->vcpu[i].lapic, VLAPIC_SVR, 4, 0x1ff);
		pv_reset(&m->vcpu[i]);
		m->vcpu[i].state = VCPU_RUNNING;
	}
}

static void stop_lending(struct machine *m, bool over)
{
	for (unsigned slot = 0; slot < VIREO_GRANTS; slot++)
		if (m->lent[slot].state != NOT_LENT)
			m->lent[slot].state = over ? NOT_LENT : ENDS;
}

/* Who goes for good is nobody's peer: what was lent to it is nobody's. */
static void forget_peer(unsigned n)
{
	for (unsigned from = 0; from < VMS; from++)
		for (unsigned slot = 0; slot < VIREO_GRANTS; slot++)
			if (machine[from].lent[slot].to == n)
				machine[from].lent[slot].state = NOT_LENT;
}

/* Its vCPUs leave; when nobody sees its memory any more, it begins anew, or another VM of that name does. */
static bool end(unsigned n, bool restarts)
{
	struct machine *m = &machine[n];
	bool seen_still;

	m->ends = true;
	for (unsigned i = 0; i < VCPUS; i++) {
		m->vcpu[i].state = VCPU_GONE;
		memset(m->tlb[i], 0, sizeof(m->tlb[i]));
	}
	seen_still = vm_share_stop(&m->vm);
	stop_lending(m, !seen_still);
	check_sharing();
	if (seen_still)
		return false;
	m->ends = false;
	if (!restarts) {
		vm_share_destroy(&m->vm);
		forget_peer(n);
		check_sharing();
	}
	return true;
}

static void restart(unsigned n, bool restarts)
{
	if (!end(n, restarts))
		return;
	if (!restarts) {
		begin(n);
		return;
	}
	for (unsigned i = 0; i < VCPUS; i++)
		load(&machine[n].vcpu[i]);
}

/* --- the script --------------------------------------------------------------------------------------------------- */

static void live(struct vcpu *v, unsigned what, unsigned how)
{
	switch (what) {
	case 0:
		if (v->state == VCPU_RUNNING)
			flush(v);
		break;
	case 1:
		if (v->state == VCPU_RUNNING)
			v->state = VCPU_BLOCKED;
		else
			load(v);
		break;
	case 2:
		restart((unsigned)(machine_of(v->vm) - machine), how & 1);
		break;
	default:
		load(v);
		touch(v);
		break;
	}
}

static void step(void)
{
	unsigned what = (unsigned)next(1), how = (unsigned)next(1);
	struct machine *m = &machine[how % VMS];
	struct vcpu *v = &m->vcpu[how >> 2 & 1];

	how >>= 3;
	if (m->ends) {
		restart((unsigned)(m - machine), how & 1);
		return;
	}
	if (what >= 192) {
		live(v, what & 3, how);
		return;
	}
	load(v);
	switch (what & 7) {
	case 0:
		write_kvm_msr(v);
		break;
	case 1:
		leave_and_return(v, how);
		break;
	case 2:
		enter(v, (uint8_t)next(1));
		break;
	case 3: /* the guest writes its memory */
		ram[m - machine][next(2) % RAM] = (uint8_t)next(1);
		break;
	default:
		some_call(v, how & 7);
		break;
	}
}

static void make(unsigned n, unsigned how)
{
	struct machine *m = &machine[n];

	memset(m, 0, sizeof(*m));
	m->config = (struct vm_config){.vcpus = VCPUS, .memory = RAM, .hypercalls = how & 3, .kvm = how & 12};
	m->config.peer_count = how & 48 ? VMS - 1 : 0;
	snprintf(m->config.name, sizeof(m->config.name), "vm%u", n);
	for (unsigned i = 0; i < VMS - 1; i++)
		snprintf(m->config.peer[i], sizeof(m->config.peer[i]), "vm%u", (n + 1 + i) % VMS);
	m->vm.config = &m->config;
	m->vm.space = &m->space;
	m->vm.vcpu_count = VCPUS;
	m->vm.powered_up = fake_now;
	m->vm.apic_bus.phys_bits = 40;
	m->vm.apic_bus.signal = on_signal;
	m->vm.apic_bus.eoi = on_eoi;
	for (unsigned i = 0; i < VCPUS; i++) {
		m->vm.vcpu[i] = &m->vcpu[i];
		m->vcpu[i].vm = &m->vm;
		m->vcpu[i].index = i;
	}
	begin(n);
}

/* All flush, then all can end; in any order. */
static void end_all(void)
{
	for (unsigned n = 0; n < VMS; n++)
		for (unsigned i = 0; i < VCPUS; i++)
			if (!machine[n].ends) {
				load(&machine[n].vcpu[i]);
				flush(&machine[n].vcpu[i]);
			}
	for (unsigned n = 0; n < VMS; n++) {
		(void)end(n, true); /* once: it takes what it lends away, which makes others owe a flush */
		for (unsigned other = n + 1; other < VMS; other++)
			for (unsigned i = 0; i < VCPUS; i++)
				flush(&machine[other].vcpu[i]);
		REQUIRE(end(n, false));
	}
	REQUIRE(!blocks);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	input_begin(data, size);
	fake_reset();
	fake_now = 1000000;
	fake_timer_count = 0;
	memset(ram, 0, sizeof(ram));
	for (unsigned n = 0; n < VMS; n++)
		make(n, (unsigned)next(1));
	while (left)
		step();
	end_all();
	return 0;
}
