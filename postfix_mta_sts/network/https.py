"""Ask the Policy Host for the policy: exactly one GET, and each way in which it can fail.

Border: the one place that knows aiohttp. Names are resolved by whoever made the fetcher, how an
address is reached is for `reach`; what the body says is for `mtasts.policy` to judge.

The Policy Host is chosen by whoever publishes a record, so that nothing of it is trusted: not
its address (`is_public`), not its headers, not its size and not its pace. No connection is kept
or closed politely: each is aborted as soon as the answer is there, or cannot come any more.

Of aiohttp it is the protocol beneath its client that is used, with its parser: the client would
work out anew for each GET what is the same for all, and send one that got no answer a second time.
"""

import asyncio
import base64
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeAlias, cast
from urllib.parse import SplitResult, unquote, urlsplit

from aiohttp import ClientError, ClientOSError, ClientPayloadError
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import StreamReader

from postfix_mta_sts import __version__
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import (
    DeadlineError,
    FetchError,
    HostNotFoundError,
    IncompleteError,
    UnreachableError,
    printable,
)
from postfix_mta_sts.mtasts.policy import Policy, parse_policy
from postfix_mta_sts.mtasts.response import Head, check_head, check_size
from postfix_mta_sts.network.connect import (
    NotAdmittedError,
    client_context,
    connect,
    failure,
    few,
    forbidden,
    is_public,
    system_addresses,
    words,
)
from postfix_mta_sts.network.slots import Slot, Slots
from postfix_mta_sts.network.trace import FetchTrace, certificate

STAND_ASIDE: Final = 0.05
"""Seconds after which a fetch gives its slot to the next and goes on beside it.

Short, so that hundreds of Policy Hosts that are slow to answer hold up no other for longer."""

_PATH = "/.well-known/mta-sts.txt"
_FIELDS = (
    f"User-Agent: postfix-mta-sts/{__version__}\r\n"
    "Accept: text/plain\r\n"
    "Accept-Encoding: identity\r\n"
    "Connection: close\r\n"
    "\r\n"
)
_CLOSED = "the connection was closed before the response"


def policy_url(domain: Domain, port: int = 443) -> str:
    """Where a Policy Domain's policy is served (RFC 8461 §3.3)."""
    return f"https://{_authority(f'mta-sts.{domain}', port)}{_PATH}"


class Addresses(Protocol):
    """What knows the addresses of a host."""

    async def __call__(self, host: str, /) -> Sequence[str]:
        """All addresses as text; raises `HostNotFoundError`."""


_Stream: TypeAlias = socket.socket | asyncio.Transport
"""What TLS is spoken on: a connection, or a tunnel through a proxy."""


@dataclass(frozen=True, slots=True)
class _Get:
    """What all steps of one GET have to know."""

    host: str
    port: int
    seen: FetchTrace
    deadline: asyncio.Timeout
    is_read: bool
    """Whether somebody will read what was seen."""


class _ResponseReader(ResponseHandler):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # No TCP_NODELAY, as aiohttp would set it once more: the event loop has.
        self.transport = cast("asyncio.Transport", transport)


