"""Listeners come and go while others are served; on asyncio's loop and on uvloop's."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postfix_mta_sts.config.settings import Listener, TcpAddress, UnixAddress
from postfix_mta_sts.daemon.assembly import Daemon
from postfix_mta_sts.sockets import ListenError
from tests.support.clients import connected
from tests.support.daemons import Desk, reloading
from tests.support.dns import Fault
from tests.support.internet import Changes, Internet

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

SECURE = b"OK secure match=mx1.good.test servername=hostname"
NOT_FOUND = b"NOTFOUND "


@pytest.fixture
async def served(net: Internet, tmp_path: Path) -> AsyncIterator[tuple[Desk, Daemon]]:
    """A daemon, and where it is asked."""
    async with reloading(net, tmp_path) as served:
        yield served


def with_listeners(daemon: Daemon, *added: Listener, kept: int = 3) -> tuple[Listener, ...]:
    """The first listeners of a daemon, and others."""
    return (*daemon.settings.listen[:kept], *added)


async def change(daemon: Daemon, *listeners: Listener) -> None:
    """Let a daemon serve at these."""
    with daemon.doors.opened(listeners) as fresh:
        pass
    await daemon.doors.change(listeners, fresh)


async def test_one_more(served: tuple[Desk, Daemon], tmp_path: Path) -> None:
    """A new listener answers, and those who came by another one are not disturbed."""
    desk, daemon = served
    path = tmp_path / "new"
    async with connected(desk.socketmap) as early:
        assert await early.ask("good.test") == SECURE
        await change(daemon, *with_listeners(daemon, Listener(socketmap=UnixAddress(path))))
        async with connected(path) as late:
            assert await late.ask("good.test") == SECURE
        assert await early.ask("good.test") == SECURE


async def test_one_less(net: Internet, served: tuple[Desk, Daemon]) -> None:
    """A listener that goes answers what it was asked, and leaves no file."""
    desk, daemon = served
    net.dns.hold()
    async with connected(desk.tcp_table) as waiting, connected(desk.socketmap) as other:
        asked = asyncio.create_task(waiting.get("good.test"))
        await net.dns.queries.reached(("_mta-sts.good.test", "TXT"))
        await change(daemon, *with_listeners(daemon, kept=1))
        assert not desk.tcp_table.exists()
        net.dns.release()
        assert (await asked).startswith(b"200 secure%20match=mx1.good.test")
        assert await waiting.reader.read() == b""
        assert await other.ask("good.test") == SECURE
    with pytest.raises(FileNotFoundError):
        await desk.get("good.test")


async def test_another_wire_at_the_same_address(served: tuple[Desk, Daemon]) -> None:
    """Nobody is refused in between: the socket is the same."""
    desk, daemon = served
    inode = desk.socketmap.stat().st_ino
    listener = Listener(tcp_table=UnixAddress(desk.socketmap))
    await change(daemon, listener)
    assert desk.socketmap.stat().st_ino == inode
    async with connected(desk.socketmap) as client:
        assert (await client.get("good.test")).startswith(b"200 secure%20match=mx1.good.test")


async def test_other_permissions(served: tuple[Desk, Daemon]) -> None:
    """Who may connect is changed on the file that is there."""
    desk, daemon = served
    listener = Listener(socketmap=UnixAddress(desk.socketmap), mode=0o640)
    await change(daemon, listener)
    assert desk.socketmap.stat().st_mode & 0o777 == 0o640
    assert await desk.ask("good.test") == SECURE


async def test_an_address_in_use(served: tuple[Desk, Daemon], tmp_path: Path) -> None:
    """What cannot be had leaves everything as it was, also what could be had before it."""
    desk, daemon = served
    before = list(daemon.doors.sockets)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = Listener(socketmap=TcpAddress(*other.getsockname()))
        free = Listener(socketmap=UnixAddress(tmp_path / "free"))
        with pytest.raises(ListenError, match="in use"):
            await change(daemon, free, taken)
    assert daemon.doors.sockets == before
    assert await desk.ask("good.test") == SECURE
    with pytest.raises(ConnectionRefusedError):
        async with connected(tmp_path / "free"):
            pass


async def test_there_and_back(served: tuple[Desk, Daemon]) -> None:
    """A listener that goes and comes again is as it was."""
    desk, daemon = served
    await change(daemon, *with_listeners(daemon, kept=1))
    await change(daemon, *daemon.settings.listen)
    assert (await desk.get("good.test")).startswith(b"200 secure")
    assert await desk.ask("good.test") == SECURE


@pytest.mark.parametrize(
    ("changes", "key", "reply"),
    [
        ({"maps": {"old": {"servername": False}}}, "good.test", SECURE.rpartition(b" ")[0]),
        ({"dns": {"on_failure": "defer"}}, "silent.test", b"TEMP MTA-STS: DNS failure for silent"),
    ],
)
async def test_other_words(
    net: Internet,
    served: tuple[Desk, Daemon],
    tmp_path: Path,
    changes: Changes,
    key: str,
    reply: bytes,
) -> None:
    """After a reload the same request, on the same connection, is answered in the new way."""
    desk, daemon = served
    net.dns.zone["_mta-sts.silent.test TXT"] = Fault.SERVFAIL
    async with connected(desk.socketmap) as client:
        assert await client.ask(key, "old") in {SECURE, NOT_FOUND}
        await daemon.reload(net.settings(tmp_path, changes))
        assert (await client.ask(key, "old")).startswith(reply)
    assert net.queries("good.test") <= 1


async def test_what_was_answered_is_remembered(
    net: Internet, served: tuple[Desk, Daemon], tmp_path: Path
) -> None:
    """A reload that changes nothing of replies forgets none: the network is not asked again."""
    desk, daemon = served
    async with connected(desk.socketmap) as client:
        assert await client.ask("good.test") == SECURE
        await daemon.reload(net.settings(tmp_path, {"lookup": {"timeout": "5s"}}))
        net.vanish()
        assert await client.ask("good.test") == SECURE
    assert daemon.desk.entries == 1


async def test_another_store(
    net: Internet,
    served: tuple[Desk, Daemon],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The one thing that takes a restart is said so, and the rest of the reload is done."""
    _, daemon = served
    changes = {"cache": {"path": str(tmp_path / "other.db"), "memory_entries": 7}}
    await daemon.reload(net.settings(tmp_path, changes))
    assert any("cache.path takes a restart" in message for message in caplog.messages)
    assert daemon.settings.cache.memory_entries == 7
    assert not (tmp_path / "other.db").exists()
