"""Vireo's own walls: the shell's `crash WALL` breaks a rule of the core, and the machine must stop with a report that says
which. One boot each, since none comes back."""
# SPDX-License-Identifier: MIT
import re
import subprocess

import pytest

import machine
import rack
from conftest import LINUX, LINUX_CONF, ROOT

# Wall: what the panic says, with the address that it blames; the function that address must lie in.
WALLS = {
    "smash": (r"stack smashed: something wrote past an array of the function that ends at 0x(\w+)", "smash_stack"),
    "depth": (r"double fault at RIP 0x(\w+), after a page fault at 0x\w+ \(the guard page under a stack\)", "descend"),
    "null": (r"page fault: read at 0x0 \(the page of NULL\), RIP 0x(\w+), error 0x0", "read_null"),
    "data": (r"page fault: read \(fetch\) at 0x(ffffffff8\w+) \(mapped\), RIP 0x\1, error 0x11", None),
    "text": (r"page fault: write at 0xffffffff8\w+ \(code\), RIP 0x(\w+), error 0x3", "write_text"),
    "constant": (r"page fault: write at 0xffffffff8\w+ \(constants\), RIP 0x(\w+), error 0x3", "write_constant"),
    "sealed": (r"page fault: write at 0xffffffff8\w+ \(read-only since start-up\), RIP 0x(\w+), error 0x3", "write_sealed"),
    "return": (r"return address overwritten: the function that ends at 0x(\w+) would return to 0x(\w+), and was called "
               r"from 0x(\w+)", "write_return"),
    "shadow": (r"page fault: write at 0xfffffc\w+ \(a shadow stack\), RIP 0x(\w+), error 0x3", "write_shadow"),
}
SHADOWED = "tigerlake"  # the model of Bochs that has shadow stacks
MODEL = {"return": SHADOWED, "shadow": SHADOWED}

# The same for walls between Vireo and a guest that runs, on CPU 1.
GUEST_WALLS = {
    "guest": (r"page fault: read at 0xffff80\w+ \(not mapped: no RAM, or a guest's, or free\), RIP 0x(\w+), error 0x0",
              "read_guest"),
    "window": (r"page fault: read at 0xffff90\w+ \(a VM's memory, to which no window is open here\), RIP 0x(\w+), error 0x0",
               "read_window"),
}


# What SECURITY.md names as read-only, by the core's symbols: tables from the start, the others since start-up.
CONSTANT = {"table": 2, "calls": 1, "policy_share": 1}  # two are called table: that of exits, and that of MSRs
SEALED = ["idt", "handlers", "vmx", "bitmaps", "row_of", "exit_msr", "config", "view", "__stack_chk_guard"]

HEX = "[0-9a-f]"


def function_at(address):
    """The name of the core's function, what was inlined there first."""
    core = machine.BUILD / "core.elf"
    said = subprocess.run(["addr2line", "-f", "-e", core, hex(address)], capture_output=True, text=True, check=True)
    return said.stdout.splitlines()[0]


def slide_of(said):
    """How far the core was moved, and who chose it."""
    found = re.search(r"core: slide (0x\w+), (.*)", said)
    return int(found[1], 16), found[2]


def check_addresses(report, slide):
    """Of a panic's report: addresses in words are build/core.elf's, registers as they were."""
    assert f"  slide {slide:#x}, taken off" in report
    blamed = re.search(rf"RIP 0x({HEX}+)", report.splitlines()[0])
    if blamed:
        assert re.search(rf"  rip +{int(blamed[1], 16) + slide:016x} ", report)
    callers = [function_at(int(address, 16) - 1) for address in re.findall(rf"called from 0x({HEX}+)", report)]
    assert callers and "??" not in callers, callers


def crash(vireo, wall, message):
    """Runs into the wall and answers where the message matches what was said."""
    vireo.send(f"crash {wall}\r")
    vireo.expect("stopped; the machine must be reset")
    said = vireo.output()
    assert len(re.findall("PANIC", said)) == 1
    found = re.search(rf"PANIC on CPU 0: {message}", said)
    assert found, said[said.index("PANIC"):]
    return found