class PolicyFetcher:
    """Fetches policies, each within `timeout` seconds as a whole, the wait for a slot excepted.

    TLS and HTTP are spoken with `concurrency` Policy Hosts at a time; one that takes longer than
    `stand_aside` seconds counts no more, and one that has not been reached yet does not count.
    `authorities` (PEM) take the place of the system's. `proxy` is `http://host:port`: it finds the
    host and connects to it, so that addresses are neither asked for nor checked. `port` is for
    tests. May be made outside of an event loop.
    """

    def __init__(  # noqa: PLR0913 - each is a setting of its own
        self,
        addresses: Addresses,
        *,
        timeout: float = 60.0,
        authorities: str | None = None,
        proxy: str | None = None,
        allow_private_addresses: bool = False,
        concurrency: int = 200,
        port: int = 443,
        stand_aside: float = STAND_ASIDE,
    ) -> None:
        self._timeout = timeout
        self._proxy = urlsplit(proxy) if proxy else None
        self._port = port
        self._any_address = allow_private_addresses
        self._addresses = addresses
        self._context = client_context(authorities)
        self._slots = Slots(concurrency, stand_aside)
        self._open: set[asyncio.Transport] = set()

    async def fetch(self, domain: Domain) -> Policy:
        """The policy that the Policy Host serves; raises `FetchError`."""
        return parse_policy(await self.body(domain))

    async def body(self, domain: Domain, trace: FetchTrace | None = None) -> bytes:
        """The policy file as it is served; raises `FetchError`.

        `trace` is filled in as the GET goes on, and holds what was seen when it fails.
        """
        seen = trace or FetchTrace()
        seen.url = policy_url(domain, self._port)
        try:
            async with asyncio.timeout(self._timeout) as deadline:
                host = f"mta-sts.{domain}"
                get = _Get(host, self._port, seen, deadline, is_read=trace is not None)
                if self._proxy:
                    return await self._by_proxy(get, self._proxy)
                return await self._directly(get)
        except TimeoutError:
            raise DeadlineError(f"not done in {self._timeout:g} s: {seen.phase}") from None

    async def close(self) -> None:
        """Abort what is under way; nothing else may be called after."""
        for transport in self._open:
            transport.abort()

    async def _directly(self, get: _Get) -> bytes:
        """By the first address with which there is TLS; there is one GET whatever comes of it."""
        addresses = await self._admitted(get.host)
        while True:
            address, sock = await self._connected(addresses, get)
            with await self._slot(get, sock):
                try:
                    protocol = await self._secured(get, sock)
                except FetchError:
                    addresses.remove(address)
                    if not addresses:
                        raise
                else:
                    return await self._answer(get, protocol)

    async def _admitted(self, host: str) -> list[str]:
        found = await self._addresses(host)
        if not found:
            raise HostNotFoundError("no address")
        public = [address for address in found if self._allowed(address)]
        if not public:
            raise forbidden(", ".join(found))
        return few(public)

    async def _connected(self, addresses: Sequence[str], get: _Get) -> tuple[str, socket.socket]:
        try:
            address, sock = await connect(addresses, get.port, partial(self._admit, get.seen))
        except OSError as error:
            raise failure(error, get.seen.address) from error
        get.seen.address = address  # of several that were raced for, the one that won
        return address, sock

    def _allowed(self, address: str) -> bool:
        return self._any_address or is_public(address)

    def _admit(self, seen: FetchTrace, address: str) -> None:
        if not self._allowed(address):
            raise NotAdmittedError(address)
        seen.address = address

    async def _by_proxy(self, get: _Get, proxy: SplitResult) -> bytes:
        tunnel = await _tunnel(get, proxy)
        try:
            with await self._slot(get, tunnel):
                return await self._answer(get, await self._secured(get, tunnel))
        finally:
            tunnel.abort()

    async def _slot(self, get: _Get, line: _Stream) -> Slot:
        """Wait for a slot; that is not the Policy Host's fault, and takes nothing of its time."""
        loop = asyncio.get_running_loop()
        left = (get.deadline.when() or 0.0) - loop.time()
        get.deadline.reschedule(None)
        try:
            return await self._slots.take()
        except asyncio.CancelledError:
            line.close()
            raise
        finally:
            get.deadline.reschedule(loop.time() + left)

    async def _secured(self, get: _Get, line: _Stream) -> ResponseHandler:
        """TLS with the Policy Host, and what will read its response."""
        loop = asyncio.get_running_loop()
        protocol, host = _ResponseReader(loop), get.host
        try:
            if isinstance(line, socket.socket):
                await loop.create_connection(
                    lambda: protocol, sock=line, ssl=self._context, server_hostname=host
                )
            elif secured := await loop.start_tls(
                line, protocol, self._context, server_hostname=host
            ):
                protocol.connection_made(secured)
        except OSError as error:
            raise failure(error, get.seen.address) from error
        return protocol

    async def _answer(self, get: _Get, protocol: ResponseHandler) -> bytes:
        """Send the GET and read what comes of it; the connection ends with it."""
        transport = protocol.transport
        if transport is None:
            raise IncompleteError(_CLOSED)
        self._open.add(transport)
        try:
            _note_session(transport, get)
            host = _authority(get.host, get.port)
            transport.write(f"GET {_PATH} HTTP/1.1\r\nHost: {host}\r\n{_FIELDS}".encode("ascii"))
            message, content = await _response(protocol)
            head = _head(message)
            get.seen.status = head.status
            get.seen.media_type = printable(", ".join(head.media_type)) or None
            check_head(head)
            return await _read(content, get.seen)
        except (ClientError, HttpProcessingError) as error:
            raise _failure(error, get.seen) from error
        finally:
            # Not close(): a TLS shutdown would go on reading what an endless body still sends.
            transport.abort()
            self._open.discard(transport)


