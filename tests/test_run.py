"""`make run`'s terminal handling, driven through a pseudo-terminal against a stand-in for Bochs."""
# SPDX-License-Identifier: MIT
import os
import pathlib
import re
import signal
import subprocess
import sys

import pexpect
import pytest

pytestmark = pytest.mark.xdist_group("run")  # by one worker: each run writes the same build/boot-logs/run.log

TESTS = pathlib.Path(__file__).resolve().parent

# Connects to the port that bochsrc names for COM1, says what firmware, Vireo and a guest say, and echoes bytes in hex.
FAKE_BOCHS = f"""#!{sys.executable}
import os, re, signal, socket, time
mode = os.environ["FAKE"]
if mode == "broken":
    raise SystemExit("no such ROM")
port = int(re.search(r"dev=127.0.0.1:([0-9]+)", open("bochsrc").read())[1])
com1 = socket.create_connection(("127.0.0.1", port))
com1.sendall(b"\\x1b[2Jfirmware noise\\r\\n")
if mode == "slow":
    signal.pause()
if mode == "waits":
    open(os.environ["GO"]).read()  # until the test has opened this FIFO, too
if mode == "talks":
    for piece in (b"Vireo\\r\\nvireo: core entered\\r\\n", *2 * [b"a kernel's line\\r\\n" * 400]):
        com1.sendall(piece)
        time.sleep(0.1)  # so that pieces are mostly read one by one; nobody waits for it
    signal.pause()
for piece in (b"more noise\\r\\nVi", b"reo\\r\\nvireo: hello\\r\\n", b"vireo-init: up\\r\\n~ # "):
    com1.sendall(piece)
    time.sleep(0.1)
while data := com1.recv(100):
    if data == b"q":
        com1.sendall(b"vireo: all guests have ended\\r\\nlast line\\r\\n")
        signal.pause()
    if data == b"h":
        com1.sendall(b"vireo: no guest could be started\\r\\nvireo: the machine is halted\\r\\n")
    if data == b"p":
        com1.sendall(b"[   1.000] PANIC\\r\\n[   1.001] stopped; the machine must be reset\\r\\n")
    if data == b"d":
        raise SystemExit("died")
    com1.sendall(data.hex(" ").encode() + b"\\r\\n")
"""


@pytest.fixture
def environment(tmp_path):
    fake = tmp_path / "bochs"
    fake.write_text(FAKE_BOCHS)
    fake.chmod(0o755)
    (tmp_path / "disk.img").write_bytes(bytes(512))
    return {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "FAKE": "", "GO": f"{tmp_path}/go", "COLUMNS": "80"}


def run_command(tmp_path):
    return f"{sys.executable} {TESTS}/run.py --backend bochs {tmp_path}/disk.img"


@pytest.fixture
def session(tmp_path, environment):
    """Starts run.py under a shell that prints the terminal's settings before and after, and its status."""
    script = f"echo before $(stty -g); {run_command(tmp_path)}; echo status $?; echo after $(stty -g)"
    spawned = []

    def start(fake=""):
        child = pexpect.spawn("bash", ["-c", script], env={**environment, "FAKE": fake}, encoding="utf-8", timeout=20)
        spawned.append(child)
        child.expect(r"before (\S+)\r\n")
        child.before_settings = child.match[1]
        return child

    yield start
    for child in spawned:
        child.close(True)


def expect_left(child, status):
    child.expect(r"status (\d+)\r\n")
    assert int(child.match[1]) == status
    child.expect(r"after (\S+)\r\n")
    assert child.match[1] == child.before_settings, "the terminal was not put back"


def test_shows_vireo_and_guest_but_not_firmware(session, environment):
    os.mkfifo(environment["GO"])
    child = session("waits")
    child.expect("firmware is starting")
    pathlib.Path(environment["GO"]).write_text("")
    child.expect("Vireo\r\nvireo: hello\r\nvireo-init: up\r\n~ # ")
    assert "noise" not in child.before
    child.send("\x01x")
    expect_left(child, 0)


def test_knows_where_it_is_behind_much_output(session):
    child = session("talks")
    child.expect(r"(the guest is starting|files are being read) \(Ctrl-A x leaves\)")
    assert child.match[1] == "the guest is starting"
    child.send("\x01x")
    expect_left(child, 0)


def test_keys_reach_the_guest_as_they_are(session):
    child = session()
    child.expect("~ # ")
    child.send("\x03")
    child.expect("03\r\n")
    child.send("\x01\x01")
    child.expect("01\r\n")
    child.send("\x01h")
    child.expect("Ctrl-A x")
    child.send("a\x01xb")
    expect_left(child, 0)


def test_leaves_when_all_guests_have_ended(session):
    child = session()
    child.expect("~ # ")
    child.send("q")
    child.expect("last line")
    child.expect("run: all guests have ended")
    expect_left(child, 0)


def test_leaves_when_vireo_halts(session):
    child = session()
    child.expect("~ # ")
    child.send("h")
    child.expect("run: Vireo halted the machine; its message is above")
    expect_left(child, 1)


def test_leaves_when_vireo_panics(session):
    child = session()
    child.expect("~ # ")
    child.send("p")
    child.expect("run: Vireo panicked; its report is above")
    expect_left(child, 1)


def test_machine_dies(session):
    child = session()
    child.expect("~ # ")
    child.send("d")
    child.expect("run: the machine stopped; its log is ")
    expect_left(child, 1)


@pytest.mark.parametrize("fake", ["", "slow"], ids=["in the guest", "in firmware"])
def test_leaves_by_signal(session, tmp_path, fake):
    child = session(fake)
    child.expect("firmware is starting" if fake else "~ # ")
    pid = subprocess.check_output(["pgrep", "-f", f"^{re.escape(run_command(tmp_path))}"], text=True)
    os.kill(int(pid), signal.SIGTERM)
    expect_left(child, 128 + signal.SIGTERM)


def test_keys_do_not_reach_firmware(session):
    child = session("slow")
    child.expect("firmware is starting")
    child.send("abc\x01x")
    expect_left(child, 0)


def test_emulator_does_not_start(session):
    child = session("broken")
    child.expect("no such ROM")
    expect_left(child, 1)


def test_without_a_terminal_it_copies(tmp_path, environment):
    done = subprocess.Popen(run_command(tmp_path).split(), env=environment, stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True)
    out = ""
    while "~ # " not in out:
        piece = os.read(done.stdout.fileno(), 4096).decode()
        assert piece, "run.py ended before the guest spoke"
        out += piece
    rest, _ = done.communicate("q", timeout=20)
    out = out.replace("\r\n", "\n") + rest
    assert done.returncode == 0
    assert "Vireo\nvireo: hello\n" in out and "\x1b[K" not in out
    assert "run: all guests have ended" in out
