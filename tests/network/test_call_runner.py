"""The network process, as a thread of this one: no task outlives its call, whatever happens."""

import asyncio
import itertools
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeAlias

import pytest

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.network import call_runner, ipc
from postfix_mta_sts.network.call_runner import CallRunner
from postfix_mta_sts.network.clients import LazyDaneClient, open_clients
from postfix_mta_sts.network.messages import (
    AnyCall,
    AuthoritiesStatus,
    Cancel,
    Confined,
    Discover,
    DnssecServers,
    DnsStatus,
    Failed,
    FetchPolicy,
    FleetStatus,
    FromChild,
    Hello,
    LookUpDane,
    NotValidating,
    Outdated,
    Ping,
    Pong,
    Progress,
    Ready,
    Result,
    decode_from_child,
)
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.network.shared_store import SharedStore
from tests.support.dns import Fault
from tests.support.internet import Internet
from tests.support.policy_host import Script, ok, reply, silence, then_abort, then_silence
from tests.support.tls import Authority

ENDS_WITHIN: Final = 10.0
"""Seconds after which a task counts as left over."""
TIMES: Final = 10
BATCHES: Final = 2
"""More calls at a time send more datagrams than the receive buffer of the name server holds."""
NO_DOMAIN = Domain("ü" * 70)
ONE, OTHER = TcpAddress("127.0.0.1", 53), TcpAddress("192.0.2.1", 53)
"""No parser makes this, so that no part of the program expects it."""

MakeCall: TypeAlias = Callable[[int], AnyCall]
"""A number → the call with that number."""


class Caller:
    """The daemon's end of the channel."""

    channel: ipc.Channel[FromChild]

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.pongs: asyncio.Queue[Pong] = asyncio.Queue()
        self.servers: asyncio.Queue[DnssecServers] = asyncio.Queue()
        self._numbers = itertools.count(1)
        self._calls: dict[int, asyncio.Future[Result | Failed]] = {}

    def start(self, make: MakeCall) -> int:
        """Start a call; return its number."""
        number = next(self._numbers)
        self._calls[number] = asyncio.get_running_loop().create_future()
        self.channel.send(make(number))
        return number

    def cancel(self, number: int) -> None:
        """Cancel a call."""
        self.channel.send(Cancel(number))

    async def call(self, make: MakeCall) -> Result | Failed:
        """The answer to a call."""
        return await self._calls[self.start(make)]

    def on_messages(self, messages: Sequence[FromChild]) -> None:
        """Receive answers."""
        for message in messages:
            match message:
                case Pong():
                    self.pongs.put_nowait(message)
                case Ready():
                    self.ready.set()
                case DnssecServers():
                    self.servers.put_nowait(message)
                case Hello() | AuthoritiesStatus() | DnsStatus() | FleetStatus() | Progress():
                    pass
                case Confined() | Outdated():
                    raise AssertionError(message)  # there is no sandbox
                case _:
                    self._calls[message.number].set_result(message)


class Server:
    """The network process's end, with an event loop in a thread of its own."""

    def __init__(self, settings: NetworkSettings, resolv_conf: Path) -> None:
        self._settings = settings
        self._resolv_conf = resolv_conf
        self._child: CallRunner
        self._main: asyncio.Task[object] | None
        self._loop: asyncio.AbstractEventLoop

    async def run(self, sock: socket.socket) -> None:
        """Answer calls until the other end closes the socket."""
        self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()
        async with open_clients(self._settings) as (dns, fetcher):
            self._child = CallRunner(
                dns, fetcher, LazyDaneClient(self._settings, self._resolv_conf)
            )
            await self._child.run(sock)

    async def leftovers(self) -> Sequence[Sequence[str]]:
        """The names of all tasks and of those of calls, once all have ended or time is up."""
        return await asyncio.wrap_future(
            asyncio.run_coroutine_threadsafe(self._leftovers(), self._loop)
        )

    async def _leftovers(self) -> Sequence[Sequence[str]]:
        watch = [t for t in asyncio.all_tasks() if t.get_name() == "watch of resolv.conf"]
        own = {self._main, asyncio.current_task(), *watch}
        if others := asyncio.all_tasks() - own:
            await asyncio.wait(others, timeout=ENDS_WITHIN)
        of_calls = set(self._child._tasks.values())
        return [[t.get_name() for t in tasks - own] for tasks in (asyncio.all_tasks(), of_calls)]


@asynccontextmanager
async def serving(
    settings: NetworkSettings, resolv_conf: Path = Path("/nonexistent")
) -> AsyncIterator[tuple[Caller, Server]]:
    """Both ends; nothing of this test runs on the loop of the second one."""
    here, there = socket.socketpair()
    server, caller = Server(settings, resolv_conf), Caller()
    running = asyncio.create_task(asyncio.to_thread(asyncio.run, server.run(there)))
    caller.channel = await ipc.open_channel(
        here, decode_from_child, caller.on_messages, lambda: None
    )
    try:
        yield caller, server
    finally:
        caller.channel.close()
        await running


def with_domain(form: Callable[[int, Domain], AnyCall], domain: Domain) -> MakeCall:
    """A call about a domain."""
    return lambda number: form(number, domain)


