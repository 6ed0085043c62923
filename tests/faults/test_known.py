"""What is known is never thrown away: part A of the faults, from a request to its reply.

The sources are fakes, so that each answer comes when the test says so.
"""

import asyncio
import logging

import pytest

from postfix_mta_sts.mtasts.dane import DaneOutcome, Host, HostState, MxState
from postfix_mta_sts.mtasts.errors import (
    DeadlineError,
    DnsFailureError,
    NoRecordError,
    OwnFaultError,
)
from postfix_mta_sts.mtasts.lifecycle import MINUTE
from postfix_mta_sts.postfix.protocol.reply import STRICT, DaneRule
from postfix_mta_sts.store import StoreError
from tests.support.answering import make, stored
from tests.support.faulty_store import FULL, FaultyStore
from tests.support.replies import NOT_FOUND, REQUEST, SECURE, ask
from tests.support.resolvers import wait_for_end
from tests.support.surroundings import GOOD, UNANSWERED, Surroundings

DANE_ONLY, DANE = b"12:OK dane-only,", b"7:OK dane,"
USABLE, ABSENT, FAILED = HostState.USABLE, HostState.ABSENT, HostState.FAILED
BRACKETS = b"19:postfix [good.test],"


def hosts(*states: HostState) -> DaneOutcome:
    """The outcome for a signed MX RRset with hosts in these states."""
    each = tuple(Host(f"mx{n}.good.test", state, f"TLSA {n}") for n, state in enumerate(states))
    return DaneOutcome(MxState.SECURE, "MX: signed", each, 3600)


async def test_a_verdict_needs_no_https() -> None:
    """A Policy Host that stays silent delays no answer of DANE, now and later (A1)."""
    around = Surroundings(verdicts={GOOD: hosts(USABLE)})
    around.publish()
    around.https.hold()
    resolver, replies = make(around)
    assert await ask(replies) == DANE_ONLY
    assert await ask(replies) == DANE_ONLY
    around.policies[GOOD] = DeadlineError("timed out after 60 s")
    around.https.release()
    await wait_for_end(resolver)
    assert await ask(replies) == DANE_ONLY
    around.records[GOOD] = DnsFailureError("no answer")
    around.now += 50 * MINUTE
    assert await ask(replies) == DANE_ONLY
    await resolver.close()


@pytest.mark.parametrize(
    ("states", "enforced", "otherwise"),
    [
        ([USABLE, USABLE], DANE_ONLY, DANE_ONLY),
        ([USABLE, ABSENT], DANE_ONLY, DANE),
        ([USABLE, FAILED], DANE_ONLY, DANE),
        ([ABSENT, FAILED], b"44:TEMP DANE: DNS failure for good.test: TLSA 1,", DANE),
        ([FAILED, FAILED], b"44:TEMP DANE: DNS failure for good.test: TLSA 0,", None),
        ([HostState.UNUSABLE, ABSENT], SECURE, DANE),
        ([ABSENT, ABSENT], SECURE, NOT_FOUND),
    ],
)
async def test_the_hosts_of_a_domain_differ(
    states: list[HostState], enforced: bytes, otherwise: bytes | None
) -> None:
    """One host that fails is not the domain; dane-only where a policy asks for it (A2, A3)."""
    for mode, reply in (("", otherwise), ("testing", otherwise), ("enforce", enforced)):
        around = Surroundings(verdicts={GOOD: hosts(*states)})
        if mode:
            around.publish(mode=mode)
        assert await ask(make(around)[1]) == (reply or enforced)


async def test_a_check_of_the_name_servers_takes_no_verdict_back() -> None:
    """500 known domains need no look-up after it; with other name servers they do (A4)."""
    around = Surroundings(verdicts={GOOD: hosts(USABLE)})
    around.publish()
    resolver, replies = make(around)
    resolver.use_dane(around.look_up_dane, "192.0.2.1")
    await ask(replies)
    await wait_for_end(resolver)
    around.dane.hold()
    for _ in range(3):
        resolver.use_dane(around.look_up_dane, "192.0.2.1")
        assert await ask(replies) == DANE_ONLY
    around.now += 1
    resolver.use_dane(around.look_up_dane, "192.0.2.2")
    waiting = asyncio.create_task(ask(replies))
    await around.dane_queries.reached(GOOD, 2)
    assert not waiting.done()
    around.dane.release()
    assert await waiting == DANE_ONLY
    await resolver.close()


