"""Vireo's own hypercalls: two VMs that know each other, on one processor and on two; one that nobody knows; one for which
they are off; one that ends, or is reset, while others hold what it has lent."""
# SPDX-License-Identifier: MIT
import re

import pytest

import machine
from conftest import ROOT

BOOT_SECONDS = 240
GUEST = [machine.BUILD / "guests" / "neighbours.elf"]
PAIR = (ROOT / "guests" / "neighbours.conf").read_text()
ONE = "[vm {name}]\nprotocol = multiboot\nkernel = \\vireo\\neighbours.elf\nmemory = 16M\n{more}"
ALL_OFF = "[hypervisor]\napicv = off\nvpid = off\npreemption_timer = off\n"


def run(booted, *powered_off):
    booted.expect("vireo: all guests have ended")
    output = booted.output()
    assert "FAILED" not in output
    for name in powered_off:
        assert re.search(rf"vm {name}: powered off", output), name
    return output


@pytest.mark.parametrize("hypervisor, cpus", [
    pytest.param("", 1, id="one-cpu"),
    pytest.param("", 2, id="two-cpus"),
    pytest.param(ALL_OFF, 2, id="two-cpus-software-paths"),
])
def test_two_neighbours(boot, make_image, hypervisor, cpus):
    output = run(boot(make_image(hypervisor + PAIR, GUEST), cpus=cpus, timeout=BOOT_SECONDS), "anna", "bert")
    assert output.count("guest neighbours: ok") == 2
    assert output.count("neighbours: printed by hypercall") == 2
    assert "a page that was taken back is blank" in output and "what was lent by a VM that has ended is that same page" in output


def test_refused(boot, make_image):
    """Nobody there: no peers; only one of two names the other; hypercalls off, beside KVM's."""
    conf = "".join(ONE.format(name=name, more=more) for name, more in (
        ("alone", "cmdline = alone\n"), ("off", "hypercalls = off\npeers = alone\n")))
    output = run(boot(make_image(conf, GUEST), timeout=BOOT_SECONDS), "alone")
    assert output.count("guest neighbours: ok") == 2
    assert re.search(r"vm off: debug exit with code 0 ", output)
    assert output.count("neighbours: printed by hypercall") == 1
