"""Vireo's shell as a person or a script uses it: commands, listings, the line editor, the console shared with guests.

One machine with two processors serves all tests; its VMs are small and only defined (autostart = off). Each test finds
them shut off. Who leaves the machine in a mess costs the next test a boot.
"""
# SPDX-License-Identifier: MIT
import itertools
import json
import re
import subprocess
import sys

import pytest

import machine
from conftest import ROOT
from rack import (ANSWER_SECONDS, destroy, destroy_all, make_image, numbers, section, start, states, wait_for_lines,
                  wait_for_prompt, wait_for_states)

DUMP_SECONDS = 240
SCROLLBACK = 8192
UP, TAB, CTRL_A, CTRL_C, CTRL_E, CTRL_U, BACKSPACE = "\x1b[A", "\t", "\x01", "\x03", "\x05", "\x15", "\x7f"

# VM: source in tests/guest, number of vCPUs, what is defined for it. a and b tell 50 lines a second, fast 1000.
VMS = {
    "a": ("teller", 1, {"WHO": "A"}),
    "b": ("teller", 1, {"WHO": "B"}),
    "fast": ("teller", 1, {"WHO": "F", "PERIOD": 100000}),
    "spin": ("spin", 2, {}),
}
pytestmark = pytest.mark.xdist_group("shell")  # all by one worker: they share the machine and its log
CONF = "".join(section(name, vcpus) for name, (_, vcpus, _) in VMS.items()) + section("triple", mode="real")


class Rack:
    """The machine of all tests, booted when it is needed."""

    def __init__(self, image):
        self.image, self.booted, self.boots = image, None, 0

    def machine(self):
        if not self.booted:
            self.boots += 1
            self.booted = machine.Machine(f"test_shell-{self.boots}", self.image, cpus=2, timeout=ANSWER_SECONDS)
            self.booted.start()
            wait_for_prompt(self.booted)
        return self.booted

    def drop(self):
        if self.booted:
            self.booted.stop()
        self.booted = None


@pytest.fixture(scope="module", name="rack")
def make_rack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shell")
    files = [machine.assemble(source, folder / f"{name}.bin", **defines) for name, (source, _, defines) in VMS.items()]
    rack = Rack(make_image(folder, CONF, [*files, machine.BUILD / "guests" / "triple.bin"]))
    yield rack
    rack.drop()


def clear(vireo):
    """Everything shut off, nothing left that a test has defined."""
    destroy_all(vireo)
    for name in states(vireo).keys() - VMS.keys() - {"triple"}:
        assert vireo.shell(f"undefine {name}") == ""
    vireo.shell("set background=hide")


@pytest.fixture(name="vireo")
def at_the_prompt(rack):
    booted = rack.machine()
    try:
        clear(booted)
        yield booted
        clear(booted)
    except BaseException:
        rack.drop()
        raise


@pytest.fixture(autouse=True)
def drop_after_failure(rack, request):
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed != failed:
        rack.drop()


# --- commands -----------------------------------------------------------------------------------------------------


def commands(vireo):
    """name: its arguments, from `help`."""
    rows = re.findall(r"^  (\w+) (.*?) {2,}\S", vireo.shell("help"), re.M)
    assert len(rows) > 20
    return dict(rows)


def required(arguments):
    """One word for each argument that must be there."""
    return [word for word in arguments.split() if not word.startswith("[")]


def test_help(vireo):
    every = commands(vireo)
    assert {"help", "list", "top", "create", "start", "destroy", "trace", "dmesg"} <= every.keys()
    for name in every:
        assert re.fullmatch(rf"  {name} [^\n]*\n", vireo.shell(f"help {name}"))
    text = (ROOT / "docs" / "shell.md").read_text()
    described = set(re.findall(r"`(\w+)", "".join(re.findall(r"^\| (`.*?) \|", text, re.M))))
    assert every.keys() <= described, "docs/shell.md does not tell of all commands"


def test_wrong_usage(vireo):
    for name, arguments in commands(vireo).items():
        usage = f"error: usage: {name} {arguments}".rstrip()
        assert vireo.shell(f"{name} {'x ' * 22}".rstrip()).rstrip() == usage
        if required(arguments):
            assert vireo.shell(name).rstrip() == usage
    assert vireo.shell("x " * 40) == "error: more than 32 words\n"
    assert vireo.shell("list 'a") == "error: a quote is not closed\n"
    for line in ("frob", "help frob"):
        assert vireo.shell(line) == "error: there is no command frob; `help` lists those there are\n"
    assert vireo.shell("") == vireo.shell("   ") == ""
    assert vireo.shell("trace draw") == "error: found 'draw', expected start, stop, clear or dump\n"
    assert vireo.shell("top often") == "error: found 'often', expected a number of looks\n"
    assert vireo.shell("set background=often").startswith("error: found 'background=often', expected VM KEY=VALUE...")


