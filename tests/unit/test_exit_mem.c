/*
 * EPT violations and accesses to the local APIC's page: which of them are memory, which a device's, and which end the
 * VM; what an instruction at a device does to registers, flags, memory and the device. Four pages of linear memory are
 * simulated, which lie apart in physical memory; instructions are given by their bytes.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/exit/mem.c hv/decode.c hv/emulate.c hv/guest_mem.c hv/bus.c hv/dev/vlapic.c hv/dev/vlapic_regs.c */
/* links: hv/dev/vlapic_timer.c hv/dev/vlapic_ipi.c hv/dev/apic_bus.c */
#include "tests/unit/fake_virt.h"

#include "hv/exit/table.h"
#include "hv/guest_walk.h"
#include "hv/vm_memory.h"

#define PAGES	   4
#define LINEAR	   0x10000ULL
#define DEVICE	   0xC0000000ULL
#define NOWHERE	   0xD0000000ULL
#define ABOVE_HOLE 0x200000000ULL /* where neither memory nor the hole is */
#define SIZE	   64		  /* bytes of the device */
#define READ	   (BIT(0) | BIT(7) | BIT(8))
#define WRITE	   (BIT(1) | BIT(7) | BIT(8))
#define START	   0x1000

/* Physical pages 0, 2, 4 and so on are memory; linear page n is physical page `place[n]`. */
static uint8_t memory[8 * PAGE_SIZE];
static unsigned place[PAGES];
static bool present[PAGES], writable[PAGES];
static uint64_t faulted_at;
static uint32_t fault_code;
static int fault_error;

static unsigned reads, writes, touched, nmi_blocks, eois_taken;
static uint64_t fetched; /* where the guest is allowed to run code */
static int fetch_error;
static uint64_t read_answer, written, last_at;
static unsigned last_size;
static int fetch_answer;

static uint64_t device_read(void *dev, uint64_t addr, unsigned size)
{
	assert_ptr_equal(dev, &reads);
	assert_int_equal(vm.lock.next - vm.lock.serving, 1); /* the device lock is held */
	reads++;
	last_at = addr;
	last_size = size;
	return read_answer & bus_ones(size);
}

static void device_write(void *dev, uint64_t addr, unsigned size, uint64_t value)
{
	assert_ptr_equal(dev, &reads);
	assert_int_equal(vm.lock.next - vm.lock.serving, 1);
	writes++;
	last_at = addr;
	last_size = size;
	written = value;
}

/* --- what the handlers find around them --------------------------------------------------------------------------- */

void virt_set_rflags(uint64_t rflags)
{
	fake.rflags = rflags;
}
void virt_advance_by(uint64_t length)
{
	fake.rip += length;
}
void virt_block_nmi(void)
{
	nmi_blocks++;
}
int vm_memory_allow_code(struct vm *machine, gpa_t gpa)
{
	assert_ptr_equal(machine, &vm);
	fetched = gpa.value;
	return fetch_error;
}
void vm_vga_touched(struct vm *machine, uint64_t gpa)
{
	assert_ptr_equal(machine, &vm);
	touched++;
	last_at = gpa;
}
void pv_take_eoi(struct vcpu *v)
{
	assert_ptr_equal(v, &vcpu);
	eois_taken++;
}

int code_fetch(struct vcpu *v)
{
	if (fetch_answer)
		return fetch_answer;
	return insn_decode(&v->code.insn, fake.cs.access & SEG_AR_L ? INSN_MODE_64 : INSN_MODE_32, v->code.bytes,
			   v->code.readable);
}

int guest_translate(struct vcpu *v, gva_t address, bool write, gpa_t *gpa, uint32_t *fault)
{
	uint64_t page = (address.value - LINEAR) >> PAGE_SHIFT;

	assert_ptr_equal(v, &vcpu);
	*fault = 0;
	if (page >= PAGES)
		return -E_INVAL; /* not canonical */
	*gpa = GPA(place[page] * PAGE_SIZE + address.value % PAGE_SIZE);
	if (place[page] >= 8)
		*gpa = GPA(DEVICE + address.value % PAGE_SIZE);
	*fault = (write ? 2u : 0) | present[page];
	return present[page] && (!write || writable[page]) ? 0 : -E_FAULT;
}

