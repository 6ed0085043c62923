"""Fetch a policy over IPv4 alone and over IPv6 alone, and say where they differ, for `query`.

A Policy Host that serves its policy over one address family only looks healthy from some places.
The daemon does not compare: it takes the first address with which TLS can be established.
"""

import asyncio
import hashlib
import socket
from collections.abc import Sequence
from typing import Final, TypeAlias

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import (
    DiscoveryError,
    MtaStsError,
    OwnFaultError,
    StatusError,
)
from postfix_mta_sts.network.clients import policy_fetcher
from postfix_mta_sts.network.dns import DnsClient
from postfix_mta_sts.network.dns_message import RecordType
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.network.trace import FetchTrace
from postfix_mta_sts.values import Value

_FAMILIES: Final = {"IPv6": RecordType.AAAA, "IPv4": RecordType.A}

_Addresses: TypeAlias = Sequence[str] | DiscoveryError


class FamilyResult(Value, frozen=True):
    """What one GET over one address family gave; either `code` or `sha256` is not None."""

    family: str
    """`IPv6` or `IPv4`."""
    address: str | None = None
    """The address that was connected, or the last one that was tried."""
    code: str | None = None
    """The code of the error; see `mtasts.errors`."""
    reason: str = ""
    """Why there is no policy file; printable, without the address."""
    status: int | None = None
    size: int | None = None
    """Bytes of the policy file."""
    sha256: str | None = None
    """The digest of the policy file, as hexadecimal digits."""


async def compare_families(
    domain: Domain, dns: DnsClient, settings: NetworkSettings
) -> tuple[FamilyResult, ...]:
    """GET the policy over each address family at the same time, IPv6 first in the result.

    Empty if there is nothing to compare: the Policy Host has addresses of one family only, this
    machine has no route to one of them, or a proxy connects. If the DNS fails for one family, that
    is its result. Each GET has the time of `settings.https_timeout`.
    """
    if settings.proxy:
        return ()
    host = f"mta-sts.{domain}"
    found = await asyncio.gather(*(_look_up(dns, host, kind) for kind in _FAMILIES.values()))
    lists = [each for each in found if not isinstance(each, DiscoveryError)]
    if not lists or not all(each and _has_route(each[0]) for each in lists):
        return ()
    gets = (
        _get(family, domain, addresses, settings)
        for family, addresses in zip(_FAMILIES, found, strict=True)
    )
    return tuple(await asyncio.gather(*gets))


def difference(results: Sequence[FamilyResult]) -> str:
    """Where the results differ, as one line of printable ASCII; empty if they agree.

    Two failures of the same kind agree, whatever their reasons. A fault of this program says
    nothing.
    """
    agree = len({_essence(each) for each in results}) < 2
    if agree or any(each.code == OwnFaultError.code for each in results):
        return ""
    return "; ".join(f"{each.family}: {finding(each)}" for each in results)


def finding(result: FamilyResult) -> str:
    """What one address family gave, as printable ASCII."""
    if result.sha256 is None:
        return result.reason
    return f"{result.status}, {result.size} bytes, SHA-256 {result.sha256[:8]}..."


def _essence(result: FamilyResult) -> tuple[object, ...]:
    status = result.status if result.code == StatusError.code else None
    return result.code, status, result.sha256


async def _look_up(dns: DnsClient, host: str, kind: RecordType) -> _Addresses:
    try:
        response = await dns.query(host, kind)
    except DiscoveryError as error:
        return error.with_traceback(None)  # else a cycle: it refers to this frame
    return [each for each in response.records if isinstance(each, str)]


async def _get(
    family: str, domain: Domain, addresses: _Addresses, settings: NetworkSettings
) -> FamilyResult:
    """GET the policy from these addresses only."""
    if isinstance(addresses, DiscoveryError):
        return FamilyResult(family, code=addresses.code, reason=f"addresses: {addresses}")

    async def look_up(_: str) -> Sequence[str]:
        return addresses

    fetcher = policy_fetcher(settings, look_up)
    trace = FetchTrace()
    try:
        body = await fetcher.fetch_body(domain, trace)
    except MtaStsError as error:
        reason = str(error).removeprefix(f"{trace.address}: ")
        return FamilyResult(family, trace.address, error.code, reason, trace.status)
    finally:
        await fetcher.close()
    digest = hashlib.sha256(body).hexdigest()
    return FamilyResult(family, trace.address, status=trace.status, size=len(body), sha256=digest)


def _has_route(address: str) -> bool:
    """Whether this machine could send to an address; sends nothing."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((address, 443))
    except OSError:
        return False
    return True
