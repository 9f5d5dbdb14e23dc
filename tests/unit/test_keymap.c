/* The keyboard's scan codes to a terminal's bytes: every key of a US keyboard, modifiers, locks, prefixes, garbage. */
/* SPDX-License-Identifier: MIT */
/* links: drivers/keymap.c */
#include "drivers/keymap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define CTRL	    0x1d
#define LEFT_SHIFT  0x2a
#define RIGHT_SHIFT 0x36
#define ALT	    0x38
#define CAPS	    0x3a
#define NUM	    0x45
#define UP(key)	    ((key) | 0x80)

static struct keymap map;
static char typed[200];

static int setup(void **state)
{
	(void)state;
	map = (struct keymap){0};
	return 0;
}

/* What these codes type, as a string: they type no zero unless the test asks for the length. */
static size_t feed(const uint8_t *codes, size_t count)
{
	size_t length = 0;

	for (size_t i = 0; i < count; i++) {
		assert_true(length + KEYMAP_MAX < sizeof(typed));
		length += keymap_decode(&map, codes[i], (uint8_t *)typed + length);
	}
	typed[length] = 0;
	return length;
}

#define expect(text, ...)                                                                                              \
	do {                                                                                                           \
		const uint8_t codes[] = {__VA_ARGS__};                                                                 \
		assert_int_equal(feed(codes, sizeof(codes)), sizeof(text) - 1);                                        \
		assert_memory_equal(typed, text, sizeof(text));                                                        \
	} while (0)

/* Presses and releases all keys from `first` to `last`. */
static void type_row(uint8_t first, uint8_t last, const char *text)
{
	uint8_t codes[200];
	size_t count = 0;

	for (uint8_t key = first; key <= last; key++) {
		codes[count++] = key;
		codes[count++] = UP(key);
	}
	feed(codes, count);
	assert_string_equal(typed, text);
}

static void rows(void **state)
{
	(void)state;
	type_row(0x01, 0x0e,
		 "\033"
		 "1234567890-=\177");
	type_row(0x0f, 0x1c, "\tqwertyuiop[]\r");
	type_row(0x1e, 0x29, "asdfghjkl;'`");
	type_row(0x2b, 0x35, "\\zxcvbnm,./");
	expect(" \\", 0x39, UP(0x39), 0x56, UP(0x56));
}

static void rows_with_shift(void **state)
{
	(void)state;
	expect("", LEFT_SHIFT);
	type_row(0x01, 0x0e, "\033!@#$%^&*()_+\177");
	type_row(0x10, 0x1c, "QWERTYUIOP{}\r");
	type_row(0x1e, 0x29, "ASDFGHJKL:\"~");
	type_row(0x2b, 0x35, "|ZXCVBNM<>?");
	expect(" |\033[Z", 0x39, 0x56, 0x0f);
}

static void either_shift_holds(void **state)
{
	(void)state;
	expect("AAa", LEFT_SHIFT, RIGHT_SHIFT, 0x1e, UP(LEFT_SHIFT), 0x1e, UP(RIGHT_SHIFT), 0x1e);
}

static void caps_lock_changes_letters_only(void **state)
{
	(void)state;
	expect("A1[", CAPS, UP(CAPS), 0x1e, 0x02, 0x1a);
	expect("a!", LEFT_SHIFT, 0x1e, 0x02, UP(LEFT_SHIFT));
	expect("a", CAPS, UP(CAPS), 0x1e);
	expect("A", CAPS, CAPS, CAPS, CAPS, UP(CAPS), 0x1e); /* it repeats while held */
}

static void control_characters(void **state)
{
	(void)state;
	expect("\001\032\003", CTRL, 0x1e, 0x2c, 0x2e);
	expect("\033\034\035", 0x1a, 0x2b, 0x1b);					/* [ \ ] */
	expect("\0\033\034\035\036\037\177", 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09); /* 2 to 8 */
	expect("\0\037\r\t\1771;", 0x39, 0x35, 0x1c, 0x0f, 0x0e, 0x02, 0x27);
	expect("\0\036\037\001\177", LEFT_SHIFT, 0x03, 0x07, 0x0c, 0x1e, 0x35, UP(LEFT_SHIFT)); /* @ ^ _ A ? */
	expect("\001", CAPS, UP(CAPS), 0x1e);
	expect("A", UP(CTRL), 0x1e);
}

static void right_ctrl_and_alt(void **state)
{
	(void)state;
	expect("\003c", 0xe0, CTRL, 0x2e, 0xe0, UP(CTRL), 0x2e);
	expect("\033cc", 0xe0, ALT, 0x2e, 0xe0, UP(ALT), 0x2e);
	expect("\003\003c", CTRL, 0xe0, CTRL, 0x2e, UP(CTRL), 0x2e, 0xe0, UP(CTRL), 0x2e);
}

static void alt_is_escape(void **state)
{
	(void)state;
	expect("\033b\033\003\033B", ALT, 0x30, CTRL, 0x2e, UP(CTRL), LEFT_SHIFT, 0x30, UP(LEFT_SHIFT));
	expect("\033\033[A\033\033[15~b", 0xe0, 0x48, 0x3f, UP(ALT), 0x30);
}

