"""tests/trace2json.py on a small dump: tracks, durations, arrows, and logs that are not as they should be."""
# SPDX-License-Identifier: MIT
import json
import pathlib
import subprocess
import sys

import pytest

TOOL = pathlib.Path(__file__).resolve().parent / "trace2json.py"

# 100 MHz: 100 ticks are 1 us. vCPU 0 of "linux" runs on CPU 0, sends an IPI to its vCPU 1, which CPU 1 wakes for.
DUMP = """\
firmware noise
[   0.012] vireo: core entered
T# trace 1 tsc_hz 100000000 cpus 2
T# vm 0 linux
T# vm 1 other
T# exit c HLT
T# exit 20 WRMSR
T 0 3e8 run 0 0 0 0
T 0 44c entry 0 0 0 0
a guest's line in between
T 0 5dc exit 0 0 20 0
T 0 5e6 ipi 0 1 0 0
T 0 5f0 wake 0 1 1 0
guest: hal[   1.000]   T 1 5fa run 0 1 0 0
T 1 604 inject 0 1 70 3
T 0 640 entry 0 0 0 0
T 1 6a4 entry 0 1 0 0
T 1 708 exit 0 1 c 0
T 1 70d block 0 1 1 0
T 1 76c timer - - 0 708
T 0 7d0 exit 0 0 c 0
T 0 7d5 off 0 0 2 0
T 0 7da run 1 0 0 0
T 0 834 entry 1 0 0 0
T# end lost 0
~ #
"""


def convert(tmp_path, text, code=0):
    """(JSON or None, what it said on stderr)"""
    log = tmp_path / "serial.log"
    log.write_bytes(text.encode())
    done = subprocess.run([sys.executable, TOOL, log], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if code == 0 else None, done.stderr


def slices(trace, pid, tid):
    return [(e["name"], round(e["ts"], 3), round(e["dur"], 3)) for e in trace["traceEvents"]
            if e["ph"] == "X" and (e["pid"], e["tid"]) == (pid, tid)]


def names(trace, kind):
    return {(e["pid"], e["tid"]): e["args"]["name"] for e in trace["traceEvents"] if e["ph"] == "M" and e["name"] == kind}


def test_tracks_are_named(tmp_path):
    trace, said = convert(tmp_path, DUMP)
    assert said == ""
    assert names(trace, "process_name") == {(0, 0): "CPUs", (1, 0): "VM linux", (2, 0): "VM other"}
    assert names(trace, "thread_name") == {(0, 0): "CPU 0", (0, 1): "CPU 1", (1, 0): "vCPU 0", (1, 1): "vCPU 1",
                                           (2, 0): "vCPU 0"}


def test_cpus_show_who_runs(tmp_path):
    trace, _ = convert(tmp_path, DUMP)
    assert slices(trace, 0, 0) == [("linux/0", 0, 10.05), ("other/0", 10.1, 0.9)]
    assert slices(trace, 0, 1) == [("linux/1", 5.3, 2.75)]


def test_vcpus_show_guest_and_exits(tmp_path):
    trace, _ = convert(tmp_path, DUMP)
    assert slices(trace, 1, 0) == [("guest", 1, 4), ("WRMSR", 5, 1), ("guest", 6, 4), ("HLT", 10, 0.05)]
    assert slices(trace, 1, 1) == [("guest", 7, 1), ("HLT", 8, 0.05)]
    assert slices(trace, 2, 0) == [("guest", 11, 0)]


def test_instants_and_arrows(tmp_path):
    trace, _ = convert(tmp_path, DUMP)
    events = trace["traceEvents"]
    instants = [(e["name"], e["pid"], e["tid"]) for e in events if e["ph"] == "i"]
    assert instants == [("interrupt", 1, 1), ("wake", 1, 1), ("vector 0x70 (offered)", 1, 1), ("timer", 0, 1)]
    assert next(e for e in events if e["name"] == "timer")["args"] == {"ticks_late": 100}
    start, = [e for e in events if e["ph"] == "s"]  # the wake-up is part of the IPI: one arrow
    end, = [e for e in events if e["ph"] == "f"]
    assert start["id"] == end["id"] and start["name"] == end["name"] == "interrupt"
    assert (start["pid"], start["tid"], round(start["ts"], 3)) == (1, 0, 5.1)
    assert (end["pid"], end["tid"], round(end["ts"], 3)) == (1, 1, 7)


def test_slices_of_a_track_do_not_overlap(tmp_path):
    trace, _ = convert(tmp_path, DUMP)
    for pid, tid in names(trace, "thread_name"):
        end = 0
        for _, start, duration in slices(trace, pid, tid):
            assert duration >= 0 and start >= end - 0.001
            end = start + duration


def test_a_dump_that_begins_in_a_turn(tmp_path):
    trace, _ = convert(tmp_path, DUMP.replace("T 0 3e8 run 0 0 0 0\nT 0 44c entry 0 0 0 0\n", ""))
    assert slices(trace, 0, 0)[0] == ("linux/0", 0, 5.05)
    assert slices(trace, 1, 0)[0] == ("WRMSR", 0, 1)


def test_dos_line_ends(tmp_path):
    assert convert(tmp_path, DUMP.replace("\n", "\r\n")) == convert(tmp_path, DUMP)


def test_the_last_dump_counts(tmp_path):
    trace, _ = convert(tmp_path, DUMP + DUMP.replace("other", "new"))
    assert names(trace, "process_name")[2, 0] == "VM new"
    assert len(slices(trace, 0, 0)) == 2


def test_a_log_that_was_cut_off(tmp_path):
    cut = DUMP[:DUMP.index("T# end") - 3]  # in the middle of the last record
    trace, said = convert(tmp_path, cut)
    assert slices(trace, 2, 0) == []
    assert "1 damaged record(s) left out, the first in line 24" in said
    assert "'T# end', is missing" in said


def test_damaged_records_are_left_out(tmp_path):
    trace, said = convert(tmp_path, DUMP.replace("T 1 6a4 entry 0 1 0 0", "T 1 6a4 entry 0 1 guest: hello"))
    assert "1 damaged record(s) left out, the first in line 17" in said
    assert slices(trace, 1, 1) == [("HLT", 8, 0.05)]


@pytest.mark.parametrize("text, error", [
    ("", "no dump: no line begins with 'T# trace'"),
    ("T 0 3e8 run 0 0 0 0\n", "line 1: a record before the dump's first line"),
    ("T# trace 2 tsc_hz 1 cpus 1\n", "line 1: a dump of format 2, expected 1"),
    ("T# trace 1 tsc_hz 0 cpus 1\n", "line 1: tsc_hz is 0"),
    ("T# trace 1 tsc_hz 5 cpus 1\nT# end lost 0\n", "the dump holds no records"),
])
def test_errors_are_named(tmp_path, text, error):
    _, said = convert(tmp_path, text, code=1)
    assert error in said and "serial.log" in said


def test_a_file_that_is_not_there(tmp_path):
    done = subprocess.run([sys.executable, TOOL, tmp_path / "none"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "No such file" in done.stderr
