"""`make bench`: measures Vireo and KVM on Bochs, prints their figures and writes build/bench.json, bench.md and bench.svg.

Linux is booted twice on the same machine with the same kernel, initramfs, command line and memory, both times with ACPI
tables: by its EFI stub (native) and as Vireo's guest. The time runs from the kernel image's first instruction to the first
line of init, on the time-stamp counter; Bochs ticks once for each instruction.

KVM's figures are those of the same guests on the same emulated machine (kvm.py), with mitigations=off ("kvm") and as
shipped ("kvm_default"); what those guests do not measure is in kvm.json, measured once with other programs. bench.json is
a list of {"id", "unit", "vireo", "kvm", "kvm_default", "native", "must"}, keys absent where not measured; "must" is what
Vireo may take at most.
"""
# SPDX-License-Identifier: MIT
import json
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "boot")]
import disk  # noqa: E402
import kvm  # noqa: E402
import lan  # noqa: E402
import machine  # noqa: E402
import report  # noqa: E402
import scale  # noqa: E402

BUILD, ROOT = machine.BUILD, machine.ROOT
LINUX = [BUILD / "linux" / "vmlinuz", BUILD / "linux" / "initrd"]
CONF = ROOT / "guests" / "linux" / "vireo.conf"
GUEST_MEMORY = 256  # MiB, as CONF says
MACHINE_MEMORY = 512
BOOT_SECONDS = 300

# What Vireo's log says once: id, unit, pattern with the number as its group.
VIREO_SAYS = [
    ("core-to-guest", "ticks", r"vm linux: first instruction (\d+) ticks after core entry"),
    ("zero-before-start", "ticks", r"vm linux: first instruction .* zeroing memory took (\d+)"),
    ("zero-memory", "ticks", r"vm linux: touched .* zeroing memory took (\d+)"),
    ("load-images", "ticks", r"vm linux: first instruction .* loading images (\d+)"),
    ("own-memory-bytes", "KiB", r"memory: (\d+) KiB used by Vireo itself"),
    ("vm-memory-bytes", "KiB", r"vm linux: created in .*; (\d+) KiB beside"),
    ("vm-create", "ticks", r"vm linux: created in (\d+) ticks"),
]


# Rows of guests/bench.c that are measured with `apicv = off` as well.
SOFTWARE_APIC = ["self-ipi", "x2apic-eoi"]

# The model of Bochs that has the registers against side channels; what each mitigation adds to a CPUID exit and the entry
# behind it, alone as far as it comes alone (docs/side-channels.md).
MITIGATED = "tigerlake"
MITIGATIONS = {"none": "off", "bhi": "auto, no-rsb, no-verw", "rsb": "auto, no-bhi, no-verw",
               "verw": "auto, no-bhi, no-rsb", "l1d": "all, no-bhi, no-rsb, no-verw", "all": "all"}

CREATED_MIB = [64, 1024]
STREAM_MIB = 16
IDLE_LOOKS = 30
IDLE_SECONDS = 3  # some 0.7 are enough to zero MACHINE_MEMORY
SMP = 4  # processors, and vCPUs

# What a row may be at most.
MUST = {"cpuid": 150, "vmcall": 150, "rdmsr": 160, "wrmsr": 170, "cr0": 200, "cr4-smep": 250, "wbinvd": 150, "pio-in": 220,
        "pio-device": 220, "mmio-ioapic": 450, "mmio-device": 450, "x2apic-eoi": 5, "x2apic-eoi-no-apicv": 200,
        "self-ipi": 60, "self-ipi-no-apicv": 500, "ipi-running": 800, "ipi-halted": 1000, "no-exit": 10, "ept-4k": 600,
        "pio-doorbell": 250, "mmio-doorbell": 450, "vcpu-switch": 1500, "creation-64m": 300000, "creation-1024m": 300000,
        "disk-exits-depth-1": 2, "disk-exits-depth-32": 0.2, "disk-read-byte": 0.25, "clock-exits": 0,
        "net-stream-kib": 409, "idle-exits": 5, "linux-boot-exits": 3000, "linux-boot-devices-exits": 4000,
        "core-to-guest": 15000000, "image-bytes": 512 * 1024}
# Of the native time, for linux-boot, linux-boot-smp and linux-boot-devices.
BOOT_MUST, SMP_MUST, DEVICES_MUST = 1.02, 1.05, 1.05

# All kinds of devices that a VM can have beside its PC.
DEVICES = "disk = memory 16M\nrng = on\nnet = lan\nhvc = 1\nballoon = on\n"

