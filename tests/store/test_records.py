"""The contract of `AdminRecords`: one suite for all implementations."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.check import CheckResult
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.exceptions import PolicyException, Scope, Use, parse_exception
from postfix_mta_sts.store import StoreError
from postfix_mta_sts.store.failsafe import FailsafeStore
from postfix_mta_sts.store.records import (
    EXCEPTIONS_LIMIT,
    TEXT_LIMIT,
    FleetNotes,
    RefusedError,
)
from postfix_mta_sts.values import replace
from tests.support.records import a_check, a_weakening, an_exception
from tests.support.states import a_state
from tests.support.stores import WORKING, Kept, Maker, failsafe_without_backend, opened

GOOD = Domain("good.test")
OTHER = Domain("other.test")


@pytest.fixture(params=WORKING)
def make(request: pytest.FixtureRequest) -> Maker:
    """One implementation after the other."""
    maker: Maker = request.param
    return maker


@pytest.fixture
async def store(make: Maker) -> AsyncIterator[Kept]:
    """A new store of each implementation."""
    async with opened(make) as new:
        yield new


async def test_nothing_yet(store: Kept) -> None:
    """A new store has no records."""
    assert not await store.exceptions()
    assert not await store.remove_exception(Scope(GOOD))
    assert await store.check(GOOD) is None
    assert not await store.checks(0.0, None, 9)
    assert not await store.weakenings(0.0, 9)


async def test_exceptions(store: Kept) -> None:
    """They are in the order in which they were first added; a scope has one."""
    first, second = an_exception(use=Use.PIN), an_exception("*.good.test", Use.MAY)
    await store.put_exception(first)
    await store.put_exception(second)
    later = replace(first, reason="ticket 2", until=None)
    await store.put_exception(later)
    assert list(await store.exceptions()) == [later, second]
    assert await store.remove_exception(first.scope)
    assert not await store.remove_exception(first.scope)
    assert list(await store.exceptions()) == [second]


_SCOPES = st.sampled_from([Scope("good.test"), Scope("*.good.test"), Scope("*.test")])
_TIMES = st.none() | st.floats(-1e10, 1e10)
_PAST = st.none() | st.floats(0, 1e10)


@st.composite
def _exceptions(draw: st.DrawFn) -> PolicyException:
    use = draw(st.sampled_from(Use))
    return parse_exception(
        draw(_SCOPES),
        use,
        draw(st.text(min_size=1, max_size=300).filter(str.strip)),
        draw(_TIMES),
        relay=draw(st.sampled_from(["", "mx1.good.test"])),
        mx=("mx.good.test",) if use is Use.PIN else (),
        ignores_dane=draw(st.booleans()) if use in {Use.MAY, Use.ENCRYPT} else False,
        added_at=draw(_PAST),
        uid=draw(st.none() | st.integers(0, 2**32)),
    )


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(added=st.lists(_exceptions(), max_size=5))
async def test_any_exception(make: Maker, added: list[PolicyException]) -> None:
    """Whatever `parse_exception` accepts is read as it was written."""
    async with opened(make) as store:
        for each in added:
            await store.put_exception(each)
        assert list(await store.exceptions()) == list({e.scope: e for e in added}.values())


async def test_too_many_exceptions(store: Kept) -> None:
    """One more is refused, with what to do; one of the others can still be replaced."""
    for n in range(EXCEPTIONS_LIMIT):
        await store.put_exception(an_exception(f"d{n}.test"))
    with pytest.raises(RefusedError, match="remove some, or write them into the configuration"):
        await store.put_exception(an_exception())
    await store.put_exception(an_exception("d7.test", Use.MAY))
    assert len(await store.exceptions()) == EXCEPTIONS_LIMIT
    assert await store.remove_exception(Scope("d8.test"))
    await store.put_exception(an_exception())


async def test_exceptions_of_a_fleet(store: Kept) -> None:
    """Exceptions and notes are changed together; the notes are read as they were written."""
    first, second = an_exception(), an_exception("*.good.test", Use.MAY)
    assert await store.fleet_notes() == FleetNotes()
    await store.put_exception(first)
    notes = FleetNotes(7, ("0123abcd",), {second.scope: "0f"}, {first.scope: ("f0", "0f")})
    await store.take_exceptions({first.scope: None, second.scope: second}, notes)
    assert list(await store.exceptions()) == [second]
    assert await store.fleet_notes() == notes
    await store.put_said_at(5.0)
    await store.take_exceptions({}, replace(notes, version=2**53 - 1))
    assert (await store.fleet_notes()).version == 2**53 - 1
    assert list(await store.exceptions()) == [second]
    assert await store.said_at() == 5.0


async def test_said_at_is_no_note_of_a_fleet(store: Kept) -> None:
    """A store with notes about a fleet alone does not know until when ends were said."""
    await store.take_exceptions({}, FleetNotes(7))
    assert await store.said_at() is None


async def test_the_most_exceptions_of_a_fleet(store: Kept) -> None:
    """A relay can have those of a full document, and as many that had no room in it."""
    many = {each.scope: each for each in map(an_exception, _names(2 * EXCEPTIONS_LIMIT))}
    marks = {Scope(f"{'x' * 60}.{'y' * 60}.{scope}"): "0123456789abcdef" for scope in many}
    removed = {scope: (mark,) for scope, mark in marks.items()}
    await store.take_exceptions(many, FleetNotes(7, (), marks, removed))
    assert len(await store.exceptions()) == len(many)
    assert (await store.fleet_notes()).removed == removed


def _names(number: int) -> list[str]:
    return [f"d{n}.test" for n in range(number)]


async def test_the_last_check(store: Kept) -> None:
    """A domain has one check: the last one."""
    await store.put_check(a_check())
    later = a_check(at=2000.0, result=CheckResult.DELIVERED)
    await store.put_check(later)
    assert await store.check(GOOD) == later
    assert list(await store.checks(0.0, None, 9)) == [later]
    assert await store.check(OTHER) is None


async def test_pages_of_checks(store: Kept) -> None:
    """They are in the order of domains, from a time on."""
    checks = [a_check(f"d{n}.test", 1000.0 + n) for n in range(9)]
    for each in reversed(checks):
        await store.put_check(each)
    assert list(await store.checks(1002.0, None, 3)) == checks[2:5]
    assert list(await store.checks(1002.0, checks[4].domain, 9)) == checks[5:]
    assert not await store.checks(1002.0, checks[8].domain, 9)


async def test_weakenings(store: Kept) -> None:
    """They are listed from a time on, the newest first; of the same time the last one first."""
    events = [a_weakening(f"d{n}.test", 1000.0 + n // 2) for n in range(6)]
    await store.put_weakenings(events[0])
    await store.put_weakenings(*events[1:])
    assert list(await store.weakenings(1001.0, 9)) == events[:1:-1]
    assert list(await store.weakenings(0.0, 2)) == events[:-3:-1]


async def test_long_texts(store: Kept) -> None:
    """A domain owner can choose a long text, and it is cut rather than lost."""
    await store.put_weakenings(a_weakening(before="x" * 70_000))
    await store.put_check(replace(a_check(), sentence="x" * 70_000))
    [event], check = await store.weakenings(0.0, 9), await store.check(GOOD)
    assert check
    assert len(event.before) == len(check.sentence) == TEXT_LIMIT


async def test_forget(store: Kept) -> None:
    """What was known of a domain includes its check; an exception is not about what is known."""
    await store.save(GOOD, a_state(), 1000.0)
    await store.put_check(a_check())
    await store.put_exception(an_exception())
    await store.put_weakenings(a_weakening())
    assert await store.forget(GOOD)
    assert await store.check(GOOD) is None
    assert list(await store.exceptions()) == [an_exception()]
    assert list(await store.weakenings(0.0, 9)) == [a_weakening()]


async def test_policies_go_and_records_stay(store: Kept) -> None:
    """Expired and idle policies leave the store without their records."""
    await store.save(GOOD, a_state(), 1000.0)
    await store.put_check(a_check())
    await store.put_exception(an_exception())
    await store.remove_expired(1e12)
    await store.remove_idle(1e12)
    assert await store.check(GOOD) == a_check()
    assert list(await store.exceptions()) == [an_exception()]


async def test_no_backend() -> None:
    """An administrator is told why nothing was added; other records are lost, and counted."""
    async with opened(failsafe_without_backend) as store:
        with pytest.raises(StoreError, match="no such disk"):
            await store.put_exception(an_exception())
        with pytest.raises(StoreError, match="no such disk"):
            await store.remove_exception(Scope(GOOD))
        with pytest.raises(StoreError, match="no such disk"):
            await store.exceptions()
        with pytest.raises(StoreError, match="no such disk"):
            await store.take_exceptions({}, FleetNotes())
        with pytest.raises(StoreError, match="no such disk"):
            await store.fleet_notes()
        await store.put_check(a_check())
        await store.put_weakenings(a_weakening())
        assert await store.check(GOOD) is None
        assert not await store.checks(0.0, None, 9)
        assert not await store.weakenings(0.0, 9)
        assert isinstance(store, FailsafeStore)
        assert store.records_lost == 2
