/* Formatted text for the core: printf.h. No floating point, no %n, no locale; what is unknown is printed as it stands.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/lib/printf.h"
#include "hv/lib/string.h"

#include <stdbool.h>
#include <stdint.h>

struct output {
	char *buf;
	size_t size;   /* of buf, its terminator included */
	size_t length; /* that the whole text has */
};

struct spec {
	bool left, zero, alternate, plus, space;
	int width;
	int precision; /* -1: none */
	int longs;     /* 0: int, 1: long and size_t, 2: long long */
};

static void put(struct output *out, char c)
{
	if (out->length + 1 < out->size)
		out->buf[out->length] = c;
	out->length++;
}

static void put_many(struct output *out, char c, int count)
{
	while (count-- > 0)
		put(out, c);
}

static void put_text(struct output *out, const struct spec *spec, const char *text, size_t length)
{
	int pad = spec->width > (int)length ? spec->width - (int)length : 0;

	if (!spec->left)
		put_many(out, ' ', pad);
	for (size_t i = 0; i < length; i++)
		put(out, text[i]);
	if (spec->left)
		put_many(out, ' ', pad);
}

static void put_string(struct output *out, const struct spec *spec, const char *text)
{
	if (!text)
		text = "(null)";
	put_text(out, spec, text, spec->precision >= 0 ? strnlen(text, (size_t)spec->precision) : strlen(text));
}

/* Digits from the right end of `end`; returns the first. Zero has no digits here: precision puts them. */
static char *write_digits(char *end, uint64_t value, unsigned base, bool upper)
{
	const char *digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";

	for (; value; value /= base)
		*--end = digits[value % base];
	return end;
}

/* Prefix (sign or 0x), zeros up to precision or width, digits; blanks around them. C17 7.21.6.1. */
static void put_number(struct output *out, const struct spec *spec, const char *prefix, uint64_t value, unsigned base,
		       bool upper)
{
	char buf[24];
	char *end = buf + sizeof(buf);
	char *first = write_digits(end, value, base, upper);
	int digits = (int)(end - first);
	int prefix_length = (int)strlen(prefix);
	int zeros = (spec->precision >= 0 ? spec->precision : 1) - digits;
	int pad;

	if (zeros < 0)
		zeros = 0;
	pad = spec->width - prefix_length - zeros - digits;
	if (pad > 0 && spec->zero && !spec->left && spec->precision < 0) {
		zeros += pad;
		pad = 0;
	}
	if (!spec->left)
		put_many(out, ' ', pad);
	while (*prefix)
		put(out, *prefix++);
	put_many(out, '0', zeros);
	while (first < end)
		put(out, *first++);
	if (spec->left)
		put_many(out, ' ', pad);
}

static void put_signed(struct output *out, const struct spec *spec, int64_t value)
{
	const char *prefix = value < 0 ? "-" : spec->plus ? "+" : spec->space ? " " : "";

	put_number(out, spec, prefix, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, 10, false);
}

static const char *parse_flags(struct spec *spec, const char *p)
{
	for (;; p++) {
		if (*p == '-')
			spec->left = true;
		else if (*p == '0')
			spec->zero = true;
		else if (*p == '#')
			spec->alternate = true;
		else if (*p == '+')
			spec->plus = true;
		else if (*p == ' ')
			spec->space = true;
		else
			return p;
	}
}

/* Numbers in a format are ours, not a guest's; the bound only keeps a typing error from looping for minutes. */
static const char *parse_number(int *number, const char *p)
{
	*number = 0;
	for (; *p >= '0' && *p <= '9'; p++)
		if (*number < 10000)
			*number = *number * 10 + (*p - '0');
	return p;
}

static const char *parse_length(struct spec *spec, const char *p)
{
	for (;; p++) {
		if (*p == 'l')
			spec->longs++;
		else if (*p == 'z')
			spec->longs = 1;
		else if (*p != 'h')
			return p;
	}
}

/* char and short arrive as int; %hhx prints them unmasked, which the core does not ask for. */
static int64_t next_signed(const struct spec *spec, va_list *args)
{
	return spec->longs ? va_arg(*args, long long) : va_arg(*args, int);
}

static uint64_t next_unsigned(const struct spec *spec, va_list *args)
{
	return spec->longs ? va_arg(*args, unsigned long long) : va_arg(*args, unsigned);
}

static void put_hex(struct output *out, const struct spec *spec, uint64_t value, bool upper)
{
	const char *prefix = !spec->alternate || !value ? "" : upper ? "0X" : "0x";

	put_number(out, spec, prefix, value, 16, upper);
}

static void convert(struct output *out, const struct spec *spec, char kind, va_list *args)
{
	char c;

	switch (kind) {
	case 'd':
	case 'i':
		put_signed(out, spec, next_signed(spec, args));
		break;
	case 'u':
		put_number(out, spec, "", next_unsigned(spec, args), 10, false);
		break;
	case 'x':
	case 'X':
		put_hex(out, spec, next_unsigned(spec, args), kind == 'X');
		break;
	case 'p':
		put_number(out, spec, "0x", (uint64_t)va_arg(*args, void *), 16, false);
		break;
	case 'c':
		c = (char)va_arg(*args, int);
		put_text(out, spec, &c, 1);
		break;
	case 's':
		put_string(out, spec, va_arg(*args, const char *));
		break;
	default:
		put(out, '%');
		if (kind != '%')
			put(out, kind);
		break;
	}
}

/* Parses what stands between % and the conversion; returns where the conversion character is. */
static const char *parse_spec(struct spec *spec, const char *p, va_list *args)
{
	*spec = (struct spec){.precision = -1};
	p = parse_flags(spec, p);
	if (*p == '*') {
		spec->width = va_arg(*args, int);
		p++;
	} else {
		p = parse_number(&spec->width, p);
	}
	if (spec->width < 0) {
		spec->left = true;
		spec->width = -spec->width;
	}
	if (*p == '.' && p[1] == '*') {
		spec->precision = va_arg(*args, int);
		p += 2;
	} else if (*p == '.') {
		p = parse_number(&spec->precision, p + 1);
	}
	return parse_length(spec, p);
}

int vsnprintf(char *buf, size_t size, const char *fmt, va_list original)
{
	struct output out = {.buf = buf, .size = size};
	va_list args;

	va_copy(args, original);
	for (; *fmt; fmt++) {
		struct spec spec;

		if (*fmt != '%') {
			put(&out, *fmt);
			continue;
		}
		fmt = parse_spec(&spec, fmt + 1, &args);
		if (!*fmt)
			break;
		convert(&out, &spec, *fmt, &args);
	}
	va_end(args);
	if (size)
		buf[out.length < size ? out.length : size - 1] = '\0';
	return (int)out.length;
}

int snprintf(char *buf, size_t size, const char *fmt, ...)
{
	va_list args;
	int length;

	va_start(args, fmt);
	length = vsnprintf(buf, size, fmt, args);
	va_end(args);
	return length;
}
