"""Policies in use are renewed before they expire; housekeeping runs once a minute."""

import asyncio
import contextlib
import logging

import pytest

from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.errors import NoRecordError, StatusError
from postfix_mta_sts.mtasts.lifecycle import DAY, restored
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.resolver.refresher import CONCURRENCY, IDLE_KEPT, TICK, Refresher
from tests.support.resolvers import find_state, make_resolver
from tests.support.surroundings import GOOD, START, Surroundings, policy

MONTH = 30 * DAY
OTHER = Domain("other.test")


class FakeTimeRefresher:
    """A refresher with a manual clock; its sleeps are recorded and take no real time."""

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self.slept: list[float] = []
        self.monotonic = 1000.0
        self.jumps = 0
        self.counted = 0
        self.resolver = make_resolver(around)
        self.refresher = Refresher(
            self.resolver,
            around.sources(),
            idle_after=MONTH,
            replies=self,
            monotonic=lambda: self.monotonic,
            sleep=self._sleep,
        )

    def pass_time(self, seconds: float) -> None:
        """Advance the wall clock and the monotonic clock."""
        self.monotonic += seconds
        self.around.now += seconds

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.pass_time(seconds)
        await asyncio.sleep(0)

    def clear(self) -> None:
        """See `ReplyCaches`."""
        self.jumps += 1

    async def count(self) -> None:
        """See `ReplyCaches`: one cached reply was used."""
        self.counted += 1
        self.resolver.usage.note(GOOD, 1, self.around.now)


async def refreshing(around: Surroundings, domains: list[Domain]) -> FakeTimeRefresher:
    """A refresher, and domains whose policies were fetched just now."""
    fake = FakeTimeRefresher(around)
    for domain in domains:
        around.publish(domain)
        await find_state(fake.resolver, domain)
    await fake.refresher.do_housekeeping()
    return fake


async def test_policies_in_use_are_renewed_daily() -> None:
    """A day after its fetch a policy is fetched again, and its age is reset (C7, C8)."""
    around = Surroundings()
    fake = await refreshing(around, [GOOD])
    fake.pass_time(DAY - 1)
    await fake.refresher.renew_due()
    assert around.gets[GOOD] == 1
    fake.pass_time(1)
    await fake.refresher.renew_due()
    assert around.gets[GOOD] == 2
    row = await around.store.load(GOOD)
    assert row
    assert row.fetched_at >= START + DAY


async def test_a_renewal_needs_no_txt_record() -> None:
    """The policy is fetched even if the record is gone (§10.2)."""
    around = Surroundings()
    fake = await refreshing(around, [GOOD])
    around.records[GOOD] = NoRecordError("NXDOMAIN")
    fake.pass_time(DAY)
    await fake.refresher.renew_due()
    assert around.gets[GOOD] == 2


async def test_time_of_the_next_renewal() -> None:
    """Known after the first renewal: one tick later."""
    fake = await refreshing(Surroundings(), [])
    assert fake.refresher.next_renewal_at is None
    await fake.refresher.renew_due()
    assert fake.refresher.next_renewal_at == START + TICK


async def test_idle_policies_are_not_renewed() -> None:
    """A policy that was not looked up for `idle_after` seconds expires."""
    around = Surroundings()
    fake = await refreshing(around, [GOOD])
    fake.pass_time(MONTH + 1)
    around.publish(max_age=31_557_600)
    await fake.refresher.renew_due()
    assert around.gets[GOOD] == 1


async def test_renewals_are_spread_over_the_tick() -> None:
    """Each starts after a random pause; on average the pauses fill the tick."""
    around = Surroundings()
    domains = [parse_domain(f"d{n}.test") for n in range(20)]
    fake = await refreshing(around, domains)
    fake.pass_time(DAY)
    fake.slept.clear()
    await fake.refresher.renew_due()
    assert len(fake.slept) == 20
    assert all(0 <= pause <= 2 * TICK / 20 for pause in fake.slept)
    assert around.gets.total == 40


async def test_renewals_under_way_are_limited() -> None:
    """At most `CONCURRENCY` at once, however slow the Policy Hosts are."""
    around = Surroundings()
    fake = await refreshing(around, [parse_domain(f"d{n}.test") for n in range(CONCURRENCY + 30)])
    fake.pass_time(DAY)
    around.https.hold()
    fetched = around.gets.total
    renewal = asyncio.create_task(fake.refresher.renew_due())
    await around.gets.total_reached(fetched + CONCURRENCY)
    for _ in range(100):
        await asyncio.sleep(0)
    assert around.gets.total == fetched + CONCURRENCY
    around.https.release()
    await renewal
    assert around.gets.total == 2 * fetched


