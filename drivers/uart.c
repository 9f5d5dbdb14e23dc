/* 16550A at COM1: uart.h. Register names are the data sheet's. */
/* SPDX-License-Identifier: MIT */
#include "drivers/uart.h"
#include "arch/x86/insn.h"

#define COM1	   0x3f8
#define CLOCK	   115200 /* the divisor's input: 1.8432 MHz / 16 */
#define FIFO_SIZE  16
#define WAIT_POLLS 200000 /* a character takes 9,600 polls at most (9600 baud, 10 bits, 0.1 us a poll) */

/* register offsets; RBR, THR, IER give way to the divisor latch while LCR.DLAB is set */
enum { RBR = 0, THR = 0, DLL = 0, IER = 1, DLM = 1, IIR = 2, FCR = 2, LCR = 3, MCR = 4, LSR = 5, MSR = 6, SCR = 7 };

#define IER_RX	    0x01
#define IER_TX	    0x02
#define IIR_NONE    0x01 /* no interrupt pending */
#define IIR_FIFOS   0xc0 /* both set: a 16550A */
#define FCR_ON	    0x07 /* enable, reset both FIFOs, receive trigger at 1 byte */
#define LCR_8N1	    0x03
#define LCR_DLAB    0x80
#define MCR_DTR_RTS 0x03
#define MCR_OUT2    0x08 /* connects the interrupt line on a PC */
#define LSR_DATA    0x01
#define LSR_THRE    0x20 /* transmit FIFO empty */
#define LSR_TEMT    0x40 /* and the shift register too */

static bool present;
static size_t fifo_size;
static size_t filled;	   /* bytes sent since the FIFO was seen empty: it holds these at most */
static uint8_t interrupts; /* what IER holds */

static uint8_t get(unsigned reg)
{
	return inb((uint16_t)(COM1 + reg));
}
static void set(unsigned reg, uint8_t value)
{
	outb((uint16_t)(COM1 + reg), value);
}

/* An empty bus reads all ones; a UART keeps what its scratch register is given. */
static bool probe(void)
{
	set(SCR, 0x5a);
	if (get(SCR) != 0x5a)
		return false;
	set(SCR, 0xa5);
	return get(SCR) == 0xa5 && get(LSR) != 0xff;
}

bool uart_init(uint32_t baud)
{
	uint16_t divisor = baud && baud <= CLOCK ? (uint16_t)(CLOCK / baud) : 1;

	present = probe();
	if (!present)
		return false;
	interrupts = 0;
	set(IER, 0);
	set(LCR, LCR_DLAB);
	set(DLL, (uint8_t)divisor);
	set(DLM, (uint8_t)(divisor >> 8));
	set(LCR, LCR_8N1);
	set(FCR, FCR_ON);
	set(MCR, MCR_DTR_RTS | MCR_OUT2);
	filled = 0;
	fifo_size = (get(IIR) & IIR_FIFOS) == IIR_FIFOS ? FIFO_SIZE : 1;
	return true;
}

static void send(uint8_t byte)
{
	set(THR, byte);
	filled++;
}

/* The status knows an empty FIFO and one that is not, so we count what went into it. */
size_t uart_try_put(const uint8_t *bytes, size_t count)
{
	size_t n;

	if (!present || !count)
		return 0;
	if (get(LSR) & LSR_THRE)
		filled = 0;
	n = count < fifo_size - filled ? count : fifo_size - filled;
	for (size_t i = 0; i < n; i++)
		send(bytes[i]);
	return n;
}

int uart_get(void)
{
	if (!present || !(get(LSR) & LSR_DATA))
		return -1;
	return get(RBR);
}

void uart_set_interrupts(bool transmit)
{
	uint8_t wanted = transmit ? IER_RX | IER_TX : IER_RX;

	if (!present || wanted == interrupts)
		return;
	interrupts = wanted;
	set(IER, wanted);
}

bool uart_acknowledge(void)
{
	return present && !(get(IIR) & IIR_NONE);
}

static bool wait_for(uint8_t status)
{
	for (unsigned i = 0; i < WAIT_POLLS; i++)
		if (get(LSR) & status)
			return true;
	return false;
}

void uart_put_blocking(const uint8_t *bytes, size_t count)
{
	if (!present)
		return;
	for (size_t i = 0; i < count; i++) {
		if (!wait_for(LSR_THRE))
			return;
		filled = 0;
		send(bytes[i]);
	}
	wait_for(LSR_TEMT);
}
