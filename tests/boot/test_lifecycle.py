"""A VM's life in the owner's hands: defined, started, paused, reset, shut down, destroyed at any moment, forgotten; and
nothing of it stays behind. All through Vireo's shell."""
# SPDX-License-Identifier: MIT
import os
import re

import pytest

import machine
from conftest import LINUX, LINUX_CONF
from rack import (ANSWER_SECONDS, BOOT_SECONDS, destroy, free_bytes, make_image, numbers, section, start, states,
                  wait_for_lines, wait_for_prompt, wait_for_states)

SLACK = 0.05  # seconds, of two clocks that are read one after the other
CYCLES = int(os.environ.get("CYCLES", 100))
SMALL_LINUX = LINUX_CONF.replace("256M", "128M") + "autostart = off\n"

pytestmark = pytest.mark.long


@pytest.fixture(name="small")
def boot_small_guests(boot, tmp_path):
    """At the shell of a machine with two CPUs; nothing runs. teller: sleeps; spin, pair: two vCPUs; sipi: halted, and
    its second vCPU never started; restart: restarts itself for ever."""
    vcpus = {"teller": 1, "spin": 2, "sipi": 2, "restart": 2}
    files = [machine.assemble(name, tmp_path / f"{name}.bin") for name in vcpus]
    conf = "[hypervisor]\nbackground = hide\n" + "".join(section(*vm) for vm in vcpus.items())
    booted = boot(make_image(tmp_path, conf, files), cpus=2, timeout=ANSWER_SECONDS)
    wait_for_prompt(booted)
    return booted


# --- Linux --------------------------------------------------------------------------------------------------------


def vireo_seconds(booted):
    """The time of the line that tells who has got the console."""
    return float(re.findall(r"\[ *(\d+\.\d+)\] console: ", booted.output())[-1])


def look_at_clock(booted):
    """At the guest's prompt, ends at Vireo's: Vireo's time before, the guest's own, Vireo's after."""
    before = vireo_seconds(booted)
    booted.send("\n")
    booted.expect("~ # ")
    uptime = float(re.search(r"^(\d+\.\d+)", booted.command("cut -d' ' -f1 /proc/uptime"), re.M)[1])
    booted.to_shell()
    return before, uptime, vireo_seconds(booted)


def check_clock(first, second):
    """Between two looks the guest's clock has moved as far as Vireo's."""
    passed = second[1] - first[1]
    assert second[0] - first[2] - SLACK <= passed <= second[2] - first[0] + SLACK, (first, second)


def to_linux(booted):
    booted.send("console linux\r")
    booted.expect("console: vm linux ")


def boot_linux(booted):
    """From the shell's prompt to the guest's."""
    booted.shell("start linux")
    to_linux(booted)
    booted.expect("vireo-init: up", BOOT_SECONDS)
    booted.expect("~ # ")


def test_linux(boot, tmp_path):
    files = [*LINUX, machine.assemble("teller", tmp_path / "teller.bin")]
    booted = boot(make_image(tmp_path, SMALL_LINUX + section("teller"), files), cpus=2, timeout=ANSWER_SECONDS)
    wait_for_prompt(booted)
    assert states(booted) == {"linux": "shut off", "teller": "shut off"}
    booted.shell("set background=hide")
    before = free_bytes(booted)
    boot_linux(booted)
    check_pause(booted)
    check_reset(booted)
    check_shutdown(booted)
    boot_linux(booted)
    booted.to_shell()
    destroy(booted, "linux")
    assert free_bytes(booted) == before


def linux_ms(booted):
    return next(row["cpu_ms"] for row in booted.shell_json("list") if row["name"] == "linux")


def check_pause(booted):
    """Two seconds in which it does not run; its clock is right afterwards, and it complains of nothing."""
    first = look_at_clock(booted)
    booted.shell("pause linux")
    wait_for_states(booted, linux="paused")
    used = linux_ms(booted)
    booted.shell("start teller")
    wait_for_lines(booted, "teller", 100)
    destroy(booted, "teller")
    assert linux_ms(booted) == used
    booted.shell("resume linux")
    to_linux(booted)
    second = look_at_clock(booted)
    assert second[1] - first[1] > 2
    check_clock(first, second)
    assert booted.to_guest() == "linux"
    booted.command("true")
    assert not re.search("unstable|lockup|stall|hung|skew", booted.command("dmesg")), "Linux has noticed the pause"
    check_clock(second, look_at_clock(booted))


