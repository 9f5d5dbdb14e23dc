"""`make fuzz-guest`: the fuzzing guest (tests/guest/hostile/fuzz.c) on Bochs, case after case, beside a guest that checks its
own registers and memory all the time. A case may cost the fuzzing VM, which is then started again with the seed that
follows. It must not cost more: a panic, a shell that does not answer, or a neighbour that finds something changed is a
failure, and the last seed is told.

    make fuzz-guest SEED=0x1000 RUNS=1000    these seeds
    make fuzz-guest SEED=0x1234 RUNS=1       one again, alone
"""
# SPDX-License-Identifier: MIT
import argparse
import collections
import pathlib
import re
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "boot")]

import attacks  # noqa: E402  (the path comes first)
import machine  # noqa: E402
import rack  # noqa: E402

HOSTILE = machine.BUILD / "guests" / "hostile.elf"
KEEPERS_WEIGHT = 32  # beside 256: it never sleeps, and most of the time is for the cases
QUIET_SECONDS = 30  # of the machine's clock, without a word of the fuzzing guest: it is stuck, and destroyed
CASE = r"fuzz\| case ([0-9a-f]+) ([^\r\n,]*)(, the last one was stopped)?\r"
OVER = r"fuzz\| the case (is over|was stopped)"
STOPPED = "stopped after 15 ms"
WHY = r"vm fuzz: killed: ([^\r\n]*)\r"
END = r"vm fuzz: (powered off|restarts|debug exit|halted for good|killed|destroyed)[^\r\n]* after \d+ exits"
BAD = r"PANIC|vm keeper: (?:killed|debug exit|halted|restarts)|keeper: FOUND[^\r\n]*\r"


def make_image(folder, hypervisor=""):
    conf = hypervisor + attacks.section("keeper", "keep 2", 2) + f"weight = {KEEPERS_WEIGHT}\n"
    conf += attacks.section("fuzz", "fuzz 1", 2) + "autostart = off\n"
    return rack.make_image(folder, conf, [HOSTILE])


class Fuzzing:
    """A booted machine, and what has come of the cases."""

    def __init__(self, vireo):
        self.vireo = vireo
        self.cases = self.lives = 0
        self.last = None  # the seed that was printed last
        self.kinds, self.ends = collections.Counter(), collections.Counter()

    def say(self, line):
        return self.vireo.shell(line, rack.ANSWER_SECONDS)

    def begin(self):
        """To the shell; the neighbour runs."""
        self.vireo.expect("keeper: intact", rack.BOOT_SECONDS)
        self.vireo.to_shell(rack.ANSWER_SECONDS)

    def run(self, seed, runs):
        """The cases of the seeds from `seed` on."""
        end = seed + runs
        while seed < end:
            self.life(seed, end)
            seed = (seed if self.last is None else self.last) + 1
        self.look_at_neighbour()

    def life(self, seed, end):
        """From a start of the VM to its end, or until the last seed's case is over."""
        self.last, self.lives = None, self.lives + 1
        what = "fuzz-one" if end - seed == 1 else "fuzz"
        self.say(f'set fuzz cmdline="{what} {seed:x}"')
        self.vireo.send("start fuzz\r")
        why = killed = None
        while not why:
            try:
                found = self.vireo.expect([BAD, CASE, OVER, WHY, END], QUIET_SECONDS)
            except machine.MachineError:
                why = "nothing is heard of it"
                break
            if re.match(BAD, found[0]):
                raise self.failure(found[0])
            if re.match(CASE, found[0]):
                if self.last is not None:
                    self.ends[STOPPED if found[3] else "over"] += 1
                if int(found[1], 16) >= end:
                    break
                self.note_case(int(found[1], 16), found[2])
            elif re.match(OVER, found[0]):
                why = STOPPED if found[1] == "was stopped" else "over"
            elif re.match(WHY, found[0]):
                killed = "killed: " + re.sub(r"0x[0-9a-f]+|\d+", "N", found[1])
            else:
                why = killed or found[1]
        if why:
            self.ends[why] += 1
        self.clear_away()

    def note_case(self, seed, kind):
        self.cases += 1
        self.last = seed
        self.kinds[kind] += 1

    def clear_away(self):
        """The VM is gone after this, and the shell has answered."""
        for asked in range(rack.QUESTIONS):
            state = rack.states(self.vireo)["fuzz"]
            if state in rack.ENDED:
                return
            if asked == 1:
                self.say("destroy fuzz")
        raise self.failure(f"the VM is {state}, and does not end")

    def look_at_neighbour(self):
        self.vireo.expect(r"keeper: intact, 0 found", rack.ANSWER_SECONDS)
        if re.search(BAD, self.vireo.output()):
            raise self.failure(re.search(BAD, self.vireo.output())[0])

    def failure(self, what):
        return machine.MachineError(f"FAILED at seed {self.last if self.last is None else hex(self.last)}: {what}; see "
                                    f"{self.vireo.log_path}")

    def report(self):
        print(f"{self.cases} cases in {self.lives} lives of the VM, the last seed was {self.last:#x}")
        for title, counter in (("kinds", self.kinds), ("ends", self.ends)):
            print(f"{title}:")
            for name, count in counter.most_common():
                print(f"  {count:6} {name}")


def main():
    parser = argparse.ArgumentParser(description="random instructions, MSRs, ports, tables ... in a VM on Bochs")
    parser.add_argument("--seed", type=lambda text: int(text, 0) if text else int(time.time()), default="")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--cpu", default="corei7_skylake_x")
    parser.add_argument("--name", default="fuzz-guest")
    args = parser.parse_args()
    print(f"fuzz-guest: {args.runs} cases from SEED={args.seed:#x} on", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        image = make_image(pathlib.Path(folder))
        with machine.Machine(args.name, image, cpu=args.cpu, cpus=args.cpus, quiet=True, timeout=rack.ANSWER_SECONDS) as vireo:
            fuzzing = Fuzzing(vireo)
            try:
                fuzzing.begin()
                fuzzing.run(args.seed, args.runs)
            except machine.MachineError as error:
                last = "none" if fuzzing.last is None else hex(fuzzing.last)
                sys.exit(f"fuzz-guest: FAILED, the last seed was {last}: {error}")
            fuzzing.report()
    print("fuzz-guest: ok; the other VM has found nothing changed")


if __name__ == "__main__":
    main()
