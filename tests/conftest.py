"""What the boot tests share: images made on the spot, machines that are switched off when a test ends."""
# SPDX-License-Identifier: MIT
import pathlib
import re
import subprocess

import pytest

import machine

ROOT = machine.ROOT
LINUX = [machine.BUILD / "linux" / "vmlinuz", machine.BUILD / "linux" / "initrd"]
LINUX_CONF = (ROOT / "guests" / "linux" / "vireo.conf").read_text()


@pytest.fixture
def make_image(tmp_path):
    """make_image(conf, files, *options of boot/mkimage.sh): the path of a new disk image. conf is the text of
    vireo.conf (str or bytes), None for an image without one; files are paths or "path=NAME"."""
    made = []

    def make(conf=LINUX_CONF, files=LINUX, *options):
        image = tmp_path / f"disk{len(made)}.img"
        conf_file = "-"
        if conf is not None:
            conf_file = tmp_path / f"vireo{len(made)}.conf"
            conf_file.write_bytes(conf if isinstance(conf, bytes) else conf.encode())
        subprocess.run([ROOT / "boot" / "mkimage.sh", *options, image, conf_file, *files], check=True)
        made.append(image)
        return image

    yield make
    for image in made:
        image.unlink(missing_ok=True)


@pytest.fixture
def boot(request):
    """boot(image, **options of machine.Machine): a running machine, named after the test."""
    started = []
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{pathlib.Path(request.node.fspath).stem}.{request.node.name}").strip("-")

    def start(image, **options):
        number = f"-{len(started) + 1}" if started else ""
        started.append(machine.Machine(name + number, image, **options))
        started[-1].start()
        return started[-1]

    yield start
    for one in started:
        one.stop()


def hypervisor_section(**settings):
    """vireo.conf of `make run` with lines added under [hypervisor]."""
    lines = "".join(f"{key} = {value}\n" for key, value in settings.items())
    return f"[hypervisor]\n{lines}{LINUX_CONF}" if lines else LINUX_CONF
