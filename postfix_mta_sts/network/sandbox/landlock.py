"""Landlock: rules for files and TCP ports that a process gives itself for good (landlock(7)).

Whatever is not allowed is forbidden: reading, writing, making and running files, TCP ports to
listen on and to connect to, signals and abstract UNIX sockets of processes outside. The kernel has
more of it with each version of its interface; rights that it does not know are left out.

Not restricted: files that are open, the status of files (stat(2)), their owners and modes, sockets
with a path, UDP. `seccomp` closes those that matter.
"""

import errno
import os
import stat
import struct
from typing import Final, Self

from postfix_mta_sts.network.sandbox import kernel

KNOWN_ABI: Final = 6
"""The latest version with rights that are used here: Linux 6.12."""
PORTS_ABI: Final = 4
"""The first version with TCP ports: Linux 6.7."""
SCOPES_ABI: Final = 6
"""The first version with `SCOPES`: Linux 6.12."""

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""The system calls, the same on all machines."""
_VERSION: Final = 1 << 0
_PATH_BENEATH, _NET_PORT = 1, 2

READ_FILE: Final = 1 << 2
READ_FOLDER: Final = 1 << 3
BIND_TCP: Final = 1 << 0
CONNECT_TCP: Final = 1 << 1
SCOPES: Final = 0b11
"""Abstract UNIX sockets and signals."""
_FILE_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16, 6: 16}
"""The number of rights for files by version: 2 adds moving files between folders, 3 truncating
them, 5 ioctl(2) of devices."""

_WHY: Final = {
    errno.ENOSYS: "the kernel has no Landlock",
    errno.EOPNOTSUPP: "Landlock is switched off at boot",
    errno.EPERM: "a filter of system calls forbids Landlock",
}


class NoLandlockError(Exception):
    """This kernel has none for this process; `str()` says why."""


def abi() -> int:
    """The version that the kernel offers, `KNOWN_ABI` at most; raises `NoLandlockError`."""
    try:
        offered = kernel.system_call(CREATE_RULESET, None, 0, _VERSION)
    except OSError as error:
        raise NoLandlockError(_WHY.get(error.errno or 0, f"Landlock: {error.strerror}")) from None
    return min(offered, KNOWN_ABI)


def handled(version: int, *, connects: bool) -> bytes:
    """What a ruleset forbids, as the kernel's struct landlock_ruleset_attr.

    `connects`: whether it limits the ports to connect to.
    """
    files = (1 << _FILE_RIGHTS[version]) - 1
    if version < PORTS_ABI:
        return struct.pack("=Q", files)
    ports = BIND_TCP | (CONNECT_TCP if connects else 0)
    if version < SCOPES_ABI:
        return struct.pack("=QQ", files, ports)
    return struct.pack("=QQQ", files, ports, SCOPES)


class Ruleset:
    """Rules that are being collected, in a context; `restrict` puts them in force.

    `version`: of the kernel's interface. `connects`: as in `handled`. All raise `OSError`.
    """

    def __init__(self, version: int, *, connects: bool) -> None:
        attributes = handled(version, connects=connects)
        self._fd = kernel.system_call(CREATE_RULESET, attributes, len(attributes), 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def allow_reading(self, path: str) -> None:
        """Allow a file to be read, or a folder with all below it; what is missing is left out."""
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return
        try:
            is_folder = stat.S_ISDIR(os.fstat(fd).st_mode)
            rights = READ_FILE | READ_FOLDER if is_folder else READ_FILE
            self._add(_PATH_BENEATH, struct.pack("=Qi", rights, fd))
        finally:
            os.close(fd)

    def allow_port(self, port: int) -> None:
        """Allow TCP connections to a port of any host."""
        self._add(_NET_PORT, struct.pack("=QQ", CONNECT_TCP, port))

    def restrict(self) -> None:
        """Put the rules in force for this thread, and those that it starts from now on."""
        kernel.forbid_new_privileges()
        kernel.system_call(RESTRICT_SELF, self._fd, 0)

    def _add(self, kind: int, rule: bytes) -> None:
        kernel.system_call(ADD_RULE, self._fd, kind, rule, 0)
