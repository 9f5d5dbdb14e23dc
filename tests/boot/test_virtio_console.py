"""Linux with virtual consoles: a shell on hvc0 beside the one on COM1, more output than anything holds, the kernel's own."""
# SPDX-License-Identifier: MIT
import re

import pytest

from conftest import LINUX_CONF

BOOT_SECONDS = 400  # of the machine's clock
COMMAND_SECONDS = 180
OUTPUT_SECONDS = 900  # Linux spins with interrupts off until a console takes its bytes: Bochs keeps the UART's back then
LINES = 500  # of output
MANY_LINES = 25000  # more than waits for the serial line at most (hv/log.h)
WARNING = 4  # dmesg's levels up to this one are complaints


def boot_linux(boot, make_image, vcpus=1):
    conf = LINUX_CONF.replace("vcpus = 1", f"vcpus = {vcpus}").replace('cmdline = "', 'cmdline = "console=hvc0 ')
    booted = boot(make_image("[hypervisor]\nbackground = hide\n" + conf + "\nhvc = 2\n"), cpus=vcpus,
                  timeout=COMMAND_SECONDS)
    wait_for_shell(booted)
    return booted


def wait_for_shell(booted):
    booted.expect("vireo-init: up", BOOT_SECONDS)
    booted.expect("~ # ")
    booted.command("until [ -c /dev/hvc1 ]; do sleep 0.1; done")  # after some messages between driver and device


def attach(booted, name):
    """From Vireo's shell to a console, as `console` is told it."""
    booted.send(f"console {name}\r")
    booted.expect(r"console: vm " + name.replace(" com1", "").replace(" ", ":") + r" \(Ctrl-\]")


def open_shell(booted, device):
    """Has the guest's shell begin another one there, and goes to it."""
    booted.command(f"setsid -c sh </dev/{device} >/dev/{device} 2>&1 &")
    booted.to_shell()
    attach(booted, f"linux {device}")
    booted.expect("~ # ")  # what was said before


def check_terminal(booted):
    assert booted.command("tty; echo $((6 * 7))").split() == ["/dev/hvc0", "42"]
    assert booted.command("stty size").split() == ["24", "80"]  # kernels before 2025 swap them: docs/virtio.md
    assert booted.command("cat /sys/class/virtio-ports/*/name").split() == ["hvc0", "hvc1"]
    long = "typed" * 40  # longer than what the device keeps
    assert booted.command(f"echo {long}").endswith(long + "\n")


def check_large_output(booted, lines):
    said = booted.command(f"seq {lines}", timeout=OUTPUT_SECONDS).split()
    assert said == [str(n) for n in range(1, lines + 1)]


def check_no_complaints(booted):
    said = booted.command("dmesg -r | grep -iE 'virtio|hvc|vport'")
    levels = re.findall(r"^<(\d+)>", said, re.M)
    assert levels and not [level for level in levels if int(level) & 7 <= WARNING], said


def check_unseen(booted):
    """What is said where nobody looks is kept, counted and shown on demand. With the shell at hand."""
    attach(booted, "linux")
    booted.send("\n")
    booted.expect("~ # ")
    booted.command("echo whisper >/dev/hvc1")
    check_no_complaints(booted)
    booted.command("echo '<3>the kernel speaks' >/dev/kmsg")
    booted.to_shell()
    rows = {row["console"]: row for row in booted.shell_json("consoles")}
    assert list(rows) == ["com1", "hvc0", "hvc1"] and {row["vm"] for row in rows.values()} == {"linux"}
    assert rows["hvc1"]["said"] == rows["hvc1"]["unseen"] == len("whisper\r\n")
    assert "whisper\n" in booted.shell("log linux hvc1") and "whisper" not in booted.shell("log linux hvc0")
    assert "the kernel speaks" in booted.shell("log linux hvc0")
    assert booted.shell("console linux hvc2").startswith("error: vm linux has no console hvc2")


def test_consoles(boot, make_image):
    booted = boot_linux(boot, make_image)
    open_shell(booted, "hvc0")
    check_terminal(booted)
    check_large_output(booted, LINES)
    booted.to_shell()
    check_unseen(booted)
    attach(booted, "linux hvc0")
    assert booted.command("echo $((7 * 6))").strip().endswith("42")


@pytest.mark.long
def test_consoles_after_a_reset(boot, make_image):
    """Also with two vCPUs, and the focus on a console that nobody serves while Linux starts again."""
    booted = boot_linux(boot, make_image, vcpus=2)
    open_shell(booted, "hvc1")
    booted.to_shell()
    booted.shell("reset linux")
    attach(booted, "linux")  # "linux com1" were more than the 16 bytes that wait in the port while the VM is loaded again
    wait_for_shell(booted)
    open_shell(booted, "hvc0")
    check_terminal(booted)
    check_large_output(booted, MANY_LINES)
