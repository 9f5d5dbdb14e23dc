/* pcap in base64, a line at a time; see pcap.h. */
/* SPDX-License-Identifier: MIT */
#include "hv/shell/pcap.h"

#include "hv/lib/string.h"

#define MAGIC_NS 0xA1B23C4D /* in the order of the bytes of who writes: ours; times in nanoseconds */
#define ETHERNET 1	    /* LINKTYPE_ETHERNET */

struct file_header {
	uint32_t magic;
	uint16_t major, minor;
	uint32_t reserved[2];
	uint32_t snap, link_type;
};

struct frame_header {
	uint32_t seconds, nanoseconds;
	uint32_t kept, size;
};

/* Three bytes are four characters; what is missing to three is '='. */
static char *put_base64(char *to, const uint8_t *from, size_t size)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (; size; from += 3) {
		uint32_t bits = (uint32_t)from[0] << 16;

		bits |= size > 1 ? (uint32_t)from[1] << 8 : 0;
		bits |= size > 2 ? from[2] : 0;
		*to++ = digits[bits >> 18];
		*to++ = digits[bits >> 12 & 63];
		*to++ = size > 1 ? digits[bits >> 6 & 63] : '=';
		*to++ = size > 2 ? digits[bits & 63] : '=';
		size -= size < 3 ? size : 3;
	}
	return to;
}

static void put_line(char line[PCAP_LINE_MAX], const void *bytes, size_t size)
{
	memcpy(line, "P ", 2);
	memcpy(put_base64(line + 2, bytes, size), "\r\n", 3);
}

void pcap_begin_line(char line[PCAP_LINE_MAX], uint32_t snap)
{
	struct file_header h = {.magic = MAGIC_NS, .major = 2, .minor = 4, .snap = snap, .link_type = ETHERNET};

	put_line(line, &h, sizeof(h));
}

void pcap_frame_line(char line[PCAP_LINE_MAX], uint64_t unix_ns, uint32_t size, const void *bytes, uint32_t kept)
{
	struct {
		struct frame_header header;
		uint8_t bytes[PCAP_FRAME_MAX];
	} record;

	record.header = (struct frame_header){.seconds = (uint32_t)(unix_ns / 1000000000),
					      .nanoseconds = (uint32_t)(unix_ns % 1000000000),
					      .kept = kept,
					      .size = size};
	memcpy(record.bytes, bytes, kept);
	put_line(line, &record, sizeof(record.header) + kept);
}
