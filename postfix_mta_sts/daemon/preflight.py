"""Check what a start needs beside a valid configuration: addresses, folders, accounts, the store.

It changes nothing, so it may run beside a daemon. It sees this machine with the eyes of the user
who runs it: what only the daemon's user may do, root may as well.
"""

import errno
import grp
import os
import pwd
import socket
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from postfix_mta_sts import occupants
from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.config.settings import Settings, default_cache_path, default_control_path

_OURSELVES: Final = "(postfix-mta-sts)"
"""The name of the daemon's process, as `occupants` shows it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What will go wrong. `key` is that of the setting, such as `listen[0].group`."""

    key: str
    reason: str
    is_warning: bool = False
    """The daemon starts all the same."""


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """An address to listen on, and the keys of its settings."""

    key: str
    section: str
    address: TcpAddress | UnixAddress
    owner: str | int | None
    group: str | int | None
    is_needed: bool = True
    """Whether the daemon does not start without it."""


def check(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what will go wrong at a start with these settings."""
    endpoints = list(_endpoints(settings, environ))
    yield from _overlaps(endpoints)
    for endpoint in endpoints:
        yield from _accounts(endpoint)
        if isinstance(endpoint.address, UnixAddress):
            yield from _unix(endpoint, endpoint.address.path)
        else:
            yield from _tcp(endpoint, endpoint.address)
    yield from _store(settings.cache.path or default_cache_path(environ))


def _endpoints(settings: Settings, environ: Mapping[str, str]) -> Iterator[_Endpoint]:
    for i, each in enumerate(settings.listen):
        section = f"listen[{i}]"
        yield _Endpoint(f"{section}.{each.wire}", section, each.address, each.owner, each.group)
    if settings.metrics.listen:
        listen, owner, group = (getattr(settings.metrics, n) for n in ("listen", "owner", "group"))
        yield _Endpoint("metrics.listen", "metrics", listen, owner, group)
    control = settings.control
    path = UnixAddress(control.path or default_control_path(environ))
    yield _Endpoint("control.path", "control", path, control.owner, control.group, is_needed=False)


def _overlaps(endpoints: Sequence[_Endpoint]) -> Iterator[Finding]:
    """Two addresses of which one contains the other; equal ones are refused with the settings."""
    for i, one in enumerate(endpoints):
        for other in endpoints[:i]:
            if one.address == other.address and one.key == "control.path":
                yield Finding(one.key, f"{one.address} is also the address of {other.key}")
            elif _contains(one.address, other.address) or _contains(other.address, one.address):
                reason = f"{one.address} and {other.address} of {other.key} are the same port"
                yield Finding(one.key, f"{reason} of one address; use another port")


def _contains(one: TcpAddress | UnixAddress, other: TcpAddress | UnixAddress) -> bool:
    if not isinstance(one, TcpAddress) or not isinstance(other, TcpAddress) or one == other:
        return False
    is_any = one.host == ("::" if ":" in other.host else "0.0.0.0")  # noqa: S104 (compared)
    return is_any and one.port == other.port != 0


def _accounts(endpoint: _Endpoint) -> Iterator[Finding]:
    kinds: tuple[tuple[str, str | int | None, Callable[[str], object], str], ...] = (
        ("owner", endpoint.owner, pwd.getpwnam, "user"),
        ("group", endpoint.group, grp.getgrnam, "group"),
    )
    for name, value, look_up, kind in kinds:
        if isinstance(value, str):
            try:
                look_up(value)
            except KeyError:
                reason = f"there is no {kind} {value!r} on this machine; create it, or write an id"
                yield Finding(f"{endpoint.section}.{name}", reason, not endpoint.is_needed)


def _unix(endpoint: _Endpoint, path: Path) -> Iterator[Finding]:
    def finding(reason: str) -> Finding:
        return Finding(endpoint.key, reason, not endpoint.is_needed)

    folder = path.parent if endpoint.is_needed else _nearest(path.parent)
    if not folder.is_dir():
        yield finding(f"there is no folder {folder}; create it: install -d -o USER {folder}")
    elif not os.access(folder, os.W_OK | os.X_OK):
        yield finding(f"the folder {folder} is not writable for user {os.geteuid()}")
    with suppress(OSError):
        if not stat.S_ISSOCK(path.stat().st_mode):
            yield finding(f"{path} exists and is not a socket; remove it, or use another path")
        elif by := occupants.on_path(path):
            yield from _in_use(endpoint, str(path), by)


def _tcp(endpoint: _Endpoint, address: TcpAddress) -> Iterator[Finding]:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        reason = f"{address.host} has no address: {error.strerror}; write an IP address"
        yield Finding(endpoint.key, reason)
        return
    for family, kind, protocol, _, sockaddr in found:
        try:
            with socket.socket(family, kind, protocol) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind(sockaddr)
        except OSError as error:
            yield from _not_bound(endpoint, address, error)


def _not_bound(endpoint: _Endpoint, address: TcpAddress, error: OSError) -> Iterator[Finding]:
    if error.errno == errno.EADDRINUSE:
        yield from _in_use(endpoint, str(address), occupants.on_port(address.port))
        return
    hints = {
        errno.EADDRNOTAVAIL: "this machine does not have that address",
        errno.EACCES: "ports below 1024 are for root; use another port",
    }
    hint = hints.get(error.errno or 0, "use another address")
    yield Finding(endpoint.key, f"{address}: {error.strerror}; {hint}")


def _in_use(endpoint: _Endpoint, address: str, by: str) -> Iterator[Finding]:
    """Warn of another process at the address, unless it is the daemon that runs."""
    if not by.endswith(_OURSELVES):
        yield Finding(endpoint.key, f"{address} is in use now{by}", is_warning=True)


def _store(path: Path) -> Iterator[Finding]:
    if path.is_dir():
        yield Finding("cache.path", f"{path} is a folder; write the path of a file in it")
    elif path.exists() and not path.is_file():
        yield Finding("cache.path", f"{path} is not a regular file")
    elif path.exists() and not os.access(path, os.R_OK | os.W_OK):
        yield Finding("cache.path", f"{path} is not writable for user {os.geteuid()}")
    folder = _nearest(path.parent)
    if not folder.is_dir():
        yield Finding("cache.path", f"{folder} is not a folder")
    elif not os.access(folder, os.W_OK | os.X_OK):
        yield Finding("cache.path", f"{folder} is not writable for user {os.geteuid()}")


def _nearest(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists: those below it are created."""
    return next((each for each in (folder, *folder.parents) if each.exists()), folder)
