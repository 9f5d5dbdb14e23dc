#!/usr/bin/python3
"""Says which words of the core hold addresses, so that the loader can move it: appends the table that boot/relocate.h
describes to the core's stripped file, and a program header that says where it is. What the linker left of relocations
(--emit-relocs) is in the file that was not stripped.

Called by boot/boot.mk:  relocations.py LINKED.elf STRIPPED.elf     the second file is changed
A word that can't be moved is named, and the build ends there.
"""
# SPDX-License-Identifier: MIT
import bisect
import collections
import pathlib
import struct
import sys

PT_LOAD, ELF_RELOCATIONS = 1, 0x61736C72  # boot/elf.h
SHT_RELA, SHF_ALLOC, SHN_UNDEF, SHN_ABS, STT_FUNC, STT_SECTION = 4, 2, 0, 0xFFF1, 2, 3
STEP = 2 << 20  # RELOCATE_STEP: so far behind the image's end an address may lie
# System V ABI AMD64 supplement, table 4.9. What is relative stays as it is as long as both ends move.
NONE, QUAD, DWORD_SIGNED = 0, 1, 11
RELATIVE = {2: "PC32", 4: "PLT32", 24: "PC64"}
WORD = {QUAD: ("<Q", 8), DWORD_SIGNED: ("<i", 4)}
HEADER, SECTION, SEGMENT, SYMBOL, RELA = "<16sHHIQQQIHHHHHH", "<IIQQQQIIQQ", "<IIQQQQQQ", "<IBBHQQ", "<QQq"
Section = collections.namedtuple("Section", "name type flags address offset size link info align entry_size")
Segment = collections.namedtuple("Segment", "type flags offset address physical file_size size align")
Symbol = collections.namedtuple("Symbol", "name section value size type")


class Elf:
    def __init__(self, data):
        self.data = data
        (_, _, _, _, _, self.segments_at, sections_at, _, _, _, segments, _, sections, _) = struct.unpack_from(HEADER, data)
        self.sections = [Section(*fields) for fields in self.table(SECTION, sections_at, sections)]
        self.segments = [Segment(*fields) for fields in self.table(SEGMENT, self.segments_at, segments)]

    def table(self, form, offset, count):
        return [struct.unpack_from(form, self.data, offset + i * struct.calcsize(form)) for i in range(count)]

    def symbols(self, section):
        names = self.sections[section.link]
        for name, info, _, index, value, size in self.table(SYMBOL, section.offset, section.size // 24):
            end = self.data.index(b"\0", names.offset + name)
            yield Symbol(self.data[names.offset + name:end].decode(), index, value, size, info & 15)

    def loaded_range(self):
        """From the first byte in memory to the one behind the last page."""
        loaded = [segment for segment in self.segments if segment.type == PT_LOAD]
        return loaded[0].address, loaded[-1].address + loaded[-1].size + 4095 & ~4095


def function_at(symbols, address):
    functions = sorted((s.value, s.name) for s in symbols if s.type != STT_SECTION and s.name and s.section)
    at = bisect.bisect_right(functions, (address, "\x7f")) - 1
    return functions[at][1] if at >= 0 else "?"


def why_not(elf, kind, symbol, target, stored):
    """What keeps a relocation from being moved, or None."""
    base, end = elf.loaded_range()
    if kind not in WORD and kind not in RELATIVE:
        return f"relocations of type {kind} are not known here"
    if symbol.section in (SHN_UNDEF, SHN_ABS) or not elf.sections[symbol.section].flags & SHF_ALLOC:
        return "what it refers to does not move with the core"
    if kind in WORD and not base <= target < end + STEP:
        return f"{target:#x} is not in the core"
    if kind in WORD and stored != target:
        return f"the file holds {stored:#x}, expected {target:#x}"
    return None


def places(elf):
    """({type: addresses of words to move}, [complaints])"""
    found, complaints = {QUAD: set(), DWORD_SIGNED: set()}, []
    for section in elf.sections:
        if section.type != SHT_RELA or not elf.sections[section.info].flags & SHF_ALLOC:
            continue
        part, symbols = elf.sections[section.info], list(elf.symbols(elf.sections[section.link]))
        for place, info, addend in elf.table(RELA, section.offset, section.size // 24):
            kind, symbol = info & 0xFFFFFFFF, symbols[info >> 32]
            if kind == NONE:
                continue
            target, stored = symbol.value + addend & 2**64 - 1, None
            if kind in WORD:
                stored = struct.unpack_from(WORD[kind][0], elf.data, part.offset + place - part.address)[0] & 2**64 - 1
            why = why_not(elf, kind, symbol, target, stored)
            if why:
                complaints.append(f"{function_at(symbols, place)} at {place:#x} refers to "
                                  f"{symbol.name or elf.sections[symbol.section].address}{addend:+#x}: {why}")
            elif kind in WORD:
                found[kind].add(place)
    return found, complaints


def make_table(elf):
    """The bytes of the table."""
    found, complaints = places(elf)
    if not any(found.values()) and not complaints:
        complaints = ["it has no relocations: was it linked with --emit-relocs?"]
    if complaints:
        sys.exit("\n".join(f"relocations.py: {complaint}" for complaint in complaints))
    base = elf.loaded_range()[0]
    words = [len(found[QUAD]), len(found[DWORD_SIGNED])]
    words += [place - base for kind in (QUAD, DWORD_SIGNED) for place in sorted(found[kind])]
    return struct.pack(f"<{len(words)}I", *words)


def append(elf, table):
    """The file with the table at its end and one program header more, for which the linker leaves room: segments begin
    with a page."""
    data, count = bytearray(elf.data), len(elf.segments)
    header = elf.segments_at + count * struct.calcsize(SEGMENT)
    first = min(segment.offset for segment in elf.segments if segment.file_size)
    if header + struct.calcsize(SEGMENT) > first or any(data[header:header + struct.calcsize(SEGMENT)]):
        sys.exit("relocations.py: there is no room for a program header")
    data += bytes(-len(data) % 8)
    struct.pack_into(SEGMENT, data, header, ELF_RELOCATIONS, 4, len(data), 0, 0, len(table), 0, 8)
    struct.pack_into("<H", data, 56, count + 1)
    return bytes(data) + table


def main(linked, stripped):
    table = make_table(Elf(pathlib.Path(linked).read_bytes()))
    stripped = pathlib.Path(stripped)
    stripped.write_bytes(append(Elf(stripped.read_bytes()), table))


if __name__ == "__main__":
    main(*sys.argv[1:])
