/*
 * Virtual consoles; see virtio_console.h. Queues: 5.3.2; configuration: 5.3.4; control messages: 5.3.6.2.
 *
 * What the device has to say about its ports never queues up: a bit for each message, and a driver that asks twice
 * before it has read hears it once.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/dev/virtio_console.h"

#include "hv/clock.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"

#define KIND_CONSOLE  3
#define CLASS_CONSOLE 0x078000 /* communication, other */

/* 5.3.3 */
#define F_SIZE	      BIT(0)
#define F_MULTIPORT   BIT(1)
#define F_EMERG_WRITE BIT(2)

#define QUEUE_CONTROL_RX 2 /* to the driver */
#define QUEUE_CONTROL_TX 3

#define PIECE 1024	   /* bytes of output between two looks at the clock and the room */
#define STEP  (16 * 1024u) /* work after which a chain makes room for other queues */

struct virtio_console_config {
	uint16_t cols, rows;
	uint32_t max_nr_ports, emerg_wr;
};

/* event, 5.3.6.2 */
enum { DEVICE_READY = 0, PORT_ADD = 1, PORT_READY = 3, CONSOLE_PORT = 4, RESIZE = 5, PORT_OPEN = 6, PORT_NAME = 7 };

struct control {
	uint32_t id;
	uint16_t event, value;
};

/* What the driver is told of a port, in this order. */
enum message { TELL_ADD, TELL_CONSOLE, TELL_NAME, TELL_SIZE, TELL_OPEN };

static unsigned rx_queue(unsigned port)
{
	return port ? 2 * port + 2 : 0;
}

static unsigned port_of(unsigned queue)
{
	return queue < QUEUE_CONTROL_RX ? 0 : queue / 2 - 1;
}

static bool is_control(unsigned queue)
{
	return queue == QUEUE_CONTROL_RX || queue == QUEUE_CONTROL_TX;
}

/* --- configuration ----------------------------------------------------------------------------------------------- */

static uint64_t features(void *dev)
{
	(void)dev;
	return F_SIZE | F_MULTIPORT | F_EMERG_WRITE;
}

static void config_read(void *dev, unsigned offset, void *to, unsigned size)
{
	const struct virtio_console *con = dev;
	struct virtio_console_config c = {.cols = con->cols, .rows = con->rows, .max_nr_ports = con->ports};

	memcpy(to, (const uint8_t *)&c + offset, size);
}

/* A byte from a driver that can't or won't set up queues, to be said at once. Nothing else can be written. */
static void config_write(void *dev, unsigned offset, const void *from, unsigned size)
{
	struct virtio_console *con = dev;
	const struct virtio_console_end *end = &con->port[0].end;

	(void)size;
	if (offset == offsetof(struct virtio_console_config, emerg_wr))
		end->write(end->ctx, from, 1);
}

static void queue_reset(void *dev, unsigned queue)
{
	struct virtio_console *con = dev;
	struct virtio_console_port *p = &con->port[port_of(queue)];

	if (queue == QUEUE_CONTROL_TX) { /* who was heard there is gone */
		for (unsigned i = 0; i < con->ports; i++)
			con->port[i].untold = 0;
	} else if (!is_control(queue) && queue % 2) {
		p->sending = false;
	} else if (!is_control(queue)) {
		p->taken = p->typed; /* it was for the last driver: a UART's FIFO is emptied, too */
	}
}

/* --- control messages -------------------------------------------------------------------------------------------- */

static void tell(struct virtio_console *con, unsigned port, unsigned messages)
{
	con->port[port].untold |= (uint8_t)messages;
	virtio_pci_poke(&con->transport, QUEUE_CONTROL_RX);
}

/* What a driver says that has no meaning for the device, or for no port of it, changes nothing. */
static void hear(struct virtio_console *con, const struct control *c)
{
	if (c->event == DEVICE_READY && c->value == 1) {
		for (unsigned i = 0; i < con->ports; i++)
			tell(con, i, BIT(TELL_ADD));
	} else if (c->event == PORT_READY && c->value == 1 && c->id < con->ports) {
		tell(con, c->id,
		     BIT(TELL_CONSOLE) | BIT(TELL_NAME) | BIT(TELL_OPEN) |
			 (virtio_pci_has(&con->transport, F_SIZE) ? BIT(TELL_SIZE) : 0));
	}
}

