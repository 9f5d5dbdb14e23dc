/*
 * IN, OUT, INS and OUTS: widths, ports that nobody has, one element an exit with registers stepped as the address size
 * says, and page faults before the device is asked. Two pages of linear memory are simulated.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/exit/io.c hv/decode.c hv/emulate.c hv/bus.c hv/dev/vlapic.c hv/dev/vlapic_regs.c */
/* links: hv/dev/vlapic_timer.c hv/dev/vlapic_ipi.c hv/dev/apic_bus.c */
#include "tests/unit/fake_virt.h"

#include "hv/exit/table.h"
#include "hv/guest_walk.h"

#define PORT   0x300
#define ABSENT 0x400
#define BASE   0x10000ULL

enum { IN = 1 << 3, STRING = 1 << 4, REP = 1 << 5 };
enum { ADDRESS_16, ADDRESS_32, ADDRESS_64 };

static const struct exit no_exit;
static unsigned reads, writes;
static uint64_t read_answer, written, last_size, last_port;

static uint64_t port_read(void *dev, uint64_t addr, unsigned size)
{
	assert_ptr_equal(dev, &reads);
	assert_int_equal(vm.lock.next - vm.lock.serving, 1); /* the device lock is held */
	reads++;
	last_port = addr;
	last_size = size;
	return read_answer;
}

static void port_write(void *dev, uint64_t addr, unsigned size, uint64_t value)
{
	assert_ptr_equal(dev, &reads);
	assert_int_equal(vm.lock.next - vm.lock.serving, 1);
	writes++;
	last_port = addr;
	last_size = size;
	written = value;
}

/* --- guest memory ------------------------------------------------------------------------------------------------- */

static uint8_t memory[2 * PAGE_SIZE];
static bool present[2], writable[2];
static uint64_t faulted_at;
static uint32_t fault_code;

int guest_translate(struct vcpu *v, gva_t address, bool write, gpa_t *gpa, uint32_t *fault)
{
	unsigned page = (unsigned)((address.value - BASE) >> PAGE_SHIFT);

	assert_ptr_equal(v, &vcpu);
	assert_in_range(page, 0, 1);
	*gpa = GPA(address.value - BASE);
	*fault = (write ? 2u : 0) | present[page];
	return present[page] && (!write || writable[page]) ? 0 : -E_FAULT;
}

static int each_byte(gva_t address, size_t size, bool write, uint32_t *fault)
{
	gpa_t gpa;

	for (size_t i = 0; i < size; i++)
		if (guest_translate(&vcpu, GVA(address.value + i), write, &gpa, fault))
			return -E_FAULT;
	return 0;
}

int guest_linear_read(struct vcpu *v, gva_t address, void *dst, size_t size, uint32_t *fault)
{
	assert_ptr_equal(v, &vcpu);
	if (each_byte(address, size, false, fault))
		return -E_FAULT;
	memcpy(dst, memory + address.value - BASE, size);
	return 0;
}

int guest_linear_write(struct vcpu *v, gva_t address, const void *src, size_t size, uint32_t *fault)
{
	assert_ptr_equal(v, &vcpu);
	if (each_byte(address, size, true, fault))
		return -E_FAULT;
	memcpy(memory + address.value - BASE, src, size);
	return 0;
}

int guest_probe(struct vcpu *v, gva_t from, size_t size, bool write, gpa_t *gpa, gva_t *at, uint32_t *fault)
{
	gpa_t second;
	int err = guest_translate(v, *at = from, write, gpa, fault);

	if (err || from.value % PAGE_SIZE + size <= PAGE_SIZE)
		return err;
	*at = GVA(ALIGN_UP(from.value, PAGE_SIZE));
	return guest_translate(v, *at, write, &second, fault);
}

enum outcome guest_linear_fault(struct vcpu *v, gva_t address, int err, uint32_t fault)
{
	assert_int_equal(err, -E_FAULT);
	faulted_at = address.value;
	fault_code = fault;
	return vcpu_raise(v, VECTOR_PF, true, fault);
}

static int setup(void **state)
{
	struct bus_range range = {
	    .first = PORT, .count = 4, .name = "test", .dev = &reads, .read = port_read, .write = port_write};

	(void)state;
	fake_reset();
	reads = writes = 0;
	read_answer = 0xfedcba9887654321;
	written = faulted_at = 0;
	memset(memory, 0xcc, sizeof(memory));
	present[0] = present[1] = writable[0] = writable[1] = true;
	return bus_add(&vm.pc.pio, &range);
}

