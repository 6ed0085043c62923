"""A shared store that fails costs a call or two, and then nothing until it is tried again."""

import asyncio
import re
from collections.abc import Callable
from ssl import SSLError

import pytest

from postfix_mta_sts.config.store_location import EngineName
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store.fleet import access
from postfix_mta_sts.store.fleet.connections import CONNECTIONS
from postfix_mta_sts.store.fleet.postgresql import batches
from postfix_mta_sts.store.fleet.requests import (
    Claim,
    Document,
    Held,
    History,
    Look,
    ReadExceptions,
    ReadHistory,
    ReadRelays,
    Seen,
    StoreCondition,
    Unavailable,
)
from tests.support.fleet_clients import BUDGET, GOOD, Fleet, Relay, fleet, settle
from tests.support.fleet_engine import Fault

PLACES = access.PLACES[EngineName.REDIS]
SHORT = 0.2
"""Seconds of a budget that a test waits out, and in which a store that works answers."""
IN_VAIN = "no answer within 0.2 s"
LOOK = Look(GOOD, BUDGET)
"""It waits until the budget is over, so that the client knows by then that the store hangs."""


async def broken(world: Fleet, fault: Fault = Fault.REFUSE) -> Relay:
    """A relay whose breaker has opened."""
    relay = world.join(budget=SHORT)
    await relay.look()
    world.database.fault = fault
    for _ in range(2):
        assert await relay.is_refused(LOOK)
    assert world.called()
    return relay


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault.REFUSE, "connection refused"),
        (Fault.DENY, "wrong password"),
        (Fault.FAIL, "out of memory"),
        (Fault.NO_SCHEMA, "no tables; run postfix-mta-sts fleet schema | psql"),
    ],
)
async def test_two_failures_open_the_breaker(fault: Fault, reason: str) -> None:
    """However it fails: after two failures the store is not asked, and the answer says why."""
    async with fleet() as world:
        relay = await broken(world, fault)
        for request in (LOOK, ReadHistory(GOOD), Claim(GOOD, 0, 0.0, SHORT), ReadRelays()):
            assert await relay.ask(request) == Unavailable(reason, was_asked=False)
        assert not world.called()
        assert relay.client.problem == reason
        assert not relay.client.condition.is_asked


async def test_a_store_that_hangs(
    monkeypatch: pytest.MonkeyPatch, log_lines: Callable[[], list[str]]
) -> None:
    """Two look-ups wait for it, then two other requests, then nothing does. It is one outage."""
    monkeypatch.setattr(access, "BACKGROUND_LIMIT", 1.1 * SHORT)
    late = "no answer within 0.22 s"
    async with fleet() as world:
        relay = world.join(budget=SHORT)
        await relay.look()
        world.database.fault = Fault.HANG
        for _ in range(2):
            assert await relay.ask(LOOK) == Unavailable(IN_VAIN)
        world.called()
        for request in (LOOK, Claim(GOOD, 0, 0.0, SHORT)):
            assert await relay.ask(request) == Unavailable(IN_VAIN, was_asked=False)
        assert not world.called()
        assert relay.client.condition == StoreCondition(IN_VAIN, is_slow=True)
        for _ in range(2):
            assert await relay.ask(ReadRelays()) == Unavailable(late)
        world.called()
        await world.time.advance(61.0)  # the log has room for another line
        assert await relay.ask(ReadRelays()) == Unavailable(late)
        for each in (ReadRelays(), LOOK):
            assert await relay.ask(each) == Unavailable(late, was_asked=False)
        assert world.called() == ["page"]
        assert relay.client.condition == StoreCondition(late, is_asked=False)
        world.database.fault = Fault.NONE
        await world.time.advance(61.0)
        await relay.ask(ReadRelays())  # it is the probe for both
        await relay.look()
        assert relay.client.condition == StoreCondition()
    assert log_lines() == [
        f'WARNING shared store failing operation=looking reason="{IN_VAIN}"',
        "INFO shared store recovered operation=looking",
    ]


@pytest.mark.parametrize("fault", [Fault.REFUSE, Fault.DENY, Fault.FAIL, Fault.HANG])
async def test_a_store_that_is_well_again(fault: Fault) -> None:
    """The first call after the pause that no look-up waits for finds that it works."""
    async with fleet() as world:
        relay = await broken(world, fault)
        world.database.fault = Fault.NONE
        assert await relay.is_refused(LOOK)
        await world.time.advance(5.0)
        assert await relay.is_refused(LOOK)
        assert not await relay.is_refused(ReadRelays())
        await relay.look()
        assert relay.client.problem == ""


