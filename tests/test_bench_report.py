"""What `make bench` makes of its figures, with figures made up: the mean, the tables, the picture."""
# SPDX-License-Identifier: MIT
import pathlib
import sys

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent / "bench")]
import kvm  # noqa: E402
import report  # noqa: E402


def row(name, unit="ticks", **columns):
    return {"id": name, "unit": unit, **columns}


ROWS = [row("cpuid", vireo=100, kvm=1000, kvm_default=1100, must=150), row("wrmsr", vireo=0, kvm=1000),
        row("cr0", vireo=400, kvm=1000, must=200), row("ept-4k", kvm=3510), row("hlt-timer", vireo=1, kvm=7000),
        row("no-exit-cr3", vireo=1, kvm=1), row("linux-boot", vireo=606, kvm=500_000_000, native=600),
        row("linux-boot-smp", vireo=1300, native=1000), row("image-bytes", "bytes", vireo=5)]


def test_the_mean_is_geometric_and_nothing_costs_less_than_a_tick():
    mean, count = report.geometric_mean(ROWS, ["cpuid", "wrmsr"])
    assert (mean, count) == (pytest.approx(0.01), 2)


def test_the_mean_leaves_out_what_one_of_them_lacks_and_other_rows():
    assert report.geometric_mean(ROWS, ["cpuid", "ept-4k", "image-bytes"]) == (pytest.approx(0.1), 1)
    assert report.geometric_mean(ROWS, ["ept-4k"]) == (None, 0)


def test_the_summary_says_both_means_and_the_boot():
    assert report.summary(ROWS) == [
        "Vireo / KVM, geometric mean of 3 operations that exit under KVM: 0.034 (must: 0.12, kept)",
        "the same of the 2 that exit under Vireo, too: 0.200", "Linux under Vireo takes 1.010 of its native time to init",
        "Linux on four processors under Vireo takes 1.300 of its native time to init"]
    assert "MISSED" in report.summary([row("cr0", vireo=400, kvm=1000)])[0]
    assert report.summary([]) == []


def test_the_text_has_a_line_for_each_row():
    lines = report.text(ROWS).splitlines()
    assert lines[1].split() == ["cpuid", "ticks", "100", "1000", "1100", "-", "150", "0.1", "kept"]
    assert lines[3].split()[-1] == "MISSED"
    assert lines[4].split() == ["ept-4k", "ticks", "-", "3510", "-", "-", "-", "-"]


def test_the_markdown_is_a_table():
    lines = report.markdown(ROWS).split("\n\n")[0].splitlines()
    assert len(lines) == 2 + len(ROWS)
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2] == "| cpuid | ticks | 100 | 1000 | 1100 | - | 150 | 0.1 | kept |"


def test_the_picture_shows_operations_that_both_have_the_dearest_first():
    assert [each["id"] for each in report.bars(ROWS)] == ["hlt-timer", "cpuid", "wrmsr", "cr0"]


def test_gnuplot_draws_it(tmp_path):
    report.draw(ROWS, tmp_path / "bench.svg")
    drawn = (tmp_path / "bench.svg").read_text()
    assert "<svg" in drawn and all(name in drawn for name in ("hlt-timer", "cpuid", "Vireo"))


def test_of_a_row_that_two_guests_measure_kvm_has_the_least():
    said = "bench pio-doorbell ticks 1262 mean 1300\r\nbench pio-doorbell ticks 3045 mean 3060\r\nbench cpuid ticks 9 mean 9\r\n"
    assert kvm.rows_of(said) == {"pio-doorbell": 1262, "cpuid": 9}


def test_the_hosts_init_runs_each_guest():
    lines = kvm.init_script([("bench", 1, "doorbells"), ("bench_smp", 2, "")]).splitlines()
    assert lines[4:7] == [f"busybox insmod /{module}.ko" for module in ("irqbypass", "kvm", "kvm-intel")]
    assert lines[7:9] == ["/kvm /bench.elf 1 'doorbells'", "/kvm /bench_smp.elf 2 ''"]
