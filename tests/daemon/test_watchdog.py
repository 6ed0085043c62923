"""systemd is fed while there are answers, and not otherwise."""

import asyncio
import logging
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from postfix_mta_sts.config.address import UnixAddress
from postfix_mta_sts.daemon.watchdog import look_up, show_status, status_line, watch
from postfix_mta_sts.postfix.probe import Place, ProbeError, bound
from postfix_mta_sts.stats import SUCCESS, Answer, Counters, Source, Stage
from tests.support.daemons import PATIENCE, daemon
from tests.support.internet import SOCKETMAP, internet
from tests.support.tasks import Tasks

QUICK = 0.02
"""Seconds of a watchdog whose time is not waited for."""


class Health:
    """A look-up that answers as long as it is told to; what is asked and fed is heard."""

    def __init__(self) -> None:
        self.answers = True
        self.deadlines: asyncio.Queue[float] = asyncio.Queue()
        self.fed = 0

    async def look_up(self, deadline: float) -> None:
        """Answer, or do not."""
        self.deadlines.put_nowait(deadline)
        if not self.answers:
            raise ProbeError("no reply within 1 s")

    def feed(self) -> None:
        """One more."""
        self.fed += 1

    async def asked(self, times: int) -> None:
        """Wait for so many look-ups more."""
        async with asyncio.timeout(PATIENCE):
            for _ in range(times):
                await self.deadlines.get()


class TestWatch:
    """When systemd is fed."""

    async def test_answers(self) -> None:
        """Every look-up that is answered feeds once; it may take a quarter of the interval."""
        health, tasks = Health(), Tasks()
        tasks.start(watch(health.look_up, QUICK, health.feed), "watch")
        assert await health.deadlines.get() == QUICK / 4
        await health.asked(3)
        await tasks.stop()
        assert health.fed in {3, 4}  # the last may have been fed or not

    async def test_no_answer(self, caplog: pytest.LogCaptureFixture) -> None:
        """Without an answer nothing is fed, and that is logged once; nor is its end kept back."""
        caplog.set_level(logging.INFO)
        health, tasks = Health(), Tasks()
        health.answers = False
        tasks.start(watch(health.look_up, QUICK, health.feed), "watch")
        await health.asked(3)
        assert health.fed == 0
        assert [r.getMessage() for r in caplog.records] == [
            'no answer from ourselves reason="no reply within 1 s"'
        ]
        health.answers = True
        await health.asked(4)
        await tasks.stop()
        assert health.fed >= 1
        assert [r.getMessage() for r in caplog.records][1:] == ["answers again"]

    async def test_tried_again_in_time(self) -> None:
        """What failed is tried again before the interval is over."""
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
    """The real look-up."""

    async def test_through_the_listener(self, tmp_path: Path) -> None:
        """The daemon's own listener is asked: the first that may be."""
        async with internet(tmp_path) as net, daemon(net, tmp_path):
            there = Place("socketmap", UnixAddress(tmp_path / SOCKETMAP))
            other = Place("tcp_table", UnixAddress(tmp_path / "none"))
            await look_up([other, there], PATIENCE)

    async def test_no_answer(self, tmp_path: Path) -> None:
        """What does not answer is an error, also if others would."""
        async with internet(tmp_path) as net, daemon(net, tmp_path):
            with socket.socket() as nobody:
                nobody.bind(("127.0.0.1", 0))  # and does not listen
                there = Place("socketmap", UnixAddress(tmp_path / SOCKETMAP))
                with pytest.raises(ProbeError, match="Connection refused"):
                    await look_up([bound("socketmap", nobody), there], PATIENCE)

    async def test_nobody_to_ask(self, tmp_path: Path) -> None:
        """Where no listener may be asked, the loop that turns is enough."""
        await look_up([Place("socketmap", UnixAddress(tmp_path / "none"))], PATIENCE)
        await look_up([], PATIENCE)


class TestEnd:
    """A worker that is stuck ends itself."""

    STUCK = (
        "import sys, time\nfrom postfix_mta_sts.daemon.watchdog import End\n"
        "def stuck(): time.sleep(60)\n"
        "with End(0.2) as end:\n    end.put_off()\n    {then}\n"
        "time.sleep(0.4)\n"
    )

    def run(self, then: str) -> subprocess.CompletedProcess[str]:
        """A process that sets its end, and what it does then."""
        words = [sys.executable, "-c", self.STUCK.format(then=then)]
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE)

    def test_stuck(self) -> None:
        """It is over without being asked, and says where it was stuck."""
        done = self.run("stuck()")
        assert done.returncode == 1
        assert "Timeout (0:00:00.2" in done.stderr
        assert "in stuck" in done.stderr

    @pytest.mark.parametrize("then", ["pass", "End(60).put_off(); time.sleep(0.4)"])
    def test_not_stuck(self, then: str) -> None:
        """Put off in time, or after its block, it does not come."""
        done = self.run(then)
        assert (done.returncode, done.stderr) == (0, "")


class TestStatus:
    """What `systemctl status` shows."""

    @pytest.fixture
    def counters(self) -> Counters:
        """Of a process that has answered some look-ups."""
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
        """Policies, hit rate and failures; what needs no look-up or has no record is neither."""
        assert (
            status_line(3, counters) == "3 policies; 200 look-ups, 92.5 % from memory; 3 failures"
        )

    def test_nothing_yet(self) -> None:
        """Before the first look-up there is no rate."""
        assert status_line(1, Counters()) == "1 policy; 0 look-ups; 0 failures"

    def test_trouble_comes_first(self) -> None:
        """What needs somebody is read first."""
        line = status_line(0, Counters(), "configuration not reloaded: x.yml:3: …")
        assert line.startswith("configuration not reloaded: x.yml:3: …; 0 policies; ")

    @pytest.fixture
    def lines(self) -> Iterator[str]:
        """What a process says of itself, one after the other."""
        return iter(["a", "a", "b", "b", "a"])

    async def test_told_when_it_changes(self, lines: Iterator[str]) -> None:
        """The first and every other line is told."""
        told: list[str] = []
        over = asyncio.Event()

        async def status() -> str:
            line = next(lines, "")
            if not line:
                over.set()
                await asyncio.Event().wait()
            return line

        tasks = Tasks()
        tasks.start(show_status(status, told.append, every=0), "status")
        await over.wait()
        await tasks.stop()
        assert told == ["STATUS=a", "STATUS=b", "STATUS=a"]