def check_reset(booted):
    booted.shell("reset linux")
    to_linux(booted)
    booted.expect("vireo-init: up", BOOT_SECONDS)
    booted.expect("~ # ")
    assert "vm linux: restarts after" in booted.output()


def check_shutdown(booted):
    """The power button; from there on it is all Linux's doing. Its daemon for the button must be up."""
    booted.command("until [ -s /tmp/acpid.pid ]; do :; done")
    booted.to_shell()
    booted.shell("shutdown linux")
    booted.expect("vm linux: powered off", BOOT_SECONDS)
    wait_for_states(booted, linux="shut off")
    assert booted.shell("shutdown linux") == "error: vm linux is not running\n"


# --- small guests -------------------------------------------------------------------------------------------------


def test_destroy_at_any_moment(small):
    """It goes at once, does not come back, leaves nothing, and can be started again."""
    before = free_bytes(small)
    for name in ("spin", "teller", "sipi"):
        start(small, name)
        destroy(small, name)
        start(small, name)
        small.shell(f"pause {name}")
        wait_for_states(small, **{name: "paused"})
        destroy(small, name)
        assert free_bytes(small) == before, name
    start(small, "sipi")
    wait_for_vcpus(small, "sipi", ["halted", "off"])
    destroy(small, "sipi")
    check_restarting(small)
    assert free_bytes(small) == before
    assert small.shell_json("vcpus") == [] and {row["runs"] for row in small.shell_json("cpus")} == {"-"}


def wait_for_vcpus(vireo, name, expected):
    for _ in range(1000):
        if [row["state"] for row in vireo.shell_json(f"vcpus {name}")] == expected:
            return
    raise AssertionError(vireo.shell("vcpus"))


def check_restarting(small):
    """While it waits to be started again (longer each time), it can be destroyed, and paused."""
    small.shell("start restart")
    for _ in range(4):
        small.expect("vm restart: restarts after")
    wait_for_states(small, restart="restarting")
    assert re.search("^(error: vm restart is restarting|vm: restart)$", small.shell("regs restart"), re.M)
    destroy(small, "restart")
    start(small, "teller")
    wait_for_lines(small, "teller", 75)  # longer than the longest pause before a restart
    assert states(small)["restart"] == "destroyed", "it came back"
    destroy(small, "teller")
    small.shell("start restart")
    for _ in range(4):
        small.expect("vm restart: restarts after")
    wait_for_states(small, restart="restarting")
    small.shell("pause restart")
    wait_for_states(small, restart="paused")
    small.shell("resume restart")
    small.expect("vm restart: restarts after")
    destroy(small, "restart")


def test_pause_and_reset(small):
    start(small, "teller")
    wait_for_lines(small, "teller", 10)
    small.shell("pause teller")
    small.shell("pause teller")
    wait_for_states(small, teller="paused")
    while not small.shell("log teller").endswith("\n\n"):  # in the middle of a line, to which the next life would add
        small.shell("resume teller")
        small.shell("pause teller")
        wait_for_states(small, teller="paused")
    told = numbers(small.shell("log teller"), "A")
    start(small, "sipi")
    assert small.shell("top 3").count("top: 2 VMs") == 3  # two seconds
    destroy(small, "sipi")
    assert numbers(small.shell("log teller"), "A") == told, "a paused VM goes on"
    small.send("console teller\r")
    small.expect("console: vm teller, paused")
    small.to_shell()
    small.shell("reset teller")
    small.expect("vm teller: restarts after")
    wait_for_states(small, teller="paused")
    small.shell("resume teller")
    small.shell("resume teller")
    wait_for_numbers(small, told + [1, 2, 3])
    for _ in range(3):
        small.shell("reset teller")
        small.expect("vm teller: restarts after")
        wait_for_states(small, teller="running")


