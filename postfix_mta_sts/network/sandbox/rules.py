"""What the network process may read, and which ports it may connect to. Pure.

It reads programs and libraries, CA certificates, and what the C library needs to find hosts. It
must not read the store, keys, the configuration (`alerts.command` is in it) and homes; so `/etc` is
not allowed as a whole.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from postfix_mta_sts.config.store_location import EngineName
from postfix_mta_sts.network.nameservers import server_address
from postfix_mta_sts.network.settings import NetworkSettings

DNS_PORT: Final = 53
PROXY_PORT: Final = 80

FOLDERS: Final = (
    *("/usr/lib", "/usr/lib64", "/usr/lib32", "/lib", "/lib64", "/usr/local/lib"),
    *("/usr/local/lib64", "/usr/share/zoneinfo", "/usr/share/locale"),
    *("/usr/share/ca-certificates", "/usr/local/share/ca-certificates"),
    *("/usr/share/pki", "/etc/ssl", "/etc/pki", "/etc/ca-certificates"),
    *("/nix/store", "/gnu/store"),
    *("/run/systemd/resolve", "/run/NetworkManager", "/run/resolvconf"),
)
"""Read with all that is in them: programs, CA certificates, and where resolv.conf may be a link to.
Private keys in /etc/ssl are only for root."""
WATCHED: Final = (
    *("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf"),
)
"""Single files; one that is replaced needs another process (`paths.Watched`)."""
FILES: Final = (
    *("/etc/services", "/etc/protocols", "/etc/localtime", "/etc/ld.so.cache"),
    *("/proc/sys/vm/overcommit_memory", "/sys/devices/system/cpu/online"),
    *("/sys/devices/system/cpu/possible", "/dev/null", "/dev/urandom"),
)
"""Single files without which it goes on, if they are replaced."""
NEVER_WHOLE: Final = ("/etc", "/proc", "/sys", "/dev", "/run", "/home", "/var/lib", "/var/spool")
"""Folders that no allowed one may contain, whatever the module path says."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is allowed; the rest is forbidden."""

    folders: tuple[str, ...]
    """Read, with all below them."""
    files: tuple[str, ...]
    """Read."""
    ports: tuple[int, ...] | None
    """TCP ports to connect to; None: all."""
    store_socket: str | None = None
    """The UNIX socket of the shared store; None: it uses none."""


def ports_of(settings: NetworkSettings) -> tuple[int, ...] | None:
    """The TCP ports that it connects to; None: they are not known beforehand.

    Sentinels name the ports of other servers, and so does each node of a Redis Cluster; whether a
    server is one is not in its URL.
    """
    ports = {DNS_PORT} if not settings.nameservers else set[int]()
    ports |= {server_address(each, DNS_PORT).port for each in settings.nameservers}
    proxy = settings.proxy
    ports.add(urlsplit(proxy).port or PROXY_PORT if proxy else settings.https_port)
    ports.add(settings.smtp_port)
    if settings.fleet:
        location = settings.fleet.location
        if location.engine is EngineName.REDIS and location.path is None:
            return None
        ports |= {each.port for each in location.addresses}
    return tuple(sorted(ports))


def allowed_folders(package: str, wanted: Iterable[str], private: Sequence[str]) -> tuple[str, ...]:
    """The folders to allow: the package, and those of `wanted` that contain nothing private.

    All are absolute paths without links. A folder below another one that is allowed is left out.
    """
    public = {each for each in wanted if not contains_any(each, private)}
    found: list[str] = []
    for each in sorted({package, *public}):
        if not is_in_any(each, found):
            found.append(each)
    return tuple(found)


def contains_any(folder: str, paths: Iterable[str]) -> bool:
    """Whether one of the paths is this folder, or in it."""
    return any(is_in_any(each, (folder,)) for each in paths)


def is_in_any(path: str, folders: Iterable[str]) -> bool:
    """Whether a path is one of these folders, or in one of them."""
    return any(path == each or path.startswith(f"{each.rstrip('/')}/") for each in folders)
