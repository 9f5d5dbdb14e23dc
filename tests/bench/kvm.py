"""KVM's columns of `make bench`: the measuring guests, the same files that Vireo runs, under Linux's KVM on the same emulated
machine. The host is Debian's cloud kernel with an initramfs of busybox, KVM's modules, kvm.c with its virtio devices, and
the guests, started by its EFI stub; it is booted with mitigations=off and as shipped."""
# SPDX-License-Identifier: MIT
import pathlib
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import machine  # noqa: E402

BUILD, ROOT = machine.BUILD, machine.ROOT
LINUX = BUILD / "linux"
MEMORY = 512
BOOT_SECONDS = 600
CC = ["gcc", "-std=c17", "-O2", "-static", "-pthread", "-s", f"-I{ROOT}"]
SOURCES = [HERE / "kvm.c", HERE / "kvm_virtio.c"]
MODULES = ["irqbypass", "kvm", "kvm-intel"]  # in the order in which they need each other

# Bochs's CPUID tells of another frequency than its time-stamp counter has, so the kernel is told the true one.
COMMAND_LINE = r"initrd=\vireo\initrd console=ttyS0,115200 panic=-1 quiet cryptomgr.notests tsc_early_khz=100000 tsc=reliable"
COLUMNS = {"kvm": " mitigations=off", "kvm_default": ""}

# CPUs of the machine, and what kvm.c is to run there: guest, vCPUs, command line.
RUNS = {1: [("bench", 1, "doorbells"), ("bench_smp", 2, "one-processor"), ("bench_memory", 1, ""),
            ("bench_memory", 1, "not-ready"), ("bench_virtio", 1, "")], 2: [("bench_smp", 2, "")]}

# On a machine with less than 512 MiB Linux does without pages of 2 MiB unless it is told.
LARGE_PAGES = "/sys/kernel/mm/transparent_hugepage/enabled"

ROW = re.compile(r"bench ([a-z0-9-]+) ticks (\d+)")


def init_script(runs):
    lines = ["#!/bin/busybox sh", "busybox mount -t devtmpfs dev /dev", "busybox mount -t sysfs sys /sys"]
    lines += [f"echo madvise >{LARGE_PAGES}"]
    lines += [f"busybox insmod /{module}.ko" for module in MODULES]
    lines += [f"/kvm /{guest}.elf {vcpus} '{words}'" for guest, vcpus, words in runs]
    # Not switched off: what still waits for the serial line would be lost.
    return "\n".join([*lines, "echo kvm-host: done", "exec busybox sleep 86400", ""])


def make_initrd(folder, runs):
    root, initrd = folder / "root", folder / "initrd"
    shutil.rmtree(root, ignore_errors=True)
    for name in ("bin", "dev", "sys"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin")
    for file in [folder / "kvm", *(LINUX / "kvm" / f"{module}.ko" for module in MODULES),
                 *(BUILD / "guests" / f"{guest}.elf" for guest, _, _ in runs)]:
        shutil.copy(file, root)
    (root / "init").write_text(init_script(runs))
    (root / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    with open(initrd, "wb") as out:
        subprocess.run(["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"], cwd=root, input=names.encode(), stdout=out,
                       check=True)
    return initrd


def rows_of(said):
    """{id: ticks}. Two guests measure doorbells, with two kinds of devices behind: the least counts, in KVM's favour."""
    rows = {}
    for row, ticks in ROW.findall(said):
        rows[row] = min(int(ticks), rows.get(row, int(ticks)))
    return rows


def measure_host(folder, cpus, column):
    """One boot of the host: {id: ticks}."""
    name, runs = f"{column.replace('_', '-')}-{cpus}", RUNS[cpus]
    image = folder / f"{name}.img"
    subprocess.run([ROOT / "boot" / "mkimage.sh", "--acpi", "--efi", LINUX / "vmlinuz", "--loadoptions",
                    COMMAND_LINE + COLUMNS[column], image, "-", make_initrd(folder, runs)], check=True)
    print(f"bench: booting {name}", flush=True)
    with machine.Machine(f"bench-{name}", image, cpus=cpus, memory=MEMORY, timeout=BOOT_SECONDS) as booted:
        booted.expect("kvm-host: done")
        said = booted.output()
    for guest, _, _ in runs:
        if said.count(f"guest {guest}: ok") != sum(other == guest for other, _, _ in runs):
            raise SystemExit(f"bench: {guest} did not say ok under KVM each time; see {booted.log_path}")
    return rows_of(said)


def measure(folder):
    """{id: {"kvm": ticks, "kvm_default": ticks}}"""
    folder, rows = pathlib.Path(folder), {}
    subprocess.run([*CC, *SOURCES, "-o", folder / "kvm"], check=True)
    for column in COLUMNS:
        for cpus in RUNS:
            for row, ticks in measure_host(folder, cpus, column).items():
                rows.setdefault(row, {})[column] = ticks
    return rows
