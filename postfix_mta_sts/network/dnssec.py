"""Query a validating resolver, with the AD bit that says whether DNSSEC proves the answer.

aiodns, which sends all other queries, does not expose the AD bit. An answer is secure, or not, or
missing (`DnsFailureError`); `dane` decides what follows. The AD bit is only as trustworthy as the
path to the resolver; see `are_trusted`.
"""

import asyncio
import ipaddress
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, Literal, TypeVar

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.mtasts.errors import DnsFailureError
from postfix_mta_sts.network.dns_message import (
    MAX_TTL,
    NOERROR,
    NXDOMAIN,
    DnsResponse,
    MalformedError,
    Mx,
    NameTooLongError,
    Question,
    RecordType,
    Tlsa,
)

FIRST_TRY: Final = 0.2
"""The share of the timeout for the first try; each further try takes twice as long."""

_MAX_SYSTEM_SERVERS: Final = 3  # resolv.conf(5)
_RCODES: Final = {1: "FORMERR", 2: "SERVFAIL", 4: "NOTIMP", 5: "REFUSED"}

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

    It can if all are on loopback, or if the administrator vouches for the path (`trust_ad`).
    """
    if not nameservers:
        return False
    return trust_ad or all(ipaddress.ip_address(n.host).is_loopback for n in nameservers)


class DnssecClient:
    """Sends queries to `nameservers`: addresses with or without a port; empty: the system's.

    `timeout` limits one query in seconds, including all tries and servers. `resolv_conf` names
    the system's servers; it is read at the start and by each `not_validating`. `port`, used for
    servers without one, is for tests.
    """

    def __init__(
        self,
        nameservers: Sequence[str] = (),
        timeout: float = 5.0,
        *,
        resolv_conf: Path = Path("/etc/resolv.conf"),
        port: int = 53,
    ) -> None:
        self._timeout = timeout
        self._configured = tuple(_address(text, port) for text in nameservers)
        self._resolv_conf = resolv_conf
        self._port = port
        self._servers = self._configured or _system_servers(resolv_conf, port)

    @property
    def nameservers(self) -> Sequence[TcpAddress]:
        """The servers in the order in which they are queried."""
        return self._servers

    async def validates(self) -> bool:
        """Whether all name servers that answer prove the root's SOA record (RFC 7672 §2.1.3).

        Raises `DnsFailureError` if none answers.
        """
        return not await self.not_validating()

    async def not_validating(self) -> Sequence[TcpAddress]:
        """The servers that answer but do not prove it; raises `DnsFailureError` if none answers."""
        self._servers = self._configured or _system_servers(self._resolv_conf, self._port)
        async with asyncio.TaskGroup() as group:
            tasks = {each: group.create_task(self._proves_root(each)) for each in self._servers}
        outcomes = {server: task.result() for server, task in tasks.items()}
        failures = [each for each in outcomes.values() if isinstance(each, DnsFailureError)]
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

    async def _proves_root(self, server: TcpAddress) -> bool | DnsFailureError:
        try:
            response = await self._response(_question(".", RecordType.SOA), [server])
        except DnsFailureError as error:
            return error
        return bool(response.records) and response.authentic

    async def _ask(self, name: str, kind: RecordType, form: type[T]) -> DnssecAnswer[T]:
        try:
            response = await self._response(_question(name, kind), self._servers)
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

    async def _response(self, question: Question, servers: Sequence[TcpAddress]) -> DnsResponse:
        """Try the servers in turn until one answers; a server that reports an error drops out."""
        left, wait = deque(servers), self._timeout * FIRST_TRY
        reason = "no name server"
        try:
            async with asyncio.timeout(self._timeout):
                while left:
                    server = left.popleft()
                    try:
                        return await _exchange(question, server, wait)
                    except TimeoutError:
                        left.append(server)
                        wait *= 2
                    except DnsFailureError as error:
                        reason = str(error)
        except TimeoutError:
            reason = f"no answer within {self._timeout:g} s"
        raise DnsFailureError(reason)


async def _exchange(question: Question, server: TcpAddress, wait: float) -> DnsResponse:
    """Query one server, by TCP if the answer is too long; raises `TimeoutError` after `wait`."""
    try:
        async with asyncio.timeout(wait):
            response = await _by_udp(question, server)
            if response.truncated:
                response = await _by_tcp(question, server)
    except TimeoutError:
        raise
    except (OSError, EOFError) as error:
        raise DnsFailureError("no name server can be reached") from error
    except MalformedError as error:
        raise DnsFailureError("a malformed answer from the name server") from error
    if response.rcode not in {NOERROR, NXDOMAIN}:
        rcode = _RCODES.get(response.rcode, f"rcode {response.rcode}")
        raise DnsFailureError(f"{rcode} from the name server")
    if response.truncated:
        raise DnsFailureError("a truncated answer from the name server")
    return response


async def _by_udp(question: Question, server: TcpAddress) -> DnsResponse:
    """Query by UDP, from a new socket with a random port that receives from this server only."""
    loop = asyncio.get_running_loop()
    response: asyncio.Future[DnsResponse] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Datagrams(question.read, response), remote_addr=(server.host, server.port)
    )
    try:
        transport.sendto(question.wire())
        return await response
    finally:
        transport.close()


class _Datagrams(asyncio.DatagramProtocol):
    """Waits for a datagram that answers the question; ignores others, which may be forged."""

    def __init__(
        self, read: Callable[[bytes], DnsResponse], response: asyncio.Future[DnsResponse]
    ) -> None:
        self._read = read
        self._response = response

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002 (a connected socket)
        if self._response.done():
            return
        try:
            self._response.set_result(self._read(data))
        except MalformedError:
            return

    def error_received(self, exc: Exception) -> None:
        if not self._response.done():
            self._response.set_exception(exc)


async def _by_tcp(question: Question, server: TcpAddress) -> DnsResponse:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        query = question.wire()
        writer.write(len(query).to_bytes(2) + query)
        length = int.from_bytes(await reader.readexactly(2))
        return question.read(await reader.readexactly(length))
    finally:
        writer.close()


def _question(name: str, kind: RecordType) -> Question:
    return Question(name, kind, secrets.randbits(16))


def _address(text: str, port: int) -> TcpAddress:
    """Parse the address of a name server, as written in the configuration."""
    try:
        return TcpAddress(str(ipaddress.ip_address(text)), port)
    except ValueError:
        host, _, own_port = text.rpartition(":")
        return TcpAddress(host.strip("[]"), int(own_port))


def _system_servers(resolv_conf: Path, port: int) -> tuple[TcpAddress, ...]:
    """The servers that resolv.conf(5) names; loopback if it names none."""
    try:
        lines = resolv_conf.read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    fields = [line.split() for line in lines]
    named = [f[1] for f in fields if len(f) > 1 and f[0] == "nameserver" and _is_address(f[1])]
    return tuple(TcpAddress(host, port) for host in named[:_MAX_SYSTEM_SERVERS] or ["127.0.0.1"])


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