def test_unknown_and_dead_vms(vireo):
    calls = {"undefine": "", "start": "", "console": "", "log": "", "set": " weight=1", "create": "", "shutdown": "",
             "destroy": "", "reset": "", "pause": "", "resume": "", "stat": "", "regs": "", "vcpus": "", "link": " 0 up",
             "capture": "/0"}
    for name, more in calls.items():
        vm = "new nosuch" if name == "create" else "nosuch"
        said = vireo.shell(f"{name} {vm}{more}")
        assert said == "error: there is no vm nosuch; `list` shows those there are, `dmesg` what vireo.conf got wrong\n", name
        assert vireo.shell_json(f"{name} {vm}{more}") == {"error": said[len("error: "):].rstrip()}
    for name in ("shutdown", "destroy", "reset", "pause", "resume", "stat", "regs", "vcpus"):
        assert vireo.shell(f"{name} a") == "error: vm a is not running\n"


def test_bad_settings(vireo):
    assert vireo.shell("create b a") == "error: vm b: found a VM of that name, expected another name\n"
    assert "error: " in vireo.shell("create two/words a")
    assert vireo.shell("create new a weight") == "error: found 'weight', expected KEY=VALUE\n"
    for bad in ("weight=0", "weight=10001", "cap=x", "cpus=9-3", "memory=3", "vcpus=0", "color=red", "kernel=none.bin"):
        for line in (f"set a {bad}", f"create new a {bad}"):
            assert re.match(rf"error: vm \w+.*\b{bad.split('=')[0]}\b", vireo.shell(line)), line
    assert "new" not in states(vireo), "a definition with a bad setting was kept"


def test_listings(vireo):
    start(vireo, "a", "spin")
    wait_for_lines(vireo, "a", 5)
    keys = {
        "list": "id name state vcpus memory_mib cpu_ms exits",
        "vcpus": "vm vcpu state cpu cpu_ms exits interrupts",
        "cpus": "cpu apic_id runs busy_ms idle_ms nmis strays spurious mces",
        "sched": "vm weight cap cpus cpu_ms",
        "stat a": "reason count mean_ticks max_ticks",
        "top 1": "vm state cpu_percent exits_s interrupts_s memory_mib reasons_s",
    }
    answers = {line: vireo.shell_json(line) for line in keys}
    for line, rows in answers.items():
        assert rows, line
        assert all(list(row) == keys[line].split() for row in rows), line
        table = vireo.shell(line)
        assert all(re.search(rf"\b{key.upper()}\b", table) for key in keys[line].split()), line
    check_vms(answers["list"], answers["vcpus"], answers["sched"])
    check_cpus(answers["cpus"])
    check_stat(answers["stat a"])
    top = {row["vm"]: row for row in answers["top 1"]}
    assert top.keys() == {"a", "spin"}
    assert 0 <= top["a"]["cpu_percent"] < 50 < top["spin"]["cpu_percent"] <= 201
    assert top["a"]["exits_s"] > 100 and top["a"]["reasons_s"]
    check_memory(vireo.shell_json("mem"))
    assert re.fullmatch(r"total_bytes: \d+\nfree_bytes: \d+\nguest_bytes: \d+\n", vireo.shell("mem"))
    before = next(row for row in answers["list"] if row["name"] == "a")
    destroy(vireo, "a")
    after = next(row for row in vireo.shell_json("list") if row["name"] == "a")
    assert after["exits"] >= before["exits"] and after["cpu_ms"] >= before["cpu_ms"], "of a VM that has ended"


