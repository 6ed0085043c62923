"""Check what a start needs beside a valid configuration: addresses, folders, accounts, the store.

It changes nothing, so it may run beside a daemon. It says what is possible for the user that runs
it: root may do more than the daemon's user.
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
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from postfix_mta_sts import occupants
from postfix_mta_sts.config.address import TcpAddress, UnixAddress, is_link_local
from postfix_mta_sts.config.dates import until_text
from postfix_mta_sts.config.programs import program_problem
from postfix_mta_sts.config.settings import (
    ExceptionSettings,
    Settings,
    default_cache_path,
    default_control_path,
)
from postfix_mta_sts.daemon import preflight_fleet
from postfix_mta_sts.network.addresses import special_use
from postfix_mta_sts.network.authorities import ADVICE, system_problem
from postfix_mta_sts.network.special_ranges import METADATA_USE
from postfix_mta_sts.network.tls import client_context
from postfix_mta_sts.postfix.access import access_warnings, postfix_account
from postfix_mta_sts.sockets import ListenError
from postfix_mta_sts.sockets.host_names import UNAVAILABLE, addresses_of, is_unreachable
from postfix_mta_sts.store.fleet import settings as fleet_settings

_ANY: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 (compared, not bound)
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


def check(settings: Settings, environ: Mapping[str, str], now: float) -> Iterator[Finding]:
    """Yield what will go wrong at a start with these settings; `now` is in epoch seconds."""
    endpoints = list(_endpoints(settings, environ))
    yield from _overlaps(endpoints)
    for endpoint in endpoints:
        yield from _accounts(endpoint)
        if isinstance(endpoint.address, UnixAddress):
            yield from _unix(endpoint, endpoint.address.path)
        else:
            yield from _tcp(endpoint, endpoint.address)
    for warning in access_warnings(settings.listen, postfix_account()):
        yield Finding("listen", warning, is_warning=True)
    yield from _nameservers(settings.dns.nameservers)
    yield from _store(settings.cache.path or default_cache_path(environ))
    yield from _relative(settings)
    yield from _prefixes(settings.https.allow_private_addresses)
    yield from _ended(settings.exceptions, now)
    yield from _alerts(settings.alerts.command)
    yield from (Finding(*each) for each in fleet_settings.problems(settings.fleet))
    yield from (Finding(*each, is_warning=True) for each in preflight_fleet.doubts(settings.fleet))
    if not settings.https.ca_file and (problem := system_problem(client_context(None))):
        yield Finding("https.ca_file", f"{problem}; {ADVICE}", is_warning=True)


def _relative(settings: Settings) -> Iterator[Finding]:
    for key, path in (("cache.path", settings.cache.path), ("control.path", settings.control.path)):
        if path and not path.is_absolute():
            reason = (
                "is relative to the folder in which the daemon starts; write one that begins with /"
            )
            yield Finding(key, f"{path} {reason}", is_warning=True)


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
            if _overlap(one.address, other.address):
                reason = f"{one.address} and {other.address} of {other.key} are the same address"
                yield Finding(one.key, f"{reason}; use another one")


def _overlap(one: TcpAddress | UnixAddress, other: TcpAddress | UnixAddress) -> bool:
    if not isinstance(one, TcpAddress) or not isinstance(other, TcpAddress):
        return one == other
    pairs = ((a, b) for a in _hosts(one) for b in _hosts(other))
    return one.port == other.port != 0 and any(_is_one_host(a, b) for a, b in pairs)


def _is_one_host(one: str, other: str) -> bool:
    """Whether two IP addresses are equal, or one of them stands for all of its family."""
    is_same_family = (":" in one) == (":" in other)
    return one == other or (is_same_family and not _ANY.isdisjoint({one, other}))


def _hosts(address: TcpAddress) -> Sequence[str]:
    """The IP addresses of a host; none if its name has none, which `_tcp` finds."""
    with suppress(ListenError):
        return [each.host for each in addresses_of(address) if isinstance(each, TcpAddress)]
    return []


def _accounts(endpoint: _Endpoint) -> Iterator[Finding]:
    kinds: tuple[tuple[str, str | int | None, Callable[[str], int], str, set[int]], ...] = (
        ("owner", endpoint.owner, _uid, "user", {os.geteuid()}),
        ("group", endpoint.group, _gid, "group", {os.getegid(), *os.getgroups()}),
    )
    for name, value, look_up, kind, own in kinds:
        if value is not None and (reason := _account(value, look_up, kind, own)):
            yield Finding(f"{endpoint.section}.{name}", reason, not endpoint.is_needed)


def _account(value: str | int, look_up: Callable[[str], int], kind: str, own: set[int]) -> str:
    """Why this process may not give a file to a user or group; `own` are its own ids."""
    try:
        number = value if isinstance(value, int) else look_up(value)
    except KeyError:
        return f"there is no {kind} {value!r} on this machine; create it, or write an id"
    if os.geteuid() and number not in own:
        return f"user {os.geteuid()} may not give a file to {kind} {value}; start as root"
    return ""


def _uid(name: str) -> int:
    return pwd.getpwnam(name).pw_uid


def _gid(name: str) -> int:
    return grp.getgrnam(name).gr_gid


def _unix(endpoint: _Endpoint, path: Path) -> Iterator[Finding]:
    def finding(reason: str) -> Finding:
        return Finding(endpoint.key, reason, not endpoint.is_needed)

    folder = path.parent if endpoint.is_needed else _nearest(path.parent)
    if not stat.S_ISDIR(_mode(folder)):
        yield finding(f"there is no folder {folder}; create it: install -d -o USER {folder}")
    elif not os.access(folder, os.W_OK | os.X_OK):
        yield finding(f"the folder {folder} is not writable for user {os.geteuid()}")
    name, colon, map_name = str(path).rpartition(":")
    if colon:
        reason = f"{path} ends with a map name; write unix:{name}, and :{map_name} only in main.cf"
        yield Finding(endpoint.key, reason, is_warning=True)
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
    if is_unreachable(address):
        reason = f"{address}: this machine has no IPv6 address; write 0.0.0.0:{address.port}"
        yield Finding(endpoint.key, reason, is_warning=True)
    failures = [failure for info in found if (failure := _bind(*info))]
    missing = [failure for failure in failures if failure.errno in UNAVAILABLE]
    # Of a name with several addresses, the daemon needs one: IPv6 may be switched off.
    for failure in failures if len(missing) == len(found) else set(failures).difference(missing):
        yield from _not_bound(endpoint, address, failure)


def _bind(
    family: int, kind: int, protocol: int, _: str, sockaddr: tuple[object, ...]
) -> OSError | None:
    """Try whether an address can be bound; return why not."""
    try:
        with socket.socket(family, kind, protocol) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(sockaddr)
    except OSError as error:
        return error
    return None


def _not_bound(endpoint: _Endpoint, address: TcpAddress, error: OSError) -> Iterator[Finding]:
    if error.errno == errno.EADDRINUSE:
        yield from _in_use(endpoint, str(address), occupants.on_port(address.port))
        return
    reason = f"{address}: {error.strerror}; {occupants.tcp_advice(error)}"
    yield Finding(endpoint.key, reason)


def _in_use(endpoint: _Endpoint, address: str, by: str) -> Iterator[Finding]:
    """Warn of another process at the address, unless it is the daemon that runs."""
    if not by.endswith(_OURSELVES):
        yield Finding(endpoint.key, f"{address} is in use now{by}", is_warning=True)


def _nameservers(servers: Sequence[str]) -> Iterator[Finding]:
    """Warn of link-local servers to which no interface leads: the other servers are still asked."""
    for server in servers:
        if reason := _no_interface(server):
            yield Finding("dns.nameservers", f"{server} cannot be asked: {reason}", is_warning=True)


def _no_interface(server: str) -> str:
    host, _, zone = server.strip("[").partition("]")[0].partition("%")
    if not zone:
        needed = f"a link-local address needs its interface, like {host}%eth0"
        return needed if is_link_local(host) else ""
    known = {word for index, name in socket.if_nameindex() for word in (str(index), name)}
    return "" if zone in known else f"this machine has no interface {zone}"


def _store(path: Path) -> Iterator[Finding]:
    mode = _mode(path)
    if stat.S_ISDIR(mode):
        yield Finding("cache.path", f"{path} is a folder; write the path of a file in it")
    elif mode and not stat.S_ISREG(mode):
        yield Finding("cache.path", f"{path} is not a regular file")
    elif mode and not os.access(path, os.R_OK | os.W_OK):
        yield Finding("cache.path", f"{path} is not writable for user {os.geteuid()}")
    folder = _nearest(path.parent)
    if not stat.S_ISDIR(_mode(folder)):
        yield Finding("cache.path", f"{folder} is not a folder")
    elif not os.access(folder, os.W_OK | os.X_OK):
        yield Finding("cache.path", f"{folder} is not writable for user {os.geteuid()}")


def _prefixes(allowed: bool | Sequence[str]) -> Iterator[Finding]:  # noqa: FBT001 - a setting's value
    """Warn of prefixes that allow nothing."""
    for prefix in () if isinstance(allowed, bool) else allowed:
        network = ip_network(prefix)
        if {special_use(str(network[0])), special_use(str(network[-1]))} == {METADATA_USE}:
            reason = f"{prefix} has no effect: it is a {METADATA_USE}, which is never asked"
            yield Finding("https.allow_private_addresses", reason, is_warning=True)


def _ended(exceptions: Mapping[str, ExceptionSettings], now: float) -> Iterator[Finding]:
    """Warn of exceptions that have no effect any more; the daemon logs the same."""
    for name, each in exceptions.items():
        if each.until is not None and each.until <= now:
            reason = f"its end was {until_text(each.until)}; it has no effect, remove {name}"
            yield Finding(f"exceptions.{name}.until", reason, is_warning=True)


def _alerts(command: Sequence[str]) -> Iterator[Finding]:
    """Warn of a program that this user cannot run; the daemon logs the same."""
    if command and (reason := program_problem(command[0])):
        yield Finding("alerts.command", reason, is_warning=True)


def _nearest(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists: those below it are created."""
    return next((each for each in (folder, *folder.parents) if _mode(each)), folder)


def _mode(path: Path) -> int:
    """Return type and permissions (stat(2)); 0: there is nothing, or this user cannot see it."""
    with suppress(OSError):
        return path.stat().st_mode
    return 0