static enum outcome io(uint16_t port, unsigned size, unsigned flags)
{
	fake.qualification = (size - 1) | flags | (uint64_t)port << 16;
	return exit_io(&vcpu, &no_exit);
}

/* --- IN and OUT --------------------------------------------------------------------------------------------------- */

static void in_merges_by_width(void **state)
{
	uint64_t *rax = &vcpu.virt.reg[REG_RAX];

	(void)state;
	*rax = 0x1122334455667788;
	assert_next(io(PORT, 1, IN));
	assert_int_equal(*rax, 0x1122334455667721);
	*rax = 0x1122334455667788;
	assert_next(io(PORT + 2, 2, IN));
	assert_int_equal(*rax, 0x1122334455664321);
	*rax = 0x1122334455667788;
	assert_next(io(PORT, 4, IN));
	assert_int_equal(*rax, 0x87654321);
	assert_int_equal(reads, 3);
}

static void out_sends_only_its_width(void **state)
{
	(void)state;
	vcpu.virt.reg[REG_RAX] = 0x1122334455667788;
	assert_next(io(PORT + 3, 1, 0));
	assert_int_equal(written, 0x88);
	assert_int_equal(last_port, PORT + 3);
	assert_next(io(PORT, 2, 0));
	assert_int_equal(written, 0x7788);
	assert_next(io(PORT, 4, 0));
	assert_int_equal(written, 0x55667788);
	assert_int_equal(last_size, 4);
	assert_int_equal(vcpu.virt.reg[REG_RAX], 0x1122334455667788);
}

static void nobody_answers_with_ones(void **state)
{
	uint64_t *rax = &vcpu.virt.reg[REG_RAX];

	(void)state;
	*rax = 0;
	assert_next(io(ABSENT, 1, IN));
	assert_int_equal(*rax, 0xff);
	*rax = 0;
	assert_next(io(0xffff, 4, IN));
	assert_int_equal(*rax, 0xffffffff);
	*rax = 0;
	assert_next(io(PORT + 3, 2, IN)); /* half of it outside */
	assert_int_equal(*rax, 0xffff);
	assert_next(io(ABSENT, 4, 0));
	assert_next(io(PORT + 1, 4, 0));
	assert_int_equal(reads + writes, 0);
}

/* --- INS and OUTS ------------------------------------------------------------------------------------------------- */

/* The segment's base is such that the registers, which are `offset`, lead there. 32-bit code, but for addresses of 64.
 */
static void string(unsigned address_size, uint64_t at, uint64_t offset)
{
	bool is_64 = address_size == ADDRESS_64;

	fake.insn_info = address_size << 7 | SEG_FS << 15;
	fake.efer = is_64 ? EFER_LMA : 0;
	fake.cs.access = is_64 ? 0xA09B : 0xC09B;
	for (unsigned i = SEG_ES; i <= SEG_GS; i++)
		fake.data[i] = (struct segment){.access = 0xC093, .limit = UINT32_MAX};
	fake.data[SEG_FS].base = is_64 ? at - offset : (uint32_t)(at - offset);
	fake.data[SEG_ES].base = is_64 ? 0xbad : (uint32_t)(at - offset);
}

static void outs_one_element_an_exit(void **state)
{
	(void)state;
	string(ADDRESS_64, BASE + 8, 0x8000000000000008);
	memcpy(memory + 8, "\x01\x02\x03\x04", 4);
	vcpu.virt.reg[REG_RSI] = 0x8000000000000008;
	vcpu.virt.reg[REG_RCX] = 2;
	assert_int_equal(io(PORT, 2, STRING | REP), OUTCOME_RETRY);
	assert_int_equal(writes, 1);
	assert_int_equal(written, 0x0201);
	assert_int_equal(vcpu.virt.reg[REG_RSI], 0x800000000000000a);
	assert_int_equal(vcpu.virt.reg[REG_RCX], 1);
	assert_next(io(PORT, 2, STRING | REP)); /* the last one steps over the instruction */
	assert_int_equal(writes, 2);
	assert_int_equal(written, 0x0403);
	assert_int_equal(vcpu.virt.reg[REG_RCX], 0);
	assert_next(io(PORT, 2, STRING | REP)); /* nothing left: no access */
	assert_int_equal(writes, 2);
	assert_int_equal(vcpu.virt.reg[REG_RSI], 0x800000000000000c);
}

