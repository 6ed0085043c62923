"""Ask the Policy Host for the policy: exactly one GET, and each way in which it can fail.

Border: the one place that knows aiohttp. Names are resolved by whoever made the fetcher; what
the body says is for `mtasts.policy` to judge.

The Policy Host is chosen by whoever publishes a record, so that nothing of it is trusted: not
its address (`is_public`), not its headers, not its size and not its pace. No connection is kept
or closed politely: each is aborted as soon as the answer is there, or cannot come any more.
"""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import AddrInfoType, Connection

from postfix_mta_sts import __version__
from postfix_mta_sts.mtasts.address import is_public
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import (
    CertificateError,
    DeadlineError,
    FetchError,
    ForbiddenAddressError,
    HostNotFoundError,
    IncompleteError,
    TlsError,
    UnreachableError,
    printable,
)
from postfix_mta_sts.mtasts.policy import Policy, parse_policy
from postfix_mta_sts.mtasts.response import Head, check_head, check_size
from postfix_mta_sts.slots import Slots

ADDRESSES_MOST: Final = 4
"""Addresses tried of each family, so that a name cannot send us around the Internet."""
STAND_ASIDE: Final = 0.05
"""Seconds after which a fetch gives its slot to the next and goes on beside it.

Short, so that hundreds of Policy Hosts that never answer hold up no other for longer."""

_HEADERS = {
    "User-Agent": f"postfix-mta-sts/{__version__}",
    "Accept": "text/plain",
    "Accept-Encoding": "identity",
}


def policy_url(domain: Domain, port: int = 443) -> str:
    """Where a Policy Domain's policy is served (RFC 8461 §3.3)."""
    at = "" if port == 443 else f":{port}"
    return f"https://mta-sts.{domain}{at}/.well-known/mta-sts.txt"


class Addresses(Protocol):
    """What knows the addresses of a host."""

    async def __call__(self, host: str, /) -> Sequence[str]:
        """All addresses as text; raises `HostNotFoundError`."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate that has been found good says, as printable text."""

    names: tuple[str, ...]
    """The subject alternative names, each as `DNS:mta-sts.example.com`."""
    issuer: str
    not_after: str


@dataclass(slots=True)
class Exchange:
    """What has been seen of one GET so far, as printable text; None until it was."""

    url: str | None = None
    address: str | None = None
    """The address connected to, or last tried; the proxy's where there is one."""
    tls_version: str | None = None
    certificate: Certificate | None = None
    status: int | None = None
    media_type: str | None = None
    size: int | None = None
    """Bytes of the body that have come."""