static int copy(gva_t address, void *buffer, size_t size, bool write, uint32_t *fault)
{
	uint8_t *byte = buffer;
	gpa_t gpa;
	int err = 0;

	for (size_t i = 0; i < size && !err; i++) {
		err = guest_translate(&vcpu, GVA(address.value + i), write, &gpa, fault);
		if (!err)
			err = write ? guest_write(&vm.mem, gpa, byte + i, 1) : guest_read(&vm.mem, gpa, byte + i, 1);
	}
	return err;
}

int guest_linear_read(struct vcpu *v, gva_t address, void *dst, size_t size, uint32_t *fault)
{
	assert_ptr_equal(v, &vcpu);
	return copy(address, dst, size, false, fault);
}

int guest_linear_write(struct vcpu *v, gva_t address, const void *src, size_t size, uint32_t *fault)
{
	uint8_t bytes[8];

	assert_ptr_equal(v, &vcpu);
	memcpy(bytes, src, size);
	return copy(address, bytes, size, true, fault);
}

int guest_probe(struct vcpu *v, gva_t from, size_t size, bool write, gpa_t *gpa, gva_t *at, uint32_t *fault)
{
	int err = guest_translate(v, *at = from, write, gpa, fault);
	gpa_t other;

	if (err || from.value % PAGE_SIZE + size <= PAGE_SIZE)
		return err;
	*at = GVA(ALIGN_UP(from.value, PAGE_SIZE));
	return guest_translate(v, *at, write, &other, fault);
}

enum outcome guest_linear_fault(struct vcpu *v, gva_t address, int err, uint32_t fault)
{
	faulted_at = address.value;
	fault_code = fault;
	fault_error = err;
	if (err == -E_RANGE)
		return vm_kill(v, "leads to no memory");
	return vcpu_raise(v, err == -E_FAULT ? VECTOR_PF : VECTOR_GP, true, fault);
}

static int setup(void **state)
{
	struct bus_range range = {
	    .first = DEVICE, .count = SIZE, .name = "test", .dev = &reads, .read = device_read, .write = device_write};

	(void)state;
	fake_reset();
	reads = writes = touched = nmi_blocks = eois_taken = last_size = 0;
	fetch_answer = fault_error = 0;
	requested = fault_code = 0;
	read_answer = 0xfedcba9887654321;
	written = faulted_at = last_at = 0;
	memset(memory, 0xcc, sizeof(memory));
	for (unsigned i = 0; i < PAGES; i++) {
		place[i] = 2 * i;
		present[i] = writable[i] = true;
		if (guest_mem_add(&vm.mem, &(struct guest_region){2 * i * PAGE_SIZE, PAGE_SIZE,
								  memory + 2 * i * PAGE_SIZE, true}))
			return -1;
	}
	for (unsigned i = 0; i < REG_COUNT; i++)
		vcpu.virt.reg[i] = 0x1111111111111111ULL * i;
	fake.rip = START;
	return bus_add(&vm.pc.mmio, &range);
}

#define RUN(gpa, q, code) run(gpa, q, code, sizeof(code) - 1)
static enum outcome run(uint64_t gpa, uint64_t q, const char *code, size_t size)
{
	static const struct exit exit = {.reason = EXIT_EPT_VIOLATION};

	memset(vcpu.code.bytes, 0, sizeof(vcpu.code.bytes));
	memcpy(vcpu.code.bytes, code, size);
	vcpu.code.readable = size;
	fake.gpa = gpa;
	fake.qualification = q;
	return exit_ept_violation(&vcpu, &exit);
}

/* The instruction was carried out: RETRY, since RIP is behind it already. */
#define assert_done(outcome, length)                                                                                   \
	do {                                                                                                           \
		assert_int_equal(outcome, OUTCOME_RETRY);                                                              \
		assert_int_equal(fake.rip, START + (length));                                                          \
		assert_int_equal(fake.exceptions + kills, 0);                                                          \
		assert_int_equal(vm.lock.next, vm.lock.serving);                                                       \
		fake.rip = START;                                                                                      \
	} while (0)

