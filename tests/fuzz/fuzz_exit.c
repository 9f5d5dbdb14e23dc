/*
 * Exits for memory and ports, with an instruction, page tables, registers and segments that the input makes up and
 * changes from exit to exit: string I/O, operands in two pages, code in two pages, a guest that changes its code after
 * the exit. A plain model with memory of its own says what each exit does: which device is reached how, what registers,
 * flags, RIP and memory are afterwards, which exception is raised, when the VM ends. What instructions compute is
 * fuzz_emulate.c's to judge, and how bytes are decoded fuzz_decode_reference.c's: the model asks the same functions.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/exit/io.c hv/exit/mem.c hv/code.c hv/decode.c hv/emulate.c arch/x86/walk.c hv/guest_mem.c hv/bus.c */
/* flags: -lcmocka -fno-sanitize-coverage=trace-cmp */
#include "arch/x86/insn.h"

static uint64_t cr2;
#define write_cr2(value) (cr2 = (value))
#include "hv/guest_walk.c"

#include "hv/exit/qualification.h"
#include "hv/exit/table.h"
#include "hv/vm_memory.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"
#include "tests/unit/fake_virt.h"

#define TABLES	     0x8000ULL	 /* bytes of memory from 0 on, where the page tables are */
#define LINEAR	     0x400000ULL /* the pages that are mapped, and memory by the same addresses */
#define PAGES	     4U
#define WINDOW	     (PAGES * PAGE_SIZE)
#define DEVICE	     0xC0000000ULL
#define DEVICE_SIZE  (PAGE_SIZE + 16)
#define NOWHERE	     0xD0000000ULL
#define PORT	     0x300
#define PORTS	     8
#define ACCESSES_MAX 4 /* of one exit */

enum mode { LONG, COMPATIBILITY, PROTECTED, UNPAGED };

/* --- the guest ---------------------------------------------------------------------------------------------------- */

struct memory {
	uint8_t tables[TABLES], window[WINDOW];
};

struct access {
	char who; /* m: memory's device, p: ports, a: the local APIC */
	bool write;
	unsigned size;
	uint64_t at, value;
};

static _Alignas(4096) struct memory memory;
static struct access done[ACCESSES_MAX];
static unsigned done_count;
static enum mode mode;
static struct page {
	bool present, writable, user, no_execute;
	uint64_t gpa;
} page[PAGES];
static unsigned vga_touches, nmi_blocks;

/* What a device answers: anything, but the same to the model. */
static uint64_t answer(unsigned number, uint64_t at, unsigned size)
{
	return ((at + number * 77 + 1) * 0x9e3779b97f4a7c15ULL ^ at << 9) & bus_ones(size);
}

static uint64_t note(char who, bool write, uint64_t at, unsigned size, uint64_t value)
{
	REQUIRE(done_count < ACCESSES_MAX && !(value & ~bus_ones(size)));
	if (!write)
		value = answer(done_count, at, size);
	done[done_count++] = (struct access){who, write, size, at, value};
	return value;
}

static void check_inside(uint64_t at, unsigned size, uint64_t first, uint64_t count)
{
	REQUIRE(at >= first && at - first < count && size <= count - (at - first));
	REQUIRE(vm.lock.next - vm.lock.serving == 1);
}

static uint64_t device_read(void *dev, uint64_t at, unsigned size)
{
	(void)dev;
	check_inside(at, size, DEVICE, DEVICE_SIZE);
	return note('m', false, at, size, 0);
}
static void device_write(void *dev, uint64_t at, unsigned size, uint64_t value)
{
	(void)dev;
	check_inside(at, size, DEVICE, DEVICE_SIZE);
	note('m', true, at, size, value);
}
static uint64_t port_in(void *dev, uint64_t at, unsigned size)
{
	(void)dev;
	check_inside(at, size, PORT, PORTS);
	return note('p', false, at, size, 0);
}
static void port_out(void *dev, uint64_t at, unsigned size, uint64_t value)
{
	(void)dev;
	check_inside(at, size, PORT, PORTS);
	note('p', true, at, size, value);
}

