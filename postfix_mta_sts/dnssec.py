"""Ask a validating resolver, and hear whether it has proven its answer.

Border: the one place that knows dnspython; aiodns, which asks all else, does not show the AD bit.
An answer is secure, or not, or there is none (`DnsFailureError`); what follows from that is for
`dane` to say. The AD bit is as good as the way to the resolver: `trusted` says whose counts.
"""

import asyncio
import ipaddress
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, Literal, TypeVar

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.resolver
from dns.rdtypes.ANY.CNAME import CNAME
from dns.rdtypes.ANY.MX import MX
from dns.rdtypes.ANY.TLSA import TLSA
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA

from postfix_mta_sts.mtasts.errors import DnsFailureError
from postfix_mta_sts.notation import TcpAddress

FIRST_TRY: Final = 0.2
"""The share of the time that the first name server has; each try after it has twice as much."""

_PORT: Final = 53
_NAMED: Final = (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)
_FOREVER: Final = 2**31 - 1  # seconds, the longest TTL (RFC 2181 §8)

T = TypeVar("T")
_Data = TypeVar("_Data", bound=dns.rdata.Rdata)
_Kind = Literal["A", "AAAA", "CNAME", "MX", "SOA", "TLSA"]


@dataclass(frozen=True, slots=True)
class Mx:
    """An MX record; `host` is a name as in `Answer.name`, `.` for none (RFC 7505)."""

    preference: int
    host: str


