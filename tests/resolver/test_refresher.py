"""What is in use is renewed before it runs out; the house is kept once a minute."""

import asyncio
import contextlib
import logging

import pytest

from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.errors import NoRecordError, StatusError
from postfix_mta_sts.mtasts.lifecycle import DAY
from postfix_mta_sts.resolver.refresher import CONCURRENCY, EXPIRED_KEPT, TICK, Refresher
from postfix_mta_sts.resolver.resolver import Resolver
from tests.support.surroundings import GOOD, START, Surroundings

MONTH = 30 * DAY


class Kept:
    """A refresher whose sleeps last no time and are written down."""

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self.slept: list[float] = []
        self.monotonic = 1000.0
        self.jumps = 0
        self.counted = 0
        self.resolver = Resolver(around.sources(), lookup_timeout=30, entries=100)
        self.refresher = Refresher(
            self.resolver,
            around.sources(),
            idle_after=MONTH,
            replies=self,
            monotonic=lambda: self.monotonic,
            sleep=self._sleep,
        )

    def pass_time(self, seconds: float) -> None:
        """Let both clocks go on."""
        self.monotonic += seconds
        self.around.now += seconds

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.pass_time(seconds)
        await asyncio.sleep(0)

    def clear(self) -> None:
        """As `ReplyCaches`."""
        self.jumps += 1

    async def count(self) -> None:
        """As `ReplyCaches`: an answer from memory a tick."""
        self.counted += 1
        self.resolver.usage.note(GOOD, 1, self.around.now)


async def kept(around: Surroundings, domains: list[Domain]) -> Kept:
    """A refresher, and domains whose policies were fetched and asked for just now."""
    parts = Kept(around)
    for domain in domains:
        around.publish(domain)
        await parts.resolver.look_up(domain)
    await parts.refresher.do_housekeeping()
    return parts


async def test_what_is_in_use_is_renewed_daily() -> None:
    """A day after its fetch a policy is fetched again, and its age begins anew (C7, C8)."""
    around = Surroundings()
    parts = await kept(around, [GOOD])
    parts.pass_time(DAY - 1)
    await parts.refresher.renew_due()
    assert around.gets[GOOD] == 1
    parts.pass_time(1)
    await parts.refresher.renew_due()
    assert around.gets[GOOD] == 2
    on_file = await around.store.load(GOOD)
    assert on_file
    assert on_file.fetched_at >= START + DAY


async def test_whatever_the_record_says() -> None:
    """A renewal does without the TXT record (§10.2)."""
    around = Surroundings()
    parts = await kept(around, [GOOD])
    around.records[GOOD] = NoRecordError("NXDOMAIN")
    parts.pass_time(DAY)
    await parts.refresher.renew_due()
    assert around.gets[GOOD] == 2


async def test_next_look() -> None:
    """When it is next looked for what is due can be told, once it was looked for."""
    parts = await kept(Surroundings(), [])
    assert parts.refresher.next_renewal_at is None
    await parts.refresher.renew_due()
    assert parts.refresher.next_renewal_at == START + TICK


async def test_what_is_idle_is_not_renewed() -> None:
    """A policy that nobody asked for in `idle_after` is left to its own end."""
    around = Surroundings()
    parts = await kept(around, [GOOD])
    parts.pass_time(MONTH + 1)
    around.publish(max_age=31_557_600)
    await parts.refresher.renew_due()
    assert around.gets[GOOD] == 1


async def test_renewals_are_spread_over_the_tick() -> None:
    """Each after a pause of its own; on average they fill the tick and no more."""
    around = Surroundings()
    domains = [parse_domain(f"d{n}.test") for n in range(20)]
    parts = await kept(around, domains)
    parts.pass_time(DAY)
    parts.slept.clear()
    await parts.refresher.renew_due()
    assert len(parts.slept) == 20
    assert all(0 <= pause <= 2 * TICK / 20 for pause in parts.slept)
    assert around.gets.total == 40


