#!/usr/bin/python3
"""Turns a console font (PSF 1 or 2, gzip) into build/gen/font.h: the printable ASCII characters, 16 lines of 8 pixels.

Called by drivers/drivers.mk:  mkfont.py FONT.psf.gz OUTPUT.h
Format: Linux kbd, psf(5) header: magic, size, flags, then bitmaps, then a table of the characters each glyph shows.
"""
# SPDX-License-Identifier: MIT
import gzip
import struct
import sys

FIRST, LAST, HEIGHT, WIDTH = 0x20, 0x7E, 16, 8


def read_psf2(data):
    _, header, flags, count, size, height, width = struct.unpack_from("<7I", data, 4)
    bitmaps = data[header:header + count * size]
    glyphs = [bitmaps[i * size:(i + 1) * size] for i in range(count)]
    table = data[header + count * size:].split(b"\xff") if flags & 1 else None
    names = {}
    for index in range(count):
        if table is None:
            names.setdefault(index, index)
            continue
        for char in table[index].split(b"\xfe")[0].decode("utf-8"):
            names.setdefault(ord(char), index)
    return glyphs, names, width, height


def read_psf1(data):
    mode, height = data[2], data[3]
    count = 512 if mode & 1 else 256
    glyphs = [data[4 + i * height:4 + (i + 1) * height] for i in range(count)]
    names = {}
    words = struct.unpack_from("<%dH" % ((len(data) - 4 - count * height) // 2), data, 4 + count * height)
    index, sequence = 0, False
    for word in words if mode & 6 else []:
        if word == 0xFFFF:
            index, sequence = index + 1, False
        elif word == 0xFFFE:
            sequence = True
        elif not sequence:
            names.setdefault(word, index)
    if not mode & 6:
        names = {i: i for i in range(count)}
    return glyphs, names, 8, height


def read_font(path):
    with gzip.open(path) as f:
        data = f.read()
    if data[:4] == b"\x72\xb5\x4a\x86":
        return read_psf2(data)
    if data[:2] == b"\x36\x04":
        return read_psf1(data)
    raise SystemExit("%s: found magic %s, expected PSF 1 (3604) or PSF 2 (72b54a86)" % (path, data[:4].hex()))


def main():
    path, output = sys.argv[1:]
    glyphs, names, width, height = read_font(path)
    if (width, height) != (WIDTH, HEIGHT):
        raise SystemExit("%s: found glyphs of %dx%d, expected %dx%d" % (path, width, height, WIDTH, HEIGHT))
    missing = [chr(c) for c in range(FIRST, LAST + 1) if c not in names]
    if missing:
        raise SystemExit("%s: has no glyph for %s" % (path, " ".join(missing)))
    with open(output, "w", encoding="ascii") as f:
        f.write("/* Made by drivers/mkfont.py from %s. */\n#pragma once\n" % path.rsplit("/", 1)[-1])
        f.write("#define FONT_FIRST 0x%02x\n#define FONT_LAST 0x%02x\n" % (FIRST, LAST))
        f.write("#define FONT_WIDTH %d\n#define FONT_HEIGHT %d\n" % (WIDTH, HEIGHT))
        f.write("static const unsigned char font[][FONT_HEIGHT] = {\n")
        for c in range(FIRST, LAST + 1):
            f.write("\t{%s},\n" % ", ".join("0x%02x" % b for b in glyphs[names[c]]))
        f.write("};\n")


main()