def run_into(vireo, wall, message, function):
    """What is blamed of a call is where it returns to. No function: it lies in none."""
    found = crash(vireo, wall, message)
    said = found.string
    check_addresses(said[said.index("PANIC"):], slide_of(said)[0])
    assert function is None or function_at(int(found[1], 16) - (wall == "smash")) == function
    return found


def symbols():
    """(name, address) of the core's, without what link-time optimisation adds to names."""
    said = subprocess.run(["nm", machine.BUILD / "core.elf"], capture_output=True, text=True, check=True).stdout
    return [(name.partition(".lto_priv")[0], int(address, 16))
            for address, _, name in (line.split() for line in said.splitlines() if len(line.split()) == 3)]


def test_what_is_named_as_read_only_is():
    all_of = symbols()
    first = dict(all_of)

    def are_within(name, start, end):
        return [first[start] <= address < first[end] for found, address in all_of if found == name]

    for name, count in CONSTANT.items():
        assert are_within(name, "__rodata_start", "__rodata_end") == [True] * count, name
    for name in SEALED:
        assert are_within(name, "__ro_after_init_start", "__ro_after_init_end") == [True], name



@pytest.mark.parametrize("wall", [
    wall if wall in ("smash", "data", "text", "shadow") else pytest.param(wall, marks=pytest.mark.wide) for wall in WALLS
])
def test_wall(boot, make_image, wall):
    vireo = boot(make_image(rack.section("none"), []), cpu=MODEL.get(wall, "corei7_skylake_x"))
    rack.wait_for_prompt(vireo)
    slide, chosen = slide_of(vireo.output())
    assert slide and chosen == "chosen by RDSEED"
    found = run_into(vireo, wall, *WALLS[wall])
    if wall == "return":
        assert function_at(int(found[2], 16)) == "arrive"
        assert function_at(int(found[3], 16) - 1) == "run_crash"


@pytest.mark.wide
def test_shadowed_stack_ends(boot, make_image):
    """Shadow stacks have an end as well, and #DF one of its own."""
    vireo = boot(make_image(rack.section("none"), []), cpu=SHADOWED)
    rack.wait_for_prompt(vireo)
    run_into(vireo, "depth", *WALLS["depth"])


@pytest.mark.wide
def test_return_without_shadow(boot, make_image):
    """What the wall is good for: without it the overwritten address is where the function returns to."""
    vireo = boot(make_image(rack.section("none"), []))
    rack.wait_for_prompt(vireo)
    crash(vireo, "return", "there is no wall: crash return went elsewhere")


@pytest.mark.wide
@pytest.mark.parametrize("wall", GUEST_WALLS)
def test_guest_wall(boot, make_image, tmp_path, wall):
    """The guest's memory was filled on CPU 0, by its loader; from then on it is none of that CPU's business."""
    idle = machine.assemble("idle", tmp_path / "idle.bin")
    guest = "[vm away]\nprotocol = flat\nmode = protected\nkernel = idle.bin\nmemory = 4M\ncpus = 1\nautostart = off\n"
    vireo = boot(make_image(guest, [idle]), cpus=2)
    rack.wait_for_prompt(vireo)
    vireo.send("start away\r")
    vireo.expect("vm away: first instruction")
    run_into(vireo, wall, *GUEST_WALLS[wall])


def test_each_boot_is_elsewhere(boot, make_image):
    """On QEMU, whose random numbers are. No two places are the same but one time in a thousand."""
    image, places = make_image(rack.section("none"), []), set()
    for _ in range(3):
        vireo = boot(image, backend="qemu", timeout=rack.BOOT_SECONDS)
        rack.wait_for_prompt(vireo)
        places.add(slide_of(vireo.output())[0])
        vireo.stop()
        if len(places) > 1:
            break
    assert len(places) > 1, places
    assert all(place % (2 << 20) == 0 and place < 2 << 30 for place in places)


