"""Input that is wrong: each gives one clear message, and what is not concerned goes on. Wrong virtual machines stand
beside one that is right and must work; what is wrong with all of vireo.conf, or with the machine, stops it cleanly."""
# SPDX-License-Identifier: MIT
import re
import subprocess

import pytest

import broken
import machine
import screen
from conftest import LINUX, ROOT

BOOT_SECONDS = 180  # of the machine's clock; alone it is 10
GUESTS = machine.BUILD / "guests"
FLAT = "protocol = flat\nkernel = real.bin\nmemory = 4M\n"
GOOD = f"[vm good]\n{FLAT}"
HALTED = r"vireo: (the machine is halted|no guest can run|no guest could be started)"
NOISE = bytes((i * 167 + (i >> 8) * 13 + 5) & 0xff for i in range(65536))

# Name of the VM, its section, and what must be said about it. Line numbers are put in for LINE+n.
BROKEN_VMS = [
    ("key", FLAT + "colour = red\n",
     r"vireo\.conf: vm key \(line LINE\+4\): unknown key 'colour', expected one of vcpus, memory, kernel, .*, cpus"),
    ("number", FLAT + "vcpus = two\n",
     r"vireo\.conf: vm number \(line LINE\+4\): vcpus: found 'two', expected a number from 1 to 32"),
    ("size", "memory = 64Q\nkernel = real.bin\n",
     r"vireo\.conf: vm size \(line LINE\+1\): memory: found '64Q', expected a size such as 64M or 1G"),
    ("good", FLAT,
     r"vireo\.conf: vm good \(line LINE\): found a second VM of that name \(the first: line 2\), expected another name"),
    ("nothing", "",
     r"vireo\.conf: vm nothing \(line LINE\): found no kernel, expected a line 'kernel = PATH'"),
    ("missing", "kernel = \\vireo\\nobody\n",
     r"vireo\.conf: vm missing \(line LINE\+1\): kernel \\vireo\\nobody: file not found"),
    ("empty", "kernel = empty\n",
     r"vireo\.conf: vm empty \(line LINE\+1\): kernel empty: file is empty"),
    ("mixed", FLAT + "initrd = real.bin\n",
     r"vireo\.conf: vm mixed \(line LINE\): found 'initrd' with protocol flat, expected it with linux only"),
    ("memory", "protocol = flat\nkernel = real.bin\nmemory = 2G\n",
     r"vm memory: not started: memory: found 2048 MiB, expected at most \d+ MiB, what is "
     r"free in whole chunks of 2 MiB"),
    ("truncated", "kernel = truncated\n",
     r"vm truncated: not started: truncated: truncated: found 24576 bytes, expected \d+ "
     r"\(setup_sects \d+, syssize 0x[0-9a-f]+\)"),
    ("noise", "kernel = noise\n",
     r"vm noise: not started: noise: not a bzImage: boot_flag: found 0x[0-9a-f]{4}, expected 0xaa55"),
    ("old", "kernel = old\n",
     r"vm old: not started: old: too old a protocol: found 0x0204, expected at least 0x020c"),
    ("initrd", "kernel = low\ninitrd = noise\nmemory = 4M\n",
     r"vm initrd: not started: noise: initrd larger than memory: found 65536 bytes, expected at most 4096 beside "
     r"the kernel and below 0x80000000"),
    ("kernel", "kernel = high\nmemory = 32M\n",
     r"vm kernel: not started: high: kernel larger than memory: init_size is 0x[0-9a-f]+ bytes at 0x1000000, found RAM "
     r"up to 0x2000000"),
    ("checksum", "protocol = multiboot\nkernel = checksum\n",
     r"vm checksum: not started: checksum: Multiboot header: checksum: found 0x00000001, expected 0xe4524ffe"),
    ("flags", "protocol = multiboot\nkernel = flags\n",
     r"vm flags: not started: flags: Multiboot header: flags: found 0x00000008, of which 0x0008 is unknown and required, "
     r"expected bits 0 to 2 and 16"),
    ("header", "protocol = multiboot\nkernel = noise\n",
     r"vm header: not started: noise: no Multiboot header: found no 0x1badb002 in the first 8192 bytes"),
    ("flat", "protocol = flat\nkernel = noise\nload = 0x3f8000\nmode = protected\nmemory = 4M\n",
     r"vm flat: not started: noise: load: found 65536 bytes for 0x3f8000, expected them inside the VM's memory"),
]


def write_files(folder):
    """The broken files, as arguments of make_image."""
    files = {
        "empty": b"",
        "noise": NOISE,
        "truncated": LINUX[0].read_bytes()[:24576],
        "old": broken.short_linux(LINUX[0], version=0x204),
        # From 1 MiB on, all but one page of 4 MiB.
        "low": broken.short_linux(LINUX[0], pref_address=1 << 20, init_size=(3 << 20) - 4096),
        "high": broken.short_linux(LINUX[0]),
        "checksum": broken.multiboot_header(flags=0, checksum=1),
        "flags": broken.multiboot_header(flags=8),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in files]


def place_sections(first, sections):
    """vireo.conf of `first` and the sections, and the expected messages with their line numbers."""
    conf, messages = first, []
    for name, body, message in sections:
        line = conf.count("\n") + 1
        conf += f"[vm {name}]\n{body}"
        messages.append(re.sub(r"LINE(\\\+(\d))?", lambda m, at=line: str(at + int(m[2] or 0)), message))
    return conf, messages


