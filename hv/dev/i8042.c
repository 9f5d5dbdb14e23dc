/*
 * The keyboard controller and its keyboard, see i8042.h. Three places hold bytes for port 0x60: the output buffer, the
 * keyboard's replies and its key presses; the buffer is filled from them when it is empty, and each filling is an edge
 * on IRQ 1. Not handled: scan code set 3, key repeat, a mouse. IBM PS/2 Technical Reference.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/dev/i8042.h"

#include "hv/dev/byte_port.h"
#include "hv/lib/string.h"

#define PORT_DATA    0x60
#define PORT_COMMAND 0x64
#define PORT_A	     0x92

/* Status, port 0x64. */
#define STATUS_FULL	0x01
#define STATUS_SYSTEM	0x04
#define STATUS_COMMAND	0x08
#define STATUS_UNLOCKED 0x10
#define STATUS_AUX	0x20

/* Command byte. */
#define MODE_IRQ	0x01
#define MODE_SYSTEM	0x04
#define MODE_KEY_OFF	0x10
#define MODE_AUX_OFF	0x20
#define MODE_TRANSLATE	0x40
#define MODE_AFTER_BIOS (MODE_TRANSLATE | MODE_AUX_OFF | MODE_SYSTEM | MODE_IRQ)

/* Output port. */
#define OUT_NO_RESET 0x01
#define OUT_A20	     0x02
#define OUT_FULL     0x10

/* Controller commands that wait for a byte, beside 0x60-0x7f. */
#define CMD_WRITE_OUTPUT_PORT 0xD1
#define CMD_KEYBOARD_LOOP     0xD2
#define CMD_AUX_LOOP	      0xD3
#define CMD_AUX_WRITE	      0xD4

#define AUX_CLOCK_LOW 0x01 /* answer of the aux interface test: nothing is plugged in */

/* What the keyboard says. */
#define KEY_ACK	     0xFA
#define KEY_RESEND   0xFE
#define KEY_TEST_OK  0xAA
#define KEY_RELEASE  0xF0 /* prefix in set 2 */
#define SET1_RELEASE 0x80

/* Set 1 numbers the keys of the first keyboard row by row; this gives the set-2 code of each. */
static const uint8_t set2_of[] = {
    0x00, 0x76, 0x16, 0x1E, 0x26, 0x25, 0x2E, 0x36, 0x3D, 0x3E, 0x46, 0x45, 0x4E, 0x55, 0x66, /* Esc 1 .. Backspace */
    0x0D, 0x15, 0x1D, 0x24, 0x2D, 0x2C, 0x35, 0x3C, 0x43, 0x44, 0x4D, 0x54, 0x5B, 0x5A,	      /* Tab Q .. Enter */
    0x14, 0x1C, 0x1B, 0x23, 0x2B, 0x34, 0x33, 0x3B, 0x42, 0x4B, 0x4C, 0x52, 0x0E,	      /* Ctrl A .. ` */
    0x12, 0x5D, 0x1A, 0x22, 0x21, 0x2A, 0x32, 0x31, 0x3A, 0x41, 0x49, 0x4A, 0x59,	      /* Shift \ Z .. Shift */
    0x7C, 0x11, 0x29,									      /* keypad *, Alt, space */
};

/* The same keys' characters on a US keyboard; '\0' where a key makes none. */
static const char plain[] = "\0\0331234567890-=\b\tqwertyuiop[]\n\0asdfghjkl;'`\0\\zxcvbnm,./\0\0\0 ";
static const char shifted[] = "\0\0!@#$%^&*()_+\0\0QWERTYUIOP{}\0\0ASDFGHJKL:\"~\0|ZXCVBNM<>?\0\0\0";

#define SET1_CTRL  0x1D
#define SET1_SHIFT 0x2A

static void fill(struct i8042 *kbc, uint8_t byte, bool aux)
{
	kbc->output = byte;
	kbc->full = true;
	kbc->from_aux = aux;
	if (kbc->ram[0] & MODE_IRQ && !aux) {
		irq_line_set(&kbc->irq, false);
		irq_line_set(&kbc->irq, true);
	}
}

static uint8_t set1_of(uint8_t set2)
{
	if (set2 == 0x83)
		return 0x41; /* F7; also the second byte of the keyboard's ID */
	for (unsigned i = 0; i < ARRAY_SIZE(set2_of); i++)
		if (set2_of[i] == set2)
			return (uint8_t)i;
	return set2;
}

