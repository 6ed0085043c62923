"""The calls of the shared store: what is counted of them, and what is known of the store."""

import asyncio

import pytest

from postfix_mta_sts.daemon.fleet import calls as module
from postfix_mta_sts.daemon.fleet.calls import FleetCalls, kind_of
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.stats import Counters, FleetNumbers
from postfix_mta_sts.stats.labels import FleetOutcome, FleetRequest
from postfix_mta_sts.store.fleet.requests import (
    AnyAnswer,
    AnyRequest,
    Claim,
    Document,
    Done,
    Held,
    Look,
    OfferCheck,
    ReadExceptions,
    ReadRelays,
    Request,
    Seen,
    StoreCondition,
    Unavailable,
)
from tests.support.records import a_check

LOOK = Look(Domain("example.com"), 0.25)


class Relay:
    """A relay whose store says what the test wants, and whose clock the test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.answers: list[AnyAnswer] = []
        self.asked: list[AnyRequest] = []
        self.counters = Counters()
        self.condition = StoreCondition()
        self.calls = FleetCalls(
            self._ask, lambda: self.condition, self.counters, lambda: self.now, is_on=True
        )

    async def _ask(self, request: AnyRequest) -> AnyAnswer:
        self.asked.append(request)
        return self.answers.pop(0)

    async def ask(self, answer: AnyAnswer, request: AnyRequest = LOOK) -> FleetNumbers:
        """Ask, get this answer, and return the numbers a second later."""
        self.answers.append(answer)
        assert await self.calls.ask(request) == answer
        self.now += 1
        return self.calls.numbers()


def test_each_request_has_its_name() -> None:
    """Each class of requests is counted under a name of its own, and there are no other names."""
    kinds = [kind_of(each) for each in Request.__subclasses__()]
    assert sorted(kinds) == sorted(FleetRequest)


def test_at_the_start() -> None:
    """A store that was not asked yet has no problem."""
    assert Relay().calls.numbers(7, 3) == FleetNumbers(is_on=True, waiting=7, exceptions_version=3)


async def test_counts() -> None:
    """Requests are counted by what became of them, and looks with the time that they took."""
    relay = Relay()
    await relay.ask(Seen(None, seconds=0.25))
    await relay.ask(Seen(None, seconds=0.5))
    await relay.ask(Unavailable("refused"))
    await relay.ask(Unavailable("refused", was_asked=False), ReadRelays())
    assert relay.counters.fleet_seconds == 0.75
    assert relay.counters.fleet_requests == {
        (FleetRequest.LOOK, FleetOutcome.ANSWERED): 2,
        (FleetRequest.LOOK, FleetOutcome.FAILED): 1,
        (FleetRequest.READ_RELAYS, FleetOutcome.SKIPPED): 1,
    }


async def test_fails_and_recovers() -> None:
    """A failure has its reason, and its beginning, until the store answers again."""
    relay = Relay()
    assert (await relay.ask(Done())).since == 100.0
    relay.condition = StoreCondition("refused", is_asked=False)
    failed = await relay.ask(Unavailable("refused"))
    assert (failed.problem, failed.since, failed.is_asked) == ("refused", 101.0, False)
    relay.condition = StoreCondition("no answer", is_asked=False)
    again = await relay.ask(Unavailable("no answer"))
    assert (again.problem, again.since) == ("no answer", 101.0)
    relay.condition = StoreCondition()
    well = await relay.ask(Done())
    assert (well.problem, well.since, well.is_asked) == ("", 103.0, True)


async def test_a_store_that_is_read_and_not_written() -> None:
    """It fails all the time, though every other request is answered."""
    relay = Relay()
    relay.condition = StoreCondition("read-only")
    nothing = Document(0, None)
    numbers = [
        await relay.ask(answer, request)
        for _ in range(3)
        for answer, request in (
            (nothing, ReadExceptions(1)),
            (Unavailable("read-only", was_asked=False), OfferCheck(a_check())),
        )
    ]
    expected = FleetNumbers(is_on=True, problem="read-only", since=100.0, is_asked=True)
    assert numbers == [expected] * 6


async def test_one_failure() -> None:
    """A store that has failed once, and not been seen to work, is as before."""
    relay = Relay()
    assert await relay.ask(Unavailable("refused")) == FleetNumbers(is_on=True)
    await relay.ask(Done())
    assert (await relay.ask(Unavailable("refused"))).since == 101.0


async def test_a_network_process_that_hangs() -> None:
    """It is seen though no request has ended, until the store has answered the next process."""
    relay = Relay()
    await relay.ask(Done())
    relay.condition = StoreCondition("the network process hangs", is_asked=False)
    hung = relay.calls.numbers()
    assert (hung.problem, hung.since, hung.is_asked) == ("the network process hangs", 101.0, False)
    relay.now, relay.condition = 131.0, StoreCondition()
    assert relay.calls.numbers() == hung
    assert await relay.ask(Unavailable("it is starting")) == hung
    assert (await relay.ask(Done())).since == 132.0


async def test_a_request_that_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has failed in the time that the store may take, and a little more."""
    monkeypatch.setattr(module, "GRACE", 0.01)
    store = Relay()
    calls = FleetCalls(_hang, StoreCondition, store.counters, lambda: store.now, is_on=True)
    assert await calls.ask(Look(LOOK.domain, 0.0)) == Unavailable(
        "the network process did not answer in time"
    )
    assert store.counters.fleet_requests == {(FleetRequest.LOOK, FleetOutcome.FAILED): 1}


