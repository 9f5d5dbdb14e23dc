"""Vireo's own hypercalls: two VMs that know each other, on one processor and on two; one that nobody knows; one for which
they are off; one that ends, or is reset, while others hold what it has lent."""
# SPDX-License-Identifier: MIT
import random
import re

import pytest

import machine
import rack
from conftest import ROOT

BOOT_SECONDS = 240
GUEST = [machine.BUILD / "guests" / "neighbours.elf"]
PAIR = (ROOT / "guests" / "neighbours.conf").read_text()
ONE = "[vm {name}]\nprotocol = multiboot\nkernel = \\vireo\\neighbours.elf\nmemory = 16M\n{more}"
ROUNDS = 12
ALL_OFF = "[hypervisor]\napicv = off\nvpid = off\npreemption_timer = off\n"


def run(booted, *powered_off):
    booted.expect("vireo: all guests have ended")
    output = booted.output()
    assert "FAILED" not in output
    for name in powered_off:
        assert re.search(rf"vm {name}: powered off", output), name
    return output


@pytest.mark.parametrize("hypervisor, cpus", [
    pytest.param("", 1, id="one-cpu", marks=pytest.mark.wide),
    pytest.param("", 2, id="two-cpus"),
    pytest.param(ALL_OFF, 2, id="two-cpus-software-paths", marks=pytest.mark.long),
])
def test_two_neighbours(boot, make_image, hypervisor, cpus):
    output = run(boot(make_image(hypervisor + PAIR, GUEST), cpus=cpus, timeout=BOOT_SECONDS), "anna", "bert")
    assert output.count("guest neighbours: ok") == 2
    assert output.count("neighbours: printed by hypercall") == 2
    assert "a page that was taken back is blank" in output and "what was lent by a VM that has ended is that same page" in output


@pytest.mark.wide
def test_refused(boot, make_image):
    """Nobody there: no peers; only one of two names the other; hypercalls off, beside KVM's."""
    conf = "".join(ONE.format(name=name, more=more) for name, more in (
        ("alone", "cmdline = alone\n"), ("off", "hypercalls = off\npeers = alone\n")))
    output = run(boot(make_image(conf, GUEST), timeout=BOOT_SECONDS), "alone")
    assert output.count("guest neighbours: ok") == 2
    assert re.search(r"vm off: debug exit with code 0 ", output)
    assert output.count("neighbours: printed by hypercall") == 1


@pytest.mark.long
def test_either_side_goes_at_any_moment(boot, tmp_path):
    """Two VMs that lend and borrow without end are destroyed, reset and paused: the other goes on, and nothing is left."""
    names = ("anna", "bert")
    conf = "[hypervisor]\nbackground = hide\n" + "".join(
        rack.section(name, kernel="lender.bin") + f"peers = {peer}\n" for name, peer in (names, names[::-1]))
    lender = machine.assemble("lender", tmp_path / "lender.bin")
    vireo = boot(rack.make_image(tmp_path, conf, [lender]), cpus=2, timeout=rack.ANSWER_SECONDS)
    rack.wait_for_prompt(vireo)
    before = rack.free_bytes(vireo)
    rack.start(vireo, *names)
    chance = random.Random(1)
    for _ in range(ROUNDS):
        one, other = chance.sample(names, 2)
        rack.wait_for_lines(vireo, one, 1)
        act = chance.choice(("destroy", "reset", "pause"))
        vireo.shell(f"{act} {one}")
        if act == "destroy":
            rack.wait_for_states(vireo, **{one: "destroyed"})
            rack.start(vireo, one)
        elif act == "pause":
            rack.wait_for_states(vireo, **{one: "paused"})
            vireo.shell(f"resume {one}")
        rack.wait_for_states(vireo, **{name: "running" for name in names})
        rack.wait_for_lines(vireo, other, 1)
    rack.destroy(vireo, *names)
    assert rack.free_bytes(vireo) == before
