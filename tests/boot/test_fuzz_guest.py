"""The fuzzing guest for a moment: seeds that are always the same; `make fuzz-guest` tries others."""
# SPDX-License-Identifier: MIT
import pytest

import fuzzing
import rack

SEED, RUNS = 0x1000, 200
ALL_OFF = "[hypervisor]\napicv = off\nvpid = off\npreemption_timer = off\n"


@pytest.mark.parametrize("hypervisor, cpu, cpus, seed", [
    pytest.param("", "corei7_skylake_x", 1, SEED, id="hardware-paths"),
    pytest.param("", "corei7_skylake_x", 2, SEED + RUNS, id="two-cpus", marks=pytest.mark.long),
    pytest.param(ALL_OFF, "corei7_haswell_4770", 1, SEED + 2 * RUNS, id="software-paths", marks=pytest.mark.long),
])
def test_random_cases(boot, tmp_path, hypervisor, cpu, cpus, seed):
    image = fuzzing.make_image(tmp_path, hypervisor)
    campaign = fuzzing.Fuzzing(boot(image, cpu=cpu, cpus=cpus, quiet=True, timeout=rack.ANSWER_SECONDS))
    campaign.begin()
    campaign.run(seed, RUNS)
    campaign.report()
    assert campaign.cases >= RUNS * 9 // 10  # those that cost the VM cost no more than themselves
