"""The keeper of fuzzers' corpora and of their record: what it reads, what it writes, when it counts anew."""
# SPDX-License-Identifier: MIT
import argparse
import base64
import pathlib
import sys

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent / "fuzz")]
import fuzz  # noqa: E402

ROW = "| `fuzz_a` | 1234567 | 10 | 1,000 | 20 | 3 |"
COMMIT = "1234567"


@pytest.fixture(autouse=True)
def table(tmp_path, monkeypatch):
    path = tmp_path / "testing.md"
    path.write_text("\n".join(["above", *fuzz.HEADER, ROW, "", "below"]) + "\n")
    monkeypatch.setattr(fuzz, "TABLE", path)
    monkeypatch.setattr(fuzz, "sources_of", lambda name: [])
    monkeypatch.setattr(fuzz, "git", lambda *words: "" if words[0] == "status" else COMMIT)
    return path


def record(monkeypatch, minutes, name="fuzz_a", share=1):
    """Records with a fuzzer that runs nothing and had a share of the processor; answers each turn's seconds."""
    turns = []
    monkeypatch.setattr(fuzz, "fuzz", lambda name, seconds: turns.append(seconds) or
                        ({"runs": 500, "edges": 21, "inputs": 4, "minutes": share * seconds / 60}, None))
    assert fuzz.record(name, argparse.Namespace(minutes=minutes)) is None
    return turns


def test_a_row_goes_on_where_it_was(monkeypatch, table):
    assert record(monkeypatch, 25) == [600, 300]
    assert table.read_text() == "\n".join(["above", *fuzz.HEADER, "| `fuzz_a` | 1234567 | 25 | 2,000 | 21 | 4 |", "",
                                           "below"]) + "\n"


def test_a_turn_counts_as_much_as_it_had_of_the_processor(monkeypatch, table):
    assert record(monkeypatch, 25, share=0.5)[:4] == [600, 600, 300, 150]
    assert "| `fuzz_a` | 1234567 | 25 |" in table.read_text()


def test_enough_is_enough(monkeypatch, table):
    before = table.read_text()
    assert record(monkeypatch, 10) == []
    assert table.read_text() == before


def test_another_commit_counts_anew(monkeypatch, table):
    monkeypatch.setattr(fuzz, "git", lambda *words: "" if words[0] == "status" else "7654321")
    assert record(monkeypatch, 5) == [300]
    assert "| `fuzz_a` | 7654321 | 5 | 500 | 21 | 4 |" in table.read_text()


def test_rows_are_sorted(monkeypatch, table):
    record(monkeypatch, 1, "fuzz_b")
    record(monkeypatch, 1, "fuzz_0")
    rows = [line.split("`")[1] for line in table.read_text().splitlines() if "`" in line]
    assert rows == ["fuzz_0", "fuzz_a", "fuzz_b"]


def test_what_is_not_committed_is_not_recorded(monkeypatch, table):
    monkeypatch.setattr(fuzz, "git", lambda *words: " M hv/vswitch.c")
    assert "differs" in fuzz.record("fuzz_a", argparse.Namespace(minutes=60))


def test_a_failure_is_told(monkeypatch, table):
    monkeypatch.setattr(fuzz, "fuzz", lambda name, seconds: (None, "it broke"))
    assert fuzz.record("fuzz_a", argparse.Namespace(minutes=60)) == "it broke"
    assert ROW in table.read_text()


def test_kept_inputs_are_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "KEPT", tmp_path)
    (tmp_path / "fuzz_a.txt").write_bytes(base64.b64encode(b"one") + b"\n" + base64.b64encode(b"\0\xff") + b"\n")
    fuzz.unpack("fuzz_a", tmp_path / "out")
    assert sorted(path.read_bytes() for path in (tmp_path / "out").iterdir()) == [b"\0\xff", b"one"]
    fuzz.unpack("fuzz_b", tmp_path / "none")
    assert not list((tmp_path / "none").iterdir())


def test_all_fuzzers_are_kept_inputs_of():
    assert {path.stem for path in fuzz.KEPT.iterdir()} == set(fuzz.names())
