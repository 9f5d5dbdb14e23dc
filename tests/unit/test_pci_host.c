/*
 * Unit tests of the host bridge: the ways into configuration space, where BARs answer and when they do not, interrupt
 * lines that functions share, and the reset control register among the ports.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/pci_host.c hv/dev/pci.c hv/bus.c hv/timer.c hv/lib/heap.c */
#include "tests/unit/pci_fixture.h"

#define BARS	    3
#define IO_SIZE	    32
#define MEMORY_SIZE 0x1000
#define ALL_ONES    UINT64_MAX

/* A function that remembers how it was asked. */
static unsigned asked_offset, asked_size;
static uint32_t asked_value;

static uint32_t probe_read(void *dev, unsigned offset)
{
	assert_ptr_equal(dev, &host);
	return 0xA3A2A100 | offset;
}

static void probe_write(void *dev, unsigned offset, unsigned size, uint32_t value)
{
	assert_ptr_equal(dev, &host);
	asked_offset = offset;
	asked_size = size;
	asked_value = value;
}

/* Functions with ports in BAR 0 and memory in BARs 1 and 2; a register reads as who it is and where. */
static struct pci_device card[PCI_DEVICES];
static struct pci_bar *self[PCI_DEVICES][BARS];
static const struct pci_bar *written_bar;
static uint64_t written_offset, written_value;
static unsigned written_size, writes;

/* Low 32 bits of it, so reads are of 4 or 8 bytes. */
static uint64_t answer(const struct pci_device *p, unsigned bar, uint64_t offset)
{
	return (uint64_t)(p - card) << 20 | bar << 16 | offset;
}

static uint64_t reg_read(void *dev, uint64_t offset, unsigned size)
{
	const struct pci_bar **at = dev, *bar = *at;
	size_t place = (size_t)(at - (const struct pci_bar **)self[0]);

	assert_in_range(size, 4, 8);
	assert_true(offset + size <= bar->size);
	return answer(&card[place / BARS], place % BARS, offset);
}

static void reg_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	written_bar = *(const struct pci_bar **)dev;
	assert_true(offset + size <= written_bar->size);
	written_offset = offset;
	written_size = size;
	written_value = value;
	writes++;
}

static int try_plug(unsigned n)
{
	static const struct pci_identity id = {.vendor = 0x1234, .device = 0x5678};

	pci_init(&card[n], &id);
	for (unsigned i = 0; i < BARS; i++) {
		struct pci_bar bar = {.dev = &self[n][i],
				      .read = reg_read,
				      .write = reg_write,
				      .name = "registers",
				      .size = i ? MEMORY_SIZE : IO_SIZE,
				      .io = !i};

		self[n][i] = &card[n].bar[i];
		pci_add_bar(&card[n], i, &bar);
	}
	return pci_host_plug(&host, &card[n], pci_config_read, pci_config_write);
}

/* Slot `slot`, after all below it; what is in its BARs answers. */
static struct pci_device *plug(unsigned slot)
{
	assert_int_equal(try_plug(slot), 0);
	assert_int_equal(card[slot].slot, slot);
	pci_reset(&card[slot]);
	command(slot, PCI_COMMAND_IO | PCI_COMMAND_MEMORY, 0);
	return &card[slot];
}

static uint32_t bar_base(unsigned slot, unsigned bar)
{
	return config_get(slot, PCI_BAR + 4 * bar, 4) & ~(bar ? 15u : 3u);
}

static void bar_move(unsigned slot, unsigned bar, uint32_t base)
{
	config_set(slot, PCI_BAR + 4 * bar, 4, base);
}

static int setup(void **state)
{
	(void)state;
	asked_size = writes = 0;
	return pci_fixture_reset();
}

static uint32_t config(unsigned bus, unsigned device, unsigned function, unsigned offset)
{
	out(0xCF8, 4, 0x80000000u | bus << 16 | device << 11 | function << 8 | offset);
	return (uint32_t)in(0xCFC, 4);
}