def test_broken_vms(boot, make_image, tmp_path):
    conf, messages = place_sections(f"# vireo.conf\n{GOOD}", BROKEN_VMS)
    booted = boot(make_image(conf, [GUESTS / "real.bin", *write_files(tmp_path)]), timeout=BOOT_SECONDS)
    booted.expect(r"vireo: all guests have ended")
    said = booted.output()
    for message in messages:
        assert re.search(rf"error: ({message})\n", said), message
    assert said.count("error:") == len(messages), "more errors than there are mistakes"
    assert int(re.search(r"memory: (\d+) KiB used by Vireo itself", said)[1]) < 4096, "failed VMs keep memory"
    assert "guest real: ok" in said and "vm good: debug exit with code 0" in said


@pytest.mark.parametrize("conf, message", [
    pytest.param(None, r"vireo\.conf: file not found", id="missing"),
    pytest.param("", r"vireo\.conf: file is empty, expected at least one \[vm NAME\] section", id="empty"),
    pytest.param(NOISE * 16, r"vireo\.conf: found 1048576 bytes, expected at most 65536", id="1MiB-of-noise"),
    pytest.param(b"\xff\xfe[\0v\0m\0 \0a\0]\0\n\0",
                 r'vireo\.conf: line 1: found "\\x00v\\x00m\\x00 \\x00a", expected plain text '
                 r"\(a binary file, or UTF-16: save it as UTF-8\)", id="UTF-16"),
    pytest.param(GOOD + "[hypervisor]\napic = off\n",
                 r"vireo\.conf: hypervisor \(line 6\): unknown key 'apic', expected one of apicv, vpid, .*, scheduler",
                 id="unknown-key"),
])
def test_useless_conf(boot, make_image, conf, message):
    """On QEMU: vireo.conf is read before VT-x is looked for, and its screen can be looked at."""
    booted = boot(make_image(conf, []), backend="qemu", timeout=BOOT_SECONDS)
    booted.expect(rf"error: vireo: {message}")
    booted.expect(HALTED)
    screen.expect(booted, rf"error: vireo: {message}.*{HALTED}")


def test_no_vtx_on_screen(boot, make_image):
    booted = boot(make_image(GOOD, [GUESTS / "real.bin"]), backend="qemu", timeout=BOOT_SECONDS)
    message = r"vireo: this CPU has no VT-x: CPUID\.1:ECX is 0x[0-9a-f]+, expected bit 5 \(VMX\) set"
    booted.expect(message)
    booted.expect(HALTED)
    screen.expect(booted, rf"error: {message}.*{HALTED}")


def build_efi(folder, *variables):
    """Another EFI file, built apart from the usual one with variables of make (see boot/boot.mk)."""
    efi = folder / "build" / "BOOTX64.EFI"
    subprocess.run(["make", "-s", "-C", ROOT, f"BUILD={folder / 'build'}", *variables, efi], check=True)
    return efi


@pytest.mark.parametrize("size, message", [
    pytest.param(50000, "an ELF segment lies outside of the file: the file is truncated", id="truncated"),
    pytest.param(0, "shorter than an ELF header", id="empty"),
])
def test_damaged_core(boot, make_image, tmp_path, size, message):
    core = tmp_path / "core.elf"
    core.write_bytes((machine.BUILD / "boot" / "core.stripped.elf").read_bytes()[:size])
    image = make_image(GOOD, [], "--efi", build_efi(tmp_path, f"CORE_ELF={core}"))
    booted = boot(image, backend="qemu", timeout=BOOT_SECONDS)
    booted.expect(rf"Vireo can't start: the core inside the EFI file is damaged: {message}")


def test_boot_info_of_another_version(boot, make_image, tmp_path):
    core = machine.BUILD / "boot" / "core.stripped.elf"
    efi = build_efi(tmp_path, f"CORE_ELF={core}", "CC=gcc -DBOOT_INFO_VERSION=77")
    booted = boot(make_image(GOOD, [], "--efi", efi), backend="qemu", timeout=BOOT_SECONDS)
    message = r"vireo: boot_info: version: found 77, expected 2; loader and core are not of one build"
    booted.expect(message)
    booted.expect(HALTED)
    screen.expect(booted, rf"error: {message}.*{HALTED}")


@pytest.mark.parametrize("cpu, message", [
    pytest.param("core2_penryn_t9600", r"secondary control bit 1: enable EPT", id="ept"),
    pytest.param("corei5_lynnfield_750", r"secondary control bit 7: unrestricted guest", id="unrestricted-guest",
                 marks=pytest.mark.wide),
])
def test_missing_feature(boot, make_image, cpu, message):
    booted = boot(make_image(GOOD, [GUESTS / "real.bin"]), cpu=cpu, timeout=BOOT_SECONDS)
    booted.expect(rf"error: vireo: VT-x lacks a feature that Vireo needs: .*{message}")
    booted.expect(HALTED)


def test_vmx_locked_by_firmware(boot, make_image, tmp_path):
    (tmp_path / "lock-vmx").write_bytes(b"1")
    booted = boot(make_image(GOOD, [GUESTS / "real.bin", tmp_path / "lock-vmx"], "--acpi"), timeout=BOOT_SECONDS)
    booted.expect(r"error: vireo: VT-x is locked off: IA32_FEATURE_CONTROL is 0x1 \(.*\), expected bits 0 and 2 set; "
                  r'turn on "Intel Virtualization Technology" in the firmware\'s setup')
    booted.expect(HALTED)
