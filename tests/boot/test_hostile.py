"""Guests that break in wherever they can, each in its own VM: it ends as docs/errors.md says, and beside it Linux goes
on working with a clock that does not jump, and a keeper finds its registers and memory as it left them. Also guests that try to get more than their share, or to be lost, by when
they do what they may do.
"""
# SPDX-License-Identifier: MIT
import bisect
import itertools
import re

import pytest

import attacks
import machine
from conftest import LINUX, LINUX_CONF

BOOT_SECONDS = 240
ATTACK_SECONDS = 480  # of the machine's clock; alone a boot takes one to two minutes
HOSTILE = machine.BUILD / "guests" / "hostile.elf"
SMALL_LINUX = LINUX_CONF.replace("256M", "128M")
BESIDE = attacks.section("ticker", "tick") + attacks.section("keeper", "keep 1") + "weight = 16\n"
INTACT = r"keeper\| keeper: intact, 0 found in \d+ looks"
ALL_OFF = "[hypervisor]\napicv = off\nvpid = off\npreemption_timer = off\n"
STAMP = re.compile(r"\[ *(\d+\.\d+)\] ")
COMPLAINTS = "unstable|lockup|stall|hung|clock.*(skew|jump|back)|lost.*(tick|interrupt)|nobody cared"
JUMP_SECONDS = 1.0
TIMES_TYPED, TICKS_TO_ANSWER = 5, 80  # ticks of 250 ms of the machine's time
CLEAR_LINE = "\x15"  # Ctrl-U
ROUND = 7  # instructions of a round in share.asm
TICKS = 300_000_000


@pytest.fixture
def guest(tmp_path):
    """guest(name): the flat image of tests/guest/NAME.asm; guest(name, kind) with KIND defined, as NAMEkind.bin."""
    def assemble(name, kind=""):
        return machine.assemble(name, tmp_path / f"{name}{kind}.bin", **({"KIND": kind} if kind else {}))
    return assemble


def section(name, vcpus=1):
    return f"[vm {name}]\nprotocol = flat\nmode = protected\nmemory = 4M\nvcpus = {vcpus}\nkernel = {name}.bin\n"


def test_sleeping_in_time_wins_nothing(boot, make_image, guest):
    """The hog runs 4.5 ms of each slice and sleeps 20 us; its neighbour still gets half of the CPU or more."""
    image = make_image(section("share") + section("hog"), [guest("share"), guest("hog")])
    booted = boot(image, timeout=BOOT_SECONDS)
    booted.expect(r"vm share: debug exit with code [0-9]+ ")
    rounds = int(re.search(r"vm share: debug exit with code (\d+) ", booted.output())[1])
    part = rounds * ROUND / TICKS
    assert part > 0.45, f"it got {part:.3f} of the CPU"


@pytest.mark.long
def test_processors_start_and_restart(boot, make_image, guest):
    """A VM whose first processor halts while a second is being started lives on; one that restarts again and again
    comes back each time with all its processors."""
    image = make_image(section("startup", 2) + section("restart", 4), [guest("startup"), guest("restart")])
    booted = boot(image, cpus=4, timeout=BOOT_SECONDS)
    booted.expect(r"vm startup: debug exit with code 0 ")
    for _ in range(5):
        booted.expect(r"vm restart: restarts after")
    output = booted.output()
    assert "halted for good" not in output and "killed" not in output


class Witness:
    """The Linux guest beside the attackers. Its words and Vireo's lines come through one serial port and cut each other
    short, so its words are looked for with all line ends taken out; each keeps the time of Vireo's last line."""

    def __init__(self, booted):
        self.booted = booted
        self.questions = 0

    def wait_until(self, condition, what, seconds=ATTACK_SECONDS):
        """Looks again whenever the ticker's line shows that Vireo is alive."""
        deadline = self.booted.clock() + seconds
        while not condition():
            assert self.booted.clock() < deadline, f"waited {seconds} s for {what}"
            self.booted.expect(r"ticker\| tick", seconds)

    def words(self):
        """The guest's text, and (place in it, time) of Vireo's lines between."""
        text, stamps, length = [], [], 0
        for line in self.booted.output().split("\n"):
            line = line.rstrip("\r")
            stamp = STAMP.match(line)
            if stamp:
                stamps.append((length, float(stamp[1])))
            else:
                text.append(line)
                length += len(line)
        return "".join(text), stamps

    def wait_for_shell(self):
        self.wait_until(lambda: re.search("vireo-init: up.*~ # ", self.words()[0]), "the shell")

    def ask(self, command):
        """What the command prints, without line ends. It is typed again when no answer comes: Bochs keeps interrupts back
        while a guest's IF is 0, and what its serial port receives meanwhile beyond 16 bytes is lost."""
        self.questions += 1
        n = self.questions
        pattern = re.compile(rf"<{n}:(.*?):{n}>.*~ # ")  # the prompt too: what is typed before it may be dropped
        for _ in range(TIMES_TYPED):
            self.booted.send(f'{CLEAR_LINE}echo "<{n}"":$({command}):{n}"">"\n')
            for _ in range(TICKS_TO_ANSWER):
                self.booted.expect(r"ticker\| tick", ATTACK_SECONDS)
                answer = pattern.search(self.words()[0])
                if answer:
                    return answer[1]
        raise AssertionError(f"no answer to {command}, typed {TIMES_TYPED} times")

    def look_at_clock(self):
        return float(self.ask("cut -d' ' -f1 /proc/uptime"))

    def check_clock(self):
        """Every reading lies between two lines of Vireo's; what passed between readings is the same on both clocks."""
        text, stamps = self.words()
        places = [place for place, _ in stamps]
        readings = []
        for found in re.finditer(r"<(\d+):(\d+\.\d+):\1>", text):
            after = bisect.bisect_right(places, found.start())
            ended = min(bisect.bisect_right(places, found.end()), len(stamps) - 1)
            readings.append((float(found[2]), stamps[after - 1][1], stamps[ended][1]))
        assert len(readings) >= 3
        for (guest, low, high), (guest2, low2, high2) in itertools.combinations(readings, 2):
            assert guest2 >= guest, "the guest's clock went backwards"
            assert low2 - high - JUMP_SECONDS < guest2 - guest < high2 - low + JUMP_SECONDS, \
                f"{guest2 - guest:.2f} s passed in the guest, {low2 - high:.2f} to {high2 - low:.2f} s outside"


