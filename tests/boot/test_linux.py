"""An unmodified Debian kernel under Vireo: a real shell, on several processors, with and without ACPI from firmware."""
# SPDX-License-Identifier: MIT
import re

import pytest

from conftest import LINUX, LINUX_CONF, hypervisor_section

COMMAND_LINE = re.search(r'^cmdline\s*=\s*"(.*)"', LINUX_CONF, re.M)[1]
BOOT_SECONDS = 180  # of the machine's clock; alone it is 16
COMMAND_SECONDS = 30
# What the same kernel says natively on this machine, too.
NATIVE_ERRORS = [r"TSC_DEADLINE disabled due to Errata", r"RETBleed: WARNING", r"Failed to access perfctr msr"]
NO_MOUSE = "i8042: PNP: PS/2 appears to have AUX port disabled"  # and so it is: the guest's PC has none
ERROR, WARNING = 3, 4  # kernel log levels


def boot_to_shell(boot, image, **options):
    booted = boot(image, timeout=COMMAND_SECONDS, **options)
    booted.expect("vireo-init: up", BOOT_SECONDS)
    booted.expect("~ # ")
    return booted


def check_processor(booted, vcpus=1):
    assert re.search(r"Linux \S+ 6\.\S*cloud-amd64 .* x86_64", booted.command("uname -a"))
    cpuinfo = booted.command("cat /proc/cpuinfo")
    assert len(re.findall(r"^processor\s*:", cpuinfo, re.M)) == vcpus
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo, re.M)[1].split()
    assert "hypervisor" in flags and "vmx" not in flags
    megahertz = float(re.search(r"^cpu MHz\s*:\s*([0-9.]+)", cpuinfo, re.M)[1])
    assert 90 < megahertz < 110, "the guest believes in a TSC that is not Bochs's 100 MHz"


def check_interrupts(booted):
    interrupts = booted.command("cat /proc/interrupts")
    assert re.search(r"^ *4: +[1-9]\d* +.*IO-APIC.*ttyS0", interrupts, re.M)
    assert re.search(r"^ *LOC: +[1-9]\d*", interrupts, re.M), "no local timer interrupt came"
    assert re.search(r"^ *ERR: +0$", interrupts, re.M)


def check_memory(booted):
    iomem = booted.command("cat /proc/iomem")
    ram = [(int(a, 16), int(b, 16)) for a, b in re.findall(r"^([0-9a-f]+)-([0-9a-f]+) : System RAM", iomem, re.M)]
    assert 250 << 20 < sum(end - start + 1 for start, end in ram) <= 256 << 20
    assert "Local APIC" in iomem


def complaints(booted, level):
    """The kernel's messages of this level or worse, without their time stamps."""
    found = re.findall(r"^<(\d)>\[ *[0-9.]+\] (.*)$", booted.command("dmesg -r"), re.M)
    return [text for worth, text in found if int(worth) <= level]


def check_dmesg(booted):
    errors = [text for text in complaints(booted, ERROR) if not any(re.search(known, text) for known in NATIVE_ERRORS)]
    assert not errors, "\n".join(errors)


def check_shell(booted, vcpus=1):
    check_processor(booted, vcpus)
    check_interrupts(booted)
    check_memory(booted)
    check_dmesg(booted)


def power_off(booted):
    booted.send("poweroff\n")
    booted.expect(r"vm linux: powered off")
    booted.expect(r"vireo: all guests have ended")


# Every model, both kinds of firmware, every count and both ways of delivering interrupts, in as few boots as that takes.
@pytest.mark.parametrize("cpu, acpi, cpus, apicv", [
    pytest.param("corei7_skylake_x", False, 1, True, id="skylake"),
    pytest.param("corei7_skylake_x", True, 2, False, id="skylake-acpi-2cpus-no-apicv", marks=pytest.mark.long),
    pytest.param("corei7_haswell_4770", False, 2, True, id="haswell-2cpus", marks=pytest.mark.long),
    pytest.param("corei7_haswell_4770", True, 1, True, id="haswell-acpi", marks=pytest.mark.wide),
    pytest.param("corei7_icelake_u", True, 4, True, id="icelake-acpi-4cpus", marks=pytest.mark.long),
    pytest.param("corei7_icelake_u", False, 1, False, id="icelake-no-apicv", marks=pytest.mark.long),
])
def test_shell(boot, make_image, cpu, acpi, cpus, apicv):
    conf = hypervisor_section(**({} if apicv else {"apicv": "off"}))
    booted = boot_to_shell(boot, make_image(conf, *([LINUX, "--acpi"] if acpi else [])), cpu=cpu, cpus=cpus)
    check_shell(booted)
    power_off(booted)


