/*
 * The guest's 16550A, see vuart.h. The interrupt line is the OR of four conditions and falls whenever none holds, so
 * that an edge-triggered controller sees each new one. The line is not gated by OUT2, although a PC's is: emulators
 * don't do it either, and teaching kernels that clear MCR rely on that; Linux never depends on the gate. PC16550D data
 * sheet, chapter 8.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/dev/vuart.h"

#include "hv/dev/byte_port.h"
#include "hv/lib/string.h"

/* Register offsets. RBR/THR, IER: divisor latch while DLAB is set. */
enum { REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR, REG_COUNT };

#define IER_RECEIVED 0x01
#define IER_EMPTY    0x02
#define IER_LINE     0x04
#define IER_MODEM    0x08

#define IIR_MODEM    0x00
#define IIR_NONE     0x01
#define IIR_EMPTY    0x02
#define IIR_RECEIVED 0x04
#define IIR_LINE     0x06
#define IIR_TIMEOUT  0x0C
#define IIR_FIFOS    0xC0

#define FCR_ENABLE   0x01
#define FCR_CLEAR_RX 0x02
#define FCR_KEPT     0xC1

#define LCR_DLAB 0x80

#define MCR_DTR	 0x01
#define MCR_RTS	 0x02
#define MCR_OUT1 0x04
#define MCR_OUT2 0x08
#define MCR_LOOP 0x10
#define MCR_MASK 0x1F

#define LSR_READY   0x01
#define LSR_OVERRUN 0x02
#define LSR_EMPTY   0x60 /* THRE and TEMT */

#define MSR_CTS 0x10
#define MSR_DSR 0x20
#define MSR_RI	0x40
#define MSR_DCD 0x80

static unsigned capacity(const struct vuart *uart)
{
	return uart->fcr & FCR_ENABLE ? VUART_FIFO : 1;
}

static unsigned trigger(const struct vuart *uart)
{
	static const uint8_t level[] = {1, 4, 8, 14};

	return uart->fcr & FCR_ENABLE ? level[uart->fcr >> 6] : 1;
}

/* The pending condition of highest priority (data sheet, table "Interrupt control functions"). Data below the trigger
 * level is reported as a time-out at once: a guest then never waits for the byte that does not come. */
static uint8_t pending(const struct vuart *uart)
{
	if (uart->ier & IER_LINE && uart->line_status)
		return IIR_LINE;
	if (uart->ier & IER_RECEIVED && uart->rx_count >= trigger(uart))
		return IIR_RECEIVED;
	if (uart->ier & IER_RECEIVED && uart->rx_count)
		return IIR_TIMEOUT;
	if (uart->ier & IER_EMPTY && uart->thre)
		return IIR_EMPTY;
	if (uart->ier & IER_MODEM && uart->msr_delta)
		return IIR_MODEM;
	return IIR_NONE;
}

static void update_line(struct vuart *uart)
{
	bool level = pending(uart) != IIR_NONE;

	if (level == uart->line)
		return;
	uart->line = level;
	irq_line_set(&uart->irq, level);
}

static void put_rx(struct vuart *uart, uint8_t byte)
{
	if (uart->rx_count == capacity(uart)) {
		uart->line_status |= LSR_OVERRUN;
		if (!(uart->fcr & FCR_ENABLE))
			uart->rx[uart->rx_first] = byte; /* 8250: the new byte replaces the old; a full FIFO drops it */
		return;
	}
	uart->rx[(uart->rx_first + uart->rx_count) % VUART_FIFO] = byte;
	uart->rx_count++;
}

static uint8_t take_rx(struct vuart *uart)
{
	uint8_t byte = uart->rx[uart->rx_first];

	if (uart->rx_count == 0)
		return 0;
	uart->rx_first = (uart->rx_first + 1) % VUART_FIFO;
	uart->rx_count--;
	return byte;
}

