"""A VM that can't be started takes nothing from the guest that runs on the same CPU at that moment."""
# SPDX-License-Identifier: MIT
import machine

BOOT_SECONDS = 240
CONF = "[vm spin]\nprotocol = flat\nmode = protected\nmemory = 4M\nkernel = spin.bin\n"


def test_a_start_that_fails_hurts_nobody(boot, make_image, tmp_path):
    image = machine.assemble("spin", tmp_path / "spin.bin")
    booted = boot(make_image(CONF, [image]), cpus=1, timeout=BOOT_SECONDS)
    booted.expect("vm spin: first instruction")
    booted.send("\x1d")
    booted.command("", prompt="vireo> ")
    booted.command("create bad spin load=1G", prompt="vireo> ")
    for _ in range(3):
        booted.send("start bad\r")
        booted.expect("vm bad: not started: ")
        booted.expect("vireo> ")
    booted.send("list\r")
    booted.expect(r"spin +running")
    assert "panic" not in booted.output() and "refused" not in booted.output()