# On the kernel's command line, natively and as a guest: init powers off at once.
OFF = "vireo-init-off"

# The one line that a quiet boot prints, an error: that the emulated processor has no remedy for RETBleed. Its 124 characters
# on a serial line are two exits each.
SILENT = "retbleed=off"


def machine_of(name, folder, arguments, memory, cpus=1):
    """A machine that boots an image made with these arguments of boot/mkimage.sh."""
    image = pathlib.Path(folder) / f"{name}.img"
    options, rest = arguments
    subprocess.run([ROOT / "boot" / "mkimage.sh", "--acpi", *options, image, *rest], check=True)
    print(f"bench: booting {name}", flush=True)
    return machine.Machine(f"bench-{name}", image, cpus=cpus, memory=memory, timeout=cpus * BOOT_SECONDS)


def boot(name, folder, arguments, memory, last_words, cpus=1):
    """Boots it; all that the serial port said."""
    with machine_of(name, folder, arguments, memory, cpus) as booted:
        booted.expect(last_words)
        return booted.output()


def command_line():
    return re.search(r'^cmdline\s*=\s*"(.*)"', CONF.read_text(), re.M)[1]


def boots_only():
    """The Linux guest's configuration, with init powering off."""
    return CONF.read_text().replace(command_line(), f"{command_line()} {OFF}")


def number(pattern, text):
    """The number in the last match."""
    found = re.findall(pattern, text)
    if not found:
        raise SystemExit(f"bench: the serial output holds no match for {pattern}")
    return int(found[-1])


def measure_native(folder, cpus=1):
    """Ticks to init without Vireo."""
    options = ["--efi", LINUX[0], "--loadoptions", rf"initrd=\vireo\initrd {command_line()} {OFF}"]
    said = boot(f"native-{cpus}", folder, (options, ["-", LINUX[1]]), GUEST_MEMORY, r"vireo-init: tsc [0-9]+\r\n", cpus)
    return number(r"vireo-init: tsc (\d+)", said) - number(r"chain: tsc (\d+)", said)


def boot_vireo(name, folder, conf_text, cpus=1):
    """The same as Vireo's guest, until that is off; what the serial port said."""
    conf = pathlib.Path(folder) / f"{name}.conf"
    conf.write_text(conf_text)
    return boot(name, folder, ([], [conf, *LINUX]), MACHINE_MEMORY, "vireo: all guests have ended", cpus)


def ticks_to_init(said):
    """From the guest's first instruction; its time-stamp counter is the processor's."""
    return number(r"vireo-init: tsc (\d+)", said) - number(r"vm linux: first instruction .*, at TSC (\d+)", said)


def measure_vireo(folder, conf_text):
    """Ticks to init, and Vireo's own figures as {id: (unit, value)}."""
    said = boot_vireo("vireo", folder, conf_text)
    figures = {name: (unit, number(pattern, said)) for name, unit, pattern in VIREO_SAYS}
    figures = {name: ("bytes", 1024 * value) if unit == "KiB" else (unit, value) for name, (unit, value) in figures.items()}
    # What the size of the images decides is a row of its own.
    sized = figures.pop("zero-before-start")[1] + figures["load-images"][1]
    figures["core-to-guest"] = ("ticks", figures["core-to-guest"][1] - sized)
    figures["linux-boot"] = ("ticks", ticks_to_init(said))
    figures["linux-boot-exits"] = ("exits", boot_traced("traced", folder, conf_text)[1])
    return figures


def boot_traced(name, folder, conf_text):
    """The boot once more, from the shell with the trace on: (what the serial port said, exits until init's first line). The
    trace knows which exits came later, since the guest's time-stamp counter is the processor's; what it takes itself is a
    thousandth of the ticks."""
    conf = pathlib.Path(folder) / f"{name}.conf"
    conf.write_text(conf_text + "autostart = off\n")
    with machine_of(name, folder, ([], [conf, *LINUX]), MACHINE_MEMORY) as booted:
        booted.expect(machine.SHELL_PROMPT)
        booted.shell("trace start")
        booted.shell("start linux")
        booted.expect("vireo: all guests have ended")
        init = number(r"vireo-init: tsc (\d+)", booted.output())
        times = re.findall(r"^T \d+ ([0-9a-f]+) exit ", booted.shell("trace dump", BOOT_SECONDS), re.M)
        said = booted.output()
    late = sum(int(tsc, 16) > init for tsc in times)
    return said, number(r"vm linux: powered off after (\d+) exits", said) - late


