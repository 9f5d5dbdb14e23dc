"""What the hostile guest (tests/guest/hostile) can do and how each of its VMs must end; for test_hostile.py.

An attack is (name of the VM, command line, end). The end is a pattern of the VM's line in the log; ENDLESS ones run until
the machine is switched off, RESTARTS come back each time.
"""
# SPDX-License-Identifier: MIT
import re

OK = r"debug exit with code 0 "
ENDLESS = None
RESTARTS = r"restarts after"
HOLE = 0x400000  # the VM's memory ends here
TURN_SECONDS = 0.35  # one report takes a third of a second at 115200 baud

NO_MEMORY = r"killed: vCPU 0: {} guest-physical {:#x}, where there is no"
NEITHER = r"killed: vCPU 0: {} guest-physical {:#x}, where there is neither memory nor a device"
UNKNOWN = r"killed: vCPU 0: instruction at the device register {:#x} that Vireo does not decode"

# The processor answers all of it: these guests find what they expect, and end.
SURVIVE = [
    ("exits", "exits", OK), ("hlt", "hlt", OK), ("msrs", "msrs", OK), ("msrs-x2apic", "msrs 1", OK),
    ("control", "control", OK), ("debug-registers", "debug-registers", OK), ("xstate", "xstate", OK),
    ("lengths", "lengths", OK), ("steps", "steps", OK), ("step-hlt", "step-hlt", OK), ("mov-ss", "mov-ss", OK),
    ("descriptors", "descriptors", OK), ("mmio", "mmio", OK), ("mmio-ops", "mmio-ops", OK),
    ("mmio-sse-ioapic", "mmio-sse fec00000", OK), ("in", "in", OK),
    ("out", "out", OK), ("string-io", "string-io", OK), ("keyboard", "keyboard", OK),
    ("power", "power", "powered off after"),
]

# Each at another place or in another way.
KILLED = [
    ("triple", "triple", r"killed: vCPU 0: triple fault"),
    ("climb", "climb", NEITHER.format("read of 4 bytes at", 0xa0000)),
    ("read-end", f"read {HOLE:x}", NEITHER.format("read of 4 bytes at", HOLE)),
    ("read-across", f"read {HOLE - 2:x}", "killed: vCPU 0: "),
    ("write-vga", "write a0000", NEITHER.format("write of 4 bytes at", 0xa0000)),
    ("write-3g", "write f0000000", NEITHER.format("write of 4 bytes at", 0xf0000000)),
    ("read-ioapic", "read fec01000", NEITHER.format("read of 4 bytes at", 0xfec01000)),
    ("write-lapic", "write fee01000", NEITHER.format("write of 4 bytes at", 0xfee01000)),
    ("read-rom", "read fffffff0", NEITHER.format("read of 4 bytes at", 0xfffffff0)),
    ("read-4g", "read 100000000", NEITHER.format("read of 4 bytes at", 1 << 32)),
    ("write-64g", "write 1000000000", NEITHER.format("write of 4 bytes at", 1 << 36)),
    ("read-512g", "read 8000000000", NEITHER.format("read of 4 bytes at", 1 << 39)),
    ("fetch-end", f"fetch {HOLE:x}", NO_MEMORY.format("instruction fetch at", HOLE)),
    ("fetch-512g", "fetch 8000000000", NO_MEMORY.format("instruction fetch at", 1 << 39)),
    ("edge", f"edge {HOLE:x}", NO_MEMORY.format("instruction fetch at", HOLE)),
    ("edge-cpuid", f"edge-cpuid {HOLE:x}", NO_MEMORY.format("instruction fetch at", HOLE)),
    ("edge-mmio", f"edge-mmio {HOLE:x}", NO_MEMORY.format("instruction fetch at", HOLE)),
    ("ins", f"ins {HOLE - 8:x}", r"killed: vCPU 0: linear address 0x[0-9a-f]+ leads to no memory"),
    ("outs", f"outs {HOLE - 8:x}", r"killed: vCPU 0: linear address 0x[0-9a-f]+ leads to no memory"),
    ("movs", f"movs {HOLE:x}", NEITHER.format("write of 4 bytes at", HOLE)),
    ("cr3", "cr3 70000000", NO_MEMORY.format("page tables at", 0x70000000)),
    # The guest reads the IOAPIC without an exit, and finds nothing present there.
    ("cr3-ioapic", "cr3 fec00000", r"killed: vCPU 0: triple fault"),
    ("cr3-pci", "cr3 c0000000", NO_MEMORY.format("page tables at", 0xc0000000)),
    ("cr3-lapic", "cr3 fee00000", "killed: vCPU 0: "),
    ("pde", "pde 70000000", NO_MEMORY.format("page tables at", 0x70000000)),
    ("pde-lapic", "pde fee00000", r"killed: vCPU 0: |debug exit with code (0|3598) "),
    ("idt", "idt 70000000", NO_MEMORY.format("an interrupt or exception was delivered through", 0x70000030)),
    ("idt-lapic", "idt fee00000", r"killed: vCPU 0: access of type \d+ to the local APIC's page"),
    ("gdt", "gdt 70000000", NEITHER.format("access to", 0x70000008)),
    ("gdt-ioapic", "gdt fec00000", r"killed: vCPU 0: triple fault"),
    ("gdt-pci", "gdt e0000000", UNKNOWN.format(0xe0000008)),
    ("fetch-ioapic", "fetch fec00000", NO_MEMORY.format("instruction fetch at", 0xfec00000)),
    ("stack", "stack 70000000", NO_MEMORY.format("an interrupt or exception was delivered through", 0x700000f8)),
    ("stack-lapic", "stack fee00000", r"killed: vCPU 0: access of type \d+ to the local APIC's page"),
    ("fetch-lapic", "fetch fee00000", NO_MEMORY.format("instruction fetch at", 0xfee00000)),
    ("mmio-push", "mmio-push e0000000", UNKNOWN.format(0xe0000000)),
    ("mmio-call", "mmio-call fee00020", UNKNOWN.format(0xfee00020)),
    ("mmio-cmpxchg8b", "mmio-cmpxchg8b fee00080", UNKNOWN.format(0xfee00080)),
    ("mmio-sse", "mmio-sse e0000000", UNKNOWN.format(0xe0000000)),
    ("mmio-xsave", "mmio-xsave fec00000", UNKNOWN.format(0xfec00000)),
    ("canonical", "canonical", OK),
    ("nmi-halt", "nmi-halt", "halted for good"),
    ("init-self", "init-self", NO_MEMORY.format("instruction fetch at", 0xfffffff0)),
]