static void assert_killed(enum outcome outcome, const char *why)
{
	assert_int_equal(outcome, OUTCOME_KILL);
	assert_int_equal(kills, 1);
	assert_non_null(strstr(killed_why, why));
	assert_int_equal(fake.rip, START);
	assert_int_equal(fake.exceptions, 0);
	kills = 0;
}

/* --- moves -------------------------------------------------------------------------------------------------------- */

static void loads_and_stores_of_each_width(void **state)
{
	uint64_t *rax = &vcpu.virt.reg[REG_RAX];

	(void)state;
	*rax = 0x1122334455667788;
	assert_done(RUN(DEVICE + 4, READ, "\x8a\x07"), 2); /* mov al, [rdi] */
	assert_int_equal(*rax, 0x1122334455667721);
	assert_int_equal(last_at, DEVICE + 4);
	assert_done(RUN(DEVICE, READ, "\x66\x8b\x07"), 3);
	assert_int_equal(*rax, 0x1122334455664321);
	assert_done(RUN(DEVICE, READ, "\x8b\x07"), 2); /* clears the upper half */
	assert_int_equal(*rax, 0x87654321);
	assert_done(RUN(DEVICE, READ, "\x48\x8b\x07"), 3);
	assert_int_equal(*rax, 0xfedcba9887654321);
	assert_int_equal(reads, 4);
	*rax = 0x1122334455667788;
	assert_done(RUN(DEVICE, WRITE, "\x88\x27"), 2); /* mov [rdi], ah */
	assert_int_equal(written, 0x77);
	assert_int_equal(last_size, 1);
	assert_done(RUN(DEVICE + SIZE - 8, WRITE, "\x48\x89\x07"), 3);
	assert_int_equal(written, 0x1122334455667788);
	assert_done(RUN(DEVICE, WRITE, "\xc7\x07\x78\x56\x34\x92"), 6); /* mov dword [rdi], imm */
	assert_int_equal(written, 0x92345678);
	assert_int_equal(writes, 3);
	assert_int_equal(reads, 4);
}

static void extended_loads(void **state)
{
	uint64_t *rax = &vcpu.virt.reg[REG_RAX];

	(void)state;
	read_answer = 0x80;
	assert_done(RUN(DEVICE, READ, "\x48\x0f\xbe\x07"), 4); /* movsx rax, byte [rdi] */
	assert_int_equal(*rax, 0xffffffffffffff80);
	assert_done(RUN(DEVICE, READ, "\x0f\xb6\x07"), 3);
	assert_int_equal(*rax, 0x80);
	assert_int_equal(last_size, 1);
}

/* RSP lives in the processor, not among the registers that an exit saves. */
static void the_stack_pointer_is_a_register(void **state)
{
	(void)state;
	vcpu.virt.reg[REG_RSP] = 0x1234;
	assert_done(RUN(DEVICE, WRITE, "\x48\x89\x27"), 3); /* mov [rdi], rsp */
	assert_int_equal(written, 0x1234);
	assert_done(RUN(DEVICE, READ, "\x48\x8b\x27"), 3);
	assert_int_equal(vcpu.virt.reg[REG_RSP], 0xfedcba9887654321);
	read_answer = 2;
	assert_done(RUN(DEVICE, READ, "\x48\x03\x27"), 3); /* add rsp, [rdi] */
	assert_int_equal(vcpu.virt.reg[REG_RSP], 0xfedcba9887654323);
}

/* --- what reads, computes, and writes ----------------------------------------------------------------------------- */

static void arithmetic_reads_once_and_writes_once(void **state)
{
	(void)state;
	read_answer = 0xff;
	fake.rflags |= RFLAGS_DF;
	assert_done(RUN(DEVICE + 8, WRITE, "\x80\x07\x01"), 3); /* add byte [rdi], 1 */
	assert_int_equal(reads, 1);
	assert_int_equal(writes, 1);
	assert_int_equal(written, 0);
	assert_int_equal(last_at, DEVICE + 8);
	assert_int_equal(fake.rflags,
			 RFLAGS_FIXED | RFLAGS_IF | RFLAGS_DF | RFLAGS_ZF | RFLAGS_CF | RFLAGS_PF | RFLAGS_AF);
	assert_done(RUN(DEVICE, READ, "\x80\x3f\xff"), 3); /* cmp byte [rdi], 0xff */
	assert_int_equal(fake.rflags, RFLAGS_FIXED | RFLAGS_IF | RFLAGS_DF | RFLAGS_ZF | RFLAGS_PF);
	assert_int_equal(writes, 1);
	read_answer = 0x44;
	assert_done(RUN(DEVICE, WRITE, "\x87\x0f"), 2); /* xchg [rdi], ecx */
	assert_int_equal(written, 0x11111111);
	assert_int_equal(vcpu.virt.reg[REG_RCX], 0x44);
}

