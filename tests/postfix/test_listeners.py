"""Reload of listeners while others are served, with asyncio's event loop and with uvloop."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.config.settings import ListenerSettings
from postfix_mta_sts.daemon.daemon import Daemon
from postfix_mta_sts.sockets import ListenError
from tests.support.clients import connected
from tests.support.daemons import RunningDaemon, reloading
from tests.support.dns import Fault
from tests.support.internet import Changes, Internet

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

SECURE = b"OK secure match=mx1.good.test servername=hostname"
NOT_FOUND = b"NOTFOUND "


@pytest.fixture
async def served(net: Internet, tmp_path: Path) -> AsyncIterator[tuple[RunningDaemon, Daemon]]:
    """A running daemon, and its sockets."""
    async with reloading(net, tmp_path) as served:
        yield served


def with_listeners(
    daemon: Daemon, *added: ListenerSettings, kept: int = 3
) -> tuple[ListenerSettings, ...]:
    """The first `kept` listeners of a daemon, and more."""
    return (*daemon.settings.listen[:kept], *added)


async def change(daemon: Daemon, *listeners: ListenerSettings) -> None:
    """Serve these listeners and no others."""
    await daemon.listeners.open(listeners)


async def test_one_more(served: tuple[RunningDaemon, Daemon], tmp_path: Path) -> None:
    """A new listener answers; clients of another listener keep their connections."""
    running, daemon = served
    path = tmp_path / "new"
    async with connected(running.socketmap) as early:
        assert await early.ask("good.test") == SECURE
        await change(daemon, *with_listeners(daemon, ListenerSettings(socketmap=UnixAddress(path))))
        async with connected(path) as late:
            assert await late.ask("good.test") == SECURE
        assert await early.ask("good.test") == SECURE


async def test_one_less(net: Internet, served: tuple[RunningDaemon, Daemon]) -> None:
    """A listener that is removed answers pending requests; its socket file is removed."""
    running, daemon = served
    net.dns.hold()
    async with connected(running.tcp_table) as waiting, connected(running.socketmap) as other:
        asked = asyncio.create_task(waiting.get("good.test"))
        await net.dns.queries.reached(("_mta-sts.good.test", "TXT"))
        await change(daemon, *with_listeners(daemon, kept=1))
        assert not running.tcp_table.exists()
        net.dns.release()
        assert (await asked).startswith(b"200 secure%20match=mx1.good.test")
        assert await waiting.reader.read() == b""
        assert await other.ask("good.test") == SECURE
    with pytest.raises(FileNotFoundError):
        await running.get("good.test")


async def test_another_protocol_at_the_same_address(served: tuple[RunningDaemon, Daemon]) -> None:
    """The socket stays the same, so no client is refused in between."""
    running, daemon = served
    inode = running.socketmap.stat().st_ino
    listener = ListenerSettings(tcp_table=UnixAddress(running.socketmap))
    await change(daemon, listener)
    assert running.socketmap.stat().st_ino == inode
    async with connected(running.socketmap) as client:
        assert (await client.get("good.test")).startswith(b"200 secure%20match=mx1.good.test")


async def test_other_permissions(served: tuple[RunningDaemon, Daemon]) -> None:
    """The permissions of the socket file change, and clients keep their connections."""
    running, daemon = served
    listener = ListenerSettings(socketmap=UnixAddress(running.socketmap), mode=0o640)
    async with connected(running.socketmap) as early:
        assert await early.ask("good.test") == SECURE
        before = daemon.frontend.server._listeners[0]
        await change(daemon, listener)
        assert daemon.frontend.server._listeners == [before]
        assert running.socketmap.stat().st_mode & 0o777 == 0o640
        assert await early.ask("good.test") == SECURE
    assert await running.ask("good.test") == SECURE


async def test_an_address_in_use(served: tuple[RunningDaemon, Daemon], tmp_path: Path) -> None:
    """If one address cannot be opened, nothing changes, and new sockets are closed again."""
    running, daemon = served
    before = list(daemon.listeners.sockets)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = ListenerSettings(socketmap=TcpAddress(*other.getsockname()))
        free = ListenerSettings(socketmap=UnixAddress(tmp_path / "free"))
        with pytest.raises(ListenError, match="in use"):
            await change(daemon, free, taken)
    assert daemon.listeners.sockets == before
    assert await running.ask("good.test") == SECURE
    assert not (tmp_path / "free").exists()


async def test_there_and_back(served: tuple[RunningDaemon, Daemon]) -> None:
    """A listener that is removed and added again works as before."""
    running, daemon = served
    await change(daemon, *with_listeners(daemon, kept=1))
    await change(daemon, *daemon.settings.listen)
    assert (await running.get("good.test")).startswith(b"200 secure")
    assert await running.ask("good.test") == SECURE


@pytest.mark.parametrize(
    ("changes", "key", "reply"),
    [
        ({"maps": {"old": {"servername": False}}}, "good.test", SECURE.rpartition(b" ")[0]),
        (
            {"dns": {"on_failure": "defer"}},
            "unanswered.test",
            b"TEMP MTA-STS: DNS failure for unanswered",
        ),
    ],
)
async def test_other_replies(
    net: Internet,
    served: tuple[RunningDaemon, Daemon],
    tmp_path: Path,
    changes: Changes,
    key: str,
    reply: bytes,
) -> None:
    """After a reload the same request on the same connection gets the new reply."""
    running, daemon = served
    net.dns.zone["_mta-sts.unanswered.test TXT"] = Fault.SERVFAIL
    async with connected(running.socketmap) as client:
        assert await client.ask(key, "old") in {SECURE, NOT_FOUND}
        await daemon.reload(net.settings(tmp_path, changes))
        assert (await client.ask(key, "old")).startswith(reply)
    assert net.queries("good.test") <= 1


async def test_cached_replies_are_kept(
    net: Internet, served: tuple[RunningDaemon, Daemon], tmp_path: Path
) -> None:
    """A reload that does not change replies keeps the cached ones: no look-up in the network."""
    running, daemon = served
    async with connected(running.socketmap) as client:
        assert await client.ask("good.test") == SECURE
        await daemon.reload(net.settings(tmp_path, {"lookup": {"timeout": "5s"}}))
        net.vanish()
        assert await client.ask("good.test") == SECURE
    assert daemon.frontend.maps.entries == 1


async def test_another_store(
    net: Internet,
    served: tuple[RunningDaemon, Daemon],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A new cache.path is logged, as it needs a restart; the rest of the reload is done."""
    _, daemon = served
    changes = {"cache": {"path": str(tmp_path / "other.db"), "memory_entries": 7}}
    await daemon.reload(net.settings(tmp_path, changes))
    assert any("cache.path needs a restart" in message for message in caplog.messages)
    assert daemon.constants.needs_restart(daemon.settings) == ["cache.path"]
    assert daemon.settings.cache.memory_entries == 7
    assert not (tmp_path / "other.db").exists()
    caplog.clear()
    await daemon.reload(net.settings(tmp_path))  # back to the file that is open
    assert daemon.constants.needs_restart(daemon.settings) == caplog.messages == []
