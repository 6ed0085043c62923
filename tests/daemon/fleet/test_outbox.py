"""Policies on their way to the shared store: at once, or when it is back."""

import asyncio

import pytest

from postfix_mta_sts.daemon.fleet.fetches import Fetches
from postfix_mta_sts.daemon.fleet.outbox import CATCHING_UP, IN_FLIGHT, Outbox
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.store.fleet.requests import OfferPolicy, Release
from tests.support.attempts import CACHED, T, fetched
from tests.support.fleet import FakeStore
from tests.support.resolvers import settled
from tests.support.surroundings import GOOD

DOMAINS = [Domain(f"d{number:02}.test") for number in range(30)]


class Mailing:
    """An outbox on a fake store."""

    def __init__(self, *, away: bool = False, limit: int = 100, bytes_limit: int = 10**6) -> None:
        self.now = T
        self.losses = 0
        self.store = FakeStore(away=away)
        fetches = Fetches(lambda: self.now, lambda: self.now)
        limits = {"limit": limit, "bytes_limit": bytes_limit}
        self.outbox = Outbox(self.store.ask, fetches, self._lose, retry=3600, **limits)

    def _lose(self) -> None:
        self.losses += 1

    def put_all(self) -> None:
        """Put a policy of each domain."""
        for domain in DOMAINS:
            self.outbox.put(domain, CACHED, T)

    async def try_again(self) -> None:
        """Let the time pass after which the store is tried again."""
        assert self.outbox._timer
        self.outbox._timer.cancel()
        self.outbox._try_again()
        await settled_all()


async def settled_all() -> None:
    """Let all offers be made that can be."""
    for _ in range(20):
        await settled()


async def test_an_offer_goes_at_once() -> None:
    """With its token, and nothing waits any more."""
    mailing = Mailing()
    mailing.outbox.put(GOOD, CACHED, T, "token")
    await settled()
    (offer,) = mailing.store.requests
    assert isinstance(offer, OfferPolicy)
    assert (offer.domain, offer.token, mailing.outbox.waiting) == (GOOD, "token", 0)


async def test_few_at_once() -> None:
    """A burst does not fill the network process."""
    mailing = Mailing()
    mailing.put_all()
    await settled_all()
    assert mailing.store.most == IN_FLIGHT
    assert list(mailing.store.policies) == DOMAINS


async def test_a_store_that_is_away() -> None:
    """The first failure stops the offers; then one is tried, and the others follow it (d)."""
    mailing = Mailing(away=True)
    mailing.put_all()
    await settled_all()
    assert (len(mailing.store.requests), mailing.outbox.waiting) == (IN_FLIGHT, len(DOMAINS))
    await mailing.try_again()
    assert (len(mailing.store.requests), mailing.outbox.waiting) == (IN_FLIGHT + 1, len(DOMAINS))
    mailing.store.away = False
    mailing.now += 60
    await mailing.try_again()
    assert (set(mailing.store.policies), mailing.outbox.waiting) == (set(DOMAINS), 0)
    assert {offer.age for offer in mailing.store.policies.values()} == {60.0}
    assert mailing.losses == 0


async def test_nothing_is_tried_before_its_time() -> None:
    """A fetch while the store is away does not ask it."""
    mailing = Mailing(away=True)
    mailing.outbox.put(GOOD, CACHED, T)
    await settled()
    mailing.outbox.put(DOMAINS[0], CACHED, T)
    await settled()
    assert (len(mailing.store.requests), mailing.outbox.waiting) == (1, 2)
    await mailing.outbox.close()


async def test_a_store_that_is_back() -> None:
    """All is offered at once, as soon as anybody knows it (d); otherwise nothing is tried."""
    mailing = Mailing()
    mailing.outbox.store_is_back()
    mailing.store.away = True
    mailing.put_all()
    await settled_all()
    mailing.store.away = False
    mailing.outbox.store_is_back()
    await settled_all()
    assert (set(mailing.store.policies), mailing.outbox.waiting) == (set(DOMAINS), 0)
    assert len(mailing.store.requests) == IN_FLIGHT + len(DOMAINS)


async def test_few_at_once_when_the_store_is_back() -> None:
    """What has waited leaves the processor to look-ups; what is fetched later goes as before."""
    mailing = Mailing(away=True)
    mailing.put_all()
    await settled_all()
    mailing.store.away, mailing.store.most = False, 0
    mailing.outbox.store_is_back()
    await settled_all()
    assert (mailing.store.most, mailing.outbox.waiting) == (CATCHING_UP, 0)
    mailing.put_all()
    await settled_all()
    assert mailing.store.most == IN_FLIGHT


async def test_what_is_fetched_overtakes_what_has_waited() -> None:
    """Other relays wait for its lease; and it does not make the rest wait for ever."""
    mailing = Mailing(away=True)
    mailing.put_all()
    await settled_all()
    mailing.store.away = False
    mailing.store.gate.hold()
    mailing.outbox.store_is_back()
    await settled_all()  # one is tried
    mailing.store.gate.release()
    await settled()
    mailing.store.gate.hold()
    mailing.outbox.put(GOOD, CACHED, T, "token")
    await settled()
    assert mailing.outbox.waiting > 0
    offers = [each for each in mailing.store.requests if isinstance(each, OfferPolicy)]
    assert [each.token for each in offers if each.domain == GOOD] == ["token"]
    mailing.store.gate.release()
    await settled_all()
    assert (set(mailing.store.policies), mailing.outbox.waiting) == ({*DOMAINS, GOOD}, 0)


