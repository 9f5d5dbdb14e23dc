/*
 * PCI configuration by its ports and by ECAM, BARs that the guest moves, MSI-X and INTx, of four functions: a model
 * says what each configuration byte holds, which BAR answers at which address, which messages go out and what waits,
 * and the level of each line.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/dev/pci_host.c hv/dev/pci.c hv/bus.c */
/* flags: -fno-sanitize-coverage=trace-cmp */
#include <string.h>

#include "hv/dev/apic_bus.h"
#include "hv/dev/pci_host.h"
#include "hv/lib/panic.h"
#include "hv/pc_map.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"

#define FUNCTIONS 4
#define MSIX_BAR  2
#define VECTORS	  3
#define MESSAGES  64 /* of one step */

static struct bus pio, mmio;
static struct pci_host host;
static struct apic_bus apics;
static struct pci_device function[FUNCTIONS];
static unsigned line_level, requests;

static const struct {
	uint32_t size;
	bool io;
	struct pci_bells bells;
} bar[FUNCTIONS][PCI_BARS] = {
    {{32, true, {0}}, {4096, false, {0}}},
    {{0}, {65536, false, {NULL, 0x3000, 0x20}}, {0}, {16, false, {0}}},
    {{256, true, {NULL, 16, 4}}},
    {{0}, {0}, {0}, {0}, {16384, false, {0}}, {64, true, {0}}},
};

/* --- the input, and what is around the bus ------------------------------------------------------------------------ */

_Noreturn void panic(const char *fmt, ...)
{
	(void)fmt;
	abort();
}

struct message {
	uint8_t dest, vector, mode;
	bool logical;
};
static struct message sent[MESSAGES], expected[MESSAGES];
static unsigned sent_count, expected_count;

int apic_bus_deliver(struct apic_bus *bus, uint8_t dest, bool logical, enum apic_delivery mode, uint8_t vector,
		     bool level)
{
	REQUIRE(bus == &apics && !level && sent_count < MESSAGES);
	sent[sent_count++] = (struct message){dest, vector, (uint8_t)mode, logical};
	return 0;
}

static void set_line(void *ctx, unsigned line, bool level)
{
	(void)ctx;
	REQUIRE(line < PCI_INTX && !(line_level >> line & 1) == level);
	line_level ^= 1U << line;
}

static void request(void *ctx, enum platform_request what, uint32_t code)
{
	(void)ctx, (void)code;
	REQUIRE(what == PLATFORM_RESET);
	requests++;
}

/* --- the model ---------------------------------------------------------------------------------------------------- */

static struct {
	uint32_t address;
	uint8_t reset;
	struct {
		uint8_t config[PCI_CONFIG_SIZE], fixed[PCI_CONFIG_SIZE]; /* fixed: bits that don't change */
		struct {
			uint32_t word[4];
		} entry[VECTORS];
		uint32_t pending;
		bool interrupt;
	} f[FUNCTIONS];
} model;
static unsigned msix_at; /* the capability, at the same place in all of them */

static uint32_t config32(unsigned n, unsigned at)
{
	uint32_t value;

	memcpy(&value, model.f[n].config + at, sizeof(value));
	return value;
}

static bool has_bar(unsigned n, unsigned i)
{
	return i == MSIX_BAR || bar[n][i].size;
}
static uint32_t bar_size(unsigned n, unsigned i)
{
	return i == MSIX_BAR ? 4096 : bar[n][i].size;
}
static bool bar_io(unsigned n, unsigned i)
{
	return i != MSIX_BAR && bar[n][i].io;
}
static uint32_t bar_base(unsigned n, unsigned i)
{
	return config32(n, PCI_BAR + 4 * i) & ~(bar_size(n, i) - 1);
}

static bool fits(unsigned n, unsigned i)
{
	uint64_t base = bar_base(n, i), end = base + bar_size(n, i);
	uint64_t first = bar_io(n, i) ? PC_PCI_IO : PC_PCI_MEMORY;
	uint64_t size = bar_io(n, i) ? PC_PCI_IO_SIZE : PC_PCI_MEMORY_SIZE;

	return base >= first && end <= first + size &&
	       (model.f[n].config[PCI_COMMAND] & (bar_io(n, i) ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY));
}

