"""tests/capture2pcap.py on a small log: what it writes, and logs that are not as they should be."""
# SPDX-License-Identifier: MIT
import base64
import pathlib
import struct
import subprocess
import sys

import pytest

TOOL = pathlib.Path(__file__).resolve().parent / "capture2pcap.py"

HEADER = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 192, 1)
FRAMES = [struct.pack("<IIII", 1700000000, n, size, 1514) + bytes(range(size)) for n, size in ((5, 60), (6, 192), (7, 14))]


def line(data):
    return f"P {base64.b64encode(data).decode()}\r\n"


def log(*lines, frames=3, lost=0):
    return "".join(["noise\r\n", "P# capture 1 port a/0\r\n", line(HEADER), *lines, f"P# end frames {frames} lost {lost}\r\n",
                    "vireo> "])


def convert(tmp_path, text, code=0):
    """(the file's bytes or None, what it said on stderr)"""
    source, target = tmp_path / "serial.log", tmp_path / "frames.pcap"
    source.write_bytes(text.encode())
    done = subprocess.run([sys.executable, TOOL, source, "-o", target], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return target.read_bytes() if code == 0 else None, done.stderr


def test_a_capture_is_a_file(tmp_path):
    lines = [line(frame) for frame in FRAMES]
    lines.insert(1, "[   1.000] vm b: something\r\n")
    assert convert(tmp_path, log(*lines)) == (HEADER + b"".join(FRAMES), "")


def test_the_last_one_counts(tmp_path):
    text = log(line(FRAMES[0])) + "P AAAA\r\n" + log(line(FRAMES[1]), line(FRAMES[2]))
    assert convert(tmp_path, text) == (HEADER + FRAMES[1] + FRAMES[2], "")


def test_what_is_missing_is_said(tmp_path):
    short = base64.b64encode(FRAMES[0]).decode()[:-8]
    made, said = convert(tmp_path, log(line(FRAMES[1]), f"P {short}\r\n", lost=4))
    assert made == HEADER + FRAMES[1]
    assert "1 damaged line(s) left out, the first is 5" in said and "4 frames were lost" in said
    made, said = convert(tmp_path, log(line(FRAMES[1])).partition("P# end")[0])
    assert made == HEADER + FRAMES[1] and "'P# end', is missing" in said


@pytest.mark.parametrize("text, said", [
    ("", "no capture"),
    ("P# capture 1 port a/0\r\nP# end frames 0 lost 0\r\n", "the file's header is missing"),
    ("P# capture 2 port a/0\r\n", "line 1: a capture of format 2, expected 1"),
])
def test_no_capture_is_an_error(tmp_path, text, said):
    assert said in convert(tmp_path, text, 1)[1]