@pytest.mark.parametrize("devices, chosen", [
    pytest.param([], "RD(SEED|RAND)", id="processor"),
    pytest.param(["-device", "virtio-rng-pci"], "firmware's random numbers", id="firmware"),
])
def test_who_chooses(boot, make_image, devices, chosen):
    vireo = boot(make_image(rack.section("none"), []), backend="qemu", devices=devices, timeout=rack.BOOT_SECONDS)
    vireo.expect(f"core: slide 0x{HEX}+, chosen by {chosen}\r")


def test_where_it_was_linked(boot, make_image):
    conf = "[hypervisor]\naslr = off\n" + rack.section("none")
    vireo = boot(make_image(conf, []), backend="qemu", timeout=rack.BOOT_SECONDS)
    rack.wait_for_prompt(vireo)
    vireo.send("crash null\r")
    vireo.expect("stopped; the machine must be reset")
    said = vireo.output()
    assert slide_of(said) == (0, "aslr = off")
    check_addresses(said[said.index("PANIC"):], 0)


# Model of Bochs: what of SMEP, SMAP, UMIP and CET it has, and those bits of CR4.
CR4_BITS = 1 << 20 | 1 << 21 | 1 << 11 | 1 << 23
MODELS = {
    "corei7_sandy_bridge_2600k": ("off", "off", "off", "off", 0),
    "corei7_skylake_x": ("on", "on", "off", "off", 1 << 20 | 1 << 21),
    "corei7_icelake_u": ("on", "on", "on", "off", 1 << 20 | 1 << 21 | 1 << 11),
    SHADOWED: ("on", "on", "on", "on", CR4_BITS),
}


@pytest.mark.parametrize("model", [
    name if name == SHADOWED else pytest.param(name, marks=pytest.mark.wide) for name in MODELS
])
def test_control_register(boot, make_image, model):
    """What the processor has is on, and on again after each exit: the dump of a VMCS that is refused shows the host's
    part. A VM beside it runs."""
    *names, bits = MODELS[model]
    guest = "protocol = flat\nkernel = real.bin\nmemory = 4M\n"
    conf = f"[hypervisor]\nlog = debug\n[vm bad]\n{guest}break = 0x6820 0\n[vm good]\n{guest}"
    vireo = boot(make_image(conf, [machine.BUILD / "guests" / "real.bin"]), cpu=model, timeout=rack.BOOT_SECONDS)
    vireo.expect("vireo: all guests have ended")
    said = vireo.output()
    assert "SMEP {}, SMAP {}, UMIP {}, shadow stacks {}".format(*names) in said
    assert int(re.search(r"VMCS: HOST_CR4 +0x(\w+)", said)[1], 16) & CR4_BITS == bits
    assert "vm good: debug exit with code 0" in said


@pytest.mark.long
def test_guests_beside_shadow_stacks(boot, make_image):
    """On two CPUs with shadow stacks on, guests run as on others, move between the two and find nothing of it in CPUID,
    CR4 and MSRs (cpuid_msr). A panic then stops the other CPU by an NMI."""
    lessons = [machine.BUILD / "guests" / name for name in ("real.bin", "cpuid_msr.elf")]
    conf = [LINUX_CONF.replace("vcpus = 1", "vcpus = 2")]
    conf += [(ROOT / "guests" / f"{lesson.stem}.conf").read_text() for lesson in lessons]
    vireo = boot(make_image("\n".join(conf), LINUX + lessons), cpu=SHADOWED, cpus=2, timeout=rack.BOOT_SECONDS)
    vireo.expect("vireo-init: up")
    vireo.expect("~ # ")
    assert "2" in vireo.command("nproc").split()
    assert "both" in vireo.command("taskset 1 true && taskset 2 echo both").split()
    assert not re.search("shstk|ibt", vireo.command("grep flags /proc/cpuinfo"))
    for lesson in lessons:
        assert f"vm {lesson.stem}: debug exit with code 0" in vireo.output()
    assert "FAILED" not in vireo.output()
    vireo.send("poweroff\n")
    rack.wait_for_prompt(vireo)
    vireo.send("crash null\r")
    vireo.expect(r"PANIC on CPU \d: page fault: read at 0x0 \(the page of NULL\)")
    vireo.expect("stopped; the machine must be reset")
