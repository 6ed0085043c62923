"""The end of the daemon: pending requests, notifications, socket files."""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.support.clients import Client, request
from tests.support.daemons import (
    process,
    secure,
    until,
)
from tests.support.internet import Internet


class TestShutdown:
    """SIGTERM and SIGINT."""

    @pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
    async def test_notifications(
        self, net: Internet, tmp_path: Path, signum: signal.Signals
    ) -> None:
        """The daemon sends READY=1 and STOPPING=1, removes its files and exits with 0."""
        async with process(tmp_path, net.config(tmp_path)) as served:
            await served.start()
            assert await served.ask("good.test") == secure("good.test")
            served.signal(signum)
            assert await served.notified() == b"STOPPING=1"
            assert await served.ended() == 0
            assert [p.exists() for p in (served.socketmap, served.tcp_table)] == [False, False]
            assert "Traceback" not in served.log

    async def test_pending_requests_are_answered(self, net: Internet, tmp_path: Path) -> None:
        """Look-ups of 50 clients under way at SIGTERM are answered; new clients are refused."""
        net.hosts.hold()
        async with process(tmp_path, net.config(tmp_path)) as served:
            await served.start()
            async with served.clients(50) as clients:
                for number, client in enumerate(clients):
                    net.publish(f"d{number % 10}.test")
                    client.send(request(f"d{number % 10}.test"))
                await net.hosts.gets.total_reached(10)
                served.signal(signal.SIGTERM)
                assert await served.notified() == b"STOPPING=1"
                await until(lambda: not served.socketmap.exists())
                net.hosts.release()
                replies = [await client.netstring() for client in clients]
                assert replies == [secure(f"d{number % 10}.test") for number in range(50)]
                assert all([await client.closed() for client in clients])
            assert await served.ended() == 0
            assert "closed unanswered" not in served.log

    async def test_under_load(self, net: Internet, tmp_path: Path) -> None:
        """50 clients that never stop asking get whole replies, and the daemon ends."""
        async with process(tmp_path, net.config(tmp_path)) as served:
            await served.start()
            async with served.clients(50) as clients:
                started = asyncio.Event()
                asking = [asyncio.create_task(ask_forever(c, started)) for c in clients]
                await started.wait()
                assert await served.stop() == 0
                replies, partial = zip(*await asyncio.gather(*asking), strict=True)
            assert set.union(*replies) == {secure("good.test")}
            assert set(partial) == {b""}


async def ask_forever(client: Client, started: asyncio.Event) -> tuple[set[bytes], bytes]:
    """Return the replies until the connection closes, and the part of an incomplete last one."""
    replies = set()
    try:
        while True:
            replies.add(await client.ask("good.test"))
            started.set()
    except asyncio.IncompleteReadError as end:
        return replies, end.partial
    except ConnectionError:
        return replies, b""
