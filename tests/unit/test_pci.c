/*
 * Unit tests of a PCI function: what of its configuration space a guest can change, how an OS sizes its BARs and finds
 * its capabilities, INTx, and MSI-X with all that can keep a message back.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/pci.c hv/dev/pci_host.c hv/bus.c hv/timer.c hv/lib/heap.c */
#include "tests/unit/pci_fixture.h"

#define SLOT	    1
#define VECTORS	    5
#define BAR_PORTS   0
#define BAR_MSIX    1
#define BAR_MEMORY  4
#define IO_SIZE	    64
#define MEMORY_SIZE 0x10000
#define PENDING	    0x800 /* in the MSI-X BAR */

#define ENABLE	    0x8000 /* MSI-X control */
#define MASK_ALL    0x4000
#define CAP_PRIVATE 0x09

static struct pci_device card;
static unsigned capability, msix;

static uint64_t reg_read(void *dev, uint64_t offset, unsigned size)
{
	(void)dev, (void)offset, (void)size;
	return 0x5A;
}

static void reg_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	(void)dev, (void)offset, (void)size, (void)value;
}

static void add_bar(unsigned index, uint32_t size, bool io)
{
	struct pci_bar bar = {.read = reg_read, .write = reg_write, .name = "registers", .size = size, .io = io};

	pci_add_bar(&card, index, &bar);
}

static int setup(void **state)
{
	static const struct pci_identity id = {.vendor = 0x1AF4,
					       .device = 0x1042,
					       .subsystem_vendor = 0x1111,
					       .subsystem = 0x2222,
					       .revision = 3,
					       .class_code = 0x010802};

	(void)state;
	assert_int_equal(pci_fixture_reset(), 0);
	pci_init(&card, &id);
	add_bar(BAR_PORTS, IO_SIZE, true);
	add_bar(BAR_MEMORY, MEMORY_SIZE, false);
	capability = pci_add_capability(&card, CAP_PRIVATE, 17);
	pci_add_msix(&card, BAR_MSIX, VECTORS);
	msix = card.msix.capability;
	assert_int_equal(pci_host_plug(&host, &card, pci_config_read, pci_config_write), 0);
	pci_reset(&card);
	command(SLOT, PCI_COMMAND_IO | PCI_COMMAND_MEMORY, 0);
	return 0;
}

static uint32_t get(unsigned offset, unsigned size)
{
	return config_get(SLOT, offset, size);
}

static void set(unsigned offset, unsigned size, uint32_t value)
{
	config_set(SLOT, offset, size, value);
}

static uint32_t table(void)
{
	return get(PCI_BAR + 4 * BAR_MSIX, 4) & ~15u;
}

static void set_entry(unsigned n, uint64_t address, uint32_t data, uint32_t control)
{
	memory_out(table() + 16 * n, 4, (uint32_t)address);
	memory_out(table() + 16 * n + 4, 4, address >> 32);
	memory_out(table() + 16 * n + 8, 4, data);
	memory_out(table() + 16 * n + 12, 4, control);
}

static uint32_t pending(void)
{
	return (uint32_t)memory_in(table() + PENDING, 4);
}

/* MSI-X on; all vectors masked but 1, which goes to 2 as 0x31. */
static void start_msix(void)
{
	command(SLOT, PCI_COMMAND_MASTER, 0);
	set(msix + 2, 2, ENABLE);
	set_entry(1, 0xFEE02000, 0x31, 0);
	assert_true(pci_msix_enabled(&card));
}

/* --- configuration space --- */

static void says_what_it_is(void **state)
{
	(void)state;
	assert_int_equal(get(0x00, 4), 0x10421AF4);
	assert_int_equal(get(0x08, 4), 0x01080203);
	assert_int_equal(get(0x0E, 1), 0); /* header type */
	assert_int_equal(get(0x2C, 4), 0x22221111);
	assert_int_equal(get(PCI_INTERRUPT_PIN, 1), 1);
	assert_int_equal(get(PCI_STATUS, 2), PCI_STATUS_CAP_LIST);
	assert_false(pci_is_master(&card));
}

