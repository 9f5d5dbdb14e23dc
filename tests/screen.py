"""Reads text back from pictures of the framebuffer: each cell of 8x16 pixels is looked up in the font that
drivers/screen.c draws with. The cursor, an inverted cell, is read as the character in it. What is no glyph of ours
becomes `?`."""
# SPDX-License-Identifier: MIT
import re
import time

import machine

WIDTH, HEIGHT = 8, 16
LIT = bytes([ord("0")]) + bytes([ord("1")]) * 255  # a colour to a binary digit


def glyphs():
    """Bitmaps, as 16 numbers, to characters."""
    text = (machine.BUILD / "gen" / "font.h").read_text()
    first = int(re.search(r"FONT_FIRST (0x[0-9a-f]+)", text)[1], 16)
    rows = re.findall(r"^\t\{(0x.*?)\}", text, re.M)
    plain = {tuple(int(v, 16) for v in row.split(",")): chr(first + i) for i, row in enumerate(rows)}
    return plain | {tuple(line ^ 0xFF for line in glyph): char for glyph, char in plain.items()}


def decode(picture):
    """The text in a binary PPM of 8 bits a colour, a line for each row of cells."""
    header = re.match(rb"P6\s+(\d+)\s+(\d+)\s+255\s", picture)
    width, height = int(header[1]), int(header[2])
    lit = picture[header.end()::3].translate(LIT)  # red is enough: the text is grey
    known = glyphs()

    def cell(row, column):
        at = row * HEIGHT * width + column * WIDTH
        return known.get(tuple(int(lit[a:a + WIDTH], 2) for a in range(at, at + HEIGHT * width, width)), "?")

    return "\n".join("".join(cell(row, column) for column in range(width // WIDTH)).rstrip()
                     for row in range(height // HEIGHT))


def expect(booted, pattern, timeout=60):
    """Looks at the machine's screen until it shows the regular expression; answers the text of the whole screen. Lines
    that are longer than the screen is wide are broken there: they are joined before the search."""
    deadline = time.monotonic() + timeout
    while True:
        text = decode(booted.picture())
        if re.search(pattern, text.replace("\n", "")):
            return text
        assert time.monotonic() < deadline, f"waited {timeout} s for {pattern!r} on the screen, which shows:\n{text}"
