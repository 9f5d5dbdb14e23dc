"""A machine to boot a disk image on: Bochs (VT-x in software) or QEMU (firmware and drivers; VT-x where KVM nests it).

Used by the boot tests, `make run` and `make bench`. A Machine owns a scratch folder, one emulator process and one end of
a socket that is the other end of the machine's first serial port. Nothing outlives stop(), not even a killed parent's
emulator. Everything the serial port says is kept in build/boot-logs/NAME.log.
"""
# SPDX-License-Identifier: MIT
import ctypes
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pexpect
import pexpect.fdpexpect

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
LOGS = BUILD / "boot-logs"
OVMF = "/usr/share/ovmf/OVMF.fd"
VGABIOS = "/usr/share/vgabios/vgabios.bin"
TAIL_LINES = 60
MOST_WALL = 10  # times a deadline in wall time: a machine that gets no more than a tenth of a processor is stuck
KEY_HOLD_MS = 20  # a key is down so long, and as long passes before the next: slower than any handler
TICKS_PER_SECOND = 100_000_000  # of Bochs's time-stamp counter; its PIT, RTC and PM timer follow it
# MSRs that OVMF reads unguarded and Bochs lacks, for runs in which unknown ones fault: platform ID (0x17), microcode
# version (0x8b). Address, type, then high and low halves of: value at reset, reserved bits, ignored bits.
FIRMWARE_MSRS = """\
0x017 0 0 0 0 0 0xffffffff 0xffffffff
0x08b 0 0 0 0 0 0xffffffff 0xffffffff
"""
SWITCH_KEY = "\x1d"  # Ctrl-]: to Vireo's shell and back
SHELL_PROMPT = "\nvireo> "  # a genuine one: after a log line the row is erased and drawn again, without a newline before it
LOG_LINE = re.compile(r"^\[ *\d+\.\d{3}\] ")

# QEMU's names of the keys of a US keyboard, row by row: without Shift, with Shift, names where they are not the character.
KEY_ROWS = [("`1234567890-=", "~!@#$%^&*()_+", {"`": "grave_accent", "-": "minus", "=": "equal"}),
            ("qwertyuiop[]\\", "QWERTYUIOP{}|", {"[": "bracket_left", "]": "bracket_right", "\\": "backslash"}),
            ("asdfghjkl;'", 'ASDFGHJKL:"', {";": "semicolon", "'": "apostrophe"}),
            ("zxcvbnm,./", "ZXCVBNM<>?", {",": "comma", ".": "dot", "/": "slash"})]
KEYS = {" ": ["spc"], "\n": ["ret"], "\r": ["ret"], "\t": ["tab"], "\x1b": ["esc"], "\x7f": ["backspace"]}
for _plain, _shifted, _names in KEY_ROWS:
    for _key, _other in zip(_plain, _shifted):
        KEYS[_key] = [_names.get(_key, _key)]
        KEYS[_other] = ["shift", *KEYS[_key]]
for _letter in "abcdefghijklmnopqrstuvwxyz]\\":
    KEYS.setdefault(chr(ord(_letter) & 0x1f), ["ctrl", *KEYS[_letter]])


class MachineError(AssertionError):
    """What was expected did not come in time, or the machine is gone. The text ends with the last serial output."""


def missing_parts(backend):
    """Files that the backend needs and that are not there."""
    tools = {"bochs": ["bochs"], "qemu": ["qemu-system-x86_64"], "kvm": ["qemu-system-x86_64"]}[backend]
    files = [OVMF, VGABIOS] if backend == "bochs" else [OVMF]
    return [tool for tool in tools if not shutil.which(tool)] + [file for file in files if not os.path.exists(file)]