static void only_the_host_bridge_answers(void **state)
{
	(void)state;
	assert_int_equal(config(0, 0, 0, 0), 0x12378086);
	assert_int_equal(config(0, 0, 0, 8) >> 8, 0x060000);
	assert_int_equal(config(0, 0, 0, 12), 0); /* header type 0, one function */
	for (unsigned offset = 16; offset < 256; offset += 4)
		assert_int_equal(config(0, 0, 0, offset), 0); /* no BARs, no capabilities, no interrupt */
	for (unsigned device = 0; device < 32; device++)
		for (unsigned function = 0; function < 8; function++)
			if (device || function)
				assert_int_equal(config(0, device, function, 0), 0xFFFFFFFF);
	for (unsigned number = 1; number < 256; number++)
		assert_int_equal(config(number, 0, 0, 0), 0xFFFFFFFF);
}

static void data_by_bytes_and_words(void **state)
{
	(void)state;
	config(0, 0, 0, 0);
	assert_int_equal(inb(0xCFC), 0x86);
	assert_int_equal(inb(0xCFD), 0x80);
	assert_int_equal(inb(0xCFF), 0x12);
	assert_int_equal(in(0xCFC, 2), 0x8086);
	assert_int_equal(in(0xCFD, 2), 0x3780);
	assert_int_equal(in(0xCFE, 2), 0x1237);
	config(0, 5, 0, 0);
	assert_int_equal(inb(0xCFE), 0xFF);
	assert_int_equal(in(0xCFE, 2), 0xFFFF);
}

static void the_bridge_is_read_only(void **state)
{
	(void)state;
	for (unsigned offset = 0; offset < 16; offset += 4) {
		uint32_t before = config(0, 0, 0, offset);

		out(0xCFC, 4, ~before);
		outb(0xCFD, 0xFF);
		assert_int_equal(in(0xCFC, 4), before);
	}
}

static void nothing_without_the_enable_bit(void **state)
{
	(void)state;
	out(0xCF8, 4, 0);
	assert_int_equal(in(0xCFC, 4), 0xFFFFFFFF);
	assert_int_equal(in(0xCFC, 2), 0xFFFF);
}

static void only_dwords_reach_the_address(void **state)
{
	(void)state;
	out(0xCF8, 4, 0x80000000);
	outb(0xCF8, 0x55);
	outb(0xCFB, 0x01); /* what Linux does before it tries mechanism #1 */
	out(0xCF8, 2, 0x5555);
	out(0xCFA, 2, 0x5555);
	assert_int_equal(in(0xCF8, 4), 0x80000000);
	assert_int_equal(inb(0xCF8), 0xFF);
	assert_int_equal(in(0xCFA, 2), 0xFFFF);
	out(0xCF8, 4, 0xFFFFFFFF);
	assert_int_equal(in(0xCF8, 4), 0x80FFFFFC); /* reserved bits read as 0 */
}

static void accesses_across_registers_find_nobody(void **state)
{
	(void)state;
	out(0xCF8, 4, 0x80000000);
	for (uint16_t port = 0xCF9; port <= 0xCFB; port++) {
		out(port, 4, 0x06060606);
		assert_int_equal(in(port, 4), 0xFFFFFFFF);
	}
	out(0xCFB, 2, 0x0606);
	assert_int_equal(in(0xCFB, 2), 0xFFFF);
	assert_int_equal(in(0xCF8, 4), 0x80000000);
	assert_int_equal(requests, 0);
}

static void functions_see_their_own_registers(void **state)
{
	(void)state;
	host.function[15] = (struct pci_function){&host, probe_read, probe_write};
	assert_int_equal(config(0, 15, 0, 0xFC), 0xA3A2A1FC);
	assert_int_equal(inb(0xCFE), 0xA2);
	out(0xCFE, 2, 0x1234);
	assert_int_equal(asked_offset, 0xFE);
	assert_int_equal(asked_size, 2);
	assert_int_equal(asked_value, 0x1234);
	config(0, 15, 0, 0x10);
	out(0xCFC, 4, 0xFFFFFFFF);
	assert_int_equal(asked_offset, 0x10);
	assert_int_equal(asked_value, 0xFFFFFFFF);
	asked_size = 0;
	config(0, 14, 0, 0x10);
	out(0xCFC, 4, 1);
	config(1, 15, 0, 0x10);
	out(0xCFC, 4, 1);
	config(0, 15, 1, 0x10);
	out(0xCFC, 4, 1);
	config(0, 31, 0, 0x10);
	out(0xCFC, 4, 1);
	assert_int_equal(asked_size, 0);
}

/* --- ECAM --- */

