"""Registers don't leak: a guest that holds numbers of its own in every register, and one that hunts for them on the same
processor and is born again and again (tests/guest/hostile/secrets.c). Both look at all of their registers after each kind
of exit, so that each switch between them is seen from both sides.
"""
# SPDX-License-Identifier: MIT
import re

import pytest

import attacks
import machine

BOOT_SECONDS = 240
HOSTILE = machine.BUILD / "guests" / "hostile.elf"
ALL_OFF = "[hypervisor]\napicv = off\nvpid = off\npreemption_timer = off\n"
LIVES = 3
LOOKS = 100_000  # at least, of each


def looks(said, role):
    return sum(int(n) for n in re.findall(rf"{role}: a life is over, 0 found in (\d+) looks", said))


@pytest.mark.parametrize("hypervisor, cpu, vcpus, cpus", [
    pytest.param("", "corei7_skylake_x", 1, 1, id="avx512"),
    pytest.param("", "corei7_skylake_x", 2, 1, id="two-vcpus", marks=pytest.mark.wide),
    pytest.param("", "corei7_skylake_x", 2, 2, id="two-cpus", marks=pytest.mark.long),
    pytest.param("", "tigerlake", 1, 1, id="vireos-own-registers", marks=pytest.mark.wide),  # SPEC_CTRL, shadow stacks
    pytest.param(ALL_OFF, "corei7_haswell_4770", 1, 1, id="software-paths", marks=pytest.mark.wide),
    pytest.param("", "corei5_arrandale_m520", 1, 1, id="no-xsave", marks=pytest.mark.long),
])
def test_registers_do_not_leak(boot, make_image, hypervisor, cpu, vcpus, cpus):
    conf = hypervisor + attacks.section("keeper", f"keep {vcpus}", vcpus) + attacks.section("hunter", f"hunt {vcpus}", vcpus)
    booted = boot(make_image(conf, [HOSTILE]), cpu=cpu, cpus=cpus, quiet=True, timeout=BOOT_SECONDS)
    for _ in range(LIVES):
        booted.expect(r"vm hunter: (restarts|debug exit|killed|halted)")
    booted.expect(r"keeper: intact")
    said = booted.output()
    assert "FOUND" not in said
    assert len(re.findall("vm hunter: restarts", said)) >= LIVES
    assert not re.search("vm (hunter|keeper): (debug exit|killed|halted)", said)
    assert looks(said, "hunter") > LIVES * LOOKS
    assert int(re.findall(r"keeper: intact, 0 found in (\d+) looks", said)[-1]) > LOOKS
