"""The image that `make run` boots and `make usb` writes, on QEMU's q35: other firmware drivers, real ACPI, no VT-x."""
# SPDX-License-Identifier: MIT
import pytest

import machine


@pytest.mark.parametrize("storage", ["nvme", "usb", "ata"])
def test_says_that_there_is_no_vtx(boot, storage):
    booted = boot(machine.BUILD / "run.img", backend="qemu", storage=storage, timeout=120)
    booted.expect(r"Vireo")
    booted.expect(r"keyboard: PS/2")
    booted.expect(r"vireo: .*no VT-x")