static void ecam_is_the_same_space(void **state)
{
	(void)state;
	host.function[15] = (struct pci_function){&host, probe_read, probe_write};
	assert_int_equal(memory_in(ecam(0, 0, 0), 4), 0x12378086);
	assert_int_equal(memory_in(ecam(0, 0, 2), 2), 0x1237);
	assert_int_equal(memory_in(ecam(15, 0, 0xFC), 4), 0xA3A2A1FC);
	assert_int_equal(memory_in(ecam(15, 0, 0x10), 1), 0x10);
	assert_int_equal(memory_in(ecam(15, 0, 0x11), 1), 0xA1);
	assert_int_equal(memory_in(ecam(15, 0, 0x13), 1), 0xA3);
	assert_int_equal(memory_in(ecam(15, 0, 0x11), 2), 0xA2A1);
	assert_int_equal(memory_in(ecam(15, 0, 0x12), 2), 0xA3A2);
	memory_out(ecam(15, 0, 0x23), 1, 0x5A);
	assert_int_equal(asked_offset, 0x23);
	assert_int_equal(asked_size, 1);
	assert_int_equal(asked_value, 0x5A);
	memory_out(ecam(15, 0, 0xFC), 4, 0xFEDCBA98);
	assert_int_equal(asked_offset, 0xFC);
	assert_int_equal(asked_size, 4);
	assert_int_equal(asked_value, 0xFEDCBA98);
	assert_null(bus_find(&mmio, PC_ECAM + PC_ECAM_SIZE - 3, 4));
	assert_null(bus_find(&mmio, PC_ECAM + PC_ECAM_SIZE, 1));
}

static void ecam_across_dwords_finds_nobody(void **state)
{
	(void)state;
	host.function[15] = (struct pci_function){&host, probe_read, probe_write};
	assert_int_equal(memory_in(ecam(15, 0, 3), 2), 0xFFFF);
	for (unsigned byte = 1; byte < 4; byte++) {
		assert_int_equal(memory_in(ecam(15, 0, byte), 4), 0xFFFFFFFF);
		memory_out(ecam(15, 0, byte), 4, 0);
	}
	memory_out(ecam(15, 0, 3), 2, 0);
	assert_int_equal(memory_in(ecam(15, 0, 0), 8), ALL_ONES);
	assert_int_equal(memory_in(ecam(15, 0, 4), 8), ALL_ONES);
	memory_out(ecam(15, 0, 0), 8, 0);
	assert_int_equal(asked_size, 0);
}

static void ecam_of_absent_functions(void **state)
{
	(void)state;
	host.function[15] = (struct pci_function){&host, probe_read, probe_write};
	for (unsigned slot = 0; slot < 32; slot++)
		for (unsigned function = slot % 15 == 0 && slot < 16; function < 8; function++) {
			assert_int_equal(memory_in(ecam(slot, function, 0), 1), 0xFF);
			assert_int_equal(memory_in(ecam(slot, function, 0xFE), 2), 0xFFFF);
			assert_int_equal(memory_in(ecam(slot, function, 0), 4), 0xFFFFFFFF);
			assert_int_equal(memory_in(ecam(slot, function, 0), 8), ALL_ONES);
			assert_int_equal(memory_in(ecam(slot, function, 0x100), 4), 0xFFFFFFFF);
			memory_out(ecam(slot, function, 4), 4, 0);
		}
	assert_int_equal(asked_size, 0);
}

static void nobody_answers_in_extended_space(void **state)
{
	(void)state;
	host.function[15] = (struct pci_function){&host, probe_read, probe_write};
	for (unsigned offset = 0x100; offset < 0x1000; offset += 4) {
		assert_int_equal(memory_in(ecam(0, 0, offset), 4), UINT32_MAX);
		assert_int_equal(memory_in(ecam(15, 0, offset), 4), UINT32_MAX);
		assert_int_equal(memory_in(ecam(15, 0, offset + 1), 1), 0xFF);
		memory_out(ecam(15, 0, offset), 4, 0xFFFFFFFF);
	}
	assert_int_equal(asked_size, 0);
}

/* --- slots --- */