class PolicyFetcher:
    """Fetches policies, `concurrency` at a time, each within `timeout` seconds as a whole.

    `ca_file` (PEM) takes the place of the system's authorities; what is wrong with it is raised
    here as `OSError` or `ssl.SSLError`. `proxy` is `http://host:port`: it finds the host and
    connects to it, so that addresses are neither asked for nor checked. `port` is for tests. May
    be made outside of an event loop; the first fetch binds it to the one that runs.
    """

    def __init__(  # noqa: PLR0913 - each is a setting of its own
        self,
        addresses: Addresses,
        *,
        timeout: float = 60.0,
        ca_file: Path | None = None,
        proxy: str | None = None,
        allow_private_addresses: bool = False,
        concurrency: int = 200,
        port: int = 443,
        stand_aside: float = STAND_ASIDE,
    ) -> None:
        self._timeout = timeout
        self._proxy = proxy
        self._port = port
        self._any_address = allow_private_addresses or proxy is not None
        self._addresses = addresses
        self._context = _client_context(ca_file)
        self._slots = Slots(concurrency, stand_aside)
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, domain: Domain) -> Policy:
        """The policy that the Policy Host serves; raises `FetchError`."""
        return parse_policy(await self.body(domain))

    async def body(self, domain: Domain, exchange: Exchange | None = None) -> bytes:
        """The policy file as it is served; raises `FetchError`.

        `exchange` is filled in as the GET goes on, and holds what was seen when it fails.
        """
        seen = Exchange() if exchange is None else exchange
        async with self._slots.taken():
            try:
                async with asyncio.timeout(self._timeout):
                    return await self._get(domain, seen)
            except TimeoutError:
                raise DeadlineError(f"not done in {self._timeout:g} s: {_phase(seen)}") from None

    async def close(self) -> None:
        """Abort what is under way; nothing else may be called after."""
        if self._session:
            await self._session.close()

    async def _get(self, domain: Domain, seen: Exchange) -> bytes:
        url = seen.url = policy_url(domain, self._port)
        with _attempt(seen), _translated(seen):
            async with self._opened().get(url, proxy=self._proxy, allow_redirects=False) as answer:
                head = _head(answer)
                seen.status = head.status
                seen.media_type = printable(", ".join(head.media_type)) or None
                check_head(head)
                return await _read(answer, seen)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    ssl=self._context,
                    # The proxy's own name is the administrator's, and may be in /etc/hosts.
                    resolver=aiohttp.ThreadedResolver()
                    if self._proxy
                    else _Resolver(self._addresses, self._allowed),
                    socket_factory=self._socket,
                    use_dns_cache=False,
                    force_close=True,
                    limit=0,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=_HEADERS,
                timeout=aiohttp.ClientTimeout(),
                auto_decompress=False,
                trust_env=False,
                middlewares=(_once,),
                response_class=_Response,
            )
        return self._session

    def _allowed(self, address: str) -> bool:
        return self._any_address or is_public(address)

    def _socket(self, info: AddrInfoType) -> socket.socket:
        """The socket for a connection to an address: the last word on which one it may be."""
        family, kind, protocol, _, address = info
        host = str(address[0])
        if not self._allowed(host):
            raise _ForbiddenError(host)
        _ATTEMPT.get().exchange.address = host
        return socket.socket(family, kind, protocol)


class _Resolver(AbstractResolver):
    """Gives aiohttp the addresses that may be connected to."""

    def __init__(self, addresses: Addresses, allowed: Callable[[str], bool]) -> None:
        self._addresses = addresses
        self._allowed = allowed

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 - aiohttp names it
    ) -> list[ResolveResult]:
        found = await self._addresses(host)
        if not found:
            raise HostNotFoundError("no address")
        public = [address for address in found if self._allowed(address)]
        if not public:
            raise _forbidden(", ".join(found))
        six = [address for address in public if ":" in address]
        four = [address for address in public if ":" not in address]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in [*six[:ADDRESSES_MOST], *four[:ADDRESSES_MOST]]
        ]

    async def close(self) -> None:
        """Nothing: the addresses come from somebody else."""


class _ForbiddenError(OSError):
    """The address of a socket is not allowed; an OSError, for aiohttp passes on no other."""


@dataclass(slots=True)
class _Attempt:
    exchange: Exchange
    transport: asyncio.Transport | None = None


_ATTEMPT: ContextVar[_Attempt] = ContextVar("the GET of this task")


@contextlib.contextmanager
def _attempt(seen: Exchange) -> Iterator[None]:
    """Tell those whom aiohttp calls which GET it is for; its connection ends with it."""
    attempt = _Attempt(seen)
    token = _ATTEMPT.set(attempt)
    try:
        yield
    finally:
        _ATTEMPT.reset(token)
        # Not close(): a TLS shutdown would go on reading what an endless body still sends.
        if attempt.transport:
            attempt.transport.abort()


class _Response(aiohttp.ClientResponse):
    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """Note the connection before its answer, which may end it, is read."""
        attempt = _ATTEMPT.get()
        attempt.transport = connection.transport
        _note_connection(attempt.transport, attempt.exchange)
        return await super().start(connection)


def _note_connection(transport: asyncio.Transport | None, seen: Exchange) -> None:
    if transport is None:  # lost already
        return
    # Of several addresses that were raced for, the one that won.
    seen.address = str((transport.get_extra_info("peername") or [seen.address])[0])
    session = transport.get_extra_info("ssl_object")
    seen.tls_version = session.version()
    facts = session.getpeercert()
    issuer = [value for part in facts["issuer"] for _, value in part]
    seen.certificate = Certificate(
        names=tuple(printable(f"{kind}:{name}") for kind, name in facts.get("subjectAltName", ())),
        issuer=printable(", ".join(issuer)),
        not_after=printable(facts["notAfter"]),
    )