STORMS = [
    ("pit", "pit", OK), ("timer", "timer", OK), ("timer-x2apic", "timer 1", OK), ("self-ipi", "self-ipi", OK),
    ("self-x2apic", "self-ipi 1", OK), ("level", "level", OK), ("nmi", "nmi", OK), ("nmi-held", "nmi 1", OK),
    ("nmi-x2apic", "nmi 2", OK), ("spin", "spin", ENDLESS),
]

SMP = [
    ("ipi", "ipi", OK), ("ipi-x2apic", "ipi 1", OK), ("nmi-storm", "nmi-storm", OK), ("icr", "icr", OK),
    ("icr-x2apic", "icr 1", OK), ("init", "init", OK), ("init-x2apic", "init 1", OK), ("patch", "patch", OK),
    ("debug-loop", "debug-loop", OK), ("modes", "modes", OK),
    ("init-first", "init-first", NO_MEMORY.format("instruction fetch at", 0xfffffff0)),
    ("ap-triple", "ap-triple", r"killed: vCPU 1: triple fault"), ("ap-reset", "ap-reset", RESTARTS),
]

# 32-bit code, and small VMs by the dozen: flat images of tests/guest and guests. (name, image, end)
TASK = r"killed: vCPU 0: hardware task switch to selector 0x28, which Vireo does not emulate"
FLAT = [
    ("task-call", "task1", TASK), ("task-gate", "task2", TASK), ("ac-loop", "task4", OK), ("task-iret", "task3", f"{TASK}|killed: vCPU 0: triple fault"),
    ("modes", "modes", OK),
]
CRASHING = [(f"crash{i}", "triple", "killed: vCPU 0: triple fault") for i in range(16)]
RESTARTING = [(f"again{i}", "restart", RESTARTS) for i in range(16)]

RESETS = [("reset-cf9", "reset", RESTARTS), ("reset-i8042", "reset 1", RESTARTS), ("reset-92", "reset 2", RESTARTS)]
FLOODS = [("flood-com1", "flood", OK), ("flood-debug", "flood 1", OK)]


def section(name, cmdline, vcpus=1, turn=0):
    delay = f"@{turn:x} " if turn else ""
    return (f"[vm {name}]\nprotocol = multiboot\nkernel = hostile.elf\nmemory = 4M\nvcpus = {vcpus}\n"
            f"cmdline = \"{delay}{cmdline}\"\n")


def flat_section(name, image):
    mode = "real" if image == "triple" else "protected"
    vcpus = 2 if name == "ac-loop" else 1
    return f"[vm {name}]\nprotocol = flat\nkernel = {image}.bin\nmemory = 1M\nmode = {mode}\nvcpus = {vcpus}\n"


def sections(attacks, vcpus=1, first_turn=0):
    """Those that are killed wait for their turn to print a report."""
    text = ""
    for i, (name, cmdline, end) in enumerate(attacks):
        turn = round((first_turn + i) * TURN_SECONDS / 0.05) if end and "killed" in end else 0
        text += section(name, cmdline, vcpus, turn)
    return text


def ended(said, name, end):
    return re.search(rf"vm {name}: {end}", said)