/* The local APIC is a device as any other here. */
void vlapic_init(struct vlapic *v, struct apic_bus *bus, unsigned index, uint32_t *regs, struct timer_queue *queue)
{
	*v = (struct vlapic){.regs = regs, .bus = bus, .id = index, .base = VLAPIC_DEFAULT_BASE | VLAPIC_BASE_ENABLE};
	(void)queue;
}
uint64_t vlapic_mmio_read(struct vlapic *v, uint32_t offset, unsigned size)
{
	REQUIRE(v == &vcpu.lapic && offset <= PAGE_SIZE - size);
	return note('a', false, offset, size, 0);
}
int vlapic_highest_isr(const struct vlapic *v)
{
	(void)v;
	return -1;
}
void vlapic_mmio_write(struct vlapic *v, uint32_t offset, unsigned size, uint64_t value)
{
	REQUIRE(v == &vcpu.lapic && offset <= PAGE_SIZE - size);
	note('a', true, offset, size, value);
}

void pv_take_eoi(struct vcpu *v)
{
	REQUIRE(v == &vcpu);
}
int vm_memory_allow_code(struct vm *machine, gpa_t gpa)
{
	REQUIRE(machine == &vm && gpa.value == fake.gpa && (fake.qualification & EPT_FETCH));
	return 0;
}
void vm_vga_touched(struct vm *machine, uint64_t gpa)
{
	REQUIRE(machine == &vm && gpa == fake.gpa);
	vga_touches++;
}
void virt_block_nmi(void)
{
	nmi_blocks++;
}
void virt_set_rflags(uint64_t rflags)
{
	fake.rflags = rflags;
}
void virt_advance_by(uint64_t length)
{
	REQUIRE(length >= 1 && length <= INSN_MAX_LENGTH);
	fake.rip += length;
}

/* Page n in both kinds of tables. */
static void put_entry(struct memory *m, unsigned n)
{
	const struct page *p = &page[n];
	uint64_t entry = p->gpa | (uint64_t)p->no_execute << 63 | p->user * 4U | p->writable * 2U | p->present;
	uint32_t low = (uint32_t)entry;

	memcpy(m->tables + 0x4000 + 8 * n, &entry, sizeof(entry));
	memcpy(m->tables + 0x6000 + 4 * n, &low, sizeof(low));
}

static void put_tables(struct memory *m)
{
	static const struct {
		uint64_t at, entry;
		unsigned size;
	} above[] = {{0x1000, 0x2007, 8}, {0x2000, 0x3007, 8}, {0x3010, 0x4007, 8}, {0x5004, 0x6007, 4}};

	memset(m, 0, sizeof(*m));
	for (unsigned i = 0; i < ARRAY_SIZE(above); i++)
		memcpy(m->tables + above[i].at, &above[i].entry, above[i].size);
	for (unsigned n = 0; n < PAGES; n++)
		put_entry(m, n);
}

/* --- the model ---------------------------------------------------------------------------------------------------- */

static struct model {
	struct memory memory;
	uint64_t reg[REG_COUNT], rip, rflags;
	struct access access[ACCESSES_MAX];
	unsigned accesses, vector; /* 0: no exception */
	uint32_t error;
	uint64_t cr2;
	enum outcome outcome;
} model;

/* What became of a step of an instruction. */
enum step { GOES_ON, OVER };

static enum step kill_it(void)
{
	model.outcome = OUTCOME_KILL;
	return OVER;
}

static enum step raise_it(unsigned vector, uint32_t error, uint64_t address)
{
	model.vector = vector;
	model.error = error;
	model.cr2 = vector == VECTOR_PF ? address : model.cr2;
	model.outcome = OUTCOME_RETRY;
	return OVER;
}

