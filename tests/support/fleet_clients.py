"""Relays of a fleet without a network: their clients, one store in memory, one clock by hand."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.config.store_location import EngineName, StoreLocation
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store.fleet.client import FleetClient
from postfix_mta_sts.store.fleet.clocks import Clocks
from postfix_mta_sts.store.fleet.keys import Keyring
from postfix_mta_sts.store.fleet.requests import (
    AnyAnswer,
    AnyRequest,
    Done,
    Look,
    OfferPolicy,
    Seen,
    Unavailable,
)
from postfix_mta_sts.store.fleet.settings import SharedStoreSettings
from postfix_mta_sts.values import replace
from tests.support.fleet_engine import MemoryDatabase
from tests.support.states import TEXT

GOOD: Final = Domain("good.test")
KEYS: Final = Keyring({"0a0b0c0d": b"k" * 32})
OTHER_KEYS: Final = Keyring({"01020304": b"o" * 32})
BUDGET: Final = 30.0
"""Seconds: only a test in which the store hangs waits for it, and has a shorter one."""
_TURNS: Final = 100
"""Of the event loop, after which all that was woken has done what it can."""

SETTINGS: Final = SharedStoreSettings(
    location=StoreLocation(
        engine=EngineName.REDIS, addresses=(TcpAddress("127.0.0.1", 1),), database="0"
    ),
    name="mx1",
    prefix="mta_sts",
    budget=BUDGET,
    keyring=KEYS,
    authorities=None,
)


class ManualTime:
    """The clock of a store, by which its relays sleep; it goes on only by `advance`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self._sleepers: list[tuple[int, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        """Seconds."""
        return self._database.now / 1e6

    async def sleep(self, seconds: float) -> None:
        """Wait for `advance`."""
        woken = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._database.now + round(seconds * 1e6), woken))
        await woken

    async def advance(self, seconds: float) -> None:
        """Let the time pass, and all wake in order that sleep until then."""
        end = self._database.now + round(seconds * 1e6)
        await settle()
        while (at := min((each for each, _ in self._sleepers), default=end + 1)) <= end:
            self._database.now = max(at, self._database.now)
            woken = [each for each in self._sleepers if each[0] == at]
            self._sleepers = [each for each in self._sleepers if each[0] != at]
            for _, sleeper in woken:
                if not sleeper.done():
                    sleeper.set_result(None)
            await settle()
        self._database.now = end


async def settle() -> None:
    """Let all tasks run until they wait for something."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)


class Relay:
    """A relay, which is its client."""

    def __init__(self, client: FleetClient) -> None:
        self.client = client
        self.digest = ""
        """Of the document of exceptions that it has, for tests of that."""

    async def ask(self, request: AnyRequest) -> AnyAnswer:
        """Ask, and let the client do the rest."""
        return await self.client.answer(request)

    async def look(self, domain: Domain = GOOD, seconds: float = BUDGET) -> Seen:
        """Read a policy; the store must work."""
        answer = await self.ask(Look(domain, seconds))
        assert isinstance(answer, Seen), answer
        return answer

    async def offer(
        self,
        domain: Domain = GOOD,
        text: str = TEXT,
        policy_id: str = "id1",
        age: float = 0.0,
        token: str = "",
    ) -> bool:
        """Offer a policy; return whether it was kept. The store must work."""
        answer = await self.ask(OfferPolicy(domain, text, policy_id, age, 3600.0, 1.0, token))
        assert isinstance(answer, Done), answer
        return answer.is_kept

    async def is_refused(self, request: AnyRequest) -> bool:
        """Whether the store did not do it."""
        return isinstance(await self.ask(request), Unavailable)


class Fleet:
    """The store and the clock; `join` adds a relay."""

    def __init__(self, database: MemoryDatabase, stack: AsyncExitStack) -> None:
        self.database = database
        self.time = ManualTime(database)
        self._stack = stack

    def join(
        self,
        name: str = "mx1",
        *,
        ahead: float = 0.0,
        keys: Keyring | None = KEYS,
        budget: float = BUDGET,
    ) -> Relay:
        """Add a relay, whose clock is ahead of that of the store by so many seconds."""
        clocks = Clocks(
            monotonic=self.time.monotonic,
            wall=lambda: self.time.monotonic() + ahead,
            sleep=self.time.sleep,
        )
        settings = replace(SETTINGS, name=name, keyring=keys, budget=budget)
        client = FleetClient(settings, self.database.open, clocks)
        self._stack.push_async_callback(client.close)
        return Relay(client)

    def called(self, *but: str) -> Sequence[str]:
        """The calls of the store since the last time, without some kinds."""
        calls = [each for each in self.database.calls if each not in but]
        self.database.calls.clear()
        return calls


@asynccontextmanager
async def fleet() -> AsyncIterator[Fleet]:
    """A store in memory, whose relays are closed in the end."""
    async with AsyncExitStack() as stack:
        yield Fleet(MemoryDatabase(), stack)
