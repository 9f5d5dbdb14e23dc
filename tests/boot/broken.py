"""Kernels and flat images that are broken in one respect each, for the tests of bad input. All are small: firmware
reads them from an emulated disk. Offsets of the setup header: Linux, Documentation/arch/x86/boot.rst."""
# SPDX-License-Identifier: MIT
import struct

SECTOR = 512
SETUP_SECTS, SYSSIZE, VERSION, PREF_ADDRESS, INIT_SIZE = 0x1f1, 0x1f4, 0x206, 0x258, 0x260
HEADER_MAGIC = 0x1badb002


def put(data, offset, fmt, value):
    struct.pack_into("<" + fmt, data, offset, value)


def short_linux(vmlinuz, code=4096, **fields):
    """The first sectors of a real bzImage and `code` bytes of its payload, with a syssize that fits. fields: setup
    header fields by their names above (lower case)."""
    with open(vmlinuz, "rb") as file:
        data = bytearray(file.read(SECTOR * 64))
    del data[SECTOR * (data[SETUP_SECTS] + 1) + code:]
    put(data, SYSSIZE, "I", code // 16)
    for name, value in fields.items():
        put(data, globals()[name.upper()], {"version": "H", "pref_address": "Q"}.get(name, "I"), value)
    return bytes(data)


def multiboot_header(flags=0, checksum=None):
    checksum = -(HEADER_MAGIC + flags) if checksum is None else checksum
    return struct.pack("<III", HEADER_MAGIC, flags, checksum & 0xffffffff)


# 32-bit code for 0x7c00, mode protected: a GDT of its own with a TSS, and a far jump to it, which is a task switch.
TASK_SWITCH = bytes.fromhex(
    "0f 01 15 20 7c 00 00"     # lgdt [0x7c20]
    "ea 00 00 00 00 08 00"     # jmp 0x08:0
    "f4"                       # hlt
).ljust(0x20, b"\xf4") + struct.pack("<HI", 23, 0x7c28) + bytes(2) + bytes(8) + \
    struct.pack("<HHBBBB", 0x67, 0x7c40, 0, 0x89, 0, 0) + struct.pack("<HHBBBB", 0xffff, 0, 0, 0x9b, 0xcf, 0) + \
    bytes(0x70)