@pytest.mark.parametrize(
    ("so_far", "rule", "reply"),
    [
        (hosts(FAILED), STRICT, b"44:TEMP DANE: DNS failure for good.test: TLSA 0,"),
        (hosts(FAILED), DaneRule(defer=False), SECURE),
        (hosts(USABLE, FAILED), STRICT, DANE_ONLY),
        (None, STRICT, SECURE),
    ],
)
async def test_a_verdict_that_does_not_come_in_time(
    so_far: DaneOutcome | None, rule: DaneRule, reply: bytes
) -> None:
    """The policy is saved at once, and the answer is made of what is known (A5)."""
    around = Surroundings(progress={GOOD: so_far} if so_far else {})
    around.publish()
    around.dane.hold()
    resolver, replies = make(around, timeout=0.2, rule=rule)
    waiting = asyncio.create_task(ask(replies))
    while await around.store.load(GOOD) is None:  # noqa: ASYNC110 (a fake store has no event)
        await asyncio.sleep(0)
    assert not waiting.done()
    assert await waiting == reply
    assert replies.cached(REQUEST) is None
    await resolver.close()


async def test_a_key_without_dane_does_not_wait_for_the_verdict() -> None:
    """Each look-up waits for what matters to its own key."""
    around = Surroundings(progress={GOOD: hosts(FAILED)})
    around.publish()
    around.dane.hold()
    resolver, replies = make(around)
    waiting = asyncio.create_task(ask(replies))
    assert await ask(replies, BRACKETS) == SECURE
    assert await ask(replies, b"21:postfix good.test:587,") == SECURE
    assert not waiting.done()
    await resolver.close()
    await waiting


async def test_an_own_fault_leaves_no_trace() -> None:
    """The next look-up asks again; with defer it is "try again" (A6)."""
    for defer, reply in (
        (False, NOT_FOUND),
        (True, b"55:TEMP MTA-STS: internal error for good.test; see the log,"),
    ):
        for stage in ("records", "policies"):
            around = Surroundings()
            around.publish()
            getattr(around, stage)[GOOD] = OwnFaultError("the network process ended")
            resolver, replies = make(around, rule=None, defer=defer)
            assert await ask(replies) == reply
            await wait_for_end(resolver)
            assert resolver.entry(GOOD) is None
            around.publish()
            assert await ask(replies) == SECURE


async def test_an_own_fault_takes_no_verdict_and_no_policy() -> None:
    """A fault of one question ends that question only."""
    around = Surroundings(verdicts={GOOD: hosts(USABLE)})
    around.records[GOOD] = OwnFaultError("the network process ended")
    assert await ask(make(around)[1]) == DANE_ONLY
    around = Surroundings(verdicts={GOOD: OwnFaultError("the network process ended")})
    around.publish()
    resolver, replies = make(around)
    assert await ask(replies) == SECURE
    await wait_for_end(resolver)
    assert replies.cached(REQUEST) is None
    around.verdicts[GOOD] = hosts(USABLE)
    assert await ask(replies) == DANE_ONLY


@pytest.mark.parametrize(
    ("held", "deferred"), [("dns", True), ("addresses", True), ("https", False)]
)
async def test_a_look_up_that_runs_out_of_time(
    caplog: pytest.LogCaptureFixture, held: str, *, deferred: bool
) -> None:
    """If the DNS does not answer, defer means defer; a Policy Host is not waited for (A7)."""
    for defer in (False, True):
        caplog.clear()
        around = Surroundings()
        around.publish()
        getattr(around, held).hold()
        resolver, replies = make(around, timeout=0.05, rule=None, defer=defer)
        expected = b"TEMP MTA-STS: " if defer and deferred else b"NOTFOUND"
        for _ in range(3):
            assert expected in await ask(replies)
        warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
        assert len(warnings) == 1
        assert "look-ups answered before the policy was known" in warnings[0]
        assert "count=1" in warnings[0]
        await resolver.close()