static void slots_are_filled_from_1_to_15(void **state)
{
	(void)state;
	for (unsigned slot = 1; slot < PCI_DEVICES; slot++) {
		assert_int_equal(config(0, slot, 0, 0), 0xFFFFFFFF);
		plug(slot);
		assert_int_equal(config(0, slot, 0, 0), 0x56781234);
	}
	assert_int_equal(try_plug(0), -E_NOMEM);
	assert_null(card[0].host);
	assert_int_equal(config(0, 0, 0, 0), 0x12378086);
	for (unsigned slot = PCI_DEVICES; slot < 32; slot++)
		assert_int_equal(config(0, slot, 0, 0), 0xFFFFFFFF);
}

/* As a firmware leaves it: BARs aligned to their size in their window, no two the same; switched on, all answer. */
static void all_slots_are_assigned(void **state)
{
	(void)state;
	for (unsigned slot = 1; slot < PCI_DEVICES; slot++)
		plug(slot);
	for (unsigned slot = 1; slot < PCI_DEVICES; slot++) {
		for (unsigned bar = 0; bar < BARS; bar++) {
			uint32_t base = bar_base(slot, bar);

			assert_int_equal(base % card[slot].bar[bar].size, 0);
			assert_int_equal(bar ? memory_in(base + 8, 8) : in((uint16_t)(base + 8), 4),
					 answer(&card[slot], bar, 8));
		}
		assert_int_equal(config_get(slot, PCI_INTERRUPT_LINE, 1), slot % 2 ? 11 : 10);
	}
}

/* --- the windows --- */

static void nobody_answers_in_an_empty_window(void **state)
{
	(void)state;
	assert_int_equal(inb(PC_PCI_IO), 0xFF);
	assert_int_equal(in(PC_PCI_IO + 0x7FE, 2), 0xFFFF);
	assert_int_equal(in(PC_PCI_IO + PC_PCI_IO_SIZE - 4, 4), 0xFFFFFFFF);
	assert_int_equal(memory_in(PC_PCI_MEMORY, 1), 0xFF);
	assert_int_equal(memory_in(PC_PCI_MEMORY + 0x123457, 2), 0xFFFF);
	assert_int_equal(memory_in(PC_PCI_MEMORY + 0x10000000, 4), 0xFFFFFFFF);
	assert_int_equal(memory_in(PC_PCI_MEMORY + PC_PCI_MEMORY_SIZE - 8, 8), ALL_ONES);
	out(PC_PCI_IO, 4, 0);
	memory_out(PC_PCI_MEMORY, 8, 0);
}

static void accesses_reach_the_bar(void **state)
{
	const struct pci_device *p;

	(void)state;
	p = plug(1);
	out((uint16_t)(bar_base(1, 0) + 30), 2, 0xABCD);
	assert_ptr_equal(written_bar, &p->bar[0]);
	assert_int_equal(written_offset, 30);
	assert_int_equal(written_size, 2);
	assert_int_equal(written_value, 0xABCD);
	memory_out(bar_base(1, 2) + 0xFF8, 8, 0x0123456789ABCDEF);
	assert_ptr_equal(written_bar, &p->bar[2]);
	assert_int_equal(written_offset, 0xFF8);
	assert_int_equal(written_size, 8);
	assert_int_equal(written_value, 0x0123456789ABCDEF);
}

/* Part of the access lies behind the BAR: none of it is done. */
static void accesses_across_the_end_of_a_bar_find_nobody(void **state)
{
	(void)state;
	plug(1);
	assert_int_equal(in((uint16_t)(bar_base(1, 0) + 30), 4), 0xFFFFFFFF);
	assert_int_equal(in((uint16_t)(bar_base(1, 0) - 1), 2), 0xFFFF);
	assert_int_equal(memory_in(bar_base(1, 1) + 0xFFC, 8), ALL_ONES);
	assert_int_equal(memory_in(bar_base(1, 1) - 4, 8), ALL_ONES);
	out((uint16_t)(bar_base(1, 0) + 30), 4, 0);
	memory_out(bar_base(1, 1) + 0xFFC, 8, 0);
	assert_int_equal(writes, 0);
}