static int serve_control_tx(struct virtio_console *con, struct virtqueue *q)
{
	struct virtio_stream out;
	struct control c;
	int got = virtqueue_take(q, &con->chain);

	if (got <= 0)
		return got;
	out = virtio_stream_out(con->mem, &con->chain);
	if (con->chain.in || virtio_stream_read(&out, &c, sizeof(c))) {
		q->broken = "a console's control message that is none";
		return -E_FORMAT;
	}
	hear(con, &c);
	return virtqueue_give(q, &con->chain, 0) ? -E_FORMAT : VIRTIO_SERVED;
}

/* Writes one to `to`; answers its length. */
static uint32_t compose(const struct virtio_console *con, unsigned port, enum message message, uint8_t to[32])
{
	static const uint16_t event[] = {[TELL_ADD] = PORT_ADD,
					 [TELL_CONSOLE] = CONSOLE_PORT,
					 [TELL_NAME] = PORT_NAME,
					 [TELL_SIZE] = RESIZE,
					 [TELL_OPEN] = PORT_OPEN};
	struct control c = {.id = port, .event = event[message], .value = 1};
	uint16_t size[] = {con->cols, con->rows};
	uint32_t n = sizeof(c);

	memcpy(to, &c, sizeof(c));
	if (message == TELL_SIZE) {
		memcpy(to + n, size, sizeof(size));
		n += sizeof(size);
	} else if (message == TELL_NAME) { /* without a NUL */
		n += (uint32_t)snprintf((char *)to + n, 32 - n, "hvc%u", port);
	}
	return n;
}

static int tell_next(struct virtio_console *con, unsigned port, struct virtqueue *q)
{
	struct virtio_console_port *p = &con->port[port];
	enum message message = (enum message)__builtin_ctz(p->untold);
	struct virtio_stream in;
	uint8_t text[32];
	uint32_t n = compose(con, port, message, text);
	int got = virtqueue_take(q, &con->chain);

	if (got <= 0)
		return got;
	in = virtio_stream_in(con->mem, &con->chain);
	if (con->chain.out || virtio_stream_write(&in, text, n)) {
		q->broken = "a console's control buffer without room for a message";
		return -E_FORMAT;
	}
	p->untold &= (uint8_t) ~(1U << message);
	return virtqueue_give(q, &con->chain, n) ? -E_FORMAT : VIRTIO_SERVED;
}

static int serve_control_rx(struct virtio_console *con, struct virtqueue *q)
{
	for (unsigned i = 0; i < con->ports; i++)
		if (con->port[i].untold)
			return tell_next(con, i, q);
	return VIRTIO_RESTS;
}

/* --- what is typed ----------------------------------------------------------------------------------------------- */

/* Bytes of the ring from `taken` on, as far as they lie in one piece, into the buffer. Answers how many. */
static uint32_t fill(struct virtio_console_port *p, struct virtio_stream *in)
{
	uint32_t filled = 0, n;
	void *host;

	while (p->taken != p->typed) {
		unsigned at = p->taken % VIRTIO_CONSOLE_INPUT, most = p->typed - p->taken;

		if (most > VIRTIO_CONSOLE_INPUT - at)
			most = VIRTIO_CONSOLE_INPUT - at;
		host = virtio_stream_next_in(in, most, &n);
		if (!host)
			break;
		memcpy(host, p->input + at, n);
		p->taken += n;
		filled += n;
	}
	return filled;
}

static int serve_rx(struct virtio_console *con, struct virtio_console_port *p, struct virtqueue *q)
{
	struct virtio_stream in;
	int got;

	if (p->taken == p->typed)
		return VIRTIO_RESTS;
	got = virtqueue_take(q, &con->chain);
	if (got <= 0)
		return got;
	if (con->chain.out) {
		q->broken = "a console's buffer for input that can't be written to";
		return -E_FORMAT;
	}
	in = virtio_stream_in(con->mem, &con->chain);
	return virtqueue_give(q, &con->chain, fill(p, &in)) ? -E_FORMAT : VIRTIO_SERVED;
}

