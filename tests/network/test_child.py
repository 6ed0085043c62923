"""The process that goes out, as a thread of this one: what it began ends, whatever comes of it."""

import asyncio
import itertools
import socket
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.errors import MtaStsError
from postfix_mta_sts.network import ipc
from postfix_mta_sts.network.child import _Child
from postfix_mta_sts.network.clients import LazyDaneClient, network
from postfix_mta_sts.network.ipc import Channel, Message
from postfix_mta_sts.network.settings import NetworkSettings
from tests.support.dns import Fault
from tests.support.internet import Internet
from tests.support.policy_host import Script, ok, reply, silence, then_abort, then_silence
from tests.support.tls import Authority

ENDS_WITHIN: Final = 10.0
"""Seconds after which a task is taken to be there for ever."""
TIMES: Final = 10

Call = tuple[str, *tuple[Domain, ...]]


class Caller:
    """This end of the line."""

    line: Channel

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._calls: dict[int, asyncio.Future[Any]] = {}

    def begin(self, what: str, *args: object) -> int:
        """Have it done, whatever comes of it; the number of the call."""
        number = next(self._numbers)
        self._calls[number] = asyncio.get_running_loop().create_future()
        self.line.send((number, what, *args))
        return number

    def cancel(self, number: int) -> None:
        """Nobody waits for it any more."""
        self.line.send((number, None))

    async def call(self, what: str, *args: object) -> Any:  # noqa: ANN401 (what the other end gives)
        """What comes of it, be it an error."""
        return await self._calls[self.begin(what, *args)]

    async def left(self) -> Sequence[Sequence[str]]:
        """See `left` below."""
        names: Sequence[Sequence[str]] = await self.call("left")
        return names

    def hear(self, messages: Sequence[Message]) -> None:
        """Take what comes."""
        for number, outcome in messages:
            if number:
                self._calls[number].set_result(outcome)


async def serve(sock: socket.socket, terms: NetworkSettings) -> None:
    """Be the other end, which can also be asked what is `left` of what it began."""

    async def left() -> Sequence[Sequence[str]]:
        """The names of its tasks and of those it has noted, once all are over or time is."""
        own = {main, asyncio.current_task()}
        if others := asyncio.all_tasks() - own:
            await asyncio.wait(others, timeout=ENDS_WITHIN)
        noted = set(child._tasks.values())
        return [[task.get_name() for task in tasks - own] for tasks in (asyncio.all_tasks(), noted)]

    main = asyncio.current_task()
    async with network(terms) as (dns, fetcher):
        child = _Child(dns, fetcher, LazyDaneClient(terms))
        child._ways = {**child._ways, "left": left}
        await child.run(sock)


@asynccontextmanager
async def other_end(terms: NetworkSettings) -> AsyncIterator[Caller]:
    """It has a loop of its own, on which nothing of this test runs."""
    here, there = socket.socketpair()

    running = asyncio.create_task(asyncio.to_thread(asyncio.run, serve(there, terms)))
    caller = Caller()
    caller.line = await ipc.line(here, caller.hear, lambda: None)
    try:
        yield caller
    finally:
        caller.line.close()
        await running


def publish_all_kinds(net: Internet) -> list[Call]:
    """Domains with which everything goes as it can go; what there is to be asked about them."""
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
    ways = ("discover", "fetch", "look_up_dane")
    asked = [(way, parse_domain(f"{name}.test")) for way in ways for name in domains]
    return [*asked, ("not_validating",), ("nonsense",)]


async def test_nothing_is_left_of_what_ended(net: Internet, tmp_path: Path) -> None:
    """After hundreds of calls with every kind of outcome there is no task more than before."""
    calls = publish_all_kinds(net)
    changes = {"dns": {"timeout": "1s"}, "https": {"timeout": "2s"}}
    async with other_end(
        NetworkSettings.of(net.settings(tmp_path, changes), net.hosts.port)
    ) as caller:
        outcomes = await asyncio.gather(*(caller.call(*each) for each in calls * TIMES))
        assert await caller.left() == [[], []]
    kinds = Counter(o.code if isinstance(o, MtaStsError) else "success" for o in outcomes)
    assert set(kinds) >= {
        *("success", "no-record", "invalid-record", "dns-failure", "host-not-found"),
        *("unreachable", "certificate", "status", "incomplete", "invalid-policy", "timeout"),
        "own-fault",
    }


async def test_nothing_is_left_of_what_was_cancelled(net: Internet, tmp_path: Path) -> None:
    """A call that nobody waits for any more leaves no task, wherever it had got to."""
    calls = publish_all_kinds(net)
    good = parse_domain("good.test")
    async with other_end(NetworkSettings.of(net.settings(tmp_path), net.hosts.port)) as caller:
        net.hosts.hold()
        begun = [caller.begin("fetch", good) for _ in range(TIMES)]
        await net.hosts.gets.reached("mta-sts.good.test", TIMES)
        net.dns.hold()
        begun += [caller.begin(*each) for each in calls * TIMES if each[0] != "nonsense"]
        await net.dns.queries.reached(("_mta-sts.good.test", "TXT"))
        await net.dns.queries.reached(("mta-sts.good.test", "A"), 2)
        await net.dns.queries.reached(("good.test", "MX"))
        begun += [caller.begin(*each) for each in calls]  # cancelled before they begin
        for number in begun:
            caller.cancel(number)
        assert await caller.left() == [[], []]
