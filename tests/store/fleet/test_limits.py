"""How long each request may take, on the whole way from the daemon to the store."""

from typing import Final

import pytest

from postfix_mta_sts.admin.client import CLIENT_TIMEOUT
from postfix_mta_sts.admin.fleet.asking import SECONDS
from postfix_mta_sts.store.fleet import access, client, limits
from postfix_mta_sts.store.fleet.limits import CALL, GRACE, OFFER, REACTION, limit_of
from postfix_mta_sts.store.fleet.requests import (
    AnyRequest,
    Claim,
    Look,
    OfferPolicy,
    ReadChecks,
    ReadHistory,
    ReadRelays,
    Unavailable,
)
from tests.support.fleet_clients import GOOD, fleet
from tests.support.fleet_engine import Fault
from tests.support.states import TEXT

AN_OFFER: Final = OfferPolicy(GOOD, TEXT, "id1", 0.0, 3600.0)
OF_COMMANDS: Final = (
    Look(GOOD, SECONDS, can_wait=True),
    ReadHistory(GOOD),
    ReadChecks("", 200),
    ReadRelays(),
)


@pytest.mark.parametrize(
    ("request_", "seconds"),
    [
        (Look(GOOD, 0.25), 0.25),
        (Claim(GOOD, 0, 2.0, 0.25), 2.25),
        (AN_OFFER, OFFER),
        (ReadRelays(), CALL),
    ],
    ids=lambda value: type(value).__name__,
)
def test_limit(request_: AnyRequest, seconds: float) -> None:
    """A look-up brings its own limit, and all else has one."""
    assert limit_of(request_) == seconds


def test_each_process_waits_for_the_next() -> None:
    """So that the one that hangs is known, and not the one that waits for it."""
    assert 0 < REACTION < GRACE


def test_a_call_that_can_wait_has_its_time() -> None:
    """A request is not cut off while its only call may still be answered."""
    longest_budget = 2.0
    assert access.QUEUE_LIMIT + max(longest_budget, access.BACKGROUND_LIMIT) < CALL < OFFER


@pytest.mark.parametrize("request_", OF_COMMANDS, ids=lambda value: type(value).__name__)
def test_a_command_ends_while_a_person_waits(request_: AnyRequest) -> None:
    """It has what is known here long before the command gives up, even if the process hangs."""
    assert limit_of(request_) + GRACE < CLIENT_TIMEOUT / 2


async def test_an_offer_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its calls take together."""
    monkeypatch.setattr(limits, "OFFER", 0.01)
    async with fleet() as world:
        relay = world.join()
        await relay.look()
        world.database.fault = Fault.HANG
        assert await relay.ask(AN_OFFER) == Unavailable("no answer within 0.01 s")
        world.database.fault = Fault.NONE


async def test_a_claim_is_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its calls fail by their own limits, so that the store counts as failing."""
    monkeypatch.setattr(client, "limit_of", lambda _: 0.0)
    async with fleet() as world:
        relay = world.join()
        held = await relay.ask(Claim(GOOD, 0, 0.0, 20.0))
        assert not isinstance(held, Unavailable)
