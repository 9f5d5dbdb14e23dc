/*
 * vireo.conf's keys: types, ranges, defaults (of `disk` and `net`: hv/config_disk.c, config_net.c). Called once by
 * hv/main.c with what boot/ini.c cut into settings. One table of keys for each kind of section; a key is a switch or
 * has a setter. Owns nothing: strings stay in the loader's text, files in boot_info. Pure.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/config.h"

#include "hv/config_line.h"
#include "hv/lib/number.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"
#include "hv/load/load.h"

_Static_assert(CONFIG_MAX_MODULES == LOAD_MAX_MODULES, "loaders take all modules that can be configured");

#define VMCS_FIELD_MAX 0xffff /* encodings have 15 bits, and one that is reserved (SDM Vol. 3C 25.11.2) */

struct key {
	const char *name;
	/* NULL: on or off, the bool at `flag` in the section's struct. */
	int (*set)(const struct config_line *l, struct hv_config *hv, struct vm_config *vm);
	size_t flag;
	bool repeats;
};
#define SWITCH(type, member) .flag = offsetof(struct type, member)

/* What is known about each VM's section while its lines come in. */
struct section {
	uint32_t offset; /* of its words: tells two sections of one name apart */
	uint32_t seen;	 /* bit n: key n of vm_keys was set */
};

struct parser {
	struct config *config;
	const struct boot_info *info;
	const char *text;
	char *error;
	uint32_t hv_seen;
	struct section section[CONFIG_MAX_VMS];
};

static int parse_value(const struct config_line *l, uint64_t *out)
{
	return number_parse(l->value, strlen(l->value), out);
}

/* The index of the value among `words`, or -1. */
static int parse_word(const struct config_line *l, const char *const *words, int count)
{
	for (int i = 0; i < count; i++)
		if (!strcmp(l->value, words[i]))
			return i;
	return -1;
}

static int set_switch(const struct config_line *l, bool *out)
{
	static const char *const words[] = {"off", "on"};
	int i = parse_word(l, words, 2);

	if (i < 0)
		return config_bad_value(l, "on or off");
	*out = i == 1;
	return 0;
}

/* --- [hypervisor] ------------------------------------------------------------------------------------------------ */

static int set_log(const struct config_line *l, struct hv_config *hv, struct vm_config *vm)
{
	static const char *const words[] = {"info", "debug"};
	int i = parse_word(l, words, 2);

	(void)vm;
	if (i < 0)
		return config_bad_value(l, "info or debug");
	hv->verbose = i == 1;
	return 0;
}

/* The UART divides 115200 by an integer (16550 data sheet, divisor latch). */
static int set_serial(const struct config_line *l, struct hv_config *hv, struct vm_config *vm)
{
	uint64_t baud;

	(void)vm;
	if (parse_value(l, &baud) || baud < 9600 || baud > 115200 || 115200 % baud)
		return config_bad_value(l, "9600, 19200, 38400, 57600 or 115200");
	hv->serial_baud = baud;
	return 0;
}

static int set_background(const struct config_line *l, struct hv_config *hv, struct vm_config *vm)
{
	static const char *const words[] = {"hide", "show"};
	int i = parse_word(l, words, 2);

	(void)vm;
	if (i < 0)
		return config_bad_value(l, "show or hide");
	hv->background = i == 1;
	return 0;
}

static int set_scheduler(const struct config_line *l, struct hv_config *hv, struct vm_config *vm)
{
	static const char *const words[] = {"share", "rr", "dedicated"};
	int i = parse_word(l, words, 3);

	(void)vm;
	if (i < 0)
		return config_bad_value(l, "share, rr or dedicated");
	hv->scheduler = (enum sched_choice)i;
	return 0;
}

static bool is_word(const char *s, size_t n, const char *word)
{
	return n == strlen(word) && !memcmp(s, word, n);
}

/* The mitigation that "no-NAME" is about, or MITIGATIONS: none of that name. */
static unsigned find_refusal(const char *s, size_t n)
{
	unsigned m = 0;

	if (n < 3 || memcmp(s, "no-", 3))
		return MITIGATIONS;
	while (m < MITIGATIONS && !is_word(s + 3, n - 3, mitigation_name(m)))
		m++;
	return m;
}

