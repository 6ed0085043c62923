"""The calls of the network process: each runs in a task of its own, and its result is sent.

Beside them it tells the daemon what changes here without a call: name servers, CA certificates,
whether the shared store answers. `child` starts the process.
"""

import asyncio
import logging
import socket
from collections import defaultdict
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, Protocol

from postfix_mta_sts import runtime
from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.dane import DaneOutcome
from postfix_mta_sts.mtasts.errors import MtaStsError, OwnFaultError
from postfix_mta_sts.network import ipc
from postfix_mta_sts.network.authorities import Authorities
from postfix_mta_sts.network.clients import LazyDaneClient
from postfix_mta_sts.network.dns import DnsClient
from postfix_mta_sts.network.https import PolicyFetcher
from postfix_mta_sts.network.mail_checks import MailChecks
from postfix_mta_sts.network.messages import (
    AnyCall,
    AskFleet,
    AuthoritiesStatus,
    Call,
    Cancel,
    Confined,
    Discover,
    DiscoverResult,
    DnssecServers,
    DnsStatus,
    Failed,
    FetchPolicy,
    FetchResult,
    FindTlsrpt,
    FindTlsrptResult,
    FleetAnswer,
    FleetStatus,
    FromDaemon,
    LookUpDane,
    LookUpDaneResult,
    LookUpHosts,
    LookUpHostsResult,
    NotValidating,
    NotValidatingResult,
    Outdated,
    Ping,
    Pong,
    Probe,
    ProbeResults,
    Progress,
    Ready,
    Result,
    decode_from_daemon,
    failed,
)
from postfix_mta_sts.network.sandbox.confine import Sandbox
from postfix_mta_sts.network.shared_store import SharedStore
from postfix_mta_sts.rate_limit import RateLimit
from postfix_mta_sts.store.fleet.requests import StoreCondition

CALLS_PER_RELEASE: Final = 1_000
"""Calls after which free memory is returned to the system."""
FIRST_CONNECTION: Final = 0.75
"""Seconds by which the first connection to a shared store may delay a start. It takes eight round
trips, after an import; and a relay with an empty disk has nothing else to answer by."""
WATCH_INTERVAL: Final = 10.0
"""Seconds between two readings of resolv.conf, and two looks for replaced files."""

_log = logging.getLogger(__name__)


class _Report(Protocol):
    """Sends the progress of a call."""

    def __call__(self, outcome: DaneOutcome | None = None, /) -> None:
        """Send it; `outcome` as in `Progress`."""


class CallRunner:
    """Runs each call in a task of its own and sends the result; call `run` once."""

    def __init__(
        self,
        dns: DnsClient,
        fetcher: PolicyFetcher,
        dane_client: LazyDaneClient,
        authorities: Authorities | None = None,
        shared_store: SharedStore | None = None,
        sandbox: Sandbox | None = None,
    ) -> None:
        self._dns = dns
        self._fetcher = fetcher
        self._dane_client = dane_client
        self._authorities = authorities
        self._mail_checks = MailChecks(dns, dane_client)
        self._shared_store = shared_store or SharedStore(None)
        self._sandbox = sandbox
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._finished = 0
        self._faults = RateLimit()
        self._internal_errors = defaultdict[str, RateLimit](RateLimit)
        self._unanswered = False
        self._fleet_condition = StoreCondition()
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
        if self._sandbox:
            self._channel.send(Confined(self._sandbox.confinement))
        self._shared_store.start()
        await self._shared_store.first_connection(FIRST_CONNECTION)
        self._channel.send(Ready())
        async with AsyncExitStack() as stack:
            for work, name in self._watches():
                await stack.enter_async_context(runtime.background_task(work, name))
            stack.callback(self._mail_checks.close)
            stack.push_async_callback(self._shared_store.close)
            await closed.wait()

    def _watches(self) -> Iterator[tuple[Coroutine[Any, Any, None], str]]:
        """What runs beside the calls."""
        yield self._watch_servers(), "watch of resolv.conf"
        if self._authorities:
            watch = self._authorities.watch(self._send_authorities)
            yield watch, "watch of CA certificates"
        if self._sandbox:
            yield self._watch_files(self._sandbox), "watch of replaced files"

    def _on_messages(self, messages: Sequence[FromDaemon]) -> None:
        for message in messages:
            match message:
                case Call():
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
            self._log_internal_error(call, error)
            answer = failed(call.number, OwnFaultError("internal error; see the log"))
        if self._unanswered != self._dns.unanswered:
            self._unanswered = self._dns.unanswered
            self._channel.send(DnsStatus(self._unanswered))
        if self._fleet_condition != self._shared_store.condition:
            self._fleet_condition = self._shared_store.condition
            self._channel.send(FleetStatus(self._fleet_condition))
        self._channel.send(answer)

    def _log_internal_error(self, call: AnyCall, error: Exception) -> None:
        """Log a fault of this program, at most once a minute for each kind of call."""
        kind = type(call).__name__
        if count := self._internal_errors[kind].take(asyncio.get_running_loop().time()):
            event(
                _log,
                logging.ERROR,
                "internal error in network process",
                _domain_of(call),
                call=kind,
                count=count,
                exc_info=error,
            )

    def _log_fault(self, call: AnyCall, fault: OwnFaultError) -> None:
        """Log why nothing is known of a domain, though nobody else is to blame."""
        if count := self._faults.take(asyncio.get_running_loop().time()):
            event(
                _log,
                logging.WARNING,
                "own fault in network process",
                _domain_of(call),
                reason=str(fault),
                count=count,
            )

    async def _result(self, call: AnyCall) -> Result:  # noqa: PLR0911 (one for each call)
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
            case FindTlsrpt(number, domain):
                return FindTlsrptResult(number, await self._dns.find_tlsrpt(domain))
            case NotValidating(number):
                return NotValidatingResult(number, await self._not_validating())
            case LookUpHosts(number, domain, seconds, with_dane):
                found = await self._mail_checks.look_up_hosts(domain, seconds, with_dane=with_dane)
                return LookUpHostsResult(number, found)
            case Probe(number, plan):
                return ProbeResults(number, await self._mail_checks.probe(plan))
            case AskFleet(number, request):
                return FleetAnswer(number, await self._shared_store.answer(request))

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

    async def _watch_files(self, sandbox: Sandbox) -> None:
        """Ask the daemon for a successor when a file is hidden; again, if none comes."""
        while True:
            await asyncio.sleep(WATCH_INTERVAL)
            if path := await asyncio.to_thread(sandbox.replaced):
                self._channel.send(Outdated(path))

    def _send_servers(self) -> None:
        client = self._dane_client
        self._channel.send(DnssecServers(client.nameservers, client.untrusted))

    def _send_authorities(self, problem: str) -> None:
        self._channel.send(AuthoritiesStatus(problem))


def _domain_of(call: AnyCall) -> str | None:
    return None if isinstance(call, NotValidating) else call.domain
