"""What the system says of the daemon's surroundings: its unit, name servers and CA certificates.

Only reads. A function that raises `OSError` or `UserError` could not see what it is for.
"""

import asyncio
import errno
import re
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from postfix_mta_sts.admin.diagnosis.unjoined import in_thread
from postfix_mta_sts.admin.doctor.snapshot import Resolver, Unit
from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.config.field_types import read_ca_file
from postfix_mta_sts.errors import UserError
from postfix_mta_sts.mtasts.errors import DnsFailureError, printable
from postfix_mta_sts.network.authorities import system_paths, system_problem
from postfix_mta_sts.network.dnssec import DnssecClient, are_trusted
from postfix_mta_sts.network.tls import client_context
from postfix_mta_sts.postfix.programs import run

SYSTEMCTL: Final = ("systemctl",)
UNITS: Final = (
    "postfix-mta-sts.service",
    "postfix-mta-sts.socket",
    "postfix-mta-sts-chroot.socket",
)
RESOLV_CONF: Final = Path("/etc/resolv.conf")
DNS_TIMEOUT: Final = 2.0
"""Seconds for an answer from one name server; all are asked at once."""
BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Arch, Alpine, Gentoo
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",
)
"""Where systems have all CA certificates in one file."""

_PROPERTIES: Final = (
    "Id",
    "LoadState",
    "ActiveState",
    "UnitFileState",
    "ExecStart",
    "FragmentPath",
    "DropInPaths",
    "Listen",
    "MainPID",
    "User",
)
_ACTIVE: Final = frozenset({"active", "reloading", "activating"})
_NOT_AT_BOOT: Final = frozenset(
    {"", "bad", "disabled", "enabled-runtime", "linked", "linked-runtime", "masked"}
    | {"masked-runtime"}
)
_LISTEN: Final = re.compile(r"(.+) \(Stream\)")
_ARGUMENTS: Final = re.compile(r"\bargv\[\]=(.*?) ;")


class NoUnitError(UserError):
    """systemd knows no unit of the daemon, or does not run here."""


@dataclass(frozen=True, slots=True)
class UnitSeen:
    """The unit, and the parts of it that lead to the process."""

    unit: Unit
    pid: int
    """0: there is no process."""
    user: str
    """The name of its user; empty: none is set."""
    sleeping: tuple[str, ...] = ()
    """The addresses at which systemd listens to start the daemon, as `ListenStream=` has them."""


async def read_unit(command: Sequence[str] = SYSTEMCTL) -> UnitSeen:
    """Ask systemctl(1) for the units of the daemon. Raises `UserError`."""
    output = await run([*command, "show", "--property", ",".join(_PROPERTIES), *UNITS])
    if output.code:
        raise NoUnitError(f"systemctl failed: {printable(output.reason)}")
    return parse_units(output.text)


def parse_units(text: str) -> UnitSeen:
    """Read the output of `systemctl show` for `UNITS`. Raises `NoUnitError`."""
    service, *others = [_properties(block) for block in text.split("\n\n")]
    if service.get("LoadState") != "loaded":
        raise NoUnitError(f"systemd has no unit {UNITS[0]}")
    arguments = _ARGUMENTS.search(service.get("ExecStart", ""))
    is_active = service.get("ActiveState") in _ACTIVE
    sockets = [] if is_active else [each for each in others if each["ActiveState"] in _ACTIVE]
    unit = Unit(
        is_active=is_active,
        is_enabled=any(_starts_at_boot(each) for each in (service, *others)),
        command_line=printable(arguments[1] if arguments else "", 2_000),
        files=tuple(map(printable, _files(service))),
        sockets=tuple(printable(each["Id"]) for each in sockets),
    )
    pid = service.get("MainPID", "")
    return UnitSeen(
        unit,
        int(pid) if pid.isascii() and pid.isdigit() else 0,
        service["User"],
        tuple(address for each in sockets for address in _addresses(each)),
    )


def _properties(block: str) -> dict[str, str]:
    """The values by name; one that has several lines, such as `Listen`, has these as its lines."""
    found: dict[str, str] = dict.fromkeys(_PROPERTIES, "")
    for line in block.splitlines():
        name, _, value = line.partition("=")
        found[name] = "\n".join(filter(None, [found.get(name), value]))
    return found


def _addresses(unit: Mapping[str, str]) -> list[str]:
    """Where a socket unit listens."""
    return [match[1] for match in map(_LISTEN.fullmatch, unit["Listen"].split("\n")) if match]


def _files(service: Mapping[str, str]) -> list[str]:
    return [*filter(None, [service["FragmentPath"]]), *service["DropInPaths"].split()]


def _starts_at_boot(unit: Mapping[str, str]) -> bool:
    return unit["LoadState"] == "loaded" and unit["UnitFileState"] not in _NOT_AT_BOOT


def mtime(path: Path) -> float:
    """When a file was last written, in epoch seconds. Raises `OSError`."""
    return path.stat().st_mtime


async def ask_resolver(
    nameservers: Sequence[str] = (),
    resolv_conf: Path = RESOLV_CONF,
    *,
    timeout: float = DNS_TIMEOUT,  # noqa: ASYNC109 (the time of a server, not of the caller)
    port: int = 53,
) -> Resolver:
    """Ask each name server whether it validates DNSSEC: these, else those of the file.

    A file that is not there names the server of this machine (resolv.conf(5)). `port`, for servers
    without one, is for tests. Raises `OSError` for what is no file: a pipe would hold up all parts.
    """
    if not nameservers:
        await in_thread(partial(_check_file, resolv_conf))
    client = DnssecClient(nameservers, timeout, resolv_conf=resolv_conf, port=port)
    servers = tuple(client.nameservers)
    asked = await asyncio.gather(*(_validates(each, timeout) for each in servers))
    said = dict(zip(map(str, servers), asked, strict=True))
    return Resolver(
        file="" if nameservers else str(resolv_conf),
        servers=tuple(said),
        silent=tuple(name for name, validates in said.items() if validates is None),
        not_validating=tuple(name for name, validates in said.items() if validates is False),
        are_local=are_trusted(servers, trust_ad=False),
    )


def _check_file(path: Path) -> None:
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))


async def _validates(server: TcpAddress, seconds: float) -> bool | None:
    """Whether a name server proves the root zone; None: it does not answer."""
    try:
        async with asyncio.timeout(seconds):
            return await DnssecClient([str(server)], seconds).validates()
    except (DnsFailureError, TimeoutError):
        return None


def find_bundle(known: Sequence[str] = BUNDLES) -> str:
    """The file of CA certificates that this system has, for main.cf; empty: none."""
    paths = [*map(Path, known), system_paths()[0]]
    return next((str(path) for path in paths if path.is_file() and path.stat().st_size), "")


def daemon_ca_problem(ca_file: Path | None) -> str:
    """Why the daemon can trust no certificate, by `https.ca_file` or the system; empty: it can."""
    if ca_file is None:
        return system_problem(client_context(None))
    try:
        read_ca_file(ca_file)
    except OSError as error:
        return printable(f"{ca_file}: {error.strerror}")
    return ""
