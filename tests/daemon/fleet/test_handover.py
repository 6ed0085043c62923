"""What the shared store lacks is found by samples, and given page by page."""

import asyncio
import logging
import random
import string
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from postfix_mta_sts.daemon.fleet import handover
from postfix_mta_sts.daemon.fleet.fetches import Fetches
from postfix_mta_sts.daemon.fleet.handover import (
    BATCH,
    FIRST_REST,
    PAUSE,
    SAMPLE,
    Handover,
    StoreAwayError,
)
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import DAY
from postfix_mta_sts.store import Row, RowFilter
from postfix_mta_sts.store.fleet.requests import Look, OfferPolicy
from postfix_mta_sts.store.memory import MemoryStore
from postfix_mta_sts.store.sqlite.store import SqliteStore
from postfix_mta_sts.values import replace
from tests.support.attempts import CACHED, WEEK, T, fetched
from tests.support.fleet import FakeStore
from tests.support.fleet_clients import settle

NUMBER = 200
ALPHABET = string.ascii_lowercase + string.digits
DOMAINS = [Domain(f"{'abmyz'[number % 5]}{number:03}.test") for number in range(NUMBER)]


class Relay:
    """A relay with policies on file."""

    def __init__(self) -> None:
        self.now = T
        self.rows = MemoryStore()
        self.store = FakeStore()
        self.pauses: list[float] = []
        self.seconds = 0.0
        self.fetches = Fetches(lambda: self.now, lambda: self.now)
        self.handover = Handover(
            self.store.ask,
            self.rows,
            self.fetches,
            lambda: self.now,
            self._sleep,
            lambda: self.seconds,
        )

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    async def fill(self) -> None:
        """Put policies on file."""
        for domain in DOMAINS:
            await self.rows.save(domain, CACHED, T - 60)


@pytest.fixture
async def relay() -> Relay:
    """A relay with 200 policies on file, and an empty shared store."""
    relay = Relay()
    await relay.fill()
    return relay


async def test_an_empty_store(relay: Relay) -> None:
    """At first contact a relay offers all that it has, slowly."""
    await relay.handover.look_once()
    assert set(relay.store.policies) == set(DOMAINS)
    offer = relay.store.policies[DOMAINS[0]]
    assert (offer.age, offer.asked_ago, offer.token) == (0.0, 60.0, "")
    slowly = NUMBER * (handover.OFFER_BREATH + handover.BREATH / BATCH)
    assert round(sum(relay.pauses), 9) >= round(slowly, 9)
    assert relay.store.most <= BATCH


async def test_one_policy_that_is_missing(relay: Relay) -> None:
    """A relay finds it after its start: it may have stopped before it could offer it."""
    for domain in DOMAINS[1:]:
        relay.store.policies[domain] = OfferPolicy(domain, "", "id", 0.0, 0.0)
    await relay.handover.look_once()
    assert set(relay.store.policies) == set(DOMAINS)
    assert len(relay.store.requests) == NUMBER + 1


async def test_a_store_that_has_all(relay: Relay) -> None:
    """After the first look at all, a few looks a time are all that it costs."""
    await relay.handover.look_once()
    relay.store.requests.clear()
    for _ in range(3):
        await relay.handover.look_once()
    assert [type(request) for request in relay.store.requests] == [Look] * 3 * SAMPLE


async def test_flushall(relay: Relay) -> None:
    """The next sample finds that the store was emptied, and all is offered (d)."""
    await relay.handover.look_once()
    relay.store.policies.clear()
    await relay.handover.look_once()
    assert set(relay.store.policies) == set(DOMAINS)


async def test_a_store_that_drops_some(relay: Relay) -> None:
    """What a sample misses is offered; fewer than half of it are no reason to look at all."""
    await relay.handover.look_once()
    for domain in DOMAINS[::20]:
        del relay.store.policies[domain]
    relay.store.requests.clear()
    for _ in range(200):
        await relay.handover.look_once()
    looks = [request for request in relay.store.requests if isinstance(request, Look)]
    assert len(looks) == 200 * SAMPLE
    assert {look.domain for look in looks} <= set(relay.store.policies)