def why_no_nested_kvm():
    """None if a guest of this host's KVM would see VT-x; otherwise the reason why not."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "/dev/kvm is absent or not accessible"
    if "vmx" not in pathlib.Path("/proc/cpuinfo").read_text().split():
        return "this processor shows no VT-x (vmx)"
    nested = pathlib.Path("/sys/module/kvm_intel/parameters/nested")
    if not nested.exists() or nested.read_text().strip() not in ("Y", "1"):
        return "kvm_intel does not nest (parameter nested)"
    return None


def _die_with_parent():
    """Runs in the child: the kernel kills it when its parent is gone, however that went (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _after_echo(said, line):
    """What follows the row in which the line was typed, drawn again after a log line though it may be."""
    echo = line + "\r\n"
    return said[said.index(echo) + len(echo):] if echo in said else said.partition("\r\n")[2]


def assemble(name, image, **defines):
    """Makes the flat image of tests/guest/NAME.asm; answers its path."""
    subprocess.run(["nasm", "-f", "bin", "-Werror", f"-I{ROOT}/guests/lib/",
                    *(f"-D{key}={value}" for key, value in defines.items()), "-o", image,
                    ROOT / "tests" / "guest" / f"{name}.asm"], check=True)
    return image


class Machine:
    """One emulated machine. `with Machine("name", image) as machine:` starts and stops it."""

    def __init__(self, name, image, *, backend="bochs", cpu="corei7_skylake_x", cpus=1, memory=512,
                 ignore_bad_msrs=True, quiet=False, storage="nvme", devices=(), timeout=60, debugger=("c",)):
        """memory is in MiB. cpu, ignore_bad_msrs, quiet (no line in Bochs's log for each thing it finds odd, of which a
        guest can make millions) and debugger (commands: continue) are Bochs's, storage (nvme, usb, ata) and devices
        (further arguments) are QEMU's. timeout is what expect() waits for at most, in seconds of the machine's clock(),
        unless told otherwise."""
        self.name, self.image, self.backend = name, pathlib.Path(image), backend
        self.cpu, self.cpus, self.memory = cpu, cpus, memory
        self.ignore_bad_msrs, self.quiet, self.storage, self.timeout = ignore_bad_msrs, quiet, storage, timeout
        self.debugger, self.devices = debugger, list(devices)
        self.log_path = LOGS / f"{name}.log"
        self.emulator_log = LOGS / f"{name}.{backend}.txt"
        self.serial = None  # pexpect's view of the port
        self._process = self._socket = self._log = self._scratch = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    # --- life ---

    def start(self):
        missing = missing_parts(self.backend)
        if missing:
            raise MachineError(f"{self.backend} can't run, missing: {', '.join(missing)}; try tests/install.sh")
        LOGS.mkdir(parents=True, exist_ok=True)
        self._scratch = pathlib.Path(tempfile.mkdtemp(prefix="vireo-machine-"))
        try:
            self._start_in_scratch()
        except BaseException:
            self.stop()
            raise

    def _start_in_scratch(self):
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        command = self._bochs_command(port) if self.backend == "bochs" else self._qemu_command(port)
        self._log = open(self.log_path, "w", encoding="utf-8")
        with open(self.emulator_log, "wb") as output:
            # A session of its own: Ctrl-C at our terminal is for us, Bochs's debugger must not see it.
            self._process = subprocess.Popen(command, cwd=self._scratch, stdin=subprocess.DEVNULL, stdout=output,
                                             stderr=subprocess.STDOUT, start_new_session=True,
                                             preexec_fn=_die_with_parent)
        with listener:
            self._socket = self._accept(listener)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.serial = pexpect.fdpexpect.fdspawn(self._socket, encoding="utf-8", codec_errors="replace",
                                                timeout=self.timeout)
        self.serial.logfile_read = self._log

    def _accept(self, listener):
        listener.settimeout(0.2)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                return listener.accept()[0]
            except socket.timeout:
                continue
        raise MachineError(f"{self.backend} did not start; it says:\n" + self._last_lines(self.emulator_log))

    def stop(self):
        """Switches the machine off and clears up. May be called more than once."""
        if self._process:
            self._process.kill()
            self._process.wait()
        for thing in (self._socket, self._log):
            if thing:
                thing.close()
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)
        self._process = self._socket = self._log = self._scratch = None

    def running(self):
        return self._process is not None and self._process.poll() is None

    def clock(self):
        """Seconds, to measure deadlines by: of processor time for Bochs, which never sleeps. What else the host is busy
        with then takes nothing from a deadline. Of wall time for QEMU, which sleeps when the machine idles."""
        if self.backend != "bochs" or not self.running():
            return time.monotonic()
        fields = pathlib.Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime, stime: proc(5)

    # --- serial port ---

    # fileno(), write() and log_bytes() are for one who does without pexpect (`make run`).
    def fileno(self):
        return self._socket.fileno()

    def write(self, data):
        self._socket.sendall(data)

    def log_bytes(self, data):
        self._log.write(data.decode("utf-8", "replace"))
        self._log.flush()

    def expect(self, pattern, timeout=None):
        """Waits for a regular expression (or the first of a list) and returns the match object."""
        try:
            self._wait(pattern, timeout)
        except (pexpect.EOF, OSError):
            raise self._error(f"the machine stopped while waiting for {pattern!r}") from None
        return self.serial.match

    def _wait(self, pattern, timeout):
        """Until the pattern comes or the deadline has passed on clock(). pexpect measures wall time: as long as the clock
        is behind, it is told to wait on for the rest."""
        seconds = self.timeout if timeout is None else timeout
        deadline, latest = self.clock() + seconds, time.monotonic() + MOST_WALL * seconds
        rest = seconds
        while True:
            try:
                self.serial.expect(pattern, timeout=rest)
                return
            except pexpect.TIMEOUT:
                rest = min(deadline - self.clock(), latest - time.monotonic())
                if rest <= 0:
                    raise self._error(f"waited {seconds} s for {pattern!r}") from None

    def send(self, text):
        self.serial.send(text)

    def command(self, line, prompt="~ # ", timeout=None):
        """Types a line at the guest's shell, waits for its prompt, returns what was printed in between."""
        self.serial.send(line + "\n")
        self.expect(r"\r\n", timeout)  # the echo of the line
        self.expect(prompt, timeout)
        return self.serial.before.replace("\r\n", "\n")

    # --- Vireo's shell (docs/shell.md) ---

    def to_shell(self, timeout=None):
        """From a guest to the shell."""
        self.serial.send(SWITCH_KEY)
        self.expect("console: Vireo's shell;", timeout)
        self.expect(SHELL_PROMPT, timeout)

    def to_guest(self, timeout=None):
        """From the shell back to the guest that had the console before it; answers the VM's name."""
        self.serial.send(SWITCH_KEY)
        return self.expect(r"console: vm (\S+?)(, shut off|, paused)? \(Ctrl-\][^\n]*\n", timeout)[1]

    def shell(self, line, timeout=None):
        """Types a line at the shell's prompt and returns what was printed until the next prompt, log lines included."""
        self.serial.send(line + "\r")
        self.expect(SHELL_PROMPT, timeout)
        return _after_echo(self.serial.before + "\n", line).replace("\r\n", "\n")  # the prompt took the newline

    def shell_json(self, line, timeout=None):
        """The same with --json: the answer, parsed."""
        said = self.shell(line + " --json", timeout)
        for row in said.split("\n"):
            if row[:1] in ("[", "{") and not LOG_LINE.match(row):
                return json.loads(row)
        raise self._error(f"no JSON came from {line!r} but {said!r}")

    # ---

    def picture(self):
        """What the screen shows, as the bytes of a PPM file. QEMU only."""
        assert self.backend != "bochs", "Bochs shows its screen to a VNC client only"
        path = self._scratch / "screen.ppm"
        self._qmp({"execute": "screendump", "arguments": {"filename": str(path)}})
        return path.read_bytes()

    def press(self, text):
        """Types a text on the machine's keyboard: printable ASCII, newline, tab, escape, delete (Backspace), and control
        characters, "\\x1d" for Ctrl-]. QEMU only; the keys are pressed while the machine runs on."""
        self._qmp(*(self._key_command(KEYS[character]) for character in text))

    def press_key(self, *names):
        """Presses keys together and releases them: press_key("shift", "pgup"). The names are QEMU's (QKeyCode)."""
        self._qmp(self._key_command(names))

    @staticmethod
    def _key_command(names):
        keys = [{"type": "qcode", "data": name} for name in names]
        return {"execute": "send-key", "arguments": {"keys": keys, "hold-time": KEY_HOLD_MS}}

    def monitor(self, line):
        """A line for QEMU's monitor, for what only that can do."""
        self._qmp({"execute": "human-monitor-command", "arguments": {"command-line": line}})

    def _qmp(self, *commands):
        """Tells QEMU's monitor. It has one visitor at a time, so nobody stays connected."""
        with socket.socket(socket.AF_UNIX) as qmp:
            qmp.settimeout(30)
            qmp.connect(str(self._scratch / "qmp"))
            stream = qmp.makefile("rw", encoding="utf-8")
            for command in ({"execute": "qmp_capabilities"}, *commands):
                stream.write(json.dumps(command) + "\n")
                stream.flush()
                while "return" not in (answer := json.loads(stream.readline())):  # greeting and events come between
                    assert "error" not in answer, answer

    def output(self):
        """All that the serial port has said so far."""
        self._log.flush()
        return self.log_path.read_text(errors="replace")

    def _error(self, what):
        if self._log:
            self._log.flush()
        return MachineError(f"{self.name}: {what}\n--- last {TAIL_LINES} lines of {self.log_path} ---\n"
                            + self._last_lines(self.log_path))

    @staticmethod
    def _last_lines(path):
        return "\n".join(path.read_text(errors="replace").splitlines()[-TAIL_LINES:])

    # --- what to run ---

    def _bochs_command(self, port):
        # A copy of its own: Bochs locks the image it uses and writes to it.
        subprocess.run(["cp", "--sparse=always", self.image, self._scratch / "disk.img"], check=True)
        (self._scratch / "rc").write_text("".join(f"{line}\n" for line in self.debugger))  # Debian's has it built in
        strict = "" if self.ignore_bad_msrs else ', ignore_bad_msrs=0, msrs="msrs.def"'
        (self._scratch / "msrs.def").write_text(FIRMWARE_MSRS)
        (self._scratch / "bochsrc").write_text(f"""\
config_interface: textconfig
display_library: rfb, options="timeout=0"
cpu: model={self.cpu}, count={self.cpus}, ips={TICKS_PER_SECOND}, reset_on_triple_fault=0{strict}
memory: guest={self.memory}, host={min(self.memory, 2048)}
romimage: file={OVMF}
vgaromimage: file={VGABIOS}
pci: enabled=1, chipset=i440fx
ata0-master: type=disk, path=disk.img, mode=flat
boot: disk
com1: enabled=1, mode=socket-client, dev=127.0.0.1:{port}
clock: sync=none, time0=1700000000
log: {self.emulator_log}.log
panic: action=report
error: action={"ignore" if self.quiet else "report"}
info: action=ignore
debug: action=ignore
""")
        return ["bochs", "-q", "-f", "bochsrc", "-rc", "rc"]

    def _qemu_command(self, port):
        accelerator = ["-accel", "kvm", "-cpu", "host"] if self.backend == "kvm" else ["-accel", "tcg", "-cpu", "max"]
        devices = {"nvme": ["-device", "nvme,drive=disk,serial=vireo"],
                   "usb": ["-device", "qemu-xhci", "-device", "usb-storage,drive=disk"],
                   "ata": ["-device", "ide-hd,drive=disk"]}[self.storage]
        return ["qemu-system-x86_64", "-M", "q35", *accelerator, "-smp", str(self.cpus), "-m", str(self.memory),
                "-bios", OVMF, "-display", "none", "-monitor", "none", "-nic", "none", "-nodefaults", "-vga", "std",
                "-qmp", "unix:qmp,server=on,wait=off",
                "-drive", f"file={self.image},if=none,id=disk,format=raw,snapshot=on", *devices, *self.devices,
                "-chardev", f"socket,id=com1,host=127.0.0.1,port={port}", "-serial", "chardev:com1"]
