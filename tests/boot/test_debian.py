"""A whole Debian (systemd, udev, apt) on a virtual disk: its files are there when the VM is destroyed and started again,
an overlay leaves its base alone, and the power button leads to a clean end."""
# SPDX-License-Identifier: MIT
import hashlib
import re

import pytest

import machine
from conftest import LINUX, ROOT

DEBIAN = machine.BUILD / "debian"
IMAGE, INITRD = DEBIAN / "debian.img", DEBIAN / "debian.initrd"
CONF = (ROOT / "guests" / "debian" / "vireo.conf").read_text()
BOOT_SECONDS = 1200  # of the machine's clock, for all that wait for Debian's start or end
COMMAND_SECONDS = 600
MEMORY = 768  # MiB of the machine: firmware, the disk's file, the VM
WARNING = 4  # dmesg's levels up to this one are complaints
UNCLEAN = "recovery|orphan|fsck"  # what a kernel or a check says of a file system that was not unmounted

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("debian")]


def log_in(booted):
    """From a boot to the prompt of a shell that does not edit lines."""
    booted.expect("debian login: ", BOOT_SECONDS)
    booted.send("root\n")
    booted.expect(r"root@debian:~# ")
    booted.send("PS1='~ # ' exec dash\n")
    booted.expect("\r~ # ")


def boot_debian(boot, make_image, conf=CONF):
    image = make_image("[hypervisor]\nbackground = hide\n" + conf, [LINUX[0], IMAGE, INITRD])
    booted = boot(image, memory=MEMORY, timeout=COMMAND_SECONDS)
    log_in(booted)
    return booted


def start_again(booted):
    """At Vireo's shell, the VM has ended: the same disks in a new VM."""
    booted.send("start debian\r")
    booted.expect("vm debian: created")
    booted.send("console debian\r")
    log_in(booted)


def shut_down(booted):
    """The power button: logind tells systemd, systemd ends everything, the kernel goes off. Ends at Vireo's shell."""
    booted.to_shell()
    booted.send("shutdown debian\r")
    booted.expect(machine.SHELL_PROMPT)
    booted.to_guest()
    booted.expect(r"Reached target .*Power[ -]Off", BOOT_SECONDS)
    booted.expect("reboot: Power down")
    booted.expect("vm debian: powered off")
    booted.expect(machine.SHELL_PROMPT)


def check_health(booted):
    """Every unit is up, and neither the kernel nor systemd complains of a virtual device."""
    assert booted.command("systemctl is-system-running --wait").strip() == "running"
    said = booted.command("dmesg -r | grep -iE 'virtio|vd[ab]|i/o error|ext4'")
    levels = re.findall(r"^<(\d+)>", said, re.M)
    assert levels and not [level for level in levels if int(level) & 7 <= WARNING], said
    assert re.search(r"MSI.*virtio0-req\.0", booted.command("cat /proc/interrupts"))
    assert "virtio_rng" in booted.command("cat /sys/class/misc/hw_random/rng_current")


def fill(booted):
    """Some hundred files out of /usr and some of random bytes; their sums are in a file of theirs."""
    booted.command("mkdir tree; cp -a /usr/lib/systemd /etc tree")
    booted.command("for n in 1 2 3 4; do dd if=/dev/urandom of=tree/random$n bs=64k count=16; done")
    booted.command("find tree -type f -print0 | sort -z | xargs -0 sha256sum >sums; sync")
    count, digest = booted.command("wc -l <sums; sha256sum <sums").split()[:2]
    assert int(count) > 300
    return digest


def check_files(booted, digest):
    """Read from the disk again, every byte is there."""
    booted.command("echo 3 >/proc/sys/vm/drop_caches")
    assert booted.command("sha256sum <sums").split()[0] == digest
    assert booted.command("sha256sum -c --quiet sums && echo all the same").strip() == "all the same"


def test_files_outlive_their_vm(boot, make_image):
    booted = boot_debian(boot, make_image)
    check_health(booted)
    digest = fill(booted)
    booted.to_shell()
    assert "error" not in booted.shell("destroy debian")
    start_again(booted)
    check_files(booted, digest)
    shut_down(booted)
    start_again(booted)
    assert booted.command(f"dmesg | grep -iE '{UNCLEAN}'") == "", "the power button did not lead to a clean end"
    check_files(booted, digest)
    check_health(booted)


def test_overlay_leaves_its_base(boot, make_image):
    """The same file is there twice: as the root, below an overlay, and as it is."""
    root = r"disk = \vireo\debian.img serial=root"
    assert root in CONF
    conf = CONF.replace(root, "disk = \\vireo\\debian.img overlay 64M serial=root\n"
                              "disk = \\vireo\\debian.img read-only serial=base")
    booted = boot_debian(boot, make_image, conf)
    check_files(booted, fill(booted))
    base = hashlib.sha256(IMAGE.read_bytes()).hexdigest()
    assert booted.command("sha256sum /dev/vdb").split()[0] == base, "the base has changed"
    assert booted.command("cmp -n 2048 /dev/vda /dev/vdb") != "", "the overlay's superblock is the base's"
    check_health(booted)
