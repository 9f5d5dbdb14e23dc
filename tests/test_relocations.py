"""boot/relocations.py on small programs laid out as the core is: what it appends, and what it refuses by name."""
# SPDX-License-Identifier: MIT
import pathlib
import re
import struct
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOOL = ROOT / "boot" / "relocations.py"
BASE = 0xFFFFFFFF80000000

GOOD = """
bits 64
global core_entry
section .text.entry
core_entry:
    mov rax, [pointer]
    mov rcx, constant + 3
    lea rdx, [rel constant]
    call near_by
near_by:
    ret
section .data
constant: db 1, 2, 3, 4
    db 0
pointer: dq constant, core_entry
    dq 5
"""


def link(folder, text, *options):
    """The paths of the linked file and of one without symbols."""
    (folder / "a.asm").write_text(text)
    subprocess.run(["nasm", "-f", "elf64", "-o", folder / "a.o", folder / "a.asm"], check=True)
    subprocess.run(["ld", "-T", ROOT / "linker.ld", "-z", "max-page-size=4096", "--no-warn-rwx-segments",
                    *(options or ["--emit-relocs"]), "-o", folder / "a.elf", folder / "a.o"], check=True)
    subprocess.run(["strip", "--strip-all", "-o", folder / "a.stripped", folder / "a.elf"], check=True)
    return folder / "a.elf", folder / "a.stripped"


def run(linked, stripped):
    return subprocess.run([sys.executable, TOOL, linked, stripped], capture_output=True, text=True, check=False)


def segments(data):
    count = struct.unpack_from("<H", data, 56)[0]
    return [struct.unpack_from("<IIQQQQQQ", data, 64 + 56 * i) for i in range(count)]


def test_table(tmp_path):
    linked, stripped = link(tmp_path, GOOD)
    before = stripped.read_bytes()
    done = run(linked, stripped)
    assert done.returncode == 0, done.stderr
    data = stripped.read_bytes()
    *others, added = segments(data)
    assert others == segments(before) and added[0] == 0x61736C72
    assert data[4096:len(before)] == before[4096:] and added[2] + added[5] == len(data)

    quads, dwords, *offsets = struct.unpack(f"<{added[5] // 4}I", data[added[2]:])
    assert (quads, dwords, len(offsets)) == (2 + 1, 1, 4)  # MOV to a 64-bit register takes eight bytes
    assert offsets[:3] == sorted(offsets[:3])
    places = {segment[3] - BASE: segment[2] for segment in others}

    def word(offset, form):
        start = max(address for address in places if address <= offset)
        return struct.unpack_from(form, data, places[start] + offset - start)[0] & 2**64 - 1

    constant, entry = word(offsets[1], "<Q"), word(offsets[2], "<Q")
    assert entry == BASE and word(offsets[0], "<Q") == constant + 3
    assert word(offsets[3], "<i") == constant + 5  # pointer


@pytest.mark.parametrize("line, said", [
    pytest.param("section .data\nbad: dw core_entry - $$\n dd nowhere - $\nextern nowhere", "refers to nowhere", id="undefined"),
    pytest.param("section .data\nbad: dq nowhere\nextern nowhere", "bad at 0x.* refers to nowhere.*does not move", id="weak"),
    pytest.param("section .data\nbad: dq core_entry - 1", "bad at 0x.* 0xffffffff7fffffff is not in the core", id="below"),
    pytest.param("section .data\nbad: dq core_entry + 0x1000000", "bad at 0x.* is not in the core", id="far-behind"),
    pytest.param("section .data\nbad: dd core_entry wrt ..gotpc", "not known here", id="type"),
])
def test_refused(tmp_path, line, said):
    linked, stripped = link(tmp_path, GOOD + line + "\n", "--emit-relocs", "--unresolved-symbols=ignore-all")
    before = stripped.read_bytes()
    done = run(linked, stripped)
    assert done.returncode == 1
    assert re.search(said, done.stderr), done.stderr
    assert stripped.read_bytes() == before


def test_without_relocations(tmp_path):
    done = run(*link(tmp_path, GOOD, "-s"))
    assert done.returncode == 1 and "--emit-relocs" in done.stderr