@dataclass(frozen=True, slots=True)
class Tlsa:
    """A TLSA record (RFC 6698 §2.1)."""

    usage: int
    selector: int
    matching: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What is at a name, CNAMEs followed; no records at all is an answer too."""

    records: tuple[T, ...]
    secure: bool
    """Proven by DNSSEC, as is each CNAME on the way; the absence of records likewise."""
    exists: bool
    """False: NXDOMAIN."""
    name: str
    """Where the CNAMEs led: lower case, printable ASCII (RFC 4343 §2.1), no final dot."""
    ttl: int
    """Seconds: the least of the answer, or of a negative one (RFC 2308 §5)."""


def trusted(nameservers: Sequence[TcpAddress], *, trust_ad: bool) -> bool:
    """Whether nobody on the way can set the AD bit (RFC 7672 §2.1.3): loopback, or on word."""
    if not nameservers:
        return False
    return trust_ad or all(ipaddress.ip_address(n.host).is_loopback for n in nameservers)


class Dnssec:
    """Queries to `nameservers`: an address, with or without a port; none: the system's.

    `timeout` bounds one query in seconds, all tries and servers together. `resolv_conf` is where
    the system's servers stand, which are read at the beginning and with each `validates`.
    """

    def __init__(
        self,
        nameservers: Sequence[str] = (),
        timeout: float = 5.0,
        *,
        resolv_conf: Path = Path("/etc/resolv.conf"),
    ) -> None:
        self._timeout = timeout
        self._resolv_conf = None if nameservers else resolv_conf
        self._servers = tuple(map(_address, nameservers)) or _of_system(resolv_conf)

    @property
    def nameservers(self) -> Sequence[TcpAddress]:
        """Those that are asked, in this order."""
        return self._servers

    async def validates(self) -> bool:
        """Whether all name servers that answer prove the root's own record (RFC 7672 §2.1.3).

        Raises `DnsFailureError` where none answers: nothing is known then.
        """
        if self._resolv_conf:
            self._servers = _of_system(self._resolv_conf)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._proves_root(server)) for server in self._servers]
        outcomes = [task.result() for task in tasks]
        failures = [outcome for outcome in outcomes if isinstance(outcome, DnsFailureError)]
        if len(failures) == len(outcomes):
            raise failures[0]
        return all(outcome for outcome in outcomes if isinstance(outcome, bool))

    async def mx(self, name: str) -> Answer[Mx]:
        """The MX RRset. This and the others raise `DnsFailureError`, which names the query."""
        return await self._ask(name, "MX", MX, lambda r: Mx(r.preference, _text(r.exchange)))

    async def addresses(self, name: str, kind: Literal["A", "AAAA"]) -> Answer[str]:
        """The addresses of one family."""
        if kind == "A":
            return await self._ask(name, kind, A, lambda r: r.address)
        return await self._ask(name, kind, AAAA, lambda r: r.address)

    async def alias(self, name: str) -> Answer[str]:
        """The CNAME that is at this very name."""
        return await self._ask(name, "CNAME", CNAME, lambda r: _text(r.target))

    async def tlsa(self, name: str) -> Answer[Tlsa]:
        """The TLSA RRset."""
        return await self._ask(
            name, "TLSA", TLSA, lambda r: Tlsa(r.usage, r.selector, r.mtype, r.cert)
        )

    async def _proves_root(self, server: TcpAddress) -> bool | DnsFailureError:
        try:
            response = await self._answered(_query(dns.name.root, "SOA"), [server])
        except DnsFailureError as error:
            return error
        return bool(response.answer) and _is_secure(response)

    async def _ask(
        self, name: str, kind: _Kind, data: type[_Data], read: Callable[[_Data], T]
    ) -> Answer[T]:
        try:
            query = _query(dns.name.from_text(name), kind)
        except dns.name.NameTooLong:  # what cannot be asked for is proven not to be there
            return Answer((), secure=True, exists=False, name=name, ttl=_FOREVER)
        try:
            response = await self._answered(query, self._servers)
            chain = response.resolve_chaining()
        except DnsFailureError as error:
            raise DnsFailureError(f"{kind} of {name}: {error}") from error
        except dns.exception.DNSException as error:  # a CNAME loop, records of no name
            raise DnsFailureError(f"{kind} of {name}: a malformed answer") from error
        return Answer(
            tuple(read(record) for record in chain.answer or () if isinstance(record, data)),
            secure=_is_secure(response),
            exists=response.rcode() == dns.rcode.NOERROR,
            name=_text(chain.canonical_name),
            ttl=min(chain.minimum_ttl, _FOREVER),
        )

    async def _answered(
        self, query: dns.message.Message, servers: Sequence[TcpAddress]
    ) -> dns.message.QueryMessage:
        """The first answer of the servers, in turn; who says that it has none is asked no more."""
        left, wait = deque(servers), self._timeout * FIRST_TRY
        reason = "no name server"
        try:
            async with asyncio.timeout(self._timeout):
                while left:
                    server = left.popleft()
                    try:
                        return await _exchanged(query, server, wait)
                    except dns.exception.Timeout:
                        left.append(server)
                        wait *= 2
                    except DnsFailureError as error:
                        reason = str(error)
        except TimeoutError:
            reason = f"no answer within {self._timeout:g} s"
        raise DnsFailureError(reason)


async def _exchanged(
    query: dns.message.Message, server: TcpAddress, wait: float
) -> dns.message.QueryMessage:
    """One server's answer, by TCP if it is too long for UDP. What does not fit is not heard."""
    try:
        response, _ = await dns.asyncquery.udp_with_fallback(
            query,
            server.host,
            timeout=wait,
            port=server.port,
            ignore_unexpected=True,
            ignore_errors=True,
        )
    except dns.exception.Timeout:
        raise
    except (dns.exception.DNSException, OSError, EOFError) as error:
        raise DnsFailureError("the name server cannot be reached, or is not one") from error
    if response.rcode() not in _NAMED:
        raise DnsFailureError(f"{dns.rcode.to_text(response.rcode())} from the name server")
    if response.flags & dns.flags.TC:
        raise DnsFailureError("a truncated answer from the name server")
    if not isinstance(response, dns.message.QueryMessage):
        raise DnsFailureError("a malformed answer from the name server")
    return response


def _query(name: dns.name.Name, kind: _Kind) -> dns.message.Message:
    # DO for resolvers that show AD to nobody else; AD for those to whom it says so (RFC 6840 §5.7).
    query = dns.message.make_query(name, kind, want_dnssec=True)
    query.flags |= dns.flags.AD
    return query


def _is_secure(response: dns.message.Message) -> bool:
    return bool(response.flags & dns.flags.AD)


def _text(name: dns.name.Name) -> str:
    return name.canonicalize().to_text(omit_final_dot=True)


def _address(text: str) -> TcpAddress:
    """The address of a name server, as the configuration writes it."""
    try:
        return TcpAddress(str(ipaddress.ip_address(text)), _PORT)
    except ValueError:
        host, _, port = text.rpartition(":")
        return TcpAddress(host.strip("[]"), int(port))


def _of_system(resolv_conf: Path) -> tuple[TcpAddress, ...]:
    try:
        system = dns.resolver.Resolver(str(resolv_conf))
    except dns.resolver.NoResolverConfiguration:
        return (TcpAddress("127.0.0.1", _PORT),)  # resolv.conf(5)
    return tuple(TcpAddress(str(server), _PORT) for server in system.nameservers)
