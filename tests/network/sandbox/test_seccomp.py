"""The filter of system calls, run by a machine of the kernel's BPF that is written here."""

import errno
import fcntl
import os
import struct
from typing import Final

import pytest

from postfix_mta_sts.network.sandbox import kernel, seccomp
from postfix_mta_sts.network.sandbox.calls import MACHINES, Machine
from postfix_mta_sts.network.sandbox.refusals import F_SETLEASE, F_SETOWN_EX, F_SETSIG, refusals
from postfix_mta_sts.network.sandbox.seccomp import (
    ALLOW,
    AND,
    AT_LEAST,
    EQUAL,
    FAIL,
    LOAD,
    RETURN,
    Code,
    NoFilterError,
    assemble,
    to_bytes,
)

PID: Final = 4711
BOTH: Final = pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)


def run(code: Code, machine: Machine, number: int, *args: int, arch: int | None = None) -> int:
    """What the kernel would do: 0 allows the call, other numbers are the error."""
    architecture = machine.architecture if arch is None else arch
    words = (*args, *[0] * (6 - len(args)))
    data = struct.pack("<iIQ6Q", number, architecture, 0, *(each % 2**64 for each in words))
    value, at = 0, 0
    while True:
        what, if_so, if_not, operand = code[at]
        at += 1
        match what:
            case seccomp.LOAD:
                (value,) = struct.unpack_from("<I", data, operand)
            case seccomp.AND:
                value &= operand
            case seccomp.EQUAL:
                at += if_so if value == operand else if_not
            case seccomp.AT_LEAST:
                at += if_so if value >= operand else if_not
            case seccomp.RETURN:
                return 0 if operand == ALLOW else operand - FAIL


def outcome(machine: Machine, call: str, *args: int, unix_sockets: bool = False) -> str:
    """The name of the error, or `done`."""
    code = assemble(refusals(PID, unix_sockets=unix_sockets), machine)
    error = run(code, machine, machine.numbers[call], *args)
    return errno.errorcode[error] if error else "done"


@BOTH
def test_calls_without_conditions(machine: Machine) -> None:
    """Each is refused whatever its arguments are; what is not named is allowed."""
    code = assemble(refusals(PID, unix_sockets=False), machine)
    plain = {each.call: each for each in refusals(PID, unix_sockets=False) if not each.unless}
    for name, number in machine.numbers.items():
        if name in plain:
            assert run(code, machine, number, 1, 2, 3) == plain[name].error, name
    free = set(range(500)) - set(machine.numbers.values())
    assert {run(code, machine, number) for number in free} == {0}


