/*
 * i8042 and its keyboard: keyboard.h. The set-up does the least that makes keys arrive, since behind these ports may be
 * firmware that imitates them for a USB keyboard, and knows little more than what its own time's systems asked for. So:
 *  - no controller self-test (0xAA): it resets the controller, and some laptops' touchpads and lids with it;
 *  - no interface test, no keyboard reset (0xFF, up to 0.75 s), no scan code set, no lights: imitations are known to
 *    hang or to answer wrongly, and firmware has just used the keyboard, so all of this is done;
 *  - the mode byte is read, changed in the bits that matter and written, as every PC operating system does.
 */
/* SPDX-License-Identifier: MIT */
#include "drivers/keyboard.h"
#include "arch/x86/insn.h"
#include "arch/x86/tsc.h"
#include "drivers/keymap.h"

#define PORT_DATA    0x60
#define PORT_STATUS  0x64 /* read */
#define PORT_COMMAND 0x64 /* write */

#define STATUS_OUTPUT_FULL 0x01 /* a byte for us */
#define STATUS_INPUT_FULL  0x02 /* the controller has not taken our last byte yet */
#define STATUS_FROM_AUX	   0x20 /* the byte is the mouse's */
#define STATUS_NO_BUS	   0xff /* nobody drives the bus */

#define COMMAND_READ_MODE	 0x20
#define COMMAND_WRITE_MODE	 0x60
#define COMMAND_KEYBOARD_DISABLE 0xad
#define COMMAND_KEYBOARD_ENABLE	 0xae

#define MODE_KEYBOARD_IRQ 0x01
#define MODE_AUX_IRQ	  0x02
#define MODE_KEYBOARD_OFF 0x10
#define MODE_AUX_OFF	  0x20
#define MODE_TRANSLATE	  0x40 /* set 2, which keyboards speak, to set 1 */

#define KEYBOARD_SCAN 0xf4 /* keyboard command: send keys */
#define KEYBOARD_ACK  0xfa

#define POLL_US	  10
#define POLLS	  2500 /* 25 ms: a keyboard answers within 20 */
#define FLUSH_MAX 64   /* more bytes than any controller holds */

static bool present;
static struct keymap keymap;
static uint8_t typed[KEYMAP_MAX]; /* [typed_next, typed_count) are still to be handed out */
static size_t typed_next, typed_count;

/* The byte that waits, -1: none. *from_aux: it is the mouse's. */
static int read_byte(bool *from_aux)
{
	uint8_t status = inb(PORT_STATUS);

	if (status == STATUS_NO_BUS || !(status & STATUS_OUTPUT_FULL))
		return -1;
	*from_aux = status & STATUS_FROM_AUX;
	return inb(PORT_DATA);
}

static bool write_byte(uint16_t port, uint8_t byte)
{
	for (unsigned i = 0; i < POLLS; i++) {
		if (!(inb(PORT_STATUS) & STATUS_INPUT_FULL)) {
			outb(port, byte);
			return true;
		}
		tsc_delay_us(POLL_US);
	}
	return false;
}

static void flush(void)
{
	bool from_aux;

	for (unsigned i = 0; i < FLUSH_MAX && read_byte(&from_aux) >= 0; i++)
		tsc_delay_us(POLL_US);
}

/* The controller's or keyboard's next byte, -1: none came in time. */
static int wait_byte(void)
{
	bool from_aux = false;

	for (unsigned i = 0; i < POLLS; i++) {
		int byte = read_byte(&from_aux);

		if (byte >= 0 && !from_aux)
			return byte;
		tsc_delay_us(POLL_US);
	}
	return -1;
}

static int read_mode(void)
{
	if (!write_byte(PORT_COMMAND, COMMAND_KEYBOARD_DISABLE)) /* lest a key be taken for the answer */
		return -1;
	flush();
	return write_byte(PORT_COMMAND, COMMAND_READ_MODE) ? wait_byte() : -1;
}

/* The mouse is switched off: a byte of its that nobody fetches would block the keyboard's, they share one buffer. */
static bool write_mode(uint8_t mode)
{
	mode |= MODE_KEYBOARD_IRQ | MODE_TRANSLATE | MODE_AUX_OFF;
	mode &= (uint8_t) ~(MODE_KEYBOARD_OFF | MODE_AUX_IRQ);
	return write_byte(PORT_COMMAND, COMMAND_WRITE_MODE) && write_byte(PORT_DATA, mode);
}

/* Firmware may have told the keyboard to be quiet. No acknowledge, no harm: none may be plugged in yet. */
static void start_scanning(void)
{
	if (!write_byte(PORT_DATA, KEYBOARD_SCAN))
		return;
	for (unsigned i = 0; i < FLUSH_MAX; i++) {
		int answer = wait_byte();

		if (answer < 0 || answer == KEYBOARD_ACK)
			return;
	}
}

int keyboard_init(void)
{
	int mode;

	if (inb(PORT_STATUS) == STATUS_NO_BUS)
		return -E_NOENT;
	mode = read_mode();
	present = mode >= 0 && write_mode((uint8_t)mode);
	write_byte(PORT_COMMAND, COMMAND_KEYBOARD_ENABLE); /* also when we give up: as it was found */
	if (!present)
		return -E_NOENT;
	start_scanning();
	flush();
	return 0;
}

/* Scan codes until one types something. */
static void refill(void)
{
	typed_next = typed_count = 0;
	for (unsigned i = 0; i < FLUSH_MAX && !typed_count; i++) {
		bool from_aux;
		int code = read_byte(&from_aux);

		if (code < 0)
			return;
		if (!from_aux)
			typed_count = keymap_decode(&keymap, (uint8_t)code, typed);
	}
}

int keyboard_get(void)
{
	if (!present)
		return -1;
	if (typed_next == typed_count)
		refill();
	return typed_next < typed_count ? typed[typed_next++] : -1;
}