static uint8_t *find_byte(uint64_t gpa)
{
	if (gpa < TABLES)
		return &model.memory.tables[gpa];
	return gpa - LINEAR < WINDOW ? &model.memory.window[gpa - LINEAR] : NULL;
}

static bool copy_physical(uint64_t gpa, uint64_t *value, unsigned size, bool write)
{
	for (unsigned i = 0; i < size; i++)
		if (!find_byte(gpa + i))
			return false;
	*value = write ? *value : 0;
	for (unsigned i = 0; i < size; i++) {
		if (write)
			*find_byte(gpa + i) = (uint8_t)(*value >> 8 * i);
		else
			*value |= (uint64_t)*find_byte(gpa + i) << 8 * i;
	}
	return true;
}

/* One byte's address. The answer as guest_translate's. */
static int look_up(uint64_t address, unsigned access, uint64_t *gpa, uint32_t *fault)
{
	const struct page *p = &page[(address - LINEAR) / PAGE_SIZE % PAGES];
	bool user = fake.cpl == 3, write = access == WALK_WRITE, there = address - LINEAR < WINDOW && p->present;

	*gpa = (address & UINT32_MAX);
	*fault = 0;
	if (mode == UNPAGED)
		return 0;
	if (mode == PROTECTED ? address >> 32 != 0 : (uint64_t)((int64_t)(address << 16) >> 16) != address)
		return -E_INVAL;
	*gpa = p->gpa + address % PAGE_SIZE;
	*fault = user * 4U | write * 2U | there;
	if (!there || (user && !p->user) || (access == WALK_EXEC && p->no_execute && mode != PROTECTED))
		return -E_FAULT;
	return write && !p->writable && (user || (fake.cr0 & CR0_WP)) ? -E_FAULT : 0;
}

/* All bytes of an operand can be reached, or the first that can't is told. */
static enum step probe(uint64_t address, unsigned size, bool write, uint64_t *gpa)
{
	uint64_t at, ignored;
	uint32_t fault;
	int err;

	for (unsigned i = 0; i < size; i++) {
		at = address + i;
		err = look_up(at, write ? WALK_WRITE : WALK_READ, i ? &ignored : gpa, &fault);
		if (err == -E_INVAL)
			return raise_it(VECTOR_GP, 0, 0);
		if (err)
			return raise_it(VECTOR_PF, fault, at);
	}
	return GOES_ON;
}

/* Bytes by linear address, for which probe() has answered. */
static enum step copy_linear(uint64_t address, uint64_t *value, unsigned size, bool write)
{
	uint64_t gpa[8];
	uint32_t fault;

	for (unsigned i = 0; i < size; i++) {
		REQUIRE(look_up(address + i, write ? WALK_WRITE : WALK_READ, &gpa[i], &fault) == 0);
		if (!find_byte(gpa[i]))
			return kill_it();
	}
	*value = write ? *value : 0;
	for (unsigned i = 0; i < size; i++) {
		if (write)
			*find_byte(gpa[i]) = (uint8_t)(*value >> 8 * i);
		else
			*value |= (uint64_t)*find_byte(gpa[i]) << 8 * i;
	}
	return GOES_ON;
}

static uint64_t model_access(char who, bool write, uint64_t at, unsigned size, uint64_t value)
{
	REQUIRE(model.accesses < ACCESSES_MAX);
	if (!write)
		value = answer(model.accesses, at, size);
	model.access[model.accesses++] = (struct access){who, write, size, at, value};
	return value;
}

/* An operand by guest-physical address: the local APIC, the device, memory, or nobody. */
static enum step operand(uint64_t gpa, uint64_t *value, unsigned size, bool write)
{
	uint64_t base = vcpu.lapic.base & 0xffffffffff000;
	bool on = (vcpu.lapic.base & (VLAPIC_BASE_ENABLE | VLAPIC_BASE_X2APIC)) == VLAPIC_BASE_ENABLE;

