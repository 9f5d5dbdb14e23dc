"""`make run`: starts a machine from a disk image and connects this terminal to its serial port.

Shows one progress line until Vireo itself speaks, and again while a guest is silent at its start. Ctrl-A x leaves, as in
QEMU; it leaves by itself when all guests have ended or the machine stops. Whatever happens the terminal is put back.
"""
# SPDX-License-Identifier: MIT
import argparse
import os
import re
import select
import signal
import subprocess
import sys
import termios
import time
import tty

import machine

ESCAPE = 0x01  # Ctrl-A
HELP = "\r\n  Ctrl-A x      leave and switch the machine off\r\n  Ctrl-A h      this help\r\n" \
       "  Ctrl-A Ctrl-A  send one Ctrl-A to the guest\r\n"
FIRST_WORD = re.compile(rb"\bVireo\b")  # firmware's own text before it is noise
CORE_SPEAKS = b"vireo: core entered"
# Vireo's last words: with them the session is over, and what its exit status is.
LAST_WORDS = {
    b"vireo: all guests have ended": (0, "all guests have ended"),
    b"vireo: no guest can run": (1, "this machine can't run guests; Vireo's message is above"),
    b"vireo: no guest could be started": (1, "no guest could be started; Vireo's messages are above"),
    b"vireo: the machine is halted": (1, "Vireo halted the machine; its message is above"),
    b"] stopped; the machine must be reset": (1, "Vireo panicked; its report is above"),
}
GUEST_SPEAKS = re.compile(rb"vireo-init: up|login:|[#$] $")
QUIET_SECONDS = 0.7  # silence after which the progress line comes back


class Leave(Exception):
    """The user, a signal or the machine ended the session. Carries the exit status and a line for the user."""

    def __init__(self, status, why):
        super().__init__(why)
        self.status = status


class Terminal:
    """Standard input and output: raw while in use if they are a terminal, and as they were found afterwards."""

    def __init__(self):
        self.is_terminal = os.isatty(0) and os.isatty(1)
        self._saved = None

    def __enter__(self):
        if self.is_terminal:
            self._saved = termios.tcgetattr(0)
            tty.setraw(0)
        return self

    def __exit__(self, *_):
        if self._saved:
            os.write(1, b"\x1b[0m\x1b[?25h\x1b[?7h")  # colours, cursor and line wrap, in case the guest changed them
            termios.tcsetattr(0, termios.TCSAFLUSH, self._saved)
            self._saved = None

    @staticmethod
    def write(data):
        while data:
            data = data[os.write(1, data):]


class Progress:
    """A line that says what is going on while nothing else is to be seen. On a terminal only."""

    def __init__(self, terminal):
        self._terminal, self._start, self._shown = terminal, time.monotonic(), None

    def seconds(self):
        return int(time.monotonic() - self._start)

    def show(self, stage):
        line = f"[{self.seconds():3d} s] {stage} (Ctrl-A x leaves)"
        if self._terminal.is_terminal and line != self._shown:
            self._terminal.write(f"\r\x1b[K{line}".encode())
            self._shown = line

    def erase(self):
        if self._shown:
            self._terminal.write(b"\r\x1b[K")
            self._shown = None