async def test_renewals_are_bounded() -> None:
    """No more than so many are under way at once, however slow the Policy Hosts."""
    around = Surroundings()
    parts = await kept(around, [parse_domain(f"d{n}.test") for n in range(CONCURRENCY + 30)])
    parts.pass_time(DAY)
    around.https.hold()
    fetched = around.gets.total
    renewing = asyncio.create_task(parts.refresher.renew_due())
    await around.gets.total_reached(fetched + CONCURRENCY)
    for _ in range(100):
        await asyncio.sleep(0)
    assert around.gets.total == fetched + CONCURRENCY
    around.https.release()
    await renewing
    assert around.gets.total == 2 * fetched


async def test_a_failed_renewal_is_a_warning_at_growing_intervals(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With its reason, after 1, 2, 4, 8 … failures; and what recovered is told too (C9)."""
    around = Surroundings()
    parts = await kept(around, [GOOD])
    around.policies[GOOD] = StatusError("HTTP 404")
    parts.pass_time(DAY)
    for _ in range(10):
        await parts.refresher.renew_due()
        parts.pass_time(3600)
    warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warned) == 4
    assert all(w.startswith("good.test: renewal failed ") for w in warned)
    assert all('reason="HTTP 404"' in w for w in warned)
    caplog.set_level(logging.INFO)
    around.publish()
    await parts.refresher.renew_due()
    (recovered,) = [
        m for m in caplog.messages if m.startswith("good.test: renewal recovered id=a ")
    ]
    assert " failures=10 " in recovered


async def test_no_warning_for_mode_none(caplog: pytest.LogCaptureFixture) -> None:
    """A domain that is leaving MTA-STS may take its policy away (§8.3, C9)."""
    around = Surroundings()
    parts = Kept(around)
    around.publish(mode="none")
    await parts.resolver.look_up(GOOD)
    await parts.refresher.do_housekeeping()
    around.policies[GOOD] = StatusError("HTTP 404")
    parts.pass_time(DAY)
    await parts.refresher.renew_due()
    assert around.gets[GOOD] == 2
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("jump", [-DAY, -6.0, 6.0, 365 * DAY])
async def test_a_jump_of_the_clock_is_noticed(
    caplog: pytest.LogCaptureFixture, jump: float
) -> None:
    """Once, within a tick; replies are forgotten."""
    parts = Kept(Surroundings())
    parts.pass_time(TICK)
    await parts.refresher.do_housekeeping()
    assert parts.jumps == 0
    parts.around.now += jump
    for _ in range(2):
        await parts.refresher.do_housekeeping()
        parts.pass_time(TICK)
    assert parts.jumps == 1
    assert f"clock was set seconds={jump:.0f}" in caplog.text


async def test_housekeeping() -> None:
    """Last-asked times are written; what expired a day ago is removed."""
    around = Surroundings()
    parts = Kept(around)
    around.publish(max_age=600)
    await parts.resolver.look_up(GOOD)
    await parts.refresher.do_housekeeping()
    assert parts.resolver.usage.take() == {}
    assert await around.store.due(around.now + 301, START, 9) == [GOOD]
    parts.pass_time(600 + EXPIRED_KEPT)
    await parts.refresher.do_housekeeping()
    assert await around.store.load(GOOD)
    parts.pass_time(1)
    await parts.refresher.do_housekeeping()
    assert await around.store.load(GOOD) is None


async def test_run() -> None:
    """Both tasks go on tick after tick until cancelled, also after a fault of their own."""
    around = Surroundings()
    parts = await kept(around, [GOOD])

    async def broken(_: object) -> None:
        raise ZeroDivisionError

    around.store.touch = broken  # type: ignore[method-assign,assignment] # a store with a bug
    running = asyncio.create_task(parts.refresher.run())
    await around.gets.reached(GOOD, 4)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert max(parts.slept) <= TICK
