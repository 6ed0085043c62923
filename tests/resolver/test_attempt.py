"""An attempt: its steps are counted, and its faults."""

import logging

import pytest

from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.errors import NoRecordError, OwnFaultError, StatusError
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.stats import SUCCESS, Counters, Stage
from tests.support.resolvers import OTHER, looked_up
from tests.support.surroundings import GOOD, Surroundings, found


async def test_steps_are_counted() -> None:
    """By stage, and by success or the error's code; so are those forgotten for want of room."""
    around, counters = Surroundings(), Counters()
    around.publish()
    around.records[OTHER] = found("b")
    around.policies[OTHER] = StatusError("HTTP 404")
    resolver = Resolver(around.sources(), lookup_timeout=30, entries=1, counters=counters)
    for domain in (GOOD, OTHER, parse_domain("third.test")):
        await looked_up(resolver, domain)
    assert counters.attempts == {
        (Stage.DNS, SUCCESS): 2,
        (Stage.DNS, NoRecordError.code): 1,
        (Stage.HTTPS, SUCCESS): 1,
        (Stage.HTTPS, StatusError.code): 1,
    }
    assert (counters.evicted, resolver.entries, resolver.under_way) == (2, 1, 0)


async def test_a_fault_of_our_own(caplog: pytest.LogCaptureFixture) -> None:
    """A bug in an attempt is logged with its traceback and counted; those who wait are answered."""
    around, counters = Surroundings(), Counters()
    around.records[GOOD] = ZeroDivisionError("a bug")
    resolver = Resolver(around.sources(), lookup_timeout=30, entries=100, counters=counters)
    assert (await looked_up(resolver)).policy is None
    assert counters.attempts == {(Stage.OWN, "own-fault"): 1}
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert record.exc_info


@pytest.mark.parametrize("stage", ["dns", "https"])
async def test_a_fault_of_our_own_that_was_told(
    caplog: pytest.LogCaptureFixture, stage: str
) -> None:
    """Where the log has been told already, the policy stays, and no further line is written."""
    around, counters = Surroundings(), Counters()
    around.publish()
    resolver = Resolver(around.sources(), lookup_timeout=30, entries=100, counters=counters)
    before = await looked_up(resolver)
    fault = OwnFaultError("the process that asks the network has ended")
    if stage == "dns":
        around.records[GOOD] = fault
    else:
        around.policies[GOOD] = fault
    await resolver.refresh(GOOD)
    after = await looked_up(resolver)
    assert after.policy == before.policy
    assert after.expires_at == before.expires_at
    assert counters.attempts[Stage.OWN, "own-fault"] == 1
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
