"""Guests that try to get more than their share, or to be lost, by when they do what they may do."""
# SPDX-License-Identifier: MIT
import re
import subprocess

import pytest

from conftest import ROOT

BOOT_SECONDS = 240
ROUND = 6  # instructions of a round in share.asm
TICKS = 300_000_000


@pytest.fixture
def guest(tmp_path):
    """guest(name): the flat image of tests/guest/NAME.asm."""
    def assemble(name):
        image = tmp_path / f"{name}.bin"
        subprocess.run(["nasm", "-f", "bin", "-Werror", "-o", image, ROOT / "tests" / "guest" / f"{name}.asm"], check=True)
        return image
    return assemble


def section(name, vcpus=1):
    return f"[vm {name}]\nprotocol = flat\nmode = protected\nmemory = 4M\nvcpus = {vcpus}\nkernel = {name}.bin\n"


def test_sleeping_in_time_wins_nothing(boot, make_image, guest):
    """The hog runs 4.5 ms of each slice and sleeps 20 us; its neighbour still gets half of the CPU or more."""
    image = make_image(section("share") + section("hog"), [guest("share"), guest("hog")])
    booted = boot(image, timeout=BOOT_SECONDS)
    booted.expect(r"vm share: debug exit with code [0-9]+ ")
    rounds = int(re.search(r"vm share: debug exit with code (\d+) ", booted.output())[1])
    part = rounds * ROUND / TICKS
    assert part > 0.45, f"it got {part:.3f} of the CPU"


def test_processors_start_and_restart(boot, make_image, guest):
    """A VM whose first processor halts while a second is being started lives on; one that restarts again and again
    comes back each time with all its processors."""
    image = make_image(section("startup", 2) + section("restart", 4), [guest("startup"), guest("restart")])
    booted = boot(image, cpus=4, timeout=BOOT_SECONDS)
    booted.expect(r"vm startup: debug exit with code 0 ")
    for _ in range(5):
        booted.expect(r"vm restart: restarts after")
    output = booted.output()
    assert "halted for good" not in output and "killed" not in output
