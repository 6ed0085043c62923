"""What a shared store says, as plain data."""

import pytest

from postfix_mta_sts.admin.fleet.views import fleet_to_json, relays_to_json, seen_to_json
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.mtasts.sharing import SharedPolicy
from postfix_mta_sts.stats import FleetNumbers
from postfix_mta_sts.store.fleet.requests import Relays, Seen
from postfix_mta_sts.values import replace
from tests.support.fleet_asked import relay, shared
from tests.support.states import a_state
from tests.support.surroundings import policy

NOW = 1_790_000_000.0


def known(name: str = "a", mode: str = "enforce", age: float = 60.0) -> State:
    """What this relay knows."""
    return a_state(NOW - age, NOW, name, policy(mode))


@pytest.mark.parametrize(
    ("there", "here", "state", "reason"),
    [
        (shared(), known(), "same", None),
        (shared("b", age=10), known(), "newer", None),
        (shared(), None, "newer", None),
        (shared("b", "testing", age=10), known(), "not-used", "its mode is testing"),
        (shared("b", age=90), known(), "not-used", "it is not newer than what this relay knows"),
        (None, known(), "none", None),
    ],
)
def test_policy(
    there: SharedPolicy | None, here: State | None, state: str, reason: str | None
) -> None:
    """A shared policy is as here, or it is said what this relay makes of it."""
    told = seen_to_json(Seen(there), here, NOW)
    assert (told["state"], told["reason"]) == (state, reason)


def test_who_fetched_it() -> None:
    """A shared policy has the relay that fetched it, and when, by the clock of this relay."""
    assert seen_to_json(Seen(shared()), None, NOW)["policy"] == {
        "id": "a",
        "mode": "enforce",
        "fetched_at": round(NOW - 60),
        "fetched_by": "mx2",
        "given_by": "mx2",
        "expires_at": round(NOW - 60 + 604_800),
    }


def test_nobody_knows_who_fetched_it() -> None:
    """A relay that has had the policy from another one is not said to have fetched it."""
    policy = seen_to_json(Seen(replace(shared(), is_own_fetch=False)), None, NOW)["policy"]
    assert (policy["fetched_by"], policy["given_by"]) == (None, "mx2")


def test_refused() -> None:
    """A record that is refused has its reason."""
    told = seen_to_json(Seen(None, "it is not signed"), None, NOW)
    assert told == {"state": "refused", "reason": "it is not signed", "policy": None}


def test_relays() -> None:
    """A relay that has not spoken for more than 30 s is silent; the own one is marked."""
    told = relays_to_json(Relays((relay("mx1", 30.0), relay("mx2", 30.1))), "mx1", NOW)
    assert [(each["here"], each["silent"]) for each in told["relays"]] == [
        (True, False),
        (False, True),
    ]
    assert told["relays"][0]["seen_at"] == round(NOW - 30)


def test_own_part() -> None:
    """What this relay has to do with the store, with rounded times."""
    numbers = FleetNumbers(is_on=True, problem="refused", since=NOW + 0.4, is_asked=False)
    assert fleet_to_json(numbers, "mx1", "valkey://h") == {
        "name": "mx1",
        "url": "valkey://h",
        "ok": False,
        "reason": "refused",
        "since": round(NOW),
        "breaker_open": True,
        "too_slow": False,
        "waiting": 0,
        "exceptions_version": 0,
    }