/* The first word of the list, then those that follow. */
static int take_mitigation(const struct config_line *l, struct mitigation_wish *wish, const char *s, size_t n)
{
	unsigned m = find_refusal(s, n);

	if (s == l->value) {
		wish->all = is_word(s, n, "all");
		wish->without = is_word(s, n, "off") ? MITIGATIONS_OFF : 0;
		if (wish->all || wish->without || is_word(s, n, "auto"))
			return 0;
	} else if (m < MITIGATIONS && wish->without != MITIGATIONS_OFF) {
		wish->without |= 1u << m;
		return 0;
	}
	return config_bad_value(l, "off, or auto or all, perhaps with no-ibrs, no-bhi, no-rsb, no-ibpb, no-stibp, "
				   "no-tsx, no-verw, no-l1d, no-itlb behind it, such as auto, no-l1d");
}

static int set_mitigations(const struct config_line *l, struct hv_config *hv, struct vm_config *vm)
{
	const char *s = l->value;

	(void)vm;
	for (;;) {
		const char *comma = strchr(s, ',');
		int err = take_mitigation(l, &hv->mitigations, s, comma ? (size_t)(comma - s) : strlen(s));

		if (err || !comma)
			return err;
		s = config_skip_blanks(comma + 1);
	}
}

static const struct key hv_keys[] = {
    {"apicv", SWITCH(hv_config, apicv)},
    {"vpid", SWITCH(hv_config, vpid)},
    {"preemption_timer", SWITCH(hv_config, preemption_timer)},
    {"aslr", SWITCH(hv_config, aslr)},
    {"log", .set = set_log},
    {"serial", .set = set_serial},
    {"background", .set = set_background},
    {"scheduler", .set = set_scheduler},
    {"mitigations", .set = set_mitigations},
    {"smt", SWITCH(hv_config, mitigations.smt)},
};

/* --- [vm NAME] --------------------------------------------------------------------------------------------------- */

static int set_vcpus(const struct config_line *l, struct hv_config *hv, struct vm_config *vm)
{
	uint64_t n;

	(void)hv;
	if (parse_value(l, &n) || n < 1 || n > CONFIG_MAX_VCPUS)
		return config_bad_value(l, "a number from 1 to 32");
	vm->vcpus = (uint32_t)n;
	return 0;
}

static int set_memory(const struct config_line *l, struct hv_config *hv, struct vm_config *vm)
{
	uint64_t n;

	(void)hv;
	if (parse_value(l, &n))
		return config_bad_value(l, "a size such as 64M or 1G");
	if (n < MIB || n > CONFIG_MEMORY_MAX)
		return config_bad_value(l, "1M to 512G");
	if (n % PAGE_SIZE)
		return config_bad_value(l, "a multiple of 4K");
	vm->memory = n;
	return 0;
}

static int set_kernel(const struct config_line *l, struct hv_config *hv, struct vm_config *vm)
{
	(void)hv;
	return config_find_file(l, l->value, strlen(l->value), &vm->kernel);
}

static int set_initrd(const struct config_line *l, struct hv_config *hv, struct vm_config *vm)
{
	(void)hv;
	return config_find_file(l, l->value, strlen(l->value), &vm->initrd);
}

static int set_cmdline(const struct config_line *l, struct hv_config *hv, struct vm_config *vm)
{
	(void)hv;
	vm->cmdline = l->value;
	return 0;
}

static int set_protocol(const struct config_line *l, struct hv_config *hv, struct vm_config *vm)
{
	static const char *const words[] = {"linux", "multiboot", "flat"};
	int i = parse_word(l, words, 3);

	(void)hv;
	if (i < 0)
		return config_bad_value(l, "linux, multiboot or flat");
	vm->protocol = (enum boot_protocol)i;
	return 0;
}

static int set_module(const struct config_line *l, struct hv_config *hv, struct vm_config *vm)
{
	size_t n = config_word_length(l->value);
	int err;

	(void)hv;
	if (vm->module_count == CONFIG_MAX_MODULES)
		return config_complain(l, "module: found one more, expected at most %d", CONFIG_MAX_MODULES);
	err = config_find_file(l, l->value, n, &vm->module[vm->module_count]);
	if (err)
		return err;
	vm->module_args[vm->module_count++] = config_skip_blanks(l->value + n);
	return 0;
}