@BOTH
@pytest.mark.parametrize(
    ("call", "args", "expected"),
    [
        ("openat", (-100, 0, os.O_RDONLY | os.O_CLOEXEC), "done"),
        ("openat", (-100, 0, os.O_WRONLY), "EPERM"),
        ("openat", (-100, 0, os.O_RDWR), "EPERM"),
        ("openat", (-100, 0, os.O_CREAT), "EPERM"),
        ("openat", (-100, 0, os.O_TRUNC), "EPERM"),
        ("openat2", (), "ENOSYS"),
        ("clone3", (), "ENOSYS"),
        ("clone", (0x3D0F00,), "done"),
        ("clone", (0x11,), "EPERM"),
        ("kill", (PID, 9), "done"),
        ("kill", (PID + 1, 0), "EPERM"),
        ("kill", (-1, 9), "EPERM"),
        ("tgkill", (PID, 1, 6), "done"),
        ("tgkill", (1, 1, 6), "EPERM"),
        ("prlimit64", (0, 7), "done"),
        ("prlimit64", (PID, 7), "done"),
        ("prlimit64", (1, 7), "EPERM"),
        ("socket", (2, 1 | 0o2004000, 6), "done"),
        ("socket", (10, 2, 17), "done"),
        ("socket", (10, 1, 0), "done"),
        ("socket", (2, 3, 1), "EPERM"),
        ("socket", (2, 1, 262), "EPERM"),
        ("socket", (2, 5, 132), "EPERM"),
        ("socket", (16, 3, 0), "done"),
        ("socket", (16, 3, 9), "EPERM"),
        ("socket", (17, 3, 0), "EPERM"),
        ("socket", (1, 1, 0), "EPERM"),
        ("socketpair", (1, 1 | 0o2000000, 0), "done"),
        ("socketpair", (1, 2, 0), "EPERM"),
        ("sendto", (3, 0, 0, 0x4000), "done"),
        ("sendto", (3, 0, 0, 0x20004000), "EPERM"),
        ("sendmsg", (3, 0, 0x20000000), "EPERM"),
        ("sendmsg", (3, 0, 0x4000), "done"),
        ("sendmmsg", (3, 0, 1, 0x20000000), "EPERM"),
        ("ioctl", (0, 0x5412), "EPERM"),
        ("ioctl", (0, 0x541C), "EPERM"),
        ("ioctl", (0, 0x5401), "done"),
        ("ioctl", (0, 2**32 + 0x5412), "EPERM"),
        ("ioctl", (0, 0x8901), "EPERM"),
        ("ioctl", (0, 0x8902), "EPERM"),
        ("ioctl", (0, 0x5452), "EPERM"),
        ("ioctl", (0, 0x40086602), "EPERM"),  # FS_IOC_SETFLAGS
        ("ioctl", (0, 0x401C5820), "EPERM"),  # FS_IOC_FSSETXATTR
        ("ioctl", (0, 0x40087602), "EPERM"),  # FS_IOC_SETVERSION
        ("ioctl", (0, 0xC0045877), "EPERM"),  # FIFREEZE
        ("ioctl", (0, 0x41009432), "EPERM"),  # FS_IOC_SETFSLABEL
        ("ioctl", (0, 0x541B), "done"),
        ("ioctl", (0, 0x5421), "done"),
        ("ioctl", (0, 0x5451), "done"),
        ("ioctl", (0, 0x8912), "done"),
        ("fcntl", (3, fcntl.F_DUPFD, 0), "done"),
        ("fcntl", (3, fcntl.F_DUPFD_CLOEXEC, 0), "done"),
        ("fcntl", (3, fcntl.F_GETFD), "done"),
        ("fcntl", (3, fcntl.F_SETFD, fcntl.FD_CLOEXEC), "done"),
        ("fcntl", (3, fcntl.F_GETFL), "done"),
        ("fcntl", (3, fcntl.F_SETFL, os.O_RDWR | os.O_NONBLOCK), "done"),
        ("fcntl", (3, fcntl.F_SETFL, os.O_RDWR | os.O_ASYNC), "EPERM"),
        ("fcntl", (3, fcntl.F_SETOWN, 1), "EPERM"),
        ("fcntl", (3, 2**32 + fcntl.F_SETOWN, 1), "EPERM"),
        ("fcntl", (3, F_SETSIG, 9), "EPERM"),
        ("fcntl", (3, F_SETOWN_EX, 0), "EPERM"),
        ("fcntl", (3, F_SETLEASE, 0), "EPERM"),
    ],
)
def test_arguments(machine: Machine, call: str, args: tuple[int, ...], expected: str) -> None:
    """What the process needs passes; the kernel ignores the upper half, and so does the filter."""
    assert outcome(machine, call, *args) == expected


@BOTH
@pytest.mark.parametrize(("kind", "expected"), [(1, "done"), (2, "EPERM"), (5, "EPERM")])
def test_a_shared_store_at_a_unix_socket(machine: Machine, kind: int, expected: str) -> None:
    """Then stream sockets are allowed, and no others."""
    assert outcome(machine, "socket", 1, kind, 0, unix_sockets=True) == expected


@BOTH
def test_other_interfaces(machine: Machine) -> None:
    """Calls of another architecture and of x32 are refused, whatever their numbers mean."""
    code = assemble(refusals(PID, unix_sockets=False), machine)
    assert run(code, machine, 0, arch=0x40000003) == errno.EPERM
    if machine.highest:
        assert run(code, machine, machine.highest + 41) == errno.EPERM


@BOTH
def test_fits_the_kernel(machine: Machine) -> None:
    """It has fewer instructions than allowed, and each jump fits into a byte."""
    code = assemble(refusals(PID, unix_sockets=True), machine)
    assert len(code) < 4096
    assert len(to_bytes(code)) == 8 * len(code)
    assert {each[0] for each in code} == {LOAD, AND, EQUAL, AT_LEAST, RETURN} - (
        set() if machine.highest else {AT_LEAST}
    )


def test_an_unknown_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a table of numbers there is no filter."""
    monkeypatch.setattr(seccomp, "this_machine", lambda: None)
    with pytest.raises(NoFilterError, match="no filter of system calls is known for"):
        seccomp.install(unix_sockets=False)


def test_refused_by_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is the kernel's."""

    def refuse() -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(seccomp, "this_machine", lambda: MACHINES["x86_64"])
    monkeypatch.setattr(kernel, "forbid_new_privileges", refuse)
    with pytest.raises(NoFilterError, match="seccomp: Invalid argument"):
        seccomp.install(unix_sockets=False)