	if (on && gpa >= base && gpa + size <= base + PAGE_SIZE)
		*value = model_access('a', write, gpa - base, size, *value);
	else if (gpa >= DEVICE && gpa + size <= DEVICE + DEVICE_SIZE)
		*value = model_access('m', write, gpa, size, *value);
	else if (!copy_physical(gpa, value, size, write))
		return kill_it();
	return GOES_ON;
}

static enum step linear_operand(uint64_t address, uint64_t gpa, uint64_t *value, unsigned size, bool write)
{
	if (address / PAGE_SIZE == (address + size - 1) / PAGE_SIZE)
		return operand(gpa, value, size, write);
	return copy_linear(address, value, size, write);
}

static uint64_t segment_address(const struct insn *insn, unsigned segment, uint64_t offset)
{
	uint64_t base = segment == SEG_CS ? fake.cs.base : fake.data[segment].base;

	offset &= UINT64_MAX >> (64 - 8 * insn->address_size);
	if (mode != LONG)
		return (base + offset) & UINT32_MAX;
	return segment >= SEG_FS ? base + offset : offset;
}

static enum step copy_operands_of(const struct insn *insn, uint64_t *value)
{
	uint64_t from = segment_address(insn, insn->segment, model.reg[REG_RSI]), source = 0, dest = 0;
	uint64_t to = segment_address(insn, SEG_ES, model.reg[REG_RDI]);

	if (probe(from, insn->mem_size, false, &source) == OVER || probe(to, insn->mem_size, true, &dest) == OVER ||
	    linear_operand(from, source, value, insn->mem_size, false) == OVER)
		return OVER;
	return linear_operand(to, dest, value, insn->mem_size, true);
}

/* The instruction at RIP, as far as it can be read. */
static int fetch_insn(struct insn *insn)
{
	static const enum insn_mode modes[] = {INSN_MODE_64, INSN_MODE_32, INSN_MODE_32, INSN_MODE_16};
	uint64_t address = mode == LONG ? fake.rip : (fake.cs.base + fake.rip) & UINT32_MAX, gpa;
	uint8_t bytes[INSN_MAX_LENGTH];
	uint32_t fault;
	size_t n = 0;

	while (n < sizeof(bytes) && look_up(address + n, WALK_EXEC, &gpa, &fault) == 0 && find_byte(gpa))
		bytes[n++] = *find_byte(gpa);
	return insn_decode(insn, modes[mode], bytes, n);
}

static enum step execute_at(const struct insn *insn, uint64_t gpa)
{
	uint64_t old = 0, new = 0;
	int more = 0;

	if (!insn_has_work(insn, model.reg))
		return GOES_ON;
	if (insn->kind == INSN_COPY && copy_operands_of(insn, &old) == OVER)
		return OVER;
	if (insn->kind != INSN_COPY && insn->kind != INSN_WRITE && operand(gpa, &old, insn->mem_size, false) == OVER)
		return OVER;
	if (insn->kind == INSN_NO_MEMORY && insn->op == INSN_MOV && insn->reg != REG_RSP)
		(void)insn_move(insn, old, model.reg); /* it was another when it exited: as good as any answer */
	else
		more = insn_execute(insn, old, model.reg, &model.rflags, &new);
	if (more < 0)
		return kill_it();
	if ((insn->kind == INSN_WRITE || insn->kind == INSN_RMW) && operand(gpa, &new, insn->mem_size, true) == OVER)
		return OVER;
	if (more)
		model.outcome = OUTCOME_RETRY;
	return more ? OVER : GOES_ON;
}

static void emulate_at(uint64_t gpa)
{
	struct insn insn;

	if (fetch_insn(&insn)) {
		kill_it();
	} else if (execute_at(&insn, gpa) == GOES_ON) {
		model.rip += insn.length;
		model.outcome = OUTCOME_RETRY;
	}
}

