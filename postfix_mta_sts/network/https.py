"""Fetch the policy from the Policy Host: exactly one GET, with a reason for each way to fail.

Theory of operation
-------------------
A fetch goes through these steps; one deadline limits all of them. It stands still while a fetch
waits for others: before step 1 if few sockets are left (`own_limits`), and in step 3.

1. Look up the addresses of the Policy Host (the caller provides the resolver). Leave out those that
   are not allowed (`addresses`), and put those that failed the last time last (`failed_addresses`).
2. Connect to the first address that accepts (`connect`).
3. Wait for a slot: handshakes take CPU time, so there are few at once.
4. Shake hands (`tls`). If the Policy Host does not answer in time, go back to step 2 with the other
   addresses. Once it has answered, no other address is tried.
5. Send the GET, read and check the head, read the body (`http_response`, `mtasts.response`).

With a proxy, a tunnel (`proxy`) takes the place of steps 1 and 2. `mtasts.policy` parses the body.

The publisher of a TXT record chooses the Policy Host, so none of its input is trusted: not its
address, its handshake, its headers, its size or its speed. No connection is reused or closed
politely: each is aborted as soon as the response is complete, or cannot be completed. For one
connection too many, the oldest is aborted (`connections`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias, TypeVar
from urllib.parse import SplitResult, urlsplit

from postfix_mta_sts import __version__
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import (
    DeadlineError,
    FetchError,
    HostNotFoundError,
    OwnFaultError,
    printable,
)
from postfix_mta_sts.mtasts.policy import POLICY_PATH, Policy, parse_policy
from postfix_mta_sts.mtasts.response import check_head, decoded
from postfix_mta_sts.network.addresses import AddressRules, forbidden_address
from postfix_mta_sts.network.connect import (
    NotAdmittedError,
    connect,
    fetch_error,
    limit_addresses,
)
from postfix_mta_sts.network.connections import Connections
from postfix_mta_sts.network.failed_addresses import FailedAddresses
from postfix_mta_sts.network.http_response import ResponseReader
from postfix_mta_sts.network.own_faults import late_fault
from postfix_mta_sts.network.own_limits import own_shares
from postfix_mta_sts.network.proxy import connect_to_proxy, open_tunnel
from postfix_mta_sts.network.slots import Slot, Slots
from postfix_mta_sts.network.stream import Stream, open_stream
from postfix_mta_sts.network.tls import TlsStream, client_context
from postfix_mta_sts.network.trace import FetchTrace, certificate

SLOT_TIME: Final = 0.05
"""Seconds after which a fetch gives its slot to the next one and continues without a slot.

Short, so that hundreds of slow Policy Hosts delay other fetches by no more than this."""
CONNECT_TIME: Final = 10.0
"""Seconds for TCP with all addresses of a Policy Host, and for TLS with its last one."""
NEXT_ADDRESS_TIME: Final = 4.0
"""Seconds for TLS with an address while there are others.

A first look-up waits for 10 seconds (`lookup.timeout`), so one address that stalls may not use them
up."""

_FIELDS = (
    f"User-Agent: postfix-mta-sts/{__version__}\r\n"
    "Accept: text/plain\r\n"
    "Accept-Encoding: identity\r\n"
    "Connection: close\r\n"
    "\r\n"
)


def policy_url(domain: Domain, port: int = 443) -> str:
    """The URL of a Policy Domain's policy (RFC 8461 §3.3)."""
    return f"https://{_authority(f'mta-sts.{domain}', port)}{POLICY_PATH}"


class AddressLookup(Protocol):
    """A resolver of host names."""

    async def __call__(self, host: str, /) -> Sequence[str]:
        """All addresses of a host as text; see `DnsClient.look_up_addresses`."""


OnAddresses: TypeAlias = Callable[[], None]

_T = TypeVar("_T")


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
    path: str


