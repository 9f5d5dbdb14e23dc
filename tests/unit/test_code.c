/*
 * The instruction that a vCPU remembers: used again while nothing has changed that it depends on, decoded anew after
 * each single thing has, forgotten where it can't be compared.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/code.c hv/decode.c hv/guest_walk.c hv/guest_mem.c arch/x86/walk.c hv/dev/vlapic.c hv/dev/vlapic_regs.c */
/* links: hv/dev/vlapic_timer.c hv/dev/vlapic_ipi.c hv/dev/apic_bus.c */
#include "tests/unit/fake_virt.h"

#include "hv/code.h"
#include "hv/guest_walk.h"

#define MEMORY (16 * PAGE_SIZE)
#define TABLES 0x1000ULL /* four of them, the first is the root */
#define CODE   0x8000ULL
#define OTHER  0x9000ULL
#define LINEAR 0x400000ULL
#define AT     0x123ULL /* within the page */
#define PTE    7ULL	/* present, writable, user */
#define WRONG  99	/* no instruction is so long */

static _Alignas(4096) uint8_t memory[MEMORY];
static const uint8_t store[] = {0x66, 0x89, 0x02};	/* mov [rdx], ax */
static const uint8_t load[] = {0x8b, 0x82, 4, 0, 0, 0}; /* mov eax, [rdx + 4] */

static uint64_t *entry(unsigned level)
{
	uint64_t index = LINEAR >> (12 + 9 * (3 - level)) & 511;

	return (uint64_t *)(memory + TABLES + level * PAGE_SIZE) + index;
}

static void map(uint64_t page)
{
	for (unsigned level = 0; level < 3; level++)
		*entry(level) = (TABLES + (level + 1) * PAGE_SIZE) | PTE;
	*entry(3) = page | PTE;
}

static int setup(void **state)
{
	struct guest_region region = {.size = MEMORY, .host = memory, .ram = true};

	(void)state;
	fake_reset();
	memset(memory, 0, sizeof(memory));
	assert_int_equal(guest_mem_add(&vm.mem, &region), 0);
	fake.cr3 = TABLES;
	fake.rip = LINEAR + AT;
	map(CODE);
	memcpy(memory + CODE + AT, store, sizeof(store));
	memcpy(memory + OTHER + AT, load, sizeof(load));
	return 0;
}

static void fetch_gives(uint8_t length)
{
	assert_int_equal(code_fetch(&vcpu), 0);
	assert_int_equal(vcpu.code.insn.length, length);
}

/* What is there now is used as it is, even if it is wrong. */
static void spoil(void)
{
	vcpu.code.insn.length = WRONG;
}

static void the_same_is_used_again(void **state)
{
	(void)state;
	fetch_gives(sizeof(store));
	assert_int_equal(vcpu.code.insn.kind, INSN_WRITE);
	spoil();
	fetch_gives(WRONG);
}

static void another_place_is_decoded(void **state)
{
	(void)state;
	memcpy(memory + CODE + AT + 3, load, sizeof(load));
	fetch_gives(sizeof(store));
	fake.rip += 3;
	fetch_gives(sizeof(load));
}

static void changed_bytes_are_seen(void **state)
{
	(void)state;
	fetch_gives(sizeof(store));
	memcpy(memory + CODE + AT, load, sizeof(load));
	fetch_gives(sizeof(load));
	spoil();
	memory[CODE + AT + 15]++; /* far behind it: seen, too */
	fetch_gives(sizeof(load));
}

/* At every level: the entry leads elsewhere, where there are other tables or other code. */
static void changed_tables_are_seen(void **state)
{
	(void)state;
	for (unsigned level = 0; level < 4; level++) {
		uint64_t was = *entry(level);

		fetch_gives(sizeof(store));
		memcpy(memory + 0xa000, memory + (was & ~0xfffULL), PAGE_SIZE);
		if (level == 3)
			memcpy(memory + 0xa000 + AT, load, sizeof(load));
		*entry(level) = 0xa000 | PTE;
		spoil();
		fetch_gives(level == 3 ? sizeof(load) : sizeof(store));
		*entry(level) = was;
	}
}

static void registers_count(void **state)
{
	uint64_t *const reg[] = {&fake.cr0, &fake.efer};
	const uint64_t bit[] = {CR0_WP, EFER_SCE};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(reg); i++) {
		fetch_gives(sizeof(store));
		spoil();
		*reg[i] ^= bit[i];
		fetch_gives(sizeof(store));
	}
	/* The same bytes as 32-bit code, and at another base, where all that is compared lies within. */
	memcpy(memory + CODE + AT + 3, load, sizeof(load));
	spoil();
	fake.cs.access &= ~(uint32_t)SEG_AR_L;
	fake.cs.access |= SEG_AR_DB;
	fetch_gives(sizeof(store));
	assert_int_equal(vcpu.code.insn.mode, INSN_MODE_32);
	spoil();
	fake.cs.base = 3;
	fetch_gives(sizeof(load));
}

/* Outside of 64-bit mode linear addresses have 32 bits: behind 4 GiB comes 0 (SDM Vol. 3A 3.3). */
static void code_goes_on_behind_4_gib(void **state)
{
	(void)state;
	fake.cs.access &= ~(uint32_t)SEG_AR_L;
	fake.cs.access |= SEG_AR_DB;
	fake.rip = 0xfffff000;
	fake.cs.base = LINEAR + AT + 0x1000;
	fetch_gives(sizeof(store));
}

