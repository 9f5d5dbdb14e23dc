"""Linux on several vCPUs, more or fewer than the machine has CPUs; several Linux guests at once."""
# SPDX-License-Identifier: MIT
import re

import pytest

from conftest import LINUX, LINUX_CONF

BOOT_SECONDS = 400  # of the machine's clock
COMMAND_SECONDS = 120
LOAD = "seq 1 3000 | sha256sum"
GUESTS = 4


def boot_linux(boot, make_image, vcpus, cpus, **options):
    conf = LINUX_CONF.replace("vcpus = 1", f"vcpus = {vcpus}")
    booted = boot(make_image(conf), cpus=cpus, timeout=COMMAND_SECONDS, **options)
    booted.expect("vireo-init: up", BOOT_SECONDS)
    booted.expect("~ # ")
    return booted


def check_load(booted, vcpus):
    """The same sum on every vCPU at once, each held there: all must agree with the one that ran alone."""
    alone = re.search(r"^[0-9a-f]{64}", booted.command(LOAD), re.M)[0]
    jobs = " ".join(f"taskset {1 << n:x} sh -c '{LOAD}' &" for n in range(vcpus))
    sums = re.findall(r"^[0-9a-f]{64}", booted.command(f"({jobs} wait)"), re.M)
    assert sums == [alone] * vcpus


def check_timers(booted, vcpus):
    """Each vCPU sleeps by its own timer, and the clock agrees that it was a second."""
    for n in range(vcpus):
        said = booted.command(f"taskset {1 << n:x} sh -c 'cut -d. -f1 /proc/uptime; sleep 2; cut -d. -f1 /proc/uptime'")
        before, after = (int(number) for number in re.findall(r"^(\d+)$", said, re.M))
        assert 2 <= after - before <= 3, said


def check_unplug(booted, vcpus):
    """A vCPU goes by sysfs and comes back by INIT and SIPI."""
    last = f"/sys/devices/system/cpu/cpu{vcpus - 1}/online"
    booted.command(f"echo 0 > {last}")
    assert re.search(rf"^{vcpus - 1}$", booted.command("nproc"), re.M)
    booted.command(f"echo 1 > {last}")
    assert re.search(rf"^{vcpus}$", booted.command("nproc"), re.M)


def check_clocks(booted):
    """No vCPU's time-stamp counter was seen behind another's."""
    complaints = booted.command("dmesg | grep -iE 'unstable|warp|skew|soft lockup|stall'")
    assert not re.search(r"^\[", complaints, re.M), complaints


def check(booted, vcpus):
    assert re.search(rf"^{vcpus}$", booted.command("nproc"), re.M)
    check_load(booted, vcpus)
    check_timers(booted, vcpus)
    if vcpus > 1:
        check_unplug(booted, vcpus)
        check_load(booted, vcpus)
    check_clocks(booted)


@pytest.mark.parametrize("vcpus, cpus", [
    pytest.param(vcpus, cpus, marks=pytest.mark.long) for vcpus in (1, 2, 4, 8) for cpus in (1, 2, 4)
])
def test_vcpus(boot, make_image, vcpus, cpus):
    check(boot_linux(boot, make_image, vcpus, cpus), vcpus)


def settle(booted, n):
    """What was replayed is read; the next prompt is the answer to what is typed next."""
    booted.send(f'echo "set""tled {n}"\n')
    booted.expect(f"settled {n}\r\n", BOOT_SECONDS)
    booted.expect("~ # ")


@pytest.mark.wide
def test_four_guests(boot, make_image):
    """Four at once on two CPUs, one of two vCPUs; each answers, and the end of one leaves the others alone."""
    sections = [LINUX_CONF.replace("[vm linux]", f"[vm linux{n}]").replace("256M", "128M") for n in range(GUESTS)]
    sections[0] = sections[0].replace("vcpus = 1", "vcpus = 2")
    booted = boot(make_image("[hypervisor]\nbackground = hide\n" + "\n".join(sections)), cpus=2, memory=1024,
                  timeout=COMMAND_SECONDS)
    booted.expect("~ # ", BOOT_SECONDS)
    for n in range(GUESTS):
        booted.to_shell()
        booted.send(f"console linux{n}\r")
        booted.expect(f"console: vm linux{n}")
        settle(booted, n)
        assert f"guest {n}" in booted.command(f"echo guest {n}")
        check_load(booted, 2 if n == 0 else 1)
    booted.to_shell()
    booted.shell("destroy linux0")
    booted.send("console linux3\r")
    booted.expect("console: vm linux3")
    settle(booted, 3)
    assert "alive" in booted.command("echo alive")