static void model_violation(uint64_t gpa, uint64_t q)
{
	bool data = (q & (EPT_FETCH | EPT_LINEAR)) == EPT_LINEAR;

	model.outcome = OUTCOME_RETRY;
	if (find_byte(gpa))
		return;
	if (fake.pending || !data)
		kill_it();
	else
		emulate_at(gpa);
}

static uint64_t model_in(uint16_t port, unsigned size)
{
	return port >= PORT && port + size <= PORT + PORTS ? model_access('p', false, port, size, 0) : bus_ones(size);
}

static void model_out(uint16_t port, unsigned size, uint64_t value)
{
	if (port >= PORT && port + size <= PORT + PORTS)
		model_access('p', true, port, size, value & bus_ones(size));
}

static void step_to(unsigned reg, unsigned width, uint64_t by)
{
	uint64_t mask = UINT64_MAX >> (64 - width);

	model.reg[reg] = (width == 16 ? model.reg[reg] & ~mask : 0) | ((model.reg[reg] + by) & mask);
}

/* Each byte by itself: does the segment have it, and may it be accessed so? */
static bool segment_has(const struct segment *s, uint64_t offset, unsigned size, bool write)
{
	static const struct {
		bool read, write, down;
	} type[16] = {{1, 0, 0}, {1, 0, 0}, {1, 1, 0}, {1, 1, 0}, {1, 0, 1}, {1, 0, 1}, {1, 1, 1}, {1, 1, 1},
		      {0, 0, 0}, {0, 0, 0}, {1, 0, 0}, {1, 0, 0}, {0, 0, 0}, {0, 0, 0}, {1, 0, 0}, {1, 0, 0}};
	unsigned t = s->access & 15;

	if (s->access & SEG_AR_UNUSABLE || !(write ? type[t].write : type[t].read))
		return false;
	for (uint64_t at = offset; at < offset + size; at++) {
		bool below = at <= s->limit;

		if (type[t].down ? below || at > (s->access & SEG_AR_DB ? UINT32_MAX : 0xffff) : !below)
			return false;
	}
	return true;
}

static void model_string_io(uint64_t q, unsigned segment, unsigned width)
{
	unsigned size = io_size(q);
	const struct insn insn = {.address_size = (uint8_t)(width / 8)};
	uint64_t mask = UINT64_MAX >> (64 - width), value = 0, gpa;
	uint64_t offset = model.reg[q & IO_IN ? REG_RDI : REG_RSI] & mask;
	uint64_t address = segment_address(&insn, segment, offset);
	const struct segment *s = segment == SEG_CS ? &fake.cs : &fake.data[segment];

	model.outcome = OUTCOME_NEXT;
	if ((q & IO_REP) && !(model.reg[REG_RCX] & mask))
		return;
	if (mode != LONG && !segment_has(s, offset, size, q & IO_IN)) {
		raise_it(segment == SEG_SS ? VECTOR_SS : VECTOR_GP, 0, 0);
		return;
	}
	if (probe(address, size, q & IO_IN, &gpa) == OVER)
		return;
	if (q & IO_IN)
		value = model_in(io_port(q), size);
	if (copy_linear(address, &value, size, q & IO_IN) == OVER)
		return;
	if (!(q & IO_IN))
		model_out(io_port(q), size, value);
	step_to(q & IO_IN ? REG_RDI : REG_RSI, width, model.rflags & RFLAGS_DF ? 0ULL - size : size);
	if (!(q & IO_REP))
		return;
	step_to(REG_RCX, width, UINT64_MAX);
	if (model.reg[REG_RCX] & mask)
		model.outcome = OUTCOME_RETRY;
}

static void model_io(uint64_t q)
{
	unsigned size = io_size(q);
	uint64_t *rax = &model.reg[REG_RAX], value;

	model.outcome = OUTCOME_NEXT;
	if (!(q & IO_IN)) {
		model_out(io_port(q), size, *rax);
		return;
	}
	value = model_in(io_port(q), size);
	*rax = size == 4 ? value : (*rax & ~bus_ones(size)) | value;
}