def check_vms(vms, vcpus, sched):
    by_name = {row["name"]: row for row in vms}
    assert list(by_name)[:5] == [*VMS, "triple"] and len({row["id"] for row in vms}) == len(vms)
    assert by_name["a"]["state"] == by_name["spin"]["state"] == "running" and by_name["b"]["state"] == "shut off"
    assert by_name["spin"]["vcpus"] == 2 and all(row["memory_mib"] == 4 for row in vms)
    assert by_name["a"]["exits"] > 5 and by_name["spin"]["cpu_ms"] > 0
    assert [(row["vm"], row["vcpu"]) for row in vcpus] == [("a", 0), ("spin", 0), ("spin", 1)]
    assert all(row["state"] in ("running", "waiting") and row["cpu"] in (0, 1) for row in vcpus if row["vm"] == "spin")
    assert vcpus[0]["state"] in ("halted", "running", "waiting") and vcpus[0]["interrupts"] > 0
    assert all((row["weight"], row["cap"], row["cpus"]) == (256, 0, "all") for row in sched)


def check_cpus(cpus):
    assert [row["cpu"] for row in cpus] == [0, 1] and len({row["apic_id"] for row in cpus}) == 2
    assert all(re.fullmatch(r"-|a/0|spin/[01]", row["runs"]) for row in cpus)
    assert all(row["busy_ms"] > 0 for row in cpus)
    ages = [row["busy_ms"] + row["idle_ms"] for row in cpus]
    assert abs(ages[0] - ages[1]) < 1000, "they have been there for the same time, but for the start"


def check_stat(stat):
    counts = {row["reason"]: row["count"] for row in stat}
    assert counts["I/O instruction"] > counts["HLT"] > 0
    assert all(0 < row["mean_ticks"] <= row["max_ticks"] for row in stat)


def check_memory(mem):
    assert list(mem) == ["total_bytes", "free_bytes", "guest_bytes"]
    assert mem["total_bytes"] < 512 << 20 and mem["guest_bytes"] == 8 << 20
    assert 0 < mem["free_bytes"] < mem["total_bytes"] - mem["guest_bytes"]
    assert mem["free_bytes"] % 4096 == 0


def test_registers(vireo):
    """Of a vCPU that runs, one in HLT, one that is paused."""
    start(vireo, "spin", "a")
    wait_for_lines(vireo, "a", 2)
    names = "vm vcpu rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15 rip rflags cr0 cr3 cr4 efer es cs ss ds" \
            " fs gs ldtr tr"
    running = vireo.shell_json("regs spin")
    assert list(running) == names.split() and (running["vm"], running["vcpu"]) == ("spin", 0)
    assert 0x7c00 <= int(running["rip"], 16) < 0x7c40 and int(running["cr0"], 16) & 1
    second = vireo.shell_json("regs spin 1")
    assert second["vcpu"] == 1 and second["cs"] == "0x800" and int(second["rip"], 16) <= 2
    assert vireo.shell("regs spin 2") == "error: found vCPU '2', expected 0 to 1\n"
    assert vireo.shell("regs spin one") == "error: found vCPU 'one', expected 0 to 1\n"
    halted = vireo.shell_json("regs a")
    assert halted["cs"] == "0x8" and 0x7000 - 64 <= int(halted["rsp"], 16) <= 0x7000
    vireo.shell("pause a")
    wait_for_states(vireo, a="paused")
    assert [row["state"] for row in vireo.shell_json("vcpus a")] == ["paused"]
    paused = vireo.shell_json("regs a")
    assert paused["cs"] == "0x8" and paused == vireo.shell_json("regs a"), "a paused vCPU's registers change"
    assert re.search(r"^rip: 0x7c[0-9a-f]{2}$", vireo.shell("regs a"), re.M)


# --- the line -----------------------------------------------------------------------------------------------------


def answer(vireo):
    vireo.expect(machine.SHELL_PROMPT)
    return vireo.serial.before


def test_line_editing(vireo):
    vireo.shell("sched")
    vireo.shell("mem")
    vireo.send(UP + "\r")
    assert "total_bytes" in answer(vireo)
    vireo.send(UP + UP + "\r")
    assert "scheduler: " in answer(vireo)
    vireo.send("em" + CTRL_A + "m" + CTRL_E + "x" + BACKSPACE + "\r")
    assert "total_bytes" in answer(vireo)
    vireo.send("nonsense" + CTRL_U + "mem\r")
    assert "total_bytes" in answer(vireo)
    vireo.send("nonsense" + CTRL_C)
    assert answer(vireo).endswith("^C\r")
    vireo.send("mx\x1b[Dem\x1b[C" + BACKSPACE + "\r")  # arrow to the left, to the right
    assert "total_bytes" in answer(vireo)


