"""Guests that end badly: each ends with one report, is cleared away, and the guest beside them does not notice."""
# SPDX-License-Identifier: MIT
import re

import pytest

import broken
import machine

BOOT_SECONDS = 180  # of the machine's clock; alone it is 10
GUESTS = machine.BUILD / "guests"
FLAT = "protocol = flat\nmemory = 4M\n"

# Name of the VM, its section, why it is killed, where it was (RIP), the code there.
CRASHES = [
    ("triple", FLAT + "kernel = triple.bin\n",
     r"triple fault: an exception while a double fault was being delivered", 0x7c16, "cc"),
    ("badmem", FLAT + "kernel = badmem.bin\nmode = protected\n",
     r"read of 4 bytes at guest-physical 0x40000000, where there is neither memory nor a device", 0x7c0a,
     "a1 00 00 00 40"),
    ("task", FLAT + "kernel = task.bin\nmode = protected\n",
     r"hardware task switch to selector 0x8, which Vireo does not emulate", 0x7c07, "ea 00 00 00 00 08 00 f4"),
    # mov [0x40000000], eax and jmp 0x40000000
    ("write", FLAT + "kernel = write.bin\nmode = protected\n",
     r"write of 4 bytes at guest-physical 0x40000000, where there is neither memory nor a device", 0x7c00,
     "a3 00 00 00 40"),
    # The decoder does not know PUSH, since no driver uses it on a device: mov esp, 0x40000000; push eax
    ("push", FLAT + "kernel = push.bin\nmode = protected\n",
     r"access to guest-physical 0x3ffffffc, where there is neither memory nor a device", 0x7c05, "50"),
    # The same at the IOAPIC: mov esp, 0xfec00004; push eax
    ("device", FLAT + "kernel = device.bin\nmode = protected\n",
     r"instruction at the device register 0xfec00000 that Vireo does not decode \(error -\d+\): bytes 50 90 90.*",
     0x7c05, "50"),
    # An exception whose gate lies where no memory is: lidt [0x7c08]; int3; its operand
    ("event", FLAT + "kernel = event.bin\nmode = protected\n",
     r"an interrupt or exception was delivered through guest-physical 0x70000018, where there is no memory", 0x7c07,
     "cc"),
    # mov eax, 0x70000000; mov cr3, eax; mov eax, cr0; or eax, 0x80000000; mov cr0, eax
    ("tables", FLAT + "kernel = tables.bin\nmode = protected\n",
     r"page tables at guest-physical 0x70000000, where there is no memory", 0x7c13, None),
    ("fetch", FLAT + "kernel = fetch.bin\nmode = protected\n",
     r"instruction fetch at guest-physical 0x40000000, where there is no memory", 0x40000000, None),
]
CODE = {
    "task": broken.TASK_SWITCH,
    "write": bytes.fromhex("a3 00 00 00 40 f4"),
    "push": bytes.fromhex("bc 00 00 00 40 50 f4"),
    "device": bytes.fromhex("bc 04 00 c0 fe 50 90 90 f4"),
    "event": bytes.fromhex("0f 01 1d 08 7c 00 00 cc ff ff 00 00 00 70"),
    "tables": bytes.fromhex("b8 00 00 00 70 0f 22 d8 0f 20 c0 0d 00 00 00 80 0f 22 c0 f4"),
    "fetch": bytes.fromhex("b8 00 00 00 40 ff e0"),
}
# Guests that never end and want all of the processor.
GREEDY = {
    "spins": bytes.fromhex("fa eb fe"),                      # cli; jmp $
    "pauses": bytes.fromhex("f3 90 eb fc"),                  # pause; jmp back
    "resets": bytes.fromhex("b0 06 ba f9 0c 00 00 ee f4"),   # mov al, 6; mov edx, 0xcf9; out dx, al
    "sleeps": bytes.fromhex("fb f4 eb fd"),                  # sti; hlt; jmp back
}
HEX = "[0-9a-f]"


