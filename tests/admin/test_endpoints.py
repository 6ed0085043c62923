"""Endpoints: the control socket and the metrics; the HTTP server starts with the first client."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from postfix_mta_sts.admin.client import ControlClient
from postfix_mta_sts.admin.endpoints import EndpointBindings, EndpointName, Endpoints
from postfix_mta_sts.admin.http import HttpRequest, HttpResponse, Route
from postfix_mta_sts.config.address import UnixAddress
from postfix_mta_sts.config.settings import ControlSettings
from postfix_mta_sts.sockets import ListenError, Sockets
from postfix_mta_sts.sockets.host_names import bound
from tests.support.daemons import process
from tests.support.http import exchange
from tests.support.internet import internet

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

MANY = 30


async def _say(body: bytes, _: HttpRequest) -> HttpResponse:
    return HttpResponse(200, "application/json", body)


def control_at(path: Path) -> EndpointBindings:
    """A control socket."""
    return {EndpointName.CONTROL: bound(UnixAddress(path), ControlSettings())}


@asynccontextmanager
async def endpoint(path: Path) -> AsyncIterator[Endpoints]:
    """A control socket with one route."""
    route = Route("GET", "/hello", partial(_say, b'"hello"'))
    endpoints = Endpoints(Sockets([]), {EndpointName.CONTROL: [route]})
    await endpoints.open(control_at(path))
    async with AsyncExitStack() as stack:
        stack.push_async_callback(endpoints.close)
        yield endpoints


async def asked(path: Path) -> bytes:
    """Return the body of the response to GET /hello."""
    return (await exchange(path, "GET /hello")).body


async def test_many_first_clients(tmp_path: Path) -> None:
    """All clients that connect before the HTTP server runs are answered."""
    path = tmp_path / "control.sock"
    async with endpoint(path):
        replies = await asyncio.gather(*(asked(path) for _ in range(MANY)))
    assert all(reply.endswith(b'"hello"') for reply in replies)


async def test_no_client(tmp_path: Path) -> None:
    """An endpoint without any client closes, and its file is removed."""
    path = tmp_path / "control.sock"
    async with endpoint(path):
        assert path.is_socket()
    assert not path.exists()


async def test_close_with_the_first_client(tmp_path: Path) -> None:
    """A client that connects a moment before the end is not left waiting."""
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as client:
        async with endpoint(path):
            client.connect(str(path))
        with suppress(ConnectionResetError):
            assert await asyncio.to_thread(client.recv, 1) == b""


async def test_http_server_is_loaded_late(tmp_path: Path) -> None:
    """A daemon that only answers Postfix has no HTTP server in memory."""

    def is_loaded(pid: int) -> bool:
        return "/aiohttp/" in Path(f"/proc/{pid}/maps").read_text("utf-8")

    async with internet(tmp_path) as net, process(tmp_path, net.config(tmp_path)) as served:
        await served.start()
        async with served.clients(1) as (client,):
            await client.ask("good.test")
        before = is_loaded(served.pid)
        await asyncio.to_thread(ControlClient(tmp_path / "control.sock").ask, "GET", "status")
        assert (before, is_loaded(served.pid)) == (False, True)


async def test_metrics_at_the_control_socket(tmp_path: Path) -> None:
    """Two endpoints at one address are refused."""
    place = bound(UnixAddress(tmp_path / "s"), ControlSettings())
    endpoints = Endpoints(Sockets([]), {})
    with pytest.raises(ListenError, match="the same address"):
        await endpoints.open({EndpointName.CONTROL: place, EndpointName.METRICS: place})


async def test_exchanged_addresses(tmp_path: Path) -> None:
    """Endpoints that exchange their addresses are both served there, on the same files."""
    routes = {
        name: [Route("GET", "/hello", partial(_say, b'"%b"' % name.encode()))]
        for name in EndpointName
    }
    one, two = (bound(UnixAddress(tmp_path / name), ControlSettings()) for name in "ab")
    async with AsyncExitStack() as stack:
        endpoints = Endpoints(Sockets([]), routes)
        stack.push_async_callback(endpoints.close)
        await endpoints.open({EndpointName.CONTROL: one, EndpointName.METRICS: two})
        inodes = {path.name: path.stat().st_ino for path in tmp_path.iterdir()}
        assert await asked(tmp_path / "a") == b'"control"'
        await endpoints.open({EndpointName.CONTROL: two, EndpointName.METRICS: one})
        assert {path.name: path.stat().st_ino for path in tmp_path.iterdir()} == inodes
        assert await asked(tmp_path / "a") == b'"metrics"'
        assert await asked(tmp_path / "b") == b'"control"'
        await endpoints.open({EndpointName.CONTROL: two})
        assert not (tmp_path / "a").exists()
        assert await asked(tmp_path / "b") == b'"control"'


async def test_control_socket_is_tried_again(tmp_path: Path) -> None:
    """A control socket that could not be opened is opened by the next reload."""
    path = tmp_path / "control.sock"
    path.mkdir()
    async with endpoint(path) as endpoints:
        path.rmdir()
        await endpoints.open(control_at(path))
        assert await asked(path) == b'"hello"'
