"""Asking servers by a process of its own, here as the user that runs the tests."""

import os
import pwd
import socket
import sys
from pathlib import Path

import pytest

from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.permissions import Account
from postfix_mta_sts.postfix.installed import asking
from postfix_mta_sts.postfix.installed.asking import (
    View,
    account_of,
    ask_inside,
    connect_inside,
    seen_from,
    views_of,
)
from postfix_mta_sts.postfix.installed.outcome import NotAskedError
from postfix_mta_sts.postfix.installed.values import Reach, Standpoint
from postfix_mta_sts.postfix.policy_maps import Server
from tests.support.map_servers import map_server

SELF = Standpoint.SELF
POSTFIX = Account(12345, 54321)

on_both_loops = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no error."""
    monkeypatch.setattr(asking, "TIMEOUT", 60.0)
    monkeypatch.setattr(asking, "_SERVER_TIMEOUT", 30.0)


@pytest.fixture
def view(tmp_path: Path) -> View:
    """This user, in a queue directory."""
    return View(SELF, str(tmp_path))


@on_both_loops
@pytest.mark.parametrize("path", [None, "run/sock"])
async def test_an_answer(tmp_path: Path, view: View, path: str | None) -> None:
    """A server at a port, or at a socket below the queue directory, answers for the map."""
    (tmp_path / "run").mkdir()
    async with map_server(b"6:OK may,", tmp_path / path if path else None) as server:
        reach = await ask_inside(Server("socketmap", server.address, "postfix"), view)
    assert reach == Reach(SELF, reply="may")
    assert server.requests == [b"19:postfix [127.0.0.1],"]


async def test_tcp_table(view: View) -> None:
    """The other protocol."""
    async with map_server(b"500 no\n") as server:
        assert await ask_inside(Server("tcp_table", server.address), view) == Reach(SELF)
    assert server.requests == [b"get [127.0.0.1]\n"]


async def test_a_path_elsewhere(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, view: View
) -> None:
    """A socket outside of the queue directory is found by its absolute path."""
    path = tmp_path_factory.mktemp("run") / "sock"
    async with map_server(path=path) as server:
        assert await ask_inside(Server("socketmap", server.address, "m"), view) == Reach(SELF)


async def test_refused(view: View) -> None:
    """The symbol of the error comes back."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        server = Server("socketmap", TcpAddress(*closed.getsockname()), "m")
        reach = await ask_inside(server, view)
    assert reach == Reach(SELF, "ECONNREFUSED", "Connection refused")


async def test_a_silent_server(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that accepts, and sends nothing, is late; the process itself says so."""
    monkeypatch.setattr(asking, "_SERVER_TIMEOUT", 0.2)
    async with map_server(None) as server:
        reach = await ask_inside(Server("socketmap", server.address, "m"), view)
    assert reach == Reach(SELF, "late", "connected, and no reply came within 0.2 s")


async def test_a_process_that_hangs(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that does not end is killed: a look-up of a host has no other limit.

    Without one it is not the server that is slow.
    """
    monkeypatch.setattr(asking, "TIMEOUT", 0.2)
    monkeypatch.setattr(asking, "_PROGRAM", "import time; time.sleep(600)")
    reach = await ask_inside(Server("socketmap", TcpAddress("h.test", 1), "m"), view)
    assert reach == Reach(SELF, "late", "no address within 0.2 s")
    with pytest.raises(NotAskedError, match=r"^its process took more than 0\.2 s$"):
        await ask_inside(Server("socketmap", TcpAddress("127.0.0.1", 1), "m"), view)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("raise SystemExit('error: no room')", "its process failed: no room"),
        ("print('hello')", "its process printed no outcome"),
        ("print('x' * 5_000_000)", "python.* printed more than .* bytes"),
    ],
)
async def test_a_process_that_fails(
    view: View, monkeypatch: pytest.MonkeyPatch, program: str, reason: str
) -> None:
    """A fault of this program is none of the server."""
    monkeypatch.setattr(asking, "_PROGRAM", program)
    with pytest.raises(NotAskedError, match=f"^{reason}$"):
        await ask_inside(Server("socketmap", TcpAddress("127.0.0.1", 1), "m"), view)


async def test_no_process(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same if there is no process at all."""
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(NotAskedError, match=r"^/no/such/python was not found$"):
        await ask_inside(Server("socketmap", TcpAddress("127.0.0.1", 1), "m"), view)


async def test_no_folder(tmp_path: Path) -> None:
    """A queue directory that is missing is the reason why nothing was asked."""
    with pytest.raises(NotAskedError, match=r"^as this user in .*/none: No such file"):
        await ask_inside(
            Server("socketmap", UnixAddress(tmp_path / "none/sock"), "m"),
            View(SELF, str(tmp_path / "none")),
        )


async def test_a_datagram_socket(tmp_path: Path, view: View) -> None:
    """A socket for reports takes a connection, or says why not."""
    path = tmp_path / "tlsrpt"
    assert (await connect_inside(path, view)).error == "ENOENT"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        assert await connect_inside(path, view) == Reach(SELF)


@pytest.mark.parametrize(
    ("path", "seen"),
    [("/q/run/s", "run/s"), ("/q", "."), ("/qq/s", "/qq/s"), ("/run/s", "/run/s")],
)
def test_paths(path: str, seen: str) -> None:
    """A path below the queue directory is the same inside and outside of the chroot."""
    assert seen_from("/q", Path(path)) == seen


def test_views() -> None:
    """A chrooted smtp(8) is asked for in its chroot, and outside to compare; a plain user once."""

    def standpoints(account: Account | None, *, chrooted: bool) -> list[Standpoint]:
        return [each.standpoint for each in views_of("/q", account, chrooted=chrooted)]

    assert standpoints(POSTFIX, chrooted=True) == [Standpoint.CHROOT, Standpoint.POSTFIX]
    assert standpoints(POSTFIX, chrooted=False) == [Standpoint.POSTFIX]
    assert standpoints(None, chrooted=True) == [SELF]


def test_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only root may become the user of Postfix, and there has to be one."""
    entry = pwd.getpwuid(os.getuid())
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert account_of(entry.pw_name) == Account(entry.pw_uid, entry.pw_gid)
    assert account_of("no-such-user") is None
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert account_of(entry.pw_name) is None