async def test_the_newest_policy_is_offered() -> None:
    """Of two fetches the later one is tried again, though both offers were under way."""
    mailing = Mailing(away=True)
    mailing.store.gate.hold()
    mailing.outbox.put(GOOD, CACHED, T, "token")
    await settled()
    mailing.outbox.put(GOOD, fetched(T + 1, PolicyId("b")), T)
    await settled()
    mailing.store.gate.release()
    await settled_all()
    mailing.store.away = False
    await mailing.try_again()
    assert mailing.store.policies[GOOD].policy_id == "b"


async def test_a_lease_does_not_wait_for_the_store() -> None:
    """It is given back at once, so that the client stops to renew it."""
    mailing = Mailing(away=True)
    mailing.outbox.put(GOOD, CACHED, T, "token")
    await settled_all()
    assert mailing.store.of(Release) == [Release(GOOD, "token")]
    mailing.store.away = False
    await mailing.try_again()
    assert mailing.store.policies[GOOD].token == ""


async def test_a_lease_of_an_offer_that_waits_its_turn() -> None:
    """It goes with the offer; if the store fails before that, it is given back at once."""
    mailing = Mailing()
    mailing.store.gate.hold()
    mailing.put_all()
    await settled()
    mailing.outbox.put(GOOD, CACHED, T, "token")
    mailing.store.gate.release()
    await settled_all()
    assert (mailing.store.policies[GOOD].token, mailing.store.of(Release)) == ("token", [])
    mailing.store.gate.hold()
    mailing.put_all()
    await settled()
    mailing.outbox.put(GOOD, CACHED, T, "other")
    mailing.store.away = True
    mailing.store.gate.release()
    await settled_all()
    assert mailing.store.of(Release) == [Release(GOOD, "other")]
    assert len(mailing.store.of(OfferPolicy)) == len(DOMAINS) + 1 + IN_FLIGHT


async def test_a_lease_while_the_store_is_away() -> None:
    """It is given back at once: the offer waits for as long as the store is away."""
    mailing = Mailing(away=True)
    mailing.outbox.put(GOOD, CACHED, T)
    await settled_all()
    mailing.outbox.put(DOMAINS[0], CACHED, T, "token")
    await settled_all()
    assert mailing.store.of(Release) == [Release(DOMAINS[0], "token")]


async def test_the_leases_of_offers_that_are_dropped() -> None:
    """A later fetch of the same domain, or too many offers: what is dropped holds no lease."""
    mailing = Mailing(limit=1)
    mailing.store.gate.hold()
    for domain in DOMAINS[:IN_FLIGHT]:
        mailing.outbox.put(domain, CACHED, T)
    mailing.outbox.put(GOOD, CACHED, T, "first")
    mailing.outbox.put(GOOD, CACHED, T, "second")
    mailing.outbox.put(DOMAINS[-1], CACHED, T, "third")
    await settled_all()
    assert mailing.store.of(Release) == [Release(GOOD, "first"), Release(GOOD, "second")]
    mailing.store.gate.release()
    await settled_all()
    assert {each.token for each in mailing.store.policies.values()} == {"", "third"}


async def test_an_offer_that_fails_after_a_later_fetch() -> None:
    """The later one is kept, and neither holds a lease."""
    mailing = Mailing(away=True)
    mailing.store.gate.hold()
    mailing.outbox.put(GOOD, CACHED, T, "first")
    await settled()
    mailing.outbox.put(GOOD, fetched(T + 1, PolicyId("b")), T, "second")
    await settled()
    mailing.store.gate.release()
    await settled_all()
    released = {each.token for each in mailing.store.requests if isinstance(each, Release)}
    assert (released, mailing.outbox.waiting) == ({"first", "second"}, 1)


async def test_a_policy_that_ends_at_once() -> None:
    """One with a max_age of 0 is not offered, and its lease is given back."""
    mailing = Mailing()
    mailing.outbox.put(GOOD, fetched(max_age=0), T, "token")
    await settled_all()
    assert mailing.store.requests == [Release(GOOD, "token")]


@pytest.mark.parametrize("limits", [{"limit": 10}, {"bytes_limit": 650}], ids=str)
async def test_too_many(limits: dict[str, int]) -> None:
    """The oldest are dropped, and once the store is back, the policies on file are looked at."""
    mailing = Mailing(away=True, **limits)
    mailing.put_all()
    await settled_all()
    assert 0 < mailing.outbox.waiting <= 10
    mailing.store.away = False
    assert mailing.losses == 0
    await mailing.try_again()
    assert (mailing.outbox.waiting, mailing.outbox._bytes, mailing.losses) == (0, 0, 1)
    assert DOMAINS[-1] in mailing.store.policies


async def test_the_end() -> None:
    """Nothing is under way afterwards, and nothing starts."""
    mailing = Mailing()
    mailing.store.gate.hold()
    mailing.put_all()
    await settled()
    await mailing.outbox.close()
    await settled_all()
    assert (mailing.store.under_way, len(mailing.store.requests)) == (0, IN_FLIGHT)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("away", [False, True])
async def test_after_the_end(*, away: bool) -> None:
    """Whatever the store did before, an offer starts nothing that nobody ends, and none waits."""
    mailing = Mailing(away=away)
    mailing.outbox.put(GOOD, CACHED, T)
    await settled_all()
    await mailing.outbox.close()
    asked, waiting = len(mailing.store.requests), mailing.outbox.waiting
    mailing.outbox.put(DOMAINS[0], CACHED, T, "token")
    mailing.outbox.store_is_back()
    await settled_all()
    assert (len(mailing.store.requests), mailing.outbox.waiting) == (asked, waiting)
    assert asyncio.all_tasks() == {asyncio.current_task()}