@pytest.mark.long
def test_complains_no_more_than_natively(boot, make_image):
    """Errors and warnings of the same kernel, once started by firmware itself, once by Vireo; ACPI tables in both."""
    options = ["--acpi", "--efi", LINUX[0], "--loadoptions", rf"initrd=\vireo\initrd {COMMAND_LINE}"]
    native = boot_to_shell(boot, make_image(None, [LINUX[1]], *options), memory=256)
    expected = {re.sub(r"[0-9]+", "N", text) for text in complaints(native, WARNING)}
    native.stop()
    guest = boot_to_shell(boot, make_image())
    new = [text for text in complaints(guest, WARNING)
           if re.sub(r"[0-9]+", "N", text) not in expected and not text.startswith(NO_MOUSE)]
    assert not new, "\n".join(new)


@pytest.mark.parametrize("more, saves", [
    pytest.param("", True, id="by-a-bit", marks=pytest.mark.wide),
    pytest.param("kvm = off\n", False, id="by-msr", marks=pytest.mark.long),
])
def test_end_of_interrupt_without_exit(boot, make_image, more, saves):
    """Where the processor does not virtualise EOI. Linux says nothing of it: that most of its timer interrupts ended so
    is seen by Vireo's count when the VM ends."""
    conf = hypervisor_section(apicv="off", log="debug") + more
    booted = boot_to_shell(boot, make_image(conf))
    check_interrupts(booted)
    ticks = int(re.search(r"^ *LOC: +(\d+)", booted.command("cat /proc/interrupts"), re.M)[1])
    power_off(booted)
    found = re.search(r"exits: +(\d+) were saved: EOI by a bit in memory", booted.output())
    assert (found is not None) == saves
    assert not saves or int(found[1]) > ticks / 2, (found[1], ticks)


@pytest.mark.parametrize("vcpus, apicv", [
    pytest.param(1, True, id="1vcpu"),
    pytest.param(2, False, id="2vcpus-no-apicv", marks=pytest.mark.long),
    pytest.param(4, True, id="4vcpus", marks=pytest.mark.long),
])
def test_reboot(boot, make_image, vcpus, apicv):
    """The second boot finds the machine as the first did, all its processors included."""
    conf = hypervisor_section(**({} if apicv else {"apicv": "off"})).replace("vcpus = 1", f"vcpus = {vcpus}")
    booted = boot_to_shell(boot, make_image(conf), cpus=vcpus)
    check_processor(booted, vcpus)
    booted.send("reboot\n")
    booted.expect("vm linux: restarts")
    booted.expect("vireo-init: up", BOOT_SECONDS)
    booted.expect("~ # ")
    check_processor(booted, vcpus)
    power_off(booted)


@pytest.mark.wide
def test_job_control(boot, make_image):
    """Bochs is as strict as hardware here: an RDMSR or WRMSR that nobody guarded would be fatal."""
    booted = boot_to_shell(boot, make_image(), ignore_bad_msrs=False)
    # It says itself that it runs: before that the keys would reach the shell. The quotes keep the echo from matching.
    booted.send("sh -c 'echo run\"\"ning; while :; do sleep 1; echo st\"\"ill; done'\n")
    booted.expect("running\r\n")
    booted.send("\x1a")
    booted.expect("Stopped")
    booted.expect("~ # ")
    booted.send("fg\n")
    booted.expect("still\r\n")
    booted.send("\x03")
    booted.expect("~ # ")
    power_off(booted)
