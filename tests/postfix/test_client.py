"""The owner of a client: the user on a UNIX socket, the address on TCP."""

import asyncio
import os
import socket
from pathlib import Path
from typing import cast

import pytest

from postfix_mta_sts.postfix.client import Clients
from postfix_mta_sts.resolver.fairness import Client, Owner


class Transport(asyncio.BaseTransport):
    """A transport that knows only these facts."""


def identify(peername: object, sock: object = None, postfix: int | None = None) -> Client:
    """The client behind a connection with these facts."""
    return Clients(postfix).identify(Transport({"peername": peername, "socket": sock}))


@pytest.mark.parametrize(
    ("peername", "name"),
    [
        (("192.0.2.1", 4711), "192.0.2.1"),
        (("127.0.0.1", 4711), "loopback"),
        (("127.3.2.1", 4711), "loopback"),
        (("::1", 4711, 0, 0), "loopback"),
        (("2001:db8::1:2", 4711, 0, 0), "2001:db8::/64"),
        (("fe80::1%eth0", 4711, 0, 2), "fe80::/64"),
        (("::ffff:192.0.2.1", 4711, 0, 0), "192.0.2.1"),
        (("::ffff:127.0.0.1", 4711, 0, 0), "loopback"),
    ],
)
def test_an_address_is_an_owner(peername: object, name: str) -> None:
    """One host cannot be many owners: all of loopback is one, and so is an IPv6 network."""
    assert identify(peername).owner == Owner(name)


def test_each_connection_has_its_own_number() -> None:
    """Two connections of one owner are two clients."""
    clients = Clients(None)
    first, second = (clients.identify(Transport({"peername": ("192.0.2.1", 1)})) for _ in "ab")
    assert first.owner == second.owner
    assert first.connection != second.connection


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_user_is_an_owner(loop: str, tmp_path: Path) -> None:
    """The kernel says which user connected; only Postfix's user has no quota."""
    if loop == "uvloop":
        runner = asyncio.Runner(loop_factory=pytest.importorskip("uvloop").new_event_loop)
    else:
        runner = asyncio.Runner()
    uid = os.geteuid()
    with runner:
        assert runner.run(owner_of(tmp_path / "a", None)) == Owner(f"uid {uid}", has_quota=True)
        assert runner.run(owner_of(tmp_path / "b", uid)) == Owner(f"uid {uid}")


async def owner_of(path: Path, postfix: int | None) -> Owner:
    """The owner of a connection from this process to a UNIX socket."""
    accepted = asyncio.get_running_loop().create_future()

    class Server(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted.set_result(Clients(postfix).identify(transport).owner)

    server = await asyncio.get_running_loop().create_unix_server(Server, path)
    _, writer = await asyncio.open_unix_connection(path)
    owner = await accepted
    writer.close()
    server.close()
    return cast("Owner", owner)


class Gone:
    """A socket whose client has gone."""

    def getsockopt(self, *_: object) -> bytes:
        """Fail as the kernel does."""
        raise OSError("Transport endpoint is not connected")


def test_an_unknown_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials all clients of UNIX sockets are one owner, without a quota."""
    assert identify("", Gone()).owner == Owner("unix")
    assert identify("", None).owner == Owner("unix")
    monkeypatch.delattr(socket, "SO_PEERCRED")
    assert identify("", Gone()).owner == Owner("unix")