class PolicyFetcher:
    """Fetches policies, each within `timeout` seconds, not counting the wait for a slot.

    An address that does not complete TLS in `next_address_time` seconds is left for the next one.
    The next fetch for a host begins with an address that has not failed.

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
        allow_private_addresses: bool | Sequence[str] = False,
        concurrency: int = 200,
        port: int = 443,
        slot_time: float = SLOT_TIME,
        next_address_time: float = NEXT_ADDRESS_TIME,
    ) -> None:
        self._timeout = timeout
        self._proxy = urlsplit(proxy) if proxy else None
        self._port = port
        self._rules = AddressRules(allow_private_addresses)
        self._addresses = addresses
        self.context = client_context(authorities)
        self._look_ups = asyncio.Semaphore(own_shares().look_ups)
        self._slots = Slots(concurrency, slot_time)
        self._next_address_time = next_address_time
        self._failed = FailedAddresses()
        self._connections = Connections()

    async def fetch(self, domain: Domain, on_addresses: OnAddresses | None = None) -> Policy:
        """Fetch and parse the policy of a Policy Domain.

        Raises `FetchError`; `DnsFailureError` if the addresses of the Policy Host are not known;
        `OwnFaultError` if it was given up for newer fetches, or this process was stopped.

        `on_addresses` is called once the addresses of the Policy Host are known; with a proxy,
        which looks them up itself, at once. From then on only the Policy Host can be slow.
        """
        return parse_policy(await self.fetch_body(domain, on_addresses=on_addresses))

    async def fetch_body(
        self,
        domain: Domain,
        trace: FetchTrace | None = None,
        on_addresses: OnAddresses | None = None,
        path: str = POLICY_PATH,
    ) -> bytes:
        """Fetch the policy file as bytes; for `on_addresses` and errors see `fetch`.

        `trace` is filled in step by step, so that it is useful also when the fetch fails. Another
        `path` than that of the RFC is for `query`, which looks for a misplaced file.
        """
        seen = trace or FetchTrace()
        seen.url = policy_url(domain, self._port)
        deadline = asyncio.timeout(self._timeout)
        try:
            async with deadline:
                host = f"mta-sts.{domain}"
                get = _Get(
                    host,
                    self._port,
                    seen,
                    deadline,
                    with_certificate=trace is not None,
                    on_addresses=on_addresses or _ignore,
                    path=path,
                )
                if self._proxy:
                    return await self._get_by_proxy(get, self._proxy)
                return await self._get_directly(get)
        except TimeoutError:
            raise _timed_out(deadline, self._timeout, seen) from None

    async def close(self) -> None:
        """Abort the fetches that are running; call nothing else afterwards."""
        self._connections.abort_all()

    async def _get_directly(self, get: _Get) -> bytes:
        """Send one GET to the first address with which TLS can be established."""
        addresses = await self._look_up(get)
        get.on_addresses()
        has_several = len(addresses) > 1
        while True:
            address, stream = await self._connect(addresses, get)
            addresses.remove(address)
            if has_several:
                self._failed.add(get.host, address)  # unless the body arrives
            with self._connections.aborted_at_end(stream), await self._take_slot(get):
                tls = TlsStream(stream, self.context, get.host)
                try:
                    await self._handshake(get, tls, others=bool(addresses))
                except FetchError:
                    # A handshake may cost much CPU: so a name may cause only one.
                    if tls.has_spoken or not addresses:
                        raise
                else:
                    body = await self._exchange(get, tls)
                    self._failed.remove(get.host, address)
                    return body

    async def _look_up(self, get: _Get) -> list[str]:
        await _off_the_clock(get.deadline, self._look_ups.acquire())
        try:
            return await self._public_addresses(get.host)
        finally:
            self._look_ups.release()

    async def _public_addresses(self, host: str) -> list[str]:
        found = await self._addresses(host)
        if not found:
            raise HostNotFoundError("no address")
        public = [address for address in found if self._rules.admit(address)]
        if not public:
            raise forbidden_address(found)
        return self._failed.last(host, limit_addresses(public))

    async def _connect(self, addresses: Sequence[str], get: _Get) -> tuple[str, Stream]:
        with self._connections.connecting() as count_socket:

            def admit(address: str) -> None:
                if not self._rules.admit(address):
                    raise NotAdmittedError(address)
                count_socket()
                get.trace.address = address

            connecting = connect(addresses, get.port, admit)
            address, sock = await _within(CONNECT_TIME, connecting, get.trace)
        get.trace.address = address  # of the connection that won the race
        return address, await open_stream(sock)

    async def _get_by_proxy(self, get: _Get, proxy: SplitResult) -> bytes:
        get.on_addresses()
        with self._connections.connecting() as count_socket:
            tunnel = await connect_to_proxy(proxy, get.trace, count_socket)
        with self._connections.aborted_at_end(tunnel):
            await open_tunnel(tunnel, proxy, get.host, get.port, get.trace)
            with await self._take_slot(get):
                tls = TlsStream(tunnel, self.context, get.host)
                await self._handshake(get, tls, others=False)
                return await self._exchange(get, tls)

    async def _take_slot(self, get: _Get) -> Slot:
        if self._slots.has_free:
            return await self._slots.take()
        return await _off_the_clock(get.deadline, self._slots.take())

    async def _handshake(self, get: _Get, tls: TlsStream, *, others: bool) -> None:
        seconds = self._next_address_time if others else CONNECT_TIME
        await _within(seconds, tls.handshake(), get.trace)
        get.trace.tls_version = tls.session.version()
        if get.with_certificate:
            get.trace.certificate = certificate(tls.session)

    async def _exchange(self, get: _Get, tls: TlsStream) -> bytes:
        """Send the GET and read the response."""
        host = _authority(get.host, get.port)
        tls.write(f"GET {get.path} HTTP/1.1\r\nHost: {host}\r\n{_FIELDS}".encode("ascii"))
        with closing(ResponseReader(tls.read, get.trace)) as reader:
            head = await reader.head()
            get.trace.status = head.status
            get.trace.media_type = printable(", ".join(head.media_type)) or None
            get.trace.location = printable(head.location) if head.location else None
            get.trace.date = printable(head.date) if head.date else None
            check_head(head)
            return decoded(head, await reader.body())


async def _off_the_clock(deadline: asyncio.Timeout, wait: Awaitable[_T]) -> _T:
    """Wait for other fetches; the deadline stands still, since the Policy Host is not to blame."""
    loop = asyncio.get_running_loop()
    left = (deadline.when() or 0.0) - loop.time()
    deadline.reschedule(None)
    try:
        return await wait
    finally:
        deadline.reschedule(loop.time() + left)


async def _within(seconds: float, step: Awaitable[_T], trace: FetchTrace) -> _T:
    """Take a step towards a TLS connection; raises `FetchError`."""
    time = asyncio.timeout(seconds)
    try:
        async with time:
            return await step
    except OSError as error:
        if time.expired():
            raise _timed_out(time, seconds, trace) from None
        raise fetch_error(error, trace.address) from error


def _timed_out(
    timeout: asyncio.Timeout, seconds: float, trace: FetchTrace
) -> DeadlineError | OwnFaultError:
    late = late_fault(timeout.when())
    return late or DeadlineError(f"timed out after {seconds:g} s: {trace.phase}")


def _ignore() -> None:
    pass


def _authority(host: str, port: int) -> str:
    return host if port == 443 else f"{host}:{port}"
