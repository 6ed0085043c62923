"""The network process: DNS, HTTPS and DANE look-ups for the daemon, with one set of settings.

It answers the calls that arrive over one socket; `process` is the other end. It ends when that
socket closes, and not by the signals that systemd sends to all processes of a service, which
`launch` has blocked: there is work to do until the daemon ends.
"""

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final, Protocol

from postfix_mta_sts import __version__, logs, runtime
from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.dane import DaneOutcome
from postfix_mta_sts.mtasts.errors import MtaStsError, OwnFaultError
from postfix_mta_sts.network import ipc
from postfix_mta_sts.network.authorities import Authorities
from postfix_mta_sts.network.clients import LazyDaneClient, open_clients
from postfix_mta_sts.network.dns import DnsClient
from postfix_mta_sts.network.https import PolicyFetcher
from postfix_mta_sts.network.messages import (
    AnyCall,
    AuthoritiesStatus,
    Cancel,
    Discover,
    DiscoverResult,
    DnssecServers,
    DnsStatus,
    EventLoop,
    Failed,
    FetchPolicy,
    FetchResult,
    FromDaemon,
    Hello,
    LookUpDane,
    LookUpDaneResult,
    NotValidating,
    NotValidatingResult,
    Ping,
    Pong,
    Progress,
    Ready,
    Result,
    Start,
    decode_from_daemon,
    failed,
)
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.rate_limit import RateLimit

OOM_SCORE: Final = 500
"""Added to oom_score_adj: half of the memory of the machine, or of the service, in its scale."""
CALLS_PER_RELEASE: Final = 1_000
"""Calls after which free memory is returned to the system."""
WATCH_INTERVAL: Final = 10.0
"""Seconds between two readings of resolv.conf."""

_log = logging.getLogger(__name__)


class _Report(Protocol):
    """Sends the progress of a call."""

    def __call__(self, outcome: DaneOutcome | None = None, /) -> None:
        """Send it; `outcome` as in `Progress`."""


class OtherVersionError(Exception):
    """The daemon has another version; the text is that version, or `unknown`."""


def main(descriptor: int) -> None:
    """Run the network process until the daemon closes the inherited socket."""
    raise_oom_score(OOM_SCORE)
    sock = socket.socket(fileno=descriptor)
    try:
        start = shake_hands(sock)
    except (EOFError, ConnectionError):
        return
    except OtherVersionError:
        sys.exit(1)  # the daemon has this version too, and logs both
    level, form = start.settings.log_level, start.settings.log_format
    to_journal = logs.to_journal(os.environ, sys.stderr)
    logs.set_up_service(level, form, sys.stderr, journal=to_journal)
    logs.log_uncaught()
    loop_factory = _loop_factory(start.loop)  # imports, so it precedes the next line
    runtime.set_up()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_serve(sock, start.settings))


def raise_oom_score(by: int, file: Path = Path("/proc/self/oom_score_adj")) -> None:
    """Let the kernel kill this process rather than the daemon when memory runs out (proc(5)).

    That costs a second of new look-ups. A sandbox may forbid it; then nothing changes.
    """
    with suppress(OSError, ValueError):
        file.write_text(str(min(int(file.read_text()) + by, 1000)))


def shake_hands(sock: socket.socket) -> Start:
    """Exchange versions with the daemon, then wait for its settings.

    Raises `OtherVersionError`; `EOFError` or `ConnectionError` if the daemon is gone.
    """
    hello = ipc.receive(sock)
    ipc.send(sock, Hello(__version__))
    if (version := _version(hello)) != __version__:
        raise OtherVersionError(version)
    match decode_from_daemon(ipc.receive(sock)):
        case [Start() as start]:
            return start
    raise TypeError("the second message is not Start")


def _version(hello: bytes) -> str:
    with suppress(ValueError):
        match decode_from_daemon(hello):
            case [Hello(version)]:
                return version
    return "unknown"


def _loop_factory(library: EventLoop) -> Callable[[], asyncio.AbstractEventLoop]:
    if library == "asyncio":
        return asyncio.new_event_loop
    import uvloop  # noqa: PLC0415 (tests and `query` do without)

    return uvloop.new_event_loop


async def _serve(sock: socket.socket, settings: NetworkSettings) -> None:
    async with open_clients(settings) as (dns, fetcher):
        authorities = Authorities(settings, fetcher)
        child = _Child(dns, fetcher, LazyDaneClient(settings), authorities)
        await child.run(sock)


