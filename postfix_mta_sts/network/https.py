"""Fetch the policy from the Policy Host: exactly one GET, with a reason for each way to fail.

The caller provides the resolver of host names. `connect` opens connections, `proxy` tunnels,
`http_response` reads the response, and `mtasts.policy` parses the body.

The publisher of a TXT record chooses the Policy Host, so none of its input is trusted: not its
address (`is_public`), its headers, its size or its speed. No connection is reused or closed
politely: each is aborted as soon as the response is complete, or cannot be completed.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeAlias
from urllib.parse import SplitResult, urlsplit

from postfix_mta_sts import __version__
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import DeadlineError, FetchError, HostNotFoundError, printable
from postfix_mta_sts.mtasts.policy import Policy, parse_policy
from postfix_mta_sts.mtasts.response import check_head
from postfix_mta_sts.network.connect import (
    NotAdmittedError,
    client_context,
    connect,
    fetch_error,
    forbidden_address,
    is_public,
    limit_addresses,
)
from postfix_mta_sts.network.http_response import ResponseReader
from postfix_mta_sts.network.proxy import open_tunnel
from postfix_mta_sts.network.slots import Slot, Slots
from postfix_mta_sts.network.trace import FetchTrace, certificate

SLOT_TIME: Final = 0.05
"""Seconds after which a fetch gives its slot to the next one and continues without a slot.

Short, so that hundreds of slow Policy Hosts delay other fetches by no more than this."""

_PATH = "/.well-known/mta-sts.txt"
_FIELDS = (
    f"User-Agent: postfix-mta-sts/{__version__}\r\n"
    "Accept: text/plain\r\n"
    "Accept-Encoding: identity\r\n"
    "Connection: close\r\n"
    "\r\n"
)


def policy_url(domain: Domain, port: int = 443) -> str:
    """The URL of a Policy Domain's policy (RFC 8461 §3.3)."""
    return f"https://{_authority(f'mta-sts.{domain}', port)}{_PATH}"


class AddressLookup(Protocol):
    """A resolver of host names."""

    async def __call__(self, host: str, /) -> Sequence[str]:
        """All addresses of a host as text; see `DnsClient.look_up_addresses`."""


OnAddresses: TypeAlias = Callable[[], None]

_Stream: TypeAlias = socket.socket | asyncio.Transport
"""What carries TLS: a connected socket, or a tunnel through a proxy."""


@dataclass(frozen=True, slots=True)
class _Get:
    """The values that all steps of one GET need."""

    host: str
    port: int
    trace: FetchTrace
    deadline: asyncio.Timeout
    with_certificate: bool
    """Whether to record the certificate in the trace, which only `query` shows."""
    on_addresses: OnAddresses


