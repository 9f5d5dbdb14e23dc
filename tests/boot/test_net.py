"""Linux guests on virtual networks: their own drivers judge the cards, and what they send arrives, whole, and only
where it may."""
# SPDX-License-Identifier: MIT
import hashlib
import subprocess
import sys

import pytest

import rack
from conftest import ROOT
from lan import Lan

STREAM_MIB = 2
LONG_STREAM_MIB = 64
LONG_SECONDS = 3000  # of the machine's clock for the long stream
FLOOD_MS = 100


def check_capture(lan, tmp_path, port):
    """Pings go on meanwhile; tcpdump reads what was recorded."""
    said = lan.shell(f"capture {port} 8")
    log, pcap = tmp_path / "said.log", tmp_path / "said.pcap"
    log.write_text(said)
    subprocess.run([sys.executable, ROOT / "tests" / "capture2pcap.py", log, "-o", pcap], check=True)
    shown = subprocess.run(["tcpdump", "-n", "-e", "-r", pcap], capture_output=True, text=True, check=True).stdout
    assert len(shown.splitlines()) == 8, shown
    assert "10.0.0.1 > 10.0.0.2: ICMP echo request" in shown and "10.0.0.2 > 10.0.0.1: ICMP echo reply" in shown, shown


def test_two_guests(boot, make_image, tmp_path):
    """Ping, a stream of which every byte arrives, a cable that is pulled, frames that are recorded. What a
    byte of the stream costs is tests/bench's matter."""
    lan = Lan(boot, make_image, {"a": "lan", "b": "lan"}, cpus=1)
    assert lan.ping("a", "b")[0] == 5
    rows = lan.ports()
    assert (rows["a/0"]["mac"], rows["b/0"]["mac"]) == ("52:56:00:00:01:00", "52:56:00:00:02:00")
    assert rows["a/0"]["in_packets"] >= 5 and rows["b/0"]["out_packets"] >= 5, rows
    lan.receive("b")
    assert lan.send("a", "b", STREAM_MIB) == lan.received("b")
    assert lan.ports()["b/0"]["out_bytes"] >= STREAM_MIB << 20
    lan.on("a", f"ping {lan.address('b')} > /dev/null &")
    check_capture(lan, tmp_path, "b/0")
    lan.shell("link b 0 down")
    lan.on("b", "until [ $(cat /sys/class/net/eth0/carrier) = 0 ]; do sleep 0.1; done")
    assert lan.ping("a", "b", 3)[0] == 0
    lan.shell("link b 0 up")
    lan.on("b", "until [ $(cat /sys/class/net/eth0/carrier) = 1 ]; do sleep 0.1; done")
    assert lan.ping("a", "b")[0] == 5
    for name in "ab":
        lan.check_no_complaints(name)


@pytest.mark.long
def test_long_stream(boot, make_image):
    """64 MiB between guests of two vCPUs each, with a pair of queues for each of them, both ways at once."""
    lan = Lan(boot, make_image, {"a": "lan", "b": "lan"}, vcpus=2)
    for name in "ab":
        said = lan.on(name, "ls /sys/class/net/eth0/queues")
        assert said.split() == ["rx-0", "rx-1", "tx-0", "tx-1"], said
    lan.receive("a")
    lan.receive("b")
    zeroes = f"dd if=/dev/zero bs=64k count={LONG_STREAM_MIB * 4} 2>/dev/null"
    lan.on("b", f"{zeroes} | nc {lan.address('a')} {lan.PORT} &")
    assert lan.send("a", "b", LONG_STREAM_MIB, LONG_SECONDS) == lan.received("b")
    assert lan.received("a", LONG_SECONDS) == hashlib.md5(bytes(LONG_STREAM_MIB << 18)).hexdigest()
    for name in "ab":
        lan.check_no_complaints(name)


@pytest.mark.long
def test_vlans_and_isolation(boot, make_image):
    """Who reaches whom: three ports in a VLAN, two of them isolated, and a trunk. On one CPU, where guests that wait cost
    no time on the wall."""
    guests = {"a": "lan vlan=7", "b": "lan vlan=7 isolated", "c": "lan vlan=7 isolated", "d": "lan trunk"}
    lan = Lan(boot, make_image, guests, cpus=1)
    assert [lan.ping("a", to, 3)[0] for to in "bc"] == [3, 3]
    assert [lan.ping(*who, 3)[0] for who in ("bc", "cb", "ad", "da", "db")] == [0] * 5
    lan.on("d", "/etc/vlan; ip link add link eth0 name eth0.7 type vlan id 7; ip link set eth0.7 up; "
                "ip addr add 10.0.0.70/24 dev eth0.7; ip addr del 10.0.0.4/24 dev eth0")
    assert [lan.ping("d", to, 3)[0] for to in "abc"] == [3, 3, 3]
    assert lan.ping("c", "10.0.0.70", 3)[0] == 3
    lan.on("a", "ip link set eth0 address 52:56:00:00:09:00")
    assert lan.ping("a", "b", 3)[0] == 0
    rows = lan.ports()
    assert {port: row["flags"] for port, row in rows.items()} == {"a/0": "-", "b/0": "isolated", "c/0": "isolated",
                                                                 "d/0": "trunk"}
    assert rows["d/0"]["nowhere"] > 0 and rows["a/0"]["spoofed"] > 0, rows
    assert not any(row["bad"] + row["tagged"] for row in rows.values()), rows


def echo_replies(lan, name):
    """As its kernel counts them: ping itself loses some of a flood, whose requests fill the buffer of its socket, too."""
    names, values = (line.split() for line in lan.on(name, "grep ^Icmp: /proc/net/snmp").strip().splitlines())
    return int(values[names.index("InEchoReps")])


@pytest.mark.long
def test_a_flood_is_bounded(boot, make_image):
    """One guest sends to all as fast as it can; two others still reach each other in time."""
    lan = Lan(boot, make_image, {"a": "lan", "b": "lan", "flood": "lan"})
    assert lan.ping("a", "b")[0] == 5
    lan.on("flood", "for n in 1 2 3 4; do ping -q -i 0.0001 -s 1400 10.0.0.255 > /dev/null & done")
    before, replies = lan.ports()["flood/0"]["in_packets"], echo_replies(lan, "a")
    _, longest = lan.ping("a", "b", 20)
    sent, answered = lan.ports()["flood/0"]["in_packets"] - before, echo_replies(lan, "a") - replies
    assert sent > 1000 and answered == 20 and longest < FLOOD_MS, (sent, answered, longest)


@pytest.mark.long
def test_a_guest_goes_in_the_middle(boot, make_image):
    """A VM is destroyed while a stream goes to it: the others go on, it can come back, and all memory with it."""
    lan = Lan(boot, make_image, {"a": "lan", "b": "lan"})
    lan.receive("b")
    lan.on("a", f"nc {lan.address('b')} {lan.PORT} < /dev/zero > /dev/null 2>&1 &")
    before = lan.ports()["b/0"]["out_bytes"]
    while lan.ports()["b/0"]["out_bytes"] < before + (1 << 20):
        pass
    lan.destroy("b")
    assert lan.ports()["b/0"]["link"] == "off"
    lan.on("a", "killall nc")
    assert lan.ping("a", "b", 2)[0] == 0
    lan.start("b")
    assert lan.ping("a", "b", 3)[0] == 3
    lan.check_no_complaints("a")
    lan.destroy("a", "b")
    assert rack.free_bytes(lan.machine) == lan.free_bytes
