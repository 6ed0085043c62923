"""Ask a validating resolver, and hear whether it has proven its answer.

Border: it asks, and tries again; aiodns, which asks all else, does not show the AD bit. An answer
is secure, or not, or there is none (`DnsFailureError`); what follows from that is for `dane` to
say. The AD bit is as good as the way to the resolver: `trusted` says whose counts.
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
    NOERROR,
    NXDOMAIN,
    TTL_MOST,
    DnsResponse,
    MalformedError,
    Mx,
    NameTooLongError,
    Question,
    RecordType,
    Tlsa,
)

FIRST_TRY: Final = 0.2
"""The share of the time that the first name server has; each try after it has twice as much."""

_SYSTEM_MOST: Final = 3  # resolv.conf(5)
_RCODES: Final = {1: "FORMERR", 2: "SERVFAIL", 4: "NOTIMP", 5: "REFUSED"}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DnssecAnswer(Generic[T]):
    """What is at a name, CNAMEs followed; no records at all is an answer too."""

    records: tuple[T, ...]
    secure: bool
    """Proven by DNSSEC, as is each CNAME on the way; the absence of records likewise."""
    exists: bool
    """False: NXDOMAIN."""
    name: str
    """Where the CNAMEs led, in the form of `dnsmessage`."""
    ttl: int
    """Seconds: the least of the answer."""


def trusted(nameservers: Sequence[TcpAddress], *, trust_ad: bool) -> bool:
    """Whether nobody on the way can set the AD bit (RFC 7672 §2.1.3): loopback, or on word."""
    if not nameservers:
        return False
    return trust_ad or all(ipaddress.ip_address(n.host).is_loopback for n in nameservers)


class DnssecClient:
    """Queries to `nameservers`: an address, with or without a port; none: the system's.

    `timeout` bounds one query in seconds, all tries and servers together. `resolv_conf` is where
    the system's servers stand, read at the beginning and with each `not_validating`. `port`,
    that of servers without one, is for tests.
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
        self._servers = self._configured or _of_system(resolv_conf, port)

    @property
    def nameservers(self) -> Sequence[TcpAddress]:
        """Those that are asked, in this order."""
        return self._servers

    async def validates(self) -> bool:
        """Whether all name servers that answer prove the root's own record (RFC 7672 §2.1.3).

        Raises `DnsFailureError` where none answers: nothing is known then.
        """
        return not await self.not_validating()

    async def not_validating(self) -> Sequence[TcpAddress]:
        """Those that do not prove it; raises the same."""
        self._servers = self._configured or _of_system(self._resolv_conf, self._port)
        async with asyncio.TaskGroup() as group:
            tasks = {each: group.create_task(self._proves_root(each)) for each in self._servers}
        outcomes = {server: task.result() for server, task in tasks.items()}
        failures = [each for each in outcomes.values() if isinstance(each, DnsFailureError)]
        if len(failures) == len(outcomes):
            raise failures[0]
        return [server for server, proves in outcomes.items() if proves is False]

    async def mx(self, name: str) -> DnssecAnswer[Mx]:
        """The MX RRset. This and the others raise `DnsFailureError`, which names the query."""
        return await self._ask(name, RecordType.MX, Mx)

    async def addresses(
        self, name: str, kind: Literal[RecordType.A, RecordType.AAAA]
    ) -> DnssecAnswer[str]:
        """The addresses of one family."""
        return await self._ask(name, kind, str)

    async def alias(self, name: str) -> DnssecAnswer[str]:
        """The CNAME that is at this very name."""
        return await self._ask(name, RecordType.CNAME, str)

    async def tlsa(self, name: str) -> DnssecAnswer[Tlsa]:
        """The TLSA RRset."""
        return await self._ask(name, RecordType.TLSA, Tlsa)

    async def _proves_root(self, server: TcpAddress) -> bool | DnsFailureError:
        try:
            response = await self._answered(_question(".", RecordType.SOA), [server])
        except DnsFailureError as error:
            return error
        return bool(response.records) and response.authentic

    async def _ask(self, name: str, kind: RecordType, form: type[T]) -> DnssecAnswer[T]:
        try:
            response = await self._answered(_question(name, kind), self._servers)
        except NameTooLongError:  # what cannot be asked for is proven not to be there
            return DnssecAnswer((), secure=True, exists=False, name=name, ttl=TTL_MOST)
        except DnsFailureError as error:
            raise DnsFailureError(f"{kind.name} of {name}: {error}") from error
        return DnssecAnswer(
            tuple(record for record in response.records if isinstance(record, form)),
            secure=response.authentic,
            exists=response.rcode == NOERROR,
            name=response.name,
            ttl=response.ttl,
        )

    async def _answered(self, question: Question, servers: Sequence[TcpAddress]) -> DnsResponse:
        """The first answer of the servers, in turn; who says that it has none is asked no more."""
        left, wait = deque(servers), self._timeout * FIRST_TRY
        reason = "no name server"
        try:
            async with asyncio.timeout(self._timeout):
                while left:
                    server = left.popleft()
                    try:
                        return await _exchanged(question, server, wait)
                    except TimeoutError:
                        left.append(server)
                        wait *= 2
                    except DnsFailureError as error:
                        reason = str(error)
        except TimeoutError:
            reason = f"no answer within {self._timeout:g} s"
        raise DnsFailureError(reason)


async def _exchanged(question: Question, server: TcpAddress, wait: float) -> DnsResponse:
    """One server's answer, by TCP if it is too long for UDP; raises `TimeoutError` after `wait`."""
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
        said = _RCODES.get(response.rcode, f"rcode {response.rcode}")
        raise DnsFailureError(f"{said} from the name server")
    if response.truncated:
        raise DnsFailureError("a truncated answer from the name server")
    return response


async def _by_udp(question: Question, server: TcpAddress) -> DnsResponse:
    """By a socket of its own, whose port nobody knows, and which hears this server only."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[DnsResponse] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Datagrams(question.read, answered), remote_addr=(server.host, server.port)
    )
    try:
        transport.sendto(question.wire())
        return await answered
    finally:
        transport.close()


class _Datagrams(asyncio.DatagramProtocol):
    """Waits for the datagram that can be read; others may be forged, and are passed over."""

    def __init__(
        self, read: Callable[[bytes], DnsResponse], answered: asyncio.Future[DnsResponse]
    ) -> None:
        self._read = read
        self._answered = answered

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002 (a connected socket)
        if self._answered.done():
            return
        try:
            self._answered.set_result(self._read(data))
        except MalformedError:
            return

    def error_received(self, exc: Exception) -> None:
        if not self._answered.done():
            self._answered.set_exception(exc)


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
    """The address of a name server, as the configuration writes it."""
    try:
        return TcpAddress(str(ipaddress.ip_address(text)), port)
    except ValueError:
        host, _, own_port = text.rpartition(":")
        return TcpAddress(host.strip("[]"), int(own_port))


def _of_system(resolv_conf: Path, port: int) -> tuple[TcpAddress, ...]:
    """The servers that resolv.conf(5) names; this machine where it names none."""
    try:
        lines = resolv_conf.read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    words = [line.split() for line in lines]
    named = [w[1] for w in words if len(w) > 1 and w[0] == "nameserver" and _is_address(w[1])]
    return tuple(TcpAddress(host, port) for host in named[:_SYSTEM_MOST] or ["127.0.0.1"])


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