static void ins_stores_and_steps(void **state)
{
	(void)state;
	string(ADDRESS_64, BASE + 16, 0);
	vcpu.virt.reg[REG_RDI] = BASE + 16; /* ES has no base in 64-bit mode */
	vcpu.virt.reg[REG_RCX] = 7;
	assert_next(io(PORT, 4, STRING | IN)); /* without REP RCX is not looked at */
	assert_memory_equal(memory + 15, "\xcc\x21\x43\x65\x87\xcc", 6);
	assert_int_equal(vcpu.virt.reg[REG_RDI], BASE + 20);
	assert_int_equal(vcpu.virt.reg[REG_RSI], 0);
	assert_int_equal(vcpu.virt.reg[REG_RCX], 7);
	fake.rflags |= RFLAGS_DF;
	assert_next(io(PORT, 1, STRING | IN));
	assert_int_equal(vcpu.virt.reg[REG_RDI], BASE + 19);
	assert_int_equal(reads, 2);
}

static void registers_step_within_the_address_size(void **state)
{
	uint64_t *rdi = &vcpu.virt.reg[REG_RDI], *rcx = &vcpu.virt.reg[REG_RCX];

	(void)state;
	string(ADDRESS_16, BASE, 0xffff);
	*rdi = 0x123456789abcffff;
	*rcx = 0x123456789abc0001;
	assert_next(io(PORT, 1, STRING | IN | REP));
	assert_int_equal(*rdi, 0x123456789abc0000);
	assert_int_equal(*rcx, 0x123456789abc0000);
	assert_next(io(PORT, 1, STRING | IN | REP)); /* CX is 0 */
	assert_int_equal(reads, 1);
	string(ADDRESS_32, BASE, 0xffffffff);
	*rdi = 0x12345678ffffffff;
	*rcx = 0x1234567800000002;
	assert_int_equal(io(PORT, 1, STRING | IN | REP), OUTCOME_RETRY);
	assert_int_equal(*rdi, 0); /* 32-bit results clear the upper half */
	assert_int_equal(*rcx, 1);
	string(ADDRESS_64, BASE, 0);
	*rdi = BASE;
	*rcx = 0x100000000;
	assert_int_equal(io(PORT, 1, STRING | IN | REP), OUTCOME_RETRY);
	assert_int_equal(*rcx, 0xffffffff);
}

/* Nothing has moved: the instruction runs again when the guest has dealt with the fault. */
static void assert_fault(unsigned flags, uint64_t at, uint32_t code)
{
	vcpu.virt.reg[REG_RSI] = vcpu.virt.reg[REG_RDI] = 0x40;
	vcpu.virt.reg[REG_RCX] = 3;
	assert_raised(io(PORT, 4, STRING | REP | flags), VECTOR_PF);
	assert_int_equal(faulted_at, at);
	assert_int_equal(fault_code, code);
	assert_int_equal(reads + writes, 0);
	assert_int_equal(vcpu.virt.reg[REG_RSI], 0x40);
	assert_int_equal(vcpu.virt.reg[REG_RDI], 0x40);
	assert_int_equal(vcpu.virt.reg[REG_RCX], 3);
	assert_int_equal(memory[PAGE_SIZE - 1], 0xcc);
}

/* INS into a segment, and OUTS out of it: whether they may. */
static void assert_allowed(bool ins, bool outs, struct segment s)
{
	string(ADDRESS_32, BASE, 0x40);
	s.base = BASE - 0x40;
	fake.data[SEG_ES] = fake.data[SEG_FS] = s;
	for (unsigned in = 0; in < 2; in++) {
		vcpu.virt.reg[REG_RSI] = vcpu.virt.reg[REG_RDI] = 0x40;
		reads = writes = 0;
		if (in ? ins : outs)
			assert_next(io(PORT, 4, STRING | (in ? IN : 0)));
		else
			assert_raised(io(PORT, 4, STRING | (in ? IN : 0)), VECTOR_GP);
		assert_int_equal(reads + writes, in ? ins : outs);
	}
}