def publish_all_kinds(net: Internet) -> list[MakeCall]:
    """Publish domains with every kind of outcome; return all calls about them."""
    answers: dict[str, bytes | Script] = {
        "status": reply(404),
        "invalid": ok(b"<html>"),
        "reset": then_abort(b"HTTP/1.1 200 OK\r\n"),
        "hanging": silence,
        "halting": then_silence(b"HTTP/1.1 200 OK\r\n"),
        "cut": ok(b"version: STSv1\n")[:-1],
        "certificate": ok(b""),
    }
    for name, answer in answers.items():
        net.publish(f"{name}.test", answer)
    net.hosts.credentials["mta-sts.certificate.test"] = Authority().issue(
        "mta-sts.certificate.test"
    )
    net.dns.zone["mta-sts.unreachable.test A"] = ["127.0.0.2"]
    for fault in (Fault.SERVFAIL, Fault.SILENCE):
        for name in ("_mta-sts.{} TXT", "mta-sts.{} A", "{} MX"):
            net.dns.zone[name.format(f"{fault.name.lower()}.test")] = fault
    net.record("record.test", "v=STSv1;")
    net.vouch("dane.test")
    domains = [*answers, "good", "unreachable", "servfail", "silence", "record", "dane", "absent"]
    calls = [
        with_domain(form, parse_domain(f"{name}.test"))
        for form in (Discover, FetchPolicy, LookUpDane)
        for name in domains
    ]
    return [*calls, NotValidating]


async def test_no_task_outlives_its_call(net: Internet, tmp_path: Path) -> None:
    """After hundreds of calls with every kind of outcome there are no more tasks than before."""
    calls = [*publish_all_kinds(net), with_domain(Discover, NO_DOMAIN)]
    changes = {"dns": {"timeout": "2s"}, "https": {"timeout": "2s"}}
    settings = NetworkSettings.of(net.settings(tmp_path, changes), net.hosts.port)
    async with serving(settings) as (caller, server):
        answers: list[Result | Failed] = []
        for _ in range(BATCHES):
            batch = calls * (TIMES // BATCHES)
            answers += await asyncio.gather(*(caller.call(each) for each in batch))
        assert await server.leftovers() == [[], []]
    kinds = Counter(a.code if isinstance(a, Failed) else "success" for a in answers)
    assert set(kinds) >= {
        *("success", "no-record", "invalid-record", "dns-failure", "host-not-found"),
        *("unreachable", "certificate", "status", "incomplete", "invalid-policy", "timeout"),
        "own-fault",
    }


async def test_no_task_outlives_its_cancellation(net: Internet, tmp_path: Path) -> None:
    """A cancelled call leaves no task, whichever step it had reached."""
    calls = publish_all_kinds(net)
    good = parse_domain("good.test")
    settings = NetworkSettings.of(net.settings(tmp_path), net.hosts.port)
    async with serving(settings) as (caller, server):
        net.hosts.hold()
        numbers = [caller.start(with_domain(FetchPolicy, good)) for _ in range(TIMES)]
        await net.hosts.gets.reached("mta-sts.good.test", TIMES)
        net.dns.hold()
        numbers += [caller.start(each) for each in calls * TIMES]
        await net.dns.queries.reached(("_mta-sts.good.test", "TXT"))
        await net.dns.queries.reached(("mta-sts.good.test", "A"), 2)
        await net.dns.queries.reached(("good.test", "MX"))
        # These are cancelled before they start.
        numbers += [caller.start(each) for each in [*calls, with_domain(Discover, NO_DOMAIN)]]
        for number in numbers:
            caller.cancel(number)
        assert await server.leftovers() == [[], []]


async def test_other_name_servers(
    net: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon learns at the start which servers are queried, and when others are to be (C6)."""
    monkeypatch.setattr(call_runner, "WATCH_INTERVAL", 0.001)
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text("nameserver 127.0.0.1\n")
    settings = NetworkSettings.of(net.settings(tmp_path, {"dns": {"nameservers": []}}))
    async with serving(settings, resolv_conf) as (caller, _):
        assert await caller.servers.get() == DnssecServers((ONE,), ())
        resolv_conf.write_text("nameserver 192.0.2.1\nnameserver 127.0.0.1\n")
        assert await caller.servers.get() == DnssecServers((OTHER, ONE), (OTHER,))
        resolv_conf.write_text("nameserver 127.0.0.1\n")
        assert await caller.servers.get() == DnssecServers((ONE,), ())


async def test_ready_after_the_first_connection(
    net: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process of a fleet takes no call before it has tried to reach the store."""
    has_connected = threading.Event()

    async def connect(_store: SharedStore, _seconds: float) -> None:
        await asyncio.to_thread(has_connected.wait)

    monkeypatch.setattr(SharedStore, "first_connection", connect)
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text("nameserver 127.0.0.1\n")
    settings = NetworkSettings.of(net.settings(tmp_path, {"dns": {"nameservers": []}}))
    async with serving(settings, resolv_conf) as (caller, _):
        await caller.servers.get()  # sent before, so that `Ready` would follow at once
        caller.channel.send(Ping())
        await caller.pongs.get()
        assert not caller.ready.is_set()
        has_connected.set()
        await caller.ready.wait()


async def test_ready_and_ping(net: Internet, tmp_path: Path) -> None:
    """The process says once that it is ready, and answers each ping, also while calls wait."""
    net.hosts.hold()
    settings = NetworkSettings.of(net.settings(tmp_path), net.hosts.port)
    async with serving(settings) as (caller, _):
        await caller.ready.wait()
        number = caller.start(with_domain(FetchPolicy, parse_domain("good.test")))
        for _ in range(3):
            caller.channel.send(Ping())
            assert await caller.pongs.get() == Pong()
        caller.cancel(number)
        net.hosts.release()
