"""Whatever a store does, in whatever order: no request fails otherwise than it may, and it ends."""

from collections.abc import Sequence
from typing import Final, TypeAlias

from hypothesis import example, given, settings
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.check import Check, CheckResult
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store.fleet.breaker import LONGEST_PAUSE
from postfix_mta_sts.store.fleet.requests import (
    Announce,
    AnyAnswer,
    AnyRequest,
    Checks,
    Claim,
    Document,
    Done,
    Due,
    FindDue,
    Held,
    History,
    Look,
    NoteUses,
    OfferCheck,
    OfferPolicy,
    ReadChecks,
    ReadExceptions,
    ReadHistory,
    ReadRelays,
    RelayReport,
    Relays,
    Release,
    Seen,
    Unavailable,
    WriteExceptions,
)
from tests.support.exceptions import exception
from tests.support.fleet_clients import BUDGET, GOOD, SETTINGS, Fleet, Relay, fleet
from tests.support.fleet_engine import START, Fault
from tests.support.states import TEXT

FAULTS: Final = [fault for fault in Fault if fault is not Fault.HANG]
OTHER: Final = Domain("other.test")
CHECK: Final = Check(GOOD, CheckResult.HELD, "it is held", "", "", "id1", START / 1e6, START / 1e6)

REQUESTS: Final[Sequence[tuple[AnyRequest, type[AnyAnswer]]]] = [
    (Look(GOOD, BUDGET), Seen),
    (Look(OTHER, BUDGET), Seen),
    (Claim(GOOD, 0, 0.0, BUDGET), Held),
    (Release(GOOD, "0" * 32), Done),
    (OfferPolicy(GOOD, TEXT, "id1", 10.0, 60.0, 1.0), Done),
    (OfferPolicy(OTHER, TEXT.replace("enforce", "none"), "id2", 0.0, 60.0), Done),
    (OfferPolicy(OTHER, "garbage", "id 3", -5.0, 60.0, token="0" * 32), Done),
    (ReadHistory(GOOD), History),
    (ReadExceptions(0), Document),
    (WriteExceptions(3, (exception("good.test"),), SETTINGS.fleet), Done),
    (OfferCheck(CHECK), Done),
    (ReadChecks("", 10), Checks),
    (Announce(RelayReport("1.0", 1, 2, 3)), Done),
    (ReadRelays(), Relays),
    (NoteUses({GOOD: 1.0, OTHER: -3.0}), Done),
    (FindDue(60.0, 10), Due),
]

STEPS: Final = st.one_of(
    st.sampled_from(FAULTS),
    st.floats(-100.0, 4000.0),
    st.tuples(st.integers(0, 1), st.sampled_from(REQUESTS)),
)


Step: TypeAlias = Fault | float | tuple[int, tuple[AnyRequest, type[AnyAnswer]]]


async def do(step: Step, world: Fleet, relays: Sequence[Relay]) -> None:
    """Break or mend the store, let time pass, set its clock back, or ask."""
    match step:
        case Fault():
            world.database.fault = step
        case float() if step < 0:
            world.database.now += round(step * 1e6)
        case float():
            await world.time.advance(min(step, 200.0))
        case (number, (request, kind)):
            answer = await relays[number].ask(request)
            assert isinstance(answer, kind | Unavailable), answer


@settings(max_examples=12)
@given(st.lists(STEPS, max_size=40))
@example([Fault.DENY, *[(0, (Claim(GOOD, 0, 0.0, 30.0), Held))] * 2])
async def test_any_order(steps: list[Step]) -> None:
    """Each request has its answer, and a store that is well again is used after a minute."""
    async with fleet() as world:
        relays = [world.join("mx1"), world.join("mx2", ahead=-500.0)]
        for step in steps:
            await do(step, world, relays)
        world.database.fault = Fault.NONE
        await world.time.advance(300.0)  # the clock may have been set back
        for relay in relays:
            await world.time.advance(LONGEST_PAUSE)
            await relay.ask(ReadRelays())  # a look-up is no probe: what runs behind it reads
            await relay.ask(Announce(RelayReport("1.0", 1, 2, 3)))  # and writes all the time
            for request, kind in REQUESTS:
                assert isinstance(await relay.ask(request), kind)
            assert relay.client.problem == ""