/* --- string instructions ------------------------------------------------------------------------------------------ */

static void a_repeated_store_goes_by_elements(void **state)
{
	(void)state;
	vcpu.virt.reg[REG_RCX] = 2;
	vcpu.virt.reg[REG_RDI] = 0x8000;
	assert_int_equal(RUN(DEVICE, WRITE, "\xf3\xab"), OUTCOME_RETRY); /* rep stosd */
	assert_int_equal(fake.rip, START);
	assert_int_equal(vcpu.virt.reg[REG_RCX], 1);
	assert_int_equal(vcpu.virt.reg[REG_RDI], 0x8004);
	assert_done(RUN(DEVICE + 4, WRITE, "\xf3\xab"), 2);
	assert_int_equal(writes, 2);
	assert_done(RUN(DEVICE + 8, WRITE, "\xf3\xab"), 2); /* RCX is 0: no access */
	assert_int_equal(writes, 2);
	assert_int_equal(vcpu.virt.reg[REG_RDI], 0x8008);
}

static void movs(uint64_t from, uint64_t to)
{
	vcpu.virt.reg[REG_RSI] = from;
	vcpu.virt.reg[REG_RDI] = to;
}

static void a_copy_has_two_places(void **state)
{
	(void)state;
	place[3] = 8; /* the device */
	movs(LINEAR + 3 * PAGE_SIZE + 16, LINEAR + 8);
	assert_done(RUN(DEVICE + 16, READ, "\xa5"), 1); /* movsd */
	assert_memory_equal(memory + 7, "\xcc\x21\x43\x65\x87\xcc", 6);
	assert_int_equal(vcpu.virt.reg[REG_RSI], LINEAR + 3 * PAGE_SIZE + 20);
	assert_int_equal(vcpu.virt.reg[REG_RDI], LINEAR + 12);
	assert_int_equal(last_at, DEVICE + 16);
	movs(LINEAR + 7, LINEAR + 3 * PAGE_SIZE);
	assert_done(RUN(DEVICE, WRITE, "\x48\xa5"), 2);
	assert_int_equal(written, 0xcccccc87654321cc);
	movs(LINEAR + 3 * PAGE_SIZE, LINEAR + 3 * PAGE_SIZE + 32); /* from device to device */
	assert_done(RUN(DEVICE, READ, "\xa4"), 1);
	assert_int_equal(written, 0x21);
	assert_int_equal(reads, 2);
	assert_int_equal(writes, 2);
}

/* The other operand in two pages, which lie apart: the second part is not what happens to lie behind the first. */
static void a_copy_across_pages(void **state)
{
	(void)state;
	place[3] = 8;
	movs(LINEAR + 3 * PAGE_SIZE, LINEAR + PAGE_SIZE - 1);
	assert_done(RUN(DEVICE, READ, "\xa5"), 1);
	assert_int_equal(memory[PAGE_SIZE - 1], 0x21);
	assert_memory_equal(memory + 2 * PAGE_SIZE, "\x43\x65\x87\xcc", 4);
	movs(LINEAR + PAGE_SIZE - 3, LINEAR + 3 * PAGE_SIZE);
	assert_done(RUN(DEVICE, WRITE, "\xa5"), 1);
	assert_int_equal(written, 0x4321cccc);
	movs(LINEAR + 3 * PAGE_SIZE - 2, LINEAR); /* from memory into the device */
	assert_killed(RUN(DEVICE, READ, "\xa5"), "leads to no memory");
}

