"""Every unit test (cmocka) and, for a moment, every fuzzer: one pytest test for each program."""
# SPDX-License-Identifier: MIT
import subprocess

import pytest

import machine

UNITS = sorted(path.stem for path in (machine.ROOT / "tests" / "unit").glob("test_*.c"))
FUZZERS = sorted(path.stem for path in (machine.ROOT / "tests" / "fuzz").glob("fuzz_*.c"))
FUZZ_RUNS = 20_000


def run_program(command):
    """Fails with the program's output. A program that is not there is a failure, not a skip."""
    done = subprocess.run(command, cwd=machine.ROOT, capture_output=True, text=True, errors="replace", timeout=120)
    if done.returncode:
        pytest.fail(f"{command[0]}: status {done.returncode}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}", False)


def test_there_are_unit_tests():
    assert UNITS and FUZZERS


@pytest.mark.parametrize("name", UNITS)
def test_unit(name):
    run_program([machine.BUILD / "unit" / name])


@pytest.mark.parametrize("name", FUZZERS)
def test_fuzzer_for_a_moment(name, tmp_path):
    run_program([machine.BUILD / "fuzz" / name, f"-runs={FUZZ_RUNS}", "-max_total_time=5", "-seed=1",
                 f"-artifact_prefix={tmp_path}/", "-print_final_stats=1"])