static int set_disk(const struct config_line *l, struct hv_config *hv, struct vm_config *vm)
{
	(void)hv;
	return config_add_disk(l, vm);
}

static int set_net(const struct config_line *l, struct hv_config *hv, struct vm_config *vm)
{
	(void)hv;
	return config_add_net(l, vm);
}

static int set_address(const struct config_line *l, uint64_t *out)
{
	if (parse_value(l, out))
		return config_bad_value(l, "an address such as 0x7c00 or 1M");
	return 0;
}

static int set_load(const struct config_line *l, struct hv_config *hv, struct vm_config *vm)
{
	(void)hv;
	return set_address(l, &vm->load_address);
}

static int set_entry(const struct config_line *l, struct hv_config *hv, struct vm_config *vm)
{
	(void)hv;
	return set_address(l, &vm->entry);
}

static int set_mode(const struct config_line *l, struct hv_config *hv, struct vm_config *vm)
{
	static const char *const words[] = {"real", "protected", "long"};
	int i = parse_word(l, words, 3);

	(void)hv;
	if (i < 0)
		return config_bad_value(l, "real, protected or long");
	vm->mode = (enum cpu_mode)i;
	return 0;
}

static int set_break(const struct config_line *l, struct hv_config *hv, struct vm_config *vm)
{
	const char *first = l->value, *second = config_skip_blanks(first + config_word_length(first));
	uint64_t field;

	(void)hv;
	if (number_parse(first, config_word_length(first), &field) || field > VMCS_FIELD_MAX ||
	    number_parse(second, strlen(second), &vm->break_value))
		return config_bad_value(l, "a VMCS field encoding and a value, such as 0x6800 0");
	vm->break_field = (uint32_t)field;
	vm->break_entry = true;
	return 0;
}

static int set_hvc(const struct config_line *l, struct hv_config *hv, struct vm_config *vm)
{
	uint64_t n;

	(void)hv;
	if (parse_value(l, &n) || n > CONFIG_MAX_HVC)
		return config_bad_value(l, "a number of consoles from 0 to 2");
	vm->hvc = (uint32_t)n;
	return 0;
}

/* One name of `n` characters more. */
static int add_peer(const struct config_line *l, struct vm_config *vm, const char *name, size_t n)
{
	char *peer = vm->peer[vm->peer_count < CONFIG_MAX_PEERS ? vm->peer_count : 0];

	if (vm->peer_count == CONFIG_MAX_PEERS)
		return config_complain(l, "peers: found one more, expected at most %d", CONFIG_MAX_PEERS);
	if (!n || n >= CONFIG_NAME_MAX)
		return config_bad_value(l, "names of VMs such as a,b");
	for (size_t i = 0; i < n; i++)
		if (!config_is_name_char(name[i]))
			return config_bad_value(l, "names of VMs such as a,b");
	memset(peer, 0, CONFIG_NAME_MAX);
	memcpy(peer, name, n);
	if (!strcmp(peer, vm->name))
		return config_complain(l, "peers: found the VM's own name, expected others");
	for (unsigned i = 0; i < vm->peer_count; i++)
		if (!strcmp(peer, vm->peer[i]))
			return config_complain(l, "peers: found '%s' twice, expected it once", peer);
	vm->peer_count++;
	return 0;
}

/* An empty list is one, too: `set` takes peers away by it. */
static int set_peers(const struct config_line *l, struct hv_config *hv, struct vm_config *vm)
{
	const char *s = l->value;
	int err = 0;

	(void)hv;
	vm->peer_count = 0;
	while (*s && !err) {
		const char *comma = strchr(s, ',');
		size_t n = comma ? (size_t)(comma - s) : strlen(s);

		err = add_peer(l, vm, s, n);
		s += n;
		if (comma && !*++s)
			err = config_bad_value(l, "names of VMs such as a,b");
	}
	return err;
}

static int set_weight(const struct config_line *l, struct hv_config *hv, struct vm_config *vm)
{
	uint64_t n;

	(void)hv;
	if (parse_value(l, &n) || n < CONFIG_WEIGHT_MIN || n > CONFIG_WEIGHT_MAX)
		return config_bad_value(l, "a number from 1 to 10000");
	vm->weight = (uint32_t)n;
	return 0;
}