static void assert_copy_faults(uint64_t from, uint64_t to, uint64_t at, uint32_t code)
{
	unsigned before = reads + writes;

	movs(from, to);
	vcpu.virt.reg[REG_RCX] = 5;
	assert_raised(RUN(DEVICE, READ, "\xf3\xa5"), VECTOR_PF); /* rep movsd */
	assert_int_equal(faulted_at, at);
	assert_int_equal(fault_code, code);
	assert_int_equal(reads + writes, before);
	assert_int_equal(fake.rip, START);
	assert_int_equal(vcpu.virt.reg[REG_RCX], 5);
	assert_int_equal(vcpu.virt.reg[REG_RSI], from);
	assert_int_equal(vcpu.virt.reg[REG_RDI], to);
}

static void a_copy_faults_before_the_device_is_asked(void **state)
{
	const uint64_t device = LINEAR + 3 * PAGE_SIZE;

	(void)state;
	place[3] = 8;
	present[1] = false;
	assert_copy_faults(device, LINEAR + PAGE_SIZE, LINEAR + PAGE_SIZE, 2);
	assert_copy_faults(LINEAR + PAGE_SIZE, device, LINEAR + PAGE_SIZE, 0);
	assert_copy_faults(device, LINEAR + PAGE_SIZE - 1, LINEAR + PAGE_SIZE, 2); /* the second page's part */
	assert_copy_faults(LINEAR + PAGE_SIZE - 2, device, LINEAR + PAGE_SIZE, 0);
	present[1] = true;
	writable[1] = false;
	assert_copy_faults(device, LINEAR + PAGE_SIZE - 3, LINEAR + PAGE_SIZE, 3);
}

/* The processor has checked that before it exited; a guest that changes its code afterwards is told the same. */
static void a_copy_from_no_address_is_a_protection_fault(void **state)
{
	(void)state;
	movs(0x8000000000000000, LINEAR);
	assert_raised(RUN(DEVICE, READ, "\xa5"), VECTOR_GP);
	movs(LINEAR, 0x8000000000000000);
	assert_raised(RUN(DEVICE, READ, "\xa5"), VECTOR_GP);
}

static void a_copy_uses_the_segments_bases(void **state)
{
	(void)state;
	place[3] = 8;
	fake.cs.access = 0x9b | SEG_AR_DB; /* 32-bit code */
	fake.data[SEG_ES].base = LINEAR;
	fake.data[SEG_FS].base = LINEAR + 3 * PAGE_SIZE;
	movs(4, 0x20);
	assert_done(RUN(DEVICE + 4, READ, "\x64\xa4"), 2); /* movsb es:[edi], fs:[esi] */
	assert_int_equal(last_at, DEVICE + 4);
	assert_int_equal(memory[0x20], 0x21);
}

/* --- the local APIC ----------------------------------------------------------------------------------------------- */

static void the_local_apic_is_at_its_base(void **state)
{
	uint64_t base = vcpu.lapic.base & ~0xfffULL;

	(void)state;
	vcpu.virt.reg[REG_RAX] = 0x55;
	assert_done(RUN(base + VLAPIC_TPR, WRITE, "\x89\x07"), 2);
	assert_int_equal(vlapic_tpr(&vcpu.lapic), 0x55);
	assert_int_equal(eois_taken, 1);
	assert_true(atomic_load(&vcpu.requests) & REQUEST_EVENT); /* what was held back may be deliverable */
	vcpu.virt.reg[REG_RAX] = 0;
	assert_done(RUN(base + VLAPIC_TPR, READ, "\x8b\x07"), 2);
	assert_int_equal(vcpu.virt.reg[REG_RAX], 0x55);
	assert_int_equal(eois_taken, 2);
	vcpu.lapic.base = (base + PAGE_SIZE) | VLAPIC_BASE_ENABLE; /* the guest has moved it */
	assert_done(RUN(base + PAGE_SIZE + VLAPIC_TPR, READ, "\x8b\x07"), 2);
	assert_killed(RUN(base + VLAPIC_TPR, READ, "\x8b\x07"), "neither memory nor a device");
	vcpu.lapic.base |= VLAPIC_BASE_X2APIC;
	assert_killed(RUN(base + PAGE_SIZE + VLAPIC_TPR, READ, "\x8b\x07"), "neither memory nor a device");
}

