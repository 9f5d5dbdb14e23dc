"""The entry doctor on the processor: `break = FIELD VALUE` spoils one field of the VMCS before a VM's first entry. The
processor refuses the entry, and the verdict must name the rule, its section of the SDM, the field and its value. That
every rule is found is tested without a processor in tests/unit/test_doctor*.c."""
# SPDX-License-Identifier: MIT
import re

import machine

BOOT_SECONDS = 180  # of the machine's clock; alone it is 10
GUEST_STATE = r"VM entry failed: invalid guest state \(.*\)"
CONTROLS = r"VM-instruction error: .*control.*"
HOST = r"VM-instruction error: .*host.*"

# Name of the VM, FIELD VALUE, what the processor says, and the doctor's verdict.
BREAKS = [
    ("rflags", "0x6820 0", GUEST_STATE,
     r"SDM 27\.3\.1\.4 RFLAGS_RESERVED: GUEST_RFLAGS = 0x0 \(wrong in 0x2\); rule: RFLAGS bits .* bit 1 is 1"),
    ("cs", "0x4816 0x91", GUEST_STATE,
     r"SDM 27\.3\.1\.2 CS_TYPE: GUEST_CS_ACCESS = 0x91\b.*; rule: CS is accessed code"),
    ("link", "0x2800 0x1000", GUEST_STATE,
     r"SDM 27\.3\.1\.5 LINK_REVISION: LINK_POINTER = 0x1000; found 0x0 there; expected 0x[0-9a-f]+; "
     r"rule: the linked VMCS has the processor's revision"),
    ("cr0", "0x6800 0x80000020", GUEST_STATE,
     r"SDM 27\.3\.1\.1 GUEST_PG_PE: GUEST_CR0 = 0x80000020 \(wrong in 0x1\); rule: guest CR0\.PG needs CR0\.PE"),
    ("tr", "0x4822 0x10000", GUEST_STATE,
     r"SDM 27\.3\.1\.2 TR_UNUSABLE: GUEST_TR_ACCESS = 0x10000\b.*; rule: TR is usable"),
    ("activity", "0x4826 9", GUEST_STATE,
     r"SDM 27\.3\.1\.5 ACTIVITY_KNOWN: GUEST_ACTIVITY = 0x9; rule: the activity state is one"),
    ("hostcr4", "0x6c04 0", HOST,
     r"SDM 27\.2\.2 HOST_CR4: HOST_CR4 = 0x0 \(wrong in 0x2000\); rule: host CR4 has only"),
    ("hosttr", "0xc0c 0", HOST,
     r"SDM 27\.2\.3 HOST_CS_TR: HOST_TR_SELECTOR = 0x0; rule: host CS and TR are not null"),
    ("pin", "0x4000 0", CONTROLS,
     r"SDM 27\.2\.1\.1 PIN_RESERVED: PIN_CONTROLS = 0x0 \(wrong in 0x16\); rule: reserved pin-based controls"),
    ("eptp", "0x201a 0x7", CONTROLS,
     r"SDM 27\.2\.1\.1 EPTP_TYPE: EPTP = 0x7 \(wrong in 0x7\); rule: the EPT memory type is one"),
]


def test_verdicts(boot, make_image):
    flat = "protocol = flat\nkernel = real.bin\nmemory = 4M\n"
    conf = "".join(f"[vm {name}]\n{flat}break = {value}\n" for name, value, *_ in BREAKS)
    conf += f"[vm nofield]\n{flat}break = 0x7fff 0\n[vm good]\n{flat}"
    booted = boot(make_image(conf, [machine.BUILD / "guests" / "real.bin"]), timeout=BOOT_SECONDS)
    booted.expect(r"vireo: all guests have ended")
    said = booted.output()
    for name, value, refusal, verdict in BREAKS:
        lines = re.findall(rf"error: vm {name}: entry refused: (.*)", said)
        assert len(lines) >= 2, f"vm {name}, break = {value}: no verdict"
        assert re.fullmatch(refusal, lines[0]), lines[0]
        assert any(re.match(verdict, line) for line in lines[1:]), "\n".join(lines)
        assert f"vm {name}: killed: vCPU 0: the processor refused to enter the guest" in said
        assert re.search(rf"vm {name}: killed after 0 exits", said)
    assert re.search(r"error: vm nofield: break: .*0x7fff", said)
    assert "vm good: debug exit with code 0" in said