/* Which BARs answer: in the order of slots and BARs, the first at a place is there, what overlaps it is not. */
static bool answers[FUNCTIONS][PCI_BARS];

static bool is_taken(unsigned n, unsigned i)
{
	for (unsigned m = 0; m <= n; m++)
		for (unsigned j = 0; j < (m == n ? i : PCI_BARS); j++) {
			uint64_t a = bar_base(n, i), b = bar_base(m, j);

			if (answers[m][j] && bar_io(m, j) == bar_io(n, i) && a < b + bar_size(m, j) &&
			    b < a + bar_size(n, i))
				return true;
		}
	return false;
}

static void find_answers(void)
{
	memset(answers, 0, sizeof(answers));
	for (unsigned n = 0; n < FUNCTIONS; n++)
		for (unsigned i = 0; i < PCI_BARS; i++)
			answers[n][i] = has_bar(n, i) && fits(n, i) && !is_taken(n, i);
}

static uint16_t msix_control(unsigned n)
{
	return (uint16_t)(config32(n, msix_at) >> 16);
}

static void send(unsigned n, unsigned vector)
{
	const uint32_t *word = model.f[n].entry[vector].word;

	REQUIRE(expected_count < MESSAGES);
	if (word[1] || word[0] >> 20 != 0xFEE)
		return;
	expected[expected_count++] =
	    (struct message){(uint8_t)(word[0] >> 12), (uint8_t)word[2], word[2] >> 8 & 7, word[0] & 4};
}

static bool may_send(unsigned n, unsigned vector)
{
	return (msix_control(n) & 0xC000) == 0x8000 && (model.f[n].config[PCI_COMMAND] & PCI_COMMAND_MASTER) &&
	       !(model.f[n].entry[vector].word[3] & 1);
}

static void send_pending(unsigned n)
{
	for (unsigned v = 0; v < VECTORS; v++) {
		if (!(model.f[n].pending >> v & 1) || !may_send(n, v))
			continue;
		model.f[n].pending &= ~(1U << v);
		send(n, v);
	}
}

static void model_raise(unsigned n, unsigned vector)
{
	if (vector < VECTORS && may_send(n, vector))
		send(n, vector);
	else if (vector < VECTORS && (msix_control(n) & 0x8000))
		model.f[n].pending |= 1U << vector;
}

static void model_status(unsigned n)
{
	uint8_t *status = &model.f[n].config[PCI_STATUS];

	*status = (uint8_t)((*status & ~PCI_STATUS_INTERRUPT) | (model.f[n].interrupt ? PCI_STATUS_INTERRUPT : 0));
}

static void model_config_write(unsigned n, unsigned at, unsigned size, uint32_t value)
{
	for (unsigned i = 0; i < size; i++, value >>= 8) {
		uint8_t fixed = model.f[n].fixed[at + i], *byte = &model.f[n].config[at + i];

		*byte = (uint8_t)((*byte & fixed) | (value & (uint8_t)~fixed));
	}
	find_answers();
	send_pending(n);
}

/* What a function's table says at a dword; the pending bits are in the upper half. */
static uint32_t table_word(unsigned n, unsigned at)
{
	if (at == 2048)
		return model.f[n].pending;
	return at / 16 < VECTORS ? model.f[n].entry[at / 16].word[at / 4 % 4] : 0;
}

static void put_table_word(unsigned n, unsigned at, uint32_t value)
{
	static const uint32_t kept[] = {~3U, ~0U, ~0U, 1};

	if (at / 16 < VECTORS)
		model.f[n].entry[at / 16].word[at / 4 % 4] = value & kept[at / 4 % 4];
}

/* --- the functions' registers: who they are, and where they were asked -------------------------------------------- */

static struct {
	unsigned count, n, bar, size;
	uint64_t offset, value;
	bool write;
} asked;