/* Another address space with other code at the same place. */
static void the_address_space_counts(void **state)
{
	(void)state;
	memcpy(memory + 0xa000, memory + TABLES, 4 * PAGE_SIZE);
	fetch_gives(sizeof(store));
	spoil();
	fake.cr3 = 0xa000;
	fetch_gives(sizeof(store));
}

static void without_paging_it_is_remembered(void **state)
{
	(void)state;
	fake.cr0 &= ~CR0_PG;
	fake.efer = 0;
	fake.cr4 = 0;
	fake.cs.access = 0x9b | SEG_AR_DB;
	fake.rip = CODE + AT;
	fetch_gives(sizeof(store));
	spoil();
	fetch_gives(WRONG);
	fake.rip = OTHER + AT;
	fetch_gives(sizeof(load));
}

/* Nothing is remembered that goes on in a page that is not looked at. */
static void the_end_of_a_page_is_fetched_each_time(void **state)
{
	(void)state;
	*(entry(3) + 1) = OTHER | PTE;
	memory[CODE + 0xfff] = 0x66;
	memcpy(memory + OTHER, store + 1, sizeof(store) - 1);
	fake.rip = LINEAR + 0xfff;
	fetch_gives(sizeof(store));
	spoil();
	fetch_gives(sizeof(store));
	fake.rip = LINEAR + PAGE_SIZE - CODE_BYTES;
	memcpy(memory + CODE + PAGE_SIZE - CODE_BYTES, store, sizeof(store));
	fetch_gives(sizeof(store));
	spoil();
	fetch_gives(WRONG);
}

static void what_is_no_instruction_is_reported(void **state)
{
	(void)state;
	memcpy(memory + CODE + AT, "\x0f\x0b", 2);
	assert_int_not_equal(code_fetch(&vcpu), 0);
	assert_memory_equal(vcpu.code.bytes, "\x0f\x0b", 2);
	assert_int_equal(vcpu.code.readable, INSN_MAX_LENGTH);
	memcpy(memory + CODE + AT, store, sizeof(store));
	fetch_gives(sizeof(store));
}

static void what_is_not_mapped_is_reported(void **state)
{
	(void)state;
	*entry(3) = 0;
	assert_int_not_equal(code_fetch(&vcpu), 0);
	assert_int_equal(vcpu.code.readable, 0);
	*entry(3) = (MEMORY + PAGE_SIZE) | PTE; /* where no memory is */
	assert_int_not_equal(code_fetch(&vcpu), 0);
	*entry(2) = (MEMORY + PAGE_SIZE) | PTE;
	assert_int_not_equal(code_fetch(&vcpu), 0);
	map(CODE);
	fetch_gives(sizeof(store));
}

/* What it remembers may be somebody else's memory by now. */
static void forgotten_is_forgotten(void **state)
{
	(void)state;
	fetch_gives(sizeof(store));
	spoil();
	code_forget(&vcpu.code);
	fetch_gives(sizeof(store));
}

/* --- operands (hv/guest_walk.h) --- */

static void an_operand_is_probed_to_its_end(void **state)
{
	uint32_t fault;
	gpa_t gpa;
	gva_t at;

	(void)state;
	assert_int_equal(guest_probe(&vcpu, GVA(LINEAR + PAGE_SIZE - 4), 4, true, &gpa, &at, &fault), 0);
	assert_int_equal(gpa.value, CODE + PAGE_SIZE - 4);
	assert_int_equal(guest_probe(&vcpu, GVA(LINEAR + PAGE_SIZE - 3), 4, true, &gpa, &at, &fault), -E_FAULT);
	assert_int_equal(at.value, LINEAR + PAGE_SIZE); /* for CR2 */
	assert_int_equal(fault, 2);
	assert_int_equal(guest_probe(&vcpu, GVA(LINEAR - 1), 2, false, &gpa, &at, &fault), -E_FAULT);
	assert_int_equal(at.value, LINEAR - 1);
	assert_int_equal(fault, 0);
	assert_int_equal(guest_probe(&vcpu, GVA(1ULL << 63), 1, false, &gpa, &at, &fault), -E_INVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(the_same_is_used_again, setup),
	    cmocka_unit_test_setup(another_place_is_decoded, setup),
	    cmocka_unit_test_setup(changed_bytes_are_seen, setup),
	    cmocka_unit_test_setup(changed_tables_are_seen, setup),
	    cmocka_unit_test_setup(registers_count, setup),
	    cmocka_unit_test_setup(code_goes_on_behind_4_gib, setup),
	    cmocka_unit_test_setup(the_address_space_counts, setup),
	    cmocka_unit_test_setup(without_paging_it_is_remembered, setup),
	    cmocka_unit_test_setup(the_end_of_a_page_is_fetched_each_time, setup),
	    cmocka_unit_test_setup(what_is_no_instruction_is_reported, setup),
	    cmocka_unit_test_setup(what_is_not_mapped_is_reported, setup),
	    cmocka_unit_test_setup(forgotten_is_forgotten, setup),
	    cmocka_unit_test_setup(an_operand_is_probed_to_its_end, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