static enum outcome apic_access(unsigned type, unsigned offset, const char *code)
{
	static const struct exit exit = {.reason = EXIT_APIC_ACCESS};

	memcpy(vcpu.code.bytes, code, 3);
	vcpu.code.readable = 3;
	fake.qualification = type << 12 | offset;
	return exit_apic_access(&vcpu, &exit);
}

static void apic_access_exits_are_reads_and_writes(void **state)
{
	(void)state;
	vcpu.virt.reg[REG_RAX] = 0x33;
	assert_done(apic_access(1, VLAPIC_TPR, "\x89\x07"), 2);
	assert_int_equal(vlapic_tpr(&vcpu.lapic), 0x33);
	assert_done(apic_access(0, VLAPIC_TPR, "\x8b\x0f"), 2);
	assert_int_equal(vcpu.virt.reg[REG_RCX], 0x33);
	/* mov [rdi], rax at EOI: what is in service then is what the processor must know of. */
	vcpu.apic_mode = VIRT_APIC_XAPIC;
	vlapic_set_apicv(&vcpu.lapic, true);
	lapic_page[VLAPIC_ISR / 4 + 2 * 4] = 1u << 1; /* 0x41 */
	lapic_page[VLAPIC_ISR / 4 + 4 * 4] = 1u << 5; /* 0x85 */
	fake.svi = 0x85;
	assert_done(apic_access(1, VLAPIC_EOI, "\x48\x89\x07"), 3);
	assert_int_equal(fake.svi, 0x41);
	assert_killed(apic_access(2, VLAPIC_TPR, "\x8b\x0f"), "access of type 2");
	assert_killed(apic_access(15, VLAPIC_TPR, "\x8b\x0f"), "access of type 15");
}

/* --- memory ------------------------------------------------------------------------------------------------------- */

static void memory_that_was_touched_is_tried_again(void **state)
{
	(void)state;
	assert_done(RUN(2 * PAGE_SIZE + 5, READ, ""), 0);
	assert_int_equal(touched, 0);
	assert_done(RUN(2 * PAGE_SIZE + 5, WRITE, ""), 0); /* it may be VGA's, which is watched */
	assert_int_equal(touched, 1);
	assert_int_equal(last_at, 2 * PAGE_SIZE + 5);
	assert_done(RUN(0, BIT(2), ""), 0); /* code and page tables may lie there */
	assert_done(RUN(0, BIT(1) | BIT(7), ""), 0);
	fake.pending = true;
	assert_done(RUN(0, READ, ""), 0);
}

/* Where code lies in pages only, its large leaf is split: the other accesses to it go on as they are. */
static void code_that_is_fetched_is_allowed(void **state)
{
	(void)state;
	fetched = fetch_error = 0;
	assert_done(RUN(2 * PAGE_SIZE, READ, ""), 0);
	assert_int_equal(fetched, 0);
	assert_done(RUN(2 * PAGE_SIZE + 7, BIT(2) | BIT(7), ""), 0);
	assert_int_equal(fetched, 2 * PAGE_SIZE + 7);
	fetch_error = -E_NOMEM;
	assert_killed(RUN(2 * PAGE_SIZE, BIT(2) | BIT(7), ""), "page tables of code");
	fetch_error = 0;
}

/* Bit 12: the IRET that unblocked NMIs will run again, and until then they are blocked. */
static void an_iret_that_was_cut_short_blocks_nmis_again(void **state)
{
	(void)state;
	assert_done(RUN(0, READ | BIT(12), ""), 0);
	assert_int_equal(nmi_blocks, 1);
	fake.pending = true; /* undefined then */
	assert_done(RUN(0, READ | BIT(12), ""), 0);
	assert_int_equal(nmi_blocks, 1);
}

static uint8_t *no_reach(void *backing, uint64_t gpa, uint64_t *before, uint64_t *left)
{
	(void)backing, (void)gpa, (void)before, (void)left;
	return NULL;
}

static void memory_that_is_not_there_ends_the_vm(void **state)
{
	(void)state;
	vm.mem.reach = vm.mem.look = no_reach;
	assert_int_equal(guest_mem_add(&vm.mem, &(struct guest_region){32 * PAGE_SIZE, PAGE_SIZE, NULL, true}), 0);
	assert_killed(RUN(32 * PAGE_SIZE, WRITE, "\x89\x07"), "the balloon");
}

