"""Open the endpoints for commands (control socket) and for Prometheus (metrics), and serve them.

`routes` and `monitoring` define what is served. Mail does not depend on an endpoint: only a
`metrics.listen` address that the daemon cannot listen on is an error.
"""

import asyncio
import logging
import sys
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from enum import StrEnum
from functools import partial
from importlib import import_module
from pathlib import Path
from socket import socket
from typing import Final, TypeAlias

from postfix_mta_sts.admin.http import Route
from postfix_mta_sts.admin.peer import Refused
from postfix_mta_sts.config.address import UnixAddress
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.logs import event
from postfix_mta_sts.rate_limit import RateLimit
from postfix_mta_sts.runtime import background_task
from postfix_mta_sts.sockets import (
    Address,
    Binding,
    ListenError,
    PreparedChange,
    Sockets,
    SocketSet,
)
from postfix_mta_sts.sockets.host_names import Bound, Openings, bound


class EndpointName(StrEnum):
    """The endpoints."""

    CONTROL = "control"
    METRICS = "metrics"


BACKLOG: Final = 128
REOPEN_PAUSE: Final = 1.0
"""Seconds until an endpoint that failed is opened again."""
HTTP_SERVER: Final = "postfix_mta_sts.admin.http_server"

EndpointBindings: TypeAlias = Mapping[EndpointName, Bound]
_Place: TypeAlias = tuple[EndpointName, Address]

_log = logging.getLogger(__name__)


def endpoint_bindings(settings: Settings, default_path: Path) -> EndpointBindings:
    """Return the endpoints that the settings ask for; `default_path` is for the control socket.

    Host names are looked up, which may block; raises `ListenError` for one without an address.
    """
    control = UnixAddress(settings.control.path or default_path)
    wanted = {EndpointName.CONTROL: bound(control, settings.control)}
    if settings.metrics.listen:
        wanted[EndpointName.METRICS] = bound(settings.metrics.listen, settings.metrics)
    return wanted


class Endpoints:
    """The endpoints of the daemon, and the routes that each serves.

    `refused`: the ids of processes that no UNIX socket serves.
    """

    def __init__(
        self,
        sockets: Sockets,
        routes: Mapping[EndpointName, Sequence[Route]],
        refused: Refused = frozenset,
    ) -> None:
        self._opener = sockets
        self._sockets = SocketSet[Address](sockets)
        self._routes = routes
        self._refused = refused
        self._serving: dict[_Place, AsyncExitStack] = {}

    async def open(self, wanted: EndpointBindings) -> None:
        """Serve these endpoints and no others. Raises `ListenError`; nothing has changed then."""
        with self.prepare(wanted) as change:
            pass
        await self.reconfigure(wanted, change)

    @contextmanager
    def prepare(self, wanted: EndpointBindings) -> Iterator[PreparedChange[Address]]:
        """Open the sockets that `reconfigure` needs.

        Raises `ListenError`, but not for the control socket. This, and any error in the context,
        leaves everything as it was.
        """
        by_address = {each.address: each for place in wanted.values() for each in place.bindings}
        if len(by_address) < sum(len(place.bindings) for place in wanted.values()):
            raise ListenError("control.path and metrics.listen are the same address")
        control = wanted.get(EndpointName.CONTROL)
        openings = Openings(self._opener.open)

        def open_socket(binding: Binding) -> socket | None:
            is_control = control and binding in control.bindings
            if is_control and isinstance(binding.address, UnixAddress):
                return self._opener.open_control(binding.address.path, binding.access)
            return openings.open(binding)

        with self._sockets.prepare(by_address, open_socket) as change:
            for place in wanted.values():
                openings.check(place)
            yield change

    async def reconfigure(self, wanted: EndpointBindings, change: PreparedChange[Address]) -> None:
        """Serve these endpoints and no others; `change` is the result of `prepare`."""
        self._sockets.commit(change)
        places = [(name, each.address) for name in wanted for each in wanted[name].bindings]
        for place in [place for place in self._serving if place not in places]:
            await self._stop(place)
        for place in [place for place in places if place not in self._serving]:
            await self._start(place)

    async def close(self) -> None:
        """Stop serving; requests under way have a moment to end."""
        self._sockets.close()
        for place in list(self._serving):
            await self._stop(place)

    async def _start(self, place: _Place) -> None:
        name, address = place
        if sock := self._sockets.get(address):
            stack = self._serving[place] = AsyncExitStack()
            own = sock.dup()
            serve = partial(_serve_once, own, self._routes[name], self._refused)
            await stack.enter_async_context(_serving(name, own, serve))

    async def _stop(self, place: _Place) -> None:
        await self._serving.pop(place).aclose()


@asynccontextmanager
async def _serving(
    name: EndpointName, sock: socket, serve: Callable[[], Awaitable[None]]
) -> AsyncIterator[None]:
    """Answer HTTP on a bound socket inside the context, and close it at the end."""
    with sock:
        sock.listen(BACKLOG)
        async with background_task(_serve(name, serve), f"endpoint {name}"):
            yield


async def _serve(name: EndpointName, serve: Callable[[], Awaitable[None]]) -> None:
    """Serve, again and again if that fails: mail does not depend on it."""
    failures = RateLimit()
    while True:
        try:
            await serve()
        except Exception as error:  # noqa: BLE001 (the top of a task: the endpoint is opened again)
            _log_failure(name, error, failures)
        await asyncio.sleep(REOPEN_PAUSE)


def _log_failure(name: EndpointName, error: Exception, failures: RateLimit) -> None:
    if count := failures.take(asyncio.get_running_loop().time()):
        event(
            _log,
            logging.ERROR,
            "endpoint failed, it is opened again",
            endpoint=name,
            count=count,
            exc_info=error,
        )


async def _serve_once(sock: socket, routes: Sequence[Route], refused: Refused) -> None:
    """Serve until that fails; never return otherwise."""
    await _first_client(sock)
    # Imported only now, and in a thread: a start that Postfix waits for does without aiohttp's
    # 200 ms, and a daemon that only answers look-ups does without its 16 MiB.
    if HTTP_SERVER not in sys.modules:
        await asyncio.to_thread(import_module, HTTP_SERVER)
    async with import_module(HTTP_SERVER).serving(sock.dup(), routes, refused=refused) as accepting:
        await accepting


async def _first_client(sock: socket) -> None:
    """Wait until a client connects, without accepting it."""
    loop, connected = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sock, connected.set)
    try:
        await connected.wait()
    finally:
        loop.remove_reader(sock)