async def test_a_store_that_lost_its_last_writes(relay: Relay) -> None:
    """After an outage all are looked at; if it fails again soon, once more after the rest."""
    await relay.handover.look_once()
    for end in (0.0, FIRST_REST):
        for domain in DOMAINS[::20]:
            del relay.store.policies[domain]
        relay.handover.store_is_back()
        for _ in range(20):
            await relay.handover.look_once()
            relay.seconds += end / 20
        await relay.handover.look_once()
        assert set(relay.store.policies) == set(DOMAINS)
    relay.store.requests.clear()
    relay.seconds += DAY
    await relay.handover.look_once()
    assert len(relay.store.requests) == SAMPLE


async def test_a_store_without_room_for_all(relay: Relay) -> None:
    """One that lacks most again and again, as it evicts them, gets all ever more rarely."""
    await relay.handover.look_once()
    given = []
    for minute in range(300):
        relay.seconds = minute * 60.0
        relay.store.policies.clear()
        relay.store.requests.clear()
        await relay.handover.look_once()
        if len(relay.store.policies) == NUMBER:
            given.append(minute)
    assert given == [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]


@pytest.mark.parametrize("room", [0.5, 0.7, 0.9])
async def test_a_store_with_room_for_some(room: float) -> None:
    """One that always lacks some gets all about once an hour, though some samples find all."""
    relay, chance = Relay(), random.Random(room)  # noqa: S311 (of a test)
    domains = [Domain(f"{one}{other}.test") for one in ALPHABET for other in "06agmsx"]
    for domain in domains:
        await relay.rows.save(domain, CACHED, T)
    await relay.handover.look_once()
    given = 0
    while relay.seconds < DAY / 2:
        excess = len(relay.store.policies) - round(room * len(domains))
        for domain in chance.sample(sorted(relay.store.policies), max(0, excess)):
            del relay.store.policies[domain]
        relay.store.requests.clear()
        await relay.handover.look_once()
        given += len(relay.store.of(Look)) > len(domains)
        relay.seconds += PAUSE
    assert given < 30


async def test_flushall_after_a_long_time(relay: Relay) -> None:
    """How often a store lacked most of them last week does not count any more."""
    for minute in range(300):
        relay.seconds = minute * 60.0
        relay.store.policies.clear()
        await relay.handover.look_once()
    for start in (relay.seconds + 2 * DAY, relay.seconds + 4 * DAY):
        for seconds in (0.0, FIRST_REST):
            relay.seconds = start + seconds
            relay.store.policies.clear()
            await relay.handover.look_once()
            assert set(relay.store.policies) == set(DOMAINS)


async def test_flushall_again(relay: Relay) -> None:
    """A store that had all meanwhile gets all at once, however often it is emptied."""
    for _ in range(5):
        await relay.handover.look_once()
        await relay.handover.look_once()
        relay.store.policies.clear()
        await relay.handover.look_once()
        assert set(relay.store.policies) == set(DOMAINS)


async def test_after_offers_were_dropped(relay: Relay) -> None:
    """All are looked at, though the sample would find nothing."""
    await relay.handover.look_once()
    relay.store.requests.clear()
    relay.handover.want_all()
    await relay.handover.look_once()
    assert len(relay.store.requests) == NUMBER
    relay.store.requests.clear()
    await relay.handover.look_once()
    assert len(relay.store.requests) == SAMPLE


async def test_offers_that_are_dropped_meanwhile(relay: Relay) -> None:
    """While all are looked at, others are dropped, which it may have passed: all once more."""
    pages = relay.rows.page

    async def page(query: RowFilter, after: Domain | None, limit: int) -> Sequence[Row]:
        relay.rows.page = pages  # type: ignore[method-assign]
        relay.handover.want_all()
        return await pages(query, after, limit)

    relay.rows.page = page  # type: ignore[method-assign]
    await relay.handover.look_once()
    relay.store.requests.clear()
    await relay.handover.look_once()
    assert len(relay.store.requests) == NUMBER