/* What is left of all ones: 3.0, 6.1 and 6.2. */
static uint32_t writable_bits(unsigned offset)
{
	switch (offset) {
	case 0x04:
		return 0x0407; /* of the status nothing */
	case 0x0C:
		return 0xFF;
	case PCI_BAR + 4 * BAR_PORTS:
		return ~(IO_SIZE - 1u);
	case PCI_BAR + 4 * BAR_MSIX:
		return ~0xFFFu;
	case PCI_BAR + 4 * BAR_MEMORY:
		return ~(MEMORY_SIZE - 1u);
	case 0x3C:
		return 0xFF;
	default:
		return offset == msix ? 0xC0000000 : 0;
	}
}

static void only_some_bits_can_be_changed(void **state)
{
	(void)state;
	for (unsigned offset = 0; offset < 256; offset += 4) {
		uint32_t before = get(offset, 4), bits = writable_bits(offset);

		set(offset, 4, 0xFFFFFFFF);
		assert_int_equal(get(offset, 4), before | bits);
		set(offset, 4, 0);
		assert_int_equal(get(offset, 4), before & ~bits);
		for (unsigned i = 0; i < 4; i++)
			set(offset + i, 1, 0xFF);
		assert_int_equal(get(offset, 4), before | bits);
		set(offset, 4, before);
		assert_int_equal(get(offset, 4), before);
	}
}

static void a_write_is_of_its_bytes_only(void **state)
{
	(void)state;
	set(PCI_COMMAND, 2, 0x0407);
	set(PCI_COMMAND, 1, 0);
	assert_int_equal(get(PCI_COMMAND, 2), 0x0400);
	set(PCI_COMMAND + 1, 1, 0);
	assert_int_equal(get(PCI_COMMAND, 2), 0);
	set(PCI_BAR + 4 * BAR_MEMORY + 2, 2, 0xC123);
	set(PCI_BAR + 4 * BAR_MEMORY, 2, 0xFFFF);
	assert_int_equal(get(PCI_BAR + 4 * BAR_MEMORY, 4), 0xC1230000);
}