static int set_cap(const struct config_line *l, struct hv_config *hv, struct vm_config *vm)
{
	uint64_t n;

	(void)hv;
	if (parse_value(l, &n) || n > CONFIG_CAP_MAX)
		return config_bad_value(l, "percent of one CPU, 0 (no cap) to 6400");
	vm->cap = (uint32_t)n;
	return 0;
}

/* "3" or "0-2" of `n` characters as bits. */
static int parse_cpu_range(const char *s, size_t n, uint64_t *mask)
{
	const char *dash = memchr(s, '-', n);
	size_t head = dash ? (size_t)(dash - s) : n;
	uint64_t first, last;

	if (number_parse(s, head, &first))
		return -E_INVAL;
	last = first;
	if (dash && number_parse(dash + 1, n - head - 1, &last))
		return -E_INVAL;
	if (first > last || last > 63)
		return -E_INVAL;
	for (uint64_t cpu = first; cpu <= last; cpu++)
		*mask |= BIT(cpu);
	return 0;
}

static int set_cpus(const struct config_line *l, struct hv_config *hv, struct vm_config *vm)
{
	uint64_t mask = 0;

	(void)hv;
	if (!strcmp(l->value, "all")) {
		vm->cpus = ~0ULL;
		return 0;
	}
	for (const char *s = l->value;; s++) {
		const char *comma = strchr(s, ',');
		size_t n = comma ? (size_t)(comma - s) : strlen(s);

		if (parse_cpu_range(s, n, &mask))
			return config_bad_value(l, "all, or CPUs from 0 to 63 such as 0,2-3");
		s += n;
		if (!*s)
			break;
	}
	vm->cpus = mask;
	return 0;
}

enum {
	KEY_VCPUS,
	KEY_MEMORY,
	KEY_KERNEL,
	KEY_INITRD,
	KEY_CMDLINE,
	KEY_PROTOCOL,
	KEY_MODULE,
	KEY_DISK,
	KEY_NET,
	KEY_LOAD,
	KEY_ENTRY,
	KEY_MODE,
	KEY_BREAK,
	KEY_AUTOSTART,
	KEY_KVM,
	KEY_HYPERCALLS,
	KEY_PEERS,
	KEY_RNG,
	KEY_HVC,
	KEY_BALLOON,
	KEY_WEIGHT,
	KEY_CAP,
	KEY_CPUS
};

static const struct key vm_keys[] = {
    [KEY_VCPUS] = {"vcpus", .set = set_vcpus},
    [KEY_MEMORY] = {"memory", .set = set_memory},
    [KEY_KERNEL] = {"kernel", .set = set_kernel},
    [KEY_INITRD] = {"initrd", .set = set_initrd},
    [KEY_CMDLINE] = {"cmdline", .set = set_cmdline},
    [KEY_PROTOCOL] = {"protocol", .set = set_protocol},
    [KEY_MODULE] = {"module", .set = set_module, .repeats = true},
    [KEY_DISK] = {"disk", .set = set_disk, .repeats = true},
    [KEY_NET] = {"net", .set = set_net, .repeats = true},
    [KEY_LOAD] = {"load", .set = set_load},
    [KEY_ENTRY] = {"entry", .set = set_entry},
    [KEY_MODE] = {"mode", .set = set_mode},
    [KEY_BREAK] = {"break", .set = set_break},
    [KEY_AUTOSTART] = {"autostart", SWITCH(vm_config, autostart)},
    [KEY_KVM] = {"kvm", SWITCH(vm_config, kvm)},
    [KEY_HYPERCALLS] = {"hypercalls", SWITCH(vm_config, hypercalls)},
    [KEY_PEERS] = {"peers", .set = set_peers},
    [KEY_RNG] = {"rng", SWITCH(vm_config, rng)},
    [KEY_HVC] = {"hvc", .set = set_hvc},
    [KEY_BALLOON] = {"balloon", SWITCH(vm_config, balloon)},
    [KEY_WEIGHT] = {"weight", .set = set_weight},
    [KEY_CAP] = {"cap", .set = set_cap},
    [KEY_CPUS] = {"cpus", .set = set_cpus},
};