def wait_for_numbers(vireo, expected):
    """Of the teller: all that it has said, in all its lives, but for what is beyond these."""
    for _ in range(1000):
        told = numbers(vireo.shell("log teller"), "A")[:len(expected)]
        if told == expected:
            return
    raise AssertionError(f"expected {expected}, found {told}")


def row_of(vireo, listing, name):
    return next(row for row in vireo.shell_json(listing) if row.get("name", row.get("vm")) == name)


def test_definitions(small):
    before = free_bytes(small)
    assert small.shell("create new teller memory=8M weight=512 cpus=1") == ""
    assert row_of(small, "list", "new")["memory_mib"] == 8 and row_of(small, "list", "new")["state"] == "shut off"
    assert row_of(small, "sched", "new") | {"cpu_ms": 0} == {"vm": "new", "weight": 512, "cap": 0, "cpus": "0x2",
                                                             "cpu_ms": 0}
    start(small, "new")
    assert small.shell("start new") == "error: vm new is running already\n"
    assert small.shell("undefine new") == "error: vm new is not shut off; `destroy` it first\n"
    assert row_of(small, "vcpus", "new")["cpu"] == 1
    check_later_settings(small)
    destroy(small, "new")
    assert row_of(small, "list", "new")["memory_mib"] == 16
    assert small.shell("set new memory=4M vcpus=1") == ""
    start(small, "new")
    destroy(small, "new")
    assert small.shell("undefine new") == ""
    assert small.shell("undefine new").startswith("error: there is no vm new")
    assert free_bytes(small) == before
    check_too_large(small)
    assert free_bytes(small) == before


def check_later_settings(small):
    """What can't change while a VM runs does at its next start, which a reset is not."""
    memory = small.shell_json("mem")
    assert small.shell("set new memory=16M vcpus=2") == ""
    assert small.shell_json("mem") == memory
    small.shell("reset new")
    small.expect("vm new: restarts after")
    wait_for_states(small, new="running")
    assert (row_of(small, "list", "new")["memory_mib"], row_of(small, "list", "new")["vcpus"]) == (8, 1)
    assert small.shell_json("mem") == memory


def check_too_large(small):
    small.shell("create huge teller memory=64G")
    assert re.match(r"error: vm huge: not started: memory: found 65536 MiB, expected at most \d+ MiB",
                    small.shell("start huge"))
    assert states(small)["huge"] == "shut off"
    assert small.shell("set huge cpus=5 memory=4M").startswith("error: cpus: found none of this machine's")
    assert small.shell("undefine huge") == ""


def share(vireo, *names):
    """Percent of one CPU that each gets, over two seconds."""
    vireo.send("top 2 --json\r")
    vireo.expect(machine.SHELL_PROMPT)
    looks = [row for row in vireo.serial.before.split("\r\n") if row.startswith("[{")]
    found = dict(re.findall(r'"vm":"(\w+)".*?"cpu_percent":([\d.]+)', looks[-1]))
    return [float(found[name]) for name in names]


def test_shares_change_at_once(small):
    small.shell("create one spin vcpus=1 cpus=0")
    small.shell("create two spin vcpus=1 cpus=0")
    start(small, "one", "two")
    one, two = share(small, "one", "two")
    assert 40 < one < 60 and 40 < two < 60
    small.shell("set one weight=768")
    one, two = share(small, "one", "two")
    assert 65 < one < 85 and 15 < two < 35
    small.shell("set one cap=20")
    one, two = share(small, "one", "two")
    assert 15 < one < 25 and 75 < two < 85
    small.shell("set two cpus=1")
    small.shell("set one cap=0")
    one, two = share(small, "one", "two")
    assert one > 90 and two > 90
    assert (row_of(small, "vcpus", "one")["cpu"], row_of(small, "vcpus", "two")["cpu"]) == (0, 1)


def test_many_lives(small):
    """Free memory is equal to the byte after each one."""
    before = free_bytes(small)
    for cycle in range(CYCLES):
        assert small.shell("create new teller") == ""
        start(small, "new")
        destroy(small, "new")
        assert small.shell("undefine new") == ""
        assert free_bytes(small) == before, f"cycle {cycle}"
