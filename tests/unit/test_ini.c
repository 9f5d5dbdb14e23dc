/* The tokenizer of vireo.conf: what it accepts, what it says about what it does not, and that offsets stay inside. */
/* SPDX-License-Identifier: MIT */
/* links: boot/ini.c */
#include "boot/ini.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX 8

static char *text;
static struct boot_setting setting[MAX];
static uint32_t count;
static char error[INI_ERROR_MAX];

/* The text lives in a heap block of exactly its size, so that the sanitizer sees every byte too many. */
static int parse_bytes(const char *bytes, uint32_t size)
{
	free(text);
	text = malloc(size + 1);
	assert_non_null(text);
	memcpy(text, bytes, size);
	return ini_parse(text, size, setting, MAX, &count, error);
}

static int parse(const char *s)
{
	return parse_bytes(s, (uint32_t)strlen(s));
}

static void expect(unsigned i, uint32_t line, const char *section, const char *key, const char *value)
{
	assert_true(i < count);
	assert_int_equal(setting[i].line, line);
	assert_string_equal(text + setting[i].section, section);
	assert_string_equal(text + setting[i].key, key);
	assert_string_equal(text + setting[i].value, value);
}

static void expect_error(const char *s, const char *message)
{
	assert_int_equal(parse(s), -1);
	assert_string_equal(error, message);
}

static void test_plain(void **state)
{
	(void)state;
	assert_int_equal(parse("# comment\n[hypervisor]\nlog = debug\n\n; more\n[vm linux]\n  kernel=vmlinuz \n"), 0);
	assert_int_equal(count, 4);
	expect(0, 2, "hypervisor", "", "");
	expect(1, 3, "hypervisor", "log", "debug");
	expect(2, 6, "vm linux", "", "");
	expect(3, 7, "vm linux", "kernel", "vmlinuz");
}

static void test_no_newline_at_end(void **state)
{
	(void)state;
	assert_int_equal(parse("[a]\nk = v"), 0);
	expect(1, 2, "a", "k", "v");
	assert_int_equal(parse("[a]\nk ="), 0);
	expect(1, 2, "a", "k", "");
	assert_int_equal(parse("[a]"), 0);
	expect(0, 1, "a", "", "");
}

static void test_dos_file(void **state)
{
	(void)state;
	assert_int_equal(parse("\xef\xbb\xbf[a]\r\nk = v w\r\n"), 0);
	assert_int_equal(count, 2);
	expect(1, 2, "a", "k", "v w");
}

static void test_section_names_are_normalised(void **state)
{
	(void)state;
	assert_int_equal(parse("  [ \t vm \t  a-b.c_9\t]\t\nk=1\n[vm  x]\n"), 0);
	assert_int_equal(count, 3);
	expect(0, 1, "vm a-b.c_9", "", "");
	expect(1, 2, "vm a-b.c_9", "k", "1");
	expect(2, 3, "vm x", "", "");
}

static void test_empty_sections(void **state)
{
	(void)state;
	assert_int_equal(parse("[a]\n\n[b]\nk=1\n[c]\n# end\n"), 0);
	assert_int_equal(count, 4);
	expect(0, 1, "a", "", "");
	expect(1, 3, "b", "", "");
	expect(2, 4, "b", "k", "1");
	expect(3, 5, "c", "", "");
}

static void test_values(void **state)
{
	(void)state;
	assert_int_equal(parse("[a]\na = \" x y \"\nb=\"\"\nc = console=ttyS0 x=\"1 2\" # ; no comment\nd\t=\t1\t\n"),
			 0);
	assert_int_equal(count, 5);
	expect(1, 2, "a", "a", " x y ");
	expect(2, 3, "a", "b", "");
	expect(3, 4, "a", "c", "console=ttyS0 x=\"1 2\" # ; no comment");
	expect(4, 5, "a", "d", "1");
}

static void test_nothing(void **state)
{
	(void)state;
	assert_int_equal(parse(""), 0);
	assert_int_equal(count, 0);
	assert_int_equal(parse("\n\n# only this\n"), 0);
	assert_int_equal(count, 0);
	assert_int_equal(parse("\xef\xbb\xbf"), 0);
	assert_int_equal(count, 0);
}

