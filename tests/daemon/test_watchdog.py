"""The watchdog is notified while look-ups are answered; the status line."""

import asyncio
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from postfix_mta_sts.config.address import UnixAddress
from postfix_mta_sts.daemon.watchdog import look_up, show_status, status_line, watch
from postfix_mta_sts.postfix.probe import Place, ProbeError, place_of
from postfix_mta_sts.stats import Counters
from postfix_mta_sts.stats.labels import SUCCESS, Answer, Source, Stage
from tests.support.daemons import TIMEOUT, daemon
from tests.support.internet import SOCKETMAP, internet
from tests.support.tasks import Tasks

QUICK = 0.02
"""Seconds: a short watchdog interval."""


class Health:
    """A look-up that succeeds while `answers` is set; counts look-ups and notifications."""

    def __init__(self) -> None:
        self.answers = True
        self.deadlines: asyncio.Queue[float] = asyncio.Queue()
        self.fed = 0

    async def look_up(self, deadline: float) -> None:
        """Succeed, or raise `ProbeError`."""
        self.deadlines.put_nowait(deadline)
        if not self.answers:
            raise ProbeError("no reply within 1 s")

    def feed(self) -> None:
        """Count a notification."""
        self.fed += 1

    async def asked(self, times: int) -> None:
        """Wait for this number of further look-ups."""
        async with asyncio.timeout(TIMEOUT):
            for _ in range(times):
                await self.deadlines.get()


class TestWatch:
    """When the watchdog is notified."""

    async def test_answers(self) -> None:
        """Each look-up that succeeds notifies once; its timeout is a quarter of the interval."""
        health, tasks = Health(), Tasks()
        tasks.start(watch(health.look_up, QUICK, health.feed), "watch")
        assert await health.deadlines.get() == QUICK / 4
        await health.asked(3)
        await tasks.stop()
        assert health.fed in {3, 4}  # the last may have been fed or not

    async def test_no_answer(self, caplog: pytest.LogCaptureFixture) -> None:
        """A failing look-up does not notify; the first failure and the first success are logged."""
        caplog.set_level(logging.INFO)
        health, tasks = Health(), Tasks()
        health.answers = False
        tasks.start(watch(health.look_up, QUICK, health.feed), "watch")
        await health.asked(3)
        assert health.fed == 0
        assert [r.getMessage() for r in caplog.records] == [
            'self-check failed reason="no reply within 1 s"'
        ]
        health.answers = True
        await health.asked(4)
        await tasks.stop()
        assert health.fed >= 1
        assert [r.getMessage() for r in caplog.records][1:] == ["self-check succeeded again"]

    async def test_tried_again_in_time(self) -> None:
        """A failed look-up is repeated before the interval is over."""
        health, tasks = Health(), Tasks()
        health.answers = False
        tasks.start(watch(health.look_up, 10 * QUICK, health.feed), "watch")
        loop = asyncio.get_running_loop()
        began = loop.time()
        await health.asked(1)
        health.answers = True
        await health.asked(1)
        assert loop.time() - began >= QUICK  # and not at once: it is the machine that is slow
        await tasks.stop()


class TestLookUp:
    """The look-up over a socket."""

    async def test_through_the_listener(self, tmp_path: Path) -> None:
        """The look-up uses the first listener that this process may connect to."""
        async with internet(tmp_path) as net, daemon(net, tmp_path):
            there = Place("socketmap", UnixAddress(tmp_path / SOCKETMAP))
            other = Place("tcp_table", UnixAddress(tmp_path / "none"))
            await look_up([other, there], TIMEOUT)

    async def test_no_answer(self, tmp_path: Path) -> None:
        """A listener that does not answer is an error, even if others would answer."""
        async with internet(tmp_path) as net, daemon(net, tmp_path):
            with socket.socket() as unused:
                unused.bind(("127.0.0.1", 0))  # and does not listen
                there = Place("socketmap", UnixAddress(tmp_path / SOCKETMAP))
                with pytest.raises(ProbeError, match="Connection refused"):
                    await look_up([place_of("socketmap", unused), there], TIMEOUT)

    async def test_no_listener_to_ask(self, tmp_path: Path) -> None:
        """If this process may connect to no listener, a running event loop is enough."""
        await look_up([Place("socketmap", UnixAddress(tmp_path / "none"))], TIMEOUT)
        await look_up([], TIMEOUT)


class TestStatus:
    """What `systemctl status` shows."""

    @pytest.fixture
    def counters(self) -> Counters:
        """The counters of a process that has answered some look-ups."""
        counters = Counters()
        counters.answers[Answer.FOUND, Source.MEMORY] = 180
        counters.answers[Answer.NOT_FOUND, Source.MEMORY] = 5
        counters.answers[Answer.FOUND, Source.STORE] = 5
        counters.answers[Answer.NOT_FOUND, Source.NETWORK] = 10
        counters.answers[Answer.NOT_FOUND, Source.NONE] = 1000
        counters.attempts[Stage.DNS, SUCCESS] = 7
        counters.attempts[Stage.DNS, "no-record"] = 6
        counters.attempts[Stage.DNS, "dns-failure"] = 1
        counters.attempts[Stage.HTTPS, "timeout"] = 2
        return counters

    def test_line(self, counters: Counters) -> None:
        """Policies, hit rate and failures, without keys that are no domain or have no record."""
        assert (
            status_line(3, counters) == "3 policies; 200 look-ups, 92.5 % from memory; 3 failures"
        )

    def test_no_look_up_yet(self) -> None:
        """Before the first look-up there is no rate."""
        assert status_line(1, Counters()) == "1 policy; 0 look-ups; 0 failures"

    def test_error_comes_first(self) -> None:
        """An error is at the beginning of the line."""
        line = status_line(0, Counters(), "reload failed: x.yml:3: …")
        assert line.startswith("reload failed: x.yml:3: …; 0 policies; ")

    @pytest.fixture
    def lines(self) -> Iterator[str]:
        """Successive status lines."""
        return iter(["a", "a", "b", "b", "a"])

    async def test_sent_when_it_changes(self, lines: Iterator[str]) -> None:
        """The first line is sent, and each one that differs from the line before."""
        sent: list[str] = []
        over = asyncio.Event()

        async def status() -> str:
            line = next(lines, "")
            if not line:
                over.set()
                await asyncio.Event().wait()
            return line

        tasks = Tasks()
        tasks.start(show_status(status, sent.append, interval=0), "status")
        await over.wait()
        await tasks.stop()
        assert sent == ["STATUS=a", "STATUS=b", "STATUS=a"]
