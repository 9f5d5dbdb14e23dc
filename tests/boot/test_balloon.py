"""Linux with a balloon: what it gives is free for others, who find zeroes; it comes back; free memory is reported."""
# SPDX-License-Identifier: MIT
import re

import pytest

import machine
from conftest import LINUX, LINUX_CONF

BOOT_SECONDS = 900  # of the machine's clock
COMMAND_SECONDS = 400
QUESTIONS = 1000
WARNING = 4  # dmesg's levels up to this one are complaints
MACHINE_MIB = 448
OTHER_MIB = 192  # more than the machine has left beside Linux, and less than with what Linux gives
GIVEN_KIB = 128 * 1024
TABLES_KIB = 1024  # what keeping account of it may cost
FILE_MIB = 96
REPORTED_KIB = FILE_MIB * 1024 // 2  # Linux reports free blocks of 2 MiB; what it uses of the others it keeps


def section(name, memory, kernel):
    return (f"[vm {name}]\nprotocol = flat\nmode = protected\nmemory = {memory}M\nkernel = {kernel}\n"
            "autostart = off\n")


def sparse(folder):
    """A guest that touches its memory everywhere, twice, and counts what is not zero."""
    return machine.assemble("sparse", folder / "sparse.bin", MEMORY=OTHER_MIB << 20)


def free_kib(booted):
    return booted.shell_json("mem")["free_bytes"] // 1024


def wait_for(booted, what):
    """Asks until what() says that the balloon is as it is waited for; answers what is known of it then."""
    for _ in range(QUESTIONS):
        [row] = booted.shell_json("balloons")
        if what(row):
            return row
    raise AssertionError(f"the balloon stays at {row}")


def sums(booted):
    return re.findall(r"^([0-9a-f]{64}) ", booted.command("sha256sum /keep /lib/*.ko"), re.M)


def inflate(booted):
    """Half of the guest's memory becomes Vireo's."""
    before = free_kib(booted)
    assert "whole chunks" in booted.shell("start sparse")
    assert "error" not in booted.shell("setmem linux 128M")
    row = wait_for(booted, lambda row: row["away_kib"] == GIVEN_KIB)
    assert row["keeps_kib"] == GIVEN_KIB and row["taken_kib"] <= row["memory_kib"] - GIVEN_KIB
    assert 0 < row["free_kib"] < GIVEN_KIB and row["free_kib"] < row["total_kib"]
    gained = free_kib(booted) - before
    assert GIVEN_KIB - TABLES_KIB <= gained <= GIVEN_KIB, f"{gained} KiB were gained"
    return before


def use_elsewhere(booted):
    """Another VM has it, and finds zeroes."""
    booted.send("start sparse\r")
    booted.expect(r"vm sparse: debug exit with code 0 ")
    assert f"vm sparse: touched {OTHER_MIB} of {OTHER_MIB} MiB" in booted.output()


def deflate(booted, before):
    assert "error" not in booted.shell("setmem linux 256M")
    wait_for(booted, lambda row: row["away_kib"] == 0)
    assert abs(free_kib(booted) - before) <= TABLES_KIB


def check_reporting(booted):
    """What the guest frees Vireo has again, though nobody asks for it."""
    booted.to_guest()
    booted.command(f"dd if=/dev/zero of=/big bs=1M count={FILE_MIB}")
    booted.to_shell()
    [row] = booted.shell_json("balloons")
    booted.to_guest()
    booted.command("rm /big")
    booted.to_shell()
    wait_for(booted, lambda now: now["taken_kib"] <= row["taken_kib"] - REPORTED_KIB)


def check_no_complaints(booted):
    said = booted.command("dmesg -r | grep -iE 'virtio|balloon|page_reporting|oom|bug:|hung'")
    assert not [level for level in re.findall(r"^<(\d+)>", said, re.M) if int(level) & 7 <= WARNING], said


def boot_linux(boot, make_image, tmp_path):
    conf = ("[hypervisor]\nbackground = hide\n" + LINUX_CONF + "balloon = on\n" +
            section("sparse", OTHER_MIB, "sparse.bin"))
    booted = boot(make_image(conf, [*LINUX, sparse(tmp_path)]), memory=MACHINE_MIB, timeout=COMMAND_SECONDS)
    booted.expect("vireo-init: up", BOOT_SECONDS)
    booted.expect("~ # ")
    return booted


@pytest.mark.wide
def test_memory_goes_and_comes_back(boot, make_image, tmp_path):
    booted = boot_linux(boot, make_image, tmp_path)
    booted.command("dd if=/dev/urandom of=/keep bs=64k count=64")
    before = sums(booted)
    booted.to_shell()
    free = inflate(booted)
    use_elsewhere(booted)
    booted.to_guest()
    assert sums(booted) == before
    booted.to_shell()
    deflate(booted, free)
    booted.to_guest()
    assert sums(booted) == before
    check_no_complaints(booted)


@pytest.mark.long
def test_free_memory_is_reported(boot, make_image, tmp_path):
    booted = boot_linux(boot, make_image, tmp_path)
    booted.to_shell()
    check_reporting(booted)
    booted.to_guest()
    check_no_complaints(booted)