def check_ends(said, attackers):
    for name, _, end in attackers:
        ends = re.findall(rf"vm {name}: (?:powered off|debug exit|halted|killed|restarts|not started)[^\r\n]*", said)
        if end is attacks.ENDLESS:
            assert not ends, f"{name} was to run on, but {ends[0]}"
        else:
            assert attacks.ended(said, name, end), f"{name} was to end with '{end}', but {ends}"


def run_attacks(boot, image, attackers, **options):
    """One boot: Linux starts among the attackers, is asked while they run and when those that end have ended."""
    booted = boot(image, timeout=ATTACK_SECONDS, quiet=True, **options)
    witness = Witness(booted)
    booted.expect("vm linux: first instruction")
    witness.wait_for_shell()
    witness.look_at_clock()
    for i, (name, _, end) in enumerate(attackers):
        if i % 8 == 0:
            witness.look_at_clock()
        if end is not attacks.ENDLESS:
            line = re.compile(rf"vm {name}: (?:powered|debug exit|halted|killed|restarts)")
            witness.wait_until(lambda: line.search(booted.output()), f"the end of {name}")
    witness.look_at_clock()
    assert witness.ask("echo alive") == "alive"
    assert witness.ask(f"dmesg | grep -ciE '{COMPLAINTS}'") == "0", witness.ask(f"dmesg | grep -iE '{COMPLAINTS}'")
    witness.look_at_clock()
    looked = len(re.findall(INTACT, booted.output()))
    witness.wait_until(lambda: len(re.findall(INTACT, booted.output())) > looked, "the keeper's next look")
    said = booted.output()
    check_ends(said, attackers)
    witness.check_clock()
    assert "PANIC" not in said and "vm linux: killed" not in said and "FAILED" not in said
    assert not re.search(r"keeper: FOUND|vm keeper: (killed|debug exit|halted|restarts)", said)
    return said


@pytest.mark.parametrize("hypervisor, cpu", [
    pytest.param("", "corei7_skylake_x", id="hardware-paths", marks=pytest.mark.wide),
    pytest.param(ALL_OFF, "corei7_haswell_4770", id="software-paths", marks=pytest.mark.long),
])
def test_survivors(boot, make_image, hypervisor, cpu):
    """Nonsense that the processor answers with exceptions."""
    image = make_image(hypervisor + SMALL_LINUX + BESIDE + attacks.sections(attacks.SURVIVE), [*LINUX, HOSTILE])
    run_attacks(boot, image, attacks.SURVIVE, cpu=cpu)


@pytest.mark.wide
def test_killed(boot, make_image):
    image = make_image(SMALL_LINUX + BESIDE + attacks.sections(attacks.KILLED), [*LINUX, HOSTILE])
    run_attacks(boot, image, attacks.KILLED)


@pytest.mark.wide
def test_storms(boot, make_image):
    """Interrupts, exceptions and output without end, on one processor."""
    attackers = attacks.STORMS + attacks.FLOODS
    image = make_image(SMALL_LINUX + BESIDE + attacks.sections(attackers), [*LINUX, HOSTILE])
    said = run_attacks(boot, image, attackers)
    for name, _, _ in attacks.FLOODS:
        assert len(re.findall(rf"\] {name}\| ", said)) > 10


@pytest.mark.long
def test_two_processors(boot, make_image):
    conf = SMALL_LINUX.replace("vcpus = 1", "vcpus = 2") + BESIDE + attacks.sections(attacks.SMP, vcpus=2)
    run_attacks(boot, make_image(conf, [*LINUX, HOSTILE]), attacks.SMP, cpus=2)


@pytest.mark.long
def test_crowd(boot, make_image, guest):
    """Many small VMs: some crash while others start, others restart themselves without end."""
    flat = attacks.FLAT + attacks.CRASHING + attacks.RESTARTING
    conf = SMALL_LINUX + BESIDE + "".join(attacks.flat_section(name, image) for name, image, _ in flat)
    conf += attacks.sections(attacks.RESETS)
    files = [guest("task", kind) for kind in range(1, 5)] + [guest("modes"), guest("restart")]
    files += [machine.BUILD / "guests" / "triple.bin", HOSTILE]
    said = run_attacks(boot, make_image(conf, [*LINUX, *files]), flat + attacks.RESETS, cpus=2)
    for name, _, _ in attacks.RESETS + attacks.RESTARTING:
        assert len(re.findall(rf"vm {name}: restarts after", said)) >= 3, f"{name} came back too seldom"