async def test_a_claim_is_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease that it gets late is to be given back by the one that asked."""
    monkeypatch.setattr(module, "GRACE", 0.0)
    answers: asyncio.Queue[AnyAnswer] = asyncio.Queue()
    calls = FleetCalls(
        lambda _: answers.get(), StoreCondition, Counters(), lambda: 100.0, is_on=True
    )
    claim = asyncio.create_task(calls.ask(Claim(LOOK.domain, 0, 0.0, 0.0)))
    cut_off = await calls.ask(Look(LOOK.domain, 0.0))
    assert isinstance(cut_off, Unavailable)
    answers.put_nowait(Held("token", None))
    assert await claim == Held("token", None)


async def test_a_request_that_is_cancelled() -> None:
    """It is counted, and what is known of the store by then is kept."""
    hanging = Relay()
    calls = FleetCalls(
        _hang, lambda: hanging.condition, hanging.counters, lambda: hanging.now, is_on=True
    )
    hanging.condition = StoreCondition("no answer", is_asked=False)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await calls.ask(LOOK)
    hanging.now += 1
    assert (calls.numbers().problem, calls.numbers().since) == ("no answer", 100.0)
    assert hanging.counters.fleet_requests == {(FleetRequest.LOOK, FleetOutcome.CANCELLED): 1}


async def test_off() -> None:
    """Without a fleet nothing is asked, and there are no numbers."""
    relay = Relay()
    relay.calls.reconfigure(is_on=False, is_same=False)
    await relay.calls.offer_check(a_check())
    assert (relay.asked, relay.calls.numbers()) == ([], FleetNumbers())


async def test_another_store() -> None:
    """After a reload, what was known of the store before is forgotten."""
    relay = Relay()
    relay.condition = StoreCondition("refused", is_asked=False)
    await relay.ask(Unavailable("refused", was_asked=False))
    relay.condition = StoreCondition()
    relay.calls.reconfigure(is_on=True, is_same=False)
    assert relay.calls.numbers() == FleetNumbers(is_on=True)


async def test_the_same_store() -> None:
    """A reload that does not change the store leaves what is wrong with it, and since when."""
    relay = Relay()
    relay.condition = StoreCondition("refused", is_asked=False)
    await relay.ask(Unavailable("refused", was_asked=False))
    before = relay.calls.numbers()
    assert before.problem == "refused"
    relay.condition = StoreCondition()  # of the new network process
    relay.now += 10.0
    relay.calls.reconfigure(is_on=True, is_same=True)
    assert relay.calls.numbers() == before


async def test_check() -> None:
    """A check that was made is given to the fleet."""
    relay = Relay()
    relay.answers.append(Done())
    await relay.calls.offer_check(a_check())
    assert relay.asked == [OfferCheck(a_check())]


async def test_the_first_meeting_is_one_request_without_a_document() -> None:
    """At the start the store is asked once, whether or not it answers."""
    store = Relay()
    store.answers.append(Unavailable("refused"))
    await store.calls.meet(20.0)
    assert store.asked == [ReadExceptions(above=2**53)]


async def test_without_a_fleet_there_is_no_meeting() -> None:
    """A relay of its own asks no store."""
    store = Relay()
    store.calls.reconfigure(is_on=False, is_same=False)
    await store.calls.meet(20.0)
    assert store.asked == []


async def test_a_store_that_hangs_does_not_stop_the_start() -> None:
    """The meeting ends though the store never answers."""
    calls = FleetCalls(_hang, StoreCondition, Counters(), lambda: 100.0, is_on=True)
    await calls.meet(seconds=0.01)


async def _hang(_: AnyRequest) -> AnyAnswer:
    await asyncio.Event().wait()
    raise AssertionError


async def test_recovery() -> None:
    """Said once, when the store works again: not at a first answer, nor while writing fails."""
    relay = Relay()
    recoveries: list[float] = []
    relay.calls.on_recovery = lambda: recoveries.append(relay.now)
    await relay.ask(Seen(None))
    relay.condition = StoreCondition("it is read-only")
    await relay.ask(Unavailable("it is read-only"))
    await relay.ask(Seen(None))
    relay.condition = StoreCondition()
    relay.calls.numbers()
    assert recoveries == []
    for _ in range(2):
        await relay.ask(Seen(None))
    assert recoveries == [103.0]