class Session:
    """Copies between the terminal and one machine until somebody leaves."""

    def __init__(self, booted, terminal):
        self.machine, self.terminal, self.progress = booted, terminal, Progress(terminal)
        self.vireo_up = self.core_up = self.guest_up = self.escaped = self.last_words = None  # (exit status, text) once Vireo has said them
        self.recent = b""  # the latest output: patterns may be cut by the reads
        self.line_open = False  # the cursor is in the middle of a line

    def run(self):
        inputs = [0, self.machine.fileno()]
        while True:
            ready = select.select(inputs, [], [], QUIET_SECONDS)[0]
            if not ready:
                self._idle()
            if self.machine.fileno() in ready:
                self._from_machine()
            if 0 in ready and not self._from_user():
                inputs.remove(0)

    def _idle(self):
        if self.last_words:
            raise Leave(*self.last_words)
        if not self.vireo_up:
            self.progress.show("firmware is starting")
        elif not self.guest_up and not self.line_open:
            self.progress.show("the guest is starting" if self.core_up else "files are being read")

    def _from_machine(self):
        data = os.read(self.machine.fileno(), 65536)
        if not data:
            if self.last_words:
                raise Leave(*self.last_words)
            raise Leave(1, f"the machine stopped; its log is {self.machine.emulator_log}")
        self.machine.log_bytes(data)
        self.recent = (self.recent + data)[-4096 - len(data):]
        if not self.vireo_up:
            data = self._wait_for_vireo()
        if data:
            self.progress.erase()
            self.terminal.write(data)
            self.line_open = not data.endswith((b"\n", b"\r"))
            self.core_up = self.core_up or CORE_SPEAKS in self.recent
            self.guest_up = self.guest_up or bool(GUEST_SPEAKS.search(self.recent))
            for words, (status, text) in LAST_WORDS.items():
                if words in self.recent:
                    self.last_words = (status, text)

    def _wait_for_vireo(self):
        """What of the output so far is to be shown: nothing, or all from Vireo's first word on."""
        found = FIRST_WORD.search(self.recent)
        if not found:
            self.progress.show("firmware starts the disk's EFI file" if b"starting Boot" in self.recent
                               else "firmware is starting")
            return b""
        self.vireo_up = True
        return self.recent[found.start():]

    def _from_user(self):
        """Reads what was typed; False when there will be no more."""
        data = os.read(0, 4096)
        if not self.terminal.is_terminal:
            self._to_machine(data)
            return bool(data)
        plain = bytearray()
        for byte in data:
            if self.escaped:
                self.escaped = False
                self._escape(byte, plain)
            elif byte == ESCAPE:
                self.escaped = True
            else:
                plain.append(byte)
        self._to_machine(bytes(plain))
        return bool(data)

    def _escape(self, byte, plain):
        if byte in b"xX":
            raise Leave(0, "machine switched off")
        if byte == ESCAPE:
            plain.append(byte)
        else:
            self.progress.erase()
            self.terminal.write(HELP.encode())

    def _to_machine(self, data):
        # Before Vireo runs, a key would take firmware into its menus.
        if data and self.vireo_up:
            self.machine.write(data)


def choose_backend(wanted):
    if wanted == "bochs":
        return "bochs", "Bochs, as asked for"
    why_not = machine.why_no_nested_kvm()
    if wanted == "kvm":
        if why_not:
            sys.exit(f"run: BACKEND=kvm: {why_not}")
        return "kvm", "QEMU with KVM, as asked for"
    return ("bochs", "Bochs, because this host offers no nested VT-x") if why_not else ("kvm", "QEMU with KVM")


def check_machine(arguments, backend):
    """What Bochs would answer with pages of its own log."""
    if not 1 <= arguments.cpus <= 8:
        sys.exit(f"run: CPUS={arguments.cpus}: expected 1 to 8")
    if not 256 <= arguments.memory <= 2048:
        sys.exit(f"run: MEMORY={arguments.memory}: expected 256 to 2048 (MiB)")
    if backend != "bochs":
        return
    listed = subprocess.run(["bochs", "--help", "cpu"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, check=False).stdout  # the list comes on stderr
    models = re.findall(r"^([a-z0-9_]+)\s", listed, re.M)
    if "corei7_skylake_x" in models and arguments.cpu not in models:
        sys.exit(f"run: CPU={arguments.cpu}: expected one of {', '.join(models)}")


def parse_arguments():
    parser = argparse.ArgumentParser(description="Starts a machine from a disk image, on this terminal.")
    parser.add_argument("image")
    parser.add_argument("--backend", choices=["auto", "bochs", "kvm"], default="auto")
    parser.add_argument("--cpu", default="corei7_skylake_x", help="Bochs's CPU model")
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--memory", type=int, default=512, help="MiB")
    return parser.parse_args()


def leave_by_signal(number, _frame):
    raise Leave(128 + number, signal.Signals(number).name)


def main():
    arguments = parse_arguments()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, leave_by_signal)
    backend, which = choose_backend(arguments.backend)
    check_machine(arguments, backend)
    print(f"run: {arguments.cpus} CPU(s), {arguments.memory} MiB on {which}; Ctrl-A x leaves, Ctrl-] is Vireo's shell", flush=True)
    booted = machine.Machine("run", arguments.image, backend=backend, cpu=arguments.cpu, cpus=arguments.cpus,
                             memory=arguments.memory)
    try:
        with booted, Terminal() as terminal:
            Session(booted, terminal).run()
    except Leave as leave:
        print(f"\nrun: {leave}", flush=True)
        return leave.status
    except machine.MachineError as error:
        print(f"\nrun: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
