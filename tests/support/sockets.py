"""Addresses to listen on, socket files left by other processes, and accounts to own them."""

import grp
import os
import pwd
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.config.settings import ControlSettings, ListenerSettings
from postfix_mta_sts.sockets import Binding


def tcp(host: str = "127.0.0.1", port: int = 0) -> Binding:
    """A TCP address; port 0: any free port."""
    return Binding(TcpAddress(host, port), ControlSettings())


def unix(path: Path, **access: Any) -> Binding:  # noqa: ANN401 (mode, owner, group)
    """A UNIX socket; `access`: its mode, owner and group."""
    address = UnixAddress(path)
    return Binding(address, ListenerSettings(socketmap=address, **access))


@contextmanager
def other_process(path: Path) -> Iterator[socket.socket]:
    """Listen on a socket file as another process would; at the end the file is left behind."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        yield sock


def connects(path: Path) -> bool:
    """Whether a process listens on a UNIX socket."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def an_account() -> tuple[str, int]:
    """A user that this process may give a file to: another one, if it is root."""
    entry = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    return entry.pw_name, entry.pw_uid


def a_group() -> tuple[str, int]:
    """A group that this process may give a file to."""
    gid = pwd.getpwnam("nobody").pw_gid if os.geteuid() == 0 else os.getegid()
    return grp.getgrgid(gid).gr_name, gid