async def test_addresses_that_fail_are_a_failure_of_the_dns() -> None:
    """They are asked for again after 30 seconds, without a back-off for the Policy Host (A7)."""
    around = Surroundings()
    around.publish()
    around.policies[GOOD] = DnsFailureError("SERVFAIL from the name server")
    resolver, replies = make(around, rule=None, defer=True)
    assert b"TEMP MTA-STS: DNS failure" in await ask(replies)
    around.now += 31
    around.publish()
    assert await ask(replies) == SECURE
    await resolver.close()


@pytest.mark.parametrize("record", [NoRecordError("NXDOMAIN"), DnsFailureError("no answer")])
async def test_a_slow_read_of_the_store(record: Exception) -> None:
    """The network is asked beside it, but an absence waits for the row (A8)."""
    store = FaultyStore()
    around = Surroundings(store=store, read_patience=0.0)
    await stored(around)
    around.records[GOOD] = record
    store.gate.hold()
    resolver, replies = make(around, rule=None)
    waiting = asyncio.create_task(ask(replies))
    await around.queries.reached(GOOD, 2)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not waiting.done()
    store.gate.release()
    assert await waiting == SECURE
    await resolver.close()


@pytest.mark.parametrize("outcome", [UNANSWERED, hosts(FAILED)])
async def test_a_slow_read_of_a_verdict(outcome: DaneOutcome) -> None:
    """A DNS that fails meanwhile does not end the verdict in the store (A8; torture, seed 7)."""
    store = FaultyStore()
    around = Surroundings(store=store, read_patience=0.0, verdicts={GOOD: hosts(USABLE)})
    around.publish()
    await ask(make(around)[1])
    await store.calls.reached("note")
    around.verdicts[GOOD] = outcome
    around.records[GOOD] = DnsFailureError("no answer")
    store.gate.hold()
    resolver, replies = make(around)
    waiting = asyncio.create_task(ask(replies))
    await around.dane_queries.reached(GOOD, 2)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not waiting.done()
    store.gate.release()
    assert await waiting == DANE_ONLY
    await resolver.close()


async def test_a_slow_read_is_not_waited_for_if_the_network_answers() -> None:
    """A policy that was fetched meanwhile is as good as the one in the store."""
    store = FaultyStore()
    around = Surroundings(store=store, read_patience=0.0)
    around.publish()
    resolver, replies = make(around, rule=None)
    store.gate.hold()
    waiting = asyncio.create_task(ask(replies))
    await around.gets.reached(GOOD)
    await store.calls.reached("save")
    store.gate.release()
    assert await waiting == SECURE
    await resolver.close()


@pytest.mark.parametrize("defer", [False, True])
async def test_a_row_that_cannot_be_read_in_time(*, defer: bool) -> None:
    """No absence is kept for it: the next look-up gets the policy (A8)."""
    store = FaultyStore()
    around = Surroundings(store=store, read_patience=0.0)
    await stored(around)
    around.dns.hold()
    store.gate.hold()
    resolver, replies = make(around, timeout=0.05, rule=None, defer=defer)
    unread = b"TEMP MTA-STS: the policy of good.test could not be read in time"
    assert (unread if defer else b"NOTFOUND") in await ask(replies)
    store.gate.release()
    await store.calls.reached("load_all", 2)
    await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    assert await ask(replies) == SECURE
    await resolver.close()


async def test_a_store_that_fails_is_read_once_more_before_an_absence() -> None:
    """An error of one read is not the end of a policy that is stored (A8)."""
    store = FaultyStore()
    around = Surroundings(store=store)
    await stored(around)
    around.records[GOOD] = NoRecordError("NXDOMAIN")
    around.dns.hold()
    store.error = FULL
    resolver, replies = make(around, rule=None)
    waiting = asyncio.create_task(ask(replies))
    await around.queries.reached(GOOD, 2)
    store.error = None
    around.dns.release()
    assert await waiting == SECURE
    await resolver.close()


async def test_an_absence_without_the_store_is_short() -> None:
    """It is asked for again after half a minute, because the store may hold a policy (A8)."""
    store = FaultyStore()
    around = Surroundings(store=store)
    await stored(around)
    around.records[GOOD] = NoRecordError("NXDOMAIN")
    store.error = StoreError("disk error")
    resolver, replies = make(around, rule=None)
    assert await ask(replies) == NOT_FOUND
    store.error = None
    around.now += 31
    assert await ask(replies) == SECURE
    await resolver.close()