async def test_faults_cost_nothing_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a renewal has failed by a fault of this program, the next ones are made."""
    around = Surroundings()
    domains = [parse_domain(f"d{n}.test") for n in range(100)]
    fake = await refreshing(around, domains)
    fake.pass_time(DAY)

    async def fail(_domain: Domain) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as faulty:
        faulty.setattr(fake.resolver, "renew", fail)
        for _ in range(CONCURRENCY):
            with pytest.raises(ExceptionGroup):
                await fake.refresher.renew_due()
    async with asyncio.timeout(30):
        await fake.refresher.renew_due()
    assert {around.gets[domain] for domain in domains} == {2}


async def test_failed_renewals_are_logged_at_growing_intervals(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A warning with the reason after 1, 2, 4, 8 … failures; a recovery is logged too (C9)."""
    around = Surroundings()
    fake = await refreshing(around, [GOOD])
    around.policies[GOOD] = StatusError("HTTP 404")
    fake.pass_time(DAY)
    for _ in range(10):
        await fake.refresher.renew_due()
        fake.pass_time(3600)
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 4
    assert all(w.startswith("good.test: renewal failed ") for w in warnings)
    assert all('reason="HTTP 404"' in w for w in warnings)
    caplog.set_level(logging.INFO)
    around.publish()
    await fake.refresher.renew_due()
    (recovered,) = [
        m for m in caplog.messages if m.startswith("good.test: renewal recovered id=a ")
    ]
    assert " failures=10 " in recovered


async def test_no_warning_for_mode_none(caplog: pytest.LogCaptureFixture) -> None:
    """A domain that leaves MTA-STS may remove its policy (§8.3, C9)."""
    around = Surroundings()
    fake = FakeTimeRefresher(around)
    around.publish(mode="none")
    await find_state(fake.resolver, GOOD)
    await fake.refresher.do_housekeeping()
    around.policies[GOOD] = StatusError("HTTP 404")
    fake.pass_time(DAY)
    await fake.refresher.renew_due()
    assert around.gets[GOOD] == 2
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("jump", [-DAY, -6.0, 6.0, 365 * DAY])
async def test_a_jump_of_the_clock_is_noticed(
    caplog: pytest.LogCaptureFixture, jump: float
) -> None:
    """Within one tick, and once; cached replies are removed."""
    fake = FakeTimeRefresher(Surroundings())
    fake.pass_time(TICK)
    await fake.refresher.do_housekeeping()
    assert fake.jumps == 0
    fake.around.now += jump
    for _ in range(2):
        await fake.refresher.do_housekeeping()
        fake.pass_time(TICK)
    assert fake.jumps == 1
    assert f"clock was set seconds={jump:.0f}" in caplog.text


async def test_housekeeping() -> None:
    """Last-asked times are written; a row goes that was expired through a day of uptime."""
    around = Surroundings()
    fake = FakeTimeRefresher(around)
    around.publish(max_age=600)
    await find_state(fake.resolver, GOOD)
    await fake.refresher.do_housekeeping()
    assert fake.resolver.usage.take() == {}
    assert await around.store.due(around.now + 301, START, 9) == [GOOD]
    fake.pass_time(600 + DAY)
    await fake.refresher.do_housekeeping()
    assert await around.store.load(GOOD)
    fake.pass_time(1)
    await fake.refresher.do_housekeeping()
    assert await around.store.load(GOOD) is None


async def test_idle_policies_are_removed() -> None:
    """A policy that nobody has asked for in 90 days leaves the store, although it is valid."""
    around = Surroundings()
    fake = FakeTimeRefresher(around)
    state = restored(policy(max_age=31_557_600), PolicyId("a"), START, START + DAY)
    await around.store.save(OTHER, state, START)
    fake.pass_time(IDLE_KEPT + DAY)
    await fake.refresher.do_housekeeping()
    assert await around.store.load(OTHER)
    fake.pass_time(1)
    await fake.refresher.do_housekeeping()
    assert await around.store.load(OTHER) is None


async def test_run() -> None:
    """Both tasks run every tick until cancelled, also after an internal error."""
    around = Surroundings()
    fake = await refreshing(around, [GOOD])

    async def broken(_: object) -> None:
        raise ZeroDivisionError

    around.store.touch = broken  # type: ignore[method-assign,assignment] # a store with a bug
    running = asyncio.create_task(fake.refresher.run())
    await around.gets.reached(GOOD, 4)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert max(fake.slept) <= TICK
