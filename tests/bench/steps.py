"""Where the ticks of an exit go: single-steps the core on Bochs from one call of an exit's handler to the next and prints
what each function took, inlined ones by their own names.

    python3 tests/bench/steps.py [HANDLER [GUEST]]    exit_cpuid of guests/bench.c; needs `make all efi`
"""
# SPDX-License-Identifier: MIT
import collections
import pathlib
import re
import subprocess
import sys
import tempfile

import pexpect

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import machine  # noqa: E402

CORE = machine.BUILD / "core.elf"
WARM = 200  # calls of the handler before the one that is looked at: in the middle of the guest's loop
LONGEST = 5000  # instructions
LINKED_AT = 0xffffffff80000000  # linker.ld; what runs below is the guest
FIXED = "[hypervisor]\naslr = off\n"  # the core runs where it was linked, and addresses are core.elf's

# Of Bochs's trace: the instruction's linear address.
STEP = re.compile(r"^\(0\)\.\[\d+\] \[0x[0-9a-f]+\] [0-9a-f]+:([0-9a-f]+) ", re.M)


def address_of(symbol):
    said = subprocess.run(["nm", CORE], check=True, capture_output=True, text=True).stdout
    found = re.search(rf"^([0-9a-f]+) . {re.escape(symbol)}(\.lto_priv\.\d+)?$", said, re.M)
    if found:
        return int(found[1], 16)
    raise SystemExit(f"steps: {CORE} has no function {symbol}")


def step(handler, guest):
    """The addresses of all instructions from one call to the next."""
    commands = [f"lb {handler:#x}", *["c"] * WARM, "trace on", f"s {LONGEST}", "q"]
    with tempfile.TemporaryDirectory(prefix="vireo-steps-") as folder:
        image, conf = pathlib.Path(folder) / "steps.img", pathlib.Path(folder) / "vireo.conf"
        conf.write_text(FIXED + (machine.ROOT / "guests" / f"{guest}.conf").read_text())
        subprocess.run([machine.ROOT / "boot" / "mkimage.sh", image, conf, machine.BUILD / "guests" / f"{guest}.elf"],
                       check=True)
        with machine.Machine("steps", image, timeout=300, debugger=commands) as booted:
            booted.expect(pexpect.EOF)
            return [int(address, 16) for address in STEP.findall(booted.emulator_log.read_text(errors="replace"))]


def places(addresses):
    """{address: "function (file)"}"""
    ours = sorted({address for address in addresses if address >= LINKED_AT})
    said = subprocess.run(["addr2line", "-f", "-s", "-e", CORE, *map(hex, ours)], check=True, capture_output=True,
                          text=True).stdout.splitlines()
    return {address: f"{said[2 * n]} ({said[2 * n + 1].partition(':')[0]})" for n, address in enumerate(ours)}


def main():
    handler, guest = (sys.argv[1:] + ["exit_cpuid", "bench"][len(sys.argv) - 1:])[:2]
    addresses = step(address_of(handler), guest)
    if not addresses or len(addresses) >= LONGEST:
        raise SystemExit(f"steps: {handler} is not called {WARM + 1} times by {guest}, or not within {LONGEST} instructions")
    where = places(addresses)
    count = collections.Counter(where.get(address, "the guest") for address in addresses)
    for place, ticks in count.most_common():
        print(f"{ticks:5}  {place}")
    print(f"{len(addresses):5}  from one call of {handler} to the next")


if __name__ == "__main__":
    main()
