"""The shared store is asked in a thread of its own, and nothing starts without a fleet."""

import asyncio
import errno
import threading

import pytest

from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.network import shared_store
from postfix_mta_sts.network.shared_store import SharedStore
from postfix_mta_sts.store.fleet.requests import (
    AnyAnswer,
    AnyRequest,
    Look,
    ReadRelays,
    Seen,
    StoreCondition,
    Unavailable,
)
from postfix_mta_sts.store.fleet.settings import SharedStoreSettings
from tests.support.fleet_clients import SETTINGS

LOOK = Look(parse_domain("good.test"), 0.25)


class FakeClient:
    """See `FleetClient`; `hangs`: which of its methods do."""

    def __init__(self, settings: SharedStoreSettings, hangs: str = "") -> None:
        self.settings = settings
        self.condition = StoreCondition()
        self.threads = {threading.current_thread().name}
        self.is_started = False
        self.is_closed = False
        self.reached = threading.Event()
        self.cancelled = threading.Event()
        self._hangs = hangs

    def start(self) -> None:
        """See `FleetClient`."""
        self.is_started = True

    async def first_connection(self) -> None:
        """See `FleetClient`."""
        await self._work("first_connection")

    async def answer(self, _request: AnyRequest) -> AnyAnswer:
        """See `FleetClient`."""
        self.threads.add(threading.current_thread().name)
        await self._work("answer")
        return Seen(None)

    async def close(self) -> None:
        """See `FleetClient`."""
        await self._work("close")
        self.is_closed = True

    async def _work(self, name: str) -> None:
        self.reached.set()
        try:
            if self._hangs == name:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


def threads() -> list[str]:
    """The names of the threads of this process that serve a shared store."""
    return [each.name for each in threading.enumerate() if each.name == "shared store"]


async def test_without_a_fleet() -> None:
    """Nothing is started, imported or asked."""
    store = SharedStore(None)
    store.start()
    assert await store.answer(LOOK) == Unavailable("no fleet is configured")
    assert (store.condition, threads()) == (StoreCondition(), [])
    await store.close()


async def test_a_thread_of_its_own() -> None:
    """All requests are answered in one thread, by one client, which is closed in the end."""
    made: list[FakeClient] = []

    def make(settings: SharedStoreSettings) -> FakeClient:
        made.append(FakeClient(settings))
        return made[-1]

    store = SharedStore(SETTINGS, make)
    assert threads() == []
    store.start()
    store.start()
    assert threads() == ["shared store"]
    answers = await asyncio.gather(*(store.answer(LOOK) for _ in range(20)))
    assert answers == [Seen(None)] * 20
    made[0].condition = StoreCondition("read-only")
    assert store.condition == StoreCondition("read-only")
    await store.close()
    assert ([each.settings for each in made], made[0].threads) == ([SETTINGS], {"shared store"})
    assert (made[0].is_started, made[0].is_closed, threads()) == (True, True, [])


async def test_slow_imports() -> None:
    """A look does not wait for them for longer than for a store, and no request for ever."""
    imported = threading.Event()

    def make(settings: SharedStoreSettings) -> FakeClient:
        imported.wait()
        return FakeClient(settings)

    store = SharedStore(SETTINGS, make)
    starting = Unavailable("the client of the shared store is starting", was_asked=False)
    assert await store.answer(Look(LOOK.domain, 0.001)) == starting
    await store.first_connection(0.001)
    reading = asyncio.create_task(store.answer(ReadRelays()))
    imported.set()
    assert await reading == Seen(None)
    await store.close()


@pytest.mark.parametrize("hangs", ["", "first_connection"])
async def test_the_first_connection(hangs: str) -> None:
    """A start waits for it, but not for one that takes too long."""
    client = FakeClient(SETTINGS, hangs)
    store = SharedStore(SETTINGS, lambda _: client)
    await store.first_connection(20.0)
    assert not client.reached.is_set()
    store.start()
    await store.first_connection(0.01 if hangs else 20.0)
    assert client.reached.is_set() or hangs
    assert await store.answer(LOOK) == Seen(None)
    await store.close()


async def test_a_client_that_cannot_be_made(caplog: pytest.LogCaptureFixture) -> None:
    """A fault of this program is logged once; the store counts as away."""

    def make(_settings: SharedStoreSettings) -> FakeClient:
        raise ZeroDivisionError

    store = SharedStore(SETTINGS, make)
    for _ in range(2):
        answer = await store.answer(ReadRelays())
        assert answer == Unavailable("there is no client of the shared store", was_asked=False)
        assert store.condition == StoreCondition(answer.reason, is_asked=False)
    await store.close()
    assert len(caplog.records) == 1


async def test_a_cancelled_request() -> None:
    """It is cancelled in the thread, too: a look that nobody waits for takes no connection."""
    client = FakeClient(SETTINGS, hangs="answer")
    store = SharedStore(SETTINGS, lambda _: client)
    asking = asyncio.create_task(store.answer(LOOK))
    await asyncio.to_thread(client.reached.wait)
    asking.cancel()
    await asyncio.to_thread(client.cancelled.wait)
    await store.close()
    assert asking.cancelled()