class _Child:
    """Runs each call in a task of its own and sends the result."""

    def __init__(
        self,
        dns: DnsClient,
        fetcher: PolicyFetcher,
        dane_client: LazyDaneClient,
        authorities: Authorities | None = None,
    ) -> None:
        self._dns = dns
        self._fetcher = fetcher
        self._dane_client = dane_client
        self._authorities = authorities
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._finished = 0
        self._faults = RateLimit()
        self._unanswered = False
        self._channel: ipc.Channel[FromDaemon]

    async def run(self, sock: socket.socket) -> None:
        """Answer calls until the daemon closes the socket."""
        closed = asyncio.Event()
        self._channel = await ipc.open_channel(
            sock, decode_from_daemon, self._on_messages, closed.set
        )
        self._send_servers()
        if self._authorities:
            self._send_authorities(self._authorities.problem)
        self._channel.send(Ready())
        async with AsyncExitStack() as stack:
            for work, name in self._watches():
                await stack.enter_async_context(runtime.background_task(work, name))
            await closed.wait()

    def _watches(self) -> Iterator[tuple[Coroutine[Any, Any, None], str]]:
        """What runs beside the calls."""
        yield self._watch_servers(), "watch of resolv.conf"
        if self._authorities:
            watch = self._authorities.watch(self._send_authorities)
            yield watch, "watch of CA certificates"

    def _on_messages(self, messages: Sequence[FromDaemon]) -> None:
        for message in messages:
            match message:
                case Discover() | FetchPolicy() | LookUpDane() | NotValidating():
                    self._start(message)
                case Ping():
                    self._channel.send(Pong())
                case Cancel(number):
                    if task := self._tasks.get(number):
                        task.cancel()
                case _:
                    raise TypeError(f"{type(message).__name__} is not expected here")

    def _start(self, call: AnyCall) -> None:
        task = asyncio.create_task(self._run(call), name=type(call).__name__)
        self._tasks[call.number] = task
        task.add_done_callback(lambda _: self._finish(call.number))

    def _finish(self, number: int) -> None:
        del self._tasks[number]
        self._finished += 1
        if self._finished % CALLS_PER_RELEASE == 0:
            runtime.release_free_memory()

    async def _run(self, call: AnyCall) -> None:
        answer: Result | Failed
        try:
            answer = await self._result(call)
        except MtaStsError as error:
            answer = failed(call.number, error)
            if isinstance(error, OwnFaultError):
                self._log_fault(call, error)
        except Exception as error:  # noqa: BLE001 (the top of a task: the caller gets an error)
            domain = None if isinstance(call, NotValidating) else call.domain
            event(
                _log,
                logging.ERROR,
                "internal error in network process",
                domain,
                call=type(call).__name__,
                exc_info=error,
            )
            answer = failed(call.number, OwnFaultError("internal error; see the log"))
        if self._unanswered != self._dns.unanswered:
            self._unanswered = self._dns.unanswered
            self._channel.send(DnsStatus(self._unanswered))
        self._channel.send(answer)

    def _log_fault(self, call: AnyCall, fault: OwnFaultError) -> None:
        """Log why nothing is known of a domain, though nobody else is to blame."""
        if count := self._faults.take(asyncio.get_running_loop().time()):
            event(
                _log,
                logging.WARNING,
                "own fault in network process",
                None if isinstance(call, NotValidating) else call.domain,
                reason=str(fault),
                count=count,
            )

    async def _result(self, call: AnyCall) -> Result:
        match call:
            case Discover(number, domain):
                return DiscoverResult(number, await self._dns.discover(domain))
            case FetchPolicy(number, domain, progress):
                policy = await self._fetcher.fetch(domain, self._reporter(number, on=progress))
                return FetchResult(number, policy)
            case LookUpDane(number, domain, progress):
                report = self._reporter(number, on=progress)
                outcome = await self._dane_client.look_up_dane(domain, report)
                return LookUpDaneResult(number, outcome)
            case NotValidating(number):
                return NotValidatingResult(number, await self._not_validating())

    def _reporter(self, number: int, *, on: bool) -> _Report | None:
        return (lambda outcome=None: self._channel.send(Progress(number, outcome))) if on else None

    async def _not_validating(self) -> tuple[TcpAddress, ...]:
        self._send_servers()  # the daemon may stop waiting before the end
        try:
            return tuple(await self._dane_client.not_validating())
        finally:
            self._send_servers()

    async def _watch_servers(self) -> None:
        """Tell the daemon when the system has other name servers."""
        while True:
            before = self._dane_client.nameservers
            await asyncio.sleep(WATCH_INTERVAL)
            self._dane_client.read_again()
            if self._dane_client.nameservers != before:
                self._send_servers()

    def _send_servers(self) -> None:
        client = self._dane_client
        self._channel.send(DnssecServers(client.nameservers, client.untrusted))

    def _send_authorities(self, problem: str) -> None:
        self._channel.send(AuthoritiesStatus(problem))