/* Keys that mean something to one way of starting only. */
static const struct {
	unsigned key;
	enum boot_protocol protocol;
} key_needs[] = {
    {KEY_INITRD, PROTOCOL_LINUX}, {KEY_MODULE, PROTOCOL_MULTIBOOT}, {KEY_LOAD, PROTOCOL_FLAT},
    {KEY_ENTRY, PROTOCOL_FLAT},	  {KEY_MODE, PROTOCOL_FLAT},
};

/* --- settings to sections ---------------------------------------------------------------------------------------- */

static int unknown_key(const struct config_line *l, const struct key *keys, unsigned count)
{
	char known[CONFIG_ERROR_MAX];
	size_t n = 0;

	known[0] = 0;
	for (unsigned i = 0; i < count && n < sizeof(known); i++)
		n += (size_t)snprintf(known + n, sizeof(known) - n, "%s%s", i ? ", " : "", keys[i].name);
	return config_complain(l, "unknown key '%.40s', expected one of %s", l->key, known);
}

static int apply(const struct config_line *l, const struct key *keys, unsigned count, uint32_t *seen,
		 struct hv_config *hv, struct vm_config *vm)
{
	if (!l->key[0]) /* the section itself */
		return 0;
	for (unsigned i = 0; i < count; i++) {
		if (strcmp(l->key, keys[i].name))
			continue;
		if (*seen & BIT(i) && !keys[i].repeats)
			return config_complain(l, "%s: found a second time, expected once", l->key);
		*seen |= (uint32_t)BIT(i);
		if (!keys[i].set)
			return set_switch(l, (bool *)((char *)(vm ? (void *)vm : hv) + keys[i].flag));
		return keys[i].set(l, hv, vm);
	}
	return unknown_key(l, keys, count);
}

static bool is_repeatable(const char *key)
{
	for (unsigned i = 0; i < ARRAY_SIZE(vm_keys); i++)
		if (!strcmp(key, vm_keys[i].name))
			return vm_keys[i].repeats;
	return false;
}

/* The NAME of "vm NAME". It is printed in every message, so it is kept plain. */
static int take_name(const struct config_line *l, const char *name, struct vm_config *vm)
{
	size_t n = config_word_length(name);

	if (!n || *config_skip_blanks(name + n))
		return config_complain(l, "found section [%.60s], expected [vm NAME] with one word for NAME",
				       l->section);
	if (n >= CONFIG_NAME_MAX)
		return config_complain(l, "found a name of %zu characters, expected at most %d", n,
				       CONFIG_NAME_MAX - 1);
	for (size_t i = 0; i < n; i++)
		if (!config_is_name_char(name[i]))
			return config_complain(
			    l, "found section [%.60s], expected letters, digits, '-', '_', '.' in the name",
			    l->section);
	memcpy(vm->name, name, n);
	return 0;
}

static int refuse_duplicate(const struct config_line *l, const struct config *c, const struct vm_config *vm)
{
	for (const struct vm_config *other = c->vm; other < vm; other++)
		if (!strcmp(other->name, vm->name))
			return config_complain(
			    l, "found a second VM of that name (the first: line %u), expected another name",
			    other->line);
	return 0;
}

/* The VM that a setting of section "vm NAME" belongs to: a new one with defaults when the section is new. */
static struct vm_config *find_vm(struct parser *p, struct config_line *l, const char *name, uint32_t offset)
{
	struct config *c = p->config;
	struct vm_config *vm;

	for (unsigned i = 0; i < c->vm_count; i++)
		if (p->section[i].offset == offset)
			return &c->vm[i];
	if (c->vm_count == CONFIG_MAX_VMS)
		return NULL;
	p->section[c->vm_count].offset = offset;
	vm = &c->vm[c->vm_count];
	*vm = (struct vm_config){
	    .line = l->number,
	    .vcpus = 1,
	    .memory = 64 * MIB,
	    .cmdline = "",
	    .load_address = 0x7c00,
	    .autostart = true,
	    .kvm = true,
	    .hypercalls = true,
	    .weight = CONFIG_WEIGHT_DEFAULT,
	    .cpus = ~0ULL,
	};
	l->error = vm->error;
	if (!take_name(l, name, vm))
		(void)!refuse_duplicate(l, c, vm);
	c->vm_count++;
	return vm;
}