static uint8_t name[FUNCTIONS * PCI_BARS]; /* its address is the `dev` of a BAR */

static uint64_t reg_read(void *dev, uint64_t offset, unsigned size)
{
	unsigned i = (unsigned)((uint8_t *)dev - name);

	asked.count++;
	asked.n = i / PCI_BARS;
	asked.bar = i % PCI_BARS;
	asked.offset = offset;
	asked.size = size;
	asked.write = false;
	REQUIRE(offset + size <= bar_size(asked.n, asked.bar));
	return (offset * 0x0101010101010101ULL + i) & bus_ones(size);
}

static void reg_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	(void)reg_read(dev, offset, size);
	asked.write = true;
	asked.value = value;
}

static void ring(void *dev, unsigned offset)
{
	(void)dev, (void)offset;
}

/* --- what always holds -------------------------------------------------------------------------------------------- */

static void check_function(unsigned n)
{
	const struct pci_device *p = &function[n];

	for (unsigned at = 0; at < PCI_CONFIG_SIZE; at += 4)
		REQUIRE(pci_config_read(&function[n], at) == config32(n, at));
	REQUIRE(p->msix.pending == model.f[n].pending);
	for (unsigned i = 0; i < PCI_BARS; i++)
		if (answers[n][i])
			REQUIRE(p->bar[i].base == bar_base(n, i));
}

static void check_lines(void)
{
	unsigned level = 0;

	for (unsigned n = 0; n < FUNCTIONS; n++)
		if (model.f[n].interrupt && !(model.f[n].config[PCI_COMMAND + 1] & PCI_COMMAND_NO_INTX >> 8) &&
		    !(msix_control(n) & 0x8000))
			level |= 1U << function[n].slot % PCI_INTX;
	REQUIRE(level == line_level);
}

static void check_all(void)
{
	REQUIRE(sent_count == expected_count);
	for (unsigned i = 0; i < sent_count; i++)
		REQUIRE(sent[i].dest == expected[i].dest && sent[i].vector == expected[i].vector &&
			sent[i].mode == expected[i].mode && sent[i].logical == expected[i].logical);
	sent_count = expected_count = 0;
	for (unsigned n = 0; n < FUNCTIONS; n++)
		check_function(n);
	check_lines();
}

/* --- steps -------------------------------------------------------------------------------------------------------- */

static uint64_t bus_access(struct bus *bus, uint64_t at, unsigned size, bool write, uint64_t value)
{
	const struct bus_range *r = bus_find(bus, at, size);

	REQUIRE(r);
	if (!write) {
		value = r->read(r->dev, at, size);
		REQUIRE(!(value & ~bus_ones(size)));
		return value;
	}
	r->write(r->dev, at, size, value & bus_ones(size));
	return 0;
}

/* Function 0 of a slot, or who is there: the bridge is -1, nobody -2. */
static int who_is(unsigned slot)
{
	if (slot == 0)
		return -1;
	return slot <= FUNCTIONS ? (int)slot - 1 : -2;
}

static void check_config(int n, unsigned at, unsigned size, uint64_t value)
{
	static const uint32_t bridge[] = {0x12378086, 0x02800006, 0x06000002};
	uint32_t word = n >= 0 ? config32((unsigned)n, at & 0xFC) : at / 4 < 3 ? bridge[at / 4] : 0;

	if (n == -2)
		word = UINT32_MAX;
	REQUIRE(value == (word >> 8 * (at % 4) & bus_ones(size)));
}

static unsigned some_offset(void)
{
	static const uint8_t often[] = {PCI_COMMAND, PCI_COMMAND + 1, PCI_BAR,	    PCI_BAR + 4,
					PCI_BAR + 8, PCI_BAR + 16,    PCI_BAR + 12, PCI_BAR + 20};
	unsigned how = (unsigned)next(1);

	if (how < 128)
		return often[how % ARRAY_SIZE(often)];
	return how < 176 ? msix_at + how % 4 : (unsigned)next(1);
}

