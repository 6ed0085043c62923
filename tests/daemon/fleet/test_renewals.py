"""What is noted of uses for the fleet, and what is renewed because no relay did it in time."""

import asyncio

import pytest

from postfix_mta_sts.config.settings import HttpsSettings
from postfix_mta_sts.daemon.fleet.renewals import (
    BATCH,
    CONCURRENCY,
    LOOK_SECONDS,
    NOTES_LIMIT,
    TAKEN,
    TAKEN_FOR,
    USES_LIMIT,
    Renewals,
)
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store import LastAsked
from postfix_mta_sts.store.fleet.requests import (
    AnyAnswer,
    AnyRequest,
    Done,
    Due,
    FindDue,
    Look,
    NoteUses,
    Seen,
    Unavailable,
)
from tests.support.fleet import shared
from tests.support.surroundings import GOOD, START
from tests.support.tally import Gate

OTHER = Domain("other.test")


class Relay:
    """The renewals of a relay, and what they ask for."""

    def __init__(self) -> None:
        self.now = START
        self.is_away = False
        self.due: tuple[Domain, ...] = ()
        self.asked: list[AnyRequest] = []
        self.renewed: list[Domain] = []
        self.is_faulty = False
        self.running = self.most = 0
        self.gate = Gate()
        self.slept: list[float] = []
        self.without_policy: set[Domain] = set()
        self.unsigned: set[Domain] = set()
        """Domains without a signed policy in the store."""
        self.renewals = Renewals(
            self._ask,
            self,
            lambda domain: domain not in self.without_policy,
            lambda: self.now,
            random=lambda: 0.5,
            sleep=self._sleep,
        )
        self.renewals.idle_after = 1_000.0

    async def renew(self, domain: Domain) -> None:
        """See `Renewing`."""
        self.running += 1
        self.most = max(self.most, self.running)
        await self.gate.passed()
        self.running -= 1
        if self.is_faulty:
            raise ZeroDivisionError
        self.renewed.append(domain)

    async def _ask(self, request: AnyRequest) -> AnyAnswer:
        self.asked.append(request)
        if self.is_away:
            return Unavailable("away")
        match request:
            case FindDue():
                return Due(self.due)
            case Look(domain):
                return Seen(None if domain in self.unsigned else shared())
        return Done()

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


async def test_uses() -> None:
    """The fleet learns how long ago each domain with a policy was asked for, once."""
    relay = Relay()
    relay.without_policy = {OTHER}
    relay.renewals.note({GOOD: LastAsked(START - 40, 3), OTHER: LastAsked(START, 1)})
    relay.renewals.note({GOOD: LastAsked(START - 5, 1)})
    await relay.renewals.give_uses()
    await relay.renewals.give_uses()
    assert relay.asked == [NoteUses({GOOD: 5.0})]


async def test_clock_that_was_set_back() -> None:
    """A use is never in the future."""
    relay = Relay()
    relay.renewals.note({GOOD: LastAsked(START + 3_600, 1)})
    await relay.renewals.give_uses()
    assert relay.asked == [NoteUses({GOOD: 0.0})]


async def test_uses_while_the_store_is_away() -> None:
    """They are kept, with one try for each minute, and given when it is back."""
    relay = Relay()
    relay.is_away = True
    many = {Domain(f"d{n}.test"): LastAsked(START, 1) for n in range(3 * BATCH)}
    relay.renewals.note(many)
    await relay.renewals.give_uses()
    assert len(relay.asked) == 1
    relay.is_away, relay.asked = False, []
    await relay.renewals.give_uses()
    given = [each.asked_ago for each in relay.asked if isinstance(each, NoteUses)]
    assert [len(each) for each in given] == [BATCH] * 3
    assert {domain for each in given for domain in each} == many.keys()


async def test_flood_of_names() -> None:
    """What waits for a store that is away has a limit; the latest uses are kept."""
    relay = Relay()
    relay.is_away = True
    for minute in range(NOTES_LIMIT + 2):
        names = (Domain(f"m{minute}d{n}.test") for n in range(USES_LIMIT // 2))
        relay.renewals.note(dict.fromkeys(names, LastAsked(START + minute, 1)))
    await relay.renewals.give_uses()
    relay.is_away, relay.asked = False, []
    await relay.renewals.give_uses()
    given = [each.asked_ago for each in relay.asked if isinstance(each, NoteUses)]
    assert sum(map(len, given)) == USES_LIMIT
    assert {domain[:2] for each in given for domain in each} == {"m3", "m4"}


async def test_overdue() -> None:
    """What is overdue is taken, so that others leave it alone, and renewed."""
    relay = Relay()
    relay.due = (GOOD, OTHER)
    await relay.renewals.renew_due()
    assert relay.asked == [
        FindDue(1_000.0, TAKEN),
        NoteUses({}, {GOOD: TAKEN_FOR, OTHER: TAKEN_FOR}),
        Look(GOOD, LOOK_SECONDS, can_wait=True),
        Look(OTHER, LOOK_SECONDS, can_wait=True),
    ]
    assert relay.renewed == [GOOD, OTHER]


async def test_nothing_overdue() -> None:
    """Most often there is one question, and no more."""
    relay = Relay()
    await relay.renewals.renew_due()
    assert relay.asked == [FindDue(1_000.0, TAKEN)]


async def test_store_away() -> None:
    """What cannot be taken is not renewed: other relays would do the same."""
    relay = Relay()
    relay.due, relay.is_away = (GOOD,), True
    await relay.renewals.renew_due()
    assert relay.renewed == []


async def test_names_that_somebody_wrote_into_the_store() -> None:
    """A name without a signed policy is not looked up in the DNS, however it became due."""
    relay = Relay()
    relay.due, relay.unsigned = (GOOD, OTHER), {OTHER}
    await relay.renewals.renew_due()
    assert relay.renewed == [GOOD]


def test_dead_policy_hosts() -> None:
    """What a relay takes at once it has tried before other relays may take it, too."""
    assert TAKEN / CONCURRENCY * HttpsSettings().timeout < TAKEN_FOR


async def test_few_at_once() -> None:
    """They are spread over a minute, and few run at once, however slow the hosts are."""
    relay = Relay()
    relay.due = tuple(Domain(f"d{n}.test") for n in range(2 * TAKEN))
    relay.gate.hold()
    task = asyncio.create_task(relay.renewals.renew_due())
    while relay.running < CONCURRENCY:  # noqa: ASYNC110 (no event)
        await asyncio.sleep(0)
    for _ in range(100):
        await asyncio.sleep(0)
    relay.gate.release()
    await task
    assert relay.most == CONCURRENCY
    assert len(relay.renewed) == TAKEN
    assert round(sum(relay.slept)) == 60


async def test_faults_cost_nothing_later() -> None:
    """However often a renewal has failed by a fault of this program, the next ones are made."""
    relay = Relay()
    relay.due = tuple(Domain(f"d{n}.test") for n in range(CONCURRENCY))
    relay.is_faulty = True
    for _ in range(CONCURRENCY):
        with pytest.raises(ExceptionGroup):
            await relay.renewals.renew_due()
    relay.is_faulty = False
    relay.renewed.clear()
    async with asyncio.timeout(30):
        await relay.renewals.renew_due()
    assert relay.renewed == list(relay.due)
