"""What is asked of a kernel, and what is said to hold, with kernels that are only pretended."""

import errno
import os
import struct
from typing import Final

import pytest

from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.config.store_location import EngineName
from postfix_mta_sts.network.sandbox import capabilities, kernel, landlock, seccomp
from postfix_mta_sts.network.sandbox.calls import MACHINES
from postfix_mta_sts.network.sandbox.confine import ANY_PORT, OLD_KERNEL, STORE_SOCKET, confine
from postfix_mta_sts.network.sandbox.confinement import Confinement
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.values import replace
from tests.network.sandbox.test_rules import ONE, fleet

SETTINGS: Final = replace(NetworkSettings.of(Settings()), sandbox=True)
PORTS: Final = (25, 53, 443)


class Kernel:
    """A kernel with a version of Landlock, which notes what it is asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, version: int) -> None:
        self.fails = {0: errno.EOPNOTSUPP}.get(version, 0)
        self.filters: list[bytes] = []
        self.rights: list[int] = []
        self.ports: list[int] = []
        self.is_restricted = False
        self.has_capabilities = True
        self._version = version
        monkeypatch.setattr(kernel, "is_usable", lambda: True)
        monkeypatch.setattr(kernel, "system_call", self._call)
        monkeypatch.setattr(kernel, "forbid_new_privileges", lambda: None)
        monkeypatch.setattr(kernel, "set_filter", self.filters.append)
        monkeypatch.setattr(seccomp, "this_machine", lambda: MACHINES["x86_64"])
        monkeypatch.setattr(capabilities, "drop", self._drop)

    def _drop(self) -> None:
        assert not self.is_restricted, "/proc, which has them, is hidden"
        self.has_capabilities = False

    def _call(self, number: int, *args: int | bytes | None) -> int:
        if self.fails:
            raise OSError(self.fails, os.strerror(self.fails))
        match number, args:
            case landlock.CREATE_RULESET, (None, *_):
                return self._version
            case landlock.CREATE_RULESET, _:
                return os.open("/dev/null", os.O_RDONLY)
            case landlock.ADD_RULE, (_, 1, bytes() as rule, _):
                self.rights.append(struct.unpack("=Qi", rule)[0])
            case landlock.ADD_RULE, (_, 2, bytes() as rule, _):
                self.ports.append(struct.unpack("=QQ", rule)[1])
            case landlock.RESTRICT_SELF, _:
                self.is_restricted = True
        return 0


def test_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a kernel of today all holds; files and folders may be read, nothing else."""
    asked = Kernel(monkeypatch, 7)
    held = confine(SETTINGS).confinement
    assert held == Confinement(files=True, ports=PORTS, unix_sockets=True, processes=True)
    assert set(asked.rights) == {landlock.READ_FILE, landlock.READ_FILE | landlock.READ_FOLDER}
    assert (tuple(asked.ports), asked.is_restricted, len(asked.filters)) == (PORTS, True, 1)
    assert not asked.has_capabilities


def test_capabilities_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """If they cannot be given up, that is said, and the rest holds."""
    Kernel(monkeypatch, 7)

    def fail() -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(capabilities, "drop", fail)
    held = confine(SETTINGS).confinement
    assert (held.files, held.ports, held.unix_sockets, held.processes) == (True, PORTS, True, True)
    assert held.missing == ("capabilities: Operation not permitted",)


def test_without_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """An older kernel is asked for no ports."""
    asked = Kernel(monkeypatch, 3)
    held = confine(SETTINGS).confinement
    assert (held.files, held.ports, held.missing) == (True, None, (f"ports: {OLD_KERNEL}",))
    assert not asked.ports


def test_a_redis_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may name another server, with another port."""
    asked = Kernel(monkeypatch, 6)
    held = confine(replace(SETTINGS, fleet=fleet(EngineName.REDIS, ONE))).confinement
    assert (held.ports, held.missing, asked.ports) == (None, (f"ports: {ANY_PORT}",), [])
    assert held.unix_sockets


def test_a_store_at_a_unix_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then UNIX sockets are not restricted, and that is said."""
    Kernel(monkeypatch, 6)
    held = confine(replace(SETTINGS, fleet=fleet(EngineName.REDIS, path="/run/r"))).confinement
    assert (held.ports, held.unix_sockets, held.processes) == (PORTS, False, True)
    assert held.missing == (f"UNIX sockets: {STORE_SOCKET}",)


def test_no_landlock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The filter is installed all the same."""
    asked = Kernel(monkeypatch, 0)
    held = confine(SETTINGS).confinement
    assert (held.files, held.ports, held.unix_sockets, held.processes) == (False, None, True, True)
    assert held.missing == ("reading files, and ports: Landlock is switched off at boot",)
    assert len(asked.filters) == 1


def test_no_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without a table of system calls, Landlock is in force all the same."""
    asked = Kernel(monkeypatch, 6)
    monkeypatch.setattr(seccomp, "this_machine", lambda: None)
    held = confine(SETTINGS).confinement
    assert (held.files, held.ports, held.unix_sockets, held.processes) == (
        True,
        PORTS,
        False,
        False,
    )
    assert held.missing[0].startswith("modes of files, UNIX sockets and processes: no filter")
    assert (asked.is_restricted, asked.filters) == (True, [])


def test_rules_that_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong in the middle is said, and the filter is installed."""
    asked = Kernel(monkeypatch, 6)

    def refuse(_: landlock.Ruleset, __: str) -> None:
        raise OSError(errno.E2BIG, "Argument list too long")

    monkeypatch.setattr(landlock.Ruleset, "allow_reading", refuse)
    held = confine(SETTINGS).confinement
    said = "reading files, and ports: Landlock: Argument list too long"
    assert (held.files, held.processes, held.missing) == (False, True, (said,))
    assert not asked.is_restricted