/* What a guest would put there, mostly: for a BAR a place in either window, near its begin or its end. */
static uint32_t some_value(unsigned at)
{
	unsigned how = (unsigned)next(1);
	uint32_t first = how & 128 ? PC_PCI_MEMORY : PC_PCI_IO, unit = how & 64 ? 0x40 : 0x4000;
	uint32_t end = first + (how & 128 ? PC_PCI_MEMORY_SIZE : PC_PCI_IO_SIZE);

	if (how >= 224 || at < PCI_COMMAND)
		return (uint32_t)next(4);
	if (at < PCI_BAR)
		return how | (how & 64 ? 7 : 0);
	if (how >= 216)
		return UINT32_MAX;
	if (at >= msix_at)
		return (how & 3) << (how & 4 ? 30 : how & 8 ? 14 : 6);
	return (how & 32 ? end - 8 * unit : first) + (how & 15) * unit;
}

static void by_ports(void)
{
	unsigned how = (unsigned)next(1), offset = some_offset(), size = 1u << how % 3, byte = how / 4 % 4;
	uint32_t value = some_value(offset & 0xFC);
	int n = who_is(how >> 5);

	model.address = 0x80000000 | (uint32_t)(how >> 5) << 11 | (offset & 0xFC);
	bus_access(&pio, 0xCF8, 4, true, model.address | 0x7F000003); /* the reserved bits are not kept */
	REQUIRE(bus_access(&pio, 0xCF8, 4, false, 0) == model.address);
	if (byte + size > 4)
		return; /* no range of the bus holds it */
	if (how & 16) {
		bus_access(&pio, 0xCFC + byte, size, true, value);
		if (n >= 0)
			model_config_write((unsigned)n, (offset & 0xFC) + byte, size, value);
	}
	check_config(n, (offset & 0xFC) + byte, size, bus_access(&pio, 0xCFC + byte, size, false, 0));
}

static void by_ecam(void)
{
	unsigned how = (unsigned)next(1), offset = some_offset(), size = 1u << how % 4;
	uint32_t value = some_value(offset & 0xFC);
	uint64_t at = PC_ECAM + ((uint64_t)(how >> 5) << 15) + offset;
	bool whole = size <= 4 && offset % 4 + size <= 4;

	if (how & 4) /* another function, or what only PCI Express has */
		at += next(1) % 32 << 8;
	if (at - PC_ECAM > PC_ECAM_SIZE - size)
		return;
	if ((at & 0x7FFF) >= PCI_CONFIG_SIZE || !whole) {
		bus_access(&mmio, at, size, true, value);
		REQUIRE(bus_access(&mmio, at, size, false, 0) == bus_ones(size));
		return;
	}
	if (how & 16) {
		bus_access(&mmio, at, size, true, value);
		if (who_is(how >> 5) >= 0)
			model_config_write((unsigned)who_is(how >> 5), offset, size, value);
	}
	check_config(who_is(how >> 5), offset, size, bus_access(&mmio, at, size, false, 0));
}

/* An access to the table of function n. */
static void check_table(unsigned n, unsigned offset, unsigned size, bool write, uint64_t value, uint64_t answer)
{
	uint64_t found = 0;

	if (size < 4 || offset % size) {
		REQUIRE(write || !answer);
	} else if (write) {
		put_table_word(n, offset, (uint32_t)value);
		if (size == 8)
			put_table_word(n, offset + 4, (uint32_t)(value >> 32));
		send_pending(n);
	} else {
		found = table_word(n, offset);
		found |= size == 8 ? (uint64_t)table_word(n, offset + 4) << 32 : 0;
		REQUIRE(answer == found);
	}
}