class PolicyFetcher:
    """Fetches policies, each within `timeout` seconds, not counting the wait for a slot.

    At most `concurrency` fetches hold a slot for TLS and HTTP. A fetch holds its slot for
    `slot_time` seconds at most, and takes it only once it has a connection. `authorities` (CA
    certificates in PEM) replace those of the system. `proxy` is `http://host:port`: the proxy
    resolves host names and connects, so addresses are neither looked up nor checked here. `port`
    is for tests. Can be made outside an event loop.
    """

    def __init__(  # noqa: PLR0913 - each is a setting of its own
        self,
        addresses: AddressLookup,
        *,
        timeout: float = 60.0,
        authorities: str | None = None,
        proxy: str | None = None,
        allow_private_addresses: bool = False,
        concurrency: int = 200,
        port: int = 443,
        slot_time: float = SLOT_TIME,
    ) -> None:
        self._timeout = timeout
        self._proxy = urlsplit(proxy) if proxy else None
        self._port = port
        self._allow_private_addresses = allow_private_addresses
        self._addresses = addresses
        self._context = client_context(authorities)
        self._slots = Slots(concurrency, slot_time)
        self._open: set[asyncio.Transport] = set()

    async def fetch(self, domain: Domain, on_addresses: OnAddresses | None = None) -> Policy:
        """Fetch and parse the policy of a Policy Domain.

        Raises `FetchError`; if the addresses of the Policy Host are not known, `DnsFailureError` or
        `OwnFaultError`.

        `on_addresses` is called once the addresses of the Policy Host are known; with a proxy,
        which looks them up itself, at once. From then on only the Policy Host can be slow.
        """
        return parse_policy(await self.fetch_body(domain, on_addresses=on_addresses))

    async def fetch_body(
        self,
        domain: Domain,
        trace: FetchTrace | None = None,
        on_addresses: OnAddresses | None = None,
    ) -> bytes:
        """Fetch the policy file as bytes; for `on_addresses` and errors see `fetch`.

        `trace` is filled in step by step, so that it is useful also when the fetch fails.
        """
        seen = trace or FetchTrace()
        seen.url = policy_url(domain, self._port)
        try:
            async with asyncio.timeout(self._timeout) as deadline:
                host = f"mta-sts.{domain}"
                get = _Get(
                    host,
                    self._port,
                    seen,
                    deadline,
                    with_certificate=trace is not None,
                    on_addresses=on_addresses or _ignore,
                )
                if self._proxy:
                    return await self._get_by_proxy(get, self._proxy)
                return await self._get_directly(get)
        except TimeoutError:
            raise DeadlineError(f"timed out after {self._timeout:g} s: {seen.phase}") from None

    async def close(self) -> None:
        """Abort the fetches that are running; call nothing else afterwards."""
        for transport in self._open:
            transport.abort()

    async def _get_directly(self, get: _Get) -> bytes:
        """Send one GET to the first address that accepts TLS."""
        addresses = await self._public_addresses(get.host)
        get.on_addresses()
        while True:
            address, sock = await self._connect(addresses, get)
            with await self._take_slot(get, sock):
                try:
                    reader = await self._start_tls(get, sock)
                except FetchError:
                    addresses.remove(address)
                    if not addresses:
                        raise
                else:
                    return await self._exchange(get, reader)

    async def _public_addresses(self, host: str) -> list[str]:
        found = await self._addresses(host)
        if not found:
            raise HostNotFoundError("no address")
        public = [address for address in found if self._is_allowed(address)]
        if not public:
            raise forbidden_address(", ".join(found))
        return limit_addresses(public)

    async def _connect(self, addresses: Sequence[str], get: _Get) -> tuple[str, socket.socket]:
        try:
            address, sock = await connect(addresses, get.port, partial(self._admit, get.trace))
        except OSError as error:
            raise fetch_error(error, get.trace.address) from error
        get.trace.address = address  # of the connection that won the race
        return address, sock

    def _is_allowed(self, address: str) -> bool:
        return self._allow_private_addresses or is_public(address)

    def _admit(self, trace: FetchTrace, address: str) -> None:
        if not self._is_allowed(address):
            raise NotAdmittedError(address)
        trace.address = address

    async def _get_by_proxy(self, get: _Get, proxy: SplitResult) -> bytes:
        get.on_addresses()
        tunnel = await open_tunnel(proxy, get.host, get.port, get.trace)
        try:
            with await self._take_slot(get, tunnel):
                return await self._exchange(get, await self._start_tls(get, tunnel))
        finally:
            tunnel.abort()

    async def _take_slot(self, get: _Get, stream: _Stream) -> Slot:
        """Wait for a slot; the deadline stands still, since the Policy Host is not to blame."""
        loop = asyncio.get_running_loop()
        left = (get.deadline.when() or 0.0) - loop.time()
        get.deadline.reschedule(None)
        try:
            return await self._slots.take()
        except asyncio.CancelledError:
            stream.close()
            raise
        finally:
            get.deadline.reschedule(loop.time() + left)

    async def _start_tls(self, get: _Get, stream: _Stream) -> ResponseReader:
        """Start TLS with the Policy Host; return the reader of its response."""
        loop, host = asyncio.get_running_loop(), get.host
        reader = ResponseReader(get.trace)
        protocol = reader.protocol
        try:
            if isinstance(stream, socket.socket):
                await loop.create_connection(
                    lambda: protocol, sock=stream, ssl=self._context, server_hostname=host
                )
            elif transport := await loop.start_tls(
                stream, protocol, self._context, server_hostname=host
            ):
                protocol.connection_made(transport)
        except OSError as error:
            raise fetch_error(error, get.trace.address) from error
        return reader

    async def _exchange(self, get: _Get, reader: ResponseReader) -> bytes:
        """Send the GET and read the response; close the connection in any case."""
        transport = reader.transport
        self._open.add(transport)
        try:
            _record_session(transport, get)
            host = _authority(get.host, get.port)
            transport.write(f"GET {_PATH} HTTP/1.1\r\nHost: {host}\r\n{_FIELDS}".encode("ascii"))
            head = await reader.head()
            get.trace.status = head.status
            get.trace.media_type = printable(", ".join(head.media_type)) or None
            check_head(head)
            return await reader.body()
        finally:
            # Not close(): a TLS shutdown would continue to read what an endless body sends.
            transport.abort()
            self._open.discard(transport)


def _ignore() -> None:
    pass


def _authority(host: str, port: int) -> str:
    return host if port == 443 else f"{host}:{port}"


def _record_session(transport: asyncio.Transport, get: _Get) -> None:
    session = transport.get_extra_info("ssl_object")
    get.trace.tls_version = session.version()
    if get.with_certificate:
        get.trace.certificate = certificate(session)