def _authority(host: str, port: int) -> str:
    return host if port == 443 else f"{host}:{port}"


async def _tunnel(get: _Get, proxy: SplitResult) -> asyncio.Transport:
    """A way through the proxy (RFC 9110 §9.3.6); raises `UnreachableError`."""
    transport, protocol = await _connected_to(proxy, get.seen)
    to = f"{get.host}:{get.port}"
    transport.write(f"CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{_pass(proxy)}\r\n".encode())
    status = 0
    try:
        message, _ = await _response(protocol)
        status = message.code
    except (ClientError, HttpProcessingError) as error:
        raise UnreachableError(f"the proxy: {_failure(error, get.seen)}") from error
    finally:
        if status != 200:
            transport.abort()
    if status != 200:
        raise UnreachableError(f"the proxy answered HTTP {status}")
    return transport


async def _connected_to(
    proxy: SplitResult, seen: FetchTrace
) -> tuple[asyncio.Transport, ResponseHandler]:
    host, port = proxy.hostname or "", proxy.port or 80
    try:
        # Its name is the administrator's, and may be in /etc/hosts.
        addresses = few(await system_addresses(host, port))
    except OSError as error:
        raise UnreachableError(f"the proxy's name: {words(error)}") from error
    loop = asyncio.get_running_loop()

    def note(address: str) -> None:
        seen.address = address

    try:
        seen.address, sock = await connect(addresses, port, note)
        return await loop.create_connection(lambda: _ResponseReader(loop), sock=sock)
    except OSError as error:
        raise UnreachableError(f"the proxy: {words(error)}") from error


def _pass(proxy: SplitResult) -> str:
    """The field that shows a proxy who asks (RFC 7617), if its URL names somebody."""
    if proxy.username is None:
        return ""
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
    return f"Proxy-Authorization: Basic {base64.b64encode(pair).decode('ascii')}\r\n"


async def _response(protocol: ResponseHandler) -> tuple[RawResponseMessage, StreamReader]:
    """The head of the response, informational ones (RFC 9110 §15.2) passed over, and its body."""
    protocol.set_response_params(read_until_eof=True, auto_decompress=False)
    while True:
        message, content = await protocol.read()
        if not 100 <= message.code < 200 or message.code == 101:
            return message, content


def _head(message: RawResponseMessage) -> Head:
    fields = message.headers
    length = fields.get("Content-Length")
    return Head(
        status=message.code,
        media_type=fields.getall("Content-Type", []),
        content_coding=fields.getall("Content-Encoding", []),
        transfer_coding=fields.getall("Transfer-Encoding", []),
        length=None if length is None else int(length),  # a number: the parser has seen to it
    )


async def _read(content: StreamReader, seen: FetchTrace) -> bytes:
    body = bytearray()
    while block := await content.readany():
        body += block
        seen.size = len(body)
        check_size(len(body))
    seen.size = len(body)
    return bytes(body)


def _note_session(transport: asyncio.Transport, get: _Get) -> None:
    session = transport.get_extra_info("ssl_object")
    get.seen.tls_version = session.version()
    if get.is_read:
        get.seen.certificate = certificate(session)


def _failure(error: ClientError | HttpProcessingError, seen: FetchTrace) -> FetchError:
    match error:
        case ClientOSError():
            return UnreachableError(f"{seen.address}: connection lost: {words(error)}")
        case HttpProcessingError():
            phrase = error.message.partition("\n")[0].rstrip(":")  # the rest draws a picture
            return IncompleteError(f"malformed HTTP: {printable(phrase)}")
        case ClientPayloadError():
            return IncompleteError(f"the body broke off after {seen.size or 0} bytes")
        case _:
            return IncompleteError(_CLOSED)
