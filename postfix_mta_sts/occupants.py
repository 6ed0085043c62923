"""Name the process that listens on an address, as far as Linux shows it (proc(5)).

Root sees every process, other users only their own; of others the kernel at least names the user
of a TCP socket.
"""

import errno
import os
import pwd
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final

from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.mtasts.errors import printable

LINKS_LIMIT: Final = 5_000
"""Descriptors of other processes that are read at most, in some 50 ms: a reload must not wait."""
_LINKS_OF_ONE: Final = 250
"""The same of one process: a server opens its listeners first, and may hold 10,000 connections."""

_PROC: Final = Path("/proc")
_LISTENING: Final = "0A"
"""TCP_LISTEN, in /proc/net/tcp."""
_ACCEPTS: Final = "00010000"
"""__SO_ACCEPTCON, in /proc/net/unix."""


def describe(error: Exception, address: TcpAddress | UnixAddress) -> str:
    """Describe why an address cannot be listened on, and what can be done about it."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    if isinstance(address, UnixAddress):
        return _describe_unix(error, address.path.parent)
    if error.errno == errno.EADDRINUSE:
        return f"{error.strerror}{on_port(address.port)}; stop that, or use another port"
    return f"{error.strerror}; {tcp_advice(error)}"


def tcp_advice(error: OSError) -> str:
    """Return what to do about a TCP address that cannot be listened on, although it is free."""
    advice = {
        errno.EADDRNOTAVAIL: "this machine does not have that address",
        errno.EACCES: "ports below 1024 are for root; use another port",
    }
    return advice.get(error.errno or 0, "use another address")


def _describe_unix(error: OSError, folder: Path) -> str:
    match error:
        case FileNotFoundError():
            return f"there is no folder {folder}; create it: install -d -o USER {folder}"
        case PermissionError():
            return f"{error.strerror}; the folder {folder} must be writable for user {os.geteuid()}"
    return error.strerror or str(error)


def not_ours(path: Path) -> str:
    """Describe a socket file that this process may not use, so that it may be a stale one."""
    user = _user(path.stat().st_uid)
    advice = f"if nothing listens on it, remove it: rm {path}"
    return f"the socket file belongs to user {user}, and this daemon may not use it; {advice}"


def on_port(port: int, proc: Path = _PROC) -> str:
    """Return `: process 123 (nginx)`, or the user, of the listener on a TCP port, if it is seen."""
    for line in (*_lines(proc / "net/tcp"), *_lines(proc / "net/tcp6")):
        fields = line.split()
        if fields[3:4] == [_LISTENING] and int(fields[1].rpartition(":")[2], 16) == port:
            uid, inode = fields[7], fields[9]
            return _process(inode, proc) or f": a process of user {_user(int(uid))}"
    return ""


def on_path(path: Path, proc: Path = _PROC) -> str:
    """Return the same of the listener on a UNIX socket."""
    for line in _lines(proc / "net/unix"):
        fields = line.split(maxsplit=7)
        if fields[3:4] == [_ACCEPTS] and fields[7:] == [str(path)]:
            return _process(fields[6], proc)
    return ""


def _lines(path: Path) -> Iterator[str]:
    """The lines of a table after its header; none if the kernel does not show it."""
    with suppress(OSError), path.open(encoding="utf-8", errors="replace") as file:
        yield from islice((line.rstrip("\n") for line in file), 1, None)


def _process(inode: str, proc: Path) -> str:
    wanted = f"socket:[{inode}]"
    for link in islice(_descriptors(proc), LINKS_LIMIT):
        with suppress(OSError):
            if str(link.readlink()) == wanted:
                folder = link.parent.parent
                name = (folder / "comm").read_text("utf-8", "replace").strip()
                return f": process {folder.name} ({printable(name)})"
    return ""


def _descriptors(proc: Path) -> Iterator[Path]:
    for folder in proc.iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                yield from islice((folder / "fd").iterdir(), _LINKS_OF_ONE)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
