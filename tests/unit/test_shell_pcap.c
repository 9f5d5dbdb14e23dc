/* Lines of a capture: bytes of a pcap file in base64, each line for itself. */
/* SPDX-License-Identifier: MIT */
/* links: hv/shell/pcap.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/shell/pcap.h"

static char line[PCAP_LINE_MAX];

/* Made with Python's struct and base64. */
static void a_files_beginning(void **state)
{
	(void)state;
	pcap_begin_line(line, 192);
	assert_string_equal(line, "P TTyyoQIABAAAAAAAAAAAAMAAAAABAAAA\r\n");
}

static void frames_of_each_length(void **state)
{
	static const struct {
		uint32_t kept;
		const char *expected;
	} frame[] = {{0, "P APFTZRXNWwcAAAAA6gUAAA==\r\n"},
		     {1, "P APFTZRXNWwcBAAAA6gUAAP8=\r\n"},
		     {2, "P APFTZRXNWwcCAAAA6gUAAP/+\r\n"},
		     {3, "P APFTZRXNWwcDAAAA6gUAAP/+AA==\r\n"}};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(frame); i++) {
		pcap_frame_line(line, 1700000000123456789, 1514, "\xff\xfe\0", frame[i].kept);
		assert_string_equal(line, frame[i].expected);
	}
}

static void the_longest_line_fits(void **state)
{
	uint8_t bytes[PCAP_FRAME_MAX];
	char *guarded = test_malloc(PCAP_LINE_MAX);

	(void)state;
	memset(bytes, 0xff, sizeof(bytes));
	pcap_frame_line(guarded, ~0ULL, ~0u, bytes, sizeof(bytes));
	assert_int_equal(strlen(guarded), PCAP_LINE_MAX - 1);
	test_free(guarded);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_files_beginning),
	    cmocka_unit_test(frames_of_each_length),
	    cmocka_unit_test(the_longest_line_fits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