static void cursor_block(void **state)
{
	(void)state;
	expect("\033[A\033[B\033[C\033[D", 0xe0, 0x48, 0xe0, 0x50, 0xe0, 0x4d, 0xe0, 0x4b);
	expect("\033[H\033[F\033[2~\033[3~", 0xe0, 0x47, 0xe0, 0x4f, 0xe0, 0x52, 0xe0, 0x53);
	expect("\033[5~\033[6~", 0xe0, 0x49, 0xe0, 0x51);
	expect("", 0xe0, UP(0x48), 0xe0, UP(0x53));
}

/* With Num Lock on keyboards wrap the cursor keys into a Shift that nobody pressed, or released. */
static void invented_shifts_are_no_keys(void **state)
{
	(void)state;
	expect("\033[Aa", 0xe0, LEFT_SHIFT, 0xe0, 0x48, 0x1e, 0xe0, UP(0x48), 0xe0, UP(LEFT_SHIFT));
	expect("\033[AA", LEFT_SHIFT, 0xe0, UP(LEFT_SHIFT), 0xe0, 0x48, 0x1e, UP(LEFT_SHIFT));
	expect("\033[AA", RIGHT_SHIFT, 0xe0, UP(RIGHT_SHIFT), 0xe0, 0x48, 0x1e, UP(RIGHT_SHIFT));
}

static void keypad(void **state)
{
	(void)state;
	type_row(0x47, 0x53, "789-456+1230.");
	expect("*/\r", 0x37, 0xe0, 0x35, 0xe0, 0x1c);
	expect("*/", LEFT_SHIFT, 0x37, 0xe0, 0x35);
	expect("\033[H-", 0x47, 0x4a);
	expect("", UP(LEFT_SHIFT), NUM, NUM, UP(NUM));
	expect("\033[H\033[A\033[5~-\033[D\033[E\033[C+", 0x47, 0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d, 0x4e);
	expect("\033[F\033[B\033[6~\033[2~\033[3~", 0x4f, 0x50, 0x51, 0x52, 0x53);
	expect("7", RIGHT_SHIFT, 0x47, UP(RIGHT_SHIFT));
	expect("7", NUM, UP(NUM), 0x47);
}

static void function_keys(void **state)
{
	(void)state;
	type_row(0x3b, 0x3e, "\033OP\033OQ\033OR\033OS");
	type_row(0x3f, 0x44, "\033[15~\033[17~\033[18~\033[19~\033[20~\033[21~");
	type_row(0x57, 0x58, "\033[23~\033[24~");
}

static void keys_without_meaning(void **state)
{
	(void)state;
	expect("a", 0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5, 0x1e); /* Pause is no Ctrl, no Num Lock */
	expect("7", 0x47);
	expect("a", 0xe0, 0x2a, 0xe0, 0x37, 0xe0, 0xb7, 0xe0, 0xaa, 0x1e);	       /* Print Screen */
	expect("a", 0x46, 0xc6, 0xe0, 0x46, 0xe0, 0xc6, 0x54, 0xd4, 0x1e);	       /* Scroll Lock, Break, SysRq */
	expect("a", 0xe0, 0x5b, 0xe0, 0xdb, 0xe0, 0x5c, 0xe0, 0x5d, 0xe0, 0x63, 0x1e); /* Windows, menu, wake */
	expect("a", 0xe0, 0x4a, 0xe0, 0x4e, 0xe0, 0x1e, 0x1e);			       /* no keys at all */
	expect("a", 0xfa, 0xfe, 0xee, 0xfc, 0xfd, 0x1e);			       /* answers to commands */
}

static void prefixes_in_a_row(void **state)
{
	(void)state;
	expect("\033[A", 0xe0, 0xe0, 0x48);
	expect("\033[A", 0xe1, 0xe0, 0x48);
	expect("a", 0xe0, 0xe1, 0x1e, 0x1e, 0x1e);
	expect("a", 0xe1, 0xe1, 0x1e, 0x1e, 0x1e);
}

static void lost_codes_release_all(void **state)
{
	(void)state;
	expect("a", LEFT_SHIFT, CTRL, ALT, 0xff, 0x1e);
	expect("a", LEFT_SHIFT, CTRL, ALT, 0x00, 0x1e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(rows, setup),
	    cmocka_unit_test_setup(rows_with_shift, setup),
	    cmocka_unit_test_setup(either_shift_holds, setup),
	    cmocka_unit_test_setup(caps_lock_changes_letters_only, setup),
	    cmocka_unit_test_setup(control_characters, setup),
	    cmocka_unit_test_setup(right_ctrl_and_alt, setup),
	    cmocka_unit_test_setup(alt_is_escape, setup),
	    cmocka_unit_test_setup(cursor_block, setup),
	    cmocka_unit_test_setup(invented_shifts_are_no_keys, setup),
	    cmocka_unit_test_setup(keypad, setup),
	    cmocka_unit_test_setup(function_keys, setup),
	    cmocka_unit_test_setup(keys_without_meaning, setup),
	    cmocka_unit_test_setup(prefixes_in_a_row, setup),
	    cmocka_unit_test_setup(lost_codes_release_all, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
