/* The shell's commands for virtual networks: the ports of their switches, a card's cable, frames as they pass. */
/* SPDX-License-Identifier: MIT */
#include "drivers/wallclock.h"
#include "hv/capture.h"
#include "hv/clock.h"
#include "hv/lib/number.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"
#include "hv/shell/pcap.h"
#include "hv/shell/shell.h"
#include "hv/shell/table.h"
#include "hv/vm_net.h"

/* --- ports -------------------------------------------------------------------------------------------------------- */

#define TEXT_MAX 64

/* A person reads which frames were dropped in one column; for scripts each reason has one of its own. */
static const struct column port_columns[] = {
    {"network", COLUMN_TEXT, 10},      {"port", COLUMN_TEXT, 12},	{"mac", COLUMN_TEXT, 17},
    {"vlan", COLUMN_NUMBER, 4},	       {"flags", COLUMN_TEXT, 8},	{"link", COLUMN_TEXT, 4},
    {"in_packets", COLUMN_NUMBER, 10}, {"in_bytes", COLUMN_NUMBER, 10}, {"out_packets", COLUMN_NUMBER, 11},
    {"out_bytes", COLUMN_NUMBER, 10},
};

#define PORT_COLUMNS ARRAY_SIZE(port_columns)

/* Why the card itself lost frames, beside the switch's reasons. */
static const char *const card_drop_name[] = {"bad", "unwanted", "too_small"};

#define CARD_DROPS ARRAY_SIZE(card_drop_name)
#define ALL_DROPS  (VSWITCH_DROPS + CARD_DROPS)

static const char *drop_name(unsigned i)
{
	return i < VSWITCH_DROPS ? vswitch_drop_name[i] : card_drop_name[i - VSWITCH_DROPS];
}

static uint64_t drop_count(const struct vm_net_status *s, unsigned i)
{
	const uint64_t card[CARD_DROPS] = {s->card.bad, s->card.unwanted, s->card.too_small};

	return i < VSWITCH_DROPS ? s->port.drops[i] : card[i - VSWITCH_DROPS];
}

static void put_flags(struct table *t, const struct net_config *c)
{
	char text[TEXT_MAX] = "-";
	size_t n = 0;

	if (c->trunk)
		n += (size_t)snprintf(text + n, sizeof(text) - n, ",trunk");
	if (c->isolated)
		n += (size_t)snprintf(text + n, sizeof(text) - n, ",isolated");
	if (c->spoof)
		n += (size_t)snprintf(text + n, sizeof(text) - n, ",spoof");
	if (c->rate)
		n += (size_t)snprintf(text + n, sizeof(text) - n, ",rate=%llu", (unsigned long long)c->rate);
	table_string(t, n ? text + 1 : text);
}

static void put_drops(struct table *t, const struct vm_net_status *s)
{
	char text[24 * ALL_DROPS] = "-";
	size_t n = 0;

	for (unsigned i = 0; i < ALL_DROPS && n < sizeof(text) && !t->json; i++)
		if (drop_count(s, i))
			n += (size_t)snprintf(text + n, sizeof(text) - n, ",%s=%llu", drop_name(i),
					      (unsigned long long)drop_count(s, i));
	if (!t->json)
		table_string(t, n ? text + 1 : text);
	for (unsigned i = 0; i < ALL_DROPS && t->json; i++)
		table_u64(t, drop_count(s, i));
	if (t->json)
		table_u64(t, s->ticks);
}

static void port_row(struct table *t, const struct vms_entry *e, unsigned i)
{
	const struct net_config *c = &e->config.net[i];
	struct vm_net_status s = {.link = false};
	bool there = e->vm && vm_net_read(e->vm, i, &s);
	const uint8_t *mac = there ? s.mac : c->mac;
	char text[TEXT_MAX];

	table_row(t);
	table_string(t, c->network);
	snprintf(text, sizeof(text), "%s/%u", e->config.name, i);
	table_string(t, text);
	snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
	table_string(t, text);
	table_u64(t, c->vlan);
	put_flags(t, c);
	table_string(t, !there ? "off" : s.link ? "up" : "down");
	table_u64(t, s.port.in_packets);
	table_u64(t, s.port.in_bytes);
	table_u64(t, s.port.out_packets);
	table_u64(t, s.port.out_bytes);
	put_drops(t, &s);
}

static void run_ports(struct shell_call *call)
{
	struct column columns[PORT_COLUMNS + ALL_DROPS + 1];
	unsigned count = PORT_COLUMNS;
	struct table t;

	memcpy(columns, port_columns, sizeof(port_columns));
	if (!call->json)
		columns[count++] = (struct column){"drops", COLUMN_TEXT, 5};
	for (unsigned i = 0; i < ALL_DROPS && call->json; i++)
		columns[count++] = (struct column){drop_name(i), COLUMN_NUMBER, 5};
	if (call->json)
		columns[count++] = (struct column){"turn_ticks", COLUMN_NUMBER, 10};
	table_begin(&t, *call->out, call->json, columns, count);
	for (const struct vms_entry *e = vms_first(); e; e = e->next)
		for (unsigned i = 0; i < e->config.net_count; i++)
			port_row(&t, e, i);
	table_end(&t);
}

