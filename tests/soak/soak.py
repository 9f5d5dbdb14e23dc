"""`make soak`: random commands for VMs through Vireo's shell for SOAK_MINUTES, on two CPUs or four.

Small guests of every kind and one Linux are started, destroyed, paused, reset, redefined, in any order. After each
command the shell must answer within a deadline and nothing may have panicked. In the end all are destroyed: every VM must
be gone within a deadline, and free memory must be what it was, to the byte. SEED= gives the same commands again (what the
guests do meanwhile may differ).
"""
# SPDX-License-Identifier: MIT
import collections
import os
import pathlib
import random
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "boot")]

import machine  # noqa: E402  (the path comes first)
import rack  # noqa: E402
from conftest import LINUX, LINUX_CONF  # noqa: E402

ANSWER_SECONDS = 120  # of the machine's clock, for an answer of the shell
END_SECONDS = 300  # until every VM is gone
LOOK_EVERY = 10  # commands; a listing is parsed in between
# VM: vCPUs. tests/guest tells what they do.
GUESTS = {"spin": 2, "teller": 1, "pair": 2, "ports": 1, "restart": 2, "sipi": 2, "startup": 2}
NEW_NAMES = [f"new{n}" for n in range(6)]
# How often, in relation to each other.
ACTIONS = {"start": 30, "destroy": 14, "pause": 10, "resume": 10, "reset": 10, "shutdown": 5, "create": 8, "undefine": 6,
           "set": 10, "regs": 4, "stat": 2, "vcpus": 2, "log": 2, "console": 2, "background": 1}


def make_conf():
    linux = LINUX_CONF.replace("256M", "96M") + "autostart = off\n"
    small = "".join(rack.section(name, vcpus) for name, vcpus in GUESTS.items())
    return "[hypervisor]\nbackground = hide\n" + linux + small + rack.section("triple", mode="real")


def make_image(folder):
    files = [machine.assemble(name, folder / f"{name}.bin") for name in GUESTS]
    return rack.make_image(folder, make_conf(), [*LINUX, *files, machine.BUILD / "guests" / "triple.bin"])


class Soak:
    """The machine, what is defined on it, and the dice."""

    def __init__(self, vireo, seed, cpus):
        self.vireo, self.dice, self.cpus = vireo, random.Random(seed), cpus
        self.names = ["linux", *GUESTS, "triple"]
        self.count, self.refused = collections.Counter(), collections.Counter()
        self.checked = 0  # bytes of output

    def say(self, line):
        answer = self.vireo.shell(line, ANSWER_SECONDS)
        output = self.vireo.output()
        if "PANIC" in output[self.checked:]:
            raise machine.MachineError(f"panic after {line!r}: see {self.vireo.log_path}")
        self.checked = max(0, len(output) - len("PANIC"))
        verb = line.split()[0]
        self.count[verb] += 1
        self.refused[verb] += any(row.startswith("error: ") for row in answer.split("\n"))
        return answer

    def step(self):
        verb = self.dice.choices(list(ACTIONS), ACTIONS.values())[0]
        name = self.dice.choice(self.names)
        if verb in ("create", "undefine", "set", "console", "background"):
            getattr(self, verb)(name)
        else:
            self.say(f"{verb} {name}")

    def create(self, like):
        name = self.dice.choice(NEW_NAMES)
        self.say(f"create {name} {like} weight={self.dice.randint(1, 10000)}")
        if name not in self.names:
            self.names.append(name)

    def undefine(self, _):
        """Only what was created here; it stays defined while it runs."""
        name = self.dice.choice(NEW_NAMES)
        if "error" not in self.say(f"undefine {name}"):
            self.names.remove(name)

    def set(self, name):
        cpus = self.dice.choice(["all", str(self.dice.randrange(self.cpus))])
        self.say(f"set {name} " + self.dice.choice([f"weight={self.dice.randint(1, 10000)}", f"cpus={cpus}",
                                                   f"cap={self.dice.choice([0, 5, 50, 150])}"]))

    def console(self, name):
        """There, a few bytes, and back."""
        self.vireo.send(f"console {name}\r")
        self.vireo.expect(rf"console: vm {name}\W", ANSWER_SECONDS)
        self.vireo.send("hello\r")
        self.vireo.to_shell(ANSWER_SECONDS)
        self.count["console"] += 1

    def background(self, _):
        self.say("set background=show")
        self.say("set background=hide")

    def run(self, seconds):
        end = self.vireo.clock() + seconds
        while self.vireo.clock() < end:
            self.step()
            if sum(self.count.values()) % LOOK_EVERY == 0:
                self.look()

    def look(self):
        found = [row["name"] for row in self.vireo.shell_json("list", ANSWER_SECONDS)]
        if sorted(found) != sorted(self.names):
            raise machine.MachineError(f"defined are {sorted(self.names)}, `list` shows {sorted(found)}")

    def end(self, free):
        """Everything off, everything forgotten that was created, memory as at the start."""
        for name, state in rack.states(self.vireo).items():
            if state not in rack.ENDED:
                self.say(f"destroy {name}")
        self.wait_until_gone()
        for name in set(NEW_NAMES) & set(self.names):
            self.say(f"undefine {name}")
        left = rack.free_bytes(self.vireo)
        if left != free:
            raise machine.MachineError(f"free memory: found {left} bytes, expected {free}: {free - left} are lost")

    def wait_until_gone(self):
        deadline = self.vireo.clock() + END_SECONDS
        while True:
            stuck = {name: state for name, state in rack.states(self.vireo).items() if state not in rack.ENDED}
            if not stuck:
                return
            if self.vireo.clock() > deadline:
                raise machine.MachineError(f"not gone after {END_SECONDS} s: {stuck}\n" + self.vireo.shell("vcpus"))

    def report(self):
        for verb, count in sorted(self.count.items()):
            print(f"  {verb:10} {count:6}, refused {self.refused[verb]}")


def main():
    minutes = float(os.environ.get("SOAK_MINUTES") or 20)
    seed = int(os.environ.get("SEED") or time.time())
    cpus = int(os.environ.get("SOAK_CPUS") or 2)
    print(f"soak: {minutes:g} minutes on {cpus} CPUs, SEED={seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        image = make_image(pathlib.Path(folder))
        with machine.Machine("soak", image, cpus=cpus, timeout=ANSWER_SECONDS) as vireo:
            rack.wait_for_prompt(vireo)
            free = rack.free_bytes(vireo)
            soak = Soak(vireo, seed, cpus)
            try:
                soak.run(minutes * 60)
                soak.end(free)
            except machine.MachineError as error:
                soak.report()
                sys.exit(f"soak: FAILED with SEED={seed}: {error}")
            soak.report()
    print("soak: ok; every VM is gone, free memory is what it was")


if __name__ == "__main__":
    main()