async def test_a_request_at_the_end() -> None:
    """It ends when the process ends, and holds nothing up."""
    client = FakeClient(SETTINGS, hangs="answer")
    store = SharedStore(SETTINGS, lambda _: client)
    asking = asyncio.create_task(store.answer(LOOK))
    await asyncio.to_thread(client.reached.wait)
    await store.close()
    assert await asking == Unavailable("the thread of the shared store has ended")
    assert threads() == []


async def test_a_library_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """One request waits for a thread in which a call does not return; the others do not."""
    monkeypatch.setattr(shared_store, "REACTION", 0.01)
    returned = threading.Event()

    class Hanging(FakeClient):
        async def answer(self, request: AnyRequest) -> AnyAnswer:
            returned.wait()
            return await super().answer(request)

    store = SharedStore(SETTINGS, Hanging)
    look = Look(LOOK.domain, 0.001)
    while store.condition.problem != "the thread of the shared store does not react":
        assert isinstance(await store.answer(look), Unavailable)  # at first, it is starting
    hung = Unavailable("the thread of the shared store does not react", was_asked=False)
    assert await store.answer(ReadRelays()) == hung
    returned.set()
    while store.condition.problem:  # noqa: ASYNC110 (a thread ends it)
        await asyncio.sleep(0.001)
    assert await store.answer(LOOK) == Seen(None)
    await store.close()


async def test_a_slow_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that the client forgets ends; the thread reacts, and answers others."""
    monkeypatch.setattr(shared_store, "limit_of", lambda _: 0.01)
    monkeypatch.setattr(shared_store, "REACTION", 0.0)
    client = FakeClient(SETTINGS, hangs="answer")
    store = SharedStore(SETTINGS, lambda _: client)
    store.start()
    assert isinstance(await store.answer(ReadRelays()), Unavailable)
    await asyncio.to_thread(client.cancelled.wait)
    while store.condition.problem:  # noqa: ASYNC110 (a thread ends it)
        await asyncio.sleep(0.001)
    await store.close()


async def test_a_thread_that_ends() -> None:
    """What it had to answer is answered all the same, and another thread takes its place."""
    made: list[FakeClient] = []

    class Fatal(FakeClient):
        async def answer(self, request: AnyRequest) -> AnyAnswer:
            if len(made) == 1:
                asyncio.get_running_loop().stop()
                await asyncio.Event().wait()
            return await super().answer(request)

    def make(settings: SharedStoreSettings) -> FakeClient:
        made.append(Fatal(settings))
        return made[-1]

    store = SharedStore(SETTINGS, make)
    assert isinstance(await store.answer(ReadRelays()), Unavailable)
    while threads():  # noqa: ASYNC110 (a thread ends)
        await asyncio.sleep(0.001)
    assert await store.answer(ReadRelays()) == Seen(None)
    await store.close()
    assert threads() == []


async def test_a_store_that_hangs_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network process does not wait for it."""
    monkeypatch.setattr(shared_store, "END_TIMEOUT", 0.01)
    client = FakeClient(SETTINGS, hangs="close")
    store = SharedStore(SETTINGS, lambda _: client)
    await store.answer(LOOK)
    await store.close()
    await asyncio.to_thread(client.cancelled.wait)
    assert not client.is_closed


async def test_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit of threads the store is unavailable, and tried again with the next request."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    store = SharedStore(SETTINGS, FakeClient)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        store.start()
        answer = await store.answer(LOOK)
    reason = "no thread for the shared store: can't start new thread"
    assert answer == Unavailable(reason, was_asked=False)
    assert store.condition == StoreCondition(answer.reason, is_asked=False)
    assert await store.answer(LOOK) == Seen(None)
    assert store.condition == StoreCondition()
    await store.close()


async def test_no_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit of open files it is the same."""

    def refuse() -> asyncio.AbstractEventLoop:
        raise OSError(errno.EMFILE, "Too many open files")

    store = SharedStore(SETTINGS, FakeClient)
    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "new_event_loop", refuse)
        store.start()
        answer = await store.answer(LOOK)
    reason = "no thread for the shared store: [Errno 24] Too many open files"
    assert answer == Unavailable(reason, was_asked=False)
    assert store.condition == StoreCondition(reason, is_asked=False)
    assert await store.answer(LOOK) == Seen(None)
    assert store.condition == StoreCondition()
    await store.close()


async def test_a_thread_that_is_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the end of its event loop and its own it takes nothing, and that is no error."""

    class Fatal(FakeClient):
        async def answer(self, _request: AnyRequest) -> AnyAnswer:
            asyncio.get_running_loop().stop()
            return Seen(None)

    store = SharedStore(SETTINGS, Fatal)
    await store.answer(ReadRelays())
    while threads():  # noqa: ASYNC110 (a thread ends)
        await asyncio.sleep(0.001)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "is_alive", lambda _: True)
        ended = Unavailable("the thread of the shared store has ended")
        assert await store.answer(ReadRelays()) == ended
        await store.close()


async def test_a_store_that_nobody_serves() -> None:
    """The real client says why, and does not raise."""
    store = SharedStore(SETTINGS)
    answer = await store.answer(LOOK)
    await store.close()
    assert isinstance(answer, Unavailable)