/* --- an exit, and what it should have done ------------------------------------------------------------------------ */

static void begin(void)
{
	memcpy(model.reg, vcpu.virt.reg, sizeof(model.reg));
	model.rip = fake.rip;
	model.rflags = fake.rflags;
	model.accesses = done_count = 0;
	model.vector = 0;
	model.cr2 = cr2;
	fake.exceptions = kills = vga_touches = nmi_blocks = 0;
}

/* False: the VM has ended. Its registers and memory are nobody's any more, but what it did to devices counts. */
static bool agrees(enum outcome outcome)
{
	REQUIRE(outcome == model.outcome && kills == (outcome == OUTCOME_KILL));
	REQUIRE(vm.lock.next == vm.lock.serving);
	REQUIRE(done_count == model.accesses);
	for (unsigned i = 0; i < done_count; i++) {
		const struct access *a = &done[i], *b = &model.access[i];

		REQUIRE(a->who == b->who && a->write == b->write && a->size == b->size && a->at == b->at);
		REQUIRE(a->value == b->value);
	}
	REQUIRE(fake.exceptions == (model.vector != 0) && cr2 == model.cr2);
	if (model.vector)
		REQUIRE(fake.vector == model.vector && fake.has_error && fake.error == model.error);
	if (outcome == OUTCOME_KILL)
		return false;
	REQUIRE(fake.rip == model.rip && fake.rflags == model.rflags);
	REQUIRE(!memcmp(vcpu.virt.reg, model.reg, sizeof(model.reg)));
	REQUIRE(!memcmp(memory.window, model.memory.window, sizeof(memory.window)));
	if (model.vector)
		fake.pending = false;
	return true;
}

static uint64_t some_gpa(void)
{
	static const uint64_t places[] = {DEVICE,     DEVICE + PAGE_SIZE - 8, DEVICE + DEVICE_SIZE - 8, NOWHERE,
					  LINEAR - 4, LINEAR + WINDOW - 4,    VLAPIC_DEFAULT_BASE,	DEVICE + 16};
	unsigned how = (unsigned)next(1);

	if (how < 32)
		return (vcpu.lapic.base & ~0xfffULL) + (how < 16 ? 0xff8 + how : next(2) % PAGE_SIZE);
	return how < 224 ? places[how % ARRAY_SIZE(places)] + how / 32 : next(6);
}

static bool violate(void)
{
	static const struct exit exit = {.reason = EXIT_EPT_VIOLATION};
	unsigned how = (unsigned)next(1);

	begin();
	fake.gpa = some_gpa();
	fake.qualification = EPT_LINEAR | (how & 1 ? EPT_WRITE : EPT_READ) | (how & 2 ? EPT_NMI_UNBLOCKED : 0);
	if (how >= 240)
		fake.qualification ^= EPT_FETCH | (how & 4 ? BIT(8) : 0);
	model_violation(fake.gpa, fake.qualification);
	if (!agrees(exit_ept_violation(&vcpu, &exit)))
		return false;
	REQUIRE(vga_touches == (find_byte(fake.gpa) && (how & 1)));
	REQUIRE(nmi_blocks == (find_byte(fake.gpa) && (how & 2) && !fake.pending));
	return true;
}

static bool access_apic(void)
{
	static const struct exit exit = {.reason = EXIT_APIC_ACCESS};
	unsigned how = (unsigned)next(1);

	begin();
	fake.qualification = next(2) & 0xfff;
	fake.qualification |= (uint64_t)(how < 240 ? how & 1 : how & 15) << 12;
	if (fake.qualification >> 12 > 1)
		kill_it();
	else
		emulate_at((vcpu.lapic.base & ~0xfffULL) + (fake.qualification & 0xfff));
	return agrees(exit_apic_access(&vcpu, &exit));
}

