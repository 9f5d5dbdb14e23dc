/*
 * Frames on their way to the shell's capture: recorded by switches, lost when the ring is full, read in their order,
 * and printed as lines of base64 that are decoded here again. A plain queue says which frames come, and each line's
 * bytes are those of the frame.
 */
/* SPDX-License-Identifier: MIT */
/* links: hv/capture.c hv/shell/pcap.c */
#include <string.h>

#include "hv/capture.h"
#include "hv/clock.h"
#include "hv/phys.h"
#include "hv/shell/pcap.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"

static uint64_t now;
static bool no_memory;
static uint8_t *ring;
static uint64_t ring_pages;

uint64_t clock_now(void)
{
	return now;
}
/* Allocated once: what is written behind its end is seen. */
hpa_t phys_alloc(uint64_t pages, uint64_t align_pages)
{
	REQUIRE(!ring_pages && align_pages == 1);
	if (no_memory)
		return HPA_NONE;
	if (!ring)
		ring = aligned_alloc(PAGE_SIZE, pages * PAGE_SIZE);
	ring_pages = pages;
	return HPA((uint64_t)ring);
}
void phys_free(hpa_t hpa, uint64_t pages)
{
	REQUIRE(hpa.value == (uint64_t)ring && pages == ring_pages);
	ring_pages = 0;
}

/* --- the model: frames are told by a number ----------------------------------------------------------------------- */

static struct {
	bool on;
	uint64_t recorded, read, lost;
	struct {
		uint64_t ticks;
		uint32_t size, head;
		uint8_t seed;
	} frame[CAPTURE_FRAMES];
} model;

static uint8_t byte_of(uint8_t seed, uint32_t i)
{
	return (uint8_t)(seed + i * (seed | 1));
}

static void record(void)
{
	struct net_packet p;
	uint8_t seed = (uint8_t)next(1);
	uint64_t at = model.recorded % CAPTURE_FRAMES;

	memset(&p, 0, sizeof(p));
	p.head_size = (uint32_t)next(1) % (NET_HEAD_MAX + 1);
	p.size = p.head_size + (uint32_t)next(2);
	for (uint32_t i = 0; i < p.head_size; i++)
		p.head[i] = byte_of(seed, i);
	capture_frame(&p);
	if (model.on && model.recorded - model.read == CAPTURE_FRAMES) {
		model.lost++;
	} else if (model.on) {
		model.frame[at].ticks = now;
		model.frame[at].size = p.size;
		model.frame[at].head = p.head_size;
		model.frame[at].seed = seed;
		model.recorded++;
	}
}

/* --- base64, RFC 4648, 4 ------------------------------------------------------------------------------------------ */

static int digit(char c)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* The line's bytes; how many. The line is "P ", whole groups of four, "=" at the end only, and its end. */
static size_t decode(const char *line, uint8_t *to)
{
	size_t size = strlen(line), n = 0;

	REQUIRE(size < PCAP_LINE_MAX && size >= 4 && !memcmp(line, "P ", 2) && !strcmp(line + size - 2, "\r\n"));
	REQUIRE((size - 4) % 4 == 0);
	for (const char *at = line + 2; at < line + size - 2; at += 4) {
		bool last = at + 4 == line + size - 2;
		unsigned missing = (at[2] == '=') + (at[3] == '=');
		uint32_t bits = 0;

		REQUIRE((last || !missing) && (at[2] != '=' || at[3] == '='));
		for (unsigned i = 0; i < 4; i++) {
			REQUIRE(digit(at[i]) >= 0 || i >= 4 - missing);
			bits = bits << 6 | (uint32_t)(i >= 4 - missing ? 0 : digit(at[i]));
		}
		REQUIRE(!(bits & ((1U << 8 * missing) - 1)));
		for (unsigned i = 0; i < 3 - missing; i++)
			to[n++] = (uint8_t)(bits >> (16 - 8 * i));
	}
	return n;
}

static void check_line(const struct captured_frame *f, uint64_t unix_ns)
{
	char *line = malloc(PCAP_LINE_MAX);
	uint8_t bytes[PCAP_LINE_MAX];
	uint32_t header[4];

	REQUIRE(line);
	pcap_frame_line(line, unix_ns, f->size, f->bytes, f->kept);
	REQUIRE(decode(line, bytes) == sizeof(header) + f->kept);
	memcpy(header, bytes, sizeof(header));
	REQUIRE(header[0] == (uint32_t)(unix_ns / 1000000000) && header[1] == unix_ns % 1000000000);
	REQUIRE(header[2] == f->kept && header[3] == f->size);
	REQUIRE(!memcmp(bytes + sizeof(header), f->bytes, f->kept));
	free(line);
}

static void read_one(void)
{
	struct captured_frame f;
	uint64_t at = model.read % CAPTURE_FRAMES;
	uint32_t head = model.frame[at].head;
	bool there = capture_next(&f);

	REQUIRE(there == (model.on && model.read < model.recorded));
	if (!there)
		return;
	REQUIRE(f.ticks == model.frame[at].ticks && f.size == model.frame[at].size);
	REQUIRE(f.kept == (head < CAPTURE_SNAP ? head : CAPTURE_SNAP) && f.kept <= f.size);
	for (uint32_t i = 0; i < f.kept; i++)
		REQUIRE(f.bytes[i] == byte_of(model.frame[at].seed, i));
	model.read++;
	check_line(&f, next(8));
}

static void begin_or_end(void)
{
	unsigned how = (unsigned)next(1);

	if (model.on) {
		capture_end();
		model.on = false;
		return;
	}
	no_memory = how >= 224;
	model.on = capture_begin() == 0;
	REQUIRE(model.on == !no_memory);
	if (model.on)
		model.recorded = model.read = model.lost = 0;
}

static void check_file_header(void)
{
	char *line = malloc(PCAP_LINE_MAX);
	uint8_t bytes[PCAP_LINE_MAX];
	uint32_t snap = (uint32_t)next(4), word[6];

	REQUIRE(line);
	pcap_begin_line(line, snap);
	REQUIRE(decode(line, bytes) == sizeof(word));
	memcpy(word, bytes, sizeof(word));
	REQUIRE(word[0] == 0xA1B23C4D && word[1] == (2 | 4 << 16) && !word[2] && !word[3] && word[4] == snap &&
		word[5] == 1);
	free(line);
}

static void step(void)
{
	unsigned how = (unsigned)next(1);

	switch (how % 8) {
	case 0:
	case 1:
	case 2:
		record();
		break;
	case 3: /* many: until the ring is full */
		for (unsigned i = 0; i < (how & 128 ? 700U : how); i++)
			record();
		break;
	case 4:
		for (unsigned i = 0; i < how; i++)
			read_one();
		break;
	case 5:
		check_file_header();
		break;
	case 6:
		now += next(4);
		break;
	default:
		if (how >= 192)
			begin_or_end();
	}
	REQUIRE(capture_lost() == model.lost && (ring_pages != 0) == model.on);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	input_begin(data, size);
	no_memory = false;
	model.on = capture_begin() == 0;
	model.recorded = model.read = model.lost = 0;
	while (left)
		step();
	capture_end();
	capture_end();
	REQUIRE(!ring_pages);
	return 0;
}