def crash_report(said, name, why):
    """The lines of the one report about a VM, without what the other processor said meanwhile."""
    assert len(re.findall(rf"error: vm {name}: killed: ", said)) == 1
    start = re.search(rf"error: vm {name}: killed: vCPU 0: {why}\n", said)
    assert start, f"vm {name}: no line '{why}'"
    return "\n".join(re.findall(rf"error: vm {name}:   (.*)", said[start.end():]))


def check_report(report, rip, code):
    for i in range(8, 16):
        assert re.search(rf"R{i} * {HEX}{{16}}", report)
    for name in ["RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI"]:
        assert re.search(rf"{name} {HEX}{{16}}", report)
    assert re.search(rf"RIP {rip:016x}  RFLAGS {HEX}+  CR0 {HEX}+  CR3 {HEX}+  CR4 {HEX}+  EFER {HEX}+", report)
    for name in ["ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR"]:
        assert re.search(rf"{name} +{HEX}{{4}} base {HEX}+ limit {HEX}+ access {HEX}+", report)
    assert re.search(rf"GDT base {HEX}+ limit {HEX}+  IDT base {HEX}+ limit {HEX}+", report)
    assert re.search(r"code at RIP: can't be read" if code is None else rf"code at RIP: {code}", report)


def check_history(report, expected):
    """The youngest exits, the last one first."""
    history = re.findall(r"exit -(\d+): (.*), \d+ ticks before the report", report)
    assert [int(n) for n, _ in history] == list(range(len(history), 0, -1))
    assert [name for _, name in history][::-1][:len(expected)] == expected


def write_codes(folder, codes):
    for name, code in codes.items():
        (folder / f"{name}.bin").write_bytes(code)
    return [folder / f"{name}.bin" for name in codes]


def test_crashes(boot, make_image, tmp_path):
    codes = write_codes(tmp_path, CODE)
    conf = "".join(f"[vm {name}]\n{body}" for name, body, *_ in CRASHES)
    conf += f"[vm halts]\n{FLAT}kernel = hang-hlt.bin\n[vm leaves]\n{FLAT}kernel = badexit.bin\n"
    conf += f"[vm good]\n{FLAT}kernel = timer.elf\n".replace("flat", "multiboot").replace("4M", "16M")
    files = [GUESTS / f"{name}.bin" for name in ["triple", "badmem", "hang-hlt", "badexit"]] + [GUESTS / "timer.elf"]
    booted = boot(make_image(conf, files + codes), cpus=2, timeout=BOOT_SECONDS)
    booted.expect(r"vireo: all guests have ended")
    said = booted.output()
    for name, _, why, rip, code in CRASHES:
        report = crash_report(said, name, why)
        check_report(report, rip, code)
        assert len(re.findall(rf"vm {name}: killed after \d+ exits", said)) == 1
        if name == "badmem":
            check_history(report, ["EPT violation", "I/O instruction", "I/O instruction"])
    assert re.search(r"vm halts: halted for good \(HLT with interrupts off\) after \d+ exits", said)
    assert re.search(r"vm leaves: debug exit with code 3735928559 after \d+ exits", said)
    assert "FAILED" not in said
    # The one that is right outlives them all.
    assert re.search(r"guest timer: ok", said) and re.search(r"vm good: debug exit with code 0 after \d+ exits", said)
    assert said.index("vm good: debug exit") > said.index("vm fetch: killed after")


@pytest.mark.long
def test_greedy_neighbours(boot, make_image, tmp_path):
    conf = "".join(f"[vm {name}]\n{FLAT}kernel = {name}.bin\nmode = protected\n" for name in GREEDY)
    conf += f"[vm good]\n{FLAT}kernel = real.bin\n"
    image = make_image(conf, [GUESTS / "real.bin", *write_codes(tmp_path, GREEDY)])
    booted = boot(image, timeout=BOOT_SECONDS)
    booted.expect(r"vm good: debug exit with code 0 after \d+ exits")
    said = booted.output()
    assert "guest real: ok" in said and "killed" not in said