static uint64_t some_address(void)
{
	unsigned how = (unsigned)next(1);

	if (how < 128)
		return LINEAR + how % PAGES * PAGE_SIZE +
		       (how & 64 ? PAGE_SIZE - 8 + how / 8 % 8 : next(2) % PAGE_SIZE);
	return how < 144   ? UINT32_MAX - how % 16
	       : how < 160 ? 0x7ffffffffff8 + how % 16
	       : how < 240 ? next(3)
			   : next(8);
}

static bool port(void)
{
	static const struct exit exit = {.reason = EXIT_IO};
	static const uint8_t sizes[] = {0, 1, 3}; /* the processor says no other */
	unsigned how = (unsigned)next(1), width = how / 64 % 3, segment = (unsigned)next(1) % (SEG_GS + 1);

	if (width == 2 && mode != LONG)
		width = 1;
	begin();
	fake.qualification = (how & 0x38) | sizes[how % 8 % 3];
	fake.qualification |= (next(1) % 16 + PORT - 4) << 16;
	fake.insn_info = width << 7 | segment << 15;
	if (fake.qualification & IO_STRING)
		model_string_io(fake.qualification, fake.qualification & IO_IN ? SEG_ES : segment, 16U << width);
	else
		model_io(fake.qualification);
	return agrees(exit_io(&vcpu, &exit));
}

/* --- what changes between exits ----------------------------------------------------------------------------------- */

static void set_page(void)
{
	static const uint64_t places[] = {DEVICE, DEVICE + PAGE_SIZE, NOWHERE, VLAPIC_DEFAULT_BASE};
	unsigned n = (unsigned)next(1), how = (unsigned)next(1), where = how / 16;
	struct page *p = &page[n % PAGES];

	*p = (struct page){how & 1, how & 2, how & 4, how & 8, 0};
	p->gpa = where < PAGES ? LINEAR + where * PAGE_SIZE : places[where % ARRAY_SIZE(places)];
	put_entry(&memory, n % PAGES);
	put_entry(&model.memory, n % PAGES);
}

static void set_register(void)
{
	static const uint8_t often[] = {REG_RSI, REG_RDI, REG_RCX, REG_RAX};
	unsigned how = (unsigned)next(1), n = how & 128 ? how % REG_COUNT : often[how % 4];

	vcpu.virt.reg[n] = n == REG_RCX && how & 64 ? next(1) % 4 : some_address();
}

/* One that moves memory or computes, most times, and whatever follows. */
static void put_code(void)
{
	static const uint8_t often[][2] = {{0xa4}, {0xa5}, {0xf3, 0xa5}, {0x48, 0xa5}, {0xf3, 0xab}, {0x66, 0xad},
					   {0x89}, {0x8b}, {0x0f, 0xb6}, {0x81},       {0x87},	     {0x0f, 0xb1}};
	unsigned how = (unsigned)next(1), size = 1 + how % INSN_MAX_LENGTH;
	const uint8_t *code = often[how / INSN_MAX_LENGTH % ARRAY_SIZE(often)];
	uint64_t address = some_address(), gpa;
	uint32_t fault;

	fake.rip = mode == LONG ? address : (address - fake.cs.base) & UINT32_MAX;
	address = mode == LONG ? address : address & UINT32_MAX;
	for (unsigned i = 0; i < size; i++) {
		uint8_t byte = i < 2 && how < 192 && code[i] ? code[i] : (uint8_t)next(1);

		if (look_up(address + i, WALK_READ, &gpa, &fault) == -E_INVAL || gpa - LINEAR >= WINDOW)
			continue;
		memory.window[gpa - LINEAR] = model.memory.window[gpa - LINEAR] = byte;
	}
}

/* With the DPL of CS, which is the CPL (but in conforming segments): a processor fetches nothing that it forbids. */
static void set_cpl(unsigned cpl)
{
	fake.cpl = cpl;
	fake.cs.access = (fake.cs.access & ~0x60U) | cpl << 5;
}

