"""Asking servers as another user, and inside a chroot: what only root can do.

The user is nobody; no Postfix is needed, since all that matters is a queue directory.
"""

import os
import pwd
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.permissions import Account
from postfix_mta_sts.postfix.installed import asking
from postfix_mta_sts.postfix.installed.asking import View, account_of, ask_inside, views_of
from postfix_mta_sts.postfix.installed.values import Reach, Standpoint
from postfix_mta_sts.postfix.policy_maps import Server
from tests.support.map_servers import MapServer, map_server
from tests.support.obstacles import cannot

CHROOT, POSTFIX = Standpoint.CHROOT, Standpoint.POSTFIX


@pytest.fixture
def account() -> Account:
    """The user that asks."""
    if os.geteuid() != 0:
        cannot("these tests need root")
    found = account_of("nobody")
    assert found
    return found


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A queue directory that everybody may enter, in a folder that only root may."""
    monkeypatch.setattr(asking, "TIMEOUT", 60.0)
    folder = tmp_path / "queue"
    (folder / "run").mkdir(parents=True)
    for each in (folder, folder / "run"):
        each.chmod(0o755)
    return folder


@asynccontextmanager
async def serving(queue: Path, mode: int = 0o666) -> AsyncIterator[MapServer]:
    """A server at a socket of root below the queue directory."""
    path = queue / "run/sock"
    async with map_server(path=path) as server:
        path.chmod(mode)
        yield server


async def errors(queue: Path, account: Account, address: UnixAddress | TcpAddress) -> list[Reach]:
    """What comes of asking inside of the chroot, and outside."""
    server = Server("socketmap", address, "postfix")
    views = views_of(str(queue), account, chrooted=True)
    return [await ask_inside(server, view) for view in views]


async def test_both_places(queue: Path, account: Account) -> None:
    """A socket below the queue directory is found inside and outside."""
    async with serving(queue) as server:
        assert await errors(queue, account, server.address) == [Reach(CHROOT), Reach(POSTFIX)]
    assert server.requests == [b"19:postfix [127.0.0.1],"] * 2


async def test_denied(queue: Path, account: Account) -> None:
    """The user may not write to the socket, or enter its folder, though root may."""
    async with serving(queue, 0o600) as server:
        assert {each.error for each in await errors(queue, account, server.address)} == {"EACCES"}
    (queue / "run").chmod(0o700)
    async with serving(queue) as server:
        assert {each.error for each in await errors(queue, account, server.address)} == {"EACCES"}


async def test_groups(queue: Path, account: Account) -> None:
    """The user has no group but its own, whatever groups root is in."""
    async with serving(queue, 0o660) as server:
        os.chown(queue / "run/sock", 0, 0)
        assert {each.error for each in await errors(queue, account, server.address)} == {"EACCES"}
        os.chown(queue / "run/sock", 0, pwd.getpwnam("nobody").pw_gid)
        assert {each.error for each in await errors(queue, account, server.address)} == {""}


async def test_elsewhere(
    queue: Path, account: Account, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What is outside of the queue directory does not exist inside."""
    path = tmp_path_factory.mktemp("run") / "sock"
    view = View(CHROOT, str(queue), account)
    async with serving(queue), map_server(path=path) as other:
        inside = Server("socketmap", UnixAddress(Path("/run/sock")), "m")
        assert await ask_inside(inside, view) == Reach(CHROOT)
        outside = Server("socketmap", other.address, "m")
        assert (await ask_inside(outside, view)).error == "ENOENT"


async def test_host_names(queue: Path, account: Account) -> None:
    """A host is looked up by the files of the chroot."""
    (queue / "etc").mkdir()
    (queue / "etc/hosts").write_text("127.0.0.1 only.here.test\n")
    view = View(CHROOT, str(queue), account)
    async with map_server() as server:
        assert isinstance(server.address, TcpAddress)
        address = TcpAddress("only.here.test", server.address.port)
        assert await ask_inside(Server("socketmap", address, "m"), view) == Reach(CHROOT)
        (queue / "etc/hosts").unlink()
        (queue / "etc/resolv.conf").write_text("nameserver 127.0.0.255\noptions attempts:1\n")
        assert (await ask_inside(Server("socketmap", address, "m"), view)).error == "unresolvable"
