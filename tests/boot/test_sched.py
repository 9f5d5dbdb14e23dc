"""The scheduler on real vCPUs: shares, caps, sleepers, a CPU of one's own. The policies alone: tests/unit/test_sched.c."""
# SPDX-License-Identifier: MIT
import re

import pytest

import machine

BOOT_SECONDS = 180
MEASURE_MS = 2000  # 200 M ticks
CAPS_MEASURE_MS = 3000  # what a cap lets through early or late, 12.5 ms with two vCPUs, is below 1 % of half of it then


@pytest.fixture
def guest(tmp_path):
    """guest(name): the flat image of tests/guest/NAME.asm."""
    def assemble(name):
        return machine.assemble(name, tmp_path / f"{name}.bin")
    return assemble


def section(name, image, **settings):
    lines = "".join(f"{key} = {value}\n" for key, value in settings.items())
    return f"[vm {name}]\nprotocol = flat\nmode = protected\nmemory = 4M\nkernel = {image}.bin\n{lines}"


def look(booted):
    """Each VM's CPU time and the machine's own time, in milliseconds."""
    used = {row["vm"]: row["cpu_ms"] for row in booted.shell_json("sched")}
    cpu = booted.shell_json("cpus")[0]
    return used, cpu["busy_ms"] + cpu["idle_ms"]


def measure(booted, ms=MEASURE_MS):
    """What each VM used of one CPU meanwhile, as a fraction. Each of its vCPUs may have had a turn (5 ms) less or more."""
    used, start = look(booted)
    while True:
        later, now = look(booted)
        if now - start >= ms:
            return {vm: (later[vm] - used[vm]) / (now - start) for vm in used}


def to_shell(booted, last):
    booted.expect(f"vm {last}: first instruction")
    booted.to_shell()


def test_shares_follow_weights(boot, make_image, guest):
    """Three hogs of two vCPUs each on two CPUs, weights 1:2:4; then the weights change while they run."""
    conf = "".join(section(f"hog{w}", "spin", vcpus=2, weight=100 * w) for w in (1, 2, 4))
    booted = boot(make_image(conf, [guest("spin")]), cpus=2, timeout=BOOT_SECONDS)
    to_shell(booted, "hog4")
    used = measure(booted, 5000)  # hog1's two turns are 0.7 % of its share of that
    for weight in (1, 2, 4):
        due = 2 * weight / 7
        assert abs(used[f"hog{weight}"] - due) < 0.01 * due, used
    booted.shell("set hog1 weight=400")
    booted.shell("set hog4 weight=100")
    used = measure(booted)
    for vm, weight in (("hog1", 4), ("hog2", 2), ("hog4", 1)):
        due = 2 * weight / 7
        assert abs(used[vm] - due) < 0.02 * due, used  # the first turns still go by what was owed before


def test_caps_hold(boot, make_image, guest):
    """A quarter, half and one and a half CPU, though nobody else wants the time."""
    conf = section("quarter", "spin", cap=25) + section("half", "spin", vcpus=2, cap=50) + \
        section("more", "spin", vcpus=2, cap=110)
    booted = boot(make_image(conf, [guest("spin")]), cpus=2, timeout=BOOT_SECONDS)
    to_shell(booted, "more")
    used = measure(booted, CAPS_MEASURE_MS)
    for vm, cap in (("quarter", 0.25), ("half", 0.50), ("more", 1.10)):
        assert abs(used[vm] - cap) < 0.01 * cap, used


@pytest.mark.parametrize("cpus", [1, pytest.param(2, marks=pytest.mark.wide)])
def test_a_sleeper_wakes_in_time(boot, make_image, guest, cpus):
    """Beside eight hogs it runs within 1 ms of its timer, 99 times in 100."""
    conf = "".join(section(f"hog{i}", "spin") for i in range(8)) + section("sleeper", "sleeper")
    booted = boot(make_image(conf, [guest("spin"), guest("sleeper")]), cpus=cpus, timeout=BOOT_SECONDS)
    booted.expect(r"vm sleeper: debug exit with code (\d+) ")
    in_time = int(re.search(r"vm sleeper: debug exit with code (\d+) ", booted.output())[1])
    assert in_time >= 198, f"{in_time} of 200"


def test_naps_take_no_turns(boot, make_image, guest):
    """Beside one that only sleeps and wakes a worker keeps most of the processor. Without a least length of its turns it
    would have a ninth."""
    conf = section("nap", "nap") + section("worker", "worker")
    booted = boot(make_image(conf, [guest("nap"), guest("worker")]), timeout=BOOT_SECONDS)
    booted.expect(r"vm worker: debug exit with code (\d+) ")
    worked = int(re.search(r"vm worker: debug exit with code (\d+) ", booted.output())[1])
    assert 60 <= worked < 100, f"{worked} %"


@pytest.mark.wide
def test_who_owns_a_cpu_is_left_alone(boot, make_image, guest):
    """scheduler = dedicated: 100 M ticks of spinning cost no exit; the only one is the guest's end."""
    conf = "[hypervisor]\nscheduler = dedicated\n" + section("solo", "solo") + section("second", "solo") + \
        section("third", "solo")
    booted = boot(make_image(conf, [guest("solo")]), cpus=2, timeout=BOOT_SECONDS)
    booted.expect(r"vm third: not started: vcpus: found 1, expected at most 0: no CPU is left for more")
    booted.expect(r"vm solo: debug exit with code 0 after 1 exits")


@pytest.mark.long
def test_round_robin_shares_evenly(boot, make_image, guest):
    """The teaching policy knows no weights."""
    conf = "[hypervisor]\nscheduler = rr\n" + section("a", "spin", weight=1) + section("b", "spin", weight=1000)
    booted = boot(make_image(conf, [guest("spin")]), cpus=1, timeout=BOOT_SECONDS)
    to_shell(booted, "b")
    used = measure(booted)
    assert abs(used["a"] - used["b"]) < 0.02, used


@pytest.mark.long
def test_masks_hold(boot, make_image, guest):
    """Both on CPU 1 by their masks; then one moves to CPU 0 while it runs."""
    conf = section("a", "spin", cpus="1") + section("b", "spin", cpus="1")
    booted = boot(make_image(conf, [guest("spin")]), cpus=2, timeout=BOOT_SECONDS)
    to_shell(booted, "b")
    used = measure(booted)
    assert abs(used["a"] - 0.5) < 0.01 and abs(used["b"] - 0.5) < 0.01, used
    booted.shell("set a cpus=0")
    used = measure(booted)
    assert used["a"] > 0.95 and used["b"] > 0.95, used
    assert [row["cpu"] for row in booted.shell_json("vcpus")] == [0, 1]