/* --- what ends the VM --------------------------------------------------------------------------------------------- */

static void nobody_there_ends_the_vm(void **state)
{
	(void)state;
	assert_killed(RUN(NOWHERE, READ, "\x8b\x07"), "read of 4 bytes at guest-physical 0xd0000000");
	assert_killed(RUN(NOWHERE, WRITE, "\x66\x89\x07"), "write of 2 bytes at guest-physical 0xd0000000");
	assert_killed(RUN(ABOVE_HOLE, WRITE, "\x80\x07\x01"), "neither memory nor a device");
	assert_killed(RUN(DEVICE + SIZE - 4, READ, "\x48\x8b\x07"), "read of 8 bytes"); /* half of it outside */
	fetch_answer = -E_RANGE;
	assert_killed(RUN(NOWHERE, READ, ""), "access to guest-physical 0xd0000000");
	assert_int_equal(reads + writes, 0);
}

static void an_instruction_that_is_not_known_ends_the_vm(void **state)
{
	(void)state;
	assert_killed(RUN(DEVICE, READ, "\x0f\x6f\x07"), "bytes 0f 6f 07 00 00 00 00 00, 3 readable"); /* movq mm0 */
	assert_killed(RUN(DEVICE, READ, "\x01\xc0"), "without a memory operand"); /* it was another when it exited */
	assert_killed(RUN(DEVICE, READ, "\x8b"), "does not decode");
	assert_int_equal(writes, 0);
}

static void only_accesses_to_data_reach_a_device(void **state)
{
	(void)state;
	assert_killed(RUN(DEVICE, BIT(2) | BIT(7) | BIT(8), "\x8b\x07"), "instruction fetch at");
	assert_killed(RUN(DEVICE, BIT(0) | BIT(7), "\x8b\x07"), "page tables at");
	fake.pending = true;
	assert_killed(RUN(DEVICE, READ, "\x8b\x07"), "an interrupt or exception was delivered through");
	assert_int_equal(reads + writes, 0);
}

static void wrong_tables_of_ours_end_the_vm(void **state)
{
	static const struct exit exit = {.reason = EXIT_EPT_MISCONFIG};

	(void)state;
	fake.gpa = 0x1234;
	assert_killed(exit_ept_misconfig(&vcpu, &exit), "EPT misconfiguration at guest-physical 0x1234");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(loads_and_stores_of_each_width, setup),
	    cmocka_unit_test_setup(extended_loads, setup),
	    cmocka_unit_test_setup(the_stack_pointer_is_a_register, setup),
	    cmocka_unit_test_setup(arithmetic_reads_once_and_writes_once, setup),
	    cmocka_unit_test_setup(a_repeated_store_goes_by_elements, setup),
	    cmocka_unit_test_setup(a_copy_has_two_places, setup),
	    cmocka_unit_test_setup(a_copy_across_pages, setup),
	    cmocka_unit_test_setup(a_copy_faults_before_the_device_is_asked, setup),
	    cmocka_unit_test_setup(a_copy_from_no_address_is_a_protection_fault, setup),
	    cmocka_unit_test_setup(a_copy_uses_the_segments_bases, setup),
	    cmocka_unit_test_setup(the_local_apic_is_at_its_base, setup),
	    cmocka_unit_test_setup(apic_access_exits_are_reads_and_writes, setup),
	    cmocka_unit_test_setup(memory_that_was_touched_is_tried_again, setup),
	    cmocka_unit_test_setup(code_that_is_fetched_is_allowed, setup),
	    cmocka_unit_test_setup(an_iret_that_was_cut_short_blocks_nmis_again, setup),
	    cmocka_unit_test_setup(memory_that_is_not_there_ends_the_vm, setup),
	    cmocka_unit_test_setup(nobody_there_ends_the_vm, setup),
	    cmocka_unit_test_setup(an_instruction_that_is_not_known_ends_the_vm, setup),
	    cmocka_unit_test_setup(only_accesses_to_data_reach_a_device, setup),
	    cmocka_unit_test_setup(wrong_tables_of_ours_end_the_vm, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