def test_completion(vireo):
    vireo.send("unde" + TAB + "no" + TAB + "such\r")
    assert "there is no vm nosuch" in answer(vireo)
    vireo.send("start sp" + TAB)
    vireo.expect("start spin ")
    vireo.send("\r")
    answer(vireo)
    wait_for_states(vireo, spin="running")
    vireo.send("re" + TAB)  # several begin so
    vireo.expect(r"\nreset  resume[^\n]*\r\nvireo> re")
    vireo.send("gs spin\r")
    assert "rip: 0x" in answer(vireo)
    vireo.send("help tra" + TAB + "\r")
    assert "start|stop|clear|dump" in answer(vireo)


def test_log_lines_spare_the_typed_line(vireo):
    start(vireo, "a")
    vireo.shell("set background=show")
    vireo.send("li")
    for _ in range(3):
        vireo.expect(r"\[ *\d+\.\d+\] a\| A \d+\r\n\r\x1b\[K\rvireo> li")
    vireo.send("st")
    vireo.expect(r"a\| A \d+\r\n\r\x1b\[K\rvireo> list")
    vireo.send(" --json\r")
    assert '"name":"triple"' in answer(vireo)
    assert states(vireo)["a"] == "running"
    vireo.shell("set background=hide")


def test_top(vireo):
    start(vireo, "a", "b")
    vireo.send("top\r")
    for _ in range(2):
        vireo.expect(r"\x1b\[H\x1b\[Jtop: 2 VMs, 2 CPUs; q ends\r\nVM +STATE +CPU_PERCENT.*?\r\na .*?\r\nb .*?\r\n")
    vireo.send("q")
    vireo.expect(machine.SHELL_PROMPT)
    vireo.send("top\r")
    vireo.expect("top: 2 VMs")
    vireo.send(CTRL_C)
    vireo.expect(machine.SHELL_PROMPT)
    assert vireo.shell("top 2").count("top: 2 VMs") == 2
    vireo.send("top 2 --json\r")
    looks = [json.loads(row) for row in answer(vireo).split("\r\n")[1:] if row.startswith("[{")]
    assert [[row["vm"] for row in look] for look in looks] == [["a", "b"]] * 2


# --- what was said ------------------------------------------------------------------------------------------------


def test_last_words(vireo):
    words = "guest triple: now an exception without an IDT"
    vireo.shell("start triple")
    wait_for_states(vireo, triple="crashed")
    assert words in vireo.shell("log triple")
    vireo.send("console triple\r")
    vireo.expect(r"console: vm triple, shut off \(Ctrl-\]")
    vireo.expect(words)
    vireo.to_shell()
    assert re.search(r"vm triple: killed: vCPU 0: triple fault", vireo.shell("dmesg"))
    assert vireo.to_guest() == "triple"
    vireo.expect(words)
    vireo.send("lost on the dead")
    vireo.to_shell()
    vireo.shell("create fresh b")
    assert vireo.shell("log fresh") == "\n", "one that never ran has said nothing"


def test_dmesg(vireo):
    start(vireo, "b")
    said = vireo.shell("dmesg", DUMP_SECONDS).splitlines()
    assert all(machine.LOG_LINE.match(line) for line in said)
    stamps = [float(line[1:9]) for line in said]
    assert len(said) > 10 and stamps == sorted(stamps)
    assert any("vm b: created in" in line for line in said)


def test_scrollback(vireo):
    """`log` has the last 8 KiB, and who is given the console shows what was not shown before."""
    start(vireo, "fast")
    said = ""
    for _ in range(1000):
        said = vireo.shell("log fast", DUMP_SECONDS)
        if len(said) >= SCROLLBACK:
            break
    assert SCROLLBACK <= len(said) <= SCROLLBACK + 1024  # a moving target: it goes on speaking
    told = numbers(said[said.index("\n"):], "F")[:-1]  # the last line may be cut in the middle of its number
    assert told == list(range(told[0], told[-1] + 1)) and told[0] > 1
    destroy(vireo, "fast")
    assert max(numbers(vireo.shell("log fast"), "F")) >= told[-1], "its words are gone with it"
    vireo.shell("create fresh a")
    start(vireo, "fresh")
    early = numbers(wait_for_lines(vireo, "fresh", 5), "A")[-1]
    vireo.send("console fresh\r")
    vireo.expect(r"console: vm fresh [^\n]*\n(A \d+\n)+")
    shown = numbers(vireo.serial.match[0], "A")
    vireo.to_shell()
    assert shown[0] <= early, "what it said before is not shown"


