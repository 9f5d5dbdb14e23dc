"""What tests of Vireo's shell share: a machine whose VMs are small and only defined (autostart = off), and questions to
the shell that are asked again until the answer is the one that is waited for."""
# SPDX-License-Identifier: MIT
import re
import subprocess

import machine
from conftest import ROOT

BOOT_SECONDS = 240
ANSWER_SECONDS = 120  # of the machine's clock
QUESTIONS = 1000
ENDED = ("shut off", "crashed", "exited", "halted", "destroyed")

SECTION = "[vm {name}]\nprotocol = flat\nmode = {mode}\nmemory = {memory}\nkernel = {kernel}\nautostart = off\nvcpus = {vcpus}\n"


def section(name, vcpus=1, memory="4M", kernel=None, mode="protected"):
    return SECTION.format(name=name, vcpus=vcpus, memory=memory, kernel=kernel or f"{name}.bin", mode=mode)


def make_image(folder, conf, files):
    (folder / "vireo.conf").write_text(conf)
    subprocess.run([ROOT / "boot" / "mkimage.sh", folder / "disk.img", folder / "vireo.conf", *files], check=True)
    return folder / "disk.img"


def wait_for_prompt(vireo):
    """After power-on of a machine that starts no guest."""
    vireo.expect("console: Vireo's shell;", BOOT_SECONDS)
    vireo.expect(machine.SHELL_PROMPT)


def states(vireo):
    return {row["name"]: row["state"] for row in vireo.shell_json("list")}


def wait_for_states(vireo, **expected):
    """Asks until each VM named is in the state (or one of the states) given."""
    for _ in range(QUESTIONS):
        now = states(vireo)
        if all(now[name] in (state if isinstance(state, tuple) else (state,)) for name, state in expected.items()):
            return
    raise AssertionError(f"expected {expected}, found {now}")


def start(vireo, *names):
    for name in names:
        assert "error" not in vireo.shell(f"start {name}")
    wait_for_states(vireo, **{name: "running" for name in names})


def destroy(vireo, *names):
    for name in names:
        assert "error" not in vireo.shell(f"destroy {name}")
    wait_for_states(vireo, **{name: "destroyed" for name in names})


def destroy_all(vireo):
    """Everything is shut off after it."""
    alive = [name for name, state in states(vireo).items() if state not in ENDED]
    for name in alive:
        vireo.shell(f"destroy {name}")
    wait_for_states(vireo, **{name: ENDED for name in alive})


def numbers(text, letter):
    """What a teller (tests/guest/teller.asm) has counted."""
    return [int(n) for n in re.findall(rf"^{letter} (\d+)$", text, re.M)]


def whole_lines(said):
    """What `log` has answered without the line that the guest was in the middle of: `log` ends that, too."""
    return said[:said.rfind("\n", 0, -1) + 1]


def wait_for_lines(vireo, name, count):
    """Until the teller has told that many lines from now on, a new life included; answers all it has said."""
    before = None
    for _ in range(QUESTIONS):
        said = vireo.shell(f"log {name}")
        last = (numbers(whole_lines(said), "[A-Z]") or [0])[-1]
        if before is not None:
            count -= last - before if last >= before else last
        if count <= 0:
            return said
        before = last
    raise AssertionError(f"{name} has said {said!r}")


def free_bytes(vireo):
    return vireo.shell_json("mem")["free_bytes"]