/* The outside is a terminal that is always there; in loopback the four outputs come back in as inputs. */
static uint8_t modem_inputs(const struct vuart *uart)
{
	if (!(uart->mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	return (uart->mcr & MCR_RTS ? MSR_CTS : 0) | (uart->mcr & MCR_DTR ? MSR_DSR : 0) |
	       (uart->mcr & MCR_OUT1 ? MSR_RI : 0) | (uart->mcr & MCR_OUT2 ? MSR_DCD : 0);
}

static void write_mcr(struct vuart *uart, uint8_t value)
{
	uint8_t before = modem_inputs(uart), after, changed;

	uart->mcr = value & MCR_MASK;
	after = modem_inputs(uart);
	changed = before ^ after;
	if (after & MSR_RI)
		changed &= (uint8_t)~MSR_RI; /* the ring indicator counts its trailing edge only */
	uart->msr_delta |= changed >> 4;
}

/* Sent at once: empty again, which is a new event. The line falls in between, so that it is a new edge too. */
static void transmit(struct vuart *uart, uint8_t byte)
{
	uart->thre = false;
	update_line(uart);
	if (uart->mcr & MCR_LOOP)
		put_rx(uart, byte);
	else
		uart->out.write(uart->out.ctx, &byte, 1);
	uart->thre = true;
}

static void write_ier(struct vuart *uart, uint8_t value)
{
	if (value & IER_EMPTY && !(uart->ier & IER_EMPTY))
		uart->thre = true; /* enabling the interrupt with an empty transmitter raises it */
	uart->ier = value & (IER_RECEIVED | IER_EMPTY | IER_LINE | IER_MODEM);
}

/* A change of the enable bit clears the FIFOs; other bits count only while it is written as 1. */
static void write_fcr(struct vuart *uart, uint8_t value)
{
	if ((value ^ uart->fcr) & FCR_ENABLE || (value & FCR_ENABLE && value & FCR_CLEAR_RX))
		uart->rx_count = 0;
	uart->fcr = value & FCR_ENABLE ? value & FCR_KEPT : 0;
}

static uint8_t read_iir(struct vuart *uart)
{
	uint8_t id = pending(uart);

	if (id == IIR_EMPTY)
		uart->thre = false;
	return id | (uart->fcr & FCR_ENABLE ? IIR_FIFOS : 0);
}

static uint8_t read_lsr(struct vuart *uart)
{
	uint8_t value = uart->line_status | LSR_EMPTY | (uart->rx_count ? LSR_READY : 0);

	uart->line_status = 0;
	return value;
}

static uint8_t read_msr(struct vuart *uart)
{
	uint8_t value = modem_inputs(uart) | uart->msr_delta;

	uart->msr_delta = 0;
	return value;
}

static uint8_t read_register(struct vuart *uart, unsigned reg)
{
	switch (reg) {
	case REG_DATA:
		return uart->lcr & LCR_DLAB ? (uint8_t)uart->divisor : take_rx(uart);
	case REG_IER:
		return uart->lcr & LCR_DLAB ? (uint8_t)(uart->divisor >> 8) : uart->ier;
	case REG_IIR_FCR:
		return read_iir(uart);
	case REG_LCR:
		return uart->lcr;
	case REG_MCR:
		return uart->mcr;
	case REG_LSR:
		return read_lsr(uart);
	case REG_MSR:
		return read_msr(uart);
	default:
		return uart->scr;
	}
}

static void write_register(struct vuart *uart, unsigned reg, uint8_t value)
{
	bool dlab = uart->lcr & LCR_DLAB;

	if (reg == REG_DATA && dlab)
		uart->divisor = (uint16_t)((uart->divisor & 0xFF00) | value);
	else if (reg == REG_DATA)
		transmit(uart, value);
	else if (reg == REG_IER && dlab)
		uart->divisor = (uint16_t)(value << 8 | (uart->divisor & 0xFF));
	else if (reg == REG_IER)
		write_ier(uart, value);
	else if (reg == REG_IIR_FCR)
		write_fcr(uart, value);
	else if (reg == REG_LCR)
		uart->lcr = value;
	else if (reg == REG_MCR)
		write_mcr(uart, value);
	else if (reg == REG_SCR)
		uart->scr = value;
	/* LSR and MSR are read-only (writing them is for factory tests). */
}

static uint8_t read_port(void *dev, uint16_t port)
{
	struct vuart *uart = dev;
	uint8_t value = read_register(uart, port - uart->base);

	update_line(uart);
	return value;
}

static void write_port(void *dev, uint16_t port, uint8_t value)
{
	struct vuart *uart = dev;

	write_register(uart, port - uart->base, value);
	update_line(uart);
}

static uint64_t vuart_read(void *dev, uint64_t addr, unsigned size)
{
	return byte_port_read(dev, addr, size, read_port);
}

static void vuart_write(void *dev, uint64_t addr, unsigned size, uint64_t value)
{
	byte_port_write(dev, addr, size, value, write_port);
}

int vuart_init(struct vuart *uart, struct bus *pio, uint16_t base, struct irq_line irq, struct byte_sink out)
{
	struct bus_range range = {
	    .first = base, .count = REG_COUNT, .name = "16550A", .dev = uart, .read = vuart_read, .write = vuart_write};

	memset(uart, 0, sizeof(*uart));
	uart->base = base;
	uart->irq = irq;
	uart->out = out;
	vuart_reset(uart);
	return bus_add(pio, &range);
}

void vuart_reset(struct vuart *uart)
{
	uart->ier = uart->lcr = uart->mcr = uart->fcr = 0;
	uart->line_status = uart->msr_delta = 0;
	uart->divisor = 1;
	uart->thre = true;
	uart->rx_first = uart->rx_count = 0;
	uart->line = false;
	irq_line_set(&uart->irq, false);
}

bool vuart_receive(struct vuart *uart, uint8_t byte)
{
	if (vuart_room(uart) == 0)
		return false;
	put_rx(uart, byte);
	update_line(uart);
	return true;
}

unsigned vuart_room(const struct vuart *uart)
{
	return uart->mcr & MCR_LOOP ? 0 : capacity(uart) - uart->rx_count;
}
