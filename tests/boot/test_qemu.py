"""The image that `make run` boots and `make usb` writes, on QEMU's q35: other firmware drivers, real ACPI, no VT-x."""
# SPDX-License-Identifier: MIT
import pytest

import machine
import screen


@pytest.mark.parametrize("storage", ["nvme", "usb", "ata"])
def test_says_that_there_is_no_vtx(boot, storage):
    booted = boot(machine.BUILD / "run.img", backend="qemu", storage=storage, timeout=120)
    booted.expect(r"Vireo")
    booted.expect(r"keyboard: PS/2")
    booted.expect(r"vireo: .*no VT-x")


def test_shell_by_keyboard_and_screen(boot):
    """Without a serial line: typed on the keyboard, completed, taken back and called again, read from the framebuffer."""
    booted = boot(machine.BUILD / "run.img", backend="qemu", timeout=120)
    screen.expect(booted, "what is left is the shell.*vireo>$", 120)
    booted.press("cpu\t\n")
    screen.expect(booted, r"vireo> cpus.*CPU.*vireo>$")
    booted.press("consult")
    screen.expect(booted, "vireo> consult$")
    booted.press("\x7f" * 7 + "list\n")
    screen.expect(booted, r"vireo> list.*NAME.*linux.*shut off.*vireo>$")
    booted.press_key("up")
    booted.press_key("up")
    screen.expect(booted, "vireo> cpus$")
    booted.press("\x03echo\n")
    text = screen.expect(booted, r"there is no command echo.*vireo>$")
    assert text.count("vireo> cpus") == 2
