"""Guests' memory: zero when first touched, and free of cost until then."""
# SPDX-License-Identifier: MIT
import re

import pytest

import machine

BOOT_SECONDS = 240
CREATION_TICKS = 300_000  # to the first instruction, whatever the size


def sparse(folder, mib):
    return machine.assemble("sparse", folder / f"sparse{mib}.bin", MEMORY=mib << 20)


def section(mib):
    return f"[vm sparse{mib}]\nprotocol = flat\nmode = protected\nmemory = {mib}M\nkernel = sparse{mib}.bin\n"


@pytest.mark.wide
def test_untouched_memory_is_zero(boot, make_image, tmp_path):
    """Also after a reset. What it costs to create a VM does not depend on its size."""
    sizes = [1024, 64]
    image = make_image("".join(section(mib) for mib in sizes), [sparse(tmp_path, mib) for mib in sizes])
    booted = boot(image, memory=1536, cpus=2, timeout=BOOT_SECONDS)
    for _ in range(len(sizes)):
        booted.expect(r"vm sparse[0-9]+: debug exit with code 0 ")
    output = booted.output()
    for mib in sizes:
        assert output.count(f"vm sparse{mib}: restarts after") == 1
        assert output.count(f"vm sparse{mib}: touched {mib} of {mib} MiB") == 2
    # From the begin of its creation: the first one also waits for the second.
    first, second = [int(re.search(rf"vm sparse{mib}: first instruction .*, (\d+) since ", output)[1]) for mib in sizes]
    assert second <= CREATION_TICKS and first <= 2 * CREATION_TICKS, f"creation took {first} (with the other) and {second}"
