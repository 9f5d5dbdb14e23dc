"""tests/bench/kvm.c says what is wrong with a file before it asks for KVM. The file is made up: one segment of code."""
# SPDX-License-Identifier: MIT
import pathlib
import struct
import subprocess
import sys

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent / "bench")]
import kvm  # noqa: E402

MEGABYTE = 1 << 20
MULTIBOOT = (0x1BADB002, 3)


def elf(*, ident=b"\x7fELF\1\1\1", kind=2, cpu=3, entry=MEGABYTE, parts_at=52, part_bytes=32, parts=1, offset=84,
        address=MEGABYTE, in_file=16, in_memory=4096, multiboot=MULTIBOOT):
    header = struct.pack("<16sHHIIIIIHHHHHH", ident, kind, cpu, 1, entry, parts_at, 0, 0, 52, part_bytes, parts, 0, 0, 0)
    part = struct.pack("<8I", 1, offset, address, address, in_file, in_memory, 5, 4096)
    return header + part + struct.pack("<3I", *multiboot, -sum(multiboot) & 0xFFFFFFFF) + bytes(4)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kvm")
    subprocess.run([*kvm.CC, "-fsanitize=undefined", "-fno-sanitize-recover", *kvm.SOURCES, "-o", folder / "kvm"],
                   check=True)
    return folder / "kvm"


def complaint(program, tmp_path, content, *arguments):
    (tmp_path / "file").write_bytes(content)
    done = subprocess.run([program, tmp_path / "file", *arguments], capture_output=True, text=True, timeout=20)
    assert done.returncode == 255 and done.stderr == ""
    return done.stdout


WRONG = {
    "no ELF header": (b"\x7fELF", "4 bytes, an ELF header has 52"),
    "64 bits": (elf(ident=b"\x7fELF\2\1\1"), "no ELF file of 32 bits, little-endian"),
    "big-endian": (elf(ident=b"\x7fELF\1\2\1"), "no ELF file of 32 bits, little-endian"),
    "relocatable": (elf(kind=1), "e_type 1, e_machine 3; expected 2, 3"),
    "x86-64": (elf(cpu=62), "e_type 2, e_machine 62; expected 2, 3"),
    "program headers of another size": (elf(part_bytes=56), "e_phentsize 56, expected 32"),
    "program headers past the end": (elf(parts_at=90), "1 program headers at 90 reach past the file's 100 bytes"),
    "program headers far past the end": (elf(parts_at=0xFFFFFFFF), "reach past the file's 100 bytes"),
    "too many program headers": (elf(parts=65535), "65535 program headers at 52 reach past"),
    "segment past the end": (elf(in_file=17), "a segment of 17 bytes at 84 reaches past the file's 100"),
    "segment far past the end": (elf(offset=0xFFFFFFFF), "a segment of 16 bytes at 4294967295 reaches past"),
    "more in the file than in memory": (elf(in_memory=15), "p_filesz 16 is more than its p_memsz 15"),
    "below 1 MiB": (elf(address=4096), "a segment of 4096 bytes at 0x1000; expected from 0x100000 to 0x1000000"),
    "beyond memory": (elf(address=0xFFF001), "a segment of 4096 bytes at 0xfff001; expected"),
    "far beyond memory": (elf(in_memory=0xFFFFFFFF), "a segment of 4294967295 bytes at 0x100000; expected"),
    "entry outside": (elf(entry=MEGABYTE + 16), "e_entry 0x100010 is in no segment"),
    "no segment": (elf(parts=0), "e_entry 0x100000 is in no segment"),
    "no Multiboot": (elf(multiboot=(0, 0)), "no Multiboot header in the first 8192 bytes"),
    "video mode wanted": (elf(multiboot=(0x1BADB002, 7)), "Multiboot flags 0x7; known are 0x3"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_file_is_refused_by_name(what, program, tmp_path):
    content, words = WRONG[what]
    said = complaint(program, tmp_path, content)
    assert said.startswith(f"kvm: {tmp_path}/file: ") and words in said


def test_what_is_wrong_with_the_arguments(program, tmp_path):
    assert complaint(program, tmp_path, elf(), "9") == 'kvm: VCPUS is "9", expected 1 to 8\n'
    assert complaint(program, tmp_path, elf(), "1", 256 * "x") == "kvm: a command line of 256 characters; 255 fit\n"
    assert complaint(program, tmp_path, elf(), "1", "", "more").startswith("kvm: usage: ")
    done = subprocess.run([program, tmp_path / "absent"], capture_output=True, text=True)
    assert done.stdout == f"kvm: {tmp_path}/absent: No such file or directory\n"
