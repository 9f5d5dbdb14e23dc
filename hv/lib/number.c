/* Numbers that people type; see number.h. Pure. */
/* SPDX-License-Identifier: MIT */
#include "hv/lib/number.h"

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

static unsigned suffix_shift(char c)
{
	switch (c | 0x20) {
	case 'k':
		return 10;
	case 'm':
		return 20;
	case 'g':
		return 30;
	default:
		return 0;
	}
}

int number_parse(const char *s, size_t n, uint64_t *out)
{
	unsigned base = 10, shift = n ? suffix_shift(s[n - 1]) : 0;
	uint64_t value = 0;

	if (shift)
		n--;
	if (n > 2 && s[0] == '0' && (s[1] | 0x20) == 'x') {
		base = 16;
		s += 2;
		n -= 2;
	}
	if (!n)
		return -E_INVAL;
	for (size_t i = 0; i < n; i++) {
		unsigned digit = (unsigned)digit_value(s[i]);

		if (digit >= base || value > (UINT64_MAX - digit) / base)
			return -E_INVAL;
		value = value * base + digit;
	}
	if (value > UINT64_MAX >> shift)
		return -E_INVAL;
	*out = value << shift;
	return 0;
}
