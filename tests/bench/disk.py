"""Rows of `make bench` about virtual disks and the paravirtual clock. Linux drives a disk through its own driver (qd.c),
Vireo's shell counts the exits: each figure is the difference between a long and a short run, so what it costs to type
and to switch consoles drops out. The clock interrupt that comes meanwhile does not; it is part of what a guest pays."""
# SPDX-License-Identifier: MIT
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import machine  # noqa: E402

BUILD, ROOT = machine.BUILD, machine.ROOT
LINUX = [BUILD / "linux" / "vmlinuz", BUILD / "linux" / "initrd"]
CONF = (ROOT / "guests" / "linux" / "vireo.conf").read_text()
DISKS = "disk = memory 16M\ndisk = \\vireo\\qd read-only\nrng = on\n"
MEMORY = 512
BOOT_SECONDS = 1200
CC = ["gcc", "-std=c17", "-O2", "-ffreestanding", "-mgeneral-regs-only", "-fno-stack-protector", "-fno-pie", "-no-pie",
      "-nostdlib", "-static", "-Wl,--build-id=none,-z,noexecstack", "-s"]

CLOCK = "/sys/devices/system/clocksource/clocksource0/current_clocksource"

# id, what qd does beside its count, counts of the short and the long run, decimals that mean something: a few clock
# interrupts come in the time of a hundred thousand readings of the clock.
EXITS = [
    ("disk-exits-depth-1", "read 4096 1", 100, 4100, 3),
    ("disk-exits-depth-32", "read 4096 32", 320, 16320, 3),
    ("clock-exits", "clock", 1000, 101000, 2),
]


def exits(booted):
    """At the guest's prompt and back there: how many exits it has had."""
    booted.to_shell()
    count = sum(row["count"] for row in booted.shell_json("stat linux"))
    booted.to_guest()
    booted.send("\n")
    booted.expect("~ # ")
    return count


def run_qd(booted, arguments):
    """How many exits it took, and ticks by the guest's time-stamp counter."""
    before = exits(booted)
    said = booted.command(f"/qd {arguments}")
    found = re.search(r"qd: ticks +(\d+)", said)
    if not found:
        raise SystemExit(f"bench: qd {arguments} says {said!r}")
    return exits(booted) - before, int(found[1])


def measure(folder):
    """{id: (unit, value)}"""
    folder = pathlib.Path(folder)
    qd, image, conf = folder / "qd", folder / "disk.img", folder / "disk.conf"
    subprocess.run([*CC, HERE / "qd.c", "-o", qd], check=True)
    conf.write_text("[hypervisor]\nbackground = hide\n" + CONF + DISKS)
    subprocess.run([ROOT / "boot" / "mkimage.sh", image, conf, *LINUX, qd], check=True)
    print("bench: booting disk", flush=True)
    rows = {}
    with machine.Machine("bench-disk", image, memory=MEMORY, timeout=BOOT_SECONDS) as booted:
        booted.expect("vireo-init: up")
        booted.expect("~ # ")
        booted.command("cat /dev/vdb >/qd; chmod +x /qd")
        # So that there is something to read: memory that was never written to costs less.
        booted.command("tr '\\0' x </dev/zero | dd of=/dev/vda bs=1M count=16 iflag=fullblock")
        booted.command(f"echo kvm-clock >{CLOCK}")
        if "kvm-clock" not in booted.command(f"cat {CLOCK}").split():
            raise SystemExit("bench: Linux does not take KVM's clock")
        for name, what, few, many, decimals in EXITS:
            base, more = run_qd(booted, f"{what} {few}")[0], run_qd(booted, f"{what} {many}")[0]
            rows[name] = ("exits", round((more - base) / (many - few), decimals))
        base, more = run_qd(booted, "read 1048576 1 4")[1], run_qd(booted, "read 1048576 1 36")[1]
        rows["linux-read-byte"] = ("ticks", round((more - base) / (32 << 20), 4))
    return rows