static void a_bar_is_moved(void **state)
{
	uint32_t io, memory;
	struct pci_device *p;

	(void)state;
	p = plug(1);
	io = bar_base(1, 0);
	memory = bar_base(1, 1);
	bar_move(1, 0, 0xCFE0);
	bar_move(1, 1, 0xDFFFF000); /* the last places of the windows */
	assert_int_equal(in((uint16_t)io, 4), 0xFFFFFFFF);
	assert_int_equal(memory_in(memory, 4), 0xFFFFFFFF);
	assert_int_equal(in(0xCFFC, 4), answer(p, 0, 28));
	assert_int_equal(memory_in(0xDFFFFFFC, 4), answer(p, 1, 0xFFC));
	bar_move(1, 0, 0xC000);
	bar_move(1, 1, 0xC0000000); /* the first */
	assert_int_equal(in(0xC000, 4), answer(p, 0, 0));
	assert_int_equal(memory_in(0xC0000000, 4), answer(p, 1, 0));
	assert_int_equal(memory_in(0xDFFFF000, 4), 0xFFFFFFFF);
	/* byte by byte, as it comes: the last one counts */
	for (unsigned i = 0; i < 4; i++)
		config_set(1, PCI_BAR + 4 + i, 1, 0xC1230000u >> (8 * i) & 0xFF);
	assert_int_equal(memory_in(0xC1230010, 4), answer(p, 1, 0x10));
}

static void a_bar_outside_of_its_window_is_silent(void **state)
{
	static const uint32_t io[] = {0, 0xBFE0, 0xD000, 0x1C000, 0xFFFFFFE0};
	static const uint32_t memory[] = {0, 0xBFFFF000, 0xE0000000, 0xFEE00000, 0xFFFFF000};
	unsigned ports, ranges;
	struct pci_device *p;

	(void)state;
	p = plug(1);
	ports = host.io.count;
	ranges = host.memory.count;
	assert_int_equal(ports, 1);
	assert_int_equal(ranges, 2);
	for (unsigned i = 0; i < ARRAY_SIZE(io); i++) {
		bar_move(1, 0, io[i]);
		assert_int_equal(host.io.count, 0);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(memory); i++) {
		bar_move(1, 1, memory[i]);
		assert_int_equal(config_get(1, PCI_BAR + 4, 4), memory[i]);
		assert_int_equal(host.memory.count, 1);
	}
	bar_move(1, 0, 0xC400);
	bar_move(1, 1, 0xC4000000);
	assert_int_equal(in(0xC400, 4), answer(p, 0, 0));
	assert_int_equal(memory_in(0xC4000000, 4), answer(p, 1, 0));
}

static void of_two_bars_at_one_place_one_answers(void **state)
{
	struct pci_device *first, *second;
	uint32_t place;

	(void)state;
	first = plug(1);
	second = plug(2);
	place = bar_base(1, 1);
	bar_move(2, 1, place);
	assert_int_equal(memory_in(place, 4), answer(first, 1, 0));
	memory_out(place, 4, 0);
	assert_int_equal(writes, 1);
	bar_move(1, 1, 0xC8000000);
	assert_int_equal(memory_in(place, 4), answer(second, 1, 0));
	assert_int_equal(memory_in(0xC8000000, 4), answer(first, 1, 0));
	bar_move(1, 1, place);
	command(1, 0, PCI_COMMAND_MEMORY); /* now it leaves the place to the other */
	assert_int_equal(memory_in(place, 4), answer(second, 1, 0));
	bar_move(2, 0, bar_base(1, 0) + 16); /* not aligned: the low bits are not there */
	assert_int_equal(bar_base(2, 0), bar_base(1, 0));
	assert_int_equal(in((uint16_t)bar_base(1, 0), 4), answer(first, 0, 0));
}

static void decoding_can_be_off(void **state)
{
	uint32_t io, memory;
	struct pci_device *p;

	(void)state;
	p = plug(1);
	io = bar_base(1, 0);
	memory = bar_base(1, 1);
	command(1, 0, PCI_COMMAND_IO);
	assert_int_equal(in((uint16_t)io, 2), 0xFFFF);
	assert_int_equal(memory_in(memory, 4), answer(p, 1, 0));
	out((uint16_t)io, 2, 0);
	command(1, PCI_COMMAND_IO, PCI_COMMAND_MEMORY);
	assert_int_equal(in((uint16_t)io, 4), answer(p, 0, 0));
	assert_int_equal(memory_in(memory, 4), 0xFFFFFFFF);
	memory_out(memory, 4, 0);
	bar_move(1, 1, 0xC8000000);
	assert_int_equal(memory_in(0xC8000000, 4), 0xFFFFFFFF);
	assert_int_equal(writes, 0);
	command(1, PCI_COMMAND_MEMORY, 0);
	assert_int_equal(memory_in(0xC8000000, 4), answer(p, 1, 0));
	assert_int_equal(bar_base(1, 0), io);
}

