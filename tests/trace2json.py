"""Makes a picture of a trace: reads a captured serial log that holds a dump (hv/trace.h) and writes the Trace Event JSON
that https://ui.perfetto.dev and chrome://tracing open.

    python3 tests/trace2json.py build/boot-logs/NAME.log > trace.json

Process "CPUs" has a track for each physical CPU: which vCPU runs on it, and timers. Each VM is a process with a track for
each vCPU: "guest" from entry to exit, the exit's reason from there to the next entry, injections, wake-ups, and arrows
from who sent an IPI or woke it. Other output between the lines does no harm; of several dumps the last one counts.
"""
# SPDX-License-Identifier: MIT
import argparse
import collections
import json
import pathlib
import re
import sys

TYPES = ("entry", "exit", "inject", "run", "off", "block", "wake", "ipi", "timer")
INJECTED_BY = ("local APIC", "8259", "NMI", "offered", "exception")  # enum trace_inject
SIGNALS = ("interrupt", "NMI", "INIT", "start-up")  # enum apic_signal
CPUS_PID = 0

HEAD = re.compile(r"T# trace (\d+) tsc_hz (\d+) cpus (\d+)\r?$")
NAME = re.compile(r"T# (vm|exit) ([0-9a-f]+) (.+?)\r?$")
END = re.compile(r"T# end lost (\d+)\r?$")
RECORD = re.compile(rf"T (\d+) ([0-9a-f]+) ({'|'.join(TYPES)}) (\d+|-) (\d+|-) ([0-9a-f]+) ([0-9a-f]+)\r?$")
BROKEN = re.compile(rf"T \d+ [0-9a-f]+ ({'|'.join(TYPES)})\b")

Record = collections.namedtuple("Record", "tsc cpu type vm vcpu a b")


class TraceError(Exception):
    """The log holds nothing that can be drawn."""


class Dump:
    """The lines of one dump, understood."""

    def __init__(self, hz, cpus):
        self.hz, self.cpus = hz, cpus
        self.vms, self.exits = {}, {}  # number -> name
        self.records, self.damaged = [], []  # damaged: numbers of lines that can't be read
        self.lost = None  # records overwritten before they were read; None: the last line is missing

    def take(self, number, line):
        record, name, end = RECORD.search(line), NAME.search(line), END.search(line)
        if record:
            cpu, tsc, kind, vm, vcpu, a, b = record.groups()
            who = (None, None) if "-" in (vm, vcpu) else (int(vm), int(vcpu))
            self.records.append(Record(int(tsc, 16), int(cpu), kind, *who, int(a, 16), int(b, 16)))
        elif name and name[1] == "vm" and name[2].isdigit():
            self.vms[int(name[2])] = name[3]
        elif name and name[1] == "exit":
            self.exits[int(name[2], 16)] = name[3]
        elif end:
            self.lost = int(end[1])
        elif BROKEN.search(line):
            self.damaged.append(number)

    def vm_name(self, vm):
        return self.vms.get(vm, f"vm{vm}")

    def exit_name(self, reason):
        return self.exits.get(reason, f"exit {reason}")


def parse(text):
    """The last dump in a log. A last line without its end counts as damaged: digits may be missing."""
    dump = None
    for number, line in enumerate(text.split("\n"), 1):
        head = HEAD.search(line)
        if head and head[1] != "1":
            raise TraceError(f"line {number}: a dump of format {head[1]}, expected 1")
        if head and not int(head[2]):
            raise TraceError(f"line {number}: tsc_hz is 0")
        if head:
            dump = Dump(int(head[2]), int(head[3]))
        elif dump:
            dump.take(number, line)
        elif RECORD.search(line):
            raise TraceError(f"line {number}: a record before the dump's first line, 'T# trace 1 tsc_hz ...'")
    if not dump:
        raise TraceError("no dump: no line begins with 'T# trace'")
    if not text.endswith("\n") and RECORD.search(text.rsplit("\n", 1)[-1]) and dump.records:
        dump.records.pop()
        dump.damaged.append(text.count("\n") + 1)
    if not dump.records:
        raise TraceError("the dump holds no records: was tracing on?")
    dump.records.sort(key=lambda r: r.tsc)
    return dump


class Track:
    """What is open on the track of a vCPU: the slice that goes on, and arrows that wait for its next entry."""

    def __init__(self):
        self.name = self.since = None
        self.arrows = []


