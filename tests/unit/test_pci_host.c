/* Unit tests of PCI configuration access and of the reset control register among its ports. */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/pci_host.c hv/bus.c hv/timer.c hv/lib/heap.c */
#include "tests/unit/chip_fixture.h"

#include "hv/dev/pci_host.h"

static struct pci_host host;

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

static int setup(void **state)
{
	(void)state;
	fixture_reset();
	asked_size = 0;
	return pci_host_init(&host, &pio, &platform);
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
	host.function[31] = (struct pci_function){&host, probe_read, probe_write};
	assert_int_equal(config(0, 31, 0, 0xFC), 0xA3A2A1FC);
	assert_int_equal(inb(0xCFE), 0xA2);
	out(0xCFE, 2, 0x1234);
	assert_int_equal(asked_offset, 0xFE);
	assert_int_equal(asked_size, 2);
	assert_int_equal(asked_value, 0x1234);
	config(0, 31, 0, 0x10);
	out(0xCFC, 4, 0xFFFFFFFF);
	assert_int_equal(asked_offset, 0x10);
	assert_int_equal(asked_value, 0xFFFFFFFF);
	asked_size = 0;
	config(0, 30, 0, 0x10);
	out(0xCFC, 4, 1);
	config(1, 31, 0, 0x10);
	out(0xCFC, 4, 1);
	config(0, 31, 1, 0x10);
	out(0xCFC, 4, 1);
	assert_int_equal(asked_size, 0);
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
	    cmocka_unit_test_setup(reset_register, setup),
	    cmocka_unit_test_setup(reset_clears, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
