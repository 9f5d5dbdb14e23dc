"""What tests of virtual networks share: Linux guests in one machine, each with cards of the networks that the test
names, and commands typed at one guest's console or another's."""
# SPDX-License-Identifier: MIT
import itertools
import re

import rack
from conftest import LINUX, LINUX_CONF

BOOT_SECONDS = 900  # of the machine's clock
COMMAND_SECONDS = 300
WARNING = 4  # dmesg's levels up to this one are complaints


def guest_section(name, nets, vcpus=1, memory="96M", more=""):
    """make run's guest under another name; `nets` are the values of its lines `net`."""
    conf = LINUX_CONF.replace("[vm linux]", f"[vm {name}]").replace("vcpus = 1", f"vcpus = {vcpus}")
    conf = conf.replace("memory = 256M", f"memory = {memory}")
    return conf + "autostart = off\n" + "".join(f"net = {net}\n" for net in nets) + more


class Lan:
    """Guests by their names: the first one has 10.0.0.1, and so on."""

    PORT = 5000  # of streams

    def __init__(self, boot, make_image, guests, cpus=2, **options):
        """guests: name -> value of its line `net`, or a list of such. All are started, and have an address."""
        self.names = list(guests)
        nets = {name: [net] if isinstance(net, str) else net for name, net in guests.items()}
        conf = "[hypervisor]\nbackground = hide\n" + "".join(guest_section(n, nets[n], **options) for n in self.names)
        self.machine = boot(make_image(conf, LINUX), cpus=cpus, memory=256 + 160 * len(guests),
                            timeout=COMMAND_SECONDS)
        self.at = None  # whose console it is; None: Vireo's shell
        self._numbers = itertools.count(1000)
        rack.wait_for_prompt(self.machine)
        self.free_bytes = rack.free_bytes(self.machine)  # before the first start
        self.start(*self.names)

    def start(self, *names):
        self.shell_prompt()
        rack.start(self.machine, *names)
        for name in names:
            self.wait_until_up(name)

    def destroy(self, *names):
        self.shell_prompt()
        rack.destroy(self.machine, *names)

    def address(self, name):
        return f"10.0.0.{self.names.index(name) + 1}"

    def wait_until_up(self, name):
        """After its start: until its shell answers, with its first card's address given."""
        self._look_at(name)
        self.machine.expect("vireo-init: up", BOOT_SECONDS)
        self.machine.expect("~ # ", BOOT_SECONDS)  # what is typed before is lost
        self._answer()
        self.on(name, f"ip addr add {self.address(name)}/24 dev eth0 && ip link set eth0 up")

    def _look_at(self, name):
        if self.at == name:
            return
        self.shell_prompt()
        self.machine.send(f"console {name}\r")
        self.machine.expect(rf"console: vm {name} \(")
        self.at = name

    def _answer(self, timeout=None):
        """What the guest said before may be shown again: its shell is asked for a number that it has not said yet."""
        number = next(self._numbers)
        self.machine.send(f"\necho $(({number}+1))-\n")
        self.machine.expect(rf"\n{number + 1}-\r\n~ # ", timeout)

    def shell_prompt(self):
        if self.at is not None:
            self.machine.to_shell()
        self.at = None

    def on(self, name, line, timeout=None):
        """Types a line at the guest's shell; what it printed."""
        if self.at != name:
            self._look_at(name)
            self._answer(timeout)
        return self.machine.command(line, timeout=timeout)

    def shell(self, line):
        self.shell_prompt()
        return self.machine.shell(line)

    def ports(self):
        """port -> its row."""
        self.shell_prompt()
        return {row["port"]: row for row in self.machine.shell_json("ports")}

    def ping(self, name, to, count=5, more=""):
        """(how many were answered, the longest round trip in ms or None)"""
        to = self.address(to) if to in self.names else to
        said = self.on(name, f"ping -c {count} -i 0.2 -W 3 -q {more} {to}")
        times = re.search(r"= [\d.]+/[\d.]+/([\d.]+) ms", said)
        return int(re.search(r"(\d+) packets received", said)[1]), float(times[1]) if times else None

    def receive(self, name):
        """The guest waits for a stream, whose sum will be in /tmp/got. Its standard input stays open, so it is the sender
        who ends it."""
        self.on(name, "rm -f /tmp/got /tmp/open; mkfifo /tmp/open")
        self.on(name, f"(nc -l -p {self.PORT} <> /tmp/open | md5sum > /tmp/sum; mv /tmp/sum /tmp/got) &")
        self._wait_for_listener(name)

    def _wait_for_listener(self, name):
        self.on(name, f"until netstat -ltn | grep -q :{self.PORT}; do sleep 0.1; done")

    def received(self, name, timeout=None):
        """Waits for the stream's end; the sum of what came."""
        said = self.on(name, "until cat /tmp/got 2>/dev/null; do sleep 0.1; done", timeout)
        return re.search(r"^([0-9a-f]{32}) ", said, re.M)[1]

    def send(self, name, to, mib, timeout=None):
        """Random bytes to a guest that receives; their sum."""
        self.on(name, "rm -f /tmp/pipe; mkfifo /tmp/pipe")
        said = self.on(name, f"md5sum < /tmp/pipe & dd if=/dev/urandom bs=64k count={mib * 16} 2>/dev/null | "
                             f"tee /tmp/pipe | nc {self.address(to)} {self.PORT}; wait", timeout)
        return re.search(r"^([0-9a-f]{32}) ", said, re.M)[1]

    def stream_ticks(self, name, to, mib):
        """What a stream of zeroes costs Vireo: ticks of both cards' turns for each byte. nc itself would move a KiB at a
        time."""
        self.on(to, f"nc -l -p {self.PORT} -e dd of=/dev/null bs=64k 2> /dev/null &")
        self._wait_for_listener(to)
        before = self.ports()
        self.on(name, f"nc {self.address(to)} {self.PORT} -e dd if=/dev/zero bs=64k count={mib * 16} 2> /dev/null")
        self.on(to, "wait")
        after = self.ports()
        ticks = sum(after[f"{card}/0"]["turn_ticks"] - before[f"{card}/0"]["turn_ticks"] for card in (name, to))
        return ticks / (after[f"{to}/0"]["out_bytes"] - before[f"{to}/0"]["out_bytes"])

    def check_no_complaints(self, name):
        said = self.on(name, "dmesg -r | grep -iE 'virtio|eth[0-9]|net|i/o error'")
        levels = re.findall(r"^<(\d+)>", said, re.M)
        assert levels and not [level for level in levels if int(level) & 7 <= WARNING], said