/* Outside of 64-bit mode: SDM Vol. 3A Table 3-1, 5.3. */
static void segments_are_checked(void **state)
{
	(void)state;
	assert_allowed(true, true, (struct segment){.access = 0xC093, .limit = 0x43});
	assert_allowed(false, false, (struct segment){.access = 0xC093, .limit = 0x42});
	assert_allowed(false, false, (struct segment){.access = 0xC093 | SEG_AR_UNUSABLE, .limit = 0x43});
	assert_allowed(false, true, (struct segment){.access = 0xC091, .limit = 0x43});	 /* to be read only */
	assert_allowed(false, false, (struct segment){.access = 0xC099, .limit = 0x43}); /* code, not to be read */
	assert_allowed(false, true, (struct segment){.access = 0xC09B, .limit = 0x43});
	assert_allowed(true, true, (struct segment){.access = 0xC097, .limit = 0x3f}); /* expands down */
	assert_allowed(false, false, (struct segment){.access = 0xC097, .limit = 0x40});
	assert_allowed(true, true, (struct segment){.access = 0x0093, .limit = 0xffff});
	fake.insn_info = ADDRESS_32 << 7 | SEG_SS << 15;
	fake.data[SEG_SS].limit = 0;
	assert_raised(io(PORT, 4, STRING), VECTOR_SS);
	fake.insn_info = ADDRESS_16 << 7 | SEG_FS << 15;
	fake.data[SEG_FS] = (struct segment){.access = 0x0097, .limit = 0x3f, .base = BASE - 0x40};
	vcpu.virt.reg[REG_RSI] = 0xfffd; /* 16 bits is where it ends */
	assert_raised(io(PORT, 4, STRING), VECTOR_GP);
}

static void segments_mean_nothing_in_64_bit_mode(void **state)
{
	(void)state;
	string(ADDRESS_64, BASE, 0);
	for (unsigned i = SEG_ES; i <= SEG_GS; i++)
		fake.data[i] = (struct segment){.access = SEG_AR_UNUSABLE, .base = 0xbad};
	fake.insn_info = ADDRESS_64 << 7 | SEG_DS << 15;
	vcpu.virt.reg[REG_RSI] = vcpu.virt.reg[REG_RDI] = BASE + 1;
	assert_next(io(PORT, 1, STRING));
	assert_next(io(PORT, 1, STRING | IN));
	fake.insn_info = ADDRESS_64 << 7 | SEG_GS << 15; /* but for the base of FS and GS */
	vcpu.virt.reg[REG_RSI] = BASE + 1 - 0xbad;
	assert_next(io(PORT, 1, STRING));
	assert_int_equal(reads + writes, 3);
}

static void faults_come_before_the_device(void **state)
{
	(void)state;
	string(ADDRESS_32, BASE + 4, 0x40);
	present[0] = false;
	assert_fault(IN, BASE + 4, 2);
	assert_fault(0, BASE + 4, 0);
	present[0] = true;
	writable[0] = false;
	assert_fault(IN, BASE + 4, 3);
	assert_int_equal(io(PORT, 4, STRING | REP), OUTCOME_RETRY); /* reading it is fine */
	assert_int_equal(writes, 1);
}

static void an_element_across_two_pages(void **state)
{
	(void)state;
	string(ADDRESS_32, BASE + PAGE_SIZE - 1, 0x40);
	present[1] = false;
	assert_fault(IN, BASE + PAGE_SIZE, 2); /* CR2 names the second page */
	assert_fault(0, BASE + PAGE_SIZE, 0);
	present[1] = true;
	writable[1] = false;
	assert_fault(IN, BASE + PAGE_SIZE, 3);
	writable[1] = true;
	assert_next(io(PORT, 4, STRING | IN));
	assert_memory_equal(memory + PAGE_SIZE - 1, "\x21\x43\x65\x87", 4);
	assert_int_equal(reads, 1);
	string(ADDRESS_32, BASE + PAGE_SIZE - 4, 0x44); /* ends with the page: the next one doesn't matter */
	present[1] = false;
	assert_next(io(PORT, 4, STRING | IN));
	assert_int_equal(reads, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(in_merges_by_width, setup),
	    cmocka_unit_test_setup(out_sends_only_its_width, setup),
	    cmocka_unit_test_setup(nobody_answers_with_ones, setup),
	    cmocka_unit_test_setup(outs_one_element_an_exit, setup),
	    cmocka_unit_test_setup(ins_stores_and_steps, setup),
	    cmocka_unit_test_setup(registers_step_within_the_address_size, setup),
	    cmocka_unit_test_setup(segments_are_checked, setup),
	    cmocka_unit_test_setup(segments_mean_nothing_in_64_bit_mode, setup),
	    cmocka_unit_test_setup(faults_come_before_the_device, setup),
	    cmocka_unit_test_setup(an_element_across_two_pages, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
