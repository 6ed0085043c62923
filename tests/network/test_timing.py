"""The rules of the network process as numbers: pulse, spacing of starts, deadlines of calls."""

import pytest

from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.network.messages import (
    AnyCall,
    AskFleet,
    Discover,
    FetchPolicy,
    FindTlsrpt,
    LookUpDane,
    NotValidating,
)
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.network.timing import (
    SLACK,
    Pulse,
    Timing,
    call_timeout,
    is_worth_waiting,
    pulse,
    spacing,
)
from postfix_mta_sts.store.fleet.limits import CALL, OFFER
from postfix_mta_sts.store.fleet.requests import Claim, Look, OfferPolicy, ReadRelays

GOOD = parse_domain("good.test")
TIMING = Timing()
SETTINGS = NetworkSettings.of(Settings())


@pytest.mark.parametrize(
    ("unanswered", "said"),
    [
        (0, Pulse.BEATING),
        (4, Pulse.BEATING),
        (5, Pulse.SILENT),
        (29, Pulse.SILENT),
        (30, Pulse.HUNG),
        (31, Pulse.HUNG),
    ],
)
def test_pulse(unanswered: int, said: Pulse) -> None:
    """A process that misses five pings is silent, and with thirty it is hung."""
    assert pulse(unanswered, TIMING) is said


def test_the_spacing_doubles() -> None:
    """Processes that end soon are started after 1 s, 2 s, 4 s and so on, at most 30 s."""
    found = [0.0]
    for ready_for in (None, 0.0, 1.0, 9.9, None, None, None):
        found.append(spacing(found[-1], ready_for, TIMING))
    assert found[1:] == [1, 2, 4, 8, 16, 30, 30]


def test_the_spacing_after_a_steady_process() -> None:
    """After one that was ready for a while the spacing is 1 s again."""
    assert spacing(30.0, 10.0, TIMING) == 1


@pytest.mark.parametrize(
    ("wait", "spaced", "ready_for", "waits"),
    [
        (0.0, 1.0, 60.0, True),
        (1.0, 1.0, 0.1, True),
        (1.5, 2.0, 0.1, False),
        (1.0, 1.0, None, True),
        (2.0, 2.0, None, False),
        (0.0, 2.0, None, False),
    ],
    ids=["steady", "ended soon", "again", "not ready", "again not ready", "after a slow start"],
)
def test_calls_wait(wait: float, spaced: float, ready_for: float | None, *, waits: bool) -> None:
    """Calls wait for a start that is near, unless two starts in a row have failed."""
    assert is_worth_waiting(wait, spaced, ready_for, TIMING) is waits


@pytest.mark.parametrize(
    ("call", "own"),
    [
        (Discover(1, GOOD), SETTINGS.dns_timeout),
        (FetchPolicy(1, GOOD), SETTINGS.https_timeout),
        (LookUpDane(1, GOOD), 20 * SETTINGS.dns_timeout),
        (FindTlsrpt(1, GOOD), SETTINGS.dns_timeout),
        (NotValidating(1), SETTINGS.dns_timeout),
        (AskFleet(1, Look(GOOD, 0.25)), 0.25),
        (AskFleet(1, Claim(GOOD, 0, 2.0, 0.25)), 2.25),
        (AskFleet(1, ReadRelays()), CALL),
        (AskFleet(1, OfferPolicy(GOOD, "", "id", 0.0, 0.0)), OFFER),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_call_has_a_deadline(call: AnyCall, own: float) -> None:
    """It is later than the call's own timeouts, and than the end of a process that hangs."""
    hung = TIMING.ping * TIMING.hung_after
    assert own + hung < call_timeout(call, SETTINGS) < float("inf")
    assert hung + TIMING.ready_within <= SLACK
    assert TIMING.start_within > TIMING.ready_within