bool virtio_console_type(struct virtio_console *con, unsigned port, uint8_t byte)
{
	struct virtio_console_port *p = &con->port[port];

	if (p->typed - p->taken == VIRTIO_CONSOLE_INPUT)
		return false;
	p->input[p->typed++ % VIRTIO_CONSOLE_INPUT] = byte;
	virtio_pci_poke(&con->transport, rx_queue(port));
	return true;
}

/* --- what the driver says ---------------------------------------------------------------------------------------- */

static int begin_sending(const struct virtio_console *con, struct virtio_console_port *p, struct virtqueue *q)
{
	int got = virtqueue_take(q, &p->chain);

	if (got <= 0)
		return got;
	if (p->chain.in) {
		q->broken = "a console's output that can't be read";
		return -E_FORMAT;
	}
	p->out = virtio_stream_out(con->mem, &p->chain);
	p->sending = true;
	return VIRTIO_SERVED;
}

/* The chain is kept until the last byte has gone out. Where there is no memory, there is nothing more to say. */
static int serve_tx(const struct virtio_console *con, struct virtio_console_port *p, struct virtqueue *q,
		    uint64_t until, uint64_t *work)
{
	const struct virtio_console_end *end = &p->end;
	int got = p->sending ? VIRTIO_SERVED : begin_sending(con, p, q);
	const uint8_t *bytes;
	uint32_t n;

	if (got <= 0)
		return got;
	virtio_stream_forget(&p->out);
	while (p->out.left) {
		size_t room = end->room(end->ctx);

		if (!room)
			return VIRTIO_RESTS;
		bytes = virtio_stream_next_out(&p->out, room < PIECE ? room : PIECE, &n);
		if (!bytes)
			break;
		end->write(end->ctx, bytes, n);
		*work += VIRTIO_PIECE + n;
		if (p->out.left && (*work >= STEP || clock_now() >= until))
			return VIRTIO_SERVED;
	}
	p->sending = false;
	return virtqueue_give(q, &p->chain, 0) ? -E_FORMAT : VIRTIO_SERVED;
}

void virtio_console_go_on(struct virtio_console *con, unsigned port)
{
	virtio_pci_poke(&con->transport, rx_queue(port) + 1);
}

/* --- the device -------------------------------------------------------------------------------------------------- */

/* Without MULTIPORT there is port 0 and no more (5.3.2). */
static int serve(void *dev, unsigned queue, struct virtqueue *q, uint64_t until, uint64_t *work)
{
	struct virtio_console *con = dev;
	struct virtio_console_port *p = &con->port[port_of(queue)];

	if (queue >= QUEUE_CONTROL_RX && !virtio_pci_has(&con->transport, F_MULTIPORT))
		return VIRTIO_RESTS;
	if (queue == QUEUE_CONTROL_RX)
		return serve_control_rx(con, q);
	if (queue == QUEUE_CONTROL_TX)
		return serve_control_tx(con, q);
	return queue % 2 ? serve_tx(con, p, q, until, work) : serve_rx(con, p, q);
}

static const struct virtio_kind console_kind = {
    .name = "virtio-console",
    .id = KIND_CONSOLE,
    .class_code = CLASS_CONSOLE,
    .features = features,
    .config_size = sizeof(struct virtio_console_config),
    .config_read = config_read,
    .config_write = config_write,
    .queue_reset = queue_reset,
    .serve = serve,
};

int virtio_console_init(struct virtio_console *con, struct pci_host *host, const struct virtio_console_setup *s)
{
	struct virtio_pci_setup transport = {.kind = &console_kind,
					     .dev = con,
					     .queues = 2 * (s->ports + 1),
					     .mem = s->mem,
					     .kick = s->kick,
					     .ctx = s->ctx};

	memset(con, 0, sizeof(*con));
	con->mem = s->mem;
	con->ports = s->ports;
	con->cols = s->cols;
	con->rows = s->rows;
	for (unsigned i = 0; i < s->ports; i++)
		con->port[i].end = s->end[i];
	return virtio_pci_init(&con->transport, host, &transport);
}