/* Only the first complaint about a VM is kept; what follows is mostly its echo. */
static int take_vm_line(struct parser *p, const struct config_line *line, const char *name, uint32_t offset)
{
	struct config_line own = *line, *l = &own; /* its messages are written into buffers of ours */
	char who[CONFIG_NAME_MAX + 8], later[CONFIG_ERROR_MAX];
	struct vm_config *vm;

	snprintf(who, sizeof(who), "vm %.*s", (int)(config_word_length(name) < 31 ? config_word_length(name) : 31),
		 name);
	l->who = who;
	vm = find_vm(p, l, name, offset);
	if (!vm) {
		l->error = p->error;
		return config_complain(l, "found one more VM, expected at most %d", CONFIG_MAX_VMS);
	}
	l->error = vm->error[0] ? later : vm->error;
	(void)!apply(l, vm_keys, ARRAY_SIZE(vm_keys), &p->section[vm - p->config->vm].seen, &p->config->hv, vm);
	return 0;
}

static int take_line(struct parser *p, struct config_line *l, uint32_t offset)
{
	const char *first = config_skip_blanks(l->section);
	size_t n = config_word_length(first);

	if (n == 2 && !memcmp(first, "vm", 2))
		return take_vm_line(p, l, config_skip_blanks(first + n), offset);
	l->who = "vireo.conf";
	if (n != 10 || memcmp(first, "hypervisor", 10) || *config_skip_blanks(first + n))
		return config_complain(l, "found section [%.40s], expected [hypervisor] or [vm NAME]", l->section);
	l->who = "vireo.conf: hypervisor";
	return apply(l, hv_keys, ARRAY_SIZE(hv_keys), &p->hv_seen, &p->config->hv, NULL);
}

/* A string of the config text, or NULL when it does not lie in the text and end there. */
static const char *string_at(const struct parser *p, uint32_t offset)
{
	if (offset >= p->info->config_size || !memchr(p->text + offset, 0, p->info->config_size - offset))
		return NULL;
	return p->text + offset;
}

static int take_setting(struct parser *p, const struct boot_setting *s)
{
	struct config_line l = {.number = s->line, .error = p->error, .info = p->info, .who = "boot_info: setting"};

	l.section = string_at(p, s->section);
	l.key = string_at(p, s->key);
	l.value = string_at(p, s->value);
	if (!l.section || !l.key || !l.value)
		return config_complain(&l,
				       "found offsets %u, %u, %u, expected strings that end within the text's %u bytes",
				       s->section, s->key, s->value, p->info->config_size);
	return take_line(p, &l, s->section);
}

/* --- what can only be said when all lines are known -------------------------------------------------------------- */

static void finish_vm(struct vm_config *vm, uint32_t seen)
{
	static const char *const protocol[] = {"linux", "multiboot", "flat"};
	char who[CONFIG_NAME_MAX + 8];
	struct config_line l = {.number = vm->line, .who = who, .error = vm->error};

	if (vm->error[0])
		return;
	snprintf(who, sizeof(who), "vm %s", vm->name);
	if (!(seen & BIT(KEY_ENTRY)))
		vm->entry = vm->load_address;
	if (!(seen & BIT(KEY_KERNEL)))
		(void)!config_complain(&l, "found no kernel, expected a line 'kernel = PATH'");
	for (size_t i = 0; i < ARRAY_SIZE(key_needs) && !vm->error[0]; i++)
		if (seen & BIT(key_needs[i].key) && vm->protocol != key_needs[i].protocol)
			(void)!config_complain(&l, "found '%s' with protocol %s, expected it with %s only",
					       vm_keys[key_needs[i].key].name, protocol[vm->protocol],
					       protocol[key_needs[i].protocol]);
}

/* Of two VMs that can't both have a file, the second is refused. A VM that was refused has none. */
static void check_files(struct config *config, unsigned index)
{
	struct vm_config *vm = &config->vm[index];
	char who[CONFIG_NAME_MAX + 8];
	struct config_line l = {.number = vm->line, .who = who, .error = vm->error};

	snprintf(who, sizeof(who), "vm %s", vm->name);
	for (unsigned i = 0; i <= index && !vm->error[0]; i++)
		if (!config->vm[i].error[0])
			(void)!config_refuse_shared(&l, vm, &config->vm[i]);
}

