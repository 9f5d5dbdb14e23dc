"""Side channels: what Vireo says that it does on processors with and without the registers, the switches, and guests whose
IA32_SPEC_CTRL stays their own. What a mitigation keeps from whom can't be seen on an emulator.
"""
# SPDX-License-Identifier: MIT
import re

import pytest

import machine
from conftest import ROOT, hypervisor_section

PAIR = (ROOT / "guests" / "speculation.conf").read_text()
FILES = [machine.BUILD / "guests" / "speculation.elf"]
WITH_REGISTERS, WITHOUT = "tigerlake", "corei7_skylake_x"  # Bochs's models: sca_mitigations or not
BOOT_SECONDS = 120


def channels(output):
    """What the boot report says: {group of mitigations: names}."""
    return {group: re.findall(r"(\w+) \(", names)
            for group, names in re.findall(r"side channels: ([^:]*): ([^\r\n]*)", output)}


@pytest.mark.parametrize("cpu, settings, expected", [
    pytest.param(WITH_REGISTERS, "", {"on": ["ibrs", "bhi", "rsb", "ibpb", "verw", "itlb"]}, id="registers"),
    pytest.param(WITHOUT, "", {"on": ["itlb"],
                               "needed, but the processor can't, its microcode may be old": ["ibrs", "rsb", "ibpb", "verw", "l1d"]},
                 id="old-microcode", marks=pytest.mark.wide),
    pytest.param(WITH_REGISTERS, "mitigations = off\n",
                 {"needed, but switched off (mitigations)": ["ibrs", "bhi", "rsb", "ibpb", "verw", "itlb"]}, id="off",
                 marks=pytest.mark.wide),
    pytest.param(WITH_REGISTERS, "mitigations = all, no-ibpb\nsmt = on\n",
                 {"on": ["ibrs", "bhi", "rsb", "verw", "itlb"], "on, though not needed (mitigations = all)": ["stibp", "l1d"],
                  "needed, but switched off (mitigations)": ["ibpb"]}, id="all-but-one",
                 marks=pytest.mark.wide),
])
def test_report_and_guests(boot, make_image, cpu, settings, expected):
    """Two guests on one processor, each with values of its own in IA32_SPEC_CTRL, and what the report says before."""
    booted = boot(make_image(f"[hypervisor]\n{settings}{PAIR}", FILES), cpu=cpu, timeout=BOOT_SECONDS)
    booted.expect("vireo: all guests have ended")
    output = booted.output()
    said = channels(output)
    for group, names in expected.items():
        assert said.get(group) == names, said
    assert set(said) == {"not needed", *expected}, said
    for vm in ("odd", "even"):
        assert re.search(rf"vm {vm}: debug exit with code 0 ", output), f"{vm} did not end with code 0"


@pytest.mark.wide
def test_one_thread_of_each_core(boot, make_image):
    """Two cores of two threads each: two of the four processors run guests."""
    booted = boot(make_image(f"[hypervisor]\n{PAIR}", FILES), cpu=WITH_REGISTERS, cpus="1:2:2", timeout=BOOT_SECONDS)
    booted.expect(r"cpus: 2 online")
    booted.expect(r"cpus: 2 are further threads of a core and run no guests \(smt = off\), APIC IDs 1, 3")
    booted.expect("vireo: all guests have ended")
    assert [(row["cpu"], row["apic_id"]) for row in booted.shell_json("cpus")] == [(0, 0), (1, 2)]


def test_linux_knows_its_processor(boot, make_image):
    """Linux finds the registers, uses enhanced IBRS and says nothing of a processor that it takes for open."""
    booted = boot(make_image(hypervisor_section()), cpu=WITH_REGISTERS, timeout=BOOT_SECONDS)
    booted.expect("~ # ", 240)
    said = booted.command("grep . /sys/devices/system/cpu/vulnerabilities/*")
    assert re.search(r"spectre_v2:Mitigation: Enhanced.* IBRS", said), said
    assert re.search(r"meltdown:Not affected", said), said
    assert re.search(r"l1tf:Not affected", said), said
    assert "Vulnerable" not in booted.command("dmesg | grep -i -e spectre -e mitigat")
