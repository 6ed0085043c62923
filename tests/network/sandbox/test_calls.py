"""The numbers of system calls, compared with the headers of the kernel."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from postfix_mta_sts.network.sandbox.calls import GENERIC, MACHINES, X86_64, this_machine
from postfix_mta_sts.network.sandbox.refusals import refusals

INCLUDE = Path("/usr/include")
HEADERS = (
    ("x86_64-linux-gnu/asm/unistd_64.h", X86_64),
    ("asm-generic/unistd.h", GENERIC),
)


@pytest.mark.parametrize(("header", "numbers"), HEADERS, ids=lambda each: str(each)[:12])
def test_numbers(header: str, numbers: Mapping[str, int]) -> None:
    """Those that the header has are the same; older headers lack the latest calls."""
    path = INCLUDE / header
    if not path.exists():
        pytest.skip(f"{path} is not here")
    found = re.findall(r"(?m)^#define __NR(?:3264)?_(\w+)\s+(\d+)$", path.read_text())
    theirs = {name: int(number) for name, number in found}
    assert {name: theirs[name] for name in numbers if name in theirs} == {
        name: number for name, number in numbers.items() if name in theirs
    }
    assert len(numbers.keys() & theirs.keys()) > 80


def test_every_call_is_known() -> None:
    """Each call that is refused has a number on some machine: none is mistyped."""
    refused = {each.call for each in refusals(1, unix_sockets=False)}
    assert refused <= X86_64.keys() | GENERIC.keys()
    assert refused >= X86_64.keys() & GENERIC.keys()


def test_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a table has none, and neither has a program of 32 bits."""

    class Uname:
        machine = "s390x"

    monkeypatch.setattr("os.uname", Uname)
    assert this_machine() is None
    Uname.machine = "aarch64"
    assert this_machine() is MACHINES["aarch64"]
    monkeypatch.setattr("sys.maxsize", 2**31 - 1)
    assert this_machine() is None