def measure_smp(folder):
    """The boot with a vCPU for each of SMP processors: {id: (unit, value)}."""
    said = boot_vireo("smp-linux", folder, boots_only().replace("vcpus = 1", f"vcpus = {SMP}"), SMP)
    return {"linux-boot-smp": ("ticks", ticks_to_init(said)),
            "linux-boot-smp-exits": ("exits", number(r"vm linux: powered off after (\d+) exits", said))}


def measure_devices(folder, conf_text):
    """The boot of a VM that has every device: {id: (unit, value)}. The kernel finds and configures them; init, which
    would load their drivers, powers off at once."""
    said, exits = boot_traced("devices", folder, conf_text.replace(OFF, f"{OFF} {SILENT}") + DEVICES)
    return {"linux-boot-devices": ("ticks", ticks_to_init(said)), "linux-boot-devices-exits": ("exits", exits)}


def measure_guest(folder, name, guest, cpus, before="", after="", idle_first=False, **options):
    """What a measuring guest prints: {id: minimum in ticks}. `before` and `after` its section are lines of vireo.conf, options
    the machine's. With idle_first it is started when Vireo has had time for what it does when idle: zeroing all free memory."""
    if idle_first:
        after += "autostart = off\n"
    image, conf = pathlib.Path(folder) / f"{name}.img", pathlib.Path(folder) / f"{name}.conf"
    conf.write_text(f"{before}{(ROOT / 'guests' / f'{guest}.conf').read_text()}{after}")
    subprocess.run([ROOT / "boot" / "mkimage.sh", image, conf, BUILD / "guests" / f"{guest}.elf"], check=True)
    print(f"bench: booting {name}", flush=True)
    with machine.Machine(f"bench-{name}", image, cpus=cpus, memory=MACHINE_MEMORY, timeout=BOOT_SECONDS, **options) as booted:
        if idle_first:
            booted.expect(machine.SHELL_PROMPT)
            booted.shell(f"top {IDLE_SECONDS}")
            booted.shell(f"start {guest}")
        booted.expect("vireo: all guests have ended")
        said = booted.output()
    if f"guest {guest}: ok" not in said:
        raise SystemExit(f"bench: the guest that measures {name} did not say ok")
    return {row: int(ticks) for row, ticks in re.findall(r"bench ([a-z0-9-]+) ticks (\d+)", said)}


def measure_single_exits(folder):
    """What needs one CPU, and so repeats exactly: {id: (unit, ticks)}."""
    rows = measure_guest(folder, "exits", "bench", 1)
    software = measure_guest(folder, "exits-no-apicv", "bench", 1, before="[hypervisor]\napicv = off\n")
    rows |= {f"{row}-no-apicv": software[row] for row in SOFTWARE_APIC}
    for name, wish in MITIGATIONS.items():
        mitigated = measure_guest(folder, f"exits-{name}", "bench", 1, before=f"[hypervisor]\nmitigations = {wish}\n",
                                  cpu=MITIGATED)
        rows[f"cpuid-mitigation-{name}"] = mitigated["cpuid"]
    rows |= measure_guest(folder, "switch", "bench_smp", 1, after="cmdline = one-processor\n")
    rows |= measure_guest(folder, "virtio", "bench_virtio", 1)
    rows |= measure_guest(folder, "memory", "bench_memory", 1, idle_first=True)
    rows |= measure_guest(folder, "memory-not-ready", "bench_memory", 1, after="cmdline = not-ready\n")
    return {row: ("ticks", ticks) for row, ticks in rows.items()}


def measure_ipis(folder):
    """From the write to the handler, with two CPUs: {id: (unit, ticks)}."""
    return {row: ("ticks", ticks) for row, ticks in measure_guest(folder, "smp", "bench_smp", 2).items()}


def measure_creation(folder):
    """From the request for a VM to its first instruction, whatever its size: {id: (unit, ticks)}."""
    conf = "".join(scale.idle_section(f"m{mib}", mib) for mib in CREATED_MIB)
    print("bench: booting creation", flush=True)
    with scale.boot(folder, "creation", conf, [scale.idle_guest(folder)], memory=1536, cpus=2) as booted:
        for mib in CREATED_MIB:
            booted.shell(f"start m{mib}")
            booted.expect(f"vm m{mib}: first instruction")
            booted.shell("")
        said = booted.output()
    return {f"creation-{mib}m": ("ticks", number(rf"vm m{mib}: first instruction .*, (\d+) since", said))
            for mib in CREATED_MIB}


