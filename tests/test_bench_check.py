"""The guard of `make bench-check`, with figures made up: what is worse is named, and nothing else fails."""
# SPDX-License-Identifier: MIT
import pathlib
import sys

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent / "bench")]
import check  # noqa: E402

TABLE = {"kernel": "6.1", "exits": {"cpuid": 250, "cr4": 6}, "boot": {"linux-boot": 600000}}


def measured(kernel="6.1", boot=600000, **exits):
    return {"kernel": kernel, "exits": TABLE["exits"] | exits, "boot": {"linux-boot": boot}}


@pytest.mark.parametrize("now", [measured(), measured(cpuid=255), measured(cr4=8), measured(cpuid=100, boot=500000),
                                 measured(new=7)])
def test_what_is_not_worse(now, capsys):
    check.check(TABLE, now)
    assert "WORSE" not in capsys.readouterr().out


@pytest.mark.parametrize("name, now", [("cpuid", measured(cpuid=256)), ("cr4", measured(cr4=9)),
                                       ("linux-boot", measured(boot=612001))])
def test_a_row_that_got_worse_is_named(name, now):
    with pytest.raises(SystemExit, match=rf"worse by more than 2 %, gone, or less done: {name}\. "):
        check.check(TABLE, now)


def test_a_row_that_is_gone_is_named():
    now = measured()
    del now["exits"]["cpuid"]
    with pytest.raises(SystemExit, match=r"or less done: cpuid\. "):
        check.check(TABLE, now)


MITIGATED = TABLE | {"exits": {"cpuid-mitigation-none": 195, "cpuid-mitigation-verw": 205, "cpuid-mitigation-rsb": 201}}


@pytest.mark.parametrize("none, verw", [(195, 205), (190, 200), (196, 206), (195, 206)])
def test_a_mitigation_that_does_as_much(none, verw):
    check.check(MITIGATED, {**MITIGATED, "exits": {"cpuid-mitigation-none": none, "cpuid-mitigation-verw": verw,
                                                   "cpuid-mitigation-rsb": none + 6}})


@pytest.mark.parametrize("none, verw", [(195, 204), (190, 199), (196, 205), (195, 195)])
def test_a_mitigation_that_does_less_is_named(none, verw):
    """VERW is one instruction: without it the row is better by one."""
    with pytest.raises(SystemExit, match=r"or less done: cpuid-mitigation-verw\. "):
        check.check(MITIGATED, {**MITIGATED, "exits": {"cpuid-mitigation-none": none, "cpuid-mitigation-verw": verw,
                                                       "cpuid-mitigation-rsb": none + 6}})


def test_another_kernels_boot_is_not_compared(capsys):
    check.check(TABLE, measured(kernel="6.2", boot=900000))
    assert "the kernel is 6.2, the table's 6.1" in capsys.readouterr().out