async def test_more_than_the_store_answers() -> None:
    """Calls that wait in vain for one of the connections do not make the store a failing one."""
    async with fleet() as world:
        relay = world.join(budget=SHORT)
        await relay.look()
        world.database.fault = Fault.HANG
        patient = Claim(GOOD, 0, 0.0, BUDGET)
        asked = [asyncio.create_task(relay.ask(patient)) for _ in range(PLACES)]
        await settle()
        for _ in range(4):
            answer = await relay.ask(Claim(GOOD, 0, 0.0, SHORT))
            assert answer == Unavailable(IN_VAIN)
        assert relay.client.problem == ""
        world.database.fault = Fault.NONE
        assert all(isinstance(each, Held) for each in await asyncio.gather(*asked))


async def test_work_behind_look_ups(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hand-over to a distant store leaves half of the connections to look-ups, and waits."""
    async with fleet() as world:
        relay = world.join()
        await relay.look()
        world.called()
        world.database.fault = Fault.HANG
        asked = [asyncio.create_task(relay.ask(ReadHistory(GOOD))) for _ in range(20)]
        await settle()
        assert world.called() == ["read"] * (PLACES // 2)
        looking = asyncio.create_task(relay.look())
        await settle()
        assert world.called() == ["read"]
        with monkeypatch.context() as patch:
            patch.setattr(access, "QUEUE_LIMIT", 0.01)
            answer = await relay.ask(ReadHistory(GOOD))
        assert answer == Unavailable("no turn within 0.01 s")
        assert relay.client.problem == ""
        world.database.fault = Fault.NONE
        assert all(isinstance(each, History) for each in await asyncio.gather(*asked))
        await looking


def test_how_many_calls_at_once() -> None:
    """No call waits for a connection to Redis; those to PostgreSQL form full statements."""
    assert access.PLACES[EngineName.REDIS] == CONNECTIONS[EngineName.REDIS]
    assert access.PLACES[EngineName.POSTGRESQL] == batches.AT_ONCE * batches.SIZE


@pytest.mark.parametrize("error", [BufferError("row"), AssertionError(), TypeError(), SSLError()])
@pytest.mark.parametrize("is_open", [True, False])
async def test_an_error_that_nobody_expects(
    error: Exception, log_lines: Callable[[], list[str]], *, is_open: bool
) -> None:
    """A library that raises what it does not document is a store that fails: the breaker opens."""
    async with fleet() as world:
        relay = world.join()
        if is_open:
            await relay.look()
        world.database.unexpected = error
        reason = rf"unexpected {type(error).__name__} in fleet_engine.py, line [0-9]+"
        for request in (LOOK, ReadHistory(GOOD)):
            answer = await relay.ask(request)
            assert isinstance(answer, Unavailable)
            assert re.fullmatch(reason, answer.reason)
        assert re.fullmatch(reason, relay.client.problem)
        world.called()
        assert await relay.is_refused(LOOK)
        assert not world.called()
        world.database.unexpected = None
        await world.time.advance(60.0)
        assert not await relay.is_refused(ReadHistory(GOOD))
        await relay.look()
    assert [re.sub("line [0-9]+", "line N", each) for each in log_lines()] == [
        (
            "WARNING shared store failing operation=reading "
            f'reason="unexpected {type(error).__name__} in fleet_engine.py, line N"'
        ),
        "INFO shared store recovered operation=reading",
    ]


async def test_an_unexpected_error_at_the_end() -> None:
    """A relay that stops is not held up by it."""
    async with fleet() as world:
        relay = world.join()
        await relay.look()
        world.database.closing_error = BufferError()
        await relay.client.close()


async def test_one_probe_at_a_time() -> None:
    """After the pause one call is made, and all that come meanwhile are answered at once."""
    async with fleet() as world:
        relay = await broken(world)
        await world.time.advance(5.0)
        world.database.fault = Fault.HANG
        answers = await asyncio.gather(*(relay.ask(ReadHistory(GOOD)) for _ in range(20)))
        assert all(isinstance(each, Unavailable) for each in answers)
        assert len(world.called()) == 1
        await world.time.advance(9.0)
        assert await relay.is_refused(LOOK)
        assert not world.called()


async def test_a_cancelled_probe_is_made_again() -> None:
    """A probe whose caller has gone leaves the next call to be the probe."""
    async with fleet() as world:
        relay = await broken(world)
        await world.time.advance(5.0)
        world.database.fault = Fault.HANG
        probe = asyncio.create_task(relay.ask(ReadHistory(GOOD)))
        await settle()
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)
        world.database.fault = Fault.NONE
        assert not await relay.is_refused(ReadHistory(GOOD))


async def test_a_single_failure_is_forgotten() -> None:
    """One lost answer between others opens nothing, and is not logged."""
    async with fleet() as world:
        relay = world.join()
        for _ in range(5):
            world.database.fault = Fault.REFUSE
            assert await relay.is_refused(LOOK)
            assert relay.client.problem == ""
            world.database.fault = Fault.NONE
            await relay.look()


async def test_a_store_that_is_read_only_is_still_read() -> None:
    """What is in a store that takes nothing is of use; only writing is left alone."""
    async with fleet() as world:
        relay = world.join()
        assert await relay.offer()
        world.called()
        world.database.fault = Fault.READ_ONLY
        for _ in range(10):
            assert await relay.is_refused(Claim(GOOD, 0, 0.0, SHORT))
            assert (await relay.look()).policy is not None
        assert world.called("read") == ["claim"] * 2
        assert relay.client.problem == "the store is read-only"
        assert relay.client.condition.is_asked
        world.database.fault = Fault.NONE
        await world.time.advance(5.0)
        assert await relay.offer(policy_id="id2")
        assert relay.client.problem == ""


async def test_a_store_that_is_too_slow_for_look_ups() -> None:
    """That it answers the requests that can wait does not let look-ups wait for it in vain."""
    async with fleet() as world:
        relay = world.join(budget=SHORT)
        assert await relay.offer()
        world.database.takes = 1.2 * SHORT
        world.database.delay = 2 * SHORT
        for _ in range(2):
            assert await relay.is_refused(LOOK)
        for pause in (5.0, 10.0, 20.0):
            await world.time.advance(pause)
            assert not await relay.is_refused(ReadHistory(GOOD))
            assert await relay.ask(LOOK) == Unavailable(
                "an answer took 0.24 s, and fleet.budget is 0.2 s", was_asked=False
            )
        world.database.takes = world.database.delay = 0.0
        await world.time.advance(40.0)
        assert not await relay.is_refused(ReadHistory(GOOD))
        assert (await relay.look()).policy is not None


async def test_a_distant_store_has_what_can_wait(log_lines: Callable[[], list[str]]) -> None:
    """A store that is too slow for look-ups has the exceptions and the policies all the time."""
    async with fleet() as world:
        relay = world.join(budget=SHORT)
        await relay.look()
        world.database.takes = 1.2 * SHORT
        world.database.delay = 1.2 * SHORT
        for _ in range(2):
            assert await relay.is_refused(LOOK)
        for seconds in (0.0, 2.0, 4.0, 30.0, 60.0, 120.0):
            await world.time.advance(seconds)
            assert isinstance(await relay.ask(ReadExceptions(0)), Document)
            assert await relay.offer(policy_id=f"id{seconds:.0f}")
            assert await relay.is_refused(LOOK)
            assert relay.client.condition.is_slow
        world.database.takes = world.database.delay = 0.0
        await world.time.advance(60.0)
        await relay.ask(ReadExceptions(0))
        assert (await relay.look()).policy is not None
        assert relay.client.condition == StoreCondition()
    assert log_lines() == [
        f'WARNING shared store failing operation=looking reason="{IN_VAIN}"',
        "INFO shared store recovered operation=looking",
    ]


async def test_two_late_answers_among_quick_ones() -> None:
    """That the store answers what can wait quickly counts: look-ups go on asking it."""
    async with fleet() as world:
        relay = world.join(budget=SHORT)
        await relay.look()
        for _ in range(3):
            world.database.delay = 1.2 * SHORT
            assert await relay.is_refused(LOOK)
            world.database.delay = 0.0
            assert not await relay.is_refused(ReadExceptions(0))
        assert relay.client.condition == StoreCondition()
        await relay.look()


async def test_a_store_that_comes_back_slow(log_lines: Callable[[], list[str]]) -> None:
    """The log and the condition say so, once it is true."""
    async with fleet() as world:
        relay = await broken(world)
        world.database.fault = Fault.NONE
        world.database.takes = world.database.delay = 1.2 * SHORT
        await world.time.advance(60.0)
        assert isinstance(await relay.ask(ReadExceptions(0)), Document)
        for _ in range(2):
            assert await relay.is_refused(LOOK)
        assert relay.client.condition == StoreCondition(IN_VAIN, is_slow=True)
    assert log_lines() == [
        'WARNING shared store failing operation=reading reason="connection refused"',
        "INFO shared store recovered operation=reading",
    ]


async def test_a_late_answer_is_no_failure() -> None:
    """A request that can wait may take longer than the budget, again and again."""
    async with fleet() as world:
        relay = world.join(budget=SHORT)
        world.database.takes = 1.2 * SHORT
        for _ in range(5):
            assert not await relay.is_refused(ReadHistory(GOOD))
            assert relay.client.problem == ""


async def test_a_caller_in_a_hurry_says_nothing_of_the_store() -> None:
    """A claim that has nearly no time left is not taken for a failure of the store."""
    async with fleet() as world:
        relay = world.join()
        world.database.fault = Fault.HANG
        for _ in range(5):
            assert await relay.is_refused(Claim(GOOD, 0, 1.0, 0.001))
        world.database.fault = Fault.NONE
        await relay.look()


async def test_the_opening_goes_on_when_its_caller_has_gone() -> None:
    """A store that takes longer to open than a look-up may wait is open for a later one."""
    async with fleet() as world:
        relay = world.join(budget=SHORT)
        world.database.fault = Fault.HANG
        assert await relay.is_refused(LOOK)
        world.database.fault = Fault.NONE
        await settle()
        assert not await relay.is_refused(LOOK)
        assert world.called() == ["open", "read", "read"]


async def test_a_store_that_cannot_be_opened_is_opened_later() -> None:
    """A store that was away at the start of a relay is used as soon as it is there."""
    async with fleet() as world:
        world.database.fault = Fault.REFUSE
        relay = world.join()
        assert await relay.is_refused(LOOK)
        world.database.fault = Fault.NONE
        await relay.look()
        await relay.look()
        assert world.called() == ["open", "open", "read", "read", "read"]


async def test_a_store_that_cannot_be_read_is_closed_again() -> None:
    """No connection is left of an opening that came to nothing."""
    async with fleet() as world:
        relay = world.join()
        world.database.broken = {"read"}
        for _ in range(2):
            assert await relay.ask(LOOK) == Unavailable("read does not work")
        assert world.database.connections == 0
        await relay.client.close()


async def test_an_opening_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that never says anything is tried again."""
    monkeypatch.setattr(access, "OPENING_LIMIT", SHORT)
    async with fleet() as world:
        relay = world.join()
        world.database.fault = Fault.HANG
        assert await relay.ask(ReadHistory(GOOD)) == Unavailable("no connection within 0.2 s")
        world.database.fault = Fault.NONE
        await relay.ask(ReadHistory(GOOD))
        assert world.called() == ["open", "open", "read", "read"]


async def test_a_slow_first_connection() -> None:
    """That look-ups do not wait for its end says nothing of the store: none is left out later."""
    async with fleet() as world:
        relay = world.join(budget=SHORT)
        world.database.fault = Fault.HANG
        for _ in range(3):
            assert await relay.ask(LOOK) == Unavailable(IN_VAIN)
        assert relay.client.condition == StoreCondition()
        world.database.fault = Fault.NONE
        await settle()
        await relay.look()


async def test_a_second_connection_that_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that could not be opened before is to blame."""
    async with fleet() as world:
        relay = world.join(budget=SHORT)
        world.database.fault = Fault.HANG
        monkeypatch.setattr(access, "OPENING_LIMIT", SHORT / 2)
        assert await relay.ask(LOOK) == Unavailable("no connection within 0.1 s")
        monkeypatch.undo()
        for _ in range(2):
            assert await relay.ask(LOOK) == Unavailable(IN_VAIN)
        assert await relay.ask(LOOK) == Unavailable(IN_VAIN, was_asked=False)


@pytest.mark.parametrize("fault", [Fault.NONE, Fault.REFUSE])
async def test_the_first_connection(fault: Fault) -> None:
    """It can be waited for, well or badly as it ends; that does not end it."""
    async with fleet() as world:
        relay = world.join()
        world.database.fault = Fault.HANG
        relay.client.start()
        first, second = (asyncio.create_task(relay.client.first_connection()) for _ in range(2))
        await settle()
        first.cancel()
        assert not second.done()
        world.database.fault = fault
        await second
        await relay.client.first_connection()
        assert world.called() == (["open", "read"] if fault is Fault.NONE else ["open"])


async def test_an_early_connection() -> None:
    """A client that is started opens the store before the first request, and once."""
    async with fleet() as world:
        relay = world.join()
        for _ in range(2):
            relay.client.start()
            await settle()
        assert world.called() == ["open", "read"]
        await relay.look()
        assert world.called() == ["read"]


async def test_a_closed_client(log_lines: Callable[[], list[str]]) -> None:
    """A client that is closed has no connection, and says of the store what is true."""
    async with fleet() as world:
        relay = world.join()
        await relay.look()
        await relay.client.close()
        await relay.client.close()
        assert world.database.connections == 0
        for _ in range(3):
            assert await relay.ask(LOOK) == Unavailable("this relay is stopping")
        assert log_lines() == []


async def test_a_client_that_is_closed_while_the_store_hangs() -> None:
    """The end of a relay waits a second for the store, and no longer."""
    async with fleet() as world:
        relay = world.join()
        await relay.look()
        world.database.fault = Fault.HANG
        await relay.client.close()
        assert world.database.connections == 0
        world.database.fault = Fault.NONE


async def test_a_client_that_is_closed_while_it_connects() -> None:
    """The connection that is being made is not left behind."""
    async with fleet() as world:
        world.database.fault = Fault.HANG
        relay = world.join(budget=SHORT)
        assert await relay.is_refused(LOOK)
        await relay.client.close()
        world.database.fault = Fault.NONE
        await settle()
        assert world.database.connections == 0


async def test_one_line_when_it_fails_and_one_when_it_works(
    log_lines: Callable[[], list[str]],
) -> None:
    """An outage is two lines, however many calls it has cost."""
    async with fleet() as world:
        relay = await broken(world)
        for _ in range(20):
            await world.time.advance(30.0)
            for request in (ReadRelays(), LOOK):
                assert await relay.is_refused(request)
        world.database.fault = Fault.NONE
        await world.time.advance(60.0)
        assert not await relay.is_refused(ReadRelays())
        for _ in range(3):
            await relay.look()
    assert log_lines() == [
        'WARNING shared store failing operation=reading reason="connection refused"',
        "INFO shared store recovered operation=reading",
    ]


async def test_a_store_that_comes_and_goes(log_lines: Callable[[], list[str]]) -> None:
    """The log has at most one line a minute, and its last word is true in the end."""
    async with fleet() as world:
        relay = world.join(budget=SHORT)
        for _ in range(60):  # in six minutes
            world.database.fault = Fault.REFUSE
            for _ in range(2):
                await relay.ask(LOOK)
            world.database.fault = Fault.NONE
            await world.time.advance(6.0)
            await relay.ask(ReadRelays())
        assert 5 <= len(log_lines()) <= 7
        await world.time.advance(60.0)
        await relay.look()
    assert log_lines()[-1] == "INFO shared store recovered operation=reading"


async def test_look_ups_that_arrive_together_are_one_round_trip() -> None:
    """Three hundred look-ups at the same time are some reads, and each gets its own answer."""
    async with fleet() as world:
        relay = world.join()
        assert await relay.offer()
        world.called()
        world.database.delay = 0.01
        domains = [GOOD, *(type(GOOD)(f"d{number}.test") for number in range(299))]
        found = await asyncio.gather(*(relay.look(domain) for domain in domains))
        assert found[0].policy is not None
        assert not any(each.policy for each in found[1:])
        assert len(world.called()) <= 10


async def test_looks_that_can_wait() -> None:
    """They are one round trip, too, which may take longer than the budget."""
    async with fleet() as world:
        relay = world.join(budget=SHORT)
        assert await relay.offer()
        world.called()
        world.database.delay = 1.5 * SHORT
        looks = [Look(domain, BUDGET, can_wait=True) for domain in (GOOD, Domain("other.test"))]
        found = await asyncio.gather(*map(relay.ask, looks))
        assert [isinstance(each, Seen) and each.policy is not None for each in found] == [
            True,
            False,
        ]
        assert len(world.called()) <= 2
        assert await relay.is_refused(LOOK)


async def test_a_look_up_does_not_wait_behind_looks_that_can() -> None:
    """However many of these the store has not answered."""
    async with fleet() as world:
        relay = world.join()
        await relay.look()
        world.database.fault = Fault.HANG
        patient = Look(GOOD, BUDGET, can_wait=True)
        asked = [asyncio.create_task(relay.ask(patient)) for _ in range(PLACES)]
        await settle()
        world.called()
        look = asyncio.create_task(relay.look())
        await settle()
        assert world.called() == ["read"]
        world.database.fault = Fault.NONE
        await asyncio.gather(look, *asked)


async def test_a_look_up_that_has_gone_disturbs_no_other() -> None:
    """Of look-ups in one round trip one may be cancelled."""
    async with fleet() as world:
        relay = world.join()
        await relay.look()
        world.database.fault = Fault.HANG
        looks = [asyncio.create_task(relay.look()) for _ in range(3)]
        await settle()
        looks[0].cancel()
        await settle()
        world.database.fault = Fault.NONE
        answers = await asyncio.gather(*looks, return_exceptions=True)
        assert isinstance(answers[0], asyncio.CancelledError)
        assert all(isinstance(each, Seen) for each in answers[1:])
