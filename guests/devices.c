/*
 * Lesson 9: the chips of a PC through their ports: what is written is read back, and each does its own self-test.
 * i8042 (PS/2 Technical Reference), MC146818, PC16550D, 8259A, VGA's CRT controller, PM timer's neighbours.
 */
/* SPDX-License-Identifier: MIT */
#include "guests/lib/pc.h"

#define COM1 0x3f8

/* --- i8042: command port 0x64 (status on reading), data port 0x60 ------------------------------------------------- */

static bool kbc_has_byte(void)
{
	for (unsigned i = 0; i < 1000; i++) {
		if (in8(0x64) & 1)
			return true;
		if (i > 10)
			wait_ms(1);
	}
	return false;
}

static unsigned kbc_answer(void)
{
	return kbc_has_byte() ? in8(0x60) : 0x100;
}

static void kbc_write(uint16_t port, uint8_t byte)
{
	for (unsigned i = 0; i < 100000 && in8(0x64) & 2; i++)
		;
	out8(port, byte);
}

static void test_keyboard(void)
{
	uint8_t mode;

	print("i8042\n");
	kbc_write(0x64, 0xad); /* keyboard off, so that nothing comes in between */
	while (in8(0x64) & 1)
		in8(0x60);
	kbc_write(0x64, 0xaa);
	expect_equal("controller's self-test", kbc_answer(), 0x55);
	kbc_write(0x64, 0xab);
	expect_equal("keyboard line's test", kbc_answer(), 0);
	kbc_write(0x64, 0x20);
	mode = (uint8_t)kbc_answer();
	kbc_write(0x64, 0x60);
	kbc_write(0x60, mode & 0xbc); /* no interrupts, no translation */
	kbc_write(0x64, 0x20);
	expect_equal("command byte reads back", kbc_answer(), mode & 0xbc);
	kbc_write(0x64, 0xae);
	kbc_write(0x60, 0xff);
	expect_equal("keyboard's reset is acknowledged", kbc_answer(), 0xfa);
	expect_equal("and passes", kbc_answer(), 0xaa);
	kbc_write(0x60, 0xee);
	expect_equal("keyboard echoes", kbc_answer(), 0xee);
	kbc_write(0x64, 0x60);
	kbc_write(0x60, mode);
}

/* --- RTC ---------------------------------------------------------------------------------------------------------- */

static uint8_t cmos_read(uint8_t reg)
{
	out8(0x70, reg);
	return in8(0x71);
}

static void cmos_write(uint8_t reg, uint8_t value)
{
	out8(0x70, reg);
	out8(0x71, value);
}

static unsigned from_bcd(uint8_t v)
{
	return (v >> 4) * 10u + (v & 15);
}

static void test_rtc(void)
{
	uint8_t old = cmos_read(0x70);

	print("RTC\n");
	expect(cmos_read(0xd) & 0x80, "battery is good");
	while (cmos_read(0xa) & 0x80) /* an update is in progress */
		;
	expect_between("seconds", from_bcd(cmos_read(0)), 0, 59);
	expect_between("minutes", from_bcd(cmos_read(2)), 0, 59);
	expect_between("hours", from_bcd(cmos_read(4)), 0, 23);
	expect_between("day", from_bcd(cmos_read(7)), 1, 31);
	expect_between("month", from_bcd(cmos_read(8)), 1, 12);
	cmos_write(0x70, 0xa5);
	expect_equal("CMOS memory reads back", cmos_read(0x70), 0xa5);
	cmos_write(0x70, old);
}

/* --- UART: in loopback what is sent comes back, and modem outputs are its inputs
 * -------------------------------------- */

static void test_uart(void)
{
	bool same = true;

	print("16550A\n");
	out8(COM1 + 7, 0x5a);
	expect_equal("scratch register", in8(COM1 + 7), 0x5a);
	out8(COM1 + 3, 0x83);
	out8(COM1, 0x34);
	out8(COM1 + 1, 0x12);
	expect_equal("divisor latch", in8(COM1) | in8(COM1 + 1) << 8, 0x1234);
	out8(COM1, 1);
	out8(COM1 + 1, 0);
	out8(COM1 + 3, 3);
	out8(COM1 + 2, 7); /* FIFOs on and empty */
	expect_equal("FIFOs are on, in IIR", in8(COM1 + 2) & 0xc0, 0xc0);
	out8(COM1 + 4, 0x1f);
	expect_equal("loopback: modem status", in8(COM1 + 6) & 0xf0, 0xf0);
	out8(COM1 + 4, 0x10);
	expect_equal("loopback: outputs low, modem status", in8(COM1 + 6) & 0xf0, 0);
	for (unsigned i = 0; i < 256; i += 5) {
		out8(COM1, (uint8_t)i);
		for (unsigned n = 0; n < 1000 && !(in8(COM1 + 5) & 1); n++)
			;
		same &= in8(COM1) == i;
	}
	expect(same, "loopback: bytes come back");
	expect_equal("line status: all sent, nothing received", in8(COM1 + 5) & 0x61, 0x60);
	out8(COM1 + 4, 3);
}

/* --- 8259 and VGA
 * ----------------------------------------------------------------------------------------------------- */

static void test_pic(void)
{
	print("8259\n");
	pic_init();
	pic_set_mask(0xa55a);
	expect_equal("first mask register", in8(0x21), 0x5a);
	expect_equal("second mask register", in8(0xa1), 0xa5);
	pic_set_mask(0xffff);
	out8(0x20, 0x0b);
	expect_equal("nothing in service", in8(0x20), 0);
}

static uint8_t crtc_read(uint8_t reg)
{
	out8(0x3d4, reg);
	return in8(0x3d5);
}

static void crtc_write(uint8_t reg, uint8_t value)
{
	out8(0x3d4, reg);
	out8(0x3d5, value);
}

static void test_vga(void)
{
	volatile uint16_t *text = (uint16_t *)0xb8000;

	print("VGA\n");
	crtc_write(0xe, 0x07);
	crtc_write(0xf, 0x80);
	expect_equal("cursor position reads back", crtc_read(0xe) << 8 | crtc_read(0xf), 0x780);
	out8(0x3d4, 0xe);
	expect_equal("index reads back", in8(0x3d4), 0xe);
	text[24 * 80] = 0x0700 | '*';
	expect_equal("text memory reads back", text[24 * 80], 0x0700 | '*');
}

static void test_nobody(void)
{
	print("no device\n");
	expect_equal("port 0x300 reads ones", in8(0x300), 0xff);
	expect_equal("port 0x300, 32 bits", in32(0x300), 0xffffffff);
	expect_equal("port 0xe9 tells of the debug console", in8(0xe9), 0xe9);
}

void guest_main(const struct multiboot_info *info)
{
	(void)info;
	test_keyboard();
	test_rtc();
	test_uart();
	test_pic();
	test_vga();
	test_nobody();
	guest_finish();
}