def measure_stream(folder):
    """What Vireo does for a TCP stream from one Linux guest to another: {id: (unit, ticks)}."""
    started = []

    def make_image(conf, files):
        (pathlib.Path(folder) / "stream.conf").write_text(conf)
        image = pathlib.Path(folder) / "stream.img"
        subprocess.run([ROOT / "boot" / "mkimage.sh", image, pathlib.Path(folder) / "stream.conf", *files], check=True)
        return image

    def start(image, **options):
        started.append(machine.Machine("bench-stream", image, **options))
        started[0].start()
        return started[0]

    print("bench: booting stream", flush=True)
    try:
        return {"net-stream-kib": ("ticks", round(1024 * lan.Lan(start, make_image, {"a": "lan", "b": "lan"}, cpus=1)
                                                  .stream_ticks("a", "b", STREAM_MIB)))}
    finally:
        for one in started:
            one.stop()


def clock_and_exits(booted):
    """Milliseconds since the machine's start, exits of the one VM until now."""
    cpu, vm = booted.shell_json("cpus")[0], booted.shell_json("list")[0]
    return cpu["busy_ms"] + cpu["idle_ms"], vm["exits"]


def measure_idle(folder):
    """How often Linux exits that has nothing to do: {id: (unit, exits a second)}."""
    conf = pathlib.Path(folder) / "idle.conf"
    conf.write_text("[hypervisor]\nbackground = hide\n" + CONF.read_text())
    with machine_of("idle", folder, ([], [conf, *LINUX]), MACHINE_MEMORY) as booted:
        booted.expect("~ # ")
        booted.to_shell()
        booted.shell("top 10", BOOT_SECONDS)  # what the start of the system leaves to be done later
        before = clock_and_exits(booted)
        booted.shell(f"top {IDLE_LOOKS}", BOOT_SECONDS)  # one look a second
        after = clock_and_exits(booted)
    return {"idle-exits": ("exits", round(1000 * (after[1] - before[1]) / (after[0] - before[0]), 1))}


def collect():
    rows = {row["id"]: dict(row) for row in json.loads((HERE / "kvm.json").read_text())}

    def put(name, unit, key, value):
        rows.setdefault(name, {"id": name, "unit": unit})[key] = value

    put("image-bytes", "bytes", "vireo", (BUILD / "boot" / "core.stripped.elf").stat().st_size)
    put("efi-bytes", "bytes", "vireo", (BUILD / "BOOTX64.EFI").stat().st_size)
    with tempfile.TemporaryDirectory(prefix="vireo-bench-") as folder:
        put("linux-boot", "ticks", "native", measure_native(folder))
        put("linux-boot-smp", "ticks", "native", measure_native(folder, SMP))
        measured = measure_vireo(folder, boots_only()) | measure_smp(folder) | measure_devices(folder, boots_only()) \
            | measure_single_exits(folder) | measure_ipis(folder) | measure_creation(folder) | disk.measure(folder) \
            | measure_stream(folder) | measure_idle(folder)
        for name, (unit, value) in measured.items():
            put(name, unit, "vireo", value)
        for name, columns in kvm.measure(folder).items():
            for column, ticks in columns.items():
                put(name, "ticks", column, ticks)
    put("disk-read-byte", "ticks", "vireo", round(rows["disk-read-1m"]["vireo"] / (1 << 20), 4))
    put("console-virtio-byte", "ticks", "vireo", round(rows["console-virtio-256"]["vireo"] / 256, 4))
    put("linux-boot", "ticks", "must", int(BOOT_MUST * rows["linux-boot"]["native"]))
    put("linux-boot-smp", "ticks", "must", int(SMP_MUST * rows["linux-boot-smp"]["native"]))
    put("linux-boot-devices", "ticks", "must", int(DEVICES_MUST * rows["linux-boot"]["native"]))
    for name, most in MUST.items():
        rows[name]["must"] = most
    return list(rows.values())


def main():
    rows = collect()
    (BUILD / "bench.json").write_text(json.dumps(rows, indent=1) + "\n")
    (BUILD / "bench.md").write_text(report.markdown(rows))
    report.draw(rows, BUILD / "bench.svg")
    print(report.text(rows), end="")
    print(f"bench: written to {BUILD / 'bench.json'}, bench.md and bench.svg")


if __name__ == "__main__":
    main()
