"""Datagrams to a socket that reads, that does not read, and that is not there."""

import asyncio
import logging
from pathlib import Path

import pytest

from postfix_mta_sts.postfix.tlsrpt.collector import SILENCE, Collector
from postfix_mta_sts.stats import Counters
from postfix_mta_sts.stats.labels import TlsrptResult
from tests.support.collectors import listening

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])
SENT, GONE, FULL = TlsrptResult.SENT, TlsrptResult.GONE, TlsrptResult.FULL


class Sender:
    """A collector's client with counters and a clock."""

    def __init__(self, path: Path | None, patience: float = 0.05) -> None:
        self.counters = Counters()
        self.now = 1000.0
        self.collector = Collector(path, self.counters, lambda: self.now, patience)

    async def send(self, sessions: int = 1) -> None:
        """Send for so many sessions."""
        await self.collector.send(b"{}", sessions)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the collector's socket is."""
    return tmp_path / "collector"


async def test_each_session_is_one_datagram(path: Path) -> None:
    """The collector counts datagrams."""
    sender = Sender(path)
    with listening(path) as sock:
        await sender.send(3)
        assert [sock.recv(100) for _ in range(3)] == [b"{}"] * 3
    assert sender.counters.tlsrpt == {SENT: 3}


async def test_more_than_the_kernel_keeps(path: Path) -> None:
    """The sender waits until the collector reads; nothing is lost."""
    sender = Sender(path, patience=30)
    with listening(path) as sock:
        sending = asyncio.create_task(sender.send(2_000))
        loop, got = asyncio.get_running_loop(), 0
        readable = asyncio.Event()
        loop.add_reader(sock, readable.set)
        while got < 2_000:
            await readable.wait()
            readable.clear()
            got += len(sock.recv(100)) // 2
        loop.remove_reader(sock)
        await sending
    assert sender.counters.tlsrpt == {SENT: 2_000}


async def test_a_collector_that_does_not_read(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What it does not take in time is counted, and one line says so."""
    sender = Sender(path)
    with listening(path) as sock:
        await sender.send(1_000)
        kept = 0
        while True:
            try:
                kept += len(sock.recv(100)) // 2
            except BlockingIOError:
                break
    assert sender.counters.tlsrpt == {SENT: kept, FULL: 1_000 - kept}
    assert kept
    assert len(caplog.messages) == 1


async def test_no_socket(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is counted, one line an hour says why, and another one when it is back."""
    caplog.set_level(logging.INFO)
    sender = Sender(path)
    for _ in range(3):
        await sender.send(2)
    assert sender.counters.tlsrpt == {SENT: 0, GONE: 6}
    assert [each.levelno for each in caplog.records] == [logging.WARNING]
    assert "TLS reports are not collected" in caplog.messages[0]
    assert "No such file or directory" in caplog.messages[0]
    sender.now += SILENCE
    await sender.send()
    assert len(caplog.records) == 2
    with listening(path):
        await sender.send()
        await sender.send()
    assert [each.levelno for each in caplog.records[2:]] == [logging.INFO]
    assert sender.counters.tlsrpt == {SENT: 2, GONE: 7}


async def test_a_socket_that_nobody_has(path: Path) -> None:
    """After a kill the file is still there."""
    with listening(path):
        pass
    sender = Sender(path)
    await sender.send()
    assert sender.counters.tlsrpt == {SENT: 0, GONE: 1}


async def test_off(path: Path) -> None:
    """Without a path nothing is sent or counted; a reload can change that both ways."""
    sender = Sender(None)
    assert not sender.collector.is_wanted
    await sender.send()
    sender.collector.reconfigure(path)
    with listening(path) as sock:
        await sender.send()
        assert sock.recv(100) == b"{}"
        sender.collector.reconfigure(None)
        await sender.send()
    assert sender.counters.tlsrpt == {SENT: 1}
