"""The task that makes checks, without a network: what is not checked, and what goes wrong."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from postfix_mta_sts.daemon import checks as checks_module
from postfix_mta_sts.daemon.checks import Checks
from postfix_mta_sts.mtasts.check import CANNOT_CHECK, Check, CheckResult
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import OwnFaultError
from postfix_mta_sts.mtasts.exceptions import Use
from postfix_mta_sts.mtasts.lifecycle import DAY
from postfix_mta_sts.resolver import check_schedule
from postfix_mta_sts.resolver.trial import CheckConditions
from postfix_mta_sts.runtime import background_task
from tests.support.checks import Around, checks_world
from tests.support.daemons import until
from tests.support.exceptions import exception
from tests.support.resolvers import find_state
from tests.support.surroundings import GOOD, START

EVERY = 6 * 3_600.0


@pytest.fixture
async def around(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Around]:
    """Surroundings in which good.test has a policy."""
    monkeypatch.setattr(checks_module, "PAUSE", 0.0)
    async with checks_world() as around:
        await around.publish("good.test")
        yield around


def known(at: float, result: CheckResult = CheckResult.HELD, domain: Domain = GOOD) -> Check:
    """A check that was made before."""
    return Check(domain, result, "It is held", "no-starttls", "theirs", "a", at, at)


async def checked(around: Around, checks: Checks, number: int) -> None:
    """Wait until so many checks were made."""
    await until(lambda: around.counters.checks.total() == number and not checks.running)


async def settled(around: Around, checks: Checks) -> None:
    """Wait until all that was noted has been looked at."""
    noted = around.resolver.usage
    await until(lambda: not (noted.has_checks.is_set() or checks.waiting or checks.running))


async def test_what_the_store_knows(around: Around, monkeypatch: pytest.MonkeyPatch) -> None:
    """A domain that memory has forgotten is not checked again before it is due."""
    monkeypatch.setattr(checks_module, "KNOWN_LIMIT", 0)
    monkeypatch.setattr(check_schedule, "CHECKS_A_DAY", 1)
    await around.store.put_check(known(START - EVERY + 1))
    checks = Checks(around.world, CheckConditions())
    async with background_task(checks.run(), "checks"):
        around.ask()
        await settled(around, checks)
        assert around.hosts.asked == []
        around.sources.now += 1
        around.ask()
        await checked(around, checks, 1)  # what was not made did not count
    assert around.hosts.asked == [GOOD]


async def test_a_lost_check(around: Around) -> None:
    """It leaves an earlier result as it is; without one, the reason is kept."""
    await around.publish("new.test")
    await around.store.put_check(known(START - EVERY))
    around.hosts.error = OwnFaultError("the network process ended")
    checks = Checks(around.world, CheckConditions())
    async with background_task(checks.run(), "checks"):
        around.ask()
        await checked(around, checks, 2)
        around.ask()
        await settled(around, checks)
    assert await around.store.check(GOOD) == known(START - EVERY)
    new = await around.store.check(Domain("new.test"))
    assert new
    assert new.cause == CANNOT_CHECK
    assert sorted(around.hosts.asked) == ["good.test", "new.test"]
    assert around.offered == []


async def test_the_fleet(around: Around) -> None:
    """A check that was made is given to the other relays, as it is kept here."""
    checks = Checks(around.world, CheckConditions())
    async with background_task(checks.run(), "checks"):
        around.ask()
        await checked(around, checks, 1)
    assert around.offered == [await around.store.check(GOOD)]


async def test_a_fault_in_a_check(around: Around, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the domain is not checked at once again; others are."""
    around.hosts.error = ZeroDivisionError()
    checks = Checks(around.world, CheckConditions())
    async with background_task(checks.run(), "checks"):
        around.ask()
        await until(lambda: bool(around.hosts.asked) and not checks.running)
        around.hosts.error = None
        await around.publish("new.test")
        around.ask()
        await checked(around, checks, 1)
    assert around.hosts.asked == ["good.test", "new.test"]
    assert [each.levelno for each in caplog.records] == [logging.ERROR]
    assert "check failed" in caplog.text


async def test_a_fault_in_a_look(
    around: Around, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the next look works."""
    checks = Checks(around.world, CheckConditions())
    with monkeypatch.context() as patch:
        patch.setattr(around.resolver.usage, "take_checks", lambda: 1 // 0)
        async with background_task(checks.run(), "checks"):
            await until(lambda: "checks failed, next try soon" in caplog.text)
            patch.undo()
            around.ask()
            await checked(around, checks, 1)


async def test_a_policy_that_is_not_known_yet(around: Around) -> None:
    """The look waits for the attempt; a domain of which nothing becomes known is left."""
    around.sources.dns.hold()
    late, never = Domain("late.test"), Domain("never.test")
    around.sources.publish(late)
    finding = around.resolver.find(late)
    await until(lambda: around.resolver.flight(late) is not None)
    checks = Checks(around.world, CheckConditions())
    for domain in (late, never):
        around.resolver.usage.note_check(domain, on_trial=True)
    for _ in range(5):
        await checks._look()
    assert around.resolver.usage.take_checks() == {late: True}
    around.resolver.usage.note_check(late, on_trial=True)
    around.sources.dns.release()
    await finding
    async with background_task(checks.run(), "checks"):
        await checked(around, checks, 1)
    assert around.hosts.asked == [late]


async def test_a_policy_that_follows_a_verdict(around: Around) -> None:
    """A state without a policy is not the last word while its attempt is under way."""
    late = Domain("late.test")
    state = await find_state(around.resolver, late)
    assert state
    assert state.policy is None
    around.sources.publish(late)
    around.sources.dns.hold()
    attempt = asyncio.create_task(around.resolver.refresh(late))
    await until(lambda: around.resolver.flight(late) is not None)
    checks = Checks(around.world, CheckConditions())
    around.resolver.usage.note_check(late, on_trial=True)
    for _ in range(5):
        await checks._look()
    around.sources.dns.release()
    await attempt
    async with background_task(checks.run(), "checks"):
        await checked(around, checks, 1)
    assert around.hosts.asked == [late]


async def test_an_exception_that_ends_meanwhile(around: Around) -> None:
    """What waited for a check is not checked if nothing asks for it any more."""
    around.use(exception("good.test", 60.0))
    checks = Checks(around.world, CheckConditions())
    await checks._look()
    assert checks.waiting == 1
    around.sources.now += 61
    checks._start_due()
    await until(lambda: not checks.running)
    assert around.hosts.asked == []
    assert not checks._schedule._started


async def test_every_exception_is_looked_at(around: Around) -> None:
    """Those of domains, whether or not they are asked for, once a day; wildcards are not names."""
    around.use(
        exception("good.test", None),
        exception("*.test", None),
        exception("nothing.test", None, Use.MAY),
    )
    checks = Checks(around.world, CheckConditions())
    for days in range(3):
        await checks._look()
        checks._start_due()
        await checked(around, checks, days + 1)
        await checks._look()
        assert checks.waiting == 0
        around.sources.now += DAY
    assert around.hosts.asked == [GOOD] * 3


async def test_reload(around: Around) -> None:
    """With other settings the queue is empty, and what is due by these is checked."""
    checks = Checks(around.world, CheckConditions())
    around.ask()
    await checks._look()
    assert checks.waiting == 1
    checks.reconfigure(CheckConditions())
    assert checks.waiting == 1
    checks.reconfigure(CheckConditions(every=60.0))
    assert checks.waiting == 0
    assert checks.left_out == 0
