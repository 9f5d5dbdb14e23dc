"""Guests that end badly: each ends with one report, is cleared away, and the guest beside them does not notice."""
# SPDX-License-Identifier: MIT
import re

import broken
import machine

BOOT_SECONDS = 180  # of wall time on a busy machine; alone it is 10
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
    ("fetch", FLAT + "kernel = fetch.bin\nmode = protected\n",
     r"instruction fetch at guest-physical 0x40000000, where there is no memory", 0x40000000, None),
]
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


def test_crashes(boot, make_image, tmp_path):
    (tmp_path / "task.bin").write_bytes(broken.TASK_SWITCH)
    (tmp_path / "write.bin").write_bytes(bytes.fromhex("a3 00 00 00 40 f4"))
    (tmp_path / "fetch.bin").write_bytes(bytes.fromhex("b8 00 00 00 40 ff e0"))
    conf = "".join(f"[vm {name}]\n{body}" for name, body, *_ in CRASHES)
    conf += f"[vm halts]\n{FLAT}kernel = hang-hlt.bin\n[vm leaves]\n{FLAT}kernel = badexit.bin\n"
    conf += f"[vm good]\n{FLAT}kernel = timer.elf\n".replace("flat", "multiboot").replace("4M", "16M")
    files = [GUESTS / f"{name}.bin" for name in ["triple", "badmem", "hang-hlt", "badexit"]] + [GUESTS / "timer.elf"]
    files += [tmp_path / f"{name}.bin" for name in ["task", "write", "fetch"]]
    booted = boot(make_image(conf, files), cpus=2, timeout=BOOT_SECONDS)
    booted.expect(r"vireo: all guests have ended")
    said = booted.output()
    for name, _, why, rip, code in CRASHES:
        report = crash_report(said, name, why)
        check_report(report, rip, code)
        assert len(re.findall(rf"vm {name}: killed after \d+ exits", said)) == 1
        if name == "badmem":
            check_history(report, ["I/O instruction"] * 4)
    assert re.search(r"vm halts: halted for good \(HLT with interrupts off\) after \d+ exits", said)
    assert re.search(r"vm leaves: debug exit with code 3735928559 after \d+ exits", said)
    assert "FAILED" not in said
    # The one that is right outlives them all.
    assert re.search(r"guest timer: ok", said) and re.search(r"vm good: debug exit with code 0 after \d+ exits", said)
    assert said.index("vm good: debug exit") > said.index("vm fetch: killed after")