/* One byte of the keyboard goes into the output buffer; a release prefix only changes the byte that follows. */
static void fill_from_keyboard(struct i8042 *kbc, uint8_t byte)
{
	if (!(kbc->ram[0] & MODE_TRANSLATE) && kbc->scan_set == 2) {
		kbc->breaking = false;
		fill(kbc, byte, false);
	} else if (byte == KEY_RELEASE) {
		kbc->breaking = true;
	} else {
		fill(kbc, set1_of(byte) | (kbc->breaking ? SET1_RELEASE : 0), false);
		kbc->breaking = false;
	}
}

static void pump(struct i8042 *kbc)
{
	while (!kbc->full && !(kbc->ram[0] & MODE_KEY_OFF)) {
		if (kbc->reply_count) {
			uint8_t byte = kbc->reply[kbc->reply_first];

			kbc->reply_first = (kbc->reply_first + 1) % I8042_REPLIES;
			kbc->reply_count--;
			fill_from_keyboard(kbc, byte);
		} else if (kbc->key_count && kbc->scanning) {
			uint8_t byte = kbc->key[kbc->key_first];

			kbc->key_first = (kbc->key_first + 1) % I8042_KEYS;
			kbc->key_count--;
			fill_from_keyboard(kbc, byte);
		} else {
			return;
		}
	}
}

static void reply(struct i8042 *kbc, uint8_t byte)
{
	kbc->last_sent = byte;
	if (kbc->reply_count == I8042_REPLIES)
		return; /* a guest that sends commands and never reads loses answers */
	kbc->reply[(kbc->reply_first + kbc->reply_count) % I8042_REPLIES] = byte;
	kbc->reply_count++;
}

static void keyboard_defaults(struct i8042 *kbc, bool scanning)
{
	kbc->scan_set = 2;
	kbc->scanning = scanning;
	kbc->key_count = 0;
	kbc->breaking = false;
}

/* The byte that belongs to the keyboard command before it. LEDs and repeat rate are accepted and shown nowhere. */
static void keyboard_parameter(struct i8042 *kbc, uint8_t command, uint8_t value)
{
	if (command == 0xF0 && value > 2) {
		reply(kbc, KEY_RESEND);
		return;
	}
	reply(kbc, KEY_ACK);
	if (command == 0xF0 && value == 0)
		reply(kbc, kbc->scan_set);
	else if (command == 0xF0)
		kbc->scan_set = value;
}

static void keyboard_command(struct i8042 *kbc, uint8_t command)
{
	switch (command) {
	case 0xED: /* LEDs */
	case 0xF0: /* scan code set */
	case 0xF3: /* repeat rate and delay */
		kbc->key_pending = command;
		reply(kbc, KEY_ACK);
		return;
	case 0xEE: /* echo */
		reply(kbc, 0xEE);
		return;
	case 0xF2: /* identify: MF2 keyboard */
		reply(kbc, KEY_ACK);
		reply(kbc, 0xAB);
		reply(kbc, 0x83);
		return;
	case 0xF4: /* enable */
		kbc->scanning = true;
		kbc->key_count = 0;
		reply(kbc, KEY_ACK);
		return;
	case 0xF5: /* defaults and disable */
	case 0xF6: /* defaults */
		keyboard_defaults(kbc, command == 0xF6);
		reply(kbc, KEY_ACK);
		return;
	case 0xFE:
		reply(kbc, kbc->last_sent);
		return;
	case 0xFF: /* reset and self-test */
		keyboard_defaults(kbc, true);
		reply(kbc, KEY_ACK);
		reply(kbc, KEY_TEST_OK);
		return;
	default:
		reply(kbc, KEY_RESEND);
	}
}

static void keyboard_write(struct i8042 *kbc, uint8_t value)
{
	uint8_t command = kbc->key_pending;

	kbc->key_pending = 0;
	kbc->ram[0] &= (uint8_t)~MODE_KEY_OFF; /* sending to the keyboard opens its interface */
	if (command && value < 0xED)
		keyboard_parameter(kbc, command, value);
	else
		keyboard_command(kbc, value);
}

static void request_reset(struct i8042 *kbc)
{
	kbc->platform->request(kbc->platform->ctx, PLATFORM_RESET, 0);
}