/* --- link --------------------------------------------------------------------------------------------------------- */

/* A card of a VM that runs, by its number; or the error said. */
static bool find_card(const struct shell_call *call, const struct vms_entry *e, const char *word, unsigned *card)
{
	uint64_t n;

	if (!number_parse(word, strlen(word), &n) && n < e->vm->config->net_count) {
		*card = (unsigned)n;
		return true;
	}
	if (e->vm->config->net_count)
		shell_error(call, "found card '%.40s', expected 0 to %u", word, e->vm->config->net_count - 1);
	else
		shell_error(call, "vm %s has no network card", e->config.name);
	return false;
}

static void run_link(struct shell_call *call)
{
	const struct vms_entry *e = shell_vm(call, 1, true);
	bool up = !strcmp(call->word[3], "up");
	unsigned card;

	if (!e || !find_card(call, e, call->word[2], &card))
		return;
	if (up || !strcmp(call->word[3], "down"))
		(void)vm_net_set_link(e->vm, card, up);
	else
		shell_error(call, "found '%.40s', expected up or down", call->word[3]);
}

/* --- capture ------------------------------------------------------------------------------------------------------ */

#define LOOK_NS 10000000

static struct {
	const struct vms_entry *entry;
	struct vm *vm;
	unsigned card;
	uint64_t begun;	      /* clock_now() at */
	int64_t unix_seconds; /* this time of day */
	uint64_t wanted, printed;
} watch;

static void print_frame(struct shell_call *call, const struct captured_frame *f)
{
	uint64_t since = f->ticks > watch.begun ? clock_to_ns(f->ticks - watch.begun) : 0;
	char line[PCAP_LINE_MAX];

	pcap_frame_line(line, (uint64_t)watch.unix_seconds * 1000000000 + since, f->size, f->bytes, f->kept);
	sink_text(call->out, line);
	watch.printed++;
}

/* Ends by itself when it has what was wanted, or when nothing more will come. */
static int64_t print_frames(struct shell_call *call)
{
	struct captured_frame f;

	for (size_t used = 0; used + PCAP_LINE_MAX <= SHELL_STEP; used += PCAP_LINE_MAX) {
		if (watch.wanted && watch.printed == watch.wanted)
			return SHELL_DONE;
		if (!capture_next(&f))
			return watch.entry->vm == watch.vm ? LOOK_NS : SHELL_DONE;
		print_frame(call, &f);
	}
	return 0;
}

/* However it ends. The VM may have gone, and another one begun, whose port is not watched. */
static void end_capture(struct shell_call *call)
{
	uint64_t lost = capture_lost();

	if (watch.entry->vm == watch.vm)
		(void)vm_net_set_capture(watch.vm, watch.card, false);
	capture_end();
	shell_print(call->out, "P# end frames %llu lost %llu\r\n", (unsigned long long)watch.printed,
		    (unsigned long long)lost);
}

static void begin_capture(struct shell_call *call)
{
	char line[PCAP_LINE_MAX];

	if (capture_begin()) {
		shell_error(call, "no memory for the frames");
		return;
	}
	watch.vm = watch.entry->vm;
	watch.printed = 0;
	watch.unix_seconds = wallclock_read();
	watch.begun = clock_now();
	shell_print(call->out, "P# capture 1 port %s/%u\r\n", watch.entry->config.name, watch.card);
	pcap_begin_line(line, CAPTURE_SNAP);
	sink_text(call->out, line);
	(void)vm_net_set_capture(watch.vm, watch.card, true);
	shell_start_job(call, print_frames);
	shell_job_ends(end_capture);
}

/* A port is VM/CARD, as `ports` shows it. */
static void run_capture(struct shell_call *call)
{
	char *slash = strchr(call->word[1], '/'), *count = call->word[2];

	watch.wanted = 0;
	if (!slash) {
		shell_error(call, "found port '%.40s', expected VM/CARD as `ports` shows it", call->word[1]);
		return;
	}
	if (call->count > 2 && (number_parse(count, strlen(count), &watch.wanted) || !watch.wanted)) {
		shell_error(call, "found '%.40s', expected a number of frames, at least 1", count);
		return;
	}
	*slash = 0;
	watch.entry = shell_vm(call, 1, true);
	if (watch.entry && find_card(call, watch.entry, slash + 1, &watch.card))
		begin_capture(call);
}

const struct shell_command shell_net_commands[] = {
    {"ports", "", "the VMs' network cards: addresses, frames, and what was dropped", 0, 0, SHELL_WORDS_NONE, run_ports},
    {"link", "VM CARD up|down", "plug a card's cable in, or pull it", 3, 3, SHELL_WORDS_VM, run_link},
    {"capture", "VM/CARD [COUNT]", "frames as they pass a port, for tests/capture2pcap.py; Ctrl-C ends it", 1, 2,
     SHELL_WORDS_VM, run_capture},
    {0},
};