/* Decoding off, all ones, read, the old value, decoding on: size and kind of each of the six. */
static void bars_are_sized_as_an_os_does(void **state)
{
	static const struct {
		uint32_t size, low;
	} expected[PCI_BARS] = {[BAR_PORTS] = {IO_SIZE, 1}, [BAR_MSIX] = {4096, 0}, [BAR_MEMORY] = {MEMORY_SIZE, 0}};

	(void)state;
	command(SLOT, 0, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
	for (unsigned i = 0; i < PCI_BARS; i++) {
		uint32_t old = get(PCI_BAR + 4 * i, 4), mask;

		set(PCI_BAR + 4 * i, 4, 0xFFFFFFFF);
		mask = get(PCI_BAR + 4 * i, 4);
		set(PCI_BAR + 4 * i, 4, old);
		assert_int_equal(get(PCI_BAR + 4 * i, 4), old);
		assert_int_equal(-(mask & (mask & 1 ? ~3u : ~15u)), expected[i].size);
		assert_int_equal(mask & 15, expected[i].low);
		assert_int_equal(old & 15, expected[i].low);
	}
	command(SLOT, PCI_COMMAND_IO | PCI_COMMAND_MEMORY, 0);
	assert_int_equal(memory_in(get(PCI_BAR + 4 * BAR_MEMORY, 4), 4), 0x5A);
	/* the expansion ROM's and CardBus's registers are empty */
	assert_int_equal(get(0x28, 4), 0);
	assert_int_equal(get(0x30, 4), 0);
}

static void capabilities_are_a_list(void **state)
{
	unsigned first = get(PCI_CAPABILITIES, 1), second = get(first + 1, 1);

	(void)state;
	assert_int_equal(first, 0x40);
	assert_int_equal(first, capability);
	assert_int_equal(get(first, 1), CAP_PRIVATE);
	assert_int_equal(second, 0x54); /* the 17 bytes end at 0x51 */
	assert_int_equal(second, msix);
	assert_int_equal(get(second, 1), 0x11);
	assert_int_equal(get(second + 1, 1), 0);
	assert_int_equal(get(second + 2, 2), VECTORS - 1);
	assert_int_equal(get(second + 4, 4), BAR_MSIX);
	assert_int_equal(get(second + 8, 4), PENDING | BAR_MSIX);
}

static void without_capabilities_there_is_no_list(void **state)
{
	static const struct pci_identity id = {.vendor = 1};
	static struct pci_device plain;

	(void)state;
	pci_init(&plain, &id);
	assert_int_equal(pci_get16(&plain, PCI_STATUS), 0);
	assert_int_equal(plain.config[PCI_CAPABILITIES], 0);
	assert_int_equal(pci_host_plug(&host, &plain, pci_config_read, pci_config_write), 0);
	pci_reset(&plain);
	config_set(2, 0, 4, 0xFFFFFFFF); /* where no MSI-X capability is, nothing is one */
	config_set(2, PCI_COMMAND, 2, 0xFFFF);
	assert_false(pci_msix_enabled(&plain));
	pci_msix_raise(&plain, 0);
	assert_int_equal(messages, 0);
	pci_set_interrupt(&plain, true);
	assert_false(intx[2]);
	config_set(2, PCI_COMMAND, 2, 0);
	assert_true(intx[2]);
}

/* --- INTx --- */

static void intx_follows_the_device(void **state)
{
	(void)state;
	pci_set_interrupt(&card, true);
	assert_true(intx[SLOT]);
	assert_int_equal(get(PCI_STATUS, 2), PCI_STATUS_CAP_LIST | PCI_STATUS_INTERRUPT);
	set(PCI_STATUS, 2, 0xFFFF); /* not a bit that writing clears */
	assert_int_equal(get(PCI_STATUS, 2), PCI_STATUS_CAP_LIST | PCI_STATUS_INTERRUPT);
	pci_set_interrupt(&card, true);
	assert_int_equal(intx_changes[SLOT], 1);
	pci_set_interrupt(&card, false);
	assert_false(intx[SLOT]);
	assert_int_equal(get(PCI_STATUS, 2), PCI_STATUS_CAP_LIST);
}

/* 6.2.2 and 6.2.3: the disable bit silences the pin, not the status. */
static void intx_can_be_disabled(void **state)
{
	(void)state;
	pci_set_interrupt(&card, true);
	command(SLOT, PCI_COMMAND_NO_INTX, 0);
	assert_false(intx[SLOT]);
	assert_true(get(PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	command(SLOT, 0, PCI_COMMAND_NO_INTX);
	assert_true(intx[SLOT]);
	set(PCI_COMMAND + 1, 1, PCI_COMMAND_NO_INTX >> 8); /* its byte alone */
	assert_false(intx[SLOT]);
	pci_set_interrupt(&card, false);
	pci_set_interrupt(&card, true);
	assert_false(intx[SLOT]);
}

static void intx_is_silent_with_msix(void **state)
{
	(void)state;
	pci_set_interrupt(&card, true);
	set(msix + 2, 2, ENABLE);
	assert_false(intx[SLOT]);
	set(msix + 2, 2, 0);
	assert_true(intx[SLOT]);
	set(msix, 4, (uint32_t)ENABLE << 16);
	assert_false(intx[SLOT]);
}

/* --- MSI-X --- */

static void a_vector_is_a_message(void **state)
{
	(void)state;
	start_msix();
	pci_msix_raise(&card, 1);
	assert_message(1, 2, 0x31);
	assert_int_equal(message.mode, APIC_FIXED);
	assert_false(message.logical);
	assert_int_equal(pending(), 0);
	set_entry(4, 0xFEEFF004, 0x4142, 0); /* lowest priority, logical; always an edge */
	pci_msix_raise(&card, 4);
	assert_message(2, 0xFF, 0x42);
	assert_int_equal(message.mode, APIC_LOWEST);
	assert_true(message.logical);
	set_entry(0, 0xFEE01008, 0xC400, 0); /* with the redirection hint, and as a level: neither counts */
	pci_msix_raise(&card, 0);
	assert_int_equal(message.mode, APIC_NMI);
	assert_int_equal(message.dest, 1);
	assert_false(message.logical);
	assert_int_equal(messages, 3);
}

static void what_is_no_vector_is_no_message(void **state)
{
	(void)state;
	pci_msix_raise(&card, 1); /* MSI-X is off: not even pending */
	assert_int_equal(pending(), 0);
	start_msix();
	set(msix + 2, 2, ENABLE | MASK_ALL);
	pci_msix_raise(&card, VECTORS);
	pci_msix_raise(&card, 0xFFFF);
	assert_int_equal(messages, 0);
	assert_int_equal(pending(), 0);
}

/* A message elsewhere would be a write to memory, or to another machine's APICs. */
static void only_messages_to_apics_are_sent(void **state)
{
	static const uint64_t address[] = {0, 0x1000, 0xFED00000, 0xFEF00000, 0x1FEE00000, 0xFEE0000000000000};

	(void)state;
	start_msix();
	for (unsigned i = 0; i < ARRAY_SIZE(address); i++) {
		set_entry(1, address[i], 0x31, 0);
		pci_msix_raise(&card, 1);
		assert_int_equal(messages, 0);
		assert_int_equal(pending(), 0);
	}
}

static void a_masked_vector_waits(void **state)
{
	(void)state;
	start_msix();
	set_entry(3, 0xFEE03000, 0x33, 1);
	pci_msix_raise(&card, 3);
	pci_msix_raise(&card, 3);
	assert_int_equal(messages, 0);
	assert_int_equal(pending(), 1 << 3);
	memory_out(table() + 16 * 3 + 8, 4, 0x34); /* what it is when it goes out counts */
	assert_int_equal(messages, 0);
	memory_out(table() + 16 * 3 + 12, 4, 0);
	assert_message(1, 3, 0x34);
	assert_int_equal(pending(), 0);
	memory_out(table() + 16 * 3 + 12, 4, 1);
	memory_out(table() + 16 * 3 + 12, 4, 0);
	assert_int_equal(messages, 1);
}

static void the_function_mask_holds_all(void **state)
{
	(void)state;
	start_msix();
	set(msix + 2, 2, ENABLE | MASK_ALL);
	pci_msix_raise(&card, 1);
	pci_msix_raise(&card, 2); /* which is masked itself, too */
	assert_int_equal(messages, 0);
	assert_int_equal(pending(), 1 << 1 | 1 << 2);
	set(msix + 2, 2, ENABLE);
	assert_message(1, 2, 0x31);
	assert_int_equal(pending(), 1 << 2);
}

/* 6.2.2, bit 2: no bus master, no message. It is not lost. */
static void only_a_master_sends(void **state)
{
	(void)state;
	start_msix();
	command(SLOT, 0, PCI_COMMAND_MASTER);
	assert_false(pci_is_master(&card));
	pci_msix_raise(&card, 1);
	assert_int_equal(messages, 0);
	assert_int_equal(pending(), 1 << 1);
	command(SLOT, PCI_COMMAND_MASTER, 0);
	assert_message(1, 2, 0x31);
	assert_int_equal(pending(), 0);
}

static void nothing_goes_out_while_it_is_off(void **state)
{
	(void)state;
	start_msix();
	set(msix + 2, 2, ENABLE | MASK_ALL);
	pci_msix_raise(&card, 1);
	set(msix + 2, 2, 0);
	memory_out(table() + 16 + 12, 4, 0);
	command(SLOT, 0, PCI_COMMAND_MASTER);
	command(SLOT, PCI_COMMAND_MASTER, 0);
	assert_int_equal(messages, 0);
}

static void the_table_reads_as_written(void **state)
{
	(void)state;
	for (unsigned n = 0; n < VECTORS; n++) {
		assert_int_equal(memory_in(table() + 16 * n, 8), 0);
		assert_int_equal(memory_in(table() + 16 * n + 8, 8), 1ULL << 32); /* masked, after power-up */
	}
	memory_out(table() + 16, 8, 0x123456789ABCDEF3);
	memory_out(table() + 24, 8, 0xFFFFFFFE87654321);
	assert_int_equal(memory_in(table() + 16, 4), 0x9ABCDEF0); /* a dword's place */
	assert_int_equal(memory_in(table() + 20, 4), 0x12345678);
	assert_int_equal(memory_in(table() + 24, 4), 0x87654321);
	assert_int_equal(memory_in(table() + 28, 4), 0);
	assert_int_equal(memory_in(table() + 16, 8), 0x123456789ABCDEF0);
	memory_out(table() + 28, 4, 0xFFFFFFFF);
	assert_int_equal(memory_in(table() + 24, 8), 0x187654321);
	assert_int_equal(memory_in(table() + 12, 4), 1); /* its neighbours are as they were */
	assert_int_equal(memory_in(table() + 32, 4), 0);
}

static void odd_accesses_to_the_table_do_nothing(void **state)
{
	(void)state;
	set_entry(1, 0xFEE02000, 0x31, 1);
	for (unsigned size = 1; size <= 2; size++)
		for (unsigned i = 0; i < 16; i += size) {
			memory_out(table() + 16 + i, size, 0xFFFF);
			assert_int_equal(memory_in(table() + 16 + i, size), 0);
		}
	memory_out(table() + 17, 4, 0xFFFFFFFF);
	memory_out(table() + 20, 8, ~0ULL);
	assert_int_equal(memory_in(table() + 20, 8), 0);
	assert_int_equal(memory_in(table() + 16, 8), 0xFEE02000);
	assert_int_equal(memory_in(table() + 24, 8), 0x100000031);
}

static void behind_the_table_is_nothing(void **state)
{
	static const unsigned place[] = {16 * VECTORS, 0x200, PENDING - 8, PENDING, PENDING + 8, 0xFF8};

	(void)state;
	start_msix();
	set(msix + 2, 2, ENABLE | MASK_ALL);
	pci_msix_raise(&card, 1);
	for (unsigned i = 0; i < ARRAY_SIZE(place); i++) {
		memory_out(table() + place[i], 8, ~0ULL);
		assert_int_equal(memory_in(table() + place[i], 8), place[i] == PENDING ? 1 << 1 : 0);
	}
	assert_int_equal(memory_in(table() + PENDING + 4, 4), 0);
}

/* Vectors beyond what a dword of pending bits holds are not offered. */
static void vectors_have_a_limit(void **state)
{
	static const struct pci_identity id = {.vendor = 1};
	static struct pci_device big;

	(void)state;
	pci_init(&big, &id);
	pci_add_msix(&big, 0, 100);
	assert_int_equal(big.msix.count, PCI_MSIX_MAX);
	assert_int_equal(pci_host_plug(&host, &big, pci_config_read, pci_config_write), 0);
	pci_reset(&big);
	command(2, PCI_COMMAND_MEMORY, 0);
	assert_int_equal(config_get(2, big.msix.capability + 2, 2), PCI_MSIX_MAX - 1);
	config_set(2, big.msix.capability + 2, 2, ENABLE);
	pci_msix_raise(&big, 31);
	assert_int_equal(memory_in((config_get(2, PCI_BAR, 4) & ~15u) + PENDING, 8), 1u << 31);
}

/* --- reset --- */

static void cleared_interrupts_are_gone(void **state)
{
	(void)state;
	start_msix();
	set(msix + 2, 2, ENABLE | MASK_ALL);
	pci_msix_raise(&card, 1);
	pci_set_interrupt(&card, true);
	pci_clear_interrupts(&card);
	assert_int_equal(pending(), 0);
	set(msix + 2, 2, ENABLE);
	set(msix + 2, 2, 0);
	assert_int_equal(messages, 0);
	assert_false(intx[SLOT]);
	assert_false(get(PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
}

static void reset_is_as_power_up(void **state)
{
	static struct pci_device fresh;

	(void)state;
	pci_reset(&card);
	fresh = card;
	command(SLOT, PCI_COMMAND_IO | PCI_COMMAND_MEMORY, 0);
	start_msix();
	for (unsigned offset = 0; offset < 256; offset += 4)
		if (offset < PCI_BAR || offset >= PCI_BAR + 4 * PCI_BARS)
			set(offset, 4, 0xFFFFFFFF);
	pci_msix_raise(&card, 1);
	pci_set_interrupt(&card, true);
	for (unsigned i = 0; i < PCI_BARS; i++)
		set(PCI_BAR + 4 * i, 4, 0xFFFFFFFF);
	pci_reset(&card);
	assert_memory_equal(card.config, fresh.config, sizeof(card.config));
	assert_memory_equal(&card.msix, &fresh.msix, sizeof(card.msix));
	assert_false(card.interrupt);
	assert_false(intx[SLOT]);
	assert_int_equal(get(PCI_INTERRUPT_LINE, 1), 11);
}

/* 6.2.2: a function comes out of reset logically disconnected. Its BARs are those that a firmware has assigned. */
static void after_reset_nothing_is_decoded(void **state)
{
	uint32_t memory = get(PCI_BAR + 4 * BAR_MEMORY, 4);
	uint16_t ports = (uint16_t)(get(PCI_BAR, 4) & ~3u);

	(void)state;
	for (unsigned i = 0; i < 2; i++) { /* power-up was no other than this */
		pci_reset(&card);
		assert_int_equal(get(PCI_COMMAND, 2), 0);
		assert_int_equal(get(PCI_BAR + 4 * BAR_MEMORY, 4), memory);
		assert_int_equal(memory_in(memory, 4), 0xFFFFFFFF);
		assert_int_equal(in(ports, 4), 0xFFFFFFFF);
		command(SLOT, PCI_COMMAND_MEMORY, 0);
		assert_int_equal(memory_in(memory, 4), 0x5A);
		assert_int_equal(in(ports, 4), 0xFFFFFFFF);
		command(SLOT, PCI_COMMAND_IO, 0);
		assert_int_equal(in(ports, 4), 0x5A);
	}
}

/* The line falls with the function that held it high. */
static void reset_releases_the_line(void **state)
{
	(void)state;
	pci_set_interrupt(&card, true);
	assert_true(intx[SLOT]);
	pci_reset(&card);
	assert_false(intx[SLOT]);
	pci_set_interrupt(&card, true);
	assert_true(intx[SLOT]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(says_what_it_is, setup),
	    cmocka_unit_test_setup(only_some_bits_can_be_changed, setup),
	    cmocka_unit_test_setup(a_write_is_of_its_bytes_only, setup),
	    cmocka_unit_test_setup(bars_are_sized_as_an_os_does, setup),
	    cmocka_unit_test_setup(capabilities_are_a_list, setup),
	    cmocka_unit_test_setup(without_capabilities_there_is_no_list, setup),
	    cmocka_unit_test_setup(intx_follows_the_device, setup),
	    cmocka_unit_test_setup(intx_can_be_disabled, setup),
	    cmocka_unit_test_setup(intx_is_silent_with_msix, setup),
	    cmocka_unit_test_setup(a_vector_is_a_message, setup),
	    cmocka_unit_test_setup(what_is_no_vector_is_no_message, setup),
	    cmocka_unit_test_setup(only_messages_to_apics_are_sent, setup),
	    cmocka_unit_test_setup(a_masked_vector_waits, setup),
	    cmocka_unit_test_setup(the_function_mask_holds_all, setup),
	    cmocka_unit_test_setup(only_a_master_sends, setup),
	    cmocka_unit_test_setup(nothing_goes_out_while_it_is_off, setup),
	    cmocka_unit_test_setup(the_table_reads_as_written, setup),
	    cmocka_unit_test_setup(odd_accesses_to_the_table_do_nothing, setup),
	    cmocka_unit_test_setup(behind_the_table_is_nothing, setup),
	    cmocka_unit_test_setup(vectors_have_a_limit, setup),
	    cmocka_unit_test_setup(cleared_interrupts_are_gone, setup),
	    cmocka_unit_test_setup(reset_is_as_power_up, setup),
	    cmocka_unit_test_setup(after_reset_nothing_is_decoded, setup),
	    cmocka_unit_test_setup(reset_releases_the_line, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
