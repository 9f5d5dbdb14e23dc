/*
 * Which exits ring a doorbell: an OUT to one's port, a plain store to one's place in memory. Everything else is left
 * alone, to be handled like any exit. The device is a BAR of each kind on a real host bridge.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/exit/doorbell.c hv/dev/pci_host.c hv/dev/pci.c hv/bus.c hv/dev/vlapic.c hv/dev/vlapic_regs.c */
/* links: hv/dev/vlapic_timer.c hv/dev/vlapic_ipi.c hv/dev/apic_bus.c */
#include "tests/unit/fake_virt.h"

#include "hv/exit/doorbell.h"

#define PORTS	 64
#define REGISTER 0x40 /* where the bells in memory begin */
#define BELLS	 8
#define WRITES	 (BIT(1) | BIT(7) | BIT(8))
#define IN	 BIT(3)
#define STRING	 BIT(4)

static struct pci_device card;
static unsigned rings, rung_offset, fetches;
static int fetch_answer;
static uint64_t advanced;
static const struct exit port_exit = {.reason = EXIT_IO}, memory_exit = {.reason = EXIT_EPT_VIOLATION};

void virt_advance_by(uint64_t length)
{
	fake.rip += length;
}
void virt_advance(void)
{
	virt_advance_by(fake.length);
}

int code_fetch(struct vcpu *v)
{
	assert_ptr_equal(v, &vcpu);
	fetches++;
	return fetch_answer;
}

static void ring(void *dev, unsigned offset)
{
	assert_ptr_equal(dev, &rings);
	rings++;
	rung_offset = offset;
}

static int setup(void **state)
{
	struct pci_identity id = {.vendor = 1};
	struct pci_host_setup s = {.pio = &vm.pc.pio, .mmio = &vm.pc.mmio};
	struct pci_bar ports = {.dev = &rings, .bells = {ring, 0, PORTS}, .size = PORTS, .io = true};
	struct pci_bar memory = {.dev = &rings, .bells = {ring, REGISTER, BELLS}, .size = 4096};

	(void)state;
	fake_reset();
	rings = fetches = 0;
	fetch_answer = 0;
	advanced = fake.rip;
	vcpu.code.insn = (struct insn){.op = INSN_MOV, .kind = INSN_WRITE, .length = 5};
	assert_int_equal(pci_host_init(&vm.pc.pci, &s), 0);
	pci_init(&card, &id);
	pci_add_bar(&card, 0, &ports);
	pci_add_bar(&card, 1, &memory);
	assert_int_equal(pci_host_plug(&vm.pc.pci, &card, pci_config_read, pci_config_write), 0);
	pci_reset(&card);
	pci_config_write(&card, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
	return 0;
}

static bool out(uint64_t port, uint64_t flags)
{
	fake.qualification = port << 16 | flags | 1;
	return exit_may_be_doorbell(&port_exit) && exit_doorbell(&vcpu, &port_exit);
}

static bool store(uint64_t gpa, uint64_t q)
{
	fake.gpa = gpa;
	fake.qualification = q;
	return exit_may_be_doorbell(&memory_exit) && exit_doorbell(&vcpu, &memory_exit);
}

static void assert_untouched(void)
{
	assert_int_equal(rings, 0);
	assert_int_equal(fake.rip, advanced);
}

static void a_port_rings(void **state)
{
	(void)state;
	assert_true(out(card.bar[0].base + 12, 0));
	assert_int_equal(rings, 1);
	assert_int_equal(rung_offset, 12);
	assert_int_equal(fake.rip, advanced + fake.length);
	assert_int_equal(fetches, 0);
}

static void other_ports_do_not(void **state)
{
	uint64_t base = card.bar[0].base;

	(void)state;
	assert_false(out(base + 4, IN));
	assert_false(out(base + 4, STRING));
	assert_false(out(base + PORTS, 0));
	assert_false(out(base - 1, 0));
	assert_false(out(base ^ 0x8000, 0)); /* the same place in another window */
	assert_false(out(0x3f8, 0));
	assert_untouched();
}

static void a_store_rings(void **state)
{
	(void)state;
	assert_true(store(card.bar[1].base + REGISTER + 4, WRITES));
	assert_int_equal(rings, 1);
	assert_int_equal(rung_offset, 4);
	assert_int_equal(fake.rip, advanced + 5);
}

static void other_accesses_do_not(void **state)
{
	uint64_t at = card.bar[1].base + REGISTER;

	(void)state;
	assert_false(store(at, BIT(0) | BIT(7) | BIT(8)));	    /* a read */
	assert_false(store(at, BIT(0) | BIT(1) | BIT(7) | BIT(8))); /* read and written */
	assert_false(store(at, BIT(2) | BIT(7) | BIT(8)));	    /* a fetch */
	assert_false(store(at, BIT(1) | BIT(7)));		    /* a page-table entry */
	assert_false(store(at - 1, WRITES));
	assert_false(store(at + BELLS, WRITES));
	assert_false(store(at + 0x200000, WRITES)); /* folds to the same place of the table */
	assert_false(store(0x1000, WRITES));
	fake.pending = true; /* the write delivers an interrupt */
	assert_false(store(at, WRITES));
	assert_untouched();
	assert_int_equal(fetches, 0);
}

static void other_instructions_do_not(void **state)
{
	static const struct insn other[] = {{.op = INSN_STOS, .kind = INSN_WRITE},
					    {.op = INSN_ADD, .kind = INSN_RMW},
					    {.op = INSN_MOV, .kind = INSN_READ}};
	uint64_t at = card.bar[1].base + REGISTER;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(other); i++) {
		vcpu.code.insn = other[i];
		assert_false(store(at, WRITES));
	}
	vcpu.code.insn = (struct insn){.op = INSN_MOV, .kind = INSN_WRITE};
	fetch_answer = -E_NOTSUP;
	assert_false(store(at, WRITES));
	assert_untouched();
}

static void a_bar_that_is_off_does_not_ring(void **state)
{
	(void)state;
	pci_config_write(&card, PCI_COMMAND, 2, 0);
	assert_false(out(card.bar[0].base, 0));
	assert_false(store(card.bar[1].base + REGISTER, WRITES));
	pci_config_write(&card, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
	pci_reset(&card);
	assert_false(out(card.bar[0].base, 0));
	assert_false(store(card.bar[1].base + REGISTER, WRITES));
	assert_untouched();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(a_port_rings, setup),
	    cmocka_unit_test_setup(other_ports_do_not, setup),
	    cmocka_unit_test_setup(a_store_rings, setup),
	    cmocka_unit_test_setup(other_accesses_do_not, setup),
	    cmocka_unit_test_setup(other_instructions_do_not, setup),
	    cmocka_unit_test_setup(a_bar_that_is_off_does_not_ring, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