async def _once(
    request: aiohttp.ClientRequest,
    handler: Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]],
) -> aiohttp.ClientResponse:
    # aiohttp sends a GET again, new connection or not, if it sees one of its own errors come out
    # of here for a connection that was lost; so it sees ours.
    with _translated(_ATTEMPT.get().exchange):
        return await handler(request)


@contextlib.contextmanager
def _translated(seen: Exchange) -> Iterator[None]:
    try:
        yield
    except aiohttp.ClientError as error:
        raise _failure(error, seen) from error


def _failure(error: aiohttp.ClientError, seen: Exchange) -> FetchError:
    match error:
        case aiohttp.ClientConnectorError():
            return _connect_failure(error, seen)
        case aiohttp.ClientHttpProxyError():
            return UnreachableError(f"the proxy answered HTTP {error.status}")
        case aiohttp.ClientOSError():
            return UnreachableError(f"{seen.address}: connection lost: {_os_words(error)}")
        case aiohttp.ClientResponseError():
            words = error.message.partition("\n")[0].rstrip(":")  # the rest draws a picture
            return IncompleteError(f"malformed HTTP: {printable(words)}")
        case aiohttp.ClientPayloadError():
            return IncompleteError(f"the body broke off after {seen.size or 0} bytes")
        case _:
            return IncompleteError("the connection was closed before the response")


def _connect_failure(error: aiohttp.ClientConnectorError, seen: Exchange) -> FetchError:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return CertificateError(_verify_words(error.certificate_error))
        case aiohttp.ClientConnectorSSLError():
            return TlsError(f"the TLS handshake failed: {_os_words(error.os_error)}")
        case aiohttp.ClientConnectorError(os_error=_ForbiddenError() as refusal):
            return _forbidden(str(refusal))
        case aiohttp.ClientConnectorDNSError():  # our own resolver raises no OSError
            return UnreachableError(f"the proxy's name: {_os_words(error.os_error)}")
        case aiohttp.ClientProxyConnectionError():
            return UnreachableError(f"the proxy: {_os_words(error.os_error)}")
        case _:
            return UnreachableError(f"{seen.address}: {_os_words(error.os_error)}")


def _verify_words(error: Exception) -> str:
    """OpenSSL's reason: "certificate has expired", "Hostname mismatch, ..."."""
    words = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else str(error)
    return printable(words).removesuffix(".")


def _os_words(error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return printable(error.reason).replace("_", " ").lower()
    # asyncio writes the address in the place of the reason; negative are those of getaddrinfo.
    if error.errno and error.errno > 0 and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno)
    return printable(error.strerror or str(error)) or "connection lost"


def _forbidden(addresses: str) -> ForbiddenAddressError:
    return ForbiddenAddressError(f"not a public address: {printable(addresses)}")


def _phase(seen: Exchange) -> str:
    if seen.status is not None:
        return f"{seen.size or 0} bytes of the body had come"
    if seen.tls_version is not None:
        return "no response had come"
    if seen.address is not None:
        return f"no TLS connection to {seen.address}"
    return "its address was not found"


def _head(answer: aiohttp.ClientResponse) -> Head:
    fields = answer.headers
    return Head(
        status=answer.status,
        media_type=fields.getall("Content-Type", []),
        content_coding=fields.getall("Content-Encoding", []),
        transfer_coding=fields.getall("Transfer-Encoding", []),
        length=answer.content_length,
    )


async def _read(answer: aiohttp.ClientResponse, seen: Exchange) -> bytes:
    body = bytearray()
    async for block in answer.content.iter_any():
        body += block
        seen.size = len(body)
        check_size(len(body))
    seen.size = len(body)
    return bytes(body)


def _client_context(ca_file: Path | None) -> ssl.SSLContext:
    # By hand: ssl.create_default_context writes session keys to where $SSLKEYLOGFILE says.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks chain, dates and name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False  # DNS-ID only (RFC 8461 §3.3)
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cafile=ca_file)
    return context
