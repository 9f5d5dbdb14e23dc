"""The teaching guests as tests that run inside a VM: each prints what it expects and what it got, and says ok or FAILED.

All of them run as VMs of one machine, which also shows that they share a processor without hurting each other; once with
everything the processor offers, once with APICv, VPID and preemption timer switched off (the software paths).
"""
# SPDX-License-Identifier: MIT
import re

import pytest

import machine
from conftest import LINUX, LINUX_CONF, ROOT

LESSONS = ["real", "protected", "long", "interrupts", "faults", "timer", "cpuid_msr", "mb", "devices"]
FILES = [machine.BUILD / "guests" / f"{name}.{'bin' if name in ('real', 'protected', 'long') else 'elf'}" for name in LESSONS]
BOOT_SECONDS = 240
# Vireo's own lines, which come between the letters of the guest at the console while another processor starts VMs.
LOG_IN_A_LINE = re.compile(r"\n(\[ *\d+\.\d{3}\] (?!\w+\| )[^\n]*\n)+")
ALL_OFF = "[hypervisor]\napicv = off\nvpid = off\npreemption_timer = off\n"


def sections(names):
    return "\n".join((ROOT / "guests" / f"{name}.conf").read_text() for name in names)


@pytest.mark.parametrize("hypervisor, cpu, cpus", [
    pytest.param("", "corei7_skylake_x", 1, id="hardware-paths"),
    pytest.param(ALL_OFF, "corei7_skylake_x", 1, id="software-paths", marks=pytest.mark.wide),
    pytest.param("", "corei7_haswell_4770", 2, id="haswell-2cpus", marks=pytest.mark.long),
])
def test_lessons(boot, make_image, hypervisor, cpu, cpus):
    booted = boot(make_image(hypervisor + sections(LESSONS), FILES), cpu=cpu, cpus=cpus, timeout=BOOT_SECONDS)
    booted.expect("vireo: all guests have ended")
    output = booted.output()
    said = LOG_IN_A_LINE.sub("", output)
    assert "FAILED" not in said
    for name in LESSONS:
        assert f"guest {name}: ok" in said, f"{name} did not say ok"
        assert re.search(rf"vm {name}: debug exit with code 0 ", output), f"{name} did not end with code 0"


@pytest.mark.parametrize("hypervisor, more, cpus", [
    pytest.param("", "", 2, id="two-cpus"),
    pytest.param(ALL_OFF, "", 2, id="two-cpus-software-paths", marks=pytest.mark.long),
    pytest.param("", "cmdline = one-processor\n", 1, id="two-vcpus-on-one-cpu", marks=pytest.mark.wide),
])
def test_smp_guest(boot, make_image, hypervisor, more, cpus):
    """Start-up IPIs, and IPIs between two vCPUs, beside each other and in turns. What they cost is tests/bench's matter."""
    conf = hypervisor + (ROOT / "guests" / "bench_smp.conf").read_text() + more
    booted = boot(make_image(conf, [machine.BUILD / "guests" / "bench_smp.elf"]), cpus=cpus, timeout=BOOT_SECONDS)
    booted.expect("guest bench_smp: ok")
    booted.expect("vm bench_smp: debug exit with code 0 ")
    booted.expect("vireo: all guests have ended")


@pytest.mark.parametrize("hypervisor, cpu", [
    pytest.param("", "corei7_skylake_x", id="hardware-paths", marks=pytest.mark.wide),
    pytest.param("", "tigerlake", id="another-processor"),
    pytest.param("[hypervisor]\napicv = off\n", "corei7_skylake_x", id="software-paths", marks=pytest.mark.long),
])
def test_interrupts_wait_for_if(boot, make_image, hypervisor, cpu):
    """Bochs delivers virtual interrupts while IF is clear when one of the machine's comes in: Vireo takes that back."""
    conf = hypervisor + (ROOT / "guests" / "masked.conf").read_text()
    booted = boot(make_image(conf, [machine.BUILD / "guests" / "masked.elf"]), cpus=2, cpu=cpu, timeout=BOOT_SECONDS)
    booted.expect("vireo: all guests have ended")
    assert "guest masked: ok" in booted.output()


@pytest.mark.long
def test_two_linux_guests_share_a_cpu(boot, make_image):
    """The console moves to the other guest and back by way of the shell; one's power-off leaves the other alone."""
    one = LINUX_CONF.replace("256M", "128M")
    booted = boot(make_image(one + one.replace("[vm linux]", "[vm other]"), LINUX), timeout=BOOT_SECONDS)
    booted.expect(r"other\| vireo-init: tsc")
    booted.command("true")
    booted.to_shell()
    booted.send("console other\r")
    booted.expect("console: vm other")
    booted.expect("~ # ")
    assert "Linux" in booted.command("uname -a")
    booted.send("poweroff\n")
    booted.expect("vm other: powered off")
    booted.expect("console: Vireo's shell;")  # it was the other guest's
    booted.expect(machine.SHELL_PROMPT)
    booted.send("console linux\r")
    booted.expect("console: vm linux")
    booted.send("\n")
    booted.expect("~ # ")
    assert "Linux" in booted.command("uname -a")
    booted.send("poweroff\n")
    booted.expect("vireo: all guests have ended")
