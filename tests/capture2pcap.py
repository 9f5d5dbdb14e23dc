"""Makes a file for tcpdump and Wireshark of what Vireo's shell printed for `capture` (docs/shell.md): reads a captured
serial log and writes pcap.

    python3 tests/capture2pcap.py build/boot-logs/run.log -o frames.pcap

Each line "P ..." is some bytes of the file in base64. Other output between the lines does no harm; of several captures
the last one counts.
"""
# SPDX-License-Identifier: MIT
import argparse
import base64
import binascii
import pathlib
import re
import struct
import sys

BEGIN = re.compile(r"P# capture (\d+) port (\S+)\r?$")
END = re.compile(r"P# end frames (\d+) lost (\d+)\r?$")
LINE = re.compile(r"^P ([A-Za-z0-9+/]+=*)\r?$")
HEADER, RECORD = struct.Struct("<IHHiIII"), struct.Struct("<IIII")
MAGIC = 0xA1B23C4D


class CaptureError(Exception):
    """The log holds nothing that can be made a file of."""


class Capture:
    """The lines of one capture."""

    def __init__(self, port):
        self.port, self.header, self.records, self.damaged = port, None, [], []
        self.printed = self.lost = None  # None: the last line is missing

    def take(self, number, line):
        end, found = END.search(line), LINE.match(line)
        if end:
            self.printed, self.lost = int(end[1]), int(end[2])
        elif found:
            self.take_bytes(number, found[1])

    def take_bytes(self, number, text):
        try:
            record = base64.b64decode(text, validate=True)
        except binascii.Error:
            record = b""
        if self.header is None and len(record) == HEADER.size and HEADER.unpack(record)[0] == MAGIC:
            self.header = record
        elif len(record) >= RECORD.size and RECORD.unpack_from(record)[2] == len(record) - RECORD.size:
            self.records.append(record)
        else:
            self.damaged.append(number)


def parse(text):
    """The last capture in a log."""
    capture = None
    for number, line in enumerate(text.split("\n"), 1):
        begin = BEGIN.search(line)
        if begin and begin[1] != "1":
            raise CaptureError(f"line {number}: a capture of format {begin[1]}, expected 1")
        if begin:
            capture = Capture(begin[2])
        elif capture and capture.printed is None:
            capture.take(number, line)
    if not capture:
        raise CaptureError("no capture: no line begins with 'P# capture'")
    if capture.header is None:
        raise CaptureError("the file's header is missing")
    return capture


def main():
    parser = argparse.ArgumentParser(description="Serial log with a capture in, pcap out.")
    parser.add_argument("log", type=pathlib.Path)
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True, help="the file for tcpdump")
    arguments = parser.parse_args()
    try:
        capture = parse(arguments.log.read_text(errors="replace"))
        arguments.output.write_bytes(capture.header + b"".join(capture.records))
    except (CaptureError, OSError) as error:
        sys.exit(f"capture2pcap: {arguments.log}: {error}")
    print(f"{len(capture.records)} frames of port {capture.port}")
    if capture.damaged:
        print(f"capture2pcap: {len(capture.damaged)} damaged line(s) left out, the first is {capture.damaged[0]}",
              file=sys.stderr)
    if capture.printed is None:
        print("capture2pcap: the capture's last line, 'P# end', is missing", file=sys.stderr)
    elif capture.lost:
        print(f"capture2pcap: {capture.lost} frames were lost: they came faster than the line takes them", file=sys.stderr)


if __name__ == "__main__":
    main()
