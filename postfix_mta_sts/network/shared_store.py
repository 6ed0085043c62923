"""The client of the shared store, in a thread of the network process with its own event loop.

With 200 TLS handshakes at once on a busy machine, the event loop of the look-ups was late by up to
450 ms, and answers of the store were read up to 180 ms late; in a thread, 70 ms. A look has 250 ms.
The thread imports the library of the database, and connects, while the network process starts; that
waits a little for it. Without a fleet there is no thread.

A thread in which a call of a library hangs is like a store that is away: until it goes on, requests
cost no time. One that has ended is followed by another.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from postfix_mta_sts.store.fleet.limits import REACTION, limit_of
from postfix_mta_sts.store.fleet.requests import (
    AnyAnswer,
    AnyRequest,
    StoreCondition,
    Unavailable,
)
from postfix_mta_sts.store.fleet.settings import SharedStoreSettings

if TYPE_CHECKING:
    from postfix_mta_sts.store.fleet.engine import Engine

END_TIMEOUT: Final = 0.5
"""Seconds to give leases back, and for the end of the thread; then nothing waits for it."""

T = TypeVar("T")
_HUNG: Final = Unavailable("the thread of the shared store does not react", was_asked=False)
_ENDED: Final = Unavailable("the thread of the shared store has ended")
_NO_CLIENT: Final = Unavailable("there is no client of the shared store", was_asked=False)
_STARTING: Final = Unavailable("the client of the shared store is starting", was_asked=False)


class Client(Protocol):
    """What this module needs of `FleetClient`."""

    @property
    def condition(self) -> StoreCondition:
        """Whether the store works, as far as is known."""

    def start(self) -> None:
        """Connect."""

    async def first_connection(self) -> None:
        """Wait until the first connection stands, or has failed."""

    async def answer(self, request: AnyRequest, /) -> AnyAnswer:
        """Answer a request; `Unavailable` for what the store does wrong."""

    async def close(self) -> None:
        """Give the leases back, and close the connections."""


class SharedStore:
    """Answers requests of the daemon; call `start` first, if possible, and `close` last.

    `settings` None: there is no fleet. `make` makes the client, in the thread; another one is for
    tests.
    """

    def __init__(
        self,
        settings: SharedStoreSettings | None,
        make: Callable[[SharedStoreSettings], Client] | None = None,
    ) -> None:
        self._settings = settings
        self._make = make or _make_client
        self._client: Client | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._fault: Unavailable | None = None
        """Why no request reaches the client."""

    @property
    def condition(self) -> StoreCondition:
        """Whether the shared store works; also if there is none, or if it was not asked yet."""
        if fault := self._fault:
            return StoreCondition(fault.reason, is_asked=False)
        return self._client.condition if self._client else StoreCondition()

    def start(self) -> None:
        """Connect behind everything else, if there is a fleet."""
        if self._settings:
            with suppress(RuntimeError, OSError):
                self._open(self._settings)

    async def first_connection(self, seconds: float) -> None:
        """Wait until the store can be asked, or it is known that it cannot; see `start`."""
        if self._loop and (waiting := _handed_over(self._first_connection(), self._loop)):
            await asyncio.wait([waiting], timeout=seconds)
            waiting.cancel()

    async def answer(self, request: AnyRequest) -> AnyAnswer:
        """Answer a request; see `requests`."""
        if self._settings is None:
            return Unavailable("no fleet is configured")
        try:
            loop = self._open(self._settings)
        except (RuntimeError, OSError) as error:
            fault = Unavailable(f"no thread for the shared store: {error}", was_asked=False)
            self._fault = fault
            return fault
        return self._fault or await self._answer_of(loop, request)

    async def close(self) -> None:
        """Give leases back, end what is under way, and end the thread."""
        self._settings = None  # what is asked now starts none
        if self._loop and self._thread and self._thread.is_alive():
            if closing := _handed_over(self._close(), self._loop):
                await asyncio.wait([closing], timeout=END_TIMEOUT)
            with suppress(RuntimeError):  # its loop is closed
                self._loop.call_soon_threadsafe(self._loop.stop)
            await asyncio.to_thread(self._thread.join, END_TIMEOUT)

    def _open(self, settings: SharedStoreSettings) -> asyncio.AbstractEventLoop:
        """The loop of the thread, which is started if it must be.

        Raises `RuntimeError` if there is no thread to be had, `OSError` if there is no file.
        """
        if self._loop and self._thread and self._thread.is_alive():
            return self._loop
        self._client, self._fault = None, None
        loop = asyncio.new_event_loop()
        # The end of the process does not wait for it: a database may hang.
        thread = threading.Thread(target=_serve, args=(loop,), name="shared store", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            loop.close()
            raise
        self._loop, self._thread = loop, thread
        loop.call_soon_threadsafe(self._make_client, settings)
        return loop

    def _make_client(self, settings: SharedStoreSettings) -> None:
        """Runs in the thread, as what follows."""
        try:
            client = self._make(settings)
            client.start()
        except Exception:  # a fault of this program; the event loop logs it
            self._fault = _NO_CLIENT
            raise
        self._client = client

    async def _answer_of(self, loop: asyncio.AbstractEventLoop, request: AnyRequest) -> AnyAnswer:
        """The answer of the thread, if it reacts."""
        # The imports take long on a busy machine, and hold the thread up.
        is_starting = self._client is None
        answering = _handed_over(self._answer(request), loop)
        if answering is None:
            return _ENDED
        try:
            async with asyncio.timeout(limit_of(request) + (0.0 if is_starting else REACTION)):
                return await answering
        except TimeoutError:
            if is_starting:
                return _STARTING
            self._fault = _HUNG
            with suppress(RuntimeError):  # its loop is closed; the next request starts another
                loop.call_soon_threadsafe(self._react)
            return _HUNG
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            return _ENDED

    def _react(self) -> None:
        self._fault = None

    async def _first_connection(self) -> None:
        if self._client:
            await self._client.first_connection()

    async def _answer(self, request: AnyRequest) -> AnyAnswer:
        return await self._client.answer(request) if self._client else _NO_CLIENT

    async def _close(self) -> None:
        if self._client:
            await self._client.close()


def _handed_over(
    work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop
) -> asyncio.Future[T] | None:
    """Have the thread with this loop do something; None: its loop is closed, and it is ending."""
    try:
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))
    except RuntimeError:
        work.close()
        return None


def _is_cancelled() -> bool:
    """Whether it is this task that was cancelled, and not what it waits for."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _make_client(settings: SharedStoreSettings) -> Client:
    from postfix_mta_sts.store.fleet.client import FleetClient  # noqa: PLC0415

    return FleetClient(settings, _open_engine)


async def _open_engine(settings: SharedStoreSettings) -> "Engine":
    from postfix_mta_sts.store.fleet.opening import open_engine  # noqa: PLC0415

    return open_engine(settings)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """The thread: run until the loop is stopped, then end what is under way."""
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.get_loop().run_forever()
