"""Where a daemon shows itself to others than Postfix: to commands, to Prometheus, to its siblings.

Border: which sockets there are and what is served on each; what is said there, `control` and
`scrape` know. Mail depends on none of them: only where the settings ask for the numbers at an
address that cannot be had is that an error.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from socket import socket
from typing import Final, NamedTuple, TypeAlias

from postfix_mta_sts.admin.http import Route
from postfix_mta_sts.admin.routes import private_path
from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.config.settings import ControlSettings, Settings
from postfix_mta_sts.sockets import Access, Sockets


class EndpointName(StrEnum):
    """What is served at an endpoint."""

    CONTROL = "control"
    METRICS = "metrics"
    SIBLINGS = "siblings"
    """What one worker has to say to the others."""


class EndpointAddress(NamedTuple):
    """Where an endpoint is, and who may connect."""

    address: TcpAddress | UnixAddress
    access: Access


BACKLOG: Final = 128
WEB: Final = "postfix_mta_sts.admin.http_server"

Where: TypeAlias = Mapping[EndpointName, EndpointAddress]


def public(settings: Settings, default_path: Path) -> Where:
    """The endpoints of a daemon; `default_path`: of the control socket that has none."""
    control = UnixAddress(settings.control.path or default_path)
    where = {EndpointName.CONTROL: EndpointAddress(control, settings.control)}
    if settings.metrics.listen:
        where[EndpointName.METRICS] = EndpointAddress(settings.metrics.listen, settings.metrics)
    return where


def sibling(settings: Settings, default_path: Path, index: int) -> Path:
    """Where the worker with this index is asked by the others."""
    return private_path(settings.control.path or default_path, index)


def only_sibling(path: Path) -> Where:
    """The endpoint at which a worker is asked by the others."""
    return {EndpointName.SIBLINGS: EndpointAddress(UnixAddress(path), ControlSettings())}


def opened(listening: Sockets, where: Where) -> dict[EndpointName, socket]:
    """A socket for each endpoint that can be had. Raises `ListenError` for the metrics."""
    sockets = {}
    with ExitStack() as undo:
        for name, (address, access) in where.items():
            if name is EndpointName.METRICS or isinstance(address, TcpAddress):
                sock: socket | None = listening.open_at(address, access)
            else:
                if (
                    name is EndpointName.SIBLINGS
                ):  # at a reload the new worker has the place of the old one
                    address.path.unlink(missing_ok=True)
                sock = listening.open_control(address.path, access)
            if sock:
                sockets[name] = undo.enter_context(sock)
        undo.pop_all()
    return sockets


class Endpoints:
    """The endpoints of one process, and what is served at each."""

    def __init__(self, listening: Sockets, routes: Mapping[EndpointName, Sequence[Route]]) -> None:
        self._listening = listening
        self._routes = routes
        self._where: dict[EndpointName, EndpointAddress] = {}
        self._serving: dict[EndpointName, AsyncExitStack] = {}

    @contextmanager
    def opened(self, where: Where) -> Iterator[Mapping[EndpointName, socket]]:
        """The sockets that `reconfigure` needs; closed again on an error.

        Raises `ListenError`.
        """
        with ExitStack() as undo:
            new = {name: at for name, at in where.items() if self._where.get(name) != at}
            moved = {n: at for n, at in new.items() if not self._is_there(n, at)}
            for at in (at for name, at in new.items() if name not in moved):
                self._listening.permit(at.address, at.access)
            sockets = opened(self._listening, moved)
            for sock in sockets.values():
                undo.enter_context(sock)
            yield sockets
            undo.pop_all()

    async def reconfigure(self, where: Where, fresh: Mapping[EndpointName, socket]) -> None:
        """Serve at these and no others; `fresh` as `opened` gave them."""
        for name, at in self._where.items():
            if name in fresh or name not in where:
                await self._leave(name, at)
        for name, sock in fresh.items():
            stack = self._serving[name] = AsyncExitStack()
            await stack.enter_async_context(_serving(sock, self._routes[name]))
        self._where = dict(where)

    async def close(self) -> None:
        """Serve no more; requests under way have a moment to end."""
        for name, at in self._where.items():
            await self._leave(name, at)

    def _is_there(self, name: EndpointName, at: EndpointAddress) -> bool:
        return name in self._serving and self._where[name].address == at.address

    async def _leave(self, name: EndpointName, at: EndpointAddress) -> None:
        if stack := self._serving.pop(name, None):
            self._listening.drop(at.address)
            await stack.aclose()


@asynccontextmanager
async def _serving(sock: socket, routes: Sequence[Route]) -> AsyncIterator[None]:
    """Answer on a bound socket while this is entered; see `web.serving`."""
    sock.listen(BACKLOG)
    task = asyncio.create_task(_serve(sock, routes), name="endpoint")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError), sock:
            await task


async def _serve(sock: socket, routes: Sequence[Route]) -> None:
    await _somebody_came(sock)
    # Imported only now, and aside: a start that Postfix waits for does without aiohttp's 200 ms,
    # and who asks nothing but look-ups without its 16 MiB.
    if WEB not in sys.modules:
        await asyncio.to_thread(import_module, WEB)
    async with import_module(WEB).serving(sock, routes):
        await asyncio.Event().wait()  # until this is cancelled


async def _somebody_came(sock: socket) -> None:
    """Wait until a client connects; it is not accepted yet."""
    loop, came = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sock, came.set)
    try:
        await came.wait()
    finally:
        loop.remove_reader(sock)
