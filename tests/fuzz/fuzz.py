#!/usr/bin/env python3
"""Runs fuzzers on what they have found so far, keeps the best of it in the tree, and writes the record.

    fuzz.py run [NAME...]      each for --seconds; new finds go to build/corpus/NAME
    fuzz.py keep [NAME...]     tests/fuzz/corpus/NAME.txt becomes the fewest inputs that reach what all reach
    fuzz.py record [NAME...]   each until the table in docs/testing.md says that it ran for --minutes

NAME is fuzz_X; without one it is all. `make fuzz` and `make fuzz-record` build first what they call this for.
A kept corpus is a line of base64 for each input. A row of the record holds as long as nothing changes of which the
fuzzer is made (its own file and what it links): its commit is the last that did, and after another it counts anew. Its
minutes are of the processor.
"""
# SPDX-License-Identifier: MIT
import argparse
import base64
import concurrent.futures
import hashlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SOURCES = ROOT / "tests" / "fuzz"
KEPT = SOURCES / "corpus"
BINARIES = ROOT / "build" / "fuzz"
FOUND = ROOT / "build" / "corpus"
TABLE = ROOT / "docs" / "testing.md"
HEADER = ["| fuzzer | commit | minutes | runs | edges | inputs |", "|---|---|---|---|---|---|"]
KEPT_BYTES = 1024  # of an input that is kept: longer ones are cut
CHUNK_MINUTES = 10  # of a record: what is lost when it is interrupted

table_lock = threading.Lock()


def names():
    return sorted(path.stem for path in SOURCES.glob("fuzz_*.c"))


# --- what is kept ---

def unpack(name, folder):
    """Writes the kept inputs into a folder, each named after its content as libFuzzer does."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = KEPT / f"{name}.txt"
    for line in kept.read_text().splitlines() if kept.is_file() else []:
        data = base64.b64decode(line)
        (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)


def keep(name, _):
    with tempfile.TemporaryDirectory() as scratch:
        best = pathlib.Path(scratch, "best")
        best.mkdir()
        unpack(name, FOUND / name)
        merged = subprocess.run([BINARIES / name, "-set_cover_merge=1", "-use_counters=0", f"-max_len={KEPT_BYTES}",
                                 best, FOUND / name], cwd=scratch, capture_output=True, text=True, errors="replace",
                                check=False)
        if merged.returncode:
            return f"{name}: {merged.stderr[-2000:]}"
        inputs = sorted((path.read_bytes() for path in best.iterdir()), key=lambda data: (len(data), data))
    KEPT.mkdir(exist_ok=True)
    (KEPT / f"{name}.txt").write_text("".join(base64.b64encode(data).decode() + "\n" for data in inputs if data))
    print(f"{name}: {len(inputs)} inputs, {sum(map(len, inputs))} bytes", flush=True)
    return None


# --- a run ---

def fuzz(name, seconds):
    """(what it did, None) or (None, what it said when it failed)."""
    unpack(name, FOUND / name)
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        fuzzer = subprocess.Popen([BINARIES / name, f"-max_total_time={seconds}", f"-artifact_prefix={FOUND}/{name}-",
                                   "-print_final_stats=1", FOUND / name], cwd=ROOT, stdout=log, stderr=log)
        _, status, used = os.wait4(fuzzer.pid, 0)  # of the processor, which others may have had in between
        log.seek(0)
        said = log.read()
    if status:
        return None, f"{name}: failed\n{said[-6000:]}"
    last = re.findall(r"cov: (\d+) ft: \d+ corp: (\d+)/", said)[-1]
    runs = re.search(r"stat::number_of_executed_units: (\d+)", said)[1]
    return {"runs": int(runs), "edges": int(last[0]), "inputs": int(last[1]),
            "minutes": (used.ru_utime + used.ru_stime) / 60}, None


def run(name, options):
    did, why = fuzz(name, options.seconds)
    if did:
        print(f"{name}: {did['runs']:,} runs, {did['edges']:,} edges, {did['inputs']:,} inputs", flush=True)
    return why


# --- the record ---

def git(*words):
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def sources_of(name):
    """The fuzzer's own file, and the sources that it links or takes in."""
    own = SOURCES / f"{name}.c"
    text = own.read_text()
    links = " ".join(re.findall(r"^/\* links: (.*) \*/", text, re.M)).split()
    return [str(own.relative_to(ROOT)), *links, *re.findall(r'^#include "(.*\.c)"', text, re.M)]


def read_table():
    """(lines above the rows, rows by name, lines below)"""
    lines = TABLE.read_text().splitlines()
    first = last = lines.index(HEADER[0]) + len(HEADER)
    while last < len(lines) and lines[last].startswith("|"):
        last += 1
    rows = {}
    for line in lines[first:last]:
        fuzzer, commit, *numbers = (cell.strip(" `") for cell in line.strip("|").split("|"))
        minutes, runs, edges, inputs = (float(cell.replace(",", "")) for cell in numbers)
        rows[fuzzer] = {"commit": commit, "minutes": minutes, "runs": int(runs), "edges": int(edges),
                        "inputs": int(inputs)}
    return lines[:first], rows, lines[last:]


def write_row(name, row):
    with table_lock:
        above, rows, below = read_table()
        rows[name] = row
        lines = [f"| `{fuzzer}` | {r['commit']} | {r['minutes']:.3g} | {r['runs']:,} | {r['edges']:,} | {r['inputs']:,} |"
                 for fuzzer, r in sorted(rows.items())]
        TABLE.write_text("\n".join(above + lines + below) + "\n")


def record(name, options):
    sources = sources_of(name)
    if git("status", "--porcelain", "--", *sources):
        return f"{name}: it, or what it links, differs from what is committed"
    commit = git("log", "-1", "--format=%h", "--abbrev=7", "--", *sources)
    with table_lock:
        row = read_table()[1].get(name)
    if not row or row["commit"] != commit:
        row = {"commit": commit, "minutes": 0, "runs": 0}
    while row["minutes"] < options.minutes - 0.01:
        did, why = fuzz(name, max(10, round(60 * min(CHUNK_MINUTES, options.minutes - row["minutes"]))))
        if why:
            return why
        row = {**did, "commit": commit, "minutes": row["minutes"] + did["minutes"], "runs": row["runs"] + did["runs"]}
        write_row(name, row)
        print(f"{name}: {row['minutes']:.3g} minutes, {row['runs']:,} runs, {row['edges']:,} edges", flush=True)
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "keep", "record"))
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_intermixed_args()
    unknown = set(options.names) - set(names())
    if unknown:
        parser.error(f"no such fuzzer: {' '.join(sorted(unknown))}")
    todo = {"run": run, "keep": keep, "record": record}[options.what]
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        problems = [said for said in pool.map(lambda name: todo(name, options), options.names or names()) if said]
    print("\n".join(problems), file=sys.stderr, end="\n" if problems else "")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
