"""Vireo's own walls: the shell's `crash WALL` breaks a rule of the core, and the machine must stop with a report that says
which. One boot each, since none comes back."""
# SPDX-License-Identifier: MIT
import re
import subprocess

import pytest

import machine
import rack

# Wall: what the panic says, with the address that it blames; the function that address must lie in.
WALLS = {
    "smash": (r"stack smashed: something wrote past an array of the function that ends at 0x(\w+)", "smash_stack"),
    "depth": (r"double fault at RIP 0x(\w+), after a page fault at 0x\w+ \(the guard page under a stack\)", "descend"),
    "null": (r"page fault: read at 0x0 \(the page of NULL\), RIP 0x(\w+), error 0x0", "read_null"),
    "text": (r"page fault: write at 0xffffffff8\w+ \(code\), RIP 0x(\w+), error 0x3", "write_text"),
    "constant": (r"page fault: write at 0xffffffff8\w+ \(constants\), RIP 0x(\w+), error 0x3", "write_constant"),
    "sealed": (r"page fault: write at 0xffffffff8\w+ \(read-only since start-up\), RIP 0x(\w+), error 0x3", "write_sealed"),
}


def function_at(address):
    """The name of the core's function, what was inlined there first."""
    core = machine.BUILD / "core.elf"
    said = subprocess.run(["addr2line", "-f", "-e", core, hex(address)], capture_output=True, text=True, check=True)
    return said.stdout.splitlines()[0]


@pytest.mark.parametrize("wall", WALLS)
def test_wall(boot, make_image, wall):
    message, function = WALLS[wall]
    vireo = boot(make_image(rack.section("none"), []))
    rack.wait_for_prompt(vireo)
    vireo.send(f"crash {wall}\r")
    vireo.expect("stopped; the machine must be reset")
    said = vireo.output()
    assert len(re.findall("PANIC", said)) == 1
    found = re.search(rf"PANIC on CPU 0: {message}", said)
    assert found, said[said.index("PANIC"):]
    # What is blamed of a call is where it returns to.
    assert function_at(int(found[1], 16) - (wall == "smash")) == function


# Model of Bochs: what of SMEP, SMAP and UMIP it has, and those bits of CR4.
MODELS = {
    "corei7_sandy_bridge_2600k": ("off", "off", "off", 0),
    "corei7_skylake_x": ("on", "on", "off", 1 << 20 | 1 << 21),
    "corei7_icelake_u": ("on", "on", "on", 1 << 20 | 1 << 21 | 1 << 11),
}


@pytest.mark.parametrize("model", MODELS)
def test_control_register(boot, make_image, model):
    """What the processor has is on, and on again after each exit: the dump of a VMCS that is refused shows the host's
    part. A VM beside it runs."""
    *names, bits = MODELS[model]
    guest = "protocol = flat\nkernel = real.bin\nmemory = 4M\n"
    conf = f"[hypervisor]\nlog = debug\n[vm bad]\n{guest}break = 0x6820 0\n[vm good]\n{guest}"
    vireo = boot(make_image(conf, [machine.BUILD / "guests" / "real.bin"]), cpu=model, timeout=rack.BOOT_SECONDS)
    vireo.expect("vireo: all guests have ended")
    said = vireo.output()
    assert "SMEP {}, SMAP {}, UMIP {}".format(*names) in said
    assert int(re.search(r"VMCS: HOST_CR4 +0x(\w+)", said)[1], 16) & (1 << 20 | 1 << 21 | 1 << 11) == bits
    assert "vm good: debug exit with code 0" in said