static void test_errors(void **state)
{
	(void)state;
	expect_error("[a]\nhello\n", "line 2: found \"hello\", expected `[section]` or `key = value`");
	expect_error("k = v", "line 1: found \"k = v\", expected a section such as [hypervisor] before the first key");
	expect_error("[a", "line 1: found \"[a\", expected a closing ] at the end of the line");
	expect_error("[a] b", "line 1: found \"[a] b\", expected a closing ] at the end of the line");
	expect_error("[", "line 1: found \"[\", expected a closing ] at the end of the line");
	expect_error("\n[ ]",
		     "line 2: found \"[]\", expected a name between the brackets, such as [hypervisor] or [vm linux]");
	expect_error("[a[b]", "line 1: found \"[a[b]\", expected letters, digits, '_', '-', '.' between the brackets");
	expect_error("[a]\n = v", "line 2: found \"= v\", expected a key before the =");
	expect_error("[a]\nk 2 = v", "line 2: found \"k 2 \", expected a key of letters, digits, '_', '-', '.'");
	expect_error("[a]\nk = \"v", "line 2: found \"\"v\", expected a closing \" at the end of the value");
	expect_error("[a]\nk = \"", "line 2: found \"\"\", expected a closing \" at the end of the value");
	expect_error("[a]\nk = \"v\" w", "line 2: found \" w\", expected nothing after the closing \" of the value");
}

static void test_binary(void **state)
{
	(void)state;
	assert_int_equal(parse_bytes("[a]\n\0\x7f", 6), -1);
	assert_string_equal(
	    error, "line 2: found \"\\x00\\x7f\", expected plain text (a binary file, or UTF-16: save it as UTF-8)");
	expect_error("# \x1b[2J", "line 1: found \"\\x1b[2J\", expected plain text without control characters");
	expect_error("[a]\nk = a\rb\n", "line 2: found \"\\x0db\", expected plain text without control characters");
}

static void test_long_text_is_cut(void **state)
{
	char s[400];

	(void)state;
	memset(s, '\xe4', sizeof s - 1);
	s[sizeof s - 1] = '\0';
	assert_int_equal(parse(s), -1);
	assert_int_equal(strlen(error), INI_ERROR_MAX - 1);
	memset(s, 'x', sizeof s - 1);
	expect_error(s, "line 1: found \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...\", "
			"expected `[section]` or `key = value`");
}

static void test_too_many(void **state)
{
	(void)state;
	assert_int_equal(parse("[a]\nk=1\nk=2\nk=3\nk=4\nk=5\nk=6\nk=7\n"), 0);
	assert_int_equal(count, MAX);
	expect_error("[a]\nk=1\nk=2\nk=3\nk=4\nk=5\nk=6\nk=7\nk=8\n",
		     "line 9: found one section or setting more than the 8 expected at most");
	assert_int_equal(count, MAX);
	assert_int_equal(parse("[a]\nk=1\nk=2\nk=3\nk=4\nk=5\nk=6\nk=7\n[b]\n"), -1);
}

/* What the loader reads files by. */
static void test_settings_that_name_files(void **state)
{
	static const struct {
		const char *key, *value;
		uint32_t length;
	} each[] = {
	    {"kernel", "\\vireo\\a b", 10},
	    {"initrd", "x", 1},
	    {"module", "m.bin first module", 5},
	    {"module", "m.bin\targs", 5},
	    {"disk", "a.img", 5},
	    {"disk", "a.img overlay 1G serial=x", 5},
	    {"disk", "memory.img read-only", 10},
	    {"disk", "\\memory", 7},
	    {"disk", "memor", 5},
	    {"disk", "memory 1G", 0},
	    {"disk", "memory", 0},
	    {"disk", "", 0},
	    {"module", "memory 1G", 6},
	    {"memory", "1G", 0},
	    {"cmdline", "root=/dev/vda", 0},
	    {"disks", "a.img", 0},
	    {"dis", "a.img", 0},
	    {"kernel", "", 0},
	    {"", "", 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof each / sizeof each[0]; i++)
		assert_int_equal(ini_path_length(each[i].key, each[i].value), each[i].length);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_plain),	   cmocka_unit_test(test_no_newline_at_end),
	    cmocka_unit_test(test_dos_file),	   cmocka_unit_test(test_section_names_are_normalised),
	    cmocka_unit_test(test_empty_sections), cmocka_unit_test(test_values),
	    cmocka_unit_test(test_nothing),	   cmocka_unit_test(test_errors),
	    cmocka_unit_test(test_binary),	   cmocka_unit_test(test_long_text_is_cut),
	    cmocka_unit_test(test_too_many),	   cmocka_unit_test(test_settings_that_name_files),
	};
	int result = cmocka_run_group_tests(tests, NULL, NULL);

	free(text);
	return result;
}