/* Anywhere in a window: whoever the model says answers, and nobody else. */
static void access_window(void)
{
	unsigned how = (unsigned)next(1), n = how % FUNCTIONS, i = how / 4 % 6,
		 size = 1u << (how & 32 ? 2 : next(1) % 4);
	bool write = how & 64, io = bar_io(n, i);
	uint64_t first = io ? PC_PCI_IO : PC_PCI_MEMORY, room = io ? PC_PCI_IO_SIZE : PC_PCI_MEMORY_SIZE;
	uint64_t base = has_bar(n, i) && fits(n, i) ? bar_base(n, i) : first, offset = next(how & 128 ? 1 : 2);
	uint64_t at = base + offset, value = next(4) * 0x100000001ULL, answer;
	unsigned limit = io ? 4 : 8, found = 0;

	if (how & 128 && i == MSIX_BAR)
		at = base + offset % (VECTORS * 16 + 8);
	if (size > limit || at - first > room - size)
		return;
	asked.count = 0;
	answer = bus_access(io ? &pio : &mmio, at, size, write, value);
	for (n = 0; n < FUNCTIONS; n++)
		for (i = 0; i < PCI_BARS; i++) {
			uint64_t in = at - bar_base(n, i);

			if (!answers[n][i] || bar_io(n, i) != io || in >= bar_size(n, i) || size > bar_size(n, i) - in)
				continue;
			found++;
			if (i == MSIX_BAR) {
				check_table(n, (unsigned)in, size, write, value & bus_ones(size), answer);
				continue;
			}
			REQUIRE(asked.count == 1 && asked.n == n && asked.bar == i && asked.offset == in);
			REQUIRE(asked.size == size && asked.write == write &&
				(!write || asked.value == (value & bus_ones(size))));
		}
	REQUIRE(found <= 1 && (found || asked.count == 0));
	REQUIRE(found || write || answer == bus_ones(size));
}

/* A doorbell is found where its BAR answers, or not at all, and nowhere else. */
static void look_for_bell(void)
{
	unsigned how = (unsigned)next(1), n = how & 1 ? 1 : 2, i = n == 1 ? 1 : 0, offset = 0;
	uint64_t first = bar_base(n, i) + bar[n][i].bells.first, at = first + next(1) - 4;
	const struct pci_bar *found =
	    bar_io(n, i) ? pci_host_port_bell(&host, at, &offset) : pci_host_memory_bell(&host, at, &offset);

	if (found)
		REQUIRE(found == &function[n].bar[i] && answers[n][i] && at - first < bar[n][i].bells.size &&
			offset == at - first);
	else
		REQUIRE(!answers[n][i] || at - first >= bar[n][i].bells.size);
}

static void model_reset(unsigned n)
{
	for (unsigned at = 0; at < PCI_CONFIG_SIZE; at++)
		model.f[n].config[at] &= model.f[n].fixed[at];
	for (unsigned i = 0; i < PCI_BARS; i++) {
		uint32_t base =
		    bar_io(n, i) ? PC_PCI_IO + (n + 1) * 0x100 + 1 : PC_PCI_MEMORY + ((n + 1) * PCI_BARS + i) * 0x10000;

		if (has_bar(n, i))
			memcpy(model.f[n].config + PCI_BAR + 4 * i, &base, sizeof(base));
	}
	model.f[n].config[PCI_INTERRUPT_LINE] = pci_host_pic_line(n + 1);
	memset(model.f[n].entry, 0, sizeof(model.f[n].entry));
	for (unsigned v = 0; v < VECTORS; v++)
		model.f[n].entry[v].word[3] = 1;
	model.f[n].pending = 0;
	model.f[n].interrupt = false;
	find_answers();
}

static void device_acts(void)
{
	unsigned how = (unsigned)next(1), n = how % FUNCTIONS, vector = how / 4 % 8;

	if (how < 128) {
		pci_msix_raise(&function[n], vector);
		model_raise(n, vector);
	} else if (how < 224) {
		model.f[n].interrupt = how & 4;
		pci_set_interrupt(&function[n], how & 4);
	} else if (how < 240) {
		model.f[n].pending = 0;
		model.f[n].interrupt = false;
		pci_clear_interrupts(&function[n]);
	} else {
		pci_reset(&function[n]);
		model_reset(n);
	}
	model_status(n);
}

