"""`make scale`: how the cost of a guest grows with their number, on Bochs.

Starts as many Linux guests as the machine's 2 GiB hold, then 200 small teaching guests on a machine of its own, one after
the other, and prints for each what its creation took and what it costs beside its memory. Fails when the cost of a guest
grows: the last tenth may cost at most 5 % more than the first, once the very first has paid for what is shared.
"""
# SPDX-License-Identifier: MIT
import contextlib
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import machine  # noqa: E402

BUILD, ROOT = machine.BUILD, machine.ROOT
LINUX = [BUILD / "linux" / "vmlinuz", BUILD / "linux" / "initrd"]
LINUX_MEMORY = 112  # MiB
TEACHING = 200
BOOT_SECONDS = 1800
GROWTH = 1.05

LINUX_GUEST = (ROOT / "guests" / "linux" / "vireo.conf").read_text().replace("256M", f"{LINUX_MEMORY}M") \
    + "autostart = off\n"


def idle_guest(folder):
    """A small guest that sleeps."""
    return machine.assemble("idle", pathlib.Path(folder) / "idle.bin")


def idle_section(name, mib):
    return f"[vm {name}]\nprotocol = flat\nmode = protected\nmemory = {mib}M\nautostart = off\nkernel = idle.bin\n"


@contextlib.contextmanager
def boot(folder, name, conf, files, **options):
    """A machine at Vireo's shell."""
    image = pathlib.Path(folder) / f"{name}.img"
    conf_file = pathlib.Path(folder) / f"{name}.conf"
    conf_file.write_text("[hypervisor]\nbackground = hide\n" + conf)
    subprocess.run([ROOT / "boot" / "mkimage.sh", image, conf_file, *files], check=True)
    with machine.Machine(f"scale-{name}", image, timeout=120, **options) as booted:
        booted.expect("console: Vireo's shell", 300)
        booted.expect(machine.SHELL_PROMPT)
        yield booted


def start(booted, name, like):
    """Defines and starts one more. (ticks of its creation, bytes it took), or None when no memory is left. Without the
    zeroing of memory for its images: it is free as long as idle processors have done it before, and they get busy."""
    before = booted.shell_json("mem")["free_bytes"]
    booted.shell(f"create {name} {like}")
    said = booted.shell(f"start {name}")
    if "not started" in said:
        return None
    taken = before - booted.shell_json("mem")["free_bytes"]
    deadline = booted.clock() + booted.timeout
    while not (zeroing := re.search(rf"vm {name}: first instruction .* zeroing memory took (\d+), ", booted.output())):
        assert booted.clock() < deadline, f"{name} does not begin"
        booted.shell("")
    ticks = re.search(rf"vm {name}: created in (\d+) ticks", booted.output())
    return int(ticks[1]) - int(zeroing[1]), taken


def report(what, costs):
    """Prints the table; True when the last ones cost no more than the first."""
    print(f"{what}: {len(costs)} guests")
    for n in sorted({1, 2, 3, *range(10, len(costs), max(10, len(costs) // 10)), len(costs)}):
        if n <= len(costs):
            ticks, size = costs[n - 1]
            print(f"  {n:4}  created in {ticks:10,} ticks  {size / 1024:10,.0f} KiB")
    tenth = max(1, len(costs) // 10)
    good = True
    for index, unit in ((0, "ticks"), (1, "bytes")):
        first = statistics.median(cost[index] for cost in costs[1:1 + tenth])
        last = statistics.median(cost[index] for cost in costs[-tenth:])
        print(f"  {unit}: the first {first:,.0f}, the last {last:,.0f}: {last / first:.3f}")
        good &= last <= GROWTH * first
    return good


def scale_linux(folder):
    costs = []
    with boot(folder, "linux", LINUX_GUEST, LINUX, cpus=2, memory=2048) as booted:
        while cost := start(booted, f"linux{len(costs) + 1}", "linux"):
            costs.append(cost)
            print(f"scale: {len(costs)} Linux guests", flush=True)
        for n in range(len(costs)):
            booted.send(f"console linux{n + 1}\r")
            booted.expect(f"console: vm linux{n + 1}")
            booted.send("\n")
            booted.expect("~ # ", BOOT_SECONDS)
            booted.to_shell()
    return report("Linux", costs)


def scale_teaching(folder):
    costs = []
    with boot(folder, "teaching", idle_section("lesson", 2), [idle_guest(folder)], cpus=2, memory=1024) as booted:
        for n in range(TEACHING):
            cost = start(booted, f"l{n + 1}", "lesson")
            if not cost:
                raise SystemExit(f"scale: no memory for teaching guest {n + 1}")
            costs.append(cost)
        running = [row for row in booted.shell_json("list", 300) if row["state"] == "running"]
        assert len(running) == TEACHING, f"{len(running)} run"
    return report("teaching guests", costs)


def main():
    with tempfile.TemporaryDirectory(prefix="vireo-scale-") as folder:
        good = scale_teaching(folder)
        good &= scale_linux(folder)
    if not good:
        raise SystemExit("scale: the cost of a guest grows with their number")


if __name__ == "__main__":
    main()
