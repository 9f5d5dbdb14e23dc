"""Every unit test (cmocka) and, for a moment, every fuzzer and the soak test of VMs' lives: one test for each."""
# SPDX-License-Identifier: MIT
import subprocess
import sys

import pytest

import machine

sys.path[:0] = [str(machine.ROOT / "tests" / "fuzz")]
import fuzz  # noqa: E402

UNITS = sorted(path.stem for path in (machine.ROOT / "tests" / "unit").glob("test_*.c"))
FUZZERS = fuzz.names()
FUZZ_RUNS = 20_000


def run_program(command):
    """Fails with the program's output. A program that is not there is a failure, not a skip."""
    done = subprocess.run(command, cwd=machine.ROOT, capture_output=True, text=True, errors="replace", timeout=600)
    if done.returncode:
        pytest.fail(f"{command[0]}: status {done.returncode}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}", False)


def test_there_are_unit_tests():
    assert UNITS and FUZZERS


@pytest.mark.parametrize("name", UNITS)
def test_unit(name):
    run_program([machine.BUILD / "unit" / name])


@pytest.mark.parametrize("name", FUZZERS)
def test_fuzzer_for_a_moment(name, tmp_path):
    """From what is kept in the tree on: all of that is run, whatever the moment allows beyond it."""
    fuzz.unpack(name, tmp_path / "corpus")
    run_program([machine.BUILD / "fuzz" / name, f"-runs={FUZZ_RUNS}", "-max_total_time=5", "-seed=1",
                 f"-artifact_prefix={tmp_path}/", "-print_final_stats=1", tmp_path / "corpus"])


SOAK = machine.BUILD / "soak" / "lifecycle"
SOAK_SEEDS = (3, 5, 7)  # round robin and shares, on two to four CPUs


@pytest.mark.parametrize("seed", SOAK_SEEDS)
def test_soak_of_a_seed(seed):
    run_program([SOAK, "--seed", str(seed)])


@pytest.mark.parametrize("machine_number", (2, 3, 4, 5))  # balloon or peers, with and without APICv, three schedulers
def test_each_allocation_of_a_vm_fails_once(machine_number):
    run_program([SOAK, "--starve", str(machine_number)])


@pytest.mark.long  # seeds of the moment: a find is for who looks for one
def test_soak_for_a_moment():
    run_program([SOAK, "--seconds", "5"])


def test_soak_can_be_replayed():
    def said():
        return subprocess.run([SOAK, "--seed", "2"], capture_output=True, text=True, timeout=120, check=True).stdout

    assert said() == said() != ""