/* Other widths and places among the ports: they reach neither register, or are the reset register's. */
static void odd_ports(void)
{
	unsigned how = (unsigned)next(1), at = how % 4, size = 1u << how / 4 % 3, before = requests;
	uint8_t value = (uint8_t)next(1);

	if (at == 0 && size == 4)
		return; /* the address register itself */
	bus_access(&pio, 0xCF8 + at, size, true, value);
	if (at == 1 && size == 1) {
		model.reset = value & (uint8_t)~4;
		REQUIRE(requests == before + (value >> 2 & 1));
		REQUIRE(bus_access(&pio, 0xCF9, 1, false, 0) == model.reset);
	} else {
		REQUIRE(requests == before && bus_access(&pio, 0xCF8 + at, size, false, 0) == bus_ones(size));
	}
	REQUIRE(bus_access(&pio, 0xCF8, 4, false, 0) == model.address);
}

static void step(void)
{
	static void (*const what[])(void) = {by_ports,	    by_ecam,	 by_ecam,	access_window,
					     access_window, device_acts, look_for_bell, odd_ports};

	what[next(1) % ARRAY_SIZE(what)]();
	check_all();
}

/* --- power-up ----------------------------------------------------------------------------------------------------- */

static void plug(unsigned n)
{
	struct pci_identity id = {0x1AF4, (uint16_t)(0x1040 + n), 0x1AF4, (uint16_t)n, 1, 0x020000};
	struct pci_device *p = &function[n];

	pci_init(p, &id);
	for (unsigned i = 0; i < PCI_BARS; i++) {
		struct pci_bar b = {.dev = &name[n * PCI_BARS + i],
				    .read = reg_read,
				    .write = reg_write,
				    .name = "registers",
				    .bells = bar[n][i].bells,
				    .size = bar[n][i].size,
				    .io = bar[n][i].io};

		b.bells.ring = ring;
		if (b.size)
			pci_add_bar(p, i, &b);
	}
	msix_at = p->capability_end;
	pci_add_msix(p, MSIX_BAR, VECTORS);
	REQUIRE(pci_host_plug(&host, p, pci_config_read, pci_config_write) == 0 && p->slot == n + 1);
	pci_reset(p);
	for (unsigned at = 0; at < PCI_CONFIG_SIZE; at++) {
		model.f[n].config[at] = p->config[at];
		model.f[n].fixed[at] = (uint8_t)~p->writable[at];
	}
	model_reset(n);
}

/* Bits that no guest may change, whatever the masks say: identity, class, capabilities, the low bits of BARs. */
static void check_masks(unsigned n)
{
	const uint8_t *fixed = model.f[n].fixed;

	for (unsigned at = 0; at < PCI_CONFIG_SIZE; at++) {
		bool free = (at >= PCI_BAR && at < PCI_BAR + 4 * PCI_BARS) || at == PCI_COMMAND ||
			    at == PCI_COMMAND + 1 || at == 0x0C || at == PCI_INTERRUPT_LINE || at == msix_at + 3;

		REQUIRE(free || fixed[at] == 0xFF);
	}
	for (unsigned i = 0; i < PCI_BARS; i++)
		REQUIRE((fixed[PCI_BAR + 4 * i] & 3) == 3);
}

static void power_on(void)
{
	static const struct platform platform = {.request = request};
	struct pci_host_setup s = {.pio = &pio, .mmio = &mmio, .platform = &platform, .apics = &apics};

	memset(&pio, 0, sizeof(pio));
	memset(&mmio, 0, sizeof(mmio));
	memset(&model, 0, sizeof(model));
	line_level = requests = sent_count = expected_count = 0;
	for (unsigned i = 0; i < PCI_INTX; i++)
		s.intx[i] = (struct irq_line){set_line, NULL, i};
	REQUIRE(pci_host_init(&host, &s) == 0);
	for (unsigned n = 0; n < FUNCTIONS; n++) {
		plug(n);
		check_masks(n);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	input_begin(data, size);
	power_on();
	while (left)
		step();
	return 0;
}