async def test_a_store_that_often_fails(relay: Relay) -> None:
    """A look at all goes on where the store has failed; so it ends."""

    async def sleep(_seconds: float) -> None:
        relay.store.away = True

    other = Handover(relay.store.ask, relay.rows, relay.fetches, lambda: T, sleep)
    for _ in range(NUMBER // BATCH + 2):
        relay.store.away = False
        with suppress(StoreAwayError):
            await other.look_once()
    assert set(relay.store.policies) == set(DOMAINS)


async def test_what_is_not_offered(relay: Relay) -> None:
    """Neither policies that have expired, nor those from the future, nor those that are there."""
    relay.now = T + WEEK
    await relay.rows.save(Domain("future.test"), fetched(T + WEEK + 60), T)
    await relay.rows.save(Domain("living.test"), fetched(T + WEEK - 60), T)
    await relay.handover.look_once()
    assert set(relay.store.policies) == {"living.test"}


async def test_nothing_on_file() -> None:
    """Nothing is asked."""
    relay = Relay()
    await relay.handover.look_once()
    await relay.handover.look_once()
    assert relay.store.requests == []


async def test_a_store_that_is_away(relay: Relay) -> None:
    """Nothing more is asked; the next look begins again."""
    relay.store.away = True
    with pytest.raises(StoreAwayError):
        await relay.handover.look_once()
    assert len(relay.store.requests) <= BATCH
    relay.store.away = False
    await relay.handover.look_once()
    assert set(relay.store.policies) == set(DOMAINS)


async def test_a_store_that_goes_away_meanwhile(relay: Relay) -> None:
    """The rest is offered later."""
    pauses = 0

    async def sleep(_seconds: float) -> None:
        nonlocal pauses
        pauses += 1
        relay.store.away = pauses == 1

    other = Handover(relay.store.ask, relay.rows, relay.fetches, lambda: T, sleep)
    with pytest.raises(StoreAwayError):
        await other.look_once()
    assert 0 < len(relay.store.policies) < NUMBER
    relay.store.away = False
    await other.look_once()
    assert set(relay.store.policies) == set(DOMAINS)


async def test_run(caplog: pytest.LogCaptureFixture) -> None:
    """A fault of the store, or of this program, does not end the task."""
    relay = Relay()
    await relay.fill()
    looks = 0

    async def sleep(seconds: float) -> None:
        nonlocal looks
        looks += seconds == handover.PAUSE
        relay.store.away = looks == 1
        if looks == 2:
            relay.rows.page = None  # type: ignore[method-assign,assignment] # any fault
        if looks == 3:
            raise asyncio.CancelledError
        await asyncio.sleep(0)

    task = Handover(relay.store.ask, relay.rows, relay.fetches, lambda: T, sleep)
    with pytest.raises(asyncio.CancelledError):
        await task.run()
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_a_store_that_is_back(relay: Relay) -> None:
    """The next look is at once, as soon as anybody knows it (d), and comes once."""
    relay.store.away = True
    pauses = 0

    async def sleep(seconds: float) -> None:
        nonlocal pauses
        if seconds == handover.PAUSE:
            pauses += 1
            await asyncio.Event().wait()

    other = Handover(relay.store.ask, relay.rows, relay.fetches, lambda: T, sleep)
    other.store_is_back()
    run = asyncio.create_task(other.run())
    await settle()
    assert (pauses, relay.store.policies) == (1, {})
    relay.store.away = False
    other.store_is_back()
    other.store_is_back()
    await settle()
    assert (pauses, set(relay.store.policies)) == (2, set(DOMAINS))
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run


async def test_a_backup_of_yesterday(relay: Relay) -> None:
    """A store that has older policies than the relay gets the later ones, each once."""
    await relay.handover.look_once()
    for domain, offer in relay.store.policies.items():
        relay.store.policies[domain] = replace(offer, age=offer.age + DAY)
    for _ in range(2):
        relay.store.requests.clear()
        await relay.handover.look_once()
        assert {each.age for each in relay.store.policies.values()} == {0.0}
    assert not relay.store.of(OfferPolicy)


async def test_a_store_that_keeps_nothing(relay: Relay) -> None:
    """After the first look at all, a relay whose offers are refused tries with samples only."""
    relay.store.is_full = True
    await relay.handover.look_once()
    relay.store.requests.clear()
    for _ in range(3):
        await relay.handover.look_once()
    assert len(relay.store.of(Look)) == 3 * SAMPLE


async def test_a_policy_of_which_nobody_knows_the_age(tmp_path: Path) -> None:
    """Fetched by a clock that was ahead, it is not given as fetched now when the clock is right."""
    relay = Relay()
    relay.now = T + DAY
    store = await SqliteStore.open(tmp_path / "policies.db", clock=lambda: relay.now)
    await store.save(DOMAINS[0], fetched(relay.now), relay.now)
    await store.save(DOMAINS[1], fetched(T - DAY), T - DAY)
    relay.now = T
    await Handover(relay.store.ask, store, relay.fetches, lambda: relay.now).look_once()
    await store.close()
    assert set(relay.store.policies) == {DOMAINS[1]}
