"""Query the DNS for the policy id of a Policy Domain and for the addresses of a Policy Host.

`mtasts.record` parses the TXT records; this module separates a DNS that answers ("there is none")
from one that does not (SERVFAIL, REFUSED, no answer). All names are absolute: no search list
changes them.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import (
    DiscoveryError,
    DnsFailureError,
    HostNotFoundError,
    NoRecordError,
    OwnFaultError,
)
from postfix_mta_sts.mtasts.lifecycle import Discovered
from postfix_mta_sts.mtasts.record import parse_records, record_name
from postfix_mta_sts.mtasts.tlsrpt_record import FoundTlsrpt, parse_tlsrpt, tlsrpt_name
from postfix_mta_sts.network.dns_exchange import Outcome
from postfix_mta_sts.network.dns_message import NXDOMAIN, DnsResponse, Question, RecordType
from postfix_mta_sts.network.dns_name import NameTooLongError
from postfix_mta_sts.network.nameservers import Nameservers
from postfix_mta_sts.network.own_limits import own_shares

FAILURES_LIMIT: Final = 20
"""Failed queries in a row after which the DNS is to blame, and not the queried domains."""
SECOND_FAMILY: Final = 0.05
"""Seconds that one address family waits for the other, once it has addresses (RFC 8305 §3)."""
MAX_ADDRESSES: Final = 32
"""Addresses of each family that are used; `connect` tries fewer, but skips private ones first."""

_NODATA: Final = "NODATA"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TxtAnswer:
    """A TXT RRset with at least one record."""

    texts: tuple[bytes, ...]
    """One item for each record, its character-strings joined (RFC 8461 §3.1)."""
    ttl: int
    """Seconds: the lowest of the answer, including CNAMEs."""
    aliases: tuple[str, ...] = ()
    """The CNAME chain from the name on, without the name itself."""


_Addresses: TypeAlias = list[str] | DiscoveryError
"""Addresses of one family, at least one; or the reason why there are none."""


class DnsClient:
    """Sends queries to `nameservers`: addresses with or without a port; empty: the system's.

    `timeout` limits one query in seconds, including all tries and servers. `clock` gives monotonic
    seconds. `resolv_conf` and `port` are those of `Nameservers`. TXT queries wait for each
    other if `own_limits` has no sockets for more; so do the callers of `look_up_addresses`.
    """

    def __init__(
        self,
        nameservers: Sequence[str] = (),
        timeout: float = 5.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        resolv_conf: Path = Path("/etc/resolv.conf"),
        port: int = 53,
    ) -> None:
        self._nameservers = Nameservers(
            nameservers, timeout, clock=clock, resolv_conf=resolv_conf, port=port
        )
        self._slots = asyncio.Semaphore(own_shares().look_ups)  # for TXT; `https` has its own
        self._failures = 0  # in a row

    @property
    def unanswered(self) -> bool:
        """Whether the last `FAILURES_LIMIT` queries or more all failed."""
        return self._failures >= FAILURES_LIMIT

    async def look_up_txt(self, domain: Domain) -> TxtAnswer:
        """Query the TXT records at `_mta-sts.<domain>` (RFC 8461 §3.1); see `look_up_texts`."""
        return await self.look_up_texts(record_name(domain))

    async def look_up_texts(self, name: str) -> TxtAnswer:
        """Query the TXT records at a name in ASCII, following CNAMEs.

        Raises `NoRecordError` (NXDOMAIN, NODATA), `DnsFailureError`, or `OwnFaultError`.
        """
        self._nameservers.read_if_due()
        response = await self._counted(name)
        texts = tuple(record for record in response.records if isinstance(record, bytes))
        if texts:
            return TxtAnswer(texts, response.ttl, response.aliases)
        reason = _absent(response)
        if reason == _NODATA and response.aliases:
            reason = "a CNAME that leads to no TXT record"
        raise NoRecordError(reason, response.aliases)

    async def query(self, name: str, kind: RecordType) -> DnsResponse:
        """Query one RRset of a name in ASCII; the response may have no records.

        Raises `NoRecordError` for a name that cannot exist, `DnsFailureError`, or `OwnFaultError`.
        """
        self._nameservers.read_if_due()
        return await self._nameservers.ask(_question(name, kind))

    async def discover(self, domain: Domain) -> Discovered:
        """Find the policy id that a Policy Domain announces; raises `DiscoveryError`."""
        answer = await self.look_up_txt(domain)
        return Discovered(parse_records(answer.texts), answer.ttl)

    async def find_tlsrpt(self, domain: Domain) -> FoundTlsrpt:
        """Find out where a domain wants TLS reports (RFC 8460 §3); raises `DiscoveryError`."""
        answer = await self.look_up_texts(tlsrpt_name(domain))
        return FoundTlsrpt(parse_tlsrpt(answer.texts), answer.ttl)

    async def look_up_addresses(self, host: str) -> Sequence[str]:
        """Query all addresses of a host, IPv6 first.

        An error in one address family does not matter if the other has addresses, and a late answer
        is not waited for. Raises `HostNotFoundError` if there are none, `DnsFailureError` if it
        cannot be known, `OwnFaultError`.
        """
        self._nameservers.read_if_due()
        try:
            outcomes = await self._both_families(host)
        except NoRecordError as error:  # the host cannot exist
            raise HostNotFoundError(str(error)) from None
        found = [each for outcome in outcomes if isinstance(outcome, list) for each in outcome]
        if found:
            return found
        raise _not_found(host, [each for each in outcomes if isinstance(each, DiscoveryError)])

    async def _both_families(self, host: str) -> list[_Addresses]:
        """The outcomes of both families, or of the one that had addresses first."""
        questions = [_question(host, kind) for kind in (RecordType.AAAA, RecordType.A)]
        queries = [self._nameservers.query(question) for question in questions]
        try:
            done, pending = await asyncio.wait(queries, return_when=asyncio.FIRST_COMPLETED)
            if pending:
                first = done.pop().result()
                found = isinstance(first, DnsResponse) and first.records
                await asyncio.wait(pending, timeout=SECOND_FAMILY if found else None)
            return [_addresses(query.result()) for query in queries if query.done()]
        finally:
            for query in queries:
                query.cancel()

    async def _counted(self, name: str) -> DnsResponse:
        """Query TXT records; log when many queries in a row have failed, and the next answer."""
        try:
            async with self._slots:
                response = await self._nameservers.ask(_question(name, RecordType.TXT))
        except DnsFailureError as error:
            self._count_failure(str(error))
            raise
        self._reset_failures()
        return response

    def _count_failure(self, reason: str) -> None:
        self._failures += 1
        if self._failures == FAILURES_LIMIT:
            event(
                _log,
                logging.WARNING,
                "DNS does not answer",
                reason=reason,
                failures=self._failures,
                servers=", ".join(map(str, self._nameservers.servers)),
            )

    def _reset_failures(self) -> None:
        if self.unanswered:
            event(_log, logging.INFO, "DNS answers again", failures=self._failures)
        self._failures = 0


def _question(name: str, kind: RecordType) -> Question:
    """Raises `NoRecordError` for a name that cannot exist."""
    try:
        return Question(name, kind, secrets.randbits(16), dnssec=False)
    except NameTooLongError:
        raise NoRecordError("the name is too long for the DNS") from None


def _addresses(outcome: Outcome) -> _Addresses:
    if isinstance(outcome, DiscoveryError):
        return outcome
    found = [record for record in outcome.records if isinstance(record, str)]
    return found[:MAX_ADDRESSES] or NoRecordError(_absent(outcome))


def _absent(response: DnsResponse) -> str:
    return "NXDOMAIN" if response.rcode == NXDOMAIN else _NODATA


def _not_found(host: str, errors: Sequence[DiscoveryError]) -> DiscoveryError | HostNotFoundError:
    """Why a host has no address; what leaves it open takes precedence over a negative answer."""
    for error in errors:
        if isinstance(error, OwnFaultError):
            return error
    for error in errors:
        if isinstance(error, DnsFailureError):
            return DnsFailureError(f"addresses of {host}: {error}")
    reasons = {str(error) for error in errors} - {_NODATA}
    return HostNotFoundError(", ".join(sorted(reasons)) or "no address")