/* --- interrupts --- */

static void a_line_is_shared(void **state)
{
	(void)state;
	for (unsigned slot = 1; slot < 10; slot++)
		plug(slot);
	pci_set_interrupt(&card[5], true);
	assert_true(intx[1]);
	pci_set_interrupt(&card[1], true);
	pci_set_interrupt(&card[9], true);
	pci_set_interrupt(&card[5], false);
	pci_set_interrupt(&card[1], false);
	assert_true(intx[1]);
	assert_int_equal(intx_changes[1], 1);
	pci_set_interrupt(&card[9], false);
	assert_false(intx[1]);
	assert_int_equal(intx_changes[1], 2);
	for (unsigned slot = 1; slot < 5; slot++) {
		pci_set_interrupt(&card[slot], true);
		assert_true(intx[slot % 4]);
		assert_int_equal(intx[0] + intx[1] + intx[2] + intx[3], slot);
	}
	assert_int_equal(pci_host_pic_line(1), pci_host_pic_line(3)); /* as the PC joins INTA and INTC, INTB and INTD */
	assert_int_equal(pci_host_pic_line(2), pci_host_pic_line(4));
	assert_int_not_equal(pci_host_pic_line(1), pci_host_pic_line(2));
}

static void reset_register(void **state)
{
	(void)state;
	outb(0xCF9, 0x02);
	assert_int_equal(requests, 0);
	assert_int_equal(inb(0xCF9), 0x02);
	out(0xCF8, 4, 0x80000600); /* a dword over it is an address */
	out(0xCF9, 2, 0x0606);
	assert_int_equal(requests, 0);
	assert_int_equal(inb(0xCF9), 0x02);
	outb(0xCF9, 0x06);
	assert_int_equal(requests, 1);
	assert_int_equal(request_what, PLATFORM_RESET);
	assert_int_equal(inb(0xCF9), 0x02);
	outb(0xCF9, 0x0E);
	assert_int_equal(requests, 2);
	assert_int_equal(in(0xCF8, 4), 0x80000600);
}

static void reset_clears(void **state)
{
	(void)state;
	out(0xCF8, 4, 0x80000000);
	outb(0xCF9, 0x02);
	pci_host_reset(&host);
	assert_int_equal(in(0xCF8, 4), 0);
	assert_int_equal(inb(0xCF9), 0);
	assert_int_equal(config(0, 0, 0, 0), 0x12378086);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(only_the_host_bridge_answers, setup),
	    cmocka_unit_test_setup(data_by_bytes_and_words, setup),
	    cmocka_unit_test_setup(the_bridge_is_read_only, setup),
	    cmocka_unit_test_setup(nothing_without_the_enable_bit, setup),
	    cmocka_unit_test_setup(only_dwords_reach_the_address, setup),
	    cmocka_unit_test_setup(accesses_across_registers_find_nobody, setup),
	    cmocka_unit_test_setup(functions_see_their_own_registers, setup),
	    cmocka_unit_test_setup(ecam_is_the_same_space, setup),
	    cmocka_unit_test_setup(ecam_across_dwords_finds_nobody, setup),
	    cmocka_unit_test_setup(ecam_of_absent_functions, setup),
	    cmocka_unit_test_setup(nobody_answers_in_extended_space, setup),
	    cmocka_unit_test_setup(slots_are_filled_from_1_to_15, setup),
	    cmocka_unit_test_setup(all_slots_are_assigned, setup),
	    cmocka_unit_test_setup(nobody_answers_in_an_empty_window, setup),
	    cmocka_unit_test_setup(accesses_reach_the_bar, setup),
	    cmocka_unit_test_setup(accesses_across_the_end_of_a_bar_find_nobody, setup),
	    cmocka_unit_test_setup(a_bar_is_moved, setup),
	    cmocka_unit_test_setup(a_bar_outside_of_its_window_is_silent, setup),
	    cmocka_unit_test_setup(of_two_bars_at_one_place_one_answers, setup),
	    cmocka_unit_test_setup(decoding_can_be_off, setup),
	    cmocka_unit_test_setup(a_line_is_shared, setup),
	    cmocka_unit_test_setup(reset_register, setup),
	    cmocka_unit_test_setup(reset_clears, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