static void set_output_port(struct i8042 *kbc, uint8_t value)
{
	kbc->output_port = (value & OUT_A20) | OUT_NO_RESET;
	if (!(value & OUT_NO_RESET))
		request_reset(kbc);
}

/* The interrupt enable bit gates a byte that already waits. */
static void set_mode(struct i8042 *kbc, uint8_t value)
{
	bool was_on = kbc->ram[0] & MODE_IRQ;

	kbc->ram[0] = value;
	if (was_on != (bool)(value & MODE_IRQ))
		irq_line_set(&kbc->irq, value & MODE_IRQ && kbc->full && !kbc->from_aux);
}

static void controller_parameter(struct i8042 *kbc, uint8_t command, uint8_t value)
{
	if (command == 0x60)
		set_mode(kbc, value);
	else if (command > 0x60 && command < 0x80)
		kbc->ram[command - 0x60] = value;
	else if (command == CMD_WRITE_OUTPUT_PORT)
		set_output_port(kbc, value);
	else if (command == CMD_KEYBOARD_LOOP || command == CMD_AUX_LOOP)
		fill(kbc, value, false); /* no aux channel: its loop comes back as keyboard data */
	else
		fill(kbc, KEY_RESEND, true); /* CMD_AUX_WRITE: nobody answers there */
}

static uint8_t output_port(const struct i8042 *kbc)
{
	return kbc->output_port | (kbc->full ? OUT_FULL : 0);
}

static void controller_command(struct i8042 *kbc, uint8_t command)
{
	kbc->pending = 0;
	if (command >= 0x20 && command < 0x40) {
		fill(kbc, kbc->ram[command - 0x20], false);
		return;
	}
	if (command >= 0x60 && command < 0x80) {
		kbc->pending = command;
		return;
	}
	if (command >= 0xF0) { /* pulse the output lines whose bits are 0 */
		if (!(command & OUT_NO_RESET))
			request_reset(kbc);
		return;
	}
	switch (command) {
	case 0xA4: /* is there a password? */
		fill(kbc, 0xF1, false);
		return;
	case 0xA7:
		kbc->ram[0] |= MODE_AUX_OFF;
		return;
	case 0xA8:
		kbc->ram[0] &= (uint8_t)~MODE_AUX_OFF;
		return;
	case 0xA9:
		fill(kbc, AUX_CLOCK_LOW, false);
		return;
	case 0xAA: /* self-test */
		kbc->ram[0] |= MODE_SYSTEM;
		fill(kbc, 0x55, false);
		return;
	case 0xAB: /* keyboard interface test: good */
		fill(kbc, 0x00, false);
		return;
	case 0xAD:
		kbc->ram[0] |= MODE_KEY_OFF;
		return;
	case 0xAE:
		kbc->ram[0] &= (uint8_t)~MODE_KEY_OFF;
		return;
	case 0xC0: /* input port: not locked */
		fill(kbc, 0x80, false);
		return;
	case 0xD0:
		fill(kbc, output_port(kbc), false);
		return;
	case CMD_WRITE_OUTPUT_PORT:
	case CMD_KEYBOARD_LOOP:
	case CMD_AUX_LOOP:
	case CMD_AUX_WRITE:
		kbc->pending = command;
		return;
	case 0xDD: /* A20 off */
	case 0xDF: /* A20 on */
		set_output_port(kbc, OUT_NO_RESET | (command & OUT_A20));
		return;
	default:
		return; /* unknown commands are ignored, as the chip does */
	}
}

static uint8_t read_status(const struct i8042 *kbc)
{
	return STATUS_UNLOCKED | (kbc->full ? STATUS_FULL : 0) | (kbc->ram[0] & MODE_SYSTEM ? STATUS_SYSTEM : 0) |
	       (kbc->command_last ? STATUS_COMMAND : 0) | (kbc->full && kbc->from_aux ? STATUS_AUX : 0);
}

static uint8_t read_data(struct i8042 *kbc)
{
	uint8_t value = kbc->output;

	kbc->full = false;
	kbc->from_aux = false;
	irq_line_set(&kbc->irq, false);
	pump(kbc);
	return value;
}

static uint8_t read_port(void *dev, uint16_t port)
{
	struct i8042 *kbc = dev;

	if (port == PORT_COMMAND)
		return read_status(kbc);
	if (port == PORT_A)
		return kbc->output_port & OUT_A20;
	return read_data(kbc);
}

