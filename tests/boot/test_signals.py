"""Signals that nobody expects, thousands of them at random moments: NMIs, interrupts without a handler, interrupts that
are repeated. Guests that look at their own registers all the time must notice nothing, and all must be counted."""
# SPDX-License-Identifier: MIT
import re

import pytest

import machine
import rack
from conftest import LINUX, LINUX_CONF

BOOT_SECONDS = 400  # of the machine's clock
SEND_SECONDS = 240
NMIS, INTERRUPTS = 2000, 1000
# Not 0xff, as an interrupt: Bochs keeps the spurious vector in service for good, EOI or not. tests/unit/test_trap.c has it.
STRAY, LEGACY, LOW, KICK, TIMER = 0x55, 0x27, 0x1b, 0xe1, 0xe0
HEX = "[0-9a-f]"


def start_checkers(boot, make_image, tmp_path, cpus, model="corei7_skylake_x"):
    """A machine whose CPUs all have a guest that checks itself, one that sleeps among them."""
    checker = machine.assemble("checker", tmp_path / "checker.bin")
    conf = "[hypervisor]\nbackground = hide\n" + "".join(rack.section(f"c{n}", kernel="checker.bin") for n in range(cpus))
    vireo = boot(make_image(conf, [checker]), cpu=model, cpus=cpus)
    rack.wait_for_prompt(vireo)
    rack.start(vireo, *(f"c{n}" for n in range(cpus)))
    return vireo


def check_guests(vireo, cpus):
    """All of them go on, and none found a register that was another's."""
    for n in range(cpus):
        assert "BAD" not in rack.wait_for_lines(vireo, f"c{n}", 2)


def counts(vireo):
    return [(row["nmis"], row["strays"], row["spurious"]) for row in vireo.shell_json("cpus")]


def send_nmis(vireo, to, count):
    said = vireo.shell(f"nmi {to} {count}", SEND_SECONDS)
    assert f"{count} NMIs sent, {count} arrived" in said, said


@pytest.mark.wide
@pytest.mark.parametrize("model", [
    pytest.param("corei7_skylake_x", id="plain"),
    pytest.param("tigerlake", id="shadow-stacks"),  # each NMI has one of its own, which must be free again
])
def test_nmis_at_any_moment(boot, make_image, tmp_path, model):
    vireo = start_checkers(boot, make_image, tmp_path, 2, model)
    send_nmis(vireo, 1, NMIS)
    send_nmis(vireo, 0, NMIS)
    send_nmis(vireo, "all", NMIS)
    assert sum(nmis for nmis, _, _ in counts(vireo)) == 3 * NMIS
    # Some came while a guest ran, some while Vireo did.
    exits = [row["count"] for n in (0, 1) for row in vireo.shell_json(f"stat c{n}") if row["reason"] == "exception or NMI"]
    assert 0 < sum(exits) < 3 * NMIS, exits
    check_guests(vireo, 2)
    said = vireo.output()
    assert "PANIC" not in said
    # Each time that the number has doubled at least: that is not often.
    for cpu in (0, 1):
        told = [int(n) for n in re.findall(rf"error: cpu {cpu}: found an NMI, expected none: .*; (\d+) so far", said)]
        assert told and len(told) <= (2 * NMIS).bit_length()
        assert all(b >= 2 * a for a, b in zip(told, told[1:])), told
    # The panic that NMIs stop the others for still works, and stray ones do not cut its report short.
    vireo.send("crash null\r")
    vireo.expect("stopped; the machine must be reset")


def test_nmis_while_all_sleep(boot, make_image, tmp_path):
    """An idle CPU wakes for the timer that it sleeps until, however many NMIs come meanwhile."""
    vireo = start_checkers(boot, make_image, tmp_path, 1)
    rack.destroy(vireo, "c0")
    send_nmis(vireo, 0, 200)
    rack.start(vireo, "c0")
    check_guests(vireo, 1)


@pytest.mark.wide
def test_interrupts_that_nobody_handles(boot, make_image, tmp_path):
    vireo = start_checkers(boot, make_image, tmp_path, 2)
    before = (0, 0)
    for vector in (STRAY, LEGACY, LOW):
        vireo.shell(f"irq all {vector} {INTERRUPTS}", SEND_SECONDS)
        now = [strays + spurious for _, strays, spurious in counts(vireo)]
        assert all(a > b for a, b in zip(now, before)), vector  # what is pending at once is taken as one
        before = now
    said = vireo.output()
    assert sum(before) <= 2 * 3 * INTERRUPTS
    for cpu in (0, 1):
        assert re.search(rf"error: cpu {cpu}: found an interrupt with vector {STRAY:#x}, expected one that has a handler; "
                         r"\d+ so far", said)
    assert len(re.findall("found an interrupt with vector", said)) <= 2 * (2 * INTERRUPTS).bit_length()
    for vector in (KICK, TIMER):  # known ones, without a cause
        vireo.shell(f"irq all {vector} {INTERRUPTS}", SEND_SECONDS)
    check_guests(vireo, 2)
    assert "PANIC" not in vireo.output()


@pytest.mark.long
def test_linux_under_nmis(boot, make_image):
    """Two vCPUs that compute, sleep and send each other IPIs, on two CPUs that are hit all the time."""
    vireo = boot(make_image(LINUX_CONF.replace("vcpus = 1", "vcpus = 2")), cpus=2, timeout=SEND_SECONDS)
    vireo.expect("~ # ", BOOT_SECONDS)
    load = "seq 1 2000 | sha256sum"
    alone = re.search(rf"^{HEX}{{64}}", vireo.command(load), re.M)[0]
    vireo.send(f"(for n in 0 1; do taskset $((n + 1)) sh -c '{load}; sleep 1; {load}' & done; wait; echo do''ne)\n")
    vireo.to_shell()
    send_nmis(vireo, "all", NMIS)
    vireo.to_guest()
    vireo.expect("done\r\n")
    vireo.expect("~ # ")
    sums = re.findall(rf"\b({HEX}{{64}})  -", vireo.output())  # some were said while the shell had the line
    assert set(sums) == {alone} and len(sums) >= 5, sums
    assert not re.search(r"^\[", vireo.command("dmesg | grep -iE 'unstable|warp|lockup|stall|NMI received'"), re.M)
