"""Query a validating resolver, with the AD bit that says whether DNSSEC proves the answer.

An answer is secure, or not, or missing (`DnsFailureError`); `dane` decides what follows. The AD bit
is only as trustworthy as the path to the resolver; see `are_trusted`.
"""

import asyncio
import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, Literal, TypeVar

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.mtasts.errors import DiscoveryError, DnsFailureError, OwnFaultError
from postfix_mta_sts.network.dns_message import MAX_TTL, NOERROR, Mx, Question, RecordType, Tlsa
from postfix_mta_sts.network.dns_name import NameTooLongError
from postfix_mta_sts.network.nameservers import Nameservers

DOCKER: Final = "127.0.0.11"
"""The name server in containers of Docker. It validates nothing, and passes on the AD bit of
whatever server it has asked over the network (tests/e2e/test_resolvers.py)."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DnssecAnswer(Generic[T]):
    """The records at a name, CNAMEs followed; an answer may have no records."""

    records: tuple[T, ...]
    secure: bool
    """Proven by DNSSEC, including each CNAME, or the absence of records."""
    exists: bool
    """False: NXDOMAIN."""
    name: str
    """The name that the CNAMEs lead to, in the form of `dns_message`."""
    ttl: int
    """Seconds: the lowest of the answer."""


def are_trusted(nameservers: Sequence[TcpAddress], *, trust_ad: bool) -> bool:
    """Whether the AD bit of these name servers can be trusted (RFC 7672 §2.1.3).

    It can if all are on this machine, or if the administrator vouches for the path (`trust_ad`).
    """
    if not nameservers:
        return False
    return trust_ad or all(_is_here(each.host) for each in nameservers)


def _is_here(host: str) -> bool:
    """Whether the server is on loopback, and not the one that Docker forwards to other machines."""
    return host != DOCKER and ipaddress.ip_address(host).is_loopback


class DnssecClient:
    """Sends queries to `nameservers`: addresses with or without a port; empty: the system's.

    `timeout` limits one query in seconds, including all tries and servers. `resolv_conf` names
    the system's servers; other servers are queried once `not_validating` has checked them. `port`,
    used for servers without one, is for tests.
    """

    def __init__(
        self,
        nameservers: Sequence[str] = (),
        timeout: float = 5.0,
        *,
        resolv_conf: Path = Path("/etc/resolv.conf"),
        port: int = 53,
    ) -> None:
        self.timeout = timeout
        self._nameservers = Nameservers(nameservers, timeout, resolv_conf=resolv_conf, port=port)
        self._checks = 0  # under way

    @property
    def nameservers(self) -> Sequence[TcpAddress]:
        """The servers in the order in which they are queried."""
        return self._nameservers.servers

    @property
    def wanted_nameservers(self) -> Sequence[TcpAddress]:
        """The servers as last read; they are queried once `not_validating` has checked them."""
        return self._nameservers.seen

    def read_again(self) -> None:
        """Read resolv.conf; other options, or another order of the servers, hold at once."""
        # What a check has not seen must not be in use after it.
        if not self._checks and set(self._nameservers.look()) == set(self.nameservers):
            self._nameservers.adopt()

    async def validates(self) -> bool:
        """Whether all name servers that answer prove the root's SOA record (RFC 7672 §2.1.3).

        Raises `DnsFailureError` if none answers.
        """
        return not await self.not_validating()

    async def not_validating(self) -> Sequence[TcpAddress]:
        """The servers that answer but do not prove it; raises `DnsFailureError` if none answers."""
        self._checks += 1
        servers = self._nameservers.look()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {each: group.create_task(self._proves_root(each)) for each in servers}
        finally:
            self._checks -= 1
            self._nameservers.adopt()  # whatever they say, they are the ones that are wanted
        outcomes = {server: task.result() for server, task in tasks.items()}
        failures = [each for each in outcomes.values() if isinstance(each, DiscoveryError)]
        if len(failures) == len(outcomes):
            raise failures[0]
        return [server for server, proves in outcomes.items() if proves is False]

    async def mx(self, name: str) -> DnssecAnswer[Mx]:
        """Query MX records; this and the others raise `DnsFailureError`, which names the query."""
        return await self._ask(name, RecordType.MX, Mx)

    async def addresses(
        self, name: str, kind: Literal[RecordType.A, RecordType.AAAA]
    ) -> DnssecAnswer[str]:
        """Query the addresses of one family."""
        return await self._ask(name, kind, str)

    async def alias(self, name: str) -> DnssecAnswer[str]:
        """Query the CNAME record of this name itself."""
        return await self._ask(name, RecordType.CNAME, str)

    async def tlsa(self, name: str) -> DnssecAnswer[Tlsa]:
        """Query TLSA records."""
        return await self._ask(name, RecordType.TLSA, Tlsa)

    async def _proves_root(self, server: TcpAddress) -> bool | DiscoveryError:
        try:
            response = await self._nameservers.ask(_question(".", RecordType.SOA), [server])
        except (DnsFailureError, OwnFaultError) as error:
            return error
        return bool(response.records) and response.authentic

    async def _ask(self, name: str, kind: RecordType, form: type[T]) -> DnssecAnswer[T]:
        try:
            response = await self._nameservers.ask(_question(name, kind))
        except NameTooLongError:  # a name that cannot exist is a secure absence
            return DnssecAnswer((), secure=True, exists=False, name=name, ttl=MAX_TTL)
        except DnsFailureError as error:
            raise DnsFailureError(f"{kind.name} of {name}: {error}") from error
        return DnssecAnswer(
            tuple(record for record in response.records if isinstance(record, form)),
            secure=response.authentic,
            exists=response.rcode == NOERROR,
            name=response.name,
            ttl=response.ttl,
        )


def _question(name: str, kind: RecordType) -> Question:
    return Question(name, kind, secrets.randbits(16))
