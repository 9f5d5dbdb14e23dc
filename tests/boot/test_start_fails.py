"""A VM that can't be started takes nothing from the guest that runs on the same CPU at that moment."""
# SPDX-License-Identifier: MIT
import machine
import rack

BOOT_SECONDS = 240


def test_a_start_that_fails_hurts_nobody(boot, make_image, tmp_path):
    checker = machine.assemble("checker", tmp_path / "checker.bin")
    vireo = boot(make_image(rack.section("c0", kernel="checker.bin", memory="64M"), [checker]), timeout=BOOT_SECONDS)
    rack.wait_for_prompt(vireo)
    rack.start(vireo, "c0")
    vireo.shell("create bad c0 load=1G")
    for _ in range(3):
        vireo.send("start bad\r")
        vireo.expect("vm bad: not started: ")
        vireo.expect(machine.SHELL_PROMPT)
    assert "BAD" not in rack.wait_for_lines(vireo, "c0", 2)
    assert "PANIC" not in vireo.output() and "refused" not in vireo.output()
