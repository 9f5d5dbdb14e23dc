"""Hardware and firmware that are not as they should be: what can go on does, what can't says why."""
# SPDX-License-Identifier: MIT
import re

import machine
import rack

BOOT_SECONDS = 240
GHOST = 0xc0  # APIC ID of the processor that is not there: tests/boot/acpi/acpi.c

# IA32_MCi_STATUS (SDM Vol. 3B 16.3.2.2): valid, uncorrected, enabled, misc and address valid, signalled, a memory read.
LOST_DATA = 0xbd0000000000009f
CONTEXT_CORRUPT = LOST_DATA | 1 << 57
RIPV_MCIP = 5
ADDRESS, MISC = 0x12345000, 0x8c


def test_a_ghost_and_a_thousand_ranges(boot, make_image, tmp_path):
    """A processor that firmware lists and that never answers; memory in more than a thousand ranges."""
    checker = machine.assemble("checker", tmp_path / "checker.bin")
    files = [checker]
    for name in ("ghost-cpu", "shred-memory"):
        (tmp_path / name).write_bytes(b"1")
        files.append(tmp_path / name)
    conf = "[hypervisor]\nbackground = hide\n" + "".join(rack.section(f"c{n}", kernel="checker.bin", memory="64M") for n in range(2))
    vireo = boot(make_image(conf, files, "--acpi"), cpus=2, timeout=BOOT_SECONDS)
    assert int(vireo.expect(r"memory is shred: (\d+) descriptors")[1]) > 1000
    rack.wait_for_prompt(vireo)
    said = vireo.output()
    assert re.search(rf"error: cpus: APIC ID {GHOST}: found no answer to INIT and STARTUP in 100210 us, expected one; it is "
                     "left out", said)
    assert "cpus: 2 online" in said and said.count("error:") == 1
    free = rack.free_bytes(vireo)
    rack.start(vireo, "c0", "c1")
    for n in range(2):
        assert "BAD" not in rack.wait_for_lines(vireo, f"c{n}", 2)
    rack.destroy(vireo, "c0", "c1")
    assert rack.free_bytes(vireo) == free


def inject(vireo, status):
    """A machine check of the first processor, in its fourth bank."""
    vireo.monitor(f"mce 0 4 {status:#x} {RIPV_MCIP} {ADDRESS:#x} {MISC:#x}")


def bank(status, judged):
    return (rf"bank 4: status {status:#x}, uncorrected, {judged}: memory controller, read, channel 15; address "
            rf"{ADDRESS:#x}, misc {MISC:#x}")


def test_machine_checks(boot, make_image):
    """On QEMU, which raises them: what is lost but not used is said; a processor whose state is lost stops the machine."""
    vireo = boot(make_image(rack.section("none"), []), backend="qemu", timeout=BOOT_SECONDS)
    rack.wait_for_prompt(vireo)
    for count in (1, 2):
        inject(vireo, LOST_DATA)
        vireo.expect(rf"error: cpu 0: found a machine check, expected none, and went on: {bank(LOST_DATA, 'not used yet')}; "
                     rf"{count} so far")
    assert "APIC_ID" in vireo.shell("cpus")
    inject(vireo, CONTEXT_CORRUPT)
    vireo.expect(rf"PANIC on CPU 0: machine check: {bank(CONTEXT_CORRUPT, 'fatal')}")
    vireo.expect(rf"IA32_MCG_STATUS 0x{RIPV_MCIP}, IA32_MCG_CAP 0x")
    vireo.expect(bank(CONTEXT_CORRUPT, "fatal"))
    vireo.expect("stopped; the machine must be reset")


def test_a_machine_check_without_a_cause(boot, make_image):
    vireo = boot(make_image(rack.section("none"), []), backend="qemu", timeout=BOOT_SECONDS)
    rack.wait_for_prompt(vireo)
    vireo.send("crash mce\r")
    vireo.expect("PANIC on CPU 0: machine check: the interrupted code can't go on, and no bank says why")
    vireo.expect("stopped; the machine must be reset")
