"""`make bench-check`: measures again what repeats exactly, and fails for each row that got worse by more than 2 % since
tests/bench/table.json was written, and for mitigations that do less. `make bench-table` writes that.

Measured are the rows of `make bench` that need one CPU and some seconds: single exits and Linux's boot. With two CPUs the
emulator's clock moves in steps, so what vCPUs do to each other is not among them. Of Linux's boot nothing is said when
Debian's kernel is another one than the table's.
"""
# SPDX-License-Identifier: MIT
import concurrent.futures
import json
import sys
import tempfile

import bench

TABLE = bench.HERE / "table.json"
KERNEL = bench.BUILD / "linux" / "version"
WORSE = 1.02
EXACT = 2  # ticks or exits by which a small figure may differ
MITIGATION = "cpuid-mitigation-"


def measure():
    """{"kernel": its version, "exits": {id: ticks}, "boot": {id: value}}"""
    with tempfile.TemporaryDirectory(prefix="vireo-bench-check-") as folder:
        with concurrent.futures.ThreadPoolExecutor() as pool:  # an emulator each: ticks are the same, beside others or not
            exits = pool.submit(bench.measure_single_exits, folder)
            boot = pool.submit(bench.measure_vireo, folder, bench.boots_only())
    return {"kernel": KERNEL.read_text().strip(),
            "exits": {name: value for name, (_, value) in exits.result().items()},
            "boot": {name: value for name, (_, value) in boot.result().items()}}


def compare(was, now):
    """Prints a line for each row; the names of those that got worse or were not measured."""
    worse = [name for name in was if name not in now]
    for name in worse:
        print(f"{name:24} {'-':>14} WORSE: not measured any more, {was[name]} in the table")
    for name, value in now.items():
        if name not in was:
            verdict = "not in the table"
        elif value > max(was[name] * WORSE, was[name] + EXACT):
            worse.append(name)
            verdict = f"WORSE: {was[name]} in the table"
        elif value < min(was[name] / WORSE, was[name] - EXACT):
            verdict = f"better: {was[name]} in the table"
        else:
            verdict = f"as before: {was[name]}"
        print(f"{name:24} {value:>14} {verdict}")
    return worse


def compare_mitigations(was, now):
    """A mitigation that adds fewer ticks to an exit than it did is not cheaper: a part of it is not done any more. The
    names of those, which none may differ from by a single instruction."""
    def added(rows, name):
        return rows[name] - rows[MITIGATION + "none"]

    less = [name for name in was if name.startswith(MITIGATION) and name in now and added(now, name) < added(was, name)]
    for name in less:
        print(f"{name:24} {now[name]:>14} LESS: adds {added(now, name)} ticks, {added(was, name)} in the table")
    return less


def check(table, measured):
    worse = compare(table["exits"], measured["exits"])
    worse += compare_mitigations(table["exits"], measured["exits"])
    if table["kernel"] == measured["kernel"]:
        worse += compare(table["boot"], measured["boot"])
    else:
        print(f"Linux's boot is not compared: the kernel is {measured['kernel']}, the table's {table['kernel']}")
    if worse:
        sys.exit(f"bench-check: worse by more than 2 %, gone, or less done: {', '.join(worse)}. If that is meant: "
                 "make bench-table")


def main(arguments):
    measured = measure()
    if arguments == ["--write"]:
        TABLE.write_text(json.dumps(measured, indent=1) + "\n")
        print(f"{TABLE.relative_to(bench.ROOT)} is written")
    else:
        check(json.loads(TABLE.read_text()), measured)


if __name__ == "__main__":
    main(sys.argv[1:])
