"""An endpoint takes whoever comes, and what speaks HTTP there is made when somebody does."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from postfix_mta_sts.admin.client import ControlClient
from postfix_mta_sts.admin.endpoints import EndpointAddress, EndpointName, Endpoints
from postfix_mta_sts.admin.http import Asked, Reply, Route
from postfix_mta_sts.config.address import UnixAddress
from postfix_mta_sts.config.settings import ControlSettings
from postfix_mta_sts.sockets import Sockets
from tests.support.daemons import process
from tests.support.internet import internet

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

MANY = 30


async def _hello(_: Asked) -> Reply:
    return Reply(200, "application/json", b'"hello"')


@asynccontextmanager
async def endpoint(path: Path) -> AsyncIterator[Endpoints]:
    """A control socket at which one thing can be asked."""
    endpoints = Endpoints(Sockets([]), {EndpointName.CONTROL: [Route("GET", "/hello", _hello)]})
    where = {EndpointName.CONTROL: EndpointAddress(UnixAddress(path), ControlSettings())}
    with endpoints.opened(where) as fresh:
        await endpoints.reconfigure(where, fresh)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(endpoints.close)
        yield endpoints


async def asked(path: Path) -> bytes:
    """All that comes to who asks there."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"GET /hello HTTP/1.0\r\n\r\n")
    try:
        return await reader.read()
    finally:
        writer.close()


async def test_many_at_first(tmp_path: Path) -> None:
    """All who come before it speaks HTTP are answered."""
    path = tmp_path / "control.sock"
    async with endpoint(path):
        replies = await asyncio.gather(*(asked(path) for _ in range(MANY)))
    assert all(reply.endswith(b'"hello"') for reply in replies)


async def test_nobody_came(tmp_path: Path) -> None:
    """One at which nobody has asked ends as well: its file is gone, and who comes is refused."""
    path = tmp_path / "control.sock"
    async with endpoint(path):
        assert path.is_socket()
    assert not path.exists()


async def test_end_with_the_first(tmp_path: Path) -> None:
    """Who came a moment before the end is not left waiting."""
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as client:
        async with endpoint(path):
            client.connect(str(path))
        with suppress(ConnectionResetError):
            assert await asyncio.to_thread(client.recv, 1) == b""


async def test_made_late(tmp_path: Path) -> None:
    """A daemon that is asked for policies alone has no HTTP server in its memory."""

    def is_loaded(pid: int) -> bool:
        return "/aiohttp/" in Path(f"/proc/{pid}/maps").read_text("utf-8")

    async with internet(tmp_path) as net, process(tmp_path, net.config(tmp_path)) as served:
        await served.start()
        async with served.clients(1) as (client,):
            await client.ask("good.test")
        before = is_loaded(served.pid)
        await asyncio.to_thread(ControlClient(tmp_path / "control.sock").ask, "GET", "status")
        assert (before, is_loaded(served.pid)) == (False, True)
