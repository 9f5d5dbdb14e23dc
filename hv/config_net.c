/*
 * vireo.conf's key `net` (config_line.h): a network card, the network that it is on, and what its port may do.
 *
 *	NETWORK [mac=XX:XX:XX:XX:XX:XX] [vlan=N] [trunk] [isolated] [rate=SIZE] [spoof]
 *
 * in any order behind the network. Networks need no line of their own: one is there when it is named. Pure.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/config_line.h"
#include "hv/lib/number.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"

#define RATE_MIN KIB
#define RATE_MAX (64 * GIB)
#define MAC_TEXT (3 * NET_MAC_SIZE - 1) /* XX:XX:... */

struct option {
	const char *name; /* with '=' at its end: text follows in the same word */
	int (*set)(const struct config_line *l, const char *text, size_t n, struct net_config *net);
};

/* Characters of a word that a message shows. */
static int shown(size_t n)
{
	return (int)(n < 40 ? n : 40);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool parse_mac(const char *s, size_t n, uint8_t mac[NET_MAC_SIZE])
{
	if (n != MAC_TEXT)
		return false;
	for (unsigned i = 0; i < NET_MAC_SIZE; i++, s += 3) {
		int high = hex_digit(s[0]), low = hex_digit(s[1]);

		if (high < 0 || low < 0 || (i + 1 < NET_MAC_SIZE && s[2] != ':'))
			return false;
		mac[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

/* A group's address can't be a card's; all zero is what cards without one have. */
static int set_mac(const struct config_line *l, const char *text, size_t n, struct net_config *net)
{
	if (!parse_mac(text, n, net->mac) || net_mac_is_group(net->mac) || net_mac_is_none(net->mac))
		return config_complain(
		    l, "net: found 'mac=%.*s', expected six bytes of a unicast address, such as mac=52:56:00:00:01:00",
		    shown(n), text);
	return 0;
}

static int set_vlan(const struct config_line *l, const char *text, size_t n, struct net_config *net)
{
	uint64_t vlan;

	if (number_parse(text, n, &vlan) || vlan < 1 || vlan > NET_VLAN_MAX)
		return config_complain(l, "net: found 'vlan=%.*s', expected a number from 1 to %d", shown(n), text,
				       NET_VLAN_MAX);
	net->vlan = (uint16_t)vlan;
	return 0;
}

static int set_rate(const struct config_line *l, const char *text, size_t n, struct net_config *net)
{
	if (number_parse(text, n, &net->rate) || net->rate < RATE_MIN || net->rate > RATE_MAX)
		return config_complain(l, "net: found 'rate=%.*s', expected 1K to 64G bytes a second", shown(n), text);
	return 0;
}

static int set_trunk(const struct config_line *l, const char *text, size_t n, struct net_config *net)
{
	(void)l, (void)text, (void)n;
	net->trunk = true;
	return 0;
}

static int set_isolated(const struct config_line *l, const char *text, size_t n, struct net_config *net)
{
	(void)l, (void)text, (void)n;
	net->isolated = true;
	return 0;
}

static int set_spoof(const struct config_line *l, const char *text, size_t n, struct net_config *net)
{
	(void)l, (void)text, (void)n;
	net->spoof = true;
	return 0;
}

static const struct option options[] = {
    {"mac=", set_mac},		{"vlan=", set_vlan}, {"trunk", set_trunk},
    {"isolated", set_isolated}, {"rate=", set_rate}, {"spoof", set_spoof},
};

static bool option_is(const struct option *o, const char *word, size_t n)
{
	size_t length = strlen(o->name);

	if (o->name[length - 1] != '=')
		return n == length && !memcmp(word, o->name, n);
	return n >= length && !memcmp(word, o->name, length);
}

/* One word behind the network's name; bit n of `seen`: option n was there. */
static int take_option(const struct config_line *l, const char *word, size_t n, unsigned *seen, struct net_config *net)
{
	for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
		size_t length = strlen(options[i].name);

		if (!option_is(&options[i], word, n))
			continue;
		if (*seen & 1u << i)
			return config_complain(l, "net: found %s a second time, expected it once", options[i].name);
		*seen |= 1u << i;
		return options[i].set(l, word + length, n - length, net);
	}
	return config_complain(
	    l, "net: found '%.*s', expected mac=ADDRESS, vlan=NUMBER, trunk, isolated, rate=SIZE or spoof", shown(n),
	    word);
}

static int take_network(const struct config_line *l, size_t n, struct net_config *net)
{
	if (!n)
		return config_complain(l, "net: found nothing, expected the name of a network");
	if (n >= CONFIG_NAME_MAX)
		return config_complain(l, "net: found a network's name of %zu characters, expected at most %d", n,
				       CONFIG_NAME_MAX - 1);
	for (size_t i = 0; i < n; i++)
		if (!config_is_name_char(l->value[i]))
			return config_complain(
			    l, "net: found '%.*s', expected letters, digits, '-', '_', '.' in a network's name", (int)n,
			    l->value);
	memcpy(net->network, l->value, n);
	return 0;
}

int config_add_net(const struct config_line *l, struct vm_config *vm)
{
	size_t n = config_word_length(l->value);
	const char *word = config_skip_blanks(l->value + n);
	struct net_config net = {.vlan = 0};
	unsigned seen = 0;
	int err;

	if (vm->net_count == CONFIG_MAX_NETS)
		return config_complain(l, "net: found one more, expected at most %d", CONFIG_MAX_NETS);
	err = take_network(l, n, &net);
	for (; *word && !err; word = config_skip_blanks(word + n)) {
		n = config_word_length(word);
		err = take_option(l, word, n, &seen, &net);
	}
	if (err)
		return err;
	vm->net[vm->net_count++] = net;
	return 0;
}

void config_number_nets(struct vm_config *vm, unsigned number)
{
	for (unsigned i = 0; i < vm->net_count; i++) {
		uint8_t mac[NET_MAC_SIZE] = {
		    0x52, 0x56, (uint8_t)(number >> 16), (uint8_t)(number >> 8), (uint8_t)number, (uint8_t)i};

		if (net_mac_is_none(vm->net[i].mac))
			memcpy(vm->net[i].mac, mac, NET_MAC_SIZE);
	}
}