# --- the console --------------------------------------------------------------------------------------------------

CUT = r"(?:\r\n\[[^\n]*\n)*"  # Vireo's lines, which come between any two bytes of the guest that has the console
CONSOLE_EVENT = re.compile(r"\[ *\d+\.\d{3}\] ([^\n]*)\n")
SWITCH = re.compile(r"console: vm (\w+) |console: Vireo's shell;")


def spoken(text, mine):
    """What each of the VMs in `mine` has said, raw while it had the console or as lines "name| ..." while not; blanks
    and line ends left out, since lines are cut where the console changes hands."""
    said, focus, at = dict.fromkeys(mine, ""), None, 0
    for event in itertools.chain(CONSOLE_EVENT.finditer(text), [None]):
        raw = text[at:event.start() if event else len(text)]
        if focus:
            said[focus] += raw
        if not event:
            return {name: re.sub(r"\s", "", words) for name, words in said.items()}
        at = event.end()
        switch, line = SWITCH.match(event[1]), re.match(r"(\w+)\| (.*)", event[1])
        if switch:
            focus = switch[1]
        elif line and line[1] in said:
            said[line[1]] += line[2]


def check_complete(words, letter, heard):
    """The teller's numbers from 1 on without a gap, and it heard exactly these bytes."""
    assert "".join(re.findall(rf"{letter}hears(.)", words)) == heard
    words = re.sub(rf"{letter}hears.", "", words)
    last = int(re.findall(rf"{letter}(\d+)", words)[-2])
    expected = "".join(f"{letter}{n}" for n in range(1, last + 1))
    assert words.startswith(expected)


def test_two_guests_share_the_console(vireo):
    """Each one's output is complete and in order whoever has the console, and only that one hears what is typed."""
    vireo.shell("set background=show")
    mark = len(vireo.output())
    start(vireo, "a", "b")
    for name, typed in (("a", "x"), ("b", "y"), ("a", "z"), ("b", "uv")):
        vireo.send(f"console {name}\r")
        vireo.expect(rf"console: vm {name} ")
        for byte in typed:
            vireo.send(byte)
            vireo.expect(CUT.join(f"{name.upper()} hears {byte}"))
        for _ in range(5):
            vireo.expect(rf"\d{CUT}\n")
        vireo.to_shell()
    vireo.send("console a\r")
    vireo.expect("console: vm a ")
    vireo.to_shell()
    assert vireo.to_guest() == "a"
    vireo.to_shell()
    vireo.shell("set background=hide")
    said = spoken(vireo.output()[mark:], ["a", "b"])
    check_complete(said["a"], "A", "xz")
    check_complete(said["b"], "B", "yuv")


# --- trace --------------------------------------------------------------------------------------------------------


def test_trace(vireo):
    assert vireo.shell("trace clear") == ""
    assert vireo.shell("trace start") == ""
    start(vireo, "a", "spin")
    wait_for_lines(vireo, "a", 5)
    assert vireo.shell("trace stop") == ""
    dump = vireo.shell("trace dump", DUMP_SECONDS)
    assert re.search(r"^T# trace 1 tsc_hz \d+ cpus 2$", dump, re.M) and re.search(r"^T# end lost 0$", dump, re.M)
    assert check_picture(vireo)
    vireo.shell("trace clear")
    assert not re.search(r"^T \d", vireo.shell("trace dump"), re.M), "`clear` has left records"


def check_picture(vireo):
    vireo.output()
    made = subprocess.run([sys.executable, ROOT / "tests" / "trace2json.py", vireo.log_path], check=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert made.stderr == ""
    events = json.loads(made.stdout)["traceEvents"]
    processes = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    tracks = {(processes[e["pid"]], e["args"]["name"]) for e in events if e["name"] == "thread_name"}
    assert {("CPUs", "CPU 0"), ("CPUs", "CPU 1"), ("VM a", "vCPU 0"), ("VM spin", "vCPU 0"), ("VM spin", "vCPU 1")} <= tracks
    names = {(processes[e["pid"]], e["name"]) for e in events if e["ph"] == "X"}
    assert {("CPUs", "a/0"), ("CPUs", "spin/0"), ("CPUs", "spin/1")} <= names
    assert {("VM a", "guest"), ("VM a", "HLT"), ("VM a", "I/O instruction"), ("VM spin", "guest")} <= names
    return events