class Picture:
    """Records in, trace events out."""

    def __init__(self, dump):
        self.dump, self.events, self.flows = dump, [], 0
        self.first, self.last = dump.records[0].tsc, dump.records[-1].tsc
        self.tracks = collections.defaultdict(Track)  # (vm, vcpu)
        self.running = {}  # cpu -> (vm, vcpu), since
        self.seen_cpus = set()

    def us(self, tsc):
        return (tsc - self.first) * 1e6 / self.dump.hz

    def add(self, phase, pid, tid, tsc, name, **more):
        self.events.append({"ph": phase, "pid": pid, "tid": tid, "ts": self.us(tsc), "name": name, **more})

    def instant(self, pid, tid, tsc, name, **args):
        self.add("i", pid, tid, tsc, name, s="t", args=args)

    def slice(self, pid, tid, start, end, name, **args):
        self.add("X", pid, tid, start, name, dur=(end - start) * 1e6 / self.dump.hz,
                 args={"ticks": end - start, **args})

    # --- which vCPU a CPU runs ---

    def cpu_runs(self, r):
        """A dump may begin in the middle of a turn: entries and exits tell who runs as well."""
        now = self.running.get(r.cpu)
        if not now or now[0] != (r.vm, r.vcpu):
            self.cpu_stops(r.cpu, r.tsc)
            self.running[r.cpu] = ((r.vm, r.vcpu), r.tsc)

    def cpu_stops(self, cpu, tsc):
        if cpu in self.running:
            (vm, vcpu), since = self.running.pop(cpu)
            self.slice(CPUS_PID, cpu, since, tsc, f"{self.dump.vm_name(vm)}/{vcpu}")

    # --- what a vCPU does ---

    def close(self, r, track):
        if track.name is not None:
            self.slice(r.vm + 1, r.vcpu, track.since, r.tsc, track.name, cpu=r.cpu)
        track.name = None

    def open(self, r, track, name):
        self.close(r, track)
        track.name, track.since = name, r.tsc

    def arrow_from(self, r, name):
        """The vCPU that this CPU runs sent it; nothing is drawn when none did (a timer, a device)."""
        sender = self.running.get(r.cpu, [None])[0]
        if sender and sender != (r.vm, r.vcpu):
            self.tracks[r.vm, r.vcpu].arrows.append((sender, r.tsc, name))

    def arrows_arrive(self, r, track):
        for (vm, vcpu), sent, name in track.arrows:
            self.flows += 1
            self.add("s", vm + 1, vcpu, sent, name, cat="signal", id=self.flows)
            self.add("f", r.vm + 1, r.vcpu, r.tsc, name, cat="signal", id=self.flows, bp="e")
        track.arrows = []

    def take(self, r):
        self.seen_cpus.add(r.cpu)
        if r.type == "timer":
            self.instant(CPUS_PID, r.cpu, r.tsc, "timer", ticks_late=r.tsc - r.b)
        elif r.vm is not None:
            getattr(self, f"take_{r.type}")(r, self.tracks[r.vm, r.vcpu])

    def take_entry(self, r, track):
        self.cpu_runs(r)
        self.open(r, track, "guest")
        self.arrows_arrive(r, track)

    def take_exit(self, r, track):
        self.cpu_runs(r)
        self.open(r, track, self.dump.exit_name(r.a))

    def take_inject(self, r, _):
        how = INJECTED_BY[r.b] if r.b < len(INJECTED_BY) else f"kind {r.b}"
        self.instant(r.vm + 1, r.vcpu, r.tsc, f"vector 0x{r.a:x} ({how})")

    def take_run(self, r, _):
        self.cpu_runs(r)

    def take_off(self, r, track):
        self.close(r, track)
        self.cpu_stops(r.cpu, r.tsc)

    take_block = take_off

    def take_wake(self, r, track):
        self.instant(r.vm + 1, r.vcpu, r.tsc, "wake", by_cpu=r.cpu, to_cpu=r.a)
        if not track.arrows:  # an IPI that wakes is one arrow
            self.arrow_from(r, "wake")

    def take_ipi(self, r, _):
        what = SIGNALS[r.a] if r.a < len(SIGNALS) else f"signal {r.a}"
        self.instant(r.vm + 1, r.vcpu, r.tsc, what, by_cpu=r.cpu, vector=r.b)
        self.arrow_from(r, what)

    # --- all of it ---

    def name_tracks(self):
        def name(pid, process, threads, word):
            self.events.append({"ph": "M", "pid": pid, "tid": 0, "name": "process_name", "args": {"name": process}})
            self.events.append({"ph": "M", "pid": pid, "tid": 0, "name": "process_sort_index", "args": {"sort_index": pid}})
            for thread in sorted(threads):
                self.events.append({"ph": "M", "pid": pid, "tid": thread, "name": "thread_name",
                                    "args": {"name": f"{word} {thread}"}})

        name(CPUS_PID, "CPUs", self.seen_cpus, "CPU")
        for vm in sorted({vm for vm, _ in self.tracks}):
            name(vm + 1, f"VM {self.dump.vm_name(vm)}", {vcpu for other, vcpu in self.tracks if other == vm}, "vCPU")

    def draw(self):
        for record in self.dump.records:
            self.take(record)
        for cpu in list(self.running):
            self.cpu_stops(cpu, self.last)
        for (vm, vcpu), track in self.tracks.items():
            if track.name is not None:
                self.slice(vm + 1, vcpu, track.since, self.last, track.name)
        self.name_tracks()
        return {"displayTimeUnit": "ns", "traceEvents": self.events,
                "otherData": {"tsc_hz": self.dump.hz, "first_tsc": self.first, "lost_records": self.dump.lost}}


def main():
    parser = argparse.ArgumentParser(description="Serial log with a trace dump in, Trace Event JSON out.")
    parser.add_argument("log", type=pathlib.Path)
    parser.add_argument("-o", "--output", type=pathlib.Path, help="a file instead of the standard output")
    arguments = parser.parse_args()
    try:
        dump = parse(arguments.log.read_text(errors="replace"))
        text = json.dumps(Picture(dump).draw()) + "\n"
        if arguments.output:
            arguments.output.write_text(text)
        else:
            sys.stdout.write(text)
    except (TraceError, OSError) as error:
        sys.exit(f"trace2json: {arguments.log}: {error}")
    if dump.damaged:
        print(f"trace2json: {arguments.log}: {len(dump.damaged)} damaged record(s) left out, the first in line "
              f"{dump.damaged[0]}", file=sys.stderr)
    if dump.lost is None:
        print(f"trace2json: {arguments.log}: the dump's last line, 'T# end', is missing", file=sys.stderr)


if __name__ == "__main__":
    main()