static void set_state(void)
{
	unsigned how = (unsigned)next(1), n = how / 8 % (SEG_GS + 1);

	switch (how % 8) {
	case 0:
		fake.rflags ^= RFLAGS_DF;
		break;
	case 1:
		set_cpl(how & 8 ? 3 : 0);
		break;
	case 2:
		fake.cr0 ^= CR0_WP;
		break;
	case 3:
		fake.pending = how & 8;
		break;
	case 4:
		vcpu.lapic.base = (how & 8 ? LINEAR + PAGE_SIZE : VLAPIC_DEFAULT_BASE) |
				  (how & 16 ? 0 : VLAPIC_BASE_ENABLE) | (how & 32 ? VLAPIC_BASE_X2APIC : 0);
		break;
	case 5:
		fake.rflags = (fake.rflags & ~0x8d5ULL) | (next(2) & 0x8d5);
		break;
	case 6:
		fake.cs.base = how & 8 && mode != LONG ? next(4) : 0; /* what lies behind 4 GiB is at 0 again */
		break;
	default:
		fake.data[n].base = how & 128 ? next(8) : next(2);
		if (how & 64) {
			fake.data[n].access = (uint32_t)next(2) | (next(1) < 16 ? SEG_AR_UNUSABLE : 0);
			fake.data[n].limit = (uint32_t)next(4);
		}
	}
}

static void power_up(void)
{
	static const uint32_t access[] = {0x9b | SEG_AR_L, 0x9b | SEG_AR_DB, 0x9b | SEG_AR_DB, 0x9b};
	static const uint8_t place[PAGES] = {2, 0, 3, 1}; /* none is behind its neighbour */
	struct bus_range device = {DEVICE, DEVICE_SIZE, "device", NULL, device_read, device_write};
	struct bus_range ports = {PORT, PORTS, "ports", NULL, port_in, port_out};

	fake_reset();
	mode = (enum mode)(next(1) % 4);
	fake.cs.access = access[mode];
	fake.cr3 = mode == PROTECTED ? 0x5000 : 0x1000;
	if (mode == UNPAGED)
		fake.cr0 &= ~CR0_PG;
	if (mode >= PROTECTED)
		fake.cr4 = fake.efer = 0;
	for (unsigned n = 0; n < PAGES; n++)
		page[n] = (struct page){true, true, true, false, LINEAR + place[n] * PAGE_SIZE};
	put_tables(&memory);
	model.memory = memory;
	cr2 = 0;
	fake.cs.limit = UINT32_MAX;
	for (unsigned n = 0; n <= SEG_GS; n++)
		fake.data[n] = (struct segment){.access = 0xC093, .limit = UINT32_MAX};
	fake.rip = LINEAR;
	vcpu.virt.reg[REG_RSI] = LINEAR + PAGE_SIZE - 1; /* in two pages */
	vcpu.virt.reg[REG_RDI] = LINEAR + 3 * PAGE_SIZE - 2;
	vcpu.virt.reg[REG_RCX] = 3;
	REQUIRE(!guest_mem_add(&vm.mem, &(struct guest_region){0, TABLES, memory.tables, true}));
	REQUIRE(!guest_mem_add(&vm.mem, &(struct guest_region){LINEAR, WINDOW, memory.window, true}));
	REQUIRE(!bus_add(&vm.pc.mmio, &device) && !bus_add(&vm.pc.pio, &ports));
}

static bool step(void)
{
	unsigned what = (unsigned)next(1);

	switch (what % 8) {
	case 0:
		set_page();
		return true;
	case 1:
		set_register();
		return true;
	case 2:
		put_code();
		return true;
	case 3:
		set_state();
		return true;
	case 4:
		return what & 128 ? access_apic() : port();
	case 5:
		return port();
	default:
		return violate();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	input_begin(data, size);
	power_up();
	while (left) {
		if (!step())
			return 0;
	}
	REQUIRE(!memcmp(&memory, &model.memory, sizeof(memory)));
	return 0;
}
