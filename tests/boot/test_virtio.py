"""Linux with virtual disks: its own virtio drivers judge the devices, and what they wrote is there again."""
# SPDX-License-Identifier: MIT
import hashlib
import os
import re
import subprocess

import pytest

from conftest import LINUX, LINUX_CONF

BOOT_SECONDS = 400  # of the machine's clock
COMMAND_SECONDS = 180
WARNING = 4  # dmesg's levels up to this one are complaints
BASE_BYTES = 256 * 1024 + 512 * 3
OWN_BYTES = 16 * 1024 * 1024
DISKS = r"""
disk = memory 8M serial=scratch
disk = \vireo\base.img overlay 1M
disk = \vireo\base.img read-only serial=base
disk = \vireo\own.img
rng = on
"""
FILES = ("/m/a", "/m/lib/virtio_blk.ko", "/m/etc/inittab")


@pytest.fixture
def images(tmp_path):
    """Files for the disks that have one: random bytes, and an empty ext4."""
    base, own = tmp_path / "base.img", tmp_path / "own.img"
    base.write_bytes(os.urandom(BASE_BYTES))
    own.write_bytes(bytes(OWN_BYTES))
    subprocess.run(["/sbin/mkfs.ext4", "-q", "-b", "4096", own], check=True)
    return [base, own]


def boot_linux(boot, make_image, images, vcpus=1, more=""):
    conf = "[hypervisor]\nbackground = hide\n" + LINUX_CONF.replace("vcpus = 1", f"vcpus = {vcpus}") + DISKS + more
    booted = boot(make_image(conf, [*LINUX, *images]), cpus=min(vcpus, 2), timeout=COMMAND_SECONDS)
    booted.expect("vireo-init: up", BOOT_SECONDS)
    booted.expect("~ # ")
    return booted


def start_again(booted):
    """Destroys the VM and starts it; its disks stay."""
    booted.to_shell()
    booted.shell("destroy linux")
    booted.send("start linux\r")
    booted.expect("vm linux: created")
    booted.send("console linux\r")
    booted.expect("vireo-init: up", BOOT_SECONDS)
    booted.expect("~ # ")


def sums(booted, *files):
    """sha256 of each file, read anew."""
    booted.command("echo 3 > /proc/sys/vm/drop_caches")
    return re.findall(r"^([0-9a-f]{64}) ", booted.command("sha256sum " + " ".join(files)), re.M)


def check_no_complaints(booted):
    said = booted.command("dmesg -r | grep -iE 'virtio|vd[a-d]|blk|i/o error'")
    levels = re.findall(r"^<(\d+)>", said, re.M)
    assert levels and not [level for level in levels if int(level) & 7 <= WARNING], said


def check_disks(booted):
    """What each says that it is."""
    serials = booted.command("for d in a b c d; do cat /sys/block/vd$d/serial; echo; done")
    assert re.findall(r"^[a-z0-9]+$", serials, re.M) == ["scratch", "disk1", "base", "disk3"]
    base, own = str(BASE_BYTES // 512), str(OWN_BYTES // 512)
    said = booted.command("cat /sys/block/vd?/size /sys/block/vd?/ro").split()
    assert said == ["16384", base, base, own, "0", "0", "1", "0"]


def fill(booted):
    """Files on the ext4, found again by another mount; their sums."""
    booted.command("mkdir /m; mount -t ext4 /dev/vdd /m")
    booted.command("dd if=/dev/urandom of=/m/a bs=64k count=24; cp -r /lib /etc /m; sync")
    before = sums(booted, *FILES)
    assert len(set(before)) == len(FILES)
    booted.command("umount /m; mount -t ext4 /dev/vdd /m")
    assert sums(booted, *FILES) == before
    booted.command("umount /m")
    return before


def write_raw(booted):
    """To the disks without a file system, of which one can't be written to; their sums."""
    for disk in "abc":
        booted.command(f"dd if=/dev/urandom of=/dev/vd{disk} bs=512 seek=7 count=300 conv=notrunc,fsync")
    return sums(booted, "/dev/vda", "/dev/vdb", "/dev/vdc")


def check_listing(booted):
    """What Vireo's shell says: three clusters of 64 KiB were written to, of the disks where that is counted."""
    booted.to_shell()
    rows = [tuple(row.values()) for row in booted.shell_json("disks")]
    base, own = BASE_BYTES // 1024, OWN_BYTES // 1024
    assert rows == [("linux", "scratch", "memory", 8192, 192, 8192), ("linux", "disk1", "overlay", base, 192, 1024),
                    ("linux", "base", "read-only", base, 0, 0), ("linux", "disk3", "in place", own, 0, 0)]


def test_disks(boot, make_image, images):
    base = hashlib.sha256(images[0].read_bytes()).hexdigest()
    booted = boot_linux(boot, make_image, images)
    check_disks(booted)
    assert sums(booted, "/dev/vdb", "/dev/vdc") == [base, base]
    fill(booted)
    assert re.search(r"MSI.*virtio3-req\.0", booted.command("cat /proc/interrupts")), "no interrupt by MSI-X"
    changed = write_raw(booted)
    assert changed[1] != base and changed[2] == base, "the overlay's base was changed"
    check_no_complaints(booted)
    check_listing(booted)


@pytest.mark.long
def test_disks_outlive_their_vm(boot, make_image, images):
    booted = boot_linux(boot, make_image, images)
    files = fill(booted)
    changed = write_raw(booted)
    start_again(booted)
    assert sums(booted, "/dev/vda", "/dev/vdb", "/dev/vdc") == changed
    booted.command("mkdir /m; mount -t ext4 /dev/vdd /m")
    assert sums(booted, *FILES) == files
    check_no_complaints(booted)


def check_copies(booted, writers):
    """As many processes as vCPUs copy to and from the disk at once, each its own part."""
    jobs = " ".join(f"(dd if=/dev/urandom of=/t{n} bs=4k count=64; dd if=/t{n} of=/dev/vda bs=4k count=64 seek={n * 64} "
                    f"conv=notrunc,fsync; dd if=/dev/vda of=/u{n} bs=4k count=64 skip={n * 64} iflag=direct) &"
                    for n in range(writers))
    booted.command(f"({jobs} wait) 2>/dev/null")
    names = [f"/{kind}{n}" for n in range(writers) for kind in "tu"]
    got = sums(booted, *names)
    assert len(got) == 2 * writers and got[::2] == got[1::2] and len(set(got)) == writers


@pytest.mark.parametrize("more", [
    pytest.param("", id="kvm", marks=pytest.mark.wide),
    pytest.param("kvm = off\n", id="plain", marks=pytest.mark.long),
])
def test_queues_and_paravirtualization(boot, make_image, images, more):
    """A queue for each of two vCPUs; Linux uses what it knows of KVM, or does without."""
    booted = boot_linux(boot, make_image, images, vcpus=2, more=more)
    check_copies(booted, 2)
    said = booted.command("dmesg")
    for line in ("Hypervisor detected: KVM", "kvm-clock: Using msrs", "PV spinlocks enabled", "setup PV IPIs",
                 "setup pv remote TLB flush", "setup PV sched yield"):
        assert (line in said) == (not more), line
    assert "virtio_rng" in booted.command("cat /sys/class/misc/hw_random/rng_current")
    one, other = (booted.command("dd if=/dev/hwrng bs=32 count=1 2>/dev/null | hexdump -C") for _ in range(2))
    assert one != other and "00000020" in one, one
    assert "virtio0: 2/0/0 default/read/poll queues" in said
    assert re.search(r"^cpu0 ", booted.command("cat /proc/stat"), re.M)
    check_no_complaints(booted)