static void write_data(struct i8042 *kbc, uint8_t value)
{
	uint8_t command = kbc->pending;

	kbc->pending = 0;
	kbc->command_last = false;
	if (command)
		controller_parameter(kbc, command, value);
	else
		keyboard_write(kbc, value);
}

static void write_port(void *dev, uint16_t port, uint8_t value)
{
	struct i8042 *kbc = dev;

	if (port == PORT_A) { /* bit 0: reset, bit 1: A20 */
		kbc->output_port = (value & OUT_A20) | OUT_NO_RESET;
		if (value & 1)
			request_reset(kbc);
	} else if (port == PORT_COMMAND) {
		kbc->command_last = true;
		controller_command(kbc, value);
	} else {
		write_data(kbc, value);
	}
	pump(kbc);
}

static uint64_t i8042_read(void *dev, uint64_t addr, unsigned size)
{
	return byte_port_read(dev, addr, size, read_port);
}

static void i8042_write(void *dev, uint64_t addr, unsigned size, uint64_t value)
{
	byte_port_write(dev, addr, size, value, write_port);
}

int i8042_init(struct i8042 *kbc, struct bus *pio, struct irq_line irq, const struct platform *platform)
{
	static const uint16_t port[] = {PORT_DATA, PORT_COMMAND, PORT_A};
	struct bus_range range = {.count = 1, .name = "i8042", .dev = kbc, .read = i8042_read, .write = i8042_write};
	int err = 0;

	memset(kbc, 0, sizeof(*kbc));
	kbc->irq = irq;
	kbc->platform = platform;
	i8042_reset(kbc);
	for (unsigned i = 0; i < ARRAY_SIZE(port) && !err; i++) {
		range.first = port[i];
		err = bus_add(pio, &range);
	}
	return err;
}

/* As a BIOS leaves it, since no BIOS runs: keyboard on, translated, with its interrupt. */
void i8042_reset(struct i8042 *kbc)
{
	struct irq_line irq = kbc->irq;
	const struct platform *platform = kbc->platform;

	memset(kbc, 0, sizeof(*kbc));
	kbc->irq = irq;
	kbc->platform = platform;
	kbc->ram[0] = MODE_AFTER_BIOS;
	kbc->output_port = OUT_NO_RESET | OUT_A20;
	keyboard_defaults(kbc, true);
	irq_line_set(&kbc->irq, false);
}

static void put_key(struct i8042 *kbc, uint8_t set1, bool release)
{
	if (release)
		kbc->key[(kbc->key_first + kbc->key_count++) % I8042_KEYS] = KEY_RELEASE;
	kbc->key[(kbc->key_first + kbc->key_count++) % I8042_KEYS] = set2_of[set1];
}

static unsigned find_key(const char *row, size_t count, char c)
{
	for (unsigned i = 1; i < count; i++)
		if (row[i] == c)
			return i;
	return 0;
}

static void press(struct i8042 *kbc, unsigned key, bool shift, bool ctrl)
{
	if (ctrl)
		put_key(kbc, SET1_CTRL, false);
	if (shift)
		put_key(kbc, SET1_SHIFT, false);
	put_key(kbc, (uint8_t)key, false);
	put_key(kbc, (uint8_t)key, true);
	if (shift)
		put_key(kbc, SET1_SHIFT, true);
	if (ctrl)
		put_key(kbc, SET1_CTRL, true);
	pump(kbc);
}

bool i8042_type(struct i8042 *kbc, uint8_t ascii)
{
	uint8_t c = ascii == '\r' ? '\n' : ascii == 127 ? '\b' : ascii;
	bool ctrl = c < 32 && !(c && memchr("\b\t\n\033", c, 4));
	bool shift;
	unsigned key;

	if (!kbc->scanning || c > 127)
		return true; /* the key is lost, as on a keyboard that is off */
	if (I8042_KEYS - kbc->key_count < I8042_KEY_BYTES)
		return false;
	if (ctrl)
		c = c >= 1 && c <= 26 ? c + 'a' - 1 : c + '@';
	key = find_key(plain, sizeof(plain) - 1, (char)c);
	shift = key == 0;
	if (shift)
		key = find_key(shifted, sizeof(shifted) - 1, (char)c);
	if (key)
		press(kbc, key, shift, ctrl);
	return true;
}