/* There is no text to look at: say why. */
static int explain_status(const struct boot_info *info, char *error)
{
	if (info->config_status == BOOT_EMPTY)
		snprintf(error, CONFIG_ERROR_MAX, "vireo.conf: file is empty, expected at least one [vm NAME] section");
	else if (info->config_status == BOOT_TOO_LARGE && !info->config_error[0])
		snprintf(error, CONFIG_ERROR_MAX, "vireo.conf: file too large, expected at most %d bytes",
			 BOOT_CONFIG_MAX);
	else if (info->config_status == BOOT_SYNTAX || info->config_status == BOOT_TOO_LARGE)
		snprintf(error, CONFIG_ERROR_MAX, "vireo.conf: %.*s", (int)sizeof(info->config_error),
			 info->config_error);
	else
		snprintf(error, CONFIG_ERROR_MAX, "vireo.conf: %s", config_status_text(info->config_status));
	return -E_INVAL;
}

int config_parse(struct config *config, const struct boot_info *info, const char *text, char error[CONFIG_ERROR_MAX])
{
	struct parser p = {.config = config, .info = info, .text = text, .error = error};
	int err;

	memset(config, 0, sizeof(*config));
	config->hv = (struct hv_config){.apicv = true,
					.vpid = true,
					.preemption_timer = true,
					.aslr = true,
					.background = true,
					.serial_baud = 115200};
	error[0] = 0;
	if (info->config_status != BOOT_OK)
		return explain_status(info, error);
	for (uint32_t i = 0; i < info->setting_count && i < BOOT_MAX_SETTINGS; i++) {
		err = take_setting(&p, &info->setting[i]);
		if (err)
			return err;
	}
	if (!config->vm_count) {
		snprintf(error, CONFIG_ERROR_MAX, "vireo.conf: found no [vm NAME] section, expected at least one");
		return -E_INVAL;
	}
	for (unsigned i = 0; i < config->vm_count; i++) {
		finish_vm(&config->vm[i], p.section[i].seen);
		check_files(config, i);
	}
	return 0;
}

/* --- at run time -------------------------------------------------------------------------------------------------- */

int config_set(struct vm_config *vm, const struct boot_info *info, const char *key, const char *value,
	       char error[CONFIG_ERROR_MAX])
{
	char who[CONFIG_NAME_MAX + 8];
	struct config_line l = {.section = "", .key = key, .value = value, .who = who, .error = error, .info = info};
	struct vm_config changed = *vm;
	uint32_t seen = 0;
	int err;

	snprintf(who, sizeof(who), "vm %s", vm->name);
	if (is_repeatable(key)) /* one more would join those that are there */
		return config_complain(&l, "%s: is given in vireo.conf only, and taken over by a copy", key);
	err = apply(&l, vm_keys, ARRAY_SIZE(vm_keys), &seen, NULL, &changed);
	for (size_t i = 0; i < ARRAY_SIZE(key_needs) && !err; i++)
		if (seen & BIT(key_needs[i].key) && vm->protocol != key_needs[i].protocol)
			err = config_complain(&l, "'%s' means nothing to the VM's protocol", key);
	if (!err)
		err = config_refuse_shared(&l, &changed, &changed);
	if (err)
		return err;
	if (seen & BIT(KEY_LOAD) && vm->entry == vm->load_address)
		changed.entry = changed.load_address;
	*vm = changed;
	return 0;
}

int config_copy(struct vm_config *vm, const struct vm_config *like, const char *name, char error[CONFIG_ERROR_MAX])
{
	struct config_line l = {.section = name, .who = "create", .error = error};
	const struct disk_config *disk = config_in_place_disk(like);
	struct vm_config copy = *like;

	if (disk)
		return config_complain(&l, "disk %s: written by vm %s, expected it as 'overlay SIZE' to have a copy",
				       disk->file->path, like->name);
	memset(copy.name, 0, sizeof(copy.name));
	copy.line = 0;
	for (unsigned i = 0; i < copy.net_count; i++)
		memset(copy.net[i].mac, 0, NET_MAC_SIZE);
	if (take_name(&l, name, &copy))
		return -E_INVAL;
	*vm = copy;
	return 0;
}
